/* select: the k-th smallest of unordered numbers, several k of the same numbers one after another. */
#ifndef VQ_IMAGE_SELECT_H
#define VQ_IMAGE_SELECT_H

#include "lib/base.h"

/* Set v (reordered by use, none NaN) and n; the rest starts as zero. */
typedef struct {
	double *v;
	size_t n;
	size_t done;   /* v[0 .. done) hold the smallest `done` numbers, v[done-1] the largest of them */
	uint64_t seed; /* of the pivots' choice */
} vq_selection;

/* The k-th smallest, k from 0 to n-1. Expected O(n) whatever the order; rising k cost only what lies above the last. */
double vq_selection_rank(vq_selection *s, size_t k);

#endif
