/* score: every metric of one pair of records, on true pixels, a channel at a time. */
#ifndef VQ_TOOL_SCORE_H
#define VQ_TOOL_SCORE_H

#include "formats/pairs.h"
#include "lib/eval/metrics.h"

/* Index 0 is the whole true image, 1 the pixels inside the reference's mask (null without one). */
typedef struct {
	int channels;
	int64_t h, w, inside;                       /* true size; pixels of mask 1 */
	vq_score channel[2][VQ_CHANNELS_MAX], mean[2]; /* mean: over the channels where the metric is not null */
} vq_record_score;

/* Scratch of one thread. Zero-initialise. */
typedef struct { vq_score_work work; double *planes; uint8_t *mask; size_t cap; } vq_score_scratch;
void vq_score_scratch_free(vq_score_scratch *s);

/* VQ_EINVAL also for pixels that are not finite: the record and the channel (from 1) are named. */
vq_status vq_score_record(vq_score_scratch *scratch, const vqt_record *image, const vqt_record *reference, double range, vq_record_score *out);

#endif
