/* bench_nodes: 1 to 64 readers at once, each with a key, a connection and an empty store of its own, pull the memories
 * of a version from a coordinator, as nodes do it, check every chunk's hash and store it. A reader is the part of a
 * node that pulls (worker/fetch.h) without the model behind it, so that 64 of them fit on one machine; sixteen share a
 * thread. Measured: the time until the last one has all, and what the coordinator's process computed meanwhile.
 * usage: bench_nodes ENDPOINT SERVER-KEY FOLDER COORDINATOR-PID [REPEATS]
 * (bench/nodes starts the coordinator; FOLDER holds the keys: writer.key, reader-0.key … reader-63.key) */
#include "base/rng.h"
#include "bench/bench.h"
#include "proto/loop.h"
#include "worker/fetch.h"
#include "worker/upload.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READERS_MAX   64u
#define GROUP_READERS 16u
#define CONNECTING_S  1.0
#define BLOBS         2u
#define BLOB_BYTES    ((size_t)1600000) /* of a shard of SmolLM2 */
#define REPEATS_MAX   16u
#define TICK_MS       20

struct reader_node {
	struct proto_zmq *zmq;
	struct proto_transport *transport;
	struct store *store;
	struct worker_fetch *fetch;
	char folder[512];
};

struct bench {
	const struct env *env;
	const char *endpoint, *folder;
	uint8_t server_key[PROTO_KEY_BYTES];
	long coordinator;
	struct hash roots[BLOBS];
	struct rng rng;
	atomic_size_t stores; /* made so far */
};

/* ---- Connections and stores */

static void connect_as(const struct bench *b, const char *name, struct proto_zmq **zmq,
		       struct proto_transport **transport)
{
	struct proto_keypair keys;
	struct err e = ERR_INIT;
	char path[512];
	snprintf(path, sizeof(path), "%s/%s.key", b->folder, name);
	bench_need(proto_keypair_load(path, &keys, &e), &e);
	bench_need(proto_zmq_new(&keys, NULL, b->env, zmq, &e), &e);
	bench_need(proto_zmq_connect(*zmq, b->endpoint, NULL, b->server_key, transport, &e), &e);
	proto_keypair_wipe(&keys);
}

static struct store *store_new(struct bench *b, char folder[512])
{
	const struct store_options options = { .env = b->env, .blobs_only = true };
	struct store *store = NULL;
	struct err e = ERR_INIT;
	snprintf(folder, 512, "%s/store-%zu", b->folder, atomic_fetch_add(&b->stores, 1));
	bench_need(store_open(folder, &options, &store, &e), &e);
	return store;
}

static void on_done(void *context, int code)
{
	struct err e = ERR_INIT;
	if (code != 0)
		bench_need(err_set(&e, code, "a transfer failed: %s", err_text(code)), &e);
	++*(size_t *)context;
}

/* ---- The version */

static void on_upload_message(void *context, struct msg_received **received)
{
	worker_upload_receive(context, &(*received)->msg);
}

static void on_upload_tick(void *context)
{
	worker_upload_tick(context);
}

/* New blobs of random bytes, uploaded as a worker does. */
static void version_make(struct bench *b)
{
	struct proto_zmq *zmq = NULL;
	struct proto_transport *transport = NULL;
	struct proto_loop *loop = NULL;
	struct worker_upload *upload = NULL;
	struct err e = ERR_INIT;
	char folder[512];
	size_t done = 0;
	uint64_t *bytes = bench_memory(BLOB_BYTES, 1);
	struct store *store = store_new(b, folder);
	for (size_t i = 0; i < BLOBS; i++) {
		for (size_t k = 0; k < BLOB_BYTES / sizeof(*bytes); k++)
			bytes[k] = rng_u64(&b->rng);
		bench_need(store_blob_put(store, bytes, BLOB_BYTES, &b->roots[i], &e), &e);
	}
	connect_as(b, "writer", &zmq, &transport);
	bench_need(proto_loop_new(b->env, &loop, &e), &e);
	bench_need(worker_upload_new(b->env, store, transport, &upload, &e), &e);
	bench_need(proto_loop_transport(loop, transport, on_upload_message, upload, &e), &e);
	bench_need(proto_loop_timer(loop, TICK_MS, on_upload_tick, upload, &e), &e);
	bench_need(worker_upload_start(upload, b->roots, BLOBS, on_done, &done, &e), &e);
	while (done == 0)
		bench_need(proto_loop_once(loop, 100, &e), &e);
	worker_upload_destroy(&upload);
	proto_loop_destroy(&loop);
	transport->ops->destroy(transport);
	proto_zmq_destroy(&zmq);
	store_close(&store);
	bench_folder_remove(folder);
	free(bytes);
}

/* ---- Readers */

static void on_message(void *context, struct msg_received **received)
{
	worker_fetch_receive(((struct reader_node *)context)->fetch, &(*received)->msg);
}

static void on_tick(void *context)
{
	worker_fetch_tick(((struct reader_node *)context)->fetch);
}

static void reader_open(struct bench *b, size_t number, struct proto_loop *loop, struct reader_node *node)
{
	char name[32];
	struct err e = ERR_INIT;
	snprintf(name, sizeof(name), "reader-%zu", number);
	connect_as(b, name, &node->zmq, &node->transport);
	node->store = store_new(b, node->folder);
	bench_need(worker_fetch_new(b->env, node->store, node->transport, &node->fetch, &e), &e);
	bench_need(proto_loop_transport(loop, node->transport, on_message, node, &e), &e);
	bench_need(proto_loop_timer(loop, TICK_MS, on_tick, node, &e), &e);
}

static void reader_close(struct reader_node *node)
{
	worker_fetch_destroy(&node->fetch);
	node->transport->ops->destroy(node->transport);
	proto_zmq_destroy(&node->zmq);
	store_close(&node->store);
	bench_folder_remove(node->folder);
}

/* Of the coordinator's process, user and system. */
static double core_seconds(const struct bench *b)
{
	char path[64], text[1024];
	unsigned long user = 0, system = 0;
	snprintf(path, sizeof(path), "/proc/%ld/stat", b->coordinator);
	FILE *file = fopen(path, "r");
	const char *rest = file != NULL && fgets(text, sizeof(text), file) != NULL ? strrchr(text, ')') : NULL;
	if (rest == NULL ||
	    sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) {
		fprintf(stderr, "bench_nodes: no process %ld\n", b->coordinator);
		exit(1);
	}
	fclose(file);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* What came to this process over all its TCP connections that stand, as the kernel counts it. */
static double wire_bytes(void)
{
	double bytes = 0;
	for (int fd = 0; fd < 4096; fd++) {
		struct tcp_info info = { 0 };
		socklen_t len = sizeof(info);
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
			bytes += (double)info.tcpi_bytes_received;
	}
	return bytes;
}

struct cost {
	double seconds, core_s; /* until the last one has all; of the coordinator */
	double wire_bytes;      /* that came to all of them */
};

/* Readers of one thread: a loop watches at most 64 descriptors, a connection's and a timer's of each. */
struct group {
	struct bench *b;
	struct reader_node nodes[GROUP_READERS];
	size_t first, count, done;
	pthread_t thread;
	pthread_barrier_t *ready;
};

static void *group_run(void *argument)
{
	struct group *group = argument;
	struct proto_loop *loop = NULL;
	struct err e = ERR_INIT;
	bench_need(proto_loop_new(group->b->env, &loop, &e), &e);
	for (size_t i = 0; i < group->count; i++)
		reader_open(group->b, group->first + i, loop, &group->nodes[i]);
	for (const double until = bench_now_us() + 1e6 * CONNECTING_S; bench_now_us() < until;)
		bench_need(proto_loop_once(loop, 50, &e), &e);
	pthread_barrier_wait(group->ready);
	pthread_barrier_wait(group->ready);
	for (size_t i = 0; i < group->count; i++)
		bench_need(worker_fetch_start(group->nodes[i].fetch, group->b->roots, BLOBS, on_done, &group->done, &e),
			   &e);
	while (group->done < group->count)
		bench_need(proto_loop_once(loop, 100, &e), &e);
	pthread_barrier_wait(group->ready);
	pthread_barrier_wait(group->ready);
	proto_loop_destroy(&loop);
	for (size_t i = 0; i < group->count; i++)
		reader_close(&group->nodes[i]);
	return NULL;
}

/* Connections are made before: what is measured is the pull. */
static struct cost pull(struct bench *b, size_t count)
{
	static struct group groups[READERS_MAX / GROUP_READERS];
	const size_t group_count = (count + GROUP_READERS - 1) / GROUP_READERS;
	pthread_barrier_t ready;
	pthread_barrier_init(&ready, NULL, (unsigned)group_count + 1);
	for (size_t i = 0; i < group_count; i++) {
		const size_t first = i * GROUP_READERS, left = count - first;
		groups[i] = (struct group){
			.b = b, .first = first, .count = left < GROUP_READERS ? left : GROUP_READERS, .ready = &ready
		};
		if (pthread_create(&groups[i].thread, NULL, group_run, &groups[i]) != 0) {
			fprintf(stderr, "bench_nodes: no thread\n");
			exit(1);
		}
	}
	pthread_barrier_wait(&ready); /* all are connected */
	const double core = core_seconds(b), wire = wire_bytes(), began = bench_now_us();
	pthread_barrier_wait(&ready); /* they pull */
	pthread_barrier_wait(&ready); /* all have it */
	const struct cost cost = { .seconds = 1e-6 * (bench_now_us() - began),
				   .core_s = core_seconds(b) - core,
				   .wire_bytes = wire_bytes() - wire };
	pthread_barrier_wait(&ready);
	for (size_t i = 0; i < group_count; i++)
		pthread_join(groups[i].thread, NULL);
	pthread_barrier_destroy(&ready);
	return cost;
}

int main(int argc, char **argv)
{
	struct bench b = { .env = env_system() };
	struct bench_curve wall = { .plot = "nodes", .series = "until all have it", .x = "nodes", .y = "seconds" },
			   core = { .plot = "nodes", .series = "the coordinator's core", .x = "nodes", .y = "seconds" };
	struct bench_pairs wire = { .name = "bytes on the wire of a pull",
				    .unit = "MB",
				    .baseline = "the packed memories",
				    .sense = BENCH_AT_MOST,
				    .bar = 1.1 };
	const size_t asked = argc > 5 ? strtoul(argv[5], NULL, 10) : 3;
	const size_t repeats = asked < 1 ? 1 : asked > REPEATS_MAX ? REPEATS_MAX : asked;
	if (argc < 5 || proto_key_parse(argv[2], b.server_key) != 0) {
		fprintf(stderr, "usage: bench_nodes ENDPOINT SERVER-KEY FOLDER COORDINATOR-PID [REPEATS]\n");
		return 2;
	}
	b.endpoint = argv[1];
	b.folder = argv[3];
	b.coordinator = strtol(argv[4], NULL, 10);
	rng_init(&b.rng, (uint64_t)bench_now_us());
	for (size_t count = 1; count <= READERS_MAX; count *= 2) {
		double took[REPEATS_MAX], cores[REPEATS_MAX];
		for (size_t i = 0; i < repeats; i++) {
			version_make(&b);
			const struct cost cost = pull(&b, count);
			took[i] = cost.seconds;
			cores[i] = cost.core_s;
			if (count > 1)
				continue;
			wire.ours[wire.count] = 1e-6 * cost.wire_bytes;
			wire.theirs[wire.count++] = 1e-6 * (double)(BLOBS * BLOB_BYTES);
		}
		bench_curve_add(&wall, (double)count, took, repeats);
		bench_curve_add(&core, (double)count, cores, repeats);
		printf("%2zu readers of %.1f MB each: all have it after %.3f s, the coordinator computed for %.2f s, "
		       "%.0f MB/s\n",
		       count, 1e-6 * (double)(BLOBS * BLOB_BYTES), took[repeats / 2], cores[repeats / 2],
		       1e-6 * (double)(BLOBS * BLOB_BYTES * count) / took[repeats / 2]);
		fflush(stdout);
	}
	bench_report(&wire);
	bench_curve_report(&wall);
	bench_curve_report(&core);
	return 0;
}
