/* See kernels.h. Compiled several times with VQ_KERNELS naming the table and -march chosen by the Makefile. */
#include "lib/cpu/kernels.h"

#include <math.h>
#include <string.h>

#include "lib/cpu/lanes.h"

#ifndef VQ_KERNELS
#define VQ_KERNELS vq_kernels_base
#endif

typedef uint16_t half;
static inline float ldf(const float *p) { return *p; }
static inline float ldh(const half *p) { return vq_bf16_to_f32(*p); }
static inline void stf(float *p, float v) { *p = v; }
static inline void sth(half *p, float v)
{
	/* as vq_f32_to_bf16, without its branch for NaN, which would keep the loop from being vectorised */
	union { float f; uint32_t u; } c = { v };
	uint32_t r = (c.u + 0x7fffu + (c.u >> 16 & 1)) >> 16;
	*p = (half)(v != v ? 0x7fc0u : r);
}

static inline float fn(vq_act a, float x)
{
	switch (a) {
	case VQ_FN_RELU: return x > 0 ? x : 0;
	case VQ_FN_LEAKY: return x > 0 ? x : .01f * x;
	case VQ_FN_SILU: return x / (1 + expf(-x));
	case VQ_FN_GELU: return .5f * x * (1 + erff(x * .70710678118654752f));
	default: return x;
	}
}

/* The derivative, from the input x and the output y. */
static inline float dfn(vq_act a, float x, float y)
{
	switch (a) {
	case VQ_FN_RELU: return y > 0 ? 1 : 0;
	case VQ_FN_LEAKY: return y > 0 ? 1 : .01f;
	case VQ_FN_SILU: {
		float s = 1 / (1 + expf(-x));
		return s * (1 + x * (1 - s));
	}
	case VQ_FN_GELU: return .5f * (1 + erff(x * .70710678118654752f)) + x * .3989422804014327f * expf(-.5f * x * x);
	default: return 1;
	}
}

/* A switch outside the loop, so that each loop has one activation. */
#define BY_ACT(act, LOOP) \
	switch (act) { \
	case VQ_FN_RELU: { LOOP(VQ_FN_RELU) break; } \
	case VQ_FN_LEAKY: { LOOP(VQ_FN_LEAKY) break; } \
	case VQ_FN_SILU: { LOOP(VQ_FN_SILU) break; } \
	case VQ_FN_GELU: { LOOP(VQ_FN_GELU) break; } \
	default: { LOOP(VQ_FN_NONE) break; } \
	}

enum { NORM_LANES = 16 };

/* Of either type, for what the compiler does not bring into vectors by itself. */
typedef uint32_t ulanes __attribute__((vector_size(4 * LANES)));
typedef half hlanes __attribute__((vector_size(2 * LANES)));
typedef half hlanes_at __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
#define LOAD_f32(p) load(p)
#define STORE_f32(p, v) store(p, v)
#define LOAD_bf16(p) ((lanes)(__builtin_convertvector(*(const hlanes_at *)(p), ulanes) << 16))
#define STORE_bf16(p, v) do { \
	lanes value = (v); \
	ulanes bits = (ulanes)value, nan = (ulanes)(value != value), rounded = bits + 0x7fffu + (bits >> 16 & 1u); \
	*(hlanes_at *)(p) = __builtin_convertvector((rounded >> 16 & ~nan) | (0x7fc0u & nan), hlanes); \
} while (0)

/* Each kernel once for float and once for bf16. */
#define T float
#define LD ldf
#define ST stf
#define N(name) name##_f32
#include "lib/cpu/kernels_typed.inc.h"
#undef T
#undef LD
#undef ST
#undef N
#define T half
#define LD ldh
#define ST sth
#define N(name) name##_bf16
#include "lib/cpu/kernels_typed.inc.h"

#define BY_TYPE(t, name, ...) do { if ((t) == VQ_BF16) name##_bf16(__VA_ARGS__); else name##_f32(__VA_ARGS__); } while (0)

static void act(vq_dtype t, vq_act a, size_t n, const void *x, void *y) { BY_TYPE(t, act, a, n, x, y); }

static void act_bwd(vq_dtype t, vq_act a, bool acc, size_t n, const void *x, const void *y, const void *dy, void *dx)
{
	BY_TYPE(t, act_bwd, a, acc, n, x ? x : y, y, dy, dx);
}

static void add(vq_dtype t, size_t n, const void *a, const void *b, void *y) { BY_TYPE(t, add, n, a, b, y); }

static void cast(vq_dtype from, vq_dtype to, size_t n, const void *x, void *y)
{
	const float *xf = x;
	const half *xh = x;
	float *yf = y;
	half *yh = y;
	if (from == to)
		memcpy(y, x, n * vq_dtype_size(to));
	else if (to == VQ_BF16)
		for (size_t i = 0; i < n; i++)
			sth(yh + i, xf[i]);
	else
		for (size_t i = 0; i < n; i++)
			yf[i] = ldh(xh + i);
}

static void blend(vq_dtype t, size_t n, const float w[4], const void *const x[4], void *y) { BY_TYPE(t, blend, n, w, x, y); }
static void spread(vq_dtype t, size_t n, const float w[4], const void *dy, void *const x[4]) { BY_TYPE(t, spread, n, w, dy, x); }
static void bias_act(vq_dtype t, vq_act a, size_t rows, size_t c, const float *bias, void *y) { BY_TYPE(t, bias_act, a, rows, c, bias, y); }
static void col_sum(vq_dtype t, size_t rows, size_t c, const void *x, double *out) { BY_TYPE(t, col_sum, rows, c, x, out); }

static void col_square(vq_dtype t, size_t rows, size_t c, const void *x, const float *mean, double *out)
{
	BY_TYPE(t, col_square, rows, c, x, mean, out);
}

static void norm(vq_dtype t, vq_act a, size_t rows, size_t c, const float *scale, const float *shift, const void *x, const void *res, void *y)
{
	BY_TYPE(t, norm, a, rows, c, scale, shift, x, res, y);
}

static void norm_sums(vq_dtype t, vq_act a, size_t rows, size_t c, const float *mean, const float *rstd, const float *gamma, const float *beta,
                      const void *x, const void *res, const void *y, const void *dy, double *sums)
{
	BY_TYPE(t, norm_sums, a, rows, c, mean, rstd, gamma, beta, x, res, y, dy, sums);
}

static void norm_bwd(vq_dtype t, vq_act a, size_t rows, size_t c, const float *mean, const float *rstd, const float *gamma, const float *beta,
                     const float *s0, const float *s1, const void *x, const void *res, const void *y, const void *dy, void *dx, void *dres)
{
	BY_TYPE(t, norm_bwd, a, rows, c, mean, rstd, gamma, beta, s0, s1, x, res, y, dy, dx, dres);
}

/* --- nearest codebook row: 6 rows against WIDE vectors of codes at a time, their sums in registers ------------------ */

enum { ROWS = 6, PART = WIDE * LANES };

/* The best so far of a row, in each lane. */
typedef struct { lanes least; ilanes at; } best_of;

/* part: PART codes of a panel, those from k on. */
INLINE void against(int rows, size_t d, size_t k, const float *const z[ROWS], const float *part, const float *norms, best_of *best)
{
	lanes s[ROWS][WIDE];
	ilanes lane;
	for (int l = 0; l < LANES; l++)
		lane[l] = l;
	for (int r = 0; r < rows; r++)
		for (int w = 0; w < WIDE; w++)
			s[r][w] = load(norms + k + LANES * (size_t)w);
	for (size_t i = 0; i < d; i++) {
		lanes e[WIDE];
		for (int w = 0; w < WIDE; w++)
			e[w] = load(part + i * KERNEL_PANEL + LANES * (size_t)w);
		for (int r = 0; r < rows; r++) {
			lanes x = (lanes){0} + z[r][i];
			for (int w = 0; w < WIDE; w++)
				s[r][w] -= x * e[w];
		}
	}
	for (int r = 0; r < rows; r++)
		for (int w = 0; w < WIDE; w++) {
			ilanes less = s[r][w] < best[r].least, here = lane + (int32_t)(k + LANES * (size_t)w);
			best[r].least = (lanes)((less & (ilanes)s[r][w]) | (~less & (ilanes)best[r].least));
			best[r].at = (less & here) | (~less & best[r].at);
		}
}

static int32_t best_lane(const best_of *b)
{
	int c = 0;
	for (int l = 1; l < LANES; l++)
		if (b->least[l] < b->least[c] || (b->least[l] == b->least[c] && b->at[l] < b->at[c]))
			c = l;
	return b->at[c];
}

/* A part of the codebook stays in the first cache while all rows meet it. */
static void nearest_some(size_t rows, size_t d, size_t kpad, const float *z, const float *book_t, const float *norms, int32_t *codes)
{
	const float *row[KERNEL_NEAREST];
	best_of best[KERNEL_NEAREST];
	for (size_t r = 0; r < KERNEL_NEAREST; r++) {
		row[r] = z + VQ_MIN(r, rows - 1) * d;
		best[r] = (best_of){ (lanes){0} + INFINITY, (ilanes){0} };
	}
	for (size_t k = 0; k < kpad; k += PART) {
		const float *part = book_t + k / KERNEL_PANEL * KERNEL_PANEL * d + k % KERNEL_PANEL;
		size_t r = 0;
		for (; r + 2 < rows; r += ROWS)
			against(ROWS, d, k, row + r, part, norms, best + r);
		if (r < rows)
			against(2, d, k, row + r, part, norms, best + r);
	}
	for (size_t r = 0; r < rows; r++)
		codes[r] = best_lane(&best[r]);
}

static void nearest(size_t rows, size_t d, size_t kpad, const float *z, const float *book_t, const float *norms, int32_t *codes)
{
	for (size_t r = 0; r < rows; r += KERNEL_NEAREST)
		nearest_some(VQ_MIN(rows - r, (size_t)KERNEL_NEAREST), d, kpad, z + r * d, book_t, norms, codes + r);
}

/* --- losses, sums, optimisers: float only ------------------------------------------------------------------------- */

/* Sums run in 16 float lanes over short stretches and in double across them. */
enum { STRETCH = 256 };

static double loss(size_t pixels, size_t c, int power, const float *y, const float *t, const float *w, float scale, float *dy)
{
	double total = 0;
	size_t n = pixels * c;
	for (size_t i = 0; i < n; i += STRETCH) {
		size_t m = VQ_MIN(n - i, (size_t)STRETCH);
		float s = 0;
		for (size_t j = i; j < i + m; j++) {
			float d = y[j] - t[j], k = w ? w[j / c] : 1;
			s += power == 2 ? k * d * d : k * fabsf(d);
			if (dy)
				dy[j] = scale * k * (power == 2 ? 2 * d : d > 0 ? 1 : d < 0 ? -1 : 0);
		}
		total += s;
	}
	return total;
}

static double square_distance(size_t n, const float *a, const float *b)
{
	double total = 0;
	for (size_t i = 0; i < n; i += STRETCH) {
		size_t m = VQ_MIN(n - i, (size_t)STRETCH);
		float s = 0;
		for (size_t j = i; j < i + m; j++)
			s += (a[j] - b[j]) * (a[j] - b[j]);
		total += s;
	}
	return total;
}

static double sum_squares(size_t n, const float *x)
{
	double total = 0;
	for (size_t i = 0; i < n; i += STRETCH) {
		size_t m = VQ_MIN(n - i, (size_t)STRETCH);
		float s = 0;
		for (size_t j = i; j < i + m; j++)
			s += x[j] * x[j];
		total += s;
	}
	return total;
}

static void adam(size_t n, bool decoupled, float lr, float beta1, float beta2, float eps, float decay, float c1, float c2, float factor,
                 const float *g, float *m, float *v, float *p)
{
	float step = lr / c1, root = 1 / sqrtf(c2), keep = decoupled ? 1 - lr * decay : 1, l2 = decoupled ? 0 : decay;
	for (size_t i = 0; i < n; i++) {
		float x = p[i], d = g[i] * factor + l2 * x;
		m[i] = beta1 * m[i] + (1 - beta1) * d;
		v[i] = beta2 * v[i] + (1 - beta2) * d * d;
		p[i] = x * keep - step * m[i] / (sqrtf(v[i]) * root + eps);
	}
}

static void sgd(size_t n, float lr, float momentum, float decay, bool first, float factor, const float *g, float *m, float *p)
{
	for (size_t i = 0; i < n; i++) {
		float d = g[i] * factor + decay * p[i];
		m[i] = first ? d : momentum * m[i] + d;
		p[i] -= lr * (momentum > 0 ? m[i] : d);
	}
}

static void axpy(size_t n, float a, const float *x, float *y)
{
	for (size_t i = 0; i < n; i++)
		y[i] += a * x[i];
}

#if defined __AVX512F__
/* --- linear layers of a few rows ------------------------------------------------------------------------------------ */

/* Rows are the lanes: no sums across lanes, and each weight is one broadcast. */
static void linear(size_t rows, size_t in, size_t out, size_t from, size_t to, const float *xt, const float *w, const float *bias, float *y)
{
	enum { OUTS = 8 }; /* streams of weights: as many as a cache set has lines */
	for (size_t o = from; o < to; o += OUTS) {
		lanes s[OUTS];
		const float *at[OUTS];
		for (size_t j = 0; j < OUTS; j++) {
			at[j] = w + VQ_MIN(o + j, to - 1) * in;
			s[j] = (lanes){0} + (bias ? bias[VQ_MIN(o + j, to - 1)] : 0);
		}
		for (size_t i = 0; i < in; i++) {
			lanes x = load(xt + i * KERNEL_ROWS);
			for (int j = 0; j < OUTS; j++)
				s[j] += x * ((lanes){0} + at[j][i]);
		}
		for (size_t j = 0; j < OUTS && o + j < to; j++)
			for (size_t r = 0; r < rows; r++)
				y[r * out + o + j] = s[j][r];
	}
}

/* One row: the weights' columns are the lanes. */
static void linear_one(size_t in, size_t from, size_t to, const float *x, const float *w, const float *bias, float *y)
{
	enum { OUTS = 8 };
	for (size_t o = from; o < to; o += OUTS) {
		lanes s[OUTS];
		const float *at[OUTS];
		for (size_t j = 0; j < OUTS; j++) {
			at[j] = w + VQ_MIN(o + j, to - 1) * in;
			s[j] = (lanes){0};
		}
		for (size_t i = 0; i < in; i += 16) {
			lanes v = load(x + i);
			for (int j = 0; j < OUTS; j++)
				s[j] += v * load(at[j] + i);
		}
		for (size_t j = 0; j < OUTS && o + j < to; j++) {
			float sum = 0;
			for (int l = 0; l < 16; l++)
				sum += s[j][l];
			y[o + j] = sum + (bias ? bias[o + j] : 0);
		}
	}
}

static void linear_data(size_t rows, size_t in, size_t out, size_t from, size_t to, const float *dy, const float *w, float *dx)
{
	enum { OUTS = 16 };
	float g[OUTS][KERNEL_ROWS];
	for (size_t o = 0; o < out; o += OUTS) {
		size_t n = VQ_MIN(out - o, (size_t)OUTS);
		for (size_t j = 0; j < n; j++)
			for (size_t r = 0; r < KERNEL_ROWS; r++)
				g[j][r] = r < rows ? dy[r * out + o + j] : 0;
		for (size_t i = from; i < to; i += 16) {
			lanes s[KERNEL_ROWS];
			for (size_t r = 0; r < KERNEL_ROWS; r++)
				s[r] = o && r < rows ? (lanes)load(dx + r * in + i) : (lanes){0};
			for (size_t j = 0; j < n; j++) {
				lanes x = load(w + (o + j) * in + i);
				for (int r = 0; r < KERNEL_ROWS; r++)
					s[r] += x * ((lanes){0} + g[j][r]);
			}
			for (size_t r = 0; r < KERNEL_ROWS; r++)
				if (r < rows)
					store(dx + r * in + i, s[r]);
		}
	}
}

enum { WEIGHT_OUTS = 8 };

/* WEIGHT_OUTS rows of dw (only the first n of them are written) at `wide` vectors from column i on. */
INLINE void weight_block(int wide, size_t rows, size_t in, size_t n, size_t i, const float *x, float g[KERNEL_ROWS][WEIGHT_OUTS], float *const at[WEIGHT_OUTS])
{
	lanes s[WEIGHT_OUTS][2];
	for (int j = 0; j < WEIGHT_OUTS; j++)
		for (int v = 0; v < wide; v++)
			s[j][v] = load(at[j] + i + 16 * v);
	for (size_t r = 0; r < rows; r++) {
		lanes a[2];
		for (int v = 0; v < wide; v++)
			a[v] = load(x + r * in + i + 16 * v);
		for (int j = 0; j < WEIGHT_OUTS; j++)
			for (int v = 0; v < wide; v++)
				s[j][v] += a[v] * ((lanes){0} + g[r][j]);
	}
	for (size_t j = 0; j < WEIGHT_OUTS; j++)
		for (int v = 0; v < wide && j < n; v++)
			store(at[j] + i + 16 * v, s[j][v]);
}

static void linear_weight(size_t rows, size_t in, size_t out, size_t from, size_t to, const float *x, const float *dy, float *dw)
{
	for (size_t o = from; o < to; o += WEIGHT_OUTS) {
		size_t n = VQ_MIN(to - o, (size_t)WEIGHT_OUTS), i = 0;
		float g[KERNEL_ROWS][WEIGHT_OUTS], *at[WEIGHT_OUTS];
		for (size_t j = 0; j < WEIGHT_OUTS; j++) {
			at[j] = dw + VQ_MIN(o + j, to - 1) * in;
			for (size_t r = 0; r < rows; r++)
				g[r][j] = j < n ? dy[r * out + o + j] : 0;
		}
		for (; i + 32 <= in; i += 32)
			weight_block(2, rows, in, n, i, x, g, at);
		if (i < in)
			weight_block(1, rows, in, n, i, x, g, at);
	}
}
#else
#define linear NULL
#define linear_one NULL
#define linear_data NULL
#define linear_weight NULL
#endif

extern const vq_kernels VQ_KERNELS;
const vq_kernels VQ_KERNELS = { VQ_KERNELS_NAME, act, act_bwd, add, cast, bias_act, col_sum, col_square, norm, norm_sums, norm_bwd, nearest, loss,
	square_distance, sum_squares, adam, sgd, blend, spread, linear, linear_one, linear_data, linear_weight, axpy };
