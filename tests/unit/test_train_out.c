/* What comes out of a training: reconstructions, codes and features, steps of several batches, several codebooks. */
#include "lib/model/graph.h"
#include "tests/unit/test.h"
#include "tests/unit/world.h"
#include "tools/codec.h"

static world w;

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
		CHECK_OK(codec_open(&e, &m, engine_device(), 1, false));
		CHECK_OK(codec_open(&d, &m, engine_device(), 1, true));
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

/* One step of eight cells; SGD, so that the parameters go where the gradient points, as far as it is long. */
static weights one_step(int batch, int accumulate)
{
	w.config.optimizer = VQ_OPT_SGD;
	w.config.learning_rate = .5;
	w.config.max_steps = 1;
	w.config.augment_flip = false;
	w.config.pixels_per_step = 40000;
	w.config.codebook_start = VQ_START_NORMAL; /* not from data, which depends on the cells' order */
	w.config.batch_size = batch;
	w.config.accumulate = accumulate;
	CHECK_OK(world_make(&w, 1));
	weights start = world_weights(&w);
	CHECK_OK(world_run(&w, 1));
	CHECK(last(&w)->train.cells == 8);
	return start;
}

/* Four batches beside one, on canvases as the caller says. */
static void accumulated(void (*apart)(void))
{
	weights start = one_step(8, 1), a = world_weights(&w);
	double norm = last(&w)->grad_norm, loss = last(&w)->train.loss;
	uint64_t seen = last(&w)->pixels;
	if (apart)
		apart();
	weights again = one_step(2, 4), b = world_weights(&w);
	CHECK(same_weights(&start, &again) && last(&w)->pixels == seen);
	CHECK_NEAR(last(&w)->grad_norm, norm, 1e-5 * norm);
	CHECK_NEAR(last(&w)->train.loss, loss, 1e-5 * loss);
	CHECK(far_apart(&a, &start, 1) > 0);
	CHECK_NEAR(beside_step(&a, &b, &start), 0, 1e-5);
	CHECK_NEAR(far_apart(&a, &b, 0), 0, 1e-5);
	weights_free(&start);
	weights_free(&again);
	weights_free(&a);
	weights_free(&b);
}

static void open_peer(void)
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
}

TEST(accumulated_batches_are_one_step)
{
	world_open(&w);
	accumulated(NULL);
	world_close(&w);
}

TEST(accumulated_batches_of_peer_are_one_step)
{
	open_peer();
	accumulated(NULL);
	world_close(&w);
}

/* A cell a canvas, and each batch's canvases of another size. */
static void on_canvases_of_their_own(void)
{
	w.config.pack = false;
	w.config.size_tolerance = 0;
}

/* Eight cells of four sizes to train on: a pair fills a batch. */
static void four_sizes(void)
{
	static const int size[4][2] = { { 11, 12 }, { 22, 16 }, { 31, 30 }, { 18, 35 } };
	vq_rng r = vq_rng_make(9, 0);
	w.trained = 8;
	for (int i = 0; i < 8; i++) {
		cell_free(&w.cell[i]);
		w.cell[i] = make_cell_of(&r, size[i / 2][0], size[i / 2][1]);
	}
}

/* Packed on one canvas, all at once; then batches of four shapes within the step. */
TEST(batches_of_several_shapes_are_one_step)
{
	for (int peer = 0; peer < 2; peer++) {
		if (peer)
			open_peer();
		else
			world_open(&w);
		four_sizes();
		w.config.pack = true;
		accumulated(on_canvases_of_their_own);
		world_close(&w);
	}
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
	CHECK_OK(codec_open(&c, &m, engine_device(), 1, false));
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
		CHECK_OK(codec_open(&e, &m, engine_device(), 2, false));
		CHECK_OK(codec_open(&d, &m, engine_device(), 1, true));
		for (uint32_t k = 0; k < CELLS; k += 7)
			check_reconstruction(&w, e, d, k, 2e-5);
		codec_close(e);
		codec_close(d);
		vq_model_free(&m);
	}
	world_close(&w);
}

TEST_MAIN(RUN(reconstruct_is_encode_and_decode) RUN(packed_on_any_canvas) RUN(accumulated_batches_are_one_step)
	RUN(accumulated_batches_of_peer_are_one_step) RUN(batches_of_several_shapes_are_one_step)
	RUN(features_over_the_mask) RUN(every_codebook_learns_and_is_counted)
	RUN(every_codebook_is_revived) RUN(several_codebooks_through_the_codec))
