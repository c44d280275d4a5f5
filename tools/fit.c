#include "tools/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/tally.h"
#include "tools/cli.h"

static const double usual[] = { 0, 0.1, 1, 5, 25, 50, 75, 95, 99, 99.9, 100 };
enum { PERCENTILES_MAX = 64 };

struct group {
	char **value;            /* a column each */
	uint64_t records;
	vq_tally *tally[VQ_CHANNELS_MAX];
};

struct vq_fit {
	char **column;
	int columns;
	const char *const *where;
	int conditions;
	double p[PERCENTILES_MAX];
	int np;
	cJSON *channels;         /* of the first record */
	int nchannels;
	struct group *group;
	int n, cap, last;
	bool matched_column[64]; /* some record has the condition's column */
	char *nearest[64];       /* else the likest that there is */
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void add_percentile(vq_fit *f, double p)
{
	for (int i = 0; i < f->np; i++)
		if (f->p[i] == p)
			return;
	f->p[f->np++] = p;
}

vq_status vq_fit_open(vq_fit **f, const char *group_by, const char *const *where, int n, const double *p, int np)
{
	vq_fit *v = vq_calloc(1, sizeof *v);
	vq_status s = VQ_OK;
	*f = NULL;
	if (!v)
		return VQ_ENOMEM;
	v->where = where;
	v->conditions = n;
	if (n > (int)VQ_COUNT(v->matched_column) || np > PERCENTILES_MAX - (int)VQ_COUNT(usual))
		s = vq_fail(VQ_ELIMIT, "%d conditions and %d percentiles are more than can be had at once", n, np);
	for (size_t i = 0; i < VQ_COUNT(usual); i++)
		add_percentile(v, usual[i]);
	for (int i = 0; s == VQ_OK && i < np; i++)
		add_percentile(v, p[i]);
	qsort(v->p, (size_t)v->np, sizeof *v->p, by_value);
	for (int i = 0; s == VQ_OK && i < n; i++)
		if (!strchr(where[i], '=') || where[i][0] == '=')
			s = vq_fail(VQ_EINVAL, "\"%s\" is not COLUMN=VALUE", where[i]);
	if (s == VQ_OK && group_by)
		s = vq_split(group_by, ',', &v->column, &v->columns);
	for (int i = 0; s == VQ_OK && i < v->columns; i++)
		if (!*v->column[i])
			s = vq_fail(VQ_EINVAL, "\"%s\" names an empty column", group_by);
	if (s < 0) {
		vq_fit_close(v);
		return s;
	}
	*f = v;
	return VQ_OK;
}

static void free_texts(char **v, int n)
{
	for (int i = 0; v && i < n; i++)
		free(v[i]);
	free(v);
}

void vq_fit_close(vq_fit *f)
{
	if (!f)
		return;
	for (int i = 0; i < f->n; i++) {
		free_texts(f->group[i].value, f->columns);
		for (int c = 0; c < f->nchannels; c++)
			vq_tally_close(f->group[i].tally[c]);
	}
	free_texts(f->column, f->columns);
	for (int i = 0; i < f->conditions && i < (int)VQ_COUNT(f->nearest); i++)
		free(f->nearest[i]);
	free(f->group);
	cJSON_Delete(f->channels);
	free(f);
}

/* The likest column that a record has had so far. */
static vq_status learn_nearest(vq_fit *f, int condition, const cJSON *meta, const char *name)
{
	const char *best = vq_sample_nearest(meta, name);
	char **at = &f->nearest[condition];
	if (*at && vq_sample_distance(name, best) >= vq_sample_distance(name, *at))
		return VQ_OK;
	free(*at);
	*at = vq_strdup(best);
	return *at ? VQ_OK : VQ_ENOMEM;
}

static vq_status matches(vq_fit *f, const cJSON *meta, bool *all)
{
	*all = true;
	for (int i = 0; i < f->conditions; i++) {
		char name[256], buf[32];
		const char *eq = strchr(f->where[i], '=');
		snprintf(name, sizeof name, "%.*s", (int)(eq - f->where[i]), f->where[i]);
		const char *text = vq_sample_text(meta, name, buf);
		f->matched_column[i] |= text != NULL;
		if (!f->matched_column[i])
			VQ_TRY(learn_nearest(f, i, meta, name));
		*all = *all && text && !strcmp(text, eq + 1);
	}
	return VQ_OK;
}

static bool is_group(const vq_fit *f, const struct group *g, const cJSON *meta)
{
	char buf[32];
	for (int i = 0; i < f->columns; i++) {
		const char *text = vq_sample_text(meta, f->column[i], buf);
		if (!text || strcmp(text, g->value[i]))
			return false;
	}
	return true;
}

static vq_status new_group(vq_fit *f, const cJSON *meta)
{
	char buf[32];
	if (f->n == f->cap) {
		int cap = f->cap ? 2 * f->cap : 4;
		struct group *g = vq_realloc(f->group, (size_t)cap * sizeof *g);
		if (!g)
			return VQ_ENOMEM;
		f->group = g;
		f->cap = cap;
	}
	struct group *g = &f->group[f->n];
	*g = (struct group){ .value = vq_calloc((size_t)f->columns, sizeof *g->value) };
	if (!g->value)
		return VQ_ENOMEM;
	f->last = f->n++;
	for (int i = 0; i < f->columns; i++) {
		const char *text = vq_sample_text(meta, f->column[i], buf);
		if (!text)
			return vq_fail(VQ_EINVAL, "it has no column \"%s\"; the nearest is \"%s\"", f->column[i], vq_sample_nearest(meta, f->column[i]));
		if (!(g->value[i] = vq_strdup(text)))
			return VQ_ENOMEM;
	}
	for (int c = 0; c < f->nchannels; c++)
		VQ_TRY(vq_tally_open(&g->tally[c]));
	return VQ_OK;
}

static vq_status find_group(vq_fit *f, const cJSON *meta)
{
	if (f->n && is_group(f, &f->group[f->last], meta))
		return VQ_OK;
	for (int i = 0; i < f->n; i++)
		if (is_group(f, &f->group[i], meta)) {
			f->last = i;
			return VQ_OK;
		}
	return new_group(f, meta);
}

static vq_status check_channels(vq_fit *f, const cJSON *meta, int n)
{
	const cJSON *names = cJSON_GetObjectItemCaseSensitive(meta, "channels");
	if (!f->channels) {
		if (!cJSON_IsArray(names) || cJSON_GetArraySize(names) != n)
			return vq_fail(VQ_EINVAL, "it does not name its channels, without which statistics cannot be used");
		f->nchannels = n;
		f->channels = cJSON_Duplicate(names, true);
		return f->channels ? VQ_OK : vq_fail(VQ_ENOMEM, "out of memory for channel names");
	}
	return cJSON_Compare(names, f->channels, true) ? VQ_OK : vq_fail(VQ_EINVAL, "its channels are not those of the records before it");
}

static vq_status add(vq_fit *f, const vqt_record *rec, const vq_tensor *image)
{
	vq_norm n;
	vq_geom g;
	VQ_TRY(vq_norm_get(rec->meta, &n));
	if (n.method > VQ_NORM_NONE) {
		char *how = vq_norm_describe(&n);
		vq_fail(VQ_EINVAL, "it is normalised already (%s); --fit takes raw grey levels", how ? how : vq_norm_name(n.method));
		free(how);
		return VQ_EINVAL;
	}
	bool wanted;
	VQ_TRY(matches(f, rec->meta, &wanted));
	if (!wanted)
		return VQ_OK;
	VQ_TRY(vq_geom_get(rec->meta, image, &g));
	VQ_TRY(check_channels(f, rec->meta, (int)image->shape[0]));
	VQ_TRY(find_group(f, rec->meta));
	struct group *to = &f->group[f->last];
	for (int c = 0; c < f->nchannels; c++) {
		vq_status s = vq_tally_add(to->tally[c], image, c, (vq_window){ g.top, g.left, g.h, g.w });
		if (s < 0)
			return vq_context(s, "channel %s", cJSON_GetStringValue(cJSON_GetArrayItem(f->channels, c)));
	}
	to->records++;
	return VQ_OK;
}

vq_status vq_fit_add(vq_fit *f, const vqt_record *rec)
{
	vq_tensor *image;
	VQ_TRY(vq_sample_check(rec, &image, NULL));
	vq_status s = add(f, rec, image);
	return s < 0 ? vq_context(s, "record %s", rec->id) : s;
}

static cJSON *texts(const char *const *v, int n) { return n ? cJSON_CreateStringArray(v, n) : cJSON_CreateArray(); }

static vq_status append(cJSON *list, cJSON *item)
{
	if (item && list && cJSON_AddItemToArray(list, item))
		return VQ_OK;
	cJSON_Delete(item);
	return vq_fail(VQ_ENOMEM, "out of memory for statistics");
}

/* A fresh list that belongs to o at once, so that a failure later frees it with o. */
static cJSON *list_in(cJSON *o, const char *key)
{
	cJSON *list = cJSON_CreateArray();
	return vq_json_set(o, key, list) == VQ_OK ? list : NULL;
}

static vq_status put_percentiles(const vq_fit *f, const struct group *g, cJSON *o)
{
	double v[PERCENTILES_MAX];
	VQ_TRY(vq_json_set(o, "p", vq_json_doubles(f->p, f->np)));
	cJSON *values = list_in(o, "values");
	for (int c = 0; c < f->nchannels; c++) {
		for (int i = 0; i < f->np; i++)
			v[i] = vq_tally_percentile(g->tally[c], f->p[i]);
		VQ_TRY(append(values, vq_json_doubles(v, f->np)));
	}
	return values ? VQ_OK : VQ_ENOMEM;
}

static vq_status put_group(const vq_fit *f, const struct group *g, cJSON *o)
{
	double mean[VQ_CHANNELS_MAX], std[VQ_CHANNELS_MAX], pixels[VQ_CHANNELS_MAX];
	VQ_TRY(vq_json_set(o, "group", texts((const char *const *)g->value, f->columns)));
	VQ_TRY(vq_json_set(o, "records", cJSON_CreateNumber((double)g->records)));
	cJSON *exact = list_in(o, "exact");
	for (int c = 0; c < f->nchannels; c++) {
		vq_tally_moments(g->tally[c], &mean[c], &std[c]);
		pixels[c] = (double)vq_tally_count(g->tally[c]);
		VQ_TRY(append(exact, cJSON_CreateBool(vq_tally_exact(g->tally[c]))));
	}
	VQ_TRY(vq_json_set(o, "pixels", vq_json_doubles(pixels, f->nchannels)));
	VQ_TRY(vq_json_set(o, "mean", vq_json_doubles(mean, f->nchannels)));
	VQ_TRY(vq_json_set(o, "std", vq_json_doubles(std, f->nchannels)));
	cJSON *percentiles = cJSON_CreateObject();
	VQ_TRY(vq_json_set(o, "percentiles", percentiles));
	return put_percentiles(f, g, percentiles);
}

static vq_status put_all(const vq_fit *f, cJSON *o)
{
	cJSON *groups = cJSON_CreateArray();
	VQ_TRY(vq_json_set(o, "format", cJSON_CreateString("vq-stats")));
	VQ_TRY(vq_json_set(o, "version", cJSON_CreateNumber(1)));
	VQ_TRY(vq_json_set(o, "channels", cJSON_Duplicate(f->channels, true)));
	VQ_TRY(vq_json_set(o, "group_by", texts((const char *const *)f->column, f->columns)));
	VQ_TRY(vq_json_set(o, "where", texts(f->where, f->conditions)));
	VQ_TRY(vq_json_set(o, "groups", groups));
	for (int i = 0; i < f->n; i++) {
		cJSON *g = cJSON_CreateObject();
		VQ_TRY(append(groups, g));
		VQ_TRY(put_group(f, &f->group[i], g));
	}
	return VQ_OK;
}

cJSON *vq_fit_result(const vq_fit *f)
{
	if (!f->n) {
		for (int i = 0; i < f->conditions; i++)
			if (!f->matched_column[i]) {
				vq_fail(VQ_EINVAL, "no record has the column of --where %s%s%s", f->where[i], f->nearest[i] ? "; the nearest is " : "", f->nearest[i] ? f->nearest[i] : "");
				return NULL;
			}
		vq_fail(VQ_EINVAL, f->conditions ? "no record meets --where" : "no records to fit");
		return NULL;
	}
	cJSON *o = cJSON_CreateObject();
	if (!o || put_all(f, o) < 0) {
		cJSON_Delete(o);
		return NULL;
	}
	return o;
}
