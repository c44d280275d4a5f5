/* crop_cells: the cells of loaded fields, written to the stream. */
#ifndef VQ_CROP_CELLS_H
#define VQ_CROP_CELLS_H

#include "tools/crop_load.h"

typedef struct {
	vq_crop_rule rule;
	int64_t box;        /* side of crops around places; 0: by labels */
	bool whole;         /* each field is one cell; its labels, if any, the mask */
} crop_cuts;

typedef struct {
	const char *tool;   /* name in the chain of commands */
	vqt_writer *writer; /* made with the first cell: only then are the channels known */
	cJSON *channels;    /* of the first field; the others have to agree. The caller's to delete */
	uint64_t cells;     /* written */
	uint64_t dropped;   /* with a warning */
} crop_out;

/* Fails, with nothing written, when this field cannot be used. A stream that cannot be written ends the program. */
vq_status crop_cells(crop_out *out, const crop_cuts *cuts, const vq_field *field, const crop_field *data);

#endif
