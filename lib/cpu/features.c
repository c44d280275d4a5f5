/* What goes into a frozen network, and the distance between what comes out of it. */
#include <math.h>
#include <omp.h>
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

typedef struct { const vq_node *n; const vq_value *from, *to; const void *x; void *y; const float *mul, *add; } colours;

static void colours_piece(void *ctx, int t, size_t at, size_t n)
{
	const colours *a = ctx;
	for (size_t i = at; i < at + n; i++)
		for (int c = 0; c < 3; c++)
			store(a->to, a->y, 3 * i + (size_t)c, load(a->from, a->x, i * (size_t)a->from->c + (size_t)(a->n->k + a->n->s * c)) * a->mul[c] + a->add[c]);
}

static void colours_back(void *ctx, int t, size_t at, size_t n)
{
	const colours *a = ctx;
	for (size_t i = at; i < at + n; i++)
		for (int ch = 0; ch < a->to->c; ch++) {
			float sum = 0;
			for (int c = 0; c < 3; c++)
				sum += ch == a->n->k + a->n->s * c ? load(a->from, a->x, 3 * i + (size_t)c) * a->mul[c] : 0;
			store(a->to, a->y, i * (size_t)a->to->c + (size_t)ch, sum);
		}
}

static vq_status over_extents(vq_plan *p, const vq_node *n, cpu_piece *fn)
{
	colours a = { n, cpu_v(p, n->in[0]), cpu_v(p, n->out[0]), cpu_at(p, n->in[0]), cpu_at(p, n->out[0]), cpu_at(p, n->in[1]), cpu_at(p, n->in[2]) };
	if (cpu_where(p, a.to, CPU_EXTENT)->total * (size_t)a.to->c < cpu_count(a.to))
		memset(a.y, 0, a.to->bytes);
	cpu_over(p, a.to, CPU_EXTENT, fn, &a);
	return VQ_OK;
}

vq_status cpu_colours_run(vq_plan *p, const vq_node *n, cpu_node *c) { return over_extents(p, n, colours_piece); }
vq_status cpu_colours_bwd_run(vq_plan *p, const vq_node *n, cpu_node *c) { return over_extents(p, n, colours_back); }

/* Scratch: a sum for each row of each item, then rows of features a thread. */
static size_t sums_bytes(const vq_plan *p, const vq_value *v) { return VQ_ALIGN((size_t)p->g.items_max * (size_t)v->h * sizeof(double), (size_t)64); }

vq_status cpu_features_prepare(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *v = cpu_v(p, n->in[0]);
	return cpu_scratch(p, sums_bytes(p, v) + 3 * sizeof(float) * (size_t)v->c * (size_t)p->b->b.threads);
}

static double plain(size_t n, const float *f, const float *t, float scale, float *df)
{
	float sum = 0;
#pragma omp simd reduction(+ : sum)
	for (size_t i = 0; i < n; i++)
		sum += (f[i] - t[i]) * (f[i] - t[i]);
	for (size_t i = 0; i < n && df; i++)
		df[i] = 2 * scale / (float)n * (f[i] - t[i]);
	return (double)sum / (double)n;
}

static const float epsilon = 1e-10f; /* LPIPS's, added to the norms */

static float norm(size_t n, const float *x)
{
	float sum = 0;
#pragma omp simd reduction(+ : sum)
	for (size_t i = 0; i < n; i++)
		sum += x[i] * x[i];
	return sqrtf(sum);
}

/* Where all features are 0 there is no gradient, though the norm has a kink there. */
static double unit(size_t n, const float *f, const float *t, const float *w, float scale, float *df)
{
	float length = norm(n, f), a = 1 / (length + epsilon), b = 1 / (norm(n, t) + epsilon), sum = 0, along = 0;
#pragma omp simd reduction(+ : sum, along)
	for (size_t i = 0; i < n; i++) {
		float d = f[i] * a - t[i] * b, wd = w ? w[i] * d : d;
		sum += wd * d;
		along += wd * f[i];
	}
	float s = length > 0 ? 2 * scale * a : 0, back = length > 0 ? 2 * scale * along * a * a / length : 0;
	for (size_t i = 0; i < n && df; i++)
		df[i] = s * (w ? w[i] : 1) * (f[i] * a - t[i] * b) - back * f[i];
	return (double)sum;
}

typedef struct { const vq_node *n; const vq_value *v; const void *f, *t; const float *w; void *df; float scale; } features;

static const float *position(const vq_value *v, const void *p, size_t at, float *buf)
{
	if (v->dtype == VQ_F32)
		return (const float *)p + at;
	for (size_t i = 0; i < (size_t)v->c; i++)
		buf[i] = load(v, p, at + i);
	return buf;
}

/* Valid positions from..to, all in one row; buf holds three rows of features. */
static double features_row(const features *a, size_t from, size_t to, float scale, float *buf)
{
	size_t c = (size_t)a->v->c;
	double sum = 0;
	for (size_t at = from * c; at < to * c; at += c) {
		const float *f = position(a->v, a->f, at, buf), *t = position(a->v, a->t, at, buf + c);
		float *df = !a->df ? NULL : a->v->dtype == VQ_F32 ? (float *)a->df + at : buf + 2 * c;
		sum += a->n->k ? unit(c, f, t, a->w, scale, df) : plain(c, f, t, scale, df);
		for (size_t i = 0; i < c && df && a->v->dtype != VQ_F32; i++)
			store(a->v, a->df, at + i, df[i]);
	}
	return sum;
}

vq_status cpu_features_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *v = cpu_v(p, n->in[0]);
	features a = { n, v, cpu_at(p, n->in[0]), cpu_at(p, n->in[1]), cpu_at(p, n->in[2]), cpu_at(p, n->out[0]), cpu_scale(p, n) };
	double *sum = (double *)p->scratch, total = 0;
	float *bufs = (float *)(p->scratch + sums_bytes(p, v));
	if (a.df)
		memset(a.df, 0, v->bytes);
#pragma omp parallel for schedule(static) num_threads(p->b->b.threads)
	for (int k = 0; k < p->step->items * v->h; k++) {
		vq_rect r = cpu_places(p, v->grid)[k / v->h].valid;
		int y = k % v->h;
		sum[k] = 0;
		if (y >= r.h || r.w <= 0)
			continue;
		size_t at = ((size_t)r.n * (size_t)v->h + (size_t)(r.y + y)) * (size_t)v->w + (size_t)r.x;
		double count = (double)r.h * r.w;
		sum[k] = features_row(&a, at, at + (size_t)r.w, (float)((double)a.scale * (double)n->a / count), bufs + 3 * (size_t)omp_get_thread_num() * (size_t)v->c) / count;
	}
	for (int k = 0; k < p->step->items * v->h; k++)
		total += sum[k];
	p->step->scalar[n->scalar] += (double)n->a * total;
	return VQ_OK;
}
