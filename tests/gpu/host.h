/* host: what the parts of the emulated CUDA library share.
 *
 * A stream is a queue. Nothing in it is done until somebody waits for it, or, for streams that VQ_EMULATED_EAGER names (bits by number of
 * creation), as soon as no event holds it back: what an event forgot to order shows as other numbers in one of the two. While a stream is
 * captured what is put into it goes to the graph, and calls that a capture does not allow fail, and it with them. With VQ_EMULATED_TELL the end
 * of the program says how often it was waited for and memory was asked for or given back, and how many graphs ran. */
#ifndef VQ_GPU_HOST_H
#define VQ_GPU_HOST_H

#include "lib/cuda/cuda.h"

/* fn with a copy of ctx, when the stream comes to it. */
void host_put(cudaStream_t s, void (*fn)(void *ctx), const void *ctx, size_t bytes);
bool host_captured(void); /* a stream is captured; that ends it */
enum { HOST_STREAM, HOST_EVENT, HOST_MEMORY, HOST_WAITS };
extern long host_waits[HOST_WAITS];
/* Empties all streams; false while one is captured, which ends that. */
bool host_all_done(void);

#endif
