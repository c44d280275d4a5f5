/* pieces: the pixels of a plane as f64, a part of a row at a time, so that one loop serves every dtype. */
#ifndef VQ_IMAGE_PIECES_H
#define VQ_IMAGE_PIECES_H

#include "lib/image/window.h"

enum { VQ_PIECE = 512 };

bool vq_dtype_integer(vq_dtype t);
/* VQ_EINVAL unless t is [C,H,W] or [H,W] with channel c and window w inside it. */
vq_status vq_plane_check(const vq_tensor *t, int64_t c, vq_window w);
/* Element of pixel (y, x) of plane c, and n elements from `at` on as f64. */
size_t vq_plane_offset(const vq_tensor *t, int64_t c, int64_t y, int64_t x);
void vq_plane_load(const vq_tensor *t, size_t at, size_t n, double *restrict o);

bool vq_all_finite(const double *v, size_t n);
/* v: pixels from row y, column x on, one of which is not finite. Fails with its kind and place within w. */
vq_status vq_plane_not_finite(const double *v, int64_t y, int64_t x, vq_window w);

/* Calls f for every piece of the window, in order. VQ_EINVAL as vq_plane_check, and for pixels that are not finite. */
typedef void vq_piece_fn(void *state, const double *v, size_t n);
vq_status vq_plane_each(const vq_tensor *t, int64_t c, vq_window w, vq_piece_fn *f, void *state);

#endif
