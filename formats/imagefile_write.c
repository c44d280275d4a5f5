#include "formats/imagefile_write.h"

#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>

#include "formats/imagefile_priv.h"
#include "formats/outfile.h"

/* --- PNG --- */

typedef struct { char text[200]; } png_note;

static void png_failed(png_structp png, png_const_charp text)
{
	png_note *n = png_get_error_ptr(png);
	snprintf(n->text, sizeof n->text, "%s", text);
	png_longjmp(png, 1);
}

static void png_muttered(png_structp png, png_const_charp text) { (void)png, (void)text; }

static int png_colour(int samples)
{
	static const int type[] = { PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA };
	return type[samples - 1];
}

static vq_status png_check(const char *what, const vq_tensor *t)
{
	int samples = t->ndim == 3 ? (int)t->shape[2] : 1;
	if ((t->ndim != 2 && t->ndim != 3) || (t->ndim == 3 && (t->shape[2] < 1 || t->shape[2] > 4)))
		return vq_fail(VQ_EINVAL, "%s: a PNG takes [H,W] or [H,W,1 to 4]", what);
	if (t->dtype != VQ_U8 && t->dtype != VQ_U16)
		return vq_fail(VQ_EINVAL, "%s: a PNG takes u8 or u16 samples, not %s", what, vq_dtype_name(t->dtype));
	if (t->shape[0] < 1 || t->shape[1] < 1 || t->shape[0] > 1000000 || t->shape[1] > 1000000)
		return vq_fail(VQ_EINVAL, "%s: %lldx%lld pixels do not make a PNG of %d samples", what, (long long)t->shape[0],
		               (long long)t->shape[1], samples);
	return VQ_OK;
}

vq_status vq_png_put(FILE *f, const char *what, const vq_tensor *t)
{
	VQ_TRY(png_check(what, t));
	int samples = t->ndim == 3 ? (int)t->shape[2] : 1;
	size_t stride = (size_t)t->shape[1] * (size_t)samples * vq_dtype_size(t->dtype);
	png_note note = {{0}};
	png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &note, png_failed, png_muttered);
	png_infop info = png ? png_create_info_struct(png) : NULL;
	if (!info) {
		png_destroy_write_struct(&png, NULL);
		return vq_fail(VQ_ENOMEM, "%s: out of memory", what);
	}
	if (setjmp(png_jmpbuf(png))) {
		png_destroy_write_struct(&png, &info);
		return vq_fail(VQ_EIO, "%s: %s", what, ferror(f) && errno ? strerror(errno) : note.text);
	}
	png_init_io(png, f);
	png_set_user_limits(png, 1000000, 1000000);
	png_set_IHDR(png, info, (png_uint_32)t->shape[1], (png_uint_32)t->shape[0], t->dtype == VQ_U8 ? 8 : 16, png_colour(samples),
	             PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_write_info(png, info);
	if (t->dtype == VQ_U16)
		png_set_swap(png);
	for (int64_t y = 0; y < t->shape[0]; y++)
		png_write_row(png, (png_const_bytep)t->data + (size_t)y * stride);
	png_write_end(png, NULL);
	png_destroy_write_struct(&png, &info);
	return VQ_OK;
}

vq_status vq_png_write(const char *path, const vq_tensor *t)
{
	vq_out *o;
	VQ_TRY(vq_out_open(&o, path, VQ_OUT_BINARY));
	vq_status s = vq_png_put(vq_out_file(o), vq_out_name(o), t);
	if (s < 0) {
		vq_out_abort(o);
		return s;
	}
	return vq_out_commit(o);
}

/* --- TIFF --- */

/* libtiff over a FILE; the first errno is kept for the message. */
typedef struct { FILE *f; int err; } stream;

static tmsize_t stream_read(thandle_t h, void *p, tmsize_t n)
{
	stream *s = h;
	return (tmsize_t)fread(p, 1, (size_t)n, s->f);
}

static tmsize_t stream_write(thandle_t h, void *p, tmsize_t n)
{
	stream *s = h;
	size_t done = fwrite(p, 1, (size_t)n, s->f);
	if (done != (size_t)n && !s->err)
		s->err = errno ? errno : EIO;
	return (tmsize_t)done;
}

static toff_t stream_seek(thandle_t h, toff_t to, int whence)
{
	stream *s = h;
	if (fseeko(s->f, (off_t)to, whence)) {
		if (!s->err)
			s->err = errno;
		return (toff_t)-1;
	}
	return (toff_t)ftello(s->f);
}

static toff_t stream_size(thandle_t h)
{
	stream *s = h;
	off_t here = ftello(s->f), end;
	if (fseeko(s->f, 0, SEEK_END))
		return 0;
	end = ftello(s->f);
	fseeko(s->f, here, SEEK_SET);
	return (toff_t)end;
}

static int stream_close(thandle_t h) { (void)h; return 0; } /* the FILE belongs to vq_out */

/* What a page is made of; i64 goes out as u32, row by row. */
typedef struct {
	int64_t pages, h, w;
	int samples, bits, format;
	bool narrow;
} layout;

static vq_status tiff_layout(const char *path, const vq_tensor *t, bool rgb, layout *l)
{
	static const struct { int bits, format; } kind[VQ_DTYPES] = {
		[VQ_U8] = { 8, SAMPLEFORMAT_UINT },   [VQ_I8] = { 8, SAMPLEFORMAT_INT },     [VQ_U16] = { 16, SAMPLEFORMAT_UINT },
		[VQ_I32] = { 32, SAMPLEFORMAT_INT },  [VQ_I64] = { 32, SAMPLEFORMAT_UINT },  [VQ_F16] = { 16, SAMPLEFORMAT_IEEEFP },
		[VQ_F32] = { 32, SAMPLEFORMAT_IEEEFP }, [VQ_F64] = { 64, SAMPLEFORMAT_IEEEFP },
	};
	if (t->ndim != 2 && t->ndim != 3)
		return vq_fail(VQ_EINVAL, "%s: a TIFF takes [H,W] or [C,H,W]", path);
	if (!kind[t->dtype].bits)
		return vq_fail(VQ_EINVAL, "%s: a TIFF does not take %s", path, vq_dtype_name(t->dtype));
	*l = (layout){ .pages = t->ndim == 3 ? t->shape[0] : 1, .h = t->shape[t->ndim - 2], .w = t->shape[t->ndim - 1], .samples = 1,
		.bits = kind[t->dtype].bits, .format = kind[t->dtype].format, .narrow = t->dtype == VQ_I64 };
	if (l->pages < 1 || l->h < 1 || l->w < 1 || l->h > INT32_MAX || l->w > INT32_MAX)
		return vq_fail(VQ_EINVAL, "%s: no pixels", path);
	if (l->narrow) {
		const int64_t *v = t->data;
		for (size_t i = 0, n = (size_t)(l->pages * l->h * l->w); i < n; i++)
			if (v[i] < 0 || v[i] > UINT32_MAX)
				return vq_fail(VQ_EINVAL, "%s: %lld does not fit unsigned 32 bit", path, (long long)v[i]);
	}
	if (rgb) {
		if (l->pages != 3)
			return vq_fail(VQ_EINVAL, "%s: RGB takes three planes, not %lld", path, (long long)l->pages);
		l->samples = 3;
		l->pages = 1;
	}
	return VQ_OK;
}

/* Row y of page into buf, samples interleaved. */
static void tiff_row(const layout *l, const vq_tensor *t, int64_t page, int64_t y, char *buf)
{
	size_t from = vq_dtype_size(t->dtype), to = (size_t)l->bits / 8;
	for (int s = 0; s < l->samples; s++) {
		const char *src = (const char *)t->data + (size_t)(((page * l->samples + s) * l->h + y) * l->w) * from;
		if (!l->narrow && l->samples == 1) {
			memcpy(buf, src, (size_t)l->w * to);
			return;
		}
		for (int64_t x = 0; x < l->w; x++) /* little-endian: the low bytes of an i64 come first */
			memcpy(buf + (size_t)(x * l->samples + s) * to, src + (size_t)x * from, to);
	}
}

static bool tiff_page(TIFF *tif, const layout *l, const vq_tensor *t, int64_t page, const char *text, bool compress, char *buf)
{
	bool ok = TIFFSetField(tif, TIFFTAG_IMAGEWIDTH, (uint32_t)l->w) && TIFFSetField(tif, TIFFTAG_IMAGELENGTH, (uint32_t)l->h)
		&& TIFFSetField(tif, TIFFTAG_BITSPERSAMPLE, l->bits) && TIFFSetField(tif, TIFFTAG_SAMPLESPERPIXEL, l->samples)
		&& TIFFSetField(tif, TIFFTAG_SAMPLEFORMAT, l->format) && TIFFSetField(tif, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG)
		&& TIFFSetField(tif, TIFFTAG_PHOTOMETRIC, l->samples == 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK)
		&& TIFFSetField(tif, TIFFTAG_COMPRESSION, compress ? COMPRESSION_ADOBE_DEFLATE : COMPRESSION_NONE)
		&& (!compress || l->format == SAMPLEFORMAT_IEEEFP || TIFFSetField(tif, TIFFTAG_PREDICTOR, PREDICTOR_HORIZONTAL))
		&& (page || !text || TIFFSetField(tif, TIFFTAG_IMAGEDESCRIPTION, text))
		&& TIFFSetField(tif, TIFFTAG_ROWSPERSTRIP, TIFFDefaultStripSize(tif, 0));
	for (int64_t y = 0; ok && y < l->h; y++) {
		tiff_row(l, t, page, y, buf);
		ok = TIFFWriteScanline(tif, buf, (uint32_t)y, 0) == 1;
	}
	return ok && TIFFWriteDirectory(tif);
}

static TIFF *tiff_over(stream *st, const char *path, bool big, vq_tiff_log *log)
{
	TIFFOpenOptions *o = TIFFOpenOptionsAlloc();
	if (!o)
		return NULL;
	TIFFOpenOptionsSetErrorHandlerExtR(o, vq_tiff_on_error, log);
	TIFFOpenOptionsSetWarningHandlerExtR(o, vq_tiff_on_warning, log);
	TIFF *tif = TIFFClientOpenExt(path, big ? "wl8" : "wl", st, stream_read, stream_write, stream_seek, stream_close, stream_size,
	                              NULL, NULL, o);
	TIFFOpenOptionsFree(o);
	return tif;
}

vq_status vq_tiff_write(const char *path, const vq_tensor *t, const vq_tiff_options *opt)
{
	vq_tiff_options none = {0};
	layout l = {0};
	size_t bytes, row;
	if (!path || !strcmp(path, "-"))
		return vq_fail(VQ_EINVAL, "a TIFF is written to a file, not to standard output");
	if (!opt)
		opt = &none;
	VQ_TRY(tiff_layout(path, t, opt->rgb, &l));
	VQ_TRY(vq_tensor_bytes(t, &bytes));
	VQ_TRY(vq_mul((size_t)l.w * (size_t)l.samples, (size_t)l.bits / 8, &row));
	vq_out *o;
	VQ_TRY(vq_out_open(&o, path, VQ_OUT_BINARY));
	vq_tiff_log log = {0};
	stream st = { .f = vq_out_file(o) };
	char *text = NULL, *buf = vq_malloc(row);
	if (l.pages > 1 && !opt->description)
		text = vq_format("{\"shape\": [%lld, %lld, %lld], \"axes\": \"CYX\"}", (long long)l.pages, (long long)l.h, (long long)l.w);
	bool ok = false;
	TIFF *tif = buf ? tiff_over(&st, path, bytes > (size_t)3 << 30, &log) : NULL;
	if (tif) {
		ok = true;
		for (int64_t p = 0; ok && p < l.pages; p++)
			ok = tiff_page(tif, &l, t, p, opt->description ? opt->description : text, opt->compress, buf);
		TIFFClose(tif);
		ok = ok && !st.err && !log.error[0];
	}
	free(text);
	free(buf);
	if (ok)
		return vq_out_commit(o);
	vq_out_abort(o);
	return vq_fail(VQ_EIO, "%s: %s", path, st.err ? strerror(st.err) : log.error[0] ? log.error : "cannot be written");
}
