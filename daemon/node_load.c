/* node_load.c: one version on its way into memory: its manifest, its blobs, the set that is built of them. A chunk that
 * the disk changed is found when it is read, fetched again, and the load begun anew: what is damaged is never served.
 */
#include "daemon/node_sync_internal.h"

#include "base/json.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOTS_A_FETCH  1024
#define ARENA_BYTES    (64 * 1024)
#define ARENA_LIMIT    ((size_t)1024 * 1024 * 1024)
#define HEAL_WINDOW    WORKER_FETCH_WINDOW
#define HEAL_RETRY_US  (WORKER_FETCH_RETRY_MS * INT64_C(1000))
#define LIVE_BYTES_MAX 4096

/* ---- live.json */

static void live_path(const char *folder, char path[4096])
{
	snprintf(path, 4096, "%s/live.json", folder);
}

static int live_write(const struct node_load *load, struct err *e)
{
	char path[4096], hex[HASH_HEX_BYTES];
	struct buf text = BUF_INIT;
	struct json_w w;
	live_path(load->sync->config.folder, path);
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "version", load->version.version);
	json_w_key(&w, "root");
	hash_hex(&load->version.root, hex);
	json_w_str(&w, hex);
	json_w_key(&w, "content");
	hash_hex(&load->version.content, hex);
	json_w_str(&w, hex);
	json_w_member_int(&w, "published_ms", load->version.published_ms);
	json_w_member_str(&w, "cluster", load->cluster);
	json_w_close(&w);
	buf_puts(&text, "\n");
	int rc = buf_failed(&text) ? err_set(e, ERR_NOMEM, "out of memory")
				   : file_write_atomic(path, text.data, text.len, 0600, e);
	buf_free(&text);
	return rc;
}

static int live_parse(const struct json *root, struct node_version *version, char *cluster)
{
	const char *root_hex = json_string(json_get(root, "root"), NULL);
	const char *content_hex = json_string(json_get(root, "content"), NULL);
	const char *name = json_string(json_get(root, "cluster"), NULL);
	const struct json *number = json_get(root, "version"), *time = json_get(root, "published_ms");
	if (root_hex == NULL || content_hex == NULL || name == NULL || strlen(name) >= NODE_SYNC__CLUSTER_BYTES ||
	    number == NULL || time == NULL || !json_is_integer(number) || !json_is_integer(time) ||
	    json_integer(number) <= 0 || hash_parse(root_hex, &version->root) != 0 ||
	    hash_parse(content_hex, &version->content) != 0)
		return ERR_INVALID;
	version->version = (uint64_t)json_integer(number);
	version->published_ms = json_integer(time);
	strcpy(cluster, name);
	return 0;
}

int node_load__live_read(const char *folder, struct node_version *version, char cluster[NODE_SYNC__CLUSTER_BYTES],
			 struct err *e)
{
	char path[4096];
	struct buf text = BUF_INIT;
	struct json *root = NULL;
	live_path(folder, path);
	int rc = file_read(path, LIVE_BYTES_MAX, &text, e);
	if (rc == 0)
		rc = json_parse((const char *)text.data, text.len, &root, e);
	if (rc == 0 && live_parse(root, version, cluster) != 0)
		rc = err_set(e, ERR_INVALID, "%s: not what a node writes", path);
	json_free(&root);
	buf_free(&text);
	return rc;
}

/* ---- Steps on the pool */

static int read_manifest(struct node_load *load, struct err *e)
{
	int rc = load->arena != NULL ? 0 : arena_new(ARENA_BYTES, ARENA_LIMIT, &load->arena);
	if (rc != 0)
		return err_set(e, rc, "out of memory for a manifest");
	arena_reset(load->arena, 0);
	buf_clear(&load->roots);
	rc = version_manifest_read(load->sync->blobs, &load->version.root, &load->version.content,
				   &load->sync->config.base_model, load->arena, &load->manifest, e);
	if (rc == 0 && load->manifest.version > load->version.version)
		rc = err_set(e, ERR_CORRUPT, "the manifest of version %llu says that it is version %llu",
			     (unsigned long long)load->version.version, (unsigned long long)load->manifest.version);
	load->manifest.version = load->version.version; /* an earlier one's, after a rollback to it */
	return rc == 0 ? proto_manifest_roots(&load->manifest, &load->roots, e) : rc;
}

static int build(struct node_load *load, struct err *e)
{
	struct err unwritten = ERR_INIT;
	int rc =
		version_set_build(load->sync->blobs, &load->manifest, &load->sync->config.shape, &load->version.set, e);
	/* Written when it is known to be good; the node then serves it in a moment. */
	if (rc == 0 && !load->pinned && live_write(load, &unwritten) != 0)
		log_event(LOG_WARN, "NODE-LIVE-UNWRITTEN", LOGF_S("reason", unwritten.text));
	return rc;
}

static int inspect(struct node_load *load, struct err *e)
{
	buf_clear(&load->damaged);
	int rc = store_blob_damaged(load->sync->blobs, &load->version.root, &load->damaged, e);
	const struct hash *roots = (const void *)load->roots.data;
	for (size_t i = 0; i < load->roots.len / sizeof *roots && rc == 0; i++)
		rc = store_blob_damaged(load->sync->blobs, &roots[i], &load->damaged, e);
	if (rc == 0 && buf_failed(&load->damaged))
		rc = err_set(e, ERR_NOMEM, "out of memory for a list of chunks");
	return rc;
}

static void on_pool(struct pool_job *job)
{
	struct node_load *load = (struct node_load *)job;
	struct err e = ERR_INIT;
	switch (load->phase) {
	case NODE_LOAD_READ:
		load->code = read_manifest(load, &e);
		break;
	case NODE_LOAD_BUILD:
		load->code = build(load, &e);
		break;
	default:
		load->code = inspect(load, &e);
		break;
	}
	if (load->code != 0)
		load->error = e;
}

/* ---- Steps on the loop */

static void finish(struct node_load *load)
{
	load->failed_phase = load->phase;
	load->phase = NODE_LOAD_NONE;
	if (load->code == 0)
		node_sync__loaded(load->sync, load);
	else
		node_sync__load_failed(load->sync, load);
	editor_memory_set_release(&load->version.set);
}

static void fail(struct node_load *load, const struct err *e)
{
	load->code = e->code;
	load->error = *e;
	finish(load);
}

static void after_pool(struct pool_job *job);

static void pool_start(struct node_load *load, enum node_load_phase phase)
{
	struct err e = ERR_INIT;
	load->phase = phase;
	load->code = 0;
	load->job = (struct pool_job){ .run = on_pool, .done = after_pool };
	int rc = pool_submit(load->sync->pool, &load->job);
	if (rc != 0) {
		err_set(&e, rc, "the job queue of this node is full");
		fail(load, &e);
	}
}

static void blobs_fetch(struct node_load *load);

static void on_fetched(void *context, int code)
{
	struct node_load *load = context;
	struct err e = ERR_INIT;
	if (code == ERR_CORRUPT && !load->healed) { /* a root chunk that was here already */
		err_set(&load->error, code, "fetching its blobs: %s", err_text(code));
		pool_start(load, NODE_LOAD_INSPECT);
	} else if (code != 0) {
		err_set(&e, code, "fetching its blobs: %s", err_text(code));
		fail(load, &e);
	} else if (load->phase == NODE_LOAD_MANIFEST) {
		pool_start(load, NODE_LOAD_READ);
	} else {
		blobs_fetch(load);
	}
}

static void blobs_fetch(struct node_load *load)
{
	size_t total = load->roots.len / sizeof(struct hash);
	if (load->roots_fetched == total) {
		if (!load->pinned)
			node_sync__state(load->sync, NODE_SYNC_VERIFYING);
		pool_start(load, NODE_LOAD_BUILD);
		return;
	}
	struct err e = ERR_INIT;
	size_t count = total - load->roots_fetched < ROOTS_A_FETCH ? total - load->roots_fetched : ROOTS_A_FETCH;
	const struct hash *roots = (const void *)load->roots.data;
	load->phase = NODE_LOAD_BLOBS;
	if (worker_fetch_version(load->sync->fetch, load->version.version, roots + load->roots_fetched, count,
				 on_fetched, load, &e) != 0) {
		fail(load, &e);
		return;
	}
	load->roots_fetched += count;
}

static void manifest_fetch(struct node_load *load)
{
	struct err e = ERR_INIT;
	load->phase = NODE_LOAD_MANIFEST;
	load->roots_fetched = 0;
	if (worker_fetch_version(load->sync->fetch, load->version.version, &load->version.root, 1, on_fetched, load,
				 &e) != 0)
		fail(load, &e);
}

/* ---- Healing: damaged chunks are there, so the fetcher would not ask for them. */

static void heal_ask(struct node_load *load)
{
	const struct hash *damaged = (const void *)load->damaged.data;
	size_t total = load->damaged.len / sizeof *damaged;
	size_t count = total - load->damaged_asked < HEAL_WINDOW ? total - load->damaged_asked : HEAL_WINDOW;
	struct msg msg = { .type = MSG_NEED, .u.hashes = { damaged + load->damaged_asked, count, 0 } };
	load->heal_us = env_monotonic_us(load->sync->env);
	node_sync__send(load->sync, &msg);
}

static void heal_start(struct node_load *load)
{
	size_t total = load->damaged.len / sizeof(struct hash);
	log_event(LOG_WARN, "NODE-CHUNKS-DAMAGED", LOGF_U("version", load->version.version), LOGF_U("chunks", total));
	load->phase = NODE_LOAD_HEAL;
	load->healed = true;
	load->damaged_asked = 0;
	load->damaged_left = total < HEAL_WINDOW ? total : HEAL_WINDOW;
	heal_ask(load);
}

static void heal_next(struct node_load *load)
{
	size_t total = load->damaged.len / sizeof(struct hash);
	load->damaged_asked += HEAL_WINDOW;
	if (load->damaged_asked >= total) {
		if (!load->pinned && load->sync->sm.state == NODE_SYNC_VERIFYING)
			node_sync__state(load->sync, NODE_SYNC_FETCHING);
		manifest_fetch(load); /* and on as if nothing had been here; what is whole is not fetched again */
		return;
	}
	load->damaged_left = total - load->damaged_asked < HEAL_WINDOW ? total - load->damaged_asked : HEAL_WINDOW;
	heal_ask(load);
}

bool node_load__receive(struct node_load *load, const struct msg *msg)
{
	if (msg->type != MSG_CHUNK || load->phase != NODE_LOAD_HEAL)
		return false;
	struct hash *damaged = (void *)load->damaged.data, *end = damaged + load->damaged.len / sizeof *damaged;
	struct hash *at = damaged + load->damaged_asked, *stop = at + HEAL_WINDOW < end ? at + HEAL_WINDOW : end;
	while (at < stop && !hash_equal(at, &msg->u.chunk.hash))
		at++;
	if (at == stop || hash_is_zero(at))
		return false;
	struct err e = ERR_INIT;
	struct store_chunk chunk = { *at, msg->u.chunk.data.bytes, msg->u.chunk.data.len };
	int rc = msg->u.chunk.code;
	if (rc != 0)
		err_set(&e, rc, "a damaged chunk cannot be fetched again: %s", err_text(rc));
	else
		rc = store_chunks_put(load->sync->blobs, &chunk, 1, &e);
	if (rc != 0) {
		fail(load, &e);
		return true;
	}
	memset(at, 0, sizeof *at); /* healed: an answer that comes twice counts once */
	if (--load->damaged_left == 0)
		heal_next(load);
	return true;
}

static void heal_retry(struct node_load *load)
{
	struct hash missing[HEAL_WINDOW];
	size_t total = load->damaged.len / sizeof(struct hash), count = 0;
	const struct hash *damaged = (const void *)load->damaged.data;
	for (size_t i = load->damaged_asked; i < total && i < load->damaged_asked + HEAL_WINDOW; i++)
		if (!hash_is_zero(&damaged[i]))
			missing[count++] = damaged[i];
	struct msg msg = { .type = MSG_NEED, .u.hashes = { missing, count, 0 } };
	load->heal_us = env_monotonic_us(load->sync->env);
	node_sync__send(load->sync, &msg);
}

static void after_pool(struct pool_job *job)
{
	struct node_load *load = (struct node_load *)job;
	if (load->code == ERR_CORRUPT && load->phase != NODE_LOAD_INSPECT && !load->healed)
		pool_start(load, NODE_LOAD_INSPECT);
	else if (load->phase == NODE_LOAD_INSPECT && load->code == 0 && load->damaged.len > 0)
		heal_start(load);
	else if (load->phase == NODE_LOAD_INSPECT)
		fail(load, &load->error); /* every chunk is as published: the version itself is bad */
	else if (load->code != 0 || load->phase == NODE_LOAD_BUILD)
		finish(load);
	else {
		blobs_fetch(load);
		worker_fetch_tick(load->sync->fetch); /* what is here already is not waited for */
	}
}

void node_load__start(struct node_load *load, const struct node_version *version, bool pinned)
{
	struct node_sync *sync = load->sync;
	load->version = *version;
	load->version.set = NULL;
	load->pinned = pinned;
	load->healed = false;
	load->generation = sync->generation;
	load->began_us = env_monotonic_us(sync->env);
	load->code = 0;
	err_clear(&load->error);
	buf_clear(&load->roots);
	memcpy(load->cluster, sync->cluster, sizeof load->cluster);
	manifest_fetch(load);
}

void node_load__tick(struct node_load *load)
{
	if (load->phase == NODE_LOAD_HEAL && env_monotonic_us(load->sync->env) - load->heal_us >= HEAL_RETRY_US)
		heal_retry(load);
}

bool node_load__on_pool(const struct node_load *load)
{
	return load->phase == NODE_LOAD_READ || load->phase == NODE_LOAD_BUILD || load->phase == NODE_LOAD_INSPECT;
}

void node_load__fini(struct node_load *load)
{
	editor_memory_set_release(&load->version.set);
	arena_destroy(&load->arena);
	buf_free(&load->roots);
	buf_free(&load->damaged);
}
