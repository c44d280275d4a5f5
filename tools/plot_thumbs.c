#include "tools/plot_thumbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/panel.h"
#include "lib/rng.h"
#include "tools/batchrec.h"
#include "tools/plot_samples.h"

enum { SIDE = 44, FRAME = 2, PITCH = SIDE + 2 * FRAME + 2, MOST = 2000 };

typedef struct { const vq_thumb *t; int x, y; bool drawn; } chosen; /* x, y: of the middle, pixels */

/* A different order each seed, the same one each time. */
static vq_status shuffled(size_t n, size_t **order)
{
	vq_rng rng = vq_rng_make(0, 0x7468756d);
	if (!(*order = vq_malloc(n * sizeof **order)))
		return VQ_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		size_t k = (size_t)vq_rng_below(&rng, i + 1);
		(*order)[i] = (*order)[k];
		(*order)[k] = i;
	}
	return VQ_OK;
}

/* Cells whose pictures lie within the plane and do not touch each other. */
static vq_status choose(chosen **out, size_t *n_out, const vq_thumb *at, size_t n, int most, int width, int height)
{
	size_t *order = NULL, k = 0, limit = most > 0 ? VQ_MIN((size_t)most, MOST) : MOST;
	chosen *c = vq_malloc(VQ_MIN(n, limit) * sizeof *c);
	vq_status s = c ? shuffled(n, &order) : VQ_ENOMEM;
	for (size_t i = 0; s == VQ_OK && i < n && k < limit; i++) {
		const vq_thumb *t = &at[order[i]];
		int x = (int)(t->x * width), y = (int)((1 - t->y) * height);
		bool free_place = x >= PITCH / 2 && y >= PITCH / 2 && x < width - PITCH / 2 && y < height - PITCH / 2;
		for (size_t j = 0; free_place && j < k; j++)
			free_place = abs(c[j].x - x) >= PITCH || abs(c[j].y - y) >= PITCH;
		if (free_place)
			c[k++] = (chosen){ t, x, y, false };
	}
	free(order);
	if (s < 0)
		free(c);
	*out = s < 0 ? NULL : c;
	*n_out = k;
	return s;
}

static void fill(vq_tensor *rgba, int x0, int y0, int w, int h, const uint8_t colour[4])
{
	for (int y = y0; y < y0 + h; y++)
		for (int x = x0; x < x0 + w; x++)
			if (y >= 0 && x >= 0 && y < rgba->shape[0] && x < rgba->shape[1])
				memcpy((uint8_t *)rgba->data + 4 * (y * rgba->shape[1] + x), colour, 4);
}

/* The mean colour of the source pixels under a pixel of the thumbnail. */
static void sample(const float *p, const int64_t shape[3], double scale, int x, int y, uint8_t out[4])
{
	int64_t y0 = (int64_t)(y / scale), x0 = (int64_t)(x / scale), y1 = VQ_MIN((int64_t)((y + 1) / scale), shape[1]), x1 = VQ_MIN((int64_t)((x + 1) / scale), shape[2]);
	unsigned sum[3] = {0}, n = 0;
	y0 = VQ_MIN(y0, shape[1] - 1);
	x0 = VQ_MIN(x0, shape[2] - 1);
	for (int64_t r = y0; r < VQ_MAX(y1, y0 + 1); r++)
		for (int64_t c = x0; c < VQ_MAX(x1, x0 + 1); c++, n++) {
			uint8_t colour[3];
			vq_panel_colour(p, shape[0], shape[1] * shape[2], r * shape[2] + c, colour);
			for (int k = 0; k < 3; k++)
				sum[k] += colour[k];
		}
	for (int k = 0; k < 3; k++)
		out[k] = (uint8_t)(sum[k] / n);
	out[3] = 255;
}

static void paint(vq_tensor *rgba, const chosen *c, const float *pixels, const int64_t shape[3])
{
	double scale = (double)SIDE / (double)VQ_MAX(shape[1], shape[2]);
	int h = VQ_MAX(1, (int)((double)shape[1] * scale)), w = VQ_MAX(1, (int)((double)shape[2] * scale)), x0 = c->x - w / 2, y0 = c->y - h / 2;
	unsigned r = 130, g = 130, b = 130;
	if (c->t->hue)
		sscanf(c->t->hue, "#%2x%2x%2x", &r, &g, &b);
	fill(rgba, x0 - FRAME, y0 - FRAME, w + 2 * FRAME, h + 2 * FRAME, (uint8_t[]){ (uint8_t)r, (uint8_t)g, (uint8_t)b, 255 });
	for (int y = 0; y < h; y++)
		for (int x = 0; x < w; x++) {
			uint8_t colour[4];
			sample(pixels, shape, scale, x, y, colour);
			fill(rgba, x0 + x, y0 + y, 1, 1, colour);
		}
}

static vq_status draw_record(vq_tensor *rgba, chosen *c, size_t n, const vqt_record *r, size_t *left)
{
	for (size_t i = 0; i < n; i++) {
		float *pixels = NULL;
		int64_t shape[3];
		if (c[i].drawn || strcmp(c[i].t->id, r->id))
			continue;
		VQ_TRY(vq_samples_shown(r, &pixels, shape));
		paint(rgba, &c[i], pixels, shape);
		free(pixels);
		c[i].drawn = true;
		--*left;
	}
	return VQ_OK;
}

static vq_status draw_all(vq_tensor *rgba, chosen *c, size_t n, const char *reference)
{
	vq_sample_reader in;
	vqt_record r;
	size_t left = n;
	int got = 0;
	VQ_TRY(vq_sample_reader_open(&in, reference));
	while (left && (got = vq_sample_reader_next(&in, &r)) > 0) {
		vq_status s = draw_record(rgba, c, n, &r, &left);
		vqt_record_free(&r);
		if (s < 0) {
			got = vq_context(s, "%s", vqt_name(in.in));
			break;
		}
	}
	for (size_t i = 0; got >= 0 && left && i < n; i++)
		if (!c[i].drawn)
			got = vq_fail(VQ_EINVAL, "%s: no record %s in it, which has codes", vqt_name(in.in), c[i].t->id);
	vq_sample_reader_close(&in);
	return got < 0 ? got : VQ_OK;
}

vq_status vq_thumbs_draw(vq_tensor *rgba, const char *reference, const vq_thumb *at, size_t n, int most, int width, int height)
{
	chosen *c = NULL;
	size_t k = 0;
	*rgba = (vq_tensor){0};
	VQ_TRY(choose(&c, &k, at, n, most, width, height));
	vq_status s = vq_tensor_make(rgba, VQ_U8, 3, (int64_t[]){ height, width, 4 });
	if (s == VQ_OK)
		s = draw_all(rgba, c, k, reference);
	free(c);
	return s;
}
