/* values: JSON as lines KEY <tab> VALUE, for scripts. */
#ifndef VQ_VALUES_H
#define VQ_VALUES_H

#include <stdio.h>

#include <cjson/cJSON.h>

#include "lib/base.h"

/* A line a number, text, true, false or null. Keys are joined with dots, items of a list count from 0 and KEY.# is their number; control
 * characters in keys and texts come out as blanks. */
void vq_values_print(FILE *f, const cJSON *json);

/* The JSON in a file, of at most 256 MiB; the caller deletes it. VQ_EFORMAT: it is none. */
vq_status vq_values_read(const char *path, cJSON **json);

#endif
