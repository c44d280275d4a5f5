#include "formats/npy_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/outfile.h"

enum { LIMIT = 1 << 30 };

typedef struct { vq_dtype dtype; bool swap, fortran; int64_t h, w; } npy_header;

static const struct { const char *name; vq_dtype dtype; } types[] = {
	{ "u1", VQ_U8 }, { "i1", VQ_I8 }, { "u2", VQ_U16 }, { "i4", VQ_I32 }, { "i8", VQ_I64 }, { "f2", VQ_F16 }, { "f4", VQ_F32 }, { "f8", VQ_F64 },
};

/* What follows 'key': in the header's dictionary, or NULL. */
static const char *value_of(const char *text, const char *key)
{
	const char *p = strstr(text, key);
	p = p ? strchr(p + strlen(key), ':') : NULL;
	return p ? p + 1 + strspn(p + 1, " ") : NULL;
}

static vq_status parse(const char *path, const char *text, npy_header *out)
{
	const char *type = value_of(text, "'descr'"), *order = value_of(text, "'fortran_order'"), *shape = value_of(text, "'shape'");
	long long h, w;
	char end;
	if (!type || !order || !shape)
		return vq_fail(VQ_EFORMAT, "%s: a .npy header without descr, fortran_order or shape", path);
	if (sscanf(shape, "(%lld, %lld%c", &h, &w, &end) != 3 || end != ')' || h <= 0 || w <= 0)
		return vq_fail(VQ_EUNSUP, "%s: shape %.40s, where one plane (height, width) is wanted", path, shape);
	out->fortran = !strncmp(order, "True", 4);
	out->h = h;
	out->w = w;
	for (size_t i = 0; i < VQ_COUNT(types); i++)
		if (type[0] == '\'' && type[1] && strchr("<>|=", type[1]) && !strncmp(type + 2, types[i].name, 2) && type[4] == '\'') {
			out->swap = type[1] == '>';
			out->dtype = types[i].dtype;
			return VQ_OK;
		}
	return vq_fail(VQ_EUNSUP, "%s: type %.20s, where a plain number is wanted", path, type);
}

/* The header's text and where the data begins. */
static vq_status find_header(const char *path, const vq_buf *file, char **text, size_t *data)
{
	const unsigned char *p = (const unsigned char *)file->data;
	if (file->len < 12 || memcmp(p, "\x93NUMPY", 6))
		return vq_fail(VQ_EFORMAT, "%s: not a .npy file", path);
	size_t from = p[6] == 1 ? 10 : 12, n = (size_t)p[8] | (size_t)p[9] << 8;
	if (p[6] > 1)
		n |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
	if (n > file->len - from)
		return vq_fail(VQ_ETRUNC, "%s: ends inside its header", path);
	*data = from + n;
	*text = vq_strndup(file->data + from, n);
	return *text ? VQ_OK : VQ_ENOMEM;
}

static void swap_bytes(unsigned char *p, size_t n, size_t size)
{
	for (size_t i = 0; i < n; i++, p += size)
		for (size_t k = 0; k < size / 2; k++) {
			unsigned char t = p[k];
			p[k] = p[size - 1 - k];
			p[size - 1 - k] = t;
		}
}

static vq_status read_plane(const char *path, const vq_buf *file, const npy_header *head, size_t data, vq_tensor *out)
{
	const int64_t shape[2] = { head->h, head->w };
	vq_tensor raw = { .dtype = head->dtype, .ndim = 2, .shape = { head->h, head->w } }, f32 = { 0 };
	size_t n, bytes;
	vq_status s;
	VQ_TRY(vq_tensor_count(&raw, &n));
	VQ_TRY(vq_tensor_bytes(&raw, &bytes));
	if (bytes > file->len - data)
		return vq_fail(VQ_ETRUNC, "%s: ends before its %lldx%lld values", path, (long long)head->h, (long long)head->w);
	VQ_TRY(vq_tensor_make(&raw, head->dtype, 2, shape));
	memcpy(raw.data, file->data + data, bytes);
	if (head->swap)
		swap_bytes(raw.data, n, vq_dtype_size(head->dtype));
	VQ_TRY_GOTO(s, vq_tensor_to_f32(&f32, &raw), done);
	if (!head->fortran) {
		*out = f32;
		f32 = (vq_tensor){ 0 };
		goto done;
	}
	VQ_TRY_GOTO(s, vq_tensor_make(out, VQ_F32, 2, shape), done);
	for (int64_t y = 0; y < head->h; y++)
		for (int64_t x = 0; x < head->w; x++)
			((float *)out->data)[y * head->w + x] = ((float *)f32.data)[x * head->h + y];
done:
	vq_tensor_free(&raw);
	vq_tensor_free(&f32);
	return s;
}

vq_status vq_npy_plane(const char *path, vq_tensor *out)
{
	vq_buf file = { 0 };
	npy_header head = { 0 };
	char *text = NULL;
	size_t data = 0;
	*out = (vq_tensor){ 0 };
	vq_status s = vq_file_read(path, LIMIT, &file);
	if (s == VQ_OK)
		s = find_header(path, &file, &text, &data);
	if (s == VQ_OK)
		s = parse(path, text, &head);
	if (s == VQ_OK)
		s = read_plane(path, &file, &head, data, out);
	free(text);
	vq_buf_free(&file);
	return s;
}
