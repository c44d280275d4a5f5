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
	vqt_reader *in, *lockstep;
	vqt_file *file;
	char *reference;
	bool subset;
	uint64_t next;       /* reference records passed, while the orders agree */
	uint64_t matched;
	bool out_of_step;
	id_map map;
	unsigned char *seen; /* a bit a reference record, once out of step */
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
	bool regular = reference && strcmp(reference, "-") && !stat(reference, &st) && S_ISREG(st.st_mode);
	p->reference = vq_strdup(reference && strcmp(reference, "-") ? reference : "standard input");
	if (!p->reference)
		return VQ_ENOMEM;
	VQ_TRY(regular ? vqt_file_open(&p->file, reference, NULL, NULL) : vqt_open(&p->lockstep, reference, NULL, NULL));
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
	if (p->lockstep)
		vqt_close(p->lockstep);
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
	return side == VQ_PAIR_STREAM ? vqt_header(p->in) : p->file ? vqt_file_header(p->file) : vqt_header(p->lockstep);
}

const char *vq_pairs_name(const vq_pairs *p, vq_pair_side side) { return side == VQ_PAIR_STREAM ? vqt_name(p->in) : p->reference; }

const char *vq_pairs_warning(const vq_pairs *p, vq_pair_side side)
{
	return side == VQ_PAIR_STREAM ? vqt_warning(p->in) : p->file ? vqt_file_warning(p->file) : vqt_warning(p->lockstep);
}

/* --- a reference in another order ---------------------------------------------------------------------------------- */

static vq_status map_make(vq_pairs *p)
{
	const uint64_t n = vqt_file_count(p->file);
	size_t cap = 16;
	while (cap < 2 * n)
		cap *= 2;
	p->map = (id_map){ vq_calloc(cap, sizeof(uint64_t)), vq_calloc(cap, sizeof(uint64_t)), cap };
	p->seen = vq_calloc(n / 8 + 1, 1);
	if (!p->map.hash || !p->map.place || !p->seen)
		return VQ_ENOMEM;
	for (uint64_t i = 0; i < n; i++) {
		vqt_record r;
		VQ_TRY(vqt_file_read(p->file, i, &r));
		uint64_t hash = vq_xxh64_of(r.id, strlen(r.id), 0);
		size_t at = hash & (cap - 1);
		while (p->map.place[at])
			at = (at + 1) & (cap - 1);
		p->map.hash[at] = hash;
		p->map.place[at] = i + 1;
		vqt_record_free(&r);
	}
	for (uint64_t i = 0; i < p->next; i++)
		p->seen[i / 8] |= (unsigned char)(1 << i % 8);
	return VQ_OK;
}

static vq_status not_there(const vq_pairs *p, const char *id)
{
	return vq_fail(VQ_EINVAL, "record %s of %s is not in the reference %s", id, vqt_name(p->in), p->reference);
}

static vq_status find(vq_pairs *p, const char *id, vqt_record *reference)
{
	if (!p->out_of_step) {
		VQ_TRY(map_make(p));
		p->out_of_step = true;
	}
	const uint64_t hash = vq_xxh64_of(id, strlen(id), 0);
	for (size_t at = hash & (p->map.cap - 1); p->map.place[at]; at = (at + 1) & (p->map.cap - 1)) {
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

static vq_status match_file(vq_pairs *p, const char *id, vqt_record *reference)
{
	if (!p->out_of_step && p->next < vqt_file_count(p->file)) {
		VQ_TRY(vqt_file_read(p->file, p->next, reference));
		if (!strcmp(reference->id, id)) {
			p->next++;
			return VQ_OK;
		}
		vqt_record_free(reference);
	}
	return find(p, id, reference);
}

static vq_status match_lockstep(vq_pairs *p, const char *id, vqt_record *reference)
{
	int got;
	while ((got = vqt_next(p->lockstep, reference)) > 0) {
		if (!strcmp(reference->id, id))
			return VQ_OK;
		if (!p->subset) {
			vq_status s = vq_fail(VQ_EINVAL, "record %s of %s stands where the reference %s has %s (a reference in another order must be a file)", id,
			                      vqt_name(p->in), p->reference, reference->id);
			vqt_record_free(reference);
			return s;
		}
		vqt_record_free(reference);
	}
	if (got < 0)
		return got;
	not_there(p, id);
	return vq_fail(VQ_EINVAL, "%s, or not in the stream's order (then it must be a file)", vq_message());
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
	const uint64_t n = vqt_file_count(p->file);
	if (p->subset || p->matched == n)
		return VQ_OK;
	uint64_t first = p->next;
	while (p->out_of_step && first < n && p->seen[first / 8] >> first % 8 & 1)
		first++;
	vqt_record r;
	VQ_TRY(vqt_file_read(p->file, first, &r));
	vq_status s = missing(p, r.id, n - p->matched - 1);
	vqt_record_free(&r);
	return s;
}

/* Reads the pipe to its end in any case: its writer has not failed, and a truncated reference must be noticed. */
static vq_status finish_lockstep(vq_pairs *p)
{
	vqt_record r;
	char *first = NULL;
	uint64_t n = 0;
	int got;
	while ((got = vqt_next(p->lockstep, &r)) > 0) {
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
		return p->file ? finish_file(p) : finish_lockstep(p);
	vq_status s = p->file ? match_file(p, image->id, reference) : match_lockstep(p, image->id, reference);
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
