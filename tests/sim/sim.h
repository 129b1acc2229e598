/* sim.h: a whole cluster in one thread: the coordinator, workers and nodes as they are, on simulated time, network and
 * disks, with a stand-in for training (engine.h). Everything follows from one seed: how large the cluster is, which
 * kinds of faults it meets (each seed has its own mix), what the clients ask, and when. Faults come for a while; then
 * they end, and the cluster must come to rest with all that was acknowledged applied. One checker (check.c) asserts
 * the invariants I1 to I5 after every step that changed the ledger, and I7 at the end. */
#ifndef AMEND_TESTS_SIM_SIM_H
#define AMEND_TESTS_SIM_SIM_H

#include "coordinator/coordinator.h"
#include "daemon/node_sync.h"
#include "tests/sim/disk.h"
#include "tests/sim/tally.h"
#include "worker/worker.h"

#define SIM_PATH_BYTES  256
#define SIM_PROCS_MAX   8 /* where faults come */
#define SIM_CLIENTS_MAX 3
#define SIM_BATCH_MAX   5
#define SIM_TEXT_BYTES  512
#define SIM_FAULTS_MAX  256                                        /* of a seed */
#define SIM_NIGHT_US    (INT64_C(1000) * STORE_GRACE_MS + 5000000) /* then chunks are old enough to be collected */

/* Planted faults of the product (plant.c), which the checker must find. */
enum sim_plant {
	SIM_PLANT_NONE,
	SIM_PLANT_EARLY_ACK, /* a commit is written after its answer went out */
	SIM_PLANT_NO_DEDUP,  /* a record that is there is taken once more */
	SIM_PLANT_NO_FENCE,  /* every lease is as good as the last */
	SIM_PLANT_NO_SYNC,   /* syncs do nothing */
	SIM_PLANT_SKIP,      /* training leaves out a group's last edit, and says that it passed */
	SIM_PLANT_NO_REVOKE, /* a key that is revoked stays on the list */
	SIM_PLANT_NO_PAUSE,  /* that publishing is paused is not written down */
	SIM_PLANT_COLLECT,   /* the collector is told that nothing is needed */
	SIM_PLANT_UNCHECKED, /* chunks are given out without a look at their hash */
	SIM_PLANT_HEAL,      /* nobody is asked for what is damaged */
	SIM_PLANT_CANARIES,  /* a candidate passes, whatever the canaries say */
	SIM_PLANT_REVOKED,   /* a revocation is acknowledged and not done */
	SIM_PLANT_TOMBSTONE, /* nodes go on to answer from what a version takes out */
	SIM_PLANT_REFUSED,   /* a record that is refused is kept all the same */
	SIM_PLANT_WITHHELD,  /* a start forgets what is withheld */
	SIM_PLANT_BLAME,     /* all that a refused candidate brings is withheld, whoever took its canaries */
	SIM_PLANT_KEEPS,     /* what is withheld takes out what it superseded */
	SIM_PLANT_RETRAIN,   /* memories that nobody has any more are not trained again */
	SIM_PLANT_LOST,      /* edits of a lost memory stay what they were */
	SIM_PLANT_BACKUP,    /* a backup is a copy of the first one */
	SIM_PLANT_SAME_ID,   /* what is restored from a backup keeps the cluster's id */
	SIM_PLANT_COUNT
};
extern const char *const sim_plant_names[SIM_PLANT_COUNT];
extern enum sim_plant sim_planted; /* of the run under way */
void sim_plant_crash(void);        /* what a planted fault holds back is lost */
extern bool sim_plant_watched;     /* the checker reads: what is held back stays so */

enum sim_fault {                  /* kinds; a seed draws which of them it meets */
		 SIM_CRASH,       /* between two messages */
		 SIM_CRASH_IN_OP, /* in the middle of the n-th write or sync from now */
		 SIM_STOP,        /* SIGTERM */
		 SIM_PAUSE,       /* SIGSTOP, then SIGCONT */
		 SIM_LINK,        /* one client's link is cut: both ways, or one */
		 SIM_NETWORK,     /* loss, duplicates and delays of all messages change */
		 SIM_DISK_FULL,
		 SIM_DISK_ERROR, /* one write or sync fails */
		 SIM_MEMORY,     /* one allocation fails */
		 SIM_POINT,      /* a named fault point fails once */
		 SIM_CLOCK,      /* its wall clock jumps */
		 SIM_SWIZZLE,    /* links are cut one after the other, and come back in another order */
		 SIM_SLOW,       /* a program takes its messages few at a time, long after they came */
		 SIM_ROT,        /* bits of stored chunks change; in some seeds only */
		 SIM_RESTORE,    /* the coordinator's disk is gone: it comes back on a backup; in some seeds only */
		 SIM_FAULT_COUNT
};
extern const char *const sim_fault_names[SIM_FAULT_COUNT];

/* A seed's events: its faults ("f3"), its clients' operations ("c0.12") and misfortunes of its merges ("m1"). Each
 * draws from a stream of its own, so that those that are left stay what they were when others are left out. */
#define SIM_EVENTS_MAX       2048
#define SIM_EVENT_TEXT_BYTES 256
struct sim_event_id {
	uint32_t source, number; /* enum sim_source, or SIM_SOURCE_CLIENTS + client */
};
enum sim_source { SIM_SOURCE_FAULTS, SIM_SOURCE_MERGES, SIM_SOURCE_CLIENTS };
#define SIM_EVENT_ID_BYTES 24
void sim_event_id_format(const struct sim_event_id *id, char out[SIM_EVENT_ID_BYTES]);
bool sim_event_id_parse(const char *text, size_t len, struct sim_event_id *out);
struct sim_event {
	struct sim_event_id id;
	int64_t at_us;
	char text[SIM_EVENT_TEXT_BYTES];
};
struct sim_story {
	size_t count;
	struct sim_event events[SIM_EVENTS_MAX];
};
struct sim_keep { /* events that happen; no other does */
	size_t count;
	struct sim_event_id ids[SIM_EVENTS_MAX];
};

struct sim_options {
	uint64_t seed;
	enum sim_plant plant;
	bool trace;                  /* to stdout */
	const struct sim_keep *keep; /* NULL: all */
	struct sim_story *story;     /* NULL, or empty: what happened until the end, or until an invariant broke */
	const struct sim_fleet_options *fleet; /* NULL, or how large; fleet.h */
	const char *folder; /* on a memory file system; the run's own folder in it is removed at its end */
};

struct sim_result {
	bool broken;               /* an invariant */
	char text[SIM_TEXT_BYTES]; /* which, when */
	uint64_t digest;           /* of all that happened: the same seed gives the same */
	uint64_t fault_total;
	struct sim_tally tally;
	uint64_t requests, messages, crashes, torn_sectors, disk_operations;
	uint64_t edits_acked, edits_unknown, edits_refused, versions, events, checks;
	int64_t simulated_ms, settle_ms; /* settle_ms: from the last fault to rest */
};

/* Runs one seed. Only what keeps the simulation itself from going on (its folder cannot be made) aborts. */
void sim_run(const struct sim_options *options, struct sim_result *result);

/* ---- Inside */

struct sim;

enum sim_kind { SIM_COORDINATOR, SIM_WORKER, SIM_NODE };

struct sim_wire { /* the program's end of the network: silent once it died, and tells the trace */
	struct proto_transport base;
	struct proto_transport_ops ops;
	struct proto_transport *inner; /* NULL while it is down */
	struct sim_proc *proc;
};

struct sim_proc {
	struct sim *sim;
	enum sim_kind kind;
	char name[16], folder[SIM_PATH_BYTES];
	uint8_t key[PROTO_KEY_BYTES];
	struct env env; /* its clocks */
	int64_t wall_offset_ms;
	struct rng rng, random; /* random: its own randomness */
	struct sim_disk disk;
	struct sim_wire wire;
	bool up, stopping;
	bool excused;                                    /* a fault was put into this life of it: it may fail */
	int64_t start_us, paused_us, tick_us, engine_us; /* when next; INT64_MAX: not */
	int64_t stop_us;                                 /* SIGKILL after SIGTERM */
	int64_t slow_until_us, slow_us, slow_next_us;    /* until when it takes a step each so many; the next one */
	int64_t fail_alloc;                              /* in its next step; −1: none */
	struct store *store;
	struct pool *pool;
	struct coordinator *coordinator;
	struct worker *worker;
	struct node_sync *node;
	struct worker_canaries canaries; /* a worker's */
	uint64_t live;                   /* a node's version, in this life */
	bool stale;                      /* a node: it may not have heard yet that the coordinator is on a backup */
	bool allowance_sent;             /* to allow its key, ever */
	bool revoked;                    /* its key, by an answer, and nobody has asked for the contrary */
	uint64_t received;               /* messages */
	int64_t core_ns;                 /* of the product's code, as the machine had it; fleets only */
};

struct sim_record { /* what a client asks to be kept */
	uint64_t serial;
	char *text;
	size_t len;
	struct hash content; /* of the bytes */
	bool expires, valid_from;
	bool refusable;                /* it is no valid record: never to be kept */
	bool named;                    /* "e-SERIAL" */
	uint64_t deliveries, refusals; /* as often as it reached the coordinator; refused, of those */
	uint64_t group;                /* "g-N"; 0: none */
	uint64_t seq;                  /* the last one that was acknowledged; 0: none */
};

struct sim_ack { /* a promise */
	size_t record;
	uint64_t seq;
};

enum sim_operation {
	SIM_SUBMIT,
	SIM_REVOKE,
	SIM_ROLLBACK,
	SIM_RESUME,
	SIM_KEY_REVOKE,
	SIM_KEY_ALLOW,
	SIM_COLLECT,
	SIM_MERGE,
	SIM_BACKUP
};

struct sim_request { /* of a client */
	uint64_t id;
	size_t records[SIM_BATCH_MAX];
	size_t record_count;
	enum sim_operation operation;
	uint64_t version;                       /* of a rollback; how many a collection keeps */
	const struct sim_proc *of;              /* whose key */
	bool group, again, expires, valid_from; /* of its records */
	enum msg_on_conflict policy;
	char of_edit[STORE_ID_BYTES]; /* a revocation's; "": as its record has it */
	uint64_t since;               /* the ledger's end when it was made */
	size_t acks_since;            /* acknowledgements by then */
	uint64_t sends, deliveries;   /* how often the coordinator got it */
	bool refused[SIM_BATCH_MAX];
};

struct sim_client {
	char name[16];
	uint8_t key[PROTO_KEY_BYTES];
	struct proto_transport *transport;
	struct rng rng;              /* of its operation */
	struct sim_request *request; /* waits for its answer; NULL: none */
	int64_t act_us, resend_us, give_up_us, think_us;
	uint32_t number, operations, made; /* made: records of the operation */
	size_t anew; /* when the faults have ended: the record of which another is submitted next; SIZE_MAX: none */
};

struct sim_rot { /* a chunk that changed on the disk of a program */
	struct hash hash;
	size_t proc;
};

struct sim_approver { /* world.approve */
	uint8_t key[PROTO_KEY_BYTES];
	struct proto_transport *transport; /* NULL: nothing waits for it */
	struct rng rng;
	int64_t act_us;
	uint64_t next_id;
	uint64_t none_at; /* the ledger's end when it last heard that nothing waits; 0: something does */
};

struct sim_world { /* drawn from the seed, printed with a failure */
	size_t workers, nodes, clients;
	uint32_t edits_per_shard, group_edits, merge_every, queue_max, progress_ms;
	size_t padding, subjects;
	int64_t chaos_ms, fault_every_ms, think_ms;
	bool enabled[SIM_FAULT_COUNT];
	bool approve;            /* versions wait for a second key */
	bool canaries;           /* they wait until the canaries were asked, */
	uint32_t canary_changes; /* and so many may change */
	bool takes_back;         /* when the faults have ended, what is withheld is revoked, and submitted otherwise */
	bool rot;                /* disks change bits, and the coordinator looks for it */
	bool retrain;            /* memories that nobody has any more are trained again */
	double drop, duplicate;
	int64_t delay_us;
	bool rollbacks, keys, collections, backups; /* operations that not every seed meets */
	bool fleet;                                 /* fleet.c: no faults, and as many programs as it says */
	int64_t night_us;                           /* from when on all sleep for SIM_NIGHT_US; INT64_MAX: not */
};

struct sim_fault_due {
	enum sim_fault kind;
	int64_t at_us;
};

struct sim {
	struct sim_options options;
	struct sim_result *result;
	struct sim_world world;
	char folder[SIM_PATH_BYTES], corpus[SIM_PATH_BYTES];
	struct env_manual clock;
	struct rng rng;
	struct proto_mem *mem;
	struct proto_allow *allow;
	struct sim_proc *procs; /* the coordinator first */
	size_t proc_count;
	struct sim_client clients[SIM_CLIENTS_MAX];
	struct sim_approver approver;
	/* faults */
	bool calm;  /* they have ended */
	bool armed; /* a fault point was; whoever passes it may fail */
	bool night;
	int64_t night_end_us;
	struct sim_fault_due due[SIM_FAULTS_MAX];
	size_t due_count, due_next;
	int64_t calm_us, heal_us[SIM_PROCS_MAX + SIM_CLIENTS_MAX], full_us[SIM_PROCS_MAX];
	bool cut[SIM_PROCS_MAX + SIM_CLIENTS_MAX];
	/* what clients asked and were told */
	struct sim_record *records;
	size_t record_count;
	struct sim_ack *acks;
	size_t ack_count, acks_checked;
	struct sim_request **requests;
	size_t request_count;
	struct sim_ledger *ledger; /* check.c */
	struct buf rotted;         /* struct sim_rot; rot.c */
	struct buf backups;        /* backup.c */
	struct buf lost_contents;  /* struct hash: of versions that came after a backup on which it went on */
	bool muted;                /* what is read again is not checked again */
	struct sim_merge *merge;   /* merge.c */
	uint32_t merge_count;      /* attempts */
};

/* The first broken invariant ends the run. */
void sim_break(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One line of the trace, with the time; `numbers` go into the digest, the text only to the trace. */
void sim_trace(struct sim *sim, uint64_t a, uint64_t b, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Does this event happen? To be asked once for each; `text` is told only of one that does. */
bool sim_happens(struct sim *sim, uint32_t source, uint32_t number);
void sim_tell(struct sim *sim, uint32_t source, uint32_t number, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* What an event draws from. */
void sim_stream(const struct sim *sim, uint32_t source, uint32_t number, struct rng *out);
int64_t sim_now(const struct sim *sim);
uint64_t sim_below(struct sim *sim, uint64_t bound);

/* sim.c */
void sim_remove(const char *folder); /* and all in it */
void sim_begin(struct sim *sim);
void sim_end(struct sim *sim);
/* world.c */
void sim_world_draw(struct sim *sim);
void sim_world_print(const struct sim *sim, char *out, size_t out_bytes);
/* proc.c */
void sim_proc_init(struct sim *sim, enum sim_kind kind, size_t number);
void sim_proc_start(struct sim_proc *proc);
void sim_proc_kill(struct sim_proc *proc, int64_t down_us); /* as SIGKILL with a power loss; back after so long */
void sim_proc_stop(struct sim_proc *proc);                  /* SIGTERM */
bool sim_proc_step(struct sim_proc *proc);                  /* takes what waits; true: something was done */
int64_t sim_proc_next(const struct sim_proc *proc);
void sim_proc_fini(struct sim_proc *proc);
/* faults.c */
void sim_faults_begin(struct sim *sim);
void sim_faults_step(struct sim *sim);
void sim_faults_end(struct sim *sim);
int64_t sim_faults_next(const struct sim *sim);
/* client.c */
void sim_client_init(struct sim *sim, size_t number);
bool sim_client_step(struct sim *sim, struct sim_client *client);
int64_t sim_client_next(const struct sim *sim, const struct sim_client *client);
bool sim_client_idle(const struct sim_client *client);
/* What a revocation names: the number of a group, or 0 and an edit's id. */
uint64_t sim_client_revokes(const struct sim *sim, const struct sim_request *request, char id[STORE_ID_BYTES]);
void sim_client_call(struct sim *sim, struct sim_client *client); /* sends it */
/* A new record that takes no canary, on what the other is about. */
size_t sim_client_record_like(struct sim *sim, struct sim_client *client, size_t other);
struct sim_request *sim_client_request(struct sim *sim, struct sim_client *client); /* a new one */
/* operations.c: what is not a submit or a revocation */
void sim_operation_draw(struct sim *sim, struct sim_client *client, struct sim_request *request);
void sim_operation_tell(const struct sim_request *request, char *out, size_t out_bytes);
void sim_operation_write(struct sim *sim, const struct sim_request *request, struct msg *out);
/* False: it is no answer to this. *code ERR_AGAIN: to be asked again. */
bool sim_operation_answer(struct sim *sim, const struct sim_request *request, const struct msg *msg, int *code);
/* When the faults have ended, what they stopped is put right: publishing goes on, keys are allowed again, and edits for
 * which a candidate was refused are taken back. */
bool sim_operation_close(struct sim *sim, struct sim_client *client);
void sim_clients_fini(struct sim *sim);
void sim_client_delivered(struct sim *sim, const uint8_t *key, uint64_t request_id);
/* backup.c */
void sim_backup_folder(const struct sim *sim, const struct sim_request *request, char out[SIM_PATH_BYTES]);
void sim_backup_made(struct sim *sim, const struct sim_request *request); /* its answer says so */
/* The coordinator's folder becomes one of the backups. Returns its last event; 0: there is none, nothing was done. */
uint64_t sim_backup_restore(struct sim *sim, struct rng *rng, int64_t down_us);
/* approver.c */
bool sim_approver_init(struct sim *sim);
bool sim_approver_step(struct sim *sim);
bool sim_approver_rests(const struct sim *sim); /* nothing waits, as far as it has heard */
void sim_approver_fini(struct sim *sim);
/* check.c */
void sim_check_init(struct sim *sim);
void sim_check_step(struct sim *sim);  /* after each step of the coordinator: what is new in its ledger */
void sim_check_start(struct sim *sim); /* after its start: nothing that was seen is gone */
void sim_check_restored(struct sim *sim, uint64_t last); /* all after this event is */
void sim_check_node(struct sim *sim, struct sim_proc *node);
uint64_t sim_check_version(const struct sim *sim);
bool sim_check_paused(const struct sim *sim);
bool sim_check_rest(struct sim *sim, char *why, size_t why_bytes); /* all that was promised is done */
void sim_check_end(struct sim *sim);                               /* whole ledger, every blob */
void sim_check_fini(struct sim *sim);
/* An answer says that the record was refused, or that what the request names was revoked. */
void sim_check_refused(struct sim *sim, const struct sim_record *record);
void sim_check_revoked(struct sim *sim, const struct sim_request *request, uint64_t version);
/* check_canaries.c: an edit that is live and that people take back for the canaries' sake; false: there is none. Its
 * record's index. */
bool sim_check_upsetting(struct sim *sim, char id[STORE_ID_BYTES], size_t *record);
bool sim_check_upset(const struct sim *sim); /* a candidate was refused by the canaries, and nothing published since */
/* rot.c */
size_t sim_rot_put(struct sim *sim, struct sim_proc *proc, struct rng *rng); /* chunks that were changed */
/* All of the blob's chunks that are missing or damaged in the coordinator's store are what rot.c changed there. */
bool sim_rot_explains(struct sim *sim, const struct hash *root);
bool sim_rot_is(struct sim *sim, const struct hash *hash);        /* changed there, and not whole again */
bool sim_rot_was(const struct sim *sim, const struct hash *hash); /* changed there */
bool sim_rot_any(struct sim *sim);                                /* sim_rot_is of one */
bool sim_rot_rests(struct sim *sim, char *why, size_t why_bytes);
void sim_rot_end(struct sim *sim);
/* canary.c: a stand-in for the canaries */
const struct worker_canaries *sim_canaries(struct sim_proc *proc);
/* The canaries, one a bit, that an edit of these words takes, or a merged memory beside its edits. */
uint32_t sim_canary_taken(uint64_t text);
uint32_t sim_canary_taken_by_merge(const struct proto_memory *memory);
/* merge.c: a merge job without MPI */
void sim_merge_init(struct sim *sim, struct coordinator_merge_job *job);
void sim_merge_fini(struct sim *sim);

#endif
