/* http.c: see http.h. The only file that knows libmicrohttpd. An exchange whose answer is not there when the handler
 * returns is suspended; http_reply resumes it, and libmicrohttpd then asks for the answer on its own thread. */
#include "daemon/http.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/sync.h"
#include "daemon/http_peers.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_BYTES_MAX (32 * 1024) /* request line and headers of one connection */
#define VALUE_BYTES_MAX  256
#define FLUSH_MS         2000

struct http_server {
	struct MHD_Daemon *daemon;
	http_handler *handler;
	void *context;
	size_t body_bytes_max, bodies_bytes_max;
	atomic_size_t bodies_bytes; /* held now */
	int fd;                     /* that listens; the daemon's, until it is drained */
	char address[HTTP_ADDRESS_BYTES];
	atomic_bool draining;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* what follows, all under the lock */
	bool closing;
	size_t open;              /* exchanges that wait for their answer */
	struct http_peers *peers; /* the connections */
};

struct header {
	char name[64], value[VALUE_BYTES_MAX];
};

struct http_exchange {
	struct http_server *server;
	struct MHD_Connection *connection;
	struct http_peer *peer; /* NULL: its connection is not known */
	int socket;
	char *method, *path;
	struct buf body;
	size_t received;               /* of the body, kept or not */
	const struct refusal *refused; /* instead of asking the handler; NULL: not refused */
	bool began;                    /* the handler has it */
	pthread_mutex_t lock;          /* of the two below: the handler's thread and the one that replies may meet */
	bool replied, suspended;
	int status;
	const char *content_type;
	struct buf answer;
	struct header headers[HTTP_HEADERS_MAX];
	size_t header_count;
};

/* ---- The listening socket: made here, so that a busy port has a clear error. */

static int listen_parse(const char *listen_text, char host[HTTP_ADDRESS_BYTES], char port[8], struct err *e)
{
	const char *colon = strrchr(listen_text, ':');
	size_t host_len = colon == NULL ? 0 : (size_t)(colon - listen_text);
	const char *from = listen_text;
	if (colon == NULL || colon[1] == '\0' || strlen(colon + 1) > 5 || host_len >= HTTP_ADDRESS_BYTES - 16 ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > 65535)
		return err_set(e, ERR_INVALID,
			       "cannot listen on \"%s\": give host:port, such as 127.0.0.1:7480 (port 0 takes a free "
			       "one)",
			       listen_text);
	if (host_len >= 2 && from[0] == '[' && from[host_len - 1] == ']') {
		from++;
		host_len -= 2;
	}
	memcpy(host, from, host_len);
	host[host_len] = '\0';
	strcpy(port, colon + 1);
	return 0;
}

static int socket_bind(const struct addrinfo *address, const char *listen_text, int *out, struct err *e)
{
	int one = 1;
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, ERR_IO, errno, "cannot make a socket for %s", listen_text);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, 511) == 0) {
		*out = fd;
		return 0;
	}
	int rc = errno;
	close(fd);
	if (rc == EADDRINUSE)
		return err_set(e, ERR_BUSY,
			       "cannot listen on %s: the port is in use by another program; stop that one, or choose "
			       "another port",
			       listen_text);
	if (rc == EACCES)
		return err_set(
			e, ERR_DENIED,
			"cannot listen on %s: not allowed; ports below 1024 need privileges, choose a higher one",
			listen_text);
	return err_errno(e, ERR_IO, rc, "cannot listen on %s; give an address of this machine", listen_text);
}

static int address_format(int fd, char out[HTTP_ADDRESS_BYTES], struct err *e)
{
	struct sockaddr_storage bound;
	socklen_t len = sizeof bound;
	char host[NI_MAXHOST], port[NI_MAXSERV];
	if (getsockname(fd, (struct sockaddr *)&bound, &len) != 0 ||
	    getnameinfo((struct sockaddr *)&bound, len, host, sizeof host, port, sizeof port,
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return err_set(e, ERR_IO, "cannot tell which address was bound");
	snprintf(out, HTTP_ADDRESS_BYTES, strchr(host, ':') != NULL ? "[%.100s]:%s" : "%.100s:%s", host, port);
	return 0;
}

static int listen_open(struct http_server *server, const char *listen_text, struct err *e)
{
	char host[HTTP_ADDRESS_BYTES], port[8];
	int rc = listen_parse(listen_text, host, port, e);
	if (rc != 0)
		return rc;
	struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
	struct addrinfo *found = NULL;
	rc = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found);
	if (rc != 0)
		return err_set(e, ERR_INVALID, "cannot listen on %s: %s", listen_text, gai_strerror(rc));
	rc = socket_bind(found, listen_text, &server->fd, e);
	freeaddrinfo(found);
	return rc == 0 ? address_format(server->fd, server->address, e) : rc;
}

/* ---- Exchanges */

/* Answers of the server itself. */
struct refusal {
	unsigned status;
	bool retry;    /* soon */
	bool unending; /* where the request ends is not known, so neither where the next one begins */
	const char *text;
};
static const struct refusal too_large = {
	MHD_HTTP_CONTENT_TOO_LARGE, false, false,
	"{\"error\":{\"message\":\"the body is over the size limit of this server: send less at once\","
	"\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"request_too_large\"}}\n"
};
static const struct refusal overloaded = {
	MHD_HTTP_SERVICE_UNAVAILABLE, true, false,
	"{\"error\":{\"message\":\"this server holds as many bytes of requests as it may: try again\","
	"\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}\n"
};
static const struct refusal two_lengths = {
	MHD_HTTP_BAD_REQUEST, false, true,
	"{\"error\":{\"message\":\"the request has two Content-Length headers that differ, or one besides chunks\","
	"\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_length\"}}\n"
};
static const struct refusal stopping = {
	MHD_HTTP_SERVICE_UNAVAILABLE, true, false,
	"{\"error\":{\"message\":\"this server is stopping: try again\",\"type\":\"server_error\","
	"\"param\":null,\"code\":\"overloaded\"}}\n"
};
static const struct refusal out_of_memory = {
	MHD_HTTP_INTERNAL_SERVER_ERROR, true, false,
	"{\"error\":{\"message\":\"this server is out of memory: try again\",\"type\":\"server_error\","
	"\"param\":null,\"code\":\"out_of_memory\"}}\n"
};

static void body_free(struct http_exchange *x)
{
	atomic_fetch_sub(&x->server->bodies_bytes, x->body.len);
	buf_free(&x->body);
}

static void exchange_free(struct http_exchange *x)
{
	free(x->method);
	free(x->path);
	body_free(x);
	buf_free(&x->answer);
	pthread_mutex_destroy(&x->lock);
	free(x);
}

static struct http_exchange *exchange_new(struct http_server *server, struct MHD_Connection *connection,
					  const char *method, const char *path)
{
	struct http_exchange *x = fault_calloc(1, sizeof *x);
	if (x == NULL)
		return NULL;
	pthread_mutex_init(&x->lock, NULL);
	x->server = server;
	x->connection = connection;
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	x->socket = info != NULL ? info->connect_fd : -1;
	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	x->peer = info != NULL ? info->socket_context : NULL;
	x->method = strdup(method);
	x->path = strdup(path);
	if (x->method == NULL || x->path == NULL) {
		exchange_free(x);
		return NULL;
	}
	return x;
}

const char *http_method(const struct http_exchange *x)
{
	return x->method;
}

bool http_method_is(const struct http_exchange *x, const char *method)
{
	return strcmp(x->method, method) == 0 || (strcmp(method, "GET") == 0 && strcmp(x->method, "HEAD") == 0);
}

const char *http_path(const struct http_exchange *x)
{
	return x->path;
}

const char *http_request_header(const struct http_exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

const char *http_body(const struct http_exchange *x, size_t *len)
{
	*len = x->body.len;
	return x->body.len > 0 ? (const char *)x->body.data : "";
}

bool http_gone(const struct http_exchange *x)
{
	struct pollfd p = { .fd = x->socket, .events = POLLRDHUP };
	return x->socket >= 0 && poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void http_header_set(struct http_exchange *x, const char *name, const char *format, ...)
{
	if (x->header_count == HTTP_HEADERS_MAX)
		return;
	struct header *header = &x->headers[x->header_count++];
	va_list args;
	va_start(args, format);
	vsnprintf(header->value, sizeof header->value, format, args);
	va_end(args);
	for (char *c = header->value; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '\0';
	snprintf(header->name, sizeof header->name, "%s", name);
}

void http_reply(struct http_exchange *x, int status, const char *content_type, struct buf *body)
{
	struct http_server *server = x->server;
	bool failed = body != NULL && buf_failed(body);
	if (failed)
		buf_free(body);
	pthread_mutex_lock(&x->lock);
	if (failed)
		x->refused = &out_of_memory;
	x->status = status;
	x->content_type = content_type;
	if (body != NULL) {
		x->answer = *body;
		*body = (struct buf)BUF_INIT;
	}
	x->replied = true;
	bool suspended = x->suspended;
	struct MHD_Connection *connection = x->connection;
	if (suspended)
		MHD_resume_connection(connection);
	/* Under the lock: libmicrohttpd frees the exchange only after answer() has taken the lock once more. */
	pthread_mutex_lock(&server->lock);
	server->open--;
	pthread_cond_signal(&server->changed);
	pthread_mutex_unlock(&server->lock);
	pthread_mutex_unlock(&x->lock);
}

static enum MHD_Result close_announced(const struct http_exchange *x, struct MHD_Response *response)
{
	return atomic_load(&x->server->draining)
		       ? MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close")
		       : MHD_YES;
}

static enum MHD_Result answer_refusal(struct http_exchange *x, const struct refusal *refusal)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		strlen(refusal->text), (void *)(uintptr_t)refusal->text, MHD_RESPMEM_PERSISTENT);
	if (response == NULL)
		return MHD_NO;
	enum MHD_Result rc = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	if (rc == MHD_YES && refusal->retry)
		rc = MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
	if (rc == MHD_YES)
		rc = refusal->unending ? MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close")
				       : close_announced(x, response);
	if (rc == MHD_YES)
		rc = MHD_queue_response(x->connection, refusal->status, response);
	MHD_destroy_response(response);
	return rc;
}

/* On libmicrohttpd's thread, when the answer is there. */
static enum MHD_Result answer(struct http_exchange *x)
{
	pthread_mutex_lock(&x->lock);
	struct buf body = x->answer;
	const struct refusal *refused = x->refused;
	x->answer = (struct buf)BUF_INIT;
	pthread_mutex_unlock(&x->lock);
	if (refused != NULL)
		return answer_refusal(x, refused);
	struct MHD_Response *response =
		MHD_create_response_from_buffer(body.len, body.len > 0 ? (void *)body.data : (void *)"",
						body.len > 0 ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
	if (response == NULL || body.len == 0)
		buf_free(&body);
	if (response == NULL)
		return MHD_NO;
	enum MHD_Result rc = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, x->content_type);
	for (size_t i = 0; i < x->header_count && rc == MHD_YES; i++)
		rc = MHD_add_response_header(response, x->headers[i].name, x->headers[i].value);
	if (rc == MHD_YES)
		rc = close_announced(x, response);
	if (rc == MHD_YES)
		rc = MHD_queue_response(x->connection, (unsigned)x->status, response);
	MHD_destroy_response(response);
	return rc;
}

struct lengths {
	const char *first;
	bool differ;
};

static enum MHD_Result length_compare(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct lengths *lengths = context;
	(void)kind;
	if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) != 0)
		return MHD_YES;
	if (lengths->first == NULL)
		lengths->first = value;
	else
		lengths->differ |= value == NULL || strcmp(lengths->first, value) != 0;
	return MHD_YES;
}

/* libmicrohttpd takes the first length, and chunks before any; a proxy before it may take another, and then they do not
 * agree where the next request begins (RFC 9112, 6.3). */
static bool lengths_differ(const struct http_exchange *x)
{
	struct lengths lengths = { 0 };
	MHD_get_connection_values(x->connection, MHD_HEADER_KIND, length_compare, &lengths);
	return lengths.differ ||
	       (lengths.first != NULL && http_request_header(x, MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL);
}

static bool announced_too_large(const struct http_exchange *x)
{
	const char *length = http_request_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH);
	return length != NULL && strtoull(length, NULL, 10) > x->server->body_bytes_max;
}

/* What is refused is still read, though not kept, so that its sender gets to see why: to twice the limit. */
static enum MHD_Result body_add(struct http_exchange *x, const char *data, size_t *len)
{
	struct http_server *server = x->server;
	size_t bytes = *len, max = server->body_bytes_max;
	*len = 0;
	x->received += bytes;
	if (x->received > 2 * max)
		return MHD_NO;
	if (x->received > max)
		x->refused = &too_large;
	else if (x->refused == NULL && server->bodies_bytes_max != 0 &&
		 atomic_load(&server->bodies_bytes) + bytes > server->bodies_bytes_max)
		x->refused = &overloaded;
	if (x->refused != NULL) {
		body_free(x);
		return MHD_YES;
	}
	buf_append(&x->body, data, bytes);
	if (buf_failed(&x->body))
		return MHD_NO;
	atomic_fetch_add(&server->bodies_bytes, bytes);
	return MHD_YES;
}

static enum MHD_Result begin(struct http_exchange *x)
{
	struct http_server *server = x->server;
	pthread_mutex_lock(&server->lock);
	x->began = !server->closing;
	server->open += x->began ? 1 : 0;
	if (x->began)
		http_peer_asked(server->peers, x->peer);
	pthread_mutex_unlock(&server->lock);
	if (!x->began)
		return answer_refusal(x, &stopping);
	server->handler(server->context, x);
	pthread_mutex_lock(&x->lock);
	bool replied = x->replied;
	if (!replied) {
		MHD_suspend_connection(x->connection);
		x->suspended = true;
	}
	pthread_mutex_unlock(&x->lock);
	return replied ? answer(x) : MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
				  const char *version, const char *data, size_t *data_len, void **state)
{
	struct http_exchange *x = *state;
	(void)version;
	if (x == NULL) {
		x = exchange_new(context, connection, method, url);
		*state = x;
		if (x == NULL)
			return MHD_NO;
		http_peer_body(x->server->peers, x->peer);
		if (lengths_differ(x))
			return answer_refusal(x, &two_lengths);
		return announced_too_large(x) ? answer_refusal(x, &too_large) : MHD_YES;
	}
	if (x->began)
		return answer(x); /* resumed */
	if (*data_len > 0)
		return body_add(x, data, data_len);
	return x->refused != NULL ? answer_refusal(x, x->refused) : begin(x);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode how)
{
	struct http_exchange *x = *state;
	(void)context;
	(void)connection;
	(void)how;
	*state = NULL;
	if (x == NULL)
		return;
	pthread_mutex_lock(&x->lock); /* a reply on another thread may still be leaving */
	pthread_mutex_unlock(&x->lock);
	http_peer_answered(x->server->peers, x->peer);
	exchange_free(x);
}

/* ---- Connections: known, so that their time is bounded and closing the server can end them. One for which there is no
 * memory is served all the same. */

static void on_connection(void *context, struct MHD_Connection *connection, void **state,
			  enum MHD_ConnectionNotificationCode what)
{
	struct http_server *server = context;
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *info =
			MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		*state = info != NULL ? http_peer_add(server->peers, info->connect_fd) : NULL;
	} else {
		http_peer_remove(server->peers, *state);
		*state = NULL;
	}
}

static void on_log(void *context, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void on_log(void *context, const char *format, va_list args)
{
	char text[512];
	(void)context;
	vsnprintf(text, sizeof text, format, args);
	text[strcspn(text, "\n")] = '\0';
	log_event(LOG_DEBUG, "HTTP-LIBRARY", LOGF_S("text", text));
}

void http_metrics_print(const struct http_exchange *exchange, struct buf *out)
{
	http_peers_print(exchange->server->peers, out);
}

/* ---- The server */

static void server_free(struct http_server *server)
{
	if (server->fd >= 0)
		close(server->fd);
	http_peers_destroy(&server->peers);
	sync_fini(&server->lock, &server->changed);
	free(server);
}

/* libmicrohttpd accepts some more than `connections`: then there are too many, and the oldest without a whole request
 * makes room. At its own limit it would not even look at who comes. */
static int daemon_start(struct http_server *server, const struct http_config *config, size_t threads,
			size_t connections, struct err *e)
{
	const size_t spare = connections / 8 > threads ? connections / 8 : threads + 1;
	/* Not epoll: MHD_quiesce_daemon takes the listening socket out of each worker's epoll set while the worker may
	 * be doing so itself, and libmicrohttpd 0.9.75 then ends the process ("Failed to remove listen FD from epoll
	 * set"). ITC: quiescing wakes the workers. */
	unsigned flags = MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_ITC;
	/* clang-format off: one option a line */
	server->daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_log,
		NULL, /* first: it hears of the others */
		MHD_OPTION_LISTEN_SOCKET, server->fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)threads,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)(connections + spare), MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		(unsigned)config->address_connections_max, MHD_OPTION_CONNECTION_TIMEOUT, config->idle_seconds,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES_MAX, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
		NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
	/* clang-format on */
	return server->daemon != NULL ? 0
				      : err_set(e, ERR_EXTERNAL,
						"the HTTP server on %s did not start: too few descriptors or threads?",
						config->listen);
}

int http_server_open(const struct http_config *config, http_handler *handler, void *context, struct http_server **out,
		     struct err *e)
{
	struct http_server *server = fault_calloc(1, sizeof *server);
	if (server == NULL || sync_init(&server->lock, &server->changed) != 0) {
		free(server);
		return err_set(e, ERR_NOMEM, "out of memory for the HTTP server");
	}
	server->fd = -1;
	server->handler = handler;
	server->context = context;
	server->body_bytes_max = config->body_bytes_max;
	server->bodies_bytes_max = config->bodies_bytes_max;
	const size_t threads = config->thread_count > 1 ? config->thread_count : 0;
	const size_t connections = config->connections_max > threads ? config->connections_max
								     : (threads > 0 ? threads : 1);
	const struct http_peers_config peers = { connections, config->header_ms, config->body_ms,
						 (int64_t)config->idle_seconds * 1000 };
	int rc = http_peers_new(&peers, &server->peers, e);
	if (rc == 0)
		rc = listen_open(server, config->listen, e);
	if (rc == 0)
		rc = daemon_start(server, config, threads, connections, e);
	if (rc != 0) {
		server_free(server);
		return rc;
	}
	*out = server;
	return 0;
}

const char *http_server_address(const struct http_server *server)
{
	return server->address;
}

void http_server_drain(struct http_server *server)
{
	if (atomic_exchange(&server->draining, true))
		return;
	server->fd = MHD_quiesce_daemon(server->daemon);
	if (server->fd >= 0) /* refuses; closed later: a worker may just be about to accept from it */
		shutdown(server->fd, SHUT_RDWR);
}

void http_server_close(struct http_server **server)
{
	struct http_server *s = *server;
	if (s == NULL)
		return;
	http_server_drain(s);
	pthread_mutex_lock(&s->lock);
	s->closing = true; /* nothing begins any more */
	while (s->open > 0)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	http_peers_end(s->peers, FLUSH_MS);
	MHD_stop_daemon(s->daemon);
	server_free(s);
	*server = NULL;
}
