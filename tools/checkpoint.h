/* checkpoint: RUN/last.ckpt, from which a training goes on as if it had never stopped.
 *
 * A safetensors file. Metadata strings: "format" ("vq-checkpoint"), "version" ("2"), "config" (resolved JSON), "channels", "chain" (as in a
 * model), "cells" (a hash of who they are, their pixels and their parts), "network" (a hash of the perceptual loss's weights, where there are
 * any), "machine" (JSON: threads, device, isa), "progress" (JSON: the scalars of lib/train/state.h), "best" (JSON: of the best model: step,
 * cells, psnr, ssim, usage, front), "hash" (xxh64 of all else). Tensors: state, param, m, v, mean, order, wait, codes, front, and best.state
 * and best.param once there is a best model. */
#ifndef VQ_TOOLS_CHECKPOINT_H
#define VQ_TOOLS_CHECKPOINT_H

#include "formats/safetensors.h"
#include "lib/train/state.h"
#include "tools/train_run.h"

typedef struct {
	char *path;
	vq_st *st;
	vq_config config;
} checkpoint;

/* Opens RUN/last.ckpt. It not being there, another version, and a file that is no checkpoint, is cut off or damaged
 * are named. */
vq_status checkpoint_open(checkpoint *c, const char *dir);
void checkpoint_close(checkpoint *c); /* safe on an empty one */

/* VQ_EINVAL: the keys that differ, with both values. */
vq_status checkpoint_check_config(const checkpoint *c, const vq_config *now);
/* VQ_EINVAL: other weights than those it was trained with; an empty network is fine. */
vq_status checkpoint_check_network(const checkpoint *c, const vq_perceptual *p);
/* VQ_EINVAL: other channels or other cells than r's, which are read and divided. */
vq_status checkpoint_check_cells(const checkpoint *c, const train_run *r);
/* What differs in the machine and may change the last bits, as text, or NULL; caller frees. */
char *checkpoint_machine(const checkpoint *c, const train_run *r, const vq_backend *b);

/* Puts everything back: the trainer, and r's chain, best model and progress. */
vq_status checkpoint_restore(const checkpoint *c, train_run *r, vq_trainer *t);
/* Writes RUN/last.ckpt, whole or not at all. */
vq_status checkpoint_write(train_run *r, vq_trainer *t, const vq_backend *b);

#endif
