/* merge.h: merging deltas exactly. Every sum over shards is int64 fixed point at EDITOR_FIXED_SCALE, so the result has
 * the same bits for any number of ranks and any order; a value or sum that does not fit is an error (ERR_LIMIT says
 * where), never wrapped. Pure; no MPI here: the reduce is a table, with a row for one process and (worker/reduce_mpi.c)
 * one for MPI. */
#ifndef AMEND_EDITOR_MERGE_H
#define AMEND_EDITOR_MERGE_H

#include "editor/shard.h"

#define EDITOR_FIXED_SCALE 1099511627776.0 /* 2^40: resolution 9e-13, range ±8.3e6 */

/* fixed.c. fixed[i] += round(values[i] · scale). ERR_LIMIT on overflow or when not finite. */
int editor_fixed_add(int64_t *fixed, const float *values, size_t count, struct err *e) MUST_CHECK;
void editor_fixed_to_float(const int64_t *fixed, double factor, size_t count,
			   float *out); /* out = fixed / scale · factor */

struct editor_reduce { /* over ranks */
	size_t rank, rank_count;
	/* Element-wise sum of `count` int64 over all ranks, in place on every rank. ERR_LIMIT on overflow on any rank
	 * (all ranks return it). */
	int (*sum)(struct editor_reduce *reduce, int64_t *values, size_t count, struct err *e);
	/* Memory, zeros, whose beginning is summed faster than other memory; what it holds after an ERR_LIMIT is not
	 * said. All ranks call both, for as much and in the same order. An error of one comes back on all (ERR_NOMEM,
	 * ERR_EXTERNAL) with *out NULL, which free takes too. NULL: the reduce has none. */
	int (*alloc)(struct editor_reduce *reduce, size_t count, int64_t **out, struct err *e);
	void (*free)(struct editor_reduce *reduce, int64_t **values);
	uint64_t reduced_bytes; /* counted */
	bool broken;            /* the transport failed: the other ranks may wait for ever */
};
void editor_reduce_single_init(struct editor_reduce *reduce); /* one process */

/* The operators of WISE's ablation over finished deltas (`n` of them over all ranks, each whole on one rank). With
 * v_s the delta of shard s, and sums over shards:
 *   linear     Σ v_s / n
 *   ties       Yadav et al. 2023: each delta is trimmed to its int(density · entries) largest magnitudes (equal
 *              magnitudes at the threshold all kept; counted over its non-zero entries when trim_nonzero), the sign of
 *              the sum is elected with ties positive, and the agreeing kept entries are averaged
 *   sign       ties without the trim
 *   slerp      linear divided by ‖Σ u_s / n‖, u_s = v_s / ‖v_s‖: for two deltas the spherical interpolation at ½ (the
 *              sine formula with both factors 1 / 2cos(θ/2)), for more the same rule, which knows no order; linear
 * where the directions cancel (length under 0.016, cos θ < −0.9995 of two) dare       Yu et al. 2024: every entry is
 * dropped with probability 1 − density and divided by density else (drawn from the seed and the shard's id), then
 * linear dare-ties  dare's drop, the elected sign of ties, Σ of the agreeing entries / n Sums are fixed point, so the
 * result has the same bits for any number of ranks. Where the public code differs: its slerp goes from the base weights
 * to the first shard, and its `dare_linear` leaves out the division by density. */
struct editor_merge_how {
	enum merge_operator operator; /* any but MERGE_ROUNDS */
	double density;               /* ties, dare, dare-ties: in (0, 1]; ties takes 0 too */
	bool trim_nonzero;            /* ties */
	uint64_t seed;                /* dare, dare-ties */
};
/* Shards are spread over ranks: `deltas` and `shard_ids` are this rank's (may be none). `out` (element_count) on every
 * rank. Not rounded. */
int editor_merge_deltas(struct editor_reduce *reduce, const struct editor_merge_how *how, const float *const *deltas,
			const uint64_t *shard_ids, size_t delta_count, size_t element_count, float *out,
			struct err *e) MUST_CHECK;

/* Rounds (method.md). First the shards' metrics are summed: a shard's metric is the second moment of the inputs of its
 * training, noise included. Then the common delta starts where the published deltas' outputs for these inputs are met
 * best (least squares), and in every round each shard trains config.merge_passes passes from the common delta, which
 * takes an outer step towards where the results' outputs are met best, with momentum (outer optimiser as in DiLoCo,
 * Douillard et al. 2023). `shards`: this rank's, with their published deltas; `shard_total` over all ranks; shard_ids
 * seed the local passes, so that ranks and their number do not matter. Ends rounded to bf16. `out` on ranks that hold
 * shards; without meaning on others. ERR_UNSUPPORTED: a matrix with over 16384 columns. */
struct editor_round_stats {
	size_t rounds, reduces; /* reduces: of matrices */
	uint64_t reduced_bytes; /* all of them together, on one rank */
	double loss;            /* mean over shards, last round */
};
int editor_merge_rounds(struct editor_reduce *reduce, struct editor_shard *const *shards, const uint64_t *shard_ids,
			size_t shard_count, size_t shard_total, const struct editor_config *config,
			const struct editor_watch *watch, float *out, struct editor_round_stats *stats,
			struct err *e) MUST_CHECK;

#endif
