/* codebook_refit: what is judged and kept has codebooks that fit the cells at rest, and the training is as without. */
#include "formats/config.h"
#include "lib/model/graph.h"
#include "tests/unit/world.h"
#include "tools/codec.h"

static world w;

static const char *const plain[] = { NULL };
static const char *const averaged[] = { "weight_average=0.8", NULL };
static const char *const gradient[] = { "codebook_update=gradient", "weight_average=0.8", NULL };
static const char *const several[] = { "skip=quantized", "codebook_depth=2", "skip_num_embeddings=12", "skip_embedding_dim=5", NULL };
/* One code a cell, as the document's model has it: codes far from all cells are never revived. */
static const char *const global[] = { "model=improved", "block_norm=batch", "latent=global", "skip=features", "pack=false", "hidden=[24]", "dropout=0.5", "pool_size=2",
	"codebook_start=normal", "batch_size=4", "pixels_per_step=0", "size_tolerance=1", "augment_flip=false", "revive_threshold=0", "max_steps=20", NULL };

static void open_with(const char *const *sets, int refit)
{
	world_open(&w);
	w.config.max_steps = 12;
	for (; *sets; sets++)
		CHECK_OK(vq_config_set(&w.config, *sets));
	w.config.codebook_refit = refit;
	w.keep = true;
	CHECK_OK(vq_config_check(&w.config));
}

typedef struct { weights judged, live; vq_epoch e; } outcome;

static outcome train(const char *const *sets, int refit)
{
	open_with(sets, refit);
	CHECK_OK(world_run(&w, 1));
	outcome o = { w.judged, world_weights(&w), *last(&w) };
	world_close(&w);
	return o;
}

static void outcome_free(outcome *o)
{
	weights_free(&o->judged);
	weights_free(&o->live);
}

/* All of x but the codebooks of trained rows is as in y. */
static bool same_but_codebook(const vq_params *p, const weights *x, const weights *y)
{
	for (int i = 0; i < p->n; i++)
		if (!strstr(p->p[i].name, "quantizer") &&
		    memcmp(x->v[p->p[i].trainable] + p->p[i].offset, y->v[p->p[i].trainable] + p->p[i].offset, sizeof(float) * p->p[i].count))
			return false;
	return true;
}

TEST(training_is_as_without)
{
	static const char *const *const kinds[] = { plain, averaged, gradient, several, global };
	for (size_t i = 0; i < VQ_COUNT(kinds); i++) {
		outcome off = train(kinds[i], 0), on = train(kinds[i], 3), again = train(kinds[i], 3);
		vq_params p = {0};
		CHECK(same_weights(&off.judged, &off.live) && same_weights(&off.live, &on.live) && off.e.train.loss == on.e.train.loss);
		CHECK(same_weights(&on.judged, &again.judged));
		open_with(kinds[i], 3);
		CHECK_OK(vq_model_params(&w.config, CHANNELS, &p));
		CHECK(!same_weights(&on.judged, &on.live) && same_but_codebook(&p, &on.judged, &on.live));
		CHECK(off.e.val.commit != on.e.val.commit && on.e.val.usage >= off.e.val.usage);
		vq_params_free(&p);
		world_close(&w);
		outcome_free(&off);
		outcome_free(&on);
		outcome_free(&again);
	}
}

static int find(const vq_params *p, const char *name, size_t *offset)
{
	int i = vq_params_find(p, name);
	CHECK(i >= 0);
	*offset = p->p[i].offset;
	return p->p[i].trainable;
}

/* Each code is the mean of its training cells at rest, all codes have some, and the moving averages agree with that. */
static void check_fit(const outcome *o, int *used)
{
	vq_model m = { .config = w.config, .channels = CHANNELS };
	codec *c;
	double mean[16][8] = {{0}}, n[16] = {0}, total = 0, live = 0;
	size_t book, count, sum;
	CHECK_OK(vq_model_setup(&m));
	memcpy(m.state, o->judged.v[0], sizeof(float) * o->judged.n[0]);
	memcpy(m.param, o->judged.v[1], sizeof(float) * o->judged.n[1]);
	CHECK_OK(codec_open(&c, &m, engine_device(), 1, false));
	for (int i = 0; i < CELLS - 4; i++) {
		cell_codes k;
		CHECK_OK(codec_encode(c, 0, &w.cell[i], true, &k));
		int code = *k.codes[0];
		n[code]++;
		for (int j = 0; j < 8; j++)
			mean[code][j] += (double)k.mean[j];
		cell_codes_free(&k);
	}
	find(&m.params, "quantizer.codebook", &book);
	find(&m.params, "quantizer.ema_count", &count);
	find(&m.params, "quantizer.ema_sum", &sum);
	*used = 0;
	for (int i = 0; i < 16; i++) {
		const float *s = m.state;
		*used += n[i] > 0;
		total += (double)s[count + (size_t)i];
		live += (double)o->live.v[0][count + (size_t)i];
		for (size_t j = 0; j < 8; j++) {
			size_t at = (size_t)i * 8 + j;
			if (n[i] > 0)
				CHECK_NEAR((double)s[book + at], mean[i][j] / n[i], 1e-5);
			CHECK_NEAR((double)s[sum + at], (double)s[book + at] * (double)s[count + (size_t)i], 1e-5);
		}
	}
	CHECK_NEAR(total, live, 16e-3 + 1e-5 * live);
	codec_close(c);
	vq_model_free(&m);
}

TEST(codes_are_means_at_rest)
{
	int used;
	outcome o = train(global, 50);
	open_with(global, 0);
	check_fit(&o, &used);
	CHECK(used >= 14); /* of 16, for 20 cells */
	CHECK(o.e.train.usage <= .5);
	outcome_free(&o);
	world_close(&w);
}

TEST_MAIN(RUN(training_is_as_without) RUN(codes_are_means_at_rest))
