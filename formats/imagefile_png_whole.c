/* PNG pixels in one go: the common kinds of file, decoded by libdeflate and unfiltered here, several times as fast as row by row.
 * Whatever is out of the ordinary is left to libpng, which also has the words for what is wrong with a file. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/imagefile_priv.h"

#ifdef VQ_LIBDEFLATE
#include <libdeflate.h>
#ifdef __x86_64__
#include <emmintrin.h>
#endif

#define WHOLE_BYTES ((uint64_t)64 << 20) /* larger files are read row by row */

static uint32_t big(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static uint8_t *load(int fd, uint64_t length)
{
	size_t n = (size_t)length, have = 0;
	uint8_t *b = length <= WHOLE_BYTES ? vq_malloc(n + 1) : NULL;
	ssize_t got = b ? 1 : 0;
	while (got > 0 && have <= n) /* a byte more than there should be: a file that grows is not ordinary */
		if ((got = pread(fd, b + have, n + 1 - have, (off_t)have)) > 0)
			have += (size_t)got;
	if (b && got == 0 && have == n)
		return b;
	free(b);
	return NULL;
}

/* Whole bytes without a palette or interlacing, within the limits that libpng is given. */
static bool plain_header(const uint8_t *h, vq_page *p)
{
	static const int samples[] = { 1, 0, 3, 0, 2, 0, 4 };
	enum { COLOUR = 2, ALPHA = 4, SIDE_MAX = 1000000 };
	if (h[9] > 6 || !samples[h[9]] || (h[8] != 8 && h[8] != 16) || h[10] || h[11] || h[12])
		return false;
	*p = (vq_page){ .width = big(h), .height = big(h + 4), .samples = samples[h[9]], .bits = h[8], .kind = VQ_KIND_UINT,
		.dtype = h[8] == 16 ? VQ_U16 : VQ_U8, .photometric = h[9] & COLOUR ? VQ_PHOTO_RGB : VQ_PHOTO_GREY,
		.alpha = h[9] & ALPHA ? samples[h[9]] - 1 : -1, .codec = "PNG" };
	return p->width >= 1 && p->width <= SIDE_MAX && p->height >= 1 && p->height <= SIDE_MAX;
}

/* Moves the content of all IDAT chunks to the start of b. 0: a file with other chunks (they might be worth a warning), or a damaged one. */
static size_t gather(uint8_t *b, size_t n, vq_page *p)
{
	size_t kept = 0;
	for (size_t at = 8; n >= at && n - at >= 12;) {
		size_t size = big(b + at);
		uint8_t *data = b + at + 8;
		if (size > n - at - 12 || libdeflate_crc32(0, b + at + 4, size + 4) != big(data + size))
			return 0;
		if (!memcmp(b + at + 4, "IEND", 4))
			return size ? 0 : kept;
		if (at == 8 ? memcmp(b + at + 4, "IHDR", 4) || size != 13 || !plain_header(data, p) : memcmp(b + at + 4, "IDAT", 4) != 0)
			return 0;
		if (at != 8) {
			memmove(b + kept, data, size);
			kept += size;
		}
		at += 12 + size;
	}
	return 0;
}

uint8_t *vq_png_whole_open(int fd, uint64_t length, vq_page *p, size_t *n)
{
	uint8_t *b = load(fd, length);
	*n = b ? gather(b, (size_t)length, p) : 0;
	if (*n)
		return b;
	free(b);
	return NULL;
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

#ifdef __x86_64__
/* The bytes of a pixel side by side, in 16 bits each. */
static inline __m128i widen(const uint8_t *p, size_t width)
{
	int v = 0;
	memcpy(&v, p, width);
	return _mm_unpacklo_epi8(_mm_cvtsi32_si128(v), _mm_setzero_si128());
}

static inline __m128i magnitude(__m128i v) { return _mm_max_epi16(v, _mm_sub_epi16(_mm_setzero_si128(), v)); }
static inline __m128i choose(__m128i which, __m128i yes, __m128i no) { return _mm_or_si128(_mm_and_si128(which, yes), _mm_andnot_si128(which, no)); }

/* a: left, b: above, c: above a. Each value is in the lower byte of its 16 bits. */
static inline __m128i paeth_lanes(__m128i a, __m128i b, __m128i c)
{
	__m128i pa = _mm_sub_epi16(b, c), pb = _mm_sub_epi16(a, c), pc = magnitude(_mm_add_epi16(pa, pb));
	pa = magnitude(pa);
	pb = magnitude(pb);
	__m128i least = _mm_min_epi16(pc, _mm_min_epi16(pa, pb));
	return choose(_mm_cmpeq_epi16(least, pa), a, choose(_mm_cmpeq_epi16(least, pb), b, c));
}

static inline __attribute__((always_inline)) void add_paeth_lanes(uint8_t *restrict to, const uint8_t *restrict from, const uint8_t *restrict up, size_t n, size_t width)
{
	__m128i a = _mm_setzero_si128(), c = a;
	for (size_t i = 0; i < n; i += width) {
		__m128i b = widen(up + i, width);
		a = _mm_add_epi8(widen(from + i, width), paeth_lanes(a, b, c)); /* the upper halves stay 0 */
		int out = _mm_cvtsi128_si32(_mm_packus_epi16(a, a));
		memcpy(to + i, &out, width);
		c = b;
	}
}

/* Two such rows at once, as each step waits for the one before: the second row is a pixel behind, where what is above it is known. */
typedef struct { __m128i a, c; } two_rows;

static inline __attribute__((always_inline)) __m128i widen_word(uint64_t v) { return _mm_unpacklo_epi8(_mm_cvtsi64_si128((long long)v), _mm_setzero_si128()); }

/* Pixel i of the first row (if there is one) and the one before it of the second. */
static inline __attribute__((always_inline)) void add_paeth_step(two_rows *s, uint8_t *to, const uint8_t *from, const uint8_t *up, size_t n, size_t i, int width, bool first, bool second)
{
	uint64_t x = 0, behind = 0, above = 0;
	if (first) {
		memcpy(&x, from + i, (size_t)width);
		memcpy(&above, up + i, (size_t)width);
	}
	if (second)
		memcpy(&behind, from + n + 1 + i - (size_t)width, (size_t)width);
	__m128i b = _mm_or_si128(widen_word(above), width == 4 ? _mm_slli_si128(s->a, 8) : _mm_slli_si128(s->a, 4));
	s->a = _mm_add_epi8(widen_word(x | behind << 8 * width), paeth_lanes(s->a, b, s->c));
	s->c = b;
	uint64_t out = (uint64_t)_mm_cvtsi128_si64(_mm_packus_epi16(s->a, s->a)), later = out >> 8 * width;
	if (first)
		memcpy(to + i, &out, (size_t)width);
	if (second)
		memcpy(to + n + i - (size_t)width, &later, (size_t)width);
}

static inline __attribute__((always_inline)) void add_paeth_rows(uint8_t *restrict to, const uint8_t *restrict from, const uint8_t *restrict up, size_t n, int width)
{
	two_rows s = { _mm_setzero_si128(), _mm_setzero_si128() };
	add_paeth_step(&s, to, from, up, n, 0, width, true, false);
	for (size_t i = (size_t)width; i < n; i += (size_t)width)
		add_paeth_step(&s, to, from, up, n, i, width, true, true);
	add_paeth_step(&s, to, from, up, n, n, width, false, true);
}

/* Sums of pixels of 2 or 4 bytes from the left on, sixteen bytes at a time: of pairs, of fours, of eights, then what came before. */
static inline __attribute__((always_inline)) void add_left_lanes(uint8_t *restrict to, const uint8_t *restrict from, size_t n, int width)
{
	__m128i left = _mm_setzero_si128();
	size_t i = 0;
	for (; i + 16 <= n; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(from + i));
		if (width == 2)
			v = _mm_add_epi8(v, _mm_slli_si128(v, 2));
		v = _mm_add_epi8(v, _mm_slli_si128(v, 4));
		v = _mm_add_epi8(_mm_add_epi8(v, _mm_slli_si128(v, 8)), left);
		_mm_storeu_si128((__m128i *)(void *)(to + i), v);
		left = _mm_shuffle_epi32(width == 2 ? _mm_shufflehi_epi16(v, 0xff) : v, 0xff);
	}
	for (; i < n; i++)
		to[i] = (uint8_t)(from[i] + (i < (size_t)width ? 0 : to[i - (size_t)width]));
}
static void add_left_pairs(uint8_t *to, const uint8_t *from, size_t n) { add_left_lanes(to, from, n, 2); }
static void add_left_fours(uint8_t *to, const uint8_t *from, size_t n) { add_left_lanes(to, from, n, 4); }
static void add_paeth_pairs(uint8_t *to, const uint8_t *from, const uint8_t *up, size_t n) { add_paeth_lanes(to, from, up, n, 2); }
static void add_paeth_fours(uint8_t *to, const uint8_t *from, const uint8_t *up, size_t n) { add_paeth_lanes(to, from, up, n, 4); }
/* Four: two pairs, the lower one two pixels behind the upper one's first row, which has stored by then what is above. */
static inline __attribute__((always_inline)) void add_paeth_pairs_of_rows(uint8_t *to, const uint8_t *from, const uint8_t *up, size_t n, int width)
{
	const size_t lag = 2 * (size_t)width;
	two_rows s = { _mm_setzero_si128(), _mm_setzero_si128() }, t = s;
	uint8_t *low = to + 2 * n, *above = to + n;
	const uint8_t *from_low = from + 2 * (n + 1);
	add_paeth_step(&s, to, from, up, n, 0, width, true, false);
	add_paeth_step(&s, to, from, up, n, (size_t)width, width, true, true);
	add_paeth_step(&s, to, from, up, n, lag, width, true, true);
	add_paeth_step(&t, low, from_low, above, n, 0, width, true, false);
	for (size_t i = lag + (size_t)width; i < n; i += (size_t)width) {
		add_paeth_step(&s, to, from, up, n, i, width, true, true);
		add_paeth_step(&t, low, from_low, above, n, i - lag, width, true, true);
	}
	add_paeth_step(&s, to, from, up, n, n, width, false, true);
	add_paeth_step(&t, low, from_low, above, n, n - lag, width, true, true);
	add_paeth_step(&t, low, from_low, above, n, n - (size_t)width, width, true, true);
	add_paeth_step(&t, low, from_low, above, n, n, width, false, true);
}

/* How many of the next rows, all of them Paeth's, were done together: 0, 2 or 4. */
static int add_paeth_together(int width, int rows, uint8_t *to, const uint8_t *from, const uint8_t *up, size_t n)
{
	int done = rows >= 4 && n >= 4 * (size_t)width ? 4 : rows >= 2 ? 2 : 0;
	if (width == 4 && done == 4)
		add_paeth_pairs_of_rows(to, from, up, n, 4);
	else if (width == 2 && done == 4)
		add_paeth_pairs_of_rows(to, from, up, n, 2);
	else if (width == 4 && done == 2)
		add_paeth_rows(to, from, up, n, 4);
	else if (width == 2 && done == 2)
		add_paeth_rows(to, from, up, n, 2);
	else
		done = 0;
	return done;
}
#else
#define add_left_pairs add_left_2
#define add_left_fours add_left_4
#define add_paeth_pairs add_paeth_2
#define add_paeth_fours add_paeth_4
static int add_paeth_together(int width, int rows, uint8_t *to, const uint8_t *from, const uint8_t *up, size_t n) { return 0; }
#endif

static bool unfilter_row(int width, int filter, uint8_t *to, const uint8_t *from, const uint8_t *up, size_t n)
{
	switch (width) {
	case 1: return unfilter_1(filter, to, from, up, n);
	case 2:
		if (filter == 4)
			return add_paeth_pairs(to, from, up, n), true;
		if (filter == 1)
			return add_left_pairs(to, from, n), true;
		return unfilter_2(filter, to, from, up, n);
	case 3: return unfilter_3(filter, to, from, up, n);
	case 4:
		if (filter == 4)
			return add_paeth_fours(to, from, up, n), true;
		if (filter == 1)
			return add_left_fours(to, from, n), true;
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
	for (int64_t y = 0, step; good && y < p->height; y += step) {
		int rows = 0;
		while (rows < 4 && y + rows < p->height && raw[(size_t)rows * (n + 1)] == 4)
			rows++;
		if (!(step = add_paeth_together(width, rows, to, raw + 1, up, n))) {
			good = unfilter_row(width, *raw, to, raw + 1, up, n);
			step = 1;
		}
		raw += (size_t)step * (n + 1);
		to += (size_t)step * n;
		up = to - n;
	}
	free(nothing);
	return good;
}

static void swap_bytes(uint16_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		v[i] = (uint16_t)(v[i] << 8 | v[i] >> 8);
}

bool vq_png_whole_read(const uint8_t *packed, size_t n, const vq_page *p, vq_tensor *out)
{
	size_t row = (size_t)p->width * (size_t)(p->samples * p->bits) / 8, all = (row + 1) * (size_t)p->height, made, used;
	uint8_t *raw = vq_malloc(all);
	struct libdeflate_decompressor *d = raw ? libdeflate_alloc_decompressor() : NULL;
	bool good = d && libdeflate_zlib_decompress_ex(d, packed, n, raw, all, &used, &made) == LIBDEFLATE_SUCCESS && made == all && used == n
		&& unfilter(raw, p, out->data);
	if (good && p->bits == 16)
		swap_bytes(out->data, (size_t)p->width * (size_t)p->height * (size_t)p->samples);
	libdeflate_free_decompressor(d);
	free(raw);
	return good;
}
#else
uint8_t *vq_png_whole_open(int fd, uint64_t length, vq_page *p, size_t *n)
{
	(void)fd, (void)length, (void)p, (void)n;
	return NULL;
}

bool vq_png_whole_read(const uint8_t *packed, size_t n, const vq_page *p, vq_tensor *out)
{
	(void)packed, (void)n, (void)p, (void)out;
	return false;
}
#endif
