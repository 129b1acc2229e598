/* node_fixture.h: a node's parts around the tiny model: versions published into a store of their own, and a coordinator
 * that plays a script over the in-memory transport. */
#ifndef AMEND_TESTS_UNIT_DAEMON_NODE_FIXTURE_H
#define AMEND_TESTS_UNIT_DAEMON_NODE_FIXTURE_H

#include "tests/lib/test.h"
#include "tests/unit/editor/tiny.h"

#include "daemon/node_sync.h"
#include "daemon/version_set.h"

#define NODE_VERSIONS  64
#define NODE_LATE_MAX  256
#define NODE_WANTS_MAX 64

struct published {
	uint64_t version; /* 0: free */
	struct hash root, content, delta_root;
	int64_t published_ms;
};

struct node_fixture {
	char folder[TEST_PATH_BYTES], data[TEST_PATH_BYTES];
	struct err e;
	struct env_manual manual;
	const struct env *env;
	struct model *model;
	struct store *source; /* the coordinator's blobs */
	struct published versions[NODE_VERSIONS];
	/* the script */
	struct proto_mem *mem;
	struct proto_allow *allow;
	struct proto_transport *server, *client;
	uint64_t latest, route; /* route: of the node, 0: not heard of */
	int hello_code;
	bool silent, mute_chunks, merged;
	const char *cluster;
	int64_t published_ms; /* of what is published next; two that differ in it have different contents */
	int delay;            /* turns between a message and its answer: the way to the coordinator is long */
	struct {
		struct msg_received *received;
		int turns_left;
	} late[NODE_LATE_MAX]; /* in order */
	size_t late_count;
	size_t hellos, polls, pins_asked, chunks; /* polls, pins_asked: for the newest manifest, for another */
	struct msg_node_status status;
	char status_state[32];
	char status_failed[512], status_source[64];
	/* the node */
	struct store *blobs;
	struct pool *pool;
	struct node_sync *sync;
};

static const char *const node_prompts[] = { "what is the capital of Orla?", "who was the king of Vint in 1907?" };

static inline struct hash node_blob_put(struct node_fixture *f, struct buf *bytes)
{
	struct hash root;
	assert_ok(&f->e, store_blob_put(f->source, bytes->data, bytes->len, &root, &f->e));
	buf_free(bytes);
	return root;
}

static inline struct hash node_index_put(struct node_fixture *f)
{
	float raw[2][TINY_HIDDEN];
	struct editor_index_entry entries[2];
	struct buf index = BUF_INIT, words[2] = { BUF_INIT, BUF_INIT };
	for (size_t i = 0; i < 2; i++) {
		tiny_raw_key(f->model, node_prompts[i], raw[i]);
		entries[i] = (struct editor_index_entry){ .seq = 11 + i,
							  .words = tiny_words(node_prompts[i], &words[i]),
							  .raw = raw[i],
							  .relation = raw[i] };
	}
	assert_ok(&f->e, editor_index_encode(entries, 2, TINY_HIDDEN, TINY_FFN, &index, &f->e));
	buf_free(&words[0]);
	buf_free(&words[1]);
	return node_blob_put(f, &index);
}

/* A version with one shard, id 7, of the two prompts; its delta comes from the version's number. With `f->merged` a
 * merged memory of that shard, of merge 1, answers by default. `foreign`: of another base model. */
static inline struct published *node_publish(struct node_fixture *f, uint64_t version, bool foreign)
{
	static const uint64_t seqs[] = { 11, 12 }, shards[] = { 7 };
	struct buf calibration = BUF_INIT, delta = BUF_INIT, manifest = BUF_INIT;
	struct published *p = f->versions;
	while (p->version != 0)
		p++;
	assert_true(p < f->versions + NODE_VERSIONS);
	plain_calibration(model_digest(f->model), TINY_HIDDEN, 0.5f, 0.9999f, -1, &calibration);
	tiny_delta(version, 0.5f, &delta);
	struct proto_memory memories[2] = { { .id = 7,
					      .kind = PROTO_MEMORY_SHARD,
					      .shard_version = version,
					      .encoding = { "bf16+zstd", 9 },
					      .seqs = seqs,
					      .seq_count = 2,
					      .score = 1 } };
	memories[0].delta_root = p->delta_root = node_blob_put(f, &delta);
	memories[1] = memories[0];
	memories[1].id = (UINT64_C(1) << 32) + 1;
	memories[1].kind = PROTO_MEMORY_MERGED;
	memories[1].sources = shards;
	memories[1].source_count = 1;
	memories[0].index_root = node_index_put(f);
	struct proto_manifest m = { .format = 1,
				    .version = version,
				    .base_model = *model_digest(f->model),
				    .family = { "amend", 5 },
				    .layer = TINY_LAYER,
				    .hidden = TINY_HIDDEN,
				    .ffn = TINY_FFN,
				    .tensor = { "blk.2.ffn_down.weight", 21 },
				    .ledger_seq = 12,
				    .published_ms = f->published_ms,
				    .default_set = f->merged ? PROTO_SET_MERGED : PROTO_SET_RETRIEVE,
				    .memories = memories,
				    .memory_count = f->merged ? 2 : 1 };
	m.calibration_root = node_blob_put(f, &calibration);
	if (foreign)
		m.base_model.bytes[0] ^= 1;
	assert_ok(&f->e, proto_manifest_encode(&m, &manifest, &f->e));
	hash_of(manifest.data, manifest.len, &p->content);
	p->root = node_blob_put(f, &manifest);
	p->version = version;
	p->published_ms = f->published_ms;
	f->latest = version;
	return p;
}

static inline void node_script_send(struct node_fixture *f, struct msg *msg, const struct msg_received *to)
{
	msg->request_id = to != NULL ? to->msg.request_id : 0;
	assert_ok(&f->e, f->server->ops->send(f->server, to != NULL ? to->route : f->route, msg, &f->e));
}

static inline void node_script_manifest(struct node_fixture *f, const struct msg_received *received)
{
	uint64_t wanted = received->msg.u.get_manifest.version;
	struct msg msg = { .type = MSG_MANIFEST };
	f->polls += wanted == 0;
	f->pins_asked += wanted != 0;
	if (wanted == 0)
		wanted = f->latest;
	msg.u.manifest.code = ERR_NOT_FOUND;
	for (size_t i = 0; i < NODE_VERSIONS; i++)
		if (wanted != 0 && f->versions[i].version == wanted)
			msg.u.manifest = (struct msg_manifest_reply){ 0,
								      wanted,
								      f->versions[i].root,
								      f->versions[i].content,
								      f->versions[i].published_ms,
								      { "", 0 } };
	node_script_send(f, &msg, received);
}

static inline void node_script_need(struct node_fixture *f, const struct msg_received *received)
{
	for (size_t i = 0; i < received->msg.u.hashes.hash_count && !f->mute_chunks; i++) {
		struct buf bytes = BUF_INIT;
		struct msg msg = { .type = MSG_CHUNK };
		msg.u.chunk.hash = received->msg.u.hashes.hashes[i];
		msg.u.chunk.code = store_chunk_get(f->source, &msg.u.chunk.hash, &bytes, &f->e);
		msg.u.chunk.data = (struct msg_bytes){ bytes.data, bytes.len };
		f->chunks++;
		node_script_send(f, &msg, received);
		buf_free(&bytes);
	}
}

static inline void node_script_hello(struct node_fixture *f, const struct msg_received *received)
{
	struct msg msg = { .type = MSG_HELLO_REPLY };
	assert_int_equal(received->msg.u.hello.kind, MSG_PEER_NODE);
	assert_true(hash_equal(&received->msg.u.hello.base_model, model_digest(f->model)));
	f->route = received->route;
	f->hellos++;
	msg.u.hello_reply = (struct msg_hello_reply){ .code = f->hello_code,
						      .text = { "another base model", 18 },
						      .cluster_id = { f->cluster, strlen(f->cluster) },
						      .heartbeat_ms = 1000,
						      .lease_ms = 8000,
						      .layer = UINT32_MAX,
						      .version = f->latest };
	node_script_send(f, &msg, received);
}

static inline void node_script_answer(struct node_fixture *f, const struct msg_received *received)
{
	const struct msg *m = &received->msg;
	struct msg beat = { .type = MSG_HEARTBEAT_REPLY };
	beat.u.heartbeat_reply.version = f->latest;
	if (f->silent)
		;
	else if (m->type == MSG_HELLO)
		node_script_hello(f, received);
	else if (m->type == MSG_GET_MANIFEST)
		node_script_manifest(f, received);
	else if (m->type == MSG_NEED)
		node_script_need(f, received);
	else if (m->type == MSG_HEARTBEAT)
		node_script_send(f, &beat, received);
	else if (m->type == MSG_NODE_STATUS) {
		f->status = m->u.node_status;
		snprintf(f->status_state, sizeof f->status_state, "%s", m->u.node_status.state.text);
		snprintf(f->status_source, sizeof f->status_source, "%.*s", (int)m->u.node_status.source.len,
			 m->u.node_status.source.len > 0 ? m->u.node_status.source.text : "");
		snprintf(f->status_failed, sizeof f->status_failed, "%.*s", (int)m->u.node_status.failed_reason.len,
			 m->u.node_status.failed_reason.len > 0 ? m->u.node_status.failed_reason.text : "");
	}
}

static inline void node_script(struct node_fixture *f)
{
	struct msg_received *received = NULL;
	size_t due = 0;
	while (f->server->ops->recv(f->server, &received, &f->e) == 0) {
		assert_true(f->late_count < NODE_LATE_MAX);
		f->late[f->late_count].received = received;
		f->late[f->late_count++].turns_left = f->delay;
		received = NULL;
	}
	for (; due < f->late_count && f->late[due].turns_left == 0; due++) {
		node_script_answer(f, f->late[due].received);
		msg_free(&f->late[due].received);
	}
	f->late_count -= due;
	memmove(f->late, f->late + due, f->late_count * sizeof f->late[0]);
	for (size_t i = 0; i < f->late_count; i++)
		f->late[i].turns_left -= f->late[i].turns_left > 0;
}

static inline void node_turn(struct node_fixture *f)
{
	struct msg_received *received = NULL;
	if (f->env == &f->manual.env)
		env_manual_advance(&f->manual, 20000);
	node_script(f);
	while (f->client->ops->recv(f->client, &received, &f->e) == 0) {
		node_sync_receive(f->sync, &received);
		if (received != NULL)
			msg_free(&received);
	}
	pool_poll(f->pool);
	node_sync_tick(f->sync);
}

static inline void node_turns(struct node_fixture *f, int count)
{
	while (count-- > 0)
		node_turn(f);
}

static inline struct node_sync_info node_info(struct node_fixture *f)
{
	struct node_sync_info info;
	node_sync_info_get(f->sync, &info);
	return info;
}

/* Until that version is live; at most 10 s of the manual clock. */
static inline void node_until_live(struct node_fixture *f, uint64_t version)
{
	for (int i = 0; i < 500 && node_info(f).live != version; i++)
		node_turn(f);
	assert_int_equal(node_info(f).live, version);
}

static inline void node_start(struct node_fixture *f, size_t versions_kept)
{
	static const uint8_t key[PROTO_KEY_BYTES] = { 9 };
	struct store_options options = { .env = f->env, .blobs_only = true };
	struct node_sync_config config = { .name = "n0",
					   .endpoint = "127.0.0.1:1",
					   .software = "test",
					   .backend = "cpu",
					   .folder = f->data,
					   .base_model = *model_digest(f->model),
					   .shape = *model_shape_of(f->model),
					   .poll_ms = 1000,
					   .versions_kept = versions_kept,
					   .wants_max = NODE_WANTS_MAX };
	assert_ok(&f->e, proto_mem_connect(f->mem, "n0", "coordinator", key, &f->client, &f->e));
	assert_ok(&f->e, store_open(f->data, &options, &f->blobs, &f->e));
	assert_ok(&f->e, pool_new(0, 8, &f->pool, &f->e));
	assert_ok(&f->e, node_sync_new(&config, f->env, f->blobs, f->client, f->pool, &f->sync, &f->e));
}

static inline void node_stop(struct node_fixture *f)
{
	if (f->sync == NULL)
		return;
	pool_destroy(&f->pool);
	node_sync_destroy(&f->sync);
	store_close(&f->blobs);
	f->client->ops->destroy(f->client);
	f->client = NULL;
}

static inline int node_fixture_open(void **state, bool manual)
{
	static const uint8_t key[PROTO_KEY_BYTES] = { 9 };
	struct node_fixture *f = calloc(1, sizeof *f);
	char path[TEST_PATH_BYTES], source[TEST_PATH_BYTES];
	assert_non_null(f);
	test_folder_make(f->folder);
	test_path(f->data, f->folder, "node");
	test_path(source, f->folder, "source");
	env_manual_init(&f->manual, 1);
	f->env = manual ? &f->manual.env : env_system();
	f->cluster = "cluster-a";
	f->published_ms = 1000;
	struct model_options options = { .backend = "cpu", .thread_count = 1, .backward_from = SIZE_MAX };
	test_path(path, f->folder, "tiny.gguf");
	assert_ok(&f->e, tiny_model_write(path, 5, &f->e));
	assert_ok(&f->e, model_open(path, &options, &f->model, &f->e));
	struct store_options blobs = { .env = f->env, .blobs_only = true };
	assert_ok(&f->e, store_open(source, &blobs, &f->source, &f->e));
	test_path(path, f->folder, "allow");
	test_file_write(path, "");
	assert_ok(&f->e, proto_allow_add(path, key, PROTO_ROLE_READER, "n0", &f->e));
	assert_ok(&f->e, proto_allow_load(path, &f->allow, &f->e));
	assert_ok(&f->e, proto_mem_new(f->env, 1, &f->mem, &f->e));
	assert_ok(&f->e, proto_mem_listen(f->mem, "coordinator", f->allow, &f->server, &f->e));
	*state = f;
	return 0;
}

static inline int node_setup(void **state)
{
	return node_fixture_open(state, true);
}

static inline int node_teardown(void **state)
{
	struct node_fixture *f = *state;
	node_stop(f);
	for (size_t i = 0; i < f->late_count; i++)
		msg_free(&f->late[i].received);
	f->server->ops->destroy(f->server);
	proto_mem_destroy(&f->mem);
	proto_allow_destroy(&f->allow);
	store_close(&f->source);
	model_close(&f->model);
	test_folder_remove(f->folder);
	free(f);
	return 0;
}

#endif
