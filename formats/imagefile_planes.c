/* Stored samples to planes for analysis, and to labels. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/imagefile_priv.h"

/* --- one page's samples --- */

static vq_status read_at(vq_image_file *f, const vq_plane_at *at, bool luminance, vq_page *p, vq_tensor *out)
{
	*out = (vq_tensor){0};
	VQ_TRY(vq_image_page(f, at->page, p));
	if (at->stack >= 0)
		VQ_TRY(vq_tiff_read_stacked(f, at->stack, out));
	else if (f->tiff)
		VQ_TRY(vq_tiff_read(f, at->page, luminance, out));
	else
		VQ_TRY(vq_png_read(f, out));
	p->dtype = out->dtype;
	p->samples = (int)out->shape[2];
	if (p->alpha >= p->samples) /* a display reading has left it out */
		p->alpha = -1;
	return VQ_OK;
}

/* A fourth sample of unknown meaning beside colour that is opaque everywhere: an alpha that nobody named. */
static bool idle_fourth(const vq_page *p, const vq_tensor *t)
{
	if (p->photometric != VQ_PHOTO_RGB || p->samples != 4 || p->alpha >= 0 || p->kind != VQ_KIND_UINT || p->bits > 32)
		return false;
	double top = ldexp(1, p->bits) - 1;
	for (size_t i = 3, n = (size_t)(p->width * p->height) * 4; i < n; i += 4)
		if (vq_tensor_get(t, i) != top)
			return false;
	return true;
}

/* Sample s of an interleaved page as a plane. */
static void gather(const vq_tensor *t, int s, void *to)
{
	size_t n = (size_t)(t->shape[0] * t->shape[1]), step = (size_t)t->shape[2], size = vq_dtype_size(t->dtype);
	const char *from = (const char *)t->data + (size_t)s * size;
	char *out = to;
	if (step == 1) {
		memcpy(out, from, n * size);
		return;
	}
	switch (size) {
	case 1: for (size_t i = 0; i < n; i++) out[i] = from[i * step]; break;
	case 2: for (size_t i = 0; i < n; i++) ((uint16_t *)to)[i] = ((const uint16_t *)(const void *)from)[i * step]; break;
	default: for (size_t i = 0; i < n; i++) memcpy(out + i * size, from + i * step * size, size);
	}
}

static void invert(const vq_page *p, vq_dtype type, void *data, size_t n)
{
	uint64_t top = p->bits >= 63 ? INT64_MAX : ((uint64_t)1 << p->bits) - 1;
	bool sign = p->kind == VQ_KIND_INT;
	switch (type) {
	case VQ_U8: for (size_t i = 0; i < n; i++) ((uint8_t *)data)[i] = (uint8_t)(top - ((uint8_t *)data)[i]); break;
	case VQ_I8: for (size_t i = 0; i < n; i++) ((int8_t *)data)[i] = (int8_t)~((int8_t *)data)[i]; break;
	case VQ_U16: for (size_t i = 0; i < n; i++) ((uint16_t *)data)[i] = (uint16_t)(top - ((uint16_t *)data)[i]); break;
	case VQ_I32: for (size_t i = 0; i < n; i++) ((int32_t *)data)[i] = ~((int32_t *)data)[i]; break;
	case VQ_I64: for (size_t i = 0; i < n; i++) ((int64_t *)data)[i] = sign ? ~((int64_t *)data)[i] : (int64_t)top - ((int64_t *)data)[i]; break;
	case VQ_F16: for (size_t i = 0; i < n; i++) ((uint16_t *)data)[i] ^= 0x8000; break;
	case VQ_F32: for (size_t i = 0; i < n; i++) ((float *)data)[i] = -((float *)data)[i]; break;
	case VQ_F64: for (size_t i = 0; i < n; i++) ((double *)data)[i] = -((double *)data)[i]; break;
	default: break;
	}
}

/* --- palettes --- */

/* Every colour a straight ramp from black, and not all alike: a lookup table that tints, not a picture's colours. */
static bool is_ramp(const vq_palette *c)
{
	if (c->n < 16)
		return false;
	const uint16_t *last = c->rgb + 3 * (c->n - 1);
	bool grey = last[0] == last[1] && last[1] == last[2];
	if (grey || (!last[0] && !last[1] && !last[2]))
		return false;
	for (int i = 0; i < c->n; i++)
		for (int k = 0; k < 3; k++)
			if (fabs(c->rgb[3 * i + k] - (double)last[k] * i / (c->n - 1)) > 400)
				return false;
	return true;
}

static bool eight_bit(const vq_palette *c)
{
	for (int i = 0; i < 3 * c->n; i++)
		if ((c->rgb[i] & 0xff) && c->rgb[i] >> 8 != (c->rgb[i] & 0xff))
			return false;
	return true;
}

static vq_status look_up(vq_image_file *f, const vq_page *p, const vq_tensor *t, const vq_palette *c, bool narrow, vq_tensor *out)
{
	size_t n = (size_t)(p->width * p->height);
	VQ_TRY(vq_tensor_room(out, narrow ? VQ_U8 : VQ_U16, 3, (int64_t[]){ 3, p->height, p->width }));
	for (size_t i = 0; i < n; i++) {
		int v = (int)vq_tensor_get(t, i * (size_t)p->samples);
		if (v < 0 || v >= c->n) {
			vq_tensor_free(out);
			return vq_fail(VQ_EFORMAT, "%s: palette index %d where the palette has %d colours", f->path, v, c->n);
		}
		for (size_t k = 0; k < 3; k++) {
			uint16_t e = c->rgb[3 * v + (int)k];
			if (narrow)
				((uint8_t *)out->data)[k * n + i] = (uint8_t)(e >> 8);
			else
				((uint16_t *)out->data)[k * n + i] = e;
		}
	}
	return VQ_OK;
}

static vq_status palette_planes(vq_image_file *f, const vq_plane_at *at, const vq_page *p, const vq_tensor *t, vq_image *im, vq_tensor *out)
{
	vq_palette c;
	VQ_TRY(f->tiff ? vq_tiff_palette(f, at->page, &c) : vq_png_palette(f, &c));
	vq_status s;
	bool old = true; /* 8-bit entries in 16-bit places */
	for (int i = 0; i < 3 * c.n; i++)
		old = old && c.rgb[i] < 256;
	for (int i = 0; old && i < 3 * c.n; i++)
		c.rgb[i] = (uint16_t)(c.rgb[i] * 257);
	im->alpha_dropped |= p->samples > 1;
	im->looked_up = true;
	im->rgb = !(im->ramp = is_ramp(&c));
	if (im->ramp) {
		s = vq_tensor_room(out, t->dtype, 3, (int64_t[]){ 1, p->height, p->width });
		if (s == VQ_OK)
			gather(t, 0, out->data);
	} else {
		bool narrow = eight_bit(&c);
		im->bits = narrow ? 8 : 16;
		s = look_up(f, p, t, &c, narrow, out);
	}
	free(c.rgb);
	return s;
}

/* --- a page to planes --- */

static vq_status refuse(const vq_image_file *f, const vq_page *p)
{
	switch (p->photometric) {
	case VQ_PHOTO_CMYK: return vq_fail(VQ_EUNSUP, "%s: CMYK: inks, not light; convert it to grey or RGB", f->path);
	case VQ_PHOTO_LAB: return vq_fail(VQ_EUNSUP, "%s: CIE L*a*b* colour; convert it to grey or RGB", f->path);
	case VQ_PHOTO_LOGLUV: return vq_fail(VQ_EUNSUP, "%s: LogLuv colour; convert it to grey or RGB", f->path);
	case VQ_PHOTO_OTHER: return vq_fail(VQ_EUNSUP, "%s: a photometric interpretation that is not known", f->path);
	default: return VQ_OK;
	}
}

/* 8-bit RGBA with R=G=B everywhere, as many tools save grey images: R into grey, as far as they are alike. */
static bool grey_words(const vq_tensor *t, uint8_t *restrict grey)
{
	enum { PIECE = 4096 };
	const uint32_t *p = t->data; /* little-endian words: R is lowest */
	for (size_t n = (size_t)(t->shape[0] * t->shape[1]), i = 0; i < n; i += PIECE) {
		uint32_t unlike = 0;
		for (size_t k = i, end = VQ_MIN(i + PIECE, n); k < end; k++) {
			unlike |= (p[k] ^ p[k] >> 8) & 0xffff;
			grey[k] = (uint8_t)p[k];
		}
		if (unlike)
			return false;
	}
	return true;
}

/* *done: the page was grey in disguise, and out is its plane. */
static vq_status grey_plane(const vq_page *p, const vq_tensor *t, vq_tensor *out, bool *done)
{
	VQ_TRY(vq_tensor_room(out, VQ_U8, 3, (int64_t[]){ 1, p->height, p->width }));
	if (!(*done = grey_words(t, out->data)))
		vq_tensor_free(out);
	return VQ_OK;
}

/* alone: no other page is stacked with it, so that what is collapsed at the end may be left out at once. */
static vq_status page_planes(vq_image_file *f, const vq_plane_at *at, bool alone, vq_image *im, vq_tensor *out)
{
	vq_page p;
	vq_tensor t;
	*out = (vq_tensor){0};
	VQ_TRY(vq_image_page(f, at->page, &p));
	VQ_TRY(refuse(f, &p));
	VQ_TRY(read_at(f, at, p.photometric == VQ_PHOTO_LOGL, &p, &t));
	im->bits = p.bits;
	vq_status s;
	if (p.photometric == VQ_PHOTO_PALETTE) {
		s = palette_planes(f, at, &p, &t, im, out);
		vq_tensor_free(&t);
		return s;
	}
	int drop = idle_fourth(&p, &t) ? 3 : p.alpha;
	int planes = p.samples - (drop >= 0);
	size_t n = (size_t)(p.width * p.height), size = vq_dtype_size(t.dtype);
	if (planes < 1) /* a page that is nothing but alpha */
		drop = -1, planes = p.samples;
	s = VQ_OK;
	if (alone && planes == 3 && drop == 3 && p.photometric == VQ_PHOTO_RGB && t.dtype == VQ_U8 && t.shape[2] == 4)
		s = grey_plane(&p, &t, out, &im->grey_rgb);
	if (im->grey_rgb) {
		planes = 1;
	} else if (s == VQ_OK && p.samples == 1) {
		*out = t;
		memcpy(out->shape, (int64_t[]){ 1, p.height, p.width }, 3 * sizeof *out->shape);
		t = (vq_tensor){0};
	} else if (s == VQ_OK) {
		s = vq_tensor_room(out, t.dtype, 3, (int64_t[]){ planes, p.height, p.width });
		for (int i = 0, k = 0; s == VQ_OK && k < planes; i++)
			if (i != drop)
				gather(&t, i, (char *)out->data + (size_t)k++ * n * size);
	}
	vq_tensor_free(&t);
	VQ_TRY(s);
	im->alpha_dropped |= drop >= 0;
	im->rgb = planes == 3 && (p.photometric == VQ_PHOTO_RGB || p.photometric == VQ_PHOTO_YCBCR);
	if (p.photometric == VQ_PHOTO_INVERTED) {
		invert(&p, out->dtype, out->data, (size_t)planes * n);
		im->inverted = true;
	}
	return VQ_OK;
}

/* --- several pages to one stack --- */

static vq_status all_pages(vq_image_file *f, vq_plane_at **out, int *n)
{
	if (!(*out = vq_calloc((size_t)f->pages, sizeof **out)))
		return VQ_ENOMEM;
	*n = 0;
	for (int i = 0; i < f->pages; i++) {
		vq_page p;
		vq_status s = vq_image_page(f, i, &p);
		if (s < 0) {
			free(*out);
			return s;
		}
		if (!p.reduced || !i)
			(*out)[(*n)++] = (vq_plane_at){ .page = i, .stack = -1 };
	}
	return VQ_OK;
}

/* The planes that pick names, a fresh list. */
static vq_status find(vq_image_file *f, const vq_pick *pick, vq_plane_at **out, int *n)
{
	vq_axes a;
	*out = NULL;
	if (pick->page >= 0) {
		if (pick->page >= f->pages)
			return vq_fail(VQ_EINVAL, "%s: page %d is asked for, it has %d", f->path, pick->page + 1, f->pages);
		if (!(*out = vq_calloc(1, sizeof **out)))
			return VQ_ENOMEM;
		**out = (vq_plane_at){ .page = pick->page, .stack = -1 };
		*n = 1;
		return VQ_OK;
	}
	VQ_TRY(vq_image_axes(f, pick->series, &a));
	if (pick->pages_are_channels && a.source == VQ_AXES_PAGES)
		return all_pages(f, out, n);
	if (pick->c >= a.c || pick->z < 0 || pick->z >= a.z || pick->t < 0 || pick->t >= a.t)
		return vq_fail(VQ_EINVAL, "%s: channel %d, plane %d, time %d is asked for of %d, %d, %d", f->path, pick->c + 1, pick->z + 1,
		               pick->t + 1, a.c, a.z, a.t);
	if (a.mixed)
		return vq_fail(VQ_EUNSUP, "%s: has pages of unlike size or type: choose a page", f->path);
	int first = pick->c < 0 ? 0 : pick->c;
	*n = pick->c < 0 ? a.c : 1;
	if (!(*out = vq_calloc((size_t)*n, sizeof **out)))
		return VQ_ENOMEM;
	for (int i = 0; i < *n; i++)
		(*out)[i] = f->series[pick->series].at[((size_t)(first + i) * (size_t)a.z + (size_t)pick->z) * (size_t)a.t + (size_t)pick->t];
	return VQ_OK;
}

/* R=G=B in every triple: one plane of each stays. */
static vq_status collapse(vq_image *im)
{
	vq_tensor *t = &im->planes, one;
	size_t bytes = (size_t)(t->shape[1] * t->shape[2]) * vq_dtype_size(t->dtype);
	const char *p = t->data;
	for (int64_t c = 0; c < t->shape[0]; c += 3, p += 3 * bytes)
		if (memcmp(p, p + bytes, bytes) || memcmp(p, p + 2 * bytes, bytes))
			return VQ_OK;
	VQ_TRY(vq_tensor_room(&one, t->dtype, 3, (int64_t[]){ t->shape[0] / 3, t->shape[1], t->shape[2] }));
	for (int64_t c = 0; c < one.shape[0]; c++)
		memcpy((char *)one.data + (size_t)c * bytes, (char *)t->data + 3 * (size_t)c * bytes, bytes);
	vq_tensor_free(t);
	*t = one;
	im->rgb = false;
	im->grey_rgb = true;
	return VQ_OK;
}

/* Page i's planes into place; the first page decides shape and type for all. */
static vq_status stack(vq_image_file *f, const vq_plane_at *at, int i, int n, vq_image *im)
{
	vq_tensor t, *all = &im->planes;
	bool rgb = im->rgb;
	VQ_TRY(page_planes(f, &at[i], n == 1, im, &t));
	if (n == 1) {
		*all = t;
		return VQ_OK;
	}
	vq_status s = VQ_OK;
	int64_t each = t.shape[0];
	size_t bytes = 0;
	if (i == 0)
		s = vq_tensor_room(all, t.dtype, 3, (int64_t[]){ each * n, t.shape[1], t.shape[2] });
	else if (t.dtype != all->dtype || each * n != all->shape[0] || t.shape[1] != all->shape[1] || t.shape[2] != all->shape[2] || rgb != im->rgb)
		s = vq_fail(VQ_EUNSUP, "%s: pages %d and %d are of unlike size or type", f->path, at[0].page + 1, at[i].page + 1);
	if (s == VQ_OK)
		s = vq_tensor_bytes(&t, &bytes);
	if (s == VQ_OK)
		memcpy((char *)all->data + (size_t)i * bytes, t.data, bytes);
	vq_tensor_free(&t);
	return s;
}

vq_status vq_image_planes(vq_image_file *f, const vq_pick *pick, vq_image *out)
{
	vq_plane_at *at;
	int n = 0;
	*out = (vq_image){0};
	VQ_TRY(find(f, pick, &at, &n));
	vq_status s = VQ_OK;
	for (int i = 0; s == VQ_OK && i < n; i++)
		s = stack(f, at, i, n, out);
	if (s == VQ_OK && out->rgb)
		s = collapse(out);
	free(at);
	if (s < 0)
		vq_image_free(out);
	return s;
}

void vq_image_free(vq_image *im)
{
	vq_tensor_free(&im->planes);
	*im = (vq_image){0};
}

/* --- labels --- */

static vq_status one_sample(vq_image_file *f, const vq_page *p, const vq_tensor *t)
{
	int drop = idle_fourth(p, t) ? 3 : p->alpha;
	int colours = p->samples - (drop >= 0);
	if (p->photometric == VQ_PHOTO_PALETTE || colours <= 1)
		return VQ_OK;
	if (colours != 3)
		return vq_fail(VQ_EUNSUP, "%s: %d samples a pixel: a label image has one", f->path, colours);
	for (size_t i = 0, n = (size_t)(p->width * p->height); i < n; i++) {
		double r = vq_tensor_get(t, i * (size_t)p->samples);
		if (r != vq_tensor_get(t, i * (size_t)p->samples + 1) || r != vq_tensor_get(t, i * (size_t)p->samples + 2))
			return vq_fail(VQ_EUNSUP, "%s: a colour image (R, G and B differ at x %zu, y %zu): label images hold object numbers", f->path,
			               i % (size_t)p->width, i / (size_t)p->width);
	}
	return VQ_OK;
}

static vq_status to_labels(vq_image_file *f, const vq_page *p, const vq_tensor *t, vq_tensor *out)
{
	size_t n = (size_t)(p->width * p->height), step = (size_t)p->samples;
	VQ_TRY(vq_tensor_room(out, VQ_I32, 2, (int64_t[]){ p->height, p->width }));
	int32_t *to = out->data;
	if (t->dtype == VQ_U16 && step == 1) { /* as most are, and nothing in them can be wrong */
		const uint16_t *from = t->data;
		for (size_t i = 0; i < n; i++)
			to[i] = from[i];
		return VQ_OK;
	}
	if (t->dtype == VQ_U8) {
		const uint8_t *from = t->data;
		for (size_t i = 0; i < n; i++)
			to[i] = from[i * step];
		return VQ_OK;
	}
	for (size_t i = 0; i < n; i++) {
		double v = vq_tensor_get(t, i * step);
		if (!(v >= 0 && v <= INT32_MAX && v == floor(v))) {
			vq_tensor_free(out);
			return vq_fail(VQ_EFORMAT, "%s: a label of %.10g at x %zu, y %zu: labels are whole numbers from 0 to 2147483647", f->path, v,
			               i % (size_t)p->width, i / (size_t)p->width);
		}
		to[i] = (int32_t)v;
	}
	return VQ_OK;
}

vq_status vq_image_labels(vq_image_file *f, const vq_pick *pick, vq_tensor *out)
{
	vq_plane_at *at;
	int n = 0;
	vq_page p;
	vq_tensor t = {0};
	*out = (vq_tensor){0};
	VQ_TRY(find(f, pick, &at, &n));
	vq_status s = VQ_OK;
	if (n != 1)
		s = vq_fail(VQ_EINVAL, "%s: %d channels: a label image has one", f->path, n);
	if (s == VQ_OK)
		s = vq_image_page(f, at[0].page, &p);
	if (s == VQ_OK && (p.photometric == VQ_PHOTO_LOGL || p.photometric == VQ_PHOTO_LAB))
		s = vq_fail(VQ_EUNSUP, "%s: not an image of labels", f->path);
	if (s == VQ_OK)
		s = refuse(f, &p);
	if (s == VQ_OK)
		s = read_at(f, &at[0], false, &p, &t);
	if (s == VQ_OK)
		s = one_sample(f, &p, &t);
	if (s == VQ_OK)
		s = to_labels(f, &p, &t, out);
	vq_tensor_free(&t);
	free(at);
	return s;
}
