/* dot.h: dot products whose order of additions is written down, so that every compiler gives the same bits. Inside
 * editor/ only. */
#ifndef AMEND_EDITOR_DOT_H
#define AMEND_EDITOR_DOT_H

#include <stddef.h>

static inline float editor__dot_of_sums(const float sums[8])
{
	return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

/* Eight sums side by side: a compiler may not reorder one sum, and one chain of additions is slow. */
static inline float editor__dot(const float *a, const float *b, size_t n)
{
	float sums[8] = { 0 };
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		for (size_t j = 0; j < 8; j++)
			sums[j] += a[i + j] * b[i + j];
	}
	for (; i < n; i++)
		sums[0] += a[i] * b[i];
	return editor__dot_of_sums(sums);
}

static inline double editor__total(const double sums[8])
{
	return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

/* As editor__dot. */
static inline double editor__dot_double(const double *a, const double *b, size_t n)
{
	double sums[8] = { 0 };
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		for (size_t j = 0; j < 8; j++)
			sums[j] += a[i + j] * b[i + j];
	}
	for (; i < n; i++)
		sums[0] += a[i] * b[i];
	return editor__total(sums);
}

#endif
