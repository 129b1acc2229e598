#include "bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double bench_now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

double bench_clock_us(size_t threads)
{
	struct timespec t;
	clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
	return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

void bench_need(int rc, const struct err *e)
{
	if (rc == 0)
		return;
	fprintf(stderr, "bench: %s\n", e->text);
	exit(1);
}

void *bench_memory(size_t items, size_t bytes)
{
	void *p = calloc(items, bytes);
	if (p == NULL) {
		fprintf(stderr, "bench: out of memory\n");
		exit(1);
	}
	return p;
}

static int by_size(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t count, double share)
{
	const double at = share * (double)(count - 1);
	const size_t below = (size_t)at, above = below + 1 < count ? below + 1 : below;
	return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

static double median_of(const double *values, size_t count)
{
	double sorted[BENCH_PAIRS_MAX];
	memcpy(sorted, values, count * sizeof(*values));
	qsort(sorted, count, sizeof(*sorted), by_size);
	return quantile(sorted, count, 0.5);
}

static void append_json(const struct bench_pairs *p, const char *path, const double *ratios)
{
	FILE *file = fopen(path, "a");
	if (file == NULL) {
		fprintf(stderr, "bench: %s cannot be written\n", path);
		exit(1);
	}
	fprintf(file, "{\"name\": \"%s\", \"unit\": \"%s\", \"baseline\": \"%s\", \"sense\": \"%s\", \"bar\": %g",
		p->name, p->unit, p->baseline, p->sense == BENCH_AT_MOST ? "at most" : "at least", p->bar);
	const struct {
		const char *name;
		const double *values;
	} lists[] = { { "ours", p->ours }, { "theirs", p->theirs }, { "ratios", ratios } };
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		fprintf(file, ", \"%s\": [", lists[i].name);
		for (size_t k = 0; k < p->count; k++)
			fprintf(file, "%s%.6g", k > 0 ? ", " : "", lists[i].values[k]);
		fprintf(file, "]");
	}
	fprintf(file, "}\n");
	fclose(file);
}

void bench_report(const struct bench_pairs *p)
{
	double ratios[BENCH_PAIRS_MAX], sorted[BENCH_PAIRS_MAX];
	const char *path = getenv("BENCH_RESULTS");
	for (size_t i = 0; i < p->count; i++)
		ratios[i] = p->ours[i] / p->theirs[i];
	memcpy(sorted, ratios, p->count * sizeof(*ratios));
	qsort(sorted, p->count, sizeof(*sorted), by_size);
	printf("%s: %.4g %s, %s %.4g: ratio %.3g [%.3g, %.3g]", p->name, median_of(p->ours, p->count), p->unit,
	       p->baseline, median_of(p->theirs, p->count), quantile(sorted, p->count, 0.5),
	       quantile(sorted, p->count, 0.25), quantile(sorted, p->count, 0.75));
	if (p->bar > 0)
		printf(", bar: %s %g", p->sense == BENCH_AT_MOST ? "at most" : "at least", p->bar);
	printf("\n");
	fflush(stdout);
	if (path != NULL && path[0] != '\0')
		append_json(p, path, ratios);
}

void bench_ids(int32_t *ids, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ids[i] = (int32_t)(1000 + i * 7919 % 40000);
}

const char *bench_model_path(void)
{
	static char path[512];
	const char *given = getenv("AMEND_MODEL"), *home = getenv("HOME");
	if (given != NULL && given[0] != '\0')
		snprintf(path, sizeof(path), "%s", given);
	else
		snprintf(path, sizeof(path), "%s/.cache/amend/SmolLM2-135M-Instruct.Q4_1.gguf",
			 home == NULL ? "" : home);
	return path;
}
