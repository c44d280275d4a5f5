/* outfile: a file that appears under its name only when it is complete.
 *
 * Data goes to a temporary file beside the target and is renamed by vq_out_commit(). "-" or NULL is standard output,
 * which is never a terminal for binary data. A signal (INT, TERM, HUP) removes what is unfinished and then ends the
 * process as that signal would have, unless the tool set its own handler first. */
#ifndef VQ_OUTFILE_H
#define VQ_OUTFILE_H

#include <stdio.h>

#include "lib/base.h"

typedef struct vq_out vq_out;

enum { VQ_OUT_TEXT = 0, VQ_OUT_BINARY = 1 /* refuse a terminal */ };

vq_status vq_out_open(vq_out **o, const char *path, int flags);
FILE *vq_out_file(vq_out *o);         /* write through this; errors may wait until commit */
const char *vq_out_name(const vq_out *o); /* the target path, or "standard output", for messages */
/* Where the data goes until commit, for a library that opens files by name; NULL: standard output, a pipe or a device. */
const char *vq_out_temp(const vq_out *o);
/* Flushes, checks every error so far, closes, renames. Frees o either way; on failure nothing is left behind. */
vq_status vq_out_commit(vq_out *o);
void vq_out_abort(vq_out *o);         /* removes the temporary file; frees o; NULL is fine */

/* A whole small file at once. */
vq_status vq_out_write(const char *path, const void *data, size_t n);
/* Reads a whole file (path, or "-" for standard input) of at most limit bytes; NUL-terminated beyond len. */
vq_status vq_file_read(const char *path, size_t limit, vq_buf *out);

#endif
