/* memory.h: the set of memories that a version serves: deltas, router, calibration. Its calibration's bytes say the
 * family: route.h's (`amend`, by two keys) or gap.h's (`paper`, by gap), bare or in a calibration_file.h. Built beside
 * the old set, then read-only and shared by reference count (acquire/release are thread-safe); freed when its last
 * reader releases it. */
#ifndef AMEND_EDITOR_MEMORY_H
#define AMEND_EDITOR_MEMORY_H

#include "editor/calibration_file.h"
#include "editor/gap.h"

struct editor_memory_set;

enum editor_set_kind { EDITOR_SET_RETRIEVE, EDITOR_SET_MERGED };

/* Parts are copied or decoded; ids are the manifest's memory ids. A calibration of another base model is
 * ERR_MISMATCH. */
struct editor_memory_part {
	uint64_t id;
	const void *delta; /* bytes of delta.h; NULL, not of family `paper`: routes to it are found, and what reads it
			      waits for editor_memory_set_delta */
	size_t delta_len;
	const void *index; /* bytes of route.h or gap.h; NULL for a merged memory of family `amend` */
	size_t index_len;
	bool merged;             /* implied by no index */
	const uint64_t *sources; /* merged: ids of the shards it covers */
	size_t source_count;
	const uint64_t *lost; /* merged, of family `amend`: its edits whose own shards answer them; ascending */
	size_t lost_count;
};
int editor_memory_set_new(const struct model_shape *shape, const struct hash *base_model, size_t layer,
			  uint64_t version, const void *calibration, size_t calibration_len,
			  const struct editor_memory_part *parts, size_t part_count, const uint64_t *removed,
			  size_t removed_count, enum editor_set_kind default_kind, struct editor_memory_set **out,
			  struct err *e) MUST_CHECK;
/* Makes a set that nobody else holds (asserted), of family `amend`, that of another version with the same calibration
 * and layer: its first `kept` memories stay as they are, `parts` come behind them in their place. After an error it can
 * only be released. */
int editor_memory_set_renew(struct editor_memory_set *set, const struct model_shape *shape, uint64_t version,
			    size_t kept, const struct editor_memory_part *parts, size_t part_count,
			    const uint64_t *removed, size_t removed_count, enum editor_set_kind default_kind,
			    struct err *e) MUST_CHECK;
/* Gives a memory of a set that nobody else holds its delta, in place of what it had; bytes NULL: takes it away. Sides
 * of it are not valid any more. ERR_NOT_FOUND: no such memory. */
int editor_memory_set_delta(struct editor_memory_set *set, const struct model_shape *shape, uint64_t memory_id,
			    const void *bytes, size_t len, struct err *e) MUST_CHECK;
struct editor_memory_set *editor_memory_set_acquire(struct editor_memory_set *set);
void editor_memory_set_release(struct editor_memory_set **set); /* nulls */
enum editor_family editor_memory_set_family(const struct editor_memory_set *set);
uint64_t editor_memory_set_version(const struct editor_memory_set *set);
size_t editor_memory_set_layer(const struct editor_memory_set *set);
struct editor_key_layers editor_memory_set_key_layers(const struct editor_memory_set *set);
size_t editor_memory_set_edit_count(const struct editor_memory_set *set);
enum editor_set_kind editor_memory_set_default(const struct editor_memory_set *set);
/* Digest of the corpus that its calibration was made from; NULL: it has none. Valid while the set is held. */
const struct hash *editor_memory_set_corpus(const struct editor_memory_set *set);
/* What its calibration was fitted on, when it was made by `amend calibrate`; NULL: nothing is known beside the corpus.
 * Valid while the set is held. */
const struct editor_fitting *editor_memory_set_fitting(const struct editor_memory_set *set);
bool editor_memory_set_has_merged(const struct editor_memory_set *set);
/* Routes a prompt (route.h, gap.h; of family `paper` among the memories of that kind of set); *side is the memory to
 * read in that kind of set (a merged memory where one covers the shard and has not lost the edit, else the shard), NULL
 * for main; *memory_id its id (0: main). Valid while the set is held. */
int editor_memory_set_route(const struct editor_memory_set *set, enum editor_set_kind kind,
			    const struct model_tokenizer *tokenizer, const struct editor_prompt *prompt,
			    struct editor_route *route, const struct model_side **side, uint64_t *memory_id,
			    struct err *e) MUST_CHECK;
/* The side of the shard that holds `seq`, regardless of keys (evaluation, re-test); NULL when no memory holds it. */
const struct model_side *editor_memory_set_side_of(const struct editor_memory_set *set, enum editor_set_kind kind,
						   uint64_t seq, uint64_t *memory_id);

#endif
