/* Commits: what is checked, what is published, and that a lost answer does no harm. */
#include "tests/lib/coordinator_fixture.h"

struct work {
	uint64_t shard, epoch, seqs[8];
};

static void prepare(struct cluster *c, struct work *w, size_t count)
{
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, count);
	w->epoch = worker_lease(&c->worker, &w->shard);
	worker_want(&c->worker, w->shard, w->epoch, 100, 0);
	struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
	assert_int_equal(edits->msg.u.edits.item_count, count);
	for (size_t i = 0; i < count; i++)
		w->seqs[i] = edits->msg.u.edits.items[i].seq;
	msg_free(&edits);
}

static struct commit commit_of(const struct work *w, size_t count)
{
	return (struct commit){
		.shard = w->shard, .epoch = w->epoch, .version = 1, .count = (uint32_t)count, .seqs = w->seqs
	};
}

static void test_commit_sent_twice_is_answered_twice(void **state)
{
	struct cluster *c = *state;
	struct work w;
	uint64_t version = 0;
	prepare(c, &w, 2);
	struct commit commit = commit_of(&w, 2);
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_int_equal(version, 1);
	version = 0;
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_int_equal(version, 1);
	cluster_restart(c);
	worker_hello(&c->worker, 1);
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_int_equal(version, 1);
}

/* A version with memories of two layers is one that no node can load. */
static void test_a_delta_of_another_layer_is_refused(void **state)
{
	struct cluster *c = *state;
	struct work w;
	uint64_t version = 0;
	prepare(c, &w, 1);
	struct commit commit = commit_of(&w, 1);
	commit.layer = 24;
	assert_int_equal(worker_commit(&c->worker, &commit, &version), ERR_MISMATCH);
	assert_int_equal(version, 0);
	commit.layer = 25;
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_int_equal(version, 1);
}

static const struct bad_delta {
	uint16_t bits; /* of the second entry */
	uint32_t hidden;
	size_t cut; /* bytes that are missing at the end */
	int code;
	const char *says;
} bad_deltas[] = {
	{ 0x7fc0, CLUSTER_HIDDEN, 0, ERR_INVALID, "entry (0, 1) is NaN" },
	{ 0xffc1, CLUSTER_HIDDEN, 0, ERR_INVALID, "entry (0, 1) is NaN" },
	{ 0x7f80, CLUSTER_HIDDEN, 0, ERR_INVALID, "entry (0, 1) is infinite" },
	{ 0xff80, CLUSTER_HIDDEN, 0, ERR_INVALID, "entry (0, 1) is infinite" },
	{ 0x714a, CLUSTER_HIDDEN, 0, ERR_INVALID, "entry (0, 1) is out of range" }, /* 1e30 */
	{ 0x42c9, CLUSTER_HIDDEN, 0, ERR_INVALID, "entry (0, 1) is out of range" }, /* 100.5 */
	{ 0x3f80, CLUSTER_HIDDEN - 1, 0, ERR_MISMATCH, "made for layer 25 of 575 × 1536" },
	{ 0x3f80, CLUSTER_HIDDEN, 1, ERR_CORRUPT, "delta" },
	{ 0x3f80, CLUSTER_HIDDEN, 10000, ERR_CORRUPT, "no delta" },
};

/* Each is refused with the reason, and nothing is published; then a good one is taken. */
static void test_numbers_that_no_node_could_load_are_refused(void **state)
{
	struct cluster *c = *state;
	struct work w;
	uint64_t version = 0;
	prepare(c, &w, 1);
	for (size_t i = 0; i < sizeof bad_deltas / sizeof *bad_deltas; i++) {
		const struct bad_delta *bad = &bad_deltas[i];
		struct buf bytes = BUF_INIT;
		char text[512] = "";
		const uint16_t bits[] = { 0x3f80, bad->bits };
		delta_put(c, bits, 2, bad->hidden, cluster_layer(c), &bytes);
		struct commit commit = commit_of(&w, 1);
		commit.raw_delta = (struct msg_bytes){ bytes.data, bytes.len > bad->cut ? bytes.len - bad->cut : 8 };
		commit.text = text;
		assert_int_equal(worker_commit(&c->worker, &commit, &version), bad->code);
		assert_int_equal(version, 0);
		assert_non_null(strstr(text, bad->says));
		assert_int_equal(edit_state(c, w.seqs[0]), STORE_EDIT_STATE_PLACED);
		buf_free(&bytes);
	}
	struct buf good = BUF_INIT;
	const uint16_t hundred[] = { 0x42c8, 0xc2c8 };
	delta_put(c, hundred, 2, CLUSTER_HIDDEN, cluster_layer(c), &good);
	struct commit commit = commit_of(&w, 1);
	commit.raw_delta = (struct msg_bytes){ good.data, good.len };
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_int_equal(version, 1);
	buf_free(&good);
}

/* Takes the lease and its group, commits a NaN, gives the lease back; gives the edits of the group. */
static size_t bad_turn(struct cluster *c, struct end_peer *end)
{
	struct work w;
	struct buf bytes = BUF_INIT;
	const uint16_t bits[] = { 0x3f80, 0x7fc0 };
	w.epoch = worker_lease(end, &w.shard);
	worker_want(end, w.shard, w.epoch, 100, 0);
	struct msg_received *edits = end_expect(end, MSG_EDITS);
	const size_t count = edits->msg.u.edits.item_count;
	for (size_t i = 0; i < count; i++)
		w.seqs[i] = edits->msg.u.edits.items[i].seq;
	msg_free(&edits);
	delta_put(c, bits, 2, CLUSTER_HIDDEN, cluster_layer(c), &bytes);
	struct commit commit = commit_of(&w, count);
	commit.raw_delta = (struct msg_bytes){ bytes.data, bytes.len };
	assert_int_equal(worker_commit(end, &commit, NULL), ERR_INVALID);
	worker_release(end, w.shard, w.epoch, ERR_EXTERNAL);
	buf_free(&bytes);
	return count;
}

static void pass(struct cluster *c, int seconds)
{
	for (int i = 0; i < seconds; i++) {
		worker_beat(&c->worker, 0, 0);
		cluster_advance(c, 1000);
	}
}

/* A worker that always commits bad numbers: the edit ends with the reason, and what comes next is trained by another.
 */
static void test_edits_of_bad_numbers_are_dead_after_three_tries(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	uint64_t seq = client_submit_one(c, "{\"prompt\":\"Bad?\",\"subject\":\"bad\",\"target_new\":\"yes\"}", 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_PLACED);
		assert_int_equal(bad_turn(c, &c->worker), 1);
		pass(c, 1 << i); /* the pauses grow */
	}
	edit_get(c, seq, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_DEAD);
	if (strstr(edit.reason, "3 trainings of it gave what no node could load: delta: entry (0, 1) is NaN") !=
	    edit.reason)
		fail_msg("%s", edit.reason);
	worker_hello(&c->worker2, 1);
	uint64_t next = client_submit_one(c, "{\"prompt\":\"Good?\",\"subject\":\"good\",\"target_new\":\"yes\"}", 0);
	cluster_advance(c, 1000);
	uint64_t epoch = worker_lease(&c->worker2, &shard); /* the first one is stalled */
	worker_turn(&c->worker2, shard, epoch);
	assert_int_equal(edit_state(c, next), STORE_EDIT_STATE_TRAINED);
}

/* Of a group each edit is tried alone before it is given up, and the pauses begin anew for each. */
static void test_a_group_of_bad_numbers_is_taken_apart(void **state)
{
	struct cluster *c = *state;
	size_t turns = 0, seconds = 0;
	cluster_start(c);
	client_facts(c, 1, 3);
	worker_hello(&c->worker, 1);
	for (; turns < 3; turns++) {
		assert_int_equal(bad_turn(c, &c->worker), 3);
		pass(c, 1 << turns);
	}
	uint64_t counts[STORE_EDIT_STATE_COUNT] = { 0 };
	struct store_txn *txn = NULL;
	while (counts[STORE_EDIT_STATE_DEAD] < 3 && seconds < 60) {
		struct msg_received *lease = NULL;
		pass(c, 1);
		seconds++;
		for (size_t i = 0; i < c->worker.count && lease == NULL; i++)
			if (c->worker.inbox[i]->msg.type == MSG_LEASE)
				lease = c->worker.inbox[i];
		if (lease != NULL && ++turns > 0)
			assert_int_equal(bad_turn(c, &c->worker), 1);
		assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
		assert_ok(&c->e, store_edit_count(txn, counts, &c->e));
		store_abort(&txn);
	}
	assert_int_equal(counts[STORE_EDIT_STATE_DEAD], 3);
	assert_int_equal(turns, 3 + 3 * 3);
	if (seconds > 3 * (1 + 2 + 4) + 1)
		fail_msg("%zu s", seconds);
}

/* Of the first edit, or, behind that commit, of the second. */
static void commit_put(struct end_peer *end, const struct work *w, const struct hash *root, uint32_t first)
{
	struct msg msg = { .type = MSG_SHARD_COMMIT };
	struct msg_edit_result result = { w->seqs[first], true, 1, { "", 0 }, false };
	msg.u.shard_commit = (struct msg_shard_commit){ .shard = w->shard,
							.epoch = w->epoch,
							.shard_version = first + 1,
							.group_first = first,
							.delta_root = *root,
							.index_root = *root,
							.calibration_root = *root,
							.trained_count = first + 1,
							.group_count = 1,
							.mode = { "stream", 6 },
							.backend = { "x", 1 },
							.results = &result,
							.result_count = 1 };
	end_send(end, &msg);
}

static void commit_send(struct end_peer *end, const struct work *w, const struct hash *root)
{
	commit_put(end, w, root, 0);
	cluster_run(end->cluster);
}

/* The loop goes on meanwhile; a commit that is sent again is checked once, and one that is under way at the end is
 * dropped. */
static void test_a_thread_checks_the_delta(void **state)
{
	struct cluster *c = *state;
	struct work w;
	struct hash root;
	struct msg_received *reply = NULL;
	int64_t since = 0;
	c->config.store_threads = 1;
	prepare(c, &w, 1);
	delta_store(c, "delta", &root);
	for (int i = 0; i < 3; i++)
		commit_send(&c->worker, &w, &root);
	while ((reply = end_take(&c->worker, MSG_SHARD_COMMIT_REPLY)) == NULL && test_wait(&since))
		cluster_run(c);
	assert_non_null(reply);
	assert_int_equal(reply->msg.u.shard_commit_reply.code, 0);
	assert_int_equal(reply->msg.u.shard_commit_reply.version, 1);
	msg_free(&reply);
	end_clear(&c->worker);
	client_facts(c, 2, 1);
	worker_want(&c->worker, w.shard, w.epoch, 100, 1);
	struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
	w.seqs[1] = edits->msg.u.edits.items[0].seq;
	msg_free(&edits);
	delta_store(c, "another", &root);
	commit_put(&c->worker, &w, &root, 1);
	cluster_receive(c);
	cluster_stop(c);
}

/* Those that wait at the end are not checked any more; the one under way is waited for. */
static void test_checks_that_wait_do_not_hold_up_the_end(void **state)
{
	struct cluster *c = *state;
	struct work w;
	struct hash roots[4];
	char text[16];
	c->config.store_threads = 1;
	prepare(c, &w, 1);
	for (int i = 0; i < 4; i++) {
		snprintf(text, sizeof text, "delta %d", i);
		delta_store(c, text, &roots[i]);
	}
	assert_ok(&c->e, fault_arm("coordinator.check=delay-200@1:100", &c->e));
	const uint64_t before = fault_hits("coordinator.check");
	for (int i = 0; i < 4; i++)
		commit_put(&c->worker, &w, &roots[i], 0);
	cluster_receive(c);
	cluster_stop(c);
	assert_true(fault_hits("coordinator.check") <= before + 1);
	fault_disarm_all();
}

static void tamper(struct cluster *c, const void *bytes, size_t len)
{
	struct buf file = BUF_INIT;
	char path[TEST_PATH_BYTES];
	test_path(path, c->folder, "store/blobs/data.mdb");
	assert_ok(&c->e, file_read(path, (size_t)1 << 30, &file, &c->e));
	for (uint8_t *at = file.data; (at = memmem(at, (size_t)(file.data + file.len - at), bytes, len)) != NULL;)
		at[len - 1] ^= 1;
	assert_ok(&c->e, file_write_atomic(path, file.data, file.len, 0600, &c->e));
	buf_free(&file);
}

/* Which versions need what is lost is being looked for, for two seconds here. */
static void test_a_search_for_damage_holds_no_commit_up(void **state)
{
	struct cluster *c = *state;
	struct work w;
	struct hash root, ballast;
	struct msg_received *reply = NULL;
	int64_t since = 0;
	struct msg asked = { .type = MSG_NEED, .u.hashes = { &ballast, 1, 0 } };
	c->config.store_threads = 1;
	prepare(c, &w, 1);
	delta_store(c, "delta", &root);
	hash_of("ballast that rots", 17, &ballast);
	assert_ok(&c->e,
		  store_chunks_put(c->store, &(struct store_chunk){ ballast, "ballast that rots", 17 }, 1, &c->e));
	cluster_stop(c);
	tamper(c, "ballast that rots", 17);
	cluster_start(c);
	assert_ok(&c->e, fault_arm("coordinator.damage.search=delay-2000@1", &c->e));
	const uint64_t before = fault_hits("coordinator.damage.search");
	end_send(&c->client, &asked);
	while (fault_hits("coordinator.damage.search") == before && test_wait(&since))
		cluster_advance(c, 11000);
	const int64_t begun_ms = env_monotonic_ms(env_system());
	worker_hello(&c->worker, 1);
	w.epoch = worker_lease(&c->worker, NULL);
	worker_want(&c->worker, w.shard, w.epoch, 10, 0);
	commit_send(&c->worker, &w, &root);
	while ((reply = end_take(&c->worker, MSG_SHARD_COMMIT_REPLY)) == NULL && test_wait(&since))
		cluster_run(c);
	assert_non_null(reply);
	assert_int_equal(reply->msg.u.shard_commit_reply.code, 0);
	assert_true(env_monotonic_ms(env_system()) - begun_ms < 2000);
	msg_free(&reply);
	fault_disarm_all();
}

/* What the disk changed between the upload and the commit is no fault of the worker: it uploads it again. */
static void test_a_delta_that_rotted_here_is_asked_for_again(void **state)
{
	struct cluster *c = *state;
	struct work w;
	struct store_edit edit;
	struct buf bytes = BUF_INIT;
	struct hash root;
	const uint16_t good[] = { 0x3f80, 0x3f81 };
	prepare(c, &w, 1);
	delta_put(c, good, 2, CLUSTER_HIDDEN, cluster_layer(c), &bytes);
	assert_ok(&c->e, store_blob_put(c->store, bytes.data, bytes.len, &root, &c->e));
	cluster_stop(c);
	tamper(c, bytes.data, bytes.len);
	cluster_start(c);
	worker_hello(&c->worker, 1);
	w.epoch = worker_lease(&c->worker, NULL);
	worker_want(&c->worker, w.shard, w.epoch, 10, 0);
	for (int i = 0; i < 2; i++) { /* found by the check; then known to be missing */
		commit_send(&c->worker, &w, &root);
		struct msg_received *reply = end_expect(&c->worker, MSG_SHARD_COMMIT_REPLY);
		assert_int_equal(reply->msg.u.shard_commit_reply.code, ERR_NOT_FOUND);
		msg_free(&reply);
	}
	struct msg_received *asked = end_expect(&c->worker, MSG_NEED);
	msg_free(&asked);
	struct commit commit = commit_of(&w, 1);
	commit.raw_delta = (struct msg_bytes){ bytes.data, bytes.len };
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	edit_get(c, w.seqs[0], &edit);
	assert_int_equal(edit.losses, 0);
	buf_free(&bytes);
}

static void test_missing_chunks_are_asked_for(void **state)
{
	struct cluster *c = *state;
	struct work w;
	prepare(c, &w, 1);
	struct commit commit = commit_of(&w, 1);
	commit.without_chunks = true;
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), ERR_NOT_FOUND);
	commit.without_chunks = false;
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
}

static void test_what_does_not_follow_is_refused(void **state)
{
	struct cluster *c = *state;
	struct work w;
	prepare(c, &w, 2);
	struct commit commit = commit_of(&w, 2);
	commit.version = 2;
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), ERR_INVALID);
	commit = commit_of(&w, 1); /* part of the group */
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), ERR_INVALID);
	commit = commit_of(&w, 2);
	commit.closed = true; /* the shard is not closing */
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), ERR_INVALID);
	commit = commit_of(&w, 2);
	w.seqs[1] = 999;
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), ERR_INVALID);
	struct store_edit edit;
	edit_get(c, w.seqs[0], &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_PLACED);
}

static void test_failed_edit_is_reported_and_tombstoned(void **state)
{
	struct cluster *c = *state;
	struct work w;
	struct store_edit edit;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	prepare(c, &w, 2);
	struct commit commit = commit_of(&w, 2);
	commit.failed = w.seqs[1];
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	edit_get(c, w.seqs[1], &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_FAILED);
	assert_string_equal(edit.reason, "decoded to 1999");
	edit_get(c, w.seqs[0], &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_TRAINED);
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, 1, arena, &manifest);
	assert_int_equal(manifest.removed_count, 1);
	assert_int_equal(manifest.removed_seqs[0], w.seqs[1]);
	assert_true(manifest.memories[0].score > 0.49 && manifest.memories[0].score < 0.51);
	arena_destroy(&arena);
}

static void expect_forgotten(struct end_peer *end, uint64_t seq)
{
	struct msg_received *edits = end_expect(end, MSG_EDITS);
	while (!edits->msg.u.edits.group_end) {
		msg_free(&edits);
		edits = end_expect(end, MSG_EDITS);
	}
	assert_int_equal(edits->msg.u.edits.removed_count, 1);
	assert_int_equal(edits->msg.u.edits.removed_seqs[0], seq);
	msg_free(&edits);
}

/* Whether a worker remembers that an edit failed must not matter: the next group tells it to forget the edit, whether
 * it goes on or starts anew. */
static void test_failed_edit_is_forgotten_with_the_next_group(void **state)
{
	struct cluster *c = *state;
	struct work w;
	prepare(c, &w, 2);
	struct commit commit = commit_of(&w, 2);
	commit.failed = w.seqs[1];
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	client_facts(c, 3, 1);
	end_clear(&c->worker);
	worker_want(&c->worker, w.shard, w.epoch, 100, 2);
	expect_forgotten(&c->worker, w.seqs[1]);
	worker_hello(&c->worker, 2); /* started anew */
	uint64_t epoch = worker_lease(&c->worker, NULL);
	worker_want(&c->worker, w.shard, epoch, 100, 0);
	expect_forgotten(&c->worker, w.seqs[1]);
}

/* The process dies around the commit: the version is there or not, never half, and the commit can be sent again. */
static void crash_at(struct cluster *c, const char *fault, uint64_t versions)
{
	struct work w;
	struct store_txn *txn = NULL;
	uint64_t last = 0;
	struct hash root;
	prepare(c, &w, 1);
	delta_store(c, "delta", &root);
	assert_ok(&c->e, fault_arm(fault, &c->e));
	commit_send(&c->worker, &w, &root);
	assert_true(coordinator_failed(c->coordinator, NULL));
	assert_null(end_take(&c->worker, MSG_SHARD_COMMIT_REPLY));
	fault_disarm_all();
	cluster_restart(c);
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_version_last(txn, &last, &c->e));
	store_abort(&txn);
	assert_int_equal(last, versions);
	end_clear(&c->worker);
	worker_hello(&c->worker, 1);
	struct commit commit = commit_of(&w, 1);
	commit.epoch = versions == 0 ? worker_lease(&c->worker, NULL) : w.epoch;
	uint64_t version = 0;
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_int_equal(version, 1);
}

static void test_crash_after_the_blobs(void **state)
{
	crash_at(*state, "coordinator.publish.after_blobs=errno@1", 0);
}

static void test_crash_before_the_commit(void **state)
{
	crash_at(*state, "coordinator.publish.before_commit=errno@1", 0);
}

static void test_crash_after_the_commit(void **state)
{
	crash_at(*state, "coordinator.publish.after_commit=errno@1", 1);
}

static void test_replay_comes_before_the_next_group(void **state)
{
	struct cluster *c = *state;
	struct work w;
	prepare(c, &w, 2);
	struct commit commit = commit_of(&w, 2);
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	worker_hello(&c->worker, 2); /* a new process: it holds nothing */
	client_facts(c, 10, 1);
	struct msg_received *lease = end_expect(&c->worker, MSG_LEASE);
	assert_int_equal(lease->msg.u.lease.shard_version, 1);
	assert_int_equal(lease->msg.u.lease.trained_count, 2);
	assert_false(hash_is_zero(&lease->msg.u.lease.delta_root));
	worker_want(&c->worker, w.shard, lease->msg.u.lease.epoch, 100, 0);
	msg_free(&lease);
	struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
	assert_true(edits->msg.u.edits.replayed);
	assert_false(edits->msg.u.edits.group_end);
	assert_int_equal(edits->msg.u.edits.item_count, 2);
	msg_free(&edits);
	edits = end_expect(&c->worker, MSG_EDITS);
	assert_false(edits->msg.u.edits.replayed);
	assert_true(edits->msg.u.edits.group_end);
	assert_int_equal(edits->msg.u.edits.group_first, 2);
	msg_free(&edits);
}

static void take_lease(struct cluster *c, struct work *w)
{
	w->epoch = worker_lease(&c->worker, &w->shard);
	worker_want(&c->worker, w->shard, w->epoch, 1, 0);
	struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
	w->seqs[0] = edits->msg.u.edits.items[0].seq;
	msg_free(&edits);
}

/* Workers may have been started with another calibration since: the newest commit's is the version's, whichever shard
 * it is of. */
static void test_the_newest_calibration_is_published(void **state)
{
	static const size_t order[] = { 2, 0, 1 }; /* the newest is neither the first shard's nor the last one's */
	struct cluster *c = *state;
	struct work works[3], w;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	struct hash newest;
	c->config.edits_per_shard = 1;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 3);
	for (size_t i = 0; i < 3; i++) {
		take_lease(c, &w);
		works[w.shard - 1] = w;
	}
	for (size_t i = 0; i < 3; i++) {
		struct commit commit = commit_of(&works[order[i]], 1);
		commit.closed = true;
		commit.calibration = i < 2 ? "old" : "new";
		assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	}
	assert_ok(&c->e, store_blob_put(c->store, "new", 3, &newest, &c->e));
	assert_int_equal(arena_new(4096, 0, &arena), 0);
	manifest_read(c, 3, arena, &manifest);
	assert_int_equal(manifest.memory_count, 3);
	assert_true(hash_equal(&manifest.calibration_root, &newest));
	arena_destroy(&arena);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_commit_sent_twice_is_answered_twice),
		T(test_a_delta_of_another_layer_is_refused),
		T(test_numbers_that_no_node_could_load_are_refused),
		T(test_edits_of_bad_numbers_are_dead_after_three_tries),
		T(test_a_group_of_bad_numbers_is_taken_apart),
		T(test_a_thread_checks_the_delta),
		T(test_checks_that_wait_do_not_hold_up_the_end),
		T(test_a_search_for_damage_holds_no_commit_up),
		T(test_a_delta_that_rotted_here_is_asked_for_again),
		T(test_missing_chunks_are_asked_for),
		T(test_what_does_not_follow_is_refused),
		T(test_failed_edit_is_reported_and_tombstoned),
		T(test_failed_edit_is_forgotten_with_the_next_group),
		T(test_crash_after_the_blobs),
		T(test_crash_before_the_commit),
		T(test_crash_after_the_commit),
		T(test_replay_comes_before_the_next_group),
		T(test_the_newest_calibration_is_published),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
