#include "lib/train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/model/graph.h"
#include "lib/train/trainer_int.h"

static vq_status make_plan(vq_trainer *t, vq_graph_kind kind, train_plan *p)
{
	vq_canvas canvas = { t->sheet.canvases, t->sheet.h, t->sheet.w, VQ_PACK_MAX, true, t->compute };
	VQ_TRY(vq_model_graph(t->c, t->info.channels, &t->params, kind, canvas, &p->g, &p->io));
	if (kind == VQ_GRAPH_TRAIN)
		trainer_measure(t, &p->g);
	double began = vq_seconds();
	vq_status s = t->b->plan_make(t->b, t->store, &p->g, &p->plan);
	t->spent.plans += vq_seconds() - began;
	return s;
}

void trainer_measure(vq_trainer *t, const vq_graph *g)
{
	if (g->arena_bytes > t->arena) {
		t->arena = g->arena_bytes;
		t->plain = g->plain_bytes;
	}
}

size_t vq_trainer_memory(const vq_trainer *t, size_t *plain)
{
	*plain = t->plain;
	return t->arena;
}

static void drop_plan(vq_trainer *t, train_plan *p)
{
	if (p->plan)
		t->b->plan_free(p->plan);
	vq_graph_free(&p->g);
}

void vq_trainer_free(vq_trainer *t)
{
	if (!t)
		return;
	trainer_drop_sized(t);
	drop_plan(t, &t->train);
	drop_plan(t, &t->eval);
	drop_plan(t, &t->encode);
	if (t->store)
		t->b->store_free(t->store);
	vq_sampler_free(&t->sampler);
	vq_params_free(&t->params);
	free(t->live);
	free(t->counts);
	free(t->front);
	free(t->own.at);
	for (int i = 0; i < FLIGHTS; i++)
		free(t->flight[i].own.at);
	free(t->failed);
	free(t->batches);
	free(t);
}

/* The largest extent, turned or not, decides the canvas. */
static vq_status choose_sheet(vq_trainer *t, const vq_trainer_options *o)
{
	int mh = t->info.multiple, mw = mh;
	for (uint32_t i = 0; i < o->n_train + o->n_val; i++) {
		vq_cell c;
		VQ_TRY(o->calls.size(o->calls.ctx, i < o->n_train ? o->train[i] : o->val[i - o->n_train], &c));
		mh = VQ_MAX(mh, c.h);
		mw = VQ_MAX(mw, c.w);
		*(i < o->n_train ? &t->train_pixels : &t->val_pixels) += (double)c.th * c.tw;
	}
	trainer_alike(t);
	if (t->augment & VQ_TURN)
		mh = mw = VQ_MAX(mh, mw);
	int64_t pixels = t->c->pixels_per_step ? t->c->pixels_per_step : (int64_t)t->c->batch_size * mh * mw;
	t->sheet = vq_sheet_for(mh, mw, pixels, t->info.multiple, t->info.gap, t->b->threads);
	return VQ_OK;
}

static vq_status fresh(vq_trainer *t)
{
	float *state = vq_malloc(sizeof *state * t->params.sizes[0]), *param = vq_malloc(sizeof *param * t->params.sizes[1]);
	vq_status s = state && param ? VQ_OK : VQ_ENOMEM;
	if (s == VQ_OK) {
		vq_model_init(&t->params, t->c, (uint64_t)t->c->seed, state, param);
		s = vq_trainer_load(t, state, param);
		t->started_codebook = false;
	}
	free(state);
	free(param);
	return s;
}

vq_status vq_trainer_check(const vq_config *c)
{
	vq_model_info info;
	VQ_TRY(vq_model_describe(c, 1, &info));
	return VQ_OK;
}

vq_dtype vq_trainer_type(const vq_config *c, const vq_backend *b)
{
	return c->mixed_precision == VQ_PRECISION_BF16 || (c->mixed_precision == VQ_PRECISION_AUTO && b->bf16_faster) ? VQ_BF16 : VQ_F32;
}

vq_status vq_trainer_make(vq_trainer **out, const vq_trainer_options *o)
{
	vq_status s;
	*out = NULL;
	vq_trainer *t = vq_calloc(1, sizeof *t);
	if (!t)
		return VQ_ENOMEM;
	t->o = *o;
	t->c = o->config;
	t->b = o->backend;
	t->augment = (t->c->augment_flip ? VQ_FLIP_X | VQ_FLIP_Y : 0) | (t->c->augment_rotate ? VQ_TURN : 0);
	t->compute = vq_trainer_type(t->c, t->b);
	if (t->compute == VQ_BF16 && !t->b->bf16) {
		s = vq_fail(VQ_EUNSUP, "mixed_precision is bf16, and this device (%s) has no instructions for it: auto and off do without", t->b->isa);
		goto fail;
	}
	VQ_TRY_GOTO(s, vq_model_describe(t->c, o->channels, &t->info), fail);
	VQ_TRY_GOTO(s, vq_trainer_check(t->c), fail);
	if (t->c->use_perceptual_loss != (o->perceptual != NULL)) {
		s = vq_fail(VQ_EINVAL, "use_perceptual_loss is %s a network", o->perceptual ? "off, with" : "on, without");
		goto fail;
	}
	if (o->perceptual)
		t->info.packable = false; /* a network's windows reach further than the gaps between cells */
	VQ_TRY_GOTO(s, vq_model_params(t->c, o->channels, &t->params), fail);
	VQ_TRY_GOTO(s, choose_sheet(t, o), fail);
	VQ_TRY_GOTO(s, t->b->store_make(t->b, &t->params, true, &t->store), fail);
	if (o->perceptual)
		VQ_TRY_GOTO(s, t->b->store_frozen(t->store, &o->perceptual->table, o->perceptual->values), fail);
	if (t->info.packable) {
		VQ_TRY_GOTO(s, make_plan(t, VQ_GRAPH_TRAIN, &t->train), fail);
		VQ_TRY_GOTO(s, make_plan(t, VQ_GRAPH_EVAL, &t->eval), fail);
		if (t->c->codebook_refit > 0)
			VQ_TRY_GOTO(s, make_plan(t, VQ_GRAPH_ENCODE, &t->encode), fail);
	}
	VQ_TRY_GOTO(s, vq_sampler_make(&t->sampler, o->train, o->n_train, (uint64_t)t->c->seed, 1), fail);
	t->sampler.at = 0; /* nothing is behind */
	if (t->c->batch_size > 0)
		t->sampler.most = (uint32_t)VQ_MIN(t->c->batch_size, VQ_PACK_MAX);
	t->health = vq_rng_make((uint64_t)t->c->seed, 2);
	for (int l = 0; l < t->info.levels; l++)
		t->code_at[l + 1] = t->code_at[l] + (size_t)t->info.level[l].size;
	t->counts = vq_calloc(t->code_at[t->info.levels], sizeof *t->counts);
	t->front = vq_calloc(t->code_at[t->info.levels], sizeof *t->front);
	t->batches = vq_calloc((size_t)t->c->accumulate * FLIGHTS, sizeof *t->batches);
	s = t->counts && t->front && t->batches ? VQ_OK : VQ_ENOMEM;
	if (s < 0)
		goto fail;
	vq_plateau_start(&t->plateau);
	t->best = INFINITY;
	VQ_TRY_GOTO(s, fresh(t), fail);
	*out = t;
	return VQ_OK;
fail:
	vq_trainer_free(t);
	return s;
}

const vq_params *vq_trainer_params(const vq_trainer *t) { return &t->params; }

vq_status vq_trainer_load(vq_trainer *t, const float *state, const float *param)
{
	VQ_TRY(t->b->store_write(t->store, VQ_BUF_STATE, 0, t->params.sizes[0], state));
	VQ_TRY(t->b->store_write(t->store, VQ_BUF_PARAM, 0, t->params.sizes[1], param));
	VQ_TRY(t->b->store_write(t->store, VQ_BUF_MEAN, 0, t->params.sizes[1], param));
	t->started_codebook = true;
	return VQ_OK;
}

vq_status vq_trainer_read(vq_trainer *t, float *state, float *param)
{
	bool mean = t->c->weight_average > 0 && t->step > 0;
	VQ_TRY(t->b->store_read(t->store, VQ_BUF_STATE, 0, t->params.sizes[0], state));
	return t->b->store_read(t->store, mean ? VQ_BUF_MEAN : VQ_BUF_PARAM, 0, t->params.sizes[1], param);
}

/* --- running a plan ------------------------------------------------------------------------------------------------ */

/* The input in place where the backend computes in host memory. */
static vq_status fill(vq_trainer *t, train_plan *p, const vq_batch *b, own_marks *marks)
{
	float *input = t->b->plan_host(p->plan, p->io.input), *weight = p->io.weight >= 0 ? t->b->plan_host(p->plan, p->io.weight) : NULL;
	if (!input)
		return vq_fail(VQ_EUNSUP, "this backend has no host memory"); /* reached only by a backend without plan_host */
	size_t n = (size_t)t->sheet.canvases * (size_t)t->sheet.h * (size_t)t->sheet.w;
	if (n > marks->size) {
		uint8_t *own = vq_realloc(marks->at, n);
		if (!own)
			return VQ_ENOMEM;
		*marks = (own_marks){ own, n };
	}
	return vq_batch_fill(b, &t->o.calls, &t->sheet, t->info.channels, t->c, input, weight, marks->at);
}

vq_status trainer_prepare(vq_trainer *t, train_plan *p, const vq_batch *b, unsigned phases, double pixels, const double *positions, vq_step *step, own_marks *own)
{
	if (!t->info.packable)
		VQ_TRY(trainer_use(t, p, &b->sheet));
	double began = vq_seconds();
	if (phases & VQ_FORWARD)
		VQ_TRY(fill(t, p, b, own));
	if (p == &t->train)
		t->spent.cells += vq_seconds() - began;
	step->items = b->items;
	step->places = b->place;
	step->seed = (uint64_t)t->c->seed;
	step->step = (uint64_t)t->step;
	step->scale[VQ_SCALE_RECON] = (float)(t->c->reconstruction_loss_weight / (pixels * t->info.channels));
	for (int l = 0; l < t->info.levels; l++)
		step->scale[VQ_SCALE_COMMIT + l] = (float)(1 / ((positions ? positions[l] : 1) * t->info.level[l].dim));
	return VQ_OK;
}

vq_status trainer_forward(vq_trainer *t, train_plan *p, const vq_batch *b, unsigned phases, double pixels, const double *positions, vq_step *step)
{
	VQ_TRY(trainer_prepare(t, p, b, phases, pixels, positions, step, &t->own));
	return t->b->plan_run(p->plan, step, phases);
}

/* --- the run ------------------------------------------------------------------------------------------------------- */

/* What the last validation and save will take: what they took, or, before the first one, half of what training as many pixels takes, and a
 * tenth for those that are but encoded. */
static double closing(const vq_trainer *t)
{
	if (t->closing > 0 || !t->pixels)
		return 1.5 * t->closing;
	return (.5 * t->val_pixels + .1 * trainer_refit_pixels(t)) * (vq_seconds() - t->run_began) / (double)t->pixels;
}

/* How much of the run is over, by whichever bound is nearest, `ahead` seconds from now. Time that the last validation and save take is
 * kept back. */
static double fraction(const vq_trainer *t, double ahead)
{
	const vq_config *c = t->c;
	double f = 0, now = vq_seconds() - t->o.started + ahead;
	if (c->max_steps > 0)
		f = fmax(f, (double)t->step / (double)c->max_steps);
	if (c->epochs > 0)
		f = fmax(f, ((double)t->epoch + (double)t->sampler.at / VQ_MAX(t->sampler.n, 1u)) / (double)c->epochs);
	if (c->max_seconds > 0)
		f = fmax(f, now / (c->max_seconds - fmin(closing(t) + .02 * c->max_seconds, c->max_seconds / 2)));
	return f;
}

/* A run's sums, or its gradient's norm, which tells of all parts: not finite is the end, and what went on after it does not count. */
static vq_status judge(vq_trainer *t, flight *f, bool norm)
{
	char what[64];
	vq_step sums = f->step;
	sums.scalar[VQ_S_NORM] = norm ? f->step.scalar[VQ_S_NORM] : 0;
	if (trainer_finite(&sums))
		return VQ_OK;
	for (; t->flights; t->flights--, t->oldest = (t->oldest + 1) % FLIGHTS)
		(void)t->b->plan_finish(t->flight[t->oldest].p.plan, &t->flight[t->oldest].step);
	snprintf(what, sizeof what, "step %lld: the %s", (long long)f->number, norm ? "gradient's norm" : "loss");
	return trainer_trouble(t, &f->p, norm ? f->batches : &f->batches[f->part], norm ? f->parts : 1, VQ_FORWARD | VQ_BACKWARD, &f->step, what);
}

vq_status trainer_settle(vq_trainer *t, int most)
{
	vq_train_sums *e = &t->now.sum;
	while (t->flights > most) {
		flight *f = &t->flight[t->oldest];
		t->oldest = (t->oldest + 1) % FLIGHTS;
		t->flights--;
		double began = vq_seconds();
		VQ_TRY(t->b->plan_finish(f->p.plan, &f->step));
		t->spent.steps += vq_seconds() - began;
		VQ_TRY(judge(t, f, false));
		VQ_TRY(judge(t, f, true));
		trainer_add_losses(t, &f->batches[f->part], &f->step, e);
		trainer_tally_codes(t, &f->p, &f->batches[f->part], &f->own, t->counts, t->front);
		if (f->part < f->parts - 1)
			continue;
		e->norm += f->step.scalar[VQ_S_NORM];
		e->steps++;
		e->lr = (double)f->step.lr;
	}
	return VQ_OK;
}

static vq_status launch(vq_trainer *t, flight *f, unsigned phases)
{
	double began = vq_seconds();
	VQ_TRY(t->b->plan_start(f->p.plan, &f->step, phases));
	t->spent.steps += vq_seconds() - began;
	if (t->o.profile)
		trainer_note_run(t, &f->p.g, phases);
	return VQ_OK;
}

/* Forward and backward, and behind the last part the update; where numbers are there at once it waits for finite ones. */
static vq_status fly(vq_trainer *t, const vq_batch *batches, int part, int parts, double pixels, const double *positions, const vq_step *step)
{
	flight *f = &t->flight[(t->oldest + t->flights) % FLIGHTS];
	bool update = part == parts - 1, ahead = t->b->ahead > 0;
	*f = (flight){ .step = *step, .number = t->step + 1, .batches = batches, .part = part, .parts = parts, .own = f->own };
	VQ_TRY(trainer_prepare(t, &t->train, &batches[part], VQ_FORWARD | VQ_BACKWARD, pixels, positions, &f->step, &f->own));
	f->p = t->train;
	VQ_TRY(launch(t, f, VQ_FORWARD | VQ_BACKWARD | (update && ahead ? VQ_UPDATE : 0)));
	if (!ahead) {
		VQ_TRY(judge(t, f, false));
		if (update)
			VQ_TRY(launch(t, f, VQ_UPDATE));
	}
	t->flights++;
	return trainer_settle(t, VQ_MIN(t->b->ahead, FLIGHTS - 1));
}

static vq_status one_step(vq_trainer *t)
{
	const vq_config *c = t->c;
	double pixels = 0, cells = 0, positions[VQ_CODE_LEVELS_MAX] = {0};
	int parts = 0;
	vq_step step = {0};
	double began = vq_seconds();
	vq_batch *batches = t->batches + (t->step % FLIGHTS) * c->accumulate;
	for (; parts < c->accumulate && !vq_sampler_done(&t->sampler); parts++) {
		VQ_TRY(trainer_draw(t, &t->sampler, t->augment, &batches[parts]));
		pixels += (double)batches[parts].pixels;
		cells += batches[parts].items;
		trainer_count_positions(t, &batches[parts], positions);
	}
	t->spent.cells += vq_seconds() - began;
	step.scale[VQ_SCALE_PERCEPTUAL] = (float)(c->perceptual_loss_weight / cells);
	step.lr = (float)vq_schedule_lr(c, &t->plateau, t->fraction, t->step, t->epoch);
	for (int i = 0; i < parts; i++)
		VQ_TRY(fly(t, batches, i, parts, pixels, positions, &step));
	t->pixels += (uint64_t)pixels;
	t->step++;
	if (c->weight_average > 0)
		VQ_TRY(t->b->store_average(t->store, (float)fmin(c->weight_average, (double)t->step / (double)(t->step + 9))));
	if (c->codebook_update == VQ_UPDATE_EMA && c->revive_threshold > 0 && t->step % c->revive_every == 0 && t->fraction < c->revive_until) {
		VQ_TRY(trainer_settle(t, 0));
		VQ_TRY(trainer_revive(t, &batches[parts - 1], &t->now.sum.revived));
	}
	return VQ_OK;
}

static bool report_step(vq_trainer *t)
{
	vq_losses l = {0};
	const vq_train_sums *e = &t->now.sum;
	trainer_means(t, e, &l); /* 0 of 0 pixels is NaN */
	trainer_usage(t, t->counts, &l);
	double s = vq_seconds() - t->now.began;
	vq_progress p = { t->epoch, t->step, vq_seconds() - t->o.started, fmin(t->fraction, 1), s > 0 ? (double)e->cells / s : 0, e->lr, l.loss, l.recon, l.commit, l.usage };
	return t->o.calls.step && t->o.calls.step(t->o.calls.ctx, &p);
}

/* True when the run is over. */
static bool over(vq_trainer *t, double ahead)
{
	t->fraction = fraction(t, ahead);
	return t->stopped || t->halted || t->fraction >= 1;
}

static vq_status end_epoch(vq_trainer *t, bool last)
{
	const vq_train_sums *e = &t->now.sum;
	vq_epoch r = { .epoch = t->epoch, .step = t->step, .pixels = t->pixels, .done = fmin(t->fraction, 1), .lr = e->lr, .grad_norm = e->steps ? e->norm / (double)e->steps : 0, .revived = e->revived };
	double began = vq_seconds();
	trainer_means(t, e, &r.train);
	r.train.psnr = r.train.ssim = NAN;
	trainer_usage(t, t->counts, &r.train);
	r.train.front = trainer_front_usage(t->front, t->code_at[t->info.levels]);
	VQ_TRY(trainer_refit_in(t));
	VQ_TRY(trainer_validate(t, &r.val));
	double judged = isfinite(r.val.recon) ? r.val.loss : r.train.loss;
	r.best = judged < t->best;
	if (r.best) {
		t->best = judged;
		t->stale = 0;
	} else {
		t->stale++;
	}
	vq_plateau_epoch(&t->plateau, t->c, judged);
	if (t->c->use_early_stopping && t->stale >= t->c->early_stopping_patience)
		t->stopped = last = true;
	r.last = last;
	r.seconds = vq_seconds() - t->o.started;
	VQ_TRY(t->o.calls.epoch(t->o.calls.ctx, t, &r));
	VQ_TRY(trainer_refit_out(t));
	memset(t->counts, 0, sizeof *t->counts * t->code_at[t->info.levels]);
	memset(t->front, 0, sizeof *t->front * t->code_at[t->info.levels]);
	t->closing = vq_seconds() - began;
	t->spent.closing += t->closing;
	return t->o.calls.save ? t->o.calls.save(t->o.calls.ctx, t, false) : VQ_OK;
}

vq_status vq_trainer_run(vq_trainer *t)
{
	if (!t->started_codebook)
		VQ_TRY(trainer_start_codebook(t));
	t->run_began = vq_seconds();
	bool done = over(t, 0) && t->step;
	if (!t->step && over(t, 0))
		t->fraction = 0; /* where making ready took all the time there is, one step is made all the same: a run leaves a model */
	while (!done || t->inside) { /* one restored after its last step has its epoch to close */
		if (!t->inside) {
			t->now = (epoch_state){ .began = vq_seconds() };
			VQ_TRY(trainer_order(t, &t->sampler));
			t->inside = true;
		}
		while (!vq_sampler_done(&t->sampler) && !done) {
			VQ_TRY(one_step(t));
			t->halted |= report_step(t);
			if (t->o.calls.save)
				VQ_TRY(t->o.calls.save(t->o.calls.ctx, t, true));
			done = over(t, 0);
		}
		VQ_TRY(trainer_settle(t, 0));
		t->inside = false;
		t->epoch++;
		t->sampler.at = 0; /* what is behind is counted by the epoch */
		done = over(t, closing(t)); /* no step after which there would be no time for another end */
		VQ_TRY(end_epoch(t, done));
		done |= t->stopped;
	}
	return VQ_OK;
}
