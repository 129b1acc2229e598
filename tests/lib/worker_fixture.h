/* worker_fixture.h: a worker with the tiny model, an in-memory network, a clock that stands still and an inline engine;
 * opposite it a coordinator that plays a script: one shard whose list of edits the test writes. */
#ifndef AMEND_TESTS_WORKER_FIXTURE_H
#define AMEND_TESTS_WORKER_FIXTURE_H

#include "base/fault.h"
#include "tests/lib/test.h"
#include "tests/lib/tiny_model.h"
#include "worker/worker.h"

#define STAND_EDITS_MAX 64
#define STAND_SHARD     3
#define STAND_TURN_MS   50

struct stand_result {
	uint64_t seq;
	bool passed;
	uint32_t tries;
	char reason[STORE_REASON_BYTES];
};

struct stand_wire { /* the worker's end; what it sends of one type is refused */
	struct proto_transport transport;
	struct proto_transport_ops ops;
	struct stand *stand;
};

struct stand {
	char folder[TEST_PATH_BYTES], data[TEST_PATH_BYTES], corpus[TEST_PATH_BYTES];
	struct err e;
	struct env_manual clock;
	struct proto_mem *mem;
	struct proto_allow *allow;
	struct proto_transport *server, *client;
	struct stand_wire wire;
	enum msg_type refuse_type; /* with refuse_code */
	int refuse_code;
	struct store *source, *blobs; /* the coordinator's, the worker's */
	struct pool *pool;
	size_t threads; /* of the engine; 0: inline */
	struct worker_config config;
	struct worker *worker;
	bool hold_engine; /* finished jobs are not handed back */
	/* > 0: in so many turns, the allocation number `fail_at` of the worker's side fails */
	int fail_turns;
	int64_t fail_at;
	/* The script. `hook` sees every message of the worker first; true: swallowed. */
	bool (*hook)(struct stand *s, const struct msg *msg);
	void *hook_context;
	bool silent, mute_commits; /* mute_commits: takes them, does not answer */
	bool deaf_beats;           /* heartbeats are taken and not answered */
	int hello_code, commit_code;
	const char *cluster; /* NULL: "c" */
	uint32_t layer;
	double rate;
	struct msg_bytes settings; /* of the paper's family, borrowed */
	uint64_t route, epoch, version;
	struct hash delta_root;
	char *edits[STAND_EDITS_MAX]; /* records; edit i has seq 10 + i */
	bool ended[STAND_EDITS_MAX];  /* the worker shall forget it */
	bool keep_failed;             /* else a failed edit ends, as with the real coordinator */
	size_t edit_count, trained_count, group_count;
	bool closing, retrain;
	const char *replays[STAND_EDITS_MAX]; /* records of earlier memories, borrowed; i has seq 900 + i, memory 70 + i
						 / 2 */
	size_t replay_count;
	size_t replays_to_lose; /* so many messages of them get lost */
	bool replays_twice;     /* each message of them comes twice */
	/* What was heard. */
	size_t asks, hellos, beats, wants, needs, haves, chunks, commits, gates, progresses, releases;
	size_t beat_leases; /* in the last heartbeat */
	uint32_t beat_unheard_ms;
	char beat_trouble[320];
	struct msg_hello hello;
	struct msg_want want;
	struct msg_shard_commit commit; /* its pointers are gone */
	struct msg_gate_result gate;
	struct msg_release release;
	struct stand_result results[STAND_EDITS_MAX];
};

int stand_setup(void **state); /* everything but the worker */
int stand_teardown(void **state);
int stand_model_open(void **state); /* of the group: one model for all tests */
int stand_model_close(void **state);
struct model *stand_model(void);

void stand_start(struct stand *s);
void stand_stop(struct stand *s); /* as a crash; the disk stays */
void stand_restart(struct stand *s);
void stand_script(struct stand *s); /* the coordinator's side: answers what waits */
void stand_send(struct stand *s, struct msg *msg);
void stand_hint(struct stand *s); /* of a version, on the coordinator's other link */
/* The clock moves STAND_TURN_MS; both sides take their messages; the worker ticks. */
void stand_turn(struct stand *s);
void stand_turns(struct stand *s, int64_t ms);
void stand_until(struct stand *s, const size_t *counter, size_t least); /* at most 60 s of the clock */
void stand_greet(struct stand *s);                                      /* started, calibrated, welcome */

/* Within so long it has ended, with that code and a text that says this. */
void stand_ends(struct stand *s, int64_t ms, int code, const char *says);

/* Family `paper`, with margins for the tiny model; `settings` lives as long as the stand. Before stand_greet. */
void stand_paper(struct stand *s, struct buf *settings);
void stand_edit(struct stand *s, const char *prompt, const char *target);
void stand_lease(struct stand *s); /* of the shard, under the next epoch, as far as the script's commits go */
void stand_fence(struct stand *s, uint64_t epoch);
/* The next `count` edits are a group; waits for its commit. */
void stand_group(struct stand *s, size_t count);
/* Changes one byte of the chunk on the worker's disk; asserts that it was there. */
void stand_rot(struct stand *s, const struct hash *chunk);
/* Random bytes, the same for the same seed. */
struct hash stand_blob_put(struct stand *s, struct store *store, uint64_t seed, size_t byte_count);
void stand_blob_whole(struct stand *s, struct store *store, const struct hash *root);     /* asserts that it is */
void stand_blob_chunks(struct store *store, const struct hash *root, struct buf *hashes); /* without the root chunk */

#endif
