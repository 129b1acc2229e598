/* bench_turn: the engine as a node opens it, told by its standard input what to do next and how long that took on its
 * standard output, so that it can be measured in turn with another program (bench/beside.py). A line in, seconds out:
 *   prefill TOKENS               one prompt, to the scores of its last token
 *   decode SEQUENCES STEPS       greedy steps of so many sequences, behind a token each; seconds of one step
 *   products ROWS HEAD-ROWS      every matrix product of that many rows by itself, by packed weights
 *   stored ROWS                  the same as decoding has them, by weights as the file stores them
 *   train                        the model's share of a training step: ten sequences of 17 tokens with five labels
 *                                each, forwards and backwards through the layers above the edited one
 * One thread is measured in its own processor time, which others' work on the machine does not stretch.
 * usage: bench_turn [THREADS [BACKEND]]   (the model file from AMEND_MODEL, default ~/.cache/amend/…) */
#include "bench/bench.h"
#include "bench/products.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX       512u
#define SEQUENCES_MAX  64u
#define STEPS_MAX      512u
#define SEGMENTS       10u /* of a training step */
#define SEGMENT_ROWS   17u
#define SEGMENT_LABELS 5u

struct turns {
	struct model *model;
	struct model_run *run;
	struct model_kv *kv;
	float *x, *logits;
	struct products packed, stored; /* opened when they are first asked for, as are the next two */
	struct model *trained;          /* with what the backward products need */
	struct model_run *training;
	const char *backend;
	size_t threads;
};

static double now(const struct turns *t)
{
	return 1e-6 * bench_clock_us(t->threads);
}

static double prefill(struct turns *t, size_t rows)
{
	const struct model_shape *s = model_shape_of(t->model);
	const struct model_segment whole = { .row_count = rows };
	const size_t last = rows - 1;
	struct err e = ERR_INIT;
	int32_t ids[ROWS_MAX];
	bench_ids(ids, rows);
	const double began = now(t);
	bench_need(model_embed(t->run, t->x, ids, rows, &e), &e);
	bench_need(model_layers(t->run, t->x, t->kv, &whole, 1, 0, s->layers, NULL, NULL, 0, &e), &e);
	bench_need(model_head(t->run, t->logits, t->x, &last, 1, &e), &e);
	return now(t) - began;
}

static double decode(struct turns *t, size_t count, size_t steps)
{
	const struct model_shape *s = model_shape_of(t->model);
	const struct model_sampling greedy = { 0, 1 };
	struct model_segment segments[SEQUENCES_MAX];
	int32_t ids[SEQUENCES_MAX];
	size_t rows[SEQUENCES_MAX];
	struct err e = ERR_INIT;
	bench_ids(ids, count);
	const double began = now(t);
	for (size_t step = 0; step < steps; step++) {
		for (size_t i = 0; i < count; i++) {
			segments[i] = (struct model_segment){ i, step, 1 };
			rows[i] = i;
		}
		bench_need(model_embed(t->run, t->x, ids, count, &e), &e);
		bench_need(model_step(t->run, t->x, t->kv, segments, count, NULL, &e), &e);
		bench_need(model_head(t->run, t->logits, t->x, rows, count, &e), &e);
		for (size_t i = 0; i < count; i++)
			bench_need(
				model_sample(t->logits + i * s->vocabulary, s->vocabulary, &greedy, 0, t->run, &ids[i]),
				&e);
	}
	return (now(t) - began) / (double)steps;
}

static double products(struct turns *t, struct products *p, bool stored, size_t rows, size_t head_rows)
{
	if (p->count == 0) {
		products_open(p, bench_model_path(), t->backend, t->threads, stored, ROWS_MAX);
		products_run(p, rows, head_rows); /* warms up */
	}
	const double began = now(t);
	products_run(p, rows, head_rows);
	return now(t) - began;
}

static size_t above_edited(const struct model_shape *s)
{
	return s->layers * 26 / 30;
}

static void training_open(struct turns *t)
{
	const struct model_options options = { .backend = t->backend,
					       .thread_count = t->threads,
					       .backward_from = above_edited(model_shape_of(t->model)),
					       .skip_digest = true };
	struct err e = ERR_INIT;
	bench_need(model_open(bench_model_path(), &options, &t->trained, &e), &e);
	bench_need(model_run_new(t->trained, SEGMENTS * SEGMENT_ROWS, &t->training, &e), &e);
}

static double train(struct turns *t)
{
	enum { ROWS = SEGMENTS * SEGMENT_ROWS, LABELS = SEGMENTS * SEGMENT_LABELS };
	struct model_segment segments[SEGMENTS];
	size_t rows[LABELS];
	int32_t ids[ROWS], labels[LABELS], argmax[LABELS];
	float loss[LABELS], scale[LABELS];
	struct err e = ERR_INIT;
	if (t->trained == NULL)
		training_open(t);
	const struct model_shape *s = model_shape_of(t->trained);
	float *y = bench_memory(ROWS * s->hidden, sizeof(*y)), *dy = bench_memory(ROWS * s->hidden, sizeof(*dy));
	bench_ids(ids, ROWS);
	for (size_t i = 0; i < SEGMENTS; i++)
		segments[i] = (struct model_segment){ 0, 0, SEGMENT_ROWS };
	for (size_t i = 0; i < LABELS; i++) {
		rows[i] = i / SEGMENT_LABELS * SEGMENT_ROWS + SEGMENT_ROWS - SEGMENT_LABELS - 1 + i % SEGMENT_LABELS;
		labels[i] = ids[rows[i] + 1];
		scale[i] = 1.0f / LABELS;
	}
	bench_need(model_embed(t->training, y, ids, ROWS, &e), &e);
	const double began = now(t);
	bench_need(model_loss(t->training, loss, argmax, dy, y, segments, SEGMENTS, above_edited(s), rows, labels,
			      scale, LABELS, &e),
		   &e);
	const double took = now(t) - began;
	free(y);
	free(dy);
	return took;
}

/* False: it asks for nothing that is known. */
static bool answer(struct turns *t, const char *line, double *seconds)
{
	size_t a = 0, b = 0;
	if (sscanf(line, "prefill %zu", &a) == 1 && a >= 1 && a <= ROWS_MAX)
		*seconds = prefill(t, a);
	else if (sscanf(line, "decode %zu %zu", &a, &b) == 2 && a >= 1 && a <= SEQUENCES_MAX && b >= 1 &&
		 b <= STEPS_MAX)
		*seconds = decode(t, a, b);
	else if (sscanf(line, "products %zu %zu", &a, &b) == 2 && a >= 1 && a <= ROWS_MAX && b >= 1 && b <= ROWS_MAX)
		*seconds = products(t, &t->packed, false, a, b);
	else if (sscanf(line, "stored %zu", &a) == 1 && a >= 1 && a <= SEQUENCES_MAX)
		*seconds = products(t, &t->stored, true, a, a);
	else if (strcmp(line, "train\n") == 0)
		*seconds = train(t);
	else
		return false;
	return true;
}

static void open_all(struct turns *t)
{
	const struct model_options options = { .backend = t->backend,
					       .thread_count = t->threads,
					       .backward_from = SIZE_MAX,
					       .stored_too = true,
					       .head_stored_only = true,
					       .skip_digest = true };
	struct err e = ERR_INIT;
	bench_need(model_open(bench_model_path(), &options, &t->model, &e), &e);
	bench_need(model_run_new(t->model, ROWS_MAX, &t->run, &e), &e);
	bench_need(model_kv_new(t->model, SEQUENCES_MAX, ROWS_MAX, &t->kv, &e), &e);
	const struct model_shape *s = model_shape_of(t->model);
	t->x = bench_memory(ROWS_MAX * s->hidden, sizeof(*t->x));
	t->logits = bench_memory(SEQUENCES_MAX * s->vocabulary, sizeof(*t->logits));
	printf("%s: %s\n", model_name(t->model), model_backend_of(t->model)->ops->describe(model_backend_of(t->model)));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct turns t = { .threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 1,
			   .backend = argc > 2 ? argv[2] : "cpu" };
	char line[128];
	double seconds;
	int status = 0;
	open_all(&t);
	while (status == 0 && fgets(line, sizeof(line), stdin) != NULL) {
		if (answer(&t, line, &seconds)) {
			printf("%.9f\n", seconds);
			fflush(stdout);
		} else {
			fprintf(stderr, "bench_turn: cannot do this: %s", line);
			status = 2;
		}
	}
	if (t.packed.count > 0)
		products_close(&t.packed);
	if (t.stored.count > 0)
		products_close(&t.stored);
	model_run_destroy(&t.training);
	model_close(&t.trained);
	free(t.x);
	free(t.logits);
	model_kv_destroy(&t.kv);
	model_run_destroy(&t.run);
	model_close(&t.model);
	return status;
}
