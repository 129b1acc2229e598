#include "editor/fixed.h"

#include <math.h>
#include <string.h>

#define FIXED_LIMIT  9.2e18 /* below 2^63 by more than a double's rounding there */
#define QUICK_LIMIT  0x1p51 /* rounded by adding MAGIC: to nearest, ties to even, as llrint does */
#define MAGIC        0x1.8p52
#define GATHER_ITEMS 512u /* of every array in turn: they stay in the first cache until the sum is put there */

#define ALWAYS_INLINE static inline __attribute__((always_inline)) /* for the instructions of who calls */

ALWAYS_INLINE uint64_t bits_of(double value)
{
	uint64_t bits;
	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* The sign of `bad` is set where something is wrong. */
ALWAYS_INLINE bool add_block(int64_t *fixed, const float *values)
{
	int64_t sums[EDITOR__FIXED_BLOCK], bad = 0;
#pragma omp simd reduction(| : bad)
	for (size_t i = 0; i < EDITOR__FIXED_BLOCK; i++) {
		const double scaled = (double)values[i] * EDITOR_FIXED_SCALE;
		const int64_t add = (int64_t)(bits_of(scaled + MAGIC) - bits_of(MAGIC)); /* of any bits: wraps */
		sums[i] = (int64_t)((uint64_t)fixed[i] + (uint64_t)add);
		bad |= (fixed[i] ^ sums[i]) & (add ^ sums[i]);
		bad |= fabs(scaled) < QUICK_LIMIT ? 0 : INT64_MIN;
	}
	if (bad < 0)
		return false;
	memcpy(fixed, sums, sizeof(sums));
	return true;
}

ALWAYS_INLINE uint64_t gather(int64_t *sums, const int64_t *values, size_t count)
{
	uint64_t bits = 0;
#pragma omp simd reduction(| : bits)
	for (size_t i = 0; i < count; i++) {
		bits |= (uint64_t)(values[i] < 0 ? ~values[i] : values[i]);
		sums[i] = (int64_t)((uint64_t)sums[i] + (uint64_t)values[i]);
	}
	return bits;
}

static bool add_portable(int64_t *fixed, const float *values)
{
	return add_block(fixed, values);
}

static uint64_t gather_portable(int64_t *sums, const int64_t *values, size_t count)
{
	return gather(sums, values, count);
}

static const struct editor__fixed_kernel portable = { "portable", add_portable, gather_portable };

#if defined(__x86_64__)
__attribute__((target("avx2"))) static bool add_avx2(int64_t *fixed, const float *values)
{
	return add_block(fixed, values);
}

__attribute__((target("avx2"))) static uint64_t gather_avx2(int64_t *sums, const int64_t *values, size_t count)
{
	return gather(sums, values, count);
}

#define AVX512 __attribute__((target("avx512f,avx512dq")))

AVX512 static bool add_avx512(int64_t *fixed, const float *values)
{
	return add_block(fixed, values);
}

AVX512 static uint64_t gather_avx512(int64_t *sums, const int64_t *values, size_t count)
{
	return gather(sums, values, count);
}

static const struct editor__fixed_kernel avx2 = { "avx2", add_avx2, gather_avx2 },
					 avx512 = { "avx512", add_avx512, gather_avx512 };
#endif

const struct editor__fixed_kernel *editor__fixed_kernel_of(const char *name)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
	    (name == NULL || strcmp(name, avx512.name) == 0))
		return &avx512;
	if (__builtin_cpu_supports("avx2") && (name == NULL || strcmp(name, avx2.name) == 0))
		return &avx2;
#endif
	return name == NULL || strcmp(name, portable.name) == 0 ? &portable : NULL;
}

/* ---- One rank's */

int editor__fixed_add_one(int64_t *fixed, double value, size_t index, struct err *e)
{
	double scaled = value * EDITOR_FIXED_SCALE;
	if (!(fabs(scaled) < FIXED_LIMIT))
		return err_set(e, ERR_LIMIT, "merge: entry %zu is %g, fixed point holds ±8.3e6", index, value);
	if (__builtin_add_overflow(*fixed, (int64_t)llrint(scaled), fixed))
		return err_set(e, ERR_LIMIT, "merge: the sum of entry %zu is over ±8.3e6", index);
	return 0;
}

int editor__fixed_add(const struct editor__fixed_kernel *kernel, int64_t *fixed, const float *values, size_t count,
		      struct err *e)
{
	int rc = 0;
	for (size_t at = 0, next; rc == 0 && at < count; at = next) {
		next = at + EDITOR__FIXED_BLOCK < count ? at + EDITOR__FIXED_BLOCK : count;
		if (next - at == EDITOR__FIXED_BLOCK && kernel->add(fixed + at, values + at))
			continue;
		for (size_t i = at; rc == 0 && i < next; i++)
			rc = editor__fixed_add_one(&fixed[i], (double)values[i], i, e);
	}
	return rc;
}

int editor_fixed_add(int64_t *fixed, const float *values, size_t count, struct err *e)
{
	return editor__fixed_add(editor__fixed_kernel_of(NULL), fixed, values, count, e);
}

void editor_fixed_to_float(const int64_t *fixed, double factor, size_t count, float *out)
{
	for (size_t i = 0; i < count; i++)
		out[i] = (float)((double)fixed[i] / EDITOR_FIXED_SCALE * factor);
}

/* ---- All ranks' */

uint64_t editor_fixed_largest(const int64_t *values, size_t count)
{
	uint64_t largest = 0;
	for (size_t i = 0; i < count; i++) {
		const uint64_t magnitude = values[i] < 0 ? UINT64_C(0) - (uint64_t)values[i] : (uint64_t)values[i];
		largest = magnitude > largest ? magnitude : largest;
	}
	return largest;
}

uint64_t editor__fixed_gather(const struct editor__fixed_kernel *kernel, int64_t *const *arrays, size_t count,
			      size_t from, size_t to, uint64_t limit)
{
	_Alignas(64) int64_t sums[GATHER_ITEMS];
	uint64_t over = 0;
	for (size_t at = from; at < to; at += GATHER_ITEMS) {
		const size_t items = to - at < GATHER_ITEMS ? to - at : GATHER_ITEMS;
		memset(sums, 0, items * sizeof(*sums));
		for (size_t a = 0; a < count; a++) {
			if (kernel->gather(sums, arrays[a] + at, items) < limit)
				continue;
			const uint64_t largest = editor_fixed_largest(arrays[a] + at, items);
			over = largest > limit && largest > over ? largest : over;
		}
		for (size_t a = 0; a < count; a++)
			memcpy(arrays[a] + at, sums, items * sizeof(*sums));
	}
	return over;
}

uint64_t editor_fixed_gather(int64_t *const *arrays, size_t count, size_t from, size_t to, uint64_t limit)
{
	return editor__fixed_gather(editor__fixed_kernel_of(NULL), arrays, count, from, to, limit);
}
