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

void naive_frozen(naive *n, const float *values)
{
	for (int i = 0; i < n->g->nv; i++) {
		const vq_value *v = &n->g->v[i];
		for (size_t j = 0; v->where == VQ_AT_FROZEN && j < count_of(v); j++)
			n->value[i][j] = (double)values[n->g->frozen->p[v->param].offset + j];
	}
}

static vq_place place_of(const naive *n, const vq_value *v, int item) { return n->places[v->grid * n->step->items + item]; }

int naive_kind(const naive *n, const vq_value *v, int canvas, int y, int x)
{
	int kind = 0;
	if (v->grid < 0)
		return canvas < n->step->items ? 2 : 0;
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
		if (!naive_kind(n, v, c_, y_, x_))
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
			if (naive_kind(n, v, c_, y_, x_) == 2) {
				sum += x[ref_at(dims(v), c_, y_, x_, c)];
				count++;
			}
		double mean = f->training && count > 0 ? sum / count : n->value[f->in[3]][c];
		EACH_POSITION(v)
			if (naive_kind(n, v, c_, y_, x_) == 2)
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
	bool first = !n->still[f->out[0]], learned = n->g->params->p[n->g->v[f->in[1]].param].trainable;
	double *still = first ? n->still[f->out[0]] = ref_new(2 * count_of(v)) : n->still[f->out[0]]; /* rows, then rows - z */
	EACH_POSITION(v) {
		size_t at = ref_at(dims(v), c_, y_, x_, 0), p = at / (size_t)v->c;
		int row = -1, k = naive_kind(n, v, c_, y_, x_);
		if (first && k)
			ref_nearest(1, v->c, f->k, z + at, book, NULL, &row);
		if (first)
			codes[p] = row;
		for (size_t i = at; i < at + (size_t)v->c && k; i++) {
			if (first) {
				still[i] = book[(size_t)row * (size_t)v->c + i - at];
				still[count_of(v) + i] = still[i] - z[i];
			}
			double live = book[(size_t)codes[p] * (size_t)v->c + i - at], was = still[i] - still[count_of(v) + i], scale = f->scale < 0 ? 1 : (double)n->step->scale[f->scale];
			q[i] = f->b > 1 ? still[i] : f->b > 0 ? z[i] + still[count_of(v) + i] : live;
			if (k == 2)
				n->loss += scale * ((double)f->a * pow(z[i] - still[i], 2) + (learned ? pow(was - live, 2) : 0));
		}
	}
}

static void residual(naive *n, const vq_node *f)
{
	int y = f->out[0];
	size_t count = count_of(&n->g->v[y]);
	if (!n->still[y]) {
		n->still[y] = ref_new(count);
		memcpy(n->still[y], n->value[f->in[1]], count * sizeof(double));
	}
	for (size_t i = 0; i < count; i++)
		n->value[y][i] = n->value[f->in[0]][i] - n->still[y][i];
}

static void loss(naive *n, const vq_node *f)
{
	const vq_value *v = &n->g->v[f->in[0]];
	const double *y = n->value[f->in[0]], *t = n->value[f->in[1]], *w = f->in[2] >= 0 ? n->value[f->in[2]] : NULL;
	double scale = f->scale < 0 ? 1 : (double)n->step->scale[f->scale];
	EACH_POSITION(v) {
		size_t at = ref_at(dims(v), c_, y_, x_, 0);
		for (size_t i = at; i < at + (size_t)v->c && naive_kind(n, v, c_, y_, x_) == 2; i++)
			n->loss += scale * (w ? w[at / (size_t)v->c] : 1) * pow(fabs(y[i] - t[i]), (double)f->a);
	}
}

/* --- rows, pools, resizes and attention: item by item ---------------------------------------------------------- */

static void linear(naive *n, const vq_node *f)
{
	const vq_value *xv = &n->g->v[f->in[0]], *yv = &n->g->v[f->out[0]];
	memset(n->value[f->out[0]], 0, count_of(yv) * sizeof(double));
	ref_linear_fwd(n->step->items, xv->c, yv->c, n->value[f->in[0]], n->value[f->in[1]], n->value[f->in[2]], n->value[f->out[0]]);
}

/* nhwc to rows of nchw, or back */
static void flatten(naive *n, const vq_node *f)
{
	bool back = f->op == VQ_OP_UNFLATTEN;
	const vq_value *v = &n->g->v[back ? f->out[0] : f->in[0]];
	const double *x = n->value[f->in[0]];
	double *y = n->value[f->out[0]];
	EACH_POSITION(v)
		for (int c = 0; c < v->c; c++) {
			size_t nhwc = ref_at(dims(v), c_, y_, x_, c), nchw = (((size_t)c_ * (size_t)v->c + (size_t)c) * (size_t)v->h + (size_t)y_) * (size_t)v->w + (size_t)x_;
			y[back ? nhwc : nchw] = x[back ? nchw : nhwc];
		}
}

/* An item's rectangle as a little canvas of its own, and back into one. */
static double *cut(const naive *n, int value, vq_rect r)
{
	const vq_value *v = &n->g->v[value];
	size_t c = (size_t)v->c, at = 0;
	double *out = ref_new((size_t)(r.h * r.w) * c);
	for (int y = 0; y < r.h; y++, at += (size_t)r.w * c)
		memcpy(out + at, &n->value[value][ref_at(dims(v), r.n, r.y + y, r.x, 0)], (size_t)r.w * c * sizeof *out);
	return out;
}

static void paste(naive *n, int value, vq_rect r, const double *from)
{
	const vq_value *v = &n->g->v[value];
	size_t row = (size_t)r.w * (size_t)v->c;
	for (int y = 0; y < r.h; y++, from += row)
		memcpy(&n->value[value][ref_at(dims(v), r.n, r.y + y, r.x, 0)], from, row * sizeof *from);
}

static void pool(naive *n, const vq_node *f)
{
	const vq_value *xv = &n->g->v[f->in[0]], *yv = &n->g->v[f->out[0]];
	memset(n->value[f->out[0]], 0, count_of(yv) * sizeof(double));
	for (int i = 0; i < n->step->items; i++) {
		vq_rect r = place_of(n, xv, i).extent;
		double *x = cut(n, f->in[0], r);
		ref_pool_fwd((ref_dims){ 1, r.h, r.w, xv->c }, NULL, x, f->k, n->value[f->out[0]] + (size_t)(i * f->k * f->k * xv->c));
		free(x);
	}
}

static void resize(naive *n, const vq_node *f)
{
	const vq_value *xv = &n->g->v[f->in[0]], *yv = &n->g->v[f->out[0]];
	memset(n->value[f->out[0]], 0, count_of(yv) * sizeof(double));
	for (int i = 0; i < n->step->items; i++) {
		vq_rect a = place_of(n, xv, i).extent, b = place_of(n, yv, i).extent;
		double *x = cut(n, f->in[0], a), *y = ref_new((size_t)(b.h * b.w * yv->c));
		ref_resize_fwd((ref_dims){ 1, a.h, a.w, xv->c }, NULL, x, (ref_dims){ 1, b.h, b.w, yv->c }, NULL, y);
		paste(n, f->out[0], b, y);
		free(x);
		free(y);
	}
}

static void maxpool(naive *n, const vq_node *f)
{
	const vq_value *xv = &n->g->v[f->in[0]], *yv = &n->g->v[f->out[0]];
	memset(n->value[f->out[0]], 0, count_of(yv) * sizeof(double));
	for (int i = 0; i < n->step->items; i++) {
		vq_rect a = place_of(n, xv, i).extent, b = place_of(n, yv, i).extent;
		double *x = cut(n, f->in[0], a), *y = ref_new((size_t)(b.h * b.w * yv->c));
		ref_maxpool((ref_dims){ 1, a.h, a.w, xv->c }, x, f->k, f->s, (ref_dims){ 1, b.h, b.w, yv->c }, y);
		paste(n, f->out[0], b, y);
		free(x);
		free(y);
	}
}

static void colours(naive *n, const vq_node *f)
{
	const vq_value *xv = &n->g->v[f->in[0]], *yv = &n->g->v[f->out[0]];
	EACH_POSITION(yv)
		for (int c = 0; c < 3; c++)
			n->value[f->out[0]][ref_at(dims(yv), c_, y_, x_, c)] = !naive_kind(n, yv, c_, y_, x_) ? 0 :
				n->value[f->in[0]][ref_at(dims(xv), c_, y_, x_, f->k + f->s * c)] * n->value[f->in[1]][c] + n->value[f->in[2]][c];
}

static void features(naive *n, const vq_node *f)
{
	const vq_value *v = &n->g->v[f->in[0]];
	double scale = f->scale < 0 ? 1 : (double)n->step->scale[f->scale];
	for (int i = 0; i < n->step->items; i++) {
		vq_rect r = place_of(n, v, i).valid;
		double *a = cut(n, f->in[0], r), *b = cut(n, f->in[1], r);
		n->loss += scale * (double)f->a * ref_features(r.h * r.w, v->c, a, b, f->in[2] >= 0 ? n->value[f->in[2]] : NULL, f->k);
		free(a);
		free(b);
	}
}

/* One query's softmax over the keys. */
static void attend(int nk, int d, int c, const double *q, const double *k, const double *v, double *o)
{
	double *s = ref_new((size_t)nk), top = -INFINITY, sum = 0;
	for (int j = 0; j < nk; j++) {
		for (int i = 0; i < d; i++)
			s[j] += q[i] * k[j * d + i];
		top = fmax(top, s[j]);
	}
	for (int j = 0; j < nk; j++)
		sum += s[j] = exp(s[j] - top);
	for (int j = 0; j < nk; j++)
		for (int i = 0; i < c; i++)
			o[i] += s[j] / sum * v[j * c + i];
	free(s);
}

/* Queries on the extent, keys and values on the valid positions. */
static void attention(naive *n, const vq_node *f)
{
	const vq_value *qv = &n->g->v[f->in[0]], *ov = &n->g->v[f->out[0]];
	memset(n->value[f->out[0]], 0, count_of(ov) * sizeof(double));
	for (int i = 0; i < n->step->items; i++) {
		vq_place p = place_of(n, qv, i);
		double *q = cut(n, f->in[0], p.extent), *k = cut(n, f->in[1], p.valid), *v = cut(n, f->in[2], p.valid);
		double *o = ref_new((size_t)(p.extent.h * p.extent.w * ov->c));
		for (int j = 0; j < p.extent.h * p.extent.w; j++)
			attend(p.valid.h * p.valid.w, qv->c, ov->c, q + j * qv->c, k, v, o + j * ov->c);
		paste(n, f->out[0], p.extent, o);
		free(q);
		free(k);
		free(v);
		free(o);
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
	case VQ_OP_RESIDUAL: residual(n, f); break;
	case VQ_OP_LOSS: loss(n, f); break;
	case VQ_OP_MAXPOOL: maxpool(n, f); break;
	case VQ_OP_COLOURS: colours(n, f); break;
	case VQ_OP_FEATURES: features(n, f); break;
	case VQ_OP_LINEAR: linear(n, f); break;
	case VQ_OP_FLATTEN:
	case VQ_OP_UNFLATTEN: flatten(n, f); break;
	case VQ_OP_POOL: pool(n, f); break;
	case VQ_OP_RESIZE: resize(n, f); break;
	case VQ_OP_ATTENTION: attention(n, f); break;
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
