/* Whole graphs: memory layout, gradients of the model against finite differences in f64, places. */
#include "lib/model/model.h"
#include "tests/unit/engine.h"
#include "tests/unit/naive.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

static vq_config tiny(const char *settings[])
{
	vq_config c;
	vq_config_defaults(&c);
	const char *all[] = { "channels_per_level=3,5", "blocks=2", "head_channels=3", "embedding_dim=4", "num_embeddings=9", "stem_kernel=7" };
	for (size_t i = 0; i < VQ_COUNT(all); i++)
		if (vq_config_set(&c, all[i]) < 0)
			abort();
	for (int i = 0; settings[i]; i++)
		if (vq_config_set(&c, settings[i]) < 0)
			abort();
	return c;
}

/* --- layout ------------------------------------------------------------------------------------------------------- */

static int root(const vq_graph *g, int v)
{
	while (g->v[v].alias >= 0)
		v = g->v[v].alias;
	return v;
}

/* No two values that share bytes are alive at once; returns how many pairs share bytes. */
static int check_layout(const vq_graph *g)
{
	int *first = malloc(sizeof *first * (size_t)g->nv), *last = malloc(sizeof *last * (size_t)g->nv), shared = 0;
	for (int i = 0; i < g->nv; i++) {
		first[i] = g->nn;
		last[i] = -2;
	}
	for (int i = 0; i < g->nv; i++) {
		if (g->v[i].where == VQ_AT_INPUT)
			first[root(g, i)] = -1;
		if (g->v[i].where == VQ_AT_OUTPUT)
			last[root(g, i)] = g->nn;
	}
	for (int i = 0; i < g->nn; i++)
		for (int j = 0; j < VQ_NODE_IN + VQ_NODE_OUT; j++) {
			int v = j < VQ_NODE_IN ? g->node[i].in[j] : g->node[i].out[j - VQ_NODE_IN];
			if (v < 0)
				continue;
			v = root(g, v);
			first[v] = VQ_MIN(first[v], i);
			last[v] = VQ_MAX(last[v], i);
		}
	for (int a = 0; a < g->nv; a++) {
		const vq_value *p = &g->v[a];
		if (p->where == VQ_AT_PARAM || p->where == VQ_AT_GRAD || last[root(g, a)] == -2)
			continue;
		CHECK(p->offset % 64 == 0 && p->offset + p->bytes <= g->arena_bytes);
		if (p->alias >= 0)
			CHECK(p->offset == g->v[p->alias].offset && p->bytes == g->v[p->alias].bytes);
		for (int b = 0; b < a; b++) {
			const vq_value *q = &g->v[b];
			if (q->where == VQ_AT_PARAM || q->where == VQ_AT_GRAD || root(g, a) == root(g, b) || last[root(g, b)] == -2)
				continue;
			if (p->offset >= q->offset + q->bytes || q->offset >= p->offset + p->bytes)
				continue;
			CHECK(last[root(g, a)] < first[root(g, b)] || last[root(g, b)] < first[root(g, a)]);
			shared++;
		}
	}
	free(first);
	free(last);
	return shared;
}

/* A value whose memory was taken must not be read again; updates must come last. */
static void check_order(const vq_graph *g)
{
	bool updating = false;
	for (int i = 0; i < g->nn; i++) {
		updating |= g->node[i].phase == VQ_UPDATE;
		CHECK(!updating || g->node[i].phase == VQ_UPDATE);
		for (int k = 0; k < VQ_NODE_OUT; k++) {
			int y = g->node[i].out[k];
			for (int j = i + 1; j < g->nn && y >= 0 && g->v[y].alias >= 0; j++)
				for (int m = 0; m < VQ_NODE_IN; m++)
					CHECK(g->node[j].in[m] != g->v[y].alias);
		}
	}
}

TEST(layout_of_the_model)
{
	static const char *const acts[] = { "activation=relu", "activation=leaky_relu", "activation=silu", "activation=gelu", "codebook_depth=3", "skip=quantized" };
	for (size_t i = 0; i < VQ_COUNT(acts); i++)
		for (int kind = VQ_GRAPH_TRAIN; kind <= VQ_GRAPH_DECODE; kind++)
			for (int half = 0; half < 2; half++) {
				const char *set[] = { acts[i], NULL };
				vq_config c = tiny(set);
				vq_params params = {0};
				vq_graph g = {0};
				vq_model_io io;
				CHECK_OK(vq_model_params(&c, 3, &params));
				CHECK_OK(vq_model_graph(&c, 3, &params, kind, (vq_canvas){ 2, 32, 48, 8, true, half ? VQ_BF16 : VQ_F32 }, &g, &io));
				CHECK(check_layout(&g) > 0);
				check_order(&g);
				vq_graph_free(&g);
				vq_params_free(&params);
			}
}

/* The builder refuses a graph that reads what a sum has overwritten. */
TEST(overwritten_values_are_not_read)
{
	engine e;
	engine_open(&e, (engine_spec){ .n = 1, .h = 4, .w = 4, .inference = true });
	vq_conv_spec three = { .k = 3, .s = 1, .p = 1, .sum = -1 };
	int x = engine_input(&e, VQ_F32, 1, 4, 4, 2, 0), a = vq_layer_conv(&e.b, x, "a", 2, three);
	int b = vq_layer_conv(&e.b, a, "b", 2, three);
	three.sum = a;
	int c = vq_layer_conv(&e.b, b, "c", 2, three), y = vq_layer_add(&e.b, c, a);
	CHECK_FAILS(engine_build(&e, y), VQ_EINVAL);
	CHECK_HAS(vq_message(), "overwritten");
	engine_close(&e);
}

#ifdef __SANITIZE_ADDRESS__
enum { EVERY = 41 };
#else
enum { EVERY = 5 };
#endif

/* --- gradients ---------------------------------------------------------------------------------------------------- */

/* Two items of different size on one canvas and one on another, with valid parts; zero outside, as a batch is filled. */
static const vq_place three_places[] = {
	{ { 0, 0, 0, 8, 12 }, { 0, 1, 2, 6, 9 } }, { { 0, 0, 16, 12, 8 }, { 0, 0, 16, 12, 8 } }, { { 1, 4, 8, 4, 4 }, { 1, 5, 8, 2, 1 } },
};

static void fill_items(const vq_step *step, int h, int w, int c, const double *noise, double *x)
{
	size_t at = 0;
	for (int i = 0; i < step->items; i++) {
		vq_rect r = step->places[i].extent;
		for (int y = r.y; y < r.y + r.h; y++)
			for (int j = r.x * c; j < (r.x + r.w) * c; j++)
				x[((size_t)r.n * (size_t)h + (size_t)y) * (size_t)(w * c) + (size_t)j] = noise[at++];
	}
}

/* Every few parameters' gradient against the slope of the f64 loss. `float_grad` is the whole flat buffer. */
static void check_slopes(naive *n, const float *grad, const char *what, int step, double limit)
{
	const vq_params *p = n->g->params;
	for (int i = 0; i < p->n; i++) {
		if (!p->p[i].trainable)
			continue;
		double *x = naive_param(n, p->p[i].name), top = 0, error = 0;
		for (size_t j = 0; j < p->p[i].count; j++)
			top = fmax(top, fabs((double)grad[p->p[i].offset + j]));
		for (size_t j = (size_t)i % (size_t)step; j < p->p[i].count; j += (size_t)step) {
			double was = x[j], h = 1e-6;
			x[j] = was + h;
			naive_run(n);
			double up = n->loss;
			x[j] = was - h;
			naive_run(n);
			x[j] = was;
			error = fmax(error, fabs((up - n->loss) / (2 * h) - (double)grad[p->p[i].offset + j]));
		}
		/* a softmax does not see what is added to all keys */
		if (!(error <= limit * top + 1e-7) || (!(top > 0) && !strstr(p->p[i].name, ".key.bias")))
			TEST_END(1, "%s: gradient by %s is off by %.3g of %.3g", what, p->p[i].name, error, top);
	}
}

static void params_to_naive(vq_backend *be, vq_store *store, const vq_params *p, naive *n)
{
	for (int i = 0; i < p->n; i++) {
		bool there = false;
		for (int v = 0; v < n->g->nv; v++)
			there |= n->g->v[v].where == VQ_AT_PARAM && n->g->v[v].param == i;
		if (!there)
			continue;
		float *f = malloc(sizeof *f * p->p[i].count);
		double *x = naive_param(n, p->p[i].name);
		CHECK_OK(be->store_read(store, p->p[i].trainable ? VQ_BUF_PARAM : VQ_BUF_STATE, p->p[i].offset, p->p[i].count, f));
		for (size_t j = 0; j < p->p[i].count; j++)
			x[j] = (double)f[j];
		free(f);
	}
}

static int every = EVERY; /* parameters that are differentiated */

/* places: items of canvases of 12 x 24; of three levels, 16 x 24 */
static void gradients_on(const char *what, const char *settings[], int canvases, int items, const vq_place *places)
{
	enum { W = 24, C = 2, COUNT = 3 * 16 * W * C };
	vq_config c = tiny(settings);
	int H = c.levels == 3 && c.model == VQ_MODEL_CODES ? 16 : 12, count = canvases * H * W * C;
	vq_params params = {0};
	vq_graph g = {0};
	vq_model_io io;
	vq_backend *be;
	vq_store *store;
	vq_plan *plan;
	vq_step step = { .items = items, .places = places };
	step.scale[VQ_SCALE_RECON] = .01f;
	for (int l = 0; l < VQ_CODE_LEVELS_MAX; l++)
		step.scale[VQ_SCALE_COMMIT + l] = .05f + .01f * (float)l;
	CHECK_OK(vq_backend_open(&be, engine_device(), 2));
	CHECK_OK(vq_model_params(&c, C, &params));
	CHECK_OK(vq_model_graph(&c, C, &params, VQ_GRAPH_TRAIN, (vq_canvas){ canvases, H, W, items, true, VQ_F32 }, &g, &io));
	CHECK_OK(be->store_make(be, &params, true, &store));
	float *state = calloc(params.sizes[0], sizeof *state), *param = calloc(params.sizes[1], sizeof *param), input[COUNT] = {0}, weight[COUNT / C];
	vq_model_init(&params, &c, 11, state, param);
	for (int i = 0; i < params.n; i++) /* an attention that is closed has no gradient */
		if (strstr(params.p[i].name, ".gamma"))
			param[params.p[i].offset] = .8f;
	CHECK_OK(be->store_write(store, VQ_BUF_STATE, 0, params.sizes[0], state));
	CHECK_OK(be->store_write(store, VQ_BUF_PARAM, 0, params.sizes[1], param));
	CHECK_OK(be->plan_make(be, store, &g, &plan));

	naive n;
	naive_open(&n, &g, &step);
	vq_rng r = vq_rng_make(12, 0);
	double *noise = engine_noise(&r, VQ_F32, COUNT);
	fill_items(&step, H, W, C, noise, n.value[io.input]);
	for (int i = 0; i < count; i++)
		input[i] = (float)n.value[io.input][i];
	CHECK_OK(be->plan_write(plan, io.input, input));
	for (int i = 0; i < count / C && io.weight >= 0; i++)
		n.value[io.weight][i] = (double)(weight[i] = (float)(1 + i % 3));
	if (io.weight >= 0)
		CHECK_OK(be->plan_write(plan, io.weight, weight));
	params_to_naive(be, store, &params, &n);
	naive_run(&n);
	CHECK_OK(be->plan_run(plan, &step, VQ_FORWARD | VQ_BACKWARD));
	double loss = (double)step.scale[VQ_SCALE_RECON] * step.scalar[VQ_S_RECON];
	for (int l = 0; l < VQ_CODE_LEVELS_MAX; l++) {
		CHECK((step.scalar[VQ_S_COMMIT + l] > 0) == (io.codes[l] >= 0));
		loss += (c.commitment_cost + (c.codebook_update == VQ_UPDATE_GRADIENT)) * (double)step.scale[VQ_SCALE_COMMIT + l] * step.scalar[VQ_S_COMMIT + l];
	}
	CHECK_NEAR(loss, n.loss, 1e-5 * n.loss);
	CHECK_OK(be->store_read(store, VQ_BUF_GRAD, 0, params.sizes[1], param));
	check_slopes(&n, param, what, every, 2e-4);
	naive_close(&n);
	be->plan_free(plan);
	be->store_free(store);
	be->close(be);
	vq_graph_free(&g);
	vq_params_free(&params);
	free(state);
	free(param);
	free(noise);
}

static void model_gradients(const char *what, const char *settings[]) { gradients_on(what, settings, 2, 3, three_places); }

/* One item a canvas, smaller than it and not all of it valid. */
static const vq_place one_each[] = {
	{ { 0, 0, 0, 8, 12 }, { 0, 1, 2, 6, 9 } }, { { 1, 0, 0, 12, 24 }, { 1, 0, 1, 12, 22 } }, { { 2, 0, 0, 12, 12 }, { 2, 1, 1, 10, 11 } },
};

#define IMPROVED "model=improved", "pack=false", "block_norm=batch", "blocks=1", "channels_per_level=4,6", "attention=true", "hidden=7,5", "pool_size=2", "dropout=0"

TEST(gradients_with_relu) { model_gradients("relu", (const char *[]){ "activation=relu", NULL }); }
TEST(gradients_with_leaky_relu) { model_gradients("leaky relu", (const char *[]){ "activation=leaky_relu", NULL }); }
TEST(gradients_with_silu) { model_gradients("silu", (const char *[]){ "activation=silu", "content_weighting=true", NULL }); }
TEST(gradients_with_gelu) { model_gradients("gelu", (const char *[]){ "activation=gelu", "blocks=1", NULL }); }
TEST(gradients_of_l1) { model_gradients("l1", (const char *[]){ "loss=l1", "blocks=0", NULL }); }

TEST(gradients_of_improved)
{
	gradients_on("improved", (const char *[]){ IMPROVED, "embedding_dim=6", "content_weighting=true", NULL }, 3, 3, one_each);
	gradients_on("improved, silu", (const char *[]){ IMPROVED, "embedding_dim=6", "activation=silu", NULL }, 3, 3, one_each);
}

TEST(gradients_of_improved_with_skips)
{
	gradients_on("improved, skips", (const char *[]){ IMPROVED, "embedding_dim=6", "skip=features", NULL }, 3, 3, one_each);
}

TEST(gradients_of_improved_with_one_code)
{
	gradients_on("improved, one code", (const char *[]){ IMPROVED, "latent=global", NULL }, 3, 3, one_each);
	gradients_on("improved, one code and skips", (const char *[]){ IMPROVED, "latent=global", "skip=features", NULL }, 3, 3, one_each);
}

TEST(gradients_of_residual_codebooks)
{
	every = 9 * EVERY;
	model_gradients("depth 2", (const char *[]){ "codebook_depth=2", "blocks=1", NULL });
	model_gradients("depth 3, by gradient", (const char *[]){ "codebook_depth=3", "codebook_update=gradient", "blocks=0", NULL });
	gradients_on("one code of 3 codebooks", (const char *[]){ IMPROVED, "latent=global", "codebook_depth=3", NULL }, 3, 3, one_each);
	every = EVERY;
}

TEST(gradients_of_quantized_skips)
{
	every = 9 * EVERY;
	static const vq_place eights[] = { { { 0, 0, 0, 8, 8 }, { 0, 1, 2, 6, 5 } }, { { 0, 0, 16, 16, 8 }, { 0, 0, 16, 16, 8 } } };
	model_gradients("skips", (const char *[]){ "skip=quantized", "skip_embedding_dim=3", "skip_num_embeddings=5", "blocks=1", NULL });
	gradients_on("two skips, by gradient, depth 2", (const char *[]){ "skip=quantized", "levels=3", "channels_per_level=3,4,5", "blocks=0", "activation=silu", "codebook_depth=2",
		"codebook_update=gradient", NULL }, 1, 2, eights);
	model_gradients("skips, no straight-through", (const char *[]){ "skip=quantized", "blocks=0", "codebook_update=gradient", "straight_through=false", NULL });
	gradients_on("improved, skips", (const char *[]){ IMPROVED, "embedding_dim=6", "skip=quantized", "skip_embedding_dim=3", NULL }, 3, 3, one_each);
	gradients_on("improved, one code and skips", (const char *[]){ IMPROVED, "latent=global", "skip=quantized", "codebook_depth=2", NULL }, 3, 3, one_each);
	every = EVERY;
}

/* No straight-through step: the encoder learns from the commitment alone, and the rows from the decoder too. */
TEST(gradients_of_original)
{
	static const vq_place large[] = { { { 0, 0, 0, 12, 24 }, { 0, 0, 1, 11, 22 } }, { { 1, 0, 0, 12, 12 }, { 1, 1, 1, 10, 11 } } };
	gradients_on("original", (const char *[]){ "model=original", "pack=false", "block_norm=batch", "blocks=0", "levels=3", "channels_per_level=4,3,5", "stem_stride=3",
		"latent=global", "hidden=7,5", "pool_size=2", "codebook_update=gradient", "straight_through=false", "codebook_start=uniform", NULL }, 2, 2, large);
}

/* --- places ------------------------------------------------------------------------------------------------------- */

static bool same(vq_rect a, int n, int y, int x, int h, int w) { return a.n == n && a.y == y && a.x == x && a.h == h && a.w == w; }

TEST(places_follow_the_convolutions)
{
	engine e;
	engine_open(&e, (engine_spec){ .n = 2, .h = 32, .w = 48, .items = 2, .packed = true });
	vq_conv_spec seven = { .k = 7, .s = 2, .p = 3, .sum = -1 }, three = { .k = 3, .s = 2, .p = 1, .sum = -1 }, flat = { .k = 3, .s = 1, .p = 1, .sum = -1 };
	vq_conv_spec up = { .k = 4, .s = 2, .p = 1, .sum = -1 };
	int x = engine_input(&e, VQ_F32, 2, 32, 48, 1, 0), a = vq_layer_conv(&e.b, x, "a", 2, seven), b = vq_layer_conv(&e.b, a, "b", 2, three);
	int b2 = vq_layer_conv(&e.b, b, "b2", 2, flat), c = vq_layer_deconv(&e.b, b2, "c", 2, up), d = vq_layer_deconv(&e.b, c, "d", 2, up);
	CHECK(e.g.ng == 3); /* the way up returns to the grids of the way down */
	CHECK(e.g.v[b2].grid == e.g.v[b].grid && e.g.v[c].grid == e.g.v[a].grid && e.g.v[d].grid == 0);
	CHECK(e.g.v[b].h == 8 && e.g.v[b].w == 12 && e.g.v[d].h == 32 && e.g.v[d].w == 48);
	vq_place in[2] = { { { 0, 4, 8, 16, 20 }, { 0, 5, 11, 13, 14 } }, { { 1, 0, 0, 4, 4 }, { 1, 1, 1, 0, 0 } } }, out[6];
	vq_places(&e.g, 2, in, out);
	const vq_place *half = out + 2 * e.g.v[a].grid, *quarter = out + 2 * e.g.v[b].grid;
	CHECK(same(half[0].extent, 0, 2, 4, 8, 10) && same(half[0].valid, 0, 2, 5, 7, 8));
	CHECK(same(quarter[0].extent, 0, 1, 2, 4, 5) && same(quarter[0].valid, 0, 1, 2, 4, 5)); /* 5..18 and 11..25 touch these blocks of four */
	CHECK(same(half[1].extent, 1, 0, 0, 2, 2) && half[1].valid.h * half[1].valid.w <= 1);
	engine_close(&e);
}

/* Sizes that do not come back, a stride of three, and small canvases of one item each. */
TEST(places_on_other_grids)
{
	engine e;
	engine_open(&e, (engine_spec){ .n = 1, .h = 33, .w = 31 });
	int x = engine_input(&e, VQ_F32, 1, 33, 31, 1, 0), a = vq_layer_conv(&e.b, x, "a", 2, (vq_conv_spec){ .k = 3, .s = 2, .p = 1, .sum = -1 });
	int b = vq_layer_deconv(&e.b, a, "b", 2, (vq_conv_spec){ .k = 4, .s = 2, .p = 1, .sum = -1 });
	CHECK(e.g.v[a].h == 17 && e.g.v[a].w == 16 && e.g.v[b].h == 34 && e.g.v[b].w == 32 && e.g.v[b].grid != 0);
	int c = vq_layer_conv(&e.b, x, "c", 2, (vq_conv_spec){ .k = 7, .s = 3, .p = 1, .sum = -1 });
	CHECK(e.g.v[c].h == 10 && e.g.v[c].w == 9);
	int r = vq_layer_unflatten(&e.b, vq_layer_flatten(&e.b, vq_layer_pool(&e.b, x, 4)), 4, 4, 1), u = vq_layer_deconv(&e.b, r, "u", 2, (vq_conv_spec){ .k = 4, .s = 2, .p = 1, .sum = -1 });
	CHECK(e.g.v[u].h == 8);
	vq_place out[16];
	vq_places(&e.g, 1, e.place, out);
	CHECK(same(out[e.g.v[b].grid].extent, 0, 0, 0, 34, 32) && same(out[e.g.v[c].grid].extent, 0, 0, 0, 10, 9));
	CHECK(same(out[e.g.v[r].grid].extent, 0, 0, 0, 4, 4) && same(out[e.g.v[u].grid].valid, 0, 0, 0, 8, 8));
	engine_close(&e);
}

/* A layer that would leave nothing is refused when the graph is built. */
TEST(canvases_that_are_too_small)
{
	engine e;
	engine_open(&e, (engine_spec){ .n = 1, .h = 2, .w = 9, .inference = true });
	int x = engine_input(&e, VQ_F32, 1, 2, 9, 1, 0), y = vq_layer_conv(&e.b, x, "a", 2, (vq_conv_spec){ .k = 3, .s = 2, .p = 0, .sum = -1 });
	CHECK_FAILS(engine_build(&e, y), VQ_EINVAL);
	engine_close(&e);
}

TEST_MAIN(RUN(layout_of_the_model) RUN(overwritten_values_are_not_read) RUN(gradients_with_relu) RUN(gradients_with_leaky_relu)
	RUN(gradients_with_silu) RUN(gradients_with_gelu) RUN(gradients_of_l1) RUN(gradients_of_improved) RUN(gradients_of_improved_with_skips)
	RUN(gradients_of_improved_with_one_code) RUN(gradients_of_residual_codebooks) RUN(gradients_of_quantized_skips) RUN(gradients_of_original) RUN(places_follow_the_convolutions) RUN(places_on_other_grids)
	RUN(canvases_that_are_too_small))
