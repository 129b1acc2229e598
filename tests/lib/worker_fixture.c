#include "tests/lib/worker_fixture.h"

#include "base/rng.h"
#include "editor/gap.h"

#include <fcntl.h>
#include <unistd.h>

#define TURNS_MAX 1200

static const uint8_t key[PROTO_KEY_BYTES] = { 9 };
static struct model *model;

int stand_model_open(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	int rc = tiny_model_open(3, 1, &model, &e);
	if (rc != 0)
		fprintf(stderr, "%s\n", e.text);
	return rc;
}

int stand_model_close(void **state)
{
	(void)state;
	model_close(&model);
	return 0;
}

struct model *stand_model(void)
{
	return model;
}

static void corpus_write(struct stand *s)
{
	static const char *const names[] = { "Orla", "Vint", "Saro", "Kelm", "Pundo", "Teni", "Mirax", "Dole" };
	struct buf text = BUF_INIT;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		buf_printf(&text, "prompt\tg%zu\t%s\tWhat is the capital of %s?\n", i, names[i], names[i]);
		buf_printf(&text, "rephrase\tg%zu\t%s\tWhich city is %s's capital?\n", i, names[i], names[i]);
		buf_printf(&text, "unrelated\tu%zu\t\tnq question: who sang number %zu in the %s show\n", i, i * 7,
			   names[i]);
	}
	test_path(s->corpus, s->folder, "corpus.tsv");
	test_file_write(s->corpus, buf_cstr(&text));
	buf_free(&text);
}

static void config_make(struct stand *s)
{
	s->config = (struct worker_config){
		.name = "worker-0", .calibration_corpus = s->corpus, .data_folder = s->data, .software = "test"
	};
	editor_config_default(model_shape_of(model), &s->config.editor);
	s->config.editor.layer = 2;
	s->config.editor.prompt_layer = 1;
}

int stand_setup(void **state)
{
	struct stand *s = calloc(1, sizeof *s);
	char path[TEST_PATH_BYTES];
	if (s == NULL)
		return -1;
	test_folder_make(s->folder);
	test_path(s->data, s->folder, "worker");
	env_manual_init(&s->clock, 1);
	corpus_write(s);
	config_make(s);
	s->layer = 2;
	struct store_options options = { .env = &s->clock.env, .blobs_only = true };
	test_path(path, s->folder, "source");
	assert_ok(&s->e, store_open(path, &options, &s->source, &s->e));
	assert_ok(&s->e, store_open(s->data, &options, &s->blobs, &s->e));
	test_path(path, s->folder, "allow");
	test_file_write(path, "");
	assert_ok(&s->e, proto_allow_add(path, key, PROTO_ROLE_WORKER, "worker-0", &s->e));
	assert_ok(&s->e, proto_allow_load(path, &s->allow, &s->e));
	assert_ok(&s->e, proto_mem_new(&s->clock.env, 1, &s->mem, &s->e));
	assert_ok(&s->e, proto_mem_listen(s->mem, "coordinator", s->allow, &s->server, &s->e));
	assert_ok(&s->e, proto_mem_connect(s->mem, "w0", "coordinator", key, &s->client, &s->e));
	*state = s;
	return 0;
}

int stand_teardown(void **state)
{
	struct stand *s = *state;
	fault_disarm_all();
	fault_set(-1, 0);
	stand_stop(s);
	store_close(&s->blobs);
	s->client->ops->destroy(s->client);
	s->server->ops->destroy(s->server);
	proto_mem_destroy(&s->mem);
	proto_allow_destroy(&s->allow);
	store_close(&s->source);
	for (size_t i = 0; i < s->edit_count; i++)
		free(s->edits[i]);
	test_folder_remove(s->folder);
	free(s);
	return 0;
}

static int wire_send(struct proto_transport *t, uint64_t route, const struct msg *msg, struct err *e)
{
	struct stand *s = ((struct stand_wire *)t)->stand;
	if (s->refuse_code != 0 && msg->type == s->refuse_type)
		return err_set(e, s->refuse_code, "the test's wire does not take this message");
	return s->client->ops->send(s->client, route, msg, e);
}

void stand_start(struct stand *s)
{
	s->wire = (struct stand_wire){ .stand = s };
	s->wire.ops.send = wire_send; /* all that a worker calls */
	s->wire.transport.ops = &s->wire.ops;
	assert_ok(&s->e, pool_new(s->threads, 8, &s->pool, &s->e));
	assert_ok(&s->e, worker_new(&s->config, &s->clock.env, s->blobs, &s->wire.transport, s->pool, model, &s->worker,
				    &s->e));
}

void stand_stop(struct stand *s)
{
	if (s->worker == NULL)
		return;
	pool_destroy(&s->pool);
	worker_destroy(&s->worker);
}

void stand_restart(struct stand *s)
{
	struct store_options options = { .env = &s->clock.env, .blobs_only = true };
	stand_stop(s);
	s->client->ops->destroy(s->client);
	store_close(&s->blobs);
	assert_ok(&s->e, store_open(s->data, &options, &s->blobs, &s->e));
	assert_ok(&s->e, proto_mem_connect(s->mem, "w0", "coordinator", key, &s->client, &s->e));
	stand_start(s);
}

/* --- The script. */
static void reply(struct stand *s, const struct msg_received *to, struct msg *msg)
{
	msg->request_id = to->msg.request_id;
	assert_ok(&s->e, s->server->ops->send(s->server, to->route, msg, &s->e));
}

void stand_send(struct stand *s, struct msg *msg)
{
	assert_ok(&s->e, s->server->ops->send(s->server, s->route, msg, &s->e));
}

void stand_hint(struct stand *s)
{
	const struct msg msg = { .type = MSG_HINT, .u.hint.version = 1 };
	assert_ok(&s->e, s->server->ops->publish(s->server, &msg, &s->e));
	stand_turn(s);
}

static void hello_take(struct stand *s, const struct msg_received *received)
{
	struct msg msg = { .type = MSG_HELLO_REPLY };
	const char *cluster = s->cluster != NULL ? s->cluster : "c";
	if (received->msg.u.hello.kind == MSG_PEER_CLIENT)
		s->asks++;
	else
		s->hellos++;
	s->hello = received->msg.u.hello;
	msg.u.hello_reply = (struct msg_hello_reply){ .code = s->hello_code,
						      .text = { "another base model", 18 },
						      .cluster_id = { cluster, strlen(cluster) },
						      .heartbeat_ms = 1000,
						      .lease_ms = 8000,
						      .seed = 5,
						      .layer = s->layer,
						      .settings = s->settings,
						      .rate = s->rate };
	reply(s, received, &msg);
}

static void edits_send(struct stand *s, size_t from, size_t to, struct msg_edits *edits)
{
	struct msg_edit_item items[STAND_EDITS_MAX];
	size_t n = 0;
	for (size_t i = from; i < to; i++)
		items[n++] = (struct msg_edit_item){ 10 + i, { s->edits[i], strlen(s->edits[i]) } };
	struct msg msg = { .type = MSG_EDITS, .u.edits = *edits };
	msg.u.edits.shard = STAND_SHARD;
	msg.u.edits.epoch = s->epoch;
	msg.u.edits.items = items;
	msg.u.edits.item_count = n;
	stand_send(s, &msg);
}

static void replays_send(struct stand *s, size_t from)
{
	for (size_t i = from; i < s->replay_count; i++) {
		struct msg_edit_item item = { 900 + i, { s->replays[i], strlen(s->replays[i]) } };
		struct msg msg = { .type = MSG_EDITS };
		msg.u.edits = (struct msg_edits){ .shard = STAND_SHARD,
						  .epoch = s->epoch,
						  .replayed = true,
						  .memory = 70 + i / 2,
						  .items = &item,
						  .item_count = 1 };
		if (s->replays_twice)
			stand_send(s, &msg);
		if (s->replays_to_lose > 0)
			s->replays_to_lose--;
		else
			stand_send(s, &msg);
	}
}

static void want_take(struct stand *s, const struct msg_want *want)
{
	uint64_t removed[STAND_EDITS_MAX];
	size_t to = s->trained_count + s->group_count, from = want->received_count, removed_count = 0;
	s->wants++;
	s->want = *want;
	if (want->epoch != s->epoch || (s->group_count == 0 && !s->closing && !s->retrain))
		return;
	replays_send(s, want->replay_count);
	if (from < s->trained_count) {
		edits_send(s, from, s->trained_count, &(struct msg_edits){ .replayed = true });
		from = s->trained_count;
	}
	for (size_t i = 0; i < to; i++)
		if (s->ended[i])
			removed[removed_count++] = 10 + i;
	edits_send(s, from, to,
		   &(struct msg_edits){ .group_end = true,
					.closing = s->closing,
					.group_first = (uint32_t)s->trained_count,
					.group_count = (uint32_t)s->group_count,
					.removed_seqs = removed,
					.removed_count = removed_count,
					.retrain = s->retrain,
					.replay_count = (uint32_t)s->replay_count });
}

static void need_take(struct stand *s, const struct msg_received *received)
{
	s->needs++;
	for (size_t i = 0; i < received->msg.u.hashes.hash_count; i++) {
		struct buf bytes = BUF_INIT;
		struct msg msg = { .type = MSG_CHUNK };
		msg.u.chunk.hash = received->msg.u.hashes.hashes[i];
		msg.u.chunk.code = store_chunk_get(s->source, &msg.u.chunk.hash, &bytes, &s->e);
		msg.u.chunk.data = (struct msg_bytes){ bytes.data, bytes.len };
		reply(s, received, &msg);
		buf_free(&bytes);
	}
}

static void have_take(struct stand *s, const struct msg_received *received)
{
	const struct msg_hashes *have = &received->msg.u.hashes;
	struct buf missing = BUF_INIT;
	s->haves++;
	for (size_t i = 0; i < have->hash_count; i++) {
		bool has = false;
		assert_ok(&s->e, store_chunk_has(s->source, &have->hashes[i], &has, &s->e));
		if (!has)
			buf_append(&missing, &have->hashes[i], sizeof have->hashes[i]);
	}
	struct msg msg = { .type = MSG_MISSING };
	msg.u.hashes = (struct msg_hashes){ (const void *)missing.data, missing.len / sizeof(struct hash), 0 };
	reply(s, received, &msg);
	buf_free(&missing);
}

static void chunk_take(struct stand *s, const struct msg_received *received)
{
	const struct msg_chunk *chunk = &received->msg.u.chunk;
	const struct store_chunk put = { chunk->hash, chunk->data.bytes, chunk->data.len };
	struct msg msg = { .type = MSG_CHUNK_STORED };
	s->chunks++;
	msg.u.chunk.hash = chunk->hash;
	msg.u.chunk.code = store_chunks_put(s->source, &put, 1, &s->e);
	reply(s, received, &msg);
}

static void commit_apply(struct stand *s, const struct msg_shard_commit *commit)
{
	assert_int_equal(commit->shard_version, s->version + 1);
	assert_int_equal(commit->group_first, s->trained_count);
	assert_int_equal(commit->group_count, s->group_count);
	assert_int_equal(commit->trained_count, s->trained_count + s->group_count);
	for (size_t i = 0; i < commit->result_count; i++)
		s->ended[commit->results[i].seq - 10] |= !commit->results[i].passed && !s->keep_failed;
	s->version++;
	s->delta_root = commit->delta_root;
	s->trained_count += s->group_count;
	s->group_count = 0;
	s->closing = s->retrain = false;
}

static void commit_take(struct stand *s, const struct msg_received *received)
{
	const struct msg_shard_commit *commit = &received->msg.u.shard_commit;
	struct msg msg = { .type = MSG_SHARD_COMMIT_REPLY };
	bool again = commit->shard_version == s->version && hash_equal(&commit->delta_root, &s->delta_root);
	s->commits++;
	s->commit = *commit;
	for (size_t i = 0; i < commit->result_count && i < STAND_EDITS_MAX; i++) {
		const struct msg_edit_result *r = &commit->results[i];
		s->results[i] = (struct stand_result){ .seq = r->seq, .passed = r->passed, .tries = r->tries };
		assert_true(r->reason.len < sizeof s->results[i].reason);
		if (r->reason.len > 0)
			memcpy(s->results[i].reason, r->reason.text, r->reason.len);
	}
	int code = again ? 0 : commit->epoch != s->epoch ? ERR_FENCED : s->commit_code;
	if (code == 0 && !again)
		commit_apply(s, commit);
	msg.u.shard_commit_reply = (struct msg_shard_commit_reply){
		.code = code, .shard = commit->shard, .epoch = commit->epoch, .version = 1, .text = { "no", 2 }
	};
	if (!s->mute_commits)
		reply(s, received, &msg);
}

static void gate_take(struct stand *s, const struct msg_received *received)
{
	struct msg msg = { .type = MSG_SHARD_COMMIT_REPLY };
	s->gates++;
	s->gate = received->msg.u.gate_result;
	msg.u.shard_commit_reply = (struct msg_shard_commit_reply){ .shard = s->gate.merge, .epoch = s->gate.epoch };
	msg.u.shard_commit_reply.text = (struct msg_text){ "", 0 };
	reply(s, received, &msg);
}

static void take(struct stand *s, const struct msg_received *received)
{
	struct msg beat = { .type = MSG_HEARTBEAT_REPLY };
	switch (received->msg.type) {
	case MSG_HELLO:
		hello_take(s, received);
		break;
	case MSG_HEARTBEAT:
		s->beats++;
		s->beat_leases = received->msg.u.heartbeat.lease_count;
		s->beat_unheard_ms = received->msg.u.heartbeat.unheard_ms;
		snprintf(s->beat_trouble, sizeof s->beat_trouble, "%.*s", (int)received->msg.u.heartbeat.trouble.len,
			 received->msg.u.heartbeat.trouble.len > 0 ? received->msg.u.heartbeat.trouble.text : "");
		if (!s->deaf_beats)
			reply(s, received, &beat);
		break;
	case MSG_WANT:
		want_take(s, &received->msg.u.want);
		break;
	case MSG_NEED:
		need_take(s, received);
		break;
	case MSG_HAVE:
		have_take(s, received);
		break;
	case MSG_CHUNK:
		chunk_take(s, received);
		break;
	case MSG_SHARD_COMMIT:
		commit_take(s, received);
		break;
	case MSG_GATE_RESULT:
		gate_take(s, received);
		break;
	case MSG_RELEASE:
		s->releases++;
		s->release = received->msg.u.release;
		break;
	case MSG_PROGRESS:
		s->progresses++;
		break;
	default:
		fail_msg("the worker said %s", msg_type_name((int)received->msg.type));
	}
}

void stand_script(struct stand *s)
{
	struct msg_received *received = NULL;
	while (s->server->ops->recv(s->server, &received, &s->e) == 0) {
		s->route = received->route;
		if (!s->silent && (s->hook == NULL || !s->hook(s, &received->msg)))
			take(s, received);
		msg_free(&received);
	}
}

void stand_turn(struct stand *s)
{
	struct msg_received *received = NULL;
	env_manual_advance(&s->clock, STAND_TURN_MS * 1000);
	stand_script(s);
	if (s->fail_turns > 0 && --s->fail_turns == 0)
		fault_set(s->fail_at, 1);
	while (s->client->ops->recv(s->client, &received, &s->e) == 0) {
		worker_receive(s->worker, &received);
		if (received != NULL)
			msg_free(&received);
	}
	if (!s->hold_engine)
		pool_poll(s->pool);
	worker_tick(s->worker);
	fault_set(-1, 0);
}

void stand_turns(struct stand *s, int64_t ms)
{
	for (; ms > 0; ms -= STAND_TURN_MS)
		stand_turn(s);
}

void stand_until(struct stand *s, const size_t *counter, size_t least)
{
	for (int i = 0; i < TURNS_MAX && *counter < least; i++)
		stand_turn(s);
	if (*counter < least)
		fail_msg("waited for %zu, got %zu", least, *counter);
}

void stand_ends(struct stand *s, int64_t ms, int code, const char *says)
{
	struct err e = ERR_INIT;
	stand_turns(s, ms);
	assert_true(worker_failed(s->worker, &e));
	assert_string_equal(err_name(e.code), err_name(code));
	if (strstr(e.text, says) == NULL)
		fail_msg("\"%s\" is not in: %s", says, e.text);
}

void stand_greet(struct stand *s)
{
	size_t hellos = s->hellos;
	stand_start(s);
	stand_until(s, &s->hellos, hellos + 1);
	stand_turn(s);
}

void stand_edit(struct stand *s, const char *prompt, const char *target)
{
	struct buf text = BUF_INIT;
	assert_true(s->edit_count < STAND_EDITS_MAX);
	buf_printf(&text, "{\"prompt\":\"%s\",\"target_new\":\"%s\"}", prompt, target);
	s->edits[s->edit_count] = strdup(buf_cstr(&text));
	assert_non_null(s->edits[s->edit_count++]);
	buf_free(&text);
}

void stand_paper(struct stand *s, struct buf *out)
{
	struct editor_wise_calibration calibration = { .wise = s->config.editor.wise };
	struct editor_wise_config *c = &calibration.wise;
	c->alpha = 0.2f;
	c->beta = 2;
	c->gamma = 1;
	c->rate = 0.3f;
	c->prefix_tokens[0] = 1;
	c->prefix_tokens[1] = 2;
	c->replay = true; /* of what the script sends */
	assert_ok(&s->e, editor_wise_calibration_encode(&calibration, out, &s->e));
	s->settings = (struct msg_bytes){ out->data, out->len };
	s->layer = 2;
	s->keep_failed = true; /* the tiny model forgets: it is not what is asked here */
}

void stand_lease(struct stand *s)
{
	struct msg msg = { .type = MSG_LEASE };
	msg.u.lease = (struct msg_lease){ .kind = MSG_LEASE_TRAIN,
					  .shard = STAND_SHARD,
					  .epoch = ++s->epoch,
					  .lease_ms = 8000,
					  .shard_version = s->version,
					  .delta_root = s->delta_root,
					  .trained_count = (uint32_t)s->trained_count };
	stand_send(s, &msg);
}

void stand_fence(struct stand *s, uint64_t epoch)
{
	struct msg msg = { .type = MSG_FENCED, .u.fenced = { STAND_SHARD, epoch } };
	stand_send(s, &msg);
}

void stand_group(struct stand *s, size_t count)
{
	size_t commits = s->commits;
	assert_true(s->trained_count + count <= s->edit_count);
	s->group_count = count;
	stand_until(s, &s->commits, commits + 1);
	stand_turns(s, 2 * STAND_TURN_MS);
}

struct hash stand_blob_put(struct stand *s, struct store *store, uint64_t seed, size_t byte_count)
{
	struct hash root;
	struct rng rng;
	uint8_t *bytes = malloc(byte_count + 8);
	assert_non_null(bytes);
	rng_init(&rng, seed);
	for (size_t i = 0; i < byte_count; i += 8) {
		uint64_t v = rng_u64(&rng);
		memcpy(bytes + i, &v, 8);
	}
	assert_ok(&s->e, store_blob_put(store, bytes, byte_count, &root, &s->e));
	free(bytes);
	return root;
}

void stand_blob_whole(struct stand *s, struct store *store, const struct hash *root)
{
	struct buf bad = BUF_INIT;
	assert_ok(&s->e, store_blob_damaged(store, root, &bad, &s->e));
	assert_int_equal(bad.len, 0);
	buf_free(&bad);
}

void stand_blob_chunks(struct store *store, const struct hash *root, struct buf *hashes)
{
	struct buf chunk = BUF_INIT;
	struct err e = ERR_INIT;
	uint64_t byte_count;
	assert_ok(&e, store_chunk_get(store, root, &chunk, &e));
	assert_ok(&e, store_root_parse(chunk.data, chunk.len, hashes, &byte_count, &e));
	buf_free(&chunk);
}

/* In place, not by another file: the store has it mapped. */
static size_t flip(const char *path, const void *needle, size_t needle_len)
{
	struct buf file = BUF_INIT;
	struct err e = ERR_INIT;
	size_t count = 0;
	assert_ok(&e, file_read(path, (size_t)1 << 30, &file, &e));
	int fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	const uint8_t *p = file.data, *end = file.data + file.len;
	for (; (p = memmem(p, (size_t)(end - p), needle, needle_len)) != NULL; p++, count++) {
		const uint8_t changed = p[3] ^ 1;
		assert_int_equal(pwrite(fd, &changed, 1, p + 3 - file.data), 1);
	}
	close(fd);
	buf_free(&file);
	return count;
}

void stand_rot(struct stand *s, const struct hash *chunk)
{
	char path[TEST_PATH_BYTES];
	struct buf bytes = BUF_INIT;
	test_path(path, s->data, "blobs/data.mdb");
	assert_ok(&s->e, store_chunk_get(s->blobs, chunk, &bytes, &s->e));
	assert_true(flip(path, bytes.data, bytes.len < 48 ? bytes.len : 48) > 0);
	bytes.len = 0;
	assert_int_equal(store_chunk_get(s->blobs, chunk, &bytes, &s->e), ERR_CORRUPT);
	buf_free(&bytes);
}
