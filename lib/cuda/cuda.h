/* cuda: what the C files of the CUDA backend share. They are built into lib/vq/libvq_cuda.so, which lib/backend_cuda.c loads when it is asked for;
 * what they need of lib/base and lib/model/graph is the program's own. The kernels (kernels.h) know nothing of this. */
#ifndef VQ_CUDA_H
#define VQ_CUDA_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include "lib/backend.h"
#include "lib/cuda/kernels.h"

/* Device memory that grows; what was in it is lost then. */
typedef struct { char *at; size_t bytes; } cuda_area;

typedef struct {
	vq_backend b;
	cudaStream_t stream;    /* everything runs on it, in order, but for */
	cudaStream_t copies;    /* what the host brings, on its way while the run before is under way */
	cudnnHandle_t dnn;      /* both for models only */
	cublasLtHandle_t blas;
	cuda_area pictures;     /* of cuda_maps */
	bool tensor;            /* bf16 on tensor cores: compute capability 8.0 and up */
} cuda_backend;

/* A weight as cuDNN reads it ([out][k][k][in]), kept beside the flat buffer and made again after an update, or, of a frozen network, made
 * once: one for each type in use. */
typedef struct { int param; bool frozen; vq_cuda_weight w; } cuda_filter;

enum { CUDA_AHEAD = 1, CUDA_SLOTS = CUDA_AHEAD + 1 };

/* Pinned memory that holds what one run brings: its step, its places, its inputs. The host fills one while the run of the other is under way.
 * On the device they go to the stage, which no kernel reads, and from there, once the run before is over, to where the plan has them. */
typedef struct {
	char *host;
	size_t bytes;
	cudaEvent_t copied, done; /* it is on the stage; the run's results are back */
	vq_plan *plan;          /* whose inputs it holds */
	vq_step *step;          /* of the run that took it, until that is finished */
	unsigned phases;
	bool busy;              /* that run is not finished */
} cuda_slot;

struct vq_store {
	cuda_backend *b;
	vq_params params;       /* a copy of the table */
	float *buf[VQ_BUFS];    /* on the device; M, V, GRAD, MEAN only for training */
	uint64_t version;       /* of the parameters */
	uint64_t packed;        /* the version that the filters were made of */
	uint64_t updates;       /* optimiser steps, for momentum's first; at least 1 once M was given */
	cuda_area arena, scratch, stage;
	cuda_slot slot[CUDA_SLOTS];
	int now;                /* the slot that the host fills, or filled last */
	cudaEvent_t taken;      /* the stage is free again */
	uint64_t moved;         /* how often arena or scratch moved: captured graphs hold addresses */
	cuda_filter *filter;
	int nf;
	vq_cuda_weight *table;  /* of those that are made again, on the device */
	int rows;               /* how many these are */
	const vq_params *frozen; /* the caller's */
	float *frozen_at;       /* their values, on the device */
	size_t most;            /* elements of the largest filter */
};

/* A convolution as a cuDNN operation graph of one operation, with the plan that runs it. The image side has c channels and h x w positions,
 * the feature side k channels and the size that follows from them. */
typedef enum { CUDA_FORWARD, CUDA_BY_DATA, CUDA_BY_FILTER } cuda_conv_kind;
typedef struct {
	cuda_conv_kind kind;
	vq_dtype t;             /* of activations and filter */
	vq_dtype out;           /* of what it writes: t, or f32 where t is bf16 */
	int n, c, h, w, k, p, q; /* image [n,h,w,c], features [n,p,q,k] */
	int size, stride, pad;
} cuda_conv_spec;
typedef struct {
	cudnnBackendDescriptor_t graph, plan;
	size_t workspace;
	char name[48];          /* of the engine */
	unsigned notes;         /* its numerical notes, a bit a cudnnBackendNumericalNote_t */
} cuda_conv;
/* Operation graph only: works without a device. */
vq_status cuda_conv_graph(const cuda_conv_spec *s, cudnnHandle_t handle, cudnnBackendDescriptor_t *graph);
/* The first engine of the library's ranking that gives the same bytes every time and rounds nothing to less than its inputs' type; VQ_EUNSUP
 * when there is none. An engine that gives no plan is passed over, but for want of memory; any other step that fails, and not with VQ_EUNSUP, ends
 * the search, and what it failed with is the result: no further ranking is asked. device: a finalised description of the device, or NULL for that of the handle. */
vq_status cuda_conv_make(const cuda_conv_spec *s, cudnnHandle_t handle, cudnnBackendDescriptor_t device, cuda_conv *out);
/* x: what the kind reads on the image side or writes there, y: on the feature side, w: the filter or its gradient. */
vq_status cuda_conv_run(cudnnHandle_t handle, const cuda_conv *c, void *x, void *w, void *y, void *workspace);
void cuda_conv_drop(cuda_conv *c);
vq_status cuda_dnn(cudnnStatus_t s, const char *what);
bool cuda_conv_spec_of(const vq_graph *g, const vq_node *n, cuda_conv_spec *s); /* false: n is no convolution */

typedef struct {
	cublasLtMatmulDesc_t op;
	cublasLtMatrixLayout_t a, b, c;
	cublasLtMatmulAlgo_t algo;
	size_t workspace;
} cuda_gemm;
/* Row-major f32: y [m,n] (+)= x w, x [m,k] or, turned, [k,m]; w [k,n] or, turned, [n,k]. */
vq_status cuda_gemm_make(cuda_backend *b, int m, int n, int k, bool turn_x, bool turn_w, cuda_gemm *out);
vq_status cuda_gemm_run(cuda_backend *b, const cuda_gemm *g, const float *x, const float *w, bool add, float *y, void *workspace);
void cuda_gemm_drop(cuda_gemm *g);

typedef struct {
	cuda_conv conv;
	cuda_gemm gemm;
	vq_cuda_weight *unpack; /* on the device: that gradient and where it goes */
	size_t result, wide, scratch; /* bytes of scratch: a result that is not in its place yet, an input made f32, what the operation needs */
	int filter;             /* index in the store, or -1 */
} cuda_node;

/* A value as the host sees it. */
typedef enum { CUDA_UNSET, CUDA_HELD /* brought by an earlier run */, CUDA_NEW } cuda_given;
typedef struct {
	void *host;             /* pinned copy of what is neither an input nor codes, made when it is asked for */
	size_t at;              /* an input: in a slot; codes: in the results */
	cuda_given given[CUDA_SLOTS];
} cuda_mirror;

/* What every run brings back; codes that the host may read follow. */
typedef struct { double scalar[VQ_SCALARS]; int32_t bad, pad[15]; } cuda_results;

struct vq_plan {
	cuda_backend *b;
	vq_store *s;
	vq_graph g;
	cuda_node *node;
	cuda_mirror *mirror;    /* a value */
	vq_place *places;       /* host, as vq_places gives them */
	char *device;           /* vq_cuda_step, then items_max places a grid */
	size_t step_bytes, slot_bytes; /* of that; and with the inputs behind it */
	vq_cuda_grid *grid;     /* [ng + 1]; the last: rows */
	char *marks;            /* memory of marks and counts */
	cuda_results *results;
	char *back[CUDA_SLOTS]; /* pinned: results and codes of the run that had this slot */
	size_t back_bytes;
	int told;               /* the slot of the run that was finished last */
	size_t scratch;
	cudaGraphExec_t exec[8]; /* by phases; made on their second run */
	bool ran[8], loose;
	uint64_t moved;         /* the store's when they were made */
	vq_step *step;          /* of the run in progress */
};

static inline const vq_value *cuda_v(const vq_plan *p, int value) { return &p->g.v[value]; }
static inline size_t cuda_count(const vq_value *v) { return (size_t)v->n * (size_t)v->h * (size_t)v->w * (size_t)v->c; }
static inline vq_cuda_grid cuda_grid_of(const vq_plan *p, const vq_value *v) { return p->grid[v->grid < 0 ? p->g.ng : v->grid]; }
void *cuda_at(const vq_plan *p, int value); /* on the device; NULL for -1 */

/* VQ_OK, or VQ_EBACKEND with the call and the runtime's words. */
vq_status cuda_try(int error, const char *what);
/* Until the stream is empty. It counts, as does cuda_get: vq_backend.waits. */
vq_status cuda_wait(cudaStream_t s, const char *what);
void cuda_count_wait(void);
/* Device memory; when there is none left the message says what was asked, what was free and which setting to lower, or the advice. */
vq_status cuda_get(void **p, size_t bytes, const char *what);
vq_status cuda_get_or(void **p, size_t bytes, const char *what, const char *advice);
vq_status cuda_copy_now(const vq_store *s, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind);
vq_status cuda_grow(vq_store *s, cuda_area *a, size_t bytes, const char *what);

/* Adds to the store's filters what this weight needs, or finds it. */
vq_status cuda_filter_of(vq_store *s, const vq_value *weight, vq_dtype t, int *out);

/* transfer.c: host memory and what goes to and fro */
vq_status cuda_transfer_make(vq_plan *p);
void cuda_transfer_free(vq_plan *p);
vq_status cuda_transfer_hold(vq_plan *p);       /* room in slots and stage; when they move, what they held is gone */
void cuda_slots_free(vq_store *s);
vq_status cuda_slot_take(vq_plan *p, int *slot); /* the one that holds this plan's inputs, or a free one */
/* Puts the copies of a slot's step and places, and of the inputs that are at least `least`, before what follows on the stream. */
vq_status cuda_bring(vq_plan *p, int slot, unsigned phases, cuda_given least);
vq_status cuda_fetch(vq_plan *p, int slot, vq_step *step, unsigned phases); /* and their way back behind it */
vq_status cuda_finish(vq_plan *p, vq_step *step); /* waits for that, and gives it to the step */
void cuda_transfer_table(vq_backend *b);
static inline vq_cuda_step *cuda_slot_step(const vq_store *s, int slot) { return (vq_cuda_step *)s->slot[slot].host; }
static inline size_t cuda_places_at(void) { return VQ_ALIGN(sizeof(vq_cuda_step), (size_t)64); }

/* nodes.c */
vq_status cuda_node_prepare(vq_plan *p, const vq_node *n, cuda_node *c);
vq_status cuda_node_bind(vq_plan *p, const vq_node *n, cuda_node *c); /* after arena or scratch moved */
vq_status cuda_node_run(vq_plan *p, const vq_node *n, cuda_node *c);
void cuda_node_drop(cuda_node *c);
/* plan.c */
vq_status cuda_plan_hold(vq_plan *p); /* what it needs of the store: its arena, scratch memory, slots */
void cuda_plan_table(vq_backend *b);
/* pictures.c: vq_backend.maps */
vq_status cuda_maps(vq_backend *b, int n, const vq_pictures *p, const double *kernel, double range, vq_maps *out);

/* What lib/backend_cuda.c looks up, as vq_backend_cuda: b is the backend or NULL. */
__attribute__((visibility("default"))) vq_status vq_cuda_open(vq_backend **b, int threads, bool models);

#endif
