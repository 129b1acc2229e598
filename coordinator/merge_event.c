/* merge_event.c: what the ledger says of a merge. */
#include "coordinator/internal.h"

#define LOST_NAMED_MAX 64 /* edits, in one event */

uint64_t coordinator__merge_renews(const struct coordinator *c, const struct store_merge *rec)
{
	const struct store_merge *old = rec->shard_count > 0 ? coordinator__merge_of(c, rec->shards[0]) : NULL;
	return old != NULL && old->id != rec->id ? old->id : 0;
}

static void json_merge(struct json_w *w, const struct coordinator *c, const struct store_merge *rec)
{
	char plan[HASH_HEX_BYTES], output[HASH_HEX_BYTES];
	hash_hex(&rec->plan, plan);
	hash_hex(&rec->output_root, output);
	json_w_member_uint(w, "merge", rec->id);
	if (coordinator__merge_renews(c, rec) != 0)
		json_w_member_uint(w, "renews", coordinator__merge_renews(c, rec));
	json_w_member_str(w, "state", sm_state_name(&store_merge_states, rec->state));
	json_w_key(w, "shards");
	json_w_open(w, '[');
	for (size_t i = 0; i < rec->shard_count; i++)
		json_w_uint(w, rec->shards[i]);
	json_w_close(w);
	json_w_member_str(w, "plan", plan);
	json_w_member_str(w, "output", output);
	json_w_member_uint(w, "tries", rec->tries);
	json_w_member_real(w, "score", rec->score);
	json_w_member_real(w, "score_inputs", rec->score_inputs);
	json_w_member_str(w, "reason", rec->reason);
}

/* Their ids, of at most as many as an event names. */
static int json_lost(struct json_w *w, struct coordinator *c, const struct gate_lost *lost, struct err *e)
{
	struct store_edit edit;
	int rc = 0;
	json_w_member_uint(w, "lost", lost->count);
	json_w_key(w, "lost_edits");
	json_w_open(w, '[');
	for (size_t i = 0; rc == 0 && i < lost->count && i < LOST_NAMED_MAX; i++) {
		rc = store_edit_get(c->txn, lost->seqs[i], &edit, e);
		if (rc == 0)
			json_w_str(w, edit.id);
	}
	json_w_close(w);
	return rc;
}

int coordinator__merge_event(struct coordinator *c, enum store_event_type type, const struct store_merge *rec,
			     const struct gate_lost *lost, struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_merge(&w, c, rec);
	int rc = lost != NULL && lost->count > 0 ? json_lost(&w, c, lost, e) : 0;
	json_w_close(&w);
	if (rc == 0)
		return coordinator__event(c, type, NULL, &json, NULL, e);
	buf_free(&json);
	return rc;
}
