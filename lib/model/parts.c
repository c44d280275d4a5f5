/* What the families have in common, and what the reference document's two models have. */
#include <stdio.h>
#include <string.h>

#include "lib/model/family.h"

const char *vq_numbered(char buf[32], const char *part, int i)
{
	snprintf(buf, 32, "%s.%d", part, i);
	return buf;
}

static const char *join(char buf[64], const char *name, const char *part)
{
	snprintf(buf, 64, "%.40s.%.20s", name, part);
	return buf;
}

vq_status vq_describe_books(const vq_config *c, vq_model_info *info)
{
	int depth = c->codebook_depth, skips = c->skip == VQ_SKIP_QUANTIZED ? c->levels - 1 : 0;
	if (c->skip == VQ_SKIP_QUANTIZED && !skips)
		return vq_fail(VQ_EUNSUP, "skip: quantized needs levels beyond the coarsest: levels must be 2 or more");
	if (depth + skips > VQ_CODE_LEVELS_MAX)
		return vq_fail(VQ_EUNSUP, "codebook_depth %d and %d quantized skips are %d codebooks: at most %d are possible", depth, skips, depth + skips,
			VQ_CODE_LEVELS_MAX);
	info->levels = depth + skips;
	for (int i = 0; i < info->levels; i++) {
		vq_code_level *l = &info->level[i];
		bool skip = i >= depth;
		*l = (vq_code_level){ .size = skip && c->skip_num_embeddings ? c->skip_num_embeddings : c->num_embeddings,
			.dim = skip && c->skip_embedding_dim ? c->skip_embedding_dim : c->embedding_dim,
			.stride = skip ? 1 << (c->levels - 1 - (i - depth)) : info->stride };
		if (i) {
			snprintf(l->name, sizeof l->name, "codes.%d", i);
			snprintf(l->prefix, sizeof l->prefix, "%s.%d", skip ? "skip_quantizer" : "quantizer", skip ? i - depth : i);
		} else {
			strcpy(l->name, "codes");
			strcpy(l->prefix, "quantizer");
		}
	}
	return VQ_OK;
}

int vq_part_norm(vq_family *f, int x, const char *name, int res)
{
	/* the gradient of an activation fused with the norm is taken from its output, which tells the side of 0 alone */
	bool fused = f->act == VQ_FN_RELU || f->act == VQ_FN_LEAKY;
	int y = vq_layer_norm(f->b, x, name, res, fused ? f->act : VQ_FN_NONE);
	return fused ? y : vq_layer_act(f->b, y, f->act);
}

int vq_part_down(vq_family *f, int x, const char *name, int out, int k, int s, int p)
{
	char buf[64];
	x = vq_layer_conv(f->b, x, join(buf, name, "conv"), out, (vq_conv_spec){ .k = k, .s = s, .p = p, .sum = -1 });
	return vq_part_norm(f, x, join(buf, name, "bn"), -1);
}

int vq_part_up(vq_family *f, int x, const char *name, int out)
{
	char buf[64];
	x = vq_layer_deconv(f->b, x, join(buf, name, "deconv"), out, (vq_conv_spec){ .k = 4, .s = 2, .p = 1, .sum = -1 });
	return vq_part_norm(f, x, join(buf, name, "bn"), -1);
}

int vq_part_to_code(vq_family *f, int x, int drops)
{
	const vq_config *c = f->c;
	char name[32];
	int at = 0;
	x = vq_layer_flatten(f->b, vq_layer_pool(f->b, vq_layer_cast(f->b, x, VQ_F32), c->pool_size));
	for (int i = 0; i < c->hidden.n; i++) {
		x = vq_layer_act(f->b, vq_layer_linear(f->b, x, vq_numbered(name, "to_code", at), c->hidden.v[i]), f->act);
		at += 2; /* the activation counts as a layer, and so does dropout */
		if (i < drops) {
			x = vq_layer_dropout(f->b, x, (float)c->dropout);
			at++;
		}
	}
	return vq_layer_linear(f->b, x, vq_numbered(name, "to_code", at), c->embedding_dim);
}

int vq_part_from_code(vq_family *f, int q, int channels, int drops)
{
	const vq_config *c = f->c;
	char name[32];
	int at = 0, x = q;
	for (int i = 0; i < c->hidden.n; i++) {
		x = vq_layer_act(f->b, vq_layer_linear(f->b, x, vq_numbered(name, "from_code", at), c->hidden.v[c->hidden.n - 1 - i]), f->act);
		at += 2;
		if (i < drops) {
			x = vq_layer_dropout(f->b, x, (float)c->dropout);
			at++;
		}
	}
	x = vq_layer_linear(f->b, x, vq_numbered(name, "from_code", at), channels * c->pool_size * c->pool_size);
	x = vq_layer_unflatten(f->b, vq_layer_act(f->b, x, f->act), c->pool_size, c->pool_size, channels);
	return vq_layer_cast(f->b, x, f->b->g->compute);
}

/* Rows start within 1/K of 0 unless data gives them. */
static vq_quant_spec quant(const vq_family *f, int level)
{
	const vq_config *c = f->c;
	const vq_code_level *l = &f->info->level[level];
	bool latent = level < c->codebook_depth;
	return (vq_quant_spec){ .size = l->size, .beta = (float)c->commitment_cost, .decay = (float)c->ema_decay, .eps = (float)c->ema_epsilon,
		.ema = c->codebook_update == VQ_UPDATE_EMA, .name = l->prefix, .scalar = VQ_S_COMMIT + level, .scale = VQ_SCALE_COMMIT + level,
		.straight_through = c->straight_through, .f32_out = l->stride == 0 || (latent && c->codebook_depth > 1), .inner = latent && level > 0,
		.init = c->codebook_start == VQ_START_UNIFORM ? VQ_INIT_UNIFORM : VQ_INIT_NORMAL, .init_a = 1 / (float)l->size };
}

/* z, or what the levels before left of it, as level's rows. */
static int quantize(vq_family *f, int level, int z)
{
	vq_builder *b = f->b;
	if (b->status == VQ_OK && f->kind != VQ_GRAPH_EVAL)
		b->g->v[z].where = VQ_AT_OUTPUT;
	f->io->z[level] = z;
	return vq_layer_quantize(b, z, quant(f, level), &f->io->codes[level]);
}

static int lookup(vq_family *f, int level, int n, int h, int w, int grid)
{
	f->io->codes[level] = vq_value_new(f->b, VQ_AT_INPUT, VQ_I32, n, h, w, 1, grid);
	return vq_layer_lookup(f->b, f->io->codes[level], f->info->level[level].dim, quant(f, level));
}

/* What the decoder computes with; one code a cell goes on in f32. */
static int sum_as(vq_family *f, int q) { return f->info->stride ? vq_layer_cast(f->b, q, f->b->g->compute) : q; }

int vq_part_quantize(vq_family *f, int z)
{
	int sum = -1;
	z = vq_layer_cast(f->b, z, VQ_F32);
	for (int l = 0; l < f->c->codebook_depth; l++) {
		int q = quantize(f, l, z);
		if (f->kind != VQ_GRAPH_ENCODE)
			sum = l ? vq_layer_add(f->b, sum, q) : q;
		if (l < f->c->codebook_depth - 1)
			z = vq_layer_residual(f->b, z, q);
	}
	return f->kind == VQ_GRAPH_ENCODE ? -1 : sum_as(f, sum);
}

int vq_part_codes(vq_family *f, int n, int h, int w, int grid)
{
	int sum = -1;
	for (int l = 0; l < f->c->codebook_depth; l++) {
		int q = lookup(f, l, n, h, w, grid);
		sum = l ? vq_layer_add(f->b, sum, q) : q;
	}
	return sum_as(f, sum);
}

int vq_part_skip(vq_family *f, int i, int x)
{
	vq_builder *b = f->b;
	int level = f->c->codebook_depth + i;
	char name[32];
	if (b->status < 0)
		return -1;
	int z = vq_layer_conv(b, x, vq_numbered(name, "skip_in", i), f->info->level[level].dim, (vq_conv_spec){ .k = 1, .s = 1, .bias = true, .f32_out = true, .sum = -1 });
	int q = quantize(f, level, z);
	return f->kind == VQ_GRAPH_ENCODE ? -1 : q;
}

int vq_part_skip_codes(vq_family *f, int i, int n, int h, int w, int grid) { return lookup(f, f->c->codebook_depth + i, n, h, w, grid); }

void vq_part_grids(vq_family *f, vq_canvas v, int levels, int *grid)
{
	grid[0] = 0;
	for (int l = 0; l < levels; l++)
		grid[l + 1] = vq_grid_new(f->b, (vq_grid){ grid[l], 2, 2, 0, false, v.h >> (l + 1), v.w >> (l + 1) });
}

void vq_part_loss(vq_family *f, int y, vq_canvas v)
{
	vq_builder *b = f->b;
	const vq_config *c = f->c;
	vq_model_io *io = f->io;
	if (b->status < 0)
		return;
	io->output = y;
	b->g->v[y].where = VQ_AT_OUTPUT;
	if (f->kind == VQ_GRAPH_DECODE)
		return;
	if (c->content_weighting)
		io->weight = vq_value_new(b, VQ_AT_INPUT, VQ_F32, v.n, v.h, v.w, 1, 0);
	vq_layer_loss(b, y, io->input, io->weight, c->loss == VQ_LOSS_L1 ? 1 : 2, VQ_S_RECON, VQ_SCALE_RECON);
	if (v.perceptual)
		vq_perceptual_build(v.perceptual, b, y, io->input, f->info->min ? f->info->min : f->info->multiple, VQ_S_PERCEPTUAL, VQ_SCALE_PERCEPTUAL);
}

void vq_part_output(vq_family *f, int y, vq_canvas v)
{
	vq_builder *b = f->b;
	if (b->status < 0)
		return;
	if (b->g->v[y].grid != 0)
		y = vq_layer_resize(b, y, 0);
	vq_part_loss(f, vq_layer_conv(b, y, "out", f->info->channels, (vq_conv_spec){ .k = 3, .s = 1, .p = 1, .bias = true, .f32_out = true, .sum = -1 }), v);
}
