/* json: what cJSON takes too long for when it is done for every record of a stream. The trees are cJSON's. */
#ifndef VQ_FORMATS_JSON_H
#define VQ_FORMATS_JSON_H

#include <cjson/cJSON.h>

#include "lib/base.h"

/* Appends the text of json, to the byte as cJSON_PrintUnformatted makes it. */
vq_status vq_json_print(vq_buf *out, const cJSON *json);
/* The same of [v[0],...], a single number or a string; what is not finite is null. */
vq_status vq_json_print_numbers(vq_buf *out, const double *v, int n);
vq_status vq_json_print_number(vq_buf *out, double v);
vq_status vq_json_print_string(vq_buf *out, const char *s);

/* An object's text to a tree in which only the members whose keys are in the '|'-separated list are trees themselves; every other one is
 * raw text, checked to be JSON, that is printed as it came; several that follow one another may be one item under the name of the first.
 * text[n] must be 0. NULL: it is no object, or one that is not plain enough for
 * this (escapes in a key, \u anywhere, deep nesting, numbers that JSON does not know): then cJSON has the word. */
cJSON *vq_json_parse_some(const char *text, size_t n, const char *keys);

#endif
