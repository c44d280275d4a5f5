#include "formats/csv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_LIMIT = 64 << 20, CHUNK = 1 << 16 };

struct vq_csv {
	char *path;
	FILE *f;
	bool own;
	char chunk[CHUNK];
	size_t at, have;
	bool last_cr;        /* the character before was CR: LF after it is the same line end */
	uint64_t line, begin;
	vq_buf text;         /* this row's fields, each with its NUL */
	size_t *start;       /* where each field begins */
	int n, cap;
	char **name;
	int columns;
};

/* The next byte, or EOF. A failed read looks like the end here; read_row asks ferror. */
static int next_byte(vq_csv *c)
{
	if (c->at == c->have) {
		c->have = fread(c->chunk, 1, CHUNK, c->f);
		c->at = 0;
		if (!c->have)
			return EOF;
	}
	return (unsigned char)c->chunk[c->at++];
}

static void push_back(vq_csv *c)
{
	c->at--;
}

static vq_status put(vq_csv *c, char byte)
{
	vq_buf *b = &c->text;
	if (b->len >= ROW_LIMIT)
		return vq_fail(VQ_ELIMIT, "%s: line %llu: a row of more than 64 MiB; is a quote open?", c->path, (unsigned long long)c->begin);
	if (b->len + 1 >= b->cap)
		VQ_TRY(vq_buf_reserve(b, b->cap + 256));
	b->data[b->len++] = byte;
	return VQ_OK;
}

static vq_status begin_field(vq_csv *c)
{
	if (c->n == c->cap) {
		int cap = c->cap ? c->cap * 2 : 32;
		size_t *p = vq_realloc(c->start, (size_t)cap * sizeof *p);
		if (!p)
			return VQ_ENOMEM;
		c->start = p;
		c->cap = cap;
	}
	c->start[c->n++] = c->text.len;
	return VQ_OK;
}

/* The inside of a quoted field, up to and including the closing quote. */
static vq_status read_quoted(vq_csv *c)
{
	int ch, before = 0;
	while ((ch = next_byte(c)) != EOF) {
		if (ch == '"') {
			if ((ch = next_byte(c)) != '"') {
				if (ch != EOF)
					push_back(c);
				return VQ_OK;
			}
		} else if (ch == '\r' || (ch == '\n' && before != '\r')) {
			c->line++;
		} else if (!ch) {
			return vq_fail(VQ_EFORMAT, "%s: line %llu: a NUL byte; not a text file", c->path, (unsigned long long)c->line);
		}
		before = ch;
		VQ_TRY(put(c, (char)ch));
	}
	return vq_fail(VQ_EFORMAT, "%s: line %llu: a quote that is never closed", c->path, (unsigned long long)c->begin);
}

static vq_status bad_line(vq_csv *c, const char *what)
{
	return vq_fail(VQ_EFORMAT, "%s: line %llu: %s", c->path, (unsigned long long)c->line, what);
}

/* One field and what ended it: ',', a line end or EOF. */
static vq_status read_field(vq_csv *c, int *end)
{
	VQ_TRY(begin_field(c));
	int ch = next_byte(c);
	if (ch == '"') {
		VQ_TRY(read_quoted(c));
		ch = next_byte(c);
		if (ch != ',' && ch != '\n' && ch != '\r' && ch != EOF)
			return bad_line(c, "text after a closing quote");
	}
	while (ch != ',' && ch != '\n' && ch != '\r' && ch != EOF) {
		if (!ch)
			return bad_line(c, "a NUL byte; not a text file");
		VQ_TRY(put(c, (char)ch));
		ch = next_byte(c);
	}
	if (ch == EOF && ferror(c->f))
		return vq_fail(VQ_EIO, "%s: %s", c->path, strerror(errno));
	*end = ch;
	return put(c, 0);
}

/* Passes over line ends. 1 when a byte of a row is next, 0 at the end of the file. */
static int skip_empty(vq_csv *c)
{
	int ch;
	while ((ch = next_byte(c)) == '\n' || ch == '\r') {
		if (ch == '\r' || !c->last_cr)
			c->line++;
		c->last_cr = ch == '\r';
	}
	if (ch == EOF)
		return ferror(c->f) ? vq_fail(VQ_EIO, "%s: %s", c->path, strerror(errno)) : 0;
	push_back(c);
	return 1;
}

/* One row into text and start. 1, 0 at the end, or < 0. */
static int read_row(vq_csv *c)
{
	int s = skip_empty(c), end = ',';
	if (s <= 0)
		return s;
	c->n = 0;
	c->text.len = 0;
	c->begin = c->line;
	while (end == ',')
		VQ_TRY(read_field(c, &end));
	c->last_cr = end == '\r';
	c->line++;
	return 1;
}

static vq_status read_header(vq_csv *c)
{
	c->have = fread(c->chunk, 1, CHUNK, c->f);
	const unsigned char *p = (const unsigned char *)c->chunk;
	if (c->have >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff)))
		return vq_fail(VQ_EFORMAT, "%s: UTF-16 text; save it as UTF-8", c->path);
	if (c->have >= 3 && !memcmp(p, "\xef\xbb\xbf", 3))
		c->at = 3;
	int s = read_row(c);
	if (s <= 0)
		return s ? s : vq_fail(VQ_EFORMAT, "%s: empty; a table begins with a row of column names", c->path);
	c->name = vq_calloc((size_t)c->n, sizeof *c->name);
	if (!c->name)
		return VQ_ENOMEM;
	for (; c->columns < c->n; c->columns++)
		if (!(c->name[c->columns] = vq_strdup(c->text.data + c->start[c->columns])))
			return VQ_ENOMEM;
	return VQ_OK;
}

vq_status vq_csv_open(vq_csv **out, const char *path)
{
	bool standard = !path || !strcmp(path, "-");
	vq_csv *c = vq_calloc(1, sizeof *c);
	*out = NULL;
	if (!c)
		return VQ_ENOMEM;
	vq_status s = VQ_ENOMEM;
	c->line = 1;
	if (!(c->path = vq_strdup(standard ? "standard input" : path)))
		goto fail;
	c->f = standard ? stdin : fopen(path, "rb");
	c->own = !standard;
	if (!c->f) {
		s = vq_fail(VQ_EIO, "%s: %s", path, strerror(errno));
		goto fail;
	}
	VQ_TRY_GOTO(s, read_header(c), fail);
	*out = c;
	return VQ_OK;
fail:
	vq_csv_close(c);
	return s;
}

void vq_csv_close(vq_csv *c)
{
	if (!c)
		return;
	if (c->f && c->own)
		fclose(c->f);
	for (int i = 0; i < c->columns; i++)
		free(c->name[i]);
	free(c->name);
	free(c->start);
	free(c->path);
	vq_buf_free(&c->text);
	free(c);
}

const char *vq_csv_path(const vq_csv *c) { return c->path; }
int vq_csv_columns(const vq_csv *c) { return c->columns; }
const char *vq_csv_name(const vq_csv *c, int column) { return c->name[column]; }
int vq_csv_fields(const vq_csv *c) { return c->n; }
uint64_t vq_csv_line(const vq_csv *c) { return c->begin; }

int vq_csv_column(const vq_csv *c, const char *name)
{
	for (int i = 0; i < c->columns; i++)
		if (!strcmp(c->name[i], name))
			return i;
	return -1;
}

int vq_csv_next(vq_csv *c)
{
	int s = read_row(c);
	if (s <= 0)
		c->n = 0;
	return s;
}

const char *vq_csv_get(const vq_csv *c, int column)
{
	return column >= 0 && column < c->n ? c->text.data + c->start[column] : "";
}

static bool needs_quotes(const char *s)
{
	size_t n = strlen(s);
	return n && (s[strcspn(s, ",\"\r\n")] || strchr(" \t", s[0]) || strchr(" \t", s[n - 1]));
}

vq_status vq_csv_add(vq_buf *b, const char *text)
{
	if (!needs_quotes(text))
		return vq_buf_str(b, text);
	VQ_TRY(vq_buf_str(b, "\""));
	for (const char *q; (q = strchr(text, '"')); text = q + 1) {
		VQ_TRY(vq_buf_add(b, text, (size_t)(q - text)));
		VQ_TRY(vq_buf_str(b, "\"\""));
	}
	VQ_TRY(vq_buf_str(b, text));
	return vq_buf_str(b, "\"");
}

void vq_csv_write(FILE *f, const char *const *fields, int n)
{
	for (int i = 0; i < n; i++) {
		const char *s = fields[i];
		bool quote = needs_quotes(s);
		if (i)
			fputc(',', f);
		if (quote)
			fputc('"', f);
		for (; *s; s++) {
			if (*s == '"')
				fputc('"', f);
			fputc(*s, f);
		}
		if (quote)
			fputc('"', f);
	}
	fputc('\n', f);
}
