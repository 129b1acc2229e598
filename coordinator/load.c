/* load.c: what a start finds in the store, and the shards in memory. No lease outlives a process: every shard starts
 * free, and the next grant raises its epoch. */
#include "coordinator/internal.h"

#include "base/arena.h"
#include "proto/codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_RESULT_BYTES 16

struct shard *coordinator__shard_find(struct coordinator *c, uint64_t id)
{
	size_t low = 0, high = c->shard_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (c->shards[middle]->rec.id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < c->shard_count && c->shards[low]->rec.id == id ? c->shards[low] : NULL;
}

size_t coordinator__shard_place(const struct shard *shard, uint64_t seq)
{
	for (size_t i = shard->rec.seq_count; i-- > 0;) {
		if (shard->rec.seqs[i] == seq)
			return i;
	}
	return SIZE_MAX;
}

static int shard_reserve(struct shard *shard, size_t count, struct err *e)
{
	if (count <= shard->cap)
		return 0;
	if (count > STORE_SHARD_EDITS_MAX)
		return err_set(e, ERR_LIMIT, "shard %" PRIu64 ": more than %d edits", shard->rec.id,
			       STORE_SHARD_EDITS_MAX);
	size_t cap = shard->cap < 16 ? 16 : shard->cap * 2;
	if (cap < count)
		cap = count;
	uint64_t *seqs = fault_realloc(shard->rec.seqs, cap * sizeof *seqs);
	if (seqs != NULL)
		shard->rec.seqs = seqs;
	uint8_t *states = fault_realloc(shard->states, cap);
	if (states != NULL)
		shard->states = states;
	uint64_t *groups = fault_realloc(shard->groups, cap * sizeof *groups);
	if (groups != NULL)
		shard->groups = groups;
	if (seqs == NULL || states == NULL || groups == NULL)
		return err_set(e, ERR_NOMEM, "shard %" PRIu64 ": out of memory", shard->rec.id);
	shard->cap = cap;
	return 0;
}

int coordinator__shard_append(struct shard *shard, const struct store_edit *edit, int state, struct err *e)
{
	int rc = shard_reserve(shard, shard->rec.seq_count + 1, e);
	if (rc != 0)
		return rc;
	size_t at = shard->rec.seq_count++;
	shard->rec.seqs[at] = edit->seq;
	shard->states[at] = (uint8_t)state;
	shard->groups[at] = edit->group;
	if (at < shard->placed_from)
		shard->placed_from = at;
	coordinator__touch(shard);
	return 0;
}

void coordinator__shard_remove(struct shard *shard, size_t place)
{
	size_t after = shard->rec.seq_count - place - 1;
	memmove(shard->rec.seqs + place, shard->rec.seqs + place + 1, after * sizeof *shard->rec.seqs);
	memmove(shard->states + place, shard->states + place + 1, after);
	memmove(shard->groups + place, shard->groups + place + 1, after * sizeof *shard->groups);
	shard->rec.seq_count--;
	if (shard->placed_from != SIZE_MAX && place < shard->placed_from)
		shard->placed_from--;
	coordinator__touch(shard);
}

static int shard_push(struct coordinator *c, struct shard *shard, struct err *e)
{
	if (c->shard_count == c->shard_cap) {
		size_t cap = c->shard_cap == 0 ? 16 : c->shard_cap * 2;
		struct shard **shards = fault_realloc(c->shards, cap * sizeof(struct shard *));
		if (shards == NULL)
			return err_set(e, ERR_NOMEM, "shards: out of memory");
		c->shards = shards;
		c->shard_cap = cap;
	}
	c->shards[c->shard_count++] = shard;
	return 0;
}

struct shard *coordinator__shard_add(struct coordinator *c, struct err *e)
{
	struct shard *shard = fault_calloc(1, sizeof *shard);
	if (shard == NULL) {
		err_set(e, ERR_NOMEM, "a new shard: out of memory");
		return NULL;
	}
	shard->rec.id = c->shard_count == 0 ? 1 : c->shards[c->shard_count - 1]->rec.id + 1;
	shard->rec.state = STORE_SHARD_STATE_OPEN;
	shard->placed_from = SIZE_MAX;
	coordinator__lease_init(&shard->lease);
	shard->created = true;
	coordinator__touch(shard);
	if (shard_push(c, shard, e) != 0) {
		free(shard);
		return NULL;
	}
	return shard;
}

void coordinator__shard_drop(struct coordinator *c, size_t index)
{
	struct shard *shard = c->shards[index];
	store_shard_fini(&shard->rec);
	free(shard->states);
	free(shard->groups);
	free(shard);
	memmove(c->shards + index, c->shards + index + 1, (c->shard_count - index - 1) * sizeof(struct shard *));
	c->shard_count--;
}

/* What is superseded may be served still, and be so until its time is over. */
static bool can_be_due(const struct shard *shard, size_t place, int state)
{
	return coordinator__edit_live(state) ||
	       (state == STORE_EDIT_STATE_SUPERSEDED && place < shard->rec.trained_count);
}

/* `c`: NULL when only the shard is read back. */
static int load_states(struct coordinator *c, struct store_txn *txn, struct shard *shard, struct err *e)
{
	for (size_t i = 0; i < shard->rec.seq_count; i++) {
		struct store_edit edit;
		int rc = store_edit_get(txn, shard->rec.seqs[i], &edit, e);
		if (rc != 0) {
			err_wrap(e, "shard %" PRIu64, shard->rec.id);
			return rc;
		}
		rc = c != NULL && can_be_due(shard, i, edit.state) ? coordinator__due_add(c, &edit, e) : 0;
		if (rc == 0)
			rc = coordinator__withdrawn_state(txn, &edit, &shard->states[i], e);
		if (rc != 0)
			return rc;
		shard->groups[i] = edit.group;
	}
	return 0;
}

static void result_name(uint64_t shard, char *out, size_t out_bytes)
{
	snprintf(out, out_bytes, "shard-result/%" PRIu64, shard);
}

int coordinator__shard_result_put(struct coordinator *c, const struct shard *shard, struct err *e)
{
	char name[48];
	struct buf bytes = BUF_INIT;
	result_name(shard->rec.id, name, sizeof name);
	buf_u32le(&bytes, shard->passed);
	buf_u32le(&bytes, shard->tested);
	buf_u64le(&bytes, shard->committed);
	int rc = buf_failed(&bytes) ? err_set(e, ERR_NOMEM, "out of memory")
				    : store_meta_put(c->txn, name, bytes.data, bytes.len, e);
	buf_free(&bytes);
	return rc;
}

static int load_result(struct store_txn *txn, struct shard *shard, struct err *e)
{
	char name[48];
	struct buf bytes = BUF_INIT;
	result_name(shard->rec.id, name, sizeof name);
	int rc = store_meta_get(txn, name, &bytes, e);
	if (rc == 0) {
		struct reader r;
		reader_init(&r, bytes.data, bytes.len);
		shard->passed = reader_u32le(&r);
		shard->tested = reader_u32le(&r);
		shard->committed = reader_u64le(&r);
		if (r.overrun || bytes.len != SHARD_RESULT_BYTES)
			rc = err_set(e, ERR_CORRUPT, "%s: %zu bytes where %d belong", name, bytes.len,
				     SHARD_RESULT_BYTES);
	} else if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	buf_free(&bytes);
	return rc;
}

/* Fills what memory adds to a record that was read. */
static int shard_complete(struct coordinator *c, struct store_txn *txn, struct shard *shard, struct err *e)
{
	shard->cap = shard->rec.seq_count;
	shard->placed_from = SIZE_MAX;
	free(shard->states);
	free(shard->groups);
	shard->states = fault_calloc(shard->cap + 1, 1);
	shard->groups = fault_calloc(shard->cap + 1, sizeof *shard->groups);
	if (shard->states == NULL || shard->groups == NULL)
		return err_set(e, ERR_NOMEM, "shard %" PRIu64 ": out of memory", shard->rec.id);
	int rc = load_states(c, txn, shard, e);
	return rc == 0 ? load_result(txn, shard, e) : rc;
}

int coordinator__shard_reload(struct store_txn *txn, struct shard *shard, bool *gone, struct err *e)
{
	struct store_shard rec = { 0 };
	int rc = store_shard_get(txn, shard->rec.id, &rec, e);
	if (rc == ERR_NOT_FOUND && shard->created) {
		err_clear(e);
		*gone = true;
		return 0;
	}
	if (rc != 0)
		return rc;
	store_shard_fini(&shard->rec);
	shard->rec = rec;
	return shard_complete(NULL, txn, shard, e);
}

static int load_shards(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	for (uint64_t id = 1;;) {
		struct shard *shard = fault_calloc(1, sizeof *shard);
		if (shard == NULL)
			return err_set(e, ERR_NOMEM, "shards: out of memory");
		coordinator__lease_init(&shard->lease);
		int rc = store_shard_next(txn, id, &shard->rec, e);
		if (rc == 0)
			rc = shard_complete(c, txn, shard, e);
		if (rc == 0)
			rc = shard_push(c, shard, e);
		if (rc != 0) {
			store_shard_fini(&shard->rec);
			free(shard->states);
			free(shard->groups);
			free(shard);
			if (rc != ERR_NOT_FOUND)
				return rc;
			err_clear(e);
			return 0;
		}
		id = shard->rec.id + 1;
	}
}

static int load_merges(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	c->merge_next_id = 1;
	c->renew_look = true;
	coordinator__lease_init(&c->merge.lease);
	for (;;) {
		struct store_merge rec;
		int rc = store_merge_next(txn, c->merge_next_id, &rec, e);
		if (rc == ERR_NOT_FOUND) {
			err_clear(e);
			return coordinator__merges_load(c, txn, e);
		}
		if (rc != 0)
			return rc;
		c->merge_next_id = rec.id + 1;
		if (rec.state == STORE_MERGE_STATE_PUBLISHED || rec.state == STORE_MERGE_STATE_FAILED) {
			coordinator__merge_clean(c, rec.id); /* a crash may have come before it was done */
		} else {
			c->merge.active = true;
			c->merge.rec = rec;
		}
	}
}

static int load_base(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	struct buf bytes = BUF_INIT;
	int rc = store_meta_get(txn, "base-model", &bytes, e);
	if (rc == 0 && bytes.len != HASH_BYTES + 12)
		rc = err_set(e, ERR_CORRUPT, "base-model: %zu bytes where %d belong", bytes.len, HASH_BYTES + 12);
	if (rc == 0) {
		struct reader r;
		reader_init(&r, bytes.data, bytes.len);
		memcpy(c->base_model.bytes, reader_bytes(&r, HASH_BYTES), HASH_BYTES);
		c->layers = reader_u32le(&r);
		c->hidden = reader_u32le(&r);
		c->ffn = reader_u32le(&r);
		c->base_known = true;
	} else if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	buf_free(&bytes);
	return rc;
}

/* Memories of two families cannot stand in one version. A store without the entry is of the time before the second. */
static int check_family(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	struct buf family = BUF_INIT;
	int rc = c->base_known ? store_meta_get(txn, "family", &family, e) : 0;
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		buf_puts(&family, "amend");
		rc = buf_failed(&family) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	}
	if (rc == 0 && c->base_known && strcmp(buf_cstr(&family), c->family) != 0)
		rc = err_set(
			e, ERR_MISMATCH,
			"this cluster's memories are of family %.64s, the configuration says %.64s: set it back, or "
			"start a cluster in another folder",
			buf_cstr(&family), c->family);
	buf_free(&family);
	return rc;
}

/* A store of the time before the entry: its newest version says what its memories edit. One that this program cannot
 * read leaves it to the next worker. */
static int layer_of_version(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	struct store_version rec;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	struct buf bytes = BUF_INIT;
	int rc = store_version_get(txn, c->version, &rec, e);
	if (rc == 0)
		rc = store_blob_get(c->store, &rec.root, PROTO_MANIFEST_BYTES_MAX, &bytes, e);
	if (rc == 0)
		rc = arena_new(1 << 16, 0, &arena) != 0 ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0 && proto_manifest_decode(bytes.data, bytes.len, arena, &manifest, NULL) == 0)
		c->layer = manifest.layer;
	arena_destroy(&arena);
	buf_free(&bytes);
	return rc;
}

static bool is_trained(const struct coordinator *c)
{
	bool trained = c->version > 0;
	for (size_t i = 0; i < c->shard_count && !trained; i++)
		trained = c->shards[i]->rec.trained_count > 0;
	return trained;
}

/* Memories of two layers cannot stand in one version either. While there are none, the next worker fixes the layer
 * anew: a wrong setting is no reason to begin in another folder. */
static int check_layer(struct coordinator *c, struct err *e)
{
	if (c->layer == UINT32_MAX || c->config.layer == UINT32_MAX || c->layer == c->config.layer)
		return 0;
	if (is_trained(c))
		return err_set(e, ERR_MISMATCH,
			       "this cluster's memories edit layer %" PRIu32 ", the configuration says %" PRIu32
			       ": set --layer to %" PRIu32
			       ", or to 0 for the cluster's own, or start a cluster in another folder",
			       c->layer, c->config.layer, c->layer);
	log_event(LOG_INFO, "COORDINATOR-LAYER-CHANGED", LOGF_U("from", c->layer), LOGF_U("to", c->config.layer),
		  LOGF_S("reason", "nothing is trained yet"));
	c->layer = UINT32_MAX;
	return 0;
}

static int load_layer(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	struct buf bytes = BUF_INIT;
	int rc = store_meta_get(txn, "layer", &bytes, e);
	if (rc == 0 && bytes.len != 4)
		rc = err_set(e, ERR_CORRUPT, "layer: %zu bytes where 4 belong", bytes.len);
	if (rc == 0) {
		struct reader r;
		reader_init(&r, bytes.data, bytes.len);
		c->layer = reader_u32le(&r);
	} else if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = c->version > 0 ? layer_of_version(c, txn, e) : 0;
	}
	buf_free(&bytes);
	return rc == 0 ? check_layer(c, e) : rc;
}

/* After a rollback edits that a version held are in none that counts. */
static int unserved_load(struct coordinator *c, struct err *e)
{
	if (c->unserved_count == 0 || !(c->publishing.paused || c->publishing.unpublished ||
					c->candidate.sm.state != CANDIDATE_NONE || c->withheld.len > 0))
		return 0;
	int rc = coordinator__unserved_look(c, e);
	if (rc != ERR_AGAIN)
		return rc;
	err_clear(e);
	c->unserved_unknown = true;
	return 0;
}

static int load_unserved(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	for (uint64_t from = 1;;) {
		struct store_edit edit;
		int rc = store_edit_next(txn, from, SM_TO(STORE_EDIT_STATE_TRAINED), &edit, e);
		if (rc == 0)
			rc = coordinator__unserved_add(c, edit.seq, edit.version, edit.accepted_ms, e);
		if (rc == ERR_NOT_FOUND) {
			err_clear(e);
			return unserved_load(c, e);
		}
		if (rc != 0)
			return rc;
		from = edit.seq + 1;
	}
}

/* Those of shards are known already. */
static int load_dues(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	const uint32_t mask = SM_TO(STORE_EDIT_STATE_ACCEPTED) | SM_TO(STORE_EDIT_STATE_SCHEDULED);
	for (uint64_t from = 1;;) {
		struct store_edit edit;
		int rc = store_edit_next(txn, from, mask, &edit, e);
		if (rc == 0)
			rc = coordinator__due_add(c, &edit, e);
		if (rc == ERR_NOT_FOUND) {
			err_clear(e);
			return 0;
		}
		if (rc != 0)
			return rc;
		from = edit.seq + 1;
	}
}

static int load_version(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	struct store_version rec;
	int rc = store_version_last(txn, &c->version, e);
	if (rc != 0 || c->version == 0)
		return rc;
	rc = store_version_get(txn, c->version, &rec, e);
	if (rc == 0)
		c->version_content = rec.content;
	return rc;
}

/* Fixed at the first start, and at the first one of a folder that was restored from a backup. */
static int cluster_id_give(struct coordinator *c, struct err *e)
{
	struct buf json = BUF_INIT, before = BUF_INIT;
	struct json_w w;
	if (c->cluster_id[0] == 0)
		snprintf(c->cluster_id, sizeof c->cluster_id, "%016" PRIx64, env_random_u64(c->env));
	int rc = store_meta_get(c->txn, STORE_META_RESTORED_FROM, &before, e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_str(&w, "cluster_id", c->cluster_id);
	if (before.len > 0)
		json_w_member_str(&w, "restored_from", buf_cstr(&before));
	json_w_close(&w);
	buf_free(&before);
	if (rc == 0)
		rc = store_meta_put(c->txn, STORE_META_CLUSTER_ID, c->cluster_id, strlen(c->cluster_id), e);
	if (rc == 0)
		return coordinator__event(c, STORE_EVENT_CONFIG_CHANGED, NULL, &json, NULL, e);
	buf_free(&json);
	return rc;
}

/* A folder of another cluster is refused. */
static int load_cluster_id(struct coordinator *c, struct err *e)
{
	struct buf stored = BUF_INIT;
	int rc = coordinator__begin(c, e);
	if (rc != 0)
		return rc;
	rc = store_meta_get(c->txn, STORE_META_CLUSTER_ID, &stored, e);
	if (rc == 0 && stored.len > 0) {
		const char *id = buf_cstr(&stored);
		if (c->cluster_id[0] != 0 && strcmp(c->cluster_id, id) != 0)
			rc = err_set(e, ERR_MISMATCH,
				     "the data folder %s belongs to cluster %s, not to %s: give the right folder, or "
				     "leave the cluster id out",
				     c->data_folder, id, c->cluster_id);
		coordinator__copy_text(c->cluster_id, sizeof c->cluster_id, coordinator__text(id));
	} else if (rc == 0 || rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = cluster_id_give(c, e);
		if (rc == 0)
			rc = coordinator__commit(c, NULL, NULL, e);
	}
	store_abort(&c->txn);
	buf_free(&stored);
	return rc;
}

/* Before anything is written: what was added to a broken chain would be lost with the backup that mends it. */
static int check_chain(struct coordinator *c, struct err *e)
{
	struct store_txn *txn = NULL;
	uint64_t bad_seq;
	int rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = store_event_verify(txn, &bad_seq, e);
	store_abort(&txn);
	if (rc == ERR_CORRUPT)
		err_wrap(e, "the ledger is damaged, nothing is acknowledged on it (`amend audit fsck`, `amend store "
			    "restore`)");
	return rc;
}

int coordinator__load(struct coordinator *c, struct err *e)
{
	struct store_txn *txn = NULL;
	c->due_next_ms = INT64_MAX;
	c->layer = UINT32_MAX;
	int rc = check_chain(c, e);
	if (rc == 0)
		rc = load_cluster_id(c, e);
	if (rc == 0)
		rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = store_event_last(txn, &c->last_seq, NULL, e);
	if (rc == 0)
		rc = store_edit_count(txn, c->counts, e);
	if (rc == 0)
		rc = load_base(c, txn, e);
	if (rc == 0)
		rc = check_family(c, txn, e);
	if (rc == 0)
		rc = load_version(c, txn, e);
	if (rc == 0)
		rc = load_shards(c, txn, e);
	if (rc == 0)
		rc = load_merges(c, txn, e);
	if (rc == 0)
		rc = coordinator__heal_load(c, e);
	if (rc == 0)
		rc = coordinator__blobs_check(c, txn, e);
	if (rc == 0)
		rc = load_layer(c, txn, e);
	if (rc == 0)
		rc = coordinator__publishing_load(c, txn, e);
	if (rc == 0)
		rc = coordinator__rolled_load(c, txn, e);
	if (rc == 0)
		rc = coordinator__candidate_load(c, txn, e);
	if (rc == 0)
		rc = coordinator__withheld_load(c, txn, e);
	if (rc == 0)
		rc = load_unserved(c, txn, e);
	if (rc == 0)
		rc = load_dues(c, txn, e);
	store_abort(&txn);
	return rc == 0 ? coordinator__newest_keep(c, e) : rc;
}
