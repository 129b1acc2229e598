#include "editor/route.h"
#include "base/fault.h"
#include "editor/dot.h"
#include "editor/key_index.h"
#include "editor/prompt.h"
#include "editor/words.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_MAGIC             "AMIX"
#define INDEX_FORMAT            3u
#define INDEX_ENTRIES_MAX       1000000u
#define INDEX_SUBJECT_BYTES_MAX 8192u
#define INDEX_WORDS_BYTES_MAX   32768u
#define INDEX_TARGET_IDS_MAX    65536u
#define INDEX_SUBJECT_GIVEN     1u /* flags */
#define SUBJECTS_TRIED          4  /* a text that names more of them is about none */

struct entry {
	uint64_t seq;
	size_t memory;
	size_t subject, subject_len; /* where it stands in `bytes` */
	size_t words, words_len;     /* the same; without common ones */
	bool subject_given;
	size_t target_ids, target_count, anchors, anchor_count; /* the same; bytes of anchor.h */
};

struct editor_router {
	const struct editor_calibration *calibration;
	size_t ffn, dims; /* of relation keys */
	struct entry *entries;
	struct editor__key_index *keys; /* of entry_count prompt keys, hidden floats, unit length */
	float *relations;               /* entry_count × dims, unit length */
	size_t entry_count, entry_cap;
	struct buf bytes; /* subjects, words, target tokens, anchor rows */
};

/* ---- Index bytes */

static int encode_entry(const struct editor_index_entry *entry, size_t hidden, size_t ffn, struct buf *out,
			struct err *e)
{
	const unsigned long long seq = entry->seq;
	if (entry->subject.len > INDEX_SUBJECT_BYTES_MAX || entry->words.len > INDEX_WORDS_BYTES_MAX ||
	    entry->target_count > INDEX_TARGET_IDS_MAX || entry->anchor_count > EDITOR_ANCHOR_ROWS_MAX)
		return err_set(
			e, ERR_LIMIT,
			"index: edit %llu has a subject of %zu bytes, words of %zu, %zu target tokens and %zu anchors: "
			"at most %u, %u, %u and %u",
			seq, entry->subject.len, entry->words.len, entry->target_count, entry->anchor_count,
			INDEX_SUBJECT_BYTES_MAX, INDEX_WORDS_BYTES_MAX, INDEX_TARGET_IDS_MAX, EDITOR_ANCHOR_ROWS_MAX);
	buf_u64le(out, entry->seq);
	buf_u32le(out, entry->subject_given ? INDEX_SUBJECT_GIVEN : 0);
	buf_u32le(out, (uint32_t)entry->subject.len);
	buf_append(out, entry->subject.text, entry->subject.len);
	buf_u32le(out, (uint32_t)entry->words.len);
	buf_append(out, entry->words.text, entry->words.len);
	for (size_t k = 0; k < hidden; k++)
		buf_f32le(out, entry->raw[k]);
	for (size_t k = 0; k < hidden; k++)
		buf_f32le(out, entry->relation[k]);
	buf_u32le(out, (uint32_t)entry->target_count);
	for (size_t k = 0; k < entry->target_count; k++)
		buf_u32le(out, (uint32_t)entry->target_ids[k]);
	buf_u32le(out, (uint32_t)entry->anchor_count);
	int rc = editor_anchor_encode(entry->anchors, entry->anchor_count, ffn, out);
	return rc == ERR_INVALID ? err_set(e, rc, "index: an input of edit %llu is not finite", seq) : 0;
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
	int rc = editor__key_index_new(calibration->hidden, NULL, &router->keys, e);
	if (rc != 0) {
		free(router);
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
	return router->entry_count;
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
	struct entry *entries = fault_realloc(router->entries, cap * sizeof(*entries));
	if (entries != NULL)
		router->entries = entries;
	if (entries == NULL || grow(&router->relations, cap, router->dims) != 0)
		return err_set(e, ERR_NOMEM, "router of %zu edits: out of memory", need);
	router->entry_cap = cap;
	return 0;
}

static int by_seq(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static int read_floats(struct reader *r, size_t count, float *out, uint64_t seq, struct err *e)
{
	for (size_t k = 0; k < count; k++) {
		out[k] = reader_f32le(r);
		if (!isfinite(out[k]))
			return err_set(e, ERR_CORRUPT, "index: the key of edit %llu holds a number that is not finite",
				       (unsigned long long)seq);
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

static int read_anchor(struct reader *r, struct editor_router *router, struct entry *entry, struct err *e)
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

static struct editor__common_words common_of(const struct editor_router *router)
{
	return (struct editor__common_words){ router->calibration->relation.common,
					      router->calibration->relation.common_count };
}

static int read_words(struct reader *r, struct editor_router *router, struct entry *entry, struct err *e)
{
	const size_t len = reader_u32le(r);
	const struct editor__common_words common = common_of(router);
	if (len > INDEX_WORDS_BYTES_MAX)
		return err_set(e, ERR_CORRUPT, "index: %zu bytes of words", len);
	const void *words = reader_bytes(r, len);
	if (words == NULL && len > 0)
		return err_set(e, ERR_CORRUPT, "index: cut off after %zu bytes", r->len);
	entry->words = router->bytes.len;
	int rc = editor__words_uncommon(words, len, &common, &router->bytes);
	entry->words_len = router->bytes.len - entry->words;
	return rc != 0 ? err_set(e, rc, "index: out of memory") : 0;
}

/* One entry of the bytes; `raw` is room for 2 × hidden floats. */
static int read_entry(struct reader *r, struct editor_router *router, struct entry *entry, float *raw, struct err *e)
{
	const size_t hidden = router->calibration->hidden;
	entry->seq = reader_u64le(r);
	entry->subject_given = (reader_u32le(r) & INDEX_SUBJECT_GIVEN) != 0;
	entry->subject_len = reader_u32le(r);
	if (entry->subject_len > INDEX_SUBJECT_BYTES_MAX)
		return err_set(e, ERR_CORRUPT, "index: a subject of %zu bytes", entry->subject_len);
	int rc = read_bytes(r, entry->subject_len, &router->bytes, &entry->subject, e);
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
	if (*count > INDEX_ENTRIES_MAX || *count > (r->len - r->at) / (28 + 2 * hidden * sizeof(float)))
		return err_set(e, ERR_CORRUPT, "index: %zu edits announced, the bytes hold fewer", *count);
	return 0;
}

/* `raw` is room for 3 × hidden floats: raw keys and the prompt key. */
static int add_entries(struct editor_router *router, struct reader *r, size_t count, size_t memory,
		       const uint64_t *removed, size_t removed_count, float *raw, struct err *e)
{
	const size_t hidden = router->calibration->hidden;
	for (size_t i = 0; i < count; i++) {
		struct entry entry = { .memory = memory };
		const size_t bytes_before = router->bytes.len;
		int rc = read_entry(r, router, &entry, raw, e);
		if (rc != 0)
			return rc;
		if (removed_count > 0 &&
		    bsearch(&entry.seq, removed, removed_count, sizeof(*removed), by_seq) != NULL) {
			router->bytes.len = bytes_before;
			continue;
		}
		const size_t at = router->entry_count++;
		editor_calibration_key(router->calibration, raw, raw + 2 * hidden);
		editor__key_index_add(router->keys, raw + 2 * hidden);
		editor_calibration_relation_key(router->calibration, raw + hidden,
						router->relations + at * router->dims);
		router->entries[at] = entry;
	}
	return r->at == r->len
		       ? 0
		       : err_set(e, ERR_CORRUPT, "index: %zu bytes left over after %zu edits", r->len - r->at, count);
}

int editor_router_add(struct editor_router *router, const void *bytes, size_t len, size_t memory,
		      const uint64_t *removed, size_t removed_count, struct err *e)
{
	const size_t before = router->entry_count, bytes_before = router->bytes.len;
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
		qsort(sorted, removed_count, sizeof(*sorted), by_seq);
		rc = add_entries(router, &r, count, memory, sorted, removed_count, raw, e);
	}
	free(raw);
	free(sorted);
	if (rc != 0) {
		router->entry_count = before;
		editor__key_index_cut(router->keys, before);
		router->bytes.len = bytes_before;
		router->bytes.failed = false;
	}
	return rc;
}

/* ---- Routes */

/* A route in the making: the candidates, nearest first, and the text that asks. */
struct choice {
	const struct editor_router *router;
	const struct editor__prompt *prompt;
	struct editor__candidate best[EDITOR_CANDIDATES + 1];
	size_t count;
	float open;           /* threshold of edits without a subject */
	uint64_t absent;      /* bit i: the words that stand for candidate i's subject do not stand in the text */
	size_t chosen;        /* `count`: none */
	float relation_score; /* of the chosen one, or of what came nearest to being chosen */
	size_t refused;       /* the candidate that the relation key alone refused first; `count`: none */
	float *raw, *key;     /* room for a relation key */
	struct buf words;     /* of the text beside the subject at hand, without common ones */
};

static const float *relation_at(const struct editor_router *router, size_t entry)
{
	return router->relations + entry * router->dims;
}

/* Memory that is read soon: candidates lie far apart. */
static void fetch(const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64)
		__builtin_prefetch((const char *)from + i);
}

static const struct entry *entry_of(const struct choice *c, size_t candidate)
{
	return &c->router->entries[c->best[candidate].entry];
}

static const char *subject_of(const struct choice *c, size_t candidate)
{
	return (const char *)c->router->bytes.data + entry_of(c, candidate)->subject;
}

static bool same_subject(const struct choice *c, size_t a, size_t b)
{
	const struct entry *x = entry_of(c, a), *y = entry_of(c, b);
	return a == b || (x->subject_given && y->subject_given && x->subject_len == y->subject_len &&
			  memcmp(subject_of(c, a), subject_of(c, b), x->subject_len) == 0);
}

/* What the prompt score of candidate i must reach. The words that stand for a subject that nobody gave (prompt.h) are
 * only a guess, so a text without them may still ask for the edit; but then it must be as near as if there were many
 * edits: with few the open threshold lets questions of the edit's form about anything else through. */
static float prompt_threshold(const struct choice *c, size_t i, bool subject_stands)
{
	const struct editor_calibration *calibration = c->router->calibration;
	const float strict = calibration->thresholds[EDITOR_THRESHOLDS - 1].threshold;
	if (entry_of(c, i)->subject_given)
		return calibration->subject_threshold;
	return subject_stands || strict < c->open ? c->open : strict;
}

_Static_assert(EDITOR_CANDIDATES < 64, "candidates are bits of choice.absent");

/* Whether the prompt key lets candidate i be a route. */
static int passes_prompt(struct choice *c, size_t i, bool *passes)
{
	const struct entry *entry = entry_of(c, i);
	float share = 0;
	*passes = false;
	if (c->best[i].score < prompt_threshold(c, i, true))
		return 0;
	const struct editor__query *query = &c->prompt->query;
	const char *subject = subject_of(c, i);
	/* names that are only alike are other names, unless people said that this one is the subject */
	int rc = entry->subject_given ? editor__query_share(query, subject, entry->subject_len, &share)
				      : editor__query_share_spelled(query, subject, entry->subject_len, &share);
	const bool stands = entry->subject_len == 0 || share >= EDITOR_SUBJECT_SHARE;
	c->absent |= stands ? 0 : UINT64_C(1) << i;
	*passes = entry->subject_given ? stands : c->best[i].score >= prompt_threshold(c, i, stands);
	return rc;
}

/* What the text says beside the words that are marked. */
static int put_words(struct choice *c, const uint8_t *marks)
{
	const struct editor__common_words common = common_of(c->router);
	struct buf all = BUF_INIT;
	int rc = editor__words_unmarked(&c->prompt->query, marks, &all);
	c->words.len = 0;
	if (rc == 0 && all.len > 0)
		rc = editor__words_uncommon((const char *)all.data, all.len, &common, &c->words);
	buf_free(&all);
	return rc;
}

/* Its relation key and words beside the subject of candidate i. */
static int take_relation(struct choice *c, size_t i)
{
	const struct editor_router *router = c->router;
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	int rc = editor__query_mark(&c->prompt->query, subject_of(c, i), entry_of(c, i)->subject_len, marks);
	if (rc == 0)
		rc = editor__prompt_relation(c->prompt, router->calibration->hidden, marks, c->raw);
	if (rc == 0)
		rc = put_words(c, marks);
	if (rc == 0)
		editor_calibration_relation_key(router->calibration, c->raw, c->key);
	return rc;
}

/* Relation score of candidate i with the key and the words at hand. */
static float relation_of(const struct choice *c, size_t i)
{
	const struct editor_router *router = c->router;
	const struct entry *entry = entry_of(c, i);
	const char *words = (const char *)router->bytes.data + entry->words;
	return editor__dot(c->key, relation_at(router, c->best[i].entry), router->dims) +
	       EDITOR_RELATION_WORDS *
		       editor__words_share(words, entry->words_len, (const char *)c->words.data, c->words.len);
}

/* Of the candidates on the subject of candidate `first` the one whose relation is nearest to the prompt's. */
static int nearest_relation(struct choice *c, size_t first, size_t *best, float *score)
{
	const struct editor_router *router = c->router;
	size_t alike[EDITOR_CANDIDATES], count = 0;
	for (size_t i = first; i < c->count; i++) {
		if (!same_subject(c, first, i))
			continue;
		alike[count++] = i;
		fetch(relation_at(router, c->best[i].entry), router->dims * sizeof(float));
		fetch(router->bytes.data + entry_of(c, i)->words, entry_of(c, i)->words_len);
	}
	int rc = take_relation(c, first);
	if (rc != 0)
		return rc;
	*score = -INFINITY;
	for (size_t i = 0; i < count; i++) {
		const float own = relation_of(c, alike[i]);
		if (own > *score) {
			*score = own;
			*best = alike[i];
		}
	}
	return 0;
}

static int choose(struct choice *c)
{
	size_t tried[SUBJECTS_TRIED], tried_count = 0;
	int rc = 0;
	c->chosen = c->refused = c->count;
	for (size_t i = 0; i < c->count && rc == 0 && c->chosen == c->count && tried_count < SUBJECTS_TRIED; i++) {
		bool passes = false, again = false;
		for (size_t t = 0; t < tried_count; t++)
			again = again || same_subject(c, tried[t], i);
		if (!again)
			rc = passes_prompt(c, i, &passes);
		if (rc != 0 || !passes)
			continue;
		size_t best = i;
		float score = 0;
		rc = nearest_relation(c, i, &best, &score);
		tried[tried_count++] = i;
		if (rc == 0 && score >= c->router->calibration->relation.threshold) {
			c->chosen = best;
			c->relation_score = score;
		} else if (rc == 0 && c->refused == c->count) {
			c->refused = best;
			c->relation_score = score;
		}
	}
	return rc;
}

static void put_route(struct choice *c, struct editor_route *out)
{
	const struct editor_router *router = c->router;
	const size_t front = c->chosen < c->count ? c->chosen : c->refused < c->count ? c->refused : 0;
	const bool given = entry_of(c, front)->subject_given;
	const float needed = prompt_threshold(c, front, (c->absent >> front & 1) == 0);
	const struct editor__candidate first = c->best[front];
	memmove(c->best + 1, c->best, front * sizeof(*c->best));
	c->best[0] = first;
	const struct entry *entry = entry_of(c, 0);
	const bool past_prompt = c->chosen < c->count || c->refused < c->count;
	out->routed = c->chosen < c->count;
	out->memory = entry->memory;
	out->prompt_score = first.score;
	out->subject_found = past_prompt && entry->subject_given;
	out->prompt_threshold = out->subject_found || !given ? needed : c->open;
	out->relation_score = past_prompt ? c->relation_score : 0;
	out->relation_threshold = router->calibration->relation.threshold;
	if (out->routed)
		out->anchor = (struct editor_anchor){ .ids = router->bytes.data + entry->target_ids,
						      .inputs = router->bytes.data + entry->anchors,
						      .id_count = entry->target_count,
						      .row_count = entry->anchor_count,
						      .scale = editor_anchor_scale(first.score) };
	out->nearest_count = c->count < EDITOR_NEAREST ? c->count : EDITOR_NEAREST;
	for (size_t k = 0; k < out->nearest_count; k++) {
		out->nearest[k] = entry_of(c, k)->seq;
		out->nearest_score[k] = c->best[k].score;
	}
}

static int route(struct choice *c, const struct editor_prompt *prompt)
{
	const struct editor_router *router = c->router;
	const size_t hidden = router->calibration->hidden;
	const struct model_segment whole = { .row_count = prompt->id_count };
	editor_route_raw_keys(prompt->prompt_states, &whole, 1, hidden, c->raw);
	editor_calibration_key(router->calibration, c->raw, c->key);
	int rc = editor__key_index_search(router->keys, c->key, c->best, &c->count);
	for (size_t i = 0; i < c->count; i++)
		fetch(entry_of(c, i), sizeof(struct entry));
	return rc == 0 ? choose(c) : rc;
}

int editor_router_route(const struct editor_router *router, const struct model_tokenizer *tokenizer,
			const struct editor_prompt *prompt, struct editor_route *out, struct err *e)
{
	const size_t hidden = router->calibration->hidden;
	struct editor__prompt text;
	struct choice c = { .router = router, .prompt = &text };
	memset(out, 0, sizeof(*out));
	/* k looks at n edits come near one by chance as often as one look at k·n */
	c.open = out->prompt_threshold = editor_calibration_threshold(
		router->calibration, router->entry_count * (prompt->looks > 1 ? prompt->looks : 1));
	out->relation_threshold = router->calibration->relation.threshold;
	if (router->entry_count == 0)
		return 0;
	c.raw = fault_malloc((2 * hidden + router->dims) * sizeof(*c.raw));
	int rc = editor__prompt_init(&text, tokenizer, prompt);
	if (rc == 0 && c.raw == NULL)
		rc = ERR_NOMEM;
	if (rc == 0) {
		c.key = c.raw + hidden;
		rc = route(&c, prompt);
	}
	if (rc == 0)
		put_route(&c, out);
	editor__prompt_fini(&text);
	buf_free(&c.words);
	free(c.raw);
	return rc != 0 ? err_set(e, rc, "route: out of memory") : 0;
}

int editor_route_subject_in(const char *subject, size_t subject_len, const char *text, size_t text_len, bool *found)
{
	struct editor__query query;
	float share = 0;
	int rc = editor__query_init(&query, text, text_len);
	if (rc == 0)
		rc = editor__query_share(&query, subject, subject_len, &share);
	editor__query_fini(&query);
	*found = rc == 0 && share >= EDITOR_SUBJECT_SHARE;
	return rc;
}

void editor_route_raw_keys(const float *states, const struct model_segment *segments, size_t segment_count,
			   size_t hidden, float *raw)
{
	for (size_t s = 0; s < segment_count; s++) {
		const size_t rows = segments[s].row_count, first = rows > 1 ? 1 : 0;
		float *key = raw + s * hidden;
		assert(rows > 0);
		memset(key, 0, hidden * sizeof(*key));
		for (size_t r = first; r < rows; r++) {
#pragma omp simd
			for (size_t k = 0; k < hidden; k++)
				key[k] += states[r * hidden + k];
		}
		for (size_t k = 0; k < hidden; k++)
			key[k] /= (float)(rows - first);
		states += rows * hidden;
	}
}
