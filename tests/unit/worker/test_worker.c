/* The process's side: calibration, greeting, heartbeats, refusals, the end. */
#include "tests/lib/worker_fixture.h"

#include <unistd.h>

static void calibrates_once_then_says_hello(void **state)
{
	struct stand *s = *state;
	stand_start(s);
	assert_true(worker_idle(s->worker));
	worker_tick(s->worker); /* the engine has it now */
	assert_false(worker_idle(s->worker));
	stand_until(s, &s->hellos, 1);
	assert_int_equal(s->hello.kind, MSG_PEER_WORKER);
	assert_true(hash_equal(&s->hello.base_model, model_digest(stand_model())));
	assert_int_equal(s->hello.layers, TINY_LAYERS);
	assert_int_equal(s->hello.hidden, TINY_HIDDEN);
	assert_int_equal(s->hello.ffn, TINY_FFN);
	assert_int_equal(s->hello.pid, getpid());
	uint64_t boot = s->hello.boot;
	stand_restart(s);
	worker_tick(s->worker);
	assert_true(worker_idle(s->worker)); /* from the cache */
	stand_until(s, &s->hellos, 2);
	assert_true(s->hello.boot != boot);
}

static void heartbeats_name_its_leases(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	stand_turns(s, 3500);
	assert_int_equal(s->beats, 3);
	assert_int_equal(s->beat_leases, 0);
	stand_lease(s);
	stand_turns(s, 1000);
	assert_int_equal(s->beats, 4);
	assert_int_equal(s->beat_leases, 1);
	stand_fence(s, s->epoch);
	stand_turns(s, 1000);
	assert_int_equal(s->beat_leases, 0);
	assert_int_equal(s->hellos, 1);
}

static bool drop_edits(struct stand *s, const struct msg *msg)
{
	(void)s;
	return msg->type == MSG_WANT;
}

/* One worker can hold so many leases; more are not taken, and the heartbeat says so. */
static void more_leases_than_it_can_hold_are_not_taken(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	s->hook = drop_edits;
	for (uint64_t i = 1; i <= 70; i++) {
		struct msg msg = { .type = MSG_LEASE };
		msg.u.lease = (struct msg_lease){ .kind = MSG_LEASE_TRAIN, .shard = i, .epoch = 1, .lease_ms = 8000 };
		stand_send(s, &msg);
	}
	stand_turns(s, 2000);
	assert_int_equal(s->beat_leases, 64);
}

static void a_refusal_for_good_ends_it_with_the_reason(void **state)
{
	struct stand *s = *state;
	struct err e = ERR_INIT;
	s->hello_code = ERR_MISMATCH;
	stand_greet(s);
	assert_true(worker_failed(s->worker, &e));
	assert_int_equal(e.code, ERR_MISMATCH);
	assert_non_null(strstr(e.text, "another base model"));
	stand_turns(s, 5000);
	assert_int_equal(s->hellos, 1);
}

static void a_refusal_for_now_is_asked_again(void **state)
{
	struct stand *s = *state;
	s->hello_code = ERR_AGAIN;
	stand_greet(s);
	assert_false(worker_failed(s->worker, NULL));
	stand_turns(s, 2000);
	assert_int_equal(s->hellos, 3);
	s->hello_code = 0;
	stand_turns(s, 3000);
	assert_int_equal(s->hellos, 4);
	assert_true(s->beats > 0);
}

static void error_send(struct stand *s, int code)
{
	struct msg msg = { .type = MSG_ERROR };
	msg.u.error = (struct msg_error){ code, { "why", 3 } };
	stand_send(s, &msg);
	stand_turns(s, 1500);
}

static void errors_greet_again_or_end_it(void **state)
{
	struct stand *s = *state;
	struct err e = ERR_INIT;
	stand_greet(s);
	error_send(s, ERR_NOT_FOUND); /* a coordinator that has forgotten it */
	assert_int_equal(s->hellos, 2);
	assert_false(worker_failed(s->worker, &e));
	error_send(s, ERR_DENIED);
	assert_true(worker_failed(s->worker, &e));
	assert_int_equal(e.code, ERR_DENIED);
}

static void a_layer_outside_of_the_model_ends_it(void **state)
{
	struct stand *s = *state;
	struct err e = ERR_INIT;
	s->layer = TINY_LAYERS;
	stand_greet(s);
	assert_true(worker_failed(s->worker, &e));
	assert_int_equal(e.code, ERR_INVALID);
}

static void silence_makes_it_greet_again(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	s->silent = true;
	stand_turns(s, 10000);
	s->silent = false;
	stand_turns(s, 2000);
	assert_int_equal(s->hellos, 2); /* those of the silence were not heard */
	size_t beats = s->beats;
	stand_turns(s, 3000);
	assert_int_equal(s->beats, beats + 3);
}

static void a_corpus_that_is_not_there_ends_it(void **state)
{
	struct stand *s = *state;
	struct err e = ERR_INIT;
	assert_int_equal(unlink(s->corpus), 0);
	stand_start(s);
	stand_turns(s, 200);
	assert_true(worker_failed(s->worker, &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "corpus.tsv"));
	assert_int_equal(s->hellos, 0);
}

static void closed_it_takes_nothing_new(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	worker_close(s->worker);
	worker_close(s->worker);
	stand_lease(s);
	stand_turns(s, 3000);
	assert_int_equal(s->wants, 0);
	assert_int_equal(s->beats, 0);
	assert_true(worker_idle(s->worker));
}

static void metrics_count(void **state)
{
	struct stand *s = *state;
	struct buf text = BUF_INIT;
	stand_greet(s);
	stand_edit(s, "what is the capital of Orla?", "Brin");
	stand_lease(s);
	stand_group(s, 1);
	worker_metrics(s->worker, &text);
	assert_non_null(strstr(buf_cstr(&text), "amend_edits_total{result=\"passed\"} 1\n"));
	assert_non_null(strstr(buf_cstr(&text), "amend_shard_commits_total 1\n"));
	assert_non_null(strstr(buf_cstr(&text), "amend_leases 1\n"));
	buf_free(&text);
}

static int start_once(void *context)
{
	struct stand *s = context;
	struct worker *worker = NULL;
	struct err e = ERR_INIT;
	int rc = worker_new(&s->config, &s->clock.env, s->blobs, s->client, s->pool, stand_model(), &worker, &e);
	assert_true((rc == 0) == (worker != NULL));
	worker_destroy(&worker);
	return rc;
}

static void a_start_without_memory_is_said(void **state)
{
	struct stand *s = *state;
	stand_greet(s); /* with a calibration to read */
	stand_stop(s);
	assert_true(test_walk_allocations(start_once, s) > 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(calibrates_once_then_says_hello),
		T(heartbeats_name_its_leases),
		T(more_leases_than_it_can_hold_are_not_taken),
		T(a_refusal_for_good_ends_it_with_the_reason),
		T(a_refusal_for_now_is_asked_again),
		T(errors_greet_again_or_end_it),
		T(a_layer_outside_of_the_model_ends_it),
		T(silence_makes_it_greet_again),
		T(a_corpus_that_is_not_there_ends_it),
		T(closed_it_takes_nothing_new),
		T(metrics_count),
		T(a_start_without_memory_is_said),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
