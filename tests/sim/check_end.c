/* check_end.c: what holds when a cluster is at rest (I7), and of all that is there at the end. */
#include "tests/sim/check_internal.h"

#include "daemon/version_set.h"

#include <inttypes.h>
#include <stdio.h>

static bool edit_done(const struct sim *sim, const struct store_edit *edit)
{
	if (edit->state == STORE_EDIT_STATE_SERVED)
		return true;
	if (edit->state == STORE_EDIT_STATE_TRAINED)
		return !sim->world.takes_back && sim_check__withheld(sim, edit->seq) && edit->reason[0] != '\0';
	if (edit->state == STORE_EDIT_STATE_SUPERSEDED)
		return edit->superseded_by != 0;
	return sm_is_final(&store_edit_states, edit->state) && edit->reason[0] != '\0';
}

/* Where lost memories are trained again, all that the newest version needs is whole in the end. */
static bool newest_whole(struct sim *sim, struct store_txn *txn)
{
	struct store *store = coordinator_of(sim)->store;
	struct store_version version;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	struct buf roots = BUF_INIT, missing = BUF_INIT;
	struct err silent = ERR_INIT;
	if (!sim->world.retrain || sim->ledger->version == 0 || !sim_rot_any(sim))
		return true;
	int rc = store_version_get(txn, sim->ledger->version, &version, &silent);
	if (rc == 0)
		rc = arena_new(16 * 1024, (size_t)1 << 24, &arena);
	if (rc == 0)
		rc = version_manifest_read(store, &version.root, &version.content, NULL, arena, &manifest, &silent);
	if (rc == 0)
		rc = proto_manifest_roots(&manifest, &roots, &silent);
	const struct hash *root = (const void *)roots.data;
	for (size_t i = 0; rc == 0 && i < roots.len / sizeof *root; i++)
		rc = store_blob_damaged(store, &root[i], &missing, &silent);
	const bool whole = rc == 0 && missing.len == 0;
	buf_free(&roots);
	buf_free(&missing);
	arena_destroy(&arena);
	return whole;
}

/* By its content: after a restoration numbers are given anew. */
static bool is_newest(const struct sim *sim, const struct sim_proc *node)
{
	const struct hash *contents = (const void *)sim->ledger->contents.data;
	struct node_sync_info info;
	node_sync_info_get(node->node, &info);
	return node->live == sim->ledger->version &&
	       (node->live == 0 || hash_equal(&info.content, &contents[node->live - 1]));
}

/* I7 */
bool sim_check_rest(struct sim *sim, char *why, size_t why_bytes)
{
	const struct taken *edits = (const void *)sim->ledger->edits.data;
	struct store_version candidate;
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	snprintf(why, why_bytes, "the coordinator is away");
	if (!coordinator_of(sim)->up || sim_check__look(coordinator_of(sim)->store, &txn, &e) != 0)
		return false;
	bool done = sim_rot_rests(sim, why, why_bytes); /* first: it is why others wait */
	for (size_t i = 0; done && i < sim->ledger->edits.len / sizeof *edits; i++) {
		struct store_edit edit;
		done = store_edit_get(txn, edits[i].seq, &edit, &e) == 0 && edit_done(sim, &edit);
		if (!done)
			snprintf(why, why_bytes, "edit %" PRIu64 " is %s in shard %" PRIu64, edits[i].seq,
				 sm_state_name(&store_edit_states, edit.state), edit.shard);
	}
	if (done && coordinator_candidate_get(txn, &candidate, &e) == 0 &&
	    !sim_check__candidate_rests(sim, &candidate)) {
		snprintf(why, why_bytes, "a candidate for version %" PRIu64 " is not through its gate",
			 candidate.version);
		done = false;
	}
	if (done && !newest_whole(sim, txn)) {
		snprintf(why, why_bytes, "version %" PRIu64 " needs what the disk has changed", sim->ledger->version);
		done = false;
	}
	store_abort(&txn);
	if (done && sim->ledger->paused) {
		snprintf(why, why_bytes, "publishing is paused");
		done = false;
	}
	for (size_t i = 0; done && i < sim->world.clients; i++) {
		done = sim_client_idle(&sim->clients[i]);
		if (!done)
			snprintf(why, why_bytes, "%s has no answer", sim->clients[i].name);
	}
	if (done && !sim_approver_rests(sim)) {
		snprintf(why, why_bytes, "a candidate may wait for approval");
		done = false;
	}
	for (size_t i = 1; done && i < sim->proc_count; i++) {
		const struct sim_proc *proc = &sim->procs[i];
		done = proc->up && (proc->kind != SIM_NODE || is_newest(sim, proc));
		if (!done)
			snprintf(why, why_bytes, "%s is %s, at version %" PRIu64 " of %" PRIu64, proc->name,
				 proc->up ? "up" : "down", proc->live, sim->ledger->version);
	}
	return done;
}

/* With one edit of a group that could not be learnt, none of it is served. */
static void check_group(struct sim *sim, struct store_txn *txn, const struct store_edit *failed)
{
	const struct taken *edits = (const void *)sim->ledger->edits.data;
	for (size_t i = 0; i < sim->ledger->edits.len / sizeof *edits; i++) {
		struct store_edit edit;
		struct err e = ERR_INIT;
		if (store_edit_get(txn, edits[i].seq, &edit, &e) == 0 && edit.group == failed->group &&
		    edit.state == STORE_EDIT_STATE_SERVED)
			sim_break(sim, "%" PRIu64 " is served, and %" PRIu64 " of its group is %s", edit.seq,
				  failed->seq, sm_state_name(&store_edit_states, failed->state));
	}
}

/* The newest version answers with what is live, and with nothing that has ended, but for what a withheld edit has
 * superseded. */
void sim_check__served(struct sim *sim, struct store_txn *txn, const struct proto_manifest *manifest)
{
	const struct taken *edits = (const void *)sim->ledger->edits.data;
	for (size_t i = 0; i < sim->ledger->edits.len / sizeof *edits; i++) {
		struct store_edit edit;
		struct err e = ERR_INIT;
		bool there = false;
		if (store_edit_get(txn, edits[i].seq, &edit, &e) != 0)
			continue;
		if (edit.group != 0 && (edit.state == STORE_EDIT_STATE_FAILED || edit.state == STORE_EDIT_STATE_DEAD))
			check_group(sim, txn, &edit);
		for (size_t m = 0; m < manifest->memory_count && !there; m++)
			there = sim_check__listed(manifest->memories[m].seqs, manifest->memories[m].seq_count,
						  edit.seq);
		there = there && !sim_check__listed(manifest->removed_seqs, manifest->removed_count, edit.seq);
		if (there != (edit.state == STORE_EDIT_STATE_SERVED) && !(there && sim_check__is_kept(sim, txn, &edit)))
			sim_break(sim, "I5: %" PRIu64 " is %s and %s version %" PRIu64, edit.seq,
				  sm_state_name(&store_edit_states, edit.state), there ? "answers in" : "is not in",
				  manifest->version);
	}
}

void sim_check_end(struct sim *sim)
{
	struct store_txn *txn = NULL;
	struct store_shard shard;
	struct err e = ERR_INIT;
	sim_check_start(sim);
	if (sim->result->broken)
		return;
	sim_check__refused_all(sim);
	if (sim_check__look(coordinator_of(sim)->store, &txn, &e) != 0) {
		sim_break(sim, "%s", e.text);
		return;
	}
	for (uint64_t id = 1; store_shard_next(txn, id, &shard, &e) == 0; id = shard.id + 1) {
		sim_check__shard(sim, txn, &shard);
		store_shard_fini(&shard);
	}
	for (uint64_t version = 1; version <= sim->ledger->version && !sim->result->broken; version++) {
		bool kept = true;
		if (store_version_kept(txn, version, &kept, &e) != 0)
			sim_break(sim, "I5: version %" PRIu64 ": %s", version, e.text);
		else if (kept)
			sim_check__version(sim, txn, version, true);
	}
	store_abort(&txn);
	sim_rot_end(sim);
}
