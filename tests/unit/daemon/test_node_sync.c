#include "tests/unit/daemon/node_fixture.h"

#include <unistd.h>

struct wanted {
	int calls, code;
	struct node_version version;
};

static void on_want(void *context, int code, struct node_version *version)
{
	struct wanted *w = context;
	w->calls++;
	w->code = code;
	w->version = *version;
	version->set = NULL;
}

static void want(struct node_fixture *f, uint64_t version, int64_t ms, struct wanted *w)
{
	*w = (struct wanted){ 0 };
	assert_ok(&f->e, node_sync_want(f->sync, version, env_monotonic_us(f->env) + ms * 1000, on_want, w, &f->e));
}

static void until_called(struct node_fixture *f, const struct wanted *w)
{
	for (int i = 0; i < 500 && w->calls == 0; i++)
		node_turn(f);
	assert_int_equal(w->calls, 1);
}

static void goes_live_and_says_so(void **state)
{
	struct node_fixture *f = *state;
	struct published *p = node_publish(f, 1, false);
	struct node_version v;
	node_start(f, 4);
	assert_int_equal(node_sync_acquire(f->sync, 0, &v), ERR_AGAIN);
	node_until_live(f, 1);
	node_turns(f, 3);
	assert_int_equal(f->hellos, 1);
	assert_string_equal(f->status_state, "live");
	assert_int_equal(f->status.version, 1);
	assert_true(hash_equal(&f->status.content, &p->content));
	assert_int_equal(node_sync_acquire(f->sync, 0, &v), 0);
	assert_int_equal(editor_memory_set_version(v.set), 1);
	node_publish(f, 2, false);
	node_until_live(f, 2); /* the old set lives as long as it is held */
	assert_int_equal(editor_memory_set_edit_count(v.set), 2);
	node_version_release(&v);
	assert_int_equal(node_info(f).swaps, 2);
}

static void is_ready_before_anything_was_published(void **state)
{
	struct node_fixture *f = *state;
	struct node_version v;
	node_start(f, 4);
	node_turns(f, 20);
	assert_int_equal(node_sync_acquire(f->sync, 0, &v), 0);
	assert_int_equal(v.version, 0);
	assert_null(v.set);
}

static void a_hint_is_followed_at_once(void **state)
{
	struct node_fixture *f = *state;
	struct msg hint = { .type = MSG_HINT };
	node_start(f, 4);
	node_turns(f, 5);
	size_t polls = f->polls;
	node_publish(f, 1, false);
	hint.u.hint.version = 1;
	assert_ok(&f->e, f->server->ops->publish(f->server, &hint, &f->e));
	node_turns(f, 25); /* half of the poll's period */
	assert_int_equal(node_info(f).live, 1);
	assert_true(f->polls > polls);
}

/* However long an answer takes: more than between two polls for news, than between two of any kind. */
static void a_long_way_to_the_coordinator_is_no_hindrance(void **state)
{
	struct node_fixture *f = *state;
	static const int delays[] = { 8, 60, 120 };
	struct wanted w;
	node_start(f, 1);
	for (uint64_t i = 0; i < 3; i++) {
		f->delay = delays[i];
		node_publish(f, i + 1, false);
		for (int turn = 0; turn < 2000 && node_info(f).live != i + 1; turn++)
			node_turn(f);
		assert_int_equal(node_info(f).live, i + 1);
	}
	want(f, 1, 60000, &w);
	for (int turn = 0; turn < 2000 && w.calls == 0; turn++)
		node_turn(f);
	assert_int_equal(w.calls, 1);
	assert_int_equal(w.code, 0);
	node_version_release(&w.version);
}

static void skips_to_the_newest(void **state)
{
	struct node_fixture *f = *state;
	node_publish(f, 1, false);
	node_start(f, 4);
	f->mute_chunks = true;
	node_turns(f, 30);
	assert_int_equal(node_info(f).state, NODE_SYNC_FETCHING);
	node_publish(f, 2, false);
	node_publish(f, 3, false);
	node_turns(f, 120);
	f->mute_chunks = false;
	node_until_live(f, 3);
	assert_int_equal(node_info(f).swaps, 2); /* 1 was under way, 2 was never loaded */
	struct node_version v;
	assert_int_equal(node_sync_acquire(f->sync, 2, &v), ERR_NOT_FOUND);
}

static void restart_fetches_only_what_is_new(void **state)
{
	struct node_fixture *f = *state;
	node_publish(f, 1, false);
	node_start(f, 4);
	node_until_live(f, 1);
	node_stop(f);
	f->silent = true; /* no coordinator */
	f->chunks = 0;
	node_start(f, 4);
	node_until_live(f, 1);
	assert_int_equal(f->chunks, 0);
	node_publish(f, 2, false);
	f->silent = false;
	node_until_live(f, 2);
	assert_int_equal(f->chunks,
			 4); /* root and one chunk each of delta and manifest; index and calibration are here */
}

/* One tick begins it; each step that ends begins the next. */
static void a_restart_loads_what_is_here_without_waiting(void **state)
{
	struct node_fixture *f = *state;
	node_publish(f, 1, false);
	node_start(f, 1);
	node_until_live(f, 1);
	node_stop(f);
	f->silent = true; /* no coordinator */
	node_start(f, 1);
	node_sync_tick(f->sync);
	pool_poll(f->pool);
	pool_poll(f->pool);
	assert_int_equal(node_info(f).live, 1);
}

static void greets_again_after_silence(void **state)
{
	struct node_fixture *f = *state;
	node_publish(f, 1, false);
	node_start(f, 4);
	node_until_live(f, 1);
	f->silent = true;
	node_turns(f, 500); /* 10 s */
	assert_false(node_info(f).greeted);
	assert_int_equal(node_info(f).live, 1);
	f->silent = false;
	node_turns(f, 60);
	assert_true(node_info(f).greeted);
	assert_int_equal(f->hellos, 2);
	struct msg error = { .type = MSG_ERROR };
	error.u.error = (struct msg_error){ ERR_NOT_FOUND, { "say Hello first", 15 } };
	node_script_send(f, &error, NULL);
	node_turns(f, 60);
	assert_int_equal(f->hellos, 3);
}

static void a_refused_hello_ends_it(void **state)
{
	struct node_fixture *f = *state;
	struct err e = ERR_INIT;
	f->hello_code = ERR_MISMATCH;
	node_start(f, 4);
	node_turns(f, 5);
	assert_true(node_sync_failed(f->sync, &e));
	assert_int_equal(e.code, ERR_MISMATCH);
	assert_non_null(strstr(e.text, "another base model"));
}

static void a_bad_version_gives_way(void **state)
{
	struct node_fixture *f = *state;
	node_publish(f, 1, false);
	node_start(f, 4);
	node_until_live(f, 1);
	node_publish(f, 2, true);
	node_turns(f, 200);
	assert_int_equal(node_info(f).live, 1);
	assert_int_equal(node_info(f).state, NODE_SYNC_LIVE);
	assert_true(node_info(f).failures_fetch + node_info(f).failures_build >= 1);
	assert_true(node_info(f).lag_seconds > 0);
	assert_int_equal(f->status.failed_version, 2); /* people are told */
	assert_true(strlen(f->status_failed) > 0);
	f->published_ms = env_wall_ms(f->env) + 3600000; /* the coordinator's clock is ahead */
	node_publish(f, 3, true);
	node_turns(f, 200);
	assert_int_equal(node_info(f).newest, 3);
	assert_true(node_info(f).lag_seconds >= 0);
	node_publish(f, 4, false);
	node_until_live(f, 4);
	node_turns(f, 50);
	assert_int_equal(f->status.failed_version, 0);
	assert_string_equal(f->status_failed, "");
}

static void pinned_versions_are_loaded_on_demand(void **state)
{
	struct node_fixture *f = *state;
	struct wanted w, never, late;
	for (uint64_t v = 1; v <= 3; v++)
		node_publish(f, v, false);
	node_start(f, 2);
	node_until_live(f, 3);
	want(f, 1, 5000, &w);
	want(f, 9, 5000, &never);
	until_called(f, &w);
	until_called(f, &never);
	assert_int_equal(w.code, 0);
	assert_int_equal(editor_memory_set_version(w.version.set), 1);
	assert_int_equal(never.code, ERR_NOT_FOUND);
	node_version_release(&w.version);
	assert_int_equal(node_info(f).live, 3);
	want(f, 2, 5000, &w); /* takes the place of 1, not of 3 */
	until_called(f, &w);
	node_version_release(&w.version);
	struct node_version v;
	assert_int_equal(node_info(f).versions, 2);
	assert_int_equal(node_sync_acquire(f->sync, 1, &v), ERR_NOT_FOUND);
	assert_int_equal(node_sync_acquire(f->sync, 3, &v), 0);
	node_version_release(&v);
	f->silent = true;
	want(f, 1, 500, &late);
	until_called(f, &late);
	assert_int_equal(late.code, ERR_TIMEOUT);
	static struct wanted all[NODE_WANTS_MAX];
	for (size_t i = 0; i < NODE_WANTS_MAX; i++)
		want(f, 1, 60000, &all[i]);
	assert_int_equal(node_sync_want(f->sync, 1, INT64_MAX, on_want, &late, &f->e), ERR_LIMIT);
	node_sync_close(f->sync);
	for (size_t i = 0; i < NODE_WANTS_MAX; i++) {
		assert_int_equal(all[i].calls, 1);
		assert_int_equal(all[i].code, ERR_CLOSED);
	}
	assert_int_equal(late.calls, 1); /* what was refused is not called */
}

static void publish_with_hint(struct node_fixture *f, uint64_t version)
{
	struct msg hint = { .type = MSG_HINT, .u.hint.version = version };
	node_publish(f, version, false);
	assert_ok(&f->e, f->server->ops->publish(f->server, &hint, &f->e));
}

/* However many older versions are asked for. */
static void pinned_versions_do_not_hold_up_the_newest(void **state)
{
	struct node_fixture *f = *state;
	struct wanted wanted[5];
	int called = 0;
	for (uint64_t v = 1; v <= 6; v++)
		node_publish(f, v, false);
	node_start(f, 2);
	node_until_live(f, 6);
	for (uint64_t i = 0; i < 5; i++)
		want(f, i + 1, 60000, &wanted[i]);
	publish_with_hint(f, 7);
	node_until_live(f, 7);
	for (size_t i = 0; i < 5; i++)
		called += wanted[i].calls;
	assert_in_range(called, 0, 2);
	for (size_t i = 0; i < 5; i++) {
		until_called(f, &wanted[i]);
		node_version_release(&wanted[i].version);
	}
}

/* However fast newer ones are published. */
static void the_newest_does_not_hold_up_pinned_versions(void **state)
{
	struct node_fixture *f = *state;
	struct wanted wanted[2];
	for (uint64_t v = 1; v <= 3; v++)
		node_publish(f, v, false);
	node_start(f, 2);
	node_until_live(f, 3);
	for (uint64_t i = 0; i < 2; i++)
		want(f, i + 1, 60000, &wanted[i]);
	for (int i = 0; i < 500 && wanted[0].calls + wanted[1].calls < 2; i++) {
		if (i % 2 == 0 && f->latest < NODE_VERSIONS) /* a load takes more turns */
			publish_with_hint(f, f->latest + 1);
		node_turn(f);
	}
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(wanted[i].calls, 1);
		node_version_release(&wanted[i].version);
	}
	assert_in_range(node_info(f).swaps, 1, 3); /* 3, and one newer version before each at most */
	node_until_live(f, f->latest);
}

/* Its manifest is asked for once, while the answer may be on its way. */
static void a_pinned_version_is_asked_for_once(void **state)
{
	struct node_fixture *f = *state;
	struct wanted w;
	node_publish(f, 1, false);
	node_publish(f, 2, false);
	node_start(f, 2);
	node_until_live(f, 2);
	f->delay = 80; /* 1.6 s */
	want(f, 1, 60000, &w);
	until_called(f, &w);
	assert_int_equal(w.code, 0);
	assert_int_equal(f->pins_asked, 1);
	node_version_release(&w.version);
}

static void what_was_used_last_stays(void **state)
{
	struct node_fixture *f = *state;
	struct node_version held;
	struct wanted w;
	for (uint64_t v = 1; v <= 4; v++)
		node_publish(f, v, false);
	node_start(f, 3);
	node_until_live(f, 4);
	for (uint64_t v = 1; v <= 3; v++) {
		if (v == 3) { /* the first is asked again before the third is wanted */
			assert_int_equal(node_sync_acquire(f->sync, 1, &held), 0);
			node_version_release(&held);
		}
		want(f, v, 5000, &w);
		until_called(f, &w);
		assert_int_equal(w.code, 0);
		node_version_release(&w.version);
	}
	assert_int_equal(node_sync_acquire(f->sync, 2, &held), ERR_NOT_FOUND);
	assert_int_equal(node_sync_acquire(f->sync, 1, &held), 0);
	node_version_release(&held);
}

/* Flips a bit in every copy of the chunk's first bytes in the closed store. */
static void damage(struct node_fixture *f, const struct hash *root)
{
	char path[TEST_PATH_BYTES];
	struct buf blob = BUF_INIT, file = BUF_INIT;
	size_t hits = 0;
	assert_ok(&f->e, store_blob_get(f->source, root, 1 << 20, &blob, &f->e));
	test_path(path, f->data, "blobs/data.mdb");
	assert_ok(&f->e, file_read(path, 1 << 30, &file, &f->e));
	FILE *out = fopen(path, "r+b");
	assert_non_null(out);
	for (uint8_t *at = file.data; (at = memmem(at, file.len - (size_t)(at - file.data), blob.data, 64)) != NULL;
	     at++) {
		fseek(out, at - file.data + 20, SEEK_SET);
		fputc(at[20] ^ 1, out);
		hits++;
	}
	fclose(out);
	assert_true(hits > 0);
	buf_free(&blob);
	buf_free(&file);
}

static void a_damaged_chunk_is_fetched_again(void **state)
{
	struct node_fixture *f = *state;
	struct published *p = node_publish(f, 1, false);
	node_start(f, 4);
	node_until_live(f, 1);
	node_stop(f);
	damage(f, &p->delta_root);
	f->chunks = 0;
	node_start(f, 4);
	node_until_live(f, 1);
	assert_int_equal(f->chunks, 1);
}

/* The coordinator's disk has changed what this node has. */
static void gives_what_the_coordinator_needs(void **state)
{
	struct node_fixture *f = *state;
	struct published *p = node_publish(f, 1, false);
	const struct hash hashes[] = { { { 1 } }, p->delta_root };
	struct msg need = { .type = MSG_NEED, .u.hashes = { hashes, 2, 0 } };
	struct msg_received *received = NULL;
	struct buf chunk = BUF_INIT;
	node_start(f, 4);
	node_until_live(f, 1);
	node_script_send(f, &need, NULL);
	while (f->client->ops->recv(f->client, &received, &f->e) == 0) {
		node_sync_receive(f->sync, &received);
		msg_free(&received);
	}
	while (f->server->ops->recv(f->server, &received, &f->e) == 0 && received->msg.type != MSG_CHUNK)
		msg_free(&received);
	assert_non_null(received);
	assert_ok(&f->e, store_chunk_get(f->source, &p->delta_root, &chunk, &f->e));
	assert_int_equal(received->msg.u.chunk.code, 0);
	assert_true(hash_equal(&received->msg.u.chunk.hash, &p->delta_root));
	assert_int_equal(received->msg.u.chunk.data.len, chunk.len);
	assert_memory_equal(received->msg.u.chunk.data.bytes, chunk.data, chunk.len);
	msg_free(&received);
	buf_free(&chunk);
}

static void another_cluster_starts_anew(void **state)
{
	struct node_fixture *f = *state;
	struct node_version v;
	node_publish(f, 1, false);
	node_publish(f, 2, false);
	node_start(f, 4);
	node_until_live(f, 2);
	node_stop(f);
	f->cluster = "cluster-b";
	f->latest = 1;
	node_start(f, 4);
	node_turns(f, 100);
	assert_int_equal(node_info(f).live, 1);
	assert_int_equal(node_sync_acquire(f->sync, 2, &v), ERR_NOT_FOUND);
}

/* A version that a request named and whose turn had not come says nothing of the next cluster's version of that number.
 */
static void another_cluster_forgets_what_was_pinned(void **state)
{
	struct node_fixture *f = *state;
	struct msg error = { .type = MSG_ERROR };
	struct wanted w;
	node_publish(f, 1, false);
	node_publish(f, 2, false);
	node_start(f, 1);
	node_until_live(f, 2);
	f->mute_chunks = true;
	node_publish(f, 3, false);
	node_turns(f, 60); /* 3 is being fetched, and stays so */
	assert_int_equal(node_info(f).state, NODE_SYNC_FETCHING);
	want(f, 1, 60000, &w);
	node_turns(f, 10);
	f->cluster = "cluster-b";
	f->published_ms = 2000;
	memset(f->versions, 0, sizeof f->versions);
	struct published other = *node_publish(f, 1, false);
	node_publish(f, 2, false);
	error.u.error = (struct msg_error){ ERR_NOT_FOUND, { "say Hello first", 15 } };
	node_script_send(f, &error, NULL);
	node_turns(f, 100);
	f->mute_chunks = false;
	until_called(f, &w);
	assert_int_equal(w.code, 0);
	assert_true(hash_equal(&w.version.content, &other.content));
	node_version_release(&w.version);
}

#define T(test) cmocka_unit_test_setup_teardown(test, node_setup, node_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(goes_live_and_says_so),
		T(is_ready_before_anything_was_published),
		T(a_hint_is_followed_at_once),
		T(a_long_way_to_the_coordinator_is_no_hindrance),
		T(skips_to_the_newest),
		T(restart_fetches_only_what_is_new),
		T(a_restart_loads_what_is_here_without_waiting),
		T(greets_again_after_silence),
		T(a_refused_hello_ends_it),
		T(a_bad_version_gives_way),
		T(pinned_versions_are_loaded_on_demand),
		T(pinned_versions_do_not_hold_up_the_newest),
		T(the_newest_does_not_hold_up_pinned_versions),
		T(a_pinned_version_is_asked_for_once),
		T(what_was_used_last_stays),
		T(a_damaged_chunk_is_fetched_again),
		T(gives_what_the_coordinator_needs),
		T(another_cluster_starts_anew),
		T(another_cluster_forgets_what_was_pinned),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
