#include "formats/split.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/csv.h"
#include "formats/outfile.h"
#include "formats/sample.h"

typedef struct { const char *id, *group; uint64_t line; int part; } row;

struct vq_parts {
	vq_arena text;
	row *rows;      /* by id */
	size_t n;
};

static int by_id(const void *a, const void *b)
{
	return strcmp(((const row *)a)->id, ((const row *)b)->id);
}

static vq_status read_row(vq_parts *t, vq_csv *c, const int column[3])
{
	row *r = &t->rows[t->n];
	const char *split = vq_csv_get(c, column[2]);
	r->line = vq_csv_line(c);
	if ((r->part = vq_part_parse(split)) < 0)
		return vq_fail(VQ_EFORMAT, "%s: line %llu: split is \"%.60s\", not train, val or test", vq_csv_path(c),
		               (unsigned long long)r->line, split);
	r->id = vq_arena_str(&t->text, vq_csv_get(c, column[0]));
	r->group = vq_arena_str(&t->text, vq_csv_get(c, column[1]));
	t->n++;
	return r->id && r->group ? VQ_OK : VQ_ENOMEM;
}

static vq_status read_rows(vq_parts *t, vq_csv *c)
{
	static const char *const names[] = { "id", "group", "split" };
	int column[3], more;
	for (int i = 0; i < 3; i++)
		if ((column[i] = vq_csv_column(c, names[i])) < 0 && i != 1)
			return vq_fail(VQ_EFORMAT, "%s: has no column \"%s\"", vq_csv_path(c), names[i]);
	while ((more = vq_csv_next(c)) > 0) {
		if (!(t->n & (t->n + 1))) { /* room is always a power of two */
			row *rows = vq_realloc(t->rows, 2 * (t->n + 1) * sizeof *rows);
			if (!rows)
				return VQ_ENOMEM;
			t->rows = rows;
		}
		VQ_TRY(read_row(t, c, column));
	}
	VQ_TRY(more);
	if (t->n)
		qsort(t->rows, t->n, sizeof *t->rows, by_id);
	for (size_t i = 1; i < t->n; i++)
		if (!by_id(&t->rows[i], &t->rows[i - 1]))
			return vq_fail(VQ_EFORMAT, "%s: id %.200s is on lines %llu and %llu", vq_csv_path(c), t->rows[i].id,
			               (unsigned long long)VQ_MIN(t->rows[i].line, t->rows[i - 1].line),
			               (unsigned long long)VQ_MAX(t->rows[i].line, t->rows[i - 1].line));
	return VQ_OK;
}

vq_status vq_parts_read(vq_parts **out, const char *path)
{
	*out = NULL;
	vq_csv *c = NULL;
	vq_parts *t = vq_calloc(1, sizeof *t);
	if (!t)
		return VQ_ENOMEM;
	vq_status s = vq_csv_open(&c, path);
	if (s == VQ_OK)
		s = read_rows(t, c);
	vq_csv_close(c);
	if (s < 0)
		vq_parts_free(t);
	else
		*out = t;
	return s;
}

void vq_parts_free(vq_parts *t)
{
	if (!t)
		return;
	vq_arena_free(&t->text);
	free(t->rows);
	free(t);
}

size_t vq_parts_count(const vq_parts *t) { return t->n; }

static const row *find(const vq_parts *t, const char *id)
{
	row want = { .id = id };
	return t->n ? bsearch(&want, t->rows, t->n, sizeof *t->rows, by_id) : NULL;
}

int vq_parts_find(const vq_parts *t, const char *id)
{
	const row *r = find(t, id);
	return r ? r->part : -1;
}

const char *vq_parts_group(const vq_parts *t, const char *id)
{
	const row *r = find(t, id);
	return r ? r->group : NULL;
}

vq_status vq_parts_write(const char *path, const vq_part_record *record, const uint8_t *part, size_t n)
{
	vq_out *o;
	VQ_TRY(vq_out_open(&o, path, VQ_OUT_TEXT));
	fputs("id,group,split\n", vq_out_file(o));
	for (size_t i = 0; i < n; i++) {
		const char *fields[] = { record[i].id, record[i].group ? record[i].group : "", vq_part_name(part[i]) };
		vq_csv_write(vq_out_file(o), fields, 3);
	}
	return vq_out_commit(o);
}

static vq_status usual_group(const cJSON *meta, const char *id, vq_buf *b)
{
	char buf[32], buf2[32];
	const char *text = vq_sample_text(meta, "Metadata_Group", buf), *plate;
	if (text && *text)
		return vq_buf_str(b, text);
	text = vq_sample_text(meta, "Metadata_Well", buf);
	plate = vq_sample_text(meta, "Metadata_Plate", buf2);
	if (text && *text)
		return vq_buf_fmt(b, "%s%s%s", plate ? plate : "", plate && *plate ? "/" : "", text);
	if ((text = vq_sample_text(meta, "field", buf)) && *text)
		return vq_buf_str(b, text);
	const char *hash = strrchr(id, '#');
	VQ_TRY(vq_buf_str(b, ""));
	return vq_buf_add(b, id, hash ? (size_t)(hash - id) : strlen(id));
}

static vq_status no_column(const cJSON *meta, const char *id, const char *name)
{
	return vq_fail(VQ_EINVAL, "record %s: has no column \"%s\" to group by; the nearest is \"%s\"", id, name, vq_sample_nearest(meta, name));
}

static vq_status column_group(const cJSON *meta, const char *id, const char *by, vq_buf *b)
{
	char buf[32], name[256];
	for (const char *p = by; ; p++) {
		size_t n = strcspn(p, ",");
		snprintf(name, sizeof name, "%.*s", (int)VQ_MIN(n, 200), p);
		const char *text = vq_sample_text(meta, name, buf);
		if (!text) {
			snprintf(name, sizeof name, "Metadata_%.*s", (int)VQ_MIN(n, 200), p);
			text = vq_sample_text(meta, name, buf);
		}
		if (!text)
			return no_column(meta, id, name + 9); /* as it was asked for */
		VQ_TRY(vq_buf_fmt(b, "%s%s", p == by ? "" : "/", text));
		p += n;
		if (!*p)
			return VQ_OK;
	}
}

vq_status vq_part_group(const cJSON *meta, const char *id, const char *by, char **group)
{
	vq_buf b = { 0 };
	vq_status s;
	*group = NULL;
	if (!by || !*by)
		s = usual_group(meta, id, &b);
	else if (!strcmp(by, "cell"))
		s = vq_buf_str(&b, id);
	else
		s = column_group(meta, id, by, &b);
	if (s < 0)
		vq_buf_free(&b);
	else
		*group = b.data;
	return s;
}
