/* PNG pixels in one go: the common kinds of file, decoded by libdeflate and unfiltered here, several times as fast as row by row.
 * Whatever is out of the ordinary is left to libpng, which also has the words for what is wrong with a file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/imagefile_priv.h"

#ifdef VQ_LIBDEFLATE
#include <libdeflate.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define WHOLE_BYTES ((uint64_t)64 << 20) /* larger files are read row by row */

static uint32_t big(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static uint8_t *load(const vq_image_file *f)
{
	uint8_t *b = f->length <= WHOLE_BYTES ? vq_malloc((size_t)f->length + 1) : NULL;
	FILE *in = b ? fopen(f->path, "rb") : NULL;
	bool good = in && fread(b, 1, (size_t)f->length + 1, in) == f->length && !ferror(in);
	if (in)
		fclose(in);
	if (good)
		return b;
	free(b);
	return NULL;
}

/* The header is the one of the page, without interlacing. */
static bool same_header(const uint8_t *h, const vq_page *p)
{
	static const int samples[] = { 1, 0, 3, 0, 2, 0, 4 };
	return (int64_t)big(h) == p->width && (int64_t)big(h + 4) == p->height && h[8] == p->bits && (h[8] == 8 || h[8] == 16) && h[9] <= 6
		&& samples[h[9]] == p->samples && !h[10] && !h[11] && !h[12];
}

/* Moves the content of all IDAT chunks to the start of b. 0: a file with other chunks (they might be worth a warning), or a damaged one. */
static size_t gather(uint8_t *b, size_t n, const vq_page *p)
{
	size_t kept = 0;
	for (size_t at = 8; n - at >= 12;) {
		size_t size = big(b + at);
		uint8_t *data = b + at + 8;
		if (size > n - at - 12 || libdeflate_crc32(0, b + at + 4, size + 4) != big(data + size))
			return 0;
		if (!memcmp(b + at + 4, "IEND", 4))
			return size ? 0 : kept;
		if (at == 8 ? memcmp(b + at + 4, "IHDR", 4) || size != 13 || !same_header(data, p) : memcmp(b + at + 4, "IDAT", 4) != 0)
			return 0;
		if (at != 8) {
			memmove(b + kept, data, size);
			kept += size;
		}
		at += 12 + size;
	}
	return 0;
}

/* --- filters ------------------------------------------------------------------------------------------------------ */

static uint8_t paeth(int a, int b, int c)
{
	int pa = abs(b - c), pb = abs(a - c), pc = abs(a + b - 2 * c);
	return (uint8_t)(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}

static void add_up(uint8_t *restrict to, const uint8_t *restrict from, const uint8_t *restrict up, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(from[i] + up[i]);
}

/* Those that lean on the pixel before, of W bytes. */
#define LEANING(W) \
static void add_left_##W(uint8_t *restrict to, const uint8_t *restrict from, size_t n) \
{ \
	uint8_t left[W] = {0}; \
	for (size_t i = 0; i < n; i += W) \
		for (int k = 0; k < W; k++) \
			to[i + k] = left[k] = (uint8_t)(left[k] + from[i + k]); \
} \
static void add_average_##W(uint8_t *restrict to, const uint8_t *restrict from, const uint8_t *restrict up, size_t n) \
{ \
	uint8_t left[W] = {0}; \
	for (size_t i = 0; i < n; i += W) \
		for (int k = 0; k < W; k++) \
			to[i + k] = left[k] = (uint8_t)(from[i + k] + (left[k] + up[i + k]) / 2); \
} \
static void add_paeth_##W(uint8_t *restrict to, const uint8_t *restrict from, const uint8_t *restrict up, size_t n) \
{ \
	int left[W] = {0}, corner[W] = {0}; \
	for (size_t i = 0; i < n; i += W) \
		for (int k = 0; k < W; k++) { \
			int above = up[i + k]; \
			left[k] = to[i + k] = (uint8_t)(from[i + k] + paeth(left[k], above, corner[k])); \
			corner[k] = above; \
		} \
} \
static bool unfilter_##W(int filter, uint8_t *to, const uint8_t *from, const uint8_t *up, size_t n) \
{ \
	switch (filter) { \
	case 0: memcpy(to, from, n); return true; \
	case 1: add_left_##W(to, from, n); return true; \
	case 2: add_up(to, from, up, n); return true; \
	case 3: add_average_##W(to, from, up, n); return true; \
	case 4: add_paeth_##W(to, from, up, n); return true; \
	default: return false; \
	} \
}
LEANING(1)
LEANING(2)
LEANING(3)
LEANING(4)
LEANING(6)
LEANING(8)

#ifdef __SSE2__
/* The bytes of a pixel side by side, in 16 bits each. */
static inline __m128i widen(const uint8_t *p, size_t width)
{
	int v = 0;
	memcpy(&v, p, width);
	return _mm_unpacklo_epi8(_mm_cvtsi32_si128(v), _mm_setzero_si128());
}

static inline __m128i magnitude(__m128i v) { return _mm_max_epi16(v, _mm_sub_epi16(_mm_setzero_si128(), v)); }
static inline __m128i choose(__m128i which, __m128i yes, __m128i no) { return _mm_or_si128(_mm_and_si128(which, yes), _mm_andnot_si128(which, no)); }

static inline __attribute__((always_inline)) void add_paeth_lanes(uint8_t *restrict to, const uint8_t *restrict from, const uint8_t *restrict up, size_t n, size_t width)
{
	__m128i a = _mm_setzero_si128(), c = a;
	for (size_t i = 0; i < n; i += width) {
		__m128i b = widen(up + i, width), pa = _mm_sub_epi16(b, c), pb = _mm_sub_epi16(a, c), pc = magnitude(_mm_add_epi16(pa, pb));
		pa = magnitude(pa);
		pb = magnitude(pb);
		__m128i least = _mm_min_epi16(pc, _mm_min_epi16(pa, pb));
		__m128i guess = choose(_mm_cmpeq_epi16(least, pa), a, choose(_mm_cmpeq_epi16(least, pb), b, c));
		a = _mm_add_epi8(widen(from + i, width), guess); /* the upper halves stay 0 */
		int out = _mm_cvtsi128_si32(_mm_packus_epi16(a, a));
		memcpy(to + i, &out, width);
		c = b;
	}
}
static void add_paeth_pairs(uint8_t *to, const uint8_t *from, const uint8_t *up, size_t n) { add_paeth_lanes(to, from, up, n, 2); }
static void add_paeth_fours(uint8_t *to, const uint8_t *from, const uint8_t *up, size_t n) { add_paeth_lanes(to, from, up, n, 4); }
#else
#define add_paeth_pairs add_paeth_2
#define add_paeth_fours add_paeth_4
#endif

/* Four bytes in a word, whose carries do not meet. */
static void add_left_words(uint8_t *restrict to, const uint8_t *restrict from, size_t n)
{
	const uint32_t low = 0x7f7f7f7fu;
	uint32_t left = 0, v;
	for (size_t i = 0; i < n; i += 4) {
		memcpy(&v, from + i, 4);
		left = ((left & low) + (v & low)) ^ ((left ^ v) & ~low);
		memcpy(to + i, &left, 4);
	}
}

static bool unfilter_row(int width, int filter, uint8_t *to, const uint8_t *from, const uint8_t *up, size_t n)
{
	switch (width) {
	case 1: return unfilter_1(filter, to, from, up, n);
	case 2:
		if (filter == 4)
			return add_paeth_pairs(to, from, up, n), true;
		return unfilter_2(filter, to, from, up, n);
	case 3: return unfilter_3(filter, to, from, up, n);
	case 4:
		if (filter == 4)
			return add_paeth_fours(to, from, up, n), true;
		if (filter == 1)
			return add_left_words(to, from, n), true;
		return unfilter_4(filter, to, from, up, n);
	case 6: return unfilter_6(filter, to, from, up, n);
	case 8: return unfilter_8(filter, to, from, up, n);
	default: return false;
	}
}

static bool unfilter(const uint8_t *raw, const vq_page *p, uint8_t *to)
{
	int width = p->samples * p->bits / 8;
	size_t n = (size_t)p->width * (size_t)width;
	uint8_t *nothing = vq_calloc(n, 1);
	bool good = nothing;
	const uint8_t *up = nothing;
	for (int64_t y = 0; good && y < p->height; y++, raw += n + 1, up = to, to += n)
		good = unfilter_row(width, *raw, to, raw + 1, up, n);
	free(nothing);
	return good;
}

static void swap_bytes(uint16_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		v[i] = (uint16_t)(v[i] << 8 | v[i] >> 8);
}

bool vq_png_read_whole(const vq_image_file *f, const vq_page *p, vq_tensor *out)
{
	size_t row = (size_t)p->width * (size_t)(p->samples * p->bits) / 8, all = (row + 1) * (size_t)p->height, made, used, n = 0;
	uint8_t *file = load(f), *raw = file ? vq_malloc(all) : NULL;
	struct libdeflate_decompressor *d = raw ? libdeflate_alloc_decompressor() : NULL;
	if (d && f->length > 8)
		n = gather(file, (size_t)f->length, p);
	bool good = n && libdeflate_zlib_decompress_ex(d, file, n, raw, all, &used, &made) == LIBDEFLATE_SUCCESS && made == all && used == n
		&& unfilter(raw, p, out->data);
	if (good && p->bits == 16)
		swap_bytes(out->data, (size_t)p->width * (size_t)p->height * (size_t)p->samples);
	libdeflate_free_decompressor(d);
	free(raw);
	free(file);
	return good;
}
#else
bool vq_png_read_whole(const vq_image_file *f, const vq_page *p, vq_tensor *out)
{
	(void)f, (void)p, (void)out;
	return false;
}
#endif
