/* The CUDA kernels on the host: the quantiser's codes, sums by code and moving averages, against plain loops in f64. */
#include "tests/unit/cudatest.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

static const vq_dtype types[] = { VQ_BF16, VQ_F32 };

/* How codes are spread over rows: all the same, most the same, each in turn. */
enum { SAME, MOST, TURNS, SPREADS };

static int32_t *spread_codes(size_t rows, int k, int how)
{
	double *c = cudatest_doubles(rows);
	for (size_t r = 0; r < rows; r++)
		c[r] = how == SAME ? k - 1 : how == MOST && r % 7 ? k / 2 : (double)(r * 5 % (size_t)k);
	return cudatest_memory(VQ_I32, rows, c);
}

/* Without gaps in time: which rows count is in the marks, which the test may set as it likes. */
static vq_cuda_grid some_rows(size_t rows, unsigned valid_of_8)
{
	vq_cuda_grid g = { .n = (int)rows, .h = 1, .w = 1, .items_max = (int)rows };
	g.mark = cudatest_memory(VQ_U8, rows, NULL);
	unsigned s = 5;
	for (size_t r = 0; r < rows; r++) {
		s = s * 1664525u + 1013904223u;
		g.mark[r] = (s >> 20) % 8 < valid_of_8 ? VQ_CUDA_VALID : s >> 30 & 1 ? VQ_CUDA_EXTENT : VQ_CUDA_GAP;
	}
	return g;
}

static void one_sum(size_t rows, int d, int k, int how, unsigned valid_of_8, vq_dtype qt)
{
	vq_cuda_book b = { some_rows(rows, valid_of_8), d, k };
	vq_cuda_step step = cudatest_step(CUDATEST_EMPTY); /* only its scales are looked at */
	size_t n = rows * (size_t)d, size = (size_t)k * (size_t)d;
	double *z = cudatest_noise(VQ_F32, n), *dq = cudatest_noise(qt, n), *book = cudatest_noise(VQ_F32, size), *counts = cudatest_doubles((size_t)k);
	double *sums = cudatest_noise(VQ_F32, size), *slopes = cudatest_noise(VQ_F32, size);
	int32_t *codes = spread_codes(rows, k, how);
	for (int i = 0; i < k; i++)
		counts[i] = i % 3;
	float *mz = cudatest_memory(VQ_F32, n, z), *mbook = cudatest_memory(VQ_F32, size, book), *mcounts = cudatest_memory(VQ_F32, (size_t)k, counts);
	float *msums = cudatest_memory(VQ_F32, size, sums), *mslopes = cudatest_memory(VQ_F32, size, slopes);
	void *mdq = cudatest_memory(qt, n, dq), *scratch = cudatest_scratch(vq_cuda_code_sums_scratch(b));
	for (size_t r = 0; r < rows; r++) {
		if (b.g.mark[r] != VQ_CUDA_VALID)
			continue;
		counts[codes[r]]++;
		for (int j = 0; j < d; j++) {
			size_t i = r * (size_t)d + (size_t)j, at = (size_t)codes[r] * (size_t)d + (size_t)j;
			sums[at] += z[i];
			slopes[at] += 2 * (double)step.scale[2] * (book[at] - z[i]) + (how == TURNS ? 0 : dq[i]);
		}
	}
	EACH_ORDER(vq_cuda_ema_sum(NULL, b, mz, codes, mcounts, msums, scratch));
	CUDATEST_NEAR(VQ_F32, (size_t)k, mcounts, counts, 0);
	CUDATEST_NEAR(VQ_F32, size, msums, sums, 1e-5);
	EACH_ORDER(vq_cuda_codebook_bwd(NULL, &step, b, 2, mz, mbook, codes, qt, how == TURNS ? NULL : mdq, mslopes, scratch));
	CUDATEST_NEAR(VQ_F32, size, mslopes, slopes, 1e-5);
	cudatest_end();
}

TEST(sums_by_code)
{
	static const struct { size_t rows; int d, k; } shapes[] = { { 1, 1, 1 }, { 1, 5, 300 }, { 127, 3, 2 }, { 128, 3, 2 }, { 129, 4, 5 }, { 1000, 3, 7 }, { 700, 2, 513 }, { 300, 300, 3 } };
	for (size_t i = 0; i < VQ_COUNT(shapes); i++)
		for (int how = 0; how < SPREADS; how++)
			for (unsigned valid = i < 2 ? 0 : 5; valid <= 8; valid += 3)
				one_sum(shapes[i].rows, shapes[i].d, shapes[i].k, how, valid, types[(i + (size_t)how) % 2]);
}

/* More rows than the sort has blocks for at once: each takes two stretches. */
TEST(sums_over_many_rows)
{
	one_sum(66000, 1, 9, MOST, 2, VQ_F32);
}

TEST(moving_averages)
{
	static const int sizes[] = { 1, 5, 300 };
	for (size_t i = 0; i < VQ_COUNT(sizes); i++)
		for (int d = 1; d < 400; d += 130) {
			int k = sizes[i], rows = 40;
			size_t n = (size_t)k * (size_t)d;
			vq_cuda_book b = { { 0 }, d, k };
			double *z = cudatest_noise(VQ_F32, (size_t)(rows * d)), *count = cudatest_noise(VQ_F32, (size_t)k), *sum = cudatest_noise(VQ_F32, n), *book = cudatest_noise(VQ_F32, n);
			double *counts = cudatest_doubles((size_t)k), *sums = cudatest_doubles(n), *none = cudatest_doubles(VQ_MAX(n, (size_t)k));
			int index[40];
			for (int j = 0; j < k; j++)
				count[j] = 1 + fabs(count[j]);
			for (int r = 0; r < rows; r++) {
				index[r] = r % 3 ? r * 5 % k : -1;
				for (int j = 0; j < d && index[r] >= 0; j++)
					sums[index[r] * d + j] += z[r * d + j];
				if (index[r] >= 0)
					counts[index[r]]++;
			}
			float *mcounts = cudatest_memory(VQ_F32, (size_t)k, counts), *msums = cudatest_memory(VQ_F32, n, sums), *mcount = cudatest_memory(VQ_F32, (size_t)k, count);
			float *msum = cudatest_memory(VQ_F32, n, sum), *mbook = cudatest_memory(VQ_F32, n, book);
			void *scratch = cudatest_scratch(vq_cuda_ema_update_scratch(b));
			ref_ema(rows, d, k, z, index, .95, 1e-5, count, sum, book);
			EACH_ORDER(vq_cuda_ema_update(NULL, b, .95f, 1e-5f, mcounts, msums, mcount, msum, mbook, scratch));
			CUDATEST_NEAR(VQ_F32, (size_t)k, mcount, count, 1e-6);
			CUDATEST_NEAR(VQ_F32, n, msum, sum, 2e-6);
			CUDATEST_NEAR(VQ_F32, n, mbook, book, 2e-6);
			CUDATEST_NEAR(VQ_F32, (size_t)k, mcounts, none, 0);
			CUDATEST_NEAR(VQ_F32, n, msums, none, 0);
			cudatest_end();
		}
}

/* A codebook that nobody ever used: its rows stay. */
TEST(moving_averages_of_nothing)
{
	vq_cuda_book b = { { 0 }, 3, 4 };
	double *book = cudatest_noise(VQ_F32, 12), *none = cudatest_doubles(12);
	float *zeros[4], *mbook = cudatest_memory(VQ_F32, 12, book);
	for (int i = 0; i < 4; i++)
		zeros[i] = cudatest_memory(VQ_F32, i % 2 ? 12 : 4, none);
	void *scratch = cudatest_scratch(vq_cuda_ema_update_scratch(b));
	EACH_ORDER(vq_cuda_ema_update(NULL, b, .9f, 1e-5f, zeros[0], zeros[1], zeros[2], zeros[3], mbook, scratch));
	CUDATEST_NEAR(VQ_F32, 12, mbook, book, 0);
	cudatest_end();
}

TEST(lookups)
{
	static const struct { size_t rows; int d, k; } shapes[] = { { 0, 3, 4 }, { 1, 1, 1 }, { 9, 33, 5 }, { 300, 4, 70 }, { 41, 300, 2 } };
	for (size_t i = 0; i < VQ_COUNT(shapes); i++)
		for (size_t j = 0; j < VQ_COUNT(types); j++)
			for (int wild = 0; wild < 3; wild++) {
				size_t rows = shapes[i].rows, d = (size_t)shapes[i].d;
				int k = shapes[i].k, most = -1;
				double *book = cudatest_noise(types[j], (size_t)k * d), *q = cudatest_doubles(rows * d);
				int32_t *codes = spread_codes(rows, k, TURNS), *bad = cudatest_memory(VQ_I32, 1, NULL);
				for (size_t r = 0; r < rows; r++) {
					if (r % 4 == 1)
						codes[r] = -1 - (int)r;
					if (wild && r % 5 == 2)
						codes[r] = k + (int)(r * 3 % 17);
					most = codes[r] >= k ? VQ_MAX(most, codes[r]) : most;
					for (size_t c = 0; c < d && codes[r] >= 0 && codes[r] < k; c++)
						q[r * d + c] = book[(size_t)codes[r] * d + c];
				}
				void *mq = cudatest_memory(types[j], rows * d, NULL), *mbook = cudatest_memory(VQ_F32, (size_t)k * d, book);
				EACH_ORDER(vq_cuda_lookup(NULL, rows, (int)d, k, codes, mbook, types[j], mq, wild == 2 ? NULL : bad));
				CUDATEST_NEAR(types[j], rows * d, mq, q, 0);
				CHECK(*bad == (wild == 1 ? most : -1));
				cudatest_end();
			}
}

static void one_quantize(cudatest_kind kind, int d, int k, vq_dtype qt, bool odd)
{
	vq_cuda_step step = cudatest_step(kind);
	vq_cuda_book b = { cudatest_grid(kind), d, k };
	size_t rows = cudatest_rows(b.g), n = rows * (size_t)d, size = (size_t)k * (size_t)d;
	double *z = cudatest_noise(VQ_F32, n), *book = cudatest_noise(qt, size), *q = cudatest_doubles(n), *codes = cudatest_doubles(rows), *dq = cudatest_noise(qt, n);
	double *dz = cudatest_doubles(n), sum = 5, *scalar = cudatest_doubles(1);
	int *index = cudatest_memory(VQ_I32, rows, NULL);
	if (k > 4) /* the first of equal rows */
		memcpy(book + 4 * d, book + 1 * d, sizeof *book * (size_t)d);
	ref_nearest((int)rows, d, k, z, book, b.g.mark, index);
	float *mz = cudatest_memory(VQ_F32, n, z), *mbook = cudatest_memory(VQ_F32, size, book), *mdz = cudatest_memory(VQ_F32, n, NULL);
	int32_t *mcodes = cudatest_memory(VQ_I32, rows, NULL);
	void *mq = cudatest_memory(qt, n, NULL), *mdq = cudatest_memory(qt, n, dq), *scratch = cudatest_scratch(vq_cuda_quantize_scratch(b));
	*scalar = 5;
	for (size_t r = 0; r < rows; r++) {
		codes[r] = index[r];
		for (int c = 0; c < d && index[r] >= 0; c++) {
			size_t i = r * (size_t)d + (size_t)c;
			q[i] = book[index[r] * d + c];
			dz[i] = odd ? 0 : dq[i];
			if (b.g.mark[r] == VQ_CUDA_VALID) {
				sum += (z[i] - q[i]) * (z[i] - q[i]);
				dz[i] += 2 * .25 * (odd ? 1 : (double)step.scale[1]) * (z[i] - q[i]);
			}
		}
	}
	EACH_ORDER(vq_cuda_quantize(NULL, b, mz, mbook, qt, mq, mcodes, odd ? NULL : scalar, scratch));
	CUDATEST_NEAR(VQ_I32, rows, mcodes, codes, 0);
	CUDATEST_NEAR(qt, n, mq, q, 0);
	CHECK_NEAR(*scalar, odd ? 5 : sum, 1e-6 * sum);
	EACH_ORDER(vq_cuda_quantize_bwd(NULL, &step, b, .25f, odd ? -1 : 1, mz, mbook, qt, odd ? NULL : mdq, mcodes, mdz));
	CUDATEST_NEAR(VQ_F32, n, mdz, dz, 1e-6);
	cudatest_end();
}

TEST(nearest_rows)
{
	static const struct { int d, k; } shapes[] = { { 1, 1 }, { 3, 63 }, { 16, 64 }, { 17, 65 }, { 40, 130 } };
	for (size_t i = 0; i < VQ_COUNT(shapes); i++)
		for (int kind = 0; kind < CUDATEST_GRIDS; kind++)
			if (kind != CUDATEST_LARGE ? kind == CUDATEST_PACKED || i % 2 : i == 1)
				for (int odd = 0; odd < 2; odd++)
					one_quantize((cudatest_kind)kind, shapes[i].d, shapes[i].k, types[(i + (size_t)odd) % 2], odd);
}

TEST(rows_close_together)
{
	enum { D = 40, K = 130 };
	vq_cuda_book b = { cudatest_grid(CUDATEST_PACKED), D, K };
	size_t rows = cudatest_rows(b.g), n = rows * D;
	double *middle = cudatest_noise(VQ_F32, D), *z = cudatest_noise(VQ_F32, n), *book = cudatest_noise(VQ_F32, K * D), *codes = cudatest_doubles(rows);
	int *index = cudatest_memory(VQ_I32, rows, NULL);
	for (size_t i = 0; i < n; i++)
		z[i] = (double)(float)(3 * middle[i % D] + 1e-4 * z[i]);
	for (size_t i = 0; i < K * D; i++)
		book[i] = (double)(float)(3 * middle[i % D] + 1e-4 * book[i]);
	ref_nearest((int)rows, D, K, z, book, b.g.mark, index);
	for (size_t r = 0; r < rows; r++)
		codes[r] = index[r];
	float *mz = cudatest_memory(VQ_F32, n, z), *mbook = cudatest_memory(VQ_F32, K * D, book), *q = cudatest_memory(VQ_F32, n, NULL);
	int32_t *mcodes = cudatest_memory(VQ_I32, rows, NULL);
	void *scratch = cudatest_scratch(vq_cuda_quantize_scratch(b));
	EACH_ORDER(vq_cuda_quantize(NULL, b, mz, mbook, VQ_F32, q, mcodes, NULL, scratch));
	CUDATEST_NEAR(VQ_I32, rows, mcodes, codes, 0);
	cudatest_end();
}

TEST(a_row_that_is_not_a_number_has_code_0)
{
	vq_cuda_book b = { cudatest_grid(CUDATEST_ONE), 3, 70 };
	double *book = cudatest_noise(VQ_F32, 210);
	float *mbook = cudatest_memory(VQ_F32, 210, book), *z = cudatest_memory(VQ_F32, 3, NULL), *q = cudatest_memory(VQ_F32, 3, NULL);
	int32_t *code = cudatest_memory(VQ_I32, 1, NULL);
	void *scratch = cudatest_scratch(vq_cuda_quantize_scratch(b));
	EACH_ORDER(vq_cuda_quantize(NULL, b, z, mbook, VQ_F32, q, code, NULL, scratch));
	CHECK(*code == 0);
	CUDATEST_NEAR(VQ_F32, 3, q, book, 0);
	cudatest_end();
}

TEST_MAIN(RUN(sums_by_code) RUN(sums_over_many_rows) RUN(moving_averages) RUN(moving_averages_of_nothing) RUN(lookups) RUN(nearest_rows) RUN(rows_close_together)
	RUN(a_row_that_is_not_a_number_has_code_0))
