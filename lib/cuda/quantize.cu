/* The quantiser: nearest rows without a matrix of distances, lookup, gradients, and sums by code in a fixed order. */
#include "lib/cuda/device.h"

static size_t rows_of(vq_cuda_grid g) { return (size_t)g.n * (size_t)g.h * (size_t)g.w; }

enum { TILE = 64 /* rows, and codes at a time */, DEPTH = 16 };

/* The mean row, which distances are taken from (lib/cpu/quantize.c says why): 32 columns a block, each by 8 threads. */
__global__ void __launch_bounds__(BLOCK) middle_row(int k, int d, const float *book, float *middle)
{
	VQ_SHARED(double, part, [BLOCK]);
	int t = (int)threadIdx.x, column = (int)blockIdx.x * 32 + t % 32;
	double s = 0;
	for (int row = t / 32; row < k && column < d; row += BLOCK / 32)
		s += (double)book[(size_t)row * (size_t)d + (size_t)column];
	part[t] = s;
	__syncthreads();
	if (t >= 32 || column >= d)
		return;
	for (int i = t + 32; i < BLOCK; i += 32)
		s += part[i];
	middle[column] = s - s == 0 ? (float)(s / (double)k) : 0.f; /* 0 where it is not finite */
}

/* |e|^2 / 2 about the middle, summed in f64 as the CPU backend does */
__global__ void __launch_bounds__(BLOCK) half_norms(int k, int d, const float *book, const float *middle, float *norms)
{
	int i = (int)(blockIdx.x * BLOCK + threadIdx.x);
	if (i >= k)
		return;
	double s = 0;
	for (int j = 0; j < d; j++) {
		float e = book[(size_t)i * (size_t)d + (size_t)j] - middle[j];
		s += (double)e * (double)e;
	}
	norms[i] = (float)(s / 2);
}

/* 16 x 16 threads, each with 4 rows by 4 codes: |e|^2/2 - z.e about the middle, taken off in the order of the channels. */
template <class Q>
__global__ void __launch_bounds__(BLOCK) nearest(vq_cuda_book b, size_t rows, const float *z, const float *book, const float *middle, const float *norms, Q *q,
                                                 int32_t *codes, double *part)
{
	VQ_SHARED(float, zs, [TILE][DEPTH + 1]);
	VQ_SHARED(float, es, [TILE][DEPTH + 1]);
	VQ_SHARED(int, found, [TILE]);
	int t = (int)threadIdx.x, tx = t % 16, ty = t / 16;
	size_t first = (size_t)blockIdx.x * TILE;
	float best[4];
	int at[4] = {};
	for (int i = 0; i < 4; i++)
		best[i] = INFINITY;
	for (int k0 = 0; k0 < b.k; k0 += TILE) {
		float s[4][4];
		for (int i = 0; i < 4; i++)
			for (int j = 0; j < 4; j++)
				s[i][j] = k0 + tx + 16 * j < b.k ? norms[k0 + tx + 16 * j] : INFINITY;
		for (int d0 = 0; d0 < b.d; d0 += DEPTH) {
			__syncthreads();
			int c = t % DEPTH;
			bool in = d0 + c < b.d;
			float m = in ? middle[d0 + c] : 0.f;
			for (int r = t / DEPTH; r < TILE; r += BLOCK / DEPTH) {
				zs[r][c] = in && first + (size_t)r < rows ? z[(first + (size_t)r) * (size_t)b.d + (size_t)(d0 + c)] - m : 0.f;
				es[r][c] = in && k0 + r < b.k ? book[(size_t)(k0 + r) * (size_t)b.d + (size_t)(d0 + c)] - m : 0.f;
			}
			__syncthreads();
			for (int k = 0; k < DEPTH; k++)
				for (int i = 0; i < 4; i++)
					for (int j = 0; j < 4; j++)
						s[i][j] = fmaf(-zs[ty + 16 * i][k], es[tx + 16 * j][k], s[i][j]);
		}
		for (int i = 0; i < 4; i++)
			for (int j = 0; j < 4; j++)
				if (k0 + tx + 16 * j < b.k && s[i][j] < best[i]) {
					best[i] = s[i][j];
					at[i] = k0 + tx + 16 * j;
				}
	}
	for (int i = 0; i < 4; i++) {
		for (int m = 8; m; m /= 2) {
			float other = __shfl_xor_sync(0xffffffffu, best[i], m);
			int place = __shfl_xor_sync(0xffffffffu, at[i], m);
			if (other < best[i] || (other == best[i] && place < at[i])) {
				best[i] = other;
				at[i] = place;
			}
		}
		if (tx == 0)
			found[ty + 16 * i] = at[i];
	}
	__syncthreads();
	double sum = 0;
	for (int r = t / 32; r < TILE && first + (size_t)r < rows; r += BLOCK / 32) {
		size_t row = first + (size_t)r;
		uint8_t mark = b.g.mark[row];
		int code = found[r];
		float s = 0;
		for (int c = t % 32; c < b.d; c += 32) {
			float e = mark ? book[(size_t)code * (size_t)b.d + (size_t)c] : 0.f, d = z[row * (size_t)b.d + (size_t)c] - e;
			from_f32(q + row * (size_t)b.d + (size_t)c, e);
			s += d * d;
		}
		if (mark == VQ_CUDA_VALID)
			sum += (double)s;
		if (t % 32 == 0)
			codes[row] = mark ? code : -1;
	}
	sum = block_sum(sum);
	if (t == 0)
		part[blockIdx.x] = sum;
}

static size_t tiles_of(vq_cuda_book b) { return (rows_of(b.g) + TILE - 1) / TILE; }

size_t vq_cuda_quantize_scratch(vq_cuda_book b) { return sizeof(double) * tiles_of(b) + sizeof(float) * ((size_t)b.k + (size_t)b.d); }

int vq_cuda_quantize(vq_cuda_stream s, vq_cuda_book b, const float *z, const float *codebook, vq_dtype qt, void *q, int32_t *codes, double *scalar, void *scratch)
{
	double *part = (double *)scratch;
	float *norms = (float *)(part + tiles_of(b)), *middle = norms + b.k;
	dim3 grid((unsigned)tiles_of(b));
	VQ_DO(launch(middle_row, dim3((unsigned)(b.d + 31) / 32), dim3(BLOCK), s, b.k, b.d, codebook, middle));
	VQ_DO(launch(half_norms, dim3((unsigned)(b.k + BLOCK - 1) / BLOCK), dim3(BLOCK), s, b.k, b.d, codebook, (const float *)middle, norms));
	if (qt == VQ_BF16)
		VQ_DO(launch(nearest<bf16>, grid, dim3(BLOCK), s, b, rows_of(b.g), z, codebook, (const float *)middle, (const float *)norms, (bf16 *)q, codes, part));
	else
		VQ_DO(launch(nearest<float>, grid, dim3(BLOCK), s, b, rows_of(b.g), z, codebook, (const float *)middle, (const float *)norms, (float *)q, codes, part));
	return scalar ? launch(sum_parts<double>, dim3(1), dim3(BLOCK), s, (int)grid.x, (const double *)part, scalar) : 0;
}

template <class Q> __global__ void __launch_bounds__(BLOCK) lookup(size_t rows, int d, int k, const int32_t *codes, const float *book, Q *q, int32_t *bad)
{
	for (size_t r = (size_t)blockIdx.x * 8 + threadIdx.x / 32; r < rows; r += (size_t)gridDim.x * 8) {
		int code = codes[r];
		if (code >= k && bad && threadIdx.x % 32 == 0)
			atomicMax(bad, code);
		for (int c = (int)threadIdx.x % 32; c < d; c += 32)
			from_f32(q + r * (size_t)d + (size_t)c, code >= 0 && code < k ? book[(size_t)code * (size_t)d + (size_t)c] : 0.f);
	}
}

int vq_cuda_lookup(vq_cuda_stream s, size_t rows, int d, int k, const int32_t *codes, const float *codebook, vq_dtype qt, void *q, int32_t *bad)
{
	dim3 grid(blocks_for(rows, 8 * UNROLL, BLOCKS_MAX));
	if (qt == VQ_BF16)
		return launch(lookup<bf16>, grid, dim3(BLOCK), s, rows, d, k, codes, codebook, (bf16 *)q, bad);
	return launch(lookup<float>, grid, dim3(BLOCK), s, rows, d, k, codes, codebook, (float *)q, bad);
}

template <class Q>
__global__ void __launch_bounds__(BLOCK) commit(const vq_cuda_step *step, vq_cuda_book b, size_t rows, float beta, int scale, const float *z, const float *book,
                                                const Q *dq, const int32_t *codes, float *dz)
{
	float k = 2 * beta * scale_of(step, scale);
	for (size_t r = (size_t)blockIdx.x * 8 + threadIdx.x / 32; r < rows; r += (size_t)gridDim.x * 8) {
		uint8_t mark = b.g.mark[r];
		for (int c = (int)threadIdx.x % 32; c < b.d; c += 32) {
			size_t at = r * (size_t)b.d + (size_t)c;
			float g = mark && dq ? to_f32(dq[at]) : 0.f;
			if (mark == VQ_CUDA_VALID)
				g += k * (z[at] - book[(size_t)codes[r] * (size_t)b.d + (size_t)c]);
			dz[at] = g;
		}
	}
}

int vq_cuda_quantize_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_book b, float beta, int scale, const float *z, const float *codebook,
                         vq_dtype dqt, const void *dq, const int32_t *codes, float *dz)
{
	dim3 grid(blocks_for(rows_of(b.g), 8 * UNROLL, BLOCKS_MAX));
	if (dqt == VQ_BF16)
		return launch(commit<bf16>, grid, dim3(BLOCK), s, step, b, rows_of(b.g), beta, scale, z, codebook, (const bf16 *)dq, codes, dz);
	return launch(commit<float>, grid, dim3(BLOCK), s, step, b, rows_of(b.g), beta, scale, z, codebook, (const float *)dq, codes, dz);
}

/* --- sums by code: a stable counting sort of the valid positions, then pieces of the sorted list, then what crosses pieces -------- */

enum { PIECE = 128, SORTERS = 256 };

struct sorted {
	int blocks;
	size_t each, rows, pieces; /* rows a sorting block, a multiple of BLOCK */
	int *hist, *total, *start, *order;
	float *part;
};

static sorted sorted_of(vq_cuda_book b, void *scratch)
{
	sorted o;
	o.rows = rows_of(b.g);
	size_t chunks = (o.rows + BLOCK - 1) / BLOCK, each = (chunks + SORTERS - 1) / SORTERS;
	o.each = each * BLOCK;
	o.blocks = (int)((o.rows + o.each - 1) / o.each);
	o.pieces = (o.rows + PIECE - 1) / PIECE;
	o.hist = (int *)scratch;
	o.total = o.hist + (size_t)o.blocks * (size_t)b.k;
	o.start = o.total + b.k;
	o.order = o.start + b.k + 1;
	o.part = (float *)(o.order + o.rows);
	return o;
}

size_t vq_cuda_code_sums_scratch(vq_cuda_book b)
{
	sorted o = sorted_of(b, NULL);
	return sizeof(int) * ((size_t)o.blocks * (size_t)b.k + 2 * (size_t)b.k + 1 + o.rows) + sizeof(float) * 2 * o.pieces * (size_t)b.d;
}

static __device__ __forceinline__ int code_at(const vq_cuda_book &b, const sorted &o, size_t row, size_t end, const int32_t *codes)
{
	if (row >= end || row >= o.rows || b.g.mark[row] != VQ_CUDA_VALID)
		return -1;
	int c = codes[row];
	return c >= 0 && c < b.k ? c : -1;
}

__global__ void __launch_bounds__(BLOCK) count_codes(vq_cuda_book b, sorted o, const int32_t *codes)
{
	int *mine = o.hist + (size_t)blockIdx.x * (size_t)b.k;
	size_t from = (size_t)blockIdx.x * o.each;
	for (int i = (int)threadIdx.x; i < b.k; i += BLOCK)
		mine[i] = 0;
	__syncthreads();
	for (size_t r = from + threadIdx.x; r < from + o.each; r += BLOCK) {
		int c = code_at(b, o, r, from + o.each, codes);
		if (c >= 0)
			atomicAdd(mine + c, 1);
	}
}

__global__ void __launch_bounds__(BLOCK) add_blocks(int k, sorted o, float *counts)
{
	int c = (int)(blockIdx.x * BLOCK + threadIdx.x), run = 0;
	if (c >= k)
		return;
	for (int b = 0; b < o.blocks; b++) {
		int n = o.hist[(size_t)b * (size_t)k + (size_t)c];
		o.hist[(size_t)b * (size_t)k + (size_t)c] = run;
		run += n;
	}
	o.total[c] = run;
	if (counts)
		counts[c] += (float)run;
}

__global__ void __launch_bounds__(BLOCK) find_starts(int k, sorted o)
{
	VQ_SHARED(int, sums, [BLOCK]);
	int t = (int)threadIdx.x, each = (k + BLOCK - 1) / BLOCK, from = VQ_MIN(t * each, k), to = VQ_MIN(from + each, k), s = 0;
	for (int i = from; i < to; i++)
		s += o.total[i];
	sums[t] = s;
	__syncthreads();
	s = 0;
	for (int i = 0; i < t; i++)
		s += sums[i];
	for (int i = from; i < to; i++) {
		o.start[i] = s;
		s += o.total[i];
	}
	if (t == BLOCK - 1)
		o.start[k] = s;
}

__global__ void __launch_bounds__(BLOCK) place_rows(vq_cuda_book b, sorted o, const int32_t *codes)
{
	VQ_SHARED(int, sc, [BLOCK]);
	int t = (int)threadIdx.x, *mine = o.hist + (size_t)blockIdx.x * (size_t)b.k;
	size_t from = (size_t)blockIdx.x * o.each;
	for (size_t r0 = from; r0 < from + o.each && r0 < o.rows; r0 += BLOCK) {
		int c = code_at(b, o, r0 + (size_t)t, from + o.each, codes), before = 0, after = 0;
		sc[t] = c;
		__syncthreads();
		for (int i = 0; i < BLOCK; i++) {
			before += sc[i] == c && i < t;
			after += sc[i] == c && i > t;
		}
		if (c >= 0)
			o.order[o.start[c] + mine[c] + before] = (int)(r0 + (size_t)t);
		__syncthreads();
		if (c >= 0 && !after)
			mine[c] += before + 1;
		__syncthreads();
	}
}

/* What a row adds: itself, or the gradient of |z - e|^2 by e (and dq, what reached the row from behind). */
template <class Q> struct row_value {
	const vq_cuda_step *step;
	int scale;
	const float *z, *book; /* book NULL: z itself */
	const Q *dq;
	__device__ __forceinline__ float at(size_t row, int code, int j, int d) const
	{
		size_t i = row * (size_t)d + (size_t)j;
		if (!book)
			return z[i];
		float g = 2 * scale_of(step, scale) * (book[(size_t)code * (size_t)d + (size_t)j] - z[i]);
		return dq ? g + to_f32(dq[i]) : g;
	}
};

template <class Q> __global__ void __launch_bounds__(BLOCK) sum_pieces(vq_cuda_book b, sorted o, const int32_t *codes, row_value<Q> value, float *out)
{
	int all = o.start[b.k], from = (int)blockIdx.x * PIECE, to = VQ_MIN(from + PIECE, all);
	for (int j = (int)threadIdx.x; j < b.d && from < to; j += BLOCK) {
		int code = codes[o.order[from]];
		float s = 0;
		for (int i = from; i <= to; i++) {
			int row = i < to ? o.order[i] : 0, next = i < to ? codes[row] : -1;
			if (next != code) {
				if (o.start[code] >= from && o.start[code + 1] <= to)
					out[(size_t)code * (size_t)b.d + (size_t)j] += s;
				else /* 0: goes on from the piece before; 1: begins here */
					o.part[((size_t)blockIdx.x * 2 + (o.start[code] >= from)) * (size_t)b.d + (size_t)j] = s;
				code = next;
				s = 0;
			}
			if (i < to)
				s += value.at((size_t)row, code, j, b.d);
		}
	}
}

__global__ void __launch_bounds__(BLOCK) join_pieces(vq_cuda_book b, sorted o, float *out)
{
	int code = (int)blockIdx.x, from = o.start[code], to = o.start[code + 1];
	if (from == to || from / PIECE == (to - 1) / PIECE)
		return;
	for (int j = (int)threadIdx.x; j < b.d; j += BLOCK) {
		float s = o.part[((size_t)(from / PIECE) * 2 + 1) * (size_t)b.d + (size_t)j];
		for (int p = from / PIECE + 1; p <= (to - 1) / PIECE; p++)
			s += o.part[(size_t)p * 2 * (size_t)b.d + (size_t)j];
		out[(size_t)code * (size_t)b.d + (size_t)j] += s;
	}
}

template <class Q>
static int sum_codes(vq_cuda_stream s, vq_cuda_book b, const int32_t *codes, row_value<Q> value, float *counts, float *out, void *scratch)
{
	sorted o = sorted_of(b, scratch);
	dim3 sorters((unsigned)o.blocks), books((unsigned)(b.k + BLOCK - 1) / BLOCK);
	VQ_DO(launch(count_codes, sorters, dim3(BLOCK), s, b, o, codes));
	VQ_DO(launch(add_blocks, books, dim3(BLOCK), s, b.k, o, counts));
	VQ_DO(launch(find_starts, dim3(1), dim3(BLOCK), s, b.k, o));
	VQ_DO(launch(place_rows, sorters, dim3(BLOCK), s, b, o, codes));
	VQ_DO(launch(sum_pieces<Q>, dim3((unsigned)o.pieces), dim3(BLOCK), s, b, o, codes, value, out));
	return launch(join_pieces, dim3((unsigned)b.k), dim3(BLOCK), s, b, o, out);
}

int vq_cuda_codebook_bwd(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_book b, int scale, const float *z, const float *codebook, const int32_t *codes,
                         vq_dtype dqt, const void *dq, float *dcodebook, void *scratch)
{
	if (dqt == VQ_BF16)
		return sum_codes(s, b, codes, row_value<bf16>{ step, scale, z, codebook, (const bf16 *)dq }, (float *)NULL, dcodebook, scratch);
	return sum_codes(s, b, codes, row_value<float>{ step, scale, z, codebook, (const float *)dq }, (float *)NULL, dcodebook, scratch);
}

int vq_cuda_ema_sum(vq_cuda_stream s, vq_cuda_book b, const float *z, const int32_t *codes, float *counts, float *sums, void *scratch)
{
	return sum_codes(s, b, codes, row_value<float>{ NULL, -1, z, NULL, NULL }, counts, sums, scratch);
}

/* --- the codebook's moving averages --------------------------------------------------------------------------------------------- */

__global__ void __launch_bounds__(BLOCK) average_counts(int k, float decay, float *counts, float *n, double *total)
{
	double s = 0;
	for (int i = (int)threadIdx.x; i < k; i += BLOCK) {
		n[i] = decay * n[i] + (1 - decay) * counts[i];
		counts[i] = 0;
		s += (double)n[i];
	}
	s = block_sum(s);
	if (threadIdx.x == 0)
		*total = s;
}

__global__ void __launch_bounds__(BLOCK) average_rows(int k, int d, float decay, float eps, float *sums, const float *n, float *m, float *book, const double *total)
{
	int code = (int)blockIdx.x;
	double smooth = ((double)n[code] + (double)eps) / (*total + (double)k * (double)eps) * *total;
	float inv = smooth > 0 ? (float)(1 / smooth) : 0.f;
	for (int j = (int)threadIdx.x; j < d; j += BLOCK) {
		size_t i = (size_t)code * (size_t)d + (size_t)j;
		m[i] = decay * m[i] + (1 - decay) * sums[i];
		sums[i] = 0;
		if (smooth > 0)
			book[i] = m[i] * inv;
	}
}

size_t vq_cuda_ema_update_scratch(vq_cuda_book b) { return sizeof(double); }

int vq_cuda_ema_update(vq_cuda_stream s, vq_cuda_book b, float decay, float eps, float *counts, float *sums, float *n, float *m, float *codebook, void *scratch)
{
	VQ_DO(launch(average_counts, dim3(1), dim3(BLOCK), s, b.k, decay, counts, n, (double *)scratch));
	return launch(average_rows, dim3((unsigned)b.k), dim3(BLOCK), s, b.k, b.d, decay, eps, sums, (const float *)n, m, codebook, (const double *)scratch);
}
