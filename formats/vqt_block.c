/* Blocks of the plain stream: heads, and the bytes of a record. man/vqt.5 says the same in words. */
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "formats/vqt_int.h"
#include "formats/xxh64.h"

void vqt_head_pack(const vqt_head *h, unsigned char out[VQT_BLOCK])
{
	memset(out, 0, VQT_BLOCK);
	memcpy(out, "VQT", 3);
	out[3] = (unsigned char)h->kind;
	out[4] = (unsigned char)h->major;
	out[6] = (unsigned char)h->minor;
	vqt_put_u64(out + 8, h->size);
	vqt_put_u64(out + 16, h->at);
	vqt_put_u64(out + 24, h->number);
	vqt_put_u32(out + 32, h->id_size);
	vqt_put_u32(out + 36, h->meta_size);
	vqt_put_u32(out + 40, h->tensors);
	vqt_put_u32(out + 44, h->index);
	vqt_put_u64(out + 48, h->check);
	vqt_put_u64(out + 56, vq_xxh64_of(out, 56, 0));
}

static vq_status check_sizes(const vqt_head *h)
{
	uint64_t least = VQT_BLOCK + (uint64_t)h->tensors * VQT_ROW + h->id_size + h->meta_size;
	if (h->size % VQT_BLOCK || h->size < VQT_ALIGNED(least))
		return vq_fail(VQ_EFORMAT, "a block of %llu bytes cannot be", (unsigned long long)h->size);
	if (h->tensors > VQT_TENSORS_MAX)
		return vq_fail(VQ_ELIMIT, "%u tensors in a record (%d are possible)", h->tensors, VQT_TENSORS_MAX);
	if (h->meta_size > VQT_META_MAX)
		return vq_fail(VQ_ELIMIT, "%u bytes of metadata (%d are possible)", h->meta_size, VQT_META_MAX);
	bool record = h->kind == 'R', end = h->kind == 'E';
	if (h->id_size > VQT_ID_MAX || record != (h->id_size > 0))
		return vq_fail(VQ_EFORMAT, "an id of %u bytes (1 to %d are possible)", h->id_size, VQT_ID_MAX);
	if ((!record && (h->tensors || h->size != VQT_ALIGNED(least))) || end != (h->meta_size == 0))
		return vq_fail(VQ_EFORMAT, "a block with parts that it cannot have");
	return VQ_OK;
}

vq_status vqt_head_parse(vqt_head *h, const unsigned char in[VQT_BLOCK])
{
	*h = (vqt_head){ .kind = (char)in[3], .major = in[4] | in[5] << 8, .minor = in[6] | in[7] << 8,
		.size = vqt_u64(in + 8), .at = vqt_u64(in + 16), .number = vqt_u64(in + 24), .id_size = vqt_u32(in + 32),
		.meta_size = vqt_u32(in + 36), .tensors = vqt_u32(in + 40), .index = vqt_u32(in + 44), .check = vqt_u64(in + 48) };
	if (memcmp(in, "VQT", 3) || !h->kind || !strchr("HRE", h->kind))
		return vq_fail(VQ_EFORMAT, "no block begins here");
	if (h->kind == 'H' && h->major > VQT_MAJOR)
		return vq_fail(VQ_EUNSUP, "the stream has format version %d.%d; this program reads up to %d.x: a newer vq is needed",
			h->major, h->minor, VQT_MAJOR);
	if (vqt_u64(in + 56) != vq_xxh64_of(in, 56, 0))
		return vq_fail(VQ_EFORMAT, "the head of a block is damaged (checksum)");
	if (h->major != VQT_MAJOR)
		return vq_fail(VQ_EFORMAT, "a block of version %d.%d", h->major, h->minor);
	return check_sizes(h);
}

const char *vqt_short(const char *id, char buf[208])
{
	size_t n = strlen(id);
	if (n <= 200)
		return memcpy(buf, id, n + 1);
	for (n = 197; n && ((unsigned char)id[n] & 0xc0) == 0x80; n--)
		;
	memcpy(buf, id, n);
	memcpy(buf + n, "...", 4);
	return buf;
}

/* Bytes of the well-formed UTF-8 character at p that is no control character, or 0. */
static size_t character(const unsigned char *p, size_t left)
{
	static const uint32_t least[] = { 0, 0x20, 0x80, 0x800, 0x10000 };
	size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
	if (!n || n > left)
		return 0;
	uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	bool control = c == 0x7f || (c >= 0x80 && c < 0xa0) || c == 0x2028 || c == 0x2029;
	return c < least[n] || control || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff ? 0 : n;
}

vq_status vqt_check_id(const char *id, size_t n)
{
	if (n < 1 || n > VQT_ID_MAX)
		return vq_fail(VQ_EINVAL, "an id of %zu bytes (1 to %d are possible)", n, VQT_ID_MAX);
	for (size_t i = 0, step; i < n; i += step)
		if (!(step = character((const unsigned char *)id + i, n - i)))
			return vq_fail(VQ_EINVAL, "an id with a control character or broken UTF-8 (byte %zu of it)", i);
	return VQ_OK;
}

vq_status vqt_check_name(const char *name)
{
	size_t n = strlen(name);
	bool ok = n >= 1 && n <= VQT_NAME_MAX;
	for (size_t i = 0; ok && i < n; i++)
		ok = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
			(name[i] >= '0' && name[i] <= '9') || strchr("._-", name[i]);
	return ok ? VQ_OK : vq_fail(VQ_EINVAL, "a tensor's name must be 1 to %d of the characters A-Z a-z 0-9 . _ -", VQT_NAME_MAX);
}

static void pack_row(const vqt_entry *e, unsigned char *row)
{
	memset(row, 0, VQT_ROW);
	memcpy(row, e->name, strlen(e->name));
	memcpy(row + 64, vq_dtype_name(e->t.dtype), strlen(vq_dtype_name(e->t.dtype)));
	vqt_put_u32(row + 72, (uint32_t)e->t.ndim);
	for (int i = 0; i < e->t.ndim; i++)
		vqt_put_u64(row + 80 + 8 * i, (uint64_t)e->t.shape[i]);
}

vq_status vqt_row_parse(vqt_entry *e, const unsigned char row[VQT_ROW])
{
	char type[9] = "";
	*e = (vqt_entry){0};
	memcpy(e->name, row, VQT_NAME_MAX);
	if (row[VQT_NAME_MAX] || vqt_check_name(e->name) < 0)
		return vq_fail(VQ_EFORMAT, "a tensor whose name cannot be");
	memcpy(type, row + 64, 8);
	int dtype = vq_dtype_parse(type);
	if (dtype < 0)
		return vq_fail(VQ_EFORMAT, "tensor \"%s\" has a type that is not known", e->name);
	uint32_t ndim = vqt_u32(row + 72);
	if (ndim > VQ_MAX_DIMS)
		return vq_fail(VQ_EFORMAT, "tensor \"%s\" has %u dimensions (0 to %d are possible)", e->name, ndim, VQ_MAX_DIMS);
	e->t.dtype = (vq_dtype)dtype;
	e->t.ndim = (int)ndim;
	for (uint32_t i = 0; i < ndim; i++)
		e->t.shape[i] = (int64_t)vqt_u64(row + 80 + 8 * i);
	size_t bytes;
	vq_status s = vq_tensor_bytes(&e->t, &bytes);
	return s < 0 ? vq_context(VQ_EFORMAT, "tensor \"%s\"", e->name) : VQ_OK;
}

static vq_status pad(vq_buf *out, size_t from)
{
	static const char zeros[VQT_BLOCK];
	size_t n = out->len - from;
	return vq_buf_add(out, zeros, (size_t)(VQT_ALIGNED(n) - n));
}

/* Bytes of the whole block; names the tensor that cannot be written. */
static vq_status record_size(const vqt_record *r, size_t text, uint64_t limit, uint64_t *size)
{
	uint64_t total = VQT_ALIGNED(VQT_BLOCK + (uint64_t)r->n * VQT_ROW + text);
	if (r->n > VQT_TENSORS_MAX)
		return vq_fail(VQ_ELIMIT, "%d tensors (%d are possible)", r->n, VQT_TENSORS_MAX);
	for (int i = 0; i < r->n; i++) {
		size_t bytes;
		VQ_TRY(vqt_check_name(r->entry[i].name));
		for (int j = 0; j < i; j++)
			if (!strcmp(r->entry[i].name, r->entry[j].name))
				return vq_fail(VQ_EINVAL, "two tensors named \"%s\"", r->entry[i].name);
		vq_status s = vq_tensor_bytes(&r->entry[i].t, &bytes);
		if (s < 0)
			return vq_context(s, "tensor \"%s\"", r->entry[i].name);
		if (bytes > limit || total > limit)
			return vq_fail(VQ_ELIMIT, "more than the limit of %llu bytes for a record", (unsigned long long)limit);
		total += VQT_ALIGNED(bytes);
	}
	*size = total;
	return VQ_OK;
}

static vq_status pack_table(vq_buf *out, const vqt_record *r)
{
	for (int i = 0; i < r->n; i++) {
		unsigned char row[VQT_ROW];
		pack_row(&r->entry[i], row);
		VQ_TRY(vq_buf_add(out, row, sizeof row));
	}
	return VQ_OK;
}

static vq_status pack_tensors(vq_buf *out, const vqt_record *r, size_t start)
{
	for (int i = 0; i < r->n; i++) {
		size_t bytes;
		VQ_TRY(vq_tensor_bytes(&r->entry[i].t, &bytes));
		VQ_TRY(vq_buf_add(out, r->entry[i].t.data, bytes));
		VQ_TRY(pad(out, start));
	}
	return VQ_OK;
}

/* The metadata is printed where it stands, so that its length is known only then. */
static vq_status pack(vq_buf *out, vqt_head *h, const vqt_record *r, const char *id, const cJSON *json, const char *text, uint64_t limit)
{
	const size_t start = out->len;
	h->major = VQT_MAJOR;
	h->minor = VQT_MINOR;
	h->id_size = (uint32_t)strlen(id);
	h->tensors = (uint32_t)r->n;
	VQ_TRY(vq_buf_reserve(out, VQT_BLOCK));
	out->len += VQT_BLOCK;
	VQ_TRY(pack_table(out, r));
	VQ_TRY(vq_buf_str(out, id));
	const size_t meta = out->len;
	VQ_TRY(text ? vq_buf_str(out, text) : vq_json_print(out, json));
	if (out->len - meta > VQT_META_MAX)
		return vq_fail(VQ_ELIMIT, "%zu bytes of metadata (%d are possible)", out->len - meta, VQT_META_MAX);
	h->meta_size = (uint32_t)(out->len - meta);
	VQ_TRY(record_size(r, (size_t)h->id_size + h->meta_size, limit, &h->size));
	if (h->size > limit)
		return vq_fail(VQ_ELIMIT, "%llu bytes, more than the limit of %llu for a record",
			(unsigned long long)h->size, (unsigned long long)limit);
	VQ_TRY(vq_buf_reserve(out, (size_t)h->size - (out->len - start)));
	VQ_TRY(pad(out, start));
	VQ_TRY(pack_tensors(out, r, start));
	h->check = vq_xxh64_of(out->data + start + VQT_BLOCK, (size_t)h->size - VQT_BLOCK, 0);
	vqt_head_pack(h, (unsigned char *)out->data + start);
	return VQ_OK;
}

static vq_status pack_whole(vq_buf *out, vqt_head *h, const vqt_record *r, const char *id, const cJSON *json, const char *text, uint64_t limit)
{
	const size_t start = out->len;
	vq_status s = pack(out, h, r, id, json, text, limit);
	if (s < 0)
		out->len = start;
	return s;
}

vq_status vqt_pack_record(vq_buf *out, const vqt_record *rec, const char *meta, uint64_t at, uint64_t number, uint64_t limit)
{
	vqt_head h = { .kind = 'R', .at = at, .number = number };
	if (!rec->id)
		return vq_fail(VQ_EINVAL, "a record without an id");
	VQ_TRY(vqt_check_id(rec->id, strlen(rec->id)));
	if (!meta && !cJSON_IsObject(rec->meta))
		return vq_fail(VQ_EINVAL, "metadata that is not an object");
	return pack_whole(out, &h, rec, rec->id, rec->meta, meta, limit);
}

vq_status vqt_pack_header(vq_buf *out, const cJSON *header)
{
	vqt_head h = { .kind = 'H' };
	VQ_TRY(vqt_check_header(header));
	return pack_whole(out, &h, &(vqt_record){0}, "", header, NULL, VQT_RECORD_BYTES);
}

void vqt_pack_end(unsigned char out[VQT_BLOCK], uint64_t at, uint64_t number, uint32_t index)
{
	vqt_head h = { .kind = 'E', .major = VQT_MAJOR, .minor = VQT_MINOR, .size = VQT_BLOCK, .at = at, .number = number,
		.index = index, .check = vq_xxh64_of("", 0, 0) };
	vqt_head_pack(&h, out);
}
