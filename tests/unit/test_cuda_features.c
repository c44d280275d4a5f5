/* The CUDA kernels of frozen networks on the host against plain loops in f64. */
#include "tests/unit/cudatest.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

static const vq_dtype types[] = { VQ_BF16, VQ_F32 };
static const int widths[] = { 1, 5, 8, 70 };

static size_t row_at(const vq_cuda_grid *g, vq_rect r, int y, int x) { return ((size_t)r.n * (size_t)g->h + (size_t)(r.y + y)) * (size_t)g->w + (size_t)(r.x + x); }

/* --- colours ------------------------------------------------------------------------------------------------------- */

static void one_colours(cudatest_kind kind, vq_dtype from, vq_dtype to, int c, int first, int step)
{
	vq_cuda_grid g = cudatest_grid(kind);
	size_t rows = cudatest_rows(g), n = rows * (size_t)c;
	double *x = cudatest_noise(from, n), *dy = cudatest_noise(to, 3 * rows), *mul = cudatest_noise(VQ_F32, 3), *add = cudatest_noise(VQ_F32, 3), *y = cudatest_doubles(3 * rows),
		*dx = cudatest_doubles(n);
	for (size_t r = 0; r < rows; r++)
		for (size_t i = 0; i < 3 && g.mark[r]; i++) {
			y[3 * r + i] = x[r * (size_t)c + (size_t)first + (size_t)step * i] * mul[i] + add[i];
			dx[r * (size_t)c + (size_t)first + (size_t)step * i] += dy[3 * r + i] * mul[i];
		}
	void *mx = cudatest_memory(from, n, x), *my = cudatest_memory(to, 3 * rows, NULL), *mdy = cudatest_memory(to, 3 * rows, dy), *mdx = cudatest_memory(from, n, NULL);
	float *mm = cudatest_memory(VQ_F32, 3, mul), *ma = cudatest_memory(VQ_F32, 3, add);
	EACH_ORDER(vq_cuda_colours(NULL, g, c, first, step, from, mx, mm, ma, to, my));
	CUDATEST_NEAR(to, 3 * rows, my, y, cudatest_limit(to));
	EACH_ORDER(vq_cuda_colours_bwd(NULL, g, c, first, step, to, mdy, mm, from, mdx));
	CUDATEST_NEAR(from, n, mdx, dx, cudatest_limit(from));
	cudatest_end();
}

TEST(colours_of_channels)
{
	for (int kind = 0; kind < CUDATEST_LIST; kind++)
		for (int t = 0; t < 4; t++) {
			one_colours((cudatest_kind)kind, types[t % 2], types[t / 2], 1, 0, 0);
			one_colours((cudatest_kind)kind, types[t % 2], types[t / 2], 4, 0, 1);
			one_colours((cudatest_kind)kind, types[t % 2], types[t / 2], 5, 3, 0);
		}
}

/* --- greatest values ----------------------------------------------------------------------------------------------- */

/* The grid that pooling leads to: each item's extent where its windows fit, or, with `up`, as long as one begins inside. */
static vq_cuda_grid pooled(const vq_cuda_grid *g, int items, int k, int s, bool up)
{
	vq_cuda_grid to = *g;
	to.h = (g->h + s - 1) / s;
	to.w = (g->w + s - 1) / s;
	double *p = cudatest_doubles(10 * (size_t)items);
	for (int i = 0; i < items; i++) {
		vq_rect e = g->places[i].extent;
		int more = up ? s - 1 : 0, h = e.h + more < k ? 0 : (e.h - k + more) / s + 1, w = e.w + more < k ? 0 : (e.w - k + more) / s + 1;
		double *at = p + 10 * i, of[5] = { e.n, e.y / s, e.x / s, VQ_MIN(h, to.h - e.y / s), VQ_MIN(w, to.w - e.x / s) };
		memcpy(at, of, sizeof of);
		memcpy(at + 5, of, sizeof of);
	}
	to.places = cudatest_memory(VQ_I32, 10 * (size_t)items, p);
	return to;
}

static void naive_pool(const vq_cuda_grid *gx, const vq_cuda_grid *gy, int items, int k, int s, int c, const double *x, const double *dy, double *y, double *dx)
{
	for (int i = 0; i < items; i++) {
		vq_rect in = gx->places[i].extent, out = gy->places[i].extent;
		for (int o = 0; o < out.h * out.w * c; o++) {
			int oy = o / c / out.w, ox = o / c % out.w, ch = o % c;
			size_t at = row_at(gy, out, oy, ox) * (size_t)c + (size_t)ch, best = SIZE_MAX;
			for (int yy = oy * s; yy < VQ_MIN(oy * s + k, in.h); yy++)
				for (int xx = ox * s; xx < VQ_MIN(ox * s + k, in.w); xx++) {
					size_t here = row_at(gx, in, yy, xx) * (size_t)c + (size_t)ch;
					best = best == SIZE_MAX || x[here] > x[best] ? here : best;
				}
			y[at] = x[best];
			dx[best] += dy[at];
		}
	}
}

static void one_pool(cudatest_kind kind, vq_dtype t, int c, int k, int s, bool up)
{
	vq_cuda_step step = cudatest_step(kind);
	vq_cuda_grid gx = cudatest_grid(kind), gy = pooled(&gx, step.items, k, s, up);
	size_t n = cudatest_rows(gx) * (size_t)c, m = cudatest_rows(gy) * (size_t)c;
	double *x = cudatest_noise(t, n), *dy = cudatest_noise(t, m), *y = cudatest_doubles(m), *dx = cudatest_doubles(n);
	for (size_t i = 0; i < n; i++)
		x[i] = floor(x[i] * 1.5); /* many are equal */
	naive_pool(&gx, &gy, step.items, k, s, c, x, dy, y, dx);
	void *mx = cudatest_memory(t, n, x), *my = cudatest_memory(t, m, NULL), *mdy = cudatest_memory(t, m, dy), *mdx = cudatest_memory(t, n, NULL);
	EACH_ORDER(vq_cuda_maxpool(NULL, &step, t, gx, gy, k, s, c, mx, my));
	CUDATEST_NEAR(t, m, my, y, 0);
	EACH_ORDER(vq_cuda_maxpool_bwd(NULL, &step, t, gx, gy, k, s, c, mx, my, mdy, mdx));
	CUDATEST_NEAR(t, n, mdx, dx, cudatest_limit(t));
	cudatest_end();
}

TEST(greatest_values)
{
	for (size_t i = 0; i < VQ_COUNT(types); i++)
		for (int kind = 0; kind < CUDATEST_LIST; kind++)
			for (size_t w = 0; w < VQ_COUNT(widths); w++)
				if (kind != CUDATEST_LARGE || widths[w] == 8) {
					one_pool((cudatest_kind)kind, types[i], widths[w], 2, 2, false);
					one_pool((cudatest_kind)kind, types[i], widths[w], 3, 2, w % 2);
					one_pool((cudatest_kind)kind, types[i], widths[w], 3, 1, false);
				}
}

/* --- distances ----------------------------------------------------------------------------------------------------- */

static void naive_distance(int c, const double *f, const double *t, const double *w, bool unit, double factor, double *df)
{
	double ff = 0, tt = 0, along = 0;
	for (int i = 0; i < c; i++) {
		ff += f[i] * f[i];
		tt += t[i] * t[i];
	}
	double a = unit ? 1 / (sqrt(ff) + 1e-10) : 1, b = unit ? 1 / (sqrt(tt) + 1e-10) : 1;
	for (int i = 0; i < c; i++)
		along += (w ? w[i] : 1) * (f[i] * a - t[i] * b) * f[i];
	for (int i = 0; i < c; i++) {
		double g = 2 * a * (w ? w[i] : 1) * (f[i] * a - t[i] * b);
		df[i] = factor * (!unit ? g / c : ff > 0 ? g - 2 * along * a * a / sqrt(ff) * f[i] : 0);
	}
}

/* what: bits for unit length, weights then, a gradient, a scale */
static void one_distance(cudatest_kind kind, vq_dtype type, int c, int what)
{
	vq_cuda_step step = cudatest_step(kind);
	vq_cuda_grid g = cudatest_grid(kind);
	size_t n = cudatest_rows(g) * (size_t)c;
	bool unit = what & 1;
	double *f = cudatest_noise(type, n), *t = cudatest_noise(type, n), *w = cudatest_noise(VQ_F32, (size_t)c), *df = cudatest_doubles(n), *scalar = cudatest_doubles(1), sum = 2;
	double scale = what & 8 ? (double)step.scale[3] : 1;
	*scalar = 2;
	for (int i = 0; i < step.items; i++) {
		vq_rect r = g.places[i].valid;
		for (int k = 0; k < r.h * r.w; k++) {
			size_t at = row_at(&g, r, k / r.w, k % r.w) * (size_t)c;
			for (int j = 0; j < c && k == 1; j++)
				f[at + (size_t)j] = 0; /* a length of 0 */
			naive_distance(c, f + at, t + at, unit && what & 2 ? w : NULL, unit, .5 * scale / (r.h * r.w), df + at);
			sum += .5 / (r.h * r.w) * ref_features(1, c, f + at, t + at, unit && what & 2 ? w : NULL, unit);
		}
	}
	void *mf = cudatest_memory(type, n, f), *mt = cudatest_memory(type, n, t), *mw = cudatest_memory(VQ_F32, (size_t)c, w), *out = what & 4 ? cudatest_memory(type, n, NULL) : NULL;
	void *scratch = cudatest_scratch(vq_cuda_features_scratch(g));
	EACH_ORDER(vq_cuda_features(NULL, &step, type, g, c, unit, .5f, what & 8 ? 3 : -1, mf, mt, unit && what & 2 ? mw : NULL, out, scalar, scratch));
	CHECK_NEAR(*scalar, sum, 1e-5 * fabs(sum));
	if (out)
		CUDATEST_NEAR(type, n, out, df, 3 * cudatest_limit(type)); /* of one channel: what rounding leaves of 0 */
	cudatest_end();
}

TEST(distances_of_features)
{
	for (size_t i = 0; i < VQ_COUNT(types); i++)
		for (int kind = 0; kind < CUDATEST_LIST; kind++)
			for (size_t w = 0; w < VQ_COUNT(widths); w++)
				for (int what = (int)w % 2; what < 16 && (kind != CUDATEST_LARGE || widths[w] == 8); what += 3)
					one_distance((cudatest_kind)kind, types[i], widths[w], what);
}

TEST_MAIN(RUN(colours_of_channels) RUN(greatest_values) RUN(distances_of_features))
