#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/export.h"

static const cJSON *get(const cJSON *object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }

static const char *const columns[] = { "id", "field", "label", "bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1", "height", "width", "area" };

vq_status vq_export_csv_open(vq_table **t, const char *path) { return vq_table_open(t, path, columns, (int)VQ_COUNT(columns)); }

const char *vq_export_channel(const vqt_record *rec, const cJSON *header, int c, char buf[32])
{
	const cJSON *name = cJSON_GetArrayItem(get(rec->meta, "channels"), c);
	if (!cJSON_IsString(name))
		name = cJSON_GetArrayItem(get(header, "channels"), c);
	if (cJSON_IsString(name))
		return name->valuestring;
	snprintf(buf, 32, "%d", c + 1);
	return buf;
}

static vq_status number(vq_table *t, const cJSON *item) { return vq_table_number(t, cJSON_IsNumber(item) ? item->valuedouble : NAN); }

static vq_status named_number(vq_table *t, const char *name, double v)
{
	char text[40];
	snprintf(text, sizeof text, "%.10g", v);
	return vq_table_named(t, name, isfinite(v) ? text : NULL);
}

/* list[c] as PREFIX_CHANNEL, for every channel. */
static vq_status by_channel(vq_table *t, const vqt_record *rec, const cJSON *header, const char *prefix, const cJSON *list)
{
	const cJSON *item;
	char buf[32];
	int c = 0;
	cJSON_ArrayForEach(item, list) {
		char *name = vq_format("%s_%s", prefix, vq_export_channel(rec, header, c++, buf));
		vq_status s = name ? named_number(t, name, cJSON_IsNumber(item) ? item->valuedouble : NAN) : VQ_ENOMEM;
		free(name);
		VQ_TRY(s);
	}
	return VQ_OK;
}

/* values[c][k] as field_pP_CHANNEL. */
static vq_status percentiles(vq_table *t, const vqt_record *rec, const cJSON *header, const cJSON *p)
{
	const cJSON *values = get(p, "values"), *levels = get(p, "p"), *level, *list;
	char buf[32];
	int c = 0;
	cJSON_ArrayForEach(list, values) {
		const char *channel = vq_export_channel(rec, header, c++, buf);
		int k = 0;
		cJSON_ArrayForEach(level, levels) {
			const cJSON *v = cJSON_GetArrayItem(list, k++);
			char *name = vq_format("field_p%.10g_%s", level->valuedouble, channel);
			vq_status s = name ? named_number(t, name, cJSON_IsNumber(v) ? v->valuedouble : NAN) : VQ_ENOMEM;
			free(name);
			VQ_TRY(s);
		}
	}
	return VQ_OK;
}

static vq_status truth(vq_table *t, const cJSON *object)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, object) {
		char *name = vq_format("truth_%s", item->string);
		if (!name)
			return VQ_ENOMEM;
		vq_status s = VQ_OK;
		if (cJSON_IsString(item))
			s = vq_table_named(t, name, item->valuestring);
		else if (cJSON_IsNumber(item))
			s = named_number(t, name, item->valuedouble);
		free(name);
		VQ_TRY(s);
	}
	return VQ_OK;
}

static vq_status metadata(vq_table *t, const cJSON *object)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, object)
		if (cJSON_IsString(item))
			VQ_TRY(vq_table_named(t, item->string, item->valuestring));
	return VQ_OK;
}

/* tensor[i] as PREFIX_I. */
static vq_status vector(vq_table *t, const vqt_record *rec, const char *tensor, const char *prefix)
{
	const vq_tensor *v = vqt_get(rec, tensor);
	for (int64_t i = 0; v && v->ndim == 1 && i < v->shape[0]; i++) {
		char name[64];
		snprintf(name, sizeof name, "%s_%lld", prefix, (long long)i);
		VQ_TRY(named_number(t, name, vq_tensor_get(v, (size_t)i)));
	}
	return VQ_OK;
}

/* What profiling tools look for: the cell's place in its plate, and features under the names that --h5ad gives them. */
static vq_status profile(vq_table *t, const vqt_record *rec, const cJSON *header)
{
	static const char *const measure[][2] = { { "mean", "Cells_VQ_Raw_Mean" }, { "integrated", "Cells_VQ_Raw_Integrated" }, { "background", "Cells_VQ_Raw_Background" } };
	const cJSON *raw = get(rec->meta, "raw"), *area = get(rec->meta, "area");
	char buf[32];
	const char *label = vq_sample_text(rec->meta, "label", buf);
	if (label)
		VQ_TRY(vq_table_named(t, "Metadata_ObjectNumber", label));
	VQ_TRY(vq_table_named(t, "Metadata_CellID", rec->id));
	VQ_TRY(vector(t, rec, "latent_mean", "Cells_VQ_LatentMean"));
	VQ_TRY(vector(t, rec, "latent_std", "Cells_VQ_LatentStd"));
	if (cJSON_IsNumber(area) && raw)
		VQ_TRY(named_number(t, "Cells_VQ_Raw_Area", area->valuedouble));
	for (size_t i = 0; i < VQ_COUNT(measure); i++)
		VQ_TRY(by_channel(t, rec, header, measure[i][1], get(raw, measure[i][0])));
	return VQ_OK;
}

vq_status vq_export_csv_row(vq_table *t, const vqt_record *rec, const cJSON *header)
{
	const cJSON *m = rec->meta, *box = get(m, "bbox"), *raw = get(m, "raw"), *field = get(m, "field_stats");
	const vq_tensor *image = vqt_get(rec, "image");
	char buf[32];
	vq_geom g = {0};
	bool sized = get(m, "size") || (image && image->ndim == 3);
	if (image && image->ndim == 3)
		VQ_TRY(vq_geom_get(m, image, &g));
	VQ_TRY(vq_table_text(t, rec->id));
	VQ_TRY(vq_table_text(t, vq_sample_text(m, "field", buf)));
	VQ_TRY(vq_table_text(t, vq_sample_text(m, "label", buf)));
	for (int i = 0; i < 4; i++)
		VQ_TRY(number(t, cJSON_GetArrayItem(box, i)));
	for (int i = 0; i < 2; i++)
		if (get(m, "size") || !sized)
			VQ_TRY(number(t, cJSON_GetArrayItem(get(m, "size"), i)));
		else
			VQ_TRY(vq_table_number(t, (double)(i ? g.w : g.h)));
	VQ_TRY(number(t, get(m, "area")));
	VQ_TRY(by_channel(t, rec, header, "mean", get(raw, "mean")));
	VQ_TRY(by_channel(t, rec, header, "integrated", get(raw, "integrated")));
	VQ_TRY(by_channel(t, rec, header, "background", get(raw, "background")));
	VQ_TRY(by_channel(t, rec, header, "field_mean", get(field, "mean")));
	VQ_TRY(by_channel(t, rec, header, "field_std", get(field, "std")));
	VQ_TRY(percentiles(t, rec, header, get(field, "percentiles")));
	VQ_TRY(truth(t, get(m, "truth")));
	VQ_TRY(metadata(t, get(m, "metadata")));
	VQ_TRY(profile(t, rec, header));
	return vq_table_row(t);
}
