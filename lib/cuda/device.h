/* device: what the kernels of lib/cuda share: types, 16-byte accesses, sums in one order, the walk over rows. C++ only.
 *
 * Kernels hold to a small part of CUDA, which lib/cuda/emulate.h has too: launch() and zero() instead of <<<>>> and memset, VQ_SHARED,
 * __syncthreads, __shfl_xor_sync by whole warps, and integer atomics whose order does not matter. */
#ifndef VQ_CUDA_DEVICE_H
#define VQ_CUDA_DEVICE_H

#include "lib/cuda/kernels.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#define VQ_SHARED(type, name, dims) __shared__ type name dims

/* Not <<<>>> and cudaGetLastError, which would tell of what some library left behind. */
template <class... P> static inline int launch_with(void (*k)(P...), dim3 grid, dim3 block, cudaStream_t s, P... p)
{
	void *args[] = { (void *)&p... };
	return (int)cudaLaunchKernel((const void *)k, grid, block, args, 0, s);
}

template <class... P, class... A> static inline int launch(void (*k)(P...), dim3 grid, dim3 block, cudaStream_t s, A... a)
{
	return launch_with<P...>(k, grid, block, s, (P)a...);
}

static inline int zero(cudaStream_t s, void *p, size_t bytes) { return (int)cudaMemsetAsync(p, 0, bytes, s); }

struct bf16 { uint16_t x; };
static __device__ __forceinline__ float to_f32(bf16 v) { return __uint_as_float((unsigned)v.x << 16); }
static __device__ __forceinline__ void from_f32(bf16 *p, float v) { p->x = __bfloat16_as_ushort(__float2bfloat16_rn(v)); }
#else
#include "lib/cuda/emulate.h"
#endif

static __device__ __forceinline__ float to_f32(float v) { return v; }
static __device__ __forceinline__ void from_f32(float *p, float v) { *p = v; }

#define VQ_DO(call) do { int e_ = (call); if (e_) return e_; } while (0)

enum { BLOCK = 256 /* threads */, UNROLL = 4 /* accesses that a thread has under way */, BLOCKS_MAX = 4096, PARTS_MAX = 512 };

/* V values in one access. */
template <class T, int V> struct alignas(sizeof(T) * V) pack { T v[V]; };
template <class T, int V> static __device__ __forceinline__ pack<T, V> get(const T *p) { return *(const pack<T, V> *)p; }
template <class T, int V> static __device__ __forceinline__ void put(T *p, const pack<T, V> &v) { *(pack<T, V> *)p = v; }
template <class T> constexpr int wide() { return (int)(16 / sizeof(T)); }

/* act and its derivative on V values at once, so that the choice is made once. */
template <int V> static __device__ __forceinline__ void act_of(int a, float *x)
{
	if (a == VQ_FN_RELU) {
		for (int i = 0; i < V; i++)
			x[i] = x[i] > 0 ? x[i] : 0;
	} else if (a == VQ_FN_LEAKY) {
		for (int i = 0; i < V; i++)
			x[i] = x[i] > 0 ? x[i] : .01f * x[i];
	} else if (a == VQ_FN_SILU) {
		for (int i = 0; i < V; i++)
			x[i] = x[i] / (1 + expf(-x[i]));
	} else if (a == VQ_FN_GELU) {
		for (int i = 0; i < V; i++)
			x[i] = .5f * x[i] * (1 + erff(x[i] * .70710678118654752f));
	}
}

/* g *= act'(at): at is y for relu and leaky, x for silu and gelu. */
template <int V> static __device__ __forceinline__ void slope_of(int a, const float *at, float *g)
{
	if (a == VQ_FN_RELU) {
		for (int i = 0; i < V; i++)
			g[i] *= at[i] > 0 ? 1.f : 0.f;
	} else if (a == VQ_FN_LEAKY) {
		for (int i = 0; i < V; i++)
			g[i] *= at[i] > 0 ? 1.f : .01f;
	} else if (a == VQ_FN_SILU) {
		for (int i = 0; i < V; i++) {
			float s = 1 / (1 + expf(-at[i]));
			g[i] *= s * (1 + at[i] * (1 - s));
		}
	} else if (a == VQ_FN_GELU) {
		for (int i = 0; i < V; i++)
			g[i] *= .5f * (1 + erff(at[i] * .70710678118654752f)) + at[i] * .3989422804014327f * expf(-.5f * at[i] * at[i]);
	}
}

static inline bool from_x(vq_act a) { return a == VQ_FN_SILU || a == VQ_FN_GELU; }

/* The block's sum of v, in every thread; any number of whole warps. */
static __device__ __forceinline__ double block_sum(double v)
{
	VQ_SHARED(double, part, [32]);
	for (int m = 16; m; m /= 2)
		v += __shfl_xor_sync(0xffffffffu, v, m);
	__syncthreads();
	if (threadIdx.x % 32 == 0)
		part[threadIdx.x / 32] = v;
	__syncthreads();
	double s = 0;
	for (unsigned w = 0; w < blockDim.x / 32; w++)
		s += part[w];
	return s;
}

/* *out (+)= the sum of n parts; one block. */
template <class S> __global__ void sum_parts(int n, const double *part, S *out)
{
	double s = 0;
	for (int i = (int)threadIdx.x; i < n; i += BLOCK)
		s += part[i];
	s = block_sum(s);
	if (threadIdx.x == 0)
		*out = (S)(*out + (S)s);
}

static __device__ __forceinline__ float scale_of(const vq_cuda_step *step, int scale) { return scale < 0 ? 1.f : step->scale[scale]; }

static inline unsigned blocks_for(size_t n, size_t each, unsigned most)
{
	size_t b = (n + each - 1) / each;
	return (unsigned)(b < 1 ? 1 : b > most ? most : b);
}

/* Rows of c channels: a thread keeps its V channels and walks down the rows, so that what belongs to a channel stays in registers. */
struct walk {
	size_t rows;
	int c, cols, lanes, per; /* cols packs a row; lanes of them and per rows a block at a time */
	unsigned x, y;
	dim3 grid() const { return dim3(x, y); }
};

static inline walk walk_of(size_t rows, int c, int v, unsigned most)
{
	walk w;
	w.rows = rows;
	w.c = c;
	w.cols = c / v;
	w.lanes = w.cols < BLOCK ? w.cols : BLOCK;
	w.per = BLOCK / w.lanes;
	w.x = blocks_for(rows, (size_t)w.per * UNROLL, most);
	w.y = (unsigned)((w.cols + w.lanes - 1) / w.lanes);
	return w;
}

/* Where this thread is in the walk. */
struct spot {
	int row, col;   /* row within the block's, pack within the row */
	bool on;        /* it has work at all */
	size_t first, step;
	__device__ __forceinline__ spot(const walk &w)
	{
		row = (int)threadIdx.x / w.lanes;
		col = (int)blockIdx.y * w.lanes + (int)threadIdx.x % w.lanes;
		on = row < w.per && col < w.cols;
		first = (size_t)blockIdx.x * (size_t)w.per + (size_t)row;
		step = (size_t)gridDim.x * (size_t)w.per;
	}
};

/* Sums over the block's rows of N values a thread, left in the threads of row 0; `sh` holds BLOCK * N floats. */
template <int N> static __device__ __forceinline__ void sum_rows(const walk &w, const spot &at, float *sh, float *v)
{
	for (int i = 0; i < N; i++)
		sh[i * BLOCK + (int)threadIdx.x] = v[i];
	__syncthreads();
	for (int live = w.per; live > 1;) {
		int half = (live + 1) / 2;
		if (at.row + half < live)
			for (int i = 0; i < N; i++)
				sh[i * BLOCK + (int)threadIdx.x] += sh[i * BLOCK + (int)threadIdx.x + half * w.lanes];
		__syncthreads();
		live = half;
	}
	for (int i = 0; i < N; i++)
		v[i] = sh[i * BLOCK + (int)threadIdx.x];
}

/* CALL with T and V known: all accesses 16 bytes wide, or single elements. */
#define BY_TYPE(t, width, CALL) \
	do { \
		if ((t) == VQ_BF16) { \
			typedef bf16 T; \
			if ((width) % 8 == 0) { constexpr int V = 8; CALL; } else { constexpr int V = 1; CALL; } \
		} else { \
			typedef float T; \
			if ((width) % 4 == 0) { constexpr int V = 4; CALL; } else { constexpr int V = 1; CALL; } \
		} \
	} while (0)

#endif
