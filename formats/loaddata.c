#include "formats/loaddata.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/csv.h"

enum { FILE_, PATH_, URL_, SERIES_, FRAME_, PARTS, SETS_MAX = 256 };

static const char *const part_name[PARTS] = { "FileName_", "PathName_", "URL_", "Series_", "Frame_" };

typedef struct {
	const char *name;
	int column[PARTS];    /* -1: not there */
	int illum;            /* set that this one is divided by, or -1 */
	bool divisor, wanted;
} column_set;

typedef struct {
	vq_fields *l;
	vq_csv *csv;
	const vq_loaddata_rules *rules;
	const char *dir;      /* what relative paths start with; NULL: nothing */
	column_set image[SETS_MAX], object[SETS_MAX];
	int images, objects, chosen; /* chosen: of object, or -1 */
	const char **key;     /* Metadata_ columns */
	int *key_column, keys;
	int *id_column, ids, number_column;
} table;

/* --- paths -------------------------------------------------------------------------------------------------------- */

static bool is_drive(const char *p)
{
	return ((p[0] | 32) >= 'a' && (p[0] | 32) <= 'z') && p[1] == ':' && (!p[2] || p[2] == '/' || p[2] == '\\');
}

static char slash(char c) { return c == '\\' ? '/' : c; }

/* Length of OLD in path when path begins with it, as far as a separator or the end; else 0. n: of OLD without separators at its end. */
static size_t begins_with(const char *path, const char *old, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (slash(path[i]) != slash(old[i]))
			return 0;
	return !path[n] || slash(path[n]) == '/' ? n : 0;
}

/* Applies the first map that fits. */
static char *map_path(table *t, char *path)
{
	for (int i = 0; i < t->rules->maps && path; i++) {
		const char *old = t->rules->map[i], *eq = strchr(old, '='), *to = eq + 1;
		size_t n = (size_t)(eq - old), m = strlen(to);
		while (n && slash(old[n - 1]) == '/')
			n--;
		while (m > 1 && to[m - 1] == '/')
			m--;
		if (!begins_with(path, old, n) || eq == old)
			continue;
		path = vq_fields_format(t->l, "%.*s%s", (int)m, to, path + n);
		for (char *p = path ? path + m : NULL; p && *p; p++)
			*p = slash(*p);
		return path;
	}
	return path;
}

/* The path to open. *why is set when there is no way to tell. */
static char *resolve(table *t, char *given, const char **why)
{
	char *path = map_path(t, given);
	if (!path)
		return NULL;
	if (is_drive(path) || !strncmp(path, "\\\\", 2)) {
		if (!*why)
			*why = vq_fields_format(t->l, "%s: a path of another system; say with --path-map 'OLD=NEW' where it is here", path);
		return *why ? path : NULL;
	}
	if (!strchr(path, '/') && strchr(path, '\\')) {
		path = vq_arena_str(&t->l->arena, path);
		for (char *p = path; p && *p; p++)
			*p = slash(*p);
		if (!path)
			return NULL;
	}
	if (path[0] == '/')
		return path;
	return t->dir ? vq_fields_format(t->l, "%s/%s", t->dir, path) : path;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The path in a file: URL, percent signs decoded; plain paths as they are. */
static char *path_of_url(table *t, const char *url, const char **why)
{
	const char *colon = strstr(url, "://");
	if (strncmp(url, "file:", 5)) {
		if (colon && !*why)
			*why = vq_fields_format(t->l, "%s: only file: URLs are read", url);
		return colon && !*why ? NULL : vq_arena_str(&t->l->arena, url);
	}
	const char *p = url + 5;
	if (!strncmp(p, "//localhost/", 12))
		p += 11;
	else if (!strncmp(p, "//", 2))
		p += 2;
	if (p[0] == '/' && is_drive(p + 1))
		p++;
	char *out = vq_arena_str(&t->l->arena, p), *to = out;
	for (const char *from = out; out && *from; from++) {
		if (*from == '%' && hex(from[1]) >= 0 && hex(from[2]) >= 0 && (hex(from[1]) || hex(from[2]))) {
			*to++ = (char)(hex(from[1]) << 4 | hex(from[2]));
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	if (out)
		*to = 0;
	return out;
}

/* --- columns ------------------------------------------------------------------------------------------------------ */

static const char *bare(const char *name) { return strncmp(name, "Image_", 6) ? name : name + 6; }

/* The set called name, made when it is new. */
static column_set *set_named(column_set *set, int *n, const char *name)
{
	for (int i = 0; i < *n; i++)
		if (!strcmp(set[i].name, name))
			return &set[i];
	if (*n == SETS_MAX)
		return NULL;
	column_set *s = &set[(*n)++];
	*s = (column_set){ .name = name, .column = { -1, -1, -1, -1, -1 }, .illum = -1, .wanted = true };
	return s;
}

/* Keeps sets that name a file; the rest are other modules' columns. */
static void drop_fileless(column_set *set, int *n)
{
	int kept = 0;
	for (int i = 0; i < *n; i++)
		if (set[i].column[FILE_] >= 0 || set[i].column[URL_] >= 0)
			set[kept++] = set[i];
	*n = kept;
}

static vq_status sort_columns(table *t)
{
	int n = vq_csv_columns(t->csv);
	t->key = vq_arena_get(&t->l->arena, (size_t)n * sizeof *t->key);
	t->key_column = vq_arena_get(&t->l->arena, (size_t)n * sizeof *t->key_column);
	if (!t->key || !t->key_column)
		return VQ_ENOMEM;
	for (int i = 0; i < n; i++) {
		const char *name = bare(vq_csv_name(t->csv, i));
		if (!strncmp(name, "Metadata_", 9)) {
			t->key_column[t->keys] = i;
			if (!(t->key[t->keys++] = vq_fields_text(t->l, name)))
				return VQ_ENOMEM;
		}
		bool object = !strncmp(name, "Objects", 7);
		const char *rest = object ? name + 7 : name;
		for (int part = 0; part < PARTS; part++) {
			size_t k = strlen(part_name[part]);
			if (strncmp(rest, part_name[part], k) || !rest[k])
				continue;
			char *text = vq_fields_text(t->l, rest + k);
			column_set *s = !text ? NULL : object ? set_named(t->object, &t->objects, text) : set_named(t->image, &t->images, text);
			if (!s)
				return text ? vq_fail(VQ_ELIMIT, "%s: more than %d channels", vq_csv_path(t->csv), SETS_MAX) : VQ_ENOMEM;
			if (s->column[part] >= 0)
				return vq_fail(VQ_EFORMAT, "%s: two columns %s%s%s", vq_csv_path(t->csv), object ? "Objects" : "", part_name[part], text);
			s->column[part] = i;
		}
	}
	drop_fileless(t->image, &t->images);
	drop_fileless(t->object, &t->objects);
	return VQ_OK;
}

static int find_set(const column_set *set, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(set[i].name, name))
			return i;
	return -1;
}

/* Says what there is, for a message. */
static const char *name_sets(table *t, const column_set *set, int n)
{
	const char *all = "";
	for (int i = 0; i < n && all; i++)
		if (!set[i].divisor)
			all = vq_fields_format(t->l, "%s%s%s", all, *all ? ", " : "", set[i].name);
	return all ? all : "?";
}

/* Pairs IllumX with X, or with OrigX. */
static vq_status pair_illumination(table *t)
{
	for (int i = 0; i < t->images; i++) {
		const char *rest = t->image[i].name + 5;
		if (strncmp(t->image[i].name, "Illum", 5) || !*rest)
			continue;
		char *orig = vq_fields_format(t->l, "Orig%s", rest);
		if (!orig)
			return VQ_ENOMEM;
		int with = find_set(t->image, t->images, rest);
		with = with >= 0 ? with : find_set(t->image, t->images, orig);
		if (with >= 0) {
			t->image[with].illum = i;
			t->image[i].divisor = true;
		} else if (!t->rules->channels) {
			return vq_fail(VQ_EFORMAT, "%s: %s has no channel %s or %s to go with; choose with --channels", vq_csv_path(t->csv), t->image[i].name, rest, orig);
		}
	}
	return VQ_OK;
}

/* Leaves wanted those that --channels names, whole or in part. */
static vq_status choose_channels(table *t)
{
	const vq_loaddata_rules *r = t->rules;
	for (int i = 0; r->channels && i < t->images; i++)
		t->image[i].wanted = false;
	for (int k = 0; k < r->channels; k++) {
		int found = find_set(t->image, t->images, r->channel[k]);
		for (int i = 0; found < 0 && i < t->images; i++) {
			size_t n = strlen(t->image[i].name);
			if (!strncmp(t->image[i].name, r->channel[k], n) && r->channel[k][n] == '_')
				found = i;
		}
		if (found < 0 || t->image[found].divisor)
			return vq_fail(VQ_EINVAL, "%s: no channel %s; there are %s", vq_csv_path(t->csv), r->channel[k], name_sets(t, t->image, t->images));
		t->image[found].wanted = true;
	}
	return VQ_OK;
}

static vq_status choose_objects(table *t)
{
	t->chosen = -1;
	if (!t->rules->labels)
		return VQ_OK;
	if (!t->objects)
		return vq_fail(VQ_EFORMAT, "%s: no column ObjectsFileName_... that names label images", vq_csv_path(t->csv));
	if (!t->rules->objects && t->objects > 1)
		return vq_fail(VQ_EINVAL, "%s: several kinds of objects, %s; choose with --objects", vq_csv_path(t->csv), name_sets(t, t->object, t->objects));
	t->chosen = t->rules->objects ? find_set(t->object, t->objects, t->rules->objects) : 0;
	if (t->chosen < 0)
		return vq_fail(VQ_EINVAL, "%s: no objects %s; there are %s", vq_csv_path(t->csv), t->rules->objects, name_sets(t, t->object, t->objects));
	return VQ_OK;
}

/* The columns of --id, or of the default that needs several. */
static vq_status choose_id(table *t)
{
	const char *wish = t->rules->id;
	t->id_column = vq_arena_get(&t->l->arena, ((size_t)vq_csv_columns(t->csv) + (wish ? strlen(wish) : 0) + 1) * sizeof *t->id_column);
	if (!t->id_column)
		return VQ_ENOMEM;
	for (const char *p = wish; p; p = *p ? p + 1 : NULL) {
		size_t n = strcspn(p, ",");
		char *name = vq_fields_format(t->l, "%.*s", (int)n, p);
		int found = -1;
		for (int i = 0; name && found < 0 && i < vq_csv_columns(t->csv); i++)
			if (!strcmp(bare(vq_csv_name(t->csv, i)), bare(name)))
				found = i;
		if (found < 0)
			return name ? vq_fail(VQ_EINVAL, "%s: no column %s for the id", vq_csv_path(t->csv), name) : VQ_ENOMEM;
		t->id_column[t->ids++] = found;
		p += n;
	}
	return VQ_OK;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static const char *cell(const table *t, int column) { return vq_csv_get(t->csv, column); }

static vq_status read_number(table *t, const char *what, int column, int *out, const char **why)
{
	const char *text = cell(t, column);
	char *end;
	*out = -1;
	if (!*text)
		return VQ_OK;
	double v = strtod(text, &end);
	if (*end || !(v >= 0 && v < INT_MAX) || v != (int)v) {
		if (!*why && !(*why = vq_fields_format(t->l, "%s is \"%s\", not a number from 0", what, text)))
			return VQ_ENOMEM;
		return VQ_OK;
	}
	*out = (int)v;
	return VQ_OK;
}

/* One file of this row. *why is left alone when nothing is wrong. */
static vq_status read_file(table *t, const column_set *s, vq_field_file *out, const char **why)
{
	const char *name = cell(t, s->column[FILE_]), *path = cell(t, s->column[PATH_]), *url = cell(t, s->column[URL_]);
	char *given = NULL;
	if (*name) {
		size_t n = strlen(path);
		bool absolute = name[0] == '/' || is_drive(name), sep = n && slash(path[n - 1]) == '/';
		if (!n || !strcmp(path, ".") || absolute)
			given = vq_arena_str(&t->l->arena, name);
		else
			given = vq_fields_format(t->l, "%s%s%s", path, sep ? "" : strchr(path, '\\') && !strchr(path, '/') ? "\\" : "/", name);
	} else if (*url) {
		given = path_of_url(t, url, why);
	} else if (!*why) {
		*why = vq_fields_format(t->l, "no file for %s", s->name);
		return *why ? VQ_OK : VQ_ENOMEM;
	} else {
		return VQ_OK;
	}
	if (!given || !(out->given = vq_fields_text(t->l, given)) || !(out->path = resolve(t, given, why)))
		return VQ_ENOMEM;
	VQ_TRY(read_number(t, "Series", s->column[SERIES_], &out->series, why));
	return read_number(t, "Frame", s->column[FRAME_], &out->frame, why);
}

static vq_status name_field(table *t, vq_field *f)
{
	const char *plate = vq_field_value(f, "Metadata_Plate"), *well = vq_field_value(f, "Metadata_Well"), *site = vq_field_value(f, "Metadata_Site");
	const char *id = "";
	for (int i = 0; i < t->ids && id; i++) {
		char *text = vq_fields_text(t->l, cell(t, t->id_column[i]));
		id = text ? vq_fields_format(t->l, "%s%s%s", id, i ? "_" : "", text) : NULL;
	}
	if (!t->ids) {
		id = vq_field_value(f, "Metadata_Plate_Well_Site");
		if (!*id && *plate && *well && *site)
			id = vq_fields_format(t->l, "%s_%s_%s", plate, well, site);
		if (id && !*id)
			id = vq_field_value(f, "Metadata_Field");
		if (id && !*id && f->files && f->file[0].path)
			id = vq_fields_stem(t->l, f->file[0].path);
	}
	if (id && !*id)
		id = f->origin;
	f->id = id;
	return id ? VQ_OK : VQ_ENOMEM;
}

/* Whether the list has a field of that number; the last is the likeliest. */
static bool have_number(const table *t, int number)
{
	for (size_t i = t->l->n; i-- > 0;)
		if (t->l->v[i].number == number)
			return true;
	return false;
}

static vq_status read_row(table *t)
{
	int number = -1;
	const char *why = NULL;
	VQ_TRY(read_number(t, "ImageNumber", t->number_column, &number, &why));
	if (t->rules->distinct && number >= 0 && have_number(t, number))
		return VQ_OK;
	vq_field *f = vq_fields_add(t->l);
	if (!f)
		return VQ_ENOMEM;
	f->number = number;
	f->origin = vq_fields_format(t->l, "%s line %llu", vq_csv_path(t->csv), (unsigned long long)vq_csv_line(t->csv));
	f->file = vq_arena_get(&t->l->arena, (size_t)t->images * sizeof *f->file);
	f->value = vq_arena_get(&t->l->arena, (size_t)t->keys * sizeof *f->value);
	if (!f->origin || !f->file || !f->value)
		return VQ_ENOMEM;
	if (!why && vq_csv_fields(t->csv) != vq_csv_columns(t->csv)
	    && !(why = vq_fields_format(t->l, "%d fields, where the first line has %d", vq_csv_fields(t->csv), vq_csv_columns(t->csv))))
		return VQ_ENOMEM;
	f->key = t->key;
	for (f->pairs = 0; f->pairs < t->keys; f->pairs++)
		if (!(f->value[f->pairs] = vq_fields_text(t->l, cell(t, t->key_column[f->pairs]))))
			return VQ_ENOMEM;
	for (int i = 0; i < t->images; i++) {
		const column_set *s = &t->image[i];
		if (s->divisor || !s->wanted)
			continue;
		vq_field_file *file = &f->file[f->files++], illum = { 0 };
		*file = (vq_field_file){ .name = s->name, .series = -1, .frame = -1 };
		VQ_TRY(read_file(t, s, file, &why));
		if (s->illum >= 0)
			VQ_TRY(read_file(t, &t->image[s->illum], &illum, &why));
		file->illum = illum.path;
	}
	if (t->chosen >= 0)
		VQ_TRY(read_file(t, &t->object[t->chosen], &f->labels, &why));
	VQ_TRY(name_field(t, f));
	if (why)
		f->problem = vq_fields_format(t->l, "%s: %s", f->origin, why);
	else if (f->labels.path && vq_path_ends(f->labels.path, "_seg.npy"))
		f->problem = vq_fields_seg(t->l, f->labels.path);
	else
		return VQ_OK;
	return f->problem ? VQ_OK : VQ_ENOMEM;
}

static vq_status read_table(table *t, const char *path)
{
	const vq_loaddata_rules *r = t->rules;
	const char *from = r->root ? r->root : path, *end = strrchr(path, '/');
	size_t n = r->root ? strlen(r->root) : end ? (size_t)(end - path) : 0;
	while (r->root && n && from[n - 1] == '/')
		n--;
	if (r->root || end) {
		t->dir = vq_fields_format(t->l, "%.*s", (int)n, from);
		if (!t->dir)
			return VQ_ENOMEM;
	}
	VQ_TRY(sort_columns(t));
	if (!t->images)
		return vq_fail(VQ_EFORMAT, "%s: no column FileName_... or URL_... that names images", vq_csv_path(t->csv));
	VQ_TRY(pair_illumination(t));
	VQ_TRY(choose_channels(t));
	VQ_TRY(choose_objects(t));
	VQ_TRY(choose_id(t));
	t->number_column = vq_csv_column(t->csv, "ImageNumber");
	if (r->distinct && t->number_column < 0)
		return vq_fail(VQ_EFORMAT, "%s: no column ImageNumber to tell its fields", vq_csv_path(t->csv));
	int s;
	while ((s = vq_csv_next(t->csv)) > 0)
		VQ_TRY(read_row(t));
	return s;
}

vq_status vq_loaddata_read(vq_fields *l, const char *path, const vq_loaddata_rules *rules)
{
	table *t = vq_calloc(1, sizeof *t);
	if (!t)
		return VQ_ENOMEM;
	t->l = l;
	t->rules = rules;
	vq_status s = vq_csv_open(&t->csv, path);
	if (s == VQ_OK)
		s = read_table(t, path);
	vq_csv_close(t->csv);
	free(t);
	return s;
}
