/* config: a vq_config from JSON and back, the manual page's key list and the JSON schema, all from the table of lib/train/config.h.
 *
 * JSON with line (two slashes) and block comments. Unknown and repeated keys are errors; the unknown one names the nearest known key.
 * "$schema" at the top is allowed and ignored. Precedence: defaults, then the file, then vq_config_set() in order. */
#ifndef VQ_FORMATS_CONFIG_H
#define VQ_FORMATS_CONFIG_H

#include "lib/train/config.h"

/* Changes the keys that text sets and leaves the others. name (a file) stands in every message. VQ_EFORMAT: no JSON (line named);
 * VQ_EINVAL: a key or value. The keys are checked one by one: call vq_config_check() when all changes are in. */
vq_status vq_config_parse(vq_config *c, const char *text, const char *name);
/* Reads a file ("-": standard input) over *c; set the defaults first. */
vq_status vq_config_read(vq_config *c, const char *path);

/* Every key explicit, in the table's order, one a line, ending with a newline. Reading it gives the same struct. */
vq_status vq_config_json(const vq_config *c, vq_buf *out);
vq_status vq_config_schema(vq_buf *out); /* JSON schema, draft 2020-12 */
vq_status vq_config_roff(vq_buf *out);   /* the key list of vq-config(5) */

#endif
