#include "lib/cpu/kernels.h"

extern const vq_kernels vq_kernels_base;
#if defined __x86_64__
extern const vq_kernels vq_kernels_v3, vq_kernels_v4;
#endif

const vq_kernels *vq_kernels_pick(int level)
{
#if defined __x86_64__
	__builtin_cpu_init();
	if (level >= 4 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
	    __builtin_cpu_supports("avx512dq"))
		return &vq_kernels_v4;
	if (level >= 3 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return &vq_kernels_v3;
#endif
	return &vq_kernels_base;
}
