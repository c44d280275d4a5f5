/* Losses and optimisers. */
#include "tests/unit/engine.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

/* --- losses ------------------------------------------------------------------------------------------------------- */

typedef struct { int n, h, w, c, power; bool weights; int items; vq_place place[2]; } loss_case;

static const loss_case losses[] = {
	{ 1, 1, 1, 1, 2 },
	{ 2, 5, 7, 3, 2 },
	{ 2, 33, 17, 4, 1 },
	{ 1, 40, 50, 1, 2, true },
	{ 2, 9, 10, 5, 1, true, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 1, 5, 0, 4, 9 }, { 1, 6, 0, 3, 8 } } } },
	{ 2, 9, 10, 5, 2, true, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 0, 0 } }, { { 1, 5, 0, 4, 9 }, { 1, 5, 0, 4, 9 } } } },
	{ 1, 6, 6, 3, 2, false, 1, { { { 0, 0, 0, 6, 6 }, { 0, 0, 0, 0, 0 } } } }, /* nothing valid */
};

static bool valid_at(const engine *e, const loss_case *c, int position)
{
	int n = position / (c->h * c->w), y = position / c->w % c->h, x = position % c->w;
	for (int i = 0; i < e->step.items; i++) {
		vq_rect r = e->place[i].valid;
		if (r.n == n && y >= r.y && y < r.y + r.h && x >= r.x && x < r.x + r.w)
			return true;
	}
	return false;
}

static void one_loss(const loss_case *c)
{
	engine e;
	int rows = c->n * c->h * c->w;
	size_t n = (size_t)(rows * c->c);
	engine_open(&e, (engine_spec){ .n = c->n, .h = c->h, .w = c->w, .items = c->items, .packed = c->items > 0 });
	for (int i = 0; i < c->items; i++)
		engine_place(&e, i, c->place[i].extent, c->place[i].valid);
	int y = engine_input(&e, VQ_F32, c->n, c->h, c->w, c->c, 0), t = engine_input(&e, VQ_F32, c->n, c->h, c->w, c->c, 0);
	int w = c->weights ? engine_input(&e, VQ_F32, c->n, c->h, c->w, 1, 0) : -1;
	vq_layer_loss(&e.b, y, t, w, (float)c->power, 4, 2);
	CHECK_OK(engine_build(&e, -1));
	vq_rng r = vq_rng_make(4, (uint64_t)(c - losses));
	double *yv = engine_noise(&r, VQ_F32, n), *tv = engine_noise(&r, VQ_F32, n), *wv = engine_noise(&r, VQ_F32, (size_t)rows), *got = ref_new(n), *want = ref_new(n), sum = 0;
	tv[0] = yv[0]; /* |y-t| has slope 0 there */
	for (size_t i = 0; i < n; i++) {
		double d = yv[i] - tv[i], k = w >= 0 ? wv[i / (size_t)c->c] : 1;
		if (!valid_at(&e, c, (int)i / c->c))
			continue;
		sum += k * (c->power == 2 ? d * d : fabs(d));
		want[i] = .25 * k * (c->power == 2 ? 2 * d : (d > 0) - (d < 0));
	}
	engine_fill(&e, y, yv);
	engine_fill(&e, t, tv);
	if (w >= 0)
		engine_fill(&e, w, wv);
	e.step.scale[2] = .25f;
	for (int run = 0; run < 2; run++)
		CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
	CHECK_NEAR(e.step.scalar[4], sum, 2e-6 * fabs(sum) + 1e-5);
	engine_get(&e, engine_gradient(&e, y), got);
	CHECK(engine_error(n, got, want) < 1e-6);
	engine_close(&e);
	free(yv); free(tv); free(wv); free(got); free(want);
}

TEST(sums_and_gradients_of_losses)
{
	for (size_t i = 0; i < VQ_COUNT(losses); i++)
		one_loss(&losses[i]);
}

/* A loss in an inference graph has a sum and no gradient. */
TEST(loss_without_gradient)
{
	engine e;
	double y[6] = { 1, 2, 3, 4, 5, 6 }, t[6] = {0};
	engine_open(&e, (engine_spec){ .n = 1, .h = 2, .w = 3, .inference = true });
	int yv = engine_input(&e, VQ_F32, 1, 2, 3, 1, 0), tv = engine_input(&e, VQ_F32, 1, 2, 3, 1, 0);
	vq_layer_loss(&e.b, yv, tv, -1, 2, 0, 0);
	CHECK_OK(engine_build(&e, -1));
	engine_fill(&e, yv, y);
	engine_fill(&e, tv, t);
	CHECK_OK(engine_run(&e, VQ_FORWARD));
	CHECK_NEAR(e.step.scalar[0], 91, 0);
	engine_close(&e);
}

/* --- optimisers: a linear layer whose gradient is x (outer) dy, against the reference over several steps ----------- */

typedef struct { vq_optimizer o; const char *name; } optim_case;

static const optim_case optims[] = {
	{ { VQ_ADAMW, .9f, .99f, 1e-8f, .1f, 0, 0 }, "adamw" },
	{ { VQ_ADAMW, .9f, .999f, 1e-8f, 1e-4f, 0, .5f }, "adamw, clipped" },
	{ { VQ_ADAM, .9f, .999f, 1e-8f, .1f, 0, 0 }, "adam" },
	{ { VQ_SGD, 0, 0, 0, .01f, .9f, 0 }, "sgd" },
	{ { VQ_SGD, 0, 0, 0, 0, 0, 1.5f }, "sgd without momentum, clipped" },
	{ { VQ_SGD, 0, 0, 0, 0, 0, 1e6f }, "sgd below the clip" },
};

typedef struct { double *p, *m, *v; size_t n; } state;

static void reference_step(const vq_optimizer *o, state *s, const double *grad, double factor, int step, double lr)
{
	double *g = ref_new(s->n);
	for (size_t i = 0; i < s->n; i++)
		g[i] = grad[i] * factor;
	if (o->kind == VQ_SGD)
		ref_sgd(s->n, s->p, g, s->m, lr, (double)o->momentum, (double)o->weight_decay);
	else
		(o->kind == VQ_ADAM ? ref_adam : ref_adamw)(s->n, s->p, g, s->m, s->v, step, lr, (double)o->beta1, (double)o->beta2, (double)o->eps, (double)o->weight_decay);
	free(g);
}

/* More parameters than one chunk of the pass, in two tensors with padding between. */
static void one_optimizer(const optim_case *c)
{
	enum { ROWS = 3, IN = 150, OUT = 131 };
	engine e;
	engine_open(&e, (engine_spec){ .n = ROWS, .h = 1, .w = 1, .update = &c->o });
	int x = engine_input(&e, VQ_F32, ROWS, 1, 1, IN, -1), y = vq_layer_linear(&e.b, x, "l", OUT);
	CHECK_OK(engine_build(&e, y));
	static const char *const names[2] = { "l.weight", "l.bias" };
	double *grad[2];
	state s[2];
	for (int i = 0; i < 2; i++) {
		size_t n = engine_param_count(&e, names[i]);
		s[i] = (state){ ref_new(n), ref_new(n), ref_new(n), n };
		grad[i] = ref_new(n);
		engine_get_param(&e, names[i], s[i].p);
	}
	vq_rng r = vq_rng_make(5, 5);
	for (int step = 1; step <= 4; step++) {
		double *xs = engine_noise(&r, VQ_F32, ROWS * IN), *dy = engine_noise(&r, VQ_F32, ROWS * OUT), norm = 0;
		engine_fill(&e, x, xs);
		engine_fill_seed(&e, dy);
		CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
		for (int i = 0; i < 2; i++) {
			engine_get_grad(&e, names[i], grad[i]);
			for (size_t j = 0; j < s[i].n; j++)
				norm += grad[i][j] * grad[i][j];
		}
		norm = sqrt(norm);
		e.step.step = (uint64_t)step - 1;
		e.step.lr = .01f / (float)step;
		CHECK_OK(engine_run(&e, VQ_UPDATE));
		CHECK_NEAR(e.step.scalar[VQ_SCALARS - 1], norm, 1e-5 * norm);
		double clip = (double)c->o.clip;
		for (int i = 0; i < 2; i++) {
			reference_step(&c->o, &s[i], grad[i], clip > 0 && norm > clip ? clip / (norm + 1e-6) : 1, step, (double)e.step.lr);
			engine_get_param(&e, names[i], grad[i]);
			double error = engine_error(s[i].n, grad[i], s[i].p);
			if (error > 3e-6)
				TEST_END(1, "%s: %s is off by %.3g in step %d", c->name, names[i], error, step);
			engine_get_grad(&e, names[i], grad[i]);
			for (size_t j = 0; j < s[i].n; j++)
				CHECK(grad[i][j] == 0);
		}
		free(xs);
		free(dy);
	}
	for (int i = 0; i < 2; i++) {
		free(grad[i]);
		free(s[i].p);
		free(s[i].m);
		free(s[i].v);
	}
	engine_close(&e);
}

TEST(optimisers)
{
	for (size_t i = 0; i < VQ_COUNT(optims); i++)
		one_optimizer(&optims[i]);
}

/* A weight that the update changed is used in its new form: views in the library's layout are refreshed. */
TEST(convolutions_see_new_weights)
{
	static const vq_optimizer o = { VQ_SGD, 0, 0, 0, 0, 0, 0 };
	engine e;
	engine_open(&e, (engine_spec){ .n = 1, .h = 6, .w = 6, .update = &o });
	int x = engine_input(&e, VQ_F32, 1, 6, 6, 8, 0);
	int y = vq_layer_conv(&e.b, x, "c", 16, (vq_conv_spec){ .k = 3, .s = 1, .p = 1, .bias = true, .sum = -1 });
	CHECK_OK(engine_build(&e, y));
	vq_rng r = vq_rng_make(5, 6);
	size_t ny = engine_count(&e, y), nw = engine_param_count(&e, "c.weight");
	double *xs = engine_noise(&r, VQ_F32, 2000), *dy = engine_noise(&r, VQ_F32, ny), *got = ref_new(ny), *want = ref_new(ny), *w = engine_noise(&r, VQ_F32, nw), b[16];
	for (int step = 0; step < 3; step++) {
		engine_fill(&e, x, xs);
		engine_fill_seed(&e, dy);
		CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
		engine_get(&e, y, got);
		engine_get_param(&e, "c.weight", w);
		engine_get_param(&e, "c.bias", b);
		ref_conv_fwd((ref_dims){ 1, 6, 6, 8 }, xs, w, b, 16, 3, 1, 1, want);
		CHECK(engine_error(ny, got, want) < 1e-5);
		e.step.lr = .01f;
		if (step == 0)
			CHECK_OK(engine_run(&e, VQ_UPDATE));
		else
			engine_put_param(&e, "c.weight", xs + step); /* a write from the host counts as well */
	}
	engine_close(&e);
	free(xs); free(dy); free(got); free(want); free(w);
}

/* Weights are rounded to bf16 to compute with, but kept in f32: updates too small for bf16 to show add up until it does. */
TEST(small_updates_add_up_in_bf16)
{
	static const vq_optimizer o = { VQ_SGD, 0, 0, 0, 0, 0, 0 };
	enum { IN = 16, OUT = 16 };
	double x[IN] = { 1 }, dy[OUT] = { 1 }, w[IN * OUT], y[OUT], step = ldexp(1, -11); /* bf16 has nothing between 1 and 1 - 2^-8 */
	engine e;
	engine_open(&e, (engine_spec){ .compute = VQ_BF16, .n = 1, .h = 1, .w = 1, .update = &o });
	if (!e.be->bf16) {
		e.be->close(e.be);
		vq_graph_free(&e.g);
		SKIP("no bf16 instructions");
	}
	int in = engine_input(&e, VQ_BF16, 1, 1, 1, IN, 0), out = vq_layer_conv(&e.b, in, "c", OUT, (vq_conv_spec){ .k = 1, .s = 1, .sum = -1 });
	CHECK_OK(engine_build(&e, out));
	CHECK(engine_param_count(&e, "c.weight") == VQ_COUNT(w));
	for (size_t i = 0; i < VQ_COUNT(w); i++)
		w[i] = 1;
	engine_put_param(&e, "c.weight", w);
	e.step.lr = (float)step;
	for (int i = 0; i < 9; i++) {
		engine_fill(&e, in, x);
		engine_fill_seed(&e, dy);
		CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
		engine_get(&e, out, y);
		CHECK(y[1] == 1 && y[0] == (i <= 4 ? 1 : 1 - 8 * step));
		CHECK_OK(engine_run(&e, VQ_UPDATE));
		engine_get_param(&e, "c.weight", w);
		CHECK(w[0] == 1 - (i + 1) * step && w[1] == 1);
	}
	engine_close(&e);
}

TEST(averaged_weights)
{
	engine e;
	engine_open(&e, (engine_spec){ .n = 1, .h = 1, .w = 1 });
	int x = engine_input(&e, VQ_F32, 1, 1, 1, 3, -1), y = vq_layer_linear(&e.b, x, "l", 1);
	CHECK_OK(engine_build(&e, y));
	float mean[3] = { 1, 2, 3 };
	CHECK_OK(e.be->store_write(e.store, VQ_BUF_MEAN, 0, 3, mean));
	engine_put_param(&e, "l.weight", (double[]){ 5, 2, -1 });
	CHECK_OK(e.be->store_average(e.store, .75f));
	CHECK_OK(e.be->store_read(e.store, VQ_BUF_MEAN, 0, 3, mean));
	CHECK(mean[0] == 2 && mean[1] == 2 && mean[2] == 2);
	engine_close(&e);
}

TEST_MAIN(RUN(sums_and_gradients_of_losses) RUN(loss_without_gradient) RUN(optimisers) RUN(convolutions_see_new_weights) RUN(small_updates_add_up_in_bf16)
	RUN(averaged_weights))
