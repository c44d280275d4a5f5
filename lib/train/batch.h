/* batch: draws cells in random order, packs them on canvases and fills the plan's input. */
#ifndef VQ_BATCH_H
#define VQ_BATCH_H

#include "lib/rng.h"
#include "lib/train/pack.h"
#include "lib/train/trainer.h"

enum { VQ_FLIP_Y = 1, VQ_FLIP_X = 2, VQ_TURN = 4 /* transpose */ };

typedef struct {
	int items;
	uint32_t cell[VQ_PACK_MAX];
	uint8_t turn[VQ_PACK_MAX];      /* VQ_FLIP_Y | ... */
	vq_place place[VQ_PACK_MAX];
	uint64_t pixels;                /* true ones */
	vq_sheet sheet;                 /* the canvases it is for, where they differ from batch to batch */
} vq_batch;

/* The order of cells in an epoch, and those that found no room yet. Plain data but for the two arrays. */
typedef struct {
	uint32_t *order, *wait;
	uint32_t n, at, waiting;
	uint32_t most;          /* cells a batch; vq_sampler_make sets VQ_PACK_MAX */
	vq_rng rng;
} vq_sampler;

vq_status vq_sampler_make(vq_sampler *s, const uint32_t *cells, uint32_t n, uint64_t seed, uint64_t stream);
void vq_sampler_free(vq_sampler *s);
void vq_sampler_epoch(vq_sampler *s); /* a new order; those that wait stay first */
static inline bool vq_sampler_done(const vq_sampler *s) { return s->at == s->n; }

/* The next batch: as many of the waiting and the next cells as fit. augment: VQ_FLIP_* | VQ_TURN that may be drawn.
 * Without vq_sampler_epoch they come in the order given. VQ_EINVAL: a cell larger than the sheet. */
vq_status vq_batch_draw(vq_sampler *s, const vq_train_calls *calls, const vq_sheet *sheet, int augment, vq_batch *b);
/* Where the true pixels are once the cell was turned. */
void vq_cell_turned(const vq_cell *c, int turn, vq_cell *t);
/* Writes the batch's pixels into input [canvases,h,w,c], zero elsewhere; unless NULL, the loss weights [canvases,h,w], and own
 * [canvases,h,w]: 1 where a cell's own mask is. */
vq_status vq_batch_fill(const vq_batch *b, const vq_train_calls *calls, const vq_sheet *sheet, int channels, const vq_config *c, float *input, float *weight,
	uint8_t *own);

#endif
