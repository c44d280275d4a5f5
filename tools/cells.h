/* cells: a sample record as a model sees it: normalised, at its extent, f32. */
#ifndef VQ_TOOLS_CELLS_H
#define VQ_TOOLS_CELLS_H

#include "formats/sample.h"
#include "lib/image/pad.h"
#include "lib/train/trainer.h"

/* Brings rec to the model's normalisation: a raw record is normalised so (in place, recorded in its metadata), one that was normalised
 * otherwise is VQ_EINVAL that names the record and both ways. */
vq_status vq_cell_normalize(vqt_record *rec, const vq_norm *want);
/* Scope "stats": true when n's own a and b are the model's statistics; false when they were dropped since they differ among its cells. */
bool vq_norm_fixed(const vq_norm *n);
int vq_norm_differs(const vq_norm *a, const vq_norm *b); /* the first channel with other a or b, or -1 */
/* How a model wants a cell padded. */
typedef struct { int multiple, min; bool power_of_two; vq_pad_mode mode; } vq_extent_rule;
vq_extent_rule vq_extent_of(const vq_model_info *info);

/* The extent of a normalised record: fresh memory in cell->pixels and cell->mask (NULL without a mask); release with vq_cell_drop.
 * want_mask false: no mask. A NaN or infinite pixel is VQ_EINVAL. Errors name the record. */
vq_status vq_cell_make(const vqt_record *rec, int channels, vq_extent_rule rule, bool want_mask, vq_cell *cell);
void vq_cell_drop(vq_cell *cell);

/* The channels of a stream: its header's, else the first record's. Caller deletes; NULL with a message. */
cJSON *vq_cells_channels(const cJSON *header, const vqt_record *first);

#endif
