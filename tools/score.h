/* score: every metric of one pair of records, on true pixels, a channel at a time. */
#ifndef VQ_TOOL_SCORE_H
#define VQ_TOOL_SCORE_H

#include "formats/pairs.h"
#include "lib/eval/metrics.h"

/* Index 0 is the whole true image, 1 the pixels inside the reference's mask (null without one). */
typedef struct {
	int channels;
	int64_t h, w, inside;                       /* true size; pixels of mask 1 */
	double clipped[VQ_CHANNELS_MAX];            /* fraction of the reference's pixels that its normalisation clipped, as recorded */
	vq_score channel[2][VQ_CHANNELS_MAX], mean[2]; /* mean: over the channels where the metric is not null */
} vq_record_score;

/* Scratch of one thread. Zero-initialise. */
typedef struct { vq_score_work work; double *planes; uint8_t *mask; size_t cap; } vq_score_scratch;
void vq_score_scratch_free(vq_score_scratch *s);

/* VQ_EINVAL also for pixels that are not finite: the record and the channel (from 1) are named. rmse_grey and mae_grey undo the scale of the
 * recorded normalisation; what it clipped stands at its limits on both sides. grey: both records are brought back to grey levels first
 * (and are changed so), so that they need not be normalised alike: beside a raw reference, clipping counts as error. */
vq_status vq_score_record(vq_score_scratch *scratch, vqt_record *image, vqt_record *reference, double range, bool grey, vq_record_score *out);
/* The same in two parts, for a device that makes the maps of many pairs at once (vq_backend.maps): first the planes of all channels, which
 * vq_score_planes_free releases; with the maps of each of them, in their order, the score. maps NULL: they are made here, in work. */
typedef struct { double *data; uint8_t *mask; vq_pictures channel[VQ_CHANNELS_MAX]; double grey[VQ_CHANNELS_MAX]; } vq_score_planes;
vq_status vq_score_take(vqt_record *image, vqt_record *reference, bool grey, vq_score_planes *p, vq_record_score *out);
vq_status vq_score_with(vq_score_work *work, const vq_score_planes *p, const vq_maps *maps, const char *id, double range, vq_record_score *out);
void vq_score_planes_free(vq_score_planes *p);
/* The range of the reference's raw pixels: 255, 65535; 0 when the record does not say. */
double vq_score_grey_range(const vqt_record *reference);

#endif
