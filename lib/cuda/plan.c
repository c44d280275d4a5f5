/* Plans: what is made once, and a run. The first run of a set of phases launches node by node, the second is captured as a graph, which the
 * others launch. Nothing waits for the device but plan_finish. */
#include "lib/cuda/cuda.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/model/graph.h"

void *cuda_at(const vq_plan *p, int value)
{
	if (value < 0)
		return NULL;
	const vq_value *v = cuda_v(p, value);
	if (v->where == VQ_AT_FROZEN)
		return p->s->frozen_at + p->s->frozen->p[v->param].offset;
	if (v->where != VQ_AT_PARAM && v->where != VQ_AT_GRAD)
		return p->s->arena.at + v->offset;
	const vq_param *q = &p->s->params.p[v->param];
	vq_buf_kind k = v->where == VQ_AT_GRAD ? VQ_BUF_GRAD : q->trainable ? VQ_BUF_PARAM : VQ_BUF_STATE;
	return p->s->buf[k] + q->offset;
}

static void drop_graphs(vq_plan *p)
{
	for (size_t i = 0; i < VQ_COUNT(p->exec); i++) {
		if (p->exec[i])
			cudaGraphExecDestroy(p->exec[i]);
		p->exec[i] = NULL;
		p->ran[i] = false;
	}
}

static void plan_free(vq_plan *p)
{
	if (!p)
		return;
	cudaStreamSynchronize(p->b->stream);
	drop_graphs(p);
	for (int i = 0; p->node && i < p->g.nn; i++)
		cuda_node_drop(&p->node[i]);
	cuda_transfer_free(p);
	cudaFree(p->device);
	cudaFree(p->results);
	cudaFree(p->marks);
	free(p->node);
	free(p->mirror);
	free(p->places);
	free(p->grid);
	vq_graph_free(&p->g);
	free(p);
}

static int canvases(const vq_graph *g, int grid)
{
	for (int v = 0; v < g->nv; v++)
		if (g->v[v].grid == grid)
			return g->v[v].n;
	return 0; /* it only leads to others */
}

/* Grids with their marks and counts, and the places behind the step in the piece that each run brings. */
static vq_status make_grids(vq_plan *p)
{
	const vq_graph *g = &p->g;
	size_t items = (size_t)g->items_max, at = 0;
	void *marks;
	for (int i = 0; i <= g->ng; i++) {
		bool rows = i == g->ng;
		p->grid[i] = (vq_cuda_grid){ .n = rows ? g->items_max : canvases(g, i), .h = rows ? 1 : g->grid[i].h, .w = rows ? 1 : g->grid[i].w,
			.items_max = g->items_max };
		at += 64 + VQ_ALIGN((size_t)p->grid[i].n * (size_t)p->grid[i].h * (size_t)p->grid[i].w, (size_t)64);
		if (!rows)
			p->grid[i].places = (vq_place *)(p->device + cuda_places_at()) + (size_t)i * items;
	}
	VQ_TRY(cuda_get(&marks, at, "marks"));
	char *m = p->marks = marks;
	for (int i = 0; i <= g->ng; i++) {
		p->grid[i].count = (int64_t *)m;
		p->grid[i].mark = (uint8_t *)m + 64;
		m += 64 + VQ_ALIGN((size_t)p->grid[i].n * (size_t)p->grid[i].h * (size_t)p->grid[i].w, (size_t)64);
	}
	return VQ_OK;
}

static vq_status make_tables(vq_plan *p)
{
	size_t places = (size_t)p->g.ng * (size_t)p->g.items_max;
	p->step_bytes = cuda_places_at() + places * sizeof(vq_place);
	p->node = vq_calloc((size_t)p->g.nn + 1, sizeof *p->node);
	p->mirror = vq_calloc((size_t)p->g.nv + 1, sizeof *p->mirror);
	p->places = vq_calloc(places + 1, sizeof *p->places);
	p->grid = vq_calloc((size_t)p->g.ng + 1, sizeof *p->grid);
	if (!p->node || !p->mirror || !p->places || !p->grid)
		return VQ_ENOMEM;
	for (int i = 0; i < p->g.nn; i++)
		p->node[i].filter = -1;
	void *v;
	VQ_TRY(cuda_transfer_make(p));
	VQ_TRY(cuda_get(&v, p->step_bytes, "a step"));
	p->device = v;
	VQ_TRY(cuda_get(&v, sizeof *p->results, "results"));
	p->results = v;
	return make_grids(p);
}

/* What a run needs of the store; other plans may have taken it in between, or failed to get more. */
vq_status cuda_plan_hold(vq_plan *p)
{
	VQ_TRY(cuda_grow(p->s, &p->s->arena, p->g.arena_bytes, "the plan of this shape"));
	VQ_TRY(cuda_grow(p->s, &p->s->scratch, p->scratch, "the scratch memory of this shape"));
	VQ_TRY(cuda_transfer_hold(p));
	if (p->moved == p->s->moved)
		return VQ_OK;
	drop_graphs(p);
	for (int i = 0; i < p->g.nn; i++)
		VQ_TRY(cuda_node_bind(p, &p->g.node[i], &p->node[i]));
	p->moved = p->s->moved;
	return VQ_OK;
}

static vq_status plan_make(vq_backend *b, vq_store *s, const vq_graph *g, vq_plan **out)
{
	*out = NULL;
	vq_plan *p = vq_calloc(1, sizeof *p);
	if (!p)
		return VQ_ENOMEM;
	p->b = (cuda_backend *)b;
	p->s = s;
	vq_status st = vq_graph_copy(&p->g, g);
	if (st < 0) {
		free(p);
		return st;
	}
	if (g->frozen && g->frozen != s->frozen) {
		st = vq_fail(VQ_EINVAL, "the store has no weights for the frozen network");
		goto fail;
	}
	VQ_TRY_GOTO(st, make_tables(p), fail);
	for (int i = 0; i < g->nn; i++)
		if ((st = cuda_node_prepare(p, &p->g.node[i], &p->node[i])) < 0) {
			vq_context(st, "%s", vq_op_name(g->node[i].op));
			goto fail;
		}
	VQ_TRY_GOTO(st, cuda_plan_hold(p), fail);
	*out = p;
	return VQ_OK;
fail:
	plan_free(p);
	return st;
}

/* --- a run --------------------------------------------------------------------------------------------------------- */

static vq_status find_places(vq_plan *p, int slot)
{
	const vq_graph *g = &p->g;
	size_t items = (size_t)p->step->items, most = (size_t)g->items_max;
	vq_place *to = (vq_place *)(p->s->slot[slot].host + cuda_places_at());
	vq_places(g, p->step->items, p->step->places, p->places);
	for (int i = 0; i < g->ng; i++) {
		for (size_t j = 0; j < items && p->grid[i].n; j++) {
			vq_rect r = p->places[(size_t)i * items + j].extent;
			if (r.n < 0 || r.n >= p->grid[i].n || r.y < 0 || r.x < 0 || r.y + r.h > g->grid[i].h || r.x + r.w > g->grid[i].w)
				return vq_fail(VQ_EINVAL, "item %zu does not fit its canvas (%d x %d at %d, %d of %d x %d)", j, r.h, r.w, r.y, r.x, g->grid[i].h, g->grid[i].w);
		}
		if (items)
			memcpy(to + (size_t)i * most, p->places + (size_t)i * items, items * sizeof *to);
	}
	return VQ_OK;
}

/* 1 - b^n without a library that the program may not link. */
static double without_power(double b, uint64_t n)
{
	double r = 1;
	for (; n; n >>= 1, b *= b)
		if (n & 1)
			r *= b;
	return 1 - r;
}

static vq_status bring(vq_plan *p, unsigned phases, cuda_given least, int *slot)
{
	const vq_step *s = p->step;
	const vq_optimizer *o = &p->g.optimizer;
	VQ_TRY(cuda_slot_take(p, slot));
	vq_cuda_step *t = cuda_slot_step(p->s, *slot);
	*t = (vq_cuda_step){ .seed = s->seed, .step = s->step, .items = s->items, .first = p->s->updates == 0, .lr = s->lr,
		.c1 = (float)without_power((double)o->beta1, s->step + 1), .c2 = (float)without_power((double)o->beta2, s->step + 1) };
	memcpy(t->scale, s->scale, sizeof t->scale);
	if (phases & VQ_FORWARD)
		VQ_TRY(find_places(p, *slot));
	VQ_TRY(cuda_bring(p, *slot, phases, least));
	if (p->s->packed != p->s->version && p->s->rows) {
		VQ_TRY(cuda_try(vq_cuda_pack(p->b->stream, p->s->table, p->s->rows, p->s->most), "pack"));
		p->s->packed = p->s->version;
	}
	return VQ_OK;
}

static vq_status mark(vq_plan *p, unsigned phases)
{
	cudaStream_t s = p->b->stream;
	if (!(phases & VQ_FORWARD))
		return VQ_OK;
	VQ_TRY(cuda_try(cudaMemsetAsync(p->results, 0, sizeof p->results->scalar, s), "cudaMemsetAsync"));
	VQ_TRY(cuda_try(cudaMemsetAsync(&p->results->bad, 0xff, sizeof p->results->bad, s), "cudaMemsetAsync"));
	for (int i = 0; i <= p->g.ng; i++)
		if (p->grid[i].n)
			VQ_TRY(cuda_try(vq_cuda_mark(s, (const vq_cuda_step *)p->device, p->grid[i]), "mark"));
	return VQ_OK;
}

static vq_status launch(vq_plan *p, unsigned phases)
{
	VQ_TRY(mark(p, phases));
	for (int i = 0; i < p->g.nn; i++) {
		const vq_node *n = &p->g.node[i];
		if (n->phase & phases) {
			vq_status st = cuda_node_run(p, n, &p->node[i]);
			if (st < 0)
				return vq_context(st, "%s", vq_op_name(n->op));
		}
	}
	return VQ_OK;
}

static vq_status capture(vq_plan *p, unsigned phases)
{
	cudaGraph_t graph = NULL;
	VQ_TRY(cuda_try(cudaStreamBeginCapture(p->b->stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture"));
	vq_status st = launch(p, phases);
	cudaError_t e = cudaStreamEndCapture(p->b->stream, &graph);
	if (st == VQ_OK)
		st = cuda_try(e, "cudaStreamEndCapture");
	if (st == VQ_OK)
		st = cuda_try(cudaGraphInstantiate(&p->exec[phases], graph, 0), "cudaGraphInstantiate");
	if (graph)
		cudaGraphDestroy(graph);
	cudaGetLastError();
	return st;
}

static vq_status start(vq_plan *p, unsigned phases)
{
	if (!p->ran[phases]) { /* libraries may load what a capture does not allow */
		p->ran[phases] = true;
		return launch(p, phases);
	}
	if (!p->exec[phases] && !p->loose && capture(p, phases) < 0) { /* an operation that cannot be captured: one by one, always */
		p->loose = true;
		snprintf(p->b->b.slow, sizeof p->b->b.slow, "operations are started one by one, since they could not be captured: %s", vq_message());
	}
	if (!p->exec[phases])
		return launch(p, phases);
	return cuda_try(cudaGraphLaunch(p->exec[phases], p->b->stream), "cudaGraphLaunch");
}

static vq_status plan_start(vq_plan *p, vq_step *step, unsigned phases)
{
	int slot;
	phases &= VQ_FORWARD | VQ_BACKWARD | VQ_UPDATE;
	if (step->items < 0 || step->items > p->g.items_max)
		return vq_fail(VQ_EINVAL, "%d items in a plan for at most %d", step->items, p->g.items_max);
	p->step = step;
	VQ_TRY(cuda_plan_hold(p));
	VQ_TRY(bring(p, phases, CUDA_NEW, &slot));
	VQ_TRY(start(p, phases));
	for (int i = 0; i < p->g.nn; i++)
		if (p->g.node[i].op == VQ_OP_OPTIMIZE && (p->g.node[i].phase & phases)) {
			p->s->version++;
			p->s->updates++;
		}
	return cuda_fetch(p, slot, step, phases);
}

static vq_status plan_run(vq_plan *p, vq_step *step, unsigned phases)
{
	VQ_TRY(plan_start(p, step, phases));
	return cuda_finish(p, step);
}

/* --- looking at a plan --------------------------------------------------------------------------------------------- */

static bool finite_piece(const vq_value *v, const char *x, size_t at, size_t n)
{
	for (size_t k = at; k < at + n; k++)
		if (!isfinite(v->dtype == VQ_BF16 ? vq_bf16_to_f32(((const uint16_t *)x)[k]) : ((const float *)x)[k]))
			return false;
	return true;
}

/* Inside the items' extents: what lies outside is nobody's. */
static bool finite_inside(const vq_plan *p, const vq_value *v, const char *x)
{
	size_t items = (size_t)p->step->items, row = cuda_count(v) / (size_t)v->n;
	if (v->grid < 0)
		return finite_piece(v, x, 0, row * (v->n == p->g.items_max ? items : (size_t)v->n));
	for (size_t i = 0; i < items; i++) {
		vq_rect r = p->places[(size_t)v->grid * items + i].extent;
		for (int y = r.y; y < r.y + r.h; y++)
			if (!finite_piece(v, x, (((size_t)r.n * (size_t)v->h + (size_t)y) * (size_t)v->w + (size_t)r.x) * (size_t)v->c, (size_t)r.w * (size_t)v->c))
				return false;
	}
	return true;
}

/* By a copy to the host: this is for a message. What cannot be looked at counts as finite. */
static bool finite_value(vq_plan *p, int value)
{
	const vq_value *v = cuda_v(p, value);
	if (v->dtype != VQ_F32 && v->dtype != VQ_BF16)
		return true;
	char *x = vq_malloc(v->bytes);
	bool yes = !x || p->b->b.plan_read(p, value, x) < 0 || finite_inside(p, v, x);
	free(x);
	return yes;
}

static bool finite_node(vq_plan *p, const vq_node *n)
{
	for (int j = 0; j < VQ_NODE_IN; j++)
		if (n->in[j] >= 0 && (cuda_v(p, n->in[j])->where == VQ_AT_INPUT || cuda_v(p, n->in[j])->where == VQ_AT_PARAM) && !finite_value(p, n->in[j]))
			return false;
	if (cuda_node_run(p, n, &p->node[n - p->g.node]) < 0)
		return true;
	for (int j = 0; j < VQ_NODE_OUT; j++)
		if (n->out[j] >= 0 && !finite_value(p, n->out[j]))
			return false;
	return true;
}

static int plan_first_bad(vq_plan *p, vq_step *step, unsigned phases)
{
	int slot;
	p->step = step;
	if (cuda_plan_hold(p) < 0 || bring(p, phases, CUDA_HELD, &slot) < 0 || mark(p, phases) < 0) /* an input may be gone from the arena */
		return -1;
	for (int i = 0; i < p->g.nn; i++)
		if ((p->g.node[i].phase & phases) && !finite_node(p, &p->g.node[i]))
			return i;
	return -1;
}

static const double *plan_seconds(const vq_plan *p) { return NULL; }
static const char *plan_impl(const vq_plan *p, int node) { return p->node[node].conv.name; }

void cuda_plan_table(vq_backend *b)
{
	b->plan_make = plan_make;
	b->plan_free = plan_free;
	b->plan_run = plan_run;
	b->plan_start = plan_start;
	b->plan_finish = cuda_finish;
	b->plan_first_bad = plan_first_bad;
	b->plan_seconds = plan_seconds;
	b->plan_impl = plan_impl;
}
