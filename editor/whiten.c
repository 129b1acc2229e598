#include "editor/whiten.h"
#include "base/fault.h"
#include "editor/spd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t fit_moments(struct editor_calibration *c, const float *raw, const uint8_t *use, size_t key_count,
			  double *sums)
{
	const size_t hidden = c->hidden;
	size_t n = 0;
	memset(sums, 0, 2 * hidden * sizeof(*sums));
	for (size_t t = 0; t < key_count; t++) {
		if (!use[t])
			continue;
		n++;
		for (size_t i = 0; i < hidden; i++)
			sums[i] += (double)raw[t * hidden + i];
	}
	if (n < 2)
		return n;
	for (size_t i = 0; i < hidden; i++)
		sums[i] /= (double)n;
	for (size_t t = 0; t < key_count; t++) {
		for (size_t i = 0; i < hidden && use[t]; i++) {
			const double d = (double)raw[t * hidden + i] - sums[i];
			sums[hidden + i] += d * d;
		}
	}
	for (size_t i = 0; i < hidden; i++) {
		c->mean[i] = (float)sums[i];
		c->deviation[i] = (float)(sqrt(sums[hidden + i] / (double)(n - 1)) + 1e-6);
	}
	return n;
}

/* Upper triangle of the covariance of the standardised keys, with ridge × its mean eigenvalue on the diagonal. */
static void fit_covariance(const struct editor_calibration *c, const float *raw, const uint8_t *use, size_t key_count,
			   size_t n, float ridge, double *z, double *cov)
{
	const size_t hidden = c->hidden;
	double trace = 0;
	memset(cov, 0, hidden * hidden * sizeof(*cov));
	for (size_t t = 0; t < key_count; t++) {
		if (!use[t])
			continue;
		for (size_t i = 0; i < hidden; i++)
			z[i] = ((double)raw[t * hidden + i] - (double)c->mean[i]) / (double)c->deviation[i];
		for (size_t i = 0; i < hidden; i++) {
			double *row = cov + i * hidden;
			const double zi = z[i] / (double)n;
			for (size_t j = i; j < hidden; j++)
				row[j] += zi * z[j];
		}
	}
	for (size_t i = 0; i < hidden; i++)
		trace += cov[i * hidden + i];
	/* the floor keeps keys that never vary from making the matrix singular */
	const double more = fmax((double)ridge * trace / (double)hidden, 1e-6);
	for (size_t i = 0; i < hidden; i++)
		cov[i * hidden + i] += more;
}

int editor__whiten_fit(struct editor_calibration *c, const float *raw, const uint8_t *use, size_t key_count,
		       float ridge, struct err *e)
{
	const size_t hidden = c->hidden;
	double *sums = fault_calloc(3 * hidden, sizeof(*sums));
	double *cov = fault_calloc(hidden * hidden, sizeof(*cov));
	double *inverse = fault_calloc(hidden * hidden, sizeof(*inverse));
	int rc = 0;
	if (sums == NULL || cov == NULL || inverse == NULL) {
		rc = err_set(e, ERR_NOMEM, "whitening keys of %zu: out of memory", hidden);
	} else {
		const size_t n = fit_moments(c, raw, use, key_count, sums);
		if (n < 2) {
			rc = err_set(e, ERR_INVALID,
				     "statistics of %zu texts: at least 2 are needed, give a larger corpus", n);
		} else {
			fit_covariance(c, raw, use, key_count, n, ridge, sums + 2 * hidden, cov);
			rc = editor__spd_factor(cov, hidden);
			if (rc != 0)
				rc = err_set(
					e, rc,
					"the keys' covariance is not positive: they hold a number that is not finite");
			else
				editor__spd_whiten(cov, inverse, c->whiten, hidden);
			editor__shorts_round(c->whiten, hidden, hidden);
		}
	}
	free(sums);
	free(cov);
	free(inverse);
	return rc;
}
