/* cpu: what the files of the CPU backend share. Nobody outside lib/cpu and lib/backend_open.c includes this. */
#ifndef VQ_CPU_H
#define VQ_CPU_H

#include <oneapi/dnnl/dnnl.h>

#include "lib/cpu/kernels.h"
#include "lib/cpu/strip.h"
#include "lib/cpu/wino.h"

typedef enum { CPU_CONV_AUTO, CPU_CONV_DIRECT /* the library's */, CPU_CONV_WINOGRAD /* wherever it can be */, CPU_CONV_GATHER, CPU_CONV_STRIP /* likewise */ } cpu_conv_choice;

typedef struct {
	vq_backend b;
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	const vq_kernels *k;
	int level;              /* of instructions: vq_kernels_level's */
	bool amx;
	cpu_conv_choice conv;   /* by the environment's VQ_CPU_CONV, for tests and timings */
} cpu_backend;

/* Whether the environment leaves this way open. */
static inline bool cpu_conv_may(const cpu_backend *b, cpu_conv_choice way) { return b->conv == CPU_CONV_AUTO || b->conv == way; }

struct vq_store {
	cpu_backend *b;
	vq_params params;       /* a copy of the table */
	float *buf[VQ_BUFS];    /* M, V, GRAD, MEAN only for training */
	uint64_t version;       /* of parameters and codebooks; views are refreshed when theirs is older */
	uint64_t updates;       /* optimiser steps, for momentum's first; at least 1 once M was given */
	const vq_params *frozen; /* the caller's */
	const float *frozen_values;
	struct cpu_layout *layouts; /* in use by the plans */
	char *scratch;          /* oneDNN's and ours, the largest that any node of the plans asks for */
	size_t scratch_bytes;
	char *arena;            /* shared by the plans */
	size_t arena_bytes;
};

/* Positions at..at+n of a grid's canvases; `before` counts those of the runs before it. */
typedef struct { size_t at, n, before; } cpu_run;
typedef struct { cpu_run *r; int n, cap; size_t total; } cpu_runs;
enum { CPU_EXTENT, CPU_VALID, CPU_GAP, CPU_RUNS };
enum { CPU_THREADS_MAX = 64 };

typedef struct cpu_node cpu_node;
struct vq_plan {
	cpu_backend *b;
	vq_store *s;
	vq_graph g;
	cpu_node *node;         /* state a node */
	vq_place *places;       /* [ng][items] of this run */
	cpu_runs (*runs)[CPU_RUNS]; /* [ng + 1]; the last: one row an item */
	unsigned char *mark;    /* scratch for the gaps, positions of the largest grid */
	char *scratch;          /* the store's, while it runs */
	size_t scratch_bytes;   /* that it needs */
	double *seconds;
	vq_step *step;          /* of the run in progress */
};

/* One operation: prepare may ask for scratch and make primitives; run does it; drop frees what prepare made. */
typedef struct {
	vq_status (*prepare)(vq_plan *, const vq_node *, cpu_node *);
	vq_status (*run)(vq_plan *, const vq_node *, cpu_node *);
} cpu_op;

/* What a weight looks like for those who compute with it. */
typedef struct {
	vq_where where;         /* a weight's, a frozen one's, or a gradient's */
	int param;
	const void *who;        /* whose layout it is; NULL: the library's */
	bool turned;            /* for the gradient by data */
	dnnl_memory_desc_t library;
} cpu_form;

/* A weight in such a form, or room for its gradient: one for all nodes and plans of a store that want the same. Stale when its version is
 * not the store's. */
typedef struct cpu_layout {
	struct cpu_layout *next;
	cpu_form form;
	int users;
	uint64_t version;       /* 0: nothing is in it yet */
	void *bytes;
} cpu_layout;

/* layout.c: the store's, cleared when it is new; VQ_ENOMEM. dropped by each who got it, before the store is freed. */
vq_status cpu_layout_get(vq_store *s, const cpu_form *f, size_t bytes, cpu_layout **out);
void cpu_layout_drop(vq_store *s, cpu_layout *l);

/* A node's way to a weight's layout. */
typedef struct {
	dnnl_memory_t mem, plain;
	dnnl_primitive_t reorder;
	cpu_layout *at;
} cpu_view;

/* The roles of a node's values in a convolution. */
typedef struct {
	enum { CPU_FORWARD, CPU_BY_DATA, CPU_BY_WEIGHT } kind;
	int src, dst;           /* values on the image side and on the feature side of the convolution */
	int w;                  /* the weights, or their gradient */
	int bias;               /* fused */
	bool relu, sum;
	int k, s, p;
} cpu_conv;

struct cpu_node {
	const wino_kernels *wino; /* a convolution that lib/cpu/wino.c does: w.at has its filters, extra zeros */
	bool head;              /* lib/cpu/head.c does it */
	const strip_kernels *strip; /* lib/cpu/strip.c does it: w.at has its weights */
	struct cpu_gather *gather; /* lib/cpu/gather.c does it: w.at has its weights; in extra */
	dnnl_primitive_t prim;
	dnnl_memory_t mem[6];   /* src, dst, bias, scratchpad, ... as the operation has it */
	cpu_view w;             /* of a quantiser: its codebook */
	void *extra;            /* freed with free() */
	dnnl_primitive_t back;  /* weight gradients: reorder into the flat buffer */
	size_t bytes;           /* scratch */
	char impl[48];          /* the library's name for what it chose */
};

void *cpu_at(const vq_plan *p, int value); /* NULL for -1 */
static inline const vq_value *cpu_v(const vq_plan *p, int value) { return &p->g.v[value]; }
static inline size_t cpu_count(const vq_value *v) { return (size_t)v->n * (size_t)v->h * (size_t)v->w * (size_t)v->c; }
static inline const vq_place *cpu_places(const vq_plan *p, int grid) { return p->places + (size_t)grid * (size_t)p->step->items; }
float cpu_scale(const vq_plan *p, const vq_node *n); /* the step's scale the node selects, or 1 */
vq_status cpu_dnnl(dnnl_status_t s, const char *what); /* VQ_OK, or VQ_EBACKEND with the call named */
vq_status cpu_scratch(vq_plan *p, size_t bytes);        /* at prepare: at least this much at run */

/* The runs of a value's positions of one kind in this step (CPU_GAP only where the graph is packed). */
static inline const cpu_runs *cpu_where(const vq_plan *p, const vq_value *v, int kind) { return &p->runs[v->grid < 0 ? p->g.ng : v->grid][kind]; }
/* Calls fn for 0 to threads-1, a thread each, after all have called `before` (or NULL). Of one thread it is a call and no more: OpenMP would
 * make a team of it, and wake whom nobody waits for. */
typedef void cpu_member(void *ctx, int thread);
void cpu_team(int threads, cpu_member *before, cpu_member *fn, void *ctx);
/* Calls fn for every piece of the value's positions of one kind, a contiguous share a thread, in order within the thread. */
typedef void cpu_piece(void *ctx, int thread, size_t at, size_t n);
void cpu_over(const vq_plan *p, const vq_value *v, int kind, cpu_piece *fn, void *ctx);
/* Calls fn for shares of 0..n, one a thread, cut at multiples of 64. */
void cpu_share(const vq_plan *p, size_t n, cpu_piece *fn, void *ctx);

/* Rows [*from, *to) of part `i` of `parts`, in multiples of `unit`. */
static inline void cpu_part(size_t n, size_t unit, int i, int parts, size_t *from, size_t *to)
{
	size_t units = (n + unit - 1) / unit;
	*from = VQ_MIN(n, units * (size_t)i / (size_t)parts * unit);
	*to = VQ_MIN(n, units * (size_t)(i + 1) / (size_t)parts * unit);
}

extern const cpu_op cpu_ops[VQ_OPS];

/* conv.c */
vq_status cpu_conv_prepare(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_conv_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_conv_weight_run(vq_plan *, const vq_node *, cpu_node *);
void cpu_node_drop(vq_store *, cpu_node *);
/* head.c */
bool cpu_head_takes(const cpu_backend *b, const vq_value *src, const vq_value *dst, const cpu_conv *r);
vq_status cpu_head_prepare(vq_plan *, const cpu_conv *, cpu_node *);
void cpu_head_run(vq_plan *, const cpu_conv *, cpu_node *);
void cpu_head_weight_run(vq_plan *, const cpu_conv *, cpu_node *, float *db /* or NULL */);
/* gather.c */
bool cpu_gather_takes(const cpu_backend *b, const vq_value *src, const vq_value *dst, const cpu_conv *r);
vq_status cpu_gather_prepare(vq_plan *, const cpu_conv *, cpu_node *);
void cpu_gather_run(vq_plan *, const cpu_conv *, cpu_node *);
void cpu_gather_weight_run(vq_plan *, const cpu_conv *, cpu_node *);
/* strip.c */
bool cpu_strip_takes(const vq_store *s, const vq_value *src, const vq_value *dst, const cpu_conv *r);
vq_status cpu_strip_prepare(vq_plan *, const cpu_conv *, cpu_node *);
void cpu_strip_run(vq_plan *, const cpu_conv *, cpu_node *);
/* wino.c */
vq_status cpu_wino_prepare(vq_plan *, const cpu_conv *, cpu_node *); /* sets c->wino where it takes the convolution */
void cpu_wino_run(vq_plan *, const cpu_conv *, cpu_node *);
void cpu_wino_weight_run(vq_plan *, const cpu_conv *, cpu_node *, float *db /* or NULL */);
/* pointwise.c */
vq_status cpu_act_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_act_bwd_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_add_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_clear_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_cast_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_flatten_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_unflatten_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_gate_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_gate_bwd_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_dropout_run(vq_plan *, const vq_node *, cpu_node *);
void cpu_bias_act(vq_plan *p, int value, const float *bias, vq_act act);
void cpu_bias_grad(vq_plan *p, int dy, float *db); /* db += column sums; needs cpu_sums_bytes of scratch */
enum { CPU_SHARES = 16 }; /* sums are made in this many parts whatever the number of threads */
/* How many threads sums over so many values take: to wake another takes longer than what it would do of a few. */
static inline int cpu_sum_threads(const vq_plan *p, size_t values) { return values <= 1 << 15 ? 1 : p->b->b.threads; }
static inline size_t cpu_sums_bytes(size_t c) { return 2 * CPU_SHARES * c * sizeof(double); }
/* norm.c */
vq_status cpu_norm_prepare(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_norm_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_norm_bwd_run(vq_plan *, const vq_node *, cpu_node *);
/* spatial.c: pooling and resizing */
vq_status cpu_pool_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_pool_bwd_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_resize_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_resize_bwd_run(vq_plan *, const vq_node *, cpu_node *);
/* dense.c: linear layers and attention */
vq_status cpu_linear_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_linear_data_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_linear_weight_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_linear_prepare(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_attention_prepare(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_attention_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_attention_bwd_run(vq_plan *, const vq_node *, cpu_node *);
/* quantize.c */
vq_status cpu_quantize_prepare(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_quantize_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_lookup_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_quantize_bwd_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_codebook_bwd_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_ema_sum_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_ema_update_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_residual_run(vq_plan *, const vq_node *, cpu_node *);
/* train.c: loss and optimiser */
vq_status cpu_loss_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_optimize_prepare(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_optimize_run(vq_plan *, const vq_node *, cpu_node *);

/* maxpool.c, features.c: what frozen networks need */
vq_status cpu_maxpool_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_maxpool_bwd_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_maxpool_prepare(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_colours_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_colours_bwd_run(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_features_prepare(vq_plan *, const vq_node *, cpu_node *);
vq_status cpu_features_run(vq_plan *, const vq_node *, cpu_node *);

vq_status vq_cpu_open(vq_backend **b, int threads);

/* Number i of a value's memory, which is f32 or bf16. */
static inline float cpu_load(vq_dtype t, const void *p, size_t i) { return t == VQ_BF16 ? vq_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i]; }
static inline void cpu_store(vq_dtype t, void *p, size_t i, float v)
{
	if (t == VQ_BF16)
		((uint16_t *)p)[i] = vq_f32_to_bf16(v);
	else
		((float *)p)[i] = v;
}

#endif
