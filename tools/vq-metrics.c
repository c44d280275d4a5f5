/* vq-metrics: how close a stream of reconstructions is to its reference, as JSON. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/outfile.h"
#include "formats/table.h"
#include "tools/cli.h"
#include "tools/totals.h"

static struct { const char *reference, *per_record; double range; bool subset, range_given; } opt = { .range = 2 };

static const vq_option options[] = {
	{ "reference", 0, VQ_OPT_FILE, &opt.reference, "REF",
	  "The samples to compare with: a file, in any order, or - or a pipe in the stream's order (required)." },
	{ "range", 0, VQ_OPT_REAL, &opt.range, "R", "Range of the data for PSNR and SSIM: 2 for [-1,1] (default), 65535 for 16-bit grey levels.",
	  .lo = 1e-100, .hi = 1e100, .given = &opt.range_given },
	{ "subset", 0, VQ_OPT_FLAG, &opt.subset, NULL, "Allow reference records that the stream lacks." },
	{ "per-record", 0, VQ_OPT_FILE, &opt.per_record, "FILE.csv",
	  "Also write a table with a row a record: id, size, every metric, and the record's Metadata_* columns." },
	{ 0 },
};

static const vq_tool tool = { "vq-metrics",
	"compare reconstructions with their reference: MSE, PSNR, SSIM, Pearson", "--reference REF [options] [STREAM]",
	options, VQ_CLI_THREADS | VQ_CLI_OUTPUT, 0, 1 };

/* A few pairs are read, scored side by side, and added in order. */
typedef struct { vqt_record image, reference; vq_record_score score; vq_status status; char why[1024]; } job;
enum { JOBS = 256, JOBS_BYTES = 64 << 20 /* with this much at hand no further pair is read before it is done */, PARALLEL_BYTES = 4 << 20 };

static struct {
	vq_pairs *pairs;
	vq_table *table;
	vq_totals totals;
	vq_score_scratch *scratch; /* one a thread */
	job jobs[JOBS];
	int njobs;
	size_t held; /* bytes of their tensors */
	bool ended;
} run;

/* --- the table ------------------------------------------------------------------------------------------------------- */

static vq_status open_table(const vq_totals *t)
{
	static const char *const lead[] = { "id", "field", "label", "height", "width", "pixels", "foreground_pixels" };
	enum { LEAD = VQ_COUNT(lead), MOST = LEAD + 2 * VQ_METRICS * (VQ_CHANNELS_MAX + 1) };
	char *column[MOST];
	int n = 0;
	for (int i = 0; i < LEAD; i++)
		column[n++] = vq_strdup(lead[i]);
	for (int c = -1; c < t->channels; c++)
		for (int k = 0; k < 2; k++)
			for (int m = 0; m < VQ_METRICS; m++)
				column[n++] = vq_format("%s%s%s%s", vq_totals_prefix[k], vq_metric_name(m), c < 0 ? "" : "_", c < 0 ? "" : t->name[c]);
	vq_status s = VQ_OK;
	for (int i = 0; i < n; i++)
		s = column[i] ? s : VQ_ENOMEM;
	if (s == VQ_OK)
		s = vq_table_open(&run.table, opt.per_record, (const char *const *)column, n);
	for (int i = 0; i < n; i++)
		free(column[i]);
	return s;
}

static vq_status write_row(vq_table *table, const vqt_record *r, const vq_record_score *s)
{
	char buf[32];
	const cJSON *item;
	VQ_TRY(vq_table_text(table, r->id));
	VQ_TRY(vq_table_text(table, vq_sample_text(r->meta, "field", buf)));
	VQ_TRY(vq_table_text(table, vq_sample_text(r->meta, "label", buf)));
	const int64_t whole[] = { s->h, s->w, s->h * s->w, s->inside };
	for (size_t i = 0; i < VQ_COUNT(whole); i++) {
		snprintf(buf, sizeof buf, "%lld", (long long)whole[i]);
		VQ_TRY(vq_table_text(table, buf));
	}
	for (int c = -1; c < s->channels; c++)
		for (int k = 0; k < 2; k++)
			for (int m = 0; m < VQ_METRICS; m++)
				VQ_TRY(vq_table_number(table, c < 0 ? s->mean[k].v[m] : s->channel[k][c].v[m]));
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(r->meta, "metadata"))
		VQ_TRY(vq_table_named(table, item->string, vq_sample_text(r->meta, item->string, buf)));
	return vq_table_row(table);
}

/* --- the loop -------------------------------------------------------------------------------------------------------- */

/* Grey levels against a range of 2, say, give numbers that mean nothing. */
static void check_range(const vqt_record *r)
{
	vq_norm n;
	if (opt.range_given || vq_norm_get(r->meta, &n) < 0 || n.method == VQ_NORM_ROBUST || n.method == VQ_NORM_MINMAX)
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
		job *j = &run.jobs[run.njobs];
		int got = vq_pairs_next(run.pairs, &j->image, &j->reference);
		run.ended = got <= 0;
		if (run.ended)
			return got;
		run.held += record_bytes(&j->image) + record_bytes(&j->reference);
	}
	return VQ_OK;
}

static void score_jobs(void)
{
	/* Threads that wait spin for a while: for little work they cost more than they give. */
#pragma omp parallel for schedule(dynamic) num_threads(vq_cli.threads) if (run.held >= PARALLEL_BYTES)
	for (int i = 0; i < run.njobs; i++) {
		job *j = &run.jobs[i];
		j->status = vq_score_record(&run.scratch[omp_get_thread_num()], &j->image, &j->reference, opt.range, &j->score);
		if (j->status < 0) /* messages belong to a thread */
			snprintf(j->why, sizeof j->why, "%s", vq_message());
	}
}

static vq_status add_job(const job *j)
{
	if (j->status < 0)
		return vq_fail(j->status, "%s: %s", vq_pairs_name(run.pairs, VQ_PAIR_STREAM), j->why);
	if (!run.totals.n) {
		check_range(&j->image);
		VQ_TRY(vq_totals_name(&run.totals, vq_pairs_header(run.pairs, VQ_PAIR_STREAM), j->score.channels));
		if (opt.per_record)
			VQ_TRY(open_table(&run.totals));
	}
	VQ_TRY(vq_totals_add(&run.totals, j->image.id, &j->score));
	return run.table ? write_row(run.table, &j->image, &j->score) : VQ_OK;
}

static vq_status score_all(void)
{
	vq_status s = VQ_OK;
	while (s == VQ_OK && !run.ended) {
		s = read_jobs();
		if (s == VQ_OK)
			score_jobs();
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
}

static vq_status report(void)
{
	vq_status s = VQ_ENOMEM;
	char *text = NULL;
	cJSON *json = cJSON_CreateObject();
	if (json && vq_json_set(json, "range", cJSON_CreateNumber(opt.range)) == VQ_OK && (s = vq_totals_json(&run.totals, json)) == VQ_OK) {
		text = cJSON_Print(json);
		char *line = text ? vq_format("%s\n", text) : NULL;
		s = line ? vq_out_write(vq_cli.output, line, strlen(line)) : VQ_ENOMEM;
		free(line);
	}
	cJSON_free(text);
	cJSON_Delete(json);
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
	run.scratch = vq_calloc((size_t)vq_cli.threads, sizeof *run.scratch);
	if (!run.scratch || vq_pairs_open(&run.pairs, stream, opt.reference, opt.subset) < 0)
		vq_die(NULL);
	vq_status s = score_all();
	if (s == VQ_OK) {
		show_warnings();
		vq_table *table = run.table;
		run.table = NULL;
		s = table ? vq_table_commit(table) : VQ_OK;
	}
	if (s == VQ_OK)
		s = report();
	vq_table_abort(run.table);
	vq_pairs_close(run.pairs);
	vq_totals_free(&run.totals);
	for (int i = 0; i < vq_cli.threads; i++)
		vq_score_scratch_free(&run.scratch[i]);
	free(run.scratch);
	if (s < 0)
		vq_die(NULL);
	return vq_cli_end(0);
}
