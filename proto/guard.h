/* guard.h (inside proto/): keeps a server's memory bounded against messages without an end. libzmq hands a message over
 * when its last frame has come, and holds the frames before it without any limit of their number: nobody above sees
 * them. So a thread looks at what the kernel has received on each connection of the server's ports, and cuts one on
 * which too much came since a whole message of it was read. Knows no ZeroMQ. */
#ifndef AMEND_PROTO_GUARD_H
#define AMEND_PROTO_GUARD_H

#include "base/err.h"

#include <stdint.h>

#define PROTO__UNREAD_MAX     ((uint64_t)16 << 20)  /* bytes of one connection; the largest message has 330 KB */
#define PROTO__UNREAD_FREE    ((uint64_t)9 << 18)   /* of one: honest, does not count towards ... */
#define PROTO__UNREAD_ALL_MAX ((uint64_t)256 << 20) /* ... that of all, above which those with the most are cut */

struct proto__guard;
int proto__guard_start(const uint16_t ports[2], struct proto__guard **out, struct err *e) MUST_CHECK;
void proto__guard_stop(struct proto__guard **guard);
/* A whole message came by this descriptor. Any thread. */
void proto__guard_seen(struct proto__guard *guard, int fd);

#endif
