/* The CUDA kernels, run on the host by fibres, against the CPU backend: each node of a graph again on what the CPU computed, in several
 * orders of threads and blocks, which may not change a bit. */
#include "lib/cuda/emulate.h"
#include "lib/cuda/kernels.h"
#include "tests/unit/engine.h"
#include "tests/unit/test.h"

typedef struct {
	engine e;
	float *before[2];       /* state and parameters as they were before the run */
	vq_place places[8 * ENGINE_ITEMS];
	vq_cuda_grid grid[9];   /* the last: rows */
	vq_cuda_step step;
	int nodes;              /* that were run again */
	void *input[ENGINE_INPUTS]; /* what the test put there: later nodes may take the memory */
	double limit;
} replay;

static void *room(size_t n)
{
	void *p = vq_aligned(n);
	if (!p)
		abort();
	memset(p, 0xff, n);
	return p;
}

static vq_cuda_grid grid_of(replay *r, int grid)
{
	return r->grid[grid < 0 ? r->e.g.ng : grid];
}

static void grids(replay *r)
{
	engine *e = &r->e;
	vq_places(&e->g, e->step.items, e->step.places, r->places);
	r->step.items = e->step.items;
	r->step.seed = e->step.seed;
	r->step.step = e->step.step;
	memcpy(r->step.scale, e->step.scale, sizeof r->step.scale);
	for (int i = 0; i <= e->g.ng; i++) {
		vq_cuda_grid *g = &r->grid[i];
		bool rows = i == e->g.ng;
		*g = (vq_cuda_grid){ .n = e->g.items_max, .h = 1, .w = 1, .items_max = e->g.items_max, .places = rows ? NULL : r->places + i * e->step.items };
		for (int v = 0; v < e->g.nv && !rows; v++)
			if (e->g.v[v].grid == i)
				g->n = e->g.v[v].n, g->h = e->g.v[v].h, g->w = e->g.v[v].w;
		g->mark = room((size_t)(g->n * g->h * g->w));
		g->count = room(16);
		CHECK(!vq_cuda_mark(NULL, &r->step, *g));
	}
}

static bool same_memory(const engine *e, int a, int b)
{
	const vq_value *x = &e->g.v[a], *y = &e->g.v[b];
	bool flat = x->where == VQ_AT_PARAM || x->where == VQ_AT_GRAD || y->where == VQ_AT_PARAM || y->where == VQ_AT_GRAD;
	return flat ? a == b : x->offset < y->offset + y->bytes && y->offset < x->offset + x->bytes;
}

static int input_of(const engine *e, int value)
{
	for (int i = 0; i < e->inputs; i++)
		if (e->input[i] == value)
			return i;
	return -1;
}

/* Nobody wrote over what the node read or made. */
static bool intact(const engine *e, int i)
{
	const vq_node *n = &e->g.node[i];
	for (int k = i; k < e->g.nn; k++)
		for (int o = 0; o < VQ_NODE_OUT; o++) {
			int w = e->g.node[k].out[o];
			if (w < 0 || e->g.v[w].where == VQ_AT_PARAM || e->g.v[w].where == VQ_AT_GRAD)
				continue;
			for (int j = 0; j < VQ_NODE_IN; j++)
				if (n->in[j] >= 0 && input_of(e, n->in[j]) < 0 && same_memory(e, n->in[j], w))
					return false;
			for (int j = 0; j < VQ_NODE_OUT && k > i; j++)
				if (n->out[j] >= 0 && same_memory(e, n->out[j], w))
					return false;
		}
	return true;
}

static void *in_of(replay *r, int v)
{
	engine *e = &r->e;
	if (v < 0)
		return NULL;
	if (input_of(e, v) >= 0)
		return r->input[input_of(e, v)];
	if (e->g.v[v].where != VQ_AT_PARAM)
		return e->be->plan_host(e->plan, v);
	const vq_param *p = &e->params.p[e->g.v[v].param];
	return r->before[p->trainable] + p->offset;
}

static int run_node(replay *r, const vq_node *n, void **out, double *scalar)
{
	engine *e = &r->e;
	void *in[VQ_NODE_IN], *scratch = room(1 << 22);
	const vq_value *x = &e->g.v[n->in[0] < 0 ? n->out[0] : n->in[0]], *y = &e->g.v[n->out[0] < 0 ? n->in[0] : n->out[0]];
	size_t count = (size_t)y->n * (size_t)y->h * (size_t)y->w * (size_t)y->c;
	vq_cuda_grid gx = grid_of(r, x->grid), gy = grid_of(r, y->grid);
	vq_cuda_norm_spec norm = { x->dtype, n->act, n->training, false, n->a, n->b, gx, x->c };
	vq_cuda_book book = { gx, x->c, n->k };
	int bad = -1;
	for (int i = 0; i < VQ_NODE_IN; i++)
		in[i] = in_of(r, n->in[i]);
	switch (n->op) {
	case VQ_OP_ACT: bad = vq_cuda_act(NULL, x->dtype, n->act, count, in[0], out[0]); break;
	case VQ_OP_ACT_BWD: bad = n->accumulate ? -1 : vq_cuda_act_bwd(NULL, y->dtype, n->act, false, count, in[0], in[1], in[2], out[0]); break;
	case VQ_OP_ADD: bad = vq_cuda_add(NULL, x->dtype, count, in[0], in[1], out[0]); break;
	case VQ_OP_CAST: bad = vq_cuda_cast(NULL, x->dtype, y->dtype, count, in[0], out[0]); break;
	case VQ_OP_NORM: {
		float *mean = room(sizeof(float) * (size_t)x->c), *var = room(sizeof(float) * (size_t)x->c);
		memcpy(mean, in[3], sizeof(float) * (size_t)x->c);
		memcpy(var, in[4], sizeof(float) * (size_t)x->c);
		CHECK(vq_cuda_norm_scratch(norm) <= 1 << 22);
		bad = vq_cuda_norm(NULL, norm, in[0], in[1], in[2], mean, var, in[5], out[0], out[1], scratch);
		for (int i = 0; i < x->c && !bad; i++) {
			CHECK_NEAR((double)mean[i], (double)((float *)e->be->plan_host(e->plan, n->in[3]))[i], 1e-5);
			CHECK_NEAR((double)var[i], (double)((float *)e->be->plan_host(e->plan, n->in[4]))[i], 1e-4);
		}
		free(mean);
		free(var);
		break;
	}
	case VQ_OP_NORM_BWD: {
		const float *beta = r->before[1] + e->params.p[e->g.v[n->out[2]].param].offset;
		bad = vq_cuda_norm_bwd(NULL, norm, in[0], in[1], in[2], in[3], beta, in[4], in[5], out[0], out[1], out[2], out[3], scratch);
		break;
	}
	case VQ_OP_FLATTEN: bad = vq_cuda_flatten(NULL, x->dtype, false, x->n, x->h * x->w, x->c, in[0], out[0]); break;
	case VQ_OP_UNFLATTEN: bad = vq_cuda_flatten(NULL, x->dtype, true, y->n, y->h * y->w, y->c, in[0], out[0]); break;
	case VQ_OP_POOL: bad = vq_cuda_pool(NULL, &r->step, x->dtype, gx, n->k, x->c, in[0], out[0]); break;
	case VQ_OP_POOL_BWD: bad = vq_cuda_pool_bwd(NULL, &r->step, x->dtype, gy, n->k, x->c, in[0], out[0]); break;
	case VQ_OP_RESIZE: bad = vq_cuda_resize(NULL, &r->step, x->dtype, gx, gy, x->c, in[0], out[0]); break;
	case VQ_OP_RESIZE_BWD: bad = vq_cuda_resize_bwd(NULL, &r->step, x->dtype, gy, gx, x->c, in[0], out[0]); break;
	case VQ_OP_ATTENTION:
	case VQ_OP_ATTENTION_BWD: {
		vq_cuda_attention_spec a = { x->dtype, gx, x->c, e->g.v[n->in[2]].c };
		if (n->op == VQ_OP_ATTENTION)
			bad = vq_cuda_attention(NULL, &r->step, a, in[0], in[1], in[2], out[0], scratch);
		else
			bad = vq_cuda_attention_bwd(NULL, &r->step, a, in[0], in[1], in[2], in[3], in[4], out[0], out[1], out[2], scratch);
		break;
	}
	case VQ_OP_GATE: bad = vq_cuda_gate(NULL, x->dtype, count, in[0], in[1], in[2], out[0]); break;
	case VQ_OP_GATE_BWD: bad = vq_cuda_gate_bwd(NULL, x->dtype, count, in[0], in[1], in[2], out[0], out[1], scratch); break;
	case VQ_OP_DROPOUT:
	case VQ_OP_DROPOUT_BWD: bad = vq_cuda_dropout(NULL, &r->step, x->dtype, n->a, n->k, count, in[0], out[0]); break;
	case VQ_OP_QUANTIZE: bad = vq_cuda_quantize(NULL, book, in[0], in[1], y->dtype, out[0], out[1], scalar, scratch); break;
	case VQ_OP_QUANTIZE_BWD:
		bad = vq_cuda_quantize_bwd(NULL, &r->step, book, n->a, n->scale, in[0], in[1], in[2] ? e->g.v[n->in[2]].dtype : VQ_F32, in[2], in[3], out[0]);
		break;
	case VQ_OP_CODEBOOK_BWD:
		book.k = e->g.v[n->in[1]].c / x->c;
		bad = vq_cuda_codebook_bwd(NULL, &r->step, book, n->scale, in[0], in[1], in[2], in[3] ? e->g.v[n->in[3]].dtype : VQ_F32, in[3], out[0], scratch);
		break;
	case VQ_OP_EMA_SUM:
		book.k = e->g.v[n->out[0]].c;
		bad = vq_cuda_ema_sum(NULL, book, in[0], in[1], out[0], out[1], scratch);
		break;
	default: break;
	}
	free(scratch);
	return bad;
}

static double element(const vq_value *v, const void *p, size_t i)
{
	return v->dtype == VQ_BF16 ? (double)vq_bf16_to_f32(((const uint16_t *)p)[i]) : v->dtype == VQ_I32 ? ((const int32_t *)p)[i] : (double)((const float *)p)[i];
}

/* At positions that some item covers; elsewhere the CPU backend may leave what it likes. */
static void compare(replay *r, const vq_node *n, int value, const void *got)
{
	const vq_value *v = &r->e.g.v[value];
	const void *want = r->e.be->plan_host(r->e.plan, value);
	size_t rows = (size_t)v->n * (size_t)v->h * (size_t)v->w, c = (size_t)v->c;
	double top = 0, error = 0;
	for (size_t i = 0; i < rows * c; i++) {
		if (v->grid >= 0 && r->grid[v->grid].mark[i / c] == VQ_CUDA_GAP)
			continue;
		double a = element(v, got, i), b = element(v, want, i);
		top = fmax(top, fabs(b));
		error = fabs(a - b) < INFINITY ? fmax(error, fabs(a - b)) : INFINITY;
	}
	if (!(error <= r->limit * fmax(top, 1e-3)))
		TEST_END(1, "%s, output of %d channels: apart by %g of %g", vq_op_name(n->op), v->c, error, top);
}

static void one_node(replay *r, int i)
{
	const vq_node *n = &r->e.g.node[i];
	void *first[VQ_NODE_OUT] = {0};
	double sum[4] = {0};
	for (unsigned order = 0; order < 4; order++) {
		void *out[VQ_NODE_OUT] = {0};
		vq_emulate_order(order);
		for (int j = 0; j < VQ_NODE_OUT; j++)
			if (n->out[j] >= 0) {
				const vq_value *v = &r->e.g.v[n->out[j]];
				out[j] = room(v->bytes + 4 * (size_t)v->c);
				if (v->where == VQ_AT_GRAD || v->where == VQ_AT_PARAM)
					memset(out[j], 0, 4 * (size_t)v->c);
			}
		int bad = run_node(r, n, out, &sum[order]);
		if (bad > 0)
			TEST_END(1, "%s was refused", vq_op_name(n->op));
		for (int j = 0; j < VQ_NODE_OUT && !bad; j++) {
			if (n->out[j] < 0)
				continue;
			const vq_value *v = &r->e.g.v[n->out[j]];
			size_t bytes = v->where == VQ_AT_GRAD || v->where == VQ_AT_PARAM ? 4 * (size_t)v->c : v->bytes;
			if (!order)
				compare(r, n, n->out[j], out[j]);
			else if (memcmp(first[j], out[j], bytes))
				TEST_END(1, "%s gives other bytes in order %u of threads", vq_op_name(n->op), order);
		}
		if (!order)
			r->nodes += !bad;
		for (int j = 0; j < VQ_NODE_OUT; j++) {
			if (!order)
				first[j] = out[j];
			else
				free(out[j]);
		}
		if (bad)
			break;
	}
	if (n->op == VQ_OP_QUANTIZE) {
		CHECK_NEAR(sum[0], r->e.step.scalar[n->scalar], 1e-5 * r->e.step.scalar[n->scalar] + 1e-30);
		CHECK(sum[0] == sum[1] && sum[0] == sum[3]);
	}
	for (int j = 0; j < VQ_NODE_OUT; j++)
		free(first[j]);
}

static void run_again(replay *r, int y, int least)
{
	engine *e = &r->e;
	CHECK_OK(e->b.status);
	for (int v = 0; v < e->g.nv; v++)
		if (e->g.v[v].where == VQ_AT_ARENA)
			engine_keep(e, v);
	CHECK_OK(engine_build(e, y));
	vq_rng rng = vq_rng_make(3, (uint64_t)e->g.nv);
	for (int i = 0; i < e->inputs; i++) {
		double *x = engine_noise(&rng, e->g.v[e->input[i]].dtype, engine_count(e, e->input[i]));
		engine_fill(e, e->input[i], x);
		r->input[i] = room(e->g.v[e->input[i]].bytes);
		CHECK_OK(e->be->plan_read(e->plan, e->input[i], r->input[i]));
		free(x);
	}
	double *dy = engine_noise(&rng, VQ_F32, engine_count(e, y));
	engine_fill_seed(e, dy);
	free(dy);
	for (int k = 0; k < 2; k++) {
		r->before[k] = room(sizeof(float) * (e->params.sizes[k] + 16));
		CHECK_OK(e->be->store_read(e->store, k ? VQ_BUF_PARAM : VQ_BUF_STATE, 0, e->params.sizes[k], r->before[k]));
	}
	e->step.seed = 0x123456789abcdefull;
	e->step.step = 5;
	grids(r);
	for (int v = 0; v < e->params.n; v++) /* sums of a step start at 0 */
		if (strstr(e->params.p[v].name, "step_")) {
			memset(r->before[0] + e->params.p[v].offset, 0, sizeof(float) * e->params.p[v].count);
			CHECK_OK(e->be->store_write(e->store, VQ_BUF_STATE, e->params.p[v].offset, e->params.p[v].count, r->before[0] + e->params.p[v].offset));
		}
	CHECK_OK(engine_run(e, VQ_FORWARD | VQ_BACKWARD));
	for (int i = 0; i < e->g.nn; i++)
		if (intact(e, i))
			one_node(r, i);
	CHECK(r->nodes >= least);
	for (int i = 0; i <= e->g.ng; i++) {
		free(r->grid[i].mark);
		free(r->grid[i].count);
	}
	for (int i = 0; i < e->inputs; i++)
		free(r->input[i]);
	free(r->before[0]);
	free(r->before[1]);
	engine_close(e);
}

static const vq_place packed[3] = { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 0, 5, 0, 4, 9 }, { 0, 5, 0, 4, 9 } }, { { 1, 2, 3, 1, 1 }, { 1, 2, 3, 0, 0 } } };

static void open_replay(replay *r, vq_dtype t, bool items)
{
	*r = (replay){ .limit = t == VQ_BF16 ? 3e-2 : 2e-5 };
	engine_open(&r->e, (engine_spec){ .n = 2, .h = 9, .w = 10, .items = items ? 3 : 0, .packed = items, .compute = t });
	for (int i = 0; i < 3 && items; i++)
		engine_place(&r->e, i, packed[i].extent, packed[i].valid);
}

TEST(norms)
{
	static const int widths[] = { 1, 3, 16, 40 };
	for (vq_dtype t = VQ_BF16; t <= VQ_F32; t++)
		for (size_t k = 0; k < 4 * VQ_COUNT(widths); k++) {
			replay r;
			open_replay(&r, t, k % 2);
			int x = engine_input(&r.e, t, 2, 9, 10, widths[k / 4], 0), res = k / 2 % 2 ? engine_input(&r.e, t, 2, 9, 10, widths[k / 4], 0) : -1;
			run_again(&r, vq_layer_norm(&r.e.b, x, "bn", res, t == VQ_BF16 || k % 4 == 1 ? VQ_FN_SILU : VQ_FN_LEAKY), k % 2 ? 1 : 2);
		}
}

TEST(spatial)
{
	for (vq_dtype t = VQ_BF16; t <= VQ_F32; t++)
		for (int k = 0; k < 8; k++) {
			replay r;
			int c = k < 4 ? 8 : 3;
			open_replay(&r, t, k % 2);
			int small = vq_grid_new(&r.e.b, (vq_grid){ 0, 3, 2, 1, false, 5, 5 });
			int x = k & 2 ? engine_input(&r.e, t, 2, 5, 5, c, small) : engine_input(&r.e, t, 2, 9, 10, c, 0);
			run_again(&r, k & 2 ? vq_layer_resize(&r.e.b, x, 0) : vq_layer_flatten(&r.e.b, vq_layer_pool(&r.e.b, x, 4)), 1);
		}
}

TEST(attention_and_gate)
{
	for (vq_dtype t = engine_has_bf16() ? VQ_BF16 : VQ_F32; t <= VQ_F32; t++) /* with convolutions, which the CPU does */
		for (int k = 0; k < 2; k++) {
			replay r;
			open_replay(&r, t, k);
			r.limit = t == VQ_BF16 ? 4e-2 : 1e-4;
			int x = engine_input(&r.e, t, 2, 9, 10, 37, 0);
			run_again(&r, vq_layer_act(&r.e.b, vq_layer_attention(&r.e.b, x, "att", 5), VQ_FN_GELU), 2);
		}
}

TEST(quantiser)
{
	for (int k = 0; k < 8; k++) {
		replay r;
		int code, d = k & 2 ? 17 : 64, size = k & 2 ? 129 : 5;
		open_replay(&r, VQ_F32, k % 2);
		int z = engine_input(&r.e, VQ_F32, 2, 9, 10, d, 0);
		int q = vq_layer_quantize(&r.e.b, z, (vq_quant_spec){ .size = size, .beta = .25f, .decay = .9f, .eps = 1e-5f, .ema = k < 4, .name = "q",
			.scalar = 5, .scale = 1, .straight_through = k < 6 }, &code);
		run_again(&r, q, 3);
	}
}

TEST(dropout_bits)
{
	for (vq_dtype t = VQ_BF16; t <= VQ_F32; t++) {
		replay r;
		open_replay(&r, t, false);
		run_again(&r, vq_layer_dropout(&r.e.b, engine_input(&r.e, t, 2, 9, 10, 3, 0), .3f), 2);
	}
}

TEST_MAIN(RUN(norms) RUN(spatial) RUN(attention_and_gate) RUN(quantiser) RUN(dropout_bits))
