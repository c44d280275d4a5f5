#include <unistd.h>

#include "formats/outfile.h"
#include "formats/safetensors.h"
#include "tests/unit/test.h"

static char path[64];
static const char *scratch(void)
{
	snprintf(path, sizeof path, "/tmp/vq-test-safetensors.%ld", (long)getpid());
	return path;
}

/* Made by tests/oracle/safetensors_check.py: 2x3 of every element type. */
TEST(every_type_reads_as_numpy_wrote_it)
{
	static const struct { const char *name; vq_dtype dtype; double v[6]; } want[] = {
		{ "f64", VQ_F64, { 0, -1.5, 1e300, 5e-324, INFINITY, 3 } }, { "f32", VQ_F32, { 0, -1.5, 1e30f, 1e-45f, INFINITY, 3 } },
		{ "f16", VQ_F16, { 0, -1.5, 65504, 0x1p-24, INFINITY, 3 } }, { "i64", VQ_I64, { 0, -1, 0x1p62, -0x1p63, 4, 5 } },
		{ "u64", VQ_I64, { 0, 1, 0x1p62, 0x1p63, 4, 5 } }, { "i32", VQ_I32, { 0, -1, 2147483647, -2147483648., 4, 5 } },
		{ "u32", VQ_I64, { 0, 1, 2147483648., 4294967295., 4, 5 } }, { "i16", VQ_I32, { 0, -1, 32767, -32768, 4, 5 } },
		{ "u16", VQ_U16, { 0, 1, 32768, 65535, 4, 5 } }, { "i8", VQ_I8, { 0, -1, 127, -128, 4, 5 } },
		{ "u8", VQ_U8, { 0, 1, 128, 255, 4, 5 } }, { "bool", VQ_U8, { 0, 1, 0, 1, 0, 1 } },
		{ "e4m3", VQ_F32, { 0, 1, -2, 0x1p-9, 448, NAN } }, { "e5m2", VQ_F32, { 0, 1, -2, 0x1p-16, 57344, INFINITY } },
	};
	vq_st *st;
	vq_tensor t;
	CHECK_OK(vq_st_open(&st, "tests/golden/types.safetensors"));
	CHECK(vq_st_count(st) == 18);
	for (size_t k = 0; k < VQ_COUNT(want); k++) {
		CHECK_OK(vq_st_tensor(st, want[k].name, &t));
		CHECK(t.dtype == want[k].dtype && t.ndim == 2 && t.shape[0] == 2 && t.shape[1] == 3);
		for (size_t i = 0; i < 6; i++) {
			double v = vq_tensor_get(&t, i);
			if (v != want[k].v[i] && !(isnan(v) && isnan(want[k].v[i])))
				TEST_END(1, "%s[%zu] is %g, not %g", want[k].name, i, v, want[k].v[i]);
		}
		vq_tensor_free(&t);
	}
	CHECK_OK(vq_st_tensor(st, "scalar", &t));
	CHECK(t.ndim == 0 && vq_tensor_get(&t, 0) == 2.5);
	vq_tensor_free(&t);
	CHECK_OK(vq_st_tensor(st, "empty", &t));
	CHECK(t.ndim == 3 && t.shape[1] == 0);
	vq_tensor_free(&t);
	CHECK_OK(vq_st_f32(st, "bf16", 2, (int64_t[]){ 2, 3 }, &t));
	CHECK(t.dtype == VQ_F32 && vq_tensor_get(&t, 1) == -1.5);
	vq_tensor_free(&t);
	CHECK_STR(vq_st_meta(st, "format"), "pt");
	CHECK_STR(vq_st_meta(st, "note"), "every type, \"quoted\" \xc3\xa9");
	CHECK(!vq_st_meta(st, "none"));
	CHECK_FAILS(vq_st_tensor(st, "u64big", &t), VQ_EUNSUP);
	CHECK_HAS(vq_message(), "u64big");
	CHECK_FAILS(vq_st_tensor(st, "f3", &t), VQ_EINVAL);
	CHECK_HAS(vq_message(), "f3");
	CHECK_FAILS(vq_st_f32(st, "f32", 2, (int64_t[]){ 3, 2 }, &t), VQ_EINVAL);
	CHECK_HAS(vq_message(), "[2,3], not [3,2]");
	CHECK_FAILS(vq_st_f32(st, "scalar", 1, (int64_t[]){ 1 }, &t), VQ_EINVAL);
	CHECK_HAS(vq_message(), "[], not [1]");
	vq_st_close(st);
}

TEST(what_is_written_reads_back)
{
	static const int64_t shape[] = { 3, 5 };
	vq_tensor t[VQ_DTYPES], back;
	vq_st_item items[VQ_DTYPES];
	vq_st *st;
	cJSON *meta = cJSON_CreateObject();
	cJSON_AddStringToObject(meta, "config", "{\"a\": \"b\\n\"}");
	for (int d = 0; d < VQ_DTYPES; d++) {
		CHECK_OK(vq_tensor_make(&t[d], (vq_dtype)d, 2, shape));
		for (size_t i = 0; i < 15; i++)
			vq_tensor_set(&t[d], i, (double)i * (1 + d));
		items[d] = (vq_st_item){ vq_dtype_name((vq_dtype)d), &t[d] };
	}
	CHECK_OK(vq_st_write(scratch(), items, VQ_DTYPES, meta));
	vq_buf a = { 0 }, b = { 0 };
	CHECK_OK(vq_file_read(path, 1 << 20, &a));
	CHECK_OK(vq_st_write(path, items, VQ_DTYPES, meta));
	CHECK_OK(vq_file_read(path, 1 << 20, &b));
	CHECK(a.len == b.len && !memcmp(a.data, b.data, a.len));
	uint64_t length;
	memcpy(&length, a.data, 8);
	CHECK(length % 8 == 0);
	CHECK_OK(vq_st_open(&st, path));
	CHECK(vq_st_count(st) == VQ_DTYPES);
	CHECK_STR(vq_st_at(st, 0)->name, "i64");
	CHECK_STR(vq_st_at(st, VQ_DTYPES - 1)->name, "i8");
	CHECK(!vq_st_at(st, VQ_DTYPES) && !vq_st_at(st, -1));
	for (int d = 0; d < VQ_DTYPES; d++) {
		const vq_st_info *e = vq_st_find(st, items[d].name);
		CHECK(e && e->begin % vq_dtype_size((vq_dtype)d) == 0);
		CHECK_OK(vq_st_tensor(st, items[d].name, &back));
		CHECK(back.dtype == t[d].dtype && back.ndim == 2 && !memcmp(back.data, t[d].data, 15 * vq_dtype_size((vq_dtype)d)));
		vq_tensor_free(&back);
		vq_tensor_free(&t[d]);
	}
	CHECK_STR(vq_st_meta(st, "config"), "{\"a\": \"b\\n\"}");
	vq_st_close(st);
	cJSON_Delete(meta);
	vq_buf_free(&a);
	vq_buf_free(&b);
	unlink(path);
}

TEST(the_bytes_are_these)
{
	float v[] = { 1, 2 };
	uint8_t u[] = { 7 };
	vq_tensor f = { VQ_F32, 1, { 2 }, v, false }, g = { VQ_U8, 0, { 0 }, u, false };
	vq_st_item items[] = { { "b", &g }, { "a", &f } };
	vq_buf b = { 0 };
	static const char want[] = "\160\0\0\0\0\0\0\0"
		"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]}}"
		"       \0\0\x80?\0\0\0@\x07";
	CHECK_OK(vq_st_write(scratch(), items, 2, NULL));
	CHECK_OK(vq_file_read(path, 1 << 20, &b));
	CHECK(b.len == sizeof want - 1 && !memcmp(b.data, want, b.len));
	vq_buf_free(&b);
	vq_st_item twice[] = { { "a", &f }, { "a", &f } };
	CHECK_FAILS(vq_st_write(path, twice, 2, NULL), VQ_EINVAL);
	CHECK_HAS(vq_message(), "tensor a");
	CHECK_OK(vq_st_write(path, NULL, 0, NULL)); /* no tensors at all */
	vq_st *st;
	CHECK_OK(vq_st_open(&st, path));
	CHECK(vq_st_count(st) == 0);
	vq_st_close(st);
	CHECK_FAILS(vq_st_write("/none/such", items, 2, NULL), VQ_EIO);
	CHECK_HAS(vq_message(), "/none/such");
	unlink(path);
}

/* A file with this header (and its length) and so many zero bytes of data. */
static vq_status opens(const char *header, size_t data)
{
	vq_buf b = { 0 };
	vq_st *st = NULL;
	uint64_t n = strlen(header);
	vq_status s = vq_buf_add(&b, &n, 8);
	s = s < 0 ? s : vq_buf_str(&b, header);
	for (; data && s == VQ_OK; data--)
		s = vq_buf_add(&b, "", 1);
	s = s < 0 ? s : vq_out_write(scratch(), b.data, b.len);
	s = s < 0 ? s : vq_st_open(&st, path);
	vq_st_close(st);
	vq_buf_free(&b);
	unlink(path);
	return s;
}

#define A "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}"
TEST(broken_headers_are_refused_by_name)
{
	static const struct { const char *header; size_t data; vq_status code; const char *part; } bad[] = {
		{ A ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, VQ_EFORMAT, "tensor b: its data overlaps" },
		{ A ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}", 5, VQ_EFORMAT, "tensor b: its data leaves a hole" },
		{ A ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}", 3, VQ_ETRUNC, "tensor b: its data ends" },
		{ A ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}", 5, VQ_EFORMAT, "1 bytes after" },
		{ A ",\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}", 4, VQ_EFORMAT, "tensor a: in the header twice" },
		{ A ",\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,4]}}", 4, VQ_EFORMAT, "tensor b: data_offsets span 2 bytes" },
		{ A ",\"b\":{\"dtype\":\"U8\",\"shape\":[-2],\"data_offsets\":[2,4]}}", 4, VQ_EFORMAT, "tensor b: a shape" },
		{ A ",\"b\":{\"dtype\":\"U8\",\"shape\":[1.5],\"data_offsets\":[2,4]}}", 4, VQ_EFORMAT, "tensor b: a shape" },
		{ A ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,2]}}", 4, VQ_EFORMAT, "tensor b: data_offsets" },
		{ A ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2]}}", 4, VQ_EFORMAT, "tensor b: lacks" },
		{ A ",\"b\":{\"dtype\":\"U8\",\"data_offsets\":[2,4]}}", 4, VQ_EFORMAT, "tensor b: lacks" },
		{ A ",\"b\":7}", 2, VQ_EFORMAT, "tensor b: lacks" },
		{ A ",\"b\":{\"dtype\":\"Q4\",\"shape\":[2],\"data_offsets\":[2,4]}}", 4, VQ_EUNSUP, "tensor b: element type \"Q4\"" },
		{ A ",\"b\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[2,3]}}", 3, VQ_EUNSUP, "tensor b: more than 8" },
		{ A ",\"b\":{\"dtype\":\"F64\",\"shape\":[4294967296,4294967296],\"data_offsets\":[2,4]}}", 4, VQ_ELIMIT, "tensor b" },
		{ A ",\"__metadata__\":{\"x\":1}}", 2, VQ_EFORMAT, "__metadata__.x" },
		{ A ",\"__metadata__\":[]}", 2, VQ_EFORMAT, "__metadata__" },
		{ A, 2, VQ_EFORMAT, "no JSON object" },
		{ A "} x", 2, VQ_EFORMAT, "no JSON object" },
		{ "[1,2,3]", 0, VQ_EFORMAT, "no JSON object" },
		{ "x", 0, VQ_EFORMAT, "not a safetensors file" },
	};
	CHECK_OK(opens(A "}   ", 2));
	for (size_t i = 0; i < VQ_COUNT(bad); i++) {
		vq_status s = opens(bad[i].header, bad[i].data);
		if (s != bad[i].code || !strstr(vq_message(), bad[i].part) || strncmp(vq_message(), path, strlen(path)))
			TEST_END(1, "case %zu (%s): %d %s", i, bad[i].part, s, vq_message());
	}
	vq_st *st;
	CHECK_OK(vq_out_write(scratch(), "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10));
	CHECK_FAILS(vq_st_open(&st, path), VQ_EFORMAT);
	unlink(path);
	CHECK_FAILS(vq_st_open(&st, path), VQ_EIO);
	CHECK_FAILS(vq_st_open(&st, "/"), VQ_EIO);
}

/* Every cut is refused; every flipped bit of the header is refused or leaves a file that reads to its end. */
TEST(cuts_and_flips)
{
	vq_buf b = { 0 };
	vq_st *st;
	CHECK_OK(vq_file_read("tests/golden/types.safetensors", 1 << 20, &b));
	for (size_t n = 0; n < b.len; n++) {
		CHECK_OK(vq_out_write(scratch(), b.data, n));
		vq_status s = vq_st_open(&st, path);
		CHECK(s == VQ_ETRUNC || s == VQ_EFORMAT);
	}
	uint64_t header;
	memcpy(&header, b.data, 8);
	int refused = 0, good = 0;
	for (size_t i = 0; i < 8 + header; i++) {
		char was = b.data[i];
		b.data[i] ^= (char)(1 << i % 8);
		CHECK_OK(vq_out_write(path, b.data, b.len));
		vq_status s = vq_st_open(&st, path);
		refused += s < 0;
		good += s == VQ_OK;
		for (int k = 0; s == VQ_OK && k < vq_st_count(st); k++) {
			vq_tensor t;
			vq_st_tensor(st, vq_st_at(st, k)->name, &t);
			vq_tensor_free(&t);
		}
		vq_st_close(st);
		b.data[i] = was;
	}
	CHECK_NEAR(refused, 8 + (double)header, 300);
	CHECK(good > 50); /* names and texts */
	vq_buf_free(&b);
	unlink(path);
}

/* Tensors, elements and the sum of absolute values as numpy has them (tests/oracle/safetensors_check.py check FILE...). */
TEST(weights_files)
{
	static const struct { const char *file; int n; size_t count; double sum; } want[] = {
		{ "alexnet_features", 10, 2469696, 59946.476901667964 }, { "squeezenet1_1_features", 50, 722496, 30648.475481075286 },
		{ "vgg16_features_to_relu2_2", 8, 260160, 8685.758549788432 }, { "vgg19_distilled16x_features", 38, 964188, 23911.58115147141 },
		{ "lpips/alex_v0.1", 5, 1152, 105.2753545809201 }, { "lpips/squeeze_v0.1", 7, 2240, 173.4387181383333 },
		{ "lpips/vgg_v0.1", 5, 1472, 131.85550854727626 },
	};
	if (access("../shared/weights", R_OK))
		SKIP("no ../shared/weights");
	for (size_t k = 0; k < VQ_COUNT(want); k++) {
		char file[128];
		vq_st *st;
		double sum = 0;
		size_t count = 0;
		snprintf(file, sizeof file, "../shared/weights/%s.safetensors", want[k].file);
		CHECK_OK(vq_st_open(&st, file));
		CHECK(vq_st_count(st) == want[k].n);
		for (int i = 0; i < want[k].n; i++) {
			vq_tensor t;
			const vq_st_info *e = vq_st_at(st, i);
			CHECK_OK(vq_st_f32(st, e->name, e->ndim, e->shape, &t));
			for (size_t j = 0; j < e->count; j++)
				sum += fabs((double)((float *)t.data)[j]);
			count += e->count;
			vq_tensor_free(&t);
		}
		CHECK(count == want[k].count);
		CHECK_NEAR(sum / want[k].sum, 1, 1e-9);
		vq_st_close(st);
	}
}

TEST_MAIN(
	RUN(every_type_reads_as_numpy_wrote_it)
	RUN(what_is_written_reads_back)
	RUN(the_bytes_are_these)
	RUN(broken_headers_are_refused_by_name)
	RUN(cuts_and_flips)
	RUN(weights_files)
)
