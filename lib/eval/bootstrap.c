#include "lib/eval/bootstrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/eval/names.h"
#include "lib/rng.h"

typedef struct { double sum, n; } part;

struct vq_boot {
	int figures;
	vq_names names;
	part *part;              /* [names.cap][figure] */
	size_t cap;
};

vq_status vq_boot_make(vq_boot **out, int figures)
{
	*out = NULL;
	if (figures < 1)
		return vq_fail(VQ_EINVAL, "a bootstrap of %d figures", figures);
	vq_boot *b = vq_calloc(1, sizeof *b);
	if (!b)
		return VQ_ENOMEM;
	b->figures = figures;
	*out = b;
	return VQ_OK;
}

void vq_boot_free(vq_boot *b)
{
	if (!b)
		return;
	vq_names_free(&b->names);
	free(b->part);
	free(b);
}

vq_status vq_boot_group(vq_boot *b, const char *name, size_t *group)
{
	const size_t before = b->names.n;
	VQ_TRY(vq_names_find(&b->names, name, group));
	if (b->names.n == before)
		return VQ_OK;
	if (b->names.cap > b->cap) {
		size_t bytes;
		VQ_TRY(vq_mul(b->names.cap * sizeof *b->part, (size_t)b->figures, &bytes));
		part *p = vq_realloc(b->part, bytes);
		if (!p)
			return VQ_ENOMEM;
		b->part = p;
		b->cap = b->names.cap;
	}
	memset(b->part + *group * (size_t)b->figures, 0, (size_t)b->figures * sizeof *b->part);
	return VQ_OK;
}

void vq_boot_add(vq_boot *b, size_t group, int figure, double v)
{
	part *p = b->part + group * (size_t)b->figures + figure;
	if (isnan(v))
		return;
	p->sum += v;
	p->n++;
}

size_t vq_boot_groups(const vq_boot *b) { return b->names.n; }

/* One resample of every figure: mean[f], NaN where nothing with a value was drawn. */
static void resample(const vq_boot *b, uint64_t seed, uint64_t number, part *sum, double *mean, size_t stride)
{
	vq_rng r = vq_rng_make(seed, number);
	memset(sum, 0, (size_t)b->figures * sizeof *sum);
	for (size_t i = 0; i < b->names.n; i++) {
		const part *p = b->part + vq_rng_below(&r, b->names.n) * (size_t)b->figures;
		for (int f = 0; f < b->figures; f++) {
			sum[f].sum += p[f].sum;
			sum[f].n += p[f].n;
		}
	}
	for (int f = 0; f < b->figures; f++)
		mean[(size_t)f * stride] = sum[f].n > 0 ? sum[f].sum / sum[f].n : NAN;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t n, double q)
{
	double at = q * (double)(n - 1);
	size_t i = (size_t)at;
	return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

static void interval(const vq_boot *b, int figure, double *v, int resamples, double confidence, double *low, double *high)
{
	size_t with = 0, n = 0;
	for (size_t g = 0; g < b->names.n && with < 2; g++)
		with += b->part[g * (size_t)b->figures + figure].n > 0;
	*low = *high = NAN;
	for (int i = 0; i < resamples; i++)
		if (!isnan(v[i]))
			v[n++] = v[i];
	if (with < 2 || !n)
		return;
	qsort(v, n, sizeof *v, ascending);
	*low = quantile(v, n, (1 - confidence) / 2);
	*high = quantile(v, n, (1 + confidence) / 2);
}

vq_status vq_boot_run(const vq_boot *b, int resamples, double confidence, uint64_t seed, int threads, double *low, double *high)
{
	size_t bytes;
	if (resamples < 2 || !(confidence > 0 && confidence < 1))
		return vq_fail(VQ_EINVAL, "%d resamples and a confidence of %g", resamples, confidence);
	threads = VQ_MAX(threads, 1);
	VQ_TRY(vq_mul((size_t)resamples * sizeof(double), (size_t)b->figures, &bytes));
	double *mean = vq_malloc(bytes); /* [figure][resample] */
	part *sum = vq_calloc((size_t)threads, (size_t)b->figures * sizeof *sum);
	vq_status s = mean && sum ? VQ_OK : VQ_ENOMEM;
	if (s == VQ_OK) {
		const int each = (resamples + threads - 1) / threads;
#pragma omp parallel for schedule(static) num_threads(threads)
		for (int t = 0; t < threads; t++)
			for (int i = t * each; i < VQ_MIN((t + 1) * each, resamples); i++)
				resample(b, seed, (uint64_t)i, sum + (size_t)t * (size_t)b->figures, mean + i, (size_t)resamples);
		for (int f = 0; f < b->figures; f++)
			interval(b, f, mean + (size_t)f * (size_t)resamples, resamples, confidence, &low[f], &high[f]);
	}
	free(mean);
	free(sum);
	return s;
}
