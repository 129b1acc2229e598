/* collect.c: gives back the chunks that nothing needs any more. What is needed: the blobs of the versions that are
 * kept, of the candidate, and of every shard and merge as the ledger has them; store/collect.c adds what was uploaded
 * lately. Step by step, on the loop's thread: first the versions, each of which is read once as it never changes, then
 * the ledger's word that old ones are given up, then slices of what goes, each with what the ledger names by then:
 * between two of them anything may become needed again. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SLICE_CHUNKS     2048 /* 134 MB */
#define STEP_VERSIONS    16
#define COLLECT_EVERY_MS 3600000 /* by itself */
#define COLLECT_AGAIN_MS 600000  /* after one that had to stop */

static int manifest_add(struct coordinator *c, const struct store_version *version, struct buf *roots, struct err *e)
{
	struct err unused = ERR_INIT;
	size_t bad;
	int rc = coordinator__manifest_roots(c->store, &version->root, roots, e);
	if (rc == ERR_CORRUPT)
		(void)!coordinator__blob_suspect(c, &version->root, &bad, &unused);
	if (rc != 0)
		err_wrap(e, "version %" PRIu64 " is kept, and its manifest cannot be read: nothing is deleted",
			 version->version);
	return rc;
}

static int roots_keep(struct collection *collection, const struct buf *roots, struct err *e)
{
	if (buf_failed(roots))
		return err_set(e, ERR_NOMEM, "out of memory");
	return store_collect_keep(collection->store, (const struct hash *)(const void *)roots->data,
				  roots->len / HASH_BYTES, e);
}

/* The next few versions; `listed` goes behind them. */
static int versions_keep(struct coordinator *c, struct collection *collection, struct err *e)
{
	struct store_txn *txn = NULL;
	struct store_version version;
	struct buf roots = BUF_INIT;
	bool stays;
	int rc = store_begin_read(c->store, &txn, e);
	for (int looked = 0; rc == 0 && looked < STEP_VERSIONS && collection->listed < c->version;) {
		const uint64_t v = collection->listed + 1;
		rc = store_version_stays(txn, v, collection->from, &stays, e);
		if (rc == 0 && stays)
			rc = store_version_get(txn, v, &version, e);
		if (rc == 0 && stays)
			rc = manifest_add(c, &version, &roots, e);
		collection->listed += rc == 0;
		looked += stays;
	}
	store_abort(&txn);
	if (rc == 0)
		rc = roots_keep(collection, &roots, e);
	buf_free(&roots);
	return rc;
}

static int ledger_keep(struct coordinator *c, struct collection *collection, struct err *e)
{
	struct store_txn *txn = NULL;
	struct buf roots = BUF_INIT;
	int rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = store_ledger_roots(txn, &roots, e);
	store_abort(&txn);
	if (rc == 0 && c->candidate.sm.state != CANDIDATE_NONE)
		rc = manifest_add(c, &c->candidate.rec, &roots, e); /* shards may have gone on since */
	if (rc == 0)
		rc = roots_keep(collection, &roots, e);
	buf_free(&roots);
	return rc;
}

/* --- What is in use */

void coordinator__collect_init(struct coordinator *c)
{
	const int64_t now = coordinator__now_ms(c);
	c->collecting = (struct collecting){
		.asked_young = UINT64_MAX, .asked_old = UINT64_MAX, .turned_ms = now, .next_ms = now + STORE_GRACE_MS
	};
}

static void asked_turn(struct coordinator *c)
{
	struct collecting *k = &c->collecting;
	const int64_t now = coordinator__now_ms(c);
	if (now - k->turned_ms < STORE_GRACE_MS)
		return;
	k->asked_old = now - k->turned_ms < 2 * STORE_GRACE_MS ? k->asked_young : UINT64_MAX;
	k->asked_young = UINT64_MAX;
	k->turned_ms = now;
}

void coordinator__collect_asked(struct coordinator *c, uint64_t version)
{
	asked_turn(c);
	if (version < c->collecting.asked_young)
		c->collecting.asked_young = version;
}

/* Versions that nodes serve, or that somebody may be fetching. UINT64_MAX: none. */
static uint64_t used_from(struct coordinator *c, const struct peer **server)
{
	asked_turn(c);
	const struct collecting *k = &c->collecting;
	uint64_t from = k->asked_young < k->asked_old ? k->asked_young : k->asked_old;
	*server = NULL;
	for (size_t i = 0; i < c->peer_count; i++) {
		const struct peer *peer = c->peers[i];
		if (peer->kind != MSG_PEER_NODE || peer->version == 0 || peer->version >= from ||
		    !coordinator__peer_live(c, peer))
			continue;
		from = peer->version;
		*server = peer;
	}
	return from;
}

static uint64_t kept_from(struct coordinator *c, uint64_t keep_versions, char note[STORE_REASON_BYTES])
{
	const struct peer *server;
	const uint64_t from = c->version - keep_versions + 1, used = used_from(c, &server);
	if (used >= from)
		return from;
	if (server != NULL)
		snprintf(note, STORE_REASON_BYTES, "v%" PRIu64 " and later stay: %s serves v%" PRIu64, used,
			 server->name, used);
	else
		snprintf(note, STORE_REASON_BYTES,
			 "v%" PRIu64 " and later stay: that version was asked for in the last %d minutes", used,
			 2 * STORE_GRACE_MS / 60000);
	return used;
}

/* --- A collection */

/* In the ledger before the first chunk goes: whoever looks after a crash in between knows what may be gone. And not
 * before all that stays is known to be readable: a refused collection has given nothing up. */
static int versions_give_up(struct coordinator *c, struct collection *collection, struct err *e)
{
	const struct peer *server;
	struct buf json = BUF_INIT;
	struct json_w w;
	if (used_from(c, &server) < collection->from)
		return err_set(e, ERR_AGAIN, "a version that was to go came into use meanwhile: ask again");
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "kept_from", collection->from);
	json_w_close(&w);
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__event(c, STORE_EVENT_CONFIG_CHANGED, collection->actor, &json, NULL, e);
	else
		buf_free(&json);
	if (rc == 0)
		rc = store_kept_put(c->txn, collection->from, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc != 0)
		coordinator__txn_failed(c, e);
	else
		collection->given_up = true;
	return rc;
}

int coordinator__collect_begin(struct coordinator *c, uint64_t keep_versions, const uint8_t *actor,
			       struct collection *out, struct err *e)
{
	struct store_txn *txn = NULL;
	bool more = false; /* loses its blobs by it */
	*out = (struct collection){ .from = 1 };
	memcpy(out->actor, actor != NULL ? actor : c->key, sizeof out->actor);
	if (keep_versions > 0 && keep_versions < c->version)
		out->from = kept_from(c, keep_versions, out->note);
	int rc = out->from > 1 ? store_begin_read(c->store, &txn, e) : 0;
	if (rc == 0 && out->from > 1)
		rc = store_version_kept(txn, out->from - 1, &more, e);
	store_abort(&txn);
	out->given_up = !more;
	return rc == 0 ? store_collect_new(c->store, &out->store, e) : rc;
}

void coordinator__collect_end(struct collection *collection)
{
	store_collect_destroy(&collection->store);
}

int coordinator__collect_step(struct coordinator *c, struct collection *collection, struct store_collect_tally *total,
			      struct err *e)
{
	struct store_collect_tally slice;
	total->more = true;
	if (collection->listed < c->version)
		return versions_keep(c, collection, e);
	int rc = ledger_keep(c, collection, e);
	if (rc == 0 && !collection->given_up)
		return versions_give_up(c, collection, e);
	if (rc == 0)
		rc = store_collect_slice(collection->store, SLICE_CHUNKS, &slice, e);
	if (rc != 0)
		return rc;
	total->chunk_count += slice.chunk_count;
	total->byte_count += slice.byte_count;
	total->kept_count += slice.kept_count;
	total->more = slice.more;
	return 0;
}

/* --- By itself */

void coordinator__collect_log(const struct store_collect_tally *tally, int code, const struct err *e)
{
	if (code != 0)
		log_event(LOG_WARN, "COORDINATOR-COLLECT-STOPPED", LOGF_S("reason", e->text));
	else
		log_event(LOG_INFO, "COORDINATOR-COLLECTED", LOGF_U("chunks", tally->chunk_count),
			  LOGF_U("bytes", tally->byte_count), LOGF_U("kept", tally->kept_count));
}

static void collect_end(struct coordinator *c, int code, const struct err *e)
{
	struct collecting *k = &c->collecting;
	coordinator__collect_end(&k->work);
	k->running = false;
	k->next_ms = coordinator__now_ms(c) + (code == 0 ? COLLECT_EVERY_MS : COLLECT_AGAIN_MS);
	coordinator__collect_log(&k->tally, code, e);
}

void coordinator__collect_advance(struct coordinator *c)
{
	struct collecting *k = &c->collecting;
	struct err e = ERR_INIT;
	asked_turn(c);
	if (c->config.keep_versions == 0 || c->closed || coordinator__write_held(c) ||
	    coordinator__now_ms(c) < k->next_ms)
		return;
	int rc = 0;
	if (!k->running) {
		k->tally = (struct store_collect_tally){ .more = true };
		rc = coordinator__collect_begin(c, c->config.keep_versions, NULL, &k->work, &e);
		k->running = rc == 0;
		if (rc == 0 && k->work.note[0] != '\0')
			log_event(LOG_INFO, "COORDINATOR-VERSIONS-IN-USE", LOGF_S("note", k->work.note));
	} else {
		rc = coordinator__collect_step(c, &k->work, &k->tally, &e);
	}
	if (rc == ERR_IO)
		coordinator__fail(c, &e);
	else if (rc != 0 || !k->tally.more)
		collect_end(c, rc, &e);
}
