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
/* The caller will look at these '|'-separated keys of the metadata alone (the string must live as long as the reader): all others may then
 * be raw text (cJSON_IsRaw), several in one, which is written again as it came and must not be set. A filter that passes most of them on is several times as fast so. */
void vqt_look_at(vqt_reader *r, const char *keys);
uint64_t vqt_count(const vqt_reader *r);       /* records returned so far */
/* True when every record that has arrived was returned: the last one ended its frame, so the next call may have to wait.
 * Depends on the input's bytes alone, never on time. */
bool vqt_drained(const vqt_reader *r);
void vqt_version(const vqt_reader *r, int *major, int *minor); /* of the first segment */
/* What the caller may show as warnings after the end (an index that is cut or damaged); NULL when there is none. */
const char *vqt_warning(const vqt_reader *r);
void vqt_close(vqt_reader *r);

/* Random access to a file: from its index, or by one pass over it when there is none. Joined streams are passed over once as well,
 * to find an id that occurs twice. Reading is safe from several threads. */
typedef struct vqt_file vqt_file;
vq_status vqt_file_open(vqt_file **f, const char *path, const char *kinds, const vqt_limits *limits);
const cJSON *vqt_file_header(const vqt_file *f);
uint64_t vqt_file_count(const vqt_file *f);
vq_status vqt_file_read(vqt_file *f, uint64_t i, vqt_record *rec);
const char *vqt_file_warning(const vqt_file *f); /* why the index could not be used; NULL when it was */
void vqt_file_close(vqt_file *f);

typedef struct {
	int level;    /* zstd level; 0 = 1 into a file; what goes into a pipe is then stored as it is */
	int threads;  /* compression threads; 0 = 1. The bytes do not depend on it. */
	uint64_t record_bytes; /* largest record written, uncompressed; 0 = 1 GiB */
} vqt_options;

typedef struct vqt_writer vqt_writer;
/* path as in vq_out_open. header is copied. A terminal is refused. */
vq_status vqt_create(vqt_writer **w, const char *path, const cJSON *header, const vqt_options *options);
/* Writes or queues the record; its contents are copied or encoded before the call returns. Small records share a frame of
 * about 64 KiB. An id that was there before is VQ_EINVAL. */
vq_status vqt_put(vqt_writer *w, const vqt_record *rec);
/* The same with meta, the text of a JSON object without space around it, as the metadata instead of rec->meta; it is not checked. */
vq_status vqt_put_text(vqt_writer *w, const vqt_record *rec, const char *meta);
/* Ends the frame, so that a reader down the pipe sees all records so far. A source calls it before it works or waits long (vq-crop:
 * after each field), always at points that the data alone decides: the bytes of the file depend on them. */
vq_status vqt_flush(vqt_writer *w);
/* End record, index, flush, rename. Frees w either way. */
vq_status vqt_finish(vqt_writer *w);
/* No end record, no file under the final name; a reader down a pipe still gets all records so far. Frees w; NULL is fine. */
void vqt_abort(vqt_writer *w);

/* A filter: reader and writer with the command appended to the chain. vqt_filter_next is vqt_next, and flushes the writer when the
 * input is drained, so that nothing waits in a pipe. Records are written with vqt_put(f.out, ...).
 *
 *	vqt_filter f;
 *	vqt_record rec;
 *	int got;
 *	if (vqt_filter_open(&f, path, vq_cli.output, "samples|batches", NULL, "vq-pad", vq_cli_args(), &options) < 0)
 *		vq_die(NULL);
 *	while ((got = vqt_filter_next(&f, &rec)) > 0) { ...; vqt_put(f.out, &rec); vqt_record_free(&rec); }
 *	if (got < 0 || vqt_filter_finish(&f) < 0) { vqt_filter_abort(&f); vq_die(NULL); }                         */
typedef struct { vqt_reader *in; vqt_writer *out; } vqt_filter;
/* kinds: as vqt_open. kind_out: the kind written, NULL for the input's. args: consumed, NULL for none. On failure *f is empty. */
vq_status vqt_filter_open(vqt_filter *f, const char *in, const char *out, const char *kinds, const char *kind_out,
	const char *tool, cJSON *args, const vqt_options *options);
int vqt_filter_next(vqt_filter *f, vqt_record *rec);
vq_status vqt_filter_finish(vqt_filter *f); /* vqt_finish and vqt_close; show vqt_warning(f->in) before it if you want it */
void vqt_filter_abort(vqt_filter *f);       /* fine after a failed finish */

#endif
