#include <stdio.h>
#include <string.h>

#ifndef VQ_NO_CPU
#include "lib/cpu/cpu.h"
#else
#include "lib/backend.h"

static vq_status vq_cpu_open(vq_backend **b, int threads) { return vq_fail(VQ_EUNSUP, "device cpu: this program was built without it"); }
#endif

vq_status vq_backend_open(vq_backend **b, const char *device, int threads)
{
	*b = NULL;
	if (threads < 1)
		return vq_fail(VQ_EINVAL, "at least one thread is needed");
	char why[sizeof (*b)->instead] = "";
	bool automatic = !strcmp(device, "auto");
	if (automatic || !strcmp(device, "cuda")) {
		vq_status s = vq_backend_cuda(b, threads, true);
		if (s == VQ_OK || !automatic)
			return s == VQ_OK ? s : vq_context(s, "device cuda");
		snprintf(why, sizeof why, "%s", vq_message());
	}
	VQ_TRY(vq_cpu_open(b, threads));
	memcpy((*b)->instead, why, sizeof why);
	return VQ_OK;
}
