/* The quantiser: nearest rows, lookup, gradients, moving averages. */
#include <math.h>

#include "tests/unit/engine.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

typedef struct {
	int n, h, w, d, k;
	bool ema, through;
	int items;              /* 0: whole canvases */
	vq_place place[3];
} quant_case;

static const quant_case cases[] = {
	{ 1, 1, 1, 1, 2, true, true },
	{ 2, 5, 7, 3, 5, true, true },
	{ 1, 9, 8, 64, 64, true, true },
	{ 2, 4, 3, 17, 70, false, true },
	{ 1, 6, 5, 4, 129, false, false },
	{ 1, 16, 16, 64, 512, true, true },
	/* several items, with positions that are valid, that only their extents cover, and that nothing covers */
	{ 2, 9, 10, 5, 33, true, true, 3, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 0, 5, 0, 4, 9 }, { 0, 5, 0, 4, 9 } }, { { 1, 2, 3, 1, 1 }, { 1, 2, 3, 1, 1 } } } },
	{ 2, 9, 10, 5, 33, false, false, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 1, 5, 0, 4, 9 }, { 1, 6, 0, 3, 8 } } } },
	/* nothing valid */
	{ 1, 4, 4, 3, 8, true, true, 1, { { { 0, 0, 0, 3, 3 }, { 0, 0, 0, 0, 0 } } } },
};

typedef struct { engine e; int z, q, codes, cast; } quantizer;
enum { COMMIT = 5 };
static const float beta = .25f, decay = .9f, eps = 1e-5f;

static vq_status open_quantizer(quantizer *t, const quant_case *c, vq_dtype compute)
{
	engine_open(&t->e, (engine_spec){ .n = c->n, .h = c->h, .w = c->w, .items = c->items ? c->items : c->n, .packed = c->items > 0, .compute = compute });
	for (int i = 0; i < (c->items ? c->items : c->n); i++) {
		vq_rect whole = { i, 0, 0, c->h, c->w };
		engine_place(&t->e, i, c->items ? c->place[i].extent : whole, c->items ? c->place[i].valid : whole);
	}
	t->z = engine_input(&t->e, VQ_F32, c->n, c->h, c->w, c->d, 0);
	t->q = vq_layer_quantize(&t->e.b, t->z, (vq_quant_spec){ .size = c->k, .beta = beta, .decay = decay, .eps = eps, .ema = c->ema, .name = "q",
		.scalar = COMMIT, .scale = 1, .straight_through = c->through }, &t->codes);
	return engine_build(&t->e, t->q);
}

static size_t where_at(const quant_case *c, vq_rect r, int y, int x)
{
	return ((size_t)r.n * (size_t)c->h + (size_t)(r.y + y)) * (size_t)c->w + (size_t)(r.x + x);
}

/* 0 nothing, 1 an item's extent, 2 valid */
static unsigned char *kinds(const quantizer *t, const quant_case *c)
{
	unsigned char *kind = calloc((size_t)(c->n * c->h * c->w), 1);
	for (int i = 0; i < t->e.step.items; i++)
		for (int v = 0; v < 2; v++) {
			vq_rect r = v ? t->e.place[i].valid : t->e.place[i].extent;
			for (int y = 0; y < r.h; y++)
				for (int x = 0; x < r.w; x++)
					kind[where_at(c, r, y, x)] = (unsigned char)(1 + v);
		}
	return kind;
}

static double distance(int d, const double *a, const double *b)
{
	double s = 0;
	for (int i = 0; i < d; i++)
		s += (a[i] - b[i]) * (a[i] - b[i]);
	return s;
}

static void one(const quant_case *c)
{
	quantizer t;
	int rows = c->n * c->h * c->w, valid = 0;
	size_t nz = (size_t)rows * (size_t)c->d, nb = (size_t)(c->k * c->d);
	CHECK_OK(open_quantizer(&t, c, VQ_F32));
	vq_rng r = vq_rng_make(5, (uint64_t)(c - cases));
	double *z = engine_noise(&r, VQ_F32, nz), *dq = engine_noise(&r, VQ_F32, nz), *book = engine_noise(&r, VQ_F32, nb), *got = ref_new(nz + nb), *want = ref_new(nz + nb);
	double *codes = ref_new((size_t)rows), sum = 0;
	unsigned char *kind = kinds(&t, c);
	engine_put_param(&t.e, "q.codebook", book);
	engine_fill(&t.e, t.z, z);
	engine_fill_seed(&t.e, dq);
	t.e.step.scale[1] = .125f;
	CHECK_OK(engine_run(&t.e, VQ_FORWARD | VQ_BACKWARD));

	int *index = calloc((size_t)rows, sizeof *index);
	ref_nearest(rows, c->d, c->k, z, book, kind, index);
	engine_get(&t.e, t.codes, codes);
	for (int i = 0; i < rows; i++) {
		if (index[i] != (int)codes[i]) { /* only where two rows are equally near but for rounding */
			CHECK(index[i] >= 0 && codes[i] >= 0 && codes[i] < c->k);
			CHECK_NEAR(distance(c->d, &z[i * c->d], &book[(int)codes[i] * c->d]), distance(c->d, &z[i * c->d], &book[index[i] * c->d]), 1e-5 * c->d);
			index[i] = (int)codes[i];
		}
		valid += kind[i] == 2;
		sum += kind[i] == 2 ? distance(c->d, &z[i * c->d], &book[index[i] * c->d]) : 0;
		for (int j = 0; j < c->d; j++)
			want[i * c->d + j] = index[i] >= 0 ? book[index[i] * c->d + j] : 0;
	}
	engine_get(&t.e, t.q, got);
	CHECK(engine_error(nz, got, want) == 0);
	CHECK_NEAR(t.e.step.scalar[COMMIT], sum, 1e-5 * sum + 1e-30);

	/* dz: straight through on extents, commitment at valid positions */
	for (int i = 0; i < rows; i++)
		for (int j = 0; j < c->d; j++) {
			int at = i * c->d + j;
			want[at] = (kind[i] && c->through ? dq[at] : 0) + (kind[i] == 2 ? .125 * 2 * beta * (z[at] - book[index[i] * c->d + j]) : 0);
		}
	engine_get(&t.e, engine_gradient(&t.e, t.z), got);
	CHECK(engine_error(nz, got, want) < 1e-6);
	if (!c->ema) {
		memset(want, 0, nb * sizeof *want);
		for (int i = 0; i < rows; i++)
			for (int j = 0; kind[i] == 2 && j < c->d; j++)
				want[index[i] * c->d + j] += .125 * 2 * (book[index[i] * c->d + j] - z[i * c->d + j]) + (c->through ? 0 : dq[i * c->d + j]);
		engine_get_grad(&t.e, "q.codebook", got);
		CHECK(engine_error(nb, got, want) < 1e-5);
	}
	engine_close(&t.e);
	free(z); free(dq); free(book); free(got); free(want); free(codes); free(kind); free(index);
}

TEST(rows_losses_and_gradients)
{
	for (size_t i = 0; i < VQ_COUNT(cases); i++)
		one(&cases[i]);
}

/* Far from 0 and close together: what f64 finds nearest is found, where it is nearer than the next by more than its coordinates' rounding. */
static void close_together(int d, int k, double norm, double spread)
{
	enum { ROWS = 300 };
	quant_case c = { 1, ROWS / 20, 20, d, k, true, true };
	quantizer t;
	size_t nz = ROWS * (size_t)d, nb = (size_t)(k * d);
	vq_rng r = vq_rng_make(17, (uint64_t)d);
	double *middle = engine_noise(&r, VQ_F32, (size_t)d), *z = engine_noise(&r, VQ_F32, nz), *book = engine_noise(&r, VQ_F32, nb), *codes = ref_new(ROWS), length = 0;
	int index[ROWS], wrong = 0;
	for (int i = 0; i < d; i++)
		length += middle[i] * middle[i];
	for (size_t i = 0; i < nz; i++)
		z[i] = (double)(float)(middle[i % (size_t)d] * norm / sqrt(length) + spread * z[i]);
	for (size_t i = 0; i < nb; i++)
		book[i] = (double)(float)(middle[i % (size_t)d] * norm / sqrt(length) + spread * book[i]);
	CHECK_OK(open_quantizer(&t, &c, VQ_F32));
	engine_put_param(&t.e, "q.codebook", book);
	engine_fill(&t.e, t.z, z);
	CHECK_OK(engine_run(&t.e, VQ_FORWARD));
	engine_get(&t.e, t.codes, codes);
	ref_nearest(ROWS, d, k, z, book, NULL, index);
	for (int i = 0; i < ROWS; i++)
		wrong += index[i] != (int)codes[i];
	if (wrong > ROWS / 100)
		printf("# %d of %d codes are not the nearest (width %d, spread %g)\n", wrong, ROWS, d, spread);
	CHECK(wrong <= ROWS / 100);
	engine_close(&t.e);
	free(middle); free(z); free(book); free(codes);
}

TEST(rows_close_together)
{
	close_together(64, 512, 10, 1e-4);
	close_together(256, 70, 10, 1e-4);
	close_together(5, 33, 10, 1e-3);
	close_together(64, 512, 0, 1);
}

/* Three codebooks in a row: each takes what the former left, their rows' sum goes on, its gradient passes once and each adds its own commitment. */
static void in_a_row(const quant_case *c, vq_dtype compute)
{
	enum { DEPTH = 3 };
	quantizer t;
	int rows = c->n * c->h * c->w, z[DEPTH], codes[DEPTH], sum = -1;
	size_t nz = (size_t)rows * (size_t)c->d, nb = (size_t)(c->k * c->d);
	char name[DEPTH][4] = { "q0", "q1", "q2" }, book_name[32];
	engine_open(&t.e, (engine_spec){ .n = c->n, .h = c->h, .w = c->w, .items = c->items ? c->items : c->n, .packed = c->items > 0, .compute = compute });
	for (int i = 0; i < (c->items ? c->items : c->n); i++) {
		vq_rect whole = { i, 0, 0, c->h, c->w };
		engine_place(&t.e, i, c->items ? c->place[i].extent : whole, c->items ? c->place[i].valid : whole);
	}
	z[0] = engine_input(&t.e, VQ_F32, c->n, c->h, c->w, c->d, 0);
	for (int l = 0; l < DEPTH; l++) {
		int q = vq_layer_quantize(&t.e.b, z[l], (vq_quant_spec){ .size = c->k, .beta = beta, .decay = decay, .eps = eps, .ema = c->ema, .name = name[l],
			.scalar = COMMIT + l, .scale = 1 + l, .straight_through = true, .f32_out = true, .inner = l > 0 }, &codes[l]);
		sum = l ? vq_layer_add(&t.e.b, sum, q) : q;
		if (l < DEPTH - 1)
			z[l + 1] = vq_layer_residual(&t.e.b, z[l], q);
	}
	int y = vq_layer_cast(&t.e.b, sum, compute);
	CHECK_OK(engine_build(&t.e, y));
	vq_rng r = vq_rng_make(15, (uint64_t)(c - cases));
	double *left = engine_noise(&r, VQ_F32, nz), *dq = engine_noise(&r, compute, nz), *total = ref_new(nz), *dz = ref_new(nz), *got = ref_new(nz + nb), *want = ref_new(nz + nb), *code = ref_new((size_t)rows);
	unsigned char *kind = kinds(&t, c);
	double *book[DEPTH];
	for (int l = 0; l < DEPTH; l++) {
		book[l] = engine_noise(&r, VQ_F32, nb);
		for (size_t i = 0; i < nb; i++)
			book[l][i] = (double)(float)(book[l][i] / (1 + 2 * l));
		snprintf(book_name, sizeof book_name, "%s.codebook", name[l]);
		engine_put_param(&t.e, book_name, book[l]);
		t.e.step.scale[1 + l] = .125f * (float)(1 + l);
	}
	engine_fill(&t.e, z[0], left);
	engine_fill_seed(&t.e, dq);
	CHECK_OK(engine_run(&t.e, VQ_FORWARD | VQ_BACKWARD));
	for (int i = 0; i < rows * c->d; i++)
		dz[i] = kind[i / c->d] ? dq[i] : 0;
	for (int l = 0; l < DEPTH; l++) {
		double commit = 0;
		memset(want, 0, nb * sizeof *want);
		engine_get(&t.e, codes[l], code);
		for (int i = 0; i < rows; i++) {
			int k = (int)code[i], best;
			CHECK((k >= 0) == (kind[i] > 0));
			if (k < 0)
				continue;
			ref_nearest(1, c->d, c->k, left + i * c->d, book[l], NULL, &best);
			CHECK_NEAR(distance(c->d, left + i * c->d, book[l] + k * c->d), distance(c->d, left + i * c->d, book[l] + best * c->d), 1e-5 * c->d);
			for (int j = 0; j < c->d; j++) {
				double e = left[i * c->d + j] - book[l][k * c->d + j];
				left[i * c->d + j] = e;
				total[i * c->d + j] += book[l][k * c->d + j];
				if (kind[i] < 2)
					continue;
				commit += e * e;
				dz[i * c->d + j] += .125 * (1 + l) * 2 * (double)beta * e;
				want[k * c->d + j] -= .125 * (1 + l) * 2 * e;
			}
		}
		CHECK_NEAR(t.e.step.scalar[COMMIT + l], commit, 1e-5 * commit + 1e-30);
		snprintf(book_name, sizeof book_name, "%s.codebook", name[l]);
		if (!c->ema) {
			engine_get_grad(&t.e, book_name, got);
			CHECK(engine_error(nb, got, want) < 1e-5);
		}
	}
	engine_get(&t.e, y, got);
	CHECK(engine_error(nz, got, total) < (compute == VQ_BF16 ? 4e-3 : 1e-6));
	engine_get(&t.e, engine_gradient(&t.e, z[0]), got);
	CHECK(engine_error(nz, got, dz) < 1e-5);
	engine_close(&t.e);
	for (int l = 0; l < DEPTH; l++)
		free(book[l]);
	free(left); free(dq); free(total); free(dz); free(got); free(want); free(code); free(kind);
}

TEST(codebooks_in_a_row)
{
	for (size_t i = 0; i < VQ_COUNT(cases); i++)
		if (cases[i].through)
			in_a_row(&cases[i], VQ_F32);
	in_a_row(&cases[6], VQ_BF16);
}

/* Two micro-batches, then the update; twice, so that the sums must have been cleared. */
static void moving_averages_of(const quant_case *c)
{
	quantizer t;
	int rows = c->n * c->h * c->w;
	size_t nz = (size_t)rows * (size_t)c->d, nb = (size_t)(c->k * c->d), k = (size_t)c->k;
	CHECK_OK(open_quantizer(&t, c, VQ_F32));
	vq_rng r = vq_rng_make(6, 0);
	double *book = engine_noise(&r, VQ_F32, nb), *count = ref_new(k), *sums = ref_new(nb), *got = ref_new(nb), *z2 = ref_new(2 * nz), *codes = ref_new((size_t)rows);
	unsigned char *kind = kinds(&t, c);
	int *index = calloc(2 * (size_t)rows, sizeof *index);
	for (size_t i = 0; i < k; i++)
		count[i] = 1 + (double)(i % 3);
	for (size_t i = 0; i < nb; i++)
		sums[i] = (double)(float)(book[i] * count[i / (size_t)c->d]);
	engine_put_param(&t.e, "q.codebook", book);
	engine_put_param(&t.e, "q.ema_count", count);
	engine_put_param(&t.e, "q.ema_sum", sums);
	memset(got, 0, nb * sizeof *got);
	engine_put_param(&t.e, "q.step_count", got);
	engine_put_param(&t.e, "q.step_sum", got);
	for (int step = 0; step < 2; step++) {
		for (int part = 0; part < 2; part++) {
			double *z = engine_noise(&r, VQ_F32, nz);
			engine_fill(&t.e, t.z, z);
			CHECK_OK(engine_run(&t.e, VQ_FORWARD | VQ_BACKWARD | (part ? VQ_UPDATE : 0)));
			engine_get(&t.e, t.codes, codes);
			memcpy(z2 + (size_t)part * nz, z, nz * sizeof *z);
			for (int i = 0; i < rows; i++)
				index[part * rows + i] = kind[i] == 2 ? (int)codes[i] : -1;
			free(z);
		}
		ref_ema(2 * rows, c->d, c->k, z2, index, (double)decay, (double)eps, count, sums, book);
		engine_get_param(&t.e, "q.ema_count", got);
		CHECK(engine_error(k, got, count) < 1e-5);
		engine_get_param(&t.e, "q.ema_sum", got);
		CHECK(engine_error(nb, got, sums) < 1e-5);
		engine_get_param(&t.e, "q.codebook", got);
		CHECK(engine_error(nb, got, book) < 1e-5);
	}
	engine_close(&t.e);
	free(book); free(count); free(sums); free(got); free(z2); free(codes); free(kind); free(index);
}

TEST(moving_averages)
{
	for (size_t i = 0; i < VQ_COUNT(cases); i++)
		if (cases[i].ema)
			moving_averages_of(&cases[i]);
}

/* The commitment pulls towards the row that was chosen, not towards where the same step's update moves it. */
TEST(gradients_come_before_the_update)
{
	const quant_case *c = &cases[1];
	quantizer t;
	size_t nz = (size_t)(c->n * c->h * c->w * c->d);
	CHECK_OK(open_quantizer(&t, c, VQ_F32));
	vq_rng r = vq_rng_make(8, 0);
	double *z = engine_noise(&r, VQ_F32, nz), *zero = ref_new(nz), *apart = ref_new(nz), *together = ref_new(nz);
	engine_fill_seed(&t.e, zero);
	engine_fill(&t.e, t.z, z);
	CHECK_OK(engine_run(&t.e, VQ_FORWARD | VQ_BACKWARD));
	engine_get(&t.e, engine_gradient(&t.e, t.z), apart);
	engine_fill_seed(&t.e, zero);
	engine_fill(&t.e, t.z, z);
	CHECK_OK(engine_run(&t.e, VQ_FORWARD | VQ_BACKWARD | VQ_UPDATE));
	engine_get(&t.e, engine_gradient(&t.e, t.z), together);
	CHECK(engine_error(nz, together, apart) == 0);
	engine_close(&t.e);
	free(z); free(zero); free(apart); free(together);
}

TEST(no_items)
{
	quant_case c = { 1, 4, 4, 3, 8, true, true, 1, { { { 0, 0, 0, 3, 3 }, { 0, 0, 0, 0, 0 } } } };
	quantizer t;
	double z[48] = {0}, codes[16], q[48], dz[48];
	CHECK_OK(open_quantizer(&t, &c, VQ_F32));
	t.e.step.items = 0;
	t.e.step.places = NULL;
	for (int i = 0; i < 48; i++)
		z[i] = i;
	engine_fill(&t.e, t.z, z);
	engine_fill_seed(&t.e, z);
	CHECK_OK(engine_run(&t.e, VQ_FORWARD | VQ_BACKWARD | VQ_UPDATE));
	engine_get(&t.e, t.codes, codes);
	engine_get(&t.e, t.q, q);
	engine_get(&t.e, engine_gradient(&t.e, t.z), dz);
	for (int i = 0; i < 48; i++)
		CHECK(codes[i / 3] == -1 && q[i] == 0 && dz[i] == 0);
	CHECK(t.e.step.scalar[COMMIT] == 0);
	engine_close(&t.e);
}

TEST(codes_to_rows)
{
	for (int half = 0; half < 2; half++) {
		engine e;
		vq_dtype t = half ? VQ_BF16 : VQ_F32;
		double codes[6] = { 0, 4, -1, 2, 2, -1 }, book[20], q[24];
		engine_open(&e, (engine_spec){ .n = 1, .h = 2, .w = 3, .inference = true, .compute = t });
		int in = engine_input(&e, VQ_I32, 1, 2, 3, 1, 0);
		int y = vq_layer_lookup(&e.b, in, 4, (vq_quant_spec){ .size = 5, .name = "q", .ema = true });
		CHECK_OK(engine_build(&e, y));
		engine_get_param(&e, "q.codebook", book);
		engine_round(t, 20, book);
		engine_fill(&e, in, codes);
		CHECK_OK(engine_run(&e, VQ_FORWARD));
		engine_get(&e, y, q);
		for (int i = 0; i < 24; i++)
			CHECK(q[i] == (codes[i / 4] < 0 ? 0 : book[(int)codes[i / 4] * 4 + i % 4]));
		codes[3] = 5;
		engine_fill(&e, in, codes);
		CHECK_FAILS(engine_run(&e, VQ_FORWARD), VQ_EINVAL);
		CHECK_HAS(vq_message(), "code 5 of a codebook of 5");
		engine_close(&e);
	}
}

/* Rows in bf16 are the codebook's, rounded; the codes are those of f32. */
TEST(bf16_output)
{
	const quant_case *c = &cases[6];
	quantizer a, b;
	size_t nz = (size_t)(c->n * c->h * c->w * c->d);
	vq_rng r = vq_rng_make(9, 0);
	double *z = engine_noise(&r, VQ_F32, nz), *dq = engine_noise(&r, VQ_BF16, nz), *x = ref_new(nz), *y = ref_new(nz);
	CHECK_OK(open_quantizer(&a, c, VQ_F32));
	CHECK_OK(open_quantizer(&b, c, VQ_BF16));
	engine_fill(&a.e, a.z, z);
	engine_fill(&b.e, b.z, z);
	engine_fill_seed(&a.e, dq);
	engine_fill_seed(&b.e, dq);
	CHECK_OK(engine_run(&a.e, VQ_FORWARD | VQ_BACKWARD));
	CHECK_OK(engine_run(&b.e, VQ_FORWARD | VQ_BACKWARD));
	engine_get(&a.e, a.q, x);
	engine_get(&b.e, b.q, y);
	engine_round(VQ_BF16, nz, x);
	CHECK(engine_error(nz, y, x) == 0);
	engine_get(&a.e, engine_gradient(&a.e, a.z), x);
	engine_get(&b.e, engine_gradient(&b.e, b.z), y);
	CHECK(engine_error(nz, y, x) == 0);
	engine_close(&a.e);
	engine_close(&b.e);
	free(z); free(dq); free(x); free(y);
}

TEST_MAIN(RUN(rows_losses_and_gradients) RUN(moving_averages) RUN(gradients_come_before_the_update) RUN(no_items) RUN(codes_to_rows) RUN(bf16_output)
	RUN(codebooks_in_a_row) RUN(rows_close_together))
