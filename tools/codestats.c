#include "tools/codestats.h"

#include <stdlib.h>
#include <string.h>

static const char *text_of(const cJSON *o, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
	return cJSON_IsString(item) ? item->valuestring : NULL;
}

static vq_status read_level(const cJSON *o, bool batches, bool neighbours, vq_level_stats *l)
{
	const cJSON *size = cJSON_GetObjectItemCaseSensitive(o, "size"), *dim = cJSON_GetObjectItemCaseSensitive(o, "dim");
	const char *name = text_of(o, "name"), *tensor = text_of(o, "tensor");
	if (!name || !cJSON_IsNumber(size) || !cJSON_IsNumber(dim) || !(dim->valuedouble >= 1 && dim->valuedouble <= 1e6) ||
	    !(size->valuedouble >= 1 && size->valuedouble <= VQ_CODEBOOK_MAX))
		return vq_fail(VQ_EFORMAT, "the header's model.levels has an entry without a proper name, size and dim");
	if (!(l->name = vq_strdup(name)) || (tensor && !(l->tensor = vq_strdup(tensor))))
		return VQ_ENOMEM;
	l->dim = (int64_t)dim->valuedouble;
	VQ_TRY(vq_code_counts_make(&l->all, (int64_t)size->valuedouble));
	if (neighbours)
		VQ_TRY(vq_neighbours_make(&l->beside, l->all.size));
	return batches ? vq_code_counts_make(&l->batch, l->all.size) : VQ_OK;
}

vq_status vq_codestats_begin(vq_codestats *s, const cJSON *header, uint64_t batch_size)
{
	const char *kind = vqt_header_kind(header);
	const cJSON *levels = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(header, "model"), "levels"), *o;
	if (strcmp(kind, "codes"))
		return vq_fail(VQ_EINVAL, "it holds %s: encode them first with vq-encode -m MODEL", kind);
	if (!cJSON_IsArray(levels) || cJSON_GetArraySize(levels) < 1 || cJSON_GetArraySize(levels) > VQ_CODE_LEVELS_MAX)
		return vq_fail(VQ_EFORMAT, "the header has no list model.levels of 1 to %d codebooks", VQ_CODE_LEVELS_MAX);
	s->batch_size = batch_size;
	cJSON_ArrayForEach(o, levels)
		VQ_TRY(read_level(o, batch_size > 0, s->neighbours, &s->levels[s->nlevels++]));
	return VQ_OK;
}

static vq_status end_batch(vq_codestats *s)
{
	for (int i = 0; i < s->nlevels; i++) {
		vq_level_stats *l = &s->levels[i];
		VQ_TRY(vq_summary_add(&l->perplexity, vq_code_counts_get(&l->batch).perplexity));
		vq_code_counts_clear(&l->batch);
	}
	s->in_batch = 0;
	return VQ_OK;
}

static vq_level_stats *level_named(vq_codestats *s, const char *name)
{
	for (int i = 0; i < s->nlevels; i++)
		if (!strcmp(s->levels[i].name, name))
			return &s->levels[i];
	return NULL;
}

static vq_status count_entry(vq_codestats *s, const vqt_entry *e)
{
	size_t bytes;
	VQ_TRY(vq_tensor_bytes(&e->t, &bytes));
	if (!strncmp(e->name, "skip.", 5)) {
		s->skip_bits += 8 * (uint64_t)bytes;
		return VQ_OK;
	}
	vq_level_stats *l = level_named(s, e->name);
	if (!l)
		return strncmp(e->name, "codes", 5) ? VQ_OK : vq_fail(VQ_EFORMAT, "the header's model.levels has no %s", e->name);
	vq_status st = vq_code_counts_add(&l->all, &e->t);
	if (st >= 0 && l->batch.counts)
		st = vq_code_counts_add(&l->batch, &e->t);
	if (st >= 0 && l->beside)
		st = vq_neighbours_add(l->beside, &e->t);
	return st < 0 ? vq_context(st, "%s", e->name) : st;
}

vq_status vq_codestats_add(vq_codestats *s, const vqt_record *r)
{
	vq_geom g;
	VQ_TRY(vq_geom_get(r->meta, NULL, &g));
	for (int i = 0; i < s->nlevels; i++)
		if (!vqt_get(r, s->levels[i].name))
			return vq_fail(VQ_EFORMAT, "it has no tensor %s, which the header's model.levels names", s->levels[i].name);
	for (int i = 0; i < r->n; i++)
		VQ_TRY(count_entry(s, &r->entry[i]));
	s->n++;
	s->pixels += (uint64_t)(g.h * g.w);
	return s->batch_size && ++s->in_batch == s->batch_size ? end_batch(s) : VQ_OK;
}

static vq_status read_records(vq_codestats *s, vqt_reader *in)
{
	vqt_record r;
	int got;
	while ((got = vqt_next(in, &r)) > 0) {
		vq_status st = vq_codestats_add(s, &r);
		if (st < 0)
			vq_context(vq_context(st, "record %s", r.id), "%s", vqt_name(in));
		vqt_record_free(&r);
		if (st < 0)
			return st;
	}
	if (got < 0)
		return got;
	return s->n ? VQ_OK : vq_fail(VQ_EINVAL, "%s holds no record", vqt_name(in));
}

vq_status vq_codestats_end(vq_codestats *s)
{
	if (s->in_batch && !s->levels[0].perplexity.n)
		VQ_TRY(end_batch(s));
	for (int i = 0; i < s->nlevels; i++)
		s->levels[i].figures = vq_code_counts_get(&s->levels[i].all);
	return VQ_OK;
}

void vq_codestats_bits(const vq_codestats *s, double *bits, double *raw)
{
	*bits = *raw = (double)s->skip_bits;
	for (int i = 0; i < s->nlevels; i++) {
		const vq_level_stats *l = &s->levels[i];
		*bits += l->figures.entropy * (double)l->all.total;
		*raw += l->figures.raw_bits * (double)l->all.total;
	}
}

vq_status vq_codestats_read(vq_codestats *s, vqt_reader *in, uint64_t batch_size)
{
	vq_status st = vq_codestats_begin(s, vqt_header(in), batch_size);
	if (st < 0)
		return vq_context(st, "%s", vqt_name(in));
	VQ_TRY(read_records(s, in));
	return vq_codestats_end(s);
}

void vq_codestats_free(vq_codestats *s)
{
	for (int i = 0; i < s->nlevels; i++) {
		vq_level_stats *l = &s->levels[i];
		free(l->name);
		free(l->tensor);
		vq_code_counts_free(&l->all);
		vq_code_counts_free(&l->batch);
		vq_neighbours_free(l->beside);
		vq_summary_free(&l->perplexity);
	}
	*s = (vq_codestats){0};
}
