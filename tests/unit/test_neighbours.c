#include <math.h>

#include "lib/eval/neighbours.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

static vq_tensor grid(int64_t h, int64_t w, const int *v)
{
	vq_tensor t;
	CHECK_OK(vq_tensor_make(&t, VQ_U16, 2, (int64_t[]){ h, w }));
	for (int64_t i = 0; i < h * w; i++)
		vq_tensor_set(&t, (size_t)i, v[i]);
	return t;
}

static vq_status count_pair(void *ctx, const vq_code_pair *p)
{
	double *sum = ctx;
	sum[0] += (double)p->count;
	sum[1] = p->code == 1 && p->neighbour == 0 ? (double)p->count : sum[1];
	sum[2] = p->code == 1 && p->neighbour == 0 ? p->lift : sum[2];
	return VQ_OK;
}

TEST(a_grid_by_hand)
{
	/* 0 1 1     left: 1|0 1|1, 1|0 0|1     above: 0|0 1|1 0|1
	 * 0 1 0 */
	static const int v[6] = { 0, 1, 1, 0, 1, 0 };
	vq_neighbours *n;
	vq_tensor t = grid(2, 3, v), one;
	double sum[3] = {0};
	CHECK_OK(vq_neighbours_make(&n, 4));
	vq_neighbour_figures f = vq_neighbours_get(n);
	CHECK(f.codes == 0);
	CHECK_OK(vq_neighbours_add(n, &t));
	CHECK_OK(vq_tensor_make(&one, VQ_U16, 1, (int64_t[]){ 1 }));
	CHECK_OK(vq_neighbours_add(n, &one)); /* one code a cell: no neighbours */
	f = vq_neighbours_get(n);
	CHECK(f.codes == 6 && f.side[VQ_LEFT].pairs == 4 && f.side[VQ_LEFT].different == 3 && f.side[VQ_ABOVE].pairs == 3 && f.side[VQ_ABOVE].different == 3);
	CHECK_NEAR(f.side[VQ_LEFT].conditional, 2.0 / 4, 1e-14);  /* beside 0 always 1; beside 1 either, once each */
	CHECK_NEAR(f.side[VQ_ABOVE].conditional, 2.0 / 3, 1e-14);
	/* order 0: 1/4; (0 + 1/4)/2; (1 + 2/4)/4; (1 + 2/4)/5; (2 + 2/4)/6; (2... 0 has come twice, 1 three times, of five */
	const double p[6] = { 1.0 / 4, 0.25 / 2, 1.5 / 4, 1.5 / 5, 2.5 / 6, 2.5 / 7 };
	double bits = 0, left = 0;
	for (int i = 0; i < 6; i++)
		bits -= log2(p[i]) / 6;
	CHECK_NEAR(f.adaptive, bits, 1e-14);
	/* left: the first two and the third by order 0 (1 was beside nothing before); 0 at the row's begin; 1 beside 0, (1 + p)/2; 0 beside 1, (0 + p)/2 */
	const double q[6] = { p[0], p[1], p[2], p[3], (1 + p[4]) / 2, p[5] / 2 };
	for (int i = 0; i < 6; i++)
		left -= log2(q[i]) / 6;
	CHECK_NEAR(f.side[VQ_LEFT].adaptive, left, 1e-14);
	CHECK_OK(vq_neighbours_list(n, VQ_LEFT, count_pair, sum));
	CHECK(sum[0] == 4 && sum[1] == 2);
	CHECK_NEAR(sum[2], 2 * 4 / (3.0 * 2), 1e-14); /* 1 is the code of three pairs, 0 the neighbour of two */
	vq_tensor_free(&t);
	vq_tensor_free(&one);
	vq_neighbours_free(n);
	vq_neighbours_free(NULL);
}

/* Rows of SIDE codes of a chain that repeats its left neighbour with probability `stay`, else takes any of K. */
static vq_neighbour_figures chain(int k, double stay, int rows)
{
	enum { SIDE = 64 };
	vq_neighbours *n;
	vq_rng r = vq_rng_make(3, 0);
	vq_tensor t;
	CHECK_OK(vq_neighbours_make(&n, k));
	CHECK_OK(vq_tensor_make(&t, VQ_U16, 2, (int64_t[]){ 1, SIDE }));
	for (int i = 0; i < rows; i++) {
		for (int j = 0; j < SIDE; j++)
			vq_tensor_set(&t, (size_t)j, j && vq_rng_uniform(&r) < stay ? vq_tensor_get(&t, (size_t)j - 1) : (double)vq_rng_below(&r, (uint64_t)k));
		CHECK_OK(vq_neighbours_add(n, &t));
	}
	vq_neighbour_figures f = vq_neighbours_get(n);
	vq_tensor_free(&t);
	vq_neighbours_free(n);
	return f;
}

TEST(what_a_neighbour_is_worth)
{
	/* no structure, and more possible pairs than codes: the plain conditional entropy claims most of the 8 bits, a coder gains nothing */
	vq_neighbour_figures f = chain(256, 0, 200);
	CHECK(f.side[VQ_LEFT].conditional < 6 && f.adaptive > 7.95 && f.adaptive < 8.2 && f.side[VQ_LEFT].adaptive > f.adaptive - 0.01);
	CHECK(f.side[VQ_ABOVE].pairs == 0 && isnan(f.side[VQ_ABOVE].conditional));
	CHECK_NEAR(f.side[VQ_ABOVE].adaptive, f.adaptive, 1e-9); /* one row a grid: nothing above */
	/* a chain of 4 codes: 2 bits alone, and beside the neighbour the entropy of (0.85, 0.05, 0.05, 0.05) */
	f = chain(4, 0.8, 2000);
	const double h = -(0.85 * log2(0.85) + 3 * 0.05 * log2(0.05));
	CHECK_NEAR(f.adaptive, 2, 0.01);
	CHECK_NEAR(f.side[VQ_LEFT].conditional, h, 0.01);
	CHECK_NEAR(f.side[VQ_LEFT].adaptive, (63 * h + 2) / 64, 0.01);
}

TEST_MAIN(RUN(a_grid_by_hand) RUN(what_a_neighbour_is_worth))
