/* normrec: normalisation of sample records, as vq-normalize does it and vq-encode repeats it. */
#ifndef VQ_TOOLS_NORMREC_H
#define VQ_TOOLS_NORMREC_H

#include "formats/sample.h"
#include "tools/stats.h"

/* Turns the image of a raw record into f32 as `how` says (method, scope, percentiles, clip) and records it in the metadata.
 *   scope "record"  statistics of this record's true pixels; "field": the record's field_stats
 *   scope "stats"   those of `stats` for this record, or, when stats is NULL, how->a and how->b (channels must agree)
 * A record of method none counts as raw. Pixels of zero padding stay 0. *done (may be NULL): what was recorded.
 * Errors, all of them beginning with the record's id: normalised already (and how), a NaN or infinite pixel (and the channel), statistics
 * that are missing (and which there are). On failure the record is unchanged. */
vq_status vq_normalize_record(vqt_record *rec, const vq_norm *how, vq_stats *stats, vq_norm *done);

/* *grey: a fresh f64 tensor of the image's shape, back in grey levels; what was clipped stays at its limit, a constant channel is its low
 * level or mean. A raw record is only converted. */
vq_status vq_denormalize_record(const vqt_record *rec, vq_tensor *grey);

#endif
