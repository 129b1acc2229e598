/* Candidates that a worker asks the canaries. */
#include "tests/unit/coordinator/revoke_fixture.h"

static void hold(struct cluster *c, struct fact *f, uint32_t may)
{
	c->config.canaries = true;
	c->config.canary_changes = may;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 2);
	f->epoch = worker_lease(&c->worker, &f->shard);
	assert_int_equal(worker_turn(&c->worker, f->shard, f->epoch), 0);
	assert_int_equal(newest(c), 0);
}

static struct msg_canary_run asked(struct end_peer *worker)
{
	struct msg_received *run = end_expect(worker, MSG_CANARY_RUN);
	struct msg_canary_run out = run->msg.u.canary_run;
	msg_free(&run);
	return out;
}

/* `changed` of 200, with the prompts p…; those listed first. */
static void answer(struct end_peer *worker, const struct hash *content, uint32_t changed, const char *prompt)
{
	struct msg_canary_change list[3];
	struct msg msg = { .type = MSG_CANARY_RESULT };
	size_t count = changed < 3 ? changed : 3;
	for (size_t i = 0; i < count; i++)
		list[i] = (struct msg_canary_change){ .id = { "c-01", 4 },
						      .prompt = { prompt, strlen(prompt) },
						      .before = { "before", 6 },
						      .after = { "after", 5 } };
	msg.u.canary_result = (struct msg_canary_result){ .content = *content,
							  .text = { "", 0 },
							  .asked = 200,
							  .changed_total = changed,
							  .changed = list,
							  .changed_count = count };
	end_send(worker, &msg);
	cluster_run(worker->cluster);
}

static void give_up(struct end_peer *worker, const struct hash *content, const char *why)
{
	struct msg msg = { .type = MSG_CANARY_RESULT };
	msg.u.canary_result =
		(struct msg_canary_result){ .content = *content, .code = ERR_NOT_FOUND, .text = { why, strlen(why) } };
	end_send(worker, &msg);
	cluster_run(worker->cluster);
}

static bool held_says(struct cluster *c, const char *what)
{
	struct msg msg = { .type = MSG_CANDIDATE };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_CANDIDATE_REPLY);
	const struct msg_text held = reply->msg.u.candidate_reply.text;
	bool says = what == NULL ? held.len == 0 : held.len > 0 && strstr(held.text, what) != NULL;
	if (!says)
		printf("held: %s\n", held.text);
	msg_free(&reply);
	return says;
}

static bool event_says(struct cluster *c, uint64_t seq, enum store_event_type type, const char *text)
{
	struct store_txn *txn = NULL;
	struct store_event event;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	if (seq == 0)
		assert_ok(&c->e, store_event_last(txn, &seq, NULL, &c->e));
	assert_ok(&c->e, store_event_get(txn, seq, &event, &c->e));
	bool says = event.type == type && memmem(event.payload, event.payload_len, text, strlen(text)) != NULL;
	store_abort(&txn);
	return says;
}

static void test_what_changes_few_is_published(void **state)
{
	struct cluster *c = *state;
	struct store_txn *txn = NULL;
	struct store_version rec;
	struct fact f;
	hold(c, &f, 2);
	assert_true(held_says(c, "is asked the canaries since"));
	struct msg_canary_run run = asked(&c->worker);
	answer(&c->worker, &run.content, 2, "what else?");
	assert_int_equal(newest(c), 1);
	assert_true(held_says(c, NULL));
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_version_get(txn, 1, &rec, &c->e));
	store_abort(&txn);
	assert_true(hash_equal(&rec.content, &run.content));
	assert_true(hash_equal(&rec.root, &run.root));
	assert_true(
		event_says(c, rec.event_seq, STORE_EVENT_VERSION_PUBLISHED, "\"canaries\":200,\"canaries_changed\":2"));
	answer(&c->worker, &run.content, 9, "what else?"); /* late, or twice */
	assert_int_equal(newest(c), 1);
	assert_true(held_says(c, NULL));
}

static void test_a_shard_that_flips_canaries_is_not_published(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 2);
	struct msg_canary_run run = asked(&c->worker);
	answer(&c->worker, &run.content, 3, "what else?");
	assert_int_equal(newest(c), 0);
	assert_true(held_says(c, "was refused at"));
	assert_true(held_says(c, "3 of 200 canaries changed, 2 may: c-01"));
	assert_true(event_says(c, 0, STORE_EVENT_CONFIG_CHANGED,
			       "\"id\":\"c-01\",\"before\":\"before\",\"after\":\"after\",\"meant\":false"));
	/* nothing is asked again, also by another process, until there is something new */
	cluster_advance(c, 600000);
	end_clear(&c->worker);
	cluster_restart(c);
	worker_hello(&c->worker, 1);
	cluster_advance(c, 1000);
	assert_null(end_take(&c->worker, MSG_CANARY_RUN));
	assert_true(held_says(c, "canaries changed"));
	client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	f.epoch = worker_lease(&c->worker, &f.shard);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	run = asked(&c->worker);
	answer(&c->worker, &run.content, 0, "");
	assert_int_equal(newest(c), 1);
}

static void test_a_resume_asks_again(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker);
	answer(&c->worker, &run.content, 1, "what else?");
	struct msg msg = { .type = MSG_PUBLISH, .u.publish = { .action = MSG_PUBLISH_RESUME } };
	end_send(&c->client, &msg);
	cluster_run(c);
	end_drop(&c->client, MSG_PUBLISH_REPLY);
	run = asked(&c->worker);
	answer(&c->worker, &run.content, 0, "");
	assert_int_equal(newest(c), 1);
}

static void test_a_canary_that_an_edit_asks_is_meant_to_change(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker);
	answer(&c->worker, &run.content, 1, "what is fact 2?");
	assert_int_equal(newest(c), 1);
}

static void test_those_that_are_not_listed_are_meant_by_none(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 1);
	struct msg_canary_run run = asked(&c->worker);
	answer(&c->worker, &run.content, 5, "What is fact 2?");
	assert_int_equal(newest(c), 0);
	assert_true(held_says(c, "2 of 200 canaries changed, 1 may"));
}

static void test_another_worker_is_asked(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker);
	worker_hello(&c->worker2, 1);
	give_up(&c->worker2, &run.content, "not asked"); /* it was not */
	assert_true(held_says(c, "is asked the canaries since"));
	give_up(&c->worker, &run.content, "no such file");
	assert_true(held_says(c, "and again: no such file"));
	assert_null(end_take(&c->worker2, MSG_CANARY_RUN));
	cluster_advance(c, 2500);
	struct msg_canary_run again = asked(&c->worker2);
	assert_true(hash_equal(&again.content, &run.content));
	answer(&c->worker, &run.content, 0, ""); /* who is not asked any more */
	assert_int_equal(newest(c), 0);
	cluster_advance(c, 20000); /* neither is heard of */
	assert_true(held_says(c, "no worker is there"));
	end_clear(&c->worker2);
	worker_hello(&c->worker2, 2);
	cluster_advance(c, 1000);
	run = asked(&c->worker2);
	answer(&c->worker2, &run.content, 0, "");
	assert_int_equal(newest(c), 1);
}

/* Of two workers with a lease each, the one whose engine has a group would answer later. */
static void test_who_trains_nothing_is_asked(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch;
	c->config.canaries = true;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	worker_hello(&c->worker2, 1);
	client_facts(c, 1, 2);
	epoch = worker_lease(&c->worker, &shard);
	client_facts(c, 3, 2);
	uint64_t other, other_epoch = worker_lease(&c->worker2, &other);
	worker_want(&c->worker, shard, epoch, 100, 0); /* its group goes out */
	end_clear(&c->worker);
	assert_int_equal(worker_turn(&c->worker2, other, other_epoch), 0);
	assert_null(end_take(&c->worker, MSG_CANARY_RUN));
	struct msg_canary_run run = asked(&c->worker2);
	answer(&c->worker2, &run.content, 0, "");
	assert_int_equal(newest(c), 1);
}

/* The request was lost, or the worker started anew and knows nothing of it. */
static void test_a_silent_worker_is_asked_again(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker), again;
	cluster_advance(c, 1000);
	assert_null(end_take(&c->worker, MSG_CANARY_RUN));
	worker_hello(&c->worker, 2);
	cluster_advance(c, 1500);
	again = asked(&c->worker);
	assert_true(hash_equal(&again.content, &run.content));
	answer(&c->worker, &run.content, 0, "");
	assert_int_equal(newest(c), 1);
	cluster_advance(c, 3000);
	assert_null(end_take(&c->worker, MSG_CANARY_RUN));
}

static void test_impossible_counts_are_no_answer(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker);
	answer(&c->worker, &run.content, 201, "what else?");
	assert_true(held_says(c, "counts are impossible"));
	assert_int_equal(newest(c), 0);
}

static void test_what_is_revoked_meanwhile_is_not_published(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker), again;
	struct store_txn *txn = NULL;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_edit_next(txn, 1, UINT32_MAX, &edit, &c->e));
	store_abort(&txn);
	assert_int_equal(client_revoke(c, edit.id, NULL, false).code, 0);
	again = asked(&c->worker);
	assert_false(hash_equal(&again.content, &run.content));
	answer(&c->worker, &run.content, 0, "");
	assert_int_equal(newest(c), 0);
	answer(&c->worker, &again.content, 0, "");
	assert_int_equal(newest(c), 1);
	assert_true(removed_in(c, 1, edit.seq));
}

static void test_what_passed_waits_for_approval(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.approve = true;
	hold(c, &f, 1);
	struct msg_canary_run run = asked(&c->worker);
	struct msg msg = { .type = MSG_PUBLISH,
			   .u.publish = { .action = MSG_PUBLISH_APPROVE, .content = run.content } };
	end_send(&c->admin, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->admin, MSG_PUBLISH_REPLY);
	assert_int_equal(reply->msg.u.publish_reply.code, ERR_AGAIN);
	msg_free(&reply);
	answer(&c->worker, &run.content, 1, "what else?");
	assert_int_equal(newest(c), 0);
	cluster_restart(c);
	assert_true(held_says(c, "waits for approval"));
	end_send(&c->admin, &msg);
	cluster_run(c);
	end_drop(&c->admin, MSG_PUBLISH_REPLY);
	assert_int_equal(newest(c), 1);
	assert_true(event_says(c, 0, STORE_EVENT_VERSION_PUBLISHED, "\"approved\":true,\"canaries\":200"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_changes_few_is_published),
		TEST(test_a_shard_that_flips_canaries_is_not_published),
		TEST(test_a_resume_asks_again),
		TEST(test_a_canary_that_an_edit_asks_is_meant_to_change),
		TEST(test_those_that_are_not_listed_are_meant_by_none),
		TEST(test_another_worker_is_asked),
		TEST(test_who_trains_nothing_is_asked),
		TEST(test_a_silent_worker_is_asked_again),
		TEST(test_impossible_counts_are_no_answer),
		TEST(test_what_is_revoked_meanwhile_is_not_published),
		TEST(test_what_passed_waits_for_approval),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
