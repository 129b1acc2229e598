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

/* A worker asks before it calibrates; it is no member of the fleet yet. */
static void test_base_model_can_be_asked_about(void **state)
{
	static const struct {
		uint8_t byte;
		int code;
	} cases[] = { { 0xab, 0 }, { 0xcd, ERR_MISMATCH }, { 0, 0 } };
	struct cluster *c = *state;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	for (size_t i = 0; i < 3; i++) {
		struct msg msg = { .type = MSG_HELLO };
		msg.u.hello = (struct msg_hello){ .kind = MSG_PEER_CLIENT,
						  .protocol_min = 1,
						  .protocol_max = 1,
						  .boot = 2,
						  .name = { "", 0 },
						  .software = { "", 0 },
						  .backend = { "", 0 },
						  .endpoint = { "", 0 } };
		memset(msg.u.hello.base_model.bytes, cases[i].byte, HASH_BYTES);
		end_send(&c->worker2, &msg);
		cluster_run(c);
		struct msg_received *reply = end_expect(&c->worker2, MSG_HELLO_REPLY);
		assert_int_equal(reply->msg.u.hello_reply.code, cases[i].code);
		msg_free(&reply);
		struct msg beat = { .type = MSG_HEARTBEAT };
		end_send(&c->worker2, &beat);
		cluster_run(c);
		reply = end_expect(&c->worker2, MSG_ERROR);
		assert_int_equal(reply->msg.u.error.code, ERR_NOT_FOUND);
		msg_free(&reply);
	}
}

static int hello_code(struct cluster *c, struct end_peer *end, uint64_t boot, uint8_t calibration, uint8_t corpus,
		      char *text)
{
	struct msg msg = { .type = MSG_HELLO };
	msg.u.hello = (struct msg_hello){ .kind = MSG_PEER_WORKER,
					  .protocol_min = 1,
					  .protocol_max = 1,
					  .boot = boot,
					  .name = { "", 0 },
					  .software = { "", 0 },
					  .backend = { "", 0 },
					  .endpoint = { "", 0 },
					  .layers = 30,
					  .hidden = 576,
					  .ffn = 1536 };
	memset(msg.u.hello.base_model.bytes, 0xab, HASH_BYTES);
	memset(msg.u.hello.calibration.bytes, calibration, HASH_BYTES);
	memset(msg.u.hello.corpus.bytes, corpus, HASH_BYTES);
	end_send(end, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(end, MSG_HELLO_REPLY);
	const int code = reply->msg.u.hello_reply.code;
	snprintf(text, 512, "%.*s", (int)reply->msg.u.hello_reply.text.len, reply->msg.u.hello_reply.text.text);
	msg_free(&reply);
	return code;
}

/* A worker that routes by something else than the others is refused, until they are gone. */
static void test_workers_have_one_calibration(void **state)
{
	struct cluster *c = *state;
	char text[512];
	cluster_start(c);
	assert_int_equal(hello_code(c, &c->worker, 1, 0x11, 0, text), 0);
	assert_int_equal(hello_code(c, &c->worker2, 2, 0x22, 0, text), ERR_MISMATCH);
	assert_non_null(strstr(text, "your calibration is 222222222222, the other workers have 111111111111"));
	assert_non_null(strstr(text, "--calibration"));
	assert_int_equal(hello_code(c, &c->worker2, 2, 0x11, 0, text), 0);
	assert_int_equal(hello_code(c, &c->worker, 3, 0x22, 0, text),
			 ERR_MISMATCH); /* started anew, the other is here */
	cluster_advance(c, 2 * (int64_t)c->config.lease_ms);
	assert_int_equal(hello_code(c, &c->worker, 3, 0x22, 0, text), 0); /* nobody is here any more */
}

static void test_the_configured_calibration_counts(void **state)
{
	struct cluster *c = *state;
	char text[512];
	memset(c->config.calibration.bytes, 0x33, HASH_BYTES);
	cluster_start(c);
	assert_int_equal(hello_code(c, &c->worker, 1, 0x11, 0, text), ERR_MISMATCH);
	assert_non_null(strstr(text, "this cluster's configuration names 333333333333"));
	assert_int_equal(hello_code(c, &c->worker, 1, 0x33, 0, text), 0);
}

/* Family paper: the margins are the coordinator's, the texts that are trained on are of the worker's corpus. */
static void test_workers_of_the_papers_family_have_one_corpus(void **state)
{
	struct cluster *c = *state;
	char text[512];
	c->config.family = "paper";
	c->config.settings = (struct msg_bytes){ "AMWC", 4 };
	cluster_start(c);
	assert_int_equal(hello_code(c, &c->worker, 1, 0x11, 0x44, text), 0);
	assert_int_equal(hello_code(c, &c->worker2, 2, 0x22, 0x55, text), ERR_MISMATCH);
	assert_non_null(strstr(text, "your corpus is 555555555555, the other workers have 444444444444"));
	assert_non_null(strstr(text, "--corpus"));
	assert_int_equal(hello_code(c, &c->worker2, 2, 0x22, 0x44, text), 0); /* whatever its file says */
	cluster_advance(c, 2 * (int64_t)c->config.lease_ms);
	assert_int_equal(hello_code(c, &c->worker, 3, 0x11, 0x55, text), 0);
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
	assert_int_equal(edit.losses, 0);
}

/* A worker that only heartbeats, every 4 s, for that long; the other one too. */
static void beat_for(struct cluster *c, uint64_t shard, uint64_t epoch, int64_t ms)
{
	for (int64_t done = 0; done < ms; done += 4000) {
		cluster_advance(c, 4000);
		worker_beat(&c->worker, shard, epoch);
		end_drop(&c->worker, MSG_HEARTBEAT_REPLY);
		if (c->worker2.next_request == 0)
			continue;
		worker_beat(&c->worker2, 0, 0);
		end_drop(&c->worker2, MSG_HEARTBEAT_REPLY);
	}
}

static void say_progress(struct cluster *c, uint64_t shard, uint64_t epoch, uint32_t done, const char *phase)
{
	struct msg msg = { .type = MSG_PROGRESS };
	msg.u.progress = (struct msg_progress){ shard, epoch, done, 100, { phase, strlen(phase) }, 0 };
	end_send(&c->worker, &msg);
	cluster_run(c);
}

static uint64_t lease_with_edits(struct cluster *c, uint64_t *shard, uint64_t *seq)
{
	c->config.progress_ms_max = 600000;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 2);
	uint64_t epoch = worker_lease(&c->worker, shard);
	worker_want(&c->worker, *shard, epoch, 10, 0);
	struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
	*seq = edits->msg.u.edits.items[0].seq;
	msg_free(&edits);
	return epoch;
}

static void test_heartbeats_alone_do_not_keep_a_lease(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	struct msg_received *lease;
	uint64_t shard, seq, epoch = lease_with_edits(c, &shard, &seq);
	worker_hello(&c->worker2, 1);
	beat_for(c, shard, epoch, 596000);
	worker_want(&c->worker, shard, epoch, 10, 0); /* asking again is no progress */
	assert_null(end_take(&c->worker, MSG_FENCED));
	test_log_begin(c->folder);
	beat_for(c, shard, epoch, 4000);
	test_log_end();
	assert_int_equal(test_log_count("COORDINATOR-LEASE-STUCK"), 1);
	end_drop(&c->worker, MSG_FENCED);
	lease = end_expect(&c->worker2, MSG_LEASE); /* not the previous holder again */
	assert_int_equal(lease->msg.u.lease.shard, shard);
	assert_int_equal(lease->msg.u.lease.epoch, epoch + 1);
	msg_free(&lease);
	edit_get(c, seq, &edit);
	assert_int_equal(edit.losses, 1); /* it may be the edits: they are singled out as after a crash */
	end_clear(&c->worker2);
	assert_int_equal(worker_turn(&c->worker2, shard, epoch + 1), 1);
}

static void test_progress_keeps_a_lease_and_repeating_it_does_not(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, seq, epoch = lease_with_edits(c, &shard, &seq);
	say_progress(c, shard, epoch, 0, "waiting");
	for (uint32_t i = 1; i <= 4; i++) {
		beat_for(c, shard, epoch, 500000);
		say_progress(c, shard, epoch, i, "inputs");
		assert_null(end_take(&c->worker, MSG_FENCED));
	}
	beat_for(c, shard, epoch, 500000);
	say_progress(c, shard, epoch, 4, "retest"); /* as far, but in another phase */
	beat_for(c, shard, epoch, 500000);
	say_progress(c, shard, epoch, 4, "retest");
	say_progress(c, shard, epoch + 1, 5, "retest"); /* not its epoch */
	assert_null(end_take(&c->worker, MSG_FENCED));
	beat_for(c, shard, epoch, 100000);
	end_drop(&c->worker, MSG_FENCED);
	/* There is nobody else: the same worker may try again, and begins from nothing. */
	assert_int_equal(worker_lease(&c->worker, NULL), epoch + 1);
	end_clear(&c->worker);
	beat_for(c, shard, epoch + 1, 500000);
	say_progress(c, shard, epoch + 1, 4, "retest");
	beat_for(c, shard, epoch + 1, 500000);
	assert_null(end_take(&c->worker, MSG_FENCED));
}

static void test_who_goes_on_is_avoided_no_more(void **state)
{
	struct cluster *c = *state;
	c->config.edits_per_shard = 2;
	uint64_t shard, other, seq, epoch = lease_with_edits(c, &shard, &seq);
	beat_for(c, shard, epoch, 600000);
	assert_int_equal(worker_lease(&c->worker, NULL), epoch + 1);
	end_clear(&c->worker);
	say_progress(c, shard, epoch + 1, 1, "train");
	worker_hello(&c->worker2, 1);
	client_facts(c, 3, 1);
	epoch = worker_lease(&c->worker2, &other);
	assert_int_not_equal(other, shard);
	worker_release(&c->worker2, other, epoch, ERR_IO); /* now it is the one to avoid, though it holds nothing */
	worker_beat(&c->worker2, 0, 0);
	cluster_advance(c, 1000);
	assert_int_equal(worker_lease(&c->worker, &shard), epoch + 1);
	assert_int_equal(shard, other);
}

static void test_idle_lease_is_kept(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, seq, epoch = lease_with_edits(c, &shard, &seq);
	beat_for(c, shard, epoch, 400000);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 1); /* the commit is progress */
	beat_for(c, shard, epoch, 2000000);
	assert_null(end_take(&c->worker, MSG_FENCED));
	client_facts(c, 3, 1); /* the time runs from here on */
	beat_for(c, shard, epoch, 596000);
	assert_null(end_take(&c->worker, MSG_FENCED));
	beat_for(c, shard, epoch, 4000);
	end_drop(&c->worker, MSG_FENCED);
}

/* A worker that stops: its shard goes to another at once, no edit is blamed, and it gets nothing until it starts anew.
 */
static void test_stopping_worker_gives_its_lease_back(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	uint64_t shard, seq, epoch = lease_with_edits(c, &shard, &seq);
	worker_release(&c->worker, shard, epoch + 1, 0); /* not its epoch */
	worker_release(&c->worker2, shard, epoch, 0);    /* not its lease */
	worker_beat(&c->worker, shard, epoch);
	assert_null(end_take(&c->worker, MSG_FENCED));
	worker_release(&c->worker, shard, epoch, 0);
	edit_get(c, seq, &edit);
	assert_int_equal(edit.losses, 0);
	assert_null(end_take(&c->worker, MSG_LEASE));
	worker_release(&c->worker, shard, epoch, 0); /* said twice */
	cluster_advance(c, 2000);
	assert_null(end_take(&c->worker, MSG_LEASE));
	worker_hello(&c->worker2, 1);
	assert_int_equal(worker_lease(&c->worker2, NULL), epoch + 1);
	worker_release(&c->worker2, shard, epoch + 1, 0);
	worker_hello(&c->worker, 2);
	assert_int_equal(worker_lease(&c->worker, NULL), epoch + 2);
	edit_get(c, seq, &edit);
	assert_int_equal(edit.losses, 0);
}

/* A worker whose job failed for another reason than an edit: others first, then it again, later each time. */
static void test_failed_job_blames_no_edit_and_waits(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	uint64_t shard, seq, epoch = lease_with_edits(c, &shard, &seq);
	for (int i = 0; i < 5; i++) {
		worker_release(&c->worker, shard, epoch, ERR_FULL);
		cluster_advance(c, (1000 << i) - 1);
		assert_null(end_take(&c->worker, MSG_LEASE));
		worker_beat(&c->worker, 0, 0);
		cluster_advance(c, 1);
		assert_int_equal(worker_lease(&c->worker, NULL), ++epoch);
		worker_want(&c->worker, shard, epoch, 10, 0);
		end_clear(&c->worker);
	}
	edit_get(c, seq, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_PLACED);
	assert_int_equal(edit.losses, 0);
	worker_release(&c->worker, shard, epoch, ERR_IO);
	worker_hello(&c->worker2, 1);
	for (int i = 0; i < 8; i++) {
		worker_beat(&c->worker, 0, 0);
		worker_beat(&c->worker2, 0, 0);
		cluster_advance(c, 4000);
	}
	assert_int_equal(worker_lease(&c->worker2, NULL), epoch + 1);
	worker_turn(&c->worker2, shard, epoch + 1);
	edit_get(c, seq, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_TRAINED);
}

static void test_release_for_an_edit_blames_its_group(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	uint64_t shard, seq, epoch = lease_with_edits(c, &shard, &seq);
	worker_release(&c->worker, shard, epoch, ERR_INVALID);
	edit_get(c, seq, &edit);
	assert_int_equal(edit.losses, 1);
	cluster_advance(c, 1000);
	epoch = worker_lease(&c->worker, NULL);
	worker_release(&c->worker, shard, epoch, ERR_INVALID); /* before it was given the group */
	edit_get(c, seq, &edit);
	assert_int_equal(edit.losses, 1);
}

/* A full disk: one refused write a second, not one a tick. */
static void test_refused_writes_are_held_back(void **state)
{
	struct cluster *c = *state;
	char line[8192];
	size_t pads[] = { 4000, 1000, 100, 1 };
	c->store_options.ledger_map_bytes_max = 1 << 20;
	cluster_start(c);
	/* Until not even a small one fits. Their prompts have no content word: a Submit needs few pages for its index,
	 * and leaves none for the placing. */
	for (size_t p = 0, i = 0; p < sizeof pads / sizeof pads[0]; i++) {
		static const char marks[] = "+-*/=<>^~|";
		int n = snprintf(line, sizeof line, "{\"prompt\":\"What is %c%c%c%c?\",\"loc_prompt\":\"",
				 marks[i / 1000 % 10], marks[i / 100 % 10], marks[i / 10 % 10], marks[i % 10]);
		memset(line + n, 'x', pads[p]);
		snprintf(line + n + pads[p], sizeof line - (size_t)n - pads[p], "\",\"target_new\":\"t\"}");
		const char *record = line;
		struct msg_received *reply = client_submit(c, MSG_KEEP, &record, 1);
		p += reply->msg.u.submit_reply.results[0].code != 0;
		msg_free(&reply);
		assert_true(i < 2000);
	}
	test_log_begin(c->folder);
	worker_hello(&c->worker, 1); /* now all edits are to be placed */
	for (int i = 0; i < 100; i++)
		cluster_advance(c, 5);
	size_t first = test_log_count("COORDINATOR-WRITE-REFUSED");
	for (int i = 0; i < 400; i++)
		cluster_advance(c, 5);
	size_t later = test_log_count("COORDINATOR-WRITE-REFUSED");
	test_log_end();
	assert_false(coordinator_failed(c->coordinator, NULL));
	assert_in_range(first, 1, 2);
	assert_in_range(later - first, 1, 3);
}

static size_t leases_taken(struct end_peer *end)
{
	struct msg_received *lease;
	size_t n = 0;
	for (; (lease = end_take(end, MSG_LEASE)) != NULL; n++)
		msg_free(&lease);
	return n;
}

/* More would come back at once, and wait longer each time. */
static void test_a_worker_is_given_no_more_leases_than_it_takes(void **state)
{
	struct cluster *c = *state;
	c->config.edits_per_shard = 1;
	cluster_start(c);
	client_facts(c, 0, MSG_WORKER_LEASES_MAX + 3);
	worker_hello(&c->worker, 1);
	assert_int_equal(leases_taken(&c->worker), MSG_WORKER_LEASES_MAX);
	worker_release(&c->worker, 1, 1, 0);
	worker_hello(&c->worker2, 1);
	assert_int_equal(leases_taken(&c->worker2), 4);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_silent_worker_loses_its_lease_to_another),
		T(test_heartbeat_with_an_old_epoch_is_fenced),
		T(test_second_process_with_a_key_fences_the_first),
		T(test_another_base_model_is_refused_with_both_digests),
		T(test_base_model_can_be_asked_about),
		T(test_workers_have_one_calibration),
		T(test_the_configured_calibration_counts),
		T(test_workers_of_the_papers_family_have_one_corpus),
		T(test_reconnected_worker_gets_its_lease_again),
		T(test_poisonous_edit_is_singled_out_and_dead_lettered),
		T(test_restarts_do_not_count_against_edits),
		T(test_heartbeats_alone_do_not_keep_a_lease),
		T(test_progress_keeps_a_lease_and_repeating_it_does_not),
		T(test_who_goes_on_is_avoided_no_more),
		T(test_idle_lease_is_kept),
		T(test_stopping_worker_gives_its_lease_back),
		T(test_failed_job_blames_no_edit_and_waits),
		T(test_release_for_an_edit_blames_its_group),
		T(test_refused_writes_are_held_back),
		T(test_a_worker_is_given_no_more_leases_than_it_takes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
