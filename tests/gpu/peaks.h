/* peaks: what the CUDA device could do, as its driver tells: memory by clock and width, bf16 by what a multiprocessor of that generation
 * multiplies in a cycle. */
#ifndef VQ_GPU_PEAKS_H
#define VQ_GPU_PEAKS_H

#include <dlfcn.h>

typedef struct { double bytes, flops; } peaks; /* a second; 0: not known */
typedef int peaks_attribute(int *, int, int);

static inline peaks peaks_look(void)
{
	peaks p = {0};
	void *driver = dlopen("libcuda.so.1", RTLD_NOW);
	peaks_attribute *get = driver ? (peaks_attribute *)dlsym(driver, "cuDeviceGetAttribute") : 0;
	int mem = 0, width = 0, clock = 0, sm = 0, major = 0, minor = 0;
	if (!get || get(&mem, 36, 0) || get(&width, 37, 0) || get(&clock, 13, 0) || get(&sm, 16, 0) || get(&major, 75, 0) || get(&minor, 76, 0))
		return p;
	p.bytes = 2e3 * mem * width / 8;
	p.flops = 1e3 * clock * sm * (major >= 10 ? 8192 : major == 9 ? 4096 : major == 8 && minor == 0 ? 2048 : major == 8 ? 1024 : 0);
	return p;
}

#endif
