/* streams: records and .vqt files for the tests of formats/vqt*.c, made from nothing but a number. */
#ifndef VQ_TEST_STREAMS_H
#define VQ_TEST_STREAMS_H

#include "formats/vqt.h"

/* A directory of this program's own, removed at exit. */
const char *stream_dir(void);
/* DIR/name; a few of these live at a time. */
const char *stream_path(const char *name);

/* Record i of a kind: id "cell#I", small images, all types in turn ("mixed" has every dtype and odd shapes). */
vq_status stream_record(vqt_record *r, const char *kind, int i);
cJSON *stream_header(const char *kind);
/* n records from number first on, a frame ended after every flush records (0: never by hand). */
vq_status stream_write(const char *path, const char *kind, int first, int n, int flush, const vqt_options *o);

/* What a reader makes of a stream. */
typedef struct {
	int result;        /* of the last call: 0 or the failure */
	uint64_t records;
	uint64_t digest;   /* of ids, metadata, names, types, shapes and data, in order */
	char last[64];     /* id of the last record */
	char message[1024];
	char warning[512];
} stream_view;
stream_view stream_read(const char *path, const char *kinds, const vqt_limits *limits);
/* The same through vqt_file, in reverse order of reading, digested in order. */
stream_view stream_read_any_order(const char *path, const vqt_limits *limits);
uint64_t stream_digest(const vqt_record *r, uint64_t seed);

/* Whole files in memory. */
vq_status stream_load(const char *path, vq_buf *b);
void stream_save(const char *path, const void *data, size_t n);
/* zstd frames to plain bytes (skippable ones are passed over), and one frame from bytes. */
vq_status stream_plain(const vq_buf *packed, vq_buf *plain);
vq_status stream_pack(vq_buf *out, const void *data, size_t n);
/* A file in memory alone, under a path that can be opened; stream_memory_close when done. */
typedef struct { int fd; char path[64]; } stream_memory;
stream_memory stream_memory_open(const void *data, size_t n);
void stream_memory_close(stream_memory *m);

#endif
