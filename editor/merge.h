/* merge.h: merging deltas exactly. Every sum over shards is int64 fixed point at EDITOR_FIXED_SCALE, so the result has
 * the same bits for any number of ranks and any order; a value or sum that does not fit is an error (ERR_LIMIT says
 * where), never wrapped. Pure; no MPI here: the reduce is a table, with a row for one process and (worker/reduce_mpi.c)
 * one for MPI. */
#ifndef AMEND_EDITOR_MERGE_H
#define AMEND_EDITOR_MERGE_H

#include "editor/shard.h"

#define EDITOR_FIXED_SCALE 1099511627776.0 /* 2^40: resolution 9e-13, range ±8.3e6 */

/* fixed[i] += round(values[i] · scale). ERR_LIMIT on overflow or when not finite. */
int editor_fixed_add(int64_t *fixed, const float *values, size_t count, struct err *e) MUST_CHECK;
void editor_fixed_to_float(const int64_t *fixed, double factor, size_t count,
			   float *out); /* out = fixed / scale · factor */

struct editor_reduce { /* over ranks */
	size_t rank, rank_count;
	/* Element-wise sum of `count` int64 over all ranks, in place on every rank. ERR_LIMIT on overflow on any rank
	 * (all ranks return it). */
	int (*sum)(struct editor_reduce *reduce, int64_t *values, size_t count, struct err *e);
	uint64_t reduced_bytes; /* counted */
};
void editor_reduce_single_init(struct editor_reduce *reduce); /* one process */

/* TIES (Yadav et al. 2023): trim each delta to its int(density · n) largest magnitudes (equal magnitudes at the
 * threshold all kept; over the non-zero entries when trim_nonzero), elect the sign of the sum with ties positive, mean
 * of the agreeing kept entries. Shards are spread over ranks: `deltas` are this rank's. Result on every rank. */
int editor_merge_ties(struct editor_reduce *reduce, const float *const *deltas, size_t delta_count,
		      size_t element_count, double density, bool trim_nonzero, float *out, struct err *e) MUST_CHECK;

/* Rounds (method.md, 5): each round every shard trains config.merge_passes passes from the common delta; common +=
 * outer step of the mean of their differences with momentum (outer optimiser as in DiLoCo, Douillard et al. 2023).
 * `shards`: this rank's, `shard_total` over all ranks; shard_ids seed the local passes, so that ranks and their number
 * do not matter. Ends rounded to bf16. Result on every rank. */
struct editor_round_stats {
	size_t rounds;
	uint64_t reduced_bytes;
	double loss; /* mean over shards, last round */
};
int editor_merge_rounds(struct editor_reduce *reduce, struct editor_shard *const *shards, const uint64_t *shard_ids,
			size_t shard_count, size_t shard_total, const struct editor_config *config,
			const struct editor_watch *watch, float *out, struct editor_round_stats *stats,
			struct err *e) MUST_CHECK;

#endif
