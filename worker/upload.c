/* upload.c: asks which chunks are missing, page by page, sends those with a window, and asks again until none is. */
#include "worker/upload.h"

#include "base/fault.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_HASHES 1024
#define RETRY_US    (2 * INT64_C(1000000))

struct worker_upload {
	const struct env *env;
	struct store *blobs;
	struct proto_transport *transport;
	bool active;
	struct buf hashes;                        /* struct hash: all chunks of the roots */
	size_t page;                              /* first hash of the page being asked about */
	struct buf missing;                       /* struct hash: of that page */
	size_t next;                              /* of missing: sent up to here */
	struct hash window[WORKER_UPLOAD_WINDOW]; /* sent and not acknowledged */
	size_t window_count;
	bool asked; /* Have is out, Missing not yet in */
	int64_t progress_us;
	uint64_t request_id;
	uint32_t stored_ever;
	void (*on_done)(void *context, int code);
	void *context;
};

int worker_upload_new(const struct env *env, struct store *blobs, struct proto_transport *transport,
		      struct worker_upload **out, struct err *e)
{
	struct worker_upload *u = fault_calloc(1, sizeof *u);
	if (u == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for the upload");
	u->env = env;
	u->blobs = blobs;
	u->transport = transport;
	*out = u;
	return 0;
}

void worker_upload_destroy(struct worker_upload **upload)
{
	struct worker_upload *u = *upload;
	if (u == NULL)
		return;
	buf_free(&u->hashes);
	buf_free(&u->missing);
	free(u);
	*upload = NULL;
}

static void end(struct worker_upload *u, int code)
{
	u->active = false;
	u->on_done(u->context, code);
}

static size_t page_count(const struct worker_upload *u)
{
	size_t left = u->hashes.len / sizeof(struct hash) - u->page;
	return left < PAGE_HASHES ? left : PAGE_HASHES;
}

/* Unsent messages are sent again by tick: full queues and lost connections are no failure here. */
static void send(struct worker_upload *u, const struct msg *msg)
{
	struct err e = ERR_INIT;
	if (u->transport->ops->send(u->transport, 0, msg, &e) != 0)
		log_event(LOG_DEBUG, "UPLOAD-UNSENT", LOGF_S("reason", e.text));
}

static void ask(struct worker_upload *u)
{
	const struct hash *hashes = (const void *)u->hashes.data;
	struct msg msg = { .type = MSG_HAVE,
			   .request_id = ++u->request_id,
			   .u.hashes = { hashes + u->page, page_count(u), 0 } };
	u->asked = true;
	u->window_count = 0;
	u->progress_us = env_monotonic_us(u->env);
	send(u, &msg);
}

static int root_collect(struct worker_upload *u, const struct hash *root, struct err *e)
{
	struct buf chunk = BUF_INIT;
	uint64_t byte_count;
	buf_append(&u->hashes, root, sizeof *root);
	int rc = store_chunk_get(u->blobs, root, &chunk, e);
	if (rc == 0)
		rc = store_root_parse(chunk.data, chunk.len, &u->hashes, &byte_count, e);
	if (rc == 0 && buf_failed(&u->hashes))
		rc = err_set(e, ERR_NOMEM, "out of memory for a list of chunks");
	buf_free(&chunk);
	return rc;
}

int worker_upload_start(struct worker_upload *u, const struct hash *roots, size_t root_count,
			void (*on_done)(void *context, int code), void *context, struct err *e)
{
	if (u->active)
		return err_set(e, ERR_AGAIN, "an upload is under way");
	buf_clear(&u->hashes);
	for (size_t i = 0; i < root_count; i++) {
		int rc = hash_is_zero(&roots[i]) ? 0 : root_collect(u, &roots[i], e);
		if (rc != 0) {
			err_wrap(e, "collecting an upload");
			return rc;
		}
	}
	u->page = 0;
	u->on_done = on_done;
	u->context = context;
	u->active = true;
	ask(u);
	return 0;
}

void worker_upload_cancel(struct worker_upload *u)
{
	u->active = false;
}

static int chunk_send(struct worker_upload *u, uint64_t request_id, const struct hash *hash)
{
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	int rc = store_chunk_get(u->blobs, hash, &bytes, &e);
	if (rc == 0) {
		struct msg msg = { .type = MSG_CHUNK,
				   .request_id = request_id,
				   .u.chunk = { *hash, 0, { bytes.data, bytes.len } } };
		send(u, &msg);
	} else {
		log_event(LOG_ERROR, "UPLOAD-CHUNK-UNREADABLE", LOGF_S("reason", e.text));
	}
	buf_free(&bytes);
	return rc;
}

void worker_upload_needed(struct worker_upload *u, const struct msg_hashes *need)
{
	size_t given = 0;
	for (size_t i = 0; i < need->hash_count && given < MSG_NEED_GIVEN_MAX; i++) {
		bool has = false;
		struct err e = ERR_INIT;
		if (store_chunk_has(u->blobs, &need->hashes[i], &has, &e) == 0 && has)
			given += chunk_send(u, 0, &need->hashes[i]) == 0;
	}
	log_event(given > 0 ? LOG_INFO : LOG_DEBUG, "UPLOAD-CHUNKS-NEEDED", LOGF_U("chunks", need->hash_count),
		  LOGF_U("given", given));
	if (given > 0 || need->hash_count == 0)
		return;
	struct msg none = { .type = MSG_CHUNK, .u.chunk = { .hash = need->hashes[0], .code = ERR_NOT_FOUND } };
	send(u, &none);
}

static void window_fill(struct worker_upload *u)
{
	const struct hash *missing = (const void *)u->missing.data;
	size_t count = u->missing.len / sizeof(struct hash);
	while (u->window_count < WORKER_UPLOAD_WINDOW && u->next < count) {
		u->window[u->window_count++] = missing[u->next++];
		int rc = chunk_send(u, ++u->request_id, &u->window[u->window_count - 1]);
		if (rc != 0) {
			end(u, rc);
			return;
		}
	}
	u->progress_us = env_monotonic_us(u->env);
	if (u->window_count == 0)
		ask(u); /* the page again: only what the coordinator confirms counts */
}

static void missing_take(struct worker_upload *u, const struct msg_hashes *list)
{
	u->asked = false;
	if (list->hash_count == 0) {
		u->page += page_count(u);
		if (u->page == u->hashes.len / sizeof(struct hash))
			end(u, 0);
		else
			ask(u);
		return;
	}
	buf_clear(&u->missing);
	buf_append(&u->missing, list->hashes, list->hash_count * sizeof(struct hash));
	u->next = u->window_count = 0;
	if (buf_failed(&u->missing))
		end(u, ERR_NOMEM);
	else
		window_fill(u);
}

static void stored_take(struct worker_upload *u, const struct msg_chunk *chunk)
{
	for (size_t i = 0; i < u->window_count; i++) {
		if (!hash_equal(&u->window[i], &chunk->hash))
			continue;
		if (chunk->code != 0) {
			end(u, chunk->code);
			return;
		}
		u->window[i] = u->window[--u->window_count];
		u->stored_ever++;
		window_fill(u);
		return;
	}
}

bool worker_upload_receive(struct worker_upload *u, const struct msg *msg)
{
	if (!u->active)
		return msg->type == MSG_MISSING || msg->type == MSG_CHUNK_STORED;
	if (msg->type == MSG_MISSING) {
		if (u->asked && msg->request_id == u->request_id)
			missing_take(u, &msg->u.hashes);
		return true;
	}
	if (msg->type == MSG_CHUNK_STORED) {
		stored_take(u, &msg->u.chunk);
		return true;
	}
	return false;
}

void worker_upload_tick(struct worker_upload *u)
{
	if (u->active && env_monotonic_us(u->env) - u->progress_us > RETRY_US)
		ask(u); /* a lost message: what is missing is asked anew */
}

uint32_t worker_upload_stored(const struct worker_upload *u)
{
	return u->stored_ever;
}
