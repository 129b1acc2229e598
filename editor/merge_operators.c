/* Merging finished deltas without training (merge.h). */
#include "editor/merge_internal.h"

#include "base/fault.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SIGN             UINT32_C(0x80000000) /* of a float */
#define SLERP_LENGTH_MIN 0.0158               /* √((1 − 0.9995) / 2): the directions of two deltas are opposite */

struct merge {
	struct editor_reduce *reduce;
	const struct editor_merge_how *how;
	const float *const *deltas;
	const uint64_t *shard_ids;
	size_t delta_count, element_count, total; /* total: deltas over all ranks */
	uint32_t *thresholds;                     /* of trimming, one a delta */
	float *kept;                              /* a delta after trimming or dropping */
	int64_t *sum, *also;
	uint32_t *elected; /* the sign's bit */
};

/* ---- What is kept of a delta */

static uint32_t magnitude_bits(float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof(bits));
	return bits & ~SIGN; /* ordered like the magnitudes */
}

/* The digit (16 bits) in which the k-th largest of the values whose high digit is `high` lies (all values when high <
 * 0). *k becomes its rank within that digit. */
static uint32_t select_digit(const float *values, size_t count, int64_t high, size_t *k, size_t *histogram)
{
	memset(histogram, 0, 65536 * sizeof(*histogram));
	for (size_t i = 0; i < count; i++) {
		uint32_t bits = magnitude_bits(values[i]);
		if (high < 0)
			histogram[bits >> 16]++;
		else if (bits >> 16 == (uint32_t)high)
			histogram[bits & 0xFFFF]++;
	}
	uint32_t digit = 65535;
	while (digit > 0 && histogram[digit] < *k)
		*k -= histogram[digit--];
	return digit;
}

/* Magnitude (as bits) of the int(density · n)-th largest entry; UINT32_MAX when none is kept. */
static int trim_threshold(const float *values, size_t count, double density, bool nonzero, uint32_t *threshold,
			  struct err *e)
{
	size_t zeros = 0;
#pragma omp simd reduction(+ : zeros)
	for (size_t i = 0; i < count; i++)
		zeros += values[i] == 0.0f;
	const size_t n = nonzero ? count - zeros : count;
	size_t k = (size_t)(density * (double)n);
	*threshold = UINT32_MAX;
	if (k == 0)
		return 0;
	size_t *histogram = fault_malloc(65536 * sizeof(*histogram));
	if (histogram == NULL)
		return err_set(e, ERR_NOMEM, "merge: out of memory");
	uint32_t high = select_digit(values, count, -1, &k, histogram);
	uint32_t low = select_digit(values, count, (int64_t)high, &k, histogram);
	free(histogram);
	*threshold = high << 16 | low;
	return 0;
}

static bool drops(enum merge_operator operator)
{
	return operator== MERGE_DARE || operator== MERGE_DARE_TIES;
}

static int find_thresholds(struct merge *m, struct err *e)
{
	int rc = 0;
	for (size_t d = 0; m->how->operator== MERGE_TIES && rc == 0 && d<m->delta_count; d++)
		rc = trim_threshold(m->deltas[d], m->element_count, m->how->density, m->how->trim_nonzero,
				    &m->thresholds[d], e);
	return rc;
}

/* Drop and rescale (Yu et al. 2024, eq. 2–3). */
static void drop(struct merge *m, size_t d)
{
	struct rng rng;
	float scale = (float)(1.0 / m->how->density);
	rng_init(&rng, rng_derive(m->how->seed, m->shard_ids[d], 0));
	for (size_t i = 0; i < m->element_count; i++)
		m->kept[i] = rng_uniform(&rng) < (float)m->how->density ? m->deltas[d][i] * scale : 0.0f;
}

static void keep(struct merge *m, size_t d)
{
	if (drops(m->how->operator)) {
		drop(m, d);
		return;
	}
	const float *delta = m->deltas[d];
	const uint32_t threshold = m->thresholds[d];
#pragma omp simd
	for (size_t i = 0; i < m->element_count; i++)
		m->kept[i] = magnitude_bits(delta[i]) >= threshold ? delta[i] : 0.0f;
}

/* ---- The operators */

static int sum_kept(struct merge *m, struct err *e)
{
	int rc = 0;
	for (size_t d = 0; rc == 0 && d < m->delta_count; d++) {
		keep(m, d);
		rc = editor_fixed_add(m->sum, m->kept, m->element_count, e);
	}
	return rc;
}

/* sum ← Σ kept over all ranks. */
static int reduce_kept(struct merge *m, struct err *e)
{
	int rc = editor__merge_agree(m->reduce, sum_kept(m, e), NULL, 0, e);
	return rc == 0 ? m->reduce->sum(m->reduce, m->sum, m->element_count, e) : rc;
}

/* Counts the kept entries that agree with the elected sign, and drops the others. */
static void keep_agreeing(struct merge *m)
{
	float *kept = m->kept;
	int64_t *also = m->also;
	const uint32_t *elected = m->elected;
#pragma omp simd
	for (size_t i = 0; i < m->element_count; i++) {
		uint32_t bits;
		memcpy(&bits, &kept[i], sizeof(bits));
		const uint32_t agrees = bits << 1 != 0 && (bits ^ elected[i]) < SIGN ? UINT32_MAX : 0;
		also[i] += agrees & 1;
		bits &= agrees;
		memcpy(&kept[i], &bits, sizeof(bits));
	}
}

/* Sums and counts what agrees with the elected sign; the sums cannot overflow after those of all kept entries fitted,
 * but are checked. */
static int sum_agreeing(struct merge *m, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < m->element_count; i++) {
		m->elected[i] = m->sum[i] < 0 ? SIGN : 0;
		m->sum[i] = m->also[i] = 0;
	}
	for (size_t d = 0; rc == 0 && d < m->delta_count; d++) {
		keep(m, d);
		keep_agreeing(m);
		rc = editor_fixed_add(m->sum, m->kept, m->element_count, e);
	}
	return rc;
}

static int with_elected_sign(struct merge *m, float *out, struct err *e)
{
	int rc = reduce_kept(m, e);
	if (rc == 0)
		rc = editor__merge_agree(m->reduce, sum_agreeing(m, e), NULL, 0, e);
	if (rc == 0)
		rc = m->reduce->sum(m->reduce, m->sum, m->element_count, e);
	if (rc == 0)
		rc = m->reduce->sum(m->reduce, m->also, m->element_count, e);
	for (size_t i = 0; rc == 0 && i < m->element_count; i++) {
		double agreeing = m->also[i] > 0 ? (double)m->also[i] : 1.0;
		double count = m->how->operator== MERGE_DARE_TIES ? (double)m->total : agreeing;
		out[i] = (float)((double)m->sum[i] / EDITOR_FIXED_SCALE / count);
	}
	return rc;
}

static int linear(struct merge *m, float *out, struct err *e)
{
	int rc = reduce_kept(m, e);
	if (rc == 0)
		editor_fixed_to_float(m->sum, 1.0 / (double)m->total, m->element_count, out);
	return rc;
}

static int sum_directions(struct merge *m, struct err *e)
{
	int rc = 0;
	for (size_t d = 0; rc == 0 && d < m->delta_count; d++) {
		double square = 0;
		for (size_t i = 0; i < m->element_count; i++)
			square += (double)m->deltas[d][i] * (double)m->deltas[d][i];
		double scale = square > 0 ? 1.0 / sqrt(square) : 0.0;
		for (size_t i = 0; i < m->element_count; i++)
			m->kept[i] = (float)((double)m->deltas[d][i] * scale);
		rc = editor_fixed_add(m->also, m->kept, m->element_count, e);
	}
	return rc;
}

static int spherical(struct merge *m, float *out, struct err *e)
{
	double square = 0;
	int rc = linear(m, out, e);
	if (rc == 0)
		rc = editor__merge_agree(m->reduce, sum_directions(m, e), NULL, 0, e);
	if (rc == 0)
		rc = m->reduce->sum(m->reduce, m->also, m->element_count, e);
	for (size_t i = 0; rc == 0 && i < m->element_count; i++) {
		double mean = (double)m->also[i] / EDITOR_FIXED_SCALE / (double)m->total;
		square += mean * mean;
	}
	double length = sqrt(square);
	for (size_t i = 0; rc == 0 && length >= SLERP_LENGTH_MIN && i < m->element_count; i++)
		out[i] = (float)((double)out[i] / length);
	return rc;
}

static int run(struct merge *m, float *out, struct err *e)
{
	switch (m->how->operator) {
	case MERGE_TIES:
	case MERGE_SIGN:
	case MERGE_DARE_TIES:
		return with_elected_sign(m, out, e);
	case MERGE_SLERP:
		return spherical(m, out, e);
	default:
		return linear(m, out, e);
	}
}

static int check(const struct editor_merge_how *how, struct err *e)
{
	double density = how->density;
	if (how->operator<= MERGE_ROUNDS || how->operator>= MERGE_OPERATOR_COUNT)
		return err_set(e, ERR_INVALID, "merge: operator %d puts no finished deltas together", how->operator);
	if ((how->operator== MERGE_TIES && !(density >= 0.0 && density <= 1.0)) ||
	    (drops(how->operator) && !(density > 0.0 && density <= 1.0)))
		return err_set(e, ERR_INVALID, "merge: density %g: it may be 0 to 1", density);
	return 0;
}

static int prepare(struct merge *m, struct err *e)
{
	int rc = check(m->how, e);
	if (rc != 0)
		return rc;
	m->thresholds = fault_calloc(m->delta_count > 0 ? m->delta_count : 1, sizeof(*m->thresholds));
	m->kept = fault_calloc(m->element_count, sizeof(*m->kept));
	m->elected = fault_calloc(m->element_count, sizeof(*m->elected));
	if (m->thresholds == NULL || m->kept == NULL || m->elected == NULL)
		return err_set(e, ERR_NOMEM, "merge: out of memory for %zu entries", m->element_count);
	return find_thresholds(m, e);
}

/* How many deltas there are over all ranks. A rank that finds another size than its own tells the others. */
static int agree_on_sizes(struct merge *m, int prepared, struct err *e)
{
	int64_t sums[2] = { (int64_t)m->delta_count, (int64_t)m->element_count };
	int rc = editor__merge_agree(m->reduce, prepared, sums, 2, e);
	if (rc != 0)
		return rc;
	if (sums[0] == 0)
		return err_set(e, ERR_INVALID, "merge: there are no deltas");
	if (sums[1] != (int64_t)(m->element_count * m->reduce->rank_count))
		rc = err_set(e, ERR_MISMATCH,
			     "merge: the ranks' deltas differ in size: their base models are not the same");
	m->total = (size_t)sums[0];
	return editor__merge_agree(m->reduce, rc, NULL, 0, e);
}

int editor_merge_deltas(struct editor_reduce *reduce, const struct editor_merge_how *how, const float *const *deltas,
			const uint64_t *shard_ids, size_t delta_count, size_t element_count, float *out, struct err *e)
{
	struct merge m = { .reduce = reduce, .how = how, .deltas = deltas, .shard_ids = shard_ids };
	m.delta_count = delta_count;
	m.element_count = element_count;
	int rc = agree_on_sizes(&m, prepare(&m, e), e);
	if (rc == 0)
		rc = editor__reduce_alloc(reduce, element_count, &m.sum, e);
	if (rc == 0 && how->operator!= MERGE_LINEAR && how->operator!= MERGE_DARE)
		rc = editor__reduce_alloc(reduce, element_count, &m.also, e);
	if (rc == 0)
		rc = run(&m, out, e);
	free(m.thresholds);
	free(m.kept);
	editor__reduce_free(reduce, &m.also);
	editor__reduce_free(reduce, &m.sum);
	free(m.elected);
	return rc;
}
