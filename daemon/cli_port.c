#include "daemon/cli_port.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT_FIRST 20000
#define PORT_SPAN  12000
#define PORT_TRIES 64

static int listen_failed(const char *host, unsigned port, int errnum, struct err *e)
{
	switch (errnum) {
	case EADDRINUSE:
		return err_set(e, ERR_BUSY,
			       "port %u on %s is in use by another program; stop that one, or choose another port",
			       port, host);
	case EADDRNOTAVAIL:
		return err_set(e, ERR_INVALID,
			       "cannot listen on %s:%u: no interface of this machine has that address; give one that "
			       "it has, such as 127.0.0.1",
			       host, port);
	case EACCES:
		return err_set(e, ERR_DENIED, "cannot listen on %s:%u: this user may not; choose a port from 1024 on",
			       host, port);
	default:
		return err_errno(e, ERR_IO, errnum, "cannot listen on %s:%u; choose another address", host, port);
	}
}

static int port_probe(const char *host, unsigned port, unsigned *got, struct err *e)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	socklen_t len = sizeof address;
	int one = 1;
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		return err_set(e, ERR_INVALID,
			       "%s: `amend up` needs an IPv4 address of this machine, such as 127.0.0.1", host);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, ERR_IO, errno, "cannot make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	int rc = 0;
	if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 1) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		rc = listen_failed(host, port, errno, e);
	*got = ntohs(address.sin_port);
	close(fd);
	return rc;
}

/* A free port for "*", below those that systems hand out to connections (from 32768 on): a port of that range may be
 * taken by any connection, or by a peer's own tries to reconnect, while the program that listened there starts again.
 */
static int port_choose(const struct cli_ports *ports, const struct env *env, const char *host, unsigned *got,
		       struct err *e)
{
	for (int tries = 0; tries < PORT_TRIES; tries++) {
		struct err busy = ERR_INIT;
		unsigned port = PORT_FIRST + (unsigned)(env_random_u64(env) % PORT_SPAN);
		bool taken = false;
		for (size_t i = 0; i < ports->count; i++)
			taken = taken || ports->chosen[i] == port;
		if (!taken && port_probe(host, port, got, &busy) == 0)
			return 0;
	}
	return port_probe(host, 0, got, e);
}

/* A probe leaves the port free: two settings of one cluster may both find it so. */
static int port_take(const struct cli_ports *ports, const struct env *env, const char *host, unsigned port,
		     unsigned *got, struct err *e)
{
	if (port == 0)
		return port_choose(ports, env, host, got, e);
	for (size_t i = 0; i < ports->count; i++)
		if (ports->chosen[i] == port)
			return err_set(e, ERR_INVALID, "port %u is that of %s; give each one of its own", port,
				       ports->settings[i]);
	return port_probe(host, port, got, e);
}

int cli_port_resolve(struct cli_ports *ports, const struct env *env, const char *scheme, const char *text,
		     const char *setting, char *out, size_t out_bytes, struct err *e)
{
	char host[64];
	unsigned long port;
	unsigned got = 0;
	const bool with_scheme = strncmp(text, scheme, strlen(scheme)) == 0;
	const char *rest = with_scheme ? text + strlen(scheme) : text;
	const char *colon = strrchr(rest, ':');
	assert(ports->count < CLI_PORTS_MAX);
	if (!with_scheme || colon == NULL || colon == rest || (size_t)(colon - rest) >= sizeof host)
		return err_set(e, ERR_INVALID, "%s: \"%s\" is not %sHOST:PORT, such as %s127.0.0.1:7400", setting, text,
			       scheme, scheme);
	snprintf(host, sizeof host, "%.*s", (int)(colon - rest), rest);
	const bool any = strcmp(colon + 1, "*") == 0;
	port = any ? 0 : strtoul(colon + 1, NULL, 10);
	if (port > 65535 || (!any && (colon[1] == '\0' || colon[1 + strspn(colon + 1, "0123456789")] != '\0')))
		return err_set(e, ERR_INVALID, "%s: \"%s\" has no port from 0 to 65535", setting, text);
	int rc = port_take(ports, env, host, (unsigned)port, &got, e);
	if (rc != 0) {
		err_wrap(e, "%s", setting);
		return rc;
	}
	ports->settings[ports->count] = setting;
	ports->chosen[ports->count++] = got;
	snprintf(out, out_bytes, "%s%s:%u", scheme, host, got);
	return 0;
}
