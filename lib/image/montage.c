#include "lib/image/montage.h"

#include <math.h>
#include <stdlib.h>

static const int64_t LIMIT = (int64_t)1 << 30;

static int by_size(const void *a, const void *b)
{
	const vq_place *p = *(vq_place *const *)a, *q = *(vq_place *const *)b;
	if (p->h != q->h)
		return p->h < q->h ? 1 : -1;
	if (p->w != q->w)
		return p->w < q->w ? 1 : -1;
	return p < q ? -1 : p > q;
}

vq_status vq_montage_plan(vq_place *p, size_t n, int64_t *h, int64_t *w)
{
	int64_t area = 0, widest = 1, x = 0, y = 0, shelf = 0;
	vq_place **order = vq_malloc((n + 1) * sizeof *order);
	if (!order)
		return VQ_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		order[i] = &p[i];
		area += VQ_MIN(p[i].h, LIMIT) * VQ_MIN(p[i].w, LIMIT) < LIMIT ? p[i].h * p[i].w : LIMIT;
		if (area >= LIMIT) {
			free(order);
			return vq_fail(VQ_ELIMIT, "a montage of more than 2^30 pixels: take fewer cells");
		}
		widest = VQ_MAX(widest, p[i].w);
	}
	qsort(order, n, sizeof *order, by_size);
	*w = VQ_MAX(widest, (int64_t)ceil(sqrt((double)area)));
	for (size_t i = 0; i < n; i++) {
		if (x + order[i]->w > *w) {
			y += shelf;
			x = shelf = 0;
		}
		order[i]->y = y;
		order[i]->x = x;
		x += order[i]->w;
		shelf = VQ_MAX(shelf, order[i]->h);
	}
	*h = VQ_MAX(y + shelf, 1);
	free(order);
	return *h <= LIMIT / *w ? VQ_OK : vq_fail(VQ_ELIMIT, "a montage of more than 2^30 pixels: take fewer cells");
}
