/* Normalising, padding and denormalising whole records. VQ_GOLDEN=write makes tests/golden/not-finite.vqt anew, which bats files read. */
#include "lib/rng.h"
#include "tests/unit/test.h"
#include "tools/normrec.h"
#include "tools/padrec.h"

/* Two channels of grey levels about `level`, a mask and the metadata that a cropped cell has. */
static void make(vqt_record *rec, const char *id, vq_dtype dtype, int64_t h, int64_t w, double level, uint64_t seed)
{
	vq_rng r = vq_rng_make(seed, 0);
	vq_tensor image, mask;
	CHECK_OK(vqt_record_make(rec, id));
	CHECK_OK(vq_tensor_make(&image, dtype, 3, (int64_t[]){ 2, h, w }));
	CHECK_OK(vq_tensor_make(&mask, VQ_U8, 2, (int64_t[]){ h, w }));
	for (size_t i = 0; i < (size_t)(2 * h * w); i++)
		vq_tensor_set(&image, i, level + level / 3 * vq_rng_normal(&r));
	for (size_t i = 0; i < (size_t)(h * w); i++)
		((uint8_t *)mask.data)[i] = (uint8_t)vq_rng_below(&r, 3);
	CHECK_OK(vqt_set(rec, "image", &image));
	CHECK_OK(vqt_set(rec, "mask", &mask));
	const char *names[] = { "DNA", "ER" };
	CHECK_OK(vq_json_set(rec->meta, "channels", cJSON_CreateStringArray(names, 2)));
	CHECK_OK(vq_geom_set(rec->meta, &(vq_geom){ .h = h, .w = w }));
	cJSON *columns = cJSON_CreateObject();
	CHECK_OK(vq_json_set(rec->meta, "metadata", columns));
	CHECK_OK(vq_json_set(columns, "Metadata_Plate", cJSON_CreateString(seed & 1 ? "odd" : "even")));
}

static bool same_tensor(const vqt_record *a, const vqt_record *b, const char *name)
{
	const vq_tensor *x = vqt_get(a, name), *y = vqt_get(b, name);
	size_t n = 0;
	return x && y && x->dtype == y->dtype && x->ndim == y->ndim && !memcmp(x->shape, y->shape, sizeof x->shape) &&
		vq_tensor_bytes(x, &n) == VQ_OK && !memcmp(x->data, y->data, n);
}

static const vq_norm methods[] = {
	{ .method = VQ_NORM_ROBUST, .scope = "record", .percentiles = { 5, 95 }, .clip = true },
	{ .method = VQ_NORM_ROBUST, .scope = "record", .percentiles = { 1, 99 } },
	{ .method = VQ_NORM_MINMAX, .scope = "record", .clip = true },
	{ .method = VQ_NORM_ZSCORE, .scope = "record" },
	{ .method = VQ_NORM_NONE, .scope = "record" },
};
static const vq_dtype types[] = { VQ_U8, VQ_U16, VQ_I32, VQ_F16, VQ_F32, VQ_F64 };

TEST(padding_and_normalising_commute)
{
	for (size_t m = 0; m < VQ_COUNT(methods); m++)
		for (int mode = VQ_PAD_REFLECT; mode <= VQ_PAD_EDGE; mode++)
			for (size_t t = 0; t < VQ_COUNT(types); t++) {
				vqt_record a, b, bare;
				make(&a, "cell", types[t], 13, 18, 90, 1);
				CHECK_OK(vqt_record_copy(&b, &a));
				CHECK_OK(vq_normalize_record(&a, &methods[m], NULL, NULL));
				CHECK_OK(vqt_record_copy(&bare, &a));
				CHECK_OK(vq_pad_record(&a, (vq_pad_mode)mode, 16, 32));
				CHECK_OK(vq_pad_record(&b, (vq_pad_mode)mode, 16, 32));
				CHECK_OK(vq_normalize_record(&b, &methods[m], NULL, NULL));
				CHECK(same_tensor(&a, &b, "image") && same_tensor(&a, &b, "mask") && cJSON_Compare(a.meta, b.meta, true));
				CHECK(vqt_get(&a, "image")->dtype == VQ_F32 && vqt_get(&a, "image")->shape[1] == 32);
				CHECK_OK(vq_unpad_record(&a));
				CHECK(same_tensor(&a, &bare, "image") && same_tensor(&a, &bare, "mask") && cJSON_Compare(a.meta, bare.meta, true));
				vqt_record_free(&a);
				vqt_record_free(&b);
				vqt_record_free(&bare);
			}
}

TEST(grey_levels_come_back)
{
	for (size_t m = 0; m < VQ_COUNT(methods); m++) {
		vqt_record rec, raw;
		vq_tensor grey;
		vq_norm done;
		make(&rec, "cell", VQ_U16, 20, 15, 900, 2);
		CHECK_OK(vqt_record_copy(&raw, &rec));
		CHECK_OK(vq_normalize_record(&rec, &methods[m], NULL, &done));
		CHECK_OK(vq_denormalize_record(&rec, &grey));
		for (size_t i = 0; i < 600; i++) {
			double want = vq_tensor_get(vqt_get(&raw, "image"), i);
			size_t c = i / 300;
			if (done.clip)
				want = fmin(fmax(want, done.a[c]), done.b[c]);
			CHECK_NEAR(((double *)grey.data)[i], want, 1e-3);
		}
		vq_tensor_free(&grey);
		CHECK_OK(vq_denormalize_record(&raw, &grey));
		CHECK(grey.dtype == VQ_F64 && ((double *)grey.data)[7] == vq_tensor_get(vqt_get(&raw, "image"), 7));
		vq_tensor_free(&grey);
		vqt_record_free(&rec);
		vqt_record_free(&raw);
	}
}

TEST(a_model_repeats_its_own_normalisation)
{
	vqt_record a, b;
	vq_norm done, how = methods[0], got;
	make(&a, "cell", VQ_U16, 20, 15, 900, 2);
	CHECK_OK(vqt_record_copy(&b, &a));
	CHECK_OK(vq_normalize_record(&a, &how, NULL, &done));
	CHECK_OK(vq_norm_get(a.meta, &got));
	CHECK(got.a[1] == done.a[1] && got.b[0] == done.b[0] && got.clipped[0] == done.clipped[0]);
	how = done; /* the same limits, now given from outside */
	strcpy(how.scope, "stats");
	CHECK_OK(vq_normalize_record(&b, &how, NULL, &got));
	CHECK(same_tensor(&a, &b, "image") && got.a[1] == done.a[1] && !strcmp(got.scope, "stats"));
	vqt_record_free(&b);
	make(&b, "cell", VQ_U16, 20, 15, 900, 2);
	how.channels = 3;
	CHECK_FAILS(vq_normalize_record(&b, &how, NULL, NULL), VQ_EINVAL);
	CHECK_STR(vq_message(), "record cell: 2 channels, and the normalisation is of 3");
	CHECK_FAILS(vq_normalize_record(&a, &methods[3], NULL, NULL), VQ_EINVAL);
	CHECK_STR(vq_message(), "record cell: it is normalised already (percentiles 5,95 per record, clipped); vq-normalize takes raw grey levels");
	vqt_record_free(&a);
	vqt_record_free(&b);
}

TEST(constant_channels_become_0)
{
	for (size_t m = 0; m < 4; m++) {
		vqt_record rec;
		vq_norm done;
		make(&rec, "cell", VQ_F32, 10, 10, 90, 3);
		float *v = vqt_get(&rec, "image")->data;
		for (int i = 0; i < 100; i++)
			v[i] = .1f;
		if (methods[m].method == VQ_NORM_ROBUST)
			v[5] = 7; /* one pixel of a hundred is beyond every percentile */
		CHECK_OK(vq_normalize_record(&rec, &methods[m], NULL, &done));
		v = vqt_get(&rec, "image")->data;
		bool exact = methods[m].percentiles[1] == 95 || methods[m].method != VQ_NORM_ROBUST;
		CHECK(done.constant[0] == exact && !done.constant[1]);
		for (int i = 0; exact && i < 100; i++)
			CHECK(v[i] == 0);
		if (exact)
			CHECK_NEAR(done.clipped[0], methods[m].method == VQ_NORM_ROBUST ? .01 : 0, 1e-12);
		vqt_record_free(&rec);
	}
}

TEST(statistics_go_by_channel_name_and_group)
{
	vq_fit *f;
	vq_stats *stats;
	vqt_record rec;
	vq_norm how = { .method = VQ_NORM_MINMAX, .scope = "stats" }, done;
	CHECK_OK(vq_fit_open(&f, "Metadata_Plate", NULL, 0, NULL, 0));
	for (int i = 0; i < 6; i++) {
		make(&rec, "cell", VQ_U16, 10, 10, i & 1 ? 3000 : 300, (uint64_t)i);
		CHECK_OK(vq_fit_add(f, &rec));
		vqt_record_free(&rec);
	}
	cJSON *json = vq_fit_result(f);
	vq_fit_close(f);
	CHECK(json);
	CHECK_OK(vq_stats_open(&stats, json));
	make(&rec, "cell", VQ_U16, 10, 10, 3000, 7);
	const char *swapped[] = { "ER", "DNA" };
	CHECK_OK(vq_json_set(rec.meta, "channels", cJSON_CreateStringArray(swapped, 2)));
	const cJSON *group;
	int channel[2];
	CHECK_OK(vq_stats_find(stats, rec.meta, 2, &group, channel));
	CHECK(channel[0] == 1 && channel[1] == 0);
	CHECK_STR(cJSON_GetArrayItem(cJSON_GetObjectItem(group, "group"), 0)->valuestring, "odd");
	double er[2];
	CHECK_OK(vq_stats_bounds(group, 1, (double[]){ 0, 100 }, er));
	CHECK(er[0] > 500 && er[1] > 3000);
	CHECK_OK(vq_normalize_record(&rec, &how, stats, &done));
	CHECK(done.a[0] == er[0] && done.b[0] == er[1]);
	vqt_record_free(&rec);
	make(&rec, "cell", VQ_U16, 10, 10, 3000, 7);
	cJSON_DeleteItemFromObject(rec.meta, "metadata");
	CHECK_FAILS(vq_normalize_record(&rec, &how, stats, NULL), VQ_EINVAL);
	CHECK_STR(vq_message(), "record cell: the statistics are grouped by Metadata_Plate, which it lacks");
	vqt_record_free(&rec);
	vq_stats_close(stats);
}

TEST(bad_pixels_and_padding_are_named)
{
	vqt_record rec;
	make(&rec, "cell", VQ_F32, 12, 10, 90, 3);
	CHECK_OK(vq_pad_record(&rec, VQ_PAD_REFLECT, 16, 32));
	CHECK_OK(vq_unpad_record(&rec));
	((float *)vqt_get(&rec, "image")->data)[120 + 34] = NAN;
	for (size_t m = 0; m < VQ_COUNT(methods); m++) {
		CHECK_FAILS(vq_normalize_record(&rec, &methods[m], NULL, NULL), VQ_EINVAL);
		CHECK_STR(vq_message(), "record cell: channel ER: a NaN pixel at row 3, column 4");
	}
	CHECK(!cJSON_GetObjectItem(rec.meta, "normalize") && vqt_get(&rec, "image")->dtype == VQ_F32);
	CHECK_OK(vq_json_set(rec.meta, "pad", vq_json_doubles((double[]){ 9, 9, 0, 0 }, 4)));
	CHECK_FAILS(vq_pad_record(&rec, VQ_PAD_REFLECT, 16, 32), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "record cell: ");
	vqt_record_free(&rec);
}

TEST(golden_not_finite)
{
	static const char path[] = "tests/golden/not-finite.vqt";
	if (getenv("VQ_GOLDEN")) {
		const char *names[] = { "DNA", "ER" };
		cJSON *channels = cJSON_CreateStringArray(names, 2), *header = vqt_header_make("samples", channels);
		vqt_writer *w;
		CHECK_OK(vqt_header_chain(header, "vq-test", NULL));
		CHECK_OK(vqt_create(&w, path, header, NULL));
		for (int i = 0; i < 4; i++) {
			vqt_record rec;
			char id[16];
			snprintf(id, sizeof id, "cell#%d", i);
			make(&rec, id, VQ_F32, 5, 6, 50, (uint64_t)i);
			if (i == 2)
				((float *)vqt_get(&rec, "image")->data)[30 + 8] = NAN;
			CHECK_OK(vqt_put(w, &rec));
			vqt_record_free(&rec);
		}
		CHECK_OK(vqt_finish(w));
		cJSON_Delete(channels);
		cJSON_Delete(header);
	}
	vqt_reader *in;
	vqt_record rec;
	CHECK_OK(vqt_open(&in, path, "samples", NULL));
	for (int i = 0; i < 4; i++) {
		CHECK(vqt_next(in, &rec) == 1);
		CHECK(isnan(((float *)vqt_get(&rec, "image")->data)[30 + 8]) == (i == 2));
		vqt_record_free(&rec);
	}
	vqt_close(in);
}

TEST_MAIN(RUN(padding_and_normalising_commute) RUN(grey_levels_come_back) RUN(a_model_repeats_its_own_normalisation)
	RUN(constant_channels_become_0) RUN(statistics_go_by_channel_name_and_group) RUN(bad_pixels_and_padding_are_named)
	RUN(golden_not_finite))
