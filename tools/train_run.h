/* train_run: what a training leaves in its RUN directory. */
#ifndef VQ_TOOLS_TRAIN_RUN_H
#define VQ_TOOLS_TRAIN_RUN_H

#include "formats/history.h"
#include "lib/train/state.h"
#include "tools/modelfile.h"
#include "tools/perceptual.h"
#include "tools/train_cells.h"

typedef struct {
	const char *dir;
	vq_model model;         /* config, channels, norm, chain; weights as last saved */
	train_cells cells;
	uint8_t *part;          /* a cell: vq_part */
	uint32_t *train, *val;  /* cells by number */
	uint32_t n_train, n_val, n_test;
	vq_perceptual network;  /* of the perceptual loss; empty without */
	vq_history *history;
	vq_epoch best, last;
	vq_train_state state;   /* room for what a checkpoint holds */
	vq_train_scalars from;  /* where a resumed run goes on */
	bool saved;
	bool made;              /* the directory is ours: removed by train_run_free when nothing came to be in it */
} train_run;

/* Makes the directory. VQ_EINVAL: it holds a model and neither `force` nor `resume` is set. Nothing in it is touched yet. */
vq_status train_run_open(train_run *r, const char *dir, bool force, bool resume);
/* Decides train, val and test. file: a split.csv to follow instead, or NULL. */
vq_status train_run_split(train_run *r, const char *file, vq_part_report *report);
/* Removes what an earlier run left. */
vq_status train_run_clear(const train_run *r);
/* Puts the directory back to where r was restored to: the best model of then, and neither history nor pictures beyond. */
vq_status train_run_cut(train_run *r);
/* split.csv and config.json */
vq_status train_run_describe(const train_run *r);
/* After an epoch: history.jsonl, model.safetensors when it is the best so far, samples/ when it is their turn. */
vq_status train_run_epoch(train_run *r, vq_trainer *t, const vq_epoch *e);
void train_run_free(train_run *r);

#endif
