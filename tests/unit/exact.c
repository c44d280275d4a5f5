#include "tests/unit/exact.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cpu/kernels.h"
#include "tests/unit/ref.h"

void *exact_bytes(size_t bytes)
{
	void *p = NULL;
	if (posix_memalign(&p, 64, bytes))
		abort();
	memset(p, 0x7f, bytes);
	return p;
}

void *exact_values(vq_dtype t, size_t n, const double *x)
{
	void *p = exact_bytes(n * vq_dtype_size(t));
	for (size_t i = 0; i < n && x; i++)
		if (t == VQ_BF16)
			((uint16_t *)p)[i] = vq_f32_to_bf16((float)x[i]);
		else
			((float *)p)[i] = (float)x[i];
	return p;
}

double *exact_doubles(vq_dtype t, size_t n, const void *p)
{
	double *x = ref_new(n);
	for (size_t i = 0; i < n; i++)
		x[i] = t == VQ_BF16 ? (double)vq_bf16_to_f32(((const uint16_t *)p)[i]) : (double)((const float *)p)[i];
	return x;
}

int exact_levels(exact_level l[EXACT_LEVELS])
{
	static const exact_level all[EXACT_LEVELS] = { { VQ_F32, 3, 1e-6 }, { VQ_F32, 4, 1e-6 }, { VQ_BF16, 5, 1e-2 } };
	int n = 0;
	for (size_t i = 0; i < VQ_COUNT(all); i++)
		if (vq_kernels_level(all[i].level) == all[i].level)
			l[n++] = all[i];
	return n;
}
