/* The convolutions over strips, at every level that this machine has, against plain f64. */
#include "lib/cpu/strip.h"
#include "tests/unit/engine.h"
#include "tests/unit/exact.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

typedef struct { const strip_kernels *k; vq_dtype t; double limit; } level;

static int levels(level *l)
{
	exact_level all[EXACT_LEVELS];
	int n = exact_levels(all);
	for (int i = 0; i < n; i++)
		l[i] = (level){ strip_pick(all[i].t, all[i].level), all[i].t, all[i].limit };
	return n;
}

typedef struct { int images, h, w, c, n, k, s, p; } shape;

static const shape shapes[] = { { 1, 1, 1, 1, 16, 7, 2, 3 }, { 2, 13, 18, 1, 32, 7, 2, 3 }, { 1, 12, 17, 3, 48, 7, 2, 3 }, { 3, 9, 6, 32, 64, 3, 2, 1 }, { 2, 7, 26, 5, 16, 3, 1, 1 },
	{ 2, 5, 7, 64, 64, 1, 1, 0 }, { 1, 4, 6, 7, 32, 1, 1, 0 }, { 1, 9, 10, 16, 80, 3, 3, 0 }, { 1, 8, 15, 4, 32, 4, 2, 1 } };

/* In three pieces, as threads would. */
static void run(const level *l, strip_conv *a, int images, const double *w)
{
	size_t nw = (size_t)a->n * (size_t)a->c * (size_t)(a->k * a->k), rows = (size_t)images * (size_t)a->oh;
	float *weights = exact_values(VQ_F32, nw, w);
	void *u = exact_bytes(l->k->bytes(a->c, a->n, a->k)), *scratch = exact_bytes(l->k->scratch(a));
	l->k->pack(weights, a->c, a->n, a->k, u);
	a->u = u;
	for (size_t i = 0; i < 3; i++)
		l->k->run(a, rows * i / 3, rows * (i + 1) / 3, scratch);
	free(weights);
	free(u);
	free(scratch);
}

static void one(const level *l, const shape *s, bool bias, bool sum, bool relu, vq_dtype to)
{
	vq_rng r = vq_rng_make(7, (uint64_t)(s - shapes));
	ref_dims xd = { s->images, s->h, s->w, s->c }, yd = ref_conv_dims(xd, s->n, s->k, s->s, s->p);
	size_t nx = ref_count(xd), ny = ref_count(yd), nw = (size_t)s->n * (size_t)s->c * (size_t)(s->k * s->k);
	double *x = engine_noise(&r, l->t, nx), *w = engine_noise(&r, l->t, nw), *b = engine_noise(&r, VQ_F32, (size_t)s->n), *before = engine_noise(&r, l->t, ny), *want = ref_new(ny);
	ref_conv_fwd(xd, x, w, bias ? b : NULL, s->n, s->k, s->s, s->p, want);
	for (size_t i = 0; i < ny; i++) {
		want[i] += sum ? before[i] : 0;
		want[i] = relu ? fmax(want[i], 0) : want[i];
	}
	void *tx = exact_values(l->t, nx, x), *ty = exact_values(to, ny, sum ? before : NULL);
	float *tb = exact_values(VQ_F32, (size_t)s->n, b);
	strip_conv a = { .h = s->h, .w = s->w, .c = s->c, .oh = yd.h, .ow = yd.w, .n = s->n, .k = s->k, .s = s->s, .p = s->p, .x = tx, .y = ty, .to = to, .bias = bias ? tb : NULL,
		.sum = sum, .relu = relu };
	run(l, &a, s->images, w);
	double *got = exact_doubles(to, ny, ty), e = engine_error(ny, got, want), limit = to == VQ_F32 ? 1e-6 : l->limit;
	if (!(e <= limit))
		TEST_END(1, "%s, %d of %dx%dx%d, k%d s%d p%d -> %d: off by %.3g (limit %.3g)", l->k->name, s->images, s->h, s->w, s->c, s->k, s->s, s->p, s->n, e, limit);
	double *all[] = { x, w, b, before, want, got };
	for (size_t i = 0; i < VQ_COUNT(all); i++)
		free(all[i]);
	free(tx);
	free(ty);
	free(tb);
}

TEST(as_the_reference)
{
	level l[EXACT_LEVELS];
	int n = levels(l);
	if (!n)
		SKIP("none of the instruction sets");
	for (int i = 0; i < n; i++)
		for (size_t s = 0; s < VQ_COUNT(shapes); s++) {
			one(&l[i], &shapes[s], true, false, false, l[i].t);
			one(&l[i], &shapes[s], false, true, true, l[i].t);
			one(&l[i], &shapes[s], true, true, false, VQ_F32);
		}
}

TEST_MAIN(RUN(as_the_reference))
