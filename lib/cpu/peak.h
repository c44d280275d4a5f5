/* peak: what this machine can do at best, for others' figures to be set against. */
#ifndef VQ_CPU_PEAK_H
#define VQ_CPU_PEAK_H

#include "lib/backend.h"

/* Each figure is the best of tries that take about so many seconds: multiply-adds out of registers, and the sum of two arrays that no cache
 * holds. They count the threads' own time, so that other work on the machine disturbs little. Takes 288 MB for the while. */
vq_peak vq_cpu_peak(int threads, double seconds);

#endif
