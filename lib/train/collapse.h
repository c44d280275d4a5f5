/* collapse: when a codebook is hardly used, and which keys of the configuration help. */
#ifndef VQ_COLLAPSE_H
#define VQ_COLLAPSE_H

#include "lib/train/config.h"

enum { VQ_COLLAPSE_EPOCHS = 5 };    /* in a row, each below the bound, before anything is said */
#define VQ_COLLAPSE_USAGE 0.1

/* Zero-initialise. told: once a run is enough. */
typedef struct { int low; bool told; } vq_collapse;

/* After an epoch with this usage of `codes` vectors by so many code positions. NULL, or what to tell, for the caller to free: once, when usage
 * was below VQ_COLLAPSE_USAGE for VQ_COLLAPSE_EPOCHS epochs in a row. done: fraction of the training. */
char *vq_collapse_epoch(vq_collapse *s, const vq_config *c, double usage, int codes, double positions, double done);

#endif
