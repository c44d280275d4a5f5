/* The vectors of a codebook on their two principal axes, sized by use. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/safetensors.h"
#include "lib/eval/eigen.h"
#include "tools/cli.h"
#include "tools/codestats.h"
#include "tools/plot.h"

/* The points of one codebook. */
typedef struct { double *xy, share[2]; } plane;

static vq_status find_plane(const vq_level_stats *l, vq_st *model, const char *path, plane *p)
{
	const int64_t shape[2] = { l->all.size, l->dim };
	vq_tensor t = {0};
	if (!l->tensor)
		return vq_fail(VQ_EFORMAT, "the code stream's header does not say which tensor of the model holds the vectors of %s", l->name);
	if (l->dim > VQ_EIGEN_MAX)
		return vq_fail(VQ_ELIMIT, "%s: %s has vectors of %lld values; at most %d can be drawn", path, l->name, (long long)l->dim, VQ_EIGEN_MAX);
	VQ_TRY(vq_st_f32(model, l->tensor, 2, shape, &t));
	p->xy = vq_malloc(2 * (size_t)l->all.size * sizeof *p->xy);
	vq_status s = p->xy ? vq_eigen_plane(t.data, (size_t)l->all.size, (int)l->dim, p->xy, p->share) : VQ_ENOMEM;
	vq_tensor_free(&t);
	return s < 0 ? vq_context(s, "%s: %s", path, l->tensor) : s;
}

/* Areas are shares: what a code that is used as often as all others on average looks like is fixed. */
static double point_size(const vq_level_stats *l, int64_t k)
{
	double usual = (double)l->all.total / VQ_MAX((double)l->figures.used, 1);
	return VQ_MIN(VQ_MAX(1.2 * sqrt((double)l->all.counts[k] / usual), .6), 6);
}

static vq_status add_data(vq_buf *b, int level, const vq_level_stats *l, const plane *p)
{
	for (int dead = 0; dead < 2; dead++) {
		VQ_TRY(vq_buf_fmt(b, "$%s%d << END\n", dead ? "dead" : "used", level));
		for (int64_t k = 0; k < l->all.size; k++)
			if ((l->all.counts[k] == 0) == dead)
				VQ_TRY(vq_buf_fmt(b, "%.7g %.7g %.3f %lld %llu\n", p->xy[2 * k], p->xy[2 * k + 1], point_size(l, k), (long long)k, (unsigned long long)l->all.counts[k]));
		VQ_TRY(vq_buf_str(b, "END\n"));
	}
	return VQ_OK;
}

static vq_status add_plot(vq_buf *b, int level, const vq_level_stats *l, const plane *p)
{
	double lo[2] = { INFINITY, INFINITY }, hi[2] = { -INFINITY, -INFINITY };
	long long used = (long long)l->figures.used, dead = (long long)l->all.size - used;
	for (int64_t k = 0; k < 2 * l->all.size; k++) {
		lo[k % 2] = VQ_MIN(lo[k % 2], p->xy[k]);
		hi[k % 2] = VQ_MAX(hi[k % 2], p->xy[k]);
	}
	for (int a = 0; a < 2; a++) {
		double room = hi[a] > lo[a] ? .08 * (hi[a] - lo[a]) : 1;
		VQ_TRY(vq_buf_fmt(b, "set %crange [%.7g:%.7g]\nset %clabel 'axis %d (%.0f %% of the variance)'\n", 'x' + a, lo[a] - room, hi[a] + room, 'x' + a, a + 1, 100 * p->share[a]));
	}
	VQ_TRY(vq_buf_str(b, "set title "));
	VQ_TRY(vq_plot_quote(b, l->name));
	VQ_TRY(vq_buf_fmt(b, ".': %lld vectors, perplexity %.4g'\n", (long long)l->all.size, l->figures.perplexity));
	/* dead ones below: crosses stay visible round a dot */
	VQ_TRY(vq_buf_str(b, "plot "));
	if (dead)
		VQ_TRY(vq_buf_fmt(b, "$dead%d using 1:2 with points pt 2 ps 0.8 lw 1.5 lc rgb '#d55e00' title 'dead (%lld)', \\\n     ", level, dead));
	if (used) {
		VQ_TRY(vq_buf_fmt(b, "$used%d using 1:2:3 with points pt 7 ps variable lc rgb '#56b4e9' notitle, \\\n     ", level));
		VQ_TRY(vq_buf_fmt(b, "$used%d using 1:2:3 with points pt 6 ps variable lc rgb '#004c78' notitle, \\\n     ", level));
		VQ_TRY(vq_buf_fmt(b, "NaN with points pt 7 ps 1.2 lc rgb '#56b4e9' title 'used (%lld), area: how often'", used));
	}
	return vq_buf_str(b, "\n");
}

static vq_status write_script(const vq_codestats *s, const plane *p, vq_plot_format format, vq_buf *b)
{
	int columns = vq_plot_columns(s->nlevels), rows = (s->nlevels + columns - 1) / columns;
	VQ_TRY(vq_plot_terminal(b, format, s->nlevels > 1 ? 520 * columns : 800, s->nlevels > 1 ? 480 * rows : 700));
	for (int i = 0; i < s->nlevels; i++)
		VQ_TRY(add_data(b, i, &s->levels[i], &p[i]));
	VQ_TRY(vq_plot_style(b));
	VQ_TRY(vq_buf_fmt(b, "set key tmargin center horizontal\nset multiplot layout %d,%d\n", rows, columns));
	for (int i = 0; i < s->nlevels; i++)
		VQ_TRY(add_plot(b, i, &s->levels[i], &p[i]));
	return vq_buf_str(b, "unset multiplot\n");
}

static vq_status draw(vq_codestats *s, vqt_reader *in, vq_st *model, const vq_plot_job *j, vq_plot_format format, vq_buf *script)
{
	plane p[VQ_CODE_LEVELS_MAX] = {{0}};
	vq_status st = vq_codestats_read(s, in, 0);
	if (st == VQ_OK && s->n == 1)
		vq_warn("%s: one record only: the codes of one cell", vqt_name(in));
	for (int i = 0; i < s->nlevels && st == VQ_OK; i++)
		st = find_plane(&s->levels[i], model, j->model, &p[i]);
	if (st == VQ_OK)
		st = write_script(s, p, format, script);
	for (int i = 0; i < s->nlevels; i++)
		free(p[i].xy);
	return st;
}

vq_status vq_plot_codebook(const vq_plot_job *j, vq_plot_format format, vq_buf *script)
{
	vq_st *model;
	vqt_reader *in = NULL;
	vq_codestats stats = {0};
	VQ_TRY(vq_st_open(&model, j->model)); /* first: a wrong name is told before a long stream is read */
	vq_status s = vqt_open(&in, j->stream, NULL, NULL);
	if (s == VQ_OK)
		s = draw(&stats, in, model, j, format, script);
	if (s == VQ_OK && vqt_warning(in))
		vq_warn("%s: %s", vqt_name(in), vqt_warning(in));
	vqt_close(in);
	vq_st_close(model);
	vq_codestats_free(&stats);
	return s;
}
