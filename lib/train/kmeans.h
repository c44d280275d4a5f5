/* kmeans: Lloyd's iterations, for a codebook's first rows and for the fit of its last ones. */
#ifndef VQ_KMEANS_H
#define VQ_KMEANS_H

#include "lib/base.h"
#include "lib/rng.h"

typedef struct { const float *rows; size_t n; int k, d; } vq_kmeans_data; /* rows [n,d]; k centres */

/* `steps` times: each row goes to its nearest centre (the first on a tie), then each centre to the mean of its rows. centre [k,d]: where
 * they start and end; count [k]: the rows of each in the last step. A centre without rows stays; unless `draw` is NULL it first goes to a row
 * that is drawn with a probability in proportion to its squared distance from its centre (k-means++), while any row is off its own.
 * threads: at least 1, without effect on the result. VQ_ENOMEM. */
vq_status vq_kmeans(vq_kmeans_data x, int steps, int threads, vq_rng *draw, float *centre, float *count);

#endif
