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
	const struct store_version rec = version_get(c, version);
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
	copy_lose(c);
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
	copy_lose(c);
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
	copy_lose(c);
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
	copy_lose(c);
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

/* --- What its manifest names */

/* The candidate's delta, which its shard has left behind. */
static uint64_t left_behind(struct cluster *c, struct fact *f, struct hash *delta)
{
	served_facts(c, f);
	const uint64_t seq = fact_more(c, f);
	*delta = shard_of(c, f->shard).delta_root;
	const uint64_t later = client_submit_one(c, "{\"prompt\":\"q\",\"target_new\":\"t\",\"subject\":\"o\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f->shard, f->epoch), 0);
	assert_int_equal(edit_state(c, later), STORE_EDIT_STATE_TRAINED);
	return seq;
}

static void damage_text(struct cluster *c, const struct hash *hash, char out[512])
{
	struct buf chunks = BUF_INIT, text = BUF_INIT;
	struct coordinator_damage damage;
	buf_append(&chunks, hash->bytes, HASH_BYTES);
	assert_ok(&c->e, coordinator_damage_find(c->store, &chunks, NULL, &damage, &c->e));
	coordinator_damage_text(&damage, &text);
	coordinator_damage_advice(&damage, &text);
	snprintf(out, 512, "%s", buf_cstr(&text));
	coordinator_damage_fini(&damage);
	buf_free(&chunks);
	buf_free(&text);
}

static void test_a_candidate_is_published_when_nodes_can_load_it(void **state)
{
	struct cluster *c = *state;
	struct manifest delta;
	struct hash root;
	struct fact f;
	char text[512];
	(void)left_behind(c, &f, &root);
	const struct seen s = look(c);
	blob_read(c, &root, &delta);
	stop(c);
	rot(c, &delta.bytes);
	cluster_start(c);
	end_need(&c->node, &delta.hash);
	cluster_restart(c);
	struct published p = say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "");
	assert_int_equal(p.code, ERR_CORRUPT);
	assert_non_null(strstr(p.text, "the candidate cannot be loaded: 1 chunk is missing of its memories: damaged"));
	assert_int_equal(newest(c), 1);
	assert_string_equal(look(c).state, "waiting");
	damage_text(c, &delta.hash, text);
	assert_string_equal(text,
			    "1 damaged chunk: the candidate for the next version needs what is damaged: reject it "
			    "(`amend version reject`), the next is made of what is whole");
	bring(c, &delta);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "").version, 2);
}

/* All but the blob `lost`, as a disk that an older copy was put back on. */
static void lose(struct cluster *c, const struct hash *lost, const struct hash *candidate)
{
	struct store_collect *collect = NULL;
	struct store_collect_tally tally = { .more = true };
	struct store_txn *txn = NULL;
	struct store_version rec;
	struct buf roots = BUF_INIT;
	cluster_advance(c, 2 * STORE_GRACE_MS);
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_ledger_roots(txn, &roots, &c->e));
	assert_ok(&c->e, store_version_get(txn, 1, &rec, &c->e));
	store_abort(&txn);
	buf_append(&roots, rec.root.bytes, HASH_BYTES);
	buf_append(&roots, candidate->bytes, HASH_BYTES);
	assert_ok(&c->e, store_collect_new(c->store, &collect, &c->e));
	while (tally.more) {
		assert_ok(&c->e, store_collect_keep(collect, (const void *)roots.data, roots.len / HASH_BYTES, &c->e));
		assert_ok(&c->e, store_collect_slice(collect, 1000, &tally, &c->e));
	}
	store_collect_destroy(&collect);
	buf_clear(&roots);
	assert_ok(&c->e, store_blob_missing(c->store, lost, &roots, &c->e));
	assert_true(roots.len > 0);
	buf_free(&roots);
}

static void test_a_candidate_that_has_lost_a_memory_is_made_anew(void **state)
{
	struct cluster *c = *state;
	struct hash root;
	struct fact f;
	const uint64_t seq = left_behind(c, &f, &root);
	const struct seen s = look(c);
	const struct store_version candidate = candidate_get(c);
	assert_true(hash_equal(&candidate.content, &s.content));
	lose(c, &root, &candidate.root);
	struct published p = say(&c->admin, MSG_PUBLISH_APPROVE, &s.content, "");
	assert_int_equal(p.code, ERR_CORRUPT);
	assert_non_null(strstr(p.text, "the candidate cannot be loaded"));
	end_clear(&c->worker);
	cluster_restart(c);
	cluster_run(c);
	const struct seen next = look(c);
	assert_string_equal(next.state, "waiting");
	assert_false(hash_equal(&next.content, &s.content));
	assert_int_equal(next.added, 2);
	assert_int_equal(approve(c).version, 2);
	assert_int_equal(edit_of(c, seq).version, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_damaged_manifest_of_the_newest_is_waited_for),
		TEST(test_what_expires_is_taken_back_when_the_manifest_is_whole),
		TEST(test_a_candidate_with_a_damaged_manifest_is_made_anew),
		TEST(test_a_pause_outlasts_a_damaged_manifest),
		TEST(test_a_candidate_is_published_when_nodes_can_load_it),
		TEST(test_a_candidate_that_has_lost_a_memory_is_made_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
