/* Pictures beside their references: to the device in one piece, coarser scales made there, the means of SSIM's maps back. */
#include "lib/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

static size_t pixels(int h, int w, int scale) { return (size_t)(h >> scale) * (size_t)(w >> scale); }

static size_t bytes_of(const vq_pictures *p, int scale)
{
	size_t n = pixels(p->h, p->w, scale);
	return 2 * sizeof(double) * n + (p->mask ? VQ_ALIGN(n, sizeof(double)) : 0);
}

/* A pair at `at` on the device. */
static vq_cuda_pictures there(const vq_pictures *p, int scale, char *at)
{
	size_t n = pixels(p->h, p->w, scale);
	double *x = (double *)at;
	return (vq_cuda_pictures){ x, x + n, p->mask ? (uint8_t *)(x + 2 * n) : NULL, p->h >> scale, p->w >> scale };
}

static void put(const vq_pictures *p, char *to)
{
	size_t n = pixels(p->h, p->w, 0);
	memcpy(to, p->x, n * sizeof *p->x);
	memcpy(to + n * sizeof *p->x, p->y, n * sizeof *p->y);
	if (p->mask)
		memcpy(to + 2 * n * sizeof *p->x, p->mask, n);
}

static vq_status room(cuda_backend *b, size_t bytes)
{
	void *p;
	if (bytes <= b->pictures.bytes)
		return VQ_OK;
	cudaFree(b->pictures.at);
	b->pictures = (cuda_area){0};
	VQ_TRY(cuda_get_or(&p, bytes, "a group of pictures", "--device cpu needs none"));
	b->pictures = (cuda_area){ p, bytes };
	return VQ_OK;
}

/* Tables of all scales first, then the pairs of the first, which come from the host; then what is only here. */
typedef struct { size_t pairs, coarse, means, scratch, end, most; } layout;

static layout layout_of(int n, const vq_pictures *p)
{
	layout l = { .pairs = VQ_ALIGN(sizeof(vq_cuda_pictures) * VQ_MAP_SCALES * (size_t)n, (size_t)256) };
	l.coarse = l.pairs;
	for (int i = 0; i < n; i++) {
		l.coarse += bytes_of(&p[i], 0);
		l.most = VQ_MAX(l.most, pixels(p[i].h, p[i].w, 0));
	}
	l.means = l.coarse;
	for (int i = 0; i < n; i++)
		for (int scale = 1; scale < VQ_MAP_SCALES; scale++)
			l.means += bytes_of(&p[i], scale);
	l.scratch = VQ_ALIGN(l.means + sizeof(vq_map_mean) * 2 * VQ_MAP_SCALES * (size_t)n, (size_t)256);
	l.end = l.scratch + vq_cuda_maps_scratch(n);
	return l;
}

static void fill(char *host, char *device, const layout *l, int n, const vq_pictures *p)
{
	vq_cuda_pictures *table = (vq_cuda_pictures *)host;
	size_t at = l->pairs;
	for (int scale = 0; scale < VQ_MAP_SCALES; scale++)
		for (int i = 0; i < n; i++) {
			table[scale * n + i] = there(&p[i], scale, device + at);
			if (!scale)
				put(&p[i], host + at);
			at += bytes_of(&p[i], scale);
		}
}

static vq_status launch(cuda_backend *b, const layout *l, int n, const double *kernel, double range)
{
	char *at = b->pictures.at;
	const vq_cuda_pictures *table = (const vq_cuda_pictures *)at;
	for (int scale = 0; scale < VQ_MAP_SCALES; scale++) {
		const vq_cuda_pictures *now = table + (size_t)scale * (size_t)n;
		size_t most = l->most >> 2 * scale;
		if (scale)
			VQ_TRY(cuda_try(vq_cuda_halve(b->stream, n, l->most >> 2 * (scale - 1), now - n, now), "halve"));
		VQ_TRY(cuda_try(vq_cuda_maps(b->stream, n, most, kernel, range, now, (vq_map_mean *)(at + l->means) + 2 * (size_t)scale * (size_t)n, at + l->scratch), "maps"));
	}
	return VQ_OK;
}

static vq_status run(cuda_backend *b, const layout *l, int n, const char *host, const double *kernel, double range, vq_map_mean *means)
{
	VQ_TRY(cuda_try(cudaMemcpyAsync(b->pictures.at, host, l->coarse, cudaMemcpyHostToDevice, b->stream), "cudaMemcpyAsync"));
	vq_status st = launch(b, l, n, kernel, range);
	if (st == VQ_OK)
		st = cuda_try(cudaMemcpyAsync(means, b->pictures.at + l->means, sizeof *means * 2 * VQ_MAP_SCALES * (size_t)n, cudaMemcpyDeviceToHost, b->stream), "cudaMemcpyAsync");
	vq_status done = cuda_wait(b->stream, "the maps of pictures"); /* whatever was launched reads the host's memory */
	return st < 0 ? st : done;
}

vq_status cuda_maps(vq_backend *backend, int n, const vq_pictures *p, const double *kernel, double range, vq_maps *out)
{
	cuda_backend *b = (cuda_backend *)backend;
	if (n < 1 || n > 65535)
		return vq_fail(VQ_EINVAL, "%d pairs of pictures at once, where 1 to 65535 may be", n);
	layout l = layout_of(n, p);
	VQ_TRY(room(b, l.end));
	char *host = vq_malloc(l.coarse);
	vq_map_mean *means = vq_malloc(sizeof *means * 2 * VQ_MAP_SCALES * (size_t)n);
	vq_status st = host && means ? VQ_OK : VQ_ENOMEM;
	if (st == VQ_OK) {
		fill(host, b->pictures.at, &l, n, p);
		st = run(b, &l, n, host, kernel, range, means);
	}
	for (int i = 0; i < n && st == VQ_OK; i++)
		for (int scale = 0; scale < VQ_MAP_SCALES; scale++)
			for (int k = 0; k < 2; k++)
				out[i].scale[k][scale] = means[2 * (scale * n + i) + k];
	free(host);
	free(means);
	return st;
}
