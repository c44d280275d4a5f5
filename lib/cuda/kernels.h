/* kernels: the operations of lib/backend.h on an NVIDIA device, except convolutions and matrix products, as launchers that C can call.
 *
 * A launcher puts its kernels on a stream and returns at once. It allocates nothing, copies nothing to or from the host and never waits, so
 * that a whole step can be captured in one graph. It returns a cudaError_t as an int: 0, or why nothing was launched (cudaErrorInvalidValue
 * for a shape that it cannot do). What differs from step to step is read from device memory (vq_cuda_step, vq_cuda_grid): a captured graph
 * is run again with other items, rates and seeds. What a launcher takes by value (shapes, constants, pointers) is fixed by the capture.
 *
 * Pointers are to device memory unless it says "host". Tensors are NHWC without gaps between rows, f32 or bf16 (t), and start at multiples
 * of 16 bytes; any shape works. Where the channels (or the whole count) are a multiple of 16 bytes, activations, sums, gates, norms, biases,
 * clearing, pools, resizes, losses and the update access memory 16 bytes at a time (casts and dropout: four elements); what else there is takes single
 * elements, neighbours by neighbouring threads. Outputs may not overlap inputs except where it says "in place". NULL is allowed where it
 * says so. Statistics, parameters and sums are f32 or f64.
 *
 * Sums have one order, whatever the device: the same inputs give the same bytes. No float is ever added atomically. Launchers that need
 * memory in between take `scratch`, 16-byte aligned, of at least the bytes that the function of the same name with _scratch tells; its
 * contents before and after mean nothing, so all launchers of a stream may share one.
 *
 * The same sources also build for the host (lib/cuda/emulate.h), where tests/unit/test_cuda_*.c run them. */
#ifndef VQ_CUDA_KERNELS_H
#define VQ_CUDA_KERNELS_H

#include "lib/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct CUstream_st *vq_cuda_stream; /* the same as cudaStream_t */

/* --- what a step brings: written by the host (from pinned memory) before the kernels run ---------------------------- */

typedef struct {
	uint64_t seed, step;    /* of vq_step */
	int32_t items;
	int32_t first;          /* not 0: the store has neither made an update nor been given VQ_BUF_M, so that momentum starts afresh */
	float lr;
	float c1, c2;           /* 1 - beta1^(step+1), 1 - beta2^(step+1), made in f64 by the host; ADAM and ADAMW only */
	float scale[VQ_SCALES];
} vq_cuda_step;

/* Where the items lie on one grid, or the rows of values that have no grid (vq_value.grid -1): n = items_max, h = w = 1, places NULL.
 * One a grid and plan; `places` is written by the host each step (what vq_places gives), mark and count by vq_cuda_mark. */
enum { VQ_CUDA_GAP = 0, VQ_CUDA_EXTENT = 1 /* but not valid */, VQ_CUDA_VALID = 2 };
typedef struct {
	int n, h, w;            /* canvases */
	int items_max;
	vq_place *places;       /* [items_max], of which the first step->items hold; extents do not overlap and fit their canvas (the host checks) */
	uint8_t *mark;          /* [n*h*w] what each position is */
	int64_t *count;         /* [2] positions inside extents; positions that are valid */
} vq_cuda_grid;

/* Once a step and grid, before anything else that takes the grid. */
int vq_cuda_mark(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_grid g);

/* --- one value at a time; n counts elements ------------------------------------------------------------------------- */

/* y = act(x); in place allowed. */
int vq_cuda_act(vq_cuda_stream s, vq_dtype t, vq_act act, size_t n, const void *x, void *y);
/* dx = dy act', or dx += when accumulate. relu and leaky look at y, the others at x; the one not looked at may be NULL. dx may be dy. */
int vq_cuda_act_bwd(vq_cuda_stream s, vq_dtype t, vq_act act, bool accumulate, size_t n, const void *x, const void *y, const void *dy, void *dx);
/* y = a + b; y may be a or b. */
int vq_cuda_add(vq_cuda_stream s, vq_dtype t, size_t n, const void *a, const void *b, void *y);
/* y = x in another type, or a copy. */
int vq_cuda_cast(vq_cuda_stream s, vq_dtype from, vq_dtype to, size_t n, const void *x, void *y);
/* y = a - b; f32. y may be a. */
int vq_cuda_residual(vq_cuda_stream s, size_t n, const float *a, const float *b, float *y);
/* y = x + gamma o; gamma is one float. y may be x. */
int vq_cuda_gate(vq_cuda_stream s, vq_dtype t, size_t n, const void *x, const void *o, const float *gamma, void *y);
/* d_o = gamma dy (NULL: not wanted); *dgamma += sum of o dy. d_o may be dy only when nobody reads dy after. */
int vq_cuda_gate_bwd(vq_cuda_stream s, vq_dtype t, size_t n, const void *o, const void *dy, const float *gamma, void *d_o, float *dgamma, void *scratch);
size_t vq_cuda_gate_bwd_scratch(size_t n);
/* y = x / (1-p) where the node's stream keeps it, else 0: Philox counter (element / 4 * 4, step), key (seed, high word ^ node) as the CPU
 * backend's; node is vq_node.k. The same for DROPOUT_BWD. y may be x. */
int vq_cuda_dropout(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, float p, int node, size_t n, const void *x, void *y);
/* x [n,h,w,c] -> y [n,c,h,w]; UNFLATTEN is `back`: x [n,c,h,w] -> y [n,h,w,c]. hw = h*w. */
int vq_cuda_flatten(vq_cuda_stream s, vq_dtype t, bool back, int n, int hw, int c, const void *x, void *y);
/* *flag = 1 when one of n values is NaN or infinite; else untouched. */
int vq_cuda_not_finite(vq_cuda_stream s, vq_dtype t, size_t n, const void *x, int32_t *flag);

/* --- rows of c channels; rows = n*h*w of the grid -------------------------------------------------------------------- */

/* x = 0 where mark is VQ_CUDA_GAP. */
int vq_cuda_clear(vq_cuda_stream s, vq_dtype t, vq_cuda_grid g, int c, void *x);
/* y = act(x + bias + sum), what follows a convolution or a matrix product. bias [c] and sum may be NULL; y may be x or sum. With mark (or
 * NULL), rows where it is VQ_CUDA_GAP become 0: that is the CLEAR behind a convolution, and a linear layer's rows past the last item. */
int vq_cuda_bias_act(vq_cuda_stream s, vq_dtype t, vq_act act, size_t rows, int c, const void *x, const float *bias, const void *sum,
                     const uint8_t *mark, void *y);
/* db[c] += column sums of dy over all rows, or, with mark, over those that are not VQ_CUDA_GAP. */
int vq_cuda_bias_grad(vq_cuda_stream s, vq_dtype t, size_t rows, int c, const void *dy, const uint8_t *mark, float *db, void *scratch);
size_t vq_cuda_bias_grad_scratch(size_t rows, int c);

/* NORM: y = act((x - mean) / sqrt(var + eps) gamma + beta + res). training and at least one valid position: statistics of the valid
 * positions, and the running ones move (variance unbiased); else the running ones serve and stay. save [2,c]: mean and 1/std that were used.
 * Written at all positions, or, with clear, 0 in gaps (the CLEAR behind it need not run then). res may be NULL; y may be res. */
typedef struct {
	vq_dtype t;
	vq_act act;
	bool training, clear;
	float momentum, eps;
	vq_cuda_grid g;
	int c;
} vq_cuda_norm_spec;
int vq_cuda_norm(vq_cuda_stream s, vq_cuda_norm_spec n, const void *x, const float *gamma, const float *beta, float *running_mean, float *running_var,
                 const void *res, void *y, float *save, void *scratch);
/* NORM_BWD: dgamma and dbeta grow by sums over extents; dx and dres (each may be NULL) are set everywhere: dres = g = dy act', dx = gamma
 * rstd (g - means of g and of g xhat), the means only where training statistics saw the position. In gaps dy is taken as 0. y is what
 * relu and leaky look at; silu and gelu take x (and res, when there was one). dx or dres may be dy, not both. */
int vq_cuda_norm_bwd(vq_cuda_stream s, vq_cuda_norm_spec n, const void *x, const void *y, const void *dy, const float *gamma, const float *beta,
                     const float *save, const void *res, void *dx, float *dgamma, float *dbeta, void *dres, void *scratch);
size_t vq_cuda_norm_scratch(vq_cuda_norm_spec n); /* for both */

/* --- rectangles ------------------------------------------------------------------------------------------------------ */

/* POOL: y [items_max,p,p,c] means over PyTorch's adaptive bins of each item's extent in x (grid g); 0 past the last item and for an
 * empty extent. BWD: dx on grid g, 0 outside extents. */
int vq_cuda_pool(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid g, int p, int c, const void *x, void *y);
int vq_cuda_pool_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid g, int p, int c, const void *dy, void *dx);
/* RESIZE: bilinear, align_corners=false, from each item's extent on grid a to its extent on grid b; 0 elsewhere on b. BWD: dx on a. */
int vq_cuda_resize(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid a, vq_cuda_grid b, int c, const void *x, void *y);
int vq_cuda_resize_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid a, vq_cuda_grid b, int c, const void *dy, void *dx);

/* ATTENTION: for each item, o at its extent = softmax(q . k over its valid positions, no scaling) v; 0 elsewhere. q, k [..,d]; v, o [..,c].
 * Scores are made a tile at a time (twice forward, thrice backward) and never stored. BWD: dq at extents, dk and dv at valid positions,
 * 0 elsewhere; o is the forward output. An item without a valid position gives 0. All sums f32. */
typedef struct { vq_dtype t; vq_cuda_grid g; int d, c; } vq_cuda_attention_spec;
int vq_cuda_attention(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_attention_spec n, const void *q, const void *k, const void *v, void *o, void *scratch);
int vq_cuda_attention_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_attention_spec n, const void *q, const void *k, const void *v, const void *o,
                          const void *d_o, void *dq, void *dk, void *dv, void *scratch);
size_t vq_cuda_attention_scratch(vq_cuda_attention_spec n); /* for both */

/* --- the quantiser: z [rows,d] f32 on grid g, codebook [k,d] --------------------------------------------------------- */

typedef struct { vq_cuda_grid g; int d, k; } vq_cuda_book;

/* QUANTIZE: codes of the nearest rows at extents (lowest index on ties; dot products in the CPU backend's order, so that equal z give equal
 * codes), q (type qt) the rows themselves; -1 and 0 in gaps. *scalar += sum |z - e|^2 over valid positions (NULL: not wanted). A z that is
 * NaN gets code 0. */
int vq_cuda_quantize(vq_cuda_stream s, vq_cuda_book b, const float *z, const float *codebook, vq_dtype qt, void *q, int32_t *codes, double *scalar, void *scratch);
size_t vq_cuda_quantize_scratch(vq_cuda_book b);
/* q = row of the code; 0 where the code is negative. A code of k or more gives 0 and raises *bad to it (bad may be NULL; the host sets it
 * to -1 before and looks when it synchronises). rows need no grid. */
int vq_cuda_lookup(vq_cuda_stream s, size_t rows, int d, int k, const int32_t *codes, const float *codebook, vq_dtype qt, void *q, int32_t *bad);
/* dz = dq (type dqt, NULL: 0) at extents, + 2 beta step->scale[scale] (z - e) at valid positions; 0 in gaps. scale -1: 1. */
int vq_cuda_quantize_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_book b, float beta, int scale, const float *z, const float *codebook,
                         vq_dtype dqt, const void *dq, const int32_t *codes, float *dz);
/* dcodebook[code] += 2 step->scale[scale] (e - z) + dq (NULL: 0) over valid positions, in the order of the positions. */
int vq_cuda_codebook_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_book b, int scale, const float *z, const float *codebook, const int32_t *codes,
                         vq_dtype dqt, const void *dq, float *dcodebook, void *scratch);
/* counts[code] += 1, sums[code] += z over valid positions: positions sorted by code (a stable counting sort), then summed in order. */
int vq_cuda_ema_sum(vq_cuda_stream s, vq_cuda_book b, const float *z, const int32_t *codes, float *counts, float *sums, void *scratch);
size_t vq_cuda_code_sums_scratch(vq_cuda_book b); /* for codebook_bwd and ema_sum */
/* n = decay n + (1-decay) counts, m likewise, codebook = m / smoothed n; clears counts and sums. As vq_node says; g is not looked at. */
int vq_cuda_ema_update(vq_cuda_stream s, vq_cuda_book b, float decay, float eps, float *counts, float *sums, float *n, float *m, float *codebook, void *scratch);
size_t vq_cuda_ema_update_scratch(vq_cuda_book b);

/* --- loss and update ------------------------------------------------------------------------------------------------- */

/* *scalar += sum over valid positions of w |y - target|^power, power 1 or 2; dy (NULL: not wanted) = step->scale[scale] w d/dy there, 0
 * elsewhere. weight: NULL, or [rows]. All f32; y, target, dy [rows,c]. dy may be y. */
int vq_cuda_loss(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_grid g, int c, int power, int scale, const float *y, const float *target,
                 const float *weight, float *dy, double *scalar, void *scratch);
size_t vq_cuda_loss_scratch(vq_cuda_grid g, int c);
/* OPTIMIZE: *norm = the gradient's norm (NULL: not wanted), g clipped to o.clip, then adam, adamw or sgd; g becomes 0. A norm that is
 * not finite changes nothing but *norm. One pass for the norm (always made), one for the update. v is not looked at by sgd. */
int vq_cuda_optimize(vq_cuda_stream s, const vq_cuda_step *step, vq_optimizer o, size_t n, float *g, float *m, float *v, float *w, double *norm, void *scratch);
size_t vq_cuda_optimize_scratch(size_t n);
/* mean += (1-decay) (w - mean) */
int vq_cuda_average(vq_cuda_stream s, float decay, size_t n, const float *w, float *mean);

/* --- frozen networks -------------------------------------------------------------------------------------------------- */

/* COLOURS: y [n,h,w,3], y_i = x_(first + step i) mul_i + add_i within extents, 0 elsewhere. BWD: dx [n,h,w,c] of dy [n,h,w,3], likewise. */
int vq_cuda_colours(vq_cuda_stream s, vq_cuda_grid g, int c, int first, int step, vq_dtype from, const void *x, const float *mul, const float *add, vq_dtype to, void *y);
int vq_cuda_colours_bwd(vq_cuda_stream s, vq_cuda_grid g, int c, int first, int step, vq_dtype from, const void *dy, const float *mul, vq_dtype to, void *dx);
/* MAXPOOL: the greatest of k x k positions at this stride, within each item's extent on gx, cut off at its edge; a NaN is greatest. 0 outside
 * the extents on gy. BWD: a window's dy to its first position that has y's value; 0 elsewhere on gx. */
int vq_cuda_maxpool(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid gx, vq_cuda_grid gy, int k, int stride, int c, const void *x, void *y);
int vq_cuda_maxpool_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid gx, vq_cuda_grid gy, int k, int stride, int c, const void *x, const void *y,
                        const void *dy, void *dx);
/* FEATURES, as vq_op says: *scalar += a times the sum over items of the mean over valid positions; df (NULL: not wanted) = step->scale[scale]
 * times its gradient, 0 elsewhere. weight [c] or NULL. */
int vq_cuda_features(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid g, int c, bool unit, float a, int scale, const void *f, const void *target,
                     const float *weight, void *df, double *scalar, void *scratch);
size_t vq_cuda_features_scratch(vq_cuda_grid g);

/* --- pictures beside their references ---------------------------------------------------------------------------------- */

enum { VQ_CUDA_TAPS = 11 };
typedef struct { const double *x, *y; const uint8_t *mask; int h, w; } vq_cuda_pictures; /* [h][w] each; mask may be NULL */
/* out[2 i + k] = means of SSIM's maps of pair i of the table: k = 0 over all centres, 1 over those inside; n of 0 where there is none. kernel (host):
 * the six weights of a symmetric filter from its middle on. most: pixels of the largest pair. A pair's means are the same bytes whatever is beside it.
 * n: 1 to 65,535. */
int vq_cuda_maps(vq_cuda_stream s, int n, size_t most, const double *kernel, double range, const vq_cuda_pictures *table, vq_map_mean *out, void *scratch);
size_t vq_cuda_maps_scratch(int n);
/* Blocks of 2 x 2 of each of `from` become one of `to`, whose sides are halves, rounded down; a pixel is inside when two of its four are. */
int vq_cuda_halve(vq_cuda_stream s, int n, size_t most, const vq_cuda_pictures *from, const vq_cuda_pictures *to);

/* --- weights in the layouts of the convolution library ---------------------------------------------------------------- */

/* One weight: plain [a][b][k][k] f32 as the flat buffers hold it (a convolution's out, in; a transposed one's in, out), against
 * packed [a_pad][k][k][b_pad] of type t, which is KRSC for a convolution of b to a channels; what the padding adds is 0. */
typedef struct {
	float *plain;
	void *packed;
	vq_dtype t;
	int a, b, k, a_pad, b_pad;
} vq_cuda_weight;
/* packed = plain for each of n weights of a table in device memory: one launch an update. `most` is the largest a_pad*k*k*b_pad in it. */
int vq_cuda_pack(vq_cuda_stream s, const vq_cuda_weight *table, int n, size_t most);
/* plain += packed: gradients on their way to the flat buffer. `most`: as above. */
int vq_cuda_unpack_add(vq_cuda_stream s, const vq_cuda_weight *table, int n, size_t most);

#ifdef __cplusplus
}
#endif

#endif
