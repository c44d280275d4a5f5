/* Adaptive pooling and bilinear resizing of each item's rectangle. */
#include "tests/unit/slopes.h"
#include "tests/unit/test.h"

typedef struct { int n, h, w, c, p; int items; vq_place place[3]; } pool_case;

static const pool_case pools[] = {
	{ 1, 4, 4, 3, 4 },
	{ 2, 1, 1, 1, 4 },      /* one pixel fills every bin */
	{ 2, 5, 7, 3, 4 },
	{ 1, 13, 3, 17, 2 },
	{ 2, 9, 10, 5, 4, 3, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 0, 5, 0, 3, 9 }, { 0, 5, 0, 3, 9 } }, { { 1, 2, 3, 1, 1 }, { 1, 2, 3, 1, 1 } } } },
	{ 1, 9, 10, 5, 3, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 0, 0 } }, { { 0, 5, 0, 0, 0 }, { 0, 5, 0, 0, 0 } } } }, /* nothing valid, nothing at all */
};

static void open_items(engine *e, int n, int h, int w, int items, const vq_place *place, vq_dtype t)
{
	engine_open(e, (engine_spec){ .n = n, .h = h, .w = w, .items = items, .packed = items > 0, .compute = t });
	for (int i = 0; i < items; i++)
		engine_place(e, i, place[i].extent, place[i].valid);
}

static void finish(engine *e, int y, const char *what, size_t k, vq_dtype t)
{
	CHECK_OK(engine_build(e, y));
	const char *wrong = slopes_check(e, y, k, t == VQ_BF16 ? 2e-2 : 1e-5);
	if (wrong)
		TEST_END(1, "%s %zu, %s: %s", what, k, vq_dtype_name(t), wrong);
	engine_close(e);
}

TEST(pooling)
{
	for (vq_dtype t = VQ_BF16; t <= VQ_F32; t++)
		for (size_t k = 0; k < VQ_COUNT(pools); k++) {
			const pool_case *c = &pools[k];
			engine e;
			open_items(&e, c->n, c->h, c->w, c->items, c->place, t);
			int x = engine_input(&e, t, c->n, c->h, c->w, c->c, 0);
			finish(&e, vq_layer_pool(&e.b, x, c->p), "pool", k, t);
		}
}

/* From the grid of a strided convolution back to the input's, and down to it. */
typedef struct { int n, h, w, c, k, s, p; bool up; int items; vq_place place[3]; } resize_case;

static const resize_case resizes[] = {
	{ 1, 8, 8, 3, 2, 2, 0, true },
	{ 2, 7, 5, 1, 3, 2, 1, true },
	{ 1, 1, 1, 4, 3, 2, 1, true },
	{ 1, 33, 31, 2, 7, 3, 1, true },
	{ 2, 9, 10, 5, 3, 2, 1, false },
	{ 1, 16, 24, 3, 3, 2, 1, true, 3, { { { 0, 0, 0, 8, 12 }, { 0, 1, 2, 6, 9 } }, { { 0, 0, 16, 12, 8 }, { 0, 0, 16, 12, 8 } }, { { 0, 12, 0, 4, 4 }, { 0, 13, 0, 2, 1 } } } },
	{ 1, 16, 24, 3, 3, 2, 1, false, 2, { { { 0, 0, 0, 8, 12 }, { 0, 1, 2, 6, 9 } }, { { 0, 12, 0, 4, 4 }, { 0, 13, 0, 0, 0 } } } },
	{ 2, 6, 10, 3, 1, 1, 0, true }, { 1, 5, 4, 17, 1, 1, 0, false }, /* of one size */
	{ 1, 8, 16, 5, 1, 1, 0, true, 2, { { { 0, 0, 0, 8, 6 }, { 0, 1, 2, 6, 3 } }, { { 0, 0, 8, 4, 8 }, { 0, 0, 8, 4, 8 } } } },
	{ 1, 8, 8, 2, 3, 2, 0, true, 2, { { { 0, 0, 0, 2, 2 }, { 0, 0, 0, 2, 2 } }, { { 0, 4, 0, 4, 8 }, { 0, 4, 0, 4, 8 } } } }, /* one item vanishes */
};

TEST(resizing)
{
	for (vq_dtype t = VQ_BF16; t <= VQ_F32; t++)
		for (size_t k = 0; k < VQ_COUNT(resizes); k++) {
			const resize_case *c = &resizes[k];
			engine e;
			open_items(&e, c->n, c->h, c->w, c->items, c->place, t);
			int h = (c->h + 2 * c->p - c->k) / c->s + 1, w = (c->w + 2 * c->p - c->k) / c->s + 1;
			int small = vq_grid_new(&e.b, (vq_grid){ 0, c->k, c->s, c->p, false, h, w });
			int x = c->up ? engine_input(&e, t, c->n, h, w, c->c, small) : engine_input(&e, t, c->n, c->h, c->w, c->c, 0);
			finish(&e, vq_layer_resize(&e.b, x, c->up ? 0 : small), "resize", k, t);
		}
}

TEST_MAIN(RUN(pooling) RUN(resizing))
