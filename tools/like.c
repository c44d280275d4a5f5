#include "tools/like.h"

#include <stdlib.h>
#include <string.h>

#include "tools/filter.h"

typedef struct { char *id; vq_norm norm; } entry;

struct like {
	char *path;
	entry *entry;
	size_t n, cap;
};

void like_close(like *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++)
		free(l->entry[i].id);
	free(l->entry);
	free(l->path);
	free(l);
}

static vq_status add(like *l, const vqt_record *rec)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 256, bytes;
		VQ_TRY(vq_mul(cap, sizeof(entry), &bytes));
		entry *more = vq_realloc(l->entry, bytes);
		if (!more)
			return VQ_ENOMEM;
		l->entry = more;
		l->cap = cap;
	}
	entry *e = &l->entry[l->n];
	VQ_TRY(vq_norm_get(rec->meta, &e->norm));
	if (e->norm.method == VQ_NORM_RAW)
		return vq_fail(VQ_EINVAL, "it is not normalised");
	if (!(e->id = vq_strdup(rec->id)))
		return VQ_ENOMEM;
	l->n++;
	return VQ_OK;
}

static int by_id(const void *a, const void *b) { return strcmp(((const entry *)a)->id, ((const entry *)b)->id); }

vq_status like_open(like **out, const char *path, const char *tool)
{
	like *l = vq_calloc(1, sizeof *l);
	vqt_reader *in = NULL;
	vqt_record rec;
	int got = VQ_ENOMEM;
	*out = NULL;
	if (!l || !(l->path = vq_strdup(path)))
		goto fail;
	VQ_TRY_GOTO(got, vq_samples_open(&in, path, tool), fail);
	while ((got = vqt_next(in, &rec)) > 0) {
		vq_status s = add(l, &rec);
		if (s < 0)
			got = vq_context(s, "%s: record %s", path, rec.id);
		vqt_record_free(&rec);
		if (s < 0)
			goto fail;
	}
	if (got < 0)
		goto fail;
	vq_samples_close(in);
	if (l->n)
		qsort(l->entry, l->n, sizeof *l->entry, by_id);
	*out = l;
	return VQ_OK;
fail:
	if (in)
		vqt_close(in);
	like_close(l);
	return got;
}

vq_status like_find(const like *l, const char *id, vq_norm *n)
{
	const entry key = { .id = (char *)id }, *e = l->n ? bsearch(&key, l->entry, l->n, sizeof key, by_id) : NULL;
	if (!e)
		return vq_fail(VQ_EINVAL, "%s has no record of this id", l->path);
	*n = e->norm;
	return VQ_OK;
}
