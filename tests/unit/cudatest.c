#include "tests/unit/cudatest.h"

#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/engine.h"

enum { PIECES = 256 };

typedef struct { char *now, *before, *first; size_t bytes; bool scratch; } piece;

static piece all[PIECES];
static int pieces;
static vq_rng rng;
static bool seeded;

static void *memory(size_t bytes)
{
	void *p = memalign(16, bytes ? bytes : 1);
	if (!p)
		abort();
	return p;
}

static piece *new_piece(size_t bytes)
{
	if (pieces == PIECES)
		abort();
	piece *p = &all[pieces++];
	*p = (piece){ .now = memory(bytes), .bytes = bytes };
	memset(p->now, 0xff, bytes);
	return p;
}

double *cudatest_doubles(size_t n)
{
	double *p = (double *)new_piece(sizeof *p * n)->now;
	memset(p, 0, sizeof *p * n);
	return p;
}

double *cudatest_noise(vq_dtype t, size_t n)
{
	if (!seeded)
		rng = vq_rng_make(11, 5);
	seeded = true;
	double *made = engine_noise(&rng, t, n), *p = cudatest_doubles(n);
	memcpy(p, made, sizeof *p * n);
	free(made);
	return p;
}

static size_t size_of(vq_dtype t) { return t == VQ_BF16 ? 2 : t == VQ_U8 ? 1 : 4; }

void *cudatest_memory(vq_dtype t, size_t n, const double *from)
{
	void *p = new_piece(size_of(t) * n)->now;
	for (size_t i = 0; i < n && from; i++)
		if (t == VQ_BF16)
			((uint16_t *)p)[i] = vq_f32_to_bf16((float)from[i]);
		else if (t == VQ_I32)
			((int32_t *)p)[i] = (int32_t)from[i];
		else
			((float *)p)[i] = (float)from[i];
	return p;
}

void *cudatest_scratch(size_t bytes)
{
	piece *p = new_piece(bytes);
	p->scratch = true;
	return p->now;
}

double cudatest_element(vq_dtype t, const void *p, size_t i)
{
	return t == VQ_BF16 ? (double)vq_bf16_to_f32(((const uint16_t *)p)[i]) : t == VQ_I32 ? ((const int32_t *)p)[i] : (double)((const float *)p)[i];
}

double cudatest_error(vq_dtype t, size_t n, const void *got, const double *want)
{
	double top = 1e-3, error = 0;
	for (size_t i = 0; i < n; i++) {
		double off = fabs(cudatest_element(t, got, i) - want[i]);
		top = fmax(top, fabs(want[i]));
		error = off < INFINITY ? fmax(error, off) : INFINITY;
	}
	return error / top;
}

void cudatest_end(void)
{
	for (int i = 0; i < pieces; i++) {
		free(all[i].now);
		free(all[i].before);
		free(all[i].first);
	}
	pieces = 0;
	seeded = false;
}

void cudatest_order(unsigned order)
{
	for (int i = 0; i < pieces; i++) {
		piece *p = &all[i];
		if (p->scratch) {
			memset(p->now, 0xff, p->bytes);
			continue;
		}
		if (!order) {
			free(p->before);
			p->before = memcpy(memory(p->bytes), p->now, p->bytes);
		}
		memcpy(p->now, p->before, p->bytes);
	}
	vq_emulate_order(order);
}

const char *cudatest_agree(unsigned order)
{
	for (int i = 0; i < pieces; i++) {
		piece *p = &all[i];
		if (p->scratch)
			continue;
		if (!order) {
			free(p->first);
			p->first = memcpy(memory(p->bytes), p->now, p->bytes);
		} else if (memcmp(p->first, p->now, p->bytes)) {
			return "other bytes than in the first order";
		}
	}
	return NULL;
}

/* --- grids --------------------------------------------------------------------------------------------------------- */

static const vq_place packed[3] = { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 0, 5, 0, 4, 9 }, { 0, 5, 0, 4, 9 } }, { { 1, 2, 3, 1, 1 }, { 1, 2, 3, 0, 0 } } };
static const vq_place hollow[1] = { { { 1, 2, 3, 5, 4 }, { 1, 2, 3, 0, 0 } } };
static const vq_place one[1] = { { { 0, 0, 0, 1, 1 }, { 0, 0, 0, 1, 1 } } };
static const vq_place large[4] = { { { 0, 0, 0, 20, 31 }, { 0, 0, 1, 20, 29 } }, { { 1, 1, 0, 9, 31 }, { 1, 1, 0, 9, 31 } }, { { 1, 11, 5, 9, 7 }, { 1, 12, 5, 1, 7 } },
	{ { 2, 0, 30, 20, 1 }, { 2, 0, 30, 20, 1 } } };

static const struct { int n, h, w, items_max, items; const vq_place *places; } made[CUDATEST_GRIDS] = {
	[CUDATEST_PACKED] = { 2, 9, 10, 3, 3, packed }, [CUDATEST_EMPTY] = { 2, 9, 10, 3, 0, packed }, [CUDATEST_HOLLOW] = { 2, 9, 10, 3, 1, hollow },
	[CUDATEST_ONE] = { 1, 1, 1, 1, 1, one }, [CUDATEST_LARGE] = { 3, 20, 31, 5, 4, large }, [CUDATEST_LIST] = { 40, 1, 1, 40, 33, NULL },
};

vq_cuda_step cudatest_step(cudatest_kind kind)
{
	vq_cuda_step s = { .seed = 77, .step = 4, .items = made[kind].items, .lr = .01f, .c1 = 1, .c2 = 1 };
	for (int i = 0; i < VQ_SCALES; i++)
		s.scale[i] = .5f + (float)i;
	return s;
}

vq_cuda_grid cudatest_unmarked(cudatest_kind kind)
{
	vq_cuda_grid g = { .n = made[kind].n, .h = made[kind].h, .w = made[kind].w, .items_max = made[kind].items_max };
	vq_cuda_step s = cudatest_step(kind);
	if (made[kind].places) { /* only what the step's items say may be read */
		g.places = (vq_place *)new_piece(sizeof *g.places * (size_t)s.items)->now;
		memcpy(g.places, made[kind].places, sizeof *g.places * (size_t)s.items);
	}
	g.mark = cudatest_memory(VQ_U8, cudatest_rows(g), NULL);
	g.count = (int64_t *)new_piece(2 * sizeof *g.count)->now;
	return g;
}

size_t cudatest_rows(vq_cuda_grid g) { return (size_t)g.n * (size_t)g.h * (size_t)g.w; }
