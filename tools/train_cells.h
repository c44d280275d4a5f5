/* train_cells: the cells of a training run: who they are, where they belong, and their pixels when the trainer asks. */
#ifndef VQ_TOOLS_TRAIN_CELLS_H
#define VQ_TOOLS_TRAIN_CELLS_H

#include "formats/xxh64.h"
#include "lib/train/split.h"
#include "tools/cells.h"

typedef struct {
	char *id, *group, *declared; /* declared: Metadata_Split, or NULL */
	vq_cell size;                /* extents, without pixels */
	vq_cell cell;                /* pixels, when they are held */
	uint32_t file, at;           /* where they are read from again */
} train_cell;

typedef struct {
	train_cell *v;
	uint32_t n, cap;
	int channels;
	vq_extent_rule rule;
	bool need_masks;             /* a record without one is refused */
	vq_norm norm;                /* how the cells are normalised */
	cJSON *names, *chain;        /* channels, and the commands that made the stream */
	vqt_file *file[2];           /* what cells beyond the memory limit are read from again: the stream, and --val */
	int files;
	uint64_t held, limit;        /* bytes of pixels in memory */
	vq_xxh64 hash;               /* of all ids, extents, pixels and masks, in order */
	vq_cell last;                /* a cell that was read again */
} train_cells;

/* Zero-initialise, set rule, need_masks and limit (bytes of pixels to hold in memory; the rest is read again when needed). Reads a whole
 * stream once (path NULL: standard input) and adds its cells; at most two streams. What memory does not hold of a pipe, or of a stream of
 * batches, is copied to RUN, to a file that has no name any more when this returns. raw: how
 * raw records are to be normalised. by: as vq_part_group. declared: the part of all its cells ("val"), or NULL. */
vq_status train_cells_read(train_cells *t, const char *path, const char *run, const vq_norm *raw, const char *by, const char *declared);
/* For vq_train_calls: ctx is the train_cells. */
vq_status train_cells_size(void *ctx, uint32_t i, vq_cell *cell);
vq_status train_cells_get(void *ctx, uint32_t i, vq_cell *cell);
void train_cells_free(train_cells *t);

#endif
