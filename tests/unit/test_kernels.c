/* Each kernel, at every level that this machine has, against plain f64. */
#include "lib/cpu/kernels.h"
#include "tests/unit/engine.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

static const vq_kernels *k; /* the level under test */
static vq_rng rng;

typedef struct { size_t n; vq_dtype t; void *raw; double *x; } array; /* raw holds x, rounded to t */

static array make(vq_dtype t, size_t n)
{
	array a = { n, t, malloc((n ? n : 1) * 4), engine_noise(&rng, t, n) };
	for (size_t i = 0; i < n; i++)
		if (t == VQ_BF16)
			((uint16_t *)a.raw)[i] = vq_f32_to_bf16((float)a.x[i]);
		else
			((float *)a.raw)[i] = (float)a.x[i];
	return a;
}

static void drop(array *a)
{
	free(a->raw);
	free(a->x);
}

static double get(const array *a, size_t i) { return a->t == VQ_BF16 ? (double)vq_bf16_to_f32(((uint16_t *)a->raw)[i]) : (double)((float *)a->raw)[i]; }

/* Largest error of a against want, relative to the largest of want (at least 0.1: GELU's left tail is a difference of ones). */
static double error_of(const array *a, const double *want)
{
	double *got = ref_new(a->n), top = 0, e;
	for (size_t i = 0; i < a->n; i++) {
		got[i] = get(a, i);
		top = fmax(top, fabs(want[i]));
	}
	e = engine_error(a->n, got, want) * (top > 0 ? top / fmax(top, .1) : 1);
	free(got);
	return e;
}

static const vq_act acts[] = { VQ_FN_NONE, VQ_FN_RELU, VQ_FN_LEAKY, VQ_FN_SILU, VQ_FN_GELU };
static const vq_activation ref_acts[] = { 0, VQ_ACT_RELU, VQ_ACT_LEAKY_RELU, VQ_ACT_SILU, VQ_ACT_GELU };
static double f(size_t a, double x) { return a ? ref_act(ref_acts[a], x) : x; }
static double df(size_t a, double x) { return a ? ref_act_slope(ref_acts[a], x) : 1; }

static const size_t lengths[] = { 0, 1, 7, 16, 63, 200 };
static double limit(vq_dtype t) { return t == VQ_BF16 ? 5e-3 : 3e-6; }

#define EACH_TYPE(t) for (vq_dtype t = VQ_BF16; t <= VQ_F32; t++)
#define SAY(call, ...) do { double e_ = (call), l_ = limit(t); if (!(e_ <= l_)) { char what_[128]; snprintf(what_, sizeof what_, __VA_ARGS__); \
	TEST_END(1, "%s:%d: %s, %s, %s: off by %.3g", __FILE__, __LINE__, k->name, vq_dtype_name(t), what_, e_); } } while (0)

static void activations(void)
{
	EACH_TYPE(t)
		for (size_t a = 0; a < VQ_COUNT(acts); a++)
			for (size_t l = 0; l < VQ_COUNT(lengths); l++) {
				size_t n = lengths[l];
				array x = make(t, n), y = make(t, n), dy = make(t, n), dx = make(t, n);
				double *want = ref_new(n), *grad = ref_new(n), *more = ref_new(n);
				for (size_t i = 0; i < n; i++) {
					want[i] = f(a, x.x[i]);
					grad[i] = dy.x[i] * df(a, x.x[i]);
					more[i] = dx.x[i] + grad[i];
				}
				k->act(t, acts[a], n, x.raw, y.raw);
				SAY(error_of(&y, want), "act %zu of %zu", a, n);
				k->act_bwd(t, acts[a], true, n, a == 1 || a == 2 ? NULL : x.raw, y.raw, dy.raw, dx.raw);
				SAY(error_of(&dx, more), "added act_bwd %zu of %zu", a, n);
				k->act_bwd(t, acts[a], false, n, x.raw, y.raw, dy.raw, dy.raw); /* in place */
				SAY(error_of(&dy, grad), "act_bwd %zu of %zu", a, n);
				drop(&x); drop(&y); drop(&dy); drop(&dx);
				free(want); free(grad); free(more);
			}
}

/* Far out, where exp overflows. */
static void activations_far_out(void)
{
	float x[4] = { -100, 100, -1e30f, 1e30f }, y[4], dx[4], one[4] = { 1, 1, 1, 1 };
	for (size_t a = 3; a < 5; a++) {
		k->act(VQ_F32, acts[a], 4, x, y);
		k->act_bwd(VQ_F32, acts[a], false, 4, x, y, one, dx);
		for (int i = 0; i < 2; i++) {
			CHECK_NEAR(y[i], i & 1 ? x[i] : 0, 1e-30);
			CHECK_NEAR(dx[i], i & 1, 1e-30);
		}
		CHECK(y[2] == 0 && y[3] == x[3]);
	}
}

static void sums_and_casts(void)
{
	EACH_TYPE(t)
		for (size_t l = 0; l < VQ_COUNT(lengths); l++) {
			size_t n = lengths[l];
			array a = make(t, n), b = make(t, n), y = make(t, n), half = make(VQ_BF16, n), full = make(VQ_F32, n);
			double *want = ref_new(n);
			for (size_t i = 0; i < n; i++)
				want[i] = a.x[i] + b.x[i];
			k->add(t, n, a.raw, b.raw, y.raw);
			SAY(error_of(&y, want), "add %zu", n);
			k->cast(t, VQ_F32, n, a.raw, full.raw);
			CHECK(error_of(&full, a.x) == 0);
			k->cast(t, VQ_BF16, n, a.raw, half.raw);
			engine_round(VQ_BF16, n, a.x);
			CHECK(error_of(&half, a.x) == 0);
			drop(&a); drop(&b); drop(&y); drop(&half); drop(&full);
			free(want);
		}
}

/* Rounding to bf16 as lib/tensor does it, ties, infinities, NaN and overflow with it. */
static void bf16_rounding(void)
{
	uint32_t bits[64] = { 0, 0x80000000u, 0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7f800001u, 0xffc00000u, 0x3f808000u, 0x3f818000u, 0x3f808001u, 0x7f7fffffu, 1, 0x00008000u };
	float x[64];
	uint16_t y[64];
	for (int i = 13; i < 64; i++)
		bits[i] = vq_rng_u32(&rng);
	memcpy(x, bits, sizeof x);
	k->cast(VQ_F32, VQ_BF16, 64, x, y);
	for (int i = 0; i < 64; i++) {
		uint16_t want = vq_f32_to_bf16(x[i]);
		CHECK(isnan(x[i]) ? isnan(vq_bf16_to_f32(y[i])) : y[i] == want);
	}
}

static const struct { size_t rows, c; } tables[] = { { 1, 1 }, { 5, 3 }, { 64, 16 }, { 130, 17 }, { 3, 64 }, { 70, 65 }, { 200, 5 } };

static void biases_and_columns(void)
{
	EACH_TYPE(t)
		for (size_t l = 0; l < VQ_COUNT(tables); l++) {
			size_t rows = tables[l].rows, c = tables[l].c, n = rows * c;
			for (size_t a = 0; a < VQ_COUNT(acts); a++)
				for (int with = 0; with < 2; with++) {
					array y = make(t, n), b = make(VQ_F32, c);
					for (size_t i = 0; i < n; i++)
						y.x[i] = f(a, y.x[i] + (with ? b.x[i % c] : 0));
					k->bias_act(t, acts[a], rows, c, with ? b.raw : NULL, y.raw);
					SAY(error_of(&y, y.x), "bias_act %zu", a);
					drop(&y); drop(&b);
				}
			array x = make(t, n), mean = make(VQ_F32, c);
			double *sum = ref_new(c), *square = ref_new(c), *got = ref_new(c);
			for (size_t i = 0; i < c; i++)
				sum[i] = square[i] = got[i] = 2;
			for (size_t i = 0; i < n; i++) {
				sum[i % c] += x.x[i];
				square[i % c] += pow(x.x[i] - mean.x[i % c], 2);
			}
			k->col_sum(t, rows, c, x.raw, got);
			CHECK(engine_error(c, got, sum) < 2e-6);
			for (size_t i = 0; i < c; i++)
				got[i] = 2;
			k->col_square(t, rows, c, x.raw, mean.raw, got);
			CHECK(engine_error(c, got, square) < 2e-6);
			drop(&x); drop(&mean);
			free(sum); free(square); free(got);
		}
}

/* y = act(gamma xhat + beta + res), the sums of its gradient and the gradient itself. */
static void norms(void)
{
	EACH_TYPE(t)
		for (size_t l = 0; l < VQ_COUNT(tables); l++)
			for (size_t a = 0; a < VQ_COUNT(acts); a++)
				for (int with = 0; with < 2; with++) {
					size_t rows = tables[l].rows, c = tables[l].c, n = rows * c;
					array x = make(t, n), res = make(t, n), dy = make(t, n), y = make(t, n), dx = make(t, n), dres = make(t, n);
					array mean = make(VQ_F32, c), rstd = make(VQ_F32, c), gamma = make(VQ_F32, c), beta = make(VQ_F32, c), s0 = make(VQ_F32, c), s1 = make(VQ_F32, c);
					array scale = make(VQ_F32, c), shift = make(VQ_F32, c);
					double *wy = ref_new(n), *wg = ref_new(n), *wdx = ref_new(n), *sums = ref_new(2 * c), *got = ref_new(2 * c);
					for (size_t i = 0; i < c; i++) { /* pre-activations the same by either form */
						((float *)scale.raw)[i] = (float)(gamma.x[i] * rstd.x[i]);
						((float *)shift.raw)[i] = (float)(beta.x[i] - mean.x[i] * gamma.x[i] * rstd.x[i]);
					}
					for (size_t i = 0; i < n; i++) {
						size_t j = i % c;
						double xhat = (x.x[i] - mean.x[j]) * rstd.x[j], pre = xhat * gamma.x[j] + beta.x[j] + (with ? res.x[i] : 0);
						wy[i] = f(a, pre);
						wg[i] = dy.x[i] * df(a, pre);
						wdx[i] = gamma.x[j] * rstd.x[j] * (wg[i] - s0.x[j] - xhat * s1.x[j]);
						sums[j] += wg[i];
						sums[c + j] += wg[i] * xhat;
					}
					void *r = with ? res.raw : NULL;
					k->norm(t, acts[a], rows, c, scale.raw, shift.raw, x.raw, r, y.raw);
					SAY(error_of(&y, wy), "norm, act %zu", a);
					k->norm_sums(t, acts[a], rows, c, mean.raw, rstd.raw, gamma.raw, beta.raw, x.raw, r, y.raw, dy.raw, got);
					CHECK(engine_error(2 * c, got, sums) < (rows > 1 ? 3e-6 : 1e-3)); /* one element: GELU's left tail again */
					k->norm_bwd(t, acts[a], rows, c, mean.raw, rstd.raw, gamma.raw, beta.raw, s0.raw, s1.raw, x.raw, r, y.raw, dy.raw, dx.raw, with ? dres.raw : NULL);
					SAY(error_of(&dx, wdx), "norm_bwd, act %zu", a);
					if (with)
						SAY(error_of(&dres, wg), "norm_bwd's residual, act %zu", a);
					memset(dres.raw, 0, n * vq_dtype_size(t));
					k->norm_bwd(t, acts[a], rows, c, mean.raw, rstd.raw, gamma.raw, beta.raw, s0.raw, s1.raw, x.raw, r, y.raw, dy.raw, NULL, dres.raw);
					SAY(error_of(&dres, wg), "norm_bwd's residual alone, act %zu", a);
					k->norm_bwd(t, acts[a], rows, c, mean.raw, rstd.raw, gamma.raw, beta.raw, s0.raw, s1.raw, x.raw, r, y.raw, dy.raw, dy.raw, NULL);
					SAY(error_of(&dy, wdx), "norm_bwd in place, act %zu", a);
					drop(&x); drop(&res); drop(&dy); drop(&y); drop(&dx); drop(&dres); drop(&mean); drop(&rstd); drop(&gamma); drop(&beta); drop(&s0); drop(&s1);
					drop(&scale); drop(&shift);
					free(wy); free(wg); free(wdx); free(sums); free(got);
				}
}

/* --- nearest rows ------------------------------------------------------------------------------------------------- */

typedef struct { size_t d, k, kpad; double *book; float *book_t, *norms; } codebook;

static void transpose(codebook *b)
{
	for (size_t i = 0; i < b->kpad; i++) {
		double s = 0;
		for (size_t j = 0; j < b->d; j++) {
			double e = i < b->k ? b->book[i * b->d + j] : 1e3; /* anything */
			b->book_t[(i / 64 * b->d + j) * 64 + i % 64] = (float)e;
			s += e * e;
		}
		b->norms[i] = i < b->k ? (float)(s / 2) : INFINITY;
	}
}

static codebook make_book(size_t d, size_t rows)
{
	codebook b = { d, rows, VQ_ALIGN(rows, (size_t)64), engine_noise(&rng, VQ_F32, d * rows), NULL, NULL };
	b.book_t = vq_aligned(d * b.kpad * sizeof(float));
	b.norms = vq_aligned(b.kpad * sizeof(float));
	transpose(&b);
	return b;
}

static void drop_book(codebook *b)
{
	free(b->book);
	free(b->book_t);
	free(b->norms);
}

static double distance(const codebook *b, const double *z, int row)
{
	double s = 0;
	for (size_t j = 0; j < b->d; j++)
		s += pow(z[j] - b->book[(size_t)row * b->d + j], 2);
	return s;
}

static void nearest_rows(void)
{
	static const struct { size_t d, k, rows; } c[] = { { 1, 2, 1 }, { 1, 65, 9 }, { 3, 64, 4 }, { 3, 100, 6 }, { 64, 512, 37 }, { 64, 500, 3 }, { 17, 1, 5 }, { 256, 130, 5 } };
	for (size_t i = 0; i < VQ_COUNT(c); i++) {
		codebook b = make_book(c[i].d, c[i].k);
		array z = make(VQ_F32, c[i].rows * c[i].d);
		int32_t codes[64], alone;
		int want[64];
		k->nearest(c[i].rows, b.d, b.kpad, z.raw, b.book_t, b.norms, codes);
		ref_nearest((int)c[i].rows, (int)b.d, (int)b.k, z.x, b.book, NULL, want);
		for (size_t r = 0; r < c[i].rows; r++) {
			CHECK(codes[r] >= 0 && codes[r] < (int)b.k);
			if (codes[r] != want[r])
				CHECK_NEAR(distance(&b, z.x + r * b.d, codes[r]), distance(&b, z.x + r * b.d, want[r]), 1e-5 * (double)b.d);
			/* whatever is computed beside it */
			k->nearest(1, b.d, b.kpad, (float *)z.raw + r * b.d, b.book_t, b.norms, &alone);
			CHECK(alone == codes[r]);
		}
		drop(&z);
		drop_book(&b);
	}
}

/* Equal rows far apart in the table, on either side of every vector's and block's edge: the first of them wins. */
static void ties_go_to_the_lowest(void)
{
	static const size_t same[] = { 3, 15, 16, 31, 47, 48, 63, 64, 79, 128, 191, 199 };
	static const size_t widths[] = { 1, 3, 64 };
	for (size_t w = 0; w < VQ_COUNT(widths); w++)
		for (size_t first = 0; first < VQ_COUNT(same); first++) {
			codebook b = make_book(widths[w], 200);
			array z = make(VQ_F32, 6 * b.d);
			int32_t codes[6];
			for (size_t i = 0; i < b.d * b.k; i++)
				b.book[i] += 100; /* far from z */
			for (size_t i = first; i < VQ_COUNT(same); i++)
				memcpy(b.book + same[i] * b.d, z.x, b.d * sizeof *z.x);
			for (int r = 1; r < 6; r++)
				memcpy((float *)z.raw + (size_t)r * b.d, z.raw, b.d * sizeof(float));
			transpose(&b);
			k->nearest(6, b.d, b.kpad, z.raw, b.book_t, b.norms, codes);
			for (int r = 0; r < 6; r++)
				CHECK(codes[r] == (int)same[first]);
			drop(&z);
			drop_book(&b);
		}
}

static void nan_has_a_code(void)
{
	codebook b = make_book(3, 10);
	float z[6] = { NAN, 1, 2, INFINITY, -INFINITY, 0 };
	int32_t codes[2] = { -5, -5 };
	k->nearest(2, 3, b.kpad, z, b.book_t, b.norms, codes);
	for (int i = 0; i < 2; i++)
		CHECK(codes[i] >= 0 && codes[i] < 10);
	drop_book(&b);
}

/* --- losses, sums, optimisers ------------------------------------------------------------------------------------- */

static void losses(void)
{
	static const struct { size_t pixels, c; } sizes[] = { { 0, 3 }, { 1, 1 }, { 5, 3 }, { 300, 1 }, { 257, 4 } };
	for (size_t s = 0; s < VQ_COUNT(sizes); s++)
		for (int power = 1; power <= 2; power++)
			for (int with = 0; with < 2; with++) {
				vq_dtype t = VQ_F32;
				size_t n = sizes[s].pixels * sizes[s].c;
				array y = make(t, n), target = make(t, n), w = make(t, sizes[s].pixels), dy = make(t, n);
				double *grad = ref_new(n), sum = 0, magnitude = 0;
				for (size_t i = 0; i < n; i++) {
					double d = y.x[i] - target.x[i], wi = with ? w.x[i / sizes[s].c] : 1;
					sum += wi * (power == 2 ? d * d : fabs(d));
					magnitude += fabs(wi) * (power == 2 ? d * d : fabs(d));
					grad[i] = .3f * wi * (power == 2 ? 2 * d : (d > 0) - (d < 0));
				}
				CHECK_NEAR(k->loss(sizes[s].pixels, sizes[s].c, power, y.raw, target.raw, with ? w.raw : NULL, .3f, dy.raw), sum, 1e-6 * magnitude);
				SAY(error_of(&dy, grad), "gradient of loss %d", power);
				CHECK_NEAR(k->loss(sizes[s].pixels, sizes[s].c, power, y.raw, target.raw, with ? w.raw : NULL, .3f, NULL), sum, 1e-6 * magnitude);
				drop(&y); drop(&target); drop(&w); drop(&dy);
				free(grad);
			}
}

static void sums_of_squares(void)
{
	for (size_t l = 0; l < VQ_COUNT(lengths) + 1; l++) {
		size_t n = l < VQ_COUNT(lengths) ? lengths[l] : 1000;
		array a = make(VQ_F32, n), b = make(VQ_F32, n);
		double squares = 0, apart = 0;
		for (size_t i = 0; i < n; i++) {
			squares += a.x[i] * a.x[i];
			apart += pow(a.x[i] - b.x[i], 2);
		}
		CHECK_NEAR(k->sum_squares(n, a.raw), squares, 1e-6 * squares);
		CHECK_NEAR(k->square_distance(n, a.raw, b.raw), apart, 1e-6 * apart);
		for (size_t i = 0; i < n; i++)
			b.x[i] += .7f * a.x[i];
		k->axpy(n, .7f, a.raw, b.raw);
		CHECK(error_of(&b, b.x) < 1e-6);
		drop(&a); drop(&b);
	}
}

static void optimiser_steps(void)
{
	for (size_t l = 0; l < VQ_COUNT(lengths); l++)
		for (int kind = 0; kind < 3; kind++) {
			size_t n = lengths[l];
			array p = make(VQ_F32, n), m = make(VQ_F32, n), v = make(VQ_F32, n);
			memset(m.raw, 0, n * 4);
			memset(v.raw, 0, n * 4);
			memset(m.x, 0, n * sizeof(double));
			memset(v.x, 0, n * sizeof(double));
			for (int step = 1; step <= 3; step++) {
				array g = make(VQ_F32, n);
				double c1 = 1 - pow(.9f, step), c2 = 1 - pow(.99f, step);
				if (kind == 2)
					k->sgd(n, .1f, .9f, .01f, step == 1, .5f, g.raw, m.raw, p.raw);
				else
					k->adam(n, kind == 1, .1f, .9f, .99f, 1e-8f, .01f, (float)c1, (float)c2, .5f, g.raw, m.raw, v.raw, p.raw);
				for (size_t i = 0; i < n; i++)
					g.x[i] *= .5;
				if (kind == 2)
					ref_sgd(n, p.x, g.x, m.x, .1f, .9f, .01f);
				else
					(kind == 1 ? ref_adamw : ref_adam)(n, p.x, g.x, m.x, v.x, step, .1f, .9f, .99f, 1e-8f, .01f);
				CHECK(error_of(&p, p.x) < 3e-6);
				CHECK(error_of(&m, m.x) < 3e-6);
				if (kind < 2)
					CHECK(error_of(&v, v.x) < 3e-6);
				drop(&g);
			}
			drop(&p); drop(&m); drop(&v);
		}
}

static void all_kernels(int level)
{
	rng = vq_rng_make(21, 0);
	k = vq_kernels_pick(level);
	static const char *const names[] = { "base", "", "", "avx2", "avx512" };
	if (strcmp(k->name, names[level]))
		SKIP("this machine has no %s", names[level]);
	activations();
	activations_far_out();
	sums_and_casts();
	bf16_rounding();
	biases_and_columns();
	norms();
	nearest_rows();
	ties_go_to_the_lowest();
	nan_has_a_code();
	losses();
	sums_of_squares();
	optimiser_steps();
}

TEST(kernels_for_any_machine) { all_kernels(0); }
TEST(kernels_for_avx2) { all_kernels(3); }
TEST(kernels_for_avx512) { all_kernels(4); }

TEST_MAIN(RUN(kernels_for_any_machine) RUN(kernels_for_avx2) RUN(kernels_for_avx512))
