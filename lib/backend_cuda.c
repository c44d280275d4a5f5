/* The CUDA backend is in a file of its own: a program that never asks for it loads nothing. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/model/graph.h"

typedef vq_status open_fn(vq_backend **b, int threads, bool models);
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

/* What the library takes of the program, so that the program has it. */
static const void *const taken[] __attribute__((used)) = { (void *)vq_graph_copy, (void *)vq_graph_free, (void *)vq_places, (void *)vq_op_name, (void *)vq_store_range,
	(void *)vq_dtype_size };

vq_status vq_backend_cuda(vq_backend **b, int threads, bool models)
{
	*b = NULL;
	char path[4096];
	if (threads < 1)
		return vq_fail(VQ_EINVAL, "at least one thread is needed");
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
	return fn(b, threads, models);
}
