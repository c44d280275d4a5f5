/* coded: what a stream of codes takes as bytes, really coded and decoded again, with tables that were counted over another stream. */
#ifndef VQ_TOOL_CODED_H
#define VQ_TOOL_CODED_H

#include "tools/codestats.h"

/* *out: {"bytes","bits_per_pixel": all cells as one message; "bytes_separate","bits_per_pixel_separate": a message a cell; "packed_bytes",
 * "packed_bits_per_pixel": ceil(log2 size) bits a code; "zstd_bytes","zstd_bits_per_pixel": these by zstd 19; "order","tables_bytes"}.
 * Each but the packed ones holds the cells' true sizes too, and bits_per_pixel the skip tensors as they are. stats: of the same stream,
 * read before. Both streams are files; codes of another model are refused. Memory is that of all codes. */
vq_status vq_coded(const char *stream, const char *tables, const vq_codestats *stats, cJSON **out);

#endif
