/* The edited layer is the cluster's, fixed with its base model: a version cannot have memories of two. */
#include "tests/lib/coordinator_fixture.h"

#include "proto/codec.h"

#define OWN_LAYER 25 /* of the 30 layers that the fixture's workers name */

static uint32_t told_layer(struct cluster *c)
{
	struct msg msg = { .type = MSG_HELLO,
			   .u.hello = { .kind = MSG_PEER_CLIENT, .protocol_min = 1, .protocol_max = 1 } };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_HELLO_REPLY);
	uint32_t layer = reply->msg.u.hello_reply.layer;
	msg_free(&reply);
	return layer;
}

static void expect_refused(struct cluster *c, uint32_t layer, const char *words)
{
	cluster_stop(c);
	c->config.layer = layer;
	assert_int_equal(cluster_try_start(c), ERR_MISMATCH);
	assert_non_null(strstr(c->e.text, words));
	err_clear(&c->e);
}

static void expect_started(struct cluster *c, uint32_t config_layer, uint32_t layer)
{
	cluster_stop(c);
	c->config.layer = config_layer;
	cluster_start(c);
	assert_int_equal(told_layer(c), layer);
}

/* From here on memories edit the layer. */
static void train(struct cluster *c)
{
	fact_train(c, 1, 1);
}

static void test_the_first_worker_fixes_the_familys_own(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	assert_int_equal(told_layer(c), UINT32_MAX);
	worker_hello(&c->worker, 1);
	assert_int_equal(told_layer(c), OWN_LAYER);
	train(c);
	expect_refused(c, 20, "edit layer 25, the configuration says 20: set --layer to 25");
	expect_started(c, OWN_LAYER, OWN_LAYER);
	expect_started(c, UINT32_MAX, OWN_LAYER);
}

static void test_without_a_setting_it_stays(void **state)
{
	struct cluster *c = *state;
	c->config.layer = 20;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	expect_started(c, UINT32_MAX, 20);
	train(c);
	expect_refused(c, OWN_LAYER, "edit layer 20");
	expect_started(c, 20, 20);
}

/* Edits that only wait do not hold it: no data folder is to be thrown away for a wrong setting. */
static void test_before_anything_is_trained_it_may_change(void **state)
{
	struct cluster *c = *state;
	struct msg_received *edits;
	uint64_t shard, epoch;
	c->config.layer = 20;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	epoch = worker_lease(&c->worker, &shard);
	worker_want(&c->worker, shard, epoch, 100, 0); /* even a group in a worker's hands */
	edits = end_expect(&c->worker, MSG_EDITS);
	msg_free(&edits);
	expect_started(c, 21, 21);
	expect_started(c, UINT32_MAX, 20); /* no worker has taken it */
	expect_started(c, 21, 21);
	worker_hello(&c->worker, 2);
	expect_started(c, UINT32_MAX, 21);
	end_clear(&c->worker);
	worker_hello(&c->worker, 3);
	epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	expect_refused(c, 22, "edit layer 21");
	expect_started(c, UINT32_MAX, 21);
}

static void test_before_a_worker_was_here_it_may_change(void **state)
{
	struct cluster *c = *state;
	c->config.layer = 20;
	cluster_start(c);
	expect_started(c, 21, 21);
}

/* As programs wrote it that knew no such entry: a base model, and `version_layer` in a version unless it is 0. */
static void write_old_store(struct cluster *c, uint32_t version_layer)
{
	struct buf base = BUF_INIT, manifest_bytes = BUF_INIT;
	struct store_txn *txn = NULL;
	struct store_version version = { .version = 1 };
	const struct proto_manifest manifest = { .format = 1, .version = 1, .layer = version_layer, .default_set = 1 };
	uint8_t digest[HASH_BYTES];
	memset(digest, 0xab, sizeof digest);
	buf_append(&base, digest, sizeof digest);
	buf_u32le(&base, 30);
	buf_u32le(&base, 576);
	buf_u32le(&base, 1536);
	cluster_store(c);
	assert_ok(&c->e, proto_manifest_encode(&manifest, &manifest_bytes, &c->e));
	assert_ok(&c->e, store_blob_put(c->store, manifest_bytes.data, manifest_bytes.len, &version.root, &c->e));
	assert_ok(&c->e, store_begin(c->store, &txn, &c->e));
	assert_ok(&c->e, store_meta_put(txn, "base-model", base.data, base.len, &c->e));
	if (version_layer != 0)
		assert_ok(&c->e, store_version_put(txn, &version, &c->e));
	assert_ok(&c->e, store_commit(&txn, &c->e));
	buf_free(&base);
	buf_free(&manifest_bytes);
}

static void test_an_older_stores_version_says_it(void **state)
{
	struct cluster *c = *state;
	write_old_store(c, 20);
	expect_refused(c, 21, "edit layer 20, the configuration says 21");
	expect_started(c, UINT32_MAX, 20);
}

static void test_an_older_store_without_versions_leaves_it_to_the_next_worker(void **state)
{
	struct cluster *c = *state;
	write_old_store(c, 0);
	c->config.layer = 21;
	cluster_start(c);
	expect_started(c, 20, 20);
	train(c);
	expect_refused(c, 21, "edit layer 20");
	expect_started(c, 20, 20);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)
	const struct CMUnitTest tests[] = {
		T(test_the_first_worker_fixes_the_familys_own),
		T(test_without_a_setting_it_stays),
		T(test_before_a_worker_was_here_it_may_change),
		T(test_before_anything_is_trained_it_may_change),
		T(test_an_older_stores_version_says_it),
		T(test_an_older_store_without_versions_leaves_it_to_the_next_worker),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
