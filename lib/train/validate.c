/* How good the model is on the cells held back, and what it makes of one cell: with the averaged weights, where there are any. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/eval/metrics.h"
#include "lib/train/trainer_int.h"

enum { SSIM_CELLS = 256 }; /* validation cells whose SSIM is taken; PSNR takes all */

typedef struct { double psnr, ssim; int n, n_ssim; vq_score_work work; double *x, *y; size_t cap; } quality;

static vq_status score_item(vq_trainer *t, const float *in, const float *out, vq_rect v, quality *q)
{
	size_t n = (size_t)v.h * (size_t)v.w, ch = (size_t)t->info.channels;
	if (q->cap < n) {
		free(q->x);
		q->x = vq_malloc(2 * n * sizeof *q->x);
		q->cap = q->x ? n : 0;
		if (!q->x)
			return VQ_ENOMEM;
	}
	q->y = q->x + q->cap;
	for (size_t k = 0; k < ch; k++) {
		double e = 0, whole, inside;
		for (int y = 0; y < v.h; y++)
			for (int x = 0; x < v.w; x++) {
				size_t at = (((size_t)v.n * (size_t)t->sheet.h + (size_t)(v.y + y)) * (size_t)t->sheet.w + (size_t)(v.x + x)) * ch + k;
				size_t i = (size_t)y * (size_t)v.w + (size_t)x;
				q->x[i] = (double)in[at];
				q->y[i] = t->o.clip ? fmin(fmax((double)out[at], -1), 1) : (double)out[at];
				e += (q->x[i] - q->y[i]) * (q->x[i] - q->y[i]);
			}
		q->psnr += 10 * log10(4 / fmax(e / (double)n, VQ_MSE_FLOOR));
		q->n++;
		if (q->n_ssim < SSIM_CELLS && vq_ssim(&q->work, q->x, q->y, NULL, v.h, v.w, 2, &whole, &inside) == VQ_OK && isfinite(whole)) {
			q->ssim += whole;
			q->n_ssim++;
		}
	}
	return VQ_OK;
}

static vq_status validate(vq_trainer *t, vq_losses *l)
{
	vq_sampler s;
	vq_batch *b = t->batches;
	quality q = {0};
	vq_train_sums sum = {0};
	size_t size = t->code_at[t->info.levels];
	uint64_t *counts = vq_calloc(2 * size, sizeof *counts);
	vq_status st = counts ? vq_sampler_make(&s, t->o.val, t->o.n_val, 0, 0) : VQ_ENOMEM;
	*l = (vq_losses){ .psnr = NAN, .ssim = NAN, .recon = NAN, .commit = NAN, .codebook = NAN, .perceptual = NAN, .loss = NAN, .front = NAN };
	if (st < 0) {
		free(counts);
		return st;
	}
	s.at = 0;
	if (!t->info.packable) /* cells of one size together; the others come as they are */
		st = trainer_order(t, &s);
	while (st == VQ_OK && (s.at < s.n || s.waiting)) {
		vq_step step = {0};
		if ((st = trainer_draw(t, &s, 0, b)) < 0 ||
		    (st = trainer_forward(t, &t->eval, b, VQ_FORWARD, 1, NULL, &step)) < 0)
			break;
		if (!trainer_finite(&step)) {
			char what[64];
			snprintf(what, sizeof what, "after step %lld: the validation loss", (long long)t->step);
			st = trainer_trouble(t, &t->eval, b, 1, VQ_FORWARD, &step, what);
			break;
		}
		trainer_add_losses(t, b, &step, &sum);
		trainer_tally_codes(t, &t->eval, b, &t->own, counts, counts + size);
		const float *in = t->b->plan_host(t->eval.plan, t->eval.io.input), *out = t->b->plan_host(t->eval.plan, t->eval.io.output);
		for (int i = 0; i < b->items && st == VQ_OK; i++)
			st = score_item(t, in, out, b->place[i].valid, &q);
	}
	if (st == VQ_OK && sum.cells) {
		trainer_means(t, &sum, l);
		l->psnr = q.psnr / q.n;
		l->ssim = q.n_ssim ? q.ssim / q.n_ssim : NAN;
		trainer_usage(t, counts, l);
		l->front = trainer_front_usage(counts + size, size);
	}
	free(q.x);
	vq_score_work_free(&q.work);
	free(counts);
	vq_sampler_free(&s);
	return st;
}

vq_status trainer_mean_in(vq_trainer *t, float **live)
{
	size_t n = t->params.sizes[1];
	*live = NULL;
	if (t->c->weight_average <= 0 || !t->step)
		return VQ_OK;
	float *both = vq_malloc(2 * n * sizeof *both);
	if (!both)
		return VQ_ENOMEM;
	vq_status s = t->b->store_read(t->store, VQ_BUF_PARAM, 0, n, both);
	if (s == VQ_OK && (s = t->b->store_read(t->store, VQ_BUF_MEAN, 0, n, both + n)) == VQ_OK)
		s = t->b->store_write(t->store, VQ_BUF_PARAM, 0, n, both + n);
	if (s < 0)
		free(both);
	else
		*live = both;
	return s;
}

vq_status trainer_mean_out(vq_trainer *t, float *live)
{
	vq_status s = live ? t->b->store_write(t->store, VQ_BUF_PARAM, 0, t->params.sizes[1], live) : VQ_OK;
	free(live);
	return s;
}

vq_status trainer_validate(vq_trainer *t, vq_losses *l)
{
	float *live;
	VQ_TRY(trainer_mean_in(t, &live));
	vq_status s = validate(t, l), back = trainer_mean_out(t, live);
	return s < 0 ? s : back;
}

vq_status vq_trainer_reconstruct(vq_trainer *t, uint32_t cell, float *out)
{
	vq_cell c;
	vq_step step = {0};
	vq_batch *b = t->batches;
	float *live;
	VQ_TRY(t->o.calls.size(t->o.calls.ctx, cell, &c));
	b->items = 1;
	b->cell[0] = cell;
	b->turn[0] = 0;
	b->sheet = vq_alike_sheet(&t->alike, c.h, c.w);
	b->sheet.canvases = 1;
	b->place[0].extent = (vq_rect){ 0, 0, 0, c.h, c.w };
	b->place[0].valid = (vq_rect){ 0, c.top, c.left, c.th, c.tw };
	VQ_TRY(trainer_mean_in(t, &live));
	vq_status s = trainer_forward(t, &t->eval, b, VQ_FORWARD, 1, NULL, &step), back = trainer_mean_out(t, live);
	VQ_TRY(s < 0 ? s : back);
	const float *y = t->b->plan_host(t->eval.plan, t->eval.io.output);
	size_t ch = (size_t)t->info.channels;
	for (size_t k = 0; k < ch; k++)
		for (size_t i = 0; i < (size_t)c.h; i++)
			for (size_t j = 0; j < (size_t)c.w; j++)
				*out++ = y[(i * (size_t)t->sheet.w + j) * ch + k];
	return VQ_OK;
}
