/* recv_gate_result.c: a worker says how many edits a merged memory answers. Idempotent, as a commit is. */
#include "coordinator/internal.h"

#include "base/arena.h"
#include "base/order.h"
#include "proto/codec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Answered like a commit, so that a worker sends it again until it is taken. */
static void gate_reply(struct coordinator *c, const struct msg_received *received, int code, const char *text)
{
	struct msg msg = { .type = MSG_SHARD_COMMIT_REPLY };
	msg.u.shard_commit_reply.code = code;
	msg.u.shard_commit_reply.shard = received->msg.u.gate_result.merge;
	msg.u.shard_commit_reply.epoch = received->msg.u.gate_result.epoch;
	msg.u.shard_commit_reply.version = c->version;
	msg.u.shard_commit_reply.text = coordinator__text(text);
	coordinator__reply(c, received, &msg);
}

/* Without its gaps a merged memory of the paper's family could not be routed to. */
static int check_index(struct coordinator *c, const struct hash *root, struct err *e)
{
	size_t bad = 0;
	if (hash_is_zero(root))
		return strcmp(c->family, "paper") != 0 ? 0 : err_set(e, ERR_INVALID, "the index's root is zero");
	int rc = coordinator__blob_suspect(c, root, &bad, e);
	if (rc == ERR_NOMEM)
		return err_set(e, ERR_AGAIN, "the index cannot be read here for now: send it again");
	return rc != 0 || bad == 0
		       ? rc
		       : err_set(e, ERR_NOT_FOUND,
				 "%zu chunks of the index are not here: upload them, then send it again", bad);
}

/* Of the default family: which edits it has lost, as many as its counts say and all of the merge. Without an index none
 * is named: all pass, or the worker's program is from before. */
static int lost_read(struct coordinator *c, const struct msg_gate_result *result, struct arena *arena,
		     struct gate_lost *out, struct err *e)
{
	struct proto_merge_index index;
	struct buf bytes = BUF_INIT;
	const size_t limit = 64 + 11 * (size_t)c->merge.seq_count; /* a number takes up to ten bytes */
	if (strcmp(c->family, "paper") == 0 || hash_is_zero(&result->index_root))
		return 0;
	int rc = store_blob_get(c->store, &result->index_root, limit, &bytes, e);
	if (rc == 0)
		rc = proto_merge_index_decode(bytes.data, bytes.len, arena, &index, e);
	buf_free(&bytes);
	if (rc != 0)
		return rc;
	if (index.lost_count != result->tested - result->passed)
		return err_set(e, ERR_INVALID, "the index names %zu edits that are lost, the counts say %u",
			       index.lost_count, result->tested - result->passed);
	struct buf seqs = BUF_INIT;
	buf_append(&seqs, c->merge.seqs, c->merge.seq_count * sizeof *c->merge.seqs);
	if (buf_failed(&seqs))
		rc = err_set(e, ERR_NOMEM, "out of memory");
	else
		qsort(seqs.data, c->merge.seq_count, sizeof(uint64_t), order_u64);
	for (size_t i = 0; rc == 0 && i < index.lost_count; i++) {
		if (!coordinator__seqs_hold(&seqs, index.lost_seqs[i]))
			rc = err_set(e, ERR_INVALID, "the index names edit %" PRIu64 ", which the merge does not hold",
				     index.lost_seqs[i]);
	}
	buf_free(&seqs);
	*out = (struct gate_lost){ index.lost_seqs, index.lost_count };
	return rc;
}

/* Everything checked: the merged memory is published. */
static int result_take(struct coordinator *c, const struct msg_gate_result *result, struct err *e)
{
	struct arena *arena = NULL;
	struct gate_lost lost = { NULL, 0 };
	int rc = check_index(c, &result->index_root, e);
	if (rc == 0 && arena_new(1 << 12, 0, &arena) != 0)
		rc = err_set(e, ERR_NOMEM, "out of memory");
	if (rc == 0)
		rc = lost_read(c, result, arena, &lost, e);
	if (rc == ERR_NOMEM)
		rc = err_set(e, ERR_AGAIN, "the result cannot be read here for now: send it again");
	/* What was not tested did not pass. */
	const double score = c->merge.seq_count > 0 ? (double)result->passed / (double)c->merge.seq_count : 0;
	if (rc == 0)
		rc = coordinator__gate_publish(c, score, &result->index_root, &lost, e);
	arena_destroy(&arena);
	return rc;
}

void coordinator__recv_gate_result(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_gate_result *result = &received->msg.u.gate_result;
	struct peer *peer = coordinator__peer_find(c, received->peer_key, MSG_PEER_WORKER);
	struct err e = ERR_INIT;
	if (result->epoch != 0 && result->merge == c->gated.merge && result->epoch == c->gated.epoch) {
		gate_reply(c, received, 0, ""); /* its answer was lost */
		return;
	}
	if (peer == NULL || !coordinator__gate_is(c, peer, result->merge, result->epoch)) {
		gate_reply(c, received, ERR_FENCED, "this gate is over, or another worker's");
		return;
	}
	if (result->passed > result->tested || result->tested > c->merge.seq_count) {
		gate_reply(c, received, ERR_INVALID, "passed, tested: more than the edits of the merge");
		coordinator__gate_lost(c, "its counts were impossible");
		return;
	}
	if (!coordinator__gate_output_whole(c)) {
		const bool again = c->merge.active && c->merge.rec.state == STORE_MERGE_STATE_GATED;
		if (c->failure.code == 0)
			gate_reply(c, received, ERR_FENCED,
				   again ? "the merged memory cannot be read here for now: it is re-tested later"
					 : "the merged memory is damaged here: it is merged anew");
		return;
	}
	int rc = result_take(c, result, &e);
	if (rc == 0) {
		c->gated.merge = result->merge;
		c->gated.epoch = result->epoch;
	}
	if (c->failure.code == 0)
		gate_reply(c, received, rc, rc == 0 ? "" : e.text);
}
