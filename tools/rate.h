/* rate: the codes beside a stream of reconstructions, and what they cost. */
#ifndef VQ_TOOL_RATE_H
#define VQ_TOOL_RATE_H

#include "tools/codestats.h"

typedef struct vq_rate vq_rate;

/* path: a stream of codes. subset: codes of records that the stream lacks are passed over, and not counted. */
vq_status vq_rate_open(vq_rate **r, const char *path, bool subset);
/* Counts the codes of record id; the calls follow the order of the codes. VQ_EINVAL: they are not there, or not next (both ids named). */
vq_status vq_rate_take(vq_rate *r, const char *id);
/* After the last record: bits a true pixel, by the entropy of the codes counted and at ceil(log2 size) a code. VQ_EINVAL: codes are
 * left (without subset; the first id is named). */
vq_status vq_rate_end(vq_rate *r, double *bits, double *raw);
const char *vq_rate_warning(const vq_rate *r); /* as vqt_warning */
void vq_rate_close(vq_rate *r); /* NULL is fine */

#endif
