/* candidate_fixture.h: facts that wait for approval, and what administrators see and say. */
#ifndef AMEND_TESTS_UNIT_COORDINATOR_CANDIDATE_FIXTURE_H
#define AMEND_TESTS_UNIT_COORDINATOR_CANDIDATE_FIXTURE_H

#include "tests/unit/coordinator/revoke_fixture.h"

struct published { /* a PublishReply */
	int code;
	uint64_t version;
	bool already;
	char text[512];
};

static inline struct published say(struct end_peer *end, enum msg_publish_action action, const struct hash *content,
				   const char *reason)
{
	struct msg msg = { .type = MSG_PUBLISH };
	struct published out = { .code = 0 };
	msg.u.publish = (struct msg_publish){ .action = action, .version = 1, .reason = { reason, strlen(reason) } };
	if (content != NULL)
		msg.u.publish.content = *content;
	end_send(end, &msg);
	cluster_run(end->cluster);
	struct msg_received *reply = end_expect(end, MSG_PUBLISH_REPLY);
	const struct msg_publish_reply *r = &reply->msg.u.publish_reply;
	out.code = r->code;
	out.version = r->version;
	out.already = r->already;
	snprintf(out.text, sizeof out.text, "%s", r->text.text);
	msg_free(&reply);
	return out;
}

struct seen { /* a CandidateReply */
	char state[16], text[1024];
	uint64_t version;
	struct hash content;
	size_t added, removed, edits;
	uint64_t first_added, first_removed;
};

static inline struct seen look(struct cluster *c)
{
	struct msg msg = { .type = MSG_CANDIDATE };
	struct seen out = { .version = 0 };
	end_send(&c->admin, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->admin, MSG_CANDIDATE_REPLY);
	const struct msg_candidate_reply *r = &reply->msg.u.candidate_reply;
	snprintf(out.state, sizeof out.state, "%s", r->state.text);
	snprintf(out.text, sizeof out.text, "%s", r->text.text);
	out.version = r->version;
	out.content = r->content;
	out.added = r->added_total;
	out.removed = r->removed_total;
	out.edits = r->edit_count;
	assert_int_equal(r->added_count, r->added_total);
	assert_int_equal(r->removed_count, r->removed_total);
	out.first_added = r->added_count > 0 ? r->added[0] : 0;
	out.first_removed = r->removed_count > 0 ? r->removed[0] : 0;
	msg_free(&reply);
	return out;
}

static inline struct published approve(struct cluster *c)
{
	const struct seen now = look(c);
	return say(&c->admin, MSG_PUBLISH_APPROVE, &now.content, "");
}

/* Two trained facts of `client`, the first at f; none is published. */
static inline void held_facts(struct cluster *c, struct fact *f)
{
	c->config.approve = true;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 2);
	f->epoch = worker_lease(&c->worker, &f->shard);
	assert_int_equal(worker_turn(&c->worker, f->shard, f->epoch), 0);
	f->edit = edit_from(c, 1);
	f->seq = f->edit.seq;
}

/* The same in v1, which a node serves. */
static inline void served_facts(struct cluster *c, struct fact *f)
{
	held_facts(c, f);
	assert_int_equal(approve(c).version, 1);
	node_hello(&c->node, 1);
	node_status(&c->node, 1);
	assert_int_equal(edit_state(c, f->seq), STORE_EDIT_STATE_SERVED);
}

static inline uint64_t version_of(struct cluster *c, uint64_t seq)
{
	struct store_edit edit;
	edit_get(c, seq, &edit);
	return edit.version;
}

static inline uint64_t fact_more(struct cluster *c, const struct fact *f)
{
	uint64_t seq = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f->shard, f->epoch), 0);
	return seq;
}

static inline void submit_as(struct end_peer *end, const char *record, enum msg_on_conflict policy, int code)
{
	const struct msg_bytes bytes = { record, strlen(record) };
	struct msg msg = { .type = MSG_SUBMIT, .u.submit = { policy, &bytes, 1 } };
	end_send(end, &msg);
	cluster_run(end->cluster);
	cluster_advance(end->cluster, 10);
	struct msg_received *reply = end_expect(end, MSG_SUBMIT_REPLY);
	assert_int_equal(reply->msg.u.submit_reply.result_count, 1);
	if (reply->msg.u.submit_reply.results[0].code != code)
		fail_msg("%d: %s", reply->msg.u.submit_reply.results[0].code,
			 reply->msg.u.submit_reply.results[0].reason.text);
	msg_free(&reply);
}

static inline bool event_says(struct cluster *c, uint64_t seq, enum store_event_type type, const struct end_peer *by,
			      const char *text)
{
	struct store_txn *txn = NULL;
	struct store_event event;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	if (seq == 0)
		assert_ok(&c->e, store_event_last(txn, &seq, NULL, &c->e));
	assert_ok(&c->e, store_event_get(txn, seq, &event, &c->e));
	bool says = event.type == type && memcmp(event.actor, by->key, sizeof event.actor) == 0 &&
		    memmem(event.payload, event.payload_len, text, strlen(text)) != NULL;
	store_abort(&txn);
	return says;
}

#endif
