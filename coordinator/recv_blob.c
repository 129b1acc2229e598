/* recv_blob.c: chunks by hash, both ways, by credit: the receiver of bytes asks for them. */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

void coordinator__recv_have(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_hashes *have = &received->msg.u.hashes;
	struct err e = ERR_INIT;
	struct hash *missing = fault_malloc((have->hash_count + 1) * sizeof *missing);
	int rc = missing == NULL ? err_set(&e, ERR_NOMEM, "out of memory") : 0;
	size_t count = 0;
	for (size_t i = 0; rc == 0 && i < have->hash_count; i++) {
		bool has;
		rc = store_chunk_has(c->store, &have->hashes[i], &has, &e);
		if (rc == 0 && !has)
			missing[count++] = have->hashes[i];
	}
	if (rc == 0) {
		struct msg msg = { .type = MSG_MISSING };
		msg.u.hashes.hashes = missing;
		msg.u.hashes.hash_count = count;
		coordinator__reply(c, received, &msg);
	} else {
		coordinator__reply_error(c, received, rc, e.text);
	}
	free(missing);
}

static void chunk_answer(struct coordinator *c, const struct msg_received *received, int code)
{
	struct msg msg = { .type = MSG_CHUNK_STORED };
	msg.u.chunk.hash = received->msg.u.chunk.hash;
	msg.u.chunk.code = code;
	coordinator__reply(c, received, &msg);
}

static int chunks_store(struct coordinator *c, struct msg_received *const *list, size_t count, struct err *e)
{
	struct store_chunk chunks[CHUNKS_PENDING_MAX];
	for (size_t i = 0; i < count; i++) {
		const struct msg_chunk *chunk = &list[i]->msg.u.chunk;
		chunks[i] = (struct store_chunk){ chunk->hash, chunk->data.bytes, chunk->data.len };
	}
	return store_chunks_put(c->store, chunks, count, e);
}

/* One bad chunk fails the whole transaction: then each is stored by itself, and only the bad one is refused. */
void coordinator__chunks_flush(struct coordinator *c)
{
	struct err e = ERR_INIT;
	if (c->chunk_count == 0)
		return;
	int rc = chunks_store(c, c->chunks, c->chunk_count, &e);
	for (size_t i = 0; i < c->chunk_count; i++) {
		struct err one = ERR_INIT;
		int code = rc == ERR_CORRUPT ? chunks_store(c, &c->chunks[i], 1, &one) : rc;
		if (code == ERR_CORRUPT)
			log_event(LOG_WARN, "COORDINATOR-CHUNK-REFUSED", LOGF_X("by", c->chunks[i]->peer_key, 8),
				  LOGF_S("reason", one.text));
		else if (code == ERR_IO)
			coordinator__fail(c, one.code != 0 ? &one : &e);
		else if (code == 0)
			coordinator__heal_stored(c, &c->chunks[i]->msg.u.chunk.hash, c->chunks[i]->peer_key);
		if (c->failure.code == 0)
			chunk_answer(c, c->chunks[i], code);
		msg_free(&c->chunks[i]);
	}
	c->chunk_count = 0;
}

/* Workers bring what they like to; others what they were asked for (heal.c), for which there is room in any case. */
void coordinator__recv_chunk(struct coordinator *c, struct msg_received **received)
{
	const struct msg_chunk *chunk = &(*received)->msg.u.chunk;
	const bool wanted = coordinator__heal_wants(c, &chunk->hash);
	if (chunk->code != 0) {
		coordinator__heal_refused(c, (*received)->route);
		return;
	}
	if (!wanted && ((*received)->roles & PROTO_ROLE_WORKER) == 0) {
		/* It may have been asked, and another came first: an Error would say that it is not welcome. */
		chunk_answer(c, *received, ERR_DENIED);
		return;
	}
	if (!wanted && coordinator__space_low(c)) {
		chunk_answer(c, *received, ERR_FULL);
		return;
	}
	c->chunks[c->chunk_count++] = *received;
	*received = NULL;
	if (c->chunk_count == CHUNKS_PENDING_MAX)
		coordinator__chunks_flush(c);
}

/* ERR_AGAIN: the peer's queue is full. Of a chunk that is looked for nothing is said: who needs it asks again. */
static int need_give(void *context, uint64_t route, const struct proto_need *need)
{
	struct coordinator *c = context;
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct msg msg = { .type = MSG_CHUNK, .request_id = need->request_id };
	msg.u.chunk.hash = need->hash;
	msg.u.chunk.code = store_chunk_get(c->store, &need->hash, &bytes, &e);
	if (msg.u.chunk.code == ERR_CORRUPT)
		coordinator__rot_found(c, &need->hash, 1, "reading");
	if (msg.u.chunk.code != 0 && coordinator__heal_waits(c, &need->hash)) {
		buf_free(&bytes);
		return 0;
	}
	if (msg.u.chunk.code == 0)
		msg.u.chunk.data = (struct msg_bytes){ bytes.data, bytes.len };
	else if (msg.u.chunk.code != ERR_NOT_FOUND)
		log_event(LOG_ERROR, "COORDINATOR-CHUNK-UNREADABLE", LOGF_X("hash", need->hash.bytes, HASH_BYTES),
			  LOGF_S("reason", e.text));
	int rc = coordinator__send(c, route, &msg);
	buf_free(&bytes);
	return rc;
}

void coordinator__needs_pump(struct coordinator *c)
{
	proto_needs_pump(&c->needs, need_give, c);
}

void coordinator__recv_need(struct coordinator *c, const struct msg_received *received)
{
	if (proto_needs_add(&c->needs, received, env_monotonic_us(c->env)) != 0) {
		coordinator__reply_error(c, received, ERR_AGAIN,
					 "too many chunks are owed already: wait for them, then ask again");
		return;
	}
	coordinator__needs_pump(c);
}

void coordinator__blobs_drop(struct coordinator *c)
{
	for (size_t i = 0; i < c->chunk_count; i++)
		msg_free(&c->chunks[i]);
	c->chunk_count = 0;
	proto_needs_fini(&c->needs);
}
