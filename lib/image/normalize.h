/* normalize: statistics of one channel, and the maps between grey levels and what a network is given.
 *
 * `image` is [C,H,W] of any dtype, or [H,W] with c = 0; `w` is the window that counts (the true pixels). All arithmetic is f64.
 * VQ_EINVAL: a window without pixels or out of the image, a channel out of range; with "a NaN pixel at row Y, column X" (or
 * "an infinite pixel ...") when the window holds one, so that a caller puts the record and channel in front. */
#ifndef VQ_IMAGE_NORMALIZE_H
#define VQ_IMAGE_NORMALIZE_H

#include "lib/image/window.h"

enum { VQ_PERCENTILES_MAX = 64 };

vq_status vq_plane_range(const vq_tensor *image, int64_t c, vq_window w, double *min, double *max);
/* Mean and population standard deviation (divisor n). */
vq_status vq_plane_moments(const vq_tensor *image, int64_t c, vq_window w, double *mean, double *std);
/* out[i] = percentile p[i] (0 to 100, in any order, n up to VQ_PERCENTILES_MAX) by linear interpolation between the two
 * nearest ranks, as numpy.percentile does of f64 values. By selection: O(pixels), a histogram for integers of small range. */
vq_status vq_plane_percentiles(const vq_tensor *image, int64_t c, vq_window w, const double *p, int n, double *out);
/* The same of `count` ranks known only through `rank` (the k-th smallest value, k from 0): for histograms kept elsewhere. */
double vq_percentile_of_ranks(uint64_t count, double p, double (*rank)(void *user, uint64_t k), void *user);

typedef enum {
	VQ_MAP_NONE,  /* y = x */
	VQ_MAP_RANGE, /* y = (x - a) / (b - a) * 2 - 1 */
	VQ_MAP_SCORE, /* y = (x - a) / b */
} vq_map_kind;

/* constant: the range or deviation is not positive (or so small that 1/it overflows); y is 0 everywhere. */
typedef struct { vq_map_kind kind; double a, b; bool clip, constant; } vq_map;

/* clip: RANGE only, to [-1, 1]. VQ_EINVAL when a or b is not finite or their distance overflows. */
vq_status vq_map_make(vq_map *m, vq_map_kind kind, double a, double b, bool clip);
/* Plane c of out (f32, the shape of image) = map of plane c of image inside w. *lost (may be NULL): pixels of w that the inverse
 * cannot restore: those that clipping changed, or those unlike `a` in a constant RANGE and unlike the mean in a constant
 * SCORE. VQ_EINVAL: a NaN or infinite pixel, or one that f32 cannot hold after the map. */
vq_status vq_map_plane(vq_map m, const vq_tensor *image, int64_t c, vq_window w, vq_tensor *out, size_t *lost);
/* grey[i] = the level that y[i] stands for; a constant channel is `a` everywhere. */
void vq_map_inverse(vq_map m, const float *y, size_t n, double *grey);

#endif
