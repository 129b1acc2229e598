#include "tests/lib/store_fixture.h"

#include <inttypes.h>

static void test_appends_without_gaps_and_chained(void **state)
{
	struct fixture *f = *state;
	struct store_event a, b;
	struct hash last;
	uint64_t seq;
	fixture_begin(f);
	OK(f, store_event_last(f->txn, &seq, &last, &f->e));
	assert_int_equal(seq, 0);
	assert_true(hash_is_zero(&last));
	assert_int_equal(fixture_event(f, "first"), 1);
	assert_int_equal(fixture_event(f, "second"), 2);
	fixture_commit(f);
	fixture_begin(f);
	assert_int_equal(fixture_event(f, ""), 3);
	fixture_commit(f);
	fixture_begin_read(f);
	OK(f, store_event_get(f->txn, 1, &a, &f->e));
	OK(f, store_event_get(f->txn, 2, &b, &f->e));
	assert_int_equal(a.seq, 1);
	assert_int_equal(a.type, STORE_EVENT_EDIT_ACCEPTED);
	assert_int_equal(a.payload_len, 5);
	assert_memory_equal(a.payload, "first", 5);
	assert_memory_equal(a.actor, fixture_actor, STORE_KEY_BYTES);
	assert_int_equal(a.time_ms, env_wall_ms(&f->clock.env));
	assert_true(hash_is_zero(&a.previous));
	assert_true(hash_equal(&b.previous, &a.self));
	OK(f, store_event_get(f->txn, 3, &a, &f->e));
	assert_int_equal(a.payload_len, 0);
	OK(f, store_event_last(f->txn, &seq, &last, &f->e));
	assert_int_equal(seq, 3);
	assert_true(hash_equal(&last, &a.self));
	OK(f, store_event_verify(f->txn, &seq, &f->e));
	assert_int_equal(seq, 0);
	FAILS(ERR_NOT_FOUND, store_event_get(f->txn, 4, &a, &f->e));
	FAILS(ERR_NOT_FOUND, store_event_get(f->txn, 0, &a, &f->e));
}

/* The hash can be computed by anyone who has the fields: little-endian type, version, seq, time, actor, previous,
 * payload. */
static void test_hash_is_of_the_stated_bytes(void **state)
{
	struct fixture *f = *state;
	struct store_event event;
	struct hash expected;
	struct buf b = BUF_INIT;
	fixture_begin(f);
	fixture_event(f, "one");
	fixture_event(f, "two");
	OK(f, store_event_get(f->txn, 2, &event, &f->e));
	buf_u16le(&b, STORE_EVENT_EDIT_ACCEPTED);
	buf_u16le(&b, 1);
	buf_u64le(&b, 2);
	buf_u64le(&b, (uint64_t)event.time_ms);
	buf_append(&b, fixture_actor, STORE_KEY_BYTES);
	buf_append(&b, event.previous.bytes, HASH_BYTES);
	buf_puts(&b, "two");
	hash_of(b.data, b.len, &expected);
	buf_free(&b);
	assert_true(hash_equal(&expected, &event.self));
}

static void test_abort_keeps_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t seq;
	fixture_begin(f);
	fixture_event(f, "kept");
	fixture_commit(f);
	fixture_begin(f);
	assert_int_equal(fixture_event(f, "dropped"), 2);
	fixture_abort(f);
	fixture_begin(f);
	assert_int_equal(fixture_event(f, "second"), 2);
	OK(f, store_event_verify(f->txn, &seq, &f->e));
	fixture_commit(f);
}

static void test_refuses_bad_input_without_spoiling(void **state)
{
	struct fixture *f = *state;
	uint64_t seq;
	fixture_begin(f);
	FAILS(ERR_INVALID, store_event_append(f->txn, 0, fixture_actor, "", 0, &seq, &f->e));
	FAILS(ERR_INVALID, store_event_append(f->txn, STORE_EVENT_SHARD_LOST + 1, fixture_actor, "", 0, &seq, &f->e));
	FAILS(ERR_LIMIT, store_event_append(f->txn, STORE_EVENT_EDIT_ACCEPTED, fixture_actor, "",
					    STORE_EVENT_PAYLOAD_MAX + 1, &seq, &f->e));
	assert_int_equal(fixture_event(f, "fine"), 1);
	fixture_commit(f);
}

static void fill(struct fixture *f, int event_count)
{
	fixture_begin(f);
	for (int i = 1; i <= event_count; i++) {
		char text[64];
		snprintf(text, sizeof(text), "payload <%d> of an event", i);
		fixture_event(f, text);
	}
	fixture_commit(f);
}

static void expect_first_bad(struct fixture *f, uint64_t expected)
{
	uint64_t bad;
	char text[32];
	fixture_begin_read(f);
	FAILS(ERR_CORRUPT, store_event_verify(f->txn, &bad, &f->e));
	assert_int_equal(bad, expected);
	snprintf(text, sizeof(text), "event %" PRIu64 ":", expected);
	assert_non_null(strstr(f->e.text, text));
	fixture_abort(f);
}

static void test_tampering_is_found_at_the_first_bad_seq(void **state)
{
	struct fixture *f = *state;
	struct store_event event;
	fill(f, 40);
	store_close(&f->store);
	assert_true(fixture_tamper(f, "ledger", "payload <17> of", 15, 9) > 0);
	assert_true(fixture_tamper(f, "ledger", "payload <23> of", 15, 9) > 0);
	fixture_open(f);
	expect_first_bad(f, 17);
	fixture_begin_read(f);
	OK(f, store_event_get(f->txn, 16, &event, &f->e));
	FAILS(ERR_CORRUPT, store_event_get(f->txn, 17, &event, &f->e));
	assert_non_null(strstr(f->e.text, "event 17:"));
	fixture_abort(f);
}

static void test_a_changed_last_event_stops_the_next_append(void **state)
{
	struct fixture *f = *state;
	uint64_t seq;
	fill(f, 5);
	store_close(&f->store);
	assert_true(fixture_tamper(f, "ledger", "payload <5> of", 14, 9) > 0);
	fixture_open(f);
	fixture_begin(f);
	FAILS(ERR_CORRUPT, store_event_append(f->txn, STORE_EVENT_EDIT_ACCEPTED, fixture_actor, "x", 1, &seq, &f->e));
	fixture_abort(f);
	expect_first_bad(f, 5);
}

/* Rewrites the seq inside an event and its hash, so that it is whole but not what its key says. */
static void test_a_forged_event_breaks_the_chain(void **state)
{
	struct fixture *f = *state;
	struct store_event event;
	struct buf whole = BUF_INIT;
	struct hash forged;
	fill(f, 3);
	fixture_begin_read(f);
	OK(f, store_event_get(f->txn, 2, &event, &f->e));
	const uint8_t *start = (const uint8_t *)event.payload - (4 + 8 + 8 + STORE_KEY_BYTES + HASH_BYTES);
	buf_append(&whole, start, 4 + 8 + 8 + STORE_KEY_BYTES + HASH_BYTES + event.payload_len + HASH_BYTES);
	fixture_abort(f);
	store_close(&f->store);
	char path[TEST_PATH_BYTES + 32];
	struct buf file = BUF_INIT;
	snprintf(path, sizeof(path), "%s/ledger/data.mdb", f->folder);
	assert_int_equal(file_read(path, (size_t)1 << 28, &file, &f->e), 0);
	uint8_t *at = memmem(file.data, file.len, whole.data, whole.len);
	assert_non_null(at);
	at[whole.len - HASH_BYTES - 1] ^= 1;
	hash_of(at, whole.len - HASH_BYTES, &forged);
	memcpy(at + whole.len - HASH_BYTES, forged.bytes, HASH_BYTES);
	assert_int_equal(file_write_atomic(path, file.data, file.len, 0600, &f->e), 0);
	buf_free(&file);
	buf_free(&whole);
	fixture_open(f);
	expect_first_bad(f, 3);
}

/* Flips a bit in byte `at` of the key of event `seq`: the entry is that key, then type, version and seq as stored. The
 * keys must stay in order. */
static void lose_event(struct fixture *f, uint64_t seq, size_t at)
{
	struct buf entry = BUF_INIT;
	buf_u64be(&entry, seq);
	buf_u16le(&entry, STORE_EVENT_EDIT_ACCEPTED);
	buf_u16le(&entry, 1);
	buf_u64le(&entry, seq);
	store_close(&f->store);
	assert_true(fixture_tamper(f, "ledger", entry.data, entry.len, at) > 0);
	buf_free(&entry);
	fixture_open(f);
}

static void test_a_gap_is_found(void **state)
{
	struct fixture *f = *state;
	fill(f, 5);
	lose_event(f, 5, 6); /* 261 */
	lose_event(f, 4, 7); /* 5 */
	expect_first_bad(f, 4);
	assert_non_null(strstr(f->e.text, "is missing"));
}

static void test_a_tail_that_was_cut_off_is_found(void **state)
{
	struct fixture *f = *state;
	uint64_t seq;
	fill(f, 5);
	lose_event(f, 5, 6);
	expect_first_bad(f, 5);
	fixture_begin(f);
	FAILS(ERR_CORRUPT, store_event_append(f->txn, STORE_EVENT_EDIT_ACCEPTED, fixture_actor, "x", 1, &seq, &f->e));
	fixture_abort(f);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(store_event_name(STORE_EVENT_EDIT_ACCEPTED), "edit-accepted");
	assert_string_equal(store_event_name(STORE_EVENT_CONFIG_CHANGED), "config-changed");
	assert_string_equal(store_event_name(0), "?");
	assert_string_equal(store_event_name(STORE_EVENT_EDIT_DUE), "edit-due");
	assert_string_equal(store_event_name(STORE_EVENT_SHARD_LOST), "shard-lost");
	assert_string_equal(store_event_name(STORE_EVENT_SHARD_LOST + 1), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_appends_without_gaps_and_chained, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_hash_is_of_the_stated_bytes, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_abort_keeps_nothing, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_refuses_bad_input_without_spoiling, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_tampering_is_found_at_the_first_bad_seq, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_changed_last_event_stops_the_next_append, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_forged_event_breaks_the_chain, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_gap_is_found, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_tail_that_was_cut_off_is_found, fixture_setup, fixture_teardown),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
