/* merge_rank.h: the work of one rank of a merge: reads the plan, loads its shards (those whose index modulo the number
 * of ranks is its rank), merges with the others through the reduce that it is given, and rank 0 writes the output file.
 * Knows no MPI. */
#ifndef AMEND_WORKER_MERGE_RANK_H
#define AMEND_WORKER_MERGE_RANK_H

#include "base/merge_plan.h"
#include "editor/merge.h"

struct worker_merge_rank_options {
	const char *plan_path, *model_path, *output_path;
	const char *backend;              /* NULL: auto */
	size_t thread_count;              /* 1: the same bits on every machine of a kind */
	const struct editor_watch *watch; /* rank 0's progress; may be NULL */
};

/* Collective: every rank calls it. A rank whose own part fails (ERR_CORRUPT: an input does not match its digest;
 * ERR_MISMATCH: another base model; ERR_NOT_FOUND; …) tells the others, and all return an error: its own, or
 * ERR_EXTERNAL for "another rank failed". */
int worker_merge_rank_run(const struct worker_merge_rank_options *options, struct editor_reduce *reduce,
			  struct err *e) MUST_CHECK;

#endif
