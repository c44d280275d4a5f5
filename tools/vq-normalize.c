/* vq-normalize: maps each channel of each cell to the range that a network is trained on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/outfile.h"
#include "tools/cli.h"
#include "tools/filter.h"
#include "tools/like.h"
#include "tools/normrec.h"

static struct {
	bool robust, zscore, minmax, none, no_clip, fit, percentiles_given, scope_given;
	const char *percentiles, *stats, *like, *group_by;
	int scope;
	vq_strings where;
} opt;

static const vq_option options[] = {
	{ "robust", 0, VQ_OPT_FLAG, &opt.robust, NULL, "Two percentiles of each channel become -1 and 1 (the default)." },
	{ "minmax", 0, VQ_OPT_FLAG, &opt.minmax, NULL, "The least and largest pixel of each channel become -1 and 1." },
	{ "zscore", 0, VQ_OPT_FLAG, &opt.zscore, NULL, "Subtract the mean, divide by the standard deviation (divisor n); never clipped." },
	{ "none", 0, VQ_OPT_FLAG, &opt.none, NULL, "Grey levels as they are, as f32." },
	{ "percentiles", 0, VQ_OPT_STRING, &opt.percentiles, "LOW,HIGH",
	  "The percentiles of --robust (default 5,95), by linear interpolation as numpy's; with --fit, further ones to store.", NULL, 0, 0,
	  &opt.percentiles_given },
	{ "no-clip", 0, VQ_OPT_FLAG, &opt.no_clip, NULL, "Let pixels lie beyond -1 and 1, so that every grey level can be restored." },
	{ "scope", 0, VQ_OPT_CHOICE, &opt.scope, "WHAT",
	  "Take statistics from each record's own true pixels (record, the default) or from the field statistics that it carries (field).",
	  "record|field", 0, 0, &opt.scope_given },
	{ "stats", 0, VQ_OPT_FILE, &opt.stats, "FILE", "Take statistics from FILE, made by --fit; cells keep their differences in intensity." },
	{ "like", 0, VQ_OPT_FILE, &opt.like, "FILE", "Normalise each record as the record of the same id in FILE was: grey levels that a model of raw pixels made, say, beside their reference." },
	{ "fit", 0, VQ_OPT_FLAG, &opt.fit, NULL, "Write the statistics of all records as JSON instead of a stream." },
	{ "group-by", 0, VQ_OPT_STRING, &opt.group_by, "COLUMN", "With --fit: statistics for each value of COLUMN (or A,B: each pair)." },
	{ "where", 0, VQ_OPT_LIST, &opt.where, "COLUMN=VALUE", "With --fit: only records with this value, such as Metadata_Split=train. Repeatable; all must hold." },
	{ 0 },
};

static const vq_tool tool = {
	"vq-normalize", "map grey levels to the range a network is trained on",
	"[--robust | --minmax | --zscore | --none] [options] [STREAM]\n--like FILE [STREAM]\n--fit [--group-by COLUMN] [--where COLUMN=VALUE] [STREAM]", options,
	VQ_CLI_THREADS | VQ_CLI_OUTPUT, 0, 1,
};

static void parse_percentiles(double p[2])
{
	char end;
	if (sscanf(opt.percentiles, "%lf,%lf%c", p, p + 1, &end) != 2 || !(p[0] >= 0 && p[0] < p[1] && p[1] <= 100))
		vq_misuse("--percentiles %s: not two rising numbers LOW,HIGH within 0 and 100", opt.percentiles);
}

static void check_options(vq_norm *how)
{
	*how = (vq_norm){ .method = VQ_NORM_ROBUST, .scope = "record", .percentiles = { 5, 95 } };
	if (opt.robust + opt.minmax + opt.zscore + opt.none > 1)
		vq_misuse("only one of --robust, --minmax, --zscore and --none can be had");
	if (opt.like && (opt.robust + opt.minmax + opt.zscore + opt.none || opt.stats || opt.scope_given || opt.no_clip || opt.percentiles_given || opt.fit))
		vq_misuse("--like takes everything from its file: it goes alone");
	if (opt.fit && (opt.robust + opt.minmax + opt.zscore + opt.none || opt.stats || opt.scope_given || opt.no_clip))
		vq_misuse("--fit writes statistics for every method: it goes with --group-by, --where and --percentiles alone");
	if (!opt.fit && (opt.group_by || opt.where.n))
		vq_misuse("%s belongs to --fit", opt.group_by ? "--group-by" : "--where");
	if (opt.stats && opt.scope_given)
		vq_misuse("--stats and --scope exclude each other");
	how->method = opt.minmax ? VQ_NORM_MINMAX : opt.zscore ? VQ_NORM_ZSCORE : opt.none ? VQ_NORM_NONE : VQ_NORM_ROBUST;
	if (opt.percentiles_given) {
		if (how->method != VQ_NORM_ROBUST)
			vq_misuse("--percentiles belongs to --robust");
		parse_percentiles(how->percentiles);
	}
	if (how->method == VQ_NORM_NONE && (opt.stats || opt.scope))
		vq_misuse("--none takes no statistics");
	snprintf(how->scope, sizeof how->scope, "%s", opt.stats ? "stats" : opt.scope ? "field" : "record");
	how->clip = !opt.no_clip && (how->method == VQ_NORM_ROBUST || how->method == VQ_NORM_MINMAX);
}

static vq_stats *read_stats(const char *path)
{
	vq_stats *stats = NULL;
	vq_buf text = {0};
	if (vq_file_read(path, (size_t)1 << 30, &text) < 0)
		vq_die(NULL);
	cJSON *json = vq_json_parse(text.data ? text.data : "", path);
	vq_buf_free(&text);
	if (!json)
		vq_die(NULL);
	if (vq_stats_open(&stats, json) < 0)
		vq_die("%s: %s", path, vq_message());
	return stats;
}

static void warn_of_constant(const vqt_record *rec, const vq_norm *n)
{
	for (int c = 0; c < n->channels; c++)
		if (n->constant[c] && n->clipped[c] > 0) {
			const cJSON *name = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(rec->meta, "channels"), c);
			vq_warn("record %s: channel %s: both limits are %g, though %.2g %% of its pixels are not; it becomes 0 everywhere", rec->id,
				cJSON_IsString(name) ? name->valuestring : "?", n->a[c], 100 * n->clipped[c]);
		}
}

struct task { vq_norm how; vq_stats *stats; like *like; };

/* The limits of the other record, under the name that they have there. */
static vq_status normalize_like(vqt_record *rec, const like *l)
{
	vq_norm want, how, done;
	vq_status s = like_find(l, rec->id, &want);
	if (s < 0)
		return vq_context(s, "record %s", rec->id);
	how = want;
	snprintf(how.scope, sizeof how.scope, "stats");
	VQ_TRY(vq_normalize_record(rec, &how, NULL, &done));
	memcpy(done.scope, want.scope, sizeof done.scope);
	return vq_norm_set(rec->meta, &done);
}

static vq_status normalize(vqt_record *rec, void *user)
{
	struct task *t = user;
	vq_norm done;
	if (t->like)
		return normalize_like(rec, t->like);
	VQ_TRY(vq_normalize_record(rec, &t->how, t->stats, &done));
	warn_of_constant(rec, &done);
	return VQ_OK;
}

static int fit(const char *path, const vq_norm *how)
{
	vq_fit *f;
	vqt_reader *in;
	vqt_record rec;
	int got;
	if (vq_fit_open(&f, opt.group_by, opt.where.v, opt.where.n, how->percentiles, 2) < 0)
		vq_misuse("%s", vq_message());
	if (vq_samples_open(&in, path, tool.name) < 0)
		vq_die(NULL);
	while ((got = vqt_next(in, &rec)) > 0) {
		vq_status s = vq_fit_add(f, &rec);
		vqt_record_free(&rec);
		if (s < 0)
			vq_die("%s: %s", vqt_name(in), vq_message());
	}
	if (got < 0)
		vq_die(NULL);
	cJSON *json = vq_fit_result(f);
	if (!json)
		vq_die("%s: %s", vqt_name(in), vq_message());
	char *text = cJSON_Print(json), *line = text ? vq_format("%s\n", text) : NULL;
	if (!line || vq_out_write(vq_cli.output, line, strlen(line)) < 0)
		vq_die(NULL);
	free(line);
	cJSON_free(text);
	cJSON_Delete(json);
	vq_samples_close(in);
	vq_fit_close(f);
	return vq_cli_end(0);
}

int main(int argc, char **argv)
{
	vq_strings operands;
	struct task t = {0};
	vq_cli_parse(&tool, argc, argv, &operands);
	check_options(&t.how);
	const char *path = operands.n ? operands.v[0] : NULL;
	if (opt.fit)
		return fit(path, &t.how);
	if (opt.stats)
		t.stats = read_stats(opt.stats);
	if (opt.like && like_open(&t.like, opt.like, tool.name) < 0)
		vq_die(NULL);
	/* A record's own statistics need its shape alone; its channels' names are for messages. */
	bool own = !opt.like && !strcmp(t.how.scope, "record");
	int status = vq_filter_samples(path, tool.name, own ? "channels|extent|normalize|pad|pad_mode|size" : NULL, normalize, &t);
	vq_stats_close(t.stats);
	like_close(t.like);
	return vq_cli_end(status);
}
