/* history: history.jsonl, one JSON object a line and a line an epoch (keys: epoch, step, seconds, ...; man vq-train(1) lists them). */
#ifndef VQ_HISTORY_H
#define VQ_HISTORY_H

#include <cjson/cJSON.h>

#include "lib/base.h"

typedef struct vq_history vq_history;

/* For appending; the file is made when it is not there. VQ_EFORMAT: its last line was cut off (vq_history_cut mends that). */
vq_status vq_history_open(vq_history **h, const char *path);
/* Appends the object as one line in one write. When that fails, the file is put back to what it was. NaN becomes null. */
vq_status vq_history_add(vq_history *h, const cJSON *line);
void vq_history_close(vq_history *h); /* NULL is fine */

typedef struct {
	int n;
	cJSON **line;   /* each an object */
	int cut;        /* number of a last line that is incomplete, which line[] lacks; 0: none */
} vq_history_lines;

/* VQ_EFORMAT: a line other than the last is no JSON object; the message names its number. Free either way. */
vq_status vq_history_read(const char *path, vq_history_lines *h);
void vq_history_free(vq_history_lines *h); /* leaves it empty */

/* Drops the lines whose "step" is beyond step, and an incomplete last line; the others keep their bytes. Atomic. A file that is not
 * there stays so. */
vq_status vq_history_cut(const char *path, int64_t step);

#endif
