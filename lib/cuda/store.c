/* The CUDA backend: its opening, device memory, and the store. */
#include "lib/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/model/graph.h"

vq_status cuda_try(int error, const char *what)
{
	if (error == cudaSuccess)
		return VQ_OK;
	cudaGetLastError(); /* an error that does not stick is told once */
	return vq_fail(error == cudaErrorMemoryAllocation ? VQ_ENOMEM : VQ_EBACKEND, "CUDA: %s: %s", what, cudaGetErrorString((cudaError_t)error));
}

static _Atomic uint64_t waits;

vq_status cuda_wait(cudaStream_t s, const char *what)
{
	waits++;
	return cuda_try(cudaStreamSynchronize(s), what);
}

void cuda_count_wait(void) { waits++; }

static uint64_t count_waits(const vq_backend *b) { return waits; }

/* What takes less memory: of a training, or of a program that runs a model on several threads. All stores of a program are of one kind. */
static const char *lower = "lower --threads";

static double mib(size_t bytes) { return (double)bytes / 1048576; }

vq_status cuda_get(void **p, size_t bytes, const char *what) { return cuda_get_or(p, bytes, what, lower); }

vq_status cuda_get_or(void **p, size_t bytes, const char *what, const char *advice)
{
	*p = NULL;
	waits++;
	cudaError_t e = cudaMalloc(p, VQ_MAX(bytes, (size_t)256));
	if (e != cudaErrorMemoryAllocation)
		return cuda_try(e, "cudaMalloc");
	size_t free_bytes = 0, total = 0;
	cudaGetLastError();
	if (cudaMemGetInfo(&free_bytes, &total) != cudaSuccess)
		cudaGetLastError();
	return vq_fail(VQ_ENOMEM, "out of device memory: %s needs %.1f MiB and %.1f of %.1f MiB are free; %s", what, mib(bytes), mib(free_bytes), mib(total), advice);
}

vq_status cuda_grow(vq_store *s, cuda_area *a, size_t bytes, const char *what)
{
	if (bytes <= a->bytes)
		return VQ_OK;
	VQ_TRY(cuda_wait(s->b->stream, "cudaStreamSynchronize"));
	cudaFree(a->at);
	s->moved++;
	*a = (cuda_area){0};
	void *p;
	VQ_TRY(cuda_get(&p, bytes, what));
	*a = (cuda_area){ p, bytes };
	VQ_TRY(cuda_try(cudaMemsetAsync(p, 0, bytes, s->b->stream), "cudaMemsetAsync"));
	return cuda_wait(s->b->stream, "cudaStreamSynchronize"); /* the other stream does not wait for this one */
}

/* On the backend's stream, which does not wait for the default one. */
vq_status cuda_copy_now(const vq_store *s, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
	VQ_TRY(cuda_try(cudaMemcpyAsync(to, from, bytes, kind, s->b->stream), "cudaMemcpyAsync"));
	return cuda_wait(s->b->stream, "cudaStreamSynchronize");
}

/* --- filters ------------------------------------------------------------------------------------------------------- */

static size_t elements(const vq_cuda_weight *w) { return (size_t)w->a_pad * (size_t)w->k * (size_t)w->k * (size_t)w->b_pad; }

static vq_status on_device(const vq_store *s, const vq_cuda_weight *host, int n, vq_cuda_weight **table)
{
	void *p = NULL;
	vq_status st = cuda_get(&p, sizeof *host * (size_t)n, "the table of filters");
	if (st == VQ_OK && (st = cuda_copy_now(s, p, host, sizeof *host * (size_t)n, cudaMemcpyHostToDevice)) < 0)
		cudaFree(p);
	*table = st < 0 ? NULL : p;
	return st;
}

/* The table on the device is made anew: filters are added when plans are made, not while they run. */
static vq_status filter_table(vq_store *s)
{
	vq_cuda_weight *host = vq_malloc(sizeof *host * (size_t)s->nf), *table;
	int rows = 0;
	if (!host)
		return VQ_ENOMEM;
	for (int i = 0; i < s->nf; i++)
		if (!s->filter[i].frozen)
			host[rows++] = s->filter[i].w;
	vq_status st = on_device(s, host, rows, &table);
	if (st == VQ_OK) {
		cudaFree(s->table);
		s->table = table;
		s->rows = rows;
		s->packed = s->most = 0;
		for (int i = 0; i < rows; i++)
			s->most = VQ_MAX(s->most, elements(&host[i]));
	}
	free(host);
	return st;
}

static vq_status pack_once(const vq_store *s, const vq_cuda_weight *w)
{
	vq_cuda_weight *table;
	VQ_TRY(on_device(s, w, 1, &table));
	vq_status st = cuda_try(vq_cuda_pack(s->b->stream, table, 1, elements(w)), "pack");
	if (st == VQ_OK)
		st = cuda_wait(s->b->stream, "packing a frozen weight");
	cudaFree(table);
	return st;
}

vq_status cuda_filter_of(vq_store *s, const vq_value *weight, vq_dtype t, int *out)
{
	bool frozen = weight->where == VQ_AT_FROZEN;
	for (int i = 0; i < s->nf; i++)
		if (s->filter[i].param == weight->param && s->filter[i].frozen == frozen && s->filter[i].w.t == t) {
			*out = i;
			return VQ_OK;
		}
	const vq_param *q = &(frozen ? s->frozen : &s->params)->p[weight->param];
	float *plain = (frozen ? s->frozen_at : s->buf[q->trainable ? VQ_BUF_PARAM : VQ_BUF_STATE]) + q->offset;
	cuda_filter *more = vq_realloc(s->filter, sizeof *more * (size_t)(s->nf + 1));
	if (!more)
		return VQ_ENOMEM;
	s->filter = more;
	void *packed;
	VQ_TRY(cuda_get(&packed, q->count * vq_dtype_size(t), "a filter"));
	int a = (int)q->shape[0], b = (int)q->shape[1];
	more[s->nf] = (cuda_filter){ weight->param, frozen, { .plain = plain, .packed = packed, .t = t, .a = a, .b = b, .k = (int)q->shape[2], .a_pad = a, .b_pad = b } };
	s->nf++;
	vq_status st = frozen ? pack_once(s, &more[s->nf - 1].w) : filter_table(s);
	if (st < 0) {
		s->nf--;
		cudaFree(packed);
		return st;
	}
	*out = s->nf - 1;
	return VQ_OK;
}

/* --- store --------------------------------------------------------------------------------------------------------- */

static void store_free(vq_store *s)
{
	if (!s)
		return;
	cudaStreamSynchronize(s->b->stream);
	cuda_slots_free(s);
	for (int i = 0; i < VQ_BUFS; i++)
		cudaFree(s->buf[i]);
	for (int i = 0; i < s->nf; i++)
		cudaFree(s->filter[i].w.packed);
	cudaFree(s->table);
	cudaFree(s->frozen_at);
	cudaFree(s->arena.at);
	cudaFree(s->scratch.at);
	free(s->filter);
	free(s->params.p);
	free(s);
}

static vq_status store_make(vq_backend *b, const vq_params *params, bool training, vq_store **out)
{
	*out = NULL;
	vq_store *s = vq_calloc(1, sizeof *s);
	if (!s)
		return VQ_ENOMEM;
	s->b = (cuda_backend *)b;
	if (training)
		lower = "lower pixels_per_step or batch_size, or set checkpoint_activations";
	s->version = 1;
	s->params = *params;
	s->params.cap = params->n;
	vq_status st = (s->params.p = vq_malloc(sizeof *params->p * (size_t)params->n)) ? VQ_OK : VQ_ENOMEM;
	if (st == VQ_OK && params->n)
		memcpy(s->params.p, params->p, sizeof *params->p * (size_t)params->n);
	for (int i = 0; i < VQ_BUFS && st == VQ_OK; i++) {
		size_t bytes = sizeof(float) * params->sizes[i != VQ_BUF_STATE];
		void *p;
		if (i > VQ_BUF_PARAM && !training)
			continue;
		if ((st = cuda_get(&p, bytes, "a buffer of parameters")) == VQ_OK) {
			s->buf[i] = p;
			st = cuda_try(cudaMemsetAsync(p, 0, bytes, s->b->stream), "cudaMemsetAsync");
		}
	}
	if (st < 0) {
		store_free(s);
		return st;
	}
	*out = s;
	return VQ_OK;
}

static vq_status store_read(vq_store *s, vq_buf_kind k, size_t offset, size_t count, float *host)
{
	VQ_TRY(vq_store_range(&s->params, s->buf[k] != NULL, k, offset, count));
	return cuda_copy_now(s, host, s->buf[k] + offset, count * sizeof *host, cudaMemcpyDeviceToHost);
}

static vq_status store_write(vq_store *s, vq_buf_kind k, size_t offset, size_t count, const float *host)
{
	VQ_TRY(vq_store_range(&s->params, s->buf[k] != NULL, k, offset, count));
	VQ_TRY(cuda_copy_now(s, s->buf[k] + offset, host, count * sizeof *host, cudaMemcpyHostToDevice));
	if (k == VQ_BUF_PARAM)
		s->version++;
	if (k == VQ_BUF_M)
		s->updates = 1;
	return VQ_OK;
}

static vq_status store_average(vq_store *s, float decay)
{
	return cuda_try(vq_cuda_average(s->b->stream, decay, s->params.sizes[1], s->buf[VQ_BUF_PARAM], s->buf[VQ_BUF_MEAN]), "average");
}

static vq_status store_frozen(vq_store *s, const vq_params *table, const float *values)
{
	void *p;
	size_t bytes = table->sizes[0] * sizeof *values;
	if (s->frozen)
		return vq_fail(VQ_EINVAL, "the store has its frozen weights");
	VQ_TRY(cuda_get(&p, bytes, "the perceptual network"));
	s->frozen_at = p;
	VQ_TRY(cuda_copy_now(s, p, values, bytes, cudaMemcpyHostToDevice));
	s->frozen = table;
	return VQ_OK;
}

/* --- the backend --------------------------------------------------------------------------------------------------- */

static void close_backend(vq_backend *b)
{
	cuda_backend *c = (cuda_backend *)b;
	if (!c)
		return;
	cudaFree(c->pictures.at);
	if (c->blas)
		cublasLtDestroy(c->blas);
	if (c->dnn)
		cudnnDestroy(c->dnn);
	if (c->copies)
		cudaStreamDestroy(c->copies);
	if (c->stream)
		cudaStreamDestroy(c->stream);
	free(c);
}

static vq_status set_up(cuda_backend *c)
{
	struct cudaDeviceProp prop;
	int driver = 0, n = 0;
	cudaDriverGetVersion(&driver);
	cudaError_t e = cudaGetDeviceCount(&n);
	if (e == cudaErrorInsufficientDriver)
		return vq_fail(VQ_EUNSUP, driver ? "the NVIDIA driver is too old for this build (CUDA %d.%d of %d.%d)" : "there is no NVIDIA driver", driver / 1000,
			driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
	if (e == cudaErrorNoDevice || (e == cudaSuccess && n == 0))
		return vq_fail(VQ_EUNSUP, "there is no NVIDIA device");
	VQ_TRY(cuda_try(e, "cudaGetDeviceCount"));
	VQ_TRY(cuda_try(cudaGetDeviceProperties(&prop, 0), "cudaGetDeviceProperties"));
	if (prop.major * 10 + prop.minor < 75)
		return vq_fail(VQ_EUNSUP, "%s has compute capability %d.%d, and 7.5 is the least", prop.name, prop.major, prop.minor);
	c->tensor = prop.major >= 8;
	snprintf(c->b.isa, sizeof c->b.isa, "sm_%d%d", prop.major, prop.minor);
	return cuda_try(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), "cudaStreamCreate");
}

static vq_status set_up_models(cuda_backend *c)
{
	VQ_TRY(cuda_try(cudaStreamCreateWithFlags(&c->copies, cudaStreamNonBlocking), "cudaStreamCreate"));
	VQ_TRY(cuda_dnn(cudnnCreate(&c->dnn), "cudnnCreate"));
	VQ_TRY(cuda_dnn(cudnnSetStream(c->dnn, c->stream), "cudnnSetStream"));
	cublasStatus_t b = cublasLtCreate(&c->blas);
	return b == CUBLAS_STATUS_SUCCESS ? VQ_OK : vq_fail(VQ_EBACKEND, "cuBLASLt: cublasLtCreate: %s", cublasLtGetStatusString(b));
}

static void model_table(vq_backend *b)
{
	b->store_make = store_make;
	b->store_free = store_free;
	b->store_read = store_read;
	b->store_write = store_write;
	b->store_average = store_average;
	b->store_frozen = store_frozen;
	cuda_plan_table(b);
	cuda_transfer_table(b);
}

vq_status vq_cuda_open(vq_backend **out, int threads, bool models)
{
	*out = NULL;
	cuda_backend *c = vq_calloc(1, sizeof *c);
	if (!c)
		return VQ_ENOMEM;
	vq_status s = set_up(c);
	if (s == VQ_OK && models)
		s = set_up_models(c);
	if (s < 0) {
		close_backend(&c->b);
		return s;
	}
	c->b.name = "cuda";
	c->b.ahead = CUDA_AHEAD;
	c->b.threads = threads;
	c->b.bf16 = c->b.bf16_faster = c->tensor;
	c->b.waits = count_waits;
	c->b.maps = cuda_maps;
	c->b.close = close_backend;
	if (models)
		model_table(&c->b);
	*out = &c->b;
	return VQ_OK;
}
