/* like: how each cell of a stream was normalised, by id: for another stream of the same cells. */
#ifndef VQ_TOOLS_LIKE_H
#define VQ_TOOLS_LIKE_H

#include "formats/sample.h"

typedef struct like like;

/* Reads the metadata of every sample at path; raw records are an error. */
vq_status like_open(like **l, const char *path, const char *tool);
/* VQ_EINVAL when there is no record of this id. */
vq_status like_find(const like *l, const char *id, vq_norm *n);
void like_close(like *l); /* NULL is fine */

#endif
