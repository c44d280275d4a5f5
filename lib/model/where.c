#include <stdio.h>
#include <string.h>

#include "lib/model/graph.h"

/* "dec.3" of the first parameter, or gradient of one, that the node touches. */
static bool own_layer(const vq_graph *g, const vq_node *n, char *name, size_t size)
{
	for (int j = 0; j < VQ_NODE_IN + VQ_NODE_OUT; j++) {
		int v = j < VQ_NODE_IN ? n->in[j] : n->out[j - VQ_NODE_IN];
		if (v < 0 || (g->v[v].where != VQ_AT_PARAM && g->v[v].where != VQ_AT_GRAD))
			continue;
		const char *p = g->params->p[g->v[v].param].name, *dot = strrchr(p, '.');
		snprintf(name, size, "%.*s", dot ? (int)(dot - p) : (int)strlen(p), p);
		return true;
	}
	return false;
}

void vq_graph_layer(const vq_graph *g, int node, char where[VQ_LAYER_MAX])
{
	const vq_node *n = &g->node[node];
	const char *op = vq_op_name(n->op);
	bool back = n->phase == VQ_BACKWARD && !n->again;
	char name[64];
	if (own_layer(g, n, name, sizeof name)) {
		snprintf(where, VQ_LAYER_MAX, "%s%s (%s)", back ? "the gradient of " : "", name, op);
		return;
	}
	/* Forward it belongs to the layer before it; the backward pass comes to what is before in the model afterwards. */
	for (int i = node; i >= 0 && i < g->nn; i += back ? 1 : -1)
		if (g->node[i].phase == n->phase && own_layer(g, &g->node[i], name, sizeof name)) {
			snprintf(where, VQ_LAYER_MAX, "%s %s (%s)", back ? "the gradient behind" : "what follows", name, op);
			return;
		}
	snprintf(where, VQ_LAYER_MAX, "the %s (%s)", n->phase == VQ_FORWARD ? "input" : back ? "input's gradient" : "update", op);
}
