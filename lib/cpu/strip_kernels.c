/* See strip.h. Compiled several times with LEVEL naming the table and -march chosen by the Makefile. */
#include "lib/cpu/strip.h"

#include <string.h>

#include "lib/cpu/lanes.inc.h"

#define TABLE JOIN(N(strip), LEVEL)

enum { ROWS = 4 /* of outputs that share a copy of their inputs */, AHEAD = 1 /* values that an odd run's last word may hold over the end */ };

/* Words of a kernel's row; of an odd number of bf16, the last word's other half meets a weight of 0. */
INLINE size_t words(int c, int k) { return ((size_t)c * (size_t)k + N(PAIR) - 1) / N(PAIR); }

/* --- weights: [panel][kernel row][word][channel of the panel] ------------------------------------------------------------- */

static size_t bytes(int c, int n, int k) { return sizeof(float) * words(c, k) * (size_t)k * (size_t)n; }

static void pack(const float *w, int c, int n, int k, void *u)
{
	int width = panel_of(n), run = c * k;
	T *out = u;
	for (int n0 = 0; n0 < n; n0 += width)
		for (int ky = 0; ky < k; ky++)
			for (size_t i = 0; i < words(c, k); i++)
				for (int j = 0; j < width; j++)
					for (int e = 0; e < N(PAIR); e++) {
						int at = (int)i * N(PAIR) + e;
						*out++ = N(narrow)(at < run ? w[(((size_t)(n0 + j) * (size_t)c + (size_t)(at % c)) * (size_t)k + (size_t)ky) * (size_t)k + (size_t)(at / c)] : 0);
					}
}

/* --- the product --------------------------------------------------------------------------------------------------------- */

INLINE void finish(const strip_conv *a, size_t at, int channel, lanes s)
{
	T *same = (T *)a->y + at;
	float *f = (float *)a->y + at;
	if (a->bias)
		s += load(a->bias + channel);
	if (a->sum)
		s += a->to == VQ_F32 ? (lanes)load(f) : N(whole)(same);
	if (a->relu)
		s = relu_of(s);
	if (a->to == VQ_F32)
		store(f, s);
	else
		N(put)(same, s);
}

/* `count` outputs side by side from `out` on (the number of their position); x: where the first one's inputs start, the rows of them `row` apart. */
INLINE void product(const strip_conv *a, int count, int wide, const T *x, size_t row, const float *u, int n0, size_t out)
{
	lanes s[12][4];
	size_t along = (size_t)a->s * (size_t)a->c, steps = words(a->c, a->k);
	for (int i = 0; i < count; i++)
		for (int j = 0; j < wide; j++)
			s[i][j] = (lanes){0};
	for (int ky = 0; ky < a->k; ky++, x += row)
		for (size_t q = 0; q < steps; q++, u += wide * LANES) {
			lanes e[4];
			for (int j = 0; j < wide; j++)
				e[j] = load(u + j * LANES);
			for (int i = 0; i < count; i++)
				for (int j = 0; j < wide; j++)
					s[i][j] = N(times)(s[i][j], (const word_at *)(x + (size_t)i * along + q * N(PAIR)), e[j]);
		}
	for (int i = 0; i < count; i++)
		for (int j = 0; j < wide; j++)
			finish(a, (out + (size_t)i) * (size_t)a->n + (size_t)(n0 + j * LANES), n0 + j * LANES, s[i][j]);
}

/* As many at a time as keep their sums in registers. */
#define MOST(wide) (LANES == 16 ? (wide) == 4 ? 6 : 12 : (wide) == 2 ? 6 : 12)

INLINE void outputs(const strip_conv *a, int wide, const T *x, size_t row, const float *u, int n0, size_t out, int count)
{
	size_t along = (size_t)a->s * (size_t)a->c;
	int i = 0;
	for (; i + MOST(wide) <= count; i += MOST(wide))
		product(a, MOST(wide), wide, x + (size_t)i * along, row, u, n0, out + (size_t)i);
	for (; i + 4 <= count; i += 4)
		product(a, 4, wide, x + (size_t)i * along, row, u, n0, out + (size_t)i);
	for (; i + 2 <= count; i += 2)
		product(a, 2, wide, x + (size_t)i * along, row, u, n0, out + (size_t)i);
	if (i < count)
		product(a, 1, wide, x + (size_t)i * along, row, u, n0, out + (size_t)i);
}

static void some(const strip_conv *a, const T *x, size_t row, int n0, size_t out, int count)
{
	int width = panel_of(a->n);
	const float *u = (const float *)a->u + (size_t)n0 * words(a->c, a->k) * (size_t)a->k;
	if (width == 4 * LANES)
		outputs(a, 4, x, row, u, n0, out, count);
	else if (width == 2 * LANES)
		outputs(a, 2, x, row, u, n0, out, count);
	else
		outputs(a, 1, x, row, u, n0, out, count);
}

/* --- strips -------------------------------------------------------------------------------------------------------------- */

static size_t row_size(const strip_conv *a) { return (size_t)(VQ_MAX(a->w + a->p, (a->ow - 1) * a->s + a->k)) * (size_t)a->c; }

static size_t scratch(const strip_conv *a) { return sizeof(T) * (row_size(a) * (size_t)((ROWS - 1) * a->s + a->k) + AHEAD); }

/* Rows y0, ... of an image, with its border of zeros. */
static void copy(const strip_conv *a, const T *image, int y0, int rows, T *to)
{
	size_t row = row_size(a), before = (size_t)a->p * (size_t)a->c, in = (size_t)a->w * (size_t)a->c;
	for (int i = 0; i < rows; i++, to += row) {
		if (y0 + i < 0 || y0 + i >= a->h) {
			memset(to, 0, sizeof *to * row);
			continue;
		}
		memset(to, 0, sizeof *to * before);
		memcpy(to + before, image + (size_t)(y0 + i) * in, sizeof *to * in);
		memset(to + before + in, 0, sizeof *to * (row - before - in));
	}
	memset(to, 0, sizeof *to * AHEAD);
}

static void run(const strip_conv *a, size_t from, size_t to, void *strip)
{
	size_t row = row_size(a), oh = (size_t)a->oh, ow = (size_t)a->ow, image = (size_t)a->h * (size_t)a->w * (size_t)a->c;
	if (a->k == 1 && a->s == 1 && a->p == 0 && a->c % N(PAIR) == 0) {
		for (int n0 = 0; n0 < a->n; n0 += panel_of(a->n))
			some(a, (const T *)a->x + from * ow * (size_t)a->c, 0, n0, from * ow, (int)((to - from) * ow));
		return;
	}
	for (size_t r = from, rows; r < to; r += rows) {
		size_t y = r % oh;
		rows = VQ_MIN(VQ_MIN(to - r, oh - y), (size_t)ROWS);
		copy(a, (const T *)a->x + r / oh * image, (int)y * a->s - a->p, ((int)rows - 1) * a->s + a->k, strip);
		for (int n0 = 0; n0 < a->n; n0 += panel_of(a->n))
			for (size_t i = 0; i < rows; i++)
				some(a, (const T *)strip + i * (size_t)a->s * row, row, n0, (r + i) * ow, a->ow);
	}
}

extern const strip_kernels TABLE;
const strip_kernels TABLE = { ISA_NAME, bytes, pack, scratch, run };
