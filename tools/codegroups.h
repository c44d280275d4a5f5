/* codegroups: which codes the cells of each metadata group use, and whether the groups differ. */
#ifndef VQ_TOOL_CODEGROUPS_H
#define VQ_TOOL_CODEGROUPS_H

#include "tools/codestats.h"

typedef struct vq_codegroups vq_codegroups;

/* by: metadata columns whose values make a group. units: columns, or "cell", or NULL for the finest of the usual groups (as a split has
 * them), fields and cells that tells them apart: units within one group each, and more of them than groups. */
vq_status vq_codegroups_open(vq_codegroups **g, const char *by, const char *units);
/* After vq_codestats_add of the same record. VQ_EINVAL: a column that the record lacks (the nearest is named). */
vq_status vq_codegroups_add(vq_codegroups *g, const vq_codestats *s, const vqt_record *r);
/* After the last record: groups by name, units, the test of each level as lib/eval/difference.h has it. VQ_EINVAL: a unit with cells of two
 * groups, too many groups. *json: "groups" for the report; level[i]: for the i-th level; caller deletes. few: no more units than groups. */
vq_status vq_codegroups_report(vq_codegroups *g, const vq_codestats *s, int deals, uint64_t seed, int threads, cJSON **json, cJSON **level, bool *few);
void vq_codegroups_close(vq_codegroups *g); /* NULL is fine */

#endif
