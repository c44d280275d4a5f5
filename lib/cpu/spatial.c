/* Pooling and resizing between the rectangles of items. */
#include <math.h>
#include <string.h>

#include "lib/cpu/cpu.h"

static float load(const vq_value *v, const void *p, size_t i)
{
	return v->dtype == VQ_BF16 ? vq_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

static void store(const vq_value *v, void *p, size_t i, float x)
{
	if (v->dtype == VQ_BF16)
		((uint16_t *)p)[i] = vq_f32_to_bf16(x);
	else
		((float *)p)[i] = x;
}

static size_t index_of(const vq_value *v, int n, int y, int x) { return (((size_t)n * (size_t)v->h + (size_t)y) * (size_t)v->w + (size_t)x) * (size_t)v->c; }

/* PyTorch's adaptive bins: from floor(i n / p) up to ceil((i+1) n / p). */
static int bin_from(int i, int n, int p) { return i * n / p; }
static int bin_to(int i, int n, int p) { return ((i + 1) * n + p - 1) / p; }

vq_status cpu_pool_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *xv = cpu_v(p, n->in[0]), *yv = cpu_v(p, n->out[0]);
	const void *x = cpu_at(p, n->in[0]);
	char *y = cpu_at(p, n->out[0]);
	memset(y, 0, yv->bytes);
#pragma omp parallel for schedule(static) num_threads(p->b->b.threads)
	for (int i = 0; i < p->step->items; i++) {
		vq_rect r = cpu_places(p, xv->grid)[i].extent;
		for (int b = 0; b < n->k * n->k && r.h > 0 && r.w > 0; b++) {
			int y0 = bin_from(b / n->k, r.h, n->k), y1 = bin_to(b / n->k, r.h, n->k), x0 = bin_from(b % n->k, r.w, n->k), x1 = bin_to(b % n->k, r.w, n->k);
			for (int ch = 0; ch < xv->c; ch++) {
				double s = 0;
				for (int yy = y0; yy < y1; yy++)
					for (int xx = x0; xx < x1; xx++)
						s += load(xv, x, index_of(xv, r.n, r.y + yy, r.x + xx) + (size_t)ch);
				store(yv, y, index_of(yv, i, b / n->k, b % n->k) + (size_t)ch, (float)(s / ((y1 - y0) * (x1 - x0))));
			}
		}
	}
	return VQ_OK;
}

vq_status cpu_pool_bwd_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *gv = cpu_v(p, n->in[0]), *xv = cpu_v(p, n->out[0]);
	const void *dy = cpu_at(p, n->in[0]);
	char *dx = cpu_at(p, n->out[0]);
	memset(dx, 0, xv->bytes);
#pragma omp parallel for schedule(static) num_threads(p->b->b.threads)
	for (int i = 0; i < p->step->items; i++) {
		vq_rect r = cpu_places(p, xv->grid)[i].extent;
		for (int b = 0; b < n->k * n->k; b++) {
			int y0 = bin_from(b / n->k, r.h, n->k), y1 = bin_to(b / n->k, r.h, n->k), x0 = bin_from(b % n->k, r.w, n->k), x1 = bin_to(b % n->k, r.w, n->k);
			float part = 1.f / (float)((y1 - y0) * (x1 - x0));
			for (int yy = y0; yy < y1; yy++)
				for (int xx = x0; xx < x1; xx++)
					for (int ch = 0; ch < xv->c; ch++) {
						size_t at = index_of(xv, r.n, r.y + yy, r.x + xx) + (size_t)ch;
						store(xv, dx, at, load(xv, dx, at) + part * load(gv, dy, index_of(gv, i, b / n->k, b % n->k) + (size_t)ch));
					}
		}
	}
	return VQ_OK;
}

/* Where output position o of `to` reads along an axis of `from` positions: two neighbours and the weight of the second. */
static void taps(int o, int from, int to, int *i0, int *i1, float *w)
{
	float s = fmaxf(((float)o + .5f) * (float)from / (float)to - .5f, 0);
	*i0 = VQ_MIN((int)s, from - 1);
	*i1 = VQ_MIN(*i0 + 1, from - 1);
	*w = s - (float)*i0;
}

/* Extents of one size: what is read is what is written. */
static void copy_item(const vq_value *from, const vq_value *to, vq_rect a, vq_rect b, const char *x, char *y)
{
	size_t size = vq_dtype_size(from->dtype);
	for (int i = 0; i < b.h; i++)
		memcpy(y + index_of(to, b.n, b.y + i, b.x) * size, x + index_of(from, a.n, a.y + i, a.x) * size, (size_t)b.w * (size_t)from->c * size);
}

static void resize_item(const vq_kernels *k, const vq_value *sv, const vq_value *dv, vq_rect a, vq_rect b, char *small, char *big, bool backward)
{
	size_t size = vq_dtype_size(sv->dtype), c = (size_t)sv->c;
	for (int y = 0; y < b.h && a.h > 0 && a.w > 0; y++)
		for (int x = 0; x < b.w; x++) {
			int y0, y1, x0, x1;
			float wy, wx;
			taps(y, a.h, b.h, &y0, &y1, &wy);
			taps(x, a.w, b.w, &x0, &x1, &wx);
			char *at[4] = { small + size * index_of(sv, a.n, a.y + y0, a.x + x0), small + size * index_of(sv, a.n, a.y + y0, a.x + x1),
				small + size * index_of(sv, a.n, a.y + y1, a.x + x0), small + size * index_of(sv, a.n, a.y + y1, a.x + x1) };
			float w[4] = { (1 - wy) * (1 - wx), (1 - wy) * wx, wy * (1 - wx), wy * wx };
			char *o = big + size * index_of(dv, b.n, b.y + y, b.x + x);
			if (backward)
				k->spread(sv->dtype, c, w, o, (void *const *)at);
			else
				k->blend(sv->dtype, c, w, (const void *const *)at, o);
		}
}

static vq_status resize(vq_plan *p, int from, int to, bool backward)
{
	const vq_value *sv = cpu_v(p, from), *dv = cpu_v(p, to);
	char *s = cpu_at(p, from), *d = cpu_at(p, to);
	memset(backward ? s : d, 0, (backward ? sv : dv)->bytes);
#pragma omp parallel for schedule(static) num_threads(p->b->b.threads)
	for (int i = 0; i < p->step->items; i++) {
		vq_rect a = cpu_places(p, sv->grid)[i].extent, b = cpu_places(p, dv->grid)[i].extent;
		if (a.h != b.h || a.w != b.w)
			resize_item(p->b->k, sv, dv, a, b, s, d, backward);
		else if (backward)
			copy_item(dv, sv, b, a, d, s);
		else
			copy_item(sv, dv, a, b, s, d);
	}
	return VQ_OK;
}

vq_status cpu_resize_run(vq_plan *p, const vq_node *n, cpu_node *c) { return resize(p, n->in[0], n->out[0], false); }
vq_status cpu_resize_bwd_run(vq_plan *p, const vq_node *n, cpu_node *c) { return resize(p, n->out[0], n->in[0], true); }
