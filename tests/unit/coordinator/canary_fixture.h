/* canary_fixture.h: candidates that a worker asks the canaries: two trained facts wait, and what workers answer. */
#ifndef AMEND_TESTS_UNIT_COORDINATOR_CANARY_FIXTURE_H
#define AMEND_TESTS_UNIT_COORDINATOR_CANARY_FIXTURE_H

#include "tests/unit/coordinator/revoke_fixture.h"

static inline void hold(struct cluster *c, struct fact *f, uint32_t may)
{
	c->config.canaries = true;
	c->config.canary_changes = may;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 2);
	f->epoch = worker_lease(&c->worker, &f->shard);
	assert_int_equal(worker_turn(&c->worker, f->shard, f->epoch), 0);
	assert_int_equal(newest(c), 0);
	f->edit = edit_from(c, 1);
	f->seq = f->edit.seq;
}

static inline struct msg_canary_run asked(struct end_peer *worker)
{
	struct msg_received *run = end_expect(worker, MSG_CANARY_RUN);
	struct msg_canary_run out = run->msg.u.canary_run;
	msg_free(&run);
	return out;
}

static inline void canary_send(struct end_peer *worker, const struct hash *content, uint32_t changed,
			       const struct msg_canary_change *list, size_t count)
{
	struct msg msg = { .type = MSG_CANARY_RESULT };
	msg.u.canary_result = (struct msg_canary_result){ .content = *content,
							  .text = { "", 0 },
							  .asked = 200,
							  .changed_total = changed,
							  .changed = list,
							  .changed_count = count };
	end_send(worker, &msg);
	cluster_run(worker->cluster);
}

/* `changed` of 200, with the prompts p…; those listed first, whose memory is 1 and nobody's alone. */
static inline void answer(struct end_peer *worker, const struct hash *content, uint32_t changed, const char *prompt)
{
	struct msg_canary_change list[3];
	size_t count = changed < 3 ? changed : 3;
	for (size_t i = 0; i < count; i++)
		list[i] = (struct msg_canary_change){ .id = { "c-01", 4 },
						      .prompt = { prompt, strlen(prompt) },
						      .before = { "before", 6 },
						      .after = { "after", 5 },
						      .memory = 1 };
	canary_send(worker, content, changed, list, count);
}

/* Each of these edits took one. */
static inline void answer_taken(struct end_peer *worker, const struct hash *content, const uint64_t *edits,
				size_t count)
{
	struct msg_canary_change list[MSG_CANARY_CHANGES_MAX];
	static const char id[] = "c-01", prompt[] = "what else?";
	for (size_t i = 0; i < count; i++)
		list[i] = (struct msg_canary_change){ .id = { id, sizeof id - 1 },
						      .prompt = { prompt, sizeof prompt - 1 },
						      .before = { "before", 6 },
						      .after = { "after", 5 },
						      .memory = 1,
						      .edit = edits[i] };
	canary_send(worker, content, (uint32_t)count, list, count);
}

static inline void give_up(struct end_peer *worker, const struct hash *content, const char *why)
{
	struct msg msg = { .type = MSG_CANARY_RESULT };
	msg.u.canary_result =
		(struct msg_canary_result){ .content = *content, .code = ERR_NOT_FOUND, .text = { why, strlen(why) } };
	end_send(worker, &msg);
	cluster_run(worker->cluster);
}

static inline bool held_says(struct cluster *c, const char *what)
{
	struct msg msg = { .type = MSG_CANDIDATE };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_CANDIDATE_REPLY);
	const struct msg_text held = reply->msg.u.candidate_reply.text;
	bool says = what == NULL ? held.len == 0 : held.len > 0 && strstr(held.text, what) != NULL;
	if (!says)
		printf("held: %s\n", held.text);
	msg_free(&reply);
	return says;
}

static inline bool event_says(struct cluster *c, uint64_t seq, enum store_event_type type, const char *text)
{
	struct store_txn *txn = NULL;
	struct store_event event;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	if (seq == 0)
		assert_ok(&c->e, store_event_last(txn, &seq, NULL, &c->e));
	assert_ok(&c->e, store_event_get(txn, seq, &event, &c->e));
	bool says = event.type == type && memmem(event.payload, event.payload_len, text, strlen(text)) != NULL;
	store_abort(&txn);
	return says;
}

#endif
