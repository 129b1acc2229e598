/* codec_submit.c: submit.proto and the structs of msg.h. */
#include "proto/codec_wire.h"

#include "proto/submit.pb-c.h"

#define EDIT_LIST_MAX 4096

/* A result's texts, its two seqs, its code, and the tags and lengths of all. */
#define RESULT_BYTES_MAX (MSG_SUBMIT_ID_BYTES_MAX + MSG_SUBMIT_REASON_BYTES_MAX + 32)
_Static_assert(MSG_SUBMIT_RECORDS_MAX *RESULT_BYTES_MAX < MSG_BODY_BYTES_MAX,
	       "the answer to a full Submit must fit, or a commit would go unanswered");

static const struct codec__row submit_rows[] = {
	ROW_ENUM(1, msg_submit, on_conflict, MSG_SUPERSEDE, MSG_REJECT),
	ROW_BLOBS(2, msg_submit, records, record_count, MSG_SUBMIT_RECORDS_MAX, CODEC_RECORD_BYTES_MAX),
};
CODEC_TABLE(codec__submit, amend__submit__descriptor, msg_submit, submit_rows);

static const struct codec__row submit_result_rows[] = {
	ROW_CODE(1, msg_submit_result, code),
	ROW_U64(2, msg_submit_result, seq, 0, CODEC_SEQ_MAX),
	ROW_U64(3, msg_submit_result, supersedes, 0, CODEC_SEQ_MAX),
	ROW_TEXT(4, msg_submit_result, id, MSG_SUBMIT_ID_BYTES_MAX),
	ROW_TEXT(5, msg_submit_result, reason, MSG_SUBMIT_REASON_BYTES_MAX),
};
static CODEC_TABLE(submit_result, amend__submit_result__descriptor, msg_submit_result, submit_result_rows);

static const struct codec__row submit_reply_rows[] = {
	ROW_LIST(1, msg_submit_reply, results, result_count, msg_submit_result, &submit_result, MSG_SUBMIT_RECORDS_MAX),
	ROW_U32(2, msg_submit_reply, retry_after_ms, 0, UINT32_MAX),
};
CODEC_TABLE(codec__submit_reply, amend__submit_reply__descriptor, msg_submit_reply, submit_reply_rows);

static const struct codec__row edit_list_rows[] = {
	ROW_TEXT(1, msg_edit_list, id, CODEC_ID_BYTES_MAX),
	ROW_U64(2, msg_edit_list, from_seq, 0, CODEC_SEQ_MAX),
	ROW_U32(3, msg_edit_list, state_mask, 0, UINT32_MAX),
	ROW_U32(4, msg_edit_list, limit, 0, UINT32_MAX),
	ROW_BOOL(5, msg_edit_list, with_payload),
	ROW_BOOL(6, msg_edit_list, counts_only),
	ROW_U64(7, msg_edit_list, ended_after, 0, CODEC_SEQ_MAX),
};
CODEC_TABLE(codec__edit_list, amend__edit_list__descriptor, msg_edit_list, edit_list_rows);

static const struct codec__row edit_step_rows[] = {
	ROW_TIME(1, msg_edit_step, time_ms),
	ROW_U64(2, msg_edit_step, event, 0, CODEC_SEQ_MAX),
	ROW_KEY(3, msg_edit_step, actor),
	ROW_TEXT(4, msg_edit_step, what, CODEC_NAME_BYTES_MAX),
	ROW_TEXT(5, msg_edit_step, text, CODEC_REASON_BYTES_MAX),
};
static CODEC_TABLE(edit_step, amend__edit_step__descriptor, msg_edit_step, edit_step_rows);

static const struct codec__row edit_rows[] = {
	ROW_U64(1, msg_edit, seq, 1, CODEC_SEQ_MAX),
	ROW_U64(2, msg_edit, shard, 0, UINT64_MAX),
	ROW_U64(3, msg_edit, version, 0, UINT64_MAX),
	ROW_U64(4, msg_edit, supersedes, 0, CODEC_SEQ_MAX),
	ROW_U64(5, msg_edit, superseded_by, 0, CODEC_SEQ_MAX),
	ROW_TIME(6, msg_edit, accepted_ms),
	ROW_TIME(7, msg_edit, trained_ms),
	ROW_TIME(8, msg_edit, served_ms),
	ROW_U32(9, msg_edit, state, 0, 31),
	ROW_U32(10, msg_edit, tries, 0, UINT32_MAX),
	ROW_TEXT(11, msg_edit, id, CODEC_ID_BYTES_MAX),
	ROW_TEXT(12, msg_edit, reason, CODEC_REASON_BYTES_MAX),
	ROW_BYTES(13, msg_edit, payload, CODEC_RECORD_BYTES_MAX),
	ROW_U64(14, msg_edit, restores, 0, CODEC_SEQ_MAX),
	ROW_TIME(15, msg_edit, valid_from_ms),
	ROW_TIME(16, msg_edit, expires_ms),
	ROW_LIST(17, msg_edit, history, history_count, msg_edit_step, &edit_step, MSG_EDIT_HISTORY_MAX),
	ROW_U64(18, msg_edit, ended_event, 0, CODEC_SEQ_MAX),
};
static CODEC_TABLE(edit, amend__edit__descriptor, msg_edit, edit_rows);

static const struct codec__row edit_list_reply_rows[] = {
	ROW_LIST(1, msg_edit_list_reply, edits, edit_count, msg_edit, &edit, EDIT_LIST_MAX),
	ROW_U64(2, msg_edit_list_reply, next_seq, 0, CODEC_SEQ_MAX),
	ROW_U64S(3, msg_edit_list_reply, state_counts, state_count, 32),
	ROW_U64(4, msg_edit_list_reply, last_seq, 0, CODEC_SEQ_MAX),
};
CODEC_TABLE(codec__edit_list_reply, amend__edit_list_reply__descriptor, msg_edit_list_reply, edit_list_reply_rows);
