/* Who holds what; fencing; and groups whose workers die. */
#include "tests/lib/coordinator_fixture.h"

static void test_silent_worker_loses_its_lease_to_another(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, shard2, seqs[1];
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_want(&c->worker, shard, epoch, 10, 0);
	struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
	seqs[0] = edits->msg.u.edits.items[0].seq;
	msg_free(&edits);
	cluster_advance(c, 4000);
	worker_beat(&c->worker, shard, epoch);
	cluster_advance(c, 4000);
	worker_hello(&c->worker2, 1);
	assert_null(end_take(&c->worker2, MSG_LEASE));
	cluster_advance(c, 4000); /* 8 s since the last heartbeat that listed it */
	uint64_t epoch2 = worker_lease(&c->worker2, &shard2);
	assert_int_equal(shard2, shard);
	assert_int_equal(epoch2, epoch + 1);
	/* The first comes back with its result. */
	end_clear(&c->worker);
	struct commit commit = { .shard = shard, .epoch = epoch, .version = 1, .count = 1, .seqs = seqs };
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), ERR_FENCED);
	struct msg_received *fenced = end_expect(&c->worker, MSG_FENCED);
	assert_int_equal(fenced->msg.u.fenced.shard, shard);
	msg_free(&fenced);
	assert_int_equal(worker_turn(&c->worker2, shard, epoch2), 1);
}

static void test_heartbeat_with_an_old_epoch_is_fenced(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_beat(&c->worker, shard, epoch);
	assert_null(end_take(&c->worker, MSG_FENCED));
	end_drop(&c->worker, MSG_HEARTBEAT_REPLY);
	worker_beat(&c->worker, shard, epoch + 7);
	struct msg_received *fenced = end_expect(&c->worker, MSG_FENCED);
	assert_int_equal(fenced->msg.u.fenced.epoch, epoch + 7);
	msg_free(&fenced);
}

static void test_second_process_with_a_key_fences_the_first(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	struct end_peer second;
	end_connect(c, &second, "worker-again", 1);
	struct msg msg = { .type = MSG_HELLO };
	msg.u.hello = (struct msg_hello){ .kind = MSG_PEER_WORKER,
					  .protocol_min = 1,
					  .protocol_max = 1,
					  .boot = 2,
					  .layers = 30,
					  .hidden = 576,
					  .ffn = 1536,
					  .name = { "", 0 },
					  .software = { "", 0 },
					  .backend = { "", 0 },
					  .endpoint = { "", 0 } };
	memset(msg.u.hello.base_model.bytes, 0xab, HASH_BYTES);
	end_send(&second, &msg);
	cluster_run(c);
	struct msg_received *received = NULL;
	uint64_t granted = 0;
	while (second.transport->ops->recv(second.transport, &received, NULL) == 0) {
		if (received->msg.type == MSG_LEASE)
			granted = received->msg.u.lease.epoch;
		msg_free(&received);
	}
	assert_int_equal(granted, epoch + 1);
	end_drop(&c->worker, MSG_FENCED);
	/* The first says Hello again: it stays out. */
	msg.u.hello.boot = 1;
	end_send(&c->worker, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->worker, MSG_HELLO_REPLY);
	assert_int_equal(reply->msg.u.hello_reply.code, ERR_DENIED);
	msg_free(&reply);
	second.transport->ops->destroy(second.transport);
}

static void test_another_base_model_is_refused_with_both_digests(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	struct msg msg = { .type = MSG_HELLO };
	msg.u.hello = (struct msg_hello){ .kind = MSG_PEER_WORKER,
					  .protocol_min = 1,
					  .protocol_max = 1,
					  .boot = 2,
					  .layers = 30,
					  .hidden = 576,
					  .ffn = 1536,
					  .name = { "", 0 },
					  .software = { "", 0 },
					  .backend = { "", 0 },
					  .endpoint = { "", 0 } };
	memset(msg.u.hello.base_model.bytes, 0xcd, HASH_BYTES);
	end_send(&c->worker2, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->worker2, MSG_HELLO_REPLY);
	assert_int_equal(reply->msg.u.hello_reply.code, ERR_MISMATCH);
	assert_non_null(strstr(reply->msg.u.hello_reply.text.text, "abababababab"));
	assert_non_null(strstr(reply->msg.u.hello_reply.text.text, "cdcdcdcdcdcd"));
	msg_free(&reply);
	msg.u.hello.protocol_min = msg.u.hello.protocol_max = 9;
	end_send(&c->worker2, &msg);
	cluster_run(c);
	reply = end_expect(&c->worker2, MSG_HELLO_REPLY);
	assert_int_equal(reply->msg.u.hello_reply.code, ERR_UNSUPPORTED);
	msg_free(&reply);
}

static void test_reconnected_worker_gets_its_lease_again(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	uint64_t epoch = worker_lease(&c->worker, NULL);
	worker_hello(&c->worker, 1);
	assert_int_equal(worker_lease(&c->worker, NULL), epoch);
}

/* Loses the lease with the group in hand, as a crash does. */
static uint64_t crash(struct cluster *c, uint64_t shard, uint64_t epoch, uint64_t boot, size_t *group)
{
	worker_want(&c->worker, shard, epoch, 100, 0);
	struct msg_received *edits = end_take(&c->worker, MSG_EDITS), *more;
	assert_non_null(edits);
	while (!edits->msg.u.edits.group_end && (more = end_take(&c->worker, MSG_EDITS)) != NULL) {
		msg_free(&edits);
		edits = more;
	}
	*group = edits->msg.u.edits.group_count;
	msg_free(&edits);
	worker_hello(&c->worker, boot);
	return worker_lease(&c->worker, NULL);
}

static void test_poisonous_edit_is_singled_out_and_dead_lettered(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	uint64_t shard, boot = 1;
	size_t group;
	cluster_start(c);
	worker_hello(&c->worker, boot);
	uint64_t poison =
		client_submit_one(c, "{\"prompt\":\"Poison?\",\"subject\":\"poison\",\"target_new\":\"yes\"}", 0);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	uint64_t good = client_submit_one(c, "{\"prompt\":\"Good?\",\"subject\":\"good\",\"target_new\":\"yes\"}", 0);
	for (int i = 0; i < 3; i++) {
		epoch = crash(c, shard, epoch, ++boot, &group);
		assert_int_equal(group, 2);
	}
	for (int i = 0; i < 3; i++) {
		edit_get(c, poison, &edit);
		assert_int_equal(edit.state, STORE_EDIT_STATE_PLACED);
		epoch = crash(c, shard, epoch, ++boot, &group);
		assert_int_equal(group, 1);
	}
	edit_get(c, poison, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_DEAD);
	assert_true(edit.reason[0] != 0);
	worker_turn(&c->worker, shard, epoch); /* the stream goes on */
	edit_get(c, good, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_TRAINED);
}

/* The coordinator's own restarts blame nobody. */
static void test_restarts_do_not_count_against_edits(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	uint64_t seq = client_submit_one(c, "{\"prompt\":\"Good?\",\"target_new\":\"yes\"}", 0);
	for (int i = 0; i < 5; i++) {
		uint64_t epoch = worker_lease(&c->worker, &shard);
		worker_want(&c->worker, shard, epoch, 100, 0);
		end_drop(&c->worker, MSG_EDITS);
		cluster_restart(c);
		worker_hello(&c->worker, 1);
	}
	edit_get(c, seq, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_PLACED);
	assert_int_equal(edit.tries, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_silent_worker_loses_its_lease_to_another),
		T(test_heartbeat_with_an_old_epoch_is_fenced),
		T(test_second_process_with_a_key_fences_the_first),
		T(test_another_base_model_is_refused_with_both_digests),
		T(test_reconnected_worker_gets_its_lease_again),
		T(test_poisonous_edit_is_singled_out_and_dead_lettered),
		T(test_restarts_do_not_count_against_edits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
