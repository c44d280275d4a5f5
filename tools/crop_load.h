/* crop_load: a field's files as one image [C,H,W] with its labels and statistics; and the same one field ahead, in a thread. */
#ifndef VQ_CROP_LOAD_H
#define VQ_CROP_LOAD_H

#include "formats/fields.h"
#include "formats/sample.h"
#include "lib/image/crop.h"

typedef struct { const char *out, *in; } crop_pick; /* out NULL: keeps its name */

enum { CROP_Z_UNSAID = 0, CROP_Z_MAX = -1 };

typedef struct {
	const crop_pick *pick;      /* channels to take, in this order; a name, a column's whole file, or a number from 1 */
	int picks;                  /* 0: all */
	int z;                      /* CROP_Z_*, or a plane from 1 */
	bool pages_are_channels;    /* of files that say nothing about their axes */
	bool whole;                 /* labels are a mask: what is not 0 becomes 1 */
	bool mask_last;             /* the last channel is that mask */
} crop_rules;

typedef struct {
	vq_tensor image;            /* u8, u16 or f32, finite */
	vq_tensor labels;           /* i32 [H,W]; data NULL when there are none */
	int channels;
	char *name[VQ_CHANNELS_MAX];
	int file[VQ_CHANNELS_MAX], page[VQ_CHANNELS_MAX]; /* where each came from */
	vq_plane_stats stats[VQ_CHANNELS_MAX];
	char *note;                 /* what a reader had to remark, or NULL */
} crop_field;

/* Fails with one line that begins with the file (or the row) at fault. */
vq_status crop_load(const vq_field *f, const crop_rules *rules, crop_field *out);
void crop_field_free(crop_field *f); /* safe on an empty one */

/* Fields of the list in order; the system is told of the files of the next few, so that its disk need not be waited for. With ahead, a
 * thread decodes the next field while the caller works on this one: two in memory. */
typedef struct crop_queue crop_queue;
vq_status crop_queue_start(crop_queue **q, const vq_fields *list, const crop_rules *rules, bool ahead);
/* What crop_load gave for the next field, message included; *out is the caller's. Call it once a field. */
vq_status crop_queue_next(crop_queue *q, crop_field *out);
void crop_queue_stop(crop_queue *q); /* any time; NULL is fine */

#endif
