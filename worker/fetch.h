/* fetch.h: pulls blobs from the coordinator by credit into the local blob store: root chunk, then the missing chunks,
 * at most FETCH_WINDOW asked for or not yet stored at a time; verified; resumes after a lost connection by asking again
 * for what is still missing. Chunks are stored in groups, while the next ones are on their way. */
#ifndef AMEND_WORKER_FETCH_H
#define AMEND_WORKER_FETCH_H

#include "proto/transport.h"
#include "store/store.h"

#define WORKER_FETCH_WINDOW   32
#define WORKER_FETCH_GROUP    16 /* stored by one synced transaction */
#define WORKER_FETCH_RETRY_MS 2000

struct worker_fetch;

int worker_fetch_new(const struct env *env, struct store *blobs, struct proto_transport *transport,
		     struct worker_fetch **out, struct err *e) MUST_CHECK;
void worker_fetch_destroy(struct worker_fetch **fetch);
/* Fetches all of `roots` (zero hashes are skipped), then calls on_done(context, 0 or code) once, from receive or tick,
 * never from here. Several requests may be under way (at most 64). */
int worker_fetch_start(struct worker_fetch *fetch, const struct hash *roots, size_t root_count,
		       void (*on_done)(void *context, int code), void *context, struct err *e) MUST_CHECK;
/* As worker_fetch_start, but reads what is here already: a chunk that the disk changed is fetched again. */
int worker_fetch_verified(struct worker_fetch *fetch, const struct hash *roots, size_t root_count,
			  void (*on_done)(void *context, int code), void *context, struct err *e) MUST_CHECK;
void worker_fetch_cancel(struct worker_fetch *fetch, void *context); /* no on_done for it any more */
/* Takes MSG_CHUNK (ERR_NOT_FOUND chunks fail their request); returns true when the message was one of its. */
bool worker_fetch_receive(struct worker_fetch *fetch, const struct msg *msg);
void worker_fetch_tick(struct worker_fetch *fetch);
uint32_t worker_fetch_arrived(const struct worker_fetch *fetch); /* chunks since it was made */

#endif
