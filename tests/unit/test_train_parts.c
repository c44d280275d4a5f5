/* The trainer's parts: schedules, the sampler, flips and turns, loss weights, what is told of a codebook. */
#include "lib/train/batch.h"
#include "lib/train/collapse.h"
#include "tests/unit/test.h"
#include "tests/unit/world.h"

static world w;

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

TEST_MAIN(RUN(a_collapsed_codebook_is_told_of_once) RUN(usage_by_foreground_alone) RUN(schedules)
	RUN(every_cell_once_an_epoch_or_waiting) RUN(flips_and_turns) RUN(content_weights))
