/* Plain bytes out of a file or pipe, whether it is compressed or not. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "formats/vqt_int.h"
#include "formats/xxh64.h"

enum { BUFFER = 128 << 10, FRAME_HEAD = 18 };

struct vqt_source {
	int fd;
	bool owned, shared, eof, plain;
	char *name;
	unsigned char *buf;
	size_t pos, len;
	uint64_t base;          /* input offset of buf[0] */
	ZSTD_DCtx *zstd;
	bool in_frame;
	uint64_t frame;         /* input offset of the frame */
	uint64_t content, made; /* plain bytes of the frame (or unknown), and how many came out */
	bool stored, last;      /* the frame holds its bytes as they are, as vqt_frames.c makes it; the block at hand is its last */
	uint32_t block;         /* bytes left of that block */
	vq_buf room;
};

static vq_status allocate(vqt_source *s, const char *name)
{
	s->name = vq_strdup(name);
	s->buf = vq_malloc(BUFFER);
	s->zstd = ZSTD_createDCtx();
	if (!s->name || !s->buf || !s->zstd)
		return vq_fail(VQ_ENOMEM, "out of memory for a stream");
	ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, VQT_WINDOW_LOG);
	return VQ_OK;
}

/* What the input has, up to room bytes, waiting for the first; none at its end. */
static vq_status read_some(vqt_source *s, void *to, size_t room, size_t *got)
{
	ssize_t n;
	do
		n = s->shared ? pread(s->fd, to, room, (off_t)(s->base + s->len)) : read(s->fd, to, room);
	while (n < 0 && errno == EINTR);
	*got = n < 0 ? 0 : (size_t)n;
	s->eof = n == 0;
	return n < 0 ? vq_fail(VQ_EIO, "%s", strerror(errno)) : VQ_OK;
}

/* At least want bytes in the buffer (want <= BUFFER), or all there are. */
static vq_status fill(vqt_source *s, size_t want)
{
	if (s->len - s->pos >= want || s->eof)
		return VQ_OK;
	memmove(s->buf, s->buf + s->pos, s->len - s->pos);
	s->base += s->pos;
	s->len -= s->pos;
	s->pos = 0;
	while (s->len < want && !s->eof) {
		size_t n;
		VQ_TRY(read_some(s, s->buf + s->len, BUFFER - s->len, &n));
		s->len += n;
	}
	return VQ_OK;
}

static vq_status sniff(vqt_source *s)
{
	VQ_TRY(fill(s, 4));
	if (!s->len)
		return vq_fail(VQ_ETRUNC, "empty: not even a stream header (did the command before it fail?)");
	if (s->len < 4 && (!memcmp(s->buf, "VQT", VQ_MIN(s->len, 3u)) || !memcmp(s->buf, "\x28\xB5\x2F", s->len)))
		return vq_fail(VQ_ETRUNC, "truncated inside the stream header: no record was read");
	s->plain = s->len >= 4 && !memcmp(s->buf, "VQT", 3);
	uint32_t magic = s->len >= 4 ? vqt_u32(s->buf) : 0;
	if (s->plain || magic == VQT_ZSTD_MAGIC || (magic & ~15u) == 0x184D2A50u)
		return VQ_OK;
	return vq_fail(VQ_EFORMAT, "not a vqt stream");
}

vq_status vqt_source_open(vqt_source **out, const char *path)
{
	bool std = !path || !strcmp(path, "-");
	*out = NULL;
	vqt_source *s = vq_calloc(1, sizeof *s);
	if (!s)
		return VQ_ENOMEM;
	vq_status st = allocate(s, std ? "standard input" : path);
	s->fd = STDIN_FILENO;
	if (st == VQ_OK && !std) {
		s->fd = open(path, O_RDONLY | O_CLOEXEC);
		s->owned = s->fd >= 0;
		if (s->fd < 0)
			st = vq_fail(VQ_EIO, "%s", strerror(errno));
	}
	if (st == VQ_OK && isatty(s->fd))
		st = vq_fail(VQ_EINVAL, "is a terminal: a stream comes from a file or a pipe");
	if (st == VQ_OK)
		st = sniff(s);
	if (st < 0) {
		vqt_source_close(s);
		return vq_context(st, "%s", std ? "standard input" : path);
	}
	*out = s;
	return VQ_OK;
}

vq_status vqt_source_share(vqt_source **out, const vqt_source *with)
{
	*out = NULL;
	vqt_source *s = vq_calloc(1, sizeof *s);
	if (!s)
		return VQ_ENOMEM;
	s->fd = with->fd;
	s->shared = true;
	s->plain = with->plain;
	vq_status st = allocate(s, with->name);
	if (st < 0) {
		vqt_source_close(s);
		return st;
	}
	*out = s;
	return VQ_OK;
}

void vqt_source_close(vqt_source *s)
{
	if (!s)
		return;
	if (s->owned)
		close(s->fd);
	ZSTD_freeDCtx(s->zstd);
	vq_buf_free(&s->room);
	free(s->buf);
	free(s->name);
	free(s);
}

const char *vqt_source_name(const vqt_source *s) { return s->name; }
bool vqt_source_plain(const vqt_source *s) { return s->plain; }
vq_buf *vqt_source_room(vqt_source *s) { return &s->room; }
uint64_t vqt_source_offset(const vqt_source *s) { return s->base + s->pos; }
uint64_t vqt_source_frame(const vqt_source *s) { return s->frame; }

void vqt_source_seek(vqt_source *s, uint64_t offset)
{
	s->base = s->frame = offset;
	s->pos = s->len = 0;
	s->eof = s->in_frame = false;
}

vq_status vqt_source_regular(const vqt_source *s, uint64_t *bytes)
{
	struct stat st;
	if (fstat(s->fd, &st))
		return vq_fail(VQ_EIO, "%s: %s", s->name, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return vq_fail(VQ_EINVAL, "%s: records in any order need a file, not a pipe", s->name);
	*bytes = (uint64_t)st.st_size;
	return VQ_OK;
}

vq_status vqt_source_pread(const vqt_source *s, void *to, size_t n, uint64_t offset)
{
	for (size_t got = 0; got < n; ) {
		ssize_t r = pread(s->fd, (char *)to + got, n - got, (off_t)(offset + got));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return vq_fail(VQ_EIO, "%s: %s", s->name, strerror(errno));
		if (r == 0)
			return vq_fail(VQ_ETRUNC, "%s: ends before byte %llu", s->name, (unsigned long long)(offset + n));
		got += (size_t)r;
	}
	return VQ_OK;
}

static vq_status skip(vqt_source *s, uint64_t n)
{
	while (n) {
		VQ_TRY(fill(s, 1));
		size_t have = VQ_MIN(s->len - s->pos, n);
		if (!have)
			return vq_fail(VQ_ETRUNC, "ends inside a skippable frame");
		s->pos += have;
		n -= have;
	}
	return VQ_OK;
}

/* No compressor spends 8 bytes on a size below 4 GiB: such a frame is one of vqt_frames.c, whose blocks are all alike. */
static vq_status choose_decoder(vqt_source *s)
{
	const unsigned char *h = s->buf + s->pos;
	s->stored = false;
	if (s->len - s->pos >= 6 && h[4] == VQT_STORED_FLAGS && h[5] == VQT_STORED_WINDOW && s->content < UINT32_MAX) {
		VQ_TRY(fill(s, VQT_STORED_HEAD + 3));
		s->stored = s->len - s->pos >= VQT_STORED_HEAD + 3 && !(s->buf[s->pos + VQT_STORED_HEAD] & 6);
	}
	if (!s->stored) {
		ZSTD_DCtx_reset(s->zstd, ZSTD_reset_session_only);
		return VQ_OK;
	}
	s->pos += VQT_STORED_HEAD;
	s->block = 0;
	s->last = false;
	return VQ_OK;
}

/* Looks at what follows between frames: a frame begins (in_frame), or the input is at its end (eof and nothing left). */
static vq_status next_frame(vqt_source *s)
{
	for (;;) {
		VQ_TRY(fill(s, 4));
		size_t have = s->len - s->pos;
		s->frame = vqt_source_offset(s);
		if (!have)
			return VQ_OK;
		uint32_t magic = have >= 4 ? vqt_u32(s->buf + s->pos) : VQT_ZSTD_MAGIC;
		if (magic == VQT_ZSTD_MAGIC)
			break;
		if ((magic & ~15u) != 0x184D2A50u)
			return vq_fail(VQ_EFORMAT, "no zstd frame begins here");
		VQ_TRY(fill(s, 8));
		if (s->len - s->pos < 8)
			return vq_fail(VQ_ETRUNC, "ends inside a skippable frame");
		VQ_TRY(skip(s, 8 + (uint64_t)vqt_u32(s->buf + s->pos + 4)));
	}
	s->content = ZSTD_CONTENTSIZE_ERROR;
	for (size_t want = 6; s->content == ZSTD_CONTENTSIZE_ERROR && want <= FRAME_HEAD; want++) {
		VQ_TRY(fill(s, want));
		s->content = ZSTD_getFrameContentSize(s->buf + s->pos, s->len - s->pos);
	}
	s->made = 0;
	s->in_frame = true;
	return choose_decoder(s);
}

/* As step, in a stored frame: the head of the next block, when it is due. */
static vq_status next_block(vqt_source *s)
{
	VQ_TRY(fill(s, 3));
	if (s->len - s->pos < 3)
		return vq_fail(VQ_ETRUNC, "ends inside a frame");
	const unsigned char *h = s->buf + s->pos;
	uint32_t head = h[0] | (uint32_t)h[1] << 8 | (uint32_t)h[2] << 16;
	s->last = head & 1;
	s->block = head >> 3;
	s->pos += 3;
	if (head & 6 || s->block > VQT_STORED_BLOCK || s->made + s->block > s->content || (s->last && s->made + s->block != s->content))
		return vq_fail(VQ_EFORMAT, "damaged (a stored frame with a block that cannot be)");
	return VQ_OK;
}

static vq_status step_stored(vqt_source *s, void *to, size_t n, size_t *got)
{
	*got = 0;
	while (!s->block && !s->last)
		VQ_TRY(next_block(s));
	if (s->block && n) {
		size_t most = VQ_MIN(n, (size_t)s->block);
		if (s->pos == s->len && most >= BUFFER / 8 && !s->eof) { /* past the buffer */
			VQ_TRY(read_some(s, to, most, got));
			s->base += s->len + *got;
			s->pos = s->len = 0;
		} else {
			VQ_TRY(fill(s, 1));
			*got = VQ_MIN(s->len - s->pos, most);
			memcpy(to, s->buf + s->pos, *got);
			s->pos += *got;
		}
		if (!*got)
			return vq_fail(VQ_ETRUNC, "ends inside a frame");
		s->made += *got;
		s->block -= (uint32_t)*got;
	}
	s->in_frame = s->block || !s->last;
	return VQ_OK;
}

/* One step of the decoder inside a frame; *ended at its end. Waits for input only when nothing else can be done. */
static vq_status step(vqt_source *s, void *to, size_t n, size_t *got)
{
	if (s->stored)
		return step_stored(s, to, n, got);
	for (;;) {
		ZSTD_outBuffer out = { to, n, 0 };
		ZSTD_inBuffer in = { s->buf + s->pos, s->len - s->pos, 0 };
		size_t r = ZSTD_decompressStream(s->zstd, &out, &in);
		if (ZSTD_isError(r))
			return vq_fail(VQ_EFORMAT, "damaged (%s)", ZSTD_getErrorName(r));
		s->pos += in.pos;
		s->made += out.pos;
		s->in_frame = r != 0;
		*got = out.pos;
		if (r == 0 || out.pos || in.pos)
			return VQ_OK;
		VQ_TRY(fill(s, 1));
		if (s->pos == s->len)
			return vq_fail(VQ_ETRUNC, "ends inside a frame");
	}
}

static vq_status read_plain(vqt_source *s, char *to, size_t n, size_t *got)
{
	for (*got = 0; *got < n; ) {
		VQ_TRY(fill(s, 1));
		size_t have = VQ_MIN(s->len - s->pos, n - *got);
		if (!have)
			break;
		memcpy(to + *got, s->buf + s->pos, have);
		s->pos += have;
		*got += have;
	}
	return VQ_OK;
}

vq_status vqt_source_read(vqt_source *s, void *to, size_t n, size_t *got)
{
	*got = 0;
	if (s->plain)
		return read_plain(s, to, n, got);
	while (*got < n) {
		size_t more;
		if (!s->in_frame) {
			VQ_TRY(next_frame(s));
			if (!s->in_frame)
				break;
		}
		VQ_TRY(step(s, (char *)to + *got, n - *got, &more));
		*got += more;
	}
	return VQ_OK;
}

vq_status vqt_source_settle(vqt_source *s, bool *edge)
{
	size_t got;
	char none;
	while (!s->plain && s->in_frame && s->made == s->content)
		VQ_TRY(step(s, &none, 0, &got));
	*edge = !s->plain && !s->in_frame;
	return VQ_OK;
}

vq_status vqt_source_at_end(vqt_source *s, bool *end)
{
	*end = false;
	if (s->in_frame)
		return VQ_OK;
	VQ_TRY(fill(s, 1));
	*end = s->pos == s->len;
	return VQ_OK;
}

/* The payload of an index frame of n bytes: its checksum, and whether it speaks of this segment. */
static vq_status check_index(vqt_source *s, uint64_t n, uint64_t records, uint64_t segment, const char **wrong)
{
	unsigned char tail[VQT_INDEX_TAIL];
	vq_xxh64 hash;
	vqt_index_tail t;
	vq_xxh64_init(&hash, 0);
	for (uint64_t left = n - sizeof tail; left; ) {
		VQ_TRY(fill(s, 1));
		size_t have = VQ_MIN(s->len - s->pos, left);
		if (!have) {
			*wrong = "the index is cut";
			return VQ_OK;
		}
		vq_xxh64_add(&hash, s->buf + s->pos, have);
		s->pos += have;
		left -= have;
	}
	VQ_TRY(fill(s, sizeof tail));
	if (s->len - s->pos < sizeof tail) {
		s->pos = s->len;
		*wrong = "the index is cut";
		return VQ_OK;
	}
	memcpy(tail, s->buf + s->pos, sizeof tail);
	s->pos += sizeof tail;
	vq_xxh64_add(&hash, tail, sizeof tail - 16);
	if (!vqt_index_tail_parse(&t, tail) || t.check != vq_xxh64_value(&hash) || t.records != records ||
	    t.bytes != n + 8 || t.segment != vqt_source_offset(s) - segment)
		*wrong = "the index is damaged";
	return VQ_OK;
}

vq_status vqt_source_index(vqt_source *s, uint32_t expect, uint64_t records, uint64_t segment, const char **wrong)
{
	*wrong = NULL;
	if (s->plain || expect < 8 + VQT_INDEX_TAIL)
		return VQ_OK;
	*wrong = "the index is missing";
	if (s->in_frame) /* compressed anew as one frame */
		return VQ_OK;
	VQ_TRY(fill(s, 8));
	size_t have = s->len - s->pos;
	if (!have || (have >= 4 && vqt_u32(s->buf + s->pos) == VQT_ZSTD_MAGIC))
		return VQ_OK;
	if (have < 8) {
		s->pos = s->len;
		*wrong = "the index is cut";
		return VQ_OK;
	}
	/* The length comes from the end record: a flipped bit in the frame's own must not lose the segment that follows. */
	bool sound = vqt_u32(s->buf + s->pos) == VQT_INDEX_MAGIC && vqt_u32(s->buf + s->pos + 4) == expect - 8;
	*wrong = NULL;
	s->pos += 8;
	VQ_TRY(check_index(s, expect - 8, records, segment, wrong));
	if (!sound && !*wrong)
		*wrong = "the index is damaged";
	return VQ_OK;
}
