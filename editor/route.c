#include "editor/route.h"
#include "base/fault.h"
#include "editor/subject.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_MAGIC             "AMIX"
#define INDEX_FORMAT            1u
#define INDEX_ENTRIES_MAX       1000000u
#define INDEX_SUBJECT_BYTES_MAX 8192u

struct entry {
	uint64_t seq;
	size_t memory;
	size_t subject, subject_len; /* where it stands in `subjects` */
};

struct editor_router {
	const struct editor_calibration *calibration;
	struct entry *entries;
	float *keys; /* entry_count × hidden, unit length */
	size_t entry_count, entry_cap;
	struct buf subjects; /* folded */
};

/* ---- Index bytes */

int editor_index_encode(const struct editor_index_entry *entries, size_t entry_count, size_t hidden, struct buf *out,
			struct err *e)
{
	if (hidden == 0 || hidden > EDITOR_HIDDEN_MAX || entry_count > INDEX_ENTRIES_MAX)
		return err_set(e, ERR_LIMIT, "index of %zu edits with keys of %zu: at most %u edits, keys of 1 to %u",
			       entry_count, hidden, INDEX_ENTRIES_MAX, EDITOR_HIDDEN_MAX);
	const size_t start = out->len;
	buf_append(out, INDEX_MAGIC, 4);
	buf_u32le(out, INDEX_FORMAT);
	buf_u32le(out, (uint32_t)hidden);
	buf_u32le(out, (uint32_t)entry_count);
	for (size_t i = 0; i < entry_count; i++) {
		const struct editor_index_entry *entry = &entries[i];
		if (entry->subject.len > INDEX_SUBJECT_BYTES_MAX) {
			out->len = start;
			return err_set(e, ERR_LIMIT, "index: the subject of edit %llu has %zu bytes, at most %u",
				       (unsigned long long)entry->seq, entry->subject.len, INDEX_SUBJECT_BYTES_MAX);
		}
		buf_u64le(out, entry->seq);
		buf_u32le(out, (uint32_t)entry->subject.len);
		buf_append(out, entry->subject.text, entry->subject.len);
		for (size_t k = 0; k < hidden; k++)
			buf_f32le(out, entry->raw[k]);
	}
	if (buf_failed(out)) {
		out->len = start;
		return err_set(e, ERR_NOMEM, "index of %zu edits: out of memory", entry_count);
	}
	return 0;
}

/* ---- The router */

int editor_router_new(const struct editor_calibration *calibration, struct editor_router **out, struct err *e)
{
	struct editor_router *router = fault_calloc(1, sizeof(*router));
	if (router == NULL)
		return err_set(e, ERR_NOMEM, "router: out of memory");
	router->calibration = calibration;
	*out = router;
	return 0;
}

void editor_router_destroy(struct editor_router **router)
{
	if (*router == NULL)
		return;
	free((*router)->entries);
	free((*router)->keys);
	buf_free(&(*router)->subjects);
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

static int reserve(struct editor_router *router, size_t more, struct err *e)
{
	const size_t hidden = router->calibration->hidden, need = router->entry_count + more;
	if (need > INDEX_ENTRIES_MAX)
		return err_set(e, ERR_LIMIT, "router: more than %u edits in one version", INDEX_ENTRIES_MAX);
	if (need <= router->entry_cap)
		return 0;
	struct entry *entries = fault_realloc(router->entries, need * sizeof(*entries));
	if (entries == NULL)
		return err_set(e, ERR_NOMEM, "router of %zu edits: out of memory", need);
	router->entries = entries;
	float *keys = fault_realloc(router->keys, need * hidden * sizeof(*keys));
	if (keys == NULL)
		return err_set(e, ERR_NOMEM, "router of %zu edits: out of memory", need);
	router->keys = keys;
	router->entry_cap = need;
	return 0;
}

static bool is_removed(uint64_t seq, const uint64_t *removed, size_t removed_count)
{
	for (size_t i = 0; i < removed_count; i++) {
		if (removed[i] == seq)
			return true;
	}
	return false;
}

void editor_calibration_key(const struct editor_calibration *calibration, const float *raw, float *key)
{
	const size_t hidden = calibration->hidden;
	memset(key, 0, hidden * sizeof(*key));
	for (size_t i = 0; i < hidden; i++) {
		const float z = (raw[i] - calibration->mean[i]) / calibration->deviation[i];
		const float *row = calibration->whiten + i * hidden;
		/* upper triangular: nothing before the diagonal */
		for (size_t j = i; j < hidden; j++)
			key[j] += z * row[j];
	}
	double square = 0;
	for (size_t j = 0; j < hidden; j++)
		square += (double)key[j] * (double)key[j];
	const float scale = square > 0 ? (float)(1.0 / sqrt(square)) : 0.0f;
	for (size_t j = 0; j < hidden; j++)
		key[j] *= scale;
}

/* One entry of the bytes, its subject at the end of `subjects`; `raw` is room for hidden floats. */
static int read_entry(struct reader *r, size_t hidden, struct buf *subjects, struct entry *entry, float *raw,
		      struct err *e)
{
	entry->seq = reader_u64le(r);
	const uint32_t subject_len = reader_u32le(r);
	const void *subject = subject_len <= INDEX_SUBJECT_BYTES_MAX ? reader_bytes(r, subject_len) : NULL;
	if (subject_len > 0 && subject == NULL)
		return err_set(e, ERR_CORRUPT, "index: a subject of %u bytes does not fit", subject_len);
	entry->subject = subjects->len;
	entry->subject_len = subject_len;
	if (subject_len > 0)
		buf_append(subjects, subject, subject_len);
	if (buf_failed(subjects))
		return err_set(e, ERR_NOMEM, "index: out of memory");
	for (size_t k = 0; k < hidden; k++)
		raw[k] = reader_f32le(r);
	if (r->overrun)
		return err_set(e, ERR_CORRUPT, "index: cut off after %zu bytes", r->len);
	for (size_t k = 0; k < hidden; k++) {
		if (!isfinite(raw[k]))
			return err_set(e, ERR_CORRUPT, "index: the key of edit %llu holds a number that is not finite",
				       (unsigned long long)entry->seq);
	}
	return 0;
}

static int read_header(struct reader *r, size_t hidden, size_t *count, struct err *e)
{
	const void *magic = reader_bytes(r, 4);
	if (magic == NULL || memcmp(magic, INDEX_MAGIC, 4) != 0)
		return err_set(e, ERR_CORRUPT, "index: does not begin with " INDEX_MAGIC);
	const uint32_t format = reader_u32le(r), width = reader_u32le(r);
	*count = reader_u32le(r);
	if (r->overrun)
		return err_set(e, ERR_CORRUPT, "index: header cut off");
	if (format != INDEX_FORMAT)
		return err_set(e, ERR_UNSUPPORTED, "index: format %u is not known, this program reads %u", format,
			       INDEX_FORMAT);
	if (width != hidden)
		return err_set(e, ERR_MISMATCH, "index: keys of %u, the calibration's model has %zu", width, hidden);
	if (*count > INDEX_ENTRIES_MAX || *count > (r->len - r->at) / (12 + hidden * sizeof(float)))
		return err_set(e, ERR_CORRUPT, "index: %zu edits announced, the bytes hold fewer", *count);
	return 0;
}

int editor_router_add(struct editor_router *router, const void *bytes, size_t len, size_t memory,
		      const uint64_t *removed, size_t removed_count, struct err *e)
{
	const size_t hidden = router->calibration->hidden, before = router->entry_count,
		     subjects_before = router->subjects.len;
	struct reader r;
	size_t count = 0;
	reader_init(&r, bytes, len);
	int rc = read_header(&r, hidden, &count, e);
	if (rc == 0)
		rc = reserve(router, count, e);
	if (rc != 0)
		return rc;
	float *raw = fault_malloc(hidden * sizeof(*raw));
	if (raw == NULL)
		return err_set(e, ERR_NOMEM, "router: out of memory");
	for (size_t i = 0; i < count && rc == 0; i++) {
		struct entry entry = { .memory = memory };
		rc = read_entry(&r, hidden, &router->subjects, &entry, raw, e);
		if (rc != 0 || is_removed(entry.seq, removed, removed_count))
			continue;
		editor_calibration_key(router->calibration, raw, router->keys + router->entry_count * hidden);
		router->entries[router->entry_count++] = entry;
	}
	free(raw);
	if (rc == 0 && r.at != r.len)
		rc = err_set(e, ERR_CORRUPT, "index: %zu bytes left over after %zu edits", r.len - r.at, count);
	if (rc != 0) {
		router->entry_count = before;
		router->subjects.len = subjects_before;
		router->subjects.failed = false;
	}
	return rc;
}

/* ---- Routes */

static float dot(const float *a, const float *b, size_t n)
{
	/* eight sums side by side: a compiler may not reorder one sum, and one chain of additions is slow */
	float sums[8] = { 0 };
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		for (size_t j = 0; j < 8; j++)
			sums[j] += a[i + j] * b[i + j];
	}
	for (; i < n; i++)
		sums[0] += a[i] * b[i];
	return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

struct candidate {
	size_t entry;
	float score;
};

/* Keeps the best EDITOR_CANDIDATES in order; the earlier entry wins a tie. */
static void keep_candidate(struct candidate *best, size_t *count, size_t entry, float score)
{
	size_t at = *count;
	while (at > 0 && score > best[at - 1].score)
		at--;
	if (at == EDITOR_CANDIDATES)
		return;
	if (*count < EDITOR_CANDIDATES)
		(*count)++;
	memmove(best + at + 1, best + at, (*count - 1 - at) * sizeof(*best));
	best[at] = (struct candidate){ .entry = entry, .score = score };
}

/* The first candidate that the rule of route.h takes, at its own threshold; `count` when none. */
static int choose(const struct editor_router *router, const struct candidate *best, size_t count, const char *text,
		  size_t text_len, size_t *chosen, bool *subject_found)
{
	const float open = editor_calibration_threshold(router->calibration, router->entry_count);
	struct editor__query query;
	int rc = editor__query_init(&query, text, text_len);
	size_t without = count;
	*chosen = count;
	for (size_t i = 0; i < count && rc == 0 && *chosen == count; i++) {
		const struct entry *entry = &router->entries[best[i].entry];
		float share = 0;
		if (entry->subject_len == 0 && best[i].score >= open && without == count)
			without = i;
		if (entry->subject_len == 0 || best[i].score < router->calibration->subject_threshold)
			continue;
		rc = editor__query_share(&query, (const char *)router->subjects.data + entry->subject,
					 entry->subject_len, &share);
		if (rc == 0 && share >= EDITOR_SUBJECT_SHARE)
			*chosen = i;
	}
	*subject_found = *chosen != count;
	/* a candidate without a subject that is nearer than the one that is named keeps its place */
	if (without < *chosen) {
		*chosen = without;
		*subject_found = false;
	}
	editor__query_fini(&query);
	return rc;
}

int editor_router_route(const struct editor_router *router, const float *raw, const char *text, size_t text_len,
			struct editor_route *out, struct err *e)
{
	const size_t hidden = router->calibration->hidden;
	struct candidate best[EDITOR_CANDIDATES + 1];
	float key[EDITOR_HIDDEN_MAX];
	size_t count = 0, chosen;
	memset(out, 0, sizeof(*out));
	out->prompt_threshold = editor_calibration_threshold(router->calibration, router->entry_count);
	if (router->entry_count == 0)
		return 0;
	editor_calibration_key(router->calibration, raw, key);
	for (size_t i = 0; i < router->entry_count; i++)
		keep_candidate(best, &count, i, dot(key, router->keys + i * hidden, hidden));
	int rc = choose(router, best, count, text, text_len, &chosen, &out->subject_found);
	if (rc != 0)
		return err_set(e, rc, "route: out of memory");
	out->routed = chosen != count;
	if (out->routed && chosen > 0) {
		const struct candidate first = best[chosen];
		memmove(best + 1, best, chosen * sizeof(*best));
		best[0] = first;
	}
	if (out->subject_found)
		out->prompt_threshold = router->calibration->subject_threshold;
	out->memory = router->entries[best[0].entry].memory;
	out->prompt_score = best[0].score;
	out->nearest_count = count < EDITOR_NEAREST ? count : EDITOR_NEAREST;
	for (size_t k = 0; k < out->nearest_count; k++) {
		out->nearest[k] = router->entries[best[k].entry].seq;
		out->nearest_score[k] = best[k].score;
	}
	return 0;
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
			for (size_t k = 0; k < hidden; k++)
				key[k] += states[r * hidden + k];
		}
		for (size_t k = 0; k < hidden; k++)
			key[k] /= (float)(rows - first);
		states += rows * hidden;
	}
}
