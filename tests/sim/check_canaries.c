/* check_canaries.c: no version takes more canaries than may change (I10), and what is withheld for them stays so, and
 * alone: until a resume no version holds it and it is not asked again, nothing is withheld that takes none, and what it
 * superseded goes on answering (I11). */
#include "tests/sim/check_internal.h"

#include "tests/sim/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define META_WITHHELD "withheld"

static const uint64_t *withheld_of(const struct sim *sim, size_t *count)
{
	*count = sim->ledger->withheld.len / sizeof(uint64_t);
	return (const void *)sim->ledger->withheld.data;
}

bool sim_check__withheld(const struct sim *sim, uint64_t seq)
{
	size_t count;
	const uint64_t *seqs = withheld_of(sim, &count);
	return sim_check__listed(seqs, count, seq);
}

static uint32_t taken_by(const struct sim *sim, uint64_t seq)
{
	const struct taken *taken = sim_check__taken(sim->ledger, seq);
	return taken != NULL ? sim_canary_taken(taken->text) : 0;
}

/* ---- Refusals */

bool sim_check__content_of(const struct json *json, struct hash *out)
{
	const char *hex = json_string(json_get(json, "content"), NULL);
	return hex != NULL && hash_parse(hex, out) == 0;
}

static uint64_t group_of(struct store_txn *txn, uint64_t seq)
{
	struct store_edit edit;
	struct err silent = ERR_INIT;
	return store_edit_get(txn, seq, &edit, &silent) == 0 ? edit.group : 0;
}

static bool is_live(struct store_txn *txn, uint64_t seq)
{
	struct store_edit edit;
	struct err silent = ERR_INIT;
	return store_edit_get(txn, seq, &edit, &silent) == 0 && !sm_is_final(&store_edit_states, edit.state);
}

/* It takes a canary, or another one of its all-or-nothing group does that is withheld with it. */
static bool is_to_blame(const struct sim *sim, struct store_txn *txn, const struct json *list, uint64_t seq)
{
	const uint64_t group = group_of(txn, seq);
	if (taken_by(sim, seq) != 0)
		return true;
	for (size_t i = 0; group != 0 && json_at(list, i) != NULL; i++) {
		const uint64_t other = (uint64_t)json_integer(json_at(list, i));
		if (group_of(txn, other) == group && taken_by(sim, other) != 0)
			return true;
	}
	return false;
}

static void on_withheld(struct sim *sim, struct store_txn *txn, const struct json *list)
{
	size_t i = 0;
	for (; json_at(list, i) != NULL; i++) {
		const uint64_t seq = (uint64_t)json_integer(json_at(list, i));
		if (sim_check__withheld(sim, seq) && is_live(txn, seq))
			sim_break(sim, "I11: %" PRIu64 " is withheld a second time, with no resume in between", seq);
		if (!is_to_blame(sim, txn, list, seq))
			sim_break(sim, "I11: %" PRIu64 " is withheld, and takes no canary", seq);
		buf_append(&sim->ledger->withheld, &seq, sizeof seq);
		sim->result->tally.withheld_edits++;
	}
	sim->ledger->unnamed = i == 0;
}

void sim_check__candidate(struct sim *sim, struct store_txn *txn, const struct json *json)
{
	const char *what = json_string(json_get(json, "candidate"), NULL);
	struct hash content;
	if (what == NULL || !sim_check__content_of(json, &content))
		return;
	buf_append(&sim->ledger->refused, &content, sizeof content);
	if (strcmp(what, "refused") != 0)
		return; /* rejected, by people */
	sim->ledger->upset = true;
	sim->result->tally.refused_candidates++;
	on_withheld(sim, txn, json_get(json, "withheld"));
}

void sim_check__never_refused(struct sim *sim, uint64_t version, const struct json *json)
{
	const struct hash *refused = (const void *)sim->ledger->refused.data;
	struct hash content;
	sim->ledger->upset = false;
	for (size_t i = 0; sim_check__content_of(json, &content) && i < sim->ledger->refused.len / sizeof *refused; i++)
		if (hash_equal(&refused[i], &content))
			sim_break(sim, "I10: version %" PRIu64 " is a candidate that was refused", version);
}

/* The one that was refused last. */
bool sim_check__candidate_rests(const struct sim *sim, const struct store_version *candidate)
{
	const struct hash *refused = (const void *)sim->ledger->refused.data;
	const size_t count = sim->ledger->refused.len / sizeof *refused;
	return sim->ledger->upset && count > 0 && hash_equal(&refused[count - 1], &candidate->content);
}

bool sim_check_upset(const struct sim *sim)
{
	return sim->ledger->upset;
}

/* ---- Versions */

static uint32_t count_of(uint32_t canaries)
{
	return (uint32_t)__builtin_popcount(canaries);
}

/* As the ledger has it: its last event says whether it was taken back since. An all-or-nothing group may lie in one
 * memory with what its edits supersede, which is trained away there. */
bool sim_check__is_kept(const struct sim *sim, struct store_txn *txn, const struct store_edit *edit)
{
	struct store_edit by;
	struct store_event event;
	struct err silent = ERR_INIT;
	return edit->state == STORE_EDIT_STATE_SUPERSEDED && edit->version != 0 &&
	       sim_check__withheld(sim, edit->superseded_by) && is_live(txn, edit->superseded_by) &&
	       store_edit_get(txn, edit->superseded_by, &by, &silent) == 0 &&
	       (by.group == 0 || by.shard != edit->shard) &&
	       store_event_get(txn, edit->ended_event, &event, &silent) == 0 && event.type == STORE_EVENT_EDIT_ENDED;
}

static bool is_in_memory(const struct proto_manifest *m, uint64_t seq)
{
	for (size_t i = 0; i < m->memory_count; i++)
		if (sim_check__listed(m->memories[i].seqs, m->memories[i].seq_count, seq))
			return true;
	return false;
}

/* Where its memory is lost it cannot. What is only taken back makes a version of the one before. */
static void check_kept(struct sim *sim, struct store_txn *txn, const struct proto_manifest *m, const struct buf *live)
{
	const struct taken *edits = (const void *)sim->ledger->edits.data;
	const uint64_t *now = (const void *)live->data;
	for (size_t i = 0; sim->ledger->asked && i < sim->ledger->edits.len / sizeof *edits; i++) {
		struct store_edit edit;
		struct err silent = ERR_INIT;
		if (!sim_check__listed(now, live->len / sizeof *now, edits[i].seq) && is_in_memory(m, edits[i].seq) &&
		    store_edit_get(txn, edits[i].seq, &edit, &silent) == 0 && sim_check__is_kept(sim, txn, &edit))
			sim_break(sim,
				  "I11: version %" PRIu64 " does not answer from %" PRIu64
				  ", and what superseded it, %" PRIu64 ", is withheld",
				  m->version, edit.seq, edit.superseded_by);
	}
}

void sim_check__canaries(struct sim *sim, struct store_txn *txn, const struct proto_manifest *m, const struct buf *live)
{
	const uint64_t *seqs = (const void *)live->data;
	const bool rolled_back = sim_check__source(sim->ledger, sim->ledger->version) != sim->ledger->version;
	uint32_t canaries = 0;
	if (!sim->world.canaries)
		return;
	for (size_t i = 0; i < m->memory_count; i++)
		canaries |= sim_canary_taken_by_merge(&m->memories[i]);
	for (size_t i = 0; i < live->len / sizeof *seqs; i++) {
		canaries |= taken_by(sim, seqs[i]);
		if (!rolled_back && sim_check__withheld(sim, seqs[i]))
			sim_break(sim, "I11: version %" PRIu64 " holds %" PRIu64 ", which is withheld", m->version,
				  seqs[i]);
	}
	if (count_of(canaries) > sim->world.canary_changes)
		sim_break(sim, "I10: version %" PRIu64 " changes %" PRIu32 " canaries, and %" PRIu32 " may", m->version,
			  count_of(canaries), sim->world.canary_changes);
	if (!rolled_back)
		check_kept(sim, txn, m, live);
}

/* What a node has put together: no more than may, and all that the version says. */
void sim_check__node_canaries(struct sim *sim, const struct sim_proc *node, uint64_t version, const uint64_t *seqs,
			      size_t count)
{
	const uint64_t *live = (const void *)sim->ledger->live.data;
	uint32_t canaries = 0;
	for (size_t i = 0; sim->world.canaries && i < count; i++)
		canaries |= taken_by(sim, seqs[i]);
	if (count_of(canaries) > sim->world.canary_changes)
		sim_break(sim, "I10: %s answers with version %" PRIu64 " from edits that take %" PRIu32 " canaries",
			  node->name, version, count_of(canaries));
	for (size_t i = 0; version == sim->ledger->version && i < sim->ledger->live.len / sizeof *live; i++)
		if (!sim->ledger->live_unread && !sim_check__listed(seqs, count, live[i]))
			sim_break(sim, "I5: %s cannot answer from %" PRIu64 " with version %" PRIu64 ", which holds it",
				  node->name, live[i], version);
}

/* ---- After a start */

void sim_check__withheld_stay(struct sim *sim, struct store_txn *txn)
{
	struct buf bytes = BUF_INIT, kept = BUF_INIT;
	struct reader r;
	struct err silent = ERR_INIT;
	size_t count;
	const uint64_t *seqs = withheld_of(sim, &count);
	const int rc = store_meta_get(txn, META_WITHHELD, &bytes, &silent);
	if (rc != 0 && rc != ERR_NOT_FOUND)
		sim_break(sim, "I11: what is withheld: %s", silent.text);
	reader_init(&r, bytes.data, bytes.len);
	while (r.at < r.len && !r.overrun) {
		const uint64_t seq = reader_u64le(&r);
		buf_append(&kept, &seq, sizeof seq);
	}
	for (size_t i = 0; i < count; i++)
		if (is_live(txn, seqs[i]) &&
		    !sim_check__listed((const void *)kept.data, kept.len / sizeof *seqs, seqs[i]))
			sim_break(sim, "I11: after a start, %" PRIu64 " is not withheld any more", seqs[i]);
	buf_free(&bytes);
	buf_free(&kept);
}

/* ---- What people do */

/* One that is withheld, where they take that back; or, where nobody was named, one that may be to blame. */
bool sim_check_upsetting(struct sim *sim, char id[STORE_ID_BYTES], size_t *record)
{
	const struct taken *edits = (const void *)sim->ledger->edits.data;
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	bool found = false;
	if (!sim->world.canaries || coordinator_of(sim)->store == NULL ||
	    sim_check__look(coordinator_of(sim)->store, &txn, &e) != 0)
		return false;
	for (size_t i = 0; i < sim->ledger->edits.len / sizeof *edits && !found; i++) {
		struct store_edit edit;
		if (store_edit_get(txn, edits[i].seq, &edit, &e) != 0 || sm_is_final(&store_edit_states, edit.state))
			continue;
		found = sim_check__withheld(sim, edit.seq) ? sim->world.takes_back
							   : sim->ledger->upset && sim->ledger->unnamed &&
								     edit.state == STORE_EDIT_STATE_TRAINED &&
								     sim_canary_taken(edits[i].text) != 0;
		for (*record = 0; found && *record + 1 < sim->record_count &&
				  !hash_equal(&sim->records[*record].content, &edits[i].content);)
			++*record;
		if (found)
			snprintf(id, STORE_ID_BYTES, "%s", edit.id);
	}
	store_abort(&txn);
	return found;
}
