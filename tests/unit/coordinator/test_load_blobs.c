/* A start looks for every blob that the next version would name, and whether the ledger is whole. */
#include "tests/lib/coordinator_fixture.h"

#include <string.h>
#include <unistd.h>

static void train(struct cluster *c)
{
	cluster_start(c);
	fact_train(c, 1, 1);
	cluster_stop(c);
}

static void expect_refused(struct cluster *c, const char *words)
{
	assert_string_equal(err_name(cluster_try_start(c)), "ERR_CORRUPT");
	if (strstr(c->e.text, words) == NULL)
		fail_msg("\"%s\" is not in: %s", words, c->e.text);
	assert_non_null(strstr(c->e.text, "put ledger/ and blobs/ back from one backup"));
	err_clear(&c->e);
}

/* Blobs of a store that knows nothing of this ledger, whole in themselves. */
static void blobs_exchange(struct cluster *c)
{
	char folder[TEST_PATH_BYTES], from[TEST_PATH_BYTES], to[TEST_PATH_BYTES];
	struct store_options options = { .env = &c->clock.env };
	struct store *other = NULL;
	struct hash root;
	test_path(folder, c->folder, "other");
	assert_ok(&c->e, store_open(folder, &options, &other, &c->e));
	assert_ok(&c->e, store_blob_put(other, "another cluster's", 17, &root, &c->e));
	store_close(&other);
	test_path(from, folder, "blobs/data.mdb");
	test_path(to, c->folder, "store/blobs/data.mdb");
	assert_int_equal(rename(from, to), 0);
}

static void test_blobs_of_another_cluster_are_refused(void **state)
{
	struct cluster *c = *state;
	train(c);
	cluster_start(c); /* its own */
	cluster_stop(c);
	blobs_exchange(c);
	expect_refused(c, "4 of the 4 blobs of version 1 and its memories are not in blobs/, first the manifest of "
			  "version 1 (");
}

/* A backup of the blobs from before the last commit, beside the ledger of after it. */
static void test_blobs_older_than_the_ledger_are_refused(void **state)
{
	struct cluster *c = *state;
	char now[TEST_PATH_BYTES];
	struct buf old = BUF_INIT;
	train(c);
	test_path(now, c->folder, "store/blobs/data.mdb");
	assert_ok(&c->e, file_read(now, (size_t)1 << 30, &old, &c->e));
	cluster_start(c);
	fact_train(c, 2, 2);
	cluster_stop(c);
	assert_ok(&c->e, file_write_atomic(now, old.data, old.len, 0600, &c->e));
	buf_free(&old);
	expect_refused(c, "blobs of version 2 and its memories are not in blobs/, first the manifest of version 2 (");
}

/* It starts: nodes go on with what they hold. */
static void test_damage_is_told_and_no_loss(void **state)
{
	struct cluster *c = *state;
	char path[TEST_PATH_BYTES];
	struct buf file = BUF_INIT;
	int flipped = 0;
	train(c);
	test_path(path, c->folder, "store/blobs/data.mdb");
	assert_ok(&c->e, file_read(path, (size_t)1 << 30, &file, &c->e));
	for (uint8_t *at = file.data; (at = memmem(at, (size_t)(file.data + file.len - at), "AMRT", 4)) != NULL;
	     at += 4)
		at[8] ^= 1, flipped++;
	assert_true(flipped >= 4);
	assert_ok(&c->e, file_write_atomic(path, file.data, file.len, 0600, &c->e));
	buf_free(&file);
	test_log_begin(c->folder);
	cluster_start(c);
	test_log_end();
	assert_int_equal(test_log_count("COORDINATOR-BLOB-DAMAGED"), 4); /* manifest, delta, index, calibration */
}

static void test_without_a_version_nothing_is_missed(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	client_facts(c, 1, 1);
	cluster_stop(c);
	blobs_exchange(c);
	cluster_start(c);
}

/* One byte of an edit that was acknowledged is another one: nothing reads its event but the check of the chain. */
static void test_a_damaged_ledger_is_refused(void **state)
{
	struct cluster *c = *state;
	char path[TEST_PATH_BYTES];
	struct buf file = BUF_INIT;
	struct store_txn *txn = NULL;
	struct store_event event;
	uint8_t needle[64];
	uint64_t seq = 1;
	size_t found = 0;
	cluster_start(c);
	client_facts(c, 1, 1);
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	do
		assert_ok(&c->e, store_event_get(txn, seq++, &event, &c->e));
	while (event.type != STORE_EVENT_EDIT_ACCEPTED);
	assert_true(event.payload_len >= 24);
	memcpy(needle, event.self.bytes, HASH_BYTES); /* its hash stands behind its payload */
	store_abort(&txn);
	cluster_stop(c);
	test_path(path, c->folder, "store/ledger/data.mdb");
	assert_ok(&c->e, file_read(path, (size_t)1 << 30, &file, &c->e));
	for (uint8_t *at = file.data;
	     (at = memmem(at, (size_t)(file.data + file.len - at), needle, HASH_BYTES)) != NULL;
	     at += HASH_BYTES, found++)
		at[-8] ^= 1;
	assert_true(found > 0);
	assert_ok(&c->e, file_write_atomic(path, file.data, file.len, 0600, &c->e));
	buf_free(&file);
	assert_string_equal(err_name(cluster_try_start(c)), "ERR_CORRUPT");
	assert_non_null(strstr(c->e.text, "does not match its hash"));
	assert_non_null(strstr(c->e.text, "nothing is acknowledged"));
	err_clear(&c->e);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)
	const struct CMUnitTest tests[] = {
		T(test_blobs_of_another_cluster_are_refused), T(test_blobs_older_than_the_ledger_are_refused),
		T(test_damage_is_told_and_no_loss),           T(test_without_a_version_nothing_is_missed),
		T(test_a_damaged_ledger_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
