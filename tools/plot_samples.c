#include "tools/plot_samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/csv.h"
#include "formats/pairs.h"
#include "lib/image/normalize.h"
#include "lib/image/panel.h"
#include "tools/cli.h"

/* A cell that is to be shown. */
typedef struct {
	char *id, *note;
	double psnr;              /* of the table; NaN: none */
	int64_t channels, h, w;
	float *own, *other;       /* [C,h,w] true pixels of the stream's and of the reference's record (or NULL) */
	uint8_t *mask;            /* [h,w] or NULL */
	double lo[VQ_CHANNELS_MAX], hi[VQ_CHANNELS_MAX];
	bool scaled;              /* lo and hi are percentiles, not the data's own range */
} cell;

typedef struct { cell *v; size_t n, cap; cJSON *channels; /* names, from the first record that has them */ bool alone; /* in the table */ } cells;

static void cell_free(cell *c)
{
	free(c->id);
	free(c->note);
	free(c->own);
	free(c->other);
	free(c->mask);
	*c = (cell){0};
}

static cell *cells_add(cells *l, const char *id)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 32;
		cell *v = vq_realloc(l->v, cap * sizeof *v);
		if (!v)
			return NULL;
		l->v = v;
		l->cap = cap;
	}
	cell *c = &l->v[l->n];
	*c = (cell){ .id = vq_strdup(id), .psnr = NAN };
	if (!c->id)
		return NULL;
	l->n++;
	return c;
}

/* Keeps `want` of the list, evenly from its first to its last. */
static void thin(cells *l, size_t want)
{
	size_t kept = 0, n = l->n;
	if (n <= want)
		return;
	for (size_t i = 0, next = 0; i < n; i++) {
		if (i != next) {
			cell_free(&l->v[i]);
			continue;
		}
		cell c = l->v[i];
		l->v[i] = (cell){0};
		l->v[kept++] = c;
		next = kept < want ? want > 1 ? kept * (n - 1) / (want - 1) : n : n;
	}
	l->n = kept;
}

/* --- one record ------------------------------------------------------------------------------------------------------ */

/* The true pixels of a record as floats; NULL on failure. */
static float *true_pixels(const vq_tensor *image, const vq_geom *g)
{
	vq_tensor f;
	int64_t channels = image->shape[0], ph = image->shape[1], pw = image->shape[2];
	if (vq_tensor_to_f32(&f, image) < 0)
		return NULL;
	float *out = vq_malloc((size_t)(channels * g->h * g->w) * sizeof(float));
	for (int64_t row = 0; out && row < channels * g->h; row++)
		memcpy(out + row * g->w, (float *)f.data + (row / g->h * ph + g->top + row % g->h) * pw + g->left, (size_t)g->w * sizeof(float));
	vq_tensor_free(&f);
	return out;
}

/* What is shown black and white: -1 and 1 of normalised pixels, else percentiles. */
static vq_status find_range(cell *c, const vq_norm *norm, const vq_tensor *image, const vq_geom *g)
{
	static const double p[2] = { .5, 99.5 };
	c->scaled = norm->method != VQ_NORM_ROBUST && norm->method != VQ_NORM_MINMAX;
	for (int64_t k = 0; k < c->channels; k++) {
		double ends[2] = { -1, 1 };
		if (c->scaled)
			VQ_TRY(vq_plane_percentiles(image, k, (vq_window){ g->top, g->left, g->h, g->w }, p, 2, ends));
		c->lo[k] = ends[0];
		c->hi[k] = ends[1] > ends[0] ? ends[1] : ends[0] + 1;
	}
	return VQ_OK;
}

static vq_status take_mask(cell *c, const vq_tensor *mask, const vq_geom *g)
{
	if (!mask)
		return VQ_OK;
	c->mask = vq_malloc((size_t)(g->h * g->w));
	if (!c->mask)
		return VQ_ENOMEM;
	for (int64_t y = 0; y < g->h; y++)
		memcpy(c->mask + y * g->w, (uint8_t *)mask->data + (g->top + y) * mask->shape[1] + g->left, (size_t)g->w);
	return VQ_OK;
}

/* reference may be NULL: then the record is its own. */
static vq_status take(cells *l, cell *c, const vqt_record *r, const vqt_record *reference)
{
	vq_pair pair;
	const cJSON *names = cJSON_GetObjectItemCaseSensitive(r->meta, "channels");
	VQ_TRY(vq_pair_make(&pair, r, reference ? reference : r));
	if (!l->channels && names && !(l->channels = cJSON_Duplicate(names, true)))
		return vq_fail(VQ_ENOMEM, "out of memory: channel names");
	c->channels = pair.image->shape[0];
	c->h = pair.at.h;
	c->w = pair.at.w;
	VQ_TRY(find_range(c, &pair.norm, pair.reference, &pair.reference_at));
	VQ_TRY(take_mask(c, pair.mask, &pair.reference_at));
	if (!(c->own = true_pixels(pair.image, &pair.at)) || (reference && !(c->other = true_pixels(pair.reference, &pair.reference_at))))
		return VQ_ENOMEM;
	return VQ_OK;
}

/* The stream, with the reference beside it where there is one. */
typedef struct { vqt_reader *alone; vq_pairs *pairs; vqt_record rec, ref; } source;

static vq_status source_open(source *s, const vq_samples_options *o)
{
	*s = (source){0};
	return o->reference ? vq_pairs_open(&s->pairs, o->stream, o->reference, true) : vqt_open(&s->alone, o->stream, "samples", NULL);
}

static const char *source_name(const source *s) { return s->pairs ? vq_pairs_name(s->pairs, VQ_PAIR_STREAM) : vqt_name(s->alone); }

static int source_next(source *s)
{
	vqt_record_free(&s->rec);
	vqt_record_free(&s->ref);
	return s->pairs ? vq_pairs_next(s->pairs, &s->rec, &s->ref) : vqt_next(s->alone, &s->rec);
}

static vq_status source_take(source *s, cells *l, cell *c)
{
	if (!c)
		return VQ_ENOMEM;
	vq_status status = take(l, c, &s->rec, s->pairs ? &s->ref : NULL);
	return status < 0 ? vq_context(status, "%s", source_name(s)) : VQ_OK;
}

static void source_close(source *s)
{
	vqt_record_free(&s->rec);
	vqt_record_free(&s->ref);
	vqt_close(s->alone);
	vq_pairs_close(s->pairs);
}

/* --- which records --------------------------------------------------------------------------------------------------- */

static int by_psnr(const void *a, const void *b)
{
	const cell *p = a, *q = b;
	return p->psnr < q->psnr ? -1 : p->psnr > q->psnr ? 1 : strcmp(p->id, q->id);
}

static vq_status read_rows(vq_csv *csv, cells *l)
{
	int got, id = vq_csv_column(csv, "id"), psnr = vq_csv_column(csv, "psnr");
	if (id < 0 || psnr < 0)
		return vq_fail(VQ_EFORMAT, "%s: no column \"%s\": this is not a table of vq-metrics", vq_csv_path(csv), id < 0 ? "id" : "psnr");
	while ((got = vq_csv_next(csv)) > 0) {
		char *end;
		const char *text = vq_csv_get(csv, psnr);
		cell *c = cells_add(l, vq_csv_get(csv, id));
		if (!c)
			return VQ_ENOMEM;
		c->psnr = strtod(text, &end);
		if (!*text)
			c->psnr = INFINITY; /* equal in every pixel */
		else if (end == text || *end || isnan(c->psnr))
			return vq_fail(VQ_EFORMAT, "%s line %llu: psnr \"%s\" is no number", vq_csv_path(csv), (unsigned long long)vq_csv_line(csv), text);
		if (!(c->note = isinf(c->psnr) ? vq_strdup("equal") : vq_format("%.1f dB", c->psnr)))
			return VQ_ENOMEM;
	}
	return got;
}

static vq_status choose_by_table(cells *l, const vq_samples_options *o)
{
	vq_csv *csv;
	VQ_TRY(vq_csv_open(&csv, o->per_record));
	vq_status s = read_rows(csv, l);
	vq_csv_close(csv);
	VQ_TRY(s);
	if (!l->n)
		return vq_fail(VQ_EINVAL, "%s: no records in it", o->per_record);
	l->alone = l->n == 1;
	qsort(l->v, l->n, sizeof *l->v, by_psnr);
	if (!o->worst)
		thin(l, (size_t)o->records);
	while (l->n > (size_t)o->records)
		cell_free(&l->v[--l->n]);
	return VQ_OK;
}

/* --- the streams ----------------------------------------------------------------------------------------------------- */

static cell *wanted(const cells *l, const char *id)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->v[i].id, id))
			return &l->v[i];
	return NULL;
}

/* Reads until every cell of the list is found. */
static vq_status find_all(cells *l, const vq_samples_options *o)
{
	source in;
	size_t found = 0;
	int got = source_open(&in, o);
	if (got < 0)
		return got;
	while (found < l->n && (got = source_next(&in)) > 0) {
		cell *c = wanted(l, in.rec.id);
		if (c && (got = source_take(&in, l, c)) < 0)
			break;
		found += c != NULL;
	}
	for (size_t i = 0; got == 0 && found < l->n && i < l->n; i++)
		if (!l->v[i].own)
			got = vq_fail(VQ_EINVAL, "%s: no record %s in it, which is in %s", source_name(&in), l->v[i].id, o->per_record);
	source_close(&in);
	return got < 0 ? got : VQ_OK;
}

/* One pass that ends with cells spread evenly: every k-th is kept, and k doubles when there are too many. */
static vq_status choose_evenly(cells *l, const vq_samples_options *o)
{
	source in;
	size_t room = 2 * (size_t)o->records;
	uint64_t i = 0, step = 1;
	int got = source_open(&in, o);
	if (got < 0)
		return got;
	for (; (got = source_next(&in)) > 0; i++) {
		if (i % step)
			continue;
		if (l->n == room) {
			size_t kept = 0;
			for (size_t k = 0; k < l->n; k++)
				if (k % 2)
					cell_free(&l->v[k]);
				else
					l->v[kept++] = l->v[k];
			l->n = kept;
			step *= 2;
		}
		if (i % step == 0 && (got = source_take(&in, l, cells_add(l, in.rec.id))) < 0)
			break;
	}
	if (got == 0 && !l->n)
		got = vq_fail(VQ_EINVAL, "%s: no records in it", source_name(&in));
	if (got == 0 && i == 1)
		vq_warn("%s: one record only", source_name(&in));
	source_close(&in);
	if (got == 0)
		thin(l, (size_t)o->records);
	return got < 0 ? got : VQ_OK;
}

/* --- the panel ------------------------------------------------------------------------------------------------------- */

static void rescale(const cell *c, float *p)
{
	int64_t n = c->h * c->w;
	for (int64_t k = 0; p && c->scaled && k < c->channels; k++)
		for (int64_t i = 0; i < n; i++)
			p[k * n + i] = (float)((p[k * n + i] - c->lo[k]) / (c->hi[k] - c->lo[k]) * 2 - 1);
}

static vq_status draw(vq_tensor *rgb, const cells *l, const vq_samples_options *o)
{
	const char *names[VQ_CHANNELS_MAX];
	const cJSON *name;
	int n_names = 0;
	vq_panel_item *items = vq_calloc(l->n, sizeof *items);
	if (!items)
		return VQ_ENOMEM;
	for (size_t i = 0; i < l->n; i++) {
		cell *c = &l->v[i];
		rescale(c, c->own);
		rescale(c, c->other);
		/* the PSNR of pixels that were stretched for display means nothing */
		const char *note = c->note ? c->note : c->scaled ? "" : NULL;
		items[i] = (vq_panel_item){ c->channels, c->h, c->w, c->other ? c->other : c->own, c->other ? c->own : NULL, c->mask, c->id, note };
	}
	vq_panel_options how = { .composite = o->composite, .zoom = o->zoom, .columns = o->columns, .error = o->error, .difference = o->difference };
	cJSON_ArrayForEach(name, l->channels)
		if (n_names < VQ_CHANNELS_MAX && cJSON_IsString(name))
			names[n_names++] = name->valuestring;
	if (n_names == l->v[0].channels)
		how.channels = names;
	vq_status s = vq_panel_draw(rgb, items, (int)l->n, &how);
	free(items);
	return s;
}

vq_status vq_samples_draw(vq_tensor *rgb, const vq_samples_options *o)
{
	cells l = {0};
	*rgb = (vq_tensor){0};
	vq_status s = o->per_record ? choose_by_table(&l, o) : choose_evenly(&l, o);
	if (s == VQ_OK && o->per_record)
		s = find_all(&l, o);
	if (s == VQ_OK)
		s = draw(rgb, &l, o);
	if (s == VQ_OK && l.alone && !o->worst)
		vq_warn("%s: one record only", o->per_record);
	for (size_t i = 0; i < l.n; i++)
		cell_free(&l.v[i]);
	free(l.v);
	cJSON_Delete(l.channels);
	return s;
}

vq_status vq_samples_shown(const vqt_record *r, float **pixels, int64_t shape[3])
{
	cells l = {0};
	cell c = {0};
	vq_status s = take(&l, &c, r, NULL);
	if (s == VQ_OK) {
		rescale(&c, c.own);
		*pixels = c.own;
		c.own = NULL;
		shape[0] = c.channels;
		shape[1] = c.h;
		shape[2] = c.w;
	}
	cell_free(&c);
	cJSON_Delete(l.channels);
	return s;
}
