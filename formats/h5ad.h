/* h5ad: a table of cells in AnnData's on-disk encoding (HDF5; anndata 0.1.0), written a cell at a time.
 *
 *	vq_h5ad_open(&h, path);
 *	vq_h5ad_features(h, names, d);                             X and var; once
 *	vq_h5ad_matrix(h, "obsm/X_codes", 512, true, &codes);      any number
 *	for each cell: vq_h5ad_obs(h, "Metadata_Well", "A01") ...; vq_h5ad_put(h, codes, v); vq_h5ad_cell(h, x);
 *	vq_h5ad_text(h, "uns/chain", "[...]");                     at any time
 *	vq_h5ad_commit(h);
 *
 * Matrices go out in chunks; only the columns of obs are held until the end. Nothing stands under the path before the commit, and the
 * file holds no times: the same calls give the same bytes. Errors of HDF5 are VQ_EIO and name the path. */
#ifndef VQ_H5AD_H
#define VQ_H5AD_H

#include "lib/tensor.h"

typedef struct vq_h5ad vq_h5ad;

/* path: a file; VQ_EINVAL for standard output, pipes and devices, which cannot be rewound. */
vq_status vq_h5ad_open(vq_h5ad **h, const char *path);
/* Names the d > 0 columns of X, which are the index of var. */
vq_status vq_h5ad_features(vq_h5ad *h, const char *const *names, int64_t d);
/* Declares a matrix [cells, width] f32 at "obsm/NAME"; *m names it in vq_h5ad_put. deflate: for counts that are mostly 0. */
vq_status vq_h5ad_matrix(vq_h5ad *h, const char *path, int64_t width, bool deflate, int *m);
/* Declares an obs column; its place among the columns is that of its first mention. whole: 64-bit integers when every value is
 * one in plain decimal, else text, as all others. A column without any value is left out; a missing value is an empty text. */
vq_status vq_h5ad_column(vq_h5ad *h, const char *name, bool whole);
/* A value of the coming cell; the first of a name declares it. VQ_EINVAL: the cell has one already. */
vq_status vq_h5ad_obs(vq_h5ad *h, const char *name, const char *value);
/* The next row of matrix m. */
vq_status vq_h5ad_put(vq_h5ad *h, int m, const float *row);
/* Completes a cell: x is its row of X. */
vq_status vq_h5ad_cell(vq_h5ad *h, const float *x);
int64_t vq_h5ad_count(const vq_h5ad *h);
/* Rows first to first + n - 1 of X, as they were put. */
vq_status vq_h5ad_read(vq_h5ad *h, int64_t first, int64_t n, float *x);

/* Values elsewhere: "uns/chain", "varm/PCs". Groups on the way are made as dictionaries. */
vq_status vq_h5ad_text(vq_h5ad *h, const char *path, const char *text);
vq_status vq_h5ad_texts(vq_h5ad *h, const char *path, const char *const *text, int64_t n);
vq_status vq_h5ad_array(vq_h5ad *h, const char *path, const vq_tensor *t); /* f32 or f64 */

/* VQ_EINVAL: a matrix has not as many rows as there are cells. Frees h either way. */
vq_status vq_h5ad_commit(vq_h5ad *h);
void vq_h5ad_abort(vq_h5ad *h); /* NULL is fine */

#endif
