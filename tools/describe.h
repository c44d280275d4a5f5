/* describe: what a stream or a safetensors file holds, gathered in one pass and as JSON; used by vq-info. */
#ifndef VQ_DESCRIBE_H
#define VQ_DESCRIBE_H

#include <stdio.h>

#include <cjson/cJSON.h>

#include "lib/base.h"

typedef struct {
	cJSON *json;       /* what is known, also of a broken file; NULL when it could not be opened at all */
	vq_status status;  /* a failure's words are in json.error (json NULL: in vq_message()) */
} vq_description;

/* path: a file, or "-". list: "list" gets an object a record (id, bytes, height, width, tensors). lines: NULL, or where a line a
 * record goes at once: id, bytes, then name, type and shape of each tensor, separated by tabs. The keys:
 *   streams      file kind version records [items] channels dtype height width tensors bytes chain complete [warning] [error], and
 *                further keys of the stream's header
 *   safetensors  file kind ("model" or what else metadata.format says after "vq-"; of other programs "tensors") [version] parameters
 *                bytes dtype tensors metadata complete */
vq_description vq_describe(const char *path, bool list, FILE *lines);
/* The same for people. Control characters in a file's own words come out as '?'. */
void vq_describe_print(FILE *f, const cJSON *json);
void vq_describe_line(FILE *f, const cJSON *record);

#endif
