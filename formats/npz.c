/* A zip archive is made front to back: each entry with its sizes known, the directory kept in a temporary file until the end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "formats/npy.h"
#include "formats/npy_bytes.h"
#include "formats/outfile.h"

struct vq_npz {
	vq_out *out;
	FILE *f, *directory;
	uint64_t at, entries; /* bytes written, files */
	z_stream deflater;    /* used again and again */
	bool deflating;
};

enum { STORED = 0, DEFLATED = 8, UTF8 = 0x800, NAME_MAX_BYTES = 65000 };

static void le(unsigned char **p, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		*(*p)++ = (unsigned char)(v >> (8 * i));
}

static vq_status emit(vq_npz *z, const void *data, size_t n)
{
	errno = 0;
	if (n && fwrite(data, 1, n, z->f) != n)
		return vq_fail(VQ_EIO, "%s: %s", vq_out_name(z->out), strerror(errno ? errno : EIO));
	z->at += n;
	return VQ_OK;
}

vq_status vq_npz_open(vq_npz **out, const char *path)
{
	vq_npz *z = *out = vq_calloc(1, sizeof *z);
	if (!z)
		return VQ_ENOMEM;
	vq_status s = vq_out_open(&z->out, path, VQ_OUT_BINARY);
	if (s == VQ_OK && !(z->directory = tmpfile()))
		s = vq_fail(VQ_EIO, "%s: no temporary file for its directory: %s", vq_out_name(z->out), strerror(errno));
	if (s < 0) {
		vq_npz_abort(z);
		*out = NULL;
		return s;
	}
	z->f = vq_out_file(z->out);
	return VQ_OK;
}

static void let_go(vq_npz *z)
{
	if (z->directory)
		fclose(z->directory);
	if (z->deflating)
		deflateEnd(&z->deflater);
	free(z);
}

void vq_npz_abort(vq_npz *z)
{
	if (!z)
		return;
	vq_out_abort(z->out);
	let_go(z);
}

typedef struct { const char *name; size_t name_len; uint32_t crc; uint64_t size, packed, offset; int method; } entry;

/* Local or central header. No time: the same arrays give the same bytes (1 January 1980, zip's zero). */
static size_t header(const entry *e, bool central, unsigned char out[128], size_t *extra_len, unsigned char extra[32])
{
	bool ascii = true;
	for (size_t i = 0; i < e->name_len; i++)
		ascii &= (unsigned char)e->name[i] < 128;
	bool big = e->size >= UINT32_MAX || e->packed >= UINT32_MAX, far = central && e->offset >= UINT32_MAX;
	unsigned char *p = extra;
	if (big || far) {
		le(&p, 1, 2);
		le(&p, (big ? 16u : 0u) + (far ? 8u : 0u), 2);
		if (big)
			le(&p, e->size, 8), le(&p, e->packed, 8);
		if (far)
			le(&p, e->offset, 8);
	}
	*extra_len = (size_t)(p - extra);
	p = out;
	le(&p, central ? 0x02014b50 : 0x04034b50, 4);
	if (central)
		le(&p, 3 << 8 | 45, 2); /* made on Unix */
	le(&p, big || far ? 45 : 20, 2);
	le(&p, ascii ? 0 : UTF8, 2);
	le(&p, (uint64_t)e->method, 2);
	le(&p, 0, 2);
	le(&p, 1 << 5 | 1, 2);
	le(&p, e->crc, 4);
	le(&p, big ? UINT32_MAX : e->packed, 4);
	le(&p, big ? UINT32_MAX : e->size, 4);
	le(&p, e->name_len, 2);
	le(&p, *extra_len, 2);
	if (central) {
		le(&p, 0, 6); /* comment, disk, text or not */
		le(&p, (uint64_t)0100644 << 16, 4);
		le(&p, far ? UINT32_MAX : e->offset, 4);
	}
	return (size_t)(p - out);
}

static vq_status write_entry(vq_npz *z, entry *e, const void *head, size_t head_len, const void *data)
{
	unsigned char h[128], extra[32];
	size_t extra_len, n = header(e, false, h, &extra_len, extra);
	e->offset = z->at;
	VQ_TRY(emit(z, h, n));
	VQ_TRY(emit(z, e->name, e->name_len));
	VQ_TRY(emit(z, extra, extra_len));
	VQ_TRY(emit(z, head, head_len));
	VQ_TRY(emit(z, data, e->packed - head_len));
	n = header(e, true, h, &extra_len, extra);
	if (fwrite(h, 1, n, z->directory) != n || fwrite(e->name, 1, e->name_len, z->directory) != e->name_len
	    || fwrite(extra, 1, extra_len, z->directory) != extra_len)
		return vq_fail(VQ_EIO, "%s: its temporary directory: %s", vq_out_name(z->out), strerror(errno));
	z->entries++;
	return VQ_OK;
}

/* Header and data through raw deflate. *out stays NULL when that gains nothing. */
static vq_status squeeze(vq_npz *z, const vq_buf *head, const void *data, size_t bytes, unsigned char **out, size_t *packed)
{
	z_stream *s = &z->deflater;
	*out = NULL;
	if (bytes < 64 || bytes > 1u << 30)
		return VQ_OK;
	if (z->deflating ? deflateReset(s) != Z_OK : deflateInit2(s, 1, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		return vq_fail(VQ_ENOMEM, "out of memory for deflate");
	z->deflating = true;
	size_t room = deflateBound(s, head->len + bytes);
	unsigned char *to = vq_malloc(room);
	if (!to)
		return VQ_ENOMEM;
	s->next_out = to;
	s->avail_out = (uInt)room;
	s->next_in = (Bytef *)(void *)head->data;
	s->avail_in = (uInt)head->len;
	int r = deflate(s, Z_NO_FLUSH);
	s->next_in = (Bytef *)(uintptr_t)data;
	s->avail_in = (uInt)bytes;
	if (r == Z_OK)
		r = deflate(s, Z_FINISH);
	*packed = room - s->avail_out;
	if (r != Z_STREAM_END || *packed >= head->len + bytes) {
		free(to);
		return VQ_OK;
	}
	*out = to;
	return VQ_OK;
}

static uint32_t checksum(const vq_buf *head, const unsigned char *data, size_t bytes)
{
	uLong crc = crc32(crc32(0, NULL, 0), (const Bytef *)head->data, (uInt)head->len);
	for (size_t i = 0; i < bytes; i += 1u << 30)
		crc = crc32(crc, data + i, (uInt)VQ_MIN(bytes - i, (size_t)1 << 30));
	return (uint32_t)crc;
}

static vq_status put_array(vq_npz *z, const char *name, const vq_tensor *t)
{
	vq_buf head = {0};
	size_t bytes = 0, packed = 0;
	unsigned char *small = NULL;
	bool whole = t->dtype != VQ_F16 && t->dtype != VQ_F32 && t->dtype != VQ_F64;
	entry e = { .name = name, .name_len = strlen(name), .method = STORED };
	vq_status s = vq_tensor_bytes(t, &bytes);
	if (s == VQ_OK)
		s = vq_npy_header(&head, t->dtype, t->ndim, t->shape, 0);
	if (s == VQ_OK && whole)
		s = squeeze(z, &head, t->data, bytes, &small, &packed);
	if (s == VQ_OK) {
		e.crc = checksum(&head, t->data, bytes);
		e.size = e.packed = head.len + bytes;
		if (small)
			e.packed = packed, e.method = DEFLATED;
		s = small ? write_entry(z, &e, NULL, 0, small) : write_entry(z, &e, head.data, head.len, t->data);
	}
	free(small);
	vq_buf_free(&head);
	return s;
}

vq_status vq_npz_put(vq_npz *z, const char *name, const vq_tensor *t)
{
	vq_tensor wide;
	if (!*name || strlen(name) > NAME_MAX_BYTES)
		return vq_fail(VQ_EINVAL, "%s: a name of %zu bytes", vq_out_name(z->out), strlen(name));
	char *full = vq_format("%s.npy", name);
	if (!full)
		return VQ_ENOMEM;
	vq_status s = vq_npy_plain(t, &wide);
	if (s == VQ_OK)
		s = put_array(z, full, wide.data ? &wide : t);
	vq_tensor_free(&wide);
	free(full);
	return s;
}

static vq_status copy_directory(vq_npz *z)
{
	char buf[1 << 16];
	size_t n;
	errno = 0;
	if (fflush(z->directory) || fseeko(z->directory, 0, SEEK_SET))
		return vq_fail(VQ_EIO, "%s: its temporary directory: %s", vq_out_name(z->out), strerror(errno));
	while ((n = fread(buf, 1, sizeof buf, z->directory)) > 0)
		VQ_TRY(emit(z, buf, n));
	return ferror(z->directory) ? vq_fail(VQ_EIO, "%s: its temporary directory cannot be read", vq_out_name(z->out)) : VQ_OK;
}

static vq_status end_of_archive(vq_npz *z, uint64_t begin)
{
	unsigned char out[128], *p = out;
	uint64_t size = z->at - begin, here = z->at;
	if (z->entries >= 0xffff || begin >= UINT32_MAX || size >= UINT32_MAX) {
		le(&p, 0x06064b50, 4);
		le(&p, 44, 8);
		le(&p, 3 << 8 | 45, 2);
		le(&p, 45, 2);
		le(&p, 0, 8);
		le(&p, z->entries, 8);
		le(&p, z->entries, 8);
		le(&p, size, 8);
		le(&p, begin, 8);
		le(&p, 0x07064b50, 4);
		le(&p, 0, 4);
		le(&p, here, 8);
		le(&p, 1, 4);
	}
	le(&p, 0x06054b50, 4);
	le(&p, 0, 4);
	le(&p, VQ_MIN(z->entries, 0xffff), 2);
	le(&p, VQ_MIN(z->entries, 0xffff), 2);
	le(&p, VQ_MIN(size, UINT32_MAX), 4);
	le(&p, VQ_MIN(begin, UINT32_MAX), 4);
	le(&p, 0, 2);
	return emit(z, out, (size_t)(p - out));
}

vq_status vq_npz_commit(vq_npz *z)
{
	uint64_t begin = z->at;
	vq_status s = copy_directory(z);
	if (s == VQ_OK)
		s = end_of_archive(z, begin);
	if (s < 0) {
		vq_npz_abort(z);
		return s;
	}
	s = vq_out_commit(z->out);
	let_go(z);
	return s;
}
