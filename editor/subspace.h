/* subspace.h: where a symmetric matrix is largest. Inside editor/ only. Pure. */
#ifndef AMEND_EDITOR_SUBSPACE_H
#define AMEND_EDITOR_SUBSPACE_H

#include <stddef.h>

/* Orthonormal rows (dims × n, dims ≤ n) that nearly span the eigenvectors of the largest `dims` eigenvalues of A (n ×
 * n, positive definite, both triangles are read): orthogonal iteration (Golub and Van Loan, Matrix Computations, 8.2.4)
 * from seeded random rows, a fixed number of steps. `room`: dims × n. The same bits on every run and from every
 * compiler. */
void editor__subspace(const double *a, size_t n, size_t dims, double *rows, double *room);

#endif
