#include "tools/score.h"

#include <stdlib.h>
#include <string.h>

void vq_score_scratch_free(vq_score_scratch *s)
{
	vq_score_work_free(&s->work);
	free(s->planes);
	free(s->mask);
	*s = (vq_score_scratch){0};
}

static vq_status scratch_reserve(vq_score_scratch *s, size_t pixels)
{
	if (pixels <= s->cap)
		return VQ_OK;
	size_t bytes;
	VQ_TRY(vq_mul(pixels, 2 * sizeof(double), &bytes));
	free(s->planes);
	free(s->mask);
	s->cap = 0;
	s->planes = vq_aligned(bytes);
	s->mask = vq_malloc(pixels);
	if (!s->planes || !s->mask)
		return VQ_ENOMEM;
	s->cap = pixels;
	return VQ_OK;
}

/* The true pixels of a channel as doubles without gaps. */
static void take_plane(const vq_tensor *t, int c, const vq_geom *g, double *out)
{
	const int64_t height = t->shape[1], width = t->shape[2];
	for (int64_t y = 0; y < g->h; y++) {
		size_t at = (size_t)((c * height + g->top + y) * width + g->left);
		if (t->dtype == VQ_F32)
			for (int64_t x = 0; x < g->w; x++)
				out[y * g->w + x] = ((const float *)t->data)[at + (size_t)x];
		else
			for (int64_t x = 0; x < g->w; x++)
				out[y * g->w + x] = vq_tensor_get(t, at + (size_t)x);
	}
}

static int64_t take_mask(const vq_tensor *mask, const vq_geom *g, uint8_t *out)
{
	int64_t inside = 0;
	for (int64_t y = 0; y < g->h; y++) {
		const uint8_t *row = (const uint8_t *)mask->data + (g->top + y) * mask->shape[1] + g->left;
		memcpy(out + y * g->w, row, (size_t)g->w);
		for (int64_t x = 0; x < g->w; x++)
			inside += row[x] == 1;
	}
	return inside;
}

vq_status vq_score_record(vq_score_scratch *scratch, const vqt_record *image, const vqt_record *reference, double range, vq_record_score *out)
{
	vq_pair pair;
	VQ_TRY(vq_pair_make(&pair, image, reference));
	const int64_t h = pair.at.h, w = pair.at.w;
	VQ_TRY(scratch_reserve(scratch, (size_t)(h * w)));
	*out = (vq_record_score){ .channels = (int)pair.image->shape[0], .h = h, .w = w };
	double *x = scratch->planes, *y = x + h * w;
	if (pair.mask)
		out->inside = take_mask(pair.mask, &pair.reference_at, scratch->mask);
	for (int c = 0; c < out->channels; c++) {
		take_plane(pair.reference, c, &pair.reference_at, x);
		take_plane(pair.image, c, &pair.at, y);
		vq_status s = vq_score_plane(&scratch->work, x, y, pair.mask ? scratch->mask : NULL, h, w, range, &out->channel[0][c], &out->channel[1][c]);
		if (s < 0)
			return vq_context(s, "record %s, channel %d", image->id, c + 1);
	}
	for (int k = 0; k < 2; k++)
		out->mean[k] = vq_score_mean(out->channel[k], out->channels);
	return VQ_OK;
}
