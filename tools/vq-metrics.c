/* vq-metrics: how close a stream of reconstructions is to its reference, as JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/outfile.h"
#include "formats/split.h"
#include "tools/cli.h"
#include "tools/rate.h"
#include "tools/scorer.h"
#include "tools/scoretable.h"

static struct {
	const char *reference, *per_record, *codes, *group_by;
	double range, confidence;
	int64_t resamples;
	bool subset, grey, range_given, confidence_given;
} opt = { .range = 2, .confidence = 95 };

static const vq_option options[] = {
	{ "reference", 0, VQ_OPT_FILE, &opt.reference, "REF",
	  "The samples to compare with: a file, in any order, or - or a pipe in the stream's order (required)." },
	{ "range", 0, VQ_OPT_REAL, &opt.range, "R", "Range of the data for PSNR and SSIM: 2 for [-1,1] (default), 65535 for 16-bit grey levels.",
	  .lo = 1e-100, .hi = 1e100, .given = &opt.range_given },
	{ "grey", 0, VQ_OPT_FLAG, &opt.grey, NULL,
	  "Compare in grey levels: undo the recorded normalisation of either side, so that a raw reference will do; the range is then that of the raw pixels' type." },
	{ "subset", 0, VQ_OPT_FLAG, &opt.subset, NULL, "Allow reference records (and codes) that the stream lacks." },
	{ "per-record", 0, VQ_OPT_FILE, &opt.per_record, "FILE.csv",
	  "Also write a table with a row a record: id, size, every metric, and the record's Metadata_* columns." },
	{ "codes", 0, VQ_OPT_FILE, &opt.codes, "CODES", "The codes that the stream was decoded from, in its order: adds bits per pixel." },
	{ "bootstrap", 0, VQ_OPT_INT, &opt.resamples, "N",
	  "Also give each mean a confidence interval, from N resamples of the groups (1000 is usual).", .lo = 2, .hi = 1e6 },
	{ "group-by", 0, VQ_OPT_STRING, &opt.group_by, "COLUMNS",
	  "With --bootstrap: metadata columns whose values make a group, or cell (default: Metadata_Group, else plate and well, else the field)." },
	{ "confidence", 0, VQ_OPT_REAL, &opt.confidence, "PERCENT", "With --bootstrap: how much the intervals hold (default 95).", .lo = 1, .hi = 99.99, .given = &opt.confidence_given },
	{ 0 },
};

static const vq_tool tool = { "vq-metrics",
	"compare reconstructions with their reference: MSE, PSNR, SSIM, Pearson, grey levels", "--reference REF [options] [STREAM]",
	options, VQ_CLI_THREADS | VQ_CLI_DEVICE | VQ_CLI_SEED | VQ_CLI_OUTPUT, 0, 1 };

/* A few pairs are read, scored side by side, and added in order. */
enum { JOBS = 256, JOBS_BYTES = 64 << 20 /* with this much at hand no further pair is read before it is done */, FEW_GROUPS = 10 };

static struct {
	vq_pairs *pairs;
	vq_table *table;
	vq_rate *rate;
	vq_totals totals;
	vq_scorer scorer;
	vq_scored jobs[JOBS];
	int njobs;
	size_t held; /* bytes of their tensors */
	bool ended;
} run;

/* --- the loop -------------------------------------------------------------------------------------------------------- */

/* Grey levels against a range of 2, say, give numbers that mean nothing. */
static void check_range(const vqt_record *r)
{
	vq_norm n;
	if (opt.range_given || opt.grey || vq_norm_get(r->meta, &n) < 0 || n.method == VQ_NORM_ROBUST || n.method == VQ_NORM_MINMAX)
		return;
	char *how = vq_norm_describe(&n);
	vq_warn("the pixels are %s, not within [-1,1]: PSNR and SSIM need their --range", how ? how : vq_norm_name(n.method));
	free(how);
}

static size_t record_bytes(const vqt_record *r)
{
	size_t sum = 0, bytes;
	for (int i = 0; i < r->n; i++)
		sum += vq_tensor_bytes(&r->entry[i].t, &bytes) < 0 ? 0 : bytes;
	return sum;
}

static vq_status read_jobs(void)
{
	run.held = 0;
	for (run.njobs = 0; run.njobs < JOBS && run.held < JOBS_BYTES; run.njobs++) {
		vq_scored *j = &run.jobs[run.njobs];
		int got = vq_pairs_next(run.pairs, &j->image, &j->reference);
		run.ended = got <= 0;
		if (run.ended)
			return got;
		if (run.rate && (got = vq_rate_take(run.rate, j->image.id)) < 0) {
			vqt_record_free(&j->image);
			vqt_record_free(&j->reference);
			return got;
		}
		run.held += record_bytes(&j->image) + record_bytes(&j->reference);
	}
	return VQ_OK;
}

/* The first reference decides the range of grey levels. */
static vq_status choose_range(const vqt_record *reference)
{
	if (!opt.grey || opt.range_given)
		return VQ_OK;
	opt.range = vq_score_grey_range(reference);
	opt.range_given = true;
	return opt.range > 0 ? VQ_OK : vq_fail(VQ_EINVAL, "record %s: its raw pixels are not known to be of 8 or 16 bit: --grey needs their --range", reference->id);
}

static vq_status add_job(const vq_scored *j)
{
	if (j->status < 0)
		return vq_fail(j->status, "%s: %s", vq_pairs_name(run.pairs, VQ_PAIR_STREAM), j->why);
	if (!run.totals.n) {
		check_range(&j->image);
		VQ_TRY(vq_totals_name(&run.totals, vq_pairs_header(run.pairs, VQ_PAIR_STREAM), j->score.channels));
		if (opt.resamples)
			VQ_TRY(vq_totals_boot(&run.totals));
		if (opt.per_record)
			VQ_TRY(vq_score_table_open(&run.table, opt.per_record, &run.totals));
	}
	char *group = NULL;
	vq_status s = opt.resamples ? vq_part_group(j->image.meta, j->image.id, opt.group_by, &group) : VQ_OK;
	if (s < 0)
		vq_context(s, "%s", vq_pairs_name(run.pairs, VQ_PAIR_STREAM));
	else
		s = vq_totals_add(&run.totals, j->image.id, group, &j->score);
	free(group);
	return s == VQ_OK && run.table ? vq_score_table_row(run.table, &j->image, &j->score) : s;
}

static vq_status score_all(void)
{
	vq_status s = VQ_OK;
	while (s == VQ_OK && !run.ended) {
		s = read_jobs();
		if (s == VQ_OK && run.njobs)
			s = choose_range(&run.jobs[0].reference);
		if (s == VQ_OK)
			s = vq_scorer_run(&run.scorer, run.jobs, run.njobs, run.held, opt.range, opt.grey);
		for (int i = 0; s == VQ_OK && i < run.njobs; i++)
			s = add_job(&run.jobs[i]);
		for (int i = 0; i < run.njobs; i++) {
			vqt_record_free(&run.jobs[i].image);
			vqt_record_free(&run.jobs[i].reference);
		}
	}
	return s;
}

static void show_warnings(void)
{
	for (vq_pair_side side = VQ_PAIR_STREAM; side <= VQ_PAIR_REFERENCE; side++)
		if (vq_pairs_warning(run.pairs, side))
			vq_warn("%s", vq_pairs_warning(run.pairs, side));
	if (run.rate && vq_rate_warning(run.rate))
		vq_warn("%s", vq_rate_warning(run.rate));
}

/* What comes before the totals. */
static vq_status report_head(cJSON *json)
{
	VQ_TRY(vq_json_set(json, "range", cJSON_CreateNumber(opt.range)));
	if (opt.grey)
		VQ_TRY(vq_json_set(json, "grey", cJSON_CreateTrue()));
	if (run.rate) {
		double bits, raw;
		VQ_TRY(vq_rate_end(run.rate, &bits, &raw));
		VQ_TRY(vq_json_set(json, "bits_per_pixel", cJSON_CreateNumber(bits)));
		VQ_TRY(vq_json_set(json, "bits_per_pixel_raw", cJSON_CreateNumber(raw)));
	}
	if (!opt.resamples)
		return VQ_OK;
	const double groups = (double)vq_boot_groups(run.totals.boot);
	cJSON *o = cJSON_CreateObject();
	VQ_TRY(vq_json_set(json, "bootstrap", o));
	VQ_TRY(vq_json_set(o, "groups", cJSON_CreateNumber(groups)));
	VQ_TRY(vq_json_set(o, "group_by", opt.group_by ? cJSON_CreateString(opt.group_by) : cJSON_CreateNull()));
	VQ_TRY(vq_json_set(o, "resamples", cJSON_CreateNumber((double)opt.resamples)));
	VQ_TRY(vq_json_set(o, "confidence", cJSON_CreateNumber(opt.confidence)));
	VQ_TRY(vq_json_set(o, "seed", cJSON_CreateNumber((double)vq_cli.seed)));
	if (groups < FEW_GROUPS)
		vq_warn(groups < 2 ? "all records are of one group: no confidence intervals" : "%.0f groups are few: the confidence intervals are too narrow", groups);
	return vq_totals_intervals(&run.totals, (int)opt.resamples, opt.confidence / 100, vq_cli.seed, vq_cli.threads);
}

/* *out: caller frees. */
static vq_status report_text(char **out)
{
	cJSON *json = cJSON_CreateObject();
	vq_status s = json ? report_head(json) : VQ_ENOMEM;
	if (s == VQ_OK)
		s = vq_totals_json(&run.totals, json);
	char *text = s == VQ_OK ? cJSON_Print(json) : NULL;
	*out = text ? vq_format("%s\n", text) : NULL;
	if (s == VQ_OK && !*out)
		s = vq_fail(VQ_ENOMEM, "out of memory for JSON");
	cJSON_free(text);
	cJSON_Delete(json);
	return s;
}

/* The report is written when the table stands; what can fail comes before either. */
static vq_status finish(void)
{
	char *text = NULL;
	vq_status s = report_text(&text);
	vq_table *table = run.table;
	run.table = NULL;
	if (s == VQ_OK && table)
		s = vq_table_commit(table);
	else
		vq_table_abort(table);
	if (s == VQ_OK)
		s = vq_out_write(vq_cli.output, text, strlen(text));
	free(text);
	return s;
}

int main(int argc, char **argv)
{
	vq_strings operands;
	vq_cli_parse(&tool, argc, argv, &operands);
	const char *stream = operands.n ? operands.v[0] : "-";
	if (!opt.reference)
		vq_misuse("--reference is required: the samples to compare with");
	if (!strcmp(opt.reference, "-") && !strcmp(stream, "-"))
		vq_misuse("the stream and its reference cannot both be standard input");
	if (opt.per_record && !strcmp(opt.per_record, "-") && (!vq_cli.output || !strcmp(vq_cli.output, "-")))
		vq_misuse("--per-record - and the JSON cannot both go to standard output (-o FILE)");
	if (opt.codes && !strcmp(opt.codes, "-") && (!strcmp(opt.reference, "-") || !strcmp(stream, "-")))
		vq_misuse("the codes and another stream cannot both be standard input");
	if ((opt.group_by || opt.confidence_given) && !opt.resamples)
		vq_misuse("--%s goes with --bootstrap", opt.group_by ? "group-by" : "confidence");
	if (vq_pairs_open(&run.pairs, stream, opt.reference, opt.subset) < 0 ||
	    (opt.codes && vq_rate_open(&run.rate, opt.codes, opt.subset) < 0))
		vq_die(NULL);
	vq_status s = score_all();
	if (s == VQ_OK) {
		show_warnings();
		s = finish();
	}
	vq_table_abort(run.table);
	vq_pairs_close(run.pairs);
	vq_rate_close(run.rate);
	vq_totals_free(&run.totals);
	vq_scorer_free(&run.scorer);
	if (s < 0)
		vq_die(NULL);
	return vq_cli_end(0);
}
