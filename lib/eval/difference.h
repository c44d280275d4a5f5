/* difference: do groups of cells use the codes differently? A permutation test on the cells' histograms.
 *
 * Codes of one cell depend on each other, and so do cells of one well: a chi-square test over positions would call everything different.
 * Here a cell counts once, with the shares of its codes, whatever its size. With p(g) the mean shares of the n(g) cells of group g and p
 * those of all N, the statistic is X = sum n(g) (p(g,k) - p(k))^2 / p(k) over groups and codes, and V = sqrt(X / (N min(G - 1, K - 1)))
 * (Cramer's, K codes that occur): 0 alike, 1 not a code in common. What is exchangeable are units, each with all its cells: their
 * groups are dealt out anew at random, as many units to a group as before. The p-value is (1 + deals with an X at least as large) / (1 +
 * deals), and the mean V of the deals says what chance alone makes of as many cells. */
#ifndef VQ_EVAL_DIFFERENCE_H
#define VQ_EVAL_DIFFERENCE_H

#include "lib/base.h"

typedef struct { uint32_t code; float share; } vq_share;

typedef struct {
	size_t cells, units, groups;
	int64_t size;            /* of the codebook */
	const size_t *begin;     /* [cells+1] */
	const vq_share *share;   /* [begin[cells]]: of cell i from begin[i] on; the shares of a cell sum to 1 */
	const uint32_t *unit;    /* [cells] */
	const uint32_t *group;   /* [units] */
} vq_difference_data;

typedef struct {
	double v, expected_v, p;  /* v NaN with fewer than two groups, p and expected_v with no more units than groups */
	double *shares;           /* [groups][size], the caller's, or NULL */
	double *contribution;     /* [size] of X / N, the caller's, or NULL */
} vq_difference;

/* The same seed gives the same values whatever the number of threads. */
vq_status vq_difference_test(const vq_difference_data *d, int deals, uint64_t seed, int threads, vq_difference *out);

#endif
