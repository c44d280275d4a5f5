/* batchrec: samples in a batch record, and out of it again (the record's layout is in formats/sample.h). */
#ifndef VQ_TOOLS_BATCHREC_H
#define VQ_TOOLS_BATCHREC_H

#include "formats/sample.h"
#include "lib/image/bucket.h"

/* A sample that waits for its batch: its tensors, and its metadata as text, which is a fraction of the tree's size. */
typedef struct vq_batch_sample vq_batch_sample;

/* Moves the sample out of rec, which is left empty, into it->item, and fills in size, kind and bytes. VQ_EINVAL, VQ_EFORMAT: a
 * record without image, with a tensor that is neither image nor mask, or with padding that does not fit. */
vq_status vq_batch_sample_make(vqt_record *rec, vq_bucket_item *it);
void vq_batch_sample_free(void *sample); /* NULL is fine */

/* *rec: the samples of b as one record, id "FIRST_ID+N" with N further ones. Frees the samples as it goes, also on failure. */
vq_status vq_batch_make(vqt_record *rec, vq_bucket_batch *b);

/* Items of a batch record; VQ_EFORMAT, with its id, unless tensors and metadata agree. */
vq_status vq_batch_count(const vqt_record *batch, int *n);
/* *sample: item i (0 to n - 1) as it was before it came into the batch. The batch is unchanged. Call vq_batch_count first. */
vq_status vq_batch_item(const vqt_record *batch, int i, vqt_record *sample);

/* Samples one after another from a stream of samples or of batches. */
typedef struct { vqt_reader *in; vqt_record batch; int at, n; bool batches; } vq_sample_reader;
vq_status vq_sample_reader_open(vq_sample_reader *r, const char *path);
int vq_sample_reader_next(vq_sample_reader *r, vqt_record *rec); /* as vqt_next; messages begin with the stream's name */
void vq_sample_reader_close(vq_sample_reader *r);

#endif
