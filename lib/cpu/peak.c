#include "lib/cpu/peak.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURNS = 1 << 18, CHAINS = 12, ARRAY = 24 << 20 /* floats */ };

#ifdef __x86_64__
#include <immintrin.h>

/* CHAINS sums that do not wait for one another. The loop over them is unrolled, so that they stay in registers. */
static __attribute__((target("avx512f"))) float fma_512(float start)
{
	__m512 s[CHAINS], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(start);
	for (int i = 0; i < CHAINS; i++)
		s[i] = _mm512_set1_ps((float)i);
	for (int t = 0; t < TURNS; t++)
#pragma GCC unroll 12
		for (int i = 0; i < CHAINS; i++)
			s[i] = _mm512_fmadd_ps(s[i], a, b);
	for (int i = 1; i < CHAINS; i++)
		s[0] = _mm512_add_ps(s[0], s[i]);
	return _mm512_reduce_add_ps(s[0]);
}

static __attribute__((target("avx512f,avx512bf16"))) float dot_512(float start)
{
	__m512 s[CHAINS];
	__m512i bits = _mm512_set1_epi32(0x3c003c00); /* pairs of a small bf16 */
	__m512bh a;
	memcpy(&a, &bits, sizeof a);
	for (int i = 0; i < CHAINS; i++)
		s[i] = _mm512_set1_ps(start);
	for (int t = 0; t < TURNS; t++)
#pragma GCC unroll 12
		for (int i = 0; i < CHAINS; i++)
			s[i] = _mm512_dpbf16_ps(s[i], a, a);
	for (int i = 1; i < CHAINS; i++)
		s[0] = _mm512_add_ps(s[0], s[i]);
	return _mm512_reduce_add_ps(s[0]);
}

static __attribute__((target("avx2,fma"))) float fma_256(float start)
{
	__m256 s[CHAINS], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(start);
	float out[8];
	for (int i = 0; i < CHAINS; i++)
		s[i] = _mm256_set1_ps((float)i);
	for (int t = 0; t < TURNS; t++)
#pragma GCC unroll 12
		for (int i = 0; i < CHAINS; i++)
			s[i] = _mm256_fmadd_ps(s[i], a, b);
	for (int i = 1; i < CHAINS; i++)
		s[0] = _mm256_add_ps(s[0], s[i]);
	_mm256_storeu_ps(out, s[0]);
	return out[0];
}
#endif

static float plain(float start)
{
	float s[4 * CHAINS];
	for (int i = 0; i < 4 * CHAINS; i++)
		s[i] = start;
	for (int t = 0; t < TURNS; t++)
		for (int i = 0; i < 4 * CHAINS; i++)
			s[i] = s[i] * 0.999f + start;
	return s[0] + s[4 * CHAINS - 1];
}

typedef struct { float (*run)(float); int lanes; } kernel;

static kernel best_f32(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx512f"))
		return (kernel){ fma_512, 16 };
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return (kernel){ fma_256, 8 };
#endif
	return (kernel){ plain, 4 };
}

static kernel best_bf16(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx512bf16"))
		return (kernel){ dot_512, 32 };
#endif
	return (kernel){ NULL, 0 };
}

static volatile float sink;

/* Of the thread's own time: what others take from it is no property of the machine. */
static double own_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double rate(kernel k, int threads, double seconds)
{
	double most = 0, begun = vq_seconds();
	while (k.run && vq_seconds() - begun < seconds) {
		double sum = 0;
#pragma omp parallel num_threads(threads)
		{
			double start = own_seconds();
			float v = k.run(1e-9f);
			double took = own_seconds() - start;
#pragma omp critical
			{
				sink += v;
				sum += 2.0 * k.lanes * CHAINS * TURNS / took;
			}
		}
		most = VQ_MAX(most, sum);
	}
	return most;
}

/* c = a + b: 12 bytes a float; that the cache reads c before it is written is not counted. */
static double bandwidth(int threads, double seconds)
{
	float *a = vq_aligned(ARRAY * sizeof *a), *b = vq_aligned(ARRAY * sizeof *b), *c = vq_aligned(ARRAY * sizeof *c);
	double most = 0, begun = vq_seconds();
	for (int i = 0; a && b && c && (i < 4 || vq_seconds() - begun < seconds); i++) {
		double sum = 0;
#pragma omp parallel num_threads(threads)
		{
			int each = ARRAY / threads, first = omp_get_thread_num() * each;
			double start = own_seconds();
			if (!i)
				for (int j = first; j < first + each; j++)
					a[j] = b[j] = 1;
			for (int j = first; j < first + each; j++)
				c[j] = a[j] + b[j];
			double took = own_seconds() - start;
#pragma omp critical
			sum += 12.0 * each / took;
		}
		if (i)
			most = VQ_MAX(most, sum);
	}
	free(a);
	free(b);
	free(c);
	return most;
}

vq_peak vq_cpu_peak(int threads, double seconds)
{
	return (vq_peak){ rate(best_f32(), threads, seconds), rate(best_bf16(), threads, seconds), bandwidth(threads, seconds) };
}
