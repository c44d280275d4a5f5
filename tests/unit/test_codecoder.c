/* The range coder gives back what it was given, in about as many bits as the probabilities say. */
#include <math.h>
#include <string.h>

#include "lib/eval/codecoder.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

TEST(intervals_come_back)
{
	enum { N = 20000 };
	static uint64_t from[N], freq[N], total[N];
	vq_rng rng = vq_rng_make(1, 2);
	vq_buf b = {0};
	vq_range_encoder e;
	double bits = 0;
	vq_range_encode_start(&e, &b);
	for (int i = 0; i < N; i++) {
		/* all sizes, the widest and the narrowest among them */
		total[i] = 1 + vq_rng_below(&rng, (uint64_t)1 << (i % 33));
		from[i] = vq_rng_below(&rng, total[i]);
		freq[i] = i % 3 ? 1 + vq_rng_below(&rng, total[i] - from[i]) : i % 2 ? 1 : total[i] - from[i];
		bits += log2((double)total[i] / (double)freq[i]);
		CHECK_OK(vq_range_encode(&e, from[i], freq[i], total[i]));
	}
	CHECK_OK(vq_range_encode_end(&e, 0));
	CHECK((double)b.len * 8 < bits * 1.001 + 16);
	vq_range_decoder d;
	vq_range_decode_start(&d, b.data, b.len);
	int bad = 0;
	for (int i = 0; i < N; i++) {
		uint64_t at = vq_range_decode_at(&d, total[i]);
		bad += at < from[i] || at >= from[i] + freq[i];
		vq_range_decode_step(&d, from[i], freq[i], total[i]);
	}
	CHECK(bad == 0);
	vq_buf_free(&b);
}

/* A field of codes whose neighbours are mostly alike. */
static void field(vq_rng *rng, int32_t *codes, int h, int w, int size)
{
	for (int i = 0; i < h * w; i++) {
		uint64_t k = vq_rng_below(rng, 10);
		codes[i] = k < 5 && i % w ? codes[i - 1] : k < 8 && i >= w ? codes[i - w] : (int32_t)vq_rng_below(rng, (uint64_t)size);
	}
}

static size_t coded(vq_code_tables *t, const int32_t *codes, int h, int w, vq_buf *b)
{
	vq_range_encoder e;
	size_t start = b->len;
	vq_range_encode_start(&e, b);
	CHECK_OK(vq_codes_encode(t, &e, codes, h, w));
	CHECK_OK(vq_range_encode_end(&e, start));
	return b->len - start;
}

TEST(codes_come_back_and_neighbours_save_bits)
{
	enum { SIZE = 50, H = 37, W = 23 };
	int32_t codes[H * W], back[H * W];
	vq_rng rng = vq_rng_make(3, 4);
	vq_code_tables t;
	vq_buf b = {0};
	CHECK_OK(vq_code_tables_make(&t, SIZE));
	for (int i = 0; i < 40; i++) {
		field(&rng, codes, H, W, SIZE - 1); /* the last code is never seen */
		CHECK_OK(vq_code_tables_add(&t, codes, H, W));
	}
	vq_code_tables_end(&t);
	field(&rng, codes, H, W, SIZE - 1);
	codes[100] = SIZE - 1;
	size_t n = coded(&t, codes, H, W, &b);
	CHECK(n < .75 * H * W * log2(SIZE) / 8);
	vq_range_decoder d;
	vq_range_decode_start(&d, b.data, n);
	vq_codes_decode(&t, &d, back, H, W);
	CHECK(!memcmp(codes, back, sizeof codes));
	/* nothing, one code, a row and a column */
	static const int shape[4][2] = { { 0, 0 }, { 1, 1 }, { 1, 9 }, { 9, 1 } };
	for (int i = 0; i < 4; i++) {
		b.len = 0;
		n = coded(&t, codes, shape[i][0], shape[i][1], &b);
		CHECK(i || n == 0);
		vq_range_decode_start(&d, b.data, n);
		vq_codes_decode(&t, &d, back, shape[i][0], shape[i][1]);
		CHECK(!memcmp(codes, back, sizeof *codes * (size_t)(shape[i][0] * shape[i][1])));
	}
	codes[0] = SIZE;
	CHECK_FAILS(vq_code_tables_add(&t, codes, H, W), VQ_EINVAL);
	vq_code_tables_free(&t);
	vq_buf_free(&b);
}

TEST(large_codebooks_and_tables_of_nothing)
{
	int32_t codes[64], back[64];
	vq_rng rng = vq_rng_make(5, 6);
	vq_code_tables t;
	vq_buf b = {0}, stored = {0};
	for (int i = 0; i < 64; i++)
		codes[i] = (int32_t)vq_rng_below(&rng, 65536);
	CHECK_OK(vq_code_tables_make(&t, 65536));
	CHECK(!t.left);
	vq_code_tables_end(&t);
	size_t n = coded(&t, codes, 8, 8, &b);
	CHECK(n >= 127 && n <= 130); /* all alike: 16 bits a code */
	vq_range_decoder d;
	vq_range_decode_start(&d, b.data, n);
	vq_codes_decode(&t, &d, back, 8, 8);
	CHECK(!memcmp(codes, back, sizeof codes));
	CHECK_OK(vq_code_tables_store(&t, &stored));
	CHECK(stored.len == 65536);
	vq_code_tables_free(&t);
	vq_buf_free(&b);
	vq_buf_free(&stored);
}

TEST_MAIN(RUN(intervals_come_back) RUN(codes_come_back_and_neighbours_save_bits) RUN(large_codebooks_and_tables_of_nothing))
