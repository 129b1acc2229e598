/* bench.h: what the programs of this folder share. */
#ifndef AMEND_BENCH_BENCH_H
#define AMEND_BENCH_BENCH_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

double bench_now_us(void);
/* To measure work of so many threads: of one thread its own processor time, which others' work on the machine does not
 * stretch. */
double bench_clock_us(size_t threads);
/* Of this process. */
size_t bench_resident_bytes(void);
/* Removes a folder with all that is in it. */
void bench_folder_remove(const char *path);
/* Prints the error and ends the program unless rc is 0. */
void bench_need(int rc, const struct err *e);
/* Zeros; free(). Ends the program when there are none. */
void *bench_memory(size_t items, size_t bytes);
/* Ours beside a baseline, measured in turn: `count` pairs, at most BENCH_PAIRS_MAX. Without a baseline (NULL) the bar
 * is of ours. */
#define BENCH_PAIRS_MAX 64
enum bench_sense { BENCH_AT_MOST, BENCH_AT_LEAST };
struct bench_pairs {
	const char *name, *unit, *baseline; /* what each of the pairs measures, and in what */
	double ours[BENCH_PAIRS_MAX], theirs[BENCH_PAIRS_MAX];
	size_t count;
	enum bench_sense sense;
	double bar; /* of ours / theirs; 0: none */
};
/* Prints medians and the ratio's median and quartiles, and appends a line of JSON to the file BENCH_RESULTS if that is
 * set (bench/run gathers them). BENCH_LABEL, if set, follows the name. */
void bench_report(const struct bench_pairs *pairs);
/* A line of a plot: x, and the median and quartiles of what was measured there. Sorts the samples. */
#define BENCH_POINTS_MAX 16
struct bench_curve {
	const char *plot, *series, *x, *y; /* x, y: what the axes say */
	double points[BENCH_POINTS_MAX][4];
	size_t count;
};
void bench_curve_add(struct bench_curve *curve, double x, double *samples, size_t sample_count);
void bench_curve_report(const struct bench_curve *curve); /* to BENCH_RESULTS */
/* Token ids of no text. */
void bench_ids(int32_t *ids, size_t count);
/* AMEND_MODEL, default ~/.cache/amend/…; valid until the next call. */
const char *bench_model_path(void);

#endif
