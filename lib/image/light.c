/* A cell's light: sums over the pixels of a plane under its mask. */
#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include <math.h>

#include "lib/image/crop.h"

/* Pixels of mask 1 and of mask 0, and the sums of the plane's pixels there. */
typedef struct { uint64_t ones, zeros, inside, outside; } sums;

#define ADD_INTEGERS(name, type) \
static void name(const type *p, const uint8_t *m, size_t n, sums *s) \
{ \
	for (size_t i = 0; i < n; i++) { \
		s->ones += m[i] == 1; \
		s->zeros += m[i] == 0; \
		s->inside += m[i] == 1 ? p[i] : 0u; \
		s->outside += m[i] == 0 ? p[i] : 0u; \
	} \
}
ADD_INTEGERS(add_u8, uint8_t)
ADD_INTEGERS(add_u16, uint16_t)

#ifdef __SSE2__
/* The sum of the bytes of v onto two 64-bit sums. */
static inline __m128i add_bytes(__m128i to, __m128i v) { return _mm_add_epi64(to, _mm_sad_epu8(v, _mm_setzero_si128())); }

static inline uint64_t both(__m128i v)
{
	uint64_t part[2];
	_mm_storeu_si128((__m128i *)(void *)part, v);
	return part[0] + part[1];
}

static inline __m128i load(const void *p) { return _mm_loadu_si128(p); }

/* One mask byte a pixel: -1 where it is 1 (or 0). The counts go to s. */
typedef struct { __m128i ones, zeros; } counts;
static inline void test(counts *c, const uint8_t *m, __m128i *one, __m128i *zero)
{
	const __m128i unit = _mm_set1_epi8(1);
	*one = _mm_cmpeq_epi8(load(m), unit);
	*zero = _mm_cmpeq_epi8(load(m), _mm_setzero_si128());
	c->ones = add_bytes(c->ones, _mm_and_si128(*one, unit));
	c->zeros = add_bytes(c->zeros, _mm_and_si128(*zero, unit));
}

static size_t add_u8_fast(const uint8_t *p, const uint8_t *m, size_t n, sums *s)
{
	__m128i one, zero, inside = _mm_setzero_si128(), outside = inside;
	counts c = { inside, inside };
	size_t i = 0;
	for (; i + 16 <= n; i += 16) {
		test(&c, m + i, &one, &zero);
		inside = add_bytes(inside, _mm_and_si128(load(p + i), one));
		outside = add_bytes(outside, _mm_and_si128(load(p + i), zero));
	}
	*s = (sums){ both(c.ones), both(c.zeros), both(inside), both(outside) };
	return i;
}

/* Sums of the pixels' lower bytes and of their upper ones, which count 256. */
typedef struct { __m128i low, high; } halves;
static inline void add_words(halves *to, __m128i v, __m128i w)
{
	const __m128i low = _mm_set1_epi16(0xff);
	to->low = add_bytes(to->low, _mm_packus_epi16(_mm_and_si128(v, low), _mm_and_si128(w, low)));
	to->high = add_bytes(to->high, _mm_packus_epi16(_mm_srli_epi16(v, 8), _mm_srli_epi16(w, 8)));
}

static size_t add_u16_fast(const uint16_t *p, const uint8_t *m, size_t n, sums *s)
{
	__m128i one, zero, none = _mm_setzero_si128();
	halves inside = { none, none }, outside = inside;
	counts c = { none, none };
	size_t i = 0;
	for (; i + 16 <= n; i += 16) {
		__m128i v = load(p + i), w = load(p + i + 8);
		test(&c, m + i, &one, &zero);
		add_words(&inside, _mm_and_si128(v, _mm_unpacklo_epi8(one, one)), _mm_and_si128(w, _mm_unpackhi_epi8(one, one)));
		add_words(&outside, _mm_and_si128(v, _mm_unpacklo_epi8(zero, zero)), _mm_and_si128(w, _mm_unpackhi_epi8(zero, zero)));
	}
	*s = (sums){ both(c.ones), both(c.zeros), both(inside.low) + 256 * both(inside.high), both(outside.low) + 256 * both(outside.high) };
	return i;
}
#else
static size_t add_u8_fast(const uint8_t *p, const uint8_t *m, size_t n, sums *s) { return 0; }
static size_t add_u16_fast(const uint16_t *p, const uint8_t *m, size_t n, sums *s) { return 0; }
#endif

static void add_f32(const float *p, const uint8_t *m, size_t n, sums *s, double *inside, double *outside)
{
	double a = 0, b = 0;
	for (size_t i = 0; i < n; i++) {
		s->ones += m[i] == 1;
		s->zeros += m[i] == 0;
		a += m[i] == 1 ? (double)p[i] : 0;
		b += m[i] == 0 ? (double)p[i] : 0;
	}
	*inside = a;
	*outside = b;
}

int64_t vq_cell_measure(const void *plane, vq_dtype dtype, const uint8_t *mask, size_t n, vq_cell_light *out)
{
	sums s = { 0 };
	double inside, outside;
	if (dtype == VQ_F32) {
		add_f32(plane, mask, n, &s, &inside, &outside);
	} else {
		size_t done = dtype == VQ_U8 ? add_u8_fast(plane, mask, n, &s) : add_u16_fast(plane, mask, n, &s);
		if (dtype == VQ_U8)
			add_u8((const uint8_t *)plane + done, mask + done, n - done, &s);
		else
			add_u16((const uint16_t *)plane + done, mask + done, n - done, &s);
		inside = (double)s.inside;
		outside = (double)s.outside;
	}
	out->integrated = inside;
	out->mean = s.ones ? inside / (double)s.ones : NAN;
	out->background = s.zeros ? outside / (double)s.zeros : NAN;
	return (int64_t)s.ones;
}
