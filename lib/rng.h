/* rng: Philox4x32-10, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 *
 * A generator is 28 bytes of plain data: copy it to save it, compare it to see that two runs agree. Streams with
 * different (seed, stream) never overlap in practice, so that each consumer (init, shuffle, dropout, ...) takes its own. */
#ifndef VQ_RNG_H
#define VQ_RNG_H

#include <stdint.h>

typedef struct {
	uint64_t seed;
	uint64_t stream;
	uint64_t block; /* 128-bit blocks drawn */
	uint32_t used;  /* words taken of the current block, 0 to 3 */
} vq_rng;

/* The raw bijection: four words from a 128-bit counter and a 64-bit key. */
void vq_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

vq_rng vq_rng_make(uint64_t seed, uint64_t stream);
uint32_t vq_rng_u32(vq_rng *r);
uint64_t vq_rng_u64(vq_rng *r);
double vq_rng_uniform(vq_rng *r);               /* [0, 1), 53 bits */
double vq_rng_normal(vq_rng *r);                /* mean 0, deviation 1 (Box-Muller, two uniforms a call) */
uint64_t vq_rng_below(vq_rng *r, uint64_t n);   /* 0 to n-1 without bias; n > 0 */
double vq_rng_poisson(vq_rng *r, double mean);  /* a count; exact below a mean of 30, rounded normal above */
void vq_rng_shuffle(vq_rng *r, uint32_t *a, uint64_t n); /* Fisher-Yates */

#endif
