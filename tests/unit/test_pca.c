/* Principal components: known axes, eigenvectors, what is missing or constant. */
#include "tests/unit/test.h"

#include "lib/eval/eigen.h"
#include "lib/eval/pca.h"

static double noise(uint64_t *s)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return (double)(*s >> 40) / (double)(1 << 24) - 0.5;
}

TEST(eigen_known)
{
	double a[4] = { 2, 1, 1, 2 }, value[2], v[4];
	CHECK_OK(vq_eigen(a, 2, value, v));
	CHECK_NEAR(value[0], 3, 1e-14);
	CHECK_NEAR(value[1], 1, 1e-14);
	CHECK_NEAR(v[0], sqrt(0.5), 1e-14);
	CHECK_NEAR(v[1], sqrt(0.5), 1e-14);
	CHECK(v[2] * v[3] < 0);
	CHECK_NEAR(fabs(v[2]), sqrt(0.5), 1e-14);
}

TEST(eigen_diagonal_and_bad)
{
	double a[9] = { 1, 0, 0, 0, 5, 0, 0, 0, -2 }, value[3], v[9], bad[4] = { 1, NAN, NAN, 1 };
	CHECK_OK(vq_eigen(a, 3, value, v));
	CHECK(value[0] == 5 && value[1] == 1 && value[2] == -2);
	CHECK(v[1] == 1 && v[3] == 1 && v[8] == 1);
	CHECK_FAILS(vq_eigen(bad, 2, value, v), VQ_EINVAL);
	CHECK_HAS(vq_message(), "not finite");
}

TEST(eigen_random_matrix)
{
	enum { D = 40 };
	static double a[D * D], keep[D * D], v[D * D], value[D];
	uint64_t s = 1;
	for (int i = 0; i < D; i++)
		for (int j = i; j < D; j++)
			a[i * D + j] = a[j * D + i] = noise(&s) * 1000;
	memcpy(keep, a, sizeof a);
	CHECK_OK(vq_eigen(a, D, value, v));
	for (int i = 0; i < D; i++) {
		CHECK(!i || value[i] <= value[i - 1]);
		double top = 0;
		for (int r = 0; r < D; r++) {
			double sum = 0, dot = 0;
			for (int c = 0; c < D; c++) {
				sum += keep[r * D + c] * v[i * D + c];
				dot += v[r * D + c] * v[i * D + c];
			}
			CHECK_NEAR(sum, value[i] * v[i * D + r], 1e-9);
			CHECK_NEAR(dot, r == i, 1e-12);
			if (fabs(v[i * D + r]) > fabs(top))
				top = v[i * D + r];
		}
		CHECK(top > 0);
	}
}

/* Two columns of one cause, one of another, one constant: n rows, in blocks of unequal length. */
enum { N = 500, D = 4 };
static float table[N][D];

static void run(vq_pca *p, int most)
{
	static const int at[] = { 0, 1, 200, 499, N };
	CHECK_OK(vq_pca_make(p, D));
	for (int pass = 0; pass < 2; pass++)
		for (int b = 0; b + 1 < (int)VQ_COUNT(at); b++)
			(pass ? vq_pca_covariance : vq_pca_moments)(p, table[at[b]], at[b + 1] - at[b]);
	CHECK_OK(vq_pca_solve(p, most));
}

static void fill(void)
{
	uint64_t s = 7;
	for (int i = 0; i < N; i++) {
		double cause = noise(&s);
		table[i][0] = (float)(1e6 + 1000 * cause);
		table[i][1] = (float)(-0.01 * cause);
		table[i][2] = (float)noise(&s);
		table[i][3] = 1234.5f;
	}
}

TEST(components_of_a_table)
{
	vq_pca p;
	static float out[N][3];
	fill();
	run(&p, 50);
	CHECK(p.k == 3 && p.n == N);
	CHECK(p.std[3] == 0);
	CHECK_NEAR(p.total, 3, 1e-9);
	CHECK_NEAR(p.variance[0], 2, 0.05);
	CHECK_NEAR(p.variance[0] + p.variance[1] + p.variance[2], 3, 1e-9);
	CHECK_NEAR(fabs(p.axis[0]), sqrt(0.5), 0.05);
	CHECK_NEAR(p.axis[0] * p.axis[1], -0.5, 0.05);
	CHECK(p.axis[3] == 0 && p.axis[7] == 0);
	vq_pca_project(&p, table[0], N, out[0]);
	for (int k = 0; k < 3; k++) {
		double sum = 0, square = 0;
		for (int i = 0; i < N; i++) {
			sum += (double)out[i][k];
			square += (double)out[i][k] * (double)out[i][k];
		}
		CHECK_NEAR(sum / N, 0, 1e-6);
		CHECK_NEAR(square / N, p.variance[k], 1e-5);
	}
	vq_pca_free(&p);
}

TEST(missing_values_are_the_mean)
{
	vq_pca p;
	float out[1];
	fill();
	for (int i = 0; i < N; i += 10)
		table[i][2] = NAN;
	for (int j = 0; j < D; j++)
		table[3][j] = j == 3 ? 1234.5f : NAN;
	run(&p, 1);
	CHECK(p.k == 1);
	CHECK(isfinite(p.variance[0]) && p.total < 3 && p.total > 2.8);
	vq_pca_project(&p, table[3], 1, out);
	CHECK(out[0] == 0);
	vq_pca_free(&p);
}

TEST(few_rows)
{
	vq_pca p;
	const float one[2] = { 1, 2 }, two[4] = { 1, 2, 3, 5 };
	CHECK_OK(vq_pca_make(&p, 2));
	vq_pca_moments(&p, one, 1);
	vq_pca_covariance(&p, one, 1);
	CHECK_OK(vq_pca_solve(&p, 50));
	CHECK(p.k == 0);
	vq_pca_free(&p);
	CHECK_OK(vq_pca_make(&p, 2));
	vq_pca_moments(&p, two, 2);
	vq_pca_covariance(&p, two, 2);
	CHECK_OK(vq_pca_solve(&p, 50));
	CHECK(p.k == 1);
	CHECK_NEAR(p.variance[0], 2, 1e-12);
	vq_pca_free(&p);
	CHECK_FAILS(vq_pca_make(&p, 0), VQ_EINVAL);
	CHECK_FAILS(vq_pca_make(&p, VQ_PCA_MAX + 1), VQ_EINVAL);
	vq_pca_free(&p);
}

TEST_MAIN(RUN(eigen_known) RUN(eigen_diagonal_and_bad) RUN(eigen_random_matrix) RUN(components_of_a_table) RUN(missing_values_are_the_mean) RUN(few_rows))
