/* A step whose numbers are not finite: which layer was the first, and whose pixels it saw. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/model/graph.h"
#include "lib/train/trainer_int.h"

bool trainer_finite(const vq_step *s)
{
	for (int i = 0; i < VQ_SCALARS; i++)
		if (!isfinite(s->scalar[i]))
			return false;
	return true;
}

/* Whether an item's rectangle of a value, as the last run left it, is finite. */
static bool item_finite(const vq_trainer *t, const train_plan *p, int value, const vq_place *at, int item)
{
	const vq_value *v = &p->g.v[value];
	const char *data = t->b->plan_host(p->plan, value);
	vq_rect r = v->grid < 0 ? (vq_rect){ item, 0, 0, v->h, v->w } : at->extent;
	for (int y = r.y; data && y < r.y + r.h; y++)
		for (int x = r.x * v->c; x < (r.x + r.w) * v->c; x++) {
			size_t k = ((size_t)r.n * (size_t)v->h + (size_t)y) * (size_t)v->w * (size_t)v->c + (size_t)x;
			if (!isfinite(v->dtype == VQ_BF16 ? vq_bf16_to_f32(((const uint16_t *)data)[k]) : ((const float *)data)[k]))
				return false;
		}
	return true;
}

/* Whether each item has numbers of its own there. */
static bool by_item(const train_plan *p, int value)
{
	const vq_value *v = &p->g.v[value];
	if (v->where == VQ_AT_PARAM || v->where == VQ_AT_GRAD || (v->dtype != VQ_F32 && v->dtype != VQ_BF16))
		return false;
	return v->grid >= 0 || v->n == p->g.items_max;
}

/* The batch's cells, those first in whose part what a node takes or puts out is not finite; returns how many these are. */
static int blame(vq_trainer *t, const train_plan *p, const vq_batch *b, int node)
{
	int bad = 0, rest = b->items;
	vq_place *at = vq_malloc(sizeof *at * (size_t)p->g.ng * (size_t)b->items);
	if (at)
		vq_places(&p->g, b->items, b->place, at);
	for (int i = 0; i < b->items; i++) {
		bool fine = true;
		for (int j = 0; at && node >= 0 && j < VQ_NODE_IN + VQ_NODE_OUT; j++) {
			int k = j < VQ_NODE_IN ? p->g.node[node].in[j] : p->g.node[node].out[j - VQ_NODE_IN];
			if (k >= 0 && by_item(p, k) && (j >= VQ_NODE_IN || p->g.v[k].where == VQ_AT_INPUT))
				fine &= item_finite(t, p, k, p->g.v[k].grid < 0 ? NULL : &at[(size_t)p->g.v[k].grid * (size_t)b->items + (size_t)i], i);
		}
		t->failed[fine ? --rest : bad++] = b->cell[i];
	}
	free(at);
	return bad;
}

vq_status trainer_trouble(vq_trainer *t, train_plan *p, const vq_batch *batches, int parts, unsigned phases, const vq_step *was, const char *what)
{
	char where[VQ_LAYER_MAX] = "";
	int at = parts - 1, node = -1;
	vq_step step = *was;
	float *zero = vq_calloc(t->params.sizes[1], sizeof *zero);
	free(t->failed);
	if (!(t->failed = vq_malloc(sizeof *t->failed * VQ_PACK_MAX))) {
		free(zero);
		return VQ_ENOMEM;
	}
	for (int i = 0; i < parts && node < 0 && zero; i++) { /* gradients add up: each part begins from none */
		VQ_TRY_GOTO(node, t->b->store_write(t->store, VQ_BUF_GRAD, 0, t->params.sizes[1], zero), out);
		VQ_TRY_GOTO(node, trainer_prepare(t, p, &batches[i], phases, 1, NULL, &step, &t->own), out);
		memcpy(step.scale, was->scale, sizeof step.scale);
		node = t->b->plan_first_bad(p->plan, &step, phases);
		if (node >= 0)
			at = i;
	}
out:
	free(zero);
	int bad = blame(t, p, &batches[at], node);
	t->n_failed = batches[at].items;
	if (node >= 0)
		vq_graph_layer(&p->g, node, where);
	char some[64] = "";
	if (bad && bad < t->n_failed)
		snprintf(some, sizeof some, ", in the first %d of its %d records", bad, t->n_failed);
	return vq_fail(VQ_EBACKEND, "%s is not finite%s%s%s", what, node < 0 ? ": each value is, but they are too large to be added" : ": first in ", where, some);
}

int vq_trainer_failed(const vq_trainer *t, const uint32_t **cells)
{
	*cells = t->failed;
	return t->n_failed;
}
