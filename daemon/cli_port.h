/* cli_port.h: the addresses that `amend up` starts its programs with. "*" (ZeroMQ's word for any) and port 0 become a
 * free one, so that every program can be told the same number. */
#ifndef AMEND_DAEMON_CLI_PORT_H
#define AMEND_DAEMON_CLI_PORT_H

#include "base/env.h"

#define CLI_PORTS_MAX 8

struct cli_ports { /* of one cluster: chosen already */
	unsigned chosen[CLI_PORTS_MAX];
	const char *settings[CLI_PORTS_MAX]; /* that they are of */
	size_t count;
};
/* `text` is HOST:PORT behind `scheme` ("tcp://" or ""), HOST an IPv4 address of this machine; the same with a number
 * that nobody listens on goes to `out`. `setting` is named in errors: ERR_INVALID (no address, or
 * the port of another setting), ERR_BUSY (in use). It stays the caller's, and must outlive `ports`. */
int cli_port_resolve(struct cli_ports *ports, const struct env *env, const char *scheme, const char *text,
		     const char *setting, char *out, size_t out_bytes, struct err *e) MUST_CHECK;

#endif
