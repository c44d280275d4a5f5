#include <math.h>
#include <stdio.h>

#include "lib/eval/bootstrap.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

/* Groups of equal size whose means are normal: the interval of the mean is known, mean +- 1.96 deviation / sqrt(groups). */
TEST(intervals_of_normal_groups)
{
	enum { GROUPS = 400, EACH = 5 };
	vq_boot *b;
	vq_rng r = vq_rng_make(1, 0);
	double low[2], high[2], again[2], sum = 0, squares = 0;
	CHECK_OK(vq_boot_make(&b, 2));
	for (int i = 0; i < GROUPS; i++) {
		char name[16];
		size_t g;
		double m = 10 + vq_rng_normal(&r);
		sum += m;
		squares += m * m;
		snprintf(name, sizeof name, "g%d", i);
		CHECK_OK(vq_boot_group(b, name, &g));
		CHECK(g == (size_t)i);
		for (int k = 0; k < EACH; k++) {
			vq_boot_add(b, g, 0, m); /* alike inside the group: cells on their own would give an interval sqrt(5) too narrow */
			vq_boot_add(b, g, 1, k ? NAN : 7);
		}
	}
	CHECK(vq_boot_groups(b) == GROUPS);
	const double mean = sum / GROUPS, error = 1.96 * sqrt((squares / GROUPS - mean * mean) / GROUPS);
	CHECK_OK(vq_boot_run(b, 4000, 0.95, 5, 1, low, high));
	CHECK_NEAR((high[0] - low[0]) / (2 * error), 1, 0.06);
	CHECK_NEAR((high[0] + low[0]) / 2, mean, 0.1 * error);
	CHECK(low[1] == 7 && high[1] == 7);
	CHECK_OK(vq_boot_run(b, 4000, 0.95, 5, 3, again, high));
	CHECK(again[0] == low[0]);
	CHECK_OK(vq_boot_run(b, 4000, 0.95, 6, 1, again, high));
	CHECK(again[0] != low[0]);
	CHECK_OK(vq_boot_run(b, 4000, 0.5, 5, 1, again, high));
	CHECK(again[0] > low[0]);
	vq_boot_free(b);
}

/* Two groups, of 1 and 3 cells: a resample is one of three means, by chance 1/4, 1/2 and 1/4. */
TEST(cells_count_alike_and_groups_stay_whole)
{
	vq_boot *b;
	size_t g[3];
	double low[1], high[1];
	CHECK_OK(vq_boot_make(&b, 1));
	CHECK_OK(vq_boot_group(b, "a", &g[0]));
	vq_boot_add(b, g[0], 0, 8);
	CHECK_OK(vq_boot_run(b, 100, 0.95, 0, 1, low, high));
	CHECK(isnan(low[0]) && isnan(high[0])); /* one group says nothing */
	CHECK_OK(vq_boot_group(b, "b", &g[1]));
	CHECK_OK(vq_boot_run(b, 100, 0.95, 0, 1, low, high));
	CHECK(isnan(low[0])); /* nor does one without a value */
	for (int i = 0; i < 3; i++)
		vq_boot_add(b, g[1], 0, 0);
	CHECK_OK(vq_boot_group(b, "a", &g[2]));
	CHECK(g[2] == g[0] && vq_boot_groups(b) == 2);
	CHECK_OK(vq_boot_run(b, 1000, 0.9, 0, 2, low, high));
	CHECK(low[0] == 0 && high[0] == 8);
	CHECK_OK(vq_boot_run(b, 1000, 0.3, 0, 2, low, high));
	CHECK(low[0] == 2 && high[0] == 2);
	CHECK_FAILS(vq_boot_run(b, 1, 0.9, 0, 1, low, high), VQ_EINVAL);
	CHECK_FAILS(vq_boot_run(b, 10, 1, 0, 1, low, high), VQ_EINVAL);
	vq_boot_free(b);
	CHECK_FAILS(vq_boot_make(&b, 0), VQ_EINVAL);
	vq_boot_free(NULL);
}

TEST_MAIN(RUN(intervals_of_normal_groups) RUN(cells_count_alike_and_groups_stay_whole))
