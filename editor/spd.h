/* spd.h: symmetric positive definite matrices in double precision, the same bits on every run. Inside editor/ only.
 * Pure. */
#ifndef AMEND_EDITOR_SPD_H
#define AMEND_EDITOR_SPD_H

#include <stddef.h>

/* In place: of A (n × n, the upper triangle is read) the lower triangle becomes L with L·Lᵀ = A. ERR_INVALID: A is not
 * positive definite, or holds what is not finite. */
int editor__spd_factor(double *a, size_t n);
/* whiten (n × n) = L⁻ᵀ, so that A⁻¹ = whiten·whitenᵀ. `inverse`: n × n of room. */
void editor__spd_whiten(const double *lower, double *inverse, float *whiten, size_t n);

#endif
