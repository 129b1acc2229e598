/* calibration_key.c: keys of raw keys. A calibration's matrices are what a key reads: at 576 components 1 MB, which
 * comes from behind the second-level cache when an index was searched before. So they are kept in 16 bits a number as
 * well: integers, and a power of two for each row, where those are every number exactly, as the fitting rounds them
 * (editor__shorts_round). Sums are of float32, in the same order and with the same bits. */
#include "base/fault.h"
#include "editor/whiten.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void make_unit(float *key, size_t count)
{
	double square = 0;
	for (size_t j = 0; j < count; j++)
		square += (double)key[j] * (double)key[j];
	/* What overflowed, or is so small that its scale would. */
	const bool usable = isfinite(square) && square > 1e-70;
	const float scale = usable ? (float)(1.0 / sqrt(square)) : 0.0f;
	for (size_t j = 0; j < count; j++)
		key[j] = usable ? key[j] * scale : 0.0f;
}

#define ROWS ((size_t)4)

static void standardize(const float *raw, const float *mean, const float *deviation, size_t count, float *z)
{
#pragma omp simd
	for (size_t i = 0; i < count; i++)
		z[i] = (raw[i] - mean[i]) / deviation[i];
}

/* sum += z · row */
static void add_row(float *sum, float z, const float *row, size_t count)
{
	for (size_t j = 0; j < count; j++)
		sum[j] += z * row[j];
}

/* The same for ROWS rows one after the other, in their order: the sums are read and written once. Every element has its
 * own sum, so lanes do not change a bit. */
static inline __attribute__((always_inline)) void add_each(float *sum, const float *z, const float *rows, size_t count)
{
	const float *second = rows + count, *third = second + count, *fourth = third + count;
	const float a = z[0], b = z[1], c = z[2], d = z[3];
#pragma omp simd
	for (size_t j = 0; j < count; j++)
		sum[j] = sum[j] + a * rows[j] + b * second[j] + c * third[j] + d * fourth[j];
}

typedef void add_rows(float *sum, const float *z, const float *rows, size_t count);

static void add_rows_portable(float *sum, const float *z, const float *rows, size_t count)
{
	add_each(sum, z, rows, count);
}

typedef void add_shorts(float *sum, const float *z, const int16_t *rows, size_t count); /* add_each */

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

AVX2 static void add_rows_avx2(float *sum, const float *z, const float *rows, size_t count)
{
	add_each(sum, z, rows, count);
}

static add_rows *add_rows_of_processor(void)
{
	return __builtin_cpu_supports("avx2") ? add_rows_avx2 : add_rows_portable;
}

AVX2 static inline __m256 eight(const int16_t *shorts)
{
	return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)shorts)));
}

AVX2 static void add_shorts_avx2(float *sum, const float *z, const int16_t *rows, size_t count)
{
	const int16_t *second = rows + count, *third = second + count, *fourth = third + count;
	const __m256 a = _mm256_set1_ps(z[0]), b = _mm256_set1_ps(z[1]), c = _mm256_set1_ps(z[2]),
		     d = _mm256_set1_ps(z[3]);
	size_t j = 0;
	for (; j + 8 <= count; j += 8) {
		__m256 all = _mm256_add_ps(_mm256_loadu_ps(sum + j), _mm256_mul_ps(a, eight(rows + j)));
		all = _mm256_add_ps(all, _mm256_mul_ps(b, eight(second + j)));
		all = _mm256_add_ps(all, _mm256_mul_ps(c, eight(third + j)));
		_mm256_storeu_ps(sum + j, _mm256_add_ps(all, _mm256_mul_ps(d, eight(fourth + j))));
	}
	for (; j < count; j++)
		sum[j] = sum[j] + z[0] * rows[j] + z[1] * second[j] + z[2] * third[j] + z[3] * fourth[j];
}

#define AVX512 __attribute__((target("avx2,avx512f")))

AVX512 static inline __m512 sixteen(const int16_t *shorts)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)shorts)));
}

AVX512 static void add_shorts_avx512(float *sum, const float *z, const int16_t *rows, size_t count)
{
	const int16_t *second = rows + count, *third = second + count, *fourth = third + count;
	const __m512 a = _mm512_set1_ps(z[0]), b = _mm512_set1_ps(z[1]), c = _mm512_set1_ps(z[2]),
		     d = _mm512_set1_ps(z[3]);
	size_t j = 0;
	for (; j + 16 <= count; j += 16) {
		__m512 all = _mm512_add_ps(_mm512_loadu_ps(sum + j), _mm512_mul_ps(a, sixteen(rows + j)));
		all = _mm512_add_ps(all, _mm512_mul_ps(b, sixteen(second + j)));
		all = _mm512_add_ps(all, _mm512_mul_ps(c, sixteen(third + j)));
		_mm512_storeu_ps(sum + j, _mm512_add_ps(all, _mm512_mul_ps(d, sixteen(fourth + j))));
	}
	for (; j < count; j++)
		sum[j] = sum[j] + z[0] * rows[j] + z[1] * second[j] + z[2] * third[j] + z[3] * fourth[j];
}

/* NULL: the processor has nothing for it. */
static add_shorts *add_shorts_of_processor(void)
{
	if (!__builtin_cpu_supports("avx2"))
		return NULL;
	return __builtin_cpu_supports("avx512f") ? add_shorts_avx512 : add_shorts_avx2;
}
#else
static add_rows *add_rows_of_processor(void)
{
	return add_rows_portable;
}

static add_shorts *add_shorts_of_processor(void)
{
	return NULL;
}
#endif

static void add_row_shorts(float *sum, float z, const int16_t *row, size_t count)
{
	for (size_t j = 0; j < count; j++)
		sum[j] += z * row[j];
}

/* ---- Numbers of 16 bits */

#define SHORT_MAX 32767.0f

/* The power of two of which a row's numbers are multiples: the least that leaves room for the largest. 0: the largest
 * is out of all range. */
static float step_of(const float *row, size_t count)
{
	float largest = 0;
	int exponent;
	for (size_t i = 0; i < count; i++)
		largest = fabsf(row[i]) > largest ? fabsf(row[i]) : largest;
	if (largest == 0)
		return 1;
	if (!(largest > 0x1p-80f && largest < 0x1p80f))
		return 0;
	frexpf(largest, &exponent); /* largest < 2^exponent */
	const float step = ldexpf(1, exponent - 15);
	return nearbyintf(largest / step) <= SHORT_MAX ? step : 2 * step;
}

void editor__shorts_round(float *rows, size_t row_count, size_t width)
{
	for (size_t r = 0; r < row_count; r++) {
		float *row = rows + r * width;
		const float step = step_of(row, width);
		for (size_t i = 0; i < width && step > 0; i++)
			row[i] = nearbyintf(row[i] / step) * step + 0.0f; /* no −0 */
	}
}

/* Row `row` of `width` numbers as integers; false: one of them does not fit. */
static bool put_shorts(const float *row, size_t width, int16_t *out, float *step)
{
	*step = step_of(row, width);
	if (*step == 0)
		return false;
	for (size_t i = 0; i < width; i++) {
		const float whole = row[i] / *step;
		if (!(fabsf(whole) <= SHORT_MAX) || whole != nearbyintf(whole) || (whole == 0 && signbit(whole)))
			return false;
		out[i] = (int16_t)whole;
	}
	return true;
}

static struct editor_short_rows *short_rows_new(size_t row_count, size_t short_count)
{
	struct editor_short_rows *rows = fault_calloc(1, sizeof(*rows));
	if (rows == NULL)
		return NULL;
	rows->steps = fault_malloc((row_count + 1) * sizeof(*rows->steps));
	rows->shorts = fault_malloc((short_count + 1) * sizeof(*rows->shorts));
	if (rows->steps == NULL || rows->shorts == NULL)
		editor__short_rows_destroy(&rows);
	return rows;
}

void editor__short_rows_destroy(struct editor_short_rows **rows)
{
	if (*rows == NULL)
		return;
	free((*rows)->steps);
	free((*rows)->shorts);
	free(*rows);
	*rows = NULL;
}

/* ERR_NOMEM */
static int shorten(const float *rows, size_t row_count, size_t width, struct editor_short_rows **out)
{
	struct editor_short_rows *made = short_rows_new(row_count, row_count * width);
	if (made == NULL)
		return ERR_NOMEM;
	bool fits = true;
	for (size_t r = 0; r < row_count && fits; r++)
		fits = put_shorts(rows + r * width, width, made->shorts + r * width, &made->steps[r]);
	if (!fits)
		editor__short_rows_destroy(&made);
	*out = made;
	return 0;
}

int editor__calibration_shorten(struct editor_calibration *c, struct err *e)
{
	if (add_shorts_of_processor() == NULL)
		return 0;
	int rc = shorten(c->whiten, c->hidden, c->dims, &c->short_whiten);
	if (rc == 0 && c->relation.dims > 0)
		rc = shorten(c->relation.head, c->hidden, c->relation.dims, &c->relation.short_head);
	return rc != 0 ? err_set(e, rc, "calibration: out of memory") : 0;
}

/* z times the rows' steps; false: the products would lose bits that those with the rows' numbers have. */
static bool scaled(const struct editor_short_rows *rows, const float *z, size_t count, float *out)
{
	bool exact = true;
	for (size_t i = 0; i < count; i++) {
		out[i] = z[i] * rows->steps[i];
		exact = exact && (z[i] == 0 || fabsf(out[i]) >= FLT_MIN);
	}
	return exact;
}

/* ---- Keys */

static void apply(const float *rows, size_t row_count, size_t width, const float *z, float *key)
{
	add_rows *const add = add_rows_of_processor();
	size_t i = 0;
	for (; i + ROWS <= row_count; i += ROWS)
		add(key, z + i, rows + i * width, width);
	for (; i < row_count; i++)
		add_row(key, z[i], rows + i * width, width);
}

/* `steps`: z times the rows' steps */
static void apply_short(const int16_t *shorts, size_t row_count, size_t width, const float *steps, float *key)
{
	add_shorts *const add = add_shorts_of_processor();
	size_t i = 0;
	for (; i + ROWS <= row_count; i += ROWS)
		add(key, steps + i, shorts + i * width, width);
	for (; i < row_count; i++)
		add_row_shorts(key, steps[i], shorts + i * width, width);
}

/* key (width) = z · matrix */
static void transform(const float *rows, const struct editor_short_rows *short_rows, size_t row_count, size_t width,
		      const float *z, float *key)
{
	float steps[EDITOR_HIDDEN_MAX];
	memset(key, 0, width * sizeof(*key));
	if (short_rows != NULL && scaled(short_rows, z, row_count, steps))
		apply_short(short_rows->shorts, row_count, width, steps, key);
	else
		apply(rows, row_count, width, z, key);
}

void editor_calibration_key(const struct editor_calibration *c, const float *raw, float *key)
{
	float z[EDITOR_HIDDEN_MAX];
	standardize(raw, c->mean, c->deviation, c->hidden, z);
	transform(c->whiten, c->short_whiten, c->hidden, c->dims, z, key);
	make_unit(key, c->dims);
}

size_t editor_calibration_relation_dims(const struct editor_calibration *c)
{
	return c->relation.dims > 0 ? c->relation.dims : c->hidden;
}

void editor_calibration_relation_key(const struct editor_calibration *c, const float *raw, float *key)
{
	const size_t dims = editor_calibration_relation_dims(c);
	float z[EDITOR_HIDDEN_MAX];
	standardize(raw, c->relation.mean, c->relation.deviation, c->hidden, z);
	if (c->relation.dims == 0)
		memcpy(key, z, dims * sizeof(*z));
	else
		transform(c->relation.head, c->relation.short_head, c->hidden, dims, z, key);
	make_unit(key, dims);
}
