/* Versions that wait, on a disk that changes what they are made of. */
#include "tests/unit/coordinator/candidate_fixture.h"
#include "tests/unit/coordinator/rot.h"

struct manifest { /* as it was before the disk changed it */
	struct hash hash;
	struct buf bytes;
};

static void blob_read(struct cluster *c, const struct hash *root, struct manifest *out)
{
	*out = (struct manifest){ .bytes = BUF_INIT };
	assert_ok(&c->e, store_blob_get(c->store, root, 1 << 20, &out->bytes, &c->e));
	hash_of(out->bytes.data, out->bytes.len, &out->hash);
}

static void manifest_of(struct cluster *c, uint64_t version, struct manifest *out)
{
	struct store_txn *txn = NULL;
	struct store_version rec;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_version_get(txn, version, &rec, &c->e));
	store_abort(&txn);
	blob_read(c, &rec.root, out);
}

/* The manifest is a blob of one chunk, which its content names. */
static void candidate_manifest(struct cluster *c, struct manifest *out)
{
	const struct seen now = look(c);
	*out = (struct manifest){ .hash = now.content, .bytes = BUF_INIT };
	assert_ok(&c->e, store_chunk_get(c->store, &now.content, &out->bytes, &c->e));
}

static void stop(struct cluster *c)
{
	end_clear(&c->worker);
	end_clear(&c->node);
	cluster_stop(c);
}

static void bring(struct cluster *c, struct manifest *m)
{
	struct msg msg = { .type = MSG_CHUNK, .u.chunk = { m->hash, 0, { m->bytes.data, m->bytes.len } } };
	worker_hello(&c->worker, 7);
	end_send(&c->worker, &msg);
	cluster_run(c);
	end_clear(&c->worker);
	buf_free(&m->bytes);
}

static struct store_edit edit_of(struct cluster *c, uint64_t seq)
{
	struct store_edit edit;
	edit_get(c, seq, &edit);
	return edit;
}

static void test_a_damaged_manifest_of_the_newest_is_waited_for(void **state)
{
	struct cluster *c = *state;
	struct manifest newest_one;
	struct fact f;
	served_facts(c, &f);
	const uint64_t seq = fact_more(c, &f);
	const struct seen s = look(c);
	manifest_of(c, 1, &newest_one);
	stop(c);
	rot(c, &newest_one.bytes);
	cluster_start(c);
	cluster_restart(c); /* it is apart now */
	cluster_advance(c, 1000);
	node_hello(&c->node, 2);
	node_status(&c->node, 1);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_TRAINED);
	struct revoked r = client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(r.code, ERR_AGAIN);
	assert_non_null(strstr(r.text, "manifest is damaged"));
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "").code, ERR_AGAIN);
	assert_int_equal(client_submit_one(c, "{\"prompt\":\"q\",\"target_new\":\"t\",\"subject\":\"o\"}", 0) != 0, 1);
	bring(c, &newest_one);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 2);
	assert_true(removed_in(c, 2, f.seq));
	assert_int_equal(approve(c).version, 3);
	assert_int_equal(edit_of(c, seq).version, 3);
}

static void test_what_expires_is_taken_back_when_the_manifest_is_whole(void **state)
{
	struct cluster *c = *state;
	struct manifest newest_one;
	char record[160], time[ENV_TIME_BYTES];
	struct fact f;
	served_facts(c, &f);
	env_time_format(env_wall_ms(&c->clock.env) + 20000, time);
	snprintf(record, sizeof record, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\",\"expires\":\"%s\"}",
		 time);
	const uint64_t seq = client_submit_one(c, record, 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	assert_int_equal(approve(c).version, 2);
	manifest_of(c, 2, &newest_one);
	stop(c);
	rot(c, &newest_one.bytes);
	cluster_start(c);
	cluster_advance(c, 30000);
	cluster_advance(c, 2000);
	assert_false(coordinator_failed(c->coordinator, NULL));
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_TRAINED);
	bring(c, &newest_one);
	cluster_advance(c, 1000);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_EXPIRED);
	assert_true(removed_in(c, 3, seq));
}

static void test_a_candidate_with_a_damaged_manifest_is_made_anew(void **state)
{
	struct cluster *c = *state;
	struct manifest waiting, newest_one;
	struct fact f;
	served_facts(c, &f);
	const uint64_t seq = fact_more(c, &f);
	manifest_of(c, 1, &newest_one);
	candidate_manifest(c, &waiting);
	stop(c);
	rot(c, &waiting.bytes);
	rot(c, &newest_one.bytes);
	cluster_start(c);
	cluster_advance(c, 1000);
	cluster_restart(c);
	cluster_advance(c, 1000);
	assert_string_equal(look(c).state, "none"); /* what it would change is not known yet */
	assert_int_equal(client_submit_one(c, "{\"prompt\":\"q\",\"target_new\":\"t\",\"subject\":\"o\"}", 0) != 0, 1);
	bring(c, &newest_one);
	cluster_advance(c, 1000);
	const struct seen next = look(c);
	assert_string_equal(next.state, "waiting");
	assert_false(hash_equal(&next.content, &waiting.hash));
	assert_int_equal(next.first_added, seq);
	assert_int_equal(approve(c).version, 2);
	assert_int_equal(edit_of(c, seq).version, 2);
	buf_free(&waiting.bytes);
}

/* After a rollback, what v2 held is in no version, also where the manifest of v3 cannot be read. */
static void test_a_pause_outlasts_a_damaged_manifest(void **state)
{
	struct cluster *c = *state;
	struct manifest newest_one;
	cluster_start(c);
	fact_train(c, 1, 1);
	fact_train(c, 2, 2);
	const uint64_t seq = edit_from(c, edit_from(c, 1).seq + 1).seq;
	assert_int_equal(edit_of(c, seq).version, 2);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_ROLLBACK, NULL, "wrong").version, 3);
	manifest_of(c, 3, &newest_one);
	stop(c);
	rot(c, &newest_one.bytes);
	cluster_start(c);
	cluster_restart(c);
	node_hello(&c->node, 2);
	node_status(&c->node, 3);
	cluster_advance(c, 1000);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_TRAINED);
	bring(c, &newest_one);
	cluster_advance(c, 1000);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_TRAINED);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_RESUME, NULL, "").version, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_damaged_manifest_of_the_newest_is_waited_for),
		TEST(test_what_expires_is_taken_back_when_the_manifest_is_whole),
		TEST(test_a_candidate_with_a_damaged_manifest_is_made_anew),
		TEST(test_a_pause_outlasts_a_damaged_manifest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
