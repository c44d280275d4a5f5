/* What frozen networks need beside convolutions: their colours, greatest values of windows, and the distance between features. Backward
 * passes gather, as in spatial.cu. */
#include "lib/cuda/device.h"

static size_t rows_of(vq_cuda_grid g) { return (size_t)g.n * (size_t)g.h * (size_t)g.w; }
static size_t bytes_of(vq_cuda_grid g, int c, vq_dtype t) { return rows_of(g) * (size_t)c * (t == VQ_BF16 ? 2 : 4); }

static __device__ __forceinline__ size_t row_at(const vq_cuda_grid &g, vq_rect r, int y, int x)
{
	return ((size_t)r.n * (size_t)g.h + (size_t)(r.y + y)) * (size_t)g.w + (size_t)(r.x + x);
}

/* --- colours ------------------------------------------------------------------------------------------------------- */

struct colour_spec { int c, first, step; };

template <class A, class B>
__global__ void __launch_bounds__(BLOCK) colours(size_t rows, colour_spec s, const uint8_t *mark, const A *x, const float *mul, const float *add, B *y)
{
	for (size_t r = (size_t)blockIdx.x * BLOCK + threadIdx.x; r < rows; r += (size_t)gridDim.x * BLOCK)
		for (int i = 0; i < 3; i++)
			from_f32(y + 3 * r + i, mark[r] == VQ_CUDA_GAP ? 0.f : to_f32(x[r * (size_t)s.c + (size_t)(s.first + s.step * i)]) * mul[i] + add[i]);
}

template <class A, class B>
__global__ void __launch_bounds__(BLOCK) colours_bwd(size_t rows, colour_spec s, const uint8_t *mark, const A *dy, const float *mul, B *dx)
{
	for (size_t r = (size_t)blockIdx.x * BLOCK + threadIdx.x; r < rows; r += (size_t)gridDim.x * BLOCK)
		for (int ch = 0; ch < s.c; ch++) {
			float sum = 0;
			for (int i = 0; i < 3; i++)
				sum += mark[r] != VQ_CUDA_GAP && ch == s.first + s.step * i ? to_f32(dy[3 * r + (size_t)i]) * mul[i] : 0.f;
			from_f32(dx + r * (size_t)s.c + (size_t)ch, sum);
		}
}

template <class A, class B>
static int colours_as(vq_cuda_stream s, bool back, vq_cuda_grid g, colour_spec c, const void *x, const float *mul, const float *add, void *y)
{
	size_t rows = rows_of(g);
	dim3 grid(blocks_for(rows, BLOCK, BLOCKS_MAX));
	if (back)
		return launch(colours_bwd<A, B>, grid, dim3(BLOCK), s, rows, c, (const uint8_t *)g.mark, (const A *)x, mul, (B *)y);
	return launch(colours<A, B>, grid, dim3(BLOCK), s, rows, c, (const uint8_t *)g.mark, (const A *)x, mul, add, (B *)y);
}

static int colours_of(vq_cuda_stream s, bool back, vq_cuda_grid g, colour_spec c, vq_dtype from, vq_dtype to, const void *x, const float *mul, const float *add, void *y)
{
	if (from == VQ_BF16)
		return to == VQ_BF16 ? colours_as<bf16, bf16>(s, back, g, c, x, mul, add, y) : colours_as<bf16, float>(s, back, g, c, x, mul, add, y);
	return to == VQ_BF16 ? colours_as<float, bf16>(s, back, g, c, x, mul, add, y) : colours_as<float, float>(s, back, g, c, x, mul, add, y);
}

int vq_cuda_colours(vq_cuda_stream s, vq_cuda_grid g, int c, int first, int step, vq_dtype from, const void *x, const float *mul, const float *add, vq_dtype to, void *y)
{
	return colours_of(s, false, g, colour_spec{ c, first, step }, from, to, x, mul, add, y);
}

int vq_cuda_colours_bwd(vq_cuda_stream s, vq_cuda_grid g, int c, int first, int step, vq_dtype from, const void *dy, const float *mul, vq_dtype to, void *dx)
{
	return colours_of(s, true, g, colour_spec{ c, first, step }, from, to, dy, mul, NULL, dx);
}

/* --- greatest values ----------------------------------------------------------------------------------------------- */

/* Blocks (item, share): a thread a pack of a position of the item's extent on the grid that is written. */
template <class T, int V>
__global__ void __launch_bounds__(BLOCK) maxpool(const vq_cuda_step *step, vq_cuda_grid gx, vq_cuda_grid gy, int k, int s, int cols, int c, const T *x, T *y)
{
	int item = (int)blockIdx.x;
	if (item >= step->items)
		return;
	vq_rect in = gx.places[item].extent, out = gy.places[item].extent;
	unsigned n = out.h > 0 && out.w > 0 ? (unsigned)(out.h * out.w) * (unsigned)cols : 0, width = (unsigned)VQ_MAX(out.w, 1);
	for (unsigned i = blockIdx.y * BLOCK + threadIdx.x; i < n; i += gridDim.y * BLOCK) {
		int col = (int)(i % (unsigned)cols), oy = (int)(i / (unsigned)cols / width), ox = (int)(i / (unsigned)cols % width);
		float top[V];
		for (int j = 0; j < V; j++)
			top[j] = -INFINITY;
		for (int yy = oy * s; yy < VQ_MIN(oy * s + k, in.h); yy++)
			for (int xx = ox * s; xx < VQ_MIN(ox * s + k, in.w); xx++) {
				pack<T, V> a = get<T, V>(x + row_at(gx, in, yy, xx) * (size_t)c + (size_t)col * V);
				for (int j = 0; j < V; j++) {
					float v = to_f32(a.v[j]);
					top[j] = v > top[j] || v != v ? v : top[j];
				}
			}
		pack<T, V> o;
		for (int j = 0; j < V; j++)
			from_f32(&o.v[j], top[j]);
		put<T, V>(y + row_at(gy, out, oy, ox) * (size_t)c + (size_t)col * V, o);
	}
}

/* A position has a window's gradient when it holds the greatest value and no position before it in the window does. */
template <class T, int V>
__global__ void __launch_bounds__(BLOCK) maxpool_bwd(const vq_cuda_step *step, vq_cuda_grid gx, vq_cuda_grid gy, int k, int s, int cols, int c, const T *x, const T *y,
                                                     const T *dy, T *dx)
{
	int item = (int)blockIdx.x;
	if (item >= step->items)
		return;
	vq_rect in = gx.places[item].extent, out = gy.places[item].extent;
	unsigned n = in.h > 0 && in.w > 0 ? (unsigned)(in.h * in.w) * (unsigned)cols : 0, width = (unsigned)VQ_MAX(in.w, 1);
	for (unsigned i = blockIdx.y * BLOCK + threadIdx.x; i < n; i += gridDim.y * BLOCK) {
		int col = (int)(i % (unsigned)cols), py = (int)(i / (unsigned)cols / width), px = (int)(i / (unsigned)cols % width);
		float sum[V] = {};
		pack<T, V> own = get<T, V>(x + row_at(gx, in, py, px) * (size_t)c + (size_t)col * V), o;
		for (int oy = py < k ? 0 : (py - k) / s + 1; oy <= VQ_MIN(py / s, out.h - 1); oy++)
			for (int ox = px < k ? 0 : (px - k) / s + 1; ox <= VQ_MIN(px / s, out.w - 1); ox++) {
				size_t at = row_at(gy, out, oy, ox) * (size_t)c + (size_t)col * V;
				pack<T, V> top = get<T, V>(y + at), g = get<T, V>(dy + at);
				unsigned mine = 0; /* a bit a channel */
				for (int j = 0; j < V; j++)
					mine |= (unsigned)(to_f32(own.v[j]) == to_f32(top.v[j])) << j;
				for (int yy = oy * s; yy <= py; yy++)
					for (int xx = ox * s; xx < (yy < py ? VQ_MIN(ox * s + k, in.w) : px); xx++) {
						pack<T, V> a = get<T, V>(x + row_at(gx, in, yy, xx) * (size_t)c + (size_t)col * V);
						for (int j = 0; j < V; j++)
							mine &= ~((unsigned)(to_f32(a.v[j]) == to_f32(top.v[j])) << j);
					}
				for (int j = 0; j < V; j++)
					sum[j] += mine >> j & 1 ? to_f32(g.v[j]) : 0.f;
			}
		for (int j = 0; j < V; j++)
			from_f32(&o.v[j], sum[j]);
		put<T, V>(dx + row_at(gx, in, py, px) * (size_t)c + (size_t)col * V, o);
	}
}

/* Elements of one item are counted in 32 bits, with a turn of all threads to spare. */
static bool countable(vq_cuda_grid g, int c) { return (uint64_t)g.h * (uint64_t)g.w * (uint64_t)c < (uint64_t)1 << 31; }

static dim3 share_grid(vq_cuda_grid g, int cols) { return dim3((unsigned)g.items_max, blocks_for((size_t)g.h * (size_t)g.w * (size_t)cols, BLOCK * 4, 64)); }

int vq_cuda_maxpool(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid gx, vq_cuda_grid gy, int k, int stride, int c, const void *x, void *y)
{
	if (!countable(gy, c))
		return cudaErrorInvalidValue;
	VQ_DO(zero(s, y, bytes_of(gy, c, t)));
	BY_TYPE(t, c, return launch(maxpool<T, V>, share_grid(gy, c / V), dim3(BLOCK), s, step, gx, gy, k, stride, c / V, c, (const T *)x, (T *)y));
}

int vq_cuda_maxpool_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid gx, vq_cuda_grid gy, int k, int stride, int c, const void *x, const void *y,
                        const void *dy, void *dx)
{
	if (!countable(gx, c))
		return cudaErrorInvalidValue;
	VQ_DO(zero(s, dx, bytes_of(gx, c, t)));
	BY_TYPE(t, c, return launch(maxpool_bwd<T, V>, share_grid(gx, c / V), dim3(BLOCK), s, step, gx, gy, k, stride, c / V, c, (const T *)x, (const T *)y, (const T *)dy,
		(T *)dx));
}

/* --- the distance -------------------------------------------------------------------------------------------------- */

enum { SHARES = 32, WARPS = BLOCK / 32 };

struct feature_spec { int c, unit, scale; float a; };

static __device__ __forceinline__ float warp_sum(float v)
{
	for (int m = 16; m; m /= 2)
		v += __shfl_xor_sync(0xffffffffu, v, m);
	return v;
}

/* A warp a position. The distance there, in every lane; df unless NULL. scale: what goes into the gradient. */
template <class T>
static __device__ float position_plain(const feature_spec &s, int lane, float scale, const T *f, const T *t, T *df)
{
	float sum = 0, k = 2 * scale / (float)s.c;
	for (int i = lane; i < s.c; i += 32) {
		float d = to_f32(f[i]) - to_f32(t[i]);
		sum += d * d;
		if (df)
			from_f32(df + i, k * d);
	}
	return warp_sum(sum) / (float)s.c;
}

/* Where all features are 0 there is no gradient, though the norm has a kink there. */
template <class T>
static __device__ float position_unit(const feature_spec &s, int lane, float scale, const T *f, const T *t, const float *w, T *df)
{
	const float epsilon = 1e-10f; /* LPIPS's, added to the norms */
	float ff = 0, tt = 0, sum = 0, along = 0;
	for (int i = lane; i < s.c; i += 32) {
		float x = to_f32(f[i]), y = to_f32(t[i]);
		ff += x * x;
		tt += y * y;
	}
	float length = sqrtf(warp_sum(ff)), a = 1 / (length + epsilon), b = 1 / (sqrtf(warp_sum(tt)) + epsilon);
	for (int i = lane; i < s.c; i += 32) {
		float x = to_f32(f[i]), d = x * a - to_f32(t[i]) * b, wd = w ? w[i] * d : d;
		sum += wd * d;
		along += wd * x;
	}
	sum = warp_sum(sum);
	along = warp_sum(along);
	float k = length > 0 ? 2 * scale * a : 0.f, back = length > 0 ? 2 * scale * along * a * a / length : 0.f;
	for (int i = lane; i < s.c && df; i += 32) {
		float x = to_f32(f[i]);
		from_f32(df + i, k * (w ? w[i] : 1.f) * (x * a - to_f32(t[i]) * b) - back * x);
	}
	return sum;
}

/* Blocks (item, share): the warps of an item's blocks take its valid positions by turns. */
template <class T>
__global__ void __launch_bounds__(BLOCK) distances(const vq_cuda_step *step, vq_cuda_grid g, feature_spec s, const T *f, const T *t, const float *w, T *df, double *part)
{
	int item = (int)blockIdx.x, lane = (int)threadIdx.x % 32;
	vq_rect r = {};
	if (item < step->items)
		r = g.places[item].valid;
	int n = r.h > 0 && r.w > 0 ? r.h * r.w : 0;
	double each = n ? (double)s.a / (double)n : 0.0;
	float scale = (float)((double)scale_of(step, s.scale) * each);
	double sum = 0;
	for (int i = (int)(blockIdx.y * WARPS + threadIdx.x / 32); i < n; i += (int)gridDim.y * WARPS) {
		size_t at = row_at(g, r, i / r.w, i % r.w) * (size_t)s.c;
		float d;
		if (s.unit)
			d = position_unit<T>(s, lane, scale, f + at, t + at, w, df ? df + at : NULL);
		else
			d = position_plain<T>(s, lane, scale, f + at, t + at, df ? df + at : NULL);
		sum += lane == 0 ? (double)d : 0.0;
	}
	sum = block_sum(sum);
	if (threadIdx.x == 0)
		part[(size_t)item * gridDim.y + blockIdx.y] = sum * each;
}

size_t vq_cuda_features_scratch(vq_cuda_grid g) { return sizeof(double) * SHARES * (size_t)g.items_max; }

int vq_cuda_features(vq_cuda_stream s, const vq_cuda_step *step, vq_dtype t, vq_cuda_grid g, int c, bool unit, float a, int scale, const void *f, const void *target,
                     const float *weight, void *df, double *scalar, void *scratch)
{
	feature_spec spec = { c, unit, scale, a };
	double *part = (double *)scratch;
	dim3 grid((unsigned)g.items_max, blocks_for((size_t)g.h * (size_t)g.w, WARPS, SHARES));
	if (df)
		VQ_DO(zero(s, df, bytes_of(g, c, t)));
	if (t == VQ_BF16)
		VQ_DO(launch(distances<bf16>, grid, dim3(BLOCK), s, step, g, spec, (const bf16 *)f, (const bf16 *)target, weight, (bf16 *)df, part));
	else
		VQ_DO(launch(distances<float>, grid, dim3(BLOCK), s, step, g, spec, (const float *)f, (const float *)target, weight, (float *)df, part));
	return launch(sum_parts<double>, dim3(1), dim3(BLOCK), s, (int)(grid.x * grid.y), (const double *)part, scalar);
}
