/* ops: how fast chains of one operation run on the CUDA device, beside what it could do.   ops [BATCH [SIZE [CHANNELS]]]
 *
 * Each chain is LAYERS operations long, on BATCH x SIZE x SIZE x CHANNELS, forward alone; the least of ROUNDS runs counts, with its launch and
 * the wait at its end. GB/s counts each input and output once. The norm is at rest. Each of our kernels by itself: kernels.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/peaks.h"
#include "tests/unit/engine.h"

enum { LAYERS = 16, ROUNDS = 20 };
typedef enum { CONV, NORM, ACT, ADD } chain;
static const char *const names[] = { "conv 3x3", "norm + relu", "silu", "add" };
static int layer(engine *e, chain c, int x, int channels, int i)
{
	char name[16];
	snprintf(name, sizeof name, "l%d", i);
	switch (c) {
	case CONV: return vq_layer_conv(&e->b, x, name, channels, (vq_conv_spec){ .k = 3, .s = 1, .p = 1, .sum = -1 });
	case NORM: return vq_layer_norm(&e->b, x, name, -1, VQ_FN_RELU);
	case ACT: return vq_layer_act(&e->b, x, VQ_FN_SILU);
	default: return vq_layer_add(&e->b, x, x);
	}
}

static double time_of(engine *e, int x, double count)
{
	double least = INFINITY, *zero = calloc((size_t)count, sizeof *zero);
	for (int i = 0; i < ROUNDS && zero; i++) {
		if (!i)
			engine_fill(e, x, zero);
		double from = vq_seconds();
		if (engine_run(e, VQ_FORWARD) < 0)
			break;
		least = i > 2 ? fmin(least, vq_seconds() - from) : least;
	}
	free(zero);
	return least / LAYERS;
}

static void run(chain c, vq_dtype t, int n, int size, int channels, peaks p)
{
	engine e;
	double count = (double)n * size * size * channels, width = t == VQ_BF16 ? 2 : 4;
	double flops = c == CONV ? 18 * count * channels : 0, bytes = width * count * 2;
	engine_open(&e, (engine_spec){ .n = n, .h = size, .w = size, .compute = t, .inference = true });
	int x = engine_input(&e, t, n, size, size, channels, 0), y = x;
	for (int i = 0; i < LAYERS; i++)
		y = layer(&e, c, y, channels, i);
	double each = engine_build(&e, y) == VQ_OK ? time_of(&e, x, count) : INFINITY, peak = c != CONV ? p.bytes : t == VQ_BF16 ? p.flops : 0;
	printf("%-12s %-4s ", names[c], t == VQ_BF16 ? "bf16" : "f32");
	if (!isfinite(each))
		printf("%s\n", vq_message());
	else if (c == CONV)
		printf("%8.1f us %8.3f TFLOP/s", 1e6 * each, flops / each / 1e12);
	else
		printf("%8.1f us %8.2f GB/s", 1e6 * each, bytes / each / 1e9);
	if (isfinite(each) && peak > 0)
		printf(" (%.0f %% of the peak)", 100 * (c == CONV ? flops : bytes) / each / peak);
	printf("%s", isfinite(each) ? "\n" : "");
	engine_close(&e);
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 32, size = argc > 2 ? atoi(argv[2]) : 64, channels = argc > 3 ? atoi(argv[3]) : 128;
	if (n < 1 || n > ENGINE_ITEMS || size < 1 || channels < 1) {
		fprintf(stderr, "usage: ops [BATCH (up to %d) [SIZE [CHANNELS]]]\n", ENGINE_ITEMS);
		return 2;
	}
	peaks p = peaks_look();
	printf("%d x %d x %d x %d, chains of %d; peaks: %.0f GB/s, %.0f TFLOP/s in bf16\n", n, size, size, channels, LAYERS, p.bytes / 1e9, p.flops / 1e12);
	for (int t = 0; t < 2; t++)
		for (chain c = CONV; c <= ADD; c++)
			run(c, t ? VQ_BF16 : VQ_F32, n, size, channels, p);
	return 0;
}
