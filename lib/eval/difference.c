#include "lib/eval/difference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rng.h"

/* Scratch of one deal: [groups][size] sums, [groups] cells, [units] the group of each. */
typedef struct { double *sum; double *cells; uint32_t *group; } deal;

static vq_status deal_make(const vq_difference_data *d, deal *s)
{
	size_t n;
	VQ_TRY(vq_mul(d->groups, (size_t)d->size * sizeof *s->sum, &n));
	s->sum = vq_malloc(n);
	s->cells = vq_malloc(d->groups * sizeof *s->cells);
	s->group = vq_malloc(d->units * sizeof *s->group);
	return s->sum && s->cells && s->group ? VQ_OK : VQ_ENOMEM;
}

static void deal_free(deal *s)
{
	free(s->sum);
	free(s->cells);
	free(s->group);
}

/* X / N with the units in s->group; p: mean shares of all cells. */
static double statistic(const vq_difference_data *d, const deal *s, const double *p, double *contribution)
{
	const size_t size = (size_t)d->size;
	double x = 0;
	memset(s->sum, 0, d->groups * size * sizeof *s->sum);
	memset(s->cells, 0, d->groups * sizeof *s->cells);
	for (size_t i = 0; i < d->cells; i++) {
		const uint32_t g = s->group[d->unit[i]];
		double *sum = s->sum + g * size;
		s->cells[g]++;
		for (size_t k = d->begin[i]; k < d->begin[i + 1]; k++)
			sum[d->share[k].code] += (double)d->share[k].share;
	}
	for (size_t g = 0; g < d->groups; g++)
		for (size_t k = 0; k < size && s->cells[g] > 0; k++) {
			const double e = s->sum[g * size + k] / s->cells[g] - p[k], c = p[k] > 0 ? s->cells[g] * e * e / p[k] / (double)d->cells : 0;
			x += c;
			if (contribution)
				contribution[k] += c;
		}
	return x;
}

static void mean_shares(const vq_difference_data *d, double *p)
{
	memset(p, 0, (size_t)d->size * sizeof *p);
	for (size_t i = 0; i < d->begin[d->cells]; i++)
		p[d->share[i].code] += (double)d->share[i].share / (double)d->cells;
}

/* Deals from `from` on, every `step`-th; how many reach x, and the sum of their roots. */
static void deal_many(const vq_difference_data *d, deal *s, const double *p, double x, int from, int step, int deals, uint64_t seed, double *reach, double *roots)
{
	*reach = *roots = 0;
	for (int i = from; i < deals; i += step) {
		vq_rng r = vq_rng_make(seed, (uint64_t)i);
		memcpy(s->group, d->group, d->units * sizeof *s->group);
		vq_rng_shuffle(&r, s->group, d->units);
		const double got = statistic(d, s, p, NULL);
		*reach += got >= x * (1 - 1e-12); /* sums of another order */
		*roots += sqrt(got);
	}
}

static vq_status permute(const vq_difference_data *d, const double *p, double x, int deals, uint64_t seed, int threads, double scale, vq_difference *out)
{
	vq_status s = VQ_OK;
	deal *scratch = vq_calloc((size_t)threads, sizeof *scratch);
	double *reach = vq_calloc(2 * (size_t)threads, sizeof *reach), *roots = reach ? reach + threads : NULL, all = 0, root = 0;
	if (!scratch || !reach)
		s = VQ_ENOMEM;
	for (int t = 0; t < threads && s == VQ_OK; t++)
		s = deal_make(d, &scratch[t]);
	if (s == VQ_OK) {
#pragma omp parallel for schedule(static) num_threads(threads)
		for (int t = 0; t < threads; t++)
			deal_many(d, &scratch[t], p, x, t, threads, deals, seed, &reach[t], &roots[t]);
		for (int t = 0; t < threads; t++) {
			all += reach[t];
			root += roots[t];
		}
		out->p = (1 + all) / (1 + deals);
		out->expected_v = root / deals / sqrt(scale);
	}
	for (int t = 0; scratch && t < threads; t++)
		deal_free(&scratch[t]);
	free(scratch);
	free(reach);
	return s;
}

static vq_status test(const vq_difference_data *d, deal *s, double *p, int deals, uint64_t seed, int threads, vq_difference *out)
{
	double used = 0;
	mean_shares(d, p);
	for (int64_t k = 0; k < d->size; k++)
		used += p[k] > 0;
	if (out->contribution)
		memset(out->contribution, 0, (size_t)d->size * sizeof *out->contribution);
	memcpy(s->group, d->group, d->units * sizeof *s->group);
	const double x = statistic(d, s, p, out->contribution), scale = fmin((double)d->groups - 1, used - 1);
	for (size_t g = 0; out->shares && g < d->groups; g++)
		for (int64_t k = 0; k < d->size; k++)
			out->shares[g * (size_t)d->size + (size_t)k] = s->cells[g] > 0 ? s->sum[g * (size_t)d->size + (size_t)k] / s->cells[g] : NAN;
	if (scale < 1)
		return VQ_OK;
	out->v = sqrt(x / scale);
	return d->units > d->groups && deals > 0 ? permute(d, p, x, deals, seed, VQ_MAX(threads, 1), scale, out) : VQ_OK;
}

vq_status vq_difference_test(const vq_difference_data *d, int deals, uint64_t seed, int threads, vq_difference *out)
{
	deal s = {0};
	double *p = vq_malloc((size_t)d->size * sizeof *p);
	vq_status st = p ? deal_make(d, &s) : VQ_ENOMEM;
	out->v = out->expected_v = out->p = NAN;
	if (st == VQ_OK)
		st = test(d, &s, p, deals, seed, threads, out);
	deal_free(&s);
	free(p);
	return st;
}
