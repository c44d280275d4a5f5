/* Batch normalisation whose statistics see valid positions only, with the residual and the activation in the same pass. */
#include <math.h>
#include <string.h>

#include "lib/cpu/cpu.h"

typedef struct {
	vq_plan *p;
	const vq_node *n;
	vq_dtype t;
	size_t c, size;
	const char *x, *res, *y, *dy;
	char *dx, *dres, *out;
	const float *mean, *rstd, *gamma, *beta, *s0, *s1, *scale, *shift;
	double *sums;
} norm_args;

/* sums[c] over the value's positions of one kind, in parts that do not depend on the number of threads. */
typedef void part_fn(const norm_args *a, size_t at, size_t n, double *sums);

static void reduce(norm_args *a, const vq_value *v, int kind, part_fn *fn, size_t width, double *out)
{
	const cpu_runs *r = cpu_where(a->p, v, kind);
	double *sums = (double *)a->p->scratch;
	int threads = cpu_sum_threads(a->p, r->total * a->c);
	memset(sums, 0, sizeof *sums * CPU_SHARES * width);
#pragma omp parallel for schedule(static) num_threads(threads)
	for (int s = 0; s < CPU_SHARES; s++) {
		size_t from, to;
		cpu_part(r->total, 1, s, CPU_SHARES, &from, &to);
		for (int i = 0; i < r->n; i++) {
			size_t lo = VQ_MAX(from, r->r[i].before), hi = VQ_MIN(to, r->r[i].before + r->r[i].n);
			if (hi > lo)
				fn(a, r->r[i].at + lo - r->r[i].before, hi - lo, sums + (size_t)s * width);
		}
	}
	memset(out, 0, sizeof *out * width);
	for (int s = 0; s < CPU_SHARES; s++)
		for (size_t c = 0; c < width; c++)
			out[c] += sums[(size_t)s * width + c];
}

static void sum_part(const norm_args *a, size_t at, size_t n, double *sums)
{
	a->p->b->k->col_sum(a->t, n, a->c, a->x + at * a->c * a->size, sums);
}

static void square_part(const norm_args *a, size_t at, size_t n, double *sums)
{
	a->p->b->k->col_square(a->t, n, a->c, a->x + at * a->c * a->size, a->mean, sums);
}

static void grad_part(const norm_args *a, size_t at, size_t n, double *sums)
{
	size_t o = at * a->c * a->size;
	a->p->b->k->norm_sums(a->t, a->n->act, n, a->c, a->mean, a->rstd, a->gamma, a->beta, a->x + o, a->res ? a->res + o : NULL, a->y + o, a->dy + o, sums);
}

static void apply_part(void *ctx, int t, size_t at, size_t n)
{
	const norm_args *a = ctx;
	size_t o = at * a->c * a->size;
	a->p->b->k->norm(a->t, a->n->act, n, a->c, a->scale, a->shift, a->x + o, a->res ? a->res + o : NULL, a->out + o);
}

static void grad_apply(void *ctx, int t, size_t at, size_t n)
{
	const norm_args *a = ctx;
	size_t o = at * a->c * a->size;
	a->p->b->k->norm_bwd(a->t, a->n->act, n, a->c, a->mean, a->rstd, a->gamma, a->beta, a->s0, a->s1, a->x + o, a->res ? a->res + o : NULL, a->y + o,
		a->dy + o, a->dx ? a->dx + o : NULL, a->dres ? a->dres + o : NULL);
}

vq_status cpu_norm_prepare(vq_plan *p, const vq_node *n, cpu_node *c)
{
	/* sums in parts, and 2c doubles and 4c floats of results behind them */
	size_t ch = (size_t)cpu_v(p, n->in[0])->c;
	VQ_TRY(cpu_scratch(p, cpu_sums_bytes(ch)));
	c->extra = vq_aligned(ch * (2 * sizeof(double) + 4 * sizeof(float)));
	return c->extra ? VQ_OK : VQ_ENOMEM;
}

vq_status cpu_norm_run(vq_plan *p, const vq_node *n, cpu_node *node)
{
	const vq_value *v = cpu_v(p, n->in[0]);
	size_t c = (size_t)v->c;
	norm_args a = { .p = p, .n = n, .t = v->dtype, .c = c, .size = vq_dtype_size(v->dtype), .x = cpu_at(p, n->in[0]), .res = cpu_at(p, n->in[5]) };
	float *gamma = cpu_at(p, n->in[1]), *beta = cpu_at(p, n->in[2]), *mean = cpu_at(p, n->in[3]), *var = cpu_at(p, n->in[4]);
	float *save = cpu_at(p, n->out[1]), *scale = (float *)((double *)node->extra + 2 * c), *shift = scale + c;
	double *sums = node->extra, count = (double)cpu_where(p, v, CPU_VALID)->total;
	if (n->training && count > 0) {
		reduce(&a, v, CPU_VALID, sum_part, c, sums);
		for (size_t i = 0; i < c; i++)
			save[i] = (float)(sums[i] / count);
		a.mean = save;
		reduce(&a, v, CPU_VALID, square_part, c, sums);
		for (size_t i = 0; i < c; i++) {
			double s2 = sums[i] / count;
			save[c + i] = (float)(1 / sqrt(s2 + (double)n->b));
			if (n->again)
				continue;
			mean[i] += n->a * (save[i] - mean[i]);
			var[i] += n->a * ((float)(count > 1 ? s2 * count / (count - 1) : s2) - var[i]);
		}
	} else {
		for (size_t i = 0; i < c; i++) {
			save[i] = mean[i];
			save[c + i] = (float)(1 / sqrt((double)var[i] + (double)n->b));
		}
	}
	for (size_t i = 0; i < c; i++) {
		scale[i] = gamma[i] * save[c + i];
		shift[i] = beta[i] - save[i] * scale[i];
	}
	a.scale = scale;
	a.shift = shift;
	a.out = cpu_at(p, n->out[0]);
	cpu_share(p, cpu_count(v) / c, apply_part, &a);
	return VQ_OK;
}

vq_status cpu_norm_bwd_run(vq_plan *p, const vq_node *n, cpu_node *node)
{
	const vq_value *v = cpu_v(p, n->in[0]);
	size_t c = (size_t)v->c;
	const float *save = cpu_at(p, n->in[4]);
	/* in[5] is the residual; beta is needed to know what went into the activation */
	norm_args a = { .p = p, .n = n, .t = v->dtype, .c = c, .size = vq_dtype_size(v->dtype), .x = cpu_at(p, n->in[0]), .y = cpu_at(p, n->in[1]),
		.dy = cpu_at(p, n->in[2]), .gamma = cpu_at(p, n->in[3]), .mean = save, .rstd = save + c, .res = cpu_at(p, n->in[5]),
		.beta = p->s->buf[VQ_BUF_PARAM] + p->s->params.p[cpu_v(p, n->out[2])->param].offset, .dx = cpu_at(p, n->out[0]), .dres = cpu_at(p, n->out[3]) };
	float *dgamma = cpu_at(p, n->out[1]), *dbeta = cpu_at(p, n->out[2]), *s0 = (float *)((double *)node->extra + 2 * c), *s1 = s0 + c;
	double *sums = node->extra, count = (double)cpu_where(p, v, CPU_VALID)->total;
	reduce(&a, v, CPU_EXTENT, grad_part, 2 * c, sums);
	for (size_t i = 0; i < c; i++) {
		dbeta[i] += (float)sums[i];
		dgamma[i] += (float)sums[c + i];
		s0[i] = s1[i] = 0;
	}
	a.s0 = s0;
	a.s1 = s1;
	bool batch = n->training && count > 0, all = count * (double)c == (double)cpu_count(v);
	if (!batch || !all) /* positions that the statistics did not see */
		cpu_share(p, cpu_count(v) / c, grad_apply, &a);
	if (batch) {
		for (size_t i = 0; i < c; i++) {
			s0[i] = (float)(sums[i] / count);
			s1[i] = (float)(sums[c + i] / count);
		}
		cpu_over(p, v, CPU_VALID, grad_apply, &a);
	}
	return VQ_OK;
}
