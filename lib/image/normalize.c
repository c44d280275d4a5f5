#include "lib/image/normalize.h"

#include <float.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/pieces.h"
#include "lib/image/select.h"

/* LANES independent results hide the latency that one minimum or sum after another would have. */
enum { LANES = 8 };
struct range { double min, max; };
static void range_piece(void *state, const double *v, size_t n)
{
	struct range *r = state;
	double lo[LANES], hi[LANES];
	size_t i = 0;
	for (int j = 0; j < LANES; j++)
		lo[j] = r->min, hi[j] = r->max;
	for (; i + LANES <= n; i += LANES)
		for (int j = 0; j < LANES; j++) {
			lo[j] = v[i + j] < lo[j] ? v[i + j] : lo[j];
			hi[j] = v[i + j] > hi[j] ? v[i + j] : hi[j];
		}
	for (; i < n; i++) {
		lo[0] = v[i] < lo[0] ? v[i] : lo[0];
		hi[0] = v[i] > hi[0] ? v[i] : hi[0];
	}
	for (int j = 0; j < LANES; j++) {
		r->min = fmin(r->min, lo[j]);
		r->max = fmax(r->max, hi[j]);
	}
}

vq_status vq_plane_range(const vq_tensor *image, int64_t c, vq_window w, double *min, double *max)
{
	struct range r = { INFINITY, -INFINITY };
	VQ_TRY(vq_plane_each(image, c, w, range_piece, &r));
	*min = r.min;
	*max = r.max;
	return VQ_OK;
}

static double lanes_sum(const double *t)
{
	double s = 0;
	for (int j = 0; j < LANES; j++)
		s += t[j];
	return s;
}

struct sums { double origin, sum; };
static void sum_piece(void *state, const double *v, size_t n)
{
	struct sums *s = state;
	double t[LANES] = {0};
	size_t i = 0;
	for (; i + LANES <= n; i += LANES)
		for (int j = 0; j < LANES; j++)
			t[j] += v[i + j] - s->origin;
	for (; i < n; i++)
		t[0] += v[i] - s->origin;
	s->sum += lanes_sum(t);
}

static void square_piece(void *state, const double *v, size_t n)
{
	struct sums *s = state;
	double t[LANES] = {0};
	size_t i = 0;
	for (; i + LANES <= n; i += LANES)
		for (int j = 0; j < LANES; j++)
			t[j] += (v[i + j] - s->origin) * (v[i + j] - s->origin);
	for (; i < n; i++)
		t[0] += (v[i] - s->origin) * (v[i] - s->origin);
	s->sum += lanes_sum(t);
}

vq_status vq_plane_moments(const vq_tensor *image, int64_t c, vq_window w, double *mean, double *std)
{
	VQ_TRY(vq_plane_check(image, c, w));
	double n = (double)w.h * (double)w.w, first;
	vq_plane_load(image, vq_plane_offset(image, c, w.top, w.left), 1, &first);
	struct sums s = { first, 0 }; /* differences from the first pixel: those of a constant channel are exactly 0 */
	VQ_TRY(vq_plane_each(image, c, w, sum_piece, &s));
	*mean = first + s.sum / n;
	s = (struct sums){ s.sum == 0 ? first : *mean, 0 };
	VQ_TRY(vq_plane_each(image, c, w, square_piece, &s));
	*std = sqrt(s.sum / n);
	if (!isfinite(*mean) || !isfinite(*std))
		return vq_fail(VQ_EINVAL, "pixels too large for a mean and deviation");
	return VQ_OK;
}

double vq_percentile_of_ranks(uint64_t count, double p, double (*rank)(void *user, uint64_t k), void *user)
{
	double at = (double)(count - 1) * (p / 100);
	uint64_t k = (uint64_t)at;
	if (k >= count - 1)
		return rank(user, count - 1);
	double t = at - (double)k, a = rank(user, k), b = rank(user, k + 1);
	return t < .5 ? a + (b - a) * t : b - (b - a) * (1 - t); /* numpy's own order of operations */
}

/* Whole rows of an image follow one another, and are one long row when nobody asks for a pixel's place. */
static vq_window joined(const vq_tensor *t, vq_window w)
{
	return w.w == t->shape[t->ndim - 1] ? (vq_window){ w.top, w.left, 1, w.h * w.w } : w;
}

/* Four tables in turn: the same level again and again would wait for its own count. */
static void count_bytes(const uint8_t *p, size_t n, uint32_t *bins)
{
	uint32_t part[4][256] = {{0}};
	size_t i = 0;
	for (; i + 4 <= n; i += 4)
		part[0][p[i]]++, part[1][p[i + 1]]++, part[2][p[i + 2]]++, part[3][p[i + 3]]++;
	for (; i < n; i++)
		part[0][p[i]]++;
	for (int v = 0; v < 256; v++)
		bins[v] += part[0][v] + part[1][v] + part[2][v] + part[3][v];
}

/* The plane as a histogram of values min to max, `bins` long. */
static void count_levels(const vq_tensor *t, int64_t c, vq_window w, int64_t min, uint32_t *bins)
{
	double v[VQ_PIECE];
	w = joined(t, w);
	for (int64_t y = w.top; y < w.top + w.h; y++) {
		size_t at = vq_plane_offset(t, c, y, w.left), n = (size_t)w.w;
		if (t->dtype == VQ_U8 && !min && n >= 1024)
			count_bytes((const uint8_t *)t->data + at, n, bins);
		else if (t->dtype == VQ_U8)
			for (size_t i = 0; i < n; i++)
				bins[((const uint8_t *)t->data)[at + i] - min]++;
		else if (t->dtype == VQ_U16)
			for (size_t i = 0; i < n; i++)
				bins[((const uint16_t *)t->data)[at + i] - min]++;
		else
			for (size_t x = 0; x < n; x += VQ_PIECE) {
				size_t m = VQ_MIN((size_t)VQ_PIECE, n - x);
				vq_plane_load(t, at + x, m, v);
				for (size_t i = 0; i < m; i++)
					bins[(int64_t)v[i] - min]++;
			}
	}
}

static struct range range_u16(const vq_tensor *t, int64_t c, vq_window w)
{
	uint16_t lo = UINT16_MAX, hi = 0;
	w = joined(t, w);
	for (int64_t y = w.top; y < w.top + w.h; y++) {
		const uint16_t *p = (const uint16_t *)t->data + vq_plane_offset(t, c, y, w.left);
		for (int64_t i = 0; i < w.w; i++) {
			lo = p[i] < lo ? p[i] : lo;
			hi = p[i] > hi ? p[i] : hi;
		}
	}
	return (struct range){ lo, hi };
}

/* Ranks come in any order; neighbours are usual, so the last place is kept. */
struct levels { const uint32_t *bins; double min; uint64_t before; size_t bin; };
static double level_of_rank(void *user, uint64_t k)
{
	struct levels *l = user;
	if (k < l->before)
		l->before = 0, l->bin = 0;
	while (k >= l->before + l->bins[l->bin])
		l->before += l->bins[l->bin++];
	return l->min + (double)l->bin;
}

static vq_status by_histogram(const vq_tensor *t, int64_t c, vq_window w, struct range r, const double *p, int n, double *out)
{
	uint32_t *bins = vq_calloc((size_t)(r.max - r.min) + 1, sizeof *bins);
	if (!bins)
		return VQ_ENOMEM;
	count_levels(t, c, w, (int64_t)r.min, bins);
	struct levels l = { bins, r.min, 0, 0 };
	for (int i = 0; i < n; i++)
		out[i] = vq_percentile_of_ranks((uint64_t)w.h * (uint64_t)w.w, p[i], level_of_rank, &l);
	free(bins);
	return VQ_OK;
}

static void gather_piece(void *state, const double *v, size_t n)
{
	double **to = state;
	memcpy(*to, v, n * sizeof *v);
	*to += n;
}

static double value_of_rank(void *user, uint64_t k)
{
	return vq_selection_rank(user, (size_t)k);
}

static vq_status by_selection(const vq_tensor *t, int64_t c, vq_window w, const double *p, int n, double *out)
{
	size_t count = (size_t)w.h * (size_t)w.w, bytes;
	VQ_TRY(vq_mul(count, sizeof(double), &bytes));
	double *v = vq_malloc(bytes), *to = v;
	if (!v)
		return VQ_ENOMEM;
	vq_status s = vq_plane_each(t, c, w, gather_piece, &to);
	vq_selection sel = { .v = v, .n = count };
	for (int i = 0; s == VQ_OK && i < n; i++)
		out[i] = vq_percentile_of_ranks(count, p[i], value_of_rank, &sel);
	free(v);
	return s;
}

vq_status vq_plane_percentiles(const vq_tensor *image, int64_t c, vq_window w, const double *p, int n, double *out)
{
	struct range r = { INFINITY, -INFINITY };
	if (n < 0 || n > VQ_PERCENTILES_MAX)
		return vq_fail(VQ_EINVAL, "%d percentiles at once (0 to %d are possible)", n, VQ_PERCENTILES_MAX);
	for (int i = 0; i < n; i++)
		if (!(p[i] >= 0 && p[i] <= 100))
			return vq_fail(VQ_EINVAL, "percentile %g is not within 0 and 100", p[i]);
	VQ_TRY(vq_plane_check(image, c, w));
	if (vq_dtype_integer(image->dtype)) {
		if (image->dtype == VQ_U8)
			r = (struct range){ 0, UINT8_MAX }; /* few enough as they are */
		else if (image->dtype == VQ_U16)
			r = range_u16(image, c, w);
		else
			VQ_TRY(vq_plane_each(image, c, w, range_piece, &r));
		double count = (double)w.h * (double)w.w;
		/* Clearing and walking the bins costs about what counting does; a wider range is cheaper to select from. */
		if (r.max - r.min <= fmin(4 * count + 1024, 1 << 24) && count < UINT32_MAX)
			return by_histogram(image, c, w, r, p, n, out);
	}
	return by_selection(image, c, w, p, n, out);
}

vq_status vq_map_make(vq_map *m, vq_map_kind kind, double a, double b, bool clip)
{
	double span = kind == VQ_MAP_RANGE ? b - a : b;
	if (kind == VQ_MAP_NONE) {
		*m = (vq_map){ .kind = kind };
		return VQ_OK;
	}
	if (!isfinite(a) || !isfinite(b) || !isfinite(span))
		return vq_fail(VQ_EINVAL, "no finite range to normalise by (%g, %g)", a, b);
	*m = (vq_map){ kind, a, b, clip && kind == VQ_MAP_RANGE, !(span > 0 && isfinite(2 / span)) };
	return VQ_OK;
}

/* The common map; the return value counts the pixels that were clipped. No fused operations: the result is the same everywhere. */
static size_t clip_plain(double a, double b, const double *restrict x, size_t n, float *restrict y)
{
	double k = 2 / (b - a);
	size_t lost = 0;
	for (size_t i = 0; i < n; i++) {
		double v = x[i] < a ? a : x[i] > b ? b : x[i];
		lost += v != x[i];
		y[i] = (float)((v - a) * k - 1);
	}
	return lost;
}

#ifdef __x86_64__
static __attribute__((target("avx"))) size_t clip_avx(double a, double b, const double *restrict x, size_t n, float *restrict y)
{
	const __m256d low = _mm256_set1_pd(a), high = _mm256_set1_pd(b), k = _mm256_set1_pd(2 / (b - a)), one = _mm256_set1_pd(1);
	__m256d lost = _mm256_setzero_pd();
	double sum[4];
	size_t i = 0;
	for (; i + 4 <= n; i += 4) {
		__m256d from = _mm256_loadu_pd(x + i), v = _mm256_min_pd(_mm256_max_pd(from, low), high);
		lost = _mm256_add_pd(lost, _mm256_and_pd(_mm256_cmp_pd(v, from, _CMP_NEQ_UQ), one));
		_mm_storeu_ps(y + i, _mm256_cvtpd_ps(_mm256_sub_pd(_mm256_mul_pd(_mm256_sub_pd(v, low), k), one)));
	}
	_mm256_storeu_pd(sum, lost);
	return (size_t)(sum[0] + sum[1] + sum[2] + sum[3]) + clip_plain(a, b, x + i, n - i, y + i);
}
#endif

static size_t clip_piece(double a, double b, const double *restrict x, size_t n, float *restrict y)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx"))
		return clip_avx(a, b, x, n, y);
#endif
	return clip_plain(a, b, x, n, y);
}

/* y of one piece; the return value counts what cannot be restored. */
static size_t map_piece(vq_map m, const double *restrict x, size_t n, float *restrict y)
{
	size_t lost = 0;
	if (m.kind == VQ_MAP_NONE) {
		for (size_t i = 0; i < n; i++)
			y[i] = (float)x[i];
	} else if (m.constant) {
		for (size_t i = 0; i < n; i++) {
			y[i] = 0;
			lost += x[i] != m.a;
		}
	} else if (m.kind == VQ_MAP_SCORE) {
		double k = 1 / m.b;
		for (size_t i = 0; i < n; i++)
			y[i] = (float)((x[i] - m.a) * k);
	} else {
		double k = 2 / (m.b - m.a);
		if (m.clip)
			lost = clip_piece(m.a, m.b, x, n, y);
		else
			for (size_t i = 0; i < n; i++)
				y[i] = (float)((x[i] - m.a) * k - 1);
	}
	return lost;
}

static vq_status check_mapped(const double *x, const float *y, size_t n, int64_t row, int64_t column, vq_window w)
{
	unsigned bad = 0;
	if (!vq_all_finite(x, n))
		return vq_plane_not_finite(x, row, column, w);
	for (size_t i = 0; i < n; i++)
		bad += !(fabsf(y[i]) <= FLT_MAX);
	return bad ? vq_fail(VQ_EINVAL, "pixels that f32 cannot hold once they are mapped") : VQ_OK;
}

vq_status vq_map_plane(vq_map m, const vq_tensor *image, int64_t c, vq_window w, vq_tensor *out, size_t *lost)
{
	double v[VQ_PIECE];
	size_t total = 0;
	VQ_TRY(vq_plane_check(image, c, w));
	if (out->dtype != VQ_F32 || out->ndim != image->ndim || memcmp(out->shape, image->shape, sizeof *out->shape * (size_t)out->ndim))
		return vq_fail(VQ_EINVAL, "the result of a map is f32 and has its image's shape");
	bool safe = vq_dtype_integer(image->dtype) && m.kind != VQ_MAP_SCORE && (m.clip || m.kind == VQ_MAP_NONE);
	const vq_window by = safe ? joined(image, w) : w;
	const int64_t length = by.w;
	for (int64_t y = w.top; y < w.top + by.h; y++) {
		size_t start = vq_plane_offset(image, c, y, w.left);
		for (int64_t x = 0; x < length; x += VQ_PIECE) {
			size_t n = (size_t)VQ_MIN(VQ_PIECE, length - x), at = start + (size_t)x;
			float *o = (float *)out->data + at;
			vq_plane_load(image, at, n, v);
			total += map_piece(m, v, n, o);
			if (!safe)
				VQ_TRY(check_mapped(v, o, n, y, w.left + x, w));
		}
	}
	if (lost)
		*lost = total;
	return VQ_OK;
}

void vq_map_inverse(vq_map m, const float *y, size_t n, double *grey)
{
	for (size_t i = 0; i < n; i++)
		grey[i] = m.kind == VQ_MAP_NONE ? y[i] : m.constant ? m.a
			: m.kind == VQ_MAP_SCORE ? y[i] * m.b + m.a : ((double)y[i] + 1) / 2 * (m.b - m.a) + m.a;
}
