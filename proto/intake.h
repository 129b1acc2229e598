/* intake.h: inside proto/ only. What every transport does with the bytes that arrive: rights first, then decoding; what
 * is refused is counted and logged, at most a few lines in ten seconds. */
#ifndef AMEND_PROTO_INTAKE_H
#define AMEND_PROTO_INTAKE_H

#include "proto/transport.h"

#define PROTO__FRAMES_MAX 2  /* head and bulk */
#define PROTO__DROPS_MAX  64 /* dropped in one recv before the loop gets its turn */

struct proto__rate {
	int64_t since_ms;
	unsigned taken;
	uint64_t suppressed;
};
/* May a line be logged now? *suppressed: how many were not, since the last that was. */
bool proto__rate_take(struct proto__rate *rate, int64_t now_ms, uint64_t *suppressed);

struct proto__intake {
	const struct env *env;
	struct proto_counts *counts;
	struct proto__rate rate;
};
struct proto__parcel {
	const void *head, *bulk;
	size_t head_len, bulk_len, frame_count;
	const uint8_t *key; /* of the peer; NULL: none was proven */
	unsigned roles;
	uint64_t route;
};
/* A message to a server. Another code than 0: dropped; where denial->type is not 0 then, it is ready to be sent (its
 * text is constant): the roles do not allow the message, or it is of another version. */
int proto__intake_server(struct proto__intake *in, const struct proto__parcel *parcel, struct msg_received **out,
			 struct msg *denial) MUST_CHECK;
/* A message from the server, whose key was proven. `hint`: it came by PUB, so nothing else is accepted. */
int proto__intake_client(struct proto__intake *in, const struct proto__parcel *parcel, bool hint,
			 struct msg_received **out) MUST_CHECK;

#endif
