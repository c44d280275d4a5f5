/* peak: lib/cpu/peak.h's figures as one JSON line, in 10^9 a second.   peak [THREADS] */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/cpu/peak.h"

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : omp_get_num_procs();
	if (threads < 1 || argc > 2) {
		fprintf(stderr, "usage: peak [THREADS]\n");
		return 2;
	}
	vq_peak p = vq_cpu_peak(threads, 0.7);
	printf("{\"threads\":%d,\"f32_gflops\":%.0f,\"bf16_gflops\":%.0f,\"memory_gbs\":%.1f}\n", threads, p.f32 / 1e9, p.bf16 / 1e9, p.memory / 1e9);
	return 0;
}
