/* tensor: a shape, a type and bytes on the host. No autograd, no views, no broadcasting.
 *
 * Row-major (the last axis is contiguous), little-endian, data 64-byte aligned when the tensor owns it. */
#ifndef VQ_TENSOR_H
#define VQ_TENSOR_H

#include "lib/base.h"

typedef enum { VQ_U8, VQ_I8, VQ_U16, VQ_I32, VQ_I64, VQ_F16, VQ_BF16, VQ_F32, VQ_F64, VQ_DTYPES } vq_dtype;
enum { VQ_MAX_DIMS = 6 };

typedef struct {
	vq_dtype dtype;
	int ndim;                  /* 0 (a scalar) to VQ_MAX_DIMS */
	int64_t shape[VQ_MAX_DIMS];
	void *data;
	bool owned;                /* vq_tensor_free releases data */
} vq_tensor;

const char *vq_dtype_name(vq_dtype t);          /* "u8" "i8" "u16" "i32" "i64" "f16" "bf16" "f32" "f64" */
int vq_dtype_parse(const char *name);           /* a vq_dtype, or -1 */
size_t vq_dtype_size(vq_dtype t);               /* bytes an element */

/* Elements, and bytes; both check overflow and negative extents (VQ_EINVAL, VQ_ELIMIT). */
vq_status vq_tensor_count(const vq_tensor *t, size_t *count);
vq_status vq_tensor_bytes(const vq_tensor *t, size_t *bytes);

/* A zeroed tensor that owns its data. On failure *t is empty. */
vq_status vq_tensor_make(vq_tensor *t, vq_dtype dtype, int ndim, const int64_t *shape);
/* The same without the zeros: for who writes every element. */
vq_status vq_tensor_room(vq_tensor *t, vq_dtype dtype, int ndim, const int64_t *shape);
vq_status vq_tensor_copy(vq_tensor *to, const vq_tensor *from); /* deep */
/* A fresh f32 copy of any type (f64 rounds; integers beyond 2^24 round). */
vq_status vq_tensor_to_f32(vq_tensor *to, const vq_tensor *from);
void vq_tensor_free(vq_tensor *t); /* safe on an empty tensor; leaves it empty */

/* Element i as a double, and back (integers are rounded to nearest and saturated; NaN becomes 0 there). */
double vq_tensor_get(const vq_tensor *t, size_t i);
void vq_tensor_set(vq_tensor *t, size_t i, double v);

/* Half formats; round to nearest even. */
float vq_f16_to_f32(uint16_t h);
uint16_t vq_f32_to_f16(float f);
static inline float vq_bf16_to_f32(uint16_t h)
{
	union { uint32_t u; float f; } v = { (uint32_t)h << 16 };
	return v.f;
}
static inline uint16_t vq_f32_to_bf16(float f)
{
	union { float f; uint32_t u; } v = { f };
	if ((v.u & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)(v.u >> 16 | 0x40);
	return (uint16_t)((v.u + 0x7fffu + (v.u >> 16 & 1)) >> 16);
}

#endif
