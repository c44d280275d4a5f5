#include "lib/eval/pca.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SWEEPS = 64 };

/* --- eigenvectors --------------------------------------------------------------------------------------------------- */

/* x' = c x - s y, y' = s x + c y for n pairs that lie `step` apart. */
static void turn(double *x, double *y, int n, size_t step, double c, double s)
{
	for (int i = 0; i < n; i++, x += step, y += step) {
		double a = *x, b = *y;
		*x = c * a - s * b;
		*y = s * a + c * b;
	}
}

/* The rotation of axes p and q that makes a[p][q] vanish. */
static void annihilate(double *a, double *v, int d, int p, int q)
{
	size_t w = (size_t)d;
	double *ap = a + (size_t)p * w, *aq = a + (size_t)q * w, theta = (aq[q] - ap[p]) / (2 * ap[q]);
	double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
	turn(ap, aq, d, 1, c, s);
	turn(a + p, a + q, d, w, c, s);
	ap[q] = aq[p] = 0;
	turn(v + (size_t)p * w, v + (size_t)q * w, d, 1, c, s);
}

static void jacobi(double *a, double *v, int d)
{
	double size = 0;
	for (size_t i = 0; i < (size_t)d * (size_t)d; i++)
		size = fmax(size, fabs(a[i]));
	for (int sweep = 0; sweep < SWEEPS; sweep++) {
		bool turned = false;
		for (int p = 0; p < d; p++)
			for (int q = p + 1; q < d; q++)
				if (fabs(a[(size_t)p * (size_t)d + (size_t)q]) > 1e-17 * size) {
					annihilate(a, v, d, p, q);
					turned = true;
				}
		if (!turned)
			return;
	}
}

static void set_sign(double *v, int d)
{
	int at = 0;
	for (int i = 1; i < d; i++)
		if (fabs(v[i]) > fabs(v[at]))
			at = i;
	for (int i = 0; v[at] < 0 && i < d; i++)
		if (i != at)
			v[i] = -v[i];
	v[at] = fabs(v[at]);
}

/* Selection: d is small, and equal values keep their order. */
static void sort_falling(double *value, double *vector, int d)
{
	for (int i = 0; i < d; i++) {
		int best = i;
		for (int j = i + 1; j < d; j++)
			if (value[j] > value[best])
				best = j;
		if (best == i)
			continue;
		double *a = vector + (size_t)i * (size_t)d, *b = vector + (size_t)best * (size_t)d, v = value[i];
		value[i] = value[best];
		value[best] = v;
		for (int k = 0; k < d; k++) {
			v = a[k];
			a[k] = b[k];
			b[k] = v;
		}
	}
}

vq_status vq_eigen(double *a, int d, double *value, double *vector)
{
	size_t w = (size_t)d;
	for (size_t i = 0; i < w * w; i++)
		if (!isfinite(a[i]))
			return vq_fail(VQ_EINVAL, "row %zu, column %zu of the matrix is not finite", i / w, i % w);
	memset(vector, 0, w * w * sizeof *vector);
	for (size_t i = 0; i < w; i++)
		vector[i * w + i] = 1;
	jacobi(a, vector, d);
	for (size_t i = 0; i < w; i++)
		value[i] = a[i * w + i];
	sort_falling(value, vector, d);
	for (size_t i = 0; i < w; i++)
		set_sign(vector + i * w, d);
	return VQ_OK;
}

/* --- the table ------------------------------------------------------------------------------------------------------ */

vq_status vq_pca_make(vq_pca *p, int d)
{
	*p = (vq_pca){ .d = d };
	if (d < 1 || d > VQ_PCA_MAX)
		return vq_fail(VQ_EINVAL, "principal components of %d columns (1 to %d are possible)", d, VQ_PCA_MAX);
	size_t w = (size_t)d;
	p->mean = vq_calloc(w, sizeof *p->mean);
	p->std = vq_calloc(w, sizeof *p->std);
	p->count = vq_calloc(w, sizeof *p->count);
	p->m2 = vq_calloc(w, sizeof *p->m2);
	p->cov = vq_calloc(w * w, sizeof *p->cov);
	if (p->mean && p->std && p->count && p->m2 && p->cov)
		return VQ_OK;
	vq_pca_free(p);
	return VQ_ENOMEM;
}

void vq_pca_free(vq_pca *p)
{
	free(p->mean);
	free(p->std);
	free(p->count);
	free(p->m2);
	free(p->cov);
	free(p->axis);
	free(p->variance);
	*p = (vq_pca){0};
}

void vq_pca_moments(vq_pca *p, const float *rows, int64_t n)
{
	for (int64_t i = 0; i < n; i++, rows += p->d)
		for (int j = 0; j < p->d; j++) {
			double x = (double)rows[j];
			if (!isfinite(x))
				continue;
			double delta = x - p->mean[j];
			p->mean[j] += delta / ++p->count[j];
			p->m2[j] += delta * (x - p->mean[j]);
		}
	for (int j = 0; j < p->d; j++) {
		double std = p->count[j] > 0 ? sqrt(p->m2[j] / p->count[j]) : 0;
		p->std[j] = std > 1e-12 * fabs(p->mean[j]) ? std : 0; /* rounding alone is no variation */
	}
}

static double standard(const vq_pca *p, int j, float x)
{
	return p->std[j] > 0 && isfinite(x) ? ((double)x - p->mean[j]) / p->std[j] : 0;
}

void vq_pca_covariance(vq_pca *p, const float *rows, int64_t n)
{
	size_t w = (size_t)p->d;
	/* The deviations of one row at a time replace m2, which is done with. */
	for (int64_t i = 0; i < n; i++, rows += w) {
		for (int j = 0; j < p->d; j++)
			p->m2[j] = standard(p, j, rows[j]);
		for (size_t j = 0; j < w; j++)
			for (size_t k = j; k < w && p->m2[j] != 0; k++)
				p->cov[j * w + k] += p->m2[j] * p->m2[k];
	}
	p->n += n;
}

static int varying(const vq_pca *p)
{
	int n = 0;
	for (int j = 0; j < p->d; j++)
		n += p->std[j] > 0;
	return n;
}

vq_status vq_pca_solve(vq_pca *p, int most)
{
	size_t w = (size_t)p->d;
	int64_t k = VQ_MIN(VQ_MIN(most, varying(p)), p->n - 1);
	double *value = vq_malloc(w * sizeof *value), *vector = vq_malloc(w * w * sizeof *vector);
	vq_status s = value && vector ? VQ_OK : VQ_ENOMEM;
	p->k = (int)VQ_MAX(k, 0);
	p->total = 0;
	for (size_t j = 0; j < w; j++) {
		for (size_t i = j; i < w; i++)
			p->cov[i * w + j] = p->cov[j * w + i] /= p->n > 0 ? (double)p->n : 1;
		p->total += p->cov[j * w + j];
	}
	if (s == VQ_OK)
		s = vq_eigen(p->cov, p->d, value, vector);
	if (s == VQ_OK && (!(p->axis = vq_malloc((size_t)p->k * w * sizeof *p->axis)) || !(p->variance = vq_malloc((size_t)p->k * sizeof *p->variance))))
		s = VQ_ENOMEM;
	if (s == VQ_OK) {
		memcpy(p->axis, vector, (size_t)p->k * w * sizeof *vector);
		for (int i = 0; i < p->k; i++)
			p->variance[i] = fmax(value[i], 0);
	}
	free(value);
	free(vector);
	return s;
}

void vq_pca_project(const vq_pca *p, const float *rows, int64_t n, float *out)
{
	for (int64_t i = 0; i < n; i++, rows += p->d)
		for (int k = 0; k < p->k; k++) {
			const double *axis = p->axis + (size_t)k * (size_t)p->d;
			double sum = 0;
			for (int j = 0; j < p->d; j++)
				sum += axis[j] * standard(p, j, rows[j]);
			*out++ = (float)sum;
		}
}
