#include "daemon/eval_compare.h"

#include "base/fault.h"
#include "base/order.h"
#include "base/rng.h"
#include "editor/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Rows of a checkpoint */

struct row {
	const char *id; /* borrowed from the report */
	double sums[EDITOR_FIGURE_COUNT];
	uint32_t counts[EDITOR_FIGURE_COUNT]; /* seeds that measured it */
};
struct rows {
	struct row *items; /* by id */
	size_t count, cap;
};

static int compare_rows(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->id, ((const struct row *)b)->id);
}

static int add_row(struct rows *rows, const struct json *json, struct err *e)
{
	const char *id = json_string(json_get(json, "id"), NULL);
	if (id == NULL)
		return err_set(e, ERR_INVALID, "a row has no id");
	if (rows->count == rows->cap) {
		const size_t cap = rows->cap > 0 ? 2 * rows->cap : 128;
		struct row *grown = fault_realloc(rows->items, cap * sizeof(*grown));
		if (grown == NULL)
			return err_set(e, ERR_NOMEM, "out of memory for %zu rows", cap);
		rows->items = grown;
		rows->cap = cap;
	}
	struct row *row = &rows->items[rows->count++];
	memset(row, 0, sizeof(*row));
	row->id = id;
	for (size_t f = 0; f < EDITOR_FIGURE_COUNT; f++) {
		const struct json *value = json_get(json, editor_figure_names[f]);
		if (value == NULL || json_type(value) != JSON_NUMBER)
			continue;
		row->sums[f] = json_number(value);
		row->counts[f] = 1;
	}
	return 0;
}

/* Rows of one id are one row. */
static void unite(struct rows *rows)
{
	size_t kept = 0;
	if (rows->count > 0)
		qsort(rows->items, rows->count, sizeof(*rows->items), compare_rows);
	for (size_t i = 0; i < rows->count; i++) {
		if (kept == 0 || strcmp(rows->items[kept - 1].id, rows->items[i].id) != 0) {
			rows->items[kept++] = rows->items[i];
			continue;
		}
		for (size_t f = 0; f < EDITOR_FIGURE_COUNT; f++) {
			rows->items[kept - 1].sums[f] += rows->items[i].sums[f];
			rows->items[kept - 1].counts[f] += rows->items[i].counts[f];
		}
	}
	rows->count = kept;
}

/* A report's runs; the report itself when it is of one run. */
static size_t run_count(const struct json *report)
{
	const struct json *runs = json_get(report, "runs");
	return runs != NULL ? json_length(runs) : 1;
}

static const struct json *run_at(const struct json *report, size_t i)
{
	const struct json *runs = json_get(report, "runs");
	return runs != NULL ? json_at(runs, i) : report;
}

static int64_t edits_of(const struct json *run)
{
	return json_integer(json_get(run, "edits"));
}

/* The rows that a checkpoint took: of two with as many edits in force each is one of its own. Reports of earlier
 * programs do not tell them. */
static int64_t checkpoint_of(const struct json *run)
{
	const struct json *rows = json_get(run, "rows");
	return rows != NULL ? json_integer(rows) : edits_of(run);
}

static int read_rows(const struct json *report, int64_t checkpoint, struct rows *rows, struct err *e)
{
	static const char *const lists[] = { "details", "probes" };
	int rc = 0;
	for (size_t i = 0; i < run_count(report) && rc == 0; i++) {
		const struct json *run = run_at(report, i);
		if (checkpoint_of(run) != checkpoint)
			continue;
		for (size_t l = 0; l < 2; l++) {
			const struct json *list = json_get(run, lists[l]);
			for (size_t r = 0; r < json_length(list) && rc == 0; r++)
				rc = add_row(rows, json_at(list, r), e);
		}
	}
	unite(rows);
	return rc;
}

static int check_report(const struct json *report, const char *name, struct err *e)
{
	for (size_t i = 0; i < run_count(report); i++) {
		const struct json *run = run_at(report, i);
		if (!json_is_integer(json_get(run, "edits")))
			return err_set(e, ERR_INVALID, "%s: no report of `amend eval run`", name);
		if (json_length(json_get(run, "details")) == 0)
			return err_set(e, ERR_INVALID,
				       "%s: has no rows to compare: write it with --report, or with --details -o json",
				       name);
	}
	return run_count(report) > 0 ? 0 : err_set(e, ERR_INVALID, "%s: has no runs", name);
}

/* ---- Bootstrap */

struct sample { /* values of one figure; b NULL: a holds differences */
	double *a, *b;
	size_t a_count, b_count;
};

static double resampled_mean(const double *values, size_t count, struct rng *rng)
{
	double sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += values[rng_below(rng, count)];
	return sum / (double)count;
}

static bool is_constant(const double *values, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		if (memcmp(&values[i], &values[0], sizeof(values[0])) != 0)
			return false;
	}
	return true;
}

/* means: room for `resamples`. */
static void interval(const struct sample *s, size_t resamples, struct rng *rng, double *means, double *low,
		     double *high)
{
	if (s->b == NULL && is_constant(s->a, s->a_count)) {
		*low = *high = s->a[0];
		return;
	}
	for (size_t r = 0; r < resamples; r++) {
		means[r] = resampled_mean(s->a, s->a_count, rng);
		if (s->b != NULL)
			means[r] = resampled_mean(s->b, s->b_count, rng) - means[r];
	}
	qsort(means, resamples, sizeof(*means), order_double);
	*low = means[(size_t)(0.025 * (double)(resamples - 1))];
	*high = means[(size_t)ceil(0.975 * (double)(resamples - 1))];
}

/* ---- One figure */

struct comparison {
	struct rows a, b;
	double *x, *y, *means; /* room for the rows of a, of b and for the resamples */
	size_t resamples;
	uint64_t seed;
	struct json_w *w;
};

struct figure {
	double a, b, low, high;
	size_t rows;
	bool paired;
};

static double value_of(const struct row *row, size_t f)
{
	return row->sums[f] / (double)row->counts[f];
}

static size_t all_values(const struct rows *rows, size_t f, double *out)
{
	size_t n = 0;
	for (size_t i = 0; i < rows->count; i++) {
		if (rows->items[i].counts[f] > 0)
			out[n++] = value_of(&rows->items[i], f);
	}
	return n;
}

static double mean_of(const double *values, size_t count)
{
	double sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += values[i];
	return sum / (double)count;
}

/* Differences of the rows that both have, in x; their means. */
static size_t pair_up(const struct comparison *c, size_t f, struct figure *out)
{
	size_t n = 0, j = 0;
	double sum_a = 0, sum_b = 0;
	for (size_t i = 0; i < c->a.count; i++) {
		const struct row *a = &c->a.items[i];
		while (j < c->b.count && strcmp(c->b.items[j].id, a->id) < 0)
			j++;
		if (j == c->b.count || strcmp(c->b.items[j].id, a->id) != 0)
			continue;
		const struct row *b = &c->b.items[j];
		if (a->counts[f] == 0 || b->counts[f] == 0)
			continue;
		sum_a += value_of(a, f);
		sum_b += value_of(b, f);
		c->x[n++] = value_of(b, f) - value_of(a, f);
	}
	out->a = sum_a / (double)n;
	out->b = sum_b / (double)n;
	return n;
}

/* False: one of the two has not measured it. */
static bool compare_figure(const struct comparison *c, size_t f, struct figure *out)
{
	struct sample sample = { .a = c->x, .a_count = pair_up(c, f, out) };
	struct rng rng;
	out->paired = sample.a_count > 0;
	out->rows = sample.a_count;
	if (!out->paired) {
		sample = (struct sample){ c->x, c->y, all_values(&c->a, f, c->x), all_values(&c->b, f, c->y) };
		if (sample.a_count == 0 || sample.b_count == 0)
			return false;
		out->a = mean_of(sample.a, sample.a_count);
		out->b = mean_of(sample.b, sample.b_count);
		out->rows = sample.a_count < sample.b_count ? sample.a_count : sample.b_count;
	}
	rng_init(&rng, rng_derive(c->seed, f, 0));
	interval(&sample, c->resamples, &rng, c->means, &out->low, &out->high);
	return true;
}

static void put_figure(struct json_w *w, const char *name, const struct figure *figure)
{
	json_w_open(w, '{');
	json_w_member_str(w, "figure", name);
	json_w_member_real(w, "a", figure->a);
	json_w_member_real(w, "b", figure->b);
	json_w_member_real(w, "difference", figure->b - figure->a);
	json_w_member_real(w, "low", figure->low);
	json_w_member_real(w, "high", figure->high);
	json_w_member_uint(w, "rows", figure->rows);
	json_w_member_bool(w, "paired", figure->paired);
	json_w_close(w);
}

/* ---- Checkpoints */

static int compare_rows_of(struct comparison *c, const struct json *a, const struct json *b, struct err *e)
{
	struct figure figure;
	c->x = fault_calloc(c->a.count + 1, sizeof(*c->x));
	c->y = fault_calloc(c->b.count + 1, sizeof(*c->y));
	c->means = fault_calloc(c->resamples, sizeof(*c->means));
	if (c->x == NULL || c->y == NULL || c->means == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	json_w_open(c->w, '{');
	json_w_member_int(c->w, "t_a", checkpoint_of(a));
	json_w_member_int(c->w, "t_b", checkpoint_of(b));
	json_w_member_int(c->w, "edits_a", edits_of(a));
	json_w_member_int(c->w, "edits_b", edits_of(b));
	json_w_key(c->w, "figures");
	json_w_open(c->w, '[');
	for (size_t f = 0; f < EDITOR_FIGURE_COUNT; f++) {
		if (compare_figure(c, f, &figure))
			put_figure(c->w, editor_figure_names[f], &figure);
	}
	json_w_close(c->w);
	json_w_close(c->w);
	return 0;
}

/* Those of the runs `of_a` and `of_b`. */
static int compare_checkpoint(const struct json *a, const struct json *b, const struct json *of_a,
			      const struct json *of_b, size_t resamples, uint64_t seed, struct json_w *w, struct err *e)
{
	struct comparison c = { .resamples = resamples, .seed = seed, .w = w };
	int rc = read_rows(a, checkpoint_of(of_a), &c.a, e);
	if (rc == 0)
		rc = read_rows(b, checkpoint_of(of_b), &c.b, e);
	if (rc == 0)
		rc = compare_rows_of(&c, of_a, of_b, e);
	free(c.a.items);
	free(c.b.items);
	free(c.x);
	free(c.y);
	free(c.means);
	return rc;
}

/* The first of a report's first `before` runs at that checkpoint; NULL: none. */
static const struct json *run_of(const struct json *report, int64_t checkpoint, size_t before)
{
	for (size_t i = 0; i < before; i++) {
		if (checkpoint_of(run_at(report, i)) == checkpoint)
			return run_at(report, i);
	}
	return NULL;
}

static int compare_all(const struct json *a, const struct json *b, size_t resamples, uint64_t seed, struct json_w *w,
		       struct err *e)
{
	size_t shared = 0;
	int rc = 0;
	for (size_t i = 0; i < run_count(a) && rc == 0; i++) {
		const struct json *of_a = run_at(a, i);
		const struct json *of_b = run_of(b, checkpoint_of(of_a), run_count(b));
		if (run_of(a, checkpoint_of(of_a), i) != NULL || of_b == NULL)
			continue;
		rc = compare_checkpoint(a, b, of_a, of_b, resamples, seed, w, e);
		shared++;
	}
	if (rc != 0 || shared > 0)
		return rc;
	return compare_checkpoint(a, b, run_at(a, run_count(a) - 1), run_at(b, run_count(b) - 1), resamples, seed, w,
				  e);
}

int eval_compare(const struct json *a, const struct json *b, size_t resamples, uint64_t seed, struct buf *out,
		 struct err *e)
{
	struct json_w w;
	int rc = check_report(a, "A", e);
	if (rc == 0)
		rc = check_report(b, "B", e);
	if (rc == 0 && resamples == 0)
		rc = err_set(e, ERR_INVALID, "at least one resample");
	if (rc != 0)
		return rc;
	json_w_init(&w, out);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "resamples", resamples);
	json_w_member_uint(&w, "seed", seed);
	json_w_key(&w, "checkpoints");
	json_w_open(&w, '[');
	rc = compare_all(a, b, resamples, seed, &w, e);
	json_w_close(&w);
	json_w_close(&w);
	return rc == 0 && buf_failed(out) ? err_set(e, ERR_NOMEM, "out of memory") : rc;
}
