/* trainer: the loop that turns cells into a model. It reads and writes no files: cells come from, and results go to, callbacks.
 *
 * A step draws cells, packs them on canvases and runs the plan. One seed, one number of threads, one machine: one result, bit for
 * bit, when the run is bounded by steps or epochs. */
#ifndef VQ_TRAINER_H
#define VQ_TRAINER_H

#include "lib/model/model.h"
#include "lib/train/schedule.h"

/* A cell at its extent. pixels [C,h,w] f32; h and w are multiples of the model's multiple; the true pixels are the rectangle
 * top, left, th, tw; mask [h,w] (1 this cell) or NULL. Valid until the next call of the source. */
typedef struct {
	const float *pixels;
	const uint8_t *mask;
	int h, w, top, left, th, tw;
} vq_cell;

/* Of one codebook, over the epoch or the split. */
typedef struct { double commit, usage, perplexity, positions /* codes that were made */; } vq_level_losses;

typedef struct {
	double loss, recon, commit; /* means: over valid pixels and channels; over valid positions and width, the sum of all levels; weighted sum of all terms */
	double codebook;            /* the distance that draws the code vectors, equal to commit: 0 unless they learn by gradient */
	double perceptual;          /* mean over cells; 0 without that loss */
	double psnr, ssim;          /* validation: mean over cells, range 2; NaN when not measured */
	double usage, perplexity;   /* of all codes of all levels: the used of all vectors; exp of the mean entropy of a code */
	double front;               /* usage by positions that hold some of the cell's own mask alone; NaN without masks */
	vq_level_losses level[VQ_CODE_LEVELS_MAX];
	uint64_t cells, pixels;
} vq_losses;

typedef struct {
	int64_t epoch, step;    /* finished */
	double seconds;         /* since the run began, resumed parts included */
	uint64_t pixels;        /* true pixels seen so far */
	vq_losses train, val;
	double done;            /* fraction of the training that is over, at most 1 */
	double lr, grad_norm;   /* lr of the last step; mean norm before clipping */
	int64_t revived;
	bool best;              /* the lowest validation loss so far */
	bool last;
} vq_epoch;

typedef struct {
	int64_t epoch, step;
	double seconds, fraction, cells_per_second, lr;
	double loss, recon, commit, usage; /* running: of the steps whose numbers are known, which the last one's need not be; NaN before any */
} vq_progress;

typedef struct vq_trainer vq_trainer;

typedef struct {
	void *ctx;
	/* Cell i's extent and true size, without its pixels. */
	vq_status (*size)(void *ctx, uint32_t i, vq_cell *cell);
	vq_status (*cell)(void *ctx, uint32_t i, vq_cell *cell);
	/* After every epoch. Read the model with vq_trainer_read. */
	vq_status (*epoch)(void *ctx, vq_trainer *t, const vq_epoch *e);
	/* After every step; true stops the run after it (an epoch with last set is still reported). */
	bool (*step)(void *ctx, const vq_progress *p);
	/* After `step`, inside: true, and after `epoch`, inside: false: the moments for vq_trainer_save. NULL: none is wanted. */
	vq_status (*save)(void *ctx, vq_trainer *t, bool inside);
} vq_train_calls;

typedef struct {
	const vq_config *config;
	int channels;
	vq_backend *backend;
	const uint32_t *train, *val; /* cells, by number */
	uint32_t n_train, n_val;
	const vq_perceptual *perceptual; /* with use_perceptual_loss; it must outlive the trainer */
	bool clip;              /* validation scores pixels clipped to [-1, 1], as vq-decode will write them */
	bool profile;           /* count what vq_trainer_profile tells */
	double started;         /* vq_seconds() of when the run began: max_seconds counts from here */
	vq_train_calls calls;
} vq_trainer_options;

/* VQ_EUNSUP: what this version cannot train, named; the same that vq_trainer_make refuses, but before any cell is read. */
vq_status vq_trainer_check(const vq_config *c);
/* What activations are computed in, by mixed_precision and what the backend is good at. */
vq_dtype vq_trainer_type(const vq_config *c, const vq_backend *b);
vq_status vq_trainer_make(vq_trainer **t, const vq_trainer_options *o);
const vq_params *vq_trainer_params(const vq_trainer *t);
/* Parameters to start from instead of fresh ones (both buffers whole). A codebook given so is not started from data. */
vq_status vq_trainer_load(vq_trainer *t, const float *state, const float *param);
/* The current ones; averaged weights where the configuration asks for them and, within calls.epoch, the codebooks of codebook_refit. */
vq_status vq_trainer_read(vq_trainer *t, float *state, float *param);
/* Trains until a bound is reached or a callback stops it. VQ_EBACKEND when a loss or a gradient's norm is not finite: the message names
 * the step and the layer, and vq_trainer_failed the cells. */
vq_status vq_trainer_run(vq_trainer *t);
/* How many cells the batch had that ended the run so, and which (the trainer's memory); 0 when none did. */
int vq_trainer_failed(const vq_trainer *t, const uint32_t **cells);
/* The model's reconstruction of one cell, [C,h,w] at its extent. */
vq_status vq_trainer_reconstruct(vq_trainer *t, uint32_t cell, float *out);
/* Bytes that the activations and gradients of the largest step took so far; *plain: what they would have taken without
 * checkpoint_activations, or 0 where it is off. */
size_t vq_trainer_memory(const vq_trainer *t, size_t *plain);
/* Where a run's time went: lines of its parts in wall seconds, then one an operation, where the backend measures them: nodes, seconds, share, what
 * it reached in GFLOP/s and GB/s, and the floor (the time at this machine's measured peaks, of which arithmetic and memory is slower) as a share
 * of its time. Measures those peaks now, in about a second. Caller frees; NULL: no memory. */
char *vq_trainer_profile(const vq_trainer *t);
void vq_trainer_free(vq_trainer *t);

#endif
