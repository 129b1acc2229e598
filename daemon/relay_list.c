/* relay_list.c: see relay_list.h. */
#include "daemon/relay_list.h"

#include <stdio.h>
#include <string.h>

#define HEX_DIGITS 64

static int address_parse(const char *text, size_t len, struct relay_address *out, struct err *e)
{
	char hex[HEX_DIGITS + 1] = "";
	const char *at = memchr(text, '@', len);
	if (at == text + HEX_DIGITS)
		memcpy(hex, text, HEX_DIGITS);
	if (proto_key_parse(hex, out->key) != 0)
		return err_set(
			e, ERR_INVALID,
			"node.relays: \"%.*s\": expected KEY@tcp://HOST:PORT, KEY being the 64 hex digits of the "
			"`public` line of that node's key file",
			(int)len, text);
	size_t endpoint_len = len - HEX_DIGITS - 1;
	if (endpoint_len >= sizeof out->endpoint)
		return err_set(e, ERR_LIMIT, "node.relays: an endpoint has at most %zu bytes",
			       sizeof out->endpoint - 1);
	memcpy(out->endpoint, at + 1, endpoint_len);
	out->endpoint[endpoint_len] = '\0';
	return 0;
}

static int address_check(const struct relay_address *list, size_t count, const uint8_t own[PROTO_KEY_BYTES],
			 struct err *e)
{
	const struct relay_address *last = &list[count];
	if (memcmp(last->key, own, PROTO_KEY_BYTES) == 0)
		return err_set(e, ERR_INVALID,
			       "node.relays: %s has this node's own key: a node cannot pull from itself",
			       last->endpoint);
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].endpoint, last->endpoint) == 0)
			return err_set(e, ERR_INVALID, "node.relays: %s is named twice", last->endpoint);
	return 0;
}

int relay_list_parse(const char *text, const uint8_t own[PROTO_KEY_BYTES], struct relay_address out[RELAY_LIST_MAX],
		     size_t *count, struct err *e)
{
	*count = 0;
	for (const char *at = text; *(at += strspn(at, ", ")) != '\0';) {
		size_t len = strcspn(at, ", ");
		if (*count == RELAY_LIST_MAX)
			return err_set(e, ERR_LIMIT, "node.relays: at most %d may be named", RELAY_LIST_MAX);
		int rc = address_parse(at, len, &out[*count], e);
		if (rc == 0)
			rc = address_check(out, *count, own, e);
		if (rc != 0)
			return rc;
		at += len;
		(*count)++;
	}
	return 0;
}
