#include "tests/unit/test.h"

#include "formats/imagefile.h"
#include "formats/imagefile_write.h"
#include "tests/unit/tiffs.h"

/* --- PNG ------------------------------------------------------------------------------------------------------------- */

static const unsigned char png_one_bit[] = {
	0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x03,
	0x00, 0x00, 0x00, 0x02, 0x01, 0x00, 0x00, 0x00, 0x00, 0xb5, 0x0f, 0x5b, 0xb7, 0x00, 0x00, 0x00, 0x0c, 0x49, 0x44, 0x41,
	0x54, 0x78, 0xda, 0x63, 0x58, 0xc0, 0xe0, 0x00, 0x00, 0x02, 0x24, 0x00, 0xe1, 0x4d, 0x16, 0xe8, 0x5e, 0x00, 0x00, 0x00,
	0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
};
static const unsigned char png_palette[] = {
	0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x02,
	0x00, 0x00, 0x00, 0x02, 0x02, 0x03, 0x00, 0x00, 0x00, 0x0f, 0xd8, 0xe5, 0xb7, 0x00, 0x00, 0x00, 0x0c, 0x50, 0x4c, 0x54,
	0x45, 0x00, 0x00, 0x00, 0xff, 0x00, 0x00, 0x00, 0x80, 0x00, 0x0a, 0x14, 0x1e, 0x14, 0x76, 0xe4, 0xaf, 0x00, 0x00, 0x00,
	0x0c, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0x10, 0x60, 0x78, 0x00, 0x00, 0x01, 0x14, 0x00, 0xf1, 0x75, 0x5f, 0xcc,
	0x8c, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
};
static const unsigned char png_interlaced[] = {
	0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x02,
	0x00, 0x00, 0x00, 0x02, 0x10, 0x00, 0x00, 0x00, 0x01, 0x70, 0x4a, 0xbe, 0x2d, 0x00, 0x00, 0x00, 0x13, 0x49, 0x44, 0x41,
	0x54, 0x78, 0xda, 0x63, 0x60, 0x64, 0x62, 0x60, 0x66, 0x61, 0x60, 0x65, 0x63, 0xe7, 0x00, 0x00, 0x00, 0x90, 0x00, 0x25,
	0xde, 0x66, 0x9a, 0x2b, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
};
static const unsigned char png_bad_index[] = {
	0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x02,
	0x00, 0x00, 0x00, 0x01, 0x02, 0x03, 0x00, 0x00, 0x00, 0x89, 0x4c, 0x97, 0x19, 0x00, 0x00, 0x00, 0x06, 0x50, 0x4c, 0x54,
	0x45, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xa5, 0xd9, 0x9f, 0xdd, 0x00, 0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78,
	0xda, 0x63, 0x30, 0x00, 0x00, 0x00, 0x32, 0x00, 0x31, 0xc4, 0x40, 0xe2, 0x77, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e,
	0x44, 0xae, 0x42, 0x60, 0x82,
};

static vq_tensor made(vq_dtype type, int ndim, const int64_t *shape)
{
	vq_tensor t;
	size_t n;
	if (vq_tensor_make(&t, type, ndim, shape) < 0 || vq_tensor_count(&t, &n) < 0)
		exit(1);
	for (size_t i = 0; i < n; i++)
		vq_tensor_set(&t, i, (double)(i * 37 % 251) + (type == VQ_U16 || type == VQ_I32 ? 300.0 * (double)(i % 7) : 0));
	return t;
}

static bool equal(const vq_tensor *a, const vq_tensor *b)
{
	size_t n, m;
	if (vq_tensor_bytes(a, &n) < 0 || vq_tensor_bytes(b, &m) < 0 || n != m || a->dtype != b->dtype)
		return false;
	return !memcmp(a->data, b->data, n);
}

static vq_image_file *opened(const char *path)
{
	vq_image_file *f;
	if (vq_image_open(&f, path, NULL) < 0) {
		printf("# %s\n", vq_message());
		return NULL;
	}
	return f;
}

TEST(png_round_trip)
{
	const char *path = temp_path("a.png");
	for (int samples = 1; samples <= 4; samples++)
		for (int wide = 0; wide < 2; wide++) {
			vq_tensor t = made(wide ? VQ_U16 : VQ_U8, 3, (int64_t[]){ 5, 3, samples }), back;
			CHECK_OK(vq_png_write(path, &t));
			vq_image_file *f = opened(path);
			CHECK(f);
			CHECK_OK(vq_image_read(f, 0, &back));
			CHECK(equal(&t, &back));
			vq_image im;
			CHECK_OK(vq_image_planes(f, &VQ_PICK, &im));
			CHECK(im.planes.shape[0] == (samples < 3 ? 1 : 3));
			CHECK(im.alpha_dropped == (samples == 2 || samples == 4));
			CHECK(im.rgb == (samples > 2));
			CHECK(vq_tensor_get(&im.planes, 1) == vq_tensor_get(&t, (size_t)samples));
			vq_image_free(&im);
			vq_tensor_free(&back);
			vq_tensor_free(&t);
			vq_image_close(f);
		}
}

static void read_bytes(const unsigned char *data, size_t n, vq_tensor *stored, vq_image *im)
{
	const char *path = temp_path("b.png");
	file_made(path, data, n);
	vq_image_file *f = opened(path);
	CHECK(f);
	CHECK_OK(vq_image_read(f, 0, stored));
	CHECK_OK(vq_image_planes(f, &VQ_PICK, im));
	vq_image_close(f);
}

TEST(png_of_other_makers)
{
	vq_tensor t;
	vq_image im;
	read_bytes(png_one_bit, sizeof png_one_bit, &t, &im);
	const uint8_t one[6] = { 1, 0, 1, 0, 1, 0 };
	CHECK(t.shape[0] == 2 && t.shape[1] == 3 && !memcmp(t.data, one, 6) && !memcmp(im.planes.data, one, 6));
	vq_tensor_free(&t);
	vq_image_free(&im);
	read_bytes(png_interlaced, sizeof png_interlaced, &t, &im);
	const uint16_t four[4] = { 0x0102, 0x0304, 0x0506, 0x0708 };
	CHECK(t.dtype == VQ_U16 && !memcmp(t.data, four, 8));
	vq_tensor_free(&t);
	vq_image_free(&im);
	read_bytes(png_palette, sizeof png_palette, &t, &im);
	const uint8_t index[4] = { 0, 1, 3, 2 }, rgb[12] = { 0, 255, 10, 0, 0, 0, 20, 128, 0, 0, 30, 0 };
	CHECK(!memcmp(t.data, index, 4));
	CHECK(im.looked_up && im.rgb && im.bits == 8 && im.planes.shape[0] == 3 && !memcmp(im.planes.data, rgb, 12));
	vq_tensor_free(&t);
	vq_image_free(&im);
	const char *path = temp_path("b.png");
	file_made(path, png_palette, sizeof png_palette);
	vq_image_file *f = opened(path);
	CHECK(f);
	CHECK_OK(vq_image_labels(f, &VQ_PICK, &t)); /* of a palette image, the indexes */
	CHECK(vq_tensor_get(&t, 2) == 3);
	vq_tensor_free(&t);
	vq_image_close(f);
	file_made(path, png_bad_index, sizeof png_bad_index);
	CHECK(f = opened(path));
	CHECK_FAILS(vq_image_planes(f, &VQ_PICK, &im), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "palette index 3");
	vq_image_close(f);
}

/* --- TIFF, written and read ------------------------------------------------------------------------------------------ */

TEST(tiff_round_trip)
{
	static const vq_dtype types[] = { VQ_U8, VQ_I8, VQ_U16, VQ_I32, VQ_I64, VQ_F16, VQ_F32, VQ_F64 };
	const char *path = temp_path("a.tif");
	for (size_t k = 0; k < VQ_COUNT(types); k++)
		for (int how = 0; how < 3; how++) {
			vq_tensor t = made(types[k], 3, (int64_t[]){ 3, 40, 33 });
			vq_tiff_options o = { .compress = how > 0, .rgb = how == 2 };
			CHECK_OK(vq_tiff_write(path, &t, &o));
			vq_image_file *f = opened(path);
			CHECK(f);
			CHECK(vq_image_pages(f) == (how == 2 ? 1 : 3));
			vq_axes a;
			CHECK_OK(vq_image_axes(f, 0, &a));
			if (how < 2)
				CHECK(a.source == VQ_AXES_SHAPED && a.c == 3 && a.z == 1 && a.t == 1 && a.width == 33);
			vq_image im;
			CHECK_OK(vq_image_planes(f, &VQ_PICK, &im));
			CHECK(equal(&t, &im.planes));
			CHECK(im.rgb == (how == 2));
			vq_image_free(&im);
			vq_pick one = VQ_PICK;
			one.c = 1;
			if (how < 2) {
				CHECK_OK(vq_image_planes(f, &one, &im));
				CHECK(im.planes.shape[0] == 1 && vq_tensor_get(&im.planes, 5) == vq_tensor_get(&t, 40 * 33 + 5));
				vq_image_free(&im);
			}
			vq_tensor_free(&t);
			vq_image_close(f);
		}
	vq_tensor bad = made(VQ_I64, 2, (int64_t[]){ 2, 2 });
	vq_tensor_set(&bad, 3, 5e9);
	CHECK_FAILS(vq_tiff_write(path, &bad, NULL), VQ_EINVAL);
	CHECK_FAILS(vq_tiff_write("-", &bad, NULL), VQ_EINVAL);
	CHECK_FAILS(vq_tiff_write("/nonexistent/x.tif", &bad, NULL), VQ_EINVAL);
	vq_tensor_free(&bad);
}

/* --- TIFF, made by hand ---------------------------------------------------------------------------------------------- */

enum { W = 256, H = 257, BITS = 258, CODEC = 259, PHOTO = 262, TEXT = 270, AT = 273, SPP = 277, ROWS = 278, LEN = 279, MAP = 320, EXTRA = 338, FORMAT = 339 };

typedef struct { int w, h, bits, codec, photo, spp, extra, format; const char *text; const uint32_t *map; uint32_t bytes; bool big; } plain;

/* A one-strip file; the defaults are 8-bit grey, uncompressed. */
static void simple(const char *path, plain p, const void *pixels, size_t n)
{
	tiff_tag t[16];
	uint32_t bits[8], format[8];
	int k = 0, spp = p.spp ? p.spp : 1;
	for (int i = 0; i < 8; i++)
		bits[i] = p.bits ? (uint32_t)p.bits : 8, format[i] = p.format ? (uint32_t)p.format : 1;
	t[k++] = (tiff_tag){ W, 32, (uint32_t)p.w };
	t[k++] = (tiff_tag){ H, 32, (uint32_t)p.h };
	t[k++] = (tiff_tag){ BITS, 16, .count = spp, .values = bits };
	t[k++] = (tiff_tag){ CODEC, 16, p.codec ? (uint32_t)p.codec : 1 };
	t[k++] = (tiff_tag){ PHOTO, 16, (uint32_t)p.photo };
	if (p.text)
		t[k++] = (tiff_tag){ TEXT, .text = p.text };
	t[k++] = (tiff_tag){ AT, 32, 8 };
	t[k++] = (tiff_tag){ SPP, 16, (uint32_t)spp };
	t[k++] = (tiff_tag){ ROWS, 32, (uint32_t)p.h };
	t[k++] = (tiff_tag){ LEN, 32, p.bytes ? p.bytes : (uint32_t)n };
	if (p.map)
		t[k++] = (tiff_tag){ MAP, 16, .count = 3 << p.bits, .values = p.map };
	if (p.extra)
		t[k++] = (tiff_tag){ EXTRA, 16, (uint32_t)p.extra - 1 };
	t[k++] = (tiff_tag){ FORMAT, 16, .count = spp, .values = format };
	tiff_made(path, p.big, t, k, pixels, n);
}

/* Reads both ways; *im is empty when planes are refused (the message stays). */
static void both(const char *path, vq_tensor *stored, vq_image *im)
{
	vq_image_file *f = opened(path);
	CHECK(f);
	vq_status s = vq_image_read(f, 0, stored);
	if (s == VQ_OK)
		s = vq_image_planes(f, &VQ_PICK, im);
	vq_image_close(f);
	CHECK(s == VQ_OK || vq_message()[0]);
}

TEST(odd_samples)
{
	const char *path = temp_path("odd.tif");
	vq_tensor t = {0};
	vq_image im = {0};
	simple(path, (plain){ .w = 3, .h = 2, .photo = 0 }, "\0\1\2\375\376\377", 6);
	both(path, &t, &im);
	CHECK(!memcmp(t.data, "\0\1\2\375\376\377", 6) && !memcmp(im.planes.data, "\377\376\375\2\1\0", 6) && im.inverted);
	vq_tensor_free(&t), vq_image_free(&im);
	/* 12 bits: a string of bits, whatever the byte order; rows begin on a byte */
	for (int big = 0; big < 2; big++) {
		simple(path, (plain){ .w = 3, .h = 2, .bits = 12, .photo = 1, .big = big }, "\x12\x3a\xbc\xff\xf0\x00\x10\x02\x80\x00", 10);
		both(path, &t, &im);
		const uint16_t want[6] = { 0x123, 0xabc, 0xfff, 0x001, 0x002, 0x800 };
		CHECK(t.dtype == VQ_U16 && !memcmp(t.data, want, 12) && im.bits == 12);
		vq_tensor_free(&t), vq_image_free(&im);
	}
	/* signed 12 bits and MinIsWhite */
	simple(path, (plain){ .w = 2, .h = 1, .bits = 12, .photo = 0, .format = 2 }, "\xff\xf7\xff", 3);
	both(path, &t, &im);
	CHECK(t.dtype == VQ_I32 && vq_tensor_get(&t, 0) == -1 && vq_tensor_get(&t, 1) == 2047 && vq_tensor_get(&im.planes, 0) == 0);
	CHECK(vq_tensor_get(&im.planes, 1) == -2048);
	vq_tensor_free(&t), vq_image_free(&im);
	/* 24-bit floats: 1.0, -2.5, infinity; big-endian bytes */
	simple(path, (plain){ .w = 3, .h = 1, .bits = 24, .photo = 1, .format = 3, .big = true }, "\x3f\x00\x00\xc0\x40\x00\x7f\x00\x00", 9);
	both(path, &t, &im);
	CHECK(t.dtype == VQ_F32 && vq_tensor_get(&t, 0) == 1 && vq_tensor_get(&t, 1) == -2.5 && isinf(vq_tensor_get(&t, 2)));
	vq_tensor_free(&t), vq_image_free(&im);
	/* 20 bits */
	simple(path, (plain){ .w = 2, .h = 1, .bits = 20, .photo = 1 }, "\x12\x34\x5f\xff\xff", 5);
	both(path, &t, &im);
	CHECK(t.dtype == VQ_I64 && vq_tensor_get(&t, 0) == 0x12345 && vq_tensor_get(&t, 1) == 0xfffff);
	vq_tensor_free(&t), vq_image_free(&im);
	/* 64 bits, unsigned: what does not fit is refused */
	simple(path, (plain){ .w = 1, .h = 1, .bits = 64, .photo = 1 }, "\1\0\0\0\0\0\0\x80", 8);
	both(path, &t, &im);
	CHECK(!t.data);
	CHECK_HAS(vq_message(), "64-bit sample of 9223372036854775809");
}

/* Rows 0 and 1 of a 3x3 image at first, row 2 at second, with the lengths that the file claims. */
static bool strips_give(uint32_t first, uint32_t second, uint32_t len, uint32_t last, int order, const char *pixels, size_t n, const char *want)
{
	const char *path = temp_path("a.tif");
	const uint32_t at[2] = { first, second }, bytes[2] = { len, last };
	const tiff_tag t[] = { { W, 32, 3 }, { H, 32, 3 }, { BITS, 16, 8 }, { CODEC, 16, 1 }, { PHOTO, 16, 1 }, { 266, 16, (uint32_t)order }, { AT, 32, .count = 2, .values = at },
		{ SPP, 16, 1 }, { ROWS, 32, 2 }, { LEN, 32, .count = 2, .values = bytes } };
	vq_tensor out = {0};
	tiff_made(path, false, t, (int)VQ_COUNT(t), pixels, n);
	vq_image_file *f = opened(path);
	bool good = f && vq_image_read(f, 0, &out) == VQ_OK && !memcmp(out.data, want, 9);
	vq_tensor_free(&out);
	vq_image_close(f);
	return good;
}

/* Those that adjoin are read at once, the others by libtiff: one result. */
TEST(strips)
{
	CHECK(strips_give(8, 14, 6, 3, 1, "abcdefghi", 9, "abcdefghi"));
	CHECK(strips_give(11, 8, 6, 3, 1, "ghiabcdef", 9, "abcdefghi"));
	CHECK(strips_give(8, 16, 6, 3, 1, "abcdef..ghi", 11, "abcdefghi"));
	CHECK(strips_give(8, 14, 6, 3, 2, "\x80\x40\x20\x10\x08\x04\x02\x01\x03", 9, "\1\2\4\x08\x10\x20\x40\x80\xc0"));
	CHECK(!strips_give(8, 100000, 6, 3, 1, "abcdefghi", 9, ""));
	CHECK(!strips_give(100000, 100006, 6, 3, 1, "abcdefghi", 9, ""));
}

static void set_map(uint32_t *map, int n, double r, double g, double b)
{
	for (int i = 0; i < n; i++) {
		map[i] = (uint32_t)lround(r * i / (n - 1));
		map[n + i] = (uint32_t)lround(g * i / (n - 1));
		map[2 * n + i] = (uint32_t)lround(b * i / (n - 1));
	}
}

TEST(palettes)
{
	const char *path = temp_path("map.tif");
	uint32_t map[768];
	uint8_t grey[3] = { 0, 7, 255 };
	vq_tensor t = {0};
	vq_image im = {0};
	plain p = { .w = 3, .h = 1, .bits = 8, .photo = 3, .map = map };
	set_map(map, 256, 0, 65535, 0); /* green: a tint, the indexes are the intensities */
	simple(path, p, grey, 3);
	both(path, &t, &im);
	CHECK(im.ramp && im.looked_up && !im.rgb && im.planes.shape[0] == 1 && !memcmp(im.planes.data, grey, 3));
	vq_tensor_free(&t), vq_image_free(&im);
	set_map(map, 256, 65535, 65535, 65535);
	simple(path, p, grey, 3);
	both(path, &t, &im);
	CHECK(im.grey_rgb && !im.rgb && im.planes.dtype == VQ_U8 && im.planes.shape[0] == 1 && !memcmp(im.planes.data, grey, 3));
	vq_tensor_free(&t), vq_image_free(&im);
	set_map(map, 256, 65535, 65535, 65535);
	map[7] = 12345;
	simple(path, p, grey, 3);
	both(path, &t, &im);
	CHECK(im.rgb && im.planes.dtype == VQ_U16 && im.bits == 16 && vq_tensor_get(&im.planes, 1) == 12345 && vq_tensor_get(&t, 1) == 7);
	vq_tensor_free(&t), vq_image_free(&im);
	set_map(map, 256, 255, 255, 0); /* 8-bit entries, as some writers have them */
	map[3] = 9;
	simple(path, p, grey, 3);
	both(path, &t, &im);
	CHECK(im.rgb && im.planes.dtype == VQ_U8 && vq_tensor_get(&im.planes, 2) == 255 && vq_tensor_get(&im.planes, 1) == 7);
	vq_tensor_free(&t), vq_image_free(&im);
}

TEST(extra_samples)
{
	const char *path = temp_path("rgba.tif");
	vq_tensor t = {0};
	vq_image im = {0};
	simple(path, (plain){ .w = 2, .h = 1, .photo = 2, .spp = 4, .extra = 1 + 2 }, "\5\5\5\0\6\6\6\1", 8);
	both(path, &t, &im);
	CHECK(im.alpha_dropped && im.grey_rgb && im.planes.shape[0] == 1 && !memcmp(im.planes.data, "\5\6", 2));
	vq_tensor_free(&t), vq_image_free(&im);
	simple(path, (plain){ .w = 2, .h = 1, .photo = 2, .spp = 4, .extra = 1 }, "\1\2\3\377\4\5\6\377", 8);
	both(path, &t, &im); /* unspecified and opaque: an alpha */
	CHECK(im.alpha_dropped && im.rgb && im.planes.shape[0] == 3);
	vq_tensor_free(&t), vq_image_free(&im);
	simple(path, (plain){ .w = 2, .h = 1, .photo = 2, .spp = 4, .extra = 1 }, "\1\2\3\377\4\5\6\376", 8);
	both(path, &t, &im); /* unspecified: a fourth channel */
	CHECK(!im.alpha_dropped && !im.rgb && im.planes.shape[0] == 4);
	vq_tensor_free(&t), vq_image_free(&im);
	simple(path, (plain){ .w = 2, .h = 1, .photo = 5, .spp = 4 }, "\1\2\3\377\4\5\6\376", 8);
	both(path, &t, &im);
	CHECK(t.data && !im.planes.data);
	CHECK_HAS(vq_message(), "CMYK");
	vq_tensor_free(&t);
}

/* --- refusals -------------------------------------------------------------------------------------------------------- */

static void refused(const char *path, vq_status code, const char *part)
{
	vq_image_file *f;
	vq_tensor t;
	vq_status s = vq_image_open(&f, path, NULL);
	if (s == VQ_OK)
		s = vq_image_read(f, 0, &t);
	vq_image_close(f);
	if (s != code)
		printf("# %s\n", s == VQ_OK ? "read" : vq_message());
	CHECK(s == code);
	CHECK_HAS(vq_message(), part);
	CHECK(!strncmp(vq_message(), path, strlen(path)));
	CHECK(!strchr(vq_message(), '\n'));
}

TEST(what_is_refused)
{
	const char *path = temp_path("bad.tif");
	refused(temp_path("missing.tif"), VQ_EIO, "No such file");
	refused("/", VQ_EIO, "directory");
	file_made(path, "", 0);
	refused(path, VQ_EFORMAT, "is empty");
	file_made(path, "\xff\xd8\xff\xe0 and more", 13);
	refused(path, VQ_EFORMAT, "JPEG");
	file_made(path, "id,x,y\n1,2,3\n", 13);
	refused(path, VQ_EFORMAT, "neither TIFF nor PNG");
	simple(path, (plain){ .w = 4, .h = 4, .photo = 1, .codec = 34712 }, "0123456789abcdef", 16);
	refused(path, VQ_EUNSUP, "JPEG2000");
	simple(path, (plain){ .w = 4, .h = 4, .photo = 1, .codec = 34999 }, "0123456789abcdef", 16);
	refused(path, VQ_EUNSUP, "compression 34999");
	simple(path, (plain){ .w = 60000, .h = 60000, .photo = 1 }, "0123456789abcdef", 16);
	refused(path, VQ_EFORMAT, "cannot be in a file of");
	simple(path, (plain){ .w = 60000, .h = 60000, .photo = 1, .bits = 16 }, "0123456789abcdef", 16);
	refused(path, VQ_ELIMIT, "4096 MiB");
	simple(path, (plain){ .w = 8, .h = 40, .photo = 1, .bytes = 100000 }, "0123456789abcdef", 16);
	refused(path, VQ_EFORMAT, "page 1");
	simple(path, (plain){ .w = 2, .h = 2, .photo = 1, .bits = 32, .format = 6 }, "0123456789abcdef", 16);
	refused(path, VQ_EUNSUP, "complex");
	simple(path, (plain){ .w = 2, .h = 2, .photo = 1, .bits = 40 }, "0123456789abcdef0123", 20);
	refused(path, VQ_EUNSUP, "40 bits");
}

/* Cut anywhere and with bytes flipped, a file is read or refused, and nothing else. */
static void mangle(const char *from, uint32_t seed)
{
	static unsigned char good[8192], bad[8192];
	FILE *f = fopen(from, "rb");
	size_t n = f ? fread(good, 1, sizeof good, f) : 0;
	CHECK(n > 100 && n < sizeof good);
	fclose(f);
	const char *path = temp_path("mangled");
	int refusals = 0;
	for (int i = 0; i < 300; i++) {
		size_t len = n;
		memcpy(bad, good, n);
		if (i % 2) {
			len = n * (size_t)i / 300;
		} else {
			for (int k = 0; k < 1 + i % 5; k++) {
				seed = seed * 1664525u + 1013904223u;
				bad[seed % n] = (unsigned char)(seed >> 24);
			}
		}
		file_made(path, bad, len);
		vq_image_file *g;
		vq_image_limits limits = { .page_bytes = 1 << 24 };
		vq_image im;
		vq_tensor t;
		vq_status s = vq_image_open(&g, path, &limits);
		if (s == VQ_OK && (s = vq_image_planes(g, &VQ_PICK, &im)) == VQ_OK)
			vq_image_free(&im);
		if (g && vq_image_labels(g, &VQ_PICK, &t) == VQ_OK)
			vq_tensor_free(&t);
		vq_image_close(g);
		refusals += s < 0;
	}
	CHECK(refusals > 100);
}

TEST(mangled_files)
{
	const char *path = temp_path("whole");
	vq_tensor t = made(VQ_U16, 3, (int64_t[]){ 3, 12, 11 });
	CHECK_OK(vq_tiff_write(path, &t, NULL));
	mangle(path, 1);
	CHECK_OK(vq_tiff_write(path, &t, &(vq_tiff_options){ .compress = true }));
	mangle(path, 2);
	CHECK_OK(vq_tiff_write(path, &t, &(vq_tiff_options){ .description = "<OME UUID=\"u\"><Image><Pixels SizeC=\"3\" SizeZ=\"1\" SizeT=\"1\" "
		"DimensionOrder=\"XYCZT\"><Channel Name=\"a\"/><TiffData IFD=\"0\" PlaneCount=\"3\"/></Pixels></Image></OME>" }));
	mangle(path, 3);
	vq_tensor_free(&t);
	t = made(VQ_U8, 3, (int64_t[]){ 12, 11, 3 });
	CHECK_OK(vq_png_write(path, &t));
	mangle(path, 4);
	vq_tensor_free(&t);
}

TEST_MAIN(RUN(png_round_trip) RUN(png_of_other_makers) RUN(tiff_round_trip) RUN(odd_samples) RUN(strips) RUN(palettes) RUN(extra_samples)
          RUN(what_is_refused) RUN(mangled_files))
