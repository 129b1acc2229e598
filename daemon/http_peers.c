/* http_peers.c: see http_peers.h. The list is in the order in which its members last changed what they wait for: the
 * last one has waited longest. */
#include "daemon/http_peers.h"

#include "base/env.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/sync.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/socket.h>

#define TICK_MS   250
#define FULL_MS   50    /* the same, while there are too many */
#define GRACE_MS  500   /* a connection so young is not shut down for another */
#define LOG_MS    10000 /* between two lines */
#define ACCEPT_MS 3

enum reason { REASON_NONE, REASON_HEADERS, REASON_BODY, REASON_FULL, REASON_COUNT };
static const char *const reasons[REASON_COUNT] = { "", "headers", "body", "full" };

struct http_peer {
	struct http_peer *previous, *next;
	int socket;
	int64_t since_ms, until_ms; /* 0: for ever */
	enum reason late;           /* why it is shut down at until_ms */
	bool asked;                 /* the handler has an exchange, or its answer is leaving */
	bool shut;
};

struct http_peers {
	struct http_peers_config config;
	pthread_t watcher;
	pthread_mutex_t lock;
	pthread_cond_t changed, wake; /* of the list; the watcher */
	struct http_peer *first, *last;
	size_t count; /* without those shut down */
	uint64_t closed[REASON_COUNT], told[REASON_COUNT];
	int64_t told_ms;
	bool stop;
};

/* ---- The list, under the lock */

static void unlink_peer(struct http_peers *peers, struct http_peer *peer)
{
	*(peer->previous != NULL ? &peer->previous->next : &peers->first) = peer->next;
	*(peer->next != NULL ? &peer->next->previous : &peers->last) = peer->previous;
	peer->previous = peer->next = NULL;
}

static void link_first(struct http_peers *peers, struct http_peer *peer)
{
	peer->next = peers->first;
	*(peers->first != NULL ? &peers->first->previous : &peers->last) = peer;
	peers->first = peer;
}

static void shut(struct http_peers *peers, struct http_peer *peer, enum reason why)
{
	peer->shut = true;
	peers->count--;
	peers->closed[why]++;
	shutdown(peer->socket, SHUT_RDWR);
}

static void link_waiting(struct http_peers *peers, struct http_peer *peer, enum reason late, int64_t ms)
{
	link_first(peers, peer);
	peer->since_ms = env_monotonic_ms(env_system());
	peer->until_ms = ms > 0 ? peer->since_ms + ms : 0;
	peer->late = late;
	pthread_cond_signal(&peers->changed);
}

/* From now on `peer` waits for something else. 0 ms: for ever. */
static void waits(struct http_peers *peers, struct http_peer *peer, bool asked, enum reason late, int64_t ms)
{
	if (peer == NULL)
		return;
	pthread_mutex_lock(&peers->lock);
	unlink_peer(peers, peer);
	link_waiting(peers, peer, late, ms);
	peer->asked = asked;
	pthread_mutex_unlock(&peers->lock);
}

/* ---- The watcher */

static void shut_late(struct http_peers *peers, int64_t now)
{
	for (struct http_peer *peer = peers->first; peer != NULL; peer = peer->next)
		if (!peer->shut && !peer->asked && peer->until_ms != 0 && now >= peer->until_ms)
			shut(peers, peer, peer->late);
}

static void shut_oldest(struct http_peers *peers, int64_t now)
{
	for (struct http_peer *peer = peers->last; peer != NULL && peers->count > peers->config.count_max;
	     peer = peer->previous)
		if (!peer->shut && !peer->asked && now - peer->since_ms >= GRACE_MS)
			shut(peers, peer, REASON_FULL);
}

/* One line for all that were shut down since the last one; the lock is let go for it. */
static void tell(struct http_peers *peers, int64_t now)
{
	uint64_t more[REASON_COUNT], sum = 0;
	for (size_t i = 0; i < REASON_COUNT; i++) {
		more[i] = peers->closed[i] - peers->told[i];
		sum += more[i];
	}
	if (sum == 0 || (peers->told_ms != 0 && now - peers->told_ms < LOG_MS))
		return;
	for (size_t i = 0; i < REASON_COUNT; i++)
		peers->told[i] = peers->closed[i];
	peers->told_ms = now;
	const size_t open = peers->count;
	pthread_mutex_unlock(&peers->lock);
	log_event(LOG_WARN, "HTTP-CONNECTIONS-CLOSED", LOGF_U("late_headers", more[REASON_HEADERS]),
		  LOGF_U("late_body", more[REASON_BODY]), LOGF_U("full", more[REASON_FULL]), LOGF_U("open", open));
	pthread_mutex_lock(&peers->lock);
}

static void *watch(void *context)
{
	struct http_peers *peers = context;
	pthread_mutex_lock(&peers->lock);
	while (!peers->stop) {
		const int64_t now = env_monotonic_ms(env_system());
		shut_late(peers, now);
		shut_oldest(peers, now);
		tell(peers, now);
		const struct timespec until = sync_deadline(peers->count > peers->config.count_max ? FULL_MS : TICK_MS);
		if (!peers->stop)
			pthread_cond_timedwait(&peers->wake, &peers->lock, &until);
	}
	pthread_mutex_unlock(&peers->lock);
	return NULL;
}

/* ---- */

static void peers_free(struct http_peers *peers)
{
	pthread_cond_destroy(&peers->wake);
	sync_fini(&peers->lock, &peers->changed);
	free(peers);
}

int http_peers_new(const struct http_peers_config *config, struct http_peers **out, struct err *e)
{
	struct http_peers *peers = fault_calloc(1, sizeof *peers);
	int rc = peers != NULL ? sync_init(&peers->lock, &peers->changed) : ERR_NOMEM;
	if (rc == 0 && (rc = sync_cond_init(&peers->wake)) != 0)
		sync_fini(&peers->lock, &peers->changed);
	if (rc != 0) {
		free(peers);
		return err_set(e, ERR_NOMEM, "out of memory for the HTTP server's connections");
	}
	peers->config = *config;
	if (pthread_create(&peers->watcher, NULL, watch, peers) != 0) {
		peers_free(peers);
		return err_set(e, ERR_EXTERNAL, "no thread for the HTTP server's connections");
	}
	*out = peers;
	return 0;
}

void http_peers_destroy(struct http_peers **peers)
{
	struct http_peers *p = *peers;
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->watcher, NULL);
	peers_free(p);
	*peers = NULL;
}

struct http_peer *http_peer_add(struct http_peers *peers, int socket)
{
	struct http_peer *peer = fault_calloc(1, sizeof *peer);
	if (peer == NULL)
		return NULL;
	peer->socket = socket;
	pthread_mutex_lock(&peers->lock);
	link_waiting(peers, peer, REASON_HEADERS, peers->config.header_ms);
	if (++peers->count == peers->config.count_max + 1)
		pthread_cond_signal(&peers->wake);
	pthread_mutex_unlock(&peers->lock);
	return peer;
}

void http_peer_remove(struct http_peers *peers, struct http_peer *peer)
{
	if (peer == NULL)
		return;
	pthread_mutex_lock(&peers->lock);
	unlink_peer(peers, peer);
	peers->count -= peer->shut ? 0 : 1;
	pthread_cond_signal(&peers->changed);
	pthread_mutex_unlock(&peers->lock);
	free(peer);
}

void http_peer_body(struct http_peers *peers, struct http_peer *peer)
{
	waits(peers, peer, false, REASON_BODY, peers->config.body_ms);
}

void http_peer_asked(struct http_peers *peers, struct http_peer *peer)
{
	waits(peers, peer, true, REASON_NONE, 0);
}

/* A connection may be idle before its next request; nothing tells when that one's first byte comes. */
void http_peer_answered(struct http_peers *peers, struct http_peer *peer)
{
	const struct http_peers_config *config = &peers->config;
	waits(peers, peer, false, REASON_HEADERS, config->header_ms > 0 ? config->idle_ms + config->header_ms : 0);
}

/* Those that have asked are left alone until they are answered: libmicrohttpd drops the answer that it was just handed
 * when it reads the end of the connection first. 0.9.75 should not be stopped before: a malformed request that it reads
 * while it stops makes it use a response that it does not have. A connection that is just being accepted is not known
 * yet: so long it waits for one. */
void http_peers_end(struct http_peers *peers, int64_t ms)
{
	const struct timespec deadline = sync_deadline(ms);
	pthread_mutex_lock(&peers->lock);
	for (bool end = false; !end;) {
		const bool empty = peers->first == NULL;
		const struct timespec until = empty ? sync_deadline(ACCEPT_MS) : deadline;
		for (struct http_peer *peer = peers->first; peer != NULL; peer = peer->next)
			if (!peer->asked)
				shutdown(peer->socket, SHUT_RD);
		const int rc = pthread_cond_timedwait(&peers->changed, &peers->lock, &until);
		end = rc != 0 && (!empty || peers->first == NULL);
	}
	pthread_mutex_unlock(&peers->lock);
}

void http_peers_print(struct http_peers *peers, struct buf *out)
{
	metrics_head(out, "amend_http_connections_closed_total", "counter",
		     "Connections closed before their request was whole: it took too long, or there were too many.");
	pthread_mutex_lock(&peers->lock);
	for (size_t i = REASON_NONE + 1; i < REASON_COUNT; i++)
		buf_printf(out, "amend_http_connections_closed_total{reason=\"%s\"} %" PRIu64 "\n", reasons[i],
			   peers->closed[i]);
	pthread_mutex_unlock(&peers->lock);
}
