#include "lib/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *name; size_t size; } types[VQ_DTYPES] = {
	[VQ_U8] = { "u8", 1 },   [VQ_I8] = { "i8", 1 },     [VQ_U16] = { "u16", 2 },
	[VQ_I32] = { "i32", 4 }, [VQ_I64] = { "i64", 8 },   [VQ_F16] = { "f16", 2 },
	[VQ_BF16] = { "bf16", 2 }, [VQ_F32] = { "f32", 4 }, [VQ_F64] = { "f64", 8 },
};

const char *vq_dtype_name(vq_dtype t) { return (unsigned)t < VQ_DTYPES ? types[t].name : "?"; }
size_t vq_dtype_size(vq_dtype t) { return (unsigned)t < VQ_DTYPES ? types[t].size : 0; }

int vq_dtype_parse(const char *name)
{
	for (int i = 0; i < VQ_DTYPES; i++)
		if (!strcmp(types[i].name, name))
			return i;
	return -1;
}

vq_status vq_tensor_count(const vq_tensor *t, size_t *count)
{
	if (t->ndim < 0 || t->ndim > VQ_MAX_DIMS)
		return vq_fail(VQ_EINVAL, "a tensor of %d dimensions (0 to %d are possible)", t->ndim, VQ_MAX_DIMS);
	size_t n = 1;
	for (int i = 0; i < t->ndim; i++) {
		if (t->shape[i] < 0)
			return vq_fail(VQ_EINVAL, "a tensor with a negative extent");
		VQ_TRY(vq_mul(n, (size_t)t->shape[i], &n));
	}
	*count = n;
	return VQ_OK;
}

vq_status vq_tensor_bytes(const vq_tensor *t, size_t *bytes)
{
	size_t n = 0;
	VQ_TRY(vq_tensor_count(t, &n));
	return vq_mul(n, vq_dtype_size(t->dtype), bytes);
}

vq_status vq_tensor_room(vq_tensor *t, vq_dtype dtype, int ndim, const int64_t *shape)
{
	vq_tensor v = { .dtype = dtype, .ndim = ndim, .owned = true };
	size_t bytes;
	if (ndim > 0 && ndim <= VQ_MAX_DIMS)
		memcpy(v.shape, shape, sizeof *shape * (size_t)ndim);
	*t = (vq_tensor){0}; /* only now: shape may be t's own */
	VQ_TRY(vq_tensor_bytes(&v, &bytes));
	if (!(v.data = vq_aligned(bytes)))
		return VQ_ENOMEM;
	*t = v;
	return VQ_OK;
}

vq_status vq_tensor_make(vq_tensor *t, vq_dtype dtype, int ndim, const int64_t *shape)
{
	size_t bytes;
	VQ_TRY(vq_tensor_room(t, dtype, ndim, shape));
	VQ_TRY(vq_tensor_bytes(t, &bytes));
	memset(t->data, 0, bytes);
	return VQ_OK;
}

vq_status vq_tensor_copy(vq_tensor *to, const vq_tensor *from)
{
	size_t bytes;
	VQ_TRY(vq_tensor_room(to, from->dtype, from->ndim, from->shape));
	VQ_TRY(vq_tensor_bytes(from, &bytes));
	if (bytes)
		memcpy(to->data, from->data, bytes);
	return VQ_OK;
}

vq_status vq_tensor_to_f32(vq_tensor *to, const vq_tensor *from)
{
	if (from->dtype == VQ_F32)
		return vq_tensor_copy(to, from);
	size_t n = 0;
	VQ_TRY(vq_tensor_room(to, VQ_F32, from->ndim, from->shape));
	VQ_TRY(vq_tensor_count(from, &n));
	float *o = to->data;
	switch (from->dtype) { /* the types of camera images get a loop the compiler can vectorise */
	case VQ_U8: for (size_t i = 0; i < n; i++) o[i] = ((const uint8_t *)from->data)[i]; break;
	case VQ_U16: for (size_t i = 0; i < n; i++) o[i] = ((const uint16_t *)from->data)[i]; break;
	case VQ_BF16: for (size_t i = 0; i < n; i++) o[i] = vq_bf16_to_f32(((const uint16_t *)from->data)[i]); break;
	default: for (size_t i = 0; i < n; i++) o[i] = (float)vq_tensor_get(from, i);
	}
	return VQ_OK;
}

void vq_tensor_free(vq_tensor *t)
{
	if (t->owned)
		free(t->data);
	*t = (vq_tensor){0};
}

double vq_tensor_get(const vq_tensor *t, size_t i)
{
	switch (t->dtype) {
	case VQ_U8: return ((const uint8_t *)t->data)[i];
	case VQ_I8: return ((const int8_t *)t->data)[i];
	case VQ_U16: return ((const uint16_t *)t->data)[i];
	case VQ_I32: return ((const int32_t *)t->data)[i];
	case VQ_I64: return (double)((const int64_t *)t->data)[i];
	case VQ_F16: return vq_f16_to_f32(((const uint16_t *)t->data)[i]);
	case VQ_BF16: return vq_bf16_to_f32(((const uint16_t *)t->data)[i]);
	case VQ_F32: return ((const float *)t->data)[i];
	case VQ_F64: return ((const double *)t->data)[i];
	default: return 0;
	}
}

static double clamp_int(double v, double lo, double hi)
{
	return isnan(v) ? 0 : fmin(fmax(nearbyint(v), lo), hi);
}

void vq_tensor_set(vq_tensor *t, size_t i, double v)
{
	switch (t->dtype) {
	case VQ_U8: ((uint8_t *)t->data)[i] = (uint8_t)clamp_int(v, 0, UINT8_MAX); break;
	case VQ_I8: ((int8_t *)t->data)[i] = (int8_t)clamp_int(v, INT8_MIN, INT8_MAX); break;
	case VQ_U16: ((uint16_t *)t->data)[i] = (uint16_t)clamp_int(v, 0, UINT16_MAX); break;
	case VQ_I32: ((int32_t *)t->data)[i] = (int32_t)clamp_int(v, INT32_MIN, INT32_MAX); break;
	case VQ_I64: ((int64_t *)t->data)[i] = (int64_t)clamp_int(v, -0x1p63, 0x1p63 - 1024); break;
	case VQ_F16: ((uint16_t *)t->data)[i] = vq_f32_to_f16((float)v); break;
	case VQ_BF16: ((uint16_t *)t->data)[i] = vq_f32_to_bf16((float)v); break;
	case VQ_F32: ((float *)t->data)[i] = (float)v; break;
	case VQ_F64: ((double *)t->data)[i] = v; break;
	default: break;
	}
}

float vq_f16_to_f32(uint16_t h)
{
	int e = h >> 10 & 31, m = h & 1023;
	float v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexpf((float)(m | 1024), e - 25) : ldexpf((float)m, -24);
	return h & 0x8000 ? -v : v;
}

uint16_t vq_f32_to_f16(float f)
{
	uint16_t sign = signbit(f) ? 0x8000 : 0;
	double a = fabs((double)f);
	if (isnan(f))
		return sign | 0x7e00;
	if (a >= 65520)
		return sign | 0x7c00;
	if (a < 0x1p-14)
		return sign | (uint16_t)nearbyint(a * 0x1p24);
	int e;
	double m = nearbyint(frexp(a, &e) * 2048); /* 1024 to 2048 */
	return sign | (uint16_t)(((e + 14) << 10) + ((int)m - 1024));
}
