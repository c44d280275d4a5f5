/* The trainer on the small world of tests/unit/world.h, through its callbacks; and its parts: schedule, sampler, augmentation, loss weights. */
#include "formats/config.h"
#include "lib/model/graph.h"
#include "lib/train/batch.h"
#include "lib/train/collapse.h"
#include "tests/unit/world.h"
#include "tools/codec.h"

/* --- the run ------------------------------------------------------------------------------------------------------- */

static world w;

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

TEST(two_runs_are_identical)
{
	for (int way = 0; way < 4; way++) {
		int threads = way % 2 + 1;
		world_open(&w);
		w.config.max_steps = threads == 2 ? 8 : 40; /* threads that have to wait for others' cores are slow */
		w.config.mixed_precision = way < 2 ? VQ_PRECISION_OFF : VQ_PRECISION_AUTO;
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

/* --- what comes out ------------------------------------------------------------------------------------------------ */

static void to_model(world *from, vq_model *m)
{
	*m = (vq_model){ .config = from->config, .channels = CHANNELS };
	CHECK_OK(vq_model_setup(m));
	CHECK_OK(vq_trainer_read(from->t, m->state, m->param));
}

static void check_reconstruction(world *d, codec *encoder, codec *decoder, uint32_t i, double tolerance)
{
	cell_codes k;
	float *want;
	size_t n = CHANNELS * (size_t)d->cell[i].h * (size_t)d->cell[i].w;
	float *got = vq_malloc(n * sizeof *got);
	CHECK_OK(vq_trainer_reconstruct(d->t, i, got));
	CHECK_OK(codec_encode(encoder, 0, &d->cell[i], false, &k));
	CHECK_OK(codec_decode(decoder, 0, &k, &want));
	for (size_t j = 0; j < n; j++)
		CHECK_NEAR((double)got[j], (double)want[j], tolerance);
	cell_codes_free(&k);
	free(want);
	free(got);
}

TEST(reconstruct_is_encode_and_decode)
{
	vq_model m;
	codec *e, *d;
	for (int average = 0; average < 2; average++) {
		world_open(&w);
		w.config.weight_average = average ? .9 : 0;
		CHECK_OK(world_run(&w, 1));
		to_model(&w, &m);
		CHECK_OK(codec_open(&e, &m, engine_device(), 1, CODEC_ENCODE));
		CHECK_OK(codec_open(&d, &m, engine_device(), 1, CODEC_DECODE));
		for (uint32_t i = 0; i < CELLS; i += 5)
			check_reconstruction(&w, e, d, i, 2e-5);
		codec_close(e);
		codec_close(d);
		vq_model_free(&m);
		world_close(&w);
	}
}

/* What a cell becomes does not depend on the canvas it stands on: sums over the validation cells agree for all of them. */
TEST(packed_on_any_canvas)
{
	double loss = 0, psnr = 0;
	weights x = {0};
	static const int pixels[] = { 1024, 8192, 40000, 200000 };
	world_open(&w);
	CHECK_OK(world_run(&w, 1));
	x = world_weights(&w);
	w.config.max_steps = 1;
	w.config.learning_rate = 1e-9;
	w.config.ema_decay = .99999;
	w.config.revive_threshold = 0;
	for (size_t i = 0; i < VQ_COUNT(pixels); i++) {
		w.config.pixels_per_step = pixels[i];
		CHECK_OK(world_make(&w, 1));
		CHECK_OK(vq_trainer_load(w.t, x.v[0], x.v[1]));
		CHECK_OK(vq_trainer_run(w.t));
		if (i) {
			CHECK_NEAR(last(&w)->val.loss, loss, 2e-4 * loss);
			CHECK_NEAR(last(&w)->val.psnr, psnr, 1e-2);
		}
		loss = last(&w)->val.loss;
		psnr = last(&w)->val.psnr;
	}
	weights_free(&x);
	world_close(&w);
}

/* How far b's parameters are from a's, beside how far a's came from where they began. */
static double beside_step(const weights *a, const weights *b, const weights *start)
{
	double off = 0, far = 0;
	for (size_t i = 0; i < a->n[1]; i++) {
		off += pow((double)a->v[1][i] - (double)b->v[1][i], 2);
		far += pow((double)a->v[1][i] - (double)start->v[1][i], 2);
	}
	return sqrt(off / far);
}

/* Batches of cells of many sizes; SGD, so that the parameters go where the gradient points, as far as it is long. */
static void accumulated(void)
{
	w.config.optimizer = VQ_OPT_SGD;
	w.config.learning_rate = .5;
	w.config.max_steps = 1;
	w.config.augment_flip = false;
	w.config.batch_size = 8;
	w.config.pixels_per_step = 40000;
	CHECK_OK(world_make(&w, 1));
	weights start = world_weights(&w);
	CHECK_OK(world_run(&w, 1));
	weights a = world_weights(&w);
	double norm = last(&w)->grad_norm, loss = last(&w)->train.loss;
	uint64_t seen = last(&w)->pixels;
	CHECK(last(&w)->train.cells == 8);
	w.config.batch_size = 2;
	w.config.accumulate = 4;
	CHECK_OK(world_run(&w, 1));
	weights b = world_weights(&w);
	CHECK(last(&w)->pixels == seen && last(&w)->train.cells == 8);
	CHECK_NEAR(last(&w)->grad_norm, norm, 1e-5 * norm);
	CHECK_NEAR(last(&w)->train.loss, loss, 1e-5 * loss);
	CHECK(far_apart(&a, &start, 1) > 0);
	CHECK_NEAR(beside_step(&a, &b, &start), 0, 1e-5);
	CHECK_NEAR(far_apart(&a, &b, 0), 0, 1e-5);
	weights_free(&start);
	weights_free(&a);
	weights_free(&b);
}

TEST(accumulated_batches_are_one_step)
{
	world_open(&w);
	accumulated();
	world_close(&w);
}

TEST(accumulated_batches_of_peer_are_one_step)
{
	world_open(&w);
	CHECK_OK(vq_config_read(&w.config, "configs/peer.json"));
	w.config.channels_per_level.v[0] = 8;
	w.config.channels_per_level.v[1] = 16;
	w.config.embedding_dim = 8;
	w.config.num_embeddings = 16;
	w.config.epochs = w.config.warmup_steps = 0;
	w.config.max_seconds = 0;
	w.config.mixed_precision = VQ_PRECISION_OFF;
	accumulated();
	world_close(&w);
}

/* Features of a cell over its mask, by plain loops over the whole grid. */
static void check_features(const vq_model *m, codec *c, const vq_cell *cell)
{
	cell_codes all, own;
	double n = 0, mean[8] = {0}, square[8] = {0};
	int counts[16] = {0};
	/* the latent of one position alone is the mean over a mask that holds a pixel of it */
	uint8_t *mask = vq_calloc((size_t)cell->h * (size_t)cell->w, 1);
	CHECK_OK(codec_encode(c, 0, cell, true, &own));
	int rows = cell->h / 4, row = cell->w / 4;
	for (int y = 0; y < rows; y++)
		for (int x = 0; x < row; x++) {
			vq_cell one = *cell;
			bool inside = false;
			for (int i = 0; i < 16; i++) {
				int py = 4 * y + i / 4, px = 4 * x + i % 4;
				inside |= cell->mask ? cell->mask[py * cell->w + px] == 1 :
					py >= cell->top && py < cell->top + cell->th && px >= cell->left && px < cell->left + cell->tw;
			}
			if (!inside)
				continue;
			memset(mask, 0, (size_t)cell->h * (size_t)cell->w);
			mask[(4 * y + 3) * cell->w + 4 * x + 1] = 1;
			one.mask = mask;
			CHECK_OK(codec_encode(c, 0, &one, true, &all));
			CHECK(all.codes[0][y * row + x] == own.codes[0][y * row + x]);
			CHECK(all.histogram[0][own.codes[0][y * row + x]] == 1);
			for (int k = 0; k < 8; k++) {
				CHECK(all.std[k] == 0);
				mean[k] += (double)all.mean[k];
				square[k] += (double)all.mean[k] * (double)all.mean[k];
			}
			counts[own.codes[0][y * row + x]]++;
			n++;
			cell_codes_free(&all);
		}
	CHECK(n > 0);
	for (int k = 0; k < 8; k++) {
		CHECK_NEAR((double)own.mean[k], mean[k] / n, 1e-5);
		CHECK_NEAR((double)own.std[k], sqrt(fmax(square[k] / n - mean[k] / n * (mean[k] / n), 0)), 1e-4);
	}
	for (int k = 0; k < 16; k++)
		CHECK(own.histogram[0][k] == counts[k]);
	cell_codes_free(&own);
	free(mask);
}

TEST(features_over_the_mask)
{
	vq_model m;
	codec *c;
	world_open(&w);
	CHECK_OK(world_run(&w, 1));
	to_model(&w, &m);
	CHECK_OK(codec_open(&c, &m, engine_device(), 1, CODEC_ENCODE));
	check_features(&m, c, &w.cell[0]);
	vq_cell bare = w.cell[1];
	bare.mask = NULL;
	check_features(&m, c, &bare);
	/* a mask that is empty has no features */
	cell_codes k;
	uint8_t *none = vq_calloc((size_t)bare.h * (size_t)bare.w, 1);
	bare.mask = none;
	CHECK_OK(codec_encode(c, 0, &bare, true, &k));
	for (int i = 0; i < 16; i++)
		CHECK(k.histogram[0][i] == 0 && k.mean[i % 8] == 0 && k.std[i % 8] == 0);
	cell_codes_free(&k);
	free(none);
	codec_close(c);
	vq_model_free(&m);
	world_close(&w);
}

/* --- several codebooks --------------------------------------------------------------------------------------------- */

static void several(world *d)
{
	static const char *const sets[] = { "skip=quantized", "codebook_depth=2", "skip_num_embeddings=12", "skip_embedding_dim=5" };
	world_open(d);
	for (size_t i = 0; i < VQ_COUNT(sets); i++)
		CHECK_OK(vq_config_set(&d->config, sets[i]));
	CHECK_OK(vq_config_check(&d->config));
}

TEST(every_codebook_learns_and_is_counted)
{
	static const int size[] = { 16, 16, 12 };
	several(&w);
	w.config.max_steps = 80;
	CHECK_OK(world_run(&w, 1));
	CHECK(last(&w)->val.recon < .3 * w.epoch[0].val.recon && last(&w)->train.recon < .3 * w.epoch[0].train.recon);
	for (int i = 0; i < w.epochs; i++) {
		const vq_losses *l[2] = { &w.epoch[i].train, &w.epoch[i].val };
		for (int k = 0; k < 2; k++) {
			double used = 0, commit = 0, least = INFINITY, most = 0;
			for (int j = 0; j < 3; j++) {
				const vq_level_losses *v = &l[k]->level[j];
				CHECK(v->commit > 0 && v->usage > 0 && v->usage <= 1 && v->perplexity >= 1 && v->perplexity <= v->usage * size[j] + 1e-9);
				used += v->usage * size[j];
				commit += v->commit;
				least = fmin(least, v->perplexity);
				most = fmax(most, v->perplexity);
			}
			CHECK_NEAR(l[k]->usage, used / 44, 1e-9);
			CHECK_NEAR(l[k]->commit, commit, 1e-9);
			CHECK(l[k]->perplexity >= least && l[k]->perplexity <= most);
			CHECK_NEAR(l[k]->loss, l[k]->recon + .25 * commit, 1e-9);
		}
	}
	weights a = world_weights(&w);
	CHECK_OK(world_run(&w, 1));
	weights b = world_weights(&w);
	CHECK(same_weights(&a, &b));
	weights_free(&a);
	weights_free(&b);
	world_close(&w);
}

/* Vectors of a level that are longer than `length`. */
static int far_vectors(const weights *x, const vq_params *p, const vq_code_level *l, double length)
{
	char name[64];
	int n = 0;
	snprintf(name, sizeof name, "%s.codebook", l->prefix);
	const float *v = x->v[0] + p->p[vq_params_find(p, name)].offset;
	for (int i = 0; i < l->size; i++) {
		double sum = 0;
		for (int j = 0; j < l->dim; j++)
			sum += (double)v[i * l->dim + j] * (double)v[i * l->dim + j];
		n += !(sqrt(sum) < length);
	}
	return n;
}

/* Vectors that nothing is near to are replaced, whichever codebook they are in, by what that codebook quantises. */
TEST(every_codebook_is_revived)
{
	vq_model_info info;
	several(&w);
	w.config.max_steps = 4;
	CHECK_OK(world_run(&w, 1));
	weights x = world_weights(&w);
	CHECK_OK(vq_model_describe(&w.config, CHANNELS, &info));
	CHECK(info.levels == 3);
	w.config.revive_every = 1;
	w.config.revive_until = 1;
	w.config.ema_decay = .5;
	w.config.max_steps = 12;
	for (int l = 0; l < 3; l++) {
		char name[64];
		CHECK_OK(world_make(&w, 1));
		const vq_params *p = vq_trainer_params(w.t);
		weights y = { { x.n[0], x.n[1] }, { malloc(sizeof(float) * x.n[0]), malloc(sizeof(float) * x.n[1]) } };
		memcpy(y.v[0], x.v[0], sizeof(float) * x.n[0]);
		memcpy(y.v[1], x.v[1], sizeof(float) * x.n[1]);
		for (int part = 0; part < 2; part++) {
			snprintf(name, sizeof name, "%s.%s", info.level[l].prefix, part ? "ema_sum" : "codebook");
			const vq_param *q = &p->p[vq_params_find(p, name)];
			for (size_t j = 0; j < q->count; j++)
				y.v[0][q->offset + j] = 100;
		}
		CHECK(far_vectors(&y, p, &info.level[l], 50) == info.level[l].size);
		CHECK_OK(vq_trainer_load(w.t, y.v[0], y.v[1]));
		CHECK_OK(vq_trainer_run(w.t));
		weights z = world_weights(&w);
		CHECK(w.revived > 0);
		CHECK(far_vectors(&z, vq_trainer_params(w.t), &info.level[l], 20) <= info.level[l].size / 4);
		weights_free(&y);
		weights_free(&z);
	}
	weights_free(&x);
	world_close(&w);
}

/* Decoding codes is the reconstruction of the model in memory. */
TEST(several_codebooks_through_the_codec)
{
	static const char *const sets[] = { "skip=none", "codebook_depth=1", "codebook_depth=3", "skip=quantized" };
	several(&w);
	for (size_t i = 0; i < VQ_COUNT(sets); i++) {
		vq_model m;
		codec *e, *d;
		CHECK_OK(vq_config_set(&w.config, sets[i]));
		w.config.max_steps = 6;
		CHECK_OK(world_run(&w, 1));
		to_model(&w, &m);
		CHECK_OK(codec_open(&e, &m, engine_device(), 2, CODEC_ENCODE));
		CHECK_OK(codec_open(&d, &m, engine_device(), 1, CODEC_DECODE));
		for (uint32_t k = 0; k < CELLS; k += 7)
			check_reconstruction(&w, e, d, k, 2e-5);
		codec_close(e);
		codec_close(d);
		vq_model_free(&m);
	}
	world_close(&w);
}

/* --- parts --------------------------------------------------------------------------------------------------------- */

/* Below the bound for so many epochs in a row: told once, with the keys that fit. */
TEST(a_collapsed_codebook_is_told_of_once)
{
	vq_collapse s = {0};
	vq_config c;
	vq_config_defaults(&c);
	c.codebook_start = VQ_START_NORMAL;
	for (int i = 0; i < VQ_COLLAPSE_EPOCHS - 1; i++)
		CHECK(!vq_collapse_epoch(&s, &c, .05, 100, 1e6, .5));
	CHECK(!vq_collapse_epoch(&s, &c, .2, 100, 1e6, .5)); /* it recovered */
	for (int i = 0; i < VQ_COLLAPSE_EPOCHS - 1; i++)
		CHECK(!vq_collapse_epoch(&s, &c, .05, 100, 1e6, .5));
	char *text = vq_collapse_epoch(&s, &c, .05, 100, 1e6, .5);
	CHECK_STR(text, "the codebook has collapsed: 5 of 100 codes were used (usage 0.050), and usage was below 0.1 for 5 epochs: set codebook_start to data "
		"or kmeans; or lower learning_rate (0.002), raise warmup_steps (100) or change commitment_cost (0.25), or lower num_embeddings");
	free(text);
	for (int i = 0; i < 20; i++)
		CHECK(!vq_collapse_epoch(&s, &c, .01, 100, 1e6, .5));
	static const struct { const char *set; double positions, done; const char *says; } t[] = {
		{ "codebook_update=gradient", 1e6, .5, "set codebook_update to ema" }, { "revive_threshold=0", 1e6, .5, "set revive_threshold to 0.1" },
		{ "revive_until=0.3", 1e6, .5, "raise revive_until, for no code is revived after 0.3 of the training" },
		{ "seed=1", 36, .5, "lower num_embeddings, for an epoch has 36 codes to spread over them; or lower learning_rate" },
	};
	for (size_t i = 0; i < VQ_COUNT(t); i++) {
		s = (vq_collapse){ .low = VQ_COLLAPSE_EPOCHS };
		vq_config_defaults(&c);
		CHECK_OK(vq_config_set(&c, t[i].set));
		text = vq_collapse_epoch(&s, &c, .05, 100, t[i].positions, t[i].done);
		CHECK_HAS(text, t[i].says);
		free(text);
	}
}

/* A dark world, but for one cell: what its codes are is known from the masks alone. */
TEST(usage_by_foreground_alone)
{
	world_open(&w);
	w.config.max_steps = 12;
	CHECK_OK(world_run(&w, 1));
	CHECK(last(&w)->train.front > 0 && last(&w)->train.front <= last(&w)->train.usage && last(&w)->val.front <= last(&w)->val.usage);
	for (int i = 0; i < CELLS; i++) /* all of it is the cell: the same as usage */
		memset((void *)w.cell[i].mask, 1, (size_t)w.cell[i].h * (size_t)w.cell[i].w);
	CHECK_OK(world_run(&w, 1));
	CHECK(last(&w)->train.front == last(&w)->train.usage && last(&w)->val.front == last(&w)->val.usage);
	for (int i = 0; i < CELLS; i++) { /* one pixel of one validation cell, at whichever turn: one code; and a neighbour's */
		memset((void *)w.cell[i].mask, 2, (size_t)w.cell[i].h * (size_t)w.cell[i].w);
		if (i == CELLS - 1)
			((uint8_t *)w.cell[i].mask)[(w.cell[i].h / 2) * w.cell[i].w + w.cell[i].w / 2] = 1;
	}
	CHECK_OK(world_run(&w, 1));
	CHECK(isnan(last(&w)->train.front));
	CHECK_NEAR(last(&w)->val.front, 1. / 16, 1e-12);
	world_close(&w);
}

TEST(schedules)
{
	vq_config c;
	vq_plateau p;
	vq_config_defaults(&c);
	c.learning_rate = .5;
	c.warmup_steps = 0;
	vq_plateau_start(&p);
	CHECK_NEAR(vq_schedule_lr(&c, &p, 0, 0, 0), .5, 1e-12);
	CHECK_NEAR(vq_schedule_lr(&c, &p, .25, 9, 0), .25 * (1 + sqrt(.5)), 1e-12);
	CHECK_NEAR(vq_schedule_lr(&c, &p, .5, 9, 0), .25, 1e-12);
	CHECK_NEAR(vq_schedule_lr(&c, &p, 1, 9, 0), 0, 1e-12);
	CHECK_NEAR(vq_schedule_lr(&c, &p, 1.7, 9, 0), 0, 1e-12); /* a little beyond the end is the end */
	c.lr_floor = .1;
	CHECK_NEAR(vq_schedule_lr(&c, &p, 1, 9, 0), .05, 1e-12);
	c.warmup_steps = 10;
	CHECK_NEAR(vq_schedule_lr(&c, &p, 0, 0, 0), .05, 1e-12);
	CHECK_NEAR(vq_schedule_lr(&c, &p, 0, 4, 0), .25, 1e-12);
	CHECK_NEAR(vq_schedule_lr(&c, &p, 0, 9, 0), .5, 1e-12);
	CHECK_NEAR(vq_schedule_lr(&c, &p, 0, 1000, 0), .5, 1e-12);
	c.warmup_steps = 0;
	c.lr_floor = 0;
	c.scheduler_type = VQ_SCHED_STEP;
	c.step_size = 3;
	c.step_gamma = .1;
	CHECK_NEAR(vq_schedule_lr(&c, &p, .9, 0, 2), .5, 1e-12);
	CHECK_NEAR(vq_schedule_lr(&c, &p, .9, 0, 3), .05, 1e-12);
	CHECK_NEAR(vq_schedule_lr(&c, &p, .9, 0, 6), .005, 1e-12);
	c.use_scheduler = false;
	CHECK_NEAR(vq_schedule_lr(&c, &p, .9, 0, 6), .5, 1e-12);
	c.use_scheduler = true;
	c.scheduler_type = VQ_SCHED_PLATEAU;
	c.plateau_patience = 2;
	c.plateau_factor = .5;
	static const double loss[] = { 3, 2, 2.5, 2, 2.1, 1, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5 }, lr[] = { .5, .5, .5, .5, .25, .25, .25, .25, .125, .125, .125, .0625 };
	for (size_t i = 0; i < VQ_COUNT(loss); i++) {
		vq_plateau_epoch(&p, &c, loss[i]);
		CHECK_NEAR(vq_schedule_lr(&c, &p, .3, 0, 0), lr[i], 1e-12);
	}
}

/* Draws n epochs of CELLS and counts what is drawn; every batch keeps to its sheet. */
static void draw_epochs(world *d, vq_sheet sheet, int most, int epochs)
{
	static vq_batch b;
	vq_sampler s;
	int drawn[CELLS] = {0}, total = 0;
	vq_train_calls calls = { d, get_size, get_cell, NULL, NULL };
	CHECK_OK(vq_sampler_make(&s, d->number, CELLS, 7, 1));
	CHECK(vq_sampler_done(&s));
	if (most)
		s.most = (uint32_t)most;
	for (int e = 0; e < epochs; e++) {
		vq_sampler_epoch(&s);
		while (!vq_sampler_done(&s)) {
			uint64_t pixels = 0;
			CHECK_OK(vq_batch_draw(&s, &calls, &sheet, 0, &b));
			CHECK(b.items > 0 && (!most || b.items <= most));
			for (int i = 0; i < b.items; i++) {
				const vq_cell *c = &d->cell[b.cell[i]];
				vq_place p = b.place[i];
				drawn[b.cell[i]]++;
				total++;
				CHECK(p.extent.h == c->h && p.extent.w == c->w && p.valid.h == c->th && p.valid.w == c->tw);
				CHECK(p.valid.n == p.extent.n && p.valid.y == p.extent.y + c->top && p.valid.x == p.extent.x + c->left);
				pixels += (uint64_t)c->th * (uint64_t)c->tw;
			}
			CHECK(pixels == b.pixels);
		}
		/* drawn once an epoch, or waiting for the next */
		CHECK(total + (int)s.waiting == (e + 1) * CELLS);
		for (int i = 0; i < CELLS; i++) {
			int waits = 0;
			for (uint32_t k = 0; k < s.waiting; k++)
				waits += s.wait[k] == (uint32_t)i;
			CHECK(drawn[i] + waits == e + 1);
		}
	}
	vq_sampler_free(&s);
}

TEST(every_cell_once_an_epoch_or_waiting)
{
	world_open(&w);
	draw_epochs(&w, (vq_sheet){ 1, 64, 64, 4 }, 0, 12);
	draw_epochs(&w, (vq_sheet){ 2, 96, 96, 4 }, 0, 12);
	draw_epochs(&w, (vq_sheet){ 1, 40, 40, 4 }, 0, 12);
	draw_epochs(&w, (vq_sheet){ 2, 96, 96, 4 }, 3, 12);
	draw_epochs(&w, (vq_sheet){ 2, 96, 96, 4 }, 1, 3);
	static vq_batch b;
	vq_sampler s;
	vq_train_calls calls = { &w, get_size, get_cell, NULL, NULL };
	CHECK_OK(vq_sampler_make(&s, w.number, CELLS, 7, 1));
	s.at = 0;
	CHECK_FAILS(vq_batch_draw(&s, &calls, &(vq_sheet){ 1, 8, 8, 4 }, 0, &b), VQ_EINVAL);
	CHECK_HAS(vq_message(), "on canvases of 8 x 8");
	vq_sampler_free(&s);
	world_close(&w);
}

/* Where pixel (y, x) of a cell goes: flips first, then the transpose. */
static void landing(const vq_cell *c, int turn, int y, int x, int *ty, int *tx)
{
	if (turn & VQ_FLIP_Y)
		y = c->h - 1 - y;
	if (turn & VQ_FLIP_X)
		x = c->w - 1 - x;
	*ty = turn & VQ_TURN ? x : y;
	*tx = turn & VQ_TURN ? y : x;
}

/* One cell, 8 x 12, with its true pixels off the middle, on a sheet of 16 x 16; number i of a channel is 1 + i. */
static void check_turn(const vq_batch *b, const vq_train_calls *calls, int channels, const vq_config *f)
{
	enum { SIDE = 16 };
	vq_sheet sheet = { 1, SIDE, SIDE, 4 };
	vq_cell c;
	float input[SIDE * SIDE * 2], weight[SIDE * SIDE];
	CHECK_OK(calls->cell(calls->ctx, b->cell[0], &c));
	memset(weight, 0, sizeof weight);
	CHECK_OK(vq_batch_fill(b, calls, &sheet, channels, f, input, weight, NULL));
	int turn = b->turn[0], inside = 0, y0 = b->place[0].extent.y, x0 = b->place[0].extent.x;
	vq_rect v = b->place[0].valid;
	CHECK(b->place[0].extent.h == (turn & VQ_TURN ? c.w : c.h) && b->place[0].extent.w == (turn & VQ_TURN ? c.h : c.w));
	for (int y = 0; y < c.h; y++)
		for (int x = 0; x < c.w; x++) {
			int ty, tx;
			landing(&c, turn, y, x, &ty, &tx);
			int at = (y0 + ty) * SIDE + x0 + tx;
			for (int k = 0; k < channels; k++)
				CHECK(input[at * channels + k] == c.pixels[(k * c.h + y) * c.w + x]);
			bool valid = y >= c.top && y < c.top + c.th && x >= c.left && x < c.left + c.tw;
			bool said = y0 + ty >= v.y && y0 + ty < v.y + v.h && x0 + tx >= v.x && x0 + tx < v.x + v.w;
			CHECK(valid == said);
			CHECK(weight[at] == weight[y0 * SIDE + x0] || (c.mask[y * c.w + x] == 1) != (c.mask[0] == 1) || !turn);
			inside++;
		}
	int filled = 0;
	for (int i = 0; i < SIDE * SIDE; i++)
		filled += input[i * channels] != 0;
	CHECK(filled == inside);
}

TEST(flips_and_turns)
{
	enum { H = 8, WIDTH = 12 };
	float pixels[2 * H * WIDTH];
	uint8_t mask[H * WIDTH] = {0};
	for (int i = 0; i < 2 * H * WIDTH; i++)
		pixels[i] = (float)(1 + i);
	mask[3 * WIDTH + 5] = mask[3 * WIDTH + 6] = 1;
	world_open(&w);
	vq_cell kept = w.cell[0];
	w.cell[0] = (vq_cell){ pixels, mask, H, WIDTH, 1, 2, 5, 7 };
	w.config.content_weighting = true;
	vq_train_calls calls = { &w, get_size, get_cell, NULL, NULL };
	for (int augment = 0; augment < 8; augment++) {
		int seen = 0;
		vq_sampler s;
		static vq_batch b;
		CHECK_OK(vq_sampler_make(&s, w.number, 1, 3, 1));
		for (int i = 0; i < 100; i++) {
			s.at = 0;
			CHECK_OK(vq_batch_draw(&s, &calls, &(vq_sheet){ 1, 16, 16, 4 }, augment, &b));
			CHECK(b.items == 1 && b.pixels == 35 && (b.turn[0] & ~augment) == 0);
			seen |= 1 << b.turn[0];
			check_turn(&b, &calls, 1, &w.config);
			check_turn(&b, &calls, 2, &w.config);
		}
		for (int turn = 0; turn < 8; turn++)
			CHECK(!(seen >> turn & 1) == ((turn & ~augment) != 0));
		vq_sampler_free(&s);
	}
	w.cell[0] = kept;
	world_close(&w);
}

/* Loss weights of the cell's 5 x 7 true pixels with k of them in the mask. */
static void check_weights(int k, double fg, double bg, double want_fg, double want_bg, int turn)
{
	enum { H = 8, WIDTH = 12, SIDE = 16 };
	float pixels[H * WIDTH] = {0}, input[SIDE * SIDE], weight[SIDE * SIDE];
	uint8_t mask[H * WIDTH];
	memset(mask, 2, sizeof mask); /* other cells are background */
	for (int i = 0; i < k; i++)
		mask[(1 + i / 7) * WIDTH + 2 + i % 7] = 1;
	vq_cell c = { pixels, mask, H, WIDTH, 1, 2, 5, 7 };
	world_open(&w);
	vq_cell kept = w.cell[0];
	w.cell[0] = c;
	w.config.foreground_weight = fg;
	w.config.background_weight = bg;
	vq_train_calls calls = { &w, get_size, get_cell, NULL, NULL };
	static vq_batch b;
	b = (vq_batch){ .items = 1 };
	b.turn[0] = (uint8_t)turn;
	b.place[0].extent = (vq_rect){ 0, 0, 4, turn & VQ_TURN ? WIDTH : H, turn & VQ_TURN ? H : WIDTH };
	CHECK_OK(vq_batch_fill(&b, &calls, &(vq_sheet){ 1, SIDE, SIDE, 4 }, 1, &w.config, input, weight, NULL));
	for (int y = 1; y < 6; y++)
		for (int x = 2; x < 9; x++) {
			int ty, tx;
			landing(&c, turn, y, x, &ty, &tx);
			CHECK_NEAR((double)weight[ty * SIDE + 4 + tx], mask[y * WIDTH + x] == 1 ? want_fg : want_bg, 1e-6);
		}
	w.cell[0] = kept;
	world_close(&w);
}

TEST(content_weights)
{
	/* each side counts its weight times all pixels over its own, within 0.1 to 10 */
	check_weights(10, 1, .5, 35. / 10, .5 * 35 / 25, 0);
	check_weights(10, 1, .5, 35. / 10, .5 * 35 / 25, VQ_TURN | VQ_FLIP_X);
	check_weights(10, 1, .5, 35. / 10, .5 * 35 / 25, VQ_FLIP_Y);
	check_weights(2, 1, .1, 10, .1 * 35 / 33, 0);
	check_weights(30, 1, .1, 35. / 30, .7, 0);
	check_weights(0, 1, .1, 0, .1, 0);
	check_weights(35, 1, .1, 1, 0, 0);
}

TEST_MAIN(RUN(every_codebook_learns_and_is_counted) RUN(every_codebook_is_revived) RUN(several_codebooks_through_the_codec)
	RUN(training_lowers_the_loss) RUN(two_runs_are_identical) RUN(one_and_two_threads_nearly_agree) RUN(bounds_on_the_run) RUN(no_time_for_another_end) RUN(early_stopping)
	RUN(a_collapsed_codebook_is_told_of_once) RUN(usage_by_foreground_alone)
	RUN(a_norm_that_is_not_finite_ends_the_run) RUN(a_validation_loss_that_is_not_finite_ends_the_run)
	RUN(a_loss_that_is_not_finite_ends_the_run) RUN(what_cannot_be_trained) RUN(the_codebook_starts_from_data) RUN(dead_codes_are_revived)
	RUN(reconstruct_is_encode_and_decode) RUN(packed_on_any_canvas) RUN(accumulated_batches_are_one_step) RUN(accumulated_batches_of_peer_are_one_step) RUN(features_over_the_mask) RUN(schedules)
	RUN(every_cell_once_an_epoch_or_waiting) RUN(flips_and_turns) RUN(content_weights))
