#include "tools/normrec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/normalize.h"

static vq_map_kind map_kind(vq_norm_method m)
{
	return m == VQ_NORM_ROBUST || m == VQ_NORM_MINMAX ? VQ_MAP_RANGE : m == VQ_NORM_ZSCORE ? VQ_MAP_SCORE : VQ_MAP_NONE;
}

static vq_status record_bounds(const vq_tensor *image, int64_t c, vq_window w, const vq_norm *how, double ab[2])
{
	switch (how->method) {
	case VQ_NORM_ROBUST: return vq_plane_percentiles(image, c, w, how->percentiles, 2, ab);
	case VQ_NORM_MINMAX: return vq_plane_range(image, c, w, ab, ab + 1);
	case VQ_NORM_ZSCORE: return vq_plane_moments(image, c, w, ab, ab + 1);
	default: return VQ_OK;
	}
}

/* from: the statistics of scope field or stats, whose channel `at` is the image's c; NULL: how->a and how->b hold them. */
static vq_status bounds(const vq_tensor *image, int c, vq_window w, const vq_norm *how, const cJSON *from, int at, double ab[2])
{
	const double p[2] = { how->method == VQ_NORM_MINMAX ? 0 : how->percentiles[0], how->method == VQ_NORM_MINMAX ? 100 : how->percentiles[1] };
	if (!strcmp(how->scope, "record") || how->method == VQ_NORM_NONE)
		return record_bounds(image, c, w, how, ab);
	if (!from) {
		ab[0] = how->a[c];
		ab[1] = how->b[c];
		return VQ_OK;
	}
	return vq_stats_bounds(from, at, how->method == VQ_NORM_ZSCORE ? NULL : p, ab);
}

/* The statistics that scope field or stats takes; *channel[c]: their index of the record's channel c. */
static vq_status find_stats(const vqt_record *rec, const vq_norm *how, vq_stats *stats, int channels, const cJSON **from, int *channel)
{
	*from = NULL;
	for (int c = 0; c < channels; c++)
		channel[c] = c;
	if (how->method == VQ_NORM_NONE || !strcmp(how->scope, "record"))
		return VQ_OK;
	if (!strcmp(how->scope, "field")) {
		*from = cJSON_GetObjectItemCaseSensitive(rec->meta, "field_stats");
		return *from ? VQ_OK : vq_fail(VQ_EINVAL, "it carries no field statistics (field_stats), which vq-crop records");
	}
	if (stats)
		return vq_stats_find(stats, rec->meta, channels, from, channel);
	if (how->channels != channels)
		return vq_fail(VQ_EINVAL, "%d channels, and the normalisation is of %d", channels, how->channels);
	return VQ_OK;
}

static const char *channel_name(const cJSON *meta, int c, char buf[32])
{
	const cJSON *name = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(meta, "channels"), c);
	if (cJSON_IsString(name))
		return name->valuestring;
	snprintf(buf, 32, "%d", c + 1);
	return buf;
}

/* The padding round the true pixels follows their map, but for zeros, which stay: so that padding and normalising commute. */
static vq_status map_padding(vq_map m, const vq_tensor *image, int c, const vq_geom *g, vq_tensor *out)
{
	const int64_t width = g->left + g->w + g->right;
	const vq_window beside[] = {
		{ 0, 0, g->top, width }, { g->top + g->h, 0, g->bottom, width },
		{ g->top, 0, g->h, g->left }, { g->top, g->left + g->w, g->h, g->right },
	};
	if (!strcmp(g->mode, "zero"))
		return VQ_OK;
	for (size_t i = 0; i < VQ_COUNT(beside); i++)
		if (beside[i].h && beside[i].w)
			VQ_TRY(vq_map_plane(m, image, c, beside[i], out, NULL));
	return VQ_OK;
}

static vq_status normalize_channel(const vq_tensor *image, int c, const vq_geom *g, const cJSON *from, int at, vq_norm *n, vq_tensor *out)
{
	vq_window w = { g->top, g->left, g->h, g->w };
	double ab[2] = { 0, 0 };
	size_t lost = 0;
	vq_map m;
	VQ_TRY(bounds(image, c, w, n, from, at, ab));
	VQ_TRY(vq_map_make(&m, map_kind(n->method), ab[0], ab[1], n->clip));
	VQ_TRY(vq_map_plane(m, image, c, w, out, &lost));
	VQ_TRY(map_padding(m, image, c, g, out));
	n->a[c] = ab[0];
	n->b[c] = ab[1];
	n->constant[c] = m.constant;
	n->clipped[c] = (double)lost / ((double)g->h * (double)g->w);
	return VQ_OK;
}

static vq_status refuse_normalized(const vq_norm *n)
{
	char *how = vq_norm_describe(n);
	vq_fail(VQ_EINVAL, "it is normalised already (%s); vq-normalize takes raw grey levels", how ? how : vq_norm_name(n->method));
	free(how);
	return VQ_EINVAL;
}

static vq_status normalize(vqt_record *rec, const vq_norm *how, vq_stats *stats, vq_norm *n, vq_tensor *out)
{
	vq_tensor *image;
	vq_geom g;
	const cJSON *from;
	int channel[VQ_CHANNELS_MAX];
	char buf[32];
	VQ_TRY(vq_norm_get(rec->meta, n));
	if (n->method > VQ_NORM_NONE)
		return refuse_normalized(n);
	image = vqt_get(rec, "image");
	VQ_TRY(vq_geom_get(rec->meta, image, &g));
	*n = *how;
	n->channels = (int)image->shape[0];
	VQ_TRY(find_stats(rec, how, stats, n->channels, &from, channel));
	VQ_TRY(vq_tensor_make(out, VQ_F32, 3, image->shape));
	for (int c = 0; c < n->channels; c++) {
		vq_status s = normalize_channel(image, c, &g, from, channel[c], n, out);
		if (s < 0)
			return vq_context(s, "channel %s", channel_name(rec->meta, c, buf));
	}
	VQ_TRY(vq_norm_set(rec->meta, n));
	return vqt_set(rec, "image", out);
}

vq_status vq_normalize_record(vqt_record *rec, const vq_norm *how, vq_stats *stats, vq_norm *done)
{
	vq_tensor *image, out = {0};
	vq_norm n;
	VQ_TRY(vq_sample_check(rec, &image, NULL));
	vq_status s = normalize(rec, how, stats, &n, &out);
	vq_tensor_free(&out);
	if (s < 0)
		return vq_context(s, "record %s", rec->id);
	if (done)
		*done = n;
	return VQ_OK;
}

vq_status vq_denormalize_record(const vqt_record *rec, vq_tensor *grey)
{
	vq_tensor *image, f = {0};
	vq_norm n;
	vq_map m;
	*grey = (vq_tensor){0};
	VQ_TRY(vq_sample_check(rec, &image, NULL));
	vq_status s = vq_norm_get(rec->meta, &n);
	if (s == VQ_OK && n.method > VQ_NORM_NONE && n.channels != image->shape[0])
		s = vq_fail(VQ_EFORMAT, "%lld channels, and the metadata key normalize has %d", (long long)image->shape[0], n.channels);
	if (s == VQ_OK)
		s = vq_tensor_room(grey, VQ_F64, 3, image->shape);
	size_t plane = (size_t)(image->shape[1] * image->shape[2]);
	if (s == VQ_OK && n.method <= VQ_NORM_NONE)
		for (size_t i = 0; i < plane * (size_t)image->shape[0]; i++)
			((double *)grey->data)[i] = vq_tensor_get(image, i);
	else if (s == VQ_OK && (s = vq_tensor_to_f32(&f, image)) == VQ_OK)
		for (int c = 0; c < n.channels && s == VQ_OK; c++) {
			s = vq_map_make(&m, map_kind(n.method), n.a[c], n.b[c], n.clip);
			if (s == VQ_OK)
				vq_map_inverse(m, (const float *)f.data + (size_t)c * plane, plane, (double *)grey->data + (size_t)c * plane);
		}
	vq_tensor_free(&f);
	if (s < 0)
		vq_tensor_free(grey);
	return s < 0 ? vq_context(s, "record %s", rec->id) : s;
}
