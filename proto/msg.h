/* msg.h: the messages as plain structs, after range checks. codec*.c turns them into and from protobuf (*.proto, one
 * file a conversation); nothing above the codec sees wire bytes. Arrays and texts of a decoded message live in its
 * arena until msg_free; for encoding they are borrowed. Texts are UTF-8 without NUL, with a length, and NUL-terminated
 * after decoding. */
#ifndef AMEND_PROTO_MSG_H
#define AMEND_PROTO_MSG_H

#include "base/arena.h"
#include "base/hash.h"
#include "proto/msg_type.h"

#define MSG_PROTOCOL_VERSION 1
#define MSG_BODY_BYTES_MAX   (256 * 1024) /* the largest cap of any type; each type has its own in codec.c */
#define MSG_SUBMIT_BYTES_MAX (60 * 1024)
#define MSG_BULK_BYTES_MAX   65520 /* one chunk */
#define MSG_HASHES_MAX       2048
#define MSG_NEED_GIVEN_MAX   16   /* chunks that a worker or a node gives for one Need */
#define MSG_RESULTS_MAX      4096 /* of one ShardCommit */
/* Of one Submit; so many answers with texts of the stated lengths keep to SubmitReply's cap. */
#define MSG_SUBMIT_RECORDS_MAX       512
#define MSG_SUBMIT_ID_BYTES_MAX      159
#define MSG_SUBMIT_REASON_BYTES_MAX  255
#define MSG_GROUP_BYTES_MAX          2048 /* a group's name */
#define MSG_REVOKE_REASON_BYTES_MAX  1024
#define MSG_PUBLISH_REASON_BYTES_MAX 1024
#define MSG_FOLDER_BYTES_MAX         4000
#define MSG_EDIT_HISTORY_MAX         16

struct msg_text {
	const char *text;
	size_t len;
};
struct msg_bytes {
	const void *bytes;
	size_t len;
};
enum msg_on_conflict { MSG_SUPERSEDE, MSG_KEEP, MSG_REJECT };
/* Submit: records as JSON bytes, exactly as they shall be kept. → SubmitReply after the synced commit. */
struct msg_submit {
	enum msg_on_conflict on_conflict;
	const struct msg_bytes *records;
	size_t record_count;
};
struct msg_submit_result {
	int code;            /* 0 accepted; ERR_EXISTS: duplicate (seq is the first one's); else refused: an err_code */
	uint64_t seq;        /* 0 when refused */
	uint64_t supersedes; /* seq, 0: none */
	struct msg_text id, reason; /* accepted: the reason says which edit is superseded */
};
struct msg_submit_reply {
	const struct msg_submit_result *results; /* one a record, in order */
	size_t result_count;
	uint32_t retry_after_ms; /* > 0 with ERR_AGAIN and ERR_FULL */
};
/* EditList: by id, by seqs, or a range with a state mask. */
struct msg_edit_list {
	struct msg_text id; /* len 0: none */
	uint64_t from_seq;
	uint32_t state_mask, limit;
	bool with_payload;
	bool counts_only;     /* only the totals by state: what `edit wait` polls */
	uint64_t ended_after; /* only edits that an event behind this one ended; 0: all */
};
struct msg_edit_step { /* of an edit's history */
	int64_t time_ms;
	uint64_t event;    /* seq in the ledger, 0: none of its own */
	uint8_t actor[32]; /* zero: the coordinator, or not known */
	struct msg_text what, text;
};
struct msg_edit {
	uint64_t seq, shard, version, supersedes, superseded_by;
	int64_t accepted_ms, trained_ms, served_ms;
	uint32_t state, tries;
	struct msg_text id, reason;
	struct msg_bytes payload;            /* len 0 unless asked for */
	uint64_t restores;                   /* the superseded edit that it brings back, 0: none */
	int64_t valid_from_ms, expires_ms;   /* 0: none */
	const struct msg_edit_step *history; /* with the payload of one that was asked for by id */
	size_t history_count;
	uint64_t ended_event; /* that ended it, or lost its memory; 0: none, or not said */
};
struct msg_edit_list_reply {
	const struct msg_edit *edits;
	size_t edit_count;
	uint64_t next_seq;            /* to page on with, 0: the end */
	const uint64_t *state_counts; /* one for each store_edit_state */
	size_t state_count;
	uint64_t last_seq; /* of the ledger */
};

/* Hello: first message of a worker or node on every connection. */
enum msg_peer_kind { MSG_PEER_WORKER = 1, MSG_PEER_NODE = 2, MSG_PEER_CLIENT = 3 };
struct msg_hello {
	enum msg_peer_kind kind;
	uint32_t protocol_min, protocol_max;
	struct msg_text name, software, backend, endpoint; /* endpoint: a node's HTTP "host:port" */
	uint64_t boot; /* random, new at every start of the process: fences an earlier process with the same key */
	struct hash base_model;
	uint32_t layers, hidden, ffn; /* shape of the base model */
	uint32_t pid;
	struct hash calibration; /* a worker's: digest of the file it was given, else of its corpus; zero: none */
	struct hash corpus; /* a worker's: digest of its corpus, whose texts the paper's family trains on; zero: none */
	struct msg_text refusal; /* of a worker that ends, as MSG_PEER_CLIENT: why it cannot work for this cluster */
	struct hash canaries;    /* a worker's: digest of the questions that it asks candidates; zero: it has none */
};
#define MSG_SETTINGS_BYTES_MAX 8192
struct msg_hello_reply {
	int code; /* 0, ERR_MISMATCH (another base model; text says both digests), ERR_UNSUPPORTED (protocol),
		     ERR_INVALID (the edited layer is not one of the model), ERR_DENIED */
	struct msg_text text;
	struct msg_text cluster_id;
	uint32_t heartbeat_ms, lease_ms;
	uint64_t seed;
	uint32_t layer;            /* edited layer; UINT32_MAX: the worker's own default for the model */
	uint64_t version;          /* newest published */
	struct msg_bytes settings; /* of the paper's family (editor/gap.h, bare or in a calibration_file.h); empty:
				      family `amend` */
	double rate;               /* of a breadth-first pass; 0: the worker's own default */
};
#define MSG_WORKER_LEASES_MAX 64 /* that one worker holds at a time: more are given back with ERR_LIMIT */
enum msg_lease_kind { MSG_LEASE_TRAIN = 1, MSG_LEASE_GATE = 2 };
struct msg_lease { /* coordinator → worker */
	enum msg_lease_kind kind;
	uint64_t shard; /* or the merge's id for a gate */
	uint64_t epoch;
	uint32_t lease_ms;
	uint64_t shard_version; /* commits so far; the worker continues from delta_root */
	struct hash delta_root, index_root,
		calibration_root; /* zero before the first commit; gate: the memory to test */
	uint32_t trained_count; /* edits in that commit: they are sent first, in order, by EDITS with replayed = true */
};
struct msg_want { /* worker → coordinator: credit */
	uint64_t shard, epoch;
	uint32_t credit;         /* edits it can take now: bounds the next group; a gate sends all of its edits */
	uint32_t received_count; /* edits of the shard that it holds already, from the first */
	uint32_t replay_count;   /* and of the earlier memories' edits that come with it */
};
struct msg_edit_item {
	uint64_t seq;
	struct msg_bytes payload;
};
struct msg_edits { /* coordinator → worker; several may follow one another for one group */
	uint64_t shard, epoch;
	bool replayed;  /* edits that the last commit holds already: no training is due for them */
	bool group_end; /* the group is complete: train what is new, commit */
	bool closing;   /* with group_end: then the closing breadth-first pass, commit with closed = true */
	uint32_t group_first, group_count; /* the group: places in the shard's list of edits */
	const struct msg_edit_item *items;
	size_t item_count;
	const uint64_t *removed_seqs; /* superseded or revoked: forget them with this group */
	size_t removed_count;
	bool retrain;    /* with group_end: the memory holds what was taken back: train it anew, from nothing */
	uint64_t memory; /* not 0: none of the shard's, edits of this earlier memory, whose gaps stay small (L_memo) */
	uint32_t replay_count; /* with group_end: so many of those belong to the shard */
};
struct msg_lease_ref {
	uint64_t shard, epoch;
	enum msg_lease_kind kind;
};
struct msg_heartbeat {
	const struct msg_lease_ref *leases;
	size_t lease_count;
	uint64_t resident_bytes;
	uint32_t unheard_ms;     /* since the sender last heard the coordinator */
	struct msg_text trouble; /* why a worker's result can be neither stored nor uploaded; empty: none waits so */
};
struct msg_heartbeat_reply {
	uint64_t version; /* newest published: a poll for free */
	int64_t wall_ms;
	uint64_t readers; /* to a node: changes with the ReaderList; 0: there is none */
};
struct msg_progress {
	uint64_t shard, epoch;
	uint32_t done, total;
	struct msg_text phase; /* "stream", "breadth-first", "re-test", "upload" */
	double loss;
};
struct msg_edit_result {
	uint64_t seq;
	bool passed;
	uint32_t tries;
	struct msg_text reason; /* what it decoded to instead; when passed, by which names of its subject it does not */
	bool names_asked;       /* by the other names of its subject too */
};
struct msg_shard_commit {
	uint64_t shard, epoch, shard_version; /* version after this commit: lease's + 1 */
	struct hash delta_root, index_root, calibration_root;
	uint32_t trained_count; /* edits of the shard's list covered, from the first */
	uint32_t group_first, group_count;
	bool closed;
	uint64_t seed;
	struct msg_text mode;    /* "stream" or "breadth-first" */
	struct msg_text backend; /* with instruction set and thread count */
	const struct msg_edit_result
		*results; /* every live edit of the shard; reasons cut by msg_result_reason_bytes */
	size_t result_count;
	uint32_t train_ms, retest_ms, steps;
	uint32_t layer; /* that the delta edits; 0, which no memory edits: not said */
};
struct msg_shard_commit_reply {
	int code;                       /* 0, ERR_FENCED, ERR_NOT_FOUND (chunks missing: send them), ERR_INVALID */
	uint64_t shard, epoch, version; /* the version published with it */
	struct msg_text text;
};
struct msg_fenced { /* coordinator → worker: the lease is another's now; stop at once */
	uint64_t shard, epoch;
};
/* CanaryRun: coordinator → worker: what does the version of this manifest, which is not published, answer to questions
 * that no edit is about? → CanaryResult; what it says is true of that content, so it may come late or twice. */
#define MSG_CANARY_CHANGES_MAX      32
#define MSG_CANARY_ID_BYTES_MAX     64
#define MSG_CANARY_PROMPT_BYTES_MAX 2048
#define MSG_CANARY_ANSWER_BYTES_MAX 256
struct msg_canary_run {
	struct hash root, content; /* of the manifest */
};
struct msg_canary_change {
	struct msg_text id, prompt, before, after; /* before: the base model's answer */
	uint64_t memory;                           /* that answered */
	uint64_t edit; /* of it, that took the question; 0: none alone, as in family `paper` */
};
struct msg_canary_result {
	struct hash content;
	int code; /* 0, or why they could not be asked */
	struct msg_text text;
	uint32_t asked, changed_total;
	const struct msg_canary_change *changed; /* the first ones */
	size_t changed_count;
	struct hash canaries; /* digest of those that were asked, as in Hello */
};
struct msg_gate_result { /* worker → coordinator: how many edits the merged memory answers, of how many tested */
	uint64_t merge, epoch;
	uint32_t passed, tested;
	struct hash index_root; /* family `paper`: the merged memory's index; zero: none */
};
struct msg_release {    /* worker → coordinator: it gives a lease back, of a shard or a gate. No answer */
	uint64_t shard; /* or the merge's id for a gate */
	uint64_t epoch;
	int code; /* 0: the worker is stopping; ERR_INVALID: an edit of the group is to blame; else why its job failed
		   */
};
/* Have, Missing (of those), Need. A coordinator sends Need, too, for chunks that its disk has changed: the answer is a
 * Chunk for each of the first MSG_NEED_GIVEN_MAX that are here, or one with ERR_NOT_FOUND for none of them. A relay
 * answers a Need with a Missing of those that it has not yet: they come when it has them. */
struct msg_hashes {
	const struct hash *hashes;
	size_t hash_count;
	uint64_t version; /* Need: that they are fetched for; 0: none. A relay may have those of a newer one soon */
};
struct msg_chunk { /* the bytes are the bulk frame. ChunkStored acknowledges with the same hash */
	struct hash hash;
	int code;              /* 0, ERR_NOT_FOUND, ERR_CORRUPT, ERR_FULL */
	struct msg_bytes data; /* ≤ MSG_BULK_BYTES_MAX */
};
struct msg_hint { /* PUB: only a hint */
	uint64_t version;
};
struct msg_get_manifest {
	uint64_t version;      /* 0: the alias */
	struct msg_text alias; /* "latest" when empty */
};
struct msg_manifest_reply {
	int code; /* 0 or ERR_NOT_FOUND */
	uint64_t version;
	struct hash root; /* blob root; fetch it by Need */
	struct hash content;
	int64_t published_ms;
	struct msg_text note;
};
struct msg_node_status {  /* node → coordinator, at each change and with each heartbeat */
	uint64_t version; /* live */
	struct hash content;
	struct msg_text state; /* sync state: idle, fetching, verifying, staged, live */
	uint64_t resident_bytes, requests;
	uint64_t failed_version; /* the newest, when it cannot be loaded and is tried again; 0: none */
	struct msg_text failed_reason;
	struct msg_text source; /* of its last chunk: "coordinator", a relay's endpoint; empty: none came */
};
struct msg_version_list {
	uint64_t from, limit;
};
struct msg_version {
	uint64_t version;
	struct hash root, content;
	int64_t published_ms;
	uint32_t memory_count, edit_count;
	struct msg_text note;
	struct msg_text problem; /* why it cannot be loaded; empty: none is known. With a zero content its record in
				    the ledger is damaged, and its number is all that is known of it */
};
struct msg_version_list_reply {
	const struct msg_version *versions;
	size_t version_count;
	uint64_t latest;
	struct msg_text held; /* why newer edits are not published; empty: they are */
};
/* Publish: an administrator's say about what is published. A rollback publishes an old version's manifest again, under
 * the next number, and pauses publishing; a resume publishes what there is. Where versions need approval, a candidate
 * is published by an approval with a key that submitted none of its new edits, and held back by a rejection. */
enum msg_publish_action { MSG_PUBLISH_ROLLBACK = 1, MSG_PUBLISH_RESUME, MSG_PUBLISH_APPROVE, MSG_PUBLISH_REJECT };
struct msg_publish {
	enum msg_publish_action action;
	uint64_t version;       /* to roll back to */
	struct msg_text reason; /* of a rollback or a rejection */
	struct hash content;    /* of the candidate that was looked at */
};
struct msg_publish_reply {
	int code;            /* 0; ERR_INVALID; ERR_NOT_FOUND: no such version, no candidate; ERR_CONFLICT: it is
				another, or was rejected; ERR_DENIED: this key submitted an edit of it; ERR_AGAIN, ERR_FULL */
	uint64_t version;    /* published by it; 0: none, as a resume where candidates need approval */
	struct hash content; /* of its manifest */
	/* Edits that are served again though they were revoked, superseded or have expired since. */
	uint32_t back_count;
	bool already; /* resume: publishing was not paused; approval: it is published */
	struct msg_text text;
};
/* Candidate: what waits for approval, or was rejected. → CandidateReply */
#define MSG_CANDIDATE_EDITS_MAX 1000
struct msg_candidate_reply {
	struct msg_text state; /* none, checking, waiting, refused */
	uint64_t version;      /* that it would be */
	struct hash content;
	int64_t made_ms;
	uint32_t memory_count, edit_count;
	const uint64_t *added, *removed; /* edits beside the newest version's, and those of it that are left out; the
					    first ones, ascending */
	size_t added_count, removed_count;
	uint32_t added_total, removed_total;
	uint32_t canaries, canaries_changed; /* asked; 0: none yet */
	const uint64_t *blamed;              /* edits that took the canaries for which it was refused; worst first */
	size_t blamed_count;
	const uint64_t *withheld; /* trained edits that candidates leave out, as canaries were refused for them; the
				     first ones, ascending */
	size_t withheld_count;
	uint32_t withheld_total;
	struct msg_text text; /* why newer edits are not published; empty: they are */
};
/* StoreRun: work on the coordinator's data folder. `id` is chosen by who asks, not 0, the same for every question after
 * one piece of work. → StoreStatus, at once: it is not done yet, or what came of it. */
enum msg_store_action { MSG_STORE_BACKUP = 1, MSG_STORE_COLLECT };
struct msg_store_run {
	uint64_t id;
	enum msg_store_action action;
	struct msg_text folder; /* of a backup: an absolute path on the coordinator's machine */
	uint64_t keep_versions; /* of a collection: the newest so many keep their blobs; 0: all do */
};
struct msg_store_status {
	int code;
	bool done;
	uint64_t event_count, version_count; /* that the copied ledger holds */
	uint64_t chunk_count, byte_count;    /* copied; or given back */
	uint64_t bad_count;                  /* damaged chunks that were left out */
	struct msg_text text;
};
struct msg_merge_run {
	uint64_t id; /* 0: plan a new one (closes the open shards first); else ask for its status */
};
struct msg_merge_status {
	int code; /* 0, ERR_NOT_FOUND, ERR_AGAIN (one is under way), ERR_INVALID (nothing to merge) */
	uint64_t id, version;
	uint32_t state, tries, ranks; /* store_merge_state */
	uint32_t shard_count;
	double score, score_inputs, progress;
	struct msg_text text; /* reason, phase */
	bool done, served_by_default;
	int64_t planned_ms, ended_ms;
	uint32_t rounds, reduces; /* of training; sums of matrices over the ranks */
	uint64_t reduced_bytes;   /* of all sums, on one rank */
	struct msg_text reason;   /* why one that is not done does not go on; empty: it does */
};
struct msg_fleet_member {
	enum msg_peer_kind kind;
	struct msg_text name, endpoint, backend, software, state;
	uint8_t key[32];
	int64_t seen_ms_ago;
	uint64_t version, resident_bytes;
	uint32_t lease_count, edit_done, edit_total, pid; /* what a worker is doing */
	bool failing;                  /* it is there, and a node cannot load a version, or a worker's result waits */
	uint64_t failed_version;       /* that a node cannot load; 0: none */
	struct msg_text failed_reason; /* why it fails; empty for all but the first such members of a large fleet */
	struct msg_text source;        /* of a node's last chunk, as in NodeStatus */
};
#define MSG_FLEET_REPLY_BYTES_MAX (256 * 1024)
#define MSG_REFUSED_KEYS_MAX      64
struct msg_refused_key { /* of one who would connect, or is connected, and is not on the list of allowed keys */
	uint8_t key[32];
	int64_t ms_ago; /* that it was refused last */
};
struct msg_fleet_reply {
	const struct msg_fleet_member *members; /* workers and nodes, as many as fit */
	size_t member_count;
	uint32_t member_total;
	uint64_t version, queue_length, last_seq;
	uint32_t shards_open, shards_closed, pid;
	uint64_t resident_bytes;
	struct hash base_model;
	struct msg_text cluster_id, software, data_folder;
	struct msg_text refused_name, refused_reason; /* of the last that could not join; empty: it has joined since */
	int64_t refused_ms_ago;
	/* Since the coordinator read its list of allowed keys, the last first; not all, when there were more than
	 * MSG_REFUSED_KEYS_MAX (transport.h). */
	const struct msg_refused_key *refused_keys;
	size_t refused_key_count;
	uint64_t merge; /* that is under way; 0: none */
	struct msg_text merge_phase, merge_reason;
	struct msg_text publish_held;  /* why newer edits are not published; empty: they are */
	struct msg_text write_trouble; /* why the coordinator keeps nothing new; empty: it does */
	struct msg_text canaries;      /* which workers ask candidates other questions than others; empty: none do */
	struct msg_text damage;        /* chunks that its disk changed and nobody has, and what to do; empty: none */
	double visible_p50_ms, visible_p99_ms; /* accepted → served by every node, over edits of this process's life */
};
/* Revoke: takes one edit, or every live one of a group, back. Idempotent: what was revoked before is said again. */
struct msg_revoke {
	struct msg_text id, group; /* one of them */
	struct msg_text reason;
	bool restore_superseded; /* what the edits superseded is submitted again */
};
#define MSG_RESTORED_MAX 256 /* that a reply names */
struct msg_restored {
	struct msg_text id; /* under which a superseded edit was submitted again */
};
struct msg_revoke_reply {
	int code;         /* 0; ERR_NOT_FOUND; ERR_CONFLICT: not live, for another reason; ERR_AGAIN, ERR_FULL */
	uint64_t version; /* published without them, 0: none held them */
	uint32_t revoked_count, restored_count;
	bool already;                        /* they were revoked before */
	struct msg_text text;                /* why not, or why what is live goes on to hold them; else empty */
	const struct msg_restored *restored; /* the first MSG_RESTORED_MAX of restored_count */
	size_t restored_listed;
};
/* KeyList: who may come in, by key; a page of the coordinator's list of allowed keys. ReaderList: of those of them that
 * may read, without their names. */
#define MSG_KEYS_MAX           1024 /* of one reply */
#define MSG_KEY_NAME_BYTES_MAX 64
struct msg_key_list {
	uint32_t from; /* how many to pass over */
};
struct msg_key {
	uint8_t key[32];
	uint32_t roles; /* proto_role; 0: revoked */
	struct msg_text name;
};
struct msg_key_list_reply {
	const struct msg_key *keys;
	size_t key_count;
	uint32_t total;
};
/* KeyChange: idempotent; it holds, and is in the ledger with who asked, when the answer says so. */
enum msg_key_action { MSG_KEY_ALLOW = 1, MSG_KEY_REVOKE = 2 };
struct msg_key_change {
	enum msg_key_action action;
	struct msg_key key; /* allow: with its roles and name from now on; revoke: only the key */
	struct msg_text reason;
	uint8_t replaces[32]; /* allow: of the same owner as this one, which is on the list; zero: none */
};
struct msg_key_change_reply {
	int code;     /* 0; ERR_NOT_FOUND; ERR_CONFLICT: the asker would shut itself out; ERR_INVALID; or, of the list's
			 file or the ledger, another: the text says whether the change holds */
	bool already; /* the list said so before */
	struct msg_text text;
};
/* EventList: the ledger's events as they are, for audits, a page at a time. */
#define MSG_EVENT_PAYLOAD_MAX (60 * 1024)
struct msg_event_list {
	uint64_t from_seq;  /* 0: the first */
	uint32_t type_mask; /* bit t: those of type t (store.h); 0: all */
	uint32_t limit;     /* 0: as many as a page takes */
};
struct msg_event {
	uint64_t seq;
	uint32_t type;
	int64_t time_ms;
	uint8_t actor[32];
	struct msg_text actor_name; /* on the list of allowed keys; empty: it is not there */
	struct msg_text edit;       /* the id of the edit that it is about; empty: it is about none, or several */
	struct msg_bytes payload;
	bool omitted; /* the payload is over MSG_EVENT_PAYLOAD_MAX */
};
struct msg_event_list_reply {
	const struct msg_event *events;
	size_t event_count;
	uint64_t next_seq; /* to go on with; 0: this was the end */
	uint64_t last_seq;
};
struct msg_error { /* answer to what could not be handled */
	int code;
	struct msg_text text;
};

struct msg {
	enum msg_type type;
	uint64_t request_id, trace_id; /* a reply carries the request's */
	union {
		struct msg_submit submit;
		struct msg_submit_reply submit_reply;
		struct msg_edit_list edit_list;
		struct msg_edit_list_reply edit_list_reply;
		struct msg_hello hello;
		struct msg_hello_reply hello_reply;
		struct msg_lease lease;
		struct msg_want want;
		struct msg_edits edits;
		struct msg_heartbeat heartbeat;
		struct msg_heartbeat_reply heartbeat_reply;
		struct msg_progress progress;
		struct msg_shard_commit shard_commit;
		struct msg_shard_commit_reply shard_commit_reply;
		struct msg_fenced fenced;
		struct msg_gate_result gate_result;
		struct msg_release release;
		struct msg_canary_run canary_run;
		struct msg_canary_result canary_result;
		struct msg_hashes hashes; /* MSG_HAVE, MSG_MISSING, MSG_NEED */
		struct msg_chunk chunk;   /* MSG_CHUNK, MSG_CHUNK_STORED */
		struct msg_hint hint;
		struct msg_get_manifest get_manifest;
		struct msg_manifest_reply manifest;
		struct msg_node_status node_status;
		struct msg_version_list version_list;
		struct msg_version_list_reply version_list_reply;
		struct msg_publish publish;
		struct msg_publish_reply publish_reply;
		struct msg_candidate_reply candidate_reply;
		struct msg_merge_run merge_run;
		struct msg_merge_status merge_status;
		struct msg_fleet_reply fleet_reply;
		struct msg_revoke revoke;
		struct msg_revoke_reply revoke_reply;
		struct msg_key_list key_list;
		struct msg_key_list_reply key_list_reply;
		struct msg_key_change key_change;
		struct msg_key_change_reply key_change_reply;
		struct msg_store_run store_run;
		struct msg_store_status store_status;
		struct msg_event_list event_list;
		struct msg_event_list_reply event_list_reply;
		struct msg_error error;
	} u; /* MSG_FLEET, MSG_CANDIDATE and MSG_SHUTDOWN have no body */
};

/* A decoded message owns its arena. */
struct msg_received {
	struct msg msg;
	uint64_t route;       /* where a reply goes (transport.h) */
	uint8_t peer_key[32]; /* proven by CURVE */
	unsigned roles;
	struct arena *arena;
};
void msg_free(struct msg_received **received);

/* How many bytes the reason of each of `result_count` results may have for their ShardCommit to keep to its cap. */
size_t msg_result_reason_bytes(size_t result_count);

#endif
