/* crop_record: one cell of a loaded field as a sample record (formats/sample.h). */
#ifndef VQ_CROP_RECORD_H
#define VQ_CROP_RECORD_H

#include "tools/crop_load.h"

/* The text of the metadata that all cells of a field share, and room for that of one. */
typedef struct { vq_buf head, middle, tail, meta; } crop_shared;

vq_status crop_shared_make(crop_shared *s, const vq_field *field, const crop_field *data);
void crop_shared_free(crop_shared *s);

/* The record ID#LABEL without its metadata, whose text is in shared->meta until the next call: for vqt_put_text. The caller frees it. */
vq_status crop_record_make(vqt_record *r, const vq_field *field, const crop_field *data, crop_shared *shared, const vq_box *box, int32_t label);

/* The channel names as a JSON array. */
cJSON *crop_channels(const crop_field *data);

#endif
