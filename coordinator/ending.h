/* ending.h: part of internal.h: edits that are taken back by people (revoke.c), and those that begin and end by
 * themselves (due.c). */
#ifndef AMEND_COORDINATOR_ENDING_H
#define AMEND_COORDINATOR_ENDING_H

#include "base/buf.h"
#include "proto/transport.h"
#include "store/store.h"

struct coordinator;

/* --- revoke.c: edits are taken back, by people or by time. */
struct ending {
	const uint64_t *seqs; /* those that cannot end any more (edit_can_end) are passed over, but for a group's */
	size_t count;
	int state;            /* revoked or expired */
	const uint8_t *actor; /* NULL: this coordinator */
	struct msg_text reason;
	struct msg_text group; /* whose edits they are; len 0: none */
	bool restore;          /* what they superseded comes back as new edits ... */
	struct buf *restored;  /* ... whose seqs (uint64_t) are added here; with `restore` only */
};
struct ending_result {
	uint64_t version; /* published without them, 0: none held them, or publishing is held */
	bool held;        /* the latter: versions go on to hold them */
	size_t ended_count, restored_count;
};
/* The tombstones' manifest, then one transaction; the shards are retrained afterwards. 0; ERR_AGAIN: nothing was
 * touched, the manifest that is to be published without them is damaged; or what coordinator__txn_failed was given. */
int coordinator__edits_end(struct coordinator *c, const struct ending *ending, struct ending_result *out,
			   struct err *e) MUST_CHECK;
/* Live or scheduled; or superseded, and answered all the same until a version or a candidate without it takes the place
 * of the one that serves it. Such a one stays superseded in the ledger, and memory's state of it becomes the other.
 * `served`: empty at first; filled when it is needed. */
int coordinator__edit_can_end(struct coordinator *c, const struct store_edit *edit, struct buf *served, bool *can,
			      struct err *e) MUST_CHECK;
/* What memory has as the state of an edit: its own, or revoked or expired where that came after its successor. */
int coordinator__withdrawn_state(struct store_txn *txn, const struct store_edit *edit, uint8_t *state,
				 struct err *e) MUST_CHECK;
/* Out of its shard's list, if no worker was given it. */
void coordinator__leave_shard(struct coordinator *c, const struct store_edit *edit);

/* --- due.c */
/* Remembers when the edit begins or ends, if it does. */
int coordinator__due_add(struct coordinator *c, const struct store_edit *edit, struct err *e) MUST_CHECK;
void coordinator__due_advance(struct coordinator *c);
int coordinator__due_event(struct coordinator *c, uint64_t seq, uint64_t *event,
			   struct err *e) MUST_CHECK; /* in c->txn */

#endif
