/* Rows of channels: marks, clearing, biases, and the layouts that other libraries want. */
#include "lib/cuda/device.h"

/* --- where the items are --------------------------------------------------------------------------------------------- */

__global__ void __launch_bounds__(BLOCK) mark_items(const vq_cuda_step *step, vq_cuda_grid g)
{
	int item = (int)blockIdx.x;
	if (item >= step->items)
		return;
	if (!g.places) {
		if (threadIdx.x == 0)
			g.mark[item] = VQ_CUDA_VALID;
		return;
	}
	vq_rect e = g.places[item].extent, v = g.places[item].valid;
	for (int i = (int)threadIdx.x; i < e.h * e.w; i += BLOCK) {
		int y = e.y + i / e.w, x = e.x + i % e.w;
		bool in = y >= v.y && y < v.y + v.h && x >= v.x && x < v.x + v.w;
		g.mark[((size_t)e.n * (size_t)g.h + (size_t)y) * (size_t)g.w + (size_t)x] = in ? VQ_CUDA_VALID : VQ_CUDA_EXTENT;
	}
}

static __device__ double area(vq_rect r) { return r.h > 0 && r.w > 0 ? (double)r.h * (double)r.w : 0; }

__global__ void __launch_bounds__(BLOCK) count_items(const vq_cuda_step *step, vq_cuda_grid g)
{
	double e = 0, v = 0; /* whole numbers below 2^53 */
	for (int i = (int)threadIdx.x; i < step->items; i += BLOCK) {
		e += g.places ? area(g.places[i].extent) : 1;
		v += g.places ? area(g.places[i].valid) : 1;
	}
	e = block_sum(e);
	v = block_sum(v);
	if (threadIdx.x == 0) {
		g.count[0] = (int64_t)e;
		g.count[1] = (int64_t)v;
	}
}

int vq_cuda_mark(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_grid g)
{
	VQ_DO(zero(s, g.mark, (size_t)g.n * (size_t)g.h * (size_t)g.w));
	VQ_DO(launch(mark_items, dim3((unsigned)VQ_MAX(g.items_max, 1)), dim3(BLOCK), s, step, g));
	return launch(count_items, dim3(1), dim3(BLOCK), s, step, g);
}

/* --- clearing and biases --------------------------------------------------------------------------------------------- */

template <class T, int V> __global__ void __launch_bounds__(BLOCK) clear_rows(walk w, const uint8_t *mark, T *x)
{
	spot at(w);
	pack<T, V> none;
	for (int j = 0; j < V; j++)
		from_f32(&none.v[j], 0);
	if (at.on)
		for (size_t r = at.first; r < w.rows; r += at.step)
			if (mark[r] == VQ_CUDA_GAP)
				put<T, V>(x + r * (size_t)w.c + (size_t)at.col * V, none);
}

int vq_cuda_clear(vq_cuda_stream s, vq_dtype t, vq_cuda_grid g, int c, void *x)
{
	size_t rows = (size_t)g.n * (size_t)g.h * (size_t)g.w;
	BY_TYPE(t, c, walk w = walk_of(rows, c, V, BLOCKS_MAX); return launch(clear_rows<T, V>, w.grid(), dim3(BLOCK), s, w, (const uint8_t *)g.mark, (T *)x));
}

template <class T, int V>
__global__ void __launch_bounds__(BLOCK) bias_act(walk w, int act, const T *x, const float *bias, const T *sum, const uint8_t *mark, T *y)
{
	enum { MANY = 2 };
	spot at(w);
	if (!at.on)
		return;
	float b[V];
	for (int j = 0; j < V; j++)
		b[j] = bias ? bias[at.col * V + j] : 0.f;
	for (size_t r0 = at.first; r0 < w.rows; r0 += at.step * MANY) {
		pack<T, V> a[MANY], q[MANY];
#pragma unroll
		for (int u = 0; u < MANY; u++) {
			size_t r = r0 + at.step * (size_t)u, o = r * (size_t)w.c + (size_t)at.col * V;
			if (r < w.rows) {
				a[u] = get<T, V>(x + o);
				if (sum)
					q[u] = get<T, V>(sum + o);
			}
		}
#pragma unroll
		for (int u = 0; u < MANY; u++) {
			size_t r = r0 + at.step * (size_t)u;
			if (r >= w.rows)
				break;
			float f[V];
			pack<T, V> o;
			bool gap = mark && mark[r] == VQ_CUDA_GAP;
			for (int j = 0; j < V; j++)
				f[j] = to_f32(a[u].v[j]) + b[j] + (sum ? to_f32(q[u].v[j]) : 0.f);
			act_of<V>(act, f);
			for (int j = 0; j < V; j++)
				from_f32(&o.v[j], gap ? 0.f : f[j]);
			put<T, V>(y + r * (size_t)w.c + (size_t)at.col * V, o);
		}
	}
}

int vq_cuda_bias_act(vq_cuda_stream s, vq_dtype t, vq_act act, size_t rows, int c, const void *x, const float *bias, const void *sum,
                     const uint8_t *mark, void *y)
{
	BY_TYPE(t, c, walk w = walk_of(rows, c, V, BLOCKS_MAX);
		return launch(bias_act<T, V>, w.grid(), dim3(BLOCK), s, w, (int)act, (const T *)x, bias, (const T *)sum, mark, (T *)y));
}

template <class T, int V> __global__ void __launch_bounds__(BLOCK) column_sums(walk w, const T *x, const uint8_t *mark, float *part)
{
	VQ_SHARED(float, sh, [BLOCK * V]);
	spot at(w);
	float s[V] = {};
	if (at.on)
		for (size_t r0 = at.first; r0 < w.rows; r0 += at.step * UNROLL) {
			pack<T, V> a[UNROLL];
			bool use[UNROLL];
#pragma unroll
			for (int u = 0; u < UNROLL; u++) {
				size_t r = r0 + at.step * (size_t)u;
				use[u] = r < w.rows && (!mark || mark[r] != VQ_CUDA_GAP);
				if (use[u])
					a[u] = get<T, V>(x + r * (size_t)w.c + (size_t)at.col * V);
			}
#pragma unroll
			for (int u = 0; u < UNROLL; u++)
				for (int j = 0; j < V; j++)
					s[j] += use[u] ? to_f32(a[u].v[j]) : 0.f;
		}
	sum_rows<V>(w, at, sh, s);
	if (at.on && at.row == 0)
		for (int j = 0; j < V; j++)
			part[(size_t)blockIdx.x * (size_t)w.c + (size_t)(at.col * V + j)] = s[j];
}

/* 32 channels a block, 8 threads each. */
__global__ void __launch_bounds__(BLOCK) add_columns(int parts, int c, const float *part, float *out)
{
	VQ_SHARED(double, sh, [8][32]);
	int lane = (int)threadIdx.x % 32, group = (int)threadIdx.x / 32, ch = (int)blockIdx.x * 32 + lane;
	double s = 0;
	for (int b = group; b < parts && ch < c; b += 8)
		s += (double)part[(size_t)b * (size_t)c + (size_t)ch];
	sh[group][lane] = s;
	__syncthreads();
	if (group == 0 && ch < c) {
		for (int i = 1; i < 8; i++)
			s += sh[i][lane];
		out[ch] += (float)s;
	}
}

size_t vq_cuda_bias_grad_scratch(size_t rows, int c) { return sizeof(float) * PARTS_MAX * (size_t)c; }

int vq_cuda_bias_grad(vq_cuda_stream s, vq_dtype t, size_t rows, int c, const void *dy, const uint8_t *mark, float *db, void *scratch)
{
	float *part = (float *)scratch;
	int parts = 0;
	BY_TYPE(t, c, walk w = walk_of(rows, c, V, PARTS_MAX); parts = (int)w.x;
		VQ_DO(launch(column_sums<T, V>, w.grid(), dim3(BLOCK), s, w, (const T *)dy, mark, part)));
	return launch(add_columns, dim3((unsigned)(c + 31) / 32), dim3(BLOCK), s, parts, c, (const float *)part, db);
}

/* --- layouts ----------------------------------------------------------------------------------------------------------- */

/* [n][a][b] -> [n][b][a], by tiles of 32 x 32 */
template <class T> __global__ void __launch_bounds__(BLOCK) transpose(int n, int a, int b, const T *x, T *y)
{
	VQ_SHARED(T, tile, [32][33]);
	int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32, a0 = (int)blockIdx.x * 32, b0 = (int)blockIdx.y * 32;
	for (int i = (int)blockIdx.z; i < n; i += (int)gridDim.z) {
		size_t at = (size_t)i * (size_t)a * (size_t)b;
		for (int r = row; r < 32; r += 8)
			if (a0 + r < a && b0 + lane < b)
				tile[r][lane] = x[at + (size_t)(a0 + r) * (size_t)b + (size_t)(b0 + lane)];
		__syncthreads();
		for (int r = row; r < 32; r += 8)
			if (b0 + r < b && a0 + lane < a)
				y[at + (size_t)(b0 + r) * (size_t)a + (size_t)(a0 + lane)] = tile[lane][r];
		__syncthreads();
	}
}

int vq_cuda_flatten(vq_cuda_stream s, vq_dtype t, bool back, int n, int hw, int c, const void *x, void *y)
{
	int a = back ? c : hw, b = back ? hw : c;
	dim3 grid((unsigned)(a + 31) / 32, (unsigned)(b + 31) / 32, (unsigned)VQ_MIN(n, 65535));
	if (grid.y > 65535)
		return cudaErrorInvalidValue;
	if (t == VQ_BF16)
		return launch(transpose<bf16>, grid, dim3(BLOCK), s, n, a, b, (const bf16 *)x, (bf16 *)y);
	return launch(transpose<float>, grid, dim3(BLOCK), s, n, a, b, (const float *)x, (float *)y);
}

/* Element i of a packed weight in the plain one, or -1 for padding. */
static __device__ __forceinline__ int64_t plain_at(const vq_cuda_weight &w, size_t i)
{
	int kk = w.k * w.k, ib = (int)(i % (size_t)w.b_pad), q = (int)(i / (size_t)w.b_pad % (size_t)kk), ia = (int)(i / ((size_t)w.b_pad * (size_t)kk));
	return ia < w.a && ib < w.b ? ((int64_t)ia * w.b + ib) * kk + q : -1;
}

static __device__ __forceinline__ size_t packed_count(const vq_cuda_weight &w) { return (size_t)w.a_pad * (size_t)(w.k * w.k) * (size_t)w.b_pad; }

__global__ void __launch_bounds__(BLOCK) pack_weights(const vq_cuda_weight *table)
{
	vq_cuda_weight w = table[blockIdx.y];
	size_t n = packed_count(w);
	for (size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x; i < n; i += (size_t)gridDim.x * BLOCK) {
		int64_t at = plain_at(w, i);
		float v = at < 0 ? 0.f : w.plain[at];
		if (w.t == VQ_BF16)
			from_f32((bf16 *)w.packed + i, v);
		else
			((float *)w.packed)[i] = v;
	}
}

__global__ void __launch_bounds__(BLOCK) unpack_weights(const vq_cuda_weight *table)
{
	vq_cuda_weight w = table[blockIdx.y];
	size_t n = packed_count(w);
	for (size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x; i < n; i += (size_t)gridDim.x * BLOCK) {
		int64_t at = plain_at(w, i);
		if (at >= 0)
			w.plain[at] += w.t == VQ_BF16 ? to_f32(((const bf16 *)w.packed)[i]) : ((const float *)w.packed)[i];
	}
}

static int each_weight(void (*k)(const vq_cuda_weight *), vq_cuda_stream s, const vq_cuda_weight *table, int n, size_t most)
{
	if (n < 1)
		return 0;
	return n > 65535 ? (int)cudaErrorInvalidValue : launch(k, dim3(blocks_for(most, BLOCK * 4, 1024), (unsigned)n), dim3(BLOCK), s, table);
}

int vq_cuda_pack(vq_cuda_stream s, const vq_cuda_weight *table, int n, size_t most) { return each_weight(pack_weights, s, table, n, most); }
int vq_cuda_unpack_add(vq_cuda_stream s, const vq_cuda_weight *table, int n, size_t most) { return each_weight(unpack_weights, s, table, n, most); }
