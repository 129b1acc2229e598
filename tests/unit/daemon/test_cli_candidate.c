/* What waits for approval, as `amend version` shows and judges it. */
#include "tests/lib/cli_fixture.h"

#include "base/json.h"

#define ADMIN  6 /* keys of the fixture; that of the fixture's commands has submitted the facts */
#define CLIENT 4

static void facts_hold(struct cli_world *w)
{
	w->cluster->config.approve = true;
	cluster_restart(w->cluster);
	cli_fleet_join(w);
	client_facts(w->cluster, 1, 2);
	uint64_t shard = 0, epoch = worker_lease(&w->cluster->worker, &shard);
	assert_int_equal(worker_turn(&w->cluster->worker, shard, epoch), 0);
}

static void content_get(struct cli_world *w, char out[HASH_HEX_BYTES])
{
	EXPECT(w, CLI_OK, "version", "candidate", "-o", "name");
	assert_int_equal(strlen(cli_out(w)), HASH_HEX_BYTES);
	memcpy(out, cli_out(w), HASH_HEX_BYTES - 1);
	out[HASH_HEX_BYTES - 1] = '\0';
}

static void no_candidate(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "version", "candidate");
	assert_string_equal(cli_out(w), "there is no candidate: what is trained is published\n");
	EXPECT(w, CLI_OK, "version", "candidate", "-o", "json");
	struct json *json = cli_json(w);
	assert_string_equal(json_string(json_get(json, "state"), NULL), "none");
	json_free(&json);
	EXPECT(w, CLI_NOT_FOUND, "version", "approve", "0123456789ab");
	cli_expect_err(w, "not approved: there is no candidate");
}

static void shown_and_approved(void **state)
{
	struct cli_world *w = *state;
	char content[HASH_HEX_BYTES], digits[13];
	facts_hold(w);
	content_get(w, content);
	snprintf(digits, sizeof digits, "%.12s", content);
	EXPECT(w, CLI_OK, "version", "candidate");
	cli_expect_out(w, "a candidate for v1 (2 edits more, 0 less");
	cli_expect_out(w, content);
	cli_expect_out(w, "CHANGE  SEQ");
	cli_expect_out(w, "What is fact 2?");
	EXPECT(w, CLI_OK, "version", "list");
	cli_expect_err(w, "waits for approval since");
	EXPECT(w, CLI_OK, "fleet", "status");
	cli_expect_out(w, "waits for approval since");
	EXPECT(w, CLI_DENIED, "version", "approve", digits);
	cli_expect_err(w, "another administrator's key has to approve it");
	cli_world_key(w, ADMIN);
	EXPECT(w, CLI_OK, "version", "approve", digits);
	assert_string_equal(cli_out(w), "v1 is published\n");
	EXPECT(w, CLI_OK, "version", "approve", content);
	assert_string_equal(cli_out(w), "published before: nothing has changed\n");
}

static void stale_or_wrong_contents(void **state)
{
	struct cli_world *w = *state;
	facts_hold(w);
	cli_world_key(w, ADMIN);
	EXPECT(w, CLI_USAGE, "version", "approve", "0123");
	cli_expect_err(w, "write 12 to 64 of the digits");
	EXPECT(w, CLI_USAGE, "version", "approve", "0123456789aX");
	EXPECT(w, CLI_CONFLICT, "version", "approve", "000000000000");
	cli_expect_err(w, "it was made anew");
	EXPECT(w, CLI_CONFLICT, "version", "approve",
	       "0000000000000000000000000000000000000000000000000000000000000000");
	cli_expect_err(w, "it was made anew");
}

static void rejected_with_a_reason(void **state)
{
	struct cli_world *w = *state;
	char content[HASH_HEX_BYTES];
	facts_hold(w);
	content_get(w, content);
	EXPECT(w, CLI_USAGE, "version", "reject", content);
	cli_expect_err(w, "needs --reason");
	EXPECT(w, CLI_OK, "version", "reject", content, "--reason", "fact 2 is wrong");
	EXPECT(w, CLI_OK, "version", "candidate");
	cli_expect_out(w, "(fact 2 is wrong)");
	EXPECT(w, CLI_OK, "version", "resume", "-o", "json");
	EXPECT(w, CLI_OK, "version", "candidate", "-o", "json");
	struct json *json = cli_json(w);
	assert_string_equal(json_string(json_get(json, "state"), NULL), "waiting");
	assert_int_equal(json_integer(json_get(json, "added_total")), 2);
	json_free(&json);
}

static void a_wait_says_what_for(void **state)
{
	struct cli_world *w = *state;
	facts_hold(w);
	EXPECT(w, CLI_PENDING, "edit", "wait", "--timeout", "5");
	cli_expect_err(w, "amend: a candidate for v1");
}

/* Trained facts wait for a worker's word on the canaries: each was taken by the first. */
static void names_the_edits_that_took_the_canaries(void **state)
{
	struct cli_world *w = *state;
	struct cluster *c = w->cluster;
	struct store_txn *txn = NULL;
	struct store_edit edit;
	c->config.canaries = true;
	cluster_restart(c);
	cli_fleet_join(w);
	client_facts(c, 1, 1);
	uint64_t shard = 0, epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 0);
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_edit_next(txn, 1, UINT32_MAX, &edit, &c->e));
	store_abort(&txn);
	struct msg_received *run = end_expect(&c->worker, MSG_CANARY_RUN);
	const struct msg_canary_change change = { .id = { "own-1", 5 },
						  .prompt = { "p", 1 },
						  .before = { "a", 1 },
						  .after = { "b", 1 },
						  .memory = shard,
						  .edit = edit.seq };
	struct msg msg = { .type = MSG_CANARY_RESULT };
	msg.u.canary_result = (struct msg_canary_result){ .content = run->msg.u.canary_run.content,
							  .text = { "", 0 },
							  .asked = 1,
							  .changed_total = 1,
							  .changed = &change,
							  .changed_count = 1 };
	end_send(&c->worker, &msg);
	cluster_run(c);
	msg_free(&run);
	EXPECT(w, CLI_OK, "version", "candidate");
	cli_expect_out(w, "1 of 1 canaries changed, 0 may: own-1 (edit ");
	cli_expect_out(w, "blamed");
	cli_expect_out(w, "withheld");
	cli_expect_out(w, edit.id);
	EXPECT(w, CLI_OK, "version", "candidate", "-o", "json");
	struct json *json = cli_json(w);
	assert_int_equal(json_integer(json_at(json_get(json, "blamed"), 0)), edit.seq);
	assert_int_equal(json_integer(json_at(json_get(json, "withheld"), 0)), edit.seq);
	json_free(&json);
	EXPECT(w, CLI_OK, "edit", "list", "-o", "json");
	cli_expect_out(w, "withheld: 1 of 1 canaries changed");
	EXPECT(w, CLI_OK, "edit", "revoke", edit.id, "--reason", "it takes another question");
	EXPECT(w, CLI_OK, "version", "list");
	EXPECT(w, CLI_OK, "version", "candidate", "-o", "json");
	json = cli_json(w);
	assert_int_equal(json_length(json_get(json, "withheld")), 0);
	json_free(&json);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cli_setup_cluster, cli_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(no_candidate),           TEST(shown_and_approved),   TEST(stale_or_wrong_contents),
		TEST(rejected_with_a_reason), TEST(a_wait_says_what_for), TEST(names_the_edits_that_took_the_canaries),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
