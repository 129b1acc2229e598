/* bench_decode: decoding against what the machine allows. One sequence against the time that reading the file's weights
 * once takes at the measured bandwidth; sixteen, each with a memory of its own, against their products alone. What is
 * compared is measured in turn, ROUNDS times. One thread is measured
 * in its own processor time, which others' work on the machine does not stretch.
 * usage: bench_decode [THREADS [BACKEND [ROUNDS]]]   (the model file from AMEND_MODEL, default ~/.cache/amend/…)
 * bench/beside.py times llama.cpp in turn with the engine. */
#include "base/team.h"
#include "bench/bench.h"
#include "bench/products.h"
#include "model/model.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BATCH          16u
#define TOKENS         48u /* of a sequence in one round */
#define SIDE_LAYER     25u
#define PRODUCT_PASSES 3u
#define PASSES         12u                /* over the memory that bandwidth is measured on */
#define SHARE          ((size_t)64 << 10) /* bytes that a thread reads at a time */

static size_t thread_count;

static double now_us(void)
{
	return bench_clock_us(thread_count);
}

/* ---- Bandwidth */

struct sweep {
	const char *memory;
	size_t bytes;
	atomic_size_t next;
	atomic_ullong sum; /* so that nothing is left out */
};

typedef uint64_t line __attribute__((vector_size(64)));

__attribute__((target_clones("avx512f", "avx2", "default"))) static uint64_t read_lines(const line *at, size_t count)
{
	line sums[4] = { { 0 } };
	for (size_t i = 0; i + 4 <= count; i += 4) {
		for (size_t k = 0; k < 4; k++) {
			__builtin_prefetch(at + i + k + 32); /* past the end it does nothing */
			sums[k] ^= at[i + k];
		}
	}
	sums[0] ^= sums[1] ^ sums[2] ^ sums[3];
	return sums[0][0] ^ sums[0][7];
}

static void read_part(void *context, size_t part, size_t part_count)
{
	struct sweep *r = context;
	(void)part, (void)part_count;
	for (size_t at; (at = atomic_fetch_add(&r->next, SHARE)) < r->bytes;) {
		const size_t bytes = r->bytes - at < SHARE ? r->bytes - at : SHARE;
		atomic_fetch_xor(&r->sum,
				 read_lines((const line *)(const void *)(r->memory + at), bytes / sizeof(line)));
	}
}

/* Of one pass of several, the first of which is not counted: a step finds as much in the caches as the one before left.
 */
static double read_seconds(struct team *team, const void *memory, size_t bytes)
{
	double began = 0;
	for (size_t pass = 0; pass <= PASSES; pass++) {
		struct sweep r = { .memory = memory, .bytes = bytes };
		began = pass == 1 ? now_us() : began;
		team_run(team, read_part, &r);
	}
	return 1e-6 * (now_us() - began) / PASSES;
}

static void *huge_memory(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		exit(1);
	(void)madvise(memory, bytes, MADV_HUGEPAGE);
	memset(memory, 1, bytes);
	return memory;
}

/* ---- The products alone */

/* Every weight by BATCH rows, once, of a few such passes. */
static double products_seconds(struct products *p)
{
	double began = 0;
	for (size_t pass = 0; pass <= PRODUCT_PASSES; pass++) {
		began = pass == 1 ? now_us() : began;
		products_run(p, BATCH, BATCH);
	}
	return 1e-6 * (now_us() - began) / PRODUCT_PASSES;
}

/* ---- Decoding */

struct decoding {
	struct model *model;
	struct model_run *run;
	struct model_kv *kv;
	float *x, *logits;
	struct model_side sides[BATCH];
};

static void decoding_open(struct decoding *d, const char *backend, size_t threads)
{
	struct err e = ERR_INIT;
	const struct model_options options = { .backend = backend,
					       .thread_count = threads,
					       .backward_from = SIZE_MAX,
					       .stored_too = true,
					       .head_stored_only = true,
					       .skip_digest = true };
	bench_need(model_open(bench_model_path(), &options, &d->model, &e), &e);
	bench_need(model_run_new(d->model, BATCH, &d->run, &e), &e);
	bench_need(model_kv_new(d->model, BATCH, TOKENS, &d->kv, &e), &e);
	const struct model_shape *s = model_shape_of(d->model);
	d->x = bench_memory(BATCH * s->hidden, sizeof(*d->x));
	d->logits = bench_memory(BATCH * s->vocabulary, sizeof(*d->logits));
	for (size_t i = 0; i < BATCH; i++) {
		float *delta = bench_memory(s->hidden * s->ffn, sizeof(*delta));
		for (size_t k = 0; k < s->hidden * s->ffn; k++)
			delta[k] = 1e-4f * (float)((k * 31 + i * 7) % 17);
		d->sides[i] = (struct model_side){ SIDE_LAYER < s->layers ? SIDE_LAYER : s->layers - 1, delta };
	}
}

static void decoding_close(struct decoding *d)
{
	for (size_t i = 0; i < BATCH; i++)
		free((float *)(uintptr_t)d->sides[i].delta);
	free(d->x);
	free(d->logits);
	model_kv_destroy(&d->kv);
	model_run_destroy(&d->run);
	model_close(&d->model);
}

/* Of a token of each of `count` sequences, greedily. */
static double step_seconds(struct decoding *d, size_t count, bool routed)
{
	const struct model_shape *s = model_shape_of(d->model);
	const struct model_sampling greedy = { 0, 1 };
	struct model_segment segments[BATCH];
	struct model_reading readings[BATCH] = { { 0 } };
	int32_t ids[BATCH];
	size_t rows[BATCH];
	struct err e = ERR_INIT;
	bench_ids(ids, count);
	const double began = now_us();
	for (size_t t = 0; t < TOKENS; t++) {
		for (size_t i = 0; i < count; i++) {
			segments[i] = (struct model_segment){ i, t, 1 };
			readings[i].side = routed ? &d->sides[i] : NULL;
			rows[i] = i;
		}
		bench_need(model_embed(d->run, d->x, ids, count, &e), &e);
		bench_need(model_step(d->run, d->x, d->kv, segments, count, readings, &e), &e);
		bench_need(model_head(d->run, d->logits, d->x, rows, count, &e), &e);
		for (size_t i = 0; i < count; i++)
			bench_need(
				model_sample(d->logits + i * s->vocabulary, s->vocabulary, &greedy, 0, d->run, &ids[i]),
				&e);
	}
	return 1e-6 * (now_us() - began) / TOKENS;
}

/* ---- Table */

int main(int argc, char **argv)
{
	const size_t threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
	const char *backend = argc > 2 ? argv[2] : "cpu";
	const size_t asked = argc > 3 ? strtoul(argv[3], NULL, 10) : 7;
	const size_t rounds = asked < 1 ? 1 : asked > BENCH_PAIRS_MAX ? BENCH_PAIRS_MAX : asked;
	struct bench_pairs one = { .name = "decoding, one sequence",
				   .unit = "tokens/s",
				   .baseline = "the file's weights at the bandwidth measured",
				   .count = rounds,
				   .sense = BENCH_AT_LEAST,
				   .bar = 0.7 },
			   batch = { .name = "decoding, 16 sequences with a memory each",
				     .unit = "tokens/s",
				     .baseline = "their products alone, as stored",
				     .count = rounds,
				     .sense = BENCH_AT_LEAST,
				     .bar = 0.6 },
			   packed = batch;
	packed.name = "decoding, 16 sequences with a memory each, beside packed weights";
	packed.baseline = "products of 16 rows by packed weights";
	struct err e = ERR_INIT;
	struct team *team = NULL;
	struct decoding d = { 0 };
	struct products own, floats;
	const size_t before = bench_resident_bytes();
	thread_count = threads;
	decoding_open(&d, backend, threads);
	printf("%s: %s; %zu MiB resident once opened as a node does\n", model_name(d.model),
	       model_backend_of(d.model)->ops->describe(model_backend_of(d.model)),
	       (bench_resident_bytes() - before) >> 20);
	products_open(&own, bench_model_path(), backend, threads, true, BATCH);
	products_open(&floats, bench_model_path(), backend, threads, false, BATCH);
	bench_need(team_new(threads, &team, &e), &e);
	void *memory = huge_memory(own.bytes);
	for (size_t i = 0; i < rounds; i++) {
		one.theirs[i] = 1 / read_seconds(team, memory, own.bytes);
		one.ours[i] = 1 / step_seconds(&d, 1, false);
		batch.theirs[i] = BATCH / products_seconds(&own);
		packed.ours[i] = batch.ours[i] = BATCH / step_seconds(&d, BATCH, true);
		packed.theirs[i] = BATCH / products_seconds(&floats);
	}
	printf("%.1f MB of weights a token, %zu of %zu as stored; %.2f GFLOP a token\n", 1e-6 * (double)own.bytes,
	       own.stored_count, own.count, 2e-9 * own.multiply_adds);
	bench_report(&one);
	bench_report(&batch);
	bench_report(&packed);
	munmap(memory, own.bytes);
	team_destroy(&team);
	products_close(&own);
	products_close(&floats);
	decoding_close(&d);
	return 0;
}
