/* pack: cells of any size side by side on canvases of one size, so that one plan serves every step.
 *
 * Large cells first, each where it fits closest. Positions are multiples of the model's multiple when the extents and the gap are. */
#ifndef VQ_PACK_H
#define VQ_PACK_H

#include "lib/backend.h"

typedef struct { int canvases, h, w, gap; } vq_sheet;
typedef struct { int h, w; } vq_size;

enum { VQ_PACK_MAX = 1024 }; /* cells looked at in one call */

/* Gives each cell its rectangle; rect.n is -1 for one that found no room. Returns how many did, or VQ_EINVAL (n beyond VQ_PACK_MAX). */
int vq_pack(const vq_sheet *s, int n, const vq_size *size, vq_rect *rect);

/* The canvas that suits cells of these extents: as many canvases as `pixels` allows, at least large enough for the largest. */
vq_sheet vq_sheet_for(int max_h, int max_w, int64_t pixels, int multiple, int gap, int threads);

#endif
