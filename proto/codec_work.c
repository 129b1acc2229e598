/* codec_work.c: work.proto and the structs of msg.h. */
#include "proto/codec_wire.h"

#include "proto/work.pb-c.h"

#define LEASES_MAX 1024
#define ITEMS_MAX  4096
#define SHAPE_MAX  (1u << 24)

static const struct codec__row hello_rows[] = {
	ROW_ENUM(1, msg_hello, kind, MSG_PEER_WORKER, MSG_PEER_CLIENT),
	ROW_U32(2, msg_hello, protocol_min, 0, UINT32_MAX),
	ROW_U32(3, msg_hello, protocol_max, 0, UINT32_MAX),
	ROW_TEXT(4, msg_hello, name, CODEC_NAME_BYTES_MAX),
	ROW_TEXT(5, msg_hello, software, CODEC_NAME_BYTES_MAX),
	ROW_TEXT(6, msg_hello, backend, CODEC_LINE_BYTES_MAX),
	ROW_TEXT(7, msg_hello, endpoint, CODEC_LINE_BYTES_MAX),
	ROW_U64(8, msg_hello, boot, 0, UINT64_MAX),
	ROW_HASH(9, msg_hello, base_model),
	ROW_U32(10, msg_hello, layers, 0, SHAPE_MAX),
	ROW_U32(11, msg_hello, hidden, 0, SHAPE_MAX),
	ROW_U32(12, msg_hello, ffn, 0, SHAPE_MAX),
	ROW_U32(13, msg_hello, pid, 0, UINT32_MAX),
	ROW_HASH(14, msg_hello, calibration),
	ROW_HASH(15, msg_hello, corpus),
	ROW_TEXT(16, msg_hello, refusal, CODEC_REASON_BYTES_MAX),
	ROW_HASH(17, msg_hello, canaries),
};
CODEC_TABLE(codec__hello, amend__hello__descriptor, msg_hello, hello_rows);

static const struct codec__row hello_reply_rows[] = {
	ROW_CODE(1, msg_hello_reply, code),
	ROW_TEXT(2, msg_hello_reply, text, CODEC_REASON_BYTES_MAX),
	ROW_TEXT(3, msg_hello_reply, cluster_id, CODEC_NAME_BYTES_MAX),
	ROW_U32(4, msg_hello_reply, heartbeat_ms, 0, UINT32_MAX),
	ROW_U32(5, msg_hello_reply, lease_ms, 0, UINT32_MAX),
	ROW_U64(6, msg_hello_reply, seed, 0, UINT64_MAX),
	ROW_U32(7, msg_hello_reply, layer, 0, UINT32_MAX),
	ROW_U64(8, msg_hello_reply, version, 0, UINT64_MAX),
	ROW_BYTES(9, msg_hello_reply, settings, MSG_SETTINGS_BYTES_MAX),
	ROW_REAL(10, msg_hello_reply, rate),
};
CODEC_TABLE(codec__hello_reply, amend__hello_reply__descriptor, msg_hello_reply, hello_reply_rows);

static const struct codec__row lease_rows[] = {
	ROW_ENUM(1, msg_lease, kind, MSG_LEASE_TRAIN, MSG_LEASE_GATE),
	ROW_U64(2, msg_lease, shard, 0, UINT64_MAX),
	ROW_U64(3, msg_lease, epoch, 0, UINT64_MAX),
	ROW_U32(4, msg_lease, lease_ms, 0, UINT32_MAX),
	ROW_U64(5, msg_lease, shard_version, 0, UINT64_MAX),
	ROW_HASH(6, msg_lease, delta_root),
	ROW_HASH(7, msg_lease, index_root),
	ROW_HASH(8, msg_lease, calibration_root),
	ROW_U32(9, msg_lease, trained_count, 0, UINT32_MAX),
};
CODEC_TABLE(codec__lease, amend__lease__descriptor, msg_lease, lease_rows);

static const struct codec__row want_rows[] = {
	ROW_U64(1, msg_want, shard, 0, UINT64_MAX),        ROW_U64(2, msg_want, epoch, 0, UINT64_MAX),
	ROW_U32(3, msg_want, credit, 0, UINT32_MAX),       ROW_U32(4, msg_want, received_count, 0, UINT32_MAX),
	ROW_U32(5, msg_want, replay_count, 0, UINT32_MAX),
};
CODEC_TABLE(codec__want, amend__want__descriptor, msg_want, want_rows);

static const struct codec__row edit_item_rows[] = {
	ROW_U64(1, msg_edit_item, seq, 1, CODEC_SEQ_MAX),
	ROW_BYTES(2, msg_edit_item, payload, CODEC_RECORD_BYTES_MAX),
};
static CODEC_TABLE(edit_item, amend__edit_item__descriptor, msg_edit_item, edit_item_rows);

static const struct codec__row edits_rows[] = {
	ROW_U64(1, msg_edits, shard, 0, UINT64_MAX),
	ROW_U64(2, msg_edits, epoch, 0, UINT64_MAX),
	ROW_BOOL(3, msg_edits, replayed),
	ROW_BOOL(4, msg_edits, group_end),
	ROW_BOOL(5, msg_edits, closing),
	ROW_U32(6, msg_edits, group_first, 0, UINT32_MAX),
	ROW_U32(7, msg_edits, group_count, 0, UINT32_MAX),
	ROW_LIST(8, msg_edits, items, item_count, msg_edit_item, &edit_item, ITEMS_MAX),
	ROW_U64S(9, msg_edits, removed_seqs, removed_count, ITEMS_MAX),
	ROW_BOOL(10, msg_edits, retrain),
	ROW_U64(11, msg_edits, memory, 0, UINT64_MAX),
	ROW_U32(12, msg_edits, replay_count, 0, UINT32_MAX),
};
CODEC_TABLE(codec__edits, amend__edits__descriptor, msg_edits, edits_rows);

static const struct codec__row lease_ref_rows[] = {
	ROW_U64(1, msg_lease_ref, shard, 0, UINT64_MAX),
	ROW_U64(2, msg_lease_ref, epoch, 0, UINT64_MAX),
	ROW_ENUM(3, msg_lease_ref, kind, MSG_LEASE_TRAIN, MSG_LEASE_GATE),
};
static CODEC_TABLE(lease_ref, amend__lease_ref__descriptor, msg_lease_ref, lease_ref_rows);

static const struct codec__row heartbeat_rows[] = {
	ROW_LIST(1, msg_heartbeat, leases, lease_count, msg_lease_ref, &lease_ref, LEASES_MAX),
	ROW_U64(2, msg_heartbeat, resident_bytes, 0, UINT64_MAX),
	ROW_U32(3, msg_heartbeat, unheard_ms, 0, UINT32_MAX),
	ROW_TEXT(4, msg_heartbeat, trouble, CODEC_REASON_BYTES_MAX),
};
CODEC_TABLE(codec__heartbeat, amend__heartbeat__descriptor, msg_heartbeat, heartbeat_rows);

static const struct codec__row heartbeat_reply_rows[] = {
	ROW_U64(1, msg_heartbeat_reply, version, 0, UINT64_MAX),
	ROW_TIME(2, msg_heartbeat_reply, wall_ms),
	ROW_U64(3, msg_heartbeat_reply, readers, 0, UINT64_MAX),
};
CODEC_TABLE(codec__heartbeat_reply, amend__heartbeat_reply__descriptor, msg_heartbeat_reply, heartbeat_reply_rows);

static const struct codec__row progress_rows[] = {
	ROW_U64(1, msg_progress, shard, 0, UINT64_MAX),         ROW_U64(2, msg_progress, epoch, 0, UINT64_MAX),
	ROW_U32(3, msg_progress, done, 0, UINT32_MAX),          ROW_U32(4, msg_progress, total, 0, UINT32_MAX),
	ROW_TEXT(5, msg_progress, phase, CODEC_NAME_BYTES_MAX), ROW_REAL(6, msg_progress, loss),
};
CODEC_TABLE(codec__progress, amend__progress__descriptor, msg_progress, progress_rows);

static const struct codec__row edit_result_rows[] = {
	ROW_U64(1, msg_edit_result, seq, 1, CODEC_SEQ_MAX),
	ROW_BOOL(2, msg_edit_result, passed),
	ROW_U32(3, msg_edit_result, tries, 0, UINT32_MAX),
	ROW_TEXT(4, msg_edit_result, reason, CODEC_REASON_BYTES_MAX),
	ROW_BOOL(5, msg_edit_result, names_asked),
};
static CODEC_TABLE(edit_result, amend__edit_result__descriptor, msg_edit_result, edit_result_rows);

static const struct codec__row shard_commit_rows[] = {
	ROW_U64(1, msg_shard_commit, shard, 0, UINT64_MAX),
	ROW_U64(2, msg_shard_commit, epoch, 0, UINT64_MAX),
	ROW_U64(3, msg_shard_commit, shard_version, 0, UINT64_MAX),
	ROW_HASH(4, msg_shard_commit, delta_root),
	ROW_HASH(5, msg_shard_commit, index_root),
	ROW_HASH(6, msg_shard_commit, calibration_root),
	ROW_U32(7, msg_shard_commit, trained_count, 0, UINT32_MAX),
	ROW_U32(8, msg_shard_commit, group_first, 0, UINT32_MAX),
	ROW_U32(9, msg_shard_commit, group_count, 0, UINT32_MAX),
	ROW_BOOL(10, msg_shard_commit, closed),
	ROW_U64(11, msg_shard_commit, seed, 0, UINT64_MAX),
	ROW_TEXT(12, msg_shard_commit, mode, CODEC_NAME_BYTES_MAX),
	ROW_TEXT(13, msg_shard_commit, backend, CODEC_LINE_BYTES_MAX),
	ROW_LIST(14, msg_shard_commit, results, result_count, msg_edit_result, &edit_result, MSG_RESULTS_MAX),
	ROW_U32(15, msg_shard_commit, train_ms, 0, UINT32_MAX),
	ROW_U32(16, msg_shard_commit, retest_ms, 0, UINT32_MAX),
	ROW_U32(17, msg_shard_commit, steps, 0, UINT32_MAX),
	ROW_U32(18, msg_shard_commit, layer, 0, UINT32_MAX),
};
CODEC_TABLE(codec__shard_commit, amend__shard_commit__descriptor, msg_shard_commit, shard_commit_rows);

static const struct codec__row shard_commit_reply_rows[] = {
	ROW_CODE(1, msg_shard_commit_reply, code),
	ROW_U64(2, msg_shard_commit_reply, shard, 0, UINT64_MAX),
	ROW_U64(3, msg_shard_commit_reply, epoch, 0, UINT64_MAX),
	ROW_U64(4, msg_shard_commit_reply, version, 0, UINT64_MAX),
	ROW_TEXT(5, msg_shard_commit_reply, text, CODEC_REASON_BYTES_MAX),
};
CODEC_TABLE(codec__shard_commit_reply, amend__shard_commit_reply__descriptor, msg_shard_commit_reply,
	    shard_commit_reply_rows);

static const struct codec__row fenced_rows[] = {
	ROW_U64(1, msg_fenced, shard, 0, UINT64_MAX),
	ROW_U64(2, msg_fenced, epoch, 0, UINT64_MAX),
};
CODEC_TABLE(codec__fenced, amend__fenced__descriptor, msg_fenced, fenced_rows);

static const struct codec__row gate_result_rows[] = {
	ROW_U64(1, msg_gate_result, merge, 0, UINT64_MAX),  ROW_U64(2, msg_gate_result, epoch, 0, UINT64_MAX),
	ROW_U32(3, msg_gate_result, passed, 0, UINT32_MAX), ROW_U32(4, msg_gate_result, tested, 0, UINT32_MAX),
	ROW_HASH(5, msg_gate_result, index_root),
};
CODEC_TABLE(codec__gate_result, amend__gate_result__descriptor, msg_gate_result, gate_result_rows);

static const struct codec__row release_rows[] = {
	ROW_U64(1, msg_release, shard, 0, UINT64_MAX),
	ROW_U64(2, msg_release, epoch, 0, UINT64_MAX),
	ROW_CODE(3, msg_release, code),
};
CODEC_TABLE(codec__release, amend__release__descriptor, msg_release, release_rows);

static const struct codec__row canary_run_rows[] = {
	ROW_HASH(1, msg_canary_run, root),
	ROW_HASH(2, msg_canary_run, content),
};
CODEC_TABLE(codec__canary_run, amend__canary_run__descriptor, msg_canary_run, canary_run_rows);

static const struct codec__row canary_change_rows[] = {
	ROW_TEXT(1, msg_canary_change, id, MSG_CANARY_ID_BYTES_MAX),
	ROW_TEXT(2, msg_canary_change, prompt, MSG_CANARY_PROMPT_BYTES_MAX),
	ROW_TEXT(3, msg_canary_change, before, MSG_CANARY_ANSWER_BYTES_MAX),
	ROW_TEXT(4, msg_canary_change, after, MSG_CANARY_ANSWER_BYTES_MAX),
	ROW_U64(5, msg_canary_change, memory, 0, UINT64_MAX),
	ROW_U64(6, msg_canary_change, edit, 0, CODEC_SEQ_MAX),
};
static CODEC_TABLE(canary_change, amend__canary_change__descriptor, msg_canary_change, canary_change_rows);

static const struct codec__row canary_result_rows[] = {
	ROW_HASH(1, msg_canary_result, content),
	ROW_CODE(2, msg_canary_result, code),
	ROW_TEXT(3, msg_canary_result, text, CODEC_REASON_BYTES_MAX),
	ROW_U32(4, msg_canary_result, asked, 0, UINT32_MAX),
	ROW_U32(5, msg_canary_result, changed_total, 0, UINT32_MAX),
	ROW_LIST(6, msg_canary_result, changed, changed_count, msg_canary_change, &canary_change,
		 MSG_CANARY_CHANGES_MAX),
	ROW_HASH(7, msg_canary_result, canaries),
};
CODEC_TABLE(codec__canary_result, amend__canary_result__descriptor, msg_canary_result, canary_result_rows);

/* What a ShardCommit has besides its results, and a result besides its reason: tags, lengths and the largest numbers.
 */
#define COMMIT_REST_BYTES 1024
#define RESULT_REST_BYTES 26
size_t msg_result_reason_bytes(size_t result_count)
{
	size_t each = (MSG_BODY_BYTES_MAX - COMMIT_REST_BYTES) / (result_count > 0 ? result_count : 1) -
		      RESULT_REST_BYTES;
	_Static_assert((MSG_BODY_BYTES_MAX - COMMIT_REST_BYTES) / MSG_RESULTS_MAX > RESULT_REST_BYTES + 16,
		       "a full ShardCommit has room for short reasons");
	return each < CODEC_REASON_BYTES_MAX ? each : CODEC_REASON_BYTES_MAX;
}
