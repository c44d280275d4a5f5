#include "formats/fields.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const image_ends[] = { ".tif", ".tiff", ".png" };

vq_field *vq_fields_add(vq_fields *l)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 32;
		vq_field *v = vq_realloc(l->v, cap * sizeof *v);
		if (!v)
			return NULL;
		l->v = v;
		l->cap = cap;
	}
	vq_field *f = &l->v[l->n++];
	*f = (vq_field){ .labels = { .series = -1, .frame = -1 }, .number = -1 };
	return f;
}

void vq_fields_free(vq_fields *l)
{
	free(l->v);
	vq_arena_free(&l->arena);
	*l = (vq_fields){ 0 };
}

char *vq_fields_format(vq_fields *l, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	char *p = n < 0 ? NULL : vq_arena_get(&l->arena, (size_t)n + 1);
	if (p)
		vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	va_end(ap);
	return p;
}

const char *vq_field_value(const vq_field *f, const char *key)
{
	for (int i = 0; i < f->pairs; i++)
		if (!strcmp(f->key[i], key))
			return f->value[i];
	return "";
}

/* Bytes of the well-formed UTF-8 character at p, or 0. */
static int utf8_length(const unsigned char *p)
{
	int n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
	for (int i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

char *vq_fields_text(vq_fields *l, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	bool utf8 = true;
	for (int n; utf8 && *p; p += n ? n : 1)
		utf8 = (n = utf8_length(p)) > 0;
	char *out = vq_arena_get(&l->arena, 2 * strlen(text) + 1), *to = out;
	if (!out)
		return NULL;
	for (p = (const unsigned char *)text; *p; p++) {
		bool c1 = utf8 ? *p == 0xc2 && p[1] < 0xa0 : *p >= 0x80 && *p < 0xa0, separator = utf8 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] & 0xfe) == 0xa8;
		if (*p < ' ' || *p == 0x7f || c1 || separator) {
			*to++ = ' ';
			p += separator ? 2 : c1 && utf8;
		} else if (utf8 || *p < 0x80) {
			*to++ = (char)*p;
		} else {
			*to++ = (char)(0xc0 | *p >> 6), *to++ = (char)(0x80 | (*p & 0x3f));
		}
	}
	*to = 0;
	return out;
}

bool vq_path_ends(const char *path, const char *end)
{
	size_t n = strlen(path), m = strlen(end);
	return n >= m && !strcasecmp(path + n - m, end);
}

/* Length of path without its extension: a known image one, or else what follows the last dot (".ome.tif" goes whole). */
static size_t stem_length(const char *path)
{
	size_t n = strlen(path);
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
	if (dot && dot != name)
		n = (size_t)(dot - path);
	if (n >= 4 && (size_t)(name - path) < n - 4 && !strncasecmp(path + n - 4, ".ome", 4))
		n -= 4;
	return n;
}

char *vq_fields_stem(vq_fields *l, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t from = slash ? (size_t)(slash + 1 - path) : 0, n = stem_length(path);
	char *name = vq_fields_format(l, "%.*s", (int)(n - from), path + from);
	return name ? vq_fields_text(l, name) : NULL;
}

char *vq_fields_seg(vq_fields *l, const char *path)
{
	int n = (int)(strlen(path) - strlen("_seg.npy"));
	return vq_fields_format(l, "%s: Cellpose's _seg.npy holds Python objects; make a label image of it: python3 -c \"import numpy, tifffile; "
	                        "tifffile.imwrite('%.*s_cp_masks.tif', numpy.load('%s', allow_pickle=True).item()['masks'].astype('uint32'))\"",
	                        path, n, path, path);
}

/* --- fields from names of files ----------------------------------------------------------------------------------- */

/* Sets up f as a field of n files, all named by the caller; origin is the first. */
static vq_status plain_field(vq_fields *l, vq_field *f, const char *const *file, int n)
{
	f->files = n;
	f->file = vq_arena_get(&l->arena, (size_t)n * sizeof *f->file);
	f->id = vq_fields_stem(l, file[0]);
	if (!f->file || !f->id)
		return VQ_ENOMEM;
	for (int i = 0; i < n; i++) {
		char *path = vq_arena_str(&l->arena, file[i]);
		f->file[i] = (vq_field_file){ .path = path, .given = path, .series = -1, .frame = -1 };
		if (!path)
			return VQ_ENOMEM;
	}
	f->origin = f->file[0].path;
	return VQ_OK;
}

static vq_status set_labels(vq_fields *l, vq_field *f, const char *path)
{
	f->labels.path = f->labels.given = vq_arena_str(&l->arena, path);
	if (!f->labels.path)
		return VQ_ENOMEM;
	if (vq_path_ends(path, "_seg.npy") && !(f->problem = vq_fields_seg(l, path)))
		return VQ_ENOMEM;
	return VQ_OK;
}

vq_status vq_fields_image(vq_fields *l, const char *const *file, int n, const char *labels)
{
	vq_field *f = vq_fields_add(l);
	if (!f)
		return VQ_ENOMEM;
	VQ_TRY(plain_field(l, f, file, n));
	return labels ? set_labels(l, f, labels) : VQ_OK;
}

typedef struct { const char **v; size_t n, cap; } name_list;

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_image_name(const char *name)
{
	for (size_t i = 0; i < VQ_COUNT(image_ends); i++)
		if (name[0] != '.' && vq_path_ends(name, image_ends[i]))
			return true;
	return false;
}

/* The names in dir that end as images do, sorted; the array is the caller's to free. */
static vq_status list_images(vq_fields *l, const char *dir, name_list *out)
{
	vq_status s = VQ_OK;
	DIR *d = opendir(dir);
	if (!d)
		return vq_fail(VQ_EIO, "%s: %s", dir, strerror(errno));
	for (struct dirent *e; (e = readdir(d));) {
		if (!is_image_name(e->d_name))
			continue;
		if (out->n == out->cap) {
			size_t cap = out->cap ? out->cap * 2 : 64;
			const char **v = vq_realloc(out->v, cap * sizeof *v);
			if (!v) {
				s = VQ_ENOMEM;
				break;
			}
			out->v = v;
			out->cap = cap;
		}
		if (!(out->v[out->n++] = vq_arena_str(&l->arena, e->d_name))) {
			s = VQ_ENOMEM;
			break;
		}
	}
	closedir(d);
	if (s == VQ_OK && out->n)
		qsort(out->v, out->n, sizeof *out->v, by_name);
	return s;
}

/* DIR/NAME with one of the image extensions (the one of like first, when given), if there is such a file; else NULL. */
static char *find_image(vq_fields *l, const char *dir, const char *stem, const char *like)
{
	struct stat st;
	for (size_t i = 0; i <= VQ_COUNT(image_ends); i++) {
		const char *end = i ? image_ends[i - 1] : like;
		char *path = end ? vq_fields_format(l, "%s%s%s%s", dir, *dir ? "/" : "", stem, end) : NULL;
		if (path && !stat(path, &st) && !S_ISDIR(st.st_mode))
			return path;
	}
	return NULL;
}

/* --- Cellpose ----------------------------------------------------------------------------------------------------- */

/* A name that Cellpose gives to what it writes: NAME_cp_masks.tif, NAME_flows.tif, NAME_outlines_cp_masks.png, ... */
static bool is_cellpose_output(const char *name, size_t stem)
{
	static const char *const ends[] = { "_cp_masks", "_masks", "_cp_output", "_flows", "_cp_flows", "_outlines", "_cp_outlines", "_seg", "_dP", "_cellprob" };
	for (size_t i = 0; i < VQ_COUNT(ends); i++) {
		size_t n = strlen(ends[i]);
		if (stem > n && !strncmp(name + stem - n, ends[i], n))
			return true;
	}
	return false;
}

/* The masks of the image whose stem is given, without and with the suffix; *seg: where there is only a _seg.npy. */
static char *find_masks(vq_fields *l, const char *dir, const char *masks, const char *stem, const char *suffix, char **seg)
{
	size_t n = strlen(stem), m = strlen(suffix);
	struct stat st;
	*seg = NULL;
	for (int with = 1; with >= (m ? 0 : 1); with--) {
		int keep = (int)(with ? n : n - m);
		char *name = vq_fields_format(l, "%.*s_cp_masks", keep, stem), *path = name ? find_image(l, masks, name, NULL) : NULL;
		if (path)
			return path;
		path = vq_fields_format(l, "%s/%.*s_seg.npy", dir, keep, stem);
		if (path && !*seg && !stat(path, &st))
			*seg = path;
	}
	return NULL;
}

vq_status vq_fields_cellpose(vq_fields *l, const char *dir, const char *suffix, const char *masks)
{
	name_list names = { 0 };
	size_t before = l->n;
	vq_status s = list_images(l, dir, &names);
	suffix = suffix ? suffix : "";
	for (size_t i = 0; s == VQ_OK && i < names.n; i++) {
		size_t n = strrchr(names.v[i], '.') - names.v[i], m = strlen(suffix);
		if (is_cellpose_output(names.v[i], n) || n < m || strncmp(names.v[i] + n - m, suffix, m))
			continue;
		s = VQ_ENOMEM;
		char *seg, *stem = vq_fields_format(l, "%.*s", (int)n, names.v[i]), *path = vq_fields_format(l, "%s/%s", dir, names.v[i]);
		if (!stem || !path)
			break;
		char *found = find_masks(l, dir, masks ? masks : dir, stem, suffix, &seg);
		s = VQ_OK;
		if (!found && !seg)
			continue;
		vq_field *f = vq_fields_add(l);
		const char *file[] = { path };
		s = f ? plain_field(l, f, file, 1) : VQ_ENOMEM;
		if (s == VQ_OK)
			s = set_labels(l, f, found ? found : seg);
	}
	free(names.v);
	if (s == VQ_OK && l->n == before)
		s = vq_fail(VQ_EINVAL, "%s: no image NAME%s.tif or .png with NAME_cp_masks.tif or .png%s%s", dir, suffix, masks ? " in " : "", masks ? masks : "");
	return s;
}

/* --- whole cells -------------------------------------------------------------------------------------------------- */

static vq_status whole_field(vq_fields *l, const char *path, const char *mask_suffix)
{
	size_t n = stem_length(path), m = mask_suffix ? strlen(mask_suffix) : 0;
	bool whole = m && is_image_name(mask_suffix + 1); /* a suffix with the extension */
	if (m && (whole ? vq_path_ends(path, mask_suffix) : n > m && !strncmp(path + n - m, mask_suffix, m)))
		return VQ_OK;
	vq_field *f = vq_fields_add(l);
	if (!f)
		return VQ_ENOMEM;
	VQ_TRY(plain_field(l, f, &path, 1));
	if (vq_path_ends(path, "_seg.npy"))
		return (f->problem = vq_fields_seg(l, path)) ? VQ_OK : VQ_ENOMEM;
	if (!mask_suffix)
		return VQ_OK;
	char *name = vq_fields_format(l, "%.*s%s", (int)n, path, mask_suffix);
	if (!name)
		return VQ_ENOMEM;
	char *mask = !whole ? find_image(l, "", name, path + n) : !access(name, F_OK) ? name : NULL;
	if (mask)
		return set_labels(l, f, mask);
	f->problem = vq_fields_format(l, "%s: no mask %s%s", path, name, whole ? "" : path + n);
	return f->problem ? VQ_OK : VQ_ENOMEM;
}

vq_status vq_fields_whole(vq_fields *l, const char *const *file, int n, const char *mask_suffix)
{
	for (int i = 0; i < n; i++) {
		struct stat st;
		name_list names = { 0 };
		if (stat(file[i], &st) || !S_ISDIR(st.st_mode)) {
			VQ_TRY(whole_field(l, file[i], mask_suffix));
			continue;
		}
		vq_status s = list_images(l, file[i], &names);
		if (s == VQ_OK && !names.n)
			s = vq_fail(VQ_EINVAL, "%s: a directory without TIFF or PNG files", file[i]);
		for (size_t k = 0; s == VQ_OK && k < names.n; k++) {
			char *path = vq_fields_format(l, "%s/%s", file[i], names.v[k]);
			s = path ? whole_field(l, path, mask_suffix) : VQ_ENOMEM;
		}
		free(names.v);
		VQ_TRY(s);
	}
	return VQ_OK;
}

/* --- ids ---------------------------------------------------------------------------------------------------------- */

static uint64_t hash_text(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211u;
	return (h ^ 0xff) * 1099511628211u;
}

static bool same(const vq_field *a, const vq_field *b, const char *key)
{
	return !strcmp(a->id, b->id) && (!key || !strcmp(vq_field_value(a, key), vq_field_value(b, key)));
}

/* The first two fields of one id (and one value under key, when given): 1, or 0 when there are none. */
static int find_clash(const vq_fields *l, const char *key, const vq_field **a, const vq_field **b)
{
	size_t slots = 16;
	while (slots < 2 * l->n)
		slots *= 2;
	size_t *slot = vq_calloc(slots, sizeof *slot);
	if (!slot)
		return VQ_ENOMEM;
	int found = 0;
	for (size_t i = 0; i < l->n && !found; i++) {
		uint64_t h = hash_text(14695981039346656037u, l->v[i].id);
		if (key)
			h = hash_text(h, vq_field_value(&l->v[i], key));
		size_t at = (size_t)(h ^ h >> 29) & (slots - 1);
		for (; slot[at] && !same(&l->v[slot[at] - 1], &l->v[i], key); at = (at + 1) & (slots - 1))
			;
		if (slot[at]) {
			*a = &l->v[slot[at] - 1];
			*b = &l->v[i];
			found = 1;
		}
		slot[at] = i + 1;
	}
	free(slot);
	return found;
}

vq_status vq_fields_unique(const vq_fields *l)
{
	const vq_field *a, *b, *c, *d;
	vq_buf differ = { 0 };
	const char *enough = NULL;
	int s = find_clash(l, NULL, &a, &b);
	for (int i = 0; s > 0 && i < a->pairs && !enough; i++) {
		if (!strcmp(a->value[i], vq_field_value(b, a->key[i])))
			continue;
		int left = find_clash(l, a->key[i], &c, &d);
		if (left < 0 || vq_buf_fmt(&differ, "%s%s", differ.len ? ", " : "", a->key[i]) < 0)
			s = VQ_ENOMEM;
		else if (!left)
			enough = a->key[i];
	}
	if (s > 0 && (enough || differ.len))
		s = vq_fail(VQ_EINVAL, "the id \"%s\" is that of %s and of %s; --id with %s among its columns tells them apart", a->id, a->origin, b->origin,
		            enough ? enough : differ.data);
	else if (s > 0)
		s = vq_fail(VQ_EINVAL, "the id \"%s\" is that of %s and of %s, and no Metadata_ column tells them apart", a->id, a->origin, b->origin);
	vq_buf_free(&differ);
	return s;
}
