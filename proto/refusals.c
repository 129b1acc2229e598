#include "proto/refusals.h"

#include <stdlib.h>
#include <string.h>

bool proto__refusals_take(struct proto__refusals *refusals, const uint8_t key[PROTO_KEY_BYTES], int64_t now_ms)
{
	size_t at = 0;
	for (size_t i = 0; i < PROTO__REFUSALS_KEYS; i++) {
		if (refusals->of[i].pause_ms > 0 && memcmp(refusals->of[i].key, key, PROTO_KEY_BYTES) == 0) {
			refusals->of[i].at_ms = now_ms;
			if (now_ms < refusals->of[i].next_ms)
				return false;
			const int64_t twice = 2 * refusals->of[i].pause_ms;
			refusals->of[i].pause_ms = twice < PROTO__REFUSALS_MAX_MS ? twice : PROTO__REFUSALS_MAX_MS;
			refusals->of[i].next_ms = now_ms + refusals->of[i].pause_ms;
			return true;
		}
		if (refusals->of[i].next_ms < refusals->of[at].next_ms)
			at = i;
	}
	memcpy(refusals->of[at].key, key, PROTO_KEY_BYTES);
	refusals->of[at].pause_ms = PROTO__REFUSALS_MIN_MS;
	refusals->of[at].next_ms = now_ms + PROTO__REFUSALS_MIN_MS;
	refusals->of[at].at_ms = now_ms;
	return true;
}

static int by_age(const void *a, const void *b)
{
	const struct msg_refused_key *x = a, *y = b;
	return (x->ms_ago > y->ms_ago) - (x->ms_ago < y->ms_ago);
}

size_t proto__refusals_list(const struct proto__refusals *refusals, int64_t now_ms,
			    struct msg_refused_key out[PROTO__REFUSALS_KEYS])
{
	size_t count = 0;
	for (size_t i = 0; i < PROTO__REFUSALS_KEYS; i++) {
		if (refusals->of[i].pause_ms == 0)
			continue;
		memcpy(out[count].key, refusals->of[i].key, PROTO_KEY_BYTES);
		out[count++].ms_ago = now_ms - refusals->of[i].at_ms;
	}
	qsort(out, count, sizeof(*out), by_age);
	return count;
}
