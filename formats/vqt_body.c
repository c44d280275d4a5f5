/* A record or header from a source, with every size checked before memory is taken. */
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "formats/vqt_int.h"
#include "formats/xxh64.h"

/* A body that is being read: what is left of it, and the checksum so far. */
typedef struct { vqt_source *s; uint64_t left; vq_xxh64 hash; } body;

static vq_status take(body *b, void *to, size_t n)
{
	size_t got;
	if (n > b->left)
		return vq_fail(VQ_EFORMAT, "parts that exceed their block");
	VQ_TRY(vqt_source_read(b->s, to, n, &got));
	if (got < n)
		return vq_fail(VQ_ETRUNC, "ends inside a block");
	vq_xxh64_add(&b->hash, to, n);
	b->left -= n;
	return VQ_OK;
}

static vq_status take_padding(body *b, uint64_t done)
{
	unsigned char zeros[VQT_BLOCK];
	size_t n = (size_t)(VQT_ALIGNED(done) - done);
	VQ_TRY(take(b, zeros, n));
	for (size_t i = 0; i < n; i++)
		if (zeros[i])
			return vq_fail(VQ_EFORMAT, "padding that is not zero");
	return VQ_OK;
}

/* Memory grows with what has arrived, so that a size that is a lie costs little. */
static vq_status take_tensor(body *b, vq_tensor *t)
{
	enum { STEP = 4 << 20 };
	size_t bytes, have = 0;
	VQ_TRY(vq_tensor_bytes(t, &bytes));
	if (bytes > b->left)
		return vq_fail(VQ_EFORMAT, "a tensor that exceeds its block");
	size_t room = VQ_MIN(bytes, (size_t)STEP);
	t->owned = true;
	if (!(t->data = vq_aligned(room)))
		return VQ_ENOMEM;
	for (;;) {
		VQ_TRY(take(b, (char *)t->data + have, room - have));
		have = room;
		if (have == bytes)
			return take_padding(b, bytes);
		room = room > bytes / 2 ? bytes : room * 2;
		void *more = vq_aligned(room);
		if (!more)
			return VQ_ENOMEM;
		memcpy(more, t->data, have);
		free(t->data);
		t->data = more;
	}
}

static vq_status parse_json(const char *text, size_t n, const char *keys, cJSON **json)
{
	const char *end = NULL;
	if (keys && (*json = vq_json_parse_some(text, n, keys)))
		return VQ_OK;
	if (memchr(text, 0, n) || !(*json = cJSON_ParseWithLengthOpts(text, n + 1, &end, 1)) || !cJSON_IsObject(*json))
		return vq_fail(VQ_EFORMAT, "metadata that is not a JSON object");
	return VQ_OK;
}

enum { FRONT_KEPT = 1 << 20 };

/* What stands before the tensors, padding included, in the source's own memory: table, id and metadata, with a 0 behind it all. */
static vq_status take_front(body *b, const vqt_head *h, const char **front)
{
	uint64_t text = VQT_BLOCK + (uint64_t)h->tensors * VQT_ROW + h->id_size + h->meta_size;
	size_t n = (size_t)(VQT_ALIGNED(text) - VQT_BLOCK);
	vq_buf *room = vqt_source_room(b->s);
	if (room->cap > FRONT_KEPT)
		vq_buf_free(room);
	VQ_TRY(vq_buf_reserve(room, n));
	VQ_TRY(take(b, room->data, n));
	room->data[n] = 0;
	for (size_t i = (size_t)(text - VQT_BLOCK); i < n; i++)
		if (room->data[i])
			return vq_fail(VQ_EFORMAT, "padding that is not zero");
	*front = room->data;
	return VQ_OK;
}

static vq_status finish(const body *b, const vqt_head *h)
{
	if (b->left)
		return vq_fail(VQ_EFORMAT, "a block that is longer than its parts");
	return vq_xxh64_value(&b->hash) == h->check ? VQ_OK : vq_fail(VQ_EFORMAT, "its checksum does not match");
}

static body begin(vqt_source *s, const vqt_head *h)
{
	body b = { .s = s, .left = h->size - VQT_BLOCK };
	vq_xxh64_init(&b.hash, 0);
	return b;
}

static vq_status parse_table(const char *rows, const vqt_head *h, vqt_record *rec)
{
	if (h->tensors && !(rec->entry = vq_calloc(h->tensors, sizeof *rec->entry)))
		return VQ_ENOMEM;
	for (uint32_t i = 0; i < h->tensors; i++) {
		VQ_TRY(vqt_row_parse(&rec->entry[i], (const unsigned char *)rows + (size_t)i * VQT_ROW));
		rec->n = (int)i + 1;
		for (uint32_t j = 0; j < i; j++)
			if (!strcmp(rec->entry[i].name, rec->entry[j].name))
				return vq_fail(VQ_EFORMAT, "two tensors named \"%s\"", rec->entry[i].name);
	}
	return VQ_OK;
}

static vq_status parse_front(const char *front, const vqt_head *h, const char *keys, vqt_record *rec)
{
	const char *id = front + (size_t)h->tensors * VQT_ROW;
	VQ_TRY(parse_table(front, h, rec));
	if (vqt_check_id(id, h->id_size) < 0)
		return vq_fail(VQ_EFORMAT, "an id that cannot be");
	if (!(rec->id = vq_strndup(id, h->id_size)))
		return VQ_ENOMEM;
	return parse_json(id + h->id_size, h->meta_size, keys, &rec->meta);
}

vq_status vqt_read_body(vqt_source *s, const vqt_head *h, const char *keys, vqt_record *rec)
{
	body b = begin(s, h);
	const char *front;
	vq_status st;
	*rec = (vqt_record){0};
	VQ_TRY(take_front(&b, h, &front));
	VQ_TRY_GOTO(st, parse_front(front, h, keys, rec), fail);
	for (int i = 0; i < rec->n; i++)
		VQ_TRY_GOTO(st, take_tensor(&b, &rec->entry[i].t), fail);
	VQ_TRY_GOTO(st, finish(&b, h), fail);
	return VQ_OK;
fail:
	vqt_record_free(rec);
	return st;
}

vq_status vqt_read_header(vqt_source *s, const vqt_head *h, cJSON **json)
{
	body b = begin(s, h);
	const char *front;
	*json = NULL;
	vq_status st = take_front(&b, h, &front);
	if (st == VQ_OK)
		st = parse_json(front, h->meta_size, NULL, json);
	if (st == VQ_OK)
		st = finish(&b, h);
	if (st == VQ_OK)
		st = vqt_check_header(*json);
	if (st < 0) {
		cJSON_Delete(*json);
		*json = NULL;
	}
	return st;
}

int vqt_read_head(vqt_source *s, vqt_head *h)
{
	unsigned char bytes[VQT_BLOCK];
	size_t got;
	VQ_TRY(vqt_source_read(s, bytes, sizeof bytes, &got));
	if (!got)
		return 0;
	if (got < sizeof bytes)
		return vq_fail(VQ_ETRUNC, "ends inside a block");
	VQ_TRY(vqt_head_parse(h, bytes));
	return 1;
}
