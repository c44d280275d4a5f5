#include "formats/xxh64.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif
#include <stdbool.h>
#include <string.h>

#define P1 0x9E3779B185EBCA87u
#define P2 0xC2B2AE3D27D4EB4Fu
#define P3 0x165667B19E3779F9u
#define P4 0x85EBCA77C2B2AE63u
#define P5 0x27D4EB2F165667C5u

static inline uint64_t turn(uint64_t x, int by) { return x << by | x >> (64 - by); }

static inline uint64_t word(const unsigned char *p)
{
	uint64_t v;
	memcpy(&v, p, 8);
	return v;
}

static inline uint64_t mix(uint64_t lane, uint64_t v) { return turn(lane + v * P2, 31) * P1; }

void vq_xxh64_init(vq_xxh64 *h, uint64_t seed)
{
	*h = (vq_xxh64){ .lane = { seed + P1 + P2, seed + P2, seed, seed - P1 }, .seed = seed };
}

#if defined(__x86_64__) && defined(__GNUC__)
/* The four lanes in one register. It pays where 64-bit products of vectors take no longer than others: on AMD's processors that have them. */
static __attribute__((target("avx512dq,avx512vl"))) void stripes_wide(vq_xxh64 *h, const unsigned char *p, size_t n)
{
	const __m256i p1 = _mm256_set1_epi64x((long long)P1), p2 = _mm256_set1_epi64x((long long)P2);
	__m256i lane = _mm256_loadu_si256((const void *)h->lane);
	for (; n; n--, p += 32) {
		__m256i v = _mm256_mullo_epi64(_mm256_loadu_si256((const void *)p), p2);
		lane = _mm256_mullo_epi64(_mm256_rol_epi64(_mm256_add_epi64(lane, v), 31), p1);
	}
	_mm256_storeu_si256((void *)h->lane, lane);
}

static bool wide(void) { return __builtin_cpu_is("amd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"); }
#else
static void stripes_wide(vq_xxh64 *h, const unsigned char *p, size_t n) { (void)h, (void)p, (void)n; }
static bool wide(void) { return false; }
#endif

static void stripes(vq_xxh64 *h, const unsigned char *p, size_t n)
{
	if (n >= 8 && wide()) {
		stripes_wide(h, p, n);
		return;
	}
	uint64_t a = h->lane[0], b = h->lane[1], c = h->lane[2], d = h->lane[3];
	for (; n; n--, p += 32) {
		a = mix(a, word(p));
		b = mix(b, word(p + 8));
		c = mix(c, word(p + 16));
		d = mix(d, word(p + 24));
	}
	h->lane[0] = a, h->lane[1] = b, h->lane[2] = c, h->lane[3] = d;
}

void vq_xxh64_add(vq_xxh64 *h, const void *data, size_t n)
{
	const unsigned char *p = data;
	size_t held = h->total % 32;
	h->total += n;
	if (!n)
		return;
	if (held + n < 32) {
		memcpy(h->rest + held, p, n);
		return;
	}
	if (held) {
		memcpy(h->rest + held, p, 32 - held);
		stripes(h, h->rest, 1);
		p += 32 - held;
		n -= 32 - held;
	}
	stripes(h, p, n / 32);
	memcpy(h->rest, p + n / 32 * 32, n % 32);
}

uint64_t vq_xxh64_value(const vq_xxh64 *h)
{
	uint64_t x = h->seed + P5;
	if (h->total >= 32) {
		x = turn(h->lane[0], 1) + turn(h->lane[1], 7) + turn(h->lane[2], 12) + turn(h->lane[3], 18);
		for (int i = 0; i < 4; i++)
			x = (x ^ mix(0, h->lane[i])) * P1 + P4;
	}
	x += h->total;
	const unsigned char *p = h->rest;
	size_t n = h->total % 32;
	for (; n >= 8; n -= 8, p += 8)
		x = turn(x ^ mix(0, word(p)), 27) * P1 + P4;
	if (n >= 4) {
		uint32_t v;
		memcpy(&v, p, 4);
		x = turn(x ^ v * P1, 23) * P2 + P3;
		p += 4;
		n -= 4;
	}
	for (; n; n--, p++)
		x = turn(x ^ *p * P5, 11) * P1;
	x = (x ^ x >> 33) * P2;
	x = (x ^ x >> 29) * P3;
	return x ^ x >> 32;
}

uint64_t vq_xxh64_of(const void *data, size_t n, uint64_t seed)
{
	vq_xxh64 h;
	vq_xxh64_init(&h, seed);
	vq_xxh64_add(&h, data, n);
	return vq_xxh64_value(&h);
}
