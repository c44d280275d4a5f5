/* perceptual: the distance between two images in the features of a network that is not trained.
 *
 * Networks are torchvision's AlexNet, SqueezeNet 1.1, VGG16 and VGG19, as far as the last layer compared; a layer is named by its index in
 * torchvision's `features`, each convolution, ReLU, pooling and Fire module counting as one, and a convolution's own output is before its
 * ReLU. Widths come from the weights. Images in [-1, 1] are shifted and scaled to what the networks were trained on (the mean and deviation
 * of ImageNet's colours, which is LPIPS's scaling layer); weights with a tensor conv0 (a 1x1 convolution of colours in [0, 1]) bring that
 * step along instead.
 *
 * With heads the distance is LPIPS: at each layer features are divided by their norm over channels (plus 1e-10), squared differences are
 * weighted by channel and summed. Without, it is the mean over channels of the squared differences of the features as they are. Either
 * way: the mean over an item's valid positions, summed over layers, averaged over scales.
 *
 * One channel is shown in all three colours; of four the first three are taken; 2 and more than 4 are scored one by one and averaged. */
#ifndef VQ_PERCEPTUAL_H
#define VQ_PERCEPTUAL_H

#include "lib/model/graph.h"
#include "lib/train/config.h"

/* Named tensors from wherever they are kept. */
typedef struct {
	void *ctx;
	const char *name;       /* for messages */
	/* False when there is no such tensor. shape has room for 4; of more dimensions only their number is told. */
	bool (*shape)(void *ctx, const char *tensor, int *ndim, int64_t *shape);
	vq_status (*read)(void *ctx, const char *tensor, int ndim, const int64_t *shape, float *to);
} vq_weights;

typedef struct {
	vq_params table;        /* of FROZEN values */
	float *values;          /* table.sizes[0] */
	vq_perceptual_net net;
	int taps, tap[VQ_CONFIG_LIST_MAX];
	int head[VQ_CONFIG_LIST_MAX]; /* in the table; -1 without */
	int scales;
	int least;              /* side that an image must have; smaller ones are stretched to it, each side by itself */
	bool own_colours;       /* conv0 */
} vq_perceptual;

/* Zero *p first. heads: NULL for none. VQ_EINVAL: a tensor that is missing or has a wrong shape, or a layer beyond the last there is; named. */
vq_status vq_perceptual_make(vq_perceptual *p, const vq_config *c, const vq_weights *weights, const vq_weights *heads);
void vq_perceptual_free(vq_perceptual *p);
/* The last layer that the configuration's network is compared at, as "features.28" or "relu3_3 (features.15)". */
const char *vq_perceptual_last(const vq_config *c, char buf[64]);

/* Appends the distance between y and target (f32, the same shape, items at the start of their canvases, no side of an item under `side`):
 * its sum over items into the scalar; its gradient starts here, times the step's scale. */
void vq_perceptual_build(const vq_perceptual *p, vq_builder *b, int y, int target, int side, int scalar, int scale);

#endif
