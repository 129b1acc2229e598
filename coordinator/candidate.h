/* candidate.h: part of internal.h: what stands between memory and the next version when versions go through a gate, and
 * the two gates: the canaries (canary.c), then the approval by a second key (approve.c). */
#ifndef AMEND_COORDINATOR_CANDIDATE_H
#define AMEND_COORDINATOR_CANDIDATE_H

#include "base/json.h"
#include "base/sm.h"
#include "proto/transport.h"
#include "store/store.h"

#define CANARY_ASKED_MAX 16

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
	uint64_t blamed[MSG_CANARY_CHANGES_MAX]; /* edits that took the canaries for which it is refused; worst first */
	uint32_t blamed_count;
	struct { /* while it is checked: who was asked last, and until when to wait */
		bool asked;
		uint8_t worker[PROTO_KEY_BYTES];
		int64_t until_ms;                 /* monotonic: for the answer, or for the next try */
		int64_t sent_ms;                  /* monotonic: the last request */
		char trouble[STORE_REASON_BYTES]; /* why the last try came to nothing */
		uint8_t all[CANARY_ASKED_MAX]
			   [PROTO_KEY_BYTES]; /* who may still answer: the last ones that were asked */
		size_t all_count;
	} check;
	bool lost;   /* no node could load it: it is dropped */
	bool look;   /* something that it serves may have ended since it was made */
	bool remake; /* what the canaries say of it is for edits that have ended since */
};

/* --- candidate.c */
bool coordinator__gated(const struct coordinator *c); /* versions go through a gate, by the configuration */
int coordinator__candidate_load(struct coordinator *c, struct store_txn *txn, struct err *e) MUST_CHECK;
void coordinator__candidate_free(struct candidate *candidate);
/* Makes one when there is something to publish, and drops one that is out of date. */
void coordinator__candidate_advance(struct coordinator *c);
/* What the canaries were asked of it holds: it is kept when edits that it serves end, or a version is published in
 * which they have (what people and time take back does not wait), and gets their tombstones before it goes on. Else a
 * steady trickle of revocations would have it made and asked anew for ever. */
bool coordinator__candidate_stale(const struct coordinator *c);
/* A transaction of its own. Where its manifest is damaged nothing of it is written, and `lost` is set; where the newest
 * version's is, it stays as it is. */
int coordinator__candidate_renew(struct coordinator *c, struct err *e) MUST_CHECK;
/* An edit that it serves has ended; one that is superseded is served until its successor is. */
bool coordinator__candidate_ended(const struct coordinator *c, uint64_t seq);
/* Why the one that is there has to be made anew; NULL: it has not. Also where it could not be dropped yet. */
const char *coordinator__candidate_outdated(const struct coordinator *c);
int coordinator__candidate_put(struct coordinator *c, const struct candidate *candidate,
			       struct err *e) MUST_CHECK; /* in c->txn; NULL: there is none */
/* After a commit that has put NULL. What it held waits for the next one, unless it was published. */
void coordinator__candidate_end(struct coordinator *c, bool published);
/* What it serves beside the newest version, and what the newest does beside it; appended, ascending. */
int coordinator__candidate_changes(struct coordinator *c, struct buf *added, struct buf *removed,
				   struct err *e) MUST_CHECK;
uint64_t coordinator__candidate_number(const struct coordinator *c); /* of the version that it would be */
/* Why it is not published yet, for people; "": there is none. */
void coordinator__candidate_text(const struct coordinator *c, char *out, size_t out_bytes);
/* --- candidate_end.c */
/* It becomes the next version. ERR_CORRUPT: no node could load it; nothing has changed. */
int coordinator__candidate_publish(struct coordinator *c, const struct publish_cause *cause, struct err *e) MUST_CHECK;
/* It is refused as `refused` says, and so is a merge that only it holds, without which the next is made; with an event
 * of `json` (freed), whose first members candidate_json writes. */
int coordinator__candidate_refuse(struct coordinator *c, const struct candidate *refused, const uint8_t *actor,
				  struct buf *json, struct err *e) MUST_CHECK;
struct withholding;
/* The same of one whose merges need not have failed, and without some of whose edits the next one is made. */
int coordinator__candidate_withhold(struct coordinator *c, const struct candidate *refused,
				    const struct withholding *withholding, const uint8_t *actor, struct buf *json,
				    struct err *e) MUST_CHECK;
void coordinator__candidate_json(const struct candidate *candidate, const char *what, struct json_w *w);
/* Its gate is gone, by a start with another configuration: what it held becomes a version; */
int coordinator__candidate_let_through(struct coordinator *c, struct err *e) MUST_CHECK;
/* or, where something was refused, publishing is paused: people say that it is published all the same, by a resume. */
int coordinator__candidate_pause(struct coordinator *c, struct err *e) MUST_CHECK;
/* --- withhold.c */
struct blame { /* changed canaries that no edit is meant to change */
	struct blame_edit {
		uint64_t seq;
		uint32_t canary_count;   /* that it took */
	} edits[MSG_CANARY_CHANGES_MAX]; /* worst first, of the same the newest */
	size_t edit_count;
	bool merges;            /* merged memories took some, */
	uint32_t merged_count;  /* so many; */
	uint32_t unnamed_count; /* and of so many it is not known */
};
void coordinator__blame(const struct coordinator *c, const struct msg_canary_result *result, const bool *meant,
			struct blame *out);
/* Canaries that edits took which have ended since. */
uint32_t coordinator__blame_ended(const struct coordinator *c, const struct blame *blame);
struct withholding { /* what becomes of what a refused candidate held */
	struct buf
		seqs; /* uint64_t, ascending: edits that are withheld from the next ones; empty: nobody can be named */
	bool merges;  /* merges that only it holds have failed */
	bool rest;    /* it changes more than that: the next one is made at once */
};
int coordinator__withhold_choose(struct coordinator *c, const struct blame *blame, uint32_t over,
				 struct withholding *out, struct err *e) MUST_CHECK;
void coordinator__withholding_free(struct withholding *withholding);
/* In c->txn: `seqs` are withheld, too, for `reason`. *all (the caller's to free, also after an error): c->withheld
 * after the commit. */
int coordinator__withheld_add(struct coordinator *c, const struct buf *seqs, const char *reason, struct buf *all,
			      struct err *e) MUST_CHECK;
int coordinator__withheld_put(struct coordinator *c, const struct buf *seqs, struct err *e) MUST_CHECK; /* in c->txn */
/* In c->txn: none is withheld any more, of which `seqs` were, and no record says so. */
int coordinator__withheld_forget(struct coordinator *c, const struct buf *seqs, struct err *e) MUST_CHECK;
int coordinator__withheld_load(struct coordinator *c, struct store_txn *txn, struct err *e) MUST_CHECK;
void coordinator__withheld_over(struct store_edit *edit); /* it has a version: takes its reason away */
/* Those of c->withheld that have not ended, appended, ascending. */
int coordinator__withheld_list(struct coordinator *c, struct buf *out, struct err *e) MUST_CHECK;
/* Published edits that were superseded by one of `withheld`, appended, ascending: they go on answering, as long as that
 * one is not to be had. What lies in one memory with it does not: that has the other answer. */
int coordinator__withheld_keeps(struct coordinator *c, const struct buf *withheld, struct buf *out,
				struct err *e) MUST_CHECK;
bool coordinator__withheld_any(const struct coordinator *c); /* that has not ended */
/* What a gate refused or withheld before it was switched off: publishing is about to pause for it. */
bool coordinator__held_back(const struct coordinator *c);
void coordinator__withheld_text(struct coordinator *c, char *out, size_t out_bytes); /* for people; "": none are */
/* --- canary.c: has a worker ask the canaries, again and again until one says what they answer. */
void coordinator__canaries_advance(struct coordinator *c);
/* Which live workers have other canaries than others, for people; "": all have the same. */
void coordinator__canaries_text(const struct coordinator *c, char *out, size_t out_bytes);
/* Whether a worker was asked about the one that is there, and has not said that it cannot tell: whoever answers first
 * is heard, as a slow worker's answer may come when another is asked already. */
bool coordinator__canaries_asked(const struct candidate *candidate, const uint8_t *worker);
void coordinator__canaries_unask(struct candidate *candidate, const uint8_t *worker);
/* --- approve.c: of the content that was looked at. Error: nothing has changed; coordinator__txn_failed was called
 * where a write failed. */
int coordinator__candidate_approve(struct coordinator *c, const uint8_t *actor, const struct hash *content,
				   struct err *e) MUST_CHECK;
/* It waits, and no key on the list may approve it. */
bool coordinator__candidate_stuck(struct coordinator *c);
int coordinator__candidate_reject(struct coordinator *c, const uint8_t *actor, const struct hash *content,
				  struct msg_text reason, struct err *e) MUST_CHECK;

#endif
