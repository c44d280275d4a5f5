/* names: the groups that values belong to, numbered in the order in which they came. */
#ifndef VQ_EVAL_NAMES_H
#define VQ_EVAL_NAMES_H

#include "lib/base.h"

typedef struct {
	char **name;             /* [n] */
	size_t n, cap;           /* cap: 0, or a power of two */
	size_t *table;           /* [2 cap] open addressing: 0 empty, else index + 1 */
} vq_names; /* zero-initialise; vq_names_free releases */

/* *index: of this name, new if it was not there. */
vq_status vq_names_find(vq_names *s, const char *name, size_t *index);
void vq_names_free(vq_names *s);

#endif
