#include "tools/totals.h"

#include <math.h>
#include <stdlib.h>

const char *const vq_totals_prefix[2] = { "", "foreground_" };

vq_status vq_totals_name(vq_totals *t, const cJSON *header, int channels)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(header, "channels");
	for (t->channels = 0; t->channels < channels; t->channels++) {
		const cJSON *item = cJSON_GetArrayItem(list, t->channels);
		char *name = cJSON_IsString(item) ? vq_strdup(item->valuestring) : vq_format("channel_%d", t->channels + 1);
		if (!name)
			return VQ_ENOMEM;
		t->name[t->channels] = name;
	}
	return VQ_OK;
}

static int figure_of(const vq_totals *t, int k, int c, int m) { return (k * (t->channels + 1) + c) * VQ_METRICS + m; }

vq_status vq_totals_boot(vq_totals *t) { return vq_boot_make(&t->boot, figure_of(t, 2, 0, 0)); }

static vq_status add_to_group(vq_totals *t, const char *group, const vq_record_score *s)
{
	size_t g;
	VQ_TRY(vq_boot_group(t->boot, group, &g));
	for (int k = 0; k < 2; k++)
		for (int m = 0; m < VQ_METRICS; m++) {
			vq_boot_add(t->boot, g, figure_of(t, k, 0, m), s->mean[k].v[m]);
			for (int c = 0; c < s->channels; c++)
				vq_boot_add(t->boot, g, figure_of(t, k, 1 + c, m), s->channel[k][c].v[m]);
		}
	return VQ_OK;
}

vq_status vq_totals_intervals(vq_totals *t, int resamples, double confidence, uint64_t seed, int threads)
{
	const size_t n = (size_t)figure_of(t, 2, 0, 0);
	t->low = vq_malloc(2 * n * sizeof *t->low);
	if (!t->low)
		return VQ_ENOMEM;
	t->high = t->low + n;
	return vq_boot_run(t->boot, resamples, confidence, seed, threads, t->low, t->high);
}

vq_status vq_totals_add(vq_totals *t, const char *id, const char *group, const vq_record_score *s)
{
	if (s->channels != t->channels)
		return vq_fail(VQ_EINVAL, "record %s has %d channels, those before it %d", id, s->channels, t->channels);
	t->n++;
	t->pixels += (uint64_t)(s->h * s->w);
	t->inside += (uint64_t)s->inside;
	t->masked += s->inside > 0;
	for (int c = 0; c < s->channels; c++)
		t->clipped[c] += s->clipped[c] * (double)(s->h * s->w);
	if (t->boot)
		VQ_TRY(add_to_group(t, group, s));
	for (int k = 0; k < 2; k++)
		for (int m = 0; m < VQ_METRICS; m++) {
			VQ_TRY(vq_summary_add(&t->of[k][0][m], s->mean[k].v[m]));
			for (int c = 0; c < s->channels; c++)
				VQ_TRY(vq_summary_add(&t->of[k][1 + c][m], s->channel[k][c].v[m]));
		}
	return VQ_OK;
}

static cJSON *number(double v) { return isfinite(v) ? cJSON_CreateNumber(v) : cJSON_CreateNull(); }

/* object[name] = {}; NULL when memory is out. */
static cJSON *object_in(cJSON *object, const char *name)
{
	cJSON *o = cJSON_CreateObject();
	return vq_json_set(object, name, o) < 0 ? NULL : o;
}

static vq_status interval_json(const vq_totals *t, int figure, cJSON *object)
{
	return t->low ? vq_json_set(object, "ci", vq_json_doubles((double[]){ t->low[figure], t->high[figure] }, 2)) : VQ_OK;
}

/* c: 0 the mean over channels, from 1 on a channel. */
static vq_status metrics_json(vq_totals *t, int k, int c, cJSON *object)
{
	for (int m = 0; m < VQ_METRICS; m++) {
		vq_figures f;
		VQ_TRY(vq_summary_get(&t->of[k][c][m], &f));
		cJSON *o = object_in(object, vq_metric_name(m));
		if (!o)
			return VQ_ENOMEM;
		const struct { const char *key; double v; } part[] = {
			{ "mean", f.mean }, { "median", f.median }, { "std", f.std }, { "min", f.min }, { "max", f.max }, { "n", (double)f.n },
		};
		for (size_t i = 0; i < VQ_COUNT(part); i++)
			VQ_TRY(vq_json_set(o, part[i].key, number(part[i].v)));
		VQ_TRY(interval_json(t, figure_of(t, k, c, m), o));
		if (!f.exact)
			VQ_TRY(vq_json_set(o, "median_exact", cJSON_CreateFalse()));
	}
	return VQ_OK;
}

static vq_status part_json(vq_totals *t, int k, cJSON *object)
{
	VQ_TRY(vq_json_set(object, "n", cJSON_CreateNumber((double)(k ? t->masked : t->n))));
	VQ_TRY(vq_json_set(object, "pixels", cJSON_CreateNumber((double)(k ? t->inside : t->pixels))));
	VQ_TRY(metrics_json(t, k, 0, object));
	double clipped = 0;
	for (int c = 0; c < t->channels; c++)
		clipped += t->clipped[c] / (double)t->pixels / t->channels;
	if (!k)
		VQ_TRY(vq_json_set(object, "clipped", number(clipped)));
	cJSON *channels = object_in(object, "per_channel");
	for (int c = 0; c < t->channels; c++) {
		cJSON *o = channels ? object_in(channels, t->name[c]) : NULL;
		if (!o)
			return VQ_ENOMEM;
		VQ_TRY(metrics_json(t, k, 1 + c, o));
		if (!k)
			VQ_TRY(vq_json_set(o, "clipped", number(t->clipped[c] / (double)t->pixels)));
	}
	return VQ_OK;
}

vq_status vq_totals_json(vq_totals *t, cJSON *object)
{
	VQ_TRY(part_json(t, 0, object));
	cJSON *inside = object_in(object, "foreground");
	return inside ? part_json(t, 1, inside) : VQ_ENOMEM;
}

void vq_totals_free(vq_totals *t)
{
	for (int c = 0; c < t->channels; c++)
		free(t->name[c]);
	for (int k = 0; k < 2; k++)
		for (int c = 0; c <= t->channels; c++)
			for (int m = 0; m < VQ_METRICS; m++)
				vq_summary_free(&t->of[k][c][m]);
	vq_boot_free(t->boot);
	free(t->low);
	*t = (vq_totals){0};
}
