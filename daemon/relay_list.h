/* relay_list.h: the setting node.relays. */
#ifndef AMEND_DAEMON_RELAY_LIST_H
#define AMEND_DAEMON_RELAY_LIST_H

#include "proto/keys.h"

#define RELAY_LIST_MAX       8
#define RELAY_ENDPOINT_BYTES 256

struct relay_address {
	uint8_t key[PROTO_KEY_BYTES];
	char endpoint[RELAY_ENDPOINT_BYTES];
};
/* "KEY@tcp://HOST:PORT, …" of other nodes than that with the key `own`, each named once; "" names none. Endpoints are
 * checked where they are used. ERR_INVALID, ERR_LIMIT. */
int relay_list_parse(const char *text, const uint8_t own[PROTO_KEY_BYTES], struct relay_address out[RELAY_LIST_MAX],
		     size_t *count, struct err *e) MUST_CHECK;

#endif
