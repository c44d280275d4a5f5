/* The "improved" family: the reference document's second model. Batch norm, residual blocks, attention; one code a cell or a grid of codes;
 * encoder features to the decoder, raw or through codebooks, or none.
 *
 * Parameters are named as a plain PyTorch module would name them: down, res, attention, to_code, from_code, attention2, up, skips, ures, out;
 * skip_in and skip_quantizer are those of quantized skips. */
#include <stdio.h>

#include "lib/model/family.h"

vq_status vq_improved_describe(const vq_config *c, vq_model_info *info)
{
	if (c->block_norm != VQ_BLOCK_NORM_BATCH)
		return vq_fail(VQ_EUNSUP, "model \"improved\" has batch normalisation: block_norm must be \"batch\"");
	if (c->stem_stride != 2)
		return vq_fail(VQ_EUNSUP, "model \"improved\" starts with stride 2: stem_stride must be 2");
	if (c->blocks != 1)
		return vq_fail(VQ_EUNSUP, "model \"improved\" has one residual block a level: blocks must be 1");
	int last = c->channels_per_level.v[c->levels - 1];
	if (c->latent == VQ_LATENT_GRID && c->embedding_dim != last)
		return vq_fail(VQ_EINVAL, "model \"improved\" with a grid quantises its last level as it is: embedding_dim is %d, the last of channels_per_level %d",
			c->embedding_dim, last);
	info->multiple = 1 << c->levels;
	info->stride = c->latent == VQ_LATENT_GRID ? info->multiple : 0;
	info->min = VQ_MAX(32, info->multiple);
	VQ_TRY(vq_describe_books(c, info));
	for (int i = 0; c->skip == VQ_SKIP_FEATURES && i < c->levels - 1; i++) {
		info->skip[i].stride = 2 << i;
		info->skip[i].channels = c->channels_per_level.v[i];
		info->skips++;
	}
	return VQ_OK;
}

/* act(x + norm(conv(act(norm(conv(x)))))) */
static int residual(vq_family *f, int x, const char *name)
{
	char buf[64];
	if (f->b->status < 0)
		return -1;
	int c = f->b->g->v[x].c, h;
	vq_conv_spec three = { .k = 3, .s = 1, .p = 1, .sum = -1 };
	snprintf(buf, sizeof buf, "%s.conv1", name);
	h = vq_layer_conv(f->b, x, buf, c, three);
	snprintf(buf, sizeof buf, "%s.bn1", name);
	h = vq_part_norm(f, h, buf, -1);
	snprintf(buf, sizeof buf, "%s.conv2", name);
	h = vq_layer_conv(f->b, h, buf, c, three);
	snprintf(buf, sizeof buf, "%s.bn2", name);
	return vq_part_norm(f, h, buf, x);
}

static int attention(vq_family *f, int x, const char *name)
{
	if (!f->c->attention || f->b->status < 0)
		return x;
	int inner = f->c->attention_width ? f->c->attention_width : VQ_MAX(f->b->g->v[x].c / 8, 1);
	return vq_layer_attention(f->b, x, name, inner);
}

/* feature[i]: what level i puts out for the skips. */
static int encoder(vq_family *f, int x, int *feature)
{
	const vq_config *c = f->c;
	char name[32];
	for (int l = 0; l < c->levels; l++) {
		int k = l ? 3 : c->stem_kernel;
		x = vq_part_down(f, x, vq_numbered(name, "down", l), c->channels_per_level.v[l], k, 2, k / 2);
		if (l < c->levels - 1)
			feature[l] = x = residual(f, x, vq_numbered(name, "res", l));
	}
	return attention(f, x, "attention");
}

static int decoder(vq_family *f, int y, const int *feature)
{
	const vq_config *c = f->c;
	vq_builder *b = f->b;
	char name[32];
	y = attention(f, y, "attention2");
	for (int i = 0; i < c->levels - 1; i++) {
		int l = c->levels - 2 - i, width = c->channels_per_level.v[l];
		y = vq_part_up(f, y, vq_numbered(name, "up", i), width);
		if (c->skip != VQ_SKIP_NONE && b->status == VQ_OK) {
			int e = feature[l];
			if (b->g->v[e].grid != b->g->v[y].grid)
				e = vq_layer_resize(b, e, b->g->v[y].grid);
			e = vq_layer_conv(b, e, vq_numbered(name, "skips", i), width, (vq_conv_spec){ .k = 1, .s = 1, .bias = true, .sum = -1 });
			y = vq_layer_add(b, y, e);
		}
		y = residual(f, y, vq_numbered(name, "ures", i));
	}
	return vq_part_up(f, y, vq_numbered(name, "up", c->levels - 1), c->head_channels);
}

/* The decoder's features as ENCODE puts them out: whole, f32. */
static void put_features(vq_family *f, const int *feature)
{
	vq_builder *b = f->b;
	for (int i = 0; i < f->info->skips; i++) {
		int v = vq_layer_cast(b, feature[i], VQ_F32);
		f->io->skip[i] = v;
		if (b->status == VQ_OK)
			b->g->v[v].where = VQ_AT_OUTPUT;
	}
}

static int start_decoding(vq_family *f, vq_canvas v, int *feature)
{
	const vq_config *c = f->c;
	int grid[VQ_LEVELS_MAX + 1];
	vq_part_grids(f, v, c->levels, grid);
	for (int i = 0; i < f->info->skips; i++) {
		f->io->skip[i] = vq_value_new(f->b, VQ_AT_INPUT, VQ_F32, v.n, v.h >> (i + 1), v.w >> (i + 1), f->info->skip[i].channels, grid[i + 1]);
		feature[i] = vq_layer_cast(f->b, f->io->skip[i], f->b->g->compute);
	}
	for (int i = 0, l = c->levels - 1; i < c->levels - 1 && c->skip == VQ_SKIP_QUANTIZED; i++, l--)
		feature[l - 1] = vq_part_skip_codes(f, i, v.n, v.h >> l, v.w >> l, grid[l]);
	if (c->latent == VQ_LATENT_GLOBAL)
		return vq_part_codes(f, v.items, 1, 1, -1);
	return vq_part_codes(f, v.n, v.h >> c->levels, v.w >> c->levels, grid[c->levels]);
}

void vq_improved_build(vq_family *f, vq_canvas v)
{
	const vq_config *c = f->c;
	vq_builder *b = f->b;
	bool global = c->latent == VQ_LATENT_GLOBAL;
	int feature[VQ_LEVELS_MAX] = {0}, last = c->channels_per_level.v[c->levels - 1], q;
	if (f->kind == VQ_GRAPH_DECODE) {
		q = start_decoding(f, v, feature);
	} else {
		f->io->input = vq_value_new(b, VQ_AT_INPUT, VQ_F32, v.n, v.h, v.w, f->info->channels, 0);
		int z = encoder(f, vq_layer_cast(b, f->io->input, b->g->compute), feature);
		q = vq_part_quantize(f, global ? vq_part_to_code(f, z, c->hidden.n) : z);
		for (int i = 0; i < c->levels - 1 && c->skip == VQ_SKIP_QUANTIZED; i++)
			feature[c->levels - 2 - i] = vq_part_skip(f, i, feature[c->levels - 2 - i]);
		if (f->kind == VQ_GRAPH_ENCODE) {
			put_features(f, feature);
			return;
		}
	}
	if (global)
		q = vq_part_from_code(f, q, last, c->hidden.n);
	vq_part_output(f, decoder(f, q, feature), v);
}
