/* bootstrap: how far a mean would move with other data, when values come in groups that are not independent (cells of one well).
 *
 * As many groups as there are are drawn with replacement, each with all its values; the mean of the values drawn is one resample of
 * the mean. The interval lies between percentiles of many resamples (the middle `confidence` of them, by linear interpolation). With few
 * groups it is too narrow, with fewer than two there is none. Memory: 16 bytes a group and figure. */
#ifndef VQ_EVAL_BOOTSTRAP_H
#define VQ_EVAL_BOOTSTRAP_H

#include "lib/base.h"

typedef struct vq_boot vq_boot;

/* figures: how many means are looked after at once, at least 1. */
vq_status vq_boot_make(vq_boot **b, int figures);
void vq_boot_free(vq_boot *b); /* NULL is fine */
/* The index of the group of this name, new if it was not there. */
vq_status vq_boot_group(vq_boot *b, const char *name, size_t *group);
/* Adds a value of a figure. NaN is left out. */
void vq_boot_add(vq_boot *b, size_t group, int figure, double v);
size_t vq_boot_groups(const vq_boot *b);

/* low, high: [figures], NaN for a figure with values in fewer than two groups. resamples >= 2, 0 < confidence < 1. The same seed gives the
 * same intervals whatever the number of threads; the order in which groups came matters. */
vq_status vq_boot_run(const vq_boot *b, int resamples, double confidence, uint64_t seed, int threads, double *low, double *high);

#endif
