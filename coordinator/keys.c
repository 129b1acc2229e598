/* keys.c: what an edit is found under: its subject and its prompt. Two edits that ask the same meet under the prompt
 * when only one of them names the subject. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int coordinator__keys_of(const struct record *record, struct edit_keys *keys, struct err *e)
{
	int rc = record_subject_key(record, &keys->subject);
	if (rc == 0)
		rc = record_prompt_key(record, &keys->prompt);
	return rc == 0 ? 0 : err_set(e, ERR_NOMEM, "subject: out of memory");
}

void coordinator__keys_free(struct edit_keys *keys)
{
	buf_free(&keys->subject);
	buf_free(&keys->prompt);
}

int coordinator__keys_add(struct coordinator *c, const struct edit_keys *keys, uint64_t seq, struct err *e)
{
	int rc = store_subject_add(c->txn, keys->subject.data, keys->subject.len, seq, e);
	return rc == 0 ? store_subject_add(c->txn, keys->prompt.data, keys->prompt.len, seq, e) : rc;
}

static int compare_seqs(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

int coordinator__keys_list(struct coordinator *c, const struct edit_keys *keys, struct buf *seqs, struct err *e)
{
	int rc = store_subject_list(c->txn, keys->subject.data, keys->subject.len, seqs, e);
	if (rc == 0)
		rc = store_subject_list(c->txn, keys->prompt.data, keys->prompt.len, seqs, e);
	uint64_t *list = (void *)seqs->data;
	const size_t count = rc == 0 ? seqs->len / sizeof *list : 0;
	size_t kept = 0;
	if (count > 1)
		qsort(list, count, sizeof *list, compare_seqs);
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || list[i] != list[kept - 1])
			list[kept++] = list[i];
	}
	if (rc == 0)
		seqs->len = kept * sizeof *list;
	return rc;
}
