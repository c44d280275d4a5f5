/* SSIM's maps of pictures beside their references, as lib/eval/metrics.h has them: their sums, in f64. A block takes tiles of centres: the five
 * planes (x, y and their products) are filtered along the rows into shared memory, then down the columns. */
#include "lib/cuda/device.h"

enum { TILE = 16, RADIUS = VQ_CUDA_TAPS / 2, SIDE = TILE + 2 * RADIUS, PLANES = 5, SUMS = 5, TILES_MAX = 64 };

struct taps { double k[RADIUS + 1], c1, c2; };

static __device__ __forceinline__ int centres(int n) { return n < VQ_CUDA_TAPS ? 0 : n - 2 * RADIUS; }
static __device__ __forceinline__ int tiles_of(const vq_cuda_pictures &p) { return (centres(p.w) + TILE - 1) / TILE * ((centres(p.h) + TILE - 1) / TILE); }
/* How a pair's sum is split: by itself alone, so that what is beside it changes nothing. */
static __device__ __forceinline__ int parts_of(const vq_cuda_pictures &p) { int tiles = tiles_of(p); return tiles < TILES_MAX ? tiles : TILES_MAX; }

/* What lies past the picture is read by no centre. */
static __device__ __forceinline__ void load_tile(const vq_cuda_pictures &p, int top, int left, double (*in)[SIDE * SIDE])
{
	for (int i = (int)threadIdx.x; i < SIDE * SIDE; i += BLOCK) {
		int y = top + i / SIDE, x = left + i % SIDE;
		bool there = y < p.h && x < p.w;
		in[0][i] = there ? p.x[(size_t)y * (size_t)p.w + (size_t)x] : 0;
		in[1][i] = there ? p.y[(size_t)y * (size_t)p.w + (size_t)x] : 0;
	}
}

static __device__ __forceinline__ void filter_rows(const taps &g, const double (*in)[SIDE * SIDE], double (*row)[SIDE * TILE])
{
	for (int i = (int)threadIdx.x; i < SIDE * TILE; i += BLOCK) {
		const double *x = in[0] + i / TILE * SIDE + i % TILE + RADIUS, *y = in[1] + (x - in[0]);
		double s[PLANES] = { g.k[0] * x[0], g.k[0] * y[0], g.k[0] * x[0] * x[0], g.k[0] * y[0] * y[0], g.k[0] * x[0] * y[0] };
		for (int t = 1; t <= RADIUS; t++) {
			s[0] += g.k[t] * (x[-t] + x[t]);
			s[1] += g.k[t] * (y[-t] + y[t]);
			s[2] += g.k[t] * (x[-t] * x[-t] + x[t] * x[t]);
			s[3] += g.k[t] * (y[-t] * y[-t] + y[t] * y[t]);
			s[4] += g.k[t] * (x[-t] * y[-t] + x[t] * y[t]);
		}
		for (int m = 0; m < PLANES; m++)
			row[m][i] = s[m];
	}
}

/* SSIM at a centre, and its factor of contrast and structure. at: the centre's place in the filtered rows, RADIUS rows down. */
static __device__ __forceinline__ void ssim_at(const taps &g, const double (*row)[SIDE * TILE], int at, double *ssim, double *cs)
{
	double s[PLANES];
	for (int m = 0; m < PLANES; m++) {
		const double *r = row[m] + at;
		s[m] = g.k[0] * r[0];
		for (int t = 1; t <= RADIUS; t++)
			s[m] += g.k[t] * (r[-t * TILE] + r[t * TILE]);
	}
	double a = s[0], b = s[1];
	*cs = (2 * (s[4] - a * b) + g.c2) / ((s[2] - a * a) + (s[3] - b * b) + g.c2);
	*ssim = (2 * a * b + g.c1) / (a * a + b * b + g.c1) * *cs;
}

/* part [pairs][TILES_MAX][SUMS], of each pair the first parts_of: ssim and cs over all centres; over those inside, and how many. */
__global__ void __launch_bounds__(BLOCK) map_tiles(taps g, const vq_cuda_pictures *table, double *part)
{
	VQ_SHARED(double, in, [2][SIDE * SIDE]);
	VQ_SHARED(double, row, [PLANES][SIDE * TILE]);
	vq_cuda_pictures p = table[blockIdx.y];
	int ow = centres(p.w), oh = centres(p.h), across = (ow + TILE - 1) / TILE, tiles = tiles_of(p), parts = parts_of(p);
	double sum[SUMS] = { 0, 0, 0, 0, 0 };
	if ((int)blockIdx.x >= parts)
		return;
	for (int t = (int)blockIdx.x; t < tiles; t += parts) {
		int top = t / across * TILE, left = t % across * TILE, i = (int)threadIdx.x / TILE, j = (int)threadIdx.x % TILE;
		double ssim, cs;
		load_tile(p, top, left, in);
		__syncthreads();
		filter_rows(g, in, row);
		__syncthreads();
		if (top + i < oh && left + j < ow) {
			ssim_at(g, row, (i + RADIUS) * TILE + j, &ssim, &cs);
			bool inside = p.mask && p.mask[(size_t)(top + i + RADIUS) * (size_t)p.w + (size_t)(left + j + RADIUS)] == 1;
			sum[0] += ssim;
			sum[1] += cs;
			sum[2] += inside ? ssim : 0;
			sum[3] += inside ? cs : 0;
			sum[4] += inside ? 1 : 0;
		}
	}
	for (int i = 0; i < SUMS; i++) {
		double all = block_sum(sum[i]);
		if (threadIdx.x == 0)
			part[((size_t)blockIdx.y * TILES_MAX + blockIdx.x) * SUMS + (size_t)i] = all;
	}
}

__global__ void __launch_bounds__(BLOCK) map_means(const vq_cuda_pictures *table, int n, const double *part, vq_map_mean *out)
{
	for (int i = (int)(blockIdx.x * BLOCK + threadIdx.x); i < n; i += (int)gridDim.x * BLOCK) {
		double s[SUMS] = { 0, 0, 0, 0, 0 }, all = (double)centres(table[i].h) * (double)centres(table[i].w);
		for (int p = 0, parts = parts_of(table[i]); p < parts; p++)
			for (int m = 0; m < SUMS; m++)
				s[m] += part[((size_t)i * TILES_MAX + (size_t)p) * SUMS + (size_t)m];
		for (int k = 0; k < 2; k++) {
			double count = k ? s[4] : all;
			out[2 * i + k].ssim = count > 0 ? s[2 * k] / count : 0;
			out[2 * i + k].cs = count > 0 ? s[2 * k + 1] / count : 0;
			out[2 * i + k].n = (int64_t)count;
		}
	}
}

size_t vq_cuda_maps_scratch(int n) { return sizeof(double) * SUMS * TILES_MAX * (size_t)(n > 0 ? n : 1); }

int vq_cuda_maps(vq_cuda_stream s, int n, size_t most, const double *kernel, double range, const vq_cuda_pictures *table, vq_map_mean *out, void *scratch)
{
	taps g;
	if (n < 1 || n > 65535)
		return cudaErrorInvalidValue;
	for (int i = 0; i <= RADIUS; i++)
		g.k[i] = kernel[i];
	g.c1 = .01 * range * .01 * range;
	g.c2 = .03 * range * .03 * range;
	/* no pair has more tiles than this: there is one for h x w pixels at 11 x 11, and a side grows by 16 for each further one */
	unsigned blocks = blocks_for(most, VQ_CUDA_TAPS * VQ_CUDA_TAPS, TILES_MAX);
	VQ_DO(launch(map_tiles, dim3(blocks, (unsigned)n), dim3(BLOCK), s, g, table, (double *)scratch));
	return launch(map_means, dim3(blocks_for((size_t)n, BLOCK, BLOCKS_MAX)), dim3(BLOCK), s, table, n, (const double *)scratch, out);
}

/* --- the next scale ------------------------------------------------------------------------------------------------ */

__global__ void __launch_bounds__(BLOCK) halve(const vq_cuda_pictures *from, const vq_cuda_pictures *to)
{
	vq_cuda_pictures a = from[blockIdx.y], b = to[blockIdx.y];
	for (int i = (int)(blockIdx.x * BLOCK + threadIdx.x); i < b.h * b.w; i += (int)gridDim.x * BLOCK) {
		size_t w = (size_t)a.w, at = (size_t)(i / b.w) * 2 * w + (size_t)(i % b.w) * 2;
		const double *x = a.x + at, *y = a.y + at;
		((double *)b.x)[i] = (x[0] + x[1] + x[w] + x[w + 1]) / 4;
		((double *)b.y)[i] = (y[0] + y[1] + y[w] + y[w + 1]) / 4;
		if (a.mask) {
			const uint8_t *m = a.mask + at;
			((uint8_t *)b.mask)[i] = (m[0] == 1) + (m[1] == 1) + (m[w] == 1) + (m[w + 1] == 1) >= 2;
		}
	}
}

int vq_cuda_halve(vq_cuda_stream s, int n, size_t most, const vq_cuda_pictures *from, const vq_cuda_pictures *to)
{
	if (n < 1 || n > 65535)
		return cudaErrorInvalidValue;
	return launch(halve, dim3(blocks_for(most / 4, BLOCK, TILES_MAX), (unsigned)n), dim3(BLOCK), s, from, to);
}
