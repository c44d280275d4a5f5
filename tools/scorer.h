/* scorer: pairs of records scored side by side, on threads; SSIM's maps by a device where that pays (vq_backend.maps).
 *
 * A device that is asked for by name is opened for the first batch, one by "auto" when 64 MiB of records have come: before that its opening takes
 * longer than it saves. Where "auto" finds none, or a device fails (a training has its memory), the CPU goes on, and -v says why.
 *
 * Memory beside the records: on the CPU two planes of f64, and what SSIM needs of them, a thread. For a device pairs are taken in groups of at most
 * VQ_SCORER_GROUP bytes, or of one pair that is larger: of 16 bytes for each pixel and channel, and one more with a mask. The host holds them twice,
 * once in the order in which they are sent, the device 4/3 of them and 3 KiB a channel. What a pair scores does not depend on its group. */
#ifndef VQ_TOOL_SCORER_H
#define VQ_TOOL_SCORER_H

#include "tools/score.h"

enum { VQ_SCORER_GROUP = 16 << 20 };

/* The records are the caller's; `grey` changes them (score.h). */
typedef struct {
	vqt_record image, reference;
	vq_record_score score;
	vq_status status;       /* of this pair; */
	char why[1024];         /* its message, which would belong to another thread */
	vq_score_planes planes; /* the scorer's own, as is */
	const vq_maps *maps;
} vq_scored;

/* Zero-initialise; threads and device are as vq_cli has them. */
typedef struct {
	vq_score_scratch *scratch; /* one a thread */
	vq_backend *device;
	size_t seen;               /* bytes of records so far */
	bool cpu;                  /* a device was looked for in vain, or has failed */
} vq_scorer;

/* Scores n pairs, of `bytes` in memory; what is wrong with one is its own status. Fails for want of memory, or of the device that --device names. */
vq_status vq_scorer_run(vq_scorer *s, vq_scored *pair, int n, size_t bytes, double range, bool grey);
void vq_scorer_free(vq_scorer *s);

#endif
