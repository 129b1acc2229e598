#include "tests/lib/store_fixture.h"

/* An accepted record with its edit. */
static uint64_t accept_edit(struct fixture *f, const char *id)
{
	struct store_edit edit = { .state = STORE_EDIT_STATE_ACCEPTED };
	edit.seq = fixture_event(f, id);
	snprintf(edit.id, sizeof(edit.id), "%s", id);
	hash_of(id, strlen(id), &edit.content);
	OK(f, store_edit_put(f->txn, &edit, &f->e));
	return edit.seq;
}

static void publish(struct fixture *f)
{
	struct store_version version = { .version = 1 };
	OK(f, store_event_append(f->txn, STORE_EVENT_VERSION_PUBLISHED, fixture_actor, "{}", 2, &version.event_seq,
				 &f->e));
	OK(f, store_version_put(f->txn, &version, &f->e));
	OK(f, store_alias_put(f->txn, "latest", 1, &f->e));
	OK(f, store_meta_put(f->txn, "cluster-id", "any", 3, &f->e));
}

static void fill(struct fixture *f)
{
	struct store_shard shard = { .id = 1 };
	fixture_begin(f);
	for (int i = 0; i < 20; i++) {
		char id[32];
		snprintf(id, sizeof(id), "edit number %d of them", i);
		uint64_t seq = accept_edit(f, id);
		OK(f, store_subject_add(f->txn, id, strlen(id), seq, &f->e));
	}
	publish(f);
	OK(f, store_shard_put(f->txn, &shard, &f->e));
	fixture_commit(f);
}

static void fails_at(struct fixture *f, uint64_t seq, const char *text)
{
	struct store_ledger_tally tally;
	fixture_begin_read(f);
	FAILS(ERR_CORRUPT, store_ledger_verify(f->txn, &tally, &f->e));
	assert_int_equal(tally.bad_seq, seq);
	assert_non_null(strstr(f->e.text, text));
	fixture_abort(f);
}

static void test_a_whole_ledger_is_counted(void **state)
{
	struct fixture *f = *state;
	struct store_ledger_tally tally;
	fixture_begin_read(f);
	OK(f, store_ledger_verify(f->txn, &tally, &f->e)); /* an empty one, too */
	assert_int_equal(tally.event_count, 0);
	fixture_abort(f);
	fill(f);
	fixture_begin_read(f);
	OK(f, store_ledger_verify(f->txn, &tally, &f->e));
	assert_int_equal(tally.event_count, 21);
	assert_int_equal(tally.edit_count, 20);
	assert_int_equal(tally.version_count, 1);
	/* beside 20 edits, ids and subjects: format, value, two counters, shard, version, alias */
	assert_int_equal(tally.record_count, 3 * 20 + 7);
	assert_int_equal(tally.bad_seq, 0);
}

static void test_an_acknowledged_edit_that_is_gone_is_found(void **state)
{
	struct fixture *f = *state;
	fill(f);
	fixture_begin(f);
	uint64_t seq = fixture_event(f, "accepted, and no edit of it");
	fixture_commit(f);
	fails_at(f, seq, "edit 22: is missing: its event is there");
}

static void test_an_edit_that_nobody_submitted_is_found(void **state)
{
	struct fixture *f = *state;
	struct store_edit edit = { .seq = 99, .id = "forged" };
	fill(f);
	fixture_begin(f);
	OK(f, store_edit_put(f->txn, &edit, &f->e));
	fixture_commit(f);
	fails_at(f, 99, "edit 99: was never accepted");
}

static void test_an_edit_of_other_bytes_is_found(void **state)
{
	struct fixture *f = *state;
	struct store_edit edit;
	fill(f);
	fixture_begin(f);
	OK(f, store_edit_get(f->txn, 7, &edit, &f->e));
	edit.content.bytes[0] ^= 1;
	OK(f, store_edit_put(f->txn, &edit, &f->e));
	fixture_commit(f);
	fails_at(f, 7, "edit 7: is of other bytes than its event");
}

static void test_a_damaged_record_of_any_kind_is_found(void **state)
{
	static const char *const keys[] = { "cluster-id", "edit number 3 of them", "latest" };
	struct fixture *f = *state;
	fill(f);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct store_ledger_tally tally;
		const size_t len = strlen(keys[i]);
		store_close(&f->store);
		assert_true(fixture_tamper(f, "ledger", keys[i], len, len - 1) > 0);
		fixture_open(f);
		fixture_begin_read(f);
		FAILS(ERR_CORRUPT, store_ledger_verify(f->txn, &tally, &f->e));
		fixture_abort(f);
		store_close(&f->store); /* and put right again */
		struct buf changed = BUF_INIT;
		buf_append(&changed, keys[i], len);
		changed.data[len - 1] ^= 1;
		assert_true(fixture_tamper(f, "ledger", changed.data, len, len - 1) > 0);
		buf_free(&changed);
		fixture_open(f);
		fixture_begin_read(f);
		OK(f, store_ledger_verify(f->txn, &tally, &f->e));
		fixture_abort(f);
	}
}

static void test_an_entry_of_no_edit_is_found(void **state)
{
	struct fixture *f = *state;
	fill(f);
	fixture_begin(f);
	OK(f, store_word_add(f->txn, "word", 4, 3, &f->e));
	OK(f, store_group_add(f->txn, "group", 5, 4, &f->e));
	fixture_commit(f);
	struct store_ledger_tally tally;
	fixture_begin_read(f);
	OK(f, store_ledger_verify(f->txn, &tally, &f->e));
	fixture_abort(f);
	fixture_begin(f);
	OK(f, store_subject_add(f->txn, "nobody's", 8, 21, &f->e)); /* an event, and no edit's */
	fixture_commit(f);
	fails_at(f, 0, "points to no edit");
}

static void shard_of(struct fixture *f, uint64_t id, uint64_t *seqs, size_t count)
{
	struct store_shard shard = { .id = id, .seqs = seqs, .seq_count = count };
	fixture_begin(f);
	OK(f, store_shard_put(f->txn, &shard, &f->e));
	fixture_commit(f);
}

static void test_lists_of_shards_fit_their_edits(void **state)
{
	struct fixture *f = *state;
	struct store_ledger_tally tally;
	struct store_edit edit;
	uint64_t seqs[] = { 3, 5, 5 }, missing[] = { 21 };
	fill(f);
	fixture_begin(f);
	for (size_t i = 0; i < 2; i++) {
		OK(f, store_edit_get(f->txn, seqs[i], &edit, &f->e));
		edit.state = STORE_EDIT_STATE_PLACED;
		edit.shard = 1;
		OK(f, store_edit_put(f->txn, &edit, &f->e));
	}
	fixture_commit(f);
	fails_at(f, 3, "edit 3: is not in its shard's list");
	shard_of(f, 1, seqs, 1);
	fails_at(f, 5, "edit 5: is not in its shard's list");
	shard_of(f, 1, seqs, 3);
	fails_at(f, 5, "shard 1: edit 5 is twice in its list");
	shard_of(f, 1, seqs, 2);
	fixture_begin_read(f);
	OK(f, store_ledger_verify(f->txn, &tally, &f->e));
	fixture_abort(f);
	shard_of(f, 2, seqs, 1);
	fails_at(f, 3, "shard 2: edit 3 of its list is another shard's");
	shard_of(f, 2, missing, 1);
	fails_at(f, 21, "shard 2: edit 21 of its list is missing");
}

static void test_damaged_chunks_are_counted(void **state)
{
	struct fixture *f = *state;
	struct store_chunks_tally tally;
	struct hash root;
	OK(f, store_blob_put(f->store, "one chunk of bytes", 18, &root, &f->e));
	OK(f, store_blob_put(f->store, "two chunk of bytes", 18, &root, &f->e));
	OK(f, store_chunks_verify(f->store, &tally, &f->e));
	assert_int_equal(tally.chunk_count, 4);
	assert_int_equal(tally.bad_count, 0);
	store_close(&f->store);
	assert_true(fixture_tamper(f, "blobs", " chunk of bytes", 15, 3) >= 2);
	fixture_open(f);
	FAILS(ERR_CORRUPT, store_chunks_verify(f->store, &tally, &f->e));
	assert_int_equal(tally.chunk_count, 4);
	assert_int_equal(tally.bad_count, 2);
	assert_non_null(strstr(f->e.text, "chunk "));
}

static void test_a_store_to_inspect_is_not_written(void **state)
{
	struct fixture *f = *state;
	struct store_txn *txn = NULL;
	struct store_ledger_tally tally;
	struct hash root;
	fill(f);
	store_close(&f->store);
	f->options.inspect = true;
	fixture_open(f);
	FAILS(ERR_DENIED, store_begin(f->store, &txn, &f->e));
	FAILS(ERR_DENIED, store_blob_put(f->store, "x", 1, &root, &f->e));
	fixture_begin_read(f);
	OK(f, store_ledger_verify(f->txn, &tally, &f->e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_whole_ledger_is_counted, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_an_acknowledged_edit_that_is_gone_is_found, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_an_edit_that_nobody_submitted_is_found, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_an_edit_of_other_bytes_is_found, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_damaged_record_of_any_kind_is_found, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_an_entry_of_no_edit_is_found, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_lists_of_shards_fit_their_edits, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_damaged_chunks_are_counted, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_store_to_inspect_is_not_written, fixture_setup,
						fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
