/* versions.h: part of internal.h: how what memory holds becomes a version, what holds that up, and what the newest one
 * serves. */
#ifndef AMEND_COORDINATOR_VERSIONS_H
#define AMEND_COORDINATOR_VERSIONS_H

#include "proto/transport.h"
#include "store/store.h"

struct arena;
struct candidate;
struct coordinator;
struct proto_manifest;
struct publishing;

/* --- publish.c */
/* Builds the manifest of what is in memory (with `merged`, which may be NULL) and stores its blob. While publishing is
 * held `out` has the version 0, and the two below only note that there is something to publish. */
int coordinator__publish_prepare(struct coordinator *c, const struct store_merge *merged, const char *note,
				 struct store_version *out, struct err *e) MUST_CHECK;
/* For a candidate: the manifest of what is in memory. *differs: from the newest version in more than number and time,
 * or else no blob is stored. */
int coordinator__publish_draft(struct coordinator *c, struct store_version *out, bool *differs,
			       struct err *e) MUST_CHECK;
int coordinator__publish_put(struct coordinator *c, struct store_version *publish,
			     struct err *e) MUST_CHECK;                                     /* in c->txn */
void coordinator__publish_done(struct coordinator *c, const struct store_version *publish); /* after the commit: hint */
/* The same of a version that need not hold what memory does: what waits for a version goes on waiting. */
struct publish_cause { /* what the version's event says of it */
	const uint8_t *actor;
	uint64_t rollback_to; /* 0: none */
	struct msg_text reason;
	bool approved; /* by the actor */
	uint32_t canaries, changed;
};
int coordinator__version_put(struct coordinator *c, struct store_version *rec, const struct publish_cause *cause,
			     struct err *e) MUST_CHECK; /* `cause`: NULL, this coordinator's own doing */
void coordinator__version_done(struct coordinator *c, const struct store_version *publish);
bool coordinator__merge_serves(const struct coordinator *c, const struct store_merge *merge);
uint32_t coordinator__layer(const struct coordinator *c); /* UINT32_MAX: no worker was here yet, and none is set */
/* The one that a model of so many layers is to be edited in, by the configuration. */
uint32_t coordinator__layer_of(const struct coordinator *c, uint32_t layers);

/* Its blob, and the record but for the note. */
int coordinator__manifest_store(struct coordinator *c, const struct proto_manifest *manifest, size_t live_count,
				struct store_version *out, struct err *e) MUST_CHECK;

/* --- removal.c */
/* As publish_prepare, where something is only taken back. A gate does not hold that: what the newest version serves and
 * people or time have ended leaves it, and what waits goes on waiting. With it leave memories that are lost, as no node
 * could load the version with them; also where what was taken back left before. */
int coordinator__publish_removal(struct coordinator *c, const char *note, struct store_version *out,
				 struct err *e) MUST_CHECK;
/* The same of a candidate: `out` is its manifest with the tombstones of what has ended since, as the next version. */
int coordinator__publish_renewed(struct coordinator *c, const struct candidate *candidate, struct store_version *out,
				 struct err *e) MUST_CHECK;
/* Whether the newest version's memories were trained on edits that people or time have ended, whatever its tombstones:
 * nodes that cannot load it may answer with them. */
int coordinator__newest_ended(struct coordinator *c, bool *any, struct err *e) MUST_CHECK;

/* --- hold.c */
bool coordinator__publish_held(const struct coordinator *c);
/* Why newer edits are not published, for people; "" when they are. */
void coordinator__held_text(struct coordinator *c, char *out, size_t out_bytes);
int coordinator__publishing_load(struct coordinator *c, struct store_txn *txn, struct err *e) MUST_CHECK;
/* In c->txn: what memory holds is to become a version, by the next one or by coordinator__unpublished_advance. */
int coordinator__unpublished_put(struct coordinator *c, struct err *e) MUST_CHECK;
void coordinator__unpublished_advance(struct coordinator *c);
/* Something waits that could be published; not so a merged memory that is damaged, which has to come back first. */
bool coordinator__unpublished(const struct coordinator *c);
int coordinator__publishing_put(struct coordinator *c, const struct publishing *publishing,
				struct err *e) MUST_CHECK; /* in c->txn */
/* In c->txn: edits and merges that have no version yet get this one: all, or those that a candidate holds. */
int coordinator__held_release(struct coordinator *c, uint64_t version, const struct candidate *only,
			      struct err *e) MUST_CHECK;
void coordinator__held_released(struct coordinator *c, uint64_t version,
				const struct candidate *only); /* after the commit */
/* Its bytes, appended. ERR_AGAIN: a chunk of it is damaged, and looked for (heal.c). */
int coordinator__manifest_bytes(struct coordinator *c, const struct hash *root, struct buf *out,
				struct err *e) MUST_CHECK;
/* The same, decoded, in *arena, which the caller destroys, also after an error. */
int coordinator__manifest_read(struct coordinator *c, const struct hash *root, struct arena **arena,
			       struct proto_manifest *out, struct err *e) MUST_CHECK;
/* The edits of a manifest that its tombstones leave, ascending, appended as uint64_t. */
int coordinator__manifest_seqs(struct coordinator *c, const struct hash *root, struct buf *seqs,
			       struct err *e) MUST_CHECK;
int coordinator__manifest_live(const struct proto_manifest *manifest, struct buf *seqs, struct err *e) MUST_CHECK;
bool coordinator__seqs_hold(const struct buf *seqs, uint64_t seq); /* ascending */
/* `version`, the newest, holds the edits `seqs` (ascending): of those that wait to be served the others are in no
 * version that counts. */
void coordinator__unserved_hold(struct coordinator *c, const struct buf *seqs, uint64_t version);
int coordinator__unserved_look(struct coordinator *c, struct err *e) MUST_CHECK; /* the same, by its manifest */

/* --- newest.c */
int coordinator__newest_get(struct coordinator *c, struct store_version *out, struct err *e) MUST_CHECK;
/* Those that the newest version serves, appended; none without a version. ERR_AGAIN: see manifest_bytes. */
int coordinator__newest_seqs(struct coordinator *c, struct buf *seqs, struct err *e) MUST_CHECK;
/* In c->txn: a copy of the manifest of `rec`, which becomes the newest version. */
int coordinator__newest_put(struct coordinator *c, const struct store_version *rec, struct err *e) MUST_CHECK;
/* At the start: where the ledger has none, as it is of an earlier program; its own transaction. */
int coordinator__newest_keep(struct coordinator *c, struct err *e) MUST_CHECK;
/* Puts a chunk of its manifest that was set apart back from the ledger's copy. Not *whole: the ledger has none, and the
 * manifest cannot be read until the chunk comes back. An error says nothing of it. */
int coordinator__newest_restore(struct coordinator *c, bool *whole, struct err *e) MUST_CHECK;

#endif
