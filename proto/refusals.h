/* refusals.h: inside proto/ only. Which keys were refused, and of which it is told again. A refused peer tries for
 * ever, every two seconds or so: its first refusals are logged, then ever fewer. Not thread-safe. */
#ifndef AMEND_PROTO_REFUSALS_H
#define AMEND_PROTO_REFUSALS_H

#include "proto/keys.h"
#include "proto/msg.h"

/* Remembered; of more the one whose turn is longest past is forgotten. */
#define PROTO__REFUSALS_KEYS   MSG_REFUSED_KEYS_MAX
#define PROTO__REFUSALS_MIN_MS 1000   /* pause after the first; it doubles with every line, */
#define PROTO__REFUSALS_MAX_MS 600000 /* up to this */

struct proto__refusals {
	struct proto__refusal {
		uint8_t key[PROTO_KEY_BYTES];
		int64_t pause_ms, next_ms; /* 0: nobody's */
		int64_t at_ms;             /* refused last, told of or not */
	} of[PROTO__REFUSALS_KEYS];
};
/* Whether this refusal of the key is worth a line. All zeros is an empty table. */
bool proto__refusals_take(struct proto__refusals *refusals, const uint8_t key[PROTO_KEY_BYTES], int64_t now_ms);
/* The last first; returns how many. */
size_t proto__refusals_list(const struct proto__refusals *refusals, int64_t now_ms,
			    struct msg_refused_key out[PROTO__REFUSALS_KEYS]);

#endif
