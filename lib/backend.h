/* backend: the only seam between the model and the machine.
 *
 * The model is described as a graph: values (shaped buffers) and nodes (operations from the list below), complete with its backward
 * pass and its update, for one input shape. A backend turns a graph into a plan (buffers from one arena, primitives made once) and runs
 * it; a run allocates nothing. What outlives a plan (parameters, gradients, optimiser state, codebooks) is in a store.
 *
 * Activations are NHWC, f32 or bf16; parameters, statistics and the quantiser are f32.
 *
 * Cells of different size share a canvas: each item of a step occupies a rectangle (its extent) of one of the N canvases, and what lies
 * outside all extents is zero before every convolution (VQ_OP_CLEAR), so that each cell is computed as if it were alone. The gap between
 * two extents is at least the model's multiple. Losses and statistics see an item's valid rectangle only. Rectangles at other resolutions
 * ("grids") follow from the input's by the geometry of the convolutions between. */
#ifndef VQ_BACKEND_H
#define VQ_BACKEND_H

#include "lib/tensor.h"

/* --- parameters ------------------------------------------------------------------------------------------------- */

typedef enum { VQ_INIT_ZERO, VQ_INIT_ONE, VQ_INIT_UNIFORM /* +-a */, VQ_INIT_NORMAL /* deviation a */, VQ_INIT_VALUE /* a */ } vq_init;

typedef struct {
	char name[64];          /* PyTorch's name where there is one: "enc.0.weight" */
	int ndim;
	int64_t shape[4];       /* conv [out,in,k,k], transposed conv [in,out,k,k], linear [out,in], vectors [n] */
	size_t offset, count;   /* floats, in the flat buffer of its kind */
	bool trainable;         /* in the parameter buffer; else in the state buffer */
	vq_init init;
	float init_a;
} vq_param;

typedef struct {
	vq_param *p;
	int n, cap;
	size_t sizes[2];        /* floats: [0] state, [1] parameters; pieces start at multiples of 16 */
} vq_params;

/* --- values and nodes ------------------------------------------------------------------------------------------- */

typedef enum { VQ_AT_ARENA, VQ_AT_INPUT /* written by the host */, VQ_AT_OUTPUT /* readable after a run */, VQ_AT_PARAM, VQ_AT_GRAD,
	VQ_AT_FROZEN /* weights of a fixed network: not the model's, and without a gradient */ } vq_where;

typedef struct {
	vq_where where;
	vq_dtype dtype;         /* f32, bf16, i32 or u8 */
	int n, h, w, c;
	int grid;               /* which grid's rectangles apply; -1: one row an item, no canvas */
	int param;              /* PARAM and GRAD: index in the table; FROZEN: in the graph's table of those */
	int alias;              /* shares the memory of this value (-1: none), which nobody reads afterwards */
	int life_first;         /* the node that first writes it */
	size_t offset, bytes;   /* in the arena */
} vq_value;

typedef enum {
	/* in -> out; w, b are parameters, - is absent (-1) */
	VQ_OP_CONV,        /* x w b|- sum|- -> y          y = act(conv(x,w) + b + sum), act none or relu; y may be sum */
	VQ_OP_CONV_DATA,   /* dy w -> dx                  also with the roles of a transposed convolution */
	VQ_OP_CONV_WEIGHT, /* x dy -> dw db|-             adds to the flat gradient */
	VQ_OP_DECONV,      /* x w b|- -> y                transposed convolution, act none or relu */
	VQ_OP_DECONV_DATA,
	VQ_OP_DECONV_WEIGHT,
	VQ_OP_ACT,         /* x -> y */
	VQ_OP_ACT_BWD,     /* x|- y dy -> dx              relu, leaky: by y's sign; silu, gelu: by x. accumulate: dx += */
	VQ_OP_ADD,         /* a b -> y                    y may be a */
	VQ_OP_CLEAR,       /* x -> x                      zero outside the extents, in place */
	VQ_OP_CAST,        /* x -> y                      other dtype */
	VQ_OP_NORM,        /* x gamma beta mean var res|- -> y save    masked batch norm, then + res, then act; save [2,c] mean and 1/std */
	VQ_OP_NORM_BWD,    /* x y dy gamma save res|- -> dx dgamma dbeta dres|- */
	VQ_OP_LINEAR,      /* x w b|- -> y                x [n,1,1,i], w [o,i] */
	VQ_OP_LINEAR_DATA,
	VQ_OP_LINEAR_WEIGHT,
	VQ_OP_FLATTEN,     /* x [n,h,w,c] -> y [n,1,1,c*h*w], order c,h,w as PyTorch's flatten of NCHW */
	VQ_OP_UNFLATTEN,   /* and back */
	VQ_OP_POOL,        /* x -> y [items,p,p,c]        adaptive average over each item's extent */
	VQ_OP_POOL_BWD,    /* dy -> dx */
	VQ_OP_RESIZE,      /* x -> y                      bilinear, align_corners=false, extent to extent */
	VQ_OP_RESIZE_BWD,
	VQ_OP_ATTENTION,   /* q k v -> o                  softmax over the valid positions of the item, no scaling */
	VQ_OP_ATTENTION_BWD, /* q k v o do -> dq dk dv */
	VQ_OP_GATE,        /* x o gamma -> y              y = x + gamma o, gamma a single parameter */
	VQ_OP_GATE_BWD,    /* o dy gamma -> do dgamma     (dx is dy itself) */
	VQ_OP_DROPOUT,     /* x -> y                      Philox of (seed, step, node); identity when not training */
	VQ_OP_DROPOUT_BWD, /* dy -> dx */
	VQ_OP_QUANTIZE,    /* z codebook -> q codes       nearest row, lowest index on ties; scalar: sum |z-e|^2 over valid positions */
	VQ_OP_LOOKUP,      /* codes codebook -> q         the rows of codes; zero where the code is negative */
	VQ_OP_QUANTIZE_BWD,/* z codebook dq|- codes -> dz straight-through + commitment: dz = dq + scale * 2 beta (z - e) at valid positions */
	VQ_OP_CODEBOOK_BWD,/* z codebook codes dq|- -> dcodebook   gradient of |sg(z) - e|^2, and dq; for codebooks trained by gradient */
	VQ_OP_EMA_SUM,     /* z codes -> counts sums      adds this run's assignments (valid positions) to the sums of the step */
	VQ_OP_EMA_UPDATE,  /* counts sums n m codebook    once a step: decay, add, codebook = m / smoothed n; clears counts and sums */
	VQ_OP_RESIDUAL,    /* a b -> y                    y = a - b (residual quantisation): what b left; b is a constant to the gradient */
	VQ_OP_LOSS,        /* y target weight|- -> dy     scalar: sum of w |y-t|^p over valid pixels; dy = scale * d/dy */
	VQ_OP_COLOURS,     /* x mul add -> y [n,h,w,3]    y_c = x_(k + s c) mul_c + add_c within the extents, else 0 */
	VQ_OP_COLOURS_BWD, /* dy mul -> dx */
	VQ_OP_MAXPOOL,     /* x -> y                      within each item's extent, k x k at stride s, cut off at its edge */
	VQ_OP_MAXPOOL_BWD, /* x y dy -> dx                to the first of a window that has its greatest value */
	VQ_OP_FEATURES,    /* f t weight|- -> df          distance of features. scalar: a times the sum over items of the mean over valid positions of
	                                                  k = 0: the mean over channels of (f-t)^2; k = 1: sum of w (f/|f| - t/|t|)^2, all w 1 where
	                                                  none are given; df = scale * d/df */
	VQ_OP_OPTIMIZE,    /*                             the whole flat buffer: clip by norm, then adam, adamw or sgd */
	VQ_OPS
} vq_op;

typedef enum { VQ_FN_NONE, VQ_FN_RELU, VQ_FN_LEAKY /* 0.01 */, VQ_FN_SILU, VQ_FN_GELU /* erf */ } vq_act;
typedef enum { VQ_FORWARD = 1, VQ_BACKWARD = 2, VQ_UPDATE = 4 } vq_phase;
enum { VQ_NODE_IN = 6, VQ_NODE_OUT = 4 };

typedef struct {
	vq_op op;
	vq_phase phase;
	int in[VQ_NODE_IN], out[VQ_NODE_OUT]; /* values, or -1 */
	int k, s, p;            /* convolutions, MAXPOOL; POOL: k = p; COLOURS, FEATURES: as they say */
	vq_act act;
	bool accumulate;
	bool training;          /* NORM, DROPOUT: batch statistics, live dropout */
	bool again;             /* a forward node that the backward pass repeats: NORM leaves the running statistics alone */
	float a, b;             /* LOSS: a = power (1 or 2); QUANTIZE_BWD: a = beta; EMA_UPDATE: a = decay, b = epsilon; NORM: a = momentum,
	                           b = epsilon; DROPOUT: a = probability; OPTIMIZE: see vq_optimizer */
	int scalar;             /* index of the scalar it writes, or -1 */
	int scale;              /* index of the step's scale it multiplies with, or -1 */
} vq_node;

/* How a grid's rectangles follow from its parent's: by a convolution (k,s,p) or a transposed one. Grid 0 is the input's (parent -1);
 * parent -2: item i fills canvas i. up: a last position stands for what is left over. least: not a convolution, but the parent's rectangles
 * stretched, each side by itself, to at least this; for items that start their canvas. */
typedef struct { int parent, k, s, p; bool transposed; int h, w; bool up; int least; } vq_grid;

enum { VQ_SCALARS = 32, VQ_SCALES = 16 };

typedef enum { VQ_SGD, VQ_ADAM, VQ_ADAMW } vq_optim_kind;
typedef struct { vq_optim_kind kind; float beta1, beta2, eps, weight_decay, momentum, clip; } vq_optimizer;

typedef struct {
	const vq_params *params;
	const vq_params *frozen; /* the table of FROZEN values, or NULL; names, sizes[0] and offsets count */
	vq_value *v;
	int nv, vcap;
	vq_node *node;
	int nn, ncap;
	vq_grid *grid;
	int ng, gcap;
	int items_max;          /* items a step can hold */
	bool packed;            /* several items a canvas, or extents smaller than it: CLEAR nodes are needed */
	vq_dtype compute;       /* of activations */
	vq_optimizer optimizer;
	size_t arena_bytes;     /* after vq_build_finish */
	size_t plain_bytes;     /* with activations made again: what it would be without; else 0 */
} vq_graph;

/* --- running ---------------------------------------------------------------------------------------------------- */

typedef struct { int32_t n, y, x, h, w; } vq_rect; /* on canvas n */
typedef struct { vq_rect extent, valid; } vq_place;

typedef struct {
	int items;
	const vq_place *places; /* of grid 0; the backend derives the other grids' */
	uint64_t seed, step;    /* dropout; bias correction counts step + 1 updates */
	float lr;
	float scale[VQ_SCALES]; /* what a node's `scale` selects: loss weight over the number of values it is the mean of */
	double scalar[VQ_SCALARS]; /* out: sums, by a node's `scalar`; OPTIMIZE puts the gradient norm before clipping,
	                              and changes nothing when that is not finite */
} vq_step;

typedef struct vq_store vq_store;
typedef struct vq_plan vq_plan;
typedef struct vq_backend vq_backend;

/* Operations a second with factors of each type (bf16: 0 where there are no such instructions) and bytes a second to or from memory. */
typedef struct { double f32, bf16, memory; } vq_peak;

typedef enum { VQ_BUF_STATE, VQ_BUF_PARAM, VQ_BUF_GRAD, VQ_BUF_M, VQ_BUF_V, VQ_BUF_MEAN /* averaged weights */, VQ_BUFS } vq_buf_kind;

/* Two pictures of h x w without gaps, in the host's memory; mask: bytes, or NULL. What SSIM and MS-SSIM (lib/eval/metrics.h) need of them: the
 * means of SSIM and of its factor of contrast and structure over n centres, over all (0) and over those whose mask is 1; at each scale that is
 * large enough, coarser ones next, the others with n = 0. */
enum { VQ_MAP_SCALES = 5 };
typedef struct { const double *x, *y; const uint8_t *mask; int h, w; } vq_pictures;
typedef struct { double ssim, cs; int64_t n; } vq_map_mean;
typedef struct { vq_map_mean scale[2][VQ_MAP_SCALES]; } vq_maps;

struct vq_backend {
	const char *name;       /* "cpu", "cuda" */
	char isa[64];           /* "avx512_bf16", ... recorded in code streams */
	int threads;
	char instead[256];      /* asked for "auto": why this is not the device; else empty */
	char slow[256];         /* why runs take longer than they could, once that is known; else empty */
	bool bf16;              /* real bf16 instructions at hand */
	bool bf16_faster;       /* ... and they compute faster than those of f32: what mixed_precision "auto" goes by */
	int ahead;              /* runs of a store that may be started before the oldest is finished, besides that one; 0: plan_start does all at once */

	vq_status (*store_make)(vq_backend *, const vq_params *, bool training, vq_store **);
	void (*store_free)(vq_store *);
	/* count floats from offset of a flat buffer; write also marks views of the weights stale. After a write of VQ_BUF_M momentum goes on
	 * from what was written. */
	vq_status (*store_read)(vq_store *, vq_buf_kind, size_t offset, size_t count, float *host);
	vq_status (*store_write)(vq_store *, vq_buf_kind, size_t offset, size_t count, const float *host);
	/* Weights for FROZEN values: table->sizes[0] floats, to stay as they are, and the table too, until store_free. Before a plan needs them. */
	vq_status (*store_frozen)(vq_store *, const vq_params *table, const float *values);
	/* mean += (1-decay) (param - mean) over the whole buffer */
	vq_status (*store_average)(vq_store *, float decay);

	/* The graph is copied. Plans of one store share an arena: what a plan left there is gone once another ran. */
	vq_status (*plan_make)(vq_backend *, vq_store *, const vq_graph *, vq_plan **);
	void (*plan_free)(vq_plan *);
	vq_status (*plan_write)(vq_plan *, int value, const void *host);
	vq_status (*plan_read)(vq_plan *, int value, void *host);
	vq_status (*plan_run)(vq_plan *, vq_step *, unsigned phases);
	/* plan_run in two parts, so that the host prepares the next run while this one is under way. plan_start takes what the inputs hold and
	 * may return before anything is computed; the step's places may change then, and the step itself is the backend's, where it is, until
	 * plan_finish with it has put the scalars there. Runs are finished in the order in which they were started; plan_host of codes is of the
	 * run that was finished last, until the next one starts, and of other values of the one that was started last. */
	vq_status (*plan_start)(vq_plan *, vq_step *, unsigned phases);
	vq_status (*plan_finish)(vq_plan *, vq_step *);
	/* A host pointer to a value: an input's is written before a run, which takes what it holds (while a run that was started is not finished,
	 * it is another one, and holds nothing yet); another's holds what the last run left, to be read before the next one. A backend with memory of its own makes a copy here: ask again after each run. NULL: no memory for that. */
	void *(*plan_host)(vq_plan *, int value);
	/* Runs the phases again, looking at what each node takes from the host and the parameters (an activation may make 0 of NaN) and what it
	 * puts out, inside the items' extents: the first node with a value that is not finite, where it stops; -1 none. For messages:
	 * gradients and statistics are not what they were afterwards. */
	int (*plan_first_bad)(vq_plan *, vq_step *, unsigned phases);
	/* Seconds a node since the plan was made (profile), NULL when not measured. */
	const double *(*plan_seconds)(const vq_plan *);
	/* Which implementation a node runs, for tests and profiles; "" where there is but one. */
	const char *(*plan_impl)(const vq_plan *, int node);
	/* The maps of n pairs at once, 1 to 65,535; kernel: the six weights of SSIM's filter from its middle on. What a pair gets does not depend on
	 * the others. VQ_EINVAL: another n; VQ_ENOMEM: no memory for them, here or on the device; VQ_EBACKEND: the device failed. NULL: the host does
	 * that itself. */
	vq_status (*maps)(vq_backend *, int n, const vq_pictures *, const double *kernel, double range, vq_maps *out);
	/* How often the host waited for the device so far, other than in plan_finish, or asked for memory that both see: a run that is not the first
	 * of its plan adds none. NULL: there is nothing to wait for. */
	uint64_t (*waits)(const vq_backend *);
	/* What the device can do at best, measured in about a second. NULL: this one does not tell. */
	vq_peak (*peak)(vq_backend *);
	void (*close)(vq_backend *);
};

/* device: "cpu", "cuda" or "auto" (cuda where there is one, else cpu, with `instead` set). threads at least 1. Not built, no driver or no
 * device: VQ_EUNSUP, with which of them it is. */
vq_status vq_backend_open(vq_backend **b, const char *device, int threads);
/* "cuda" alone, for programs that need no other: they do not link the CPU backend. Without models it has only maps, waits and close, and starts
 * neither cuDNN nor cuBLAS. threads at least 1, else VQ_EINVAL. VQ_EUNSUP as above, and for a driver or a device that is too old; VQ_ENOMEM,
 * VQ_EBACKEND: the device is there and cannot be used. *b is NULL then. */
vq_status vq_backend_cuda(vq_backend **b, int threads, bool models);
const char *vq_op_name(vq_op op);

/* For backends: whether a flat buffer of a store has this piece; VQ_EINVAL where it has not. */
vq_status vq_store_range(const vq_params *params, bool there, vq_buf_kind kind, size_t offset, size_t count);
/* Where each item's rectangles lie on every grid: out has ng*items entries, grid-major. */
void vq_places(const vq_graph *g, int items, const vq_place *input, vq_place *out);

#endif
