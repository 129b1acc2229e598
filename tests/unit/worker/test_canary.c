/* What a worker does when it is asked the canaries: the questions themselves are a stand-in (daemon/canaries.c). */
#include "tests/lib/worker_fixture.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST_BYTES_MAX (1u << 20)

struct heard {
	size_t results;
	int code;
	char text[512];
	struct hash content, canaries;
	uint32_t asked, changed;
};

static struct heard heard;
static int ask_code;
static size_t asks;

static int roots(void *context, struct store *blobs, const struct msg_canary_run *run, struct buf *out, struct err *e)
{
	struct buf bytes = BUF_INIT; /* the manifest is here: its bytes are the roots of what it names */
	(void)context;
	int rc = store_blob_get(blobs, &run->root, MANIFEST_BYTES_MAX, &bytes, e);
	if (rc == 0)
		buf_append(out, bytes.data, bytes.len);
	buf_free(&bytes);
	return rc;
}

static int ask(void *context, struct model *model, struct store *blobs, const struct msg_canary_run *run,
	       const struct editor_watch *watch, struct worker_canary_answer *out, struct err *e)
{
	struct buf manifest = BUF_INIT, memory = BUF_INIT, missing = BUF_INIT;
	(void)context;
	(void)model;
	(void)watch;
	asks++;
	int rc = store_blob_get(blobs, &run->root, MANIFEST_BYTES_MAX, &manifest, e);
	for (size_t i = 0; rc == 0 && i < manifest.len / HASH_BYTES; i++)
		rc = store_blob_missing(blobs, (const struct hash *)(const void *)manifest.data + i, &missing, e);
	if (rc == 0 && missing.len > 0)
		rc = err_set(e, ERR_NOT_FOUND, "a memory is not here");
	buf_free(&missing);
	if (rc == 0)
		rc = store_blob_get(blobs, (const struct hash *)(const void *)manifest.data, 1000, &memory, e);
	buf_free(&manifest);
	buf_free(&memory);
	if (rc == 0 && ask_code != 0)
		rc = err_set(e, ask_code, "the canaries are asleep");
	if (rc != 0 || arena_new(1000, 0, &out->arena) != 0)
		return rc;
	out->asked = 7;
	out->changed_total = 1;
	out->changed_count = 1;
	out->changed[0] = (struct msg_canary_change){ { "a", 1 }, { "p", 1 }, { "x", 1 }, { "y", 1 }, 1, 2 };
	return 0;
}

static size_t prepares, prepare_needs;
static int prepare_code;

static int prepare(void *context, struct model *model, const void *calibration, size_t calibration_len,
		   const struct editor_watch *watch, bool *more, struct err *e)
{
	(void)context;
	(void)model;
	(void)watch;
	assert_true(calibration != NULL && calibration_len > 0);
	*more = ++prepares < prepare_needs;
	return prepare_code == 0 ? 0 : err_set(e, prepare_code, "they cannot be read");
}

static const struct worker_canaries canaries = {
	.digest = { .bytes = { 7 } }, .roots = roots, .ask = ask, .prepare = prepare
};

static bool hear(struct stand *s, const struct msg *msg)
{
	(void)s;
	if (msg->type != MSG_CANARY_RESULT)
		return false;
	const struct msg_canary_result *r = &msg->u.canary_result;
	heard = (struct heard){ heard.results + 1, r->code, "", r->content, r->canaries, r->asked, r->changed_total };
	snprintf(heard.text, sizeof heard.text, "%s", r->text.text);
	return true;
}

static int setup(void **state)
{
	int rc = stand_setup(state);
	struct stand *s = *state;
	s->config.canaries = &canaries;
	s->hook = hear;
	heard = (struct heard){ .results = 0 };
	ask_code = prepare_code = 0;
	asks = prepares = 0;
	prepare_needs = 3;
	return rc;
}

/* The worker has both on its disk. */
static void stand_have(struct stand *s, const struct msg_canary_run *run)
{
	struct buf bytes = BUF_INIT;
	struct hash root, memory;
	assert_ok(&s->e, store_blob_get(s->source, &run->root, 1000, &bytes, &s->e));
	assert_ok(&s->e, store_blob_put(s->blobs, bytes.data, bytes.len, &root, &s->e));
	memcpy(memory.bytes, bytes.data, sizeof memory.bytes);
	buf_clear(&bytes);
	assert_ok(&s->e, store_blob_get(s->source, &memory, 1000, &bytes, &s->e));
	assert_ok(&s->e, store_blob_put(s->blobs, bytes.data, bytes.len, &root, &s->e));
	buf_free(&bytes);
}

/* A manifest that names one memory, of a number. */
static struct msg_canary_run candidate(struct stand *s, int number)
{
	struct msg_canary_run run;
	struct hash memory;
	assert_ok(&s->e, store_blob_put(s->source, &number, sizeof number, &memory, &s->e));
	assert_ok(&s->e, store_blob_put(s->source, memory.bytes, sizeof memory.bytes, &run.root, &s->e));
	hash_of(&number, sizeof number, &run.content);
	return run;
}

static void run(struct stand *s, const struct msg_canary_run *run)
{
	struct msg msg = { .type = MSG_CANARY_RUN, .u.canary_run = *run };
	stand_send(s, &msg);
}

static void what_they_answer_is_told(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	struct msg_canary_run first = candidate(s, 1), second = candidate(s, 2);
	run(s, &first);
	stand_until(s, &heard.results, 1);
	assert_int_equal(heard.code, 0);
	assert_true(hash_equal(&heard.content, &first.content));
	assert_true(hash_equal(&heard.canaries, &canaries.digest));
	assert_int_equal(heard.asked, 7);
	assert_int_equal(heard.changed, 1);
	run(s, &second);
	stand_until(s, &heard.results, 2);
	assert_true(hash_equal(&heard.content, &second.content));
	const int number = 2;
	struct hash memory;
	assert_ok(&s->e, store_blob_put(s->source, &number, sizeof number, &memory, &s->e));
	stand_blob_whole(s, s->blobs, &memory); /* fetched as the first one's was */
	run(s, &second);                        /* its answer was lost */
	stand_until(s, &heard.results, 3);
	assert_true(hash_equal(&heard.content, &second.content));
}

/* More than one fetch takes, and nothing of it is here. */
static void a_version_of_many_memories_is_fetched_in_parts(void **state)
{
	struct stand *s = *state;
	struct buf manifest = BUF_INIT;
	struct msg_canary_run one;
	for (uint32_t i = 0; i < 2500; i++) {
		struct hash memory;
		assert_ok(&s->e, store_blob_put(s->source, &i, sizeof i, &memory, &s->e));
		buf_append(&manifest, memory.bytes, HASH_BYTES);
		buf_append(&manifest, memory.bytes, HASH_BYTES);
	}
	assert_false(buf_failed(&manifest));
	assert_ok(&s->e, store_blob_put(s->source, manifest.data, manifest.len, &one.root, &s->e));
	hash_of(manifest.data, manifest.len, &one.content);
	buf_free(&manifest);
	stand_greet(s);
	run(s, &one);
	stand_until(s, &heard.results, 1);
	assert_string_equal(heard.text, "");
	assert_int_equal(heard.code, 0);
	assert_true(hash_equal(&heard.content, &one.content));
}

static void why_they_cannot_be_asked_is_told(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	struct msg_canary_run there = candidate(s, 1), nowhere = there;
	nowhere.root.bytes[0] ^= 1;
	nowhere.content.bytes[0] ^= 1;
	run(s, &nowhere);
	stand_until(s, &heard.results, 1);
	assert_int_equal(heard.code, ERR_NOT_FOUND);
	assert_non_null(strstr(heard.text, "manifest cannot be fetched"));
	ask_code = ERR_CORRUPT;
	run(s, &there);
	stand_until(s, &heard.results, 2);
	assert_int_equal(heard.code, ERR_CORRUPT);
	assert_string_equal(heard.text, "the canaries are asleep");
}

static void a_worker_without_them_says_so(void **state)
{
	struct stand *s = *state;
	s->config.canaries = NULL;
	stand_greet(s);
	struct msg_canary_run one = candidate(s, 1);
	run(s, &one);
	stand_until(s, &heard.results, 1);
	assert_int_equal(heard.code, ERR_UNSUPPORTED);
}

/* The engine has the first when the second comes: only the second is answered. */
static void a_newer_candidate_takes_its_place(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	struct msg_canary_run first = candidate(s, 1), second = candidate(s, 2);
	s->hold_engine = true;
	run(s, &first);
	stand_turns(s, 2000);
	assert_int_equal(asks, 1);
	run(s, &second);
	stand_turns(s, 2000);
	assert_int_equal(heard.results, 0);
	s->hold_engine = false;
	stand_until(s, &heard.results, 1);
	assert_true(hash_equal(&heard.content, &second.content));
	stand_turns(s, 2000);
	assert_int_equal(heard.results, 1);
	assert_int_equal(asks, 2);
}

/* Edits that are trained do not wait for those that are being trained. */
static void they_are_asked_between_two_steps(void **state)
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
	struct msg_canary_run one = candidate(s, 1);
	stand_have(s, &one);
	for (size_t i = 0; i < 8; i++) {
		char prompt[64];
		snprintf(prompt, sizeof prompt, "what is the capital of Orla %zu?", i);
		stand_edit(s, prompt, "Brin");
	}
	stand_lease(s);
	s->group_count = 8;
	while (worker_idle(s->worker))
		stand_turn(s);
	struct msg_received received = { .msg = { .type = MSG_CANARY_RUN, .u.canary_run = one } }, *taken = &received;
	worker_receive(s->worker, &taken);
	do { /* the clock stands still: the engine reads it */
		worker_tick(s->worker);
		stand_script(s);
	} while (heard.results == 0 && poll(&done, 1, 1) == 0);
	assert_int_equal(heard.results, 1);
	assert_int_equal(heard.code, 0);
	assert_int_equal(s->commits, 0);
	assert_int_equal(poll(&done, 1, 60000), 1);
	assert_int_equal(pool_poll(s->pool), 1);
	stand_until(s, &s->commits, 1);
	assert_true(s->results[0].passed);
	assert_int_equal(asks, 1);
}

/* The engine has no step left, and is not said to be done. */
static void trained(struct stand *s)
{
	stand_greet(s);
	stand_edit(s, "what is the capital of Orla?", "Brin");
	stand_lease(s);
	s->group_count = 1;
	s->hold_engine = true;
	stand_turns(s, 2000);
	assert_false(worker_idle(s->worker));
}

static void what_it_does_not_come_to_is_asked_next(void **state)
{
	struct stand *s = *state;
	trained(s);
	struct msg_canary_run one = candidate(s, 1);
	run(s, &one);
	stand_turns(s, 2000);
	assert_int_equal(asks, 0);
	s->hold_engine = false;
	stand_until(s, &heard.results, 1);
	assert_int_equal(heard.code, 0);
	assert_true(hash_equal(&heard.content, &one.content));
	assert_int_equal(asks, 1);
	stand_until(s, &s->commits, 1);
}

static void a_newer_one_takes_the_place_of_what_it_does_not_come_to(void **state)
{
	struct stand *s = *state;
	trained(s);
	struct msg_canary_run first = candidate(s, 1), second = candidate(s, 2);
	run(s, &first);
	stand_turns(s, 2000);
	run(s, &second);
	stand_turns(s, 2000);
	assert_int_equal(asks, 0);
	s->hold_engine = false;
	stand_until(s, &heard.results, 1);
	assert_true(hash_equal(&heard.content, &second.content));
	stand_turns(s, 2000);
	assert_int_equal(asks, 1);
	assert_int_equal(heard.results, 1);
}

static void what_they_need_is_read_ahead(void **state)
{
	struct stand *s = *state;
	s->config.canaries_ahead = true;
	stand_greet(s);
	stand_turns(s, 200);
	assert_int_equal(prepares, 3);
	struct msg_canary_run one = candidate(s, 1);
	run(s, &one);
	stand_until(s, &heard.results, 1);
	assert_int_equal(heard.code, 0);
	assert_int_equal(prepares, 3);
}

static void what_cannot_be_read_ahead_is_left(void **state)
{
	struct stand *s = *state;
	s->config.canaries_ahead = true;
	prepare_code = ERR_INVALID;
	stand_greet(s);
	stand_turns(s, 200);
	assert_int_equal(prepares, 1);
	struct msg_canary_run one = candidate(s, 1);
	run(s, &one);
	stand_until(s, &heard.results, 1);
	assert_int_equal(heard.code, 0);
}

/* Also one that comes while they are read: they are read a little at a time. */
static void a_candidate_goes_before_what_is_read_ahead(void **state)
{
	struct stand *s = *state;
	s->config.canaries_ahead = true;
	prepare_needs = SIZE_MAX;
	stand_greet(s);
	struct msg_canary_run one = candidate(s, 1);
	run(s, &one);
	stand_until(s, &heard.results, 1);
	assert_int_equal(heard.code, 0);
}

static void nothing_is_read_ahead_unasked(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	stand_turns(s, 200);
	assert_int_equal(prepares, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_they_answer_is_told, setup, stand_teardown),
		cmocka_unit_test_setup_teardown(a_version_of_many_memories_is_fetched_in_parts, setup, stand_teardown),
		cmocka_unit_test_setup_teardown(why_they_cannot_be_asked_is_told, setup, stand_teardown),
		cmocka_unit_test_setup_teardown(a_worker_without_them_says_so, setup, stand_teardown),
		cmocka_unit_test_setup_teardown(a_newer_candidate_takes_its_place, setup, stand_teardown),
		cmocka_unit_test_setup_teardown(they_are_asked_between_two_steps, setup, stand_teardown),
		cmocka_unit_test_setup_teardown(what_it_does_not_come_to_is_asked_next, setup, stand_teardown),
		cmocka_unit_test_setup_teardown(a_newer_one_takes_the_place_of_what_it_does_not_come_to, setup,
						stand_teardown),
		cmocka_unit_test_setup_teardown(what_they_need_is_read_ahead, setup, stand_teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_read_ahead_is_left, setup, stand_teardown),
		cmocka_unit_test_setup_teardown(a_candidate_goes_before_what_is_read_ahead, setup, stand_teardown),
		cmocka_unit_test_setup_teardown(nothing_is_read_ahead_unasked, setup, stand_teardown),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
