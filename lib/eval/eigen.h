/* eigen: the eigenvectors of a small symmetric matrix, and the plane in which points spread most. f64, one thread, no library. */
#ifndef VQ_EVAL_EIGEN_H
#define VQ_EVAL_EIGEN_H

#include "lib/base.h"

enum { VQ_EIGEN_MAX = 1024 };

/* a: symmetric [n][n], destroyed. values: [n], largest first; vectors: [n][n], row i of length 1 goes with values[i], its largest
 * component positive (the first of them). Jacobi rotations. VQ_EINVAL: n beyond 1 to VQ_EIGEN_MAX, an element that is not finite. */
vq_status vq_eigen(double *a, int n, double *values, double *vectors);

/* x: [n][dim], row-major. xy: [n][2], the points less their mean, on the first two principal axes (0 where there is no second).
 * share: [2], the part of the variance on each (0 when all points are one). VQ_EINVAL: no point, dim beyond 1 to VQ_EIGEN_MAX, a value
 * that is not finite. */
vq_status vq_eigen_plane(const float *x, size_t n, int dim, double *xy, double share[2]);

#endif
