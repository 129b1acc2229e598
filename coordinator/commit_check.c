/* commit_check.c: whether the delta of a commit is one that nodes can load. For a large model that takes seconds
 * (docs/decisions.md), so a thread does it, one delta at a time, and the commit waits for it beside the loop. */
#include "coordinator/internal.h"

#include "base/delta_bytes.h"

#include <stdlib.h>
#include <string.h>

#define DELTA_BYTES_MAX (128 * 1024 * 1024)

struct commit_check {
	struct pool_job job; /* first: the pool gives it back */
	struct coordinator *c;
	struct store *store;
	const atomic_bool *ending;
	struct msg_received *received;
	struct hash root;
	size_t layer, hidden, ffn;
	struct commit_verdict verdict;
};

static void check_run(struct pool_job *job)
{
	struct commit_check *check = (struct commit_check *)job;
	struct commit_verdict *v = &check->verdict;
	struct buf bytes = BUF_INIT;
	if (atomic_load(check->ending))
		return;
	if (fault_point("coordinator.check") != 0)
		v->code = err_set(&v->error, ERR_FAULT, "fault planted before the check");
	else
		v->code = store_blob_get(check->store, &check->root, DELTA_BYTES_MAX, &bytes, &v->error);
	v->unread = v->code != 0;
	if (v->code == 0)
		v->code = delta_bytes_check(bytes.data, bytes.len, check->layer, check->hidden, check->ffn, &v->error);
	buf_free(&bytes);
}

static void check_done(struct pool_job *job)
{
	struct commit_check *check = (struct commit_check *)job;
	struct coordinator *c = check->c;
	for (size_t i = 0; i < c->check_count; i++)
		if (c->checks[i] == check)
			c->checks[i] = c->checks[--c->check_count];
	if (!atomic_load(&c->ending) && c->failure.code == 0)
		coordinator__commit_checked(c, check->received, &check->verdict);
	msg_free(&check->received);
	free(check);
}

/* A worker that hears nothing for a while sends its commit again. */
static bool is_running(const struct coordinator *c, const struct msg_received *received)
{
	const struct msg_shard_commit *commit = &received->msg.u.shard_commit;
	for (size_t i = 0; i < c->check_count; i++) {
		const struct msg_received *other = c->checks[i]->received;
		const struct msg_shard_commit *its = &other->msg.u.shard_commit;
		if (its->shard == commit->shard && its->epoch == commit->epoch &&
		    hash_equal(&its->delta_root, &commit->delta_root) &&
		    memcmp(other->peer_key, received->peer_key, PROTO_KEY_BYTES) == 0)
			return true;
	}
	return false;
}

int coordinator__commit_check(struct coordinator *c, struct msg_received **received, struct err *e)
{
	if (is_running(c, *received))
		return 0;
	if (c->check_count == COMMIT_CHECKS_MAX)
		return err_set(e, ERR_AGAIN, "%d commits are being checked: send it again", COMMIT_CHECKS_MAX);
	struct commit_check *check = fault_calloc(1, sizeof *check);
	if (check == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	check->job = (struct pool_job){ .run = check_run, .done = check_done };
	check->c = c;
	check->store = c->store;
	check->ending = &c->ending;
	check->root = (*received)->msg.u.shard_commit.delta_root;
	check->layer = coordinator__layer(c);
	check->hidden = c->hidden;
	check->ffn = c->ffn;
	check->received = *received;
	c->checks[c->check_count++] = check;
	int rc = pool_submit(c->background, &check->job);
	if (rc != 0) {
		c->check_count--;
		free(check);
		return err_set(e, ERR_AGAIN, "the checks' queue is full: send it again");
	}
	*received = NULL;
	(void)pool_poll(c->background); /* without a thread it is done already */
	return 0;
}
