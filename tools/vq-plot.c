/* vq-plot: pictures of a training, of its reconstructions and of its codes. */
#include <stdio.h>
#include <string.h>

#include "formats/imagefile_write.h"
#include "formats/outfile.h"
#include "tools/calm.h"
#include "tools/cli.h"
#include "tools/plot.h"
#include "tools/plot_curves.h"
#include "tools/plot_samples.h"

static vq_plot_job job;
static int64_t records, codes, zoom, columns;
static int x;
static bool script;
static struct { bool x, reference, per_record, model, group_by, records, codes, composite, zoom, columns, error; } given;

static const vq_option options[] = {
	{ "model", 'm', VQ_OPT_FILE, &job.model, "MODEL", "codebook, atlas: the model that made the codes.", .given = &given.model },
	{ "reference", 0, VQ_OPT_FILE, &job.reference, "REF",
	  "samples, difference, errors, atlas, map: the original samples, a file or -. Without it samples shows the stream's cells alone, and map points.", .given = &given.reference },
	{ "per-record", 0, VQ_OPT_FILE, &job.per_record, "CSV",
	  "The table of vq-metrics --per-record. errors: what is drawn. samples, difference: its PSNR beside each cell, and the cells from the worst to the best, evenly by rank.",
	  .given = &given.per_record },
	{ "group-by", 0, VQ_OPT_STRING, &job.group_by, "COLUMN", "map: colour the cells by this column of their metadata, \"field\" or \"label\".", .given = &given.group_by },
	{ "x", 0, VQ_OPT_CHOICE, &x, NULL, "curves: what the horizontal axis counts (default epoch).", "epoch|step|seconds|pixels", .given = &given.x },
	{ "script", 0, VQ_OPT_FLAG, &script, NULL,
	  "curves, usage, codebook, map, errors (without --reference): print the gnuplot script instead of running it. With -o it names that file as its output." },
	{ .type = VQ_OPT_GROUP, .help = "Cells and codes" },
	{ "records", 0, VQ_OPT_INT, &records, "N", "How many cells (default 8; errors: the 6 worst; map: thumbnails, as many as fit), spread evenly over the stream unless --per-record is given.", NULL, 1, 400, &given.records },
	{ "codes", 0, VQ_OPT_INT, &codes, "N", "atlas: how many of the most used codes (default 16).", NULL, 1, 400, &given.codes },
	{ "composite", 0, VQ_OPT_FLAG, &job.composite, NULL, "One picture of all channels, a colour each, instead of a row a channel.", .given = &given.composite },
	{ "zoom", 0, VQ_OPT_INT, &zoom, "Z", "Each pixel becomes Z x Z (default: so that the largest cell is about 160 px, 256 in difference).", NULL, 1, 32, &given.zoom },
	{ "columns", 0, VQ_OPT_INT, &columns, "N", "Cells side by side (default: for a picture about 4:3).", NULL, 1, 400, &given.columns },
	{ "error", 0, VQ_OPT_REAL, &job.error, "E", "End of the difference scale (default: 99 % of the differences fit in).", NULL, 1e-6, 2, &given.error },
	{ 0 },
};

static const vq_tool tool = { "vq-plot", "draw training curves, reconstructions, errors and codes",
	                          "curves -o FILE.png|.svg|.pdf [--x AXIS] [--script] RUN...\n"
	                          "samples -o FILE [--reference REF] [--per-record CSV] [options] [STREAM]\n"
	                          "difference -o FILE --reference REF [--per-record CSV] [options] [STREAM]\n"
	                          "errors -o FILE --per-record CSV [--reference REF [options] [STREAM]]\n"
	                          "usage -o FILE [STREAM]\n"
	                          "codebook -o FILE -m MODEL [STREAM]\n"
	                          "atlas -o FILE -m MODEL --reference REF [--codes N] [STREAM]\n"
	                          "map -o FILE [--group-by COLUMN] [--reference REF [--records N]] [STREAM]",
	                          options, VQ_CLI_OUTPUT, 0, -1 };

/* --- the kinds ------------------------------------------------------------------------------------------------------- */

enum { X = 1, REFERENCE = 2, PER_RECORD = 4, MODEL = 8, GROUP = 16, RECORDS = 32, CODES = 64, COMPOSITE = 128, ZOOM = 256, COLUMNS = 512, ERROR = 1024 };
enum { CELLS = REFERENCE | PER_RECORD | RECORDS | COMPOSITE | ZOOM | COLUMNS | ERROR };

/* A script, or a picture. */
typedef struct {
	const char *name;
	unsigned takes, needs;    /* options */
	vq_status (*script)(const vq_plot_job *, vq_plot_format, vq_buf *);
	vq_status (*picture)(const vq_plot_job *, vq_tensor *);
} kind;

static vq_strings operands;

static vq_status curves(const vq_plot_job *j, vq_plot_format format, vq_buf *b)
{
	return vq_curves_script(operands.v + 1, operands.n - 1, (vq_curves_axis)x, format, b);
}

static vq_status cells(const vq_plot_job *j, vq_tensor *rgb, bool difference)
{
	vq_samples_options o = { j->stream, j->reference, j->per_record, j->records, j->composite, j->zoom, j->columns, j->error, .difference = difference };
	return vq_samples_draw(rgb, &o);
}
static vq_status samples(const vq_plot_job *j, vq_tensor *rgb) { return cells(j, rgb, false); }
static vq_status difference(const vq_plot_job *j, vq_tensor *rgb) { return cells(j, rgb, true); }

static const kind kinds[] = {
	{ "curves", X, 0, curves, NULL },
	{ "samples", CELLS, 0, NULL, samples },
	{ "difference", CELLS, REFERENCE, NULL, difference },
	{ "errors", CELLS, PER_RECORD, vq_plot_errors, NULL },
	{ "usage", 0, 0, vq_plot_usage, NULL },
	{ "codebook", MODEL, MODEL, vq_plot_codebook, NULL },
	{ "atlas", MODEL | REFERENCE | CODES | COMPOSITE | ZOOM, MODEL | REFERENCE, NULL, vq_plot_atlas },
	{ "map", GROUP | REFERENCE | RECORDS, 0, vq_plot_map, NULL },
};
#define KINDS "curves, samples, difference, errors, usage, codebook, atlas or map"

/* --- drawing --------------------------------------------------------------------------------------------------------- */

/* The script is text that ends up in a file of the user's: quoted, so that gnuplot takes any name. */
static vq_status print_script(const vq_buf *b)
{
	vq_buf out = {0};
	vq_status s = VQ_OK;
	if (vq_cli.output) {
		s = vq_buf_str(&out, "set output ");
		if (s == VQ_OK)
			s = vq_plot_quote(&out, vq_cli.output);
		if (s == VQ_OK)
			s = vq_buf_str(&out, "\n");
	}
	if (s == VQ_OK)
		s = vq_buf_add(&out, b->data, b->len);
	if (s == VQ_OK && fwrite(out.data, 1, out.len, stdout) != out.len)
		s = vq_fail(VQ_EIO, "standard output cannot be written");
	vq_buf_free(&out);
	return s;
}

/* A picture of pixels in a vector format: gnuplot embeds it. */
static vq_status embed(vq_plot_format format, const vq_tensor *rgb, vq_buf *b)
{
	VQ_TRY(vq_plot_terminal(b, format, (int)rgb->shape[1], (int)rgb->shape[0]));
	VQ_TRY(vq_plot_pixels(b, rgb));
	return vq_plot_run(vq_cli.output, b);
}

static vq_status draw(const kind *k, vq_plot_format format)
{
	vq_buf b = {0};
	vq_tensor rgb = {0};
	vq_status s = k->script ? k->script(&job, format, &b) : k->picture(&job, &rgb);
	if (s == VQ_OK && k->script)
		s = script ? print_script(&b) : vq_plot_run(vq_cli.output, &b);
	else if (s == VQ_OK)
		s = format == VQ_PLOT_PNG ? vq_png_write(vq_cli.output, &rgb) : embed(format, &rgb, &b);
	vq_tensor_free(&rgb);
	vq_buf_free(&b);
	return s;
}

/* --- options --------------------------------------------------------------------------------------------------------- */

static const kind *kind_named(const char *name)
{
	for (size_t i = 0; i < VQ_COUNT(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	vq_misuse("\"%s\": what can be drawn is " KINDS, name);
}

static void check_options(const kind *k)
{
	const struct { const char *name; unsigned bit; bool given; } all[] = {
		{ "--x", X, given.x }, { "--reference REF", REFERENCE, given.reference }, { "--per-record CSV", PER_RECORD, given.per_record },
		{ "-m MODEL", MODEL, given.model }, { "--group-by COLUMN", GROUP, given.group_by }, { "--records", RECORDS, given.records },
		{ "--codes", CODES, given.codes }, { "--composite", COMPOSITE, given.composite }, { "--zoom", ZOOM, given.zoom },
		{ "--columns", COLUMNS, given.columns }, { "--error", ERROR, given.error },
	};
	for (size_t i = 0; i < VQ_COUNT(all); i++) {
		if (all[i].given && !(k->takes & all[i].bit))
			vq_misuse("%.*s is not for %s", (int)strcspn(all[i].name, " "), all[i].name, k->name);
		if (!all[i].given && (k->needs & all[i].bit))
			vq_misuse("%s needs %s", k->name, all[i].name);
	}
	if (script && !k->script)
		vq_misuse("--script is not for %s, which gnuplot does not draw", k->name);
	if (script && job.reference)
		vq_misuse("--script takes no pictures of cells: leave --reference out");
	if (k->script == vq_plot_errors && !job.reference && (job.stream || given.records || given.composite || given.zoom || given.columns || given.error))
		vq_misuse("errors shows the worst cells of a stream only beside --reference REF");
	if (k->script == vq_plot_map && given.records && !job.reference)
		vq_misuse("map shows pictures of cells only with --reference REF");
	if (job.reference && !strcmp(job.reference, "-") && (!job.stream || !strcmp(job.stream, "-")))
		vq_misuse("the stream and --reference cannot both be standard input");
}

int main(int argc, char **argv)
{
	vq_plot_format format = VQ_PLOT_PNG;
	vq_calm(argv);
	vq_cli_parse(&tool, argc, argv, &operands);
	if (!operands.n)
		vq_misuse("what is to be drawn: " KINDS "?");
	const kind *k = kind_named(operands.v[0]);
	if (k->script == curves && operands.n < 2)
		vq_misuse("curves of which run? Give its folder or its history.jsonl");
	if (k->script != curves && operands.n > 2)
		vq_misuse("%s takes one stream, not %d", k->name, operands.n - 1);
	job.stream = operands.n > 1 ? operands.v[1] : NULL;
	job.records = given.records ? (int)records : k->script ? 0 : 8;
	job.codes = given.codes ? (int)codes : 16;
	job.zoom = (int)zoom;
	job.columns = (int)columns;
	check_options(k);
	if (!vq_cli.output && !script)
		vq_misuse("where to? Give -o FILE.png, .svg or .pdf");
	if (vq_cli.output && vq_plot_format_of(vq_cli.output, &format) < 0)
		vq_misuse("-o %s", vq_message());
	if (draw(k, format) < 0)
		vq_die(NULL);
	return vq_cli_end(0);
}
