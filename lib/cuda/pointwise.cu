/* Operations that look at one element at a time. */
#include "lib/cuda/device.h"

/* A thread fetches `many` packs before it looks at any. An operation has a type `in`, and load and store for a pack. */
template <class Op> __global__ void __launch_bounds__(BLOCK) map(size_t packs, Op op)
{
	size_t step = (size_t)gridDim.x * BLOCK;
	for (size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x; i < packs; i += step * Op::many) {
		typename Op::in a[Op::many];
#pragma unroll
		for (int u = 0; u < Op::many; u++)
			if (i + step * (size_t)u < packs)
				a[u] = op.load(i + step * (size_t)u);
#pragma unroll
		for (int u = 0; u < Op::many; u++)
			if (i + step * (size_t)u < packs)
				op.store(i + step * (size_t)u, a[u]);
	}
}

template <class Op> static int map_over(vq_cuda_stream s, size_t packs, const Op &op)
{
	return packs ? launch(map<Op>, dim3(blocks_for(packs, BLOCK * Op::many, BLOCKS_MAX)), dim3(BLOCK), s, packs, op) : 0;
}

template <class T, int V> struct act_op {
	int act;
	const T *x;
	T *y;
	static constexpr int many = UNROLL;
	typedef pack<T, V> in;
	__device__ in load(size_t i) const { return get<T, V>(x + i * V); }
	__device__ void store(size_t i, in a) const
	{
		float f[V];
		for (int j = 0; j < V; j++)
			f[j] = to_f32(a.v[j]);
		act_of<V>(act, f);
		for (int j = 0; j < V; j++)
			from_f32(&a.v[j], f[j]);
		put<T, V>(y + i * V, a);
	}
};

int vq_cuda_act(vq_cuda_stream s, vq_dtype t, vq_act act, size_t n, const void *x, void *y)
{
	BY_TYPE(t, n, return map_over(s, n / V, act_op<T, V>{ (int)act, (const T *)x, (T *)y }));
}

template <class T, int V> struct act_bwd_op {
	int act;
	bool accumulate;
	const T *at, *dy;
	T *dx;
	static constexpr int many = 2;
	struct in { pack<T, V> at, dy, dx; };
	__device__ in load(size_t i) const
	{
		in a;
		a.at = get<T, V>(at + i * V);
		a.dy = get<T, V>(dy + i * V);
		if (accumulate)
			a.dx = get<T, V>(dx + i * V);
		return a;
	}
	__device__ void store(size_t i, const in &a) const
	{
		float f[V], g[V];
		pack<T, V> o;
		for (int j = 0; j < V; j++) {
			f[j] = to_f32(a.at.v[j]);
			g[j] = to_f32(a.dy.v[j]);
		}
		slope_of<V>(act, f, g);
		for (int j = 0; j < V; j++)
			from_f32(&o.v[j], accumulate ? to_f32(a.dx.v[j]) + g[j] : g[j]);
		put<T, V>(dx + i * V, o);
	}
};

int vq_cuda_act_bwd(vq_cuda_stream s, vq_dtype t, vq_act act, bool accumulate, size_t n, const void *x, const void *y, const void *dy, void *dx)
{
	const void *at = from_x(act) ? x : y;
	if (!at)
		at = dy; /* VQ_FN_NONE */
	BY_TYPE(t, n, return map_over(s, n / V, act_bwd_op<T, V>{ (int)act, accumulate, (const T *)at, (const T *)dy, (T *)dx }));
}

/* y = a + k b; k from memory when there is one */
template <class T, int V> struct sum_op {
	const T *a, *b;
	T *y;
	const float *gamma;
	float k;
	static constexpr int many = UNROLL;
	struct in { pack<T, V> a, b; };
	__device__ in load(size_t i) const { return in{ get<T, V>(a + i * V), get<T, V>(b + i * V) }; }
	__device__ void store(size_t i, const in &x) const
	{
		pack<T, V> o;
		float m = gamma ? *gamma : k;
		for (int j = 0; j < V; j++)
			from_f32(&o.v[j], to_f32(x.a.v[j]) + m * to_f32(x.b.v[j]));
		put<T, V>(y + i * V, o);
	}
};

int vq_cuda_add(vq_cuda_stream s, vq_dtype t, size_t n, const void *a, const void *b, void *y)
{
	BY_TYPE(t, n, return map_over(s, n / V, sum_op<T, V>{ (const T *)a, (const T *)b, (T *)y, NULL, 1 }));
}

int vq_cuda_residual(vq_cuda_stream s, size_t n, const float *a, const float *b, float *y)
{
	BY_TYPE(VQ_F32, n, return map_over(s, n / V, sum_op<T, V>{ (const T *)a, (const T *)b, (T *)y, NULL, -1 }));
}

int vq_cuda_gate(vq_cuda_stream s, vq_dtype t, size_t n, const void *x, const void *o, const float *gamma, void *y)
{
	BY_TYPE(t, n, return map_over(s, n / V, sum_op<T, V>{ (const T *)x, (const T *)o, (T *)y, gamma, 0 }));
}

/* V of the narrower type fill 16 bytes; the wider takes two accesses. */
template <class A, class B, int V> struct cast_op {
	const A *x;
	B *y;
	static constexpr int many = UNROLL;
	typedef pack<A, V> in;
	__device__ in load(size_t i) const { return get<A, V>(x + i * V); }
	__device__ void store(size_t i, const in &a) const
	{
		pack<B, V> o;
		for (int j = 0; j < V; j++)
			from_f32(&o.v[j], to_f32(a.v[j]));
		put<B, V>(y + i * V, o);
	}
};

template <class A, class B> static int cast_to(vq_cuda_stream s, size_t n, const void *x, void *y)
{
	if (n % 4 == 0)
		return map_over(s, n / 4, cast_op<A, B, 4>{ (const A *)x, (B *)y });
	return map_over(s, n, cast_op<A, B, 1>{ (const A *)x, (B *)y });
}

int vq_cuda_cast(vq_cuda_stream s, vq_dtype from, vq_dtype to, size_t n, const void *x, void *y)
{
	if (from == to)
		return vq_cuda_act(s, to, VQ_FN_NONE, n, x, y);
	return to == VQ_BF16 ? cast_to<float, bf16>(s, n, x, y) : cast_to<bf16, float>(s, n, x, y);
}

/* --- the gate's gradient ------------------------------------------------------------------------------------------- */

template <class T, int V>
__global__ void __launch_bounds__(BLOCK) gate_bwd(size_t packs, const T *o, const T *dy, const float *gamma, T *d_o, double *part)
{
	float s = 0, k = *gamma;
	double sum = 0;
	int held = 0;
	for (size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x; i < packs; i += (size_t)gridDim.x * BLOCK) {
		pack<T, V> a = get<T, V>(o + i * V), g = get<T, V>(dy + i * V), d;
		for (int j = 0; j < V; j++) {
			s += to_f32(a.v[j]) * to_f32(g.v[j]);
			from_f32(&d.v[j], k * to_f32(g.v[j]));
		}
		if (d_o)
			put<T, V>(d_o + i * V, d);
		if (++held == 16) { /* f32 over a short stretch, f64 across */
			sum += (double)s;
			s = 0;
			held = 0;
		}
	}
	sum = block_sum(sum + (double)s);
	if (threadIdx.x == 0)
		part[blockIdx.x] = sum;
}

size_t vq_cuda_gate_bwd_scratch(size_t n) { return sizeof(double) * PARTS_MAX; }

int vq_cuda_gate_bwd(vq_cuda_stream s, vq_dtype t, size_t n, const void *o, const void *dy, const float *gamma, void *d_o, float *dgamma, void *scratch)
{
	double *part = (double *)scratch;
	unsigned blocks = blocks_for(n, BLOCK * 8 * UNROLL, PARTS_MAX);
	BY_TYPE(t, n, VQ_DO(launch(gate_bwd<T, V>, dim3(blocks), dim3(BLOCK), s, n / V, (const T *)o, (const T *)dy, gamma, (T *)d_o, part)));
	return launch(sum_parts<float>, dim3(1), dim3(BLOCK), s, (int)blocks, part, dgamma);
}

/* --- dropout ------------------------------------------------------------------------------------------------------- */

static __device__ void philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
	for (int i = 0; i < 10; i++) {
		uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
		uint32_t n0 = (uint32_t)(b >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(a >> 32) ^ c[3] ^ k1;
		c[1] = (uint32_t)b;
		c[3] = (uint32_t)a;
		c[0] = n0;
		c[2] = n2;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
}

template <class T> __global__ void __launch_bounds__(BLOCK) dropout(const vq_cuda_step *step, float p, uint32_t keep, uint32_t node, size_t n, const T *x, T *y)
{
	uint32_t k0 = (uint32_t)step->seed, k1 = (uint32_t)(step->seed >> 32) ^ node;
	for (size_t i = 4 * ((size_t)blockIdx.x * BLOCK + threadIdx.x); i < n; i += 4 * (size_t)gridDim.x * BLOCK) {
		uint32_t c[4] = { (uint32_t)i, (uint32_t)(i >> 32), (uint32_t)step->step, (uint32_t)(step->step >> 32) };
		philox(c, k0, k1);
		if (i + 4 <= n) {
			pack<T, 4> a = get<T, 4>(x + i);
			for (int j = 0; j < 4; j++)
				from_f32(&a.v[j], c[j] <= keep ? to_f32(a.v[j]) / (1 - p) : 0.f);
			put<T, 4>(y + i, a);
		} else {
			for (int j = 0; j < 4; j++)
				if (i + (size_t)j < n)
					from_f32(y + i + j, c[j] <= keep ? to_f32(x[i + (size_t)j]) / (1 - p) : 0.f);
		}
	}
}

int vq_cuda_dropout(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, float p, int node, size_t n, const void *x, void *y)
{
	uint32_t keep = (uint32_t)((1 - (double)p) * 4294967295.0);
	dim3 grid(blocks_for(n, BLOCK * 4, BLOCKS_MAX));
	if (t == VQ_BF16)
		return launch(dropout<bf16>, grid, dim3(BLOCK), s, step, p, keep, (uint32_t)node, n, (const bf16 *)x, (bf16 *)y);
	return launch(dropout<float>, grid, dim3(BLOCK), s, step, p, keep, (uint32_t)node, n, (const float *)x, (float *)y);
}

template <class T> __global__ void __launch_bounds__(BLOCK) not_finite(size_t n, const T *x, int32_t *flag)
{
	for (size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x; i < n; i += (size_t)gridDim.x * BLOCK)
		if (!(fabsf(to_f32(x[i])) < INFINITY))
			*flag = 1;
}

int vq_cuda_not_finite(vq_cuda_stream s, vq_dtype t, size_t n, const void *x, int32_t *flag)
{
	dim3 grid(blocks_for(n, BLOCK * UNROLL, BLOCKS_MAX));
	if (t == VQ_BF16)
		return launch(not_finite<bf16>, grid, dim3(BLOCK), s, n, (const bf16 *)x, flag);
	return launch(not_finite<float>, grid, dim3(BLOCK), s, n, (const float *)x, flag);
}
