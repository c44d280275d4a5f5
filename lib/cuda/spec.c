/* Which convolution a node is. */
#include "lib/cuda/cuda.h"

bool cuda_conv_spec_of(const vq_graph *g, const vq_node *n, cuda_conv_spec *s)
{
	int image, features;
	cuda_conv_kind kind;
	switch (n->op) {
	case VQ_OP_CONV: kind = CUDA_FORWARD, image = n->in[0], features = n->out[0]; break;
	case VQ_OP_CONV_DATA: kind = CUDA_BY_DATA, image = n->out[0], features = n->in[0]; break;
	case VQ_OP_CONV_WEIGHT: kind = CUDA_BY_FILTER, image = n->in[0], features = n->in[1]; break;
	case VQ_OP_DECONV: kind = CUDA_BY_DATA, image = n->out[0], features = n->in[0]; break;
	case VQ_OP_DECONV_DATA: kind = CUDA_FORWARD, image = n->in[0], features = n->out[0]; break;
	case VQ_OP_DECONV_WEIGHT: kind = CUDA_BY_FILTER, image = n->in[1], features = n->in[0]; break;
	default: return false;
	}
	const vq_value *x = &g->v[image], *y = &g->v[features];
	*s = (cuda_conv_spec){ .kind = kind, .t = kind == CUDA_BY_DATA ? y->dtype : x->dtype, .n = x->n, .c = x->c, .h = x->h, .w = x->w, .k = y->c,
		.p = y->h, .q = y->w, .size = n->k, .stride = n->s, .pad = n->p };
	s->out = kind == CUDA_FORWARD ? y->dtype : kind == CUDA_BY_DATA ? x->dtype : s->t;
	return true;
}
