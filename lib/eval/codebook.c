#include "lib/eval/codebook.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

vq_status vq_code_counts_make(vq_code_counts *c, int64_t size)
{
	*c = (vq_code_counts){0};
	if (size < 1 || size > VQ_CODEBOOK_MAX)
		return vq_fail(VQ_EINVAL, "a codebook of %lld codes (1 to %d are possible)", (long long)size, VQ_CODEBOOK_MAX);
	c->counts = vq_calloc((size_t)size, sizeof *c->counts);
	if (!c->counts)
		return VQ_ENOMEM;
	c->size = size;
	return VQ_OK;
}

void vq_code_counts_free(vq_code_counts *c)
{
	free(c->counts);
	*c = (vq_code_counts){0};
}

void vq_code_counts_clear(vq_code_counts *c)
{
	memset(c->counts, 0, (size_t)c->size * sizeof *c->counts);
	c->total = 0;
}

static int64_t code_at(const vq_tensor *t, size_t i)
{
	switch (t->dtype) {
	case VQ_U8: return ((const uint8_t *)t->data)[i];
	case VQ_U16: return ((const uint16_t *)t->data)[i];
	case VQ_I32: return ((const int32_t *)t->data)[i];
	case VQ_I64: return ((const int64_t *)t->data)[i];
	default: return -1;
	}
}

vq_status vq_code_counts_add(vq_code_counts *c, const vq_tensor *codes)
{
	if (codes->dtype != VQ_U8 && codes->dtype != VQ_U16 && codes->dtype != VQ_I32 && codes->dtype != VQ_I64)
		return vq_fail(VQ_EINVAL, "codes of type %s (u8, u16, i32 or i64 are possible)", vq_dtype_name(codes->dtype));
	size_t n;
	VQ_TRY(vq_tensor_count(codes, &n));
	for (size_t i = 0; i < n; i++) {
		int64_t k = code_at(codes, i);
		if (k < 0 || k >= c->size)
			return vq_fail(VQ_EINVAL, "code %lld at position %zu is outside a codebook of %lld", (long long)k, i, (long long)c->size);
	}
	for (size_t i = 0; i < n; i++)
		c->counts[code_at(codes, i)]++;
	c->total += n;
	return VQ_OK;
}

vq_code_figures vq_code_counts_get(const vq_code_counts *c)
{
	vq_code_figures f = {0};
	while ((int64_t)1 << f.raw_bits < c->size)
		f.raw_bits++;
	if (!c->total)
		return f;
	for (int64_t k = 0; k < c->size; k++) {
		if (!c->counts[k])
			continue;
		double p = (double)c->counts[k] / (double)c->total;
		f.used++;
		f.entropy -= p * log2(p);
	}
	f.entropy += 0.0; /* -0 becomes 0 */
	f.usage = (double)f.used / (double)c->size;
	f.perplexity = exp2(f.entropy);
	return f;
}

static double squared_distance(const float *a, const float *b, int64_t n)
{
	double sum = 0;
#pragma omp simd reduction(+ : sum)
	for (int64_t i = 0; i < n; i++) {
		double d = (double)a[i] - (double)b[i];
		sum += d * d;
	}
	return sum;
}

vq_status vq_codebook_distances(const float *vectors, int64_t size, int64_t dim, int threads, double *norms, double *nearest,
                                int64_t *a, int64_t *b, double *mean, double *most)
{
	double sum_all = 0, far = 0;
	*a = *b = -1;
	*mean = *most = NAN;
	if (size < 1 || dim < 1)
		return vq_fail(VQ_EINVAL, "a codebook of %lld vectors of length %lld", (long long)size, (long long)dim);
	for (int64_t k = 0; k < size; k++) {
		double sum = 0;
		for (int64_t i = 0; i < dim; i++)
			sum += (double)vectors[k * dim + i] * (double)vectors[k * dim + i];
		if (!isfinite(sum))
			return vq_fail(VQ_EINVAL, "vector %lld of the codebook is not finite", (long long)k);
		norms[k] = sqrt(sum);
	}
	/* Each row looks at all others, twice the work of half a matrix, so that no two threads share a result. */
	double *sums = vq_calloc((size_t)size, 2 * sizeof *sums); /* a row's, so that no two threads share one */
	if (!sums)
		return VQ_ENOMEM;
#pragma omp parallel for schedule(static) num_threads(VQ_MAX(threads, 1))
	for (int64_t k = 0; k < size; k++) {
		double best = INFINITY;
		for (int64_t j = 0; j < size; j++) {
			if (j == k)
				continue;
			const double d = squared_distance(vectors + k * dim, vectors + j * dim, dim);
			best = fmin(best, d);
			sums[2 * k] += sqrt(d);
			sums[2 * k + 1] = fmax(sums[2 * k + 1], d);
		}
		nearest[k] = size > 1 ? sqrt(best) : NAN;
	}
	for (int64_t k = 0; k < size; k++) {
		sum_all += sums[2 * k];
		far = fmax(far, sums[2 * k + 1]);
	}
	free(sums);
	if (size == 1)
		return VQ_OK;
	*mean = sum_all / ((double)size * (double)(size - 1));
	*most = sqrt(far);
	*a = 0;
	for (int64_t k = 1; k < size; k++)
		if (nearest[k] < nearest[*a])
			*a = k;
	for (int64_t j = *a + 1; j < size && *b < 0; j++)
		if (sqrt(squared_distance(vectors + *a * dim, vectors + j * dim, dim)) <= nearest[*a])
			*b = j;
	return VQ_OK;
}
