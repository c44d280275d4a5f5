#include "tools/codereport.h"

#include <math.h>
#include <stdlib.h>

static vq_status set_number(cJSON *o, const char *key, double v)
{
	return vq_json_set(o, key, isfinite(v) ? cJSON_CreateNumber(v) : cJSON_CreateNull());
}

/* object[key] = [] */
static cJSON *list_in(cJSON *object, const char *key)
{
	cJSON *list = cJSON_CreateArray();
	return vq_json_set(object, key, list) < 0 ? NULL : list;
}

static vq_status append(cJSON *list, double v)
{
	cJSON *item = cJSON_CreateNumber(v);
	if (item && cJSON_AddItemToArray(list, item))
		return VQ_OK;
	cJSON_Delete(item);
	return vq_fail(VQ_ENOMEM, "out of memory for a JSON list");
}

static vq_status counts_json(const vq_level_stats *l, cJSON *o)
{
	cJSON *dead = list_in(o, "dead"), *counts = list_in(o, "counts");
	if (!dead || !counts)
		return VQ_ENOMEM;
	for (int64_t k = 0; k < l->all.size; k++) {
		VQ_TRY(append(counts, (double)l->all.counts[k]));
		if (!l->all.counts[k])
			VQ_TRY(append(dead, (double)k));
	}
	return VQ_OK;
}

static vq_status batches_json(vq_level_stats *l, int64_t batch, cJSON *o)
{
	vq_figures f;
	VQ_TRY(vq_summary_get(&l->perplexity, &f));
	cJSON *b = cJSON_CreateObject();
	VQ_TRY(vq_json_set(o, "batch_perplexity", b));
	const struct { const char *key; double v; } part[] = {
		{ "batch_size", (double)batch }, { "batches", (double)f.n }, { "mean", f.mean }, { "std", f.std }, { "min", f.min }, { "max", f.max },
	};
	for (size_t i = 0; i < VQ_COUNT(part); i++)
		VQ_TRY(set_number(b, part[i].key, part[i].v));
	return VQ_OK;
}

static vq_status vectors_json(const vq_code_report *r, const vq_level_stats *l, cJSON *o)
{
	const int64_t size = l->all.size, shape[2] = { size, l->dim };
	int64_t pair[2];
	double mean, most;
	vq_tensor t = {0};
	if (!l->tensor)
		return vq_fail(VQ_EFORMAT, "the code stream's header does not say which tensor of the model holds the vectors of %s", l->name);
	VQ_TRY(vq_st_f32(r->model, l->tensor, 2, shape, &t));
	double *norms = vq_malloc(2 * (size_t)size * sizeof *norms), *nearest = norms ? norms + size : NULL;
	vq_status s = norms ? vq_codebook_distances(t.data, size, l->dim, r->threads, norms, nearest, &pair[0], &pair[1], &mean, &most) : VQ_ENOMEM;
	if (s < 0)
		vq_context(s, "%s: %s", r->model_name, l->tensor);
	else if ((s = vq_json_set(o, "norms", vq_json_doubles(norms, (int)size))) == VQ_OK &&
	         (s = vq_json_set(o, "nearest", vq_json_doubles(nearest, (int)size))) == VQ_OK &&
	         (s = set_number(o, "mean_distance", mean)) == VQ_OK && (s = set_number(o, "max_distance", most)) == VQ_OK &&
	         (s = set_number(o, "min_distance", size > 1 ? nearest[pair[0]] : NAN)) == VQ_OK && size > 1)
		s = vq_json_set(o, "closest", vq_json_doubles((double[]){ (double)pair[0], (double)pair[1] }, 2));
	free(norms);
	vq_tensor_free(&t);
	return s;
}

static vq_status neighbours_json(const vq_level_stats *l, double pixels, cJSON *level)
{
	static const char *const name[VQ_SIDES] = { "left", "above" };
	const vq_neighbour_figures f = vq_neighbours_get(l->beside);
	if (!f.codes) /* one code a cell has no neighbours */
		return VQ_OK;
	cJSON *o = cJSON_CreateObject();
	VQ_TRY(vq_json_set(level, "neighbours", o));
	VQ_TRY(set_number(o, "adaptive_bits", f.adaptive));
	for (int k = 0; k < VQ_SIDES; k++) {
		cJSON *side = cJSON_CreateObject();
		VQ_TRY(vq_json_set(o, name[k], side));
		VQ_TRY(set_number(side, "pairs", (double)f.side[k].pairs));
		VQ_TRY(set_number(side, "different", (double)f.side[k].different));
		VQ_TRY(set_number(side, "conditional_entropy_bits", f.side[k].conditional));
		VQ_TRY(set_number(side, "adaptive_bits", f.side[k].adaptive));
		VQ_TRY(set_number(side, "saved_bits", f.adaptive - f.side[k].adaptive));
		VQ_TRY(set_number(side, "saved_bits_per_pixel", (f.adaptive - f.side[k].adaptive) * (double)f.codes / pixels));
	}
	return VQ_OK;
}

static vq_status level_json(const vq_code_report *r, vq_level_stats *l, cJSON *o)
{
	const vq_code_figures *f = &l->figures;
	VQ_TRY(vq_json_set(o, "name", cJSON_CreateString(l->name)));
	const struct { const char *key; double v; } part[] = {
		{ "size", (double)l->all.size }, { "dim", (double)l->dim }, { "codes", (double)l->all.total }, { "used", (double)f->used }, { "usage", f->usage },
		{ "perplexity", f->perplexity }, { "entropy_bits", f->entropy }, { "raw_bits", f->raw_bits },
	};
	for (size_t i = 0; i < VQ_COUNT(part); i++)
		VQ_TRY(set_number(o, part[i].key, part[i].v));
	if (r->batch)
		VQ_TRY(batches_json(l, r->batch, o));
	VQ_TRY(counts_json(l, o));
	VQ_TRY(neighbours_json(l, (double)r->stats->pixels, o));
	return r->model ? vectors_json(r, l, o) : VQ_OK;
}

/* Puts the comparison of the groups into the finished report. */
static vq_status groups_json(const vq_code_report *r, cJSON *json, bool *few)
{
	cJSON *head = NULL, *level[VQ_CODE_LEVELS_MAX] = { NULL };
	vq_status s = vq_codegroups_report(r->groups, r->stats, r->deals, r->seed, r->threads, &head, level, few);
	for (int i = 0; i < r->stats->nlevels; i++) {
		vq_status t = level[i] ? vq_json_set(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "levels"), i), "difference", level[i]) : VQ_OK;
		s = s < 0 ? s : t;
	}
	vq_status t = head ? vq_json_set(json, "groups", head) : VQ_OK;
	return s < 0 ? s : t;
}

vq_status vq_code_report_json(const vq_code_report *r, cJSON *json, bool *few)
{
	vq_codestats *run = r->stats;
	double bits, raw;
	vq_codestats_bits(run, &bits, &raw);
	VQ_TRY(set_number(json, "n", (double)run->n));
	VQ_TRY(set_number(json, "pixels", (double)run->pixels));
	VQ_TRY(set_number(json, "bits_per_pixel", bits / (double)run->pixels));
	VQ_TRY(set_number(json, "bits_per_pixel_raw", raw / (double)run->pixels));
	VQ_TRY(set_number(json, "skip_bits_per_pixel", (double)run->skip_bits / (double)run->pixels));
	cJSON *levels = list_in(json, "levels");
	if (!levels)
		return VQ_ENOMEM;
	for (int i = 0; i < r->stats->nlevels; i++) {
		cJSON *o = cJSON_CreateObject();
		if (!o || !cJSON_AddItemToArray(levels, o))
			return vq_fail(VQ_ENOMEM, "out of memory for JSON");
		VQ_TRY(level_json(r, &run->levels[i], o));
	}
	*few = false;
	return r->groups ? groups_json(r, json, few) : VQ_OK;
}

/* --- the table of pairs ---------------------------------------------------------------------------------------------- */

const char *const vq_code_pairs_columns[6] = { "level", "side", "code", "neighbour", "count", "lift" };

typedef struct { vq_table *t; const char *level, *side; } pair_rows;

static vq_status pair_row(void *ctx, const vq_code_pair *p)
{
	const pair_rows *r = ctx;
	VQ_TRY(vq_table_text(r->t, r->level));
	VQ_TRY(vq_table_text(r->t, r->side));
	VQ_TRY(vq_table_number(r->t, (double)p->code));
	VQ_TRY(vq_table_number(r->t, (double)p->neighbour));
	VQ_TRY(vq_table_number(r->t, (double)p->count));
	VQ_TRY(vq_table_number(r->t, p->lift));
	return vq_table_row(r->t);
}

vq_status vq_code_pairs_write(const vq_codestats *run, vq_table *t)
{
	vq_status s = VQ_OK;
	for (int i = 0; i < run->nlevels && s == VQ_OK; i++)
		for (int k = 0; k < VQ_SIDES && s == VQ_OK; k++)
			s = vq_neighbours_list(run->levels[i].beside, (vq_side)k, pair_row, &(pair_rows){ t, run->levels[i].name, k == VQ_LEFT ? "left" : "above" });
	if (s == VQ_OK)
		return vq_table_commit(t);
	vq_table_abort(t);
	return s;
}
