/* bench_delta.c: what the coordinator does with the delta of a commit: reads it from its store, unpacks it and looks at
 * every number, for the shapes of SmolLM2-135M and of a model of eight billion parameters.
 * Usage: bench_delta [RUNS [FOLDER]]. */
#include "bench/bench.h"

#include "base/delta_bytes.h"
#include "base/env.h"
#include "base/rng.h"
#include "base/zstd.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYER    25
#define BLOB_MAX ((size_t)128 << 20)
#define RUNS_MAX 100

/* Small numbers of both signs, as training leaves them: the high bytes repeat, the low ones do not. `share` of them are
 * not zero; 1: dense. */
static void delta_make(size_t hidden, size_t ffn, double share, struct buf *out, struct err *e)
{
	const size_t n = hidden * ffn, mask_bytes = share < 1 ? (n + 7) / 8 : 0;
	uint8_t *payload = bench_memory(mask_bytes + 2 * n, 1);
	uint16_t *values = bench_memory(n, sizeof *values);
	size_t count = 0;
	struct rng rng;
	rng_init(&rng, 1);
	for (size_t i = 0; i < n; i++) {
		if (share < 1 && (double)rng_uniform(&rng) >= share)
			continue;
		if (share < 1)
			payload[i / 8] = (uint8_t)(payload[i / 8] | 1u << i % 8);
		uint64_t bits = rng_u64(&rng);
		values[count++] = (uint16_t)((bits & 0x8000) | (0x3780 + (bits & 0x3ff)));
	}
	for (size_t i = 0; i < count; i++) {
		payload[mask_bytes + i] = (uint8_t)values[i];
		payload[mask_bytes + count + i] = (uint8_t)(values[i] >> 8);
	}
	buf_append(out, DELTA_MAGIC, 4);
	buf_u16le(out, DELTA_FORMAT);
	buf_u16le(out, share < 1 ? DELTA_MASKED : DELTA_DENSE);
	buf_u32le(out, LAYER);
	buf_u32le(out, (uint32_t)hidden);
	buf_u32le(out, (uint32_t)ffn);
	buf_u32le(out, 0);
	buf_u64le(out, count);
	bench_need(zstd_compress(payload, mask_bytes + 2 * count, 1, out, e), e);
	free(payload);
	free(values);
}

static int by_time(const void *a, const void *b)
{
	const double *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

static void measure(struct store *store, size_t hidden, size_t ffn, double share, size_t runs, struct err *e)
{
	struct buf bytes = BUF_INIT, read = BUF_INIT;
	struct hash root;
	double reads[RUNS_MAX], checks[RUNS_MAX];
	delta_make(hidden, ffn, share, &bytes, e);
	bench_need(store_blob_put(store, bytes.data, bytes.len, &root, e), e);
	for (size_t i = 0; i < runs; i++) {
		buf_clear(&read);
		double began = bench_now_us();
		bench_need(store_blob_get(store, &root, BLOB_MAX, &read, e), e);
		double got = bench_now_us();
		bench_need(delta_bytes_check(read.data, read.len, LAYER, hidden, ffn, e), e);
		reads[i] = got - began;
		checks[i] = bench_now_us() - got;
	}
	qsort(reads, runs, sizeof *reads, by_time);
	qsort(checks, runs, sizeof *checks, by_time);
	printf("%4zu x %5zu, %3.0f %% not zero: %6.1f MB, read %7.1f ms, checked %7.1f ms (medians of %zu)\n", hidden,
	       ffn, 100 * share, (double)bytes.len / 1e6, reads[runs / 2] / 1e3, checks[runs / 2] / 1e3, runs);
	buf_free(&bytes);
	buf_free(&read);
}

int main(int argc, char **argv)
{
	static const struct {
		size_t hidden, ffn;
	} shapes[] = { { 576, 1536 }, { 4096, 14336 } };
	struct store_options options = { .env = env_system() };
	struct store *store = NULL;
	struct err e = ERR_INIT;
	char folder[512];
	const int runs = argc > 1 ? atoi(argv[1]) : 5;
	snprintf(folder, sizeof(folder), "%s/amend-bench.XXXXXX", argc > 2 ? argv[2] : "/tmp");
	if (runs < 1 || runs > RUNS_MAX || !mkdtemp(folder)) {
		fprintf(stderr, "usage: bench_delta [RUNS [FOLDER]]: 1 to %d runs, a folder that can be written\n",
			RUNS_MAX);
		return 2;
	}
	bench_need(store_open(folder, &options, &store, &e), &e);
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		measure(store, shapes[i].hidden, shapes[i].ffn, 1, (size_t)runs, &e);
		measure(store, shapes[i].hidden, shapes[i].ffn, 0.2, (size_t)runs, &e);
	}
	store_close(&store);
	bench_folder_remove(folder);
	return 0;
}
