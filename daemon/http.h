/* http.h: an HTTP/1.1 server with bounds: connections, body size, the time that a request takes to come, idle time.
 * Implemented in http.c, the one file that includes microhttpd.h.
 *
 * A request becomes an exchange, given to the handler on one of the server's threads once its body is complete. Every
 * exchange is answered exactly once by http_reply, at once or later, from any thread; after that call the exchange is
 * gone. Until then its texts stay valid. The handler must not block: other connections share its thread. */
#ifndef AMEND_DAEMON_HTTP_H
#define AMEND_DAEMON_HTTP_H

#include "base/buf.h"

#define HTTP_ADDRESS_BYTES 128
#define HTTP_HEADERS_MAX   8

struct http_server;
struct http_exchange;

struct http_config {
	const char *listen;      /* "host:port", "[::1]:port", ":port" (all addresses); port 0 takes a free one */
	size_t body_bytes_max;   /* a longer body is answered 413 */
	size_t connections_max;  /* above it the oldest without a whole request, half a second old, is closed */
	size_t thread_count;     /* ≥ 1 */
	unsigned idle_seconds;   /* a connection without traffic is closed; does not run while an answer is awaited */
	size_t bodies_bytes_max; /* of all requests at once; a body above it is answered 503; 0: no such limit */
	int64_t header_ms; /* from the connection, or from the end of its idle time, to a request's whole headers */
	int64_t body_ms;   /* from there to its whole body; one that is late is closed; 0 of either: no limit */
	size_t address_connections_max; /* of one client's address; more are closed at once; 0: no such limit */
};
typedef void http_handler(void *context, struct http_exchange *exchange);

/* Serves from the moment it returns. ERR_BUSY: the port is taken (says which and what to do); ERR_INVALID: no
 * host:port. */
int http_server_open(const struct http_config *config, http_handler *handler, void *context, struct http_server **out,
		     struct err *e) MUST_CHECK;
/* host:port that is really bound. */
const char *http_server_address(const struct http_server *server);
/* No new connections; those that stand are served on, and closed after their next answer. Idempotent. */
void http_server_drain(struct http_server *server);
/* Every exchange must have been answered before; does not return while one waits. */
void http_server_close(struct http_server **server);

const char *http_method(const struct http_exchange *exchange); /* "GET" */
/* HEAD counts as GET too: what the handler answers then goes without its body. */
bool http_method_is(const struct http_exchange *exchange, const char *method);
const char *http_path(const struct http_exchange *exchange); /* decoded, without the query */
const char *http_request_header(const struct http_exchange *exchange,
				const char *name);                        /* NULL when absent; valid until the reply */
const char *http_body(const struct http_exchange *exchange, size_t *len); /* "" when empty */
/* True when the client closed its connection: nobody waits for the answer. One that only shut down its writing side
 * counts too: over TCP the two look alike until something is sent. Any thread. */
bool http_gone(const struct http_exchange *exchange);
/* Adds a header to the answer; control characters end the value. More than HTTP_HEADERS_MAX are dropped. */
void http_header_set(struct http_exchange *exchange, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Answers, and takes the body's bytes (frees `body` to BUF_INIT; NULL: none). A failed body becomes status 500 with an
 * error object that says out_of_memory. */
void http_reply(struct http_exchange *exchange, int status, const char *content_type, struct buf *body);
/* Counters of the connections of the exchange's server, as Prometheus text. */
void http_metrics_print(const struct http_exchange *exchange, struct buf *out);

#endif
