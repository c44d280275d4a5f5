#include "lib/train/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/train/trainer_int.h"

const char *const vq_state_names[VQ_STATE_BUFS] = { "state", "param", "m", "v", "mean" };
static const vq_buf_kind kind[VQ_STATE_BUFS] = { VQ_BUF_STATE, VQ_BUF_PARAM, VQ_BUF_M, VQ_BUF_V, VQ_BUF_MEAN };

#define REAL(field) { #field, VQ_SCALAR_REAL, offsetof(vq_train_scalars, field) }
#define INT(field) { #field, VQ_SCALAR_INT, offsetof(vq_train_scalars, field) }
#define INT32(field) { #field, VQ_SCALAR_INT32, offsetof(vq_train_scalars, field) }
#define BOOL(field) { #field, VQ_SCALAR_BOOL, offsetof(vq_train_scalars, field) }
#define LEVELS(field) REAL(field[0]), REAL(field[1]), REAL(field[2]), REAL(field[3]), REAL(field[4]), REAL(field[5]), REAL(field[6]), REAL(field[7])
#define RNG(field) INT(field.seed), INT(field.stream), INT(field.block), INT32(field.used)

const vq_scalar vq_scalars[] = {
	INT(step), INT(epoch), INT(pixels), REAL(seconds), REAL(epoch_seconds), REAL(closing), REAL(best), INT(stale), BOOL(inside), BOOL(stopped),
	BOOL(started_codebook), REAL(plateau.factor), REAL(plateau.best), INT32(plateau.bad), RNG(draw), RNG(health), INT32(at),
	REAL(sum.recon), LEVELS(sum.commit), REAL(sum.perceptual), LEVELS(sum.positions), INT(sum.pixels), INT(sum.cells), REAL(sum.norm), REAL(sum.lr), INT(sum.steps),
	INT(sum.revived),
	{ 0 },
};
_Static_assert(VQ_CODE_LEVELS_MAX == 8, "LEVELS names eight");

vq_status vq_train_state_make(vq_train_state *st, const vq_trainer *t)
{
	bool ok = true;
	st->cells = t->sampler.n;
	st->n_codes = (int)t->code_at[t->info.levels];
	for (int i = 0; i < VQ_STATE_BUFS; i++) {
		st->count[i] = t->params.sizes[kind[i] != VQ_BUF_STATE];
		ok &= (st->buf[i] = vq_malloc(sizeof(float) * st->count[i])) != NULL;
	}
	st->order = vq_malloc(sizeof *st->order * st->cells);
	st->wait = vq_malloc(sizeof *st->wait * VQ_PACK_MAX);
	st->codes = vq_malloc(sizeof *st->codes * (size_t)st->n_codes);
	st->front = vq_malloc(sizeof *st->front * (size_t)st->n_codes);
	if (ok && st->order && st->wait && st->codes && st->front)
		return VQ_OK;
	vq_train_state_free(st);
	return VQ_ENOMEM;
}

void vq_train_state_free(vq_train_state *st)
{
	for (int i = 0; i < VQ_STATE_BUFS; i++)
		free(st->buf[i]);
	free(st->order);
	free(st->wait);
	free(st->codes);
	free(st->front);
	*st = (vq_train_state){0};
}

/* Weights that nothing can go on from are not put away: an update may overflow after a step whose loss was still finite. */
static vq_status check_finite(const vq_trainer *t, const vq_train_state *st)
{
	for (int i = 0; i < t->params.n; i++) {
		const vq_param *p = &t->params.p[i];
		const float *v = st->buf[p->trainable] + p->offset;
		for (size_t k = 0; k < p->count; k++)
			if (!isfinite(v[k]))
				return vq_fail(VQ_EBACKEND, "after step %lld: %s is not finite", (long long)t->step, p->name);
	}
	return VQ_OK;
}

vq_status vq_trainer_save(vq_trainer *t, vq_train_state *st)
{
	double now = vq_seconds();
	VQ_TRY(trainer_settle(t, 0));
	for (int i = 0; i < VQ_STATE_BUFS; i++)
		VQ_TRY(t->b->store_read(t->store, kind[i], 0, st->count[i], st->buf[i]));
	VQ_TRY(check_finite(t, st));
	memcpy(st->order, t->sampler.order, sizeof *st->order * st->cells);
	memcpy(st->wait, t->sampler.wait, sizeof *st->wait * t->sampler.waiting);
	memcpy(st->codes, t->counts, sizeof *st->codes * (size_t)st->n_codes);
	memcpy(st->front, t->front, sizeof *st->front * (size_t)st->n_codes);
	st->waiting = t->sampler.waiting;
	st->s = (vq_train_scalars){ .step = t->step, .epoch = t->epoch, .pixels = t->pixels, .seconds = now - t->o.started,
		.epoch_seconds = t->inside ? now - t->now.began : 0, .closing = t->closing, .best = t->best, .stale = t->stale, .inside = t->inside,
		.stopped = t->stopped, .started_codebook = t->started_codebook, .plateau = t->plateau, .draw = t->sampler.rng, .health = t->health,
		.at = t->sampler.at };
	if (t->inside)
		st->s.sum = t->now.sum;
	return VQ_OK;
}

static int by_number(const void *a, const void *b) { return (*(const uint32_t *)a > *(const uint32_t *)b) - (*(const uint32_t *)a < *(const uint32_t *)b); }

/* The order is one of the cells that train, and what waits is among them. */
static vq_status check_cells(const vq_trainer *t, const vq_train_state *st)
{
	uint32_t n = t->o.n_train;
	if (st->cells != n)
		return vq_fail(VQ_EINVAL, "it is of %u cells to train, not %u", st->cells, n);
	uint32_t *have = vq_malloc(2 * sizeof *have * n), *want = have + n;
	if (!have)
		return VQ_ENOMEM;
	memcpy(have, st->order, sizeof *have * n);
	memcpy(want, t->o.train, sizeof *want * n);
	qsort(have, n, sizeof *have, by_number);
	qsort(want, n, sizeof *want, by_number);
	bool ok = !memcmp(have, want, sizeof *have * n);
	for (uint32_t i = 0; i < st->waiting && ok; i++)
		ok = bsearch(&st->wait[i], want, n, sizeof *want, by_number) != NULL;
	free(have);
	return ok ? VQ_OK : vq_fail(VQ_EINVAL, "its order is not one of these cells");
}

static vq_status check(const vq_trainer *t, const vq_train_state *st)
{
	const vq_train_scalars *s = &st->s;
	for (int i = 0; i < VQ_STATE_BUFS; i++)
		if (st->count[i] != t->params.sizes[kind[i] != VQ_BUF_STATE])
			return vq_fail(VQ_EINVAL, "its %s has %zu values, not %zu", vq_state_names[i], st->count[i], t->params.sizes[kind[i] != VQ_BUF_STATE]);
	if ((size_t)st->n_codes != t->code_at[t->info.levels])
		return vq_fail(VQ_EINVAL, "it counts %d codes, not %zu", st->n_codes, t->code_at[t->info.levels]);
	if (s->step < 0 || s->epoch < 0 || s->stale < 0 || s->at > st->cells || st->waiting > VQ_PACK_MAX || s->draw.used > 3 || s->health.used > 3 ||
	    !(s->seconds >= 0) || !isfinite(s->seconds) || isnan(s->best) || isnan(s->plateau.best) || !isfinite(s->plateau.factor))
		return vq_fail(VQ_EINVAL, "its numbers are out of range");
	return check_cells(t, st);
}

vq_status vq_trainer_restore(vq_trainer *t, const vq_train_state *st)
{
	const vq_train_scalars *s = &st->s;
	VQ_TRY(check(t, st));
	for (int i = 0; i < VQ_STATE_BUFS; i++)
		VQ_TRY(t->b->store_write(t->store, kind[i], 0, st->count[i], st->buf[i]));
	memcpy(t->sampler.order, st->order, sizeof *st->order * st->cells);
	memcpy(t->sampler.wait, st->wait, sizeof *st->wait * st->waiting);
	memcpy(t->counts, st->codes, sizeof *st->codes * (size_t)st->n_codes);
	memcpy(t->front, st->front, sizeof *st->front * (size_t)st->n_codes);
	t->sampler.at = s->at;
	t->sampler.waiting = st->waiting;
	t->sampler.rng = s->draw;
	t->health = s->health;
	t->step = s->step;
	t->epoch = s->epoch;
	t->pixels = s->pixels;
	t->closing = s->closing;
	t->best = s->best;
	t->stale = (int)s->stale;
	t->inside = s->inside;
	t->stopped = s->stopped;
	t->started_codebook = s->started_codebook;
	t->plateau = s->plateau;
	t->now = (epoch_state){ s->sum, vq_seconds() - s->epoch_seconds };
	t->o.started -= s->seconds;
	return VQ_OK;
}
