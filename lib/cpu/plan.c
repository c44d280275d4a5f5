/* The CPU backend: stores, plans, and the loop over nodes. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/cpu.h"
#include "lib/cpu/peak.h"
#include "lib/model/graph.h"

vq_status cpu_dnnl(dnnl_status_t s, const char *what)
{
	return s == dnnl_success ? VQ_OK : vq_fail(s == dnnl_out_of_memory ? VQ_ENOMEM : VQ_EBACKEND, "oneDNN: %s failed with status %d", what, (int)s);
}

/* --- store --------------------------------------------------------------------------------------------------------- */

static void store_free(vq_store *s)
{
	if (!s)
		return;
	for (int i = 0; i < VQ_BUFS; i++)
		free(s->buf[i]);
	free(s->scratch);
	free(s->arena);
	vq_params_free(&s->params);
	free(s);
}

static vq_status store_make(vq_backend *b, const vq_params *params, bool training, vq_store **out)
{
	*out = NULL;
	vq_store *s = vq_calloc(1, sizeof *s);
	if (!s)
		return VQ_ENOMEM;
	s->b = (cpu_backend *)b;
	s->params = *params;
	s->params.cap = params->n;
	s->params.p = vq_malloc(sizeof *params->p * (size_t)params->n);
	if (!s->params.p) {
		free(s);
		return VQ_ENOMEM;
	}
	if (params->n)
		memcpy(s->params.p, params->p, sizeof *params->p * (size_t)params->n);
	for (int i = 0; i < VQ_BUFS; i++) {
		size_t bytes = sizeof(float) * params->sizes[i != VQ_BUF_STATE];
		if (i > VQ_BUF_PARAM && !training)
			continue;
		if (!(s->buf[i] = vq_aligned(bytes))) {
			store_free(s);
			return VQ_ENOMEM;
		}
		memset(s->buf[i], 0, bytes);
	}
	s->version = 1;
	*out = s;
	return VQ_OK;
}

static vq_status store_read(vq_store *s, vq_buf_kind k, size_t offset, size_t count, float *host)
{
	VQ_TRY(vq_store_range(&s->params, s->buf[k] != NULL, k, offset, count));
	memcpy(host, s->buf[k] + offset, count * sizeof *host);
	return VQ_OK;
}

static vq_status store_write(vq_store *s, vq_buf_kind k, size_t offset, size_t count, const float *host)
{
	VQ_TRY(vq_store_range(&s->params, s->buf[k] != NULL, k, offset, count));
	memcpy(s->buf[k] + offset, host, count * sizeof *host);
	if (k == VQ_BUF_PARAM || k == VQ_BUF_STATE)
		s->version++;
	if (k == VQ_BUF_M)
		s->updates = 1;
	return VQ_OK;
}

static vq_status store_frozen(vq_store *s, const vq_params *table, const float *values)
{
	for (cpu_layout *l = s->layouts; l; l = l->next)
		if (l->form.where == VQ_AT_FROZEN)
			l->version = 0;
	s->frozen = table;
	s->frozen_values = values;
	return VQ_OK;
}

static vq_status store_average(vq_store *s, float decay)
{
	float *m = s->buf[VQ_BUF_MEAN], *p = s->buf[VQ_BUF_PARAM];
	for (size_t i = 0; i < s->params.sizes[1]; i++)
		m[i] += (1 - decay) * (p[i] - m[i]);
	return VQ_OK;
}

/* --- plan ---------------------------------------------------------------------------------------------------------- */

void *cpu_at(const vq_plan *p, int value)
{
	if (value < 0)
		return NULL;
	const vq_value *v = cpu_v(p, value);
	if (v->where == VQ_AT_FROZEN)
		return (float *)p->s->frozen_values + p->s->frozen->p[v->param].offset; /* nobody writes there */
	if (v->where != VQ_AT_PARAM && v->where != VQ_AT_GRAD)
		return p->s->arena + v->offset;
	const vq_param *q = &p->s->params.p[v->param];
	vq_buf_kind k = v->where == VQ_AT_GRAD ? VQ_BUF_GRAD : q->trainable ? VQ_BUF_PARAM : VQ_BUF_STATE;
	return p->s->buf[k] + q->offset;
}

float cpu_scale(const vq_plan *p, const vq_node *n) { return n->scale < 0 ? 1 : p->step->scale[n->scale]; }

vq_status cpu_scratch(vq_plan *p, size_t bytes)
{
	p->scratch_bytes = VQ_MAX(p->scratch_bytes, bytes);
	return VQ_OK;
}

static void plan_free(vq_plan *p)
{
	if (!p)
		return;
	for (int i = 0; p->node && i < p->g.nn; i++)
		cpu_node_drop(p->s, &p->node[i]);
	for (int i = 0; p->runs && i <= p->g.ng; i++)
		for (int k = 0; k < CPU_RUNS; k++)
			free(p->runs[i][k].r);
	free(p->node);
	free(p->places);
	free(p->runs);
	free(p->mark);
	free(p->seconds);
	vq_graph_free(&p->g);
	free(p);
}

static vq_status plan_tables(vq_plan *p)
{
	size_t most = 1;
	for (int i = 0; i < p->g.nv; i++)
		if (p->g.v[i].grid >= 0)
			most = VQ_MAX(most, (size_t)p->g.v[i].n * (size_t)p->g.v[i].h * (size_t)p->g.v[i].w);
	p->node = vq_calloc((size_t)p->g.nn, sizeof *p->node);
	p->places = vq_calloc((size_t)VQ_MAX(p->g.ng, 1) * (size_t)p->g.items_max, sizeof *p->places);
	p->runs = vq_calloc((size_t)p->g.ng + 1, sizeof *p->runs);
	p->seconds = vq_calloc((size_t)p->g.nn, sizeof *p->seconds);
	p->mark = vq_malloc(most);
	return p->node && p->places && p->runs && p->seconds && p->mark ? VQ_OK : VQ_ENOMEM;
}

/* What the plans of a store share is as large as the largest of them wants. */
static vq_status grow(char **at, size_t *bytes, size_t want)
{
	if (*at && *bytes >= want)
		return VQ_OK;
	char *more = vq_aligned(want);
	if (!more)
		return VQ_ENOMEM;
	memset(more, 0, want);
	free(*at);
	*at = more;
	*bytes = want;
	return VQ_OK;
}

static vq_status plan_make(vq_backend *b, vq_store *s, const vq_graph *g, vq_plan **out)
{
	vq_status st = VQ_OK;
	*out = NULL;
	vq_plan *p = vq_calloc(1, sizeof *p);
	if (!p)
		return VQ_ENOMEM;
	p->b = (cpu_backend *)b;
	p->s = s;
	omp_set_num_threads(b->threads); /* primitives are made for the threads they will run with */
	if (g->frozen && g->frozen != s->frozen) {
		st = vq_fail(VQ_EINVAL, "the store has no weights for the frozen network");
		goto fail;
	}
	VQ_TRY_GOTO(st, vq_graph_copy(&p->g, g), fail);
	VQ_TRY_GOTO(st, plan_tables(p), fail);
	for (int i = 0; i < g->nn; i++) {
		const cpu_op *op = &cpu_ops[g->node[i].op];
		if (!op->run) {
			st = vq_fail(VQ_EUNSUP, "the CPU backend has no operation %s", vq_op_name(g->node[i].op));
			goto fail;
		}
		if (op->prepare && (st = op->prepare(p, &p->g.node[i], &p->node[i])) < 0) {
			vq_context(st, "%s", vq_op_name(g->node[i].op));
			goto fail;
		}
	}
	VQ_TRY_GOTO(st, grow(&s->scratch, &s->scratch_bytes, p->scratch_bytes), fail);
	VQ_TRY_GOTO(st, grow(&s->arena, &s->arena_bytes, g->arena_bytes), fail);
	*out = p;
	return VQ_OK;
fail:
	plan_free(p);
	return st;
}

static vq_status plan_write(vq_plan *p, int value, const void *host)
{
	memcpy(cpu_at(p, value), host, cpu_v(p, value)->bytes);
	return VQ_OK;
}

static vq_status plan_read(vq_plan *p, int value, void *host)
{
	memcpy(host, cpu_at(p, value), cpu_v(p, value)->bytes);
	return VQ_OK;
}

static void *plan_host(vq_plan *p, int value) { return cpu_at(p, value); }

static vq_status add_run(cpu_runs *r, size_t at, size_t n)
{
	if (!n)
		return VQ_OK;
	if (r->n && r->r[r->n - 1].at + r->r[r->n - 1].n == at) {
		r->r[r->n - 1].n += n;
	} else {
		if (r->n == r->cap) {
			int cap = 2 * r->cap + 64;
			cpu_run *q = vq_realloc(r->r, sizeof *q * (size_t)cap);
			if (!q)
				return VQ_ENOMEM;
			r->r = q;
			r->cap = cap;
		}
		r->r[r->n++] = (cpu_run){ at, n, r->total };
	}
	r->total += n;
	return VQ_OK;
}

static size_t canvases(const vq_graph *g, int grid)
{
	for (int v = 0; v < g->nv; v++)
		if (g->v[v].grid == grid)
			return (size_t)g->v[v].n;
	return 0;
}

static vq_status rect_runs(vq_plan *p, int grid, cpu_runs *r, vq_rect t)
{
	size_t row = (size_t)p->g.grid[grid].w, plane = row * (size_t)p->g.grid[grid].h;
	for (int y = t.y; y < t.y + t.h; y++)
		VQ_TRY(add_run(r, (size_t)t.n * plane + (size_t)y * row + (size_t)t.x, (size_t)t.w));
	return VQ_OK;
}

static vq_status gap_runs(vq_plan *p, int grid, size_t total)
{
	const cpu_runs *e = &p->runs[grid][CPU_EXTENT];
	memset(p->mark, 1, total);
	for (int i = 0; i < e->n; i++)
		memset(p->mark + e->r[i].at, 0, e->r[i].n);
	for (size_t k = 0; k < total;) {
		const unsigned char *from = memchr(p->mark + k, 1, total - k);
		if (!from)
			break;
		k = (size_t)(from - p->mark);
		const unsigned char *to = memchr(from, 0, total - k);
		size_t n = to ? (size_t)(to - from) : total - k;
		VQ_TRY(add_run(&p->runs[grid][CPU_GAP], k, n));
		k += n;
	}
	return VQ_OK;
}

/* Where this step's items are, on every grid. */
static vq_status find_runs(vq_plan *p)
{
	for (int i = 0; i <= p->g.ng; i++)
		for (int k = 0; k < CPU_RUNS; k++)
			p->runs[i][k].n = 0, p->runs[i][k].total = 0;
	for (int k = CPU_EXTENT; k <= CPU_VALID; k++)
		VQ_TRY(add_run(&p->runs[p->g.ng][k], 0, (size_t)p->step->items));
	for (int i = 0; i < p->g.ng; i++) {
		const vq_grid *g = &p->g.grid[i];
		size_t n = canvases(&p->g, i);
		for (int j = 0; j < p->step->items && n; j++) { /* no value lies on a grid that only leads to others */
			const vq_place *at = &cpu_places(p, i)[j];
			vq_rect r = at->extent;
			if (r.n < 0 || (size_t)r.n >= n || r.y < 0 || r.x < 0 || r.y + r.h > g->h || r.x + r.w > g->w)
				return vq_fail(VQ_EINVAL, "item %d does not fit its canvas (%d x %d at %d, %d of %d x %d)", j, r.h, r.w, r.y, r.x, g->h, g->w);
			VQ_TRY(rect_runs(p, i, &p->runs[i][CPU_EXTENT], r));
			VQ_TRY(rect_runs(p, i, &p->runs[i][CPU_VALID], at->valid));
		}
		if (p->g.packed)
			VQ_TRY(gap_runs(p, i, n * (size_t)g->h * (size_t)g->w));
	}
	return VQ_OK;
}

void cpu_team(int threads, cpu_member *before, cpu_member *fn, void *ctx)
{
	if (threads == 1) {
		if (before)
			before(ctx, 0);
		fn(ctx, 0);
		return;
	}
#pragma omp parallel num_threads(threads)
	{
		int apart = omp_get_num_threads(); /* as many as asked for, or where regions are nested 1 */
		for (int i = omp_get_thread_num(); before && i < threads; i += apart)
			before(ctx, i);
		if (before) {
#pragma omp barrier
		}
		for (int i = omp_get_thread_num(); i < threads; i += apart)
			fn(ctx, i);
	}
}

typedef struct { const cpu_runs *r; size_t n; int threads; cpu_piece *fn; void *ctx; } sharing;

static void over_runs(void *arg, int t)
{
	const sharing *s = arg;
	const cpu_runs *r = s->r;
	size_t from, to;
	int i = 0;
	cpu_part(r->total, 1, t, s->threads, &from, &to);
	for (int lo = 0, hi = r->n; lo < hi;) { /* the run that holds `from` */
		int mid = (lo + hi) / 2;
		if (r->r[mid].before + r->r[mid].n > from)
			hi = i = mid;
		else
			i = lo = mid + 1;
	}
	for (; i < r->n && r->r[i].before < to; i++) {
		size_t skip = from > r->r[i].before ? from - r->r[i].before : 0;
		s->fn(s->ctx, t, r->r[i].at + skip, VQ_MIN(r->r[i].n, to - r->r[i].before) - skip);
	}
}

void cpu_over(const vq_plan *p, const vq_value *v, int kind, cpu_piece *fn, void *ctx)
{
	sharing s = { .r = cpu_where(p, v, kind), .threads = p->b->b.threads, .fn = fn, .ctx = ctx };
	cpu_team(s.threads, NULL, over_runs, &s);
}

static void over_part(void *arg, int t)
{
	const sharing *s = arg;
	size_t from, to;
	cpu_part(s->n, 64, t, s->threads, &from, &to);
	if (to > from)
		s->fn(s->ctx, t, from, to - from);
}

void cpu_share(const vq_plan *p, size_t n, cpu_piece *fn, void *ctx)
{
	sharing s = { .n = n, .threads = n < 4096 ? 1 : p->b->b.threads, .fn = fn, .ctx = ctx };
	cpu_team(s.threads, NULL, over_part, &s);
}

static bool finite_piece(const vq_plan *p, int value, size_t at, size_t n)
{
	const vq_value *x = cpu_v(p, value);
	const char *v = cpu_at(p, value);
	for (size_t k = at; k < at + n; k++)
		if (!isfinite(x->dtype == VQ_BF16 ? vq_bf16_to_f32(((const uint16_t *)v)[k]) : ((const float *)v)[k]))
			return false;
	return true;
}

/* What lies outside all items is nobody's, and may be what another value left there. */
static bool finite_value(const vq_plan *p, int value)
{
	const vq_value *x = cpu_v(p, value);
	size_t items = (size_t)p->step->items, n = (size_t)x->n, row = n ? cpu_count(x) / n : 0;
	if (x->dtype != VQ_F32 && x->dtype != VQ_BF16)
		return true;
	if (x->grid < 0)
		return finite_piece(p, value, 0, row * (n == (size_t)p->g.items_max ? items : n));
	const cpu_runs *r = cpu_where(p, x, CPU_EXTENT);
	for (int i = 0; i < r->n; i++)
		if (!finite_piece(p, value, r->r[i].at * (size_t)x->c, r->r[i].n * (size_t)x->c))
			return false;
	return true;
}

static bool finite_input(const vq_plan *p, const vq_node *n)
{
	for (int j = 0; j < VQ_NODE_IN; j++)
		if (n->in[j] >= 0 && (cpu_v(p, n->in[j])->where == VQ_AT_INPUT || cpu_v(p, n->in[j])->where == VQ_AT_PARAM) && !finite_value(p, n->in[j]))
			return false;
	return true;
}

static vq_status run_nodes(vq_plan *p, vq_step *step, unsigned phases, int *bad)
{
	if (step->items < 0 || step->items > p->g.items_max)
		return vq_fail(VQ_EINVAL, "%d items in a plan for at most %d", step->items, p->g.items_max);
	p->step = step;
	p->scratch = p->s->scratch;
	omp_set_num_threads(p->b->b.threads);
	if (phases & VQ_FORWARD) {
		memset(step->scalar, 0, sizeof step->scalar);
		vq_places(&p->g, step->items, step->places, p->places);
		VQ_TRY(find_runs(p));
	}
	double t = vq_seconds();
	for (int i = 0; i < p->g.nn; i++) {
		const vq_node *n = &p->g.node[i];
		if (!(n->phase & phases))
			continue;
		if (bad && !finite_input(p, n)) {
			*bad = i;
			return VQ_OK;
		}
		vq_status s = cpu_ops[n->op].run(p, n, &p->node[i]);
		if (s < 0)
			return vq_context(s, "%s", vq_op_name(n->op));
		double now = vq_seconds();
		p->seconds[i] += now - t;
		t = now;
		for (int j = 0; bad && j < VQ_NODE_OUT; j++)
			if (n->out[j] >= 0 && !finite_value(p, n->out[j])) {
				*bad = i;
				return VQ_OK;
			}
	}
	return VQ_OK;
}

static vq_status plan_run(vq_plan *p, vq_step *step, unsigned phases) { return run_nodes(p, step, phases, NULL); }
static vq_status plan_finish(vq_plan *p, vq_step *step) { return VQ_OK; } /* it is, since it was started */

static int plan_first_bad(vq_plan *p, vq_step *step, unsigned phases)
{
	int bad = -1;
	return run_nodes(p, step, phases, &bad) < 0 ? -1 : bad;
}

static const double *plan_seconds(const vq_plan *p) { return p->seconds; }
static const char *plan_impl(const vq_plan *p, int node) { return p->node[node].impl; }

static void close_backend(vq_backend *b)
{
	cpu_backend *c = (cpu_backend *)b;
	if (!c)
		return;
	dnnl_stream_destroy(c->stream);
	dnnl_engine_destroy(c->engine);
	free(c);
}

static vq_peak peak(vq_backend *b) { return vq_cpu_peak(b->threads, .3); }

/* VQ_CPU_CONV in the environment: tests and timings choose with it. */
static vq_status conv_choice(cpu_conv_choice *c)
{
	static const char *const names[] = { [CPU_CONV_DIRECT] = "direct", [CPU_CONV_WINOGRAD] = "winograd", [CPU_CONV_GATHER] = "gather", [CPU_CONV_STRIP] = "strip" };
	const char *v = getenv("VQ_CPU_CONV");
	*c = CPU_CONV_AUTO;
	for (int i = CPU_CONV_DIRECT; v && i <= CPU_CONV_STRIP; i++)
		if (!strcmp(v, names[i]))
			*c = (cpu_conv_choice)i;
	return !v || *c != CPU_CONV_AUTO ? VQ_OK : vq_fail(VQ_EINVAL, "VQ_CPU_CONV is %s (direct, winograd, gather and strip are possible)", v);
}

static bool has_bf16(void)
{
#if defined __x86_64__
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx512bf16") && dnnl_get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core_bf16;
#else
	return false;
#endif
}

/* Intel's cores without AMX issue one bf16 product a cycle and two of f32, each half as large: all that bf16 brings there is conversions.
 * By what the processor is, not by a measurement: a run that is resumed must find the same. */
static bool bf16_faster(bool amx)
{
#if defined __x86_64__
	__builtin_cpu_init();
	return has_bf16() && (amx || !__builtin_cpu_is("intel"));
#else
	return false;
#endif
}

vq_status vq_cpu_open(vq_backend **out, int threads)
{
	if (threads > CPU_THREADS_MAX)
		return vq_fail(VQ_EINVAL, "%d threads are more than %d", threads, CPU_THREADS_MAX);
	cpu_conv_choice conv;
	VQ_TRY(conv_choice(&conv));
	cpu_backend *c = vq_calloc(1, sizeof *c);
	if (!c)
		return VQ_ENOMEM;
	omp_set_dynamic(0);
	omp_set_num_threads(threads);
	dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
	c->level = has_bf16() ? 5 : isa >= dnnl_cpu_isa_avx512_core ? 4 : isa >= dnnl_cpu_isa_avx2 ? 3 : 0;
	c->k = vq_kernels_pick(c->level);
	c->amx = isa >= dnnl_cpu_isa_avx512_core_amx;
	c->conv = conv;
	c->b = (vq_backend){ .name = "cpu", .threads = threads, .bf16 = has_bf16(), .bf16_faster = bf16_faster(c->amx), .store_make = store_make, .store_free = store_free,
		.store_read = store_read, .store_write = store_write, .store_average = store_average, .store_frozen = store_frozen, .plan_make = plan_make, .plan_free = plan_free,
		.plan_write = plan_write, .plan_read = plan_read, .plan_run = plan_run, .plan_start = plan_run, .plan_finish = plan_finish, .plan_host = plan_host, .plan_first_bad = plan_first_bad,
		.plan_seconds = plan_seconds, .plan_impl = plan_impl, .peak = peak, .close = close_backend };
	snprintf(c->b.isa, sizeof c->b.isa, "%s%s", c->k->name, c->b.bf16 ? "_bf16" : "");
	vq_status s = cpu_dnnl(dnnl_engine_create(&c->engine, dnnl_cpu, 0), "engine_create");
	if (s == VQ_OK && (s = cpu_dnnl(dnnl_stream_create(&c->stream, c->engine, dnnl_stream_default_flags), "stream_create")) < 0)
		dnnl_engine_destroy(c->engine);
	if (s < 0) {
		free(c);
		return s;
	}
	*out = &c->b;
	return VQ_OK;
}
