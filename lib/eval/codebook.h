/* codebook: how much of a codebook is used, over a stream of codes, and how far apart its vectors lie.
 *
 * With p the share of each code among all codes counted:
 *   used          codes that occur; usage = used / size
 *   entropy       -sum p log2 p, bits a code: what an ideal order-0 coder with these very shares needs
 *   perplexity    2^entropy: how many codes equally often used would carry as much
 *   raw_bits      ceil(log2 size), bits a code without entropy coding
 * They depend on how much is counted: a batch of few codes cannot show many. */
#ifndef VQ_EVAL_CODEBOOK_H
#define VQ_EVAL_CODEBOOK_H

#include "lib/base.h"
#include "lib/tensor.h"

enum { VQ_CODEBOOK_MAX = 1 << 24 }; /* codes in a codebook */

typedef struct {
	int64_t size;
	uint64_t total;
	uint64_t *counts;  /* [size] */
} vq_code_counts;

typedef struct { int64_t used; double usage, entropy, perplexity; int raw_bits; } vq_code_figures;

/* size: 1 to VQ_CODEBOOK_MAX. vq_code_counts_free releases; safe on an empty one. */
vq_status vq_code_counts_make(vq_code_counts *c, int64_t size);
void vq_code_counts_free(vq_code_counts *c);
void vq_code_counts_clear(vq_code_counts *c);
/* Counts every element of an integer tensor. VQ_EINVAL, nothing counted: another dtype, or a code outside 0..size-1 (named with its place). */
vq_status vq_code_counts_add(vq_code_counts *c, const vq_tensor *codes);
/* All zero when nothing was counted. */
vq_code_figures vq_code_counts_get(const vq_code_counts *c);

/* Vectors [size][dim], row-major f32. norms: [size], Euclidean. nearest: [size], distance to the nearest other vector (NaN
 * when size is 1). *a, *b: the closest pair, a < b, the first of its kind (-1 when size is 1). *mean, *most: over all pairs (NaN when size
 * is 1). f64 inside; size^2 dim work, on `threads` threads. VQ_EINVAL when a vector is not finite (it is named). */
vq_status vq_codebook_distances(const float *vectors, int64_t size, int64_t dim, int threads, double *norms, double *nearest,
                                int64_t *a, int64_t *b, double *mean, double *most);

#endif
