/* split: split.csv (columns id, group, split = train|val|test), and the group that a record belongs to. */
#ifndef VQ_FORMATS_SPLIT_H
#define VQ_FORMATS_SPLIT_H

#include <cjson/cJSON.h>

#include "lib/train/split.h"

typedef struct vq_parts vq_parts;

/* VQ_EFORMAT: a column that lacks, an id that occurs twice, a split that is none of the three; file and line named. */
vq_status vq_parts_read(vq_parts **t, const char *path);
size_t vq_parts_count(const vq_parts *t);
int vq_parts_find(const vq_parts *t, const char *id);               /* a vq_part, or -1 when the table has no such id */
const char *vq_parts_group(const vq_parts *t, const char *id);      /* or NULL */
void vq_parts_free(vq_parts *t); /* NULL is fine */

/* Writes the table, atomically. */
vq_status vq_parts_write(const char *path, const vq_part_record *record, const uint8_t *part, size_t n);

/* The group of a sample record, from its metadata. by: NULL or "": Metadata_Group, else plate and well, else the field (the id up to
 * its last '#' when there is no such key); "cell": the id; else metadata columns with commas between, each with or
 * without "Metadata_". VQ_EINVAL: a column that the record lacks. *group: caller frees. */
vq_status vq_part_group(const cJSON *meta, const char *id, const char *by, char **group);

#endif
