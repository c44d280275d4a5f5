/* PNG of every plain kind and row filter, made by hand, against the standard's formulas; and what must be left to libpng. */
#include "tests/unit/test.h"

#include <stdlib.h>
#include <zlib.h>

#include "formats/imagefile_priv.h"
#include "lib/rng.h"
#include "tests/unit/streams.h"

enum { W = 23, H = 60, MOST = 8 };

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void chunk(vq_buf *b, const char *type, const void *data, size_t n)
{
	uint8_t word[4];
	put32(word, (uint32_t)n);
	CHECK_OK(vq_buf_add(b, word, 4));
	CHECK_OK(vq_buf_add(b, type, 4));
	CHECK_OK(vq_buf_add(b, data, n));
	put32(word, (uint32_t)crc32(0, (const Bytef *)b->data + b->len - n - 4, (uInt)n + 4));
	CHECK_OK(vq_buf_add(b, word, 4));
}

/* Runs of one to nine rows of Paeth's filter (4) with one of another between. */
static uint8_t filter_of(size_t y)
{
	size_t run = 1;
	for (; y > run; run++)
		y -= run + 1;
	return y == run ? (uint8_t)(run % 4) : 4;
}

/* Random filtered bytes of w pixels a row, filters in turn or in runs (last: of the last row), in pieces of 100 bytes. */
static vq_buf make(int w, bool runs, int samples, int bits, int last, uint8_t *raw, const char *extra)
{
	static const uint8_t type[] = { 0, 0, 4, 2, 6 };
	size_t row = (size_t)(w * samples * bits / 8) + 1;
	vq_rng r = vq_rng_make(7, (uint64_t)(samples * bits));
	vq_buf b = {0};
	uint8_t head[13] = {0}, packed[2 * (W * MOST + 1) * H];
	uLongf n = sizeof packed;
	for (size_t i = 0; i < row * H; i++)
		raw[i] = (uint8_t)(i % row ? vq_rng_below(&r, i / row % 3 ? 256 : 3) : runs ? filter_of(i / row) : i / row % 5);
	raw[row * (H - 1)] = (uint8_t)last;
	CHECK(compress(packed, &n, raw, (uLong)(row * H)) == Z_OK);
	put32(head, (uint32_t)w);
	put32(head + 4, H);
	head[8] = (uint8_t)bits;
	head[9] = type[samples];
	CHECK_OK(vq_buf_add(&b, "\x89PNG\r\n\x1a\n", 8));
	chunk(&b, "IHDR", head, 13);
	if (extra)
		chunk(&b, "tEXt", extra, strlen(extra));
	for (size_t at = 0; at < n; at += 100)
		chunk(&b, "IDAT", packed + at, VQ_MIN((size_t)n - at, (size_t)100));
	chunk(&b, "IEND", "", 0);
	return b;
}

/* In place, byte by byte, as the standard words it. */
static void unfilter(uint8_t *raw, int w, int width)
{
	size_t row = (size_t)(w * width) + 1;
	for (size_t y = 0; y < H; y++)
		for (size_t x = 1; x < row; x++) {
			uint8_t *p = raw + y * row + x;
			int a = x > (size_t)width ? p[-width] : 0, b = y ? p[-(ptrdiff_t)row] : 0, c = y && x > (size_t)width ? p[-(ptrdiff_t)row - width] : 0;
			int guess = a + b - c, pa = abs(guess - a), pb = abs(guess - b), pc = abs(guess - c);
			int paeth = pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
			*p = (uint8_t)(*p + (int[]){ 0, a, b, (a + b) / 2, paeth }[raw[y * row]]);
		}
}

/* 1: read at once; 0: left to libpng, which read it; -1: an error. *p: its page. */
static int reads(const vq_buf *b, vq_page *p, vq_tensor *t)
{
	const char *path = stream_path("a.png");
	vq_image_file *f;
	vq_page whole = {0};
	size_t n;
	stream_save(path, b->data, b->len);
	*t = (vq_tensor){0};
	if (vq_image_open(&f, path, NULL) < 0)
		return -1;
	CHECK_OK(vq_image_page(f, 0, p));
	FILE *in = fopen(path, "rb");
	CHECK(in);
	uint8_t *packed = vq_png_whole_open(fileno(in), b->len, &whole, &n);
	fclose(in);
	int result = vq_image_read(f, 0, t) < 0 ? -1 : 0;
	vq_tensor at_once = {0};
	if (packed && result == 0) {
		CHECK(whole.width == p->width && whole.height == p->height && whole.samples == p->samples && whole.bits == p->bits);
		CHECK_OK(vq_tensor_make(&at_once, whole.dtype, 3, (int64_t[]){ whole.height, whole.width, whole.samples }));
		result = vq_png_whole_read(packed, n, &whole, &at_once);
	}
	free(packed);
	vq_tensor_free(&at_once);
	vq_image_close(f);
	return result;
}

static void check_kind(int w, bool runs, int samples, int bits)
{
	uint8_t raw[(W * MOST + 1) * H];
	vq_buf b = make(w, runs, samples, bits, 4, raw, NULL);
	vq_page p;
	vq_tensor t;
	int width = samples * bits / 8;
#ifdef VQ_LIBDEFLATE
	CHECK(reads(&b, &p, &t) == 1);
#else
	CHECK(reads(&b, &p, &t) == 0);
#endif
	unfilter(raw, w, width);
	for (size_t y = 0; y < H; y++)
		for (size_t i = 0; i < (size_t)(w * samples); i++) {
			const uint8_t *v = raw + y * (size_t)(w * width + 1) + 1 + i * (size_t)bits / 8;
			CHECK(vq_tensor_get(&t, y * (size_t)(w * samples) + i) == (bits == 8 ? v[0] : v[0] * 256 + v[1]));
		}
	vq_tensor_free(&t);
	vq_buf_free(&b);
}

TEST(every_kind_and_filter)
{
	for (int bits = 8; bits <= 16; bits += 8)
		for (int samples = 1; samples <= 4; samples++)
			check_kind(W, false, samples, bits);
}

/* Rows that are unfiltered together, down to images too narrow for that. */
TEST(runs_of_filters)
{
	for (int w = 1; w <= W; w += w < 10 ? 1 : 6)
		for (int bits = 8; bits <= 16; bits += 8)
			for (int samples = 1; samples <= 4; samples++)
				check_kind(w, true, samples, bits);
}

/* The page is the one that libpng tells, which reads the file with one more chunk. */
TEST(pages)
{
	uint8_t raw[(W * MOST + 1) * H];
	for (int bits = 8; bits <= 16; bits += 8)
		for (int samples = 1; samples <= 4; samples++) {
			vq_buf b[2] = { make(W, false, samples, bits, 4, raw, NULL), make(W, false, samples, bits, 4, raw, "Title") };
			vq_page p[2];
			vq_tensor t[2];
			for (int i = 0; i < 2; i++) {
				CHECK(reads(&b[i], &p[i], &t[i]) >= 0);
				vq_tensor_free(&t[i]);
				vq_buf_free(&b[i]);
			}
			CHECK(p[0].width == p[1].width && p[0].height == p[1].height && p[0].samples == p[1].samples && p[0].bits == p[1].bits);
			CHECK(p[0].kind == p[1].kind && p[0].dtype == p[1].dtype && p[0].photometric == p[1].photometric && p[0].alpha == p[1].alpha);
			CHECK_STR(p[0].codec, p[1].codec);
		}
}

TEST(the_rest_is_left_to_libpng)
{
	uint8_t raw[(W * MOST + 1) * H];
	vq_tensor t;
	vq_page p;
	vq_buf b = make(W, false, 4, 8, 4, raw, "Title"); /* a chunk that might be worth a warning */
	CHECK(reads(&b, &p, &t) == 0);
	vq_tensor_free(&t);
	b.data[b.len - 30] ^= 1; /* the last piece of the pixels */
	CHECK(reads(&b, &p, &t) < 0);
	vq_buf_free(&b);
	b = make(W, false, 4, 8, 5, raw, NULL); /* no such filter */
	CHECK(reads(&b, &p, &t) < 0);
	b.len -= 12; /* no end */
	CHECK(reads(&b, &p, &t) < 0);
	vq_buf_free(&b);
	b = make(W, false, 2, 8, 4, raw, NULL);
	b.len /= 2;
	CHECK(reads(&b, &p, &t) < 0);
	vq_buf_free(&b);
}

TEST_MAIN(RUN(every_kind_and_filter) RUN(runs_of_filters) RUN(pages) RUN(the_rest_is_left_to_libpng))
