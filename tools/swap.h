/* swap: codes exchanged between cells, to find out how much of a reconstruction the codes carry (the code-shuffle test).
 *
 * SHUFFLED: a cell takes the codes of another, chosen at random among the cells whose codes have the same shapes and, where a column
 * is named, the same value there; every cell's codes are used once. A cell that has no such other is left out.
 * MEAN: every code of a cell becomes the one whose vector is nearest to the mean vector of all positions of those cells (any shape).
 * What is no code (feature maps of skips) stays the cell's own. */
#ifndef VQ_TOOLS_SWAP_H
#define VQ_TOOLS_SWAP_H

#include "tools/modelfile.h"

typedef enum { SWAP_OWN, SWAP_SHUFFLED, SWAP_MEAN } swap_kind;
typedef struct swap swap;

/* Reads all codes of the file at path, which must be one that can be read again. within: a Metadata_ column, "field", or NULL. */
vq_status swap_open(swap **s, const char *path, const vq_model *m, swap_kind kind, const char *within, uint64_t seed);
/* Exchanges the codes of the stream's record i (from 0): 1 done, 0 leave it out, < 0 failed. */
int swap_apply(const swap *s, uint64_t i, vqt_record *rec);
uint64_t swap_left_out(const swap *s);
void swap_close(swap *s); /* NULL is fine */

#endif
