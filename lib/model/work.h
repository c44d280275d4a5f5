/* work: what a node has to compute and to move, for figures of speed. */
#ifndef VQ_WORK_H
#define VQ_WORK_H

#include "lib/backend.h"

typedef struct {
	double flops;   /* 2 a multiplication of a direct algorithm (Winograd's need fewer); 0 for what memory bounds anyway */
	double bytes;   /* read and written, each value that the node names once */
	vq_dtype type;  /* of the factors */
} vq_work;

/* On whole canvases. parameters: how many OPTIMIZE goes over. */
vq_work vq_node_work(const vq_graph *g, const vq_node *n, size_t parameters);

#endif
