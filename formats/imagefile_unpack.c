/* Samples of 1 to 64 bits, as libtiff hands them over, to tensor elements. */
#include <string.h>

#include "formats/imagefile_priv.h"

/* Whole bytes are in this machine's order by now (libtiff swaps 16, 24, 32 and 64 bits); every other width is a string of bits, the
 * highest first, whatever the file's byte order, and starts each row on a byte. */
static uint64_t take(const uint8_t *from, size_t i, int bits)
{
	if (bits == 8)
		return from[i];
	if (bits == 16 || bits == 24 || bits == 32 || bits == 64) {
		uint64_t v = 0;
		memcpy(&v, from + i * (size_t)bits / 8, (size_t)bits / 8);
		return v;
	}
	uint64_t v = 0;
	size_t at = i * (size_t)bits;
	for (int left = bits; left;) {
		int room = 8 - (int)(at % 8), n = VQ_MIN(room, left);
		v = v << n | (uint64_t)(from[at / 8] >> (room - n) & ((1 << n) - 1));
		at += (size_t)n;
		left -= n;
	}
	return v;
}

/* 1 sign, 7 exponent (bias 63), 16 mantissa bits, as Adobe's technical note 3 has them. */
static float float24(uint32_t v)
{
	union { uint32_t u; float f; } out;
	uint32_t sign = (v >> 23 & 1) << 31, e = v >> 16 & 0x7f, m = v & 0xffff;
	if (e == 0x7f)
		out.u = sign | 0x7f800000u | m << 7;
	else if (e)
		out.u = sign | (e - 63 + 127) << 23 | m << 7;
	else {
		out.f = (float)m * 0x1p-78f; /* 2^-62 / 2^16 */
		out.u |= sign;
	}
	return out.f;
}

vq_status vq_unpack(const uint8_t *from, int bits, vq_sample_kind kind, size_t n, vq_dtype to, void *dst, size_t stride)
{
	if (stride == 1 && vq_dtype_size(to) * 8 == (size_t)bits && bits < 64) {
		memcpy(dst, from, n * vq_dtype_size(to));
		return VQ_OK;
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t v = take(from, i, bits);
		size_t at = i * stride;
		if (kind == VQ_KIND_INT && bits < 64 && v >> (bits - 1) & 1)
			v |= ~(uint64_t)0 << bits;
		switch (to) {
		case VQ_U8: case VQ_I8: ((uint8_t *)dst)[at] = (uint8_t)v; break;
		case VQ_U16: case VQ_F16: ((uint16_t *)dst)[at] = (uint16_t)v; break;
		case VQ_I32: ((int32_t *)dst)[at] = (int32_t)v; break;
		case VQ_I64:
			if (kind == VQ_KIND_UINT && v > INT64_MAX)
				return vq_fail(VQ_EUNSUP, "an unsigned 64-bit sample of %llu", (unsigned long long)v);
			((int64_t *)dst)[at] = (int64_t)v;
			break;
		case VQ_F32:
			if (bits == 24)
				((float *)dst)[at] = float24((uint32_t)v);
			else
				((uint32_t *)dst)[at] = (uint32_t)v;
			break;
		default: ((uint64_t *)dst)[at] = v; break; /* f64 */
		}
	}
	return VQ_OK;
}
