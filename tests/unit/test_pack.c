/* Packing: what is placed fits, keeps its distance, and overlaps nothing; and the sheets it is placed on. */
#include "lib/rng.h"
#include "lib/train/pack.h"
#include "tests/unit/test.h"

static vq_size size[VQ_PACK_MAX];
static vq_rect rect[VQ_PACK_MAX + 1];

/* Everything that vq_pack promises; returns the placed fraction of the sheet's area. */
static double check_packing(const vq_sheet *s, int n, int multiple)
{
	int placed = vq_pack(s, n, size, rect), found = 0;
	double area = 0;
	CHECK(placed >= 0 && placed <= n);
	for (int i = 0; i < n; i++) {
		vq_rect a = rect[i];
		CHECK(a.h == size[i].h && a.w == size[i].w);
		CHECK(a.n >= -1 && a.n < s->canvases);
		if (a.n < 0)
			continue;
		found++;
		area += (double)a.h * a.w;
		CHECK(a.y >= 0 && a.x >= 0 && a.y + a.h <= s->h && a.x + a.w <= s->w);
		CHECK(a.y % multiple == 0 && a.x % multiple == 0);
		for (int j = 0; j < i; j++) {
			vq_rect b = rect[j];
			if (b.n != a.n)
				continue;
			bool beside = a.x >= b.x + b.w + s->gap || b.x >= a.x + a.w + s->gap, below = a.y >= b.y + b.h + s->gap || b.y >= a.y + a.h + s->gap;
			CHECK(beside || below);
		}
	}
	CHECK(found == placed);
	return area / ((double)s->canvases * s->h * s->w);
}

TEST(random_cells)
{
	vq_rng r = vq_rng_make(17, 0);
	for (int round = 0; round < 300; round++) {
		static const int multiples[] = { 1, 4, 16 };
		int m = multiples[vq_rng_below(&r, 3)], n = (int)vq_rng_below(&r, 120);
		vq_sheet s = { 1 + (int)vq_rng_below(&r, 9), m * (1 + (int)vq_rng_below(&r, 200 / (uint64_t)m)), m * (1 + (int)vq_rng_below(&r, 200 / (uint64_t)m)), m * (int)vq_rng_below(&r, 3) };
		for (int i = 0; i < n; i++)
			size[i] = (vq_size){ m * (1 + (int)vq_rng_below(&r, 80 / (uint64_t)m)), m * (1 + (int)vq_rng_below(&r, 80 / (uint64_t)m)) };
		check_packing(&s, n, m);
	}
}

TEST(one_cell_fills_a_canvas)
{
	vq_sheet s = { 2, 32, 48, 4 };
	size[0] = size[1] = size[2] = (vq_size){ 32, 48 };
	CHECK(vq_pack(&s, 3, size, rect) == 2);
	CHECK(rect[0].n == 0 && rect[1].n == 1 && rect[2].n == -1);
	CHECK(rect[0].y == 0 && rect[0].x == 0);
}

TEST(cells_that_are_too_large)
{
	vq_sheet s = { 3, 32, 48, 4 };
	size[0] = (vq_size){ 33, 8 };
	size[1] = (vq_size){ 8, 49 };
	size[2] = (vq_size){ 8, 48 };
	CHECK(vq_pack(&s, 3, size, rect) == 1);
	CHECK(rect[0].n == -1 && rect[1].n == -1 && rect[2].n == 0);
}

/* The last cell of a row needs no gap behind it, the last row none below. */
TEST(no_gap_at_the_edges)
{
	vq_sheet s = { 1, 20, 20, 4 };
	for (int i = 0; i < 4; i++)
		size[i] = (vq_size){ 8, 8 };
	CHECK(vq_pack(&s, 4, size, rect) == 4);
	check_packing(&s, 4, 4);
}

TEST(the_same_again)
{
	vq_rng r = vq_rng_make(18, 0);
	static vq_rect before[200];
	vq_sheet s = { 3, 96, 128, 4 };
	for (int i = 0; i < 200; i++)
		size[i] = (vq_size){ 4 + 4 * (int)vq_rng_below(&r, 10), 4 + 4 * (int)vq_rng_below(&r, 10) };
	int placed = vq_pack(&s, 200, size, rect);
	memcpy(before, rect, sizeof before);
	CHECK(vq_pack(&s, 200, size, rect) == placed);
	CHECK(!memcmp(before, rect, sizeof before));
}

TEST(limits)
{
	vq_sheet s = { 1, 32, 32, 4 };
	CHECK(vq_pack(&s, 0, size, rect) == 0);
	CHECK_FAILS(vq_pack(&s, VQ_PACK_MAX + 1, size, rect), VQ_EINVAL);
	for (int i = 0; i < VQ_PACK_MAX; i++)
		size[i] = (vq_size){ 1, 1 };
	s = (vq_sheet){ 1, 64, 64, 1 };
	CHECK(vq_pack(&s, VQ_PACK_MAX, size, rect) == VQ_PACK_MAX);
	check_packing(&s, VQ_PACK_MAX, 1);
	s.canvases = VQ_PACK_MAX + 1;
	CHECK_FAILS(vq_pack(&s, 1, size, rect), VQ_EINVAL);
}

/* --- sheets ------------------------------------------------------------------------------------------------------- */

TEST(sheets_hold_the_largest_cell)
{
	static const int sides[] = { 1, 4, 15, 16, 17, 40, 96, 97, 100, 333, 1024, 5000 };
	static const int64_t pixels[] = { 1, 100, 1024, 32768, 65536, 1000000, (int64_t)1 << 30 };
	static const int multiples[] = { 1, 4, 8, 16, 24, 32 };
	for (size_t a = 0; a < VQ_COUNT(sides); a++)
		for (size_t b = 0; b < VQ_COUNT(sides); b++)
			for (size_t p = 0; p < VQ_COUNT(pixels); p++)
				for (size_t m = 0; m < VQ_COUNT(multiples); m++)
					for (int threads = 1; threads <= 64; threads *= 4) {
						int h = VQ_ALIGN(sides[a], multiples[m]), w = VQ_ALIGN(sides[b], multiples[m]);
						vq_sheet s = vq_sheet_for(h, w, pixels[p], multiples[m], multiples[m], threads);
						int64_t area = (int64_t)s.canvases * s.h * s.w, largest = VQ_ALIGN(VQ_MAX(h, w), VQ_ALIGN(16, multiples[m]));
						CHECK(s.canvases >= 1 && s.canvases <= VQ_PACK_MAX);
						CHECK(s.h >= h && s.w >= w && s.h % multiples[m] == 0 && s.w % multiples[m] == 0 && s.gap == multiples[m]);
						CHECK(area <= VQ_MAX(largest * largest, pixels[p] + (int64_t)s.h * 32)); /* one cell, or about what was asked for */
						CHECK(s.canvases < threads || s.canvases % threads == 0);
						size[0] = (vq_size){ h, w };
						CHECK(vq_pack(&s, 1, size, rect) == 1);
					}
}

/* Cells as they come from nuclei leave little of a sheet empty. */
TEST(sheets_are_used)
{
	vq_rng r = vq_rng_make(19, 0);
	double used = 0;
	for (int round = 0; round < 50; round++) {
		vq_sheet s = vq_sheet_for(80, 80, 32768, 4, 4, 2);
		for (int i = 0; i < 60; i++)
			size[i] = (vq_size){ 16 + 4 * (int)vq_rng_below(&r, 8), 16 + 4 * (int)vq_rng_below(&r, 8) };
		used += check_packing(&s, 60, 4) / 50;
	}
	CHECK(used > .6);
}

TEST_MAIN(RUN(random_cells) RUN(one_cell_fills_a_canvas) RUN(cells_that_are_too_large) RUN(no_gap_at_the_edges) RUN(the_same_again) RUN(limits)
	RUN(sheets_hold_the_largest_cell) RUN(sheets_are_used))
