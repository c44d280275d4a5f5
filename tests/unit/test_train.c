/* The trainer on a small world of made-up cells, through its callbacks: its bounds and ends, and its codebooks. */
#include "lib/model/graph.h"
#include "tests/unit/test.h"
#include "tests/unit/world.h"

static world w;
static const double QUALITY = 16; /* dB after 100 steps in f32, on the CPU */

/* --- the run ------------------------------------------------------------------------------------------------------- */

TEST(training_lowers_the_loss)
{
	world_open(&w);
	w.config.max_steps = 120;
	CHECK_OK(world_run(&w, 1));
	CHECK(w.epochs > 10 && w.epochs <= EPOCHS_MAX);
	CHECK(last(&w)->train.recon < .3 * w.epoch[0].train.recon);
	CHECK(last(&w)->val.recon < .3 * w.epoch[0].val.recon);
	CHECK(last(&w)->val.psnr > w.epoch[0].val.psnr + 3);
	CHECK(w.steps == 120 && last(&w)->step == 120);
	double best = INFINITY;
	for (int i = 0; i < w.epochs; i++) {
		const vq_epoch *e = &w.epoch[i];
		CHECK(e->epoch == i + 1 && e->last == (i == w.epochs - 1));
		CHECK(e->best == (e->val.loss < best));
		best = fmin(best, e->val.loss);
		CHECK(e->train.usage > 0 && e->train.usage <= 1 && e->train.perplexity >= 1 && e->train.perplexity <= 16 * e->train.usage + 1e-9);
		CHECK(e->val.cells == 4 && e->grad_norm > 0);
		CHECK_NEAR(e->val.loss, e->val.recon + .25 * e->val.commit, 1e-9);
	}
	CHECK(isfinite(last(&w)->val.ssim) && isnan(last(&w)->train.psnr));
	world_close(&w);
}

static double mean_psnr(int precision)
{
	double sum = 0;
	for (int seed = 0; seed < 4; seed++) {
		world_open(&w);
		w.config.max_steps = 100;
		w.config.seed = seed;
		w.config.mixed_precision = precision;
		CHECK_OK(world_run(&w, 1));
		sum += last(&w)->val.psnr;
		world_close(&w);
	}
	return sum / 4;
}

/* For devices whose machine has no CPU backend beside them. Over 8 seeds bf16 and f32 differed by 0.2 dB (deviation) on the CPU. */
TEST(either_type_reaches_the_quality_of_the_cpu)
{
	static const int types[] = { VQ_PRECISION_OFF, VQ_PRECISION_BF16 };
	for (size_t i = 0; i < VQ_COUNT(types); i++) {
		if (i && !engine_has_bf16())
			SKIP("f32 alone: no bf16 instructions");
		double psnr = mean_psnr(types[i]);
		if (getenv("VQ_SHOW"))
			printf("# %s: %.2f dB\n", i ? "bf16" : "f32", psnr);
		if (!(psnr > QUALITY - .5))
			TEST_END(1, "%s: %.2f dB", i ? "bf16" : "f32", psnr);
	}
}

TEST(two_runs_are_identical)
{
	for (int way = 0; way < 4; way++) {
		int threads = way % 2 + 1;
		if (way == 2 && !engine_has_bf16())
			SKIP("f32 alone: no bf16 instructions");
		world_open(&w);
		w.config.max_steps = threads == 2 ? 8 : 40; /* threads that have to wait for others' cores are slow */
		w.config.mixed_precision = way < 2 ? VQ_PRECISION_OFF : VQ_PRECISION_BF16;
		CHECK_OK(world_run(&w, threads));
		weights a = world_weights(&w);
		vq_epoch e = *last(&w);
		CHECK_OK(world_run(&w, threads));
		weights b = world_weights(&w);
		CHECK(same_weights(&a, &b));
		CHECK(e.val.loss == last(&w)->val.loss && e.train.loss == last(&w)->train.loss && e.pixels == last(&w)->pixels);
		w.config.seed = 1;
		CHECK_OK(world_run(&w, threads));
		weights c = world_weights(&w);
		CHECK(!same_weights(&a, &c));
		weights_free(&a);
		weights_free(&b);
		weights_free(&c);
		world_close(&w);
	}
}

TEST(one_and_two_threads_nearly_agree)
{
	world_open(&w);
	w.config.max_steps = 6;
	CHECK_OK(world_run(&w, 1));
	weights a = world_weights(&w);
	double loss = last(&w)->val.loss;
	CHECK_OK(world_run(&w, 2));
	weights b = world_weights(&w);
	CHECK(far_apart(&a, &b, 1) < 2e-3);
	CHECK_NEAR(last(&w)->val.loss, loss, 1e-3 * loss);
	weights_free(&a);
	weights_free(&b);
	world_close(&w);
}

TEST(bounds_on_the_run)
{
	world_open(&w);
	w.config.max_steps = 0;
	w.config.epochs = 3;
	CHECK_OK(world_run(&w, 1));
	CHECK(w.epochs == 3 && last(&w)->last && !w.epoch[1].last);
	w.config.epochs = 1;
	CHECK_OK(world_run(&w, 1));
	CHECK(w.epochs == 1 && last(&w)->last);
	w.config.epochs = 100;
	w.config.max_steps = 7;
	CHECK_OK(world_run(&w, 1));
	CHECK(w.steps == 7 && last(&w)->step == 7 && last(&w)->last);
	w.stop_after = 4;
	CHECK_OK(world_run(&w, 1));
	CHECK(w.steps == 4 && last(&w)->step == 4 && last(&w)->last);
	w.stop_after = 0;
	w.config.max_steps = 0;
	w.config.epochs = 0;
	w.config.max_seconds = .5;
	double began = vq_seconds();
	CHECK_OK(world_run(&w, 1));
	CHECK(last(&w)->last && vq_seconds() - began < 1.5);
	/* time that was over before it began */
	w.config.max_seconds = 1e-6;
	CHECK_OK(world_run(&w, 1));
	CHECK(w.epochs == 1 && w.steps == 1 && last(&w)->last && last(&w)->step == 1 && last(&w)->best);
	CHECK_NEAR(last(&w)->lr, w.config.learning_rate, 1e-9);
	world_close(&w);
}

/* The second epoch is the last where its end takes the time that is left: no step is made whose own end would not fit. */
TEST(no_time_for_another_end)
{
	world_open(&w);
	w.config.max_steps = 0;
	w.config.max_seconds = 3;
	w.pause = 1.2;
	CHECK_OK(world_run(&w, 1));
	CHECK(w.epochs == 2 && w.epoch[1].last && !w.epoch[0].last);
	CHECK(w.steps == last(&w)->step);
	world_close(&w);
}

TEST(early_stopping)
{
	world_open(&w);
	w.config.max_steps = 4000;
	w.config.learning_rate = .05; /* nothing good comes of it */
	w.config.use_early_stopping = true;
	w.config.early_stopping_patience = 3;
	CHECK_OK(world_run(&w, 1));
	CHECK(w.epochs > 3 && last(&w)->step < 4000 && last(&w)->last);
	for (int i = 1; i <= 3; i++)
		CHECK(!w.epoch[w.epochs - i].best);
	CHECK(w.epoch[w.epochs - 4].best);
	world_close(&w);
}

TEST(a_loss_that_is_not_finite_ends_the_run)
{
	world_open(&w);
	vq_cell *c = &w.cell[3];
	((float *)c->pixels)[c->h / 2 * c->w + c->w / 2] = NAN;
	CHECK_FAILS(world_run(&w, 1), VQ_EBACKEND);
	CHECK_HAS(vq_message(), ": the loss is not finite: first in enc.0 (conv), in the first 1 of its ");
	const uint32_t *cell;
	CHECK(vq_trainer_failed(w.t, &cell) > 1 && cell[0] == 3);
	world_close(&w);
}

static void open_improved(void)
{
	static const char *const sets[] = { "levels=2", "channels_per_level=[8,16]", "embedding_dim=8", "num_embeddings=16", "hidden=[24]", "head_channels=8", "use_perceptual_loss=false",
		"batch_size=4", "pad_multiple=4", "pad_min=4", "content_weighting=false", "epochs=0" };
	world_open(&w);
	CHECK_OK(vq_config_read(&w.config, "configs/improved.json"));
	for (size_t i = 0; i < VQ_COUNT(sets); i++)
		CHECK_OK(vq_config_set(&w.config, sets[i]));
	CHECK_OK(vq_config_check(&w.config));
}

/* Batch norm, attention, one code a cell: whichever layer it is, it is named, and the cell whose pixels are at fault comes first. */
TEST(the_layer_of_improved_that_is_not_finite_is_named)
{
	static const struct { const char *param, *says; } cases[] = { { "down.1.bn.weight", "down.1.bn (norm)" }, { "res.0.conv2.weight", "res.0.conv2 (conv)" },
		{ "attention.value.weight", "attention.value (conv)" }, { "attention.gamma", "attention (gate)" }, { "to_code.0.weight", "to_code.0 (linear)" },
		{ "from_code.0.weight", "from_code.0 (linear)" }, { "out.bias", "out (conv)" } };
	const uint32_t *cell;
	open_improved();
	for (size_t i = 0; i < VQ_COUNT(cases); i++) {
		CHECK_OK(world_make(&w, 1));
		const vq_params *p = vq_trainer_params(w.t);
		weights x = world_weights(&w);
		int at = vq_params_find(p, cases[i].param);
		CHECK(at >= 0 && p->p[at].trainable);
		x.v[1][p->p[at].offset] = NAN;
		CHECK_OK(vq_trainer_load(w.t, x.v[0], x.v[1]));
		weights_free(&x);
		CHECK_FAILS(vq_trainer_run(w.t), VQ_EBACKEND);
		CHECK_HAS(vq_message(), "step 1: the "); /* loss, or gradient's norm where a relu hides it from the loss */
		CHECK_HAS(vq_message(), " is not finite: first in ");
		CHECK_HAS(vq_message(), cases[i].says);
		CHECK(vq_trainer_failed(w.t, &cell) > 0 && w.epochs == 0);
	}
	vq_cell *c = &w.cell[3];
	((float *)c->pixels)[c->h / 2 * c->w + c->w / 2] = NAN;
	CHECK_FAILS(world_run(&w, 1), VQ_EBACKEND);
	CHECK_HAS(vq_message(), ": the loss is not finite: first in down.0.conv (conv)");
	CHECK(vq_trainer_failed(w.t, &cell) > 0 && cell[0] == 3);
	world_close(&w);
}

TEST(a_norm_that_is_not_finite_ends_the_run)
{
	world_open(&w);
	w.config.accumulate = 2;
	w.config.reconstruction_loss_weight = 1e38; /* the loss that is summed is without it, its gradient is not */
	vq_cell *c = &w.cell[3];
	((float *)c->pixels)[c->h / 2 * c->w + c->w / 2] = 1e15f;
	CHECK_FAILS(world_run(&w, 1), VQ_EBACKEND);
	CHECK_HAS(vq_message(), "step 1: the gradient's norm is not finite: first in ");
	const uint32_t *cell;
	bool there = false;
	for (int i = 0, n = vq_trainer_failed(w.t, &cell); i < n; i++)
		there |= cell[i] == 3;
	CHECK(there);
	/* nothing was changed by it */
	weights x = world_weights(&w);
	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < x.n[k]; i++)
			CHECK(isfinite(x.v[k][i]));
	free(x.v[0]);
	free(x.v[1]);
	world_close(&w);
}

TEST(a_validation_loss_that_is_not_finite_ends_the_run)
{
	world_open(&w);
	vq_cell *c = &w.cell[CELLS - 1];
	((float *)c->pixels)[c->h / 2 * c->w + c->w / 2] = INFINITY;
	CHECK_FAILS(world_run(&w, 1), VQ_EBACKEND);
	CHECK_HAS(vq_message(), ": the validation loss is not finite: first in enc.0 (conv), in the first 1 of its 4 records");
	const uint32_t *cell;
	CHECK(vq_trainer_failed(w.t, &cell) == 4 && cell[0] == CELLS - 1 && w.epochs == 0);
	world_close(&w);
}

TEST(what_cannot_be_trained)
{
	world_open(&w);
	w.config.use_perceptual_loss = true;
	CHECK_FAILS(world_make(&w, 1), VQ_EINVAL);
	CHECK_HAS(vq_message(), "use_perceptual_loss is on, without a network");
	w.config.use_perceptual_loss = false;
	CHECK_OK(vq_trainer_check(&w.config));
	world_close(&w);
}

/* --- the codebook -------------------------------------------------------------------------------------------------- */

static float *book_of(const weights *x, const char *part, const vq_params *p)
{
	char name[64];
	snprintf(name, sizeof name, "quantizer.%s", part);
	int i = vq_params_find(p, name);
	return i < 0 ? NULL : x->v[0] + p->p[i].offset;
}

TEST(the_codebook_starts_from_data)
{
	for (int how = VQ_START_DATA; how <= VQ_START_KMEANS; how++) {
		world_open(&w);
		w.config.codebook_start = how;
		w.config.max_steps = 1;
		w.config.learning_rate = 1e-9;
		w.config.ema_decay = .9;
		CHECK_OK(world_run(&w, 1));
		/* every row is an encoder output or a centre of some: most are in use at once */
		CHECK(last(&w)->train.usage > .7);
		weights x = world_weights(&w);
		float *count = book_of(&x, "ema_count", vq_trainer_params(w.t));
		double total = 0;
		for (int i = 0; i < 16; i++)
			total += (double)count[i];
		CHECK(total > 0);
		weights_free(&x);
		world_close(&w);
	}
}

/* All rows but one far away: nothing uses them until they are revived. */
static void load_dead(world *d)
{
	CHECK_OK(world_make(d, 1));
	weights x = world_weights(d);
	const vq_params *p = vq_trainer_params(d->t);
	float *book = book_of(&x, "codebook", p), *count = book_of(&x, "ema_count", p), *sum = book_of(&x, "ema_sum", p);
	CHECK(book && count && sum);
	for (int i = 0; i < 16; i++) {
		count[i] = i == 5 ? 100 : .01f;
		for (int j = 0; j < 8; j++) {
			book[i * 8 + j] = i == 5 ? 0 : 1000;
			sum[i * 8 + j] = book[i * 8 + j] * count[i];
		}
	}
	CHECK_OK(vq_trainer_load(d->t, x.v[0], x.v[1]));
	weights_free(&x);
}

TEST(dead_codes_are_revived)
{
	world_open(&w);
	w.config.revive_every = 5;
	w.config.revive_threshold = .03;
	w.config.max_steps = 60;
	load_dead(&w);
	CHECK_OK(vq_trainer_run(w.t));
	CHECK(w.revived >= 15);
	CHECK(w.epoch[0].train.usage < .1 && last(&w)->train.usage > .4);
	weights x = world_weights(&w);
	float *book = book_of(&x, "codebook", vq_trainer_params(w.t)), *count = book_of(&x, "ema_count", vq_trainer_params(w.t));
	for (int i = 0; i < 16 * 8; i++)
		CHECK(fabsf(book[i]) < 100 && count[i / 8] > 0);
	weights_free(&x);

	/* none after the fraction of the run that revive_until names, and none when it is off */
	w.config.revive_until = 0;
	load_dead(&w);
	CHECK_OK(vq_trainer_run(w.t));
	CHECK(w.revived == 0 && last(&w)->train.usage < .1);
	w.config.revive_until = 1;
	w.config.revive_threshold = 0;
	load_dead(&w);
	CHECK_OK(vq_trainer_run(w.t));
	CHECK(w.revived == 0);
	world_close(&w);
}

TEST_MAIN(RUN(training_lowers_the_loss) RUN(either_type_reaches_the_quality_of_the_cpu) RUN(two_runs_are_identical) RUN(one_and_two_threads_nearly_agree)
	RUN(bounds_on_the_run) RUN(no_time_for_another_end) RUN(early_stopping) RUN(a_loss_that_is_not_finite_ends_the_run) RUN(the_layer_of_improved_that_is_not_finite_is_named)
	RUN(a_norm_that_is_not_finite_ends_the_run) RUN(a_validation_loss_that_is_not_finite_ends_the_run) RUN(what_cannot_be_trained)
	RUN(the_codebook_starts_from_data) RUN(dead_codes_are_revived))
