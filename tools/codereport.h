/* codereport: what vq-codebook-stats says, as JSON, and its table of pairs. */
#ifndef VQ_TOOL_CODEREPORT_H
#define VQ_TOOL_CODEREPORT_H

#include "formats/safetensors.h"
#include "formats/table.h"
#include "tools/codegroups.h"

typedef struct {
	vq_codestats *stats;         /* after vq_codestats_end, with neighbours */
	vq_codegroups *groups;       /* or NULL */
	vq_st *model;                /* or NULL: no norms and distances */
	const char *model_name;      /* for messages */
	int64_t batch;               /* records a batch, or 0 */
	int deals, threads;          /* permutations */
	uint64_t seed;
} vq_code_report;

/* few: the groups had no test, for there are no more units than groups. */
vq_status vq_code_report_json(const vq_code_report *r, cJSON *json, bool *few);

/* Columns of the table of pairs, which vq_table_open is given. */
extern const char *const vq_code_pairs_columns[6];
/* All pairs of all levels; frees t either way. */
vq_status vq_code_pairs_write(const vq_codestats *run, vq_table *t);

#endif
