/* strip: convolutions forward, of any kernel and stride, as matrix products over strips of the image: what a kernel's row takes lies in a row
 * of memory, kernel width times channels of it, once the image has its border of zeros. Nothing is made for a shape, so that a plan for one
 * more shape costs next to nothing.
 *
 * Sums are f32, an output's in one order whatever is beside it. strip_kernels.c is compiled once an instruction set. These functions are
 * serial: callers share out the rows. */
#ifndef VQ_CPU_STRIP_H
#define VQ_CPU_STRIP_H

#include "lib/backend.h"

enum { STRIP_OUTS = 16 /* channels out are a multiple of it */ };

/* y = act(conv(x) + bias + sum), sum being what y held. x is finite: of an odd run of bf16 the last word holds a value more, whose weight is 0. */
typedef struct {
	int h, w, c;            /* of x [images,h,w,c] */
	int oh, ow, n;          /* of y [images,oh,ow,n] */
	int k, s, p;            /* kernel, stride, padding before */
	const void *x, *u;      /* u: the weights packed */
	void *y;
	vq_dtype to;            /* y's: f32, or x's */
	const float *bias;      /* or NULL */
	bool sum, relu;
} strip_conv;

typedef struct {
	const char *name;
	/* Weights [n,c,k,k] to u. */
	size_t (*bytes)(int c, int n, int k);
	void (*pack)(const float *w, int c, int n, int k, void *u);
	/* Rows [from, to) of images * oh. */
	size_t (*scratch)(const strip_conv *a);
	void (*run)(const strip_conv *a, size_t from, size_t to, void *scratch);
} strip_kernels;

/* The kernels for a type at or below a level (vq_kernels_level's), or NULL where there are none. */
const strip_kernels *strip_pick(vq_dtype t, int level);

#endif
