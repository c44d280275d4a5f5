/* exact: memory of exactly its size, so that a sanitiser sees what a kernel reads or writes beyond it. The caller frees. */
#ifndef VQ_TEST_EXACT_H
#define VQ_TEST_EXACT_H

#include "lib/tensor.h"

void *exact_bytes(size_t bytes); /* none of them 0 */
void *exact_values(vq_dtype t, size_t n, const double *x); /* x: NULL for room */
double *exact_doubles(vq_dtype t, size_t n, const void *p);

#endif
