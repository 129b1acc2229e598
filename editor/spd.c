#include "editor/spd.h"

#include "base/err.h"

#include <math.h>
#include <string.h>

int editor__spd_factor(double *a, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < i; j++)
			a[i * n + j] = a[j * n + i];
	}
	for (size_t i = 0; i < n; i++) {
		double *row = a + i * n;
		for (size_t j = 0; j <= i; j++) {
			const double *other = a + j * n;
			double sum = row[j];
			for (size_t k = 0; k < j; k++)
				sum -= row[k] * other[k];
			if (j < i)
				row[j] = sum / other[j];
			else if (sum > 0 && isfinite(sum))
				row[i] = sqrt(sum);
			else
				return ERR_INVALID;
		}
	}
	return 0;
}

/* Row by row of L⁻¹: row i is (eᵢ − Σ L[i][k] · row k) / L[i][i]. */
void editor__spd_whiten(const double *lower, double *inverse, float *whiten, size_t n)
{
	memset(inverse, 0, n * n * sizeof(*inverse));
	for (size_t i = 0; i < n; i++) {
		double *row = inverse + i * n;
		row[i] = 1;
		for (size_t k = 0; k < i; k++) {
			const double *above = inverse + k * n, factor = lower[i * n + k];
			for (size_t j = 0; j <= k; j++)
				row[j] -= factor * above[j];
		}
		for (size_t j = 0; j <= i; j++)
			row[j] /= lower[i * n + i];
	}
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < n; j++)
			whiten[i * n + j] = (float)inverse[j * n + i];
	}
}
