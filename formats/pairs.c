#include "formats/pairs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/xxh64.h"

/* Where each id of the reference is: open addressing, 0 = empty, else index + 1. */
typedef struct { uint64_t *hash, *place; size_t cap; } id_map;

struct vq_pairs {
	vqt_reader *in, *ref;
	char *reference;
	bool subset, regular;
	uint64_t matched;
	vqt_file *file;      /* once out of step, as all below */
	uint64_t count;      /* records of the reference */
	id_map map;
	unsigned char *seen; /* a bit a reference record */
};

/* --- opening ------------------------------------------------------------------------------------------------------ */

static vq_status check_kind(const cJSON *header, const char *name)
{
	const char *kind = vqt_header_kind(header);
	if (!strcmp(kind, "samples"))
		return VQ_OK;
	if (!strcmp(kind, "batches"))
		return vq_fail(VQ_EINVAL, "%s holds batches: undo them first with vq-batch --split", name);
	if (!strcmp(kind, "codes"))
		return vq_fail(VQ_EINVAL, "%s holds codes: decode them first with vq-decode -m MODEL", name);
	return vq_fail(VQ_EINVAL, "%s holds %s, not samples", name, kind);
}

static vq_status check_channels(const vq_pairs *p)
{
	const cJSON *a = cJSON_GetObjectItemCaseSensitive(vq_pairs_header(p, VQ_PAIR_STREAM), "channels"),
	            *b = cJSON_GetObjectItemCaseSensitive(vq_pairs_header(p, VQ_PAIR_REFERENCE), "channels");
	if (!a || !b || cJSON_Compare(a, b, 1))
		return VQ_OK;
	char *x = cJSON_PrintUnformatted(a), *y = cJSON_PrintUnformatted(b);
	vq_status s = vq_fail(VQ_EINVAL, "%s has channels %s, the reference %s has %s", vq_pairs_name(p, VQ_PAIR_STREAM), x ? x : "?",
	                      p->reference, y ? y : "?");
	free(x);
	free(y);
	return s;
}

static vq_status open_both(vq_pairs *p, const char *stream, const char *reference)
{
	struct stat st;
	p->regular = reference && strcmp(reference, "-") && !stat(reference, &st) && S_ISREG(st.st_mode);
	p->reference = vq_strdup(reference && strcmp(reference, "-") ? reference : "standard input");
	if (!p->reference)
		return VQ_ENOMEM;
	VQ_TRY(vqt_open(&p->ref, reference, NULL, NULL));
	VQ_TRY(check_kind(vq_pairs_header(p, VQ_PAIR_REFERENCE), p->reference));
	VQ_TRY(vqt_open(&p->in, stream, NULL, NULL));
	VQ_TRY(check_kind(vqt_header(p->in), vqt_name(p->in)));
	return check_channels(p);
}

vq_status vq_pairs_open(vq_pairs **out, const char *stream, const char *reference, bool subset)
{
	vq_pairs *p = *out = vq_calloc(1, sizeof *p);
	if (!p)
		return VQ_ENOMEM;
	p->subset = subset;
	vq_status s = open_both(p, stream, reference);
	if (s < 0) {
		vq_pairs_close(p);
		*out = NULL;
	}
	return s;
}

void vq_pairs_close(vq_pairs *p)
{
	if (!p)
		return;
	if (p->in)
		vqt_close(p->in);
	if (p->ref)
		vqt_close(p->ref);
	if (p->file)
		vqt_file_close(p->file);
	free(p->map.hash);
	free(p->map.place);
	free(p->seen);
	free(p->reference);
	free(p);
}

const cJSON *vq_pairs_header(const vq_pairs *p, vq_pair_side side)
{
	return vqt_header(side == VQ_PAIR_STREAM ? p->in : p->ref);
}

const char *vq_pairs_name(const vq_pairs *p, vq_pair_side side) { return side == VQ_PAIR_STREAM ? vqt_name(p->in) : p->reference; }

const char *vq_pairs_warning(const vq_pairs *p, vq_pair_side side)
{
	return vqt_warning(side == VQ_PAIR_STREAM ? p->in : p->ref);
}

/* --- a reference in another order ---------------------------------------------------------------------------------- */

static vq_status map_grow(id_map *m)
{
	id_map old = *m;
	m->cap = old.cap ? 2 * old.cap : 64;
	m->hash = vq_calloc(m->cap, sizeof *m->hash);
	m->place = vq_calloc(m->cap, sizeof *m->place);
	vq_status s = m->hash && m->place ? VQ_OK : VQ_ENOMEM;
	for (size_t i = 0; s == VQ_OK && i < old.cap; i++) {
		if (!old.place[i])
			continue;
		size_t at = old.hash[i] & (m->cap - 1);
		while (m->place[at])
			at = (at + 1) & (m->cap - 1);
		m->hash[at] = old.hash[i];
		m->place[at] = old.place[i];
	}
	free(old.hash);
	free(old.place);
	return s;
}

static vq_status map_add(id_map *m, const char *id, uint64_t i)
{
	if (2 * i >= m->cap)
		VQ_TRY(map_grow(m));
	uint64_t hash = vq_xxh64_of(id, strlen(id), 0);
	size_t at = hash & (m->cap - 1);
	while (m->place[at])
		at = (at + 1) & (m->cap - 1);
	m->hash[at] = hash;
	m->place[at] = i + 1;
	return VQ_OK;
}

/* Finds all ids in one pass. What was matched so far is the reference's first `matched` records. */
static vq_status leave_step(vq_pairs *p)
{
	vqt_reader *r;
	vqt_record rec;
	int got;
	VQ_TRY(vqt_open(&r, p->reference, NULL, NULL));
	while ((got = vqt_next(r, &rec)) > 0) {
		got = map_add(&p->map, rec.id, p->count++);
		vqt_record_free(&rec);
		if (got < 0)
			break;
	}
	vqt_close(r);
	if (got < 0)
		return got;
	p->seen = vq_calloc(p->count / 8 + 1, 1);
	if (!p->seen)
		return VQ_ENOMEM;
	for (uint64_t i = 0; i < p->matched; i++)
		p->seen[i / 8] |= (unsigned char)(1 << i % 8);
	return vqt_file_open(&p->file, p->reference, NULL, NULL);
}

static vq_status not_there(const vq_pairs *p, const char *id)
{
	return vq_fail(VQ_EINVAL, "record %s of %s is not in the reference %s%s", id, vqt_name(p->in), p->reference,
	               p->regular ? "" : ", or not in the stream's order (a reference in another order must be a file)");
}

static vq_status find(vq_pairs *p, const char *id, vqt_record *reference)
{
	const uint64_t hash = vq_xxh64_of(id, strlen(id), 0);
	for (size_t at = hash & (p->map.cap - 1); p->map.cap && p->map.place[at]; at = (at + 1) & (p->map.cap - 1)) {
		if (p->map.hash[at] != hash)
			continue;
		uint64_t i = p->map.place[at] - 1;
		VQ_TRY(vqt_file_read(p->file, i, reference));
		if (!strcmp(reference->id, id)) {
			p->seen[i / 8] |= (unsigned char)(1 << i % 8);
			return VQ_OK;
		}
		vqt_record_free(reference);
	}
	return not_there(p, id);
}

/* --- matching ------------------------------------------------------------------------------------------------------- */

static vq_status match(vq_pairs *p, const char *id, vqt_record *reference)
{
	int got;
	if (p->file)
		return find(p, id, reference);
	while ((got = vqt_next(p->ref, reference)) > 0) {
		if (!strcmp(reference->id, id))
			return VQ_OK;
		vqt_record_free(reference);
		if (p->regular || !p->subset)
			break;
	}
	if (got < 0)
		return got;
	if (!p->regular)
		return not_there(p, id);
	VQ_TRY(leave_step(p));
	return find(p, id, reference);
}

static vq_status missing(const vq_pairs *p, const char *id, uint64_t more)
{
	char others[48] = "";
	if (more)
		snprintf(others, sizeof others, " and %llu more", (unsigned long long)more);
	return vq_fail(VQ_EINVAL, "record %s%s of the reference %s %s not in %s (--subset allows it)", id, others, p->reference,
	               more ? "are" : "is", vqt_name(p->in));
}

/* After the stream's last record: reference records that nothing matched. */
static vq_status finish_file(vq_pairs *p)
{
	uint64_t first = 0;
	if (p->subset || p->matched == p->count)
		return VQ_OK;
	while (p->seen[first / 8] >> first % 8 & 1)
		first++;
	vqt_record r;
	VQ_TRY(vqt_file_read(p->file, first, &r));
	vq_status s = missing(p, r.id, p->count - p->matched - 1);
	vqt_record_free(&r);
	return s;
}

/* Reads the reference to its end in any case: a pipe's writer has not failed, and a truncated reference must be noticed. */
static vq_status finish_in_step(vq_pairs *p)
{
	vqt_record r;
	char *first = NULL;
	uint64_t n = 0;
	int got;
	while ((got = vqt_next(p->ref, &r)) > 0) {
		if (!p->subset && !n++ && !(first = vq_strdup(r.id)))
			got = VQ_ENOMEM;
		vqt_record_free(&r);
		if (got < 0)
			return got;
	}
	if (!got && n)
		got = missing(p, first, n - 1);
	free(first);
	return got;
}

int vq_pairs_next(vq_pairs *p, vqt_record *image, vqt_record *reference)
{
	int got = vqt_next(p->in, image);
	if (got < 0)
		return got;
	if (!got && !p->matched)
		return vq_fail(VQ_EINVAL, "%s holds no record", vqt_name(p->in));
	if (!got)
		return p->file ? finish_file(p) : finish_in_step(p);
	vq_status s = match(p, image->id, reference);
	if (s < 0) {
		vqt_record_free(image);
		return s;
	}
	p->matched++;
	return 1;
}

/* --- one pair ------------------------------------------------------------------------------------------------------- */

static bool near(double a, double b) { return fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b)); }

static vq_status check_norms(const char *id, const vq_norm *a, const vq_norm *b)
{
	if (a->method <= VQ_NORM_NONE && b->method <= VQ_NORM_NONE)
		return VQ_OK;
	char *x = vq_norm_describe(a), *y = vq_norm_describe(b);
	vq_status s = VQ_OK;
	if (!x || !y)
		s = VQ_ENOMEM;
	else if (a->method != b->method || strcmp(x, y))
		s = vq_fail(VQ_EINVAL, "record %s is normalised by %s, its reference by %s", id, x, y);
	else if (a->channels != b->channels)
		s = vq_fail(VQ_EINVAL, "record %s is normalised with %d channels, its reference with %d", id, a->channels, b->channels);
	for (int c = 0; s == VQ_OK && c < a->channels; c++)
		if (!near(a->a[c], b->a[c]) || !near(a->b[c], b->b[c]))
			s = vq_fail(VQ_EINVAL, "record %s is normalised by %s with %g, %g in channel %d, its reference with %g, %g", id, x, a->a[c], a->b[c],
			            c + 1, b->a[c], b->b[c]);
	free(x);
	free(y);
	return s;
}

vq_status vq_pair_make(vq_pair *pair, const vqt_record *image, const vqt_record *reference)
{
	vq_norm other;
	VQ_TRY(vq_sample_check(image, &pair->image, NULL));
	vq_status s = vq_sample_check(reference, &pair->reference, &pair->mask);
	if (s < 0)
		return vq_context(s, "the reference");
	if ((s = vq_geom_get(image->meta, pair->image, &pair->at)) < 0 || (s = vq_norm_get(image->meta, &pair->norm)) < 0)
		return vq_context(s, "record %s", image->id);
	if ((s = vq_geom_get(reference->meta, pair->reference, &pair->reference_at)) < 0 || (s = vq_norm_get(reference->meta, &other)) < 0)
		return vq_context(s, "the reference: record %s", image->id);
	if (pair->image->shape[0] != pair->reference->shape[0])
		return vq_fail(VQ_EINVAL, "record %s has %lld channels, its reference %lld", image->id, (long long)pair->image->shape[0],
		               (long long)pair->reference->shape[0]);
	if (pair->at.h != pair->reference_at.h || pair->at.w != pair->reference_at.w)
		return vq_fail(VQ_EINVAL, "record %s is %lld x %lld pixels, its reference %lld x %lld", image->id, (long long)pair->at.h,
		               (long long)pair->at.w, (long long)pair->reference_at.h, (long long)pair->reference_at.w);
	return check_norms(image->id, &pair->norm, &other);
}
