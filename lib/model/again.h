/* again: activations that are made again in the backward pass, where they would otherwise have been kept (checkpoint_activations).
 *
 * The forward nodes are cut into pieces. What one piece takes from another stays in memory, and so does what runs once only (the
 * quantiser, the losses). All else of a piece is made again, into fresh values, right before the piece's backward pass: the same nodes
 * on the same numbers, so the same bytes. */
#ifndef VQ_AGAIN_H
#define VQ_AGAIN_H

#include "lib/model/graph.h"

typedef struct {
	int nn, nv;             /* forward nodes and values */
	int *segment;           /* a node: its piece; NULL: nothing is made again */
	bool *keep;             /* a node: what it puts out stays */
	int *of;                /* a value: what it was made again as, or -1 */
	int now;
} vq_again;

/* For a graph that has only its forward nodes: about n pieces. */
vq_status vq_again_plan(vq_again *a, const vq_graph *g, int n);
void vq_again_free(vq_again *a);
/* Before the backward nodes of a forward node, which go from the last to the first; and after them (from: the first of them). */
void vq_again_before(vq_again *a, vq_builder *b, int node);
void vq_again_after(const vq_again *a, vq_builder *b, int from);
/* Takes out what is made again and read by nobody. */
vq_status vq_again_prune(vq_graph *g);

#endif
