/* Losses, rollbacks, approvals, canaries, merges and revocations in random orders: what was revoked is in no version,
 * nothing is published that nobody approved, nothing stays that cannot be loaded, and in the end every edit is served
 * or says why not. `test_lost_orders FIRST COUNT` runs other seeds than the few of the suite. */
#include "tests/unit/coordinator/candidate_fixture.h"
#include "tests/unit/coordinator/lost_fixture.h"

#include "base/order.h"
#include "base/rng.h"

#include <stdlib.h>

#define OPS       40
#define EDITS_MAX 200
#define SETTLES   40
#define GATE      (UINT64_C(1) << 32) /* epochs of a merge's gate start here */

static uint64_t first_seed = 1, seed_count = 4;

struct world {
	struct cluster *c;
	struct rng rng;
	uint64_t boot, seen; /* versions that were looked at */
	size_t facts, edit_count, revoked_count;
	struct {
		uint64_t seq;
		bool revoked;   /* and acknowledged */
		bool published; /* by a version that no rollback has taken back since */
	} edits[EDITS_MAX];
	bool paused, calm; /* calm: canaries change nothing any more */
	char last[64];
};

static uint64_t below(struct world *w, uint64_t bound)
{
	return rng_below(&w->rng, bound);
}

/* --- A worker that does whatever it is sent. */

static void commit(struct world *w, const struct msg_edits *edits)
{
	struct cluster *c = w->c;
	struct store_txn *txn = NULL;
	struct store_shard rec = { .id = 0 };
	char delta[64];
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_shard_get(txn, edits->shard, &rec, &c->e));
	store_abort(&txn);
	const struct commit commit = { .shard = edits->shard,
				       .epoch = edits->epoch,
				       .version = rec.version + 1,
				       .first = edits->group_first,
				       .count = edits->group_count,
				       .closed = edits->closing,
				       .seqs = rec.seqs,
				       .delta = delta };
	snprintf(delta, sizeof delta, "delta %d of %d", (int)commit.version, (int)commit.shard);
	if (rec.epoch == edits->epoch && rec.trained_count == edits->group_first)
		(void)worker_commit(&c->worker, &commit, NULL);
	store_shard_fini(&rec);
}

static void lease(struct world *w, const struct msg_lease *lease)
{
	struct cluster *c = w->c;
	worker_beat(&c->worker, lease->shard, lease->epoch);
	worker_want(&c->worker, lease->shard, lease->epoch, EDITS_MAX, 0);
	if (lease->epoch < GATE)
		return;
	struct msg msg = { .type = MSG_GATE_RESULT };
	msg.u.gate_result.merge = lease->shard;
	msg.u.gate_result.epoch = lease->epoch;
	msg.u.gate_result.passed = msg.u.gate_result.tested = lease->trained_count;
	end_send(&c->worker, &msg);
	cluster_run(c);
}

static void canaries(struct world *w, const struct msg_canary_run *run)
{
	struct cluster *c = w->c;
	const struct seen now = look(c);
	const bool bad = !w->calm && now.added > 0 && below(w, 4) == 0;
	const struct msg_canary_change change = { .id = { "c-01", 4 },
						  .prompt = { "what else?", 10 },
						  .before = { "before", 6 },
						  .after = { "after", 5 },
						  .memory = 1,
						  .edit = now.first_added };
	struct msg msg = { .type = MSG_CANARY_RESULT };
	msg.u.canary_result = (struct msg_canary_result){ .content = run->content,
							  .text = { "", 0 },
							  .asked = 200,
							  .changed_total = bad,
							  .changed = &change,
							  .changed_count = bad };
	end_send(&c->worker, &msg);
	cluster_run(c);
}

static void work(struct world *w)
{
	struct cluster *c = w->c;
	for (int i = 0; i < 200 && c->worker.count > 0; i++) {
		struct msg_received *r = c->worker.inbox[0];
		memmove(c->worker.inbox, c->worker.inbox + 1, --c->worker.count * sizeof r);
		if (r->msg.type == MSG_LEASE)
			lease(w, &r->msg.u.lease);
		else if (r->msg.type == MSG_EDITS && r->msg.u.edits.group_end && r->msg.u.edits.epoch < GATE)
			commit(w, &r->msg.u.edits);
		else if (r->msg.type == MSG_CANARY_RUN)
			canaries(w, &r->msg.u.canary_run);
		msg_free(&r);
	}
	if (newest(c) > 0)
		node_status(&c->node, newest(c));
	end_clear(&c->node);
	end_clear(&c->client);
}

static void pass_time(struct world *w, int64_t ms)
{
	for (int64_t at = 0; at < ms; at += 2000) {
		worker_beat(&w->c->worker, 0, 0);
		cluster_advance(w->c, 2000);
		work(w);
	}
}

static void join(struct world *w)
{
	end_clear(&w->c->worker);
	end_clear(&w->c->node);
	worker_hello(&w->c->worker, ++w->boot);
	node_hello(&w->c->node, w->boot);
	work(w);
}

/* --- What must hold. */

static void live_of(struct world *w, uint64_t version, struct buf *out)
{
	struct proto_manifest m;
	struct arena *arena = NULL;
	buf_clear(out);
	if (version == 0)
		return;
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(w->c, version, arena, &m);
	for (size_t i = 0; i < m.memory_count; i++)
		for (size_t k = 0; m.memories[i].kind == PROTO_MEMORY_SHARD && k < m.memories[i].seq_count; k++)
			if (m.removed_count == 0 || bsearch(&m.memories[i].seqs[k], m.removed_seqs, m.removed_count,
							    sizeof(uint64_t), order_u64) == NULL)
				buf_append(out, &m.memories[i].seqs[k], sizeof(uint64_t));
	arena_destroy(&arena);
	if (out->len > 0)
		qsort(out->data, out->len / sizeof(uint64_t), sizeof(uint64_t), order_u64);
}

static bool holds(const struct buf *seqs, uint64_t seq)
{
	return seqs->len > 0 && bsearch(&seq, seqs->data, seqs->len / sizeof seq, sizeof seq, order_u64) != NULL;
}

static bool event_has(struct world *w, uint64_t version, const char *text)
{
	struct cluster *c = w->c;
	struct store_txn *txn = NULL;
	struct store_version rec;
	struct store_event event;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_version_get(txn, version, &rec, &c->e));
	assert_ok(&c->e, store_event_get(txn, rec.event_seq, &event, &c->e));
	const bool has = memmem(event.payload, event.payload_len, text, strlen(text)) != NULL;
	store_abort(&txn);
	return has;
}

static void look_at(struct world *w, uint64_t version, const struct buf *before, const struct buf *live)
{
	const bool rollback = event_has(w, version, "\"rollback_to\"");
	const bool approved = event_has(w, version, "\"approved\":true");
	for (size_t i = 0; i < w->edit_count; i++) {
		const uint64_t seq = w->edits[i].seq;
		if (!rollback && w->edits[i].revoked && holds(live, seq))
			fail_msg("v%d serves %d, which was revoked (%s)", (int)version, (int)seq, w->last);
		if (w->c->config.approve && !rollback && !approved && holds(live, seq) && !holds(before, seq))
			fail_msg("v%d brings %d, and nobody approved it (%s)", (int)version, (int)seq, w->last);
		w->edits[i].published = holds(live, seq) || (w->edits[i].published && !rollback);
	}
}

static void check(struct world *w)
{
	struct buf before = BUF_INIT, live = BUF_INIT;
	assert_false(coordinator_failed(w->c->coordinator, NULL));
	live_of(w, w->seen, &live);
	while (w->seen < newest(w->c)) {
		buf_clear(&before);
		buf_append(&before, live.data, live.len);
		live_of(w, ++w->seen, &live);
		look_at(w, w->seen, &before, &live);
	}
	buf_free(&before);
	buf_free(&live);
}

/* --- What happens. */

static void submit(struct world *w)
{
	const size_t count = 1 + below(w, 2);
	if (w->edit_count + count > EDITS_MAX)
		return;
	client_facts(w->c, w->facts + 1, count);
	for (size_t i = 0; i < count; i++) {
		struct store_edit edit = edit_from(w->c, w->edit_count > 0 ? w->edits[w->edit_count - 1].seq + 1 : 1);
		w->edits[w->edit_count++].seq = edit.seq;
	}
	w->facts += count;
}

static void take_back(struct world *w)
{
	if (w->edit_count == 0)
		return;
	const size_t at = below(w, w->edit_count);
	const struct revoked r = client_revoke(w->c, edit_from(w->c, w->edits[at].seq).id, NULL, false);
	assert_false(r.lost);
	if (r.code == 0)
		w->edits[at].revoked = true;
	else if (!w->edits[at].revoked && r.code != ERR_CONFLICT)
		fail_msg("revoking %d: %s", (int)w->edits[at].seq, r.text);
}

/* Of a shard: its delta, or what all shards have in common. */
static struct hash shard_root(struct world *w, struct store_txn *txn)
{
	struct store_shard shard;
	struct hash root = { { 0 } };
	const uint64_t kind = below(w, 8);
	for (uint64_t id = 1; store_shard_next(txn, id, &shard, &w->c->e) == 0; id = shard.id + 1) {
		if (shard.version > 0 && (hash_is_zero(&root) || below(w, 2) == 0))
			root = kind == 0 ? shard.index_root : kind == 1 ? shard.calibration_root : shard.delta_root;
		store_shard_fini(&shard);
	}
	return root;
}

static struct hash merge_root(struct world *w, struct store_txn *txn)
{
	struct store_merge merge;
	struct hash root = { { 0 } };
	for (uint64_t id = 1; store_merge_next(txn, id, &merge, &w->c->e) == 0; id = merge.id + 1)
		if (!hash_is_zero(&merge.output_root))
			root = merge.output_root;
	return root;
}

static struct hash root_choose(struct world *w)
{
	struct cluster *c = w->c;
	struct store_txn *txn = NULL;
	struct store_version rec;
	struct hash root = { { 0 } };
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	const uint64_t kind = below(w, 5), last = newest(c);
	if (kind == 0 && last > 0 && store_version_get(txn, last, &rec, &c->e) == 0)
		root = rec.root;
	else if (kind == 1 && coordinator_candidate_get(txn, &rec, &c->e) == 0)
		root = rec.root;
	else if (kind == 2)
		root = merge_root(w, txn);
	else
		root = shard_root(w, txn);
	store_abort(&txn);
	return root;
}

static void damage(struct world *w)
{
	struct cluster *c = w->c;
	const struct hash root = root_choose(w);
	struct err unused = ERR_INIT;
	struct buf bytes = BUF_INIT;
	struct hash chunk;
	if (hash_is_zero(&root) || store_blob_get(c->store, &root, 1 << 20, &bytes, &unused) != 0) {
		buf_free(&bytes);
		return; /* it is damaged already */
	}
	rot(c, &bytes);
	hash_of(bytes.data, bytes.len, &chunk);
	buf_free(&bytes);
	end_need(&c->node, &chunk);
	if (below(w, 2) == 0)
		pass_time(w, 2 * RETRAIN_MS);
}

/* `client` submitted everything: it may say yes only to what was in force before. */
static void judge(struct world *w)
{
	struct cluster *c = w->c;
	const struct seen now = look(c);
	const bool by_client = below(w, 2) == 0;
	if (below(w, 5) == 0) {
		(void)say(&c->admin, MSG_PUBLISH_REJECT, &now.content, "not this one");
		return;
	}
	bool fresh = false;
	for (size_t i = 0; i < w->edit_count; i++)
		fresh = fresh || (!w->edits[i].published && w->edits[i].seq == now.first_added);
	const struct published p = say(by_client ? &c->client : &c->admin, MSG_PUBLISH_APPROVE, &now.content, "");
	if (by_client && fresh && now.added > 0 && strcmp(now.state, "waiting") == 0 && p.code == 0)
		fail_msg("who submitted %d approved it", (int)now.first_added);
}

static void roll_back(struct world *w)
{
	struct cluster *c = w->c;
	if (newest(c) == 0)
		return;
	struct msg msg = { .type = MSG_PUBLISH };
	msg.u.publish = (struct msg_publish){ .action = MSG_PUBLISH_ROLLBACK,
					      .version = 1 + below(w, newest(c)),
					      .reason = { "at random", 9 } };
	end_send(&c->admin, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->admin, MSG_PUBLISH_REPLY);
	w->paused = w->paused || reply->msg.u.publish_reply.code == 0;
	msg_free(&reply);
}

static void resume(struct world *w)
{
	const struct published p = say(&w->c->admin, MSG_PUBLISH_RESUME, NULL, "");
	if (p.code != 0)
		fail_msg("resume: %s", p.text);
	w->paused = false;
}

static void merge(struct world *w)
{
	struct msg run = { .type = MSG_MERGE_RUN };
	end_send(&w->c->client, &run);
	cluster_run(w->c);
}

static void start_again(struct world *w)
{
	end_clear(&w->c->worker);
	cluster_restart(w->c);
	join(w);
}

static void wait_some(struct world *w)
{
	pass_time(w, (int64_t)below(w, 30000));
}

static void step(struct world *w)
{
	static const struct {
		void (*run)(struct world *w);
		const char *name;
		unsigned weight;
	} ops[] = { { submit, "submit", 6 }, { take_back, "revoke", 3 },    { damage, "damage", 5 },
		    { judge, "judge", 5 },   { roll_back, "rollback", 1 },  { resume, "resume", 2 },
		    { merge, "merge", 1 },   { start_again, "restart", 2 }, { wait_some, "wait", 3 } };
	uint64_t at = below(w, 28);
	size_t i = 0;
	for (; at >= ops[i].weight; i++)
		at -= ops[i].weight;
	snprintf(w->last, sizeof w->last, "%s", ops[i].name);
	fprintf(stderr, "-- %s\n", w->last);
	ops[i].run(w);
	cluster_run(w->c);
	work(w);
	check(w);
}

/* --- The end: no more trouble, and somebody who says yes. */

/* One that was served before a rollback is withheld as any. */
static bool is_withheld(const struct store_edit *edit)
{
	return strncmp(edit->reason, "withheld: ", 10) == 0;
}

static bool edit_rests(struct world *w, uint64_t seq)
{
	struct store_edit edit;
	edit_get(w->c, seq, &edit);
	return edit.state == STORE_EDIT_STATE_SERVED || edit.state == STORE_EDIT_STATE_REVOKED ||
	       (edit.state == STORE_EDIT_STATE_TRAINED && is_withheld(&edit));
}

static bool rests(struct world *w)
{
	bool rest = strcmp(look(w->c).state, "none") == 0;
	for (size_t i = 0; rest && i < w->edit_count; i++)
		rest = edit_rests(w, w->edits[i].seq);
	return rest;
}

static void settle(struct world *w)
{
	w->calm = true;
	snprintf(w->last, sizeof w->last, "settling");
	pass_time(w, 3 * RETRAIN_MS);       /* what is lost is given up */
	node_hello(&w->c->node, ++w->boot); /* it may have been silent for long */
	for (int i = 0; i < SETTLES && (w->paused || !rests(w)); i++) {
		const struct seen now = look(w->c);
		if (w->paused || strcmp(now.state, "refused") == 0)
			resume(w);
		else if (strcmp(now.state, "waiting") == 0)
			(void)approve(w->c);
		pass_time(w, 4000);
		check(w);
	}
}

static void check_end(struct world *w)
{
	struct cluster *c = w->c;
	struct proto_manifest m;
	struct arena *arena = NULL;
	struct buf live = BUF_INIT, missing = BUF_INIT;
	live_of(w, newest(c), &live);
	for (size_t i = 0; i < w->edit_count; i++) {
		struct store_edit edit;
		edit_get(c, w->edits[i].seq, &edit);
		if (!edit_rests(w, edit.seq))
			fail_msg("%d is in state %d (%s); the candidate is %s: %s", (int)edit.seq, edit.state,
				 edit.reason, look(c).state, look(c).text);
		if (holds(&live, edit.seq) != (edit.state == STORE_EDIT_STATE_SERVED && !is_withheld(&edit)))
			fail_msg("%d is in state %d (%s), and %s", (int)edit.seq, edit.state, edit.reason,
				 holds(&live, edit.seq) ? "served" : "not served");
	}
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	if (newest(c) > 0) {
		manifest_read(c, newest(c), arena, &m);
		for (size_t i = 0; i < m.memory_count; i++)
			assert_ok(&c->e, store_blob_missing(c->store, &m.memories[i].delta_root, &missing, &c->e));
		assert_int_equal(missing.len, 0);
	}
	arena_destroy(&arena);
	buf_free(&live);
	buf_free(&missing);
}

static void run_seed(uint64_t seed)
{
	struct world w = { .boot = 0 };
	void *state = NULL;
	assert_int_equal(cluster_setup(&state), 0);
	w.c = state;
	rng_init(&w.rng, seed);
	w.c->config.retrain_ms = RETRAIN_MS;
	w.c->config.edits_per_shard = 3;
	w.c->config.approve = below(&w, 3) > 0;
	w.c->config.canaries = below(&w, 2) == 0;
	cluster_start(w.c);
	join(&w);
	for (int i = 0; i < OPS; i++)
		step(&w);
	settle(&w);
	check_end(&w);
	cluster_teardown(&state);
}

static void test_any_order(void **state)
{
	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + seed_count; seed++) {
		printf("seed %d\n", (int)seed);
		run_seed(seed);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_any_order) };
	if (argc == 3) {
		first_seed = strtoull(argv[1], NULL, 10);
		seed_count = strtoull(argv[2], NULL, 10);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
