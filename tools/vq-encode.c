/* vq-encode: samples or batches -> one code record a cell. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/split.h"
#include "tools/batchrec.h"
#include "tools/cells.h"
#include "tools/calm.h"
#include "tools/cli.h"
#include "tools/codec.h"
#include "tools/coderec.h"
#include "tools/tfidf.h"
#include "tools/window.h"

static const char *model_path, *samples_path, *split_path, *tfidf_path;
static int only, precision;
static bool features, only_given;

static const vq_option options[] = {
	{ .name = "model", .letter = 'm', .type = VQ_OPT_FILE, .value = &model_path, .arg = "MODEL", .help = "The model.safetensors that vq-train wrote. Required." },
	{ .name = "features", .type = VQ_OPT_FLAG, .value = &features, .help = "Also write, for each cell over its own mask, latent_mean and latent_std (a value a latent dimension) and histogram (how often each code occurs; histogram.1, ... of further codebooks)." },
	{ .name = "tf-idf", .type = VQ_OPT_FILE, .value = &tfidf_path, .arg = "CODES", .help = "Also write tfidf: the histogram weighted by how few cells of CODES, a stream made with --features, have each code. Implies --features." },
	{ .name = "only", .type = VQ_OPT_CHOICE, .value = &only, .arg = "PART", .choices = "train|val|test", .help = "Encode only these cells: by the split.csv beside the model, else by their Metadata_Split.", .given = &only_given },
	{ .name = "split", .type = VQ_OPT_FILE, .value = &split_path, .arg = "FILE", .help = "The split.csv that --only follows." },
	{ .name = "precision", .type = VQ_OPT_CHOICE, .value = &precision, .arg = "TYPE", .choices = "f32|bf16", .help = "What to compute in: f32 (default), or bf16, faster where the device has instructions for it; of a hundred codes five to ten are others than in f32." },
	{ .name = "samples", .type = VQ_OPT_FILE, .value = &samples_path, .arg = "FILE", .help = "Also write the samples that were encoded, normalised, as a stream." },
	{ 0 },
};

static const vq_tool tool = {
	.name = "vq-encode", .brief = "cells to codes", .usage = "-m MODEL [options] [STREAM]", .options = options,
	.flags = VQ_CLI_THREADS | VQ_CLI_DEVICE | VQ_CLI_OUTPUT, .max_operands = 1,
};

typedef struct {
	vq_model model;
	codec *codec;
	vq_parts *parts;
	char *split;            /* the table's path */
	vq_sample_reader in;
	bool any;               /* --only found a cell */
	float *idf;             /* [size] of the first level; NULL without --tf-idf */
	vqt_writer *out, *samples;
} encoder;

/* -1: the record does not say. */
static int part_of(const encoder *e, const vqt_record *rec)
{
	char buf[32];
	if (e->parts)
		return vq_parts_find(e->parts, rec->id);
	const char *declared = vq_sample_text(rec->meta, "Metadata_Split", buf);
	return declared ? vq_part_parse(declared) : -1;
}

static vq_status no_part(const encoder *e, const vqt_record *rec)
{
	char buf[32];
	const char *name = vqt_name(e->in.in), *declared = vq_sample_text(rec->meta, "Metadata_Split", buf);
	if (e->parts)
		return vq_fail(VQ_EINVAL, "%s: record %s: %s does not list it", name, rec->id, e->split);
	if (declared)
		return vq_fail(VQ_EINVAL, "%s: record %s: Metadata_Split is \"%.60s\", not train, val or test", name, rec->id, declared);
	return vq_fail(VQ_EINVAL, "%s: record %s: nothing says its part: %s is not there, and it has no Metadata_Split (--split FILE names a table)", name, rec->id, e->split);
}

static int next(void *ctx, vqt_record *rec)
{
	encoder *e = ctx;
	int got;
	while ((got = vq_sample_reader_next(&e->in, rec)) > 0) {
		int part = only_given ? part_of(e, rec) : only;
		if (part == only) {
			e->any = true;
			return 1;
		}
		if (part < 0)
			got = no_part(e, rec);
		vqt_record_free(rec);
		if (got < 0)
			return got;
	}
	return got;
}

static vq_status set_tfidf(vqt_record *out, const int32_t *histogram, const float *idf, int n)
{
	vq_tensor t;
	VQ_TRY(vq_tensor_make(&t, VQ_F32, 1, (int64_t[]){ n }));
	vq_tfidf(histogram, idf, n, t.data);
	return vqt_set(out, "tfidf", &t);
}

/* The sample keeps its metadata only where it is written too. */
static vq_status fill(const encoder *e, vqt_record *in, const vq_cell *c, const cell_codes *k, vqt_record *out)
{
	VQ_TRY(vqt_record_make(out, in->id));
	cJSON *meta = e->samples ? cJSON_Duplicate(in->meta, true) : in->meta;
	if (!meta)
		return vq_fail(VQ_ENOMEM, "out of memory");
	if (e->samples)
		cJSON_Delete(out->meta);
	else
		in->meta = out->meta;
	out->meta = meta;
	VQ_TRY(vq_coderec_set(&e->model.info, c, k, features, out));
	return e->idf ? set_tfidf(out, k->histogram[0], e->idf, e->model.info.level[0].size) : VQ_OK;
}

static vq_status encode(encoder *e, int worker, vqt_record *in, vqt_record *out)
{
	vq_cell cell;
	cell_codes k = {0};
	VQ_TRY(vq_cell_normalize(in, &e->model.norm));
	VQ_TRY(vq_cell_make(in, e->model.channels, vq_extent_of(&e->model.info), features, &cell));
	vq_status s = codec_encode(e->codec, worker, &cell, features, &k);
	if (s == VQ_OK)
		s = fill(e, in, &cell, &k, out);
	if (s < 0)
		vq_context(s, "record %s", in->id);
	vq_cell_drop(&cell);
	cell_codes_free(&k);
	return s;
}

static vq_status work(void *ctx, int worker, vqt_record *in, vqt_record *out)
{
	encoder *e = ctx;
	vq_status s = encode(e, worker, in, out);
	return s < 0 ? vq_context(s, "%s", vqt_name(e->in.in)) : s;
}

static vq_status put(void *ctx, vqt_record *in, vqt_record *out)
{
	encoder *e = ctx;
	if (e->samples)
		VQ_TRY(vqt_put(e->samples, in));
	return vqt_put(e->out, out);
}

static void open_split(encoder *e)
{
	const char *slash = strrchr(model_path, '/');
	if (split_path)
		e->split = vq_strdup(split_path);
	else
		e->split = slash ? vq_format("%.*s/split.csv", (int)(slash - model_path), model_path) : vq_strdup("split.csv");
	if (!e->split || ((split_path || !access(e->split, F_OK)) && vq_parts_read(&e->parts, e->split) < 0))
		vq_die(NULL);
}

/* Read before the cells: a stream cannot be counted and weighted in one pass. */
static void read_idf(encoder *e, const char *stream)
{
	char book[17];
	if (!tfidf_path)
		return;
	if (!strcmp(tfidf_path, "-") && !strcmp(stream, "-"))
		vq_misuse("the stream and --tf-idf cannot both be standard input");
	features = true;
	if (vq_idf_read(&e->idf, tfidf_path, e->model.info.level[0].size, vq_model_codebook(&e->model, 0, book) ? book : NULL) < 0)
		vq_die(NULL);
}

static char *list_of(const cJSON *names)
{
	const cJSON *c;
	vq_buf b = {0};
	cJSON_ArrayForEach(c, names)
		if (vq_buf_fmt(&b, "%s%s", b.len ? ", " : "", cJSON_IsString(c) ? c->valuestring : "?") < 0)
			vq_die(NULL);
	return b.data;
}

/* Numbers of other channels, or of the same in another order, would come out as codes all the same. */
static void check_channels(const encoder *e)
{
	const cJSON *have = cJSON_GetObjectItemCaseSensitive(vqt_header(e->in.in), "channels");
	if (cJSON_GetArraySize(have) != cJSON_GetArraySize(e->model.names) || !cJSON_GetArraySize(have) || cJSON_Compare(have, e->model.names, true))
		return; /* another number is told with the record's id */
	vq_die("%s: channels %s; the model was trained on %s (vq-crop --channels OUT=IN,... names and orders them)", vqt_name(e->in.in), list_of(have), list_of(e->model.names));
}

/* Of the metadata, what normalising, padding and --only look at; the rest is passed on as it came. */
static void look_at(encoder *e)
{
	static char keys[128];
	snprintf(keys, sizeof keys, "channels|extent|items|normalize|pad|pad_mode|shapes|size%s%s", strcmp(e->model.norm.scope, "field") ? "" : "|field_stats", only_given ? "|metadata" : "");
	vqt_look_at(e->in.in, keys);
}

/* The command's arguments for the chain, which names no outputs. */
static cJSON *chain_args(void)
{
	cJSON *args = vq_cli_args();
	for (int i = 0; samples_path && i + 1 < cJSON_GetArraySize(args); i++)
		if (!strcmp(cJSON_GetArrayItem(args, i)->valuestring, "--samples")) {
			cJSON_DeleteItemFromArray(args, i);
			cJSON_DeleteItemFromArray(args, i);
			break;
		}
	return args;
}

/* Ends with the message of the failure; unfinished files go. */
static _Noreturn void abandon(encoder *e)
{
	vqt_abort(e->out);
	vqt_abort(e->samples);
	vq_die(NULL);
}

static void open_outputs(encoder *e)
{
	cJSON *header = cJSON_Duplicate(vqt_header(e->in.in), true), *model = vq_model_header(&e->model, codec_device(e->codec), codec_isa(e->codec), precision ? "bf16" : "f32");
	vqt_options o = { .threads = vq_cli.threads };
	if (!header || !model || vqt_header_chain(header, "vq-encode", chain_args()) < 0 || vq_json_set(header, "kind", cJSON_CreateString("samples")) < 0 ||
	    (samples_path && vqt_create(&e->samples, samples_path, header, &o) < 0))
		vq_die(NULL);
	if (vq_json_set(header, "kind", cJSON_CreateString("codes")) < 0 || vq_json_set(header, "model", model) < 0 ||
	    vqt_create(&e->out, vq_cli.output, header, &o) < 0)
		abandon(e);
	cJSON_Delete(header);
}

int main(int argc, char **argv)
{
	vq_calm(argv);
	vq_keep_memory();
	static const char *const device[] = { "auto", "cpu", "cuda" };
	vq_strings operands;
	encoder e = {0};
	vq_cli_parse(&tool, argc, argv, &operands);
	if (!model_path)
		vq_misuse("-m MODEL is required");
	if (samples_path && !strcmp(samples_path, vq_cli.output ? vq_cli.output : "-"))
		vq_misuse("--samples and --output are the same: %s", strcmp(samples_path, "-") ? samples_path : "standard output");
	if (vq_model_load(&e.model, model_path) < 0)
		vq_die(NULL);
	read_idf(&e, operands.n ? operands.v[0] : "-");
	if (only_given)
		open_split(&e);
	if (vq_sample_reader_open(&e.in, operands.n ? operands.v[0] : NULL) < 0 || codec_open(&e.codec, &e.model, device[vq_cli.device], vq_cli.threads, precision ? CODEC_ENCODE_BF16 : CODEC_ENCODE) < 0)
		vq_die(NULL);
	if (*codec_instead(e.codec))
		vq_info("computing on the CPU: %s", codec_instead(e.codec));
	check_channels(&e);
	look_at(&e);
	open_outputs(&e);
	vq_window_job job = { vq_cli.threads, next, work, put, &e };
	if (vq_window_run(&job) < 0)
		abandon(&e);
	if (vqt_warning(e.in.in))
		vq_warn("%s", vqt_warning(e.in.in));
	if (!e.any && vqt_count(e.in.in))
		vq_warn("%s: no cell of the %s part, by %s", vqt_name(e.in.in), vq_part_name((vq_part)only), e.parts ? e.split : "Metadata_Split");
	vq_sample_reader_close(&e.in);
	vqt_writer *out = e.out;
	e.out = NULL;
	if (vqt_finish(out) < 0)
		abandon(&e);
	if (e.samples && vqt_finish(e.samples) < 0)
		vq_die(NULL);
	codec_close(e.codec);
	vq_parts_free(e.parts);
	free(e.split);
	free(e.idf);
	vq_model_free(&e.model);
	return vq_cli_end(0);
}
