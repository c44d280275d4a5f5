#include "tools/scoretable.h"

#include <stdio.h>
#include <stdlib.h>

vq_status vq_score_table_open(vq_table **table, const char *path, const vq_totals *t)
{
	static const char *const lead[] = { "id", "field", "label", "height", "width", "pixels", "foreground_pixels" };
	enum { LEAD = VQ_COUNT(lead), MOST = LEAD + 2 * VQ_METRICS * (VQ_CHANNELS_MAX + 1) };
	char *column[MOST];
	int n = 0;
	for (int i = 0; i < LEAD; i++)
		column[n++] = vq_strdup(lead[i]);
	for (int c = -1; c < t->channels; c++)
		for (int k = 0; k < 2; k++)
			for (int m = 0; m < VQ_METRICS; m++)
				column[n++] = vq_format("%s%s%s%s", vq_totals_prefix[k], vq_metric_name(m), c < 0 ? "" : "_", c < 0 ? "" : t->name[c]);
	vq_status s = VQ_OK;
	for (int i = 0; i < n; i++)
		s = column[i] ? s : VQ_ENOMEM;
	if (s == VQ_OK)
		s = vq_table_open(table, path, (const char *const *)column, n);
	for (int i = 0; i < n; i++)
		free(column[i]);
	return s;
}

vq_status vq_score_table_row(vq_table *table, const vqt_record *r, const vq_record_score *s)
{
	char buf[32];
	const cJSON *item;
	VQ_TRY(vq_table_text(table, r->id));
	VQ_TRY(vq_table_text(table, vq_sample_text(r->meta, "field", buf)));
	VQ_TRY(vq_table_text(table, vq_sample_text(r->meta, "label", buf)));
	const int64_t whole[] = { s->h, s->w, s->h * s->w, s->inside };
	for (size_t i = 0; i < VQ_COUNT(whole); i++) {
		snprintf(buf, sizeof buf, "%lld", (long long)whole[i]);
		VQ_TRY(vq_table_text(table, buf));
	}
	for (int c = -1; c < s->channels; c++)
		for (int k = 0; k < 2; k++)
			for (int m = 0; m < VQ_METRICS; m++)
				VQ_TRY(vq_table_number(table, c < 0 ? s->mean[k].v[m] : s->channel[k][c].v[m]));
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(r->meta, "metadata"))
		VQ_TRY(vq_table_named(table, item->string, vq_sample_text(r->meta, item->string, buf)));
	return vq_table_row(table);
}
