/* neighbours: which codes lie side by side in the grids of a codebook, and what knowing one neighbour is worth.
 *
 * A pair is a code and its neighbour to the left, or above. conditional entropy: -sum p(a,c) log2 p(c|a) over the pairs that were
 * counted. It flatters: with more possible pairs than were seen, each one looks predictable. What a coder would really gain is in the
 * adaptive figures: bits a code of an ideal coder that begins knowing nothing and learns from the codes before, in the order of
 * the stream. Its order-0 estimate of code c is (n(c) + d / size) / (n + d), n codes so far, d of them different; with the
 * neighbour a as context (n(a,c) + d(a) p0(c)) / (n(a) + d(a)), n(a) and d(a) the same among the codes beside a (Witten-Bell). A code
 * without such a neighbour costs its order 0. Memory: 32 bytes a code of the book and up to 64 a different pair. */
#ifndef VQ_EVAL_NEIGHBOURS_H
#define VQ_EVAL_NEIGHBOURS_H

#include "lib/base.h"
#include "lib/tensor.h"

typedef enum { VQ_LEFT, VQ_ABOVE, VQ_SIDES } vq_side;
typedef struct vq_neighbours vq_neighbours;

vq_status vq_neighbours_make(vq_neighbours **n, int64_t size);
void vq_neighbours_free(vq_neighbours *n); /* NULL is fine */
/* A grid [h,w] of codes that vq_code_counts_add has taken; tensors of other ranks have no neighbours and are passed over. */
vq_status vq_neighbours_add(vq_neighbours *n, const vq_tensor *codes);

typedef struct {
	uint64_t codes;                 /* in grids */
	double adaptive;                /* order 0, bits a code */
	struct { uint64_t pairs, different; double conditional, adaptive; } side[VQ_SIDES]; /* bits a pair, bits a code */
} vq_neighbour_figures;
vq_neighbour_figures vq_neighbours_get(const vq_neighbours *n); /* zeros when nothing was counted */

/* The different pairs of a side by code, then neighbour. lift: how much more often than if the two had nothing to do with each
 * other. A negative return of `each` ends it. */
typedef struct { int64_t code, neighbour; uint64_t count; double lift; } vq_code_pair;
vq_status vq_neighbours_list(const vq_neighbours *n, vq_side side, vq_status (*each)(void *ctx, const vq_code_pair *pair), void *ctx);

#endif
