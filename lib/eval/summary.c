#include "lib/eval/summary.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static vq_status push(vq_summary *s, int l, double v)
{
	if (s->level[l].n == s->level[l].cap) {
		size_t cap = s->level[l].cap ? VQ_MIN(2 * s->level[l].cap, s->limit) : VQ_MIN((size_t)64, s->limit);
		double *p = vq_realloc(s->level[l].v, cap * sizeof *p);
		if (!p)
			return VQ_ENOMEM;
		s->level[l].v = p;
		s->level[l].cap = cap;
	}
	s->level[l].v[s->level[l].n++] = v;
	return VQ_OK;
}

/* Empties full levels into the next, from the first up. */
static vq_status compact(vq_summary *s)
{
	for (int l = 0; l + 1 < VQ_SUMMARY_LEVELS && s->level[l].n == s->limit; l++) {
		qsort(s->level[l].v, s->limit, sizeof(double), ascending);
		for (size_t i = s->level[l].odd; i < s->limit; i += 2)
			VQ_TRY(push(s, l + 1, s->level[l].v[i]));
		s->level[l].odd = !s->level[l].odd;
		s->level[l].n = 0;
	}
	return VQ_OK;
}

vq_status vq_summary_add(vq_summary *s, double v)
{
	if (isnan(v))
		return VQ_OK;
	if (!s->limit)
		s->limit = VQ_SUMMARY_EXACT;
	if (s->level[0].n == s->limit)
		VQ_TRY(compact(s)); /* before the value that needs the room, so that exactly `limit` values are still exact */
	VQ_TRY(push(s, 0, v));
	s->min = s->n ? fmin(s->min, v) : v;
	s->max = s->n ? fmax(s->max, v) : v;
	s->n++;
	double d = v - s->mean;
	s->mean += d / (double)s->n;
	s->m2 += d * (v - s->mean);
	return VQ_OK;
}

typedef struct { double v, weight; } weighted;

static int ascending_weighted(const void *a, const void *b) { return ascending(&((const weighted *)a)->v, &((const weighted *)b)->v); }

static vq_status weighted_median(const vq_summary *s, double *median)
{
	size_t n = 0;
	double total = 0, below = 0;
	for (int l = 0; l < VQ_SUMMARY_LEVELS; l++)
		n += s->level[l].n;
	weighted *w = vq_malloc(n * sizeof *w);
	if (!w)
		return VQ_ENOMEM;
	n = 0;
	for (int l = 0; l < VQ_SUMMARY_LEVELS; l++)
		for (size_t i = 0; i < s->level[l].n; i++, n++) {
			w[n] = (weighted){ s->level[l].v[i], ldexp(1, l) };
			total += w[n].weight;
		}
	qsort(w, n, sizeof *w, ascending_weighted);
	size_t i = 0;
	while (i + 1 < n && below + w[i].weight < total / 2)
		below += w[i++].weight;
	*median = w[i].v;
	free(w);
	return VQ_OK;
}

vq_status vq_summary_get(vq_summary *s, vq_figures *f)
{
	*f = (vq_figures){ s->n, NAN, NAN, NAN, NAN, NAN, true };
	if (!s->n)
		return VQ_OK;
	f->mean = s->mean;
	f->std = sqrt(s->m2 / (double)s->n);
	f->min = s->min;
	f->max = s->max;
	f->exact = s->n == s->level[0].n;
	if (!f->exact)
		return weighted_median(s, &f->median);
	size_t n = s->level[0].n;
	qsort(s->level[0].v, n, sizeof(double), ascending);
	f->median = (s->level[0].v[(n - 1) / 2] + s->level[0].v[n / 2]) / 2;
	return VQ_OK;
}

void vq_summary_free(vq_summary *s)
{
	for (int l = 0; l < VQ_SUMMARY_LEVELS; l++)
		free(s->level[l].v);
	*s = (vq_summary){0};
}
