/* codecoder: codes as bytes. A range coder, and static tables for it that are counted over other cells.
 *
 * A grid of codes is written row by row. With tables of order 1 the probability of a code is p(c | left) p(c | above) / p(c), to the sum of 1,
 * each p(c | neighbour) drawn towards p(c) as if VQ_CODE_PRIOR codes had been seen at its frequencies; at the border the neighbour is left
 * out. Codebooks of more than VQ_CODE_CONTEXTS codes have tables of order 0, p(c) alone. What is written is decoded with the same tables. */
#ifndef VQ_CODECODER_H
#define VQ_CODECODER_H

#include "lib/base.h"

enum { VQ_CODE_PRIOR = 64, VQ_CODE_CONTEXTS = 4096 };

/* --- the coder ------------------------------------------------------------------------------------------------------- */

typedef struct { uint64_t low, range; vq_buf *out; } vq_range_encoder;
typedef struct { uint64_t low, range, code; const uint8_t *at, *end; } vq_range_decoder;

/* Intervals are [from, from + freq) of total, 1 <= freq, total <= 2^32. out is appended to. */
void vq_range_encode_start(vq_range_encoder *e, vq_buf *out);
vq_status vq_range_encode(vq_range_encoder *e, uint64_t from, uint64_t freq, uint64_t total);
/* The fewest bytes that tell the last interval; zeros are taken to follow. start: where in out this message begins. */
vq_status vq_range_encode_end(vq_range_encoder *e, size_t start);

void vq_range_decode_start(vq_range_decoder *d, const void *data, size_t n);
uint64_t vq_range_decode_at(vq_range_decoder *d, uint64_t total);      /* a point in the interval, 0 to total - 1 */
void vq_range_decode_step(vq_range_decoder *d, uint64_t from, uint64_t freq, uint64_t total);

/* --- the tables ------------------------------------------------------------------------------------------------------ */

typedef struct {
	int32_t size;
	uint64_t total, *count;   /* [size] */
	uint32_t *left, *above;   /* [size][size]: how often code c (second index) has this neighbour; NULL: order 0 */
	uint64_t *left_total, *above_total; /* [size] */
	double *p, *q;            /* [size]: p(c) after vq_code_tables_end; room */
	uint32_t *freq;           /* [size]: room */
} vq_code_tables; /* zero-initialise */

vq_status vq_code_tables_make(vq_code_tables *t, int32_t size);
/* codes: [h][w], each 0 to size - 1 (VQ_EINVAL). */
vq_status vq_code_tables_add(vq_code_tables *t, const int32_t *codes, int64_t h, int64_t w);
void vq_code_tables_end(vq_code_tables *t); /* after the last grid, before the first one is written */
void vq_code_tables_free(vq_code_tables *t);
/* Appends the tables as they would be stored: counts and positions of what is not zero, in variable-length numbers. */
vq_status vq_code_tables_store(const vq_code_tables *t, vq_buf *out);

/* Not at once from several threads with one set of tables. */
vq_status vq_codes_encode(vq_code_tables *t, vq_range_encoder *e, const int32_t *codes, int64_t h, int64_t w);
void vq_codes_decode(vq_code_tables *t, vq_range_decoder *d, int32_t *codes, int64_t h, int64_t w);

#endif
