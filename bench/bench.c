#include "bench/bench.h"

#include "base/buf.h"

#include <ftw.h>
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

size_t bench_resident_bytes(void)
{
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	size_t bytes = 0;
	if (file_read("/proc/self/status", 1 << 16, &text, &e) == 0) {
		const char *at = strstr(buf_cstr(&text), "VmRSS:");
		bytes = at == NULL ? 0 : strtoul(at + 6, NULL, 10) * 1024;
	}
	buf_free(&text);
	return bytes;
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at)
{
	(void)s, (void)type, (void)at;
	return remove(path);
}

void bench_folder_remove(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
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

static const char *label(void)
{
	const char *given = getenv("BENCH_LABEL");
	return given == NULL ? "" : given;
}

static FILE *results_open(void)
{
	const char *path = getenv("BENCH_RESULTS");
	if (path == NULL || path[0] == '\0')
		return NULL;
	FILE *file = fopen(path, "a");
	if (file == NULL) {
		fprintf(stderr, "bench: %s cannot be written\n", path);
		exit(1);
	}
	return file;
}

static void append_list(FILE *file, const char *name, const double *values, size_t count)
{
	fprintf(file, ", \"%s\": [", name);
	for (size_t k = 0; k < count; k++)
		fprintf(file, "%s%.6g", k > 0 ? ", " : "", values[k]);
	fprintf(file, "]");
}

static void append_json(const struct bench_pairs *p, const double *ratios)
{
	FILE *file = results_open();
	if (file == NULL)
		return;
	fprintf(file, "{\"name\": \"%s%s\", \"unit\": \"%s\"", p->name, label(), p->unit);
	if (p->bar > 0)
		fprintf(file, ", \"sense\": \"%s\", \"bar\": %g", p->sense == BENCH_AT_MOST ? "at most" : "at least",
			p->bar);
	append_list(file, "ours", p->ours, p->count);
	if (p->baseline != NULL) {
		fprintf(file, ", \"baseline\": \"%s\"", p->baseline);
		append_list(file, "theirs", p->theirs, p->count);
		append_list(file, "ratios", ratios, p->count);
	}
	fprintf(file, "}\n");
	fclose(file);
}

void bench_report(const struct bench_pairs *p)
{
	double ratios[BENCH_PAIRS_MAX], sorted[BENCH_PAIRS_MAX];
	for (size_t i = 0; i < p->count; i++)
		ratios[i] = p->baseline == NULL ? p->ours[i] : p->ours[i] / p->theirs[i];
	memcpy(sorted, ratios, p->count * sizeof(*ratios));
	qsort(sorted, p->count, sizeof(*sorted), by_size);
	printf("%s%s: %.4g %s", p->name, label(), median_of(p->ours, p->count), p->unit);
	if (p->baseline != NULL)
		printf(", %s %.4g: ratio %.3g", p->baseline, median_of(p->theirs, p->count),
		       quantile(sorted, p->count, 0.5));
	printf(" [%.3g, %.3g]", quantile(sorted, p->count, 0.25), quantile(sorted, p->count, 0.75));
	if (p->bar > 0)
		printf(", bar: %s %g", p->sense == BENCH_AT_MOST ? "at most" : "at least", p->bar);
	printf("\n");
	fflush(stdout);
	append_json(p, ratios);
}

void bench_curve_add(struct bench_curve *curve, double x, double *samples, size_t sample_count)
{
	if (curve->count == BENCH_POINTS_MAX)
		return;
	double *point = curve->points[curve->count++];
	qsort(samples, sample_count, sizeof(*samples), by_size);
	point[0] = x;
	point[1] = quantile(samples, sample_count, 0.5);
	point[2] = quantile(samples, sample_count, 0.25);
	point[3] = quantile(samples, sample_count, 0.75);
}

void bench_curve_report(const struct bench_curve *curve)
{
	FILE *file = results_open();
	if (file == NULL)
		return;
	fprintf(file, "{\"plot\": \"%s\", \"series\": \"%s\", \"x\": \"%s\", \"y\": \"%s\", \"points\": [", curve->plot,
		curve->series, curve->x, curve->y);
	for (size_t i = 0; i < curve->count; i++)
		fprintf(file, "%s[%.6g, %.6g, %.6g, %.6g]", i > 0 ? ", " : "", curve->points[i][0], curve->points[i][1],
			curve->points[i][2], curve->points[i][3]);
	fprintf(file, "]}\n");
	fclose(file);
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
