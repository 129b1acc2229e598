#include "editor/memory.h"
#include "base/fault.h"
#include "base/order.h"
#include "editor/delta.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PARTS_MAX 65536u /* memories of one version */

struct part {
	uint64_t id;
	float *delta; /* hidden × ffn */
	struct model_side side;
	uint64_t *sources;
	size_t source_count;
	uint64_t *lost; /* ascending */
	size_t lost_count;
	bool merged;
	size_t merged_part; /* a shard's: index of the merged memory that covers it, or its own index */
};

struct editor_memory_set {
	atomic_size_t references;
	uint64_t version;
	size_t layer;
	enum editor_set_kind default_kind;
	struct editor_calibration *calibration; /* NULL: nothing is routed */
	struct editor_router *router;           /* NULL with it */
	struct editor_gap_router *gaps;         /* family `paper`: instead of these two */
	struct editor_fitting fitting;
	bool has_fitting;
	struct part *parts;
	size_t part_count;
	bool has_merged;
};

static void parts_cut(struct editor_memory_set *set, size_t count)
{
	for (size_t i = count; i < set->part_count; i++) {
		free(set->parts[i].delta);
		free(set->parts[i].sources);
		free(set->parts[i].lost);
	}
	set->part_count = count;
}

static void set_free(struct editor_memory_set *set)
{
	editor_router_destroy(&set->router);
	editor_gap_router_destroy(&set->gaps);
	editor_calibration_destroy(&set->calibration);
	editor_fitting_fini(&set->fitting);
	parts_cut(set, 0);
	free(set->parts);
	free(set);
}

static int index_load(struct editor_memory_set *set, size_t index, const struct editor_memory_part *from,
		      const uint64_t *removed, size_t removed_count, struct err *e)
{
	const struct part *part = &set->parts[index];
	if (set->gaps != NULL && from->index == NULL)
		return err_set(e, ERR_INVALID,
			       "has no index: without gaps it has no threshold, merge its shards again");
	if (set->gaps != NULL)
		return editor_gap_router_add(set->gaps, part->delta, from->index, from->index_len, index, part->merged,
					     removed, removed_count, e);
	if (part->merged)
		return 0;
	if (set->router == NULL)
		return err_set(e, ERR_INVALID, "has an index, but the version has no calibration to read it with");
	return editor_router_add(set->router, from->index, from->index_len, index, removed, removed_count, e);
}

static int delta_load(struct part *part, size_t layer, const struct model_shape *shape, const void *bytes, size_t len,
		      struct err *e)
{
	size_t count;
	if (__builtin_mul_overflow(shape->hidden, shape->ffn, &count) || count > SIZE_MAX / sizeof(float))
		return err_set(e, ERR_LIMIT, "a matrix of %zu x %zu is too large", shape->hidden, shape->ffn);
	part->delta = fault_malloc(count * sizeof(float));
	if (part->delta == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	part->side.delta = part->delta;
	return editor_delta_decode(bytes, len, layer, shape->hidden, shape->ffn, part->delta, e);
}

static bool seqs_copy(const uint64_t *from, size_t count, uint64_t **out, size_t *out_count)
{
	if (count == 0)
		return true;
	*out = fault_calloc(count, sizeof **out);
	if (*out == NULL)
		return false;
	memcpy(*out, from, count * sizeof **out);
	*out_count = count;
	return true;
}

static int part_load(struct editor_memory_set *set, size_t index, const struct model_shape *shape,
		     const struct editor_memory_part *from, const uint64_t *removed, size_t removed_count,
		     struct err *e)
{
	struct part *part = &set->parts[index];
	part->id = from->id;
	part->merged = from->merged || from->index == NULL;
	part->merged_part = index;
	part->side = (struct model_side){ .layer = set->layer };
	if (from->delta == NULL && set->gaps != NULL)
		return err_set(e, ERR_INVALID, "has no delta, and gaps are measured with it");
	if (!seqs_copy(from->sources, from->source_count, &part->sources, &part->source_count) ||
	    !seqs_copy(from->lost, from->lost_count, &part->lost, &part->lost_count))
		return err_set(e, ERR_NOMEM, "out of memory");
	int rc = from->delta != NULL ? delta_load(part, set->layer, shape, from->delta, from->delta_len, e) : 0;
	return rc == 0 ? index_load(set, index, from, removed, removed_count, e) : rc;
}

/* Points every shard that a merged memory covers at it. */
static int link_merged(struct editor_memory_set *set, struct err *e)
{
	set->has_merged = false;
	for (size_t i = 0; i < set->part_count; i++)
		set->parts[i].merged_part = i;
	for (size_t m = 0; m < set->part_count; m++) {
		const struct part *merged = &set->parts[m];
		if (!merged->merged)
			continue;
		set->has_merged = true;
		for (size_t s = 0; s < merged->source_count; s++) {
			size_t at = 0;
			while (at < set->part_count &&
			       (set->parts[at].merged || set->parts[at].id != merged->sources[s]))
				at++;
			if (at == set->part_count)
				continue; /* a version may carry a merged memory and leave a retired shard out */
			if (set->parts[at].merged_part != at)
				return err_set(e, ERR_INVALID,
					       "memory set: shard %llu is covered by two merged memories",
					       (unsigned long long)set->parts[at].id);
			set->parts[at].merged_part = m;
		}
	}
	return 0;
}

static int load_paper(struct editor_memory_set *set, const struct model_shape *shape, const struct hash *base_model,
		      const void *bytes, size_t len, struct err *e)
{
	struct editor_wise_calibration calibration;
	int rc = editor_wise_calibration_decode(bytes, len, &calibration, e);
	if (rc == 0 && !hash_equal(&calibration.base_model, base_model))
		rc = err_set(e, ERR_MISMATCH, "calibration: made for another base model: calibrate for this one");
	return rc == 0 ? editor_gap_router_new(shape->hidden, shape->ffn, &set->gaps, e) : rc;
}

static int load_bare(struct editor_memory_set *set, const struct model_shape *shape, const struct hash *base_model,
		     const void *bytes, size_t len, struct err *e)
{
	if (editor_wise_calibration_is(bytes, len))
		return load_paper(set, shape, base_model, bytes, len, e);
	int rc = editor_calibration_decode(bytes, len, &set->calibration, e);
	if (rc != 0)
		return rc;
	if (set->calibration->hidden != shape->hidden)
		return err_set(e, ERR_MISMATCH,
			       "calibration: keys of %zu, this model has %zu: calibrate for this model",
			       set->calibration->hidden, shape->hidden);
	if (!hash_equal(&set->calibration->base_model, base_model))
		return err_set(e, ERR_MISMATCH, "calibration: made for another base model: calibrate for this one");
	/* the route is taken from states below the edited matrix, before that matrix is reached */
	const size_t prompt = set->calibration->prompt_layer, relation = set->calibration->relation.layer;
	if (prompt > set->layer || prompt == 0 || relation > set->layer || relation == 0)
		return err_set(e, ERR_INVALID,
			       "calibration: prompt layer %zu or relation layer %zu does not stand in 1 to %zu, the "
			       "edited layer",
			       prompt, relation, set->layer);
	return editor_router_new(set->calibration, shape->ffn, &set->router, e);
}

static int load_calibration(struct editor_memory_set *set, const struct model_shape *shape,
			    const struct hash *base_model, const void *bytes, size_t len, struct err *e)
{
	struct editor_calibration_file file;
	if (!editor_calibration_file_is(bytes, len))
		return load_bare(set, shape, base_model, bytes, len, e);
	int rc = editor_calibration_file_decode(bytes, len, &file, e);
	if (rc != 0)
		return rc;
	set->fitting = file.fitting;
	set->has_fitting = true;
	file.fitting = (struct editor_fitting){ .text_count = 0 };
	rc = load_bare(set, shape, base_model, file.calibration.data, file.calibration.len, e);
	editor_calibration_file_fini(&file);
	return rc;
}

/* Behind those that are there. */
static int parts_load(struct editor_memory_set *set, const struct model_shape *shape,
		      const struct editor_memory_part *parts, size_t part_count, const uint64_t *removed,
		      size_t removed_count, struct err *e)
{
	for (size_t i = 0; i < part_count; i++) {
		int rc = part_load(set, set->part_count++, shape, &parts[i], removed, removed_count, e);
		if (rc != 0) {
			err_wrap(e, "memory %llu", (unsigned long long)parts[i].id);
			return rc;
		}
	}
	return link_merged(set, e);
}

int editor_memory_set_new(const struct model_shape *shape, const struct hash *base_model, size_t layer,
			  uint64_t version, const void *calibration, size_t calibration_len,
			  const struct editor_memory_part *parts, size_t part_count, const uint64_t *removed,
			  size_t removed_count, enum editor_set_kind default_kind, struct editor_memory_set **out,
			  struct err *e)
{
	if (layer >= shape->layers || part_count > PARTS_MAX)
		return err_set(e, ERR_INVALID, "memory set: layer %zu of %zu, %zu memories of at most %u", layer,
			       shape->layers, part_count, PARTS_MAX);
	struct editor_memory_set *set = fault_calloc(1, sizeof(*set));
	if (set == NULL)
		return err_set(e, ERR_NOMEM, "memory set: out of memory");
	atomic_init(&set->references, 1);
	set->version = version;
	set->layer = layer;
	set->default_kind = default_kind;
	set->parts = part_count > 0 ? fault_calloc(part_count, sizeof(*set->parts)) : NULL;
	int rc = part_count > 0 && set->parts == NULL ? err_set(e, ERR_NOMEM, "memory set: out of memory") : 0;
	if (rc == 0 && calibration_len > 0)
		rc = load_calibration(set, shape, base_model, calibration, calibration_len, e);
	if (rc == 0)
		rc = parts_load(set, shape, parts, part_count, removed, removed_count, e);
	if (rc != 0) {
		set_free(set);
		return rc;
	}
	*out = set;
	return 0;
}

int editor_memory_set_renew(struct editor_memory_set *set, const struct model_shape *shape, uint64_t version,
			    size_t kept, const struct editor_memory_part *parts, size_t part_count,
			    const uint64_t *removed, size_t removed_count, enum editor_set_kind default_kind,
			    struct err *e)
{
	assert(atomic_load(&set->references) == 1 && set->gaps == NULL && kept <= set->part_count);
	if (part_count > PARTS_MAX - kept)
		return err_set(e, ERR_INVALID, "memory set: %zu memories of at most %u", kept + part_count, PARTS_MAX);
	parts_cut(set, kept);
	if (set->router != NULL)
		editor_router_cut(set->router, kept);
	struct part *grown = fault_realloc(set->parts, (kept + part_count + 1) * sizeof *grown);
	if (grown == NULL)
		return err_set(e, ERR_NOMEM, "memory set: out of memory");
	memset(grown + kept, 0, (part_count + 1) * sizeof *grown);
	set->parts = grown;
	set->version = version;
	set->default_kind = default_kind;
	return parts_load(set, shape, parts, part_count, removed, removed_count, e);
}

int editor_memory_set_delta(struct editor_memory_set *set, const struct model_shape *shape, uint64_t memory_id,
			    const void *bytes, size_t len, struct err *e)
{
	assert(atomic_load(&set->references) == 1);
	for (size_t i = 0; i < set->part_count; i++) {
		struct part *part = &set->parts[i];
		if (part->id != memory_id)
			continue;
		free(part->delta);
		part->delta = NULL;
		part->side.delta = NULL;
		return bytes != NULL ? delta_load(part, set->layer, shape, bytes, len, e) : 0;
	}
	return err_set(e, ERR_NOT_FOUND, "memory set: no memory %llu", (unsigned long long)memory_id);
}

struct editor_memory_set *editor_memory_set_acquire(struct editor_memory_set *set)
{
	const size_t before = atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
	assert(before > 0);
	(void)before;
	return set;
}

void editor_memory_set_release(struct editor_memory_set **set)
{
	struct editor_memory_set *held = *set;
	*set = NULL;
	if (held != NULL && atomic_fetch_sub_explicit(&held->references, 1, memory_order_acq_rel) == 1)
		set_free(held);
}

enum editor_family editor_memory_set_family(const struct editor_memory_set *set)
{
	return set->gaps != NULL ? EDITOR_FAMILY_PAPER : EDITOR_FAMILY_AMEND;
}

uint64_t editor_memory_set_version(const struct editor_memory_set *set)
{
	return set->version;
}

size_t editor_memory_set_layer(const struct editor_memory_set *set)
{
	return set->layer;
}

struct editor_key_layers editor_memory_set_key_layers(const struct editor_memory_set *set)
{
	struct editor_key_layers layers = { 0 };
	if (set->calibration != NULL) {
		layers.prompt = set->calibration->prompt_layer;
		layers.relation = set->calibration->relation.layer;
	}
	layers.gap = set->gaps != NULL ? set->layer + 1 : 0;
	return layers;
}

size_t editor_memory_set_edit_count(const struct editor_memory_set *set)
{
	if (set->gaps != NULL)
		return editor_gap_router_count(set->gaps);
	return set->router != NULL ? editor_router_count(set->router) : 0;
}

enum editor_set_kind editor_memory_set_default(const struct editor_memory_set *set)
{
	return set->default_kind;
}

const struct hash *editor_memory_set_corpus(const struct editor_memory_set *set)
{
	return set->calibration != NULL ? &set->calibration->corpus : NULL;
}

const struct editor_fitting *editor_memory_set_fitting(const struct editor_memory_set *set)
{
	return set->has_fitting ? &set->fitting : NULL;
}

bool editor_memory_set_has_merged(const struct editor_memory_set *set)
{
	return set->has_merged;
}

/* Of a merged memory the edits that it has lost are read in their shards. */
static const struct model_side *side_of_edit(const struct editor_memory_set *set, enum editor_set_kind kind,
					     size_t shard, uint64_t seq, uint64_t *memory_id)
{
	const struct part *part = &set->parts[kind == EDITOR_SET_MERGED ? set->parts[shard].merged_part : shard];
	if (part->lost_count > 0 && bsearch(&seq, part->lost, part->lost_count, sizeof seq, order_u64) != NULL)
		part = &set->parts[shard];
	*memory_id = part->id;
	return &part->side;
}

struct kind_of_set {
	const struct editor_memory_set *set;
	enum editor_set_kind kind;
};

/* A set of merged memories still reads the shards that none of them covers: those in progress. */
static bool is_of_kind(const void *context, size_t part)
{
	const struct kind_of_set *of = context;
	const struct part *p = &of->set->parts[part];
	return of->kind == EDITOR_SET_MERGED ? p->merged || p->merged_part == part : !p->merged;
}

int editor_memory_set_route(const struct editor_memory_set *set, enum editor_set_kind kind,
			    const struct model_tokenizer *tokenizer, const struct editor_prompt *prompt,
			    struct editor_route *route, const struct model_side **side, uint64_t *memory_id,
			    struct err *e)
{
	*side = NULL;
	*memory_id = 0;
	memset(route, 0, sizeof(*route));
	if (set->gaps != NULL) {
		const struct kind_of_set of = { set, kind };
		int failed = editor_gap_router_route(set->gaps, prompt, is_of_kind, &of, route, e);
		if (failed == 0 && route->routed) {
			*side = &set->parts[route->memory].side;
			*memory_id = set->parts[route->memory].id;
		}
		return failed;
	}
	if (set->router == NULL)
		return 0;
	int rc = editor_router_route(set->router, tokenizer, prompt, route, e);
	if (rc == 0 && route->routed)
		*side = side_of_edit(set, kind, route->memory, route->nearest[0], memory_id);
	return rc;
}

const struct model_side *editor_memory_set_side_of(const struct editor_memory_set *set, enum editor_set_kind kind,
						   uint64_t seq, uint64_t *memory_id)
{
	size_t shard;
	*memory_id = 0;
	if (!(set->gaps != NULL     ? editor_gap_router_memory_of(set->gaps, seq, &shard)
	      : set->router != NULL ? editor_router_memory_of(set->router, seq, &shard)
				    : false))
		return NULL;
	return side_of_edit(set, kind, shard, seq, memory_id);
}
