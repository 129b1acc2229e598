#include "editor/gap.h"
#include "base/fault.h"
#include "base/order.h"
#include "editor/wise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CALIBRATION_MAGIC  "AMWC"
#define CALIBRATION_FORMAT 2u
#define INDEX_MAGIC        "AMGP"
#define INDEX_FORMAT       1u
#define INDEX_ENTRIES_MAX  1000000u
#define ENTRY_BYTES        12u

/* ---- Settings */

bool editor_wise_calibration_is(const void *bytes, size_t len)
{
	return len >= 4 && memcmp(bytes, CALIBRATION_MAGIC, 4) == 0;
}

int editor_wise_calibration_encode(const struct editor_wise_calibration *calibration, struct buf *out, struct err *e)
{
	const struct editor_wise_config *c = &calibration->wise;
	const float reals[] = { c->alpha,      c->beta,       c->gamma,     c->rate,      c->clip,
				c->mask_ratio, c->stop_delta, c->stop_loss, c->act_ratio, c->merge_density };
	const size_t sizes[] = { c->steps_max, c->prefix_tokens[0], c->prefix_tokens[1], c->merge_shards,
				 (size_t)c->merge_operator };
	const bool bits[] = { c->prefixes, c->activation_loss, c->replay, c->merge_trim_nonzero };
	buf_append(out, CALIBRATION_MAGIC, 4);
	buf_u32le(out, CALIBRATION_FORMAT);
	buf_append(out, calibration->base_model.bytes, HASH_BYTES);
	buf_append(out, calibration->corpus.bytes, HASH_BYTES);
	buf_u32le(out, calibration->layer);
	for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++)
		buf_f32le(out, reals[i]);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		buf_u32le(out, (uint32_t)sizes[i]);
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		buf_u8(out, bits[i] ? 1 : 0);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "settings of the paper's family: out of memory") : 0;
}

static void read_wise(struct reader *r, struct editor_wise_config *c)
{
	float *const reals[] = { &c->alpha,      &c->beta,       &c->gamma,     &c->rate,      &c->clip,
				 &c->mask_ratio, &c->stop_delta, &c->stop_loss, &c->act_ratio, &c->merge_density };
	size_t *const sizes[] = { &c->steps_max, &c->prefix_tokens[0], &c->prefix_tokens[1], &c->merge_shards };
	bool *const bits[] = { &c->prefixes, &c->activation_loss, &c->replay, &c->merge_trim_nonzero };
	for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++)
		*reals[i] = reader_f32le(r);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		*sizes[i] = reader_u32le(r);
	c->merge_operator = (enum merge_operator)reader_u32le(r);
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		*bits[i] = reader_u8(r) != 0;
}

int editor_wise_calibration_decode(const void *bytes, size_t len, struct editor_wise_calibration *out, struct err *e)
{
	struct reader r;
	reader_init(&r, bytes, len);
	if (!editor_wise_calibration_is(reader_bytes(&r, 4), len))
		return err_set(e, ERR_CORRUPT, "settings of the paper's family: do not begin with " CALIBRATION_MAGIC);
	const uint32_t format = reader_u32le(&r);
	if (!r.overrun && format != CALIBRATION_FORMAT)
		return err_set(e, ERR_UNSUPPORTED,
			       "settings of the paper's family: format %u is not known, this program reads %u", format,
			       CALIBRATION_FORMAT);
	const void *base = reader_bytes(&r, HASH_BYTES), *corpus = reader_bytes(&r, HASH_BYTES);
	*out = (struct editor_wise_calibration){ .layer = reader_u32le(&r) };
	read_wise(&r, &out->wise);
	if (r.overrun || r.at != r.len)
		return err_set(e, ERR_CORRUPT, "settings of the paper's family: %zu bytes are not their length", len);
	memcpy(out->base_model.bytes, base, HASH_BYTES);
	memcpy(out->corpus.bytes, corpus, HASH_BYTES);
	return 0;
}

/* ---- Index bytes */

int editor_gap_index_encode(const struct editor_gap_entry *entries, size_t entry_count, float act_ratio,
			    struct buf *out, struct err *e)
{
	if (entry_count > INDEX_ENTRIES_MAX)
		return err_set(e, ERR_LIMIT, "index of %zu gaps: at most %u", entry_count, INDEX_ENTRIES_MAX);
	for (size_t i = 0; i < entry_count; i++) {
		if (!isfinite(entries[i].gap) || entries[i].gap < 0)
			return err_set(e, ERR_INVALID, "index: the gap of edit %llu is %g",
				       (unsigned long long)entries[i].seq, (double)entries[i].gap);
	}
	buf_append(out, INDEX_MAGIC, 4);
	buf_u32le(out, INDEX_FORMAT);
	buf_f32le(out, act_ratio);
	buf_u32le(out, (uint32_t)entry_count);
	for (size_t i = 0; i < entry_count; i++) {
		buf_u64le(out, entries[i].seq);
		buf_f32le(out, entries[i].gap);
	}
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "index of %zu gaps: out of memory", entry_count) : 0;
}

/* ---- The router */

struct member { /* a live edit in a memory */
	uint64_t seq;
	size_t memory; /* as given */
};
struct memory {
	const float *delta;
	size_t memory; /* as given */
	double threshold;
};
struct editor_gap_router {
	size_t hidden, ffn;
	struct memory *memories;
	size_t memory_count;
	struct member *members;
	size_t member_count;
};

int editor_gap_router_new(size_t hidden, size_t ffn, struct editor_gap_router **out, struct err *e)
{
	struct editor_gap_router *router = fault_calloc(1, sizeof(*router));
	if (router == NULL)
		return err_set(e, ERR_NOMEM, "router: out of memory");
	router->hidden = hidden;
	router->ffn = ffn;
	*out = router;
	return 0;
}

void editor_gap_router_destroy(struct editor_gap_router **router)
{
	if (*router == NULL)
		return;
	free((*router)->memories);
	free((*router)->members);
	free(*router);
	*router = NULL;
}

static int reserve(struct editor_gap_router *router, size_t more, struct err *e)
{
	struct memory *memories =
		fault_realloc(router->memories, (router->memory_count + 1) * sizeof(*router->memories));
	if (memories != NULL)
		router->memories = memories;
	struct member *members =
		fault_realloc(router->members, (router->member_count + more + 1) * sizeof(*router->members));
	if (members != NULL)
		router->members = members;
	return memories != NULL && members != NULL
		       ? 0
		       : err_set(e, ERR_NOMEM, "router: out of memory for %zu edits", router->member_count + more);
}

static int read_header(struct reader *r, float *act_ratio, size_t *count, struct err *e)
{
	const void *magic = reader_bytes(r, 4);
	if (magic == NULL || memcmp(magic, INDEX_MAGIC, 4) != 0)
		return err_set(e, ERR_CORRUPT,
			       "index: does not begin with " INDEX_MAGIC ", as one of the paper's family does");
	const uint32_t format = reader_u32le(r);
	*act_ratio = reader_f32le(r);
	*count = reader_u32le(r);
	if (r->overrun)
		return err_set(e, ERR_CORRUPT, "index: header cut off");
	if (format != INDEX_FORMAT)
		return err_set(e, ERR_UNSUPPORTED, "index: format %u is not known, this program reads %u", format,
			       INDEX_FORMAT);
	if (!isfinite(*act_ratio) || *act_ratio < 0)
		return err_set(e, ERR_CORRUPT, "index: its act_ratio is %g", (double)*act_ratio);
	if (*count > INDEX_ENTRIES_MAX || r->len - r->at != *count * ENTRY_BYTES)
		return err_set(e, ERR_CORRUPT, "index: %zu gaps announced in %zu bytes", *count, r->len - r->at);
	return 0;
}

/* The live edits go behind the router's members, their gaps to `gaps`; both have room for all. */
static int read_entries(struct editor_gap_router *router, struct reader *r, size_t count, size_t memory,
			const uint64_t *removed, size_t removed_count, double *gaps, size_t *live, struct err *e)
{
	struct member *members = router->members + router->member_count;
	for (size_t i = 0; i < count; i++) {
		const uint64_t seq = reader_u64le(r);
		const float gap = reader_f32le(r);
		if (!isfinite(gap) || gap < 0)
			return err_set(e, ERR_CORRUPT, "index: the gap of edit %llu is %g", (unsigned long long)seq,
				       (double)gap);
		if (removed_count > 0 && bsearch(&seq, removed, removed_count, sizeof(*removed), order_u64) != NULL)
			continue;
		members[*live] = (struct member){ seq, memory };
		gaps[(*live)++] = (double)gap;
	}
	return 0;
}

int editor_gap_router_add(struct editor_gap_router *router, const float *delta, const void *index, size_t index_len,
			  size_t memory, bool covers, const uint64_t *removed, size_t removed_count, struct err *e)
{
	struct reader r;
	float act_ratio = 0;
	size_t count = 0, live = 0;
	reader_init(&r, index, index_len);
	int rc = read_header(&r, &act_ratio, &count, e);
	if (rc == 0)
		rc = reserve(router, count, e);
	if (rc != 0)
		return rc;
	double *gaps = fault_malloc((count + 1) * sizeof(*gaps));
	uint64_t *sorted = fault_malloc((removed_count + 1) * sizeof(*sorted));
	if (gaps == NULL || sorted == NULL) {
		rc = err_set(e, ERR_NOMEM, "router: out of memory");
	} else {
		if (removed_count > 0)
			memcpy(sorted, removed, removed_count * sizeof(*sorted));
		qsort(sorted, removed_count, sizeof(*sorted), order_u64);
		rc = read_entries(router, &r, count, memory, sorted, removed_count, gaps, &live, e);
	}
	if (rc == 0) {
		router->memories[router->memory_count++] =
			(struct memory){ delta, memory, editor_wise_threshold(gaps, live, act_ratio) };
		router->member_count += covers ? 0 : live;
	}
	free(gaps);
	free(sorted);
	return rc;
}

size_t editor_gap_router_count(const struct editor_gap_router *router)
{
	return router->member_count;
}

bool editor_gap_router_memory_of(const struct editor_gap_router *router, uint64_t seq, size_t *memory)
{
	for (size_t i = 0; i < router->member_count; i++) {
		if (router->members[i].seq == seq) {
			*memory = router->members[i].memory;
			return true;
		}
	}
	return false;
}

/* ---- Routes */

static void put_route(const struct memory *memories, const double *gaps, const double *thresholds, size_t count,
		      struct editor_route *out)
{
	size_t best = editor_wise_choose(gaps, thresholds, count);
	out->routed = best != SIZE_MAX;
	for (size_t i = 0; i < count && !out->routed; i++) {
		if (best == SIZE_MAX || gaps[i] * thresholds[best] > gaps[best] * thresholds[i])
			best = i;
	}
	if (best == SIZE_MAX)
		return;
	out->memory = memories[best].memory;
	out->prompt_score = (float)gaps[best];
	out->prompt_threshold = (float)thresholds[best];
}

int editor_gap_router_route(const struct editor_gap_router *router, const struct editor_prompt *prompt,
			    bool (*admitted)(const void *context, size_t memory), const void *context,
			    struct editor_route *out, struct err *e)
{
	const size_t most = router->memory_count;
	size_t count = 0;
	int rc = 0;
	memset(out, 0, sizeof(*out));
	if (most == 0)
		return 0;
	struct memory *memories = fault_malloc(most * sizeof(*memories));
	double *gaps = fault_malloc(most * sizeof(*gaps)), *thresholds = fault_malloc(most * sizeof(*thresholds));
	float *product = fault_malloc(prompt->id_count * router->hidden * sizeof(*product));
	if (memories == NULL || gaps == NULL || thresholds == NULL || product == NULL)
		rc = err_set(e, ERR_NOMEM, "route: out of memory");
	for (size_t i = 0; i < most && rc == 0; i++) {
		const struct memory *m = &router->memories[i];
		if (isinf(m->threshold) || (admitted != NULL && !admitted(context, m->memory)))
			continue;
		rc = editor_wise_gap(prompt->backend, prompt->inputs, prompt->id_count, m->delta, router->hidden,
				     router->ffn, product, &gaps[count], e);
		memories[count] = *m;
		thresholds[count++] = m->threshold;
	}
	if (rc == 0)
		put_route(memories, gaps, thresholds, count, out);
	free(memories);
	free(gaps);
	free(thresholds);
	free(product);
	return rc;
}
