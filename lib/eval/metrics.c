#include "lib/eval/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RADIUS = VQ_SSIM_TAPS / 2, MAPS = 5 };

const char *vq_metric_name(vq_metric m)
{
	static const char *const name[VQ_METRICS] = { "mse", "psnr", "ssim", "pearson", "ms_ssim", "rmse_grey", "mae_grey" };
	return m < VQ_METRICS ? name[m] : "?";
}

void vq_score_work_free(vq_score_work *work)
{
	free(work->data);
	*work = (vq_score_work){0};
}

static vq_status work_reserve(vq_score_work *work, size_t n)
{
	if (n <= work->cap)
		return VQ_OK;
	size_t bytes;
	VQ_TRY(vq_mul(n, sizeof(double), &bytes));
	double *p = vq_aligned(bytes);
	if (!p)
		return VQ_ENOMEM;
	free(work->data);
	*work = (vq_score_work){ p, n };
	return VQ_OK;
}

/* Half of the symmetric kernel: k[t] is the weight at distance t. */
void vq_score_kernel(double k[RADIUS + 1])
{
	double sum = 0;
	for (int t = 0; t <= RADIUS; t++) {
		k[t] = exp(-0.5 * t * t / (1.5 * 1.5));
		sum += t ? 2 * k[t] : k[t];
	}
	for (int t = 0; t <= RADIUS; t++)
		k[t] /= sum;
}

/* x, y, xx, yy, xy of one row, filtered along it: out[m][j], j < w - 10. */
static void filter_row(const double *x, const double *y, int64_t w, const double k[RADIUS + 1], double *products, double *out)
{
	const int64_t ow = w - 2 * RADIUS;
	double *xx = products, *yy = xx + w, *xy = yy + w;
#pragma omp simd
	for (int64_t i = 0; i < w; i++) {
		xx[i] = x[i] * x[i];
		yy[i] = y[i] * y[i];
		xy[i] = x[i] * y[i];
	}
	const double *in[MAPS] = { x, y, xx, yy, xy };
	for (int m = 0; m < MAPS; m++) {
		const double *p = in[m] + RADIUS;
		double *o = out + m * ow;
#pragma omp simd
		for (int64_t j = 0; j < ow; j++)
			o[j] = k[0] * p[j] + k[1] * (p[j - 1] + p[j + 1]) + k[2] * (p[j - 2] + p[j + 2]) + k[3] * (p[j - 3] + p[j + 3]) +
			       k[4] * (p[j - 4] + p[j + 4]) + k[5] * (p[j - 5] + p[j + 5]);
	}
}

/* The five maps at one output row, from the 11 filtered rows around it (row[RADIUS] is its own). */
static void filter_column(double *const row[VQ_SSIM_TAPS], int64_t n, const double k[RADIUS + 1], double *out)
{
	const double *r0 = row[0], *r1 = row[1], *r2 = row[2], *r3 = row[3], *r4 = row[4], *r5 = row[5], *r6 = row[6], *r7 = row[7],
	             *r8 = row[8], *r9 = row[9], *r10 = row[10];
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
		out[j] = k[0] * r5[j] + k[1] * (r4[j] + r6[j]) + k[2] * (r3[j] + r7[j]) + k[3] * (r2[j] + r8[j]) + k[4] * (r1[j] + r9[j]) +
		         k[5] * (r0[j] + r10[j]);
}

/* Turns the first two of the five maps of a row into SSIM, and its factor of contrast and structure. */
static void ssim_row(double *maps, int64_t ow, double c1, double c2)
{
	double *ux = maps, *uy = ux + ow;
	const double *uxx = uy + ow, *uyy = uxx + ow, *uxy = uyy + ow;
#pragma omp simd
	for (int64_t j = 0; j < ow; j++) {
		double a = ux[j], b = uy[j];
		double vx = uxx[j] - a * a, vy = uyy[j] - b * b, vxy = uxy[j] - a * b;
		double cs = (2 * vxy + c2) / (vx + vy + c2);
		ux[j] = (2 * a * b + c1) / (a * a + b * b + c1) * cs;
		uy[j] = cs;
	}
}

static size_t maps_room(int64_t w) { return (size_t)(3 * w) + (size_t)(VQ_SSIM_TAPS + 1) * (size_t)(MAPS * (w - 2 * RADIUS)); }

/* The maps' means at one scale, of at least 11 x 11 pixels. room: maps_room(w). */
static void map_means(double *room, const double *x, const double *y, const uint8_t *mask, int64_t h, int64_t w, double range, vq_map_mean *whole, vq_map_mean *inside)
{
	const int64_t ow = w - 2 * RADIUS, line = MAPS * ow;
	double *products = room, *ring = products + 3 * w, *maps = ring + VQ_SSIM_TAPS * line;
	double k[RADIUS + 1], *row[VQ_SSIM_TAPS];
	const double c1 = 0.01 * range * 0.01 * range, c2 = 0.03 * range * 0.03 * range;
	vq_map_mean all = { .n = ow * (h - 2 * RADIUS) }, in = {0};
	vq_score_kernel(k);
	for (int64_t i = 0; i < h; i++) {
		filter_row(x + i * w, y + i * w, w, k, products, ring + i % VQ_SSIM_TAPS * line);
		if (i < 2 * RADIUS)
			continue;
		for (int t = 0; t < VQ_SSIM_TAPS; t++)
			row[t] = ring + (i - 2 * RADIUS + t) % VQ_SSIM_TAPS * line;
		filter_column(row, line, k, maps);
		ssim_row(maps, ow, c1, c2);
		double s = 0, cs = 0;
#pragma omp simd reduction(+ : s, cs)
		for (int64_t j = 0; j < ow; j++) {
			s += maps[j];
			cs += maps[ow + j];
		}
		all.ssim += s;
		all.cs += cs;
		const uint8_t *m = mask ? mask + (i - RADIUS) * w + RADIUS : NULL;
		for (int64_t j = 0; m && j < ow; j++)
			if (m[j] == 1) {
				in.ssim += maps[j];
				in.cs += maps[ow + j];
				in.n++;
			}
	}
	*whole = (vq_map_mean){ all.ssim / (double)all.n, all.cs / (double)all.n, all.n };
	*inside = in.n ? (vq_map_mean){ in.ssim / (double)in.n, in.cs / (double)in.n, in.n } : (vq_map_mean){0};
}

/* Blocks of 2 x 2 become one; to may be from. */
static void halve(const double *from, int64_t h, int64_t w, double *to)
{
	for (int64_t i = 0; i < h / 2; i++)
		for (int64_t j = 0; j < w / 2; j++) {
			const double *p = from + 2 * i * w + 2 * j;
			to[i * (w / 2) + j] = (p[0] + p[1] + p[w] + p[w + 1]) / 4;
		}
}

static void halve_mask(const uint8_t *from, int64_t h, int64_t w, uint8_t *to)
{
	for (int64_t i = 0; i < h / 2; i++)
		for (int64_t j = 0; j < w / 2; j++) {
			const uint8_t *p = from + 2 * i * w + 2 * j;
			to[i * (w / 2) + j] = (p[0] == 1) + (p[1] == 1) + (p[w] == 1) + (p[w + 1] == 1) >= 2;
		}
}

static double combine(const vq_map_mean *scale)
{
	static const double weight[VQ_SSIM_SCALES] = { 0.0448, 0.2856, 0.3001, 0.2363, 0.1333 };
	int n = 0;
	double sum = 0, product = 1;
	while (n < VQ_SSIM_SCALES && scale[n].n)
		sum += weight[n++];
	for (int i = 0; i < n; i++)
		product *= pow(fmax(i + 1 < n ? scale[i].cs : scale[i].ssim, 0), weight[i] / sum);
	return n ? product : NAN;
}

/* The first `scales` scales. */
static vq_status make_maps(vq_score_work *work, const double *x, const double *y, const uint8_t *mask, int64_t h, int64_t w, double range, int scales, vq_maps *m)
{
	const size_t half = (size_t)((h / 2) * (w / 2));
	*m = (vq_maps){0};
	if (h < VQ_SSIM_TAPS || w < VQ_SSIM_TAPS)
		return VQ_OK;
	VQ_TRY(work_reserve(work, maps_room(w) + (scales > 1 ? 2 * half + half / sizeof(double) + 1 : 0)));
	double *hx = work->data + maps_room(w), *hy = hx + half;
	uint8_t *hmask = (uint8_t *)(hy + half);
	for (int s = 0; s < scales && h >= VQ_SSIM_TAPS && w >= VQ_SSIM_TAPS; s++) {
		map_means(work->data, x, y, mask, h, w, range, &m->scale[0][s], &m->scale[1][s]);
		if (s + 1 == scales)
			break;
		halve(x, h, w, hx);
		halve(y, h, w, hy);
		if (mask)
			halve_mask(mask, h, w, hmask);
		x = hx;
		y = hy;
		mask = mask ? hmask : NULL;
		h /= 2;
		w /= 2;
	}
	return VQ_OK;
}

static double single(const vq_map_mean *scale) { return scale[0].n ? scale[0].ssim : NAN; }

vq_status vq_ssim(vq_score_work *work, const double *x, const double *y, const uint8_t *mask, int64_t h, int64_t w, double range,
                  double *whole, double *inside)
{
	vq_maps m;
	vq_status s = make_maps(work, x, y, mask, h, w, range, 1, &m);
	*whole = single(m.scale[0]);
	*inside = single(m.scale[1]);
	return s;
}

/* What MSE and Pearson need of a set of pixels. */
typedef struct { double n, sx, sy, se, sa, lox, hix, loy, hiy; } moments;

static moments moments_all(const double *x, const double *y, int64_t n)
{
	double sx = 0, sy = 0, se = 0, sa = 0, lox = x[0], hix = x[0], loy = y[0], hiy = y[0];
#pragma omp simd reduction(+ : sx, sy, se, sa) reduction(min : lox, loy) reduction(max : hix, hiy)
	for (int64_t i = 0; i < n; i++) {
		double a = x[i], b = y[i], d = b - a;
		sx += a;
		sy += b;
		se += d * d;
		sa += fabs(d);
		lox = a < lox ? a : lox;
		loy = b < loy ? b : loy;
		hix = a > hix ? a : hix;
		hiy = b > hiy ? b : hiy;
	}
	return (moments){ (double)n, sx, sy, se, sa, lox, hix, loy, hiy };
}

static moments moments_inside(const double *x, const double *y, const uint8_t *mask, int64_t n)
{
	moments m = { .lox = INFINITY, .hix = -INFINITY, .loy = INFINITY, .hiy = -INFINITY };
	for (int64_t i = 0; i < n; i++) {
		if (mask[i] != 1)
			continue;
		double d = y[i] - x[i];
		m.n++;
		m.sx += x[i];
		m.sy += y[i];
		m.se += d * d;
		m.sa += fabs(d);
		m.lox = fmin(m.lox, x[i]);
		m.hix = fmax(m.hix, x[i]);
		m.loy = fmin(m.loy, y[i]);
		m.hiy = fmax(m.hiy, y[i]);
	}
	return m;
}

/* Constancy is judged by the extremes: a sum of squares over equal values need not be exactly 0. */
static double pearson(const double *x, const double *y, const uint8_t *mask, int64_t n, const moments *m)
{
	if (m->n < 2 || m->lox == m->hix || m->loy == m->hiy)
		return NAN;
	const double mx = m->sx / m->n, my = m->sy / m->n;
	double xx = 0, yy = 0, xy = 0;
	if (mask) {
		for (int64_t i = 0; i < n; i++)
			if (mask[i] == 1) {
				xx += (x[i] - mx) * (x[i] - mx);
				yy += (y[i] - my) * (y[i] - my);
				xy += (x[i] - mx) * (y[i] - my);
			}
	} else {
#pragma omp simd reduction(+ : xx, yy, xy)
		for (int64_t i = 0; i < n; i++) {
			double a = x[i] - mx, b = y[i] - my;
			xx += a * a;
			yy += b * b;
			xy += a * b;
		}
	}
	double r = xy / (sqrt(xx) * sqrt(yy)); /* the root of the product could underflow */
	return isfinite(r) ? fmin(fmax(r, -1), 1) : NAN;
}

static void fill(vq_score *s, const double *x, const double *y, const uint8_t *mask, int64_t n, const moments *m, double range, double grey)
{
	double mse = m->se / m->n;
	s->v[VQ_MSE] = mse;
	s->v[VQ_PSNR] = 10 * log10(range * range / fmax(mse, VQ_MSE_FLOOR));
	s->v[VQ_PEARSON] = pearson(x, y, mask, n, m);
	s->v[VQ_RMSE_GREY] = sqrt(mse) * grey;
	s->v[VQ_MAE_GREY] = m->sa / m->n * grey;
}

/* What can be scored: moments of all of it. */
static vq_status look(const double *x, const double *y, int64_t h, int64_t w, double range, moments *all)
{
	if (h < 1 || w < 1)
		return vq_fail(VQ_EINVAL, "an image of %lld x %lld pixels has no metrics", (long long)h, (long long)w);
	if (!(range > 0) || !isfinite(range))
		return vq_fail(VQ_EINVAL, "the range of the data must be positive, not %g", range);
	*all = moments_all(x, y, h * w);
	if (!isfinite(all->se))
		return vq_fail(VQ_EINVAL, !isfinite(all->sx) ? "the reference has a NaN or infinite pixel" : !isfinite(all->sy) ?
		               "the image has a NaN or infinite pixel" : "the difference of the images overflows");
	return VQ_OK;
}

/* maps, or, when NULL, what work makes. */
static vq_status score(vq_score_work *work, const vq_maps *maps, const double *x, const double *y, const uint8_t *mask, int64_t h, int64_t w, double range,
                       double grey, vq_score *const out[2])
{
	vq_maps own;
	moments all = {0};
	for (int m = 0; m < VQ_METRICS; m++)
		out[0]->v[m] = out[1]->v[m] = NAN;
	VQ_TRY(look(x, y, h, w, range, &all));
	if (!maps)
		VQ_TRY(make_maps(work, x, y, mask, h, w, range, VQ_SSIM_SCALES, &own));
	for (int k = 0; k < 2; k++) {
		const vq_map_mean *scale = (maps ? maps : &own)->scale[k];
		out[k]->v[VQ_SSIM] = single(scale);
		out[k]->v[VQ_MS_SSIM] = combine(scale);
	}
	fill(out[0], x, y, NULL, h * w, &all, range, grey);
	if (mask) {
		moments in = moments_inside(x, y, mask, h * w);
		if (in.n > 0)
			fill(out[1], x, y, mask, h * w, &in, range, grey);
	}
	return VQ_OK;
}

vq_status vq_score_plane(vq_score_work *work, const double *x, const double *y, const uint8_t *mask, int64_t h, int64_t w, double range,
                         double grey, vq_score *whole, vq_score *inside)
{
	return score(work, NULL, x, y, mask, h, w, range, grey, (vq_score *[2]){ whole, inside });
}

vq_status vq_score_plane_with(const vq_maps *maps, const double *x, const double *y, const uint8_t *mask, int64_t h, int64_t w, double range,
                              double grey, vq_score *whole, vq_score *inside)
{
	return score(NULL, maps, x, y, mask, h, w, range, grey, (vq_score *[2]){ whole, inside });
}

vq_score vq_score_mean(const vq_score *s, int n)
{
	vq_score mean;
	for (int m = 0; m < VQ_METRICS; m++) {
		double sum = 0;
		int defined = 0;
		for (int i = 0; i < n; i++)
			if (!isnan(s[i].v[m])) {
				sum += s[i].v[m];
				defined++;
			}
		mean.v[m] = defined ? sum / defined : NAN;
	}
	return mean;
}
