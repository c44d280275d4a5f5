/* stats: per-channel statistics of many records as JSON: what vq-normalize --fit writes and --stats reads.
 *
 *   {"format":"vq-stats","version":1,"channels":["DNA"],"group_by":["Metadata_Plate"],"where":["Metadata_Split=train"],
 *    "groups":[{"group":["P1"],"records":120,"pixels":[181234],"exact":[true],
 *               "mean":[C],"std":[C],"percentiles":{"p":[0,0.1,...,100],"values":[[..] a channel]}}]}
 *
 * "group_by" and "group" are empty without --group-by. A group holds the keys of a sample's field_stats, so that one reader serves both. */
#ifndef VQ_TOOLS_STATS_H
#define VQ_TOOLS_STATS_H

#include "formats/sample.h"

/* --- making them ---------------------------------------------------------------------------------------------------- */

typedef struct vq_fit vq_fit;
/* group_by: columns, comma-separated, or NULL. where: n conditions COLUMN=VALUE, all of which a record must meet. p[np]: percentiles
 * beside the usual eleven. VQ_EINVAL: a condition without "=", an empty column name. */
vq_status vq_fit_open(vq_fit **f, const char *group_by, const char *const *where, int n, const double *p, int np);
/* Adds a raw record's true pixels if the conditions hold. Errors begin with the record's id: normalised already, other channels than the
 * records before, a group column it lacks (and those it has), a pixel that is not finite (and its channel). */
vq_status vq_fit_add(vq_fit *f, const vqt_record *rec);
/* The JSON; caller deletes. NULL, with the message set: no record met the conditions, or there was none. */
cJSON *vq_fit_result(const vq_fit *f);
void vq_fit_close(vq_fit *f);

/* --- using them ----------------------------------------------------------------------------------------------------- */

typedef struct vq_stats vq_stats;
/* json is consumed, also on failure. VQ_EFORMAT: not what vq_fit_result made. */
vq_status vq_stats_open(vq_stats **s, cJSON *json);
/* The group of a record with this metadata, and for each of its channels the index of the same name in it. VQ_EINVAL names the column
 * value or channel that the statistics lack. */
vq_status vq_stats_find(vq_stats *s, const cJSON *meta, int channels, const cJSON **group, int *channel);
void vq_stats_close(vq_stats *s);

/* From a group or a field_stats object, for channel c: mean and std (p NULL), or two percentiles, which must be among those stored
 * (VQ_EINVAL lists them). */
vq_status vq_stats_bounds(const cJSON *group, int c, const double p[2], double out[2]);

#endif
