#include "lib/train/kmeans.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDE = 16 }; /* centres, or coordinates, at a time */

typedef struct {
	vq_kmeans_data x;
	int threads;
	float *centre, *count;
	float *blocks;          /* centres as [k/WIDE][d][WIDE] */
	double *sum;            /* [k,d] */
	int32_t *at;            /* a row's centre */
	float *far;             /* and its squared distance from there */
} lloyd;

static void find_nearest(lloyd *l, size_t row)
{
	const float *x = l->x.rows + row * (size_t)l->x.d;
	l->far[row] = INFINITY;
	l->at[row] = 0;
	for (int k = 0; k < l->x.k; k += WIDE) {
		const float *c = l->blocks + (size_t)k * (size_t)l->x.d;
		float s[WIDE] = {0};
		for (int i = 0; i < l->x.d; i++)
			for (int j = 0; j < WIDE; j++) {
				float e = x[i] - c[i * WIDE + j];
				s[j] += e * e;
			}
		for (int j = 0; j < WIDE && k + j < l->x.k; j++)
			if (s[j] < l->far[row]) {
				l->far[row] = s[j];
				l->at[row] = k + j;
			}
	}
}

static void assign(lloyd *l)
{
	int d = l->x.d, blocks = (l->x.k + WIDE - 1) / WIDE;
	for (int k = 0; k < blocks * WIDE; k++)
		for (int i = 0; i < d; i++)
			l->blocks[((size_t)(k / WIDE) * (size_t)d + (size_t)i) * WIDE + (size_t)(k % WIDE)] = k < l->x.k ? l->centre[(size_t)k * (size_t)d + (size_t)i] : 0;
#pragma omp parallel for schedule(static) num_threads(l->threads)
	for (size_t r = 0; r < l->x.n; r++)
		find_nearest(l, r);
}

static void count(lloyd *l)
{
	memset(l->count, 0, sizeof *l->count * (size_t)l->x.k);
	for (size_t r = 0; r < l->x.n; r++)
		l->count[l->at[r]]++;
}

static float square_distance(int d, const float *a, const float *b)
{
	float s[WIDE] = {0}, sum = 0;
	int i = 0;
	for (; i + WIDE <= d; i += WIDE)
		for (int j = 0; j < WIDE; j++) {
			float e = a[i + j] - b[i + j];
			s[j] += e * e;
		}
	for (; i < d; i++)
		s[0] += (a[i] - b[i]) * (a[i] - b[i]);
	for (int j = 0; j < WIDE; j++)
		sum += s[j];
	return sum;
}

/* n when every row is where its centre is. */
static size_t draw_row(const lloyd *l, vq_rng *draw)
{
	double total = 0, from = 0;
	size_t last = l->x.n;
	for (size_t r = 0; r < l->x.n; r++)
		total += (double)l->far[r];
	double want = isfinite(total) ? vq_rng_uniform(draw) * total : 0;
	for (size_t r = 0; r < l->x.n && from <= want; r++)
		if (l->far[r] > 0) {
			from += (double)l->far[r];
			last = r;
		}
	return last;
}

/* Empty centres go to rows; rows that are nearer to those follow. */
static void settle(lloyd *l, vq_rng *draw)
{
	size_t d = (size_t)l->x.d;
	for (int k = 0; k < l->x.k; k++) {
		if (l->count[k] > 0)
			continue;
		size_t row = draw_row(l, draw);
		if (row == l->x.n)
			break;
		memcpy(l->centre + (size_t)k * d, l->x.rows + row * d, sizeof(float) * d);
#pragma omp parallel for schedule(static) num_threads(l->threads)
		for (size_t r = 0; r < l->x.n; r++) {
			float now = square_distance((int)d, l->x.rows + r * d, l->centre + (size_t)k * d);
			if (now < l->far[r]) {
				l->far[r] = now;
				l->at[r] = k;
			}
		}
	}
	count(l);
}

static void move(lloyd *l)
{
	size_t d = (size_t)l->x.d;
	memset(l->sum, 0, sizeof *l->sum * (size_t)l->x.k * d);
	for (size_t r = 0; r < l->x.n; r++)
		for (size_t i = 0; i < d; i++)
			l->sum[(size_t)l->at[r] * d + i] += (double)l->x.rows[r * d + i];
	for (size_t k = 0; k < (size_t)l->x.k; k++)
		for (size_t i = 0; i < d && l->count[k] > 0; i++)
			l->centre[k * d + i] = (float)(l->sum[k * d + i] / (double)l->count[k]);
}

vq_status vq_kmeans(vq_kmeans_data x, int steps, int threads, vq_rng *draw, float *centre, float *counts)
{
	size_t k = VQ_ALIGN((size_t)x.k, (size_t)WIDE), d = (size_t)x.d;
	lloyd l = { .x = x, .threads = threads, .centre = centre, .count = counts, .blocks = vq_malloc(sizeof(float) * k * d),
		.sum = vq_malloc(sizeof(double) * (size_t)x.k * d), .at = vq_malloc(sizeof(int32_t) * VQ_MAX(x.n, (size_t)1)),
		.far = vq_malloc(sizeof(float) * VQ_MAX(x.n, (size_t)1)) };
	vq_status s = l.blocks && l.sum && l.at && l.far ? VQ_OK : VQ_ENOMEM;
	for (int i = 0; i < steps && s == VQ_OK; i++) {
		assign(&l);
		count(&l);
		if (draw)
			settle(&l, draw);
		move(&l);
	}
	free(l.blocks);
	free(l.sum);
	free(l.at);
	free(l.far);
	return s;
}
