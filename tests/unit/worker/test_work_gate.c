/* Leases of a merge's gate, and shards of the paper's family. */
#include "tests/unit/worker/lease_fixture.h"

#include "proto/codec.h"

/* --- A merged memory is tested. */
static void gate_lease(struct stand *s, uint64_t epoch)
{
	struct msg_edit_item items[2];
	for (size_t i = 0; i < 2; i++)
		items[i] = (struct msg_edit_item){ 10 + i, { s->edits[i], strlen(s->edits[i]) } };
	struct msg msg = { .type = MSG_LEASE };
	msg.u.lease = (struct msg_lease){ .kind = MSG_LEASE_GATE,
					  .shard = STAND_SHARD, /* the merge has a shard's number */
					  .epoch = epoch,
					  .lease_ms = 8000,
					  .delta_root = s->delta_root,
					  .trained_count = 2 };
	stand_send(s, &msg);
	stand_turns(s, 300);
	assert_int_equal(s->want.epoch, epoch);
	msg = (struct msg){ .type = MSG_EDITS };
	msg.u.edits = (struct msg_edits){ .shard = STAND_SHARD,
					  .epoch = epoch,
					  .replayed = true,
					  .group_end = true,
					  .group_count = 2,
					  .items = items,
					  .item_count = 2 };
	stand_fence(s, 7);             /* the shard's lease ends, the gate's does not */
	msg.u.edits.epoch = epoch - 1; /* of an earlier try: not taken */
	msg.u.edits.group_count = 1;
	msg.u.edits.item_count = 1;
	stand_send(s, &msg);
	msg.u.edits.epoch = epoch;
	msg.u.edits.group_count = 2;
	msg.u.edits.item_count = 2;
	stand_send(s, &msg);
	stand_until(s, &s->gates, 1);
	assert_int_equal(s->gate.merge, STAND_SHARD);
	assert_int_equal(s->gate.epoch, epoch);
	assert_int_equal(s->gate.tested, 2);
	assert_int_equal(s->commits, 1);
	stand_turns(s, 1500);
	assert_int_equal(s->beat_leases, 0);
}

static void a_gate_lease_tests_and_reports(void **state)
{
	struct stand *s = *state;
	begin(s, 2);
	stand_group(s, 2);
	gate_lease(s, (UINT64_C(1) << 32) + 5);
	assert_int_equal(s->gate.passed, 2);
	assert_true(hash_is_zero(&s->gate.index_root));
}

/* One of the edits is another's by now: the memory does not answer it. */
static void what_the_memory_does_not_answer_is_named(void **state)
{
	struct stand *s = *state;
	struct proto_merge_index index;
	struct arena *arena = NULL;
	struct buf bytes = BUF_INIT;
	begin(s, 3);
	stand_group(s, 2);
	char *second = s->edits[1];
	s->edits[1] = s->edits[2];
	gate_lease(s, (UINT64_C(1) << 32) + 5);
	s->edits[1] = second;
	assert_int_equal(s->gate.passed, 1);
	assert_ok(&s->e, store_blob_get(s->source, &s->gate.index_root, 1 << 20, &bytes, &s->e));
	assert_int_equal(arena_new(4096, 0, &arena), 0);
	assert_ok(&s->e, proto_merge_index_decode(bytes.data, bytes.len, arena, &index, &s->e));
	assert_int_equal(index.lost_count, 1);
	assert_int_equal(index.lost_seqs[0], 11);
	arena_destroy(&arena);
	buf_free(&bytes);
}

/* --- The paper's family, which the coordinator asks for. */
static void expect_blob(struct stand *s, const struct hash *root, const char *magic)
{
	struct buf bytes = BUF_INIT;
	assert_ok(&s->e, store_blob_get(s->source, root, 1 << 20, &bytes, &s->e));
	assert_memory_equal(bytes.data, magic, 4);
	buf_free(&bytes);
}

/* `settings` must live as long as the stand. */
static void learn_as_the_paper(struct stand *s, size_t edits, struct buf *settings)
{
	stand_paper(s, settings);
	begin(s, edits);
	stand_group(s, edits);
}

static void close_shard(struct stand *s)
{
	s->closing = true;
	stand_until(s, &s->commits, 2);
	assert_true(s->commit.closed);
}

static void the_papers_shards_are_trained_and_gated(void **state)
{
	struct stand *s = *state;
	struct buf settings = BUF_INIT;
	learn_as_the_paper(s, 2, &settings);
	assert_true(s->commit.steps > 0);
	assert_int_equal(s->commit.mode.len, 6);
	expect_blob(s, &s->commit.index_root, "AMGP");
	expect_blob(s, &s->commit.calibration_root, "AMWC");
	const struct hash index = s->commit.index_root;
	gate_lease(s, (UINT64_C(1) << 32) + 5); /* of the shard's own delta: the same gaps */
	assert_true(hash_equal(&s->gate.index_root, &index));
	expect_blob(s, &s->gate.index_root, "AMGP");
	buf_free(&settings);
}

/* Closing trains nothing again, unless an edit has ended since: then its traces go. */
static void the_papers_closing_pass_takes_ended_edits_out(void **state)
{
	struct stand *s = *state;
	struct buf settings = BUF_INIT;
	learn_as_the_paper(s, 3, &settings);
	const struct hash with = s->delta_root;
	s->ended[1] = true;
	close_shard(s);
	assert_int_equal(s->commit.result_count, 2);
	assert_int_equal(s->commit.mode.len, 13);
	assert_false(hash_equal(&with, &s->delta_root));
	buf_free(&settings);
}

static void the_papers_closing_pass_keeps_what_is_whole(void **state)
{
	struct stand *s = *state;
	struct buf settings = BUF_INIT;
	learn_as_the_paper(s, 2, &settings);
	const struct hash whole = s->delta_root;
	close_shard(s);
	assert_int_equal(s->commit.steps, 0);
	assert_true(hash_equal(&whole, &s->delta_root));
	buf_free(&settings);
}

static void broken_settings_end_the_worker(void **state)
{
	struct stand *s = *state;
	s->settings = (struct msg_bytes){ "AMWCxxxx", 8 };
	stand_start(s);
	stand_turns(s, 3000);
	assert_true(worker_failed(s->worker, &s->e));
	assert_non_null(strstr(s->e.text, "paper"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_gate_lease_tests_and_reports),
		T(what_the_memory_does_not_answer_is_named),
		T(the_papers_shards_are_trained_and_gated),
		T(the_papers_closing_pass_takes_ended_edits_out),
		T(the_papers_closing_pass_keeps_what_is_whole),
		T(broken_settings_end_the_worker),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
