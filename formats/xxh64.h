/* xxh64: the 64-bit xxHash (the same function that zstd frames use for their checksums), in one piece or in several. */
#ifndef VQ_XXH64_H
#define VQ_XXH64_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
	uint64_t lane[4], seed, total;
	unsigned char rest[32];
} vq_xxh64;

void vq_xxh64_init(vq_xxh64 *h, uint64_t seed);
void vq_xxh64_add(vq_xxh64 *h, const void *data, size_t n);
uint64_t vq_xxh64_value(const vq_xxh64 *h); /* of what was added so far */
uint64_t vq_xxh64_of(const void *data, size_t n, uint64_t seed);

#endif
