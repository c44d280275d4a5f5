/* See wino.h. Compiled several times with LEVEL naming the table and -march chosen by the Makefile. */
#include "lib/cpu/wino.h"

#include <string.h>

#include "lib/cpu/lanes.inc.h"

/* Tiles a block: what is in flight stays within half of a core's second cache at 64 channels. */
enum { BLOCK = 48, GRAD_BLOCK = 64, PAD = 16 };

/* --- transforms of 4x4 (or 3x3, 2x2) to 4x4 and back; arrays are row by row ---------------------------------------- */

/* B' d B */
INLINE void input_transform(const lanes d[16], lanes v[16])
{
	lanes t[16];
	for (int j = 0; j < 4; j++) {
		t[j] = d[j] - d[8 + j];
		t[4 + j] = d[4 + j] + d[8 + j];
		t[8 + j] = d[8 + j] - d[4 + j];
		t[12 + j] = d[4 + j] - d[12 + j];
	}
	for (int i = 0; i < 16; i += 4) {
		v[i] = t[i] - t[i + 2];
		v[i + 1] = t[i + 1] + t[i + 2];
		v[i + 2] = t[i + 2] - t[i + 1];
		v[i + 3] = t[i + 1] - t[i + 3];
	}
}

/* A' m A */
INLINE void output_transform(const lanes m[16], lanes y[4])
{
	lanes t[8];
	for (int j = 0; j < 4; j++) {
		t[j] = m[j] + m[4 + j] + m[8 + j];
		t[4 + j] = m[4 + j] - m[8 + j] - m[12 + j];
	}
	for (int i = 0; i < 2; i++) {
		y[2 * i] = t[4 * i] + t[4 * i + 1] + t[4 * i + 2];
		y[2 * i + 1] = t[4 * i + 1] - t[4 * i + 2] - t[4 * i + 3];
	}
}

/* A y A' */
INLINE void output_spread(const lanes y[4], lanes m[16])
{
	lanes t[8];
	for (int j = 0; j < 2; j++) {
		t[j] = y[j];
		t[2 + j] = y[j] + y[2 + j];
		t[4 + j] = y[j] - y[2 + j];
		t[6 + j] = -y[2 + j];
	}
	for (int i = 0; i < 4; i++) {
		m[4 * i] = t[2 * i];
		m[4 * i + 1] = t[2 * i] + t[2 * i + 1];
		m[4 * i + 2] = t[2 * i] - t[2 * i + 1];
		m[4 * i + 3] = -t[2 * i + 1];
	}
}

/* G g G' */
INLINE void filter_transform(const lanes g[9], lanes u[16])
{
	lanes t[12];
	for (int j = 0; j < 3; j++) {
		lanes s = (g[j] + g[6 + j]) * .5f, h = g[3 + j] * .5f;
		t[j] = g[j];
		t[3 + j] = s + h;
		t[6 + j] = s - h;
		t[9 + j] = g[6 + j];
	}
	for (int i = 0; i < 4; i++) {
		lanes s = (t[3 * i] + t[3 * i + 2]) * .5f, h = t[3 * i + 1] * .5f;
		u[4 * i] = t[3 * i];
		u[4 * i + 1] = s + h;
		u[4 * i + 2] = s - h;
		u[4 * i + 3] = t[3 * i + 2];
	}
}

/* G' u G */
INLINE void filter_gather(const lanes u[16], lanes g[9])
{
	lanes t[12];
	for (int j = 0; j < 4; j++) {
		lanes s = (u[4 + j] + u[8 + j]) * .5f;
		t[j] = u[j] + s;
		t[4 + j] = (u[4 + j] - u[8 + j]) * .5f;
		t[8 + j] = s + u[12 + j];
	}
	for (int i = 0; i < 3; i++) {
		lanes s = (t[4 * i + 1] + t[4 * i + 2]) * .5f;
		g[3 * i] = t[4 * i] + s;
		g[3 * i + 1] = (t[4 * i + 1] - t[4 * i + 2]) * .5f;
		g[3 * i + 2] = s + t[4 * i + 3];
	}
}

/* --- where a tile's pixels are ------------------------------------------------------------------------------------- */

typedef struct { int image, y, x, side; } tile; /* of the upper left output; of side x side of them */

INLINE tile tile_at(size_t t, int side, int h, int w)
{
	size_t tw = (size_t)((w + side - 1) / side), plane = tw * (size_t)((h + side - 1) / side), in = t % plane;
	return (tile){ (int)(t / plane), (int)(in / tw) * side, (int)(in % tw) * side, side };
}

INLINE void tile_next(tile *t, int h, int w)
{
	if ((t->x += t->side) < w)
		return;
	t->x = 0;
	if ((t->y += t->side) < h)
		return;
	t->y = 0;
	t->image++;
}

/* side x side pixels from (y0, x0); those outside are zeros. */
INLINE void pixels(const void *x, size_t pixel, const tile *t, int h, int w, int y0, int x0, int side, const void *zeros, const char **at)
{
	const char *base = (const char *)x + (size_t)t->image * (size_t)h * (size_t)w * pixel;
	if (y0 >= 0 && x0 >= 0 && y0 + side <= h && x0 + side <= w) {
		base += ((size_t)y0 * (size_t)w + (size_t)x0) * pixel;
		for (int i = 0; i < side; i++)
			for (int j = 0; j < side; j++)
				at[side * i + j] = base + (size_t)i * (size_t)w * pixel + (size_t)j * pixel;
		return;
	}
	for (int i = 0; i < side; i++)
		for (int j = 0; j < side; j++) {
			int a = y0 + i, b = x0 + j;
			at[side * i + j] = a >= 0 && a < h && b >= 0 && b < w ? base + ((size_t)a * (size_t)w + (size_t)b) * pixel : zeros;
		}
}

#define TABLE JOIN(N(wino), LEVEL)
#define HALF_TABLE JOIN(N(wino_half), LEVEL)
#include "lib/cpu/wino_typed.inc.h"
#include "lib/cpu/wino_half_typed.inc.h"
#if !defined __AVX512BF16__
#define QUAD_TABLE JOIN(wino_quad_f32, LEVEL)
#include "lib/cpu/wino_quad.inc.h"
#endif
