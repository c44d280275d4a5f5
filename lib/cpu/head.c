/* The last convolution of a decoder and its gradient by weights: 3x3 from 16 channels to at most 4, which a matrix product of the usual
 * shape would leave mostly empty. With bf16 dot products over the pairs of channels, or of neighbouring pixels for the gradient. */
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/cpu.h"

enum { CHANNELS = 16, OUTS = 4, TAPS = 9, AHEAD = 40 /* pixels that loops may run over a row's end */ };

bool cpu_head_takes(const cpu_backend *b, const vq_value *src, const vq_value *dst, const cpu_conv *r)
{
	if (b->level < 5 || b->conv == CPU_CONV_DIRECT || b->conv == CPU_CONV_STRIP || r->k != 3 || r->s != 1 || r->p != 1 || src->c != CHANNELS || dst->c > OUTS || src->dtype != VQ_BF16)
		return false;
	return r->kind == CPU_FORWARD ? dst->dtype == VQ_F32 && !r->relu && !r->sum : r->kind == CPU_BY_WEIGHT && dst->dtype == VQ_BF16;
}

/* A thread's: three rows of the input between empty pixels, dy by channels, sums of products and of dy. */
typedef struct {
	uint16_t *row[3], *plane[OUTS];
	float (*dw)[CHANNELS], *db; /* [OUTS * TAPS][CHANNELS] */
} buffers;

static size_t row_size(int w) { return VQ_ALIGN((size_t)(w + AHEAD) * CHANNELS, (size_t)32); }
static size_t plane_size(int w) { return VQ_ALIGN((size_t)(w + AHEAD), (size_t)32); }

static size_t buffers_bytes(int w)
{
	return sizeof(uint16_t) * (3 * row_size(w) + OUTS * plane_size(w)) + sizeof(float) * (OUTS * TAPS * CHANNELS + 16);
}

static buffers buffers_at(char *at, int w)
{
	buffers b;
	for (int i = 0; i < 3; i++, at += sizeof(uint16_t) * row_size(w))
		b.row[i] = (uint16_t *)at;
	for (int i = 0; i < OUTS; i++, at += sizeof(uint16_t) * plane_size(w))
		b.plane[i] = (uint16_t *)at;
	b.dw = (float (*)[CHANNELS])at;
	b.db = &b.dw[OUTS * TAPS][0];
	return b;
}

vq_status cpu_head_prepare(vq_plan *p, const cpu_conv *r, cpu_node *c)
{
	c->head = true;
	strcpy(c->impl, "head:avx512_bf16");
	static const char who[] = "head";
	const vq_value *w = cpu_v(p, r->w);
	if (r->kind == CPU_FORWARD)
		VQ_TRY(cpu_layout_get(p->s, &(cpu_form){ .where = w->where, .param = w->param, .who = who }, sizeof(uint16_t) * 32 * TAPS * OUTS, &c->w.at));
	return cpu_scratch(p, (size_t)p->b->b.threads * buffers_bytes(cpu_v(p, r->src)->w));
}

/* Rows y-1, y and y+1 of an image to row[(y+2)%3], row[y%3] and row[(y+1)%3]; first: none of them is there yet. */
static void fill_rows(buffers *b, const uint16_t *image, int h, int w, int y, bool first)
{
	size_t size = (size_t)w * CHANNELS;
	for (int i = first ? y - 1 : y + 1; i <= y + 1; i++) {
		uint16_t *to = b->row[(i + 3) % 3];
		if (first)
			memset(to, 0, sizeof *to * row_size(w));
		if (i >= 0 && i < h)
			memcpy(to + CHANNELS, image + (size_t)i * size, sizeof *to * size);
		else
			memset(to + CHANNELS, 0, sizeof *to * size);
	}
}

#if defined __x86_64__
#include <immintrin.h>
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#define INLINE static inline __attribute__((always_inline))

/* A tap's weights for two pixels side by side, [tap][out][2][16]. */
static void pack_weights(const float *w, int outs, uint16_t *to)
{
	for (int t = 0; t < TAPS; t++)
		for (int o = 0; o < OUTS; o++)
			for (int i = 0; i < 2 * CHANNELS; i++)
				to[(t * OUTS + o) * 32 + i] = o < outs ? vq_f32_to_bf16(w[(o * CHANNELS + i % CHANNELS) * TAPS + t]) : 0;
}

#define bf16x32(v) ((__m512bh)(v))

/* The sums over the 8 lanes of each pixel: outs 0 to 3 of the first pixel in the lowest quarter, of the second in the third. */
INLINE __m512 gather_sums(__m512 a, __m512 b, __m512 c, __m512 d)
{
	__m512 x = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)), y = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
	__m512d xd = _mm512_castps_pd(x), yd = _mm512_castps_pd(y);
	__m512 s = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(xd, yd)), _mm512_castpd_ps(_mm512_unpackhi_pd(xd, yd)));
	return _mm512_add_ps(s, _mm512_shuffle_f32x4(s, s, 0xb1));
}

INLINE void forward_row(const buffers *b, const uint16_t *w, int outs, int width, int y, __m128 bias, float *to)
{
	enum { PAIRS = 4 };
	for (int x = 0; x < width; x += 2 * PAIRS) {
		__m512 s[PAIRS][OUTS];
		for (int i = 0; i < PAIRS; i++)
			for (int o = 0; o < OUTS; o++)
				s[i][o] = _mm512_setzero_ps();
		for (int t = 0; t < TAPS; t++) {
			const uint16_t *at = b->row[(y + t / 3 + 2) % 3] + (size_t)(x + t % 3) * CHANNELS;
			for (int i = 0; i < PAIRS; i++) {
				__m512i v = _mm512_loadu_si512(at + 2 * i * CHANNELS);
				for (int o = 0; o < outs; o++)
					s[i][o] = _mm512_dpbf16_ps(s[i][o], bf16x32(v), bf16x32(_mm512_load_si512(w + (t * OUTS + o) * 32)));
			}
		}
		for (int i = 0; i < PAIRS; i++) {
			__m512 sum = gather_sums(s[i][0], s[i][1], s[i][2], s[i][3]);
			float four[2][4];
			_mm_storeu_ps(four[0], _mm_add_ps(bias, _mm512_castps512_ps128(sum)));
			_mm_storeu_ps(four[1], _mm_add_ps(bias, _mm512_extractf32x4_ps(sum, 2)));
			for (int j = 0; j < 2 && x + 2 * i + j < width; j++)
				for (int o = 0; o < outs; o++)
					to[(size_t)(x + 2 * i + j) * (size_t)outs + (size_t)o] = four[j][o];
		}
	}
}

static void forward_rows(const vq_value *src, const uint16_t *x, const uint16_t *w, const float *bias, int outs, size_t from, size_t to, buffers *b, float *y)
{
	float four[4] = { 0 };
	for (int o = 0; o < outs && bias; o++)
		four[o] = bias[o];
	__m128 add = _mm_loadu_ps(four);
	for (size_t i = from; i < to; i++) {
		int row = (int)(i % (size_t)src->h);
		float *out = y + i * (size_t)src->w * (size_t)outs;
		fill_rows(b, x + i / (size_t)src->h * (size_t)src->h * (size_t)src->w * CHANNELS, src->h, src->w, row, i == from || row == 0);
		switch (outs) {
		case 1: forward_row(b, w, 1, src->w, row, add, out); break;
		case 2: forward_row(b, w, 2, src->w, row, add, out); break;
		case 3: forward_row(b, w, 3, src->w, row, add, out); break;
		default: forward_row(b, w, 4, src->w, row, add, out); break;
		}
	}
}

/* dw of outs o and, where two, o + 1: pairs of pixels side by side. */
INLINE void weight_row(buffers *b, int o, int two, int width, int y)
{
	const __m512i apart = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
	__m512 s[2][TAPS];
	for (int t = 0; t < TAPS; t++)
		s[0][t] = s[1][t] = _mm512_setzero_ps();
	for (int x = 0; x < width; x += 2) {
		int32_t pair[2];
		memcpy(&pair[0], b->plane[o] + x, sizeof pair[0]);
		memcpy(&pair[1], b->plane[o + two - 1] + x, sizeof pair[1]);
		__m512i g0 = _mm512_set1_epi32(pair[0]), g1 = _mm512_set1_epi32(pair[1]);
		for (int t = 0; t < TAPS; t++) {
			__m512i v = _mm512_permutexvar_epi16(apart, _mm512_loadu_si512(b->row[(y + t / 3 + 2) % 3] + (size_t)(x + t % 3) * CHANNELS));
			s[0][t] = _mm512_dpbf16_ps(s[0][t], bf16x32(v), bf16x32(g0));
			if (two == 2)
				s[1][t] = _mm512_dpbf16_ps(s[1][t], bf16x32(v), bf16x32(g1));
		}
	}
	for (int e = 0; e < two; e++)
		for (int t = 0; t < TAPS; t++) {
			float *to = b->dw[(o + e) * TAPS + t];
			_mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), s[e][t]));
		}
}

static void weight_rows(const vq_value *src, const uint16_t *x, const uint16_t *dy, int outs, size_t from, size_t to, buffers *b)
{
	const __m512i ones = _mm512_set1_epi16(0x3f80);
	memset(b->dw, 0, sizeof(float) * (OUTS * TAPS * CHANNELS + 16));
	memset(b->plane[0], 0, sizeof(uint16_t) * OUTS * plane_size(src->w));
	for (size_t i = from; i < to; i++) {
		int row = (int)(i % (size_t)src->h);
		const uint16_t *g = dy + i * (size_t)src->w * (size_t)outs;
		fill_rows(b, x + i / (size_t)src->h * (size_t)src->h * (size_t)src->w * CHANNELS, src->h, src->w, row, i == from || row == 0);
		for (int o = 0; o < outs; o++) {
			__m512 s = _mm512_setzero_ps();
			for (int j = 0; j < src->w; j++)
				b->plane[o][j] = g[j * outs + o];
			for (int j = 0; j < src->w; j += 32)
				s = _mm512_dpbf16_ps(s, bf16x32(_mm512_loadu_si512(b->plane[o] + j)), bf16x32(ones));
			b->db[o] += _mm512_reduce_add_ps(s);
		}
		for (int o = 0; o < outs; o += 2)
			if (outs - o > 1)
				weight_row(b, o, 2, src->w, row);
			else
				weight_row(b, o, 1, src->w, row);
	}
}
#pragma GCC pop_options
#else
static void pack_weights(const float *w, int outs, uint16_t *to) {}
static void forward_rows(const vq_value *src, const uint16_t *x, const uint16_t *w, const float *bias, int outs, size_t from, size_t to, buffers *b, float *y) {}
static void weight_rows(const vq_value *src, const uint16_t *x, const uint16_t *dy, int outs, size_t from, size_t to, buffers *b) {}
#endif

void cpu_head_run(vq_plan *p, const cpu_conv *r, cpu_node *c)
{
	const vq_value *src = cpu_v(p, r->src), *dst = cpu_v(p, r->dst);
	size_t rows = (size_t)src->n * (size_t)src->h, apart = buffers_bytes(src->w);
	int threads = p->b->b.threads;
	if (c->w.at->version != p->s->version)
		pack_weights(cpu_at(p, r->w), dst->c, c->w.at->bytes);
	c->w.at->version = p->s->version;
#pragma omp parallel for schedule(static, 1) num_threads(threads)
	for (int i = 0; i < threads; i++) {
		buffers b = buffers_at(p->scratch + apart * (size_t)i, src->w);
		forward_rows(src, cpu_at(p, r->src), c->w.at->bytes, cpu_at(p, r->bias), dst->c, rows * (size_t)i / (size_t)threads, rows * (size_t)(i + 1) / (size_t)threads, &b,
			cpu_at(p, r->dst));
	}
}

void cpu_head_weight_run(vq_plan *p, const cpu_conv *r, cpu_node *c, float *db)
{
	const vq_value *src = cpu_v(p, r->src), *dst = cpu_v(p, r->dst);
	size_t rows = (size_t)src->n * (size_t)src->h, apart = buffers_bytes(src->w);
	int threads = p->b->b.threads;
	float *dw = cpu_at(p, r->w);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
	for (int i = 0; i < threads; i++) {
		buffers b = buffers_at(p->scratch + apart * (size_t)i, src->w);
		weight_rows(src, cpu_at(p, r->src), cpu_at(p, r->dst), dst->c, rows * (size_t)i / (size_t)threads, rows * (size_t)(i + 1) / (size_t)threads, &b);
	}
	for (int i = 0; i < threads; i++) {
		buffers b = buffers_at(p->scratch + apart * (size_t)i, src->w);
		for (int o = 0; o < dst->c; o++) {
			for (int k = 0; k < TAPS * CHANNELS; k++)
				dw[(o * CHANNELS + k % CHANNELS) * TAPS + k / CHANNELS] += b.dw[o * TAPS + k / CHANNELS][k % CHANNELS];
			if (db)
				db[o] += b.db[o];
		}
	}
}
