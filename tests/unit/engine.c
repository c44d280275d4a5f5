#include "tests/unit/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(vq_status s)
{
	if (s >= 0)
		return;
	fprintf(stderr, "engine: %s\n", vq_message());
	abort();
}

static void *memory(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);
	if (!p)
		abort();
	return p;
}

const char *engine_device(void)
{
	const char *d = getenv("VQ_TEST_DEVICE");
	return d && *d ? d : "cpu";
}

bool engine_has_bf16(void)
{
	vq_backend *b;
	if (vq_backend_open(&b, engine_device(), 1) < 0)
		return false;
	bool has = b->bf16;
	b->close(b);
	return has;
}

void engine_open(engine *e, engine_spec s)
{
	*e = (engine){ .spec = s, .seed = -1 };
	s.threads = s.threads ? s.threads : 2;
	must(vq_backend_open(&e->be, engine_device(), s.threads));
	e->g = (vq_graph){ .params = &e->params, .items_max = s.items ? s.items : s.n, .packed = s.packed, .compute = s.compute ? s.compute : VQ_F32 };
	e->b = (vq_builder){ .g = &e->g, .params = &e->params, .declare = true, .training = !s.inference };
	if (s.update)
		e->g.optimizer = *s.update;
	vq_grid_new(&e->b, (vq_grid){ .parent = -1, .h = s.h, .w = s.w });
	e->step.items = e->g.items_max;
	e->step.places = e->place;
	for (int i = 0; i < e->g.items_max && !s.items; i++)
		engine_place(e, i, (vq_rect){ i, 0, 0, s.h, s.w }, (vq_rect){ i, 0, 0, s.h, s.w });
	for (int i = 0; i < VQ_SCALES; i++)
		e->step.scale[i] = 1;
}

void engine_close(engine *e)
{
	if (e->plan)
		e->be->plan_free(e->plan);
	if (e->store)
		e->be->store_free(e->store);
	vq_graph_free(&e->g);
	vq_params_free(&e->params);
	free(e->gradient);
	e->be->close(e->be);
}

void engine_place(engine *e, int i, vq_rect extent, vq_rect valid)
{
	e->place[i] = (vq_place){ extent, valid };
}

int engine_input(engine *e, vq_dtype t, int n, int h, int w, int c, int grid)
{
	/* unknown to the builder as an input until the backward pass is there, so that it has a gradient */
	int v = vq_value_new(&e->b, t == VQ_I32 ? VQ_AT_INPUT : VQ_AT_ARENA, t, n, h, w, c, grid);
	if (v >= 0)
		e->input[e->inputs++] = v;
	return v;
}

void engine_keep(engine *e, int value)
{
	if (value >= 0)
		e->g.v[value].where = VQ_AT_OUTPUT;
}

/* The gradient by y starts as a copy of an input, so that it may be changed in place and kept. */
static int seed(engine *e, int y)
{
	vq_value v = e->g.v[y];
	e->seed = vq_value_new(&e->b, VQ_AT_INPUT, v.dtype, v.n, v.h, v.w, v.c, v.grid);
	int r = vq_value_new(&e->b, VQ_AT_ARENA, v.dtype, v.n, v.h, v.w, v.c, v.grid);
	vq_node *n = vq_node_new(&e->b, VQ_OP_CAST, VQ_BACKWARD);
	if (!n)
		return -1;
	n->in[0] = e->seed;
	n->out[0] = r;
	return r;
}

static void backward(engine *e, int y)
{
	int r = y < 0 ? -1 : seed(e, y);
	e->gradient = memory((size_t)e->g.nv, sizeof *e->gradient);
	for (int i = 0; i < e->g.nv; i++)
		e->gradient[i] = -1;
	if (y >= 0)
		e->gradient[y] = r;
	e->b.gradient = e->gradient;
	vq_build_backward(&e->b);
	e->b.gradient = NULL;
	for (int i = 0; i < e->inputs; i++)
		engine_keep(e, e->gradient[e->input[i]]);
	if (e->spec.update)
		vq_build_update(&e->b, VQ_SCALARS - 1);
}

vq_status engine_build(engine *e, int y)
{
	VQ_TRY(e->b.status);
	if (!e->spec.inference)
		backward(e, y);
	engine_keep(e, y);
	for (int i = 0; i < e->inputs; i++)
		e->g.v[e->input[i]].where = VQ_AT_INPUT;
	VQ_TRY(vq_build_finish(&e->b));
	VQ_TRY(e->be->store_make(e->be, &e->params, !e->spec.fixed, &e->store));
	if (e->g.frozen)
		VQ_TRY(e->be->store_frozen(e->store, e->g.frozen, e->frozen));
	vq_rng r = vq_rng_make(7, 7);
	for (int i = 0; i < e->params.n; i++) {
		double *x = engine_noise(&r, VQ_F32, e->params.p[i].count);
		for (size_t j = 0; j < e->params.p[i].count; j++)
			x[j] = e->params.p[i].init == VQ_INIT_UNIFORM ? (double)(float)(x[j] * (double)e->params.p[i].init_a) : e->params.p[i].init == VQ_INIT_ONE || e->params.p[i].init == VQ_INIT_VALUE ? 1 + .1 * fabs(x[j]) : x[j];
		engine_put_param(e, e->params.p[i].name, x);
		free(x);
	}
	return e->be->plan_make(e->be, e->store, &e->g, &e->plan);
}

vq_status engine_run(engine *e, unsigned phases)
{
	return e->be->plan_run(e->plan, &e->step, phases);
}

static size_t count_of(const vq_value *v) { return (size_t)v->n * (size_t)v->h * (size_t)v->w * (size_t)v->c; }

size_t engine_count(const engine *e, int value) { return count_of(&e->g.v[value]); }

void engine_fill(engine *e, int value, const double *x)
{
	const vq_value *v = &e->g.v[value];
	vq_tensor t;
	must(vq_tensor_make(&t, v->dtype, 1, (int64_t[]){ (int64_t)count_of(v) }));
	for (size_t i = 0; i < count_of(v); i++)
		vq_tensor_set(&t, i, x[i]);
	must(e->be->plan_write(e->plan, value, t.data));
	vq_tensor_free(&t);
}

void engine_fill_seed(engine *e, const double *dy) { engine_fill(e, e->seed, dy); }

void engine_get(engine *e, int value, double *x)
{
	const vq_value *v = &e->g.v[value];
	vq_tensor t;
	must(vq_tensor_make(&t, v->dtype, 1, (int64_t[]){ (int64_t)count_of(v) }));
	must(e->be->plan_read(e->plan, value, t.data));
	for (size_t i = 0; i < count_of(v); i++)
		x[i] = vq_tensor_get(&t, i);
	vq_tensor_free(&t);
}

int engine_gradient(const engine *e, int value) { return e->gradient[value]; }

static const vq_param *param(const engine *e, const char *name)
{
	int i = vq_params_find(&e->params, name);
	if (i < 0) {
		fprintf(stderr, "engine: no parameter %s\n", name);
		abort();
	}
	return &e->params.p[i];
}

size_t engine_param_count(const engine *e, const char *name) { return param(e, name)->count; }

void engine_put_param(engine *e, const char *name, const double *x)
{
	const vq_param *q = param(e, name);
	float *f = memory(q->count, sizeof *f);
	for (size_t i = 0; i < q->count; i++)
		f[i] = (float)x[i];
	must(e->be->store_write(e->store, q->trainable ? VQ_BUF_PARAM : VQ_BUF_STATE, q->offset, q->count, f));
	free(f);
}

static void read_buffer(engine *e, vq_buf_kind k, const vq_param *q, double *x)
{
	float *f = memory(q->count, sizeof *f);
	must(e->be->store_read(e->store, k, q->offset, q->count, f));
	for (size_t i = 0; i < q->count; i++)
		x[i] = (double)f[i];
	free(f);
}

void engine_get_param(engine *e, const char *name, double *x)
{
	const vq_param *q = param(e, name);
	read_buffer(e, q->trainable ? VQ_BUF_PARAM : VQ_BUF_STATE, q, x);
}

void engine_get_grad(engine *e, const char *name, double *x) { read_buffer(e, VQ_BUF_GRAD, param(e, name), x); }

static int node_of(const engine *e, vq_op op)
{
	for (int i = 0; i < e->g.nn; i++)
		if (e->g.node[i].op == op)
			return i;
	return -1;
}

const vq_node *engine_node(const engine *e, vq_op op)
{
	int i = node_of(e, op);
	return i < 0 ? NULL : &e->g.node[i];
}

const char *engine_impl(const engine *e, vq_op op)
{
	int i = node_of(e, op);
	return i < 0 ? "" : e->be->plan_impl(e->plan, i);
}

void engine_round(vq_dtype t, size_t n, double *x)
{
	for (size_t i = 0; i < n; i++)
		x[i] = (double)(t == VQ_BF16 ? vq_bf16_to_f32(vq_f32_to_bf16((float)x[i])) : (float)x[i]);
}

double *engine_noise(vq_rng *r, vq_dtype t, size_t n)
{
	double *x = memory(n, sizeof *x);
	for (size_t i = 0; i < n; i++)
		x[i] = vq_rng_normal(r);
	engine_round(t, n, x);
	return x;
}

double engine_error(size_t n, const double *got, const double *want)
{
	double error = 0, top = 0;
	for (size_t i = 0; i < n; i++) {
		if (!(fabs(got[i] - want[i]) < INFINITY))
			return INFINITY;
		error = fmax(error, fabs(got[i] - want[i]));
		top = fmax(top, fabs(want[i]));
	}
	return top > 0 ? error / top : error;
}
