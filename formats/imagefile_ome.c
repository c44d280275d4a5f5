/* A small reader of OME-XML: start tags, their attributes, and the text of UUID. It is no validator: what it does not know it skips. */
#include "formats/imagefile_ome.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLANES_MAX = 1 << 24, IMAGES_MAX = 1 << 16 };

/* One start tag: the name without its prefix, and the attributes' text. */
typedef struct { const char *name; size_t name_len; const char *attr, *end; } tag;

/* The next start tag at or after *p, comments, CDATA, declarations and end tags skipped; *p goes behind it. */
static bool next_tag(const char **p, tag *t)
{
	const char *s = *p;
	while ((s = strchr(s, '<'))) {
		const char *close = !strncmp(s, "<!--", 4) ? "-->" : !strncmp(s, "<![CDATA[", 9) ? "]]>" : NULL;
		if (close) {
			if (!(s = strstr(s, close)))
				return false;
			continue;
		}
		s++;
		if (!isalpha((unsigned char)*s) && *s != '_')
			continue;
		const char *e = s;
		for (char quote = 0; *e && (quote || *e != '>'); e++)
			if (*e == '"' || *e == '\'')
				quote = !quote ? *e : quote == *e ? 0 : quote;
		if (!*e)
			return false;
		size_t n = strcspn(s, " \t\r\n/>");
		const char *colon = memchr(s, ':', n);
		t->name = colon ? colon + 1 : s;
		t->name_len = n - (size_t)(t->name - s);
		t->attr = s + n;
		t->end = e;
		*p = e + 1;
		return true;
	}
	return false;
}

static bool is(const tag *t, const char *name) { return strlen(name) == t->name_len && !memcmp(t->name, name, t->name_len); }

/* &lt; &amp; &#181; &#xB5; in place. */
static void unescape(char *s)
{
	static const struct { const char *in; char out; } known[] = { { "&lt;", '<' }, { "&gt;", '>' }, { "&amp;", '&' }, { "&quot;", '"' }, { "&apos;", '\'' } };
	char *to = s;
	while (*s) {
		size_t k = 0;
		while (k < VQ_COUNT(known) && strncmp(s, known[k].in, strlen(known[k].in)))
			k++;
		if (k < VQ_COUNT(known)) {
			*to++ = known[k].out;
			s += strlen(known[k].in);
			continue;
		}
		char *e = s;
		unsigned long v = !strncmp(s, "&#", 2) ? s[2] == 'x' ? strtoul(s + 3, &e, 16) : strtoul(s + 2, &e, 10) : 0;
		if (*e != ';' || e == s || v < 32 || v > 0xffff) {
			*to++ = *s++;
			continue;
		}
		if (v >= 0x800)
			*to++ = (char)(0xe0 | v >> 12), *to++ = (char)(0x80 | (v >> 6 & 0x3f)), *to++ = (char)(0x80 | (v & 0x3f));
		else if (v >= 0x80)
			*to++ = (char)(0xc0 | v >> 6), *to++ = (char)(0x80 | (v & 0x3f));
		else
			*to++ = (char)v;
		s = e + 1;
	}
	*to = 0;
}

/* A fresh string, or NULL when there is none (or no memory: the name is then missed). */
static char *attribute(const tag *t, const char *name)
{
	size_t n = strlen(name);
	for (const char *p = t->attr; p < t->end;) {
		while (p < t->end && isspace((unsigned char)*p))
			p++;
		const char *eq = memchr(p, '=', (size_t)(t->end - p));
		if (!eq)
			return NULL;
		const char *q = eq + 1;
		while (q < t->end && *q != '"' && *q != '\'')
			q++;
		const char *e = q < t->end ? memchr(q + 1, *q, (size_t)(t->end - q - 1)) : NULL;
		if (!e)
			return NULL;
		if (!strncmp(p, name, n) && (p[n] == '=' || isspace((unsigned char)p[n]))) {
			char *v = vq_strndup(q + 1, (size_t)(e - q - 1));
			if (v)
				unescape(v);
			return v;
		}
		p = e + 1;
	}
	return NULL;
}

/* missing when it is not there; -1 when it is no number or outside lo..hi. */
static int integer(const tag *t, const char *name, int lo, int hi, int missing)
{
	char *v = attribute(t, name), *e;
	if (!v)
		return missing;
	long n = strtol(v, &e, 10);
	bool good = e != v && !*e && n >= lo && n <= hi;
	free(v);
	return good ? (int)n : -1;
}

/* --- which file a plane is in --- */

static const char *base_name(const char *path)
{
	const char *s = strrchr(path, '/');
	return s ? s + 1 : path;
}

typedef struct {
	const char *text, *base;
	char *uuid;                /* of this file */
	bool several;              /* TiffData speak of more than one file name */
} origin;

static void find_origin(origin *o, const char *text, const char *path)
{
	const char *p = text;
	char *first = NULL;
	tag t;
	*o = (origin){ .text = text, .base = base_name(path) };
	while (next_tag(&p, &t)) {
		if (is(&t, "OME") && !o->uuid)
			o->uuid = attribute(&t, "UUID");
		if (!is(&t, "UUID"))
			continue;
		char *name = attribute(&t, "FileName");
		o->several |= first && name && strcmp(first, name);
		if (first)
			free(name);
		else
			first = name;
	}
	free(first);
}

/* The UUID element within a TiffData at p; one file under another name is taken for a renamed one. */
static bool is_here(const origin *o, const char *p)
{
	tag t;
	if (!next_tag(&p, &t) || !is(&t, "UUID") || !o->several)
		return true;
	char *name = attribute(&t, "FileName");
	bool here = !name || !strcmp(base_name(name), o->base);
	while (isspace((unsigned char)*p))
		p++;
	if (!here && o->uuid && !strncmp(p, o->uuid, strlen(o->uuid)))
		here = true;
	free(name);
	return here;
}

/* --- planes --- */

typedef struct {
	vq_ome_image *im;
	const char *path;
	int index, pages, used;    /* used: pages taken by the images before */
	char order[4];             /* czt, the fastest first */
	int listed;                /* TiffData elements */
	size_t room;
} context;

static vq_status add(context *x, int64_t index, int page)
{
	vq_ome_image *im = x->im;
	if ((size_t)im->planes == x->room) {
		size_t room = x->room ? 2 * x->room : 64;
		vq_plane_at *at = vq_realloc(im->at, room * sizeof *at);
		if (!at)
			return VQ_ENOMEM;
		im->at = at;
		x->room = room;
	}
	if (page >= x->pages)
		return vq_fail(VQ_EFORMAT, "%s: the OME-XML puts a plane on page %d, the file has %d", x->path, page + 1, x->pages);
	vq_plane_at at = { .page = page, .stack = -1 };
	for (int k = 0; k < 3; k++) {
		int *v = x->order[k] == 'c' ? &at.c : x->order[k] == 'z' ? &at.z : &at.t;
		int size = x->order[k] == 'c' ? im->c : x->order[k] == 'z' ? im->z : im->t;
		*v = (int)(index % size);
		index /= size;
	}
	if (index)
		return vq_fail(VQ_EFORMAT, "%s: the OME-XML lists more planes than image %d has", x->path, x->index + 1);
	im->at[im->planes++] = at;
	return VQ_OK;
}

static vq_status add_run(context *x, int c, int z, int t, int ifd, int64_t count)
{
	int64_t index = 0, step = 1;
	for (int k = 0; k < 3; k++) {
		int v = x->order[k] == 'c' ? c : x->order[k] == 'z' ? z : t;
		int size = x->order[k] == 'c' ? x->im->c : x->order[k] == 'z' ? x->im->z : x->im->t;
		if (v < 0 || v >= size)
			return vq_fail(VQ_EFORMAT, "%s: the OME-XML places a plane outside image %d", x->path, x->index + 1);
		index += step * v;
		step *= size;
	}
	for (int64_t i = 0; i < count; i++)
		VQ_TRY(add(x, index + i, ifd + (int)i));
	return VQ_OK;
}

static vq_status tiff_data(context *x, const tag *t, const char *after, const origin *o)
{
	x->listed++;
	bool empty = t->end[-1] == '/';
	int ifd = integer(t, "IFD", 0, PLANES_MAX, -2), count = integer(t, "PlaneCount", 0, PLANES_MAX, -2);
	int c = integer(t, "FirstC", 0, PLANES_MAX, 0), z = integer(t, "FirstZ", 0, PLANES_MAX, 0), n = integer(t, "FirstT", 0, PLANES_MAX, 0);
	if (ifd == -1 || count == -1 || c < 0 || z < 0 || n < 0)
		return vq_fail(VQ_EFORMAT, "%s: a TiffData of image %d in the OME-XML has a number out of range", x->path, x->index + 1);
	if (!empty && !is_here(o, after))
		return VQ_OK;
	int64_t all = (int64_t)x->im->c * x->im->z * x->im->t;
	if (count == -2)
		count = ifd == -2 ? (int)all : 1;
	return add_run(x, c, z, n, ifd == -2 ? x->used : ifd, count);
}

static vq_status pixels(context *x, const tag *t)
{
	vq_ome_image *im = x->im;
	im->c = integer(t, "SizeC", 1, PLANES_MAX, 1);
	im->z = integer(t, "SizeZ", 1, PLANES_MAX, 1);
	im->t = integer(t, "SizeT", 1, PLANES_MAX, 1);
	if (im->c < 1 || im->z < 1 || im->t < 1 || (int64_t)im->c * im->z > PLANES_MAX || (int64_t)im->c * im->z * im->t > PLANES_MAX)
		return vq_fail(VQ_EFORMAT, "%s: image %d of the OME-XML: SizeC, SizeZ, SizeT out of range", x->path, x->index + 1);
	char *order = attribute(t, "DimensionOrder");
	strcpy(x->order, "czt");
	if (order && strlen(order) == 5 && !strncmp(order, "XY", 2)) {
		for (int i = 0; i < 3; i++)
			x->order[i] = (char)tolower((unsigned char)order[2 + i]);
		if (!strchr(x->order, 'c') || !strchr(x->order, 'z') || !strchr(x->order, 't'))
			strcpy(x->order, "czt");
	}
	free(order);
	return VQ_OK;
}

static vq_status channel(context *x, const tag *t, int *samples)
{
	vq_ome_image *im = x->im;
	char **names = vq_realloc(im->names, (size_t)(im->n_names + 1) * sizeof *names);
	if (!names)
		return VQ_ENOMEM;
	im->names = names;
	names[im->n_names] = attribute(t, "Name");
	if (names[im->n_names] && !*names[im->n_names]) {
		free(names[im->n_names]);
		names[im->n_names] = NULL;
	}
	im->n_names++;
	*samples += VQ_MAX(1, integer(t, "SamplesPerPixel", 1, 1 << 16, 1));
	return VQ_OK;
}

/* SizeC counts samples: a channel of three (RGB) is one plane. Known before the first TiffData, for channels precede it. */
static void settle(context *x, int samples)
{
	if (x->im->n_names && samples == x->im->c)
		x->im->c = x->im->n_names;
}

static vq_status image(context *x, const char **p, const origin *o)
{
	tag t;
	int samples = 0;
	bool inside = false, settled = false;
	const char *here = *p;
	vq_status s = VQ_OK;
	while (s == VQ_OK && next_tag(p, &t) && !is(&t, "Image")) {
		here = *p;
		if (is(&t, "Pixels") && !inside) {
			inside = true;
			s = pixels(x, &t);
		} else if (is(&t, "Channel") && inside && !settled) {
			s = channel(x, &t, &samples);
		} else if (is(&t, "TiffData") && inside) {
			if (!settled)
				settle(x, samples);
			settled = true;
			s = tiff_data(x, &t, *p, o);
		}
	}
	*p = here;
	if (s == VQ_OK && inside && !settled)
		settle(x, samples);
	if (s == VQ_OK && inside && !x->listed)
		s = add_run(x, 0, 0, 0, x->used, (int64_t)x->im->c * x->im->z * x->im->t);
	return s;
}

vq_status vq_ome_parse(vq_ome *out, const char *text, const char *path, int pages)
{
	origin o;
	const char *p = text;
	tag t;
	vq_status s = VQ_OK;
	int used = 0;
	*out = (vq_ome){0};
	find_origin(&o, text, path);
	while (s == VQ_OK && next_tag(&p, &t)) {
		if (!is(&t, "Image"))
			continue;
		vq_ome_image *more = out->n < IMAGES_MAX ? vq_realloc(out->image, (size_t)(out->n + 1) * sizeof *more) : NULL;
		if (!more) {
			s = vq_fail(VQ_ELIMIT, "%s: too many images in the OME-XML", path);
			break;
		}
		out->image = more;
		more[out->n] = (vq_ome_image){ .c = 1, .z = 1, .t = 1 };
		context x = { .im = &more[out->n], .path = path, .index = out->n, .pages = pages, .used = used };
		out->n++;
		s = image(&x, &p, &o);
		used += x.im->planes;
	}
	free(o.uuid);
	if (s < 0)
		vq_ome_free(out);
	return s;
}

void vq_ome_free(vq_ome *o)
{
	for (int i = 0; i < o->n; i++) {
		for (int c = 0; c < o->image[i].n_names; c++)
			free(o->image[i].names[c]);
		free(o->image[i].names);
		free(o->image[i].at);
	}
	free(o->image);
	*o = (vq_ome){0};
}
