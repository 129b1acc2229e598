/* Merges: the happy path, each way to fail, and what a restart makes of one. */
#include "tests/lib/coordinator_fixture.h"

#include "base/merge_plan.h"

#include <unistd.h>

struct merge_view {
	int code;
	uint64_t id, version;
	uint32_t state;
	bool done, serves;
	double score_inputs;
	char text[256];
	uint32_t rounds, reduces;
	uint64_t reduced_bytes;
};

static struct merge_view merge_ask(struct cluster *c, uint64_t id)
{
	struct msg msg = { .type = MSG_MERGE_RUN, .u.merge_run = { id } };
	end_send(&c->client, &msg);
	cluster_receive(c);
	struct msg_received *reply = end_expect(&c->client, MSG_MERGE_STATUS);
	const struct msg_merge_status *s = &reply->msg.u.merge_status;
	struct merge_view view = {
		s->code,         s->id, s->version, s->state,   s->done,         s->served_by_default,
		s->score_inputs, "",    s->rounds,  s->reduces, s->reduced_bytes
	};
	snprintf(view.text, sizeof view.text, "%.*s", (int)s->text.len, s->text.text);
	msg_free(&reply);
	return view;
}

/* A worker with one trained, still open shard of two edits. */
static uint64_t prepare(struct cluster *c, uint64_t *shard)
{
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 2);
	uint64_t epoch = worker_lease(&c->worker, shard);
	worker_turn(&c->worker, *shard, epoch);
	return epoch;
}

/* Starts a merge and lets the closing pass happen; the job is started after it. */
static void start(struct cluster *c, uint64_t shard, uint64_t epoch)
{
	struct merge_view view = merge_ask(c, 0);
	assert_int_equal(view.code, 0);
	assert_int_equal(view.id, 1);
	assert_int_equal(view.state, STORE_MERGE_STATE_PLANNED);
	c->client.next_request--; /* its answer was lost: it asks again with the same request */
	view = merge_ask(c, 0);
	assert_int_equal(view.code, 0);
	assert_int_equal(view.id, 1);
	view = merge_ask(c, 0);
	assert_int_equal(view.code, ERR_AGAIN);
	assert_non_null(strstr(view.text, "merge 1 is under way (closing its shards): wait for its end"));
	assert_int_equal(c->fake.starts, 0);
	worker_turn(&c->worker, shard, epoch); /* an empty group: the closing pass */
	cluster_run(c);
	assert_int_equal(c->fake.starts, 1);
}

static void gate_send(struct cluster *c, uint64_t epoch, uint32_t passed, int code)
{
	struct msg msg = { .type = MSG_GATE_RESULT, .u.gate_result = { 1, epoch, passed, 2 } };
	end_send(&c->worker, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->worker, MSG_SHARD_COMMIT_REPLY);
	assert_int_equal(reply->msg.u.shard_commit_reply.code, code);
	assert_int_equal(reply->msg.u.shard_commit_reply.epoch, epoch);
	msg_free(&reply);
}

static uint64_t gate_take(struct cluster *c)
{
	struct msg_received *lease = end_expect(&c->worker, MSG_LEASE);
	uint64_t epoch = lease->msg.u.lease.epoch;
	assert_int_equal(lease->msg.u.lease.kind, MSG_LEASE_GATE);
	assert_int_equal(lease->msg.u.lease.shard, 1);
	assert_false(hash_is_zero(&lease->msg.u.lease.delta_root));
	msg_free(&lease);
	worker_want(&c->worker, 1, epoch, 100, 0);
	struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
	assert_int_equal(edits->msg.u.edits.item_count, 2);
	assert_true(edits->msg.u.edits.replayed);
	assert_true(edits->msg.u.edits.group_end);
	msg_free(&edits);
	return epoch;
}

static void test_merge_is_published_beside_its_shards(void **state)
{
	struct cluster *c = *state;
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	uint64_t shard, epoch = prepare(c, &shard);
	start(c, shard, epoch);
	assert_int_equal(c->fake.ranks, 1); /* no more than shards */
	cluster_run(c);
	uint64_t gate = gate_take(c);
	gate_send(c, gate, 2, 0);
	struct merge_view view = merge_ask(c, 1);
	assert_int_equal(view.state, STORE_MERGE_STATE_PUBLISHED);
	assert_true(view.done && view.serves);
	assert_int_equal(view.version, 3);
	assert_true(view.rounds == 3 && view.reduces == 5 && view.reduced_bytes == 1000);
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, 3, arena, &manifest);
	assert_int_equal(manifest.memory_count, 2);
	assert_int_equal(manifest.memories[1].id, (UINT64_C(1) << 32) + 1);
	assert_int_equal(manifest.memories[1].kind, PROTO_MEMORY_MERGED);
	assert_int_equal(manifest.memories[1].source_count, 1);
	assert_int_equal(manifest.memories[1].seq_count, 2);
	assert_int_equal(manifest.default_set, PROTO_SET_MERGED);
	gate_send(c, gate, 2, 0); /* its answer was lost: the same answer, and nothing more happens */
	gate_send(c, gate + 1, 2, ERR_FENCED);
	assert_int_equal(merge_ask(c, 1).version, 3);
	assert_int_equal(merge_ask(c, 0).code, ERR_CONFLICT); /* nothing is left to merge */
	/* New edits open a new shard, and the merged memory stays in later versions. */
	client_facts(c, 5, 1);
	uint64_t next, next_epoch = worker_lease(&c->worker, &next);
	assert_int_equal(next, 2);
	uint64_t version = worker_turn(&c->worker, next, next_epoch);
	manifest_read(c, version, arena, &manifest);
	assert_int_equal(manifest.memory_count, 3);
	assert_int_equal(manifest.default_set, PROTO_SET_MERGED);
	arena_destroy(&arena);
}

/* The candidate whose text has `note`. */
static void judge(struct cluster *c, enum msg_publish_action action, const char *note)
{
	struct msg look = { .type = MSG_CANDIDATE };
	struct msg msg = { .type = MSG_PUBLISH, .u.publish = { .action = action, .reason = { "it forgets", 10 } } };
	end_send(&c->admin, &look);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->admin, MSG_CANDIDATE_REPLY);
	assert_non_null(strstr(reply->msg.u.candidate_reply.text.text, note));
	msg.u.publish.content = reply->msg.u.candidate_reply.content;
	msg_free(&reply);
	end_send(&c->admin, &msg);
	cluster_run(c);
	reply = end_expect(&c->admin, MSG_PUBLISH_REPLY);
	assert_int_equal(reply->msg.u.publish_reply.code, 0);
	msg_free(&reply);
}

static void test_a_merge_waits_for_approval(void **state)
{
	struct cluster *c = *state;
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	c->config.approve = true;
	uint64_t shard, epoch = prepare(c, &shard);
	judge(c, MSG_PUBLISH_APPROVE, "2 edits more");
	start(c, shard, epoch);
	cluster_run(c);
	gate_send(c, gate_take(c), 2, 0);
	struct merge_view view = merge_ask(c, 1);
	assert_int_equal(view.state, STORE_MERGE_STATE_PUBLISHED);
	assert_int_equal(view.version, 0);
	cluster_restart(c);
	cluster_run(c);
	judge(c, MSG_PUBLISH_APPROVE, "0 edits more"); /* the shard as it was closed, made before the merge ended */
	assert_int_equal(merge_ask(c, 1).version, 0);
	judge(c, MSG_PUBLISH_APPROVE, "0 edits more");
	assert_int_equal(merge_ask(c, 1).version, 3);
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, 2, arena, &manifest);
	assert_int_equal(manifest.memory_count, 1);
	manifest_read(c, 3, arena, &manifest);
	assert_int_equal(manifest.memory_count, 2);
	assert_int_equal(manifest.default_set, PROTO_SET_MERGED);
	arena_destroy(&arena);
}

/* What is refused with it may pass without it, also after a restart; and its shards may be merged again. */
static void test_a_refused_merge_is_left_out(void **state)
{
	struct cluster *c = *state;
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	struct store_txn *txn = NULL;
	struct store_merge again;
	c->config.approve = true;
	uint64_t shard, epoch = prepare(c, &shard);
	judge(c, MSG_PUBLISH_APPROVE, "2 edits more");
	start(c, shard, epoch);
	cluster_run(c);
	gate_send(c, gate_take(c), 2, 0);
	judge(c, MSG_PUBLISH_APPROVE, "0 edits more"); /* the shard as it was closed */
	judge(c, MSG_PUBLISH_REJECT, "0 edits more");
	struct merge_view view = merge_ask(c, 1);
	assert_int_equal(view.state, STORE_MERGE_STATE_FAILED);
	assert_false(view.serves);
	assert_int_equal(view.version, 0);
	assert_non_null(strstr(view.text, "the version with it was refused: it forgets"));
	client_facts(c, 5, 1);
	uint64_t next, next_epoch = worker_lease(&c->worker, &next);
	assert_int_equal(worker_turn(&c->worker, next, next_epoch), 0);
	end_clear(&c->worker);
	cluster_restart(c);
	cluster_run(c);
	judge(c, MSG_PUBLISH_APPROVE, "1 edit more");
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, 3, arena, &manifest);
	assert_int_equal(manifest.memory_count, 2);
	assert_int_equal(manifest.memories[0].kind, PROTO_MEMORY_SHARD);
	assert_int_equal(manifest.memories[1].kind, PROTO_MEMORY_SHARD);
	arena_destroy(&arena);
	assert_int_equal(merge_ask(c, 1).state, STORE_MERGE_STATE_FAILED);
	view = merge_ask(c, 0);
	assert_int_equal(view.code, 0);
	assert_int_equal(view.id, 2);
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_merge_get(txn, 2, &again, &c->e));
	store_abort(&txn);
	assert_int_equal(again.shard_count, 2);
}

/* The paper's family: an operator puts the deltas together, and a merged memory comes with its index. */
static void test_merges_of_the_papers_family_bring_an_index(void **state)
{
	struct cluster *c = *state;
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	struct merge_plan *plan = NULL;
	struct hash digest;
	uint64_t shard;
	c->config.family = "paper";
	c->config.settings = (struct msg_bytes){ "AMWC", 4 };
	c->config.merge_operator = MERGE_TIES;
	c->config.merge_density = 0.4;
	c->config.merge_trim_nonzero = true;
	uint64_t epoch = prepare(c, &shard);
	start(c, shard, epoch);
	assert_ok(&c->e, merge_plan_read(c->fake.plan, &plan, &digest, &c->e));
	assert_int_equal(plan->operator, MERGE_TIES);
	assert_true(plan->numbers.density == 0.4 && plan->numbers.trim_nonzero);
	assert_int_equal(plan->layer, 24);
	merge_plan_destroy(&plan);
	cluster_run(c);
	struct msg msg = { .type = MSG_GATE_RESULT, .u.gate_result = { 1, gate_take(c), 2, 2, { { 0 } } } };
	static const int codes[] = { ERR_INVALID, ERR_NOT_FOUND,
				     0 }; /* no index; one that is not uploaded; one that is */
	for (size_t i = 0; i < 3; i++) {
		if (i == 1)
			hash_of("gaps", 4, &msg.u.gate_result.index_root);
		if (i == 2)
			assert_ok(&c->e, store_blob_put(c->store, "gaps", 4, &msg.u.gate_result.index_root, &c->e));
		end_send(&c->worker, &msg);
		cluster_run(c);
		struct msg_received *reply = end_expect(&c->worker, MSG_SHARD_COMMIT_REPLY);
		assert_int_equal(reply->msg.u.shard_commit_reply.code, codes[i]);
		msg_free(&reply);
	}
	assert_int_equal(merge_ask(c, 1).state, STORE_MERGE_STATE_PUBLISHED);
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	for (int restart = 0; restart < 2; restart++) { /* the ledger keeps it */
		if (restart == 1) {
			cluster_restart(c);
			worker_hello(&c->worker, 2);
			client_facts(c, 5, 1);
			epoch = worker_lease(&c->worker, &shard);
			worker_turn(&c->worker, shard, epoch);
		}
		manifest_read(c, 3 + (uint64_t)restart, arena, &manifest);
		const struct proto_memory *merged = &manifest.memories[manifest.memory_count - 1];
		assert_int_equal(merged->kind, PROTO_MEMORY_MERGED);
		assert_true(hash_equal(&merged->index_root, &msg.u.gate_result.index_root));
		assert_int_equal(manifest.family.len, 5);
		assert_memory_equal(manifest.family.text, "paper", 5);
	}
	arena_destroy(&arena);
}

/* Memories of two families cannot stand in one version. */
static void test_a_cluster_keeps_its_family(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	prepare(c, &shard);
	cluster_stop(c);
	c->config.family = "paper";
	assert_int_equal(cluster_try_start(c), ERR_MISMATCH);
	assert_non_null(strstr(c->e.text, "family amend"));
	err_clear(&c->e);
	c->config.family = "amend";
	store_close(&c->store);
	cluster_start(c);
}

static void test_plan_holds_what_the_ranks_need(void **state)
{
	struct cluster *c = *state;
	struct merge_plan *plan = NULL;
	struct hash digest;
	struct buf edits = BUF_INIT;
	uint64_t shard, epoch = prepare(c, &shard), seq;
	const char *record;
	size_t record_len;
	c->fake.ticks_left = -1;
	start(c, shard, epoch);
	assert_ok(&c->e, merge_plan_read(c->fake.plan, &plan, &digest, &c->e));
	assert_int_equal(plan->shard_count, 1);
	assert_int_equal(plan->layer, 25);
	assert_ok(&c->e, merge_plan_input(c->fake.plan, plan->shards[0].edits, &plan->shards[0].edits_hash, 1 << 20,
					  &edits, &c->e));
	const char *text = (const char *)edits.data;
	size_t len = edits.len;
	assert_ok(&c->e, merge_plan_edit_next(&text, &len, &seq, &record, &record_len, &c->e));
	assert_memory_equal(record, "{\"prompt\":\"What is fact 1?\"", 26);
	buf_free(&edits);
	merge_plan_destroy(&plan);
}

static void test_gate_below_the_inputs_serves_the_shards(void **state)
{
	struct cluster *c = *state;
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	uint64_t shard, epoch = prepare(c, &shard);
	start(c, shard, epoch);
	cluster_run(c);
	gate_send(c, gate_take(c), 1, 0);
	struct merge_view view = merge_ask(c, 1);
	assert_int_equal(view.state, STORE_MERGE_STATE_PUBLISHED);
	assert_true(view.score_inputs > 0.99);
	assert_false(view.serves);
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, view.version, arena, &manifest);
	assert_int_equal(manifest.default_set, PROTO_SET_RETRIEVE);
	arena_destroy(&arena);
}

/* Nothing changes for those who are served: the last version stays, and the shards may be merged again. */
static void assert_failed(struct cluster *c, const char *why)
{
	struct merge_view view = merge_ask(c, 1);
	assert_int_equal(view.state, STORE_MERGE_STATE_FAILED);
	assert_true(view.done);
	if (strstr(view.text, why) == NULL)
		fail_msg("'%s' does not say '%s'", view.text, why);
	struct store_txn *txn = NULL;
	uint64_t last;
	struct store_shard rec = { .id = 0 };
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_version_last(txn, &last, &c->e));
	assert_ok(&c->e, store_shard_get(txn, 1, &rec, &c->e));
	store_abort(&txn);
	assert_int_equal(last, 2);
	assert_int_equal(rec.state, STORE_SHARD_STATE_CLOSED);
	store_shard_fini(&rec);
	assert_int_equal(merge_ask(c, 0).code, 0);
}

/* The job ends twice with what the coordinator does not take. */
static void expect_no_use(struct cluster *c, uint64_t shard, uint64_t epoch, const char *why)
{
	start(c, shard, epoch);
	cluster_run(c);
	cluster_advance(c, 1000);
	assert_int_equal(c->fake.starts, 2);
	cluster_advance(c, 1000);
	assert_failed(c, why);
}

static void test_job_without_output_is_tried_again_then_failed(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = prepare(c, &shard);
	c->fake.write_output = false;
	expect_no_use(c, shard, epoch, "output");
}

static void test_output_of_another_plan_is_refused(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = prepare(c, &shard);
	c->fake.wrong_plan = true;
	expect_no_use(c, shard, epoch, "it was made from another plan");
}

/* A version with memories of two layers is one that no node can load. */
static void test_output_for_another_layer_is_refused(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = prepare(c, &shard);
	c->fake.wrong_layer = true;
	expect_no_use(c, shard, epoch, "edits layer 26, this cluster's memories edit layer 25");
}

static void test_job_that_hangs_is_killed_at_its_deadline(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = prepare(c, &shard);
	c->fake.ticks_left = -1;
	c->fake.progress = 0.5;
	start(c, shard, epoch);
	cluster_advance(c, 59000);
	assert_int_equal(c->fake.kills, 0);
	cluster_advance(c, 1000);
	assert_int_equal(c->fake.kills, 1);
	cluster_advance(c, 1000);
	assert_int_equal(c->fake.starts, 2);
	cluster_advance(c, 60000);
	assert_int_equal(c->fake.kills, 2);
	assert_failed(c, "deadline");
}

static void test_job_that_cannot_start_fails(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = prepare(c, &shard);
	c->fake.fail_start = true;
	assert_int_equal(merge_ask(c, 0).code, 0);
	worker_turn(&c->worker, shard, epoch);
	cluster_run(c);
	cluster_advance(c, 1000);
	assert_failed(c, "no mpirun");
}

/* A crash between the publish and the cleaning leaves the inputs: the next start removes them, and keeps plan and log.
 */
static void test_restart_cleans_the_folder_of_an_ended_merge(void **state)
{
	struct cluster *c = *state;
	char plan[TEST_PATH_BYTES], left[TEST_PATH_BYTES];
	uint64_t shard, epoch = prepare(c, &shard);
	start(c, shard, epoch);
	cluster_run(c);
	gate_send(c, gate_take(c), 2, 0);
	test_path(plan, c->folder, "merge/1/plan.json");
	test_path(left, c->folder, "merge/1/shard-1.delta");
	assert_int_not_equal(access(left, F_OK), 0);
	assert_ok(&c->e, file_write_atomic(left, "x", 1, 0600, &c->e));
	cluster_restart(c);
	assert_int_not_equal(access(left, F_OK), 0);
	assert_int_equal(access(plan, F_OK), 0);
}

static void test_impossible_gate_counts_are_refused(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = prepare(c, &shard);
	start(c, shard, epoch);
	cluster_run(c);
	gate_send(c, gate_take(c), 3, ERR_INVALID); /* of two */
	assert_int_equal(merge_ask(c, 1).state, STORE_MERGE_STATE_GATED);
}

static void test_gate_whose_worker_dies_goes_to_the_next(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = prepare(c, &shard);
	start(c, shard, epoch);
	cluster_run(c);
	uint64_t gate = gate_take(c);
	worker_hello(&c->worker, 2);
	uint64_t again = gate_take(c);
	assert_true(again > gate);
	gate_send(c, gate, 2, ERR_FENCED);
	cluster_advance(c, 8000); /* nobody hears of it again: the gate is given up, for the second and last time */
	cluster_run(c);
	assert_failed(c, "gate");
}

/* A worker that stops takes no try with it (two are allowed); one whose job failed does, and not at once. */
static void test_gate_that_is_given_back_goes_on(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, boot = 1, epoch = prepare(c, &shard);
	start(c, shard, epoch);
	cluster_run(c);
	for (int i = 0; i < 4; i++) {
		worker_release(&c->worker, 1, gate_take(c), 0);
		assert_null(end_take(&c->worker, MSG_LEASE));
		worker_hello(&c->worker, ++boot);
		cluster_run(c);
	}
	worker_release(&c->worker, 1, gate_take(c), ERR_IO);
	assert_null(end_take(&c->worker, MSG_LEASE));
	cluster_advance(c, 1000);
	cluster_run(c);
	gate_send(c, gate_take(c), 2, 0);
	assert_int_equal(merge_ask(c, 1).state, STORE_MERGE_STATE_PUBLISHED);
}

static void test_restart_runs_the_merge_again(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = prepare(c, &shard);
	c->fake.ticks_left = -1;
	start(c, shard, epoch);
	cluster_restart(c);
	assert_int_equal(c->fake.kills, 1);
	c->fake.ticks_left = 0;
	worker_hello(&c->worker, 2);
	cluster_run(c);
	assert_int_equal(c->fake.starts, 2);
	gate_send(c, gate_take(c), 2, 0);
	assert_int_equal(merge_ask(c, 1).state, STORE_MERGE_STATE_PUBLISHED);
}

static void test_restart_at_the_gate_gates_again(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = prepare(c, &shard);
	start(c, shard, epoch);
	cluster_run(c);
	gate_take(c);
	assert_int_equal(merge_ask(c, 1).state, STORE_MERGE_STATE_GATED);
	cluster_restart(c);
	end_clear(&c->worker);
	worker_hello(&c->worker, 2);
	cluster_run(c);
	assert_int_equal(c->fake.starts, 1);
	gate_send(c, gate_take(c), 2, 0);
	assert_int_equal(merge_ask(c, 1).version, 3);
}

static void test_crash_before_the_publish_changes_nothing(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = prepare(c, &shard);
	start(c, shard, epoch);
	cluster_run(c);
	uint64_t gate = gate_take(c);
	assert_ok(&c->e, fault_arm("coordinator.merge.before_publish=errno@1", &c->e));
	struct msg msg = { .type = MSG_GATE_RESULT, .u.gate_result = { 1, gate, 2, 2 } };
	end_send(&c->worker, &msg);
	cluster_run(c);
	assert_null(end_take(&c->worker, MSG_SHARD_COMMIT_REPLY));
	assert_true(coordinator_failed(c->coordinator, NULL));
	fault_disarm_all();
	cluster_restart(c);
	worker_hello(&c->worker, 2);
	cluster_run(c);
	gate_send(c, gate_take(c), 2, 0);
	assert_int_equal(merge_ask(c, 1).version, 3);
}

static void test_merges_start_by_themselves(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	c->config.merge_every_edits = 3;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 2);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	cluster_run(c);
	assert_int_equal(merge_ask(c, 1).code, ERR_NOT_FOUND);
	client_facts(c, 3, 1);
	worker_turn(&c->worker, shard, epoch);
	cluster_run(c);
	assert_int_equal(merge_ask(c, 1).code, 0);
}

static void test_nothing_to_merge(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	assert_int_equal(merge_ask(c, 0).code, ERR_CONFLICT);
	assert_int_equal(merge_ask(c, 7).code, ERR_NOT_FOUND);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_merge_waits_for_approval),
		T(test_a_refused_merge_is_left_out),
		T(test_merge_is_published_beside_its_shards),
		T(test_merges_of_the_papers_family_bring_an_index),
		T(test_a_cluster_keeps_its_family),
		T(test_plan_holds_what_the_ranks_need),
		T(test_gate_below_the_inputs_serves_the_shards),
		T(test_job_without_output_is_tried_again_then_failed),
		T(test_output_of_another_plan_is_refused),
		T(test_output_for_another_layer_is_refused),
		T(test_job_that_hangs_is_killed_at_its_deadline),
		T(test_job_that_cannot_start_fails),
		T(test_gate_that_is_given_back_goes_on),
		T(test_restart_cleans_the_folder_of_an_ended_merge),
		T(test_impossible_gate_counts_are_refused),
		T(test_gate_whose_worker_dies_goes_to_the_next),
		T(test_restart_runs_the_merge_again),
		T(test_restart_at_the_gate_gates_again),
		T(test_crash_before_the_publish_changes_nothing),
		T(test_merges_start_by_themselves),
		T(test_nothing_to_merge),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
