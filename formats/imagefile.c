#include "formats/imagefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/imagefile_priv.h"

/* --- what kind of file --- */

static const char *guess(const unsigned char *b, size_t n)
{
	static const struct { const char *bytes; size_t n; const char *name; } other[] = {
		{ "\xff\xd8\xff", 3, "JPEG" }, { "GIF8", 4, "GIF" }, { "BM", 2, "BMP" }, { "\x93NUMPY", 6, "a .npy array" },
		{ "PK\3\4", 4, "a zip archive" }, { "\x1f\x8b", 2, "gzip" }, { "ZISRAWFILE", 10, "a Zeiss .czi" },
		{ "\xda\xce\xbe\x0a", 4, "a Nikon .nd2" }, { "\x89HDF\r\n\x1a\n", 8, "HDF5" }, { "\x28\xb5\x2f\xfd", 4, "zstd (a .vqt stream?)" },
		{ "%PDF", 4, "PDF" }, { "\xff\x0a", 2, "JPEG XL" }, { "\0\0\0\x0cjP", 6, "JPEG 2000" }, { "\x70\0\0\0", 4, "a Leica .lif" },
	};
	for (size_t i = 0; i < VQ_COUNT(other); i++)
		if (n >= other[i].n && !memcmp(b, other[i].bytes, other[i].n))
			return other[i].name;
	return NULL;
}

static bool is_tiff(const unsigned char *b, size_t n)
{
	return n >= 8 && (!memcmp(b, "II*\0", 4) || !memcmp(b, "MM\0*", 4) || !memcmp(b, "II+\0", 4) || !memcmp(b, "MM\0+", 4));
}

/* Leaves the file's position at its start. */
static vq_status look(vq_image_file *f, int fd, bool *tiff)
{
	unsigned char head[16] = {0};
	struct stat st;
	if (fd < 0 || fstat(fd, &st))
		return vq_fail(VQ_EIO, "%s: %s", f->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return vq_fail(VQ_EIO, "%s: %s", f->path, S_ISDIR(st.st_mode) ? "is a directory" : "is not a regular file");
	ssize_t got = pread(fd, head, sizeof head, 0);
	if (got < 0)
		return vq_fail(VQ_EIO, "%s: cannot be read", f->path);
	size_t n = (size_t)got;
	f->length = (uint64_t)st.st_size;
	*tiff = is_tiff(head, n);
	if (*tiff || (n >= 8 && !memcmp(head, "\x89PNG\r\n\x1a\n", 8)))
		return VQ_OK;
	const char *name = guess(head, n);
	if (!n)
		return vq_fail(VQ_EFORMAT, "%s: is empty", f->path);
	return name ? vq_fail(VQ_EFORMAT, "%s: neither TIFF nor PNG but %s", f->path, name)
	            : vq_fail(VQ_EFORMAT, "%s: neither TIFF nor PNG", f->path);
}

vq_status vq_image_open(vq_image_file **out, const char *path, const vq_image_limits *limits)
{
	*out = NULL;
	vq_image_file *f = vq_calloc(1, sizeof *f);
	if (!f)
		return VQ_ENOMEM;
	if (limits)
		f->limits = *limits;
	if (!f->limits.page_bytes)
		f->limits.page_bytes = (uint64_t)4 << 30;
	bool tiff = false;
	vq_status s = (f->path = vq_strdup(path)) ? VQ_OK : VQ_ENOMEM;
	int fd = s == VQ_OK ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (s == VQ_OK)
		s = look(f, fd, &tiff);
	if (s == VQ_OK)
		s = tiff ? vq_tiff_open(f, fd) : vq_png_open(f, fd);
	if (fd >= 0 && !f->tiff)
		close(fd);
	if (s < 0) {
		vq_image_close(f);
		return s;
	}
	*out = f;
	return VQ_OK;
}

void vq_image_close(vq_image_file *f)
{
	if (!f)
		return;
	vq_tiff_close(f->tiff);
	vq_png_close(f->png);
	vq_image_free_axes(f);
	free(f->warning);
	free(f->path);
	free(f);
}

const char *vq_image_path(const vq_image_file *f) { return f->path; }
int vq_image_pages(const vq_image_file *f) { return f->pages; }
const char *vq_image_description(const vq_image_file *f) { return f->tiff ? vq_tiff_description(f->tiff) : NULL; }
const char *vq_image_warning(const vq_image_file *f) { return f->tiff ? vq_tiff_warning(f->tiff) : f->warning; }

vq_status vq_image_page(vq_image_file *f, int page, vq_page *out)
{
	if (f->tiff)
		return vq_tiff_page(f, page, out);
	if (page)
		return vq_fail(VQ_EINVAL, "%s: page %d is asked for, a PNG has one", f->path, page + 1);
	return vq_png_page(f, out);
}

vq_status vq_image_room(const vq_image_file *f, const vq_page *p)
{
	size_t n;
	vq_status s = vq_mul((size_t)p->width, (size_t)p->height, &n);
	if (s == VQ_OK)
		s = vq_mul(n, (size_t)p->samples * vq_dtype_size(p->dtype), &n);
	if (s < 0 || n > f->limits.page_bytes)
		return vq_fail(VQ_ELIMIT, "%s: %lld x %lld pixels of %d samples are more than the %llu MiB allowed", f->path, (long long)p->width,
		               (long long)p->height, p->samples, (unsigned long long)(f->limits.page_bytes >> 20));
	return VQ_OK;
}

vq_status vq_image_read(vq_image_file *f, int page, vq_tensor *out)
{
	vq_page p;
	*out = (vq_tensor){0};
	VQ_TRY(vq_image_page(f, page, &p));
	return f->tiff ? vq_tiff_read(f, page, false, out) : vq_png_read(f, out);
}
