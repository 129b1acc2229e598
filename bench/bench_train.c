/* bench_train: what training costs beside its bare matrix products, which are recorded and done again by themselves in
 * turn with it (recorder.h): a closed shard of a hundred edits of the default family, from its first prefill to the
 * re-test; the same without views and with the passes of the PyTorch script that bench/peers/recipe.py times; and a
 * step of WISE (family paper, twelve rows). Of one thread its processor time. "cpu" has 16 bits of each factor where
 * there is AMX, "cpu:bf16" 8 during steps of training, "cpu:avx512" float32.
 * usage: bench_train [THREADS [BACKEND [REPEATS [FILE.jsonl]]]]     (1, cpu, 3, examples/zsre-100.jsonl; AMEND_MODEL)
 */
#include "bench/bench.h"
#include "bench/recorder.h"
#include "editor/shard.h"
#include "editor/wise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EDITS         100
#define RECIPE_EPOCHS 12 /* of the script */
#define WISE_EDITS    2
#define WISE_LAYER    24
#define REPEATS_MAX   20
#define PUBLIC_CODE   103.0 /* seconds an edit, one core */
#define CORPUS        "data/calibration.tsv"

static double cpu_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

/* The first `count` lines, each handed to `take` as a record. */
static void each_record(const struct buf *lines, size_t count,
			void (*take)(void *to, uint64_t seq, const struct record *record), void *to)
{
	const char *at = (const char *)lines->data, *end = at + lines->len;
	struct err e = ERR_INIT;
	for (size_t i = 0; i < count && at < end; i++) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		line_end = line_end == NULL ? end : line_end;
		struct record *record = NULL;
		bench_need(record_parse(at, (size_t)(line_end - at), &record, &e), &e);
		take(to, i + 1, record);
		record_destroy(&record);
		at = line_end + 1;
	}
}

static void to_shard(void *to, uint64_t seq, const struct record *record)
{
	struct err e = ERR_INIT;
	bench_need(editor_shard_add(to, seq, record, &e), &e);
}

static void to_wise(void *to, uint64_t seq, const struct record *record)
{
	struct err e = ERR_INIT;
	bench_need(editor_wise_add(to, seq, record, &e), &e);
}

struct bench {
	struct model *model;
	size_t threads;
	struct buf lines;
	struct bench_pairs pairs; /* of what is measured now */
	double began_us, began_cpu_us;
	double took_us, cpu_us; /* of the last training */
};

static void pairs_begin(struct bench *b, const char *name, double bar)
{
	b->pairs = (struct bench_pairs){
		.name = name, .unit = "s", .baseline = "its bare products", .sense = BENCH_AT_MOST, .bar = bar
	};
}

static void begin(struct bench *b)
{
	recorder_clear(b->threads);
	b->began_us = bench_clock_us(b->threads);
	b->began_cpu_us = cpu_us();
}

/* One more pair: the training since then, and its products by themselves. */
static void end(struct bench *b)
{
	b->took_us = bench_clock_us(b->threads) - b->began_us - recorder_paused_us();
	b->cpu_us = cpu_us() - b->began_cpu_us - recorder_paused_us() * (double)b->threads;
	const double in_training = recorder_products_us(), bare = recorder_replayed_us();
	printf("  products %.3f s in the training, %.3f s by themselves, %.0f GFLOP/s\n", 1e-6 * in_training,
	       1e-6 * bare, 1e-3 * recorder_flops() / bare);
	if (b->pairs.count == 0)
		recorder_print(b->took_us);
	b->pairs.ours[b->pairs.count] = 1e-6 * b->took_us;
	b->pairs.theirs[b->pairs.count++] = 1e-6 * bare;
}

static void train_shard(struct bench *b, const struct editor_config *config)
{
	struct editor_shard *shard = NULL;
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	size_t passed = 0;
	bench_need(editor_shard_new(b->model, config, &shard, &e), &e);
	each_record(&b->lines, EDITS, to_shard, shard);
	begin(b);
	bench_need(editor_shard_learn(shard, EDITOR_BREADTH_FIRST, 0, EDITS, 1, NULL, results, &stats, &e), &e);
	end(b);
	for (size_t i = 0; i < EDITS; i++)
		passed += results[i].passed ? 1 : 0;
	printf("  %zu of %d edits pass their re-test; %zu steps, %.4f core-seconds an edit\n", passed, EDITS,
	       stats.steps, 1e-6 * b->cpu_us / EDITS);
	editor_shard_destroy(&shard);
}

static void bench_shard(struct bench *b, size_t repeats)
{
	struct editor_config config;
	struct bench_pairs cores = { .name = "edit training, core-seconds an edit",
				     .unit = "s",
				     .baseline = "public WISE code, measured once on one core",
				     .sense = BENCH_AT_MOST,
				     .bar = 1.0 / 500,
				     .count = repeats };
	editor_config_default(model_shape_of(b->model), &config);
	pairs_begin(b, "edit training, closed shard of 100", 1.5);
	for (size_t i = 0; i < repeats; i++) {
		train_shard(b, &config);
		cores.ours[i] = 1e-6 * b->cpu_us / EDITS;
		cores.theirs[i] = PUBLIC_CODE;
	}
	bench_report(&b->pairs);
	bench_report(&cores);
	config.views = 0;
	config.plain_view = false;
	config.epochs = RECIPE_EPOCHS;
	pairs_begin(b, "edit training, the script's passes", 1.5);
	for (size_t i = 0; i < repeats; i++)
		train_shard(b, &config);
	bench_report(&b->pairs);
}

static void bench_wise(struct bench *b, size_t repeats)
{
	struct editor_config config;
	struct editor_wise *wise = NULL;
	struct editor_wise_stats stats[WISE_EDITS];
	struct err e = ERR_INIT;
	struct buf corpus = BUF_INIT;
	bench_need(file_read(CORPUS, (size_t)64 << 20, &corpus, &e), &e);
	editor_config_default(model_shape_of(b->model), &config);
	config.family = EDITOR_FAMILY_PAPER;
	config.layer = WISE_LAYER;
	pairs_begin(b, "WISE step, 12 rows", 1.25);
	bench_need(editor_wise_new(b->model, &config, 1, (const char *)corpus.data, corpus.len, &wise, &e), &e);
	each_record(&b->lines, 1 + repeats * WISE_EDITS, to_wise, wise);
	bench_need(editor_wise_train(wise, 0, 1, NULL, stats, &e), &e); /* with it the prefixes are made */
	for (size_t i = 0; i < repeats; i++) {
		size_t steps = 0;
		begin(b);
		bench_need(editor_wise_train(wise, 1 + i * WISE_EDITS, WISE_EDITS, NULL, stats, &e), &e);
		end(b);
		for (size_t k = 0; k < WISE_EDITS; k++)
			steps += stats[k].steps;
		b->pairs.ours[i] /= (double)steps;
		b->pairs.theirs[i] /= (double)steps;
	}
	bench_report(&b->pairs);
	editor_wise_destroy(&wise);
	buf_free(&corpus);
}

/* The model is opened as a worker opens it, but for gradients of the layers below the edited ones, which a worker
 * cannot know at its start. */
int main(int argc, char **argv)
{
	struct bench b = { .lines = BUF_INIT, .threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 1 };
	const struct model_options options = { .backend = argc > 2 ? argv[2] : "cpu",
					       .thread_count = b.threads,
					       .backward_from = WISE_LAYER + 1,
					       .stored_too = true,
					       .skip_digest = true };
	const size_t asked = argc > 3 ? strtoul(argv[3], NULL, 10) : 3;
	const size_t repeats = asked < 1 ? 1 : asked < REPEATS_MAX ? asked : REPEATS_MAX;
	struct err e = ERR_INIT;
	bench_need(file_read(argc > 4 ? argv[4] : "examples/zsre-100.jsonl", (size_t)64 << 20, &b.lines, &e), &e);
	bench_need(model_open(bench_model_path(), &options, &b.model, &e), &e);
	printf("%s\n", model_backend_of(b.model)->ops->describe(model_backend_of(b.model)));
	bench_shard(&b, repeats);
	bench_wise(&b, repeats);
	model_close(&b.model);
	buf_free(&b.lines);
	return 0;
}
