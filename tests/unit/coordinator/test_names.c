/* The names that an edit answers for beside its own: those of what it supersedes. */
#include "base/merge_plan.h"
#include "base/record.h"
#include "tests/unit/coordinator/revoke_fixture.h"

#include <inttypes.h>

#define MAYOR(of, target, more)                                                                                        \
	"{\"prompt\":\"The mayor of " of " is\",\"subject\":\"" of "\",\"target_new\":\"" target "\"" more "}"
#define NAMES  ",\"subject_aliases\":[\"NHT\",\"Harborton\"]"
#define FULL   MAYOR("New Harborton", "Ada", NAMES)
#define SHORT  MAYOR("NHT", "Bo", "")
#define PARTLY MAYOR("Harborton", "Cid", "")
/* A question about the subject by each of its names. */
static const char *const rivals[] = { MAYOR("New Harborton", "Eve", ""), MAYOR("NHT", "Eve", ""),
				      MAYOR("Harborton", "Eve", "") };

static struct msg_received *listed(struct cluster *c, uint64_t seq)
{
	struct msg msg = { .type = MSG_EDIT_LIST,
			   .u.edit_list = { .from_seq = seq, .limit = 1, .with_payload = true } };
	end_clear(&c->client);
	end_send(&c->client, &msg);
	cluster_run(c);
	return end_expect(&c->client, MSG_EDIT_LIST_REPLY);
}

static void expect_names(struct msg_bytes payload, const char *const *names, size_t count)
{
	struct record *record = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, record_parse(payload.bytes, payload.len, &record, &e));
	assert_int_equal(record->subject_alias_count, count);
	for (size_t i = 0; i < count; i++)
		assert_string_equal(record->subject_aliases[i].text, names[i]);
	record_destroy(&record);
}

static void expect_listed(struct cluster *c, uint64_t seq, const char *const *names, size_t count)
{
	struct msg_received *reply = listed(c, seq);
	assert_int_equal(reply->msg.u.edit_list_reply.edits[0].seq, seq);
	expect_names(reply->msg.u.edit_list_reply.edits[0].payload, names, count);
	msg_free(&reply);
}

static void expect_history(struct cluster *c, uint64_t seq, const char *text)
{
	struct msg_received *reply = listed(c, seq);
	const struct msg_text *first = &reply->msg.u.edit_list_reply.edits[0].history[0].text;
	assert_int_equal(first->len, strlen(text));
	assert_memory_equal(first->text, text, first->len);
	msg_free(&reply);
}

/* Nothing is taken beside it under any of its names. */
static void expect_found(struct cluster *c, uint64_t seq)
{
	char text[64];
	snprintf(text, sizeof text, "(seq %" PRIu64 ")", seq);
	for (size_t i = 0; i < sizeof rivals / sizeof rivals[0]; i++) {
		struct msg_received *reply = client_submit(c, MSG_REJECT, &rivals[i], 1);
		assert_non_null(reply);
		const struct msg_submit_result *result = &reply->msg.u.submit_reply.results[0];
		assert_int_equal(result->code, ERR_CONFLICT);
		assert_non_null(memmem(result->reason.text, result->reason.len, text, strlen(text)));
		msg_free(&reply);
	}
}

static struct store_edit edit_of(struct cluster *c, uint64_t seq)
{
	struct store_edit edit;
	edit_get(c, seq, &edit);
	return edit;
}

static void test_a_successor_answers_for_all_names(void **state)
{
	struct cluster *c = *state;
	const char *record = SHORT, *taken[] = { "New Harborton", "Harborton" };
	struct store_txn *txn = NULL;
	struct store_event event;
	struct store_ledger_tally tally;
	struct hash content;
	cluster_start(c);
	const uint64_t first = client_submit_one(c, FULL, 0);
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, &record, 1);
	assert_non_null(reply);
	const struct msg_submit_result *result = &reply->msg.u.submit_reply.results[0];
	const uint64_t second = result->seq;
	static const char says[] = "-> \"Ada\", answers for \"New Harborton\" and 1 more name too";
	assert_int_equal(result->supersedes, first);
	assert_non_null(memmem(result->reason.text, result->reason.len, says, sizeof says - 1));
	msg_free(&reply);
	expect_found(c, second);
	cluster_restart(c);
	expect_found(c, second);
	expect_listed(c, second, taken, 2);
	/* the ledger has what was submitted, and knows it again */
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_get(txn, second, &event, &c->e));
	assert_int_equal(event.payload_len, strlen(SHORT));
	assert_memory_equal(event.payload, SHORT, event.payload_len);
	assert_ok(&c->e, store_ledger_verify(txn, &tally, &c->e));
	store_abort(&txn);
	hash_of(SHORT, strlen(SHORT), &content);
	const struct store_edit kept = edit_of(c, second);
	assert_true(hash_equal(&content, &kept.content));
	client_submit_one(c, SHORT, ERR_EXISTS);
	client_submit_one(c, " " SHORT, ERR_EXISTS);
	/* what follows has them from it */
	const char *all[] = { "NHT", "New Harborton" };
	const uint64_t third = client_submit_one(c, PARTLY, 0);
	assert_int_equal(edit_of(c, third).supersedes, second);
	expect_listed(c, third, all, 2);
	expect_found(c, third);
}

static void test_it_is_told_in_the_history(void **state)
{
	struct cluster *c = *state;
	char text[256];
	cluster_start(c);
	const struct store_edit first = edit_of(c, client_submit_one(c, FULL, 0));
	const uint64_t second = client_submit_one(c, SHORT, 0), third = client_submit_one(c, FULL, 0);
	snprintf(text, sizeof text, "supersedes edit %s, answers for \"New Harborton\" and 1 more name too", first.id);
	expect_history(c, second, text);
	snprintf(text, sizeof text, "supersedes edit %s", edit_of(c, second).id); /* it lists them itself */
	expect_history(c, third, text);
}

static void test_it_is_trained_and_merged_with_them(void **state)
{
	struct cluster *c = *state;
	const char *taken[] = { "New Harborton", "Harborton" }, *record;
	struct merge_plan *plan = NULL;
	struct hash digest;
	struct buf edits = BUF_INIT;
	uint64_t shard, seq;
	size_t record_len;
	cluster_start(c);
	client_submit_one(c, FULL, 0);
	const uint64_t second = client_submit_one(c, SHORT, 0);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	const uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_want(&c->worker, shard, epoch, 100, 0);
	struct msg_received *sent = end_expect(&c->worker, MSG_EDITS);
	const struct msg_edits *m = &sent->msg.u.edits;
	assert_int_equal(m->item_count, 2);
	assert_int_equal(m->items[0].seq, second);
	expect_names(m->items[0].payload, taken, 2);
	assert_memory_equal(m->items[1].payload.bytes, "{\"prompt\":\"What is fact 1?\"", 26);
	msg_free(&sent);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 1);
	c->fake.ticks_left = -1;
	struct msg run = { .type = MSG_MERGE_RUN };
	end_send(&c->client, &run);
	cluster_run(c);
	worker_turn(&c->worker, shard, epoch); /* the closing pass */
	assert_ok(&c->e, merge_plan_read(c->fake.plan, &plan, &digest, &c->e));
	assert_ok(&c->e, merge_plan_input(c->fake.plan, plan->shards[0].edits, &plan->shards[0].edits_hash, 1 << 20,
					  &edits, &c->e));
	const char *text = (const char *)edits.data;
	size_t len = edits.len;
	assert_ok(&c->e, merge_plan_edit_next(&text, &len, &seq, &record, &record_len, &c->e));
	assert_int_equal(seq, second);
	expect_names((struct msg_bytes){ record, record_len }, taken, 2);
	buf_free(&edits);
	merge_plan_destroy(&plan);
}

/* What comes back answers for what it did; what its successor had taken over goes with that. */
static void test_what_comes_back_has_its_names(void **state)
{
	struct cluster *c = *state;
	const char *taken[] = { "New Harborton", "Harborton" };
	cluster_start(c);
	client_submit_one(c, FULL, 0);
	const struct store_edit second = edit_of(c, client_submit_one(c, SHORT, 0));
	const struct store_edit third = edit_of(c, client_submit_one(c, PARTLY, 0));
	const struct revoked back = client_revoke(c, third.id, NULL, true);
	assert_int_equal(back.restored_count, 1);
	struct store_edit again = edit_from(c, third.seq + 1);
	assert_int_equal(again.restores, second.seq);
	expect_listed(c, again.seq, taken, 2);
	expect_found(c, again.seq);
	char text[256];
	snprintf(text, sizeof text, "brings back edit %s, answers for \"New Harborton\" and 1 more name too",
		 second.id);
	expect_history(c, again.seq, text);
	assert_int_equal(client_revoke(c, again.id, NULL, false).revoked_count, 1);
	client_submit_one(c, rivals[0], 0);
	client_submit_one(c, rivals[0], ERR_EXISTS);
}

static void test_one_that_begins_takes_them_over(void **state)
{
	struct cluster *c = *state;
	const char *taken[] = { "New Harborton", "Harborton" };
	char time[ENV_TIME_BYTES], record[512];
	cluster_start(c);
	env_time_format(env_wall_ms(&c->clock.env) + 60000, time);
	snprintf(record, sizeof record, MAYOR("NHT", "Bo", ",\"valid_from\":\"%s\""), time);
	const uint64_t later = client_submit_one(c, record, 0), first = client_submit_one(c, FULL, 0);
	expect_listed(c, later, NULL, 0);
	cluster_advance(c, 60001);
	assert_int_equal(edit_of(c, later).supersedes, first);
	expect_listed(c, later, taken, 2);
	expect_found(c, later);
}

/* Two of a group may both contradict an earlier edit: by two names of it, they contradict each other too. */
static void test_a_group_meets_under_them(void **state)
{
	struct cluster *c = *state;
	const char *two[] = { MAYOR("NHT", "Bo", ",\"group\":\"g\""),
			      MAYOR("New Harborton", "Cid", ",\"group\":\"g\"") };
	const char *one[] = { two[0], MAYOR("New Harborton", "Bo", ",\"group\":\"g\"") };
	const char *taken[] = { "New Harborton", "Harborton" };
	char text[256];
	cluster_start(c);
	const uint64_t first = client_submit_one(c, FULL, 0);
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, two, 2);
	assert_non_null(reply);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(reply->msg.u.submit_reply.results[i].code, ERR_CONFLICT);
	msg_free(&reply);
	assert_int_equal(edit_of(c, first).superseded_by, 0);
	/* but not where they say the same */
	reply = client_submit(c, MSG_SUPERSEDE, one, 2);
	assert_non_null(reply);
	const uint64_t seq = reply->msg.u.submit_reply.results[0].seq;
	const uint64_t other = reply->msg.u.submit_reply.results[1].seq;
	assert_int_equal(reply->msg.u.submit_reply.results[1].code, 0);
	msg_free(&reply);
	assert_int_equal(edit_of(c, first).superseded_by, seq);
	assert_int_equal(edit_of(c, first).state, STORE_EDIT_STATE_SUPERSEDED);
	/* the one that has superseded it has its names */
	snprintf(text, sizeof text, "supersedes edit %s, answers for \"New Harborton\" and 1 more name too",
		 edit_of(c, first).id);
	expect_history(c, seq, text);
	expect_listed(c, seq, taken, 2);
	expect_history(c, other, "");
	expect_listed(c, other, NULL, 0);
}

/* One question about a subject that two edits know by two names is about both. */
static void test_two_that_know_each_other_are_one_subject(void **state)
{
	struct cluster *c = *state;
	const char *kept = MAYOR("NHT", "Bo", ",\"subject_aliases\":[\"New Harborton\",\"Harborton\"]");
	cluster_start(c);
	const uint64_t first = client_submit_one(c, FULL, 0);
	struct msg_received *reply = client_submit(c, MSG_KEEP, &kept, 1);
	assert_non_null(reply);
	const uint64_t second = reply->msg.u.submit_reply.results[0].seq;
	msg_free(&reply);
	const uint64_t third = client_submit_one(c, PARTLY, 0);
	assert_int_equal(edit_of(c, first).superseded_by, third);
	assert_int_equal(edit_of(c, second).superseded_by, third);
}

/* The others stay behind. */
static void test_a_record_takes_what_it_has_room_for(void **state)
{
	struct cluster *c = *state;
	struct buf record = BUF_INIT;
	const char *names[RECORD_LIST_MAX];
	char texts[RECORD_LIST_MAX][8];
	cluster_start(c);
	const uint64_t first = client_submit_one(c, FULL, 0);
	buf_puts(&record,
		 "{\"prompt\":\"The mayor of NHT is\",\"subject\":\"NHT\",\"target_new\":\"Bo\",\"subject_aliases\":[");
	for (size_t i = 0; i + 1 < RECORD_LIST_MAX; i++) {
		snprintf(texts[i], sizeof texts[i], "NHT%zu", i);
		names[i] = texts[i];
		buf_printf(&record, "%s\"%s\"", i > 0 ? "," : "", texts[i]);
	}
	buf_puts(&record, "]}");
	names[RECORD_LIST_MAX - 1] = "New Harborton";
	const uint64_t second = client_submit_one(c, buf_cstr(&record), 0);
	assert_int_equal(edit_of(c, second).supersedes, first);
	expect_listed(c, second, names, RECORD_LIST_MAX);
	buf_free(&record);
}

/* A subject may be of words that any question says, another name of one may not. */
static void test_what_cannot_be_another_name_is_left_out(void **state)
{
	struct cluster *c = *state;
	const char *taken[] = { "High Numbers" };
	cluster_start(c);
	const uint64_t first =
		client_submit_one(c, MAYOR("The Who", "Ada", ",\"subject_aliases\":[\"Detours\",\"High Numbers\"]"), 0);
	const uint64_t second = client_submit_one(c, MAYOR("Detours", "Bo", ""), 0);
	assert_int_equal(edit_of(c, second).supersedes, first);
	expect_listed(c, second, taken, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_successor_answers_for_all_names),        T(test_it_is_told_in_the_history),
		T(test_it_is_trained_and_merged_with_them),       T(test_what_comes_back_has_its_names),
		T(test_one_that_begins_takes_them_over),          T(test_a_group_meets_under_them),
		T(test_two_that_know_each_other_are_one_subject), T(test_a_record_takes_what_it_has_room_for),
		T(test_what_cannot_be_another_name_is_left_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
