/* What the CUDA backend calls, on the host: the runtime's memory and streams, cuDNN's convolutions and cuBLASLt's products in plain loops.
 * With lib/cuda/emulate.h's kernels it makes a libvq_cuda.so that runs anywhere, so that the tests of the engine can be put to the backend
 * without a device. "Device" memory starts as NaN; VQ_EMULATED_MEMORY (bytes) is how much of it there is. Streams and graphs: streams.c. */
#include "tests/gpu/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t used;

static size_t memory(void)
{
	const char *v = getenv("VQ_EMULATED_MEMORY");
	return v ? (size_t)strtoull(v, NULL, 10) : (size_t)1 << 32;
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
	host_waits[HOST_MEMORY]++;
	if (!host_all_done())
		return cudaErrorStreamCaptureUnsupported;
	size_t *m = used + bytes > memory() ? NULL : aligned_alloc(256, VQ_ALIGN(bytes, (size_t)256) + 256);
	if (!m)
		return cudaErrorMemoryAllocation;
	*m = bytes;
	used += bytes;
	memset((char *)m + 256, 0xff, bytes);
	*p = (char *)m + 256;
	return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
	host_waits[HOST_MEMORY]++;
	size_t *m = p ? (size_t *)((char *)p - 256) : NULL;
	if (!host_all_done())
		return cudaErrorStreamCaptureUnsupported;
	used -= m ? *m : 0;
	free(m);
	return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *total)
{
	*total = memory();
	*left = *total - used;
	return cudaSuccess;
}

/* The one that does not wait for the device. */
cudaError_t cudaMallocHost(void **p, size_t bytes)
{
	host_waits[HOST_MEMORY]++;
	if (host_captured())
		return cudaErrorStreamCaptureUnsupported;
	return (*p = aligned_alloc(64, VQ_ALIGN(bytes, (size_t)64))) ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *p)
{
	host_waits[HOST_MEMORY]++;
	if (!host_all_done())
		return cudaErrorStreamCaptureUnsupported;
	free(p);
	return cudaSuccess;
}

cudaError_t cudaGetLastError(void) { return cudaSuccess; }
const char *cudaGetErrorString(cudaError_t e) { return e == cudaErrorMemoryAllocation ? "out of memory" : "an emulated error"; }
cudaError_t cudaDriverGetVersion(int *v) { *v = CUDART_VERSION; return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int *n) { *n = 1; return cudaSuccess; }

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
	memset(p, 0, sizeof *p);
	snprintf(p->name, sizeof p->name, "the host");
	p->major = 9;
	return cudaSuccess;
}

/* --- cuDNN --------------------------------------------------------------------------------------------------------- */

vq_status cuda_dnn(cudnnStatus_t s, const char *what) { return s == CUDNN_STATUS_SUCCESS ? VQ_OK : vq_fail(VQ_EBACKEND, "%s", what); }
cudnnStatus_t cudnnCreate(cudnnHandle_t *h) { *h = NULL; return getenv("VQ_EMULATED_BARE") ? CUDNN_STATUS_NOT_INITIALIZED : CUDNN_STATUS_SUCCESS; } /* no cuDNN that starts */
cudnnStatus_t cudnnDestroy(cudnnHandle_t h) { return CUDNN_STATUS_SUCCESS; }

static cudaStream_t dnn_stream; /* of the one handle */

cudnnStatus_t cudnnSetStream(cudnnHandle_t h, cudaStream_t s)
{
	dnn_stream = s;
	return CUDNN_STATUS_SUCCESS;
}

/* What widens is refused for odd channels, so that both ways of the backend run; with VQ_EMULATED_BROKEN it fails for no reason of its own. */
vq_status cuda_conv_make(const cuda_conv_spec *s, cudnnHandle_t handle, cudnnBackendDescriptor_t device, cuda_conv *out)
{
	*out = (cuda_conv){ .workspace = 64, .name = "loops" };
	if (s->t != s->out && getenv("VQ_EMULATED_BROKEN"))
		return vq_fail(VQ_EBACKEND, "cuDNN: an emulated failure");
	if (s->t != s->out && s->c % 2)
		return vq_fail(VQ_EUNSUP, "no engine");
	if (!(out->plan = malloc(sizeof *s)))
		return VQ_ENOMEM;
	memcpy(out->plan, s, sizeof *s);
	return VQ_OK;
}

void cuda_conv_drop(cuda_conv *c)
{
	free(c->plan);
	c->plan = NULL;
}

static double load(vq_dtype t, const void *p, size_t i) { return (double)(t == VQ_BF16 ? vq_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i]); }

static void put(vq_dtype t, void *p, size_t i, double v)
{
	if (t == VQ_BF16)
		((uint16_t *)p)[i] = vq_f32_to_bf16((float)v);
	else
		((float *)p)[i] = (float)v;
}

/* Every product of an image value, a filter value and a feature value, once. */
static void products(const cuda_conv_spec *s, const void *x, const void *w, const void *y, double *sum)
{
	for (int n = 0; n < s->n; n++)
		for (int p = 0; p < s->p; p++)
			for (int q = 0; q < s->q; q++)
				for (int i = 0; i < s->size * s->size; i++) {
					int h = p * s->stride - s->pad + i / s->size, v = q * s->stride - s->pad + i % s->size;
					if (h < 0 || v < 0 || h >= s->h || v >= s->w)
						continue;
					for (int k = 0; k < s->k; k++)
						for (int c = 0; c < s->c; c++) {
							size_t xi = (((size_t)n * (size_t)s->h + (size_t)h) * (size_t)s->w + (size_t)v) * (size_t)s->c + (size_t)c;
							size_t yi = (((size_t)n * (size_t)s->p + (size_t)p) * (size_t)s->q + (size_t)q) * (size_t)s->k + (size_t)k;
							size_t wi = ((size_t)k * (size_t)(s->size * s->size) + (size_t)i) * (size_t)s->c + (size_t)c;
							if (s->kind == CUDA_FORWARD)
								sum[yi] += load(s->t, x, xi) * load(s->t, w, wi);
							else if (s->kind == CUDA_BY_DATA)
								sum[xi] += load(s->t, y, yi) * load(s->t, w, wi);
							else
								sum[wi] += load(s->t, x, xi) * load(s->t, y, yi);
						}
				}
}

typedef struct { cuda_conv_spec s; size_t space; void *x, *w, *y, *workspace; } conv_call;

static void conv_work(void *ctx)
{
	const conv_call *c = ctx;
	const cuda_conv_spec *s = &c->s;
	size_t size[3] = { (size_t)s->n * (size_t)s->p * (size_t)s->q * (size_t)s->k, (size_t)s->n * (size_t)s->h * (size_t)s->w * (size_t)s->c,
		(size_t)s->k * (size_t)s->size * (size_t)s->size * (size_t)s->c };
	void *to = s->kind == CUDA_FORWARD ? c->y : s->kind == CUDA_BY_DATA ? c->x : c->w;
	double *sum = calloc(size[s->kind], sizeof *sum);
	if (!sum)
		abort();
	memset(c->workspace, 0xff, c->space);
	products(s, c->x, c->w, c->y, sum);
	for (size_t i = 0; i < size[s->kind]; i++)
		put(s->out, to, i, sum[i]);
	free(sum);
}

vq_status cuda_conv_run(cudnnHandle_t handle, const cuda_conv *c, void *x, void *w, void *y, void *workspace)
{
	conv_call call = { *(const cuda_conv_spec *)c->plan, c->workspace, x, w, y, workspace };
	host_put(dnn_stream, conv_work, &call, sizeof call);
	return VQ_OK;
}

/* --- cuBLASLt ------------------------------------------------------------------------------------------------------ */

typedef struct { int m, n, k; bool turn_x, turn_w; } product;

cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) { *h = NULL; return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) { return CUBLAS_STATUS_SUCCESS; }
const char *cublasLtGetStatusString(cublasStatus_t s) { return "an emulated status"; }

vq_status cuda_gemm_make(cuda_backend *b, int m, int n, int k, bool turn_x, bool turn_w, cuda_gemm *out)
{
	product *p = malloc(sizeof *p);
	*out = (cuda_gemm){ .op = (cublasLtMatmulDesc_t)p, .workspace = 64 };
	if (!p)
		return VQ_ENOMEM;
	*p = (product){ m, n, k, turn_x, turn_w };
	return VQ_OK;
}

typedef struct { product p; size_t space; const float *x, *w; bool add; float *y; void *workspace; } gemm_call;

static void gemm_work(void *ctx)
{
	const gemm_call *c = ctx;
	const product *p = &c->p;
	memset(c->workspace, 0xff, c->space);
	for (int i = 0; i < p->m; i++)
		for (int j = 0; j < p->n; j++) {
			double s = c->add ? (double)c->y[i * p->n + j] : 0;
			for (int k = 0; k < p->k; k++)
				s += (double)c->x[p->turn_x ? k * p->m + i : i * p->k + k] * (double)c->w[p->turn_w ? j * p->k + k : k * p->n + j];
			c->y[i * p->n + j] = (float)s;
		}
}

vq_status cuda_gemm_run(cuda_backend *b, const cuda_gemm *g, const float *x, const float *w, bool add, float *y, void *workspace)
{
	gemm_call call = { *(const product *)g->op, g->workspace, x, w, add, y, workspace };
	host_put(b->stream, gemm_work, &call, sizeof call);
	return VQ_OK;
}

void cuda_gemm_drop(cuda_gemm *g)
{
	free(g->op);
	*g = (cuda_gemm){0};
}
