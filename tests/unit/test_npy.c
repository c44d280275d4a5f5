#include "tests/unit/test.h"

#include <zlib.h>

#include "formats/npy.h"
#include "formats/outfile.h"
#include "tests/unit/tiffs.h"

static void fill(vq_tensor *t, vq_dtype type, int ndim, const int64_t *shape)
{
	size_t n;
	CHECK_OK(vq_tensor_make(t, type, ndim, shape));
	CHECK_OK(vq_tensor_count(t, &n));
	for (size_t i = 0; i < n; i++)
		vq_tensor_set(t, i, (double)(i % 100));
}

static bool equal(const vq_tensor *a, const vq_tensor *b)
{
	size_t n, m;
	if (a->dtype != b->dtype || a->ndim != b->ndim || memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape))
		return false;
	return vq_tensor_bytes(a, &n) == VQ_OK && vq_tensor_bytes(b, &m) == VQ_OK && n == m && !memcmp(a->data, b->data, n);
}

TEST(round_trip)
{
	static const struct { int ndim; int64_t shape[6]; } shapes[] = {
		{ 0, { 0 } }, { 1, { 5 } }, { 2, { 3, 4 } }, { 3, { 2, 0, 4 } }, { 6, { 1, 2, 1, 3, 1, 2 } },
	};
	const char *path = temp_path("a.npy");
	for (int type = 0; type < VQ_DTYPES; type++)
		for (size_t k = 0; k < VQ_COUNT(shapes); k++) {
			vq_tensor t, back, wide = {0};
			fill(&t, (vq_dtype)type, shapes[k].ndim, shapes[k].shape);
			CHECK_OK(vq_npy_write(path, &t));
			CHECK_OK(vq_npy_read(path, 0, &back));
			if (type == VQ_BF16)
				CHECK_OK(vq_tensor_to_f32(&wide, &t));
			CHECK(equal(type == VQ_BF16 ? &wide : &t, &back));
			vq_tensor_free(&wide);
			vq_tensor_free(&back);
			vq_tensor_free(&t);
		}
}

TEST(the_header_is_numpys)
{
	const char *path = temp_path("h.npy");
	vq_buf file = {0};
	vq_tensor t;
	fill(&t, VQ_U16, 2, (int64_t[]){ 3, 4 });
	CHECK_OK(vq_npy_write(path, &t));
	CHECK_OK(vq_file_read(path, 1 << 20, &file));
	CHECK(file.len == 128 + 24 && !memcmp(file.data, "\x93NUMPY\x01\x00\x76\x00", 10) && file.data[127] == '\n');
	CHECK(!memcmp(file.data + 10, "{'descr': '<u2', 'fortran_order': False, 'shape': (3, 4), }  ", 60));
	vq_buf_free(&file);
	vq_tensor_free(&t);
}

static vq_status parse(int version, const char *dict, const void *data, size_t n, vq_tensor *out)
{
	unsigned char b[512] = "\x93NUMPY";
	size_t len = strlen(dict), at = version == 1 ? 10 : 12;
	b[6] = (unsigned char)version;
	b[8] = (unsigned char)len;
	memcpy(b + at, dict, len);
	memcpy(b + at + len, data, n);
	return vq_npy_parse(b, at + len + n, "x.npy", out);
}

TEST(other_writers)
{
	vq_tensor t;
	CHECK_OK(parse(1, "{'descr': '>i2', 'fortran_order': False, 'shape': (3,), }", "\x00\x01\xff\xfe\x7f\xff", 6, &t));
	CHECK(t.dtype == VQ_I32 && t.ndim == 1 && vq_tensor_get(&t, 0) == 1 && vq_tensor_get(&t, 1) == -2 && vq_tensor_get(&t, 2) == 32767);
	vq_tensor_free(&t);
	/* [[0,1,2],[3,4,5]] column by column */
	CHECK_OK(parse(2, "{\"shape\": (2L, 3L), \"fortran_order\": True, \"descr\": \"|u1\"}\n", "\0\3\1\4\2\5", 6, &t));
	CHECK(t.shape[0] == 2 && t.shape[1] == 3 && !memcmp(t.data, "\0\1\2\3\4\5", 6));
	vq_tensor_free(&t);
	CHECK_OK(parse(3, "{'descr': '>u4', 'fortran_order': True, 'shape': (1, 2), }", "\xff\xff\xff\xff\0\0\0\1", 8, &t));
	CHECK(t.dtype == VQ_I64 && vq_tensor_get(&t, 0) == 4294967295.0 && vq_tensor_get(&t, 1) == 1);
	vq_tensor_free(&t);
	CHECK_OK(parse(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (), }", "\1", 1, &t));
	CHECK(t.dtype == VQ_U8 && t.ndim == 0 && vq_tensor_get(&t, 0) == 1);
	vq_tensor_free(&t);
	CHECK_OK(parse(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "\xc0\x20\0\0", 4, &t));
	CHECK(vq_tensor_get(&t, 0) == -2.5);
	vq_tensor_free(&t);
}

TEST(what_is_refused)
{
	static const struct { const char *dict; vq_status code; const char *part; } bad[] = {
		{ "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", VQ_EUNSUP, "Python objects" },
		{ "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", VQ_EUNSUP, "'<c8'" },
		{ "{'descr': '<U3', 'fortran_order': False, 'shape': (1,), }", VQ_EUNSUP, "'<U3'" },
		{ "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", VQ_EUNSUP, "plain numbers" },
		{ "{'descr': '<u8', 'fortran_order': False, 'shape': (1,), }", VQ_EUNSUP, "beyond 2^63" },
		{ "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", VQ_ETRUNC, "ends before" },
		{ "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 9), }", VQ_ETRUNC, "ends before" },
		{ "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }", VQ_EFORMAT, "bad shape" },
		{ "{'descr': '<f8', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1), }", VQ_EUNSUP, "6 axes" },
		{ "{'descr': '<f8', 'shape': (1,), }", VQ_EFORMAT, "without descr" },
	};
	vq_tensor t;
	for (size_t i = 0; i < VQ_COUNT(bad); i++) {
		CHECK_FAILS(parse(1, bad[i].dict, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, &t), bad[i].code);
		CHECK_HAS(vq_message(), bad[i].part);
		CHECK(!strncmp(vq_message(), "x.npy: ", 7));
	}
	CHECK_FAILS(vq_npy_parse("\x93NUMPY\x01\x00\xff\xff{}", 12, "x.npy", &t), VQ_ETRUNC);
	CHECK_FAILS(vq_npy_parse("\x93NUMPY\x04\x00\x02\x00{}", 12, "x.npy", &t), VQ_EUNSUP);
	CHECK_FAILS(vq_npy_parse("II*", 3, "x.npy", &t), VQ_EFORMAT);
}

TEST(a_stack)
{
	const char *path = temp_path("s.npy");
	vq_npy_stack *s;
	vq_tensor t, other, back;
	fill(&t, VQ_F16, 2, (int64_t[]){ 3, 2 });
	CHECK_OK(vq_npy_stack_open(&s, path));
	for (int i = 0; i < 1001; i++)
		CHECK_OK(vq_npy_stack_put(s, &t));
	fill(&other, VQ_F16, 2, (int64_t[]){ 2, 3 });
	CHECK_FAILS(vq_npy_stack_put(s, &other), VQ_EINVAL);
	CHECK_STR(vq_message(), "is f16 [2,3], the first one is f16 [3,2]");
	CHECK_OK(vq_npy_stack_commit(s));
	CHECK_OK(vq_npy_read(path, 0, &back));
	CHECK(back.ndim == 3 && back.shape[0] == 1001 && back.shape[1] == 3 && back.shape[2] == 2 && vq_tensor_get(&back, 6005) == 5);
	vq_tensor_free(&back);
	vq_tensor_free(&other);
	vq_tensor_free(&t);
	CHECK_OK(vq_npy_stack_open(&s, temp_path("none.npy")));
	CHECK_FAILS(vq_npy_stack_commit(s), VQ_EINVAL);
	FILE *f = fopen(temp_path("none.npy"), "rb");
	CHECK(!f);
}

/* --- zip, read back by the letter ------------------------------------------------------------------------------------ */

static uint64_t le(const char *p, int n)
{
	uint64_t v = 0;
	while (n--)
		v = v << 8 | (unsigned char)p[n];
	return v;
}

/* The array of the central entry at *p, which goes on to the next; checks local header, sizes and checksum. */
static void entry(const vq_buf *z, size_t *p, char name[256], vq_tensor *out)
{
	const char *c = z->data + *p;
	CHECK(le(c, 4) == 0x02014b50);
	size_t n = le(c + 28, 2), packed = le(c + 20, 4), size = le(c + 24, 4);
	const char *l = z->data + le(c + 42, 4);
	CHECK(n < 256 && le(l, 4) == 0x04034b50 && le(l + 26, 2) == n && !memcmp(l + 30, c + 46, n));
	CHECK(!memcmp(l + 6, c + 8, 20)); /* flags to sizes */
	memcpy(name, c + 46, n);
	name[n] = 0;
	const char *data = l + 30 + n + le(l + 28, 2);
	char *plain = malloc(size);
	z_stream s = { .next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)packed, .next_out = (Bytef *)plain, .avail_out = (uInt)size };
	if (le(c + 10, 2) == 8)
		CHECK(inflateInit2(&s, -15) == Z_OK && inflate(&s, Z_FINISH) == Z_STREAM_END && s.total_out == size && inflateEnd(&s) == Z_OK);
	else
		memcpy(plain, data, size);
	CHECK(crc32(0, (Bytef *)plain, (uInt)size) == le(c + 16, 4));
	CHECK_OK(vq_npy_parse(plain, size, name, out));
	free(plain);
	*p += 46 + n + le(c + 30, 2);
}

TEST(an_archive)
{
	static const char *const names[] = { "plate 1/A01#12/image", "\xc3\xa4\xe2\x98\x83/codes", "a\"b,c\\d/\xf0\x9f\x94\xac", "x" };
	static const vq_dtype types[] = { VQ_U16, VQ_I32, VQ_F32, VQ_BF16 };
	const char *path = temp_path("a.npz");
	vq_npz *z;
	vq_tensor t[4], back;
	vq_buf file = {0};
	char name[256];
	CHECK_OK(vq_npz_open(&z, path));
	for (int i = 0; i < 4; i++) {
		fill(&t[i], types[i], 2, (int64_t[]){ 30, 20 + i });
		CHECK_OK(vq_npz_put(z, names[i], &t[i]));
	}
	CHECK_FAILS(vq_npz_put(z, "", &t[0]), VQ_EINVAL);
	CHECK_OK(vq_npz_commit(z));
	CHECK_OK(vq_file_read(path, 1 << 20, &file));
	const char *end = file.data + file.len - 22;
	CHECK(le(end, 4) == 0x06054b50 && le(end + 10, 2) == 4);
	size_t p = le(end + 16, 4);
	CHECK(p + le(end + 12, 4) == file.len - 22);
	for (int i = 0; i < 4; i++) {
		bool ascii = i != 1 && i != 2, whole = i < 2;
		CHECK(le(file.data + p + 8, 2) == (ascii ? 0 : 0x800) && le(file.data + p + 10, 2) == (whole ? 8 : 0));
		entry(&file, &p, name, &back);
		CHECK(strlen(name) == strlen(names[i]) + 4 && !strncmp(name, names[i], strlen(names[i])) && !strcmp(name + strlen(names[i]), ".npy"));
		CHECK(back.shape[1] == 20 + i && vq_tensor_get(&back, 77) == 77);
		vq_tensor_free(&back);
		vq_tensor_free(&t[i]);
	}
	vq_buf_free(&file);
}

TEST(an_archive_of_many)
{
	const char *path = temp_path("many.npz");
	vq_npz *z;
	vq_tensor t;
	vq_buf file = {0};
	fill(&t, VQ_U8, 1, (int64_t[]){ 1 });
	CHECK_OK(vq_npz_open(&z, path));
	for (int i = 0; i < 65536; i++) {
		char name[16];
		snprintf(name, sizeof name, "%d", i);
		CHECK_OK(vq_npz_put(z, name, &t));
	}
	CHECK_OK(vq_npz_commit(z));
	CHECK_OK(vq_file_read(path, 1 << 26, &file));
	const char *end = file.data + file.len - 22; /* zip64: record (56), locator (20), old record (22) */
	CHECK(le(end + 10, 2) == 0xffff && le(end - 20, 4) == 0x07064b50 && le(end - 12, 8) == file.len - 98);
	CHECK(le(end - 76, 4) == 0x06064b50 && le(end - 76 + 32, 8) == 65536);
	size_t p = le(end - 76 + 48, 8);
	CHECK(p + le(end - 76 + 40, 8) == file.len - 98);
	vq_buf_free(&file);
	vq_tensor_free(&t);
}

TEST_MAIN(RUN(round_trip) RUN(the_header_is_numpys) RUN(other_writers) RUN(what_is_refused) RUN(a_stack) RUN(an_archive) RUN(an_archive_of_many))
