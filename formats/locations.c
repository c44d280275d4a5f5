#include "formats/locations.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/csv.h"

typedef struct {
	vq_fields *l;
	vq_csv *csv;
	int x, y, number, image;
	const char **key;      /* Metadata_ columns that both sides have */
	int *key_column, keys;
	size_t *cap;           /* of each field's places while they grow */
	size_t *slot, slots;   /* fields by their keys' values: index + 1, open addressing */
	size_t last;           /* field that the last ImageNumber led to */
} table;

static const char *bare(const char *name) { return strncmp(name, "Image_", 6) ? name : name + 6; }

/* The column called end, or PREFIX_end: PREFIX is objects, or the only one. -1: none. *other: a second one. */
static int find_column(const table *t, const char *objects, const char *end, const char **other)
{
	int found = -1;
	*other = NULL;
	for (int i = 0; i < vq_csv_columns(t->csv); i++) {
		const char *name = vq_csv_name(t->csv, i);
		size_t n = strlen(name), m = strlen(end);
		if (!strcmp(name, end) && !objects)
			return i;
		if (n <= m || strcmp(name + n - m, end) || name[n - m - 1] != '_')
			continue;
		if (objects && (strlen(objects) != n - m - 1 || strncmp(name, objects, n - m - 1)))
			continue;
		if (found >= 0)
			*other = name;
		else
			found = i;
	}
	return found >= 0 || !objects ? found : vq_csv_column(t->csv, end);
}

static vq_status find_columns(table *t, const char *objects)
{
	const char *path = vq_csv_path(t->csv), *other;
	t->x = find_column(t, objects, "Location_Center_X", &other);
	if (other)
		return vq_fail(VQ_EINVAL, "%s: both %s and %s; choose with --objects", path, vq_csv_name(t->csv, t->x), other);
	t->y = find_column(t, objects, "Location_Center_Y", &other);
	if (t->x < 0 || t->y < 0)
		return vq_fail(VQ_EFORMAT, "%s: no column %s", path, t->x < 0 ? "Location_Center_X" : "Location_Center_Y");
	t->number = vq_csv_column(t->csv, "ObjectNumber");
	if (t->number < 0)
		t->number = find_column(t, objects, "Number_Object_Number", &other);
	t->image = vq_csv_column(t->csv, "ImageNumber");
	t->key = vq_arena_get(&t->l->arena, (size_t)vq_csv_columns(t->csv) * sizeof *t->key);
	t->key_column = vq_arena_get(&t->l->arena, (size_t)vq_csv_columns(t->csv) * sizeof *t->key_column);
	if (!t->key || !t->key_column)
		return VQ_ENOMEM;
	for (int i = 0; t->image < 0 && i < vq_csv_columns(t->csv); i++) {
		const char *name = bare(vq_csv_name(t->csv, i));
		bool both = !strncmp(name, "Metadata_", 9);
		for (size_t f = 0; both && f < t->l->n; f++) {
			int k = 0;
			while (k < t->l->v[f].pairs && strcmp(t->l->v[f].key[k], name))
				k++;
			both = k < t->l->v[f].pairs;
		}
		if (!both)
			continue;
		t->key_column[t->keys] = i;
		if (!(t->key[t->keys++] = vq_arena_str(&t->l->arena, name)))
			return VQ_ENOMEM;
	}
	if (t->image < 0 && !t->keys && t->l->n > 1)
		return vq_fail(VQ_EFORMAT, "%s: neither ImageNumber nor Metadata_ columns of the fields to tell the rows' fields", path);
	return VQ_OK;
}

/* --- from a row to its field -------------------------------------------------------------------------------------- */

static uint64_t hash_text(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211u;
	return (h ^ 0xff) * 1099511628211u;
}

static vq_status index_fields(table *t)
{
	for (t->slots = 16; t->slots < 2 * t->l->n;)
		t->slots *= 2;
	if (!(t->slot = vq_calloc(t->slots, sizeof *t->slot)))
		return VQ_ENOMEM;
	for (size_t f = 0; f < t->l->n; f++) {
		uint64_t h = 14695981039346656037u;
		for (int k = 0; k < t->keys; k++)
			h = hash_text(h, vq_field_value(&t->l->v[f], t->key[k]));
		size_t at = (size_t)(h ^ h >> 29) & (t->slots - 1);
		while (t->slot[at])
			at = (at + 1) & (t->slots - 1);
		t->slot[at] = f + 1;
	}
	return VQ_OK;
}

static bool fits(const table *t, size_t f)
{
	for (int k = 0; k < t->keys; k++)
		if (strcmp(vq_field_value(&t->l->v[f], t->key[k]), vq_csv_get(t->csv, t->key_column[k])))
			return false;
	return true;
}

static vq_status bad_row(const table *t, const char *what)
{
	return vq_fail(VQ_EFORMAT, "%s line %llu: %s", vq_csv_path(t->csv), (unsigned long long)vq_csv_line(t->csv), what);
}

static bool has_number(const table *t, size_t f, long n)
{
	const vq_field *v = &t->l->v[f];
	return v->number >= 0 ? v->number == n : (long)f + 1 == n;
}

/* Tables are sorted by field as a rule, so that the one of the row before is tried first. */
static bool find_number(table *t, long n, size_t *out)
{
	if (t->last < t->l->n && has_number(t, t->last, n)) {
		*out = t->last;
		return true;
	}
	for (size_t f = 0; f < t->l->n; f++)
		if (has_number(t, f, n)) {
			*out = t->last = f;
			return true;
		}
	return false;
}

static vq_status field_of_row(table *t, size_t *out)
{
	if (t->image >= 0) {
		char *end;
		const char *text = vq_csv_get(t->csv, t->image);
		long n = strtol(text, &end, 10);
		if (!*text || *end || !find_number(t, n, out))
			return bad_row(t, vq_fields_format(t->l, "there is no field for ImageNumber \"%s\"", text));
		return VQ_OK;
	}
	uint64_t h = 14695981039346656037u;
	size_t found = 0;
	for (int k = 0; k < t->keys; k++)
		h = hash_text(h, vq_csv_get(t->csv, t->key_column[k]));
	for (size_t at = (size_t)(h ^ h >> 29) & (t->slots - 1); t->slot[at]; at = (at + 1) & (t->slots - 1))
		if (fits(t, t->slot[at] - 1)) {
			if (found)
				return bad_row(t, "its Metadata_ columns fit several fields");
			found = t->slot[at];
		}
	if (!found)
		return bad_row(t, "its Metadata_ columns fit no field");
	*out = found - 1;
	return VQ_OK;
}

static vq_status read_real(const table *t, int column, double *out)
{
	const char *text = vq_csv_get(t->csv, column);
	char *end;
	*out = strtod(text, &end);
	if (!*text || *end)
		return bad_row(t, vq_fields_format(t->l, "%s is \"%s\", not a number", vq_csv_name(t->csv, column), text));
	return VQ_OK;
}

static vq_status add_row(table *t)
{
	double x, y, number;
	size_t f = 0;
	VQ_TRY(field_of_row(t, &f));
	VQ_TRY(read_real(t, t->x, &x));
	VQ_TRY(read_real(t, t->y, &y));
	if (isnan(x) || isnan(y)) /* CellProfiler's row for a field without objects */
		return VQ_OK;
	vq_field *field = &t->l->v[f];
	number = (double)field->places + 1;
	if (t->number >= 0)
		VQ_TRY(read_real(t, t->number, &number));
	if (!(number >= 1 && number < 2147483648.0) || number != floor(number))
		return bad_row(t, "an object number that is not a whole number from 1");
	if (field->places == t->cap[f]) {
		size_t cap = t->cap[f] ? t->cap[f] * 2 : 16;
		vq_place *p = vq_arena_get(&t->l->arena, cap * sizeof *p);
		if (!p)
			return VQ_ENOMEM;
		if (field->places)
			memcpy(p, field->place, field->places * sizeof *p);
		field->place = p;
		t->cap[f] = cap;
	}
	field->place[field->places++] = (vq_place){ y, x, (int32_t)number };
	return VQ_OK;
}

static int by_label(const void *a, const void *b)
{
	int32_t p = ((const vq_place *)a)->label, q = ((const vq_place *)b)->label;
	return (p > q) - (p < q);
}

/* Cells are taken in the order of their numbers, which are to be unique in a field. */
static vq_status sort_places(table *t)
{
	for (size_t f = 0; f < t->l->n; f++) {
		vq_field *field = &t->l->v[f];
		if (field->places)
			qsort(field->place, field->places, sizeof *field->place, by_label);
		for (size_t i = 1; i < field->places; i++)
			if (field->place[i].label == field->place[i - 1].label)
				return vq_fail(VQ_EINVAL, "%s: two rows for object %d of field %s", vq_csv_path(t->csv), field->place[i].label, field->id);
	}
	return VQ_OK;
}

vq_status vq_locations_read(vq_fields *l, const char *csv, const char *objects)
{
	table t = { .l = l };
	vq_status s;
	VQ_TRY(vq_csv_open(&t.csv, csv));
	t.cap = vq_calloc(l->n + 1, sizeof *t.cap);
	s = t.cap ? find_columns(&t, objects) : VQ_ENOMEM;
	if (s == VQ_OK)
		s = index_fields(&t);
	while (s >= 0 && (s = vq_csv_next(t.csv)) > 0)
		s = add_row(&t);
	if (s == VQ_OK)
		s = sort_places(&t);
	vq_csv_close(t.csv);
	free(t.cap);
	free(t.slot);
	return s;
}
