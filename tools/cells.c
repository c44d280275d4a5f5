#include "tools/cells.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/normrec.h"

static bool same_way(const vq_norm *a, const vq_norm *b)
{
	if (a->method != b->method)
		return false;
	if (a->method == VQ_NORM_RAW || a->method == VQ_NORM_NONE)
		return true;
	return !strcmp(a->scope, b->scope) && (a->method == VQ_NORM_ZSCORE || a->clip == b->clip) &&
		(a->method != VQ_NORM_ROBUST || (a->percentiles[0] == b->percentiles[0] && a->percentiles[1] == b->percentiles[1]));
}

bool vq_norm_fixed(const vq_norm *n)
{
	bool some = false;
	for (int c = 0; c < n->channels; c++)
		some |= n->a[c] != 0 || n->b[c] != 0;
	return some && n->method > VQ_NORM_NONE && !strcmp(n->scope, "stats");
}

int vq_norm_differs(const vq_norm *a, const vq_norm *b)
{
	for (int c = 0; c < a->channels && c < b->channels; c++)
		if (a->a[c] != b->a[c] || a->b[c] != b->b[c])
			return c;
	return -1;
}

static vq_status refuse(const vqt_record *rec, const vq_norm *have, const vq_norm *want)
{
	char *a = vq_norm_describe(have), *b = vq_norm_describe(want);
	vq_status s = vq_fail(VQ_EINVAL, "record %s: normalised otherwise than the model's cells: it has %s, the model %s", rec->id, a ? a : "?", b ? b : "?");
	free(a);
	free(b);
	return s;
}

vq_status vq_cell_normalize(vqt_record *rec, const vq_norm *want)
{
	vq_norm have;
	vq_status s = vq_norm_get(rec->meta, &have);
	if (s < 0)
		return vq_context(s, "record %s", rec->id);
	if (same_way(&have, want)) {
		int c = vq_norm_fixed(want) ? vq_norm_differs(&have, want) : -1;
		if (c < 0)
			return VQ_OK;
		return vq_fail(VQ_EINVAL, "record %s: normalised from other statistics than the model's cells: channel %d has %g and %g, the model %g and %g", rec->id,
			c + 1, have.a[c], have.b[c], want->a[c], want->b[c]);
	}
	if (have.method != VQ_NORM_RAW || want->method == VQ_NORM_RAW)
		return refuse(rec, &have, want);
	if (want->method > VQ_NORM_NONE && !strcmp(want->scope, "stats") && !vq_norm_fixed(want))
		return vq_fail(VQ_EINVAL, "record %s: raw grey levels, and the model's cells were normalised from statistics that differ among them: "
			"use vq-normalize --stats FILE first", rec->id);
	return vq_normalize_record(rec, want, NULL, NULL);
}

void vq_cell_drop(vq_cell *c)
{
	free((void *)c->pixels);
	free((void *)c->mask);
	*c = (vq_cell){0};
}

vq_extent_rule vq_extent_of(const vq_model_info *info) { return (vq_extent_rule){ info->multiple, info->min, info->power_of_two, (vq_pad_mode)info->pad_mode }; }

static vq_status extent(const vq_tensor *t, vq_window w, vq_extent_rule rule, vq_tensor *out, vq_pad_plan *place)
{
	vq_tensor padded;
	VQ_TRY(vq_pad_make_plan(place, w.h, w.w, rule.power_of_two ? 0 : rule.multiple, rule.min));
	VQ_TRY(vq_pad_apply(t, w, place, rule.mode, &padded));
	if (t->dtype == VQ_F32) {
		*out = padded;
		return VQ_OK;
	}
	vq_status s = vq_tensor_to_f32(out, &padded);
	vq_tensor_free(&padded);
	return s;
}

static vq_status mask_extent(const vq_tensor *mask, vq_window w, vq_pad_plan place, uint8_t **out)
{
	uint8_t *m = vq_calloc((size_t)place.H * (size_t)place.W, 1);
	if (!m)
		return VQ_ENOMEM;
	for (int64_t y = 0; y < w.h; y++)
		memcpy(m + (place.top + y) * place.W + place.left, (const uint8_t *)mask->data + (w.top + y) * mask->shape[1] + w.left, (size_t)w.w);
	*out = m;
	return VQ_OK;
}

static vq_status check_finite(const vqt_record *rec, const vq_tensor *t)
{
	const float *v = t->data;
	size_t plane = (size_t)(t->shape[1] * t->shape[2]);
	for (size_t i = 0; i < plane * (size_t)t->shape[0]; i++)
		if (!isfinite(v[i]))
			return vq_fail(VQ_EINVAL, "record %s: channel %zu has a pixel that is %s", rec->id, i / plane + 1, isnan(v[i]) ? "NaN" : "infinite");
	return VQ_OK;
}

vq_status vq_cell_make(const vqt_record *rec, int channels, vq_extent_rule rule, bool want_mask, vq_cell *cell)
{
	vq_tensor *image, *mask, out;
	vq_geom g;
	vq_pad_plan place;
	uint8_t *m = NULL;
	vq_status s = vq_sample_check(rec, &image, &mask);
	*cell = (vq_cell){0};
	if (s < 0 || (s = vq_geom_get(rec->meta, image, &g)) < 0)
		return vq_context(s, "record %s", rec->id);
	if (image->shape[0] != channels)
		return vq_fail(VQ_EINVAL, "record %s: it has %lld channel%s, the model %d", rec->id, (long long)image->shape[0], image->shape[0] == 1 ? "" : "s", channels);
	vq_window w = { g.top, g.left, g.h, g.w };
	if ((s = extent(image, w, rule, &out, &place)) < 0)
		return vq_context(s, "record %s", rec->id);
	s = check_finite(rec, &out);
	if (s == VQ_OK && want_mask && mask)
		s = mask_extent(mask, w, place, &m);
	if (s < 0) {
		vq_tensor_free(&out);
		return s;
	}
	*cell = (vq_cell){ out.data, m, (int)place.H, (int)place.W, (int)place.top, (int)place.left, (int)place.h, (int)place.w };
	return VQ_OK;
}

cJSON *vq_cells_channels(const cJSON *header, const vqt_record *first)
{
	const cJSON *c = cJSON_GetObjectItemCaseSensitive(header, "channels");
	if (!cJSON_IsArray(c) || !cJSON_GetArraySize(c))
		c = cJSON_GetObjectItemCaseSensitive(first->meta, "channels");
	if (cJSON_IsArray(c) && cJSON_GetArraySize(c))
		return cJSON_Duplicate(c, true);
	vq_tensor *image = vqt_get(first, "image");
	cJSON *names = cJSON_CreateArray();
	for (int64_t i = 0; image && names && i < image->shape[0]; i++) {
		char name[32];
		snprintf(name, sizeof name, "C%lld", (long long)i + 1);
		cJSON_AddItemToArray(names, cJSON_CreateString(name));
	}
	return names;
}
