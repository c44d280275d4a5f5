/* kernels: how fast each of our kernels is on the CUDA device, beside what its memory could do.   kernels [BATCH [SIZE [CHANNELS [LAUNCHES]]]]
 *
 * On BATCH x SIZE x SIZE x CHANNELS random numbers, all of it valid: the least of ROUNDS times LAUNCHES launches. GB/s counts what must go over
 * the memory bus: inputs and outputs once each, and twice what an operation of two passes has to read again (a norm's statistics, the
 * gradient's norm before the update). Attention and the quantiser are bound by what they compute, and are told in TFLOP/s. */
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cuda/kernels.h"
#include "lib/rng.h"
#include "tests/gpu/peaks.h"

enum { BUFFERS = 7, VECTORS = 8, CODES = 512, POOL = 4, ROUNDS = 5, PATTERN = 1 << 16 };

typedef struct {
	int n, size, c, launches;
	size_t rows, count;
	vq_dtype t;
	void *buf[BUFFERS];     /* count values of any type */
	float *vec[VECTORS];    /* CODES x c */
	int32_t *codes;
	vq_cuda_step *step;
	vq_cuda_grid g, half;   /* and one of half the side */
	double *scalar;
	void *scratch;
	cudaStream_t s;
} bench;

static vq_cuda_norm_spec norm_of(const bench *b) { return (vq_cuda_norm_spec){ .t = b->t, .act = VQ_FN_RELU, .training = true, .momentum = .1f, .eps = 1e-5f, .g = b->g, .c = b->c }; }
static int narrow(const bench *b) { return VQ_MAX(b->c / 8, 1); } /* of attention's query and key */
static vq_cuda_attention_spec attention_of(const bench *b) { return (vq_cuda_attention_spec){ b->t, b->g, narrow(b), b->c }; }
static vq_cuda_book book_of(const bench *b) { return (vq_cuda_book){ b->g, b->c, CODES }; }
static const vq_optimizer adamw = { VQ_ADAMW, .9f, .99f, 1e-8f, 1e-4f, 0, 1 };

#define GO(name, call) static int name(const bench *b) { void *const *x = b->buf; float *const *v = b->vec; (void)x; (void)v; return call; }
GO(add, vq_cuda_add(b->s, b->t, b->count, x[0], x[1], x[2]))
GO(act, vq_cuda_act(b->s, b->t, VQ_FN_SILU, b->count, x[0], x[1]))
GO(act_bwd, vq_cuda_act_bwd(b->s, b->t, VQ_FN_SILU, false, b->count, x[0], NULL, x[1], x[2]))
GO(bias_act, vq_cuda_bias_act(b->s, b->t, VQ_FN_RELU, b->rows, b->c, x[0], v[0], x[1], b->g.mark, x[2]))
GO(bias_grad, vq_cuda_bias_grad(b->s, b->t, b->rows, b->c, x[0], NULL, v[0], b->scratch))
GO(cast, vq_cuda_cast(b->s, VQ_F32, VQ_BF16, b->count, x[0], x[1]))
GO(dropout, vq_cuda_dropout(b->s, b->step, b->t, .1f, 3, b->count, x[0], x[1]))
GO(flatten, vq_cuda_flatten(b->s, b->t, false, b->n, b->size * b->size, b->c, x[0], x[1]))
GO(gate, vq_cuda_gate(b->s, b->t, b->count, x[0], x[1], v[0], x[2]))
GO(gate_bwd, vq_cuda_gate_bwd(b->s, b->t, b->count, x[0], x[1], v[0], x[2], v[1], b->scratch))
GO(norm, vq_cuda_norm(b->s, norm_of(b), x[0], v[0], v[1], v[2], v[3], x[1], x[2], v[4], b->scratch))
GO(norm_bwd, vq_cuda_norm_bwd(b->s, norm_of(b), x[0], x[1], x[2], v[0], v[1], v[4], NULL, x[3], v[5], v[6], NULL, b->scratch))
GO(pool, vq_cuda_pool(b->s, b->step, b->t, b->g, POOL, b->c, x[0], x[1]))
GO(pool_bwd, vq_cuda_pool_bwd(b->s, b->step, b->t, b->g, POOL, b->c, x[0], x[1]))
GO(resize, vq_cuda_resize(b->s, b->step, b->t, b->half, b->g, b->c, x[0], x[1]))
GO(resize_bwd, vq_cuda_resize_bwd(b->s, b->step, b->t, b->half, b->g, b->c, x[0], x[1]))
GO(loss, vq_cuda_loss(b->s, b->step, b->g, b->c, 2, 0, x[0], x[1], NULL, x[2], b->scalar, b->scratch))
GO(optimize, vq_cuda_optimize(b->s, b->step, adamw, b->count, x[0], x[1], x[2], x[3], b->scalar, b->scratch))
GO(average, vq_cuda_average(b->s, .99f, b->count, x[0], x[1]))
GO(lookup, vq_cuda_lookup(b->s, b->rows, b->c, CODES, b->codes, v[7], b->t, x[0], NULL))
GO(quantize_bwd, vq_cuda_quantize_bwd(b->s, b->step, book_of(b), .25f, 0, x[0], v[7], VQ_F32, x[1], b->codes, x[2]))
GO(ema_sum, vq_cuda_ema_sum(b->s, book_of(b), x[0], b->codes, v[0], v[1], b->scratch))
GO(codebook_bwd, vq_cuda_codebook_bwd(b->s, b->step, book_of(b), 0, x[0], v[7], b->codes, VQ_F32, NULL, v[1], b->scratch))
GO(quantize, vq_cuda_quantize(b->s, book_of(b), x[0], v[7], VQ_F32, x[1], b->codes, b->scalar, b->scratch))
GO(attention, vq_cuda_attention(b->s, b->step, attention_of(b), x[0], x[1], x[2], x[3], b->scratch))
GO(attention_bwd, vq_cuda_attention_bwd(b->s, b->step, attention_of(b), x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[1], b->scratch))

/* Accesses an element: of type t, and of four bytes whatever t is. Those of one type say so. */
typedef enum { BOTH, ONLY_F32 } types;
static const struct { const char *name; int (*go)(const bench *); types types; double typed, plain; } memory[] = {
	{ "add", add, BOTH, 3, 0 }, { "silu", act, BOTH, 2, 0 }, { "silu bwd", act_bwd, BOTH, 3, 0 }, { "bias + relu", bias_act, BOTH, 3, 0 },
	{ "bias grad", bias_grad, BOTH, 1, 0 }, { "to bf16", cast, ONLY_F32, 0, 1.5 }, { "dropout", dropout, BOTH, 2, 0 }, { "flatten", flatten, BOTH, 2, 0 },
	{ "gate", gate, BOTH, 3, 0 }, { "gate bwd", gate_bwd, BOTH, 3, 0 }, { "norm", norm, BOTH, 4, 0 }, { "norm bwd", norm_bwd, BOTH, 7, 0 },
	{ "pool", pool, BOTH, 1, 0 }, { "pool bwd", pool_bwd, BOTH, 1, 0 }, { "resize", resize, BOTH, 1.25, 0 }, { "resize bwd", resize_bwd, BOTH, 1.25, 0 },
	{ "loss", loss, ONLY_F32, 0, 3 }, { "adamw", optimize, ONLY_F32, 0, 9 }, { "average", average, ONLY_F32, 0, 3 }, { "lookup", lookup, BOTH, 1, 0 },
	{ "quantize bwd", quantize_bwd, ONLY_F32, 0, 3 }, { "ema sums", ema_sum, ONLY_F32, 0, 1 }, { "codebook bwd", codebook_bwd, ONLY_F32, 0, 1 },
};

static double flops_of_quantize(const bench *b) { return 2. * (double)b->count * CODES; }
static double pairs(const bench *b) { return (double)b->rows * b->size * b->size; }
static double flops_of_attention(const bench *b) { return 2 * pairs(b) * (narrow(b) + b->c); }
static double flops_of_attention_bwd(const bench *b) { return 2 * pairs(b) * (3. * narrow(b) + 2. * b->c); }
static const struct { const char *name; int (*go)(const bench *); types types; double (*flops)(const bench *); } compute[] = {
	{ "quantize", quantize, ONLY_F32, flops_of_quantize }, { "attention", attention, BOTH, flops_of_attention },
	{ "attention bwd", attention_bwd, BOTH, flops_of_attention_bwd },
};

static void must(int e, const char *what)
{
	if (!e)
		return;
	fprintf(stderr, "kernels: %s: %s\n", what, cudaGetErrorString((cudaError_t)e));
	exit(1);
}

static void *device(size_t bytes)
{
	void *p = NULL;
	must(cudaMalloc(&p, VQ_MAX(bytes, (size_t)256)), "cudaMalloc");
	return p;
}

static void upload(const bench *b, void *to, const void *from, size_t bytes)
{
	must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, b->s), "cudaMemcpyAsync");
	must(cudaStreamSynchronize(b->s), "cudaStreamSynchronize");
}

static vq_cuda_grid grid(const bench *b, int size)
{
	vq_cuda_grid g = { b->n, size, size, b->n, device(sizeof(vq_place) * (size_t)b->n), device((size_t)(b->n * size * size)), device(2 * sizeof(int64_t)) };
	vq_place *p = malloc(sizeof *p * (size_t)b->n);
	if (!p)
		exit(1);
	for (int i = 0; i < b->n; i++)
		p[i].extent = p[i].valid = (vq_rect){ i, 0, 0, size, size };
	upload(b, g.places, p, sizeof *p * (size_t)b->n);
	must(vq_cuda_mark(b->s, b->step, g), "mark");
	free(p);
	return g;
}

/* A pattern of normal numbers over and over. */
static void fill(const bench *b, void *to, size_t count, vq_dtype t)
{
	static float plain[PATTERN];
	static uint16_t half[PATTERN];
	size_t size = vq_dtype_size(t);
	if (plain[0] == 0) {
		vq_rng r = vq_rng_make(1, 1);
		for (int i = 0; i < PATTERN; i++)
			half[i] = vq_f32_to_bf16(plain[i] = (float)vq_rng_normal(&r));
	}
	for (size_t at = 0; at < count; at += PATTERN)
		upload(b, (char *)to + at * size, t == VQ_BF16 ? (void *)half : plain, VQ_MIN(count - at, (size_t)PATTERN) * size);
}

static void fill_codes(const bench *b)
{
	int32_t *codes = malloc(sizeof *codes * b->rows);
	vq_rng r = vq_rng_make(2, 1);
	if (!codes)
		exit(1);
	for (size_t i = 0; i < b->rows; i++)
		codes[i] = (int32_t)vq_rng_below(&r, CODES);
	upload(b, b->codes, codes, sizeof *codes * b->rows);
	free(codes);
}

static void open_bench(bench *b)
{
	vq_cuda_step step = { .seed = 1, .step = 1, .items = b->n, .lr = 1e-4f, .c1 = .1f, .c2 = .01f };
	b->rows = (size_t)b->n * (size_t)b->size * (size_t)b->size;
	b->count = b->rows * (size_t)b->c;
	must(cudaStreamCreateWithFlags(&b->s, cudaStreamNonBlocking), "cudaStreamCreate");
	for (int i = 0; i < BUFFERS; i++)
		b->buf[i] = device(b->count * sizeof(float));
	for (int i = 0; i < VECTORS; i++) {
		b->vec[i] = device(CODES * (size_t)b->c * sizeof(float));
		fill(b, b->vec[i], CODES * (size_t)b->c, VQ_F32);
	}
	b->codes = device(b->rows * sizeof *b->codes);
	fill_codes(b);
	b->scalar = device(sizeof *b->scalar);
	b->step = device(sizeof step);
	for (int i = 0; i < VQ_SCALES; i++)
		step.scale[i] = 1e-3f;
	upload(b, b->step, &step, sizeof step);
	b->g = grid(b, b->size);
	b->half = grid(b, b->size / 2);
	size_t most = 256;
	for (b->t = VQ_BF16; b->t <= VQ_F32; b->t++) {
		size_t all[] = { vq_cuda_bias_grad_scratch(b->rows, b->c), vq_cuda_gate_bwd_scratch(b->count), vq_cuda_norm_scratch(norm_of(b)), vq_cuda_loss_scratch(b->g, b->c),
			vq_cuda_optimize_scratch(b->count), vq_cuda_code_sums_scratch(book_of(b)), vq_cuda_quantize_scratch(book_of(b)), vq_cuda_attention_scratch(attention_of(b)) };
		for (size_t i = 0; i < VQ_COUNT(all); i++)
			most = VQ_MAX(most, all[i]);
	}
	b->scratch = device(most);
}

/* Seconds a launch. */
static double time_of(const bench *b, const char *name, int (*go)(const bench *))
{
	double least = INFINITY;
	for (int i = 0; i < BUFFERS; i++)
		fill(b, b->buf[i], b->count, b->t);
	for (int round = -1; round < ROUNDS; round++) {
		double from = vq_seconds();
		for (int i = 0; i < b->launches; i++)
			must(go(b), name);
		must(cudaStreamSynchronize(b->s), name);
		least = round < 0 ? INFINITY : fmin(least, (vq_seconds() - from) / b->launches);
	}
	return least;
}

static void tell(const bench *b, const char *name, double each, double bytes, double flops, peaks p)
{
	printf("%-14s %-4s %9.1f us ", name, b->t == VQ_BF16 ? "bf16" : "f32", 1e6 * each);
	if (flops > 0)
		printf("%8.3f TFLOP/s\n", flops / each / 1e12);
	else if (p.bytes > 0)
		printf("%8.1f GB/s (%.0f %% of the peak%s)\n", bytes / each / 1e9, 100 * bytes / each / p.bytes, bytes / each < .6 * p.bytes ? ", less than 60" : "");
	else
		printf("%8.1f GB/s\n", bytes / each / 1e9);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	bench b = { .n = argc > 1 ? atoi(argv[1]) : 64, .size = argc > 2 ? atoi(argv[2]) : 64, .c = argc > 3 ? atoi(argv[3]) : 64, .launches = argc > 4 ? atoi(argv[4]) : 20 };
	if (b.n < 1 || b.size < 2 || b.c < 1 || b.launches < 1) {
		fprintf(stderr, "usage: kernels [BATCH [SIZE [CHANNELS [LAUNCHES]]]]\n");
		return 2;
	}
	peaks p = peaks_look();
	open_bench(&b);
	printf("%d x %d x %d x %d; peak of memory: %.0f GB/s\n", b.n, b.size, b.size, b.c, p.bytes / 1e9);
	for (int t = 0; t < 2; t++) {
		b.t = t ? VQ_BF16 : VQ_F32;
		for (size_t i = 0; i < VQ_COUNT(memory); i++)
			if (!t || memory[i].types == BOTH)
				tell(&b, memory[i].name, time_of(&b, memory[i].name, memory[i].go), (double)b.count * (memory[i].typed * (t ? 2 : 4) + 4 * memory[i].plain), 0, p);
		for (size_t i = 0; i < VQ_COUNT(compute); i++)
			if (!t || compute[i].types == BOTH)
				tell(&b, compute[i].name, time_of(&b, compute[i].name, compute[i].go), 0, compute[i].flops(&b), p);
	}
	return 0;
}
