/* check_internal.h: what the checker keeps of the ledger. Inside tests/sim only. */
#ifndef AMEND_TESTS_SIM_CHECK_INTERNAL_H
#define AMEND_TESTS_SIM_CHECK_INTERNAL_H

#include "tests/sim/sim.h"

#include "base/json.h"
#include "proto/msg.h"

struct taken { /* an accepted edit */
	uint64_t seq, text;
	struct hash content;
};

struct held { /* a shard's lease, by the ledger */
	uint64_t epoch;
	char worker[65];
	bool ended;
};

struct sim_ledger {
	uint64_t last;
	struct hash self;  /* of event `last` */
	struct buf edits;  /* struct taken, in ledger order */
	struct buf leases; /* struct held, by shard − 1 */
	uint64_t version;
	struct buf sources;  /* uint64_t, by version − 1: whose manifest it is */
	struct buf contents; /* struct hash, by version − 1 */
	uint64_t fresh_at;   /* the event that says which cluster goes on from a backup */
	uint64_t restored;   /* after a restoration: up to this event it is read again at the next start; 0: not */
	bool paused;         /* publishing */
	bool asked;          /* the version passed the canaries: it is made of all that there was */
	bool approved;       /* by a second key, as its event says, or rolled back to */
	struct buf live;     /* uint64_t: the edits that it serves */
	bool live_unread;    /* the disk failed before they were looked at, or had changed the manifest */
	struct buf revoked;  /* check_answers.c: what was acknowledged */
	struct buf refused;  /* struct hash: contents of candidates that were refused or rejected */
	bool upset;          /* the newest candidate was refused by the canaries, and nothing was published since; */
	bool unnamed;        /* nobody was named */
	struct buf withheld; /* uint64_t: edits, since the last resume; also those that have ended since */
};

static inline struct sim_proc *coordinator_of(struct sim *sim)
{
	return &sim->procs[0];
}

const struct taken *sim_check__taken(const struct sim_ledger *ledger, uint64_t seq); /* NULL: no edit */
uint64_t sim_check__source(const struct sim_ledger *ledger, uint64_t version);
int sim_check__look(struct store *store, struct store_txn **out, struct err *e);
bool sim_check__listed(const uint64_t *seqs, size_t count, uint64_t seq);
void sim_check__shard(struct sim *sim, struct store_txn *txn, struct store_shard *shard);
/* `deep`: read, and verified. */
void sim_check__version(struct sim *sim, struct store_txn *txn, uint64_t number, bool deep);
/* check_answers.c */
void sim_check__revoked_since_drop(struct buf *revoked, uint64_t last);
void sim_check__refused_all(struct sim *sim);
bool sim_check__is_revoked(const struct sim *sim, uint64_t version, uint64_t seq);
void sim_check__node_set(struct sim *sim, struct sim_proc *node);
void sim_check__lives(struct sim *sim, uint64_t version, uint64_t seq); /* the version holds the edit */
void sim_check__served(struct sim *sim, struct store_txn *txn, const struct proto_manifest *manifest);
/* check_canaries.c */
void sim_check__candidate(struct sim *sim, struct store_txn *txn, const struct json *json);
void sim_check__never_refused(struct sim *sim, uint64_t version, const struct json *json);
bool sim_check__withheld(const struct sim *sim, uint64_t seq);
/* A superseded edit that goes on answering, as what superseded it is withheld. */
bool sim_check__is_kept(const struct sim *sim, struct store_txn *txn, const struct store_edit *edit);
/* `live`: struct buf of uint64_t, what the version serves; sim->ledger->live is still that of the one before. */
void sim_check__canaries(struct sim *sim, struct store_txn *txn, const struct proto_manifest *manifest,
			 const struct buf *live);
void sim_check__node_canaries(struct sim *sim, const struct sim_proc *node, uint64_t version, const uint64_t *seqs,
			      size_t count);
void sim_check__withheld_stay(struct sim *sim, struct store_txn *txn); /* after a start */
bool sim_check__content_of(const struct json *json, struct hash *out);
bool sim_check__candidate_rests(const struct sim *sim, const struct store_version *candidate);

#endif
