/* imagefile_write: PNG and TIFF out. Nothing here depends on the clock: the same pixels give the same bytes. */
#ifndef VQ_IMAGEFILE_WRITE_H
#define VQ_IMAGEFILE_WRITE_H

#include <stdio.h>

#include "lib/tensor.h"

/* pixels: u8 or u16, [H,W] or [H,W,S] with S 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA. One PNG to an open file (what names it in messages). */
vq_status vq_png_put(FILE *f, const char *what, const vq_tensor *pixels);
/* The same to a path, under its name only when complete (formats/outfile.h); "-" or NULL: standard output. */
vq_status vq_png_write(const char *path, const vq_tensor *pixels);

typedef struct {
	bool compress;             /* deflate with the horizontal predictor (floats: none); else uncompressed */
	bool rgb;                  /* C == 3: one RGB page instead of three grey ones */
	const char *description;   /* ImageDescription of the first page; NULL: {"shape":[C,H,W],"axes":"CYX"} when C > 1 */
} vq_tiff_options;

/* planes: u8 i8 u16 i32 f16 f32 f64, [H,W] or [C,H,W], a grey page a plane; i64 as unsigned 32 bit when every value fits (VQ_EINVAL otherwise). Little-endian;
 * BigTIFF when it must be. options may be NULL. Under its name only when complete; a path only, no pipe (TIFF seeks). */
vq_status vq_tiff_write(const char *path, const vq_tensor *planes, const vq_tiff_options *options);

#endif
