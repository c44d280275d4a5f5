#include "lib/image/crop.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include <math.h>
#include <string.h>

vq_crop_verdict vq_crop_plan(const vq_object *o, int64_t h, int64_t w, const vq_crop_rule *rule, vq_box *box)
{
	vq_box b = o->box, limit = { 0, 0, h, w };
	if (o->area < rule->min_area)
		return VQ_CROP_SMALL;
	if (!rule->keep_edge && (b.y0 == 0 || b.x0 == 0 || b.y1 == h || b.x1 == w))
		return VQ_CROP_EDGE;
	if (rule->max_size > 0 && (b.y1 - b.y0 > rule->max_size || b.x1 - b.x0 > rule->max_size))
		return VQ_CROP_LARGE;
	if (rule->tile > 0) {
		int64_t t = rule->tile;
		limit.y0 = b.y0 / t * t;
		limit.x0 = b.x0 / t * t;
		limit.y1 = VQ_MIN(limit.y0 + t, h);
		limit.x1 = VQ_MIN(limit.x0 + t, w);
		if (b.y1 > limit.y1 || b.x1 > limit.x1)
			return VQ_CROP_ACROSS;
	}
	box->y0 = VQ_MAX(b.y0 - rule->border, limit.y0);
	box->x0 = VQ_MAX(b.x0 - rule->border, limit.x0);
	box->y1 = VQ_MIN(b.y1 + rule->border, limit.y1);
	box->x1 = VQ_MIN(b.x1 + rule->border, limit.x1);
	return VQ_CROP_TAKE;
}

vq_crop_verdict vq_crop_around(double y, double x, int64_t side, int64_t h, int64_t w, bool keep_edge, vq_box *box)
{
	if (!(fabs(y) < 1e15 && fabs(x) < 1e15))
		return VQ_CROP_EDGE;
	vq_box b;
	b.y0 = (int64_t)floor(y + 0.5) - side / 2;
	b.x0 = (int64_t)floor(x + 0.5) - side / 2;
	b.y1 = b.y0 + side;
	b.x1 = b.x0 + side;
	bool leaves = b.y0 < 0 || b.x0 < 0 || b.y1 > h || b.x1 > w;
	if (leaves && !keep_edge)
		return VQ_CROP_EDGE;
	*box = (vq_box){ VQ_MAX(b.y0, 0), VQ_MAX(b.x0, 0), VQ_MIN(b.y1, h), VQ_MIN(b.x1, w) };
	return box->y1 > box->y0 && box->x1 > box->x0 ? VQ_CROP_TAKE : VQ_CROP_EDGE;
}

static inline uint8_t mask_of(int32_t at, int32_t label) { return (uint8_t)(((at != 0) << 1) - (at == label)); }

#ifdef __SSE2__
/* Sixteen at a time; both tests give -1 where they hold. */
static inline void mask_of_sixteen(uint8_t *out, const int32_t *at, __m128i label)
{
	__m128i v[4], none[4], own[4];
	for (int k = 0; k < 4; k++) {
		v[k] = _mm_loadu_si128((const __m128i *)(const void *)(at + 4 * k));
		none[k] = _mm_cmpeq_epi32(v[k], _mm_setzero_si128());
		own[k] = _mm_cmpeq_epi32(v[k], label);
	}
	__m128i zero = _mm_packs_epi16(_mm_packs_epi32(none[0], none[1]), _mm_packs_epi32(none[2], none[3]));
	__m128i one = _mm_packs_epi16(_mm_packs_epi32(own[0], own[1]), _mm_packs_epi32(own[2], own[3]));
	_mm_storeu_si128((__m128i *)(void *)out, _mm_add_epi8(_mm_add_epi8(_mm_set1_epi8(2), one), _mm_add_epi8(zero, zero)));
}

/* The last sixteen may overlap those before. */
static void mask_row(uint8_t *out, const int32_t *at, int64_t n, int32_t label)
{
	const __m128i own = _mm_set1_epi32(label);
	for (int64_t x = 0; n >= 16 && x < n; x += 16)
		mask_of_sixteen(out + VQ_MIN(x, n - 16), at + VQ_MIN(x, n - 16), own);
	for (int64_t x = 0; n < 16 && x < n; x++)
		out[x] = mask_of(at[x], label);
}
#else
static void mask_row(uint8_t *out, const int32_t *at, int64_t n, int32_t label)
{
	for (int64_t x = 0; x < n; x++)
		out[x] = mask_of(at[x], label);
}
#endif

static void cut_mask(uint8_t *out, const int32_t *labels, int64_t w, const vq_box *b, int32_t label)
{
	int64_t cw = b->x1 - b->x0;
	for (int64_t y = b->y0; y < b->y1; y++, out += cw)
		mask_row(out, labels + y * w + b->x0, cw, label);
}

vq_status vq_crop_cut(const vq_tensor *field, const int32_t *labels, const vq_box *b, int32_t label, vq_tensor *image, vq_tensor *mask)
{
	int64_t c = field->shape[0], h = field->shape[1], w = field->shape[2];
	int64_t shape[3] = { c, b->y1 - b->y0, b->x1 - b->x0 };
	vq_status s;
	*image = *mask = (vq_tensor){ 0 };
	if (field->ndim != 3 || b->y0 < 0 || b->x0 < 0 || b->y1 > h || b->x1 > w || shape[1] <= 0 || shape[2] <= 0)
		return vq_fail(VQ_EINVAL, "a crop that is not inside its field");
	VQ_TRY_GOTO(s, vq_tensor_room(image, field->dtype, 3, shape), fail);
	VQ_TRY_GOTO(s, vq_tensor_room(mask, VQ_U8, 2, shape + 1), fail);
	size_t size = vq_dtype_size(field->dtype), line = (size_t)shape[2] * size;
	char *to = image->data;
	for (int64_t k = 0; k < c; k++)
		for (int64_t y = b->y0; y < b->y1; y++, to += line)
			memcpy(to, (const char *)field->data + (size_t)((k * h + y) * w + b->x0) * size, line);
	if (labels)
		cut_mask(mask->data, labels, w, b, label);
	else
		memset(mask->data, 1, (size_t)(shape[1] * shape[2]));
	return VQ_OK;
fail:
	vq_tensor_free(image);
	vq_tensor_free(mask);
	return s;
}
