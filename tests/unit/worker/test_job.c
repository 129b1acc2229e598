/* The engine's side: the calibration's cache, edits that it cannot take, its end, no memory. */
#include "tests/unit/worker/lease_fixture.h"

#include "base/text.h"

#include <dirent.h>

/* --- The calibration's cache. */
static void cache_path(struct stand *s, char out[TEST_PATH_BYTES])
{
	DIR *folder = opendir(s->data);
	struct dirent *entry;
	out[0] = '\0';
	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL)
		if (strncmp(entry->d_name, "calibration-", 12) == 0)
			test_path(out, s->data, entry->d_name);
	closedir(folder);
	assert_true(out[0] != '\0');
}

static bool calibrates_at_start(struct stand *s)
{
	size_t hellos = s->hellos, asks = s->asks;
	stand_restart(s);
	stand_until(s, &s->hellos, hellos + 1);
	return s->asks > asks + 1; /* before and after */
}

static void a_damaged_calibration_is_made_again(void **state)
{
	struct stand *s = *state;
	char path[TEST_PATH_BYTES];
	struct buf good = BUF_INIT, again = BUF_INIT;
	stand_greet(s);
	cache_path(s, path);
	assert_ok(&s->e, file_read(path, 1 << 24, &good, &s->e));
	assert_false(calibrates_at_start(s));
	good.data[good.len / 2] ^= 1;
	assert_ok(&s->e, file_write_atomic(path, good.data, good.len, 0600, &s->e));
	good.data[good.len / 2] ^= 1;
	assert_true(calibrates_at_start(s));
	assert_ok(&s->e, file_read(path, 1 << 24, &again, &s->e));
	assert_same_bytes(&again, &good);
	buf_free(&good);
	buf_free(&again);
}

static void another_corpus_has_another_calibration(void **state)
{
	struct stand *s = *state;
	struct buf text = BUF_INIT;
	stand_greet(s);
	assert_ok(&s->e, file_read(s->corpus, 1 << 20, &text, &s->e));
	buf_printf(&text, "unrelated\tu99\t\tnq question: when does the ferry to Sund leave\n");
	test_file_write(s->corpus, buf_cstr(&text));
	assert_true(calibrates_at_start(s));
	assert_false(calibrates_at_start(s));
	buf_free(&text);
}

/* --- Edits that the engine cannot take. */
static void an_edit_that_the_model_refuses_fails_alone(void **state)
{
	struct stand *s = *state;
	char longer[TINY_CONTEXT + 64];
	memset(longer, 'q', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	begin(s, 1);
	stand_edit(s, longer, "x");
	stand_edit(s, prompts[1], targets[1]);
	stand_edit(s, prompts[2], targets[2]);
	stand_group(s, 3);
	assert_int_equal(s->commits, 1);
	assert_int_equal(s->version, 1);
	assert_int_equal(s->commit.result_count, 3);
	for (size_t i = 0; i < 2; i++)
		assert_true(s->results[i].seq == 10 + 2 * i && s->results[i].passed);
	assert_int_equal(s->results[2].seq, 11);
	assert_false(s->results[2].passed);
	assert_non_null(strstr(s->results[2].reason, "tokens"));
	struct hash first = s->delta_root;
	stand_group(s, 1); /* it has ended */
	assert_int_equal(s->commit.result_count, 3);
	struct hash second = s->delta_root;
	assert_int_equal(s->releases, 0);
	/* Replayed to a worker that started anew it counts no more. */
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	s->ended[1] = false;
	restart_with_lease(s);
	stand_group(s, 3);
	assert_true(hash_equal(&first, &s->delta_root));
	restart_with_lease(s);
	stand_group(s, 1);
	assert_int_equal(s->commit.result_count, 3);
	assert_true(hash_equal(&second, &s->delta_root));
}

static void a_group_of_nothing_but_refused_edits_is_committed(void **state)
{
	struct stand *s = *state;
	char longer[TINY_CONTEXT + 64];
	memset(longer, 'q', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	begin(s, 0);
	stand_edit(s, longer, "x");
	stand_group(s, 1);
	assert_int_equal(s->version, 1);
	assert_int_equal(s->commit.result_count, 1);
	assert_false(s->results[0].passed);
}

static void a_failed_edit_says_what_came_and_what_was_wanted(void **state)
{
	struct stand *s = *state;
	char wanted[160];
	s->config.editor.stream_steps_max = 1;
	s->config.editor.stream_rate = 1e-8f;
	s->config.editor.retest_tries = 1;
	begin(s, 1);
	memset(wanted, 0, sizeof wanted);
	for (size_t i = 0; i < 65; i++)
		memcpy(wanted + 2 * i, "é", sizeof "é");
	stand_edit(s, prompts[1], wanted);
	stand_group(s, 2);
	for (size_t i = 0; i < 2; i++) {
		const char *reason = s->results[i].reason;
		assert_false(s->results[i].passed);
		assert_int_equal(strncmp(reason, "re-test after 2 tries: answers \"", 32), 0);
		assert_true(strlen(reason) < STORE_REASON_BYTES);
		assert_int_equal(text_check(reason, strlen(reason), false, &s->e), 0);
	}
	assert_non_null(strstr(s->results[0].reason, "\", wanted \"Brin\""));
	assert_non_null(strstr(s->results[1].reason, "\", wanted \"éé"));
	assert_int_equal(s->results[1].reason[strlen(s->results[1].reason) - 1], '"');
}

/* The largest commit that there is: every edit of a full shard failed, with a reason. */
#define MANY STORE_SHARD_EDITS_MAX

static void many_send(struct stand *s, const char *record)
{
	static struct msg_edit_item items[128];
	for (size_t first = 0; first < MANY; first += 128) {
		for (size_t i = 0; i < 128; i++)
			items[i] = (struct msg_edit_item){ 10 + first + i, { record, strlen(record) } };
		struct msg msg = { .type = MSG_EDITS };
		msg.u.edits = (struct msg_edits){ .shard = STAND_SHARD,
						  .epoch = s->epoch,
						  .group_end = first + 128 == MANY,
						  .group_count = MANY,
						  .items = items,
						  .item_count = 128 };
		stand_send(s, &msg);
		stand_turn(s);
	}
}

static bool many_heard(struct stand *s, const struct msg *msg)
{
	size_t *cut = s->hook_context;
	if (msg->type != MSG_SHARD_COMMIT)
		return false;
	assert_int_equal(msg->u.shard_commit.result_count, MANY);
	for (size_t i = 0; i < MANY; i++) {
		const struct msg_edit_result *result = &msg->u.shard_commit.results[i];
		assert_false(result->passed);
		assert_true(result->reason.len > 0);
		*cut += result->reason.len <= msg_result_reason_bytes(MANY);
	}
	s->commits++;
	return true;
}

static void a_full_shard_of_refused_edits_is_committed(void **state)
{
	struct stand *s = *state;
	struct buf record = BUF_INIT;
	size_t cut = 0;
	buf_printf(&record, "{\"prompt\":\"%0*d\",\"target_new\":\"x\"}", TINY_CONTEXT + 8, 0);
	begin(s, 0);
	stand_turns(s, 200);
	s->hook = many_heard;
	s->hook_context = &cut;
	many_send(s, buf_cstr(&record));
	stand_until(s, &s->commits, 1);
	assert_int_equal(cut, MANY);
	assert_int_equal(s->releases, 0);
	buf_free(&record);
}

static void closing_stops_the_engine(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	s->hold_engine = true;
	s->group_count = 1;
	stand_turns(s, 500);
	assert_false(worker_idle(s->worker));
	worker_close(s->worker);
	s->hold_engine = false;
	stand_turn(s);
	assert_true(worker_idle(s->worker));
}

static void training_that_is_stopped_ends_the_lease(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	arm(s, "worker.train.step=errno@3");
	s->group_count = 1;
	stand_turns(s, 2000);
	assert_int_equal(s->commits, 0);
	assert_int_equal(s->beat_leases, 0);
	assert_int_equal(s->releases, 1);
	assert_int_equal(s->release.code, ERR_INTERRUPTED);
	stand_lease(s);
	stand_group(s, 1);
	assert_int_equal(s->version, 1);
}

/* --- No memory: the lease may be lost, nothing else. */
static bool fail_after_want(struct stand *s, const struct msg *msg)
{
	int *turns = s->hook_context;
	if (msg->type == MSG_WANT && *turns > 0) {
		s->fail_turns = *turns;
		*turns = 0;
	}
	return false;
}

static void begin_anew(struct stand *s)
{
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	s->group_count = 1;
	memset(s->ended, 0, sizeof s->ended);
	stand_lease(s);
}

static void no_memory_costs_a_lease_at_most(void **state)
{
	struct stand *s = *state;
	int lost = 0, turns;
	s->config.editor.stream_steps_max = 3;
	s->config.editor.retest_tries = 0;
	begin(s, 1);
	s->hook = fail_after_want;
	s->hook_context = &turns;
	/* The edits arrive and are trained; the result is stored and uploaded. */
	for (int turn = 1; turn <= 3; turn++) {
		for (int64_t n = 0; n < 400; n += 1 + n / 8) {
			size_t commits = s->commits;
			s->fail_at = n;
			turns = turn;
			begin_anew(s);
			stand_turns(s, 5000);
			lost += s->commits == commits;
			assert_false(worker_failed(s->worker, NULL));
			stand_fence(s, s->epoch);
			stand_turns(s, 200);
			assert_true(worker_idle(s->worker));
		}
	}
	assert_true(lost > 10);
	s->hook = NULL;
	begin_anew(s);
	stand_group(s, 1);
	assert_int_equal(s->version, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_damaged_calibration_is_made_again),
		T(another_corpus_has_another_calibration),
		T(an_edit_that_the_model_refuses_fails_alone),
		T(a_group_of_nothing_but_refused_edits_is_committed),
		T(a_full_shard_of_refused_edits_is_committed),
		T(closing_stops_the_engine),
		T(training_that_is_stopped_ends_the_lease),
		T(a_failed_edit_says_what_came_and_what_was_wanted),
		T(no_memory_costs_a_lease_at_most),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
