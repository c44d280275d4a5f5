/* k-means against plain loops in f64; where empty centres go. */
#include <float.h>

#include "lib/train/kmeans.h"
#include "tests/unit/test.h"

static float *noise(uint64_t stream, size_t n, double scale)
{
	vq_rng r = vq_rng_make(11, stream);
	float *x = vq_malloc(sizeof *x * n);
	for (size_t i = 0; i < n; i++)
		x[i] = (float)(scale * vq_rng_normal(&r));
	return x;
}

static double distance(const float *a, const double *b, int d)
{
	double s = 0;
	for (int i = 0; i < d; i++)
		s += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
	return s;
}

/* Lloyd's step; returns the sum of squared distances before it. */
static double plain_step(vq_kmeans_data x, double *centre, double *count)
{
	double *sum = calloc((size_t)(x.k * x.d), sizeof *sum), total = 0;
	memset(count, 0, sizeof *count * (size_t)x.k);
	for (size_t r = 0; r < x.n; r++) {
		const float *row = x.rows + r * (size_t)x.d;
		int best = 0;
		for (int k = 1; k < x.k; k++)
			if (distance(row, centre + k * x.d, x.d) < distance(row, centre + best * x.d, x.d))
				best = k;
		total += distance(row, centre + best * x.d, x.d);
		count[best]++;
		for (int i = 0; i < x.d; i++)
			sum[best * x.d + i] += (double)row[i];
	}
	for (int k = 0; k < x.k; k++)
		for (int i = 0; i < x.d && count[k] > 0; i++)
			centre[k * x.d + i] = sum[k * x.d + i] / count[k];
	free(sum);
	return total;
}

TEST(steps_of_lloyd)
{
	static const struct { size_t n; int k, d, steps; } shapes[] = { { 1, 1, 1, 1 }, { 200, 5, 3, 4 }, { 300, 16, 17, 3 }, { 150, 33, 40, 3 }, { 7, 20, 2, 2 } };
	for (size_t i = 0; i < VQ_COUNT(shapes); i++) {
		size_t n = shapes[i].n;
		int k = shapes[i].k, d = shapes[i].d, m = k * d;
		float *rows = noise(2 * i, n * (size_t)d, 1), *centre = noise(2 * i + 1, (size_t)m, 1), *count = vq_malloc(sizeof *count * (size_t)k);
		double *want = vq_malloc(sizeof *want * (size_t)m), *counts = vq_malloc(sizeof *counts * (size_t)k);
		vq_kmeans_data x = { rows, n, k, d };
		for (int j = 0; j < m; j++)
			want[j] = (double)centre[j];
		for (int s = 0; s < shapes[i].steps; s++)
			plain_step(x, want, counts);
		CHECK_OK(vq_kmeans(x, shapes[i].steps, 1, NULL, centre, count));
		for (int j = 0; j < m; j++)
			CHECK_NEAR((double)centre[j], want[j], 1e-5);
		for (int j = 0; j < k; j++)
			CHECK((double)count[j] == counts[j]);
		free(rows); free(centre); free(count); free(want); free(counts);
	}
}

/* All rows are about one of 30 centres, in ten heaps: with draws each heap soon has centres, and every centre has rows. */
TEST(empty_centres_go_where_rows_are_badly_served)
{
	enum { N = 400, K = 30, D = 20, HEAPS = 10 };
	float *rows = noise(20, N * D, .05), *heap = noise(21, HEAPS * D, 1), *start = noise(22, K * D, .01), *centre[3], count[3][K];
	double at[K * D], counts[K];
	for (int r = 0; r < N; r++)
		for (int i = 0; i < D; i++)
			rows[r * D + i] += 5 + heap[r % HEAPS * D + i];
	for (int i = 0; i < D; i++)
		start[i] += 5;
	vq_kmeans_data x = { rows, N, K, D };
	for (int way = 0; way < 3; way++) {
		vq_rng draw = vq_rng_make(1, 2);
		centre[way] = vq_malloc(sizeof(float) * K * D);
		memcpy(centre[way], start, sizeof(float) * K * D);
		CHECK_OK(vq_kmeans(x, 5, way + 1, way < 2 ? &draw : NULL, centre[way], count[way]));
	}
	int used[3] = {0};
	for (int k = 0; k < K; k++)
		for (int way = 0; way < 3; way++)
			used[way] += count[way][k] > 0;
	CHECK(used[0] == K && used[2] < HEAPS);
	CHECK(!memcmp(centre[0], centre[1], sizeof(float) * K * D)); /* whatever the number of threads */
	CHECK(!memcmp(centre[2] + D, start + D, sizeof(float) * (K - 1) * D)); /* without draws they stay */
	for (int i = 0; i < K * D; i++)
		at[i] = (double)centre[0][i];
	CHECK(plain_step(x, at, counts) < .05 * .05 * N * D); /* no heap is without */
	for (int way = 0; way < 3; way++)
		free(centre[way]);
	free(rows); free(heap); free(start);
}

/* Three different rows, eight centres: three have them, the others stay. */
TEST(fewer_rows_than_centres)
{
	float rows[] = { 1, 1, 2, 2, 3, 3, 1, 1, 3, 3 }, centre[16], count[8];
	int used = 0, still = 0;
	vq_rng draw = vq_rng_make(1, 2);
	for (int i = 0; i < 16; i++)
		centre[i] = (float)(-9 - i / 2);
	CHECK_OK(vq_kmeans((vq_kmeans_data){ rows, 5, 8, 2 }, 4, 1, &draw, centre, count));
	for (int k = 0; k < 8; k++) {
		used += count[k] > 0;
		still += centre[2 * k] == (float)(-9 - k) && count[k] == 0;
		CHECK(count[k] == 0 || centre[2 * k] == 1 || centre[2 * k] == 2 || centre[2 * k] == 3);
	}
	CHECK(used == 3 && still == 5);
	float none[4] = { 1, 2, 3, 4 };
	CHECK_OK(vq_kmeans((vq_kmeans_data){ rows, 0, 2, 2 }, 2, 1, &draw, none, count));
	CHECK(none[0] == 1 && none[3] == 4 && count[0] == 0);
}

/* Numbers too large to square: no row is drawn for ever, nothing is read beyond the rows. */
TEST(rows_that_overflow)
{
	float rows[] = { FLT_MAX, -FLT_MAX, NAN, 1 }, centre[] = { 0, 1, 2 }, count[3];
	vq_rng draw = vq_rng_make(1, 2);
	CHECK_OK(vq_kmeans((vq_kmeans_data){ rows, 4, 3, 1 }, 3, 1, &draw, centre, count));
	CHECK(count[0] + count[1] + count[2] == 4);
}

TEST_MAIN(RUN(steps_of_lloyd) RUN(empty_centres_go_where_rows_are_badly_served) RUN(fewer_rows_than_centres) RUN(rows_that_overflow))
