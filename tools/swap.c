#include "tools/swap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rng.h"

typedef struct {
	char *group;            /* what its cells have in common */
	vqt_record codes;       /* the code tensors alone */
	uint32_t partner;       /* SHUFFLED: itself when there is no other */
} cell;

struct swap {
	const vq_model *model;
	swap_kind kind;
	cell *cell;
	uint32_t n, cap;
	uint64_t left_out;
};

void swap_close(swap *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->n; i++) {
		free(s->cell[i].group);
		vqt_record_free(&s->cell[i].codes);
	}
	free(s->cell);
	free(s);
}

static bool same_shape(const vq_tensor *a, const vq_tensor *b)
{
	return a->dtype == b->dtype && a->ndim == b->ndim && !memcmp(a->shape, b->shape, sizeof *a->shape * (size_t)a->ndim);
}

/* The group's name: the column's value and, for a shuffle, the shapes of the codes. */
static vq_status name_group(const swap *s, const vqt_record *rec, const char *within, cell *c)
{
	vq_buf b = {0};
	char number[32];
	const char *value = within ? vq_sample_text(rec->meta, within, number) : "";
	if (!value)
		return vq_fail(VQ_EINVAL, "record %s: it has no %s", rec->id, within);
	vq_status st = vq_buf_str(&b, value);
	for (int i = 0; i < c->codes.n && s->kind == SWAP_SHUFFLED && st == VQ_OK; i++)
		for (int d = 0; d < c->codes.entry[i].t.ndim && st == VQ_OK; d++)
			st = vq_buf_fmt(&b, "\n%d %lld", d, (long long)c->codes.entry[i].t.shape[d]);
	if (st == VQ_OK && !(c->group = vq_strdup(b.data ? b.data : "")))
		st = VQ_ENOMEM;
	vq_buf_free(&b);
	return st;
}

static vq_status take(swap *s, const vqt_record *rec, const char *within)
{
	if (s->n == s->cap) {
		uint32_t cap = s->cap ? 2 * s->cap : 1024;
		cell *more = cap > s->cap ? vq_realloc(s->cell, sizeof *more * cap) : NULL;
		if (!more)
			return cap > s->cap ? VQ_ENOMEM : vq_fail(VQ_ELIMIT, "more than 2^31 records");
		s->cell = more;
		s->cap = cap;
	}
	cell *c = &s->cell[s->n++];
	*c = (cell){0};
	VQ_TRY(vqt_record_make(&c->codes, rec->id));
	for (int l = 0; l < s->model->info.levels; l++) {
		const char *name = s->model->info.level[l].name;
		const vq_tensor *t = vqt_get(rec, name);
		vq_tensor copy;
		if (!t || (t->dtype != VQ_U16 && t->dtype != VQ_I32))
			return vq_fail(VQ_EINVAL, "record %s: no codes \"%s\"", rec->id, name);
		VQ_TRY(vq_tensor_copy(&copy, t));
		vq_status st = vqt_set(&c->codes, name, &copy);
		if (st < 0) {
			vq_tensor_free(&copy);
			return st;
		}
	}
	return name_group(s, rec, within, c);
}

static int by_group(const void *a, const void *b, void *ctx)
{
	const cell *c = ctx;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	int d = strcmp(c[i].group, c[j].group);
	return d ? d : i < j ? -1 : i > j;
}

/* A random cycle through the cells of a group gives each another's codes. */
static void pair_up(swap *s, uint32_t *index, uint32_t n, vq_rng *rng)
{
	vq_rng_shuffle(rng, index, n);
	for (uint32_t i = 0; i < n; i++)
		s->cell[index[i]].partner = index[(i + 1) % n];
	s->left_out += n == 1;
}

/* The code whose vector is nearest to the mean vector over the positions of the group's cells. */
static vq_status mean_code(const swap *s, const uint32_t *index, uint32_t n, int level, uint32_t *code)
{
	const vq_code_level *l = &s->model->info.level[level];
	const float *book = vq_model_vectors(s->model, level);
	double *mean = vq_calloc((size_t)l->dim, sizeof *mean), total = 0, best = 0;
	vq_status st = !mean ? VQ_ENOMEM : book ? VQ_OK : vq_fail(VQ_EFORMAT, "the model has no codebook %s", l->prefix);
	for (uint32_t i = 0; i < n && st == VQ_OK; i++) {
		const vq_tensor *t = vqt_get(&s->cell[index[i]].codes, l->name);
		size_t count = 0;
		st = vq_tensor_count(t, &count);
		for (size_t j = 0; j < count && st == VQ_OK; j++, total++) {
			double k = vq_tensor_get(t, j);
			if (!(k >= 0 && k < l->size))
				st = vq_fail(VQ_EINVAL, "record %s: code %g of a codebook of %d", s->cell[index[i]].codes.id, k, l->size);
			for (int d = 0; d < l->dim && st == VQ_OK; d++)
				mean[d] += book[(size_t)k * (size_t)l->dim + (size_t)d];
		}
	}
	for (int k = 0; k < l->size && st == VQ_OK && total > 0; k++) {
		double far = 0;
		for (int d = 0; d < l->dim; d++) {
			double e = book[(size_t)k * (size_t)l->dim + (size_t)d] - mean[d] / total;
			far += e * e;
		}
		if (!k || far < best) {
			best = far;
			*code = (uint32_t)k;
		}
	}
	free(mean);
	return st;
}

static vq_status set_mean(swap *s, const uint32_t *index, uint32_t n)
{
	uint32_t code[VQ_CODE_LEVELS_MAX] = {0};
	for (int l = 0; l < s->model->info.levels; l++)
		VQ_TRY(mean_code(s, index, n, l, &code[l]));
	for (uint32_t i = 0; i < n; i++)
		for (int l = 0; l < s->model->info.levels; l++) {
			vq_tensor *t = vqt_get(&s->cell[index[i]].codes, s->model->info.level[l].name);
			size_t count;
			VQ_TRY(vq_tensor_count(t, &count));
			for (size_t j = 0; j < count; j++)
				vq_tensor_set(t, j, code[l]);
		}
	return VQ_OK;
}

static vq_status exchange(swap *s, uint64_t seed)
{
	uint32_t *index = vq_malloc(sizeof *index * (s->n + 1));
	vq_rng rng = vq_rng_make(seed, 0x73776170);
	vq_status st = VQ_OK;
	if (!index)
		return VQ_ENOMEM;
	for (uint32_t i = 0; i < s->n; i++)
		index[i] = s->cell[i].partner = i;
	qsort_r(index, s->n, sizeof *index, by_group, s->cell);
	for (uint32_t i = 0, end; i < s->n && st == VQ_OK; i = end) {
		for (end = i + 1; end < s->n && !strcmp(s->cell[index[i]].group, s->cell[index[end]].group); end++)
			;
		if (s->kind == SWAP_SHUFFLED)
			pair_up(s, index + i, end - i, &rng);
		else
			st = set_mean(s, index + i, end - i);
	}
	free(index);
	return st;
}

vq_status swap_open(swap **out, const char *path, const vq_model *m, swap_kind kind, const char *within, uint64_t seed)
{
	swap *s = vq_calloc(1, sizeof *s);
	vqt_reader *in = NULL;
	vqt_record rec;
	int got = VQ_ENOMEM;
	*out = NULL;
	if (!s)
		return VQ_ENOMEM;
	s->model = m;
	s->kind = kind;
	VQ_TRY_GOTO(got, vqt_open(&in, path, "codes", NULL), fail);
	while ((got = vqt_next(in, &rec)) > 0) {
		vq_status st = take(s, &rec, within);
		vqt_record_free(&rec);
		if (st < 0) {
			got = vq_context(st, "%s", path);
			goto fail;
		}
	}
	if (got < 0)
		goto fail;
	VQ_TRY_GOTO(got, exchange(s, seed), fail);
	vqt_close(in);
	*out = s;
	return VQ_OK;
fail:
	if (in)
		vqt_close(in);
	swap_close(s);
	return got;
}

int swap_apply(const swap *s, uint64_t i, vqt_record *rec)
{
	if (i >= s->n || strcmp(rec->id, s->cell[i].codes.id))
		return vq_fail(VQ_EINVAL, "record %s: the stream changed while it was read", rec->id);
	const cell *c = &s->cell[s->kind == SWAP_SHUFFLED ? s->cell[i].partner : (uint32_t)i];
	if (s->kind == SWAP_SHUFFLED && s->cell[i].partner == i)
		return 0;
	for (int l = 0; l < s->model->info.levels; l++) {
		const char *name = s->model->info.level[l].name;
		vq_tensor *t = vqt_get(rec, name), copy;
		const vq_tensor *other = vqt_get(&c->codes, name);
		if (!t || !same_shape(t, other))
			return vq_fail(VQ_EINVAL, "record %s: \"%s\" is not alike in both", rec->id, name);
		VQ_TRY(vq_tensor_copy(&copy, other));
		VQ_TRY(vqt_set(rec, name, &copy));
	}
	return 1;
}

uint64_t swap_left_out(const swap *s) { return s->left_out; }
