/* The quantiser: nearest rows, straight-through gradients, and the codebook's moving averages. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/cpu.h"

typedef struct {
	vq_plan *p;
	const vq_node *n;
	size_t d, k, kpad;
	const float *z, *book, *book_t, *norms, *middle;
	float *apart;           /* KERNEL_NEAREST rows a thread */
	const int32_t *codes_in;
	int32_t *codes;
	char *q;
	vq_dtype qt;
	const char *dq;
	vq_dtype dqt;
	float *dz, scale;
	double sum[CPU_THREADS_MAX];
} book_args;

vq_status cpu_quantize_prepare(vq_plan *p, const vq_node *n, cpu_node *c)
{
	static const char who[] = "quantize";
	const vq_value *book = cpu_v(p, n->in[1]);
	size_t kpad = VQ_ALIGN((size_t)n->k, (size_t)KERNEL_PANEL), d = (size_t)cpu_v(p, n->in[0])->c;
	if (cpu_v(p, n->in[0])->dtype != VQ_F32)
		return vq_fail(VQ_EUNSUP, "the quantiser takes f32");
	VQ_TRY(cpu_layout_get(p->s, &(cpu_form){ .where = book->where, .param = book->param, .who = who }, sizeof(float) * (kpad * (d + 1) + d), &c->w.at));
	return cpu_scratch(p, sizeof(float) * d * KERNEL_NEAREST * (size_t)p->b->b.threads);
}

/* The mean row. Distances are taken from there: rows and vectors that lie close together far from 0 would lose their differences in
 * |e|^2/2 - z.e. Any point will do, so one that is not finite is 0. */
static void find_middle(const book_args *a, float *middle)
{
	enum { WIDE = 16 };
	for (size_t i = 0; i < a->d; i += WIDE) {
		double s[WIDE] = {0};
		size_t n = VQ_MIN(a->d - i, (size_t)WIDE);
		for (size_t k = 0; k < a->k; k++)
			for (size_t j = 0; j < n; j++)
				s[j] += (double)a->book[k * a->d + i + j];
		for (size_t j = 0; j < n; j++)
			middle[i + j] = isfinite(s[j]) ? (float)(s[j] / (double)a->k) : 0;
	}
}

/* The codebook about its middle, in the kernel's panels, with half squared norms behind it; rows past the last are infinitely far. */
static void transpose(const book_args *a, float *book_t, float *norms)
{
	enum { ROWS = 16 };
#pragma omp parallel for schedule(static) num_threads(a->p->b->b.threads)
	for (size_t k = 0; k < a->kpad; k += ROWS) {
		const float *row[ROWS];
		double s[ROWS] = { 0 };
		for (size_t r = 0; r < ROWS; r++)
			row[r] = a->book + VQ_MIN(k + r, a->k - 1) * a->d;
		for (size_t i = 0; i < a->d; i++)
			for (size_t r = 0; r < ROWS; r++) {
				float e = row[r][i] - a->middle[i];
				book_t[(k / KERNEL_PANEL * a->d + i) * KERNEL_PANEL + k % KERNEL_PANEL + r] = e;
				s[r] += (double)e * e;
			}
		for (size_t r = 0; r < ROWS; r++)
			norms[k + r] = k + r < a->k ? (float)(s[r] / 2) : INFINITY;
	}
}

static void quantize_piece(void *ctx, int t, size_t at, size_t n)
{
	book_args *a = ctx;
	const vq_kernels *k = a->p->b->k;
	size_t size = vq_dtype_size(a->qt);
	float *apart = a->apart + (size_t)t * KERNEL_NEAREST * a->d;
	for (size_t i = at; i < at + n; i += KERNEL_NEAREST) {
		size_t rows = VQ_MIN(at + n - i, (size_t)KERNEL_NEAREST);
		for (size_t r = 0; r < rows; r++)
			for (size_t j = 0; j < a->d; j++)
				apart[r * a->d + j] = a->z[(i + r) * a->d + j] - a->middle[j];
		k->nearest(rows, a->d, a->kpad, apart, a->book_t, a->norms, a->codes + i);
	}
	for (size_t i = at; i < at + n; i++)
		k->cast(VQ_F32, a->qt, a->d, a->book + (size_t)a->codes[i] * a->d, a->q + i * a->d * size);
}

static void distance_piece(void *ctx, int t, size_t at, size_t n)
{
	book_args *a = ctx;
	double s = 0;
	for (size_t i = at; i < at + n; i++)
		s += a->p->b->k->square_distance(a->d, a->z + i * a->d, a->book + (size_t)a->codes[i] * a->d);
	a->sum[t] += s;
}

vq_status cpu_quantize_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *z = cpu_v(p, n->in[0]), *q = cpu_v(p, n->out[0]);
	book_args a = { .p = p, .n = n, .d = (size_t)z->c, .k = (size_t)n->k, .kpad = VQ_ALIGN((size_t)n->k, (size_t)KERNEL_PANEL), .z = cpu_at(p, n->in[0]),
		.book = cpu_at(p, n->in[1]), .codes = cpu_at(p, n->out[1]), .q = cpu_at(p, n->out[0]), .qt = q->dtype };
	float *book_t = c->w.at->bytes, *norms = book_t + a.kpad * a.d, *middle = norms + a.kpad;
	a.middle = middle;
	a.apart = (float *)p->scratch;
	if (c->w.at->version != p->s->version) {
		find_middle(&a, middle);
		transpose(&a, book_t, norms);
		c->w.at->version = p->s->version;
	}
	a.book_t = book_t;
	a.norms = norms;
	size_t positions = cpu_count(z) / a.d;
	if (cpu_where(p, z, CPU_EXTENT)->total < positions) { /* what no cell covers has no code */
		memset(a.codes, 0xff, positions * sizeof *a.codes);
		memset(a.q, 0, q->bytes);
	}
	cpu_over(p, z, CPU_EXTENT, quantize_piece, &a);
	if (n->scalar >= 0)
		cpu_over(p, z, CPU_VALID, distance_piece, &a);
	for (int t = 0; t < p->b->b.threads && n->scalar >= 0; t++)
		p->step->scalar[n->scalar] += a.sum[t];
	return VQ_OK;
}

vq_status cpu_lookup_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *q = cpu_v(p, n->out[0]);
	size_t d = (size_t)q->c, rows = cpu_count(q) / d, size = vq_dtype_size(q->dtype), k = (size_t)cpu_v(p, n->in[1])->c / d;
	const int32_t *codes = cpu_at(p, n->in[0]);
	const float *book = cpu_at(p, n->in[1]);
	char *y = cpu_at(p, n->out[0]);
	for (size_t i = 0; i < rows; i++) {
		if (codes[i] >= 0 && (size_t)codes[i] >= k)
			return vq_fail(VQ_EINVAL, "code %d of a codebook of %zu", (int)codes[i], k);
		if (codes[i] < 0)
			memset(y + i * d * size, 0, d * size);
		else
			p->b->k->cast(VQ_F32, q->dtype, d, book + (size_t)codes[i] * d, y + i * d * size);
	}
	return VQ_OK;
}

static void through_piece(void *ctx, int t, size_t at, size_t n)
{
	book_args *a = ctx;
	if (a->dq)
		a->p->b->k->cast(a->dqt, VQ_F32, n * a->d, a->dq + at * a->d * vq_dtype_size(a->dqt), a->dz + at * a->d);
}

static void commit_piece(void *ctx, int t, size_t at, size_t n)
{
	book_args *a = ctx;
	for (size_t i = at; i < at + n; i++) {
		const float *e = a->book + (size_t)a->codes_in[i] * a->d, *z = a->z + i * a->d;
		float *dz = a->dz + i * a->d;
		for (size_t j = 0; j < a->d; j++)
			dz[j] += a->scale * (z[j] - e[j]);
	}
}

vq_status cpu_quantize_bwd_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *z = cpu_v(p, n->in[0]);
	book_args a = { .p = p, .n = n, .d = (size_t)z->c, .z = cpu_at(p, n->in[0]), .book = cpu_at(p, n->in[1]), .dq = cpu_at(p, n->in[2]),
		.codes_in = cpu_at(p, n->in[3]), .dz = cpu_at(p, n->out[0]), .scale = 2 * n->a * cpu_scale(p, n) };
	memset(a.dz, 0, z->bytes);
	if (a.dq) {
		a.dqt = cpu_v(p, n->in[2])->dtype;
		cpu_over(p, z, CPU_EXTENT, through_piece, &a);
	}
	cpu_over(p, z, CPU_VALID, commit_piece, &a);
	return VQ_OK;
}

/* Each thread owns a range of rows and looks at all positions, so that sums have one order whatever the number of threads. */
typedef void row_fn(book_args *a, size_t row, size_t position);

static void each_row(book_args *a, int zvalue, row_fn *fn)
{
	const cpu_runs *r = cpu_where(a->p, cpu_v(a->p, zvalue), CPU_VALID);
#pragma omp parallel num_threads(a->p->b->b.threads)
	{
		size_t from, to;
		cpu_part(a->k, 1, omp_get_thread_num(), omp_get_num_threads(), &from, &to);
		for (int i = 0; i < r->n; i++)
			for (size_t j = r->r[i].at; j < r->r[i].at + r->r[i].n; j++) {
				size_t k = (size_t)a->codes_in[j];
				if (k >= from && k < to)
					fn(a, k, j);
			}
	}
}

static void gradient_row(book_args *a, size_t k, size_t j)
{
	for (size_t i = 0; i < a->d; i++) {
		float g = a->scale * (a->book[k * a->d + i] - a->z[j * a->d + i]);
		if (a->dq)
			g += a->dqt == VQ_BF16 ? vq_bf16_to_f32(((const uint16_t *)a->dq)[j * a->d + i]) : ((const float *)a->dq)[j * a->d + i];
		a->dz[k * a->d + i] += g;
	}
}

vq_status cpu_codebook_bwd_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	book_args a = { .p = p, .d = (size_t)cpu_v(p, n->in[0])->c, .z = cpu_at(p, n->in[0]), .book = cpu_at(p, n->in[1]), .codes_in = cpu_at(p, n->in[2]),
		.dq = cpu_at(p, n->in[3]), .dz = cpu_at(p, n->out[0]), .scale = 2 * cpu_scale(p, n) };
	a.dqt = a.dq ? cpu_v(p, n->in[3])->dtype : VQ_F32;
	a.k = (size_t)cpu_v(p, n->in[1])->c / a.d;
	each_row(&a, n->in[0], gradient_row);
	return VQ_OK;
}

static void sum_row(book_args *a, size_t k, size_t j)
{
	((float *)a->q)[k] += 1;
	a->p->b->k->axpy(a->d, 1, a->z + j * a->d, a->dz + k * a->d);
}

vq_status cpu_ema_sum_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	book_args a = { .p = p, .d = (size_t)cpu_v(p, n->in[0])->c, .z = cpu_at(p, n->in[0]), .codes_in = cpu_at(p, n->in[1]), .q = cpu_at(p, n->out[0]),
		.dz = cpu_at(p, n->out[1]), .k = (size_t)cpu_v(p, n->out[0])->c };
	each_row(&a, n->in[0], sum_row);
	return VQ_OK;
}

vq_status cpu_ema_update_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	float *count = cpu_at(p, n->in[0]), *sum = cpu_at(p, n->in[1]), *en = cpu_at(p, n->in[2]), *em = cpu_at(p, n->in[3]), *book = cpu_at(p, n->in[4]);
	size_t k = (size_t)n->k, d = (size_t)cpu_v(p, n->in[1])->c / k;
	double total = 0;
	for (size_t i = 0; i < k; i++) {
		en[i] = n->a * en[i] + (1 - n->a) * count[i];
		total += en[i];
	}
	for (size_t i = 0; i < k; i++) {
		/* additive smoothing that keeps the total */
		double smooth = ((double)en[i] + (double)n->b) / (total + (double)k * (double)n->b) * total;
		float inv = smooth > 0 ? (float)(1 / smooth) : 0;
		for (size_t j = 0; j < d; j++) {
			float *m = &em[i * d + j];
			*m = n->a * *m + (1 - n->a) * sum[i * d + j];
			if (smooth > 0)
				book[i * d + j] = *m * inv;
		}
	}
	memset(count, 0, sizeof *count * k);
	memset(sum, 0, sizeof *sum * k * d);
	p->s->version++;
	return VQ_OK;
}

vq_status cpu_residual_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *v = cpu_v(p, n->out[0]);
	const float *a = cpu_at(p, n->in[0]), *b = cpu_at(p, n->in[1]);
	float *y = cpu_at(p, n->out[0]);
#pragma omp parallel for simd schedule(static) num_threads(p->b->b.threads)
	for (size_t i = 0; i < cpu_count(v); i++)
		y[i] = a[i] - b[i];
	return VQ_OK;
}
