#include "lib/train/pack.h"

#include <stdlib.h>
#include <string.h>

/* Free space is kept as the largest empty rectangles, which overlap (Jylanki's "maximal rectangles", best short side fit). Cells and
 * canvases are larger by the gap on the far sides, which keeps cells apart and needs none at the edges. */
typedef struct { int n, y, x, h, w; } space;
typedef struct { space *v; int n, cap; } spaces;
typedef struct { int area, i; } by_area;

static int largest_first(const void *a, const void *b)
{
	const by_area *p = a, *q = b;
	return p->area != q->area ? (p->area < q->area) - (p->area > q->area) : (p->i > q->i) - (p->i < q->i);
}

static bool inside(const space *a, const space *b)
{
	return a->n == b->n && a->y >= b->y && a->x >= b->x && a->y + a->h <= b->y + b->h && a->x + a->w <= b->x + b->w;
}

/* Adds an empty rectangle unless another holds it; drops those that it holds. */
static vq_status add_space(spaces *f, space r, int keep)
{
	if (r.h <= 0 || r.w <= 0)
		return VQ_OK;
	for (int i = 0; i < f->n; i++)
		if (inside(&r, &f->v[i]))
			return VQ_OK;
	for (int i = keep; i < f->n;)
		if (inside(&f->v[i], &r))
			f->v[i] = f->v[--f->n];
		else
			i++;
	if (f->n == f->cap) {
		int cap = f->cap ? 2 * f->cap : 64;
		space *v = vq_realloc(f->v, sizeof *v * (size_t)cap);
		if (!v)
			return VQ_ENOMEM;
		f->v = v;
		f->cap = cap;
	}
	f->v[f->n++] = r;
	return VQ_OK;
}

/* Takes a rectangle out of the free space: each free one that it cuts leaves up to four. */
static vq_status occupy(spaces *f, space t)
{
	int whole = 0, n = f->n;
	space *cut = vq_malloc(sizeof *cut * (size_t)n);
	int cuts = 0;
	if (!cut)
		return VQ_ENOMEM;
	for (int i = 0; i < n; i++) {
		space *r = &f->v[i];
		if (r->n == t.n && t.x < r->x + r->w && r->x < t.x + t.w && t.y < r->y + r->h && r->y < t.y + t.h)
			cut[cuts++] = *r;
		else
			f->v[whole++] = *r;
	}
	f->n = whole;
	vq_status s = VQ_OK;
	for (int i = 0; i < cuts && s == VQ_OK; i++) {
		space r = cut[i];
		if ((s = add_space(f, (space){ r.n, r.y, r.x, t.y - r.y, r.w }, whole)) == VQ_OK &&
		    (s = add_space(f, (space){ r.n, t.y + t.h, r.x, r.y + r.h - t.y - t.h, r.w }, whole)) == VQ_OK &&
		    (s = add_space(f, (space){ r.n, r.y, r.x, r.h, t.x - r.x }, whole)) == VQ_OK)
			s = add_space(f, (space){ r.n, r.y, t.x + t.w, r.h, r.x + r.w - t.x - t.w }, whole);
	}
	free(cut);
	return s;
}

/* The free rectangle whose shorter side is left with least; the first of several. */
static const space *best_fit(const spaces *f, int h, int w)
{
	const space *best = NULL;
	int least = INT32_MAX, most = INT32_MAX;
	for (int i = 0; i < f->n; i++) {
		const space *r = &f->v[i];
		int a = r->h - h, b = r->w - w, lo = VQ_MIN(a, b), hi = VQ_MAX(a, b);
		if (lo < 0 || lo > least || (lo == least && hi >= most))
			continue;
		least = lo;
		most = hi;
		best = r;
	}
	return best;
}

static vq_status place_all(const vq_sheet *s, int n, const by_area *order, const vq_size *size, vq_rect *rect, spaces *f, int *placed)
{
	for (int i = 0; i < s->canvases; i++)
		VQ_TRY(add_space(f, (space){ i, 0, 0, s->h + s->gap, s->w + s->gap }, 0));
	for (int k = 0; k < n; k++) {
		int i = order[k].i;
		const space *at = best_fit(f, size[i].h + s->gap, size[i].w + s->gap);
		rect[i] = (vq_rect){ .n = -1, .h = size[i].h, .w = size[i].w };
		if (!at)
			continue;
		rect[i].n = at->n;
		rect[i].y = at->y;
		rect[i].x = at->x;
		VQ_TRY(occupy(f, (space){ at->n, at->y, at->x, size[i].h + s->gap, size[i].w + s->gap }));
		++*placed;
	}
	return VQ_OK;
}

int vq_pack(const vq_sheet *s, int n, const vq_size *size, vq_rect *rect)
{
	by_area order[VQ_PACK_MAX];
	spaces f = {0};
	int placed = 0;
	if (n > VQ_PACK_MAX || s->canvases > VQ_PACK_MAX)
		return vq_fail(VQ_EINVAL, "%d cells on %d canvases are more than %d", n, s->canvases, VQ_PACK_MAX);
	for (int i = 0; i < n; i++)
		order[i] = (by_area){ (size[i].h + s->gap) * (size[i].w + s->gap), i };
	qsort(order, (size_t)n, sizeof *order, largest_first);
	vq_status st = place_all(s, n, order, size, rect, &f, &placed);
	free(f.v);
	return st < 0 ? st : placed;
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
