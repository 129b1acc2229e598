/* bench_model: speed of the engine on one model file. Prints one line a measurement; the best of a few repeats.
 * usage: bench_model [THREADS [BACKEND]]   (the model file from AMEND_MODEL, default ~/.cache/amend/…) */
#include "bench/bench.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FROM 26

static double now(void)
{
	return 1e-6 * bench_now_us();
}

static int32_t *some_ids(size_t count)
{
	int32_t *ids = bench_memory(count, sizeof(*ids));
	bench_ids(ids, count);
	return ids;
}

/* `segment_count` sequences of `rows` tokens through all layers. */
static void prefill(struct model *model, struct model_run *run, size_t segment_count, size_t rows)
{
	const struct model_shape *s = model_shape_of(model);
	struct err e = ERR_INIT;
	int32_t *ids = some_ids(segment_count * rows);
	float *x = bench_memory(segment_count * rows * s->hidden, sizeof(*x));
	struct model_segment *segments = bench_memory(segment_count, sizeof(*segments));
	double best = 1e9;
	for (size_t i = 0; i < segment_count; i++)
		segments[i] = (struct model_segment){ 0, 0, rows };
	for (int repeat = 0; repeat < 3; repeat++) {
		double began = now();
		bench_need(model_embed(run, x, ids, segment_count * rows, &e), &e);
		bench_need(model_layers(run, x, NULL, segments, segment_count, 0, s->layers, NULL, NULL, 0, &e), &e);
		double took = now() - began;
		best = took < best ? took : best;
	}
	printf("prefill %zu x %zu rows: %.3f s, %.0f tokens/s\n", segment_count, rows, best,
	       (double)(segment_count * rows) / best);
	free(ids);
	free(x);
	free(segments);
}

static void decode(struct model *model, struct model_run *run, size_t batch, size_t tokens)
{
	const struct model_shape *s = model_shape_of(model);
	struct err e = ERR_INIT;
	struct model_kv *kv = NULL;
	float *x = bench_memory(batch * s->hidden, sizeof(*x)),
	      *logits = bench_memory(batch * s->vocabulary, sizeof(*logits));
	int32_t *ids = some_ids(batch);
	size_t *rows = bench_memory(batch, sizeof(*rows));
	struct model_segment *segments = bench_memory(batch, sizeof(*segments));
	const struct model_sampling greedy = { 0, 1 };
	bench_need(model_kv_new(model, batch, tokens, &kv, &e), &e);
	double began = now();
	for (size_t t = 0; t < tokens; t++) {
		for (size_t i = 0; i < batch; i++) {
			segments[i] = (struct model_segment){ i, t, 1 };
			rows[i] = i;
		}
		bench_need(model_embed(run, x, ids, batch, &e), &e);
		bench_need(model_step(run, x, kv, segments, batch, NULL, &e), &e);
		bench_need(model_head(run, logits, x, rows, batch, &e), &e);
		for (size_t i = 0; i < batch; i++)
			bench_need(model_sample(logits + i * s->vocabulary, s->vocabulary, &greedy, 0, run, &ids[i]),
				   &e);
	}
	double took = now() - began;
	printf("decode batch %zu: %.1f tokens/s\n", batch, (double)(batch * tokens) / took);
	model_kv_destroy(&kv);
	free(x);
	free(logits);
	free(ids);
	free(rows);
	free(segments);
}

/* A training step's share of the model: 10 sequences of 17 tokens, 5 labels each. */
static void training(struct model *model, struct model_run *run)
{
	enum { SEGMENTS = 10, ROWS = 17, LABELS = 5 };
	const struct model_shape *s = model_shape_of(model);
	struct err e = ERR_INIT;
	struct model_segment segments[SEGMENTS];
	size_t rows[SEGMENTS * LABELS];
	int32_t labels[SEGMENTS * LABELS], argmax[SEGMENTS * LABELS];
	float loss[SEGMENTS * LABELS], scale[SEGMENTS * LABELS];
	int32_t *ids = some_ids(SEGMENTS * ROWS);
	float *y = bench_memory(SEGMENTS * ROWS * s->hidden, sizeof(*y)),
	      *dy = bench_memory(SEGMENTS * ROWS * s->hidden, sizeof(*dy));
	double best = 1e9;
	for (size_t i = 0; i < SEGMENTS; i++)
		segments[i] = (struct model_segment){ 0, 0, ROWS };
	for (size_t i = 0; i < SEGMENTS * LABELS; i++) {
		rows[i] = i / LABELS * ROWS + ROWS - LABELS - 1 + i % LABELS;
		labels[i] = ids[rows[i] + 1];
		scale[i] = 1.0f / (SEGMENTS * LABELS);
	}
	bench_need(model_embed(run, y, ids, SEGMENTS * ROWS, &e), &e);
	bench_need(model_layers(run, y, NULL, segments, SEGMENTS, 0, FROM, NULL, NULL, 0, &e), &e);
	for (int repeat = 0; repeat < 20; repeat++) {
		double began = now();
		bench_need(model_loss(run, loss, argmax, dy, y, segments, SEGMENTS, FROM, rows, labels, scale,
				      SEGMENTS * LABELS, &e),
			   &e);
		double took = now() - began;
		best = took < best ? took : best;
	}
	printf("model_loss %d rows, %d labels, layers %d on, forward and backward: %.1f ms\n", SEGMENTS * ROWS,
	       SEGMENTS * LABELS, FROM, 1e3 * best);
	free(ids);
	free(y);
	free(dy);
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct model *model = NULL;
	struct model_run *run = NULL;
	struct model_options options = { .backend = argc > 2 ? argv[2] : "cpu",
					 .thread_count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1,
					 .backward_from = FROM,
					 .stored_too = true,
					 .skip_digest = true };
	double began = now();
	bench_need(model_open(bench_model_path(), &options, &model, &e), &e);
	printf("%s: %s\nopen without digest: %.2f s\n", model_name(model),
	       model_backend_of(model)->ops->describe(model_backend_of(model)), now() - began);
	bench_need(model_run_new(model, 2048, &run, &e), &e);
	training(model, run);
	decode(model, run, 1, 48);
	decode(model, run, 4, 24);
	decode(model, run, 8, 24);
	decode(model, run, 16, 16);
	prefill(model, run, 60, 20);
	prefill(model, run, 1, 1024);
	model_run_destroy(&run);
	model_close(&model);
	return 0;
}
