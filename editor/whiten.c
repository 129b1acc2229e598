#include "editor/whiten.h"
#include "base/fault.h"
#include "editor/dot.h"
#include "editor/spd.h"
#include "editor/subspace.h"

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

/* Covariance of the standardised keys, with ridge × its mean eigenvalue on the diagonal. */
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
	for (size_t i = 0; i < hidden; i++) {
		cov[i * hidden + i] += more;
		for (size_t j = 0; j < i; j++)
			cov[i * hidden + j] = cov[j * hidden + i];
	}
}

/* Rows · cov · rowsᵀ, dims × dims; `room`: hidden. */
static void project(const double *cov, const double *rows, size_t hidden, size_t dims, double *room, double *out)
{
	for (size_t r = 0; r < dims; r++) {
		memset(room, 0, hidden * sizeof(*room));
		for (size_t k = 0; k < hidden; k++) {
			const double factor = rows[r * hidden + k];
#pragma omp simd
			for (size_t j = 0; j < hidden; j++)
				room[j] += factor * cov[k * hidden + j];
		}
		for (size_t s = 0; s < dims; s++)
			out[r * dims + s] = editor__dot_double(room, rows + s * hidden, hidden);
	}
}

/* out (hidden × dims) = rowsᵀ · whiten (dims × dims, upper triangular); `sums`: dims of room. */
static void lift(const double *rows, const float *whiten, size_t hidden, size_t dims, double *sums, float *out)
{
	for (size_t i = 0; i < hidden; i++) {
		memset(sums, 0, dims * sizeof(*sums));
		for (size_t r = 0; r < dims; r++) {
			const double factor = rows[r * hidden + i];
			for (size_t j = r; j < dims; j++)
				sums[j] += factor * (double)whiten[r * dims + j];
		}
		for (size_t j = 0; j < dims; j++)
			out[i * dims + j] = (float)sums[j];
	}
}

struct room {
	double *sums, *cov, *inverse; /* 3 × hidden; hidden × hidden each */
	double *rows, *more;          /* dims × hidden each */
	float *small;                 /* dims × dims */
};

/* Inverse Cholesky factor of the covariance, or of what it is among its largest directions. */
static int factor(struct editor_calibration *c, struct room *m)
{
	const size_t hidden = c->hidden, dims = c->dims;
	if (dims == hidden) {
		int rc = editor__spd_factor(m->cov, hidden);
		if (rc == 0)
			editor__spd_whiten(m->cov, m->inverse, c->whiten, hidden);
		return rc;
	}
	editor__subspace(m->cov, hidden, dims, m->rows, m->more);
	project(m->cov, m->rows, hidden, dims, m->sums, m->more);
	int rc = editor__spd_factor(m->more, dims);
	if (rc == 0) {
		editor__spd_whiten(m->more, m->inverse, m->small, dims);
		lift(m->rows, m->small, hidden, dims, m->sums, c->whiten);
	}
	return rc;
}

static void room_free(struct room *m)
{
	free(m->sums);
	free(m->cov);
	free(m->inverse);
	free(m->rows);
	free(m->more);
	free(m->small);
}

static int room_alloc(struct room *m, size_t hidden, size_t dims, struct err *e)
{
	const size_t part = dims < hidden ? dims : 1;
	m->sums = fault_calloc(3 * hidden, sizeof(*m->sums));
	m->cov = fault_calloc(hidden * hidden, sizeof(*m->cov));
	m->inverse = fault_calloc(hidden * hidden, sizeof(*m->inverse));
	m->rows = fault_calloc(part * hidden, sizeof(*m->rows));
	m->more = fault_calloc(part * hidden, sizeof(*m->more));
	m->small = fault_calloc(part * part, sizeof(*m->small));
	if (m->sums != NULL && m->cov != NULL && m->inverse != NULL && m->rows != NULL && m->more != NULL &&
	    m->small != NULL)
		return 0;
	return err_set(e, ERR_NOMEM, "whitening keys of %zu: out of memory", hidden);
}

int editor__whiten_fit(struct editor_calibration *c, const float *raw, const uint8_t *use, size_t key_count,
		       float ridge, struct err *e)
{
	struct room m = { 0 };
	int rc = room_alloc(&m, c->hidden, c->dims, e);
	const size_t n = rc == 0 ? fit_moments(c, raw, use, key_count, m.sums) : 0;
	if (rc == 0 && n < 2)
		rc = err_set(e, ERR_INVALID, "statistics of %zu texts: at least 2 are needed, give a larger corpus", n);
	if (rc == 0) {
		fit_covariance(c, raw, use, key_count, n, ridge, m.sums + 2 * c->hidden, m.cov);
		rc = factor(c, &m);
		if (rc != 0)
			rc = err_set(e, rc,
				     "the keys' covariance is not positive: they hold a number that is not finite");
		else
			editor__shorts_round(c->whiten, c->hidden, c->dims);
	}
	room_free(&m);
	return rc;
}
