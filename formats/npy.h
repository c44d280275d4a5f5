/* npy: numpy's .npy arrays, in and out, and .npz archives of them, out.
 *
 * Written arrays are version 1.0, little-endian, C order; bf16 goes out as f32. */
#ifndef VQ_NPY_H
#define VQ_NPY_H

#include <stdio.h>

#include "lib/tensor.h"

/* One array to an open file, or to a path (as in vq_out_open). `what` names the file in messages. */
vq_status vq_npy_put(FILE *f, const char *what, const vq_tensor *t);
vq_status vq_npy_write(const char *path, const vq_tensor *t);

/* Any shape up to VQ_MAX_DIMS axes, either byte order, C or Fortran order (given in C order), format versions 1 to 3. bool and u8: u8; i16: i32;
 * u32: i64; u64: i64, VQ_EUNSUP when a value does not fit; complex, text, records and Python objects: VQ_EUNSUP, named. limit: largest file
 * accepted, bytes (0 = 4 GiB). Caller frees. */
vq_status vq_npy_read(const char *path, size_t limit, vq_tensor *out);
vq_status vq_npy_parse(const void *data, size_t n, const char *what, vq_tensor *out);
/* One plane as f32 [H,W], as CellProfiler keeps illumination functions; another number of axes, or an empty one, is VQ_EUNSUP. Caller frees. */
vq_status vq_npy_plane(const char *path, vq_tensor *out);

/* An array that grows along its first axis, item by item: all items of one type and shape. The length goes into the header at the
 * end, so that path must be a file, no pipe. */
typedef struct vq_npy_stack vq_npy_stack;
vq_status vq_npy_stack_open(vq_npy_stack **s, const char *path);
/* VQ_EINVAL when item is unlike the first in type or shape (both are named). */
vq_status vq_npy_stack_put(vq_npy_stack *s, const vq_tensor *item);
vq_status vq_npy_stack_commit(vq_npy_stack *s); /* frees s either way; without any item: VQ_EINVAL and no file */
void vq_npy_stack_abort(vq_npy_stack *s);       /* leaves no file; NULL is fine */

/* A zip archive of arrays. Integers are deflated, floats stored; zip64 where sizes or counts ask for it. Memory: one array. */
typedef struct vq_npz vq_npz;
vq_status vq_npz_open(vq_npz **z, const char *path); /* as vq_out_open; a pipe is fine */
/* name: any UTF-8, up to 65,000 bytes; ".npy" is added, which numpy takes off again. */
vq_status vq_npz_put(vq_npz *z, const char *name, const vq_tensor *t);
vq_status vq_npz_commit(vq_npz *z);
void vq_npz_abort(vq_npz *z);

#endif
