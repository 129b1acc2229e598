#include "proto/refusals.h"

#include <string.h>

bool proto__refusals_take(struct proto__refusals *refusals, const uint8_t key[PROTO_KEY_BYTES], int64_t now_ms)
{
	size_t at = 0;
	for (size_t i = 0; i < PROTO__REFUSALS_KEYS; i++) {
		if (refusals->of[i].pause_ms > 0 && memcmp(refusals->of[i].key, key, PROTO_KEY_BYTES) == 0) {
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
	return true;
}
