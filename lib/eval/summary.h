/* summary: mean, standard deviation, extremes and median of a stream of numbers, in bounded memory.
 *
 * Count, mean, deviation (population, dividing by n) and extremes are of every value, at f64 accuracy. The median is exact (the
 * mean of the two middle values when n is even) up to VQ_SUMMARY_EXACT values. Beyond that it comes from a deterministic
 * sketch: when a level's buffer is full it is sorted and every second value moves up a level with twice the weight, so that
 * memory grows with the logarithm of n and the rank of what is returned is off by at most L n / VQ_SUMMARY_EXACT, L the levels
 * above the first (in practice far less, because the value kept alternates). NaN values are left out and not counted. */
#ifndef VQ_EVAL_SUMMARY_H
#define VQ_EVAL_SUMMARY_H

#include "lib/base.h"

enum { VQ_SUMMARY_EXACT = 1 << 13, VQ_SUMMARY_LEVELS = 40 };

typedef struct {
	uint64_t n;
	double mean, m2, min, max;     /* m2: sum of squared deviations */
	size_t limit;                  /* values a level; 0 = VQ_SUMMARY_EXACT. Even; set before the first value. */
	struct { double *v; size_t n, cap; bool odd; } level[VQ_SUMMARY_LEVELS];
} vq_summary; /* zero-initialise; vq_summary_free releases */

typedef struct { uint64_t n; double mean, median, std, min, max; bool exact; /* of the median */ } vq_figures; /* all NaN when n is 0 */

vq_status vq_summary_add(vq_summary *s, double v);
/* May reorder what s holds; adding may go on afterwards. */
vq_status vq_summary_get(vq_summary *s, vq_figures *f);
void vq_summary_free(vq_summary *s);

#endif
