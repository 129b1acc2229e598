#include "model/gemm.h"

#include <dnnl.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>

static const char *describe(void)
{
	static char text[32];
	if (text[0] == '\0') {
		const dnnl_version_t *v = dnnl_version();
		snprintf(text, sizeof(text), "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
	}
	return text;
}

static int status_of(dnnl_status_t status)
{
	if (status == dnnl_out_of_memory)
		return ERR_NOMEM;
	return status == dnnl_success ? 0 : ERR_EXTERNAL;
}

/* oneDNN takes its thread count from the calling thread's OpenMP setting, and the split decides the rounding. */
static int multiply(float *c, const float *a, const float *b, bool ta, bool tb, float alpha, float beta, size_t m,
		    size_t n, size_t k, size_t thread_count)
{
	const int before = omp_get_max_threads();
	if (before != (int)thread_count)
		omp_set_num_threads((int)thread_count);
	const dnnl_status_t status = dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', (dnnl_dim_t)m, (dnnl_dim_t)n,
						(dnnl_dim_t)k, alpha, a, (dnnl_dim_t)(ta ? m : k), b,
						(dnnl_dim_t)(tb ? k : n), beta, c, (dnnl_dim_t)n);
	if (before != (int)thread_count)
		omp_set_num_threads(before);
	return status_of(status);
}

/* ---- Rows whose bits do not depend on the rows beside them (backend.h, weight_forward)
 *
 * With AVX-512 oneDNN multiplies fewer than sixteen rows by another kernel; from sixteen on, rows stand apart. Without
 * it the kernel takes rows in tiles of six, and rounds a last tile of one, two or three rows, and parts of calls of
 * more than CALL_ROWS rows, in another order. So rows are handed over in calls of 4, 5 or 6 rows more than a multiple
 * of six. Seven rows or fewer cannot always be divided so; the backend has a kernel of its own for
 * those. */

#define TILE       6u
#define TAIL_MAX   3u
#define CALL_ROWS  144u
#define SHARE_ROWS 12u /* of a thread, at least: with fewer oneDNN divides the product ... */
#define FEW_MAX    3u  /* ... over so many threads; more of them would divide the sums, too */

struct rows {
	float *c;
	const float *a, *b;
	float alpha, beta;
	size_t n, k, thread_count;
};

static int call_rows(const struct rows *r, size_t first, size_t count)
{
	return count == 0 ? 0
			  : multiply(r->c + first * r->n, r->a + first * r->k, r->b, false, true, r->alpha, r->beta,
				     count, r->n, r->k, r->thread_count);
}

/* At most CALL_ROWS rows. */
static int call_even(const struct rows *r, size_t first, size_t count)
{
	const size_t tail = count % TILE;
	if (count <= TILE + 1 || tail == 0 || tail > TAIL_MAX)
		return call_rows(r, first, count);
	/* 13 = 4 + 4 + 5, 8 = 4 + 4, 9 = 4 + 5 rows at the end */
	const size_t end = tail == 1 ? TILE + TILE + 1 : TILE + tail, last = end % 4 == 0 ? 4 : 5;
	int rc = call_rows(r, first, count - end);
	for (size_t at = count - end; rc == 0 && at < count - last; at += 4)
		rc = call_rows(r, first + at, 4);
	return rc == 0 ? call_rows(r, first + count - last, last) : rc;
}

/* A last call of seven rows or fewer takes tiles from the call before. */
static int call_part(const struct rows *r, size_t first, size_t count)
{
	int rc = 0;
	for (size_t at = 0, rows; at < count && rc == 0; at += rows) {
		rows = count - at < CALL_ROWS ? count - at : CALL_ROWS;
		if (count - at > CALL_ROWS && count - at <= CALL_ROWS + TILE + 1)
			rows -= 2 * TILE;
		rc = call_even(r, first + at, rows);
	}
	return rc;
}

static int call_shared(const struct rows *r, size_t m)
{
	const size_t most = m / SHARE_ROWS, parts = most < r->thread_count ? most : r->thread_count;
	struct rows own = *r;
	if (parts < 2) {
		own.thread_count = r->thread_count < FEW_MAX ? r->thread_count : FEW_MAX;
		return call_part(&own, 0, m);
	}
	const size_t tiles = m / TILE;
	int worst = 0;
	own.thread_count = 1;
#pragma omp parallel for num_threads((int)parts) schedule(static, 1) reduction(min : worst)
	for (size_t i = 0; i < parts; i++) {
		const size_t first = tiles * i / parts * TILE;
		const size_t end = i + 1 < parts ? tiles * (i + 1) / parts * TILE : m;
		const int rc = call_part(&own, first, end - first);
		worst = rc < worst ? rc : worst;
	}
	return worst;
}

static bool has_avx512(void)
{
	return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
}

static int product(float *c, const float *a, const float *b, bool ta, bool tb, float alpha, float beta, size_t m,
		   size_t n, size_t k, size_t thread_count)
{
	if (m > INT32_MAX || n > INT32_MAX || k > INT32_MAX)
		return ERR_LIMIT;
	if (ta || !tb || has_avx512())
		return multiply(c, a, b, ta, tb, alpha, beta, m, n, k, thread_count);
	const struct rows rows = { c, a, b, alpha, beta, n, k, thread_count };
	return call_shared(&rows, m);
}

const struct model__gemm model__gemm_dnnl = { describe, product };
