/* See gather.h. */
#include "lib/cpu/gather.h"

#if defined __x86_64__
#include <immintrin.h>
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16, CHUNK = 256 /* positions that a gradient takes at a time */ };

INLINE __m512bh halves(__m512i v) { return (__m512bh)v; }

/* Words of two bf16: lane i of `low` beside lane i of `high`. */
INLINE __m512i pairs(__m512 low, __m512 high)
{
	const __m512i apart = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
	return _mm512_permutexvar_epi16(apart, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* Rows to columns. */
INLINE void transpose(__m512i r[LANES])
{
	__m512i t[LANES];
	for (int i = 0; i < LANES; i += 2) {
		t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
	}
	for (int i = 0; i < LANES; i += 4)
		for (int j = 0; j < 2; j++) {
			r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
			r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
		}
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < 2; j++) {
			t[8 * j + i] = _mm512_shuffle_i32x4(r[8 * j + i], r[8 * j + i + 4], 0x88);
			t[8 * j + i + 4] = _mm512_shuffle_i32x4(r[8 * j + i], r[8 * j + i + 4], 0xdd);
		}
	for (int i = 0; i < 8; i++) {
		r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
		r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
	}
}

/* --- weights to panels: [panel][tap][k / 2][column], words of two k ------------------------------------------------- */

INLINE uint16_t *word_at(uint16_t *u, int k, int n, int taps, int tap, int pair, int column)
{
	int width = gather_width(n);
	return u + 2 * ((((size_t)(column / width) * (size_t)taps + (size_t)tap) * (size_t)(k / 2) + (size_t)pair) * (size_t)width + (size_t)(column % width));
}

/* 16 k of 16 columns; the weights of a column are k * taps in a row. */
static void pack_block(const float *w, int k, int n, int taps, int k0, int n0, uint16_t *u)
{
	float column[GATHER_TAPS * LANES][LANES] __attribute__((aligned(64)));
	for (int at = 0; at < taps * LANES; at += LANES) {
		__m512i r[LANES];
		for (int l = 0; l < LANES; l++)
			r[l] = _mm512_loadu_si512(w + ((size_t)(n0 + l) * (size_t)k + (size_t)k0) * (size_t)taps + at);
		transpose(r);
		for (int l = 0; l < LANES; l++)
			_mm512_store_si512(column[at + l], r[l]);
	}
	for (int t = 0; t < taps; t++)
		for (int e = 0; e < LANES; e += 2)
			_mm512_storeu_si512(word_at(u, k, n, taps, t, (k0 + e) / 2, n0), pairs(_mm512_load_ps(column[e * taps + t]), _mm512_load_ps(column[(e + 1) * taps + t])));
}

/* The taps of 16 columns at one k, a vector each. */
INLINE void turned_taps(const float *w, int n, int taps, int k, int n0, __m512i r[LANES])
{
	const float *at = w + ((size_t)k * (size_t)n + (size_t)n0) * (size_t)taps;
	__mmask16 m = (__mmask16)((1u << taps) - 1);
	if (taps == 1) {
		r[0] = _mm512_loadu_si512(at);
		return;
	}
	for (int l = 0; l < LANES; l++)
		r[l] = _mm512_maskz_loadu_epi32(m, at + l * taps);
	transpose(r);
}

static void pack_block_turned(const float *w, int k, int n, int taps, int k0, int n0, uint16_t *u)
{
	for (int e = 0; e < LANES; e += 2) {
		__m512i low[LANES], high[LANES];
		turned_taps(w, n, taps, k0 + e, n0, low);
		turned_taps(w, n, taps, k0 + e + 1, n0, high);
		for (int t = 0; t < taps; t++)
			_mm512_storeu_si512(word_at(u, k, n, taps, t, (k0 + e) / 2, n0), pairs((__m512)low[t], (__m512)high[t]));
	}
}

void gather_pack(const float *w, int k, int n, int taps, bool turned, size_t from, size_t to, uint16_t *u)
{
	for (size_t i = from; i < to; i++) {
		int k0 = (int)(i % (size_t)(k / LANES)) * LANES, n0 = (int)(i / (size_t)(k / LANES)) * LANES;
		(turned ? pack_block_turned : pack_block)(w, k, n, taps, k0, n0, u);
	}
}

/* --- the product ----------------------------------------------------------------------------------------------------- */

INLINE void put(const gather_conv *c, size_t at, int column, __m512 s)
{
	uint16_t *h = (uint16_t *)c->y + at;
	float *f = (float *)c->y + at;
	if (c->bias)
		s = _mm512_add_ps(s, _mm512_loadu_ps(c->bias + column));
	if (c->sum)
		s = _mm512_add_ps(s, c->to == VQ_F32 ? _mm512_loadu_ps(f) : (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)h)), 16));
	if (c->relu)
		s = _mm512_max_ps(s, _mm512_setzero_ps());
	if (c->to == VQ_F32)
		_mm512_storeu_ps(f, s);
	else
		_mm256_storeu_si256((__m256i *)h, (__m256i)_mm512_cvtneps_pbh(s));
}

/* Rows past the last are computed as if they were the last. */
INLINE void block(const gather_conv *c, const gather_class *g, int panel, int from, int rows, int wide)
{
	__m512 s[GATHER_ROWS][4];
	for (int r = 0; r < rows; r++)
		for (int j = 0; j < wide; j++)
			s[r][j] = _mm512_setzero_ps();
	for (int t = 0; t < g->taps; t++) {
		const uint16_t *a[GATHER_ROWS], *b = c->u + 2 * ((size_t)panel * (size_t)c->taps + (size_t)g->tap[t]) * (size_t)(c->k / 2) * (size_t)(wide * LANES);
		bool any = false;
		for (int r = 0; r < rows; r++) {
			int32_t at = g->in[(size_t)VQ_MIN(from + r, g->rows - 1) * (size_t)g->taps + (size_t)t];
			a[r] = at < 0 ? c->zeros : c->x + at;
			any |= at >= 0;
		}
		for (int k = 0; k < c->k && any; k += 2, b += 2 * wide * LANES) {
			__m512bh e[4];
			for (int j = 0; j < wide; j++)
				e[j] = halves(_mm512_loadu_si512(b + 2 * j * LANES));
			for (int r = 0; r < rows; r++) {
				__m512bh v = halves(_mm512_castps_si512(_mm512_set1_ps(*(const float __attribute__((may_alias)) *)(a[r] + k))));
				for (int j = 0; j < wide; j++)
					s[r][j] = _mm512_dpbf16_ps(s[r][j], v, e[j]);
			}
		}
	}
	for (int r = 0; r < rows && from + r < g->rows; r++)
		for (int j = 0; j < wide; j++) {
			int column = (panel * wide + j) * LANES;
			put(c, (size_t)g->out[from + r] * (size_t)c->n + (size_t)column, column, s[r][j]);
		}
}

void gather_run(const gather_conv *c, const gather_class *g, int panel, int from)
{
	if (c->n % 64)
		block(c, g, panel, from, 12, 2);
	else
		block(c, g, panel, from, 6, 4);
}

/* --- the gradient by weights ----------------------------------------------------------------------------------------- */

/* Words of a chunk: [pair of positions][(k - from) * taps + tap], and [pair][n]. The stores of 16 that hold fewer need room behind. */
size_t gather_grad_scratch(int width, int n, int taps)
{
	return sizeof(uint32_t) * (CHUNK / 2 * ((size_t)width * (size_t)taps + (size_t)n) + LANES);
}

INLINE __m512i beside(const uint16_t *low, const uint16_t *high)
{
	return _mm512_or_si512(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)low)),
		_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)high)), 16));
}

static void columns_of(const gather_grad *g, int m, int from, int to, uint32_t *out)
{
	const uint16_t *a[2][GATHER_TAPS];
	for (int e = 0; e < 2; e++)
		for (int t = 0; t < g->taps; t++) {
			int32_t at = m + e < g->positions ? g->in[(size_t)(m + e) * (size_t)g->taps + (size_t)t] : -1;
			a[e][t] = at < 0 ? g->zeros : g->x + at;
		}
	for (int k = from; k < to; k += LANES, out += LANES * g->taps) {
		__m512i r[LANES];
		for (int t = 0; t < LANES; t++)
			r[t] = t < g->taps ? beside(a[0][t] + k, a[1][t] + k) : _mm512_setzero_si512();
		if (g->taps > 1)
			transpose(r);
		for (int l = 0; l < (g->taps > 1 ? LANES : 1); l++)
			_mm512_storeu_si512(out + l * g->taps, r[l]);
	}
}

/* dw of `rows` outputs and wide * 16 columns. */
INLINE void add_product(const uint32_t *a, size_t along_a, const uint32_t *b, size_t along_b, int steps, float *dw, size_t apart, int rows, int wide)
{
	__m512 s[6][4];
	for (int r = 0; r < rows; r++)
		for (int j = 0; j < wide; j++)
			s[r][j] = _mm512_setzero_ps();
	for (int m = 0; m < steps; m++, a += along_a, b += along_b) {
		__m512bh e[4];
		for (int j = 0; j < wide; j++)
			e[j] = halves(_mm512_loadu_si512(b + j * LANES));
		for (int r = 0; r < rows; r++) {
			__m512bh v = halves(_mm512_set1_epi32((int)a[r]));
			for (int j = 0; j < wide; j++)
				s[r][j] = _mm512_dpbf16_ps(s[r][j], v, e[j]);
		}
	}
	for (int r = 0; r < rows; r++)
		for (int j = 0; j < wide; j++) {
			float *to = dw + (size_t)r * apart + j * LANES;
			_mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), s[r][j]));
		}
}

static void add_rows(int rows, const uint32_t *a, size_t along_a, const uint32_t *b, size_t along_b, int steps, float *dw, size_t apart, int wide)
{
	if (wide == 4)
		rows == 6 ? add_product(a, along_a, b, along_b, steps, dw, apart, 6, 4) : rows == 4 ? add_product(a, along_a, b, along_b, steps, dw, apart, 4, 4) :
			add_product(a, along_a, b, along_b, steps, dw, apart, 2, 4);
	else
		rows == 6 ? add_product(a, along_a, b, along_b, steps, dw, apart, 6, 2) : rows == 4 ? add_product(a, along_a, b, along_b, steps, dw, apart, 4, 2) :
			add_product(a, along_a, b, along_b, steps, dw, apart, 2, 2);
}

void gather_weight(const gather_grad *g, int from, int to, int n_from, int n_to, void *scratch)
{
	size_t n = (size_t)(n_to - n_from), columns = (size_t)(to - from) * (size_t)g->taps, apart = (size_t)g->k * (size_t)g->taps;
	uint32_t *dy = scratch, *x = dy + CHUNK / 2 * n;
	for (int m0 = 0; m0 < g->positions; m0 += CHUNK) {
		int steps = (VQ_MIN(g->positions - m0, CHUNK) + 1) / 2;
		for (int i = 0; i < steps; i++) {
			int m = m0 + 2 * i;
			const uint16_t *low = g->dy + (size_t)m * (size_t)g->n + n_from, *high = m + 1 < g->positions ? low + g->n : g->zeros;
			for (size_t o = 0; o < n; o += LANES)
				_mm512_storeu_si512(dy + (size_t)i * n + o, beside(low + o, high + o));
			columns_of(g, m, from, to, x + (size_t)i * columns);
		}
		for (size_t j = 0; j < columns; j += 4 * LANES) {
			int wide = columns - j < 4 * LANES ? 2 : 4;
			for (size_t o = 0, rows; o < n; o += rows) {
				rows = VQ_MIN(n - o, (size_t)6);
				add_rows((int)rows, dy + o, n, x + j, columns, steps, g->dw + (n_from + o) * apart + (size_t)from * (size_t)g->taps + j, apart, wide);
			}
		}
	}
}
#pragma GCC pop_options
#else
void gather_pack(const float *w, int k, int n, int taps, bool turned, size_t from, size_t to, uint16_t *u) {}
void gather_run(const gather_conv *c, const gather_class *g, int panel, int from) {}
size_t gather_grad_scratch(int width, int n, int taps) { return 0; }
void gather_weight(const gather_grad *g, int from, int to, int n_from, int n_to, void *scratch) {}
#endif
