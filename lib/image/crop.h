/* crop: from a field and its label image to single cells.
 *
 * A field is an image [C,H,W] of u8, u16 or f32 and labels i32 [H,W], 0 for background; labels may be sparse, up to 2^31-1, and all
 * pixels of one label are one cell, however many pieces they form. Boxes are half-open, y0 x0 y1 x1, in pixels. */
#ifndef VQ_IMAGE_CROP_H
#define VQ_IMAGE_CROP_H

#include "lib/tensor.h"

typedef struct { int64_t y0, x0, y1, x1; } vq_box;

typedef struct {
	int32_t label;
	int64_t area;  /* pixels */
	vq_box box;    /* tight */
} vq_object;

/* Every label of the field, in ascending order, found in one pass. n = 0 and *out = NULL when there is none. A negative label is VQ_EINVAL.
 * Caller frees *out. */
vq_status vq_objects_find(const int32_t *labels, int64_t h, int64_t w, vq_object **out, size_t *n);

typedef struct {
	int64_t border;    /* px round the tight box, as far as the field (or tile) goes */
	int64_t min_area;  /* smaller cells are dropped */
	int64_t max_size;  /* cells whose tight box is longer on a side are dropped; 0: no limit */
	int64_t tile;      /* 0, or the side of the montage's tiles, which crops do not leave */
	bool keep_edge;    /* keep cells that touch the field's edge */
} vq_crop_rule;

typedef enum { VQ_CROP_TAKE, VQ_CROP_EDGE, VQ_CROP_SMALL, VQ_CROP_LARGE, VQ_CROP_ACROSS /* lies on several tiles */ } vq_crop_verdict;

/* Whether the rule takes the object; the crop is in *box when it does. */
vq_crop_verdict vq_crop_plan(const vq_object *o, int64_t h, int64_t w, const vq_crop_rule *rule, vq_box *box);
/* side px round a point given in pixel centres (0,0 is the middle of the first pixel): VQ_CROP_EDGE when that leaves the field,
 * unless keep_edge, which clips it; EDGE always when nothing of it is inside. Sides below 2^31. */
vq_crop_verdict vq_crop_around(double y, double x, int64_t side, int64_t h, int64_t w, bool keep_edge, vq_box *box);

/* Cuts box out of every channel: image [C,h,w] in the same dtype, and mask [h,w] u8: 0 background, 1 this label, 2 another. labels NULL: a
 * mask of ones. The box must lie inside (VQ_EINVAL). Caller frees both; both are empty on failure. */
vq_status vq_crop_cut(const vq_tensor *field, const int32_t *labels, const vq_box *box, int32_t label, vq_tensor *image, vq_tensor *mask);

typedef struct {
	double mean, integrated; /* where the mask is 1; mean is NaN without such a pixel */
	double background;       /* mean where the mask is 0; NaN without such a pixel */
} vq_cell_light;

/* One plane of n pixels (u8, u16 or f32) under its mask. Returns the pixels of mask 1. */
int64_t vq_cell_measure(const void *plane, vq_dtype dtype, const uint8_t *mask, size_t n, vq_cell_light *out);

enum { VQ_FIELD_PERCENTILES = 11 };
extern const double vq_field_percentiles[VQ_FIELD_PERCENTILES]; /* 0 0.1 1 5 25 50 75 95 99 99.9 100 */
typedef struct { double mean, std, p[VQ_FIELD_PERCENTILES]; } vq_plane_stats;

/* One plane of n > 0 finite pixels (u8, u16 or f32): mean, population deviation, percentiles by linear interpolation as numpy has
 * them. Exact order statistics, no sorting. */
vq_status vq_plane_measure(const void *plane, vq_dtype dtype, size_t n, vq_plane_stats *out);

/* Index of the first pixel that is NaN or infinite; n when all are finite. */
size_t vq_plane_finite(const float *p, size_t n);

/* Converts n pixels of any dtype but bf16 to u8, u16 or f32; VQ_EINVAL where the type asked for cannot hold them all. */
vq_status vq_plane_convert(void *to, vq_dtype to_dtype, const void *from, vq_dtype from_dtype, size_t n);
/* to = max(to, from), same dtype (u8, u16, f32; a NaN of either stays). */
void vq_plane_max(void *to, const void *from, vq_dtype dtype, size_t n);
/* p /= by. VQ_EINVAL unless every divisor is finite and positive; p is then partly divided. */
vq_status vq_plane_divide(float *p, const float *by, size_t n);

#endif
