/* Candidates that a worker asks the canaries. */
#include "tests/unit/coordinator/canary_fixture.h"

static void test_what_changes_few_is_published(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 2);
	assert_true(held_says(c, "is asked the canaries since"));
	struct msg_canary_run run = asked(&c->worker);
	answer(&c->worker, &run.content, 2, "what else?");
	assert_int_equal(newest(c), 1);
	assert_true(held_says(c, NULL));
	const struct store_version rec = version_get(c, 1);
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

/* The first worker lives, and says nothing for two minutes: the second is asked as well. */
static void ask_another(struct cluster *c, const struct fact *f)
{
	worker_hello(&c->worker2, 1);
	for (int64_t ms = 0; ms < 121000; ms += 1000) {
		worker_beat(&c->worker, f->shard, f->epoch);
		worker_beat(&c->worker2, 0, 0);
		cluster_advance(c, 1000);
	}
}

/* A slow worker's answer comes when another has been asked, which is as slow. */
static void test_a_late_answer_counts(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker);
	ask_another(c, &f);
	struct msg_canary_run again = asked(&c->worker2);
	assert_true(hash_equal(&again.content, &run.content));
	give_up(&c->worker, &again.root, "of another candidate");
	assert_true(held_says(c, "the worker did not answer in time"));
	answer(&c->worker, &run.content, 0, "");
	assert_int_equal(newest(c), 1);
	answer(&c->worker2, &run.content, 9, "what else?");
	assert_int_equal(newest(c), 1);
	assert_true(held_says(c, NULL));
}

/* One that cannot tell takes nothing from another that is asking. */
static void test_a_late_failure_does_not_count(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker);
	ask_another(c, &f);
	asked(&c->worker2);
	end_clear(&c->worker);
	end_clear(&c->worker2);
	give_up(&c->worker, &run.content, "no such file");
	cluster_advance(c, 3000);
	assert_null(end_take(&c->worker, MSG_CANARY_RUN));
	answer(&c->worker, &run.content, 0, ""); /* it has said that it cannot */
	assert_int_equal(newest(c), 0);
	answer(&c->worker2, &run.content, 0, "");
	assert_int_equal(newest(c), 1);
}

static void test_what_is_revoked_meanwhile_is_not_served(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).code, 0);
	answer(&c->worker, &run.content, 0, "");
	assert_int_equal(newest(c), 1);
	assert_true(removed_in(c, 1, f.seq));
	assert_int_equal(removed_count(c, 1), 1);
	const struct store_version rec = version_get(c, 1);
	assert_int_equal(rec.edit_count, 1);
	assert_string_equal(rec.note, "1 edit more, 0 less");
	assert_int_equal(edit_from(c, f.seq + 1).version, 1);
	assert_int_equal(edit_from(c, f.seq).version, 0);
}

static void test_nothing_is_asked_of_what_has_ended(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	hold(c, &f, 0);
	asked(&c->worker);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).code, 0);
	assert_null(end_take(&c->worker, MSG_CANARY_RUN));
	assert_int_equal(client_revoke(c, edit_from(c, f.seq + 1).id, NULL, false).code, 0);
	struct msg_canary_run run = asked(&c->worker); /* of a version in which nothing is left */
	answer(&c->worker, &run.content, 0, "");
	assert_int_equal(newest(c), 1);
	assert_int_equal(removed_count(c, 1), 2);
}

/* Edits that are served are taken back one after the other, quicker than the canaries are asked. */
static void test_a_trickle_of_revocations_holds_nothing_up(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.canary_changes = 0;
	hold(c, &f, 0);
	client_facts(c, 3, 6);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	for (uint64_t version = 1; version <= 2; version++) {
		struct msg_canary_run run = asked(&c->worker);
		answer(&c->worker, &run.content, 0, "");
		assert_int_equal(newest(c), version);
	}
	const uint64_t fresh = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	struct msg_canary_run run = asked(&c->worker);
	uint64_t seq = f.seq, revoked[5];
	for (size_t i = 0; i < 5; i++) {
		struct store_edit edit = edit_from(c, seq);
		revoked[i] = edit.seq;
		seq = edit.seq + 1;
		assert_int_equal(client_revoke(c, edit.id, NULL, false).version, 3 + i);
		assert_true(removed_in(c, newest(c), edit.seq)); /* it does not wait */
		cluster_advance(c, 500);
		struct msg_received *again = end_take(&c->worker, MSG_CANARY_RUN);
		assert_true(again == NULL || hash_equal(&again->msg.u.canary_run.content, &run.content));
		msg_free(&again);
		if (i == 2) {
			end_clear(&c->worker);
			cluster_restart(c);
			worker_hello(&c->worker, 1);
			struct msg_canary_run same = asked(&c->worker);
			assert_true(hash_equal(&same.content, &run.content));
		}
	}
	assert_int_equal(newest(c), 7);
	answer(&c->worker, &run.content, 0, "");
	assert_int_equal(newest(c), 8);
	for (size_t i = 0; i < 5; i++)
		assert_true(removed_in(c, 8, revoked[i]));
	assert_int_equal(edit_from(c, fresh).version, 8);
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

/* It need not be asked again: what is looked at has the tombstone. */
static void test_what_is_revoked_while_it_waits_for_approval(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.approve = true;
	hold(c, &f, 0);
	struct msg_canary_run run = asked(&c->worker);
	answer(&c->worker, &run.content, 0, "");
	assert_true(held_says(c, "waits for approval"));
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).code, 0);
	struct msg msg = { .type = MSG_PUBLISH,
			   .u.publish = { .action = MSG_PUBLISH_APPROVE, .content = run.content } };
	end_send(&c->admin, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->admin, MSG_PUBLISH_REPLY);
	assert_int_equal(reply->msg.u.publish_reply.code, ERR_CONFLICT);
	msg_free(&reply);
	assert_null(end_take(&c->worker, MSG_CANARY_RUN));
	struct msg look = { .type = MSG_CANDIDATE };
	end_send(&c->admin, &look);
	cluster_run(c);
	reply = end_expect(&c->admin, MSG_CANDIDATE_REPLY);
	assert_int_equal(reply->msg.u.candidate_reply.canaries, 200);
	assert_int_equal(reply->msg.u.candidate_reply.added_count, 1);
	msg.u.publish.content = reply->msg.u.candidate_reply.content;
	msg_free(&reply);
	end_send(&c->admin, &msg);
	cluster_run(c);
	end_drop(&c->admin, MSG_PUBLISH_REPLY);
	assert_int_equal(newest(c), 1);
	assert_true(removed_in(c, 1, f.seq));
}

static void hello_with(struct end_peer *worker, uint8_t canaries)
{
	struct msg msg = { .type = MSG_HELLO };
	msg.u.hello = (struct msg_hello){ .kind = MSG_PEER_WORKER,
					  .protocol_min = 1,
					  .protocol_max = 1,
					  .name = { worker->name, strlen(worker->name) },
					  .software = { "", 0 },
					  .backend = { "", 0 },
					  .endpoint = { "", 0 },
					  .refusal = { "", 0 },
					  .boot = 1,
					  .layers = 30,
					  .hidden = CLUSTER_HIDDEN,
					  .ffn = CLUSTER_FFN };
	memset(msg.u.hello.base_model.bytes, 0xab, HASH_BYTES);
	msg.u.hello.canaries.bytes[0] = canaries;
	end_send(worker, &msg);
	cluster_run(worker->cluster);
	end_drop(worker, MSG_HELLO_REPLY);
}

static bool fleet_says(struct cluster *c, const char *what)
{
	struct msg msg = { .type = MSG_FLEET };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_FLEET_REPLY);
	const struct msg_text text = reply->msg.u.fleet_reply.canaries;
	bool says = what == NULL ? text.len == 0 : text.len > 0 && strstr(text.text, what) != NULL;
	if (!says)
		printf("canaries: %s\n", text.text);
	msg_free(&reply);
	return says;
}

static void test_workers_with_other_canaries_are_told(void **state)
{
	struct cluster *c = *state;
	c->config.canaries = true;
	cluster_start(c);
	hello_with(&c->worker, 1);
	assert_true(fleet_says(c, NULL));
	hello_with(&c->worker2, 2);
	assert_true(fleet_says(c, "different canaries (worker: 010000000000, worker2: 020000000000)"));
	cluster_advance(c, 60000); /* neither is heard of */
	assert_true(fleet_says(c, NULL));
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
		TEST(test_a_late_answer_counts),
		TEST(test_a_late_failure_does_not_count),
		TEST(test_what_is_revoked_meanwhile_is_not_served),
		TEST(test_nothing_is_asked_of_what_has_ended),
		TEST(test_a_trickle_of_revocations_holds_nothing_up),
		TEST(test_what_passed_waits_for_approval),
		TEST(test_what_is_revoked_while_it_waits_for_approval),
		TEST(test_workers_with_other_canaries_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
