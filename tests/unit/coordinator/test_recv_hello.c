/* Who may join, and what is kept of who may not. */
#include "tests/lib/coordinator_fixture.h"

static struct msg hello_of(enum msg_peer_kind kind, uint8_t model, uint32_t layers)
{
	struct msg msg = { .type = MSG_HELLO };
	msg.u.hello = (struct msg_hello){ .kind = kind,
					  .protocol_min = 1,
					  .protocol_max = 1,
					  .name = { "w", 1 },
					  .boot = 1,
					  .layers = layers,
					  .hidden = 576,
					  .ffn = 1536 };
	memset(msg.u.hello.base_model.bytes, model, HASH_BYTES);
	return msg;
}

static int greet(struct end_peer *end, struct msg msg, char text[512])
{
	end_send(end, &msg);
	cluster_run(end->cluster);
	struct msg_received *reply = end_expect(end, MSG_HELLO_REPLY);
	const int code = reply->msg.u.hello_reply.code;
	snprintf(text, 512, "%.*s", (int)reply->msg.u.hello_reply.text.len, reply->msg.u.hello_reply.text.text);
	msg_free(&reply);
	return code;
}

static void expect_refusal(struct cluster *c, const char *name, const char *reason, int64_t ms_ago)
{
	struct msg fleet = { .type = MSG_FLEET };
	end_send(&c->client, &fleet);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_FLEET_REPLY);
	const struct msg_fleet_reply *f = &reply->msg.u.fleet_reply;
	assert_int_equal(f->refused_name.len, strlen(name));
	assert_memory_equal(f->refused_name.text, name, strlen(name));
	if (reason[0] == '\0')
		assert_int_equal(f->refused_reason.len, 0);
	else
		assert_non_null(memmem(f->refused_reason.text, f->refused_reason.len, reason, strlen(reason)));
	assert_int_equal(f->refused_ms_ago, ms_ago);
	msg_free(&reply);
}

/* Nothing is fixed for a cluster that could train nothing. */
static void test_a_layer_that_the_model_has_not_is_refused(void **state)
{
	static const enum msg_peer_kind kinds[] = { MSG_PEER_CLIENT, MSG_PEER_WORKER };
	struct cluster *c = *state;
	char text[512];
	c->config.layer = 30;
	cluster_start(c);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(greet(&c->worker, hello_of(kinds[i], 0xab, 30), text), ERR_INVALID);
		assert_string_equal(text, "this cluster edits layer 30, your model has layers 0 to 29: start the "
					  "coordinator, or `amend up`, with --layer 1 to 29");
	}
	assert_int_equal(greet(&c->node, hello_of(MSG_PEER_NODE, 0xab, 30), text), ERR_INVALID);
	assert_int_equal(greet(&c->worker, hello_of(MSG_PEER_WORKER, 0xcd, 31), text), 0); /* another model */
}

static uint32_t told_layer(struct end_peer *end, struct msg msg)
{
	end_send(end, &msg);
	cluster_run(end->cluster);
	struct msg_received *reply = end_expect(end, MSG_HELLO_REPLY);
	const uint32_t layer = reply->msg.u.hello_reply.layer;
	assert_int_equal(reply->msg.u.hello_reply.code, 0);
	msg_free(&reply);
	return layer;
}

/* A worker that asks hears the layer that its joining would fix: editor_config_default's, for which calibrations are
 * made (tests/unit/editor/test_config.c). */
static void test_who_asks_hears_the_layer_that_would_be_fixed(void **state)
{
	static const struct {
		const char *family;
		uint32_t layers, layer;
	} cases[] = { { "amend", 1, 0 },   { "amend", 4, 3 },   { "amend", 16, 13 }, { "amend", 30, 25 },
		      { "amend", 32, 27 }, { "amend", 36, 30 }, { "paper", 30, 24 }, { "paper", 32, 26 } };
	struct cluster *c = *state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		c->config.family = cases[i].family;
		cluster_start(c);
		assert_int_equal(told_layer(&c->worker, hello_of(MSG_PEER_CLIENT, 0xab, cases[i].layers)),
				 cases[i].layer);
		cluster_stop(c);
	}
	cluster_start(c);
	assert_int_equal(told_layer(&c->worker, hello_of(MSG_PEER_WORKER, 0xab, 32)), 26);
	assert_int_equal(told_layer(&c->worker2, hello_of(MSG_PEER_CLIENT, 0xab, 32)), 26);
}

/* As a ledger has it that was begun by earlier programs. */
static void test_a_fixed_layer_that_the_model_has_not_can_be_mended(void **state)
{
	struct cluster *c = *state;
	char text[512];
	c->config.layer = 99;
	cluster_start(c);
	assert_int_equal(greet(&c->worker, hello_of(MSG_PEER_WORKER, 0xab, 100), text), 0);
	cluster_restart(c);
	assert_int_equal(greet(&c->worker, hello_of(MSG_PEER_CLIENT, 0xab, 30), text), ERR_INVALID);
	assert_non_null(strstr(text, "edits layer 99"));
	cluster_stop(c);
	c->config.layer = 25;
	cluster_start(c);
	assert_int_equal(greet(&c->worker, hello_of(MSG_PEER_WORKER, 0xab, 30), text), 0);
}

/* Before it calibrates, which takes long and would be for nothing. */
static void test_a_calibration_is_looked_at_when_a_worker_asks(void **state)
{
	struct cluster *c = *state;
	struct msg ask = hello_of(MSG_PEER_CLIENT, 0xab, 30);
	char text[512];
	memset(c->config.calibration.bytes, 0x33, HASH_BYTES);
	cluster_start(c);
	memset(ask.u.hello.calibration.bytes, 0x11, HASH_BYTES);
	assert_int_equal(greet(&c->worker, ask, text), ERR_MISMATCH);
	assert_non_null(strstr(text, "this cluster's configuration names 333333333333"));
	memset(ask.u.hello.calibration.bytes, 0x33, HASH_BYTES);
	assert_int_equal(greet(&c->worker, ask, text), 0);
}

static struct msg calibrated(enum msg_peer_kind kind, uint64_t boot, uint8_t calibration)
{
	struct msg msg = hello_of(kind, 0xab, 30);
	msg.u.hello.boot = boot;
	memset(msg.u.hello.calibration.bytes, calibration, HASH_BYTES);
	return msg;
}

/* That of another worker that is here, stays, and has one. */
static void test_whose_calibration_counts(void **state)
{
	struct cluster *c = *state;
	char text[512];
	cluster_start(c);
	assert_int_equal(greet(&c->worker, calibrated(MSG_PEER_WORKER, 1, 0x11), text), 0);
	assert_int_equal(greet(&c->worker, calibrated(MSG_PEER_WORKER, 2, 0x22), text), 0); /* its own of before */
	assert_int_equal(greet(&c->worker2, calibrated(MSG_PEER_WORKER, 1, 0), text), 0);
	assert_int_equal(greet(&c->worker, calibrated(MSG_PEER_WORKER, 3, 0x33), text), 0);
	assert_int_equal(greet(&c->node, calibrated(MSG_PEER_NODE, 1, 0x44), text), 0);
	assert_int_equal(greet(&c->worker2, calibrated(MSG_PEER_WORKER, 2, 0x55), text), ERR_MISMATCH);
	client_facts(c, 1, 1);
	uint64_t shard;
	const uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_release(&c->worker, shard, epoch, 0); /* it leaves */
	assert_int_equal(greet(&c->worker2, calibrated(MSG_PEER_WORKER, 3, 0x66), text), 0);
}

/* A worker that names no corpus has nothing that could differ. */
static void test_a_corpus_that_is_not_named_is_none(void **state)
{
	struct cluster *c = *state;
	struct msg hello = calibrated(MSG_PEER_WORKER, 1, 0);
	char text[512];
	c->config.family = "paper";
	c->config.settings = (struct msg_bytes){ "AMWC", 4 };
	cluster_start(c);
	assert_int_equal(greet(&c->worker2, hello, text), 0);
	memset(hello.u.hello.corpus.bytes, 0x44, HASH_BYTES);
	assert_int_equal(greet(&c->worker, hello, text), 0);
	assert_int_equal(greet(&c->worker2, calibrated(MSG_PEER_WORKER, 2, 0), text), 0);
}

static void test_the_fleet_knows_who_was_refused_last_and_why(void **state)
{
	struct cluster *c = *state;
	char text[512];
	c->config.layer = 30;
	cluster_start(c);
	expect_refusal(c, "", "", 0);
	assert_int_equal(greet(&c->worker, hello_of(MSG_PEER_CLIENT, 0xab, 30), text), ERR_INVALID);
	cluster_advance(c, 3000);
	expect_refusal(c, "w", "edits layer 30", 3000);
	assert_int_equal(greet(&c->worker2, hello_of(MSG_PEER_WORKER, 0xab, 31), text), 0);
	expect_refusal(c, "w", "edits layer 30", 3000); /* another one */
	assert_int_equal(greet(&c->worker, hello_of(MSG_PEER_CLIENT, 0xab, 31), text), 0);
	expect_refusal(c, "w", "edits layer 30", 3000); /* it only asks */
	assert_int_equal(greet(&c->worker, hello_of(MSG_PEER_WORKER, 0xab, 31), text), 0);
	expect_refusal(c, "", "", 0);
}

/* What only the worker can know. */
static void test_the_fleet_knows_why_a_worker_gave_up(void **state)
{
	struct cluster *c = *state;
	struct msg last = hello_of(MSG_PEER_CLIENT, 0xab, 30);
	char text[512];
	cluster_start(c);
	last.u.hello.refusal = (struct msg_text){ "prompt_layer is 6: it may be 1 to 4", 35 };
	assert_int_equal(greet(&c->worker, last, text), 0);
	expect_refusal(c, "w", "prompt_layer is 6", 0);
	assert_int_equal(greet(&c->worker, hello_of(MSG_PEER_WORKER, 0xcd, 30), text), 0); /* it fixed nothing */
	expect_refusal(c, "", "", 0);
	assert_int_equal(greet(&c->client, last, text), ERR_MISMATCH);
	expect_refusal(c, "", "", 0); /* who may be no worker has nothing to say there */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_layer_that_the_model_has_not_is_refused),
		T(test_who_asks_hears_the_layer_that_would_be_fixed),
		T(test_a_fixed_layer_that_the_model_has_not_can_be_mended),
		T(test_a_calibration_is_looked_at_when_a_worker_asks),
		T(test_whose_calibration_counts),
		T(test_a_corpus_that_is_not_named_is_none),
		T(test_the_fleet_knows_who_was_refused_last_and_why),
		T(test_the_fleet_knows_why_a_worker_gave_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
