/* Greatest values of windows within each item's extent. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "lib/cpu/cpu.h"

static size_t index_of(const vq_value *v, int n, int y, int x) { return (((size_t)n * (size_t)v->h + (size_t)y) * (size_t)v->w + (size_t)x) * (size_t)v->c; }

/* n values of v from element `at` as f32: in place, or in buf. */
static const float *row(const vq_value *v, const void *p, size_t at, size_t n, float *buf)
{
	if (v->dtype == VQ_F32)
		return (const float *)p + at;
	for (size_t i = 0; i < n; i++)
		buf[i] = vq_bf16_to_f32(((const uint16_t *)p)[at + i]);
	return buf;
}

static void put(const vq_value *v, void *p, size_t at, size_t n, const float *x)
{
	if (v->dtype == VQ_F32)
		memcpy((float *)p + at, x, n * sizeof *x);
	else
		for (size_t i = 0; i < n; i++)
			((uint16_t *)p)[at + i] = vq_f32_to_bf16(x[i]);
}

enum { BLOCK = 64 }; /* channels at a time */

vq_status cpu_maxpool_prepare(vq_plan *p, const vq_node *n, cpu_node *c)
{
	/* the backward pass adds in f32, one item of one block a thread */
	const vq_value *v = n->op == VQ_OP_MAXPOOL_BWD ? cpu_v(p, n->out[0]) : NULL;
	return v ? cpu_scratch(p, (size_t)p->b->b.threads * (size_t)v->h * (size_t)v->w * BLOCK * sizeof(float)) : VQ_OK;
}

/* One output position's window: rows y0..y1 and columns x0..x1 of the item's extent. */
typedef struct { int y0, y1, x0, x1; } window;

static window window_of(const vq_node *n, vq_rect in, int oy, int ox)
{
	return (window){ oy * n->s, VQ_MIN(oy * n->s + n->k, in.h), ox * n->s, VQ_MIN(ox * n->s + n->k, in.w) };
}

static void pool_row(const vq_node *n, const vq_value *xv, const vq_value *yv, const void *x, void *y, vq_rect in, vq_rect out, int oy)
{
	size_t channels = (size_t)xv->c;
	for (int ox = 0; ox < out.w; ox++) {
		window w = window_of(n, in, oy, ox);
		for (size_t c = 0; c < channels; c += BLOCK) {
			size_t some = VQ_MIN(channels - c, (size_t)BLOCK);
			float top[BLOCK], buf[BLOCK];
			for (size_t i = 0; i < some; i++)
				top[i] = -INFINITY;
			for (int yy = w.y0; yy < w.y1; yy++)
				for (int xx = w.x0; xx < w.x1; xx++) {
					const float *v = row(xv, x, index_of(xv, in.n, in.y + yy, in.x + xx) + c, some, buf);
					for (size_t i = 0; i < some; i++)
						top[i] = v[i] > top[i] || isnan(v[i]) ? v[i] : top[i];
				}
			put(yv, y, index_of(yv, out.n, out.y + oy, out.x + ox) + c, some, top);
		}
	}
}

vq_status cpu_maxpool_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *xv = cpu_v(p, n->in[0]), *yv = cpu_v(p, n->out[0]);
	const void *x = cpu_at(p, n->in[0]);
	void *y = cpu_at(p, n->out[0]);
	if (cpu_where(p, yv, CPU_EXTENT)->total * (size_t)yv->c < cpu_count(yv))
		memset(y, 0, yv->bytes);
#pragma omp parallel for schedule(static) num_threads(p->b->b.threads)
	for (int k = 0; k < p->step->items * yv->h; k++) {
		vq_rect in = cpu_places(p, xv->grid)[k / yv->h].extent, out = cpu_places(p, yv->grid)[k / yv->h].extent;
		if (k % yv->h < out.h)
			pool_row(n, xv, yv, x, y, in, out, k % yv->h);
	}
	return VQ_OK;
}

typedef struct { const vq_value *xv, *yv, *gv, *dv; const void *x, *y, *dy; void *dx; } pool_values;

/* Gives each output's gradient to the first of its window that equals it. */
static void scatter(const vq_node *n, const pool_values *a, vq_rect in, vq_rect out, int oy, int ox, size_t c, size_t some, float *sum)
{
	window w = window_of(n, in, oy, ox);
	float left[BLOCK], top[BLOCK], buf[BLOCK];
	size_t at = index_of(a->yv, out.n, out.y + oy, out.x + ox) + c;
	memcpy(left, row(a->gv, a->dy, at, some, buf), some * sizeof *left);
	memcpy(top, row(a->yv, a->y, at, some, buf), some * sizeof *top);
	for (int yy = w.y0; yy < w.y1; yy++)
		for (int xx = w.x0; xx < w.x1; xx++) {
			const float *v = row(a->xv, a->x, index_of(a->xv, in.n, in.y + yy, in.x + xx) + c, some, buf);
			float *d = sum + ((size_t)yy * (size_t)in.w + (size_t)xx) * BLOCK;
			for (size_t i = 0; i < some; i++) {
				bool hit = v[i] == top[i];
				d[i] += hit ? left[i] : 0;
				left[i] = hit ? 0 : left[i];
			}
		}
}

static void pool_back(const vq_node *n, const pool_values *a, vq_rect in, vq_rect out, size_t c, float *sum)
{
	size_t some = VQ_MIN((size_t)a->xv->c - c, (size_t)BLOCK);
	memset(sum, 0, (size_t)in.h * (size_t)in.w * BLOCK * sizeof *sum);
	for (int oy = 0; oy < out.h; oy++)
		for (int ox = 0; ox < out.w; ox++)
			scatter(n, a, in, out, oy, ox, c, some, sum);
	for (int y = 0; y < in.h; y++)
		for (int x = 0; x < in.w; x++)
			put(a->dv, a->dx, index_of(a->dv, in.n, in.y + y, in.x + x) + c, some, sum + ((size_t)y * (size_t)in.w + (size_t)x) * BLOCK);
}

vq_status cpu_maxpool_bwd_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	pool_values a = { cpu_v(p, n->in[0]), cpu_v(p, n->in[1]), cpu_v(p, n->in[2]), cpu_v(p, n->out[0]), cpu_at(p, n->in[0]), cpu_at(p, n->in[1]), cpu_at(p, n->in[2]),
		cpu_at(p, n->out[0]) };
	int blocks = (a.xv->c + BLOCK - 1) / BLOCK;
	size_t room = (size_t)a.dv->h * (size_t)a.dv->w * BLOCK;
	if (cpu_where(p, a.dv, CPU_EXTENT)->total * (size_t)a.dv->c < cpu_count(a.dv))
		memset(a.dx, 0, a.dv->bytes);
#pragma omp parallel for schedule(static) num_threads(p->b->b.threads)
	for (int k = 0; k < p->step->items * blocks; k++) {
		vq_rect in = cpu_places(p, a.xv->grid)[k / blocks].extent, out = cpu_places(p, a.yv->grid)[k / blocks].extent;
		pool_back(n, &a, in, out, (size_t)(k % blocks) * BLOCK, (float *)p->scratch + (size_t)omp_get_thread_num() * room);
	}
	return VQ_OK;
}
