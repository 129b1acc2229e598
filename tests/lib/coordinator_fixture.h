/* coordinator_fixture.h: a coordinator on a real store, an in-memory network and a clock that stands still, with ends
 * that play worker, node and client. */
#ifndef AMEND_TESTS_COORDINATOR_FIXTURE_H
#define AMEND_TESTS_COORDINATOR_FIXTURE_H

#include "base/fault.h"
#include "coordinator/coordinator.h"
#include "tests/lib/test.h"

#define END_INBOX_MAX  512
#define CLUSTER_HIDDEN 576u /* of the base model that workers say they have */
#define CLUSTER_FFN    1536u

struct end_peer { /* a client end of the network */
	struct cluster *cluster;
	const char *name;
	uint8_t key[PROTO_KEY_BYTES];
	struct proto_transport *transport;
	struct msg_received *inbox[END_INBOX_MAX];
	size_t count;
	uint64_t next_request;
};

struct fake_merge { /* a merge job that does what the test says */
	int starts, kills;
	int ticks_left; /* polls until it ends; < 0: never */
	bool fail_start, write_output, wrong_plan, wrong_layer;
	double progress;
	uint32_t ranks;
	char plan[TEST_PATH_BYTES], output[TEST_PATH_BYTES];
};

struct cluster {
	char folder[TEST_PATH_BYTES];
	struct env_manual clock;
	struct store_options store_options;
	struct store *store;
	struct proto_mem *mem;
	char allow_file[TEST_PATH_BYTES];
	struct proto_allow *allow;
	struct proto_transport *server;
	struct fake_merge fake;
	struct coordinator_merge_job job;
	struct coordinator_config config;
	struct coordinator *coordinator;
	struct end_peer worker, worker2, node, client, submitter, admin; /* client: submitter, reader, admin */
	struct err e;
};

int cluster_setup(void **state); /* everything but the coordinator: a test may change the configuration first */
int cluster_teardown(void **state);
void cluster_start(struct cluster *c);
void cluster_store(struct cluster *c);    /* only opens the store */
int cluster_try_start(struct cluster *c); /* the coordinator's code; c->e says why not */
/* Starts it again with its file of allowed keys: the ledger has one event more, with the list. */
void cluster_keys(struct cluster *c);
void cluster_stop(struct cluster *c);    /* as a crash: nothing is closed but the store */
void cluster_restart(struct cluster *c); /* the store too; the ends stay connected */
/* Delivers messages and ticks until nothing moves, then fills the inboxes. */
void cluster_run(struct cluster *c);
void cluster_advance(struct cluster *c, int64_t ms); /* moves the clock, runs */
void cluster_receive(struct cluster *c);             /* messages only, no tick */

void end_connect(struct cluster *c, struct end_peer *end, const char *name, uint8_t key_byte);
void end_send(struct end_peer *end, struct msg *msg);
/* The first message of that type, taken off the inbox; NULL: none. Free with msg_free. */
struct msg_received *end_take(struct end_peer *end, enum msg_type type);
struct msg_received *end_expect(struct end_peer *end, enum msg_type type);
void end_drop(struct end_peer *end, enum msg_type type); /* expects it, and no more */
void end_clear(struct end_peer *end);
void end_need(struct end_peer *end, const struct hash *chunk); /* asks for it; runs */

void worker_hello(struct end_peer *end, uint64_t boot); /* runs; asserts that it is welcome */
void node_hello(struct end_peer *end, uint64_t boot);
void worker_beat(struct end_peer *end, uint64_t shard, uint64_t epoch); /* shard 0: lists none; runs */
/* The same of one who has heard nothing for so long. */
void worker_beat_unheard(struct end_peer *end, uint64_t shard, uint64_t epoch, uint32_t unheard_ms);
/* What it trained waits, for this reason. */
void worker_beat_troubled(struct end_peer *end, uint64_t shard, uint64_t epoch, const char *trouble);
void worker_want(struct end_peer *end, uint64_t shard, uint64_t epoch, uint32_t credit, uint32_t received);
void worker_release(struct end_peer *end, uint64_t shard, uint64_t epoch, int code);
/* Says Hello when `boot` is not 0, takes the lease (asserted), gives its epoch. */
uint64_t worker_lease(struct end_peer *end, uint64_t *shard);
/* The worker joins, takes fact `fact` (client_facts) and commits it. */
void fact_train(struct cluster *c, uint64_t boot, size_t fact);
void node_status(struct end_peer *end, uint64_t version);                     /* with the right content; runs */
void node_failed(struct end_peer *end, uint64_t version, const char *reason); /* it serves none; runs */

/* Submits records and gives the reply after the group commit; NULL: no reply. */
struct msg_received *client_submit(struct cluster *c, enum msg_on_conflict policy, const char *const *records,
				   size_t count);
/* One record; asserts the code; gives its seq. */
uint64_t client_submit_one(struct cluster *c, const char *record, int code);
void client_facts(struct cluster *c, size_t from,
		  size_t count); /* records "What is fact N?" → "value N", subject "fact N" */
void edit_get(struct cluster *c, uint64_t seq, struct store_edit *out);
int edit_state(struct cluster *c, uint64_t seq);
struct store_version version_get(struct cluster *c, uint64_t version);
struct store_version candidate_get(struct cluster *c); /* there is one */

struct revoked { /* a RevokeReply */
	int code;
	uint64_t version;
	uint32_t revoked_count, restored_count;
	bool already, lost; /* lost: no reply came */
	char text[512];
};
/* By id, or by group when `id` is NULL. */
struct revoked client_revoke(struct cluster *c, const char *id, const char *group, bool restore);

/* A commit whose blobs lie in the coordinator's store already. `failed`: seq that did not pass, 0: none. */
struct commit {
	uint64_t shard, epoch, version;
	uint32_t first, count;
	bool closed, without_chunks;
	const uint64_t *seqs; /* all up to first + count */
	uint64_t failed;
	uint64_t unnamed; /* seq that passed, but not by a name of its subject, 0: none */
	bool names_asked;
	const char *delta, *calibration; /* what they are made of */
	struct msg_bytes raw_delta;      /* the delta's bytes as they are; len 0: none */
	uint32_t layer;                  /* 0: not said */
	char *text;                      /* 512 bytes for what the reply says; NULL */
};
uint32_t cluster_layer(struct cluster *c); /* that its memories edit; a worker has said Hello */
/* Appends the bytes of a delta whose first entries have these bits of bf16. */
void delta_put(struct cluster *c, const uint16_t *bits, size_t count, uint32_t hidden, uint32_t layer, struct buf *out);
/* One made of a text, into the coordinator's store. */
void delta_store(struct cluster *c, const char *text, struct hash *root);
int worker_commit(struct end_peer *end, const struct commit *commit, uint64_t *version); /* gives the reply's code */
/* Want, take the group, commit it: one turn of a good worker. Gives the version. */
uint64_t worker_turn(struct end_peer *end, uint64_t shard, uint64_t epoch);
void manifest_read(struct cluster *c, uint64_t version, struct arena *arena, struct proto_manifest *out);

#endif
