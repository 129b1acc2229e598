/* engine.c: see engine.h. Each __wrap_NAME stands where the product calls NAME. */
#include "tests/sim/engine.h"
#include "tests/sim/sim.h"

#include "editor/memory.h"
#include "editor/shard.h"
#include "model/backend.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC 0x414d4953u

static size_t padding_bytes;

/* ---- The model */

static const char *describe(const struct model_backend *backend)
{
	(void)backend;
	return "stand-in";
}
static const struct model_backend_ops backend_ops = { .describe = describe };
static struct model_backend backend = { .ops = &backend_ops, .thread_count = 1 };
static const struct model_shape shape = { .layers = 4,
					  .hidden = 64,
					  .ffn = SIM_ENGINE_FFN,
					  .heads = 4,
					  .kv_heads = 2,
					  .head_size = 16,
					  .vocabulary = 300,
					  .context = 512 };
static const struct hash digest = { { 0xab, 0xcd } };
static char model_there;

struct model *sim_engine_model(void)
{
	return (struct model *)&model_there;
}

const struct model_shape *__wrap_model_shape_of(const struct model *model);
const struct model_shape *__wrap_model_shape_of(const struct model *model)
{
	(void)model;
	return &shape;
}

const struct hash *__wrap_model_digest(const struct model *model);
const struct hash *__wrap_model_digest(const struct model *model)
{
	(void)model;
	return &digest;
}

struct model_backend *__wrap_model_backend_of(struct model *model);
struct model_backend *__wrap_model_backend_of(struct model *model)
{
	(void)model;
	return &backend;
}

int __wrap_editor_calibration_cache_load(const char *folder, const struct hash *base_model, const struct hash *corpus,
					 const struct editor_config *config, struct buf *out, struct err *e);
int __wrap_editor_calibration_cache_load(const char *folder, const struct hash *base_model, const struct hash *corpus,
					 const struct editor_config *config, struct buf *out, struct err *e)
{
	(void)folder, (void)base_model, (void)corpus, (void)config;
	buf_clear(out);
	buf_puts(out, "calibration");
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "calibration: out of memory") : 0;
}

/* ---- Deltas */

void sim_engine_padding_set(size_t byte_count)
{
	padding_bytes = byte_count;
}

uint64_t sim_engine_text(const struct record *record)
{
	uint64_t text = hash_short(HASH_SHORT_INIT, record->prompt.text, record->prompt.len);
	return hash_short(text, record->target_new.text, record->target_new.len);
}

void sim_engine_encode(const struct sim_applied *applied, size_t count, struct buf *out)
{
	uint64_t noise = hash_short(HASH_SHORT_INIT, applied, count * sizeof *applied);
	buf_u32le(out, MAGIC);
	buf_u32le(out, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		buf_u64le(out, applied[i].seq);
		buf_u64le(out, applied[i].text);
	}
	for (size_t at = 0; at < padding_bytes; at += sizeof noise) {
		noise = noise * UINT64_C(6364136223846793005) + 1;
		buf_u64le(out, noise);
	}
}

int sim_engine_decode(const void *bytes, size_t len, struct buf *applied, struct err *e)
{
	struct reader r;
	reader_init(&r, bytes, len);
	bool known = reader_u32le(&r) == MAGIC;
	for (uint32_t count = reader_u32le(&r); known && count > 0 && !r.overrun; count--) {
		struct sim_applied one = { .seq = reader_u64le(&r) };
		one.text = reader_u64le(&r);
		buf_append(applied, &one, sizeof one);
	}
	if (!known || r.overrun)
		return err_set(e, ERR_CORRUPT, "no delta of the stand-in");
	return buf_failed(applied) ? err_set(e, ERR_NOMEM, "delta: out of memory") : 0;
}

int __wrap_delta_bytes_check(const void *bytes, size_t len, size_t layer, size_t hidden, size_t ffn, struct err *e);
int __wrap_delta_bytes_check(const void *bytes, size_t len, size_t layer, size_t hidden, size_t ffn, struct err *e)
{
	struct buf applied = BUF_INIT;
	(void)layer, (void)hidden, (void)ffn;
	int rc = sim_engine_decode(bytes, len, &applied, e);
	buf_free(&applied);
	return rc;
}

/* ---- A shard in training */

enum learns { LEARNS, LEARNS_NOT, IS_POISON };

struct edit {
	struct sim_applied applied;
	enum learns learns;
};

struct editor_shard {
	struct buf edits;   /* struct edit */
	struct buf applied; /* struct sim_applied: the delta */
};

static struct edit *edits_of(struct editor_shard *shard, size_t *count)
{
	*count = shard->edits.len / sizeof(struct edit);
	return (void *)shard->edits.data;
}

static bool begins(const struct record_text *text, const char *with)
{
	return text->len >= strlen(with) && memcmp(text->text, with, strlen(with)) == 0;
}

int __wrap_editor_shard_new(struct model *model, const struct editor_config *config, struct editor_shard **out,
			    struct err *e);
int __wrap_editor_shard_new(struct model *model, const struct editor_config *config, struct editor_shard **out,
			    struct err *e)
{
	(void)model, (void)config;
	*out = calloc(1, sizeof **out);
	return *out != NULL ? 0 : err_set(e, ERR_NOMEM, "shard: out of memory");
}

void __wrap_editor_shard_destroy(struct editor_shard **shard);
void __wrap_editor_shard_destroy(struct editor_shard **shard)
{
	if (*shard == NULL)
		return;
	buf_free(&(*shard)->edits);
	buf_free(&(*shard)->applied);
	free(*shard);
	*shard = NULL;
}

int __wrap_editor_shard_add(struct editor_shard *shard, uint64_t seq, const struct record *record, struct err *e);
int __wrap_editor_shard_add(struct editor_shard *shard, uint64_t seq, const struct record *record, struct err *e)
{
	size_t count;
	const struct edit *edits = edits_of(shard, &count);
	struct edit edit = { { seq, sim_engine_text(record) }, LEARNS };
	for (size_t i = 0; i < count; i++)
		if (edits[i].applied.seq == seq)
			return err_set(e, ERR_EXISTS, "edit %llu is there", (unsigned long long)seq);
	if (begins(&record->target_new, SIM_TARGET_REFUSED))
		return err_set(e, ERR_INVALID, "longer than the model's context");
	if (begins(&record->target_new, SIM_TARGET_FAILS))
		edit.learns = LEARNS_NOT;
	if (begins(&record->target_new, SIM_TARGET_POISON))
		edit.learns = IS_POISON;
	buf_append(&shard->edits, &edit, sizeof edit);
	return buf_failed(&shard->edits) ? err_set(e, ERR_NOMEM, "edit: out of memory") : 0;
}

int __wrap_editor_shard_remove(struct editor_shard *shard, uint64_t seq, struct err *e);
int __wrap_editor_shard_remove(struct editor_shard *shard, uint64_t seq, struct err *e)
{
	size_t count;
	struct edit *edits = edits_of(shard, &count);
	for (size_t i = 0; i < count; i++) {
		if (edits[i].applied.seq != seq)
			continue;
		memmove(edits + i, edits + i + 1, (count - i - 1) * sizeof *edits);
		shard->edits.len -= sizeof *edits;
		return 0;
	}
	return err_set(e, ERR_NOT_FOUND, "edit %llu is not here", (unsigned long long)seq);
}

size_t __wrap_editor_shard_count(const struct editor_shard *shard);
size_t __wrap_editor_shard_count(const struct editor_shard *shard)
{
	return shard->edits.len / sizeof(struct edit);
}

size_t __wrap_editor_shard_replay_count(const struct editor_shard *shard);
size_t __wrap_editor_shard_replay_count(const struct editor_shard *shard)
{
	(void)shard;
	return 0;
}

size_t __wrap_editor_shard_layer(const struct editor_shard *shard);
size_t __wrap_editor_shard_layer(const struct editor_shard *shard)
{
	(void)shard;
	return SIM_ENGINE_LAYER;
}

int __wrap_editor_shard_delta_load(struct editor_shard *shard, const void *bytes, size_t len, struct err *e);
int __wrap_editor_shard_delta_load(struct editor_shard *shard, const void *bytes, size_t len, struct err *e)
{
	buf_clear(&shard->applied);
	return sim_engine_decode(bytes, len, &shard->applied, e);
}

int __wrap_editor_shard_delta_encode(const struct editor_shard *shard, struct buf *out, struct err *e);
int __wrap_editor_shard_delta_encode(const struct editor_shard *shard, struct buf *out, struct err *e)
{
	sim_engine_encode((const void *)shard->applied.data, shard->applied.len / sizeof(struct sim_applied), out);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "delta: out of memory") : 0;
}

int __wrap_editor_shard_index_encode(struct editor_shard *shard, struct buf *out, struct err *e);
int __wrap_editor_shard_index_encode(struct editor_shard *shard, struct buf *out, struct err *e)
{
	size_t count;
	const struct edit *edits = edits_of(shard, &count);
	buf_puts(out, "index");
	for (size_t i = 0; i < count; i++)
		buf_u64le(out, edits[i].applied.seq);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "index: out of memory") : 0;
}

static bool holds(const struct editor_shard *shard, uint64_t seq)
{
	const struct sim_applied *applied = (const void *)shard->applied.data;
	for (size_t i = 0; i < shard->applied.len / sizeof *applied; i++)
		if (applied[i].seq == seq)
			return true;
	return false;
}

int __wrap_editor_shard_retest(struct editor_shard *shard, struct editor_result *results,
			       const struct editor_watch *watch, struct err *e);
int __wrap_editor_shard_retest(struct editor_shard *shard, struct editor_result *results,
			       const struct editor_watch *watch, struct err *e)
{
	size_t count;
	const struct edit *edits = edits_of(shard, &count);
	if (watch->on_progress(watch->context, "re-test", count, count, 0) != 0)
		return err_set(e, ERR_INTERRUPTED, "stopped");
	for (size_t i = 0; i < count; i++) {
		uint64_t seq = edits[i].applied.seq;
		results[i] = (struct editor_result){ .seq = seq, .tries = 1 };
		results[i].passed = edits[i].learns == LEARNS && (holds(shard, seq) || sim_planted == SIM_PLANT_SKIP);
	}
	return 0;
}

/* A stream adds to the delta that is there; what it adds twice, or out of order, stands in it so. */
int __wrap_editor_shard_learn(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count,
			      uint64_t seed, const struct editor_watch *watch, struct editor_result *results,
			      struct editor_train_stats *stats, struct err *e);
int __wrap_editor_shard_learn(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count,
			      uint64_t seed, const struct editor_watch *watch, struct editor_result *results,
			      struct editor_train_stats *stats, struct err *e)
{
	size_t edit_count;
	const struct edit *edits = edits_of(shard, &edit_count);
	(void)seed;
	if (mode != EDITOR_STREAM) {
		count += first;
		first = 0;
	}
	for (size_t i = first; i < first + count; i++)
		if (edits[i].learns == IS_POISON)
			return err_set(e, ERR_INVALID, "the loss of edit %llu became NaN",
				       (unsigned long long)edits[i].applied.seq);
	if (mode != EDITOR_STREAM)
		buf_clear(&shard->applied);
	size_t end = first + count - (sim_planted == SIM_PLANT_SKIP && count > 1);
	for (size_t i = first; i < end; i++)
		buf_append(&shard->applied, &edits[i].applied, sizeof edits[i].applied);
	*stats = (struct editor_train_stats){ .mode = mode == EDITOR_STREAM ? mode : EDITOR_BREADTH_FIRST,
					      .steps = count };
	if (buf_failed(&shard->applied))
		return err_set(e, ERR_NOMEM, "delta: out of memory");
	return __wrap_editor_shard_retest(shard, results, watch, e);
}

/* ---- What a node serves */

struct editor_memory_set {
	size_t references, edit_count;
	struct buf live; /* uint64_t */
};

bool sim_engine_spoilt;

const uint64_t *sim_engine_set_seqs(const struct editor_memory_set *set, size_t *count)
{
	*count = set->live.len / sizeof(uint64_t);
	return (const void *)set->live.data;
}

/* All of a delta follows from its list. */
static void look_at(const void *bytes, size_t len, const struct sim_applied *applied, size_t count)
{
	struct buf again = BUF_INIT;
	sim_engine_encode(applied, count, &again);
	sim_engine_spoilt = sim_engine_spoilt || again.len != len || memcmp(again.data, bytes, len) != 0;
	buf_free(&again);
}

static int part_add(const struct editor_memory_part *part, const uint64_t *removed, size_t removed_count,
		    struct editor_memory_set *set, struct err *e)
{
	struct buf list = BUF_INIT;
	int rc = sim_engine_decode(part->delta, part->delta_len, &list, e);
	const struct sim_applied *applied = (const void *)list.data;
	const size_t count = list.len / sizeof *applied;
	if (rc == 0)
		look_at(part->delta, part->delta_len, applied, count);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		bool gone = false;
		for (size_t k = 0; k < removed_count && sim_planted != SIM_PLANT_TOMBSTONE; k++)
			gone = gone || removed[k] == applied[i].seq;
		if (!gone)
			buf_append(&set->live, &applied[i].seq, sizeof applied[i].seq);
	}
	set->edit_count += count;
	buf_free(&list);
	return rc == 0 && buf_failed(&set->live) ? err_set(e, ERR_NOMEM, "memories: out of memory") : rc;
}

int __wrap_editor_memory_set_new(const struct model_shape *of, const struct hash *base_model, size_t layer,
				 uint64_t version, const void *calibration, size_t calibration_len,
				 const struct editor_memory_part *parts, size_t part_count, const uint64_t *removed,
				 size_t removed_count, enum editor_set_kind default_kind,
				 struct editor_memory_set **out, struct err *e);
int __wrap_editor_memory_set_new(const struct model_shape *of, const struct hash *base_model, size_t layer,
				 uint64_t version, const void *calibration, size_t calibration_len,
				 const struct editor_memory_part *parts, size_t part_count, const uint64_t *removed,
				 size_t removed_count, enum editor_set_kind default_kind,
				 struct editor_memory_set **out, struct err *e)
{
	struct editor_memory_set *set = calloc(1, sizeof *set);
	int rc = set != NULL ? 0 : err_set(e, ERR_NOMEM, "memories: out of memory");
	(void)of, (void)base_model, (void)layer, (void)version, (void)default_kind;
	if (rc == 0 && part_count > 0 && (calibration_len != 11 || memcmp(calibration, "calibration", 11) != 0))
		rc = err_set(e, ERR_CORRUPT, "no calibration of the stand-in");
	for (size_t i = 0; rc == 0 && i < part_count; i++)
		rc = part_add(&parts[i], removed, removed_count, set, e);
	if (rc == 0) {
		set->references = 1;
		*out = set;
	} else if (set != NULL) {
		buf_free(&set->live);
		free(set);
	}
	return rc;
}

struct editor_memory_set *__wrap_editor_memory_set_acquire(struct editor_memory_set *set);
struct editor_memory_set *__wrap_editor_memory_set_acquire(struct editor_memory_set *set)
{
	if (set != NULL)
		set->references++;
	return set;
}

void __wrap_editor_memory_set_release(struct editor_memory_set **set);
void __wrap_editor_memory_set_release(struct editor_memory_set **set)
{
	if (*set != NULL && --(*set)->references == 0) {
		buf_free(&(*set)->live);
		free(*set);
	}
	*set = NULL;
}

size_t __wrap_editor_memory_set_edit_count(const struct editor_memory_set *set);
size_t __wrap_editor_memory_set_edit_count(const struct editor_memory_set *set)
{
	return set != NULL ? set->edit_count : 0;
}
