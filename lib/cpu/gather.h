/* gather: convolutions of few positions between many channels, in bf16: one matrix product whose rows are gathered from the image where
 * they are. There the weights are most of what is read and written, so each is brought into its layout, or its gradient added, in one pass.
 *
 * An output row is the sum over its taps of an input row times the tap's matrix; a tap that falls outside reads zeros. Sums are f32, an
 * output's in one order whatever the rows beside it. The weights' gradient is a sum over positions, in one order whatever the threads.
 *
 * These functions are serial: callers share out blocks. They need AVX-512 with bf16. */
#ifndef VQ_CPU_GATHER_H
#define VQ_CPU_GATHER_H

#include "lib/backend.h"

enum { GATHER_CHANNELS = 32 /* on both sides, a multiple of it */, GATHER_TAPS = 16 /* at most */, GATHER_ROWS = 12 /* of a block */ };

/* Output rows with the same taps: row r goes to out[r] and takes tap[t]'s matrix times the input row at in[r * taps + t] (elements; -1: zeros). */
typedef struct {
	int rows, taps;
	int tap[GATHER_TAPS];
	int32_t *out, *in;      /* out: rows of n elements */
} gather_class;

typedef struct {
	int k, n, taps;         /* channels in and out; taps of the weights */
	const uint16_t *x, *u, *zeros; /* u: the weights packed; zeros: k of them */
	void *y;
	vq_dtype to;            /* y's: f32 or bf16 */
	const float *bias;      /* or NULL */
	bool sum, relu;         /* y = relu(product + bias + what y held) */
} gather_conv;

/* Columns of a panel, and rows of a block of one. */
static inline int gather_width(int n) { return n % 64 ? 32 : 64; }
static inline int gather_block(int n) { return n % 64 ? 12 : 6; }

/* Weights [n,k,taps], or [k,n,taps] (turned), to u: steps [from, to) of gather_pack_steps. */
static inline size_t gather_bytes(int k, int n, int taps) { return sizeof(uint16_t) * (size_t)k * (size_t)n * (size_t)taps; }
static inline size_t gather_pack_steps(int k, int n) { return (size_t)(k / 16) * (size_t)(n / 16); }
void gather_pack(const float *w, int k, int n, int taps, bool turned, size_t from, size_t to, uint16_t *u);
/* Columns of panel `panel` of the rows from on, at most gather_block. */
void gather_run(const gather_conv *c, const gather_class *g, int panel, int from);

/* The weights' gradient: dw [n,k,taps] += sum over positions m of dy[m][n] x[in[m * taps + t]][k], for k in [from, to), multiples of 32, and
 * n in [n_from, n_to), even. */
typedef struct {
	int positions, k, n, taps;
	const uint16_t *x, *dy, *zeros; /* zeros: max(k, n) of them */
	const int32_t *in;
	float *dw;
} gather_grad;
size_t gather_grad_scratch(int width, int n, int taps); /* width: to - from */
void gather_weight(const gather_grad *g, int from, int to, int n_from, int n_to, void *scratch);

#endif
