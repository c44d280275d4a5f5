/* kernels: the loops that oneDNN and BLAS have no say in, serial and over plain ranges, compiled once per instruction set.
 *
 * kernels.c is built as kernels_base, kernels_v3 (AVX2, FMA) and kernels_v4 (AVX-512); vq_kernels_pick() chooses at run time. Results
 * for one row never depend on what the rows computed beside it hold. `half` arguments are bf16. */
#ifndef VQ_CPU_KERNELS_H
#define VQ_CPU_KERNELS_H

#include "lib/backend.h"

enum { KERNEL_ROWS = 16, KERNEL_NEAREST = 24, KERNEL_PANEL = 64 /* codebook rows */ };

typedef struct {
	const char *name;
	/* y = act(x); dx (+)= dy act'(...): relu and leaky from y, silu and gelu from x. n elements of dtype t. */
	void (*act)(vq_dtype t, vq_act act, size_t n, const void *x, void *y);
	void (*act_bwd)(vq_dtype t, vq_act act, bool accumulate, size_t n, const void *x, const void *y, const void *dy, void *dx);
	void (*add)(vq_dtype t, size_t n, const void *a, const void *b, void *y);
	void (*cast)(vq_dtype from, vq_dtype to, size_t n, const void *x, void *y);
	/* rows of c: y = act(y + bias), in place */
	void (*bias_act)(vq_dtype t, vq_act act, size_t rows, size_t c, const float *bias, void *y);
	/* out[c] += sums over rows (out is double) */
	void (*col_sum)(vq_dtype t, size_t rows, size_t c, const void *x, double *out);
	/* out[c] += sum (x - mean)^2 */
	void (*col_square)(vq_dtype t, size_t rows, size_t c, const void *x, const float *mean, double *out);
	/* y = act(x * scale[c] + shift[c] + res); res may be NULL */
	void (*norm)(vq_dtype t, vq_act act, size_t rows, size_t c, const float *scale, const float *shift, const void *x, const void *res, void *y);
	/* sums over rows of g and g * xhat into sums[2c] (double), with g = dy act'(...) and xhat = (x - mean) * rstd */
	void (*norm_sums)(vq_dtype t, vq_act act, size_t rows, size_t c, const float *mean, const float *rstd, const float *gamma, const float *beta,
	                  const void *x, const void *res, const void *y, const void *dy, double *sums);
	/* dx = gamma rstd (g - s0 - xhat s1), dres = g; s0, s1: means per channel */
	void (*norm_bwd)(vq_dtype t, vq_act act, size_t rows, size_t c, const float *mean, const float *rstd, const float *gamma, const float *beta,
	                 const float *s0, const float *s1, const void *x, const void *res, const void *y, const void *dy, void *dx, void *dres);
	/* rows of d (KERNEL_NEAREST of them are taken together) against k codebook rows; book_t is [kpad / KERNEL_PANEL][d][KERNEL_PANEL] (kpad = k rounded up to it, beyond k anything),
	 * norms [kpad] = |e|^2 / 2, with +inf beyond k. codes gets the index of the smallest |e|^2/2 - z.e, the lowest on a tie. */
	void (*nearest)(size_t rows, size_t d, size_t kpad, const float *z, const float *book_t, const float *norms, int32_t *codes);
	/* n values: returns sum w |y-t|^power; dy = scale w d/dy (dy may be NULL). w: NULL, or one a pixel of c values. */
	double (*loss)(size_t pixels, size_t c, int power, const float *y, const float *t, const float *w, float scale, float *dy);
	/* returns sum |z-e|^2 over d */
	double (*square_distance)(size_t n, const float *a, const float *b);
	double (*sum_squares)(size_t n, const float *x);
	/* adam: g is multiplied by `factor` first (clipping). corrections c1 = 1-beta1^t, c2 = 1-beta2^t. */
	void (*adam)(size_t n, bool decoupled, float lr, float beta1, float beta2, float eps, float decay, float c1, float c2, float factor,
	             const float *g, float *m, float *v, float *p);
	void (*sgd)(size_t n, float lr, float momentum, float decay, bool first, float factor, const float *g, float *m, float *p);
	/* y = the sum of w[i] x[i] over four rows of n; and back: x[i] += w[i] dy, one after the other, for they may be the same */
	void (*blend)(vq_dtype t, size_t n, const float w[4], const void *const x[4], void *y);
	void (*spread)(vq_dtype t, size_t n, const float w[4], const void *dy, void *const x[4]);
	/* Linear layers of a few rows, up to KERNEL_ROWS at a time; what they read of w [out, in] they read once. NULL where BLAS is as good.
	 * linear: y [rows, out] at columns [from, to) gets x w' + bias (or NULL); xt is x [rows, in] with rows and columns exchanged, KERNEL_ROWS wide.
	 * linear_one: of one row x [in], in a multiple of 16; sums in another order.
	 * linear_data: dx [rows, in] at columns [from, to), multiples of 16, gets dy w.
	 * linear_weight: rows [from, to) of dw [out, in], in a multiple of 16, += dy' x. */
	void (*linear)(size_t rows, size_t in, size_t out, size_t from, size_t to, const float *xt, const float *w, const float *bias, float *y);
	void (*linear_one)(size_t in, size_t from, size_t to, const float *x, const float *w, const float *bias, float *y);
	void (*linear_data)(size_t rows, size_t in, size_t out, size_t from, size_t to, const float *dy, const float *w, float *dx);
	void (*linear_weight)(size_t rows, size_t in, size_t out, size_t from, size_t to, const float *x, const float *dy, float *dw);
	/* y = a x + y */
	void (*axpy)(size_t n, float a, const float *x, float *y);
} vq_kernels;

/* Levels of instructions: 0, 3 (AVX2 and FMA), 4 (AVX-512), 5 (with bf16). The best at or below `level` that this machine has. */
int vq_kernels_level(int level);
const vq_kernels *vq_kernels_pick(int level);

#endif
