/* The "original" family: the reference document's first model. A stem of stride 3, one code a cell, no residual blocks, no skips. */
#include "lib/model/family.h"

vq_status vq_original_describe(const vq_config *c, vq_model_info *info)
{
	static const char *const what = "model \"original\" is the reference's first model: %s";
	if (c->latent != VQ_LATENT_GLOBAL || c->skip != VQ_SKIP_NONE || c->attention)
		return vq_fail(VQ_EUNSUP, what, "latent must be \"global\", skip \"none\" and attention false");
	if (c->block_norm != VQ_BLOCK_NORM_BATCH || c->blocks)
		return vq_fail(VQ_EUNSUP, what, "block_norm must be \"batch\" and blocks 0");
	if (c->levels < 2 || c->stem_stride != 3 || c->stem_kernel != 7)
		return vq_fail(VQ_EUNSUP, what, "levels must be 2 or more, stem_stride 3 and stem_kernel 7");
	if (c->codebook_depth != 1)
		return vq_fail(VQ_EUNSUP, what, "codebook_depth must be 1");
	info->multiple = info->min = 32;
	info->power_of_two = true;
	return vq_describe_books(c, info);
}

void vq_original_build(vq_family *f, vq_canvas v)
{
	const vq_config *c = f->c;
	vq_builder *b = f->b;
	char name[32];
	int x, n = c->levels, last = c->channels_per_level.v[n - 1];
	if (f->kind == VQ_GRAPH_DECODE) {
		x = vq_part_codes(f, v.items, 1, 1, -1);
	} else {
		f->io->input = vq_value_new(b, VQ_AT_INPUT, VQ_F32, v.n, v.h, v.w, f->info->channels, 0);
		x = vq_layer_cast(b, f->io->input, b->g->compute);
		for (int l = 0; l < n; l++) /* the last but one is not padded */
			x = vq_part_down(f, x, vq_numbered(name, "down", l), c->channels_per_level.v[l], l ? 3 : c->stem_kernel, l ? 2 : c->stem_stride, l != n - 2);
		x = vq_part_quantize(f, vq_part_to_code(f, x, 1));
		if (f->kind == VQ_GRAPH_ENCODE)
			return;
	}
	x = vq_part_from_code(f, x, last, 1);
	for (int i = 0; i < n - 1; i++)
		x = vq_part_up(f, x, vq_numbered(name, "up", i), c->channels_per_level.v[n - 2 - i]);
	vq_part_output(f, x, v);
}
