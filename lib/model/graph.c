#include "lib/model/graph.h"

#include <stdlib.h>
#include <string.h>

void vq_params_free(vq_params *p)
{
	free(p->p);
	*p = (vq_params){0};
}

int vq_params_find(const vq_params *p, const char *name)
{
	for (int i = 0; i < p->n; i++)
		if (!strcmp(p->p[i].name, name))
			return i;
	return -1;
}

int vq_params_add(vq_params *p, const char *name, bool trainable, vq_init init, float a, int ndim, const int64_t *shape)
{
	if (p->n == p->cap) {
		int cap = p->cap ? 2 * p->cap : 64;
		vq_param *q = vq_realloc(p->p, sizeof *q * (size_t)cap);
		if (!q)
			return VQ_ENOMEM;
		p->p = q;
		p->cap = cap;
	}
	vq_param *q = &p->p[p->n];
	*q = (vq_param){ .ndim = ndim, .trainable = trainable, .init = init, .init_a = a, .count = 1 };
	if (strlen(name) >= sizeof q->name)
		return vq_fail(VQ_EINVAL, "parameter name too long: %s", name);
	strcpy(q->name, name);
	for (int i = 0; i < ndim; i++) {
		q->shape[i] = shape[i];
		q->count *= (size_t)shape[i];
	}
	q->offset = p->sizes[trainable];
	p->sizes[trainable] += VQ_ALIGN(q->count, (size_t)16);
	return p->n++;
}

/* Keeps the first failure. */
static int failed(vq_builder *b, vq_status s)
{
	if (b->status == VQ_OK)
		b->status = s;
	return -1;
}

static bool grow(vq_builder *b, void **array, int n, int *cap, size_t size)
{
	if (n < *cap)
		return true;
	int c = *cap ? 2 * *cap : 128;
	void *q = vq_realloc(*array, size * (size_t)c);
	if (!q) {
		failed(b, VQ_ENOMEM);
		return false;
	}
	*array = q;
	*cap = c;
	return true;
}

int vq_value_new(vq_builder *b, vq_where where, vq_dtype t, int n, int h, int w, int c, int grid)
{
	vq_graph *g = b->g;
	if (b->status < 0 || !grow(b, (void **)&g->v, g->nv, &g->vcap, sizeof *g->v))
		return -1;
	if (n < 1 || h < 1 || w < 1 || c < 1)
		return failed(b, vq_fail(VQ_EINVAL, "a layer's output would be %d x %d x %d x %d", n, h, w, c));
	g->v[g->nv] = (vq_value){ .where = where, .dtype = t, .n = n, .h = h, .w = w, .c = c, .grid = grid, .param = -1,
		.bytes = (size_t)n * (size_t)h * (size_t)w * (size_t)c * vq_dtype_size(t), .alias = -1 };
	return g->nv++;
}

int vq_grid_new(vq_builder *b, vq_grid grid)
{
	vq_graph *g = b->g;
	if (b->status < 0 || !grow(b, (void **)&g->grid, g->ng, &g->gcap, sizeof *g->grid))
		return -1;
	g->grid[g->ng] = grid;
	return g->ng++;
}

int vq_grid_whole(vq_builder *b, int h, int w)
{
	for (int i = 0; i < b->g->ng; i++)
		if (b->g->grid[i].parent == -2 && b->g->grid[i].h == h && b->g->grid[i].w == w)
			return i;
	return vq_grid_new(b, (vq_grid){ .parent = -2, .h = h, .w = w });
}

int vq_value_param(vq_builder *b, const char *name, bool trainable, vq_init init, float a, int ndim, const int64_t *shape)
{
	if (b->status < 0)
		return -1;
	int i = vq_params_find(b->params, name);
	if (i < 0 && !b->declare)
		return failed(b, vq_fail(VQ_EINVAL, "the model has no parameter %s", name));
	if (i < 0 && (i = vq_params_add(b->params, name, trainable, init, a, ndim, shape)) < 0)
		return failed(b, i);
	for (int v = 0; v < b->g->nv; v++)
		if (b->g->v[v].where == VQ_AT_PARAM && b->g->v[v].param == i)
			return v;
	int v = vq_value_new(b, VQ_AT_PARAM, VQ_F32, 1, 1, 1, (int)b->params->p[i].count, -1);
	if (v >= 0)
		b->g->v[v].param = i;
	return v;
}

vq_node *vq_node_new(vq_builder *b, vq_op op, vq_phase phase)
{
	vq_graph *g = b->g;
	if (b->status < 0 || !grow(b, (void **)&g->node, g->nn, &g->ncap, sizeof *g->node))
		return NULL;
	vq_node *n = &g->node[g->nn++];
	*n = (vq_node){ .op = op, .phase = phase, .scalar = -1, .scale = -1, .training = b->training };
	for (int i = 0; i < VQ_NODE_IN; i++)
		n->in[i] = -1;
	for (int i = 0; i < VQ_NODE_OUT; i++)
		n->out[i] = -1;
	return n;
}

vq_status vq_graph_copy(vq_graph *to, const vq_graph *from)
{
	*to = *from;
	to->v = vq_malloc(sizeof *to->v * (size_t)from->nv);
	to->node = vq_malloc(sizeof *to->node * (size_t)from->nn);
	to->grid = vq_malloc(sizeof *to->grid * (size_t)from->ng);
	if (!to->v || !to->node || !to->grid) {
		vq_graph_free(to);
		return VQ_ENOMEM;
	}
	memcpy(to->v, from->v, sizeof *to->v * (size_t)from->nv);
	memcpy(to->node, from->node, sizeof *to->node * (size_t)from->nn);
	memcpy(to->grid, from->grid, sizeof *to->grid * (size_t)from->ng);
	to->vcap = to->nv;
	to->ncap = to->nn;
	to->gcap = to->ng;
	return VQ_OK;
}

void vq_graph_free(vq_graph *g)
{
	free(g->v);
	free(g->node);
	free(g->grid);
	*g = (vq_graph){0};
}

/* --- memory: values whose lives do not overlap share places in the arena ------------------------------------------ */

static int root(const vq_graph *g, int v)
{
	while (g->v[v].alias >= 0)
		v = g->v[v].alias;
	return v;
}

typedef struct { int first, last; } life;

static void lives(const vq_graph *g, life *l)
{
	for (int i = 0; i < g->nv; i++)
		l[i] = (life){ INT32_MAX, -1 };
	for (int i = 0; i < g->nv; i++) {
		int r = root(g, i);
		if (g->v[i].where == VQ_AT_INPUT)
			l[r].first = -1;
		if (g->v[i].where == VQ_AT_OUTPUT)
			l[r].last = g->nn;
	}
	for (int i = 0; i < g->nn; i++) {
		const vq_node *n = &g->node[i];
		for (int j = 0; j < VQ_NODE_IN + VQ_NODE_OUT; j++) {
			int v = j < VQ_NODE_IN ? n->in[j] : n->out[j - VQ_NODE_IN];
			if (v < 0)
				continue;
			v = root(g, v);
			l[v].first = VQ_MIN(l[v].first, i);
			l[v].last = VQ_MAX(l[v].last, i);
		}
	}
}

static vq_status layout(vq_graph *g)
{
	life *l = vq_malloc(sizeof *l * (size_t)g->nv);
	int *placed = vq_malloc(sizeof *placed * (size_t)g->nv), np = 0;
	if (!l || !placed) {
		free(l);
		free(placed);
		return VQ_ENOMEM;
	}
	lives(g, l);
	g->arena_bytes = 0;
	for (;;) { /* largest first; each at the lowest offset that is free for its whole life */
		int best = -1;
		for (int i = 0; i < g->nv; i++)
			if (l[i].first <= g->nn && (g->v[i].where == VQ_AT_ARENA || g->v[i].where == VQ_AT_INPUT || g->v[i].where == VQ_AT_OUTPUT) &&
			    g->v[i].alias < 0 && (best < 0 || g->v[i].bytes > g->v[best].bytes))
				best = i;
		if (best < 0)
			break;
		size_t at = 0, need = VQ_ALIGN(g->v[best].bytes, (size_t)64);
		for (bool moved = true; moved;) {
			moved = false;
			for (int j = 0; j < np; j++) {
				const vq_value *o = &g->v[placed[j]];
				size_t end = o->offset + VQ_ALIGN(o->bytes, (size_t)64);
				bool together = l[placed[j]].last >= l[best].first && l[best].last >= g->v[placed[j]].life_first;
				if (together && at < end && o->offset < at + need) {
					at = end;
					moved = true;
				}
			}
		}
		g->v[best].offset = at;
		g->v[best].life_first = l[best].first;
		g->arena_bytes = VQ_MAX(g->arena_bytes, at + need);
		l[best].first = INT32_MAX; /* done */
		placed[np++] = best;
	}
	for (int i = 0; i < g->nv; i++)
		g->v[i].offset = g->v[root(g, i)].offset;
	free(l);
	free(placed);
	return VQ_OK;
}

/* Updates change what earlier nodes read (the codebook), so that they run after all else. */
static vq_status updates_last(vq_graph *g)
{
	vq_node *sorted = vq_malloc(sizeof *sorted * (size_t)g->nn);
	if (!sorted)
		return VQ_ENOMEM;
	int n = 0;
	for (int last = 0; last < 2; last++)
		for (int i = 0; i < g->nn; i++)
			if ((g->node[i].phase == VQ_UPDATE) == last)
				sorted[n++] = g->node[i];
	memcpy(g->node, sorted, sizeof *sorted * (size_t)n);
	free(sorted);
	return VQ_OK;
}

/* A value that another one took the memory of must not be read once that was written. */
static vq_status check_overwritten(const vq_graph *g)
{
	bool *gone = vq_calloc((size_t)g->nv + 1, 1);
	vq_status s = gone ? VQ_OK : VQ_ENOMEM;
	for (int i = 0; i < g->nn && s == VQ_OK; i++) {
		const vq_node *n = &g->node[i];
		for (int j = 0; j < VQ_NODE_IN; j++)
			if (n->in[j] >= 0 && gone[n->in[j]])
				s = vq_fail(VQ_EINVAL, "node %d (%s) reads value %d, which was overwritten", i, vq_op_name(n->op), n->in[j]);
		for (int j = 0; j < VQ_NODE_OUT; j++)
			if (n->out[j] >= 0 && g->v[n->out[j]].alias >= 0)
				gone[g->v[n->out[j]].alias] = true;
	}
	free(gone);
	return s;
}

vq_status vq_build_finish(vq_builder *b)
{
	VQ_TRY(b->status);
	VQ_TRY(updates_last(b->g));
	VQ_TRY(check_overwritten(b->g));
	return layout(b->g);
}

/* --- where items lie on each grid --------------------------------------------------------------------------------- */

static int down(int v, int k, int s, int p) { return v + 2 * p < k ? 0 : (v + 2 * p - k) / s + 1; }

/* The same with a last window that need not be full. */
static int down_up(int v, int k, int s) { return v <= 0 ? 0 : v <= k ? 1 : (v - k + s - 1) / s + 1; }

/* One axis: an extent of e at position at, valid from v0 to v1 inside the canvas; a coarser position is valid when the block of
 * pixels it stands for holds a valid one. */
static void axis(const vq_grid *g, int at, int e, int v0, int v1, int32_t *oat, int32_t *oe, int32_t *ov, int32_t *on)
{
	int o, n, a, z;
	if (g->least) {
		o = at;
		n = e > 0 ? VQ_MAX(e, g->least) : 0;
		a = e > 0 ? o + (v0 - at) * n / e : o;
		z = e > 0 ? o + ((v1 - at) * n + e - 1) / e : o;
	} else if (g->transposed) {
		o = at * g->s;
		n = (e - 1) * g->s + g->k - 2 * g->p;
		a = v0 * g->s;
		z = v1 * g->s;
	} else {
		o = at / g->s;
		n = g->up ? down_up(e, g->k, g->s) : down(e, g->k, g->s, g->p);
		a = v0 / g->s;
		z = (v1 + g->s - 1) / g->s;
	}
	a = VQ_MAX(a, o);
	z = VQ_MIN(z, o + n);
	*oat = o;
	*oe = VQ_MAX(n, 0);
	*ov = a;
	*on = VQ_MAX(z - a, 0);
}

void vq_places(const vq_graph *g, int items, const vq_place *input, vq_place *out)
{
	if (g->ng && items)
		memcpy(out, input, sizeof *out * (size_t)items);
	for (int i = 1; i < g->ng; i++)
		for (int j = 0; j < items; j++) {
			const vq_place *f = &out[(size_t)VQ_MAX(g->grid[i].parent, 0) * (size_t)items + (size_t)j];
			vq_place *t = &out[(size_t)i * (size_t)items + (size_t)j];
			if (g->grid[i].parent == -2) {
				t->extent = t->valid = (vq_rect){ j, 0, 0, g->grid[i].h, g->grid[i].w };
				continue;
			}
			t->extent.n = t->valid.n = f->extent.n;
			axis(&g->grid[i], f->extent.y, f->extent.h, f->valid.y, f->valid.y + f->valid.h, &t->extent.y, &t->extent.h, &t->valid.y, &t->valid.h);
			axis(&g->grid[i], f->extent.x, f->extent.w, f->valid.x, f->valid.x + f->valid.w, &t->extent.x, &t->extent.w, &t->valid.x, &t->valid.w);
		}
}
