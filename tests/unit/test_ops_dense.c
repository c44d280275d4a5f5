/* Linear layers, flattening, attention, the gate, sums and dropout. */
#include "tests/unit/ref.h"
#include "tests/unit/slopes.h"
#include "tests/unit/test.h"

static void finish(engine *e, int y, const char *what, size_t k, double limit)
{
	CHECK_OK(engine_build(e, y));
	const char *wrong = slopes_check(e, y, k, limit);
	if (wrong)
		TEST_END(1, "%s %zu: %s", what, k, wrong);
	engine_close(e);
}

TEST(linear_layers)
{
	/* up to 32 rows by kernels of our own where inputs are multiples of 16 */
	static const struct { int n, items, in, out; } c[] = { { 1, 1, 1, 1 }, { 3, 3, 5, 17 }, { 4, 2, 64, 3 }, { 16, 16, 33, 40 }, { 1, 1, 16, 1 }, { 16, 13, 64, 40 }, { 20, 18, 48, 19 }, { 40, 37, 16, 5 }, { 2, 0, 4, 3 } };
	for (size_t k = 0; k < VQ_COUNT(c); k++) {
		engine e;
		engine_open(&e, (engine_spec){ .n = c[k].n, .h = 1, .w = 1 });
		e.step.items = c[k].items; /* rows behind the last item are 0 and their gradient is not looked at */
		int x = engine_input(&e, VQ_F32, c[k].n, 1, 1, c[k].in, -1);
		finish(&e, vq_layer_linear(&e.b, x, "l", c[k].out), "linear", k, 1e-5);
	}
}

/* The order is that of PyTorch's flatten of NCHW. */
TEST(flattening)
{
	engine e;
	double x[2 * 2 * 3 * 2], y[24];
	engine_open(&e, (engine_spec){ .n = 2, .h = 2, .w = 3, .inference = true });
	int in = engine_input(&e, VQ_F32, 2, 2, 3, 2, 0), out = vq_layer_flatten(&e.b, in);
	CHECK_OK(engine_build(&e, out));
	for (int i = 0; i < 24; i++)
		x[i] = i;
	engine_fill(&e, in, x);
	CHECK_OK(engine_run(&e, VQ_FORWARD));
	engine_get(&e, out, y);
	for (int n = 0; n < 2; n++)
		for (int c = 0; c < 2; c++)
			for (int p = 0; p < 6; p++)
				CHECK(y[n * 12 + c * 6 + p] == n * 12 + p * 2 + c);
	engine_close(&e);
}

/* A global code's way: pool, flatten, two layers, back to a little canvas, up again. */
TEST(global_codes)
{
	static const vq_place place[2] = { { { 0, 0, 0, 8, 12 }, { 0, 1, 2, 6, 9 } }, { { 1, 0, 0, 5, 4 }, { 1, 1, 0, 2, 1 } } };
	for (int act = VQ_FN_NONE; act <= VQ_FN_GELU; act++) {
		engine e;
		engine_open(&e, (engine_spec){ .n = 3, .h = 8, .w = 12, .items = 3, .packed = true });
		for (int i = 0; i < 2; i++)
			engine_place(&e, i, place[i].extent, place[i].valid);
		e.step.items = 2;
		int x = engine_input(&e, VQ_F32, 3, 8, 12, 5, 0);
		int h = vq_layer_linear(&e.b, vq_layer_flatten(&e.b, vq_layer_pool(&e.b, x, 2)), "a", 7);
		h = vq_layer_linear(&e.b, vq_layer_act(&e.b, h, (vq_act)act), "b", 3 * 2 * 2);
		h = vq_layer_deconv(&e.b, vq_layer_unflatten(&e.b, h, 2, 2, 3), "c", 4, (vq_conv_spec){ .k = 4, .s = 2, .p = 1, .bias = true, .sum = -1 });
		finish(&e, h, "global", (size_t)act, 1e-4);
	}
}

typedef struct { int n, h, w, c, inner; int items; vq_place place[3]; } attention_case;

static const attention_case attentions[] = {
	{ 1, 1, 1, 3, 1 },
	{ 2, 3, 4, 5, 2 },
	{ 1, 9, 9, 16, 4 },     /* more than one block of queries */
	{ 2, 9, 10, 5, 3, 3, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 0, 5, 0, 4, 9 }, { 0, 5, 0, 4, 9 } }, { { 1, 2, 3, 1, 1 }, { 1, 2, 3, 1, 1 } } } },
	{ 1, 9, 10, 3, 2, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 0, 0 } }, { { 0, 5, 0, 4, 9 }, { 0, 5, 0, 4, 9 } } } }, /* an item without a valid position */
};

/* Queries, keys and values given. */
TEST(attention_alone)
{
	for (size_t k = 0; k < VQ_COUNT(attentions); k++)
		for (vq_dtype t = VQ_BF16; t <= VQ_F32; t++) {
			const attention_case *c = &attentions[k];
			engine e;
			engine_open(&e, (engine_spec){ .n = c->n, .h = c->h, .w = c->w, .items = c->items, .packed = c->items > 0, .compute = t });
			for (int i = 0; i < c->items; i++)
				engine_place(&e, i, c->place[i].extent, c->place[i].valid);
			int in[3];
			for (int i = 0; i < 3; i++)
				in[i] = engine_input(&e, t, c->n, c->h, c->w, i == 2 ? c->c : c->inner, 0);
			int o = vq_value_new(&e.b, VQ_AT_ARENA, t, c->n, c->h, c->w, c->c, 0);
			vq_node *n = vq_node_new(&e.b, VQ_OP_ATTENTION, VQ_FORWARD);
			CHECK(n);
			memcpy(n->in, in, sizeof in);
			n->out[0] = o;
			finish(&e, o, t == VQ_BF16 ? "attention in bf16" : "attention", k, t == VQ_BF16 ? 3e-2 : 5e-5);
		}
}

/* With its projections and the gate. */
TEST(attention_layers)
{
	for (size_t k = 0; k < VQ_COUNT(attentions); k++) {
		const attention_case *c = &attentions[k];
		engine e;
		engine_open(&e, (engine_spec){ .n = c->n, .h = c->h, .w = c->w, .items = c->items, .packed = c->items > 0 });
		for (int i = 0; i < c->items; i++)
			engine_place(&e, i, c->place[i].extent, c->place[i].valid);
		int x = engine_input(&e, VQ_F32, c->n, c->h, c->w, c->c, 0);
		finish(&e, vq_layer_attention(&e.b, x, "att", c->inner), "attention layer", k, 1e-4);
	}
}

/* Values that are used more than once, sums of a value with itself, inputs that take no gradient. */
TEST(values_used_twice)
{
	for (int kind = 0; kind < 4; kind++) {
		engine e;
		engine_open(&e, (engine_spec){ .n = 2, .h = 5, .w = 6 });
		vq_conv_spec three = { .k = 3, .s = 1, .p = 1, .bias = true, .sum = -1 };
		int x = engine_input(&e, VQ_F32, 2, 5, 6, 3, 0), y, a = vq_layer_conv(&e.b, x, "a", 3, three);
		switch (kind) {
		case 0: y = vq_layer_add(&e.b, a, a); break;
		case 1: y = vq_layer_add(&e.b, vq_layer_act(&e.b, a, VQ_FN_SILU), vq_layer_act(&e.b, a, VQ_FN_GELU)); break;
		case 2: y = vq_layer_add(&e.b, vq_layer_conv(&e.b, a, "b", 3, three), vq_layer_add(&e.b, a, x)); break;
		default: y = vq_layer_conv(&e.b, vq_layer_add(&e.b, x, vq_layer_act(&e.b, x, VQ_FN_SILU)), "a2", 2, three);
		}
		finish(&e, y, "twice", (size_t)kind, 1e-4);
	}
}

/* Keeps 1-p of the values, scaled up, the same ones backward; others in the next step; nothing at rest. */
TEST(dropout)
{
	enum { N = 40000 };
	engine e;
	engine_open(&e, (engine_spec){ .n = 1, .h = 1, .w = 1 });
	int x = engine_input(&e, VQ_F32, 1, 1, 1, N, -1), y = vq_layer_dropout(&e.b, x, .3f);
	CHECK_OK(engine_build(&e, y));
	double *ones = ref_new(N), *a = ref_new(N), *b = ref_new(N);
	for (int i = 0; i < N; i++)
		ones[i] = 1;
	for (int step = 0; step < 3; step++) {
		double kept = 0, changed = 0;
		e.step.seed = 5;
		e.step.step = (uint64_t)step;
		engine_fill(&e, x, ones);
		engine_fill_seed(&e, ones);
		CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
		memcpy(b, a, N * sizeof *b);
		engine_get(&e, y, a);
		for (int i = 0; i < N; i++) {
			CHECK(a[i] == 0 || fabs(a[i] - 1 / .7) < 1e-6);
			kept += a[i] > 0;
			changed += (a[i] > 0) != (b[i] > 0);
		}
		CHECK_NEAR(kept / N, .7, .01);
		CHECK(!step || fabs(changed / N - .42) < .02);
		engine_get(&e, engine_gradient(&e, x), b);
		CHECK(!memcmp(a, b, N * sizeof *a));
	}
	engine_close(&e);
	engine_open(&e, (engine_spec){ .n = 1, .h = 1, .w = 1, .inference = true });
	x = engine_input(&e, VQ_F32, 1, 1, 1, 4, -1);
	CHECK(vq_layer_dropout(&e.b, x, .3f) == x);
	engine_close(&e);
	free(ones); free(a); free(b);
}

TEST_MAIN(RUN(linear_layers) RUN(flattening) RUN(global_codes) RUN(attention_alone) RUN(attention_layers) RUN(values_used_twice) RUN(dropout))
