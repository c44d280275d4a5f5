/* padrec: padding of sample records, as vq-pad does it. */
#ifndef VQ_TOOLS_PADREC_H
#define VQ_TOOLS_PADREC_H

#include "formats/sample.h"
#include "lib/image/pad.h"

/* Pads image (in the given mode) and mask (with 0) from the true pixels on, whatever padding was there, and records it.
 * multiple, min: as vq_pad_make_plan. Errors begin with the record's id; the record is then unchanged or unfit for use. */
vq_status vq_pad_record(vqt_record *rec, vq_pad_mode mode, int64_t multiple, int64_t min);
/* Back to the true pixels. */
vq_status vq_unpad_record(vqt_record *rec);

#endif
