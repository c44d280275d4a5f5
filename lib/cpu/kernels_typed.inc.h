/* Included by kernels.c once a type: T, LD, ST, N. */

static void N(act)(vq_act a, size_t n, const void *xv, void *yv)
{
	const T *x = xv;
	T *y = yv;
#define LOOP(A) for (size_t i = 0; i < n; i++) ST(y + i, fn(A, LD(x + i)));
	BY_ACT(a, LOOP)
#undef LOOP
}

static void N(act_bwd)(vq_act a, bool acc, size_t n, const void *xv, const void *yv, const void *dyv, void *dxv)
{
	const T *x = xv, *y = yv, *dy = dyv;
	T *dx = dxv;
#define LOOP(A) \
	if (acc) \
		for (size_t i = 0; i < n; i++) ST(dx + i, LD(dx + i) + LD(dy + i) * dfn(A, LD(x + i), LD(y + i))); \
	else \
		for (size_t i = 0; i < n; i++) ST(dx + i, LD(dy + i) * dfn(A, LD(x + i), LD(y + i)));
	BY_ACT(a, LOOP)
#undef LOOP
}

static void N(add)(size_t n, const void *av, const void *bv, void *yv)
{
	const T *a = av, *b = bv;
	T *y = yv;
	for (size_t i = 0; i < n; i++)
		ST(y + i, LD(a + i) + LD(b + i));
}

static void N(blend)(size_t n, const float w[4], const void *const x[4], void *yv)
{
	const T *a = x[0], *b = x[1], *c = x[2], *d = x[3];
	T *y = yv;
	for (size_t i = 0; i < n; i++)
		ST(y + i, w[0] * LD(a + i) + w[1] * LD(b + i) + w[2] * LD(c + i) + w[3] * LD(d + i));
}

static void N(spread)(size_t n, const float w[4], const void *dyv, void *const x[4])
{
	const T *dy = dyv;
	for (int k = 0; k < 4; k++) {
		T *to = x[k];
		for (size_t i = 0; i < n && w[k] != 0; i++)
			ST(to + i, LD(to + i) + w[k] * LD(dy + i));
	}
}

static void N(bias_act)(vq_act a, size_t rows, size_t c, const float *bias, void *yv)
{
	T *y = yv;
#define LOOP(A) \
	for (size_t r = 0; r < rows; r++, y += c) \
		for (size_t i = 0; i < c; i++) ST(y + i, fn(A, LD(y + i) + (bias ? bias[i] : 0)));
	BY_ACT(a, LOOP)
#undef LOOP
}

/* Float sums over a few rows at a time, double across them. */
static void N(col_sum)(size_t rows, size_t c, const void *xv, double *out)
{
	const T *x = xv;
	enum { BLOCK = 64, CHANNELS = 64 };
	for (size_t i0 = 0; i0 < c; i0 += CHANNELS) {
		size_t m = VQ_MIN(c - i0, (size_t)CHANNELS);
		for (size_t r0 = 0; r0 < rows; r0 += BLOCK) {
			float s[CHANNELS] = {0};
			for (size_t r = r0; r < VQ_MIN(rows, r0 + BLOCK); r++)
				for (size_t i = 0; i < m; i++)
					s[i] += LD(x + r * c + i0 + i);
			for (size_t i = 0; i < m; i++)
				out[i0 + i] += s[i];
		}
	}
}

static void N(col_square)(size_t rows, size_t c, const void *xv, const float *mean, double *out)
{
	const T *x = xv;
	enum { BLOCK = 64, CHANNELS = 64 };
	for (size_t i0 = 0; i0 < c; i0 += CHANNELS) {
		size_t m = VQ_MIN(c - i0, (size_t)CHANNELS);
		for (size_t r0 = 0; r0 < rows; r0 += BLOCK) {
			float s[CHANNELS] = {0};
			for (size_t r = r0; r < VQ_MIN(rows, r0 + BLOCK); r++)
				for (size_t i = 0; i < m; i++) {
					float d = LD(x + r * c + i0 + i) - mean[i0 + i];
					s[i] += d * d;
				}
			for (size_t i = 0; i < m; i++)
				out[i0 + i] += s[i];
		}
	}
}

static void N(norm)(vq_act a, size_t rows, size_t c, const float *scale, const float *shift, const void *xv, const void *rv, void *yv)
{
	const T *x = xv, *res = rv;
	T *y = yv;
#define LOOP(A) \
	for (size_t r = 0; r < rows; r++) \
		for (size_t i = 0; i < c; i++) { \
			size_t j = r * c + i; \
			ST(y + j, fn(A, LD(x + j) * scale[i] + shift[i] + (res ? LD(res + j) : 0))); \
		}
	BY_ACT(a, LOOP)
#undef LOOP
}

/* What went into the activation is computed again rather than kept. */
#define PRE(j, i, xhat) ((xhat) * gamma[i] + beta[i] + (res ? LD(res + (j)) : 0))

static void N(norm_sums)(vq_act a, size_t rows, size_t c, const float *mean, const float *rstd, const float *gamma, const float *beta, const void *xv,
                         const void *rv, const void *yv, const void *dyv, double *sums)
{
	const T *x = xv, *res = rv, *y = yv, *dy = dyv;
	enum { BLOCK = 64, CHANNELS = 32 };
#define LOOP(A) \
	for (size_t i0 = 0; i0 < c; i0 += CHANNELS) { \
		size_t m = VQ_MIN(c - i0, (size_t)CHANNELS); \
		for (size_t r0 = 0; r0 < rows; r0 += BLOCK) { \
			float s[CHANNELS] = {0}, q[CHANNELS] = {0}; \
			for (size_t r = r0; r < VQ_MIN(rows, r0 + BLOCK); r++) \
				for (size_t i = 0; i < m; i++) { \
					size_t j = r * c + i0 + i; \
					float xhat = (LD(x + j) - mean[i0 + i]) * rstd[i0 + i]; \
					float g = LD(dy + j) * dfn(A, PRE(j, i0 + i, xhat), LD(y + j)); \
					s[i] += g; \
					q[i] += g * xhat; \
				} \
			for (size_t i = 0; i < m; i++) { \
				sums[i0 + i] += s[i]; \
				sums[c + i0 + i] += q[i]; \
			} \
		} \
	}
	BY_ACT(a, LOOP)
#undef LOOP
}

/* Where the activation's derivative is 1 or, where y is not positive, slope; c is a multiple of LANES. All that a store may share memory with is
 * read before it. */
static void N(norm_bwd_straight)(float slope, size_t rows, size_t c, const float *mean, const float *rstd, const float *gamma, const float *s0, const float *s1,
                                 const T *x, const T *y, const T *dy, T *dx, T *dres)
{
	for (size_t r = 0; r < rows; r++)
		for (size_t i = 0; i < c; i += LANES) {
			size_t j = r * c + i;
			lanes rs = load(rstd + i), xhat = (N(LOAD)(x + j) - load(mean + i)) * rs, g = N(LOAD)(dy + j);
			if (slope != 1) {
				ilanes up = N(LOAD)(y + j) > 0;
				g = (lanes)(((ilanes)g & up) | ((ilanes)(g * slope) & ~up));
			}
			lanes d = load(gamma + i) * rs * (g - load(s0 + i) - xhat * load(s1 + i));
			if (dres)
				N(STORE)(dres + j, g);
			if (dx)
				N(STORE)(dx + j, d);
		}
}

/* Channels [i0, i0+m): all are read before any is written, so that neither what may share memory nor what is left out stands in the way of vectors. */
#define LOOP(A) \
	for (size_t i = 0; i < m; i++) { \
		size_t j = at + i; \
		float xhat = (LD(x + j) - mean[i0 + i]) * rstd[i0 + i]; \
		g[i] = LD(dy + j) * dfn(A, PRE(j, i0 + i, xhat), LD(y + j)); \
		d[i] = gamma[i0 + i] * rstd[i0 + i] * (g[i] - s0[i0 + i] - xhat * s1[i0 + i]); \
	}
INLINE void N(norm_bwd_part)(vq_act a, size_t at, size_t i0, size_t m, const float *mean, const float *rstd, const float *gamma,
                                                                   const float *beta, const float *s0, const float *s1, const T *x, const T *res, const T *y, const T *dy, T *dx, T *dres)
{
	float g[NORM_LANES], d[NORM_LANES];
	BY_ACT(a, LOOP)
	if (dres)
		for (size_t i = 0; i < m; i++)
			ST(dres + at + i, g[i]);
	if (dx)
		for (size_t i = 0; i < m; i++)
			ST(dx + at + i, d[i]);
}
#undef LOOP

static void N(norm_bwd)(vq_act a, size_t rows, size_t c, const float *mean, const float *rstd, const float *gamma, const float *beta, const float *s0,
                        const float *s1, const void *x, const void *res, const void *y, const void *dy, void *dx, void *dres)
{
	if (c % LANES == 0 && (a == VQ_FN_RELU || a == VQ_FN_LEAKY || a == VQ_FN_NONE)) {
		N(norm_bwd_straight)(a == VQ_FN_RELU ? 0 : a == VQ_FN_LEAKY ? .01f : 1, rows, c, mean, rstd, gamma, s0, s1, x, y, dy, dx, dres);
		return;
	}
	for (size_t r = 0; r < rows; r++)
		for (size_t i = 0; i < c; i += NORM_LANES)
			if (c - i >= NORM_LANES)
				N(norm_bwd_part)(a, r * c + i, i, NORM_LANES, mean, rstd, gamma, beta, s0, s1, x, res, y, dy, dx, dres);
			else
				N(norm_bwd_part)(a, r * c + i, i, c - i, mean, rstd, gamma, beta, s0, s1, x, res, y, dy, dx, dres);
}
#undef PRE
