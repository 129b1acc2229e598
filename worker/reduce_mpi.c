#include "worker/reduce_mpi.h"

#include "base/env.h"
#include "base/eventcount.h"
#include "base/fault.h"
#include "base/log.h"
#include "editor/fixed.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_ELEMENTS_MAX ((size_t)16 * 1024 * 1024) /* MPI counts are int, and its buffers grow with them */
#define SPIN_ROUNDS        400000u /* some 20 ms, and MPI itself spins without end; where each rank has a core of its own */
#define SHARE_ELEMENTS     ((size_t)512) /* a page: a rank's share is whole ones */

static int fail(struct err *e, int mpi_code, const char *what)
{
	char text[MPI_MAX_ERROR_STRING];
	int len = 0;
	if (MPI_Error_string(mpi_code, text, &len) != MPI_SUCCESS)
		len = 0;
	return err_set(e, ERR_EXTERNAL, "MPI: %s: %.*s", what, len, text);
}

static uint64_t limit_of(const struct editor_reduce *reduce)
{
	return (uint64_t)INT64_MAX / reduce->rank_count;
}

static int refuse(const struct editor_reduce *reduce, uint64_t largest, struct err *e)
{
	return err_set(e, ERR_LIMIT, "merge: a value of %g over %zu ranks does not fit fixed point",
		       (double)largest / EDITOR_FIXED_SCALE, reduce->rank_count);
}

/* ---- Values in memory of the rank's own */

/* Largest magnitude on any rank: known to all before anything is added, so that all take the same way. */
static int check_range(struct editor_reduce *reduce, const int64_t *values, size_t count, struct err *e)
{
	uint64_t own = editor_fixed_largest(values, count), largest = 0;
	int code = MPI_Allreduce(&own, &largest, 1, MPI_UINT64_T, MPI_MAX, MPI_COMM_WORLD);
	if (code != MPI_SUCCESS) {
		reduce->broken = true;
		return fail(e, code, "comparing ranges");
	}
	return largest > limit_of(reduce) ? refuse(reduce, largest, e) : 0;
}

static int sum_apart(struct editor_reduce *reduce, int64_t *values, size_t count, struct err *e)
{
	int rc = check_range(reduce, values, count, e);
	for (size_t first = 0; rc == 0 && first < count; first += CHUNK_ELEMENTS_MAX) {
		size_t left = count - first, chunk = left < CHUNK_ELEMENTS_MAX ? left : CHUNK_ELEMENTS_MAX;
		int code =
			MPI_Allreduce(MPI_IN_PLACE, values + first, (int)chunk, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
		if (code != MPI_SUCCESS) {
			reduce->broken = true;
			rc = fail(e, code, "adding");
		}
	}
	return rc;
}

/* ---- Values that all ranks see */

/* What stands before each rank's values. */
struct desk {
	struct eventcount events; /* the first rank's: all meet there */
	atomic_size_t absent;     /* the first rank's: who has not come to the meeting */
	/* The largest magnitude over the limit in this rank's share; 0: none is. */
	_Alignas(EVENTCOUNT_LINE) uint64_t over;
	uint64_t token; /* says that this is the memory that was meant */
};

/* Where a rank's memory is found by the others. */
struct place {
	int64_t pid, fd;
	uint64_t token;
};

struct window {
	struct window *next;
	struct desk **desks; /* one a rank, each mapped; NULL: not yet */
	int64_t **values;    /* one a rank */
	struct place *places;
	int64_t *own;
	size_t rank_count, count, bytes;
};

static struct window *windows; /* of this process */
static unsigned spin_rounds;   /* of a meeting */

static void meet(const struct editor_reduce *reduce, const struct window *w)
{
	struct desk *desk = w->desks[0];
	const unsigned seen = atomic_load(&desk->events.count);
	if (atomic_fetch_sub(&desk->absent, 1) == 1) {
		atomic_store(&desk->absent, reduce->rank_count);
		eventcount_advance(&desk->events);
		return;
	}
	eventcount_wait(&desk->events, seen, spin_rounds);
}

/* Where the share of `rank` begins. */
static size_t share_of(size_t count, size_t rank, size_t rank_count)
{
	const size_t lines = (count + SHARE_ELEMENTS - 1) / SHARE_ELEMENTS;
	const size_t first = lines * rank / rank_count * SHARE_ELEMENTS;
	return first < count ? first : count;
}

/* Every rank adds up its share of the values of all, and puts the sums where each has them: each value is read once and
 * each sum written once a rank. */
static int sum_together(struct editor_reduce *reduce, const struct window *w, size_t count, struct err *e)
{
	const size_t ranks = reduce->rank_count, rank = reduce->rank;
	uint64_t largest = 0;
	assert(count <= w->count);
	meet(reduce, w);
	w->desks[rank]->over = editor_fixed_gather(w->values, ranks, share_of(count, rank, ranks),
						   share_of(count, rank + 1, ranks), limit_of(reduce));
	meet(reduce, w);
	for (size_t r = 0; r < ranks; r++)
		largest = w->desks[r]->over > largest ? w->desks[r]->over : largest;
	return largest > 0 ? refuse(reduce, largest, e) : 0;
}

static void window_forget(struct window **window)
{
	struct window **at = &windows, *w = *window;
	if (w == NULL)
		return;
	while (*at != NULL && *at != w)
		at = &(*at)->next;
	if (*at != NULL)
		*at = w->next;
	for (size_t r = 0; w->desks != NULL && r < w->rank_count; r++) {
		if (w->desks[r] != NULL)
			munmap(w->desks[r], w->bytes);
	}
	free(w->desks);
	free(w->values);
	free(w->places);
	free(w);
	*window = NULL;
}

static struct window *window_new(size_t rank_count, size_t count)
{
	struct window *w = fault_calloc(1, sizeof(*w));
	if (w == NULL)
		return NULL;
	*w = (struct window){ .rank_count = rank_count, .count = count };
	w->desks = fault_calloc(rank_count, sizeof(struct desk *));
	w->values = fault_calloc(rank_count, sizeof(int64_t *));
	w->places = fault_calloc(rank_count, sizeof(*w->places));
	if (w->desks == NULL || w->values == NULL || w->places == NULL ||
	    __builtin_mul_overflow(count, sizeof(int64_t), &w->bytes) ||
	    __builtin_add_overflow(w->bytes, sizeof(struct desk), &w->bytes))
		window_forget(&w);
	return w;
}

static bool window_map(struct window *w, size_t rank, int fd)
{
	void *memory = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return false;
	w->desks[rank] = memory;
	w->values[rank] = (int64_t *)(void *)(w->desks[rank] + 1);
	return true;
}

/* Memory without a name, which only its size limits: /dev/shm has 64 MB in a container. The pages are taken here, so
 * that none is missing when it is written. */
static bool window_open_own(struct window *w, size_t rank)
{
	if (fault_point("worker.merge.share") != 0)
		return false;
	const int fd = memfd_create("amend-merge", MFD_CLOEXEC);
	if (fd < 0)
		return false;
	if (posix_fallocate(fd, 0, (off_t)w->bytes) != 0 || !window_map(w, rank, fd)) {
		close(fd);
		return false;
	}
	struct desk *desk = w->desks[rank];
	desk->events.shared = true;
	desk->token = env_random_u64(env_system());
	atomic_store(&desk->absent, w->rank_count);
	w->places[rank] = (struct place){ getpid(), fd, desk->token };
	w->own = w->values[rank];
	return true;
}

/* That of another rank: another machine's process of the same number has none, or another's. */
static bool window_open_other(struct window *w, size_t rank)
{
	char path[64];
	struct stat st;
	snprintf(path, sizeof(path), "/proc/%" PRId64 "/fd/%" PRId64, w->places[rank].pid, w->places[rank].fd);
	const int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	const bool mapped = fstat(fd, &st) == 0 && (size_t)st.st_size == w->bytes && window_map(w, rank, fd);
	close(fd);
	return mapped && w->desks[rank]->token == w->places[rank].token;
}

/* ---- The table */

static struct window *window_of(const int64_t *values)
{
	struct window *w = values == NULL ? NULL : windows;
	while (w != NULL && w->own != values)
		w = w->next;
	return w;
}

static int sum(struct editor_reduce *reduce, int64_t *values, size_t count, struct err *e)
{
	if (fault_point("worker.merge.reduce") != 0) {
		reduce->broken = true;
		return err_set(e, ERR_EXTERNAL, "MPI: planted fault");
	}
	const struct window *w = window_of(values);
	const int rc = w != NULL ? sum_together(reduce, w, count, e) : sum_apart(reduce, values, count, e);
	reduce->reduced_bytes += rc == 0 ? count * sizeof(*values) : 0;
	return rc;
}

/* Whether it is true on every rank. */
static int all_have(struct editor_reduce *reduce, bool own, bool *all, struct err *e)
{
	int mine = own, least = 0;
	int code = MPI_Allreduce(&mine, &least, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
	*all = code == MPI_SUCCESS && least != 0;
	if (code == MPI_SUCCESS)
		return 0;
	reduce->broken = true;
	return fail(e, code, "sharing memory");
}

/* Every rank tells where its memory is, and maps that of the others. */
static int window_share(struct editor_reduce *reduce, struct window *w, bool *all, struct err *e)
{
	const int code = MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, w->places, sizeof(*w->places), MPI_BYTE,
				       MPI_COMM_WORLD);
	if (code != MPI_SUCCESS) {
		reduce->broken = true;
		return fail(e, code, "sharing memory");
	}
	bool mapped = true;
	for (size_t r = 0; mapped && r < w->rank_count; r++)
		mapped = r == reduce->rank || window_open_other(w, r);
	return all_have(reduce, mapped, all, e); /* from here on nobody opens anything */
}

static int plain_alloc(struct editor_reduce *reduce, size_t count, int64_t **out, struct err *e)
{
	bool all = false;
	int64_t *values = fault_calloc(count, sizeof(*values));
	int rc = all_have(reduce, values != NULL, &all, e);
	if (rc == 0 && !all)
		rc = err_set(e, ERR_NOMEM, "merge: out of memory for %zu entries on a rank", count);
	if (rc != 0)
		free(values);
	else
		*out = values;
	return rc;
}

static void say_apart(const struct editor_reduce *reduce)
{
	static bool said;
	if (!said && reduce->rank == 0)
		log_event(LOG_WARN, "MERGE-MEMORY-APART", LOGF_U("ranks", reduce->rank_count),
			  LOGF_S("reason",
				 "the ranks cannot share memory: their values go through MPI, which is slower"));
	said = true;
}

/* Without such memory (ranks on several machines, a system that lets nobody open it) values are in memory of the rank's
 * own. */
static int alloc(struct editor_reduce *reduce, size_t count, int64_t **out, struct err *e)
{
	bool all = false;
	*out = NULL;
	if (reduce->rank_count == 1)
		return plain_alloc(reduce, count, out, e);
	struct window *w = window_new(reduce->rank_count, count);
	const bool own = w != NULL && window_open_own(w, reduce->rank);
	int rc = all_have(reduce, own, &all, e);
	if (rc == 0 && all)
		rc = window_share(reduce, w, &all, e);
	if (own)
		close((int)w->places[reduce->rank].fd);
	if (rc != 0 || !all) {
		window_forget(&w);
		if (rc != 0)
			return rc;
		say_apart(reduce);
		return plain_alloc(reduce, count, out, e);
	}
	w->next = windows;
	windows = w;
	*out = w->own;
	return 0;
}

static void give_back(struct editor_reduce *reduce, int64_t **values)
{
	struct window *w = window_of(*values);
	(void)reduce;
	if (w == NULL)
		free(*values);
	window_forget(&w);
	*values = NULL;
}

static int core_count(void)
{
	cpu_set_t set;
	return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
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
	*out = (struct editor_reduce){
		.rank = (size_t)rank, .rank_count = (size_t)rank_count, .sum = sum, .alloc = alloc, .free = give_back
	};
	spin_rounds = rank_count <= core_count() ? SPIN_ROUNDS : 0;
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
