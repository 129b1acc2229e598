#include "tests/lib/store_fixture.h"

#include "base/fault.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_ROUNDS 10
#define WAIT_MS     20000

/* One edit as the coordinator would write it: event, edit, subject; seq is acknowledged only after the commit. */
static int accept_edit(struct store *store, uint64_t *seq, struct err *e)
{
	struct store_txn *txn;
	struct store_edit edit;
	int rc = store_begin(store, &txn, e);
	if (rc)
		return rc;
	memset(&edit, 0, sizeof(edit));
	rc = store_event_append(txn, STORE_EVENT_EDIT_ACCEPTED, fixture_actor, "payload", 7, &edit.seq, e);
	snprintf(edit.id, sizeof(edit.id), "edit-%llu", (unsigned long long)edit.seq);
	if (!rc)
		rc = store_edit_put(txn, &edit, e);
	if (!rc)
		rc = store_subject_add(txn, "subject", 7, edit.seq, e);
	if (rc) {
		store_abort(&txn);
		return rc;
	}
	*seq = edit.seq;
	return store_commit(&txn, e);
}

/* Writes until it dies; acknowledges each seq through `fd`. */
static void write_for_ever(struct fixture *f, int fd)
{
	uint64_t seq;
	if (store_open(f->folder, &f->options, &f->store, &f->e))
		_exit(1);
	for (;;) {
		int rc = accept_edit(f->store, &seq, &f->e);
		if (rc)
			_exit(2);
		if (write(fd, &seq, sizeof(seq)) != sizeof(seq))
			_exit(3);
	}
}

static pid_t start_writer(struct fixture *f, const char *fault, int *acks)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(ends[0]);
		if (fault && fault_arm(fault, &f->e))
			_exit(4);
		write_for_ever(f, ends[1]);
	}
	close(ends[1]);
	*acks = ends[0];
	return pid;
}

/* The next acknowledged seq; 0 when the writer is gone. */
static uint64_t read_ack(int acks)
{
	struct pollfd p = { .fd = acks, .events = POLLIN };
	uint64_t seq;
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	return read(acks, &seq, sizeof(seq)) == sizeof(seq) ? seq : 0;
}

static void expect_killed(pid_t pid)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("the writer ended with status %#x instead of being killed", (unsigned)status);
}

/* All up to `acked` is there once, in every table, and at most one more that was committed without an answer. Gives the
 * last. */
static uint64_t expect_all(struct fixture *f, uint64_t acked)
{
	uint64_t counts[STORE_EDIT_STATE_COUNT], bad, last;
	struct store_edit edit;
	struct buf seqs = BUF_INIT;
	fixture_open(f);
	fixture_begin_read(f);
	OK(f, store_event_verify(f->txn, &bad, &f->e));
	OK(f, store_event_last(f->txn, &last, NULL, &f->e));
	assert_in_range(last, acked, acked + 1);
	for (uint64_t seq = 1; seq <= last; seq++) {
		char id[32];
		snprintf(id, sizeof(id), "edit-%llu", (unsigned long long)seq);
		OK(f, store_edit_find(f->txn, id, &edit, &f->e));
		assert_int_equal(edit.seq, seq);
	}
	FAILS(ERR_NOT_FOUND, store_edit_get(f->txn, last + 1, &edit, &f->e));
	OK(f, store_edit_count(f->txn, counts, &f->e));
	assert_int_equal(counts[STORE_EDIT_STATE_ACCEPTED], last);
	OK(f, store_subject_list(f->txn, "subject", 7, &seqs, &f->e));
	assert_int_equal(seqs.len, last * sizeof(uint64_t));
	buf_free(&seqs);
	fixture_abort(f);
	store_close(&f->store);
	return last;
}

static void test_kill_9_loses_nothing_acknowledged(void **state)
{
	struct fixture *f = *state;
	uint64_t last = 0;
	for (int round = 0; round < KILL_ROUNDS; round++) {
		int acks;
		uint64_t acked = last, seq;
		pid_t pid = start_writer(f, NULL, &acks);
		for (int i = 0; i < 5 + round * 7; i++) {
			seq = read_ack(acks);
			assert_int_equal(seq, acked + 1);
			acked = seq;
		}
		kill(pid, SIGKILL);
		while ((seq = read_ack(acks)) != 0)
			acked = seq;
		close(acks);
		expect_killed(pid);
		last = expect_all(f, acked);
	}
	assert_true(last >= 50);
}

static void killed_at(struct fixture *f, const char *fault, uint64_t acked_expected, uint64_t last_expected)
{
	int acks;
	uint64_t acked = 0, seq;
	pid_t pid = start_writer(f, fault, &acks);
	while ((seq = read_ack(acks)) != 0)
		acked = seq;
	close(acks);
	expect_killed(pid);
	assert_int_equal(acked, acked_expected);
	assert_int_equal(expect_all(f, acked), last_expected);
}

static void test_killed_before_a_commit_it_is_not_there(void **state)
{
	killed_at(*state, "store.commit.before=kill@3", 2, 2);
}

static void test_killed_after_a_commit_it_is_there(void **state)
{
	killed_at(*state, "store.commit.after=kill@3", 2, 3);
}

static void test_fault_points_of_the_commit(void **state)
{
	struct fixture *f = *state;
	uint64_t seq;
	fixture_open(f);
	OK(f, fault_arm("store.commit.before=errno@1", &f->e));
	FAILS(ERR_FAULT, accept_edit(f->store, &seq, &f->e));
	fault_disarm_all();
	OK(f, accept_edit(f->store, &seq, &f->e));
	assert_int_equal(seq, 1);
	OK(f, fault_arm("store.commit.after=errno@1", &f->e));
	FAILS(ERR_FAULT, accept_edit(f->store, &seq, &f->e));
	fault_disarm_all();
	OK(f, accept_edit(f->store, &seq, &f->e));
	assert_int_equal(seq, 3);
}

static void test_a_reader_sees_what_was_committed_when_it_began(void **state)
{
	struct fixture *f = *state;
	struct store_txn *reader;
	struct store_edit edit;
	uint64_t seq;
	fixture_open(f);
	OK(f, accept_edit(f->store, &seq, &f->e));
	OK(f, store_begin_read(f->store, &reader, &f->e));
	OK(f, accept_edit(f->store, &seq, &f->e));
	FAILS(ERR_NOT_FOUND, store_edit_get(reader, 2, &edit, &f->e));
	OK(f, store_commit(&reader, &f->e));
	assert_null(reader);
	fixture_begin_read(f);
	OK(f, store_edit_get(f->txn, 2, &edit, &f->e));
}

static void test_blobs_only(void **state)
{
	struct fixture *f = *state;
	struct store_space space;
	struct hash root;
	f->options.blobs_only = true;
	fixture_open(f);
	FAILS(ERR_UNSUPPORTED, store_begin(f->store, &f->txn, &f->e));
	OK(f, store_blob_put(f->store, "x", 1, &root, &f->e));
	OK(f, store_space_get(f->store, &space, &f->e));
	assert_int_equal(space.ledger_bytes, 0);
	assert_true(space.blobs_bytes > 0);
	store_close(&f->store);
	f->options.blobs_only = false; /* a worker's or a node's: no cluster begins in it */
	FAILS(ERR_CORRUPT, store_open(f->folder, &f->options, &f->store, &f->e));
}

static void test_close_is_idempotent(void **state)
{
	struct fixture *f = *state;
	fixture_open(f);
	store_close(&f->store);
	assert_null(f->store);
	store_close(&f->store);
}

static void read_and_wait(const struct fixture *f, int ready)
{
	struct store_options options = f->options;
	struct store *store = NULL;
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	uint64_t seq;
	if (store_open(f->folder, &options, &store, &e) || store_begin_read(store, &txn, &e) ||
	    store_event_last(txn, &seq, NULL, &e) || write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Its slot in LMDB's table of readers would hold every page that is freed from then on. */
static void test_a_reader_that_was_killed_holds_nothing(void **state)
{
	struct fixture *f = *state;
	struct store_space before, after;
	uint8_t value[32768] = { 0 };
	int ready[2];
	char byte;
	store_close(&f->store);
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		read_and_wait(f, ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	fixture_open(f);
	for (int round = 0; round < 60; round++) {
		fixture_begin(f);
		value[0] = (uint8_t)round;
		OK(f, store_meta_put(f->txn, "value", value, sizeof(value), &f->e));
		fixture_commit(f);
		if (round == 9)
			OK(f, store_space_get(f->store, &before, &f->e));
	}
	OK(f, store_space_get(f->store, &after, &f->e));
	assert_true(after.ledger_bytes <= before.ledger_bytes + sizeof(value)); /* and not 50 values more */
}

static void expect_gone(struct fixture *f, const char *how)
{
	uint64_t seq;
	f->e = (struct err)ERR_INIT;
	FAILS(ERR_IO, accept_edit(f->store, &seq, &f->e));
	if (strstr(f->e.text, how) == NULL)
		fail_msg("%s", f->e.text);
	f->e = (struct err)ERR_INIT;
	FAILS(ERR_IO, store_here(f->store, &f->e));
	store_close(&f->store);
	f->e = (struct err)ERR_INIT;
}

/* A commit into a file that has no name any more would be kept for nobody. */
static void test_nothing_is_kept_in_a_folder_that_was_taken_away(void **state)
{
	struct fixture *f = *state;
	char store[TEST_PATH_BYTES], away[TEST_PATH_BYTES], file[TEST_PATH_BYTES];
	uint64_t seq;
	test_path(store, f->folder, "store");
	test_path(away, f->folder, "away");
	test_path(file, store, "ledger/data.mdb");
	OK(f, store_open(store, &f->options, &f->store, &f->e));
	OK(f, accept_edit(f->store, &seq, &f->e));
	OK(f, store_here(f->store, &f->e));
	assert_int_equal(rename(store, away), 0);
	expect_gone(f, "lock in it was deleted");
	OK(f, store_open(store, &f->options, &f->store, &f->e)); /* another one in its place */
	store_close(&f->store);
	test_folder_remove(store);
	assert_int_equal(rename(away, store), 0);
	OK(f, store_open(store, &f->options, &f->store, &f->e)); /* what was kept before is there, and no more */
	assert_int_equal(rename(store, away), 0);
	struct store *other = NULL;
	OK(f, store_open(store, &f->options, &other, &f->e));
	store_close(&other);
	expect_gone(f, "lock in it was replaced");
	test_folder_remove(store);
	assert_int_equal(rename(away, store), 0);
	OK(f, store_open(store, &f->options, &f->store, &f->e));
	struct buf bytes = BUF_INIT;
	OK(f, file_read(file, (size_t)1 << 30, &bytes, &f->e));
	OK(f, file_write_atomic(file, bytes.data, bytes.len, 0600, &f->e)); /* as a restore in place does */
	buf_free(&bytes);
	expect_gone(f, "ledger/data.mdb in it was replaced");
	OK(f, store_open(store, &f->options, &f->store, &f->e));
	OK(f, accept_edit(f->store, &seq, &f->e));
	assert_int_equal(seq, 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_closed, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_kill_9_loses_nothing_acknowledged),
		T(test_killed_before_a_commit_it_is_not_there),
		T(test_killed_after_a_commit_it_is_there),
		T(test_fault_points_of_the_commit),
		T(test_a_reader_sees_what_was_committed_when_it_began),
		T(test_blobs_only),
		T(test_close_is_idempotent),
		T(test_nothing_is_kept_in_a_folder_that_was_taken_away),
		cmocka_unit_test_setup_teardown(test_a_reader_that_was_killed_holds_nothing, fixture_setup,
						fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
