/* safetensors: named tensors in one file, for weights (the format of the Hugging Face library of that name).
 *
 * A file is a u64 header length, a JSON header of {name: {dtype, shape, data_offsets}} with string pairs under "__metadata__",
 * and the tensors' bytes, little-endian, without holes. Reading checks every offset against its shape, the other tensors and the
 * file's size before any tensor is read, and holds none of them in memory. */
#ifndef VQ_SAFETENSORS_H
#define VQ_SAFETENSORS_H

#include <cjson/cJSON.h>

#include "lib/tensor.h"

enum { VQ_ST_DIMS_MAX = 8 };

typedef struct {
	const char *name;
	char dtype[8];                /* as in the file: "F32", "BF16", "BOOL", "F8_E4M3", ... */
	int ndim;
	int64_t shape[VQ_ST_DIMS_MAX];
	uint64_t count, begin, end;   /* elements; byte range after the header */
} vq_st_info;

typedef struct vq_st vq_st;

/* VQ_EFORMAT, VQ_ETRUNC: the message names the file and, where there is one, the tensor. */
vq_status vq_st_open(vq_st **st, const char *path);
int vq_st_count(const vq_st *st);
const vq_st_info *vq_st_at(const vq_st *st, int i);              /* in the order of the data */
const vq_st_info *vq_st_find(const vq_st *st, const char *name); /* NULL when it is not there; no message */
const char *vq_st_meta(const vq_st *st, const char *key);        /* a __metadata__ string, or NULL */
const cJSON *vq_st_metadata(const vq_st *st);                    /* all of it, an object of strings; NULL when there is none */
/* A tensor of its own memory. BOOL becomes u8, I16 i32, U32 and U64 i64 (VQ_EUNSUP beyond its range), F8 f32; the others keep their
 * type. VQ_EINVAL: no tensor of that name. */
vq_status vq_st_tensor(vq_st *st, const char *name, vq_tensor *t);
/* The same as f32, refused with both shapes named unless it has this one. */
vq_status vq_st_f32(vq_st *st, const char *name, int ndim, const int64_t *shape, vq_tensor *t);
void vq_st_close(vq_st *st); /* NULL is fine */

typedef struct { const char *name; const vq_tensor *t; } vq_st_item;

/* Writes a whole file (atomically, as vq_out_open). meta: an object of strings, or NULL. The data is ordered by element size, largest
 * first, then as given, so that every tensor is aligned; the same input gives the same bytes. */
vq_status vq_st_write(const char *path, const vq_st_item *items, int n, const cJSON *meta);

#endif
