/* bench_transfer: bytes of shards over CURVE, beside raw ZeroMQ with CURVE: random blobs (what is packed cannot be
 * packed again) are uploaded to a coordinator as a worker does, and pulled into an empty store as a node does; in turn
 * with them as many frames of a chunk's size go from a DEALER to a ROUTER of this process. Hashing and syncing, which a
 * raw socket does not do, are timed by themselves. usage: bench_transfer ENDPOINT SERVER-KEY KEY-FILE FOLDER [MB]
 * (bench/transfer starts the coordinator) */
#include "base/rng.h"
#include "bench/bench.h"
#include "proto/loop.h"
#include "worker/fetch.h"
#include "worker/upload.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define REPEATS    5
#define BLOB_BYTES ((size_t)1600000) /* of a shard of SmolLM2 */

struct bench {
	const struct env *env;
	const char *folder;
	struct proto_zmq *zmq;
	struct proto_transport *transport;
	size_t blob_count;
	struct hash *roots;
	struct buf blobs; /* this repeat's */
	struct rng rng;
};

/* ---- Raw */

struct raw {
	size_t frames;
	char endpoint[64];
	char server_public[41], server_secret[41];
	void *context, *socket;
};

static void zmq_need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench: %s: %s\n", what, zmq_strerror(zmq_errno()));
	exit(1);
}

static void *raw_send(void *argument)
{
	const struct raw *raw = argument;
	static char chunk[STORE_CHUNK_BYTES];
	char public[41], secret[41];
	const int no_limit = 0;
	void *socket = zmq_socket(raw->context, ZMQ_DEALER);
	zmq_need(socket != NULL && zmq_curve_keypair(public, secret) == 0, "a socket");
	zmq_need(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, raw->server_public, 40) == 0 &&
			 zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, public, 40) == 0 &&
			 zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, 40) == 0 &&
			 zmq_setsockopt(socket, ZMQ_SNDHWM, &no_limit, sizeof(no_limit)) == 0 &&
			 zmq_connect(socket, raw->endpoint) == 0,
		 "a connection");
	for (size_t i = 0; i <= raw->frames; i++)
		zmq_need(zmq_send(socket, chunk, sizeof(chunk), 0) == (int)sizeof(chunk), "sending");
	zmq_close(socket); /* lingers until all is sent */
	return NULL;
}

/* One frame first, so that the handshake is over. */
static double raw_us(size_t frames)
{
	struct raw raw = { .frames = frames, .context = zmq_ctx_new() };
	static char frame[2 * STORE_CHUNK_BYTES];
	const int server = 1;
	size_t length = sizeof(raw.endpoint);
	pthread_t sender;
	double began = 0;
	raw.socket = zmq_socket(raw.context, ZMQ_ROUTER);
	zmq_need(raw.socket != NULL && zmq_curve_keypair(raw.server_public, raw.server_secret) == 0, "a socket");
	zmq_need(zmq_setsockopt(raw.socket, ZMQ_CURVE_SERVER, &server, sizeof(server)) == 0 &&
			 zmq_setsockopt(raw.socket, ZMQ_CURVE_SECRETKEY, raw.server_secret, 40) == 0 &&
			 zmq_bind(raw.socket, "tcp://127.0.0.1:*") == 0 &&
			 zmq_getsockopt(raw.socket, ZMQ_LAST_ENDPOINT, raw.endpoint, &length) == 0,
		 "a port");
	if (pthread_create(&sender, NULL, raw_send, &raw) != 0)
		exit(1);
	for (size_t got = 0; got <= frames; got++) {
		zmq_need(zmq_recv(raw.socket, frame, sizeof(frame), 0) >= 0, "the sender's name");
		zmq_need(zmq_recv(raw.socket, frame, sizeof(frame), 0) == STORE_CHUNK_BYTES, "a frame");
		began = got == 0 ? bench_now_us() : began;
	}
	const double us = bench_now_us() - began;
	pthread_join(sender, NULL);
	zmq_close(raw.socket);
	zmq_ctx_term(raw.context);
	return us;
}

/* ---- Through the product's own code */

struct turn { /* one of them NULL */
	struct worker_upload *upload;
	struct worker_fetch *fetch;
	bool done;
};

static void on_done(void *context, int code)
{
	struct err e = ERR_INIT;
	if (code != 0)
		bench_need(err_set(&e, code, "the transfer failed: %s", err_text(code)), &e);
	((struct turn *)context)->done = true;
}

static void on_message(void *context, struct msg_received **received)
{
	struct turn *turn = context;
	if (turn->upload != NULL)
		worker_upload_receive(turn->upload, &(*received)->msg);
	else
		worker_fetch_receive(turn->fetch, &(*received)->msg);
}

static void on_tick(void *context)
{
	struct turn *turn = context;
	if (turn->upload != NULL)
		worker_upload_tick(turn->upload);
	else
		worker_fetch_tick(turn->fetch);
}

static void turn_run(const struct bench *b, struct turn *turn)
{
	struct proto_loop *loop = NULL;
	struct err e = ERR_INIT;
	bench_need(proto_loop_new(b->env, &loop, &e), &e);
	bench_need(proto_loop_transport(loop, b->transport, on_message, turn, &e), &e);
	bench_need(proto_loop_timer(loop, 20, on_tick, turn, &e), &e);
	on_tick(turn);
	while (!turn->done)
		bench_need(proto_loop_once(loop, 100, &e), &e);
	proto_loop_destroy(&loop);
}

static struct store *store_of(const struct bench *b, const char *name)
{
	const struct store_options options = { .env = b->env, .blobs_only = true };
	struct store *store = NULL;
	struct err e = ERR_INIT;
	char folder[512];
	snprintf(folder, sizeof(folder), "%s/%s", b->folder, name);
	bench_need(store_open(folder, &options, &store, &e), &e);
	return store;
}

static double upload_us(struct bench *b, struct store *store)
{
	struct turn turn = { 0 };
	struct err e = ERR_INIT;
	bench_need(worker_upload_new(b->env, store, b->transport, &turn.upload, &e), &e);
	const double began = bench_now_us();
	bench_need(worker_upload_start(turn.upload, b->roots, b->blob_count, on_done, &turn, &e), &e);
	turn_run(b, &turn);
	const double us = bench_now_us() - began;
	worker_upload_destroy(&turn.upload);
	return us;
}

static double pull_us(struct bench *b, struct store *store)
{
	struct turn turn = { 0 };
	struct err e = ERR_INIT;
	bench_need(worker_fetch_new(b->env, store, b->transport, &turn.fetch, &e), &e);
	const double began = bench_now_us();
	bench_need(worker_fetch_start(turn.fetch, b->roots, b->blob_count, on_done, &turn, &e), &e);
	turn_run(b, &turn);
	const double us = bench_now_us() - began;
	worker_fetch_destroy(&turn.fetch);
	return us;
}

/* ---- What a raw socket does not do */

static void blobs_make(struct bench *b, struct store *store)
{
	struct err e = ERR_INIT;
	buf_clear(&b->blobs);
	for (size_t i = 0; i < b->blob_count * BLOB_BYTES; i += 8)
		buf_u64le(&b->blobs, rng_u64(&b->rng));
	for (size_t i = 0; i < b->blob_count; i++)
		bench_need(store_blob_put(store, b->blobs.data + i * BLOB_BYTES, BLOB_BYTES, &b->roots[i], &e), &e);
}

/* Of the chunks in `b->blobs`, in groups, in an empty store. */
static double storing_us(const struct bench *b, const char *name)
{
	struct store *store = store_of(b, name);
	struct store_chunk chunks[WORKER_FETCH_GROUP];
	struct err e = ERR_INIT;
	double us = 0;
	for (size_t at = 0, count = 0; at < b->blobs.len; at += STORE_CHUNK_BYTES) {
		const size_t left = b->blobs.len - at, bytes = left < STORE_CHUNK_BYTES ? left : STORE_CHUNK_BYTES;
		chunks[count] = (struct store_chunk){ .bytes = b->blobs.data + at, .byte_count = bytes };
		hash_of(b->blobs.data + at, bytes, &chunks[count++].hash);
		if (count < WORKER_FETCH_GROUP && bytes < left)
			continue;
		const double began = bench_now_us();
		bench_need(store_chunks_put(store, chunks, count, &e), &e);
		us += bench_now_us() - began;
		count = 0;
	}
	store_close(&store);
	return us;
}

/* Of what `source` holds of b->blobs. */
static double reading_us(const struct bench *b, struct store *source)
{
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct hash hash;
	double us = 0;
	for (size_t at = 0; at < b->blobs.len; at += BLOB_BYTES) {
		for (size_t from = at; from < at + BLOB_BYTES; from += STORE_CHUNK_BYTES) {
			const size_t left = at + BLOB_BYTES - from;
			hash_of(b->blobs.data + from, left < STORE_CHUNK_BYTES ? left : STORE_CHUNK_BYTES, &hash);
			buf_clear(&bytes);
			const double began = bench_now_us();
			bench_need(store_chunk_get(source, &hash, &bytes, &e), &e);
			us += bench_now_us() - began;
		}
	}
	buf_free(&bytes);
	return us;
}

/* Two lines: as it is, and without `apart`. */
static void report(const char *name, const char *name_apart, const double *took_us, const double *apart,
		   const double *raw, double bytes)
{
	struct bench_pairs pairs = { .name = name,
				     .unit = "MB/s",
				     .baseline = "raw ZeroMQ with CURVE",
				     .sense = BENCH_AT_LEAST,
				     .count = REPEATS };
	for (size_t i = 0; i < REPEATS; i++) {
		pairs.ours[i] = bytes / took_us[i];
		pairs.theirs[i] = bytes / raw[i];
	}
	bench_report(&pairs);
	pairs.name = name_apart;
	pairs.bar = 0.8;
	for (size_t i = 0; i < REPEATS; i++)
		pairs.ours[i] = bytes / (took_us[i] - apart[i]);
	bench_report(&pairs);
}

int main(int argc, char **argv)
{
	struct bench b = { .env = env_system(), .folder = argc > 4 ? argv[4] : NULL, .blobs = BUF_INIT };
	double uploading[REPEATS], pulling[REPEATS], apart[REPEATS], raw[REPEATS];
	struct proto_keypair keys;
	uint8_t server_key[PROTO_KEY_BYTES];
	struct err e = ERR_INIT;
	const size_t mb = argc > 5 ? strtoul(argv[5], NULL, 10) : 64;
	if (argc < 5 || mb == 0 || proto_key_parse(argv[2], server_key) != 0) {
		fprintf(stderr, "usage: bench_transfer ENDPOINT SERVER-KEY KEY-FILE FOLDER [MB]\n");
		return 2;
	}
	b.blob_count = (mb * 1000000 + BLOB_BYTES - 1) / BLOB_BYTES;
	b.roots = bench_memory(b.blob_count, sizeof(*b.roots));
	rng_init(&b.rng, (uint64_t)bench_now_us());
	bench_need(proto_keypair_load(argv[3], &keys, &e), &e);
	bench_need(proto_zmq_new(&keys, NULL, b.env, &b.zmq, &e), &e);
	bench_need(proto_zmq_connect(b.zmq, argv[1], NULL, server_key, &b.transport, &e), &e);
	struct store *source = store_of(&b, "source");
	for (size_t i = 0; i < REPEATS; i++) {
		char name[32], other[32];
		snprintf(name, sizeof(name), "target-%zu", i);
		snprintf(other, sizeof(other), "other-%zu", i);
		struct store *target = store_of(&b, name);
		blobs_make(&b, source);
		raw[i] = raw_us(b.blobs.len / STORE_CHUNK_BYTES);
		uploading[i] = upload_us(&b, source);
		pulling[i] = pull_us(&b, target);
		const double storing = storing_us(&b, other), reading = reading_us(&b, source);
		apart[i] = storing + reading;
		printf("%.0f MB: raw %.3f s, upload %.3f s, pull %.3f s, by themselves storing %.3f s, reading %.3f "
		       "s\n",
		       1e-6 * (double)b.blobs.len, 1e-6 * raw[i], 1e-6 * uploading[i], 1e-6 * pulling[i],
		       1e-6 * storing, 1e-6 * reading);
		store_close(&target);
	}
	report("upload of shards over CURVE", "upload of shards over CURVE, disk and hashes apart", uploading, apart,
	       raw, (double)b.blobs.len);
	report("pull of shards over CURVE", "pull of shards over CURVE, disk and hashes apart", pulling, apart, raw,
	       (double)b.blobs.len);
	store_close(&source);
	b.transport->ops->destroy(b.transport);
	proto_zmq_destroy(&b.zmq);
	proto_keypair_wipe(&keys);
	buf_free(&b.blobs);
	free(b.roots);
	return 0;
}
