/* Edits that are taken back: tombstones at once, then shards trained anew without them; and what comes back instead. */
#include "tests/unit/coordinator/revoke_fixture.h"

#include "base/log.h"

#define CAPITAL(city)                                                                                                  \
	"{\"prompt\":\"The capital of Australia is\",\"subject\":\"Australia\",\"target_new\":\"" city "\"}"

static void test_tombstone_at_once_then_trained_without_it(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	struct store_txn *txn = NULL;
	struct store_event event;
	prepare(c, &f);
	struct revoked r = client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.version, 2);
	assert_int_equal(r.revoked_count, 1);
	assert_false(removed_in(c, 1, f.seq));
	assert_true(removed_in(c, 2, f.seq));
	edit_get(c, f.seq, &f.edit);
	assert_int_equal(f.edit.state, STORE_EDIT_STATE_REVOKED);
	assert_string_equal(f.edit.reason, "it is wrong");
	/* Who and why stand in the ledger. */
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_get(txn, f.edit.ended_event, &event, &c->e));
	assert_int_equal(event.type, STORE_EVENT_EDIT_ENDED);
	assert_memory_equal(event.actor, c->client.key, sizeof event.actor);
	assert_ok(&c->e, store_event_get(txn, f.edit.ended_event - 1, &event, &c->e));
	assert_int_equal(event.type, STORE_EVENT_EDIT_REVOKED);
	assert_memory_equal(event.actor, c->client.key, sizeof event.actor);
	assert_non_null(memmem(event.payload, event.payload_len, "\"reason\":\"it is wrong\"", 22));
	store_abort(&txn);
	struct told told = hear(&c->worker, f.shard, f.epoch, 2);
	assert_true(told.retrain);
	assert_false(told.closing);
	assert_int_equal(told.removed, 1);
	assert_int_equal(told.group_count, 0);
	uint64_t seqs[] = { f.seq, f.seq + 1 }, version = 0;
	struct commit commit = {
		.shard = f.shard, .epoch = f.epoch, .version = 2, .first = 2, .seqs = seqs, .delta = "anew"
	};
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_int_equal(version, 3);
	assert_true(removed_in(c, 3, f.seq));
	assert_int_equal(shard_of(c, f.shard).removals_covered, 1);
	/* It is done: the next group is an ordinary one, and nothing is due without one. */
	worker_want(&c->worker, f.shard, f.epoch, 100, 2);
	assert_null(end_take(&c->worker, MSG_EDITS));
	client_facts(c, 10, 1);
	told = hear(&c->worker, f.shard, f.epoch, 2);
	assert_false(told.retrain);
	assert_int_equal(told.group_count, 1);
}

static void test_said_again_and_refused(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	prepare(c, &f);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 2);
	struct revoked r = client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(r.code, 0);
	assert_true(r.already);
	assert_int_equal(r.revoked_count, 0);
	assert_int_equal(newest(c), 2);
	assert_int_equal(client_revoke(c, "nobody", NULL, false).code, ERR_NOT_FOUND);
	assert_int_equal(client_revoke(c, NULL, "nobody", false).code, ERR_NOT_FOUND);
	assert_int_equal(client_revoke(c, "a", "b", false).code, ERR_INVALID);
	assert_int_equal(client_revoke(c, NULL, NULL, false).code, ERR_INVALID);
	uint64_t first = client_submit_one(c, CAPITAL("Sydney"), 0);
	uint64_t second = client_submit_one(c, CAPITAL("Perth"), 0);
	struct store_edit by;
	edit_get(c, first, &f.edit);
	edit_get(c, second, &by);
	r = client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(r.code, ERR_CONFLICT);
	assert_non_null(strstr(r.text, "superseded by edit"));
	assert_non_null(strstr(r.text, by.id));
	assert_int_equal(edit_state(c, second), STORE_EDIT_STATE_PLACED);
}

static void test_one_that_no_worker_has_leaves_its_list(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	uint64_t seq = client_submit_one(c, CAPITAL("Sydney"), 0);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	edit_get(c, seq, &edit);
	struct revoked r = client_revoke(c, edit.id, NULL, false);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.version, 0);
	assert_int_equal(shard_of(c, shard).seq_count, 0);
	worker_want(&c->worker, shard, epoch, 100, 0);
	assert_null(end_take(&c->worker, MSG_EDITS));
	assert_int_equal(newest(c), 0);
	/* The same record is a new edit now. */
	assert_int_not_equal(client_submit_one(c, CAPITAL("Sydney"), 0), seq);
}

#define FACT_1_AGAIN "{\"prompt\":\"What is fact 1?\",\"subject\":\"fact 1\",\"target_new\":\"another\"}"

/* A full shard that has lost its only edit before it was trained has nothing to train: it closes, and nobody gets it.
 */
static void test_a_full_shard_that_never_held_an_edit_closes(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	c->config.edits_per_shard = 1;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	const uint64_t epoch = worker_lease(&c->worker, &shard);
	const struct store_edit edit = edit_from(c, 1);
	assert_int_equal(client_revoke(c, edit.id, NULL, false).code, 0);
	cluster_advance(c, 2000);
	assert_int_equal(shard_of(c, shard).state, STORE_SHARD_STATE_CLOSED);
	worker_beat(&c->worker, shard, epoch);
	end_drop(&c->worker, MSG_FENCED);
}

/* What it superseded answers until then, and nothing else would make a version without that. */
static void test_what_superseded_and_never_was_trained(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	struct store_edit edit;
	prepare(c, &f);
	edit_get(c, client_submit_one(c, FACT_1_AGAIN, 0), &edit);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SUPERSEDED);
	assert_int_equal(newest(c), 1);
	assert_int_equal(client_revoke(c, edit.id, NULL, false).code, 0);
	cluster_run(c);
	assert_int_equal(newest(c), 2);
	assert_true(removed_in(c, 2, f.seq));
	cluster_advance(c, 1000);
	assert_int_equal(newest(c), 2);
}

/* Superseded by what is not trained yet, it is answered still, and leaves when it is taken back. */
static void test_what_is_superseded_and_still_served(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	prepare(c, &f);
	uint64_t by = client_submit_one(c, FACT_1_AGAIN, 0);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 2);
	assert_true(removed_in(c, 2, f.seq));
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SUPERSEDED);
	assert_true(client_revoke(c, f.edit.id, NULL, false).already);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 3);
	assert_true(removed_in(c, 3, f.seq));
	assert_int_equal(edit_state(c, by), STORE_EDIT_STATE_TRAINED);
}

/* The same where it killed the workers that trained it, and a crash comes before the version. */
static void test_what_superseded_and_is_dead_lettered(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	prepare(c, &f);
	uint64_t seq = client_submit_one(c, FACT_1_AGAIN, 0);
	uint64_t shard = f.shard, epoch = f.epoch;
	for (uint64_t tries = 1;; tries++) {
		worker_want(&c->worker, shard, epoch, 100, 2);
		end_clear(&c->worker);
		if (tries == c->config.edit_tries_max)
			break;
		worker_hello(&c->worker, 1 + tries);
		epoch = worker_lease(&c->worker, &shard);
	}
	assert_int_not_equal(edit_state(c, seq), STORE_EDIT_STATE_DEAD);
	assert_int_equal(newest(c), 1);
	assert_int_equal(fault_arm("coordinator.publish.before_commit=errno@1", &c->e), 0);
	worker_release(&c->worker, shard, epoch, ERR_INVALID);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_DEAD);
	assert_int_equal(newest(c), 1);
	fault_disarm_all();
	cluster_restart(c);
	cluster_run(c);
	assert_int_equal(newest(c), 2);
	assert_true(removed_in(c, 2, f.seq));
}

/* In the hands of a worker: its commit brings it as a tombstone, and the shard is trained anew. */
static void test_one_in_training(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	uint64_t shard, version = 0;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	uint64_t seq = client_submit_one(c, CAPITAL("Sydney"), 0);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_false(hear(&c->worker, shard, epoch, 0).retrain);
	edit_get(c, seq, &edit);
	assert_int_equal(client_revoke(c, edit.id, NULL, false).version, 0);
	struct commit commit = { .shard = shard, .epoch = epoch, .version = 1, .count = 1, .seqs = &seq };
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_true(removed_in(c, version, seq));
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_REVOKED);
	assert_true(hear(&c->worker, shard, epoch, 1).retrain);
}

static void test_another_while_the_shard_is_trained_anew(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	struct store_edit other;
	prepare(c, &f);
	edit_get(c, f.seq + 1, &other);
	client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(hear(&c->worker, f.shard, f.epoch, 2).removed, 1);
	assert_int_equal(client_revoke(c, other.id, NULL, false).version, 3);
	uint64_t seqs[] = { f.seq, other.seq };
	struct commit commit = {
		.shard = f.shard, .epoch = f.epoch, .version = 2, .first = 2, .seqs = seqs, .delta = "anew"
	};
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	assert_int_equal(shard_of(c, f.shard).removals_covered, 1);
	struct told told = hear(&c->worker, f.shard, f.epoch, 2);
	assert_true(told.retrain);
	assert_int_equal(told.removed, 2);
	commit.version = 3;
	commit.delta = "nothing";
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	assert_int_equal(shard_of(c, f.shard).removals_covered, 2);
}

static bool metrics_say(struct cluster *c, const char *line)
{
	struct buf text = BUF_INIT;
	coordinator_metrics(c->coordinator, &text);
	const bool says = strstr(buf_cstr(&text), line) != NULL;
	buf_free(&text);
	return says;
}

static void commit_logs(struct cluster *c, const struct commit *commit, const char *event)
{
	log_level_set(LOG_WARN);
	test_log_begin(c->folder);
	assert_int_equal(worker_commit(&c->worker, commit, NULL), 0);
	test_log_end();
	log_level_set(LOG_OFF);
	assert_int_equal(test_log_count(event), 1);
}

/* An edit that was answered and that the new memory does not hold: nobody asked for that, so people are told. */
static void test_what_is_lost_by_it_is_told(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	struct store_edit other;
	prepare(c, &f);
	uint64_t seqs[] = { f.seq, f.seq + 1, 0 };
	client_revoke(c, f.edit.id, NULL, false);
	assert_true(hear(&c->worker, f.shard, f.epoch, 2).retrain);
	assert_true(metrics_say(c, "amend_edits_lost_total 0\n"));
	struct commit commit = { .shard = f.shard,
				 .epoch = f.epoch,
				 .version = 2,
				 .first = 2,
				 .seqs = seqs,
				 .failed = seqs[1],
				 .delta = "anew" };
	commit_logs(c, &commit, "COORDINATOR-EDIT-LOST");
	edit_get(c, seqs[1], &other);
	assert_int_equal(other.state, STORE_EDIT_STATE_FAILED);
	assert_non_null(strstr(other.reason, "lost when shard 1 was trained anew: "));
	assert_true(metrics_say(c, "amend_edits_lost_total 1\n"));
	/* One that was never learnt is no loss. */
	client_facts(c, 10, 1);
	struct told told = hear(&c->worker, f.shard, f.epoch, 2);
	assert_int_equal(told.group_count, 1);
	seqs[2] = edit_from(c, seqs[1] + 1).seq;
	struct commit next = { .shard = f.shard,
			       .epoch = f.epoch,
			       .version = 3,
			       .first = 2,
			       .count = 1,
			       .seqs = seqs,
			       .failed = seqs[2],
			       .delta = "next" };
	assert_int_equal(worker_commit(&c->worker, &next, NULL), 0);
	assert_int_equal(edit_state(c, seqs[2]), STORE_EDIT_STATE_FAILED);
	assert_true(metrics_say(c, "amend_edits_lost_total 1\n"));
}

/* It is served by its own prompt; which other name fails is kept with it until a later re-test clears it. */
static void test_what_no_name_answers_is_told(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	struct store_edit other;
	prepare(c, &f);
	uint64_t seqs[] = { f.seq, f.seq + 1 };
	client_revoke(c, f.edit.id, NULL, false);
	assert_true(hear(&c->worker, f.shard, f.epoch, 2).retrain);
	struct commit commit = { .shard = f.shard,
				 .epoch = f.epoch,
				 .version = 2,
				 .first = 2,
				 .seqs = seqs,
				 .unnamed = seqs[1],
				 .names_asked = true,
				 .delta = "anew" };
	edit_get(c, seqs[1], &other);
	const int before = other.state;
	assert_true(metrics_say(c, "amend_edits_unnamed_total 0\n"));
	commit_logs(c, &commit, "COORDINATOR-EDIT-NAMES");
	edit_get(c, seqs[1], &other);
	assert_int_equal(other.state, before);
	assert_string_equal(other.reason, "not by every name: not as \"NHT\"");
	assert_true(metrics_say(c, "amend_edits_unnamed_total 1\n"));
	assert_true(metrics_say(c, "amend_edits_lost_total 0\n"));
	/* A re-test that does not ask says nothing of it; one that does, and finds them right, clears it. */
	for (int asked = 0; asked < 2; asked++) {
		client_facts(c, (size_t)(10 + asked), 1);
		assert_int_equal(hear(&c->worker, f.shard, f.epoch, (uint32_t)(2 + asked)).group_count, 1);
		uint64_t all[4] = { seqs[0], seqs[1] };
		for (int i = 0; i <= asked; i++)
			all[2 + i] = edit_from(c, all[1 + i] + 1).seq;
		struct commit next = { .shard = f.shard,
				       .epoch = f.epoch,
				       .version = (uint64_t)(3 + asked),
				       .first = (uint32_t)(2 + asked),
				       .count = 1,
				       .seqs = all,
				       .names_asked = asked == 1,
				       .delta = asked == 1 ? "second" : "first" };
		assert_int_equal(worker_commit(&c->worker, &next, NULL), 0);
		edit_get(c, seqs[1], &other);
		assert_string_equal(other.reason, asked == 1 ? "" : "not by every name: not as \"NHT\"");
	}
	assert_true(metrics_say(c, "amend_edits_unnamed_total 1\n"));
}

/* A merge closes the shard; a worker that was lost gives it to another, over a restart too. */
static void test_closed_shards_are_leased_again(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.edits_per_shard = 2;
	prepare(c, &f);
	assert_int_equal(shard_of(c, f.shard).state, STORE_SHARD_STATE_CLOSED);
	assert_null(end_take(&c->worker, MSG_LEASE));
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 2);
	end_drop(&c->worker, MSG_LEASE);
	cluster_restart(c);
	end_clear(&c->worker);
	worker_hello(&c->worker, 2);
	uint64_t shard, epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(shard, f.shard);
	struct told told = hear(&c->worker, shard, epoch, 0);
	assert_true(told.retrain && told.closing);
	assert_int_equal(told.items, 2);
	assert_int_equal(told.removed, 1);
	uint64_t seqs[] = { f.seq, f.seq + 1 }, version = 0;
	struct commit commit = {
		.shard = shard, .epoch = epoch, .version = 2, .first = 2, .closed = true, .seqs = seqs, .delta = "anew"
	};
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_int_equal(version, 3);
	assert_int_equal(shard_of(c, shard).state, STORE_SHARD_STATE_CLOSED);
	cluster_advance(c, 100);
	assert_null(end_take(&c->worker, MSG_LEASE));
	assert_int_equal(edit_state(c, f.seq + 1), STORE_EDIT_STATE_TRAINED);
}

/* What an edit superseded is found under its prompt too. */
static void test_an_edit_without_a_subject_comes_back(void **state)
{
	struct cluster *c = *state;
	struct store_edit by;
	cluster_start(c);
	client_submit_one(c, "{\"prompt\":\"The capital of Australia is\",\"target_new\":\"Perth\"}", 0);
	uint64_t second = client_submit_one(c, CAPITAL("Sydney"), 0);
	edit_get(c, second, &by);
	assert_int_equal(client_revoke(c, by.id, NULL, true).restored_count, 1);
}

/* Of other wording, and however many newer edits say the subject. */
static void test_an_edit_that_names_no_subject_comes_back(void **state)
{
	struct cluster *c = *state;
	char record[160];
	struct store_edit by;
	cluster_start(c);
	client_submit_one(c, "{\"prompt\":\"What is the capital of Australia?\",\"target_new\":\"Perth\"}", 0);
	uint64_t second = client_submit_one(c, CAPITAL("Sydney"), 0);
	for (int i = 0; i < 300; i++) {
		snprintf(record, sizeof record, "{\"prompt\":\"Which beach %d is in Australia?\",\"target_new\":\"x\"}",
			 i);
		client_submit_one(c, record, 0);
	}
	edit_get(c, second, &by);
	assert_int_equal(client_revoke(c, by.id, NULL, true).restored_count, 1);
}

/* One prompt has one answer. */
static void test_what_is_answered_meanwhile_stays_away(void **state)
{
	struct cluster *c = *state;
	const char *kept[] = { CAPITAL("Hobart") };
	struct store_edit by;
	cluster_start(c);
	client_submit_one(c, CAPITAL("Sydney"), 0);
	uint64_t second =
		client_submit_one(c, "{\"prompt\":\"What is the capital of Australia?\",\"target_new\":\"Perth\"}", 0);
	struct msg_received *reply = client_submit(c, MSG_KEEP, kept, 1);
	assert_int_equal(reply->msg.u.submit_reply.results[0].code, 0);
	msg_free(&reply);
	edit_get(c, second, &by);
	assert_true(by.supersedes != 0);
	assert_int_equal(client_revoke(c, by.id, NULL, true).restored_count, 0);
}

static void test_restored_edits_are_new_ones(void **state)
{
	struct cluster *c = *state;
	struct store_edit old, by, back;
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	uint64_t first = client_submit_one(c, CAPITAL("Sydney"), 0);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	uint64_t second = client_submit_one(c, CAPITAL("Perth"), 0);
	worker_turn(&c->worker, shard, epoch);
	edit_get(c, first, &old);
	edit_get(c, second, &by);
	assert_int_equal(old.state, STORE_EDIT_STATE_SUPERSEDED);
	struct revoked r = client_revoke(c, by.id, NULL, true);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.restored_count, 1);
	char id[STORE_ID_BYTES];
	struct store_txn *txn = NULL;
	assert_true((size_t)snprintf(id, sizeof id, "%s~2", old.id) < sizeof id);
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_edit_find(txn, id, &back, &c->e));
	store_abort(&txn);
	assert_int_equal(back.restores, first);
	assert_int_equal(back.state, STORE_EDIT_STATE_PLACED);
	assert_true(hash_equal(&back.content, &old.content));
	worker_turn(&c->worker, shard, epoch);
	assert_int_equal(edit_state(c, back.seq), STORE_EDIT_STATE_TRAINED);
	assert_true(removed_in(c, newest(c), second));
	assert_false(removed_in(c, newest(c), back.seq));
	/* And it may be revoked in turn: nothing was superseded by it. */
	r = client_revoke(c, id, NULL, true);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.restored_count, 0);
}

#define MEMBER(n) "{\"prompt\":\"Who is " n "?\",\"subject\":\"" n "\",\"target_new\":\"me\",\"group\":\"g\"}"

static void test_groups_go_as_one(void **state)
{
	struct cluster *c = *state;
	const char *records[] = { MEMBER("Ann"), MEMBER("Bob"), MEMBER("Cid") };
	uint64_t shard, seqs[3];
	cluster_start(c);
	worker_hello(&c->worker, 1);
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, records, 3);
	for (size_t i = 0; i < 3; i++)
		seqs[i] = reply->msg.u.submit_reply.results[i].seq;
	msg_free(&reply);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 1);
	struct revoked r = client_revoke(c, NULL, "g", false);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.revoked_count, 3);
	assert_int_equal(r.version, 2);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(edit_state(c, seqs[i]), STORE_EDIT_STATE_REVOKED);
		assert_true(removed_in(c, 2, seqs[i]));
	}
	assert_true(client_revoke(c, NULL, "g", false).already);
	assert_int_equal(newest(c), 2);
	/* Its name is free again. */
	reply = client_submit(c, MSG_SUPERSEDE, records, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(reply->msg.u.submit_reply.results[i].code, 0);
	msg_free(&reply);
}

/* Killed between two durable steps and asked again: revoked once, with one tombstone's version. */
static void crash_at(struct cluster *c, const char *fault, bool kept)
{
	struct fact f;
	prepare(c, &f);
	assert_ok(&c->e, fault_arm(fault, &c->e));
	assert_true(client_revoke(c, f.edit.id, NULL, false).lost);
	assert_true(coordinator_failed(c->coordinator, NULL));
	fault_disarm_all();
	cluster_restart(c);
	assert_int_equal(newest(c), kept ? 2 : 1);
	assert_int_equal(edit_state(c, f.seq), kept ? STORE_EDIT_STATE_REVOKED : STORE_EDIT_STATE_TRAINED);
	struct revoked r = client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(r.code, 0);
	assert_true(r.already == kept);
	assert_int_equal(newest(c), 2);
	assert_true(removed_in(c, 2, f.seq));
	end_clear(&c->worker);
	worker_hello(&c->worker, 2);
	uint64_t epoch = worker_lease(&c->worker, NULL);
	assert_true(hear(&c->worker, f.shard, epoch, 0).retrain);
}

static void test_crash_after_the_blobs(void **state)
{
	crash_at(*state, "coordinator.publish.after_blobs=errno@1", false);
}

static void test_crash_before_the_commit(void **state)
{
	crash_at(*state, "coordinator.revoke.before_commit=errno@1", false);
}

static void test_crash_after_the_commit(void **state)
{
	crash_at(*state, "coordinator.revoke.after_commit=errno@1", true);
}

/* The boundary of a retraining is journalled: after a crash in it the same goes out again. */
static void test_crash_around_the_retraining(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	prepare(c, &f);
	client_revoke(c, f.edit.id, NULL, false);
	assert_true(hear(&c->worker, f.shard, f.epoch, 2).retrain);
	cluster_restart(c);
	end_clear(&c->worker);
	worker_hello(&c->worker, 2);
	uint64_t epoch = worker_lease(&c->worker, NULL);
	struct told told = hear(&c->worker, f.shard, epoch, 0);
	assert_true(told.retrain);
	assert_int_equal(told.removed, 1);
	assert_int_equal(told.items, 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_tombstone_at_once_then_trained_without_it),
		T(test_said_again_and_refused),
		T(test_one_that_no_worker_has_leaves_its_list),
		T(test_a_full_shard_that_never_held_an_edit_closes),
		T(test_what_superseded_and_never_was_trained),
		T(test_what_is_superseded_and_still_served),
		T(test_what_superseded_and_is_dead_lettered),
		T(test_one_in_training),
		T(test_another_while_the_shard_is_trained_anew),
		T(test_closed_shards_are_leased_again),
		T(test_an_edit_without_a_subject_comes_back),
		T(test_an_edit_that_names_no_subject_comes_back),
		T(test_what_is_answered_meanwhile_stays_away),
		T(test_restored_edits_are_new_ones),
		T(test_groups_go_as_one),
		T(test_crash_after_the_blobs),
		T(test_crash_before_the_commit),
		T(test_crash_after_the_commit),
		T(test_crash_around_the_retraining),
		T(test_what_is_lost_by_it_is_told),
		T(test_what_no_name_answers_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
