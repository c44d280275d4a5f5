/* export: what vq-export makes of the records of a stream, one target each. */
#ifndef VQ_TOOL_EXPORT_H
#define VQ_TOOL_EXPORT_H

#include "formats/sample.h"
#include "formats/table.h"

/* One row a record: id, place, size, area; then, where the record has them, raw measurements and field statistics by channel, truth_*
 * (simulated cells), Metadata_* columns, and the features of --h5ad as Cells_VQ_*. */
vq_status vq_export_csv_open(vq_table **t, const char *path);
vq_status vq_export_csv_row(vq_table *t, const vqt_record *rec, const cJSON *header);

/* AnnData: X the features, obs the metadata, obsm X_codes and X_pca, uns the chain, the channels and, with a model, its codebook.
 * The first record decides which features there are; a later one without them is VQ_EINVAL. model: a file, or NULL. */
typedef struct vq_export_h5ad vq_export_h5ad;
vq_status vq_export_h5ad_open(vq_export_h5ad **e, const char *path, const char *model);
vq_status vq_export_h5ad_put(vq_export_h5ad *e, const vqt_record *rec, const cJSON *header);
vq_status vq_export_h5ad_commit(vq_export_h5ad *e); /* frees e either way */
void vq_export_h5ad_abort(vq_export_h5ad *e);       /* NULL is fine */

/* path becomes a directory if it is not there (*made); VQ_EIO when it holds anything. */
vq_status vq_export_dir_open(const char *path, bool *made);
/* Takes the files whose names end in `end` away again, and the directory where it was made: after a successful open only. */
void vq_export_dir_abort(const char *path, const char *end, bool made);

/* The record's true pixels as a PNG: one channel grey, several as a composite of colours. channel: the one to show alone, by name;
 * NULL for all. The contrast is that of the normalisation: [-1, 1]; [-3, 3] of z-scores; of raw pixels the field's percentiles 0.1 to
 * 99.9, else the record's own extremes. */
vq_status vq_export_png_put(const char *path, const vqt_record *rec, const cJSON *header, const char *channel);

/* Cells back in their fields: path becomes a directory as above, with a 16-bit OME-TIFF a field, named after it. Inside a cell's own pixels
 * (mask 1; of a record without a mask, its label in the source's label image) stands the record in grey levels, elsewhere the source.
 * root: where relative names of source files begin, or NULL. The cells of a field follow each other (VQ_EINVAL); the planes are those
 * whose mean the record knows. The commit warns of values that clipping has changed, with how many there are. */
typedef struct vq_export_tiff vq_export_tiff;
vq_status vq_export_tiff_open(vq_export_tiff **e, const char *path, const char *root);
vq_status vq_export_tiff_put(vq_export_tiff *e, const vqt_record *rec, const cJSON *header);
vq_status vq_export_tiff_commit(vq_export_tiff *e); /* frees e either way */
void vq_export_tiff_abort(vq_export_tiff *e);       /* leaves no file, and no directory that it made; NULL is fine */

/* The file's name for an id: letters, digits, dot, minus and underscore stay, others become '_'; where more than one '#' before
 * a number was replaced, or the name is too long, a hash of the id follows; then `end`. Caller frees. */
char *vq_export_file_name(const char *id, const char *end);

/* Name of channel c: the record's, else the header's, else its number from 1 (in buf). */
const char *vq_export_channel(const vqt_record *rec, const cJSON *header, int c, char buf[32]);

#endif
