#include "lib/cpu/kernels.h"

extern const vq_kernels vq_kernels_base;
#if defined __x86_64__
extern const vq_kernels vq_kernels_v3, vq_kernels_v4;
#endif

int vq_kernels_level(int level)
{
#if defined __x86_64__
	__builtin_cpu_init();
	bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
	if (level >= 4 && wide)
		return level >= 5 && __builtin_cpu_supports("avx512bf16") ? 5 : 4;
	if (level >= 3 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return 3;
#endif
	return 0;
}

const vq_kernels *vq_kernels_pick(int level)
{
#if defined __x86_64__
	level = vq_kernels_level(level);
	if (level >= 3)
		return level >= 4 ? &vq_kernels_v4 : &vq_kernels_v3;
#endif
	return &vq_kernels_base;
}
