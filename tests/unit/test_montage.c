/* Places in a montage do not overlap, waste little, and lie within. */
#include <string.h>

#include "lib/image/montage.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

TEST(places_do_not_overlap)
{
	enum { N = 500 };
	static vq_place p[N];
	static uint8_t seen[2000 * 2000];
	vq_rng rng = vq_rng_make(1, 1);
	int64_t h, w, area = 0;
	for (int i = 0; i < N; i++) {
		p[i] = (vq_place){ 14 + (int64_t)vq_rng_below(&rng, 80), 14 + (int64_t)vq_rng_below(&rng, 80), 0, 0 };
		area += p[i].h * p[i].w;
	}
	CHECK_OK(vq_montage_plan(p, N, &h, &w));
	CHECK(h <= 2000 && w <= 2000);
	CHECK((double)(h * w) < 1.15 * (double)area);
	CHECK(h < 1.3 * w && w < 1.3 * h);
	for (int i = 0; i < N; i++) {
		CHECK(p[i].y >= 0 && p[i].x >= 0 && p[i].y + p[i].h <= h && p[i].x + p[i].w <= w);
		for (int64_t y = 0; y < p[i].h; y++)
			for (int64_t x = 0; x < p[i].w; x++)
				CHECK(!seen[(p[i].y + y) * w + p[i].x + x]++);
	}
}

TEST(few_and_odd_ones)
{
	int64_t h, w;
	vq_place one = { 3, 50, 7, 7 }, strips[3] = { { 1, 90, 0, 0 }, { 1, 90, 0, 0 }, { 90, 1, 0, 0 } };
	CHECK_OK(vq_montage_plan(&one, 1, &h, &w));
	CHECK(h == 3 && w == 50 && one.y == 0 && one.x == 0);
	CHECK_OK(vq_montage_plan(strips, 3, &h, &w));
	CHECK(strips[2].y == 0 && strips[2].x == 0 && strips[0].y < strips[1].y);
	CHECK_OK(vq_montage_plan(NULL, 0, &h, &w));
	CHECK(h == 1 && w == 1);
	one = (vq_place){ 40000, 40000, 0, 0 };
	CHECK_FAILS(vq_montage_plan(&one, 1, &h, &w), VQ_ELIMIT);
	one = (vq_place){ INT64_MAX / 2, 1, 0, 0 };
	CHECK_FAILS(vq_montage_plan(&one, 1, &h, &w), VQ_ELIMIT);
}

TEST_MAIN(RUN(places_do_not_overlap) RUN(few_and_odd_ones))
