/* Optimisers and learning rates beside PyTorch's, on gradients and losses of tests/golden/parity-steps.safetensors, which
 * tests/oracle/parity.py made: CASE.grad [5,210] is what the steps get, CASE.after [5,210] the parameters after each, start [210] those before. */
#include "formats/safetensors.h"
#include "lib/train/schedule.h"
#include "tests/unit/engine.h"
#include "tests/unit/test.h"

enum { STEPS = 5, IN = 20, OUT = 10, COUNT = IN * OUT + OUT };

static const char path[] = "tests/golden/parity-steps.safetensors";

static const struct { const char *name; vq_optimizer o; double lr; } cases[] = {
	{ "adamw", { VQ_ADAMW, .9f, .999f, 1e-8f, .1f, 0, 0 }, .01 }, { "adamw-clipped", { VQ_ADAMW, .9f, .99f, 1e-8f, 1e-4f, 0, .5f }, .01 },
	{ "adam", { VQ_ADAM, .9f, .999f, 1e-8f, .1f, 0, 0 }, .01 }, { "sgd", { VQ_SGD, 0, 0, 0, .01f, .9f, 0 }, .05 },
	{ "sgd-clipped", { VQ_SGD, 0, 0, 0, 0, 0, 1.5f }, .05 }, { "sgd-below-clip", { VQ_SGD, 0, 0, 0, .01f, .5f, 1e6f }, .05 },
};

static void get(vq_st *st, const char *name, const char *part, vq_tensor *t)
{
	char key[64];
	snprintf(key, sizeof key, "%s%s%s", name, part ? "." : "", part ? part : "");
	CHECK_OK(vq_st_tensor(st, key, t));
}

/* The weight [OUT,IN], then the bias, as one row. */
static void put(engine *e, vq_buf_kind kind, const float *x)
{
	const vq_param *w = &e->params.p[vq_params_find(&e->params, "l.weight")], *b = &e->params.p[vq_params_find(&e->params, "l.bias")];
	CHECK_OK(e->be->store_write(e->store, kind, w->offset, IN * OUT, x));
	CHECK_OK(e->be->store_write(e->store, kind, b->offset, OUT, x + IN * OUT));
}

static void take(engine *e, double *x)
{
	engine_get_param(e, "l.weight", x);
	engine_get_param(e, "l.bias", x + IN * OUT);
}

static void one(vq_st *st, size_t k)
{
	engine e;
	vq_tensor start, grad, after;
	double got[COUNT], want[COUNT];
	get(st, "start", NULL, &start);
	get(st, cases[k].name, "grad", &grad);
	get(st, cases[k].name, "after", &after);
	CHECK(start.ndim == 1 && start.shape[0] == COUNT && grad.ndim == 2 && grad.shape[0] == STEPS && grad.shape[1] == COUNT && after.shape[1] == COUNT);
	engine_open(&e, (engine_spec){ .n = 2, .h = 1, .w = 1, .update = &cases[k].o });
	int x = engine_input(&e, VQ_F32, 2, 1, 1, IN, -1), y = vq_layer_linear(&e.b, x, "l", OUT);
	CHECK_OK(engine_build(&e, y));
	put(&e, VQ_BUF_PARAM, start.data);
	for (int i = 0; i < STEPS; i++) {
		put(&e, VQ_BUF_GRAD, (const float *)grad.data + i * COUNT);
		e.step.step = (uint64_t)i;
		e.step.lr = (float)cases[k].lr;
		CHECK_OK(engine_run(&e, VQ_UPDATE));
		take(&e, got);
		for (int j = 0; j < COUNT; j++)
			want[j] = (double)((const float *)after.data)[i * COUNT + j];
		double error = engine_error(COUNT, got, want);
		if (!(error <= 1e-6))
			TEST_END(1, "%s: off by %.3g after step %d", cases[k].name, error, i + 1);
	}
	engine_close(&e);
	vq_tensor_free(&start);
	vq_tensor_free(&grad);
	vq_tensor_free(&after);
}

TEST(optimisers)
{
	vq_st *st;
	CHECK_OK(vq_st_open(&st, path));
	for (size_t k = 0; k < VQ_COUNT(cases); k++)
		one(st, k);
	vq_st_close(st);
}

/* CosineAnnealingLR over 20 steps, StepLR of 3 epochs, and ReduceLROnPlateau with patience 2 and no threshold. */
TEST(learning_rates)
{
	vq_st *st;
	vq_tensor t, loss;
	vq_config c;
	vq_plateau p;
	CHECK_OK(vq_st_open(&st, path));
	vq_config_defaults(&c);
	c.learning_rate = .3;
	c.warmup_steps = 0;
	c.step_size = 3;
	c.step_gamma = .2;
	c.plateau_patience = 2;
	c.plateau_factor = .5;
	vq_plateau_start(&p);
	get(st, "lr", "cosine", &t);
	CHECK(t.shape[0] == 20 && t.dtype == VQ_F64);
	for (int i = 0; i < 20; i++)
		CHECK_NEAR(vq_schedule_lr(&c, &p, i / 20., i, 0), ((const double *)t.data)[i], 1e-12);
	vq_tensor_free(&t);
	get(st, "lr", "step", &t);
	c.scheduler_type = VQ_SCHED_STEP;
	CHECK(t.shape[0] == 12);
	for (int i = 0; i < 12; i++)
		CHECK_NEAR(vq_schedule_lr(&c, &p, i / 12., 7 * i, i), ((const double *)t.data)[i], 1e-12);
	vq_tensor_free(&t);
	get(st, "lr", "plateau", &t);
	get(st, "lr", "losses", &loss);
	c.scheduler_type = VQ_SCHED_PLATEAU;
	CHECK(t.shape[0] == loss.shape[0] && t.shape[0] > 10);
	for (int64_t i = 0; i < t.shape[0]; i++) {
		vq_plateau_epoch(&p, &c, ((const double *)loss.data)[i]);
		CHECK_NEAR(vq_schedule_lr(&c, &p, .5, i, i), ((const double *)t.data)[i], 1e-12);
	}
	vq_tensor_free(&t);
	vq_tensor_free(&loss);
	vq_st_close(st);
}

TEST_MAIN(RUN(optimisers) RUN(learning_rates))
