/* recv_gate_result.c: a worker says how many edits a merged memory answers. Idempotent, as a commit is. */
#include "coordinator/internal.h"

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
	int rc = check_index(c, &result->index_root, &e);
	if (rc != 0) {
		if (c->failure.code == 0)
			gate_reply(c, received, rc, e.text);
		return;
	}
	/* What was not tested did not pass. */
	double score = c->merge.seq_count > 0 ? (double)result->passed / (double)c->merge.seq_count : 0;
	rc = coordinator__gate_publish(c, score, &result->index_root, &e);
	if (rc == 0) {
		c->gated.merge = result->merge;
		c->gated.epoch = result->epoch;
	}
	if (c->failure.code == 0)
		gate_reply(c, received, rc, rc == 0 ? "" : e.text);
}
