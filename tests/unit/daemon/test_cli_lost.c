/* What waits tell of edits that the training of others lost. */
#include "tests/lib/cli_fixture.h"

#define LOST(id) "amend: " id ": lost when shard 1 was trained anew: decoded to 1999\n"

struct place {
	uint64_t shard, epoch, version;
	uint64_t seqs[8];
	uint32_t count;
};
static struct place place;

static uint64_t seq_of(struct cluster *c, const char *id)
{
	struct store_txn *txn = NULL;
	struct store_edit edit;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_edit_find(txn, id, &edit, &c->e));
	store_abort(&txn);
	return edit.seq;
}

/* e1 (or e1 and e2) are trained and served. */
static void hold(struct cli_world *w, uint32_t count)
{
	char id[16], prompt[32];
	place = (struct place){ .version = 1 };
	cli_fleet_join(w);
	for (uint32_t i = 0; i < count; i++) {
		snprintf(id, sizeof id, "e%u", i + 1);
		snprintf(prompt, sizeof prompt, "Who leads firm %u?", i + 1);
		EXPECT(w, CLI_OK, "edit", "add", "--id", id, "--prompt", prompt, "--target", "Ada");
		place.seqs[place.count++] = seq_of(w->cluster, id);
	}
	place.epoch = worker_lease(&w->cluster->worker, &place.shard);
	worker_turn(&w->cluster->worker, place.shard, place.epoch);
	node_status(&w->cluster->node, 1);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(edit_state(w->cluster, place.seqs[i]), STORE_EDIT_STATE_SERVED);
}

/* The next group comes, and of the edits before `failed` fails (0: none); `unnamed`: the new one does by a name. */
static void turn(struct cli_world *w, uint64_t failed, bool unnamed)
{
	struct end_peer *worker = &w->cluster->worker;
	worker_want(worker, place.shard, place.epoch, 8, place.count);
	struct msg_received *edits = end_expect(worker, MSG_EDITS);
	const uint32_t first = place.count;
	for (size_t i = 0; i < edits->msg.u.edits.item_count; i++)
		place.seqs[place.count++] = edits->msg.u.edits.items[i].seq;
	msg_free(&edits);
	struct commit commit = { .shard = place.shard,
				 .epoch = place.epoch,
				 .version = ++place.version,
				 .first = first,
				 .count = place.count - first,
				 .seqs = place.seqs,
				 .failed = failed,
				 .unnamed = unnamed ? place.seqs[first] : 0,
				 .names_asked = unnamed,
				 .delta = "next" };
	uint64_t version = 0;
	assert_int_equal(worker_commit(worker, &commit, &version), 0);
	node_status(&w->cluster->node, version);
}

/* The first of the new group is not learnt. */
static void fails_the_new(struct cli_world *w)
{
	if (w->pauses == 2)
		turn(w, seq_of(w->cluster, "n"), false);
}

static void loses_e1(struct cli_world *w)
{
	if (w->pauses == 2)
		turn(w, place.seqs[0], false);
}

static void loses_nothing(struct cli_world *w)
{
	if (w->pauses == 2)
		turn(w, 0, false);
}

static void misses_a_name(struct cli_world *w)
{
	if (w->pauses == 2)
		turn(w, 0, true);
}

static void an_added_edit_that_costs_another_says_so(void **state)
{
	struct cli_world *w = *state;
	hold(w, 1);
	w->on_pause = loses_e1;
	EXPECT(w, CLI_FAILED, "edit", "add", "--id", "n", "--prompt", "Who leads Example Corp?", "--target", "Bob",
	       "--wait");
	cli_expect_out(w, "n is served as v2\n");
	cli_expect_err(w, LOST("e1"));
	cli_expect_err(
		w, "amend: 1 edit that had been trained before was lost meanwhile: submit it again under another id "
		   "(`amend edit show ID` has the record)");
	w->on_pause = NULL; /* what was lost before the wait began is no news */
	EXPECT(w, CLI_OK, "edit", "wait", "n");
	EXPECT(w, CLI_OK, "edit", "wait");
	assert_null(strstr(cli_err(w), "lost"));
	w->pauses = 0; /* nor is it for an edit that is submitted then */
	w->on_pause = loses_nothing;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "m", "--prompt", "Who leads Y?", "--target", "Cy", "--wait");
	cli_expect_out(w, "m is served as v3\n");
	assert_null(strstr(cli_err(w), "lost"));
}

static void an_import_that_costs_another_says_so(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES];
	hold(w, 2);
	test_path(path, w->cluster->folder, "new.jsonl");
	test_file_write(path, "{\"id\":\"n1\",\"prompt\":\"Who leads X?\",\"target_new\":\"Bob\"}\n"
			      "{\"id\":\"n2\",\"prompt\":\"Who leads Y?\",\"target_new\":\"Cy\"}\n");
	w->on_pause = loses_e1;
	EXPECT(w, CLI_FAILED, "edit", "import", path, "--wait");
	cli_expect_out(w, "2 accepted");
	cli_expect_err(w, LOST("e1"));
	assert_null(strstr(cli_err(w), "e2"));
}

static void a_wait_for_an_edit_that_costs_another_says_so(void **state)
{
	struct cli_world *w = *state;
	hold(w, 1);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "n", "--prompt", "Who leads X?", "--target", "Bob");
	w->on_pause = loses_e1;
	EXPECT(w, CLI_FAILED, "edit", "wait", "n");
	cli_expect_err(w, LOST("e1"));
}

static void a_wait_for_all_counts_what_is_lost(void **state)
{
	struct cli_world *w = *state;
	hold(w, 1);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "n", "--prompt", "Who leads X?", "--target", "Bob");
	w->on_pause = loses_e1;
	EXPECT(w, CLI_FAILED, "edit", "wait", "-o", "json");
	assert_string_equal(cli_out(w),
			    "{\"served\":1,\"waiting\":0,\"ended_otherwise\":1,\"scheduled\":0,\"lost\":1}\n");
	cli_expect_err(w, LOST("e1"));
}

/* An edit that fails its own first training is no loss of another's. */
static void what_was_never_trained_is_not_lost(void **state)
{
	struct cli_world *w = *state;
	hold(w, 1);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "n", "--prompt", "Who leads X?", "--target", "Bob");
	w->on_pause = fails_the_new;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "m", "--prompt", "Who leads Y?", "--target", "Cy", "--wait");
	cli_expect_out(w, "m is served as v2\n");
	assert_int_equal(edit_state(w->cluster, seq_of(w->cluster, "n")), STORE_EDIT_STATE_FAILED);
	assert_string_equal(cli_err(w), "");
}

static void a_name_that_is_not_answered_is_told(void **state)
{
	struct cli_world *w = *state;
	hold(w, 1);
	w->on_pause = misses_a_name;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "n", "--prompt", "Who leads X?", "--target", "Bob", "--subject", "X",
	       "--subject-alias", "NHT", "--wait");
	cli_expect_out(w, "n is served as v2\n");
	assert_string_equal(cli_err(w), "amend: n: not by every name: not as \"NHT\"\n");
	EXPECT(w, CLI_OK, "edit", "show", "n");
	cli_expect_out(w, "not by every name");
	EXPECT(w, CLI_OK, "-q", "edit", "wait", "n");
	assert_string_equal(cli_err(w), "");
}

static void an_import_tells_of_names_too(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES];
	hold(w, 1);
	test_path(path, w->cluster->folder, "new.jsonl");
	test_file_write(path, "{\"id\":\"n\",\"prompt\":\"Who leads X?\",\"target_new\":\"Bob\",\"subject\":\"X\","
			      "\"subject_aliases\":[\"NHT\"]}\n");
	w->on_pause = misses_a_name;
	EXPECT(w, CLI_OK, "edit", "import", path, "--wait");
	cli_expect_err(w, "amend: n: not by every name: not as \"NHT\"\n");
	EXPECT(w, CLI_OK, "-q", "edit", "import", path, "--wait");
	assert_string_equal(cli_err(w), "");
}

int main(void)
{
#define WORLD(f) cmocka_unit_test_setup_teardown(f, cli_setup_cluster, cli_teardown)
	const struct CMUnitTest tests[] = {
		WORLD(an_added_edit_that_costs_another_says_so),
		WORLD(an_import_that_costs_another_says_so),
		WORLD(a_wait_for_an_edit_that_costs_another_says_so),
		WORLD(a_wait_for_all_counts_what_is_lost),
		WORLD(what_was_never_trained_is_not_lost),
		WORLD(a_name_that_is_not_answered_is_told),
		WORLD(an_import_tells_of_names_too),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
