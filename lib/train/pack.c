#include "lib/train/pack.h"

#include <stdlib.h>
#include <string.h>

typedef struct { int n, y, h, x; } shelf;
typedef struct { int h, i; } by_height;

static int tallest_first(const void *a, const void *b)
{
	const by_height *p = a, *q = b;
	return p->h != q->h ? (p->h < q->h) - (p->h > q->h) : (p->i > q->i) - (p->i < q->i);
}

static int new_shelf(const vq_sheet *s, shelf *shelves, int *ns, int *top, int h)
{
	for (int n = 0; n < s->canvases && *ns < VQ_PACK_MAX; n++)
		if (top[n] + h <= s->h) {
			shelves[*ns] = (shelf){ n, top[n], h, 0 };
			top[n] += h + s->gap;
			return (*ns)++;
		}
	return -1;
}

int vq_pack(const vq_sheet *s, int n, const vq_size *size, vq_rect *rect)
{
	by_height order[VQ_PACK_MAX];
	shelf shelves[VQ_PACK_MAX];
	int top[VQ_PACK_MAX] = {0}, ns = 0, placed = 0;
	if (n > VQ_PACK_MAX || s->canvases > VQ_PACK_MAX)
		return vq_fail(VQ_EINVAL, "%d cells on %d canvases are more than %d", n, s->canvases, VQ_PACK_MAX);
	for (int i = 0; i < n; i++)
		order[i] = (by_height){ size[i].h, i };
	qsort(order, (size_t)n, sizeof *order, tallest_first);
	for (int k = 0; k < n; k++) {
		int i = order[k].i, at = -1;
		for (int j = 0; j < ns && at < 0; j++)
			if (size[i].h <= shelves[j].h && shelves[j].x + size[i].w <= s->w)
				at = j;
		if (at < 0 && size[i].w <= s->w)
			at = new_shelf(s, shelves, &ns, top, size[i].h);
		rect[i] = (vq_rect){ .n = -1, .h = size[i].h, .w = size[i].w };
		if (at < 0)
			continue;
		rect[i].n = shelves[at].n;
		rect[i].y = shelves[at].y;
		rect[i].x = shelves[at].x;
		shelves[at].x += size[i].w + s->gap;
		placed++;
	}
	return placed;
}

vq_sheet vq_sheet_for(int max_h, int max_w, int64_t pixels, int multiple, int gap, int threads)
{
	int unit = VQ_ALIGN(16, multiple);
	int side = VQ_ALIGN(VQ_MAX(VQ_MAX(max_h, max_w), 1), unit);
	/* a shelf wastes less when it holds several cells */
	int h = VQ_ALIGN(VQ_MAX(side, 96), unit), w = h, canvases = (int)VQ_MIN(pixels / ((int64_t)h * w), (int64_t)VQ_PACK_MAX);
	if (canvases < 1)
		return (vq_sheet){ 1, side, VQ_MAX(side, VQ_ALIGN((int)VQ_MIN(pixels / side, (int64_t)1 << 14), unit)), gap };
	canvases = VQ_MIN(canvases, VQ_PACK_MAX);
	if (canvases >= threads)
		canvases = canvases / threads * threads;
	w = VQ_MAX(w, (int)(pixels / ((int64_t)canvases * h)) / unit * unit);
	return (vq_sheet){ canvases, h, w, gap };
}
