#include "tools/train_cells.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/split.h"
#include "tools/batchrec.h"
#include "tools/cli.h"

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

/* Statistics of several groups (vq-normalize --fit --group-by) are no single way: then the model keeps none. */
static void forget_statistics(train_cells *t, const vqt_record *rec)
{
	vq_norm have;
	if (!vq_norm_fixed(&t->norm) || vq_norm_get(rec->meta, &have) < 0 || !vq_norm_fixed(&have) || vq_norm_differs(&have, &t->norm) < 0)
		return;
	memset(t->norm.a, 0, sizeof t->norm.a);
	memset(t->norm.b, 0, sizeof t->norm.b);
}

static vq_status room(train_cells *t)
{
	if (t->n < t->cap)
		return VQ_OK;
	if (t->cap > UINT32_MAX / 2)
		return vq_fail(VQ_ELIMIT, "more than %u cells", t->cap);
	uint32_t cap = t->cap ? 2 * t->cap : 1024;
	train_cell *v = vq_realloc(t->v, sizeof *v * cap);
	if (!v)
		return VQ_ENOMEM;
	t->v = v;
	t->cap = cap;
	return VQ_OK;
}

static void add_hash(vq_xxh64 *h, const train_cell *c, int channels)
{
	const vq_cell *p = &c->cell;
	int32_t extents[] = { p->h, p->w, p->top, p->left, p->th, p->tw };
	size_t n = (size_t)p->h * (size_t)p->w;
	vq_xxh64_add(h, c->id, strlen(c->id) + 1);
	vq_xxh64_add(h, extents, sizeof extents);
	vq_xxh64_add(h, p->pixels, sizeof(float) * (size_t)channels * n);
	if (p->mask)
		vq_xxh64_add(h, p->mask, n);
}

/* One record: normalised, described, and held in memory as long as there is room. */
static vq_status add(train_cells *t, vqt_record *rec, const char *by, const char *declared, uint32_t at)
{
	VQ_TRY(room(t));
	train_cell *c = &t->v[t->n];
	*c = (train_cell){ .file = (uint32_t)t->files, .at = at };
	t->n++;
	forget_statistics(t, rec);
	VQ_TRY(vq_cell_normalize(rec, &t->norm));
	VQ_TRY(describe(rec, by, declared, c));
	VQ_TRY(vq_cell_make(rec, t->channels, t->rule, true, &c->cell));
	if (t->need_masks && !c->cell.mask)
		return vq_fail(VQ_EINVAL, "record %s: it has no mask, which content_weighting needs (--set content_weighting=false goes without)", rec->id);
	add_hash(&t->hash, c, t->channels);
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
		return vq_context(s, "record %s", rec->id);
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

/* The cells of a pipe that memory does not hold, as far as they have come: nothing is written while all are held. */
typedef struct { char *path; vqt_writer *w; uint32_t n; } spool;

static vq_status open_spool(spool *p, const cJSON *header)
{
	cJSON *h = cJSON_Duplicate(header, true);
	if (!h || vq_json_set(h, "kind", cJSON_CreateString("samples")) < 0) {
		cJSON_Delete(h);
		return vq_fail(VQ_ENOMEM, "out of memory");
	}
	vq_status s = vqt_create(&p->w, p->path, h, NULL);
	cJSON_Delete(h);
	return s;
}

static vq_status put_spool(spool *p, const cJSON *header, const vqt_record *rec, train_cell *c)
{
	if (!p->w)
		VQ_TRY(open_spool(p, header));
	c->at = p->n++;
	return vqt_put(p->w, rec);
}

/* All records of the stream; copies those that are not held to p unless it has no path. The trouble with a record begins with the stream's name. */
static vq_status read_all(train_cells *t, vq_sample_reader *in, const vq_norm *raw, const char *by, const char *declared, spool *p)
{
	vqt_record rec;
	uint32_t before = t->n;
	int got;
	while ((got = vq_sample_reader_next(in, &rec)) > 0) {
		vq_status s = t->n ? VQ_OK : first(t, vqt_header(in->in), &rec, raw);
		if (s == VQ_OK)
			s = add(t, &rec, by, declared, t->n - before);
		vq_status put = s == VQ_OK && p->path && !t->v[t->n - 1].cell.pixels ? put_spool(p, vqt_header(in->in), &rec, &t->v[t->n - 1]) : VQ_OK;
		vqt_record_free(&rec);
		if (s < 0)
			return vq_context(s, "%s", vqt_name(in->in));
		VQ_TRY(put);
	}
	if (got == 0 && t->n == before)
		return vq_fail(VQ_EINVAL, "%s: a stream without records: there is nothing to train on", vqt_name(in->in));
	return got;
}

/* What cells beyond the memory limit are read from again. A copy is only kept open: its name goes at once, so that it cannot be left behind. */
static vq_status open_again(train_cells *t, const char *path, const spool *p)
{
	if (p->path && !p->n)
		return VQ_OK;
	vq_status s = vqt_file_open(&t->file[t->files], p->path ? p->path : path, "samples", NULL);
	if (p->path)
		unlink(p->path);
	return s;
}

vq_status train_cells_read(train_cells *t, const char *path, const char *run, const vq_norm *raw, const char *by, const char *declared)
{
	vq_sample_reader in;
	spool copy = {0};
	VQ_TRY(vq_sample_reader_open(&in, path));
	const cJSON *chain = cJSON_GetObjectItemCaseSensitive(vqt_header(in.in), "chain");
	vq_status s = VQ_OK;
	if (!t->files)
		vq_xxh64_init(&t->hash, 0);
	if (!t->chain && !(t->chain = chain ? cJSON_Duplicate(chain, true) : cJSON_CreateArray()))
		s = vq_fail(VQ_ENOMEM, "out of memory");
	if (s == VQ_OK && !(regular(path) && !in.batches) && !(copy.path = vq_format("%s/spool.vqt", run)))
		s = VQ_ENOMEM;
	if (s == VQ_OK)
		s = read_all(t, &in, raw, by, declared, &copy);
	if (s == VQ_OK && vqt_warning(in.in))
		vq_warn("%s", vqt_warning(in.in));
	vq_sample_reader_close(&in);
	if (copy.w && s == VQ_OK)
		s = vqt_finish(copy.w);
	else
		vqt_abort(copy.w);
	if (s == VQ_OK)
		s = open_again(t, path, &copy);
	free(copy.path);
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
		s = vq_cell_make(&rec, t->channels, t->rule, true, &t->last);
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
	for (int i = 0; i < 2; i++)
		vqt_file_close(t->file[i]);
	*t = (train_cells){0};
}
