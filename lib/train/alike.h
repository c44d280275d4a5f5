/* alike: batches for models that take one cell a canvas: cells of about one size, each in the upper left corner of its own. */
#ifndef VQ_ALIKE_H
#define VQ_ALIKE_H

#include "lib/train/batch.h"

typedef struct {
	int multiple, least;    /* canvas sides: multiples of the one, at least the other */
	double tolerance;       /* a side is at most about 1 + tolerance times the cell's */
	bool square;            /* cells may be turned */
	int cells;              /* a batch, at most; 0: no limit but pixels */
	int64_t pixels;         /* of all canvases; 0: no limit. One cell is always possible. */
} vq_alike;

/* The canvas of cells of this extent, and how many a batch has at most; gap 0. */
vq_sheet vq_alike_sheet(const vq_alike *a, int h, int w);
/* A new random order in which the cells of a batch follow one another; *a decides the batches. */
vq_status vq_alike_epoch(vq_sampler *s, const vq_train_calls *calls, const vq_alike *a);
/* The next cells that share a canvas size; b->sheet has as many canvases as they need, rounded up to a power of two within the limit. */
vq_status vq_alike_draw(vq_sampler *s, const vq_train_calls *calls, const vq_alike *a, int augment, vq_batch *b);

#endif
