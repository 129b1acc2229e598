/* heal.c: chunks that the disk changed. They are set apart, so that nothing serves them, and fetched anew from whoever
 * has them: workers and nodes are asked one after the other, round after round. What nobody has given in two rounds is
 * lost: people are told which versions need it, and the rounds go on.
 *
 * While a chunk is looked for, who asks for it gets no answer and asks again; once it is lost the answer is that it is
 * not here. */
#include "coordinator/internal.h"

#include "proto/codec.h"

#include <stdlib.h>
#include <string.h>

#define ASK_MS      1000  /* for a peer to give something */
#define ROUND_MS    10000 /* between two rounds */
#define LOST_ROUNDS 2
#define ITEMS_MAX   (1u << 20) /* 64 GiB of chunks: 36 MB */

/* --- The list */

/* Of the first that is not before it. */
static size_t item_place(const struct heal *h, const struct hash *hash)
{
	size_t from = 0, to = h->count;
	while (from < to) {
		const size_t middle = from + (to - from) / 2;
		if (memcmp(h->items[middle].hash.bytes, hash->bytes, HASH_BYTES) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static struct heal_item *item_find(const struct coordinator *c, const struct hash *hash)
{
	const size_t at = item_place(&c->heal, hash);
	return at < c->heal.count && hash_equal(&c->heal.items[at].hash, hash) ? &c->heal.items[at] : NULL;
}

static bool is_of_this_round(const struct heal *h, const struct hash *hash)
{
	return h->count <= MSG_HASHES_MAX || (memcmp(hash->bytes, h->from.bytes, HASH_BYTES) >= 0 &&
					      memcmp(hash->bytes, h->upto.bytes, HASH_BYTES) <= 0);
}

static bool room_make(struct heal *h)
{
	if (h->count < h->room)
		return true;
	const size_t room = h->room > 0 ? 2 * h->room : 64;
	struct heal_item *items = fault_realloc(h->items, room * sizeof *items);
	if (items == NULL)
		return false;
	h->items = items;
	h->room = room;
	return true;
}

static void item_add(struct coordinator *c, const struct hash *hash)
{
	struct heal *h = &c->heal;
	const size_t at = item_place(h, hash);
	if (at < h->count && hash_equal(&h->items[at].hash, hash))
		return;
	h->beyond = h->beyond || h->count == ITEMS_MAX;
	if (h->count == ITEMS_MAX || !room_make(h))
		return; /* they come in when others are healed; the next one who reads it finds it again */
	memmove(h->items + at + 1, h->items + at, (h->count++ - at) * sizeof *h->items);
	h->items[at] = (struct heal_item){ .hash = *hash };
	if (is_of_this_round(h, hash)) {
		h->round_next = 0;
		h->ask_ms = coordinator__now_ms(c);
	}
}

static void item_remove(struct heal *h, size_t at)
{
	memmove(h->items + at, h->items + at + 1, (--h->count - at) * sizeof *h->items);
}

static int list_load(struct coordinator *c, struct err *e)
{
	struct buf apart = BUF_INIT;
	int rc = store_quarantine_list(c->store, ITEMS_MAX, &apart, e);
	for (size_t at = 0; rc == 0 && at < apart.len; at += HASH_BYTES) {
		struct hash hash;
		memcpy(hash.bytes, apart.data + at, HASH_BYTES);
		item_add(c, &hash);
	}
	c->heal.beyond = rc != 0 || apart.len / HASH_BYTES == ITEMS_MAX;
	buf_free(&apart);
	return rc;
}

int coordinator__heal_load(struct coordinator *c, struct err *e)
{
	int rc = list_load(c, e);
	if (rc == 0 && c->heal.count > 0)
		log_event(LOG_WARN, "COORDINATOR-CHUNKS-APART", LOGF_U("chunks", c->heal.count));
	return rc;
}

/* --- Finding */

void coordinator__rot_found(struct coordinator *c, const struct hash *hashes, size_t count, const char *by)
{
	struct buf apart = BUF_INIT;
	struct err e = ERR_INIT;
	int rc = store_quarantine_put(c->store, hashes, count, &apart, &e);
	if (rc == ERR_IO) {
		coordinator__fail(c, &e);
	} else if (rc != 0) { /* it stays where it is; whoever reads it finds the damage again */
		log_event(LOG_ERROR, "COORDINATOR-CHUNK-NOT-APART", LOGF_S("reason", e.text));
		buf_clear(&apart);
		buf_append(&apart, hashes, count * HASH_BYTES);
	}
	for (size_t at = 0; at < apart.len; at += HASH_BYTES) {
		struct hash hash;
		memcpy(hash.bytes, apart.data + at, HASH_BYTES);
		if (item_find(c, &hash) == NULL) {
			c->heal.found_count++;
			log_event(LOG_ERROR, "COORDINATOR-CHUNK-DAMAGED", LOGF_X("hash", hash.bytes, HASH_BYTES),
				  LOGF_S("found_by", by));
		}
		item_add(c, &hash);
	}
	buf_free(&apart);
}

int coordinator__blob_suspect(struct coordinator *c, const struct hash *root, size_t *bad_count, struct err *e)
{
	struct buf bad = BUF_INIT;
	int rc = store_blob_damaged(c->store, root, &bad, e);
	*bad_count = bad.len / HASH_BYTES;
	if (rc == 0 && bad.len > 0)
		coordinator__rot_found(c, (const struct hash *)(const void *)bad.data, *bad_count, "reading");
	buf_free(&bad);
	if (rc != 0 || c->failure.code == 0)
		return rc;
	*e = c->failure;
	return e->code;
}

int coordinator__blob_get(struct coordinator *c, const struct hash *root, size_t byte_limit, struct buf *out,
			  struct err *e)
{
	struct err unused = ERR_INIT;
	size_t bad;
	int rc = store_blob_get(c->store, root, byte_limit, out, e);
	if (rc == ERR_CORRUPT)
		(void)!coordinator__blob_suspect(c, root, &bad, &unused); /* else by whoever reads it next */
	return rc;
}

/* --- Asking */

bool coordinator__heal_wants(const struct coordinator *c, const struct hash *hash)
{
	return item_find(c, hash) != NULL;
}

bool coordinator__heal_waits(const struct coordinator *c, const struct hash *hash)
{
	const struct heal_item *item = item_find(c, hash);
	return item != NULL && item->rounds < LOST_ROUNDS;
}

static bool is_over(const struct coordinator *c, const struct heal_item *item)
{
	return c->config.retrain_ms > 0 && item->rounds >= LOST_ROUNDS &&
	       coordinator__now_ms(c) - item->lost_ms >= c->config.retrain_ms;
}

bool coordinator__heal_given_up(const struct coordinator *c, const struct hash *hash)
{
	const struct heal_item *item = item_find(c, hash);
	return item != NULL && is_over(c, item);
}

static void all_whole(struct heal *h)
{
	buf_clear(&h->text);
	buf_clear(&h->versions);
	h->changed = false;
}

void coordinator__heal_stored(struct coordinator *c, const struct hash *hash, const uint8_t *by)
{
	struct heal *h = &c->heal;
	struct heal_item *item = item_find(c, hash);
	if (item == NULL)
		return;
	log_event(LOG_INFO, "COORDINATOR-CHUNK-HEALED", LOGF_X("hash", hash->bytes, HASH_BYTES), LOGF_X("by", by, 8));
	h->changed = h->changed || item->rounds >= LOST_ROUNDS;
	c->merges_wait = false; /* it may be of one of them */
	item_remove(h, (size_t)(item - h->items));
	h->healed_count++;
	if (++h->given % MSG_NEED_GIVEN_MAX == 0)
		h->ask_ms = coordinator__now_ms(c);
	if (h->count == 0)
		all_whole(h);
	if (h->beyond && h->count <= ITEMS_MAX / 2) {
		struct err e = ERR_INIT;
		(void)list_load(c, &e); /* else with the next one that is healed */
	}
}

static void stored_part(struct coordinator *c, const void *bytes, size_t byte_count)
{
	struct hash hash;
	hash_of(bytes, byte_count, &hash);
	coordinator__heal_stored(c, &hash, c->key);
}

int coordinator__heal_put(struct coordinator *c, const void *bytes, size_t byte_count, struct hash *root, struct err *e)
{
	int rc = store_blob_put(c->store, bytes, byte_count, root, e);
	if (rc != 0 || c->heal.count == 0)
		return rc;
	for (size_t at = 0; at < byte_count; at += STORE_CHUNK_BYTES)
		stored_part(c, (const uint8_t *)bytes + at,
			    byte_count - at < STORE_CHUNK_BYTES ? byte_count - at : STORE_CHUNK_BYTES);
	coordinator__heal_stored(c, root, c->key);
	return 0;
}

void coordinator__heal_refused(struct coordinator *c, uint64_t route)
{
	if (route == c->heal.asked_route)
		c->heal.ask_ms = coordinator__now_ms(c);
}

static struct peer *peer_next(struct coordinator *c)
{
	struct heal *h = &c->heal;
	if (h->given > 0 && h->round_next > 0)
		h->round_next--; /* it may have more */
	while (h->round_next < c->peer_count) {
		struct peer *peer = c->peers[h->round_next++];
		if (coordinator__peer_live(c, peer))
			return peer;
	}
	return NULL;
}

/* Those of this round are from *begin on, before *end. */
static void round_items(const struct heal *h, size_t *begin, size_t *end)
{
	*begin = item_place(h, &h->from);
	*end = item_place(h, &h->upto);
	*end += *end < h->count && hash_equal(&h->items[*end].hash, &h->upto);
}

static void ask(struct coordinator *c, const struct peer *peer)
{
	struct heal *h = &c->heal;
	size_t begin, end;
	round_items(h, &begin, &end);
	struct hash *hashes = fault_malloc((end - begin + 1) * sizeof *hashes);
	if (hashes == NULL)
		return; /* the next one is asked */
	for (size_t i = begin; i < end; i++)
		hashes[i - begin] = h->items[i].hash;
	struct msg msg = { .type = MSG_NEED, .u.hashes = { hashes, end - begin, 0 } };
	h->asked_route = peer->route;
	h->given = 0;
	h->ask_ms = coordinator__now_ms(c) + ASK_MS;
	if (end == begin || coordinator__send(c, peer->route, &msg) == ERR_CLOSED)
		h->ask_ms = coordinator__now_ms(c);
	free(hashes);
}

/* --- What is lost, for people. The search reads many blobs: it is done by a thread. */

struct damage_job {
	struct pool_job job; /* first: the pool gives it back */
	struct coordinator *c;
	struct buf chunks;
	struct coordinator_damage damage;
	struct err error;
	int code;
};

static void damage_run(struct pool_job *job)
{
	struct damage_job *d = (struct damage_job *)job;
	if (fault_point("coordinator.damage.search") != 0)
		d->code = err_set(&d->error, ERR_FAULT, "fault planted before the search");
	else
		d->code = coordinator_damage_find(d->c->store, &d->chunks, &d->c->ending, &d->damage, &d->error);
}

static void damage_free(struct damage_job *d)
{
	coordinator_damage_fini(&d->damage);
	buf_free(&d->chunks);
	free(d);
}

static void damage_done(struct pool_job *job)
{
	struct damage_job *d = (struct damage_job *)job;
	struct heal *h = &d->c->heal;
	h->searching = false;
	buf_clear(&h->text);
	buf_clear(&h->versions);
	if (atomic_load(&d->c->ending)) {
		damage_free(d);
		return;
	}
	if (d->code == 0) {
		buf_append(&h->versions, d->damage.versions.data, d->damage.versions.len);
		coordinator_damage_text(&d->damage, &h->text);
		buf_puts(&h->text, "; no worker and no node has it");
		coordinator_damage_advice(&d->damage, &h->text);
		if (d->damage.shards && d->c->config.retrain_ms > 0)
			buf_printf(&h->text, "; what stays lost for %u s is trained again from the ledger",
				   d->c->config.retrain_ms / 1000);
	} else {
		buf_printf(&h->text,
			   "%zu damaged chunks, which no worker and no node has; which versions need them is "
			   "not known: %s",
			   d->chunks.len / HASH_BYTES, d->error.text);
	}
	log_event(LOG_ERROR, "COORDINATOR-CHUNKS-LOST", LOGF_U("chunks", d->chunks.len / HASH_BYTES),
		  LOGF_S("what", buf_cstr(&h->text)));
	damage_free(d);
}

static void damage_search(struct coordinator *c)
{
	struct heal *h = &c->heal;
	struct damage_job *d = h->searching ? NULL : fault_calloc(1, sizeof *d);
	if (d == NULL)
		return; /* `changed` stays: after the next round */
	d->job = (struct pool_job){ .run = damage_run, .done = damage_done };
	d->c = c;
	for (size_t i = 0; i < h->count; i++)
		if (h->items[i].rounds >= LOST_ROUNDS)
			buf_append(&d->chunks, h->items[i].hash.bytes, HASH_BYTES);
	if (d->chunks.len == 0 || buf_failed(&d->chunks) || pool_submit(c->upkeep, &d->job) != 0) {
		if (d->chunks.len == 0)
			all_whole(h);
		buf_free(&d->chunks);
		free(d);
		return;
	}
	h->searching = true;
	h->changed = false;
}

/* A collection forgets what nothing needs. */
static void forget_collected(struct coordinator *c)
{
	struct heal *h = &c->heal;
	size_t begin, end;
	round_items(h, &begin, &end);
	for (size_t i = end; i-- > begin;) {
		struct err e = ERR_INIT;
		struct buf bytes = BUF_INIT;
		bool apart = true;
		if (h->items[i].rounds >= LOST_ROUNDS &&
		    store_quarantine_has(c->store, &h->items[i].hash, &apart, &e) == 0 && !apart &&
		    store_chunk_get(c->store, &h->items[i].hash, &bytes, &e) != ERR_CORRUPT) {
			item_remove(h, i);
			h->changed = true;
		}
		buf_free(&bytes);
	}
}

/* As many as one message can name, behind those of the round before: what is lost keeps nothing else from being asked
 * for. */
static void round_begin(struct coordinator *c)
{
	struct heal *h = &c->heal;
	size_t begin = h->count <= MSG_HASHES_MAX ? 0 : item_place(h, &h->from);
	if (begin == h->count)
		begin = 0;
	const size_t end = h->count - begin <= MSG_HASHES_MAX ? h->count : begin + MSG_HASHES_MAX;
	memset(&h->upto, 0xff, sizeof h->upto);
	if (end < h->count)
		h->upto = h->items[end - 1].hash;
	h->from = h->items[begin].hash;
	forget_collected(c);
}

/* Workers train what is lost; a fleet that is not there yet may still bring it. */
static void give_up(struct coordinator *c)
{
	struct heal *h = &c->heal;
	bool any = false;
	for (size_t i = 0; i < h->count; i++)
		any = any || (!h->items[i].given_up && is_over(c, &h->items[i]));
	if (!any || coordinator__write_held(c) || coordinator__workers_live(c) == 0 || !coordinator__lost_look(c))
		return;
	for (size_t i = 0; i < h->count; i++)
		h->items[i].given_up = h->items[i].given_up || is_over(c, &h->items[i]);
	h->changed = true;
}

/* They are at rest when all have had their round. */
static void round_end(struct coordinator *c)
{
	struct heal *h = &c->heal;
	size_t begin, end;
	round_items(h, &begin, &end);
	for (size_t i = begin; i < end; i++) {
		struct heal_item *item = &h->items[i];
		if (item->rounds == LOST_ROUNDS || ++item->rounds < LOST_ROUNDS)
			continue;
		item->lost_ms = coordinator__now_ms(c);
		h->changed = true;
	}
	const bool all = end == h->count;
	memset(&h->from, 0, sizeof h->from);
	if (!all)
		h->from = h->items[end].hash;
	h->round_next = 0;
	h->given = 0;
	h->ask_ms = coordinator__now_ms(c) + (all ? ROUND_MS : 0);
	if (all)
		give_up(c);
	if (all && h->changed)
		damage_search(c);
}

void coordinator__heal_advance(struct coordinator *c)
{
	struct heal *h = &c->heal;
	if (h->count == 0 || c->closed || coordinator__now_ms(c) < h->ask_ms)
		return;
	bool unused;
	struct err later = ERR_INIT; /* it is tried again with the next one who is asked */
	(void)!coordinator__newest_restore(c, &unused, &later);
	if (h->round_next == 0 && h->count > 0)
		round_begin(c);
	if (h->count == 0) {
		all_whole(h);
		return;
	}
	const struct peer *peer = peer_next(c);
	if (peer == NULL)
		round_end(c);
	else
		ask(c, peer);
}

void coordinator__heal_count(const struct coordinator *c, size_t *wanted, size_t *lost)
{
	*wanted = *lost = 0;
	for (size_t i = 0; i < c->heal.count; i++)
		*(c->heal.items[i].rounds < LOST_ROUNDS ? wanted : lost) += 1;
}

void coordinator__heal_free(struct coordinator *c)
{
	free(c->heal.items);
	buf_free(&c->heal.text);
	buf_free(&c->heal.versions);
	c->heal = (struct heal){ .items = NULL };
}
