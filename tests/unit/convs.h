/* convs: shapes of convolutions that hurt: one pixel, one channel, odd channels, strides that do not fit. test_ops_conv computes them,
 * tests/gpu/graphs asks cuDNN for them. */
#ifndef VQ_TEST_CONVS_H
#define VQ_TEST_CONVS_H

#include "lib/backend.h"

typedef struct {
	bool transposed;
	int n, h, w, in, out, k, s, p;
	bool bias;
	vq_act act;
	bool sum, f32_out;
} conv_case;

static const conv_case cases[] = {
	/* one pixel, one channel */
	{ false, 1, 1, 1, 1, 1, 1, 1, 0, true, VQ_FN_NONE },
	{ false, 1, 1, 1, 3, 5, 3, 1, 1, true, VQ_FN_RELU },
	{ false, 2, 1, 1, 1, 16, 7, 2, 3, true, VQ_FN_RELU },
	{ false, 1, 1, 9, 4, 8, 3, 2, 1, false, VQ_FN_NONE },
	/* stems */
	{ false, 2, 33, 31, 1, 32, 7, 2, 3, true, VQ_FN_RELU },
	{ false, 1, 32, 32, 3, 32, 7, 2, 3, true, VQ_FN_RELU },
	{ false, 1, 16, 24, 4, 32, 7, 2, 3, true, VQ_FN_SILU },
	{ false, 1, 31, 33, 4, 8, 7, 3, 1, false, VQ_FN_NONE },
	{ false, 1, 32, 34, 5, 8, 7, 3, 1, true, VQ_FN_LEAKY },
	/* strides that do not fit */
	{ false, 1, 31, 33, 3, 17, 3, 3, 1, true, VQ_FN_NONE },
	{ false, 1, 32, 34, 17, 5, 3, 3, 1, true, VQ_FN_RELU },
	{ false, 2, 17, 20, 8, 16, 3, 2, 0, true, VQ_FN_NONE },
	{ false, 1, 18, 3, 24, 32, 3, 2, 0, false, VQ_FN_RELU },
	{ false, 1, 16, 15, 5, 17, 3, 2, 1, true, VQ_FN_GELU },
	{ false, 2, 13, 16, 32, 64, 3, 2, 1, true, VQ_FN_RELU },
	/* inner layers */
	{ false, 3, 5, 7, 17, 17, 3, 1, 1, true, VQ_FN_NONE },
	{ false, 2, 8, 8, 32, 32, 3, 1, 1, true, VQ_FN_RELU },
	{ false, 1, 9, 7, 64, 64, 3, 1, 1, true, VQ_FN_NONE },
	{ false, 2, 6, 5, 64, 64, 1, 1, 0, true, VQ_FN_NONE, false, true },
	{ false, 1, 6, 6, 64, 17, 1, 1, 0, true, VQ_FN_NONE },
	{ false, 1, 7, 9, 16, 1, 3, 1, 1, true, VQ_FN_NONE, false, true },
	{ false, 2, 8, 8, 16, 3, 3, 1, 1, true, VQ_FN_NONE, false, true },
	{ false, 2, 9, 21, 16, 4, 3, 1, 1, true, VQ_FN_NONE, false, true },
	{ false, 3, 5, 16, 16, 2, 3, 1, 1, false, VQ_FN_NONE, false, true },
	{ false, 1, 1, 33, 16, 1, 3, 1, 1, true, VQ_FN_NONE, false, true },
	{ false, 1, 6, 6, 5, 3, 3, 1, 0, true, VQ_FN_NONE },
	{ false, 2, 11, 7, 64, 96, 3, 1, 1, true, VQ_FN_RELU },
	{ false, 3, 12, 9, 96, 32, 3, 1, 1, false, VQ_FN_LEAKY },
	/* with a residual */
	{ false, 1, 9, 13, 64, 64, 3, 1, 1, true, VQ_FN_RELU, true },
	{ false, 2, 7, 8, 32, 32, 3, 1, 1, true, VQ_FN_NONE, true },
	{ false, 1, 5, 5, 17, 5, 3, 1, 1, true, VQ_FN_RELU, true },
	{ false, 1, 4, 9, 3, 64, 1, 1, 0, false, VQ_FN_RELU, true },
	/* transposed */
	{ true, 1, 1, 1, 1, 1, 4, 2, 1, true, VQ_FN_NONE },
	{ true, 1, 1, 1, 3, 17, 4, 2, 1, true, VQ_FN_RELU },
	{ true, 2, 5, 3, 17, 5, 4, 2, 1, true, VQ_FN_SILU },
	{ true, 2, 8, 7, 64, 32, 4, 2, 1, true, VQ_FN_RELU },
	{ true, 1, 7, 8, 32, 16, 4, 2, 1, false, VQ_FN_NONE },
	{ true, 1, 3, 4, 24, 16, 4, 2, 1, true, VQ_FN_LEAKY },
	{ true, 2, 9, 6, 16, 48, 4, 2, 1, true, VQ_FN_NONE },
	{ true, 3, 8, 8, 32, 32, 4, 2, 1, true, VQ_FN_RELU },
	{ false, 2, 14, 8, 32, 16, 4, 2, 1, true, VQ_FN_RELU },
	{ false, 1, 15, 9, 32, 32, 4, 2, 1, true, VQ_FN_NONE },
	{ true, 1, 4, 4, 8, 4, 2, 2, 0, true, VQ_FN_NONE },
	/* few positions between many channels; one more of them than a chunk of the gradient holds */
	{ false, 5, 4, 4, 64, 96, 3, 2, 1, false, VQ_FN_NONE },
	{ true, 3, 2, 2, 96, 64, 4, 2, 1, true, VQ_FN_RELU },
	{ true, 16, 2, 2, 64, 32, 4, 2, 1, false, VQ_FN_NONE },
	{ false, 16, 2, 2, 96, 32, 1, 1, 0, true, VQ_FN_NONE },
	{ false, 1, 7, 5, 32, 128, 3, 2, 0, true, VQ_FN_RELU },
	{ false, 1, 1, 1, 32, 64, 3, 1, 1, true, VQ_FN_RELU },
	{ false, 1, 33, 31, 32, 32, 3, 2, 1, true, VQ_FN_NONE },
};

#endif
