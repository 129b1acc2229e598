/* plant.c: faults of the product, planted by the linker (--wrap) for the tests that show that the checker finds them.
 * None is planted unless a run asks for it. */
#include "tests/sim/sim.h"

#include "coordinator/internal.h"
#include "store/env.h"

#include <stdio.h>

const char *const sim_plant_names[SIM_PLANT_COUNT] = { "none",        "early-ack",      "no-dedup",     "no-fence",
						       "no-sync",     "skipped-edit",   "no-revoke",    "no-pause",
						       "collect-all", "unchecked-hash", "no-heal",      "no-canaries",
						       "revoked-not", "no-tombstone",   "refused-kept", "withheld-lost",
						       "blames-all",  "keeps-nothing",  "no-retrain",   "lost-served",
						       "backup-old",  "same-id" };
enum sim_plant sim_planted;
bool sim_plant_watched;

static struct store_txn *held; /* a commit that its caller believes to be done */

int __real_store_commit(struct store_txn **txn, struct err *e);
int __real_store_begin(struct store *store, struct store_txn **out, struct err *e);
int __real_store_begin_read(struct store *store, struct store_txn **out, struct err *e);
int __real_coordinator__edit_id(struct coordinator *c, const struct record *record, const struct hash *payload,
				char out[STORE_ID_BYTES], uint64_t *seq, struct err *e);
bool __real_coordinator__lease_is(const struct shard *shard, const struct peer *peer, uint64_t epoch);

int __real_proto_allow_revoke(const char *path, const uint8_t *keys, size_t key_count, struct err *e);
int __real_coordinator__publishing_put(struct coordinator *c, const struct publishing *next, struct err *e);
int __real_store_collect_keep(struct store_collect *collect, const struct hash *roots, size_t root_count,
			      struct err *e);

int __real_store_chunk_get(struct store *store, const struct hash *hash, struct buf *out, struct err *e);
void __real_coordinator__heal_advance(struct coordinator *c);
void __real_coordinator__recv_canary_result(struct coordinator *c, const struct msg_received *received);
int __real_coordinator__edits_end(struct coordinator *c, const struct ending *ending, struct ending_result *out,
				  struct err *e);
int __real_coordinator__withheld_load(struct coordinator *c, struct store_txn *txn, struct err *e);
int __real_coordinator__withhold_choose(struct coordinator *c, const struct blame *blame, uint32_t over,
					struct withholding *out, struct err *e);
int __real_coordinator__withheld_keeps(struct coordinator *c, const struct buf *withheld, struct buf *out,
				       struct err *e);
bool __real_coordinator__lost_look(struct coordinator *c);
int __real_store_backup(struct store *store, const char *folder, const atomic_bool *stop,
			struct store_backup_tally *out, struct err *e);
int __real_store_restore(struct store *backup, const char *folder, struct store_backup_tally *out, struct err *e);
int __real_coordinator__edit_move(struct coordinator *c, struct store_edit *edit, int state, const char *reason,
				  struct err *e);
int __real_coordinator__intake(struct coordinator *c, const struct msg_received *request, struct submit_answer *answer,
			       struct err *e);

int __wrap_store_commit(struct store_txn **txn, struct err *e);
int __wrap_store_chunk_get(struct store *store, const struct hash *hash, struct buf *out, struct err *e);
void __wrap_coordinator__heal_advance(struct coordinator *c);
void __wrap_coordinator__recv_canary_result(struct coordinator *c, const struct msg_received *received);
int __wrap_coordinator__edits_end(struct coordinator *c, const struct ending *ending, struct ending_result *out,
				  struct err *e);
int __wrap_coordinator__withheld_load(struct coordinator *c, struct store_txn *txn, struct err *e);
int __wrap_coordinator__withhold_choose(struct coordinator *c, const struct blame *blame, uint32_t over,
					struct withholding *out, struct err *e);
int __wrap_coordinator__withheld_keeps(struct coordinator *c, const struct buf *withheld, struct buf *out,
				       struct err *e);
bool __wrap_coordinator__lost_look(struct coordinator *c);
int __wrap_store_backup(struct store *store, const char *folder, const atomic_bool *stop,
			struct store_backup_tally *out, struct err *e);
int __wrap_store_restore(struct store *backup, const char *folder, struct store_backup_tally *out, struct err *e);
int __wrap_coordinator__edit_move(struct coordinator *c, struct store_edit *edit, int state, const char *reason,
				  struct err *e);
int __wrap_coordinator__intake(struct coordinator *c, const struct msg_received *request, struct submit_answer *answer,
			       struct err *e);
int __wrap_proto_allow_revoke(const char *path, const uint8_t *keys, size_t key_count, struct err *e);
int __wrap_coordinator__publishing_put(struct coordinator *c, const struct publishing *next, struct err *e);
int __wrap_store_collect_keep(struct store_collect *collect, const struct hash *roots, size_t root_count,
			      struct err *e);
int __wrap_store_begin(struct store *store, struct store_txn **out, struct err *e);
int __wrap_store_begin_read(struct store *store, struct store_txn **out, struct err *e);
int __wrap_coordinator__edit_id(struct coordinator *c, const struct record *record, const struct hash *payload,
				char out[STORE_ID_BYTES], uint64_t *seq, struct err *e);
bool __wrap_coordinator__lease_is(const struct shard *shard, const struct peer *peer, uint64_t epoch);

void sim_plant_crash(void)
{
	store_abort(&held);
}

static int let_go(struct err *e)
{
	return held == NULL || sim_plant_watched ? 0 : __real_store_commit(&held, e);
}

int __wrap_store_commit(struct store_txn **txn, struct err *e)
{
	if (sim_planted != SIM_PLANT_EARLY_ACK)
		return __real_store_commit(txn, e);
	held = *txn;
	*txn = NULL;
	return 0;
}

int __wrap_store_begin(struct store *store, struct store_txn **out, struct err *e)
{
	int rc = let_go(e);
	return rc == 0 ? __real_store_begin(store, out, e) : rc;
}

int __wrap_store_begin_read(struct store *store, struct store_txn **out, struct err *e)
{
	int rc = let_go(e);
	return rc == 0 ? __real_store_begin_read(store, out, e) : rc;
}

int __wrap_coordinator__edit_id(struct coordinator *c, const struct record *record, const struct hash *payload,
				char out[STORE_ID_BYTES], uint64_t *seq, struct err *e)
{
	static unsigned count;
	int rc = __real_coordinator__edit_id(c, record, payload, out, seq, e);
	if (rc != ERR_EXISTS || sim_planted != SIM_PLANT_NO_DEDUP)
		return rc;
	err_clear(e);
	snprintf(out, STORE_ID_BYTES, "again-%u", ++count);
	return 0;
}

bool __wrap_coordinator__lease_is(const struct shard *shard, const struct peer *peer, uint64_t epoch)
{
	if (sim_planted == SIM_PLANT_NO_FENCE && shard != NULL && peer != NULL && shard->lease.holder != NULL)
		return true;
	return __real_coordinator__lease_is(shard, peer, epoch);
}

int __wrap_proto_allow_revoke(const char *path, const uint8_t *keys, size_t key_count, struct err *e)
{
	return sim_planted == SIM_PLANT_NO_REVOKE ? 0 : __real_proto_allow_revoke(path, keys, key_count, e);
}

int __wrap_coordinator__publishing_put(struct coordinator *c, const struct publishing *next, struct err *e)
{
	return sim_planted == SIM_PLANT_NO_PAUSE && next->paused ? 0 : __real_coordinator__publishing_put(c, next, e);
}

int __wrap_store_collect_keep(struct store_collect *collect, const struct hash *roots, size_t root_count, struct err *e)
{
	return __real_store_collect_keep(collect, roots, sim_planted == SIM_PLANT_COLLECT ? 0 : root_count, e);
}

int __wrap_store_chunk_get(struct store *store, const struct hash *hash, struct buf *out, struct err *e)
{
	struct store_txn *txn = NULL;
	struct store__bytes value = { NULL, 0 };
	if (sim_planted != SIM_PLANT_UNCHECKED || sim_plant_watched)
		return __real_store_chunk_get(store, hash, out, e);
	int rc = store__txn_begin(store, store->blobs, false, 0, &txn, e);
	if (rc == 0)
		rc = store__get(txn, STORE__TABLE_CHUNK, (struct store__bytes){ hash->bytes, HASH_BYTES }, &value, e);
	buf_append(out, value.data, value.len);
	store__txn_abort(&txn);
	return rc;
}

void __wrap_coordinator__heal_advance(struct coordinator *c)
{
	if (sim_planted != SIM_PLANT_HEAL)
		__real_coordinator__heal_advance(c);
}

void __wrap_coordinator__recv_canary_result(struct coordinator *c, const struct msg_received *received)
{
	struct msg_received *r = (struct msg_received *)received;
	if (sim_planted == SIM_PLANT_CANARIES) {
		r->msg.u.canary_result.changed_total = 0;
		r->msg.u.canary_result.changed_count = 0;
	}
	__real_coordinator__recv_canary_result(c, received);
}

int __wrap_coordinator__edits_end(struct coordinator *c, const struct ending *ending, struct ending_result *out,
				  struct err *e)
{
	if (sim_planted != SIM_PLANT_REVOKED || ending->state != STORE_EDIT_STATE_REVOKED)
		return __real_coordinator__edits_end(c, ending, out, e);
	*out = (struct ending_result){ .ended_count = ending->count };
	return 0;
}

/* In the transaction that is answered with the refusal. */
int __wrap_coordinator__intake(struct coordinator *c, const struct msg_received *request, struct submit_answer *answer,
			       struct err *e)
{
	const struct msg_submit *submit = &request->msg.u.submit;
	int rc = __real_coordinator__intake(c, request, answer, e);
	for (size_t i = 0; rc == 0 && sim_planted == SIM_PLANT_REFUSED && i < submit->record_count; i++) {
		uint64_t seq;
		if (answer->results[i].code == ERR_CONFLICT)
			rc = store_event_append(c->txn, STORE_EVENT_EDIT_ACCEPTED, request->peer_key,
						submit->records[i].bytes, submit->records[i].len, &seq, e);
	}
	return rc;
}

int __wrap_coordinator__withheld_load(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	return sim_planted == SIM_PLANT_WITHHELD ? 0 : __real_coordinator__withheld_load(c, txn, e);
}

int __wrap_coordinator__withhold_choose(struct coordinator *c, const struct blame *blame, uint32_t over,
					struct withholding *out, struct err *e)
{
	struct buf unused = BUF_INIT;
	int rc = __real_coordinator__withhold_choose(c, blame, over, out, e);
	if (rc == 0 && sim_planted == SIM_PLANT_BLAME && out->seqs.len > 0) {
		buf_clear(&out->seqs);
		rc = coordinator__candidate_changes(c, &out->seqs, &unused, e);
	}
	buf_free(&unused);
	return rc;
}

/* Where a version is made. */
int __wrap_coordinator__withheld_keeps(struct coordinator *c, const struct buf *withheld, struct buf *out,
				       struct err *e)
{
	return sim_planted == SIM_PLANT_KEEPS ? 0 : __real_coordinator__withheld_keeps(c, withheld, out, e);
}

bool __wrap_coordinator__lost_look(struct coordinator *c)
{
	return sim_planted == SIM_PLANT_RETRAIN ? true : __real_coordinator__lost_look(c);
}

int __wrap_coordinator__edit_move(struct coordinator *c, struct store_edit *edit, int state, const char *reason,
				  struct err *e)
{
	if (sim_planted == SIM_PLANT_LOST && state == STORE_EDIT_STATE_PLACED)
		return 0;
	return __real_coordinator__edit_move(c, edit, state, reason, e);
}

int __wrap_store_backup(struct store *store, const char *folder, const atomic_bool *stop,
			struct store_backup_tally *out, struct err *e)
{
	static char first[SIM_PATH_BYTES];
	static const struct store *of;
	struct store *copy = NULL;
	struct err silent = ERR_INIT;
	const struct store_options options = { .env = store->env, .inspect = true };
	if (sim_planted != SIM_PLANT_BACKUP || of != store || store_open(first, &options, &copy, &silent) != 0) {
		int rc = __real_store_backup(store, folder, stop, out, e);
		snprintf(first, sizeof first, "%s", rc == 0 ? folder : "");
		of = store;
		return rc;
	}
	int rc = __real_store_backup(copy, folder, stop, out, e);
	store_close(&copy);
	return rc;
}

int __wrap_store_restore(struct store *backup, const char *folder, struct store_backup_tally *out, struct err *e)
{
	return sim_planted == SIM_PLANT_SAME_ID ? __real_store_backup(backup, folder, NULL, out, e)
						: __real_store_restore(backup, folder, out, e);
}
