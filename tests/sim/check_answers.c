/* check_answers.c: what answers say is so, and stays so: a record that was refused is nowhere (I2), and an edit whose
 * revocation was acknowledged is ended and in no later version (I9). */
#include "tests/sim/check_internal.h"

#include "tests/sim/engine.h"

#include <inttypes.h>
#include <string.h>

struct revoked {
	uint64_t seq, version; /* not in this one, nor in those after it */
	uint64_t at;           /* the ledger's end when it was acknowledged */
};

/* ---- I2 */

/* Each time that it reached the coordinator it was refused, as far as somebody heard of it. */
static bool is_refused(const struct sim_record *record)
{
	return record->deliveries > 0 && record->refusals == record->deliveries;
}

void sim_check_refused(struct sim *sim, const struct sim_record *record)
{
	const struct taken *edits = (const void *)sim->ledger->edits.data;
	if (!is_refused(record))
		return;
	for (size_t i = 0; i < sim->ledger->edits.len / sizeof *edits; i++)
		if (hash_equal(&edits[i].content, &record->content))
			sim_break(sim, "I2: %" PRIu64 " holds record %" PRIu64 ", which was refused", edits[i].seq,
				  record->serial);
	sim->result->checks++;
}

void sim_check__refused_all(struct sim *sim)
{
	for (size_t i = 0; i < sim->record_count; i++)
		sim_check_refused(sim, &sim->records[i]);
}

/* ---- I9 */

static bool is_of_group(const struct sim *sim, const struct taken *taken, uint64_t group)
{
	for (size_t i = 0; i < sim->record_count; i++)
		if (sim->records[i].group == group && hash_equal(&sim->records[i].content, &taken->content))
			return true;
	return false;
}

static void revoked_add(struct sim *sim, const struct store_edit *edit, uint64_t version)
{
	const struct revoked revoked = { edit->seq, version != 0 ? version : sim->ledger->version + 1,
					 sim->result->events };
	if (!sm_is_final(&store_edit_states, edit->state))
		sim_break(sim, "I9: the revocation of %" PRIu64 " was acknowledged, and it is %s", edit->seq,
			  sm_state_name(&store_edit_states, edit->state));
	buf_append(&sim->ledger->revoked, &revoked, sizeof revoked);
	sim->result->checks++;
}

/* Of the edits that were there when it was asked. */
void sim_check_revoked(struct sim *sim, const struct sim_request *request, uint64_t version)
{
	const struct taken *edits = (const void *)sim->ledger->edits.data;
	char id[STORE_ID_BYTES];
	const uint64_t group = sim_client_revokes(sim, request, id);
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	if (coordinator_of(sim)->store == NULL || sim_check__look(coordinator_of(sim)->store, &txn, &e) != 0)
		return; /* it is down */
	for (size_t i = 0; i < sim->ledger->edits.len / sizeof *edits && edits[i].seq <= request->since; i++) {
		struct store_edit edit;
		if (store_edit_get(txn, edits[i].seq, &edit, &e) == 0 &&
		    (group != 0 ? is_of_group(sim, &edits[i], group) : strcmp(edit.id, id) == 0))
			revoked_add(sim, &edit, version);
	}
	store_abort(&txn);
}

void sim_check__revoked_since_drop(struct buf *revoked, uint64_t last)
{
	struct revoked *all = (void *)revoked->data;
	size_t kept = 0;
	for (size_t i = 0; i < revoked->len / sizeof *all; i++)
		if (all[i].at <= last)
			all[kept++] = all[i];
	revoked->len = kept * sizeof *all;
}

/* A rollback gives an old version's very bytes. */
bool sim_check__is_revoked(const struct sim *sim, uint64_t version, uint64_t seq)
{
	const struct revoked *revoked = (const void *)sim->ledger->revoked.data;
	if (sim_check__source(sim->ledger, version) != version)
		return false;
	for (size_t i = 0; i < sim->ledger->revoked.len / sizeof *revoked; i++)
		if (revoked[i].seq == seq && version >= revoked[i].version)
			return true;
	return false;
}

/* What a node has put together, whatever the manifest says. */
void sim_check__node_set(struct sim *sim, struct sim_proc *node)
{
	struct node_version live = { .version = 0 };
	size_t count = 0;
	if (sim_engine_spoilt)
		sim_break(sim, "I5: %s loads bytes that nobody has trained", node->name);
	if (node_sync_acquire(node->node, 0, &live) != 0)
		return;
	const uint64_t *seqs = live.set != NULL ? sim_engine_set_seqs(live.set, &count) : NULL;
	for (size_t i = 0; i < count; i++)
		if (sim_check__is_revoked(sim, live.version, seqs[i]))
			sim_break(sim, "I9: %s answers from %" PRIu64 " with version %" PRIu64 "; it was revoked",
				  node->name, seqs[i], live.version);
	sim_check__node_canaries(sim, node, live.version, seqs, count);
	node_version_release(&live);
	sim->result->checks++;
}

/* ---- Of one version */

void sim_check__lives(struct sim *sim, uint64_t version, uint64_t seq)
{
	const struct taken *taken = sim_check__taken(sim->ledger, seq);
	if (taken == NULL)
		sim_break(sim, "I2: version %" PRIu64 " holds %" PRIu64 ", which is no edit", version, seq);
	else if (sim_check__is_revoked(sim, version, seq))
		sim_break(sim, "I9: version %" PRIu64 " holds %" PRIu64 ", which was revoked", version, seq);
}
