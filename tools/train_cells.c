#include "tools/train_cells.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/split.h"
#include "tools/batchrec.h"

static bool regular(const char *path)
{
	struct stat st;
	return path && strcmp(path, "-") && !stat(path, &st) && S_ISREG(st.st_mode);
}

static vq_status describe(const vqt_record *rec, const char *by, const char *declared, train_cell *c)
{
	char buf[32];
	if (!declared)
		declared = vq_sample_text(rec->meta, "Metadata_Split", buf);
	c->id = vq_strdup(rec->id);
	c->declared = declared && *declared ? vq_strdup(declared) : NULL;
	if (!c->id || (declared && *declared && !c->declared))
		return VQ_ENOMEM;
	return vq_part_group(rec->meta, rec->id, by, &c->group);
}

static uint64_t bytes_of(const train_cells *t, const vq_cell *c)
{
	return (uint64_t)c->h * (uint64_t)c->w * ((uint64_t)t->channels * sizeof(float) + (c->mask ? 1 : 0));
}

/* One record: normalised, described, and held in memory as long as there is room. */
static vq_status add(train_cells *t, vqt_record *rec, const char *by, const char *declared, uint32_t at)
{
	if (t->n == t->cap) {
		uint32_t cap = t->cap ? 2 * t->cap : 1024;
		train_cell *v = vq_realloc(t->v, sizeof *v * cap);
		if (!v)
			return VQ_ENOMEM;
		t->v = v;
		t->cap = cap;
	}
	train_cell *c = &t->v[t->n];
	vq_geom g;
	*c = (train_cell){ .file = (uint32_t)t->files, .at = at };
	t->n++;
	VQ_TRY(vq_cell_normalize(rec, &t->norm));
	VQ_TRY(describe(rec, by, declared, c));
	VQ_TRY(vq_cell_make(rec, t->channels, t->multiple, t->masks, &c->cell));
	if (t->n == 1 && vq_geom_get(rec->meta, vqt_get(rec, "image"), &g) == VQ_OK)
		strcpy(t->pad_mode, *g.mode ? g.mode : "reflect");
	c->size = c->cell;
	c->size.pixels = NULL;
	c->size.mask = NULL;
	if (t->held + bytes_of(t, &c->cell) > t->limit)
		vq_cell_drop(&c->cell);
	else
		t->held += bytes_of(t, &c->cell);
	return VQ_OK;
}

/* The first record says what the rest must be like. */
static vq_status first(train_cells *t, const cJSON *header, const vqt_record *rec, const vq_norm *raw)
{
	vq_norm have;
	vq_tensor *image, *mask;
	VQ_TRY(vq_sample_check(rec, &image, &mask));
	t->channels = (int)image->shape[0];
	if (!(t->names = vq_cells_channels(header, rec)))
		return VQ_ENOMEM;
	vq_status s = vq_norm_get(rec->meta, &have);
	if (s < 0)
		return vq_context(s, "record \"%s\"", rec->id);
	t->norm = have.method == VQ_NORM_RAW ? *raw : have;
	if (strcmp(t->norm.scope, "stats")) { /* what belongs to one record is no part of the model */
		memset(t->norm.a, 0, sizeof t->norm.a);
		memset(t->norm.b, 0, sizeof t->norm.b);
	}
	memset(t->norm.clipped, 0, sizeof t->norm.clipped);
	memset(t->norm.constant, 0, sizeof t->norm.constant);
	t->norm.channels = t->channels;
	return VQ_OK;
}

static vq_status open_spool(train_cells *t, const cJSON *header, const char *run, vqt_writer **w)
{
	cJSON *h = cJSON_Duplicate(header, true);
	if (!h || vq_json_set(h, "kind", cJSON_CreateString("samples")) < 0 || !(t->spool[t->files] = vq_format("%s/spool%s.vqt", run, t->files ? "-val" : ""))) {
		cJSON_Delete(h);
		return VQ_ENOMEM;
	}
	vq_status s = vqt_create(w, t->spool[t->files], h, NULL);
	cJSON_Delete(h);
	return s;
}

vq_status train_cells_read(train_cells *t, const char *path, const char *run, const vq_norm *raw, const char *by, const char *declared)
{
	vq_sample_reader in;
	vqt_writer *w = NULL;
	vqt_record rec;
	int got = 0;
	uint32_t before = t->n;
	VQ_TRY(vq_sample_reader_open(&in, path));
	const cJSON *header = vqt_header(in.in), *chain = cJSON_GetObjectItemCaseSensitive(header, "chain");
	vq_status s = t->chain || (t->chain = chain ? cJSON_Duplicate(chain, true) : cJSON_CreateArray()) ? VQ_OK : VQ_ENOMEM;
	bool again = regular(path) && !strcmp(vqt_header_kind(header), "samples");
	if (s == VQ_OK && !again)
		s = open_spool(t, header, run, &w);
	while (s == VQ_OK && (got = vq_sample_reader_next(&in, &rec)) > 0) {
		if (!t->n)
			s = first(t, header, &rec, raw);
		if (s == VQ_OK && w)
			s = vqt_put(w, &rec);
		if (s == VQ_OK)
			s = add(t, &rec, by, declared, t->n - before);
		vqt_record_free(&rec);
	}
	s = s < 0 ? s : got < 0 ? got : VQ_OK;
	if (s < 0)
		vq_context(s, "%s", vqt_name(in.in));
	else if (t->n == before)
		s = vq_fail(VQ_EINVAL, "%s: a stream without records: there is nothing to train on", vqt_name(in.in));
	vq_sample_reader_close(&in);
	if (w && s == VQ_OK)
		s = vqt_finish(w);
	else
		vqt_abort(w);
	if (s == VQ_OK)
		s = vqt_file_open(&t->file[t->files], again ? path : t->spool[t->files], "samples", NULL);
	t->files++;
	return s;
}

vq_status train_cells_size(void *ctx, uint32_t i, vq_cell *cell)
{
	*cell = ((train_cells *)ctx)->v[i].size;
	return VQ_OK;
}

vq_status train_cells_get(void *ctx, uint32_t i, vq_cell *cell)
{
	train_cells *t = ctx;
	if (t->v[i].cell.pixels) {
		*cell = t->v[i].cell;
		return VQ_OK;
	}
	vqt_record rec;
	VQ_TRY(vqt_file_read(t->file[t->v[i].file], t->v[i].at, &rec));
	vq_cell_drop(&t->last);
	vq_status s = vq_cell_normalize(&rec, &t->norm);
	if (s == VQ_OK)
		s = vq_cell_make(&rec, t->channels, t->multiple, t->masks, &t->last);
	vqt_record_free(&rec);
	*cell = t->last;
	return s;
}

void train_cells_free(train_cells *t)
{
	for (uint32_t i = 0; i < t->n; i++) {
		free(t->v[i].id);
		free(t->v[i].group);
		free(t->v[i].declared);
		vq_cell_drop(&t->v[i].cell);
	}
	free(t->v);
	vq_cell_drop(&t->last);
	cJSON_Delete(t->names);
	cJSON_Delete(t->chain);
	for (int i = 0; i < 2; i++) {
		vqt_file_close(t->file[i]);
		if (t->spool[i])
			unlink(t->spool[i]);
		free(t->spool[i]);
	}
	*t = (train_cells){0};
}
