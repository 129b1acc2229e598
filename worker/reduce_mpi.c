#include "worker/reduce_mpi.h"

#include "base/fault.h"

#include <mpi.h>
#include <stdlib.h>

#define CHUNK_ELEMENTS_MAX ((size_t)16 * 1024 * 1024) /* MPI counts are int, and its buffers grow with them */

static int fail(struct err *e, int mpi_code, const char *what)
{
	char text[MPI_MAX_ERROR_STRING];
	int len = 0;
	if (MPI_Error_string(mpi_code, text, &len) != MPI_SUCCESS)
		len = 0;
	return err_set(e, ERR_EXTERNAL, "MPI: %s: %.*s", what, len, text);
}

static uint64_t magnitude(int64_t value)
{
	return value < 0 ? UINT64_C(0) - (uint64_t)value : (uint64_t)value;
}

/* Largest magnitude on any rank: known to all before anything is added, so that all take the same way. */
static int check_range(struct editor_reduce *reduce, const int64_t *values, size_t count, struct err *e)
{
	uint64_t own = 0, largest = 0;
	for (size_t i = 0; i < count; i++)
		own = magnitude(values[i]) > own ? magnitude(values[i]) : own;
	int code = MPI_Allreduce(&own, &largest, 1, MPI_UINT64_T, MPI_MAX, MPI_COMM_WORLD);
	if (code != MPI_SUCCESS) {
		reduce->broken = true;
		return fail(e, code, "comparing ranges");
	}
	if (largest > (uint64_t)INT64_MAX / reduce->rank_count)
		return err_set(e, ERR_LIMIT, "merge: a value of %g over %zu ranks does not fit fixed point",
			       (double)largest / EDITOR_FIXED_SCALE, reduce->rank_count);
	return 0;
}

static int sum(struct editor_reduce *reduce, int64_t *values, size_t count, struct err *e)
{
	if (fault_point("worker.merge.reduce") != 0) {
		reduce->broken = true;
		return err_set(e, ERR_EXTERNAL, "MPI: planted fault");
	}
	int rc = check_range(reduce, values, count, e);
	for (size_t first = 0; rc == 0 && first < count; first += CHUNK_ELEMENTS_MAX) {
		size_t left = count - first, chunk = left < CHUNK_ELEMENTS_MAX ? left : CHUNK_ELEMENTS_MAX;
		int code =
			MPI_Allreduce(MPI_IN_PLACE, values + first, (int)chunk, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
		if (code != MPI_SUCCESS) {
			reduce->broken = true;
			rc = fail(e, code, "adding");
		}
		reduce->reduced_bytes += chunk * sizeof(*values);
	}
	return rc;
}

int worker_reduce_mpi_init(int *argc, char ***argv, struct editor_reduce *out, struct err *e)
{
	int rank = 0, rank_count = 0;
	int code = MPI_Init(argc, argv);
	if (code == MPI_SUCCESS)
		code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
	if (code == MPI_SUCCESS)
		code = MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	if (code == MPI_SUCCESS)
		code = MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
	if (code != MPI_SUCCESS)
		return fail(e, code, "starting");
	*out = (struct editor_reduce){ .rank = (size_t)rank, .rank_count = (size_t)rank_count, .sum = sum };
	return 0;
}

void worker_reduce_mpi_fini(void)
{
	MPI_Finalize();
}

void worker_reduce_mpi_abort(int exit_code)
{
	MPI_Abort(MPI_COMM_WORLD, exit_code);
	abort();
}
