/* montage: places for pictures of many sizes in one. */
#ifndef VQ_MONTAGE_H
#define VQ_MONTAGE_H

#include "lib/base.h"

typedef struct { int64_t h, w, y, x; } vq_place;

/* Sets y and x of n places with h, w >= 1: on shelves, the highest first and of like height the widest, about as wide as high in all. They do not
 * overlap, and depend on the sizes and their order alone. *h, *w: of the whole. VQ_ELIMIT: more than 2^30 pixels. */
vq_status vq_montage_plan(vq_place *p, size_t n, int64_t *h, int64_t *w);

#endif
