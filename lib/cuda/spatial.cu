/* Pooling and resizing between the rectangles of items. Backward passes gather: what a position gets is summed by the thread that writes it. */
#include "lib/cuda/device.h"

static __device__ __forceinline__ size_t index_of(const vq_cuda_grid &g, int n, int y, int x, int c)
{
	return (((size_t)n * (size_t)g.h + (size_t)y) * (size_t)g.w + (size_t)x) * (size_t)c;
}

static size_t bytes_of(vq_cuda_grid g, int c, vq_dtype t) { return (size_t)g.n * (size_t)g.h * (size_t)g.w * (size_t)c * (t == VQ_BF16 ? 2 : 4); }

/* A block a bin and item: PyTorch's bins run from floor(i n / p) up to ceil((i+1) n / p). */
template <class T, int V> __global__ void __launch_bounds__(BLOCK) pool(const vq_cuda_step *step, vq_cuda_grid g, int p, walk w, const T *x, T *y)
{
	VQ_SHARED(float, sh, [BLOCK * V]);
	int item = (int)blockIdx.x, by = (int)blockIdx.y / p, bx = (int)blockIdx.y % p;
	vq_rect r = {};
	if (item < step->items)
		r = g.places[item].extent;
	bool any = r.h > 0 && r.w > 0;
	int y0 = by * r.h / p, y1 = ((by + 1) * r.h + p - 1) / p, x0 = bx * r.w / p, x1 = ((bx + 1) * r.w + p - 1) / p;
	int width = any ? x1 - x0 : 1, count = any ? (y1 - y0) * width : 0, row = (int)threadIdx.x / w.lanes;
	for (int c0 = 0; c0 < w.cols; c0 += w.lanes) {
		int col = c0 + (int)threadIdx.x % w.lanes;
		float s[V] = {};
		if (row < w.per && col < w.cols)
			for (int i = row; i < count; i += w.per) {
				pack<T, V> a = get<T, V>(x + index_of(g, r.n, r.y + y0 + i / width, r.x + x0 + i % width, w.c) + (size_t)col * V);
				for (int j = 0; j < V; j++)
					s[j] += to_f32(a.v[j]);
			}
		for (int j = 0; j < V; j++)
			sh[j * BLOCK + (int)threadIdx.x] = s[j];
		__syncthreads();
		if (row == 0 && col < w.cols) {
			pack<T, V> o;
			for (int j = 0; j < V; j++) {
				for (int i = 1; i < w.per; i++)
					s[j] += sh[j * BLOCK + (int)threadIdx.x + i * w.lanes];
				from_f32(&o.v[j], count ? s[j] / (float)count : 0.f);
			}
			put<T, V>(y + ((size_t)item * (size_t)(p * p) + blockIdx.y) * (size_t)w.c + (size_t)col * V, o);
		}
		__syncthreads();
	}
}

int vq_cuda_pool(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid g, int p, int c, const void *x, void *y)
{
	if (p < 1 || p > 255)
		return cudaErrorInvalidValue;
	dim3 grid((unsigned)g.items_max, (unsigned)(p * p));
	BY_TYPE(t, c, walk w = walk_of(1, c, V, 1); return launch(pool<T, V>, grid, dim3(BLOCK), s, step, g, p, w, (const T *)x, (T *)y));
}

/* Blocks (item, share): a thread a pack of a position of the item's extent on the grid that is written. */
template <class T, int V> __global__ void __launch_bounds__(BLOCK) pool_bwd(const vq_cuda_step *step, vq_cuda_grid g, int p, walk w, const T *dy, T *dx)
{
	int item = (int)blockIdx.x;
	if (item >= step->items)
		return;
	vq_rect r = g.places[item].extent;
	int64_t n = (int64_t)r.h * r.w * w.cols;
	for (int64_t i = (int64_t)blockIdx.y * BLOCK + threadIdx.x; i < n; i += (int64_t)gridDim.y * BLOCK) {
		int col = (int)(i % w.cols), py = (int)(i / w.cols / r.w), px = (int)(i / w.cols % r.w);
		float s[V] = {};
		/* the bins that hold a position: many where the extent is smaller than p */
		for (int by = py * p / r.h; by <= ((py + 1) * p - 1) / r.h; by++)
			for (int bx = px * p / r.w; bx <= ((px + 1) * p - 1) / r.w; bx++) {
				int bh = ((by + 1) * r.h + p - 1) / p - by * r.h / p, bw = ((bx + 1) * r.w + p - 1) / p - bx * r.w / p;
				float part = 1.f / (float)(bh * bw);
				pack<T, V> a = get<T, V>(dy + ((size_t)item * (size_t)(p * p) + (size_t)(by * p + bx)) * (size_t)w.c + (size_t)col * V);
				for (int j = 0; j < V; j++)
					s[j] += part * to_f32(a.v[j]);
			}
		pack<T, V> o;
		for (int j = 0; j < V; j++)
			from_f32(&o.v[j], s[j]);
		put<T, V>(dx + index_of(g, r.n, r.y + py, r.x + px, w.c) + (size_t)col * V, o);
	}
}

static dim3 share_grid(vq_cuda_grid g, int cols) { return dim3((unsigned)g.items_max, blocks_for((size_t)g.h * (size_t)g.w * (size_t)cols, BLOCK * 4, 64)); }

int vq_cuda_pool_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid g, int p, int c, const void *dy, void *dx)
{
	VQ_DO(zero(s, dx, bytes_of(g, c, t)));
	BY_TYPE(t, c, walk w = walk_of(1, c, V, 1); return launch(pool_bwd<T, V>, share_grid(g, w.cols), dim3(BLOCK), s, step, g, p, w, (const T *)dy, (T *)dx));
}

/* Where output position o of `to` reads along an axis of `from` positions: two neighbours and the weight of the second. */
static __device__ __forceinline__ void taps(int o, int from, int to, int *i0, int *i1, float *w)
{
	float s = fmaxf(((float)o + .5f) * (float)from / (float)to - .5f, 0.f);
	*i0 = VQ_MIN((int)s, from - 1);
	*i1 = VQ_MIN(*i0 + 1, from - 1);
	*w = s - (float)*i0;
}

template <class T, int V>
__global__ void __launch_bounds__(BLOCK) resize(const vq_cuda_step *step, vq_cuda_grid ga, vq_cuda_grid gb, walk w, const T *x, T *y)
{
	int item = (int)blockIdx.x;
	if (item >= step->items)
		return;
	vq_rect a = ga.places[item].extent, b = gb.places[item].extent;
	int64_t n = a.h > 0 && a.w > 0 ? (int64_t)b.h * b.w * w.cols : 0;
	for (int64_t i = (int64_t)blockIdx.y * BLOCK + threadIdx.x; i < n; i += (int64_t)gridDim.y * BLOCK) {
		int col = (int)(i % w.cols), py = (int)(i / w.cols / b.w), px = (int)(i / w.cols % b.w), iy[2], ix[2];
		float wy, wx, s[V] = {};
		taps(py, a.h, b.h, &iy[0], &iy[1], &wy);
		taps(px, a.w, b.w, &ix[0], &ix[1], &wx);
		pack<T, V> v[4], o;
#pragma unroll
		for (int k = 0; k < 4; k++)
			v[k] = get<T, V>(x + index_of(ga, a.n, a.y + iy[k / 2], a.x + ix[k % 2], w.c) + (size_t)col * V);
		float k4[4] = { (1 - wy) * (1 - wx), (1 - wy) * wx, wy * (1 - wx), wy * wx };
#pragma unroll
		for (int k = 0; k < 4; k++)
			for (int j = 0; j < V; j++)
				s[j] += k4[k] * to_f32(v[k].v[j]);
		for (int j = 0; j < V; j++)
			from_f32(&o.v[j], s[j]);
		put<T, V>(y + index_of(gb, b.n, b.y + py, b.x + px, w.c) + (size_t)col * V, o);
	}
}

int vq_cuda_resize(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid a, vq_cuda_grid b, int c, const void *x, void *y)
{
	VQ_DO(zero(s, y, bytes_of(b, c, t)));
	BY_TYPE(t, c, walk w = walk_of(1, c, V, 1); return launch(resize<T, V>, share_grid(b, w.cols), dim3(BLOCK), s, step, a, b, w, (const T *)x, (T *)y));
}

/* The outputs that may read position i: a little more than the interval in which taps() yields i; the weight of the others is 0. */
static __device__ __forceinline__ void readers(int i, int from, int to, int *lo, int *hi)
{
	float k = (float)to / (float)from;
	*lo = i == 0 ? 0 : VQ_MAX((int)floorf(((float)i - .5f) * k - .5f) - 1, 0);
	*hi = i == from - 1 ? to - 1 : VQ_MIN((int)ceilf(((float)i + 1.5f) * k - .5f) + 1, to - 1);
}

static __device__ __forceinline__ float weight_of(int i, int o, int from, int to)
{
	int i0, i1;
	float w;
	taps(o, from, to, &i0, &i1, &w);
	return (i0 == i ? 1 - w : 0.f) + (i1 == i ? w : 0.f);
}

template <class T, int V>
__global__ void __launch_bounds__(BLOCK) resize_bwd(const vq_cuda_step *step, vq_cuda_grid ga, vq_cuda_grid gb, walk w, const T *dy, T *dx)
{
	int item = (int)blockIdx.x;
	if (item >= step->items)
		return;
	vq_rect a = ga.places[item].extent, b = gb.places[item].extent;
	int64_t n = b.h > 0 && b.w > 0 ? (int64_t)a.h * a.w * w.cols : 0;
	for (int64_t i = (int64_t)blockIdx.y * BLOCK + threadIdx.x; i < n; i += (int64_t)gridDim.y * BLOCK) {
		int col = (int)(i % w.cols), py = (int)(i / w.cols / a.w), px = (int)(i / w.cols % a.w), y0, y1, x0, x1;
		float s[V] = {};
		readers(py, a.h, b.h, &y0, &y1);
		readers(px, a.w, b.w, &x0, &x1);
		for (int yy = y0; yy <= y1; yy++) {
			float wy = weight_of(py, yy, a.h, b.h);
			for (int xx = x0; xx <= x1 && wy > 0; xx++) {
				float k = wy * weight_of(px, xx, a.w, b.w);
				if (!(k > 0))
					continue;
				pack<T, V> v = get<T, V>(dy + index_of(gb, b.n, b.y + yy, b.x + xx, w.c) + (size_t)col * V);
				for (int j = 0; j < V; j++)
					s[j] += k * to_f32(v.v[j]);
			}
		}
		pack<T, V> o;
		for (int j = 0; j < V; j++)
			from_f32(&o.v[j], s[j]);
		put<T, V>(dx + index_of(ga, a.n, a.y + py, a.x + px, w.c) + (size_t)col * V, o);
	}
}

int vq_cuda_resize_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid a, vq_cuda_grid b, int c, const void *dy, void *dx)
{
	VQ_DO(zero(s, dx, bytes_of(a, c, t)));
	BY_TYPE(t, c, walk w = walk_of(1, c, V, 1); return launch(resize_bwd<T, V>, share_grid(a, w.cols), dim3(BLOCK), s, step, a, b, w, (const T *)dy, (T *)dx));
}
