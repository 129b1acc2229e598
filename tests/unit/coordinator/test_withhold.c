/* Candidates that the canaries refuse: which edits took them, and what goes on without those. */
#include "tests/unit/coordinator/canary_fixture.h"
#include "tests/unit/coordinator/lost_fixture.h"

static struct msg_received *look(struct cluster *c)
{
	struct msg msg = { .type = MSG_CANDIDATE };
	end_send(&c->client, &msg);
	cluster_run(c);
	return end_expect(&c->client, MSG_CANDIDATE_REPLY);
}

static bool state_is(struct cluster *c, const char *state)
{
	struct msg_received *reply = look(c);
	bool is = strcmp(reply->msg.u.candidate_reply.state.text, state) == 0;
	if (!is)
		printf("it is %s\n", reply->msg.u.candidate_reply.state.text);
	msg_free(&reply);
	return is;
}

static bool withholds(struct cluster *c, const uint64_t *seqs, size_t count)
{
	struct msg_received *reply = look(c);
	const struct msg_candidate_reply *r = &reply->msg.u.candidate_reply;
	bool same = r->withheld_count == count && r->withheld_total == count &&
		    (count == 0 || memcmp(r->withheld, seqs, count * sizeof *seqs) == 0);
	msg_free(&reply);
	return same;
}

static void resume(struct cluster *c)
{
	struct msg msg = { .type = MSG_PUBLISH, .u.publish = { .action = MSG_PUBLISH_RESUME } };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_PUBLISH_REPLY);
	assert_int_equal(reply->msg.u.publish_reply.code, 0);
	assert_false(reply->msg.u.publish_reply.already);
	msg_free(&reply);
}

/* What the worker is asked next, and says. */
static void next_answer(struct cluster *c, uint32_t changed, const char *prompt)
{
	const struct msg_canary_run run = asked(&c->worker);
	answer(&c->worker, &run.content, changed, prompt);
}

static void next_taken(struct cluster *c, const uint64_t *edits, size_t count)
{
	const struct msg_canary_run run = asked(&c->worker);
	answer_taken(&c->worker, &run.content, edits, count);
}

/* The first fact takes more canaries than may change. */
static void test_the_rest_goes_on_without_the_edit_that_took_them(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 1);
	const uint64_t bad = f.seq, good = edit_from(c, bad + 1).seq;
	struct msg_canary_run run = asked(&c->worker), next;
	answer_taken(&c->worker, &run.content, (uint64_t[]){ bad, bad, good }, 3);
	char withheld[64];
	snprintf(withheld, sizeof withheld, "\"withheld\":[%llu]", (unsigned long long)bad);
	assert_true(event_says(c, 0, STORE_EVENT_CONFIG_CHANGED, withheld));
	assert_true(event_says(c, 0, STORE_EVENT_CONFIG_CHANGED, f.edit.id));
	next = asked(&c->worker);
	assert_false(hash_equal(&next.content, &run.content));
	assert_true(held_says(c, "1 edit is withheld"));
	assert_true(held_says(c, f.edit.id));
	assert_true(withholds(c, &bad, 1));
	end_clear(&c->worker);
	cluster_restart(c);
	worker_hello(&c->worker, 1);
	next_answer(c, 1, "what else?");
	assert_int_equal(newest(c), 1);
	assert_true(removed_in(c, 1, bad));
	assert_false(removed_in(c, 1, good));
	struct store_edit edit = edit_from(c, bad);
	assert_int_equal(edit.state, STORE_EDIT_STATE_TRAINED);
	assert_int_equal(edit.version, 0);
	assert_non_null(strstr(edit.reason, "withheld: 3 of 200 canaries changed, 1 may: c-01 (edit "));
	assert_int_equal(edit_from(c, good).version, 1);
	node_hello(&c->node, 1);
	node_status(&c->node, 1);
	assert_int_equal(edit_state(c, bad), STORE_EDIT_STATE_TRAINED);
	assert_int_equal(edit_state(c, good), STORE_EDIT_STATE_SERVED);
	cluster_advance(c, 600000);
	assert_null(end_take(&c->worker, MSG_CANARY_RUN)); /* nothing is new */
	assert_true(held_says(c, "or have it asked again by `amend version resume`"));
	/* taken back, it waits for nothing any more */
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).code, 0);
	assert_true(withholds(c, NULL, 0));
	assert_int_equal(newest(c), 1);
}

/* Nothing is left that could go on. */
static void test_alone_it_stays_refused_until_it_is_taken_back(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker);
	answer(&c->worker, &run.content, 0, "");
	const uint64_t bad =
		client_submit_one(c, "{\"id\":\"bad\",\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	run = asked(&c->worker);
	answer_taken(&c->worker, &run.content, &bad, 1);
	assert_true(state_is(c, "refused"));
	assert_int_equal(newest(c), 1);
	assert_true(held_says(c, "1 of 200 canaries changed, 0 may: c-01 (edit bad)"));
	assert_true(held_says(c, "names the edits to take back"));
	struct msg_received *reply = look(c);
	assert_int_equal(reply->msg.u.candidate_reply.blamed_count, 1);
	assert_int_equal(reply->msg.u.candidate_reply.blamed[0], bad);
	msg_free(&reply);
	cluster_restart(c);
	worker_hello(&c->worker, 1);
	end_clear(&c->worker);
	cluster_advance(c, 5000);
	assert_true(state_is(c, "refused"));
	reply = look(c);
	assert_int_equal(reply->msg.u.candidate_reply.blamed_count, 1);
	msg_free(&reply);
	assert_null(end_take(&c->worker, MSG_CANARY_RUN));
	assert_int_equal(client_revoke(c, "bad", NULL, false).code, 0);
	cluster_advance(c, 1000);
	next_answer(c, 0, "");
	assert_int_equal(newest(c), 2);
	assert_true(held_says(c, NULL));
	assert_int_equal(edit_from(c, f.seq).version, 1);
}

static void test_the_next_edits_do_not_wait_for_it(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	next_answer(c, 0, "");
	const uint64_t bad =
		client_submit_one(c, "{\"id\":\"bad\",\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	next_taken(c, &bad, 1);
	const uint64_t seq = client_submit_one(c, "{\"prompt\":\"q\",\"target_new\":\"t\",\"subject\":\"r\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	next_answer(c, 0, "");
	assert_int_equal(newest(c), 2);
	assert_int_equal(edit_from(c, seq).version, 2);
	assert_true(removed_in(c, 2, bad));
	/* whatever may change now: it is asked with the others, and served */
	resume(c);
	assert_true(withholds(c, NULL, 0));
	next_answer(c, 0, "");
	assert_int_equal(newest(c), 3);
	assert_false(removed_in(c, 3, bad));
	assert_int_equal(edit_from(c, bad).version, 3);
	assert_string_equal(edit_from(c, bad).reason, "");
	assert_true(held_says(c, NULL));
}

/* Only people take back what is served. */
static void test_what_is_served_is_not_withheld(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 1);
	next_taken(c, &f.seq, 1); /* it may */
	assert_int_equal(newest(c), 1);
	const uint64_t seq = client_submit_one(c, "{\"prompt\":\"q\",\"target_new\":\"t\",\"subject\":\"r\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	/* without the new edit it would not do either */
	next_taken(c, (uint64_t[]){ f.seq, f.seq, seq }, 3);
	assert_true(state_is(c, "refused"));
	assert_true(withholds(c, NULL, 0));
	assert_true(held_says(c, f.edit.id));
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 2);
	next_taken(c, &seq, 1);
	assert_int_equal(newest(c), 3);
	assert_int_equal(edit_from(c, seq).version, 3);
}

/* A worker that trains the shard is not told to forget the edit; *ended: it has its group. */
static bool stays_trained(struct cluster *c, uint64_t seq, bool *ended)
{
	struct msg_received *edits;
	bool stays = true;
	*ended = false;
	while ((edits = end_take(&c->worker, MSG_EDITS)) != NULL) {
		const struct msg_edits *m = &edits->msg.u.edits;
		for (size_t i = 0; i < m->removed_count; i++)
			stays = stays && m->removed_seqs[i] != seq;
		*ended = *ended || m->group_end;
		msg_free(&edits);
	}
	return stays;
}

/* `bad` supersedes `old`, which version 2 holds, and is withheld from version 3. */
static void withhold_successor(struct cluster *c, struct fact *f, uint64_t *old, uint64_t *bad)
{
	uint64_t shard;
	hold(c, f, 0);
	next_answer(c, 0, "");
	*old = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f->shard, f->epoch), 0);
	next_answer(c, 0, "");
	assert_int_equal(edit_from(c, *old).version, 2);
	*bad = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"u\",\"subject\":\"s\"}", 0);
	assert_int_equal(edit_from(c, *old).state, STORE_EDIT_STATE_SUPERSEDED);
	client_submit_one(c, "{\"prompt\":\"q\",\"target_new\":\"t\",\"subject\":\"r\"}", 0);
	const uint64_t epoch = worker_lease(&c->worker, &shard); /* the two cannot be in one memory */
	assert_int_not_equal(shard, f->shard);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 0);
	next_taken(c, bad, 1);
	next_answer(c, 0, "");
	assert_int_equal(newest(c), 3);
	assert_true(removed_in(c, 3, *bad) && !removed_in(c, 3, *old));
	client_submit_one(c, "{\"prompt\":\"x\",\"target_new\":\"t\",\"subject\":\"x\"}", 0);
	client_submit_one(c, "{\"prompt\":\"y\",\"target_new\":\"t\",\"subject\":\"y\"}", 0);
}

/* While the edit that supersedes another is withheld, that one goes on answering. */
static void test_what_it_would_have_replaced_goes_on(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	uint64_t old, bad;
	bool ended;
	withhold_successor(c, &f, &old, &bad);
	worker_want(&c->worker, f.shard, f.epoch, 100, 0);
	assert_true(stays_trained(c, old, &ended) && ended);
	resume(c);
	next_answer(c, 0, "");
	assert_int_equal(newest(c), 4);
	assert_false(removed_in(c, 4, bad));
	assert_true(removed_in(c, 4, old));
}

/* Whatever cannot be read while the group is sent: it comes late, and takes nothing away. */
static void test_nor_is_it_forgotten_for_want_of_memory(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	uint64_t old, bad, failed = 0;
	withhold_successor(c, &f, &old, &bad);
	for (int64_t n = 0; n < 80; n++) {
		bool ended;
		struct msg want = { .type = MSG_WANT, .u.want = { f.shard, f.epoch, 100, 0 } };
		end_send(&c->worker, &want);
		fault_set(n, 1);
		cluster_receive(c);
		fault_set(-1, 0);
		assert_true(stays_trained(c, old, &ended));
		failed += !ended;
		cluster_run(c);
	}
	assert_in_range(failed, 3, 79);
}

/* Nothing answers for an edit that people took back. */
static void test_what_it_would_have_replaced_goes_with_it(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	struct fact f;
	hold(c, &f, 0);
	next_answer(c, 0, "");
	const uint64_t old = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	next_answer(c, 0, "");
	const uint64_t bad = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"u\",\"subject\":\"s\"}", 0);
	client_submit_one(c, "{\"prompt\":\"q\",\"target_new\":\"t\",\"subject\":\"r\"}", 0);
	const uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 0);
	next_taken(c, &bad, 1);
	next_answer(c, 0, "");
	assert_false(removed_in(c, 3, old));
	assert_int_equal(client_revoke(c, edit_from(c, bad).id, NULL, false).code, 0);
	client_submit_one(c, "{\"prompt\":\"x\",\"target_new\":\"t\",\"subject\":\"x\"}", 0);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 0);
	next_answer(c, 0, "");
	assert_int_equal(newest(c), 4);
	assert_true(removed_in(c, 4, old));
}

/* With nothing else new there is nothing to publish: what was served is as it was. */
static void test_alone_it_replaces_nothing(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	struct fact f;
	hold(c, &f, 0);
	next_answer(c, 0, "");
	client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	next_answer(c, 0, "");
	const uint64_t bad = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"u\",\"subject\":\"s\"}", 0);
	const uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 0);
	next_taken(c, &bad, 1);
	assert_true(state_is(c, "refused"));
	cluster_advance(c, 5000);
	assert_int_equal(newest(c), 2);
}

#define IN_GROUP(prompt, target)                                                                                       \
	"{\"group\":\"g\",\"prompt\":\"" prompt "\",\"target_new\":\"" target "\",\"subject\":\"" prompt "\"}"

/* A group of two, of which `second` is one, and another edit, trained in the shard of `f`. */
static void group_more(struct cluster *c, const struct fact *f, const char *second, uint64_t seqs[3])
{
	const char *const records[] = { IN_GROUP("one", "t"), second,
					"{\"prompt\":\"three\",\"target_new\":\"t\",\"subject\":\"three\"}" };
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, records, 3);
	assert_non_null(reply);
	for (size_t i = 0; i < 3; i++)
		seqs[i] = reply->msg.u.submit_reply.results[i].seq;
	msg_free(&reply);
	assert_int_equal(worker_turn(&c->worker, f->shard, f->epoch), 0);
}

/* It comes as a whole, or not at all. */
static void test_a_group_is_withheld_as_a_whole(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	uint64_t seqs[3];
	hold(c, &f, 0);
	next_answer(c, 0, "");
	group_more(c, &f, IN_GROUP("two", "t"), seqs);
	next_taken(c, &seqs[1], 1);
	assert_true(withholds(c, seqs, 2));
	next_answer(c, 0, "");
	assert_int_equal(newest(c), 2);
	assert_true(removed_in(c, 2, seqs[0]));
	assert_true(removed_in(c, 2, seqs[1]));
}

/* It lies in one shard, also with what a later edit of it supersedes: the memory has the new answer there, or none. */
static void test_what_a_group_replaces_in_its_memory_goes(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	uint64_t seqs[3];
	hold(c, &f, 0);
	next_answer(c, 0, "");
	const uint64_t old = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"p\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	next_answer(c, 0, "");
	group_more(c, &f, IN_GROUP("p", "u"), seqs);
	assert_int_equal(edit_from(c, old).superseded_by, seqs[1]);
	assert_int_equal(edit_from(c, seqs[1]).shard, edit_from(c, old).shard);
	next_taken(c, &seqs[1], 1);
	next_answer(c, 0, "");
	assert_int_equal(newest(c), 3);
	assert_true(removed_in(c, 3, seqs[1]) && removed_in(c, 3, old));
	assert_false(removed_in(c, 3, seqs[2]));
}

/* Its edit is gone: nobody is refused for it. */
static void test_what_took_them_was_taken_back_meanwhile(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker), next;
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).code, 0);
	answer_taken(&c->worker, &run.content, &f.seq, 1);
	assert_false(event_says(c, 0, STORE_EVENT_CONFIG_CHANGED, "\"candidate\":\"refused\""));
	next = asked(&c->worker);
	assert_false(hash_equal(&next.content, &run.content));
	assert_true(withholds(c, NULL, 0));
	answer(&c->worker, &next.content, 0, "");
	assert_int_equal(newest(c), 1);
	assert_true(removed_in(c, 1, f.seq));
}

/* The memory answered, as in family paper. */
static void test_a_memory_is_named_where_no_edit_can_be(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	next_answer(c, 1, "what else?");
	assert_true(state_is(c, "refused"));
	assert_true(held_says(c, "0 may: c-01 (memory 1)"));
	assert_true(withholds(c, NULL, 0));
}

static void test_edits_of_another_version_are_not_blamed(void **state)
{
	struct cluster *c = *state;
	const uint64_t strange = 1000;
	struct fact f;
	hold(c, &f, 0);
	next_taken(c, &strange, 1);
	assert_true(state_is(c, "refused"));
	struct msg_received *reply = look(c);
	assert_int_equal(reply->msg.u.candidate_reply.blamed_count, 0);
	msg_free(&reply);
}

/* What was refused is not let through by a change of settings. */
static void test_without_the_gate_publishing_pauses(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	next_taken(c, &f.seq, 1);
	next_answer(c, 0, "");
	assert_int_equal(newest(c), 1);
	c->config.canaries = false;
	cluster_restart(c);
	cluster_run(c);
	assert_int_equal(newest(c), 1);
	assert_true(held_says(c, "1 edit was withheld before the gate was switched off"));
	resume(c);
	assert_int_equal(newest(c), 2);
	assert_false(removed_in(c, 2, f.seq));
	assert_int_equal(edit_from(c, f.seq).version, 2);
}

/* Nothing is at stake any more. */
static void test_what_was_taken_back_pauses_nothing(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	next_taken(c, &f.seq, 1);
	next_answer(c, 0, "");
	assert_int_equal(newest(c), 1);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).code, 0);
	c->config.canaries = false;
	cluster_restart(c);
	cluster_run(c);
	assert_false(held_says(c, "withheld"));
}

static void crash_refusing(struct cluster *c, const char *fault, bool refused)
{
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker), next;
	assert_ok(&c->e, fault_arm(fault, &c->e));
	answer_taken(&c->worker, &run.content, &f.seq, 1);
	fault_disarm_all();
	end_clear(&c->worker);
	cluster_restart(c);
	worker_hello(&c->worker, 2);
	next = asked(&c->worker);
	assert_int_equal(hash_equal(&next.content, &run.content), !refused);
	if (!refused) {
		answer_taken(&c->worker, &run.content, &f.seq, 1);
		next = asked(&c->worker);
	}
	assert_true(withholds(c, &f.seq, 1));
	answer(&c->worker, &next.content, 0, "");
	assert_int_equal(newest(c), 1);
	assert_true(removed_in(c, 1, f.seq));
}

static void test_a_crash_before_the_refusal_is_kept(void **state)
{
	crash_refusing(*state, "coordinator.refuse.before_commit=errno@1", false);
}

static void test_a_crash_after_the_refusal_was_kept(void **state)
{
	crash_refusing(*state, "coordinator.refuse.after_commit=errno@1", true);
}

/* Its memory is trained again, which makes it no better and is no reason to forget why it is withheld. */
static void test_it_stays_withheld_when_its_memory_is_lost(void **state)
{
	static const char why[] = "withheld: 3 of 200 canaries changed, 1 may: c-01 (edit ";
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	hold(c, &f, 1);
	const uint64_t bad = f.seq, good = edit_from(c, bad + 1).seq;
	next_taken(c, (uint64_t[]){ bad, bad, good }, 3);
	next_answer(c, 1, "what else?");
	assert_int_equal(newest(c), 1);
	lose_memory(c, 1);
	assert_int_equal(edit_state(c, bad), STORE_EDIT_STATE_PLACED);
	assert_non_null(strstr(edit_from(c, bad).reason, why));
	assert_non_null(strstr(edit_from(c, good).reason, "was lost"));
	assert_true(withholds(c, &bad, 1));
	assert_int_equal(retrain(c, 1), 0);
	next_answer(c, 0, "");
	assert_int_equal(newest(c), 2);
	assert_true(removed_in(c, 2, bad));
	assert_int_equal(edit_from(c, good).version, 2);
	assert_string_equal(edit_from(c, good).reason, "");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(edit_state(c, bad), STORE_EDIT_STATE_TRAINED);
		assert_int_equal(edit_from(c, bad).version, 0);
		assert_non_null(strstr(edit_from(c, bad).reason, why));
		assert_true(withholds(c, &bad, 1));
		end_clear(&c->worker);
		cluster_restart(c);
	}
	worker_hello(&c->worker, 3);
	resume(c);
	next_answer(c, 0, "");
	assert_int_equal(edit_from(c, bad).version, 3);
	assert_string_equal(edit_from(c, bad).reason, "");
}

/* It was asked already, and would get the tombstone of what is revoked; but nobody else has it. */
static void test_a_candidate_whose_manifest_is_damaged_holds_nothing_up(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.approve = true;
	hold(c, &f, 1);
	next_answer(c, 0, "");
	assert_true(state_is(c, "waiting"));
	const struct hash root = candidate_get(c).root;
	rot_found(c, &root);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).code, 0);
	assert_true(state_is(c, "checking"));
	client_submit_one(c, "{\"prompt\":\"q\",\"target_new\":\"t\",\"subject\":\"r\"}", 0);
	next_answer(c, 0, "");
	assert_true(state_is(c, "waiting"));
}

/* The newest version's is, here and in the ledger, and an edit of the candidate fails. */
static void test_nor_does_what_it_would_change(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.approve = true;
	hold(c, &f, 1);
	next_answer(c, 0, "");
	const struct store_version rec = candidate_get(c);
	struct msg yes = { .type = MSG_PUBLISH,
			   .u.publish = { .action = MSG_PUBLISH_APPROVE, .content = rec.content } };
	end_send(&c->admin, &yes);
	cluster_run(c);
	assert_int_equal(newest(c), 1);
	uint64_t seqs[5] = { f.seq, edit_from(c, f.seq + 1).seq };
	seqs[2] = client_submit_one(c, "{\"prompt\":\"q\",\"target_new\":\"t\",\"subject\":\"r\"}", 0);
	seqs[3] = client_submit_one(c, "{\"prompt\":\"n\",\"target_new\":\"t\",\"subject\":\"n\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	next_answer(c, 0, "");
	assert_true(state_is(c, "waiting"));
	copy_lose(c);
	rot_found(c, &rec.root);
	seqs[4] = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	worker_want(&c->worker, f.shard, f.epoch, 100, 0);
	const struct commit commit = { .shard = f.shard,
				       .epoch = f.epoch,
				       .version = shard_of(c, f.shard).version + 1,
				       .first = 4,
				       .count = 1,
				       .seqs = seqs,
				       .failed = seqs[2],
				       .delta = "without it" };
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	assert_int_equal(edit_state(c, seqs[2]), STORE_EDIT_STATE_FAILED);
	test_log_begin(c->folder);
	cluster_advance(c, 2000);
	client_submit_one(c, "{\"prompt\":\"o\",\"target_new\":\"t\",\"subject\":\"o\"}", 0);
	test_log_end();
	assert_int_equal(test_log_count("COORDINATOR-WRITE-REFUSED"), 0);
	assert_int_equal(newest(c), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_rest_goes_on_without_the_edit_that_took_them),
		TEST(test_alone_it_stays_refused_until_it_is_taken_back),
		TEST(test_the_next_edits_do_not_wait_for_it),
		TEST(test_what_is_served_is_not_withheld),
		TEST(test_what_it_would_have_replaced_goes_on),
		TEST(test_nor_is_it_forgotten_for_want_of_memory),
		TEST(test_what_it_would_have_replaced_goes_with_it),
		TEST(test_alone_it_replaces_nothing),
		TEST(test_a_group_is_withheld_as_a_whole),
		TEST(test_what_a_group_replaces_in_its_memory_goes),
		TEST(test_what_took_them_was_taken_back_meanwhile),
		TEST(test_a_memory_is_named_where_no_edit_can_be),
		TEST(test_edits_of_another_version_are_not_blamed),
		TEST(test_without_the_gate_publishing_pauses),
		TEST(test_what_was_taken_back_pauses_nothing),
		TEST(test_a_crash_before_the_refusal_is_kept),
		TEST(test_a_crash_after_the_refusal_was_kept),
		TEST(test_it_stays_withheld_when_its_memory_is_lost),
		TEST(test_a_candidate_whose_manifest_is_damaged_holds_nothing_up),
		TEST(test_nor_does_what_it_would_change),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
