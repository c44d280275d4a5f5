#include "lib/backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef VQ_NO_CPU
#include "lib/cpu/cpu.h"
#else
static vq_status vq_cpu_open(vq_backend **b, int threads) { return vq_fail(VQ_EUNSUP, "device cpu: this program was built without it"); }
#endif

static const char *const names[VQ_OPS] = {
	[VQ_OP_CONV] = "conv", [VQ_OP_CONV_DATA] = "conv_data", [VQ_OP_CONV_WEIGHT] = "conv_weight", [VQ_OP_DECONV] = "deconv",
	[VQ_OP_DECONV_DATA] = "deconv_data", [VQ_OP_DECONV_WEIGHT] = "deconv_weight", [VQ_OP_ACT] = "act", [VQ_OP_ACT_BWD] = "act_bwd",
	[VQ_OP_ADD] = "add", [VQ_OP_CLEAR] = "clear", [VQ_OP_CAST] = "cast", [VQ_OP_NORM] = "norm", [VQ_OP_NORM_BWD] = "norm_bwd",
	[VQ_OP_LINEAR] = "linear", [VQ_OP_LINEAR_DATA] = "linear_data", [VQ_OP_LINEAR_WEIGHT] = "linear_weight", [VQ_OP_FLATTEN] = "flatten",
	[VQ_OP_UNFLATTEN] = "unflatten", [VQ_OP_POOL] = "pool", [VQ_OP_POOL_BWD] = "pool_bwd", [VQ_OP_RESIZE] = "resize",
	[VQ_OP_RESIZE_BWD] = "resize_bwd", [VQ_OP_ATTENTION] = "attention", [VQ_OP_ATTENTION_BWD] = "attention_bwd", [VQ_OP_GATE] = "gate",
	[VQ_OP_GATE_BWD] = "gate_bwd", [VQ_OP_DROPOUT] = "dropout", [VQ_OP_DROPOUT_BWD] = "dropout_bwd", [VQ_OP_QUANTIZE] = "quantize", [VQ_OP_LOOKUP] = "lookup",
	[VQ_OP_QUANTIZE_BWD] = "quantize_bwd", [VQ_OP_CODEBOOK_BWD] = "codebook_bwd", [VQ_OP_EMA_SUM] = "ema_sum", [VQ_OP_EMA_UPDATE] = "ema_update",
	[VQ_OP_RESIDUAL] = "residual", [VQ_OP_LOSS] = "loss", [VQ_OP_COLOURS] = "colours", [VQ_OP_COLOURS_BWD] = "colours_bwd",
	[VQ_OP_MAXPOOL] = "maxpool", [VQ_OP_MAXPOOL_BWD] = "maxpool_bwd", [VQ_OP_FEATURES] = "features", [VQ_OP_OPTIMIZE] = "optimize",
};

const char *vq_op_name(vq_op op) { return (unsigned)op < VQ_OPS && names[op] ? names[op] : "?"; }

vq_status vq_store_range(const vq_params *params, bool there, vq_buf_kind kind, size_t offset, size_t count)
{
	size_t size = params->sizes[kind != VQ_BUF_STATE];
	if (!there || offset > size || count > size - offset)
		return vq_fail(VQ_EINVAL, "a store has no buffer %d of %zu floats at %zu", (int)kind, count, offset);
	return VQ_OK;
}

/* --- CUDA, from a file of its own: a program that never asks for it loads nothing ---------------------------------- */

typedef vq_status open_fn(vq_backend **b, int threads);
typedef int driver_fn(unsigned);
typedef int count_fn(int *);

/* ../lib/vq/libvq_cuda.so, seen from the program: the same in the build and where it is installed. */
static vq_status library_path(char *path, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", path, size - 1);
	path[VQ_MAX(n, 0)] = 0;
	for (int up = 0; up < 2; up++) {
		char *slash = strrchr(path, '/');
		if (!slash)
			return vq_fail(VQ_EUNSUP, "where this program lies is not known");
		*slash = 0;
	}
	size_t at = strlen(path);
	if ((size_t)snprintf(path + at, size - at, "/lib/vq/libvq_cuda.so") >= size - at)
		return vq_fail(VQ_EUNSUP, "the path of this program is too long");
	return VQ_OK;
}

/* Asks the driver itself, so that a machine without one does not load CUDA's libraries to learn that. */
static vq_status look_for_device(void)
{
	vq_status s = VQ_OK;
	int n = 0, e;
	void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!driver)
		return vq_fail(VQ_EUNSUP, "no NVIDIA driver (libcuda.so.1) on this machine");
	driver_fn *init = (driver_fn *)dlsym(driver, "cuInit");
	count_fn *count = (count_fn *)dlsym(driver, "cuDeviceGetCount");
	if (!init || !count)
		s = vq_fail(VQ_EUNSUP, "the NVIDIA driver (libcuda.so.1) is not one");
	else if ((e = init(0)) == 100 || (e == 0 && count(&n) == 0 && n == 0))
		s = vq_fail(VQ_EUNSUP, "an NVIDIA driver, but no device");
	else if (e)
		s = vq_fail(VQ_EUNSUP, "the NVIDIA driver does not start (error %d)", e);
	if (s < 0)
		dlclose(driver);
	return s; /* one that has started stays loaded */
}

static vq_status open_cuda(vq_backend **b, int threads)
{
	char path[4096];
	VQ_TRY(library_path(path, sizeof path));
	if (access(path, R_OK))
		return vq_fail(VQ_EUNSUP, "this vq was built without CUDA (there is no %s)", path);
	VQ_TRY(look_for_device());
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays: its libraries do not like to be unloaded */
	if (!lib)
		return vq_fail(VQ_EUNSUP, "%s", dlerror());
	open_fn *fn = (open_fn *)dlsym(lib, "vq_cuda_open");
	if (!fn)
		return vq_fail(VQ_EUNSUP, "%s is not of this vq", path);
	return fn(b, threads);
}

vq_status vq_backend_open(vq_backend **b, const char *device, int threads)
{
	*b = NULL;
	if (threads < 1)
		return vq_fail(VQ_EINVAL, "at least one thread is needed");
	char why[sizeof (*b)->instead] = "";
	bool automatic = !strcmp(device, "auto");
	if (automatic || !strcmp(device, "cuda")) {
		vq_status s = open_cuda(b, threads);
		if (s == VQ_OK || !automatic)
			return s == VQ_OK ? s : vq_context(s, "device cuda");
		snprintf(why, sizeof why, "%s", vq_message());
	}
	VQ_TRY(vq_cpu_open(b, threads));
	memcpy((*b)->instead, why, sizeof why);
	return VQ_OK;
}
