/* scoretable: vq-metrics --per-record, a row a record. */
#ifndef VQ_TOOL_SCORETABLE_H
#define VQ_TOOL_SCORETABLE_H

#include "formats/table.h"
#include "tools/totals.h"

/* Columns of the channels that t names. */
vq_status vq_score_table_open(vq_table **table, const char *path, const vq_totals *t);
vq_status vq_score_table_row(vq_table *table, const vqt_record *r, const vq_record_score *s);

#endif
