#include "lib/image/pad.h"

#include <stdlib.h>
#include <string.h>

static const char *const modes[] = { "reflect", "zero", "edge" };

const char *vq_pad_name(vq_pad_mode m) { return (unsigned)m < VQ_COUNT(modes) ? modes[m] : "?"; }

int vq_pad_parse(const char *name)
{
	for (int i = 0; i < (int)VQ_COUNT(modes); i++)
		if (!strcmp(modes[i], name))
			return i;
	return -1;
}

static vq_status side(int64_t n, int64_t multiple, int64_t min, int64_t *out)
{
	int64_t at_least = VQ_MAX(n, min), s = 1;
	if (at_least > VQ_PAD_SIDE_MAX || multiple > VQ_PAD_SIDE_MAX)
		return vq_fail(VQ_ELIMIT, "a side of %lld pixels is more than can be padded (%d)", (long long)VQ_MAX(at_least, multiple), VQ_PAD_SIDE_MAX);
	if (multiple)
		s = VQ_ALIGN(at_least, multiple);
	else
		while (s < at_least)
			s *= 2;
	if (s > VQ_PAD_SIDE_MAX)
		return vq_fail(VQ_ELIMIT, "a side of %lld pixels is more than can be padded (%d)", (long long)s, VQ_PAD_SIDE_MAX);
	*out = s;
	return VQ_OK;
}

vq_status vq_pad_make_plan(vq_pad_plan *p, int64_t h, int64_t w, int64_t multiple, int64_t min)
{
	vq_pad_plan v = { .h = h, .w = w };
	if (h < 1 || w < 1)
		return vq_fail(VQ_EINVAL, "an image of %lld x %lld pixels cannot be padded", (long long)h, (long long)w);
	if (multiple < 0 || min < 0)
		return vq_fail(VQ_EINVAL, "padding to a multiple of %lld and at least %lld", (long long)multiple, (long long)min);
	VQ_TRY(side(h, multiple, min, &v.H));
	VQ_TRY(side(w, multiple, min, &v.W));
	v.top = (v.H - h) / 2;
	v.left = (v.W - w) / 2;
	*p = v;
	return VQ_OK;
}

int64_t vq_pad_reflect_index(int64_t i, int64_t n)
{
	if (n == 1)
		return 0;
	int64_t period = 2 * (n - 1);
	i %= period;
	if (i < 0)
		i += period;
	return i < n ? i : period - i;
}

static int64_t source(vq_pad_mode mode, int64_t i, int64_t n)
{
	return mode == VQ_PAD_REFLECT ? vq_pad_reflect_index(i, n) : i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* One row: the image's n pixels are in place at `left` of `row`; `at` names the pixel that each column beside them repeats. */
static void fill_sides(char *row, size_t size, const vq_pad_plan *p, const int64_t *at)
{
#define FILL(type) do { type *r = (type *)(void *)row; const type *m = r + p->left; \
		for (int64_t x = 0; x < p->left; x++) r[x] = m[at[x]]; \
		for (int64_t x = p->left + p->w; x < p->W; x++) r[x] = m[at[x]]; } while (0)
	switch (size) {
	case 1: FILL(uint8_t); break;
	case 2: FILL(uint16_t); break;
	case 4: FILL(uint32_t); break;
	default: FILL(uint64_t); break;
	}
#undef FILL
}

static vq_status make_like(const vq_tensor *image, int64_t h, int64_t w, bool zeros, vq_tensor *out)
{
	int64_t shape[VQ_MAX_DIMS];
	memcpy(shape, image->shape, sizeof shape);
	shape[image->ndim - 2] = h;
	shape[image->ndim - 1] = w;
	return (zeros ? vq_tensor_make : vq_tensor_room)(out, image->dtype, image->ndim, shape);
}

static int64_t planes(const vq_tensor *image)
{
	int64_t n = 1;
	for (int i = 0; i < image->ndim - 2; i++)
		n *= image->shape[i];
	return n;
}

/* Row y of plane c of the image, from the window's first column. */
static const char *row_of(const vq_tensor *image, int64_t c, int64_t y, vq_window w)
{
	int64_t rows = image->shape[image->ndim - 2], columns = image->shape[image->ndim - 1];
	return (const char *)image->data + (size_t)((c * rows + w.top + y) * columns + w.left) * vq_dtype_size(image->dtype);
}

vq_status vq_pad_apply(const vq_tensor *image, vq_window from, const vq_pad_plan *p, vq_pad_mode mode, vq_tensor *out)
{
	*out = (vq_tensor){0};
	VQ_TRY(vq_window_check(image, from));
	if (from.h != p->h || from.w != p->w || p->top < 0 || p->left < 0 || p->top + p->h > p->H || p->left + p->w > p->W)
		return vq_fail(VQ_EINVAL, "a padding planned for %lld x %lld pixels on an image of %lld x %lld", (long long)p->h, (long long)p->w,
			(long long)from.h, (long long)from.w);
	int64_t *at = vq_malloc(sizeof *at * (size_t)p->W);
	if (!at)
		return VQ_ENOMEM;
	vq_status s = make_like(image, p->H, p->W, mode == VQ_PAD_ZERO, out);
	if (s < 0) {
		free(at);
		return s;
	}
	for (int64_t x = 0; x < p->W; x++)
		at[x] = source(mode, x - p->left, p->w);
	size_t size = vq_dtype_size(image->dtype), bytes = size * (size_t)p->W;
	for (int64_t c = 0; c < planes(image); c++) {
		char *plane = (char *)out->data + (size_t)(c * p->H) * bytes;
		for (int64_t y = 0; y < p->h; y++) {
			char *row = plane + (size_t)(p->top + y) * bytes;
			memcpy(row + (size_t)p->left * size, row_of(image, c, y, from), size * (size_t)p->w);
			if (mode != VQ_PAD_ZERO)
				fill_sides(row, size, p, at);
		}
		if (mode == VQ_PAD_ZERO) /* the tensor began as zeros */
			continue;
		for (int64_t y = 0; y < p->H; y++)
			if (y < p->top || y >= p->top + p->h)
				memcpy(plane + (size_t)y * bytes, plane + (size_t)(p->top + source(mode, y - p->top, p->h)) * bytes, bytes);
	}
	free(at);
	return VQ_OK;
}

vq_status vq_pad_remove(const vq_tensor *image, vq_window keep, vq_tensor *out)
{
	*out = (vq_tensor){0};
	VQ_TRY(vq_window_check(image, keep));
	VQ_TRY(make_like(image, keep.h, keep.w, false, out));
	size_t bytes = vq_dtype_size(image->dtype) * (size_t)keep.w;
	char *to = out->data;
	for (int64_t c = 0; c < planes(image); c++)
		for (int64_t y = 0; y < keep.h; y++, to += bytes)
			memcpy(to, row_of(image, c, y, keep), bytes);
	return VQ_OK;
}

vq_status vq_pad_extent(const vq_tensor *image, vq_window valid, int64_t multiple, vq_tensor *out, vq_pad_plan *place)
{
	*out = (vq_tensor){0};
	if (multiple < 1)
		return vq_fail(VQ_EINVAL, "an extent of multiple %lld", (long long)multiple);
	VQ_TRY(vq_pad_make_plan(place, valid.h, valid.w, multiple, 0));
	return vq_pad_apply(image, valid, place, VQ_PAD_REFLECT, out);
}
