#include "lib/eval/pca.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/eval/eigen.h"

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
