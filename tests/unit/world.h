/* world: a few made-up cells for tests of the trainer, and what its callbacks told. */
#ifndef VQ_TEST_WORLD_H
#define VQ_TEST_WORLD_H

#include <time.h>

#include "formats/config.h"
#include "lib/train/trainer.h"
#include "tests/unit/engine.h"
#include "tests/unit/test.h"

enum { CELLS = 24, CHANNELS = 2, EPOCHS_MAX = 256 };

typedef struct { size_t n[2]; float *v[2]; } weights; /* state, parameters */

typedef struct {
	vq_cell cell[CELLS];
	vq_config config;
	vq_epoch epoch[EPOCHS_MAX];
	int epochs, steps, stop_after;
	uint32_t number[CELLS];
	uint32_t trained;       /* cells to train on, the first ones; 0: all but the last four */
	vq_backend *b;
	vq_trainer *t;
	double revived;
	double pause;           /* seconds that an epoch's callback takes */
	bool keep;              /* what the last epoch's callback read, in `judged`: weights_free it */
	weights judged;
} world;

static inline vq_status get_size(void *ctx, uint32_t i, vq_cell *c)
{
	*c = ((world *)ctx)->cell[i];
	c->pixels = NULL;
	c->mask = NULL;
	return VQ_OK;
}

static inline vq_status get_cell(void *ctx, uint32_t i, vq_cell *c)
{
	*c = ((world *)ctx)->cell[i];
	return VQ_OK;
}

static inline weights trainer_weights(vq_trainer *t)
{
	const vq_params *p = vq_trainer_params(t);
	weights x = { .n = { p->sizes[0], p->sizes[1] } };
	for (int i = 0; i < 2; i++)
		x.v[i] = vq_malloc(sizeof(float) * x.n[i]);
	CHECK_OK(vq_trainer_read(t, x.v[0], x.v[1]));
	return x;
}

static inline weights world_weights(world *w) { return trainer_weights(w->t); }

static inline void weights_free(weights *x)
{
	free(x->v[0]);
	free(x->v[1]);
	*x = (weights){0};
}

static inline vq_status at_epoch(void *ctx, vq_trainer *t, const vq_epoch *e)
{
	world *w = ctx;
	if (w->epochs < EPOCHS_MAX)
		w->epoch[w->epochs] = *e;
	w->epochs++;
	w->revived += (double)e->revived;
	if (w->pause > 0)
		nanosleep(&(struct timespec){ (time_t)w->pause, (long)(fmod(w->pause, 1) * 1e9) }, NULL);
	if (w->keep) {
		weights_free(&w->judged);
		w->judged = trainer_weights(t);
	}
	return VQ_OK;
}

static inline bool at_step(void *ctx, const vq_progress *p)
{
	world *w = ctx;
	return ++w->steps == w->stop_after;
}

/* A disk of light, its size and place the cell's own, and a gradient in the other channel. */
static inline vq_cell make_cell_of(vq_rng *r, int h, int w)
{
	vq_cell c = { .th = h, .tw = w };
	c.h = VQ_ALIGN(c.th, 4);
	c.w = VQ_ALIGN(c.tw, 4);
	c.top = (c.h - c.th) / 2;
	c.left = (c.w - c.tw) / 2;
	float *p = vq_malloc(sizeof *p * CHANNELS * (size_t)c.h * (size_t)c.w);
	uint8_t *m = vq_malloc((size_t)c.h * (size_t)c.w);
	double cy = c.h / 2. + vq_rng_normal(r), cx = c.w / 2. + vq_rng_normal(r), radius = .35 * VQ_MIN(c.h, c.w);
	for (int y = 0; y < c.h; y++)
		for (int x = 0; x < c.w; x++) {
			double d = sqrt((y - cy) * (y - cy) + (x - cx) * (x - cx));
			size_t i = (size_t)y * (size_t)c.w + (size_t)x;
			p[i] = (float)(2 / (1 + exp(d - radius)) - 1);
			p[(size_t)(c.h * c.w) + i] = (float)(2. * x / c.w - 1);
			m[i] = d < radius;
		}
	c.pixels = p;
	c.mask = m;
	return c;
}

static inline vq_cell make_cell(vq_rng *r)
{
	int h = 9 + (int)vq_rng_below(r, 24), w = 9 + (int)vq_rng_below(r, 24);
	return make_cell_of(r, h, w);
}

static inline void cell_free(vq_cell *c)
{
	free((void *)c->pixels);
	free((void *)c->mask);
	*c = (vq_cell){0};
}

static inline void world_open(world *w)
{
	vq_rng r = vq_rng_make(5, 0);
	memset(w, 0, sizeof *w);
	vq_config_defaults(&w->config);
	for (int i = 0; i < CELLS; i++) {
		w->cell[i] = make_cell(&r);
		w->number[i] = (uint32_t)i;
	}
	CHECK_OK(vq_config_set(&w->config, "channels_per_level=[8,16]"));
	CHECK_OK(vq_config_set(&w->config, "blocks=1"));
	CHECK_OK(vq_config_set(&w->config, "embedding_dim=8"));
	CHECK_OK(vq_config_set(&w->config, "num_embeddings=16"));
	w->config.mixed_precision = VQ_PRECISION_OFF;
	w->config.pixels_per_step = 8192;
	w->config.epochs = 0;
	w->config.max_steps = 40;
	w->config.warmup_steps = 0;
	w->config.learning_rate = .003;
}

static inline void world_reset(world *w)
{
	vq_trainer_free(w->t);
	if (w->b)
		w->b->close(w->b);
	w->t = NULL;
	w->b = NULL;
	w->epochs = w->steps = 0;
	w->revived = 0;
}

static inline void world_close(world *w)
{
	world_reset(w);
	for (int i = 0; i < CELLS; i++)
		cell_free(&w->cell[i]);
}

/* The last four cells validate. */
static inline vq_status world_make(world *w, int threads)
{
	world_reset(w);
	VQ_TRY(vq_backend_open(&w->b, engine_device(), threads));
	vq_trainer_options o = { .config = &w->config, .channels = CHANNELS, .backend = w->b, .train = w->number, .n_train = w->trained ? w->trained : CELLS - 4,
		.val = w->number + CELLS - 4, .n_val = 4, .clip = true, .started = vq_seconds(), .calls = { w, get_size, get_cell, at_epoch, at_step } };
	return vq_trainer_make(&w->t, &o);
}

static inline vq_status world_run(world *w, int threads)
{
	VQ_TRY(world_make(w, threads));
	return vq_trainer_run(w->t);
}

static inline bool same_weights(const weights *a, const weights *b)
{
	return !memcmp(a->v[0], b->v[0], sizeof(float) * a->n[0]) && !memcmp(a->v[1], b->v[1], sizeof(float) * a->n[1]);
}

static inline double far_apart(const weights *a, const weights *b, int kind)
{
	double most = 0;
	for (size_t i = 0; i < a->n[kind]; i++)
		most = fmax(most, fabs((double)a->v[kind][i] - (double)b->v[kind][i]));
	return most;
}

static inline const vq_epoch *last(const world *w) { return &w->epoch[w->epochs - 1]; }

#endif
