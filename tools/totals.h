/* totals: the figures of many scored records, and their JSON. */
#ifndef VQ_TOOL_TOTALS_H
#define VQ_TOOL_TOTALS_H

#include "lib/eval/bootstrap.h"
#include "lib/eval/summary.h"
#include "tools/score.h"

/* "" and "foreground_", as in column names. */
extern const char *const vq_totals_prefix[2];

typedef struct {
	int channels;
	char *name[VQ_CHANNELS_MAX];
	uint64_t n, pixels;        /* records, their true pixels */
	uint64_t masked, inside;   /* records with a pixel of mask 1, such pixels */
	double clipped[VQ_CHANNELS_MAX]; /* pixels of the reference that its normalisation clipped */
	vq_boot *boot;             /* NULL: no intervals */
	double *low, *high;        /* of the figures below, in their order, after vq_totals_intervals */
	vq_summary of[2][VQ_CHANNELS_MAX + 1][VQ_METRICS]; /* [whole, inside][mean over channels, each channel][metric] */
} vq_totals; /* zero-initialise; vq_totals_free releases */

/* Names from a stream header's channels, "channel_1", ... where it has none. */
vq_status vq_totals_name(vq_totals *t, const cJSON *header, int channels);
/* After vq_totals_name: intervals are wanted. */
vq_status vq_totals_boot(vq_totals *t);
/* group: of the record, NULL without intervals. VQ_EINVAL: another number of channels than the records before. */
vq_status vq_totals_add(vq_totals *t, const char *id, const char *group, const vq_record_score *s);
/* After the last record; as vq_boot_run. */
vq_status vq_totals_intervals(vq_totals *t, int resamples, double confidence, uint64_t seed, int threads);
/* Adds n, pixels, every metric, clipped (fraction), per_channel and foreground to object. A metric is {"n" (records where it is not null),
 * "mean","median","std","min","max"}; "ci": [low, high] of the mean, with intervals; "median_exact": false where a median comes from
 * the sketch of lib/eval/summary.h. */
vq_status vq_totals_json(vq_totals *t, cJSON *object);
void vq_totals_free(vq_totals *t);

#endif
