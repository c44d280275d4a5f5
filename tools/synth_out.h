/* synth_out: simulated cells as records, and as fields on disk with everything vq-crop wants. */
#ifndef VQ_SYNTH_OUT_H
#define VQ_SYNTH_OUT_H

#include "formats/vqt.h"
#include "lib/image/synth.h"

/* Channel names as a JSON array; NULL on failure. */
cJSON *vq_synth_channels(const vq_synth_options *o);

/* Cell i as a sample record of raw grey levels, with its truth. Cells go round 24 wells of one plate, four sites each, so that
 * splits by well work with few of them. */
vq_status vq_synth_record(const vq_synth_options *o, uint64_t i, vqt_record *out);

/* Fields of size x size pixels with about n cells in all, at least three fields when n allows: dir/PLATE_WELL_SITE_CHANNEL.tif, ..._labels.tif,
 * load_data.csv (written last) and truth.csv (a row a cell). dir is made. *fields, *cells: how many. */
vq_status vq_synth_fields(const vq_synth_options *o, const char *dir, int64_t n, int64_t size, int64_t *fields, int64_t *cells);

#endif
