/* vq-plot: pictures of a training and of its reconstructions. */
#include <stdio.h>
#include <string.h>

#include "formats/imagefile_write.h"
#include "formats/outfile.h"
#include "tools/cli.h"
#include "tools/plot_curves.h"
#include "tools/plot_samples.h"

static struct { const char *reference, *per_record; int64_t records, zoom, columns; double error; bool composite, script; int x; } opt = { .records = 8 };

static const vq_option options[] = {
	{ .type = VQ_OPT_GROUP, .help = "Curves" },
	{ "x", 0, VQ_OPT_CHOICE, &opt.x, NULL, "What the horizontal axis counts (default epoch).", "epoch|step|seconds|pixels" },
	{ "script", 0, VQ_OPT_FLAG, &opt.script, NULL, "Print the gnuplot script instead of running it. With -o it names that file as its output." },
	{ .type = VQ_OPT_GROUP, .help = "Samples" },
	{ "reference", 0, VQ_OPT_FILE, &opt.reference, "REF", "The original samples, a file or -. Without it the stream's cells are shown alone." },
	{ "per-record", 0, VQ_OPT_FILE, &opt.per_record, "CSV",
	  "The table of vq-metrics --per-record: its PSNR beside each cell, and the cells from the worst to the best, evenly by rank." },
	{ "records", 0, VQ_OPT_INT, &opt.records, "N", "How many cells (default 8), spread evenly over the stream unless --per-record is given.", NULL, 1, 400 },
	{ "composite", 0, VQ_OPT_FLAG, &opt.composite, NULL, "One picture of all channels, a colour each, instead of a row a channel." },
	{ "zoom", 0, VQ_OPT_INT, &opt.zoom, "Z", "Each pixel becomes Z x Z (default: so that the largest cell is about 128 px).", NULL, 1, 32 },
	{ "columns", 0, VQ_OPT_INT, &opt.columns, "N", "Cells side by side (default: for a picture about 4:3).", NULL, 1, 400 },
	{ "error", 0, VQ_OPT_REAL, &opt.error, "E", "End of the difference scale (default: 99 % of the differences fit in).", NULL, 1e-6, 2 },
	{ 0 },
};

static const vq_tool tool = { "vq-plot", "draw training curves, and cells beside their reconstructions",
	                          "curves -o FILE.png|.svg|.pdf [--x AXIS] [--script] RUN...\n"
	                          "samples -o FILE.png|.svg|.pdf [--reference REF] [--per-record CSV] [options] [STREAM]",
	                          options, VQ_CLI_OUTPUT, 0, -1 };

/* The script is text that ends up in a file of the user's: quoted, so that gnuplot takes any name. */
static vq_status print_script(vq_plot_format format, const vq_strings *runs)
{
	vq_buf b = {0};
	vq_status s = VQ_OK;
	if (vq_cli.output) {
		s = vq_buf_str(&b, "set output ");
		if (s == VQ_OK)
			s = vq_plot_quote(&b, vq_cli.output);
		if (s == VQ_OK)
			s = vq_buf_str(&b, "\n");
	}
	if (s == VQ_OK)
		s = vq_curves_script(runs->v + 1, runs->n - 1, (vq_curves_axis)opt.x, format, &b);
	if (s == VQ_OK && fwrite(b.data, 1, b.len, stdout) != b.len)
		s = vq_fail(VQ_EIO, "standard output cannot be written");
	vq_buf_free(&b);
	return s;
}

static vq_status draw_curves(vq_plot_format format, const vq_strings *runs)
{
	vq_buf b = {0};
	vq_status s = vq_curves_script(runs->v + 1, runs->n - 1, (vq_curves_axis)opt.x, format, &b);
	if (s == VQ_OK)
		s = vq_plot_run(vq_cli.output, &b);
	vq_buf_free(&b);
	return s;
}

/* A picture of pixels in a vector format: gnuplot embeds it. */
static vq_status embed(vq_plot_format format, const vq_tensor *rgb)
{
	vq_buf b = {0};
	int h = (int)rgb->shape[0], w = (int)rgb->shape[1];
	vq_status s = vq_plot_terminal(&b, format, w, h);
	if (s == VQ_OK)
		s = vq_buf_fmt(&b, "unset border\nunset tics\nunset key\nset margins 0,0,0,0\nset xrange [0:%d]\nset yrange [%d:0]\n"
		               "plot '-' binary array=(%d,%d) dx=1 dy=1 origin=(0.5,0.5) format='%%uchar%%uchar%%uchar' using 1:2:3 with rgbimage\n", w, h, w, h);
	if (s == VQ_OK)
		s = vq_buf_add(&b, rgb->data, (size_t)h * (size_t)w * 3);
	if (s == VQ_OK)
		s = vq_plot_run(vq_cli.output, &b);
	vq_buf_free(&b);
	return s;
}

static vq_status draw_samples(vq_plot_format format, const vq_strings *operands)
{
	vq_tensor rgb;
	vq_samples_options o = { operands->n > 1 ? operands->v[1] : NULL, opt.reference, opt.per_record, (int)opt.records, opt.composite,
	                         (int)opt.zoom, (int)opt.columns, opt.error };
	VQ_TRY(vq_samples_draw(&rgb, &o));
	vq_status s = format == VQ_PLOT_PNG ? vq_png_write(vq_cli.output, &rgb) : embed(format, &rgb);
	vq_tensor_free(&rgb);
	return s;
}

int main(int argc, char **argv)
{
	vq_strings a;
	vq_plot_format format = VQ_PLOT_PNG;
	vq_cli_parse(&tool, argc, argv, &a);
	bool curves = a.n && !strcmp(a.v[0], "curves"), samples = a.n && !strcmp(a.v[0], "samples");
	if (!a.n)
		vq_misuse("what is to be drawn: curves or samples?");
	if (!curves && !samples)
		vq_misuse("\"%s\": what can be drawn is curves or samples", a.v[0]);
	if (curves && a.n < 2)
		vq_misuse("curves of which run? Give its folder or its history.jsonl");
	if (samples && a.n > 2)
		vq_misuse("samples takes one stream, not %d", a.n - 1);
	if (samples && opt.script)
		vq_misuse("--script is for curves: samples are not drawn by gnuplot");
	if (curves && (opt.reference || opt.per_record))
		vq_misuse("--reference and --per-record are for samples");
	if (samples && opt.reference && !strcmp(opt.reference, "-") && (a.n < 2 || !strcmp(a.v[1], "-")))
		vq_misuse("the stream and --reference cannot both be standard input");
	if (!vq_cli.output && !opt.script)
		vq_misuse("where to? Give -o FILE.png, .svg or .pdf");
	if (vq_cli.output && vq_plot_format_of(vq_cli.output, &format) < 0)
		vq_misuse("-o %s", vq_message());
	vq_status s = samples ? draw_samples(format, &a) : opt.script ? print_script(format, &a) : draw_curves(format, &a);
	if (s < 0)
		vq_die(NULL);
	return vq_cli_end(0);
}
