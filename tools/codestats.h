/* codestats: the codes of a whole stream, counted a codebook at a time. */
#ifndef VQ_TOOL_CODESTATS_H
#define VQ_TOOL_CODESTATS_H

#include "formats/sample.h"
#include "lib/eval/codebook.h"
#include "lib/eval/neighbours.h"
#include "lib/eval/summary.h"

enum { VQ_CODE_LEVELS_MAX = 32 };

/* One entry of the header's model.levels: {"name","size","dim","tensor"}. */
typedef struct {
	char *name, *tensor;      /* in code records; in the model file (NULL when the header does not say) */
	int64_t dim;
	vq_code_counts all, batch;
	vq_neighbours *beside;    /* NULL unless wanted */
	vq_summary perplexity;    /* of the groups of batch_size records */
	vq_code_figures figures;  /* of all */
} vq_level_stats;

typedef struct {
	bool neighbours;          /* wanted: set before anything else */
	vq_level_stats levels[VQ_CODE_LEVELS_MAX];
	int nlevels;
	uint64_t n, pixels;       /* records, their true pixels */
	uint64_t skip_bits;       /* of the skip.N tensors, as stored */
	uint64_t batch_size, in_batch;
} vq_codestats; /* zero-initialise; vq_codestats_free releases */

/* A record at a time: begin with the stream's header, add each record, end (after at least one) works the figures out. Messages name neither
 * stream nor record. batch_size as below. */
vq_status vq_codestats_begin(vq_codestats *s, const cJSON *header, uint64_t batch_size);
vq_status vq_codestats_add(vq_codestats *s, const vqt_record *r);
vq_status vq_codestats_end(vq_codestats *s);
/* Bits of all codes, and of skip tensors: by entropy, and at ceil(log2 size) a code. */
void vq_codestats_bits(const vq_codestats *s, double *bits, double *raw);

/* Reads the stream to its end. batch_size: 0, or records a group; a last group that is not full counts only when it is the only one.
 * Fails on a stream that is not codes, that has no record, or whose records do not fit its header; stream and record are named. */
vq_status vq_codestats_read(vq_codestats *s, vqt_reader *in, uint64_t batch_size);
void vq_codestats_free(vq_codestats *s);

#endif
