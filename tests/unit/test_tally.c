#include "lib/image/normalize.h"
#include "lib/image/tally.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

enum { IMAGES = 12, SIDE = 21 };

/* The same pixels as one image and as many: spread over `IMAGES` tensors of a dtype, `value` of a uniform number. */
static void compare(vq_dtype dtype, double scale, double shift, double tolerance, bool exact)
{
	static const double p[] = { 0, .1, 1, 5, 25, 50, 75, 95, 99, 99.9, 100 };
	vq_rng r = vq_rng_make(2, 0);
	vq_tensor all, one;
	vq_tally *t;
	double want[VQ_COUNT(p)], mean, std, lo, hi, got[2];
	CHECK_OK(vq_tally_open(&t));
	CHECK_OK(vq_tensor_make(&all, dtype, 3, (int64_t[]){ 1, IMAGES * SIDE, SIDE }));
	for (int i = 0; i < IMAGES; i++) {
		CHECK_OK(vq_tensor_make(&one, dtype, 3, (int64_t[]){ 2, SIDE + 2, SIDE + 3 })); /* zeros round it do not count */
		for (int k = 0; k < SIDE * SIDE; k++) {
			double v = vq_rng_uniform(&r) * scale * (i + 1) / IMAGES + shift;
			vq_tensor_set(&all, (size_t)(i * SIDE * SIDE + k), v);
			vq_tensor_set(&one, (size_t)((SIDE + 2 + 1 + k / SIDE) * (SIDE + 3) + 2 + k % SIDE), v);
		}
		CHECK_OK(vq_tally_add(t, &one, 1, (vq_window){ 1, 2, SIDE, SIDE }));
		vq_tensor_free(&one);
	}
	vq_window w = vq_window_whole(&all);
	CHECK(vq_tally_count(t) == IMAGES * SIDE * SIDE && vq_tally_exact(t) == exact);
	CHECK_OK(vq_plane_percentiles(&all, 0, w, p, VQ_COUNT(p), want));
	CHECK_OK(vq_plane_moments(&all, 0, w, &mean, &std));
	CHECK_OK(vq_plane_range(&all, 0, w, &lo, &hi));
	for (size_t i = 0; i < VQ_COUNT(p); i++)
		CHECK_NEAR(vq_tally_percentile(t, p[i]), want[i], tolerance * fmax(fabs(want[i]), 1e-6));
	vq_tally_moments(t, got, got + 1);
	CHECK_NEAR(got[0], mean, 1e-11 * (fabs(mean) + std));
	CHECK_NEAR(got[1], std, 1e-9 * (fabs(mean) + std));
	vq_tally_range(t, got, got + 1);
	CHECK(got[0] == lo && got[1] == hi);
	vq_tally_close(t);
	vq_tensor_free(&all);
}

TEST(whole_numbers_are_counted_exactly)
{
	compare(VQ_U8, 256, 0, 1e-15, true);
	compare(VQ_I8, 256, -128, 1e-15, true);
	compare(VQ_U16, 4000, 200, 1e-15, true);
	compare(VQ_U16, 65535, 0, 1e-15, true);
	compare(VQ_I32, 60000, 0, 1e-15, true);
	compare(VQ_F32, 0, 17, 1e-15, true);
}

TEST(other_numbers_are_close)
{
	compare(VQ_I32, 2e9, -1e9, 5e-4, false);
	compare(VQ_F32, 1, 0, 5e-4, false);
	compare(VQ_F32, 1e-6, 0, 5e-4, false);
	compare(VQ_F32, 300, -150, 2e-3, false); /* ranks about 0 lie far apart there */
	compare(VQ_F64, 1e12, -1e13, 5e-4, false);
	compare(VQ_F16, 1000, 0, 5e-4, false);
}

TEST(whole_numbers_may_turn_into_others)
{
	vq_tally *t;
	vq_tensor a;
	CHECK_OK(vq_tally_open(&t));
	CHECK_OK(vq_tensor_make(&a, VQ_F32, 2, (int64_t[]){ 1, 4 }));
	float *v = a.data;
	v[0] = 10, v[1] = 20, v[2] = 30, v[3] = 40;
	CHECK_OK(vq_tally_add(t, &a, 0, vq_window_whole(&a)));
	CHECK(vq_tally_exact(t) && vq_tally_percentile(t, 50) == 25);
	v[0] = 10.5f, v[1] = -1e30f, v[2] = 70000, v[3] = 20;
	CHECK_OK(vq_tally_add(t, &a, 0, vq_window_whole(&a)));
	CHECK(!vq_tally_exact(t));
	CHECK(vq_tally_percentile(t, 0) == (double)-1e30f && vq_tally_percentile(t, 100) == 70000);
	CHECK_NEAR(vq_tally_percentile(t, 50), 20, 20. / 1024);
	v[2] = NAN;
	CHECK_FAILS(vq_tally_add(t, &a, 0, vq_window_whole(&a)), VQ_EINVAL);
	vq_tensor_free(&a);
	vq_tally_close(t);
}

TEST_MAIN(RUN(whole_numbers_are_counted_exactly) RUN(other_numbers_are_close) RUN(whole_numbers_may_turn_into_others))
