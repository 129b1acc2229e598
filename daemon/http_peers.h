/* http_peers.h: the connections of an HTTP server, so that their time is bounded and closing the server can end them. A
 * thread of its own shuts down those whose request takes too long to come, and, when there are more than the server
 * means to hold, those that have waited longest without a whole request. Any thread may call. */
#ifndef AMEND_DAEMON_HTTP_PEERS_H
#define AMEND_DAEMON_HTTP_PEERS_H

#include "base/buf.h"

struct http_peers;
struct http_peer;

struct http_peers_config {
	size_t count_max;           /* of connections; above it the oldest without a whole request is shut down */
	int64_t header_ms, body_ms; /* for a request's headers, and then for its body; 0: no bound */
	int64_t idle_ms; /* that a connection may wait for its next request, whose headers have header_ms on top */
};

/* ERR_NOMEM; ERR_EXTERNAL: no thread. */
int http_peers_new(const struct http_peers_config *config, struct http_peers **out, struct err *e) MUST_CHECK;
/* Every peer must be gone, or never be used again. */
void http_peers_destroy(struct http_peers **peers);

/* A connection was accepted; the socket stays its owner's, open until http_peer_remove. NULL: out of memory. */
struct http_peer *http_peer_add(struct http_peers *peers, int socket);
/* What follows takes a NULL peer, and does nothing then. */
void http_peer_remove(struct http_peers *peers, struct http_peer *peer);
void http_peer_body(struct http_peers *peers, struct http_peer *peer);     /* its headers are there */
void http_peer_asked(struct http_peers *peers, struct http_peer *peer);    /* its request is whole: it is left alone */
void http_peer_answered(struct http_peers *peers, struct http_peer *peer); /* it waits for its next request */

/* Shuts down the reading side of every connection that has not asked, again and again until none is left, at most
 * `ms`. */
void http_peers_end(struct http_peers *peers, int64_t ms);
/* amend_http_connections_closed_total by reason, as Prometheus text. */
void http_peers_print(struct http_peers *peers, struct buf *out);

#endif
