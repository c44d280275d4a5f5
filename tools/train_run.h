/* train_run: what a training leaves in its RUN directory. */
#ifndef VQ_TOOLS_TRAIN_RUN_H
#define VQ_TOOLS_TRAIN_RUN_H

#include "formats/history.h"
#include "tools/modelfile.h"
#include "tools/train_cells.h"

typedef struct {
	const char *dir;
	vq_model model;         /* config, channels, norm, chain; weights as last saved */
	train_cells cells;
	uint8_t *part;          /* a cell: vq_part */
	uint32_t *train, *val;  /* cells by number */
	uint32_t n_train, n_val, n_test;
	vq_history *history;
	vq_epoch best, last;
	bool saved;
	bool made;              /* the directory is ours: removed by train_run_free when nothing came to be in it */
} train_run;

/* Makes the directory. VQ_EINVAL: it holds a model and `force` is not set. Nothing in it is touched yet. */
vq_status train_run_open(train_run *r, const char *dir, bool force);
/* Decides train, val and test; then removes what an earlier run left, and writes split.csv. file: a split.csv to follow instead, or NULL. */
vq_status train_run_split(train_run *r, const char *file, vq_part_report *report);
vq_status train_run_config(const train_run *r); /* config.json */
/* After an epoch: history.jsonl, model.safetensors when it is the best so far, samples/ when it is their turn. */
vq_status train_run_epoch(train_run *r, vq_trainer *t, const vq_epoch *e);
void train_run_free(train_run *r);

#endif
