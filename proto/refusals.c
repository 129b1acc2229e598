#include "proto/refusals.h"

#include <stdlib.h>
#include <string.h>

bool proto__refusals_take(struct proto__refusals *refusals, const uint8_t key[PROTO_KEY_BYTES], int64_t now_ms)
{
	struct proto__refusal *stale = refusals->of;
	for (size_t i = 0; i < PROTO__REFUSALS_KEYS; i++) {
		struct proto__refusal *known = &refusals->of[i];
		if (known->pause_ms > 0 && memcmp(known->key, key, PROTO_KEY_BYTES) == 0) {
			known->at_ms = now_ms;
			if (now_ms < known->next_ms)
				return false;
			const int64_t twice = 2 * known->pause_ms;
			known->pause_ms = twice < PROTO__REFUSALS_MAX_MS ? twice : PROTO__REFUSALS_MAX_MS;
			known->next_ms = now_ms + known->pause_ms;
			return true;
		}
		if (known->next_ms < stale->next_ms)
			stale = known;
	}
	*stale = (struct proto__refusal){ .pause_ms = PROTO__REFUSALS_MIN_MS,
					  .next_ms = now_ms + PROTO__REFUSALS_MIN_MS,
					  .at_ms = now_ms };
	memcpy(stale->key, key, PROTO_KEY_BYTES);
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
		const struct proto__refusal *known = &refusals->of[i];
		if (known->pause_ms == 0)
			continue;
		memcpy(out[count].key, known->key, PROTO_KEY_BYTES);
		out[count++].ms_ago = now_ms - known->at_ms;
	}
	qsort(out, count, sizeof(*out), by_age);
	return count;
}
