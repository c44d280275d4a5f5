/* coderec: what a cell was encoded to, as a record of a stream of codes, and back (man/vqt.5 names the tensors). */
#ifndef VQ_TOOLS_CODEREC_H
#define VQ_TOOLS_CODEREC_H

#include "lib/image/pad.h"
#include "tools/batchrec.h"
#include "tools/codec.h"

/* Into a record that has the cell's metadata: the codes of every level, the feature maps of raw skips, where the true pixels are; with
 * features latent_mean, latent_std and histogram as well. */
vq_status vq_coderec_set(const vq_model_info *info, const vq_cell *cell, const cell_codes *k, bool features, vqt_record *out);
/* All that codec_decode needs, and the margins round the true pixels. k: empty; cell_codes_free it after a failure too. VQ_EINVAL: what the
 * model could not decode, named. */
vq_status vq_coderec_get(const vq_model *m, const vqt_record *in, cell_codes *k, vq_geom *g);

#endif
