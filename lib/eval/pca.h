/* pca: principal components of the standardised columns of a table that is read a few rows at a time, three times over.
 *
 *	vq_pca_make(&p, d);
 *	for each block: vq_pca_moments(&p, rows, n);       means and deviations
 *	for each block: vq_pca_covariance(&p, rows, n);    of the standardised columns
 *	vq_pca_solve(&p, 50);
 *	for each block: vq_pca_project(&p, rows, n, out);
 *
 * Rows are [n][d] f32, row-major; sums are f64. Standardised: minus the column's mean, over its population deviation (divisor n).
 * A value that is not finite counts for nothing: it is left out of mean and deviation, and taken as the mean after that. A constant
 * column is 0. The order of the rows decides the order of the sums, nothing else does: the same rows give the same bytes. */
#ifndef VQ_EVAL_PCA_H
#define VQ_EVAL_PCA_H

#include "lib/base.h"

enum { VQ_PCA_MAX = 8192 }; /* columns */

typedef struct {
	int d, k;            /* columns; components after vq_pca_solve */
	int64_t n;           /* rows of vq_pca_covariance */
	double *mean, *std;  /* [d]; std 0: constant, or no finite value */
	double *count, *m2;  /* [d]: finite values, their squared deviations */
	double *cov;         /* [d][d] */
	double *axis;        /* [k][d]: unit vectors, of falling variance; the largest element by size (the first of equals) is positive */
	double *variance;    /* [k]: of the projections, divisor n */
	double total;        /* variance of all columns: how many are not constant, less what values that are not finite take away */
} vq_pca;

/* d: 1 to VQ_PCA_MAX (VQ_EINVAL). vq_pca_free releases; safe on an empty one. */
vq_status vq_pca_make(vq_pca *p, int d);
void vq_pca_moments(vq_pca *p, const float *rows, int64_t n);
void vq_pca_covariance(vq_pca *p, const float *rows, int64_t n);
/* At most `most` components: as many as columns that vary, and one less than rows; 0 is possible. O(d^3) by Jacobi rotations. */
vq_status vq_pca_solve(vq_pca *p, int most);
/* out: [n][k]. */
void vq_pca_project(const vq_pca *p, const float *rows, int64_t n, float *out);
void vq_pca_free(vq_pca *p);

#endif
