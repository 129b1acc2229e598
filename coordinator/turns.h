/* turns.h (inside coordinator/): whose turn it is when the queue of edits is full: shares of it by submitter. */
#ifndef AMEND_COORDINATOR_TURNS_H
#define AMEND_COORDINATOR_TURNS_H

#include "proto/transport.h"

#define TURNS_MAX     64   /* submitters that are remembered; of more, the one that asked longest ago is forgotten */
#define TURNS_WAIT_MS 2000 /* who has not asked again by then waits no more: eight times what it was told to wait */

struct turns {
	struct turn {
		uint8_t key[PROTO_KEY_BYTES];
		uint64_t begin; /* in edits that were taken: of its next Submit */
		int64_t asked_ms;
		bool waits; /* it was refused, and not taken since */
	} list[TURNS_MAX];
	size_t count;
	uint64_t now; /* the latest begin of what was taken */
};

/* Start-time fair queueing (Goyal, Vin, Cheng 1996) of Submits that come again and again: `count` edits of this
 * submitter may be taken now, as there is room for them (`room`) and nobody waits whose turn is before. Whoever is
 * refused waits, and holds its place as long as it goes on asking. */
bool coordinator__turn_take(struct turns *turns, const uint8_t key[PROTO_KEY_BYTES], size_t count, bool room,
			    int64_t now_ms);

#endif
