#include "tools/coderec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- writing --------------------------------------------------------------------------------------------------------- */

/* A grid of codes is [h,w], one code a cell is [1]. */
static vq_status set_codes(vqt_record *out, const vq_code_level *l, const int32_t *codes, int height, int width)
{
	vq_tensor t;
	int h = codec_positions(height, l->stride), w = codec_positions(width, l->stride);
	VQ_TRY(vq_tensor_make(&t, l->size <= 65536 ? VQ_U16 : VQ_I32, l->stride ? 2 : 1, (int64_t[]){ h, w }));
	for (size_t i = 0; i < (size_t)h * (size_t)w; i++)
		if (t.dtype == VQ_U16)
			((uint16_t *)t.data)[i] = (uint16_t)codes[i];
		else
			((int32_t *)t.data)[i] = codes[i];
	return vqt_set(out, l->name, &t);
}

static vq_status set_vector(vqt_record *out, const char *name, const float *v, int n)
{
	vq_tensor t;
	VQ_TRY(vq_tensor_make(&t, VQ_F32, 1, (int64_t[]){ n }));
	memcpy(t.data, v, sizeof *v * (size_t)n);
	return vqt_set(out, name, &t);
}

static vq_status set_histogram(vqt_record *out, int level, const int32_t *v, int n)
{
	vq_tensor t;
	char name[32];
	snprintf(name, sizeof name, "histogram.%d", level);
	if (!level)
		name[strlen("histogram")] = 0;
	VQ_TRY(vq_tensor_make(&t, VQ_I32, 1, (int64_t[]){ n }));
	memcpy(t.data, v, sizeof *v * (size_t)n);
	return vqt_set(out, name, &t);
}

/* The feature maps that the decoder needs: skip.0, ... [C,h,w]. */
static vq_status set_skips(vqt_record *out, const vq_model_info *info, const cell_codes *k)
{
	for (int i = 0; i < info->skips; i++) {
		int64_t shape[3] = { info->skip[i].channels, k->extent_h / info->skip[i].stride, k->extent_w / info->skip[i].stride };
		char name[32];
		vq_tensor t;
		snprintf(name, sizeof name, "skip.%d", i);
		VQ_TRY(vq_tensor_make(&t, VQ_F32, 3, shape));
		memcpy(t.data, k->skip[i], sizeof(float) * (size_t)(shape[0] * shape[1] * shape[2]));
		VQ_TRY(vqt_set(out, name, &t));
	}
	return VQ_OK;
}

vq_status vq_coderec_set(const vq_model_info *info, const vq_cell *c, const cell_codes *k, bool features, vqt_record *out)
{
	vq_geom g = { .h = c->th, .w = c->tw, .top = c->top, .left = c->left, .bottom = c->h - c->top - c->th, .right = c->w - c->left - c->tw };
	strcpy(g.mode, vq_pad_name((vq_pad_mode)info->pad_mode));
	VQ_TRY(vq_geom_set(out->meta, &g));
	VQ_TRY(vq_json_set(out->meta, "extent", vq_json_doubles((double[]){ c->h, c->w }, 2)));
	for (int l = 0; l < info->levels; l++)
		VQ_TRY(set_codes(out, &info->level[l], k->codes[l], c->h, c->w));
	VQ_TRY(set_skips(out, info, k));
	if (!features)
		return VQ_OK;
	VQ_TRY(set_vector(out, "latent_mean", k->mean, info->level[0].dim));
	VQ_TRY(set_vector(out, "latent_std", k->std, info->level[0].dim));
	for (int l = 0; l < info->levels; l++)
		VQ_TRY(set_histogram(out, l, k->histogram[l], info->level[l].size));
	return VQ_OK;
}

/* --- reading --------------------------------------------------------------------------------------------------------- */

/* A level's codes, as i32. */
static vq_status take_codes(const vq_code_level *level, const vq_tensor *t, int32_t **codes)
{
	size_t n = (size_t)t->shape[0] * (size_t)(level->stride ? t->shape[1] : 1);
	if (!(*codes = vq_malloc(n * sizeof **codes)))
		return VQ_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int32_t v = (*codes)[i] = t->dtype == VQ_U16 ? ((uint16_t *)t->data)[i] : ((int32_t *)t->data)[i];
		if (v < 0 || v >= level->size)
			return vq_fail(VQ_EINVAL, "code %d at position %zu of \"%s\", which has %d", (int)v, i, level->name, level->size);
	}
	return VQ_OK;
}

/* Codes of every level; h and w: positions of the first. The others' are checked once the extent is known. */
static vq_status read_codes(const vq_model *m, const vqt_record *in, cell_codes *k, int64_t *h, int64_t *w)
{
	for (int l = 0; l < m->info.levels; l++) {
		const vq_code_level *level = &m->info.level[l];
		bool one = level->stride == 0;
		vq_tensor *t = vqt_get(in, level->name);
		if (!t || t->ndim != (one ? 1 : 2) || (t->dtype != VQ_U16 && t->dtype != VQ_I32))
			return vq_fail(VQ_EINVAL, "no %s \"%s\"", one ? "code of the whole cell" : "grid of codes", level->name);
		if (one && t->shape[0] != 1)
			return vq_fail(VQ_EINVAL, "%lld codes in \"%s\", not one", (long long)t->shape[0], level->name);
		int64_t rows = t->shape[0], columns = one ? 1 : t->shape[1];
		if (rows < 1 || columns < 1 || rows > 1 << 15 || columns > 1 << 15)
			return vq_fail(VQ_EINVAL, "a grid of %lld x %lld codes", (long long)rows, (long long)columns);
		if (!l) {
			*h = rows;
			*w = columns;
		}
		VQ_TRY(take_codes(level, t, &k->codes[l]));
	}
	return VQ_OK;
}

/* Every level covers the same extent. */
static vq_status check_grids(const vq_model *m, const vqt_record *in, const cell_codes *k)
{
	for (int l = 0; l < m->info.levels; l++) {
		const vq_code_level *level = &m->info.level[l];
		const vq_tensor *t = vqt_get(in, level->name);
		int h = codec_positions(k->extent_h, level->stride), w = codec_positions(k->extent_w, level->stride);
		if (level->stride && (t->shape[0] != h || t->shape[1] != w))
			return vq_fail(VQ_EINVAL, "\"%s\" is a grid of %lld x %lld codes; a cell of %d x %d has %d x %d there", level->name, (long long)t->shape[0],
				(long long)t->shape[1], k->extent_h, k->extent_w, h, w);
	}
	return VQ_OK;
}

/* The extent and where the true pixels are in it: of a grid of codes, which it must fit; of one code a cell, what the model's rule makes of
 * the true size. */
static vq_status read_place(const vq_model *m, const vqt_record *in, int64_t h, int64_t w, cell_codes *k, vq_geom *g)
{
	const vq_model_info *info = &m->info;
	vq_tensor whole = { .dtype = VQ_F32, .ndim = 3, .shape = { m->channels, h * info->stride, w * info->stride } };
	VQ_TRY(vq_geom_get(in->meta, info->stride ? &whole : NULL, g));
	if (!info->stride) {
		vq_pad_plan p;
		VQ_TRY(vq_pad_make_plan(&p, g->h, g->w, info->power_of_two ? 0 : info->multiple, info->min));
		if (p.top != g->top || p.left != g->left || p.H != g->h + g->top + g->bottom || p.W != g->w + g->left + g->right)
			return vq_fail(VQ_EINVAL, "a cell of %lld x %lld is not padded to %lld x %lld, as the model pads it", (long long)g->h, (long long)g->w, (long long)p.H, (long long)p.W);
		whole.shape[1] = p.H;
		whole.shape[2] = p.W;
	}
	k->extent_h = (int)whole.shape[1];
	k->extent_w = (int)whole.shape[2];
	k->valid = (vq_rect){ 0, (int32_t)g->top, (int32_t)g->left, (int32_t)g->h, (int32_t)g->w };
	return VQ_OK;
}

/* The feature maps beside the codes. */
static vq_status read_skips(const vq_model *m, const vqt_record *in, cell_codes *k)
{
	const vq_model_info *info = &m->info;
	for (int i = 0; i < info->skips; i++) {
		int64_t c = info->skip[i].channels, h = k->extent_h / info->skip[i].stride, w = k->extent_w / info->skip[i].stride;
		char name[32];
		snprintf(name, sizeof name, "skip.%d", i);
		vq_tensor *t = vqt_get(in, name);
		if (!t || t->dtype != VQ_F32 || t->ndim != 3 || t->shape[0] != c || t->shape[1] != h || t->shape[2] != w)
			return vq_fail(VQ_EINVAL, "no feature map \"%s\" of %lld x %lld x %lld, which the decoder needs", name, (long long)c, (long long)h, (long long)w);
		size_t bytes = sizeof(float) * (size_t)(c * h * w);
		if (!(k->skip[i] = vq_malloc(bytes)))
			return VQ_ENOMEM;
		memcpy(k->skip[i], t->data, bytes);
	}
	return VQ_OK;
}

vq_status vq_coderec_get(const vq_model *m, const vqt_record *in, cell_codes *k, vq_geom *g)
{
	int64_t h = 0, w = 0;
	VQ_TRY(read_codes(m, in, k, &h, &w));
	VQ_TRY(read_place(m, in, h, w, k, g));
	VQ_TRY(check_grids(m, in, k));
	return read_skips(m, in, k);
}
