/* lanes: vectors as wide as the registers of the instruction set that a file is compiled for. */
#ifndef VQ_CPU_LANES_H
#define VQ_CPU_LANES_H

#include <stdint.h>

#if defined __AVX512F__
enum { LANES = 16, WIDE = 4 /* vectors beside each other whose sums, with six rows, fill the registers */ };
#elif defined __AVX__
enum { LANES = 8, WIDE = 2 };
#else
enum { LANES = 4, WIDE = 2 };
#endif
typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t ilanes __attribute__((vector_size(4 * LANES)));
typedef float lanes_at __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
/* Macros: a function would pass wide vectors by value, which not every set can. */
#define load(p) (*(const lanes_at *)(p))
#define store(p, v) (*(lanes_at *)(p) = (v))
#define INLINE static inline __attribute__((always_inline))

#endif
