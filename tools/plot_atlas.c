/* What codes look like: a row a code, what it decodes to, and pieces of cells that use it. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/panel.h"
#include "lib/rng.h"
#include "tools/batchrec.h"
#include "tools/cells.h"
#include "tools/cli.h"
#include "tools/codec.h"
#include "tools/plot.h"

enum { PATCHES = 9, SIZE_MAX_DRAWN = 1 << 17, SPAN = 3 /* code positions a patch is wide, the code's own in the middle */ };

/* A place where a code occurs: the true pixels' coordinates of its patch's corner. */
typedef struct { uint32_t cell; int32_t y, x; float *pixels; } place;
typedef struct { int code; uint64_t count; place at[PATCHES]; int n; } row;

typedef struct {
	vq_model model;
	int stride, size, side;   /* side: of a patch, pixels */
	uint64_t total, *count;   /* [size] of each code */
	uint64_t inside_total, *inside; /* the same over the cells' own masks, where the stream has histograms */
	row *row;                 /* [size] while reading, then the most used ones, most used first */
	int rows;
	int common[VQ_CODE_LEVELS_MAX]; /* the most used code of each further codebook */
	uint64_t *other[VQ_CODE_LEVELS_MAX];
	char **id;                /* of the cells that were read */
	size_t cells, cap;
	float *decoded;           /* [rows][C][side][side] */
	uint8_t *own;             /* [side][side]: 1 where the code's own position is */
	vq_rng rng;
} atlas;

static void atlas_free(atlas *a)
{
	for (int i = 0; a->row && i < a->rows; i++)
		for (int k = 0; k < a->row[i].n; k++)
			free(a->row[i].at[k].pixels);
	for (size_t i = 0; i < a->cells; i++)
		free(a->id[i]);
	for (int l = 0; l < VQ_CODE_LEVELS_MAX; l++)
		free(a->other[l]);
	free(a->id);
	free(a->row);
	free(a->count);
	free(a->inside);
	free(a->decoded);
	free(a->own);
	vq_model_free(&a->model);
}

static vq_status atlas_open(atlas *a, const char *path)
{
	VQ_TRY(vq_model_load(&a->model, path));
	const vq_model_info *info = &a->model.info;
	a->stride = info->stride;
	a->size = info->level[0].size;
	a->side = SPAN * a->stride;
	if (!a->stride)
		return vq_fail(VQ_EUNSUP, "%s: one code a cell: an atlas needs a model with a code a position", path);
	if (a->size > SIZE_MAX_DRAWN)
		return vq_fail(VQ_ELIMIT, "%s: a codebook of %d; an atlas takes at most %d", path, a->size, SIZE_MAX_DRAWN);
	a->rng = vq_rng_make(0, 0x61746c61);
	a->rows = a->size;
	if (!(a->count = vq_calloc((size_t)a->size, sizeof *a->count)) || !(a->inside = vq_calloc((size_t)a->size, sizeof *a->inside)) || !(a->row = vq_calloc((size_t)a->size, sizeof *a->row)))
		return VQ_ENOMEM;
	for (int l = 1; l < info->levels; l++)
		if (!(a->other[l] = vq_calloc((size_t)info->level[l].size, sizeof **a->other)))
			return VQ_ENOMEM;
	return VQ_OK;
}

/* --- the codes ------------------------------------------------------------------------------------------------------- */

/* Each occurrence of a code has the same chance to be shown (reservoir sampling). */
static void meet(atlas *a, int code, int32_t y, int32_t x)
{
	row *r = &a->row[code];
	uint64_t seen = a->count[code]++, k = seen < PATCHES ? seen : vq_rng_below(&a->rng, seen + 1);
	a->total++;
	if (k < PATCHES) {
		r->at[k] = (place){ (uint32_t)a->cells - 1, y, x, NULL };
		r->n = VQ_MAX(r->n, (int)k + 1);
	}
}

static vq_status add_id(atlas *a, const char *id)
{
	if (a->cells == a->cap) {
		size_t cap = a->cap ? 2 * a->cap : 256;
		char **grown = vq_realloc(a->id, cap * sizeof *grown);
		if (!grown)
			return VQ_ENOMEM;
		a->id = grown;
		a->cap = cap;
	}
	if (!(a->id[a->cells] = vq_strdup(id)))
		return VQ_ENOMEM;
	a->cells++;
	return VQ_OK;
}

static vq_status codes_of(const vqt_record *r, const vq_code_level *level, vq_tensor **t)
{
	*t = vqt_get(r, level->name);
	if (!*t || (*t)->ndim != 2 || ((*t)->dtype != VQ_U16 && (*t)->dtype != VQ_I32) || (*t)->shape[0] > 1 << 15 || (*t)->shape[1] > 1 << 15)
		return vq_fail(VQ_EINVAL, "no grid of codes \"%s\"", level->name);
	for (int64_t i = 0; i < (*t)->shape[0] * (*t)->shape[1]; i++) {
		double v = vq_tensor_get(*t, (size_t)i);
		if (v < 0 || v >= level->size)
			return vq_fail(VQ_EINVAL, "code %.0f at position %lld of \"%s\", which has %d", v, (long long)i, level->name, level->size);
	}
	return VQ_OK;
}

static void add_histogram(atlas *a, const vq_tensor *t)
{
	for (int k = 0; t && t->ndim == 1 && t->dtype == VQ_I32 && t->shape[0] == a->size && k < a->size; k++) {
		int32_t n = VQ_MAX(((const int32_t *)t->data)[k], 0);
		a->inside[k] += (uint64_t)n;
		a->inside_total += (uint64_t)n;
	}
}

/* Positions whose middle is a true pixel. */
static vq_status read_codes(atlas *a, const vqt_record *r)
{
	vq_tensor *t;
	vq_geom g;
	VQ_TRY(codes_of(r, &a->model.info.level[0], &t));
	vq_tensor whole = { .dtype = VQ_F32, .ndim = 3, .shape = { a->model.channels, t->shape[0] * a->stride, t->shape[1] * a->stride } };
	VQ_TRY(vq_geom_get(r->meta, &whole, &g));
	VQ_TRY(add_id(a, r->id));
	add_histogram(a, vqt_get(r, "histogram"));
	for (int64_t y = 0; y < t->shape[0]; y++)
		for (int64_t x = 0; x < t->shape[1]; x++) {
			int64_t py = y * a->stride - g.top, px = x * a->stride - g.left, half = a->stride / 2;
			if (py + half >= 0 && px + half >= 0 && py + half < g.h && px + half < g.w)
				meet(a, (int)vq_tensor_get(t, (size_t)(y * t->shape[1] + x)), (int32_t)(py - a->stride), (int32_t)(px - a->stride));
		}
	for (int l = 1; l < a->model.info.levels; l++) {
		VQ_TRY(codes_of(r, &a->model.info.level[l], &t));
		for (int64_t i = 0; i < t->shape[0] * t->shape[1]; i++)
			a->other[l][(size_t)vq_tensor_get(t, (size_t)i)]++;
	}
	return VQ_OK;
}

static int most_first(const void *a, const void *b)
{
	const row *p = a, *q = b;
	return p->count < q->count ? 1 : p->count > q->count ? -1 : p->code - q->code;
}

static vq_status read_stream(atlas *a, const vq_plot_job *j)
{
	vqt_reader *in;
	vqt_record r;
	int got;
	VQ_TRY(vqt_open(&in, j->stream, "codes", NULL));
	const cJSON *levels = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(vqt_header(in), "model"), "levels");
	const cJSON *size = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(levels, 0), "size");
	if (cJSON_IsNumber(size) && size->valueint != a->size) {
		vq_status s = vq_fail(VQ_EINVAL, "%s: codes of a codebook of %d; %s has %d", vqt_name(in), size->valueint, j->model, a->size);
		vqt_close(in);
		return s;
	}
	while ((got = vqt_next(in, &r)) > 0) {
		vq_status s = read_codes(a, &r);
		if (s < 0)
			vq_context(s, "%s: record %s", vqt_name(in), r.id);
		vqt_record_free(&r);
		if (s < 0) {
			got = s;
			break;
		}
	}
	if (got == 0 && !a->total)
		got = vq_fail(VQ_EINVAL, "%s: no records in it", vqt_name(in));
	if (got == 0 && a->cells == 1)
		vq_warn("%s: one record only: the codes of one cell", vqt_name(in));
	if (got == 0 && vqt_warning(in))
		vq_warn("%s: %s", vqt_name(in), vqt_warning(in));
	vqt_close(in);
	return got;
}

static void choose(atlas *a, int want)
{
	if (a->inside_total) {
		/* what the cells are made of, not the background of their crops */
		memcpy(a->count, a->inside, (size_t)a->size * sizeof *a->count);
		a->total = a->inside_total;
	}
	for (int k = 0; k < a->size; k++) {
		a->row[k].code = k;
		a->row[k].count = a->count[k];
	}
	qsort(a->row, (size_t)a->size, sizeof *a->row, most_first);
	a->rows = 0;
	while (a->rows < a->size && a->rows < want && a->row[a->rows].count)
		a->rows++;
	for (int l = 1; l < a->model.info.levels; l++)
		for (int k = 0; k < a->model.info.level[l].size; k++)
			if (a->other[l][k] > a->other[l][a->common[l]])
				a->common[l] = k;
}

/* --- the cells ------------------------------------------------------------------------------------------------------- */

/* Pixels beyond the cell's are black. */
static float *cut(const atlas *a, const vq_tensor *image, const vq_geom *g, const place *p)
{
	size_t n = (size_t)(a->model.channels * a->side * a->side);
	float *out = vq_malloc(n * sizeof *out), *to = out;
	for (int64_t c = 0; out && c < a->model.channels; c++)
		for (int64_t y = p->y; y < p->y + a->side; y++)
			for (int64_t x = p->x; x < p->x + a->side; x++) {
				bool in = y >= 0 && x >= 0 && y < g->h && x < g->w;
				*to++ = in ? (float)vq_tensor_get(image, (size_t)((c * image->shape[1] + g->top + y) * image->shape[2] + g->left + x)) : -1;
			}
	return out;
}

static vq_status cut_all(atlas *a, vqt_record *r, size_t *left)
{
	vq_tensor *image;
	vq_geom g;
	bool ready = false;
	for (int i = 0; i < a->rows; i++)
		for (int k = 0; k < a->row[i].n; k++) {
			place *p = &a->row[i].at[k];
			if (p->pixels || strcmp(a->id[p->cell], r->id))
				continue;
			if (!ready) {
				VQ_TRY(vq_cell_normalize(r, &a->model.norm));
				VQ_TRY(vq_sample_check(r, &image, NULL));
				VQ_TRY(vq_geom_get(r->meta, image, &g));
				if (image->shape[0] != a->model.channels)
					return vq_fail(VQ_EINVAL, "record %s: %lld channels; the model has %d", r->id, (long long)image->shape[0], a->model.channels);
				ready = true;
			}
			if (!(p->pixels = cut(a, image, &g, p)))
				return VQ_ENOMEM;
			--*left;
		}
	return VQ_OK;
}

static vq_status read_cells(atlas *a, const char *path)
{
	vq_sample_reader in;
	vqt_record r;
	size_t left = 0;
	int got = 0;
	VQ_TRY(vq_sample_reader_open(&in, path));
	for (int i = 0; i < a->rows; i++)
		left += (size_t)a->row[i].n;
	while (left && (got = vq_sample_reader_next(&in, &r)) > 0) {
		vq_status s = cut_all(a, &r, &left);
		vqt_record_free(&r);
		if (s < 0) {
			got = vq_context(s, "%s", vqt_name(in.in));
			break;
		}
	}
	for (int i = 0; got >= 0 && left && i < a->rows; i++)
		for (int k = 0; got >= 0 && k < a->row[i].n; k++)
			if (!a->row[i].at[k].pixels)
				got = vq_fail(VQ_EINVAL, "%s: no record %s in it, which has codes", vqt_name(in.in), a->id[a->row[i].at[k].cell]);
	vq_sample_reader_close(&in);
	return got < 0 ? got : VQ_OK;
}

/* --- what they decode to --------------------------------------------------------------------------------------------- */

/* A field of one code, wide enough that its borders do not reach the middle. */
static vq_status decode_one(const atlas *a, codec *c, int code, float *out)
{
	enum { GRID = SPAN + 6 };
	float *pixels = NULL;
	vq_status s = VQ_OK;
	int side = GRID * a->stride, from = (side - a->side) / 2;
	cell_codes k = { .extent_h = side, .extent_w = side, .valid = { 0, 0, 0, side, side } };
	for (int l = 0; l < a->model.info.levels; l++) {
		int n = codec_positions(side, a->model.info.level[l].stride);
		if (!(k.codes[l] = vq_malloc((size_t)(n * n) * sizeof **k.codes)))
			s = VQ_ENOMEM;
		for (int i = 0; k.codes[l] && i < n * n; i++)
			k.codes[l][i] = l ? a->common[l] : code;
	}
	if (s == VQ_OK)
		s = codec_decode(c, omp_get_thread_num(), &k, &pixels);
	for (int p = 0; s == VQ_OK && p < a->model.channels * a->side; p++)
		memcpy(out + p * a->side, pixels + (p / a->side * side + from + p % a->side) * side + from, (size_t)a->side * sizeof *out);
	free(pixels);
	cell_codes_free(&k);
	return s;
}

static vq_status decode_all(atlas *a)
{
	codec *c;
	size_t n = (size_t)(a->model.channels * a->side * a->side);
	vq_status s = VQ_OK;
	if (!(a->decoded = vq_malloc((size_t)a->rows * n * sizeof *a->decoded)))
		return VQ_ENOMEM;
	VQ_TRY(codec_open(&c, &a->model, "cpu", 1, CODEC_DECODE));
#pragma omp parallel num_threads(1)
	for (int i = 0; i < a->rows && s == VQ_OK; i++)
		s = decode_one(a, c, a->row[i].code, a->decoded + (size_t)i * n);
	codec_close(c);
	return s;
}

/* --- the picture ----------------------------------------------------------------------------------------------------- */

static vq_status draw(atlas *a, const vq_plot_job *j, vq_tensor *rgb)
{
	enum { WIDE = PATCHES + 1 };
	const char *heads[WIDE] = { "decoded", "cells" }, *names[VQ_CHANNELS_MAX];
	const cJSON *name;
	size_t n = (size_t)(a->model.channels * a->side * a->side);
	vq_panel_item *items = vq_calloc((size_t)(a->rows * WIDE), sizeof *items);
	char (*text)[2][32] = vq_calloc((size_t)a->rows, sizeof *text);
	vq_status s = items && text && (a->own = vq_calloc(1, (size_t)(a->side * a->side))) ? VQ_OK : VQ_ENOMEM;
	for (int i = 0; s == VQ_OK && i < a->side * a->side; i++)
		a->own[i] = i / a->side / a->stride == SPAN / 2 && i % a->side / a->stride == SPAN / 2;
	for (int i = 0; s == VQ_OK && i < a->rows; i++) {
		snprintf(text[i][0], sizeof text[i][0], "code %d", a->row[i].code);
		snprintf(text[i][1], sizeof text[i][1], "%.2g %%", 100. * (double)a->row[i].count / (double)a->total);
		for (int k = 0; k < WIDE; k++)
			items[i * WIDE + k] = (vq_panel_item){ .channels = a->model.channels, .h = a->side, .w = a->side,
				.image = k == 0 ? a->decoded + (size_t)i * n : k <= a->row[i].n ? a->row[i].at[k - 1].pixels : NULL,
				.mask = k ? a->own : NULL, .title = k == 0 ? text[i][0] : NULL, .note = k == 0 ? text[i][1] : "" };
	}
	vq_panel_options how = { .composite = j->composite, .columns = WIDE, .heads = heads, .zoom = j->zoom ? j->zoom : VQ_MAX(1, 72 / a->side) };
	int named = 0;
	cJSON_ArrayForEach(name, a->model.names)
		if (named < VQ_CHANNELS_MAX && cJSON_IsString(name))
			names[named++] = name->valuestring;
	if (named == a->model.channels)
		how.channels = names;
	if (s == VQ_OK)
		s = vq_panel_draw(rgb, items, a->rows * WIDE, &how);
	free(items);
	free(text);
	return s;
}

vq_status vq_plot_atlas(const vq_plot_job *j, vq_tensor *rgb)
{
	atlas a = {0};
	*rgb = (vq_tensor){0};
	vq_status s = atlas_open(&a, j->model);
	if (s == VQ_OK)
		s = read_stream(&a, j);
	if (s == VQ_OK) {
		choose(&a, j->codes);
		s = read_cells(&a, j->reference);
	}
	if (s == VQ_OK)
		s = decode_all(&a);
	if (s == VQ_OK)
		s = draw(&a, j, rgb);
	atlas_free(&a);
	return s;
}
