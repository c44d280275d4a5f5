/* Samples into a batch record and back. */
#include "lib/rng.h"
#include "tests/unit/test.h"
#include "tools/batchrec.h"
#include "tools/padrec.h"

static void make(vqt_record *rec, int number, vq_dtype dtype, int64_t h, int64_t w, bool with_mask)
{
	vq_rng r = vq_rng_make((uint64_t)number, 0);
	vq_tensor t;
	char id[32];
	snprintf(id, sizeof id, "field+1#%d", number);
	CHECK_OK(vqt_record_make(rec, id));
	CHECK_OK(vq_tensor_make(&t, dtype, 3, (int64_t[]){ 3, h, w }));
	for (size_t i = 0; i < (size_t)(3 * h * w); i++)
		vq_tensor_set(&t, i, 1 + (double)vq_rng_below(&r, 100));
	CHECK_OK(vqt_set(rec, "image", &t));
	if (with_mask) {
		CHECK_OK(vq_tensor_make(&t, VQ_U8, 2, (int64_t[]){ h, w }));
		memset(t.data, 1, (size_t)(h * w));
		CHECK_OK(vqt_set(rec, "mask", &t));
	}
	CHECK_OK(vq_json_set(rec->meta, "anything", cJSON_CreateString("\"quoted\" \xc3\xa9 \n")));
	CHECK_OK(vq_json_set(rec->meta, "number", cJSON_CreateNumber(.1 + number)));
	CHECK_OK(vq_geom_set(rec->meta, &(vq_geom){ .h = h, .w = w }));
}

static bool same_record(const vqt_record *a, const vqt_record *b)
{
	if (strcmp(a->id, b->id) || !cJSON_Compare(a->meta, b->meta, true) || a->n != b->n)
		return false;
	for (int i = 0; i < a->n; i++) {
		const vq_tensor *x = &a->entry[i].t, *y = vqt_get(b, a->entry[i].name);
		size_t n = 0;
		if (!y || x->dtype != y->dtype || x->ndim != y->ndim || memcmp(x->shape, y->shape, sizeof x->shape) || vq_tensor_bytes(x, &n) < 0 ||
		    memcmp(x->data, y->data, n))
			return false;
	}
	return true;
}

enum { N = 5 };
static const int64_t sizes[N][2] = { { 7, 9 }, { 8, 5 }, { 16, 16 }, { 1, 1 }, { 13, 12 } };

static void make_batch(vqt_record *batch, vqt_record *originals, vq_dtype dtype, bool with_mask, bool padded)
{
	vq_bucket_item it[N];
	vq_bucket_batch b = { .h = 0, .w = 0, .n = N, .v = it };
	for (int i = 0; i < N; i++) {
		vqt_record rec;
		make(&rec, i, dtype, sizes[i][0], sizes[i][1], with_mask);
		if (padded && i % 2)
			CHECK_OK(vq_pad_record(&rec, VQ_PAD_REFLECT, 4, 0));
		CHECK_OK(vqt_record_copy(&originals[i], &rec));
		CHECK_OK(vq_batch_sample_make(&rec, &it[i]));
		CHECK(!rec.id && !rec.n && it[i].kind == it[0].kind && it[i].bytes > (size_t)(3 * it[i].h * it[i].w));
		b.h = VQ_MAX(b.h, it[i].h);
		b.w = VQ_MAX(b.w, it[i].w);
	}
	CHECK_OK(vq_batch_make(batch, &b));
}

/* What a reader gets: the metadata as a tree, not as the text that vq_batch_make embeds. */
static void through_text(vqt_record *rec)
{
	char *text = cJSON_PrintUnformatted(rec->meta);
	cJSON_Delete(rec->meta);
	rec->meta = vq_json_parse(text, "metadata");
	cJSON_free(text);
	CHECK(rec->meta);
}

TEST(samples_come_back_as_they_were)
{
	for (int dtype = 0; dtype < VQ_DTYPES; dtype++)
		for (int k = 0; k < 4; k++) {
			vqt_record batch, original[N], back;
			int n;
			make_batch(&batch, original, (vq_dtype)dtype, k & 1, k & 2);
			CHECK_STR(batch.id, "field+1#0+4");
			through_text(&batch);
			const vq_tensor *image = vqt_get(&batch, "image"), *valid = vqt_get(&batch, "valid");
			CHECK(image->ndim == 4 && image->shape[0] == N && image->shape[1] == 3 && image->shape[2] == 16 && image->shape[3] == 16);
			CHECK(!!vqt_get(&batch, "mask") == (k & 1));
			CHECK(vq_tensor_get(image, 16 * 16 - 1) == 0); /* beyond 7 x 9 */
			CHECK(vq_tensor_get(valid, 4 * 4 + 2) == 13 && vq_tensor_get(valid, 4 * 4 + 3) == 12);
			CHECK(vq_tensor_get(valid, 4 * 3) == (k & 2 ? 1 : 0)); /* 1 x 1 in 4 x 4 begins at row 1 */
			CHECK_OK(vq_batch_count(&batch, &n));
			CHECK(n == N);
			for (int i = 0; i < N; i++) {
				CHECK_OK(vq_batch_item(&batch, i, &back));
				CHECK(same_record(&original[i], &back));
				vqt_record_free(&back);
				vqt_record_free(&original[i]);
			}
			vqt_record_free(&batch);
		}
}

static void refuses_item(vqt_record *batch, const char *part)
{
	vqt_record back;
	CHECK_FAILS(vq_batch_item(batch, 1, &back), VQ_EFORMAT);
	CHECK_HAS(vq_message(), part);
}

TEST(what_does_not_fit_is_refused)
{
	vqt_record rec, batch, original[N];
	vq_bucket_item it;
	vq_tensor t;
	int n;
	make(&rec, 1, VQ_U8, 5, 5, true);
	CHECK_OK(vq_tensor_make(&t, VQ_U8, 1, (int64_t[]){ 3 }));
	CHECK_OK(vqt_set(&rec, "extra", &t));
	CHECK_FAILS(vq_batch_sample_make(&rec, &it), VQ_EINVAL);
	CHECK_STR(vq_message(), "record field+1#1: its tensor extra has no place in a batch, which holds image and mask");
	vqt_record_free(&rec);
	make_batch(&batch, original, VQ_U16, true, false);
	through_text(&batch);
	for (int i = 0; i < N; i++)
		vqt_record_free(&original[i]);
	cJSON *shape = cJSON_GetArrayItem(cJSON_GetObjectItem(batch.meta, "shapes"), 1);
	cJSON_ReplaceItemInArray(shape, 0, cJSON_CreateNumber(17));
	refuses_item(&batch, "record field+1#0+4: its metadata key shapes holds no height");
	cJSON_ReplaceItemInArray(shape, 0, cJSON_CreateNumber(1e300));
	refuses_item(&batch, "no height");
	cJSON_ReplaceItemInArray(shape, 0, cJSON_CreateNumber(8));
	cJSON_DeleteItemFromObject(cJSON_GetArrayItem(cJSON_GetObjectItem(batch.meta, "items"), 1), "id");
	refuses_item(&batch, "items[1] has no id and meta");
	cJSON_DeleteItemFromArray(cJSON_GetObjectItem(batch.meta, "items"), 1);
	CHECK_FAILS(vq_batch_count(&batch, &n), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "do not list its 5 images");
	vqt_remove(&batch, "image");
	CHECK_FAILS(vq_batch_count(&batch, &n), VQ_EFORMAT);
	vqt_record_free(&batch);
}

TEST_MAIN(RUN(samples_come_back_as_they_were) RUN(what_does_not_fit_is_refused))
