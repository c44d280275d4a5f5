#include "tools/crop_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

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
static vq_status print(vq_buf *out, cJSON *item, bool good)
{
	vq_status s = item && good ? vq_json_print(out, item) : no_memory();
	cJSON_Delete(item);
	return s;
}

static vq_status print_source(vq_buf *out, const vq_field *field, const crop_field *data)
{
	cJSON *o = cJSON_CreateObject(), *files = cJSON_AddArrayToObject(o, "files"), *pages = cJSON_AddArrayToObject(o, "pages");
	bool good = files && pages;
	for (int i = 0; good && i < data->channels; i++)
		good = append(files, cJSON_CreateString(field->file[data->file[i]].given)) && append(pages, cJSON_CreateNumber(data->page[i]));
	if (field->labels.path)
		good = good && cJSON_AddStringToObject(o, "labels", field->labels.given);
	else
		good = good && cJSON_AddNullToObject(o, "labels");
	return print(out, o, good);
}

static vq_status print_stats(vq_buf *out, const crop_field *data)
{
	double mean[VQ_CHANNELS_MAX], std[VQ_CHANNELS_MAX];
	for (int i = 0; i < data->channels; i++) {
		mean[i] = data->stats[i].mean;
		std[i] = data->stats[i].std;
	}
	VQ_TRY(vq_buf_str(out, "{\"mean\":"));
	VQ_TRY(vq_json_print_numbers(out, mean, data->channels));
	VQ_TRY(vq_buf_str(out, ",\"std\":"));
	VQ_TRY(vq_json_print_numbers(out, std, data->channels));
	VQ_TRY(vq_buf_str(out, ",\"percentiles\":{\"p\":"));
	VQ_TRY(vq_json_print_numbers(out, vq_field_percentiles, VQ_FIELD_PERCENTILES));
	VQ_TRY(vq_buf_str(out, ",\"values\":["));
	for (int i = 0; i < data->channels; i++) {
		VQ_TRY(vq_buf_str(out, i ? "," : ""));
		VQ_TRY(vq_json_print_numbers(out, data->stats[i].p, VQ_FIELD_PERCENTILES));
	}
	return vq_buf_str(out, "]}}");
}

static vq_status print_pair(vq_buf *out, const char *key, const char *value, bool first)
{
	VQ_TRY(vq_buf_str(out, first ? "" : ","));
	VQ_TRY(vq_json_print_string(out, key));
	VQ_TRY(vq_buf_str(out, ":"));
	return vq_json_print_string(out, value);
}

/* The field's columns; its ImageNumber, which has no Metadata_ before it in the table, is one of them, where a column of that name says nothing. */
static vq_status print_metadata(vq_buf *out, const vq_field *field)
{
	static const char key[] = "Metadata_ImageNumber";
	char number[16] = "";
	bool there = false;
	if (field->number >= 0)
		snprintf(number, sizeof number, "%d", field->number);
	VQ_TRY(vq_buf_str(out, "{"));
	for (int i = 0; i < field->pairs; i++) {
		bool it = !strcmp(field->key[i], key);
		there |= it;
		VQ_TRY(print_pair(out, field->key[i], it && !*field->value[i] ? number : field->value[i], !i));
	}
	if (!there && *number)
		VQ_TRY(print_pair(out, key, number, !field->pairs));
	return vq_buf_str(out, "}");
}

static vq_status print_sides(vq_buf *out, const int64_t side[2]) { return vq_json_print_numbers(out, (double[]){ (double)side[0], (double)side[1] }, 2); }

static vq_status print_shared(crop_shared *s, const vq_field *field, const crop_field *data)
{
	cJSON *channels = crop_channels(data);
	VQ_TRY(vq_buf_str(&s->middle, ",\"field_size\":"));
	VQ_TRY(print_sides(&s->middle, data->image.shape + 1));
	VQ_TRY(vq_buf_str(&s->middle, ",\"channels\":"));
	VQ_TRY(print(&s->middle, channels, true));
	VQ_TRY(vq_buf_str(&s->middle, ",\"size\":"));
	VQ_TRY(vq_buf_str(&s->head, "{\"source\":"));
	VQ_TRY(print_source(&s->head, field, data));
	VQ_TRY(vq_buf_str(&s->head, ",\"field\":"));
	VQ_TRY(vq_json_print_string(&s->head, field->id));
	VQ_TRY(vq_buf_str(&s->head, ",\"label\":"));
	VQ_TRY(vq_buf_str(&s->tail, ",\"field_stats\":"));
	VQ_TRY(print_stats(&s->tail, data));
	VQ_TRY(vq_buf_str(&s->tail, ",\"metadata\":"));
	VQ_TRY(print_metadata(&s->tail, field));
	return vq_buf_str(&s->tail, "}");
}

vq_status crop_shared_make(crop_shared *s, const vq_field *field, const crop_field *data)
{
	*s = (crop_shared){ 0 };
	vq_status st = print_shared(s, field, data);
	if (st < 0)
		crop_shared_free(s);
	return st;
}

void crop_shared_free(crop_shared *s)
{
	vq_buf_free(&s->head);
	vq_buf_free(&s->middle);
	vq_buf_free(&s->tail);
	vq_buf_free(&s->meta);
}

/* Area, and the raw light that normalisation will take away. */
static vq_status print_light(vq_buf *out, const vq_tensor *image, const vq_tensor *mask)
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
	VQ_TRY(vq_json_print_number(out, (double)area));
	VQ_TRY(vq_buf_str(out, ",\"raw\":{\"mean\":"));
	VQ_TRY(vq_json_print_numbers(out, mean, channels));
	VQ_TRY(vq_buf_str(out, ",\"integrated\":"));
	VQ_TRY(vq_json_print_numbers(out, integrated, channels));
	VQ_TRY(vq_buf_str(out, ",\"background\":"));
	VQ_TRY(vq_json_print_numbers(out, background, channels));
	return vq_buf_str(out, "}");
}

static vq_status print_meta(crop_shared *s, const vq_box *box, int32_t label, const vq_tensor *image, const vq_tensor *mask)
{
	const double corners[4] = { (double)box->y0, (double)box->x0, (double)box->y1, (double)box->x1 };
	vq_buf *out = &s->meta;
	out->len = 0;
	VQ_TRY(vq_buf_add(out, s->head.data, s->head.len));
	VQ_TRY(vq_json_print_number(out, label));
	VQ_TRY(vq_buf_str(out, ",\"bbox\":"));
	VQ_TRY(vq_json_print_numbers(out, corners, 4));
	VQ_TRY(vq_buf_add(out, s->middle.data, s->middle.len));
	VQ_TRY(print_sides(out, image->shape + 1));
	VQ_TRY(vq_buf_str(out, ",\"dtype\":"));
	VQ_TRY(vq_json_print_string(out, vq_dtype_name(image->dtype)));
	VQ_TRY(vq_buf_str(out, ",\"area\":"));
	VQ_TRY(print_light(out, image, mask));
	return vq_buf_add(out, s->tail.data, s->tail.len);
}

vq_status crop_record_make(vqt_record *r, const vq_field *field, const crop_field *data, crop_shared *shared, const vq_box *box, int32_t label)
{
	vq_tensor image = { 0 }, mask = { 0 };
	*r = (vqt_record){ .id = vq_format("%s#%d", field->id, label) };
	vq_status s = r->id ? vq_crop_cut(&data->image, data->labels.data, box, label, &image, &mask) : VQ_ENOMEM;
	if (s == VQ_OK)
		s = print_meta(shared, box, label, &image, &mask);
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
