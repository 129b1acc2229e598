/* bench_merge: the reduction of a merge over MPI ranks, of deltas of SmolLM2's shape in fixed point, beside what the
 * bytes alone take: every rank's values read once and the sum written once for every rank, at the bandwidth of copying
 * arrays of that size by all ranks at once in the same run. Both from one barrier of MPI's to another, in turn, as the
 * slowest rank has it; values are put where they are summed before that, as a merge has them there. A pair is the least
 * of five of each: a rank whose core is taken away holds up all of them, for ten times what is measured. Rank 0 prints.
 * usage: mpirun -np RANKS bench_merge [HIDDEN FFN] */
#include "base/rng.h"
#include "bench/bench.h"
#include "editor/merge.h"
#include "worker/reduce_mpi.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS 31
#define TRIES   5

static void wait_for_all(struct editor_reduce *reduce)
{
	int64_t one = 1;
	struct err e = ERR_INIT;
	bench_need(reduce->sum(reduce, &one, 1, &e), &e);
}

/* Of the slowest rank, between two barriers. */
static double copy_us(struct editor_reduce *reduce, int64_t *to, const int64_t *from, size_t count)
{
	wait_for_all(reduce);
	const double began = bench_now_us();
	memcpy(to, from, count * sizeof(*to));
	wait_for_all(reduce);
	return bench_now_us() - began;
}

static double sum_us(struct editor_reduce *reduce, int64_t *values, size_t count)
{
	struct err e = ERR_INIT;
	wait_for_all(reduce);
	const double began = bench_now_us();
	bench_need(reduce->sum(reduce, values, count, &e), &e);
	wait_for_all(reduce);
	return bench_now_us() - began;
}

int main(int argc, char **argv)
{
	struct editor_reduce reduce;
	struct err e = ERR_INIT;
	struct rng rng;
	char name[64];
	bench_need(worker_reduce_mpi_init(&argc, &argv, &reduce, &e), &e);
	const size_t count = argc > 2 ? strtoul(argv[1], NULL, 10) * strtoul(argv[2], NULL, 10) : (size_t)576 * 1536;
	int64_t *values = NULL, *copied = bench_memory(count, sizeof(*copied)),
		*other = bench_memory(count, sizeof(*other));
	bench_need(reduce.alloc(&reduce, count, &values, &e), &e);
	struct bench_pairs pairs = { .name = name,
				     .unit = "ms",
				     .baseline = "its bytes at the bandwidth of copying",
				     .sense = BENCH_AT_MOST,
				     .bar = 2 };
	snprintf(name, sizeof(name), "reduction of %zu shards", reduce.rank_count);
	rng_init(&rng, reduce.rank);
	for (size_t i = 0; i < count; i++)
		other[i] = (int64_t)(rng_u64(&rng) >> 24) - (INT64_C(1) << 39);
	for (; pairs.count < REPEATS; pairs.count++) {
		pairs.theirs[pairs.count] = pairs.ours[pairs.count] = INFINITY;
		for (size_t i = 0; i < TRIES; i++) {
			const double copy = copy_us(&reduce, copied, other, count);
			memcpy(values, other, count * sizeof(*values));
			const double sum = sum_us(&reduce, values, count);
			pairs.theirs[pairs.count] = fmin(pairs.theirs[pairs.count], 1e-3 * copy);
			pairs.ours[pairs.count] = fmin(pairs.ours[pairs.count], 1e-3 * sum);
		}
	}
	if (reduce.rank == 0)
		bench_report(&pairs);
	reduce.free(&reduce, &values);
	free(copied);
	free(other);
	worker_reduce_mpi_fini();
	return 0;
}
