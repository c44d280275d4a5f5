/* window: a rectangle of pixels within an image, most often its true pixels without the padding. */
#ifndef VQ_IMAGE_WINDOW_H
#define VQ_IMAGE_WINDOW_H

#include "lib/tensor.h"

typedef struct { int64_t top, left, h, w; } vq_window;

/* The whole of an image, whose last two axes are height and width. */
static inline vq_window vq_window_whole(const vq_tensor *t)
{
	return (vq_window){ 0, 0, t->ndim > 1 ? t->shape[t->ndim - 2] : 0, t->ndim > 1 ? t->shape[t->ndim - 1] : 0 };
}

/* VQ_EINVAL unless w has at least one pixel and lies within the last two axes of t. */
vq_status vq_window_check(const vq_tensor *t, vq_window w);

#endif
