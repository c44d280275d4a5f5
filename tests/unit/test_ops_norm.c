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

/* --- padding, against the true pixels alone ------------------------------------------------------------------------------ */

static const norm_case padded[] = {
	{ 1, 8, 9, 3, VQ_FN_SILU, true, false, 1, { { { 0, 0, 0, 8, 9 }, { 0, 1, 2, 5, 4 } } } },
	{ 2, 16, 16, 2, VQ_FN_GELU, false, false, 2, { { { 0, 0, 0, 16, 16 }, { 0, 3, 4, 9, 7 } }, { { 1, 0, 0, 12, 16 }, { 1, 0, 1, 11, 15 } } } },
	{ 2, 9, 10, 5, VQ_FN_RELU, true, false, 3, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 0, 5, 0, 4, 9 }, { 0, 5, 0, 4, 9 } }, { { 1, 2, 3, 4, 5 }, { 1, 2, 3, 1, 1 } } } },
	{ 2, 9, 10, 3, VQ_FN_NONE, false, false, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 1, 5, 0, 4, 9 }, { 1, 6, 0, 3, 8 } } } },
};

/* The true pixels in a row: which they are, their input, residual and the loss's weights of their outputs; and the affine. */
typedef struct { const norm_case *c; int n; int at[600]; double *x, *res, *r, gamma[8], beta[8]; } true_pixels;

static double true_output(const true_pixels *t, double *y)
{
	double mean[8], rstd[8], loss = 0;
	ref_dims d = { 1, 1, t->n, t->c->c };
	ref_bn_train_fwd(d, NULL, t->x, t->gamma, t->beta, 1e-5, .1, NULL, NULL, y, mean, rstd);
	for (size_t i = 0; i < ref_count(d); i++) {
		double v = y[i] + (t->c->res ? t->res[i] : 0);
		y[i] = t->c->act == VQ_FN_SILU ? ref_act(VQ_ACT_SILU, v) : t->c->act == VQ_FN_GELU ? ref_act(VQ_ACT_GELU, v) : t->c->act == VQ_FN_RELU ? ref_act(VQ_ACT_RELU, v) : v;
		loss += t->r[i] * y[i];
	}
	return loss;
}

/* Finite differences of the loss by each of v. */
static void slopes_of(const true_pixels *t, double *v, size_t n, double *slope, double *y)
{
	const double h = 1e-5;
	for (size_t i = 0; i < n; i++) {
		double kept = v[i];
		v[i] = kept + h;
		slope[i] = true_output(t, y);
		v[i] = kept - h;
		slope[i] = (slope[i] - true_output(t, y)) / (2 * h);
		v[i] = kept;
	}
}

static void find_true(true_pixels *t, const norm_case *c)
{
	*t = (true_pixels){ .c = c };
	for (int i = 0; i < c->items; i++)
		for (int y = 0; y < c->place[i].valid.h; y++)
			for (int x = 0; x < c->place[i].valid.w; x++)
				t->at[t->n++] = (c->place[i].valid.n * c->h + c->place[i].valid.y + y) * c->w + c->place[i].valid.x + x;
	t->x = ref_new((size_t)(t->n * c->c));
	t->res = ref_new((size_t)(t->n * c->c));
	t->r = ref_new((size_t)(t->n * c->c));
}

static void pick(const true_pixels *t, const double *all, double *mine)
{
	for (int i = 0; i < t->n; i++)
		memcpy(mine + i * t->c->c, all + t->at[i] * t->c->c, sizeof *mine * (size_t)t->c->c);
}

/* Outputs and gradients of true pixels are those of a batch without padding; the padding gets no gradient, and what it holds changes nothing. */
static void against_true_pixels(const norm_case *c)
{
	engine e;
	true_pixels t;
	size_t all = (size_t)(c->n * c->h * c->w * c->c);
	int y = layer(&e, c, VQ_F32);
	CHECK_OK(engine_build(&e, y));
	find_true(&t, c);
	size_t n = (size_t)(t.n * c->c);
	vq_rng r = vq_rng_make(4, (uint64_t)(c - padded));
	double *x[2], *seed = engine_noise(&r, VQ_F32, n), *dy = ref_new(all), *got = ref_new(all), *mine = ref_new(n), *want = ref_new(n), *slope = ref_new(n), *first = ref_new(n);
	for (int i = 0; i < 2; i++)
		x[i] = engine_noise(&r, VQ_F32, all);
	pick(&t, x[0], t.x);
	pick(&t, x[1], t.res);
	memcpy(t.r, seed, sizeof *seed * n);
	for (int i = 0; i < t.n; i++)
		memcpy(dy + t.at[i] * c->c, seed + i * c->c, sizeof *dy * (size_t)c->c);
	engine_get_param(&e, "bn.weight", t.gamma);
	engine_get_param(&e, "bn.bias", t.beta);
	for (int way = 0; way < 2; way++) {
		for (int i = 0; i < (c->res ? 2 : 1); i++)
			engine_fill(&e, e.input[i], x[i]);
		engine_fill_seed(&e, dy);
		CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
		engine_get(&e, y, got);
		pick(&t, got, mine);
		true_output(&t, want);
		CHECK(engine_error(n, mine, want) < 1e-5);
		engine_get(&e, engine_gradient(&e, e.input[0]), got);
		pick(&t, got, mine);
		if (way)
			CHECK(!memcmp(first, mine, sizeof *first * n));
		memcpy(first, mine, sizeof *first * n);
		for (size_t i = 0, own = 0; i < all; i++) { /* all the gradient there is belongs to true pixels */
			own = 0;
			for (int k = 0; k < t.n; k++)
				own |= t.at[k] == (int)i / c->c;
			CHECK(own || got[i] == 0);
		}
		double *other = engine_noise(&r, VQ_F32, all); /* what is padded with, next */
		for (int i = 0; i < t.n; i++)
			memcpy(other + t.at[i] * c->c, x[0] + t.at[i] * c->c, sizeof *other * (size_t)c->c);
		free(x[0]);
		x[0] = other;
	}
	slopes_of(&t, t.x, n, slope, want);
	CHECK(engine_error(n, first, slope) < 1e-3);
	if (c->res) {
		engine_get(&e, engine_gradient(&e, e.input[1]), got);
		pick(&t, got, mine);
		slopes_of(&t, t.res, n, slope, want);
		CHECK(engine_error(n, mine, slope) < 1e-3);
	}
	double affine[8], by[8];
	slopes_of(&t, t.gamma, (size_t)c->c, by, want);
	engine_get_grad(&e, "bn.weight", affine);
	for (int i = 0; i < c->c; i++)
		CHECK_NEAR(affine[i], 2 * by[i], 1e-3 * (1 + fabs(by[i]))); /* of both runs */
	slopes_of(&t, t.beta, (size_t)c->c, by, want);
	engine_get_grad(&e, "bn.bias", affine);
	for (int i = 0; i < c->c; i++)
		CHECK_NEAR(affine[i], 2 * by[i], 1e-3 * (1 + fabs(by[i])));
	engine_close(&e);
	free(x[0]); free(x[1]); free(seed); free(dy); free(got); free(mine); free(want); free(slope); free(first);
	free(t.x); free(t.res); free(t.r);
}

TEST(padding_is_as_if_it_were_not_there)
{
	for (size_t i = 0; i < VQ_COUNT(padded); i++)
		against_true_pixels(&padded[i]);
}

TEST_MAIN(RUN(outputs_and_gradients) RUN(outputs_and_gradients_in_bf16) RUN(running_statistics) RUN(inference)
	RUN(padding_is_as_if_it_were_not_there))
