#include "lib/model/work.h"

static const vq_value *value(const vq_graph *g, int i) { return i >= 0 ? &g->v[i] : NULL; }

static double conv_flops(const vq_graph *g, const vq_node *n)
{
	bool conv = n->op >= VQ_OP_CONV && n->op <= VQ_OP_CONV_WEIGHT;
	const vq_value *in = &g->v[n->op == VQ_OP_CONV_DATA || n->op == VQ_OP_DECONV_DATA ? n->out[0] : n->in[0]];
	const vq_value *out = &g->v[n->op == VQ_OP_CONV || n->op == VQ_OP_DECONV ? n->out[0] : n->op == VQ_OP_CONV_WEIGHT || n->op == VQ_OP_DECONV_WEIGHT ? n->in[1] : n->in[0]];
	const vq_value *fine = conv ? out : in; /* each of its positions meets the whole kernel */
	return 2.0 * fine->n * fine->h * fine->w * in->c * out->c * n->k * n->k;
}

static double flops(const vq_graph *g, const vq_node *n)
{
	const vq_value *x = value(g, n->in[0]), *y = value(g, n->in[1]), *z = value(g, n->out[0]);
	switch (n->op) {
	case VQ_OP_CONV: case VQ_OP_CONV_DATA: case VQ_OP_CONV_WEIGHT: case VQ_OP_DECONV: case VQ_OP_DECONV_DATA: case VQ_OP_DECONV_WEIGHT:
		return conv_flops(g, n);
	case VQ_OP_LINEAR: case VQ_OP_LINEAR_DATA: return 2.0 * x->n * x->c * z->c;
	case VQ_OP_LINEAR_WEIGHT: return 2.0 * x->n * x->c * y->c;
	case VQ_OP_ATTENTION: case VQ_OP_ATTENTION_BWD: { /* scores and sums; backward has five such products */
		const vq_value *v = value(g, n->in[2]);
		double pairs = (double)x->n * x->h * x->w * x->h * x->w;
		return 2 * pairs * (n->op == VQ_OP_ATTENTION ? x->c + v->c : 3.0 * x->c + 2.0 * v->c);
	}
	case VQ_OP_QUANTIZE: return 2.0 * x->n * x->h * x->w * x->c * n->k;
	default: return 0;
	}
}

/* Of the flat buffers, OPTIMIZE reads and writes weights and both moments, and reads gradients. */
static double traffic(const vq_graph *g, const vq_node *n, size_t parameters)
{
	double bytes = n->op == VQ_OP_OPTIMIZE ? 28.0 * (double)parameters : 0;
	int seen[VQ_NODE_IN + VQ_NODE_OUT], have = 0;
	for (int i = 0; i < VQ_NODE_IN + VQ_NODE_OUT; i++) {
		int v = i < VQ_NODE_IN ? n->in[i] : n->out[i - VQ_NODE_IN];
		bool again = v < 0;
		for (int k = 0; k < have; k++)
			again |= seen[k] == v;
		if (again)
			continue;
		seen[have++] = v;
		const vq_value *t = &g->v[v];
		bytes += (double)t->n * t->h * t->w * t->c * (double)vq_dtype_size(t->dtype);
	}
	return bytes;
}

vq_work vq_node_work(const vq_graph *g, const vq_node *n, size_t parameters)
{
	const vq_value *x = value(g, n->in[0]);
	return (vq_work){ flops(g, n), traffic(g, n, parameters), x ? x->dtype : VQ_F32 };
}
