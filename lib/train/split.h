/* split: which cells train the model, which choose it, and which are kept for the last judgement. */
#ifndef VQ_TRAIN_SPLIT_H
#define VQ_TRAIN_SPLIT_H

#include "lib/base.h"

typedef enum { VQ_PART_TRAIN, VQ_PART_VAL, VQ_PART_TEST } vq_part;

const char *vq_part_name(vq_part p);   /* "train" "val" "test" */
int vq_part_parse(const char *text);   /* any case, also "training", "validation", "valid", "testing"; -1 for anything else */

typedef struct {
	const char *id;
	const char *group;     /* cells of one group stay together */
	const char *declared;  /* what the data says itself (Metadata_Split), or NULL or "" */
} vq_part_record;

typedef struct {
	size_t cells[3];       /* by vq_part */
	size_t groups[3];      /* groups with a cell there; only val and train are kept apart, a declared test may share a group with them */
	bool declared;         /* some record said its part */
	bool by_cell;          /* val had to be drawn by cell, for all cells are of one group: warn */
} vq_part_report;

/* Fills part[n]. What is declared stands; a record that declares nothing is a candidate. When none declares val, val is drawn from
 * the candidates and what is declared train: groups in an order shuffled by seed (and not by the order of the records) join val as
 * long as that brings it nearer to val_fraction of these cells; at least one group each for train and val when there are two and
 * val_fraction > 0. VQ_EINVAL: a declared part that is none (id and text named), or val_fraction outside [0, 1). */
vq_status vq_part_assign(const vq_part_record *record, size_t n, double val_fraction, uint64_t seed, uint8_t *part, vq_part_report *report);

#endif
