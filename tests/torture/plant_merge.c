/* plant_merge.c: the fault planted in amend-merge (TORTURE_PLANT=float-sum): ranks add floats, so what comes out
 * depends on who adds what, and in which order. */
#include "worker/reduce_mpi.h"

#include <stdlib.h>
#include <string.h>

static int (*real_sum)(struct editor_reduce *reduce, int64_t *values, size_t count, struct err *e);

static int float_sum(struct editor_reduce *reduce, int64_t *values, size_t count, struct err *e)
{
	for (size_t i = 0; i < count; i++)
		values[i] = (int64_t)(float)values[i];
	return real_sum(reduce, values, count, e);
}

int __real_worker_reduce_mpi_init(int *argc, char ***argv, struct editor_reduce *out, struct err *e);
int __wrap_worker_reduce_mpi_init(int *argc, char ***argv, struct editor_reduce *out, struct err *e);
int __wrap_worker_reduce_mpi_init(int *argc, char ***argv, struct editor_reduce *out, struct err *e)
{
	const char *name = getenv("TORTURE_PLANT");
	int rc = __real_worker_reduce_mpi_init(argc, argv, out, e);
	if (rc == 0 && name != NULL && strcmp(name, "float-sum") == 0) {
		real_sum = out->sum;
		out->sum = float_sum;
	}
	return rc;
}
