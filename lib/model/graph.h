/* graph: builds a backend's graph node by node, then its backward pass, its update and its memory layout.
 *
 * A builder function appends the nodes of one layer and returns the value that holds its output, or -1 after a failure (the first
 * failure's status is kept in the builder and returned by vq_build_finish, so that models read as straight lines). */
#ifndef VQ_GRAPH_H
#define VQ_GRAPH_H

#include "lib/backend.h"

typedef struct {
	vq_graph *g;
	vq_params *params;      /* layers look their parameters up here by name, or add them when `declare` is set */
	bool declare;
	bool training;
	vq_status status;
	int *gradient;          /* NULL, or the caller's array of a value's gradient each (-1: none): vq_build_backward starts from those that
	                           are there and adds the others */
	int segments;           /* vq_build_backward: makes activations again, in about so many pieces; 0: keeps them */
} vq_builder;

/* --- parameters */
void vq_params_free(vq_params *p);
int vq_params_find(const vq_params *p, const char *name); /* -1 when not there */
int vq_params_add(vq_params *p, const char *name, bool trainable, vq_init init, float a, int ndim, const int64_t *shape); /* index or < 0 */

/* --- values; a fresh one has no producer yet */
int vq_value_new(vq_builder *b, vq_where where, vq_dtype t, int n, int h, int w, int c, int grid);
int vq_value_param(vq_builder *b, const char *name, bool trainable, vq_init init, float a, int ndim, const int64_t *shape);
vq_node *vq_node_new(vq_builder *b, vq_op op, vq_phase phase); /* all ins and outs -1; NULL after a failure */

/* A grid; vq_grid_whole is one whose items each fill a canvas of their own of h x w (after UNFLATTEN). */
int vq_grid_new(vq_builder *b, vq_grid grid);
int vq_grid_whole(vq_builder *b, int h, int w);

/* --- layers. x is a value; names are prefixes of parameter names ("enc.0" -> "enc.0.weight"). */
typedef struct { int k, s, p; bool bias; vq_act act; bool f32_out; int sum; /* value added before act, overwritten; -1 none */ } vq_conv_spec;
int vq_layer_conv(vq_builder *b, int x, const char *name, int out, vq_conv_spec spec);
int vq_layer_deconv(vq_builder *b, int x, const char *name, int out, vq_conv_spec spec);
int vq_layer_act(vq_builder *b, int x, vq_act act);
int vq_layer_add(vq_builder *b, int x, int y);
/* act(norm(x) + res); res may be -1 */
int vq_layer_norm(vq_builder *b, int x, const char *name, int res, vq_act act);
int vq_layer_linear(vq_builder *b, int x, const char *name, int out);
int vq_layer_flatten(vq_builder *b, int x);
int vq_layer_unflatten(vq_builder *b, int x, int h, int w, int c);
int vq_layer_pool(vq_builder *b, int x, int p);
int vq_layer_resize(vq_builder *b, int x, int grid); /* to another grid's extents */
int vq_layer_attention(vq_builder *b, int x, const char *name, int inner);
int vq_layer_dropout(vq_builder *b, int x, float p);
int vq_layer_cast(vq_builder *b, int x, vq_dtype t);

/* The moving count of a row that is no encoder output (normal and uniform start): next to nothing, so that rows which nobody uses are
 * soon seen to be dead. With a count of 1 that takes ln(K / batch) / (1 - decay) steps: many hundred for one code a cell. */
#define VQ_START_COUNT 1e-3f

/* Quantises z (f32). Returns q in the compute type; *codes gets the codes' value. */
typedef struct {
	int size;
	float beta, decay, eps;
	bool ema;
	const char *name;
	int scalar, scale;
	bool straight_through, f32_out;
	bool inner;             /* quantises what another one left: the gradient of the sum of both goes past this one */
	vq_init init;           /* of the rows: UNIFORM or NORMAL of init_a; else NORMAL of 1 */
	float init_a;
} vq_quant_spec;
int vq_layer_quantize(vq_builder *b, int z, vq_quant_spec spec, int *codes);

/* z - q, f32: what a quantiser left, for the next one. */
int vq_layer_residual(vq_builder *b, int z, int q);

/* The decoder's side of it: rows of the codebook of the same spec, from codes. */
int vq_layer_lookup(vq_builder *b, int codes, int dim, vq_quant_spec spec);

/* Sum over valid pixels of weight |y - target|^power into the scalar; the gradient starts here, times the step's scale. */
void vq_layer_loss(vq_builder *b, int y, int target, int weight, float power, int scalar, int scale);

/* Appends the backward pass of every node so far, and the update. */
void vq_build_backward(vq_builder *b);
void vq_build_update(vq_builder *b, int scalar /* for the gradient's norm */);
/* The three of them: backward pass, update and vq_build_finish. again: with the number of pieces that needs the least memory. */
vq_status vq_build_training(vq_builder *b, bool again, int scalar);
/* Puts the updates last, assigns memory and returns the builder's status. */
vq_status vq_build_finish(vq_builder *b);
void vq_graph_free(vq_graph *g); /* leaves it zeroed; params stay */
vq_status vq_graph_copy(vq_graph *to, const vq_graph *from);
/* Which layer a node belongs to, for people: "enc.3 (conv)", "the gradient of dec.0 (conv_weight)". */
enum { VQ_LAYER_MAX = 128 };
void vq_graph_layer(const vq_graph *g, int node, char where[VQ_LAYER_MAX]);

#endif
