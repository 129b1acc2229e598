/* fetch.h: pulls blobs from the coordinator by credit into the local blob store: root chunk, then the missing chunks,
 * at most FETCH_WINDOW asked for or not yet stored at a time; verified; resumes after a lost connection by asking again
 * for what is still missing. Chunks are stored in groups, while the next ones are on their way.
 *
 * Relays are asked first, in the order in which they were added. What one lacks is asked of the next and in the end of
 * the coordinator; so is everything when it cannot be reached, says nothing for 4 s, gives nothing for as long as it is
 * waited for, leaves a chunk owing for twice as long, or gives bytes that do not match their hash, which are never
 * stored. It is left alone for a while then.
 */
#ifndef AMEND_WORKER_FETCH_H
#define AMEND_WORKER_FETCH_H

#include "proto/transport.h"
#include "store/store.h"

#define WORKER_FETCH_WINDOW     32
#define WORKER_FETCH_GROUP      16 /* stored by one synced transaction */
#define WORKER_FETCH_RETRY_MS   2000
#define WORKER_FETCH_RELAYS_MAX 8

enum worker_fetch_fault { /* of a relay */
			  WORKER_FETCH_UNREACHABLE,
			  WORKER_FETCH_SILENT,
			  WORKER_FETCH_LATE,
			  WORKER_FETCH_LACKING, /* one chunk */
			  WORKER_FETCH_WRONG,
			  WORKER_FETCH_FAULTS,
};
extern const char *const worker_fetch_fault_names[WORKER_FETCH_FAULTS];
struct worker_fetch_counts {                /* since it was made */
	uint64_t chunks, bytes;             /* that came from the coordinator */
	uint64_t relay_chunks, relay_bytes; /* from relays */
	uint64_t faults[WORKER_FETCH_FAULTS];
};

struct worker_fetch;

int worker_fetch_new(const struct env *env, struct store *blobs, struct proto_transport *transport,
		     struct worker_fetch **out, struct err *e) MUST_CHECK;
void worker_fetch_destroy(struct worker_fetch **fetch);
/* A relay that is asked before the coordinator; `name` is for people. Both are borrowed. Before anything is fetched.
 * One that gives nothing is waited for so long, or up to twice as long: by chance, so that its many children do not
 * turn to the coordinator at once. patience_ms > 0; the first call's holds for all. ERR_LIMIT: there are
 * WORKER_FETCH_RELAYS_MAX. */
int worker_fetch_relay_add(struct worker_fetch *fetch, struct proto_transport *relay, const char *name,
			   int64_t patience_ms, struct err *e) MUST_CHECK;
/* Fetches all of `roots` (zero hashes are skipped), then calls on_done(context, 0 or code) once, from receive or tick,
 * never from here. Several requests may be under way (at most 64). */
int worker_fetch_start(struct worker_fetch *fetch, const struct hash *roots, size_t root_count,
		       void (*on_done)(void *context, int code), void *context, struct err *e) MUST_CHECK;
/* As worker_fetch_start, of that version: a relay which has not come so far is waited for. */
int worker_fetch_version(struct worker_fetch *fetch, uint64_t version, const struct hash *roots, size_t root_count,
			 void (*on_done)(void *context, int code), void *context, struct err *e) MUST_CHECK;
/* As worker_fetch_start, but reads what is here already: a chunk that the disk changed is fetched again. */
int worker_fetch_verified(struct worker_fetch *fetch, const struct hash *roots, size_t root_count,
			  void (*on_done)(void *context, int code), void *context, struct err *e) MUST_CHECK;
void worker_fetch_cancel(struct worker_fetch *fetch, void *context); /* no on_done for it any more */
/* Takes MSG_CHUNK (ERR_NOT_FOUND chunks fail their request); returns true when the message was one of its. */
bool worker_fetch_receive(struct worker_fetch *fetch, const struct msg *msg);
/* Whatever a relay says; `relay`: the number of relays that were added before it. */
void worker_fetch_relay_receive(struct worker_fetch *fetch, size_t relay, const struct msg *msg);
void worker_fetch_tick(struct worker_fetch *fetch);
uint32_t worker_fetch_arrived(const struct worker_fetch *fetch); /* chunks since it was made */
void worker_fetch_counts_get(const struct worker_fetch *fetch, struct worker_fetch_counts *out);
/* Who gave the last chunk: "coordinator" or a relay's name; "": nobody did. */
const char *worker_fetch_source(const struct worker_fetch *fetch);

#endif
