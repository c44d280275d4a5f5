#include "tests/unit/naive.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/ref.h"

static size_t count_of(const vq_value *v) { return (size_t)v->n * (size_t)v->h * (size_t)v->w * (size_t)v->c; }
static ref_dims dims(const vq_value *v) { return (ref_dims){ v->n, v->h, v->w, v->c }; }

static void *memory(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);
	if (!p)
		abort();
	return p;
}

void naive_open(naive *n, const vq_graph *g, const vq_step *step)
{
	*n = (naive){ .g = g, .step = step };
	n->value = memory((size_t)g->nv, sizeof *n->value);
	n->still = memory((size_t)g->nv, sizeof *n->still);
	for (int i = 0; i < g->nv; i++)
		n->value[i] = ref_new(count_of(&g->v[i]));
	n->places = memory((size_t)(g->ng * g->items_max + 1), sizeof *n->places);
	vq_places(g, step->items, step->places, n->places);
}

void naive_close(naive *n)
{
	for (int i = 0; i < n->g->nv; i++) {
		free(n->value[i]);
		free(n->still[i]);
	}
	free(n->value);
	free(n->still);
	free(n->places);
}

double *naive_param(naive *n, const char *name)
{
	int p = vq_params_find(n->g->params, name);
	for (int i = 0; i < n->g->nv; i++)
		if (n->g->v[i].where == VQ_AT_PARAM && n->g->v[i].param == p)
			return n->value[i];
	fprintf(stderr, "naive: no parameter %s\n", name);
	abort();
}

static vq_place place_of(const naive *n, const vq_value *v, int item) { return n->places[v->grid * n->step->items + item]; }

/* 0 outside, 1 in an extent, 2 valid */
static int kind(const naive *n, const vq_value *v, int canvas, int y, int x)
{
	int kind = 0;
	for (int i = 0; i < n->step->items; i++) {
		vq_place p = place_of(n, v, i);
		for (int k = 0; k < 2; k++) {
			vq_rect r = k ? p.valid : p.extent;
			if (r.n == canvas && y >= r.y && y < r.y + r.h && x >= r.x && x < r.x + r.w)
				kind = k + 1;
		}
	}
	return kind;
}

#define EACH_POSITION(v) \
	for (int c_ = 0; c_ < (v)->n; c_++) \
		for (int y_ = 0; y_ < (v)->h; y_++) \
			for (int x_ = 0; x_ < (v)->w; x_++)

static double act(vq_act a, double x)
{
	static const vq_activation of[] = { [VQ_FN_RELU] = VQ_ACT_RELU, [VQ_FN_LEAKY] = VQ_ACT_LEAKY_RELU, [VQ_FN_SILU] = VQ_ACT_SILU, [VQ_FN_GELU] = VQ_ACT_GELU };
	return a == VQ_FN_NONE ? x : ref_act(of[a], x);
}

static void conv(naive *n, const vq_node *f)
{
	const vq_value *xv = &n->g->v[f->in[0]], *yv = &n->g->v[f->out[0]];
	double *y = n->value[f->out[0]], *b = f->in[2] >= 0 ? n->value[f->in[2]] : NULL;
	(f->op == VQ_OP_DECONV ? ref_deconv_fwd : ref_conv_fwd)(dims(xv), n->value[f->in[0]], n->value[f->in[1]], b, yv->c, f->k, f->s, f->p, y);
	for (size_t i = 0; i < count_of(yv); i++)
		y[i] = act(f->act, y[i] + (f->in[3] >= 0 ? n->value[f->in[3]][i] : 0));
}

static void clear(naive *n, const vq_node *f)
{
	const vq_value *v = &n->g->v[f->out[0]];
	EACH_POSITION(v)
		if (!kind(n, v, c_, y_, x_))
			memset(&n->value[f->out[0]][ref_at(dims(v), c_, y_, x_, 0)], 0, (size_t)v->c * sizeof(double));
}

static void norm(naive *n, const vq_node *f)
{
	const vq_value *v = &n->g->v[f->in[0]];
	const double *x = n->value[f->in[0]], *gamma = n->value[f->in[1]], *beta = n->value[f->in[2]], *res = f->in[5] >= 0 ? n->value[f->in[5]] : NULL;
	double *y = n->value[f->out[0]];
	for (int c = 0; c < v->c; c++) {
		double sum = 0, square = 0, count = 0;
		EACH_POSITION(v)
			if (kind(n, v, c_, y_, x_) == 2) {
				sum += x[ref_at(dims(v), c_, y_, x_, c)];
				count++;
			}
		double mean = f->training && count > 0 ? sum / count : n->value[f->in[3]][c];
		EACH_POSITION(v)
			if (kind(n, v, c_, y_, x_) == 2)
				square += pow(x[ref_at(dims(v), c_, y_, x_, c)] - mean, 2);
		double var = f->training && count > 0 ? square / count : n->value[f->in[4]][c];
		EACH_POSITION(v) {
			size_t at = ref_at(dims(v), c_, y_, x_, c);
			y[at] = act(f->act, (x[at] - mean) / sqrt(var + (double)f->b) * gamma[c] + beta[c] + (res ? res[at] : 0));
		}
	}
}

static void quantize(naive *n, const vq_node *f)
{
	const vq_value *v = &n->g->v[f->in[0]];
	const double *z = n->value[f->in[0]], *book = n->value[f->in[1]];
	double *q = n->value[f->out[0]], *codes = n->value[f->out[1]];
	bool first = !n->still[f->out[0]];
	double *still = first ? n->still[f->out[0]] = ref_new(2 * count_of(v)) : n->still[f->out[0]]; /* rows, then rows - z */
	EACH_POSITION(v) {
		size_t at = ref_at(dims(v), c_, y_, x_, 0), p = at / (size_t)v->c;
		int row = -1, k = kind(n, v, c_, y_, x_);
		if (first && k)
			ref_nearest(1, v->c, f->k, z + at, book, NULL, &row);
		if (first)
			codes[p] = row;
		for (size_t i = at; i < at + (size_t)v->c && k; i++) {
			if (first) {
				still[i] = book[(size_t)row * (size_t)v->c + i - at];
				still[count_of(v) + i] = still[i] - z[i];
			}
			q[i] = z[i] + still[count_of(v) + i];
			n->loss += k == 2 ? (double)f->a * (f->scale < 0 ? 1 : (double)n->step->scale[f->scale]) * pow(z[i] - still[i], 2) : 0;
		}
	}
}

static void loss(naive *n, const vq_node *f)
{
	const vq_value *v = &n->g->v[f->in[0]];
	const double *y = n->value[f->in[0]], *t = n->value[f->in[1]], *w = f->in[2] >= 0 ? n->value[f->in[2]] : NULL;
	double scale = f->scale < 0 ? 1 : (double)n->step->scale[f->scale];
	EACH_POSITION(v) {
		size_t at = ref_at(dims(v), c_, y_, x_, 0);
		for (size_t i = at; i < at + (size_t)v->c && kind(n, v, c_, y_, x_) == 2; i++)
			n->loss += scale * (w ? w[at / (size_t)v->c] : 1) * pow(fabs(y[i] - t[i]), (double)f->a);
	}
}

static void one(naive *n, const vq_node *f)
{
	const vq_value *v = f->out[0] >= 0 ? &n->g->v[f->out[0]] : NULL;
	double *y = f->out[0] >= 0 ? n->value[f->out[0]] : NULL, *x = n->value[f->in[0]], *b = f->in[1] >= 0 ? n->value[f->in[1]] : NULL;
	switch (f->op) {
	case VQ_OP_CONV:
	case VQ_OP_DECONV: conv(n, f); break;
	case VQ_OP_CLEAR: clear(n, f); break;
	case VQ_OP_NORM: norm(n, f); break;
	case VQ_OP_QUANTIZE: quantize(n, f); break;
	case VQ_OP_LOSS: loss(n, f); break;
	case VQ_OP_CAST: memcpy(y, x, count_of(v) * sizeof *y); break;
	case VQ_OP_ACT:
		for (size_t i = 0; i < count_of(v); i++)
			y[i] = act(f->act, x[i]);
		break;
	case VQ_OP_ADD: ref_add_fwd(count_of(v), x, 1, b, y); break;
	case VQ_OP_GATE: ref_add_fwd(count_of(v), x, *n->value[f->in[2]], b, y); break;
	default:
		fprintf(stderr, "naive: no operation %s\n", vq_op_name(f->op));
		abort();
	}
}

void naive_run(naive *n)
{
	n->loss = 0;
	for (int i = 0; i < n->g->nn; i++)
		if (n->g->node[i].phase == VQ_FORWARD)
			one(n, &n->g->node[i]);
}
