#include "formats/table.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "formats/csv.h"
#include "formats/outfile.h"

typedef struct { char *name; vq_buf text; } named;
typedef struct { uint64_t row; int columns; } growth; /* from this row on, rows have that many named columns */

struct vq_table {
	vq_out *out;
	bool gzip;
	z_stream z;
	FILE *body;
	vq_buf head, row;
	int fixed, cells;
	uint64_t rows;
	named *named;
	int nnamed, next;  /* next: where the search for a name begins, for rows tend to name them in one order */
	growth *grown;
	int ngrown;
};

static vq_status cell(vq_buf *row, bool first, const char *text)
{
	if (!first)
		VQ_TRY(vq_buf_str(row, ","));
	return text && *text ? vq_csv_add(row, text) : VQ_OK;
}

static vq_status open_parts(vq_table *t, const char *path, const char *const *columns, int n)
{
	const size_t len = path ? strlen(path) : 0;
	VQ_TRY(vq_out_open(&t->out, path, VQ_OUT_TEXT));
	if (len > 3 && !strcmp(path + len - 3, ".gz")) {
		if (deflateInit2(&t->z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
			return vq_fail(VQ_ENOMEM, "%s: out of memory for compression", vq_out_name(t->out));
		t->gzip = true; /* without a time in its head: the same table gives the same bytes */
	}
	t->body = tmpfile();
	if (!t->body)
		return vq_fail(VQ_EIO, "%s: no temporary file for its rows: %s", vq_out_name(t->out), strerror(errno));
	t->fixed = n;
	for (int i = 0; i < n; i++)
		VQ_TRY(cell(&t->head, i == 0, columns[i]));
	return VQ_OK;
}

vq_status vq_table_open(vq_table **out, const char *path, const char *const *columns, int n)
{
	vq_table *t = *out = vq_calloc(1, sizeof *t);
	if (!t)
		return VQ_ENOMEM;
	vq_status s = open_parts(t, path, columns, n);
	if (s < 0) {
		vq_table_abort(t);
		*out = NULL;
	}
	return s;
}

vq_status vq_table_text(vq_table *t, const char *text) { return cell(&t->row, t->cells++ == 0, text); }

vq_status vq_table_number(vq_table *t, double v)
{
	char text[40];
	snprintf(text, sizeof text, "%.10g", v);
	return vq_table_text(t, isfinite(v) ? text : NULL);
}

static vq_status add_column(vq_table *t, const char *name)
{
	if (!t->ngrown || t->grown[t->ngrown - 1].row != t->rows) {
		growth *g = vq_realloc(t->grown, (size_t)(t->ngrown + 1) * sizeof *g);
		if (!g)
			return VQ_ENOMEM;
		t->grown = g;
		g[t->ngrown++] = (growth){ t->rows, t->nnamed };
	}
	named *n = vq_realloc(t->named, (size_t)(t->nnamed + 1) * sizeof *n);
	if (!n)
		return VQ_ENOMEM;
	t->named = n;
	n[t->nnamed] = (named){ vq_strdup(name), {0} };
	if (!n[t->nnamed].name)
		return VQ_ENOMEM;
	t->grown[t->ngrown - 1].columns = ++t->nnamed;
	return VQ_OK;
}

vq_status vq_table_named(vq_table *t, const char *name, const char *text)
{
	int i = t->next < t->nnamed ? t->next : 0, tried = 0;
	while (tried < t->nnamed && strcmp(t->named[i].name, name)) {
		i = i + 1 < t->nnamed ? i + 1 : 0;
		tried++;
	}
	if (tried == t->nnamed) {
		VQ_TRY(add_column(t, name));
		i = t->nnamed - 1;
	}
	t->next = i + 1;
	t->named[i].text.len = 0;
	return vq_buf_str(&t->named[i].text, text ? text : "");
}

vq_status vq_table_row(vq_table *t)
{
	if (t->cells != t->fixed)
		return vq_fail(VQ_EINVAL, "%s: a row of %d cells for %d columns", vq_out_name(t->out), t->cells, t->fixed);
	for (int i = 0; i < t->nnamed; i++) {
		VQ_TRY(cell(&t->row, t->fixed + i == 0, t->named[i].text.len ? t->named[i].text.data : NULL));
		t->named[i].text.len = 0;
	}
	VQ_TRY(vq_buf_str(&t->row, "\n"));
	if (fwrite(t->row.data, 1, t->row.len, t->body) != t->row.len)
		return vq_fail(VQ_EIO, "%s: writing rows to a temporary file: %s", vq_out_name(t->out), strerror(errno));
	t->row.len = 0;
	t->cells = 0;
	t->rows++;
	return VQ_OK;
}

/* Bytes on their way to the file, compressed or not. */
static vq_status put(vq_table *t, const char *data, size_t n, bool last)
{
	FILE *to = vq_out_file(t->out);
	if (!t->gzip)
		return fwrite(data, 1, n, to) == n ? VQ_OK : vq_fail(VQ_EIO, "%s: %s", vq_out_name(t->out), strerror(errno));
	unsigned char out[16384];
	t->z.next_in = (unsigned char *)data;
	t->z.avail_in = (unsigned)n;
	do {
		t->z.next_out = out;
		t->z.avail_out = sizeof out;
		deflate(&t->z, last ? Z_FINISH : Z_NO_FLUSH);
		const size_t made = sizeof out - t->z.avail_out;
		if (fwrite(out, 1, made, to) != made)
			return vq_fail(VQ_EIO, "%s: %s", vq_out_name(t->out), strerror(errno));
	} while (!t->z.avail_out);
	return VQ_OK;
}

/* What is ready goes out in pieces. */
static vq_status put_byte(vq_table *t, vq_buf *b, char c)
{
	enum { PIECE = 16384 };
	VQ_TRY(vq_buf_add(b, &c, 1));
	if (b->len < PIECE)
		return VQ_OK;
	vq_status s = put(t, b->data, b->len, false);
	b->len = 0;
	return s;
}

/* Copies the rows; those from before a column was known get its comma. A line break counts as a row's end outside quotes only. */
static vq_status copy_rows(vq_table *t, vq_buf *b)
{
	uint64_t row = 0;
	int g = 0, have = 0, c;
	bool quoted = false;
	rewind(t->body);
	while ((c = getc_unlocked(t->body)) != EOF) {
		if (c == '"')
			quoted = !quoted;
		if (c == '\n' && !quoted) {
			for (; g < t->ngrown && t->grown[g].row <= row; g++)
				have = t->grown[g].columns;
			for (int i = have; i < t->nnamed; i++)
				VQ_TRY(put_byte(t, b, ','));
			row++;
		}
		VQ_TRY(put_byte(t, b, (char)c));
	}
	return ferror(t->body) ? vq_fail(VQ_EIO, "%s: reading rows back from a temporary file: %s", vq_out_name(t->out), strerror(errno)) : VQ_OK;
}

static vq_status write_all(vq_table *t)
{
	vq_buf b = {0};
	if (fflush(t->body))
		return vq_fail(VQ_EIO, "%s: writing rows to a temporary file: %s", vq_out_name(t->out), strerror(errno));
	for (int i = 0; i < t->nnamed; i++)
		VQ_TRY(cell(&t->head, t->fixed + i == 0, t->named[i].name));
	VQ_TRY(vq_buf_str(&t->head, "\n"));
	VQ_TRY(put(t, t->head.data, t->head.len, false));
	vq_status s = copy_rows(t, &b);
	if (s == VQ_OK)
		s = put(t, b.len ? b.data : "", b.len, true);
	vq_buf_free(&b);
	return s;
}

static void table_free(vq_table *t)
{
	if (t->body)
		fclose(t->body);
	if (t->gzip)
		deflateEnd(&t->z);
	for (int i = 0; i < t->nnamed; i++) {
		free(t->named[i].name);
		vq_buf_free(&t->named[i].text);
	}
	free(t->named);
	free(t->grown);
	vq_buf_free(&t->head);
	vq_buf_free(&t->row);
	free(t);
}

vq_status vq_table_commit(vq_table *t)
{
	vq_status s = write_all(t);
	if (s < 0) {
		vq_table_abort(t);
		return s;
	}
	s = vq_out_commit(t->out);
	table_free(t);
	return s;
}

void vq_table_abort(vq_table *t)
{
	if (!t)
		return;
	if (t->out)
		vq_out_abort(t->out);
	table_free(t);
}
