#include "lib/image/pieces.h"

#include <float.h>
#include <math.h>
#include <string.h>

vq_status vq_plane_check(const vq_tensor *t, int64_t c, vq_window w)
{
	VQ_TRY(vq_window_check(t, w));
	int64_t channels = t->ndim == 2 ? 1 : t->shape[0];
	if (t->ndim > 3 || c < 0 || c >= channels)
		return vq_fail(VQ_EINVAL, "channel %lld of %lld", (long long)c, (long long)channels);
	return VQ_OK;
}

size_t vq_plane_offset(const vq_tensor *t, int64_t c, int64_t y, int64_t x)
{
	return (size_t)((c * t->shape[t->ndim - 2] + y) * t->shape[t->ndim - 1] + x);
}

void vq_plane_load(const vq_tensor *t, size_t at, size_t n, double *restrict o)
{
	switch (t->dtype) {
	case VQ_U8: { const uint8_t *p = (const uint8_t *)t->data + at; for (size_t i = 0; i < n; i++) o[i] = p[i]; break; }
	case VQ_I8: { const int8_t *p = (const int8_t *)t->data + at; for (size_t i = 0; i < n; i++) o[i] = p[i]; break; }
	case VQ_U16: { const uint16_t *p = (const uint16_t *)t->data + at; for (size_t i = 0; i < n; i++) o[i] = p[i]; break; }
	case VQ_I32: { const int32_t *p = (const int32_t *)t->data + at; for (size_t i = 0; i < n; i++) o[i] = p[i]; break; }
	case VQ_F32: { const float *p = (const float *)t->data + at; for (size_t i = 0; i < n; i++) o[i] = p[i]; break; }
	case VQ_F64: memcpy(o, (const double *)t->data + at, n * sizeof *o); break;
	default: for (size_t i = 0; i < n; i++) o[i] = vq_tensor_get(t, at + i);
	}
}

bool vq_dtype_integer(vq_dtype t)
{
	return t == VQ_U8 || t == VQ_I8 || t == VQ_U16 || t == VQ_I32 || t == VQ_I64;
}

vq_status vq_plane_not_finite(const double *v, int64_t y, int64_t x, vq_window w)
{
	while (isfinite(*v))
		v++, x++;
	return vq_fail(VQ_EINVAL, "%s pixel at row %lld, column %lld", isnan(*v) ? "a NaN" : "an infinite", (long long)(y - w.top),
		(long long)(x - w.left));
}

bool vq_all_finite(const double *v, size_t n)
{
	size_t bad = 0;
	for (size_t i = 0; i < n; i++)
		bad += !(fabs(v[i]) <= DBL_MAX);
	return !bad;
}

vq_status vq_plane_each(const vq_tensor *t, int64_t c, vq_window w, vq_piece_fn *f, void *state)
{
	double v[VQ_PIECE];
	bool integer = vq_dtype_integer(t->dtype);
	VQ_TRY(vq_plane_check(t, c, w));
	for (int64_t y = w.top; y < w.top + w.h; y++)
		for (int64_t x = w.left; x < w.left + w.w; x += VQ_PIECE) {
			size_t n = (size_t)VQ_MIN(VQ_PIECE, w.left + w.w - x);
			vq_plane_load(t, vq_plane_offset(t, c, y, x), n, v);
			if (!integer && !vq_all_finite(v, n))
				return vq_plane_not_finite(v, y, x, w);
			f(state, v, n);
		}
	return VQ_OK;
}
