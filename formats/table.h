/* table: a CSV file whose last columns are found on the way.
 *
 * A row is the fixed columns, in order, then any number of named ones (a record's Metadata_* columns, which may differ from record
 * to record). A name that is new becomes a further column, empty in the rows before. Rows wait in a temporary file, so that
 * memory is O(one row); the table appears under its name at vq_table_commit(). Lines end in LF, fields are quoted as RFC 4180 has it. */
#ifndef VQ_TABLE_H
#define VQ_TABLE_H

#include "lib/base.h"

typedef struct vq_table vq_table;

/* path as in vq_out_open; a name that ends in .gz is written with gzip. columns are copied. */
vq_status vq_table_open(vq_table **t, const char *path, const char *const *columns, int n);
vq_status vq_table_text(vq_table *t, const char *text);                    /* the next fixed cell; NULL is empty */
vq_status vq_table_number(vq_table *t, double v);                          /* the same; 10 digits; not finite is empty */
vq_status vq_table_named(vq_table *t, const char *name, const char *text); /* a cell of a named column */
vq_status vq_table_row(vq_table *t);  /* ends the row; VQ_EINVAL when its fixed cells are not as many as the columns */
vq_status vq_table_commit(vq_table *t); /* frees t either way */
void vq_table_abort(vq_table *t);     /* leaves no file; NULL is fine */

#endif
