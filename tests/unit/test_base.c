#include "lib/rng.h"
#include "lib/tensor.h"
#include "tests/unit/test.h"

TEST(philox_matches_the_published_vectors)
{
	/* Random123's kat_vectors, philox4x32 with 10 rounds */
	uint32_t out[4], zero[4] = {0}, k0[2] = {0};
	vq_philox(zero, k0, out);
	CHECK(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c && out[3] == 0x9b00dbd8);
	uint32_t ones[4] = { ~0u, ~0u, ~0u, ~0u }, k1[2] = { ~0u, ~0u };
	vq_philox(ones, k1, out);
	CHECK(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 && out[3] == 0x6d5451fd);
}

TEST(a_copied_generator_continues_alike)
{
	vq_rng a = vq_rng_make(7, 3), b;
	for (int i = 0; i < 5; i++)
		vq_rng_u32(&a);
	b = a;
	for (int i = 0; i < 100; i++)
		CHECK(vq_rng_u32(&a) == vq_rng_u32(&b));
	vq_rng c = vq_rng_make(7, 4), d = vq_rng_make(7, 3);
	CHECK(vq_rng_u64(&c) != vq_rng_u64(&d));
}

TEST(draws_have_their_moments)
{
	vq_rng r = vq_rng_make(1, 1);
	double m = 0, v = 0, p = 0, u = 0;
	enum { N = 200000 };
	for (int i = 0; i < N; i++) {
		double x = vq_rng_normal(&r);
		m += x / N;
		v += x * x / N;
		p += vq_rng_poisson(&r, 4) / N;
		u += vq_rng_uniform(&r) / N;
	}
	CHECK_NEAR(m, 0, .01);
	CHECK_NEAR(v, 1, .02);
	CHECK_NEAR(p, 4, .03);
	CHECK_NEAR(u, .5, .005);
}

TEST(a_shuffle_is_a_permutation)
{
	uint32_t a[1000];
	bool seen[1000] = {0};
	for (uint32_t i = 0; i < 1000; i++)
		a[i] = i;
	vq_rng r = vq_rng_make(1, 2);
	vq_rng_shuffle(&r, a, 1000);
	int moved = 0;
	for (uint32_t i = 0; i < 1000; i++) {
		CHECK(a[i] < 1000 && !seen[a[i]]);
		seen[a[i]] = true;
		moved += a[i] != i;
	}
	CHECK(moved > 900);
}

TEST(half_formats_round_to_nearest_even)
{
	for (uint32_t h = 0; h < 0x10000; h++) {
		float f = vq_f16_to_f32((uint16_t)h);
		if (f == f)
			CHECK(vq_f32_to_f16(f) == h);
		float g = vq_bf16_to_f32((uint16_t)h);
		if (g == g)
			CHECK(vq_f32_to_bf16(g) == h);
	}
	CHECK(vq_f32_to_f16(1 + 0x1p-11f) == vq_f32_to_f16(1));
	CHECK(vq_f32_to_f16(1 + 3 * 0x1p-11f) == vq_f32_to_f16(1 + 0x1p-9f));
	CHECK(vq_f32_to_f16(65520) == 0x7c00 && vq_f32_to_f16(65519) == 0x7bff);
	CHECK(isnan(vq_bf16_to_f32(vq_f32_to_bf16(NAN))));
}

TEST(sizes_that_overflow_are_refused)
{
	vq_tensor t;
	CHECK_FAILS(vq_tensor_make(&t, VQ_F64, 3, (int64_t[]){ INT64_MAX, INT64_MAX, 2 }), VQ_ELIMIT);
	CHECK_FAILS(vq_tensor_make(&t, VQ_F64, 1, (int64_t[]){ -1 }), VQ_EINVAL);
	CHECK(!t.data);
	size_t n;
	CHECK_FAILS(vq_add(SIZE_MAX, 1, &n), VQ_ELIMIT);
}

TEST(elements_convert_and_saturate)
{
	for (int d = 0; d < VQ_DTYPES; d++) {
		vq_tensor t;
		CHECK_OK(vq_tensor_make(&t, (vq_dtype)d, 1, (int64_t[]){ 2 }));
		CHECK(vq_dtype_parse(vq_dtype_name((vq_dtype)d)) == d);
		vq_tensor_set(&t, 1, 17);
		CHECK(vq_tensor_get(&t, 1) == 17 && vq_tensor_get(&t, 0) == 0);
		vq_tensor f;
		CHECK_OK(vq_tensor_to_f32(&f, &t));
		CHECK(((float *)f.data)[1] == 17);
		vq_tensor_free(&f);
		vq_tensor_free(&t);
	}
	vq_tensor t;
	CHECK_OK(vq_tensor_make(&t, VQ_U8, 1, (int64_t[]){ 1 }));
	vq_tensor_set(&t, 0, 300);
	CHECK(vq_tensor_get(&t, 0) == 255);
	vq_tensor_set(&t, 0, -3);
	CHECK(vq_tensor_get(&t, 0) == 0);
	vq_tensor_set(&t, 0, 2.5);
	CHECK(vq_tensor_get(&t, 0) == 2);
	vq_tensor_free(&t);
}

TEST(messages_gain_context)
{
	CHECK(vq_fail(VQ_EIO, "%s: no such file", "a.tif") == VQ_EIO);
	CHECK(vq_context(VQ_EIO, "row %d", 7) == VQ_EIO);
	CHECK_STR(vq_message(), "row 7: a.tif: no such file");
	vq_fail(VQ_EIO, "again: %s", vq_message());
	CHECK_STR(vq_message(), "again: row 7: a.tif: no such file");
}

TEST(buffers_and_arenas_grow)
{
	vq_buf b = {0};
	for (int i = 0; i < 10000; i++)
		CHECK_OK(vq_buf_fmt(&b, "%d,", i));
	CHECK(strlen(b.data) == b.len && !strncmp(b.data + b.len - 5, "9999,", 5));
	vq_buf_free(&b);
	vq_arena a = {0};
	for (size_t i = 1; i < 3000; i += 37) {
		char *p = vq_arena_get(&a, i * 100);
		CHECK(p && (uintptr_t)p % 64 == 0 && !p[0] && !p[i * 100 - 1]);
		memset(p, 1, i * 100);
	}
	vq_arena_free(&a);
}

TEST(edit_distance_counts_swaps_once)
{
	CHECK(vq_distance("epochs", "epohcs") == 1);
	CHECK(vq_distance("", "abc") == 3);
	CHECK(vq_distance("kitten", "sitting") == 3);
}

TEST_MAIN(RUN(philox_matches_the_published_vectors) RUN(a_copied_generator_continues_alike) RUN(draws_have_their_moments)
	RUN(a_shuffle_is_a_permutation) RUN(half_formats_round_to_nearest_even) RUN(sizes_that_overflow_are_refused)
	RUN(elements_convert_and_saturate) RUN(messages_gain_context) RUN(buffers_and_arenas_grow) RUN(edit_distance_counts_swaps_once))
