/* The codebooks fitted to the model at rest: before a validation, for that and for what is kept of the epoch; then training has its own again.
 *
 * In training dropout and a batch's own statistics spread the vectors that the moving averages follow. At rest they may lie much closer
 * together, about few of the rows. This is to a codebook what fresh running statistics are to averaged weights. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/model/graph.h"
#include "lib/train/kmeans.h"
#include "lib/train/trainer_int.h"

enum { ROWS_A_CODE = 8, STREAM = 4 /* of random numbers */ };

/* Where a codebook and, with moving averages, their counts and sums are. */
typedef struct { vq_buf_kind buf; size_t offset, count; } segment;
enum { SEGMENTS = 3 };

static vq_status find_segments(const vq_trainer *t, int level, segment seg[SEGMENTS], int *n)
{
	static const char *const part[SEGMENTS] = { "codebook", "ema_count", "ema_sum" };
	bool mean = t->c->weight_average > 0 && t->step > 0;
	*n = t->c->codebook_update == VQ_UPDATE_EMA ? SEGMENTS : 1;
	for (int i = 0; i < *n; i++) {
		char *name = vq_format("%s.%s", t->info.level[level].prefix, part[i]);
		int p = name ? vq_params_find(&t->params, name) : -1;
		free(name);
		if (p < 0)
			return vq_fail(VQ_EINVAL, "the model has no %s.%s", t->info.level[level].prefix, part[i]);
		const vq_param *at = &t->params.p[p];
		seg[i] = (segment){ !at->trainable ? VQ_BUF_STATE : mean ? VQ_BUF_MEAN : VQ_BUF_PARAM, at->offset, at->count };
	}
	return VQ_OK;
}

/* Of all levels, from training's to `live` or back. */
static vq_status copy_live(vq_trainer *t, float *live, bool back)
{
	for (int l = 0; l < t->info.levels; l++) {
		segment seg[SEGMENTS];
		int n;
		VQ_TRY(find_segments(t, l, seg, &n));
		for (int i = 0; i < n; live += seg[i++].count)
			VQ_TRY((back ? t->b->store_write(t->store, seg[i].buf, seg[i].offset, seg[i].count, live) :
				t->b->store_read(t->store, seg[i].buf, seg[i].offset, seg[i].count, live)));
	}
	return VQ_OK;
}

double trainer_refit_pixels(const vq_trainer *t)
{
	double sum = 0, cell = t->train_pixels / (double)t->o.n_train;
	for (int l = 0; l < t->info.levels && t->c->codebook_refit > 0; l++) {
		const vq_code_level *v = &t->info.level[l];
		sum += fmin(ROWS_A_CODE * (double)v->size * (v->stride ? (double)v->stride * v->stride : cell), t->train_pixels);
	}
	return sum;
}

/* What a level has to quantise of cells as they are: rows [n,dim], some per code, or of all training cells where those are fewer. */
static vq_status gather(vq_trainer *t, int level, vq_buf *rows)
{
	const vq_code_level *v = &t->info.level[level];
	size_t want = ROWS_A_CODE * (size_t)v->size * (size_t)v->dim * sizeof(float);
	vq_sampler s;
	float *live;
	VQ_TRY(vq_sampler_make(&s, t->o.train, t->o.n_train, (uint64_t)t->c->seed, STREAM));
	vq_status st = trainer_mean_in(t, &live);
	if (st == VQ_OK) {
		st = trainer_order(t, &s);
		while (st == VQ_OK && rows->len < want && (!vq_sampler_done(&s) || s.waiting)) {
			vq_step step = {0};
			if ((st = trainer_draw(t, &s, 0, t->batches)) == VQ_OK && (st = trainer_forward(t, &t->encode, t->batches, VQ_FORWARD, 1, NULL, &step)) == VQ_OK)
				st = trainer_rows(t, &t->encode, t->batches, level, rows);
		}
		vq_status back = trainer_mean_out(t, live);
		st = st < 0 ? st : back;
	}
	vq_sampler_free(&s);
	return st;
}

/* Counts as training has them, in sum, so that a training that goes on from here stays where this is. */
static vq_status put(vq_trainer *t, const segment *seg, int n, float *centre, float *count, double rows)
{
	size_t k = n == SEGMENTS ? seg[1].count : 0, d = k ? seg[0].count / k : 0;
	double total = 0;
	VQ_TRY(t->b->store_write(t->store, seg[0].buf, seg[0].offset, seg[0].count, centre));
	if (n < SEGMENTS)
		return VQ_OK;
	float *was = vq_malloc(sizeof *was * k);
	if (!was)
		return VQ_ENOMEM;
	vq_status s = t->b->store_read(t->store, seg[1].buf, seg[1].offset, k, was);
	for (size_t i = 0; i < k; i++)
		total += (double)was[i];
	free(was);
	for (size_t i = 0; i < k; i++) {
		count[i] = fmaxf((float)((double)count[i] * total / rows), VQ_START_COUNT);
		for (size_t j = 0; j < d; j++)
			centre[i * d + j] *= count[i];
	}
	if (s == VQ_OK && (s = t->b->store_write(t->store, seg[1].buf, seg[1].offset, k, count)) == VQ_OK)
		s = t->b->store_write(t->store, seg[2].buf, seg[2].offset, k * d, centre);
	return s;
}

static vq_status refit(vq_trainer *t, int level, vq_rng *draw)
{
	const vq_code_level *v = &t->info.level[level];
	segment seg[SEGMENTS];
	vq_buf rows = {0};
	int n;
	float *centre = vq_malloc(sizeof *centre * (size_t)v->size * (size_t)v->dim), *count = vq_malloc(sizeof *count * (size_t)v->size);
	vq_status s = centre && count ? find_segments(t, level, seg, &n) : VQ_ENOMEM;
	if (s == VQ_OK && (s = gather(t, level, &rows)) == VQ_OK)
		s = t->b->store_read(t->store, seg[0].buf, seg[0].offset, seg[0].count, centre);
	vq_kmeans_data x = { (const float *)rows.data, rows.len / sizeof(float) / (size_t)v->dim, v->size, v->dim };
	if (s == VQ_OK && (s = vq_kmeans(x, t->c->codebook_refit, t->b->threads, draw, centre, count)) == VQ_OK)
		s = put(t, seg, n, centre, count, (double)x.n);
	free(centre);
	free(count);
	vq_buf_free(&rows);
	return s;
}

vq_status trainer_refit_in(vq_trainer *t)
{
	size_t n = 0;
	vq_rng draw = vq_rng_make((uint64_t)t->c->seed, STREAM);
	if (t->c->codebook_refit <= 0)
		return VQ_OK;
	for (int l = 0; l < t->info.levels; l++)
		n += (size_t)t->info.level[l].size * (size_t)(2 * t->info.level[l].dim + 1);
	if (!(t->live = vq_malloc(sizeof *t->live * n)))
		return VQ_ENOMEM;
	VQ_TRY(copy_live(t, t->live, false));
	for (int l = 0; l < t->info.levels; l++) /* what a level quantises hangs on those before it */
		VQ_TRY(refit(t, l, &draw));
	return VQ_OK;
}

vq_status trainer_refit_out(vq_trainer *t)
{
	vq_status s = t->live ? copy_live(t, t->live, true) : VQ_OK;
	free(t->live);
	t->live = NULL;
	return s;
}
