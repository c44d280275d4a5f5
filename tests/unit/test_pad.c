#include "lib/image/pad.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

/* numpy.pad(mode='reflect') as its documentation puts it: walk back and forth over the pixels without doubling the ends. */
static int64_t naive_reflect(int64_t i, int64_t n)
{
	int64_t at = 0, step = 1;
	if (n == 1)
		return 0;
	for (int64_t k = 0; k < (i < 0 ? -i : i); k++) {
		if (at + step < 0 || at + step >= n)
			step = -step;
		at += step;
	}
	return at;
}

static int64_t naive_index(int mode, int64_t i, int64_t n)
{
	if (i >= 0 && i < n)
		return i;
	return mode == VQ_PAD_ZERO ? -1 : mode == VQ_PAD_EDGE ? (i < 0 ? 0 : n - 1) : naive_reflect(i, n);
}

TEST(plans_are_centred_multiples)
{
	static const struct { int64_t h, w, multiple, min, H, W, top, left; } t[] = {
		{ 14, 40, 16, 32, 32, 48, 9, 4 },  { 32, 33, 16, 32, 32, 48, 0, 7 },   { 1, 1, 16, 32, 32, 32, 15, 15 },
		{ 214, 17, 0, 32, 256, 32, 21, 7 }, { 32, 64, 0, 32, 32, 64, 0, 0 },    { 33, 1, 0, 0, 64, 1, 15, 0 },
		{ 7, 9, 1, 0, 7, 9, 0, 0 },        { 7, 9, 4, 0, 8, 12, 0, 1 },        { 20, 20, 16, 40, 48, 48, 14, 14 },
		{ 20, 20, 0, 40, 64, 64, 22, 22 },
	};
	for (size_t i = 0; i < VQ_COUNT(t); i++) {
		vq_pad_plan p;
		CHECK_OK(vq_pad_make_plan(&p, t[i].h, t[i].w, t[i].multiple, t[i].min));
		CHECK(p.h == t[i].h && p.w == t[i].w && p.H == t[i].H && p.W == t[i].W && p.top == t[i].top && p.left == t[i].left);
	}
	vq_pad_plan p;
	CHECK_FAILS(vq_pad_make_plan(&p, 0, 5, 16, 32), VQ_EINVAL);
	CHECK_FAILS(vq_pad_make_plan(&p, 5, 5, -1, 32), VQ_EINVAL);
	CHECK_FAILS(vq_pad_make_plan(&p, 5, (int64_t)1 << 40, 16, 32), VQ_ELIMIT);
	CHECK_FAILS(vq_pad_make_plan(&p, 5, 5, INT64_MAX, 32), VQ_ELIMIT);
	CHECK_FAILS(vq_pad_make_plan(&p, 5, VQ_PAD_SIDE_MAX, 1000, 32), VQ_ELIMIT);
}

TEST(reflection_repeats)
{
	for (int64_t n = 1; n < 9; n++)
		for (int64_t i = -40; i < 40; i++)
			if (i < 0)
				CHECK(vq_pad_reflect_index(i, n) == naive_reflect(i, n));
			else
				CHECK(vq_pad_reflect_index(i, n) == (i < n ? i : n - 1 - naive_reflect(i - (n - 1), n)));
}

TEST(every_pixel_is_the_one_it_repeats)
{
	static const int64_t sizes[][2] = { { 1, 1 }, { 1, 5 }, { 3, 2 }, { 14, 17 }, { 33, 16 }, { 2, 40 } };
	static const int64_t plans[][2] = { { 16, 32 }, { 0, 32 }, { 64, 128 }, { 1, 0 }, { 7, 0 } };
	vq_rng r = vq_rng_make(1, 0);
	for (int t = 0; t < VQ_DTYPES; t++)
		for (size_t i = 0; i < VQ_COUNT(sizes) * VQ_COUNT(plans) * 3; i++) {
			const int64_t *size = sizes[i % VQ_COUNT(sizes)], *rule = plans[i / VQ_COUNT(sizes) % VQ_COUNT(plans)];
			int mode = (int)(i / VQ_COUNT(sizes) / VQ_COUNT(plans));
			vq_tensor image, out, back;
			vq_pad_plan p;
			CHECK_OK(vq_tensor_make(&image, (vq_dtype)t, 3, (int64_t[]){ 2, size[0], size[1] }));
			for (size_t k = 0; k < (size_t)(2 * size[0] * size[1]); k++)
				vq_tensor_set(&image, k, 1 + (double)vq_rng_below(&r, 120));
			CHECK_OK(vq_pad_make_plan(&p, size[0], size[1], rule[0], rule[1]));
			CHECK_OK(vq_pad_apply(&image, vq_window_whole(&image), &p, (vq_pad_mode)mode, &out));
			CHECK(out.dtype == image.dtype && out.shape[0] == 2 && out.shape[1] == p.H && out.shape[2] == p.W);
			for (int64_t c = 0; c < 2; c++)
				for (int64_t y = 0; y < p.H; y++)
					for (int64_t x = 0; x < p.W; x++) {
						int64_t v = naive_index(mode, y - p.top, p.h), u = naive_index(mode, x - p.left, p.w);
						/* beyond the far edge the walk starts there */
						if (mode == VQ_PAD_REFLECT && y - p.top >= p.h)
							v = p.h - 1 - naive_reflect(y - p.top - (p.h - 1), p.h);
						if (mode == VQ_PAD_REFLECT && x - p.left >= p.w)
							u = p.w - 1 - naive_reflect(x - p.left - (p.w - 1), p.w);
						double want = v < 0 || u < 0 ? 0 : vq_tensor_get(&image, (size_t)((c * p.h + v) * p.w + u));
						CHECK(vq_tensor_get(&out, (size_t)((c * p.H + y) * p.W + x)) == want);
					}
			CHECK_OK(vq_pad_remove(&out, (vq_window){ p.top, p.left, p.h, p.w }, &back));
			CHECK(back.shape[1] == size[0] && back.shape[2] == size[1]);
			CHECK(!memcmp(back.data, image.data, (size_t)(2 * size[0] * size[1]) * vq_dtype_size((vq_dtype)t)));
			vq_tensor_free(&image);
			vq_tensor_free(&out);
			vq_tensor_free(&back);
		}
}

TEST(an_extent_depends_on_the_true_pixels_alone)
{
	static const int64_t rules[][2] = { { 1, 0 }, { 4, 0 }, { 16, 32 }, { 64, 128 }, { 0, 32 } };
	vq_tensor image, want, padded, got;
	vq_pad_plan p, place, first;
	vq_rng r = vq_rng_make(3, 0);
	CHECK_OK(vq_tensor_make(&image, VQ_F32, 3, (int64_t[]){ 3, 13, 18 }));
	for (size_t k = 0; k < 3 * 13 * 18; k++)
		((float *)image.data)[k] = (float)vq_rng_normal(&r);
	CHECK_OK(vq_pad_extent(&image, vq_window_whole(&image), 4, &want, &first));
	CHECK(first.H == 16 && first.W == 20 && first.top == 1 && first.left == 1);
	for (size_t i = 0; i < VQ_COUNT(rules); i++)
		for (int mode = 0; mode < 3; mode++) {
			CHECK_OK(vq_pad_make_plan(&p, 13, 18, rules[i][0], rules[i][1]));
			CHECK_OK(vq_pad_apply(&image, vq_window_whole(&image), &p, (vq_pad_mode)mode, &padded));
			CHECK_OK(vq_pad_extent(&padded, (vq_window){ p.top, p.left, 13, 18 }, 4, &got, &place));
			CHECK(!memcmp(&place, &first, sizeof place));
			CHECK(!memcmp(got.data, want.data, 3 * 16 * 20 * sizeof(float)));
			vq_tensor_free(&padded);
			vq_tensor_free(&got);
		}
	CHECK_FAILS(vq_pad_extent(&image, (vq_window){ 0, 0, 14, 18 }, 4, &got, &place), VQ_EINVAL);
	CHECK_FAILS(vq_pad_extent(&image, vq_window_whole(&image), 0, &got, &place), VQ_EINVAL);
	CHECK_FAILS(vq_pad_apply(&image, (vq_window){ 0, 0, 5, 5 }, &first, VQ_PAD_ZERO, &got), VQ_EINVAL);
	vq_tensor_free(&image);
	vq_tensor_free(&want);
}

TEST(names_are_read_and_written)
{
	for (int m = VQ_PAD_REFLECT; m <= VQ_PAD_EDGE; m++)
		CHECK(vq_pad_parse(vq_pad_name((vq_pad_mode)m)) == m);
	CHECK(vq_pad_parse("wrap") == -1);
}

TEST_MAIN(RUN(plans_are_centred_multiples) RUN(reflection_repeats) RUN(every_pixel_is_the_one_it_repeats)
	RUN(an_extent_depends_on_the_true_pixels_alone) RUN(names_are_read_and_written))
