/* codec_admin.c: admin.proto and the structs of msg.h. */
#include "proto/codec_wire.h"

#include "proto/keys.h"

#include "proto/admin.pb-c.h"

#define EVENTS_MAX 4096

static const struct codec__row merge_run_rows[] = {
	ROW_U64(1, msg_merge_run, id, 0, UINT64_MAX),
};
CODEC_TABLE(codec__merge_run, amend__merge_run__descriptor, msg_merge_run, merge_run_rows);

static const struct codec__row merge_status_rows[] = {
	ROW_CODE(1, msg_merge_status, code),
	ROW_U64(2, msg_merge_status, id, 0, UINT64_MAX),
	ROW_U64(3, msg_merge_status, version, 0, UINT64_MAX),
	ROW_U32(4, msg_merge_status, state, 0, 31),
	ROW_U32(5, msg_merge_status, tries, 0, UINT32_MAX),
	ROW_U32(6, msg_merge_status, ranks, 0, UINT32_MAX),
	ROW_U32(7, msg_merge_status, shard_count, 0, UINT32_MAX),
	ROW_SHARE(8, msg_merge_status, score),
	ROW_SHARE(9, msg_merge_status, score_inputs),
	ROW_SHARE(10, msg_merge_status, progress),
	ROW_TEXT(11, msg_merge_status, text, CODEC_REASON_BYTES_MAX),
	ROW_BOOL(12, msg_merge_status, done),
	ROW_BOOL(13, msg_merge_status, served_by_default),
	ROW_TIME(14, msg_merge_status, planned_ms),
	ROW_TIME(15, msg_merge_status, ended_ms),
	ROW_U32(16, msg_merge_status, rounds, 0, UINT32_MAX),
	ROW_U32(17, msg_merge_status, reduces, 0, UINT32_MAX),
	ROW_U64(18, msg_merge_status, reduced_bytes, 0, UINT64_MAX),
	ROW_TEXT(19, msg_merge_status, reason, CODEC_REASON_BYTES_MAX),
};
CODEC_TABLE(codec__merge_status, amend__merge_status__descriptor, msg_merge_status, merge_status_rows);

static const struct codec__row fleet_member_rows[] = {
	ROW_ENUM(1, msg_fleet_member, kind, MSG_PEER_WORKER, MSG_PEER_CLIENT),
	ROW_TEXT(2, msg_fleet_member, name, CODEC_NAME_BYTES_MAX),
	ROW_TEXT(3, msg_fleet_member, endpoint, CODEC_LINE_BYTES_MAX),
	ROW_TEXT(4, msg_fleet_member, backend, CODEC_LINE_BYTES_MAX),
	ROW_TEXT(5, msg_fleet_member, software, CODEC_NAME_BYTES_MAX),
	ROW_TEXT(6, msg_fleet_member, state, CODEC_NAME_BYTES_MAX),
	ROW_KEY(7, msg_fleet_member, key),
	ROW_I64(8, msg_fleet_member, seen_ms_ago),
	ROW_U64(9, msg_fleet_member, version, 0, UINT64_MAX),
	ROW_U64(10, msg_fleet_member, resident_bytes, 0, UINT64_MAX),
	ROW_U32(11, msg_fleet_member, lease_count, 0, UINT32_MAX),
	ROW_U32(12, msg_fleet_member, edit_done, 0, UINT32_MAX),
	ROW_U32(13, msg_fleet_member, edit_total, 0, UINT32_MAX),
	ROW_U32(14, msg_fleet_member, pid, 0, UINT32_MAX),
	ROW_U64(15, msg_fleet_member, failed_version, 0, UINT64_MAX),
	ROW_TEXT(16, msg_fleet_member, failed_reason, CODEC_LINE_BYTES_MAX),
	ROW_TEXT(17, msg_fleet_member, source, CODEC_LINE_BYTES_MAX),
	ROW_BOOL(18, msg_fleet_member, failing),
};
static CODEC_TABLE(fleet_member, amend__fleet_member__descriptor, msg_fleet_member, fleet_member_rows);

static const struct codec__row refused_key_rows[] = {
	ROW_KEY(1, msg_refused_key, key),
	ROW_I64(2, msg_refused_key, ms_ago),
};
static CODEC_TABLE(refused_key, amend__refused_key__descriptor, msg_refused_key, refused_key_rows);

static const struct codec__row fleet_reply_rows[] = {
	ROW_LIST(1, msg_fleet_reply, members, member_count, msg_fleet_member, &fleet_member, CODEC_MEMBERS_MAX),
	ROW_U64(2, msg_fleet_reply, version, 0, UINT64_MAX),
	ROW_U64(3, msg_fleet_reply, queue_length, 0, UINT64_MAX),
	ROW_U64(4, msg_fleet_reply, last_seq, 0, CODEC_SEQ_MAX),
	ROW_U32(5, msg_fleet_reply, shards_open, 0, UINT32_MAX),
	ROW_U32(6, msg_fleet_reply, shards_closed, 0, UINT32_MAX),
	ROW_U32(7, msg_fleet_reply, pid, 0, UINT32_MAX),
	ROW_U64(8, msg_fleet_reply, resident_bytes, 0, UINT64_MAX),
	ROW_HASH(9, msg_fleet_reply, base_model),
	ROW_TEXT(10, msg_fleet_reply, cluster_id, CODEC_NAME_BYTES_MAX),
	ROW_TEXT(11, msg_fleet_reply, software, CODEC_NAME_BYTES_MAX),
	ROW_TEXT(12, msg_fleet_reply, data_folder, 4096), /* PATH_MAX */
	ROW_REAL(13, msg_fleet_reply, visible_p50_ms),
	ROW_REAL(14, msg_fleet_reply, visible_p99_ms),
	ROW_U32(15, msg_fleet_reply, member_total, 0, UINT32_MAX),
	ROW_TEXT(16, msg_fleet_reply, refused_name, CODEC_NAME_BYTES_MAX),
	ROW_TEXT(17, msg_fleet_reply, refused_reason, CODEC_REASON_BYTES_MAX),
	ROW_I64(18, msg_fleet_reply, refused_ms_ago),
	ROW_U64(19, msg_fleet_reply, merge, 0, UINT64_MAX),
	ROW_TEXT(20, msg_fleet_reply, merge_phase, CODEC_NAME_BYTES_MAX),
	ROW_TEXT(21, msg_fleet_reply, merge_reason, CODEC_REASON_BYTES_MAX),
	ROW_TEXT(22, msg_fleet_reply, write_trouble, CODEC_REASON_BYTES_MAX),
	ROW_LIST(23, msg_fleet_reply, refused_keys, refused_key_count, msg_refused_key, &refused_key,
		 MSG_REFUSED_KEYS_MAX),
	ROW_TEXT(24, msg_fleet_reply, publish_held, CODEC_REASON_BYTES_MAX),
	ROW_TEXT(25, msg_fleet_reply, damage, CODEC_REASON_BYTES_MAX),
	ROW_TEXT(26, msg_fleet_reply, canaries, CODEC_REASON_BYTES_MAX),
};
CODEC_TABLE(codec__fleet_reply, amend__fleet_reply__descriptor, msg_fleet_reply, fleet_reply_rows);

const struct codec__table codec__nothing = { &amend__nothing__descriptor, 0, NULL, 0 };

static const struct codec__row error_rows[] = {
	ROW_CODE(1, msg_error, code),
	ROW_TEXT(2, msg_error, text, CODEC_REASON_BYTES_MAX),
};
CODEC_TABLE(codec__error, amend__error__descriptor, msg_error, error_rows);

static const struct codec__row revoke_rows[] = {
	ROW_TEXT(1, msg_revoke, id, CODEC_ID_BYTES_MAX),
	ROW_TEXT(2, msg_revoke, group, MSG_GROUP_BYTES_MAX),
	ROW_TEXT(3, msg_revoke, reason, MSG_REVOKE_REASON_BYTES_MAX),
	ROW_BOOL(4, msg_revoke, restore_superseded),
};
CODEC_TABLE(codec__revoke, amend__revoke__descriptor, msg_revoke, revoke_rows);

static const struct codec__row restored_rows[] = { ROW_TEXT(1, msg_restored, id, CODEC_ID_BYTES_MAX) };
static CODEC_TABLE(restored, amend__restored_edit__descriptor, msg_restored, restored_rows);

static const struct codec__row revoke_reply_rows[] = {
	ROW_CODE(1, msg_revoke_reply, code),
	ROW_U64(2, msg_revoke_reply, version, 0, UINT64_MAX),
	ROW_U32(3, msg_revoke_reply, revoked_count, 0, UINT32_MAX),
	ROW_U32(4, msg_revoke_reply, restored_count, 0, UINT32_MAX),
	ROW_BOOL(5, msg_revoke_reply, already),
	ROW_TEXT(6, msg_revoke_reply, text, CODEC_REASON_BYTES_MAX),
	ROW_LIST(7, msg_revoke_reply, restored, restored_listed, msg_restored, &restored, MSG_RESTORED_MAX),
};
CODEC_TABLE(codec__revoke_reply, amend__revoke_reply__descriptor, msg_revoke_reply, revoke_reply_rows);

static const struct codec__row store_run_rows[] = {
	ROW_U64(1, msg_store_run, id, 1, UINT64_MAX),
	ROW_ENUM(2, msg_store_run, action, MSG_STORE_BACKUP, MSG_STORE_COLLECT),
	ROW_TEXT(3, msg_store_run, folder, MSG_FOLDER_BYTES_MAX),
	ROW_U64(4, msg_store_run, keep_versions, 0, UINT64_MAX),
};
CODEC_TABLE(codec__store_run, amend__store_run__descriptor, msg_store_run, store_run_rows);

static const struct codec__row store_status_rows[] = {
	ROW_CODE(1, msg_store_status, code),
	ROW_BOOL(2, msg_store_status, done),
	ROW_U64(3, msg_store_status, event_count, 0, UINT64_MAX),
	ROW_U64(4, msg_store_status, version_count, 0, UINT64_MAX),
	ROW_U64(5, msg_store_status, chunk_count, 0, UINT64_MAX),
	ROW_U64(6, msg_store_status, byte_count, 0, UINT64_MAX),
	ROW_U64(7, msg_store_status, bad_count, 0, UINT64_MAX),
	ROW_TEXT(8, msg_store_status, text, CODEC_REASON_BYTES_MAX),
};
CODEC_TABLE(codec__store_status, amend__store_status__descriptor, msg_store_status, store_status_rows);
static const struct codec__row key_list_rows[] = {
	ROW_U32(1, msg_key_list, from, 0, UINT32_MAX),
};
CODEC_TABLE(codec__key_list, amend__key_list__descriptor, msg_key_list, key_list_rows);

static const struct codec__row key_rows[] = {
	ROW_KEY(1, msg_key, key),
	ROW_U32(2, msg_key, roles, 0, PROTO_ROLE_ALL),
	ROW_TEXT(3, msg_key, name, MSG_KEY_NAME_BYTES_MAX),
};
static CODEC_TABLE(key, amend__key__descriptor, msg_key, key_rows);

static const struct codec__row key_list_reply_rows[] = {
	ROW_LIST(1, msg_key_list_reply, keys, key_count, msg_key, &key, MSG_KEYS_MAX),
	ROW_U32(2, msg_key_list_reply, total, 0, UINT32_MAX),
};
CODEC_TABLE(codec__key_list_reply, amend__key_list_reply__descriptor, msg_key_list_reply, key_list_reply_rows);

static const struct codec__row key_change_rows[] = {
	ROW_ENUM(1, msg_key_change, action, MSG_KEY_ALLOW, MSG_KEY_REVOKE),
	ROW_KEY(2, msg_key_change, key.key),
	ROW_U32(3, msg_key_change, key.roles, 0, PROTO_ROLE_ALL),
	ROW_TEXT(4, msg_key_change, key.name, MSG_KEY_NAME_BYTES_MAX),
	ROW_TEXT(5, msg_key_change, reason, MSG_REVOKE_REASON_BYTES_MAX),
	ROW_KEY(6, msg_key_change, replaces),
};
CODEC_TABLE(codec__key_change, amend__key_change__descriptor, msg_key_change, key_change_rows);

static const struct codec__row key_change_reply_rows[] = {
	ROW_CODE(1, msg_key_change_reply, code),
	ROW_BOOL(2, msg_key_change_reply, already),
	ROW_TEXT(3, msg_key_change_reply, text, CODEC_REASON_BYTES_MAX),
};
CODEC_TABLE(codec__key_change_reply, amend__key_change_reply__descriptor, msg_key_change_reply, key_change_reply_rows);

static const struct codec__row event_list_rows[] = {
	ROW_U64(1, msg_event_list, from_seq, 0, UINT64_MAX),
	ROW_U32(2, msg_event_list, type_mask, 0, UINT32_MAX),
	ROW_U32(3, msg_event_list, limit, 0, UINT32_MAX),
};
CODEC_TABLE(codec__event_list, amend__event_list__descriptor, msg_event_list, event_list_rows);

static const struct codec__row event_rows[] = {
	ROW_U64(1, msg_event, seq, 1, UINT64_MAX),
	ROW_U32(2, msg_event, type, 0, UINT32_MAX),
	ROW_TIME(3, msg_event, time_ms),
	ROW_KEY(4, msg_event, actor),
	ROW_TEXT(5, msg_event, actor_name, MSG_KEY_NAME_BYTES_MAX),
	ROW_TEXT(6, msg_event, edit, CODEC_ID_BYTES_MAX),
	ROW_BYTES(7, msg_event, payload, MSG_EVENT_PAYLOAD_MAX),
	ROW_BOOL(8, msg_event, omitted),
};
static CODEC_TABLE(event, amend__event__descriptor, msg_event, event_rows);

static const struct codec__row event_list_reply_rows[] = {
	ROW_LIST(1, msg_event_list_reply, events, event_count, msg_event, &event, EVENTS_MAX),
	ROW_U64(2, msg_event_list_reply, next_seq, 0, UINT64_MAX),
	ROW_U64(3, msg_event_list_reply, last_seq, 0, UINT64_MAX),
};
CODEC_TABLE(codec__event_list_reply, amend__event_list_reply__descriptor, msg_event_list_reply, event_list_reply_rows);
