/* plot_samples: cells of a stream, beside their reference where there is one, as a picture. */
#ifndef VQ_PLOT_SAMPLES_H
#define VQ_PLOT_SAMPLES_H

#include "formats/sample.h"

typedef struct {
	const char *stream;      /* samples; "-" or NULL: standard input */
	const char *reference;   /* samples with the same ids, or NULL: the stream's cells alone */
	const char *per_record;  /* the CSV of vq-metrics: PSNR, and the cells from the worst to the best of it; or NULL */
	int records;             /* how many cells, at least 1 */
	bool composite;
	int zoom, columns;       /* 0: chosen */
	double error;            /* end of the difference scale, 0: chosen */
	bool worst;              /* with per_record: its worst cells, the very worst first */
	bool difference;         /* with a reference: the differences alone, larger */
} vq_samples_options;

/* *rgb becomes u8 [H,W,3]. Without per_record the cells are spread evenly over the stream. Normalised cells (robust, minmax) are shown
 * on their own scale [-1, 1]; others channel by channel between the 0.5 and 99.5 percentiles of the original. */
vq_status vq_samples_draw(vq_tensor *rgb, const vq_samples_options *o);

/* The true pixels of a record of samples as they are shown, [C,H,W] in [-1, 1]; the caller frees them. */
vq_status vq_samples_shown(const vqt_record *r, float **pixels, int64_t shape[3]);

#endif
