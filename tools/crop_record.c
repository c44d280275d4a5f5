#include "tools/crop_record.h"

#include <stdlib.h>
#include <string.h>

static vq_status no_memory(void) { return vq_fail(VQ_ENOMEM, "out of memory for a record's metadata"); }

/* Consumes item. */
static bool append(cJSON *array, cJSON *item)
{
	if (array && item && cJSON_AddItemToArray(array, item))
		return true;
	cJSON_Delete(item);
	return false;
}

cJSON *crop_channels(const crop_field *data)
{
	cJSON *a = cJSON_CreateArray();
	bool good = a;
	for (int i = 0; good && i < data->channels; i++)
		good = append(a, cJSON_CreateString(data->name[i]));
	if (good)
		return a;
	cJSON_Delete(a);
	no_memory();
	return NULL;
}

/* Consumes item. */
static char *print(cJSON *item, bool good)
{
	char *text = item && good ? cJSON_PrintUnformatted(item) : NULL;
	cJSON_Delete(item);
	if (!text)
		no_memory();
	return text;
}

static char *print_source(const vq_field *field, const crop_field *data)
{
	cJSON *o = cJSON_CreateObject(), *files = cJSON_AddArrayToObject(o, "files"), *pages = cJSON_AddArrayToObject(o, "pages");
	bool good = files && pages;
	for (int i = 0; good && i < data->channels; i++)
		good = append(files, cJSON_CreateString(field->file[data->file[i]].given)) && append(pages, cJSON_CreateNumber(data->page[i]));
	if (field->labels.path)
		good = good && cJSON_AddStringToObject(o, "labels", field->labels.given);
	else
		good = good && cJSON_AddNullToObject(o, "labels");
	return print(o, good);
}

static char *print_stats(const crop_field *data)
{
	double mean[VQ_CHANNELS_MAX], std[VQ_CHANNELS_MAX];
	for (int i = 0; i < data->channels; i++) {
		mean[i] = data->stats[i].mean;
		std[i] = data->stats[i].std;
	}
	cJSON *o = cJSON_CreateObject();
	bool good = o && vq_json_set(o, "mean", vq_json_doubles(mean, data->channels)) == VQ_OK && vq_json_set(o, "std", vq_json_doubles(std, data->channels)) == VQ_OK;
	cJSON *p = good ? cJSON_AddObjectToObject(o, "percentiles") : NULL;
	good = p && vq_json_set(p, "p", vq_json_doubles(vq_field_percentiles, VQ_FIELD_PERCENTILES)) == VQ_OK;
	cJSON *values = good ? cJSON_AddArrayToObject(p, "values") : NULL;
	good = values;
	for (int i = 0; good && i < data->channels; i++)
		good = append(values, vq_json_doubles(data->stats[i].p, VQ_FIELD_PERCENTILES));
	return print(o, good);
}

static char *print_metadata(const vq_field *field)
{
	cJSON *o = cJSON_CreateObject();
	bool good = o;
	for (int i = 0; good && i < field->pairs; i++)
		good = cJSON_AddStringToObject(o, field->key[i], field->value[i]);
	return print(o, good);
}

vq_status crop_shared_make(crop_shared *s, const vq_field *field, const crop_field *data)
{
	*s = (crop_shared){ 0 };
	cJSON *channels = crop_channels(data);
	s->source = print_source(field, data);
	s->channels = print(channels, true);
	s->stats = print_stats(data);
	s->metadata = print_metadata(field);
	if (s->source && s->channels && s->stats && s->metadata)
		return VQ_OK;
	crop_shared_free(s);
	return VQ_ENOMEM;
}

void crop_shared_free(crop_shared *s)
{
	free(s->source);
	free(s->channels);
	free(s->stats);
	free(s->metadata);
	*s = (crop_shared){ 0 };
}

static cJSON *whole_numbers(const int64_t *v, int n)
{
	double d[4];
	for (int i = 0; i < n; i++)
		d[i] = (double)v[i];
	return vq_json_doubles(d, n);
}

/* Area, and the raw light that normalisation will take away. */
static vq_status add_light(cJSON *meta, const vq_tensor *image, const vq_tensor *mask)
{
	double mean[VQ_CHANNELS_MAX], integrated[VQ_CHANNELS_MAX], background[VQ_CHANNELS_MAX];
	int channels = (int)image->shape[0];
	int64_t area = 0;
	size_t n = (size_t)(image->shape[1] * image->shape[2]);
	for (int i = 0; i < channels; i++) {
		vq_cell_light light;
		area = vq_cell_measure((char *)image->data + (size_t)i * n * vq_dtype_size(image->dtype), image->dtype, mask->data, n, &light);
		mean[i] = light.mean;
		integrated[i] = light.integrated;
		background[i] = light.background;
	}
	VQ_TRY(vq_json_set(meta, "area", cJSON_CreateNumber((double)area)));
	cJSON *raw = cJSON_AddObjectToObject(meta, "raw");
	if (!raw)
		return no_memory();
	VQ_TRY(vq_json_set(raw, "mean", vq_json_doubles(mean, channels)));
	VQ_TRY(vq_json_set(raw, "integrated", vq_json_doubles(integrated, channels)));
	return vq_json_set(raw, "background", vq_json_doubles(background, channels));
}

static vq_status add_meta(cJSON *meta, const vq_field *field, const crop_field *data, const crop_shared *shared, const vq_box *box, int32_t label,
                          const vq_tensor *image, const vq_tensor *mask)
{
	int64_t corners[4] = { box->y0, box->x0, box->y1, box->x1 };
	VQ_TRY(vq_json_set(meta, "source", cJSON_CreateRaw(shared->source)));
	VQ_TRY(vq_json_set(meta, "field", cJSON_CreateString(field->id)));
	VQ_TRY(vq_json_set(meta, "label", cJSON_CreateNumber(label)));
	VQ_TRY(vq_json_set(meta, "bbox", whole_numbers(corners, 4)));
	VQ_TRY(vq_json_set(meta, "field_size", whole_numbers(data->image.shape + 1, 2)));
	VQ_TRY(vq_json_set(meta, "channels", cJSON_CreateRaw(shared->channels)));
	VQ_TRY(vq_json_set(meta, "size", whole_numbers(image->shape + 1, 2)));
	VQ_TRY(vq_json_set(meta, "dtype", cJSON_CreateString(vq_dtype_name(image->dtype))));
	VQ_TRY(add_light(meta, image, mask));
	VQ_TRY(vq_json_set(meta, "field_stats", cJSON_CreateRaw(shared->stats)));
	return vq_json_set(meta, "metadata", cJSON_CreateRaw(shared->metadata));
}

vq_status crop_record_make(vqt_record *r, const vq_field *field, const crop_field *data, const crop_shared *shared, const vq_box *box, int32_t label)
{
	vq_tensor image = { 0 }, mask = { 0 };
	char *id = vq_format("%s#%d", field->id, label);
	vq_status s = id ? vqt_record_make(r, id) : VQ_ENOMEM;
	free(id);
	if (s < 0)
		return s;
	s = vq_crop_cut(&data->image, data->labels.data, box, label, &image, &mask);
	if (s == VQ_OK)
		s = add_meta(r->meta, field, data, shared, box, label, &image, &mask);
	if (s == VQ_OK)
		s = vqt_set(r, "image", &image);
	if (s == VQ_OK)
		s = vqt_set(r, "mask", &mask);
	if (s < 0) {
		vq_tensor_free(&image);
		vq_tensor_free(&mask);
		vqt_record_free(r);
	}
	return s;
}
