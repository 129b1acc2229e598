/* guard.c: see guard.h. A connection is known by its descriptor and the kernel's cookie, which no other ever gets. */
#include "proto/guard.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/sync.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 131072 /* connections with higher ones are not looked after */
#define LOOK_MS         100    /* between two looks, ... */
#define LOOK_SOON_MS    10     /* ... where much is unread */
#define SOON_BYTES      ((uint64_t)1 << 20)
#define PER_MS          100 /* a thousand connections make the pause 10 ms longer */
#define IDLE_BYTES_S    128 /* heartbeats of ZeroMQ itself, which are no messages */

struct connection {
	uint64_t cookie, unread_from; /* bytes received when the last whole message was read */
	bool ours;
};

struct proto__guard {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop;
	uint16_t ports[2];
	DIR *descriptors;               /* held open: there may be none left for it later */
	struct connection *connections; /* by descriptor; the thread's */
	_Atomic uint8_t *seen;
	int64_t idle_ms; /* when idle bytes were forgiven last */
};

struct look { /* what one look at all connections has found */
	uint64_t unread_all, unread_most;
	uint64_t over_all; /* what connections have above PROTO__UNREAD_FREE */
	int fd_most;
	size_t count;
	uint64_t idle_bytes;
};

static uint16_t port_of(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)address)->sin_port);
	return address->ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)address)->sin6_port) : 0;
}

static bool is_ours(const struct proto__guard *g, int fd)
{
	struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(address);
	int listens = 1;
	socklen_t listens_len = sizeof(listens);
	if (getsockname(fd, (struct sockaddr *)&address, &len) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_len) != 0 || listens)
		return false;
	const uint16_t port = port_of(&address);
	return port != 0 && (port == g->ports[0] || port == g->ports[1]);
}

static bool received_of(int fd, uint64_t *bytes)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
	    len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received))
		return false;
	*bytes = info.tcpi_bytes_received;
	return true;
}

/* The engine of ZeroMQ finds the connection ended, and forgets what came by it. */
static void cut(struct proto__guard *g, int fd, uint64_t unread)
{
	char text[INET6_ADDRSTRLEN] = "?";
	struct sockaddr_storage peer = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(peer);
	uint64_t cookie = 0;
	socklen_t cookie_len = sizeof(cookie);
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &cookie_len) != 0 || cookie != g->connections[fd].cookie)
		return;
	if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
		(void)inet_ntop(peer.ss_family,
				peer.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&peer)->sin_addr
							  : (void *)&((struct sockaddr_in6 *)&peer)->sin6_addr,
				text, sizeof(text));
	(void)shutdown(fd, SHUT_RDWR);
	g->connections[fd].ours = false;
	log_event(LOG_WARN, "PROTO-CONNECTION-CUT", LOGF_S("peer", text), LOGF_U("port", port_of(&peer)),
		  LOGF_U("unread_bytes", unread), LOGF_S("why", "a message without an end"));
}

static void connection_look(struct proto__guard *g, int fd, struct look *look)
{
	struct connection *c = &g->connections[fd];
	uint64_t cookie = 0, received = 0;
	socklen_t len = sizeof(cookie);
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) != 0)
		return; /* no socket */
	if (cookie != c->cookie)
		*c = (struct connection){ .cookie = cookie, .ours = is_ours(g, fd) };
	if (!c->ours || !received_of(fd, &received))
		return;
	if (atomic_exchange(&g->seen[fd], 0) != 0)
		c->unread_from = received;
	c->unread_from += received - c->unread_from < look->idle_bytes ? received - c->unread_from : look->idle_bytes;
	const uint64_t unread = received - c->unread_from;
	look->count++;
	if (unread > PROTO__UNREAD_MAX) {
		cut(g, fd, unread);
		return;
	}
	look->unread_all += unread;
	/* A fleet that uploads while the disk is slow waits with what its credit allows: 2 MiB a worker. */
	look->over_all += unread > PROTO__UNREAD_FREE ? unread - PROTO__UNREAD_FREE : 0;
	if (unread > look->unread_most) {
		look->unread_most = unread;
		look->fd_most = fd;
	}
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Gives the pause until the next look. */
static int64_t look_all(struct proto__guard *g)
{
	struct look look = { .fd_most = -1 };
	const int64_t now = now_ms();
	if (now - g->idle_ms >= 1000) {
		look.idle_bytes = (uint64_t)(now - g->idle_ms) * IDLE_BYTES_S / 1000;
		g->idle_ms = now;
	}
	rewinddir(g->descriptors);
	for (struct dirent *entry; (entry = readdir(g->descriptors)) != NULL;) {
		char *end;
		const long fd = strtol(entry->d_name, &end, 10);
		if (end != entry->d_name && *end == '\0' && fd < DESCRIPTORS_MAX)
			connection_look(g, (int)fd, &look);
	}
	if (look.over_all > PROTO__UNREAD_ALL_MAX && look.fd_most >= 0)
		cut(g, look.fd_most, look.unread_most);
	return look.unread_all > SOON_BYTES ? LOOK_SOON_MS : LOOK_MS + (int64_t)(look.count / PER_MS);
}

static void *run(void *context)
{
	struct proto__guard *g = context;
	pthread_mutex_lock(&g->lock);
	while (!g->stop) {
		pthread_mutex_unlock(&g->lock);
		const struct timespec until = sync_deadline(look_all(g));
		pthread_mutex_lock(&g->lock);
		if (!g->stop)
			(void)pthread_cond_timedwait(&g->changed, &g->lock, &until);
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

static void guard_free(struct proto__guard *g)
{
	sync_fini(&g->lock, &g->changed);
	if (g->descriptors != NULL)
		closedir(g->descriptors);
	free(g->connections);
	free((void *)g->seen);
	free(g);
}

static int guard_fill(struct proto__guard *g, struct err *e)
{
	g->connections = fault_calloc(DESCRIPTORS_MAX, sizeof(*g->connections));
	g->seen = fault_calloc(DESCRIPTORS_MAX, sizeof(*g->seen));
	if (g->connections == NULL || g->seen == NULL)
		return err_set(e, ERR_NOMEM, "watching connections: out of memory");
	g->descriptors = opendir("/proc/self/fd");
	return g->descriptors != NULL ? 0 : err_errno(e, ERR_IO, errno, "watching connections: /proc/self/fd");
}

/* Linux from 4.12 on tells all that is asked here; some that stand in for one do not. */
static void kernel_try(void)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0, received;
	socklen_t len = sizeof(cookie);
	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) != 0 || !received_of(fd, &received))
		log_event(LOG_WARN, "PROTO-CONNECTIONS-UNWATCHED",
			  LOGF_S("why", "this kernel does not tell what came on a connection: set a memory limit"));
	close(fd);
}

int proto__guard_start(const uint16_t ports[2], struct proto__guard **out, struct err *e)
{
	struct proto__guard *g = fault_calloc(1, sizeof(*g));
	if (g == NULL || sync_init(&g->lock, &g->changed) != 0) {
		free(g);
		return err_set(e, ERR_NOMEM, "watching connections: out of memory");
	}
	memcpy(g->ports, ports, sizeof(g->ports));
	g->idle_ms = now_ms();
	kernel_try();
	int rc = guard_fill(g, e);
	int errnum = rc == 0 ? pthread_create(&g->thread, NULL, run, g) : 0;
	if (errnum != 0)
		rc = err_errno(e, ERR_EXTERNAL, errnum, "watching connections: thread");
	if (rc != 0)
		guard_free(g);
	else
		*out = g;
	return rc;
}

void proto__guard_stop(struct proto__guard **guard)
{
	struct proto__guard *g = *guard;
	*guard = NULL;
	if (g == NULL)
		return;
	pthread_mutex_lock(&g->lock);
	g->stop = true;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
	pthread_join(g->thread, NULL);
	guard_free(g);
}

void proto__guard_seen(struct proto__guard *guard, int fd)
{
	if (guard != NULL && fd >= 0 && fd < DESCRIPTORS_MAX)
		atomic_store(&guard->seen[fd], 1);
}
