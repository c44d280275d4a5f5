/* vq-codebook-stats: how much of each codebook a stream of codes uses, and what the codes cost, as JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/outfile.h"
#include "tools/cli.h"
#include "tools/coded.h"
#include "tools/codereport.h"

static struct { const char *model, *group_by, *units, *pairs; int64_t batch, permutations; bool permutations_given; } opt = { .permutations = 999 };
static const char *tables, *stream = "-";
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
	{ "tables", 0, VQ_OPT_FILE, &tables, "CODES",
	  "Also code the stream's codes as bytes, with tables counted over these (those of the training cells), and give the sizes. STREAM must be a file." },
	{ "pairs", 0, VQ_OPT_FILE, &opt.pairs, "FILE.csv", "Also write how often each code has each other one to its left, and above it." },
	{ 0 },
};

static const vq_tool tool = { "vq-codebook-stats",
	"usage, perplexity, entropy and neighbours of codes, groups compared, and bits per pixel", "[options] [STREAM]",
	options, VQ_CLI_THREADS | VQ_CLI_SEED | VQ_CLI_OUTPUT, 0, 1 };

static vq_status report(vq_st *model, vq_table *pairs)
{
	cJSON *json = cJSON_CreateObject(), *sizes = NULL;
	bool few = false;
	const vq_code_report r = { &run, groups, model, opt.model, opt.batch, (int)opt.permutations, vq_cli.threads, vq_cli.seed };
	vq_status s = json ? vq_code_report_json(&r, json, &few) : vq_fail(VQ_ENOMEM, "out of memory for JSON");
	if (s == VQ_OK && tables && (s = vq_coded(stream, tables, &run, &sizes)) == VQ_OK)
		s = vq_json_set(json, "coded", sizes);
	char *text = s == VQ_OK ? cJSON_Print(json) : NULL, *line = text ? vq_format("%s\n", text) : NULL;
	if (s == VQ_OK && few)
		vq_warn("no more units than groups: what groups do and what units do cannot be told apart, no test");
	if (pairs && s == VQ_OK)
		s = vq_code_pairs_write(&run, pairs);
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
	if (tables && !strcmp(stream, "-"))
		vq_misuse("--tables reads the stream twice: name a file");
	if ((opt.units || opt.permutations_given) && !opt.group_by)
		vq_misuse("--%s goes with --group-by", opt.units ? "units" : "permutations");
	if (opt.pairs && !strcmp(opt.pairs, "-") && (!vq_cli.output || !strcmp(vq_cli.output, "-")))
		vq_misuse("--pairs - and the JSON cannot both go to standard output (-o FILE)");
}

int main(int argc, char **argv)
{
	vq_strings operands;
	vq_table *pairs = NULL;
	vq_st *model = NULL; /* opened first: a wrong name is told before a long stream is read */
	vq_cli_parse(&tool, argc, argv, &operands);
	if (operands.n)
		stream = operands.v[0];
	check_options();
	vq_status s = opt.model ? vq_st_open(&model, opt.model) : VQ_OK;
	if (s == VQ_OK && opt.group_by)
		s = vq_codegroups_open(&groups, opt.group_by, opt.units);
	if (s == VQ_OK && opt.pairs)
		s = vq_table_open(&pairs, opt.pairs, vq_code_pairs_columns, (int)VQ_COUNT(vq_code_pairs_columns));
	if (s == VQ_OK && (s = read_stream(stream)) == VQ_OK)
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
