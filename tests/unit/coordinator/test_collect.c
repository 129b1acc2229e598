/* Which versions a collection leaves alone, and what the coordinator collects by itself. */
#include "tests/lib/coordinator_fixture.h"

#define VERSIONS 4

static void versions_make(struct cluster *c)
{
	for (uint64_t v = 1; v <= VERSIONS; v++)
		fact_train(c, v, v);
	end_clear(&c->worker);
}

static void minutes_pass(struct cluster *c, int minutes)
{
	for (int i = 0; i < minutes; i++)
		cluster_advance(c, 60000);
}

/* As `amend store gc --keep N`; gives the code. */
static int collect(struct cluster *c, uint64_t keep, char note[512])
{
	static uint64_t id;
	struct msg msg = { .type = MSG_STORE_RUN,
			   .u.store_run = { .action = MSG_STORE_COLLECT, .keep_versions = keep } };
	int code = ERR_AGAIN;
	bool done = false;
	id++;
	for (int i = 0; i < 20 && !done; i++) {
		struct msg again = msg;
		again.u.store_run.id = id;
		end_clear(&c->client);
		end_send(&c->client, &again);
		cluster_run(c);
		struct msg_received *reply = end_expect(&c->client, MSG_STORE_STATUS);
		const struct msg_store_status *status = &reply->msg.u.store_status;
		done = status->done;
		code = status->code;
		snprintf(note, 512, "%.*s", (int)status->text.len, status->text.len > 0 ? status->text.text : "");
		msg_free(&reply);
	}
	assert_true(done);
	return code;
}

/* The oldest version that still has its manifest; every later one must have it. */
static uint64_t oldest(struct cluster *c)
{
	uint64_t found = 0;
	for (uint64_t v = 1; v <= VERSIONS; v++) {
		struct store_txn *txn = NULL;
		struct store_version rec;
		struct buf missing = BUF_INIT;
		bool kept = false;
		assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
		assert_ok(&c->e, store_version_get(txn, v, &rec, &c->e));
		assert_ok(&c->e, store_version_kept(txn, v, &kept, &c->e));
		store_abort(&txn);
		assert_ok(&c->e, store_blob_missing(c->store, &rec.root, &missing, &c->e));
		assert_int_equal(kept, missing.len == 0);
		if (kept && found == 0)
			found = v;
		assert_true(kept || found == 0);
		buf_free(&missing);
	}
	return found;
}

static void ask(struct cluster *c, uint64_t version)
{
	struct msg msg = { .type = MSG_GET_MANIFEST, .u.get_manifest = { .version = version } };
	end_send(&c->node, &msg);
	cluster_run(c);
	end_drop(&c->node, MSG_MANIFEST);
}

static void test_versions_that_nodes_serve_stay(void **state)
{
	struct cluster *c = *state;
	char note[512];
	cluster_start(c);
	versions_make(c);
	minutes_pass(c, 30);
	node_hello(&c->node, 1);
	node_status(&c->node, 2); /* it cannot load later ones, say */
	assert_int_equal(collect(c, 1, note), 0);
	assert_string_equal(note, "v2 and later stay: node serves v2");
	assert_int_equal(oldest(c), 2);
	node_status(&c->node, 3);
	assert_int_equal(collect(c, 1, note), 0);
	assert_int_equal(oldest(c), 3);
	minutes_pass(c, 1); /* and it is gone */
	assert_int_equal(collect(c, 1, note), 0);
	assert_string_equal(note, "");
	assert_int_equal(oldest(c), VERSIONS);
}

static void test_a_version_that_is_being_fetched_stays(void **state)
{
	struct cluster *c = *state;
	char note[512];
	cluster_start(c);
	versions_make(c);
	minutes_pass(c, 30);
	ask(c, 3);
	ask(c, 2);
	ask(c, 4);
	minutes_pass(c, 9);
	assert_int_equal(collect(c, 1, note), 0);
	assert_string_equal(note, "v2 and later stay: that version was asked for in the last 20 minutes");
	assert_int_equal(oldest(c), 2);
	minutes_pass(c, 9);
	ask(c, 3);
	minutes_pass(c, 9);
	assert_int_equal(collect(c, 1, note), 0);
	assert_int_equal(oldest(c), 3);
	minutes_pass(c, 20);
	assert_int_equal(collect(c, 1, note), 0);
	assert_string_equal(note, "");
	assert_int_equal(oldest(c), VERSIONS);
}

/* Who serves what is not known yet: nothing is written down, either. */
static void test_a_start_waits(void **state)
{
	struct cluster *c = *state;
	char note[512];
	cluster_start(c);
	versions_make(c);
	minutes_pass(c, 30);
	cluster_restart(c);
	assert_int_equal(collect(c, 1, note), ERR_AGAIN);
	if (strstr(note, "ask again in 600 s") == NULL)
		fail_msg("%s", note);
	minutes_pass(c, 9);
	assert_int_equal(collect(c, 1, note), ERR_AGAIN);
	assert_int_equal(oldest(c), 1);
	minutes_pass(c, 2);
	assert_int_equal(collect(c, 1, note), 0);
	assert_int_equal(oldest(c), VERSIONS);
}

static void test_it_collects_by_itself(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	versions_make(c);
	minutes_pass(c, 120);
	assert_int_equal(oldest(c), 1); /* not unless it is told to */
	cluster_stop(c);
	c->config.keep_versions = 2;
	test_log_begin(c->folder);
	cluster_start(c);
	minutes_pass(c, 9);
	assert_int_equal(oldest(c), 1);
	minutes_pass(c, 2);
	assert_int_equal(oldest(c), 3);
	assert_int_equal(test_log_count("COORDINATOR-COLLECTED"), 1);
	minutes_pass(c, 58);
	assert_int_equal(test_log_count("COORDINATOR-COLLECTED"), 1);
	minutes_pass(c, 4);
	assert_int_equal(test_log_count("COORDINATOR-COLLECTED"), 2);
	test_log_end();
	assert_int_equal(oldest(c), 3);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_versions_that_nodes_serve_stay),
		T(test_a_version_that_is_being_fetched_stays),
		T(test_a_start_waits),
		T(test_it_collects_by_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
