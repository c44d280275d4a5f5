/* SSIM's maps by the CUDA kernels on the host against lib/eval/metrics.h. */
#include "lib/eval/metrics.h"
#include "tests/unit/cudatest.h"
#include "tests/unit/test.h"

/* Sides below the filter, of one tile and a pixel more, of several tiles; no mask, random ones, one that is empty. */
static const struct { int h, w; enum { BARE, MASKED, HOLLOW } mask; } cases[] = {
	{ 11, 11, MASKED }, { 1, 1, BARE }, { 10, 60, MASKED }, { 11, 40, BARE }, { 26, 27, MASKED }, { 47, 33, HOLLOW }, { 90, 70, MASKED }, { 23, 180, BARE },
};
enum { N = VQ_COUNT(cases), KERNEL = VQ_SSIM_TAPS / 2 + 1 };

/* A picture beside a brighter, noisier one; the mask has 0, 1 and other numbers. */
static vq_cuda_pictures make(int i, int scale)
{
	int h = cases[i].h >> scale, w = cases[i].w >> scale;
	size_t n = (size_t)h * (size_t)w;
	double *x = scale ? cudatest_doubles(n) : cudatest_noise(VQ_F32, n), *y = cudatest_doubles(n);
	uint8_t *mask = cases[i].mask == BARE ? NULL : cudatest_memory(VQ_U8, n, NULL);
	for (size_t k = 0; k < n && !scale; k++) {
		y[k] = .8 * x[k] + .1 * sin((double)k) + .05;
		if (mask)
			mask[k] = (uint8_t)(cases[i].mask == HOLLOW ? k % 2 * 2 : (k + 1) % 3);
	}
	return (vq_cuda_pictures){ x, y, mask, h, w };
}

static void near(double got, double want, const char *what, int i)
{
	if (isnan(got) != isnan(want) || fabs(got - want) > 1e-10)
		TEST_END(1, "%s of %d x %d is %.12g, not %.12g", what, cases[i].h, cases[i].w, got, want);
}

TEST(all_scales_of_all_sizes)
{
	vq_cuda_pictures *table[VQ_MAP_SCALES];
	vq_map_mean *means[VQ_MAP_SCALES];
	double kernel[KERNEL];
	size_t most = 90 * 70;
	vq_score_work work = {0};
	vq_score_kernel(kernel);
	void *scratch = cudatest_scratch(vq_cuda_maps_scratch(N));
	for (int scale = 0; scale < VQ_MAP_SCALES; scale++) {
		table[scale] = cudatest_memory(VQ_U8, sizeof **table * N, NULL);
		means[scale] = cudatest_memory(VQ_U8, sizeof **means * 2 * N, NULL);
		for (int i = 0; i < N; i++)
			table[scale][i] = make(i, scale);
		if (scale)
			EACH_ORDER(vq_cuda_halve(NULL, N, most >> 2 * (scale - 1), table[scale - 1], table[scale]));
		EACH_ORDER(vq_cuda_maps(NULL, N, most >> 2 * scale, kernel, 2, table[scale], means[scale], scratch));
	}
	for (int i = 0; i < N; i++) {
		vq_cuda_pictures p = table[0][i];
		vq_score want[2], got[2];
		vq_maps maps;
		for (int scale = 0; scale < VQ_MAP_SCALES; scale++)
			for (int k = 0; k < 2; k++)
				maps.scale[k][scale] = means[scale][2 * i + k];
		CHECK_OK(vq_score_plane(&work, p.x, p.y, p.mask, p.h, p.w, 2, 1, &want[0], &want[1]));
		CHECK_OK(vq_score_plane_with(&maps, p.x, p.y, p.mask, p.h, p.w, 2, 1, &got[0], &got[1]));
		for (int k = 0; k < 2; k++)
			for (int m = 0; m < VQ_METRICS; m++)
				near(got[k].v[m], want[k].v[m], vq_metric_name((vq_metric)m), i);
		CHECK(isnan(want[0].v[VQ_SSIM]) == (p.h < VQ_SSIM_TAPS || p.w < VQ_SSIM_TAPS));
		CHECK(isnan(want[1].v[VQ_SSIM]) == (isnan(want[0].v[VQ_SSIM]) || cases[i].mask != MASKED));
	}
	vq_score_work_free(&work);
	cudatest_end();
}

/* From one tile to more than there are parts of a sum. */
TEST(neighbours_change_nothing)
{
	enum { PAIRS = 5 };
	static const int side[PAIRS][2] = { { 27, 27 }, { 43, 44 }, { 12, 200 }, { 150, 150 }, { 400, 90 } };
	vq_cuda_pictures *table = cudatest_memory(VQ_U8, sizeof *table * PAIRS, NULL);
	vq_map_mean *beside = cudatest_memory(VQ_U8, sizeof *beside * 2 * PAIRS, NULL), *alone = cudatest_memory(VQ_U8, sizeof *alone * 2, NULL);
	void *scratch = cudatest_scratch(vq_cuda_maps_scratch(PAIRS));
	double kernel[KERNEL];
	size_t most = 0;
	vq_score_kernel(kernel);
	for (int i = 0; i < PAIRS; i++) {
		size_t n = (size_t)side[i][0] * (size_t)side[i][1];
		uint8_t *mask = cudatest_memory(VQ_U8, n, NULL);
		for (size_t k = 0; k < n; k++)
			mask[k] = k % 3 != 0;
		table[i] = (vq_cuda_pictures){ cudatest_noise(VQ_F32, n), cudatest_noise(VQ_F32, n), mask, side[i][0], side[i][1] };
		most = VQ_MAX(most, n);
	}
	CHECK(vq_cuda_maps(NULL, PAIRS, most, kernel, 2, table, beside, scratch) == 0);
	for (int i = 0; i < PAIRS; i++) {
		CHECK(vq_cuda_maps(NULL, 1, (size_t)side[i][0] * (size_t)side[i][1], kernel, 2, table + i, alone, scratch) == 0);
		CHECK(alone[0].n > alone[1].n && alone[1].n > 0);
		CHECK(memcmp(alone, beside + 2 * i, sizeof *alone * 2) == 0);
	}
	cudatest_end();
}

TEST(what_is_refused)
{
	double kernel[KERNEL] = {0};
	CHECK(vq_cuda_maps(NULL, 0, 1, kernel, 2, NULL, NULL, NULL) && vq_cuda_maps(NULL, 65536, 1, kernel, 2, NULL, NULL, NULL));
	CHECK(vq_cuda_halve(NULL, 0, 1, NULL, NULL));
}

TEST_MAIN(RUN(all_scales_of_all_sizes) RUN(neighbours_change_nothing) RUN(what_is_refused))
