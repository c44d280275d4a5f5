/* Where reconstructions are good and bad: the table of vq-metrics, by cell size, channel and field. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/csv.h"
#include "formats/sample.h"
#include "tools/cli.h"
#include "tools/plot.h"
#include "tools/plot_samples.h"

enum { FIELDS = 24, BINS = 12, WORST = 6, ACROSS = 2 };

typedef struct { char *field; double psnr, pixels; float channel[VQ_CHANNELS_MAX]; } row;
typedef struct {
	row *v;
	size_t n, cap, exact;     /* exact: records without a finite PSNR */
	int channels, at[VQ_CHANNELS_MAX];
	char *name[VQ_CHANNELS_MAX];
} table;

/* The five numbers of a box: whiskers reach to the last values within 1.5 of the quartiles' distance. */
typedef struct { size_t n; double low, q1, median, q3, high; } box;
typedef struct { const char *name; box b; } group;

/* --- reading --------------------------------------------------------------------------------------------------------- */

static void table_free(table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i].field);
	for (int c = 0; c < t->channels; c++)
		free(t->name[c]);
	free(t->v);
}

/* A number, or NaN for an empty cell. */
static vq_status number(vq_csv *csv, int column, double *out)
{
	char *end;
	const char *text = vq_csv_get(csv, column);
	*out = strtod(text, &end);
	if (!*text)
		*out = NAN;
	else if (end == text || *end)
		return vq_fail(VQ_EFORMAT, "%s line %llu: %s \"%.40s\" is no number", vq_csv_path(csv), (unsigned long long)vq_csv_line(csv), vq_csv_name(csv, column), text);
	return VQ_OK;
}

static vq_status read_row(vq_csv *csv, table *t, int psnr, int pixels, int field)
{
	double v;
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 256;
		row *grown = vq_realloc(t->v, cap * sizeof *grown);
		if (!grown)
			return VQ_ENOMEM;
		t->v = grown;
		t->cap = cap;
	}
	row *r = &t->v[t->n];
	VQ_TRY(number(csv, psnr, &r->psnr));
	VQ_TRY(number(csv, pixels, &r->pixels));
	if (!isfinite(r->psnr)) {
		t->exact++;
		return VQ_OK;
	}
	if (!(r->pixels >= 1))
		return vq_fail(VQ_EFORMAT, "%s line %llu: pixels is not at least 1", vq_csv_path(csv), (unsigned long long)vq_csv_line(csv));
	for (int c = 0; c < t->channels; c++) {
		VQ_TRY(number(csv, t->at[c], &v));
		r->channel[c] = (float)v;
	}
	if (!(r->field = vq_strdup(vq_csv_get(csv, field))))
		return VQ_ENOMEM;
	t->n++;
	return VQ_OK;
}

static vq_status read_table(table *t, const char *path)
{
	vq_csv *csv;
	int got = 0;
	VQ_TRY(vq_csv_open(&csv, path));
	int psnr = vq_csv_column(csv, "psnr"), pixels = vq_csv_column(csv, "pixels"), field = vq_csv_column(csv, "field");
	vq_status s = VQ_OK;
	if (psnr < 0 || pixels < 0 || field < 0)
		s = vq_fail(VQ_EFORMAT, "%s: no column \"%s\": this is not a table of vq-metrics", path, psnr < 0 ? "psnr" : pixels < 0 ? "pixels" : "field");
	for (int i = 0; s == VQ_OK && i < vq_csv_columns(csv) && t->channels < VQ_CHANNELS_MAX; i++)
		if (!strncmp(vq_csv_name(csv, i), "psnr_", 5)) {
			t->at[t->channels] = i;
			if (!(t->name[t->channels] = vq_strdup(vq_csv_name(csv, i) + 5)))
				s = VQ_ENOMEM;
			t->channels++;
		}
	while (s == VQ_OK && (got = vq_csv_next(csv)) > 0)
		s = read_row(csv, t, psnr, pixels, field);
	vq_csv_close(csv);
	s = s == VQ_OK && got < 0 ? got : s;
	if (s == VQ_OK && !t->n)
		s = vq_fail(VQ_EINVAL, t->exact ? "%s: every record is equal to its original: there is no error to draw" : "%s: no records in it", path);
	return s;
}

/* --- figures --------------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
	double p = *(const double *)a, q = *(const double *)b;
	return p < q ? -1 : p > q;
}

static double quantile(const double *sorted, size_t n, double q)
{
	double at = q * (double)(n - 1);
	size_t i = (size_t)at;
	return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

/* v is sorted on the way. */
static box make_box(double *v, size_t n)
{
	box b = { .n = n };
	if (!n)
		return b;
	qsort(v, n, sizeof *v, ascending);
	b.q1 = quantile(v, n, .25);
	b.median = quantile(v, n, .5);
	b.q3 = quantile(v, n, .75);
	double reach = 1.5 * (b.q3 - b.q1);
	b.low = b.q1;
	b.high = b.q3;
	for (size_t i = 0; i < n; i++) {
		if (v[i] >= b.q1 - reach)
			b.low = VQ_MIN(b.low, v[i]);
		if (v[i] <= b.q3 + reach)
			b.high = VQ_MAX(b.high, v[i]);
	}
	return b;
}

static int by_field(const void *a, const void *b) { return strcmp(((const row *)a)->field, ((const row *)b)->field); }
static int by_pixels(const void *a, const void *b)
{
	double p = ((const row *)a)->pixels, q = ((const row *)b)->pixels;
	return p < q ? -1 : p > q;
}
static int by_median(const void *a, const void *b)
{
	const group *p = a, *q = b;
	return p->b.median < q->b.median ? -1 : p->b.median > q->b.median ? 1 : strcmp(p->name, q->name);
}

/* --- the script ------------------------------------------------------------------------------------------------------ */

static vq_status add_boxes(vq_buf *b, const char *title, const group *g, size_t n, bool turned)
{
	VQ_TRY(vq_buf_str(b, "$boxes << END\n"));
	for (size_t i = 0; i < n; i++)
		VQ_TRY(vq_buf_fmt(b, "%zu %.7g %.7g %.7g %.7g %.7g\n", i + 1, g[i].b.q1, g[i].b.low, g[i].b.high, g[i].b.q3, g[i].b.median));
	VQ_TRY(vq_buf_str(b, "END\nset title "));
	VQ_TRY(vq_plot_quote(b, title));
	VQ_TRY(vq_buf_fmt(b, "\nunset logscale\nunset key\nset xlabel ''\nset ylabel 'PSNR (dB)'\nset xrange [0.3:%zu.7]\nset boxwidth 0.6\nset xtics %s (", n,
	                  turned ? "rotate by 90 right" : "norotate center"));
	for (size_t i = 0; i < n; i++) {
		char name[28];
		size_t len = strlen(g[i].name), from = len > 24 ? len - 22 : 0; /* the end of a field's name tells it apart */
		while (((unsigned char)g[i].name[from] & 0xc0) == 0x80)
			from++;
		snprintf(name, sizeof name, "%s%s", from ? ".." : "", g[i].name + from);
		VQ_TRY(vq_buf_str(b, i ? ", " : ""));
		VQ_TRY(vq_plot_quote(b, name));
		VQ_TRY(vq_buf_fmt(b, " %zu", i + 1));
	}
	return vq_buf_str(b, ")\nplot $boxes using 1:2:3:4:5 with candlesticks lc rgb '#56b4e9' fs solid 0.6 border lc rgb '#003a5c' whiskerbars 0.5, \\\n"
	                  "     '' using 1:6:6:6:6 with candlesticks lw 2 lc rgb '#000000'\n");
}

static vq_status add_channels(vq_buf *b, const table *t)
{
	group g[VQ_CHANNELS_MAX];
	size_t n = 0;
	double *v = vq_malloc(t->n * sizeof *v);
	if (!v)
		return VQ_ENOMEM;
	for (int c = 0; c < t->channels; c++) {
		size_t k = 0;
		for (size_t i = 0; i < t->n; i++)
			if (isfinite(t->v[i].channel[c]))
				v[k++] = t->v[i].channel[c];
		if (k)
			g[n++] = (group){ t->name[c], make_box(v, k) };
	}
	free(v);
	return n ? add_boxes(b, "by channel", g, n, n > 5) : VQ_OK; /* without channels its place stays empty */
}

/* The rows are sorted by field on the way. */
static vq_status add_fields(vq_buf *b, table *t)
{
	char title[80];
	size_t n = 0;
	qsort(t->v, t->n, sizeof *t->v, by_field);
	double *v = vq_malloc(t->n * sizeof *v);
	group *g = vq_malloc(t->n * sizeof *g);
	for (size_t i = 0, end; v && g && i < t->n; i = end) {
		for (end = i; end < t->n && !strcmp(t->v[end].field, t->v[i].field); end++)
			v[end - i] = t->v[end].psnr;
		g[n++] = (group){ *t->v[i].field ? t->v[i].field : "(none)", make_box(v, end - i) };
	}
	vq_status s = v && g ? VQ_OK : VQ_ENOMEM;
	if (s == VQ_OK) {
		qsort(g, n, sizeof *g, by_median);
		snprintf(title, sizeof title, n > FIELDS ? "by field, the worst %d of %zu" : "by field", FIELDS, n);
		s = add_boxes(b, title, g, VQ_MIN(n, FIELDS), true);
	}
	free(v);
	free(g);
	return s;
}

/* $cells: pixels, PSNR; $line: the median of cells about as large. Sorts the rows by size. */
static vq_status add_size_data(vq_buf *b, table *t)
{
	size_t bins = VQ_MIN(t->n / 8, BINS);
	double *v = vq_malloc(t->n * sizeof *v);
	vq_status s = v ? vq_buf_str(b, "$cells << END\n") : VQ_ENOMEM;
	qsort(t->v, t->n, sizeof *t->v, by_pixels);
	for (size_t i = 0; i < t->n && s == VQ_OK; i++)
		s = vq_buf_fmt(b, "%.10g %.17g\n", t->v[i].pixels, t->v[i].psnr); /* all digits: gnuplot compares them with the outliers' limit */
	if (s == VQ_OK)
		s = vq_buf_str(b, "END\n$line << END\n");
	for (size_t k = 0; k < bins && s == VQ_OK; k++) {
		size_t from = k * t->n / bins, to = (k + 1) * t->n / bins;
		for (size_t i = from; i < to; i++)
			v[i - from] = t->v[i].psnr;
		s = vq_buf_fmt(b, "%.10g %.7g\n", t->v[(from + to) / 2].pixels, make_box(v, to - from).median);
	}
	free(v);
	return s == VQ_OK ? vq_buf_str(b, "END\n") : s;
}

/* 1, 2 and 5 of each power of ten: gnuplot's own are too few. */
static vq_status add_log_tics(vq_buf *b, double lo, double hi)
{
	static const int lead[] = { 1, 2, 5 };
	const char *comma = "";
	VQ_TRY(vq_buf_str(b, "set xtics ("));
	for (double p = 1; p <= hi; p *= 10)
		for (size_t i = 0; i < VQ_COUNT(lead); i++)
			if (p * lead[i] >= lo && p * lead[i] <= hi) {
				VQ_TRY(vq_buf_fmt(b, "%s%.0f", comma, p * lead[i]));
				comma = ", ";
			}
	return vq_buf_str(b, ")\n");
}

static vq_status add_size(vq_buf *b, table *t)
{
	size_t outliers = 0;
	double *v = vq_malloc(t->n * sizeof *v), lo = t->v[0].pixels, hi = t->v[t->n - 1].pixels;
	if (!v)
		return VQ_ENOMEM;
	for (size_t i = 0; i < t->n; i++)
		v[i] = t->v[i].psnr;
	box all = make_box(v, t->n);
	free(v);
	for (size_t i = 0; i < t->n; i++)
		outliers += t->v[i].psnr < all.low;
	VQ_TRY(vq_buf_fmt(b, "set title '%zu cells, median %.1f dB", t->n, all.median));
	if (t->exact)
		VQ_TRY(vq_buf_fmt(b, "; equal in every pixel and left out: %zu", t->exact));
	VQ_TRY(vq_buf_fmt(b, "'\nset logscale x\nset xrange [%.10g:%.10g]\nset xlabel 'pixels of the cell'\nset ylabel 'PSNR (dB)'\nset key tmargin center horizontal\n", lo / 1.1, hi * 1.1));
	VQ_TRY(add_log_tics(b, lo / 1.1, hi * 1.1));
	VQ_TRY(vq_buf_fmt(b, "plot $cells using 1:($2 < %.17g ? NaN : $2) with points pt 7 ps 0.5 lc rgb '#56b4e9' notitle", all.low));
	if (outliers)
		VQ_TRY(vq_buf_fmt(b, ", \\\n     $cells using 1:($2 < %.17g ? $2 : NaN) with points pt 9 ps 1 lc rgb '#d55e00' title 'outliers (%zu)'", all.low, outliers));
	if (t->n >= 16)
		VQ_TRY(vq_buf_str(b, ", \\\n     $line using 1:2 with lines lw 3 lc rgb '#000000' title 'median'"));
	return vq_buf_str(b, "\n");
}

static vq_status write_script(table *t, const vq_tensor *worst, vq_plot_format format, vq_buf *b)
{
	int low = worst->data ? (int)worst->shape[0] : 0, w = worst->data ? VQ_MAX(1350, (int)worst->shape[1]) : 1350, h = 430 + (low ? low + 30 : 0);
	VQ_TRY(vq_plot_terminal(b, format, w, h));
	VQ_TRY(vq_plot_style(b));
	VQ_TRY(add_size_data(b, t));
	VQ_TRY(vq_buf_fmt(b, "set multiplot\nset size %.6f,%.6f\nset origin 0,%.6f\n", 1 / 3., 430. / h, 1 - 430. / h));
	VQ_TRY(add_size(b, t));
	VQ_TRY(vq_buf_fmt(b, "set origin %.6f,%.6f\n", 1 / 3., 1 - 430. / h));
	VQ_TRY(add_channels(b, t));
	VQ_TRY(vq_buf_fmt(b, "set origin %.6f,%.6f\n", 2 / 3., 1 - 430. / h));
	VQ_TRY(add_fields(b, t));
	if (low) {
		VQ_TRY(vq_buf_fmt(b, "set label 1 'The worst cells' at screen %.6f, screen %.6f left font ',14'\n", 20. / w, (low + 18.) / h));
		VQ_TRY(vq_buf_fmt(b, "set origin 0,0\nset size %.6f,%.6f\n", (double)worst->shape[1] / w, (double)low / h));
		return vq_plot_pixels(b, worst);
	}
	return vq_buf_str(b, "unset multiplot\n");
}

vq_status vq_plot_errors(const vq_plot_job *j, vq_plot_format format, vq_buf *script)
{
	table t = {0};
	vq_tensor worst = {0};
	vq_samples_options o = { .stream = j->stream, .reference = j->reference, .per_record = j->per_record, .records = j->records ? j->records : WORST,
	                         .composite = j->composite, .zoom = j->zoom, .columns = j->columns ? j->columns : ACROSS, .error = j->error, .worst = true };
	vq_status s = read_table(&t, j->per_record);
	if (s == VQ_OK && t.n + t.exact == 1)
		vq_warn("%s: one record only", j->per_record);
	if (s == VQ_OK && j->reference)
		s = vq_samples_draw(&worst, &o);
	if (s == VQ_OK)
		s = write_script(&t, &worst, format, script);
	vq_tensor_free(&worst);
	table_free(&t);
	return s;
}
