#include "lib/eval/eigen.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

TEST(a_known_matrix)
{
	double a[4] = { 2, 1, 1, 2 }, values[2], v[4];
	CHECK_OK(vq_eigen(a, 2, values, v));
	CHECK_NEAR(values[0], 3, 1e-14);
	CHECK_NEAR(values[1], 1, 1e-14);
	for (int i = 0; i < 3; i++)
		CHECK_NEAR(v[i], sqrt(.5), 1e-14);
	CHECK_NEAR(v[3], -sqrt(.5), 1e-14);
	double one[1] = { -4 };
	CHECK_OK(vq_eigen(one, 1, values, v));
	CHECK(values[0] == -4 && v[0] == 1);
}

/* A v = value v, vectors at right angles, values in order. */
TEST(any_symmetric_matrix)
{
	enum { N = 40 };
	static double a[N * N], b[N * N], v[N * N], values[N];
	vq_rng r = vq_rng_make(1, 1);
	for (int i = 0; i < N; i++)
		for (int k = i; k < N; k++)
			a[i * N + k] = a[k * N + i] = vq_rng_normal(&r);
	memcpy(b, a, sizeof a);
	CHECK_OK(vq_eigen(b, N, values, v));
	for (int e = 0; e < N; e++) {
		CHECK(e == 0 || values[e] <= values[e - 1]);
		for (int i = 0; i < N; i++) {
			double sum = 0, dot = 0;
			for (int k = 0; k < N; k++) {
				sum += a[i * N + k] * v[e * N + k];
				dot += v[e * N + k] * v[i * N + k];
			}
			CHECK_NEAR(sum, values[e] * v[e * N + i], 1e-11);
			CHECK_NEAR(dot, i == e, 1e-12);
		}
	}
}

TEST(points_on_a_line_and_in_a_plane)
{
	/* 3 t along (2, 1, 2) / 3 and a little along (1, 0, -1) */
	float x[5 * 3];
	double xy[10], share[2];
	static const double wobble[5] = { .1, -.2, 0, .2, -.1 };
	for (int t = 0; t < 5; t++) {
		x[3 * t] = (float)(2 * (t - 2) + 7 + wobble[t]);
		x[3 * t + 1] = (float)(t - 2 - 5);
		x[3 * t + 2] = (float)(2 * (t - 2) - wobble[t]);
	}
	CHECK_OK(vq_eigen_plane(x, 5, 3, xy, share));
	for (int t = 0; t < 5; t++) {
		CHECK_NEAR(xy[2 * t], 3 * (t - 2), 1e-2);
		CHECK_NEAR(fabs(xy[2 * t + 1]), fabs(wobble[t]) * sqrt(2), 1e-2);
	}
	CHECK_NEAR(share[0], 90 / 90.2, 1e-3);
	CHECK_NEAR(share[0] + share[1], 1, 1e-6);
}

TEST(ends_of_the_range)
{
	static const float same[4] = { 3, 3, 3, 3 }, bad[2] = { 1, NAN };
	double xy[8], share[2], a[4] = { 1, INFINITY, INFINITY, 1 }, values[2], v[4];
	CHECK_OK(vq_eigen_plane(same, 4, 1, xy, share));
	CHECK(share[0] == 0 && share[1] == 0 && xy[0] == 0 && xy[7] == 0);
	CHECK_OK(vq_eigen_plane(same, 1, 4, xy, share));
	CHECK(share[0] == 0);
	CHECK_FAILS(vq_eigen_plane(bad, 2, 1, xy, share), VQ_EINVAL);
	CHECK_STR(vq_message(), "value 0 of vector 1 is not finite");
	CHECK_FAILS(vq_eigen_plane(same, 0, 1, xy, share), VQ_EINVAL);
	CHECK_FAILS(vq_eigen_plane(same, 1, VQ_EIGEN_MAX + 1, xy, share), VQ_EINVAL);
	CHECK_FAILS(vq_eigen(a, 2, values, v), VQ_EINVAL);
}

TEST_MAIN(RUN(a_known_matrix) RUN(any_symmetric_matrix) RUN(points_on_a_line_and_in_a_plane) RUN(ends_of_the_range))
