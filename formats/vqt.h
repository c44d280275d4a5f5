/* vqt: the tensor stream (man/vqt.5 is normative for the bytes).
 *
 * A stream is a header, records, an end record, and, in a file, an index in a skippable frame. A record has an id, JSON
 * metadata and named tensors. Readers hold one record at a time; every size is checked before memory is taken. */
#ifndef VQ_VQT_H
#define VQ_VQT_H

#include <cjson/cJSON.h>

#include "lib/tensor.h"

enum { VQT_NAME_MAX = 63, VQT_ID_MAX = 4095, VQT_TENSORS_MAX = 64 };

typedef struct { char name[VQT_NAME_MAX + 1]; vq_tensor t; } vqt_entry;

typedef struct {
	char *id;        /* UTF-8, unique in a stream */
	cJSON *meta;     /* an object, never NULL */
	int n;
	vqt_entry *entry; /* in order; names unique */
} vqt_record;

vq_status vqt_record_make(vqt_record *r, const char *id);      /* an empty record with an empty object as meta */
void vqt_record_free(vqt_record *r);                           /* frees the contents, leaves *r empty */
vq_tensor *vqt_get(const vqt_record *r, const char *name);     /* NULL when it is not there */
/* Moves *t into the record under name (replacing one of that name); *t is emptied. */
vq_status vqt_set(vqt_record *r, const char *name, vq_tensor *t);
void vqt_remove(vqt_record *r, const char *name);
vq_status vqt_record_copy(vqt_record *to, const vqt_record *from);

/* Stream header, as JSON:
 *   kind      "samples" | "batches" | "codes"
 *   channels  ["DNA", ...]
 *   chain     [{"tool","version","args":[...]}, ...]   commands that made it, first to last; no times, output paths, threads
 * A tool may add keys of its own (codes: "model"); unknown keys travel unchanged. */
cJSON *vqt_header_make(const char *kind, const cJSON *channels /* array, copied; may be NULL */);
/* Appends {"tool","version","args"} to header.chain. args: a JSON array, consumed (NULL for none). */
vq_status vqt_header_chain(cJSON *header, const char *tool, cJSON *args);
const char *vqt_header_kind(const cJSON *header);

typedef struct {
	uint64_t record_bytes; /* largest record accepted, uncompressed; 0 = 1 GiB */
} vqt_limits;

typedef struct vqt_reader vqt_reader;
/* path: a file, or "-" / NULL for standard input. Reads up to and including the first header.
 * kinds: NULL, or a '|'-separated list of the kinds accepted ("samples|batches"); another is VQ_EINVAL, both named. */
vq_status vqt_open(vqt_reader **r, const char *path, const char *kinds, const vqt_limits *limits);
const cJSON *vqt_header(const vqt_reader *r);  /* of the first segment; owned by the reader */
const char *vqt_name(const vqt_reader *r);     /* the path, or "standard input" */
/* 1: *rec is filled (free it with vqt_record_free); 0: the stream ended well; < 0: the message says what, which record,
 * the last good one and the offset. An id that occurs twice is an error. */
int vqt_next(vqt_reader *r, vqt_record *rec);
uint64_t vqt_count(const vqt_reader *r);       /* records returned so far */
/* What the caller may show as warnings after the end (an index that is cut or damaged); NULL when there is none. */
const char *vqt_warning(const vqt_reader *r);
void vqt_close(vqt_reader *r);

/* Random access to a file: from its index, or by one pass over it when there is none. Safe from several threads. */
typedef struct vqt_file vqt_file;
vq_status vqt_file_open(vqt_file **f, const char *path, const char *kinds, const vqt_limits *limits);
const cJSON *vqt_file_header(const vqt_file *f);
uint64_t vqt_file_count(const vqt_file *f);
vq_status vqt_file_read(vqt_file *f, uint64_t i, vqt_record *rec);
void vqt_file_close(vqt_file *f);

typedef struct {
	int level;    /* zstd level; 0 = 1 */
	int threads;  /* compression threads; 0 = 1. The bytes do not depend on it. */
} vqt_options;

typedef struct vqt_writer vqt_writer;
/* path as in vq_out_open. header is copied. A terminal is refused. */
vq_status vqt_create(vqt_writer **w, const char *path, const cJSON *header, const vqt_options *options);
/* Writes or queues the record; its contents are copied or encoded before the call returns. */
vq_status vqt_put(vqt_writer *w, const vqt_record *rec);
/* Pushes out what is queued, so that a reader down the pipe sees it. */
vq_status vqt_flush(vqt_writer *w);
/* End record, index, flush, rename. Frees w either way. */
vq_status vqt_finish(vqt_writer *w);
void vqt_abort(vqt_writer *w); /* no end record, no file under the final name; frees w; NULL is fine */

#endif
