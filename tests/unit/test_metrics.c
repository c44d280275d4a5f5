#include "lib/eval/metrics.h"
#include "lib/eval/summary.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

/* Naive: every window of every centre, the two-dimensional kernel, no separation. */
static double naive_ssim(const double *x, const double *y, const uint8_t *mask, int h, int w, double range)
{
	double g[11][11], total = 0, sum = 0, c1 = pow(0.01 * range, 2), c2 = pow(0.03 * range, 2);
	int n = 0;
	for (int i = 0; i < 11; i++)
		for (int j = 0; j < 11; j++)
			total += g[i][j] = exp(-((i - 5) * (i - 5) + (j - 5) * (j - 5)) / (2 * 1.5 * 1.5));
	for (int r = 5; r < h - 5; r++)
		for (int c = 5; c < w - 5; c++) {
			if (mask && mask[r * w + c] != 1)
				continue;
			double ux = 0, uy = 0, vx = 0, vy = 0, vxy = 0;
			for (int i = 0; i < 11; i++)
				for (int j = 0; j < 11; j++) {
					ux += g[i][j] / total * x[(r + i - 5) * w + c + j - 5];
					uy += g[i][j] / total * y[(r + i - 5) * w + c + j - 5];
				}
			for (int i = 0; i < 11; i++)
				for (int j = 0; j < 11; j++) {
					double a = x[(r + i - 5) * w + c + j - 5] - ux, b = y[(r + i - 5) * w + c + j - 5] - uy;
					vx += g[i][j] / total * a * a;
					vy += g[i][j] / total * b * b;
					vxy += g[i][j] / total * a * b;
				}
			sum += (2 * ux * uy + c1) * (2 * vxy + c2) / ((ux * ux + uy * uy + c1) * (vx + vy + c2));
			n++;
		}
	return n ? sum / n : NAN;
}

/* The mean of the map of contrast and structure, or of SSIM, over the centres inside; n: how many. */
static double naive_map(const double *x, const double *y, const uint8_t *mask, int h, int w, double range, bool ssim, int *n)
{
	double sum = 0;
	*n = 0;
	for (int r = 5; r + 5 < h; r++)
		for (int c = 5; c + 5 < w; c++) {
			double total = 0, ux = 0, uy = 0, xx = 0, yy = 0, xy = 0;
			for (int i = -5; i <= 5; i++)
				for (int j = -5; j <= 5; j++) {
					double g = exp(-(i * i + j * j) / 4.5), a = x[(r + i) * w + c + j], b = y[(r + i) * w + c + j];
					total += g;
					ux += g * a;
					uy += g * b;
					xx += g * a * a;
					yy += g * b * b;
					xy += g * a * b;
				}
			ux /= total;
			uy /= total;
			if (mask && mask[r * w + c] != 1)
				continue;
			double c1 = pow(0.01 * range, 2), c2 = pow(0.03 * range, 2);
			double cs = (2 * (xy / total - ux * uy) + c2) / (xx / total - ux * ux + yy / total - uy * uy + c2);
			sum += ssim ? cs * (2 * ux * uy + c1) / (ux * ux + uy * uy + c1) : cs;
			++*n;
		}
	return sum / *n;
}

/* Up to five scales, each from a fresh copy at half the size. */
static double naive_ms_ssim(const double *x0, const double *y0, const uint8_t *mask0, int h, int w, double range)
{
	static const double weight[5] = { 0.0448, 0.2856, 0.3001, 0.2363, 0.1333 };
	double part[5][2], product = 1, sum = 0;
	int scales = 0, n;
	double *x = malloc(sizeof *x * (size_t)(h * w)), *y = malloc(sizeof *y * (size_t)(h * w));
	uint8_t *mask = mask0 ? malloc((size_t)(h * w)) : NULL;
	memcpy(x, x0, sizeof *x * (size_t)(h * w));
	memcpy(y, y0, sizeof *y * (size_t)(h * w));
	if (mask)
		memcpy(mask, mask0, (size_t)(h * w));
	for (; scales < 5; scales++) {
		part[scales][1] = naive_map(x, y, mask, h, w, range, true, &n);
		part[scales][0] = naive_map(x, y, mask, h, w, range, false, &n);
		if (!n)
			break;
		sum += weight[scales];
		double *hx = malloc(sizeof *x * (size_t)(h * w)), *hy = malloc(sizeof *y * (size_t)(h * w));
		uint8_t *hm = mask ? malloc((size_t)(h * w)) : NULL;
		for (int i = 0; i < h / 2 * (w / 2); i++) {
			int at = i / (w / 2) * 2 * w + i % (w / 2) * 2;
			hx[i] = (x[at] + x[at + 1] + x[at + w] + x[at + w + 1]) / 4;
			hy[i] = (y[at] + y[at + 1] + y[at + w] + y[at + w + 1]) / 4;
			if (mask)
				hm[i] = (mask[at] == 1) + (mask[at + 1] == 1) + (mask[at + w] == 1) + (mask[at + w + 1] == 1) > 1;
		}
		free(x);
		free(y);
		free(mask);
		x = hx;
		y = hy;
		mask = hm;
		h /= 2;
		w /= 2;
	}
	for (int i = 0; i < scales; i++)
		product *= pow(fmax(part[i][i == scales - 1], 0), weight[i] / sum);
	free(x);
	free(y);
	free(mask);
	return scales ? product : NAN;
}

static void naive_rest(const double *x, const double *y, const uint8_t *mask, int n, double *mse, double *r)
{
	double sx = 0, sy = 0, e = 0, xx = 0, yy = 0, xy = 0;
	int k = 0;
	for (int i = 0; i < n; i++)
		if (!mask || mask[i] == 1) {
			sx += x[i];
			sy += y[i];
			e += (x[i] - y[i]) * (x[i] - y[i]);
			k++;
		}
	for (int i = 0; i < n; i++)
		if (!mask || mask[i] == 1) {
			xx += pow(x[i] - sx / k, 2);
			yy += pow(y[i] - sy / k, 2);
			xy += (x[i] - sx / k) * (y[i] - sy / k);
		}
	*mse = e / k;
	*r = xy / sqrt(xx * yy);
}

#define SAME(a, b, tol) do { if (isnan(b)) CHECK(isnan(a)); else CHECK_NEAR(a, b, tol); } while (0)

static void compare(int h, int w, double range, uint64_t seed)
{
	int n = h * w;
	double *x = malloc(sizeof(double) * (size_t)n), *y = malloc(sizeof(double) * (size_t)n), mse, r;
	uint8_t *mask = malloc((size_t)n);
	vq_rng g = vq_rng_make(seed, 0);
	for (int i = 0; i < n; i++) {
		x[i] = range * (vq_rng_uniform(&g) - 0.3);
		y[i] = x[i] + 0.1 * range * vq_rng_normal(&g);
		mask[i] = (uint8_t)vq_rng_below(&g, 3);
	}
	mask[0] = mask[n - 1] = 1;
	vq_score_work work = {0};
	vq_score all, in;
	CHECK_OK(vq_score_plane(&work, x, y, mask, h, w, range, 3.5, &all, &in));
	const uint8_t *masks[2] = { NULL, mask };
	const vq_score *got[2] = { &all, &in };
	for (int k = 0; k < 2; k++) {
		naive_rest(x, y, masks[k], n, &mse, &r);
		CHECK_NEAR(got[k]->v[VQ_MSE] / mse, 1, 1e-12);
		CHECK_NEAR(got[k]->v[VQ_PSNR], 10 * log10(range * range / mse), 1e-9);
		SAME(got[k]->v[VQ_PEARSON], r, 1e-11);
		SAME(got[k]->v[VQ_SSIM], naive_ssim(x, y, masks[k], h, w, range), 1e-10);
		SAME(got[k]->v[VQ_MS_SSIM], naive_ms_ssim(x, y, masks[k], h, w, range), 1e-10);
		CHECK_NEAR(got[k]->v[VQ_RMSE_GREY] / sqrt(mse), 3.5, 1e-12);
	}
	vq_score_work_free(&work);
	free(x);
	free(y);
	free(mask);
}

TEST(equal_a_naive_reference)
{
	static const int size[][2] = { {11, 11}, {11, 40}, {37, 11}, {12, 13}, {50, 50}, {10, 30}, {30, 10}, {64, 21}, {2, 1}, {1, 7}, {22, 23}, {45, 88} };
	for (size_t i = 0; i < VQ_COUNT(size); i++) {
		compare(size[i][0], size[i][1], 2, i);
		compare(size[i][0], size[i][1], 65535, 100 + i);
	}
}

TEST(identical_images)
{
	double x[15 * 15];
	for (int i = 0; i < 15 * 15; i++)
		x[i] = sin(i);
	vq_score_work work = {0};
	vq_score all, in;
	CHECK_OK(vq_score_plane(&work, x, x, NULL, 15, 15, 2, 1, &all, &in));
	CHECK(all.v[VQ_MSE] == 0);
	CHECK_NEAR(all.v[VQ_PSNR], 10 * log10(4 / 1e-10), 1e-9);
	CHECK_NEAR(all.v[VQ_SSIM], 1, 1e-12);
	CHECK_NEAR(all.v[VQ_MS_SSIM], 1, 1e-12);
	CHECK_NEAR(all.v[VQ_PEARSON], 1, 1e-12);
	CHECK(all.v[VQ_RMSE_GREY] == 0 && all.v[VQ_MAE_GREY] == 0);
	for (int m = 0; m < VQ_METRICS; m++)
		CHECK(isnan(in.v[m]));
	vq_score_work_free(&work);
}

/* All five scales; a structure that is opposite counts as 0. */
TEST(many_scales)
{
	compare(176, 180, 2, 3);
	static double x[40 * 40], y[40 * 40];
	for (int i = 0; i < 1600; i++) {
		x[i] = sin(0.7 * (i % 40)) + 2;
		y[i] = 4 - x[i];
	}
	vq_score_work work = {0};
	vq_score all, in;
	CHECK_OK(vq_score_plane(&work, x, y, NULL, 40, 40, 2, 1, &all, &in));
	CHECK(all.v[VQ_SSIM] < 0 && all.v[VQ_MS_SSIM] == 0);
	CHECK_NEAR(all.v[VQ_MAE_GREY], 1.2731, 0.05);
	vq_score_work_free(&work);
}

TEST(a_constant_channel_has_no_pearson)
{
	double x[20 * 20], y[20 * 20];
	for (int i = 0; i < 400; i++) {
		x[i] = 0.1; /* its mean in f64 is not exactly 0.1 */
		y[i] = cos(i);
	}
	vq_score_work work = {0};
	vq_score all, in;
	CHECK_OK(vq_score_plane(&work, x, y, NULL, 20, 20, 2, 1, &all, &in));
	CHECK(isnan(all.v[VQ_PEARSON]) && isfinite(all.v[VQ_SSIM]));
	CHECK_OK(vq_score_plane(&work, y, x, NULL, 20, 20, 2, 1, &all, &in));
	CHECK(isnan(all.v[VQ_PEARSON]));
	CHECK_OK(vq_score_plane(&work, x, x, NULL, 20, 20, 2, 1, &all, &in));
	CHECK(isnan(all.v[VQ_PEARSON]));
	CHECK_NEAR(all.v[VQ_SSIM], 1, 1e-12);
	vq_score_work_free(&work);
}

TEST(masks_without_a_pixel_or_a_centre)
{
	double x[16 * 16], y[16 * 16];
	uint8_t mask[16 * 16] = {0};
	for (int i = 0; i < 256; i++) {
		x[i] = sin(i);
		y[i] = cos(i);
	}
	vq_score_work work = {0};
	vq_score all, in;
	mask[7] = 2; /* another cell */
	CHECK_OK(vq_score_plane(&work, x, y, mask, 16, 16, 2, 1, &all, &in));
	for (int m = 0; m < VQ_METRICS; m++)
		CHECK(isnan(in.v[m]) && isfinite(all.v[m]));
	mask[0] = mask[255] = 1; /* corners are no centres */
	CHECK_OK(vq_score_plane(&work, x, y, mask, 16, 16, 2, 1, &all, &in));
	CHECK(isnan(in.v[VQ_SSIM]));
	CHECK_NEAR(in.v[VQ_MSE], (pow(sin(0) - cos(0), 2) + pow(sin(255) - cos(255), 2)) / 2, 1e-12);
	vq_score_work_free(&work);
}

TEST(bad_pixels_are_refused)
{
	double x[4] = { 1, 2, 3, 4 }, y[4] = { 1, 2, NAN, 4 };
	vq_score_work work = {0};
	vq_score all, in;
	CHECK_FAILS(vq_score_plane(&work, x, y, NULL, 2, 2, 2, 1, &all, &in), VQ_EINVAL);
	CHECK_STR(vq_message(), "the image has a NaN or infinite pixel");
	CHECK_FAILS(vq_score_plane(&work, y, x, NULL, 2, 2, 2, 1, &all, &in), VQ_EINVAL);
	CHECK_STR(vq_message(), "the reference has a NaN or infinite pixel");
	y[2] = INFINITY;
	CHECK_FAILS(vq_score_plane(&work, y, y, NULL, 2, 2, 2, 1, &all, &in), VQ_EINVAL);
	CHECK_FAILS(vq_score_plane(&work, x, x, NULL, 0, 2, 2, 1, &all, &in), VQ_EINVAL);
	CHECK_FAILS(vq_score_plane(&work, x, x, NULL, 2, 2, 0, 1, &all, &in), VQ_EINVAL);
	vq_score_work_free(&work);
}

TEST(the_mean_over_channels_leaves_nulls_out)
{
	vq_score s[3] = { { { 1, 2, NAN, NAN, NAN, 1, 1 } }, { { 2, 4, 0.5, NAN, NAN, 1, 1 } }, { { 6, 6, 0.7, NAN, NAN, 1, 1 } } }, m = vq_score_mean(s, 3);
	CHECK_NEAR(m.v[VQ_MSE], 3, 1e-15);
	CHECK_NEAR(m.v[VQ_PSNR], 4, 1e-15);
	CHECK_NEAR(m.v[VQ_SSIM], 0.6, 1e-15);
	CHECK(isnan(m.v[VQ_PEARSON]));
}

TEST(summaries_are_exact)
{
	vq_summary s = { .limit = 8 };
	vq_figures f;
	CHECK_OK(vq_summary_get(&s, &f));
	CHECK(f.n == 0 && isnan(f.mean) && isnan(f.median) && isnan(f.std));
	static const double v[8] = { 5, -1, 3, 3, 1e6, 2, NAN, 0 };
	for (int i = 0; i < 8; i++)
		CHECK_OK(vq_summary_add(&s, v[i]));
	CHECK_OK(vq_summary_get(&s, &f));
	CHECK(f.n == 7 && f.exact);
	CHECK_NEAR(f.mean, 1000012 / 7.0, 1e-9);
	CHECK_NEAR(f.median, 3, 0);
	CHECK_NEAR(f.std, 349926.40626256936, 1e-6);
	CHECK(f.min == -1 && f.max == 1e6);
	CHECK_OK(vq_summary_add(&s, 2.5)); /* the limit itself is still exact; even: the mean of the middle two */
	CHECK_OK(vq_summary_get(&s, &f));
	CHECK(f.exact);
	CHECK_NEAR(f.median, 2.75, 0);
	CHECK_OK(vq_summary_add(&s, 2.5));
	CHECK_OK(vq_summary_get(&s, &f));
	CHECK(f.n == 9 && !f.exact);
	vq_summary_free(&s);
}

/* n values 0 .. n-1 in three orders: the rank of the median is within the promised bound. */
TEST(the_sketch_keeps_its_bound)
{
	enum { N = 100000, LIMIT = 1024 };
	for (int order = 0; order < 3; order++) {
		vq_summary s = { .limit = LIMIT };
		vq_figures f;
		uint32_t *v = malloc(sizeof *v * N);
		for (uint32_t i = 0; i < N; i++)
			v[i] = order == 1 ? N - 1 - i : i;
		vq_rng g = vq_rng_make(7, 0);
		if (order == 2)
			vq_rng_shuffle(&g, v, N);
		for (int i = 0; i < N; i++)
			CHECK_OK(vq_summary_add(&s, v[i]));
		free(v);
		CHECK_OK(vq_summary_get(&s, &f));
		CHECK(f.n == N && !f.exact && f.min == 0 && f.max == N - 1);
		CHECK_NEAR(f.mean, (N - 1) / 2.0, 1e-6);
		CHECK_NEAR(f.std, sqrt(((double)N * N - 1) / 12), 1e-6);
		CHECK_NEAR(f.median, N / 2.0, 7.0 * N / LIMIT);
		int levels = 0;
		size_t held = 0;
		for (int l = 0; l < VQ_SUMMARY_LEVELS; l++) {
			levels += s.level[l].n > 0;
			held += s.level[l].cap;
		}
		CHECK(levels <= 8 && held <= 9 * LIMIT);
		vq_summary_free(&s);
	}
}

TEST_MAIN(RUN(equal_a_naive_reference) RUN(identical_images) RUN(many_scales) RUN(a_constant_channel_has_no_pearson) RUN(masks_without_a_pixel_or_a_centre)
	RUN(bad_pixels_are_refused) RUN(the_mean_over_channels_leaves_nulls_out) RUN(summaries_are_exact) RUN(the_sketch_keeps_its_bound))
