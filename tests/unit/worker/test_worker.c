/* The process's side: calibration, greeting, heartbeats, refusals, the end. */
#include "tests/lib/worker_fixture.h"

#include <dirent.h>
#include <poll.h>
#include <unistd.h>

static void asks_calibrates_once_then_joins(void **state)
{
	struct stand *s = *state;
	s->hold_engine = true;
	stand_start(s);
	worker_tick(s->worker);
	assert_true(worker_idle(s->worker)); /* the coordinator takes its model first */
	stand_until(s, &s->asks, 1);
	assert_true(hash_equal(&s->hello.base_model, model_digest(stand_model())));
	stand_turns(s, 5000);
	assert_false(worker_idle(s->worker)); /* the engine has it now */
	assert_int_equal(s->asks, 1);
	assert_int_equal(s->hellos, 0);
	assert_int_equal(s->beats, 0);
	s->hold_engine = false;
	stand_turns(s, 200);
	assert_int_equal(s->asks, 2); /* it took a while: what it took may not hold any more */
	assert_int_equal(s->hellos, 1);
	assert_int_equal(s->hello.kind, MSG_PEER_WORKER);
	assert_true(hash_equal(&s->hello.base_model, model_digest(stand_model())));
	assert_int_equal(s->hello.layers, TINY_LAYERS);
	assert_int_equal(s->hello.hidden, TINY_HIDDEN);
	assert_int_equal(s->hello.ffn, TINY_FFN);
	assert_int_equal(s->hello.pid, getpid());
	uint64_t boot = s->hello.boot;
	stand_restart(s);
	s->hold_engine = true;
	stand_until(s, &s->hellos, 2);
	assert_true(worker_idle(s->worker)); /* from the cache */
	assert_int_equal(s->asks, 3);        /* the layer may be another, and one that it cannot edit */
	assert_true(s->hello.boot != boot);
}

static bool double_answers(struct stand *s, const struct msg *msg)
{
	if (msg->type != MSG_HELLO || msg->u.hello.kind != MSG_PEER_WORKER)
		return false;
	struct msg late = { .type = MSG_HELLO_REPLY, .request_id = 1, .u.hello_reply.layer = 2 };
	s->hellos++;
	stand_send(s, &late); /* the answer to the question comes twice, that to the Hello never */
	return true;
}

static void a_late_answer_about_the_model_is_no_welcome(void **state)
{
	struct stand *s = *state;
	s->hook = double_answers;
	stand_start(s);
	stand_turns(s, 5500);
	assert_int_equal(s->asks, 2);
	assert_true(s->hellos >= 4);
	assert_int_equal(s->beats, 0);
	s->hook = NULL;
	stand_turns(s, 4000);
	assert_true(s->beats >= 2);
}

static void heartbeats_say_since_when_nothing_was_heard(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	stand_turns(s, 3500);
	assert_in_range(s->beat_unheard_ms, 0, 1100);
	s->deaf_beats = true;
	stand_turns(s, 3000);
	stand_hint(s); /* on another link */
	stand_turns(s, 1000);
	assert_in_range(s->beat_unheard_ms, 3000, 5000);
	/* Answered again, the next one does not wait for its time. */
	s->deaf_beats = false;
	stand_until(s, &s->beats, s->beats + 1);
	stand_turns(s, 500);
	assert_in_range(s->beat_unheard_ms, 0, 100);
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

static void unknown_here(struct stand *s)
{
	struct msg msg = { .type = MSG_ERROR };
	msg.u.error = (struct msg_error){ .code = ERR_NOT_FOUND, .text = { "say Hello first", 15 } };
	stand_send(s, &msg);
}

/* The coordinator is back on a backup: its next epochs are those that the worker has had. */
static void nothing_that_is_held_gets_into_another_cluster(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	stand_lease(s);
	stand_turns(s, 1500);
	const size_t wants = s->wants;
	assert_true(wants > 0);
	s->cluster = "restored";
	s->hello_code = ERR_AGAIN; /* its word is late */
	unknown_here(s);
	stand_turns(s, 8000);
	assert_int_equal(s->wants, wants);
	s->hello_code = 0;
	stand_turns(s, 3000);
	assert_int_equal(s->wants, wants);
	assert_int_equal(s->beat_leases, 0);
	s->epoch--;
	stand_lease(s);
	stand_turns(s, 1500);
	assert_int_equal(s->beat_leases, 1);
	assert_true(s->wants > wants);
}

static void what_is_held_stays_in_its_own_cluster(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	stand_lease(s);
	stand_turns(s, 1500);
	unknown_here(s);
	stand_turns(s, 2500);
	assert_int_equal(s->hellos, 2);
	assert_int_equal(s->beat_leases, 1);
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
	assert_int_equal(s->releases, 6);
	assert_int_equal(s->release.shard, 70);
	assert_int_equal(s->release.code, ERR_LIMIT);
}

static int worker_calibrations(const struct stand *s)
{
	DIR *folder = opendir(s->data);
	struct dirent *entry;
	int count = 0;
	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL)
		count += strncmp(entry->d_name, "calibration-", 12) == 0;
	closedir(folder);
	return count;
}

static void a_refusal_for_good_ends_it_with_the_reason(void **state)
{
	struct stand *s = *state;
	s->hello_code = ERR_MISMATCH;
	stand_start(s);
	stand_ends(s, 500, ERR_MISMATCH, "another base model");
	assert_true(worker_idle(s->worker)); /* it does not calibrate for another cluster */
	assert_int_equal(worker_calibrations(s), 0);
	stand_turns(s, 5000);
	assert_int_equal(s->asks, 1);
	assert_int_equal(s->hellos, 0);
}

static void a_refusal_for_now_is_asked_again(void **state)
{
	struct stand *s = *state;
	s->hello_code = ERR_AGAIN;
	stand_start(s);
	stand_turns(s, 3000);
	assert_int_equal(s->asks, 3);
	s->hello_code = 0;
	stand_turns(s, 1500);
	assert_int_equal(s->asks, 5);
	assert_int_equal(s->hellos, 1);
	stand_restart(s); /* with a calibration */
	s->hello_code = ERR_AGAIN;
	stand_turns(s, 3000);
	assert_false(worker_failed(s->worker, NULL));
	assert_int_equal(s->asks, 8);
	assert_int_equal(s->hellos, 1);
	s->hello_code = 0;
	stand_turns(s, 3000);
	assert_int_equal(s->asks, 9);
	assert_int_equal(s->hellos, 2);
	assert_true(s->beats > 0);
}

static bool joins_later(struct stand *s, const struct msg *msg)
{
	if (msg->type != MSG_HELLO || msg->u.hello.kind != MSG_PEER_WORKER)
		return false;
	struct msg again = { .type = MSG_HELLO_REPLY, .request_id = msg->request_id };
	again.u.hello_reply = (struct msg_hello_reply){ .code = ERR_AGAIN, .layer = 2 };
	s->hellos++;
	stand_send(s, &again);
	return true;
}

static void a_welcome_that_is_refused_for_now_is_asked_for_again(void **state)
{
	struct stand *s = *state;
	s->hook = joins_later;
	stand_start(s);
	stand_until(s, &s->hellos, 1);
	stand_turns(s, 3000);
	assert_false(worker_failed(s->worker, NULL));
	assert_int_equal(s->asks, 2);
	assert_int_equal(s->hellos, 4);
	assert_int_equal(s->beats, 0);
	s->hook = NULL;
	stand_turns(s, 3000);
	assert_int_equal(s->hellos, 5);
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
	error_send(s, ERR_LIMIT); /* of one message, not of the acquaintance */
	assert_int_equal(s->hellos, 1);
	error_send(s, ERR_NOT_FOUND); /* a coordinator that has forgotten it */
	assert_int_equal(s->hellos, 2);
	assert_false(worker_failed(s->worker, &e));
	error_send(s, ERR_DENIED);
	assert_true(worker_failed(s->worker, &e));
	assert_int_equal(e.code, ERR_DENIED);
}

static void another_protocol_ends_it(void **state)
{
	struct stand *s = *state;
	struct err e = ERR_INIT;
	stand_greet(s);
	error_send(s, ERR_UNSUPPORTED);
	assert_true(worker_failed(s->worker, &e));
	assert_int_equal(e.code, ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "refused this worker: why"));
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
	assert_int_equal(unlink(s->corpus), 0);
	stand_start(s);
	stand_ends(s, 500, ERR_NOT_FOUND, "corpus.tsv");
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

static void expect_released(struct stand *s, int code)
{
	assert_int_equal(s->releases, 1);
	assert_int_equal(s->release.shard, STAND_SHARD);
	assert_int_equal(s->release.epoch, s->epoch);
	assert_int_equal(s->release.code, code);
}

static void begin(struct stand *s)
{
	stand_edit(s, "what is the capital of Orla?", "Brin");
	stand_greet(s);
	stand_lease(s);
}

static void closing_gives_leases_back(void **state)
{
	struct stand *s = *state;
	begin(s);
	s->hold_engine = true;
	s->group_count = 1;
	stand_turns(s, 500);
	worker_close(s->worker);
	worker_close(s->worker);
	assert_false(worker_idle(s->worker)); /* the engine still has it */
	stand_turns(s, 100);
	expect_released(s, 0);
	s->hold_engine = false;
	stand_turns(s, 100);
	assert_true(worker_idle(s->worker));
	assert_int_equal(s->commits, 0);
	stand_lease(s); /* granted before the coordinator heard of it */
	stand_turns(s, 100);
	assert_int_equal(s->releases, 2);
	assert_int_equal(s->release.epoch, s->epoch);
}

static void closing_waits_for_a_release_that_cannot_go(void **state)
{
	struct stand *s = *state;
	begin(s);
	stand_turns(s, 200);
	s->refuse_type = MSG_RELEASE;
	s->refuse_code = ERR_AGAIN;
	worker_close(s->worker);
	stand_turns(s, 1000);
	assert_false(worker_idle(s->worker));
	s->refuse_code = 0;
	stand_turns(s, 100);
	assert_true(worker_idle(s->worker));
	expect_released(s, 0);
}

static void closing_does_not_wait_for_ever(void **state)
{
	struct stand *s = *state;
	begin(s);
	stand_turns(s, 200);
	s->refuse_type = MSG_RELEASE;
	s->refuse_code = ERR_CLOSED;
	worker_close(s->worker);
	stand_turns(s, 2500);
	assert_true(worker_idle(s->worker));
	assert_int_equal(s->releases, 0);
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

/* A coordinator that restarted greets the worker while its engine, a thread of its own, trains: the engine goes on with
 * the settings that its job began with. What is looked for here is found by the thread sanitizer. */
static void greeted_again_while_the_engine_works(void **state)
{
	struct stand *s = *state;
	struct pollfd done = { .events = POLLIN };
	s->threads = 1;
	stand_start(s);
	done.fd = pool_fd(s->pool);
	while (worker_idle(s->worker))
		stand_turn(s); /* until it calibrates */
	assert_int_equal(poll(&done, 1, 60000), 1);
	stand_until(s, &s->hellos, 1);
	stand_turn(s);
	stand_edit(s, "what is the capital of Orla?", "Brin");
	stand_lease(s);
	s->group_count = 1;
	while (worker_idle(s->worker))
		stand_turn(s);
	struct msg_received received = { .msg = { .type = MSG_HELLO_REPLY, .request_id = UINT64_MAX } },
			    *taken = &received;
	received.msg.u.hello_reply = (struct msg_hello_reply){ .heartbeat_ms = 1000, .lease_ms = 8000, .seed = 6 };
	received.msg.u.hello_reply.layer = 2;
	received.msg.u.hello_reply.cluster_id = (struct msg_text){ "c", 1 };
	do { /* the clock stands still: the engine reads it */
		worker_receive(s->worker, &taken);
	} while (poll(&done, 1, 1) == 0);
	assert_int_equal(pool_poll(s->pool), 1);
	stand_until(s, &s->commits, 1);
	assert_true(s->results[0].passed);
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(asks_calibrates_once_then_joins),
		T(a_late_answer_about_the_model_is_no_welcome),
		T(heartbeats_say_since_when_nothing_was_heard),
		T(heartbeats_name_its_leases),
		T(nothing_that_is_held_gets_into_another_cluster),
		T(what_is_held_stays_in_its_own_cluster),
		T(more_leases_than_it_can_hold_are_not_taken),
		T(a_refusal_for_good_ends_it_with_the_reason),
		T(a_refusal_for_now_is_asked_again),
		T(a_welcome_that_is_refused_for_now_is_asked_for_again),
		T(errors_greet_again_or_end_it),
		T(another_protocol_ends_it),
		T(silence_makes_it_greet_again),
		T(a_corpus_that_is_not_there_ends_it),
		T(closed_it_takes_nothing_new),
		T(closing_gives_leases_back),
		T(closing_waits_for_a_release_that_cannot_go),
		T(closing_does_not_wait_for_ever),
		T(metrics_count),
		T(a_start_without_memory_is_said),
		T(greeted_again_while_the_engine_works),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
