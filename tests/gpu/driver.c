/* A driver that knows one device: what lib/backend_cuda.c asks of libcuda.so.1. */
int cuInit(unsigned flags);
int cuDeviceGetCount(int *n);

int cuInit(unsigned flags) { return 0; }

int cuDeviceGetCount(int *n)
{
	*n = 1;
	return 0;
}
