/* Rolling back, and what is held until publishing goes on. */
#include "tests/lib/store_fixture.h"
#include "tests/unit/coordinator/revoke_fixture.h"

struct published { /* a PublishReply */
	int code;
	uint64_t version;
	struct hash content;
	uint32_t back_count;
	bool already;
};

static struct published client_publish(struct cluster *c, enum msg_publish_action action, uint64_t version,
				       const char *reason)
{
	struct msg msg = { .type = MSG_PUBLISH };
	msg.u.publish =
		(struct msg_publish){ .action = action, .version = version, .reason = { reason, strlen(reason) } };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_PUBLISH_REPLY);
	const struct msg_publish_reply *r = &reply->msg.u.publish_reply;
	struct published out = { r->code, r->version, r->content, r->back_count, r->already };
	msg_free(&reply);
	return out;
}

static bool event_says(struct cluster *c, uint64_t seq, enum store_event_type type, const char *text)
{
	struct store_txn *txn = NULL;
	struct store_event event;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_get(txn, seq, &event, &c->e));
	bool says = event.type == type && memcmp(event.actor, c->client.key, sizeof event.actor) == 0 &&
		    memmem(event.payload, event.payload_len, text, strlen(text)) != NULL;
	store_abort(&txn);
	return says;
}

static bool held_says(struct cluster *c, const char *what)
{
	struct msg msg = { .type = MSG_VERSION_LIST, .u.version_list = { 1, 10 } };
	struct msg fleet = { .type = MSG_FLEET };
	end_send(&c->client, &msg);
	end_send(&c->client, &fleet);
	cluster_run(c);
	struct msg_received *list = end_expect(&c->client, MSG_VERSION_LIST_REPLY);
	struct msg_received *status = end_expect(&c->client, MSG_FLEET_REPLY);
	const struct msg_text held = list->msg.u.version_list_reply.held, same = status->msg.u.fleet_reply.publish_held;
	assert_int_equal(held.len, same.len);
	bool says = what == NULL ? held.len == 0 : held.len > 0 && strstr(held.text, what) != NULL;
	msg_free(&list);
	msg_free(&status);
	return says;
}

/* Facts 1 and 2 in v1, fact 3 in v2. */
static void two_versions(struct cluster *c, struct fact *f)
{
	prepare(c, f);
	client_facts(c, 3, 1);
	assert_int_equal(worker_turn(&c->worker, f->shard, f->epoch), 2);
}

static void test_rollback_is_the_old_manifest_under_a_new_number(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	two_versions(c, &f);
	assert_true(held_says(c, NULL));
	struct published p = client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "v2 is bad");
	assert_int_equal(p.code, 0);
	assert_int_equal(p.version, 3);
	assert_int_equal(p.back_count, 0);
	struct store_version old = version_get(c, 1), rec = version_get(c, 3);
	assert_true(hash_equal(&old.root, &rec.root));
	assert_true(hash_equal(&old.content, &rec.content));
	assert_true(hash_equal(&p.content, &rec.content));
	assert_string_equal(rec.note, "rollback to v1: v2 is bad");
	assert_true(event_says(c, rec.event_seq, STORE_EVENT_VERSION_PUBLISHED, "\"rollback_to\":1"));
	assert_true(event_says(c, rec.event_seq, STORE_EVENT_VERSION_PUBLISHED, "\"reason\":\"v2 is bad\""));
	assert_int_equal(newest(c), 3);
	assert_true(held_says(c, "v2 is bad"));
}

static void test_what_is_trained_meanwhile_waits_for_the_resume(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	two_versions(c, &f);
	node_hello(&c->node, 1);
	node_status(&c->node, 1);
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why").version, 3);
	uint64_t seq = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	node_status(&c->node, 3); /* which has neither fact 3 nor the new edit */
	assert_int_equal(newest(c), 3);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_TRAINED);
	assert_true(held_says(c, "2 trained edits wait"));
	struct published p = client_publish(c, MSG_PUBLISH_RESUME, 0, "");
	assert_int_equal(p.code, 0);
	assert_int_equal(p.version, 4);
	assert_false(p.already);
	assert_true(held_says(c, NULL));
	assert_true(event_says(c, version_get(c, 4).event_seq - 1, STORE_EVENT_CONFIG_CHANGED,
			       "\"publishing\":\"resumed\""));
	struct store_edit edit;
	edit_get(c, seq, &edit);
	assert_int_equal(edit.version, 4);
	node_status(&c->node, 4);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_SERVED);
	p = client_publish(c, MSG_PUBLISH_RESUME, 0, "");
	assert_true(p.already);
	assert_int_equal(newest(c), 4);
}

static void test_the_pause_outlives_the_coordinator(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	two_versions(c, &f);
	client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why");
	uint64_t seq = client_submit_one(c, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\"}", 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	end_clear(&c->worker);
	cluster_restart(c);
	assert_true(held_says(c, "2 trained edits wait"));
	node_hello(&c->node, 1);
	node_status(&c->node, 3);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_TRAINED);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
	assert_int_equal(client_publish(c, MSG_PUBLISH_RESUME, 0, "").version, 4);
	cluster_restart(c);
	assert_true(held_says(c, NULL));
	node_hello(&c->node, 1);
	node_status(&c->node, 4);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_SERVED);
}

/* What a rollback took back is served by the version that brings it again, also for the next process. */
static void test_a_restart_after_the_resume_serves_nothing_too_early(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	two_versions(c, &f);
	const uint64_t third = edit_from(c, f.seq + 2).seq;
	client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why");
	assert_int_equal(client_publish(c, MSG_PUBLISH_RESUME, 0, "").version, 4);
	cluster_restart(c);
	node_hello(&c->node, 1);
	node_status(&c->node, 3);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
	assert_int_equal(edit_state(c, third), STORE_EDIT_STATE_TRAINED);
	node_status(&c->node, 4);
	assert_int_equal(edit_state(c, third), STORE_EDIT_STATE_SERVED);
	assert_int_equal(edit_from(c, third).version, 4);
}

/* The second rollback is to a version that holds what the first took back and what was trained in its pause. */
static void test_a_second_rollback_may_hold_what_waits(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	two_versions(c, &f);
	const uint64_t third = edit_from(c, f.seq + 2).seq;
	node_hello(&c->node, 1);
	client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why");
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 2, "not that one").version, 4);
	node_status(&c->node, 3);
	assert_int_equal(edit_state(c, third), STORE_EDIT_STATE_TRAINED);
	node_status(&c->node, 4);
	assert_int_equal(edit_state(c, third), STORE_EDIT_STATE_SERVED);
}

static void test_what_was_revoked_is_counted_and_goes_with_the_resume(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	two_versions(c, &f);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 3);
	struct published p = client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why");
	assert_int_equal(p.version, 4);
	assert_int_equal(p.back_count, 1);
	struct store_edit second;
	edit_get(c, f.seq + 1, &second);
	struct revoked r = client_revoke(c, second.id, NULL, false);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.version, 0);
	assert_non_null(strstr(r.text, "paused"));
	assert_int_equal(newest(c), 4);
	assert_int_equal(client_publish(c, MSG_PUBLISH_RESUME, 0, "").version, 5);
	assert_true(removed_in(c, 5, f.seq));
	assert_true(removed_in(c, 5, second.seq));
}

static void test_asked_again_it_is_one_rollback(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	two_versions(c, &f);
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why").version, 3);
	c->client.next_request--;
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why").version, 3);
	assert_int_equal(newest(c), 3);
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why").version, 4);
}

/* Whoever asks again does not know that the coordinator was started anew, nor what others have done since. */
static void test_asked_again_of_another_process_it_is_one_rollback(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	two_versions(c, &f);
	struct published first = client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why");
	assert_int_equal(first.version, 3);
	for (size_t i = 0; i < 2; i++) {
		cluster_restart(c);
		c->client.next_request--;
		struct published p = client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why");
		assert_int_equal(p.code, 0);
		assert_int_equal(p.version, 3);
		assert_true(hash_equal(&p.content, &first.content));
		assert_int_equal(newest(c), 3);
	}
	const uint64_t request = c->client.next_request;
	assert_int_equal(client_publish(c, MSG_PUBLISH_RESUME, 0, "").version, 4);
	c->client.next_request = request - 1;
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why").version, 3);
	assert_int_equal(newest(c), 4);
	c->client.next_request = request + 10;
	for (uint64_t version = 5; version < 25; version++) /* more than are remembered */
		assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why").version, version);
	cluster_restart(c);
	c->client.next_request--;
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why").version, 24);
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why").version, 25);
}

static void test_no_rollback_to_a_version_whose_memories_are_gone(void **state)
{
	struct cluster *c = *state;
	struct store_txn *txn = NULL;
	struct fact f;
	two_versions(c, &f);
	assert_ok(&c->e, store_begin(c->store, &txn, &c->e));
	assert_ok(&c->e, store_kept_put(txn, 2, &c->e));
	assert_ok(&c->e, store_commit(&txn, &c->e));
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why").code, ERR_NOT_FOUND);
	assert_int_equal(newest(c), 2);
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 2, "why").version, 3);
}

/* A copy that was restored may have been without them. */
static void test_no_rollback_to_a_version_whose_memories_are_missing(void **state)
{
	struct cluster *c = *state;
	struct fixture store = { .store = NULL };
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	struct fact f;
	two_versions(c, &f);
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, 1, arena, &manifest);
	struct buf root = BUF_INIT;
	assert_ok(&c->e, store_chunk_get(c->store, &manifest.memories[0].delta_root, &root, &c->e));
	arena_destroy(&arena);
	cluster_stop(c);
	test_path(store.folder, c->folder, "store");
	assert_true(fixture_tamper(&store, "blobs", root.data, root.len, root.len - 1) > 0);
	buf_free(&root);
	cluster_start(c);
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "why").code, ERR_CORRUPT);
	assert_true(held_says(c, NULL));
	assert_int_equal(newest(c), 2);
}

static void test_refusals_change_nothing(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	two_versions(c, &f);
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 9, "why").code, ERR_NOT_FOUND);
	assert_int_equal(client_publish(c, MSG_PUBLISH_ROLLBACK, 1, "").code, ERR_INVALID);
	assert_true(held_says(c, NULL));
	assert_int_equal(newest(c), 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_rollback_is_the_old_manifest_under_a_new_number),
		T(test_what_is_trained_meanwhile_waits_for_the_resume),
		T(test_the_pause_outlives_the_coordinator),
		T(test_a_restart_after_the_resume_serves_nothing_too_early),
		T(test_a_second_rollback_may_hold_what_waits),
		T(test_what_was_revoked_is_counted_and_goes_with_the_resume),
		T(test_asked_again_it_is_one_rollback),
		T(test_asked_again_of_another_process_it_is_one_rollback),
		T(test_no_rollback_to_a_version_whose_memories_are_gone),
		T(test_no_rollback_to_a_version_whose_memories_are_missing),
		T(test_refusals_change_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
