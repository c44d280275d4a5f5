#include "tools/score.h"

#include <stdlib.h>
#include <string.h>

#include "tools/normrec.h"

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

/* Grey levels a unit of channel c; a constant channel comes back as its level whatever the pixels say. */
static double grey_of(const vq_norm *n, int c)
{
	if (n->method <= VQ_NORM_NONE)
		return 1;
	if (n->constant[c])
		return 0;
	return n->method == VQ_NORM_ZSCORE ? n->b[c] : (n->b[c] - n->a[c]) / 2;
}

static vq_status to_grey(vqt_record *r)
{
	vq_tensor grey;
	VQ_TRY(vq_denormalize_record(r, &grey));
	cJSON_DeleteItemFromObjectCaseSensitive(r->meta, "normalize");
	return vqt_set(r, "image", &grey);
}

double vq_score_grey_range(const vqt_record *reference)
{
	const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(reference->meta, "dtype");
	const vq_tensor *image = vqt_get(reference, "image");
	int t = cJSON_IsString(dtype) ? vq_dtype_parse(dtype->valuestring) : image ? (int)image->dtype : -1;
	return t == VQ_U8 ? 255 : t == VQ_U16 ? 65535 : 0;
}

/* What is before the first channel. */
static vq_status begin(vqt_record *image, vqt_record *reference, bool grey, vq_pair *pair, vq_record_score *out)
{
	vq_norm norm;
	VQ_TRY(vq_norm_get(image->meta, &norm));
	if (grey) {
		VQ_TRY(to_grey(image));
		vq_status s = to_grey(reference);
		if (s < 0)
			return vq_context(s, "the reference");
	}
	VQ_TRY(vq_pair_make(pair, image, reference));
	*out = (vq_record_score){ .channels = (int)pair->image->shape[0], .h = pair->at.h, .w = pair->at.w };
	for (int c = 0; c < norm.channels && c < out->channels; c++)
		out->clipped[c] = norm.clipped[c];
	return VQ_OK;
}

static void end(vq_record_score *out)
{
	for (int k = 0; k < 2; k++)
		out->mean[k] = vq_score_mean(out->channel[k], out->channels);
}

static vq_status score_channels(vq_score_scratch *scratch, const vq_pair *pair, const char *id, double range, vq_record_score *out)
{
	const int64_t h = pair->at.h, w = pair->at.w;
	double *x = scratch->planes, *y = x + h * w;
	for (int c = 0; c < out->channels; c++) {
		take_plane(pair->reference, c, &pair->reference_at, x);
		take_plane(pair->image, c, &pair->at, y);
		vq_status s = vq_score_plane(&scratch->work, x, y, pair->mask ? scratch->mask : NULL, h, w, range, grey_of(&pair->norm, c),
		                             &out->channel[0][c], &out->channel[1][c]);
		if (s < 0)
			return vq_context(s, "record %s, channel %d", id, c + 1);
	}
	end(out);
	return VQ_OK;
}

vq_status vq_score_record(vq_score_scratch *scratch, vqt_record *image, vqt_record *reference, double range, bool grey, vq_record_score *out)
{
	vq_pair pair;
	VQ_TRY(begin(image, reference, grey, &pair, out));
	VQ_TRY(scratch_reserve(scratch, (size_t)(pair.at.h * pair.at.w)));
	if (pair.mask)
		out->inside = take_mask(pair.mask, &pair.reference_at, scratch->mask);
	return score_channels(scratch, &pair, image->id, range, out);
}

/* --- in two parts, with a device between ---------------------------------------------------------------------------- */

vq_status vq_score_take(vqt_record *image, vqt_record *reference, bool grey, vq_score_planes *p, vq_record_score *out)
{
	vq_pair pair;
	*p = (vq_score_planes){0};
	VQ_TRY(begin(image, reference, grey, &pair, out));
	const size_t n = (size_t)(out->h * out->w);
	p->data = vq_malloc(sizeof *p->data * 2 * n * (size_t)out->channels);
	p->mask = pair.mask ? vq_malloc(n) : NULL;
	if (!p->data || (pair.mask && !p->mask)) {
		vq_score_planes_free(p);
		return VQ_ENOMEM;
	}
	if (pair.mask)
		out->inside = take_mask(pair.mask, &pair.reference_at, p->mask);
	for (int c = 0; c < out->channels; c++) {
		double *x = p->data + 2 * n * (size_t)c, *y = x + n;
		take_plane(pair.reference, c, &pair.reference_at, x);
		take_plane(pair.image, c, &pair.at, y);
		p->channel[c] = (vq_pictures){ x, y, p->mask, (int)out->h, (int)out->w };
		p->grey[c] = grey_of(&pair.norm, c);
	}
	return VQ_OK;
}

vq_status vq_score_with(vq_score_work *work, const vq_score_planes *p, const vq_maps *maps, const char *id, double range, vq_record_score *out)
{
	for (int c = 0; c < out->channels; c++) {
		const vq_pictures *v = &p->channel[c];
		vq_score *whole = &out->channel[0][c], *inside = &out->channel[1][c];
		vq_status s = maps ? vq_score_plane_with(&maps[c], v->x, v->y, v->mask, v->h, v->w, range, p->grey[c], whole, inside) :
			vq_score_plane(work, v->x, v->y, v->mask, v->h, v->w, range, p->grey[c], whole, inside);
		if (s < 0)
			return vq_context(s, "record %s, channel %d", id, c + 1);
	}
	end(out);
	return VQ_OK;
}

void vq_score_planes_free(vq_score_planes *p)
{
	free(p->data);
	free(p->mask);
	*p = (vq_score_planes){0};
}
