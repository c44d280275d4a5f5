/* Attention without its matrix: scores are made a tile of 32 x 32 at a time. A first pass finds each query's largest score and the sum
 * of its softmax; every result (o, dq, dk, dv) is then rows of weights, made again tile by tile, times rows of a value. */
#include "lib/cuda/device.h"

enum { SIDE = 32 /* of a tile */, WIDE = 128 /* channels a block makes */ };
enum { MAKE_O, MAKE_DQ, MAKE_DK, MAKE_DV };

/* What the first pass leaves: one entry a position of the grid. */
struct softmaxes { float *top, *inverse, *dot; };

static softmaxes softmaxes_of(void *scratch, vq_cuda_grid g)
{
	size_t n = (size_t)g.n * (size_t)g.h * (size_t)g.w;
	float *f = (float *)scratch;
	return softmaxes{ f, f + n, f + 2 * n };
}

size_t vq_cuda_attention_scratch(vq_cuda_attention_spec n) { return 3 * sizeof(float) * (size_t)n.g.n * (size_t)n.g.h * (size_t)n.g.w; }

struct tile { int64_t at[SIDE]; }; /* positions on the grid, -1 past the end */

static __device__ __forceinline__ void fill_tile(tile *t, const vq_cuda_grid &g, vq_rect r, int from)
{
	if (threadIdx.x < SIDE) {
		int i = from + (int)threadIdx.x;
		t->at[threadIdx.x] = i < r.h * r.w ? ((int64_t)r.n * g.h + r.y + i / r.w) * g.w + r.x + i % r.w : -1;
	}
}

struct halves { float a[SIDE][SIDE + 1], b[SIDE][SIDE + 1]; };

/* acc[j] += row . col: row tid / 8 of tile ra in A, column tid % 8 + 8 j of tile rb in B. */
template <class T> static __device__ __forceinline__ void dots(halves *h, const tile *ra, const T *A, const tile *rb, const T *B, int width, float *acc)
{
	int t = (int)threadIdx.x, lane = t % SIDE;
	for (int k0 = 0; k0 < width; k0 += SIDE) {
		__syncthreads();
		for (int r = t / SIDE; r < SIDE; r += BLOCK / SIDE) {
			bool in = k0 + lane < width;
			h->a[r][lane] = in && ra->at[r] >= 0 ? to_f32(A[(size_t)ra->at[r] * (size_t)width + (size_t)(k0 + lane)]) : 0.f;
			h->b[r][lane] = in && rb->at[r] >= 0 ? to_f32(B[(size_t)rb->at[r] * (size_t)width + (size_t)(k0 + lane)]) : 0.f;
		}
		__syncthreads();
		for (int k = 0; k < SIDE; k++)
			for (int j = 0; j < 4; j++)
				acc[j] += h->a[t / 8][k] * h->b[t % 8 + 8 * j][k];
	}
}

static __device__ __forceinline__ bool item_rects(const vq_cuda_step *step, const vq_cuda_grid &g, vq_rect *extent, vq_rect *valid)
{
	if ((int)blockIdx.x >= step->items)
		return false;
	*extent = g.places[blockIdx.x].extent;
	*valid = g.places[blockIdx.x].valid;
	return extent->h > 0 && extent->w > 0 && valid->h > 0 && valid->w > 0;
}

/* Blocks (item, tile of queries). With dy, also the dot product of output and gradient: what softmax's Jacobian takes off every row. */
template <class T>
__global__ void __launch_bounds__(BLOCK) find_softmaxes(const vq_cuda_step *step, vq_cuda_attention_spec n, const T *q, const T *k, const T *o, const T *dy, softmaxes s)
{
	VQ_SHARED(halves, h, [1]);
	VQ_SHARED(tile, rows, [1]);
	VQ_SHARED(tile, cols, [1]);
	vq_rect e, v;
	int t = (int)threadIdx.x, first = (int)blockIdx.y * SIDE;
	if (!item_rects(step, n.g, &e, &v) || first >= e.h * e.w)
		return;
	fill_tile(rows, n.g, e, first);
	float top = -INFINITY, sum = 0;
	for (int c0 = 0; c0 < v.h * v.w; c0 += SIDE) {
		float acc[4] = {};
		__syncthreads();
		fill_tile(cols, n.g, v, c0);
		__syncthreads();
		dots<T>(h, rows, q, cols, k, n.d, acc);
		for (int j = 0; j < 4; j++) {
			if (cols->at[t % 8 + 8 * j] < 0)
				continue;
			if (acc[j] > top) {
				sum = sum * expf(top - acc[j]) + 1;
				top = acc[j];
			} else {
				sum += expf(acc[j] - top);
			}
		}
	}
	int64_t at = rows->at[t / 8];
	float all = top, dot = 0;
	for (int m = 4; m; m /= 2)
		all = fmaxf(all, __shfl_xor_sync(0xffffffffu, all, m));
	sum *= expf(top - all);
	for (int m = 4; m; m /= 2)
		sum += __shfl_xor_sync(0xffffffffu, sum, m);
	for (int c = t % 8; dy && at >= 0 && c < n.c; c += 8)
		dot += to_f32(o[(size_t)at * (size_t)n.c + (size_t)c]) * to_f32(dy[(size_t)at * (size_t)n.c + (size_t)c]);
	for (int m = 4; m; m /= 2)
		dot += __shfl_xor_sync(0xffffffffu, dot, m);
	if (t % 8 == 0 && at >= 0) {
		s.top[at] = all;
		s.inverse[at] = 1 / sum;
		s.dot[at] = dot;
	}
}

/* Blocks (item, tile of rows, WIDE channels): out[row] = sum over columns of weight(row, column) x[column]. Rows are queries for o and dq,
 * keys for dk and dv. */
template <class T, int MAKE>
__global__ void __launch_bounds__(BLOCK) weighted(const vq_cuda_step *step, vq_cuda_attention_spec n, const T *q, const T *k, const T *v, const T *dy, softmaxes s, T *out)
{
	VQ_SHARED(halves, h, [1]);
	VQ_SHARED(tile, rows, [1]);
	VQ_SHARED(tile, cols, [1]);
	VQ_SHARED(float, weight, [SIDE][SIDE + 1]);
	VQ_SHARED(float, x, [SIDE][WIDE]);
	constexpr bool by_query = MAKE == MAKE_O || MAKE == MAKE_DQ, slope = MAKE == MAKE_DQ || MAKE == MAKE_DK;
	int width = slope ? n.d : n.c, t = (int)threadIdx.x, first = (int)blockIdx.y * SIDE, e0 = (int)blockIdx.z * WIDE;
	const T *from = MAKE == MAKE_O ? v : MAKE == MAKE_DQ ? k : MAKE == MAKE_DK ? q : dy;
	vq_rect extent, valid;
	if (!item_rects(step, n.g, &extent, &valid))
		return;
	vq_rect mine = by_query ? extent : valid, other = by_query ? valid : extent;
	if (first >= mine.h * mine.w)
		return;
	fill_tile(rows, n.g, mine, first);
	float sum[4][4] = {};
	for (int c0 = 0; c0 < other.h * other.w; c0 += SIDE) {
		float score[4] = {}, gain[4] = {};
		__syncthreads();
		fill_tile(cols, n.g, other, c0);
		__syncthreads();
		dots<T>(h, rows, by_query ? q : k, cols, by_query ? k : q, n.d, score);
		if (slope)
			dots<T>(h, rows, by_query ? dy : v, cols, by_query ? v : dy, n.c, gain);
		int64_t row = rows->at[t / 8];
		for (int j = 0; j < 4; j++) {
			int64_t col = cols->at[t % 8 + 8 * j], query = by_query ? row : col;
			float w = 0;
			if (row >= 0 && col >= 0) {
				w = expf(score[j] - s.top[query]) * s.inverse[query];
				if (slope)
					w *= gain[j] - s.dot[query];
			}
			weight[t / 8][t % 8 + 8 * j] = w;
		}
		for (int r = t / SIDE; r < SIDE; r += BLOCK / SIDE)
			for (int e = t % SIDE; e < WIDE; e += SIDE)
				x[r][e] = cols->at[r] >= 0 && e0 + e < width ? to_f32(from[(size_t)cols->at[r] * (size_t)width + (size_t)(e0 + e)]) : 0.f;
		__syncthreads();
		for (int c = 0; c < SIDE; c++)
			for (int i = 0; i < 4; i++)
				for (int j = 0; j < 4; j++)
					sum[i][j] += weight[t / SIDE + 8 * i][c] * x[c][t % SIDE + SIDE * j];
	}
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < 4; j++) {
			int64_t at = rows->at[t / SIDE + 8 * i];
			int e = e0 + t % SIDE + SIDE * j;
			if (at >= 0 && e < width)
				from_f32(out + (size_t)at * (size_t)width + (size_t)e, sum[i][j]);
		}
}

static dim3 grid_for(const vq_cuda_attention_spec &n, int width)
{
	return dim3((unsigned)n.g.items_max, (unsigned)((n.g.h * n.g.w + SIDE - 1) / SIDE), (unsigned)((width + WIDE - 1) / WIDE));
}

template <class T, int MAKE>
static int make(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_attention_spec n, const void *q, const void *k, const void *v, const void *dy, softmaxes m, void *out)
{
	int width = MAKE == MAKE_DQ || MAKE == MAKE_DK ? n.d : n.c;
	VQ_DO(zero(s, out, sizeof(T) * (size_t)width * (size_t)n.g.n * (size_t)n.g.h * (size_t)n.g.w));
	return launch(weighted<T, MAKE>, grid_for(n, width), dim3(BLOCK), s, step, n, (const T *)q, (const T *)k, (const T *)v, (const T *)dy, m, (T *)out);
}

template <class T>
static int attend(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_attention_spec n, const void *q, const void *k, const void *v, void *o, softmaxes m)
{
	VQ_DO(launch(find_softmaxes<T>, grid_for(n, 1), dim3(BLOCK), s, step, n, (const T *)q, (const T *)k, (const T *)NULL, (const T *)NULL, m));
	return make<T, MAKE_O>(s, step, n, q, k, v, NULL, m, o);
}

template <class T>
static int attend_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_attention_spec n, const void *q, const void *k, const void *v, const void *o,
                      const void *dy, void *dq, void *dk, void *dv, softmaxes m)
{
	VQ_DO(launch(find_softmaxes<T>, grid_for(n, 1), dim3(BLOCK), s, step, n, (const T *)q, (const T *)k, (const T *)o, (const T *)dy, m));
	VQ_DO((make<T, MAKE_DQ>(s, step, n, q, k, v, dy, m, dq)));
	VQ_DO((make<T, MAKE_DK>(s, step, n, q, k, v, dy, m, dk)));
	return make<T, MAKE_DV>(s, step, n, q, k, v, dy, m, dv);
}

int vq_cuda_attention(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_attention_spec n, const void *q, const void *k, const void *v, void *o, void *scratch)
{
	softmaxes m = softmaxes_of(scratch, n.g);
	return n.t == VQ_BF16 ? attend<bf16>(s, step, n, q, k, v, o, m) : attend<float>(s, step, n, q, k, v, o, m);
}

int vq_cuda_attention_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_attention_spec n, const void *q, const void *k, const void *v, const void *o,
                          const void *d_o, void *dq, void *dk, void *dv, void *scratch)
{
	softmaxes m = softmaxes_of(scratch, n.g);
	return n.t == VQ_BF16 ? attend_bwd<bf16>(s, step, n, q, k, v, o, d_o, dq, dk, dv, m) : attend_bwd<float>(s, step, n, q, k, v, o, d_o, dq, dk, dv, m);
}
