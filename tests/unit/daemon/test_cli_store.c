/* Commands on the folder of a stopped coordinator: what is whole, and what was changed. */
#include "tests/lib/cli_fixture.h"
#include "tests/lib/store_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

struct closed { /* a coordinator's folder with one version, its process gone */
	struct cli_world *w;
	struct fixture store; /* to look into it and to tamper with it */
};

static void opened(struct closed *c)
{
	fixture_open(&c->store);
	fixture_begin_read(&c->store);
}

static void shut(struct closed *c)
{
	fixture_abort(&c->store);
	store_close(&c->store.store);
}

static int closed_setup(void **state)
{
	struct closed *c = calloc(1, sizeof *c);
	void *world = NULL;
	if (c == NULL || cli_setup_cluster(&world) != 0)
		return -1;
	c->w = world;
	EXPECT(c->w, CLI_OK, "edit", "add", "--prompt", "Who leads Alpha?", "--target", "Ada", "--id", "a");
	EXPECT(c->w, CLI_OK, "edit", "add", "--prompt", "Who leads Omega?", "--target", "Bob", "--id", "b");
	cli_fleet_join(c->w);
	cli_fleet_work(c->w, 1);
	cluster_stop(c->w->cluster);
	test_path(c->store.folder, c->w->cluster->folder, "store");
	env_manual_init(&c->store.clock, 1);
	c->store.options.env = &c->store.clock.env;
	*state = c;
	return 0;
}

static int closed_teardown(void **state)
{
	struct closed *c = *state;
	void *world = c->w;
	store_abort(&c->store.txn);
	store_close(&c->store.store);
	int rc = cli_teardown(&world);
	free(c);
	return rc;
}

/* The seq of the n-th accepted edit. */
static uint64_t accepted(struct closed *c, const char *id)
{
	struct store_edit edit;
	opened(c);
	OK(&c->store, store_edit_find(c->store.txn, id, &edit, &c->store.e));
	shut(c);
	return edit.seq;
}

static uint64_t number(struct json *json, const char *name)
{
	const struct json *value = json_get(json, name);
	assert_non_null(value);
	return (uint64_t)json_integer(value);
}

/* All bytes of an event as they lie in the file. */
static void event_bytes(struct closed *c, uint64_t seq, struct buf *out)
{
	struct store_event event;
	opened(c);
	OK(&c->store, store_event_get(c->store.txn, seq, &event, &c->store.e));
	const size_t head = 4 + 8 + 8 + STORE_KEY_BYTES + HASH_BYTES;
	buf_append(out, (const uint8_t *)event.payload - head, head + event.payload_len + HASH_BYTES);
	shut(c);
}

static void expect_bad_seq(struct closed *c, uint64_t seq)
{
	char text[48];
	snprintf(text, sizeof text, "event %llu:", (unsigned long long)seq);
	EXPECT(c->w, CLI_VERIFY, "audit", "fsck", c->store.folder);
	cli_expect_err(c->w, text);
	assert_string_equal(cli_out(c->w), "");
	EXPECT(c->w, CLI_VERIFY, "audit", "fsck", c->store.folder, "-o", "json");
	struct json *json = cli_json(c->w);
	assert_int_equal(number(json, "bad_seq"), seq);
	assert_false(json_bool(json_get(json, "whole")));
	json_free(&json);
	EXPECT(c->w, CLI_VERIFY, "store", "verify", c->store.folder);
	cli_expect_err(c->w, text);
}

static void what_is_whole_passes(void **state)
{
	struct closed *c = *state;
	char head[HASH_HEX_BYTES];
	EXPECT(c->w, CLI_OK, "store", "verify", c->store.folder);
	cli_expect_out(c->w, " 2 edits, 1 version, ");
	EXPECT(c->w, CLI_OK, "store", "verify", c->store.folder, "-o", "json");
	struct json *json = cli_json(c->w);
	assert_int_equal(number(json, "edits"), 2);
	assert_int_equal(number(json, "bad_chunks"), 0);
	assert_true(number(json, "chunks") >= 4); /* two blobs, and the manifest, each with its root */
	assert_true(number(json, "blobs") >= 2);
	json_free(&json);
	EXPECT(c->w, CLI_OK, "audit", "fsck", c->store.folder, "-o", "json");
	json = cli_json(c->w);
	assert_true(json_bool(json_get(json, "whole")));
	snprintf(head, sizeof head, "%s", json_string(json_get(json, "head"), NULL));
	assert_int_equal(strlen(head), 64);
	json_free(&json);
	/* A head that was written down is found when the chain has gone on, and missed where it was not its. */
	fixture_open(&c->store);
	fixture_begin(&c->store);
	OK(&c->store,
	   store_event_append(c->store.txn, STORE_EVENT_CONFIG_CHANGED, fixture_actor, "x", 1, NULL, &c->store.e));
	fixture_commit(&c->store);
	store_close(&c->store.store);
	EXPECT(c->w, CLI_OK, "audit", "fsck", c->store.folder, "--head", head);
	cli_expect_out(c->w, "unchanged");
	head[0] = head[0] == '0' ? '1' : '0';
	EXPECT(c->w, CLI_VERIFY, "audit", "fsck", c->store.folder, "--head", head);
	cli_expect_err(c->w, "rewritten");
	EXPECT(c->w, CLI_USAGE, "audit", "fsck", c->store.folder, "--head", "12");
}

static void nothing_is_changed_by_looking(void **state)
{
	struct closed *c = *state;
	char path[TEST_PATH_BYTES];
	struct stat st;
	struct err e = ERR_INIT;
	struct buf before = BUF_INIT, after = BUF_INIT;
	test_path(path, c->store.folder, "ledger/data.mdb");
	assert_ok(&e, file_read(path, (size_t)1 << 30, &before, &e));
	EXPECT(c->w, CLI_OK, "store", "verify", c->store.folder);
	EXPECT(c->w, CLI_OK, "audit", "fsck", c->store.folder);
	assert_ok(&e, file_read(path, (size_t)1 << 30, &after, &e));
	assert_same_bytes(&before, &after);
	buf_free(&before);
	buf_free(&after);
	/* A folder that is none is not made, and one in use is left alone. */
	test_path(path, c->w->cluster->folder, "none");
	EXPECT(c->w, CLI_NOT_FOUND, "store", "verify", path);
	EXPECT(c->w, CLI_NOT_FOUND, "audit", "fsck", path);
	assert_int_not_equal(stat(path, &st), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	EXPECT(c->w, CLI_NOT_FOUND, "audit", "fsck", path);
	fixture_open(&c->store);
	EXPECT(c->w, CLI_FAILED, "store", "verify", c->store.folder);
	cli_expect_err(c->w, "in use by process");
}

static void a_flipped_byte_is_named(void **state)
{
	struct closed *c = *state;
	assert_true(fixture_tamper(&c->store, "ledger", "Who leads Omega", 15, 4) > 0);
	expect_bad_seq(c, accepted(c, "b"));
}

/* Its key is made that of an event far behind, so that none is at its number. */
static void a_removed_event_is_named(void **state)
{
	struct closed *c = *state;
	struct buf entry = BUF_INIT;
	struct store_event last;
	uint64_t seq;
	opened(c);
	OK(&c->store, store_event_last(c->store.txn, &seq, NULL, &c->store.e));
	OK(&c->store, store_event_get(c->store.txn, seq, &last, &c->store.e));
	shut(c);
	buf_u64be(&entry, seq);
	buf_u16le(&entry, (uint16_t)last.type);
	buf_u16le(&entry, 1);
	buf_u64le(&entry, seq);
	assert_true(fixture_tamper(&c->store, "ledger", entry.data, entry.len, 6) > 0);
	buf_free(&entry);
	expect_bad_seq(c, seq);
}

static void swapped_events_are_named(void **state)
{
	struct closed *c = *state;
	struct buf a = BUF_INIT, b = BUF_INIT, file = BUF_INIT;
	struct err e = ERR_INIT;
	char path[TEST_PATH_BYTES];
	uint64_t first = accepted(c, "a");
	event_bytes(c, first, &a);
	event_bytes(c, accepted(c, "b"), &b);
	assert_int_equal(a.len, b.len);
	test_path(path, c->store.folder, "ledger/data.mdb");
	assert_ok(&e, file_read(path, (size_t)1 << 30, &file, &e));
	size_t swapped = 0;
	for (size_t at = 0; at + a.len <= file.len; at++) {
		const bool is_a = memcmp(file.data + at, a.data, a.len) == 0;
		if (!is_a && memcmp(file.data + at, b.data, b.len) != 0)
			continue;
		memcpy(file.data + at, is_a ? b.data : a.data, a.len);
		at += a.len - 1;
		swapped++;
	}
	assert_true(swapped >= 2);
	assert_ok(&e, file_write_atomic(path, file.data, file.len, 0600, &e));
	buf_free(&a);
	buf_free(&b);
	buf_free(&file);
	expect_bad_seq(c, first);
}

static void a_file_that_was_cut_is_refused(void **state)
{
	struct closed *c = *state;
	char path[TEST_PATH_BYTES];
	test_path(path, c->store.folder, "ledger/data.mdb");
	assert_int_equal(truncate(path, 3 * 4096), 0);
	EXPECT(c->w, CLI_VERIFY, "audit", "fsck", c->store.folder);
	cli_expect_err(c->w, "ledger/data.mdb");
}

static void damaged_and_lost_chunks_are_named(void **state)
{
	struct closed *c = *state;
	struct store_version version;
	struct buf manifest = BUF_INIT;
	char root[HASH_HEX_BYTES];
	opened(c);
	OK(&c->store, store_version_get(c->store.txn, 1, &version, &c->store.e));
	OK(&c->store, store_blob_get(c->store.store, &version.root, 1 << 20, &manifest, &c->store.e));
	shut(c);
	assert_true(fixture_tamper(&c->store, "blobs", manifest.data, manifest.len, manifest.len / 2) > 0);
	EXPECT(c->w, CLI_VERIFY, "store", "verify", c->store.folder, "-o", "json");
	cli_expect_err(c->w, "version 1");
	cli_expect_err(c->w, "does not match its hash");
	cli_expect_err(c->w,
		       "1 damaged chunk: version v1 needs what is damaged: start the coordinator, it fetches that "
		       "from workers and nodes which have it; if none has: restore a backup");
	struct json *json = cli_json(c->w);
	assert_int_equal(number(json, "bad_chunks"), 1);
	json_free(&json);
	EXPECT(c->w, CLI_OK, "audit", "fsck", c->store.folder);
	/* put right again, the manifest's root chunk is lost: its key is another */
	assert_true(fixture_tamper(&c->store, "blobs", manifest.data, manifest.len / 2, manifest.len / 2) > 0);
	buf_free(&manifest);
	EXPECT(c->w, CLI_OK, "store", "verify", c->store.folder);
	assert_true(fixture_tamper(&c->store, "blobs", version.root.bytes, HASH_BYTES, HASH_BYTES - 1) > 0);
	EXPECT(c->w, CLI_VERIFY, "store", "verify", c->store.folder);
	hash_hex(&version.root, root);
	cli_expect_err(c->w, "version 1: ");
	cli_expect_err(c->w, root);
}

/* What waits for approval is looked at like a version. */
static void a_candidate_is_verified_too(void **state)
{
	struct closed *c = *state;
	struct cluster *cluster = c->w->cluster;
	struct store_version candidate;
	struct buf manifest = BUF_INIT;
	uint64_t shard, epoch;
	cluster->config.approve = true;
	end_clear(&cluster->worker);
	cluster_start(cluster);
	worker_hello(&cluster->worker, 9);
	client_facts(cluster, 7, 1);
	epoch = worker_lease(&cluster->worker, &shard);
	assert_int_equal(worker_turn(&cluster->worker, shard, epoch), 0);
	cluster_stop(cluster);
	EXPECT(c->w, CLI_OK, "store", "verify", c->store.folder);
	opened(c);
	OK(&c->store, coordinator_candidate_get(c->store.txn, &candidate, &c->store.e));
	OK(&c->store, store_blob_get(c->store.store, &candidate.root, 1 << 20, &manifest, &c->store.e));
	shut(c);
	assert_true(fixture_tamper(&c->store, "blobs", manifest.data, manifest.len, manifest.len / 2) > 0);
	EXPECT(c->w, CLI_VERIFY, "store", "verify", c->store.folder);
	cli_expect_err(c->w, "the candidate: version 2: ");
	cli_expect_err(c->w, "1 damaged chunk: the candidate for the next version needs what is damaged: start the "
			     "coordinator");
	buf_free(&manifest);
}

/* As version 2: the manifest of version 1, or another that says it were. */
static void version_again(struct closed *c, bool other)
{
	struct fixture *f = &c->store;
	struct store_version rec;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	struct buf bytes = BUF_INIT, changed = BUF_INIT;
	fixture_open(f);
	fixture_begin(f);
	OK(f, store_version_get(f->txn, 1, &rec, &f->e));
	assert_int_equal(arena_new(1 << 16, 0, &arena), 0);
	OK(f, store_blob_get(f->store, &rec.root, 1 << 20, &bytes, &f->e));
	OK(f, proto_manifest_decode(bytes.data, bytes.len, arena, &manifest, &f->e));
	manifest.published_ms++;
	OK(f, proto_manifest_encode(&manifest, &changed, &f->e));
	if (other)
		OK(f, store_blob_put(f->store, changed.data, changed.len, &rec.root, &f->e));
	if (other)
		hash_of(changed.data, changed.len, &rec.content);
	OK(f, store_event_append(f->txn, STORE_EVENT_VERSION_PUBLISHED, fixture_actor, "{}", 2, &rec.event_seq, &f->e));
	rec.version = 2;
	OK(f, store_version_put(f->txn, &rec, &f->e));
	fixture_commit(f);
	store_close(&f->store);
	buf_free(&bytes);
	buf_free(&changed);
	arena_destroy(&arena);
}

static void a_version_that_was_rolled_back_to_passes(void **state)
{
	struct closed *c = *state;
	version_again(c, false);
	EXPECT(c->w, CLI_OK, "store", "verify", c->store.folder);
	cli_expect_out(c->w, " 2 versions, ");
}

static void a_manifest_of_another_version_is_named(void **state)
{
	struct closed *c = *state;
	version_again(c, true);
	EXPECT(c->w, CLI_VERIFY, "store", "verify", c->store.folder);
	cli_expect_err(c->w, "version 2: its manifest is that of version 1");
}

static void a_cache_has_chunks_only(void **state)
{
	struct closed *c = *state;
	char path[TEST_PATH_BYTES];
	struct store_options options = { .env = env_system(), .blobs_only = true };
	struct store *store = NULL;
	struct hash root;
	struct err e = ERR_INIT;
	test_path(path, c->w->folder, "worker-0");
	assert_ok(&e, store_open(path, &options, &store, &e));
	assert_ok(&e, store_blob_put(store, "some bytes of a delta", 21, &root, &e));
	store_close(&store);
	EXPECT(c->w, CLI_OK, "store", "verify", "--cache", path);
	cli_expect_out(c->w, ": 2 chunks, ");
	EXPECT(c->w, CLI_VERIFY, "store", "verify", path); /* as a coordinator's it has lost its ledger */
	EXPECT(c->w, CLI_USAGE, "store", "verify", "--cache");
	struct fixture cache = { .store = NULL };
	snprintf(cache.folder, sizeof cache.folder, "%s", path);
	assert_true(fixture_tamper(&cache, "blobs", "some bytes of a delta", 21, 3) > 0);
	EXPECT(c->w, CLI_VERIFY, "store", "verify", "--cache", path);
	cli_expect_err(c->w, "chunk ");
	test_path(path, path, "blobs/data.mdb.damaged");
	struct stat st;
	assert_int_not_equal(stat(path, &st), 0); /* looking sets nothing aside */
}

/* A cluster that runs on, and another that begins where the copy ends. */
static void a_copy_takes_the_place_of_what_was_lost(void **state)
{
	struct closed *c = *state;
	struct cluster *cluster = c->w->cluster;
	char copy[TEST_PATH_BYTES], old[TEST_PATH_BYTES];
	test_path(copy, cluster->folder, "copy");
	test_path(old, cluster->folder, "old");
	cluster_start(cluster);
	EXPECT(c->w, CLI_OK, "store", "backup", copy, "-o", "json");
	struct json *json = cli_json(c->w);
	assert_int_equal(number(json, "versions"), 1);
	assert_int_equal(number(json, "bad_chunks"), 0);
	json_free(&json);
	EXPECT(c->w, CLI_CONFLICT, "store", "backup", copy); /* never over another */
	cli_expect_err(c->w, "holds something already");
	EXPECT(c->w, CLI_OK, "edit", "add", "--prompt", "Who leads Gamma?", "--target", "Eve", "--id", "c");
	EXPECT(c->w, CLI_OK, "store", "verify", copy);
	cli_expect_out(c->w, " 2 edits, 1 version, ");
	EXPECT(c->w, CLI_OK, "audit", "fsck", copy);
	cluster_stop(cluster);
	EXPECT(c->w, CLI_CONFLICT, "store", "restore", copy, c->store.folder); /* what is there stays */
	assert_int_equal(rename(c->store.folder, old), 0);
	EXPECT(c->w, CLI_OK, "store", "restore", copy, c->store.folder);
	EXPECT(c->w, CLI_OK, "store", "verify", c->store.folder);
	cluster_start(cluster);
	EXPECT(c->w, CLI_OK, "edit", "list", "-o", "json");
	json = cli_json(c->w);
	assert_int_equal(json_length(json), 2); /* a and b; c came later */
	json_free(&json);
	EXPECT(c->w, CLI_OK, "edit", "add", "--prompt", "Who leads Gamma?", "--target", "Eve", "--id", "c");
	cluster_stop(cluster);
}

static void a_damaged_chunk_is_told(void **state)
{
	struct closed *c = *state;
	struct store_version version;
	struct buf manifest = BUF_INIT;
	char copy[TEST_PATH_BYTES];
	test_path(copy, c->w->cluster->folder, "copy");
	opened(c);
	OK(&c->store, store_version_get(c->store.txn, 1, &version, &c->store.e));
	OK(&c->store, store_blob_get(c->store.store, &version.root, 1 << 20, &manifest, &c->store.e));
	shut(c);
	assert_true(fixture_tamper(&c->store, "blobs", manifest.data, manifest.len, manifest.len / 2) > 0);
	buf_free(&manifest);
	cluster_start(c->w->cluster);
	EXPECT(c->w, CLI_VERIFY, "store", "backup", copy);
	cli_expect_err(c->w, "1 chunk did not match its hash");
	EXPECT(c->w, CLI_VERIFY, "store", "verify", copy);
	cli_expect_err(c->w, "version 1");
	cluster_stop(c->w->cluster);
}

static void old_versions_are_given_back(void **state)
{
	struct closed *c = *state;
	struct cluster *cluster = c->w->cluster;
	cluster_start(cluster);
	EXPECT(c->w, CLI_PENDING, "store", "gc"); /* an upload of before this start may go on */
	cli_expect_err(c->w, "ask again in ");
	for (uint64_t v = 2; v <= 4; v++) {
		char prompt[64];
		snprintf(prompt, sizeof prompt, "Who leads town %d?", (int)v);
		EXPECT(c->w, CLI_OK, "edit", "add", "--prompt", prompt, "--target", "Ada");
		cli_fleet_join(c->w);
		cli_fleet_work(c->w, v);
	}
	cluster_advance(cluster, 2 * STORE_GRACE_MS);
	EXPECT(c->w, CLI_OK, "store", "gc", "-o", "json"); /* every version is kept, and all of it is named */
	struct json *json = cli_json(c->w);
	assert_int_equal(number(json, "chunks"), 0);
	json_free(&json);
	EXPECT(c->w, CLI_OK, "version", "show", "v1");
	cluster_advance(cluster, 2 * STORE_GRACE_MS);
	EXPECT(c->w, CLI_OK, "store", "gc", "--keep", "2", "-o", "json");
	json = cli_json(c->w);
	assert_true(number(json, "chunks") >= 4); /* two manifests and their roots at least */
	json_free(&json);
	EXPECT(c->w, CLI_NOT_FOUND, "version", "show", "v1");
	cli_expect_err(c->w, "has no memories any more");
	EXPECT(c->w, CLI_OK, "version", "show", "v3");
	EXPECT(c->w, CLI_OK, "version", "show", "latest");
	EXPECT(c->w, CLI_OK, "version", "list", "-o", "json"); /* that it was published stays known */
	json = cli_json(c->w);
	assert_int_equal(json_length(json), 4);
	json_free(&json);
	EXPECT(c->w, CLI_USAGE, "store", "gc", "--keep", "0");
	cluster_restart(cluster);
	cluster_stop(cluster);
	EXPECT(c->w, CLI_OK, "store", "verify", c->store.folder);
	EXPECT(c->w, CLI_OK, "audit", "fsck", c->store.folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_whole_passes, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(nothing_is_changed_by_looking, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(a_flipped_byte_is_named, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(a_removed_event_is_named, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(swapped_events_are_named, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(a_file_that_was_cut_is_refused, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(damaged_and_lost_chunks_are_named, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(a_candidate_is_verified_too, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(a_version_that_was_rolled_back_to_passes, closed_setup,
						closed_teardown),
		cmocka_unit_test_setup_teardown(a_manifest_of_another_version_is_named, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(a_copy_takes_the_place_of_what_was_lost, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(old_versions_are_given_back, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(a_damaged_chunk_is_told, closed_setup, closed_teardown),
		cmocka_unit_test_setup_teardown(a_cache_has_chunks_only, closed_setup, closed_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
