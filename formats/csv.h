/* csv: comma-separated tables as RFC 4180 has them, read row by row, and quoting for those that write them.
 *
 * Fields may be quoted, hold commas, line breaks and doubled quotes. Lines end in LF, CRLF or CR; a UTF-8 byte order mark is
 * skipped and empty lines are passed over. A quote inside an unquoted field is an ordinary character. The first row names the
 * columns. Memory: one row, of at most 64 MiB. */
#ifndef VQ_CSV_H
#define VQ_CSV_H

#include <stdio.h>

#include "lib/base.h"

typedef struct vq_csv vq_csv;

/* path: a file, or "-" for standard input. Messages begin with the path. VQ_EFORMAT: no header row, UTF-16, a NUL byte,
 * a quote that is not closed. */
vq_status vq_csv_open(vq_csv **c, const char *path);
void vq_csv_close(vq_csv *c); /* NULL is fine */
const char *vq_csv_path(const vq_csv *c);

int vq_csv_columns(const vq_csv *c);
const char *vq_csv_name(const vq_csv *c, int column);
int vq_csv_column(const vq_csv *c, const char *name); /* the first of that name, or -1 */

/* 1: a row is there; 0: the end; < 0: the rest cannot be read. Fields that a short row lacks read as "". */
int vq_csv_next(vq_csv *c);
const char *vq_csv_get(const vq_csv *c, int column); /* "" for column < 0; valid until the next call of vq_csv_next */
int vq_csv_fields(const vq_csv *c);   /* fields in this row, for those who mind when it is not the number of columns */
uint64_t vq_csv_line(const vq_csv *c); /* line of the file, from 1, on which this row begins */

/* Appends one field, quoted when it has a comma, a quote, a line break, or a blank at an end. */
vq_status vq_csv_add(vq_buf *b, const char *text);
/* Writes one row with LF; errors are left in the FILE. */
void vq_csv_write(FILE *f, const char *const *fields, int n);

#endif
