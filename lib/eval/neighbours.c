#include "lib/eval/neighbours.h"

#include <math.h>
#include <stdlib.h>

typedef struct { uint64_t key, count; } slot; /* key: neighbour * size + code + 1; 0 is empty */

typedef struct {
	slot *slot;
	size_t used, cap;       /* cap: a power of two */
	uint64_t *n;            /* [size] codes beside this neighbour */
	uint32_t *different;    /* [size] */
	uint64_t pairs;
	double bits;
} side;

struct vq_neighbours {
	int64_t size;
	uint64_t *n;            /* [size] codes so far */
	uint64_t total, different;
	double bits;
	side side[VQ_SIDES];
};

static size_t find(const slot *s, size_t cap, uint64_t key)
{
	size_t at = (size_t)((key * 0x9e3779b97f4a7c15u) >> 20) & (cap - 1);
	while (s[at].key && s[at].key != key)
		at = (at + 1) & (cap - 1);
	return at;
}

static vq_status grow(side *s)
{
	size_t cap = s->cap ? 2 * s->cap : 1024;
	slot *fresh = vq_calloc(cap, sizeof *fresh);
	if (!fresh)
		return VQ_ENOMEM;
	for (size_t i = 0; i < s->cap; i++)
		if (s->slot[i].key)
			fresh[find(fresh, cap, s->slot[i].key)] = s->slot[i];
	free(s->slot);
	s->slot = fresh;
	s->cap = cap;
	return VQ_OK;
}

vq_status vq_neighbours_make(vq_neighbours **out, int64_t size)
{
	vq_neighbours *n = *out = vq_calloc(1, sizeof *n);
	if (!n)
		return VQ_ENOMEM;
	n->size = size;
	n->n = vq_calloc((size_t)size, sizeof *n->n);
	vq_status s = n->n ? VQ_OK : VQ_ENOMEM;
	for (int k = 0; k < VQ_SIDES && s == VQ_OK; k++) {
		n->side[k].n = vq_calloc((size_t)size, sizeof *n->side[k].n);
		n->side[k].different = vq_calloc((size_t)size, sizeof *n->side[k].different);
		s = n->side[k].n && n->side[k].different ? grow(&n->side[k]) : VQ_ENOMEM;
	}
	if (s < 0) {
		vq_neighbours_free(n);
		*out = NULL;
	}
	return s;
}

void vq_neighbours_free(vq_neighbours *n)
{
	if (!n)
		return;
	for (int k = 0; k < VQ_SIDES; k++) {
		free(n->side[k].slot);
		free(n->side[k].n);
		free(n->side[k].different);
	}
	free(n->n);
	free(n);
}

/* The estimate before this code is counted; then counts it. */
static vq_status learn_pair(side *s, int64_t size, int64_t neighbour, int64_t code, double p0)
{
	const uint64_t key = (uint64_t)neighbour * (uint64_t)size + (uint64_t)code + 1;
	if (2 * s->used >= s->cap)
		VQ_TRY(grow(s));
	slot *at = &s->slot[find(s->slot, s->cap, key)];
	const double d = s->different[neighbour], n = (double)s->n[neighbour];
	s->bits -= log2(n > 0 ? ((double)at->count + d * p0) / (n + d) : p0);
	if (!at->key) {
		at->key = key;
		s->used++;
		s->different[neighbour]++;
	}
	at->count++;
	s->n[neighbour]++;
	s->pairs++;
	return VQ_OK;
}

vq_status vq_neighbours_add(vq_neighbours *n, const vq_tensor *codes)
{
	if (codes->ndim != 2)
		return VQ_OK;
	const int64_t w = codes->shape[1];
	for (int64_t i = 0; i < codes->shape[0] * w; i++) {
		const int64_t code = (int64_t)vq_tensor_get(codes, (size_t)i), beside[VQ_SIDES] = { i % w ? i - 1 : -1, i - w };
		const double d = (double)n->different,
		             p0 = n->total ? ((double)n->n[code] + d / (double)n->size) / ((double)n->total + d) : 1 / (double)n->size;
		for (int k = 0; k < VQ_SIDES; k++)
			if (beside[k] >= 0)
				VQ_TRY(learn_pair(&n->side[k], n->size, (int64_t)vq_tensor_get(codes, (size_t)beside[k]), code, p0));
			else
				n->side[k].bits -= log2(p0);
		n->bits -= log2(p0);
		n->different += !n->n[code]++;
		n->total++;
	}
	return VQ_OK;
}

vq_neighbour_figures vq_neighbours_get(const vq_neighbours *n)
{
	vq_neighbour_figures f = { .codes = n->total };
	if (!n->total)
		return f;
	f.adaptive = n->bits / (double)n->total;
	for (int k = 0; k < VQ_SIDES; k++) {
		const side *s = &n->side[k];
		double sum = 0;
		for (size_t i = 0; i < s->cap; i++)
			if (s->slot[i].key)
				sum -= (double)s->slot[i].count * log2((double)s->slot[i].count / (double)s->n[(s->slot[i].key - 1) / (uint64_t)n->size]);
		f.side[k].pairs = s->pairs;
		f.side[k].different = s->used;
		f.side[k].conditional = s->pairs ? sum / (double)s->pairs + 0.0 : NAN;
		f.side[k].adaptive = s->bits / (double)n->total;
	}
	return f;
}

static int by_code(const void *a, const void *b)
{
	const vq_code_pair *x = a, *y = b;
	if (x->code != y->code)
		return x->code < y->code ? -1 : 1;
	return (x->neighbour > y->neighbour) - (x->neighbour < y->neighbour);
}

vq_status vq_neighbours_list(const vq_neighbours *n, vq_side which, vq_status (*each)(void *ctx, const vq_code_pair *pair), void *ctx)
{
	const side *s = &n->side[which];
	size_t at = 0;
	vq_code_pair *p = vq_malloc(s->used * sizeof *p);
	uint64_t *codes = vq_calloc((size_t)n->size, sizeof *codes); /* among the pairs of this side */
	vq_status st = p && codes ? VQ_OK : VQ_ENOMEM;
	for (size_t i = 0; st == VQ_OK && i < s->cap; i++)
		if (s->slot[i].key) {
			const uint64_t key = s->slot[i].key - 1;
			p[at] = (vq_code_pair){ (int64_t)(key % (uint64_t)n->size), (int64_t)(key / (uint64_t)n->size), s->slot[i].count, 0 };
			codes[p[at++].code] += s->slot[i].count;
		}
	if (st == VQ_OK && at)
		qsort(p, at, sizeof *p, by_code);
	for (size_t i = 0; st == VQ_OK && i < at; i++) {
		p[i].lift = (double)p[i].count * (double)s->pairs / ((double)codes[p[i].code] * (double)s->n[p[i].neighbour]);
		st = each(ctx, &p[i]);
	}
	free(p);
	free(codes);
	return st < 0 ? st : VQ_OK;
}
