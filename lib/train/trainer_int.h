/* trainer_int: what the trainer's own files share. */
#ifndef VQ_TRAINER_INT_H
#define VQ_TRAINER_INT_H

#include "lib/train/batch.h"
#include "lib/train/state.h"

typedef struct { vq_graph g; vq_model_io io; vq_plan *plan; } train_plan;
typedef struct { vq_train_sums sum; double began; } epoch_state; /* began: less what it took before it was resumed */

struct vq_trainer {
	vq_trainer_options o;
	const vq_config *c;
	vq_backend *b;
	vq_model_info info;
	vq_params params;
	vq_store *store;
	train_plan train, eval;
	vq_sheet sheet;
	vq_dtype compute;
	int augment;
	vq_sampler sampler;
	vq_rng health;          /* codebook start and revival */
	vq_plateau plateau;
	vq_batch *batches;      /* one a micro-batch */
	uint64_t *counts;       /* codes of this epoch */
	epoch_state now;        /* this epoch so far */
	int64_t step, epoch;
	uint64_t pixels;
	double fraction, closing, best;
	double run_began, val_pixels; /* true pixels of the validation cells */
	int stale;              /* epochs since the best */
	bool started_codebook;
	bool inside;            /* within an epoch */
	bool stopped;           /* early stopping: the run is over */
	bool halted;            /* a callback said so: it may be resumed */
};

vq_status trainer_forward(vq_trainer *t, train_plan *p, const vq_batch *b, unsigned phases, double pixels, double positions, vq_step *step);
/* health.c: rows from data to start with, and for those that nothing uses. */
vq_status trainer_start_codebook(vq_trainer *t);
vq_status trainer_revive(vq_trainer *t, const vq_batch *b, int64_t *revived);

#endif
