/* The backward pass of a graph: nodes in reverse, each adding the nodes that carry its output's gradient to its inputs. */
#include <stdlib.h>
#include <string.h>

#include "lib/model/again.h"
#include "lib/model/graph.h"

typedef struct {
	vq_builder *b;
	int *of;    /* value -> the value that holds its gradient, or -1 */
	bool *need; /* value -> a trainable parameter, or an unknown that is not the host's, went into it */
	int n;
} grads;

static vq_node *node(grads *s, vq_op op)
{
	vq_node *n = vq_node_new(s->b, op, VQ_BACKWARD);
	return n;
}

static int like(grads *s, int x, vq_dtype t)
{
	if (s->b->status < 0)
		return -1;
	vq_value v = s->b->g->v[x];
	return vq_value_new(s->b, VQ_AT_ARENA, t, v.n, v.h, v.w, v.c, v.grid);
}

/* Inputs from the host and frozen weights take no gradient, nor does what is made of nothing else. */
static bool wants(grads *s, int x) { return x >= 0 && s->need[x] && s->b->g->v[x].where != VQ_AT_PARAM; }

static void find_needs(grads *s)
{
	const vq_graph *g = s->b->g;
	for (int v = 0; v < s->n; v++)
		s->need[v] = g->v[v].where == VQ_AT_PARAM ? s->b->params->p[g->v[v].param].trainable : g->v[v].where != VQ_AT_INPUT && g->v[v].where != VQ_AT_FROZEN;
	for (int i = 0; i < g->nn; i++) {
		bool any = false;
		for (int j = 0; j < VQ_NODE_IN; j++)
			any |= g->node[i].in[j] >= 0 && s->need[g->node[i].in[j]];
		for (int j = 0; j < VQ_NODE_OUT && !any; j++)
			if (g->node[i].out[j] >= 0)
				s->need[g->node[i].out[j]] = false;
		if (g->node[i].op == VQ_OP_QUANTIZE && g->node[i].b > 1) /* the first of its row takes the gradient of their sum */
			s->need[g->node[i].out[0]] = false;
	}
}

static int param_grad(grads *s, int p)
{
	if (p < 0 || s->b->status < 0)
		return -1;
	int i = s->b->g->v[p].param, v = vq_value_new(s->b, VQ_AT_GRAD, VQ_F32, 1, 1, 1, s->b->g->v[p].c, -1);
	if (v >= 0)
		s->b->g->v[v].param = i;
	return v;
}

/* Where an operation is to put its contribution to x's gradient: a fresh value. merge() then makes it, or adds it to, the gradient. */
static int fresh(grads *s, int x) { return wants(s, x) ? like(s, x, s->b->g->v[x].dtype) : -1; }

static void merge(grads *s, int x, int part)
{
	if (part < 0 || !wants(s, x))
		return;
	if (s->of[x] < 0) {
		s->of[x] = part;
		return;
	}
	vq_node *n = node(s, VQ_OP_ADD);
	if (n) {
		n->in[0] = s->of[x];
		n->in[1] = part;
		n->out[0] = s->of[x];
	}
}

static int cast(grads *s, int v, vq_dtype t)
{
	int y = like(s, v, t);
	vq_node *n = node(s, VQ_OP_CAST);
	if (n) {
		n->in[0] = v;
		n->out[0] = y;
	}
	return y;
}

/* A gradient in the dtype that a convolution computes in. */
static int as(grads *s, int v, vq_dtype t)
{
	if (v < 0 || s->b->status < 0 || s->b->g->v[v].dtype == t)
		return v;
	return cast(s, v, t);
}

/* Gradients change in place, so that two values never share one. */
static int copy(grads *s, int v)
{
	return cast(s, v, s->b->status < 0 ? VQ_F32 : s->b->g->v[v].dtype);
}

static void clear(grads *s, int v)
{
	if (v < 0 || s->b->status < 0 || !s->b->g->packed || s->b->g->v[v].grid < 0)
		return;
	vq_node *n = node(s, VQ_OP_CLEAR);
	if (n) {
		n->in[0] = v;
		n->out[0] = v;
	}
}

/* What tells on which side of 0 the input of the ReLU or leaky ReLU was that made y: y itself or, where a sum has overwritten that, what the
 * same kind of activation made of it before. */
static int side_of(grads *s, int y)
{
	const vq_graph *g = s->b->g;
	bool kept = true;
	for (int v = 0; v < s->n; v++)
		kept &= g->v[v].alias != y;
	for (int i = 0; i < g->nn && !kept; i++) {
		const vq_node *n = &g->node[i];
		if (n->op == VQ_OP_ACT && n->in[0] == y && (n->act == VQ_FN_RELU || n->act == VQ_FN_LEAKY))
			return n->out[0];
	}
	return y; /* vq_build_finish refuses what reads an overwritten value */
}

/* dx (+)= act'(x or y) dy; in place on dy when nothing else was there. */
static void act_bwd(grads *s, vq_act act, int x, int y, int dy, int dx, bool accumulate)
{
	vq_node *n = node(s, VQ_OP_ACT_BWD);
	if (!n)
		return;
	bool side = act == VQ_FN_RELU || act == VQ_FN_LEAKY;
	n->in[0] = side ? -1 : x;
	n->in[1] = side ? side_of(s, y) : x;
	n->in[2] = dy;
	n->out[0] = dx;
	n->act = act;
	n->accumulate = accumulate;
}

static void conv_bwd(grads *s, vq_node f, int dy)
{
	bool t = f.op == VQ_OP_DECONV;
	vq_dtype compute = s->b->g->v[f.in[0]].dtype;
	if (f.act != VQ_FN_NONE)
		act_bwd(s, f.act, -1, f.out[0], dy, dy, false);
	clear(s, dy);
	bool frozen = s->b->g->v[f.in[1]].where == VQ_AT_FROZEN;
	int dc = as(s, dy, compute), dw = frozen ? -1 : param_grad(s, f.in[1]), db = frozen ? -1 : param_grad(s, f.in[2]), dx = fresh(s, f.in[0]);
	vq_node *n = frozen ? NULL : node(s, t ? VQ_OP_DECONV_WEIGHT : VQ_OP_CONV_WEIGHT);
	if (n) {
		n->in[0] = f.in[0];
		n->in[1] = dc;
		n->out[0] = dw;
		n->out[1] = db;
		n->k = f.k;
		n->s = f.s;
		n->p = f.p;
	}
	if (dx >= 0 && (n = node(s, t ? VQ_OP_DECONV_DATA : VQ_OP_CONV_DATA))) {
		n->in[0] = dc;
		n->in[1] = f.in[1];
		n->out[0] = dx;
		n->k = f.k;
		n->s = f.s;
		n->p = f.p;
	}
	merge(s, f.in[0], dx);
	merge(s, f.in[3], dy);
}

static void norm_bwd(grads *s, vq_node f, int dy)
{
	int dgamma = param_grad(s, f.in[1]), dbeta = param_grad(s, f.in[2]), dx = fresh(s, f.in[0]), dres = fresh(s, f.in[5]);
	vq_node *n = node(s, VQ_OP_NORM_BWD);
	if (!n)
		return;
	int in[6] = { f.in[0], f.out[0], dy, f.in[1], f.out[1], f.in[5] };
	int out[4] = { dx, dgamma, dbeta, dres };
	memcpy(n->in, in, sizeof in);
	memcpy(n->out, out, sizeof out);
	n->act = f.act;
	n->a = f.a;
	n->b = f.b;
	merge(s, f.in[0], dx);
	merge(s, f.in[5], dres);
}

static void linear_bwd(grads *s, vq_node f, int dy)
{
	int dw = param_grad(s, f.in[1]), db = param_grad(s, f.in[2]), dx = fresh(s, f.in[0]);
	vq_node *n = node(s, VQ_OP_LINEAR_WEIGHT);
	if (n) {
		n->in[0] = f.in[0];
		n->in[1] = dy;
		n->out[0] = dw;
		n->out[1] = db;
	}
	if (dx >= 0 && (n = node(s, VQ_OP_LINEAR_DATA))) {
		n->in[0] = dy;
		n->in[1] = f.in[1];
		n->out[0] = dx;
	}
	merge(s, f.in[0], dx);
}

static void attention_bwd(grads *s, vq_node f, int dy)
{
	vq_node *n = node(s, VQ_OP_ATTENTION_BWD);
	int d[3];
	for (int i = 0; i < 3; i++)
		d[i] = fresh(s, f.in[i]);
	if (!n || s->b->status < 0)
		return;
	n = &s->b->g->node[s->b->g->nn - 1];
	int in[5] = { f.in[0], f.in[1], f.in[2], f.out[0], dy };
	memcpy(n->in, in, sizeof in);
	memcpy(n->out, d, sizeof d);
	for (int i = 0; i < 3; i++)
		merge(s, f.in[i], d[i]);
}

static void gate_bwd(grads *s, vq_node f, int dy)
{
	int o = fresh(s, f.in[1]), dgamma = param_grad(s, f.in[2]);
	vq_node *n = node(s, VQ_OP_GATE_BWD);
	if (n) {
		n->in[0] = f.in[1];
		n->in[1] = dy;
		n->in[2] = f.in[2];
		n->out[0] = o;
		n->out[1] = dgamma;
	}
	merge(s, f.in[1], o);
	merge(s, f.in[0], dy);
}

static void quantize_bwd(grads *s, vq_node f, int dq)
{
	int dz = fresh(s, f.in[0]);
	vq_node *n = node(s, VQ_OP_QUANTIZE_BWD);
	if (n) {
		n->in[0] = f.in[0];
		n->in[1] = f.in[1];
		n->in[2] = f.b > 0 ? dq : -1;
		n->in[3] = f.out[1];
		n->out[0] = dz;
		n->a = f.a;
		n->scale = f.scale;
	}
	merge(s, f.in[0], dz);
	if (s->b->status == VQ_OK && s->b->params->p[s->b->g->v[f.in[1]].param].trainable) {
		int db = param_grad(s, f.in[1]);
		if ((n = node(s, VQ_OP_CODEBOOK_BWD))) {
			n->in[0] = f.in[0];
			n->in[1] = f.in[1];
			n->in[2] = f.out[1];
			n->in[3] = f.b > 0 ? -1 : dq; /* without a straight-through step the decoder's gradient reaches the rows */
			n->out[0] = db;
			n->scale = f.scale;
		}
	}
}

static void maxpool_bwd(grads *s, vq_node f, int dy)
{
	int dx = fresh(s, f.in[0]);
	vq_node *n = dx < 0 ? NULL : node(s, VQ_OP_MAXPOOL_BWD);
	if (n) {
		n->in[0] = f.in[0];
		n->in[1] = f.out[0];
		n->in[2] = dy;
		n->out[0] = dx;
		n->k = f.k;
		n->s = f.s;
	}
	merge(s, f.in[0], dx);
}

static void colours_bwd(grads *s, vq_node f, int dy)
{
	int dx = fresh(s, f.in[0]);
	vq_node *n = dx < 0 ? NULL : node(s, VQ_OP_COLOURS_BWD);
	if (n) {
		n->in[0] = dy;
		n->in[1] = f.in[1];
		n->out[0] = dx;
		n->k = f.k;
		n->s = f.s;
	}
	merge(s, f.in[0], dx);
}

/* Operations whose backward is one node of the same shape: dy -> dx. */
static void simple_bwd(grads *s, vq_node f, int dy, vq_op op)
{
	int dx = fresh(s, f.in[0]);
	if (dx < 0)
		return;
	vq_node *n = node(s, op);
	if (n) {
		n->in[0] = dy;
		n->out[0] = dx;
		n->k = f.k;
		n->a = f.a;
	}
	merge(s, f.in[0], dx);
}

static void one(grads *s, int i)
{
	vq_node f = s->b->g->node[i];
	if (f.phase != VQ_FORWARD)
		return;
	if (f.op == VQ_OP_LOSS || f.op == VQ_OP_FEATURES) { /* these start a gradient */
		merge(s, f.in[0], as(s, f.out[0], s->b->g->v[f.in[0]].dtype));
		return;
	}
	int dy = f.out[0] >= 0 ? s->of[f.out[0]] : -1;
	if (dy < 0 && f.op != VQ_OP_QUANTIZE)
		return;
	switch (f.op) {
	case VQ_OP_CONV:
	case VQ_OP_DECONV: conv_bwd(s, f, dy); break;
	case VQ_OP_NORM: clear(s, dy); norm_bwd(s, f, dy); break;
	case VQ_OP_LINEAR: linear_bwd(s, f, dy); break;
	case VQ_OP_ATTENTION: attention_bwd(s, f, dy); break;
	case VQ_OP_GATE: gate_bwd(s, f, dy); break;
	case VQ_OP_QUANTIZE: quantize_bwd(s, f, dy); break;
	case VQ_OP_RESIDUAL: merge(s, f.in[0], dy); break;
	case VQ_OP_ACT:
		if (!wants(s, f.in[0]))
			break;
		if (s->of[f.in[0]] >= 0) {
			act_bwd(s, f.act, f.in[0], f.out[0], dy, s->of[f.in[0]], true);
		} else {
			act_bwd(s, f.act, f.in[0], f.out[0], dy, dy, false);
			s->of[f.in[0]] = dy;
		}
		break;
	case VQ_OP_ADD:
		merge(s, f.in[1], wants(s, f.in[1]) && s->of[f.in[1]] < 0 && wants(s, f.in[0]) ? copy(s, dy) : dy);
		merge(s, f.in[0], dy);
		break;
	case VQ_OP_CAST:
		if (wants(s, f.in[0]))
			merge(s, f.in[0], as(s, dy, s->b->g->v[f.in[0]].dtype));
		break;
	case VQ_OP_FLATTEN: simple_bwd(s, f, dy, VQ_OP_UNFLATTEN); break;
	case VQ_OP_UNFLATTEN: simple_bwd(s, f, dy, VQ_OP_FLATTEN); break;
	case VQ_OP_POOL: simple_bwd(s, f, dy, VQ_OP_POOL_BWD); break;
	case VQ_OP_RESIZE: simple_bwd(s, f, dy, VQ_OP_RESIZE_BWD); break;
	case VQ_OP_MAXPOOL: maxpool_bwd(s, f, dy); break;
	case VQ_OP_COLOURS: colours_bwd(s, f, dy); break;
	case VQ_OP_DROPOUT: simple_bwd(s, f, dy, VQ_OP_DROPOUT_BWD); break;
	default: break;
	}
}

void vq_build_backward(vq_builder *b)
{
	if (b->status < 0)
		return;
	grads s = { .b = b, .n = b->g->nv, .of = b->gradient };
	vq_again again = {0};
	if (b->segments && (b->status = vq_again_plan(&again, b->g, b->segments)) < 0)
		return;
	int last = b->g->nn;
	s.need = vq_malloc((size_t)s.n);
	if (!s.of && (s.of = vq_malloc(sizeof *s.of * (size_t)s.n)))
		memset(s.of, 0xff, sizeof *s.of * (size_t)s.n); /* all -1 */
	if (!s.of || !s.need) {
		b->status = VQ_ENOMEM;
	} else {
		find_needs(&s);
		for (int i = last - 1; i >= 0 && b->status == VQ_OK; i--) {
			vq_again_before(&again, b, i);
			int from = b->g->nn;
			one(&s, i);
			vq_again_after(&again, b, from);
		}
		if (b->status == VQ_OK && b->segments)
			b->status = vq_again_prune(b->g);
	}
	vq_again_free(&again);
	if (s.of != b->gradient)
		free(s.of);
	free(s.need);
}

void vq_build_update(vq_builder *b, int scalar)
{
	vq_node *n = vq_node_new(b, VQ_OP_OPTIMIZE, VQ_UPDATE);
	if (n)
		n->scalar = scalar;
}
