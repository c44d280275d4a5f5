#include "tools/rate.h"

#include <stdlib.h>
#include <string.h>

struct vq_rate { vqt_reader *in; bool subset; vq_codestats stats; };

vq_status vq_rate_open(vq_rate **out, const char *path, bool subset)
{
	vq_rate *r = *out = vq_calloc(1, sizeof *r);
	if (!r)
		return VQ_ENOMEM;
	r->subset = subset;
	vq_status s = vqt_open(&r->in, path, NULL, NULL);
	if (s == VQ_OK && (s = vq_codestats_begin(&r->stats, vqt_header(r->in), 0)) < 0)
		vq_context(s, "%s", vqt_name(r->in));
	if (s < 0) {
		vq_rate_close(r);
		*out = NULL;
	}
	return s;
}

static vq_status not_next(const vq_rate *r, const char *id, const char *next)
{
	if (!next)
		return vq_fail(VQ_EINVAL, "%s has no codes of record %s%s", vqt_name(r->in), id, r->subset ? ", or not in the stream's order" : "");
	return vq_fail(VQ_EINVAL, "%s has the codes of %s where the stream has record %s (--subset passes over those that the stream lacks)", vqt_name(r->in), next, id);
}

vq_status vq_rate_take(vq_rate *r, const char *id)
{
	vqt_record rec;
	int got;
	while ((got = vqt_next(r->in, &rec)) > 0) {
		bool same = !strcmp(rec.id, id);
		vq_status s = same ? vq_codestats_add(&r->stats, &rec) : r->subset ? VQ_OK : not_next(r, id, rec.id);
		if (s < 0 && same)
			vq_context(vq_context(s, "record %s", id), "%s", vqt_name(r->in));
		vqt_record_free(&rec);
		if (same || s < 0)
			return s;
	}
	return got < 0 ? got : not_next(r, id, NULL);
}

vq_status vq_rate_end(vq_rate *r, double *bits, double *raw)
{
	vqt_record rec;
	int got;
	while ((got = vqt_next(r->in, &rec)) > 0) { /* also shows that the stream is whole */
		vq_status s = r->subset ? VQ_OK : vq_fail(VQ_EINVAL, "%s has the codes of %s, which the stream lacks (--subset allows it)", vqt_name(r->in), rec.id);
		vqt_record_free(&rec);
		if (s < 0)
			return s;
	}
	if (got < 0)
		return got;
	VQ_TRY(vq_codestats_end(&r->stats));
	vq_codestats_bits(&r->stats, bits, raw);
	*bits /= (double)r->stats.pixels;
	*raw /= (double)r->stats.pixels;
	return VQ_OK;
}

const char *vq_rate_warning(const vq_rate *r) { return vqt_warning(r->in); }

void vq_rate_close(vq_rate *r)
{
	if (!r)
		return;
	if (r->in)
		vqt_close(r->in);
	vq_codestats_free(&r->stats);
	free(r);
}
