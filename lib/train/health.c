/* The codebook's health: where its rows start, and what becomes of rows that nothing uses (models.md's rules; EMA codebooks). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/model/graph.h"
#include "lib/train/kmeans.h"
#include "lib/train/trainer_int.h"

typedef struct { size_t offset[3]; int k, d; } book; /* codebook, ema_count, ema_sum in the state buffer */

static vq_status find_book(const vq_trainer *t, int level, book *b)
{
	static const char *const part[3] = { "codebook", "ema_count", "ema_sum" };
	const vq_code_level *l = &t->info.level[level];
	b->k = l->size;
	b->d = l->dim;
	for (int i = 0; i < 3; i++) {
		char *name = vq_format("%s.%s", l->prefix, part[i]);
		int p = name ? vq_params_find(&t->params, name) : -1;
		free(name);
		if (p < 0)
			return vq_fail(VQ_EINVAL, "the model has no %s.%s", l->prefix, part[i]);
		b->offset[i] = t->params.p[p].offset;
	}
	return VQ_OK;
}

vq_status trainer_rows(vq_trainer *t, const train_plan *p, const vq_batch *b, int level, vq_buf *rows)
{
	const float *z = t->b->plan_host(p->plan, p->io.z[level]);
	int d = t->info.level[level].dim;
	for (int i = 0; i < b->items; i++) {
		vq_rect r = trainer_positions(t, b, level, i);
		for (int y = 0; y < r.h; y++)
			VQ_TRY(vq_buf_add(rows, z + trainer_position(t, b, level, r, y, 0) * (size_t)d, sizeof *z * (size_t)r.w * (size_t)d));
	}
	return VQ_OK;
}

/* Puts a row at k: codebook = row, count as given, sum = count x row, so that the next update leaves it where it is. */
static vq_status put_row(vq_trainer *t, const book *b, int k, const float *row, float count, float *scratch)
{
	for (int i = 0; i < b->d; i++)
		scratch[i] = row[i] * count;
	VQ_TRY(t->b->store_write(t->store, VQ_BUF_STATE, b->offset[0] + (size_t)k * (size_t)b->d, (size_t)b->d, row));
	VQ_TRY(t->b->store_write(t->store, VQ_BUF_STATE, b->offset[1] + (size_t)k, 1, &count));
	return t->b->store_write(t->store, VQ_BUF_STATE, b->offset[2] + (size_t)k * (size_t)b->d, (size_t)b->d, scratch);
}

/* Takes a row out of those left: no row is drawn twice. */
static size_t take(vq_rng *r, uint32_t *left, size_t *n)
{
	size_t i = (size_t)vq_rng_below(r, *n), row = left[i];
	left[i] = left[--*n];
	return row;
}

static uint32_t *numbers(size_t n)
{
	uint32_t *v = vq_malloc(sizeof *v * n);
	for (size_t i = 0; v && i < n; i++)
		v[i] = (uint32_t)i;
	return v;
}

static vq_status gather(vq_trainer *t, int level, vq_buf *rows)
{
	vq_sampler s;
	size_t want = 4 * (size_t)t->info.level[level].size * (size_t)t->info.level[level].dim * sizeof(float);
	VQ_TRY(vq_sampler_make(&s, t->o.train, t->o.n_train, (uint64_t)t->c->seed, 3));
	vq_status st = trainer_order(t, &s);
	while (st == VQ_OK && rows->len < want && !vq_sampler_done(&s)) {
		vq_step step = {0};
		if ((st = trainer_draw(t, &s, t->augment, t->batches)) == VQ_OK &&
		    (st = trainer_forward(t, &t->train, t->batches, VQ_FORWARD, 1, NULL, &step)) == VQ_OK)
			st = trainer_rows(t, &t->train, t->batches, level, rows);
	}
	vq_sampler_free(&s);
	return st;
}

static vq_status spread(vq_trainer *t, const book *b, const vq_buf *rows)
{
	size_t n = rows->len / sizeof(float) / (size_t)b->d, left = n, d = (size_t)b->d, k = (size_t)b->k;
	const float *row = (const float *)rows->data;
	float *centre = vq_malloc(sizeof *centre * k * d), *count = vq_malloc(sizeof *count * k), *scratch = vq_malloc(sizeof *scratch * d);
	uint32_t *free_rows = numbers(n);
	vq_status s = centre && count && scratch && free_rows && n ? VQ_OK : n ? VQ_ENOMEM : vq_fail(VQ_EINVAL, "no cell to start the codebook from");
	for (size_t i = 0; s == VQ_OK && i < k; i++) {
		bool again = !left; /* fewer rows than codes: some start beside another */
		const float *from = row + (again ? (size_t)vq_rng_below(&t->health, n) : take(&t->health, free_rows, &left)) * d;
		for (size_t j = 0; j < d; j++)
			centre[i * d + j] = again ? from[j] + (float)(1e-3 * vq_rng_normal(&t->health)) : from[j];
		count[i] = 1;
	}
	if (s == VQ_OK && t->c->codebook_start == VQ_START_KMEANS)
		s = vq_kmeans((vq_kmeans_data){ row, n, b->k, b->d }, t->c->kmeans_steps, t->b->threads, NULL, centre, count);
	for (size_t i = 0; s == VQ_OK && i < k; i++)
		s = put_row(t, b, (int)i, centre + i * d, VQ_MAX(count[i], 1e-3f), scratch);
	free(centre);
	free(count);
	free(scratch);
	free(free_rows);
	return s;
}

/* One after the other: what a level quantises hangs on those before it. */
vq_status trainer_start_codebook(vq_trainer *t)
{
	vq_status s = VQ_OK;
	t->started_codebook = true;
	if (t->c->codebook_update != VQ_UPDATE_EMA || (t->c->codebook_start != VQ_START_DATA && t->c->codebook_start != VQ_START_KMEANS))
		return VQ_OK;
	for (int l = 0; l < t->info.levels && s == VQ_OK; l++) {
		vq_buf rows = {0};
		book b;
		if ((s = find_book(t, l, &b)) == VQ_OK && (s = gather(t, l, &rows)) == VQ_OK)
			s = spread(t, &b, &rows);
		vq_buf_free(&rows);
	}
	return s;
}

static vq_status revive(vq_trainer *t, const vq_batch *batch, int level, int64_t *revived)
{
	book b;
	VQ_TRY(find_book(t, level, &b));
	size_t k = (size_t)b.k, d = (size_t)b.d;
	vq_buf rows = {0};
	double total = 0;
	float *count = vq_malloc(sizeof *count * k), *scratch = vq_malloc(sizeof *scratch * d);
	uint32_t *left = NULL;
	vq_status s = count && scratch ? t->b->store_read(t->store, VQ_BUF_STATE, b.offset[1], k, count) : VQ_ENOMEM;
	for (size_t i = 0; s == VQ_OK && i < k; i++)
		total += (double)count[i];
	double mean = total / (double)k, limit = t->c->revive_threshold * mean;
	size_t n = 0;
	for (size_t i = 0; s == VQ_OK && i < k; i++) {
		if ((double)count[i] >= limit)
			continue;
		if (!left) {
			s = trainer_rows(t, &t->train, batch, level, &rows);
			n = rows.len / sizeof(float) / d;
			left = numbers(n);
			if (s == VQ_OK && !left)
				s = VQ_ENOMEM;
		}
		if (s < 0 || !n)
			break;
		s = put_row(t, &b, (int)i, (const float *)rows.data + take(&t->health, left, &n) * d, (float)(mean / 2), scratch);
		++*revived;
	}
	free(left);
	free(count);
	free(scratch);
	vq_buf_free(&rows);
	return s;
}

vq_status trainer_revive(vq_trainer *t, const vq_batch *batch, int64_t *revived)
{
	for (int l = 0; l < t->info.levels; l++)
		VQ_TRY(revive(t, batch, l, revived));
	return VQ_OK;
}
