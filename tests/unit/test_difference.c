#include <math.h>

#include "lib/eval/difference.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

enum { K = 12, EACH = 20 };

typedef struct { size_t *begin; vq_share *share; uint32_t *unit, *group; vq_difference_data d; } data;

/* units of cells_a_unit cells with EACH codes each; every unit has a favourite code, taken with probability own (a batch effect); group 1 takes code 0
 * with probability shift. */
static data make(int units, int cells_a_unit, double own, double shift, uint64_t seed)
{
	const size_t cells = (size_t)(units * cells_a_unit);
	data m = { malloc((cells + 1) * sizeof(size_t)), malloc(cells * EACH * sizeof(vq_share)), malloc(cells * sizeof(uint32_t)), malloc((size_t)units * sizeof(uint32_t)), {0} };
	vq_rng r = vq_rng_make(seed, 0);
	m.begin[0] = 0;
	for (int u = 0; u < units; u++) {
		const uint32_t favourite = (uint32_t)vq_rng_below(&r, K);
		m.group[u] = (uint32_t)u % 2;
		for (int c = 0; c < cells_a_unit; c++) {
			const size_t cell = (size_t)(u * cells_a_unit + c);
			m.unit[cell] = (uint32_t)u;
			m.begin[cell + 1] = m.begin[cell] + EACH;
			for (int i = 0; i < EACH; i++) {
				uint32_t code = (uint32_t)vq_rng_below(&r, K);
				code = vq_rng_uniform(&r) < own ? favourite : code;
				code = u % 2 && vq_rng_uniform(&r) < shift ? 0 : code;
				m.share[m.begin[cell] + (size_t)i] = (vq_share){ code, 1.0f / EACH };
			}
		}
	}
	m.d = (vq_difference_data){ cells, (size_t)units, 2, K, m.begin, m.share, m.unit, m.group };
	return m;
}

static void drop(data *m)
{
	free(m->begin);
	free(m->share);
	free(m->unit);
	free(m->group);
}

TEST(groups_that_differ_are_found)
{
	data m = make(20, 5, 0, 0.2, 1);
	double shares[2 * K], contribution[K];
	vq_difference d = { .shares = shares, .contribution = contribution }, again = {0};
	CHECK_OK(vq_difference_test(&m.d, 199, 0, 1, &d));
	CHECK(d.v > 2 * d.expected_v);
	CHECK_NEAR(d.p, 1.0 / 200, 1e-15); /* the smallest that 199 deals can give */
	CHECK_NEAR(shares[0], 1.0 / K, 0.02);
	CHECK_NEAR(shares[K], 0.2 + 0.8 / K, 0.03);
	double sum = 0;
	for (int k = 0; k < K; k++) {
		sum += contribution[k];
		CHECK(k == 0 || contribution[k] < contribution[0]);
	}
	CHECK_NEAR(d.v, sqrt(sum), 1e-12);
	CHECK_OK(vq_difference_test(&m.d, 199, 0, 3, &again));
	CHECK(again.p == d.p);
	CHECK_NEAR(again.expected_v, d.expected_v, 1e-12);
	drop(&m);
}

/* Without a difference p-values are even: over 40 data sets about 2 below 0.05. Units that differ among themselves make cells dealt out on
 * their own find a difference nearly always; units dealt out whole do not. */
TEST(units_are_what_is_exchanged)
{
	int by_unit = 0, by_cell = 0;
	double mean = 0;
	for (uint64_t seed = 0; seed < 40; seed++) {
		data m = make(12, 10, 0.5, 0, 100 + seed);
		vq_difference d = {0};
		CHECK_OK(vq_difference_test(&m.d, 99, seed, 1, &d));
		by_unit += d.p <= 0.05;
		mean += d.p / 40;
		uint32_t group[120];
		for (uint32_t i = 0; i < 120; i++) {
			group[i] = m.group[m.unit[i]];
			m.unit[i] = i;
		}
		m.d.units = 120;
		m.d.group = group;
		CHECK_OK(vq_difference_test(&m.d, 99, seed, 1, &d));
		by_cell += d.p <= 0.05;
		drop(&m);
	}
	CHECK(by_unit <= 7 && by_cell >= 30);
	CHECK_NEAR(mean, 0.5, 0.15);
}

TEST(ends_of_the_scale)
{
	size_t begin[5] = { 0, 1, 2, 3, 4 };
	vq_share share[4] = { { 0, 1 }, { 0, 1 }, { 3, 1 }, { 3, 1 } };
	uint32_t unit[4] = { 0, 1, 2, 3 }, group[4] = { 0, 0, 1, 1 }, one[4] = {0};
	vq_difference_data d = { 4, 4, 2, 4, begin, share, unit, group };
	vq_difference got = {0};
	CHECK_OK(vq_difference_test(&d, 999, 0, 2, &got));
	CHECK_NEAR(got.v, 1, 1e-12); /* not a code in common */
	CHECK_NEAR(got.p, 1.0 / 3, 0.05); /* 2 of the 6 ways to deal them out */
	d.group = one;
	d.groups = 1;
	CHECK_OK(vq_difference_test(&d, 9, 0, 1, &got));
	CHECK(isnan(got.v) && isnan(got.p));
	d.groups = 2;
	d.units = 2;
	uint32_t pair[4] = { 0, 0, 1, 1 }, two[2] = { 0, 1 };
	d.unit = pair;
	d.group = two;
	CHECK_OK(vq_difference_test(&d, 9, 0, 1, &got)); /* one unit a group: nothing to compare with */
	CHECK_NEAR(got.v, 1, 1e-12);
	CHECK(isnan(got.p));
}

TEST_MAIN(RUN(groups_that_differ_are_found) RUN(units_are_what_is_exchanged) RUN(ends_of_the_scale))
