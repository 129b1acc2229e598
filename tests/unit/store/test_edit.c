#include "tests/lib/store_fixture.h"

static struct store_edit make(uint64_t seq, const char *id, int state)
{
	struct store_edit edit;
	memset(&edit, 0, sizeof(edit));
	edit.seq = seq;
	snprintf(edit.id, sizeof(edit.id), "%s", id);
	edit.state = state;
	edit.accepted_ms = 1000 + (int64_t)seq;
	return edit;
}

static void put(struct fixture *f, uint64_t seq, const char *id, int state)
{
	struct store_edit edit = make(seq, id, state);
	OK(f, store_edit_put(f->txn, &edit, &f->e));
}

/* Member by member: the bytes between them are nobody's. */
static void same(const struct store_edit *a, const struct store_edit *b)
{
	assert_int_equal(a->seq, b->seq);
	assert_string_equal(a->id, b->id);
	assert_memory_equal(&a->content, &b->content, sizeof(a->content));
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->shard, b->shard);
	assert_int_equal(a->superseded_by, b->superseded_by);
	assert_int_equal(a->supersedes, b->supersedes);
	assert_int_equal(a->version, b->version);
	assert_int_equal(a->accepted_ms, b->accepted_ms);
	assert_int_equal(a->trained_ms, b->trained_ms);
	assert_int_equal(a->served_ms, b->served_ms);
	assert_int_equal(a->tries, b->tries);
	assert_int_equal(a->losses, b->losses);
	assert_string_equal(a->reason, b->reason);
	assert_int_equal(a->group, b->group);
	assert_int_equal(a->restores, b->restores);
	assert_int_equal(a->ended_event, b->ended_event);
	assert_int_equal(a->valid_from_ms, b->valid_from_ms);
	assert_int_equal(a->expires_ms, b->expires_ms);
	assert_int_equal(a->on_conflict, b->on_conflict);
}

static void test_every_field_survives_a_restart(void **state)
{
	struct fixture *f = *state;
	struct store_edit edit = make(7, "fact-7", STORE_EDIT_STATE_FAILED), found;
	hash_of("payload", 7, &edit.content);
	edit.shard = 3;
	edit.superseded_by = 9;
	edit.supersedes = 2;
	edit.version = 5;
	edit.trained_ms = -2;
	edit.served_ms = INT64_MAX;
	edit.tries = 4;
	edit.losses = 2;
	edit.group = 6;
	edit.restores = 1;
	edit.ended_event = 8;
	edit.valid_from_ms = 1;
	edit.expires_ms = INT64_MAX;
	edit.on_conflict = 2;
	snprintf(edit.reason, sizeof(edit.reason), "the re-test gave \"Rome\"");
	fixture_begin(f);
	OK(f, store_edit_put(f->txn, &edit, &f->e));
	fixture_commit(f);
	fixture_reopen(f);
	fixture_begin_read(f);
	OK(f, store_edit_get(f->txn, 7, &found, &f->e));
	same(&found, &edit);
	OK(f, store_edit_find(f->txn, "fact-7", &found, &f->e));
	same(&found, &edit);
	FAILS(ERR_NOT_FOUND, store_edit_get(f->txn, 8, &found, &f->e));
	FAILS(ERR_NOT_FOUND, store_edit_find(f->txn, "fact-8", &found, &f->e));
	FAILS(ERR_NOT_FOUND, store_edit_find(f->txn, "", &found, &f->e));
}

static void test_find_gives_the_newest_of_an_id(void **state)
{
	struct fixture *f = *state;
	struct store_edit found;
	char longest[STORE_ID_BYTES];
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	fixture_begin(f);
	put(f, 5, "same", STORE_EDIT_STATE_SUPERSEDED);
	put(f, 9, "same", STORE_EDIT_STATE_ACCEPTED);
	put(f, 5, "same", STORE_EDIT_STATE_SUPERSEDED);
	put(f, 2, "same", STORE_EDIT_STATE_REVOKED);
	put(f, 10, longest, STORE_EDIT_STATE_ACCEPTED);
	OK(f, store_edit_find(f->txn, "same", &found, &f->e));
	assert_int_equal(found.seq, 9);
	OK(f, store_edit_find(f->txn, longest, &found, &f->e));
	assert_int_equal(found.seq, 10);
	FAILS(ERR_NOT_FOUND, store_edit_find(f->txn, "sam", &found, &f->e));
}

static void test_counts_follow_the_states(void **state)
{
	struct fixture *f = *state;
	uint64_t counts[STORE_EDIT_STATE_COUNT];
	fixture_begin(f);
	OK(f, store_edit_count(f->txn, counts, &f->e));
	for (int s = 0; s < STORE_EDIT_STATE_COUNT; s++)
		assert_int_equal(counts[s], 0);
	for (uint64_t seq = 1; seq <= 50; seq++) {
		char id[16];
		snprintf(id, sizeof(id), "e%d", (int)seq);
		put(f, seq, id, STORE_EDIT_STATE_ACCEPTED);
		if (seq % 2 == 0)
			put(f, seq, id, STORE_EDIT_STATE_PLACED);
		if (seq % 10 == 0)
			put(f, seq, id, STORE_EDIT_STATE_TRAINED);
	}
	fixture_commit(f);
	fixture_begin(f);
	put(f, 1, "e1", STORE_EDIT_STATE_DEAD);
	fixture_abort(f);
	fixture_reopen(f);
	fixture_begin_read(f);
	OK(f, store_edit_count(f->txn, counts, &f->e));
	assert_int_equal(counts[STORE_EDIT_STATE_ACCEPTED], 25);
	assert_int_equal(counts[STORE_EDIT_STATE_PLACED], 20);
	assert_int_equal(counts[STORE_EDIT_STATE_TRAINED], 5);
	assert_int_equal(counts[STORE_EDIT_STATE_DEAD], 0);
}

static void test_next_walks_by_state_in_seq_order(void **state)
{
	struct fixture *f = *state;
	const uint32_t mask = SM_TO(STORE_EDIT_STATE_ACCEPTED) | SM_TO(STORE_EDIT_STATE_TRAINED);
	struct store_edit found;
	uint64_t seqs[8], from = 0;
	size_t count = 0;
	fixture_begin(f);
	put(f, 3, "c", STORE_EDIT_STATE_TRAINED);
	put(f, 1, "a", STORE_EDIT_STATE_ACCEPTED);
	put(f, 2, "b", STORE_EDIT_STATE_PLACED);
	put(f, 300, "e", STORE_EDIT_STATE_ACCEPTED);
	put(f, 70000, "f", STORE_EDIT_STATE_TRAINED);
	while (store_edit_next(f->txn, from, mask, &found, &f->e) == 0 && count < 8) {
		seqs[count++] = found.seq;
		from = found.seq + 1;
	}
	const uint64_t expected[] = { 1, 3, 300, 70000 };
	assert_int_equal(count, 4);
	assert_memory_equal(seqs, expected, sizeof(expected));
	OK(f, store_edit_next(f->txn, 2, UINT32_MAX, &found, &f->e));
	assert_int_equal(found.seq, 2);
	OK(f, store_edit_next(f->txn, 4, UINT32_MAX, &found, &f->e));
	assert_int_equal(found.seq, 300);
	FAILS(ERR_NOT_FOUND, store_edit_next(f->txn, 70001, UINT32_MAX, &found, &f->e));
	FAILS(ERR_NOT_FOUND, store_edit_next(f->txn, 3, SM_TO(STORE_EDIT_STATE_PLACED), &found, &f->e));
	FAILS(ERR_NOT_FOUND, store_edit_next(f->txn, 1, 0, &found, &f->e));
}

static void test_refuses_what_cannot_be_and_stays_usable(void **state)
{
	struct fixture *f = *state;
	struct store_edit edit;
	uint64_t counts[STORE_EDIT_STATE_COUNT];
	fixture_begin(f);
	put(f, 1, "a", STORE_EDIT_STATE_ACCEPTED);
	edit = make(1, "b", STORE_EDIT_STATE_PLACED);
	FAILS(ERR_CONFLICT, store_edit_put(f->txn, &edit, &f->e));
	edit = make(1, "a", STORE_EDIT_STATE_SERVED);
	FAILS(ERR_INVALID, store_edit_put(f->txn, &edit, &f->e));
	assert_non_null(strstr(f->e.text, "from accepted to served"));
	edit = make(2, "b", STORE_EDIT_STATE_COUNT);
	FAILS(ERR_INVALID, store_edit_put(f->txn, &edit, &f->e));
	edit = make(0, "b", STORE_EDIT_STATE_ACCEPTED);
	FAILS(ERR_INVALID, store_edit_put(f->txn, &edit, &f->e));
	edit = make(2, "", STORE_EDIT_STATE_ACCEPTED);
	FAILS(ERR_INVALID, store_edit_put(f->txn, &edit, &f->e));
	edit = make(2, "b", STORE_EDIT_STATE_ACCEPTED);
	memset(edit.reason, 'x', sizeof(edit.reason));
	FAILS(ERR_INVALID, store_edit_put(f->txn, &edit, &f->e));
	OK(f, store_edit_count(f->txn, counts, &f->e));
	assert_int_equal(counts[STORE_EDIT_STATE_ACCEPTED], 1);
	fixture_commit(f);
}

static void test_a_changed_record_names_the_edit(void **state)
{
	struct fixture *f = *state;
	struct store_edit edit = make(12, "marked edit", STORE_EDIT_STATE_REJECTED), found;
	snprintf(edit.reason, sizeof(edit.reason), "reason with a marker in it");
	fixture_begin(f);
	OK(f, store_edit_put(f->txn, &edit, &f->e));
	put(f, 13, "other", STORE_EDIT_STATE_ACCEPTED);
	fixture_commit(f);
	store_close(&f->store);
	assert_true(fixture_tamper(f, "ledger", "a marker in", 11, 2) > 0);
	fixture_open(f);
	fixture_begin_read(f);
	FAILS(ERR_CORRUPT, store_edit_get(f->txn, 12, &found, &f->e));
	assert_non_null(strstr(f->e.text, "edit 12:"));
	FAILS(ERR_CORRUPT, store_edit_find(f->txn, "marked edit", &found, &f->e));
	FAILS(ERR_CORRUPT, store_edit_next(f->txn, 1, UINT32_MAX, &found, &f->e));
	OK(f, store_edit_get(f->txn, 13, &found, &f->e));
}

/* Two records exchanged, each with its right hash: the hash covers the key. */
static void test_a_record_under_another_key_is_refused(void **state)
{
	struct fixture *f = *state;
	uint64_t version;
	fixture_begin(f);
	struct store_version v = { .version = 1 };
	OK(f, store_version_put(f->txn, &v, &f->e));
	OK(f, store_alias_put(f->txn, "alias-one", 1, &f->e));
	fixture_commit(f);
	store_close(&f->store);
	/* "alias-one" becomes "alias-ond": a whole record under a key that it was not written for. */
	assert_true(fixture_tamper(f, "ledger", "alias-one", 9, 8) > 0);
	fixture_open(f);
	fixture_begin_read(f);
	FAILS(ERR_CORRUPT, store_alias_get(f->txn, "alias-ond", &version, &f->e));
	assert_non_null(strstr(f->e.text, "alias-ond"));
}

static int one_put(void *context)
{
	struct fixture *f = context;
	struct store_edit edit = make(1, "a", STORE_EDIT_STATE_ACCEPTED), found;
	int rc = store_begin(f->store, &f->txn, &f->e);
	if (rc)
		return rc;
	rc = store_edit_put(f->txn, &edit, &f->e);
	if (!rc)
		rc = store_subject_add(f->txn, "a", 1, 1, &f->e);
	if (!rc)
		rc = store_event_append(f->txn, STORE_EVENT_EDIT_ACCEPTED, fixture_actor, "a", 1, NULL, &f->e);
	/* A caller that misses the failure must not keep half of it. */
	int committed = store_commit(&f->txn, &f->e);
	assert_int_equal(committed, rc);
	if (rc) {
		OK(f, store_begin_read(f->store, &f->txn, &f->e));
		assert_int_equal(store_edit_get(f->txn, 1, &found, &f->e), ERR_NOT_FOUND);
		store_abort(&f->txn);
	}
	return rc;
}

static void test_out_of_memory_keeps_nothing(void **state)
{
	struct fixture *f = *state;
	assert_true(test_walk_allocations(one_put, f) >= 2);
}

static void test_state_table(void **state)
{
	(void)state;
	assert_string_equal(sm_state_name(&store_edit_states, STORE_EDIT_STATE_DEAD), "dead-lettered");
	assert_int_equal(sm_state_find(&store_edit_states, "served"), STORE_EDIT_STATE_SERVED);
	assert_true(sm_can_move(&store_edit_states, STORE_EDIT_STATE_ACCEPTED, STORE_EDIT_STATE_PLACED));
	assert_true(sm_can_move(&store_edit_states, STORE_EDIT_STATE_SERVED, STORE_EDIT_STATE_REVOKED));
	for (int s = STORE_EDIT_STATE_EXPIRED; s <= STORE_EDIT_STATE_DEAD; s++)
		assert_true(sm_is_final(&store_edit_states, s));
	assert_true(sm_can_move(&store_edit_states, STORE_EDIT_STATE_SCHEDULED, STORE_EDIT_STATE_PLACED));
	assert_true(sm_can_move(&store_edit_states, STORE_EDIT_STATE_SCHEDULED, STORE_EDIT_STATE_REVOKED));
	assert_false(sm_can_move(&store_edit_states, STORE_EDIT_STATE_SCHEDULED, STORE_EDIT_STATE_TRAINED));
	for (int s = 0; s < STORE_EDIT_STATE_EXPIRED; s++)
		assert_true(sm_can_move(&store_edit_states, s, STORE_EDIT_STATE_SUPERSEDED));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_field_survives_a_restart),
		T(test_find_gives_the_newest_of_an_id),
		T(test_counts_follow_the_states),
		T(test_next_walks_by_state_in_seq_order),
		T(test_refuses_what_cannot_be_and_stays_usable),
		T(test_a_changed_record_names_the_edit),
		T(test_a_record_under_another_key_is_refused),
		T(test_out_of_memory_keeps_nothing),
		cmocka_unit_test(test_state_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
