/* Operations that look at one value or one row at a time. */
#include <string.h>

#include "lib/cpu/cpu.h"
#include "lib/rng.h"

typedef struct {
	vq_plan *p;
	const vq_node *n;
	const vq_kernels *k;
	vq_dtype t, to;
	size_t c, size; /* channels, bytes an element */
	char *x, *y, *z, *o;
	const float *bias;
	vq_act act;
} args;

static args args_of(vq_plan *p, const vq_node *n, int like)
{
	const vq_value *v = cpu_v(p, like);
	return (args){ .p = p, .n = n, .k = p->b->k, .t = v->dtype, .c = (size_t)v->c, .size = vq_dtype_size(v->dtype), .act = n ? n->act : VQ_FN_NONE };
}

static void act_part(void *ctx, int t, size_t at, size_t n)
{
	const args *a = ctx;
	a->k->act(a->t, a->act, n, a->x + at * a->size, a->y + at * a->size);
}

vq_status cpu_act_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	args a = args_of(p, n, n->in[0]);
	a.x = cpu_at(p, n->in[0]);
	a.y = cpu_at(p, n->out[0]);
	cpu_share(p, cpu_count(cpu_v(p, n->in[0])), act_part, &a);
	return VQ_OK;
}

static void act_bwd_part(void *ctx, int t, size_t at, size_t n)
{
	const args *a = ctx;
	size_t o = at * a->size;
	a->k->act_bwd(a->t, a->act, a->n->accumulate, n, a->x ? a->x + o : NULL, a->y + o, a->z + o, a->o + o);
}

vq_status cpu_act_bwd_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	args a = args_of(p, n, n->out[0]);
	a.x = cpu_at(p, n->in[0]);
	a.y = cpu_at(p, n->in[1]);
	a.z = cpu_at(p, n->in[2]);
	a.o = cpu_at(p, n->out[0]);
	cpu_share(p, cpu_count(cpu_v(p, n->out[0])), act_bwd_part, &a);
	return VQ_OK;
}

static void add_part(void *ctx, int t, size_t at, size_t n)
{
	const args *a = ctx;
	size_t o = at * a->size;
	a->k->add(a->t, n, a->x + o, a->y + o, a->o + o);
}

vq_status cpu_add_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	args a = args_of(p, n, n->out[0]);
	a.x = cpu_at(p, n->in[0]);
	a.y = cpu_at(p, n->in[1]);
	a.o = cpu_at(p, n->out[0]);
	cpu_share(p, cpu_count(cpu_v(p, n->out[0])), add_part, &a);
	return VQ_OK;
}

static void clear_piece(void *ctx, int t, size_t at, size_t n)
{
	const args *a = ctx;
	memset(a->o + at * a->c * a->size, 0, n * a->c * a->size);
}

vq_status cpu_clear_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	args a = args_of(p, n, n->out[0]);
	a.o = cpu_at(p, n->out[0]);
	cpu_over(p, cpu_v(p, n->out[0]), CPU_GAP, clear_piece, &a);
	return VQ_OK;
}

static void cast_part(void *ctx, int t, size_t at, size_t n)
{
	const args *a = ctx;
	a->k->cast(a->t, a->to, n, a->x + at * a->size, a->o + at * vq_dtype_size(a->to));
}

vq_status cpu_cast_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	args a = args_of(p, n, n->in[0]);
	a.to = cpu_v(p, n->out[0])->dtype;
	a.x = cpu_at(p, n->in[0]);
	a.o = cpu_at(p, n->out[0]);
	cpu_share(p, cpu_count(cpu_v(p, n->in[0])), cast_part, &a);
	return VQ_OK;
}

static void bias_part(void *ctx, int t, size_t at, size_t n)
{
	const args *a = ctx;
	a->k->bias_act(a->t, a->act, n, a->c, a->bias, a->o + at * a->c * a->size);
}

void cpu_bias_act(vq_plan *p, int value, const float *bias, vq_act act)
{
	args a = args_of(p, NULL, value);
	a.act = act;
	a.bias = bias;
	a.o = cpu_at(p, value);
	cpu_share(p, cpu_count(cpu_v(p, value)) / a.c, bias_part, &a);
}

void cpu_bias_grad(vq_plan *p, int dy, float *db)
{
	args a = args_of(p, NULL, dy);
	size_t rows = cpu_count(cpu_v(p, dy)) / a.c;
	const char *x = cpu_at(p, dy);
	double *sums = (double *)p->scratch;
	int threads = cpu_sum_threads(p, rows * a.c);
	memset(sums, 0, sizeof *sums * CPU_SHARES * a.c);
#pragma omp parallel for schedule(static) num_threads(threads)
	for (int i = 0; i < CPU_SHARES; i++) {
		size_t from, to;
		cpu_part(rows, 1, i, CPU_SHARES, &from, &to);
		if (to > from)
			a.k->col_sum(a.t, to - from, a.c, x + from * a.c * a.size, sums + (size_t)i * a.c);
	}
	for (size_t c = 0; c < a.c; c++) {
		double s = 0;
		for (int i = 0; i < CPU_SHARES; i++)
			s += sums[(size_t)i * a.c + c];
		db[c] += (float)s;
	}
}

static void flatten(vq_plan *p, const vq_node *n, bool back)
{
	const vq_value *v = cpu_v(p, back ? n->out[0] : n->in[0]);
	size_t size = vq_dtype_size(v->dtype), plane = (size_t)v->h * (size_t)v->w, c = (size_t)v->c;
	const char *x = cpu_at(p, n->in[0]);
	char *y = cpu_at(p, n->out[0]);
	for (size_t i = 0; i < (size_t)v->n; i++)
		for (size_t j = 0; j < plane; j++)
			for (size_t k = 0; k < c; k++) {
				size_t nhwc = (i * plane + j) * c + k, nchw = (i * c + k) * plane + j;
				memcpy(y + (back ? nhwc : nchw) * size, x + (back ? nchw : nhwc) * size, size);
			}
}

vq_status cpu_flatten_run(vq_plan *p, const vq_node *n, cpu_node *c) { flatten(p, n, false); return VQ_OK; }
vq_status cpu_unflatten_run(vq_plan *p, const vq_node *n, cpu_node *c) { flatten(p, n, true); return VQ_OK; }

vq_status cpu_gate_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *v = cpu_v(p, n->out[0]);
	const void *x = cpu_at(p, n->in[0]), *o = cpu_at(p, n->in[1]);
	float gamma = *(float *)cpu_at(p, n->in[2]);
	void *y = cpu_at(p, n->out[0]);
#pragma omp parallel for schedule(static) num_threads(p->b->b.threads)
	for (size_t i = 0; i < cpu_count(v); i++)
		cpu_store(v->dtype, y, i, cpu_load(v->dtype, x, i) + gamma * cpu_load(v->dtype, o, i));
	return VQ_OK;
}

vq_status cpu_gate_bwd_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *v = cpu_v(p, n->in[0]);
	const void *o = cpu_at(p, n->in[0]), *dy = cpu_at(p, n->in[1]);
	float gamma = *(float *)cpu_at(p, n->in[2]);
	void *dx = cpu_at(p, n->out[0]);
	double part[CPU_SHARES] = {0}, sum = 0;
#pragma omp parallel for schedule(static) num_threads(p->b->b.threads)
	for (int s = 0; s < CPU_SHARES; s++) {
		size_t from, to;
		cpu_part(cpu_count(v), 1, s, CPU_SHARES, &from, &to);
		for (size_t i = from; i < to; i++) {
			float g = cpu_load(v->dtype, dy, i);
			part[s] += (double)g * cpu_load(v->dtype, o, i);
			if (dx)
				cpu_store(v->dtype, dx, i, gamma * g);
		}
	}
	for (int s = 0; s < CPU_SHARES; s++)
		sum += part[s];
	*(float *)cpu_at(p, n->out[1]) += (float)sum;
	return VQ_OK;
}

/* Forward and backward alike: scale what the node's own random stream keeps. */
vq_status cpu_dropout_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	const vq_value *v = cpu_v(p, n->out[0]);
	const void *x = cpu_at(p, n->in[0]);
	void *y = cpu_at(p, n->out[0]);
	uint32_t key[2] = { (uint32_t)p->step->seed, (uint32_t)(p->step->seed >> 32) ^ (uint32_t)n->k }, keep = (uint32_t)((1 - (double)n->a) * 4294967295.0);
	size_t count = cpu_count(v);
	for (size_t i = 0; i < count; i += 4) {
		uint32_t counter[4] = { (uint32_t)i, (uint32_t)(i >> 32), (uint32_t)p->step->step, (uint32_t)(p->step->step >> 32) }, r[4];
		vq_philox(counter, key, r);
		for (size_t j = 0; j < 4 && i + j < count; j++)
			cpu_store(v->dtype, y, i + j, r[j] <= keep ? cpu_load(v->dtype, x, i + j) / (1 - n->a) : 0);
	}
	return VQ_OK;
}
