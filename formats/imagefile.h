/* imagefile: TIFF and PNG in, as stored or as planes for analysis. Sole user of libtiff and libpng (formats/imagefile*.c).
 *
 * A file is known by its first bytes, not by its name. Codecs, byte order, BigTIFF, FillOrder, predictors, strips, tiles and
 * both planar layouts are as the installed libtiff has them; what it has not is refused (VQ_EUNSUP) with codec or layout named.
 * Sizes are checked against a limit and against what the file's length can hold before memory is taken. Messages begin
 * with the path. An image file is used by one thread at a time; several files may be open. */
#ifndef VQ_IMAGEFILE_H
#define VQ_IMAGEFILE_H

#include "lib/tensor.h"

typedef enum { VQ_KIND_UINT, VQ_KIND_INT, VQ_KIND_FLOAT } vq_sample_kind;
typedef enum {
	VQ_PHOTO_GREY,        /* 0 is black (also what says nothing) */
	VQ_PHOTO_INVERTED,    /* MinIsWhite: 0 is white */
	VQ_PHOTO_RGB,
	VQ_PHOTO_PALETTE,     /* samples are indexes into a colour table */
	VQ_PHOTO_YCBCR, VQ_PHOTO_CMYK, VQ_PHOTO_LAB, VQ_PHOTO_LOGL, VQ_PHOTO_LOGLUV, VQ_PHOTO_OTHER,
} vq_photometric;

typedef struct {
	int64_t width, height;     /* pixels; may be 0 in a broken file (reading it fails) */
	int samples;               /* a pixel, extra samples included */
	int bits;                  /* a sample, as stored */
	vq_sample_kind kind;
	vq_dtype dtype;            /* of vq_image_read */
	vq_photometric photometric;
	bool planar;               /* stored as separate planes */
	bool tiled;
	bool reduced;              /* a smaller copy or a transparency mask of another page (NewSubfileType) */
	int alpha;                 /* index of the alpha sample, -1 for none */
	bool associated;           /* colours are premultiplied by alpha */
	char codec[24];            /* "NONE" "LZW" "ADOBE_DEFLATE" ... or the number; "PNG" */
} vq_page;

typedef struct {
	uint64_t page_bytes;       /* largest decoded page; 0 = 4 GiB */
} vq_image_limits;

typedef struct vq_image_file vq_image_file;

/* limits may be NULL. VQ_EIO: cannot be opened; VQ_EFORMAT: neither TIFF nor PNG, or broken. */
vq_status vq_image_open(vq_image_file **f, const char *path, const vq_image_limits *limits);
void vq_image_close(vq_image_file *f); /* NULL is fine */
const char *vq_image_path(const vq_image_file *f);
int vq_image_pages(const vq_image_file *f);                 /* IFDs of the main chain; 1 for PNG */
const char *vq_image_description(const vq_image_file *f);   /* first page's ImageDescription (OME-XML, ImageJ, ...), or NULL */
const char *vq_image_warning(const vq_image_file *f);       /* the first warning since open, worth a line; NULL for none */
vq_status vq_image_page(vq_image_file *f, int page, vq_page *out);

/* Samples as stored, [H,W,S]: nothing inverted, looked up, or dropped. Separate planes are interleaved here. Up to 8 bit: u8 (one sample
 * each, 1-bit too) or i8; 9 to 16: u16 or (signed) i32; 17 to 32 unsigned: i64; 17 to 32 signed: i32; 64-bit integers: i64 (VQ_EUNSUP
 * when a value does not fit); half: f16; 24-bit and 32-bit float: f32; 64: f64. JPEG's YCbCr comes as RGB; LogL and LogLuv as SGI's
 * 16-bit codes (i32). Caller frees. */
vq_status vq_image_read(vq_image_file *f, int page, vq_tensor *out);

/* How the pages make up a stack. */
typedef enum {
	VQ_AXES_PAGES,             /* no word about axes: pages counted in z */
	VQ_AXES_OME, VQ_AXES_IMAGEJ,
	VQ_AXES_SHAPED,            /* {"shape":[..],"axes":"CYX"} in the description */
} vq_axes_source;

typedef struct {
	vq_axes_source source;
	int series;                /* images in the file (OME); the others have 1 */
	int c, z, t;               /* channels (a page of RGB counts once), z-planes, time points of this series in this file */
	int64_t height, width;     /* of the series */
	bool mixed;                /* VQ_AXES_PAGES with pages of unlike size or type: only pick.page can read them */
} vq_axes;

/* series: 0 to axes.series-1. Planes that the OME-XML places in other files are left out of c, z, t. Reduced pages are not counted. */
vq_status vq_image_axes(vq_image_file *f, int series, vq_axes *out);
const char *vq_image_channel(vq_image_file *f, int series, int c); /* name in the OME-XML, or NULL */

/* Which planes. Start from VQ_PICK: all channels, z = t = series = 0. */
typedef struct {
	int page;                  /* >= 0: this page alone, whatever the axes; then the rest is not looked at */
	int series, c, z, t;       /* c < 0: all channels */
	bool pages_are_channels;   /* VQ_AXES_PAGES: take all pages as channels */
} vq_pick;
#define VQ_PICK ((vq_pick){ .page = -1, .c = -1 })

typedef struct {
	vq_tensor planes;          /* [C,H,W]; dtype as vq_image_read (16-bit palettes: u16, LogL: f32) */
	int bits;                  /* of the stored samples (16 for a looked-up palette) */
	bool rgb;                  /* C is 3 x channels: R, G, B of each */
	bool grey_rgb;             /* was colour with R=G=B, collapsed to one */
	bool alpha_dropped, inverted;
	bool looked_up;            /* was a palette; */
	bool ramp;                 /* and one of a single hue (ImageJ's coloured lookup tables): the indexes are the intensities */
} vq_image;

/* Planes for analysis: alpha dropped (premultiplied colours stay as they are), MinIsWhite inverted (integers: maximum - v; floats: -v), palettes
 * looked up (8 bit when every entry is 8-bit data), YCbCr as RGB, colour with R=G=B everywhere collapsed to one plane; further
 * extra samples are channels, but for one of unknown meaning beside colour that is at its maximum everywhere. Does not check
 * t: callers refuse axes.t > 1. CMYK, Lab and LogLuv: VQ_EUNSUP, named.
 * Caller frees with vq_image_free. */
vq_status vq_image_planes(vq_image_file *f, const vq_pick *pick, vq_image *out);
void vq_image_free(vq_image *im);

/* An image of object labels: i32 [H,W], values as stored (MinIsWhite not inverted, palette indexes kept, alpha dropped, R=G=B
 * collapsed). Integers of any width, and floats that are all whole; a negative, a fraction, or more than 2^31-1: VQ_EFORMAT with value and pixel; colour:
 * VQ_EUNSUP. pick must leave one plane (VQ_EINVAL otherwise). */
vq_status vq_image_labels(vq_image_file *f, const vq_pick *pick, vq_tensor *out);

#endif
