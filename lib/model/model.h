/* model: from a configuration to graphs: training, evaluation, encoding, decoding.
 *
 * Families: "codes" (fully convolutional, a code a position, no normalisation; configs/cells.json, configs/peer.json), "improved" and
 * "original" (the reference document's two models). */
#ifndef VQ_MODEL_H
#define VQ_MODEL_H

#include "lib/model/perceptual.h"

enum { VQ_CODE_LEVELS_MAX = 8 };

/* Where a step's scalars are, and what its scales mean. */
enum { VQ_S_RECON, VQ_S_COMMIT /* + level */, VQ_S_PERCEPTUAL = VQ_SCALARS - 2, VQ_S_NORM };
enum { VQ_SCALE_RECON /* weight / (valid pixels x channels) */, VQ_SCALE_COMMIT /* + level: 1 / (valid positions x width) */,
	VQ_SCALE_PERCEPTUAL = VQ_SCALES - 1 /* weight / cells */ };

typedef struct {
	char name[32];          /* tensor in a code record: "codes", "codes.1", ... */
	char prefix[48];        /* of its parameters: "quantizer" -> "quantizer.codebook" */
	int size, dim;
	int stride;             /* input pixels a code position; 0: one code a cell (codes [items,1,1]) */
} vq_code_level;

/* What a model is, beside its weights. */
typedef struct {
	int channels;
	int multiple;           /* extents are multiples of this */
	int stride;             /* of the first level */
	int levels;             /* codebooks: codebook_depth in a row for the latent, then one a quantized skip, coarsest first */
	vq_code_level level[VQ_CODE_LEVELS_MAX];
	bool packable;          /* several cells may share a canvas */
	int gap;                /* pixels between two extents on a canvas */
	int min;                /* the least side of an extent; 0: multiple */
	bool power_of_two;      /* sides of extents are powers of two (multiples of `multiple` all the same) */
	int pad_mode;           /* vq_config_pad: what fills extents beyond the cell */
	int skips;              /* feature maps that the decoder needs beside the codes */
	struct { int stride, channels; } skip[VQ_LEVELS_MAX];
} vq_model_info;

vq_status vq_model_describe(const vq_config *c, int channels, vq_model_info *info);

typedef enum { VQ_GRAPH_TRAIN, VQ_GRAPH_EVAL /* forward with losses */, VQ_GRAPH_ENCODE, VQ_GRAPH_DECODE } vq_graph_kind;
/* perceptual: a distance that TRAIN and EVAL add, or NULL; it takes one item a canvas, at its start. It must outlive the graph, and the store
 * must have its weights (store_frozen). */
typedef struct { int n, h, w, items; bool packed; vq_dtype compute; const vq_perceptual *perceptual; } vq_canvas;

/* Values of a graph that the host writes or reads; -1 where there is none. */
typedef struct {
	int input;              /* f32 [n,h,w,c] */
	int weight;             /* f32 [n,h,w,1], with content weighting */
	int output;             /* f32 [n,h,w,c] */
	int codes[VQ_CODE_LEVELS_MAX]; /* i32 */
	int z[VQ_CODE_LEVELS_MAX];     /* f32, what is quantised; TRAIN and ENCODE */
	int skip[VQ_LEVELS_MAX];       /* f32, the feature maps that ENCODE puts out and DECODE takes */
} vq_model_io;

/* Declares every parameter, in a fixed order (training and inference have the same table). Zero *p first. */
vq_status vq_model_params(const vq_config *c, int channels, vq_params *p);
/* Zero *g first. The graph refers to params, which must outlive it. */
vq_status vq_model_graph(const vq_config *c, int channels, const vq_params *params, vq_graph_kind kind, vq_canvas canvas, vq_graph *g, vq_model_io *io);
/* Fresh parameters: init[0] state, init[1] parameters, of params->sizes floats; a function of the seed and the names' order alone. */
void vq_model_init(const vq_params *params, const vq_config *c, uint64_t seed, float *state, float *param);

#endif
