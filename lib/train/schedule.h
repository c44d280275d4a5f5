/* schedule: the learning rate over a run. */
#ifndef VQ_SCHEDULE_H
#define VQ_SCHEDULE_H

#include "lib/train/config.h"

typedef struct {
	double factor;          /* plateau: what it has come down to */
	double best;            /* plateau: the lowest validation loss */
	int bad;                /* plateau: epochs without a better one */
} vq_plateau;

/* fraction: of the run, 0 to 1 (by steps, epochs or seconds, whichever ends first). step: optimiser steps made; epoch from 0. */
double vq_schedule_lr(const vq_config *c, const vq_plateau *p, double fraction, int64_t step, int64_t epoch);
void vq_plateau_start(vq_plateau *p);
void vq_plateau_epoch(vq_plateau *p, const vq_config *c, double loss);

#endif
