#include "lib/eval/codebook.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

static vq_tensor tensor(vq_dtype dtype, const double *v, int64_t n)
{
	vq_tensor t;
	CHECK_OK(vq_tensor_make(&t, dtype, 1, &n));
	for (int64_t i = 0; i < n; i++)
		vq_tensor_set(&t, (size_t)i, v[i]);
	return t;
}

TEST(known_shares)
{
	/* 4 of code 0, 2 of code 1, 1 of code 2, 1 of code 3: 1.75 bits */
	static const double v[8] = { 0, 1, 0, 2, 0, 1, 3, 0 };
	static const vq_dtype types[] = { VQ_U8, VQ_U16, VQ_I32, VQ_I64 };
	for (size_t k = 0; k < VQ_COUNT(types); k++) {
		vq_code_counts c;
		CHECK_OK(vq_code_counts_make(&c, 5));
		vq_tensor t = tensor(types[k], v, 8);
		CHECK_OK(vq_code_counts_add(&c, &t));
		CHECK_OK(vq_code_counts_add(&c, &t));
		vq_code_figures f = vq_code_counts_get(&c);
		CHECK(c.total == 16 && c.counts[0] == 8 && c.counts[4] == 0 && f.used == 4);
		CHECK_NEAR(f.usage, 0.8, 1e-15);
		CHECK_NEAR(f.entropy, 1.75, 1e-14);
		CHECK_NEAR(f.perplexity, pow(2, 1.75), 1e-13);
		CHECK(f.raw_bits == 3);
		vq_tensor_free(&t);
		vq_code_counts_free(&c);
	}
}

TEST(ends_of_the_scale)
{
	static const struct { int64_t size; int bits; } sizes[] = { {1, 0}, {2, 1}, {3, 2}, {512, 9}, {513, 10}, {65536, 16} };
	for (size_t i = 0; i < VQ_COUNT(sizes); i++) {
		vq_code_counts c;
		CHECK_OK(vq_code_counts_make(&c, sizes[i].size));
		vq_code_figures f = vq_code_counts_get(&c);
		CHECK(f.used == 0 && f.usage == 0 && f.entropy == 0 && f.perplexity == 0 && f.raw_bits == sizes[i].bits);
		static const double zero[3] = {0};
		vq_tensor t = tensor(VQ_U16, zero, 3);
		CHECK_OK(vq_code_counts_add(&c, &t));
		f = vq_code_counts_get(&c);
		CHECK(f.used == 1 && f.entropy == 0 && !signbit(f.entropy) && f.perplexity == 1);
		for (int64_t k = 0; k < sizes[i].size; k++)
			c.counts[k] = 7;
		c.total = 7 * (uint64_t)sizes[i].size;
		f = vq_code_counts_get(&c);
		CHECK_NEAR(f.entropy, log2((double)sizes[i].size), 1e-9);
		CHECK(f.usage == 1);
		vq_code_counts_clear(&c);
		CHECK(c.total == 0 && c.counts[0] == 0);
		vq_tensor_free(&t);
		vq_code_counts_free(&c);
	}
}

TEST(bad_codes_are_named_and_not_counted)
{
	vq_code_counts c;
	CHECK_FAILS(vq_code_counts_make(&c, 0), VQ_EINVAL);
	CHECK_FAILS(vq_code_counts_make(&c, (int64_t)VQ_CODEBOOK_MAX + 1), VQ_EINVAL);
	CHECK_OK(vq_code_counts_make(&c, 4));
	vq_tensor t = tensor(VQ_U16, (const double[]){ 1, 2, 4 }, 3), negative = tensor(VQ_I32, (const double[]){ -1 }, 1),
	          real = tensor(VQ_F32, (const double[]){ 1 }, 1);
	CHECK_FAILS(vq_code_counts_add(&c, &t), VQ_EINVAL);
	CHECK_STR(vq_message(), "code 4 at position 2 is outside a codebook of 4");
	CHECK(c.total == 0 && c.counts[1] == 0);
	CHECK_FAILS(vq_code_counts_add(&c, &negative), VQ_EINVAL);
	CHECK_FAILS(vq_code_counts_add(&c, &real), VQ_EINVAL);
	CHECK_HAS(vq_message(), "f32");
	vq_tensor_free(&t);
	vq_tensor_free(&negative);
	vq_tensor_free(&real);
	vq_code_counts_free(&c);
}

TEST(distances_equal_a_naive_reference)
{
	enum { K = 37, D = 5 };
	float v[K * D];
	double norms[K], nearest[K], again[K], mean, most, sum = 0, far = 0;
	int64_t a, b;
	vq_rng g = vq_rng_make(3, 0);
	for (int i = 0; i < K * D; i++)
		v[i] = (float)vq_rng_normal(&g);
	CHECK_OK(vq_codebook_distances(v, K, D, 2, norms, nearest, &a, &b, &mean, &most));
	double least = INFINITY;
	int64_t la = 0, lb = 0;
	for (int i = 0; i < K; i++) {
		double n = 0, best = INFINITY;
		for (int d = 0; d < D; d++)
			n += pow(v[i * D + d], 2);
		CHECK_NEAR(norms[i], sqrt(n), 1e-12);
		for (int j = 0; j < K; j++) {
			double e = 0;
			for (int d = 0; d < D; d++)
				e += pow((double)v[i * D + d] - v[j * D + d], 2);
			if (j != i && e < best)
				best = e;
			sum += sqrt(e);
			far = fmax(far, sqrt(e));
			if (j > i && e < least) {
				least = e;
				la = i;
				lb = j;
			}
		}
		CHECK_NEAR(nearest[i], sqrt(best), 1e-12);
	}
	CHECK(a == la && b == lb);
	CHECK_NEAR(mean, sum / (K * (K - 1)), 1e-12);
	CHECK_NEAR(most, far, 1e-12);
	CHECK_OK(vq_codebook_distances(v, K, D, 1, norms, again, &a, &b, &mean, &most));
	CHECK(!memcmp(nearest, again, sizeof nearest));
	memcpy(v + 20 * D, v + 30 * D, D * sizeof *v); /* twins */
	CHECK_OK(vq_codebook_distances(v, K, D, 1, norms, nearest, &a, &b, &mean, &most));
	CHECK(a == 20 && b == 30 && nearest[20] == 0 && nearest[30] == 0);
}

TEST(distances_of_one_vector_and_of_bad_ones)
{
	float v[6] = { 3, 4, 0, NAN, 1, 1 };
	double norms[3], nearest[3], mean, most;
	int64_t a, b;
	CHECK_OK(vq_codebook_distances(v, 1, 2, 1, norms, nearest, &a, &b, &mean, &most));
	CHECK(norms[0] == 5 && isnan(nearest[0]) && isnan(mean) && isnan(most) && a == -1 && b == -1);
	CHECK_FAILS(vq_codebook_distances(v, 3, 2, 1, norms, nearest, &a, &b, &mean, &most), VQ_EINVAL);
	CHECK_STR(vq_message(), "vector 1 of the codebook is not finite");
	CHECK_FAILS(vq_codebook_distances(v, 0, 2, 1, norms, nearest, &a, &b, &mean, &most), VQ_EINVAL);
}

TEST_MAIN(RUN(known_shares) RUN(ends_of_the_scale) RUN(bad_codes_are_named_and_not_counted) RUN(distances_equal_a_naive_reference)
	RUN(distances_of_one_vector_and_of_bad_ones))
