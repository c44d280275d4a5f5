/* totals: the figures of many scored records, and their JSON. */
#ifndef VQ_TOOL_TOTALS_H
#define VQ_TOOL_TOTALS_H

#include "lib/eval/summary.h"
#include "tools/score.h"

/* "" and "foreground_", as in column names. */
extern const char *const vq_totals_prefix[2];

typedef struct {
	int channels;
	char *name[VQ_CHANNELS_MAX];
	uint64_t n, pixels;        /* records, their true pixels */
	uint64_t masked, inside;   /* records with a pixel of mask 1, such pixels */
	vq_summary of[2][VQ_CHANNELS_MAX + 1][VQ_METRICS]; /* [whole, inside][mean over channels, each channel][metric] */
} vq_totals; /* zero-initialise; vq_totals_free releases */

/* Names from a stream header's channels, "channel_1", ... where it has none. */
vq_status vq_totals_name(vq_totals *t, const cJSON *header, int channels);
/* VQ_EINVAL: another number of channels than the records before. */
vq_status vq_totals_add(vq_totals *t, const char *id, const vq_record_score *s);
/* Adds n, pixels, mse, psnr, ssim, pearson, per_channel and foreground to object. A metric is {"n" (records where it is not null),
 * "mean","median","std","min","max"}; "median_exact": false where a median comes from the sketch of lib/eval/summary.h. */
vq_status vq_totals_json(vq_totals *t, cJSON *object);
void vq_totals_free(vq_totals *t);

#endif
