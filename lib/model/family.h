/* family: what the model builders of lib/model share; not for others. */
#ifndef VQ_FAMILY_H
#define VQ_FAMILY_H

#include "lib/model/graph.h"
#include "lib/model/model.h"

typedef struct {
	vq_builder *b;
	const vq_config *c;
	const vq_model_info *info;
	vq_graph_kind kind;
	vq_model_io *io;
	vq_act act;
} vq_family;

/* What every convolution of the reference document's models is: without a bias, normalised, then + res (or -1), then activated. */
int vq_part_norm(vq_family *f, int x, const char *name, int res);
int vq_part_down(vq_family *f, int x, const char *name, int out, int k, int s, int p); /* NAME.conv, NAME.bn */
int vq_part_up(vq_family *f, int x, const char *name, int out);                        /* NAME.deconv, NAME.bn; twice the size */
/* One vector a cell from its features, and features [side,side,c] from the quantised vector, by linear layers in f32; drops: after how many
 * of them dropout stands. */
int vq_part_to_code(vq_family *f, int x, int drops);
int vq_part_from_code(vq_family *f, int q, int c, int drops);
/* What TRAIN and EVAL quantise the latent z to, by codebook_depth codebooks; or, for DECODE, what codes stand for. io gets codes and z.
 * -1 where ENCODE ends. */
int vq_part_quantize(vq_family *f, int z);
int vq_part_codes(vq_family *f, int n, int h, int w, int grid);
/* The same for skip i of "quantized", coarsest first: x is the encoder's feature map, which a 1x1 convolution (skip_in.I) brings to the
 * codebook's width. */
int vq_part_skip(vq_family *f, int i, int x);
int vq_part_skip_codes(vq_family *f, int i, int n, int h, int w, int grid);
/* DECODE: grid 0 and its halves, as the convolutions of the encoder would have made them; grid[i] is 1/2^i. */
void vq_part_grids(vq_family *f, vq_canvas v, int levels, int *grid);
/* Makes y, of grid 0 and f32, the output; with its loss unless it is DECODE's. */
void vq_part_loss(vq_family *f, int y, vq_canvas v);
/* The last convolution of the document's models, from whatever grid y is on, and vq_part_loss. */
void vq_part_output(vq_family *f, int y, vq_canvas v);
const char *vq_numbered(char buf[32], const char *part, int i);
/* The levels of info, whose stride is that of the latent. VQ_EUNSUP: more than there may be. */
vq_status vq_describe_books(const vq_config *c, vq_model_info *info);

vq_status vq_codes_describe(const vq_config *c, vq_model_info *info);
void vq_codes_build(vq_family *f, vq_canvas canvas);
vq_status vq_improved_describe(const vq_config *c, vq_model_info *info);
void vq_improved_build(vq_family *f, vq_canvas canvas);
vq_status vq_original_describe(const vq_config *c, vq_model_info *info);
void vq_original_build(vq_family *f, vq_canvas canvas);

#endif
