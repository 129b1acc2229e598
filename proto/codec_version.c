/* codec_version.c: version.proto and the structs of msg.h. */
#include "proto/codec_wire.h"

#include "proto/version.pb-c.h"

#define VERSIONS_MAX 4096

static const struct codec__row hint_rows[] = {
	ROW_U64(1, msg_hint, version, 0, UINT64_MAX),
};
CODEC_TABLE(codec__hint, amend__hint__descriptor, msg_hint, hint_rows);

static const struct codec__row get_manifest_rows[] = {
	ROW_U64(1, msg_get_manifest, version, 0, UINT64_MAX),
	ROW_TEXT(2, msg_get_manifest, alias, CODEC_NAME_BYTES_MAX),
};
CODEC_TABLE(codec__get_manifest, amend__get_manifest__descriptor, msg_get_manifest, get_manifest_rows);

static const struct codec__row manifest_reply_rows[] = {
	ROW_CODE(1, msg_manifest_reply, code),         ROW_U64(2, msg_manifest_reply, version, 0, UINT64_MAX),
	ROW_HASH(3, msg_manifest_reply, root),         ROW_HASH(4, msg_manifest_reply, content),
	ROW_TIME(5, msg_manifest_reply, published_ms), ROW_TEXT(6, msg_manifest_reply, note, CODEC_REASON_BYTES_MAX),
};
CODEC_TABLE(codec__manifest_reply, amend__manifest_reply__descriptor, msg_manifest_reply, manifest_reply_rows);

static const struct codec__row node_status_rows[] = {
	ROW_U64(1, msg_node_status, version, 0, UINT64_MAX),
	ROW_HASH(2, msg_node_status, content),
	ROW_TEXT(3, msg_node_status, state, CODEC_NAME_BYTES_MAX),
	ROW_U64(4, msg_node_status, resident_bytes, 0, UINT64_MAX),
	ROW_U64(5, msg_node_status, requests, 0, UINT64_MAX),
	ROW_U64(6, msg_node_status, failed_version, 0, UINT64_MAX),
	ROW_TEXT(7, msg_node_status, failed_reason, CODEC_REASON_BYTES_MAX),
	ROW_TEXT(8, msg_node_status, source, CODEC_LINE_BYTES_MAX),
};
CODEC_TABLE(codec__node_status, amend__node_status__descriptor, msg_node_status, node_status_rows);

static const struct codec__row version_list_rows[] = {
	ROW_U64(1, msg_version_list, from, 0, UINT64_MAX),
	ROW_U64(2, msg_version_list, limit, 0, UINT64_MAX),
};
CODEC_TABLE(codec__version_list, amend__version_list__descriptor, msg_version_list, version_list_rows);

static const struct codec__row version_rows[] = {
	ROW_U64(1, msg_version, version, 0, UINT64_MAX),
	ROW_HASH(2, msg_version, root),
	ROW_HASH(3, msg_version, content),
	ROW_TIME(4, msg_version, published_ms),
	ROW_U32(5, msg_version, memory_count, 0, UINT32_MAX),
	ROW_U32(6, msg_version, edit_count, 0, UINT32_MAX),
	ROW_TEXT(7, msg_version, note, CODEC_REASON_BYTES_MAX),
	ROW_TEXT(8, msg_version, problem, CODEC_REASON_BYTES_MAX),
};
static CODEC_TABLE(version, amend__version__descriptor, msg_version, version_rows);

static const struct codec__row version_list_reply_rows[] = {
	ROW_LIST(1, msg_version_list_reply, versions, version_count, msg_version, &version, VERSIONS_MAX),
	ROW_U64(2, msg_version_list_reply, latest, 0, UINT64_MAX),
	ROW_TEXT(3, msg_version_list_reply, held, CODEC_REASON_BYTES_MAX),
};
CODEC_TABLE(codec__version_list_reply, amend__version_list_reply__descriptor, msg_version_list_reply,
	    version_list_reply_rows);

static const struct codec__row publish_rows[] = {
	ROW_ENUM(1, msg_publish, action, MSG_PUBLISH_ROLLBACK, MSG_PUBLISH_REJECT),
	ROW_U64(2, msg_publish, version, 0, UINT64_MAX),
	ROW_TEXT(3, msg_publish, reason, MSG_PUBLISH_REASON_BYTES_MAX),
	ROW_HASH(4, msg_publish, content),
};
CODEC_TABLE(codec__publish, amend__publish__descriptor, msg_publish, publish_rows);

static const struct codec__row publish_reply_rows[] = {
	ROW_CODE(1, msg_publish_reply, code),    ROW_U64(2, msg_publish_reply, version, 0, UINT64_MAX),
	ROW_HASH(3, msg_publish_reply, content), ROW_U32(4, msg_publish_reply, back_count, 0, UINT32_MAX),
	ROW_BOOL(5, msg_publish_reply, already), ROW_TEXT(6, msg_publish_reply, text, CODEC_REASON_BYTES_MAX),
};
CODEC_TABLE(codec__publish_reply, amend__publish_reply__descriptor, msg_publish_reply, publish_reply_rows);

static const struct codec__row candidate_reply_rows[] = {
	ROW_TEXT(1, msg_candidate_reply, state, CODEC_NAME_BYTES_MAX),
	ROW_U64(2, msg_candidate_reply, version, 0, UINT64_MAX),
	ROW_HASH(3, msg_candidate_reply, content),
	ROW_TIME(4, msg_candidate_reply, made_ms),
	ROW_U32(5, msg_candidate_reply, memory_count, 0, UINT32_MAX),
	ROW_U32(6, msg_candidate_reply, edit_count, 0, UINT32_MAX),
	ROW_U64S(7, msg_candidate_reply, added, added_count, MSG_CANDIDATE_EDITS_MAX),
	ROW_U64S(8, msg_candidate_reply, removed, removed_count, MSG_CANDIDATE_EDITS_MAX),
	ROW_U32(9, msg_candidate_reply, added_total, 0, UINT32_MAX),
	ROW_U32(10, msg_candidate_reply, removed_total, 0, UINT32_MAX),
	ROW_TEXT(11, msg_candidate_reply, text, CODEC_REASON_BYTES_MAX),
	ROW_U32(12, msg_candidate_reply, canaries, 0, UINT32_MAX),
	ROW_U32(13, msg_candidate_reply, canaries_changed, 0, UINT32_MAX),
	ROW_U64S(14, msg_candidate_reply, blamed, blamed_count, MSG_CANARY_CHANGES_MAX),
	ROW_U64S(15, msg_candidate_reply, withheld, withheld_count, MSG_CANDIDATE_EDITS_MAX),
	ROW_U32(16, msg_candidate_reply, withheld_total, 0, UINT32_MAX),
};
CODEC_TABLE(codec__candidate_reply, amend__candidate_reply__descriptor, msg_candidate_reply, candidate_reply_rows);
