/* metrics: how close a reconstruction is to its reference, one channel of one image at a time, in f64.
 *
 * MSE      mean squared difference over the pixels.
 * PSNR     10 log10(range^2 / max(MSE, VQ_MSE_FLOOR)), dB, with the declared range of the data (2 for [-1,1]). The floor makes
 *          identical images finite: 106.02 dB at range 2, so that means stay means.
 * SSIM     Wang et al. 2004: 11-tap Gaussian of sigma 1.5, K1 0.01, K2 0.03, population covariance, mean over the centres whose
 *          window lies inside the image (scikit-image's gaussian_weights=True, sigma=1.5, use_sample_covariance=False). An
 *          image under 11 pixels on a side has no such centre: null.
 * Pearson  correlation of the pixels; null when either side is constant.
 * MS-SSIM  Wang et al. 2003: the mean of SSIM's contrast-and-structure factor at each of the scales but the coarsest, of the whole
 *          SSIM there, each to the power of its weight (0.0448, 0.2856, 0.3001, 0.2363, 0.1333), multiplied. From scale to scale
 *          blocks of 2 x 2 pixels become their mean (an odd last row or column is left out). Cells are small: as many of the five
 *          scales count as leave 11 pixels on a side (176 px: all; 22 px: two; 11 to 21 px: one, which is SSIM), and the weights of
 *          those are scaled to a sum of 1. A mean below 0 counts as 0.
 * RMSE, MAE in grey levels: root of the mean squared, and mean absolute, difference, times the grey levels a unit of the data.
 *
 * A null value is NaN. "Inside" figures take the pixels whose mask is 1; SSIM inside is the mean of the same map over the valid
 * centres that are inside (windows see the whole image), null when there is none. At coarser scales a pixel is inside when two of its
 * four are, and the scales with a centre inside count. */
#ifndef VQ_EVAL_METRICS_H
#define VQ_EVAL_METRICS_H

#include "lib/backend.h"

typedef enum { VQ_MSE, VQ_PSNR, VQ_SSIM, VQ_PEARSON, VQ_MS_SSIM, VQ_RMSE_GREY, VQ_MAE_GREY, VQ_METRICS } vq_metric;
#define VQ_MSE_FLOOR 1e-10
enum { VQ_SSIM_TAPS = 11, VQ_SSIM_SCALES = VQ_MAP_SCALES };

typedef struct { double v[VQ_METRICS]; } vq_score;

const char *vq_metric_name(vq_metric m); /* "mse" "psnr" "ssim" "pearson" "ms_ssim" "rmse_grey" "mae_grey" */

/* Scratch that is kept from call to call; one a thread. Zero-initialise; vq_score_work_free releases. */
typedef struct { double *data; size_t cap; } vq_score_work;
void vq_score_work_free(vq_score_work *work);

/* For vq_backend.maps: the weights of SSIM's filter, from its middle on. */
void vq_score_kernel(double k[VQ_SSIM_TAPS / 2 + 1]);

/* Scores y against x, both [h][w] without gaps. mask: [h][w] bytes or NULL (then *inside is all null). range > 0. grey: grey levels a
 * unit of x and y, at least 0.
 * VQ_EINVAL: an empty image, a range that is not positive, or a value that is NaN or infinite (the message says which). */
vq_status vq_score_plane(vq_score_work *work, const double *x, const double *y, const uint8_t *mask, int64_t h, int64_t w, double range,
                         double grey, vq_score *whole, vq_score *inside);
/* The same, where a device has made the maps. */
vq_status vq_score_plane_with(const vq_maps *maps, const double *x, const double *y, const uint8_t *mask, int64_t h, int64_t w, double range,
                              double grey, vq_score *whole, vq_score *inside);

/* SSIM alone: *whole, and, with a mask, *inside. Non-finite pixels give NaN. */
vq_status vq_ssim(vq_score_work *work, const double *x, const double *y, const uint8_t *mask, int64_t h, int64_t w, double range,
                  double *whole, double *inside);

/* Each metric's mean over the n scores where it is not null; null when it is nowhere. */
vq_score vq_score_mean(const vq_score *s, int n);

#endif
