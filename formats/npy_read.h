/* npy_read: one plane out of numpy's .npy file, as CellProfiler keeps illumination functions. */
#ifndef VQ_NPY_READ_H
#define VQ_NPY_READ_H

#include "lib/tensor.h"

/* A two-dimensional array of u8, u16, i32, i64, f16, f32 or f64, either byte order, either memory order, as f32 [H,W]. Messages begin with the
 * path. Caller frees. */
vq_status vq_npy_plane(const char *path, vq_tensor *out);

#endif
