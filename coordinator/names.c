/* names.c: the names that an edit answers for beside those of its own record. What supersedes an edit by another name
 * of its subject is asked by the names of both, or the fact would be lost under the old one. They stand in the ledger
 * beside the edit, under "edit-names/SEQ", each ended by a NUL, and lengthen `subject_aliases` wherever its record is
 * read: by workers and merges that train it, and by what looks for conflicts. */
#include "base/names.h"
#include "base/text.h"
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void value_name(uint64_t seq, char out[STORE_META_NAME_BYTES])
{
	snprintf(out, STORE_META_NAME_BYTES, "edit-names/%" PRIu64, seq);
}

/* Appended; nothing where it has taken over none. */
static int names_get(struct store_txn *txn, uint64_t seq, struct buf *out, struct err *e)
{
	char name[STORE_META_NAME_BYTES];
	value_name(seq, name);
	int rc = store_meta_get(txn, name, out, e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	if (rc == 0 && out->len > 0 && out->data[out->len - 1] != 0)
		rc = err_set(e, ERR_CORRUPT, "value %s: its last name has no end", name);
	return rc;
}

static int find_under(struct coordinator *c, uint64_t seq, const char *name, struct err *e)
{
	struct buf folded = BUF_INIT;
	int rc = text_fold(name, strlen(name), &folded);
	rc = rc == 0 ? store_subject_add(c->txn, folded.data, folded.len, seq, e)
		     : err_set(e, rc, "edit %" PRIu64 ": the names that it takes over: %s", seq, err_text(rc));
	buf_free(&folded);
	return rc;
}

int coordinator__names_put(struct coordinator *c, uint64_t seq, const struct buf *names, struct err *e)
{
	char name[STORE_META_NAME_BYTES];
	const char *list = (const char *)names->data;
	if (names->len == 0)
		return 0;
	value_name(seq, name);
	int rc = store_meta_put(c->txn, name, names->data, names->len, e);
	for (size_t at = 0; rc == 0 && at < names->len; at += strlen(list + at) + 1)
		rc = find_under(c, seq, list + at, e);
	return rc;
}

/* The record's bytes with more names. */
static int record_write(const void *payload, size_t len, const struct buf *names, struct buf *out, struct err *e)
{
	struct json *record = NULL;
	int rc = json_parse(payload, len, &record, e);
	if (rc == 0)
		rc = names_add(record, (const char *)names->data, names->len, out);
	json_free(&record);
	return rc;
}

int coordinator__payload_put(struct store_txn *txn, uint64_t seq, struct buf *out, struct err *e)
{
	struct store_event event;
	struct buf names = BUF_INIT;
	int rc = store_event_get(txn, seq, &event, e);
	if (rc == 0)
		rc = names_get(txn, seq, &names, e);
	if (rc == 0 && names.len > 0)
		rc = record_write(event.payload, event.payload_len, &names, out, e);
	else if (rc == 0)
		buf_append(out, event.payload, event.payload_len);
	buf_free(&names);
	return rc == ERR_NOMEM || (rc == 0 && buf_failed(out))
		       ? err_set(e, ERR_NOMEM, "the record of edit %" PRIu64 ": out of memory", seq)
		       : rc;
}

int coordinator__record_of(struct coordinator *c, uint64_t seq, struct record **out, struct err *e)
{
	struct buf payload = BUF_INIT;
	int rc = coordinator__payload_put(c->txn, seq, &payload, e);
	if (rc == 0)
		rc = record_parse(buf_cstr(&payload), payload.len, out, e);
	buf_free(&payload);
	return rc;
}

int coordinator__record_submitted(struct coordinator *c, uint64_t seq, struct record **out, struct err *e)
{
	struct store_event event;
	int rc = store_event_get(c->txn, seq, &event, e);
	return rc == 0 ? record_parse(event.payload, event.payload_len, out, e) : rc;
}

/* --- What is taken over */

/* As far as what has one name more is still a record (record_parse_new: their number, its bytes, a word of its own). */
static int name_take(struct record **record, const struct record_text *name, struct err *e)
{
	const struct record named = { .subject = *name };
	struct record *longer = NULL;
	struct buf text = BUF_INIT;
	bool known = false;
	int rc = record_same_subject(*record, &named, &known);
	if (rc != 0 || known || (*record)->subject_alias_count == RECORD_LIST_MAX)
		return rc;
	rc = names_add((*record)->document, name->text, name->len + 1, &text);
	if (rc == 0)
		rc = record_parse_new(buf_cstr(&text), text.len, &longer, e);
	buf_free(&text);
	if (rc == 0) {
		record_destroy(record);
		*record = longer;
	}
	if (rc == ERR_INVALID) {
		err_clear(e);
		rc = 0;
	}
	return rc;
}

static int names_of(struct coordinator *c, uint64_t seq, struct record **record, struct err *e)
{
	struct record *earlier = NULL;
	bool same = false;
	int rc = coordinator__record_of(c, seq, &earlier, e);
	if (rc == 0)
		rc = record_same_subject(*record, earlier, &same);
	if (rc == 0 && same)
		rc = name_take(record, &earlier->subject, e);
	for (size_t i = 0; rc == 0 && same && i < earlier->subject_alias_count; i++)
		rc = name_take(record, &earlier->subject_aliases[i], e);
	record_destroy(&earlier);
	return rc;
}

int coordinator__names_take(struct coordinator *c, struct record **record, const struct buf *earlier, struct buf *names,
			    struct err *e)
{
	const uint64_t *seqs = (const void *)earlier->data;
	const size_t own = (*record)->subject_alias_count;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < earlier->len / sizeof *seqs; i++)
		rc = names_of(c, seqs[i], record, e);
	for (size_t i = own; rc == 0 && i < (*record)->subject_alias_count; i++)
		buf_append(names, (*record)->subject_aliases[i].text, (*record)->subject_aliases[i].len + 1);
	return rc == ERR_NOMEM || (rc == 0 && buf_failed(names))
		       ? err_set(e, ERR_NOMEM, "the names that an edit takes over: out of memory")
		       : rc;
}

int coordinator__names_copy(struct coordinator *c, uint64_t from, uint64_t to, struct err *e)
{
	struct buf names = BUF_INIT;
	int rc = names_get(c->txn, from, &names, e);
	if (rc == 0)
		rc = coordinator__names_put(c, to, &names, e);
	buf_free(&names);
	return rc;
}

int coordinator__names_tell(struct store_txn *txn, uint64_t seq, char *out, size_t out_bytes, struct err *e)
{
	struct buf names = BUF_INIT;
	char first[65];
	size_t count = 0;
	out[0] = 0;
	int rc = names_get(txn, seq, &names, e);
	const char *list = (const char *)names.data;
	for (size_t at = 0; rc == 0 && at < names.len; at += strlen(list + at) + 1)
		count++;
	if (count > 0)
		text_show_line(list, strlen(list), first, sizeof first);
	if (count == 1)
		snprintf(out, out_bytes, ", answers for \"%s\" too", first);
	else if (count > 1)
		snprintf(out, out_bytes, ", answers for \"%s\" and %zu more name%s too", first, count - 1,
			 count == 2 ? "" : "s");
	buf_free(&names);
	return rc;
}
