#include "tests/lib/store_fixture.h"

static void publish(struct fixture *f, uint64_t number)
{
	struct store_version version = { .version = number, .note = "shard 1 version 1" };
	OK(f, store_version_put(f->txn, &version, &f->e));
}

static void test_every_field_survives_a_restart(void **state)
{
	struct fixture *f = *state;
	struct store_version version, found;
	uint64_t last;
	memset(&version, 0, sizeof(version));
	version.version = 1;
	hash_of("root", 4, &version.root);
	hash_of("content", 7, &version.content);
	version.published_ms = 123456789;
	version.event_seq = 77;
	version.memory_count = 3;
	version.edit_count = 4000;
	snprintf(version.note, sizeof(version.note), "merge 1");
	fixture_begin(f);
	OK(f, store_version_last(f->txn, &last, &f->e));
	assert_int_equal(last, 0);
	OK(f, store_version_put(f->txn, &version, &f->e));
	fixture_commit(f);
	fixture_reopen(f);
	fixture_begin_read(f);
	OK(f, store_version_get(f->txn, 1, &found, &f->e));
	assert_memory_equal(&found, &version, sizeof(version));
	OK(f, store_version_last(f->txn, &last, &f->e));
	assert_int_equal(last, 1);
	FAILS(ERR_NOT_FOUND, store_version_get(f->txn, 2, &found, &f->e));
}

static void test_versions_are_immutable_and_without_gaps(void **state)
{
	struct fixture *f = *state;
	struct store_version version = { .version = 2 };
	fixture_begin(f);
	FAILS(ERR_INVALID, store_version_put(f->txn, &version, &f->e));
	version.version = 0;
	FAILS(ERR_INVALID, store_version_put(f->txn, &version, &f->e));
	publish(f, 1);
	publish(f, 2);
	version.version = 1;
	FAILS(ERR_EXISTS, store_version_put(f->txn, &version, &f->e));
	version.version = 4;
	FAILS(ERR_INVALID, store_version_put(f->txn, &version, &f->e));
	for (uint64_t v = 3; v <= 300; v++)
		publish(f, v);
	fixture_commit(f);
	fixture_begin_read(f);
	OK(f, store_version_last(f->txn, &version.version, &f->e));
	assert_int_equal(version.version, 300);
}

static void test_aliases_move_to_versions_that_exist(void **state)
{
	struct fixture *f = *state;
	uint64_t version;
	char name[STORE_ALIAS_BYTES + 1];
	memset(name, 'n', sizeof(name));
	name[STORE_ALIAS_BYTES] = '\0';
	fixture_begin(f);
	publish(f, 1);
	publish(f, 2);
	OK(f, store_alias_put(f->txn, "stable", 1, &f->e));
	OK(f, store_alias_put(f->txn, "stable", 2, &f->e));
	FAILS(ERR_NOT_FOUND, store_alias_put(f->txn, "stable", 3, &f->e));
	FAILS(ERR_INVALID, store_alias_put(f->txn, "", 1, &f->e));
	FAILS(ERR_INVALID, store_alias_put(f->txn, name, 1, &f->e));
	name[STORE_ALIAS_BYTES - 1] = '\0';
	OK(f, store_alias_put(f->txn, name, 1, &f->e));
	fixture_commit(f);
	fixture_reopen(f);
	fixture_begin_read(f);
	OK(f, store_alias_get(f->txn, "stable", &version, &f->e));
	assert_int_equal(version, 2);
	OK(f, store_alias_get(f->txn, name, &version, &f->e));
	assert_int_equal(version, 1);
	FAILS(ERR_NOT_FOUND, store_alias_get(f->txn, "canary", &version, &f->e));
	FAILS(ERR_INVALID, store_alias_get(f->txn, "", &version, &f->e));
}

static void test_versions_are_kept_from_one_on(void **state)
{
	struct fixture *f = *state;
	bool is;
	fixture_begin(f);
	for (uint64_t version = 1; version <= 5; version++)
		publish(f, version);
	OK(f, store_alias_put(f->txn, "stable", 2, &f->e));
	OK(f, store_kept_put(f->txn, 4, &f->e));
	OK(f, store_kept_put(f->txn, 3, &f->e)); /* what was given up does not come back */
	for (uint64_t version = 1; version <= 5; version++) {
		OK(f, store_version_kept(f->txn, version, &is, &f->e));
		assert_int_equal(is, version >= 4 || version == 2);
		OK(f, store_version_stays(f->txn, version, 3, &is, &f->e));
		assert_int_equal(is, version >= 4 || version == 2);
		OK(f, store_version_stays(f->txn, version, 5, &is, &f->e));
		assert_int_equal(is, version == 5 || version == 2);
	}
}

static void test_named_values(void **state)
{
	struct fixture *f = *state;
	struct buf found = BUF_INIT;
	fixture_begin(f);
	OK(f, store_meta_put(f->txn, "cluster-id", "\0\1\2", 3, &f->e));
	OK(f, store_meta_put(f->txn, "empty", "", 0, &f->e));
	OK(f, store_meta_put(f->txn, "cluster-id", "second", 6, &f->e));
	FAILS(ERR_LIMIT, store_meta_put(f->txn, "big", "", STORE_META_BYTES_MAX + 1, &f->e));
	FAILS(ERR_INVALID, store_meta_put(f->txn, "", "", 0, &f->e));
	fixture_commit(f);
	fixture_reopen(f);
	fixture_begin_read(f);
	OK(f, store_meta_get(f->txn, "cluster-id", &found, &f->e));
	assert_string_equal(buf_cstr(&found), "second");
	OK(f, store_meta_get(f->txn, "empty", &found, &f->e));
	assert_int_equal(found.len, 6);
	FAILS(ERR_NOT_FOUND, store_meta_get(f->txn, "none", &found, &f->e));
	buf_free(&found);
}

static void test_changed_records_name_their_key(void **state)
{
	struct fixture *f = *state;
	struct store_version version;
	struct buf found = BUF_INIT;
	fixture_begin(f);
	publish(f, 1);
	OK(f, store_meta_put(f->txn, "base-model", "digest to find", 14, &f->e));
	fixture_commit(f);
	store_close(&f->store);
	assert_true(fixture_tamper(f, "ledger", "shard 1 version", 15, 3) > 0);
	assert_true(fixture_tamper(f, "ledger", "digest to find", 14, 3) > 0);
	fixture_open(f);
	fixture_begin_read(f);
	FAILS(ERR_CORRUPT, store_version_get(f->txn, 1, &version, &f->e));
	assert_non_null(strstr(f->e.text, "version 1:"));
	FAILS(ERR_CORRUPT, store_version_last(f->txn, &version.version, &f->e));
	FAILS(ERR_CORRUPT, store_meta_get(f->txn, "base-model", &found, &f->e));
	assert_non_null(strstr(f->e.text, "value base-model:"));
	buf_free(&found);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_field_survives_a_restart),      T(test_versions_are_immutable_and_without_gaps),
		T(test_aliases_move_to_versions_that_exist), T(test_named_values),
		T(test_changed_records_name_their_key),      T(test_versions_are_kept_from_one_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
