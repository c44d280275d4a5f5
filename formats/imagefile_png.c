/* PNG in. An ordinary file is read once, at open (imagefile_png_whole.c); of others the header, and the pixels by a second pass. */
#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "formats/imagefile_priv.h"

struct vq_png_file {
	vq_page page;
	vq_palette palette;
	uint8_t *packed;     /* of an ordinary file: its compressed pixels */
	size_t packed_bytes;
};

/* All that must be let go when libpng jumps. */
typedef struct {
	FILE *f;
	png_structp png;
	png_infop info;
	png_bytep *rows;
	char words[200], *warning;
} session;

static void failed(png_structp png, png_const_charp text)
{
	session *s = png_get_error_ptr(png);
	snprintf(s->words, sizeof s->words, "%s", text);
	png_longjmp(png, 1);
}

static void warned(png_structp png, png_const_charp text)
{
	session *s = png_get_error_ptr(png);
	if (!s->warning)
		s->warning = vq_strdup(text);
}

static void end(session *s)
{
	png_destroy_read_struct(&s->png, &s->info, NULL);
	if (s->f)
		fclose(s->f);
	free(s->rows);
	free(s->warning);
	*s = (session){0};
}

static vq_status begin(session *s, const vq_image_file *f)
{
	if (!(s->f = fopen(f->path, "rb")))
		return vq_fail(VQ_EIO, "%s: %s", f->path, strerror(errno));
	s->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, s, failed, warned);
	s->info = s->png ? png_create_info_struct(s->png) : NULL;
	if (!s->info)
		return vq_fail(VQ_ENOMEM, "%s: out of memory", f->path);
	png_init_io(s->png, s->f);
	png_set_user_limits(s->png, 1000000, 1000000);
	png_set_chunk_malloc_max(s->png, 64 << 20);
	return VQ_OK;
}

static vq_status broken(const vq_image_file *f, const session *s) { return vq_fail(VQ_EFORMAT, "%s: PNG: %s", f->path, s->words); }

static void describe(session *s, vq_page *p)
{
	int type = png_get_color_type(s->png, s->info);
	*p = (vq_page){ .width = png_get_image_width(s->png, s->info), .height = png_get_image_height(s->png, s->info),
		.samples = png_get_channels(s->png, s->info), .bits = png_get_bit_depth(s->png, s->info), .kind = VQ_KIND_UINT, .alpha = -1,
		.codec = "PNG" };
	p->dtype = p->bits == 16 ? VQ_U16 : VQ_U8;
	p->photometric = type == PNG_COLOR_TYPE_PALETTE ? VQ_PHOTO_PALETTE : type & PNG_COLOR_MASK_COLOR ? VQ_PHOTO_RGB : VQ_PHOTO_GREY;
	if (type & PNG_COLOR_MASK_ALPHA)
		p->alpha = p->samples - 1;
}

static vq_status keep_palette(session *s, vq_palette *out)
{
	png_colorp c;
	int n = 0;
	if (!png_get_PLTE(s->png, s->info, &c, &n) || n < 1)
		return VQ_OK;
	if (!(out->rgb = vq_malloc((size_t)n * 3 * sizeof *out->rgb)))
		return VQ_ENOMEM;
	out->n = n;
	for (int i = 0; i < n; i++) {
		out->rgb[3 * i] = (uint16_t)(c[i].red * 257);
		out->rgb[3 * i + 1] = (uint16_t)(c[i].green * 257);
		out->rgb[3 * i + 2] = (uint16_t)(c[i].blue * 257);
	}
	return VQ_OK;
}

static void headers(session *s, vq_page *p, vq_tensor *unused)
{
	(void)unused;
	png_read_info(s->png, s->info);
	describe(s, p);
}

/* False when libpng jumped out of work; s->words says why. Nothing local here changes in between. */
static bool guarded(session *s, void (*work)(session *, vq_page *, vq_tensor *), vq_page *p, vq_tensor *t)
{
	if (setjmp(png_jmpbuf(s->png)))
		return false;
	work(s, p, t);
	return true;
}

vq_status vq_png_open(vq_image_file *f, int fd)
{
	session s = {0};
	if (!(f->png = vq_calloc(1, sizeof *f->png)))
		return VQ_ENOMEM;
	f->pages = 1;
	if ((f->png->packed = vq_png_whole_open(fd, f->length, &f->png->page, &f->png->packed_bytes)))
		return VQ_OK;
	vq_status st = begin(&s, f);
	if (st == VQ_OK && !guarded(&s, headers, &f->png->page, NULL))
		st = broken(f, &s);
	if (st == VQ_OK)
		st = keep_palette(&s, &f->png->palette);
	end(&s);
	return st;
}

void vq_png_close(vq_png_file *p)
{
	if (!p)
		return;
	free(p->palette.rgb);
	free(p->packed);
	free(p);
}

vq_status vq_png_page(vq_image_file *f, vq_page *out)
{
	*out = f->png->page;
	return VQ_OK;
}

vq_status vq_png_palette(vq_image_file *f, vq_palette *out)
{
	const vq_palette *p = &f->png->palette;
	*out = (vq_palette){0};
	if (!p->n)
		return vq_fail(VQ_EFORMAT, "%s: a palette image without a palette", f->path);
	if (!(out->rgb = vq_malloc((size_t)p->n * 3 * sizeof *p->rgb)))
		return VQ_ENOMEM;
	memcpy(out->rgb, p->rgb, (size_t)p->n * 3 * sizeof *p->rgb);
	out->n = p->n;
	return VQ_OK;
}

/* Deflate makes at most 1,032 bytes of one. */
static vq_status check(const vq_image_file *f, const vq_page *p)
{
	VQ_TRY(vq_image_room(f, p));
	uint64_t bits = (uint64_t)p->width * (uint64_t)p->height * (uint64_t)p->samples * (uint64_t)p->bits;
	if (bits / 8 / 1032 > f->length)
		return vq_fail(VQ_EFORMAT, "%s: %lld x %lld pixels cannot be in a PNG of %llu bytes", f->path, (long long)p->width,
		               (long long)p->height, (unsigned long long)f->length);
	return VQ_OK;
}

/* The page read must be the one that was announced at open: the rows point into memory made for that. */
static void pixels(session *s, vq_page *p, vq_tensor *out)
{
	vq_page now;
	png_read_info(s->png, s->info);
	describe(s, &now);
	if (now.width != p->width || now.height != p->height || now.samples != p->samples || now.bits != p->bits)
		png_error(s->png, "the file has changed");
	png_set_packing(s->png);
	if (p->bits == 16)
		png_set_swap(s->png);
	png_set_interlace_handling(s->png);
	png_read_update_info(s->png, s->info);
	size_t stride = (size_t)p->width * (size_t)p->samples * vq_dtype_size(p->dtype);
	if (png_get_rowbytes(s->png, s->info) != stride)
		png_error(s->png, "rows of an unexpected length");
	for (int64_t y = 0; y < p->height; y++)
		s->rows[y] = (png_bytep)out->data + (size_t)y * stride;
	png_read_image(s->png, s->rows);
	png_read_end(s->png, NULL);
}

vq_status vq_png_read(vq_image_file *f, vq_tensor *out)
{
	vq_page *p = &f->png->page;
	session s = {0};
	*out = (vq_tensor){0};
	VQ_TRY(check(f, p));
	VQ_TRY(vq_tensor_room(out, p->dtype, 3, (int64_t[]){ p->height, p->width, p->samples }));
	if (f->png->packed && vq_png_whole_read(f->png->packed, f->png->packed_bytes, p, out))
		return VQ_OK;
	vq_status st = begin(&s, f);
	if (st == VQ_OK && !(s.rows = vq_malloc((size_t)p->height * sizeof *s.rows)))
		st = VQ_ENOMEM;
	if (st == VQ_OK && !guarded(&s, pixels, p, out))
		st = broken(f, &s);
	if (st == VQ_OK && s.warning && !f->warning)
		f->warning = vq_strdup(s.warning);
	end(&s);
	if (st < 0)
		vq_tensor_free(out);
	return st;
}
