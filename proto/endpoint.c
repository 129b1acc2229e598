/* endpoint.c: addresses as people write them. */
#include "proto/transport_zmq_internal.h"

#include <stdlib.h>
#include <string.h>

/* libzmq takes "99999" and binds another port. */
static bool port_valid(const char *port, bool wildcard)
{
	char *end;
	if (wildcard && strcmp(port, "*") == 0)
		return true;
	if (port[0] < '0' || port[0] > '9')
		return false;
	unsigned long n = strtoul(port, &end, 10);
	return *end == '\0' && n >= 1 && n <= 65535;
}

/* inproc:// and ipc:// would do without CURVE or without addresses: one kind of network is enough. */
int proto__endpoint_check(const char *endpoint, bool wildcard, struct err *e)
{
	const char *colon = strrchr(endpoint, ':');
	if (strncmp(endpoint, "tcp://", 6) == 0 && strlen(endpoint) < PROTO__ENDPOINT_BYTES && colon > endpoint + 6 &&
	    port_valid(colon + 1, wildcard))
		return 0;
	return err_set(e, ERR_INVALID, "endpoint '%.200s': expected tcp://%s:PORT with a port from 1 to 65535%s",
		       endpoint, wildcard ? "ADDRESS" : "HOST", wildcard ? ", or *" : "");
}

uint16_t proto__endpoint_port(const char *endpoint)
{
	const char *colon = strrchr(endpoint, ':');
	return colon != NULL && port_valid(colon + 1, false) ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
}
