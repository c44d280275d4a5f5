/* Linear layers and attention, by BLAS. Values of linear layers are f32; attention converts what it gathers. */
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "lib/cpu/cpu.h"

vq_status cpu_linear_prepare(vq_plan *p, const vq_node *n, cpu_node *c)
{
	for (int i = 0; i < 2; i++)
		if (n->in[i] >= 0 && cpu_v(p, n->in[i])->dtype != VQ_F32)
			return vq_fail(VQ_EUNSUP, "linear layers take f32");
	if (n->op == VQ_OP_LINEAR_WEIGHT)
		return cpu_scratch(p, cpu_sums_bytes((size_t)cpu_v(p, n->in[1])->c));
	return n->op == VQ_OP_LINEAR ? cpu_scratch(p, sizeof(float) * KERNEL_ROWS * (size_t)cpu_v(p, n->in[0])->c) : VQ_OK;
}

/* Two blocks of rows read w twice; BLAS packs it. */
static bool few_rows(const vq_plan *p, int in) { return p->b->k->linear && p->step->items <= 2 * KERNEL_ROWS && in % 16 == 0; }

static void linear_few(vq_plan *p, int rows, int in, int out, const float *x, const float *w, const float *bias, float *y)
{
	float *xt = (float *)p->scratch;
	int threads = p->b->b.threads;
	for (int r0 = 0; r0 < rows; r0 += KERNEL_ROWS) {
		int m = VQ_MIN(rows - r0, (int)KERNEL_ROWS);
#pragma omp parallel num_threads(threads)
		{
#pragma omp for schedule(static)
			for (int i = 0; i < in; i++)
				for (int r = 0; r < KERNEL_ROWS; r++)
					xt[(size_t)i * KERNEL_ROWS + (size_t)r] = r < m ? x[(size_t)(r0 + r) * (size_t)in + (size_t)i] : 0;
#pragma omp for schedule(static, 1)
			for (int i = 0; i < threads; i++) {
				size_t from, to;
				cpu_part((size_t)out, 16, i, threads, &from, &to);
				p->b->k->linear((size_t)m, (size_t)in, (size_t)out, from, to, xt, w, bias, y + (size_t)r0 * (size_t)out);
			}
		}
	}
}

static void linear_one(vq_plan *p, int in, int out, const float *x, const float *w, const float *bias, float *y)
{
	int threads = p->b->b.threads;
#pragma omp parallel for schedule(static, 1) num_threads(threads)
	for (int i = 0; i < threads; i++) {
		size_t from, to;
		cpu_part((size_t)out, 16, i, threads, &from, &to);
		p->b->k->linear_one((size_t)in, from, to, x, w, bias, y);
	}
}

static void linear_data_few(vq_plan *p, int rows, int in, int out, const float *dy, const float *w, float *dx)
{
	int threads = p->b->b.threads;
	for (int r0 = 0; r0 < rows; r0 += KERNEL_ROWS) {
#pragma omp parallel for schedule(static, 1) num_threads(threads)
		for (int i = 0; i < threads; i++) {
			size_t from, to;
			cpu_part((size_t)in, 16, i, threads, &from, &to);
			p->b->k->linear_data((size_t)VQ_MIN(rows - r0, (int)KERNEL_ROWS), (size_t)in, (size_t)out, from, to, dy + (size_t)r0 * (size_t)out, w, dx + (size_t)r0 * (size_t)in);
		}
	}
}

static void linear_weight_few(vq_plan *p, int rows, int in, int out, const float *x, const float *dy, float *dw)
{
	int threads = p->b->b.threads;
	for (int r0 = 0; r0 < rows; r0 += KERNEL_ROWS) {
#pragma omp parallel for schedule(static, 1) num_threads(threads)
		for (int i = 0; i < threads; i++) {
			size_t from, to;
			cpu_part((size_t)out, 16, i, threads, &from, &to);
			p->b->k->linear_weight((size_t)VQ_MIN(rows - r0, (int)KERNEL_ROWS), (size_t)in, (size_t)out, from, to, x + (size_t)r0 * (size_t)in, dy + (size_t)r0 * (size_t)out, dw);
		}
	}
}

vq_status cpu_linear_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	int rows = p->step->items, in = cpu_v(p, n->in[0])->c, out = cpu_v(p, n->out[0])->c;
	const float *x = cpu_at(p, n->in[0]), *w = cpu_at(p, n->in[1]), *bias = cpu_at(p, n->in[2]);
	float *y = cpu_at(p, n->out[0]);
	memset(y, 0, cpu_v(p, n->out[0])->bytes);
	if (few_rows(p, in)) {
		if (rows == 1)
			linear_one(p, in, out, x, w, bias, y);
		else
			linear_few(p, rows, in, out, x, w, bias, y);
		return VQ_OK;
	}
	for (int r = 0; r < rows && bias; r++)
		memcpy(y + (size_t)r * (size_t)out, bias, sizeof *y * (size_t)out);
	if (rows)
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, out, in, 1, x, in, w, in, 1, y, out);
	return VQ_OK;
}

vq_status cpu_linear_data_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	int rows = p->step->items, out = cpu_v(p, n->in[0])->c, in = cpu_v(p, n->out[0])->c;
	float *dx = cpu_at(p, n->out[0]);
	memset(dx, 0, cpu_v(p, n->out[0])->bytes);
	if (few_rows(p, in))
		linear_data_few(p, rows, in, out, cpu_at(p, n->in[0]), cpu_at(p, n->in[1]), dx);
	else if (rows)
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, in, out, 1, cpu_at(p, n->in[0]), out, cpu_at(p, n->in[1]), in, 0, dx, in);
	return VQ_OK;
}

vq_status cpu_linear_weight_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	int rows = p->step->items, in = cpu_v(p, n->in[0])->c, out = cpu_v(p, n->in[1])->c;
	const float *x = cpu_at(p, n->in[0]), *dy = cpu_at(p, n->in[1]);
	float *db = cpu_at(p, n->out[1]);
	if (few_rows(p, in))
		linear_weight_few(p, rows, in, out, x, dy, cpu_at(p, n->out[0]));
	else if (rows)
		cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, out, in, rows, 1, dy, out, x, in, 1, cpu_at(p, n->out[0]), in);
	for (int r = 0; r < rows && db; r++)
		for (int o = 0; o < out; o++)
			db[o] += dy[(size_t)r * (size_t)out + (size_t)o];
	return VQ_OK;
}

/* --- attention: queries at every position of an item's extent, keys and values at its valid ones. Softmax rows are made for a block of
 * queries at a time and made again in the backward pass. */

enum { BLOCK = 64 };

typedef struct { int np, nk, d, c; } sizes; /* queries, keys, width of a key, width of a value */

static sizes item_sizes(const vq_plan *p, const vq_node *n, int i)
{
	const vq_value *q = cpu_v(p, n->in[0]), *v = cpu_v(p, n->in[2]);
	const vq_place *at = &cpu_places(p, q->grid)[i];
	return (sizes){ at->extent.h * at->extent.w, at->valid.h * at->valid.w, q->c, v->c };
}

vq_status cpu_attention_prepare(vq_plan *p, const vq_node *n, cpu_node *c)
{
	/* the largest item fills a canvas */
	const vq_value *q = cpu_v(p, n->in[0]), *v = cpu_v(p, n->in[2]);
	size_t np = (size_t)q->h * (size_t)q->w, d = (size_t)q->c, w = (size_t)v->c;
	size_t floats = np * (4 * d + 5 * w) + 2 * BLOCK * np + BLOCK;
	c->bytes = VQ_ALIGN(floats * sizeof(float), (size_t)64);
	return cpu_scratch(p, c->bytes * (size_t)p->b->b.threads);
}

static void gather(const vq_plan *p, int value, vq_rect r, float *to)
{
	const vq_value *v = cpu_v(p, value);
	size_t c = (size_t)v->c, row = (size_t)r.w * c;
	const char *x = cpu_at(p, value);
	for (int y = 0; y < r.h; y++, to += row) {
		size_t at = (((size_t)r.n * (size_t)v->h + (size_t)(r.y + y)) * (size_t)v->w + (size_t)r.x) * c;
		p->b->k->cast(v->dtype, VQ_F32, row, x + at * vq_dtype_size(v->dtype), to);
	}
}

static void scatter(const vq_plan *p, int value, vq_rect r, const float *from)
{
	const vq_value *v = cpu_v(p, value);
	size_t c = (size_t)v->c, row = (size_t)r.w * c;
	char *x = cpu_at(p, value);
	for (int y = 0; y < r.h; y++, from += row) {
		size_t at = (((size_t)r.n * (size_t)v->h + (size_t)(r.y + y)) * (size_t)v->w + (size_t)r.x) * c;
		p->b->k->cast(VQ_F32, v->dtype, row, from, x + at * vq_dtype_size(v->dtype));
	}
}

static void softmax(int rows, int n, float *s)
{
	for (int r = 0; r < rows; r++, s += n) {
		float top = s[0];
		double sum = 0;
		for (int i = 1; i < n; i++)
			top = VQ_MAX(top, s[i]);
		for (int i = 0; i < n; i++) {
			s[i] = expf(s[i] - top);
			sum += s[i];
		}
		float inv = (float)(1 / sum);
		for (int i = 0; i < n; i++)
			s[i] *= inv;
	}
}

static void scores(sizes z, int from, int rows, const float *q, const float *k, float *s)
{
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, z.nk, z.d, 1, q + (size_t)from * (size_t)z.d, z.d, k, z.d, 0, s, z.nk);
	softmax(rows, z.nk, s);
}

static void attend(vq_plan *p, const vq_node *n, int i, float *w)
{
	sizes z = item_sizes(p, n, i);
	const vq_place *at = &cpu_places(p, cpu_v(p, n->in[0])->grid)[i];
	if (z.np < 1 || z.nk < 1)
		return;
	float *q = w, *k = q + z.np * z.d, *v = k + z.nk * z.d, *o = v + z.nk * z.c, *s = o + z.np * z.c;
	gather(p, n->in[0], at->extent, q);
	gather(p, n->in[1], at->valid, k);
	gather(p, n->in[2], at->valid, v);
	for (int from = 0; from < z.np; from += BLOCK) {
		int rows = VQ_MIN(z.np - from, BLOCK);
		scores(z, from, rows, q, k, s);
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, z.c, z.nk, 1, s, z.nk, v, z.c, 0, o + from * z.c, z.c);
	}
	scatter(p, n->out[0], at->extent, o);
}

static void attend_bwd(vq_plan *p, const vq_node *n, int i, float *w)
{
	sizes z = item_sizes(p, n, i);
	const vq_place *at = &cpu_places(p, cpu_v(p, n->in[0])->grid)[i];
	if (z.np < 1 || z.nk < 1)
		return;
	float *q = w, *k = q + z.np * z.d, *v = k + z.nk * z.d, *o = v + z.nk * z.c, *g = o + z.np * z.c;
	float *dq = g + z.np * z.c, *dk = dq + z.np * z.d, *dv = dk + z.nk * z.d, *s = dv + z.nk * z.c, *ds = s + BLOCK * z.nk;
	gather(p, n->in[0], at->extent, q);
	gather(p, n->in[1], at->valid, k);
	gather(p, n->in[2], at->valid, v);
	gather(p, n->in[3], at->extent, o);
	gather(p, n->in[4], at->extent, g);
	memset(dk, 0, sizeof *dk * (size_t)(z.nk * z.d));
	memset(dv, 0, sizeof *dv * (size_t)(z.nk * z.c));
	for (int from = 0; from < z.np; from += BLOCK) {
		int rows = VQ_MIN(z.np - from, BLOCK);
		const float *go = g + from * z.c;
		scores(z, from, rows, q, k, s);
		cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, z.nk, z.c, rows, 1, s, z.nk, go, z.c, 1, dv, z.c);
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, z.nk, z.c, 1, go, z.c, v, z.c, 0, ds, z.nk);
		for (int r = 0; r < rows; r++) {
			double dot = 0; /* of the output and its gradient: what softmax's Jacobian takes off every row */
			for (int c = 0; c < z.c; c++)
				dot += (double)go[r * z.c + c] * o[(from + r) * z.c + c];
			for (int j = 0; j < z.nk; j++)
				ds[r * z.nk + j] = s[r * z.nk + j] * (ds[r * z.nk + j] - (float)dot);
		}
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, z.d, z.nk, 1, ds, z.nk, k, z.d, 0, dq + from * z.d, z.d);
		cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, z.nk, z.d, rows, 1, ds, z.nk, q + from * z.d, z.d, 1, dk, z.d);
	}
	scatter(p, n->out[0], at->extent, dq);
	scatter(p, n->out[1], at->valid, dk);
	scatter(p, n->out[2], at->valid, dv);
}

typedef void item_fn(vq_plan *p, const vq_node *n, int i, float *w);

static vq_status each_item(vq_plan *p, const vq_node *n, cpu_node *c, item_fn *fn)
{
	for (int i = 0; i < VQ_NODE_OUT; i++)
		if (n->out[i] >= 0)
			memset(cpu_at(p, n->out[i]), 0, cpu_v(p, n->out[i])->bytes);
#pragma omp parallel num_threads(p->b->b.threads)
	{
		float *w = (float *)(p->scratch + c->bytes * (size_t)omp_get_thread_num());
#pragma omp for schedule(static)
		for (int i = 0; i < p->step->items; i++)
			fn(p, n, i, w);
	}
	return VQ_OK;
}

vq_status cpu_attention_run(vq_plan *p, const vq_node *n, cpu_node *c) { return each_item(p, n, c, attend); }
vq_status cpu_attention_bwd_run(vq_plan *p, const vq_node *n, cpu_node *c) { return each_item(p, n, c, attend_bwd); }
