/* The process's side: calibration, greeting, heartbeats, refusals, the end. */
#include "tests/lib/worker_fixture.h"
#include "tests/unit/editor/tiny.h"

#include "editor/calibration_file.h"

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
	assert_int_equal(s->asks, 1);
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
	assert_int_equal(s->asks, 1);
	assert_true(s->hellos >= 4);
	assert_int_equal(s->beats, 0);
	s->hook = NULL;
	stand_turns(s, 4000);
	assert_true(s->beats >= 2);
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
	struct err e = ERR_INIT;
	s->hello_code = ERR_MISMATCH;
	stand_start(s);
	stand_turns(s, 500);
	assert_true(worker_failed(s->worker, &e));
	assert_int_equal(e.code, ERR_MISMATCH);
	assert_non_null(strstr(e.text, "another base model"));
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
	assert_int_equal(s->asks, 4);
	assert_int_equal(s->hellos, 1);
	stand_restart(s);
	s->hello_code = ERR_AGAIN;
	stand_turns(s, 3000);
	assert_false(worker_failed(s->worker, NULL));
	assert_int_equal(s->hellos, 4);
	s->hello_code = 0;
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

static void a_layer_outside_of_the_model_ends_it(void **state)
{
	struct stand *s = *state;
	struct err e = ERR_INIT;
	s->layer = TINY_LAYERS;
	stand_start(s);
	stand_until(s, &s->asks, 1);
	stand_turns(s, 2000);
	assert_true(worker_failed(s->worker, &e));
	assert_int_equal(e.code, ERR_INVALID);
	assert_int_equal(s->hellos, 0); /* it was not a worker yet: the cluster's layer is not fixed */
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
	stand_turns(s, 500);
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
	do { /* the clock stands still: the engine reads it */
		worker_receive(s->worker, &taken);
	} while (poll(&done, 1, 1) == 0);
	assert_int_equal(pool_poll(s->pool), 1);
	stand_until(s, &s->commits, 1);
	assert_true(s->results[0].passed);
}

/* --- How the cluster trains. */

/* What a shard of two edits becomes, trained breadth first, with the worker's own rate and the coordinator's word. */
static struct hash delta_with(float own, double told)
{
	void *state = NULL;
	assert_int_equal(stand_setup(&state), 0);
	struct stand *s = state;
	s->config.editor.rate = own;
	s->config.editor.stream_group_max = 1;
	s->rate = told;
	stand_greet(s);
	stand_edit(s, "what is the capital of Orla?", "Brin");
	stand_edit(s, "who is the king of Vint?", "Olaf IV");
	stand_lease(s);
	stand_group(s, 2);
	const struct hash delta = s->commit.delta_root;
	stand_teardown(&state);
	return delta;
}

static void the_coordinators_rate_decides(void **state)
{
	(void)state;
	const struct hash told = delta_with(0.02f, 0.03), own = delta_with(0.02f, 0);
	const struct hash other_own = delta_with(0.01f, 0.03);
	assert_true(hash_equal(&told, &other_own));
	assert_false(hash_equal(&told, &own));
}

static void without_a_word_of_it_the_rate_is_the_default_again(void **state)
{
	(void)state;
	void *stand = NULL;
	const struct hash own = delta_with(0.02f, 0);
	assert_int_equal(stand_setup(&stand), 0);
	struct stand *s = stand;
	s->config.editor.stream_group_max = 1;
	s->rate = 0.03;
	stand_greet(s);
	s->rate = 0; /* the coordinator is started anew, without its rate */
	s->silent = true;
	stand_turns(s, 9000);
	s->silent = false;
	stand_until(s, &s->hellos, s->hellos + 1);
	stand_edit(s, "what is the capital of Orla?", "Brin");
	stand_edit(s, "who is the king of Vint?", "Olaf IV");
	stand_lease(s);
	stand_group(s, 2);
	assert_true(hash_equal(&s->commit.delta_root, &own));
	stand_teardown(&stand);
}

static void a_rate_that_cannot_train_is_refused(void **state)
{
	struct stand *s = *state;
	struct err e = ERR_INIT;
	s->rate = 5;
	stand_start(s);
	stand_turns(s, 5000);
	assert_true(worker_failed(s->worker, &e));
	assert_int_equal(e.code, ERR_INVALID);
	assert_non_null(strstr(e.text, "rate is 5"));
}

/* --- A calibration file that it was given. */

static void given_write(struct stand *s, enum editor_family family, float alpha, char path[TEST_PATH_BYTES])
{
	struct editor_calibration_file file = { .calibration = BUF_INIT };
	struct editor_wise_calibration paper = { .base_model = *model_digest(stand_model()),
						 .layer = 2,
						 .wise = s->config.editor.wise };
	struct buf bytes = BUF_INIT;
	paper.wise.alpha = alpha;
	test_path(path, s->folder, "given.cal");
	if (family == EDITOR_FAMILY_PAPER)
		assert_ok(&s->e, editor_wise_calibration_encode(&paper, &file.calibration, &s->e));
	else
		plain_calibration(&paper.base_model, TINY_HIDDEN, 0.5f, 0.5f, 0.5f, &file.calibration);
	assert_ok(&s->e, editor_fitting_add_text(&file.fitting, "Who?", 4, &s->e));
	assert_ok(&s->e, editor_fitting_add_file(&file.fitting, "corpus", s->corpus, &s->e));
	assert_ok(&s->e, editor_calibration_file_encode(&file, &bytes, &s->e));
	assert_ok(&s->e, file_write_sealed(path, bytes.data, bytes.len, 0600, &s->e));
	if (s->settings.bytes == NULL && family == EDITOR_FAMILY_PAPER) { /* the coordinator's, of the same file */
		static uint8_t settings[4096];
		assert_true(bytes.len <= sizeof settings);
		memcpy(settings, bytes.data, bytes.len);
		s->settings = (struct msg_bytes){ settings, bytes.len };
	}
	editor_calibration_file_fini(&file);
	buf_free(&bytes);
	s->config.calibration_file = path;
}

static void a_given_calibration_is_used_as_it_is(void **state)
{
	struct stand *s = *state;
	char path[TEST_PATH_BYTES];
	struct buf bytes = BUF_INIT, published = BUF_INIT;
	struct hash digest;
	given_write(s, EDITOR_FAMILY_AMEND, 0, path);
	s->hold_engine = true;
	stand_start(s);
	stand_until(s, &s->hellos, 1); /* nothing to calibrate */
	assert_int_equal(s->asks, 0);
	assert_ok(&s->e, file_read_sealed(path, 1 << 20, &bytes, &s->e));
	hash_of(bytes.data, bytes.len, &digest);
	assert_true(hash_equal(&s->hello.calibration, &digest));
	assert_ok(&s->e, hash_of_file(s->corpus, &digest, &s->e));
	assert_true(hash_equal(&s->hello.corpus, &digest)); /* said beside it */
	s->hold_engine = false;
	stand_edit(s, "The capital of Orla is", "Kir");
	stand_lease(s);
	stand_group(s, 1);
	assert_ok(&s->e, store_blob_get(s->source, &s->commit.calibration_root, 1 << 20, &published, &s->e));
	assert_int_equal(published.len, bytes.len);
	assert_memory_equal(published.data, bytes.data, bytes.len);
	buf_free(&bytes);
	buf_free(&published);
}

static void without_a_file_the_corpus_names_the_calibration(void **state)
{
	struct stand *s = *state;
	struct hash corpus;
	stand_greet(s);
	assert_ok(&s->e, hash_of_file(s->corpus, &corpus, &s->e));
	assert_true(hash_equal(&s->hello.calibration, &corpus));
	assert_true(hash_equal(&s->hello.corpus, &corpus));
}

static void a_file_of_another_family_or_model_ends_it(void **state)
{
	struct stand *s = *state;
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	given_write(s, EDITOR_FAMILY_PAPER, 7, path);
	s->settings = (struct msg_bytes){ NULL, 0 }; /* a cluster of family amend */
	stand_start(s);
	stand_turns(s, 500);
	assert_true(worker_failed(s->worker, &e));
	assert_non_null(strstr(e.text, "is a calibration of family paper, and edits are of family amend"));
	stand_stop(s);
	test_file_write(path, "AMCF, but cut off");
	assert_int_equal(
		worker_new(&s->config, &s->clock.env, s->blobs, s->client, NULL, stand_model(), &s->worker, &e),
		ERR_CORRUPT);
	assert_non_null(strstr(e.text, "given.cal"));
}

static void the_papers_file_and_the_coordinators_settings_agree(void **state)
{
	struct stand *s = *state;
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct buf published = BUF_INIT;
	struct editor_calibration_file file;
	struct editor_wise_calibration paper;
	s->layer = 2;
	given_write(s, EDITOR_FAMILY_PAPER, 7, path);
	stand_start(s);
	stand_until(s, &s->hellos, 1);
	stand_turns(s, 500);
	assert_false(worker_failed(s->worker, &e));
	s->keep_failed = true; /* the tiny model forgets: it is not what is asked here */
	stand_edit(s, "The capital of Orla is", "Kir");
	stand_lease(s);
	stand_group(s, 1);
	assert_ok(&s->e, store_blob_get(s->source, &s->commit.calibration_root, 1 << 20, &published, &s->e));
	assert_ok(&s->e, editor_calibration_file_decode(published.data, published.len, &file, &s->e));
	assert_int_equal(file.fitting.text_count, 1); /* what it was fitted on goes into the version */
	assert_ok(&s->e, editor_wise_calibration_decode(file.calibration.data, file.calibration.len, &paper, &s->e));
	assert_true(paper.wise.alpha == 7.0f);
	editor_calibration_file_fini(&file);
	buf_free(&published);
	stand_stop(s);
	s->layer = 3;
	stand_start(s);
	stand_turns(s, 2000);
	assert_true(worker_failed(s->worker, &e));
	assert_int_equal(e.code, ERR_MISMATCH);
	assert_non_null(strstr(e.text, "the coordinator's calibration file was measured with layer at 2, edits are "
				       "trained with 3: "));
	stand_stop(s);
	s->layer = 2;
	given_write(s, EDITOR_FAMILY_PAPER, 8, path); /* the settings stay as they were */
	stand_start(s);
	stand_turns(s, 2000);
	assert_true(worker_failed(s->worker, &e));
	assert_int_equal(e.code, ERR_MISMATCH);
	assert_non_null(strstr(e.text, "other margins than the coordinator's settings"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(asks_calibrates_once_then_joins),
		T(a_late_answer_about_the_model_is_no_welcome),
		T(heartbeats_name_its_leases),
		T(more_leases_than_it_can_hold_are_not_taken),
		T(a_refusal_for_good_ends_it_with_the_reason),
		T(a_refusal_for_now_is_asked_again),
		T(errors_greet_again_or_end_it),
		T(a_layer_outside_of_the_model_ends_it),
		T(silence_makes_it_greet_again),
		T(a_corpus_that_is_not_there_ends_it),
		T(closed_it_takes_nothing_new),
		T(closing_gives_leases_back),
		T(closing_waits_for_a_release_that_cannot_go),
		T(closing_does_not_wait_for_ever),
		T(metrics_count),
		cmocka_unit_test(the_coordinators_rate_decides),
		cmocka_unit_test(without_a_word_of_it_the_rate_is_the_default_again),
		T(a_rate_that_cannot_train_is_refused),
		T(a_given_calibration_is_used_as_it_is),
		T(without_a_file_the_corpus_names_the_calibration),
		T(a_file_of_another_family_or_model_ends_it),
		T(the_papers_file_and_the_coordinators_settings_agree),
		T(a_start_without_memory_is_said),
		T(greeted_again_while_the_engine_works),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
