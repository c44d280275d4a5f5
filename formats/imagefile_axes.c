/* Which page is which channel, z-plane and time point: OME-XML, ImageJ's description, or {"shape","axes"}. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "formats/imagefile_ome.h"
#include "formats/imagefile_priv.h"

void vq_image_free_axes(vq_image_file *f)
{
	for (int i = 0; i < f->n_series; i++) {
		vq_series *s = &f->series[i];
		for (int c = 0; s->names && c < s->axes.c; c++)
			free(s->names[c]);
		free(s->names);
		free(s->at);
	}
	free(f->series);
	f->series = NULL;
	f->n_series = 0;
}

static vq_status one_series(vq_image_file *f, vq_axes_source source, size_t planes)
{
	if (!(f->series = vq_calloc(1, sizeof *f->series)))
		return VQ_ENOMEM;
	f->n_series = 1;
	f->series->axes = (vq_axes){ .source = source, .series = 1, .c = 1, .z = 1, .t = 1 };
	return (f->series->at = vq_calloc(planes, sizeof *f->series->at)) ? VQ_OK : VQ_ENOMEM;
}

/* --- no word about axes --- */

static bool alike(const vq_page *a, const vq_page *b)
{
	return a->width == b->width && a->height == b->height && a->samples == b->samples && a->dtype == b->dtype
		&& a->photometric == b->photometric;
}

static vq_status from_pages(vq_image_file *f)
{
	vq_page first, p;
	VQ_TRY(one_series(f, VQ_AXES_PAGES, (size_t)f->pages));
	vq_series *s = f->series;
	VQ_TRY(vq_image_page(f, 0, &first));
	s->axes.height = first.height;
	s->axes.width = first.width;
	int n = 0;
	for (int i = 0; i < f->pages; i++) {
		if (i && vq_image_page(f, i, &p) < 0) { /* page 1 may be all that is wanted */
			s->axes.mixed = true;
			continue;
		}
		if (i && p.reduced)
			continue;
		s->axes.mixed |= i && !alike(&first, &p);
		s->at[n] = (vq_plane_at){ .z = n, .page = i, .stack = -1 };
		n++;
	}
	s->axes.z = n;
	return VQ_OK;
}

/* --- a full grid whose axes vary in a known order --- */

/* order: three of c, z, t, the fastest first. False: pages and axes do not agree. */
static vq_status from_grid(vq_image_file *f, vq_axes_source source, int c, int z, int t, const char *order, bool *fits)
{
	int64_t planes = (int64_t)c * z * t, stacked = 1;
	*fits = planes == f->pages;
	if (!*fits && f->pages == 1 && f->tiff)
		*fits = (stacked = vq_tiff_stacked(f)) >= planes;
	if (!*fits)
		return VQ_OK;
	VQ_TRY(one_series(f, source, (size_t)planes));
	vq_series *s = f->series;
	vq_page first;
	VQ_TRY(vq_image_page(f, 0, &first));
	s->axes = (vq_axes){ .source = source, .series = 1, .c = c, .z = z, .t = t, .height = first.height, .width = first.width };
	int size[3], step[3] = {0};
	for (int i = 0; i < 3; i++)
		size[i] = order[i] == 'c' ? c : order[i] == 'z' ? z : t;
	for (int64_t i = 0; i < planes; i++) {
		int at[3] = { 0 };
		for (int k = 0; k < 3; k++)
			at[order[k] == 'c' ? 0 : order[k] == 'z' ? 1 : 2] = step[k];
		s->at[((int64_t)at[0] * z + at[1]) * t + at[2]] = (vq_plane_at){ .c = at[0], .z = at[1], .t = at[2],
			.page = planes == f->pages ? (int)i : 0, .stack = planes == f->pages ? -1 : i };
		for (int k = 0; k < 3 && ++step[k] == size[k]; k++)
			step[k] = 0;
	}
	return VQ_OK;
}

static int number_after(const char *text, const char *key)
{
	size_t n = strlen(key);
	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, key, n)) {
			long v = strtol(p + n, NULL, 10);
			return v < 1 ? 0 : v > 1 << 24 ? 1 << 24 : (int)v;
		}
	}
	return 0;
}

static vq_status from_imagej(vq_image_file *f, const char *text, bool *done)
{
	int images = number_after(text, "images="), c = number_after(text, "channels="), z = number_after(text, "slices=");
	int t = number_after(text, "frames=");
	bool silent = !c && !z && !t;
	c = VQ_MAX(c, 1), z = VQ_MAX(z, 1), t = VQ_MAX(t, 1);
	if (silent && images > 1)
		z = images;
	if ((int64_t)c * z > 1 << 24 || (int64_t)c * z * t > 1 << 24)
		return vq_fail(VQ_EFORMAT, "%s: ImageJ's description speaks of %d x %d x %d planes", f->path, c, z, t);
	return from_grid(f, VQ_AXES_IMAGEJ, c, z, t, "czt", done);
}

static vq_status from_shape(vq_image_file *f, const char *text, bool *done)
{
	cJSON *j = cJSON_Parse(text);
	const cJSON *shape = cJSON_GetObjectItemCaseSensitive(j, "shape"), *axes = cJSON_GetObjectItemCaseSensitive(j, "axes");
	int size[3] = { 1, 1, 1 }, n = cJSON_GetArraySize(shape), k = 0;
	char order[4] = "";
	bool good = cJSON_IsString(axes) && n > 0 && n <= 8 && strlen(axes->valuestring) == (size_t)n;
	vq_status s = VQ_OK;
	for (int i = n - 1; good && i >= 0; i--) { /* the last is the fastest */
		double v = cJSON_GetNumberValue(cJSON_GetArrayItem(shape, i));
		const char *at = strchr("CZTYXS", axes->valuestring[i]);
		good = at && v >= 1 && v <= 1 << 20;
		int a = at ? (int)(at - "CZTYXS") : 6;
		if (!good || a > 2)
			continue;
		for (int q = 0; q < k; q++)
			good = good && order[q] != "czt"[a];
		if (!good)
			break;
		size[a] = (int)v;
		order[k++] = "czt"[a];
	}
	for (int a = 0; good && a < 3; a++)
		if (!memchr(order, "czt"[a], (size_t)k))
			order[k++] = "czt"[a];
	cJSON_Delete(j);
	if (good && (double)size[0] * size[1] * size[2] <= 1 << 24)
		s = from_grid(f, VQ_AXES_SHAPED, size[0], size[1], size[2], order, done);
	return s;
}

/* --- OME-XML --- */

static int by_place(const void *a, const void *b)
{
	const vq_plane_at *p = a, *q = b;
	int d = (p->c > q->c) - (p->c < q->c);
	d = d ? d : (p->z > q->z) - (p->z < q->z);
	return d ? d : (p->t > q->t) - (p->t < q->t);
}

/* Numbers the values that occur on one axis from 0; `which` 0 c, 1 z, 2 t. */
static vq_status renumber(vq_plane_at *at, int n, int which, int extent, int **values, int *count)
{
	int *map = vq_malloc((size_t)extent * sizeof *map);
	if (!map)
		return VQ_ENOMEM;
	for (int i = 0; i < extent; i++)
		map[i] = -1;
	for (int i = 0; i < n; i++)
		map[which == 0 ? at[i].c : which == 1 ? at[i].z : at[i].t] = 0;
	int k = 0;
	for (int i = 0; i < extent; i++)
		if (!map[i])
			map[i] = k++;
	for (int i = 0; i < n; i++) {
		int *v = which == 0 ? &at[i].c : which == 1 ? &at[i].z : &at[i].t;
		*v = map[*v];
	}
	*values = map;
	*count = k;
	return VQ_OK;
}

static vq_status names_of(const vq_ome_image *im, const int *map, vq_series *s)
{
	if (!(s->names = vq_calloc((size_t)VQ_MAX(s->axes.c, 1), sizeof *s->names)))
		return VQ_ENOMEM;
	for (int c = 0; c < im->c; c++)
		if (map[c] >= 0 && c < im->n_names && im->names[c] && !(s->names[map[c]] = vq_strdup(im->names[c])))
			return VQ_ENOMEM;
	return VQ_OK;
}

static vq_status ome_series(vq_image_file *f, int k, vq_ome_image *im, vq_series *s)
{
	int *map[3] = {0};
	vq_status st = VQ_OK;
	vq_page p = {0};
	s->axes = (vq_axes){ .source = VQ_AXES_OME };
	s->at = im->at;
	im->at = NULL;
	int n = im->planes;
	const int extent[3] = { im->c, im->z, im->t };
	int *size[3] = { &s->axes.c, &s->axes.z, &s->axes.t };
	for (int a = 0; n && st == VQ_OK && a < 3; a++)
		st = renumber(s->at, n, a, extent[a], &map[a], size[a]);
	if (n && st == VQ_OK) {
		qsort(s->at, (size_t)n, sizeof *s->at, by_place);
		bool twice = false;
		for (int i = 1; i < n; i++)
			twice |= !by_place(&s->at[i - 1], &s->at[i]);
		if (twice || (int64_t)s->axes.c * s->axes.z * s->axes.t != n)
			st = vq_fail(VQ_EFORMAT, "%s: image %d of the OME-XML: %d planes of %d channels, %d z-planes, %d times%s", f->path, k + 1, n,
			             im->c, im->z, im->t, twice ? ", one of them twice" : "");
	}
	if (n && st == VQ_OK)
		st = vq_image_page(f, s->at[0].page, &p);
	if (n && st == VQ_OK)
		st = names_of(im, map[0], s);
	s->axes.height = p.height;
	s->axes.width = p.width;
	for (int a = 0; a < 3; a++)
		free(map[a]);
	return st;
}

static vq_status from_ome(vq_image_file *f, const char *text, bool *done)
{
	vq_ome ome;
	VQ_TRY(vq_ome_parse(&ome, text, f->path, f->pages));
	vq_status s = VQ_OK;
	*done = ome.n > 0;
	if (ome.n && !(f->series = vq_calloc((size_t)ome.n, sizeof *f->series)))
		s = VQ_ENOMEM;
	for (int i = 0; s == VQ_OK && i < ome.n; i++) {
		f->n_series = i + 1;
		s = ome_series(f, i, &ome.image[i], &f->series[i]);
	}
	for (int i = 0; i < f->n_series; i++)
		f->series[i].axes.series = ome.n;
	vq_ome_free(&ome);
	return s;
}

/* --- the questions --- */

static vq_status find_axes(vq_image_file *f)
{
	const char *text = vq_image_description(f);
	bool done = false;
	if (f->series)
		return VQ_OK;
	vq_status s = VQ_OK;
	if (text && strstr(text, "<OME") && strstr(text, "<Image"))
		s = from_ome(f, text, &done);
	else if (text && strstr(text, "OME:Image"))
		s = from_ome(f, text, &done);
	else if (text && !strncmp(text, "ImageJ=", 7))
		s = from_imagej(f, text, &done);
	else if (text && *text == '{')
		s = from_shape(f, text, &done);
	if (s == VQ_OK && !done)
		s = from_pages(f);
	if (s < 0)
		vq_image_free_axes(f);
	return s;
}

vq_status vq_image_axes(vq_image_file *f, int series, vq_axes *out)
{
	*out = (vq_axes){0};
	VQ_TRY(find_axes(f));
	if (series < 0 || series >= f->n_series)
		return vq_fail(VQ_EINVAL, "%s: series %d is asked for, it has %d (counted from 0)", f->path, series, f->n_series);
	*out = f->series[series].axes;
	return VQ_OK;
}

const char *vq_image_channel(vq_image_file *f, int series, int c)
{
	vq_axes a;
	if (vq_image_axes(f, series, &a) < 0 || c < 0 || c >= a.c || !f->series[series].names)
		return NULL;
	return f->series[series].names[c];
}
