/* codec: cells to codes and back, a cell a thread.
 *
 * Each worker has an engine of one thread and a plan an extent, which is a function of the cell alone, so that its codes depend neither on
 * the cells beside it nor on the number of threads. */
#ifndef VQ_TOOLS_CODEC_H
#define VQ_TOOLS_CODEC_H

#include "tools/modelfile.h"
#include "lib/train/trainer.h"

typedef struct codec codec;

typedef struct {
	int32_t *codes[VQ_CODE_LEVELS_MAX]; /* [h,w] each, of codec_positions of the extent; caller frees */
	int extent_h, extent_w;             /* of the cell, in pixels */
	vq_rect valid;                      /* its true pixels there; attention sees no others */
	float *skip[VQ_LEVELS_MAX];         /* [C,h,w] each, as the model's info lists them; caller frees */
	float *mean, *std;                  /* [dim] of the first level's latent over the cell's own positions; with features */
	int32_t *histogram[VQ_CODE_LEVELS_MAX]; /* [size] of each level's codes there; with features */
} cell_codes;

void cell_codes_free(cell_codes *c); /* leaves it empty */
/* Code positions along a side of the extent, for a level of this stride (0, one code a cell: 1). */
static inline int codec_positions(int side, int stride) { return stride ? side / stride : 1; }
/* Whether code position (y, x) is one of the cell's own: its block of pixels holds one of mask 1; without a mask, a true pixel. */
bool codec_own(const vq_cell *cell, int stride, int y, int x); /* stride 0, one code a cell: always */

typedef enum { CODEC_ENCODE, CODEC_DECODE, CODEC_ENCODE_BF16 } codec_use;
/* VQ_EUNSUP: bf16, and the device has no such instructions. */
vq_status codec_open(codec **c, const vq_model *m, const char *device, int threads, codec_use use);
int codec_threads(const codec *c);
const char *codec_device(const codec *c); /* "cpu" */
const char *codec_isa(const codec *c);
const char *codec_instead(const codec *c); /* vq_backend.instead */
/* worker: 0 to codec_threads-1, from inside an OpenMP parallel region, one thread a worker. */
vq_status codec_encode(codec *c, int worker, const vq_cell *cell, bool features, cell_codes *out);
/* pixels [C,H,W] of the extent (fresh; caller frees) from the codes of every level and the skips of the model. VQ_EINVAL: a code beyond its codebook. */
vq_status codec_decode(codec *c, int worker, const cell_codes *codes, float **pixels);
void codec_close(codec *c); /* NULL is fine */

#endif
