/* plot_thumbs: small pictures of cells at their places in a plane, for vq-plot map. */
#ifndef VQ_PLOT_THUMBS_H
#define VQ_PLOT_THUMBS_H

#include "lib/tensor.h"

typedef struct {
	const char *id;
	double x, y;              /* the place: 0 to 1, from the left and from the bottom */
	const char *hue;          /* of a frame, "#rrggbb", or NULL */
} vq_thumb;

/* A picture of width x height pixels, u8 [H,W,4], clear but for the thumbnails of at most `most` cells (0: as many as fit) of the stream
 * `reference`, those that do not cover each other, drawn by lot, the same ones each time. VQ_EINVAL: a chosen cell is not in the stream. */
vq_status vq_thumbs_draw(vq_tensor *rgba, const char *reference, const vq_thumb *at, size_t n, int most, int width, int height);

#endif
