/* The Winograd convolutions, at every level that this machine has, against plain f64. */
#include "lib/cpu/wino.h"
#include "tests/unit/engine.h"
#include "tests/unit/exact.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

typedef struct { const wino_kernels *k, *half; vq_dtype t; double limit; } level;

static int levels(level *l)
{
	exact_level all[EXACT_LEVELS];
	int n = exact_levels(all);
	for (int i = 0; i < n; i++)
		l[i] = (level){ wino_pick(all[i].t, all[i].level), wino_pick_half(all[i].t, all[i].level), all[i].t, all[i].limit };
	return n;
}

typedef struct { int images, h, w, k, n; } shape;

/* In three pieces, as threads would. */
static void forward(const wino_kernels *l, wino_conv *c, const double *w, size_t taps, bool turned)
{
	size_t nw = (size_t)c->k * (size_t)c->n * taps, tiles = wino_tiles(l->side, c->images, c->h, c->w), steps = l->filter_steps(c->k, c->n);
	float *filters = exact_values(VQ_F32, nw, w);
	void *u = exact_bytes(l->filter_bytes(c->k, c->n)), *scratch = exact_bytes(l->forward_scratch(c->k, c->n)), *zeros = exact_bytes(4 * (size_t)VQ_MAX(c->k, c->n));
	memset(zeros, 0, 4 * (size_t)VQ_MAX(c->k, c->n));
	c->u = u;
	c->zeros = zeros;
	for (size_t i = 0; i < 3; i++)
		l->filter(filters, c->k, c->n, turned, steps * i / 3, steps * (i + 1) / 3, u);
	for (size_t i = 0; i < 3; i++)
		l->forward(c, tiles * i / 3, tiles * (i + 1) / 3, scratch);
	free(filters);
	free(u);
	free(scratch);
	free(zeros);
}

static double *weight(const wino_kernels *l, const shape *s, size_t taps, const void *x, const void *dy, double *db)
{
	enum { PARTS = 3 };
	size_t products = (taps == 9 ? 16 : 36) * (size_t)s->k * (size_t)s->n, nw = (size_t)s->k * (size_t)s->n * taps, tiles = wino_tiles(l->side, s->images, s->h, s->w);
	void *scratch = exact_bytes(l->weight_scratch(s->k, s->n)), *zeros = exact_bytes(4 * (size_t)VQ_MAX(s->k, s->n));
	float *du = exact_bytes(sizeof *du * PARTS * products), *dw = exact_bytes(sizeof *dw * nw);
	double *sums = ref_new((size_t)s->n);
	wino_grad g = { s->images, s->h, s->w, s->k, s->n, x, dy, zeros };
	memset(zeros, 0, 4 * (size_t)VQ_MAX(s->k, s->n));
	memset(dw, 0, sizeof *dw * nw);
	for (size_t i = 0; i < PARTS; i++) {
		l->weight(&g, tiles * i / PARTS, tiles * (i + 1) / PARTS, du + i * products, sums, scratch);
		for (int j = 0; j < s->n && db; j++)
			db[j] += sums[j];
	}
	for (int i = 0; i < s->n; i += 16)
		l->fold(du, PARTS, products, s->k, s->n, i, i + 16, dw);
	double *got = exact_doubles(VQ_F32, nw, dw);
	free(scratch);
	free(zeros);
	free(du);
	free(dw);
	free(sums);
	return got;
}

static const shape shapes[] = { { 1, 1, 1, 32, 32 }, { 2, 7, 9, 32, 64 }, { 1, 5, 6, 64, 96 }, { 3, 12, 10, 64, 64 }, { 1, 3, 40, 96, 32 }, { 2, 4, 4, 128, 128 } };

static void near(const level *l, const shape *s, const char *what, size_t n, const double *got, const double *want, double limit)
{
	double e = engine_error(n, got, want);
	if (!(e <= limit))
		TEST_END(1, "%s, %d of %dx%d, %d -> %d: %s is off by %.3g (limit %.3g)", l->k->name, s->images, s->h, s->w, s->k, s->n, what, e, limit);
}

static void one(const level *l, const shape *s, bool sum, bool relu)
{
	vq_rng r = vq_rng_make(7, (uint64_t)(s - shapes));
	ref_dims xd = { s->images, s->h, s->w, s->k }, yd = { s->images, s->h, s->w, s->n };
	size_t nx = ref_count(xd), ny = ref_count(yd), nw = (size_t)s->k * (size_t)s->n * 9;
	double *x = engine_noise(&r, l->t, nx), *w = engine_noise(&r, VQ_F32, nw), *b = engine_noise(&r, VQ_F32, (size_t)s->n), *before = engine_noise(&r, l->t, ny);
	double *dy = engine_noise(&r, l->t, ny), *want = ref_new(ny), *dx = ref_new(nx), *dw = ref_new(nw), *db = ref_new((size_t)s->n), *sums = ref_new((size_t)s->n);
	ref_conv_fwd(xd, x, w, b, s->n, 3, 1, 1, want);
	for (size_t i = 0; i < ny; i++) {
		want[i] += sum ? before[i] : 0;
		want[i] = relu ? fmax(want[i], 0) : want[i];
	}
	ref_conv_bwd(xd, x, w, s->n, 3, 1, 1, dy, dx, dw, db);
	void *tx = exact_values(l->t, nx, x), *ty = exact_values(l->t, ny, before), *tdy = exact_values(l->t, ny, dy), *tdx = exact_values(l->t, nx, NULL);
	float *bias = exact_values(VQ_F32, (size_t)s->n, b);
	wino_conv c = { .images = s->images, .h = s->h, .w = s->w, .k = s->k, .n = s->n, .x = tx, .y = ty, .bias = bias, .sum = sum, .relu = relu };
	forward(l->k, &c, w, 9, false);
	double *got = exact_doubles(l->t, ny, ty);
	near(l, s, "y", ny, got, want, l->limit);
	free(got);
	c = (wino_conv){ .images = s->images, .h = s->h, .w = s->w, .k = s->n, .n = s->k, .x = tdy, .y = tdx };
	forward(l->k, &c, w, 9, true);
	got = exact_doubles(l->t, nx, tdx);
	near(l, s, "dx", nx, got, dx, l->limit);
	free(got);
	got = weight(l->k, s, 9, tx, tdy, sums);
	near(l, s, "dw", nw, got, dw, l->limit);
	near(l, s, "db", (size_t)s->n, sums, db, 1e-5);
	double *all[] = { got, x, w, b, before, dy, want, dx, dw, db, sums };
	for (size_t i = 0; i < VQ_COUNT(all); i++)
		free(all[i]);
	void *raw[] = { tx, ty, tdy, tdx, bias };
	for (size_t i = 0; i < VQ_COUNT(raw); i++)
		free(raw[i]);
}

TEST(as_the_reference)
{
	level l[EXACT_LEVELS];
	int n = levels(l);
	if (!n)
		SKIP("no such kernels for this machine");
	for (int i = 0; i < n; i++)
		for (size_t j = 0; j < VQ_COUNT(shapes); j++)
			one(&l[i], &shapes[j], j % 2, j % 3 == 0);
}

static const shape halves[] = { { 1, 1, 1, 16, 16 }, { 2, 3, 5, 32, 16 }, { 1, 4, 6, 64, 32 }, { 3, 7, 4, 16, 64 }, { 1, 9, 2, 48, 96 }, { 2, 8, 8, 128, 64 } };

/* A transposed convolution from k to n channels, twice the size. */
static void one_half(const level *l, const shape *s, bool relu)
{
	vq_rng r = vq_rng_make(8, (uint64_t)(s - halves));
	ref_dims xd = { s->images, s->h, s->w, s->k }, yd = ref_deconv_dims(xd, s->n, 4, 2, 1);
	size_t nx = ref_count(xd), ny = ref_count(yd), nw = (size_t)s->k * (size_t)s->n * 16;
	double *x = engine_noise(&r, l->t, nx), *w = engine_noise(&r, VQ_F32, nw), *b = engine_noise(&r, VQ_F32, (size_t)s->n), *dy = engine_noise(&r, l->t, ny);
	double *want = ref_new(ny), *dx = ref_new(nx), *dw = ref_new(nw), *db = ref_new((size_t)s->n);
	ref_deconv_fwd(xd, x, w, b, s->n, 4, 2, 1, want);
	for (size_t i = 0; i < ny && relu; i++)
		want[i] = fmax(want[i], 0);
	ref_deconv_bwd(xd, x, w, s->n, 4, 2, 1, dy, dx, dw, db);
	void *tx = exact_values(l->t, nx, x), *ty = exact_values(l->t, ny, NULL), *tdy = exact_values(l->t, ny, dy), *tdx = exact_values(l->t, nx, NULL);
	float *bias = exact_values(VQ_F32, (size_t)s->n, b);
	wino_conv c = { .images = s->images, .h = s->h, .w = s->w, .k = s->k, .n = s->n, .x = tx, .y = ty, .bias = bias, .relu = relu, .up = true };
	forward(l->half, &c, w, 16, true);
	double *got = exact_doubles(l->t, ny, ty);
	near(l, s, "y of a half", ny, got, want, 2 * l->limit);
	free(got);
	c = (wino_conv){ .images = s->images, .h = s->h, .w = s->w, .k = s->n, .n = s->k, .x = tdy, .y = tdx };
	forward(l->half, &c, w, 16, false);
	got = exact_doubles(l->t, nx, tdx);
	near(l, s, "dx of a half", nx, got, dx, 2 * l->limit);
	free(got);
	got = weight(l->half, s, 16, tx, tdy, NULL);
	near(l, s, "dw of a half", nw, got, dw, 2 * l->limit);
	double *all[] = { got, x, w, b, dy, want, dx, dw, db };
	for (size_t i = 0; i < VQ_COUNT(all); i++)
		free(all[i]);
	void *raw[] = { tx, ty, tdy, tdx, bias };
	for (size_t i = 0; i < VQ_COUNT(raw); i++)
		free(raw[i]);
}

TEST(halves_as_the_reference)
{
	level l[EXACT_LEVELS];
	int n = levels(l);
	if (!n)
		SKIP("no such kernels for this machine");
	for (int i = 0; i < n; i++)
		for (size_t j = 0; j < VQ_COUNT(halves); j++)
			one_half(&l[i], &halves[j], j % 2);
}

TEST(quads_as_the_reference)
{
	static const shape all[] = { { 1, 1, 1, 32, 32 }, { 2, 7, 9, 32, 64 }, { 1, 5, 6, 64, 96 }, { 3, 12, 10, 64, 64 }, { 1, 3, 41, 96, 32 }, { 1, 26, 27, 128, 128 } };
	const wino_kernels *last = NULL;
	for (int v = 3; v <= 4; v++) {
		level l = { .k = wino_pick_quad(v), .t = VQ_F32 };
		if (!l.k || l.k == last)
			continue;
		last = l.k;
		for (size_t i = 0; i < VQ_COUNT(all); i++) {
			const shape *s = &all[i];
			vq_rng r = vq_rng_make(11, i);
			ref_dims xd = { s->images, s->h, s->w, s->k };
			size_t nx = ref_count(xd), ny = nx / (size_t)s->k * (size_t)s->n, nw = (size_t)s->k * (size_t)s->n * 9;
			double *x = engine_noise(&r, VQ_F32, nx), *w = engine_noise(&r, VQ_F32, nw), *b = engine_noise(&r, VQ_F32, (size_t)s->n), *before = engine_noise(&r, VQ_F32, ny), *want = ref_new(ny);
			ref_conv_fwd(xd, x, w, b, s->n, 3, 1, 1, want);
			for (size_t j = 0; j < ny; j++)
				want[j] = i % 2 ? fmax(want[j] + before[j], 0) : want[j];
			void *tx = exact_values(VQ_F32, nx, x), *ty = exact_values(VQ_F32, ny, i % 2 ? before : NULL);
			float *tb = exact_values(VQ_F32, (size_t)s->n, b);
			wino_conv c = { .images = s->images, .h = s->h, .w = s->w, .k = s->k, .n = s->n, .x = tx, .y = ty, .bias = tb, .sum = i % 2, .relu = i % 2 };
			forward(l.k, &c, w, 9, false);
			double *got = exact_doubles(VQ_F32, ny, ty);
			near(&l, s, "y", ny, got, want, 1e-5);
			double *doubles[] = { x, w, b, before, want, got };
			for (size_t j = 0; j < VQ_COUNT(doubles); j++)
				free(doubles[j]);
			free(tx);
			free(ty);
			free(tb);
		}
	}
	if (!last)
		SKIP("none of the instruction sets");
}

/* What is more than a pixel away leaves an output as it is, bit by bit: cells that share a canvas do not see each other. */
TEST(an_output_sees_its_own_inputs_only)
{
	level l[EXACT_LEVELS];
	int n = levels(l);
	enum { H = 8, W = 10, C = 32, AT = 5 };
	for (int i = 0; i < n; i++) {
		vq_rng r = vq_rng_make(9, 1);
		size_t count = H * W * C;
		double *x = engine_noise(&r, l[i].t, count), *w = engine_noise(&r, VQ_F32, C * C * 9);
		void *y[2];
		for (int k = 0; k < 2; k++) {
			for (int p = 0; p < H * W * C && k; p++)
				if (p / C % W == AT)
					x[p] = 1e20; /* a column */
			void *tx = exact_values(l[i].t, count, x);
			y[k] = exact_values(l[i].t, count, NULL);
			wino_conv c = { .images = 1, .h = H, .w = W, .k = C, .n = C, .x = tx, .y = y[k] };
			forward(l[i].k, &c, w, 9, false);
			free(tx);
		}
		size_t pixel = C * vq_dtype_size(l[i].t);
		for (int p = 0; p < H * W; p++) {
			bool same = !memcmp((char *)y[0] + (size_t)p * pixel, (char *)y[1] + (size_t)p * pixel, pixel), far = p % W < AT - 1 || p % W > AT + 1;
			if (same != far)
				TEST_END(1, "%s: the output at column %d %s", l[i].k->name, p % W, far ? "changed" : "did not change");
		}
		free(x);
		free(w);
		free(y[0]);
		free(y[1]);
	}
}

TEST_MAIN(RUN(as_the_reference) RUN(halves_as_the_reference) RUN(quads_as_the_reference) RUN(an_output_sees_its_own_inputs_only))
