/* A run that is saved, dropped and restored ends as one that was never stopped, wherever it is cut. */
#include "lib/train/state.h"
#include "lib/train/pack.h"
#include "tests/unit/engine.h"
#include "tests/unit/test.h"

enum { CELLS = 16, HELD = 3, SIDE = 24, EPOCHS_MAX = 64 };

typedef struct {
	float pixels[CELLS][SIDE * SIDE];
	int h[CELLS], w[CELLS];
	uint32_t number[CELLS];
	vq_config config;
	vq_backend *b;
	vq_trainer *t;
	vq_epoch epoch[EPOCHS_MAX];
	int epochs;
	int64_t cut;            /* keep the state after this step; 0: never */
	bool inside;            /* in its epoch, or at an epoch's end */
	bool kept;
	vq_train_state state;
} world;

static world w;

static vq_status get(void *ctx, uint32_t i, vq_cell *c)
{
	*c = (vq_cell){ .pixels = w.pixels[i], .h = w.h[i], .w = w.w[i], .th = w.h[i] - 1, .tw = w.w[i] };
	return VQ_OK;
}

static vq_status at_epoch(void *ctx, vq_trainer *t, const vq_epoch *e)
{
	if (w.epochs < EPOCHS_MAX)
		w.epoch[w.epochs++] = *e;
	return VQ_OK;
}

static vq_status at_save(void *ctx, vq_trainer *t, bool inside)
{
	if (w.kept || inside != w.inside || !w.cut)
		return VQ_OK;
	VQ_TRY(vq_trainer_save(t, &w.state));
	w.kept = w.state.s.step >= w.cut;
	return VQ_OK;
}

static void world_close(void)
{
	vq_trainer_free(w.t);
	if (w.b)
		w.b->close(w.b);
	w.t = NULL;
	w.b = NULL;
	w.epochs = 0;
}

static void world_make(void)
{
	world_close();
	CHECK_OK(vq_backend_open(&w.b, engine_device(), 1));
	vq_trainer_options o = { .config = &w.config, .channels = 1, .backend = w.b, .train = w.number, .n_train = CELLS - HELD, .val = w.number + CELLS - HELD,
		.n_val = HELD, .clip = true, .started = vq_seconds(), .calls = { NULL, get, get, at_epoch, NULL, at_save } };
	CHECK_OK(vq_trainer_make(&w.t, &o));
}

static void world_open(const char *const *set)
{
	static const char *const all[] = { "channels_per_level=[8]", "levels=1", "blocks=1", "embedding_dim=4", "num_embeddings=8", "warmup_steps=0", "revive_every=3",
		"revive_threshold=0.3", "mixed_precision=off", "pixels_per_step=2048", "epochs=0", "max_seconds=0", "max_steps=24", NULL };
	vq_rng r = vq_rng_make(3, 0);
	vq_config_defaults(&w.config);
	for (int i = 0; all[i]; i++)
		CHECK_OK(vq_config_set(&w.config, all[i]));
	for (; *set; set++)
		CHECK_OK(vq_config_set(&w.config, *set));
	CHECK_OK(vq_config_check(&w.config));
	for (int i = 0; i < CELLS; i++) {
		w.number[i] = (uint32_t)i;
		w.h[i] = 8 + 4 * (int)vq_rng_below(&r, 5);
		w.w[i] = 8 + 4 * (int)vq_rng_below(&r, 5);
		for (int k = 0; k < w.h[i] * w.w[i]; k++)
			w.pixels[i][k] = (float)sin(.1 * i * k) * .5f + .2f * (float)vq_rng_normal(&r);
	}
}

/* The state at the end, whose bytes are all that a run leads to. */
static vq_train_state last_state(void)
{
	vq_train_state st = {0};
	CHECK_OK(vq_train_state_make(&st, w.t));
	CHECK_OK(vq_trainer_save(w.t, &st));
	return st;
}

static bool same(const vq_train_state *a, const vq_train_state *b)
{
	for (int i = 0; i < VQ_STATE_BUFS; i++)
		if (a->count[i] != b->count[i] || memcmp(a->buf[i], b->buf[i], sizeof(float) * a->count[i]))
			return false;
	if (a->cells != b->cells || memcmp(a->order, b->order, sizeof *a->order * a->cells) || a->waiting != b->waiting ||
	    memcmp(a->wait, b->wait, sizeof *a->wait * a->waiting) || memcmp(a->codes, b->codes, sizeof *a->codes * (size_t)a->n_codes) ||
	    memcmp(a->front, b->front, sizeof *a->front * (size_t)a->n_codes))
		return false;
	for (const vq_scalar *f = vq_scalars; f->name; f++) {
		size_t size = f->type == VQ_SCALAR_BOOL ? sizeof(bool) : f->type == VQ_SCALAR_INT32 ? 4 : 8;
		bool time = strstr(f->name, "seconds") || !strcmp(f->name, "closing");
		if (!time && memcmp((const char *)&a->s + f->offset, (const char *)&b->s + f->offset, size)) {
			fprintf(stderr, "%s differs\n", f->name);
			return false;
		}
	}
	return true;
}

static bool same_epoch(const vq_epoch *a, const vq_epoch *b)
{
	return a->epoch == b->epoch && a->step == b->step && a->pixels == b->pixels && a->train.loss == b->train.loss && a->train.usage == b->train.usage &&
		a->val.loss == b->val.loss && a->val.psnr == b->val.psnr && a->lr == b->lr && a->grad_norm == b->grad_norm && a->revived == b->revived &&
		a->best == b->best && a->last == b->last;
}

static void cut_at(int64_t step, bool inside, const vq_train_state *end, const vq_epoch *epoch, int epochs)
{
	w.cut = step;
	w.inside = inside;
	w.kept = false;
	world_make();
	CHECK_OK(vq_train_state_make(&w.state, w.t));
	CHECK_OK(vq_trainer_run(w.t));
	CHECK(w.kept && w.state.s.inside == inside);
	w.cut = 0;
	world_make();
	CHECK_OK(vq_trainer_restore(w.t, &w.state));
	vq_train_state again = last_state();
	CHECK(same(&again, &w.state));
	CHECK(again.s.seconds >= w.state.s.seconds && again.s.seconds < w.state.s.seconds + 5);
	vq_train_state_free(&again);
	CHECK_OK(vq_trainer_run(w.t));
	again = last_state();
	CHECK(same(&again, end));
	int done = (int)w.state.s.epoch;
	CHECK(w.epochs == epochs - done);
	for (int i = 0; i < w.epochs; i++)
		CHECK(same_epoch(&w.epoch[i], &epoch[done + i]));
	vq_train_state_free(&again);
	vq_train_state_free(&w.state);
}

TEST(a_restored_run_ends_like_one_never_stopped)
{
	static const char *const sets[][8] = {
		{ "optimizer=adamw" },
		{ "optimizer=sgd", "momentum=0.9", "weight_average=0.9", "learning_rate=0.01", "accumulate=2", "augment_rotate=true" },
		{ "scheduler_type=plateau", "plateau_patience=1", "optimizer=adam", "batch_size=3", "learning_rate=0.02" },
		{ "max_steps=0", "epochs=6", "use_early_stopping=true", "early_stopping_patience=2", "learning_rate=0.05", "codebook_start=kmeans" },
		{ "channels_per_level=[6,8]", "levels=2", "blocks=0", "skip=quantized", "codebook_depth=2", "skip_num_embeddings=5" },
	};
	static vq_epoch epoch[EPOCHS_MAX];
	for (size_t i = 0; i < VQ_COUNT(sets); i++) {
		world_open(sets[i]);
		w.cut = 0;
		world_make();
		CHECK_OK(vq_trainer_run(w.t));
		vq_train_state end = last_state();
		int epochs = w.epochs;
		memcpy(epoch, w.epoch, sizeof epoch);
		CHECK(epochs > 2 && end.s.step > 6);
		cut_at(1, true, &end, epoch, epochs);
		cut_at(5, true, &end, epoch, epochs);
		cut_at(6, true, &end, epoch, epochs);
		cut_at(3, false, &end, epoch, epochs);
		cut_at(epoch[0].step, true, &end, epoch, epochs); /* the last step of an epoch, which is not closed */
		cut_at(end.s.step, true, &end, epoch, epochs);
		cut_at(end.s.step, false, &end, epoch, epochs);   /* nothing is left to do */
		vq_train_state_free(&end);
		world_close();
	}
}

#define REFUSED(text) do { CHECK_FAILS(vq_trainer_restore(w.t, &st), VQ_EINVAL); CHECK_HAS(vq_message(), text); } while (0)

TEST(a_state_that_does_not_fit)
{
	world_open((const char *const[]){ NULL });
	world_make();
	vq_train_state st = last_state();
	uint32_t kept = st.order[2];
	st.order[2] = CELLS - 1; /* one that validates */
	REFUSED("its order is not one of these cells");
	st.order[2] = st.order[3];
	REFUSED("its order is not one of these cells");
	st.order[2] = kept;
	st.waiting = 1;
	st.wait[0] = 1000000;
	REFUSED("its order is not one of these cells");
	st.waiting = VQ_PACK_MAX + 1;
	REFUSED("out of range");
	st.waiting = 0;
	st.s.at = st.cells + 1;
	REFUSED("out of range");
	st.s.at = 0;
	st.s.health.used = 4;
	REFUSED("out of range");
	st.s.health.used = 0;
	st.s.best = NAN;
	REFUSED("out of range");
	st.s.best = INFINITY;
	st.cells--;
	REFUSED("it is of 12 cells to train, not 13");
	st.cells++;
	st.n_codes = 7;
	REFUSED("it counts 7 codes, not 8");
	st.n_codes = 8;
	st.count[2]--;
	REFUSED("its m has ");
	st.count[2]++;
	CHECK_OK(vq_trainer_restore(w.t, &st));
	vq_train_state_free(&st);
	world_close();
}

TEST(every_scalar_is_in_the_table_once)
{
	unsigned char seen[sizeof(vq_train_scalars)] = {0};
	size_t covered = 0;
	for (const vq_scalar *f = vq_scalars; f->name; f++) {
		size_t size = f->type == VQ_SCALAR_BOOL ? sizeof(bool) : f->type == VQ_SCALAR_INT32 ? 4 : 8;
		CHECK(!seen[f->offset]);
		memset(seen + f->offset, 1, size);
		covered += size;
	}
	/* padding only: less than 8 bytes between two fields */
	size_t gap = 0;
	for (size_t i = 0; i < sizeof seen; i++) {
		gap = seen[i] ? 0 : gap + 1;
		CHECK(gap < 8);
	}
	CHECK(covered <= sizeof seen);
}

TEST_MAIN(RUN(a_restored_run_ends_like_one_never_stopped) RUN(a_state_that_does_not_fit) RUN(every_scalar_is_in_the_table_once))
