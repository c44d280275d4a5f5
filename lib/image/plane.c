#include "lib/image/crop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const double vq_field_percentiles[VQ_FIELD_PERCENTILES] = { 0, 0.1, 1, 5, 25, 50, 75, 95, 99, 99.9, 100 };

enum { RANKS = 2 * VQ_FIELD_PERCENTILES, BINS = 65536 };

/* The two order statistics that each percentile lies between. */
static void wanted_ranks(size_t n, size_t rank[RANKS])
{
	for (int i = 0; i < VQ_FIELD_PERCENTILES; i++) {
		size_t low = (size_t)(vq_field_percentiles[i] / 100 * (double)(n - 1));
		low = VQ_MIN(low, n - 1);
		rank[2 * i] = low;
		rank[2 * i + 1] = VQ_MIN(low + 1, n - 1);
	}
}

/* numpy's linear method, its way of rounding included. */
static void interpolate(size_t n, const double at[RANKS], double p[VQ_FIELD_PERCENTILES])
{
	for (int i = 0; i < VQ_FIELD_PERCENTILES; i++) {
		double v = vq_field_percentiles[i] / 100 * (double)(n - 1), t = v - floor(v), a = at[2 * i], b = at[2 * i + 1];
		p[i] = t >= 0.5 ? b - (b - a) * (1 - t) : a + (b - a) * t;
	}
}

/* Which bin holds each rank (they ascend but for a step back of one), and how many values lie in bins before it. */
static void find_bins(const uint32_t *count, const size_t rank[RANKS], uint32_t bin[RANKS], size_t before[RANKS])
{
	size_t seen = 0;
	uint32_t b = 0;
	for (int i = 0; i < RANKS; i++) {
		while (rank[i] < seen)
			seen -= count[--b];
		while (rank[i] >= seen + count[b])
			seen += count[b++];
		bin[i] = b;
		before[i] = seen;
	}
}

static uint16_t largest(const uint16_t *p, size_t n)
{
	uint16_t most = 0;
	for (size_t i = 0; i < n; i++)
		most = p[i] > most ? p[i] : most;
	return most;
}

static vq_status measure_integers(const void *plane, vq_dtype dtype, size_t n, vq_plane_stats *out)
{
	/* Four tables: the same grey level again and again would wait for its own count. */
	const uint32_t bins = dtype == VQ_U8 ? 256 : largest(plane, n) + 1u;
	uint32_t *count = vq_calloc(4 * (size_t)bins, sizeof *count), bin[RANKS];
	uint32_t *second = count + bins, *third = second + bins, *fourth = third + bins;
	size_t rank[RANKS], before[RANKS], i = 0;
	if (!count)
		return VQ_ENOMEM;
	if (dtype == VQ_U8) {
		const uint8_t *p = plane;
		for (; i + 4 <= n; i += 4)
			count[p[i]]++, second[p[i + 1]]++, third[p[i + 2]]++, fourth[p[i + 3]]++;
		for (; i < n; i++)
			count[p[i]]++;
	} else {
		const uint16_t *p = plane;
		for (; i + 4 <= n; i += 4)
			count[p[i]]++, second[p[i + 1]]++, third[p[i + 2]]++, fourth[p[i + 3]]++;
		for (; i < n; i++)
			count[p[i]]++;
	}
	double sum = 0, square = 0, at[RANKS];
	for (uint32_t v = 0; v < bins; v++) {
		count[v] += second[v] + third[v] + fourth[v];
		sum += (double)v * count[v];
	}
	out->mean = sum / (double)n;
	for (uint32_t v = 0; v < bins; v++)
		square += (v - out->mean) * (v - out->mean) * count[v];
	out->std = sqrt(square / (double)n);
	wanted_ranks(n, rank);
	find_bins(count, rank, bin, before);
	for (int r = 0; r < RANKS; r++)
		at[r] = bin[r];
	interpolate(n, at, out->p);
	free(count);
	return VQ_OK;
}

/* Unsigned keys in the order of the floats, and back. */
static uint32_t key_of(float f)
{
	union { float f; uint32_t u; } v = { f };
	return v.u ^ (v.u >> 31 ? 0xffffffffu : 0x80000000u);
}

static float float_of(uint32_t k)
{
	union { uint32_t u; float f; } v = { k ^ (k >> 31 ? 0x80000000u : 0xffffffffu) };
	return v.f;
}

/* Selection by two counts: of the keys' upper halves, then, in the few bins that hold a wanted rank, of the lower halves. */
static vq_status select_floats(const float *p, size_t n, const size_t rank[RANKS], double at[RANKS])
{
	uint32_t *count = vq_calloc(BINS, sizeof *count), *fine = NULL, bin[RANKS], low;
	uint8_t *slot = vq_calloc(BINS, 1);
	size_t before[RANKS];
	int slots = 0;
	vq_status s = VQ_ENOMEM;
	if (!count || !slot)
		goto done;
	for (size_t i = 0; i < n; i++)
		count[key_of(p[i]) >> 16]++;
	find_bins(count, rank, bin, before);
	for (int r = 0; r < RANKS; r++)
		if (!slot[bin[r]])
			slot[bin[r]] = (uint8_t)++slots;
	if (!(fine = vq_calloc((size_t)slots * BINS, sizeof *fine)))
		goto done;
	for (size_t i = 0; i < n; i++) {
		uint32_t k = key_of(p[i]), t = slot[k >> 16];
		if (t)
			fine[(size_t)(t - 1) * BINS + (k & 0xffff)]++;
	}
	for (int r = 0; r < RANKS; r++) {
		const uint32_t *f = fine + (size_t)(slot[bin[r]] - 1) * BINS;
		size_t seen = before[r];
		for (low = 0; rank[r] >= seen + f[low]; low++)
			seen += f[low];
		at[r] = (double)float_of(bin[r] << 16 | low);
	}
	s = VQ_OK;
done:
	free(count);
	free(slot);
	free(fine);
	return s;
}

static vq_status measure_floats(const float *p, size_t n, vq_plane_stats *out)
{
	size_t rank[RANKS];
	double at[RANKS], sum = 0, square = 0;
	for (size_t i = 0; i < n; i++)
		sum += (double)p[i];
	out->mean = sum / (double)n;
	for (size_t i = 0; i < n; i++) {
		double d = (double)p[i] - out->mean;
		square += d * d;
	}
	out->std = sqrt(square / (double)n);
	wanted_ranks(n, rank);
	VQ_TRY(select_floats(p, n, rank, at));
	interpolate(n, at, out->p);
	return VQ_OK;
}

vq_status vq_plane_measure(const void *plane, vq_dtype dtype, size_t n, vq_plane_stats *out)
{
	if (!n || n > UINT32_MAX)
		return vq_fail(VQ_EINVAL, "a plane of %zu pixels cannot be measured", n);
	if (dtype == VQ_U8 || dtype == VQ_U16)
		return measure_integers(plane, dtype, n, out);
	return measure_floats(plane, n, out);
}

size_t vq_plane_finite(const float *p, size_t n)
{
	for (size_t i = 0; i < n; i += 4096) {
		size_t end = VQ_MIN(i + 4096, n);
		float bad = 0;
		for (size_t j = i; j < end; j++) {
			uint32_t u;
			memcpy(&u, p + j, 4);
			bad += (u & 0x7f800000u) == 0x7f800000u;
		}
		for (size_t j = i; bad > 0 && j < end; j++)
			if (!isfinite(p[j]))
				return j;
	}
	return n;
}

#define CONVERT(type, dest, expr) do { const type *f = from; dest *t = to; for (size_t i = 0; i < n; i++) t[i] = (dest)(expr); } while (0)

vq_status vq_plane_convert(void *to, vq_dtype to_dtype, const void *from, vq_dtype from_dtype, size_t n)
{
	if (to_dtype == from_dtype && (to_dtype == VQ_U8 || to_dtype == VQ_U16 || to_dtype == VQ_F32)) {
		memcpy(to, from, n * vq_dtype_size(to_dtype));
		return VQ_OK;
	}
	if (to_dtype == VQ_U16 && from_dtype == VQ_U8) {
		CONVERT(uint8_t, uint16_t, f[i]);
		return VQ_OK;
	}
	if (to_dtype == VQ_F32)
		switch (from_dtype) {
		case VQ_U8: CONVERT(uint8_t, float, f[i]); return VQ_OK;
		case VQ_I8: CONVERT(int8_t, float, f[i]); return VQ_OK;
		case VQ_U16: CONVERT(uint16_t, float, f[i]); return VQ_OK;
		case VQ_I32: CONVERT(int32_t, float, f[i]); return VQ_OK;
		case VQ_I64: CONVERT(int64_t, float, f[i]); return VQ_OK;
		case VQ_F16: CONVERT(uint16_t, float, vq_f16_to_f32(f[i])); return VQ_OK;
		case VQ_F64: CONVERT(double, float, f[i]); return VQ_OK;
		default: break;
		}
	return vq_fail(VQ_EINVAL, "pixels of %s cannot be kept as %s", vq_dtype_name(from_dtype), vq_dtype_name(to_dtype));
}

#define MAXIMUM(type) do { type *t = to; const type *f = from; for (size_t i = 0; i < n; i++) t[i] = t[i] > f[i] ? t[i] : f[i]; } while (0)

void vq_plane_max(void *to, const void *from, vq_dtype dtype, size_t n)
{
	if (dtype == VQ_U8) {
		MAXIMUM(uint8_t);
	} else if (dtype == VQ_U16) {
		MAXIMUM(uint16_t);
	} else {
		float *t = to;
		const float *f = from;
		for (size_t i = 0; i < n; i++)
			t[i] = t[i] > f[i] || t[i] != t[i] ? t[i] : f[i];
	}
}

vq_status vq_plane_divide(float *p, const float *by, size_t n)
{
	size_t bad = 0;
	for (size_t i = 0; i < n; i++) {
		bad += !(by[i] > 0 && by[i] <= 3.402823466e38f);
		p[i] /= by[i];
	}
	return bad ? vq_fail(VQ_EINVAL, "%zu of its %zu values are not finite and positive", bad, n) : VQ_OK;
}
