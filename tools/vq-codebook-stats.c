/* vq-codebook-stats: how much of each codebook a stream of codes uses, and what the codes cost, as JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/outfile.h"
#include "formats/safetensors.h"
#include "formats/table.h"
#include "tools/cli.h"
#include "tools/codegroups.h"

static struct { const char *model, *group_by, *units, *pairs; int64_t batch, permutations; bool permutations_given; } opt = { .permutations = 999 };
static vq_codestats run = { .neighbours = true };
static vq_codegroups *groups;

static const vq_option options[] = {
	{ "model", 'm', VQ_OPT_FILE, &opt.model, "MODEL",
	  "The model that made the codes: adds the norms of its codebook vectors and the distances between them." },
	{ "batch-size", 0, VQ_OPT_INT, &opt.batch, "N",
	  "Also give the perplexity of every N records in a row, as papers report it for training batches.", .lo = 1, .hi = 1e9 },
	{ "group-by", 0, VQ_OPT_STRING, &opt.group_by, "COLUMNS",
	  "Also compare the groups that metadata columns make: the codes that each uses, and a test whether they differ." },
	{ "units", 0, VQ_OPT_STRING, &opt.units, "COLUMNS",
	  "With --group-by: what the test takes for independent: the values of columns, or cell (default: Metadata_Group or well, field, or cell, the first that has several in a group)." },
	{ "permutations", 0, VQ_OPT_INT, &opt.permutations, "N", "With --group-by: how often the groups are dealt out at random (default 999).",
	  .lo = 0, .hi = 1e7, .given = &opt.permutations_given },
	{ "pairs", 0, VQ_OPT_FILE, &opt.pairs, "FILE.csv", "Also write how often each code has each other one to its left, and above it." },
	{ 0 },
};

static const vq_tool tool = { "vq-codebook-stats",
	"usage, perplexity, entropy and neighbours of codes, groups compared, and bits per pixel", "[options] [STREAM]",
	options, VQ_CLI_THREADS | VQ_CLI_SEED | VQ_CLI_OUTPUT, 0, 1 };

/* --- JSON ------------------------------------------------------------------------------------------------------------ */

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

static vq_status batches_json(vq_level_stats *l, cJSON *o)
{
	vq_figures f;
	VQ_TRY(vq_summary_get(&l->perplexity, &f));
	cJSON *b = cJSON_CreateObject();
	VQ_TRY(vq_json_set(o, "batch_perplexity", b));
	const struct { const char *key; double v; } part[] = {
		{ "batch_size", (double)opt.batch }, { "batches", (double)f.n }, { "mean", f.mean }, { "std", f.std }, { "min", f.min }, { "max", f.max },
	};
	for (size_t i = 0; i < VQ_COUNT(part); i++)
		VQ_TRY(set_number(b, part[i].key, part[i].v));
	return VQ_OK;
}

static vq_status vectors_json(const vq_level_stats *l, vq_st *model, cJSON *o)
{
	const int64_t size = l->all.size, shape[2] = { size, l->dim };
	int64_t pair[2];
	double mean, most;
	vq_tensor t = {0};
	if (!l->tensor)
		return vq_fail(VQ_EFORMAT, "the code stream's header does not say which tensor of the model holds the vectors of %s", l->name);
	VQ_TRY(vq_st_f32(model, l->tensor, 2, shape, &t));
	double *norms = vq_malloc(2 * (size_t)size * sizeof *norms), *nearest = norms ? norms + size : NULL;
	vq_status s = norms ? vq_codebook_distances(t.data, size, l->dim, vq_cli.threads, norms, nearest, &pair[0], &pair[1], &mean, &most) : VQ_ENOMEM;
	if (s < 0)
		vq_context(s, "%s: %s", opt.model, l->tensor);
	else if ((s = vq_json_set(o, "norms", vq_json_doubles(norms, (int)size))) == VQ_OK &&
	         (s = vq_json_set(o, "nearest", vq_json_doubles(nearest, (int)size))) == VQ_OK &&
	         (s = set_number(o, "mean_distance", mean)) == VQ_OK && (s = set_number(o, "max_distance", most)) == VQ_OK &&
	         (s = set_number(o, "min_distance", size > 1 ? nearest[pair[0]] : NAN)) == VQ_OK && size > 1)
		s = vq_json_set(o, "closest", vq_json_doubles((double[]){ (double)pair[0], (double)pair[1] }, 2));
	free(norms);
	vq_tensor_free(&t);
	return s;
}

static vq_status neighbours_json(const vq_level_stats *l, cJSON *level)
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
		VQ_TRY(set_number(side, "saved_bits_per_pixel", (f.adaptive - f.side[k].adaptive) * (double)f.codes / (double)run.pixels));
	}
	return VQ_OK;
}

/* --- the table of pairs ---------------------------------------------------------------------------------------------- */

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

static vq_status write_pairs(vq_table *t)
{
	vq_status s = VQ_OK;
	for (int i = 0; i < run.nlevels && s == VQ_OK; i++)
		for (int k = 0; k < VQ_SIDES && s == VQ_OK; k++)
			s = vq_neighbours_list(run.levels[i].beside, (vq_side)k, pair_row, &(pair_rows){ t, run.levels[i].name, k == VQ_LEFT ? "left" : "above" });
	if (s == VQ_OK)
		return vq_table_commit(t);
	vq_table_abort(t);
	return s;
}

static vq_status level_json(vq_level_stats *l, vq_st *model, cJSON *o)
{
	const vq_code_figures *f = &l->figures;
	VQ_TRY(vq_json_set(o, "name", cJSON_CreateString(l->name)));
	const struct { const char *key; double v; } part[] = {
		{ "size", (double)l->all.size }, { "dim", (double)l->dim }, { "codes", (double)l->all.total }, { "used", (double)f->used }, { "usage", f->usage },
		{ "perplexity", f->perplexity }, { "entropy_bits", f->entropy }, { "raw_bits", f->raw_bits },
	};
	for (size_t i = 0; i < VQ_COUNT(part); i++)
		VQ_TRY(set_number(o, part[i].key, part[i].v));
	if (opt.batch)
		VQ_TRY(batches_json(l, o));
	VQ_TRY(counts_json(l, o));
	VQ_TRY(neighbours_json(l, o));
	return model ? vectors_json(l, model, o) : VQ_OK;
}

/* Puts the comparison of the groups into the finished report. */
static vq_status groups_json(cJSON *json)
{
	cJSON *head = NULL, *level[VQ_CODE_LEVELS_MAX] = { NULL };
	bool few;
	vq_status s = vq_codegroups_report(groups, &run, (int)opt.permutations, vq_cli.seed, vq_cli.threads, &head, level, &few);
	for (int i = 0; i < run.nlevels; i++) {
		vq_status t = level[i] ? vq_json_set(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "levels"), i), "difference", level[i]) : VQ_OK;
		s = s < 0 ? s : t;
	}
	if (s == VQ_OK && few)
		vq_warn("no more units than groups: what groups do and what units do cannot be told apart, no test");
	vq_status t = head ? vq_json_set(json, "groups", head) : VQ_OK;
	return s < 0 ? s : t;
}

static vq_status build_json(cJSON *json, vq_st *model)
{
	double bits, raw;
	vq_codestats_bits(&run, &bits, &raw);
	VQ_TRY(set_number(json, "n", (double)run.n));
	VQ_TRY(set_number(json, "pixels", (double)run.pixels));
	VQ_TRY(set_number(json, "bits_per_pixel", bits / (double)run.pixels));
	VQ_TRY(set_number(json, "bits_per_pixel_raw", raw / (double)run.pixels));
	VQ_TRY(set_number(json, "skip_bits_per_pixel", (double)run.skip_bits / (double)run.pixels));
	cJSON *levels = list_in(json, "levels");
	if (!levels)
		return VQ_ENOMEM;
	for (int i = 0; i < run.nlevels; i++) {
		cJSON *o = cJSON_CreateObject();
		if (!o || !cJSON_AddItemToArray(levels, o))
			return vq_fail(VQ_ENOMEM, "out of memory for JSON");
		VQ_TRY(level_json(&run.levels[i], model, o));
	}
	return groups ? groups_json(json) : VQ_OK;
}

static vq_status report(vq_st *model, vq_table *pairs)
{
	cJSON *json = cJSON_CreateObject();
	vq_status s = json ? build_json(json, model) : vq_fail(VQ_ENOMEM, "out of memory for JSON");
	char *text = s == VQ_OK ? cJSON_Print(json) : NULL, *line = text ? vq_format("%s\n", text) : NULL;
	if (pairs && s == VQ_OK)
		s = write_pairs(pairs);
	else
		vq_table_abort(pairs);
	if (s == VQ_OK)
		s = line ? vq_out_write(vq_cli.output, line, strlen(line)) : vq_fail(VQ_ENOMEM, "out of memory for JSON");
	free(line);
	cJSON_free(text);
	cJSON_Delete(json);
	return s;
}

static vq_status take(const vqt_record *r)
{
	VQ_TRY(vq_codestats_add(&run, r));
	return groups ? vq_codegroups_add(groups, &run, r) : VQ_OK;
}

static vq_status take_all(vqt_reader *in)
{
	vqt_record r;
	int got;
	vq_status s = vq_codestats_begin(&run, vqt_header(in), (uint64_t)opt.batch);
	if (s < 0)
		return vq_context(s, "%s", vqt_name(in));
	while ((got = vqt_next(in, &r)) > 0) {
		if ((s = take(&r)) < 0)
			vq_context(strncmp(vq_message(), "record ", 7) ? vq_context(s, "record %s", r.id) : s, "%s", vqt_name(in));
		vqt_record_free(&r);
		VQ_TRY(s);
	}
	VQ_TRY(got);
	return run.n ? vq_codestats_end(&run) : vq_fail(VQ_EINVAL, "%s holds no record", vqt_name(in));
}

static vq_status read_stream(const char *path)
{
	vqt_reader *in;
	VQ_TRY(vqt_open(&in, path, NULL, NULL));
	vq_status s = take_all(in);
	if (s == VQ_OK && vqt_warning(in))
		vq_warn("%s", vqt_warning(in));
	vqt_close(in);
	return s;
}

static void check_options(void)
{
	if ((opt.units || opt.permutations_given) && !opt.group_by)
		vq_misuse("--%s goes with --group-by", opt.units ? "units" : "permutations");
	if (opt.pairs && !strcmp(opt.pairs, "-") && (!vq_cli.output || !strcmp(vq_cli.output, "-")))
		vq_misuse("--pairs - and the JSON cannot both go to standard output (-o FILE)");
}

int main(int argc, char **argv)
{
	static const char *const columns[] = { "level", "side", "code", "neighbour", "count", "lift" };
	vq_strings operands;
	vq_table *pairs = NULL;
	vq_st *model = NULL; /* opened first: a wrong name is told before a long stream is read */
	vq_cli_parse(&tool, argc, argv, &operands);
	check_options();
	vq_status s = opt.model ? vq_st_open(&model, opt.model) : VQ_OK;
	if (s == VQ_OK && opt.group_by)
		s = vq_codegroups_open(&groups, opt.group_by, opt.units);
	if (s == VQ_OK && opt.pairs)
		s = vq_table_open(&pairs, opt.pairs, columns, (int)VQ_COUNT(columns));
	if (s == VQ_OK && (s = read_stream(operands.n ? operands.v[0] : "-")) == VQ_OK)
		s = report(model, pairs);
	else
		vq_table_abort(pairs);
	vq_st_close(model);
	vq_codegroups_close(groups);
	vq_codestats_free(&run);
	if (s < 0)
		vq_die(NULL);
	return vq_cli_end(0);
}
