#include "lib/image/bucket.h"
#include "tests/unit/test.h"

enum { MANY = 3000 };
static vq_bucket_item items[MANY];
static int seen[MANY]; /* how often each came out */

static void make_items(uint64_t seed, int64_t lo, int64_t hi, int kinds)
{
	vq_rng r = vq_rng_make(seed, 0);
	memset(seen, 0, sizeof seen);
	for (int i = 0; i < MANY; i++) {
		int64_t h = lo + (int64_t)vq_rng_below(&r, (uint64_t)(hi - lo + 1)), w = lo + (int64_t)vq_rng_below(&r, (uint64_t)(hi - lo + 1));
		items[i] = (vq_bucket_item){ h, w, vq_rng_below(&r, (uint64_t)kinds), (size_t)(h * w), &items[i] };
	}
}

static int held; /* items put and not taken, for the memory test */
static size_t held_bytes;

static void check_batch(const vq_bucket_rule *rule, const vq_bucket_batch *b)
{
	int64_t min_h = INT64_MAX, min_w = INT64_MAX, max_h = 0, max_w = 0;
	int last = -1;
	size_t bytes = 0;
	CHECK(b->n >= 1 && b->n <= rule->size);
	for (int i = 0; i < b->n; i++) {
		const vq_bucket_item *it = &b->v[i];
		int index = (int)((vq_bucket_item *)it->item - items);
		CHECK(index > last); /* in the order they came */
		CHECK(it->kind == b->v[0].kind);
		last = index;
		seen[index]++;
		min_h = VQ_MIN(min_h, it->h), min_w = VQ_MIN(min_w, it->w);
		max_h = VQ_MAX(max_h, it->h), max_w = VQ_MAX(max_w, it->w);
		bytes += it->bytes;
	}
	CHECK(b->h == max_h && b->w == max_w && b->bytes == bytes);
	CHECK((double)max_h <= (1 + rule->tolerance) * (double)min_h + 1e-6 && (double)max_w <= (1 + rule->tolerance) * (double)min_w + 1e-6);
	CHECK(!rule->pixels || b->n == 1 || b->n * b->h * b->w <= rule->pixels);
	held -= b->n;
	held_bytes -= bytes;
}

/* Puts all items through; returns the number of batches. */
static int run(const vq_bucket_rule *rule, int *full)
{
	vq_buckets *b;
	vq_bucket_batch batch;
	int n = 0;
	held = 0, held_bytes = 0, *full = 0;
	CHECK_OK(vq_buckets_open(&b, rule));
	for (int i = 0; i <= MANY; i++) {
		if (i < MANY) {
			CHECK_OK(vq_buckets_put(b, &items[i]));
			held++, held_bytes += items[i].bytes;
		}
		while (vq_buckets_take(b, i == MANY, &batch)) {
			check_batch(rule, &batch);
			*full += batch.n == rule->size;
			vq_bucket_batch_free(&batch);
			n++;
		}
		CHECK(vq_buckets_bytes(b) == held_bytes && (!rule->memory || held_bytes <= rule->memory));
	}
	CHECK(held == 0 && held_bytes == 0);
	for (int i = 0; i < MANY; i++)
		CHECK(seen[i] == 1);
	vq_buckets_close(b, NULL);
	return n;
}

TEST(every_item_comes_out_once_within_the_rule)
{
	static const vq_bucket_rule rules[] = {
		{ 16, 0, .3, 0 },      { 16, 0, 0, 0 },         { 1, 0, .3, 0 },         { 16, 20000, .3, 0 },
		{ 1000, 32768, .3, 0 }, { 16, 0, .3, 200000 },   { 64, 50000, .1, 100000 }, { 16, 100, .3, 0 },
		{ 16, 0, 1000, 0 },
	};
	for (size_t i = 0; i < VQ_COUNT(rules); i++)
		for (int kinds = 1; kinds < 4; kinds += 2) {
			int full;
			make_items(i, 14, 60, kinds);
			run(&rules[i], &full);
		}
}

TEST(sizes_of_one_kind_fill_their_batches)
{
	vq_bucket_rule rule = { 16, 0, 1000, 0 };
	int full;
	make_items(1, 14, 60, 1);
	CHECK(run(&rule, &full) == (MANY + 15) / 16);
	CHECK(full == MANY / 16);
	make_items(1, 32, 32, 1);
	rule = (vq_bucket_rule){ 1000, 32 * 32 * 10, 0, 0 }; /* exactly ten a batch */
	CHECK(run(&rule, &full) == MANY / 10);
}

TEST(tolerance_is_inclusive_and_measured_from_the_smallest)
{
	vq_bucket_rule rule = { 16, 0, .3, 0 };
	vq_buckets *b;
	vq_bucket_batch batch;
	static const int64_t side[] = { 10, 13, 14, 17 }; /* 10 with 13, 14 with 17: 10 and 17 never */
	CHECK_OK(vq_buckets_open(&b, &rule));
	for (int i = 0; i < 4; i++)
		CHECK_OK(vq_buckets_put(b, &(vq_bucket_item){ side[i], 10, 0, 1, &items[i] }));
	CHECK(!vq_buckets_take(b, false, &batch));
	CHECK(vq_buckets_take(b, true, &batch) && batch.n == 2 && batch.h == 13 && batch.w == 10);
	vq_bucket_batch_free(&batch);
	CHECK(vq_buckets_take(b, true, &batch) && batch.n == 2 && batch.h == 17);
	vq_bucket_batch_free(&batch);
	CHECK(!vq_buckets_take(b, true, &batch));
	CHECK_FAILS(vq_buckets_put(b, &(vq_bucket_item){ 0, 10, 0, 1, NULL }), VQ_EINVAL);
	vq_buckets_close(b, NULL);
	rule.size = 0;
	CHECK_FAILS(vq_buckets_open(&b, &rule), VQ_EINVAL);
}

TEST(memory_sends_the_fullest_first)
{
	vq_bucket_rule rule = { 16, 0, 0, 1000 };
	vq_buckets *b;
	vq_bucket_batch batch;
	CHECK_OK(vq_buckets_open(&b, &rule));
	for (int i = 0; i < 10; i++) /* seven of size 5, three of size 6 */
		CHECK_OK(vq_buckets_put(b, &(vq_bucket_item){ i % 3 == 1 ? 6 : 5, 5, 0, 100, &items[i] }));
	CHECK(!vq_buckets_take(b, false, &batch));
	CHECK_OK(vq_buckets_put(b, &(vq_bucket_item){ 7, 5, 0, 100, &items[10] }));
	CHECK(vq_buckets_take(b, false, &batch) && batch.h == 5 && batch.n == 7);
	vq_bucket_batch_free(&batch);
	CHECK(!vq_buckets_take(b, false, &batch));
	vq_buckets_close(b, NULL);
}

static int dropped;
static void drop(void *item) { dropped++; }

TEST(shuffling_keeps_every_item_and_repeats_for_a_seed)
{
	vq_bucket_item out;
	int order[2][MANY];
	make_items(1, 14, 60, 1);
	for (int round = 0; round < 2; round++) {
		vq_shuffle *s;
		int n = 0, moved = 0, in_window = 0;
		memset(seen, 0, sizeof seen);
		CHECK_OK(vq_shuffle_open(&s, 100, 0, vq_rng_make(4, 0)));
		for (int i = 0; i <= MANY; i++) {
			if (i < MANY)
				CHECK_OK(vq_shuffle_put(s, &items[i]));
			in_window++;
			while (vq_shuffle_take(s, i == MANY, &out)) {
				in_window--;
				order[round][n] = (int)((vq_bucket_item *)out.item - items);
				CHECK(!seen[order[round][n]]++);
				moved += order[round][n] != n;
				n++;
			}
			CHECK(in_window <= 100);
		}
		CHECK(n == MANY && moved > MANY / 2);
		vq_shuffle_close(s, NULL);
	}
	CHECK(!memcmp(order[0], order[1], sizeof order[0]));
	vq_shuffle *s;
	CHECK_OK(vq_shuffle_open(&s, 10, 250, vq_rng_make(4, 0)));
	for (int i = 0; i < 3; i++)
		CHECK_OK(vq_shuffle_put(s, &(vq_bucket_item){ 1, 1, 0, 100, &items[i] }));
	CHECK(vq_shuffle_take(s, false, &out) && !vq_shuffle_take(s, false, &out));
	dropped = 0;
	vq_shuffle_close(s, drop);
	CHECK(dropped == 2);
	CHECK_FAILS(vq_shuffle_open(&s, 0, 0, vq_rng_make(4, 0)), VQ_EINVAL);
}

TEST_MAIN(RUN(every_item_comes_out_once_within_the_rule) RUN(sizes_of_one_kind_fill_their_batches)
	RUN(tolerance_is_inclusive_and_measured_from_the_smallest) RUN(memory_sends_the_fullest_first)
	RUN(shuffling_keeps_every_item_and_repeats_for_a_seed))
