/* keys.c: what an edit is found under: its subject, by each of its names, and its prompt. Two edits that ask the same
 * meet under the prompt when only one of them names the subject. One without a subject lies under the words of its
 * prompt besides: an edit with a subject finds it by the subject's rarest word, and it finds those whose subject is a
 * part of its prompt. */
#include "base/mention.h"
#include "base/names.h"
#include "base/order.h"
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int coordinator__keys_of(const struct record *record, struct edit_keys *keys, struct err *e)
{
	int rc = record_subject_key(record, &keys->subject);
	if (rc == 0)
		rc = record_prompt_key(record, &keys->prompt);
	if (rc == 0)
		rc = names_fold_aliases(record, &keys->aliases);
	return rc == 0 ? 0 : err_set(e, rc, "the keys that an edit is found under: %s", err_text(rc));
}

void coordinator__keys_free(struct edit_keys *keys)
{
	buf_free(&keys->subject);
	buf_free(&keys->prompt);
	buf_free(&keys->aliases);
}

/* Calls `each` for the subject and its aliases, up to the first result that is not 0. */
static int each_name(const struct edit_keys *keys, int (*each)(void *context, const char *name, size_t len),
		     void *context)
{
	const struct names names = { (const char *)keys->subject.data, keys->subject.len,
				     (const char *)keys->aliases.data, keys->aliases.len };
	const char *name;
	size_t len;
	int rc = 0;
	for (size_t at = 0; rc == 0 && names_next(&names, &at, &name, &len);)
		rc = each(context, name, len);
	return rc;
}

static bool has_subject(const struct edit_keys *keys)
{
	return keys->subject.len != keys->prompt.len ||
	       memcmp(keys->subject.data, keys->prompt.data, keys->prompt.len) != 0;
}

/* In the store, for the calls back of mention.h. */
struct look_up {
	struct coordinator *c;
	struct err *e;
	uint64_t seq;
	struct buf *seqs, best; /* best: of the words so far the one with the fewest edits */
	bool found;
};

static int add_name(void *context, const char *name, size_t len)
{
	struct look_up *l = context;
	return store_subject_add(l->c->txn, name, len, l->seq, l->e);
}

static int add_word(void *context, const char *word, size_t len)
{
	struct look_up *l = context;
	return store_word_add(l->c->txn, word, len, l->seq, l->e);
}

int coordinator__keys_add(struct coordinator *c, const struct edit_keys *keys, uint64_t seq, struct err *e)
{
	struct look_up l = { .c = c, .e = e, .seq = seq };
	int rc = each_name(keys, add_name, &l);
	if (rc != 0)
		return rc;
	if (has_subject(keys))
		return store_subject_add(c->txn, keys->prompt.data, keys->prompt.len, seq, e);
	rc = mention_words((const char *)keys->prompt.data, keys->prompt.len, add_word, &l);
	return rc == ERR_NOMEM ? err_set(e, rc, "the words of a prompt: out of memory") : rc;
}

void coordinator__seqs_sort(struct buf *seqs)
{
	uint64_t *list = (void *)seqs->data;
	const size_t count = seqs->len / sizeof *list;
	size_t kept = 0;
	if (count > 1)
		qsort(list, count, sizeof *list, order_u64);
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || list[i] != list[kept - 1])
			list[kept++] = list[i];
	}
	seqs->len = kept * sizeof *list;
}

/* A name, or a part of a prompt that may be one. */
static int list_name(void *context, const char *name, size_t len)
{
	struct look_up *l = context;
	return store_subject_list(l->c->txn, name, len, l->seqs, l->e);
}

int coordinator__keys_list(struct coordinator *c, const struct edit_keys *keys, struct buf *seqs, struct err *e)
{
	struct look_up l = { .c = c, .e = e, .seqs = seqs };
	int rc = each_name(keys, list_name, &l);
	if (rc == 0 && has_subject(keys))
		rc = store_subject_list(c->txn, keys->prompt.data, keys->prompt.len, seqs, e);
	if (rc == 0)
		coordinator__seqs_sort(seqs);
	return rc;
}

static int list_word(void *context, const char *word, size_t len)
{
	struct look_up *l = context;
	struct buf seqs = BUF_INIT;
	int rc = store_word_list(l->c->txn, word, len, SUBJECT_EDITS_MAX, &seqs, l->e);
	if (rc == 0 && (!l->found || seqs.len < l->best.len)) {
		buf_free(&l->best);
		l->best = seqs;
		seqs = (struct buf)BUF_INIT;
		l->found = true;
	}
	buf_free(&seqs);
	return rc;
}

static int list_words(void *context, const char *name, size_t len)
{
	struct look_up *l = context;
	l->found = false;
	int rc = mention_words(name, len, list_word, l);
	buf_append(l->seqs, l->best.data, l->best.len);
	buf_free(&l->best);
	return rc;
}

int coordinator__rivals_list(struct coordinator *c, const struct edit_keys *keys, struct buf *seqs, struct err *e)
{
	struct look_up l = { .c = c, .e = e, .seqs = seqs, .best = BUF_INIT };
	int rc = coordinator__keys_list(c, keys, seqs, e);
	if (rc == 0 && has_subject(keys))
		rc = each_name(keys, list_words, &l);
	else if (rc == 0)
		rc = mention_parts((const char *)keys->prompt.data, keys->prompt.len, list_name, &l);
	if (rc == ERR_NOMEM || (rc == 0 && buf_failed(seqs)))
		return err_set(e, ERR_NOMEM, "edits that may ask the same: out of memory");
	if (rc == 0)
		coordinator__seqs_sort(seqs);
	return rc;
}
