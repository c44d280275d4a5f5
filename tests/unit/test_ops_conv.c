/* Convolutions, transposed convolutions and activations against tests/unit/ref.h. */
#include "tests/unit/convs.h"
#include "tests/unit/engine.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

static vq_activation activation(vq_act a)
{
	return a == VQ_FN_SILU ? VQ_ACT_SILU : a == VQ_FN_GELU ? VQ_ACT_GELU : a == VQ_FN_LEAKY ? VQ_ACT_LEAKY_RELU : VQ_ACT_RELU;
}

static char where[256];

static void compare(const char *what, size_t n, const double *got, const double *want, double limit)
{
	double e = engine_error(n, got, want);
	if (!(e <= limit))
		TEST_END(1, "%s: %s is off by %.3g (limit %.3g)", where, what, e, limit);
}

/* What the reference makes of a case; arrays by the engine's names. */
typedef struct { double *x, *w, *b, *r, *sum, *pre, *y, *dx, *dw, *db; ref_dims xd, yd; size_t nx, nw, nb, ny; } arrays;

static void make_arrays(arrays *a, const conv_case *c, vq_dtype t)
{
	vq_rng r = vq_rng_make(3, (uint64_t)(((c->h * 64 + c->w) * 512 + c->in) * 8 + c->k));
	a->xd = (ref_dims){ c->n, c->h, c->w, c->in };
	a->yd = c->transposed ? ref_deconv_dims(a->xd, c->out, c->k, c->s, c->p) : ref_conv_dims(a->xd, c->out, c->k, c->s, c->p);
	a->nx = ref_count(a->xd);
	a->ny = ref_count(a->yd);
	a->nw = (size_t)(c->in * c->out * c->k * c->k);
	a->nb = (size_t)c->out;
	a->x = engine_noise(&r, t, a->nx);
	a->w = engine_noise(&r, t, a->nw);
	a->b = engine_noise(&r, VQ_F32, a->nb);
	a->r = engine_noise(&r, t, a->ny);
	a->sum = engine_noise(&r, t, a->ny);
	a->pre = ref_new(a->ny);
	a->y = ref_new(a->ny);
	a->dx = ref_new(a->nx);
	a->dw = ref_new(a->nw);
	a->db = ref_new(a->nb);
}

static void free_arrays(arrays *a)
{
	double *all[] = { a->x, a->w, a->b, a->r, a->sum, a->pre, a->y, a->dx, a->dw, a->db };
	for (size_t i = 0; i < VQ_COUNT(all); i++)
		free(all[i]);
}

/* got: the engine's output, which decides on which side of 0 a ReLU was. */
static void reference(arrays *a, const conv_case *c, const double *got, vq_dtype t)
{
	double *g = ref_new(a->ny), *b = c->bias ? a->b : NULL;
	(c->transposed ? ref_deconv_fwd : ref_conv_fwd)(a->xd, a->x, a->w, b, c->out, c->k, c->s, c->p, a->pre);
	for (size_t i = 0; i < a->ny; i++) {
		a->pre[i] += c->sum ? a->sum[i] : 0;
		a->y[i] = c->act == VQ_FN_NONE ? a->pre[i] : ref_act(activation(c->act), a->pre[i]);
		bool side = c->act == VQ_FN_RELU || c->act == VQ_FN_LEAKY;
		g[i] = a->r[i] * (c->act == VQ_FN_NONE ? 1 : ref_act_slope(activation(c->act), side ? got[i] : a->pre[i]));
	}
	engine_round(t, a->ny, g);
	(c->transposed ? ref_deconv_bwd : ref_conv_bwd)(a->xd, a->x, a->w, c->out, c->k, c->s, c->p, g, a->dx, a->dw, a->db);
	memcpy(a->pre, g, a->ny * sizeof *g); /* and the gradient of the sum */
	free(g);
}

static void one(const conv_case *c, vq_dtype t, double limit)
{
	engine e;
	arrays a;
	snprintf(where, sizeof where, "%s %s k%d s%d p%d %dx%dx%dx%d -> %d act %d%s", t == VQ_BF16 ? "bf16" : "f32", c->transposed ? "deconv" : "conv", c->k, c->s, c->p,
		c->n, c->h, c->w, c->in, c->out, (int)c->act, c->sum ? " sum" : "");
	make_arrays(&a, c, t);
	engine_open(&e, (engine_spec){ .compute = t, .n = c->n, .h = c->h, .w = c->w });
	int x = engine_input(&e, t, c->n, c->h, c->w, c->in, 0);
	int sum = c->sum ? engine_input(&e, t, a.yd.n, a.yd.h, a.yd.w, a.yd.c, 0) : -1;
	vq_conv_spec spec = { .k = c->k, .s = c->s, .p = c->p, .bias = c->bias, .act = c->act, .f32_out = c->f32_out, .sum = sum };
	int y = c->transposed ? vq_layer_deconv(&e.b, x, "c", c->out, spec) : vq_layer_conv(&e.b, x, "c", c->out, spec);
	CHECK_OK(engine_build(&e, y));
	CHECK(engine_count(&e, y) == a.ny);
	engine_put_param(&e, "c.weight", a.w);
	if (c->bias)
		engine_put_param(&e, "c.bias", a.b);
	double *got = ref_new(a.nx + a.ny + a.nw + a.nb);
	for (int run = 1; run <= 2; run++) { /* gradients of parameters add up over runs */
		engine_fill(&e, x, a.x);
		if (sum >= 0)
			engine_fill(&e, sum, a.sum);
		engine_fill_seed(&e, a.r);
		CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
		engine_get(&e, y, got);
		reference(&a, c, got, t);
		compare("y", a.ny, got, a.y, limit);
		engine_get(&e, engine_gradient(&e, x), got);
		compare("dx", a.nx, got, a.dx, limit);
		for (size_t i = 0; i < a.nw; i++)
			a.dw[i] *= run;
		engine_get_grad(&e, "c.weight", got);
		compare("dw", a.nw, got, a.dw, limit);
		if (c->bias) {
			for (size_t i = 0; i < a.nb; i++)
				a.db[i] *= run;
			engine_get_grad(&e, "c.bias", got);
			compare("db", a.nb, got, a.db, limit);
		}
		if (sum >= 0) {
			engine_get(&e, engine_gradient(&e, sum), got);
			compare("dsum", a.ny, got, a.pre, limit);
		}
	}
	free(got);
	engine_close(&e);
	free_arrays(&a);
}

TEST(convolutions_in_f32)
{
	for (size_t i = 0; i < VQ_COUNT(cases); i++)
		one(&cases[i], VQ_F32, 3e-5);
}

TEST(convolutions_in_bf16)
{
	if (!engine_has_bf16())
		SKIP("no bf16 instructions");
	for (size_t i = 0; i < VQ_COUNT(cases); i++)
		one(&cases[i], VQ_BF16, 2e-2);
}

static bool can(const char *way, const conv_case *c)
{
	if (!strcmp(way, "strip"))
		return c->out % 16 == 0 && !c->transposed;
	if (!strcmp(way, "gather"))
		return c->in % 32 == 0 && c->out % 32 == 0 && c->k <= 4;
	return (c->k == 3 && c->s == 1 && c->in % 32 == 0 && c->out % 32 == 0) || (c->k == 3 && c->s == 1 && c->in == 16 && c->out <= 4) ||
		(c->k == 4 && c->in % 16 == 0 && c->out % 16 == 0);
}

/* Which implementation an operation has in a graph of one convolution. */
static const char *impl_of(engine *e, const conv_case *c, vq_dtype t, vq_op op)
{
	vq_conv_spec spec = { .k = c->k, .s = c->s, .p = c->p, .sum = -1 };
	engine_open(e, (engine_spec){ .n = c->n, .h = c->h, .w = c->w, .compute = t });
	int x = engine_input(e, t, c->n, c->h, c->w, c->in, 0);
	CHECK_OK(engine_build(e, c->transposed ? vq_layer_deconv(&e->b, x, "c", c->out, spec) : vq_layer_conv(&e->b, x, "c", c->out, spec)));
	return engine_impl(e, op);
}

/* Each of the ways to do the convolutions that lib/cpu/wino.h, gather.h or strip.h can do, whichever the shape's own is; the environment is the seam for it. */
static void forced(const char *way, vq_dtype t, double limit)
{
	setenv("VQ_CPU_CONV", way, 1);
	for (size_t i = 0; i < VQ_COUNT(cases); i++)
		if (can(way, &cases[i]))
			one(&cases[i], t, limit);
	static const vq_op ops[] = { VQ_OP_CONV, VQ_OP_CONV_DATA, VQ_OP_CONV_WEIGHT };
	for (size_t i = 0; i < VQ_COUNT(ops); i++) {
		engine e;
		const char *impl = impl_of(&e, &(conv_case){ .n = 1, .h = 6, .w = 6, .in = 32, .out = 32, .k = 3, .s = 1, .p = 1 }, t, ops[i]);
		bool mine = !strncmp(impl, way, strlen(way)), others = !strncmp(impl, "winograd", 8) || !strncmp(impl, "gather", 6) || !strncmp(impl, "strip", 5);
		bool forward_only = !strcmp(way, "strip") && ops[i] != VQ_OP_CONV;
		if (!forward_only && (!strncmp(e.be->isa, "avx2", 4) || !strncmp(e.be->isa, "avx512", 6)) && (strcmp(way, "direct") ? !mine : others))
			TEST_END(1, "%s: %s runs %s", way, vq_op_name(ops[i]), impl);
		engine_close(&e);
	}
	unsetenv("VQ_CPU_CONV");
}

TEST(both_ways_in_f32)
{
	if (strcmp(engine_device(), "cpu"))
		SKIP("ways of the CPU");
	forced("direct", VQ_F32, 3e-6);
	forced("winograd", VQ_F32, 3e-6);
	forced("strip", VQ_F32, 3e-6);
}

TEST(all_ways_in_bf16)
{
	if (!engine_has_bf16() || strcmp(engine_device(), "cpu"))
		SKIP("no CPU with bf16 instructions");
	forced("direct", VQ_BF16, 2e-2);
	forced("winograd", VQ_BF16, 2e-2);
	forced("gather", VQ_BF16, 2e-2);
	forced("strip", VQ_BF16, 2e-2);
}

/* What encoding and decoding run, one cell a canvas with a store that nobody trains: which way, and what comes out. */
static void fixed_one(const conv_case *c, vq_dtype t, const char *way, double limit)
{
	engine e;
	arrays a;
	vq_conv_spec spec = { .k = c->k, .s = c->s, .p = c->p, .bias = c->bias, .act = c->act, .sum = -1 };
	make_arrays(&a, c, t);
	engine_open(&e, (engine_spec){ .compute = t, .n = c->n, .h = c->h, .w = c->w, .items = 1, .inference = true, .fixed = true });
	int x = engine_input(&e, t, c->n, c->h, c->w, c->in, 0), sum = c->sum ? engine_input(&e, t, a.yd.n, a.yd.h, a.yd.w, a.yd.c, 0) : -1;
	spec.sum = sum;
	int y = vq_layer_conv(&e.b, x, "c", c->out, spec);
	CHECK_OK(engine_build(&e, y));
	snprintf(where, sizeof where, "%dx%d, %d -> %d, k%d s%d by %s", c->h, c->w, c->in, c->out, c->k, c->s, engine_impl(&e, VQ_OP_CONV));
	if ((!strncmp(e.be->isa, "avx2", 4) || !strncmp(e.be->isa, "avx512", 6)) && strncmp(engine_impl(&e, VQ_OP_CONV), way, strlen(way)))
		TEST_END(1, "%s, not %s", where, way);
	engine_put_param(&e, "c.weight", a.w);
	if (c->bias)
		engine_put_param(&e, "c.bias", a.b);
	engine_fill(&e, x, a.x);
	if (sum >= 0)
		engine_fill(&e, sum, a.sum);
	CHECK_OK(engine_run(&e, VQ_FORWARD));
	double *got = ref_new(a.ny);
	engine_get(&e, y, got);
	reference(&a, c, got, t);
	compare("y", a.ny, got, a.y, limit);
	free(got);
	engine_close(&e);
	free_arrays(&a);
}

TEST(what_nobody_trains)
{
	static const struct { conv_case c; const char *way; } all[] = {
		{ { false, 1, 26, 22, 1, 32, 7, 2, 3, true, VQ_FN_RELU }, "strip:" },
		{ { false, 1, 13, 11, 32, 64, 3, 2, 1, true, VQ_FN_NONE }, "strip:" },
		{ { false, 1, 6, 7, 64, 64, 1, 1, 0, true, VQ_FN_NONE, true }, "strip:" },
		{ { false, 1, 13, 11, 64, 64, 3, 1, 1, true, VQ_FN_RELU }, "winograd4:" },
		{ { false, 1, 26, 22, 32, 32, 3, 1, 1, true, VQ_FN_NONE, true }, "winograd4:" },
		{ { false, 1, 7, 8, 32, 64, 3, 1, 1, false, VQ_FN_NONE }, "winograd4:" },
		{ { false, 1, 6, 6, 64, 64, 3, 1, 1, true, VQ_FN_NONE }, "winograd:" }, /* four tiles of 36 are no fewer than nine of 16 */
		{ { false, 1, 4, 4, 64, 64, 3, 1, 1, true, VQ_FN_NONE }, "strip:" },
	};
	if (strcmp(engine_device(), "cpu"))
		SKIP("ways of the CPU");
	for (size_t i = 0; i < VQ_COUNT(all); i++)
		fixed_one(&all[i].c, VQ_F32, all[i].way, 1e-5);
}

/* Where the weights are more than what they are multiplied with. */
TEST(few_positions_are_gathered)
{
	static const struct { conv_case c; vq_op op; bool gathered; } all[] = {
		{ { false, 16, 4, 4, 128, 256, 3, 2, 1, .act = VQ_FN_NONE }, VQ_OP_CONV, true },
		{ { false, 16, 4, 4, 128, 256, 3, 2, 1, .act = VQ_FN_NONE }, VQ_OP_CONV_WEIGHT, true },
		{ { true, 16, 2, 2, 256, 128, 4, 2, 1, .act = VQ_FN_NONE }, VQ_OP_DECONV, true },
		{ { true, 16, 2, 2, 256, 128, 4, 2, 1, .act = VQ_FN_NONE }, VQ_OP_DECONV_DATA, true },
		{ { true, 16, 2, 2, 256, 128, 4, 2, 1, .act = VQ_FN_NONE }, VQ_OP_DECONV_WEIGHT, true },
		{ { false, 16, 2, 2, 256, 256, 1, 1, 0, .act = VQ_FN_NONE }, VQ_OP_CONV_WEIGHT, true },
		{ { false, 16, 4, 4, 128, 128, 3, 1, 1, .act = VQ_FN_NONE }, VQ_OP_CONV, false },
		{ { false, 16, 24, 24, 32, 64, 3, 2, 1, .act = VQ_FN_NONE }, VQ_OP_CONV, false },
	};
	engine e;
	if (!engine_has_bf16())
		SKIP("no bf16 instructions");
	for (size_t i = 0; i < VQ_COUNT(all); i++) {
		const char *impl = impl_of(&e, &all[i].c, VQ_BF16, all[i].op);
		if (!strcmp(e.be->name, "cpu") && !strstr(impl, "amx") && !strncmp(impl, "gather", 6) != all[i].gathered)
			TEST_END(1, "%s %zu runs %s", vq_op_name(all[i].op), i, impl);
		engine_close(&e);
	}
}

/* y, dx and dw of a case with this many threads, one after the other. */
static double *gathered(const conv_case *c, int threads, size_t *n)
{
	engine e;
	arrays a;
	vq_conv_spec spec = { .k = c->k, .s = c->s, .p = c->p, .act = c->act, .sum = -1 };
	make_arrays(&a, c, VQ_BF16);
	engine_open(&e, (engine_spec){ .compute = VQ_BF16, .n = c->n, .h = c->h, .w = c->w, .threads = threads });
	int x = engine_input(&e, VQ_BF16, c->n, c->h, c->w, c->in, 0);
	int y = c->transposed ? vq_layer_deconv(&e.b, x, "c", c->out, spec) : vq_layer_conv(&e.b, x, "c", c->out, spec);
	CHECK_OK(engine_build(&e, y));
	engine_put_param(&e, "c.weight", a.w);
	engine_fill(&e, x, a.x);
	engine_fill_seed(&e, a.r);
	CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
	*n = a.ny + a.nx + a.nw;
	double *got = ref_new(*n);
	engine_get(&e, y, got);
	engine_get(&e, engine_gradient(&e, x), got + a.ny);
	engine_get_grad(&e, "c.weight", got + a.ny + a.nx);
	engine_close(&e);
	free_arrays(&a);
	return got;
}

TEST(gathered_alike_by_any_number_of_threads)
{
	if (!engine_has_bf16() || strcmp(engine_device(), "cpu"))
		SKIP("no CPU with bf16 instructions");
	setenv("VQ_CPU_CONV", "gather", 1);
	for (size_t i = 0; i < VQ_COUNT(cases); i++) {
		size_t n;
		if (!can("gather", &cases[i]))
			continue;
		double *one_thread = gathered(&cases[i], 1, &n);
		for (int threads = 2; threads <= 4; threads++) {
			double *more = gathered(&cases[i], threads, &n);
			if (memcmp(one_thread, more, n * sizeof *more))
				TEST_END(1, "case %zu: %d threads give other numbers than 1", i, threads);
			free(more);
		}
		free(one_thread);
	}
	unsetenv("VQ_CPU_CONV");
}

TEST(no_third_way)
{
	vq_backend *b;
	setenv("VQ_CPU_CONV", "fast", 1);
	CHECK_FAILS(vq_backend_open(&b, "cpu", 1), VQ_EINVAL);
	CHECK_HAS(vq_message(), "VQ_CPU_CONV is fast");
	unsetenv("VQ_CPU_CONV");
}


/* --- which of the library's implementations run -------------------------------------------------------------------- */

static const conv_case used[] = {
	/* configs/cells.json and peer.json */
	{ false, 2, 96, 96, 1, 32, 7, 2, 3 }, { false, 2, 96, 96, 3, 32, 7, 2, 3 }, { false, 2, 96, 96, 4, 32, 7, 2, 3 },
	{ false, 2, 48, 48, 32, 32, 3, 1, 1 }, { false, 2, 48, 48, 32, 64, 3, 2, 1 }, { false, 2, 24, 24, 64, 64, 3, 1, 1 }, { false, 2, 24, 24, 64, 64, 1, 1, 0 },
	{ true, 2, 24, 24, 64, 32, 4, 2, 1 }, { true, 2, 48, 48, 32, 16, 4, 2, 1 },
	{ false, 2, 96, 96, 16, 1, 3, 1, 1 }, { false, 2, 96, 96, 16, 3, 3, 1, 1 }, { false, 2, 96, 96, 16, 4, 3, 1, 1 },
	/* configs/improved.json and original.json */
	{ false, 2, 16, 16, 64, 128, 3, 2, 1 }, { false, 2, 8, 8, 128, 128, 3, 1, 1 }, { false, 2, 8, 8, 128, 256, 3, 2, 1 }, { false, 2, 4, 4, 256, 32, 1, 1, 0 },
	{ false, 2, 4, 4, 256, 256, 1, 1, 0 }, { true, 2, 4, 4, 256, 128, 4, 2, 1 }, { true, 2, 8, 8, 128, 64, 4, 2, 1 }, { false, 2, 8, 8, 128, 128, 1, 1, 0 },
	{ false, 2, 64, 64, 4, 8, 7, 3, 1 }, { false, 2, 20, 20, 8, 16, 3, 2, 1 }, { false, 2, 10, 10, 16, 24, 3, 2, 1 }, { false, 2, 5, 5, 24, 32, 3, 2, 0 },
	{ false, 2, 2, 2, 32, 64, 3, 2, 1 }, { true, 2, 8, 8, 32, 24, 4, 2, 1 }, { true, 2, 16, 16, 24, 16, 4, 2, 1 }, { true, 2, 32, 32, 16, 8, 4, 2, 1 },
	{ false, 2, 64, 64, 8, 4, 3, 1, 1 },
};

static void no_reference(vq_dtype t)
{
	for (size_t i = 0; i < VQ_COUNT(used); i++) {
		const conv_case *c = &used[i];
		static const vq_op ops[2][3] = { { VQ_OP_CONV, VQ_OP_CONV_DATA, VQ_OP_CONV_WEIGHT }, { VQ_OP_DECONV, VQ_OP_DECONV_DATA, VQ_OP_DECONV_WEIGHT } };
		engine e;
		engine_open(&e, (engine_spec){ .n = c->n, .h = c->h, .w = c->w, .compute = t });
		int x = engine_input(&e, t, c->n, c->h, c->w, c->in, 0);
		vq_conv_spec spec = { .k = c->k, .s = c->s, .p = c->p, .bias = true, .act = VQ_FN_RELU, .sum = -1 };
		CHECK_OK(engine_build(&e, c->transposed ? vq_layer_deconv(&e.b, x, "c", c->out, spec) : vq_layer_conv(&e.b, x, "c", c->out, spec)));
		for (int k = 0; k < 3; k++) {
			const char *impl = engine_impl(&e, ops[c->transposed][k]);
			CHECK(*impl);
			if (getenv("VQ_SHOW"))
				printf("# %s %s %dx%d k%d s%d %d -> %d: %s\n", vq_dtype_name(t), vq_op_name(ops[c->transposed][k]), c->h, c->w, c->k, c->s, c->in, c->out, impl);
			if (strstr(impl, "ref"))
				TEST_END(1, "%s %s k%d s%d %d -> %d runs %s", vq_dtype_name(t), vq_op_name(ops[c->transposed][k]), c->k, c->s, c->in, c->out, impl);
		}
		engine_close(&e);
	}
}

TEST(no_reference_implementation) { no_reference(VQ_F32); }

TEST(no_reference_implementation_in_bf16)
{
	if (!engine_has_bf16())
		SKIP("no bf16 instructions");
	no_reference(VQ_BF16);
}

TEST_MAIN(RUN(convolutions_in_f32) RUN(convolutions_in_bf16) RUN(both_ways_in_f32) RUN(all_ways_in_bf16) RUN(what_nobody_trains) RUN(few_positions_are_gathered) RUN(gathered_alike_by_any_number_of_threads) RUN(no_third_way) RUN(no_reference_implementation) RUN(no_reference_implementation_in_bf16))
