/* progress: one line on stderr that is written over, for work that takes a while.
 *
 * Only when stderr is a terminal and not with -q; otherwise every call does nothing. At most five lines a second are shown.
 * Warnings and errors wipe the line first. One thread at a time. */
#ifndef VQ_PROGRESS_H
#define VQ_PROGRESS_H

#include <stdbool.h>

bool vq_progress_on(void);
/* Free text, cut to the terminal's width: "epoch 3/20  step 512  410 img/s  mse .0123  usage .97  ETA 1:20". */
void vq_progress_show(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void vq_progress_end(void); /* wipes the line; it may be shown again */

#endif
