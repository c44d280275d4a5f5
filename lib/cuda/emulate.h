/* emulate: what a kernel needs to run on the host, for tests. Each thread of a block is a fibre (tests/unit/fibres.c) that runs until it
 * comes to a barrier or a warp operation; the order in which threads and blocks get their turn can be chosen, so that a missing barrier
 * shows as another result. Shared memory is filled with 0xff (NaN) for every block. */
#ifndef VQ_CUDA_EMULATE_H
#define VQ_CUDA_EMULATE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct { unsigned x, y, z; } vq_emulated_index;
extern vq_emulated_index threadIdx, blockIdx, blockDim, gridDim;

/* 0 forward, 1 backward, others: a seed of random orders. For the launches that follow. */
void vq_emulate_order(unsigned order);
/* Runs fn(ctx) once a thread, a block after the other. Ends the program, with a message, when threads wait for others that never come. */
void vq_emulate_launch(void (*fn)(void *), void *ctx, vq_emulated_index grid, vq_emulated_index block);
void vq_emulate_barrier(int line);      /* all threads of the block, at the same line */
void vq_emulate_warp(int line);         /* all of the warp */
void *vq_emulate_slot(int lane);        /* 16 bytes a lane of this warp */
void vq_emulate_shared(void *p, size_t bytes);
long vq_emulate_launches(void);         /* so far */
/* Where streams are emulated: takes a copy of ctx and calls fn with it when the stream comes to it. NULL, or a stream that is NULL: at once. */
typedef void vq_emulated_defer(void *stream, void (*fn)(void *ctx), const void *ctx, size_t bytes);
extern vq_emulated_defer *vq_emulate_defer;

#ifdef __cplusplus
}

#include <math.h>
#include <string.h>

#define __global__ static
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define VQ_SHARED(type, name, dims) static type name dims; vq_emulate_shared(&name, sizeof name)
#define __syncthreads() vq_emulate_barrier(__LINE__)

struct dim3 {
	unsigned x, y, z;
	dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
enum { cudaErrorInvalidValue = 1 };

template <class V> static inline V vq_lane(V v, int lane, int line)
{
	memcpy(vq_emulate_slot((int)threadIdx.x & 31), &v, sizeof v);
	vq_emulate_warp(line);
	V got;
	memcpy(&got, vq_emulate_slot(lane), sizeof got);
	vq_emulate_warp(line);
	return got;
}
#define __shfl_xor_sync(mask, v, m) vq_lane(v, (int)(threadIdx.x & 31) ^ (m), __LINE__)

static inline int atomicAdd(int *p, int v) { int old = *p; *p += v; return old; }
static inline int atomicMax(int *p, int v) { int old = *p; *p = v > old ? v : old; return old; }

/* What is to be done, with its arguments. */
template <class F> static void vq_emulated_do(vq_cuda_stream s, const F &f)
{
	void (*call)(void *) = [](void *p) { (*(F *)p)(); };
	if (s && vq_emulate_defer)
		vq_emulate_defer(s, call, &f, sizeof f);
	else
		call((void *)&f);
}

template <class... P, class... A> static inline int launch(void (*k)(P...), dim3 grid, dim3 block, vq_cuda_stream s, A... a)
{
	vq_emulated_do(s, [=] {
		auto thread = [=] { k((P)a...); };
		void (*call)(void *) = [](void *p) { (*(decltype(thread) *)p)(); };
		vq_emulate_launch(call, (void *)&thread, vq_emulated_index{ grid.x, grid.y, grid.z }, vq_emulated_index{ block.x, block.y, block.z });
	});
	return 0;
}

static inline int zero(vq_cuda_stream s, void *p, size_t bytes)
{
	vq_emulated_do(s, [=] { memset(p, 0, bytes); });
	return 0;
}

struct bf16 { uint16_t x; };
static inline float to_f32(bf16 v) { return vq_bf16_to_f32(v.x); }
static inline void from_f32(bf16 *p, float v) { p->x = vq_f32_to_bf16(v); }
#endif

#endif
