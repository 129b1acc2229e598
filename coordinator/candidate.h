/* candidate.h: part of internal.h: what stands between memory and the next version when versions go through a gate, and
 * the two gates: the canaries (canary.c), then the approval by a second key (approve.c). */
#ifndef AMEND_COORDINATOR_CANDIDATE_H
#define AMEND_COORDINATOR_CANDIDATE_H

#include "base/json.h"
#include "base/sm.h"
#include "proto/transport.h"
#include "store/store.h"

struct coordinator;
struct publish_cause;

/* What becomes the next version unless a gate refuses it: at most one. none → checking, by the canaries → waiting, for
 * approval → none, published or made anew; or refused, by either → none, made anew when there is something new. The
 * numbers are on disk. */
enum candidate_state {
	CANDIDATE_NONE,
	CANDIDATE_WAITING,
	CANDIDATE_REFUSED,
	CANDIDATE_CHECKING,
	CANDIDATE_STATE_COUNT
};
extern const struct sm_table coordinator__candidate_states;
struct candidate {
	struct sm sm;
	struct store_version rec; /* as it is to be published; its time is when it was made */
	struct buf seqs, merges;  /* uint64_t, ascending: the edits that it serves, and the merges of its memories */
	int64_t since_ms;         /* wall clock: in this state */
	uint8_t refused_by[STORE_KEY_BYTES]; /* zero: the canaries */
	char reason[STORE_REASON_BYTES];     /* why it is refused */
	uint32_t canaries, changed;          /* asked, and answered otherwise than by the base model; 0: not asked */
	struct {                             /* while it is checked: who was asked last, and until when to wait */
		bool asked;
		uint8_t worker[PROTO_KEY_BYTES];
		int64_t until_ms;                 /* monotonic: for the answer, or for the next try */
		int64_t sent_ms;                  /* monotonic: the last request */
		char trouble[STORE_REASON_BYTES]; /* why the last try came to nothing */
	} check;
	bool lost; /* no node could load it, found at the start: it is dropped */
	bool look; /* something that it serves may have ended since it was made */
};

/* --- candidate.c */
bool coordinator__gated(const struct coordinator *c); /* versions go through a gate, by the configuration */
int coordinator__candidate_load(struct coordinator *c, struct store_txn *txn, struct err *e) MUST_CHECK;
void coordinator__candidate_free(struct candidate *candidate);
/* Makes one when there is something to publish, and drops one that is out of date. */
void coordinator__candidate_advance(struct coordinator *c);
/* Why the one that is there has to be made anew; NULL: it has not. Also where it could not be dropped yet. */
const char *coordinator__candidate_outdated(const struct coordinator *c);
int coordinator__candidate_put(struct coordinator *c, const struct candidate *candidate,
			       struct err *e) MUST_CHECK; /* in c->txn; NULL: there is none */
/* After a commit that has put NULL. What it held waits for the next one, unless it was published. */
void coordinator__candidate_end(struct coordinator *c, bool published);
/* What it serves beside the newest version, and what the newest does beside it; appended, ascending. */
int coordinator__candidate_changes(struct coordinator *c, struct buf *added, struct buf *removed,
				   struct err *e) MUST_CHECK;
/* It becomes the next version. ERR_CORRUPT: no node could load it; nothing has changed. */
int coordinator__candidate_publish(struct coordinator *c, const struct publish_cause *cause, struct err *e) MUST_CHECK;
/* It is refused as `refused` says, and so is a merge that only it holds, without which the next is made; with an event
 * of `json` (freed), whose first members candidate_json writes. */
int coordinator__candidate_refuse(struct coordinator *c, const struct candidate *refused, const uint8_t *actor,
				  struct buf *json, struct err *e) MUST_CHECK;
void coordinator__candidate_json(const struct candidate *candidate, const char *what, struct json_w *w);
/* Why it is not published yet, for people; "": there is none. */
void coordinator__candidate_text(const struct coordinator *c, char *out, size_t out_bytes);
/* --- canary.c: has a worker ask the canaries, again and again until one says what they answer. */
void coordinator__canaries_advance(struct coordinator *c);
/* --- approve.c: of the content that was looked at. Error: nothing has changed; coordinator__txn_failed was called
 * where a write failed. */
int coordinator__candidate_approve(struct coordinator *c, const uint8_t *actor, const struct hash *content,
				   struct err *e) MUST_CHECK;
int coordinator__candidate_reject(struct coordinator *c, const uint8_t *actor, const struct hash *content,
				  struct msg_text reason, struct err *e) MUST_CHECK;

#endif
