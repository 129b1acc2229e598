/* Versions, merges and the fleet, as a real coordinator knows them. */
#include "tests/lib/cli_fixture.h"

#include "proto/codec.h"

static void version_publish(struct cli_world *w)
{
	cli_fleet_join(w);
	client_facts(w->cluster, 1, 2);
	cli_fleet_work(w, 1);
}

static void before_the_first_version(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "version", "list");
	assert_string_equal(cli_out(w), "VERSION  PUBLISHED  MEMORIES  EDITS  CONTENT  NOTE\n");
	EXPECT(w, CLI_OK, "version", "list", "-o", "json");
	assert_string_equal(cli_out(w), "[]\n");
	EXPECT(w, CLI_OK, "version", "list", "-o", "yaml");
	assert_string_equal(cli_out(w), "[]\n");
	EXPECT(w, CLI_NOT_FOUND, "version", "show");
	cli_expect_err(w, "no version is published yet");
}

static void versions_are_listed_and_shown(void **state)
{
	struct cli_world *w = *state;
	version_publish(w);
	EXPECT(w, CLI_OK, "version", "list", "-o", "name");
	assert_string_equal(cli_out(w), "v1\n");
	EXPECT(w, CLI_OK, "version", "list", "--no-headers");
	assert_memory_equal(cli_out(w), "v1  20", 6); /* a hidden header widens nothing */
	EXPECT(w, CLI_OK, "version", "show", "v1");
	cli_expect_out(w, "version v1, published 20");
	cli_expect_out(w, "MEMORY    KIND   EDITS  PASSED");
	EXPECT(w, CLI_OK, "version", "show", "latest", "-o", "json");
	struct json *version = cli_json(w);
	const struct json *memory = json_at(json_get(version, "memories"), 0);
	assert_int_equal(json_integer(json_get(version, "version")), 1);
	assert_string_equal(json_string(json_get(version, "default_set"), NULL), "retrieve");
	assert_int_equal(json_integer(json_get(memory, "edits")), 2);
	json_free(&version);
	EXPECT(w, CLI_OK, "version", "show", "1", "-o", "yaml");
	cli_expect_out(w, "\nmemories:\n  - id: 1\n    kind: \"shard\"\n");
	cli_expect_out(w, "\n    sources: []\n");
}

static void what_is_no_version(void **state)
{
	struct cli_world *w = *state;
	version_publish(w);
	EXPECT(w, CLI_NOT_FOUND, "version", "show", "v9");
	cli_expect_err(w, "version v9 does not exist; `amend version list` shows them all");
	EXPECT(w, CLI_USAGE, "version", "show", "v1x");
	cli_expect_err(w, "\"v1x\" is no version; write v7, 7 or latest");
	EXPECT(w, CLI_USAGE, "version", "show", "0");
}

static void nothing_to_merge(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_CONFLICT, "merge", "run");
	cli_expect_err(w, "amend: merge: nothing to merge: no edit is in force; submit some first");
	assert_string_equal(cli_out(w), "");
	client_facts(w->cluster, 1, 2); /* and there is no worker */
	EXPECT(w, CLI_CONFLICT, "merge", "run");
	cli_expect_err(w, "nothing to merge yet: 2 edits wait to be trained; `amend edit wait` waits for them");
}

/* `lost`: an edit that fails; 0: all pass. */
static void gate_say(struct cluster *c, uint64_t lost)
{
	struct msg msg = { .type = MSG_GATE_RESULT };
	struct msg_received *lease = end_take(&c->worker, MSG_LEASE);
	if (lease == NULL)
		return;
	msg.u.gate_result =
		(struct msg_gate_result){ .merge = 1, .epoch = lease->msg.u.lease.epoch, .passed = 2, .tested = 2 };
	if (lost != 0) {
		const struct proto_merge_index index = { &lost, 1 };
		struct buf bytes = BUF_INIT;
		assert_ok(&c->e, proto_merge_index_encode(&index, &bytes, &c->e));
		assert_ok(&c->e, store_blob_put(c->store, bytes.data, bytes.len, &msg.u.gate_result.index_root, &c->e));
		msg.u.gate_result.passed = 1;
		buf_free(&bytes);
	}
	worker_want(&c->worker, 1, msg.u.gate_result.epoch, 100, 0);
	end_drop(&c->worker, MSG_EDITS);
	end_send(&c->worker, &msg);
	cluster_run(c);
	end_drop(&c->worker, MSG_SHARD_COMMIT_REPLY);
	msg_free(&lease);
}

static uint64_t training_epoch;

/* The worker's part of a merge: the closing pass first, the gate when the job has ended. */
static void merge_help(struct cli_world *w)
{
	if (w->pauses == 1)
		worker_turn(&w->cluster->worker, 1, training_epoch);
	else
		gate_say(w->cluster, 0);
}

static uint64_t first_seq(struct cluster *c)
{
	struct store_txn *txn = NULL;
	struct store_edit edit;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_edit_next(txn, 1, UINT32_MAX, &edit, &c->e));
	store_abort(&txn);
	return edit.seq;
}

static void merge_help_losing_one(struct cli_world *w)
{
	if (w->pauses == 1)
		worker_turn(&w->cluster->worker, 1, training_epoch);
	else
		gate_say(w->cluster, first_seq(w->cluster));
}

static void shard_train(struct cli_world *w)
{
	uint64_t shard;
	worker_hello(&w->cluster->worker, 1);
	client_facts(w->cluster, 1, 2);
	training_epoch = worker_lease(&w->cluster->worker, &shard);
	worker_turn(&w->cluster->worker, shard, training_epoch);
	assert_int_equal(shard, 1);
}

static void a_merge_is_followed_to_its_end(void **state)
{
	struct cli_world *w = *state;
	shard_train(w);
	w->on_pause = merge_help;
	EXPECT(w, CLI_OK, "merge", "run", "-o", "json");
	struct json *merge = cli_json(w);
	assert_string_equal(json_string(json_get(merge, "state"), NULL), "published");
	assert_int_equal(json_integer(json_get(merge, "version")), 3);
	assert_true(json_bool(json_get(merge, "served_by_default")));
	json_free(&merge);
	cli_expect_err(w, "100 %");
	EXPECT(w, CLI_OK, "version", "show", "-o", "json");
	merge = cli_json(w);
	assert_string_equal(json_string(json_get(merge, "default_set"), NULL), "merged");
	json_free(&merge);
	EXPECT(w, CLI_CONFLICT, "merge", "run");
	cli_expect_err(w, "nothing to merge: every trained edit is in a merged memory already; submit some first");
}

static void the_log_tells_what_a_merge_lost(void **state)
{
	struct cli_world *w = *state;
	shard_train(w);
	w->on_pause = merge_help_losing_one;
	EXPECT(w, CLI_OK, "merge", "run");
	cli_expect_out(w, "not served by default"); /* one of two */
	EXPECT(w, CLI_OK, "audit", "log");
	cli_expect_out(w, "merge 1, 1 shard, 1 edit lost");
	EXPECT(w, CLI_OK, "audit", "log", "-o", "jsonl");
	cli_expect_out(w, "\"what\":\"merged\"");
	cli_expect_out(w, "\"lost\":1,\"lost_edits\":[");
}

static void a_merge_goes_on_without_us(void **state)
{
	struct cli_world *w = *state;
	shard_train(w);
	w->pauses_to_interrupt = 2;
	EXPECT(w, CLI_INTERRUPTED, "merge", "run");
	cli_expect_err(w, "interrupted: merge 1 goes on without us");
	EXPECT(w, CLI_PENDING, "merge", "run"); /* one is running */
	cli_expect_err(w, "merge: merge 1 is under way (");
}

static void falls_silent(struct cli_world *w)
{
	if (w->pauses == 2) {
		w->deaf = true;
		w->deaf_receives = 2500; /* of 10 ms each */
	}
}

static void a_merge_is_waited_for_through_silence(void **state)
{
	struct cli_world *w = *state;
	shard_train(w);
	w->on_pause = falls_silent;
	w->pauses_to_interrupt = 4;
	EXPECT(w, CLI_INTERRUPTED, "merge", "run");
	cli_expect_err(w, " has not answered for 10 s: it is asked again until it does");
}

/* The worker gives the gate back, until no try is left. */
static void gate_fails(struct cli_world *w)
{
	struct cluster *c = w->cluster;
	if (w->pauses == 1) {
		worker_turn(&c->worker, 1, training_epoch);
		return;
	}
	struct msg_received *lease = end_take(&c->worker, MSG_LEASE);
	worker_beat(&c->worker, 0, 0);
	if (lease != NULL)
		worker_release(&c->worker, 1, lease->msg.u.lease.epoch, ERR_INVALID);
	msg_free(&lease);
}

static void a_failed_merge_never_says_100_percent(void **state)
{
	struct cli_world *w = *state;
	shard_train(w);
	w->on_pause = gate_fails;
	EXPECT(w, CLI_FAILED, "merge", "run");
	cli_expect_out(w, "merge 1 (1 shard, 1 rank): failed\n");
	assert_null(strstr(cli_err(w), "100 %"));
}

static void disk_fills(struct cli_world *w)
{
	if (w->pauses == 2) {
		w->cluster->config.space_reserve_bytes = UINT64_MAX;
		cluster_restart(w->cluster);
	}
}

/* Without the log nobody would know why nothing moves. */
static void why_a_merge_does_not_go_on_is_said(void **state)
{
	struct cli_world *w = *state;
	static const char note[] = "amend: merge 1 (closing its shards) does not go on: its disk has less free space";
	shard_train(w);
	EXPECT(w, CLI_OK, "fleet", "status");
	assert_null(strstr(cli_out(w), "under way"));
	w->on_pause = disk_fills;
	EXPECT(w, CLI_PENDING, "--timeout", "3", "merge", "run");
	const char *at = strstr(cli_err(w), note);
	assert_non_null(at);
	assert_null(strstr(at + 1, note));
	w->on_pause = NULL;
	EXPECT(w, CLI_OK, "fleet", "status");
	cli_expect_out(w, "\nmerge 1 is under way: closing its shards: its disk has less free space than its reserve");
	cli_expect_out(w, "\nthe coordinator keeps nothing new: its disk has less free space than its reserve");
	EXPECT(w, CLI_OK, "fleet", "status", "-o", "json");
	cli_expect_out(w, "\"merge\":1,\"merge_phase\":\"closing its shards\",\"merge_reason\":\"its disk has less");
}

static void attempts_fail(struct cli_world *w)
{
	if (w->pauses == 1) {
		w->cluster->fake.write_output = false;
		worker_turn(&w->cluster->worker, 1, training_epoch);
	}
}

static void why_an_attempt_failed_is_said(void **state)
{
	struct cli_world *w = *state;
	shard_train(w);
	w->on_pause = attempts_fail;
	EXPECT(w, CLI_FAILED, "merge", "run");
	cli_expect_err(w, "amend: merge 1 (waiting to try again) does not go on: ");
}

static void job_cannot_start(struct cli_world *w)
{
	if (w->pauses == 1) {
		w->cluster->fake.fail_start = true;
		worker_turn(&w->cluster->worker, 1, training_epoch);
	}
}

/* It may come from a program's output. */
static void what_a_merge_says_is_escaped(void **state)
{
	struct cli_world *w = *state;
	shard_train(w);
	w->on_pause = job_cannot_start;
	EXPECT(w, CLI_FAILED, "merge", "run");
	cli_expect_out(w, "no mpirun in /\\x1B[2J");
	cli_expect_err(w, "no mpirun in /\\x1B[2J");
	assert_null(strchr(cli_out(w), '\x1b'));
	assert_null(strchr(cli_err(w), '\x1b'));
}

static void a_merge_that_takes_too_long_is_pending(void **state)
{
	struct cli_world *w = *state;
	shard_train(w);
	EXPECT(w, CLI_PENDING, "--timeout", "1", "merge", "run");
	cli_expect_err(w, "merge 1 is not done; it goes on without us");
}

static void the_fleet_is_shown_in_every_form(void **state)
{
	struct cli_world *w = *state;
	version_publish(w);
	EXPECT(w, CLI_OK, "fleet", "status");
	cli_expect_out(w, "open (being filled or trained) and ");
	cli_expect_out(w, ": v1, ledger at ");
	cli_expect_out(w, "\nNAME    KIND    STATE");
	cli_expect_out(w, "\nnode    node    live");
	EXPECT(w, CLI_OK, "fleet", "status", "-o", "name");
	assert_non_null(strstr(cli_out(w), "node\n"));
	assert_non_null(strstr(cli_out(w), "worker\n"));
	EXPECT(w, CLI_OK, "fleet", "status", "-o", "json");
	struct json *fleet = cli_json(w);
	assert_int_equal(json_length(json_get(fleet, "members")), 2);
	assert_int_equal(json_integer(json_get(fleet, "version")), 1);
	json_free(&fleet);
	EXPECT(w, CLI_OK, "fleet", "status", "-o", "yaml");
	cli_expect_out(w, "\nmembers:\n  - name: \"");
}

/* A column of its own only where somebody pulls from a relay. */
static void where_nodes_pull_from_is_shown(void **state)
{
	struct cli_world *w = *state;
	static const char *const sources[] = { "coordinator", "tcp://10.0.0.5:7403", "a\x1b[2Jb" };
	version_publish(w);
	for (size_t i = 0; i < 3; i++) {
		struct msg msg = { .type = MSG_NODE_STATUS };
		msg.u.node_status.state = (struct msg_text){ "live", 4 };
		msg.u.node_status.source = (struct msg_text){ sources[i], strlen(sources[i]) };
		end_send(&w->cluster->node, &msg);
		cluster_run(w->cluster);
		EXPECT(w, CLI_OK, "fleet", "status");
		assert_int_equal(strstr(cli_out(w), "PULLS FROM") != NULL, i > 0);
		assert_int_equal(strstr(cli_out(w), sources[i]) != NULL, i == 1); /* nothing steers a terminal */
	}
	EXPECT(w, CLI_OK, "fleet", "status", "-o", "json");
	cli_expect_out(w, "\"pulls_from\":\"a\\u001b[2Jb\"");
}

/* Names are what the others call themselves; the rest is the coordinator's word. */
static void what_others_say_is_escaped(void **state)
{
	struct cli_world *w = *state;
	struct cluster *c = w->cluster;
	struct store_txn *txn = NULL;
	assert_ok(&c->e, store_begin(c->store, &txn, &c->e));
	assert_ok(&c->e, store_meta_put(txn, "cluster-id", "c\x1b[2J", 5, &c->e));
	assert_ok(&c->e, store_commit(&txn, &c->e));
	c->config.tensor_format = "t\x1b[2J";
	cluster_restart(c);
	c->worker.name = "w\x1b[2J";
	version_publish(w);
	EXPECT(w, CLI_OK, "fleet", "status", "-o", "name");
	cli_expect_out(w, "w\\x1B[2J\n");
	assert_null(strchr(cli_out(w), '\x1b'));
	EXPECT(w, CLI_OK, "fleet", "status");
	cli_expect_out(w, "cluster c\\x1B[2J: v1, ");
	assert_null(strchr(cli_out(w), '\x1b'));
	EXPECT(w, CLI_OK, "version", "show");
	cli_expect_out(w, ", t\\x1B[2J, default set: ");
	assert_null(strchr(cli_out(w), '\x1b'));
}

/* An edit that never comes through would be a riddle: the version's trouble is shown where people look. */
static void a_node_that_cannot_load_is_shown(void **state)
{
	struct cli_world *w = *state;
	version_publish(w);
	node_failed(&w->cluster->node, 6, "delta: made for layer 3");
	EXPECT(w, CLI_OK, "fleet", "status");
	cli_expect_out(w, "\nnode    node    failing v6");
	cli_expect_out(w, "\nnode cannot load v6: delta: made for layer 3\n");
	EXPECT(w, CLI_OK, "fleet", "status", "-o", "json");
	cli_expect_out(w, "\"failed_version\":6,\"failed_reason\":\"delta: made for layer 3\"");
	node_failed(&w->cluster->node, 6, "a\x1b[2J\nb"); /* never steers a terminal */
	EXPECT(w, CLI_OK, "fleet", "status");
	cli_expect_out(w, "\nnode cannot load v6: a\\x1B[2J\\x0Ab\n");
	char longest[ERR_TEXT_BYTES_MAX] = "";
	memset(longest, 'x', sizeof longest - 1);
	node_failed(&w->cluster->node, 7, longest); /* cut, but told */
	EXPECT(w, CLI_OK, "fleet", "status");
	cli_expect_out(w, "\nnode cannot load v7: xxx");
	cluster_advance(w->cluster, w->cluster->config.lease_ms + 1);
	EXPECT(w, CLI_OK, "fleet", "status"); /* it is gone: that it cannot load is of before */
	cli_expect_out(w, "\nnode    node    lost");
	assert_null(strstr(cli_out(w), "cannot load"));
	node_status(&w->cluster->node, 1);
	EXPECT(w, CLI_OK, "fleet", "status");
	assert_null(strstr(cli_out(w), "failing"));
	assert_null(strstr(cli_out(w), "cannot load"));
}

/* Where no worker can join, edits would wait without a word. */
static void who_could_not_join_is_shown(void **state)
{
	struct cli_world *w = *state;
	struct cluster *c = w->cluster;
	struct msg msg = { .type = MSG_HELLO };
	EXPECT(w, CLI_OK, "fleet", "status");
	assert_null(strstr(cli_out(w), "could not join"));
	msg.u.hello = (struct msg_hello){ .kind = MSG_PEER_CLIENT,
					  .protocol_min = 1,
					  .protocol_max = 1,
					  .name = { "worker-7", 8 },
					  .base_model = { { 1 } },
					  .refusal = { "prompt_layer is 6: it may be 1 to 4", 35 } };
	end_send(&c->worker, &msg);
	cluster_run(c);
	end_drop(&c->worker, MSG_HELLO_REPLY);
	EXPECT(w, CLI_OK, "fleet", "status");
	cli_expect_out(w, "\nworker-7 could not join 0.0 s ago: prompt_layer is 6: it may be 1 to 4\n");
	EXPECT(w, CLI_OK, "fleet", "status", "-o", "json");
	cli_expect_out(w, "\"refused\":{\"name\":\"worker-7\",\"reason\":\"prompt_layer is 6: it may be 1 to 4\"");
}

static void a_key_that_is_not_allowed_is_shown(void **state)
{
	struct cli_world *w = *state;
	struct cluster *c = w->cluster;
	struct end_peer strangers[2];
	struct msg msg = { .type = MSG_FLEET };
	EXPECT(w, CLI_OK, "fleet", "status", "-o", "json");
	cli_expect_out(w, "\"refused_keys\":[]");
	for (uint8_t i = 0; i < 2; i++) {
		char name[2] = { (char)('a' + i), '\0' };
		end_connect(c, &strangers[i], name, (uint8_t)(0xe0 + i));
		end_send(&strangers[i], &msg);
		cluster_run(c);
		cluster_advance(c, 2000);
	}
	EXPECT(w, CLI_OK, "fleet", "status");
	cli_expect_out(w, "\nthe key e1e1e1e1");
	cli_expect_out(w, ", which is not on the list of allowed ones, was refused 2.0 s ago, and 1 other before it\n");
	EXPECT(w, CLI_OK, "fleet", "status", "-o", "json");
	cli_expect_out(w, "\"refused_keys\":[{\"key\":\"e1e1e1e1");
	cluster_advance(c, 60000); /* they try no more */
	EXPECT(w, CLI_OK, "fleet", "status");
	assert_null(strstr(cli_out(w), "the key "));
	for (size_t i = 0; i < 2; i++)
		strangers[i].transport->ops->destroy(strangers[i].transport);
}

/* A worker whose disk is full holds its lease for two minutes: nothing else would say what the edits wait for. */
static void a_worker_whose_result_waits_is_shown(void **state)
{
	static const char why[] = "what it trained of shard 1 waits: write blobs: No space left on device";
	struct cli_world *w = *state;
	shard_train(w);
	client_facts(w->cluster, 3, 1);
	worker_beat_troubled(&w->cluster->worker, 1, training_epoch, why);
	EXPECT(w, CLI_OK, "fleet", "status");
	cli_expect_out(w, "\nworker  worker  failing ");
	cli_expect_out(w, "\nworker: what it trained of shard 1 waits: write blobs: No space left on device\n");
	EXPECT(w, CLI_OK, "fleet", "status", "-o", "json");
	cli_expect_out(w, "\"failing\":true,\"failed_reason\":\"what it trained of shard 1 waits");
	assert_null(strstr(cli_out(w), "failed_version"));
	EXPECT(w, CLI_PENDING, "--timeout", "1", "edit", "wait");
	cli_expect_err(w,
		       "amend: worker: what it trained of shard 1 waits: write blobs: No space left on device; `amend "
		       "fleet status` shows it");
	worker_beat(&w->cluster->worker, 1, training_epoch);
	EXPECT(w, CLI_OK, "fleet", "status");
	assert_null(strstr(cli_out(w), "failing"));
}

int main(void)
{
#define WORLD(f) cmocka_unit_test_setup_teardown(f, cli_setup_cluster, cli_teardown)
	const struct CMUnitTest tests[] = {
		WORLD(before_the_first_version),
		WORLD(versions_are_listed_and_shown),
		WORLD(what_is_no_version),
		WORLD(nothing_to_merge),
		WORLD(a_merge_is_followed_to_its_end),
		WORLD(the_log_tells_what_a_merge_lost),
		WORLD(a_merge_goes_on_without_us),
		WORLD(a_merge_is_waited_for_through_silence),
		WORLD(a_failed_merge_never_says_100_percent),
		WORLD(why_a_merge_does_not_go_on_is_said),
		WORLD(why_an_attempt_failed_is_said),
		WORLD(what_a_merge_says_is_escaped),
		WORLD(a_merge_that_takes_too_long_is_pending),
		WORLD(the_fleet_is_shown_in_every_form),
		WORLD(where_nodes_pull_from_is_shown),
		WORLD(what_others_say_is_escaped),
		WORLD(a_node_that_cannot_load_is_shown),
		WORLD(a_worker_whose_result_waits_is_shown),
		WORLD(who_could_not_join_is_shown),
		WORLD(a_key_that_is_not_allowed_is_shown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
