/* The reconstruction loss with its gradient, and the optimiser over the flat buffer. */
#include <math.h>
#include <string.h>

#include "lib/cpu/cpu.h"

typedef struct {
	vq_plan *p;
	size_t c;
	int power;
	const float *y, *t, *w;
	float *dy, scale;
	double sum[CPU_THREADS_MAX];
} loss_args;

static void loss_piece(void *ctx, int t, size_t at, size_t n)
{
	loss_args *a = ctx;
	size_t o = at * a->c;
	a->sum[t] += a->p->b->k->loss(n, a->c, a->power, a->y + o, a->t + o, a->w ? a->w + at : NULL, a->scale, a->dy ? a->dy + o : NULL);
}

vq_status cpu_loss_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *v = cpu_v(p, n->in[0]);
	loss_args a = { .p = p, .c = (size_t)v->c, .power = (int)n->a, .y = cpu_at(p, n->in[0]), .t = cpu_at(p, n->in[1]), .w = cpu_at(p, n->in[2]),
		.dy = cpu_at(p, n->out[0]), .scale = cpu_scale(p, n) };
	if (a.dy && cpu_where(p, v, CPU_VALID)->total * a.c < cpu_count(v))
		memset(a.dy, 0, v->bytes);
	cpu_over(p, v, CPU_VALID, loss_piece, &a);
	for (int t = 0; t < p->b->b.threads; t++)
		p->step->scalar[n->scalar] += a.sum[t];
	return VQ_OK;
}

enum { CHUNK = 1 << 14 };

vq_status cpu_optimize_prepare(vq_plan *p, const vq_node *n, cpu_node *c)
{
	return cpu_scratch(p, sizeof(double) * (p->s->params.sizes[1] / CHUNK + 1));
}

vq_status cpu_optimize_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	vq_store *s = p->s;
	const vq_optimizer *o = &p->g.optimizer;
	const vq_kernels *k = p->b->k;
	size_t total = s->params.sizes[1];
	float *g = s->buf[VQ_BUF_GRAD], *m = s->buf[VQ_BUF_M], *v = s->buf[VQ_BUF_V], *w = s->buf[VQ_BUF_PARAM];
	int chunks = (int)((total + CHUNK - 1) / CHUNK);
	double *part = (double *)p->scratch, sum = 0;
#pragma omp parallel for schedule(static) num_threads(p->b->b.threads)
	for (int i = 0; i < chunks; i++)
		part[i] = k->sum_squares(VQ_MIN((size_t)CHUNK, total - (size_t)i * CHUNK), g + (size_t)i * CHUNK);
	for (int i = 0; i < chunks; i++)
		sum += part[i];
	float norm = (float)sqrt(sum), factor = o->clip > 0 && norm > o->clip ? o->clip / (norm + 1e-6f) : 1;
	if (n->scalar >= 0)
		p->step->scalar[n->scalar] = norm;
	if (!isfinite(norm))
		return VQ_OK;
	double t = (double)p->step->step + 1;
	float c1 = (float)(1 - pow((double)o->beta1, t)), c2 = (float)(1 - pow((double)o->beta2, t));
#pragma omp parallel for schedule(static) num_threads(p->b->b.threads)
	for (int i = 0; i < chunks; i++) {
		size_t at = (size_t)i * CHUNK, len = VQ_MIN((size_t)CHUNK, total - at);
		if (o->kind == VQ_SGD)
			k->sgd(len, p->step->lr, o->momentum, o->weight_decay, s->updates == 0, factor, g + at, m + at, w + at);
		else
			k->adam(len, o->kind == VQ_ADAMW, p->step->lr, o->beta1, o->beta2, o->eps, o->weight_decay, c1, c2, factor, g + at, m + at, v + at, w + at);
		memset(g + at, 0, len * sizeof *g);
	}
	s->version++;
	s->updates++;
	return VQ_OK;
}
