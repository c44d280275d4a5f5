/* How often each code of a codebook occurs, the most used first. */
#include <stdio.h>
#include <stdlib.h>

#include "tools/cli.h"
#include "tools/codestats.h"
#include "tools/plot.h"

enum { POINTS = 4000 }; /* of a curve: more cannot be seen */

static int most_first(const void *a, const void *b)
{
	uint64_t p = *(const uint64_t *)a, q = *(const uint64_t *)b;
	return p < q ? 1 : p > q ? -1 : 0;
}

static int64_t step_of(int64_t used) { return used / POINTS + 1; }

/* RANK COUNT, for every rank or, of a large codebook, for some, evenly; the last code in use is always there. */
static vq_status add_data(vq_buf *b, int level, const uint64_t *sorted, int64_t used)
{
	int64_t step = step_of(used);
	VQ_TRY(vq_buf_fmt(b, "$level%d << END\n", level));
	for (int64_t i = 0; i < used; i += i + step < used || i == used - 1 ? step : used - 1 - i)
		VQ_TRY(vq_buf_fmt(b, "%lld %llu\n", (long long)i + 1, (unsigned long long)sorted[i]));
	return vq_buf_str(b, "END\n");
}

static vq_status add_plot(vq_buf *b, int level, const vq_level_stats *l)
{
	const vq_code_figures *f = &l->figures;
	long long used = (long long)f->used, size = (long long)l->all.size;
	/* of many dead codes only some are drawn, so that those in use keep their room */
	long long end = size <= 2 * used ? size : VQ_MIN(size, used + VQ_MAX(used / 3, 6));
	double even = (double)l->all.total / (double)size;
	VQ_TRY(vq_buf_str(b, "set title "));
	VQ_TRY(vq_plot_quote(b, l->name));
	VQ_TRY(vq_buf_fmt(b, ".\": %lld of %lld codes in use (%.3g %%)\\nentropy %.3g bits of %d, perplexity %.4g\"\n", used, size, 100 * f->usage, f->entropy,
	                  f->raw_bits, f->perplexity));
	VQ_TRY(vq_buf_fmt(b, "set xrange [0.5:%lld.5]\nset xtics %s\nset boxwidth %lld\nunset label\nunset object\n", end, end <= 12 ? "1" : "autofreq", (long long)step_of(used)));
	if (used < size)
		VQ_TRY(vq_buf_fmt(b, "set object 1 rectangle from first %lld.5, graph 0 to first %lld.5, graph 1 behind fc rgb '#d55e00' fs solid 0.18 noborder\n"
		                  "set label 1 '%lld dead%s' at graph 0.98, graph 0.06 right tc rgb '#7a2f00' front\n", used, end, size - used, end < size ? " ..." : ""));
	return vq_buf_fmt(b, "plot $level%d using 1:2 with boxes fs solid 1 noborder lc rgb '#0072b2' notitle, %.10g with lines lw 2 dt 2 lc rgb '#000000' title 'if all were used alike'\n",
	                  level, even);
}

static vq_status write_script(const vq_codestats *s, uint64_t **sorted, vq_plot_format format, vq_buf *b)
{
	int columns = vq_plot_columns(s->nlevels), rows = (s->nlevels + columns - 1) / columns;
	VQ_TRY(vq_plot_terminal(b, format, s->nlevels > 1 ? 480 * columns : 800, s->nlevels > 1 ? 360 * rows : 500));
	for (int i = 0; i < s->nlevels; i++)
		VQ_TRY(add_data(b, i, sorted[i], s->levels[i].figures.used));
	VQ_TRY(vq_plot_style(b));
	VQ_TRY(vq_buf_str(b, "set logscale y\nset yrange [0.5:*]\nset key top right\nset xlabel 'codes, the most used first'\nset ylabel 'how often'\n"));
	VQ_TRY(vq_buf_fmt(b, "set multiplot layout %d,%d\n", rows, columns));
	for (int i = 0; i < s->nlevels; i++)
		VQ_TRY(add_plot(b, i, &s->levels[i]));
	return vq_buf_str(b, "unset multiplot\n");
}

vq_status vq_plot_usage(const vq_plot_job *j, vq_plot_format format, vq_buf *script)
{
	vqt_reader *in;
	vq_codestats s = {0};
	uint64_t *sorted[VQ_CODE_LEVELS_MAX] = {0};
	VQ_TRY(vqt_open(&in, j->stream, NULL, NULL));
	vq_status st = vq_codestats_read(&s, in, 0);
	if (st == VQ_OK && s.n == 1)
		vq_warn("%s: one record only: the codes of one cell", vqt_name(in));
	if (st == VQ_OK && vqt_warning(in))
		vq_warn("%s: %s", vqt_name(in), vqt_warning(in));
	/* the counts are ours: sorted where they stand */
	for (int i = 0; i < s.nlevels && st == VQ_OK; i++) {
		sorted[i] = s.levels[i].all.counts;
		qsort(sorted[i], (size_t)s.levels[i].all.size, sizeof *sorted[i], most_first);
	}
	if (st == VQ_OK)
		st = write_script(&s, sorted, format, script);
	vqt_close(in);
	vq_codestats_free(&s);
	return st;
}
