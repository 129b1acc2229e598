/* One rank, as without mpirun, and several: this program once more, under mpirun. Whole merges are integration tests.
 */
#include "worker/reduce_mpi.h"

#include "base/fault.h"
#include "base/rng.h"
#include "tests/lib/test.h"

#include <sys/wait.h>
#include <unistd.h>

static struct editor_reduce reduce;

/* ---- One of several ranks */

#define COUNT ((size_t)5003)

#define need(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "rank %zu, line %d: %s: %s\n", reduce.rank, __LINE__, #condition, e.text);     \
			worker_reduce_mpi_abort(1);                                                                    \
		}                                                                                                      \
	} while (0)

static void fill(int64_t *values, size_t rank, uint64_t seed)
{
	struct rng rng;
	rng_init(&rng, rng_derive(seed, rank, 0));
	for (size_t i = 0; i < COUNT; i++)
		values[i] = (int64_t)(rng_u64(&rng) >> 8) - (INT64_C(1) << 55);
}

static void want_of(int64_t *want, uint64_t seed)
{
	int64_t values[COUNT];
	memset(want, 0, COUNT * sizeof(*want));
	for (size_t rank = 0; rank < reduce.rank_count; rank++) {
		fill(values, rank, seed);
		for (size_t i = 0; i < COUNT; i++)
			want[i] += values[i];
	}
}

/* A few at the beginning, and all. */
static void sum_of(int64_t *values, uint64_t seed)
{
	static const size_t counts[] = { 1, 511, 2048, COUNT };
	struct err e = ERR_INIT;
	int64_t want[COUNT], own[COUNT];
	want_of(want, seed);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		fill(values, reduce.rank, seed);
		fill(own, reduce.rank, seed);
		need(reduce.sum(&reduce, values, counts[i], &e) == 0);
		need(memcmp(values, want, counts[i] * sizeof(*want)) == 0);
		need(memcmp(values + counts[i], own + counts[i], (COUNT - counts[i]) * sizeof(*own)) == 0);
	}
}

/* One value of one rank is too large: every rank hears of it, and goes on. */
static void refuse_of(int64_t *values, size_t at)
{
	for (int sign = -1; sign <= 1; sign += 2) {
		struct err e = ERR_INIT;
		const int64_t most = INT64_MAX / (int64_t)reduce.rank_count;
		memset(values, 0, COUNT * sizeof(*values));
		values[at] = reduce.rank == reduce.rank_count - 1 ? sign * most : 0;
		need(reduce.sum(&reduce, values, COUNT, &e) == 0);
		need(values[at] == sign * most);
		values[at] = reduce.rank == reduce.rank_count - 1 ? sign * (most + 1) : 0;
		need(reduce.sum(&reduce, values, COUNT, &e) == ERR_LIMIT);
		need(!reduce.broken);
	}
}

/* Of this rank and of the others. */
static size_t windows_mapped(void)
{
	char line[512];
	size_t count = 0;
	FILE *maps = fopen("/proc/self/maps", "re");
	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
		count += strstr(line, "/memfd:amend-merge") != NULL;
	if (maps != NULL)
		fclose(maps);
	return count;
}

static int rank_main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	int64_t *first = NULL, *second = NULL, *plain = calloc(COUNT, sizeof(*plain));
	const bool apart = argc > 2 && strcmp(argv[2], "apart") == 0;
	if (plain == NULL || worker_reduce_mpi_init(&argc, &argv, &reduce, &e) != 0)
		return 1;
	if (apart && reduce.rank == 1)
		need(fault_arm("worker.merge.share=errno@1:100", &e) == 0);
	for (uint64_t turn = 0; turn < 2; turn++) {
		need(reduce.alloc(&reduce, COUNT, &first, &e) == 0);
		need(reduce.alloc(&reduce, COUNT, &second, &e) == 0);
		need(windows_mapped() == (apart ? 0 : 2 * reduce.rank_count));
		for (size_t i = 0; i < COUNT; i++)
			need(first[i] == 0 && second[i] == 0);
		sum_of(first, turn);
		sum_of(plain, turn);
		sum_of(second, turn + 7);
		refuse_of(first, 0);
		refuse_of(second, COUNT - 1);
		refuse_of(plain, 100);
		sum_of(second, turn + 9);
		reduce.free(&reduce, &first);
		reduce.free(&reduce, &second);
		reduce.free(&reduce, &second); /* is NULL */
		need(windows_mapped() == 0);
	}
	free(plain);
	worker_reduce_mpi_fini();
	return 0;
}

/* ---- All of them */

static const char *self;

/* What they have logged goes to the file. */
static void run_ranks(int rank_count, const char *how, const char *log)
{
	char command[1024];
	if (system("command -v mpirun >/dev/null") != 0)
		skip();
	snprintf(command, sizeof(command),
		 "timeout 100 mpirun %s --oversubscribe --bind-to none --mca plm isolated --mca ras ^slurm --mca btl "
		 "self,vader "
		 "--mca btl_vader_single_copy_mechanism none --mca oob_tcp_if_include lo -np %d '%s' --rank %s >'%s' "
		 "2>&1",
		 geteuid() == 0 ? "--allow-run-as-root" : "", rank_count, self, how, log);
	const int status = system(command);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static size_t lines_with(const char *path, const char *text)
{
	char line[512];
	size_t count = 0;
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL)
		count += strstr(line, text) != NULL;
	fclose(file);
	return count;
}

static void ranks_add_up_what_they_see(void **state)
{
	char log[TEST_PATH_BYTES];
	test_path(log, *state, "log");
	run_ranks(2, "together", log);
	assert_int_equal(lines_with(log, "MERGE-MEMORY-APART"), 0);
	run_ranks(5, "together", log);
}

/* As where one of them is on another machine; it is said once. */
static void without_such_memory_ranks_send_their_values(void **state)
{
	char log[TEST_PATH_BYTES];
	test_path(log, *state, "log");
	run_ranks(3, "apart", log);
	assert_int_equal(lines_with(log, "MERGE-MEMORY-APART"), 1);
}

/* ---- One */

static void one_rank_keeps_its_values(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	int64_t values[3] = { 5, -7, INT64_MAX };
	assert_int_equal(reduce.rank, 0);
	assert_int_equal(reduce.rank_count, 1);
	assert_ok(&e, reduce.sum(&reduce, values, 3, &e));
	assert_true(values[0] == 5 && values[1] == -7 && values[2] == INT64_MAX);
	assert_int_equal(reduce.reduced_bytes, 24);
}

/* The bound goes by the number of ranks that the table names: as if there were two. */
static void what_could_wrap_is_refused(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct editor_reduce two = reduce;
	two.rank_count = 2;
	const int64_t bad[] = { INT64_MAX / 2 + 1, INT64_MIN / 2 - 1, INT64_MIN };
	for (size_t i = 0; i < 3; i++) {
		int64_t value = bad[i];
		assert_int_equal(two.sum(&two, &value, 1, &e), ERR_LIMIT);
		assert_true(value == bad[i]);
	}
	assert_false(two.broken); /* all ranks know of it */
	int64_t fits = INT64_MAX / 2;
	assert_ok(&e, two.sum(&two, &fits, 1, &e));
}

static void a_transport_that_fails_is_marked(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct editor_reduce other = reduce;
	int64_t value = 1;
	assert_ok(&e, fault_arm("worker.merge.reduce=errno@1", &e));
	assert_int_equal(other.sum(&other, &value, 1, &e), ERR_EXTERNAL);
	assert_true(other.broken);
	fault_disarm_all();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_rank_keeps_its_values),
		cmocka_unit_test(a_transport_that_fails_is_marked),
		cmocka_unit_test(what_could_wrap_is_refused),
	};
	const struct CMUnitTest several[] = {
		cmocka_unit_test_setup_teardown(ranks_add_up_what_they_see, test_setup_folder, test_teardown_folder),
		cmocka_unit_test_setup_teardown(without_such_memory_ranks_send_their_values, test_setup_folder,
						test_teardown_folder),
	};
	struct err e = ERR_INIT;
	self = argv[0];
	if (argc > 1 && strcmp(argv[1], "--rank") == 0)
		return rank_main(argc, argv);
	/* before MPI begins here: it would be one of its processes that starts mpirun */
	int failed = cmocka_run_group_tests(several, NULL, NULL);
	if (worker_reduce_mpi_init(&argc, &argv, &reduce, &e) != 0) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	failed += cmocka_run_group_tests(tests, NULL, NULL);
	worker_reduce_mpi_fini();
	return failed;
}
