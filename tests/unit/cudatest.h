/* cudatest: memory and checks for tests of the CUDA kernels on the host (lib/cuda/emulate.h).
 *
 *   double *x = cudatest_noise(VQ_BF16, n);
 *   void *dx = cudatest_memory(VQ_BF16, n, x), *dy = cudatest_memory(VQ_BF16, n, NULL);
 *   EACH_ORDER(vq_cuda_act(NULL, VQ_BF16, VQ_FN_RELU, n, dx, dy));
 *   CUDATEST_NEAR(VQ_BF16, n, dy, want, 1e-2);
 *   cudatest_end();
 *
 * Everything that is asked for lives until cudatest_end, and has exactly the size asked for. The macros need tests/unit/test.h. */
#ifndef VQ_TEST_CUDATEST_H
#define VQ_TEST_CUDATEST_H

#include "lib/cuda/emulate.h"
#include "lib/cuda/kernels.h"

double *cudatest_doubles(size_t n);                 /* zeros */
double *cudatest_noise(vq_dtype t, size_t n);       /* normal numbers that type t holds */
/* n elements at a multiple of 16 bytes; from NULL: all bits set, which is NaN or -1. */
void *cudatest_memory(vq_dtype t, size_t n, const double *from);
void *cudatest_scratch(size_t bytes);               /* refilled before every launch, not compared */
double cudatest_element(vq_dtype t, const void *p, size_t i);
/* Largest |got - want| over the largest |want| (at least 1e-3); infinite when got has a NaN. */
double cudatest_error(vq_dtype t, size_t n, const void *got, const double *want);
void cudatest_end(void);

/* How much is lost in type t. */
static inline double cudatest_limit(vq_dtype t) { return t == VQ_BF16 ? 1e-2 : 1e-5; }

/* A grid, and what the step brings. */
typedef enum { CUDATEST_PACKED, CUDATEST_EMPTY /* no items */, CUDATEST_HOLLOW /* no valid position */, CUDATEST_ONE /* row */,
	CUDATEST_LARGE, CUDATEST_LIST /* rows without places, the last ones unused */, CUDATEST_GRIDS } cudatest_kind;
vq_cuda_step cudatest_step(cudatest_kind kind);
vq_cuda_grid cudatest_unmarked(cudatest_kind kind);
size_t cudatest_rows(vq_cuda_grid g);

/* With its marks and counts. Here, since only the tests of the kernels are linked with them. */
static inline vq_cuda_grid cudatest_grid(cudatest_kind kind)
{
	vq_cuda_step s = cudatest_step(kind);
	vq_cuda_grid g = cudatest_unmarked(kind);
	vq_emulate_order(0);
	if (vq_cuda_mark(NULL, &s, g))
		g.n = 0;
	return g;
}

void cudatest_order(unsigned order);                /* all memory as it was before the first order; scratch filled */
const char *cudatest_agree(unsigned order);         /* NULL, or what differs from the first order */

/* Runs the call in four orders of threads and blocks, each on the same memory; all must leave the same bytes. */
#define EACH_ORDER(call) do { \
	for (unsigned o_ = 0; o_ < 4; o_++) { \
		cudatest_order(o_); \
		int e_ = (call); \
		if (e_) \
			TEST_END(1, "%s:%d: %s was refused", __FILE__, __LINE__, #call); \
		const char *why_ = cudatest_agree(o_); \
		if (why_) \
			TEST_END(1, "%s:%d: %s, order %u: %s", __FILE__, __LINE__, #call, o_, why_); \
	} } while (0)

#define CUDATEST_NEAR(t, n, got, want, limit) do { \
	double off_ = cudatest_error(t, n, got, want); \
	if (!(off_ <= (limit))) \
		TEST_END(1, "%s:%d: %s is off by %.3g (limit %.3g)", __FILE__, __LINE__, #got, off_, (double)(limit)); } while (0)

#endif
