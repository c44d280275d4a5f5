#include "lib/image/select.h"

/* A weak but deterministic choice of pivots: no order of pixels is bad for it on purpose. */
static size_t draw(vq_selection *s, size_t n)
{
	s->seed = s->seed * 6364136223846793005u + 1442695040888963407u;
	return (size_t)((s->seed >> 33) % n);
}

static double median3(double a, double b, double c)
{
	if (a > b) {
		double t = a;
		a = b;
		b = t;
	}
	return c < a ? a : c > b ? b : c;
}

/* Puts smaller numbers than pivot into [lo, *below), equal ones into [*below, *above), larger ones into [*above, hi). */
static void partition(double *v, size_t lo, size_t hi, double pivot, size_t *below, size_t *above)
{
	size_t a = lo, i = lo, b = hi;
	while (i < b) {
		double x = v[i];
		if (x < pivot) {
			v[i++] = v[a];
			v[a++] = x;
		} else if (x > pivot) {
			v[i] = v[--b];
			v[b] = x;
		} else {
			i++;
		}
	}
	*below = a;
	*above = b;
}

double vq_selection_rank(vq_selection *s, size_t k)
{
	if (k + 1 == s->done)
		return s->v[k];
	size_t lo = k < s->done ? 0 : s->done, hi = k < s->done ? s->done - 1 : s->n, below, above;
	while (hi - lo > 1) {
		double pivot = median3(s->v[lo + draw(s, hi - lo)], s->v[lo + draw(s, hi - lo)], s->v[lo + draw(s, hi - lo)]);
		partition(s->v, lo, hi, pivot, &below, &above);
		if (k < below)
			hi = below;
		else if (k >= above)
			lo = above;
		else
			break;
	}
	if (k >= s->done)
		s->done = k + 1;
	return s->v[k];
}
