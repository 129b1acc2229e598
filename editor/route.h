/* route.h: routing by content (method.md, family `amend`, 4): the prompt key of a query against the keys of all edits.
 *
 * A raw key is the mean over a prompt's tokens (the first left out; the first alone when it is the only one) of the hidden state at the
 * input of layer `prompt_layer`: `hidden` floats. Stored raw; standardised, whitened (ridge) and normalised by the calibration of
 * the version, so that one index serves with any calibration. Threads: an index is read-only after build. Pure. */
#ifndef AMEND_EDITOR_ROUTE_H
#define AMEND_EDITOR_ROUTE_H

#include "base/buf.h"
#include "base/hash.h"
#include "editor/config.h"

/* --- Calibration: statistics of a corpus that holds none of the evaluated edits, and thresholds by number of edits. */
#define EDITOR_THRESHOLDS 8
struct editor_calibration {
	size_t hidden, prompt_layer;
	float *mean, *deviation; /* hidden */
	float *whiten; /* hidden × hidden: key = normalise(((raw − mean) / deviation) · whiten) */
	struct { uint32_t edit_count; float threshold; } thresholds[EDITOR_THRESHOLDS]; /* ascending edit_count; log-linear between, and beyond the last */
	struct hash base_model, corpus; /* digests */
};
/* corpus: texts, one a line: "<kind>\t<group>\t<text>": kind `question` (in the form of edits; texts of one group share a subject or fact) or `unrelated`. */
int editor_calibrate(struct model *model, const struct editor_config *config, const char *corpus_text, size_t corpus_len,
                     const struct editor_watch *watch, struct editor_calibration **out, struct err *e) MUST_CHECK;
void editor_calibration_destroy(struct editor_calibration **calibration);
int editor_calibration_encode(const struct editor_calibration *calibration, struct buf *out, struct err *e) MUST_CHECK;
int editor_calibration_decode(const void *bytes, size_t len, struct editor_calibration **out, struct err *e) MUST_CHECK;
float editor_calibration_threshold(const struct editor_calibration *calibration, size_t edit_count);

/* --- Entries of one shard's edits: bytes {"AMIX", format, hidden, count, then per edit: seq, subject text, raw key as float32}. */
struct editor_index_entry {
	uint64_t seq;
	struct record_text_view { const char *text; size_t len; } subject; /* folded; len 0: none */
	const float *raw; /* hidden floats */
};
int editor_index_encode(const struct editor_index_entry *entries, size_t entry_count, size_t hidden, struct buf *out, struct err *e) MUST_CHECK;

/* --- The router of a version: all entries that are live. */
struct editor_router;
int editor_router_new(const struct editor_calibration *calibration, struct editor_router **out, struct err *e) MUST_CHECK; /* calibration borrowed */
void editor_router_destroy(struct editor_router **router);
/* Adds a shard's index bytes; entries whose seq is in `removed` are left out. `memory` is handed back by routes. */
int editor_router_add(struct editor_router *router, const void *bytes, size_t len, size_t memory, const uint64_t *removed, size_t removed_count, struct err *e) MUST_CHECK;
size_t editor_router_count(const struct editor_router *router);

#define EDITOR_NEAREST 4
struct editor_route {
	bool routed; /* false: main memory */
	size_t memory; /* as given to editor_router_add; of nearest[0] */
	float prompt_score, prompt_threshold; /* cosine of the nearest edit, and what it had to reach */
	uint64_t nearest[EDITOR_NEAREST]; /* seqs, nearest first */
	float nearest_score[EDITOR_NEAREST];
	size_t nearest_count;
};
/* Route of a raw key (hidden floats). An empty router routes nothing. */
void editor_router_route(const struct editor_router *router, const float *raw, struct editor_route *out);
/* Means over the rows of each segment (see above) of tapped states (rows × hidden) into raw (segment_count × hidden). */
void editor_route_raw_keys(const float *states, const struct model_segment *segments, size_t segment_count, size_t hidden, float *raw);

#endif
