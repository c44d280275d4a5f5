/* Random access to a file of records. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vqt_int.h"

enum { SOURCES = 64 }; /* idle ones that are kept */

struct vqt_file {
	vqt_source *s;       /* holds the file open */
	cJSON *header;
	uint64_t limit, count;
	vqt_places places;   /* where a frame begins that begins with a record, and that record's number in the file */
	vqt_places segments; /* the first record of each segment (offset unused) */
	char *warning;
	pthread_mutex_t lock;
	vqt_source *idle[SOURCES];
	int n_idle;
};

const cJSON *vqt_file_header(const vqt_file *f) { return f->header; }
uint64_t vqt_file_count(const vqt_file *f) { return f->count; }
const char *vqt_file_warning(const vqt_file *f) { return f->warning; }

static vq_status borrow(vqt_file *f, vqt_source **s)
{
	*s = NULL;
	pthread_mutex_lock(&f->lock);
	if (f->n_idle)
		*s = f->idle[--f->n_idle];
	pthread_mutex_unlock(&f->lock);
	return *s ? VQ_OK : vqt_source_share(s, f->s);
}

static void give_back(vqt_file *f, vqt_source *s)
{
	pthread_mutex_lock(&f->lock);
	if (f->n_idle < SOURCES) {
		f->idle[f->n_idle++] = s;
		s = NULL;
	}
	pthread_mutex_unlock(&f->lock);
	vqt_source_close(s);
}

typedef struct { uint64_t start; vqt_index_tail tail; } segment;

/* Walks back from the end of the file, a segment a step; *list is in reverse order. */
static vq_status find_segments(vqt_file *f, segment **list, size_t *n)
{
	uint64_t end;
	size_t cap = 0;
	VQ_TRY(vqt_source_regular(f->s, &end));
	while (end) {
		unsigned char tail[VQT_INDEX_TAIL];
		segment g;
		if (end < sizeof tail)
			return vq_fail(VQ_EFORMAT, "the index is missing");
		VQ_TRY(vqt_source_pread(f->s, tail, sizeof tail, end - sizeof tail));
		if (!vqt_index_tail_parse(&g.tail, tail))
			return vq_fail(VQ_EFORMAT, "the index is missing or damaged");
		if (g.tail.segment > end)
			return vq_fail(VQ_EFORMAT, "the index is damaged");
		g.start = end -= g.tail.segment;
		if (*n == cap) {
			cap = cap ? 2 * cap : 4;
			segment *more = vq_realloc(*list, cap * sizeof *more);
			if (!more)
				return VQ_ENOMEM;
			*list = more;
		}
		(*list)[(*n)++] = g;
	}
	return VQ_OK;
}

/* Header and end record of a segment, and its index. */
static vq_status load_segment(vqt_file *f, vqt_source *s, const segment *g)
{
	vqt_head h;
	cJSON *header = NULL;
	vqt_source_seek(s, g->start);
	int got = vqt_read_head(s, &h);
	if (got <= 0 || h.kind != 'H' || h.size > f->limit || vqt_read_header(s, &h, &header) < 0)
		return vq_fail(VQ_EFORMAT, "the index is damaged");
	vq_status st = f->header ? vqt_same_stream(f->header, header) : VQ_OK;
	if (f->header)
		cJSON_Delete(header);
	else
		f->header = header;
	if (st < 0)
		return st;
	vqt_source_seek(s, g->start + g->tail.end);
	got = vqt_read_head(s, &h);
	if (got <= 0 || h.kind != 'E' || h.number != g->tail.records || h.index != g->tail.bytes)
		return vq_fail(VQ_EFORMAT, "the index is damaged");
	unsigned char *b = vq_malloc((size_t)g->tail.bytes);
	if (!b)
		return VQ_ENOMEM;
	st = vqt_source_pread(f->s, b, (size_t)g->tail.bytes, g->start + g->tail.segment - g->tail.bytes);
	if (st == VQ_OK)
		st = vqt_index_parse(&f->places, &g->tail, b, g->start, f->count);
	free(b);
	if (st == VQ_OK)
		st = vqt_places_add(&f->segments, 0, f->count);
	if (st == VQ_OK)
		f->count += g->tail.records;
	return st;
}

static vq_status load_index(vqt_file *f)
{
	segment *list = NULL;
	size_t n = 0;
	vqt_source *s = NULL;
	vq_status st = find_segments(f, &list, &n);
	if (st == VQ_OK)
		st = borrow(f, &s);
	while (st == VQ_OK && n)
		st = load_segment(f, s, &list[--n]);
	if (s)
		give_back(f, s);
	free(list);
	return st;
}

static void forget(vqt_file *f)
{
	cJSON_Delete(f->header);
	f->header = NULL;
	f->count = f->places.n = f->segments.n = 0;
}

static vq_status add_read(vqt_file *f, const vqt_reader *r)
{
	uint64_t frame, number;
	bool begins;
	vqt_reader_place(r, &frame, &begins, &number);
	if (number == 0)
		VQ_TRY(vqt_places_add(&f->segments, 0, f->count));
	/* A stream that was compressed anew may have all its records in one frame: then one place serves them all. */
	if (begins || !f->places.n)
		VQ_TRY(vqt_places_add(&f->places, f->places.n || begins ? frame : 0, f->count));
	f->count++;
	return VQ_OK;
}

static vq_status read_through(vqt_file *f, const char *path, const char *kinds, const vqt_limits *limits)
{
	vqt_reader *r;
	vqt_record rec;
	int got;
	VQ_TRY(vqt_open(&r, path, kinds, limits));
	while ((got = vqt_next(r, &rec)) > 0) {
		vqt_record_free(&rec);
		if ((got = add_read(f, r)) < 0)
			break;
	}
	if (got == 0 && !(f->header = cJSON_Duplicate(vqt_header(r), 1)))
		got = vq_fail(VQ_ENOMEM, "out of memory for a stream header");
	vqt_close(r);
	return got;
}

/* A writer sees to it that no id occurs twice in a segment; where segments were joined, only reading them tells. */
static vq_status check_ids(const vqt_file *f, const char *path, const vqt_limits *limits)
{
	vqt_reader *r;
	vqt_record rec;
	int got;
	if (f->segments.n < 2)
		return VQ_OK;
	VQ_TRY(vqt_open(&r, path, NULL, limits));
	while ((got = vqt_next(r, &rec)) > 0)
		vqt_record_free(&rec);
	vqt_close(r);
	return got;
}

vq_status vqt_file_open(vqt_file **out, const char *path, const char *kinds, const vqt_limits *limits)
{
	uint64_t bytes;
	*out = NULL;
	if (!path || !strcmp(path, "-"))
		return vq_fail(VQ_EINVAL, "standard input: records in any order need a file");
	vqt_file *f = vq_calloc(1, sizeof *f);
	if (!f)
		return VQ_ENOMEM;
	pthread_mutex_init(&f->lock, NULL);
	f->limit = limits && limits->record_bytes ? limits->record_bytes : VQT_RECORD_BYTES;
	vq_status s = vqt_source_open(&f->s, path);
	if (s == VQ_OK)
		s = vqt_source_regular(f->s, &bytes);
	if (s < 0)
		goto fail;
	s = vqt_source_plain(f->s) ? VQ_EFORMAT : load_index(f);
	if (s == VQ_EFORMAT || s == VQ_ETRUNC) {
		if (!vqt_source_plain(f->s) && !(f->warning = vq_format("%s: %s; all of the file was read instead", path, vq_message()))) {
			s = VQ_ENOMEM;
			goto fail;
		}
		forget(f);
		s = read_through(f, path, kinds, limits);
	} else if (s == VQ_OK) {
		if ((s = vqt_check_kind(vqt_header_kind(f->header), kinds)) < 0)
			vq_context(s, "%s", path);
		else
			s = check_ids(f, path, limits);
	}
	if (s < 0)
		goto fail;
	*out = f;
	return VQ_OK;
fail:
	vqt_file_close(f);
	return s;
}

void vqt_file_close(vqt_file *f)
{
	if (!f)
		return;
	while (f->n_idle)
		vqt_source_close(f->idle[--f->n_idle]);
	vqt_source_close(f->s);
	cJSON_Delete(f->header);
	free(f->places.v);
	free(f->segments.v);
	free(f->warning);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static vq_status skip_body(vqt_source *s, const vqt_head *h)
{
	char scratch[16 << 10];
	size_t got;
	for (uint64_t left = h->size - VQT_BLOCK; left; left -= got) {
		VQ_TRY(vqt_source_read(s, scratch, (size_t)VQ_MIN(left, sizeof scratch), &got));
		if (!got)
			return vq_fail(VQ_ETRUNC, "ends inside a block");
	}
	return VQ_OK;
}

/* From the start of a frame: passes over skip records, then reads the one wanted, which has this number in its segment. */
static vq_status walk(const vqt_file *f, vqt_source *s, uint64_t skip, uint64_t number, vqt_record *rec)
{
	for (;;) {
		vqt_head h;
		int got = vqt_read_head(s, &h);
		if (got <= 0)
			return got ? got : vq_fail(VQ_ETRUNC, "the file ends before it");
		if (h.kind == 'R' && !skip) {
			if (h.number != number)
				return vq_fail(VQ_EFORMAT, "the index does not fit: record %llu is there", (unsigned long long)h.number);
			if (h.size > f->limit)
				return vq_fail(VQ_ELIMIT, "%llu bytes, more than the limit of %llu", (unsigned long long)h.size,
					(unsigned long long)f->limit);
			return vqt_read_body(s, &h, NULL, rec);
		}
		skip -= h.kind == 'R';
		VQ_TRY(skip_body(s, &h));
	}
}

vq_status vqt_file_read(vqt_file *f, uint64_t i, vqt_record *rec)
{
	vqt_source *s;
	bool edge;
	*rec = (vqt_record){0};
	if (i >= f->count)
		return vq_fail(VQ_EINVAL, "%s: record %llu of %llu was asked for", vqt_source_name(f->s), (unsigned long long)i,
			(unsigned long long)f->count);
	VQ_TRY(borrow(f, &s));
	vqt_place place = f->places.v[vqt_places_find(&f->places, i)];
	uint64_t first = f->segments.v[vqt_places_find(&f->segments, i)].first;
	vqt_source_seek(s, place.offset);
	vq_status st = walk(f, s, i - place.first, i - first, rec);
	if (st == VQ_OK && (st = vqt_source_settle(s, &edge)) < 0)
		vqt_record_free(rec);
	if (st < 0)
		vq_context(st, "%s: record %llu, byte %llu", vqt_source_name(f->s), (unsigned long long)i, (unsigned long long)place.offset);
	give_back(f, s);
	return st;
}
