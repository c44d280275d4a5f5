/* pairs: a stream of samples beside its reference, record by record, matched by id.
 *
 * The stream is read once, in its own order. A reference that is a regular file may have any order: as long as both agree it
 * is read straight through, and the first id that is out of step costs one more pass over the reference to find every id (32 to 64
 * bytes an id from then on). A reference that is a pipe must have the stream's order. Otherwise memory is O(one record) a side. */
#ifndef VQ_PAIRS_H
#define VQ_PAIRS_H

#include "formats/sample.h"

typedef struct vq_pairs vq_pairs;
typedef enum { VQ_PAIR_STREAM, VQ_PAIR_REFERENCE } vq_pair_side;

/* subset: reference records without a counterpart are passed over. Fails when either is not a stream of samples (with the command
 * that would make one of it) or when their channels differ. */
vq_status vq_pairs_open(vq_pairs **p, const char *stream, const char *reference, bool subset);
void vq_pairs_close(vq_pairs *p); /* NULL is fine */

const cJSON *vq_pairs_header(const vq_pairs *p, vq_pair_side side);
const char *vq_pairs_name(const vq_pairs *p, vq_pair_side side);
const char *vq_pairs_warning(const vq_pairs *p, vq_pair_side side); /* as vqt_warning */

/* 1: both are filled (the caller frees them); 0: every record was matched; < 0: an id of the stream that the reference lacks, one
 * of the reference that the stream lacks (without subset; found at the end), a stream without records, or a read error. */
int vq_pairs_next(vq_pairs *p, vqt_record *image, vqt_record *reference);

typedef struct {
	vq_tensor *image, *reference;  /* [C,H,W], each with its own padding */
	vq_tensor *mask;               /* the reference's, [H,W] in its padding; NULL when it has none */
	vq_geom at, reference_at;      /* the same true size */
	vq_norm norm;
} vq_pair;

/* The two records as one pair: both proper samples, of one true size, with the same channels and normalised alike (raw and --none count
 * as alike). Otherwise VQ_EINVAL or VQ_EFORMAT: the record and both values are named. */
vq_status vq_pair_make(vq_pair *pair, const vqt_record *image, const vqt_record *reference);

#endif
