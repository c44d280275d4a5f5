/* Batch normalisation over valid positions, with residual and activation. */
#include "tests/unit/ref.h"
#include "tests/unit/slopes.h"
#include "tests/unit/test.h"

typedef struct { int n, h, w, c; vq_act act; bool res, inference; int items; vq_place place[3]; } norm_case;

static const norm_case cases[] = {
	{ 2, 3, 3, 1, VQ_FN_NONE },
	{ 1, 5, 7, 3, VQ_FN_RELU },
	{ 2, 4, 5, 17, VQ_FN_RELU, true },
	{ 1, 6, 6, 5, VQ_FN_SILU, true },
	{ 1, 6, 5, 33, VQ_FN_GELU },
	{ 2, 4, 4, 8, VQ_FN_LEAKY, true },
	/* statistics from valid positions, output and gradient on extents */
	{ 2, 9, 10, 5, VQ_FN_RELU, true, false, 3, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 0, 5, 0, 4, 9 }, { 0, 5, 0, 4, 9 } }, { { 1, 2, 3, 1, 1 }, { 1, 2, 3, 1, 1 } } } },
	{ 2, 9, 10, 3, VQ_FN_SILU, false, false, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 1, 5, 0, 4, 9 }, { 1, 6, 0, 3, 8 } } } },
	/* one item without a valid position beside another; then nothing valid at all: the running statistics serve */
	{ 1, 9, 10, 3, VQ_FN_NONE, false, false, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 0, 0 } }, { { 0, 5, 0, 4, 9 }, { 0, 5, 0, 4, 9 } } } },
	{ 1, 9, 10, 3, VQ_FN_RELU, false, false, 1, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 0, 0 } } } },
};

static int layer(engine *e, const norm_case *c, vq_dtype t)
{
	engine_open(e, (engine_spec){ .n = c->n, .h = c->h, .w = c->w, .items = c->items, .packed = c->items > 0, .compute = t });
	for (int i = 0; i < c->items; i++)
		engine_place(e, i, c->place[i].extent, c->place[i].valid);
	int x = engine_input(e, t, c->n, c->h, c->w, c->c, 0), res = c->res ? engine_input(e, t, c->n, c->h, c->w, c->c, 0) : -1;
	return vq_layer_norm(&e->b, x, "bn", res, c->act);
}

static void one(const norm_case *c, vq_dtype t, double limit)
{
	engine e;
	int y = layer(&e, c, t);
	CHECK_OK(engine_build(&e, y));
	double var[64];
	for (int i = 0; i < c->c; i++)
		var[i] = .5 + i % 4;
	engine_put_param(&e, "bn.running_var", var);
	const char *wrong = slopes_check(&e, y, (uint64_t)(c - cases), limit);
	if (wrong)
		TEST_END(1, "%s case %d: %s", vq_dtype_name(t), (int)(c - cases), wrong);
	engine_close(&e);
}

TEST(outputs_and_gradients)
{
	for (size_t i = 0; i < VQ_COUNT(cases); i++)
		one(&cases[i], VQ_F32, 1e-4);
}

/* A ReLU's side may differ where its input rounds to 0, so that only smooth activations have slopes to compare with. */
TEST(outputs_and_gradients_in_bf16)
{
	for (size_t i = 0; i < VQ_COUNT(cases); i++)
		if (cases[i].act != VQ_FN_RELU && cases[i].act != VQ_FN_LEAKY)
			one(&cases[i], VQ_BF16, 2e-2);
}

/* Running statistics move by momentum 0.1 with the unbiased variance; a single position has none, nothing valid moves nothing. */
TEST(running_statistics)
{
	static const norm_case more[] = {
		{ 2, 5, 4, 3, VQ_FN_NONE },
		{ 1, 1, 1, 2, VQ_FN_NONE },
		{ 2, 9, 10, 3, VQ_FN_NONE, false, false, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 1, 5, 0, 4, 9 }, { 1, 6, 0, 3, 8 } } } },
		{ 2, 9, 10, 3, VQ_FN_NONE, false, false, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 0, 0 } }, { { 1, 5, 0, 4, 9 }, { 1, 6, 0, 0, 0 } } } },
	};
	for (size_t k = 0; k < VQ_COUNT(more); k++) {
		const norm_case *c = &more[k];
		engine e;
		int y = layer(&e, c, VQ_F32);
		ref_dims d = { c->n, c->h, c->w, c->c };
		ref_rect rects[2];
		CHECK_OK(engine_build(&e, y));
		for (int i = 0; i < c->items; i++) /* at most one item a canvas here, as the reference has it */
			rects[i] = (ref_rect){ c->place[i].valid.y, c->place[i].valid.x, c->place[i].valid.h, c->place[i].valid.w };
		vq_rng r = vq_rng_make(2, k);
		double *x = engine_noise(&r, VQ_F32, ref_count(d)), *out = ref_new(ref_count(d)), *got = ref_new(ref_count(d));
		double gamma[3], beta[3], mean[3], var[3] = { 1, 2, 3 }, m[3], s[3];
		engine_put_param(&e, "bn.running_var", var);
		engine_get_param(&e, "bn.running_mean", mean);
		engine_get_param(&e, "bn.weight", gamma);
		engine_get_param(&e, "bn.bias", beta);
		engine_fill(&e, e.input[0], x);
		CHECK_OK(engine_run(&e, VQ_FORWARD));
		ref_bn_train_fwd(d, c->items ? rects : NULL, x, gamma, beta, 1e-5, (double).1f, mean, var, out, m, s);
		engine_get_param(&e, "bn.running_mean", got);
		CHECK(engine_error((size_t)c->c, got, mean) < 1e-5);
		engine_get_param(&e, "bn.running_var", got);
		CHECK(engine_error((size_t)c->c, got, var) < 1e-5);
		free(x); free(out); free(got);
		engine_close(&e);
	}
}

/* At rest, the running statistics serve whatever is in the batch. */
TEST(inference)
{
	engine e;
	ref_dims d = { 2, 5, 6, 4 };
	engine_open(&e, (engine_spec){ .n = 2, .h = 5, .w = 6, .inference = true });
	int x = engine_input(&e, VQ_F32, 2, 5, 6, 4, 0), y = vq_layer_norm(&e.b, x, "bn", -1, VQ_FN_RELU);
	CHECK_OK(engine_build(&e, y));
	vq_rng r = vq_rng_make(2, 9);
	double *xs = engine_noise(&r, VQ_F32, ref_count(d)), *want = ref_new(ref_count(d)), *got = ref_new(ref_count(d)), gamma[4], beta[4], mean[4], var[4] = { 1, 2, 3, .1 };
	engine_put_param(&e, "bn.running_var", var);
	engine_get_param(&e, "bn.running_mean", mean);
	engine_get_param(&e, "bn.weight", gamma);
	engine_get_param(&e, "bn.bias", beta);
	engine_fill(&e, x, xs);
	CHECK_OK(engine_run(&e, VQ_FORWARD));
	ref_bn_eval_fwd(d, NULL, xs, gamma, beta, 1e-5, mean, var, want);
	ref_act_fwd(VQ_ACT_RELU, ref_count(d), want, want);
	engine_get(&e, y, got);
	CHECK(engine_error(ref_count(d), got, want) < 1e-5);
	engine_get_param(&e, "bn.running_mean", got);
	CHECK(engine_error(4, got, mean) == 0);
	engine_close(&e);
	free(xs); free(want); free(got);
}

TEST_MAIN(RUN(outputs_and_gradients) RUN(outputs_and_gradients_in_bf16) RUN(running_statistics) RUN(inference))
