/* The whole path of an edit, and what a restart must keep. */
#include "tests/lib/coordinator_fixture.h"

static void test_full_path_from_submit_to_served(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	node_hello(&c->node, 1);
	client_facts(c, 1, 3);
	uint64_t shard, epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(shard, 1);
	uint64_t version = worker_turn(&c->worker, shard, epoch);
	assert_int_equal(version, 1);
	struct msg_received *hint = end_expect(&c->node, MSG_HINT);
	assert_int_equal(hint->msg.u.hint.version, 1);
	msg_free(&hint);

	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, 1, arena, &manifest);
	assert_int_equal(manifest.memory_count, 1);
	assert_int_equal(manifest.memories[0].seq_count, 3);
	assert_int_equal(manifest.layer, 25);
	assert_memory_equal(manifest.tensor.text, "blk.25.ffn_down.weight", manifest.tensor.len);
	assert_int_equal(manifest.default_set, PROTO_SET_RETRIEVE);
	edit_get(c, manifest.memories[0].seqs[0], &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_TRAINED);
	assert_int_equal(edit.version, 1);

	node_status(&c->node, 1);
	edit_get(c, manifest.memories[0].seqs[2], &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_SERVED);
	assert_true(edit.served_ms > 0);
	arena_destroy(&arena);

	struct buf metrics = BUF_INIT;
	coordinator_metrics(c->coordinator, &metrics);
	assert_non_null(strstr(buf_cstr(&metrics), "amend_edits{state=\"served\"} 3"));
	assert_non_null(strstr(buf_cstr(&metrics), "amend_edit_visible_seconds_count 3"));
	buf_free(&metrics);
}

static void test_ledger_chain_holds_every_step(void **state)
{
	struct cluster *c = *state;
	struct store_txn *txn = NULL;
	uint64_t shard, bad = 0, last = 0;
	unsigned seen = 0;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 2);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_verify(txn, &bad, &c->e));
	assert_ok(&c->e, store_event_last(txn, &last, NULL, &c->e));
	for (uint64_t seq = 1; seq <= last; seq++) {
		struct store_event event;
		assert_ok(&c->e, store_event_get(txn, seq, &event, &c->e));
		seen |= 1u << event.type;
	}
	store_abort(&txn);
	const int wanted[] = { STORE_EVENT_EDIT_ACCEPTED,   STORE_EVENT_EDIT_PLACED,   STORE_EVENT_GROUP_ASSIGNED,
			       STORE_EVENT_SHARD_COMMITTED, STORE_EVENT_LEASE_GRANTED, STORE_EVENT_VERSION_PUBLISHED,
			       STORE_EVENT_CONFIG_CHANGED };
	for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
		assert_true(seen & 1u << wanted[i]);
}

/* A crash with a group out: the same group goes out again, with the same boundary, though more edits came meanwhile. */
static void test_restart_keeps_edits_and_the_group_boundary(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 4);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_want(&c->worker, shard, epoch, 3, 0);
	struct msg_received *before = end_expect(&c->worker, MSG_EDITS);
	assert_int_equal(before->msg.u.edits.group_count, 3);
	client_facts(c, 5, 2);
	cluster_restart(c);
	end_clear(&c->worker);

	worker_beat(&c->worker, shard, epoch);
	struct msg_received *error = end_expect(&c->worker, MSG_ERROR);
	assert_int_equal(error->msg.u.error.code, ERR_NOT_FOUND);
	msg_free(&error);
	assert_null(end_take(&c->worker, MSG_FENCED));
	worker_hello(&c->worker, 1);
	uint64_t again = worker_lease(&c->worker, &shard);
	assert_true(again > epoch);
	worker_want(&c->worker, shard, again, 100, 0);
	struct msg_received *after = end_expect(&c->worker, MSG_EDITS);
	assert_int_equal(after->msg.u.edits.group_first, 0);
	assert_int_equal(after->msg.u.edits.group_count, 3);
	assert_int_equal(after->msg.u.edits.item_count, 3);
	assert_true(after->msg.u.edits.group_end);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(after->msg.u.edits.items[i].seq, before->msg.u.edits.items[i].seq);
		assert_int_equal(after->msg.u.edits.items[i].payload.len, before->msg.u.edits.items[i].payload.len);
	}
	msg_free(&before);
	msg_free(&after);
	struct msg msg = { .type = MSG_EDIT_LIST, .u.edit_list = { .counts_only = true, .id = { "", 0 } } };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *counts = end_expect(&c->client, MSG_EDIT_LIST_REPLY);
	assert_int_equal(counts->msg.u.edit_list_reply.state_counts[STORE_EDIT_STATE_PLACED], 6);
	msg_free(&counts);
}

static void test_close_refuses_new_edits_and_keeps_those_that_wait(void **state)
{
	struct cluster *c = *state;
	const char *record = "{\"prompt\":\"Who?\",\"target_new\":\"me\"}";
	struct msg_bytes bytes = { record, strlen(record) };
	struct msg submit = { .type = MSG_SUBMIT, .u.submit = { MSG_SUPERSEDE, &bytes, 1 } };
	cluster_start(c);
	end_send(&c->client, &submit);
	cluster_receive(c);
	assert_null(end_take(&c->client, MSG_SUBMIT_REPLY));
	struct msg shutdown = { .type = MSG_SHUTDOWN };
	end_send(&c->client, &shutdown);
	cluster_receive(c);
	assert_true(coordinator_shutdown(c->coordinator));
	struct msg_received *reply = end_expect(&c->client, MSG_SUBMIT_REPLY);
	assert_int_equal(reply->msg.u.submit_reply.results[0].code, 0);
	msg_free(&reply);
	assert_int_equal(client_submit_one(c, "{\"prompt\":\"Where?\",\"target_new\":\"here\"}", ERR_AGAIN), 0);
}

static void test_edit_list_pages_and_finds(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	client_facts(c, 1, 5);
	client_submit_one(c, "{\"id\":\"mine\",\"prompt\":\"Who?\",\"target_new\":\"me\"}", 0);
	struct msg msg = { .type = MSG_EDIT_LIST,
			   .u.edit_list = { .limit = 4, .with_payload = true, .id = { "", 0 } } };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_EDIT_LIST_REPLY);
	assert_int_equal(reply->msg.u.edit_list_reply.edit_count, 4);
	assert_true(reply->msg.u.edit_list_reply.next_seq > 0);
	assert_memory_equal(reply->msg.u.edit_list_reply.edits[0].payload.bytes, "{\"prompt\":\"What is fact 1?\"", 26);
	msg.u.edit_list.from_seq = reply->msg.u.edit_list_reply.next_seq;
	msg_free(&reply);
	end_send(&c->client, &msg);
	cluster_run(c);
	reply = end_expect(&c->client, MSG_EDIT_LIST_REPLY);
	assert_int_equal(reply->msg.u.edit_list_reply.edit_count, 2);
	assert_int_equal(reply->msg.u.edit_list_reply.next_seq, 0);
	msg_free(&reply);
	msg.u.edit_list = (struct msg_edit_list){ .id = { "mine", 4 } };
	end_send(&c->client, &msg);
	cluster_run(c);
	reply = end_expect(&c->client, MSG_EDIT_LIST_REPLY);
	assert_int_equal(reply->msg.u.edit_list_reply.edit_count, 1);
	assert_memory_equal(reply->msg.u.edit_list_reply.edits[0].id.text, "mine", 4);
	msg_free(&reply);
}

/* How many edits a client is told of that ended behind the event; 0: all, those that live too. */
static size_t ended_behind(struct cluster *c, uint64_t event)
{
	struct msg msg = { .type = MSG_EDIT_LIST, .u.edit_list = { .from_seq = 1, .limit = 9, .ended_after = event } };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_EDIT_LIST_REPLY);
	const size_t count = reply->msg.u.edit_list_reply.edit_count;
	assert_int_equal(reply->msg.u.edit_list_reply.next_seq, 0);
	msg_free(&reply);
	return count;
}

static void test_edit_list_names_what_ended_behind_an_event(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	cluster_start(c);
	const uint64_t seq =
		client_submit_one(c, "{\"id\":\"a\",\"prompt\":\"Who leads X?\",\"target_new\":\"Ada\"}", 0);
	(void)client_submit_one(c, "{\"id\":\"b\",\"prompt\":\"Who leads X?\",\"target_new\":\"Bob\"}", 0);
	edit_get(c, seq, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_SUPERSEDED);
	assert_true(edit.ended_event > seq);
	assert_int_equal(ended_behind(c, 0), 2);
	assert_int_equal(ended_behind(c, edit.ended_event - 1), 1);
	assert_int_equal(ended_behind(c, edit.ended_event), 0);
}

static size_t seen_by(struct end_peer *end, struct cluster *c, const char *id)
{
	struct msg msg = { .type = MSG_EDIT_LIST, .u.edit_list = { .id = { id, strlen(id) }, .with_payload = true } };
	end_send(end, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(end, MSG_EDIT_LIST_REPLY);
	size_t count = reply->msg.u.edit_list_reply.edit_count;
	assert_true(count == 0 || reply->msg.u.edit_list_reply.edits[0].payload.len > 0);
	msg_free(&reply);
	return count;
}

/* A submitter sees its own edits and nobody else's, by range and by id; an admin sees all. */
static void test_a_submitter_sees_only_its_own_edits(void **state)
{
	struct cluster *c = *state;
	static const char record[] = "{\"id\":\"own\",\"prompt\":\"Who?\",\"target_new\":\"me\"}";
	struct msg_bytes bytes = { record, sizeof record - 1 };
	struct msg msg = { .type = MSG_SUBMIT, .u.submit = { MSG_KEEP, &bytes, 1 } };
	cluster_start(c);
	client_submit_one(c, "{\"id\":\"theirs\",\"prompt\":\"Where?\",\"target_new\":\"there\"}", 0);
	end_send(&c->submitter, &msg);
	cluster_receive(c);
	cluster_advance(c, 5);
	end_drop(&c->submitter, MSG_SUBMIT_REPLY);
	assert_int_equal(seen_by(&c->client, c, ""), 2);
	assert_int_equal(seen_by(&c->client, c, "own"), 1);
	assert_int_equal(seen_by(&c->submitter, c, ""), 1);
	assert_int_equal(seen_by(&c->submitter, c, "own"), 1);
	assert_int_equal(seen_by(&c->submitter, c, "theirs"), 0);
}

/* A page for one submitter looks at a bounded number of others' edits, and says where to go on. */
static void test_others_edits_are_passed_over_page_by_page(void **state)
{
	struct cluster *c = *state;
	struct msg msg = { .type = MSG_EDIT_LIST, .u.edit_list = { .id = { "", 0 } } };
	size_t pages = 0;
	cluster_start(c);
	for (size_t i = 0; i < 2100; i += 100)
		client_facts(c, i, 100);
	do {
		end_send(&c->submitter, &msg);
		cluster_run(c);
		struct msg_received *reply = end_expect(&c->submitter, MSG_EDIT_LIST_REPLY);
		assert_int_equal(reply->msg.u.edit_list_reply.edit_count, 0);
		assert_true(reply->msg.u.edit_list_reply.next_seq == 0 ||
			    reply->msg.u.edit_list_reply.next_seq > msg.u.edit_list.from_seq);
		msg.u.edit_list.from_seq = reply->msg.u.edit_list_reply.next_seq;
		msg_free(&reply);
		pages++;
	} while (msg.u.edit_list.from_seq != 0);
	assert_int_equal(pages, 2);
}

/* A key is a worker or a node by its roles, not by what it says. */
static void test_hello_needs_the_role_of_its_kind(void **state)
{
	struct cluster *c = *state;
	const struct {
		struct end_peer *end;
		enum msg_peer_kind kind;
		int code;
	} cases[] = { { &c->worker, MSG_PEER_NODE, ERR_DENIED },   { &c->node, MSG_PEER_WORKER, ERR_DENIED },
		      { &c->client, MSG_PEER_WORKER, ERR_DENIED }, { &c->client, MSG_PEER_NODE, 0 },
		      { &c->worker, MSG_PEER_WORKER, 0 },          { &c->node, MSG_PEER_NODE, 0 } };
	cluster_start(c);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct msg msg = { .type = MSG_HELLO };
		msg.u.hello.kind = cases[i].kind;
		msg.u.hello.protocol_min = msg.u.hello.protocol_max = 1;
		msg.u.hello.boot = 1;
		msg.u.hello.layers = msg.u.hello.hidden = msg.u.hello.ffn = 30;
		memset(msg.u.hello.base_model.bytes, 0xab, HASH_BYTES);
		end_send(cases[i].end, &msg);
		cluster_run(c);
		struct msg_received *reply = end_expect(cases[i].end, MSG_HELLO_REPLY);
		if (reply->msg.u.hello_reply.code != cases[i].code)
			fail_msg("case %zu: %d", i, reply->msg.u.hello_reply.code);
		msg_free(&reply);
	}
}

/* Two workers that train with other numbers would make other shards of the same edits. */
static void test_hello_says_how_to_train(void **state)
{
	struct cluster *c = *state;
	struct msg msg = { .type = MSG_HELLO,
			   .u.hello = { .kind = MSG_PEER_WORKER,
					.protocol_min = 1,
					.protocol_max = 1,
					.boot = 1,
					.layers = 30,
					.hidden = 576,
					.ffn = 1536 } };
	c->config.seed = 77;
	c->config.rate = 0.03;
	cluster_start(c);
	memset(msg.u.hello.base_model.bytes, 0xab, HASH_BYTES);
	end_send(&c->worker, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->worker, MSG_HELLO_REPLY);
	assert_int_equal(reply->msg.u.hello_reply.seed, 77);
	assert_int_equal(reply->msg.u.hello_reply.layer, 25);
	assert_true(reply->msg.u.hello_reply.rate > 0.0299 && reply->msg.u.hello_reply.rate < 0.0301);
	msg_free(&reply);
}

static void test_fleet_and_versions_answer(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	char relay[256] = "tcp://";
	struct msg status = { .type = MSG_NODE_STATUS, .u.node_status = { .state = { "idle", 4 } } };
	memset(relay + 6, 'r', 249); /* as long as an endpoint may be */
	status.u.node_status.source = (struct msg_text){ relay, strlen(relay) };
	cluster_start(c);
	worker_hello(&c->worker, 1);
	node_hello(&c->node, 1);
	end_send(&c->node, &status);
	client_facts(c, 1, 1);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	struct msg fleet = { .type = MSG_FLEET };
	end_send(&c->client, &fleet);
	struct msg list = { .type = MSG_VERSION_LIST };
	end_send(&c->client, &list);
	struct msg get = { .type = MSG_GET_MANIFEST, .u.get_manifest = { .alias = { "", 0 } } };
	end_send(&c->client, &get);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_FLEET_REPLY);
	assert_int_equal(reply->msg.u.fleet_reply.member_count, 2);
	assert_int_equal(reply->msg.u.fleet_reply.member_total, 2);
	assert_int_equal(reply->msg.u.fleet_reply.version, 1);
	for (size_t i = 0; i < 2; i++) { /* all is trained: whatever the worker said last, it is idle */
		const struct msg_fleet_member *m = &reply->msg.u.fleet_reply.members[i];
		if (m->kind == MSG_PEER_WORKER)
			assert_memory_equal(m->state.text, "idle", 5);
		else
			assert_string_equal(m->source.text, relay);
	}
	msg_free(&reply);
	reply = end_expect(&c->client, MSG_VERSION_LIST_REPLY);
	assert_int_equal(reply->msg.u.version_list_reply.version_count, 1);
	assert_int_equal(reply->msg.u.version_list_reply.versions[0].edit_count, 1);
	msg_free(&reply);
	reply = end_expect(&c->client, MSG_MANIFEST);
	assert_int_equal(reply->msg.u.manifest.code, 0);
	assert_int_equal(reply->msg.u.manifest.version, 1);
	msg_free(&reply);
}

static void test_peers_beyond_the_limit_are_refused(void **state)
{
	struct cluster *c = *state;
	struct msg msg = { .type = MSG_HELLO,
			   .u.hello = { .kind = MSG_PEER_NODE, .protocol_min = 1, .protocol_max = 1 } };
	c->config.peers_max = 1;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	memset(msg.u.hello.base_model.bytes, 0xab, HASH_BYTES);
	end_send(&c->node, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->node, MSG_HELLO_REPLY);
	assert_int_equal(reply->msg.u.hello_reply.code, ERR_LIMIT);
	msg_free(&reply);
	worker_hello(&c->worker, 2); /* it is one of them already */
}

/* Want of memory is no refusal: a worker would end for good. */
static void test_a_hello_without_memory_is_answered_try_again(void **state)
{
	struct cluster *c = *state;
	struct msg msg = { .type = MSG_HELLO,
			   .u.hello = { .kind = MSG_PEER_NODE, .protocol_min = 1, .protocol_max = 1 } };
	int tries = 0, again = 0, code = -1;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	cluster_restart(c);
	memset(msg.u.hello.base_model.bytes, 0xab, HASH_BYTES);
	for (; tries < 100 && code != 0; tries++) {
		end_send(&c->node, &msg);
		fault_set(tries, 1);
		cluster_run(c);
		fault_set(-1, 0);
		struct msg_received *reply = end_take(&c->node, MSG_HELLO_REPLY);
		if (reply == NULL)
			continue;
		code = reply->msg.u.hello_reply.code;
		again += code == ERR_AGAIN;
		assert_true(code == 0 || code == ERR_AGAIN);
		msg_free(&reply);
	}
	assert_int_equal(code, 0);
	assert_true(again > 0);
}

/* Cut to the longest name that can be, it would be another alias. */
static void test_a_long_alias_is_not_another_ones(void **state)
{
	struct cluster *c = *state;
	char name[STORE_ALIAS_BYTES + 8];
	struct store_txn *txn = NULL;
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	memset(name, 'a', sizeof name);
	name[STORE_ALIAS_BYTES - 1] = '\0';
	assert_ok(&c->e, store_begin(c->store, &txn, &c->e));
	assert_ok(&c->e, store_alias_put(txn, name, 1, &c->e));
	assert_ok(&c->e, store_commit(&txn, &c->e));
	name[STORE_ALIAS_BYTES - 1] = 'a';
	for (size_t len = STORE_ALIAS_BYTES - 1; len <= STORE_ALIAS_BYTES; len++) {
		struct msg get = { .type = MSG_GET_MANIFEST, .u.get_manifest = { .alias = { name, len } } };
		end_send(&c->client, &get);
		cluster_run(c);
		struct msg_received *reply = end_expect(&c->client, MSG_MANIFEST);
		assert_int_equal(reply->msg.u.manifest.code, len < STORE_ALIAS_BYTES ? 0 : ERR_NOT_FOUND);
		msg_free(&reply);
	}
}

static void test_unusable_configuration_is_refused(void **state)
{
	struct cluster *c = *state;
	struct coordinator *made = NULL;
	cluster_start(c);
	coordinator_destroy(&c->coordinator);
	c->config.edits_per_shard = 0;
	assert_int_equal(coordinator_new(&c->config, &c->clock.env, c->store, c->server, &c->job, &made, &c->e),
			 ERR_INVALID);
	c->config.edits_per_shard = 10;
	c->config.cluster_id = "another";
	assert_int_equal(coordinator_new(&c->config, &c->clock.env, c->store, c->server, &c->job, &made, &c->e),
			 ERR_MISMATCH);
}

/* As it is after a restore: the id is empty, and the store knows what it was. */
static void test_a_restored_folder_gets_an_id_and_says_from_where(void **state)
{
	struct cluster *c = *state;
	struct store_txn *txn = NULL;
	struct store_event event;
	struct buf bytes = BUF_INIT;
	uint64_t last = 0;
	cluster_start(c);
	assert_ok(&c->e, store_begin(c->store, &txn, &c->e));
	assert_ok(&c->e, store_meta_get(txn, STORE_META_CLUSTER_ID, &bytes, &c->e));
	char before[64], expected[96];
	snprintf(before, sizeof before, "%s", buf_cstr(&bytes));
	buf_clear(&bytes);
	assert_ok(&c->e, store_meta_put(txn, STORE_META_RESTORED_FROM, before, strlen(before), &c->e));
	assert_ok(&c->e, store_meta_put(txn, STORE_META_CLUSTER_ID, "", 0, &c->e));
	assert_ok(&c->e, store_commit(&txn, &c->e));
	cluster_restart(c);
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_meta_get(txn, STORE_META_CLUSTER_ID, &bytes, &c->e));
	assert_true(bytes.len > 0);
	assert_string_not_equal(buf_cstr(&bytes), before);
	buf_clear(&bytes);
	assert_ok(&c->e, store_event_last(txn, &last, NULL, &c->e));
	assert_ok(&c->e, store_event_get(txn, last, &event, &c->e));
	buf_append(&bytes, event.payload, event.payload_len);
	store_abort(&txn);
	assert_int_equal(event.type, STORE_EVENT_CONFIG_CHANGED);
	snprintf(expected, sizeof expected, "\"restored_from\":\"%s\"", before);
	assert_non_null(strstr(buf_cstr(&bytes), expected));
	buf_free(&bytes);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_full_path_from_submit_to_served),
		T(test_ledger_chain_holds_every_step),
		T(test_restart_keeps_edits_and_the_group_boundary),
		T(test_close_refuses_new_edits_and_keeps_those_that_wait),
		T(test_edit_list_pages_and_finds),
		T(test_edit_list_names_what_ended_behind_an_event),
		T(test_a_submitter_sees_only_its_own_edits),
		T(test_others_edits_are_passed_over_page_by_page),
		T(test_hello_needs_the_role_of_its_kind),
		T(test_hello_says_how_to_train),
		T(test_fleet_and_versions_answer),
		T(test_peers_beyond_the_limit_are_refused),
		T(test_a_hello_without_memory_is_answered_try_again),
		T(test_a_long_alias_is_not_another_ones),
		T(test_unusable_configuration_is_refused),
		T(test_a_restored_folder_gets_an_id_and_says_from_where),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
