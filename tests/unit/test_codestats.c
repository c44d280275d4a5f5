/* VQ_GOLDEN=write makes the two golden files, which tests/vq-codebook-stats.bats reads too, anew. */
#include "formats/safetensors.h"
#include "tests/unit/streams.h"
#include "tests/unit/test.h"
#include "tools/codestats.h"

#define MODEL "{\"kind\":\"codes\",\"model\":{\"levels\":[{\"name\":\"codes\",\"size\":4,\"dim\":8,\"tensor\":\"q.codebook\"},{\"name\":\"codes.1\",\"size\":300,\"dim\":2}]}}"

/* A record of a 10 x 7 cell: codes [1][2] = {a, b}, codes.1 [1] = {c}, and, if skip > 0, skip.0 of that many f16. */
static void make_record(vqt_record *r, int id, int a, int b, int c, int skip)
{
	char name[16];
	snprintf(name, sizeof name, "r%d", id);
	CHECK_OK(vqt_record_make(r, name));
	vq_tensor t;
	CHECK_OK(vq_tensor_make(&t, VQ_U16, 2, (int64_t[]){ 1, 2 }));
	vq_tensor_set(&t, 0, a);
	vq_tensor_set(&t, 1, b);
	CHECK_OK(vqt_set(r, "codes", &t));
	if (c >= 0) {
		CHECK_OK(vq_tensor_make(&t, VQ_I32, 1, (int64_t[]){ 1 }));
		vq_tensor_set(&t, 0, c);
		CHECK_OK(vqt_set(r, "codes.1", &t));
	}
	if (skip) {
		CHECK_OK(vq_tensor_make(&t, VQ_F16, 1, (int64_t[]){ skip }));
		CHECK_OK(vqt_set(r, "skip.0", &t));
	}
	cJSON_AddItemToObject(r->meta, "size", cJSON_Parse("[10,7]"));
	cJSON_AddItemToObject(r->meta, "pad", cJSON_Parse("[3,3,0,1]"));
	cJSON_AddItemToObject(r->meta, "extent", cJSON_Parse("[16,8]"));
}

static vqt_reader *stream(const char *header_text, const vqt_record *r, int n)
{
	const char *path = stream_path("c.vqt");
	cJSON *header = cJSON_Parse(header_text), *list = cJSON_AddArrayToObject(header, "channels");
	cJSON_AddItemToArray(list, cJSON_CreateString("A"));
	cJSON_AddArrayToObject(header, "chain");
	vqt_writer *w;
	vqt_reader *in;
	CHECK_OK(vqt_create(&w, path, header, NULL));
	for (int i = 0; i < n; i++)
		CHECK_OK(vqt_put(w, &r[i]));
	CHECK_OK(vqt_finish(w));
	cJSON_Delete(header);
	CHECK_OK(vqt_open(&in, path, NULL, NULL));
	return in;
}

TEST(counts_all_that_a_decoder_needs)
{
	vqt_record r[5];
	static const int v[5][3] = { { 0, 0, 299 }, { 0, 1, 299 }, { 1, 0, 5 }, { 0, 3, 5 }, { 3, 0, 5 } };
	for (int i = 0; i < 5; i++)
		make_record(&r[i], i, v[i][0], v[i][1], v[i][2], i == 2 ? 11 : 0);
	vqt_reader *in = stream(MODEL, r, 5);
	vq_codestats s = {0};
	CHECK_OK(vq_codestats_read(&s, in, 2));
	vqt_close(in);
	CHECK(s.n == 5 && s.pixels == 5 * 70 && s.skip_bits == 11 * 16 && s.nlevels == 2);
	const vq_level_stats *a = &s.levels[0], *b = &s.levels[1];
	CHECK_STR(a->name, "codes");
	CHECK_STR(a->tensor, "q.codebook");
	CHECK(!b->tensor && a->dim == 8 && b->dim == 2);
	CHECK(a->all.total == 10 && a->all.counts[0] == 6 && a->all.counts[1] == 2 && a->all.counts[2] == 0 && a->all.counts[3] == 2);
	CHECK(b->all.total == 5 && b->all.counts[299] == 2 && b->all.counts[5] == 3 && b->figures.used == 2 && b->figures.raw_bits == 9);
	CHECK_NEAR(a->figures.entropy, -(0.6 * log2(0.6) + 0.4 * log2(0.2)), 1e-14);
	CHECK_NEAR(b->figures.perplexity, exp2(-(0.6 * log2(0.6) + 0.4 * log2(0.4))), 1e-13);
	/* groups {0,0,0,1} and {1,0,0,3}; the fifth record is no full group */
	CHECK(a->perplexity.n == 2);
	CHECK_NEAR(a->perplexity.min, exp2(-(0.75 * log2(0.75) + 0.25 * log2(0.25))), 1e-13);
	CHECK_NEAR(a->perplexity.max, exp2(1.5), 1e-13);
	vq_codestats_free(&s);
	in = stream(MODEL, r, 1);
	CHECK_OK(vq_codestats_read(&s, in, 2)); /* the only group counts though it is not full */
	CHECK(s.levels[0].perplexity.n == 1);
	vqt_close(in);
	vq_codestats_free(&s);
	for (int i = 0; i < 5; i++)
		vqt_record_free(&r[i]);
}

static void refused(const char *header, const vqt_record *r, int n, vq_status code, const char *message)
{
	vqt_reader *in = stream(header, r, n);
	vq_codestats s = {0};
	CHECK_FAILS(vq_codestats_read(&s, in, 0), code);
	CHECK_HAS(vq_message(), message);
	CHECK_HAS(vq_message(), "c.vqt: ");
	vqt_close(in);
	vq_codestats_free(&s);
}

TEST(streams_that_do_not_fit_are_refused)
{
	vqt_record r[2];
	make_record(&r[0], 0, 0, 1, 2, 0);
	make_record(&r[1], 1, 0, 4, 2, 0);
	refused(MODEL, r, 2, VQ_EINVAL, "record r1: codes: code 4 at position 1 is outside a codebook of 4");
	vqt_record_free(&r[1]);
	make_record(&r[1], 1, 0, 1, -1, 0);
	refused(MODEL, r, 2, VQ_EFORMAT, "record r1: it has no tensor codes.1");
	refused("{\"kind\":\"codes\",\"model\":{\"levels\":[{\"name\":\"codes\",\"size\":4,\"dim\":8}]}}", r, 1, VQ_EFORMAT, "the header's model.levels has no codes.1");
	refused("{\"kind\":\"codes\"}", r, 1, VQ_EFORMAT, "the header has no list model.levels");
	refused("{\"kind\":\"codes\",\"model\":{\"levels\":[{\"name\":\"codes\",\"size\":0,\"dim\":8}]}}", r, 1, VQ_EFORMAT, "without a proper name, size and dim");
	refused("{\"kind\":\"samples\"}", r, 1, VQ_EINVAL, "it holds samples: encode them first with vq-encode -m MODEL");
	vqt_record_free(&r[0]);
	vqt_record_free(&r[1]);
	vqt_reader *in = stream(MODEL, NULL, 0);
	vq_codestats s = {0};
	CHECK_FAILS(vq_codestats_read(&s, in, 0), VQ_EINVAL);
	CHECK_HAS(vq_message(), "c.vqt holds no record");
	vqt_close(in);
	vq_codestats_free(&s);
}

/* --- golden files ---- */

#define GOLDEN_MODEL "{\"kind\":\"codes\",\"model\":{\"levels\":[{\"name\":\"codes\",\"size\":4,\"dim\":2,\"tensor\":\"quantizer.codebook\"}," \
	"{\"name\":\"codes.1\",\"size\":6,\"dim\":1,\"tensor\":\"quantizer.1.codebook\"}]}}"

static void write_golden(void)
{
	vqt_record r[5];
	static const int v[5][3] = { { 0, 0, 5 }, { 0, 1, 5 }, { 1, 0, 2 }, { 0, 3, 2 }, { 3, 0, 2 } };
	static float first[4][2] = { { 3, 4 }, { 0, 0 }, { 6, 8 }, { 3, 5 } }, second[6] = { 0, 1, 3, 7, 15, 31 };
	for (int i = 0; i < 5; i++)
		make_record(&r[i], i, v[i][0], v[i][1], v[i][2], i == 2 ? 11 : 0);
	vqt_close(stream(GOLDEN_MODEL, r, 5));
	for (int i = 0; i < 5; i++)
		vqt_record_free(&r[i]);
	vq_buf b = {0};
	CHECK_OK(stream_load(stream_path("c.vqt"), &b));
	stream_save("tests/golden/codes-levels.vqt", b.data, b.len);
	vq_buf_free(&b);
	vq_tensor t[2] = { { VQ_F32, 2, { 4, 2 }, first, false }, { VQ_F32, 2, { 6, 1 }, second, false } };
	vq_st_item items[2] = { { "quantizer.codebook", &t[0] }, { "quantizer.1.codebook", &t[1] } };
	CHECK_OK(vq_st_write("tests/golden/codes-levels.safetensors", items, 2, NULL));
}

TEST(golden_codes)
{
	const char *write = getenv("VQ_GOLDEN");
	if (write && !strcmp(write, "write"))
		write_golden();
	vqt_reader *in;
	vq_codestats s = {0};
	CHECK_OK(vqt_open(&in, "tests/golden/codes-levels.vqt", NULL, NULL));
	CHECK_OK(vq_codestats_read(&s, in, 0));
	CHECK(s.n == 5 && s.pixels == 350 && s.skip_bits == 176 && s.levels[0].all.total == 10 && s.levels[1].all.counts[2] == 3);
	vqt_close(in);
	vq_codestats_free(&s);
}

TEST_MAIN(RUN(counts_all_that_a_decoder_needs) RUN(streams_that_do_not_fit_are_refused) RUN(golden_codes))
