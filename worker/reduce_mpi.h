/* reduce_mpi.h: the reduce of a merge over MPI ranks (editor/merge.h), and MPI's start and end, so that one file
 * includes mpi.h. Linked into amend-merge alone. One thread calls. */
#ifndef AMEND_WORKER_REDUCE_MPI_H
#define AMEND_WORKER_REDUCE_MPI_H

#include "editor/merge.h"

/* Starts MPI (outside mpirun: one rank) and fills the table. MPI's errors are returned as ERR_EXTERNAL from then on.
 *
 * sum: exact for any number of ranks and any order. So that no partial sum can wrap, ERR_LIMIT comes back on every rank
 * as soon as the largest magnitude of any rank, times the number of ranks, does not fit 63 bits.
 * alloc: where one machine has all ranks, memory that each of them sees: a sum then
 * reads every value once and writes every sum once a rank, each rank a share of both. Else memory of the rank's own,
 * which MPI_Allreduce adds up. */
int worker_reduce_mpi_init(int *argc, char ***argv, struct editor_reduce *out, struct err *e) MUST_CHECK;
void worker_reduce_mpi_fini(void);                                     /* waits for the other ranks */
void worker_reduce_mpi_abort(int exit_code) __attribute__((noreturn)); /* ends all ranks */

#endif
