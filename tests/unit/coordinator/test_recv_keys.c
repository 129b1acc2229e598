/* The list of allowed keys, changed and read through a coordinator that runs. */
#include "tests/lib/coordinator_fixture.h"

#include "base/log.h"

#include <unistd.h>

static int (*cluster_allow_set)(void *, struct proto_allow **, struct err *);
static bool allow_set_fails;

static int allow_set(void *context, struct proto_allow **list, struct err *e)
{
	return allow_set_fails ? err_set(e, ERR_NOMEM, "out of memory") : cluster_allow_set(context, list, e);
}

static int setup_keys(void **state)
{
	log_level_set(LOG_OFF);
	if (cluster_setup(state) != 0)
		return -1;
	struct cluster *c = *state;
	cluster_keys(c);
	cluster_allow_set = c->config.allow_set;
	c->config.allow_set = allow_set;
	cluster_restart(c);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	return 0;
}

static uint64_t event_last(struct cluster *c)
{
	struct store_txn *txn = NULL;
	uint64_t seq = 0;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_last(txn, &seq, NULL, &c->e));
	store_abort(&txn);
	return seq;
}

/* That event is a KeyChanged by `actor`, and its payload holds `text`. */
static void event_is(struct cluster *c, uint64_t seq, const uint8_t *actor, const char *text)
{
	struct store_txn *txn = NULL;
	struct store_event event;
	char payload[8192];
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_get(txn, seq, &event, &c->e));
	assert_int_equal(event.type, STORE_EVENT_KEY_CHANGED);
	assert_memory_equal(event.actor, actor, STORE_KEY_BYTES);
	assert_true(event.payload_len < sizeof payload);
	memcpy(payload, event.payload, event.payload_len);
	payload[event.payload_len] = '\0';
	if (strstr(payload, text) == NULL)
		fail_msg("%s\nholds no\n%s", payload, text);
	store_abort(&txn);
}

struct answer {
	int code;
	bool already, lost;
	char text[600];
};

static struct answer change_of(struct cluster *c, enum msg_key_action action, uint8_t byte, unsigned roles,
			       const char *name, uint8_t replaces)
{
	struct msg msg = { .type = MSG_KEY_CHANGE };
	struct answer answer = { .lost = true };
	msg.u.key_change = (struct msg_key_change){
		.action = action,
		.key = { .roles = roles, .name = { name, strlen(name) } },
		.reason = { "because", 7 },
	};
	memset(msg.u.key_change.key.key, byte, PROTO_KEY_BYTES);
	memset(msg.u.key_change.replaces, replaces, PROTO_KEY_BYTES);
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_take(&c->client, MSG_KEY_CHANGE_REPLY);
	if (reply != NULL) {
		const struct msg_key_change_reply *r = &reply->msg.u.key_change_reply;
		answer = (struct answer){ .code = r->code, .already = r->already };
		snprintf(answer.text, sizeof answer.text, "%.*s", (int)r->text.len, r->text.text);
	}
	msg_free(&reply);
	return answer;
}

static struct answer change(struct cluster *c, enum msg_key_action action, uint8_t byte, unsigned roles,
			    const char *name)
{
	return change_of(c, action, byte, roles, name, 0);
}

static void expect(struct answer answer, int code, bool already)
{
	assert_false(answer.lost);
	if (answer.code != code)
		fail_msg("%d: %s", answer.code, answer.text);
	assert_int_equal(answer.already, already);
}

static size_t list(struct cluster *c, uint32_t from, struct msg_received **out)
{
	struct msg msg = { .type = MSG_KEY_LIST, .u.key_list.from = from };
	end_send(&c->client, &msg);
	cluster_run(c);
	*out = end_expect(&c->client, MSG_KEY_LIST_REPLY);
	return (*out)->msg.u.key_list_reply.key_count;
}

static void the_list_is_told(void **state)
{
	struct cluster *c = *state;
	struct msg_received *got = NULL;
	assert_int_equal(list(c, 0, &got), 6);
	const struct msg_key *keys = got->msg.u.key_list_reply.keys;
	assert_int_equal(keys[0].key[0], 1);
	assert_int_equal(keys[0].roles, PROTO_ROLE_WORKER);
	assert_string_equal(keys[3].name.text, "client");
	msg_free(&got);
	assert_int_equal(list(c, 3, &got), 3);
	assert_int_equal(got->msg.u.key_list_reply.total, 6);
	assert_int_equal(got->msg.u.key_list_reply.keys[0].key[0], 4);
	msg_free(&got);
	event_is(c, event_last(c), c->config.key, "\"action\":\"allow\"");
}

/* What a heartbeat of the node says of the list of readers. */
static uint64_t readers_heard(struct cluster *c)
{
	struct msg beat = { .type = MSG_HEARTBEAT };
	end_send(&c->node, &beat);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->node, MSG_HEARTBEAT_REPLY);
	uint64_t readers = reply->msg.u.heartbeat_reply.readers;
	msg_free(&reply);
	return readers;
}

static size_t readers_list(struct cluster *c, uint32_t from, uint8_t first_bytes[8])
{
	struct msg msg = { .type = MSG_READER_LIST, .u.key_list.from = from };
	end_send(&c->node, &msg);
	cluster_run(c);
	struct msg_received *got = end_expect(&c->node, MSG_READER_LIST_REPLY);
	const struct msg_key_list_reply *reply = &got->msg.u.key_list_reply;
	size_t count = reply->key_count;
	assert_true(count <= 8);
	assert_int_equal(reply->total, count + from);
	for (size_t i = 0; i < count; i++) {
		first_bytes[i] = reply->keys[i].key[0];
		assert_int_equal(reply->keys[i].roles, PROTO_ROLE_READER);
		assert_int_equal(reply->keys[i].name.len, 0);
	}
	msg_free(&got);
	return count;
}

/* To a relay: the keys that may read, nothing else of them, and that they have changed. */
static void readers_are_told_to_nodes(void **state)
{
	struct cluster *c = *state;
	uint8_t keys[8];
	node_hello(&c->node, 1);
	const uint64_t before = readers_heard(c);
	assert_true(before != 0);
	const size_t count = readers_list(c, 0, keys);
	assert_true(count >= 2);
	assert_true(memchr(keys, c->node.key[0], count) != NULL);
	assert_true(memchr(keys, c->worker.key[0], count) == NULL);
	assert_true(memchr(keys, c->submitter.key[0], count) == NULL);
	assert_int_equal(readers_list(c, 1, keys), count - 1);
	expect(change(c, MSG_KEY_ALLOW, 9, PROTO_ROLE_WORKER, "other"), 0, false);
	assert_int_equal(readers_heard(c), before);
	expect(change(c, MSG_KEY_ALLOW, 10, PROTO_ROLE_READER | PROTO_ROLE_WORKER, "late"), 0, false);
	assert_true(readers_heard(c) != before);
	assert_int_equal(readers_list(c, 0, keys), count + 1);
	expect(change(c, MSG_KEY_REVOKE, 10, 0, ""), 0, false);
	assert_int_equal(readers_heard(c), before);
	assert_int_equal(readers_list(c, 0, keys), count);
	struct msg ask = { .type = MSG_READER_LIST };
	end_send(&c->worker, &ask); /* its roles do not allow it */
	cluster_run(c);
	end_drop(&c->worker, MSG_ERROR);
}

static void a_key_is_allowed_and_comes_in(void **state)
{
	struct cluster *c = *state;
	struct end_peer late = { 0 };
	const uint64_t before = event_last(c);
	struct msg msg = { .type = MSG_VERSION_LIST };
	end_connect(c, &late, "late", 9);
	end_send(&late, &msg);
	cluster_run(c);
	expect(change(c, MSG_KEY_ALLOW, 9, PROTO_ROLE_READER, "late"), 0, false);
	event_is(c, before + 1, c->client.key, "\"roles\":\"reader\",\"name\":\"late\"}],\"reason\":\"because\"");
	expect(change(c, MSG_KEY_ALLOW, 9, PROTO_ROLE_READER, "late"), 0, true);
	assert_int_equal(event_last(c), before + 1);
	assert_int_equal(c->server->counts.unauthenticated, 1);
	end_send(&late, &msg);
	cluster_run(c);
	assert_int_equal(c->server->counts.unauthenticated, 1);
	expect(change(c, MSG_KEY_ALLOW, 9, PROTO_ROLE_AUDITOR, "late"), 0, false);
	event_is(c, before + 2, c->client.key, "\"action\":\"change\"");
	late.transport->ops->destroy(late.transport);
}

/* Its shard is another's at once, and nothing that it says counts. */
static void a_revoked_worker_is_out_at_once(void **state)
{
	struct cluster *c = *state;
	uint64_t shard = 0, epoch;
	client_facts(c, 1, 2);
	worker_hello(&c->worker, 1);
	epoch = worker_lease(&c->worker, &shard);
	assert_true(epoch > 0);
	const uint64_t before = event_last(c);
	expect(change(c, MSG_KEY_REVOKE, 1, 0, ""), 0, false);
	const uint64_t dropped = c->server->counts.unauthenticated;
	end_clear(&c->worker);
	worker_hello(&c->worker2, 2);
	struct msg_received *lease = end_expect(&c->worker2, MSG_LEASE);
	assert_int_equal(lease->msg.u.lease.shard, shard);
	assert_true(lease->msg.u.lease.epoch > epoch);
	msg_free(&lease);
	worker_beat(&c->worker, shard, epoch);
	assert_true(c->server->counts.unauthenticated > dropped);
	assert_int_equal(c->worker.count, 0);
	event_is(c, before + 1, c->client.key, "\"action\":\"revoke\"");
	cluster_restart(c);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	expect(change(c, MSG_KEY_REVOKE, 1, 0, ""), 0, true);
}

static bool lease_ended_for(struct cluster *c, uint64_t seq, const char *why)
{
	struct store_txn *txn = NULL;
	struct store_event event;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_get(txn, seq, &event, &c->e));
	bool is = event.type == STORE_EVENT_LEASE_EXPIRED &&
		  memmem(event.payload, event.payload_len, why, strlen(why)) != NULL;
	store_abort(&txn);
	return is;
}

/* Nor do the edits that a worker has in hand count as those of a lost one, whatever became of its key. */
static void what_a_barred_worker_trained_is_not_to_blame(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	uint64_t shard = 0;
	client_facts(c, 1, 2);
	for (uint64_t round = 1; round <= 2; round++) {
		struct end_peer *worker = round == 1 ? &c->worker : &c->worker2;
		worker_hello(worker, round);
		uint64_t epoch = worker_lease(worker, &shard);
		worker_want(worker, shard, epoch, 100, 0);
		end_drop(worker, MSG_EDITS);
		const uint64_t before = event_last(c);
		if (round == 1)
			expect(change(c, MSG_KEY_REVOKE, 1, 0, ""), 0, false);
		else
			expect(change(c, MSG_KEY_ALLOW, 2, PROTO_ROLE_READER, "worker2"), 0, false);
		assert_true(lease_ended_for(c, before + 2, "key was revoked, or is no worker's"));
	}
	struct store_txn *txn = NULL;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_edit_next(txn, 1, UINT32_MAX, &edit, &c->e));
	store_abort(&txn);
	assert_int_equal(edit.losses, 0);
	/* a worker again, it may go on */
	expect(change(c, MSG_KEY_ALLOW, 2, PROTO_ROLE_WORKER, "worker2"), 0, false);
	end_clear(&c->worker2);
	worker_hello(&c->worker2, 3);
	assert_true(worker_lease(&c->worker2, &shard) > 0);
}

static void what_is_refused(void **state)
{
	struct cluster *c = *state;
	const uint64_t before = event_last(c);
	expect(change(c, MSG_KEY_REVOKE, 77, 0, ""), ERR_NOT_FOUND, false);
	expect(change(c, MSG_KEY_REVOKE, 4, 0, ""), ERR_CONFLICT, false);
	expect(change(c, MSG_KEY_ALLOW, 4, PROTO_ROLE_READER, "client"), ERR_CONFLICT, false);
	expect(change(c, MSG_KEY_ALLOW, 9, 0, "late"), ERR_INVALID, false);
	expect(change(c, MSG_KEY_ALLOW, 9, PROTO_ROLE_READER, "two words"), ERR_INVALID, false);
	assert_int_equal(event_last(c), before);
}

/* What was changed by hand is recorded when it is read, as the coordinator's own doing. */
static void a_file_changed_by_hand_is_recorded(void **state)
{
	struct cluster *c = *state;
	uint8_t key[PROTO_KEY_BYTES];
	const uint64_t before = event_last(c);
	memset(key, 5, sizeof key);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	assert_int_equal(event_last(c), before);
	assert_ok(&c->e, proto_allow_set(c->allow_file, key, PROTO_ROLE_AUDITOR, "submitter", &c->e));
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	event_is(c, before + 1, c->config.key, "\"action\":\"change\",\"key\":\"0505");
	test_file_write(c->allow_file, "no line of a list\n");
	assert_int_equal(coordinator_keys_reload(c->coordinator, &c->e), ERR_INVALID);
	assert_int_equal(event_last(c), before + 1);
	assert_int_equal(proto_allow_roles(c->allow, key, NULL), PROTO_ROLE_AUDITOR);
}

/* The file is written, the ledger is not: a coordinator that comes back records it. */
static void a_crash_between_file_and_ledger(void **state)
{
	struct cluster *c = *state;
	const uint64_t before = event_last(c);
	assert_ok(&c->e, fault_arm("coordinator.keys.before_commit=errno@1", &c->e));
	assert_true(change(c, MSG_KEY_REVOKE, 5, 0, "").lost);
	assert_true(coordinator_failed(c->coordinator, NULL));
	fault_disarm_all();
	cluster_restart(c);
	assert_int_equal(event_last(c), before);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	event_is(c, before + 1, c->config.key, "\"action\":\"revoke\",\"key\":\"0505");
}

/* The list was lost and is made anew by a start, which finds the key's file: the ledger knows better. */
static void a_revoked_key_stays_so_when_the_list_is_lost(void **state)
{
	struct cluster *c = *state;
	uint8_t key[PROTO_KEY_BYTES];
	struct buf text = BUF_INIT;
	struct proto_allow *file = NULL;
	memset(key, 5, sizeof key);
	assert_ok(&c->e, file_read(c->allow_file, 1 << 16, &text, &c->e));
	expect(change(c, MSG_KEY_REVOKE, 5, 0, ""), 0, false);
	assert_ok(&c->e, file_write_atomic(c->allow_file, text.data, text.len, 0600, &c->e));
	buf_free(&text);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	assert_int_equal(proto_allow_roles(c->allow, key, NULL), 0);
	assert_ok(&c->e, proto_allow_set(c->allow_file, key, PROTO_ROLE_READER, "again", &c->e));
	cluster_restart(c);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	assert_int_equal(proto_allow_roles(c->allow, key, NULL), 0);
	assert_ok(&c->e, proto_allow_load(c->allow_file, &file, &c->e));
	assert_int_equal(proto_allow_roles(file, key, NULL), 0);
	proto_allow_destroy(&file);
	expect(change(c, MSG_KEY_ALLOW, 5, PROTO_ROLE_READER, "again"), 0, false); /* an administrator may */
	assert_int_equal(proto_allow_roles(c->allow, key, NULL), PROTO_ROLE_READER);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	assert_int_equal(proto_allow_roles(c->allow, key, NULL), PROTO_ROLE_READER);
}

/* However many there are, the file is written once. */
static void keys_that_stay_revoked_are_written_at_once(void **state)
{
	struct cluster *c = *state;
	struct buf text = BUF_INIT;
	struct proto_allow *file = NULL;
	uint8_t keys[3][PROTO_KEY_BYTES];
	for (uint8_t i = 0; i < 3; i++) {
		memset(keys[i], 0x20 + i, PROTO_KEY_BYTES);
		expect(change(c, MSG_KEY_ALLOW, (uint8_t)(0x20 + i), PROTO_ROLE_READER, "reader"), 0, false);
	}
	assert_ok(&c->e, file_read(c->allow_file, 1 << 16, &text, &c->e));
	for (uint8_t i = 0; i < 3; i++)
		expect(change(c, MSG_KEY_REVOKE, (uint8_t)(0x20 + i), 0, ""), 0, false);
	assert_ok(&c->e, file_write_atomic(c->allow_file, text.data, text.len, 0600, &c->e));
	buf_free(&text);
	assert_ok(&c->e, fault_arm("never=errno@1", &c->e)); /* so that points are counted */
	const uint64_t before = fault_hits("base.file.before_rename");
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	const uint64_t after = fault_hits("base.file.before_rename");
	fault_disarm_all();
	assert_int_equal(after - before, 1);
	assert_ok(&c->e, proto_allow_load(c->allow_file, &file, &c->e));
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(proto_allow_roles(c->allow, keys[i], NULL), 0);
		assert_int_equal(proto_allow_roles(file, keys[i], NULL), 0);
	}
	proto_allow_destroy(&file);
}

/* Neither does a change of one key drop all others, nor a file that was cut short. */
static void a_list_that_is_gone_locks_nobody_out(void **state)
{
	struct cluster *c = *state;
	struct proto_allow *file = NULL;
	uint8_t key[PROTO_KEY_BYTES];
	memset(key, 5, sizeof key);
	const unsigned roles = proto_allow_roles(c->allow, key, NULL);
	assert_int_not_equal(roles, 0);
	for (int i = 0; i < 2; i++) {
		const uint64_t before = event_last(c);
		if (i == 0)
			assert_int_equal(unlink(c->allow_file), 0);
		else
			test_file_write(c->allow_file, "# nothing but this\n");
		assert_int_equal(coordinator_keys_reload(c->coordinator, &c->e), i == 0 ? ERR_NOT_FOUND : ERR_INVALID);
		assert_int_equal(event_last(c), before);
		assert_int_equal(proto_allow_roles(c->allow, key, NULL), roles);
		expect(change(c, MSG_KEY_ALLOW, (uint8_t)(9 + i), PROTO_ROLE_READER, "new"), 0, false);
		event_is(c, before + 1, c->client.key,
			 i == 0 ? "\"changes\":[{\"action\":\"allow\",\"key\":\"0909"
				: "\"changes\":[{\"action\":\"allow\",\"key\":\"0a0a");
		assert_int_equal(proto_allow_roles(c->allow, key, NULL), roles);
		assert_ok(&c->e, proto_allow_load(c->allow_file, &file, &c->e));
		assert_int_equal(proto_allow_roles(file, key, NULL), roles);
		assert_int_equal(proto_allow_roles(file, c->client.key, NULL),
				 proto_allow_roles(c->allow, c->client.key, NULL));
		proto_allow_destroy(&file);
	}
}

/* A full disk keeps no list out of force, and what it kept out of the ledger comes later. */
static void a_full_disk_delays_the_record_alone(void **state)
{
	struct cluster *c = *state;
	uint8_t key[PROTO_KEY_BYTES];
	uint64_t before = event_last(c);
	memset(key, 5, sizeof key);
	assert_ok(&c->e, proto_allow_revoke(c->allow_file, key, 1, &c->e));
	test_file_size_limit(4096);
	int rc = coordinator_keys_reload(c->coordinator, &c->e);
	cluster_advance(c, 20000);
	const uint64_t during = event_last(c);
	test_file_size_limit(UINT64_MAX);
	assert_ok(&c->e, rc);
	assert_int_equal(proto_allow_roles(c->allow, key, NULL), 0);
	assert_int_equal(during, before);
	cluster_advance(c, 20000);
	event_is(c, before + 1, c->config.key, "\"action\":\"revoke\",\"key\":\"0505");
	cluster_advance(c, 20000);
	assert_int_equal(event_last(c), before + 1);
	before++;
	/* an administrator hears of it, and is named all the same */
	test_file_size_limit(4096);
	struct answer answer = change(c, MSG_KEY_REVOKE, 3, 0, "");
	test_file_size_limit(UINT64_MAX);
	expect(answer, ERR_FULL, false);
	assert_non_null(strstr(answer.text, "the change holds"));
	cluster_advance(c, 20000);
	event_is(c, before + 1, c->client.key, "\"reason\":\"because\"");
	expect(change(c, MSG_KEY_REVOKE, 3, 0, ""), 0, true);
	assert_int_equal(event_last(c), before + 1);
}

/* The file has it, the transport has not. */
static void a_change_that_is_not_in_force_is_told(void **state)
{
	struct cluster *c = *state;
	const uint64_t before = event_last(c);
	allow_set_fails = true;
	struct answer answer = change(c, MSG_KEY_REVOKE, 5, 0, "");
	allow_set_fails = false;
	expect(answer, ERR_NOMEM, false);
	assert_non_null(strstr(answer.text, "the file holds the change"));
	assert_int_equal(event_last(c), before);
	expect(change(c, MSG_KEY_REVOKE, 5, 0, ""), 0, false);
	assert_int_equal(event_last(c), before + 1);
}

static void without_a_file_there_is_none(void **state)
{
	struct cluster *c = *state;
	c->config.allow_file = NULL;
	cluster_restart(c);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	expect(change(c, MSG_KEY_REVOKE, 5, 0, ""), ERR_UNSUPPORTED, false);
}

int main(void)
{
#define KEYS(f) cmocka_unit_test_setup_teardown(f, setup_keys, cluster_teardown)
	const struct CMUnitTest tests[] = {
		KEYS(the_list_is_told),
		KEYS(readers_are_told_to_nodes),
		KEYS(a_key_is_allowed_and_comes_in),
		KEYS(a_revoked_worker_is_out_at_once),
		KEYS(what_a_barred_worker_trained_is_not_to_blame),
		KEYS(what_is_refused),
		KEYS(a_file_changed_by_hand_is_recorded),
		KEYS(a_crash_between_file_and_ledger),
		KEYS(a_revoked_key_stays_so_when_the_list_is_lost),
		KEYS(keys_that_stay_revoked_are_written_at_once),
		KEYS(a_list_that_is_gone_locks_nobody_out),
		KEYS(a_full_disk_delays_the_record_alone),
		KEYS(a_change_that_is_not_in_force_is_told),
		KEYS(without_a_file_there_is_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
