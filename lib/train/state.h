/* state: all that a run is besides its configuration and its cells, as plain data, so that it can be put away and gone on with.
 *
 * A trainer restored from a state does what the one that was saved would have done next, bit for bit. */
#ifndef VQ_TRAIN_STATE_H
#define VQ_TRAIN_STATE_H

#include "lib/rng.h"
#include "lib/train/trainer.h"

/* Of an epoch so far. */
typedef struct {
	double recon, perceptual, commit[VQ_CODE_LEVELS_MAX], positions[VQ_CODE_LEVELS_MAX];
	uint64_t pixels, cells;
	double norm, lr;        /* sum of the gradient's norms; the last step's rate */
	int64_t steps, revived;
} vq_train_sums;

typedef struct {
	int64_t step, epoch;    /* finished */
	uint64_t pixels;
	double seconds;         /* since the run began */
	double epoch_seconds;   /* since the epoch began */
	double closing;         /* what the last epoch's end took */
	double best;            /* lowest loss so far; infinite before the first epoch's end */
	int64_t stale;          /* epochs since */
	bool inside;            /* an epoch is not finished */
	bool stopped;           /* by early stopping */
	bool started_codebook;
	vq_plateau plateau;
	vq_rng draw, health;    /* the sampler's generator; the codebook's */
	uint32_t at;            /* cells of the order that are behind */
	vq_train_sums sum;
} vq_train_scalars;

enum { VQ_STATE_BUFS = 5 };

typedef struct {
	vq_train_scalars s;
	float *buf[VQ_STATE_BUFS];      /* state, then parameters, m, v and mean: count floats each */
	size_t count[VQ_STATE_BUFS];
	uint32_t *order, *wait;         /* cells by number: this epoch's order; those that found no room yet */
	uint32_t cells, waiting;
	uint64_t *codes, *front;        /* how often each code occurred in the epoch, level after level; and at foreground positions */
	int n_codes;
} vq_train_state;

extern const char *const vq_state_names[VQ_STATE_BUFS]; /* "state" "param" "m" "v" "mean" */

typedef enum { VQ_SCALAR_REAL, VQ_SCALAR_INT /* 64 bits, of either sign, below 2^53 */, VQ_SCALAR_INT32, VQ_SCALAR_BOOL } vq_scalar_type;
typedef struct { const char *name; vq_scalar_type type; size_t offset; /* in vq_train_scalars */ } vq_scalar;
extern const vq_scalar vq_scalars[]; /* ends with name NULL; every field of vq_train_scalars is there */

/* Memory for a run of the trainer's shape; zero-initialise before. Waiting cells: as many as ever may be. */
vq_status vq_train_state_make(vq_train_state *st, const vq_trainer *t);
/* Between steps (vq_train_calls.save). st: as made for this trainer; its memory is used again. Waits for the steps that are under way, and
 * fails as vq_trainer_run where their numbers are not finite. */
vq_status vq_trainer_save(vq_trainer *t, vq_train_state *st);
/* Before vq_trainer_run, on a trainer made with the same options; o.started becomes that of the whole run. VQ_EINVAL, with what it is that
 * does not fit: the trainer is to be freed then. */
vq_status vq_trainer_restore(vq_trainer *t, const vq_train_state *st);
void vq_train_state_free(vq_train_state *st); /* safe on an empty one */

#endif
