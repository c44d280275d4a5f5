/* exact: memory of exactly its size, so that a sanitiser sees what a kernel reads or writes beyond it. The caller frees. */
#ifndef VQ_TEST_EXACT_H
#define VQ_TEST_EXACT_H

#include "lib/tensor.h"

void *exact_bytes(size_t bytes); /* none of them 0 */
void *exact_values(vq_dtype t, size_t n, const double *x); /* x: NULL for room */
double *exact_doubles(vq_dtype t, size_t n, const void *p);

/* The types and levels of instructions that this machine has, and how near its convolutions come to f64: how many. */
typedef struct { vq_dtype t; int level; double limit; } exact_level;
enum { EXACT_LEVELS = 3 };
int exact_levels(exact_level l[EXACT_LEVELS]);

#endif
