/* The reader: records of one or more segments, in order. */
#include <stdlib.h>
#include <string.h>

#include "formats/vqt_int.h"

struct vqt_reader {
	vqt_source *s;
	cJSON *header;
	int major, minor;
	uint64_t limit, count;
	uint64_t in_segment;  /* records of this segment so far */
	uint64_t at;          /* plain bytes of this segment so far */
	uint64_t segment;     /* input offset at which it began */
	uint64_t frame;       /* and the frame of the block at hand (plain: the block) */
	bool begins;          /* the block at hand is the first thing there */
	bool edge, ended;
	vq_status failed;     /* the reader is stuck on this, */
	char *failure;        /* with these words */
	char *last;           /* id of the last good record */
	char *warning;
	const char *keys;     /* vqt_look_at */
	vqt_ids ids;
};

const cJSON *vqt_header(const vqt_reader *r) { return r->header; }
const char *vqt_name(const vqt_reader *r) { return vqt_source_name(r->s); }
uint64_t vqt_count(const vqt_reader *r) { return r->count; }
bool vqt_drained(const vqt_reader *r) { return r->edge; }
const char *vqt_warning(const vqt_reader *r) { return r->warning; }
void vqt_look_at(vqt_reader *r, const char *keys) { r->keys = keys; }

void vqt_reader_place(const vqt_reader *r, uint64_t *frame, bool *begins, uint64_t *number)
{
	*frame = r->frame;
	*begins = r->begins;
	*number = r->in_segment - 1;
}

void vqt_version(const vqt_reader *r, int *major, int *minor)
{
	*major = r->major;
	*minor = r->minor;
}

/* Words the current failure: how far the stream was good, and where it was not. */
static vq_status stuck(vqt_reader *r, vq_status s)
{
	char id[208], after[256] = "";
	unsigned long long n = r->count, offset = s == VQ_ETRUNC ? vqt_source_offset(r->s) : r->frame;
	if (r->last)
		snprintf(after, sizeof after, s == VQ_ETRUNC ? ", the last good one \"%s\"" : " (after \"%s\")", vqt_short(r->last, id));
	if (s == VQ_ETRUNC)
		vq_fail(s, "%s: truncated: %llu record%s read%s; it stops at byte %llu without an end record", vqt_name(r), n,
			n == 1 ? " was" : "s were", after, offset);
	else
		vq_context(s, "%s: record %llu%s, byte %llu", vqt_name(r), n, after, offset);
	free(r->failure);
	r->failure = vq_strdup(vq_message());
	r->failed = s;
	return s;
}

/* vqt_read_head, and where that is. */
static int read_head(vqt_reader *r, vqt_head *h)
{
	bool plain = vqt_source_plain(r->s);
	uint64_t here = vqt_source_offset(r->s);
	r->begins = plain || r->edge;
	int got = vqt_read_head(r->s, h);
	r->frame = plain ? here : vqt_source_frame(r->s);
	return got;
}

/* The header of a segment, whose head was read. */
static vq_status take_header(vqt_reader *r, const vqt_head *h)
{
	cJSON *json;
	if (h->kind != 'H' || h->at)
		return vq_fail(VQ_EFORMAT, "a segment that does not begin with its header");
	if (h->size > r->limit)
		return vq_fail(VQ_ELIMIT, "a header of %llu bytes, more than the limit of %llu", (unsigned long long)h->size,
			(unsigned long long)r->limit);
	VQ_TRY(vqt_read_header(r->s, h, &json));
	vq_status s = r->header ? vqt_same_stream(r->header, json) : VQ_OK;
	if (r->header || s < 0) {
		cJSON_Delete(json);
	} else {
		r->header = json;
		r->major = h->major;
		r->minor = h->minor;
	}
	r->in_segment = 0;
	r->at = h->size;
	r->segment = r->frame;
	return s;
}

vq_status vqt_open(vqt_reader **out, const char *path, const char *kinds, const vqt_limits *limits)
{
	vqt_head h;
	*out = NULL;
	vqt_reader *r = vq_calloc(1, sizeof *r);
	if (!r)
		return VQ_ENOMEM;
	r->limit = limits && limits->record_bytes ? limits->record_bytes : VQT_RECORD_BYTES;
	vq_status s = vqt_source_open(&r->s, path);
	if (s == VQ_OK) {
		int got = read_head(r, &h);
		s = got > 0 ? take_header(r, &h) : got < 0 ? got : vq_fail(VQ_ETRUNC, "ends before the stream header");
		if (s == VQ_OK)
			s = vqt_source_settle(r->s, &r->edge);
		if (s == VQ_ETRUNC)
			vq_fail(s, "truncated inside the stream header: no record was read");
		else if (s == VQ_EFORMAT)
			vq_context(s, "stream header, byte 0");
		if (s == VQ_OK)
			s = vqt_check_kind(vqt_header_kind(r->header), kinds);
		if (s < 0)
			vq_context(s, "%s", vqt_name(r));
	}
	if (s < 0) {
		vqt_close(r);
		return s;
	}
	*out = r;
	return VQ_OK;
}

void vqt_close(vqt_reader *r)
{
	if (!r)
		return;
	vqt_source_close(r->s);
	cJSON_Delete(r->header);
	vqt_ids_free(&r->ids);
	free(r->failure);
	free(r->warning);
	free(r->last);
	free(r);
}

static vq_status check_place(const vqt_reader *r, const vqt_head *h)
{
	if (h->kind == 'H')
		return vq_fail(VQ_EFORMAT, "a new stream begins here, but the one before it was truncated: it has no end record");
	if (h->at != r->at || h->number != r->in_segment)
		return vq_fail(VQ_EFORMAT, "a block of another place (%s %llu where %llu was due): something is missing or moved",
			h->kind == 'E' ? "an end after" : "record", (unsigned long long)h->number, (unsigned long long)r->in_segment);
	return VQ_OK;
}

static vq_status take_record(vqt_reader *r, const vqt_head *h, vqt_record *rec)
{
	char id[208];
	if (h->size > r->limit)
		return vq_fail(VQ_ELIMIT, "a record of %llu bytes, more than the limit of %llu", (unsigned long long)h->size,
			(unsigned long long)r->limit);
	VQ_TRY(vqt_read_body(r->s, h, r->keys, rec));
	int fresh = vqt_ids_add(&r->ids, rec->id);
	if (fresh > 0) {
		free(r->last);
		if (!(r->last = vq_strdup(rec->id)))
			fresh = VQ_ENOMEM;
	} else if (fresh == 0) {
		fresh = vq_fail(VQ_EFORMAT, "the id \"%s\" occurs twice", vqt_short(rec->id, id));
	}
	if (fresh < 0) {
		vqt_record_free(rec);
		return fresh;
	}
	r->count++;
	r->in_segment++;
	r->at += h->size;
	return VQ_OK;
}

/* After the end record: the index, and whether another segment follows. 1: it does, and its header was read. */
static int next_segment(vqt_reader *r, const vqt_head *end)
{
	const char *wrong;
	vqt_head h;
	bool over;
	VQ_TRY(vqt_source_settle(r->s, &r->edge));
	VQ_TRY(vqt_source_index(r->s, end->index, end->number, r->segment, &wrong));
	if (wrong && !r->warning && !(r->warning = vq_format("%s: %s; the records are complete", vqt_name(r), wrong)))
		return VQ_ENOMEM;
	VQ_TRY(vqt_source_at_end(r->s, &over));
	int got = over ? 0 : read_head(r, &h);
	if (got == VQ_EFORMAT)
		vq_context(got, "after the end record");
	if (got <= 0)
		return got;
	VQ_TRY(take_header(r, &h));
	VQ_TRY(vqt_source_settle(r->s, &r->edge));
	return 1;
}

int vqt_next(vqt_reader *r, vqt_record *rec)
{
	*rec = (vqt_record){0};
	if (r->failed)
		return vq_fail(r->failed, "%s", r->failure ? r->failure : "out of memory");
	for (int got; !r->ended; ) {
		vqt_head h;
		got = read_head(r, &h);
		if (got == 0)
			got = vq_fail(VQ_ETRUNC, "ends without an end record");
		if (got > 0)
			got = check_place(r, &h);
		if (got == 0 && h.kind == 'R') {
			if ((got = take_record(r, &h, rec)) == 0) {
				/* The record itself is good: trouble in what closes its frame comes up with the next one. */
				if ((got = vqt_source_settle(r->s, &r->edge)) < 0)
					stuck(r, got);
				return 1;
			}
		} else if (got == 0) {
			if ((got = next_segment(r, &h)) == 0)
				r->ended = true;
		}
		if (got < 0)
			return stuck(r, got);
	}
	return 0;
}
