/* Inside formats/vqt*.c only: blocks of the plain stream, the set of ids, the input, the frames of the output. */
#ifndef VQT_INT_H
#define VQT_INT_H

#include <stdio.h>

#include "formats/vqt.h"

enum {
	VQT_MAJOR = 1, VQT_MINOR = 0,
	VQT_BLOCK = 64,                  /* size of a block's head, and what every part is aligned to */
	VQT_ROW = 128,                   /* a row of the tensor table */
	VQT_FRAME = 64 << 10,            /* records are gathered until a frame holds this much */
	VQT_META_MAX = 16 << 20,         /* JSON text of a record or header */
	VQT_INDEX_TAIL = 48,
	VQT_WINDOW_LOG = 24,             /* frames that need more memory than 2^24 to decode are refused */
	VQT_LEVEL_MAX = 19,
	/* A stored frame: magic, flags (content size in 8 bytes, no checksum), window of 128 KiB, content size; then blocks as they are. */
	VQT_STORED_HEAD = 14, VQT_STORED_FLAGS = 0xC0, VQT_STORED_WINDOW = 7 << 3, VQT_STORED_BLOCK = 128 << 10,
	VQT_PIPE = 1 << 20,              /* what a pipe that we write to may hold: either end then works longer before it waits */
};
#define VQT_RECORD_BYTES ((uint64_t)1 << 30)
#define VQT_INDEX_MAGIC 0x184D2A56u     /* a skippable frame of zstd */
#define VQT_ZSTD_MAGIC 0xFD2FB528u

/* 64-bit n up to the next multiple of 64. */
#define VQT_ALIGNED(n) VQ_ALIGN((uint64_t)(n), (uint64_t)VQT_BLOCK)

static inline uint32_t vqt_u32(const void *p)
{
	const unsigned char *b = p;
	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static inline uint64_t vqt_u64(const void *p) { return vqt_u32(p) | (uint64_t)vqt_u32((const char *)p + 4) << 32; }
static inline void vqt_put_u32(void *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		((unsigned char *)p)[i] = (unsigned char)(v >> 8 * i);
}
static inline void vqt_put_u64(void *p, uint64_t v)
{
	vqt_put_u32(p, (uint32_t)v);
	vqt_put_u32((char *)p + 4, (uint32_t)(v >> 32));
}

/* --- vqt_block.c: blocks ---- */

typedef struct {
	char kind;           /* 'H' header, 'R' record, 'E' end */
	int major, minor;
	uint64_t size;       /* of the block, this head included; a multiple of 64 */
	uint64_t at;         /* where the block begins in the plain bytes of its segment */
	uint64_t number;     /* R: of the record in its segment, from 0; E: records in the segment */
	uint32_t id_size, meta_size, tensors;
	uint32_t index;      /* E: bytes of the index frame that follows, 0 = none */
	uint64_t check;      /* of the bytes after the head */
} vqt_head;

void vqt_head_pack(const vqt_head *h, unsigned char out[VQT_BLOCK]);
/* VQ_EUNSUP: a newer major version; VQ_EFORMAT: no head, or a damaged one. Sizes are checked against each other, not against a limit. */
vq_status vqt_head_parse(vqt_head *h, const unsigned char in[VQT_BLOCK]);

/* Appends the block of a record, or of a header (rec NULL). at and number as in vqt_head; limit on the block's size. meta: NULL, or what
 * stands for rec->meta. */
vq_status vqt_pack_record(vq_buf *out, const vqt_record *rec, const char *meta, uint64_t at, uint64_t number, uint64_t limit);
vq_status vqt_pack_header(vq_buf *out, const cJSON *header);
void vqt_pack_end(unsigned char out[VQT_BLOCK], uint64_t at, uint64_t number, uint32_t index);

vq_status vqt_check_id(const char *id, size_t n);
vq_status vqt_check_name(const char *name);
/* A row of the tensor table into *e (no data yet). */
vq_status vqt_row_parse(vqt_entry *e, const unsigned char row[VQT_ROW]);
/* Both headers agree in kind and channels; else a message that names both. */
vq_status vqt_same_stream(const cJSON *first, const cJSON *other);
vq_status vqt_check_header(const cJSON *header);
/* kind is in the '|'-separated list kinds (NULL: any). */
vq_status vqt_check_kind(const char *kind, const char *kinds);
/* At most 200 bytes of an id, cut between characters, for a message. */
const char *vqt_short(const char *id, char buf[208]);

/* --- vqt_ids.c: which ids have been seen, about 12 bytes an id ---- */

typedef struct { uint64_t *slot; uint32_t n, cap; } vqt_shard;
typedef struct { vqt_shard shard[256]; bool zero; } vqt_ids;
/* 1: new; 0: seen before; < 0: no memory. */
int vqt_ids_add(vqt_ids *s, const char *id);
void vqt_ids_free(vqt_ids *s);

/* --- vqt_source.c: plain bytes out of a file or pipe, compressed or not ---- */

typedef struct vqt_source vqt_source;
vq_status vqt_source_open(vqt_source **s, const char *path); /* NULL or "-": standard input */
void vqt_source_close(vqt_source *s);
const char *vqt_source_name(const vqt_source *s);
/* Up to n plain bytes, fewer only at the end of the input. VQ_EFORMAT: damaged frame; VQ_ETRUNC: the input ends inside a frame. */
vq_status vqt_source_read(vqt_source *s, void *to, size_t n, size_t *got);
/* Finishes the current frame if all its content was read (its checksum is looked at); true at a frame's edge. */
vq_status vqt_source_settle(vqt_source *s, bool *edge);
/* Where the last frame began in the input, and how much has been taken from the input. */
uint64_t vqt_source_frame(const vqt_source *s);
uint64_t vqt_source_offset(const vqt_source *s);
bool vqt_source_plain(const vqt_source *s);
vq_buf *vqt_source_room(vqt_source *s); /* for the reader's use; goes with the source */
/* Waits for a byte or the end of the input. At a frame's edge only. */
vq_status vqt_source_at_end(vqt_source *s, bool *end);
/* Reads past the index of the segment that began at segment, of expect bytes. *wrong: NULL, or what is wrong with it. */
vq_status vqt_source_index(vqt_source *s, uint32_t expect, uint64_t records, uint64_t segment, const char **wrong);
/* Another source on the same open file (a regular one), which must stay open; for reads at any place from several threads. */
vq_status vqt_source_share(vqt_source **s, const vqt_source *with);
void vqt_source_seek(vqt_source *s, uint64_t offset); /* to where a frame (or, plain, a block) begins; of a shared source */
vq_status vqt_source_regular(const vqt_source *s, uint64_t *bytes); /* size of the file; VQ_EINVAL when it is a pipe or the like */
vq_status vqt_source_pread(const vqt_source *s, void *to, size_t n, uint64_t offset); /* raw bytes; VQ_ETRUNC */

/* --- vqt_reader.c: one record from a source; also for random access ---- */

/* Reads the body of the record whose head was read and checks it. keys: as vqt_look_at, or NULL. *rec is empty on failure. */
vq_status vqt_read_body(vqt_source *s, const vqt_head *h, const char *keys, vqt_record *rec);
/* A head: 1, or 0 at the end of the input (only if nothing of it is there), or < 0. */
int vqt_read_head(vqt_source *s, vqt_head *h);
/* JSON of a header block whose head was read; checks it. */
vq_status vqt_read_header(vqt_source *s, const vqt_head *h, cJSON **json);
/* Of the last record: input offset of its frame (plain: of its block), whether it is the first thing there, its number in its segment. */
void vqt_reader_place(const vqt_reader *r, uint64_t *frame, bool *begins, uint64_t *number);

/* --- vqt_index.c: the index frame ---- */

typedef struct { uint64_t offset, first; } vqt_place; /* a frame's offset from the start of the segment, its first record */
typedef struct { vqt_place *v; size_t n, cap; } vqt_places;
vq_status vqt_places_add(vqt_places *p, uint64_t offset, uint64_t first);
size_t vqt_places_find(const vqt_places *p, uint64_t record); /* of the place that holds it; p->n > 0, v[0].first <= record */
/* Bytes of the skippable frame; 0 when they do not fit in 32 bits, and then there is no index. */
uint32_t vqt_index_bytes(size_t places);
/* Appends the frame. end: offset of the end frame, which has end_bytes. */
vq_status vqt_index_pack(vq_buf *out, const vqt_places *p, uint64_t records, uint64_t end, uint64_t end_bytes);

typedef struct { uint64_t end, records, segment, bytes, check; } vqt_index_tail;
/* false: not the tail of an index. */
bool vqt_index_tail_parse(vqt_index_tail *t, const unsigned char tail[VQT_INDEX_TAIL]);
/* Adds the places of an index frame of t->bytes bytes; start is added to the offsets, base to the numbers. */
vq_status vqt_index_parse(vqt_places *p, const vqt_index_tail *t, const unsigned char *b, uint64_t start, uint64_t base);

/* --- vqt_frames.c: compression, in order, by several threads; stored frames into a pipe ---- */

typedef struct vqt_frames vqt_frames;
/* Frames are written to f as they become ready. level 0: 1 for a file, stored frames for anything else. */
vq_status vqt_frames_open(vqt_frames **p, FILE *f, const char *name, int level, int threads);
/* Takes over plain (leaves it empty) and makes it a frame; first: number of its first record, or UINT64_MAX for none. */
vq_status vqt_frames_add(vqt_frames *p, vq_buf *plain, uint64_t first);
/* Waits until everything is written. */
vq_status vqt_frames_wait(vqt_frames *p);
/* After vqt_frames_wait: bytes written, and the places of the frames that had records. */
uint64_t vqt_frames_bytes(const vqt_frames *p);
const vqt_places *vqt_frames_places(const vqt_frames *p);
void vqt_frames_close(vqt_frames *p); /* what is not written is dropped */

#endif
