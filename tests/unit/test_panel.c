#include "lib/image/panel.h"
#include "tests/unit/test.h"

static const uint8_t *at(const vq_tensor *rgb, int64_t y, int64_t x) { return (uint8_t *)rgb->data + 3 * (y * rgb->shape[1] + x); }

/* How many pixels have this colour. */
static int count(const vq_tensor *rgb, int r, int g, int b)
{
	int n = 0;
	for (int64_t i = 0; i < rgb->shape[0] * rgb->shape[1]; i++) {
		const uint8_t *p = (uint8_t *)rgb->data + 3 * i;
		n += p[0] == r && p[1] == g && p[2] == b;
	}
	return n;
}

TEST(pixels_become_squares_of_their_grey)
{
	float image[6] = { -1, 0, 1, 2, -5, .5f };
	vq_panel_item it = { .channels = 1, .h = 2, .w = 3, .image = image };
	vq_panel_options o = { .zoom = 10 };
	vq_tensor rgb;
	CHECK_OK(vq_panel_draw(&rgb, &it, 1, &o));
	CHECK(rgb.dtype == VQ_U8 && rgb.ndim == 3 && rgb.shape[2] == 3);
	int64_t y0 = 0, x0 = 0;
	/* 191: the only pixel of .5, bottom right of the tile */
	for (int64_t i = 0; i < rgb.shape[0] * rgb.shape[1] && !y0; i++)
		if (at(&rgb, 0, i)[0] == 191 && at(&rgb, i / rgb.shape[1] + 9, i % rgb.shape[1] + 9)[0] == 191)
			y0 = i / rgb.shape[1] - 10, x0 = i % rgb.shape[1] - 20;
	const int grey[6] = { 0, 128, 255, 255, 0, 191 };
	CHECK(y0 > 0);
	for (int i = 0; i < 6; i++)
		for (int k = 0; k < 10; k += 9) {
			const uint8_t *p = at(&rgb, y0 + i / 3 * 10 + k, x0 + i % 3 * 10 + k);
			CHECK(p[0] == grey[i] && p[1] == grey[i] && p[2] == grey[i]);
		}
	vq_tensor_free(&rgb);
}

TEST(differences_are_signed_and_scaled)
{
	float image[4] = {0}, recon[4] = { .5f, -.5f, 0, 0 };
	vq_panel_item it = { .channels = 1, .h = 2, .w = 2, .image = image, .recon = recon };
	vq_panel_options o = { .zoom = 20, .error = .5 };
	vq_tensor rgb;
	CHECK_OK(vq_panel_draw(&rgb, &it, 1, &o));
	/* ends of the scale in the tile and in the scale bar; the middle is nearly white */
	CHECK(count(&rgb, 125, 0, 30) >= 400 && count(&rgb, 5, 48, 130) >= 400);
	CHECK(count(&rgb, 250, 250, 250) >= 800);
	vq_tensor_free(&rgb);
	o.error = 1;
	CHECK_OK(vq_panel_draw(&rgb, &it, 1, &o));
	CHECK(count(&rgb, 125, 0, 30) < 400 && count(&rgb, 235, 130, 80) >= 400 && count(&rgb, 90, 160, 215) >= 400);
	vq_tensor_free(&rgb);
}

TEST(composites_use_a_colour_a_channel)
{
	float image[4] = { 1, -1, -1, 1 }; /* two channels of 1 x 2 */
	vq_panel_item it = { .channels = 2, .h = 1, .w = 2, .image = image };
	const char *names[] = { "DNA", "ER" };
	vq_panel_options o = { .zoom = 30, .composite = true, .channels = names };
	vq_tensor rgb;
	CHECK_OK(vq_panel_draw(&rgb, &it, 1, &o));
	CHECK(count(&rgb, 100, 143, 255) >= 900 && count(&rgb, 255, 176, 0) >= 900);
	int64_t w = rgb.shape[1], h = rgb.shape[0];
	vq_tensor_free(&rgb);
	o.composite = false;
	CHECK_OK(vq_panel_draw(&rgb, &it, 1, &o));
	CHECK(rgb.shape[0] > h || rgb.shape[1] > w);
	CHECK(count(&rgb, 100, 143, 255) == 0);
	vq_tensor_free(&rgb);
}

TEST(masks_are_outlined_on_originals_alone)
{
	float image[9] = { -1, -1, -1, -1, -1, -1, -1, -1, -1 };
	uint8_t mask[9] = { 0, 2, 0, 0, 1, 0, 0, 0, 0 };
	vq_panel_item it = { .channels = 1, .h = 3, .w = 3, .image = image, .mask = mask };
	vq_panel_options o = { .zoom = 12 };
	vq_tensor rgb;
	CHECK_OK(vq_panel_draw(&rgb, &it, 1, &o));
	CHECK(count(&rgb, 240, 228, 66) == 12 * 12 - 8 * 8); /* two pixels wide, inside the middle square */
	vq_tensor_free(&rgb);
}

TEST(psnr_has_its_range)
{
	float a[2] = { 0, 0 }, b[2] = { .2f, -.2f };
	CHECK_NEAR(vq_panel_psnr(a, b, 2, 2), 20, 1e-5);
	CHECK_NEAR(vq_panel_psnr(a, b, 2, 1), 20 - 6.0206, 1e-4);
	CHECK(isinf(vq_panel_psnr(a, a, 2, 2)) && isnan(vq_panel_psnr(a, a, 0, 2)));
}

TEST(text_is_drawn_and_cut_at_the_edge)
{
	vq_tensor rgb;
	const uint8_t ink[3] = { 7, 8, 9 };
	CHECK(vq_text_width("abc", 2) == 36 && vq_text_width("\xc2\xb5m", 1) == 12 && vq_text_width("", 3) == 0);
	CHECK_OK(vq_tensor_make(&rgb, VQ_U8, 3, (int64_t[]){ 10, 20, 3 }));
	vq_text_draw(&rgb, 0, 0, 1, ink, "-");
	CHECK(count(&rgb, 7, 8, 9) == 5 && at(&rgb, 3, 0)[0] == 7 && at(&rgb, 3, 4)[0] == 7);
	vq_text_draw(&rgb, -3, -3, 3, ink, "@@@@@");
	vq_text_draw(&rgb, 18, 8, 2, ink, "#");
	CHECK(count(&rgb, 7, 8, 9) > 20);
	vq_tensor_free(&rgb);
}

TEST(odd_shapes_do_not_hurt)
{
	static float one[1], wide[300], tall[300];
	static float recon[300];
	char title[400];
	memset(title, 'x', sizeof title - 1);
	title[sizeof title - 1] = 0;
	one[0] = NAN;
	wide[5] = INFINITY;
	recon[7] = -INFINITY;
	vq_panel_item it[3] = {
		{ .channels = 1, .h = 1, .w = 1, .image = one, .recon = one, .title = title },
		{ .channels = 1, .h = 1, .w = 300, .image = wide, .recon = recon, .title = "\xe2\x82\xac\xe2\x82\xac", .note = "note" },
		{ .channels = 1, .h = 300, .w = 1, .image = tall },
	};
	for (int columns = 0; columns < 5; columns++) {
		vq_panel_options o = { .columns = columns, .title = title };
		vq_tensor rgb;
		CHECK_OK(vq_panel_draw(&rgb, it, 3, &o));
		vq_tensor_free(&rgb);
	}
}

TEST(differences_alone_are_larger)
{
	float image[32 * 32] = {0}, recon[32 * 32] = { .5f };
	vq_panel_item it = { .channels = 1, .h = 32, .w = 32, .image = image, .recon = recon };
	vq_panel_options o = { .difference = true, .error = .5 };
	vq_tensor rgb;
	CHECK_OK(vq_panel_draw(&rgb, &it, 1, &o));
	/* zoom 8: one pixel at the end of the scale, all others white, and a single tile of them */
	CHECK(count(&rgb, 125, 0, 30) >= 64 && count(&rgb, 125, 0, 30) < 128);
	int white = count(&rgb, 250, 250, 250);
	CHECK(white >= 1023 * 64 && white < 1024 * 64 + 200);
	CHECK(rgb.shape[1] < 512);
	vq_tensor_free(&rgb);
	it.recon = NULL;
	CHECK_FAILS(vq_panel_draw(&rgb, &it, 1, &o), VQ_EINVAL);
}

TEST(empty_places_and_heads)
{
	float image[16] = { 0 };
	for (int i = 0; i < 16; i++)
		image[i] = .5f;
	vq_panel_item it[2] = { { .channels = 1, .h = 4, .w = 4, .image = image }, { .channels = 1, .h = 4, .w = 4 } };
	const char *heads[2] = { "WW", NULL };
	vq_panel_options o = { .zoom = 10, .columns = 2 };
	vq_tensor rgb;
	CHECK_OK(vq_panel_draw(&rgb, it, 2, &o));
	int ink = count(&rgb, 40, 40, 40);
	CHECK(count(&rgb, 191, 191, 191) >= 1600 && count(&rgb, 191, 191, 191) < 1700);
	vq_tensor_free(&rgb);
	o.heads = heads;
	CHECK_OK(vq_panel_draw(&rgb, it, 2, &o));
	CHECK(count(&rgb, 40, 40, 40) != ink);
	vq_tensor_free(&rgb);
}

TEST(wrong_items_are_named)
{
	float image[4] = {0};
	vq_tensor rgb;
	vq_panel_item it[2] = { { .channels = 1, .h = 2, .w = 2, .image = image, .title = "a" }, { .channels = 2, .h = 1, .w = 2, .image = image, .title = "b" } };
	CHECK_FAILS(vq_panel_draw(&rgb, it, 0, NULL), VQ_EINVAL);
	CHECK_FAILS(vq_panel_draw(&rgb, it, 2, NULL), VQ_EINVAL);
	CHECK_HAS(vq_message(), "b has 2 channels");
	it[0].h = 5000;
	CHECK_FAILS(vq_panel_draw(&rgb, it, 1, NULL), VQ_EINVAL);
	CHECK_HAS(vq_message(), "a: 1 channels of 5000 x 2");
	it[0].h = it[0].w = 4096;
	CHECK_FAILS(vq_panel_draw(&rgb, it, 1, &(vq_panel_options){ .zoom = 32 }), VQ_ELIMIT);
}

TEST_MAIN(RUN(differences_alone_are_larger) RUN(empty_places_and_heads) RUN(pixels_become_squares_of_their_grey) RUN(differences_are_signed_and_scaled) RUN(composites_use_a_colour_a_channel)
          RUN(masks_are_outlined_on_originals_alone) RUN(psnr_has_its_range) RUN(text_is_drawn_and_cut_at_the_edge)
          RUN(odd_shapes_do_not_hurt) RUN(wrong_items_are_named))
