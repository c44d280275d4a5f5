/* naive: runs the forward pass of a graph in f64, each value in memory of its own, by the operations of tests/unit/ref.h.
 *
 * What it gives the trainer's loss, differentiated by finite differences, is what the engine's backward pass must give. The quantiser's
 * straight-through step is q = z + (e - z) with the bracket and the code held at what they were in the first run; without that step
 * q is the row; so it is for what quantises what another one left, which is held too, as is what a residual takes away. A codebook
 * trained by gradient adds scale x |z - e|^2 with z held. */
#ifndef VQ_TEST_NAIVE_H
#define VQ_TEST_NAIVE_H

#include "lib/model/graph.h"

typedef struct {
	const vq_graph *g;
	double **value;         /* a value each; parameters too */
	double **still;         /* QUANTIZE: chosen rows of the first run, RESIDUAL: what was taken away, by output value */
	vq_place *places;       /* [ng][items] */
	const vq_step *step;
	double loss;            /* after a run: sum of scale x loss, and beta x scale x commitment, and scale x distances of features */
} naive;

void naive_open(naive *n, const vq_graph *g, const vq_step *step);
void naive_close(naive *n);
double *naive_param(naive *n, const char *name); /* its values, to be set and changed */
void naive_frozen(naive *n, const float *values); /* weights of the graph's frozen network, if it has one */
void naive_run(naive *n);
/* What a position of a value is in this step: 0 nothing, 1 in an item's extent, 2 valid. */
int naive_kind(const naive *n, const vq_value *v, int canvas, int y, int x);

#endif
