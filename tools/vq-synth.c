/* vq-synth: simulated fluorescence cells with known truth, as a stream of records or as fields on disk. */
#include <stdio.h>

#include "tools/cli.h"
#include "tools/synth_out.h"

static struct { int64_t n, channels, min_size, max_size, field_size; const char *fields; bool field_size_given; } opt = {
	1000, 4, 14, 214, 1024, NULL, false,
};

static const vq_option options[] = {
	{ "count", 'n', VQ_OPT_INT, &opt.n, "N", "How many cells (default 1000); 0 makes a complete stream of none.", NULL, 0, 1e9 },
	{ "channels", 0, VQ_OPT_INT, &opt.channels, "C",
	  "Channels (default 4): DNA, ER, Puncta, Tubules, then mixtures of these. With 1 the object is the nucleus, else the whole cell.", NULL, 1,
	  VQ_SYNTH_CHANNELS },
	{ "min-size", 0, VQ_OPT_INT, &opt.min_size, "PX", "Least length of a crop's longer side, border included (default 14).", NULL, VQ_SYNTH_SIZE_LEAST,
	  VQ_SYNTH_SIZE_MOST },
	{ "max-size", 0, VQ_OPT_INT, &opt.max_size, "PX", "Largest length of a crop's side (default 214).", NULL, VQ_SYNTH_SIZE_LEAST, VQ_SYNTH_SIZE_MOST },
	{ "fields", 0, VQ_OPT_FILE, &opt.fields, "DIR",
	  "Write fields to DIR instead of a stream: a 16-bit TIFF a channel, label TIFFs, load_data.csv for vq-crop and truth.csv." },
	{ "field-size", 0, VQ_OPT_INT, &opt.field_size, "PX", "Side of a field (default 1024), at least --max-size.", NULL, VQ_SYNTH_SIZE_LEAST, 16384,
	  &opt.field_size_given },
	{ 0 },
};

static const vq_tool tool = { "vq-synth", "simulate fluorescence cells with known truth", "[options]\n[options] --fields DIR", options,
	                          VQ_CLI_THREADS | VQ_CLI_SEED | VQ_CLI_OUTPUT, 0, 0 };

/* A round of cells is made side by side and written in order; rounds are short, so that the first record leaves soon. */
enum { ROUND_MOST = 64 };

static int round_length(const vq_synth_options *o)
{
	const int64_t budget = 8 << 20;
	int64_t cell = (int64_t)o->max_size * o->max_size * (10 * o->channels + 8);
	return (int)VQ_MIN(VQ_MAX(budget / cell, vq_cli.threads), ROUND_MOST);
}

static vq_status write_round(vqt_writer *w, const vq_synth_options *o, int64_t first, int n)
{
	vqt_record made[ROUND_MOST];
	vq_status status[ROUND_MOST], s = VQ_OK;
	char why[256] = "";
#pragma omp parallel for schedule(dynamic) num_threads(vq_cli.threads)
	for (int i = 0; i < n; i++)
		if ((status[i] = vq_synth_record(o, (uint64_t)(first + i), &made[i])) < 0)
#pragma omp critical
			snprintf(why, sizeof why, "%s", vq_message());
	for (int i = 0; i < n; i++) {
		if (s == VQ_OK)
			s = status[i] < 0 ? vq_fail(status[i], "%s", why) : vqt_put(w, &made[i]);
		vqt_record_free(&made[i]);
	}
	return s;
}

static vq_status write_stream(const vq_synth_options *o)
{
	vqt_writer *w = NULL;
	vqt_options how = { .threads = vq_cli.threads };
	cJSON *channels = vq_synth_channels(o), *header = channels ? vqt_header_make("samples", channels) : NULL;
	vq_status s = header ? vqt_header_chain(header, tool.name, vq_cli_args()) : VQ_ENOMEM;
	if (s == VQ_OK)
		s = vqt_create(&w, vq_cli.output, header, &how);
	cJSON_Delete(channels);
	cJSON_Delete(header);
	VQ_TRY(s);
	int step = round_length(o);
	for (int64_t i = 0; i < opt.n && s == VQ_OK; i += step)
		s = write_round(w, o, i, (int)VQ_MIN(step, opt.n - i));
	if (s == VQ_OK)
		return vqt_finish(w);
	vqt_abort(w);
	return s;
}

static vq_status write_fields(const vq_synth_options *o)
{
	int64_t fields, cells;
	VQ_TRY(vq_synth_fields(o, opt.fields, opt.n, opt.field_size, &fields, &cells));
	vq_info("%s: %lld fields with %lld cells", opt.fields, (long long)fields, (long long)cells);
	return VQ_OK;
}

int main(int argc, char **argv)
{
	vq_strings operands;
	vq_cli_parse(&tool, argc, argv, &operands);
	vq_synth_options o = { vq_cli.seed, (int)opt.channels, (int)opt.min_size, (int)opt.max_size };
	if (vq_synth_check(&o) < 0)
		vq_misuse("%s", vq_message());
	if (opt.fields && vq_cli.output)
		vq_misuse("--fields and -o exclude each other: fields go to files in %s", opt.fields);
	if (opt.field_size_given && !opt.fields)
		vq_misuse("--field-size needs --fields");
	if (opt.fields && opt.n < 1)
		vq_misuse("--fields needs at least one cell (-n)");
	if (opt.fields && opt.field_size < opt.max_size)
		vq_misuse("--field-size %lld is smaller than --max-size %lld", (long long)opt.field_size, (long long)opt.max_size);
	if ((opt.fields ? write_fields(&o) : write_stream(&o)) < 0)
		vq_die(NULL);
	return vq_cli_end(0);
}
