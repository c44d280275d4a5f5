/* wino: 3x3 convolutions of stride 1 and padding 1 by Winograd's F(2x2, 3x3), 16 multiplications for 4 outputs instead of 36; and, by
 * F(2x2, 2x2), those of 4x4 and stride 2 and their transposed ones.
 *
 * An image is cut into tiles of 2x2 outputs. A block of tiles is transformed (4x4 inputs a tile), multiplied with the transformed filters by
 * 16 small matrix products, and transformed back, all while it is in the core's own cache. Sums are f32; with bf16 the transformed
 * inputs and filters are rounded to bf16. An output is a function of its own 3x3 inputs alone, whatever the tile holds beside them; but for
 * wino_pick_quad's.
 *
 * wino_kernels.c is compiled once an instruction set. These functions are serial: callers share out the tiles. */
#ifndef VQ_CPU_WINO_H
#define VQ_CPU_WINO_H

#include "lib/backend.h"

enum { WINO_CHANNELS = 32, WINO_HALF_CHANNELS = 16 }; /* channels on both sides are multiples of these */

/* y = act(conv(x) + bias + sum), sum being what y held; k channels in, n out. */
typedef struct {
	int images, h, w, k, n;
	const void *x;          /* [images,h,w,k] */
	void *y;                /* [images,h,w,n] */
	const void *u;          /* filters, transformed */
	const float *bias;      /* or NULL */
	const void *zeros;      /* max(k, n) zeros of the type */
	bool sum, relu;
	bool up;                /* wino_pick_half's: from coarse to fine */
} wino_conv;

/* The sum over tiles of what becomes the filters' gradient. */
typedef struct {
	int images, h, w, k, n;
	const void *x, *dy, *zeros;
} wino_grad;

static inline size_t wino_tiles(int side, int images, int h, int w) { return (size_t)images * (size_t)((h + side - 1) / side) * (size_t)((w + side - 1) / side); }

typedef struct {
	const char *name;
	int side;               /* outputs of a tile, in either direction; of the half kernels, coarse ones */
	/* Filters [n,k,3,3], or [k,n,3,3] to be turned (the gradient by data), transformed: steps [from, to) of filter_steps. */
	size_t (*filter_bytes)(int k, int n);
	size_t (*filter_steps)(int k, int n);
	void (*filter)(const float *w, int k, int n, bool turned, size_t from, size_t to, void *u);
	/* Tiles [from, to). */
	size_t (*forward_scratch)(int k, int n);
	void (*forward)(const wino_conv *c, size_t from, size_t to, void *scratch);
	/* du [16,k,n] is overwritten; db [n] gets the sums of dy. fold adds the transforms of the sum of `parts` of them, `apart` floats from
	 * each other, to dw [n,k,3,3]: output channels [from, to), multiples of 16. */
	size_t (*weight_scratch)(int k, int n);
	void (*weight)(const wino_grad *g, size_t from, size_t to, float *du, double *db, void *scratch);
	void (*fold)(const float *du, int parts, size_t apart, int k, int n, int from, int to, float *dw);
} wino_kernels;

/* The kernels for a type at or below a level (vq_kernels_level's), or NULL where there are none. */
const wino_kernels *wino_pick(vq_dtype t, int level);

/* The same for kernels of 4x4, stride 2 and padding 1 between a fine image and a coarse one of half its sides, h and w being the coarse one's.
 * Filters are [coarse,fine,4,4]: turned and up go from coarse to fine, as a transposed convolution does; not turned and not up the other
 * way. wino_grad's x is coarse and dy fine; weight makes du [36,k,n] and no db; fold adds to dw [k,n,4,4], its channels being dy's. */
const wino_kernels *wino_pick_half(vq_dtype t, int level);

/* F(4x4, 3x3): 36 multiplications for 16 outputs, from 6x6 inputs. Rounding lets an output see its tile's other inputs: for images with one cell.
 * f32 and forward alone: weight_scratch, weight and fold are NULL, and filters are not turned. */
const wino_kernels *wino_pick_quad(int level);

#endif
