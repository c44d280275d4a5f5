/* TIFF in: one handle a file, directories by number, strips and tiles decoded by libtiff and unpacked in imagefile_unpack.c. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>
#include <unistd.h>

#include "formats/imagefile_priv.h"

struct vq_tiff_file {
	TIFF *tif;
	vq_tiff_log log;
	int current;       /* directory in force; -1 after one that could not be read */
	char *description; /* of page 0 */
};

/* --- what libtiff says --- */

/* Function names (module) are of no use to who reads the message, and neither is the path, which is there already. */
static void keep(char *to, size_t size, const char *path, const char *fmt, va_list ap)
{
	if (*to || strstr(fmt, "set_field_type")) /* the second: of private tags, and no reason to fail */
		return;
	vsnprintf(to, size, fmt, ap);
	size_t n = strlen(path);
	if (!strncmp(to, path, n) && to[n] == ':')
		memmove(to, to + n + 1 + (to[n + 1] == ' '), strlen(to + n + 1 + (to[n + 1] == ' ')) + 1);
	if (strstr(to, "Read error at"))
		snprintf(to, size, "pixel data are missing from the file");
	for (char *p = to; *p; p++)
		if (iscntrl((unsigned char)*p))
			*p = ' ';
	size_t len = strlen(to);
	while (len && (to[len - 1] == ' ' || to[len - 1] == '.'))
		to[--len] = 0;
}

int vq_tiff_on_error(TIFF *t, void *log, const char *module, const char *fmt, va_list ap)
{
	vq_tiff_log *l = log;
	(void)module;
	keep(l->error, sizeof l->error, t ? TIFFFileName(t) : "", fmt, ap);
	return 1;
}

int vq_tiff_on_warning(TIFF *t, void *log, const char *module, const char *fmt, va_list ap)
{
	vq_tiff_log *l = log;
	(void)module;
	if (!strstr(fmt, "nknown field")) /* private tags are no news */
		keep(l->warning, sizeof l->warning, t ? TIFFFileName(t) : "", fmt, ap);
	return 1;
}

static vq_status said(vq_image_file *f, int page, vq_status code, const char *what)
{
	const char *words = f->tiff->log.error;
	if (*words)
		return vq_fail(code, "%s: page %d: %s: %s", f->path, page + 1, what, words);
	return vq_fail(code, "%s: page %d: %s: cannot be decoded", f->path, page + 1, what);
}

/* --- open --- */

vq_status vq_tiff_open(vq_image_file *f, int fd)
{
	vq_tiff_file *t = vq_calloc(1, sizeof *t);
	TIFFOpenOptions *o = t ? TIFFOpenOptionsAlloc() : NULL;
	if (!o) {
		free(t);
		return vq_fail(VQ_ENOMEM, "%s: out of memory", f->path);
	}
	TIFFOpenOptionsSetErrorHandlerExtR(o, vq_tiff_on_error, &t->log);
	TIFFOpenOptionsSetWarningHandlerExtR(o, vq_tiff_on_warning, &t->log);
	TIFFOpenOptionsSetMaxSingleMemAlloc(o, (tmsize_t)f->limits.page_bytes);
	errno = 0;
	t->tif = TIFFFdOpenExt(fd, f->path, "rm", o); /* m: no memory map, a file that shrinks must not be a SIGBUS */
	TIFFOpenOptionsFree(o);
	if (!t->tif) {
		vq_status s = vq_fail(VQ_EFORMAT, "%s: broken TIFF: %s", f->path, t->log.error[0] ? t->log.error : "no directory");
		free(t);
		return s;
	}
	f->tiff = t;
	const char *text;
	if (TIFFGetField(t->tif, TIFFTAG_IMAGEDESCRIPTION, &text) == 1 && text && !(t->description = vq_strdup(text)))
		return VQ_ENOMEM;
	f->pages = (int)TIFFNumberOfDirectories(t->tif);
	if (f->pages < 1)
		f->pages = 1;
	t->log.error[0] = 0;
	return VQ_OK;
}

void vq_tiff_close(vq_tiff_file *t)
{
	if (!t)
		return;
	if (t->tif)
		TIFFClose(t->tif);
	free(t->description);
	free(t);
}

const char *vq_tiff_description(vq_tiff_file *t) { return t->description; }
const char *vq_tiff_warning(const vq_tiff_file *t) { return t->log.warning[0] ? t->log.warning : NULL; }

/* --- directories --- */

static const struct { int code; const char *name; } codecs[] = {
	{ COMPRESSION_NONE, "NONE" }, { COMPRESSION_CCITTRLE, "CCITTRLE" }, { COMPRESSION_CCITT_T4, "CCITT_T4" },
	{ COMPRESSION_CCITT_T6, "CCITT_T6" }, { COMPRESSION_LZW, "LZW" }, { COMPRESSION_OJPEG, "OJPEG" }, { COMPRESSION_JPEG, "JPEG" },
	{ COMPRESSION_T85, "T85" }, { COMPRESSION_T43, "T43" }, { COMPRESSION_NEXT, "NEXT" }, { COMPRESSION_CCITTRLEW, "CCITTRLEW" },
	{ COMPRESSION_PACKBITS, "PACKBITS" }, { COMPRESSION_THUNDERSCAN, "THUNDERSCAN" }, { COMPRESSION_PIXARFILM, "PIXARFILM" },
	{ COMPRESSION_PIXARLOG, "PIXARLOG" }, { COMPRESSION_DEFLATE, "DEFLATE" }, { COMPRESSION_ADOBE_DEFLATE, "ADOBE_DEFLATE" },
	{ COMPRESSION_DCS, "DCS" }, { COMPRESSION_JBIG, "JBIG" }, { COMPRESSION_SGILOG, "SGILOG" }, { COMPRESSION_SGILOG24, "SGILOG24" },
	{ COMPRESSION_JP2000, "JPEG2000" }, { 33003, "JPEG2000" }, { 33004, "JPEG2000" }, { 33005, "JPEG2000" },
	{ COMPRESSION_LERC, "LERC" }, { COMPRESSION_LZMA, "LZMA" }, { COMPRESSION_ZSTD, "ZSTD" }, { COMPRESSION_WEBP, "WEBP" },
	{ COMPRESSION_JXL, "JPEGXL" }, { 22610, "JPEGXR" },
};

static void codec_name(int code, char out[24])
{
	snprintf(out, 24, "%d", code);
	for (size_t i = 0; i < VQ_COUNT(codecs); i++)
		if (codecs[i].code == code)
			snprintf(out, 24, "%s", codecs[i].name);
}

static vq_status go(vq_image_file *f, int page)
{
	vq_tiff_file *t = f->tiff;
	if (page < 0 || page >= f->pages)
		return vq_fail(VQ_EINVAL, "%s: page %d is asked for, it has %d", f->path, page + 1, f->pages);
	t->log.error[0] = 0;
	if (t->current == page)
		return VQ_OK;
	int ok = t->current >= 0 && page == t->current + 1 ? TIFFReadDirectory(t->tif) : TIFFSetDirectory(t->tif, (tdir_t)page);
	t->current = ok ? page : -1;
	return ok ? VQ_OK : said(f, page, VQ_EFORMAT, "broken directory");
}

static vq_photometric photometric(TIFF *tif, int colours)
{
	uint16_t v;
	if (TIFFGetField(tif, TIFFTAG_PHOTOMETRIC, &v) != 1)
		return colours >= 3 ? VQ_PHOTO_RGB : VQ_PHOTO_GREY;
	switch (v) {
	case PHOTOMETRIC_MINISWHITE: return VQ_PHOTO_INVERTED;
	case PHOTOMETRIC_MINISBLACK: return VQ_PHOTO_GREY;
	case PHOTOMETRIC_RGB: return VQ_PHOTO_RGB;
	case PHOTOMETRIC_PALETTE: return VQ_PHOTO_PALETTE;
	case PHOTOMETRIC_MASK: return VQ_PHOTO_GREY;
	case PHOTOMETRIC_SEPARATED: return VQ_PHOTO_CMYK;
	case PHOTOMETRIC_YCBCR: return VQ_PHOTO_YCBCR;
	case PHOTOMETRIC_CIELAB: case PHOTOMETRIC_ICCLAB: case PHOTOMETRIC_ITULAB: return VQ_PHOTO_LAB;
	case PHOTOMETRIC_LOGL: return VQ_PHOTO_LOGL;
	case PHOTOMETRIC_LOGLUV: return VQ_PHOTO_LOGLUV;
	}
	return VQ_PHOTO_OTHER;
}

/* The type that a sample of this width is given as; VQ_DTYPES when there is none. */
static vq_dtype sample_type(int bits, vq_sample_kind kind)
{
	if (kind == VQ_KIND_FLOAT)
		return bits == 16 ? VQ_F16 : bits == 24 || bits == 32 ? VQ_F32 : bits == 64 ? VQ_F64 : VQ_DTYPES;
	if (bits < 1 || (bits > 32 && bits != 64))
		return VQ_DTYPES;
	if (bits <= 8)
		return kind == VQ_KIND_INT ? VQ_I8 : VQ_U8;
	if (bits <= 16)
		return kind == VQ_KIND_INT ? VQ_I32 : VQ_U16;
	return bits <= 32 && kind == VQ_KIND_INT ? VQ_I32 : VQ_I64;
}

static void extra_samples(TIFF *tif, vq_page *p, int *extras)
{
	uint16_t n = 0, *type = NULL;
	p->alpha = -1;
	*extras = 0;
	if (TIFFGetField(tif, TIFFTAG_EXTRASAMPLES, &n, &type) != 1 || n > p->samples)
		return;
	*extras = n;
	for (int i = n - 1; i >= 0; i--)
		if (type[i] == EXTRASAMPLE_ASSOCALPHA || type[i] == EXTRASAMPLE_UNASSALPHA) {
			p->alpha = p->samples - n + i;
			p->associated = type[i] == EXTRASAMPLE_ASSOCALPHA;
		}
}

vq_status vq_tiff_page(vq_image_file *f, int page, vq_page *p)
{
	VQ_TRY(go(f, page));
	TIFF *tif = f->tiff->tif;
	uint32_t w = 0, h = 0, subtype = 0;
	uint16_t spp = 1, bps = 1, format = SAMPLEFORMAT_UINT, planar = PLANARCONFIG_CONTIG, codec = COMPRESSION_NONE;
	int extras;
	*p = (vq_page){0};
	TIFFGetField(tif, TIFFTAG_IMAGEWIDTH, &w);
	TIFFGetField(tif, TIFFTAG_IMAGELENGTH, &h);
	TIFFGetFieldDefaulted(tif, TIFFTAG_SAMPLESPERPIXEL, &spp);
	TIFFGetFieldDefaulted(tif, TIFFTAG_BITSPERSAMPLE, &bps);
	TIFFGetFieldDefaulted(tif, TIFFTAG_SAMPLEFORMAT, &format);
	TIFFGetFieldDefaulted(tif, TIFFTAG_PLANARCONFIG, &planar);
	TIFFGetFieldDefaulted(tif, TIFFTAG_SUBFILETYPE, &subtype);
	TIFFGetField(tif, TIFFTAG_COMPRESSION, &codec);
	p->width = w;
	p->height = h;
	p->samples = spp;
	p->bits = bps;
	p->kind = format == SAMPLEFORMAT_IEEEFP ? VQ_KIND_FLOAT : format == SAMPLEFORMAT_INT ? VQ_KIND_INT : VQ_KIND_UINT;
	p->planar = planar == PLANARCONFIG_SEPARATE && spp > 1;
	p->tiled = TIFFIsTiled(tif);
	p->reduced = subtype & (FILETYPE_REDUCEDIMAGE | FILETYPE_MASK);
	codec_name(codec, p->codec);
	extra_samples(tif, p, &extras);
	p->photometric = photometric(tif, spp - extras);
	p->dtype = sample_type(bps, p->kind);
	if (p->photometric == VQ_PHOTO_LOGL || p->photometric == VQ_PHOTO_LOGLUV)
		p->bits = 16, p->kind = VQ_KIND_INT, p->dtype = VQ_I32;
	if (format == SAMPLEFORMAT_COMPLEXINT || format == SAMPLEFORMAT_COMPLEXIEEEFP)
		return vq_fail(VQ_EUNSUP, "%s: page %d: complex samples", f->path, page + 1);
	if (p->dtype == VQ_DTYPES)
		return vq_fail(VQ_EUNSUP, "%s: page %d: samples of %d bits%s", f->path, page + 1, bps, p->kind == VQ_KIND_FLOAT ? " (float)" : "");
	return VQ_OK;
}

vq_status vq_tiff_palette(vq_image_file *f, int page, vq_palette *out)
{
	*out = (vq_palette){0};
	vq_page p;
	uint16_t *c[3];
	VQ_TRY(vq_tiff_page(f, page, &p));
	if (p.bits > 16 || TIFFGetField(f->tiff->tif, TIFFTAG_COLORMAP, &c[0], &c[1], &c[2]) != 1)
		return said(f, page, VQ_EFORMAT, "a palette image without a palette");
	int n = 1 << p.bits;
	if (!(out->rgb = vq_malloc((size_t)n * 3 * sizeof *out->rgb)))
		return VQ_ENOMEM;
	out->n = n;
	for (int i = 0; i < n; i++)
		for (int k = 0; k < 3; k++)
			out->rgb[3 * i + k] = c[k][i];
	return VQ_OK;
}

/* --- pixels --- */

/* How many times larger than the file a page of this codec can honestly be. */
static uint64_t most_ratio(const char *codec)
{
	static const struct { const char *name; uint64_t times; } most[] = {
		{ "NONE", 1 }, { "PACKBITS", 128 }, { "LZW", 4096 }, { "DEFLATE", 1100 }, { "ADOBE_DEFLATE", 1100 }, { "PIXARLOG", 1100 },
		{ "JPEG", 4096 }, { "THUNDERSCAN", 64 }, { "NEXT", 64 }, { "SGILOG", 128 }, { "SGILOG24", 2 },
	};
	for (size_t i = 0; i < VQ_COUNT(most); i++)
		if (!strcmp(most[i].name, codec))
			return most[i].times;
	return 100000;
}

/* Codec and sizes, before memory is taken. */
static vq_status check(vq_image_file *f, int page, const vq_page *p)
{
	TIFF *tif = f->tiff->tif;
	uint16_t codec = COMPRESSION_NONE;
	TIFFGetField(tif, TIFFTAG_COMPRESSION, &codec);
	if (!TIFFIsCODECConfigured(codec))
		return vq_fail(VQ_EUNSUP, "%s: page %d: compression %s is not in this libtiff", f->path, page + 1, p->codec);
	if (p->width < 1 || p->height < 1 || p->samples < 1)
		return vq_fail(VQ_EFORMAT, "%s: page %d: an image of %lld x %lld pixels, %d samples", f->path, page + 1, (long long)p->width,
		               (long long)p->height, p->samples);
	VQ_TRY(vq_image_room(f, p));
	size_t row, stored;
	VQ_TRY(vq_mul((size_t)p->width * (size_t)p->samples, (size_t)p->bits, &row));
	VQ_TRY(vq_mul((row + 7) / 8, (size_t)p->height, &stored));
	if (p->photometric == VQ_PHOTO_YCBCR || p->photometric == VQ_PHOTO_LOGL || p->photometric == VQ_PHOTO_LOGLUV)
		stored /= 6; /* subsampled chroma, packed luminance */
	if (stored / most_ratio(p->codec) > f->length)
		return vq_fail(VQ_EFORMAT, "%s: page %d: %lld x %lld pixels (%s) cannot be in a file of %llu bytes", f->path, page + 1,
		               (long long)p->width, (long long)p->height, p->codec, (unsigned long long)f->length);
	return VQ_OK;
}

/* YCbCr that no codec turns into RGB: through libtiff's display interface. */
static vq_status read_display(vq_image_file *f, int page, const vq_page *p, vq_tensor *out)
{
	TIFF *tif = f->tiff->tif;
	char why[1024] = "";
	size_t n = (size_t)p->width * (size_t)p->height;
	if (!TIFFRGBAImageOK(tif, why))
		return vq_fail(VQ_EUNSUP, "%s: page %d: YCbCr, %s: %s", f->path, page + 1, p->codec, why);
	uint32_t *raster = vq_malloc(n * sizeof *raster);
	if (!raster)
		return VQ_ENOMEM;
	vq_status s = VQ_OK;
	if (!TIFFReadRGBAImageOriented(tif, (uint32_t)p->width, (uint32_t)p->height, raster, ORIENTATION_TOPLEFT, 1) || f->tiff->log.error[0])
		s = said(f, page, VQ_EFORMAT, "YCbCr");
	if (s == VQ_OK)
		s = vq_tensor_room(out, VQ_U8, 3, (int64_t[]){ p->height, p->width, 3 });
	uint8_t *to = out->data;
	for (size_t i = 0; s == VQ_OK && i < n; i++) {
		to[3 * i] = TIFFGetR(raster[i]);
		to[3 * i + 1] = TIFFGetG(raster[i]);
		to[3 * i + 2] = TIFFGetB(raster[i]);
	}
	free(raster);
	return s;
}

/* One decoded strip or tile into the page. */
static vq_status place(const vq_page *p, const vq_tensor *out, const uint8_t *from, size_t from_row, int64_t x0, int64_t y0, int64_t w,
                       int64_t h, int sample)
{
	int each = p->planar ? 1 : p->samples;
	size_t stride = p->planar ? (size_t)p->samples : 1;
	for (int64_t y = 0; y < h; y++) {
		size_t at = ((size_t)(y0 + y) * (size_t)p->width + (size_t)x0) * (size_t)p->samples + (size_t)sample;
		VQ_TRY(vq_unpack(from + (size_t)y * from_row, p->bits, p->kind, (size_t)w * (size_t)each, out->dtype,
		                 (char *)out->data + at * vq_dtype_size(out->dtype), stride));
	}
	return VQ_OK;
}

/* Strips that lie in the file one after another as the tensor has them. False: not so, or they could not be read; libtiff then has its way. */
static bool read_stored(vq_image_file *f, const vq_page *p, int64_t per, const vq_tensor *out)
{
	TIFF *tif = f->tiff->tif;
	uint16_t order = FILLORDER_MSB2LSB;
	uint64_t *at, *len;
	size_t row = (size_t)p->width * (size_t)p->samples * vq_dtype_size(out->dtype), all = row * (size_t)p->height;
	TIFFGetFieldDefaulted(tif, TIFFTAG_FILLORDER, &order);
	if (strcmp(p->codec, "NONE") || p->planar || TIFFIsByteSwapped(tif) || order != FILLORDER_MSB2LSB || p->bits == 64 || vq_dtype_size(out->dtype) * 8 != (size_t)p->bits
	    || TIFFGetField(tif, TIFFTAG_STRIPOFFSETS, &at) != 1 || TIFFGetField(tif, TIFFTAG_STRIPBYTECOUNTS, &len) != 1)
		return false;
	int64_t n = (int64_t)TIFFNumberOfStrips(tif);
	if (n != (p->height + per - 1) / per || at[0] > f->length || f->length - at[0] < all)
		return false;
	for (int64_t i = 0; i < n; i++)
		if (len[i] != row * (size_t)VQ_MIN(per, p->height - i * per) || at[i] != at[0] + (uint64_t)(i * per) * row)
			return false;
	size_t have = 0;
	for (ssize_t got = 1; got > 0 && have < all; have += (size_t)VQ_MAX(got, 0))
		got = pread(TIFFFileno(tif), (char *)out->data + have, all - have, (off_t)(at[0] + have));
	return have == all;
}

static vq_status read_strips(vq_image_file *f, int page, const vq_page *p, vq_tensor *out)
{
	TIFF *tif = f->tiff->tif;
	uint32_t rows = 0;
	TIFFGetFieldDefaulted(tif, TIFFTAG_ROWSPERSTRIP, &rows);
	int64_t per = rows < 1 || (int64_t)rows > p->height ? p->height : (int64_t)rows;
	if (read_stored(f, p, per, out))
		return VQ_OK;
	tmsize_t size = TIFFVStripSize(tif, (uint32_t)per), row = TIFFVStripSize(tif, 1);
	size_t need = ((size_t)p->width * (size_t)(p->planar ? 1 : p->samples) * (size_t)p->bits + 7) / 8;
	if (size < 1 || row < 1 || (size_t)row < need || (uint64_t)size > f->limits.page_bytes)
		return said(f, page, VQ_EFORMAT, "strips of an impossible size");
	uint8_t *buf = vq_malloc((size_t)size);
	vq_status s = buf ? VQ_OK : VQ_ENOMEM;
	for (int sample = 0; s == VQ_OK && sample < (p->planar ? p->samples : 1); sample++)
		for (int64_t y = 0; s == VQ_OK && y < p->height; y += per) {
			int64_t h = VQ_MIN(per, p->height - y);
			uint32_t strip = TIFFComputeStrip(tif, (uint32_t)y, (uint16_t)sample);
			tmsize_t want = TIFFVStripSize(tif, (uint32_t)h);
			if (TIFFReadEncodedStrip(tif, strip, buf, want) != want)
				s = said(f, page, VQ_EFORMAT, p->codec);
			else
				s = place(p, out, buf, (size_t)row, 0, y, p->width, h, sample);
		}
	free(buf);
	return s;
}

static vq_status read_tiles(vq_image_file *f, int page, const vq_page *p, vq_tensor *out)
{
	TIFF *tif = f->tiff->tif;
	uint32_t tw = 0, th = 0;
	TIFFGetField(tif, TIFFTAG_TILEWIDTH, &tw);
	TIFFGetField(tif, TIFFTAG_TILELENGTH, &th);
	tmsize_t size = TIFFTileSize(tif), row = TIFFTileRowSize(tif);
	size_t need = ((size_t)tw * (size_t)(p->planar ? 1 : p->samples) * (size_t)p->bits + 7) / 8;
	if (!tw || !th || size < 1 || row < 1 || (size_t)row < need || (uint64_t)size > f->limits.page_bytes
	    || (uint64_t)size / most_ratio(p->codec) > f->length)
		return said(f, page, VQ_EFORMAT, "tiles of an impossible size");
	uint8_t *buf = vq_malloc((size_t)size);
	vq_status s = buf ? VQ_OK : VQ_ENOMEM;
	for (int sample = 0; s == VQ_OK && sample < (p->planar ? p->samples : 1); sample++)
		for (int64_t y = 0; s == VQ_OK && y < p->height; y += th)
			for (int64_t x = 0; s == VQ_OK && x < p->width; x += tw) {
				uint32_t tile = TIFFComputeTile(tif, (uint32_t)x, (uint32_t)y, 0, (uint16_t)sample);
				if (TIFFReadEncodedTile(tif, tile, buf, size) != size)
					s = said(f, page, VQ_EFORMAT, p->codec);
				else
					s = place(p, out, buf, (size_t)row, x, y, VQ_MIN((int64_t)tw, p->width - x), VQ_MIN((int64_t)th, p->height - y), sample);
			}
	free(buf);
	return s;
}

static vq_status read_samples(vq_image_file *f, int page, vq_page *p, bool luminance, vq_tensor *out)
{
	TIFF *tif = f->tiff->tif;
	vq_dtype type = p->dtype;
	if (p->photometric == VQ_PHOTO_LOGL || p->photometric == VQ_PHOTO_LOGLUV) {
		if (!TIFFSetField(tif, TIFFTAG_SGILOGDATAFMT, luminance ? SGILOGDATAFMT_FLOAT : SGILOGDATAFMT_16BIT))
			return said(f, page, VQ_EUNSUP, "LogLuv");
		f->tiff->current = -1; /* the directory now tells the converted depth: read it again next time */
		if (luminance)
			p->bits = 32, p->kind = VQ_KIND_FLOAT, type = VQ_F32;
	}
	VQ_TRY(vq_tensor_room(out, type, 3, (int64_t[]){ p->height, p->width, p->samples }));
	vq_status s = p->tiled ? read_tiles(f, page, p, out) : read_strips(f, page, p, out);
	if (s == VQ_EUNSUP)
		s = vq_context(s, "%s: page %d", f->path, page + 1);
	if (s < 0)
		vq_tensor_free(out);
	return s;
}

vq_status vq_tiff_read(vq_image_file *f, int page, bool luminance, vq_tensor *out)
{
	vq_page p;
	*out = (vq_tensor){0};
	VQ_TRY(vq_tiff_page(f, page, &p));
	VQ_TRY(check(f, page, &p));
	TIFF *tif = f->tiff->tif;
	if (p.photometric == VQ_PHOTO_YCBCR) {
		if (strcmp(p.codec, "JPEG") || p.planar || p.samples != 3)
			return read_display(f, page, &p, out);
		TIFFSetField(tif, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
	}
	return read_samples(f, page, &p, luminance, out);
}

/* --- planes without directories --- */

int64_t vq_tiff_stacked(vq_image_file *f)
{
	vq_page p;
	uint64_t *at, *len;
	if (vq_tiff_page(f, 0, &p) < 0 || strcmp(p.codec, "NONE") || p.tiled || p.planar || p.width < 1 || p.height < 1
	    || (p.bits != 8 && p.bits != 16 && p.bits != 32))
		return 1;
	TIFF *tif = f->tiff->tif;
	uint64_t plane = (uint64_t)p.width * (uint64_t)p.height * (uint64_t)p.samples * (uint64_t)p.bits / 8;
	if (TIFFGetField(tif, TIFFTAG_STRIPOFFSETS, &at) != 1 || TIFFGetField(tif, TIFFTAG_STRIPBYTECOUNTS, &len) != 1)
		return 1;
	for (uint32_t i = 1, n = TIFFNumberOfStrips(tif); i < n; i++)
		if (at[i] != at[i - 1] + len[i - 1])
			return 1;
	return at[0] >= f->length || !plane ? 1 : VQ_MAX(1, (int64_t)((f->length - at[0]) / plane));
}

vq_status vq_tiff_read_stacked(vq_image_file *f, int64_t plane, vq_tensor *out)
{
	vq_page p;
	uint64_t *at;
	size_t bytes;
	*out = (vq_tensor){0};
	VQ_TRY(vq_tiff_page(f, 0, &p));
	VQ_TRY(check(f, 0, &p));
	TIFF *tif = f->tiff->tif;
	if (TIFFGetField(tif, TIFFTAG_STRIPOFFSETS, &at) != 1)
		return said(f, 0, VQ_EFORMAT, "no strips");
	size_t n = (size_t)p.width * (size_t)p.height * (size_t)p.samples;
	VQ_TRY(vq_mul(n, (size_t)p.bits / 8, &bytes));
	uint8_t *buf = vq_malloc(bytes);
	FILE *file = buf ? fopen(f->path, "rb") : NULL;
	vq_status s = !buf ? VQ_ENOMEM : VQ_OK;
	if (buf && (!file || fseeko(file, (off_t)(at[0] + (uint64_t)plane * bytes), SEEK_SET) || fread(buf, 1, bytes, file) != bytes))
		s = vq_fail(VQ_ETRUNC, "%s: ends before plane %lld", f->path, (long long)plane + 1);
	if (s == VQ_OK && TIFFIsByteSwapped(tif) && p.bits == 16)
		TIFFSwabArrayOfShort((uint16_t *)(void *)buf, (tmsize_t)n);
	if (s == VQ_OK && TIFFIsByteSwapped(tif) && p.bits == 32)
		TIFFSwabArrayOfLong((uint32_t *)(void *)buf, (tmsize_t)n);
	if (s == VQ_OK)
		s = vq_tensor_room(out, p.dtype, 3, (int64_t[]){ p.height, p.width, p.samples });
	if (s == VQ_OK)
		s = vq_unpack(buf, p.bits, p.kind, n, p.dtype, out->data, 1);
	if (file)
		fclose(file);
	free(buf);
	return s;
}
