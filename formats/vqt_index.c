/* The index frame at the end of a segment: which frame holds which records. */
#include <stdlib.h>
#include <string.h>

#include "formats/vqt_int.h"
#include "formats/xxh64.h"

enum { INDEX_HEAD = 16, INDEX_ROW = 16 }; /* after the 8 bytes of the skippable frame's own head */
static const char index_magic[8] = "VQTINDEX";

vq_status vqt_places_add(vqt_places *p, uint64_t offset, uint64_t first)
{
	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap + p->cap / 2 : 64;
		vqt_place *more = vq_realloc(p->v, cap * sizeof *more);
		if (!more)
			return VQ_ENOMEM;
		p->v = more;
		p->cap = cap;
	}
	p->v[p->n++] = (vqt_place){ offset, first };
	return VQ_OK;
}

size_t vqt_places_find(const vqt_places *p, uint64_t record)
{
	size_t lo = 0, hi = p->n;
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;
		if (p->v[mid].first <= record)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

uint32_t vqt_index_bytes(size_t places)
{
	uint64_t n = 8 + INDEX_HEAD + (uint64_t)places * INDEX_ROW + VQT_INDEX_TAIL;
	return n <= UINT32_MAX ? (uint32_t)n : 0;
}

vq_status vqt_index_pack(vq_buf *out, const vqt_places *p, uint64_t records, uint64_t end, uint64_t end_bytes)
{
	uint32_t bytes = vqt_index_bytes(p->n);
	if (!bytes)
		return VQ_OK;
	VQ_TRY(vq_buf_reserve(out, bytes));
	unsigned char *b = (unsigned char *)out->data + out->len, *payload = b + 8, *row = payload + INDEX_HEAD;
	memset(b, 0, bytes);
	vqt_put_u32(b, VQT_INDEX_MAGIC);
	vqt_put_u32(b + 4, bytes - 8);
	memcpy(payload, "VQTI", 4);
	payload[4] = VQT_MAJOR;
	payload[6] = VQT_MINOR;
	vqt_put_u64(payload + 8, p->n);
	for (size_t i = 0; i < p->n; i++, row += INDEX_ROW) {
		vqt_put_u64(row, p->v[i].offset);
		vqt_put_u64(row + 8, p->v[i].first);
	}
	vqt_put_u64(row, end);
	vqt_put_u64(row + 8, records);
	vqt_put_u64(row + 16, end + end_bytes + bytes);
	vqt_put_u64(row + 24, bytes);
	vqt_put_u64(row + 32, vq_xxh64_of(payload, (size_t)(row + 32 - payload), 0));
	memcpy(row + 40, index_magic, sizeof index_magic);
	out->len += bytes;
	return VQ_OK;
}

bool vqt_index_tail_parse(vqt_index_tail *t, const unsigned char tail[VQT_INDEX_TAIL])
{
	*t = (vqt_index_tail){ .end = vqt_u64(tail), .records = vqt_u64(tail + 8), .segment = vqt_u64(tail + 16),
		.bytes = vqt_u64(tail + 24), .check = vqt_u64(tail + 32) };
	return !memcmp(tail + 40, index_magic, sizeof index_magic) && t->bytes >= 8 + INDEX_HEAD + VQT_INDEX_TAIL &&
		t->bytes <= UINT32_MAX && t->segment > t->bytes && t->end < t->segment - t->bytes;
}

vq_status vqt_index_parse(vqt_places *p, const vqt_index_tail *t, const unsigned char *b, uint64_t start, uint64_t base)
{
	uint64_t payload = t->bytes - 8, rows = (payload - INDEX_HEAD - VQT_INDEX_TAIL) / INDEX_ROW;
	const unsigned char *row = b + 8 + INDEX_HEAD;
	bool ok = vqt_u32(b) == VQT_INDEX_MAGIC && vqt_u32(b + 4) == payload && !memcmp(b + 8, "VQTI", 4) && b[12] == VQT_MAJOR && !b[13] &&
		vqt_u64(b + 16) == rows && (rows == 0) == (t->records == 0) && vq_xxh64_of(b + 8, (size_t)payload - 16, 0) == t->check;
	for (uint64_t i = 0, last = 0; ok && i < rows; i++, row += INDEX_ROW) {
		uint64_t offset = vqt_u64(row), first = vqt_u64(row + 8);
		ok = offset < t->end && offset > last && first < t->records && (i ? first > vqt_u64(row - 8) : first == 0);
		last = offset;
		if (ok)
			VQ_TRY(vqt_places_add(p, start + offset, base + first));
	}
	return ok ? VQ_OK : vq_fail(VQ_EFORMAT, "the index is damaged");
}
