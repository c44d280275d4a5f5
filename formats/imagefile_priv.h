/* imagefile_priv: what the parts of imagefile share. Nothing outside formats/imagefile*.c includes it. */
#ifndef VQ_IMAGEFILE_PRIV_H
#define VQ_IMAGEFILE_PRIV_H

#include "formats/imagefile.h"

/* What libtiff said: the first error and the first warning, one line each, "" for none. */
typedef struct { char error[320], warning[320]; } vq_tiff_log;

struct tiff; /* libtiff's TIFF */
int vq_tiff_on_error(struct tiff *t, void *log, const char *module, const char *fmt, va_list ap);
int vq_tiff_on_warning(struct tiff *t, void *log, const char *module, const char *fmt, va_list ap);

/* One page's colour table: n entries of R, G, B, 16 bits each; n = 0: none. */
typedef struct { int n; uint16_t *rgb; } vq_palette;

/* Where plane (c,z,t) of a series is: a page, or plane `stack` of those that follow page 0's without a directory (ImageJ). */
typedef struct { int c, z, t, page; int64_t stack; /* -1: a page of its own */ } vq_plane_at;

typedef struct {
	vq_axes axes;
	vq_plane_at *at;          /* axes.c * axes.z * axes.t entries, c slowest, t fastest */
	char **names;             /* axes.c, entries may be NULL */
} vq_series;

typedef struct vq_tiff_file vq_tiff_file;
typedef struct vq_png_file vq_png_file;

struct vq_image_file {
	char *path;
	uint64_t length;          /* of the file, bytes */
	vq_image_limits limits;
	vq_tiff_file *tiff;       /* one of these */
	vq_png_file *png;
	char *warning;
	int pages;
	vq_series *series;        /* made at the first question about axes */
	int n_series;
};

/* Checks decoded bytes against the limit: VQ_ELIMIT. */
vq_status vq_image_room(const vq_image_file *f, const vq_page *p);

/* f->tiff is set when fd is its own from now on, also on failure. */
vq_status vq_tiff_open(vq_image_file *f, int fd);
void vq_tiff_close(vq_tiff_file *t);
const char *vq_tiff_description(vq_tiff_file *t);
vq_status vq_tiff_page(vq_image_file *f, int page, vq_page *out);
/* luminance: LogL as f32 Y. */
vq_status vq_tiff_read(vq_image_file *f, int page, bool luminance, vq_tensor *out);
vq_status vq_tiff_palette(vq_image_file *f, int page, vq_palette *out);
const char *vq_tiff_warning(const vq_tiff_file *t); /* NULL for none */
/* n samples of `bits` bits (whole bytes in machine order, else a bit string) to elements dst[0], dst[stride], ... */
vq_status vq_unpack(const uint8_t *from, int bits, vq_sample_kind kind, size_t n, vq_dtype to, void *dst, size_t stride);
/* Planes that lie one after the other from page 0's first strip to the end of the file, were they all as page 0: 1 when it is compressed,
 * tiled, of odd depth, or its strips do not adjoin. */
int64_t vq_tiff_stacked(vq_image_file *f);
vq_status vq_tiff_read_stacked(vq_image_file *f, int64_t plane, vq_tensor *out);

vq_status vq_png_open(vq_image_file *f, int fd); /* fd stays the caller's */
void vq_png_close(vq_png_file *p);
vq_status vq_png_page(vq_image_file *f, vq_page *out);
vq_status vq_png_read(vq_image_file *f, vq_tensor *out);
/* The compressed pixels of an ordinary file of `length` bytes, *n of them, and its page; NULL: not done, and the file is libpng's. */
uint8_t *vq_png_whole_open(int fd, uint64_t length, vq_page *p, size_t *n);
/* The pixels of page p into out, which has its shape; false: not done, and the file is libpng's. */
bool vq_png_whole_read(const uint8_t *packed, size_t n, const vq_page *p, vq_tensor *out);
vq_status vq_png_palette(vq_image_file *f, vq_palette *out);

void vq_image_free_axes(vq_image_file *f);

#endif
