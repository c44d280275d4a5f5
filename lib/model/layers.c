#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/model/graph.h"

static vq_value val(const vq_builder *b, int v) { return b->g->v[v]; }

/* "enc.0" and "weight" -> "enc.0.weight" */
static const char *join(char buf[64], const char *name, const char *part)
{
	if ((size_t)snprintf(buf, 64, "%s.%s", name, part) >= 64)
		buf[63] = 0;
	return buf;
}

/* The grid that a convolution of this geometry makes of x's, shared by all layers that go the same way. */
static int grid_of(vq_builder *b, int x, const vq_conv_spec *c, bool transposed, int h, int w)
{
	vq_graph *g = b->g;
	int parent = g->v[x].grid;
	if (parent < 0)
		return -1;
	if (!transposed && c->s == 1 && h == g->v[x].h && w == g->v[x].w)
		return parent;
	for (int i = 0; i < g->ng; i++)
		if (g->grid[i].parent == parent && g->grid[i].k == c->k && g->grid[i].s == c->s && g->grid[i].p == c->p && g->grid[i].transposed == transposed)
			return i;
	/* going up again by the factor that led down returns to the same positions */
	if (transposed && g->grid[parent].parent >= 0) {
		const vq_grid *up = &g->grid[g->grid[parent].parent];
		if (!g->grid[parent].transposed && g->grid[parent].s == c->s && up->h == h && up->w == w && c->k - 2 * c->p == c->s)
			return g->grid[parent].parent;
	}
	return vq_grid_new(b, (vq_grid){ parent, c->k, c->s, c->p, transposed, h, w });
}

static int clear(vq_builder *b, int v)
{
	if (v >= 0 && b->g->packed && b->g->v[v].grid >= 0) {
		vq_node *n = vq_node_new(b, VQ_OP_CLEAR, VQ_FORWARD);
		if (n) {
			n->in[0] = v;
			n->out[0] = v;
		}
	}
	return v;
}

static int side_after(int side, const vq_conv_spec *c, bool transposed)
{
	if (transposed)
		return (side - 1) * c->s + c->k - 2 * c->p;
	return side + 2 * c->p < c->k ? 0 : (side + 2 * c->p - c->k) / c->s + 1;
}

/* PyTorch's default for convolutions and linear layers: uniform within 1/sqrt(fan in), biases too. */
static int conv(vq_builder *b, int x, const char *name, int out, vq_conv_spec c, bool transposed)
{
	if (b->status < 0)
		return -1;
	vq_value xv = val(b, x);
	char buf[64];
	int h = side_after(xv.h, &c, transposed), w = side_after(xv.w, &c, transposed);
	int64_t shape[4] = { transposed ? xv.c : out, transposed ? out : xv.c, c.k, c.k };
	float a = 1 / sqrtf((float)(shape[1] * c.k * c.k));
	int weight = vq_value_param(b, join(buf, name, "weight"), true, VQ_INIT_UNIFORM, a, 4, shape);
	int bias = c.bias ? vq_value_param(b, join(buf, name, "bias"), true, VQ_INIT_UNIFORM, a, 1, (int64_t[]){ out }) : -1;
	int y = vq_value_new(b, VQ_AT_ARENA, c.f32_out ? VQ_F32 : b->g->compute, xv.n, h, w, out, grid_of(b, x, &c, transposed, h, w));
	vq_node *n = vq_node_new(b, transposed ? VQ_OP_DECONV : VQ_OP_CONV, VQ_FORWARD);
	if (!n)
		return -1;
	n->in[0] = x;
	n->in[1] = weight;
	n->in[2] = bias;
	if (!transposed && c.sum >= 0) {
		n->in[3] = c.sum;
		b->g->v[y].alias = c.sum;
	}
	n->out[0] = y;
	n->k = c.k;
	n->s = c.s;
	n->p = c.p;
	/* the library fuses ReLU; the others keep their input for the backward pass */
	n->act = c.act == VQ_FN_RELU ? VQ_FN_RELU : VQ_FN_NONE;
	clear(b, y);
	return c.act == VQ_FN_RELU || c.act == VQ_FN_NONE ? y : vq_layer_act(b, y, c.act);
}

int vq_layer_conv(vq_builder *b, int x, const char *name, int out, vq_conv_spec c) { return conv(b, x, name, out, c, false); }
int vq_layer_deconv(vq_builder *b, int x, const char *name, int out, vq_conv_spec c) { return conv(b, x, name, out, c, true); }

/* A value shaped as x. */
static int like(vq_builder *b, int x, vq_dtype t)
{
	if (b->status < 0)
		return -1;
	vq_value v = val(b, x);
	return vq_value_new(b, VQ_AT_ARENA, t, v.n, v.h, v.w, v.c, v.grid);
}

static int unary(vq_builder *b, vq_op op, int x, int y, vq_act act, float a)
{
	vq_node *n = y < 0 ? NULL : vq_node_new(b, op, VQ_FORWARD);
	if (!n)
		return -1;
	n->in[0] = x;
	n->out[0] = y;
	n->act = act;
	n->a = a;
	return y;
}

int vq_layer_act(vq_builder *b, int x, vq_act act)
{
	return b->status < 0 || act == VQ_FN_NONE ? x : unary(b, VQ_OP_ACT, x, like(b, x, val(b, x).dtype), act, 0);
}

int vq_layer_cast(vq_builder *b, int x, vq_dtype t)
{
	return b->status < 0 || val(b, x).dtype == t ? x : unary(b, VQ_OP_CAST, x, like(b, x, t), VQ_FN_NONE, 0);
}

int vq_layer_dropout(vq_builder *b, int x, float p)
{
	if (b->status < 0 || p <= 0 || !b->training)
		return x;
	int y = unary(b, VQ_OP_DROPOUT, x, like(b, x, val(b, x).dtype), VQ_FN_NONE, p);
	if (y >= 0)
		b->g->node[b->g->nn - 1].k = b->g->nn; /* its own stream of random numbers, the same backward */
	return y;
}

int vq_layer_add(vq_builder *b, int x, int y)
{
	int o = unary(b, VQ_OP_ADD, x, b->status < 0 ? -1 : like(b, x, val(b, x).dtype), VQ_FN_NONE, 0);
	if (o >= 0)
		b->g->node[b->g->nn - 1].in[1] = y;
	return o;
}

int vq_layer_norm(vq_builder *b, int x, const char *name, int res, vq_act act)
{
	if (b->status < 0)
		return -1;
	char buf[64];
	int64_t c[1] = { val(b, x).c };
	int gamma = vq_value_param(b, join(buf, name, "weight"), true, VQ_INIT_ONE, 0, 1, c);
	int beta = vq_value_param(b, join(buf, name, "bias"), true, VQ_INIT_ZERO, 0, 1, c);
	int mean = vq_value_param(b, join(buf, name, "running_mean"), false, VQ_INIT_ZERO, 0, 1, c);
	int var = vq_value_param(b, join(buf, name, "running_var"), false, VQ_INIT_ONE, 0, 1, c);
	int y = like(b, x, val(b, x).dtype), save = vq_value_new(b, VQ_AT_ARENA, VQ_F32, 1, 1, 2, (int)c[0], -1);
	vq_node *n = vq_node_new(b, VQ_OP_NORM, VQ_FORWARD);
	if (!n)
		return -1;
	int in[6] = { x, gamma, beta, mean, var, res };
	memcpy(n->in, in, sizeof in);
	n->out[0] = y;
	n->out[1] = save;
	n->act = act;
	n->a = .1f;
	n->b = 1e-5f;
	return clear(b, y);
}

int vq_layer_linear(vq_builder *b, int x, const char *name, int out)
{
	if (b->status < 0)
		return -1;
	char buf[64];
	vq_value xv = val(b, x);
	float a = 1 / sqrtf((float)xv.c);
	int w = vq_value_param(b, join(buf, name, "weight"), true, VQ_INIT_UNIFORM, a, 2, (int64_t[]){ out, xv.c });
	int bias = vq_value_param(b, join(buf, name, "bias"), true, VQ_INIT_UNIFORM, a, 1, (int64_t[]){ out });
	int y = vq_value_new(b, VQ_AT_ARENA, xv.dtype, xv.n, 1, 1, out, -1);
	vq_node *n = vq_node_new(b, VQ_OP_LINEAR, VQ_FORWARD);
	if (!n)
		return -1;
	n->in[0] = x;
	n->in[1] = w;
	n->in[2] = bias;
	n->out[0] = y;
	return y;
}

int vq_layer_flatten(vq_builder *b, int x)
{
	if (b->status < 0)
		return -1;
	vq_value v = val(b, x);
	return unary(b, VQ_OP_FLATTEN, x, vq_value_new(b, VQ_AT_ARENA, v.dtype, v.n, 1, 1, v.h * v.w * v.c, -1), VQ_FN_NONE, 0);
}

int vq_layer_unflatten(vq_builder *b, int x, int h, int w, int c)
{
	if (b->status < 0)
		return -1;
	vq_value v = val(b, x);
	/* one row an item: its own little canvas, all of it valid; grids of such values are built on "whole canvas" places */
	return unary(b, VQ_OP_UNFLATTEN, x, vq_value_new(b, VQ_AT_ARENA, v.dtype, v.n, h, w, c, vq_grid_whole(b, h, w)), VQ_FN_NONE, 0);
}

int vq_layer_pool(vq_builder *b, int x, int p)
{
	if (b->status < 0)
		return -1;
	vq_value v = val(b, x);
	int y = unary(b, VQ_OP_POOL, x, vq_value_new(b, VQ_AT_ARENA, v.dtype, b->g->items_max, p, p, v.c, -1), VQ_FN_NONE, 0);
	if (y >= 0)
		b->g->node[b->g->nn - 1].k = p;
	return y;
}

int vq_layer_resize(vq_builder *b, int x, int grid)
{
	if (b->status < 0)
		return -1;
	vq_value v = val(b, x);
	const vq_grid *to = &b->g->grid[grid];
	return clear(b, unary(b, VQ_OP_RESIZE, x, vq_value_new(b, VQ_AT_ARENA, v.dtype, v.n, to->h, to->w, v.c, grid), VQ_FN_NONE, 0));
}

int vq_layer_attention(vq_builder *b, int x, const char *name, int inner)
{
	if (b->status < 0)
		return -1;
	char buf[64];
	vq_conv_spec one = { .k = 1, .s = 1, .bias = true, .sum = -1 };
	int q = vq_layer_conv(b, x, join(buf, name, "query"), inner, one);
	int k = vq_layer_conv(b, x, join(buf, name, "key"), inner, one);
	int v = vq_layer_conv(b, x, join(buf, name, "value"), val(b, x).c, one);
	int gamma = vq_value_param(b, join(buf, name, "gamma"), true, VQ_INIT_ZERO, 0, 1, (int64_t[]){ 1 });
	int o = unary(b, VQ_OP_ATTENTION, q, b->status < 0 ? -1 : like(b, x, val(b, x).dtype), VQ_FN_NONE, 0);
	if (o < 0)
		return -1;
	vq_node *n = &b->g->node[b->g->nn - 1];
	n->in[1] = k;
	n->in[2] = v;
	int y = unary(b, VQ_OP_GATE, x, like(b, x, val(b, x).dtype), VQ_FN_NONE, 0);
	if (y < 0)
		return -1;
	n = &b->g->node[b->g->nn - 1];
	n->in[1] = o;
	n->in[2] = gamma;
	return y;
}

static int codebook(vq_builder *b, vq_quant_spec s, int64_t dim)
{
	char buf[64];
	bool given = s.init == VQ_INIT_UNIFORM || s.init == VQ_INIT_NORMAL;
	return vq_value_param(b, join(buf, s.name, "codebook"), !s.ema, given ? s.init : VQ_INIT_NORMAL, given ? s.init_a : 1, 2, (int64_t[]){ s.size, dim });
}

int vq_layer_quantize(vq_builder *b, int z, vq_quant_spec s, int *codes)
{
	if (b->status < 0)
		return -1;
	char buf[64];
	vq_value zv = val(b, z);
	int64_t shape[2] = { s.size, zv.c };
	int book = codebook(b, s, zv.c);
	int q = like(b, z, s.f32_out ? VQ_F32 : b->g->compute);
	*codes = vq_value_new(b, VQ_AT_OUTPUT, VQ_I32, zv.n, zv.h, zv.w, 1, zv.grid);
	vq_node *n = vq_node_new(b, VQ_OP_QUANTIZE, VQ_FORWARD);
	if (!n)
		return -1;
	n->in[0] = z;
	n->in[1] = book;
	n->out[0] = q;
	n->out[1] = *codes;
	n->k = s.size;
	n->a = s.beta;
	n->b = s.inner ? 2 : s.straight_through ? 1 : 0;
	n->scalar = s.scalar;
	n->scale = s.scale;
	if (!s.ema)
		return q;
	int ema_n = vq_value_param(b, join(buf, s.name, "ema_count"), false, VQ_INIT_VALUE, VQ_START_COUNT, 1, (int64_t[]){ s.size });
	int ema_m = vq_value_param(b, join(buf, s.name, "ema_sum"), false, VQ_INIT_ZERO, 0, 2, shape);
	int step_n = vq_value_param(b, join(buf, s.name, "step_count"), false, VQ_INIT_ZERO, 0, 1, (int64_t[]){ s.size });
	int step_m = vq_value_param(b, join(buf, s.name, "step_sum"), false, VQ_INIT_ZERO, 0, 2, shape);
	if (!b->training)
		return q;
	if ((n = vq_node_new(b, VQ_OP_EMA_SUM, VQ_BACKWARD))) {
		n->in[0] = z;
		n->in[1] = *codes;
		n->out[0] = step_n;
		n->out[1] = step_m;
	}
	if ((n = vq_node_new(b, VQ_OP_EMA_UPDATE, VQ_UPDATE))) {
		int in[5] = { step_n, step_m, ema_n, ema_m, book };
		memcpy(n->in, in, sizeof in);
		n->a = s.decay;
		n->b = s.eps;
		n->k = s.size;
	}
	return q;
}

int vq_layer_residual(vq_builder *b, int z, int q)
{
	int y = unary(b, VQ_OP_RESIDUAL, z, b->status < 0 ? -1 : like(b, z, VQ_F32), VQ_FN_NONE, 0);
	if (y >= 0)
		b->g->node[b->g->nn - 1].in[1] = q;
	return y;
}

int vq_layer_lookup(vq_builder *b, int codes, int dim, vq_quant_spec s)
{
	if (b->status < 0)
		return -1;
	vq_value v = val(b, codes);
	int book = codebook(b, s, dim);
	int q = vq_value_new(b, VQ_AT_ARENA, s.f32_out ? VQ_F32 : b->g->compute, v.n, v.h, v.w, dim, v.grid);
	vq_node *n = vq_node_new(b, VQ_OP_LOOKUP, VQ_FORWARD);
	if (!n)
		return -1;
	n->in[0] = codes;
	n->in[1] = book;
	n->out[0] = q;
	return q;
}

void vq_layer_loss(vq_builder *b, int y, int target, int weight, float power, int scalar, int scale)
{
	int dy = b->status < 0 || !b->training ? -1 : like(b, y, VQ_F32);
	vq_node *n = vq_node_new(b, VQ_OP_LOSS, VQ_FORWARD);
	if (!n)
		return;
	n->in[0] = y;
	n->in[1] = target;
	n->in[2] = weight;
	n->out[0] = dy;
	n->a = power;
	n->scalar = scalar;
	n->scale = scale;
}
