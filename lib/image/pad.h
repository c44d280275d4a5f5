/* pad: padding round an image, exactly removable, and the extent that a model gives a cell.
 *
 * Images are [.., H, W]: the axes before the last two are carried along. A mask is padded with 0 in every mode: padding is not
 * cell, and reflected pixels of a cell are not its pixels. */
#ifndef VQ_IMAGE_PAD_H
#define VQ_IMAGE_PAD_H

#include "lib/image/window.h"

typedef enum { VQ_PAD_REFLECT, VQ_PAD_ZERO, VQ_PAD_EDGE } vq_pad_mode;
const char *vq_pad_name(vq_pad_mode m); /* "reflect" "zero" "edge" */
int vq_pad_parse(const char *name);     /* a vq_pad_mode, or -1 */

enum { VQ_PAD_SIDE_MAX = 1 << 20 }; /* the longest side that is ever planned */

/* Where an h x w image stands within the padded H x W one: at row `top`, column `left`; centred, the odd pixel below and right. */
typedef struct { int64_t h, w, H, W, top, left; } vq_pad_plan;

/* Each side becomes the least multiple of `multiple` (1 or more) that is at least `min` and the side itself; with multiple 0 the least
 * power of two so. VQ_EINVAL: h or w below 1, a negative min or multiple; VQ_ELIMIT: a side beyond VQ_PAD_SIDE_MAX. */
vq_status vq_pad_make_plan(vq_pad_plan *p, int64_t h, int64_t w, int64_t multiple, int64_t min);

/* Row (or column) of an image of n that row i of a plane reaching beyond it repeats: numpy's "reflect", the border pixel not doubled,
 * again and again where i is further out than n - 1; n = 1 repeats its pixel. i counts from the image's first row, may be negative. */
int64_t vq_pad_reflect_index(int64_t i, int64_t n);

/* *out: a fresh tensor [.., p.H, p.W]: window `from` of image (p.h x p.w pixels) with padding in the given mode. What image holds
 * outside the window is not looked at: an image that was padded before, in whatever mode, is padded anew from its true pixels. */
vq_status vq_pad_apply(const vq_tensor *image, vq_window from, const vq_pad_plan *p, vq_pad_mode mode, vq_tensor *out);

/* *out: a fresh tensor of the window alone. The inverse of vq_pad_apply with the window { p.top, p.left, p.h, p.w }. */
vq_status vq_pad_remove(const vq_tensor *image, vq_window keep, vq_tensor *out);

/* A cell's extent for a model of this multiple: its true pixels (window `valid` of image), each side rounded up to the multiple,
 * centred and reflected. A function of the true pixels alone, however far and in whatever mode the image was padded.
 * *place says where they stand in it. */
vq_status vq_pad_extent(const vq_tensor *image, vq_window valid, int64_t multiple, vq_tensor *out, vq_pad_plan *place);

#endif
