/* fetch.c: one request at a time, in order of arrival; within it up to WORKER_FETCH_WINDOW chunks are asked for at
 * once. */
#include "worker/source.h"

#include "base/fault.h"
#include "base/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS_MAX 64
#define ROOTS_MAX    4096

struct request {
	struct hash *roots;
	size_t root_count;
	void (*on_done)(void *context, int code);
	void *context;
	uint64_t version; /* 0: of none */
	bool verified;
};

struct ask {
	struct hash hash;
	struct buf bytes; /* arrived, not yet stored */
	size_t source;    /* that gives it */
	int64_t since_us; /* when it was first asked of this source */
	bool due;         /* to be asked for with the next Need */
	bool arrived;
};

struct worker_fetch {
	const struct env *env;
	struct store *blobs;
	struct worker__sources sources;
	struct request queue[REQUESTS_MAX]; /* [0] is being fetched */
	size_t queue_count;
	struct buf missing;                   /* struct hash: what the head still lacks, as last looked up */
	size_t missing_next;                  /* the first of them not asked for */
	struct ask asks[WORKER_FETCH_WINDOW]; /* asked for or arrived */
	size_t ask_count, arrived_count;
	uint64_t request_id;
	uint32_t arrived_ever;
};

int worker_fetch_new(const struct env *env, struct store *blobs, struct proto_transport *transport,
		     struct worker_fetch **out, struct err *e)
{
	struct worker_fetch *f = fault_calloc(1, sizeof *f);
	if (f == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for the fetch queue");
	f->env = env;
	f->blobs = blobs;
	worker__sources_init(&f->sources, env, transport);
	*out = f;
	return 0;
}

int worker_fetch_relay_add(struct worker_fetch *f, struct proto_transport *relay, const char *name, int64_t patience_ms,
			   struct err *e)
{
	assert(f->queue_count == 0 && patience_ms > 0);
	if (f->sources.patience_us == 0)
		f->sources.patience_us = (patience_ms + (int64_t)(env_random_u64(f->env) % (uint64_t)patience_ms)) *
					 1000;
	return worker__sources_add(&f->sources, relay, name, e);
}

static void asks_clear(struct worker_fetch *f)
{
	for (size_t i = 0; i < f->ask_count; i++)
		buf_free(&f->asks[i].bytes);
	memset(f->asks, 0, sizeof f->asks);
	f->ask_count = f->arrived_count = 0;
}

void worker_fetch_destroy(struct worker_fetch **fetch)
{
	struct worker_fetch *f = *fetch;
	if (f == NULL)
		return;
	asks_clear(f);
	for (size_t i = 0; i < f->queue_count; i++)
		free(f->queue[i].roots);
	buf_free(&f->missing);
	free(f);
	*fetch = NULL;
}

static void queue_remove(struct worker_fetch *f, size_t index)
{
	free(f->queue[index].roots);
	f->queue_count--;
	memmove(f->queue + index, f->queue + index + 1, (f->queue_count - index) * sizeof f->queue[0]);
	if (index == 0) {
		asks_clear(f);
		buf_clear(&f->missing);
		f->missing_next = 0;
	}
}

static void head_end(struct worker_fetch *f, int code)
{
	struct request done = f->queue[0];
	done.roots = NULL;
	queue_remove(f, 0);
	done.on_done(done.context, code);
}

/* Fills `missing` for the head; an empty list means that it is complete. */
static int head_look(struct worker_fetch *f, struct err *e)
{
	buf_clear(&f->missing);
	f->missing_next = 0;
	struct request *head = &f->queue[0];
	for (size_t i = 0; i < head->root_count; i++) {
		int rc = head->verified ? store_blob_damaged(f->blobs, &head->roots[i], &f->missing, e)
					: store_blob_missing(f->blobs, &head->roots[i], &f->missing, e);
		if (rc != 0)
			return rc;
	}
	return buf_failed(&f->missing) ? err_set(e, ERR_NOMEM, "out of memory for a list of chunks") : 0;
}

/* ---- Asking */

/* What a source owes for longest; NULL: nothing. */
static const struct ask *owed_by(const struct worker_fetch *f, size_t source)
{
	const struct ask *oldest = NULL;
	for (size_t i = 0; i < f->ask_count; i++)
		if (!f->asks[i].arrived && f->asks[i].source == source &&
		    (oldest == NULL || f->asks[i].since_us < oldest->since_us))
			oldest = &f->asks[i];
	return oldest;
}

/* The ask is, or will be, among f->asks. */
static void ask_of(struct worker_fetch *f, struct ask *ask, size_t source)
{
	if (owed_by(f, source) == NULL)
		worker__source_begin(&f->sources, source);
	ask->source = source;
	ask->since_us = env_monotonic_us(f->env);
	ask->due = true;
}

/* What a relay owes is asked of the next. */
static void relay_leave(struct worker_fetch *f, size_t relay, enum worker_fetch_fault fault)
{
	worker__source_fault(&f->sources, relay, fault);
	size_t next = worker__source_pick(&f->sources, relay + 1);
	for (size_t i = 0; i < f->ask_count; i++)
		if (!f->asks[i].arrived && f->asks[i].source == relay)
			ask_of(f, &f->asks[i], next);
}

static int need_send_to(struct worker_fetch *f, size_t source, struct err *e)
{
	struct hash hashes[WORKER_FETCH_WINDOW];
	size_t count = 0;
	for (size_t i = 0; i < f->ask_count; i++) {
		struct ask *ask = &f->asks[i];
		if (ask->arrived || !ask->due || ask->source != source)
			continue;
		ask->due = false;
		hashes[count++] = ask->hash;
	}
	if (count == 0)
		return 0;
	struct proto_transport *to = f->sources.list[source].transport;
	struct msg msg = { .type = MSG_NEED,
			   .request_id = ++f->request_id,
			   .u.hashes = { hashes, count, f->queue[0].version } };
	worker__source_asked(&f->sources, source);
	const int rc = to->ops->send(to, 0, &msg, e);
	if (rc != ERR_AGAIN && rc != ERR_CLOSED)
		return rc;
	if (worker__source_is_relay(&f->sources, source))
		relay_leave(f, source, WORKER_FETCH_UNREACHABLE);
	return 0;
}

/* Asks for what is due. What does not go through to the coordinator is asked again by tick; what a relay does not take,
 * of those behind it. */
static int need_send(struct worker_fetch *f, struct err *e)
{
	int rc = 0;
	for (size_t source = 0; source < f->sources.count && rc == 0; source++)
		rc = need_send_to(f, source, e);
	return rc;
}

static struct ask *ask_find(struct worker_fetch *f, const struct hash *hash)
{
	for (size_t i = 0; i < f->ask_count; i++)
		if (hash_equal(&f->asks[i].hash, hash))
			return &f->asks[i];
	return NULL;
}

/* A chunk that occurs twice is listed twice, but its answer comes once. */
static void window_fill(struct worker_fetch *f)
{
	const struct hash *missing = (const void *)f->missing.data;
	size_t total = f->missing.len / sizeof *missing, source = worker__source_pick(&f->sources, 0);
	for (; f->ask_count < WORKER_FETCH_WINDOW && f->missing_next < total; f->missing_next++) {
		if (ask_find(f, &missing[f->missing_next]) != NULL)
			continue;
		f->asks[f->ask_count] = (struct ask){ .hash = missing[f->missing_next], .bytes = BUF_INIT };
		ask_of(f, &f->asks[f->ask_count], source);
		f->ask_count++;
	}
}

/* Asks for the next window, or ends the head when nothing is missing. */
static int head_advance(struct worker_fetch *f, struct err *e)
{
	if (f->missing_next == f->missing.len / sizeof(struct hash)) {
		int rc = head_look(f, e);
		if (rc != 0)
			return rc;
		if (f->missing.len == 0) {
			head_end(f, 0);
			return 0;
		}
	}
	window_fill(f);
	return need_send(f, e);
}

/* Stores what has arrived; the window is filled again and asked for first, so that it comes while the disk works. */
static int group_store(struct worker_fetch *f, struct err *e)
{
	struct ask arrived[WORKER_FETCH_WINDOW];
	struct store_chunk chunks[WORKER_FETCH_WINDOW];
	size_t count = 0, waiting = 0;
	for (size_t i = 0; i < f->ask_count; i++) {
		if (f->asks[i].arrived)
			arrived[count++] = f->asks[i];
		else
			f->asks[waiting++] = f->asks[i];
	}
	f->ask_count = waiting;
	f->arrived_count = 0;
	window_fill(f);
	int rc = need_send(f, e);
	for (size_t i = 0; i < count; i++)
		chunks[i] = (struct store_chunk){ arrived[i].hash, arrived[i].bytes.data, arrived[i].bytes.len };
	if (rc == 0)
		rc = store_chunks_put(f->blobs, chunks, count, e);
	for (size_t i = 0; i < count; i++)
		buf_free(&arrived[i].bytes);
	return rc;
}

static void pump(struct worker_fetch *f)
{
	while (f->queue_count > 0 && f->ask_count == 0) {
		struct err e = ERR_INIT;
		int rc = head_advance(f, &e);
		if (rc != 0) {
			log_event(LOG_WARN, "FETCH-FAILED", LOGF_S("reason", e.text));
			head_end(f, rc);
		}
	}
}

static int request_add(struct worker_fetch *f, const struct hash *roots, size_t root_count, struct request request,
		       struct err *e)
{
	if (f->queue_count == REQUESTS_MAX)
		return err_set(e, ERR_LIMIT, "%d fetches wait already", REQUESTS_MAX);
	if (root_count > ROOTS_MAX)
		return err_set(e, ERR_LIMIT, "a fetch of %zu blobs is over the limit of %d", root_count, ROOTS_MAX);
	struct hash *copy = fault_calloc(root_count + 1, sizeof *copy);
	if (copy == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for %zu blob roots", root_count);
	size_t kept = 0;
	for (size_t i = 0; i < root_count; i++)
		if (!hash_is_zero(&roots[i]))
			copy[kept++] = roots[i];
	request.roots = copy;
	request.root_count = kept;
	f->queue[f->queue_count++] = request;
	return 0;
}

int worker_fetch_start(struct worker_fetch *f, const struct hash *roots, size_t root_count,
		       void (*on_done)(void *context, int code), void *context, struct err *e)
{
	return request_add(f, roots, root_count, (struct request){ .on_done = on_done, .context = context }, e);
}

int worker_fetch_version(struct worker_fetch *f, uint64_t version, const struct hash *roots, size_t root_count,
			 void (*on_done)(void *context, int code), void *context, struct err *e)
{
	return request_add(f, roots, root_count,
			   (struct request){ .on_done = on_done, .context = context, .version = version }, e);
}

int worker_fetch_verified(struct worker_fetch *f, const struct hash *roots, size_t root_count,
			  void (*on_done)(void *context, int code), void *context, struct err *e)
{
	return request_add(f, roots, root_count,
			   (struct request){ .on_done = on_done, .context = context, .verified = true }, e);
}

uint32_t worker_fetch_arrived(const struct worker_fetch *f)
{
	return f->arrived_ever;
}

void worker_fetch_counts_get(const struct worker_fetch *f, struct worker_fetch_counts *out)
{
	*out = f->sources.counts;
}

const char *worker_fetch_source(const struct worker_fetch *f)
{
	return f->sources.last != NULL ? f->sources.last->name : "";
}

void worker_fetch_cancel(struct worker_fetch *f, void *context)
{
	for (size_t i = f->queue_count; i-- > 0;)
		if (f->queue[i].context == context)
			queue_remove(f, i);
}

/* ---- Receiving */

/* A chunk that a source cannot give. */
static int refusal_take(struct worker_fetch *f, size_t source, struct ask *ask, int code, struct err *e)
{
	char hex[HASH_HEX_BYTES];
	if (worker__source_is_relay(&f->sources, source)) {
		worker__source_fault(&f->sources, source, WORKER_FETCH_LACKING);
		ask_of(f, ask, worker__source_pick(&f->sources, source + 1));
		return need_send(f, e);
	}
	hash_hex(&ask->hash, hex);
	return err_set(e, code, "the coordinator cannot give chunk %.12s: %s", hex, err_text(code));
}

/* Never stored. The coordinator is asked for it again by the retry; of a relay that is left alone already, what else
 * was on its way is no news. */
static int wrong_take(struct worker_fetch *f, size_t source, const struct hash *hash, struct err *e)
{
	if (worker__source_pick(&f->sources, source) != source)
		return 0;
	log_event(LOG_WARN, "FETCH-CHUNK-CORRUPT", LOGF_X("hash", hash->bytes, HASH_BYTES),
		  LOGF_S("from", f->sources.list[source].name));
	if (!worker__source_is_relay(&f->sources, source))
		return 0;
	relay_leave(f, source, WORKER_FETCH_WRONG);
	return need_send(f, e);
}

static int chunk_take(struct worker_fetch *f, size_t source, struct ask *ask, const struct msg_chunk *chunk,
		      struct err *e)
{
	struct hash actual;
	if (chunk->code != 0) /* another source's word says nothing of the one that is asked */
		return source == ask->source ? refusal_take(f, source, ask, chunk->code, e) : 0;
	hash_of(chunk->data.bytes, chunk->data.len, &actual);
	if (!hash_equal(&actual, &chunk->hash))
		return wrong_take(f, source, &chunk->hash, e);
	buf_append(&ask->bytes, chunk->data.bytes, chunk->data.len);
	if (buf_failed(&ask->bytes))
		return err_set(e, ERR_NOMEM, "out of memory for a chunk of %zu bytes", chunk->data.len);
	ask->arrived = true;
	worker__source_gave(&f->sources, source, chunk->data.len);
	f->arrived_ever++;
	f->arrived_count++;
	return f->arrived_count == WORKER_FETCH_GROUP || f->arrived_count == f->ask_count ? group_store(f, e) : 0;
}

static bool receive_from(struct worker_fetch *f, size_t source, const struct msg *msg)
{
	worker__source_heard(&f->sources, source);
	if (msg->type != MSG_CHUNK || f->queue_count == 0)
		return false;
	struct ask *ask = ask_find(f, &msg->u.chunk.hash);
	if (ask == NULL || ask->arrived)
		return ask != NULL;
	struct err e = ERR_INIT;
	int rc = chunk_take(f, source, ask, &msg->u.chunk, &e);
	if (rc != 0) {
		log_event(LOG_WARN, "FETCH-CHUNK-FAILED", LOGF_S("reason", e.text));
		head_end(f, rc);
	}
	pump(f);
	return true;
}

bool worker_fetch_receive(struct worker_fetch *f, const struct msg *msg)
{
	return receive_from(f, f->sources.count - 1, msg);
}

/* A relay that says what it has not yet lives; one that refuses the question does not serve this node. Where there is
 * no question, or it is left alone already, that is no news. */
void worker_fetch_relay_receive(struct worker_fetch *f, size_t relay, const struct msg *msg)
{
	struct err e = ERR_INIT;
	(void)receive_from(f, relay, msg);
	if (msg->type != MSG_ERROR || msg->u.error.code == ERR_AGAIN || owed_by(f, relay) == NULL ||
	    worker__source_pick(&f->sources, relay) != relay)
		return;
	relay_leave(f, relay, WORKER_FETCH_UNREACHABLE);
	if (need_send(f, &e) != 0)
		log_event(LOG_DEBUG, "FETCH-NEED-UNSENT", LOGF_S("reason", e.text));
}

/* ---- Time */

static void relays_judge(struct worker_fetch *f)
{
	for (size_t relay = 0; worker__source_is_relay(&f->sources, relay); relay++) {
		enum worker_fetch_fault fault = WORKER_FETCH_FAULTS;
		const struct ask *oldest = owed_by(f, relay);
		if (oldest != NULL)
			fault = worker__source_judge(&f->sources, relay, oldest->since_us);
		if (fault != WORKER_FETCH_FAULTS)
			relay_leave(f, relay, fault);
	}
}

void worker_fetch_tick(struct worker_fetch *f)
{
	struct err e = ERR_INIT;
	pump(f);
	if (f->ask_count == 0)
		return;
	relays_judge(f);
	for (size_t i = 0; i < f->ask_count; i++)
		f->asks[i].due |= worker__source_quiet(&f->sources, f->asks[i].source);
	int rc = need_send(f, &e);
	if (rc != 0)
		log_event(LOG_DEBUG, "FETCH-RETRY-UNSENT", LOGF_S("reason", e.text));
}
