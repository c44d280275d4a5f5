/* window: a stream worked on by several threads: a bounded number of records is read, done in parallel and written in order. */
#ifndef VQ_TOOLS_WINDOW_H
#define VQ_TOOLS_WINDOW_H

#include "formats/vqt.h"

typedef struct {
	int threads;
	/* 1: *rec is filled; 0: the end; < 0 failed. In order, one thread at a time, beside those that work. */
	int (*next)(void *ctx, vqt_record *rec);
	/* Any worker (0 to threads-1), any order: turns in (which it may change) into out. */
	vq_status (*work)(void *ctx, int worker, vqt_record *in, vqt_record *out);
	/* In order, by the thread that next() has. Both records are freed afterwards. */
	vq_status (*put)(void *ctx, vqt_record *in, vqt_record *out);
	void *ctx;
} vq_window_job;

/* Runs until next() ends; the first failure in record order stops it, with its message. Three windows of 32 records a thread, or of the
 * first that together have 64 MiB, are there at most: one written, one worked on, one read ahead. */
vq_status vq_window_run(const vq_window_job *j);

#endif
