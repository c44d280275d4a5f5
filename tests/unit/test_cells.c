/* A record as a model sees it: its normalisation, its extent, and the set of cells that a training reads. */
#include "tests/unit/streams.h"
#include "tests/unit/test.h"
#include "tools/train_cells.h"

/* channels x h x w of f32 with a mask unless bare; pixel i is i / 10. */
static void make(vqt_record *r, const char *id, int channels, int h, int w, bool bare)
{
	vq_tensor t;
	CHECK_OK(vqt_record_make(r, id));
	CHECK_OK(vq_tensor_make(&t, VQ_F32, 3, (int64_t[]){ channels, h, w }));
	for (int i = 0; i < channels * h * w; i++)
		((float *)t.data)[i] = (float)i / 10;
	CHECK_OK(vqt_set(r, "image", &t));
	if (bare)
		return;
	CHECK_OK(vq_tensor_make(&t, VQ_U8, 2, (int64_t[]){ h, w }));
	for (int i = 0; i < h * w; i++)
		((uint8_t *)t.data)[i] = (uint8_t)(i % 3);
	CHECK_OK(vqt_set(r, "mask", &t));
}

static vq_norm robust = { .method = VQ_NORM_ROBUST, .scope = "record", .percentiles = { 5, 95 }, .clip = true };

TEST(raw_records_are_normalised)
{
	vqt_record r;
	vq_norm n;
	make(&r, "f#1", 2, 6, 7, false);
	CHECK_OK(vq_cell_normalize(&r, &robust));
	CHECK_OK(vq_norm_get(r.meta, &n));
	CHECK(n.method == VQ_NORM_ROBUST && n.clip && n.channels == 2 && n.a[1] > n.b[0]);
	const float *v = vqt_get(&r, "image")->data;
	CHECK(v[0] == -1 && v[2 * 42 - 1] == 1);
	/* again: it is as the model wants it, and stays */
	CHECK_OK(vq_cell_normalize(&r, &robust));
	CHECK(v == vqt_get(&r, "image")->data);
	vqt_record_free(&r);
}

static void refuse(const vq_norm *have, const vq_norm *want, const char *a, const char *b)
{
	vqt_record r;
	make(&r, "f#1", 2, 6, 7, false);
	CHECK_OK(vq_cell_normalize(&r, have));
	CHECK_FAILS(vq_cell_normalize(&r, want), VQ_EINVAL);
	CHECK_HAS(vq_message(), "record f#1: normalised otherwise than the model's cells: it has ");
	CHECK_HAS(vq_message(), a);
	CHECK_HAS(vq_message(), b);
	vqt_record_free(&r);
}

TEST(other_ways_are_refused)
{
	vq_norm other = robust, z = { .method = VQ_NORM_ZSCORE, .scope = "record" }, none = { .method = VQ_NORM_NONE }, raw = {0}, loose = z;
	vqt_record r;
	other.percentiles[0] = 1;
	refuse(&robust, &other, "percentiles 5,95 per record, clipped", "the model percentiles 1,95 per record, clipped");
	refuse(&other, &robust, "percentiles 1,95 per record, clipped", "the model percentiles 5,95 per record, clipped");
	other = robust;
	other.clip = false;
	refuse(&robust, &other, "5,95 per record, clipped", "the model percentiles 5,95 per record, not clipped");
	refuse(&robust, &z, "percentiles 5,95", "the model mean and deviation per record");
	refuse(&none, &robust, "grey levels as they are (--none)", "the model percentiles");
	refuse(&robust, &raw, "percentiles 5,95", "the model raw grey levels");
	make(&r, "f#1", 2, 6, 7, false);
	loose.clip = true; /* clipping means nothing to zscore */
	CHECK_OK(vq_cell_normalize(&r, &z));
	CHECK_OK(vq_cell_normalize(&r, &loose));
	vqt_record_free(&r);
	make(&r, "f#1", 2, 6, 7, false);
	CHECK_OK(vq_cell_normalize(&r, &raw));
	CHECK_OK(vq_cell_normalize(&r, &none));
	CHECK_OK(vq_cell_normalize(&r, &none));
	vqt_record_free(&r);
}

TEST(statistics_of_the_model)
{
	vq_norm stats = robust, others;
	vqt_record r;
	strcpy(stats.scope, "stats");
	stats.channels = 2;
	stats.b[0] = stats.b[1] = 10;
	stats.a[1] = 2;
	others = stats;
	others.b[1] = 11;
	CHECK(vq_norm_fixed(&stats) && !vq_norm_fixed(&robust));
	CHECK(vq_norm_differs(&stats, &others) == 1 && vq_norm_differs(&stats, &stats) == -1);
	make(&r, "f#1", 2, 6, 7, false);
	CHECK_OK(vq_cell_normalize(&r, &stats));
	CHECK_NEAR((double)((float *)vqt_get(&r, "image")->data)[41], 4.1 / 10 * 2 - 1, 1e-6);
	CHECK_OK(vq_cell_normalize(&r, &stats));
	CHECK_FAILS(vq_cell_normalize(&r, &others), VQ_EINVAL);
	CHECK_STR(vq_message(), "record f#1: normalised from other statistics than the model's cells: channel 2 has 2 and 10, the model 2 and 11");
	/* a model of many statistics takes any, and has none for raw records */
	memset(others.a, 0, sizeof others.a);
	memset(others.b, 0, sizeof others.b);
	CHECK_OK(vq_cell_normalize(&r, &others));
	vqt_record_free(&r);
	make(&r, "f#1", 2, 6, 7, false);
	CHECK_FAILS(vq_cell_normalize(&r, &others), VQ_EINVAL);
	CHECK_HAS(vq_message(), "record f#1: raw grey levels");
	vqt_record_free(&r);
	make(&r, "f#1", 3, 6, 7, false);
	CHECK_FAILS(vq_cell_normalize(&r, &stats), VQ_EINVAL);
	CHECK_HAS(vq_message(), "3 channels");
	vqt_record_free(&r);
}

TEST(the_extent_of_a_cell)
{
	vqt_record r;
	vq_cell c;
	make(&r, "f#1", 2, 6, 7, false);
	CHECK_OK(vq_cell_make(&r, 2, (vq_extent_rule){ .multiple = 4 }, true, &c));
	CHECK(c.h == 8 && c.w == 8 && c.top == 1 && c.left == 0 && c.th == 6 && c.tw == 7);
	for (int k = 0; k < 2; k++)
		for (int y = 0; y < 8; y++)
			for (int x = 0; x < 8; x++) {
				int sy = y == 0 ? 1 : y == 7 ? 4 : y - 1, sx = x == 7 ? 5 : x; /* reflected at the border */
				CHECK(c.pixels[(k * 8 + y) * 8 + x] == (float)(k * 42 + sy * 7 + sx) / 10);
				CHECK(c.mask[y * 8 + x] == (y >= 1 && y < 7 && x < 7 ? ((y - 1) * 7 + x) % 3 : 0));
			}
	vq_cell_drop(&c);
	CHECK_OK(vq_cell_make(&r, 2, (vq_extent_rule){ .multiple = 4 }, false, &c));
	CHECK(!c.mask);
	vq_cell_drop(&c);
	CHECK_OK(vq_cell_make(&r, 2, (vq_extent_rule){ .multiple = 4, .mode = VQ_PAD_EDGE }, false, &c));
	CHECK(c.pixels[7] == c.pixels[6] && c.pixels[0] == c.pixels[8]);
	vq_cell_drop(&c);
	CHECK_OK(vq_cell_make(&r, 2, (vq_extent_rule){ .multiple = 4, .min = 12, .mode = VQ_PAD_ZERO }, false, &c));
	CHECK(c.h == 12 && c.w == 12 && c.pixels[0] == 0 && c.pixels[143] == 0);
	vq_cell_drop(&c);
	CHECK_FAILS(vq_cell_make(&r, 1, (vq_extent_rule){ .multiple = 4 }, true, &c), VQ_EINVAL);
	CHECK_STR(vq_message(), "record f#1: it has 2 channels, the model 1");
	vqt_record_free(&r);
}

TEST(pixels_that_are_no_numbers)
{
	static const float bad[] = { NAN, INFINITY, -INFINITY };
	vqt_record r;
	vq_cell c;
	for (size_t i = 0; i < VQ_COUNT(bad); i++) {
		make(&r, "f#1", 2, 6, 7, false);
		((float *)vqt_get(&r, "image")->data)[50] = bad[i];
		CHECK_FAILS(vq_cell_make(&r, 2, (vq_extent_rule){ .multiple = 4 }, true, &c), VQ_EINVAL);
		CHECK_STR(vq_message(), i ? "record f#1: channel 2 has a pixel that is infinite" : "record f#1: channel 2 has a pixel that is NaN");
		vqt_record_free(&r);
	}
}

static void write_cells(const char *path, int n, bool bare)
{
	vqt_writer *w;
	cJSON *header = vqt_header_make("samples", NULL);
	CHECK_OK(vqt_create(&w, path, header, NULL));
	for (int i = 0; i < n; i++) {
		char id[32];
		vqt_record r;
		snprintf(id, sizeof id, "f%d#%d", i / 2, i);
		make(&r, id, 1, 5 + i, 6, bare);
		CHECK_OK(vqt_put(w, &r));
		vqt_record_free(&r);
	}
	CHECK_OK(vqt_finish(w));
	cJSON_Delete(header);
}

TEST(cells_in_memory_and_read_again)
{
	write_cells(stream_path("cells.vqt"), 6, false);
	train_cells all = { .rule = { .multiple = 4 }, .need_masks = true, .limit = 1 << 20 }, few = { .rule = { .multiple = 4 }, .need_masks = true, .limit = 200 };
	CHECK_OK(train_cells_read(&all, stream_path("cells.vqt"), stream_dir(), &robust, NULL, NULL));
	CHECK_OK(train_cells_read(&few, stream_path("cells.vqt"), stream_dir(), &robust, NULL, "val"));
	CHECK(all.n == 6 && few.n == 6 && all.channels == 1 && all.norm.method == VQ_NORM_ROBUST);
	CHECK(all.v[5].cell.pixels && !few.v[5].cell.pixels && few.held <= 200);
	CHECK_STR(all.v[3].group, "f1");
	CHECK(!all.v[3].declared);
	CHECK_STR(few.v[3].declared, "val");
	for (uint32_t i = 0; i < 6; i++) {
		vq_cell a, b, size;
		CHECK_OK(train_cells_get(&all, 5 - i, &a));
		CHECK_OK(train_cells_get(&few, 5 - i, &b));
		CHECK_OK(train_cells_size(&few, 5 - i, &size));
		CHECK(!size.pixels && size.h == a.h && size.tw == a.tw);
		CHECK(a.h == b.h && a.w == b.w && a.top == b.top && a.th == (int)(10 - i));
		CHECK(!memcmp(a.pixels, b.pixels, sizeof(float) * (size_t)a.h * (size_t)a.w) && !memcmp(a.mask, b.mask, (size_t)a.h * (size_t)a.w));
	}
	train_cells_free(&all);
	train_cells_free(&few);
}

TEST(weighting_wants_masks)
{
	write_cells(stream_path("bare.vqt"), 2, true);
	train_cells t = { .rule = { .multiple = 4 }, .need_masks = true, .limit = 1 << 20 };
	CHECK_FAILS(train_cells_read(&t, stream_path("bare.vqt"), stream_dir(), &robust, NULL, NULL), VQ_EINVAL);
	CHECK_HAS(vq_message(), "record f0#0: it has no mask, which content_weighting needs (--set content_weighting=false goes without)");
	train_cells_free(&t);
	t.need_masks = false;
	t.rule.multiple = 4;
	CHECK_OK(train_cells_read(&t, stream_path("bare.vqt"), stream_dir(), &robust, NULL, NULL));
	CHECK(t.n == 2);
	train_cells_free(&t);
}

TEST_MAIN(RUN(raw_records_are_normalised) RUN(other_ways_are_refused) RUN(statistics_of_the_model) RUN(the_extent_of_a_cell) RUN(pixels_that_are_no_numbers)
	RUN(cells_in_memory_and_read_again) RUN(weighting_wants_masks))
