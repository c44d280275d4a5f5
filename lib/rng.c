#include "lib/rng.h"

#include <math.h>

static inline void philox_round(uint32_t c[4], uint32_t k0, uint32_t k1)
{
	uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
	uint32_t n0 = (uint32_t)(b >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(a >> 32) ^ c[3] ^ k1;
	c[1] = (uint32_t)b;
	c[3] = (uint32_t)a;
	c[0] = n0;
	c[2] = n2;
}

void vq_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
	uint32_t k0 = key[0], k1 = key[1];
	for (int i = 0; i < 4; i++)
		out[i] = counter[i];
	for (int i = 0; i < 10; i++) {
		philox_round(out, k0, k1);
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
}

vq_rng vq_rng_make(uint64_t seed, uint64_t stream)
{
	return (vq_rng){ .seed = seed, .stream = stream };
}

uint32_t vq_rng_u32(vq_rng *r)
{
	uint32_t c[4] = { (uint32_t)r->block, (uint32_t)(r->block >> 32), (uint32_t)r->stream, (uint32_t)(r->stream >> 32) };
	uint32_t k[2] = { (uint32_t)r->seed, (uint32_t)(r->seed >> 32) }, out[4];
	vq_philox(c, k, out);
	uint32_t v = out[r->used];
	if (++r->used == 4) {
		r->used = 0;
		r->block++;
	}
	return v;
}

uint64_t vq_rng_u64(vq_rng *r)
{
	uint64_t hi = vq_rng_u32(r);
	return hi << 32 | vq_rng_u32(r);
}

double vq_rng_uniform(vq_rng *r) { return (double)(vq_rng_u64(r) >> 11) * 0x1p-53; }

double vq_rng_normal(vq_rng *r)
{
	double u = 1 - vq_rng_uniform(r), v = vq_rng_uniform(r);
	return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

uint64_t vq_rng_below(vq_rng *r, uint64_t n)
{
	uint64_t limit = UINT64_MAX - UINT64_MAX % n, v;
	do
		v = vq_rng_u64(r);
	while (v >= limit);
	return v % n;
}

double vq_rng_poisson(vq_rng *r, double mean)
{
	if (mean > 30) {
		double v = floor(mean + sqrt(mean) * vq_rng_normal(r) + .5);
		return v < 0 ? 0 : v;
	}
	double limit = exp(-mean), p = 1;
	int k = -1;
	do {
		p *= 1 - vq_rng_uniform(r);
		k++;
	} while (p > limit);
	return k;
}

void vq_rng_shuffle(vq_rng *r, uint32_t *a, uint64_t n)
{
	for (uint64_t i = n; i > 1; i--) {
		uint64_t j = vq_rng_below(r, i);
		uint32_t t = a[i - 1];
		a[i - 1] = a[j];
		a[j] = t;
	}
}
