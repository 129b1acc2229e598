#include "tests/lib/store_fixture.h"

#include "base/fault.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

/* A version as a coordinator publishes it: its blob first, then, in one transaction, all that names it. */
static int publish(struct store *store, uint64_t number, struct err *e)
{
	struct store_version version = { .version = number };
	struct store_edit edit = { .state = STORE_EDIT_STATE_ACCEPTED };
	struct store_txn *txn = NULL;
	uint8_t bytes[5000];
	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, &number, sizeof(number));
	int rc = store_blob_put(store, bytes, sizeof(bytes), &version.root, e);
	if (!rc)
		rc = store_begin(store, &txn, e);
	if (!rc)
		rc = store_event_append(txn, STORE_EVENT_EDIT_ACCEPTED, fixture_actor, bytes, 100, &edit.seq, e);
	snprintf(edit.id, sizeof(edit.id), "edit-%llu", (unsigned long long)number);
	hash_of(bytes, 100, &edit.content);
	if (!rc)
		rc = store_edit_put(txn, &edit, e);
	if (!rc)
		rc = store_event_append(txn, STORE_EVENT_VERSION_PUBLISHED, fixture_actor, "{}", 2, &version.event_seq,
					e);
	if (!rc)
		rc = store_version_put(txn, &version, e);
	if (!rc)
		rc = store_commit(&txn, e);
	store_abort(&txn);
	return rc;
}

/* What `amend store verify` looks for: hashes and the chain, and no version without its chunks. Gives how many versions
 * it has. */
static uint64_t copy_check(struct fixture *f, const char *folder)
{
	struct store_options options = { .env = &f->clock.env, .inspect = true };
	struct store *copy = NULL;
	struct store_txn *txn = NULL;
	struct store_ledger_tally ledger;
	struct store_chunks_tally chunks;
	struct buf missing = BUF_INIT;
	OK(f, store_open(folder, &options, &copy, &f->e));
	OK(f, store_begin_read(copy, &txn, &f->e));
	OK(f, store_ledger_verify(txn, &ledger, &f->e));
	OK(f, store_chunks_verify(copy, &chunks, &f->e));
	for (uint64_t v = 1; v <= ledger.version_count; v++) {
		struct store_version version;
		OK(f, store_version_get(txn, v, &version, &f->e));
		OK(f, store_blob_missing(copy, &version.root, &missing, &f->e));
		assert_int_equal(missing.len, 0);
	}
	store_abort(&txn);
	store_close(&copy);
	return ledger.version_count;
}

static void place(struct fixture *f, const char *name, char out[TEST_PATH_BYTES])
{
	test_path(out, f->folder, name);
}

static bool is_there(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0;
}

static void test_a_copy_is_whole(void **state)
{
	struct fixture *f = *state;
	struct store_backup_tally tally;
	char folder[TEST_PATH_BYTES];
	for (uint64_t v = 1; v <= 70; v++)
		OK(f, publish(f->store, v, &f->e));
	place(f, "copy", folder);
	OK(f, store_backup(f->store, folder, NULL, &tally, &f->e));
	assert_int_equal(tally.event_count, 140);
	assert_int_equal(tally.version_count, 70);
	assert_int_equal(tally.chunk_count, 140); /* each blob has a chunk and a root: more than one step */
	assert_int_equal(tally.bad_count, 0);
	assert_int_equal(copy_check(f, folder), 70);
	FAILS(ERR_EXISTS, store_backup(f->store, folder, NULL, &tally, &f->e)); /* never over another */
	OK(f, publish(f->store, 71, &f->e));
	/* and goes on like the store that it is a copy of; a copy of it is a restoration */
	struct store *copy = NULL;
	OK(f, store_open(folder, &f->options, &copy, &f->e));
	OK(f, publish(copy, 71, &f->e));
	char back[TEST_PATH_BYTES];
	place(f, "back", back);
	assert_int_equal(mkdir(back, 0700), 0); /* an empty folder is no obstacle */
	OK(f, store_backup(copy, back, NULL, &tally, &f->e));
	store_close(&copy);
	assert_int_equal(copy_check(f, back), 71);
}

struct load {
	struct store *store;
	atomic_bool stop;
	atomic_ullong published;
	struct err e;
	int rc;
};

static void *load_run(void *context)
{
	struct load *load = context;
	while (load->rc == 0 && !atomic_load(&load->stop)) {
		load->rc = publish(load->store, atomic_load(&load->published) + 1, &load->e);
		if (load->rc == 0)
			atomic_fetch_add(&load->published, 1);
	}
	return NULL;
}

/* Versions are published all the while: no copy has one whose chunks it has not, and every copy has all that were
 * there when it began. */
static void test_copies_under_load_are_whole(void **state)
{
	struct fixture *f = *state;
	struct load load = { .store = f->store };
	struct store_backup_tally tally;
	pthread_t thread;
	char name[32], folder[TEST_PATH_BYTES];
	uint64_t during = 0;
	assert_int_equal(pthread_create(&thread, NULL, load_run, &load), 0);
	int64_t since = 0;
	while (atomic_load(&load.published) < 100)
		assert_true(test_wait(&since));
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "copy-%d", i);
		place(f, name, folder);
		const uint64_t before = atomic_load(&load.published);
		OK(f, store_backup(f->store, folder, NULL, &tally, &f->e));
		during += atomic_load(&load.published) - before;
		assert_int_equal(copy_check(f, folder), tally.version_count);
		assert_true(tally.version_count >= before);
		test_folder_remove(folder);
	}
	atomic_store(&load.stop, true);
	pthread_join(thread, NULL);
	assert_ok(&load.e, load.rc);
	assert_true(during > 0);
}

static size_t descriptor_count(void)
{
	size_t count = 0;
	DIR *dir = opendir("/proc/self/fd");
	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void test_a_copy_that_was_cut_short_is_none(void **state)
{
	struct fixture *f = *state;
	struct store_backup_tally tally;
	char folder[TEST_PATH_BYTES], part[TEST_PATH_BYTES], theirs[TEST_PATH_BYTES];
	atomic_bool stop;
	atomic_init(&stop, true);
	OK(f, publish(f->store, 1, &f->e));
	place(f, "copy", folder);
	place(f, "copy.part", part);
	OK(f, fault_arm("store.backup.ledger=errno@1", &f->e));
	FAILS(ERR_FAULT, store_backup(f->store, folder, NULL, &tally, &f->e));
	fault_disarm_all();
	assert_false(is_there(folder) || is_there(part));
	OK(f, fault_arm("nothing=errno@1", &f->e)); /* so that points are counted */
	const uint64_t ledgers = fault_hits("store.backup.ledger");
	FAILS(ERR_INTERRUPTED, store_backup(f->store, folder, &stop, &tally, &f->e));
	assert_int_equal(fault_hits("store.backup.ledger"), ledgers); /* not when the whole ledger is copied */
	fault_disarm_all();
	assert_false(is_there(folder) || is_there(part));
	/* What a killed process has left is taken for that; what somebody else has put there is not. */
	assert_int_equal(mkdir(part, 0700), 0);
	test_path(theirs, part, "lock");
	test_file_write(theirs, "1\n");
	OK(f, store_backup(f->store, folder, NULL, &tally, &f->e));
	assert_false(is_there(part));
	test_folder_remove(folder);
	assert_int_equal(mkdir(part, 0700), 0);
	test_path(theirs, part, "letter");
	test_file_write(theirs, "mine\n");
	const size_t descriptors = descriptor_count();
	FAILS(ERR_EXISTS, store_backup(f->store, folder, NULL, &tally, &f->e));
	assert_int_equal(descriptor_count(), descriptors); /* none of others is closed */
	assert_true(is_there(theirs));
	FAILS(ERR_INVALID, store_backup(f->store, "", NULL, &tally, &f->e));
}

/* What fails behind the rename says that the copy is there: another try to that place finds it. */
static void test_a_copy_that_is_in_its_place_is_said_to_be(void **state)
{
	struct fixture *f = *state;
	struct store_backup_tally tally;
	char folder[TEST_PATH_BYTES], unfinished[TEST_PATH_BYTES];
	OK(f, publish(f->store, 1, &f->e));
	place(f, "copy", folder);
	place(f, "copy/unfinished", unfinished);
	OK(f, fault_arm("store.backup.placed=errno@1", &f->e));
	FAILS(ERR_FAULT, store_backup(f->store, folder, NULL, &tally, &f->e));
	fault_disarm_all();
	assert_non_null(strstr(f->e.text, "is there and whole"));
	assert_false(is_there(unfinished));
	assert_int_equal(copy_check(f, folder), 1);
}

/* A data folder of that name is not what a copy has left, in use or not. */
static void test_a_data_folder_is_not_cleared(void **state)
{
	struct fixture *f = *state;
	struct store_backup_tally tally;
	struct store *other = NULL;
	char folder[TEST_PATH_BYTES], part[TEST_PATH_BYTES];
	OK(f, publish(f->store, 1, &f->e));
	place(f, "copy", folder);
	place(f, "copy.part", part);
	OK(f, store_open(part, &f->options, &other, &f->e));
	OK(f, publish(other, 1, &f->e));
	OK(f, publish(other, 2, &f->e));
	FAILS(ERR_EXISTS, store_backup(f->store, folder, NULL, &tally, &f->e));
	OK(f, publish(other, 3, &f->e));
	store_close(&other);
	FAILS(ERR_EXISTS, store_backup(f->store, folder, NULL, &tally, &f->e));
	assert_int_equal(copy_check(f, part), 3);
}

struct copy {
	struct fixture *f;
	char folder[TEST_PATH_BYTES];
	struct err e;
	int rc;
};

static void *copy_run(void *context)
{
	struct copy *copy = context;
	struct store_backup_tally tally;
	copy->rc = store_backup(copy->f->store, copy->folder, NULL, &tally, &copy->e);
	return NULL;
}

/* Two copies to one folder at once: the second touches nothing of the first. */
static void test_a_copy_that_is_being_made_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct store_backup_tally tally;
	struct copy copy = { .f = f };
	char ledger[TEST_PATH_BYTES], unfinished[TEST_PATH_BYTES];
	pthread_t thread;
	int64_t since = 0;
	for (uint64_t v = 1; v <= 10; v++)
		OK(f, publish(f->store, v, &f->e));
	place(f, "copy", copy.folder);
	place(f, "copy.part/ledger/data.mdb", ledger);
	place(f, "copy/unfinished", unfinished);
	OK(f, fault_arm("store.backup.ledger=delay-500@1", &f->e));
	assert_int_equal(pthread_create(&thread, NULL, copy_run, &copy), 0);
	while (!is_there(ledger))
		assert_true(test_wait(&since));
	FAILS(ERR_BUSY, store_backup(f->store, copy.folder, NULL, &tally, &f->e));
	assert_true(is_there(ledger));
	pthread_join(thread, NULL);
	fault_disarm_all();
	assert_ok(&copy.e, copy.rc);
	assert_int_equal(copy_check(f, copy.folder), 10);
	assert_false(is_there(unfinished));
}

static void test_a_full_disk_harms_the_copy_alone(void **state)
{
	struct fixture *f = *state;
	struct store_backup_tally tally;
	char folder[TEST_PATH_BYTES];
	for (uint64_t v = 1; v <= 40; v++)
		OK(f, publish(f->store, v, &f->e));
	place(f, "copy", folder);
	test_file_size_limit(16 << 10);
	int rc = store_backup(f->store, folder, NULL, &tally, &f->e);
	test_file_size_limit(UINT64_MAX);
	assert_true(rc == ERR_FULL || rc == ERR_IO);
	assert_false(is_there(folder));
	OK(f, publish(f->store, 41, &f->e));
	OK(f, store_backup(f->store, folder, NULL, &tally, &f->e));
	assert_int_equal(copy_check(f, folder), 41);
}

static void test_damaged_chunks_are_left_out(void **state)
{
	struct fixture *f = *state;
	struct store_backup_tally tally;
	struct hash root;
	char folder[TEST_PATH_BYTES];
	OK(f, publish(f->store, 1, &f->e));
	OK(f, store_blob_put(f->store, "bytes that rot on the disk", 26, &root, &f->e));
	store_close(&f->store);
	assert_true(fixture_tamper(f, "blobs", "bytes that rot", 14, 3) > 0);
	fixture_open(f);
	place(f, "copy", folder);
	OK(f, store_backup(f->store, folder, NULL, &tally, &f->e));
	assert_int_equal(tally.bad_count, 1);
	assert_int_equal(tally.chunk_count, 3);
	assert_int_equal(copy_check(f, folder), 1);
}

/* The ledger says what was acknowledged: a copy of a damaged one would look like a whole one until it is needed. */
static void test_no_copy_is_made_of_a_damaged_ledger(void **state)
{
	struct fixture *f = *state;
	struct store_backup_tally tally;
	char folder[TEST_PATH_BYTES], back[TEST_PATH_BYTES];
	fixture_begin(f);
	(void)fixture_event(f, "what was acknowledged");
	(void)fixture_event(f, "and what came after it");
	fixture_commit(f);
	place(f, "copy", folder);
	OK(f, store_backup(f->store, folder, NULL, &tally, &f->e));
	store_close(&f->store);
	assert_true(fixture_tamper(f, "ledger", "what was acknowledged", 21, 5) > 0);
	assert_true(fixture_tamper(f, "copy/ledger", "what was acknowledged", 21, 5) > 0);
	fixture_open(f);
	place(f, "second", back);
	FAILS(ERR_CORRUPT, store_backup(f->store, back, NULL, &tally, &f->e));
	assert_non_null(strstr(f->e.text, "event 1: does not match its hash"));
	assert_non_null(strstr(f->e.text, "no copy is made"));
	assert_false(is_there(back));
	struct store_options options = { .env = &f->clock.env, .inspect = true };
	struct store *copy = NULL;
	OK(f, store_open(folder, &options, &copy, &f->e));
	FAILS(ERR_CORRUPT, store_restore(copy, back, &tally, &f->e));
	store_close(&copy);
	assert_false(is_there(back));
}

static void meta_is(struct fixture *f, struct store *store, const char *name, const char *expected)
{
	struct store_txn *txn = NULL;
	struct buf bytes = BUF_INIT;
	OK(f, store_begin_read(store, &txn, &f->e));
	OK(f, store_meta_get(txn, name, &bytes, &f->e));
	store_abort(&txn);
	assert_string_equal(buf_cstr(&bytes), expected);
	buf_free(&bytes);
}

/* What is done on a restored copy is another history: it is nobody's until a coordinator starts on it. */
static void test_a_restored_copy_gets_an_id_of_its_own(void **state)
{
	struct fixture *f = *state;
	struct store_options options = { .env = &f->clock.env, .inspect = true };
	struct store_backup_tally tally;
	struct store_txn *txn = NULL;
	struct store *copy = NULL;
	char folder[TEST_PATH_BYTES];
	OK(f, publish(f->store, 1, &f->e));
	OK(f, store_begin(f->store, &txn, &f->e));
	OK(f, store_meta_put(txn, STORE_META_CLUSTER_ID, "first", 5, &f->e));
	OK(f, store_commit(&txn, &f->e));
	for (int again = 0; again < 2; again++) { /* the second time of a copy that nobody has started */
		place(f, again == 0 ? "copy" : "copy of it", folder);
		OK(f, store_restore(again == 0 ? f->store : copy, folder, &tally, &f->e));
		store_close(&copy);
		assert_int_equal(tally.event_count, 2);
		assert_int_equal(copy_check(f, folder), 1);
		OK(f, store_open(folder, &options, &copy, &f->e));
		meta_is(f, copy, STORE_META_CLUSTER_ID, "");
		meta_is(f, copy, STORE_META_RESTORED_FROM, "first");
	}
	store_close(&copy);
	meta_is(f, f->store, STORE_META_CLUSTER_ID, "first");
	place(f, "backup", folder);
	OK(f, store_backup(f->store, folder, NULL, &tally, &f->e));
	OK(f, store_open(folder, &options, &copy, &f->e));
	meta_is(f, copy, STORE_META_CLUSTER_ID, "first");
	store_close(&copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_copy_is_whole, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_copies_under_load_are_whole, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_copy_that_was_cut_short_is_none, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_copy_that_is_in_its_place_is_said_to_be, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_data_folder_is_not_cleared, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_copy_that_is_being_made_is_left_alone, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_full_disk_harms_the_copy_alone, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_damaged_chunks_are_left_out, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_no_copy_is_made_of_a_damaged_ledger, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_restored_copy_gets_an_id_of_its_own, fixture_setup,
						fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
