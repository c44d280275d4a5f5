/* Included by kernels that are compiled once an instruction set, the Makefile choosing -march: vectors of float, and N(name)s for the type
 * T they compute with: float or, where there are the instructions, bf16. Sums are float. */
#if defined __AVX512BF16__
#define ISA_NAME "avx512_bf16"
#elif defined __AVX512F__
#define ISA_NAME "avx512"
#else
#define ISA_NAME "avx2"
#endif
#include "lib/cpu/lanes.h"

/* Channels of a panel of outputs. */
INLINE int panel_of(int n) { return n % (WIDE * LANES) == 0 ? WIDE * LANES : n % (2 * LANES) == 0 ? 2 * LANES : LANES; }
#define relu_of(s) ((lanes)((ilanes)(s) & ((s) > 0)))

/* A word is what one multiplication takes: a float, or two bf16. PAIR values of k make a word, GROUP channels are loaded together. */
typedef float word_at __attribute__((aligned(2), may_alias));
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#if !defined __AVX512BF16__
#define T float
#define N(name) name##_f32
enum { PAIR_f32 = 1, GROUP_f32 = LANES };
INLINE int channel_f32(int q) { return q; }
INLINE lanes get_f32(const float *p, int part) { return load(p); }
INLINE lanes whole_f32(const float *p) { return load(p); }
INLINE void put_f32(float *p, lanes v) { store(p, v); }
INLINE void pack_f32(float *words, int part, lanes v) { store(words, v); }
INLINE void pack_pair_f32(float *words, const lanes v[1]) { store(words, v[0]); }
INLINE float narrow_f32(float v) { return v; }
INLINE lanes times_f32(lanes s, const word_at *a, lanes b) { return s + ((lanes){0} + *a) * b; }
#else
#include <immintrin.h>
#define T uint16_t
#define N(name) name##_bf16
/* 32 channels are loaded as the 16 even ones and the 16 odd ones, and stay in that order. */
enum { PAIR_bf16 = 2, GROUP_bf16 = 32 };
INLINE int channel_bf16(int q) { return (q & ~31) | ((q & 15) << 1) | (q >> 4 & 1); }
INLINE lanes get_bf16(const uint16_t *p, int part)
{
	__m512i v = _mm512_loadu_si512(p);
	return (lanes)(part ? _mm512_and_si512(v, _mm512_set1_epi32(-0x10000)) : _mm512_slli_epi32(v, 16));
}
INLINE lanes whole_bf16(const uint16_t *p) { return (lanes)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16); }
INLINE void put_bf16(uint16_t *p, lanes v) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)v)); }
INLINE void pack_bf16(float *words, int part, lanes v) { put_bf16((uint16_t *)words + 16 * part, v); }
INLINE void pack_pair_bf16(float *words, const lanes v[2])
{
	const __m512i apart = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
	_mm512_storeu_si512(words, _mm512_permutexvar_epi16(apart, (__m512i)_mm512_cvtne2ps_pbh((__m512)v[1], (__m512)v[0])));
}
INLINE uint16_t narrow_bf16(float v) { return vq_f32_to_bf16(v); }
INLINE lanes times_bf16(lanes s, const word_at *a, lanes b)
{
	return (lanes)_mm512_dpbf16_ps((__m512)s, (__m512bh)_mm512_castps_si512(_mm512_set1_ps(*a)), (__m512bh)_mm512_castps_si512((__m512)b));
}
#endif
