/* check.c: the invariants I1 to I5 and I7, read from the coordinator's ledger and blobs, from what clients were told,
 * and from what nodes serve. It follows the ledger event by event: each is looked at once, right after its commit. */
#include "tests/sim/check_internal.h"

#include "daemon/version_set.h"
#include "tests/sim/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOB_BYTES_MAX ((size_t)1 << 24)

void sim_check_init(struct sim *sim)
{
	sim->ledger = calloc(1, sizeof *sim->ledger);
	if (sim->ledger == NULL)
		abort();
}

/* All of it but what was acknowledged. */
static void clear(struct sim_ledger *ledger)
{
	buf_free(&ledger->edits);
	buf_free(&ledger->leases);
	buf_free(&ledger->sources);
	buf_free(&ledger->contents);
	buf_free(&ledger->live);
	buf_free(&ledger->refused);
	buf_free(&ledger->withheld);
}

void sim_check_fini(struct sim *sim)
{
	if (sim->ledger == NULL)
		return;
	clear(sim->ledger);
	buf_free(&sim->ledger->revoked);
	free(sim->ledger);
}

/* A planted fault stays where it is while it is looked for. */
int sim_check__look(struct store *store, struct store_txn **out, struct err *e)
{
	sim_plant_watched = true;
	int rc = store_begin_read(store, out, e);
	sim_plant_watched = false;
	return rc;
}

const struct taken *sim_check__taken(const struct sim_ledger *ledger, uint64_t seq)
{
	const struct taken *edits = (const void *)ledger->edits.data;
	size_t low = 0, high = ledger->edits.len / sizeof *edits;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (edits[middle].seq < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low < ledger->edits.len / sizeof *edits && edits[low].seq == seq ? &edits[low] : NULL;
}

/* ---- I1: every OK is there, with the same bytes. */

static void check_acks(struct sim *sim, size_t from)
{
	for (size_t i = from; i < sim->ack_count; i++) {
		const struct sim_ack *ack = &sim->acks[i];
		const struct taken *taken = sim_check__taken(sim->ledger, ack->seq);
		if (taken == NULL)
			sim_break(sim,
				  "I1: seq %" PRIu64 " was acknowledged for record %zu and is no edit of the ledger",
				  ack->seq, ack->record);
		else if (!hash_equal(&taken->content, &sim->records[ack->record].content))
			sim_break(sim, "I1: seq %" PRIu64 " was acknowledged for record %zu and holds other bytes",
				  ack->seq, ack->record);
	}
	sim->acks_checked = sim->ack_count;
}

/* ---- Events */

/* I1: one edit a record at a time: what is there is not taken once more. */
static void on_accepted(struct sim *sim, struct store_txn *txn, const struct store_event *event)
{
	struct sim_ledger *ledger = sim->ledger;
	const struct taken *edits = (const void *)ledger->edits.data;
	struct taken taken = { .seq = event->seq };
	struct record *record = NULL;
	struct err e = ERR_INIT;
	hash_of(event->payload, event->payload_len, &taken.content);
	for (size_t i = 0; i < ledger->edits.len / sizeof *edits; i++) {
		struct store_edit earlier;
		if (!hash_equal(&edits[i].content, &taken.content))
			continue;
		if (store_edit_get(txn, edits[i].seq, &earlier, &e) != 0)
			sim_break(sim, "I1: edit %" PRIu64 " cannot be read: %s", edits[i].seq, e.text);
		else if (!sm_is_final(&store_edit_states, earlier.state))
			sim_break(sim, "I1: the record of %" PRIu64 " was taken again as %" PRIu64 " while it is %s",
				  edits[i].seq, event->seq, sm_state_name(&store_edit_states, earlier.state));
	}
	if (record_parse(event->payload, event->payload_len, &record, &e) != 0) {
		sim_break(sim, "I2: edit %" PRIu64 " is no record: %s", event->seq, e.text);
		return;
	}
	taken.text = sim_engine_text(record);
	record_destroy(&record);
	buf_append(&ledger->edits, &taken, sizeof taken);
	sim->result->checks++;
}

static struct held *held_of(struct sim_ledger *ledger, uint64_t shard)
{
	static const struct held none;
	if (shard == 0)
		return NULL;
	while (ledger->leases.len / sizeof none < shard)
		buf_append(&ledger->leases, &none, sizeof none);
	return (struct held *)(void *)ledger->leases.data + (shard - 1);
}

static uint64_t member(const struct json *json, const char *name)
{
	const struct json *value = json_get(json, name);
	return value != NULL && json_is_integer(value) ? (uint64_t)json_integer(value) : 0;
}

static void on_lease(struct sim *sim, const struct json *json, bool granted)
{
	struct held *held = held_of(sim->ledger, member(json, "shard"));
	const char *worker = json_string(json_get(json, "worker"), NULL);
	uint64_t epoch = member(json, "epoch");
	if (held == NULL || epoch >> 32 != 0)
		return; /* a gate's */
	if (granted && epoch <= held->epoch)
		sim_break(sim, "epoch %" PRIu64 " of shard %" PRIu64 " comes after %" PRIu64, epoch,
			  member(json, "shard"), held->epoch);
	if (!granted) {
		held->ended |= held->epoch == epoch;
		return;
	}
	*held = (struct held){ .epoch = epoch };
	snprintf(held->worker, sizeof held->worker, "%s", worker != NULL ? worker : "");
}

/* After a failed sync LMDB's environment gives nothing more, and the coordinator ends: looked at again after its start.
 */
static bool is_broken_disk(int rc)
{
	return rc == ERR_IO;
}

/* I4: what was trained into the shard is the ledger's list of it, each edit once, in the list's order. */
void sim_check__shard(struct sim *sim, struct store_txn *txn, struct store_shard *shard)
{
	struct store *store = coordinator_of(sim)->store;
	struct buf bytes = BUF_INIT, list = BUF_INIT;
	struct err e = ERR_INIT;
	int rc = hash_is_zero(&shard->delta_root)
			 ? 0
			 : store_blob_get(store, &shard->delta_root, BLOB_BYTES_MAX, &bytes, &e);
	if (rc == 0 && bytes.len > 0)
		rc = sim_engine_decode(bytes.data, bytes.len, &list, &e);
	if (is_broken_disk(rc) || (rc != 0 && sim_rot_explains(sim, &shard->delta_root))) {
		buf_free(&bytes);
		buf_free(&list);
		return;
	}
	if (rc != 0)
		sim_break(sim, "I5: the delta of shard %" PRIu64 ": %s", shard->id, e.text);
	const struct sim_applied *applied = (const void *)list.data;
	size_t count = list.len / sizeof *applied, at = 0;
	for (size_t i = 0; i < count; i++) {
		const struct taken *taken = sim_check__taken(sim->ledger, applied[i].seq);
		struct store_edit edit;
		while (at < shard->trained_count && shard->seqs[at] != applied[i].seq)
			at++;
		if (at++ >= shard->trained_count)
			sim_break(sim, "I4: shard %" PRIu64 " holds %" PRIu64 " twice, or not where its list has it",
				  shard->id, applied[i].seq);
		else if (taken == NULL || taken->text != applied[i].text)
			sim_break(sim, "I4: shard %" PRIu64 " holds other words than the ledger's for %" PRIu64,
				  shard->id, applied[i].seq);
		else if (store_edit_get(txn, applied[i].seq, &edit, &e) != 0 || edit.shard != shard->id ||
			 edit.state == STORE_EDIT_STATE_ACCEPTED || edit.state == STORE_EDIT_STATE_PLACED)
			sim_break(sim, "I4: shard %" PRIu64 " holds %" PRIu64 ", which is not trained in it", shard->id,
				  applied[i].seq);
	}
	for (size_t i = 0; i < shard->trained_count; i++) {
		struct store_edit edit;
		if (store_edit_get(txn, shard->seqs[i], &edit, &e) != 0 ||
		    (edit.state != STORE_EDIT_STATE_TRAINED && edit.state != STORE_EDIT_STATE_SERVED))
			continue;
		for (at = 0; at < count && applied[at].seq != edit.seq;)
			at++;
		if (at == count)
			sim_break(sim, "I4: %" PRIu64 " is %s and not in the memory of shard %" PRIu64, edit.seq,
				  sm_state_name(&store_edit_states, edit.state), shard->id);
	}
	buf_free(&bytes);
	buf_free(&list);
	sim->result->checks++;
}

static void on_committed(struct sim *sim, struct store_txn *txn, const struct store_event *event,
			 const struct json *json)
{
	uint64_t id = member(json, "shard"), epoch = member(json, "epoch");
	const struct held *held = held_of(sim->ledger, id);
	struct store_shard shard = { .id = 0 };
	struct err e = ERR_INIT;
	char actor[65];
	proto_key_hex(event->actor, actor);
	if (held == NULL || held->epoch != epoch || held->ended || strcmp(held->worker, actor) != 0)
		sim_break(sim,
			  "event %" PRIu64 ": shard %" PRIu64 " took a commit of epoch %" PRIu64
			  "; its lease is epoch %" PRIu64 "%s",
			  event->seq, id, epoch, held != NULL ? held->epoch : 0,
			  held != NULL && held->ended ? ", ended" : "");
	if (store_shard_get(txn, id, &shard, &e) != 0)
		sim_break(sim, "I4: shard %" PRIu64 ": %s", id, e.text);
	else
		sim_check__shard(sim, txn, &shard);
	store_shard_fini(&shard);
}

bool sim_check__listed(const uint64_t *seqs, size_t count, uint64_t seq)
{
	for (size_t i = 0; i < count; i++)
		if (seqs[i] == seq)
			return true;
	return false;
}

/* I8: where versions wait for approval, one without it holds no edit that the one before did not. */
static void check_lives(struct sim *sim, struct store_txn *txn, const struct proto_manifest *m, bool approved)
{
	struct buf live = BUF_INIT;
	const struct buf *before = &sim->ledger->live;
	for (size_t i = 0; i < m->memory_count; i++)
		for (size_t k = 0; k < m->memories[i].seq_count; k++) {
			const uint64_t seq = m->memories[i].seqs[k];
			if (sim_check__listed(m->removed_seqs, m->removed_count, seq))
				continue;
			buf_append(&live, &seq, sizeof seq);
			sim_check__lives(sim, m->version, seq);
			if (sim->world.approve && !approved && !sim->ledger->live_unread &&
			    !sim_check__listed((const void *)before->data, before->len / sizeof seq, seq))
				sim_break(sim, "I8: version %" PRIu64 " holds %" PRIu64 " without approval", m->version,
					  seq);
		}
	sim_check__canaries(sim, txn, m, &live);
	buf_free(&sim->ledger->live);
	sim->ledger->live = live;
	sim->ledger->live_unread = false;
}

uint64_t sim_check__source(const struct sim_ledger *ledger, uint64_t version)
{
	const uint64_t *sources = (const void *)ledger->sources.data;
	return version == 0 || version > ledger->sources.len / sizeof *sources ? 0 : sources[version - 1];
}

/* What the disk has changed is fetched again: sim_rot_rests. */
static void rotten_drop(struct sim *sim, struct buf *missing)
{
	size_t kept = 0;
	for (size_t at = 0; at < missing->len; at += HASH_BYTES) {
		struct hash hash;
		memcpy(hash.bytes, missing->data + at, HASH_BYTES);
		if (!sim_rot_is(sim, &hash)) {
			memcpy(missing->data + kept, hash.bytes, HASH_BYTES);
			kept += HASH_BYTES;
		}
	}
	missing->len = kept;
}

/* I5: versions follow one another, and all that a manifest names is there. `deep`: read, and verified. */
void sim_check__version(struct sim *sim, struct store_txn *txn, uint64_t number, bool deep)
{
	struct store *store = coordinator_of(sim)->store;
	struct store_version version;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	struct buf roots = BUF_INIT, missing = BUF_INIT;
	struct err e = ERR_INIT;
	int rc = store_version_get(txn, number, &version, &e);
	if (rc == 0)
		rc = arena_new(16 * 1024, BLOB_BYTES_MAX, &arena);
	if (rc == 0)
		rc = version_manifest_read(store, &version.root, &version.content, NULL, arena, &manifest, &e);
	const bool rotten = rc != 0 && sim_rot_explains(sim, &version.root);
	if (rc == 0 && manifest.version != sim_check__source(sim->ledger, number))
		rc = err_set(&e, ERR_CORRUPT, "its manifest is of version %" PRIu64, manifest.version);
	if (rc == 0)
		rc = proto_manifest_roots(&manifest, &roots, &e);
	const struct hash *root = (const void *)roots.data;
	for (size_t i = 0; rc == 0 && i < roots.len / sizeof *root; i++)
		rc = deep ? store_blob_damaged(store, &root[i], &missing, &e)
			  : store_blob_missing(store, &root[i], &missing, &e);
	rotten_drop(sim, &missing);
	if (rc == 0 && missing.len > 0)
		rc = err_set(&e, ERR_NOT_FOUND, "%zu chunks are missing", missing.len / sizeof(struct hash));
	if (is_broken_disk(rc) || rotten)
		sim->ledger->live_unread |= !deep;
	else if (rc != 0)
		sim_break(sim, "I5: version %" PRIu64 ": %s", number, e.text);
	else if (deep && number == sim->ledger->version)
		sim_check__served(sim, txn, &manifest);
	else if (!deep)
		check_lives(sim, txn, &manifest, sim->ledger->approved);
	buf_free(&roots);
	buf_free(&missing);
	arena_destroy(&arena);
	sim->result->checks++;
}

/* The same bytes, and they are to be had. */
static void check_rollback(struct sim *sim, struct store_txn *txn, uint64_t number, uint64_t back_to)
{
	struct store_version version, old;
	struct err e = ERR_INIT;
	bool kept = false;
	int rc = store_version_get(txn, number, &version, &e);
	if (rc == 0)
		rc = store_version_get(txn, back_to, &old, &e);
	if (rc == 0)
		rc = store_version_kept(txn, back_to, &kept, &e);
	if (rc != 0 || !hash_equal(&version.root, &old.root) || !hash_equal(&version.content, &old.content))
		sim_break(sim, "I5: version %" PRIu64 " is not version %" PRIu64 ", which was rolled back to", number,
			  back_to);
	else if (!kept)
		sim_break(sim, "I5: rolled back to version %" PRIu64 ", whose chunks were given back", back_to);
	sim->result->tally.rollbacks++;
}

static void on_published(struct sim *sim, struct store_txn *txn, const struct json *json)
{
	uint64_t version = member(json, "version");
	if (version != sim->ledger->version + 1)
		sim_break(sim, "I5: version %" PRIu64 " follows %" PRIu64, version, sim->ledger->version);
	uint64_t back_to = member(json, "rollback_to"),
		 source = back_to != 0 ? sim_check__source(sim->ledger, back_to) : version;
	if (back_to != 0)
		check_rollback(sim, txn, version, back_to);
	else if (sim->ledger->paused)
		sim_break(sim, "version %" PRIu64 " is published while publishing is paused", version);
	sim->ledger->paused = back_to != 0;
	struct hash content = { { 0 } };
	(void)sim_check__content_of(json, &content);
	buf_append(&sim->ledger->sources, &source, sizeof source);
	buf_append(&sim->ledger->contents, &content, sizeof content);
	sim->ledger->version = version;
	sim->ledger->approved = json_get(json, "approved") != NULL || json_get(json, "rollback_to") != NULL;
	sim->result->versions = version;
	if (back_to == 0)
		sim_check__never_refused(sim, version, json);
	sim->ledger->asked = json_get(json, "canaries") != NULL;
	sim_check__version(sim, txn, version, false);
}

static void on_merge_ended(struct sim *sim, const struct json *json)
{
	const char *state = json_string(json_get(json, "state"), NULL);
	sim->result->tally.merged_versions += state != NULL && strcmp(state, "published") == 0;
}

/* I5: no memory is given up but one that the disk has changed; none of its edits is served any more. */
static void on_shard_lost(struct sim *sim, struct store_txn *txn, const struct json *json)
{
	const char *hex = json_string(json_get(json, "chunk"), NULL);
	const struct json *seqs = json_get(json, "seqs");
	struct store_edit edit;
	struct err e = ERR_INIT;
	struct hash chunk;
	for (size_t i = 0; json_at(seqs, i) != NULL; i++)
		if (store_edit_get(txn, (uint64_t)json_integer(json_at(seqs, i)), &edit, &e) != 0 ||
		    edit.state == STORE_EDIT_STATE_TRAINED || edit.state == STORE_EDIT_STATE_SERVED)
			sim_break(sim,
				  "I5: the memory of shard %" PRIu64 " is given up, and its edit %" PRIu64 " is %s",
				  member(json, "shard"), edit.seq, sm_state_name(&store_edit_states, edit.state));
	if (hex == NULL || hash_parse(hex, &chunk) != 0 || !sim_rot_was(sim, &chunk))
		sim_break(sim, "I5: the memory of shard %" PRIu64 " is given up for chunk %s, which has not changed",
			  member(json, "shard"), hex != NULL ? hex : "");
	sim->result->tally.lost_shards++;
}

static void on_resumed(struct sim *sim)
{
	sim->ledger->paused = false;
	buf_clear(&sim->ledger->withheld); /* it is asked again */
}

static void on_event(struct sim *sim, struct store_txn *txn, const struct store_event *event)
{
	struct json *json = NULL;
	if (!hash_equal(&event->previous, &sim->ledger->self))
		sim_break(sim, "I3: event %" PRIu64 " does not follow the one before", event->seq);
	if (event->type == STORE_EVENT_EDIT_ACCEPTED) {
		on_accepted(sim, txn, event);
	} else if (json_parse(event->payload, event->payload_len, &json, NULL) == 0) {
		if (event->type == STORE_EVENT_LEASE_GRANTED || event->type == STORE_EVENT_LEASE_EXPIRED)
			on_lease(sim, json, event->type == STORE_EVENT_LEASE_GRANTED);
		else if (event->type == STORE_EVENT_SHARD_COMMITTED)
			on_committed(sim, txn, event, json);
		else if (event->type == STORE_EVENT_VERSION_PUBLISHED)
			on_published(sim, txn, json);
		else if (event->type == STORE_EVENT_CONFIG_CHANGED && json_get(json, "publishing") != NULL)
			on_resumed(sim);
		else if (event->type == STORE_EVENT_CONFIG_CHANGED)
			sim_check__candidate(sim, txn, json);
		if (event->seq == sim->ledger->fresh_at && json_get(json, "restored_from") == NULL)
			sim_break(sim, "I12: what came back on a backup is no cluster of its own");
		else if (event->type == STORE_EVENT_SHARD_LOST)
			on_shard_lost(sim, txn, json);
		else if (event->type == STORE_EVENT_MERGE_ENDED)
			on_merge_ended(sim, json);
	}
	json_free(&json);
	sim_trace(sim, 50, (uint64_t)event->type ^ event->seq << 8, "ledger %" PRIu64 " %s %.*s", event->seq,
		  store_event_name((int)event->type), event->payload_len < 120 ? (int)event->payload_len : 120,
		  (const char *)event->payload);
	sim->ledger->self = event->self;
	sim->ledger->last = event->seq;
	sim->result->events = event->seq;
}

/* ---- When */

static void follow(struct sim *sim, uint64_t most)
{
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	uint64_t last = 0;
	int rc = sim_check__look(coordinator_of(sim)->store, &txn, &e);
	if (rc == 0)
		rc = store_event_last(txn, &last, NULL, &e);
	if (rc == 0 && last < sim->ledger->last)
		sim_break(sim, "I3: the ledger ended at %" PRIu64 ", and now at %" PRIu64, sim->ledger->last, last);
	last = last < most ? last : most;
	for (uint64_t seq = sim->ledger->last + 1; rc == 0 && seq <= last && !sim->result->broken; seq++) {
		struct store_event event;
		rc = store_event_get(txn, seq, &event, &e);
		if (rc == 0)
			on_event(sim, txn, &event);
	}
	store_abort(&txn);
	if (rc != 0 && !coordinator_of(sim)->disk.failed) /* else LMDB is no more to be read; it will give up */
		sim_break(sim, "I3: reading the ledger: %s", e.text);
}

void sim_check_step(struct sim *sim)
{
	if (sim->result->broken)
		return;
	follow(sim, UINT64_MAX);
	if (!sim->result->broken && sim->acks_checked < sim->ack_count)
		check_acks(sim, sim->acks_checked);
}

/* What a backup held was checked when it happened; now only the states that came later are there. */
static void read_again(struct sim *sim)
{
	const struct sim_tally tally = sim->result->tally;
	sim->muted = true;
	follow(sim, sim->ledger->restored);
	sim->muted = false;
	sim->result->tally = tally;
	if (sim->ledger->last != sim->ledger->restored)
		sim_break(sim, "I12: the backup ended at event %" PRIu64 ", and what came back at %" PRIu64,
			  sim->ledger->restored, sim->ledger->last);
	sim->ledger->restored = 0;
	sim->ledger->live_unread = true;
}

static bool is_lost(const struct sim *sim, const struct hash *content)
{
	const struct hash *lost = (const void *)sim->lost_contents.data;
	for (size_t i = 0; i < sim->lost_contents.len / sizeof *lost; i++)
		if (hash_equal(&lost[i], content))
			return true;
	return false;
}

/* What was acknowledged later is no promise any more. */
static void acks_drop(struct sim *sim, uint64_t last)
{
	size_t kept = 0;
	for (size_t i = 0; i < sim->ack_count; i++) {
		if (sim->acks[i].seq <= last)
			sim->acks[kept++] = sim->acks[i];
		else
			sim->records[sim->acks[i].record].seq = 0;
	}
	sim->ack_count = sim->acks_checked = kept;
	for (size_t i = 0; i < sim->request_count; i++) {
		struct sim_request *request = sim->requests[i];
		request->since = request->since < last ? request->since : last;
		request->acks_since = request->acks_since < kept ? request->acks_since : kept;
	}
}

void sim_check_restored(struct sim *sim, uint64_t last)
{
	struct sim_ledger *ledger = sim->ledger;
	struct buf revoked = ledger->revoked;
	buf_append(&sim->lost_contents, ledger->contents.data, ledger->contents.len);
	acks_drop(sim, last);
	sim_check__revoked_since_drop(&revoked, last);
	clear(ledger);
	*ledger = (struct sim_ledger){ .revoked = revoked, .restored = last, .fresh_at = last + 1 };
	sim->result->events = last;
	sim->approver.none_at = 0;
	for (size_t i = 1; i < sim->proc_count; i++)
		sim->procs[i].stale = sim->procs[i].kind == SIM_NODE;
}

/* What was committed, and so could be seen, outlives every crash. */
void sim_check_start(struct sim *sim)
{
	struct store_txn *txn = NULL;
	struct store_event event = { .seq = 0 };
	struct err e = ERR_INIT;
	uint64_t bad = 0;
	if (sim->ledger->restored != 0)
		read_again(sim);
	int rc = sim_check__look(coordinator_of(sim)->store, &txn, &e);
	if (rc == 0)
		rc = store_event_verify(txn, &bad, &e);
	if (rc == 0 && sim->ledger->last > 0)
		rc = store_event_get(txn, sim->ledger->last, &event, &e);
	if (rc != 0)
		sim_break(sim, "I3: after a start, event %" PRIu64 " of %" PRIu64 " seen: %s", bad, sim->ledger->last,
			  e.text);
	else if (sim->ledger->last > 0 && !hash_equal(&event.self, &sim->ledger->self))
		sim_break(sim, "I3: after a start, event %" PRIu64 " is another one", sim->ledger->last);
	if (!sim->result->broken)
		sim_check_step(sim);
	if (!sim->result->broken)
		check_acks(sim, 0);
	if (!sim->result->broken)
		sim_check__withheld_stay(sim, txn);
	store_abort(&txn);
}

/* I5: what a node serves is a published version, and never an older one than before. */
void sim_check_node(struct sim *sim, struct sim_proc *node)
{
	struct node_sync_info info;
	struct store_version version;
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	node_sync_info_get(node->node, &info);
	if (info.live == node->live || sim->result->broken)
		return;
	sim_trace(sim, 51, info.live, "%s serves version %" PRIu64, node->name, info.live);
	if (node->stale && (info.live == 0 || sim->ledger->restored != 0 || is_lost(sim, &info.content))) {
		node->live = info.live; /* until it hears of the new cluster, and has nothing */
		node->stale = info.live != 0;
		return;
	}
	if (info.live < node->live && !node->stale)
		sim_break(sim, "I5: %s served %" PRIu64 ", and now %" PRIu64, node->name, node->live, info.live);
	node->live = info.live;
	if (info.live > sim->ledger->version)
		sim_break(sim, "I5: %s serves %" PRIu64 "; published are %" PRIu64, node->name, info.live,
			  sim->ledger->version);
	if (coordinator_of(sim)->store == NULL || sim->result->broken)
		return;
	int rc = sim_check__look(coordinator_of(sim)->store, &txn, &e);
	if (rc == 0)
		rc = store_version_get(txn, info.live, &version, &e);
	if (rc != 0 || !hash_equal(&version.content, &info.content))
		sim_break(sim, "I5: %s serves as version %" PRIu64 " what was not published so", node->name, info.live);
	store_abort(&txn);
	if (!sim->result->broken)
		sim_check__node_set(sim, node);
	sim->result->checks++;
}

uint64_t sim_check_version(const struct sim *sim)
{
	return sim->ledger->version;
}

bool sim_check_paused(const struct sim *sim)
{
	return sim->ledger->paused;
}
