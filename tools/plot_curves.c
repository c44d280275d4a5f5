#include "tools/plot_curves.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/history.h"
#include "tools/cli.h"
#include "tools/plot.h"

enum { RUNS = 32, PANELS = 30 };

typedef struct { char *path, *label; vq_history_lines lines; } run_data;

/* A figure: "loss" of train and val, or "lr" of the run itself. `of` are keys to look under. */
typedef struct { char name[64]; bool seen[3]; double lo, hi; bool positive; } panel;
static const char *const part[3] = { "train", "val", NULL };

typedef struct {
	run_data run[RUNS];
	int runs, panels;
	panel panel[PANELS];
	const char *x;
} curves;

/* --- reading --------------------------------------------------------------------------------------------------------- */

static vq_status read_run(run_data *r, const char *path)
{
	struct stat st;
	bool folder = !stat(path, &st) && S_ISDIR(st.st_mode);
	r->path = folder ? vq_format("%s%shistory.jsonl", path, path[strlen(path) - 1] == '/' ? "" : "/") : vq_strdup(path);
	if (!r->path)
		return VQ_ENOMEM;
	/* a run is called after its folder, a file of another name after itself */
	size_t end = strlen(r->path), tail = strlen("/history.jsonl");
	if (end > tail && !strcmp(r->path + end - tail, "/history.jsonl"))
		end -= tail;
	while (end > 1 && r->path[end - 1] == '/')
		end--;
	size_t start = end;
	while (start > 0 && r->path[start - 1] != '/')
		start--;
	if (!(r->label = vq_strndup(r->path + start, end - start)))
		return VQ_ENOMEM;
	VQ_TRY(vq_history_read(r->path, &r->lines));
	if (r->lines.cut)
		return vq_fail(VQ_EFORMAT, "%s: line %d was cut off", r->path, r->lines.cut);
	return r->lines.n ? VQ_OK : vq_fail(VQ_EFORMAT, "%s: no epoch in it yet", r->path);
}

/* Two runs of one name go by their paths. */
static vq_status tell_apart(curves *c)
{
	bool clash[RUNS] = {0};
	for (int i = 0; i < c->runs; i++)
		for (int k = 0; k < c->runs; k++)
			clash[i] |= i != k && !strcmp(c->run[i].label, c->run[k].label);
	for (int i = 0; i < c->runs; i++)
		if (clash[i]) {
			free(c->run[i].label);
			if (!(c->run[i].label = vq_strdup(c->run[i].path)))
				return VQ_ENOMEM;
		}
	return VQ_OK;
}

/* --- which panels ---------------------------------------------------------------------------------------------------- */

static void see(curves *c, const char *name, int of, const cJSON *value)
{
	static const char *const axes[] = { "epoch", "step", "seconds", "pixels" };
	for (size_t i = 0; i < VQ_COUNT(axes); i++)
		if (of == 2 && !strcmp(name, axes[i]))
			return;
	if (!cJSON_IsNumber(value) || strlen(name) >= sizeof c->panel[0].name)
		return;
	int i = 0;
	while (i < c->panels && strcmp(c->panel[i].name, name))
		i++;
	if (i == PANELS)
		return;
	panel *p = &c->panel[i];
	if (i == c->panels) {
		*p = (panel){ .lo = INFINITY, .hi = -INFINITY, .positive = true };
		strcpy(p->name, name);
		c->panels++;
	}
	double v = value->valuedouble;
	p->seen[of] = true;
	p->lo = VQ_MIN(p->lo, v);
	p->hi = VQ_MAX(p->hi, v);
	p->positive &= v > 0;
}

/* A list (one figure a codebook level) makes NAME.0, NAME.1, ... */
static void see_all(curves *c, const char *name, int of, const cJSON *value)
{
	char sub[80];
	int k = 0;
	const cJSON *item;
	if (!cJSON_IsArray(value)) {
		see(c, name, of, value);
		return;
	}
	cJSON_ArrayForEach(item, value) {
		snprintf(sub, sizeof sub, "%.60s.%d", name, k++);
		see(c, sub, of, item);
	}
}

static int rank(const char *name)
{
	static const char *const order[] = { "loss", "recon", "commit", "codebook", "perceptual", "psnr", "ssim", "usage", "foreground_usage", "perplexity", "lr", "grad_norm", "revived" };
	for (size_t i = 0; i < VQ_COUNT(order); i++)
		if (!strncmp(name, order[i], strlen(order[i])) && strchr(".", name[strlen(order[i])]))
			return i < 4 ? (int)i : (int)i + 1;
	return 4; /* further terms of the loss */
}

static int by_rank(const void *a, const void *b)
{
	const panel *p = a, *q = b;
	int r = rank(p->name) - rank(q->name);
	return r ? r : strcmp(p->name, q->name);
}

static void find_panels(curves *c)
{
	const cJSON *item;
	for (int r = 0; r < c->runs; r++)
		for (int i = 0; i < c->run[r].lines.n; i++)
			for (int of = 0; of < 3; of++) {
				const cJSON *line = c->run[r].lines.line[i], *figures = line;
				if (part[of])
					figures = cJSON_GetObjectItemCaseSensitive(line, part[of]);
				cJSON_ArrayForEach(item, figures)
					if (item->string && !cJSON_IsObject(item))
						see_all(c, item->string, of, item);
			}
	qsort(c->panel, (size_t)c->panels, sizeof *c->panel, by_rank);
}

/* --- the script ------------------------------------------------------------------------------------------------------ */

static double figure(const cJSON *line, const char *under, const char *name)
{
	const cJSON *o = under ? cJSON_GetObjectItemCaseSensitive(line, under) : line;
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
	const char *dot = strrchr(name, '.');
	if (!v && dot) {
		char stem[64];
		snprintf(stem, sizeof stem, "%.*s", (int)(dot - name), name);
		v = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(o, stem), atoi(dot + 1));
	}
	return cJSON_IsNumber(v) ? v->valuedouble : NAN;
}

/* A data block a run: x, then train, val and own figure of every panel. */
static vq_status add_data(const curves *c, vq_buf *b)
{
	for (int r = 0; r < c->runs; r++) {
		VQ_TRY(vq_buf_fmt(b, "$run%d << END\n", r));
		for (int i = 0; i < c->run[r].lines.n; i++) {
			const cJSON *line = c->run[r].lines.line[i];
			double x = figure(line, NULL, c->x);
			VQ_TRY(vq_buf_fmt(b, "%.10g", isnan(x) && !strcmp(c->x, "epoch") ? i : x));
			for (int p = 0; p < c->panels; p++)
				for (int of = 0; of < 3; of++) {
					double v = figure(line, part[of], c->panel[p].name);
					VQ_TRY(isfinite(v) ? vq_buf_fmt(b, " %.7g", v) : vq_buf_str(b, " NaN"));
				}
			VQ_TRY(vq_buf_str(b, "\n"));
		}
		VQ_TRY(vq_buf_str(b, "END\n"));
	}
	return VQ_OK;
}

static const char *title_of(const char *name)
{
	static const char *const known[][2] = { { "loss", "loss" }, { "recon", "reconstruction loss" }, { "commit", "commitment loss" },
		{ "codebook", "codebook loss" }, { "perceptual", "perceptual loss" }, { "psnr", "PSNR (dB)" }, { "ssim", "SSIM" }, { "usage", "codebook in use (fraction)" }, { "foreground_usage", "in use by foreground (fraction)" },
		{ "perplexity", "codebook perplexity" }, { "lr", "learning rate" }, { "grad_norm", "gradient norm" }, { "revived", "codes revived" } };
	for (size_t i = 0; i < VQ_COUNT(known); i++)
		if (!strcmp(name, known[i][0]))
			return known[i][1];
	return name;
}

/* One line of the plot command; p < 0: of the key alone. One run: a colour a split; several: a colour a run, train dashed. */
static vq_status add_line(const curves *c, int p, int r, int of, bool *first, vq_buf *b)
{
	static const char *const colour[] = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999900" };
	const run_data *run = &c->run[r];
	const char *hue = colour[c->runs > 1 ? r % 8 : of == 0 ? 1 : 0];
	char *what = c->runs == 1 ? vq_strdup(part[of] ? part[of] : "") : part[of] ? vq_format("%s, %s", run->label, part[of]) : vq_strdup(run->label);
	if (!what)
		return VQ_ENOMEM;
	vq_status s = vq_buf_str(b, *first ? "plot " : ", \\\n     ");
	if (s == VQ_OK)
		s = p < 0 ? vq_buf_str(b, "NaN") : vq_buf_fmt(b, "$run%d using 1:%d", r, 2 + 3 * p + of);
	if (s == VQ_OK)
		s = vq_buf_fmt(b, " with %s lw 2 dt %d pt 7 ps 0.5 lc rgb '%s' title ", run->lines.n <= 40 ? "linespoints" : "lines", of == 0 ? 2 : 1, hue);
	if (s == VQ_OK)
		s = vq_plot_quote(b, what);
	*first = false;
	free(what);
	return s;
}

static vq_status add_panel(const curves *c, int p, vq_buf *b)
{
	const panel *q = &c->panel[p];
	bool log = q->positive && q->hi > 20 * q->lo && !strstr(q->name, "usage") && strcmp(q->name, "lr"), flat = q->lo == q->hi, first = true;
	VQ_TRY(vq_buf_str(b, "set title "));
	VQ_TRY(vq_plot_quote(b, title_of(q->name)));
	VQ_TRY(vq_buf_fmt(b, "\n%sset logscale y\n", log ? "" : "un"));
	/* a constant has no range of its own */
	double room = flat ? q->lo ? fabs(q->lo) * .1 : 1e-6 : 0;
	if (flat)
		VQ_TRY(vq_buf_fmt(b, "set yrange [%.10g:%.10g]\n", q->lo - room, q->hi + room));
	else
		VQ_TRY(vq_buf_str(b, "set yrange [*:*]\n"));
	VQ_TRY(vq_buf_fmt(b, "%s\n", p || c->runs > 1 ? "unset key" : "set key top right"));
	for (int r = 0; r < c->runs; r++)
		for (int of = 0; of < 3; of++)
			if (q->seen[of])
				VQ_TRY(add_line(c, p, r, of, &first, b));
	return vq_buf_str(b, "\n");
}

/* The key of several runs has a place of its own: on a panel it would lie over the lines. */
static vq_status add_key(const curves *c, vq_buf *b)
{
	bool seen[3] = {0}, first = true;
	for (int p = 0; p < c->panels; p++)
		for (int of = 0; of < 3; of++)
			seen[of] |= c->panel[p].seen[of];
	VQ_TRY(vq_buf_str(b, "unset title\nunset xlabel\nunset tics\nunset grid\nunset border\nunset logscale\nset xrange [0:1]\nset yrange [0:1]\nset key center center Left reverse\n"));
	for (int r = 0; r < c->runs; r++)
		for (int of = 0; of < 3; of++)
			if (seen[of] && (of < 2 || (!seen[0] && !seen[1])))
				VQ_TRY(add_line(c, -1, r, of, &first, b));
	return vq_buf_str(b, "\n");
}

static vq_status write_script(const curves *c, vq_plot_format format, vq_buf *b)
{
	int places = c->panels + (c->runs > 1), columns = vq_plot_columns(places), rows = (places + columns - 1) / columns;
	VQ_TRY(vq_plot_terminal(b, format, VQ_MAX(440 * columns, 500), 310 * rows + 40));
	VQ_TRY(add_data(c, b));
	VQ_TRY(vq_buf_fmt(b, "set multiplot layout %d,%d\nset grid lt 1 lc rgb '#e0e0e0'\nset border 3\nset tics nomirror\nset format y '%%g'\nset xlabel '%s'\n",
	                  rows, columns, c->x));
	double lo = INFINITY, hi = -INFINITY;
	for (int r = 0; r < c->runs; r++)
		for (int i = 0; i < c->run[r].lines.n; i++) {
			double x = figure(c->run[r].lines.line[i], NULL, c->x);
			lo = isfinite(x) ? VQ_MIN(lo, x) : lo;
			hi = isfinite(x) ? VQ_MAX(hi, x) : hi;
		}
	if (lo == hi)
		VQ_TRY(vq_buf_fmt(b, "set xrange [%.10g:%.10g]\n", lo - .5, hi + .5));
	for (int p = 0; p < c->panels; p++)
		VQ_TRY(add_panel(c, p, b));
	if (c->runs > 1)
		VQ_TRY(add_key(c, b));
	return vq_buf_str(b, "unset multiplot\n");
}

vq_status vq_curves_script(const char *const *path, int n, vq_curves_axis x, vq_plot_format format, vq_buf *script)
{
	static const char *const axis[] = { "epoch", "step", "seconds", "pixels" };
	if (n > RUNS)
		return vq_fail(VQ_ELIMIT, "%d runs: at most %d fit into one picture", n, RUNS);
	vq_status s = VQ_OK;
	curves *c = vq_calloc(1, sizeof *c);
	if (!c)
		return VQ_ENOMEM;
	c->x = axis[x];
	for (int i = 0; i < n && s == VQ_OK; i++, c->runs++)
		s = read_run(&c->run[i], path[i]);
	if (s == VQ_OK)
		s = tell_apart(c);
	if (s == VQ_OK) {
		int most = 0;
		for (int i = 0; i < c->runs; i++)
			most = VQ_MAX(most, c->run[i].lines.n);
		find_panels(c);
		if (most == 1 && c->panels)
			vq_warn("%s: one epoch only: points, no curves", c->run[0].path);
		s = c->panels ? write_script(c, format, script) : vq_fail(VQ_EFORMAT, "%s: no figure in it that could be drawn", c->run[0].path);
	}
	for (int i = 0; i < c->runs; i++) {
		vq_history_free(&c->run[i].lines);
		free(c->run[i].label);
		free(c->run[i].path);
	}
	free(c);
	return s;
}
