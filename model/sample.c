#include "model/parts.h"

#include <math.h>
#include <stdlib.h>

static int32_t greedy(const float *logits, size_t vocabulary)
{
	size_t best = 0;
	for (size_t i = 1; i < vocabulary; i++)
		best = logits[i] > logits[best] ? i : best;
	return (int32_t)best;
}

/* Larger probability first; equal ones by id, so that the order is total. */
static int by_probability(const void *a, const void *b)
{
	const struct model__candidate *x = a, *y = b;
	if (x->p != y->p)
		return x->p > y->p ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Unnormalised probabilities in place; their sum. */
static double soften(float *logits, size_t vocabulary, float temperature)
{
	float max = logits[greedy(logits, vocabulary)];
	double sum = 0;
	for (size_t i = 0; i < vocabulary; i++) {
		logits[i] = expf((logits[i] - max) / temperature);
		sum += (double)logits[i];
	}
	return sum;
}

static int32_t pick(const float *p, size_t vocabulary, double target)
{
	double sum = 0;
	int32_t last = 0;
	for (size_t i = 0; i < vocabulary; i++) {
		if (p[i] <= 0)
			continue;
		sum += (double)p[i];
		last = (int32_t)i;
		if (sum > target)
			break;
	}
	return last;
}

/* Nucleus sampling: the smallest set of likeliest tokens whose mass reaches top_p. (Holtzman et al. 2020, eq. 2) */
static int32_t pick_nucleus(struct model__candidate *candidates, const float *p, size_t vocabulary, double total,
			    double top_p, double uniform)
{
	/* A token below this cannot be in the set: all such together hold less than 1 − top_p. */
	double floor_p = (1 - top_p) * total / (double)vocabulary, mass = 0, sum = 0;
	size_t count = 0, kept = 0;
	for (size_t i = 0; i < vocabulary; i++) {
		if ((double)p[i] >= floor_p)
			candidates[count++] = (struct model__candidate){ p[i], (int32_t)i };
	}
	qsort(candidates, count, sizeof(*candidates), by_probability);
	while (kept < count && mass < top_p * total)
		mass += (double)candidates[kept++].p;
	for (size_t i = 0; i < kept; i++) {
		sum += (double)candidates[i].p;
		if (sum > uniform * mass)
			return candidates[i].id;
	}
	return candidates[kept > 0 ? kept - 1 : 0].id;
}

static bool all_finite(const float *logits, size_t vocabulary)
{
	for (size_t i = 0; i < vocabulary; i++) {
		if (!isfinite(logits[i]))
			return false;
	}
	return true;
}

int model_sample(float *logits, size_t vocabulary, const struct model_sampling *sampling, float uniform,
		 struct model_run *run, int32_t *out)
{
	if (!all_finite(logits, vocabulary))
		return ERR_CORRUPT;
	if (!(sampling->temperature > 0)) {
		*out = greedy(logits, vocabulary);
		return 0;
	}
	double total = soften(logits, vocabulary, sampling->temperature);
	if (sampling->top_p >= 1 || vocabulary > run->model->shape.vocabulary)
		*out = pick(logits, vocabulary, (double)uniform * total);
	else
		*out = pick_nucleus(run->candidates, logits, vocabulary, total, (double)sampling->top_p,
				    (double)uniform);
	return 0;
}
