/* Versions that wait for a second key's approval. */
#include "tests/unit/coordinator/candidate_fixture.h"

static void test_a_candidate_waits_and_is_published_as_it_was(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	held_facts(c, &f);
	struct seen s = look(c);
	assert_string_equal(s.state, "waiting");
	assert_int_equal(s.version, 1);
	assert_int_equal(s.added, 2);
	assert_int_equal(s.removed, 0);
	assert_int_equal(s.edits, 2);
	assert_int_equal(s.first_added, f.seq);
	assert_non_null(strstr(s.text, "waits for approval"));
	assert_int_equal(newest(c), 0);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_TRAINED);
	struct published p = say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "");
	assert_int_equal(p.code, 0);
	assert_int_equal(p.version, 1);
	assert_int_equal(newest(c), 1);
	assert_int_equal(version_of(c, f.seq), 1);
	const struct store_version rec = version_get(c, 1);
	assert_true(hash_equal(&rec.content, &s.content));
	assert_string_equal(rec.note, "2 edits more, 0 less");
	assert_true(event_says(c, rec.event_seq, STORE_EVENT_VERSION_PUBLISHED, &c->admin, "\"approved\":true"));
	assert_string_equal(look(c).state, "none");
	assert_string_equal(look(c).text, "");
	node_hello(&c->node, 1);
	node_status(&c->node, 1);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
}

static void test_the_submitters_key_approves_nothing_of_its_own(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	held_facts(c, &f);
	struct seen s = look(c);
	struct published p = say(&c->client, MSG_PUBLISH_APPROVE, &s.content, "");
	assert_int_equal(p.code, ERR_DENIED);
	assert_non_null(strstr(p.text, "another administrator's key"));
	assert_int_equal(newest(c), 0);
	assert_string_equal(look(c).state, "waiting");
	assert_int_equal(say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "").version, 1);
	/* asked again, by whomever */
	p = say(&c->client, MSG_PUBLISH_APPROVE, &s.content, "");
	assert_int_equal(p.code, 0);
	assert_true(p.already);
	assert_int_equal(newest(c), 1);
}

/* `amend up` keeps it beside the key that submits. */
static void test_the_coordinators_own_key_approves_nothing(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.key = c->admin.key;
	held_facts(c, &f);
	struct seen s = look(c);
	struct published p = say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "");
	assert_int_equal(p.code, ERR_DENIED);
	assert_non_null(strstr(p.text, "the coordinator's own key"));
	assert_int_equal(newest(c), 0);
	assert_string_equal(look(c).state, "waiting");
}

static void test_what_comes_meanwhile_makes_the_next_candidate(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	held_facts(c, &f);
	struct seen s = look(c);
	uint64_t seq = fact_more(c, &f);
	struct seen second = look(c);
	assert_true(hash_equal(&second.content, &s.content));
	assert_int_equal(say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "").version, 1);
	assert_int_equal(version_of(c, f.seq), 1);
	assert_int_equal(version_of(c, seq), 0);
	node_hello(&c->node, 1);
	node_status(&c->node, 1);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_TRAINED);
	second = look(c);
	assert_int_equal(second.version, 2);
	assert_int_equal(second.added, 1);
	assert_int_equal(second.first_added, seq);
	struct published p = say(&c->admin, MSG_PUBLISH_REJECT, &s.content, "late");
	assert_int_equal(p.code, ERR_CONFLICT);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_APPROVE, &second.content, "").version, 2);
	assert_int_equal(version_of(c, seq), 2);
}

static void test_a_candidate_outlives_the_coordinator(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	held_facts(c, &f);
	struct seen s = look(c);
	uint64_t seq = fact_more(c, &f);
	end_clear(&c->worker);
	cluster_restart(c);
	struct seen again = look(c);
	assert_string_equal(again.state, "waiting");
	assert_true(hash_equal(&again.content, &s.content));
	assert_int_equal(again.added, 2);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "").version, 1);
	assert_int_equal(version_of(c, f.seq), 1);
	assert_int_equal(version_of(c, seq), 0);
	assert_int_equal(look(c).first_added, seq);
	cluster_restart(c);
	assert_int_equal(look(c).version, 2);
	assert_int_equal(approve(c).version, 2);
	assert_int_equal(version_of(c, seq), 2);
	cluster_restart(c);
	assert_string_equal(look(c).state, "none");
}

static void test_a_revocation_does_not_wait_and_makes_the_candidate_anew(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	served_facts(c, &f);
	uint64_t seq = fact_more(c, &f);
	struct seen s = look(c);
	struct revoked r = client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(r.version, 2);
	assert_true(removed_in(c, 2, f.seq));
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_TRAINED);
	assert_int_equal(version_of(c, seq), 0);
	struct seen next = look(c);
	assert_int_equal(next.version, 3);
	assert_int_equal(next.added, 1);
	assert_int_equal(next.removed, 0);
	struct published p = say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "");
	assert_int_equal(p.code, ERR_CONFLICT);
	assert_non_null(strstr(p.text, "made anew"));
	assert_int_equal(say(&c->admin, MSG_PUBLISH_APPROVE, &next.content, "").version, 3);
	assert_true(removed_in(c, 3, f.seq));
	assert_int_equal(version_of(c, seq), 3);
}

static void test_with_nothing_held_a_revocation_leaves_no_candidate(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	served_facts(c, &f);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 2);
	assert_string_equal(look(c).state, "none");
}

static void test_an_edit_that_only_the_candidate_holds_is_taken_back(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	served_facts(c, &f);
	uint64_t seq = fact_more(c, &f);
	struct store_edit edit;
	edit_get(c, seq, &edit);
	struct seen s = look(c);
	struct revoked r = client_revoke(c, edit.id, NULL, false);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.version, 0);
	assert_string_equal(r.text, "");
	struct seen next = look(c);
	assert_false(hash_equal(&next.content, &s.content));
	assert_int_equal(next.added, 0);
	assert_int_equal(newest(c), 1);
}

static void test_a_rejected_one_waits_for_something_new(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	held_facts(c, &f);
	struct seen s = look(c);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_REJECT, &s.content, "").code, ERR_INVALID);
	assert_int_equal(say(&c->client, MSG_PUBLISH_REJECT, &s.content, "not true").code, 0);
	assert_true(event_says(c, 0, STORE_EVENT_CONFIG_CHANGED, &c->client, "\"reason\":\"not true\""));
	s = look(c);
	assert_string_equal(s.state, "refused");
	assert_non_null(strstr(s.text, "not true"));
	assert_int_equal(say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "").code, ERR_CONFLICT);
	cluster_restart(c);
	assert_string_equal(look(c).state, "refused");
	struct published p = say(&c->admin, MSG_PUBLISH_RESUME, NULL, "");
	assert_int_equal(p.code, 0);
	assert_false(p.already);
	struct seen next = look(c);
	assert_string_equal(next.state, "waiting");
	assert_int_equal(say(&c->admin, MSG_PUBLISH_REJECT, &next.content, "again").code, 0);
	end_clear(&c->worker);
	worker_hello(&c->worker, 1);
	uint64_t seq = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	f.epoch = worker_lease(&c->worker, &f.shard);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	assert_string_equal(look(c).state, "waiting");
	assert_int_equal(approve(c).version, 1);
	assert_int_equal(version_of(c, seq), 1);
	assert_int_equal(version_of(c, f.seq), 1);
}

static void test_a_rollback_discards_it_and_a_resume_makes_one(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	served_facts(c, &f);
	uint64_t seq = fact_more(c, &f);
	assert_int_equal(approve(c).version, 2);
	node_status(&c->node, 1);
	uint64_t third = client_submit_one(c, "{\"prompt\":\"q\",\"target_new\":\"t\",\"subject\":\"r\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	assert_string_equal(look(c).state, "waiting");
	assert_int_equal(say(&c->admin, MSG_PUBLISH_ROLLBACK, NULL, "why").version, 3); /* needs no approval */
	assert_string_equal(look(c).state, "none");
	assert_non_null(strstr(look(c).text, "paused"));
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 0);
	struct published p = say(&c->admin, MSG_PUBLISH_RESUME, NULL, "");
	assert_int_equal(p.code, 0);
	assert_int_equal(p.version, 4); /* what was taken back meanwhile goes at once */
	assert_true(removed_in(c, 4, f.seq));
	struct seen s = look(c);
	assert_string_equal(s.state, "waiting");
	assert_int_equal(s.version, 5);
	assert_int_equal(s.added, 2);
	cluster_restart(c);
	node_hello(&c->node, 1);
	node_status(&c->node, 4); /* which holds neither */
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_TRAINED);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "").version, 5);
	node_status(&c->node, 5);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_SERVED);
	assert_int_equal(edit_state(c, third), STORE_EDIT_STATE_SERVED);
}

static void test_without_the_gate_what_it_held_is_published(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	held_facts(c, &f);
	uint64_t seq = fact_more(c, &f);
	c->config.approve = false;
	cluster_restart(c);
	cluster_run(c);
	assert_int_equal(newest(c), 1);
	assert_int_equal(version_of(c, f.seq), 1);
	assert_int_equal(version_of(c, seq), 1);
	cluster_restart(c);
	cluster_run(c);
	assert_int_equal(newest(c), 1);
}

/* What was refused is not let through by a change of settings. */
static void test_without_the_gate_what_was_refused_is_held(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	held_facts(c, &f);
	struct seen s = look(c);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_REJECT, &s.content, "no source").code, 0);
	c->config.approve = false;
	for (int start = 0; start < 2; start++) {
		cluster_restart(c);
		cluster_run(c);
		assert_int_equal(newest(c), 0);
		assert_non_null(strstr(look(c).text, "paused"));
		assert_non_null(strstr(look(c).text, "no source"));
		assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_TRAINED);
	}
	assert_int_equal(say(&c->admin, MSG_PUBLISH_RESUME, NULL, "").version, 1);
	assert_int_equal(version_of(c, f.seq), 1);
}

static void collect(struct cluster *c)
{
	bool done = false;
	for (int i = 0; !done && i < 100; i++) {
		struct msg msg = { .type = MSG_STORE_RUN, .u.store_run = { 1, MSG_STORE_COLLECT, { "", 0 }, 0 } };
		end_send(&c->client, &msg);
		cluster_run(c);
		struct msg_received *reply = end_expect(&c->client, MSG_STORE_STATUS);
		assert_int_equal(reply->msg.u.store_status.code, 0);
		done = reply->msg.u.store_status.done;
		msg_free(&reply);
	}
	assert_true(done);
}

/* Its shard has gone on: nothing else names the delta that it would serve. */
static void test_what_it_holds_is_not_collected(void **state)
{
	struct cluster *c = *state;
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	struct buf missing = BUF_INIT;
	struct fact f;
	held_facts(c, &f);
	struct store_shard first = shard_of(c, f.shard);
	fact_more(c, &f);
	struct store_shard second = shard_of(c, f.shard);
	assert_false(hash_equal(&first.delta_root, &second.delta_root));
	cluster_advance(c, 2 * STORE_GRACE_MS);
	collect(c);
	assert_int_equal(approve(c).version, 1);
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, 1, arena, &manifest);
	assert_true(hash_equal(&manifest.memories[0].delta_root, &first.delta_root));
	assert_ok(&c->e, store_blob_missing(c->store, &first.delta_root, &missing, &c->e));
	assert_int_equal(missing.len, 0);
	buf_free(&missing);
	arena_destroy(&arena);
}

static bool metrics_say(struct cluster *c, const char *line)
{
	struct buf text = BUF_INIT;
	coordinator_metrics(c->coordinator, &text);
	bool says = strstr(buf_cstr(&text), line) != NULL;
	buf_free(&text);
	return says;
}

static void test_a_metric_tells_how_long_it_has_waited(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	held_facts(c, &f);
	cluster_advance(c, 4000);
	assert_true(metrics_say(c, "amend_candidate_waiting_seconds 4\n"));
	assert_int_equal(approve(c).version, 1);
	assert_true(metrics_say(c, "amend_candidate_waiting_seconds 0\n"));
}

/* A commit that is sent again, as its answer was lost, is in no version yet. */
static void test_a_commit_sent_again_names_no_version(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	served_facts(c, &f);
	const uint64_t seq = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	(void)hear(&c->worker, f.shard, f.epoch, 2);
	const uint64_t seqs[] = { f.seq, f.seq + 1, seq };
	const struct commit commit = {
		.shard = f.shard, .epoch = f.epoch, .version = 2, .first = 2, .count = 1, .seqs = seqs
	};
	uint64_t version = 9;
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_int_equal(version, 0);
	assert_string_equal(look(c).state, "waiting");
	version = 9;
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_int_equal(version, 0);
}

/* What superseded a served edit and dies untrained leaves something new: the next version is without both. */
static void test_a_rejected_one_is_made_anew_when_a_successor_dies(void **state)
{
	struct cluster *c = *state;
	struct store_edit by;
	struct fact f;
	served_facts(c, &f);
	(void)fact_more(c, &f);
	const struct seen s = look(c);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_REJECT, &s.content, "not yet").code, 0);
	edit_get(
		c,
		client_submit_one(c, "{\"prompt\":\"What is fact 1?\",\"subject\":\"fact 1\",\"target_new\":\"z\"}", 0),
		&by);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SUPERSEDED);
	assert_string_equal(look(c).state, "refused");
	assert_int_equal(client_revoke(c, by.id, NULL, false).code, 0);
	const struct seen next = look(c);
	assert_string_equal(next.state, "waiting");
	assert_int_equal(next.first_removed, f.seq);
}

/* A revocation that has no memory left at the n-th allocation. Whether it was kept and the candidate `s`, which is out
 * of date by it, could not be dropped. */
static bool revoked_beside(struct cluster *c, uint64_t seq, int64_t n, const struct seen *s, bool *done)
{
	struct store_edit edit;
	edit_get(c, seq, &edit);
	struct msg msg = { .type = MSG_REVOKE };
	msg.u.revoke = (struct msg_revoke){ .id = { edit.id, strlen(edit.id) }, .reason = { "wrong", 5 } };
	end_send(&c->client, &msg);
	fault_set(n, 1);
	cluster_receive(c);
	fault_set(-1, 0);
	assert_false(coordinator_failed(c->coordinator, NULL));
	end_clear(&c->client);
	*done = edit_state(c, seq) == STORE_EDIT_STATE_REVOKED;
	const struct hash content = look(c).content;
	return *done && hash_equal(&content, &s->content);
}

/* Nothing is published of a candidate that a revocation has made old, while writes are held back. */
static void approve_late(struct cluster *c, bool served)
{
	struct seen s;
	bool done, beside = false;
	uint64_t epoch, shard;
	c->config.approve = true;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 60);
	epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 0);
	const uint64_t first = edit_from(c, 1).seq;
	uint64_t seq = first;
	if (served) {
		assert_int_equal(approve(c).version, 1);
		client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
		assert_int_equal(worker_turn(&c->worker, shard, epoch), 0);
	}
	for (int64_t n = 0; n < 400 && !beside && seq < first + 60; n++) {
		s = look(c);
		beside = revoked_beside(c, seq, n, &s, &done);
		seq += done;
		if (!beside)
			cluster_advance(c, 2000);
	}
	assert_true(beside);
	const uint64_t version = newest(c);
	const struct published p = say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "");
	assert_int_equal(p.code, ERR_AGAIN);
	assert_non_null(strstr(p.text, served ? "another version was published" : "an edit that it serves has ended"));
	assert_int_equal(newest(c), version);
	assert_false(coordinator_failed(c->coordinator, NULL));
	cluster_advance(c, 2000);
	assert_int_equal(approve(c).version, version + 1);
	assert_true(removed_in(c, version + 1, seq - 1));
}

static void test_an_approval_waits_while_writes_are_held(void **state)
{
	approve_late(*state, true);
}

static void test_an_approval_publishes_nothing_that_was_revoked_meanwhile(void **state)
{
	approve_late(*state, false);
}

static void test_only_administrators_judge(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	held_facts(c, &f);
	struct seen s = look(c);
	struct msg msg = { .type = MSG_PUBLISH, .u.publish = { .action = MSG_PUBLISH_APPROVE, .content = s.content } };
	end_send(&c->submitter, &msg);
	cluster_run(c);
	struct msg_received *error = end_expect(&c->submitter, MSG_ERROR);
	assert_int_equal(error->msg.u.error.code, ERR_DENIED);
	msg_free(&error);
	assert_int_equal(newest(c), 0);
}

/* A crash on either side of a commit: the candidate, or the version, is there whole or not at all. */
static void crash_making(struct cluster *c, const char *fault)
{
	struct fact f;
	served_facts(c, &f);
	uint64_t seq = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	assert_ok(&c->e, fault_arm(fault, &c->e));
	struct store_shard rec = shard_of(c, f.shard);
	const uint64_t seqs[] = { f.seq, f.seq + 1, seq };
	(void)hear(&c->worker, f.shard, f.epoch, 2);
	const struct commit commit = {
		.shard = f.shard, .epoch = f.epoch, .version = rec.version + 1, .first = 2, .count = 1, .seqs = seqs
	};
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	fault_disarm_all();
	assert_true(coordinator_failed(c->coordinator, NULL));
	cluster_restart(c);
	cluster_run(c);
	struct seen now = look(c);
	assert_string_equal(now.state, "waiting");
	assert_int_equal(now.first_added, seq);
	assert_int_equal(approve(c).version, 2);
	assert_int_equal(version_of(c, seq), 2);
}

static void test_a_crash_before_the_candidate_is_kept(void **state)
{
	crash_making(*state, "coordinator.candidate.before_commit=errno@1");
}

static void test_a_crash_after_the_candidate_was_kept(void **state)
{
	crash_making(*state, "coordinator.candidate.after_commit=errno@1");
}

static void crash_approving(struct cluster *c, const char *fault, uint64_t version)
{
	struct fact f;
	held_facts(c, &f);
	struct seen s = look(c);
	struct msg msg = { .type = MSG_PUBLISH, .u.publish = { .action = MSG_PUBLISH_APPROVE, .content = s.content } };
	assert_ok(&c->e, fault_arm(fault, &c->e));
	end_send(&c->admin, &msg);
	cluster_run(c);
	fault_disarm_all();
	assert_null(end_take(&c->admin, MSG_PUBLISH_REPLY));
	cluster_restart(c);
	cluster_run(c);
	assert_int_equal(newest(c), version);
	assert_int_equal(version_of(c, f.seq), version);
	assert_string_equal(look(c).state, version == 0 ? "waiting" : "none");
	struct published p = say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "");
	assert_int_equal(p.code, 0);
	assert_int_equal(p.already, version != 0);
	assert_int_equal(version_of(c, f.seq), 1);
}

static void test_a_crash_before_the_approval_is_kept(void **state)
{
	crash_approving(*state, "coordinator.approve.before_commit=errno@1", 0);
}

static void test_a_crash_after_the_approval_was_kept(void **state)
{
	crash_approving(*state, "coordinator.approve.after_commit=errno@1", 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_candidate_waits_and_is_published_as_it_was),
		TEST(test_the_submitters_key_approves_nothing_of_its_own),
		TEST(test_the_coordinators_own_key_approves_nothing),
		TEST(test_what_comes_meanwhile_makes_the_next_candidate),
		TEST(test_a_candidate_outlives_the_coordinator),
		TEST(test_a_revocation_does_not_wait_and_makes_the_candidate_anew),
		TEST(test_with_nothing_held_a_revocation_leaves_no_candidate),
		TEST(test_an_edit_that_only_the_candidate_holds_is_taken_back),
		TEST(test_a_rejected_one_waits_for_something_new),
		TEST(test_a_rollback_discards_it_and_a_resume_makes_one),
		TEST(test_without_the_gate_what_it_held_is_published),
		TEST(test_without_the_gate_what_was_refused_is_held),
		TEST(test_what_it_holds_is_not_collected),
		TEST(test_a_metric_tells_how_long_it_has_waited),
		TEST(test_a_rejected_one_is_made_anew_when_a_successor_dies),
		TEST(test_a_commit_sent_again_names_no_version),
		TEST(test_an_approval_waits_while_writes_are_held),
		TEST(test_an_approval_publishes_nothing_that_was_revoked_meanwhile),
		TEST(test_only_administrators_judge),
		TEST(test_a_crash_before_the_candidate_is_kept),
		TEST(test_a_crash_after_the_candidate_was_kept),
		TEST(test_a_crash_before_the_approval_is_kept),
		TEST(test_a_crash_after_the_approval_was_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
