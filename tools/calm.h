/* calm: short waits between the parts of a parallel loop. */
#ifndef VQ_TOOLS_CALM_H
#define VQ_TOOLS_CALM_H

/* libgomp's threads spin for a while before they sleep, by default so long that two threads on a machine that others use too are many times
 * slower than one. Its setting is read before main(), so that this starts the program again with GOMP_SPINCOUNT=10000, once, unless the
 * user chose (OMP_WAIT_POLICY, GOMP_SPINCOUNT). Call it first in main; it returns where there is nothing to do. */
void vq_calm(char **argv);

#endif
