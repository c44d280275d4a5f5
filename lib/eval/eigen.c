#include "lib/eval/eigen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SWEEPS = 60 };

/* Rotates rows and columns p and q of a so that a[p][q] becomes 0; v collects the rotations, a row an axis. */
static void rotate(double *a, double *v, int n, int p, int q)
{
	double apq = a[p * n + q], theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
	double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
	for (int k = 0; k < n; k++) {
		double x = a[k * n + p], y = a[k * n + q];
		a[k * n + p] = c * x - s * y;
		a[k * n + q] = s * x + c * y;
	}
	for (int k = 0; k < n; k++) {
		double x = a[p * n + k], y = a[q * n + k];
		a[p * n + k] = c * x - s * y;
		a[q * n + k] = s * x + c * y;
		x = v[p * n + k];
		y = v[q * n + k];
		v[p * n + k] = c * x - s * y;
		v[q * n + k] = s * x + c * y;
	}
}

static double off_diagonal(const double *a, int n)
{
	double sum = 0;
	for (int i = 0; i < n; i++)
		for (int k = i + 1; k < n; k++)
			sum += a[i * n + k] * a[i * n + k];
	return sum;
}

static void swap_rows(double *v, int n, int i, int k)
{
	for (int j = 0; j < n; j++) {
		double t = v[i * n + j];
		v[i * n + j] = v[k * n + j];
		v[k * n + j] = t;
	}
}

/* Largest value first; the sign of a vector is arbitrary, so that it is fixed here. */
static void put_in_order(double *values, double *v, int n)
{
	for (int i = 0; i < n; i++) {
		int best = i, most = 0;
		for (int k = i + 1; k < n; k++)
			if (values[k] > values[best])
				best = k;
		double t = values[i];
		values[i] = values[best];
		values[best] = t;
		if (best != i)
			swap_rows(v, n, i, best);
		for (int k = 1; k < n; k++)
			if (fabs(v[i * n + k]) > fabs(v[i * n + most]) * (1 + 1e-9))
				most = k;
		for (int k = 0; k < n && v[i * n + most] < 0; k++)
			if (k != most)
				v[i * n + k] = -v[i * n + k];
		v[i * n + most] = fabs(v[i * n + most]);
	}
}

vq_status vq_eigen(double *a, int n, double *values, double *vectors)
{
	double all = 0;
	if (n < 1 || n > VQ_EIGEN_MAX)
		return vq_fail(VQ_EINVAL, "a matrix of %d x %d: 1 to %d can be taken apart", n, n, VQ_EIGEN_MAX);
	for (int i = 0; i < n * n; i++)
		all += a[i] * a[i];
	if (!isfinite(all))
		return vq_fail(VQ_EINVAL, "a matrix that is not finite, or too large");
	memset(vectors, 0, (size_t)n * (size_t)n * sizeof *vectors);
	for (int i = 0; i < n; i++)
		vectors[i * n + i] = 1;
	for (int sweep = 0; sweep < SWEEPS && off_diagonal(a, n) > 1e-30 * all; sweep++)
		for (int p = 0; p < n; p++)
			for (int q = p + 1; q < n; q++)
				if (fabs(a[p * n + q]) > 1e-300)
					rotate(a, vectors, n, p, q);
	for (int i = 0; i < n; i++)
		values[i] = a[i * n + i];
	put_in_order(values, vectors, n);
	return VQ_OK;
}

/* mean: [dim], cov: [dim][dim], zeroed. */
static vq_status covariance(const float *x, size_t n, int dim, double *mean, double *cov)
{
	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < dim; k++) {
			if (!isfinite(x[i * (size_t)dim + (size_t)k]))
				return vq_fail(VQ_EINVAL, "value %d of vector %zu is not finite", k, i);
			mean[k] += x[i * (size_t)dim + (size_t)k] / (double)n;
		}
	for (size_t i = 0; i < n; i++) {
		const float *row = x + i * (size_t)dim;
		for (int p = 0; p < dim; p++)
			for (int q = p; q < dim; q++)
				cov[p * dim + q] += (row[p] - mean[p]) * (row[q] - mean[q]) / (double)n;
	}
	for (int p = 0; p < dim; p++)
		for (int q = 0; q < p; q++)
			cov[p * dim + q] = cov[q * dim + p];
	return VQ_OK;
}

static void project(const float *x, size_t n, int dim, const double *mean, const double *axis, int axes, double *xy)
{
	for (size_t i = 0; i < n; i++)
		for (int a = 0; a < 2; a++) {
			double sum = 0;
			for (int k = 0; a < axes && k < dim; k++)
				sum += (x[i * (size_t)dim + (size_t)k] - mean[k]) * axis[a * dim + k];
			xy[2 * i + (size_t)a] = sum;
		}
}

vq_status vq_eigen_plane(const float *x, size_t n, int dim, double *xy, double share[2])
{
	if (n < 1 || dim < 1 || dim > VQ_EIGEN_MAX)
		return vq_fail(VQ_EINVAL, "%zu vectors of %d values: at least one, of 1 to %d", n, dim, VQ_EIGEN_MAX);
	size_t d = (size_t)dim;
	double *cov = vq_calloc(2 * d * d + 2 * d, sizeof *cov), all = 0;
	if (!cov)
		return VQ_ENOMEM;
	double *axis = cov + d * d, *mean = axis + d * d, *values = mean + d;
	vq_status s = covariance(x, n, dim, mean, cov);
	for (int k = 0; k < dim; k++)
		all += cov[k * dim + k];
	if (s == VQ_OK)
		s = vq_eigen(cov, dim, values, axis);
	if (s == VQ_OK) {
		project(x, n, dim, mean, axis, VQ_MIN(dim, 2), xy);
		for (int a = 0; a < 2; a++)
			share[a] = a < dim && all > 0 ? VQ_MAX(values[a], 0) / all : 0;
	}
	free(cov);
	return s;
}
