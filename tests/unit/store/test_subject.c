#include "tests/lib/store_fixture.h"

static void expect(struct fixture *f, const void *subject, size_t subject_len, const uint64_t *seqs, size_t seq_count)
{
	struct buf found = BUF_INIT;
	OK(f, store_subject_list(f->txn, subject, subject_len, &found, &f->e));
	assert_int_equal(found.len, seq_count * sizeof(*seqs));
	if (seq_count)
		assert_memory_equal(found.data, seqs, found.len);
	buf_free(&found);
}

static void test_lists_in_ledger_order_after_a_restart(void **state)
{
	struct fixture *f = *state;
	const uint64_t paris[] = { 1, 4, 300, UINT64_MAX }, rome[] = { 2 };
	fixture_begin(f);
	OK(f, store_subject_add(f->txn, "paris", 5, 300, &f->e));
	OK(f, store_subject_add(f->txn, "paris", 5, 1, &f->e));
	OK(f, store_subject_add(f->txn, "rome", 4, 2, &f->e));
	OK(f, store_subject_add(f->txn, "paris", 5, UINT64_MAX, &f->e));
	OK(f, store_subject_add(f->txn, "paris", 5, 4, &f->e));
	OK(f, store_subject_add(f->txn, "paris", 5, 4, &f->e));
	fixture_commit(f);
	fixture_reopen(f);
	fixture_begin_read(f);
	expect(f, "paris", 5, paris, 4);
	expect(f, "rome", 4, rome, 1);
	expect(f, "pari", 4, NULL, 0);
	expect(f, "berlin", 6, NULL, 0);
}

static void test_appends_to_what_the_buffer_holds(void **state)
{
	struct fixture *f = *state;
	struct buf found = BUF_INIT;
	uint64_t seqs[2];
	fixture_begin(f);
	OK(f, store_subject_add(f->txn, "a", 1, 11, &f->e));
	OK(f, store_subject_add(f->txn, "b", 1, 12, &f->e));
	OK(f, store_subject_list(f->txn, "a", 1, &found, &f->e));
	OK(f, store_subject_list(f->txn, "b", 1, &found, &f->e));
	assert_int_equal(found.len, sizeof(seqs));
	memcpy(seqs, found.data, sizeof(seqs));
	assert_int_equal(seqs[0], 11);
	assert_int_equal(seqs[1], 12);
	buf_free(&found);
}

/* Far longer than an LMDB key (511 bytes), and alike up to the last byte. */
static void test_very_long_subjects_stay_apart(void **state)
{
	struct fixture *f = *state;
	const uint64_t one[] = { 1 }, two[] = { 2 };
	char *text = malloc(STORE_SUBJECT_BYTES_MAX + 1);
	assert_non_null(text);
	memset(text, 's', STORE_SUBJECT_BYTES_MAX + 1);
	fixture_begin(f);
	OK(f, store_subject_add(f->txn, text, STORE_SUBJECT_BYTES_MAX, 1, &f->e));
	text[STORE_SUBJECT_BYTES_MAX - 1] = 't';
	OK(f, store_subject_add(f->txn, text, STORE_SUBJECT_BYTES_MAX, 2, &f->e));
	expect(f, text, STORE_SUBJECT_BYTES_MAX, two, 1);
	text[STORE_SUBJECT_BYTES_MAX - 1] = 's';
	expect(f, text, STORE_SUBJECT_BYTES_MAX, one, 1);
	FAILS(ERR_INVALID, store_subject_add(f->txn, text, STORE_SUBJECT_BYTES_MAX + 1, 1, &f->e));
	FAILS(ERR_INVALID, store_subject_add(f->txn, text, 0, 1, &f->e));
	free(text);
	fixture_commit(f);
}

static int list(void *context)
{
	struct fixture *f = context;
	struct buf found = BUF_INIT;
	int rc = store_begin_read(f->store, &f->txn, &f->e);
	if (!rc)
		rc = store_subject_list(f->txn, "a", 1, &found, &f->e);
	store_abort(&f->txn);
	buf_free(&found);
	return rc;
}

static void test_groups_are_not_subjects(void **state)
{
	struct fixture *f = *state;
	const uint64_t subject[] = { 1 }, group[] = { 2, 3 };
	struct buf found = BUF_INIT;
	fixture_begin(f);
	OK(f, store_subject_add(f->txn, "paris", 5, 1, &f->e));
	OK(f, store_group_add(f->txn, "paris", 5, 3, &f->e));
	OK(f, store_group_add(f->txn, "paris", 5, 2, &f->e));
	expect(f, "paris", 5, subject, 1);
	OK(f, store_group_list(f->txn, "paris", 5, &found, &f->e));
	assert_int_equal(found.len, sizeof group);
	assert_memory_equal(found.data, group, sizeof group);
	buf_free(&found);
	FAILS(ERR_INVALID, store_group_add(f->txn, "", 0, 1, &f->e));
}

static void test_words_newest_first_and_bounded(void **state)
{
	struct fixture *f = *state;
	const uint64_t subject[] = { 1 }, words[] = { 7, 9, 4 };
	struct buf found = BUF_INIT;
	fixture_begin(f);
	OK(f, store_subject_add(f->txn, "paris", 5, 1, &f->e));
	OK(f, store_word_add(f->txn, "paris", 5, 4, &f->e));
	OK(f, store_word_add(f->txn, "paris", 5, 9, &f->e));
	OK(f, store_word_add(f->txn, "paris", 5, 2, &f->e));
	OK(f, store_word_add(f->txn, "paris", 5, 9, &f->e));
	expect(f, "paris", 5, subject, 1);
	buf_append(&found, &words[0], sizeof words[0]); /* it is appended to */
	OK(f, store_word_list(f->txn, "paris", 5, 2, &found, &f->e));
	assert_int_equal(found.len, sizeof words);
	assert_memory_equal(found.data, words, sizeof words);
	buf_free(&found);
	OK(f, store_word_list(f->txn, "pari", 4, 2, &found, &f->e));
	OK(f, store_word_list(f->txn, "paris", 5, 0, &found, &f->e));
	assert_int_equal(found.len, 0);
	FAILS(ERR_INVALID, store_word_add(f->txn, "", 0, 1, &f->e));
}

static void test_out_of_memory(void **state)
{
	struct fixture *f = *state;
	fixture_begin(f);
	for (uint64_t seq = 1; seq <= 100; seq++)
		OK(f, store_subject_add(f->txn, "a", 1, seq, &f->e));
	fixture_commit(f);
	assert_true(test_walk_allocations(list, f) >= 3);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_lists_in_ledger_order_after_a_restart), T(test_appends_to_what_the_buffer_holds),
		T(test_very_long_subjects_stay_apart),         T(test_groups_are_not_subjects),
		T(test_words_newest_first_and_bounded),        T(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
