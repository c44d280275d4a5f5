/* vq-codebook-stats: how much of each codebook a stream of codes uses, and what the codes cost, as JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/outfile.h"
#include "formats/safetensors.h"
#include "tools/cli.h"
#include "tools/coded.h"
#include "tools/codestats.h"

static struct { const char *model; int64_t batch; } opt;
static const char *tables, *stream = "-";
static vq_codestats run;

static const vq_option options[] = {
	{ "model", 'm', VQ_OPT_FILE, &opt.model, "MODEL",
	  "The model that made the codes: adds the norms of its codebook vectors and the distances between them." },
	{ "batch-size", 0, VQ_OPT_INT, &opt.batch, "N",
	  "Also give the perplexity of every N records in a row, as papers report it for training batches.", .lo = 1, .hi = 1e9 },
	{ "tables", 0, VQ_OPT_FILE, &tables, "CODES",
	  "Also code the stream's codes as bytes, with tables counted over these (those of the training cells), and give the sizes. STREAM must be a file." },
	{ 0 },
};

static const vq_tool tool = { "vq-codebook-stats",
	"usage, perplexity, entropy and dead codes of a codebook, and bits per pixel", "[options] [STREAM]",
	options, VQ_CLI_THREADS | VQ_CLI_OUTPUT, 0, 1 };

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
	vq_tensor t = {0};
	if (!l->tensor)
		return vq_fail(VQ_EFORMAT, "the code stream's header does not say which tensor of the model holds the vectors of %s", l->name);
	VQ_TRY(vq_st_f32(model, l->tensor, 2, shape, &t));
	double *norms = vq_malloc(2 * (size_t)size * sizeof *norms), *nearest = norms ? norms + size : NULL;
	vq_status s = norms ? vq_codebook_distances(t.data, size, l->dim, vq_cli.threads, norms, nearest, &pair[0], &pair[1]) : VQ_ENOMEM;
	if (s < 0)
		vq_context(s, "%s: %s", opt.model, l->tensor);
	else if ((s = vq_json_set(o, "norms", vq_json_doubles(norms, (int)size))) == VQ_OK &&
	         (s = vq_json_set(o, "nearest", vq_json_doubles(nearest, (int)size))) == VQ_OK &&
	         (s = set_number(o, "min_distance", size > 1 ? nearest[pair[0]] : NAN)) == VQ_OK && size > 1)
		s = vq_json_set(o, "closest", vq_json_doubles((double[]){ (double)pair[0], (double)pair[1] }, 2));
	free(norms);
	vq_tensor_free(&t);
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
	return model ? vectors_json(l, model, o) : VQ_OK;
}

static vq_status build_json(cJSON *json, vq_st *model)
{
	double bits = (double)run.skip_bits, raw = bits;
	for (int i = 0; i < run.nlevels; i++) {
		const vq_level_stats *l = &run.levels[i];
		bits += l->figures.entropy * (double)l->all.total;
		raw += l->figures.raw_bits * (double)l->all.total;
	}
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
	return VQ_OK;
}

static vq_status report(vq_st *model)
{
	cJSON *json = cJSON_CreateObject(), *sizes = NULL;
	vq_status s = json ? build_json(json, model) : vq_fail(VQ_ENOMEM, "out of memory for JSON");
	if (s == VQ_OK && tables && (s = vq_coded(stream, tables, &run, &sizes)) == VQ_OK)
		s = vq_json_set(json, "coded", sizes);
	char *text = s == VQ_OK ? cJSON_Print(json) : NULL, *line = text ? vq_format("%s\n", text) : NULL;
	if (s == VQ_OK)
		s = line ? vq_out_write(vq_cli.output, line, strlen(line)) : vq_fail(VQ_ENOMEM, "out of memory for JSON");
	free(line);
	cJSON_free(text);
	cJSON_Delete(json);
	return s;
}

static vq_status read_stream(const char *path)
{
	vqt_reader *in;
	VQ_TRY(vqt_open(&in, path, NULL, NULL));
	vq_status s = vq_codestats_read(&run, in, (uint64_t)opt.batch);
	if (s == VQ_OK && vqt_warning(in))
		vq_warn("%s", vqt_warning(in));
	vqt_close(in);
	return s;
}

int main(int argc, char **argv)
{
	vq_strings operands;
	vq_cli_parse(&tool, argc, argv, &operands);
	if (operands.n)
		stream = operands.v[0];
	if (tables && !strcmp(stream, "-"))
		vq_misuse("--tables reads the stream twice: name a file");
	vq_st *model = NULL; /* opened first: a wrong name is told before a long stream is read */
	vq_status s = opt.model ? vq_st_open(&model, opt.model) : VQ_OK;
	if (s == VQ_OK)
		s = read_stream(stream);
	if (s == VQ_OK)
		s = report(model);
	vq_st_close(model);
	vq_codestats_free(&run);
	if (s < 0)
		vq_die(NULL);
	return vq_cli_end(0);
}
