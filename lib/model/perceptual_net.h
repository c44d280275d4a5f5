/* perceptual_net: the layers of the frozen networks. */
#ifndef VQ_PERCEPTUAL_NET_H
#define VQ_PERCEPTUAL_NET_H

#include "lib/train/config.h"

typedef enum { VQ_NET_CONV, VQ_NET_RELU, VQ_NET_POOL, VQ_NET_FIRE /* 1x1 convolution, ReLU, 1x1 and 3x3 ones side by side, ReLU */ } vq_net_kind;
typedef struct { vq_net_kind kind; int k, s, p; bool up; /* POOL: rounds its size up */ } vq_net_layer;

enum { VQ_NET_LAYERS_MAX = 40 };

/* The layers of torchvision's `features`, in order; returns how many. */
int vq_net_layers(vq_perceptual_net net, vq_net_layer layer[VQ_NET_LAYERS_MAX]);
/* What is compared when nothing is said: LPIPS's taps, and for VGG19 its like; returns how many. */
int vq_net_taps(vq_perceptual_net net, int tap[VQ_CONFIG_LIST_MAX]);
/* The least side with a full window in each of the first n layers. */
int vq_net_least(const vq_net_layer *layer, int n);
/* "conv4_1 (features.19)" for VGG, "features.4" for the others. */
const char *vq_net_name(vq_perceptual_net net, int layer, char buf[64]);

#endif
