/* A merged memory that the disk takes between its job and its version. */
#include "tests/unit/coordinator/candidate_fixture.h"
#include "tests/unit/coordinator/lost_fixture.h"

#include <unistd.h>

static void output_rot(struct cluster *c)
{
	struct buf bytes = BUF_INIT;
	buf_printf(&bytes, "merged delta %d", c->fake.starts);
	rot(c, &bytes);
	buf_free(&bytes);
}

/* Two facts in one shard; their merge is through its job, and waits for a worker to re-test it. */
static void gated(struct cluster *c, struct fact *f)
{
	struct msg run = { .type = MSG_MERGE_RUN };
	c->config.retrain_ms = RETRAIN_MS;
	c->config.edits_per_shard = 2;
	if (c->config.approve)
		served_facts(c, f);
	else
		prepare(c, f);
	end_send(&c->client, &run);
	cluster_run(c);
	cluster_advance(c, 100);
	assert_int_equal(c->fake.starts, 1);
}

static void expect_merged(struct cluster *c, uint64_t version, const char *delta)
{
	struct buf bytes = BUF_INIT;
	const struct hash root = merged_of(c, version);
	assert_int_equal(newest(c), version);
	assert_false(hash_is_zero(&root));
	assert_ok(&c->e, store_blob_get(c->store, &root, 1 << 20, &bytes, &c->e));
	assert_int_equal(bytes.len, strlen(delta));
	assert_memory_equal(bytes.data, delta, bytes.len);
	buf_free(&bytes);
}

static void output_remove(struct cluster *c)
{
	char path[TEST_PATH_BYTES];
	test_path(path, c->folder, "merge/1/output");
	assert_int_equal(unlink(path), 0);
}

static void test_it_is_read_again_from_the_jobs_folder(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	gated(c, &f);
	output_rot(c);
	assert_int_equal(gate_result(c, 2), 0);
	expect_merged(c, 2, "merged delta 1");
	assert_int_equal(c->fake.starts, 1);
}

static void test_it_is_merged_anew(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	gated(c, &f);
	output_rot(c);
	output_remove(c);
	assert_int_equal(gate_result(c, 2), ERR_FENCED);
	assert_int_equal(newest(c), 1);
	wait(c, 4000);
	assert_int_equal(c->fake.starts, 2);
	assert_int_equal(gate_result(c, 2), 0);
	expect_merged(c, 2, "merged delta 2");
}

/* The disk changes it, and the coordinator finds that out. */
static void output_rot_found(struct cluster *c)
{
	static const char bytes[] = "merged delta 1";
	struct hash hash;
	hash_of(bytes, sizeof bytes - 1, &hash);
	output_rot(c);
	end_need(&c->client, &hash);
	end_clear(&c->client);
}

/* Out of memory at the n-th allocation and the next while the result is looked at; *again: it was said that it is
 * re-tested. */
static int starved_result(struct cluster *c, int64_t n, bool *again)
{
	uint64_t merge, epoch = worker_lease(&c->worker, &merge);
	struct msg msg = { .type = MSG_GATE_RESULT, .u.gate_result = { merge, epoch, 2, 2 } };
	worker_want(&c->worker, merge, epoch, 100, 0);
	end_clear(&c->worker);
	end_send(&c->worker, &msg);
	fault_set(n, 2);
	cluster_receive(c);
	fault_set(-1, 0);
	struct msg_received *reply = end_take(&c->worker, MSG_SHARD_COMMIT_REPLY);
	const int code = reply == NULL ? ERR_AGAIN : reply->msg.u.shard_commit_reply.code; /* it was lost */
	*again = code == ERR_FENCED && strstr(reply->msg.u.shard_commit_reply.text.text, "re-tested later") != NULL;
	if (reply != NULL)
		msg_free(&reply);
	worker_release(&c->worker, merge, epoch, ERR_NOMEM);
	return code;
}

/* The same, whatever becomes of it: whether it was said that it is re-tested. */
static bool starved_again(struct cluster *c, int64_t n)
{
	bool again = false;
	const int code = starved_result(c, n, &again);
	assert_true(code != ERR_FENCED || again);
	if (coordinator_failed(c->coordinator, NULL)) { /* it could not read back what it had not written */
		end_clear(&c->worker);
		cluster_restart(c);
		worker_hello(&c->worker, (uint64_t)n + 2);
	}
	return again;
}

/* What cannot be looked at for now is not merged anew, and nobody is told so; `damage` is done before each re-test. */
static void starve(struct cluster *c, void (*damage)(struct cluster *c))
{
	struct fact f;
	int found = 0;
	c->config.merge_tries_max = 1000;
	gated(c, &f);
	for (int64_t n = 0; n < 400 && newest(c) == 1; n++) {
		damage(c);
		found += starved_again(c, n);
		if (newest(c) == 1)
			wait(c, 2000);
	}
	assert_true(found > 0);
	expect_merged(c, 2, "merged delta 1");
	assert_int_equal(c->fake.starts, 1);
}

static void test_want_of_memory_has_it_re_tested(void **state)
{
	starve(*state, output_rot_found);
}

/* Nobody has found it yet: a look that was cut short does not pass for one that found nothing. */
static void test_want_of_memory_hides_no_damage(void **state)
{
	starve(*state, output_rot);
}

/* The first allocation whose failure has it re-tested: at those before, the result is lost, which does use tries up. */
static int64_t look_find(struct cluster *c)
{
	int64_t n = 0;
	for (output_rot(c); !starved_again(c, n); output_rot(c)) {
		assert_true(++n < 400);
		wait(c, 2000);
	}
	return n;
}

/* It is not the worker's fault, nor the merged memory's. */
static void test_want_of_memory_uses_no_try_up(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	const uint32_t tries = c->config.merge_tries_max;
	c->config.merge_tries_max = 1000;
	gated(c, &f);
	const int64_t n = look_find(c);
	c->config.merge_tries_max = tries;
	end_clear(&c->worker);
	cluster_restart(c);
	worker_hello(&c->worker, 1000);
	for (uint32_t i = 0; i <= 2 * tries; i++) {
		wait(c, 4000);
		output_rot(c);
		assert_true(starved_again(c, n));
	}
	wait(c, 4000);
	assert_int_equal(gate_result(c, 2), 0);
	expect_merged(c, 2, "merged delta 1");
}

/* Before a worker is asked to re-test it. */
static void test_a_worker_is_given_what_can_be_read(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	gated(c, &f);
	output_rot(c);
	output_remove(c);
	end_clear(&c->worker);
	cluster_restart(c);
	worker_hello(&c->worker, 2);
	wait(c, 4000);
	assert_int_equal(c->fake.starts, 2);
	assert_int_equal(gate_result(c, 2), 0);
	expect_merged(c, 2, "merged delta 2");
}

static void test_after_its_tries_the_shards_serve_unmerged(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	gated(c, &f);
	for (uint32_t i = 0; i < c->config.merge_tries_max; i++) {
		output_rot(c);
		output_remove(c);
		assert_int_equal(gate_result(c, 2), ERR_FENCED);
		wait(c, 4000);
	}
	assert_int_equal(c->fake.starts, c->config.merge_tries_max);
	assert_int_equal(newest(c), 1);
	assert_int_equal(memories_of(c, 1), 1);
	assert_int_equal(shard_of(c, f.shard).state, STORE_SHARD_STATE_CLOSED);
	/* and can be merged again */
	struct msg run = { .type = MSG_MERGE_RUN };
	end_send(&c->client, &run);
	cluster_run(c);
	cluster_advance(c, 100);
	assert_int_equal(gate_result(c, 2), 0);
	assert_int_equal(newest(c), 2);
}

/* A candidate holds it. */
static void test_an_approval_publishes_none_that_cannot_be_read(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.approve = true;
	gated(c, &f);
	while (strcmp(look(c).state, "none") != 0)
		assert_int_equal(approve(c).code, 0);
	const uint64_t before = newest(c);
	assert_int_equal(gate_result(c, 2), 0);
	const struct seen now = look(c);
	assert_string_equal(now.state, "waiting");
	output_rot(c);
	const struct published p = say(&c->admin, MSG_PUBLISH_APPROVE, &now.content, "");
	assert_int_equal(p.code, ERR_CORRUPT);
	assert_non_null(strstr(p.text, "the candidate cannot be loaded"));
	assert_int_equal(newest(c), before);
	for (int64_t at = 0; at < 2 * RETRAIN_MS && c->fake.starts < 2; at += 2000)
		wait(c, 2000); /* nobody has it */
	cluster_advance(c, 100);
	assert_int_equal(c->fake.starts, 2);
	assert_int_equal(gate_result(c, 2), 0);
	assert_string_equal(look(c).state, "waiting");
	assert_int_equal(approve(c).version, before + 1);
	expect_merged(c, before + 1, "merged delta 2");
}

/* Its code; ERR_AGAIN: no answer came. */
static int starved_approve(struct cluster *c, int64_t n)
{
	const struct seen now = look(c);
	struct msg msg = { .type = MSG_PUBLISH,
			   .u.publish = { .action = MSG_PUBLISH_APPROVE, .content = now.content } };
	end_clear(&c->admin);
	end_send(&c->admin, &msg);
	fault_set(n, 1);
	cluster_receive(c);
	fault_set(-1, 0);
	struct msg_received *reply = end_take(&c->admin, MSG_PUBLISH_REPLY);
	const int code = reply == NULL ? ERR_AGAIN : reply->msg.u.publish_reply.code;
	if (reply != NULL)
		msg_free(&reply);
	return code;
}

static void test_want_of_memory_approves_no_damage(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	int code = 0, looked = 0;
	c->config.approve = true;
	gated(c, &f);
	while (strcmp(look(c).state, "none") != 0)
		assert_int_equal(approve(c).code, 0);
	const uint64_t before = newest(c);
	assert_int_equal(gate_result(c, 2), 0);
	output_rot(c);
	for (int64_t n = 0; n < 400 && code != ERR_CORRUPT; n++) {
		code = starved_approve(c, n);
		looked += code == ERR_NOMEM;
		assert_int_not_equal(code, 0);
		assert_int_equal(newest(c), before);
		assert_false(coordinator_failed(c->coordinator, NULL));
		cluster_advance(c, 1000);
	}
	assert_int_equal(code, ERR_CORRUPT);
	assert_true(looked > 5);
}

/* --- No version has had it yet, and the next one is made. */

static uint64_t version_of_merge(struct cluster *c, uint64_t id)
{
	struct store_txn *txn = NULL;
	struct store_merge merge;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_merge_get(txn, id, &merge, &c->e));
	store_abort(&txn);
	return merge.version;
}

/* Its only chunk, by a worker that has it still. */
static void output_bring(struct cluster *c)
{
	static const char bytes[] = "merged delta 1";
	struct msg msg = { .type = MSG_CHUNK, .u.chunk = { .data = { bytes, sizeof bytes - 1 } } };
	hash_of(bytes, sizeof bytes - 1, &msg.u.chunk.hash);
	end_send(&c->worker, &msg);
	cluster_run(c);
}

/* Its gate is passed while publishing is paused, behind v2; then the disk changes it, and publishing goes on. */
static void paused(struct cluster *c, struct fact *f)
{
	gated(c, f);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_ROLLBACK, NULL, "why").version, 2);
	assert_int_equal(gate_result(c, 2), 0);
	output_rot(c);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_RESUME, NULL, "").version, 3);
	assert_int_equal(memories_of(c, 3), 1); /* the shard's */
	assert_int_equal(version_of_merge(c, 1), 0);
	cluster_advance(c, 3000);
	assert_int_equal(newest(c), 3); /* and no version after the other */
}

static void test_a_resume_publishes_none_that_cannot_be_read(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	paused(c, &f);
	output_bring(c);
	cluster_advance(c, 1000);
	expect_merged(c, 4, "merged delta 1");
	assert_int_equal(version_of_merge(c, 1), 4);
	cluster_advance(c, 3000);
	assert_int_equal(newest(c), 4);
}

static void test_what_a_resume_left_out_is_merged_anew(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	paused(c, &f);
	cluster_restart(c); /* it is left out again, once */
	worker_hello(&c->worker, 2);
	for (int64_t at = 0; at < 2 * RETRAIN_MS && c->fake.starts < 2; at += 2000)
		wait(c, 2000);
	cluster_advance(c, 100);
	const uint64_t before = newest(c);
	assert_true(before <= 5);
	assert_int_equal(gate_result(c, 2), 0);
	expect_merged(c, before + 1, "merged delta 2");
	assert_int_equal(version_of_merge(c, 2), before + 1);
}

/* A candidate with a new edit is there when the merge passes its gate; after it the next draft leaves the merge out.
 * `shard`, `epoch`: the new edit's. */
static uint64_t left_out(struct cluster *c, struct fact *f, uint64_t *shard, uint64_t *epoch)
{
	uint64_t merge, gate;
	c->config.approve = true;
	gated(c, f);
	while (strcmp(look(c).state, "none") != 0)
		assert_int_equal(approve(c).code, 0);
	const uint64_t before = newest(c);
	gate = worker_lease(&c->worker, &merge);
	client_facts(c, 3, 1);
	*epoch = worker_lease(&c->worker, shard);
	assert_int_equal(worker_turn(&c->worker, *shard, *epoch), 0);
	assert_string_equal(look(c).state, "waiting");
	assert_int_equal(gate_say(c, merge, gate, 2), 0);
	output_rot(c);
	assert_int_equal(approve(c).version, before + 1);
	assert_int_equal(memories_of(c, before + 1), 2); /* the shards' */
	return before + 1;
}

static void test_a_candidate_leaves_out_what_cannot_be_read(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	uint64_t shard, epoch;
	test_log_begin(c->folder);
	const uint64_t before = left_out(c, &f, &shard, &epoch);
	cluster_advance(c, 3000);
	assert_string_equal(look(c).state, "none");
	test_log_end();
	assert_int_equal(test_log_count("COORDINATOR-MERGE-LEFT-OUT"), 1); /* it is not looked at again and again */
	output_bring(c);
	assert_string_equal(look(c).state, "waiting");
	assert_int_equal(approve(c).version, before + 1);
	expect_merged(c, before + 1, "merged delta 1");
	assert_int_equal(version_of_merge(c, 1), before + 1);
}

static void test_what_is_new_does_not_wait_for_it(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	uint64_t shard, epoch;
	const uint64_t before = left_out(c, &f, &shard, &epoch);
	client_facts(c, 4, 1);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 0);
	assert_string_equal(look(c).state, "waiting");
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, before + 1);
	const struct seen now = look(c); /* made anew behind that */
	assert_string_equal(now.state, "waiting");
	assert_int_equal(now.added, 1);
	assert_int_equal(approve(c).version, before + 2);
	assert_int_equal(version_of_merge(c, 1), 0);
	assert_int_equal(memories_of(c, before + 2), 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_it_is_read_again_from_the_jobs_folder),
		T(test_it_is_merged_anew),
		T(test_want_of_memory_has_it_re_tested),
		T(test_want_of_memory_hides_no_damage),
		T(test_want_of_memory_uses_no_try_up),
		T(test_a_worker_is_given_what_can_be_read),
		T(test_after_its_tries_the_shards_serve_unmerged),
		T(test_an_approval_publishes_none_that_cannot_be_read),
		T(test_want_of_memory_approves_no_damage),
		T(test_a_resume_publishes_none_that_cannot_be_read),
		T(test_what_a_resume_left_out_is_merged_anew),
		T(test_a_candidate_leaves_out_what_cannot_be_read),
		T(test_what_is_new_does_not_wait_for_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
