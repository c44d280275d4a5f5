/* tally: statistics of one channel over many images that come one after another, in little memory. */
#ifndef VQ_IMAGE_TALLY_H
#define VQ_IMAGE_TALLY_H

#include "lib/image/window.h"

typedef struct vq_tally vq_tally;

vq_status vq_tally_open(vq_tally **t);
/* Adds the window's pixels. VQ_EINVAL as in normalize.h; then t holds part of them and is of no more use. */
vq_status vq_tally_add(vq_tally *t, const vq_tensor *image, int64_t c, vq_window w);
uint64_t vq_tally_count(const vq_tally *t); /* pixels */
/* Exact (f64); the standard deviation has the divisor n. Only after at least one pixel. */
void vq_tally_moments(const vq_tally *t, double *mean, double *std);
void vq_tally_range(const vq_tally *t, double *min, double *max);
/* Percentile p (0 to 100) by linear interpolation between ranks. Exact as long as vq_tally_exact: all pixels so far were whole
 * numbers from -128 to 65535. Otherwise the ranks are known to within 1/2048 of their value. */
double vq_tally_percentile(const vq_tally *t, double p);
bool vq_tally_exact(const vq_tally *t);
void vq_tally_close(vq_tally *t); /* NULL is fine */

#endif
