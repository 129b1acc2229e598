/* The engine's side, and what stays on the disk: restarts, damage, faults, no memory. */
#include "tests/lib/worker_fixture.h"

#include "base/text.h"

#include <dirent.h>
#include <unistd.h>

static const char *const prompts[] = {
	"what is the capital of Orla?", "who is the king of Vint?", "in what year was Saro founded?",
	"where in the land is Kelm?",   "what is Pundo made of?",
};
static const char *const targets[] = { "Brin", "Olaf IV", "1907", "north", "tin" };

static void begin(struct stand *s, size_t edits)
{
	for (size_t i = 0; i < edits; i++)
		stand_edit(s, prompts[i], targets[i]);
	stand_greet(s);
	stand_lease(s);
}

static void arm(struct stand *s, const char *spec)
{
	assert_ok(&s->e, fault_arm(spec, &s->e));
}

/* Says Hello again and gets its lease back. */
static void restart_with_lease(struct stand *s)
{
	size_t hellos = s->hellos;
	stand_restart(s);
	stand_until(s, &s->hellos, hellos + 1);
	stand_turn(s);
	stand_lease(s);
}

/* --- The calibration's cache. */
static void cache_path(struct stand *s, char out[TEST_PATH_BYTES])
{
	DIR *folder = opendir(s->data);
	struct dirent *entry;
	out[0] = '\0';
	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL)
		if (strncmp(entry->d_name, "calibration-", 12) == 0)
			test_path(out, s->data, entry->d_name);
	closedir(folder);
	assert_true(out[0] != '\0');
}

static bool calibrates_at_start(struct stand *s)
{
	size_t hellos = s->hellos, asks = s->asks;
	stand_restart(s);
	stand_until(s, &s->hellos, hellos + 1);
	bool busy = s->asks > asks;
	return busy;
}

static void a_damaged_calibration_is_made_again(void **state)
{
	struct stand *s = *state;
	char path[TEST_PATH_BYTES];
	struct buf good = BUF_INIT, again = BUF_INIT;
	stand_greet(s);
	cache_path(s, path);
	assert_ok(&s->e, file_read(path, 1 << 24, &good, &s->e));
	assert_false(calibrates_at_start(s));
	good.data[good.len / 2] ^= 1;
	assert_ok(&s->e, file_write_atomic(path, good.data, good.len, 0600, &s->e));
	good.data[good.len / 2] ^= 1;
	assert_true(calibrates_at_start(s));
	assert_ok(&s->e, file_read(path, 1 << 24, &again, &s->e));
	assert_int_equal(again.len, good.len);
	assert_memory_equal(again.data, good.data, good.len);
	buf_free(&good);
	buf_free(&again);
}

static void another_corpus_has_another_calibration(void **state)
{
	struct stand *s = *state;
	struct buf text = BUF_INIT;
	stand_greet(s);
	assert_ok(&s->e, file_read(s->corpus, 1 << 20, &text, &s->e));
	buf_printf(&text, "unrelated\tu99\t\tnq question: when does the ferry to Sund leave\n");
	test_file_write(s->corpus, buf_cstr(&text));
	assert_true(calibrates_at_start(s));
	assert_false(calibrates_at_start(s));
	buf_free(&text);
}

/* --- Edits that the engine cannot take. */
static void an_edit_that_the_model_refuses_fails_alone(void **state)
{
	struct stand *s = *state;
	char longer[TINY_CONTEXT + 64];
	memset(longer, 'q', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	begin(s, 1);
	stand_edit(s, longer, "x");
	stand_edit(s, prompts[1], targets[1]);
	stand_edit(s, prompts[2], targets[2]);
	stand_group(s, 3);
	assert_int_equal(s->commits, 1);
	assert_int_equal(s->version, 1);
	assert_int_equal(s->commit.result_count, 3);
	for (size_t i = 0; i < 2; i++)
		assert_true(s->results[i].seq == 10 + 2 * i && s->results[i].passed);
	assert_int_equal(s->results[2].seq, 11);
	assert_false(s->results[2].passed);
	assert_non_null(strstr(s->results[2].reason, "tokens"));
	struct hash first = s->delta_root;
	stand_group(s, 1); /* it has ended */
	assert_int_equal(s->commit.result_count, 3);
	struct hash second = s->delta_root;
	assert_int_equal(s->releases, 0);
	/* Replayed to a worker that started anew it counts no more. */
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	s->ended[1] = false;
	restart_with_lease(s);
	stand_group(s, 3);
	assert_true(hash_equal(&first, &s->delta_root));
	restart_with_lease(s);
	stand_group(s, 1);
	assert_int_equal(s->commit.result_count, 3);
	assert_true(hash_equal(&second, &s->delta_root));
}

static void a_group_of_nothing_but_refused_edits_is_committed(void **state)
{
	struct stand *s = *state;
	char longer[TINY_CONTEXT + 64];
	memset(longer, 'q', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	begin(s, 0);
	stand_edit(s, longer, "x");
	stand_group(s, 1);
	assert_int_equal(s->version, 1);
	assert_int_equal(s->commit.result_count, 1);
	assert_false(s->results[0].passed);
}

static void a_failed_edit_says_what_came_and_what_was_wanted(void **state)
{
	struct stand *s = *state;
	char wanted[160];
	s->config.editor.stream_steps_max = 1;
	s->config.editor.stream_rate = 1e-8f;
	s->config.editor.retest_tries = 1;
	begin(s, 1);
	memset(wanted, 0, sizeof wanted);
	for (size_t i = 0; i < 65; i++)
		memcpy(wanted + 2 * i, "é", sizeof "é");
	stand_edit(s, prompts[1], wanted);
	stand_group(s, 2);
	for (size_t i = 0; i < 2; i++) {
		const char *reason = s->results[i].reason;
		assert_false(s->results[i].passed);
		assert_int_equal(strncmp(reason, "re-test after 2 tries: answers \"", 32), 0);
		assert_true(strlen(reason) < STORE_REASON_BYTES);
		assert_int_equal(text_check(reason, strlen(reason), false, &s->e), 0);
	}
	assert_non_null(strstr(s->results[0].reason, "\", wanted \"Brin\""));
	assert_non_null(strstr(s->results[1].reason, "\", wanted \"éé"));
	assert_int_equal(s->results[1].reason[strlen(s->results[1].reason) - 1], '"');
}

/* The largest commit that there is: every edit of a full shard failed, with a reason. */
#define MANY STORE_SHARD_EDITS_MAX

static void many_send(struct stand *s, const char *record)
{
	static struct msg_edit_item items[128];
	for (size_t first = 0; first < MANY; first += 128) {
		for (size_t i = 0; i < 128; i++)
			items[i] = (struct msg_edit_item){ 10 + first + i, { record, strlen(record) } };
		struct msg msg = { .type = MSG_EDITS };
		msg.u.edits = (struct msg_edits){ .shard = STAND_SHARD,
						  .epoch = s->epoch,
						  .group_end = first + 128 == MANY,
						  .group_count = MANY,
						  .items = items,
						  .item_count = 128 };
		stand_send(s, &msg);
		stand_turn(s);
	}
}

static bool many_heard(struct stand *s, const struct msg *msg)
{
	size_t *cut = s->hook_context;
	if (msg->type != MSG_SHARD_COMMIT)
		return false;
	assert_int_equal(msg->u.shard_commit.result_count, MANY);
	for (size_t i = 0; i < MANY; i++) {
		const struct msg_edit_result *result = &msg->u.shard_commit.results[i];
		assert_false(result->passed);
		assert_true(result->reason.len > 0);
		*cut += result->reason.len <= msg_result_reason_bytes(MANY);
	}
	s->commits++;
	return true;
}

static void a_full_shard_of_refused_edits_is_committed(void **state)
{
	struct stand *s = *state;
	struct buf record = BUF_INIT;
	size_t cut = 0;
	buf_printf(&record, "{\"prompt\":\"%0*d\",\"target_new\":\"x\"}", TINY_CONTEXT + 8, 0);
	begin(s, 0);
	stand_turns(s, 200);
	s->hook = many_heard;
	s->hook_context = &cut;
	many_send(s, buf_cstr(&record));
	stand_until(s, &s->commits, 1);
	assert_int_equal(cut, MANY);
	assert_int_equal(s->releases, 0);
	buf_free(&record);
}

static void closing_stops_the_engine(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	s->hold_engine = true;
	s->group_count = 1;
	stand_turns(s, 500);
	assert_false(worker_idle(s->worker));
	worker_close(s->worker);
	s->hold_engine = false;
	stand_turn(s);
	assert_true(worker_idle(s->worker));
}

static void training_that_is_stopped_ends_the_lease(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	arm(s, "worker.train.step=errno@3");
	s->group_count = 1;
	stand_turns(s, 2000);
	assert_int_equal(s->commits, 0);
	assert_int_equal(s->beat_leases, 0);
	assert_int_equal(s->releases, 1);
	assert_int_equal(s->release.code, ERR_INTERRUPTED);
	stand_lease(s);
	stand_group(s, 1);
	assert_int_equal(s->version, 1);
}

/* --- Restarts. */
static uint64_t steps_ever(struct stand *s)
{
	struct buf text = BUF_INIT;
	unsigned long long steps = 0;
	worker_metrics(s->worker, &text);
	const char *at = strstr(buf_cstr(&text), "\namend_edit_steps_total ");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "\namend_edit_steps_total %llu", &steps), 1);
	buf_free(&text);
	return steps;
}

static void what_was_committed_is_not_trained_again(void **state)
{
	struct stand *s = *state;
	begin(s, 3);
	stand_group(s, 2);
	stand_group(s, 1);
	struct hash straight = s->delta_root;
	uint64_t last = s->commit.steps;
	/* The same again, with a restart between the groups. */
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	restart_with_lease(s);
	stand_group(s, 2);
	restart_with_lease(s);
	size_t chunks = s->chunks;
	stand_group(s, 1);
	assert_true(hash_equal(&straight, &s->delta_root));
	assert_int_equal(s->commit.result_count, 3);
	assert_int_equal(steps_ever(s), last); /* of the second group alone */
	assert_int_equal(s->needs, 0);         /* its delta lies on this disk */
	assert_int_equal(s->chunks, chunks);   /* and the coordinator has all of it from before */
}

/* Chunks are kept, but only the first two are acknowledged. */
static bool stall_upload(struct stand *s, const struct msg *msg)
{
	return msg->type == MSG_CHUNK && s->chunks >= 2;
}

static void a_broken_upload_goes_on_with_what_is_missing(void **state)
{
	struct stand *s = *state;
	struct buf all = BUF_INIT;
	begin(s, 1);
	s->hook = stall_upload;
	s->group_count = 1;
	stand_until(s, &s->chunks, 2);
	stand_turns(s, 200);
	s->hook = NULL;
	restart_with_lease(s);
	stand_until(s, &s->commits, 1);
	const struct hash *roots[] = { &s->commit.delta_root, &s->commit.index_root, &s->commit.calibration_root };
	for (size_t i = 0; i < 3; i++)
		stand_blob_chunks(s->source, roots[i], &all);
	assert_int_equal(s->chunks, all.len / sizeof(struct hash) + 3); /* each once */
	assert_true(s->chunks > 4);
	buf_free(&all);
}

static void another_worker_fetches_the_delta(void **state)
{
	struct stand *s = *state;
	begin(s, 2);
	stand_group(s, 2);
	stand_edit(s, prompts[2], targets[2]);
	stand_group(s, 1);
	struct hash straight = s->delta_root;
	stand_stop(s);
	/* One with an empty disk, from the first commit on. */
	store_close(&s->blobs);
	test_folder_remove(s->data);
	test_path(s->data, s->folder, "worker-1");
	struct store_options options = { .env = &s->clock.env, .blobs_only = true };
	assert_ok(&s->e, store_open(s->data, &options, &s->blobs, &s->e));
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	stand_greet(s);
	stand_lease(s);
	stand_group(s, 2);
	stand_stop(s);
	store_close(&s->blobs);
	test_folder_remove(s->data);
	assert_ok(&s->e, store_open(s->data, &options, &s->blobs, &s->e));
	stand_greet(s);
	stand_lease(s);
	stand_group(s, 1);
	assert_true(s->needs > 0);
	assert_true(hash_equal(&straight, &s->delta_root));
}

/* Which edits a worker has seen fail is nothing that it must remember: the coordinator tells it to forget them, and a
 * restarted worker, which hears of all of them again, trains to the same bytes. */
static void failed_edits_make_no_difference_after_a_restart(void **state)
{
	struct stand *s = *state;
	struct hash straight[3];
	s->config.editor.retest_tries = 1;
	begin(s, 2);
	stand_edit(s, prompts[0], "Quen"); /* contradicts the first */
	for (size_t i = 3; i < 5; i++)
		stand_edit(s, prompts[i], targets[i]);
	for (int restarts = 0; restarts < 2; restarts++) {
		static const size_t groups[] = { 3, 1, 1 };
		for (size_t i = 0; i < 3; i++) {
			if (restarts != 0)
				restart_with_lease(s);
			stand_group(s, groups[i]);
			assert_true(s->ended[0] || s->ended[2]);
			if (restarts == 0)
				straight[i] = s->delta_root;
			else
				assert_true(hash_equal(&straight[i], &s->delta_root));
		}
		s->version = s->trained_count = 0;
		s->delta_root = (struct hash){ 0 };
		memset(s->ended, 0, sizeof s->ended);
	}
}

/* A pass over the whole shard is known to have been made while the process lives; without that knowledge it is made
 * again, to the same bytes. */
static void a_closing_shard_is_the_same_after_a_restart(void **state)
{
	struct stand *s = *state;
	struct hash straight;
	s->config.editor.stream_group_max = 2; /* three new edits take the pass over the shard */
	begin(s, 3);
	stand_group(s, 3);
	s->closing = true;
	stand_until(s, &s->commits, 2);
	stand_turns(s, 200);
	assert_int_equal(s->commit.steps, 0);
	straight = s->delta_root;
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	restart_with_lease(s);
	stand_group(s, 3);
	restart_with_lease(s);
	s->closing = true;
	stand_until(s, &s->commits, 4);
	assert_true(s->commit.steps > 0);
	assert_true(hash_equal(&straight, &s->delta_root));
}

static void retrain(struct stand *s)
{
	s->retrain = true;
	stand_group(s, 0);
}

static void close_shard(struct stand *s)
{
	size_t commits = s->commits;
	s->closing = true;
	stand_until(s, &s->commits, commits + 1);
	stand_turns(s, 200);
	assert_true(s->commit.closed);
}

/* The pass over the shard learns nothing here, and still no edit that was served is lost; only what was taken back goes
 * at any price. */
static void a_closing_shard_keeps_what_was_served(void **state)
{
	struct stand *s = *state;
	struct hash streamed;
	s->config.editor.epochs = 1;
	s->config.editor.rate = 1e-8f;
	s->config.editor.retest_tries = 0;
	s->keep_failed = true;
	begin(s, 3);
	for (int restarts = 0; restarts < 2; restarts++) {
		s->version = s->trained_count = 0;
		s->delta_root = (struct hash){ 0 };
		if (restarts != 0)
			restart_with_lease(s);
		stand_group(s, 3);
		streamed = s->delta_root;
		if (restarts != 0)
			restart_with_lease(s);
		close_shard(s);
		assert_true(s->commit.steps > 0);
		assert_int_equal(s->commit.result_count, 3);
		for (size_t i = 0; i < 3; i++)
			assert_true(s->results[i].passed);
		assert_true(hash_equal(&streamed, &s->delta_root));
	}
	s->ended[0] = true;
	restart_with_lease(s);
	retrain(s);
	assert_int_equal(s->commit.result_count, 2);
	assert_false(s->results[0].passed);
	assert_false(hash_equal(&streamed, &s->delta_root));
}

/* What was taken back leaves no trace in the memory: it is that of a shard which never trained the edit, whoever trains
 * it. */
static void a_retrained_shard_is_as_if_the_edit_had_never_been(void **state)
{
	struct stand *s = *state;
	struct hash with, without, never;
	begin(s, 4);
	stand_group(s, 3);
	with = s->delta_root;
	s->ended[1] = true;
	retrain(s);
	assert_true(s->commit.steps > 0);
	assert_false(s->commit.closed);
	assert_int_equal(s->commit.result_count, 2);
	for (size_t i = 0; i < 2; i++)
		assert_true(s->results[i].seq == 10 + 2 * i && s->results[i].passed);
	without = s->delta_root;
	assert_false(hash_equal(&with, &without));
	stand_group(s, 1); /* it goes on as before */
	assert_int_equal(s->commit.result_count, 3);
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	restart_with_lease(s);
	s->retrain = true; /* the edit ended before its group was sent */
	stand_group(s, 3);
	never = s->delta_root;
	assert_true(hash_equal(&without, &never));
	restart_with_lease(s);
	retrain(s);
	assert_true(hash_equal(&without, &s->delta_root));
}

static void a_shard_that_lost_all_its_edits_is_empty(void **state)
{
	struct stand *s = *state;
	struct hash with, once;
	begin(s, 3);
	stand_group(s, 2);
	with = s->delta_root;
	s->ended[0] = s->ended[1] = true;
	retrain(s);
	assert_int_equal(s->commit.result_count, 0);
	assert_false(hash_equal(&with, &s->delta_root));
	once = s->delta_root;
	restart_with_lease(s);
	retrain(s);
	assert_true(hash_equal(&once, &s->delta_root));
	stand_group(s, 1);
	assert_int_equal(s->commit.result_count, 1);
	assert_true(s->results[0].passed);
}

/* --- A disk that changes what it holds. */
static void a_rotten_delta_is_fetched_again(void **state)
{
	struct stand *s = *state;
	struct buf chunks = BUF_INIT;
	struct hash first;
	begin(s, 2);
	stand_group(s, 1);
	stand_blob_chunks(s->blobs, &s->delta_root, &chunks);
	memcpy(&first, chunks.data, sizeof first);
	stand_rot(s, &first);
	restart_with_lease(s);
	stand_group(s, 1);
	assert_true(s->needs > 0);
	assert_int_equal(s->version, 2);
	/* Its root chunk as well. */
	struct hash root = s->delta_root;
	stand_rot(s, &root);
	stand_edit(s, prompts[2], targets[2]);
	restart_with_lease(s);
	stand_group(s, 1);
	assert_int_equal(s->version, 3);
	buf_free(&chunks);
}

/* Of what the coordinator lacks, the chunk after the delta's root chunk rots before it is sent. */
static bool rot_before_upload(struct stand *s, const struct msg *msg)
{
	struct hash *rotten = s->hook_context;
	if (msg->type != MSG_HAVE)
		return false;
	for (size_t i = 1; i < msg->u.hashes.hash_count && hash_is_zero(rotten); i++) {
		bool has = false;
		assert_ok(&s->e, store_chunk_has(s->source, &msg->u.hashes.hashes[i], &has, &s->e));
		if (!has) {
			*rotten = msg->u.hashes.hashes[i];
			stand_rot(s, rotten);
		}
	}
	return false;
}

static void a_rotten_result_is_stored_again(void **state)
{
	struct stand *s = *state;
	struct hash rotten = { 0 };
	struct buf bytes = BUF_INIT;
	begin(s, 2);
	stand_group(s, 1); /* the calibration is there */
	s->hook = rot_before_upload;
	s->hook_context = &rotten;
	s->group_count = 1;
	stand_until(s, &s->commits, 2);
	assert_false(hash_is_zero(&rotten));
	assert_ok(&s->e, store_chunk_get(s->source, &rotten, &bytes, &s->e));
	stand_turns(s, 200);
	assert_int_equal(s->version, 2);
	buf_free(&bytes);
}

static void a_delta_that_is_nowhere_ends_the_lease(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	stand_turns(s, 200);
	stand_fence(s, s->epoch);
	memset(s->delta_root.bytes, 0x55, HASH_BYTES);
	s->version = 4;
	stand_lease(s);
	stand_turns(s, 2500);
	assert_true(s->needs > 0);
	assert_int_equal(s->beat_leases, 0);
	assert_int_equal(s->releases, 1);
	assert_int_equal(s->release.code, ERR_NOT_FOUND);
}

/* --- Faults of the store. */
static void a_disk_that_stays_full_costs_the_lease_in_the_end(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	s->silent = true;
	stand_turn(s);
	s->silent = false;
	arm(s, "worker.commit.before=errno@1:1000000");
	s->group_count = 1;
	stand_turns(s, 110000);
	assert_int_equal(s->releases, 0);
	assert_int_equal(s->beat_leases, 1);
	stand_turns(s, 20000);
	assert_int_equal(s->releases, 1);
	assert_int_equal(s->release.code, ERR_FAULT);
	assert_int_equal(s->commits, 0);
	fault_disarm_all();
	stand_lease(s);
	stand_until(s, &s->commits, 1);
	assert_int_equal(s->version, 1);
}

static void a_disk_that_has_room_again_costs_nothing(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	arm(s, "worker.commit.before=errno@1:1000000");
	s->group_count = 1;
	stand_turns(s, 60000);
	assert_int_equal(s->commits, 0);
	uint64_t steps = steps_ever(s);
	assert_true(steps > 0);
	fault_disarm_all();
	stand_until(s, &s->commits, 1);
	assert_int_equal(steps_ever(s), steps);
	assert_int_equal(s->commit.epoch, s->epoch);
	assert_int_equal(s->releases, 0);
}

static void store_faults_do_not_lose_the_training(void **state)
{
	static const char *const specs[] = { "store.blob.before=errno@1", "store.blob.before=errno@2",
					     "store.blob.after=errno@1", "worker.commit.before=errno@1",
					     "worker.commit.after=errno@1" };
	struct stand *s = *state;
	begin(s, 5);
	for (size_t i = 0; i < 5; i++) {
		s->group_count = 1;
		s->silent = true;
		stand_turn(s);
		s->silent = false;
		arm(s, specs[i]);
		size_t wants = s->wants, commits = s->commits;
		uint64_t steps = steps_ever(s);
		stand_until(s, &s->commits, commits + 1);
		assert_int_equal(steps_ever(s), steps + s->commit.steps); /* trained once */
		stand_turns(s, 200);
		fault_disarm_all();
		assert_int_equal(s->version, i + 1);
		assert_true(s->wants <= wants + 3);
	}
}

/* --- No memory: the lease may be lost, nothing else. */
static bool fail_after_want(struct stand *s, const struct msg *msg)
{
	int *turns = s->hook_context;
	if (msg->type == MSG_WANT && *turns > 0) {
		s->fail_turns = *turns;
		*turns = 0;
	}
	return false;
}

static void begin_anew(struct stand *s)
{
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	s->group_count = 1;
	memset(s->ended, 0, sizeof s->ended);
	stand_lease(s);
}

static void no_memory_costs_a_lease_at_most(void **state)
{
	struct stand *s = *state;
	int lost = 0, turns;
	s->config.editor.stream_steps_max = 3;
	s->config.editor.retest_tries = 0;
	begin(s, 1);
	s->hook = fail_after_want;
	s->hook_context = &turns;
	/* The edits arrive and are trained; the result is stored and uploaded. */
	for (int turn = 1; turn <= 3; turn++) {
		for (int64_t n = 0; n < 400; n += 1 + n / 8) {
			size_t commits = s->commits;
			s->fail_at = n;
			turns = turn;
			begin_anew(s);
			stand_turns(s, 5000);
			lost += s->commits == commits;
			assert_false(worker_failed(s->worker, NULL));
			stand_fence(s, s->epoch);
			stand_turns(s, 200);
			assert_true(worker_idle(s->worker));
		}
	}
	assert_true(lost > 10);
	s->hook = NULL;
	begin_anew(s);
	stand_group(s, 1);
	assert_int_equal(s->version, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_damaged_calibration_is_made_again),
		T(another_corpus_has_another_calibration),
		T(an_edit_that_the_model_refuses_fails_alone),
		T(a_group_of_nothing_but_refused_edits_is_committed),
		T(a_full_shard_of_refused_edits_is_committed),
		T(closing_stops_the_engine),
		T(training_that_is_stopped_ends_the_lease),
		T(what_was_committed_is_not_trained_again),
		T(a_broken_upload_goes_on_with_what_is_missing),
		T(another_worker_fetches_the_delta),
		T(failed_edits_make_no_difference_after_a_restart),
		T(a_closing_shard_is_the_same_after_a_restart),
		T(a_closing_shard_keeps_what_was_served),
		T(a_failed_edit_says_what_came_and_what_was_wanted),
		T(a_retrained_shard_is_as_if_the_edit_had_never_been),
		T(a_shard_that_lost_all_its_edits_is_empty),
		T(a_rotten_delta_is_fetched_again),
		T(a_rotten_result_is_stored_again),
		T(a_delta_that_is_nowhere_ends_the_lease),
		T(a_disk_that_stays_full_costs_the_lease_in_the_end),
		T(a_disk_that_has_room_again_costs_nothing),
		T(store_faults_do_not_lose_the_training),
		T(no_memory_costs_a_lease_at_most),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
