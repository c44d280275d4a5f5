#include "lib/image/normalize.h"
#include "lib/image/select.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

/* --- naive references --------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* numpy's definition on a sorted copy. */
static double naive_percentile(const double *v, size_t n, double p)
{
	double *s = malloc(n * sizeof *s), at = (double)(n - 1) * (p / 100), r;
	memcpy(s, v, n * sizeof *s);
	qsort(s, n, sizeof *s, by_value);
	size_t k = (size_t)floor(at), l = k + 1 < n ? k + 1 : n - 1;
	r = s[k] + (s[l] - s[k]) * (at - (double)k);
	free(s);
	return r;
}

static size_t window_values(const vq_tensor *t, int64_t c, vq_window w, double *v)
{
	size_t n = 0;
	for (int64_t y = 0; y < w.h; y++)
		for (int64_t x = 0; x < w.w; x++)
			v[n++] = vq_tensor_get(t, (size_t)((c * t->shape[1] + w.top + y) * t->shape[2] + w.left + x));
	return n;
}

static vq_tensor random_image(vq_rng *r, vq_dtype t, int64_t c, int64_t h, int64_t w, double spread)
{
	vq_tensor v;
	if (vq_tensor_make(&v, t, 3, (int64_t[]){ c, h, w }) < 0)
		abort();
	for (size_t i = 0; i < (size_t)(c * h * w); i++)
		vq_tensor_set(&v, i, (vq_rng_uniform(r) - (t == VQ_U8 || t == VQ_U16 ? 0 : .4)) * spread);
	return v;
}

static const struct { int64_t h, w; vq_window at; } shapes[] = {
	{ 1, 1, { 0, 0, 1, 1 } },   { 1, 2, { 0, 0, 1, 2 } },   { 1, 7, { 0, 0, 1, 7 } },    { 9, 1, { 0, 0, 9, 1 } },
	{ 14, 17, { 0, 0, 14, 17 } }, { 32, 32, { 3, 5, 21, 19 } }, { 40, 600, { 1, 2, 37, 590 } }, { 5, 5, { 4, 4, 1, 1 } },
};
static const double spreads[] = { 1, 3, 250, 30000, 65535 };

/* One random image of every type, shape and spread: channel 1 within window w holds the n values v. */
typedef void case_fn(const vq_tensor *image, vq_window w, const double *v, size_t n);
static void each_case(case_fn *f)
{
	vq_rng r = vq_rng_make(5, 0);
	for (int t = 0; t < VQ_DTYPES; t++)
		for (size_t i = 0; i < VQ_COUNT(shapes) * VQ_COUNT(spreads); i++) {
			size_t k = i % VQ_COUNT(shapes);
			vq_tensor image = random_image(&r, (vq_dtype)t, 2, shapes[k].h, shapes[k].w, spreads[i / VQ_COUNT(shapes)]);
			double *v = malloc(sizeof *v * (size_t)(shapes[k].at.h * shapes[k].at.w));
			f(&image, shapes[k].at, v, window_values(&image, 1, shapes[k].at, v));
			free(v);
			vq_tensor_free(&image);
		}
}

static void check_percentiles(const vq_tensor *image, vq_window w, const double *v, size_t n)
{
	static const double p[] = { 5, 95, 0, 100, 50, 33.3, 99.9, 0.1, 2.5, 97.5, 25 };
	double out[VQ_COUNT(p)];
	CHECK_OK(vq_plane_percentiles(image, 1, w, p, VQ_COUNT(p), out));
	for (size_t i = 0; i < VQ_COUNT(p); i++) {
		double want = naive_percentile(v, n, p[i]);
		CHECK_NEAR(out[i], want, 1e-12 * fmax(1, fabs(want)));
	}
}

TEST(percentiles_are_those_of_a_sorted_copy) { each_case(check_percentiles); }

static void check_moments(const vq_tensor *image, vq_window w, const double *v, size_t n)
{
	double lo = INFINITY, hi = -INFINITY, mean = 0, var = 0, got[4];
	for (size_t i = 0; i < n; i++) {
		lo = fmin(lo, v[i]);
		hi = fmax(hi, v[i]);
		mean += v[i] / (double)n;
	}
	for (size_t i = 0; i < n; i++)
		var += (v[i] - mean) * (v[i] - mean) / (double)n;
	CHECK_OK(vq_plane_range(image, 1, w, got, got + 1));
	CHECK_OK(vq_plane_moments(image, 1, w, got + 2, got + 3));
	CHECK(got[0] == lo && got[1] == hi);
	CHECK_NEAR(got[2], mean, 1e-10 * fmax(1, fabs(mean)));
	CHECK_NEAR(got[3], sqrt(var), 1e-9 * fmax(1, fabs(mean)));
}

TEST(range_and_moments_are_those_of_the_values) { each_case(check_moments); }

static void check_maps(const vq_tensor *image, vq_window w, const double *v, size_t n)
{
	double lo = naive_percentile(v, n, 5), hi = naive_percentile(v, n, 95), *back = malloc(n * sizeof *back);
	for (int kind = VQ_MAP_RANGE; kind <= VQ_MAP_SCORE; kind++)
		for (int clip = 0; clip < 2; clip++) {
			vq_map m;
			vq_tensor out;
			size_t lost = 99;
			CHECK_OK(vq_map_make(&m, (vq_map_kind)kind, lo, kind == VQ_MAP_RANGE ? hi : hi - lo, clip));
			CHECK(m.constant == !(hi > lo));
			CHECK_OK(vq_tensor_make(&out, VQ_F32, 3, image->shape));
			CHECK_OK(vq_map_plane(m, image, 1, w, &out, &lost));
			double *y = malloc(n * sizeof *y);
			float *f = malloc(n * sizeof *f);
			window_values(&out, 1, w, y);
			size_t want_lost = 0;
			for (size_t i = 0; i < n; i++) {
				double want = kind == VQ_MAP_SCORE ? (v[i] - lo) / (hi - lo) : (v[i] - lo) / (hi - lo) * 2 - 1;
				if (m.clip)
					want = fmin(fmax(want, -1), 1);
				if (m.constant)
					want = 0;
				CHECK_NEAR(y[i], want, 2e-7 * fmax(1, fabs(want)));
				want_lost += m.constant ? v[i] != lo : m.clip && (v[i] < lo || v[i] > hi);
				f[i] = (float)y[i];
			}
			CHECK(lost == want_lost);
			vq_map_inverse(m, f, n, back);
			for (size_t i = 0; i < n; i++)
				if (!m.constant && !(m.clip && (v[i] < lo || v[i] > hi)))
					CHECK_NEAR(back[i], v[i], 2e-6 * fmax(hi - lo, fabs(v[i] - lo)) + 1e-9);
			free(y);
			free(f);
			vq_tensor_free(&out);
		}
	free(back);
}

TEST(maps_are_their_formulas_and_count_what_is_lost) { each_case(check_maps); }

TEST(selection_finds_ranks_in_any_order)
{
	vq_rng r = vq_rng_make(9, 0);
	double v[300], sorted[300];
	for (int round = 0; round < 200; round++) {
		size_t n = 1 + (size_t)vq_rng_below(&r, 300), kinds = 1 + (size_t)vq_rng_below(&r, 2 * n);
		for (size_t i = 0; i < n; i++)
			sorted[i] = v[i] = round % 3 ? (double)vq_rng_below(&r, kinds) : (double)(round & 1 ? i : n - i);
		qsort(sorted, n, sizeof *sorted, by_value);
		vq_selection s = { .v = v, .n = n };
		for (int i = 0; i < 20; i++) {
			size_t k = (size_t)vq_rng_below(&r, n);
			CHECK(vq_selection_rank(&s, k) == sorted[k]);
		}
	}
}

TEST(bad_pixels_are_named)
{
	vq_tensor t, out;
	double lo, hi, p = 50;
	CHECK_OK(vq_tensor_make(&t, VQ_F32, 3, (int64_t[]){ 2, 6, 8 }));
	CHECK_OK(vq_tensor_make(&out, VQ_F32, 3, t.shape));
	((float *)t.data)[48 + 3 * 8 + 5] = NAN;
	vq_window whole = vq_window_whole(&t), part = { 2, 1, 3, 7 };
	CHECK_OK(vq_plane_range(&t, 0, whole, &lo, &hi));
	CHECK_FAILS(vq_plane_range(&t, 1, whole, &lo, &hi), VQ_EINVAL);
	CHECK_STR(vq_message(), "a NaN pixel at row 3, column 5");
	CHECK_FAILS(vq_plane_percentiles(&t, 1, part, &p, 1, &lo), VQ_EINVAL);
	CHECK_STR(vq_message(), "a NaN pixel at row 1, column 4");
	((float *)t.data)[48 + 3 * 8 + 5] = -INFINITY;
	CHECK_FAILS(vq_plane_moments(&t, 1, whole, &lo, &hi), VQ_EINVAL);
	CHECK_STR(vq_message(), "an infinite pixel at row 3, column 5");
	vq_map m;
	CHECK_OK(vq_map_make(&m, VQ_MAP_RANGE, 0, 1, true));
	CHECK_FAILS(vq_map_plane(m, &t, 1, whole, &out, NULL), VQ_EINVAL);
	CHECK_STR(vq_message(), "an infinite pixel at row 3, column 5");
	CHECK_FAILS(vq_plane_range(&t, 2, whole, &lo, &hi), VQ_EINVAL);
	CHECK_FAILS(vq_plane_range(&t, 0, (vq_window){ 0, 0, 7, 8 }, &lo, &hi), VQ_EINVAL);
	CHECK_FAILS(vq_plane_range(&t, 0, (vq_window){ 0, 0, 0, 8 }, &lo, &hi), VQ_EINVAL);
	p = 101;
	CHECK_FAILS(vq_plane_percentiles(&t, 0, whole, &p, 1, &lo), VQ_EINVAL);
	vq_tensor_free(&t);
	vq_tensor_free(&out);
}

TEST(extreme_values_are_refused_or_constant)
{
	vq_tensor t, out;
	vq_map m;
	double mean, std;
	CHECK_OK(vq_tensor_make(&t, VQ_F64, 3, (int64_t[]){ 1, 1, 3 }));
	CHECK_OK(vq_tensor_make(&out, VQ_F32, 3, t.shape));
	double *v = t.data;
	v[0] = .1, v[1] = .1, v[2] = .1;
	CHECK_OK(vq_plane_moments(&t, 0, vq_window_whole(&t), &mean, &std));
	CHECK(mean == .1 && std == 0);
	v[2] = 1e300;
	CHECK_OK(vq_map_make(&m, VQ_MAP_RANGE, 0, 1, false));
	CHECK_FAILS(vq_map_plane(m, &t, 0, vq_window_whole(&t), &out, NULL), VQ_EINVAL);
	CHECK_HAS(vq_message(), "f32 cannot hold");
	CHECK_FAILS(vq_map_make(&m, VQ_MAP_RANGE, -1.7e308, 1.7e308, true), VQ_EINVAL);
	CHECK_FAILS(vq_map_make(&m, VQ_MAP_RANGE, NAN, 1, true), VQ_EINVAL);
	CHECK_OK(vq_map_make(&m, VQ_MAP_RANGE, 0, 1e-320, true));
	CHECK(m.constant);
	v[2] = 1.7e308, v[1] = -1.7e308;
	CHECK_FAILS(vq_plane_moments(&t, 0, vq_window_whole(&t), &mean, &std), VQ_EINVAL);
	vq_tensor_free(&t);
	vq_tensor_free(&out);
}

TEST_MAIN(RUN(percentiles_are_those_of_a_sorted_copy) RUN(range_and_moments_are_those_of_the_values)
	RUN(maps_are_their_formulas_and_count_what_is_lost) RUN(selection_finds_ranks_in_any_order)
	RUN(bad_pixels_are_named) RUN(extreme_values_are_refused_or_constant))
