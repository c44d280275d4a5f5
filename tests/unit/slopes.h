/* slopes: a layer's output and all its gradients against the naive evaluation and its finite differences. */
#ifndef VQ_TEST_SLOPES_H
#define VQ_TEST_SLOPES_H

#include "tests/unit/engine.h"
#include "tests/unit/naive.h"

/* Runs an engine that was built with output y on random inputs (0 outside the items) and a random gradient by y (anything outside the
 * items). Returns NULL, or what is wrong. limit: relative to the largest of what is compared. */
const char *slopes_check(engine *e, int y, uint64_t seed, double limit);

#endif
