/* tfidf: how telling each code is, from how many cells of a stream have it. */
#ifndef VQ_TOOL_TFIDF_H
#define VQ_TOOL_TFIDF_H

#include "formats/sample.h"

/* path: codes with the tensor histogram. (*idf)[k] = ln((1 + cells) / (1 + cells with code k)) + 1, [size]; caller frees. VQ_EINVAL: another
 * kind of stream, no record, no histogram, or one of another length. book: NULL, or the hash of the codebook that the header must name. */
vq_status vq_idf_read(float **idf, const char *path, int64_t size, const char *book);
/* out[k] = histogram[k] idf[k], divided by the Euclidean norm of all; zeros for a cell without codes. */
void vq_tfidf(const int32_t *histogram, const float *idf, int64_t size, float *out);

#endif
