/* L_memo: which edits of earlier memories a shard of the paper's family is given, and that it stays so. */
#include "tests/lib/coordinator_fixture.h"

#define FIRST_EDITS 12
#define MEMORY      ((UINT64_C(1) << 32) + 1)

struct replays { /* what came with a lease before the group */
	size_t count;
	uint64_t seqs[32];
};

/* Shard 1, closed, with FIRST_EDITS edits. */
static void train_first(struct cluster *c, bool replay)
{
	uint64_t shard;
	c->config.family = "paper";
	c->config.settings = (struct msg_bytes){ "AMWC", 4 };
	c->config.replay = replay;
	c->config.edits_per_shard = FIRST_EDITS;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, FIRST_EDITS);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	assert_int_equal(shard, 1);
}

/* A merged memory of shard 1, as the ledger holds it; the next process reads it, with the settings of then. */
static void merge_first(struct cluster *c)
{
	struct store_txn *txn = NULL;
	struct store_merge merge = { .id = 1, .state = STORE_MERGE_STATE_PUBLISHED, .shards = { 1 }, .shard_count = 1 };
	assert_ok(&c->e, store_begin(c->store, &txn, &c->e));
	assert_ok(&c->e, store_merge_put(txn, &merge, &c->e));
	assert_ok(&c->e, store_commit(&txn, &c->e));
	cluster_restart(c);
}

static void begin(struct cluster *c, bool replay)
{
	train_first(c, replay);
	merge_first(c);
}

/* Wants a group and takes what comes before it; the group's head. */
static struct replays take(struct cluster *c, uint64_t shard, uint64_t epoch, uint32_t received, uint32_t held,
			   uint32_t *replay_count)
{
	struct msg want = { .type = MSG_WANT, .u.want = { shard, epoch, 100, received, held } };
	struct replays out = { .count = 0 };
	end_send(&c->worker, &want);
	cluster_run(c);
	for (bool ended = false; !ended;) {
		struct msg_received *received_msg = end_expect(&c->worker, MSG_EDITS);
		const struct msg_edits *m = &received_msg->msg.u.edits;
		for (size_t i = 0; m->memory != 0 && i < m->item_count; i++) {
			assert_int_equal(m->memory, MEMORY);
			assert_true(m->replayed && !m->group_end);
			out.seqs[out.count++] = m->items[i].seq;
		}
		ended = m->group_end;
		*replay_count = m->replay_count;
		msg_free(&received_msg);
	}
	return out;
}

static uint64_t next_shard(struct cluster *c, uint64_t boot, uint64_t *shard)
{
	worker_hello(&c->worker, boot);
	client_facts(c, 20, 1);
	uint64_t epoch = worker_lease(&c->worker, shard);
	assert_int_equal(*shard, 2);
	return epoch;
}

/* The newest event of that type contains `text`. */
static bool event_says(struct cluster *c, enum store_event_type type, const char *text)
{
	struct store_txn *txn = NULL;
	struct store_event event;
	uint64_t seq;
	struct hash self;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_last(txn, &seq, &self, &c->e));
	do
		assert_ok(&c->e, store_event_get(txn, seq--, &event, &c->e));
	while (event.type != type);
	bool says = memmem(event.payload, event.payload_len, text, strlen(text)) != NULL;
	store_abort(&txn);
	return says;
}

static void test_a_new_shard_is_given_a_few_edits_of_each_memory(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	uint32_t said = 0;
	char text[64];
	begin(c, true);
	uint64_t epoch = next_shard(c, 2, &shard);
	struct replays all = take(c, shard, epoch, 0, 0, &said);
	assert_int_equal(all.count, 8);
	assert_int_equal(said, 8);
	for (size_t i = 0; i < all.count; i++)
		for (size_t k = 0; k < i; k++)
			assert_true(all.seqs[i] != all.seqs[k]);
	assert_int_equal(edit_state(c, all.seqs[0]), STORE_EDIT_STATE_TRAINED);
	snprintf(text, sizeof text, "\"replays\":[{\"memory\":4294967297,\"seqs\":[%d,%d,", (int)all.seqs[0],
		 (int)all.seqs[1]);
	assert_true(event_says(c, STORE_EVENT_GROUP_ASSIGNED, text));
	/* What the worker holds does not come again; what it lost does. */
	struct replays rest = take(c, shard, epoch, 0, 6, &said);
	assert_int_equal(rest.count, 2);
	assert_int_equal(said, 8);
	assert_memory_equal(rest.seqs, all.seqs + 6, 2 * sizeof rest.seqs[0]);
	assert_int_equal(take(c, shard, epoch, 0, 8, &said).count, 0);
	/* The ledger keeps the choice: for the next process, and when one of them has ended. */
	cluster_restart(c);
	struct store_edit edit;
	edit_get(c, all.seqs[3], &edit);
	assert_int_equal(client_revoke(c, edit.id, NULL, false).code, 0);
	worker_hello(&c->worker, 3);
	struct msg_received *lease = end_expect(&c->worker, MSG_LEASE);
	while (lease->msg.u.lease.shard != 2) { /* the first shard's comes too: it is to forget the edit */
		msg_free(&lease);
		lease = end_expect(&c->worker, MSG_LEASE);
	}
	epoch = lease->msg.u.lease.epoch;
	msg_free(&lease);
	struct replays again = take(c, shard, epoch, 0, 0, &said);
	assert_int_equal(again.count, all.count);
	assert_memory_equal(again.seqs, all.seqs, all.count * sizeof all.seqs[0]);
}

static void test_none_without_replay(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	uint32_t said = 1;
	begin(c, false);
	uint64_t epoch = next_shard(c, 2, &shard);
	assert_int_equal(take(c, shard, epoch, 0, 0, &said).count, 0);
	assert_int_equal(said, 0);
	assert_false(event_says(c, STORE_EVENT_GROUP_ASSIGNED, "replays"));
}

/* Nor is a shard given any that began without it: all its groups replay the same. */
static void test_a_shard_with_a_commit_is_given_none(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	uint32_t said = 1;
	begin(c, false);
	uint64_t epoch = next_shard(c, 2, &shard);
	(void)take(c, shard, epoch, 0, 0, &said);
	worker_turn(&c->worker, shard, epoch);
	c->config.replay = true;
	cluster_restart(c);
	worker_hello(&c->worker, 3);
	client_facts(c, 30, 1);
	epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(shard, 2);
	assert_int_equal(take(c, shard, epoch, 1, 0, &said).count, 0);
	assert_int_equal(said, 0);
}

static void test_the_choice_comes_once(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	uint32_t said = 1;
	begin(c, true);
	uint64_t epoch = next_shard(c, 2, &shard);
	uint32_t before = 0;
	struct replays first = take(c, shard, epoch, 0, 0, &before);
	worker_turn(&c->worker, shard, epoch);
	client_facts(c, 30, 1);
	struct replays second = take(c, shard, epoch, 1, (uint32_t)first.count, &said);
	assert_int_equal(second.count, 0);
	assert_int_equal(said, first.count);
	assert_false(event_says(c, STORE_EVENT_GROUP_ASSIGNED, "replays"));
}

/* Where there was no memory to choose from, that is the choice: one that is merged while the first group trains comes
 * too late, also for what that group is parted into. */
static void test_a_choice_of_none_stays(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	uint32_t said = 1;
	c->config.edit_tries_max = 1;
	train_first(c, true);
	client_facts(c, 20, 2);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(shard, 2);
	assert_int_equal(take(c, shard, epoch, 0, 0, &said).count, 0);
	merge_first(c);
	worker_hello(&c->worker, 2);
	epoch = worker_lease(&c->worker, &shard);
	(void)take(c, shard, epoch, 0, 0, &said);
	worker_hello(&c->worker, 3); /* it died with the group in hand */
	epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(shard, 2);
	assert_int_equal(take(c, shard, epoch, 0, 0, &said).count, 0);
	assert_int_equal(said, 0);
	assert_true(event_says(c, STORE_EVENT_GROUP_ASSIGNED, "\"count\":1"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_new_shard_is_given_a_few_edits_of_each_memory),
		T(test_none_without_replay),
		T(test_a_shard_with_a_commit_is_given_none),
		T(test_the_choice_comes_once),
		T(test_a_choice_of_none_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
