#include "lib/image/tally.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/normalize.h"
#include "lib/image/pieces.h"

/* Counts lie in pages that are made when first needed: grey levels use few of those that are possible. */
enum { PAGE = 256, WHOLE_MIN = -128, WHOLE_MAX = 65535, WHOLE_PAGES = (WHOLE_MAX - WHOLE_MIN) / PAGE + 1, FLOAT_PAGES = 1 << 12 };

struct vq_tally {
	bool whole;        /* keys are whole numbers from WHOLE_MIN on, else the upper 20 bits of ordered f32 */
	uint64_t **page;
	uint64_t count;
	double min, max, mean, squares; /* squares: sum of squared differences from the mean */
	vq_status status;  /* of the pixels being added */
};

vq_status vq_tally_open(vq_tally **t)
{
	vq_tally *n = vq_calloc(1, sizeof *n);
	*t = NULL;
	if (!n)
		return VQ_ENOMEM;
	*n = (vq_tally){ .whole = true, .min = INFINITY, .max = -INFINITY, .page = vq_calloc(WHOLE_PAGES, sizeof *n->page) };
	if (!n->page) {
		free(n);
		return VQ_ENOMEM;
	}
	*t = n;
	return VQ_OK;
}

static size_t pages(const vq_tally *t) { return t->whole ? WHOLE_PAGES : FLOAT_PAGES; }

static void free_pages(uint64_t **page, size_t n)
{
	for (size_t i = 0; page && i < n; i++)
		free(page[i]);
	free(page);
}

void vq_tally_close(vq_tally *t)
{
	if (!t)
		return;
	free_pages(t->page, pages(t));
	free(t);
}

/* f32 bits in the order of their values, without the lower 12. */
static uint32_t float_key(double v)
{
	union { float f; uint32_t u; } b = { (float)fmin(fmax(v, -FLT_MAX), FLT_MAX) };
	return (b.u >> 31 ? ~b.u : b.u | 0x80000000u) >> 12;
}

static double float_of_key(uint32_t key)
{
	union { uint32_t u; float f; } b = { key << 12 };
	b.u = b.u >> 31 ? b.u & 0x7fffffffu : ~b.u;
	return b.f;
}

static vq_status add_key(uint64_t **page, uint32_t key, uint64_t n)
{
	uint64_t **p = &page[key / PAGE];
	if (!*p && !(*p = vq_calloc(PAGE, sizeof **p)))
		return VQ_ENOMEM;
	(*p)[key % PAGE] += n;
	return VQ_OK;
}

/* From whole numbers to f32 keys, once a pixel comes that is not one. */
static vq_status widen(vq_tally *t)
{
	uint64_t **page = vq_calloc(FLOAT_PAGES, sizeof *page);
	vq_status s = page ? VQ_OK : VQ_ENOMEM;
	for (uint32_t k = 0; s == VQ_OK && k < WHOLE_PAGES * PAGE; k++)
		if (t->page[k / PAGE] && t->page[k / PAGE][k % PAGE])
			s = add_key(page, float_key((double)k + WHOLE_MIN), t->page[k / PAGE][k % PAGE]);
	if (s < 0) {
		free_pages(page, FLOAT_PAGES);
		return s;
	}
	free_pages(t->page, WHOLE_PAGES);
	t->page = page;
	t->whole = false;
	return VQ_OK;
}

static void add_piece(void *state, const double *v, size_t n)
{
	vq_tally *t = state;
	size_t odd = 0;
	if (t->whole) {
		for (size_t i = 0; i < n; i++)
			odd += !(v[i] >= WHOLE_MIN && v[i] <= WHOLE_MAX) || (double)(int)v[i] != v[i];
		if (odd && t->status == VQ_OK)
			t->status = widen(t);
	}
	for (size_t i = 0; t->status == VQ_OK && i < n; i++)
		t->status = add_key(t->page, t->whole ? (uint32_t)((int)v[i] - WHOLE_MIN) : float_key(v[i]), 1);
}

vq_status vq_tally_add(vq_tally *t, const vq_tensor *image, int64_t c, vq_window w)
{
	double mean, std, min, max, n = (double)w.h * (double)w.w, before = (double)t->count;
	VQ_TRY(vq_plane_range(image, c, w, &min, &max));
	VQ_TRY(vq_plane_moments(image, c, w, &mean, &std));
	t->status = VQ_OK;
	VQ_TRY(vq_plane_each(image, c, w, add_piece, t));
	VQ_TRY(t->status);
	t->min = fmin(t->min, min);
	t->max = fmax(t->max, max);
	double d = mean - t->mean;
	t->squares += std * std * n + d * d * before * n / (before + n);
	t->mean += d * n / (before + n);
	t->count += (uint64_t)w.h * (uint64_t)w.w;
	return VQ_OK;
}

uint64_t vq_tally_count(const vq_tally *t) { return t->count; }
bool vq_tally_exact(const vq_tally *t) { return t->whole; }

void vq_tally_moments(const vq_tally *t, double *mean, double *std)
{
	*mean = t->mean;
	*std = sqrt(t->squares / (double)t->count);
}

void vq_tally_range(const vq_tally *t, double *min, double *max)
{
	*min = t->min;
	*max = t->max;
}

static double value_of_rank(void *user, uint64_t k)
{
	const vq_tally *t = user;
	for (uint32_t i = 0; i < pages(t); i++) {
		if (!t->page[i])
			continue;
		for (uint32_t j = 0; j < PAGE; j++) {
			uint64_t n = t->page[i][j];
			uint32_t key = i * PAGE + j;
			if (k >= n) {
				k -= n;
				continue;
			}
			if (t->whole)
				return (double)key + WHOLE_MIN;
			double lo = float_of_key(key), hi = float_of_key(key + 1), at = lo + (hi - lo) * ((double)k + .5) / (double)n;
			return fmin(fmax(at, t->min), t->max);
		}
	}
	return t->max;
}

double vq_tally_percentile(const vq_tally *t, double p)
{
	/* The ends are known exactly in any case. */
	if (p <= 0 || p >= 100)
		return p <= 0 ? t->min : t->max;
	return vq_percentile_of_ranks(t->count, p, value_of_rank, (void *)(uintptr_t)t);
}
