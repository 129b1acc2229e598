/* upload.h: uploads a blob's chunks that the coordinator lacks: Have → Missing → Chunk with a window → ChunkStored,
 * resent when unanswered. */
#ifndef AMEND_WORKER_UPLOAD_H
#define AMEND_WORKER_UPLOAD_H

#include "proto/transport.h"
#include "store/store.h"

#define WORKER_UPLOAD_WINDOW 32 /* chunks sent and not yet acknowledged */

struct worker_upload;

int worker_upload_new(const struct env *env, struct store *blobs, struct proto_transport *transport,
		      struct worker_upload **out, struct err *e) MUST_CHECK;
void worker_upload_destroy(struct worker_upload **upload);
/* One at a time; on_done(context, code) is called from receive or tick. ERR_AGAIN when one is under way. */
int worker_upload_start(struct worker_upload *upload, const struct hash *roots, size_t root_count,
			void (*on_done)(void *context, int code), void *context, struct err *e) MUST_CHECK;
void worker_upload_cancel(struct worker_upload *upload);
bool worker_upload_receive(struct worker_upload *upload, const struct msg *msg); /* MSG_MISSING, MSG_CHUNK_STORED */
/* Answers a Need of the coordinator, whose disk has changed these chunks. */
void worker_upload_needed(struct worker_upload *upload, const struct msg_hashes *need);
void worker_upload_tick(struct worker_upload *upload);
uint32_t worker_upload_stored(const struct worker_upload *upload); /* chunks acknowledged since it was made */

#endif
