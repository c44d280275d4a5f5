#include "formats/pairs.h"
#include "lib/rng.h"
#include "tests/unit/streams.h"
#include "tests/unit/test.h"
#include "tools/totals.h"

/* What a test varies of a record. */
typedef struct { int id, h, w, channels; vq_geom pad; vq_norm_method method; double low; bool clip; double shift; } spec;
static const spec plain = { .h = 13, .w = 12, .channels = 2, .method = VQ_NORM_ROBUST, .low = 100, .clip = true };

static spec number(int id) { spec s = plain; s.id = id; return s; }

/* Pixel values depend on the id and the true position; padding is garbage on purpose. */
static void make_record(vqt_record *r, const spec *s)
{
	char id[32];
	snprintf(id, sizeof id, "f#%d", s->id);
	CHECK_OK(vqt_record_make(r, id));
	const vq_geom *p = &s->pad;
	int64_t shape[3] = { s->channels, s->h + p->top + p->bottom, s->w + p->left + p->right };
	vq_tensor image, mask;
	CHECK_OK(vq_tensor_make(&image, VQ_F32, 3, shape));
	CHECK_OK(vq_tensor_make(&mask, VQ_U8, 2, shape + 1));
	for (int64_t c = 0; c < shape[0]; c++)
		for (int64_t y = 0; y < shape[1]; y++)
			for (int64_t x = 0; x < shape[2]; x++) {
				int64_t i = y - p->top, j = x - p->left;
				bool inside = i >= 0 && j >= 0 && i < s->h && j < s->w;
				((float *)image.data)[(c * shape[1] + y) * shape[2] + x] = inside ? (float)(sin(s->id + c + 0.3 * (double)i + 0.7 * (double)j) + s->shift * (double)(1 + c)) : 77 - (float)p->top;
				((uint8_t *)mask.data)[y * shape[2] + x] = inside ? i > 3 && j > 3 : 1;
			}
	CHECK_OK(vqt_set(r, "image", &image));
	CHECK_OK(vqt_set(r, "mask", &mask));
	vq_geom g = *p;
	g.h = s->h;
	g.w = s->w;
	memcpy(g.mode, "zero", 5);
	CHECK_OK(vq_geom_set(r->meta, &g));
	vq_norm n = { .method = s->method, .scope = "record", .percentiles = { 5, 95 }, .clip = s->clip, .channels = s->channels };
	for (int c = 0; c < s->channels; c++) {
		n.a[c] = s->low;
		n.b[c] = s->low + 900;
	}
	CHECK_OK(vq_norm_set(r->meta, &n));
}

static const char *write_stream(const char *name, const char *kind, const char *channels, const spec *s, int n)
{
	const char *path = stream_path(name);
	cJSON *list = cJSON_Parse(channels), *header = vqt_header_make(kind, list);
	vqt_writer *w;
	CHECK_OK(vqt_create(&w, path, header, NULL));
	for (int i = 0; i < n; i++) {
		vqt_record r;
		make_record(&r, &s[i]);
		CHECK_OK(vqt_put(w, &r));
		vqt_record_free(&r);
	}
	CHECK_OK(vqt_finish(w));
	cJSON_Delete(list);
	cJSON_Delete(header);
	return path;
}

#define AB "[\"A\",\"B\"]"

/* Reads all pairs; checks that ids agree; returns the status and the number. */
static int read_all(const char *stream, const char *reference, bool subset, int *n)
{
	vq_pairs *p;
	vqt_record a, b;
	int got = vq_pairs_open(&p, stream, reference, subset);
	if (got < 0)
		return got;
	for (*n = 0; (got = vq_pairs_next(p, &a, &b)) > 0; ++*n) {
		CHECK_STR(a.id, b.id);
		vqt_record_free(&a);
		vqt_record_free(&b);
	}
	vq_pairs_close(p);
	return got;
}

static int digits(spec *s, const char *ids)
{
	int n = 0;
	for (; ids[n]; n++)
		s[n] = number(ids[n] - '0');
	return n;
}

TEST(any_order_of_a_file)
{
	static const struct { const char *stream, *reference; bool subset; int result, n; const char *message; } t[] = {
		{ "012345", "012345", false, 0, 6, NULL },
		{ "543210", "012345", false, 0, 6, NULL },
		{ "031245", "012345", false, 0, 6, NULL },
		{ "0124", "0123456", true, 0, 4, NULL },
		{ "64", "0123456", true, 0, 2, NULL },
		{ "012", "01234", false, VQ_EINVAL, 3, "record f#3 and 1 more of the reference" },
		{ "0134", "01234", false, VQ_EINVAL, 4, "record f#2 of the reference" },
		{ "4130", "01234", false, VQ_EINVAL, 4, "record f#2 of the reference" },
		{ "0192", "012", false, VQ_EINVAL, 2, "record f#9 of " },
		{ "0129", "012", true, VQ_EINVAL, 3, "record f#9 of " },
		{ "", "012", true, VQ_EINVAL, 0, "holds no record" },
		{ "0", "", true, VQ_EINVAL, 0, "is not in the reference" },
	};
	for (size_t i = 0; i < VQ_COUNT(t); i++) {
		spec s[8];
		const char *a = write_stream("a.vqt", "samples", AB, s, digits(s, t[i].stream));
		const char *b = write_stream("b.vqt", "samples", AB, s, digits(s, t[i].reference));
		int n = -1;
		CHECK(read_all(a, b, t[i].subset, &n) == t[i].result);
		CHECK(n == t[i].n);
		if (t[i].message)
			CHECK_HAS(vq_message(), t[i].message);
	}
}

TEST(streams_that_are_no_match)
{
	spec s[2] = { number(0), number(1) };
	int n;
	const char *samples = write_stream("a.vqt", "samples", AB, s, 2), *other = write_stream("b.vqt", "samples", "[\"A\",\"C\"]", s, 2);
	CHECK(read_all(samples, other, false, &n) == VQ_EINVAL);
	CHECK_HAS(vq_message(), "a.vqt has channels [\"A\",\"B\"], the reference");
	CHECK_HAS(vq_message(), "b.vqt has [\"A\",\"C\"]");
	other = write_stream("b.vqt", "batches", AB, s, 0);
	CHECK(read_all(other, samples, false, &n) == VQ_EINVAL);
	CHECK_HAS(vq_message(), "holds batches: undo them first with vq-batch --split");
	other = write_stream("b.vqt", "codes", AB, s, 0);
	CHECK(read_all(samples, other, false, &n) == VQ_EINVAL);
	CHECK_HAS(vq_message(), "holds codes: decode them first with vq-decode");
	CHECK(read_all(samples, "/no/such", false, &n) == VQ_EIO);
	CHECK_HAS(vq_message(), "/no/such");
}

static vq_status score(const spec *image, const spec *reference, vq_record_score *out)
{
	vqt_record a, b;
	vq_score_scratch scratch = {0};
	make_record(&a, image);
	make_record(&b, reference);
	vq_status s = vq_score_record(&scratch, &a, &b, 2, false, out);
	vqt_record_free(&a);
	vqt_record_free(&b);
	vq_score_scratch_free(&scratch);
	return s;
}

TEST(padding_of_either_side_does_not_count)
{
	static const vq_geom pads[] = { {0}, { .top = 3, .bottom = 4, .left = 0, .right = 9 }, { .top = 1, .left = 2 } };
	for (size_t i = 0; i < VQ_COUNT(pads); i++)
		for (size_t j = 0; j < VQ_COUNT(pads); j++) {
			spec a = number(5), b = number(5);
			vq_record_score s;
			a.pad = pads[i];
			b.pad = pads[j];
			a.shift = 0.25;
			CHECK_OK(score(&a, &b, &s));
			CHECK(s.h == 13 && s.w == 12 && s.channels == 2 && s.inside == 9 * 8);
			for (int k = 0; k < 2; k++) {
				CHECK_NEAR(s.channel[k][0].v[VQ_MSE], 0.0625, 1e-7);
				CHECK_NEAR(s.channel[k][1].v[VQ_MSE], 0.25, 1e-7);
				CHECK_NEAR(s.mean[k].v[VQ_MSE], 0.15625, 1e-7);
				CHECK_NEAR(s.mean[k].v[VQ_PSNR], 5 * log10(4 / 0.0625) + 5 * log10(4 / 0.25), 1e-5);
				CHECK_NEAR(s.mean[k].v[VQ_PEARSON], 1, 1e-9);
				CHECK(s.mean[k].v[VQ_SSIM] < 0.99);
			}
		}
}

TEST(records_that_cannot_be_compared)
{
	vq_record_score s;
	spec a = number(1), b = number(1);
	b.h = 14;
	CHECK_FAILS(score(&a, &b, &s), VQ_EINVAL);
	CHECK_STR(vq_message(), "record f#1 is 13 x 12 pixels, its reference 14 x 12");
	b = number(1);
	b.channels = 3;
	CHECK_FAILS(score(&a, &b, &s), VQ_EINVAL);
	CHECK_STR(vq_message(), "record f#1 has 2 channels, its reference 3");
	b = number(1);
	b.method = VQ_NORM_MINMAX;
	CHECK_FAILS(score(&a, &b, &s), VQ_EINVAL);
	CHECK_STR(vq_message(), "record f#1 is normalised by percentiles 5,95 per record, clipped, its reference by minimum and maximum per record, clipped");
	b = number(1);
	b.clip = false;
	CHECK_FAILS(score(&a, &b, &s), VQ_EINVAL);
	CHECK_HAS(vq_message(), "clipped, its reference by percentiles 5,95 per record, not clipped");
	b = number(1);
	b.low = 101;
	CHECK_FAILS(score(&a, &b, &s), VQ_EINVAL);
	CHECK_STR(vq_message(), "record f#1 is normalised by percentiles 5,95 per record, clipped with 100, 1000 in channel 1, its reference with 101, 1001");
	b = number(1);
	b.shift = NAN;
	CHECK_FAILS(score(&b, &a, &s), VQ_EINVAL);
	CHECK_STR(vq_message(), "record f#1, channel 1: the image has a NaN or infinite pixel");
	a.method = VQ_NORM_RAW;
	b = number(1);
	b.method = VQ_NORM_NONE;
	CHECK_OK(score(&a, &b, &s));
}

TEST(totals_are_over_records)
{
	vq_totals t = {0};
	vq_record_score s;
	double mse[3];
	cJSON *header = cJSON_Parse("{\"channels\":[\"A\"]}"), *json = cJSON_CreateObject();
	CHECK_OK(vq_totals_name(&t, header, 2));
	CHECK_STR(t.name[0], "A");
	CHECK_STR(t.name[1], "channel_2");
	for (int i = 0; i < 3; i++) {
		spec a = number(i), b = number(i);
		a.shift = 0.1 * (i + 1);
		CHECK_OK(score(&a, &b, &s));
		mse[i] = s.channel[0][1].v[VQ_MSE];
		CHECK_OK(vq_totals_add(&t, "x", NULL, &s));
	}
	CHECK_OK(vq_totals_json(&t, json));
	CHECK(cJSON_GetObjectItem(json, "n")->valueint == 3 && cJSON_GetObjectItem(json, "pixels")->valueint == 3 * 13 * 12);
	const cJSON *o = cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetObjectItem(json, "per_channel"), "channel_2"), "mse");
	CHECK_NEAR(cJSON_GetObjectItem(o, "mean")->valuedouble, (mse[0] + mse[1] + mse[2]) / 3, 1e-12);
	CHECK_NEAR(cJSON_GetObjectItem(o, "median")->valuedouble, mse[1], 0);
	CHECK_NEAR(cJSON_GetObjectItem(o, "max")->valuedouble, mse[2], 0);
	o = cJSON_GetObjectItem(json, "foreground");
	CHECK(cJSON_GetObjectItem(o, "n")->valueint == 3 && cJSON_GetObjectItem(o, "pixels")->valueint == 3 * 72);
	s.channels = 1;
	CHECK_FAILS(vq_totals_add(&t, "x", NULL, &s), VQ_EINVAL);
	CHECK_STR(vq_message(), "record x has 1 channels, those before it 2");
	vq_totals_free(&t);
	cJSON_Delete(header);
	cJSON_Delete(json);
}

TEST_MAIN(RUN(any_order_of_a_file) RUN(streams_that_are_no_match) RUN(padding_of_either_side_does_not_count) RUN(records_that_cannot_be_compared)
	RUN(totals_are_over_records))
