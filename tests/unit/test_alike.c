/* Batches of cells of about one size, a canvas each, and the trainer with models that take them so. */
#include "lib/model/graph.h"
#include "lib/train/alike.h"
#include "tests/unit/engine.h"
#include "tests/unit/test.h"

enum { CELLS = 30 };

typedef struct {
	vq_cell cell[CELLS];
	vq_config config;
	vq_epoch last;
	double first;
	int epochs;
	uint32_t number[CELLS];
} world;

static vq_status get_cell(void *ctx, uint32_t i, vq_cell *c)
{
	*c = ((world *)ctx)->cell[i];
	return VQ_OK;
}

static vq_status at_epoch(void *ctx, vq_trainer *t, const vq_epoch *e)
{
	world *w = ctx;
	if (!w->epochs++)
		w->first = e->train.recon;
	w->last = *e;
	return VQ_OK;
}

static void world_open(world *w, const char *const *set)
{
	vq_rng r = vq_rng_make(9, 0);
	*w = (world){0};
	vq_config_defaults(&w->config);
	for (int i = 0; i < CELLS; i++) {
		vq_cell *c = &w->cell[i];
		*c = (vq_cell){ .th = 9 + (int)vq_rng_below(&r, 32), .tw = 9 + (int)vq_rng_below(&r, 28) };
		c->h = VQ_MAX(VQ_ALIGN(c->th, 4), 32);
		c->w = VQ_MAX(VQ_ALIGN(c->tw, 4), 32);
		c->top = (c->h - c->th) / 2;
		c->left = (c->w - c->tw) / 2;
		float *p = vq_malloc(sizeof *p * (size_t)(c->h * c->w));
		for (int y = 0; y < c->h; y++)
			for (int x = 0; x < c->w; x++)
				p[y * c->w + x] = sinf((float)(y + i) * .2f) * cosf((float)x * .15f);
		c->pixels = p;
		w->number[i] = (uint32_t)i;
	}
	for (int i = 0; set[i]; i++)
		CHECK_OK(vq_config_set(&w->config, set[i]));
	w->config.pack = false;
	w->config.mixed_precision = VQ_PRECISION_OFF;
}

static void world_close(world *w)
{
	for (int i = 0; i < CELLS; i++)
		free((void *)w->cell[i].pixels);
}

TEST(canvases_hold_their_cells)
{
	vq_alike a = { .multiple = 16, .least = 32, .tolerance = .3, .cells = 8, .pixels = 100000 };
	for (int h = 16; h < 400; h += 16)
		for (int w = 16; w < 400; w += 48) {
			vq_sheet s = vq_alike_sheet(&a, h, w);
			CHECK(s.h >= h && s.w >= w && s.h % 16 == 0 && s.w % 16 == 0 && s.h >= 32 && s.gap == 0);
			CHECK(h <= 32 || s.h <= VQ_MAX((double)h * 1.3, (double)h + 16));
			CHECK(s.canvases >= 1 && s.canvases <= 8 && (s.canvases == 1 || s.canvases * s.h * s.w <= 100000));
			CHECK(s.canvases == 8 || (s.canvases + 1) * s.h * s.w > 100000);
		}
	a.square = true;
	vq_sheet s = vq_alike_sheet(&a, 30, 100);
	CHECK(s.h == s.w && s.h >= 100);
}

TEST(an_epoch_has_each_cell_once)
{
	world w;
	vq_sampler s;
	vq_batch b;
	world_open(&w, (const char *[]){ NULL });
	vq_train_calls calls = { &w, get_cell, get_cell, NULL, NULL };
	vq_alike a = { .multiple = 4, .least = 32, .tolerance = .3, .cells = 4 };
	CHECK_OK(vq_sampler_make(&s, w.number, CELLS, 3, 1));
	for (int epoch = 0, batches; epoch < 3; epoch++) {
		int seen[CELLS] = {0};
		CHECK_OK(vq_alike_epoch(&s, &calls, &a));
		for (batches = 0; !vq_sampler_done(&s); batches++) {
			CHECK_OK(vq_alike_draw(&s, &calls, &a, VQ_FLIP_X | VQ_FLIP_Y, &b));
			CHECK(b.items >= 1 && b.items <= b.sheet.canvases && b.sheet.canvases <= 4);
			for (int i = 0; i < b.items; i++) {
				seen[b.cell[i]]++;
				vq_rect e = b.place[i].extent, v = b.place[i].valid;
				CHECK(e.n == i && v.n == i && !e.y && !e.x && e.h <= b.sheet.h && e.w <= b.sheet.w && v.y + v.h <= e.h && v.x + v.w <= e.w);
				CHECK(v.h == w.cell[b.cell[i]].th && v.w == w.cell[b.cell[i]].tw);
			}
		}
		for (int i = 0; i < CELLS; i++)
			CHECK(seen[i] == 1);
		CHECK(batches < CELLS / 2); /* they do share batches */
	}
	CHECK_FAILS(vq_alike_draw(&s, &calls, &a, 0, &b), VQ_EINVAL);
	vq_sampler_free(&s);
	world_close(&w);
}

/* Trains; *out: all parameters, fresh memory. */
static size_t train(world *w, float **out)
{
	vq_backend *b;
	vq_trainer *t;
	CHECK_OK(vq_backend_open(&b, engine_device(), 2));
	vq_trainer_options o = { .config = &w->config, .channels = 1, .backend = b, .train = w->number, .val = w->number + 24, .n_train = 24, .n_val = 6,
		.clip = true, .profile = true, .started = vq_seconds(), .calls = { w, get_cell, get_cell, at_epoch, NULL } };
	w->epochs = 0;
	CHECK_OK(vq_config_check(&w->config));
	CHECK_OK(vq_trainer_make(&t, &o));
	CHECK_OK(vq_trainer_run(t));
	const vq_params *p = vq_trainer_params(t);
	size_t n = p->sizes[0] + p->sizes[1];
	*out = vq_malloc(sizeof **out * n);
	CHECK_OK(vq_trainer_read(t, *out, *out + p->sizes[0]));
	float *again = vq_malloc(sizeof *again * (size_t)(w->cell[3].h * w->cell[3].w));
	CHECK_OK(vq_trainer_reconstruct(t, 3, again));
	CHECK(isfinite(again[0]));
	free(again);
	char *profile = vq_trainer_profile(t);
	CHECK((profile && strstr(profile, "deconv")) || strcmp(b->name, "cpu")); /* others do not measure each node */
	free(profile);
	vq_trainer_free(t);
	b->close(b);
	return n;
}

#define IMPROVED "model=improved", "block_norm=batch", "blocks=1", "channels_per_level=8,12", "num_embeddings=16", "attention=true", "hidden=24,16", \
	"pool_size=2", "dropout=0.1", "batch_size=6", "pixels_per_step=0", "epochs=5", "max_steps=0", "warmup_steps=0", "learning_rate=0.003"

static void learns(const char *what, bool twice, const char *const *set)
{
	world w;
	float *a, *b;
	world_open(&w, set);
	size_t n = train(&w, &a);
	if (!(w.last.train.recon < .8 * w.first))
		TEST_END(1, "%s: the loss went from %g to %g", what, w.first, w.last.train.recon);
	CHECK(w.last.epoch == w.config.epochs && w.last.train.cells == 24 && w.last.val.cells == 6);
	CHECK(isfinite(w.last.val.psnr) && w.last.train.usage > 0 && w.last.train.usage <= 1);
	if (twice) { /* one seed, one result */
		CHECK(train(&w, &b) == n);
		CHECK(!memcmp(a, b, sizeof *a * n));
		free(b);
	}
	free(a);
	world_close(&w);
}

TEST(improved_learns) { learns("grid", false, (const char *[]){ IMPROVED, "embedding_dim=12", NULL }); }
TEST(improved_learns_with_turns_and_parts)
{
	learns("turns", true, (const char *[]){ IMPROVED, "embedding_dim=12", "augment_rotate=true", "accumulate=2", "weight_average=0.5", "epochs=5", NULL });
}
TEST(improved_learns_with_skips) { learns("skips", false, (const char *[]){ IMPROVED, "latent=global", "embedding_dim=8", "skip=features", NULL }); }
TEST(original_learns)
{
	learns("original", false, (const char *[]){ "model=original", "block_norm=batch", "blocks=0", "levels=3", "channels_per_level=8,8,16", "stem_stride=3", "latent=global",
		"hidden=24,16", "pool_size=4", "dropout=0.2", "codebook_update=gradient", "straight_through=false", "codebook_start=uniform", "num_embeddings=16",
		"embedding_dim=8", "batch_size=6", "pixels_per_step=0", "epochs=8", "max_steps=0", "warmup_steps=0", "optimizer=adam", "learning_rate=0.003", NULL });
}

TEST_MAIN(RUN(canvases_hold_their_cells) RUN(an_epoch_has_each_cell_once) RUN(improved_learns) RUN(improved_learns_with_turns_and_parts)
	RUN(improved_learns_with_skips) RUN(original_learns))
