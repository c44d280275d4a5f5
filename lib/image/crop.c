#include "lib/image/crop.h"

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

static void cut_mask(uint8_t *out, const int32_t *labels, int64_t w, const vq_box *b, int32_t label)
{
	int64_t cw = b->x1 - b->x0;
	for (int64_t y = b->y0; y < b->y1; y++) {
		const int32_t *row = labels + y * w + b->x0;
		for (int64_t x = 0; x < cw; x++)
			out[x] = (uint8_t)(((row[x] != 0) << 1) - (row[x] == label));
		out += cw;
	}
}

vq_status vq_crop_cut(const vq_tensor *field, const int32_t *labels, const vq_box *b, int32_t label, vq_tensor *image, vq_tensor *mask)
{
	int64_t c = field->shape[0], h = field->shape[1], w = field->shape[2];
	int64_t shape[3] = { c, b->y1 - b->y0, b->x1 - b->x0 };
	vq_status s;
	*image = *mask = (vq_tensor){ 0 };
	if (field->ndim != 3 || b->y0 < 0 || b->x0 < 0 || b->y1 > h || b->x1 > w || shape[1] <= 0 || shape[2] <= 0)
		return vq_fail(VQ_EINVAL, "a crop that is not inside its field");
	VQ_TRY_GOTO(s, vq_tensor_make(image, field->dtype, 3, shape), fail);
	VQ_TRY_GOTO(s, vq_tensor_make(mask, VQ_U8, 2, shape + 1), fail);
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

/* Sums over pixels of mask 1 and 0. Blocks short enough for 32-bit sums of 16-bit pixels, which the compiler vectorises. */
#define SUMS_OF_INTEGERS(name, type) \
static void name(const type *p, const uint8_t *m, size_t n, double *inside, double *outside) \
{ \
	uint64_t in = 0, out = 0; \
	for (size_t i = 0; i < n; i += 32768) { \
		uint32_t a = 0, b = 0; \
		for (size_t j = i, end = VQ_MIN(i + 32768, n); j < end; j++) { \
			a += m[j] == 1 ? p[j] : 0u; \
			b += m[j] == 0 ? p[j] : 0u; \
		} \
		in += a; \
		out += b; \
	} \
	*inside = (double)in; \
	*outside = (double)out; \
}
SUMS_OF_INTEGERS(sums_u8, uint8_t)
SUMS_OF_INTEGERS(sums_u16, uint16_t)

static void sums_f32(const float *p, const uint8_t *m, size_t n, double *inside, double *outside)
{
	double a = 0, b = 0;
	for (size_t i = 0; i < n; i++) {
		a += m[i] == 1 ? (double)p[i] : 0;
		b += m[i] == 0 ? (double)p[i] : 0;
	}
	*inside = a;
	*outside = b;
}

/* Blocks short enough for sums in bytes. */
static void count_mask(const uint8_t *mask, size_t n, size_t *ones, size_t *zeros)
{
	enum { LANES = 16, TURNS = 255 };
	*ones = *zeros = 0;
	for (size_t i = 0; i < n;) {
		uint8_t one[LANES] = {0}, zero[LANES] = {0};
		size_t turns = VQ_MIN((n - i) / LANES, (size_t)TURNS);
		for (size_t t = 0; t < turns; t++, i += LANES)
			for (int k = 0; k < LANES; k++) {
				one[k] = (uint8_t)(one[k] + (mask[i + (size_t)k] == 1));
				zero[k] = (uint8_t)(zero[k] + (mask[i + (size_t)k] == 0));
			}
		for (int k = 0; k < LANES; k++)
			*ones += one[k], *zeros += zero[k];
		for (; !turns && i < n; i++)
			*ones += mask[i] == 1, *zeros += mask[i] == 0;
	}
}

int64_t vq_cell_measure(const void *plane, vq_dtype dtype, const uint8_t *mask, size_t n, vq_cell_light *out)
{
	size_t ones, zeros;
	double inside, outside;
	count_mask(mask, n, &ones, &zeros);
	if (dtype == VQ_U8)
		sums_u8(plane, mask, n, &inside, &outside);
	else if (dtype == VQ_U16)
		sums_u16(plane, mask, n, &inside, &outside);
	else
		sums_f32(plane, mask, n, &inside, &outside);
	out->integrated = inside;
	out->mean = ones ? inside / (double)ones : NAN;
	out->background = zeros ? outside / (double)zeros : NAN;
	return (int64_t)ones;
}
