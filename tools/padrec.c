#include "tools/padrec.h"

#include <stdio.h>

/* Replaces image and mask by their padded (or, with plan NULL, bare) forms. */
static vq_status replace(vqt_record *rec, vq_window true_pixels, const vq_pad_plan *plan, vq_pad_mode mode)
{
	static const char *const names[] = { "image", "mask" };
	for (int i = 0; i < 2; i++) {
		vq_tensor *t = vqt_get(rec, names[i]), out = {0};
		if (!t)
			continue;
		vq_status s = plan ? vq_pad_apply(t, true_pixels, plan, i ? VQ_PAD_ZERO : mode, &out) : vq_pad_remove(t, true_pixels, &out);
		if (s == VQ_OK)
			s = vqt_set(rec, names[i], &out);
		vq_tensor_free(&out);
		VQ_TRY(s);
	}
	return VQ_OK;
}

static vq_status pad(vqt_record *rec, const vq_tensor *image, vq_pad_mode mode, int64_t multiple, int64_t min)
{
	vq_geom g;
	vq_pad_plan p;
	VQ_TRY(vq_geom_get(rec->meta, image, &g));
	VQ_TRY(vq_pad_make_plan(&p, g.h, g.w, multiple, min));
	VQ_TRY(replace(rec, (vq_window){ g.top, g.left, g.h, g.w }, &p, mode));
	g.top = p.top;
	g.left = p.left;
	g.bottom = p.H - p.h - p.top;
	g.right = p.W - p.w - p.left;
	snprintf(g.mode, sizeof g.mode, "%s", vq_pad_name(mode));
	return vq_geom_set(rec->meta, &g);
}

vq_status vq_pad_record(vqt_record *rec, vq_pad_mode mode, int64_t multiple, int64_t min)
{
	vq_tensor *image;
	VQ_TRY(vq_sample_check(rec, &image, NULL));
	vq_status s = pad(rec, image, mode, multiple, min);
	return s < 0 ? vq_context(s, "record %s", rec->id) : s;
}

static vq_status unpad(vqt_record *rec, const vq_tensor *image)
{
	vq_geom g;
	VQ_TRY(vq_geom_get(rec->meta, image, &g));
	if (g.top || g.bottom || g.left || g.right)
		VQ_TRY(replace(rec, (vq_window){ g.top, g.left, g.h, g.w }, NULL, VQ_PAD_ZERO));
	g = (vq_geom){ .h = g.h, .w = g.w };
	return vq_geom_set(rec->meta, &g);
}

vq_status vq_unpad_record(vqt_record *rec)
{
	vq_tensor *image;
	VQ_TRY(vq_sample_check(rec, &image, NULL));
	vq_status s = unpad(rec, image);
	return s < 0 ? vq_context(s, "record %s", rec->id) : s;
}
