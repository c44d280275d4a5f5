/* Cells on the two principal axes of their features, coloured by a column of their metadata. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/sample.h"
#include "lib/eval/eigen.h"
#include "tools/cli.h"
#include "tools/plot.h"
#include "tools/plot_thumbs.h"

enum { LEFT = 80, RIGHT = 790, BOTTOM = 70, TOP = 655, HEIGHT = 700 /* of the plane in the picture, pixels */ };
enum { HUES = 8, SCALE_FROM = 8 /* a numeric column of more values than this is a scale */ };

typedef struct {
	float *x;                 /* [n][dim] */
	char **value;             /* [n], NULL for a cell without one */
	char **id;                /* [n] when there are thumbnails, else NULL */
	bool ids;
	char **known;             /* columns that some record has */
	size_t n, cap;
	int dim, n_known;
	bool found;
	double *xy, share[2], from[2], to[2]; /* from, to: of the axes */
	vq_tensor thumbs;
} cells;

typedef struct { const char *value; size_t n; } category;

static void cells_free(cells *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->value[i]);
	for (size_t i = 0; c->id && i < c->n; i++)
		free(c->id[i]);
	for (int i = 0; i < c->n_known; i++)
		free(c->known[i]);
	vq_tensor_free(&c->thumbs);
	free(c->id);
	free(c->x);
	free(c->value);
	free(c->known);
	free(c->xy);
}

/* --- reading --------------------------------------------------------------------------------------------------------- */

static vq_status know(cells *c, const char *name)
{
	for (int i = 0; i < c->n_known; i++)
		if (!strcmp(c->known[i], name))
			return VQ_OK;
	char **grown = vq_realloc(c->known, (size_t)(c->n_known + 1) * sizeof *grown);
	if (!grown)
		return VQ_ENOMEM;
	c->known = grown;
	if (!(grown[c->n_known] = vq_strdup(name)))
		return VQ_ENOMEM;
	c->n_known++;
	return VQ_OK;
}

static vq_status know_all(cells *c, const cJSON *meta)
{
	static const char *const own[] = { "field", "label" };
	const cJSON *item;
	char buf[32];
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(meta, "metadata"))
		if (item->string)
			VQ_TRY(know(c, item->string));
	for (size_t i = 0; i < VQ_COUNT(own); i++)
		if (vq_sample_text(meta, own[i], buf))
			VQ_TRY(know(c, own[i]));
	return VQ_OK;
}

static vq_status make_room(cells *c)
{
	if (c->n < c->cap)
		return VQ_OK;
	size_t cap = c->cap ? 2 * c->cap : 256;
	char **value = vq_realloc(c->value, cap * sizeof *value);
	if (!value)
		return VQ_ENOMEM;
	c->value = value;
	char **id = c->ids ? vq_realloc(c->id, cap * sizeof *id) : NULL;
	if (c->ids && !id)
		return VQ_ENOMEM;
	c->id = id;
	float *x = vq_realloc(c->x, cap * (size_t)c->dim * sizeof *x);
	if (!x)
		return VQ_ENOMEM;
	c->x = x;
	c->cap = cap;
	return VQ_OK;
}

static vq_status add_cell(cells *c, const vqt_record *r, const char *column)
{
	char buf[32];
	const vq_tensor *t = vqt_get(r, "latent_mean");
	if (!t)
		return vq_fail(VQ_EINVAL, "record %s has no latent_mean: encode with vq-encode --features", r->id);
	if (t->ndim != 1 || t->dtype != VQ_F32 || t->shape[0] < 1 || t->shape[0] > VQ_EIGEN_MAX)
		return vq_fail(VQ_EFORMAT, "record %s: latent_mean is no list of 1 to %d f32", r->id, VQ_EIGEN_MAX);
	if (!c->n)
		c->dim = (int)t->shape[0];
	if (t->shape[0] != c->dim)
		return vq_fail(VQ_EINVAL, "record %s: latent_mean has %lld values, the records before %d", r->id, (long long)t->shape[0], c->dim);
	VQ_TRY(make_room(c));
	const float *x = t->data;
	for (int k = 0; k < c->dim; k++)
		if (!isfinite(x[k]))
			return vq_fail(VQ_EINVAL, "record %s: value %d of latent_mean is not finite", r->id, k);
	memcpy(c->x + c->n * (size_t)c->dim, x, (size_t)c->dim * sizeof *x);
	const char *text = column ? vq_sample_text(r->meta, column, buf) : NULL;
	c->value[c->n] = NULL;
	if (text && *text && !(c->value[c->n] = vq_strdup(text)))
		return VQ_ENOMEM;
	if (c->id && !(c->id[c->n] = vq_strdup(r->id))) {
		free(c->value[c->n]);
		return VQ_ENOMEM;
	}
	c->found |= text != NULL;
	c->n++;
	return column && !c->found ? know_all(c, r->meta) : VQ_OK;
}

static vq_status no_column(const cells *c, const char *name, const char *column)
{
	int best = -1;
	for (int i = 0; i < c->n_known; i++)
		if (best < 0 || vq_distance(column, c->known[i]) < vq_distance(column, c->known[best]))
			best = i;
	if (best < 0)
		return vq_fail(VQ_EINVAL, "%s: no record has a column \"%s\", nor any other", name, column);
	return vq_fail(VQ_EINVAL, "%s: no record has a column \"%s\"; the nearest is \"%s\"", name, column, c->known[best]);
}

static vq_status read_cells(cells *c, vqt_reader *in, const char *column)
{
	vqt_record r;
	int got;
	while ((got = vqt_next(in, &r)) > 0) {
		vq_status s = add_cell(c, &r, column);
		vqt_record_free(&r);
		if (s < 0)
			return vq_context(s, "%s", vqt_name(in));
	}
	VQ_TRY(got);
	if (vqt_warning(in))
		vq_warn("%s: %s", vqt_name(in), vqt_warning(in));
	if (!c->n)
		return vq_fail(VQ_EINVAL, "%s: no records in it", vqt_name(in));
	if (column && !c->found)
		return no_column(c, vqt_name(in), column);
	if (c->n < 2)
		return vq_fail(VQ_EINVAL, "%s: one record only: a map needs at least two cells", vqt_name(in));
	return VQ_OK;
}

/* --- groups ---------------------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
	const char *p = *(char *const *)a, *q = *(char *const *)b;
	return !p ? q != NULL : !q ? -1 : strcmp(p, q); /* those without one last */
}
static int by_size(const void *a, const void *b)
{
	const category *p = a, *q = b;
	return p->n < q->n ? 1 : p->n > q->n ? -1 : !p->value ? 1 : !q->value ? -1 : strcmp(p->value, q->value);
}

/* The values of the column, most frequent first; *v is fresh. */
static vq_status count_values(const cells *c, category **v, size_t *n)
{
	char **sorted = vq_malloc(c->n * sizeof *sorted);
	*n = 0;
	*v = sorted ? vq_malloc(c->n * sizeof **v) : NULL;
	if (!*v) {
		free(sorted);
		return VQ_ENOMEM;
	}
	memcpy(sorted, c->value, c->n * sizeof *sorted);
	qsort(sorted, c->n, sizeof *sorted, by_text);
	for (size_t i = 0; i < c->n; i++)
		if (*n && !by_text(&(*v)[*n - 1].value, &sorted[i]))
			(*v)[*n - 1].n++;
		else
			(*v)[(*n)++] = (category){ sorted[i], 1 };
	free(sorted);
	qsort(*v, *n, sizeof **v, by_size);
	return VQ_OK;
}

static bool as_number(const char *text, double *out)
{
	char *end;
	*out = strtod(text, &end);
	return end != text && !*end && isfinite(*out);
}

static bool is_scale(const category *v, size_t n)
{
	double x;
	for (size_t i = 0; i < n; i++)
		if (v[i].value && !as_number(v[i].value, &x))
			return false;
	return n > SCALE_FROM;
}

/* --- the script ------------------------------------------------------------------------------------------------------ */

static void find_axes(cells *c)
{
	double lo[2] = { INFINITY, INFINITY }, hi[2] = { -INFINITY, -INFINITY };
	for (size_t i = 0; i < 2 * c->n; i++) {
		lo[i % 2] = VQ_MIN(lo[i % 2], c->xy[i]);
		hi[i % 2] = VQ_MAX(hi[i % 2], c->xy[i]);
	}
	for (int a = 0; a < 2; a++) {
		double room = hi[a] > lo[a] ? .05 * (hi[a] - lo[a]) : 1;
		c->from[a] = lo[a] - room;
		c->to[a] = hi[a] + room;
	}
}

static vq_status add_axes(vq_buf *b, const cells *c, int width)
{
	for (int a = 0; a < 2; a++)
		VQ_TRY(vq_buf_fmt(b, "set %crange [%.9g:%.9g]\nset %clabel 'axis %d (%.0f %% of the variance)'\n", 'x' + a, c->from[a], c->to[a], 'x' + a, a + 1, 100 * c->share[a]));
	return vq_buf_fmt(b, "set lmargin at screen %.6f\nset rmargin at screen %.6f\nset bmargin at screen %.6f\nset tmargin at screen %.6f\n", (double)LEFT / width,
	                  (double)(RIGHT - 10) / width, (double)BOTTOM / HEIGHT, (double)TOP / HEIGHT);
}

/* Ends the plot command; the pictures, over the points, are data that follows it. */
static vq_status end_plot(vq_buf *b, const cells *c)
{
	if (!c->thumbs.data)
		return vq_buf_str(b, "\n");
	int h = (int)c->thumbs.shape[0], w = (int)c->thumbs.shape[1];
	double dx = (c->to[0] - c->from[0]) / w, dy = (c->to[1] - c->from[1]) / h;
	VQ_TRY(vq_buf_fmt(b, ", \\\n     '-' binary array=(%d,%d) flip=y dx=%.12g dy=%.12g origin=(%.12g,%.12g) format='%%uchar%%uchar%%uchar%%uchar' using 1:2:3:4 with rgbalpha notitle\n",
	                  w, h, dx, dy, c->from[0] + dx / 2, c->from[1] + dy / 2));
	return vq_buf_add(b, c->thumbs.data, (size_t)w * (size_t)h * 4);
}

/* Points of one category (index at), of all that come after the shown ones (at == shown), or of all (v NULL). */
static vq_status add_group(vq_buf *b, const cells *c, const category *v, size_t shown, size_t at)
{
	VQ_TRY(vq_buf_fmt(b, "$group%zu << END\n", at));
	for (size_t i = 0; i < c->n; i++) {
		size_t k = 0;
		while (v && k < shown && by_text(&v[k].value, &c->value[i]))
			k++;
		if (!v || k == at)
			VQ_TRY(vq_buf_fmt(b, "%.7g %.7g\n", c->xy[2 * i], c->xy[2 * i + 1]));
	}
	return vq_buf_str(b, "END\n");
}

static vq_status add_categories(vq_buf *b, const cells *c, const category *v, size_t n)
{
	static const int shape[HUES] = { 7, 5, 9, 13, 11, 6, 4, 8 };
	size_t shown = n <= HUES ? n : HUES - 1, rest = 0;
	for (size_t k = 0; k < shown + (n > shown); k++)
		VQ_TRY(add_group(b, c, v, shown, k));
	VQ_TRY(vq_buf_str(b, "set key outside right top Left reverse\nplot "));
	for (size_t k = shown; k < n; k++)
		rest += v[k].n;
	if (rest)
		VQ_TRY(vq_buf_fmt(b, "$group%zu using 1:2 with points pt 7 ps 0.5 lc rgb '#b0b0b0' title '%zu others (%zu)'%s", shown, n - shown, rest, ", \\\n     "));
	for (size_t k = 0; k < shown; k++) {
		const char *value = v[k].value ? v[k].value : "none";
		int cut = (int)strnlen(value, 40);
		while (((unsigned char)value[cut] & 0xc0) == 0x80) /* not inside a character */
			cut--;
		char *name = vq_format("%.*s (%zu)", cut, value, v[k].n);
		vq_status s = name ? vq_buf_fmt(b, "$group%zu using 1:2 with points pt %d ps 0.8 lc rgb '%s' title ", k, shape[k], vq_plot_hue((int)k)) : VQ_ENOMEM;
		if (s == VQ_OK)
			s = vq_plot_quote(b, name);
		free(name);
		VQ_TRY(s);
		if (k + 1 < shown)
			VQ_TRY(vq_buf_str(b, ", \\\n     "));
	}
	return end_plot(b, c);
}

static vq_status add_scale(vq_buf *b, const cells *c, const char *column)
{
	double v;
	size_t valued = 0;
	VQ_TRY(vq_buf_str(b, "$cells << END\n"));
	for (size_t i = 0; i < c->n; i++)
		if (c->value[i] && as_number(c->value[i], &v))
			VQ_TRY(vq_buf_fmt(b, "%.7g %.7g %.9g\n", c->xy[2 * i], c->xy[2 * i + 1], v));
	VQ_TRY(vq_buf_str(b, "END\n$none << END\n"));
	for (size_t i = 0; i < c->n; i++)
		if (!c->value[i])
			VQ_TRY(vq_buf_fmt(b, "%.7g %.7g\n", c->xy[2 * i], c->xy[2 * i + 1]));
		else
			valued++;
	VQ_TRY(vq_buf_str(b, "END\nset palette defined (0 '#00204d', 0.25 '#31446b', 0.5 '#7c7b78', 0.75 '#bbaf71', 1 '#ffea46')\nset cblabel "));
	VQ_TRY(vq_plot_quote(b, column));
	VQ_TRY(vq_buf_fmt(b, "\nunset key\nplot %s$cells using 1:2:3 with points pt 7 ps 0.8 lc palette",
	                  valued < c->n ? "$none using 1:2 with points pt 1 ps 0.6 lc rgb '#b0b0b0', \\\n     " : ""));
	return end_plot(b, c);
}

static vq_status write_script(const cells *c, const char *column, const category *v, size_t n, vq_plot_format format, vq_buf *b)
{
	int width = column ? 1000 : 800;
	VQ_TRY(vq_plot_terminal(b, format, width, HEIGHT));
	VQ_TRY(vq_plot_style(b));
	VQ_TRY(add_axes(b, c, width));
	VQ_TRY(vq_buf_fmt(b, "set title '%zu cells by the mean of their latent vectors'", c->n));
	if (!column) {
		VQ_TRY(vq_buf_str(b, "\n"));
		VQ_TRY(add_group(b, c, NULL, 0, 0));
		VQ_TRY(vq_buf_str(b, "unset key\nplot $group0 using 1:2 with points pt 7 ps 0.7 lc rgb '#0072b2'"));
		return end_plot(b, c);
	}
	VQ_TRY(vq_buf_str(b, ".', '."));
	VQ_TRY(vq_plot_quote(b, column));
	VQ_TRY(vq_buf_str(b, "\n"));
	return is_scale(v, n) ? add_scale(b, c, column) : add_categories(b, c, v, n);
}

/* A frame has its category's colour, as the points have. */
static vq_status draw_thumbs(cells *c, const vq_plot_job *j, const category *v, size_t n)
{
	size_t shown = !v || is_scale(v, n) ? 0 : n <= HUES ? n : HUES - 1;
	vq_thumb *t = vq_calloc(c->n, sizeof *t);
	if (!t)
		return VQ_ENOMEM;
	for (size_t i = 0; i < c->n; i++) {
		size_t k = 0;
		while (k < shown && by_text(&v[k].value, &c->value[i]))
			k++;
		t[i] = (vq_thumb){ c->id[i], (c->xy[2 * i] - c->from[0]) / (c->to[0] - c->from[0]), (c->xy[2 * i + 1] - c->from[1]) / (c->to[1] - c->from[1]),
		                   k < shown ? vq_plot_hue((int)k) : NULL };
	}
	vq_status s = vq_thumbs_draw(&c->thumbs, j->reference, t, c->n, j->records, RIGHT - 10 - LEFT, TOP - BOTTOM);
	free(t);
	return s;
}

vq_status vq_plot_map(const vq_plot_job *j, vq_plot_format format, vq_buf *script)
{
	vqt_reader *in;
	cells c = { .ids = j->reference != NULL };
	category *v = NULL;
	size_t n = 0;
	VQ_TRY(vqt_open(&in, j->stream, "codes", NULL));
	vq_status s = read_cells(&c, in, j->group_by);
	if (s == VQ_OK && !(c.xy = vq_malloc(2 * c.n * sizeof *c.xy)))
		s = VQ_ENOMEM;
	if (s == VQ_OK)
		s = vq_eigen_plane(c.x, c.n, c.dim, c.xy, c.share);
	if (s == VQ_OK)
		find_axes(&c);
	if (s == VQ_OK && j->group_by)
		s = count_values(&c, &v, &n);
	if (s == VQ_OK && j->reference)
		s = draw_thumbs(&c, j, v, n);
	if (s == VQ_OK)
		s = write_script(&c, j->group_by, v, n, format, script);
	free(v);
	vqt_close(in);
	cells_free(&c);
	return s;
}
