#include "tools/codegroups.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/split.h"
#include "lib/eval/difference.h"
#include "lib/eval/names.h"

enum { GROUPS_MAX = 1000, MOST = 10, WAYS = 2 }; /* WAYS: the usual groups, fields */

typedef struct { size_t *begin; vq_share *share; size_t cap; } shares; /* of a level: as vq_difference_data */

struct vq_codegroups {
	const char *by, *units;
	vq_names groups, unit[WAYS];
	uint32_t *group, *unit_of[WAYS]; /* [cap] of each cell */
	size_t cells, cap;
	shares level[VQ_CODE_LEVELS_MAX];
	uint32_t *counts;                /* scratch: as many as the largest codebook has codes */
	int64_t counts_size;
	size_t own_cells[VQ_CODE_LEVELS_MAX]; /* records with the histogram of their own positions */
};

vq_status vq_codegroups_open(vq_codegroups **out, const char *by, const char *units)
{
	vq_codegroups *g = *out = vq_calloc(1, sizeof *g);
	if (!g)
		return VQ_ENOMEM;
	g->by = by;
	g->units = units;
	return VQ_OK;
}

void vq_codegroups_close(vq_codegroups *g)
{
	if (!g)
		return;
	vq_names_free(&g->groups);
	for (int w = 0; w < WAYS; w++) {
		vq_names_free(&g->unit[w]);
		free(g->unit_of[w]);
	}
	for (int i = 0; i < VQ_CODE_LEVELS_MAX; i++) {
		free(g->level[i].begin);
		free(g->level[i].share);
	}
	free(g->group);
	free(g->counts);
	free(g);
}

/* --- cells ---------------------------------------------------------------------------------------------------------- */

static vq_status resize(void *array, size_t n, size_t size)
{
	void **a = array, *p = vq_realloc(*a, n * size);
	if (p)
		*a = p;
	return p ? VQ_OK : VQ_ENOMEM;
}

static vq_status make_room(vq_codegroups *g, const vq_codestats *s)
{
	if (g->cells < g->cap)
		return VQ_OK;
	const size_t cap = g->cap ? 2 * g->cap : 256;
	VQ_TRY(resize(&g->group, cap, sizeof *g->group));
	for (int w = 0; w < WAYS; w++)
		VQ_TRY(resize(&g->unit_of[w], cap, sizeof **g->unit_of));
	for (int i = 0; i < s->nlevels; i++)
		VQ_TRY(resize(&g->level[i].begin, cap + 1, sizeof *g->level[i].begin));
	g->cap = cap;
	return VQ_OK;
}

static vq_status named(vq_names *names, const vqt_record *r, const char *by, uint32_t *index)
{
	char *name;
	size_t at;
	VQ_TRY(vq_part_group(r->meta, r->id, by, &name));
	vq_status s = vq_names_find(names, name, &at);
	free(name);
	*index = (uint32_t)at;
	return s;
}

/* The cell's counts, in `counts`, become shares. */
static vq_status put_shares(vq_codegroups *g, shares *l, int64_t size)
{
	size_t at = g->cells ? l->begin[g->cells] : 0;
	double total = 0;
	for (int64_t k = 0; k < size; k++)
		total += g->counts[k];
	l->begin[0] = 0;
	for (int64_t k = 0; k < size; k++) {
		if (!g->counts[k])
			continue;
		if (at == l->cap) {
			const size_t cap = l->cap ? 2 * l->cap : 4096;
			VQ_TRY(resize(&l->share, cap, sizeof *l->share));
			l->cap = cap;
		}
		l->share[at++] = (vq_share){ (uint32_t)k, (float)(g->counts[k] / total) };
	}
	l->begin[g->cells + 1] = at;
	return VQ_OK;
}

static vq_status add_level(vq_codegroups *g, const vq_codestats *s, int i, const vqt_record *r)
{
	char name[32] = "histogram";
	if (i)
		snprintf(name, sizeof name, "histogram.%d", i);
	const vq_tensor *codes = vqt_get(r, s->levels[i].name), *own = vqt_get(r, name);
	const int64_t size = s->levels[i].all.size;
	size_t n;
	if (size > g->counts_size) {
		VQ_TRY(resize(&g->counts, (size_t)size, sizeof *g->counts));
		g->counts_size = size;
	}
	memset(g->counts, 0, (size_t)size * sizeof *g->counts);
	if (own && (own->ndim != 1 || own->shape[0] != size))
		return vq_fail(VQ_EFORMAT, "record %s: its histogram is not of the %lld codes", r->id, (long long)size);
	VQ_TRY(vq_tensor_count(own ? own : codes, &n));
	for (size_t k = 0; k < n; k++)
		if (own)
			g->counts[k] = (uint32_t)fmax(vq_tensor_get(own, k), 0);
		else
			g->counts[(size_t)vq_tensor_get(codes, k)]++;
	g->own_cells[i] += own != NULL;
	return put_shares(g, &g->level[i], size);
}

vq_status vq_codegroups_add(vq_codegroups *g, const vq_codestats *s, const vqt_record *r)
{
	VQ_TRY(make_room(g, s));
	VQ_TRY(named(&g->groups, r, g->by, &g->group[g->cells]));
	if (g->groups.n > GROUPS_MAX)
		return vq_fail(VQ_ELIMIT, "more than %d groups by %s", GROUPS_MAX, g->by);
	if (!g->units || strcmp(g->units, "cell"))
		VQ_TRY(named(&g->unit[0], r, g->units, &g->unit_of[0][g->cells]));
	if (!g->units)
		VQ_TRY(named(&g->unit[1], r, cJSON_GetObjectItemCaseSensitive(r->meta, "field") ? "field" : NULL, &g->unit_of[1][g->cells]));
	for (int i = 0; i < s->nlevels; i++)
		VQ_TRY(add_level(g, s, i, r));
	g->cells++;
	return VQ_OK;
}

/* --- units ---------------------------------------------------------------------------------------------------------- */

typedef struct { const char *name; uint32_t *unit, *group; size_t n; } units; /* unit [cells], group [n]; group is to be freed, and unit of cells */

/* Whether each unit's cells are of one group; if not, *bad is one that is not. */
static vq_status nested(const vq_codegroups *g, const uint32_t *unit, size_t n, uint32_t **group, int64_t *bad)
{
	*bad = -1;
	*group = vq_malloc((n + 1) * sizeof **group);
	if (!*group)
		return VQ_ENOMEM;
	memset(*group, 0xff, (n + 1) * sizeof **group);
	for (size_t i = 0; i < g->cells && *bad < 0; i++)
		if ((*group)[unit[i]] == UINT32_MAX)
			(*group)[unit[i]] = g->group[i];
		else if ((*group)[unit[i]] != g->group[i])
			*bad = unit[i];
	return VQ_OK;
}

static vq_status choose_units(vq_codegroups *g, units *u)
{
	static const char *const name[WAYS] = { "group", "field" };
	int64_t bad;
	for (int w = 0; w < (g->units ? 1 : WAYS) && g->unit[w].n; w++) {
		VQ_TRY(nested(g, g->unit_of[w], g->unit[w].n, &u->group, &bad));
		if (g->units && bad >= 0)
			return vq_fail(VQ_EINVAL, "the cells of unit %s are of more than one group by %s", g->unit[w].name[bad], g->by);
		*u = (units){ g->units ? g->units : name[w], g->unit_of[w], u->group, g->unit[w].n };
		if (g->units || (bad < 0 && u->n > g->groups.n))
			return VQ_OK;
		free(u->group);
	}
	*u = (units){ "cell", g->unit_of[0], NULL, g->cells };
	for (size_t i = 0; i < g->cells; i++)
		u->unit[i] = (uint32_t)i;
	return nested(g, u->unit, u->n, &u->group, &bad);
}

/* --- the report ------------------------------------------------------------------------------------------------------ */

static vq_status set(cJSON *o, const char *key, double v) { return vq_json_set(o, key, isfinite(v) ? cJSON_CreateNumber(v) : cJSON_CreateNull()); }

static vq_status append(cJSON *list, cJSON **o)
{
	*o = cJSON_CreateObject();
	if (*o && cJSON_AddItemToArray(list, *o))
		return VQ_OK;
	cJSON_Delete(*o);
	return vq_fail(VQ_ENOMEM, "out of memory for JSON");
}

static vq_status groups_json(const vq_codegroups *g, const vq_difference *d, int64_t size, cJSON *list)
{
	for (size_t k = 0; k < g->groups.n; k++) {
		const double *p = d->shares + k * (size_t)size;
		double entropy = 0, used = 0;
		cJSON *o;
		for (int64_t c = 0; c < size; c++) {
			used += p[c] > 0;
			entropy -= p[c] > 0 ? p[c] * log2(p[c]) : 0;
		}
		VQ_TRY(append(list, &o));
		VQ_TRY(vq_json_set(o, "group", cJSON_CreateString(g->groups.name[k])));
		VQ_TRY(set(o, "used", used));
		VQ_TRY(set(o, "perplexity", exp2(entropy)));
	}
	return VQ_OK;
}

/* The codes that contribute most, with their mean share in each group. */
static vq_status most_json(const vq_codegroups *g, const vq_difference *d, int64_t size, cJSON *list)
{
	for (int i = 0; i < MOST; i++) {
		int64_t best = 0;
		cJSON *o, *each;
		for (int64_t k = 1; k < size; k++)
			if (d->contribution[k] > d->contribution[best])
				best = k;
		if (!(d->contribution[best] > 0))
			return VQ_OK;
		VQ_TRY(append(list, &o));
		VQ_TRY(set(o, "code", (double)best));
		VQ_TRY(set(o, "contribution", d->contribution[best]));
		d->contribution[best] = 0;
		each = cJSON_CreateObject();
		VQ_TRY(vq_json_set(o, "shares", each));
		for (size_t k = 0; k < g->groups.n; k++)
			VQ_TRY(set(each, g->groups.name[k], d->shares[k * (size_t)size + (size_t)best]));
	}
	return VQ_OK;
}

static vq_status level_json(const vq_codegroups *g, const vq_difference *d, int64_t size, bool own, cJSON *o)
{
	cJSON *groups = cJSON_CreateArray(), *most = cJSON_CreateArray();
	vq_status s = vq_json_set(o, "groups", groups), t = vq_json_set(o, "most", most);
	VQ_TRY(s);
	VQ_TRY(t);
	VQ_TRY(vq_json_set(o, "positions", cJSON_CreateString(own ? "own" : "all")));
	VQ_TRY(set(o, "cramers_v", d->v));
	VQ_TRY(set(o, "expected_v", d->expected_v));
	VQ_TRY(set(o, "p_value", d->p));
	VQ_TRY(groups_json(g, d, size, groups));
	return most_json(g, d, size, most);
}

static vq_status level_report(const vq_codegroups *g, const units *u, const vq_codestats *s, int i, int deals, uint64_t seed, int threads, cJSON *o)
{
	const int64_t size = s->levels[i].all.size;
	const vq_difference_data data = { g->cells, u->n, g->groups.n, size, g->level[i].begin, g->level[i].share, u->unit, u->group };
	vq_difference d = { .shares = vq_malloc(g->groups.n * (size_t)size * sizeof(double)), .contribution = vq_malloc((size_t)size * sizeof(double)) };
	vq_status st = d.shares && d.contribution ? vq_difference_test(&data, deals, seed, threads, &d) : VQ_ENOMEM;
	if (st == VQ_OK)
		st = level_json(g, &d, size, g->own_cells[i] > 0, o);
	free(d.shares);
	free(d.contribution);
	return st;
}

static vq_status head_json(const vq_codegroups *g, const units *u, int deals, uint64_t seed, cJSON *o)
{
	cJSON *cells = cJSON_CreateObject();
	VQ_TRY(vq_json_set(o, "by", cJSON_CreateString(g->by)));
	VQ_TRY(vq_json_set(o, "cells", cells));
	for (size_t k = 0; k < g->groups.n; k++) {
		double n = 0;
		for (size_t i = 0; i < g->cells; i++)
			n += g->group[i] == k;
		VQ_TRY(set(cells, g->groups.name[k], n));
	}
	VQ_TRY(vq_json_set(o, "units", cJSON_CreateString(u->name)));
	VQ_TRY(set(o, "n_units", (double)u->n));
	VQ_TRY(set(o, "permutations", deals));
	return set(o, "seed", (double)seed);
}

vq_status vq_codegroups_report(vq_codegroups *g, const vq_codestats *s, int deals, uint64_t seed, int threads, cJSON **json, cJSON **level, bool *few)
{
	units u = {0};
	for (int i = 0; i < s->nlevels; i++)
		if (g->own_cells[i] && g->own_cells[i] != g->cells)
			return vq_fail(VQ_EINVAL, "some records have a histogram of their own positions and some have none: they do not make one test");
	vq_status st = choose_units(g, &u);
	*few = u.n <= g->groups.n;
	*json = cJSON_CreateObject();
	if (st == VQ_OK)
		st = *json ? head_json(g, &u, deals, seed, *json) : VQ_ENOMEM;
	for (int i = 0; i < s->nlevels && st == VQ_OK; i++) {
		level[i] = cJSON_CreateObject();
		st = level[i] ? level_report(g, &u, s, i, deals, seed, threads, level[i]) : VQ_ENOMEM;
	}
	free(u.group);
	return st;
}
