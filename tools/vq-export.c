/* vq-export: a stream as numpy arrays, a table, or pictures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/npy.h"
#include "lib/eval/names.h"
#include "tools/cli.h"
#include "tools/export.h"

static struct { bool npy, npz, csv, h5ad, tiff, png; const char *tensor, *channel, *model, *root; } opt;

static const vq_option options[] = {
	{ "npy", 0, VQ_OPT_FLAG, &opt.npy, NULL, "One array of all records stacked, [N,...]; shapes that differ are an error." },
	{ "npz", 0, VQ_OPT_FLAG, &opt.npz, NULL, "An archive with an array a record and tensor, named ID/TENSOR." },
	{ "csv", 0, VQ_OPT_FLAG, &opt.csv, NULL, "A table, one row a cell: id, place, size, raw measurements, field statistics, Metadata_* columns." },
	{ "h5ad", 0, VQ_OPT_FLAG, &opt.h5ad, NULL, "A file for anndata and scanpy: features, metadata, histograms of codes, principal components." },
	{ "tiff", 0, VQ_OPT_FLAG, &opt.tiff, NULL, "A directory with a 16-bit OME-TIFF a field: the source, with the records put back at their cells' own pixels." },
	{ "png", 0, VQ_OPT_FLAG, &opt.png, NULL, "A directory with a picture a record: true size, one channel grey, several in colours." },
	{ "tensor", 0, VQ_OPT_STRING, &opt.tensor, "NAME",
	  "With --npy and --npz: this tensor only (default with --npy: image, or the only tensor there is; with --npz: all)." },
	{ "channel", 0, VQ_OPT_STRING, &opt.channel, "NAME", "With --png: this channel alone, grey." },
	{ "model", 'm', VQ_OPT_FILE, &opt.model, "MODEL", "With --h5ad: the model that made the codes, whose codebook goes into uns." },
	{ "path-root", 0, VQ_OPT_FILE, &opt.root, "DIR", "With --tiff: where relative names of source files begin (default: here)." },
	{ 0 },
};

static const vq_tool tool = { "vq-export", "write a stream as .npy, .npz, .csv, .h5ad, TIFF or PNG files", "--npy|--npz|--csv|--h5ad|--tiff|--png -o PATH [options] [STREAM]",
	                          options, VQ_CLI_OUTPUT, 0, 1 };

/* The target: one of these is in use. */
static struct { vq_npy_stack *npy; vq_npz *npz; vq_table *csv; vq_export_h5ad *h5ad; vq_export_tiff *tiff; bool png, made; } to;

static vq_status open_target(void)
{
	if (opt.npy)
		return vq_npy_stack_open(&to.npy, vq_cli.output);
	if (opt.npz)
		return vq_npz_open(&to.npz, vq_cli.output);
	if (opt.h5ad)
		return vq_export_h5ad_open(&to.h5ad, vq_cli.output, opt.model);
	if (opt.tiff)
		return vq_export_tiff_open(&to.tiff, vq_cli.output, opt.root);
	if (opt.csv)
		return vq_export_csv_open(&to.csv, vq_cli.output);
	VQ_TRY(vq_export_dir_open(vq_cli.output, &to.made));
	to.png = true;
	return VQ_OK;
}

static void abort_target(void)
{
	vq_npy_stack_abort(to.npy);
	vq_npz_abort(to.npz);
	vq_table_abort(to.csv);
	vq_export_h5ad_abort(to.h5ad);
	vq_export_tiff_abort(to.tiff);
	if (to.png)
		vq_export_dir_abort(vq_cli.output, ".png", to.made);
}

static vq_status commit_target(void)
{
	vq_status s = VQ_OK;
	if (to.npy)
		s = vq_npy_stack_commit(to.npy);
	else if (to.npz)
		s = vq_npz_commit(to.npz);
	else if (to.csv)
		s = vq_table_commit(to.csv);
	else if (to.h5ad)
		s = vq_export_h5ad_commit(to.h5ad);
	else if (to.tiff)
		s = vq_export_tiff_commit(to.tiff);
	to.h5ad = NULL;
	to.tiff = NULL;
	to.npy = NULL;
	to.npz = NULL;
	to.csv = NULL;
	return s;
}

static vq_status no_tensor(const vqt_record *rec, const char *name)
{
	int best = 0;
	for (int i = 1; i < rec->n; i++)
		if (vq_distance(name, rec->entry[i].name) < vq_distance(name, rec->entry[best].name))
			best = i;
	return vq_fail(VQ_EINVAL, "record %s has no tensor %s%s%s", rec->id, name, rec->n ? "; the nearest is " : "", rec->n ? rec->entry[best].name : "");
}

/* The tensor that --npy stacks. */
static vq_status choose(const vqt_record *rec, const vq_tensor **out)
{
	const char *name = opt.tensor ? opt.tensor : rec->n == 1 ? rec->entry[0].name : "image";
	if ((*out = vqt_get(rec, name)))
		return VQ_OK;
	if (opt.tensor)
		return no_tensor(rec, name);
	return vq_fail(VQ_EINVAL, "record %s has %d tensors: --tensor NAME says which, or --npz takes them all", rec->id, rec->n);
}

static vq_status put_npy(const vqt_record *rec)
{
	const vq_tensor *t;
	VQ_TRY(choose(rec, &t));
	vq_status s = vq_npy_stack_put(to.npy, t);
	if (s == VQ_EINVAL) /* unlike the first: the words say how */
		return vq_fail(s, "record %s %s: --npz takes arrays that differ", rec->id, vq_message());
	return s;
}

static vq_status put_npz(const vqt_record *rec)
{
	if (opt.tensor && !vqt_get(rec, opt.tensor))
		return no_tensor(rec, opt.tensor);
	for (int i = 0; i < rec->n; i++) {
		if (opt.tensor && strcmp(opt.tensor, rec->entry[i].name))
			continue;
		char *name = vq_format("%s/%s", rec->id, rec->entry[i].name);
		vq_status s = name ? vq_npz_put(to.npz, name, &rec->entry[i].t) : VQ_ENOMEM;
		free(name);
		VQ_TRY(s);
	}
	return VQ_OK;
}

/* Tables tell fields by a number. Where the first cell has none, the fields are counted as they come, all of them: numbers of a table that comes
 * later would meet those that are counted. */
static vq_status number_field(vqt_record *rec)
{
	static vq_names fields;
	static bool known, own;
	size_t at;
	char buf[32], given[32];
	const char *field = vq_sample_text(rec->meta, "field", buf), *number = vq_sample_text(rec->meta, "Metadata_ImageNumber", given);
	if (!known)
		own = number && *number;
	known = true;
	if (own || !field)
		return VQ_OK;
	VQ_TRY(vq_names_find(&fields, field, &at));
	snprintf(buf, sizeof buf, "%zu", at + 1);
	if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(rec->meta, "metadata")))
		VQ_TRY(vq_json_set(rec->meta, "metadata", cJSON_CreateObject()));
	return vq_json_set(cJSON_GetObjectItemCaseSensitive(rec->meta, "metadata"), "Metadata_ImageNumber", cJSON_CreateString(buf));
}

static vq_status put(vqt_record *rec, const cJSON *header)
{
	if (opt.csv || opt.h5ad)
		VQ_TRY(number_field(rec));
	if (opt.npy)
		return put_npy(rec);
	if (opt.npz)
		return put_npz(rec);
	if (opt.h5ad)
		return vq_export_h5ad_put(to.h5ad, rec, header);
	if (opt.tiff)
		return vq_export_tiff_put(to.tiff, rec, header);
	vq_status s = opt.csv ? vq_export_csv_row(to.csv, rec, header) : vq_export_png_put(vq_cli.output, rec, header, opt.channel);
	return s == VQ_EFORMAT ? vq_context(s, "record %s", rec->id) : s;
}

static vq_status check_kind(vqt_reader *r)
{
	const char *kind = vqt_header_kind(vqt_header(r));
	if (!strcmp(kind, "batches"))
		return vq_fail(VQ_EINVAL, "%s: a stream of batches: undo them with vq-batch --split", vqt_name(r));
	if ((opt.png || opt.tiff) && strcmp(kind, "samples"))
		return vq_fail(VQ_EINVAL, "%s: a stream of %s has no pixels: vq-decode makes them", vqt_name(r), kind);
	return VQ_OK;
}

static vq_status export_stream(const char *path)
{
	vqt_reader *r;
	vqt_record rec;
	int got = 0;
	VQ_TRY(vqt_open(&r, path, NULL, NULL));
	vq_status s = check_kind(r);
	if (s == VQ_OK)
		s = open_target();
	while (s == VQ_OK && (got = vqt_next(r, &rec)) > 0) {
		s = put(&rec, vqt_header(r));
		vqt_record_free(&rec);
	}
	if (s == VQ_OK && got < 0)
		s = got;
	if (s == VQ_OK && vqt_warning(r))
		vq_warn("%s", vqt_warning(r));
	if (s == VQ_OK && (opt.npy || opt.h5ad) && !vqt_count(r))
		s = vq_fail(VQ_EINVAL, "%s: no records: an array of none has no shape", vqt_name(r));
	vqt_close(r);
	if (s == VQ_OK)
		s = commit_target();
	else
		abort_target();
	return s;
}

int main(int argc, char **argv)
{
	vq_strings operands;
	vq_cli_parse(&tool, argc, argv, &operands);
	int targets = opt.npy + opt.npz + opt.csv + opt.h5ad + opt.tiff + opt.png;
	if (targets != 1)
		vq_misuse("one of --npy, --npz, --csv, --h5ad, --tiff, --png is needed%s", targets ? ", and only one" : "");
	if (!vq_cli.output)
		vq_misuse("-o PATH is needed");
	if (opt.tensor && !opt.npy && !opt.npz)
		vq_misuse("--tensor goes with --npy or --npz");
	if (opt.channel && !opt.png)
		vq_misuse("--channel goes with --png");
	if (opt.model && !opt.h5ad)
		vq_misuse("-m MODEL goes with --h5ad");
	if (opt.h5ad && !strcmp(vq_cli.output, "-"))
		vq_misuse("--h5ad writes a file, not to standard output");
	if (opt.root && !opt.tiff)
		vq_misuse("--path-root goes with --tiff");
	if ((opt.png || opt.tiff) && !strcmp(vq_cli.output, "-"))
		vq_misuse("--%s writes a directory, not to standard output", opt.png ? "png" : "tiff");
	if (export_stream(operands.n ? operands.v[0] : NULL) < 0)
		vq_die(NULL);
	return vq_cli_end(0);
}
