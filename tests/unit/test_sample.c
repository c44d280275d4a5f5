#include "formats/sample.h"

#include "tests/unit/test.h"

static cJSON *parse(const char *text)
{
	cJSON *json = vq_json_parse(text, "test");
	if (!json)
		TEST_END(1, "%s: %s", text, vq_message());
	return json;
}

TEST(names)
{
	CHECK_STR(vq_norm_name(VQ_NORM_ROBUST), "robust");
	for (int m = VQ_NORM_RAW; m <= VQ_NORM_MINMAX; m++)
		CHECK(vq_norm_parse(vq_norm_name((vq_norm_method)m)) == m);
	CHECK(vq_norm_parse("Robust") == -1);
	CHECK(vq_norm_parse(NULL) == -1);
}

TEST(no_key_is_raw)
{
	cJSON *meta = parse("{}");
	vq_norm n;
	CHECK_OK(vq_norm_get(meta, &n));
	CHECK(n.method == VQ_NORM_RAW && n.channels == 0);
	cJSON_Delete(meta);
}

static void norm_round_trip(const vq_norm *in)
{
	cJSON *meta = parse("{\"area\":3,\"normalize\":{\"method\":\"none\"}}");
	vq_norm out;
	CHECK_OK(vq_norm_set(meta, in));
	char *text = cJSON_PrintUnformatted(meta);
	cJSON_Delete(meta);
	meta = parse(text);
	cJSON_free(text);
	CHECK_OK(vq_norm_get(meta, &out));
	CHECK(out.method == in->method && out.channels == in->channels && out.clip == in->clip);
	CHECK_STR(out.scope, in->scope);
	for (int i = 0; i < in->channels; i++) {
		CHECK(out.a[i] == in->a[i] && out.b[i] == in->b[i]);
		CHECK(out.clipped[i] == in->clipped[i] && out.constant[i] == in->constant[i]);
	}
	if (in->method == VQ_NORM_ROBUST)
		CHECK(out.percentiles[0] == in->percentiles[0] && out.percentiles[1] == in->percentiles[1]);
	CHECK(cJSON_GetArraySize(meta) == 2);
	cJSON_Delete(meta);
}

TEST(norm_survives_the_round_trip)
{
	const vq_norm robust = { VQ_NORM_ROBUST, "record", { 0.1, 99.9 }, true, 2, { 0.1, 1e-7 }, { 65535, 1.0 / 3 }, { 0.05, 0 }, { false, true } };
	const vq_norm zscore = { VQ_NORM_ZSCORE, "stats", { 0, 0 }, false, 3, { -1, 0, 5 }, { 1, 0, 2.5 }, { 0 }, { false, true, false } };
	vq_norm minmax = { VQ_NORM_MINMAX, "field", { 0, 0 }, true, VQ_CHANNELS_MAX };
	for (int i = 0; i < VQ_CHANNELS_MAX; i++)
		minmax.b[i] = i;
	norm_round_trip(&robust);
	norm_round_trip(&zscore);
	norm_round_trip(&minmax);
}

TEST(norm_none_and_raw)
{
	cJSON *meta = parse("{}");
	vq_norm n = { .method = VQ_NORM_NONE }, back;
	CHECK_OK(vq_norm_set(meta, &n));
	CHECK_OK(vq_norm_get(meta, &back));
	CHECK(back.method == VQ_NORM_NONE);
	n.method = VQ_NORM_RAW;
	CHECK_OK(vq_norm_set(meta, &n));
	CHECK(cJSON_GetArraySize(meta) == 0);
	n.method = VQ_NORM_ROBUST;
	CHECK_FAILS(vq_norm_set(meta, &n), VQ_EINVAL); /* no channels */
	cJSON_Delete(meta);
}

TEST(malformed_norm_is_named)
{
	static const struct { const char *text, *part; } cases[] = {
		{ "{\"normalize\":3}", "normalize: it is not an object" },
		{ "{\"normalize\":{}}", "method" },
		{ "{\"normalize\":{\"method\":\"raw\"}}", "method \"raw\"" },
		{ "{\"normalize\":{\"method\":\"sigmoid-and-more-than-fits\"}}", "method" },
		{ "{\"normalize\":{\"method\":\"minmax\"}}", "low and high" },
		{ "{\"normalize\":{\"method\":\"zscore\",\"mean\":[1],\"std\":[1,2]}}", "mean and std" },
		{ "{\"normalize\":{\"method\":\"zscore\",\"mean\":[1],\"std\":[-1]}}", "std[0]" },
		{ "{\"normalize\":{\"method\":\"minmax\",\"low\":[2],\"high\":[1]}}", "high[0]" },
		{ "{\"normalize\":{\"method\":\"minmax\",\"low\":[null],\"high\":[1]}}", "low[0] is not a number" },
		{ "{\"normalize\":{\"method\":\"minmax\",\"low\":[\"1\"],\"high\":[1]}}", "low[0] is not a number" },
		{ "{\"normalize\":{\"method\":\"minmax\",\"low\":1,\"high\":[1]}}", "low is not a list" },
		{ "{\"normalize\":{\"method\":\"minmax\",\"low\":[0],\"high\":[1],\"scope\":\"well\"}}", "scope" },
		{ "{\"normalize\":{\"method\":\"minmax\",\"low\":[0],\"high\":[1],\"clip\":1}}", "clip" },
		{ "{\"normalize\":{\"method\":\"minmax\",\"low\":[0],\"high\":[1],\"clipped\":[0,0]}}", "clipped" },
		{ "{\"normalize\":{\"method\":\"minmax\",\"low\":[0],\"high\":[1],\"constant\":[1]}}", "constant[0]" },
		{ "{\"normalize\":{\"method\":\"minmax\",\"low\":[0],\"high\":[1],\"constant\":[]}}", "constant" },
		{ "{\"normalize\":{\"method\":\"robust\",\"low\":[0],\"high\":[1]}}", "percentiles" },
		{ "{\"normalize\":{\"method\":\"robust\",\"percentiles\":[95,5],\"low\":[0],\"high\":[1]}}", "percentiles 95, 5" },
		{ "{\"normalize\":{\"method\":\"robust\",\"percentiles\":[5,101],\"low\":[0],\"high\":[1]}}", "percentiles 5, 101" },
		{ "{\"normalize\":{\"method\":\"minmax\",\"low\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],\"high\":[1]}}", "more than 16" },
	};
	for (size_t i = 0; i < VQ_COUNT(cases); i++) {
		cJSON *meta = parse(cases[i].text);
		vq_norm n;
		vq_status s = vq_norm_get(meta, &n);
		cJSON_Delete(meta);
		if (s != VQ_EFORMAT)
			TEST_END(1, "%s gave %d", cases[i].text, s);
		CHECK_HAS(vq_message(), cases[i].part);
		CHECK_HAS(vq_message(), "metadata key normalize");
	}
}

TEST(descriptions)
{
	static const struct { vq_norm n; const char *text; } cases[] = {
		{ { VQ_NORM_RAW }, "raw grey levels" },
		{ { VQ_NORM_ROBUST, "record", { 5, 95 }, true, 1 }, "percentiles 5,95 per record, clipped" },
		{ { VQ_NORM_ROBUST, "stats", { 0.1, 99.9 }, false, 1 }, "percentiles 0.1,99.9 from --stats, not clipped" },
		{ { VQ_NORM_MINMAX, "field", { 0, 0 }, true, 1 }, "minimum and maximum per field, clipped" },
		{ { VQ_NORM_ZSCORE, "field", { 0, 0 }, false, 1 }, "mean and deviation per field" },
	};
	for (size_t i = 0; i < VQ_COUNT(cases); i++) {
		char *text = vq_norm_describe(&cases[i].n), copy[100];
		CHECK(text);
		snprintf(copy, sizeof copy, "%s", text);
		free(text);
		CHECK_STR(copy, cases[i].text);
	}
}

/* vq_geom_get on an image of 2 channels, h x w; the status, and the geometry in *g. */
static vq_status geometry(const char *text, int64_t h, int64_t w, vq_geom *g)
{
	vq_tensor image = { .dtype = VQ_F32, .ndim = 3, .shape = { 2, h, w } };
	cJSON *meta = parse(text);
	vq_status s = vq_geom_get(meta, h ? &image : NULL, g);
	cJSON_Delete(meta);
	return s;
}

TEST(geometry_is_read)
{
	vq_geom g;
	CHECK_OK(geometry("{}", 20, 31, &g));
	CHECK(g.h == 20 && g.w == 31 && g.top == 0 && g.right == 0 && !*g.mode);
	CHECK_OK(geometry("{\"size\":[14,29],\"pad\":[4,2,1,1],\"pad_mode\":\"reflect\"}", 20, 31, &g));
	CHECK(g.h == 14 && g.w == 29 && g.top == 4 && g.bottom == 2 && g.left == 1 && g.right == 1);
	CHECK_STR(g.mode, "reflect");
	CHECK_OK(geometry("{\"pad\":[4,2,1,1]}", 20, 31, &g));
	CHECK(g.h == 14 && g.w == 29);
	CHECK_OK(geometry("{\"size\":[14,29],\"pad\":[4,2,1,1],\"extent\":[20,31]}", 0, 0, &g)); /* a code record */
	CHECK(g.h == 14 && g.top == 4);
}

TEST(malformed_geometry_is_named)
{
	static const struct { const char *text; int64_t h, w; const char *part; } cases[] = {
		{ "{\"size\":[14,29]}", 20, 31, "size and pad give 14 x 29, the image has 20 x 31" },
		{ "{\"size\":[14,29],\"pad\":[0,0,1,1]}", 14, 30, "size and pad give 14 x 31" },
		{ "{\"size\":[14]}", 14, 30, "size has 1 entries, not 2" },
		{ "{\"size\":[14,30,1]}", 14, 30, "size has more than 2" },
		{ "{\"size\":[14.5,30]}", 14, 30, "size[0] = 14.5" },
		{ "{\"size\":[0,30]}", 14, 30, "size[0] = 0" },
		{ "{\"size\":[14,1e30]}", 14, 30, "size[1]" },
		{ "{\"pad\":[-1,0,0,0]}", 14, 30, "pad[0] = -1" },
		{ "{\"pad\":[7,7,0,0]}", 14, 30, "size and pad" },
		{ "{\"pad\":4}", 14, 30, "pad is not a list" },
		{ "{\"pad_mode\":\"wrap\"}", 14, 30, "pad_mode \"wrap\"" },
		{ "{\"pad_mode\":7}", 14, 30, "pad_mode" },
		{ "{}", 0, 0, "size is missing" },
		{ "{\"size\":[14,29],\"extent\":[20,31]}", 0, 0, "size and pad give 14 x 29" },
	};
	vq_geom g;
	for (size_t i = 0; i < VQ_COUNT(cases); i++) {
		vq_status s = geometry(cases[i].text, cases[i].h, cases[i].w, &g);
		if (s != VQ_EFORMAT)
			TEST_END(1, "%s gave %d", cases[i].text, s);
		CHECK_HAS(vq_message(), cases[i].part);
	}
}

TEST(geometry_is_written)
{
	cJSON *meta = parse("{\"area\":5}");
	vq_geom g = { 14, 29, 4, 2, 1, 1, "edge" };
	CHECK_OK(vq_geom_set(meta, &g));
	char *text = cJSON_PrintUnformatted(meta);
	CHECK_STR(text, "{\"area\":5,\"size\":[14,29],\"pad\":[4,2,1,1],\"pad_mode\":\"edge\"}");
	cJSON_free(text);
	g = (vq_geom){ .h = 14, .w = 29 };
	CHECK_OK(vq_geom_set(meta, &g));
	text = cJSON_PrintUnformatted(meta);
	CHECK_STR(text, "{\"area\":5,\"size\":[14,29]}");
	cJSON_free(text);
	cJSON_Delete(meta);
}

static vqt_record record;

/* A record of one image and, with mask_ndim, one mask of mask_h x mask_w. */
static void make_record(int ndim, const int64_t *shape, vq_dtype mask_dtype, int64_t mask_h, int64_t mask_w)
{
	vq_tensor t;
	vqt_record_free(&record);
	CHECK_OK(vqt_record_make(&record, "F#1"));
	CHECK_OK(vq_tensor_make(&t, VQ_U16, ndim, shape));
	CHECK_OK(vqt_set(&record, "image", &t));
	if (mask_h) {
		CHECK_OK(vq_tensor_make(&t, mask_dtype, 2, (int64_t[]){ mask_h, mask_w }));
		CHECK_OK(vqt_set(&record, "mask", &t));
	}
}

TEST(samples_are_checked)
{
	vq_tensor *image, *mask;
	make_record(3, (int64_t[]){ 4, 5, 6 }, VQ_U8, 5, 6);
	CHECK_OK(vq_sample_check(&record, &image, &mask));
	CHECK(image && image->shape[0] == 4 && mask && mask->shape[1] == 6);
	CHECK_OK(vq_sample_check(&record, &image, NULL));
	make_record(3, (int64_t[]){ 1, 5, 6 }, VQ_U8, 0, 0);
	CHECK_OK(vq_sample_check(&record, &image, &mask));
	CHECK(image && !mask);

	make_record(2, (int64_t[]){ 5, 6 }, VQ_U8, 0, 0);
	CHECK_FAILS(vq_sample_check(&record, &image, &mask), VQ_EFORMAT);
	CHECK_STR(vq_message(), "record F#1: image has 2 axes, not channels, rows and columns");
	CHECK(!image && !mask);
	make_record(3, (int64_t[]){ 17, 5, 6 }, VQ_U8, 0, 0);
	CHECK_FAILS(vq_sample_check(&record, &image, &mask), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "17 channels");
	make_record(3, (int64_t[]){ 1, 0, 6 }, VQ_U8, 0, 0);
	CHECK_FAILS(vq_sample_check(&record, &image, &mask), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "no pixels");
	make_record(3, (int64_t[]){ 1, 5, 6 }, VQ_I32, 5, 6);
	CHECK_FAILS(vq_sample_check(&record, &image, &mask), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "mask has type i32");
	make_record(3, (int64_t[]){ 1, 5, 6 }, VQ_U8, 6, 5);
	CHECK_FAILS(vq_sample_check(&record, &image, NULL), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "as large as");
	vqt_remove(&record, "image");
	CHECK_FAILS(vq_sample_check(&record, &image, &mask), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "no tensor named image");
	vqt_record_free(&record);
}

TEST(texts)
{
	char buf[32];
	cJSON *meta = parse("{\"field\":\"P_A1_3\",\"label\":12,\"area\":0.5,\"size\":[1,2],\"metadata\":{\"Metadata_Well\":\"A1\",\"Metadata_Dose\":2.25,\"x\":true,\"n\":null}}");
	CHECK_STR(vq_sample_text(meta, "Metadata_Well", buf), "A1");
	CHECK_STR(vq_sample_text(meta, "Metadata_Dose", buf), "2.25");
	CHECK_STR(vq_sample_text(meta, "field", buf), "P_A1_3");
	CHECK_STR(vq_sample_text(meta, "label", buf), "12");
	CHECK_STR(vq_sample_text(meta, "area", buf), "0.5");
	CHECK_STR(vq_sample_text(meta, "x", buf), "true");
	CHECK(!vq_sample_text(meta, "n", buf));
	CHECK(!vq_sample_text(meta, "size", buf));
	CHECK(!vq_sample_text(meta, "Metadata_Plate", buf));
	CHECK(!vq_sample_text(meta, "metadata_well", buf));
	cJSON_Delete(meta);
	meta = parse("{\"metadata\":7,\"Metadata_Well\":\"no\"}");
	CHECK(!vq_sample_text(meta, "Metadata_Well", buf));
	cJSON_Delete(meta);
}

TEST(json_set_replaces_in_place)
{
	cJSON *o = parse("{\"a\":1,\"b\":2}");
	CHECK_OK(vq_json_set(o, "a", cJSON_CreateString("x")));
	CHECK_OK(vq_json_set(o, "c", vq_json_doubles((double[]){ 0.1, NAN, INFINITY, 1e300 }, 4)));
	CHECK_FAILS(vq_json_set(o, "d", NULL), VQ_ENOMEM);
	CHECK_HAS(vq_message(), "key d");
	char *text = cJSON_PrintUnformatted(o);
	CHECK_STR(text, "{\"a\":\"x\",\"b\":2,\"c\":[0.1,null,null,1e+300]}");
	cJSON_free(text);
	cJSON_Delete(o);
}

TEST(json_errors_name_the_line)
{
	static const struct { const char *text, *message; } cases[] = {
		{ "{\n\"a\": 1,\n\"b\": oops\n}", "x.json: line 3: not JSON at \"oops\"" },
		{ "{\"a\": 1", "x.json: line 1: JSON that ends too early" },
		{ "", "x.json: line 1: JSON that ends too early" },
		{ "{} trailing", "x.json: line 1: not JSON at \"trailing\"" },
	};
	for (size_t i = 0; i < VQ_COUNT(cases); i++) {
		CHECK(!vq_json_parse(cases[i].text, "x.json"));
		CHECK_STR(vq_message(), cases[i].message);
	}
}

TEST_MAIN(RUN(names) RUN(no_key_is_raw) RUN(norm_survives_the_round_trip) RUN(norm_none_and_raw) RUN(malformed_norm_is_named)
	RUN(descriptions) RUN(geometry_is_read) RUN(malformed_geometry_is_named) RUN(geometry_is_written) RUN(samples_are_checked)
	RUN(texts) RUN(json_set_replaces_in_place) RUN(json_errors_name_the_line))
