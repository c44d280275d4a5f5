#include "lib/image/synth.h"
#include "tests/unit/test.h"

static uint64_t digest(const vq_tensor *t)
{
	size_t n = 0;
	vq_tensor_bytes(t, &n);
	uint64_t h = 1469598103934665603u;
	for (size_t i = 0; i < n; i++)
		h = (h ^ ((uint8_t *)t->data)[i]) * 1099511628211u;
	return h;
}

static uint64_t cell_digest(uint64_t seed, int channels, uint64_t i)
{
	vq_synth_options o = { seed, channels, 14, 60 };
	vq_synth_truth t;
	vq_tensor image, mask;
	if (vq_synth_cell(&o, i, &t, &image, &mask) < 0)
		return 0;
	uint64_t h = digest(&image) * 31 + digest(&mask);
	vq_tensor_free(&image);
	vq_tensor_free(&mask);
	return h;
}

TEST(a_cell_follows_from_seed_and_index)
{
	uint64_t five = cell_digest(7, 3, 5);
	CHECK(five != 0);
	cell_digest(7, 3, 4);
	CHECK(cell_digest(7, 3, 5) == five);
	CHECK(cell_digest(8, 3, 5) != five);
	CHECK(cell_digest(7, 3, 6) != five);
}

TEST(sizes_and_masks_are_as_promised)
{
	const int range[][2] = { { 14, 40 }, { 12, 12 }, { 100, 140 }, { 14, 214 } };
	for (int k = 0; k < 4; k++)
		for (int channels = 1; channels <= 6; channels += 5)
			for (uint64_t i = 0; i < 60; i++) {
				vq_synth_options o = { 3, channels, range[k][0], range[k][1] };
				vq_synth_truth t;
				vq_tensor image, mask;
				CHECK_OK(vq_synth_cell(&o, i, &t, &image, &mask));
				int64_t h = image.shape[1], w = image.shape[2];
				CHECK(image.shape[0] == channels && mask.shape[0] == h && mask.shape[1] == w);
				CHECK(h >= o.min_size && w >= o.min_size && VQ_MAX(h, w) == t.size && t.size <= o.max_size);
				uint8_t *m = mask.data;
				int64_t own = 0, edge = 0;
				for (int64_t j = 0; j < h * w; j++) {
					CHECK(m[j] <= 2);
					own += m[j] == 1;
					edge += m[j] == 1 && (j % w == 0 || j % w == w - 1 || j < w || j >= (h - 1) * w);
				}
				CHECK(own > 0 && edge == 0);
				vq_tensor_free(&image);
				vq_tensor_free(&mask);
			}
}

/* Mean of one channel where the mask is v. */
static double level(const vq_tensor *image, const vq_tensor *mask, int c, int v)
{
	size_t plane = (size_t)(image->shape[1] * image->shape[2]);
	double sum = 0, n = 0;
	for (size_t i = 0; i < plane; i++)
		if (((uint8_t *)mask->data)[i] == v) {
			sum += ((uint16_t *)image->data)[(size_t)c * plane + i];
			n++;
		}
	return n ? sum / n : NAN;
}

TEST(light_is_where_the_truth_says)
{
	vq_synth_options o = { 1, 4, 80, 80 };
	double mitotic = 0, resting = 0;
	int seen[VQ_SYNTH_CLASSES] = {0}, sisters = 0;
	for (uint64_t i = 0; i < 200; i++) {
		vq_synth_truth t;
		vq_tensor image, mask;
		CHECK_OK(vq_synth_cell(&o, i, &t, &image, &mask));
		double floor0 = t.offset + t.gain * t.background[0], peak = 0;
		for (int64_t j = 0; j < 80 * 80 && j < image.shape[1] * image.shape[2]; j++)
			peak = VQ_MAX(peak, ((uint16_t *)image.data)[j]);
		CHECK_NEAR(level(&image, &mask, 0, 0), floor0, .35 * floor0 + 60);
		for (int c = 0; c < 4; c++)
			CHECK(level(&image, &mask, c, 1) > level(&image, &mask, c, 0));
		CHECK(t.dna >= 1 && t.dna <= 2 && t.elongation >= 1 && t.nucleus_radius < t.radius);
		seen[t.kind]++;
		sisters += t.sisters;
		*(t.kind == VQ_SYNTH_MITOTIC ? &mitotic : &resting) += (peak - t.offset) / t.gain / (t.light[0] + t.background[0]);
		vq_tensor_free(&image);
		vq_tensor_free(&mask);
	}
	for (int k = 0; k < VQ_SYNTH_CLASSES; k++)
		CHECK(seen[k] >= 10);
	CHECK(sisters > 0 && sisters < seen[VQ_SYNTH_MITOTIC]);
	CHECK_NEAR(mitotic / seen[VQ_SYNTH_MITOTIC], 1, .35);
	CHECK_NEAR(resting / (200 - seen[VQ_SYNTH_MITOTIC]), 1.2, .5);
}

/* The variance of a flat background: photons times gain squared, and the read noise. */
TEST(noise_is_poisson_and_read_noise)
{
	vq_synth_options o = { 5, 1, 12, 12 };
	for (uint64_t f = 0; f < 4; f++) {
		vq_synth_field field;
		CHECK_OK(vq_synth_make_field(&o, f, 256, 1000 * f, 1, &field));
		CHECK(field.n == 1);
		const vq_synth_truth *t = &field.cell[0].truth;
		const uint16_t *p = field.image.data, *l = field.labels.data;
		double sum = 0, n = 0; /* half the squared step between neighbours is free of the gradient */
		for (int y = 0; y < 256; y++)
			for (int x = 0; x < 254; x += 2)
				if (!l[y * 256 + x] && p[y * 256 + x] < t->offset + 3 * t->gain * t->background[0] && p[y * 256 + x + 1] < t->offset + 3 * t->gain * t->background[0]) {
					double d = (double)p[y * 256 + x] - p[y * 256 + x + 1];
					sum += d * d / 2;
					n++;
				}
		double expected = t->gain * t->gain * t->background[0] + t->read_noise * t->read_noise;
		CHECK_NEAR(sum / n / expected, 1, .06);
		vq_synth_field_free(&field);
	}
}

TEST(fields_hold_cells_that_do_not_overlap)
{
	vq_synth_options o = { 2, 2, 24, 60 };
	vq_synth_field a, b;
	int n = vq_synth_field_capacity(&o, 300);
	CHECK(n >= 20 && n < 400);
	CHECK_OK(vq_synth_make_field(&o, 1, 300, 50, n, &a));
	CHECK_OK(vq_synth_make_field(&o, 1, 300, 50, n, &b));
	CHECK(digest(&a.image) == digest(&b.image) && digest(&a.labels) == digest(&b.labels));
	CHECK(a.n > n / 2 && a.n <= n);
	const uint16_t *l = a.labels.data;
	int edge = 0, touch = 0, *area = calloc((size_t)a.n + 1, sizeof *area);
	CHECK(area != NULL);
	for (int i = 0; i < 300 * 300; i++) {
		CHECK(l[i] <= a.n);
		area[l[i]]++;
		touch += i % 300 && l[i] && l[i - 1] && l[i] != l[i - 1];
	}
	for (int i = 0; i < a.n; i++) {
		const vq_synth_placed *p = &a.cell[i];
		CHECK(p->label == i + 1 && area[i + 1] > 0);
		CHECK(p->box[0] >= 0 && p->box[0] < p->box[2] && p->box[2] <= 300 && p->box[1] >= 0 && p->box[1] < p->box[3] && p->box[3] <= 300);
		edge += p->box[0] == 0 || p->box[1] == 0 || p->box[2] == 300 || p->box[3] == 300;
	}
	CHECK(edge > 0 && touch > 0);
	free(area);
	vq_synth_field_free(&a);
	vq_synth_field_free(&b);
}

TEST(wrong_options_are_named)
{
	CHECK_FAILS(vq_synth_check(&(vq_synth_options){ 0, 17, 14, 40 }), VQ_EINVAL);
	CHECK_HAS(vq_message(), "17 channels");
	CHECK_FAILS(vq_synth_check(&(vq_synth_options){ 0, 1, 50, 40 }), VQ_EINVAL);
	CHECK_HAS(vq_message(), "50 is larger than the largest 40");
	CHECK_FAILS(vq_synth_check(&(vq_synth_options){ 0, 1, 4, 40 }), VQ_EINVAL);
	vq_synth_field f;
	CHECK_FAILS(vq_synth_make_field(&(vq_synth_options){ 0, 1, 14, 40 }, 0, 30, 0, 5, &f), VQ_EINVAL);
}

TEST_MAIN(RUN(a_cell_follows_from_seed_and_index) RUN(sizes_and_masks_are_as_promised) RUN(light_is_where_the_truth_says)
          RUN(noise_is_poisson_and_read_noise) RUN(fields_hold_cells_that_do_not_overlap) RUN(wrong_options_are_named))
