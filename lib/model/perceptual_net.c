#include "lib/model/perceptual_net.h"

#include <stdio.h>
#include <string.h>

static const vq_net_layer alexnet[] = {
	{ VQ_NET_CONV, 11, 4, 2 }, { VQ_NET_RELU }, { VQ_NET_POOL, 3, 2 },
	{ VQ_NET_CONV, 5, 1, 2 }, { VQ_NET_RELU }, { VQ_NET_POOL, 3, 2 },
	{ VQ_NET_CONV, 3, 1, 1 }, { VQ_NET_RELU }, { VQ_NET_CONV, 3, 1, 1 }, { VQ_NET_RELU }, { VQ_NET_CONV, 3, 1, 1 }, { VQ_NET_RELU }, { VQ_NET_POOL, 3, 2 },
};

static const vq_net_layer squeezenet[] = {
	{ VQ_NET_CONV, 3, 2, 0 }, { VQ_NET_RELU }, { VQ_NET_POOL, 3, 2, 0, true },
	{ VQ_NET_FIRE, 3, 1, 1 }, { VQ_NET_FIRE, 3, 1, 1 }, { VQ_NET_POOL, 3, 2, 0, true },
	{ VQ_NET_FIRE, 3, 1, 1 }, { VQ_NET_FIRE, 3, 1, 1 }, { VQ_NET_POOL, 3, 2, 0, true },
	{ VQ_NET_FIRE, 3, 1, 1 }, { VQ_NET_FIRE, 3, 1, 1 }, { VQ_NET_FIRE, 3, 1, 1 }, { VQ_NET_FIRE, 3, 1, 1 },
};

static const int vgg16[] = { 2, 2, 3, 3, 3 }, vgg19[] = { 2, 2, 4, 4, 4 }; /* convolutions a block */
enum { VGG_BLOCKS = 5 };

int vq_net_layers(vq_perceptual_net net, vq_net_layer layer[VQ_NET_LAYERS_MAX])
{
	int n = 0;
	if (net == VQ_NET_ALEXNET) {
		memcpy(layer, alexnet, sizeof alexnet);
		return (int)VQ_COUNT(alexnet);
	}
	if (net == VQ_NET_SQUEEZENET) {
		memcpy(layer, squeezenet, sizeof squeezenet);
		return (int)VQ_COUNT(squeezenet);
	}
	for (int b = 0; b < VGG_BLOCKS; b++) {
		for (int i = 0; i < (net == VQ_NET_VGG16 ? vgg16 : vgg19)[b]; i++) {
			layer[n++] = (vq_net_layer){ VQ_NET_CONV, 3, 1, 1 };
			layer[n++] = (vq_net_layer){ VQ_NET_RELU };
		}
		layer[n++] = (vq_net_layer){ VQ_NET_POOL, 2, 2 };
	}
	return n;
}

int vq_net_taps(vq_perceptual_net net, int tap[VQ_CONFIG_LIST_MAX])
{
	static const vq_ints of[] = {
		[VQ_NET_VGG16] = { 5, { 3, 8, 15, 22, 29 } },
		[VQ_NET_VGG19] = { 5, { 3, 8, 17, 26, 35 } },
		[VQ_NET_ALEXNET] = { 5, { 1, 4, 7, 9, 11 } },
		[VQ_NET_SQUEEZENET] = { 7, { 1, 4, 7, 9, 10, 11, 12 } },
	};
	memcpy(tap, of[net].v, sizeof of[net].v);
	return of[net].n;
}

static bool fits(const vq_net_layer *layer, int n, int side)
{
	for (int i = 0; i < n; i++) {
		const vq_net_layer *l = &layer[i];
		if (l->kind == VQ_NET_RELU || l->kind == VQ_NET_FIRE)
			continue;
		if (side + 2 * l->p < l->k)
			return false;
		side = (side + 2 * l->p - l->k + (l->up ? l->s - 1 : 0)) / l->s + 1;
	}
	return true;
}

int vq_net_least(const vq_net_layer *layer, int n)
{
	int side = 1;
	while (!fits(layer, n, side))
		side++;
	return side;
}

const char *vq_net_name(vq_perceptual_net net, int layer, char buf[64])
{
	const int *blocks = net == VQ_NET_VGG16 ? vgg16 : vgg19;
	int at = layer;
	snprintf(buf, 64, "features.%d", layer);
	for (int b = 0; b < VGG_BLOCKS && (net == VQ_NET_VGG16 || net == VQ_NET_VGG19) && at >= 0; b++) {
		if (at < 2 * blocks[b])
			snprintf(buf, 64, "%s%d_%d (features.%d)", at % 2 ? "relu" : "conv", b + 1, at / 2 + 1, layer);
		else if (at == 2 * blocks[b])
			snprintf(buf, 64, "pool%d (features.%d)", b + 1, layer);
		at -= 2 * blocks[b] + 1;
	}
	return buf;
}
