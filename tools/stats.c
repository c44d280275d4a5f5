#include "tools/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cJSON *get(const cJSON *o, const char *key) { return cJSON_GetObjectItemCaseSensitive(o, key); }

struct vq_stats {
	cJSON *json;
	const cJSON *last; /* records of one group come together most often */
};

vq_status vq_stats_open(vq_stats **s, cJSON *json)
{
	const cJSON *format = get(json, "format"), *version = get(json, "version"), *groups = get(json, "groups"), *g;
	bool good = cJSON_IsString(format) && !strcmp(format->valuestring, "vq-stats") && cJSON_IsNumber(version) &&
		cJSON_IsArray(get(json, "channels")) && cJSON_IsArray(get(json, "group_by")) && cJSON_IsArray(groups);
	*s = NULL;
	cJSON_ArrayForEach(g, groups)
		good = good && cJSON_IsArray(get(g, "group")) && cJSON_GetArraySize(get(g, "group")) == cJSON_GetArraySize(get(json, "group_by"));
	if (good && version->valuedouble != 1) {
		vq_fail(VQ_EUNSUP, "statistics of version %g; this vq reads version 1", version->valuedouble);
		cJSON_Delete(json);
		return VQ_EUNSUP;
	}
	vq_stats *n = good ? vq_calloc(1, sizeof *n) : NULL;
	if (!n) {
		cJSON_Delete(json);
		return good ? VQ_ENOMEM : vq_fail(VQ_EFORMAT, "not statistics as vq-normalize --fit writes them");
	}
	n->json = json;
	*s = n;
	return VQ_OK;
}

void vq_stats_close(vq_stats *s)
{
	if (!s)
		return;
	cJSON_Delete(s->json);
	free(s);
}

/* Whether the record's columns have the group's values; *column: the first that has not, with its text or NULL in *text. */
static bool in_group(const cJSON *columns, const cJSON *group, const cJSON *meta, char buf[32], const char **column, const char **text)
{
	const cJSON *value = get(group, "group")->child;
	for (const cJSON *c = columns->child; c && value; c = c->next, value = value->next) {
		*column = cJSON_IsString(c) ? c->valuestring : "?";
		*text = vq_sample_text(meta, *column, buf);
		if (!*text || !cJSON_IsString(value) || strcmp(*text, value->valuestring))
			return false;
	}
	return true;
}

static vq_status find_group(vq_stats *s, const cJSON *meta, const cJSON **group)
{
	const cJSON *columns = get(s->json, "group_by"), *g;
	const char *column = "?", *text = NULL;
	char buf[32];
	*group = s->last;
	if (s->last && in_group(columns, s->last, meta, buf, &column, &text))
		return VQ_OK;
	cJSON_ArrayForEach(g, get(s->json, "groups"))
		if (in_group(columns, g, meta, buf, &column, &text)) {
			*group = s->last = g;
			return VQ_OK;
		}
	return text ? vq_fail(VQ_EINVAL, "the statistics have no group with %s = %s", column, text)
	            : vq_fail(VQ_EINVAL, "the statistics are grouped by %s, which it lacks", column);
}

static vq_status no_channel(const cJSON *have, const char *name)
{
	const cJSON *c;
	vq_buf list = {0};
	cJSON_ArrayForEach(c, have)
		vq_buf_fmt(&list, "%s%s", list.len ? ", " : "", cJSON_IsString(c) ? c->valuestring : "?");
	vq_fail(VQ_EINVAL, "the statistics have no channel %s (they have %s)", name, list.len ? list.data : "none");
	vq_buf_free(&list);
	return VQ_EINVAL;
}

vq_status vq_stats_find(vq_stats *s, const cJSON *meta, int channels, const cJSON **group, int *channel)
{
	const cJSON *have = get(s->json, "channels"), *name = get(meta, "channels"), *c;
	VQ_TRY(find_group(s, meta, group));
	name = name ? name->child : NULL;
	for (int i = 0; i < channels; i++, name = name ? name->next : NULL) {
		int k = 0, found = -1;
		if (!cJSON_IsString(name))
			return vq_fail(VQ_EINVAL, "it names no channels, so that the statistics cannot be told apart");
		cJSON_ArrayForEach(c, have) {
			if (cJSON_IsString(c) && !strcmp(c->valuestring, name->valuestring))
				found = k;
			k++;
		}
		if (found < 0)
			return no_channel(have, name->valuestring);
		channel[i] = found;
	}
	return VQ_OK;
}

static vq_status number(const cJSON *list, int c, const char *what, double *out)
{
	const cJSON *v = cJSON_GetArrayItem(list, c);
	if (!cJSON_IsNumber(v) || !isfinite(v->valuedouble))
		return vq_fail(VQ_EFORMAT, "the statistics hold no %s of it", what);
	*out = v->valuedouble;
	return VQ_OK;
}

static vq_status no_percentile(const cJSON *percentiles, double want)
{
	const cJSON *p;
	vq_buf list = {0};
	cJSON_ArrayForEach(p, get(percentiles, "p"))
		vq_buf_fmt(&list, "%s%g", list.len ? " " : "", cJSON_IsNumber(p) ? p->valuedouble : NAN);
	vq_fail(VQ_EINVAL, "percentile %g is not among those stored (%s)", want, list.len ? list.data : "none");
	vq_buf_free(&list);
	return VQ_EINVAL;
}

static vq_status stored_percentile(const cJSON *percentiles, int c, double want, double *out)
{
	const cJSON *p;
	int i = 0;
	cJSON_ArrayForEach(p, get(percentiles, "p")) {
		if (cJSON_IsNumber(p) && fabs(p->valuedouble - want) < 1e-9)
			return number(cJSON_GetArrayItem(get(percentiles, "values"), c), i, "percentile", out);
		i++;
	}
	return no_percentile(percentiles, want);
}

vq_status vq_stats_bounds(const cJSON *group, int c, const double p[2], double out[2])
{
	if (!p) {
		VQ_TRY(number(get(group, "mean"), c, "mean", out));
		return number(get(group, "std"), c, "deviation", out + 1);
	}
	VQ_TRY(stored_percentile(get(group, "percentiles"), c, p[0], out));
	return stored_percentile(get(group, "percentiles"), c, p[1], out + 1);
}
