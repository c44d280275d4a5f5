/* npy_bytes: what npy.c and npz.c share. */
#ifndef VQ_NPY_BYTES_H
#define VQ_NPY_BYTES_H

#include "lib/tensor.h"

/* Appends magic, version and the dictionary, padded to a multiple of 64 bytes and to at least `least` (itself such a multiple). */
vq_status vq_npy_header(vq_buf *out, vq_dtype dtype, int ndim, const int64_t *shape, size_t least);
/* *wide: an f32 copy of a bf16 tensor (caller frees), else empty. */
vq_status vq_npy_plain(const vq_tensor *t, vq_tensor *wide);

#endif
