/* wise.h: WISE as published (Wang et al. 2024, arXiv 2405.14768; family `paper`, method.md): one shard in training, and
 * the gap that routes. Same records, config, seed, backend and thread count: same bytes. Not thread-safe; no clock, no
 * files, no sockets.
 *
 * An edit is trained on eleven rows: its prompt alone, and after ten prefixes that the model itself generates: the five
 * seeds "I", "You", "Because", "Yes" and "Q: " (those of the public code), continued greedily by prefix_tokens[0] and
 * prefix_tokens[1] tokens; beside them one irrelevant text. With D = W′−W, A(x) the inputs of the edited matrix and
 *   Δ(x) = mean over the prompt's tokens t of ‖A(x)_t · Dᵀ‖₂  (all tokens of an irrelevant text; there is no padding)
 * the loss of a step is, means being over the rows x_e of the edit (eq. 4–5),
 *   mean(−log P(y_e | x_e), mean over target tokens)
 *   + max(0, Δ(x_i) − α) + mean max(0, β − Δ(x_e)) + mean max(0, γ − (Δ(x_e) − Δ(x_i)))        (L_a)
 *   + mean over earlier groups max(0, Δ(x_m) − α) + max(0, β − Δ(x_o))                          (L_memo)
 * with x_m one edit of an earlier group and x_o one edit of this shard, both drawn anew each step from the seed. */
#ifndef AMEND_EDITOR_WISE_H
#define AMEND_EDITOR_WISE_H

#include "base/record.h"
#include "editor/config.h"

#define EDITOR_WISE_PREFIXES 10

/* ---- Pure parts */

/* M_i: bit i (of byte i / 8, lowest first) is set with probability `ratio`, independently; from the seed alone. `bits`
 * has (count + 7) / 8 bytes. */
void editor_wise_mask_draw(uint64_t seed, float ratio, size_t count, uint8_t *bits);
/* Δ of row_count inputs (rows × ffn) at a delta (hidden × ffn). product: rows × hidden of scratch, which becomes
 * inputs · deltaᵀ. */
int editor_wise_gap(struct model_backend *backend, const float *inputs, size_t row_count, const float *delta,
		    size_t hidden, size_t ffn, float *product, double *gap, struct err *e) MUST_CHECK;
/* ε of a memory: act_ratio times the smallest gap of its edits. +infinity without edits: nothing is routed there. */
double editor_wise_threshold(const double *gaps, size_t gap_count, float act_ratio);
/* The memory with the largest gap of those above their thresholds, the first of equals; SIZE_MAX: main memory. */
size_t editor_wise_choose(const double *gaps, const double *thresholds, size_t memory_count);

/* ---- A shard in training */

struct editor_wise;

/* `shard_seed` gives the mask and every draw. `corpus` (borrowed during the call, may be NULL): lines of kind
 * unrelated of the calibration corpus (corpus.h), other lines are passed over; an edit without loc_prompt takes one of
 * them. The model needs backward_from ≤ config.layer + 1. ERR_INVALID: the config. */
int editor_wise_new(struct model *model, const struct editor_config *config, uint64_t shard_seed, const char *corpus,
		    size_t corpus_len, struct editor_wise **out, struct err *e) MUST_CHECK;
void editor_wise_destroy(struct editor_wise **wise);
/* Appends an edit; of the record only prompt, target_new and loc_prompt are looked at. ERR_INVALID: empty, too long for
 * the model's context, or no irrelevant text to be had though L_a is on. ERR_EXISTS: seq is there. */
int editor_wise_add(struct editor_wise *wise, uint64_t seq, const struct record *record, struct err *e) MUST_CHECK;
/* An edit of a group that was closed before this shard's, for L_memo; without any there is no L_memo. */
int editor_wise_replay_add(struct editor_wise *wise, uint64_t group, uint64_t seq, const struct record *record,
			   struct err *e) MUST_CHECK;
size_t editor_wise_count(const struct editor_wise *wise);
const uint8_t *editor_wise_mask(const struct editor_wise *wise); /* borrowed */
/* Borrowed; generated if it was not yet (seconds on a real model). index < EDITOR_WISE_PREFIXES. */
int editor_wise_prefix(struct editor_wise *wise, size_t index, const char **text, struct err *e) MUST_CHECK;

struct editor_wise_loss {
	double total, cross_entropy;
	double irrelevant, edit, margin; /* the three hinges: α, β, γ */
	double memo_far, memo_near;      /* L_memo */
	double gap_irrelevant;           /* Δ(x_i); 0 without L_a */
	double gap_edit;                 /* mean Δ(x_e) */
	bool right;                      /* every label of the bare prompt is the argmax */
};
struct editor_wise_stats { /* of one edit */
	uint64_t seq;
	size_t steps;                 /* updates made */
	bool stopped;                 /* by the stop rule, before steps_max */
	struct editor_wise_loss loss; /* the last one computed: before the last update unless it stopped */
};
/* Trains edits [first, first + count) one after the other, going on from the present delta; after each the delta is
 * rounded to bf16, so that the bytes do not depend on how edits are spread over calls. An entry outside the mask keeps
 * its value. stats: `count` entries, or NULL. The watch is told the steps of the edits so far. On any error the delta
 * is as before the call. ERR_INVALID: a loss became NaN (which edit). */
int editor_wise_train(struct editor_wise *wise, size_t first, size_t count, const struct editor_watch *watch,
		      struct editor_wise_stats *stats, struct err *e) MUST_CHECK;
/* Loss of one edit (index) at a delta (hidden × ffn) with the draws of step `step`, and its gradient before the mask
 * (hidden × ffn; NULL: not wanted). */
int editor_wise_loss_at(struct editor_wise *wise, size_t edit, size_t step, const float *delta,
			struct editor_wise_loss *loss, float *gradient, struct err *e) MUST_CHECK;
/* Δ of the bare prompt of every edit (editor_wise_count) at a delta, that of a merged memory for instance. */
int editor_wise_gaps(struct editor_wise *wise, const float *delta, double *gaps, struct err *e) MUST_CHECK;

const float *editor_wise_delta(const struct editor_wise *wise); /* hidden × ffn, borrowed */
/* Bytes of delta.h. Loading leaves the present delta alone on error. */
int editor_wise_delta_load(struct editor_wise *wise, const void *bytes, size_t len, struct err *e) MUST_CHECK;
int editor_wise_delta_encode(const struct editor_wise *wise, struct buf *out, struct err *e) MUST_CHECK;

#endif
