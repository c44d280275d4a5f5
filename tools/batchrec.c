#include "tools/batchrec.h"

#include <stdlib.h>
#include <string.h>

struct vq_batch_sample {
	char *id, *meta;       /* meta: JSON text */
	vq_tensor image, mask; /* mask may be empty */
	vq_geom g;
};

static const cJSON *get(const cJSON *o, const char *key) { return cJSON_GetObjectItemCaseSensitive(o, key); }

void vq_batch_sample_free(void *sample)
{
	vq_batch_sample *s = sample;
	if (!s)
		return;
	free(s->id);
	cJSON_free(s->meta);
	vq_tensor_free(&s->image);
	vq_tensor_free(&s->mask);
	free(s);
}

static vq_status check_tensors(const vqt_record *rec)
{
	for (int i = 0; i < rec->n; i++)
		if (strcmp(rec->entry[i].name, "image") && strcmp(rec->entry[i].name, "mask"))
			return vq_fail(VQ_EINVAL, "its tensor %s has no place in a batch, which holds image and mask", rec->entry[i].name);
	return VQ_OK;
}

static vq_status fill(vq_batch_sample *s, vqt_record *rec, vq_tensor *image, vq_tensor *mask)
{
	VQ_TRY(check_tensors(rec));
	VQ_TRY(vq_geom_get(rec->meta, image, &s->g));
	if (!(s->meta = cJSON_PrintUnformatted(rec->meta)))
		return vq_fail(VQ_ENOMEM, "out of memory for metadata");
	s->image = *image;
	*image = (vq_tensor){0};
	if (mask) {
		s->mask = *mask;
		*mask = (vq_tensor){0};
	}
	s->id = rec->id;
	rec->id = NULL;
	return VQ_OK;
}

vq_status vq_batch_sample_make(vqt_record *rec, vq_bucket_item *it)
{
	vq_tensor *image, *mask;
	VQ_TRY(vq_sample_check(rec, &image, &mask));
	vq_batch_sample *s = vq_calloc(1, sizeof *s);
	if (!s)
		return VQ_ENOMEM;
	vq_status status = fill(s, rec, image, mask);
	if (status < 0) {
		vq_batch_sample_free(s);
		return vq_context(status, "record %s", rec->id);
	}
	vqt_record_free(rec);
	size_t a = 0, b = 0;
	if (vq_tensor_bytes(&s->image, &a) < 0 || (s->mask.data && vq_tensor_bytes(&s->mask, &b) < 0))
		a = b = 0; /* a tensor in memory has a size */
	*it = (vq_bucket_item){
		.h = s->image.shape[1], .w = s->image.shape[2], .item = s,
		.kind = (uint64_t)s->image.shape[0] << 8 | (uint64_t)s->image.dtype << 1 | (s->mask.data != NULL),
		.bytes = a + b + sizeof *s + strlen(s->id) + strlen(s->meta) + 128, /* 128: what malloc adds to five pieces */
	};
	return VQ_OK;
}

/* planes x h x w of `from` into the corner of planes x H x W, which holds zeros. */
static void put_corner(const vq_tensor *from, int64_t planes, char *to, int64_t H, int64_t W)
{
	int64_t h = from->shape[from->ndim - 2], w = from->shape[from->ndim - 1];
	size_t size = vq_dtype_size(from->dtype), row = size * (size_t)w;
	for (int64_t c = 0; c < planes; c++)
		for (int64_t y = 0; y < h; y++)
			memcpy(to + (size_t)((c * H + y) * W) * size, (const char *)from->data + (size_t)(c * h + y) * row, row);
}

static cJSON *item_json(const vq_batch_sample *s)
{
	cJSON *o = cJSON_CreateObject();
	if (o && cJSON_AddStringToObject(o, "id", s->id) && cJSON_AddRawToObject(o, "meta", s->meta))
		return o;
	cJSON_Delete(o);
	return NULL;
}

/* A fresh list that belongs to o at once, so that a failure later frees it with o. */
static cJSON *list_in(cJSON *o, const char *key)
{
	cJSON *list = cJSON_CreateArray();
	return vq_json_set(o, key, list) == VQ_OK ? list : NULL;
}

static vq_status append(cJSON *list, cJSON *item)
{
	if (list && item && cJSON_AddItemToArray(list, item))
		return VQ_OK;
	cJSON_Delete(item);
	return vq_fail(VQ_ENOMEM, "out of memory for a batch's metadata");
}

static vq_status fill_batch(vqt_record *rec, vq_bucket_batch *b, vq_tensor *image, vq_tensor *mask, vq_tensor *valid)
{
	const vq_batch_sample *first = b->v[0].item;
	const int64_t n = b->n, channels = first->image.shape[0], H = b->h, W = b->w;
	const size_t size = vq_dtype_size(first->image.dtype);
	cJSON *items = list_in(rec->meta, "items"), *shapes = list_in(rec->meta, "shapes");
	VQ_TRY(vq_tensor_make(image, first->image.dtype, 4, (int64_t[]){ n, channels, H, W }));
	if (first->mask.data)
		VQ_TRY(vq_tensor_make(mask, VQ_U8, 3, (int64_t[]){ n, H, W }));
	VQ_TRY(vq_tensor_make(valid, VQ_I32, 2, (int64_t[]){ n, 4 }));
	for (int i = 0; i < b->n; i++) {
		vq_batch_sample *s = b->v[i].item;
		const int32_t v[4] = { (int32_t)s->g.top, (int32_t)s->g.left, (int32_t)s->g.h, (int32_t)s->g.w };
		put_corner(&s->image, channels, (char *)image->data + (size_t)(i * channels * H * W) * size, H, W);
		if (mask->data)
			put_corner(&s->mask, 1, (char *)mask->data + (size_t)(i * H * W), H, W);
		memcpy((int32_t *)valid->data + 4 * i, v, sizeof v);
		VQ_TRY(append(items, item_json(s)));
		VQ_TRY(append(shapes, vq_json_doubles((double[]){ (double)s->image.shape[1], (double)s->image.shape[2] }, 2)));
		vq_batch_sample_free(s); /* now, so that batch and samples are not held twice */
		b->v[i].item = NULL;
	}
	VQ_TRY(vqt_set(rec, "image", image));
	if (mask->data)
		VQ_TRY(vqt_set(rec, "mask", mask));
	return vqt_set(rec, "valid", valid);
}

vq_status vq_batch_make(vqt_record *rec, vq_bucket_batch *b)
{
	vq_tensor image = {0}, mask = {0}, valid = {0};
	char *id = vq_format("%s+%d", ((vq_batch_sample *)b->v[0].item)->id, b->n - 1);
	*rec = (vqt_record){0};
	vq_status s = id ? vqt_record_make(rec, id) : VQ_ENOMEM;
	if (s == VQ_OK)
		s = fill_batch(rec, b, &image, &mask, &valid);
	vq_tensor_free(&image);
	vq_tensor_free(&mask);
	vq_tensor_free(&valid);
	if (s < 0)
		vqt_record_free(rec);
	for (int i = 0; i < b->n; i++)
		vq_batch_sample_free(b->v[i].item);
	b->n = 0;
	free(id);
	return s;
}

static vq_status whole_number(const cJSON *list, int i, int64_t most, const char *what, int64_t *out)
{
	const cJSON *v = cJSON_GetArrayItem(list, i);
	if (!cJSON_IsNumber(v) || !(v->valuedouble >= 1 && v->valuedouble <= (double)most))
		return vq_fail(VQ_EFORMAT, "its metadata key shapes holds no %s within the batch's", what);
	*out = (int64_t)v->valuedouble;
	return VQ_OK;
}

static vq_status check_batch(const vqt_record *batch, int *n)
{
	const vq_tensor *image = vqt_get(batch, "image"), *mask = vqt_get(batch, "mask");
	if (!image || image->ndim != 4 || image->shape[0] > INT32_MAX)
		return vq_fail(VQ_EFORMAT, "it has no tensor image of items, channels, rows and columns");
	if (mask && (mask->ndim != 3 || mask->dtype != VQ_U8 || mask->shape[0] != image->shape[0] || mask->shape[1] != image->shape[2] ||
	             mask->shape[2] != image->shape[3]))
		return vq_fail(VQ_EFORMAT, "its mask does not go with its image");
	*n = (int)image->shape[0];
	if (cJSON_GetArraySize(get(batch->meta, "items")) != *n || cJSON_GetArraySize(get(batch->meta, "shapes")) != *n)
		return vq_fail(VQ_EFORMAT, "its metadata keys items and shapes do not list its %d images", *n);
	return VQ_OK;
}

vq_status vq_batch_count(const vqt_record *batch, int *n)
{
	vq_status s = check_batch(batch, n);
	return s < 0 ? vq_context(s, "record %s", batch->id) : s;
}

/* Item i of t [N,..,H,W], its h x w corner, without the first axis. */
static vq_status take_corner(const vq_tensor *t, int i, int64_t h, int64_t w, vq_tensor *out)
{
	int64_t shape[3] = { t->ndim == 4 ? t->shape[1] : h, t->ndim == 4 ? h : w, w }, H = t->shape[t->ndim - 2], W = t->shape[t->ndim - 1];
	int64_t planes = t->ndim == 4 ? t->shape[1] : 1;
	VQ_TRY(vq_tensor_make(out, t->dtype, t->ndim - 1, shape));
	size_t size = vq_dtype_size(t->dtype), row = size * (size_t)w;
	const char *from = (const char *)t->data + (size_t)(i * planes * H * W) * size;
	for (int64_t c = 0; c < planes; c++)
		for (int64_t y = 0; y < h; y++)
			memcpy((char *)out->data + (size_t)(c * h + y) * row, from + (size_t)((c * H + y) * W) * size, row);
	return VQ_OK;
}

static vq_status take_item(const vqt_record *batch, int i, vqt_record *sample)
{
	const vq_tensor *image = vqt_get(batch, "image"), *mask = vqt_get(batch, "mask");
	const cJSON *item = cJSON_GetArrayItem(get(batch->meta, "items"), i), *id = get(item, "id"), *meta = get(item, "meta");
	const cJSON *shape = cJSON_GetArrayItem(get(batch->meta, "shapes"), i);
	vq_tensor t = {0};
	int64_t h = 0, w = 0;
	if (!cJSON_IsString(id) || !cJSON_IsObject(meta))
		return vq_fail(VQ_EFORMAT, "its metadata key items[%d] has no id and meta", i);
	VQ_TRY(whole_number(shape, 0, image->shape[2], "height", &h));
	VQ_TRY(whole_number(shape, 1, image->shape[3], "width", &w));
	VQ_TRY(vqt_record_make(sample, id->valuestring));
	cJSON *copy = cJSON_Duplicate(meta, true);
	vq_status s = copy ? VQ_OK : vq_fail(VQ_ENOMEM, "out of memory for metadata");
	if (s == VQ_OK) {
		cJSON_Delete(sample->meta);
		sample->meta = copy;
		s = take_corner(image, i, h, w, &t);
	}
	if (s == VQ_OK)
		s = vqt_set(sample, "image", &t);
	vq_tensor_free(&t);
	if (s == VQ_OK && mask && (s = take_corner(mask, i, h, w, &t)) == VQ_OK)
		s = vqt_set(sample, "mask", &t);
	vq_tensor_free(&t);
	if (s < 0)
		vqt_record_free(sample);
	return s;
}

vq_status vq_batch_item(const vqt_record *batch, int i, vqt_record *sample)
{
	*sample = (vqt_record){0};
	vq_status s = take_item(batch, i, sample);
	return s < 0 ? vq_context(s, "record %s", batch->id) : s;
}

vq_status vq_sample_reader_open(vq_sample_reader *r, const char *path)
{
	*r = (vq_sample_reader){0};
	VQ_TRY(vqt_open(&r->in, path, "samples|batches", NULL));
	r->batches = !strcmp(vqt_header_kind(vqt_header(r->in)), "batches");
	return VQ_OK;
}

int vq_sample_reader_next(vq_sample_reader *r, vqt_record *rec)
{
	if (!r->batches)
		return vqt_next(r->in, rec);
	while (r->at == r->n) {
		vqt_record_free(&r->batch);
		int got = vqt_next(r->in, &r->batch);
		if (got <= 0)
			return got;
		r->at = 0;
		vq_status s = vq_batch_count(&r->batch, &r->n);
		if (s < 0)
			return vq_context(s, "%s", vqt_name(r->in));
	}
	vq_status s = vq_batch_item(&r->batch, r->at++, rec);
	return s < 0 ? vq_context(s, "%s", vqt_name(r->in)) : 1;
}

void vq_sample_reader_close(vq_sample_reader *r)
{
	vqt_record_free(&r->batch);
	vqt_close(r->in);
	*r = (vq_sample_reader){0};
}
