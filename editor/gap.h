/* gap.h: routing of the paper's family (WISE, arXiv 2405.14768, section 2.3): a prompt reads the memory with the
 * largest gap Δ(x) above its ε, else the main weights. Δ(x) is the mean over the prompt's tokens of ‖A(x)·Dᵀ‖₂
 * (wise.h), ε is act_ratio times the smallest gap of the memory's live edits. The paper decides per batch of tokens;
 * here a sequence is routed once, from its prompt. A memory costs one product of the edited matrix's size a prompt.
 * Pure. */
#ifndef AMEND_EDITOR_GAP_H
#define AMEND_EDITOR_GAP_H

#include "base/hash.h"
#include "editor/route.h"

/* ---- Settings of a version: what a paper manifest's calibration names. Bytes: {"AMWC", format, base model, corpus,
 * layer, the fields of editor_wise_config}, little-endian. The same bytes tell a worker how to train. */
struct editor_wise_calibration {
	struct hash base_model, corpus; /* zero: not calibrated, the numbers are the configuration's */
	uint32_t layer;                 /* that the margins were measured at; nothing where they were not */
	struct editor_wise_config wise;
};
int editor_wise_calibration_encode(const struct editor_wise_calibration *calibration, struct buf *out,
				   struct err *e) MUST_CHECK;
/* ERR_CORRUPT, ERR_UNSUPPORTED: another format. Ranges are not checked: editor_config_check does. */
int editor_wise_calibration_decode(const void *bytes, size_t len, struct editor_wise_calibration *out,
				   struct err *e) MUST_CHECK;
/* Whether these bytes are such a calibration (and not the default family's). */
bool editor_wise_calibration_is(const void *bytes, size_t len);

/* ---- Index of one memory: its edits' gaps at its own delta. Bytes: {"AMGP", format, act_ratio, count, then per edit:
 * seq, gap}, little-endian, float32. */
struct editor_gap_entry {
	uint64_t seq;
	float gap;
};
/* ERR_INVALID: a gap that is not finite or below 0. */
int editor_gap_index_encode(const struct editor_gap_entry *entries, size_t entry_count, float act_ratio,
			    struct buf *out, struct err *e) MUST_CHECK;

/* ---- The router of a version: one thread builds, then read-only. */
struct editor_gap_router;
int editor_gap_router_new(size_t hidden, size_t ffn, struct editor_gap_router **out, struct err *e) MUST_CHECK;
void editor_gap_router_destroy(struct editor_gap_router **router);
/* `delta` (hidden × ffn, borrowed); `memory` is handed back by routes. Entries whose seq is in `removed` do not count
 * for ε; a memory without live edits is never read. `covers`: its edits are those of other memories (a merge of them).
 */
int editor_gap_router_add(struct editor_gap_router *router, const float *delta, const void *index, size_t index_len,
			  size_t memory, bool covers, const uint64_t *removed, size_t removed_count,
			  struct err *e) MUST_CHECK;
/* Live edits. */
size_t editor_gap_router_count(const struct editor_gap_router *router);
/* Which memory holds the live edit `seq`, of those that cover no others; false: none. */
bool editor_gap_router_memory_of(const struct editor_gap_router *router, uint64_t seq, size_t *memory);
/* Of the memories for which `admitted` says true (NULL: all). out->memory is the one whose gap is nearest to its ε
 * (largest quotient) where none is read; prompt_score its gap, prompt_threshold its ε. ERR_NOMEM. */
int editor_gap_router_route(const struct editor_gap_router *router, const struct editor_prompt *prompt,
			    bool (*admitted)(const void *context, size_t memory), const void *context,
			    struct editor_route *out, struct err *e) MUST_CHECK;

#endif
