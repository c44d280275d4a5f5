/* The "codes" family: convolutions down to a grid of codes and back, pre-activation residual blocks, no normalisation. Skips
 * go through codebooks or are not there.
 *
 * Parameters are named as PyTorch names those of two nn.Sequential, "enc" and "dec", so that weights can be exchanged; what quantized skips
 * add is skip_in, skip_quantizer and skip_out, coarsest first. */
#include <stdio.h>

#include "lib/model/family.h"

vq_status vq_codes_describe(const vq_config *c, vq_model_info *info)
{
	if (c->latent != VQ_LATENT_GRID)
		return vq_fail(VQ_EUNSUP, "model \"codes\" has a code a position: latent must be \"grid\"");
	if (c->skip == VQ_SKIP_FEATURES)
		return vq_fail(VQ_EUNSUP, "model \"codes\" gives its decoder nothing but codes: skip must be \"none\" or \"quantized\"");
	if (c->attention || c->block_norm != VQ_BLOCK_NORM_NONE || c->dropout > 0)
		return vq_fail(VQ_EUNSUP, "model \"codes\" has no attention, normalisation or dropout in this version");
	if (c->stem_stride != 2)
		return vq_fail(VQ_EUNSUP, "model \"codes\" starts with stride 2: stem_stride must be 2");
	info->multiple = info->stride = 1 << c->levels;
	VQ_TRY(vq_describe_books(c, info));
	/* Between two cells one code position must stay empty, and the stem must not reach across. */
	info->packable = c->pack;
	info->gap = VQ_ALIGN(VQ_MAX(info->multiple, c->stem_kernel / 2), info->multiple);
	return VQ_OK;
}

/* x + conv(act(conv(act(x)))). An activation whose gradient needs only its output leaves x free to be overwritten by the sum. */
static int block(vq_family *f, int x, const char *name)
{
	char buf[64];
	vq_builder *b = f->b;
	if (b->status < 0)
		return -1;
	int c = b->g->v[x].c;
	bool in_place = f->act == VQ_FN_RELU || f->act == VQ_FN_LEAKY;
	int h = vq_layer_act(b, x, f->act);
	snprintf(buf, sizeof buf, "%s.conv1", name);
	h = vq_layer_conv(b, h, buf, c, (vq_conv_spec){ .k = 3, .s = 1, .p = 1, .bias = true, .act = f->act, .sum = -1 });
	snprintf(buf, sizeof buf, "%s.conv2", name);
	h = vq_layer_conv(b, h, buf, c, (vq_conv_spec){ .k = 3, .s = 1, .p = 1, .bias = true, .sum = in_place ? x : -1 });
	return in_place ? h : vq_layer_add(b, x, h);
}

/* feature[l]: what level l puts out, 1/2^(l+1) of the image's size. */
static int encoder(vq_family *f, int x, int *feature)
{
	const vq_config *c = f->c;
	vq_builder *b = f->b;
	char name[32];
	int at = 0;
	for (int l = 0; l < c->levels; l++) {
		int k = l ? 3 : c->stem_kernel;
		x = vq_layer_conv(b, x, vq_numbered(name, "enc", at), c->channels_per_level.v[l], (vq_conv_spec){ .k = k, .s = 2, .p = k / 2, .bias = true, .act = f->act, .sum = -1 });
		at += 2; /* the activation counts as a layer */
		for (int i = 0; i < c->blocks; i++)
			x = block(f, x, vq_numbered(name, "enc", at++));
		feature[l] = x;
	}
	return vq_layer_conv(b, x, vq_numbered(name, "enc", at), c->embedding_dim, (vq_conv_spec){ .k = 1, .s = 1, .bias = true, .f32_out = true, .sum = -1 });
}

/* feature[l]: the quantised ones, where there are any. */
static int decoder(vq_family *f, int x, const int *feature)
{
	const vq_config *c = f->c;
	vq_builder *b = f->b;
	char name[32];
	int at = 1;
	x = vq_layer_conv(b, x, "dec.0", c->channels_per_level.v[c->levels - 1], (vq_conv_spec){ .k = 1, .s = 1, .bias = true, .sum = -1 });
	for (int l = c->levels - 1; l >= 0; l--) {
		int out = l ? c->channels_per_level.v[l - 1] : c->head_channels;
		x = vq_layer_deconv(b, x, vq_numbered(name, "dec", at), out, (vq_conv_spec){ .k = 4, .s = 2, .p = 1, .bias = true, .act = f->act, .sum = -1 });
		at += 2;
		if (l && c->skip == VQ_SKIP_QUANTIZED) {
			char to[32];
			int e = vq_layer_conv(b, feature[l - 1], vq_numbered(to, "skip_out", c->levels - 1 - l), c->channels_per_level.v[l - 1], (vq_conv_spec){ .k = 1, .s = 1, .bias = true, .sum = -1 });
			x = vq_layer_add(b, x, e);
		}
		for (int i = 0; i < c->blocks && l; i++)
			x = block(f, x, vq_numbered(name, "dec", at++));
	}
	return vq_layer_conv(b, x, vq_numbered(name, "dec", at), f->info->channels, (vq_conv_spec){ .k = 3, .s = 1, .p = 1, .bias = true, .f32_out = true, .sum = -1 });
}

void vq_codes_build(vq_family *f, vq_canvas v)
{
	int q, levels = f->c->levels, skips = f->info->levels - f->c->codebook_depth, grid[VQ_LEVELS_MAX + 1], feature[VQ_LEVELS_MAX] = {0};
	if (f->kind == VQ_GRAPH_DECODE) {
		vq_part_grids(f, v, levels, grid);
		q = vq_part_codes(f, v.n, v.h >> levels, v.w >> levels, grid[levels]);
	} else {
		f->io->input = vq_value_new(f->b, VQ_AT_INPUT, VQ_F32, v.n, v.h, v.w, f->info->channels, 0);
		q = vq_part_quantize(f, encoder(f, vq_layer_cast(f->b, f->io->input, f->b->g->compute), feature));
	}
	for (int i = 0; i < skips; i++) {
		int l = levels - 1 - i, *at = &feature[l - 1];
		*at = f->kind == VQ_GRAPH_DECODE ? vq_part_skip_codes(f, i, v.n, v.h >> l, v.w >> l, grid[l]) : vq_part_skip(f, i, *at);
	}
	if (f->kind != VQ_GRAPH_ENCODE)
		vq_part_loss(f, decoder(f, q, feature), v);
}
