/* Activations made again: which forward nodes the backward pass repeats, in which pieces, and with which values. */
#include "lib/model/again.h"

#include <stdlib.h>
#include <string.h>

/* What may run once only: it adds to a sum of the step, or the host reads what it puts out. */
static bool once(const vq_graph *g, const vq_node *n)
{
	bool all = n->phase != VQ_FORWARD || n->scalar >= 0 || n->op == VQ_OP_QUANTIZE || n->op == VQ_OP_LOOKUP;
	for (int j = 0; j < VQ_NODE_OUT; j++)
		all |= n->out[j] >= 0 && g->v[n->out[j]].where != VQ_AT_ARENA;
	return all;
}

/* made[v]: the node that first writes v; last[v]: the last forward node that reads it. */
static void find_uses(const vq_graph *g, int nn, int *made, int *last)
{
	for (int v = 0; v < g->nv; v++)
		made[v] = last[v] = -1;
	for (int i = 0; i < nn; i++) {
		const vq_node *n = &g->node[i];
		for (int j = 0; j < VQ_NODE_OUT; j++)
			if (n->out[j] >= 0 && made[n->out[j]] < 0)
				made[n->out[j]] = i;
		for (int j = 0; j < VQ_NODE_IN && n->phase == VQ_FORWARD; j++)
			if (n->in[j] >= 0)
				last[n->in[j]] = i;
	}
}

/* Bytes that would have to stay for a cut before node c; SIZE_MAX where none may be: what is overwritten cannot stay. */
static size_t cost(const vq_graph *g, const int *made, const int *last, int c)
{
	size_t bytes = 0;
	for (int v = 0; v < g->nv; v++) {
		int a = g->v[v].alias;
		if (g->v[v].where != VQ_AT_ARENA || made[v] < 0)
			continue;
		if (a >= 0 && made[a] < c && made[v] >= c)
			return SIZE_MAX;
		if (made[v] < c && last[v] >= c && !once(g, &g->node[made[v]]))
			bytes += g->v[v].bytes;
	}
	return bytes;
}

/* Pieces of about 1/n of all that is made, cut where the least has to stay. */
static void cut(vq_again *a, const vq_graph *g, const int *made, const int *last, int n)
{
	double total = 0, piece = 0, best_piece = 0;
	int best = -1, segment = 0, from = 0;
	size_t least = SIZE_MAX;
	for (int v = 0; v < g->nv; v++)
		total += g->v[v].where == VQ_AT_ARENA && made[v] >= 0 ? (double)g->v[v].bytes : 0;
	for (int c = 1; c < a->nn; c++) {
		for (int v = 0; v < g->nv; v++)
			piece += g->v[v].where == VQ_AT_ARENA && made[v] == c - 1 ? (double)g->v[v].bytes : 0;
		if (piece < total / n)
			continue;
		size_t here = cost(g, made, last, c);
		if (here < least) {
			least = here;
			best = c;
			best_piece = piece;
		}
		if (best >= 0 && (piece >= 1.5 * total / n || c == a->nn - 1)) {
			for (; from < best; from++)
				a->segment[from] = segment;
			segment++;
			piece -= best_piece;
			best = -1;
			least = SIZE_MAX;
		}
	}
	for (; from < a->nn; from++)
		a->segment[from] = segment;
}

/* A value stays when another piece reads it, or when the node that makes it runs once; then all that this node makes stays. */
static void find_kept(vq_again *a, const vq_graph *g, const int *made)
{
	for (int i = 0; i < a->nn; i++) {
		const vq_node *n = &g->node[i];
		for (int j = 0; j < VQ_NODE_IN && n->phase == VQ_FORWARD; j++)
			if (n->in[j] >= 0 && made[n->in[j]] >= 0 && a->segment[made[n->in[j]]] != a->segment[i])
				a->keep[made[n->in[j]]] = true;
		a->keep[i] |= once(g, n);
	}
	/* what read a value that stays, and was then overwritten, cannot read it again */
	for (int i = 0; i < a->nn; i++)
		for (int j = 0; j < VQ_NODE_IN; j++) {
			int x = g->node[i].in[j];
			for (int y = 0; x >= 0 && made[x] >= 0 && a->keep[made[x]] && !a->keep[i] && y < g->nv; y++)
				a->keep[i] = g->v[y].alias == x;
		}
}

vq_status vq_again_plan(vq_again *a, const vq_graph *g, int n)
{
	*a = (vq_again){ .nn = g->nn, .nv = g->nv, .now = -1 };
	int *made = vq_malloc(2 * sizeof *made * (size_t)(g->nv + 1)), *last = made + g->nv;
	a->segment = vq_malloc(sizeof *a->segment * (size_t)(g->nn + 1));
	a->keep = vq_calloc((size_t)g->nn + 1, 1);
	a->of = vq_malloc(sizeof *a->of * (size_t)(g->nv + 1));
	vq_status s = made && a->segment && a->keep && a->of ? VQ_OK : VQ_ENOMEM;
	if (s == VQ_OK) {
		find_uses(g, g->nn, made, last);
		cut(a, g, made, last, n);
		find_kept(a, g, made);
		for (int v = 0; v < g->nv; v++)
			a->of[v] = -1;
	}
	free(made);
	if (s < 0)
		vq_again_free(a);
	return s;
}

void vq_again_free(vq_again *a)
{
	free(a->segment);
	free(a->keep);
	free(a->of);
	*a = (vq_again){0};
}

/* A fresh value for one that was made before. */
static int fresh(vq_again *a, vq_builder *b, int v)
{
	vq_value old = b->g->v[v];
	int y = vq_value_new(b, VQ_AT_ARENA, old.dtype, old.n, old.h, old.w, old.c, old.grid);
	if (y >= 0 && old.alias >= 0)
		b->g->v[y].alias = a->of[old.alias];
	a->of[v] = y;
	return y;
}

void vq_again_before(vq_again *a, vq_builder *b, int node)
{
	if (!a->segment || a->segment[node] == a->now)
		return;
	a->now = a->segment[node];
	int first = node;
	while (first > 0 && a->segment[first - 1] == a->now)
		first--;
	for (int i = first; i <= node && b->status == VQ_OK; i++) {
		vq_node f = b->g->node[i];
		if (a->keep[i] || (f.op == VQ_OP_CLEAR && a->of[f.out[0]] < 0))
			continue;
		for (int j = 0; j < VQ_NODE_OUT; j++)
			if (f.out[j] >= 0)
				f.out[j] = a->of[f.out[j]] >= 0 ? a->of[f.out[j]] : fresh(a, b, f.out[j]);
		for (int j = 0; j < VQ_NODE_IN; j++)
			if (f.in[j] >= 0 && a->of[f.in[j]] >= 0)
				f.in[j] = a->of[f.in[j]];
		vq_node *n = vq_node_new(b, f.op, VQ_BACKWARD);
		if (!n)
			return;
		f.phase = VQ_BACKWARD;
		f.again = true;
		*n = f;
	}
}

void vq_again_after(const vq_again *a, vq_builder *b, int from)
{
	for (int i = from; a->segment && i < b->g->nn; i++)
		for (int j = 0; j < VQ_NODE_IN; j++) {
			int v = b->g->node[i].in[j];
			if (v >= 0 && v < a->nv && a->of[v] >= 0)
				b->g->node[i].in[j] = a->of[v];
		}
}

vq_status vq_again_prune(vq_graph *g)
{
	bool *read = vq_calloc((size_t)g->nv + 1, 1), *drop = vq_calloc((size_t)g->nn + 1, 1);
	vq_status s = read && drop ? VQ_OK : VQ_ENOMEM;
	for (int i = g->nn - 1; s == VQ_OK && i >= 0; i--) {
		const vq_node *n = &g->node[i];
		bool wanted = !n->again;
		for (int j = 0; j < VQ_NODE_OUT; j++)
			wanted |= n->out[j] >= 0 && read[n->out[j]];
		drop[i] = !wanted;
		for (int j = 0; j < VQ_NODE_IN && wanted; j++)
			if (n->in[j] >= 0)
				read[n->in[j]] = true;
	}
	int n = 0;
	for (int i = 0; s == VQ_OK && i < g->nn; i++)
		if (!drop[i])
			g->node[n++] = g->node[i];
	if (s == VQ_OK)
		g->nn = n;
	free(read);
	free(drop);
	return s;
}

static vq_status complete(vq_builder *b, int segments, int scalar)
{
	b->segments = segments;
	vq_build_backward(b);
	vq_build_update(b, scalar);
	return vq_build_finish(b);
}

vq_status vq_build_training(vq_builder *b, bool again, int scalar)
{
	enum { MOST = 12 };
	if (!again)
		return complete(b, 0, scalar);
	VQ_TRY(b->status);
	vq_graph forward = *b->g, best = {0};
	vq_status s = VQ_OK;
	int *gradient = b->gradient, known = forward.nv;
	for (int n = 0; n <= MOST && s == VQ_OK; n++) {
		vq_graph g;
		vq_builder t = *b;
		t.g = &g;
		VQ_TRY_GOTO(s, vq_graph_copy(&g, &forward), fail);
		if (gradient && !(t.gradient = vq_malloc(sizeof *gradient * (size_t)known)))
			s = VQ_ENOMEM;
		if (s == VQ_OK && gradient)
			memcpy(t.gradient, gradient, sizeof *gradient * (size_t)known);
		if (s == VQ_OK)
			s = complete(&t, n, scalar);
		if (gradient)
			free(t.gradient);
		g.plain_bytes = n ? best.plain_bytes : g.arena_bytes;
		if (s == VQ_OK && (!n || g.arena_bytes < best.arena_bytes)) {
			vq_graph_free(&best);
			best = g;
		} else {
			vq_graph_free(&g);
		}
	}
fail:
	if (s < 0) {
		vq_graph_free(&best);
		return s;
	}
	vq_graph_free(b->g);
	*b->g = best;
	return VQ_OK;
}
