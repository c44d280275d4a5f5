/* filter: the loop of a tool that changes one sample record after another. */
#ifndef VQ_TOOLS_FILTER_H
#define VQ_TOOLS_FILTER_H

#include "formats/vqt.h"

/* vqt_open for samples; for a stream of batches the message tells the command that splits it for `tool`. */
vq_status vq_samples_open(vqt_reader **in, const char *path, const char *tool);
/* Shows what the reader warns of, and closes it. */
void vq_samples_close(vqt_reader *in);

/* Applies f to every sample of path (NULL: standard input) and writes it to vq_cli.output, in order, the command appended to the chain.
 * keys: what of the metadata f looks at (vqt_look_at), or NULL for all.
 * Dies (vq_die) on any failure, with nothing under the final name; f's message gets the stream's name in front. Returns 0. */
int vq_filter_samples(const char *path, const char *tool, const char *keys, vq_status (*f)(vqt_record *rec, void *user), void *user);

/* vq_die for a stream that is only partly read or written: abandons it first. */
_Noreturn void vq_filter_die(vqt_filter *f);

#endif
