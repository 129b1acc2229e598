/* router.c: the edits that a version's router holds, and the bytes that they come from. */
#include "editor/route_internal.h"

#include "base/fault.h"
#include "base/order.h"
#include "editor/numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_MAGIC             "AMIX"
#define INDEX_FORMAT            4u
#define INDEX_ENTRIES_MAX       1000000u
#define INDEX_SUBJECT_BYTES_MAX 8192u
#define INDEX_ALIASES_BYTES_MAX (4 * RECORD_BYTES_MAX)
#define INDEX_WORDS_BYTES_MAX   32768u
#define INDEX_KEY_MAX           1e9f /* of a hidden state; larger ones overflow a key */
#define INDEX_TARGET_IDS_MAX    65536u
#define INDEX_SUBJECT_GIVEN     1u /* flags */
#define INDEX_SUBJECT_NAMES     2u

/* ---- Index bytes */

/* What a router refuses is not written either. */
static int put_floats(const float *from, size_t count, uint64_t seq, struct buf *out, struct err *e)
{
	for (size_t k = 0; k < count; k++) {
		if (!(fabsf(from[k]) <= INDEX_KEY_MAX))
			return err_set(e, ERR_INVALID,
				       "index: the key of edit %llu holds a number that is not finite or above %g",
				       (unsigned long long)seq, (double)INDEX_KEY_MAX);
		buf_f32le(out, from[k]);
	}
	return 0;
}

static int encode_entry(const struct editor_index_entry *entry, size_t hidden, size_t ffn, struct buf *out,
			struct err *e)
{
	const unsigned long long seq = entry->seq;
	if (entry->subject.len > INDEX_SUBJECT_BYTES_MAX || entry->words.len > INDEX_WORDS_BYTES_MAX ||
	    entry->aliases.len > INDEX_ALIASES_BYTES_MAX || entry->target_count > INDEX_TARGET_IDS_MAX ||
	    entry->anchor_count > EDITOR_ANCHOR_ROWS_MAX)
		return err_set(e, ERR_LIMIT,
			       "index: edit %llu has a subject of %zu bytes, aliases of %zu, words of %zu, %zu target "
			       "tokens and %zu anchors: at most %u, %u, %u, %u and %u",
			       seq, entry->subject.len, entry->aliases.len, entry->words.len, entry->target_count,
			       entry->anchor_count, INDEX_SUBJECT_BYTES_MAX, INDEX_ALIASES_BYTES_MAX,
			       INDEX_WORDS_BYTES_MAX, INDEX_TARGET_IDS_MAX, EDITOR_ANCHOR_ROWS_MAX);
	buf_u64le(out, entry->seq);
	buf_u32le(out,
		  (entry->subject_given ? INDEX_SUBJECT_GIVEN : 0) | (entry->subject_names ? INDEX_SUBJECT_NAMES : 0));
	buf_u32le(out, (uint32_t)entry->subject.len);
	buf_append(out, entry->subject.text, entry->subject.len);
	buf_u32le(out, (uint32_t)entry->aliases.len);
	buf_append(out, entry->aliases.text, entry->aliases.len);
	buf_u32le(out, (uint32_t)entry->words.len);
	buf_append(out, entry->words.text, entry->words.len);
	int rc = put_floats(entry->raw, hidden, entry->seq, out, e);
	if (rc == 0)
		rc = put_floats(entry->relation, hidden, entry->seq, out, e);
	if (rc != 0)
		return rc;
	buf_u32le(out, (uint32_t)entry->target_count);
	for (size_t k = 0; k < entry->target_count; k++)
		buf_u32le(out, (uint32_t)entry->target_ids[k]);
	buf_u32le(out, (uint32_t)entry->anchor_count);
	rc = editor_anchor_encode(entry->anchors, entry->anchor_count, ffn, out);
	if (rc == ERR_INVALID)
		return err_set(e, rc, "index: an input of edit %llu is not finite", seq);
	const size_t forms = entry->form_count < EDITOR_FORMS_MAX ? entry->form_count : EDITOR_FORMS_MAX;
	buf_u32le(out, (uint32_t)forms);
	return put_floats(entry->forms, forms * 2 * hidden, entry->seq, out, e);
}

int editor_index_encode(const struct editor_index_entry *entries, size_t entry_count, size_t hidden, size_t ffn,
			struct buf *out, struct err *e)
{
	if (hidden == 0 || hidden > EDITOR_HIDDEN_MAX || entry_count > INDEX_ENTRIES_MAX)
		return err_set(e, ERR_LIMIT, "index of %zu edits with keys of %zu: at most %u edits, keys of 1 to %u",
			       entry_count, hidden, INDEX_ENTRIES_MAX, EDITOR_HIDDEN_MAX);
	const size_t start = out->len;
	int rc = 0;
	buf_append(out, INDEX_MAGIC, 4);
	buf_u32le(out, INDEX_FORMAT);
	buf_u32le(out, (uint32_t)hidden);
	buf_u32le(out, (uint32_t)ffn);
	buf_u32le(out, (uint32_t)entry_count);
	for (size_t i = 0; i < entry_count && rc == 0; i++)
		rc = encode_entry(&entries[i], hidden, ffn, out, e);
	if (rc == 0 && buf_failed(out))
		rc = err_set(e, ERR_NOMEM, "index of %zu edits: out of memory", entry_count);
	if (rc != 0)
		out->len = start;
	return rc;
}

/* ---- The router */

int editor_router_new(const struct editor_calibration *calibration, size_t ffn, struct editor_router **out,
		      struct err *e)
{
	struct editor_router *router = fault_calloc(1, sizeof(*router));
	if (router == NULL)
		return err_set(e, ERR_NOMEM, "router: out of memory");
	router->calibration = calibration;
	router->ffn = ffn;
	router->dims = editor_calibration_relation_dims(calibration);
	int rc = editor__key_index_new(calibration->dims, NULL, &router->keys, e);
	buf_u8(&router->bytes, 0); /* never NULL: routes point into it also where an edit has no text and no anchors */
	if (rc == 0 && buf_failed(&router->bytes))
		rc = err_set(e, ERR_NOMEM, "router: out of memory");
	if (rc != 0) {
		editor_router_destroy(&router);
		return rc;
	}
	*out = router;
	return 0;
}

void editor_router_destroy(struct editor_router **router)
{
	if (*router == NULL)
		return;
	free((*router)->entries);
	editor__key_index_destroy(&(*router)->keys);
	free((*router)->relations);
	buf_free(&(*router)->bytes);
	free(*router);
	*router = NULL;
}

size_t editor_router_count(const struct editor_router *router)
{
	return router->entry_count - router->form_count;
}

bool editor_router_memory_of(const struct editor_router *router, uint64_t seq, size_t *memory)
{
	for (size_t i = 0; i < router->entry_count; i++) {
		if (router->entries[i].seq == seq) {
			*memory = router->entries[i].memory;
			return true;
		}
	}
	return false;
}

static int grow(float **keys, size_t count, size_t width)
{
	float *grown = fault_realloc(*keys, count * width * sizeof(*grown));
	if (grown == NULL)
		return ERR_NOMEM;
	*keys = grown;
	return 0;
}

static int reserve(struct editor_router *router, size_t more, struct err *e)
{
	const size_t need = router->entry_count + more;
	if (need > INDEX_ENTRIES_MAX)
		return err_set(e, ERR_LIMIT, "router: more than %u edits in one version", INDEX_ENTRIES_MAX);
	if (editor__key_index_reserve(router->keys, more) != 0)
		return err_set(e, ERR_NOMEM, "router of %zu edits: out of memory", need);
	if (need <= router->entry_cap)
		return 0;
	const size_t cap = need > 2 * router->entry_cap ? need : 2 * router->entry_cap;
	struct editor__entry *entries = fault_realloc(router->entries, cap * sizeof(*entries));
	if (entries != NULL)
		router->entries = entries;
	if (entries == NULL || grow(&router->relations, cap, router->dims) != 0)
		return err_set(e, ERR_NOMEM, "router of %zu edits: out of memory", need);
	router->entry_cap = cap;
	return 0;
}

static int read_floats(struct reader *r, size_t count, float *out, uint64_t seq, struct err *e)
{
	for (size_t k = 0; k < count; k++) {
		out[k] = reader_f32le(r);
		if (!(fabsf(out[k]) <= INDEX_KEY_MAX))
			return err_set(e, ERR_CORRUPT,
				       "index: the key of edit %llu holds a number that is not finite or above %g",
				       (unsigned long long)seq, (double)INDEX_KEY_MAX);
	}
	return r->overrun ? err_set(e, ERR_CORRUPT, "index: cut off after %zu bytes", r->len) : 0;
}

/* `count` bytes of the index, copied to the end of `bytes`; *at says where they stand. */
static int read_bytes(struct reader *r, size_t count, struct buf *bytes, size_t *at, struct err *e)
{
	const void *from = reader_bytes(r, count);
	if (from == NULL && count > 0)
		return err_set(e, ERR_CORRUPT, "index: cut off after %zu bytes", r->len);
	*at = bytes->len;
	buf_append(bytes, from, count);
	return buf_failed(bytes) ? err_set(e, ERR_NOMEM, "index: out of memory") : 0;
}

static int read_anchor(struct reader *r, struct editor_router *router, struct editor__entry *entry, struct err *e)
{
	entry->target_count = reader_u32le(r);
	if (entry->target_count > INDEX_TARGET_IDS_MAX)
		return err_set(e, ERR_CORRUPT, "index: a target of %zu tokens", entry->target_count);
	int rc = read_bytes(r, entry->target_count * sizeof(uint32_t), &router->bytes, &entry->target_ids, e);
	if (rc != 0)
		return rc;
	entry->anchor_count = reader_u32le(r);
	if (entry->anchor_count > EDITOR_ANCHOR_ROWS_MAX)
		return err_set(e, ERR_CORRUPT, "index: %zu anchors of one edit", entry->anchor_count);
	return read_bytes(r, entry->anchor_count * editor_anchor_row_bytes(router->ffn), &router->bytes,
			  &entry->anchors, e);
}

/* Of its words and numbers those that a text must say, or must not. Words that only stand for a subject are its
 * prompt's. */
static int take_marks(struct editor_router *router, struct editor__entry *entry, const char *words, size_t len)
{
	struct buf all = BUF_INIT;
	buf_append(&all, words, len);
	if (!entry->subject_given && entry->subject_len > 0) {
		buf_u8(&all, ' ');
		buf_append(&all, router->bytes.data + entry->subject, entry->subject_len);
	}
	int rc = buf_failed(&all) ? ERR_NOMEM : 0;
	if (rc == 0)
		editor__contrasts_in(&entry->says, (const char *)all.data, all.len);
	entry->needed = router->bytes.len;
	if (rc == 0)
		rc = editor__numbers_needed((const char *)all.data, all.len, &router->bytes);
	entry->needed_len = router->bytes.len - entry->needed;
	buf_free(&all);
	return rc;
}

static int read_words(struct reader *r, struct editor_router *router, struct editor__entry *entry, struct err *e)
{
	const size_t len = reader_u32le(r);
	const struct editor__common_words common = editor__router_common(router);
	if (len > INDEX_WORDS_BYTES_MAX)
		return err_set(e, ERR_CORRUPT, "index: %zu bytes of words", len);
	const void *words = reader_bytes(r, len);
	if (words == NULL && len > 0)
		return err_set(e, ERR_CORRUPT, "index: cut off after %zu bytes", r->len);
	entry->words = router->bytes.len;
	int rc = editor__words_uncommon(words, len, &common, &router->bytes);
	entry->words_len = router->bytes.len - entry->words;
	if (rc == 0) /* common ones too */
		rc = take_marks(router, entry, words, len);
	return rc != 0 ? err_set(e, rc, "index: out of memory") : 0;
}

static int read_names(struct reader *r, struct editor_router *router, struct editor__entry *entry, struct err *e)
{
	entry->subject_len = reader_u32le(r);
	if (entry->subject_len > INDEX_SUBJECT_BYTES_MAX)
		return err_set(e, ERR_CORRUPT, "index: a subject of %zu bytes", entry->subject_len);
	int rc = read_bytes(r, entry->subject_len, &router->bytes, &entry->subject, e);
	if (rc != 0)
		return rc;
	entry->aliases_len = reader_u32le(r);
	if (entry->aliases_len > INDEX_ALIASES_BYTES_MAX)
		return err_set(e, ERR_CORRUPT, "index: %zu bytes of aliases", entry->aliases_len);
	rc = read_bytes(r, entry->aliases_len, &router->bytes, &entry->aliases, e);
	if (rc == 0 && entry->aliases_len > 0 && router->bytes.data[router->bytes.len - 1] != 0)
		return err_set(e, ERR_CORRUPT, "index: an alias of edit %llu has no end",
			       (unsigned long long)entry->seq);
	return rc;
}

/* One entry of the bytes; `raw` is room for 2 × hidden floats. */
static int read_entry(struct reader *r, struct editor_router *router, struct editor__entry *entry, float *raw,
		      struct err *e)
{
	const size_t hidden = router->calibration->hidden;
	entry->seq = reader_u64le(r);
	const uint32_t flags = reader_u32le(r);
	entry->subject_given = (flags & INDEX_SUBJECT_GIVEN) != 0;
	entry->subject_names = (flags & INDEX_SUBJECT_NAMES) != 0;
	int rc = read_names(r, router, entry, e);
	if (rc == 0)
		rc = read_words(r, router, entry, e);
	if (rc == 0)
		rc = read_floats(r, 2 * hidden, raw, entry->seq, e);
	return rc == 0 ? read_anchor(r, router, entry, e) : rc;
}

static int read_header(struct reader *r, const struct editor_router *router, size_t *count, struct err *e)
{
	const size_t hidden = router->calibration->hidden;
	const void *magic = reader_bytes(r, 4);
	if (magic == NULL || memcmp(magic, INDEX_MAGIC, 4) != 0)
		return err_set(e, ERR_CORRUPT, "index: does not begin with " INDEX_MAGIC);
	const uint32_t format = reader_u32le(r), width = reader_u32le(r), ffn = reader_u32le(r);
	*count = reader_u32le(r);
	if (r->overrun)
		return err_set(e, ERR_CORRUPT, "index: header cut off");
	if (format != INDEX_FORMAT)
		return err_set(e, ERR_UNSUPPORTED, "index: format %u is not known, this program reads %u", format,
			       INDEX_FORMAT);
	if (width != hidden || ffn != router->ffn)
		return err_set(e, ERR_MISMATCH, "index: keys of %u and inputs of %u, the model has %zu and %zu", width,
			       ffn, hidden, router->ffn);
	if (*count > INDEX_ENTRIES_MAX || *count > (r->len - r->at) / (36 + 2 * hidden * sizeof(float)))
		return err_set(e, ERR_CORRUPT, "index: %zu edits announced, the bytes hold fewer", *count);
	return 0;
}

/* `raw`: raw keys, and room for the prompt key. */
static int entry_put(struct editor_router *router, const struct editor__entry *entry, float *raw, struct err *e)
{
	const size_t hidden = router->calibration->hidden;
	int rc = reserve(router, 1, e);
	if (rc != 0)
		return rc;
	const size_t at = router->entry_count++;
	editor_calibration_key(router->calibration, raw, raw + 2 * hidden);
	editor__key_index_add(router->keys, raw + 2 * hidden);
	editor_calibration_relation_key(router->calibration, raw + hidden, router->relations + at * router->dims);
	router->entries[at] = *entry;
	router->form_count += entry->form;
	return 0;
}

static int add_forms(struct editor_router *router, struct reader *r, const struct editor__entry *entry, bool live,
		     float *raw, struct err *e)
{
	struct editor__entry form = *entry;
	const size_t count = reader_u32le(r);
	if (count > EDITOR_FORMS_MAX || r->overrun)
		return err_set(e, ERR_CORRUPT, "index: %zu forms of one edit", count);
	int rc = 0;
	form.form = true;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = read_floats(r, 2 * router->calibration->hidden, raw, entry->seq, e);
		if (rc == 0 && live)
			rc = entry_put(router, &form, raw, e);
	}
	return rc;
}

/* `raw` is room for 3 × hidden floats: raw keys and the prompt key. */
static int add_entries(struct editor_router *router, struct reader *r, size_t count, size_t memory,
		       const uint64_t *removed, size_t removed_count, float *raw, struct err *e)
{
	for (size_t i = 0; i < count; i++) {
		struct editor__entry entry = { .memory = memory };
		const size_t bytes_before = router->bytes.len;
		int rc = read_entry(r, router, &entry, raw, e);
		const bool live = removed_count == 0 ||
				  bsearch(&entry.seq, removed, removed_count, sizeof(*removed), order_u64) == NULL;
		if (rc == 0 && live)
			rc = entry_put(router, &entry, raw, e);
		if (rc == 0)
			rc = add_forms(router, r, &entry, live, raw, e);
		if (rc != 0)
			return rc;
		if (!live)
			router->bytes.len = bytes_before;
	}
	return r->at == r->len
		       ? 0
		       : err_set(e, ERR_CORRUPT, "index: %zu bytes left over after %zu edits", r->len - r->at, count);
}

int editor_router_add(struct editor_router *router, const void *bytes, size_t len, size_t memory,
		      const uint64_t *removed, size_t removed_count, struct err *e)
{
	const size_t before = router->entry_count, forms_before = router->form_count, bytes_before = router->bytes.len;
	struct reader r;
	size_t count = 0;
	reader_init(&r, bytes, len);
	int rc = read_header(&r, router, &count, e);
	if (rc == 0)
		rc = reserve(router, count, e);
	if (rc != 0)
		return rc;
	float *raw = fault_malloc(3 * router->calibration->hidden * sizeof(*raw));
	uint64_t *sorted = fault_malloc((removed_count + 1) * sizeof(*sorted));
	if (raw == NULL || sorted == NULL) {
		rc = err_set(e, ERR_NOMEM, "router: out of memory");
	} else {
		if (removed_count > 0)
			memcpy(sorted, removed, removed_count * sizeof(*sorted));
		qsort(sorted, removed_count, sizeof(*sorted), order_u64);
		rc = add_entries(router, &r, count, memory, sorted, removed_count, raw, e);
	}
	free(raw);
	free(sorted);
	if (rc != 0) {
		router->entry_count = before;
		router->form_count = forms_before;
		editor__key_index_cut(router->keys, before);
		router->bytes.len = bytes_before;
		router->bytes.failed = false;
	}
	return rc;
}

void editor_router_cut(struct editor_router *router, size_t memory)
{
	size_t count = 0;
	while (count < router->entry_count && router->entries[count].memory < memory)
		count++;
	if (count == router->entry_count)
		return;
	router->bytes.len = router->entries[count].subject; /* an entry's first */
	for (size_t i = count; i < router->entry_count; i++)
		router->form_count -= router->entries[i].form;
	router->entry_count = count;
	editor__key_index_cut(router->keys, count);
}
