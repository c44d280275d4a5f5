/* Training of models that take one cell a canvas: a plan for each canvas size, the last used kept. */
#include <string.h>

#include "lib/model/graph.h"
#include "lib/train/trainer_int.h"

static void drop(vq_trainer *t, sized_plan *s)
{
	if (!s->p.plan)
		return;
	if (t->train.plan == s->p.plan)
		t->train = (train_plan){0};
	if (t->eval.plan == s->p.plan)
		t->eval = (train_plan){0};
	if (t->encode.plan == s->p.plan)
		t->encode = (train_plan){0};
	if (s->kind == VQ_GRAPH_TRAIN)
		trainer_note_plan(t, &s->p);
	t->b->plan_free(s->p.plan);
	vq_graph_free(&s->p.g);
	*s = (sized_plan){0};
}

void trainer_drop_sized(vq_trainer *t)
{
	for (int i = 0; i < SIZED_PLANS; i++)
		drop(t, &t->sized[i]);
}

void trainer_alike(vq_trainer *t)
{
	const vq_config *c = t->c;
	t->alike = (vq_alike){ .multiple = t->info.multiple, .least = t->info.min, .tolerance = c->size_tolerance, .square = t->augment & VQ_TURN,
		.cells = c->batch_size, .pixels = c->pixels_per_step };
}

vq_status trainer_use(vq_trainer *t, train_plan *view, const vq_sheet *sheet)
{
	vq_graph_kind kind = view == &t->train ? VQ_GRAPH_TRAIN : view == &t->encode ? VQ_GRAPH_ENCODE : VQ_GRAPH_EVAL;
	sized_plan *s = &t->sized[0];
	t->sheet = *sheet;
	for (int i = 0; i < SIZED_PLANS; i++) {
		sized_plan *k = &t->sized[i];
		if (k->p.plan && k->kind == kind && k->sheet.h == sheet->h && k->sheet.w == sheet->w && k->sheet.canvases == sheet->canvases) {
			k->used = ++t->clock;
			*view = k->p;
			return VQ_OK;
		}
		if (k->used < s->used)
			s = k;
	}
	drop(t, s);
	vq_canvas canvas = { sheet->canvases, sheet->h, sheet->w, sheet->canvases, true, t->compute, t->o.perceptual };
	VQ_TRY(vq_model_graph(t->c, t->info.channels, &t->params, kind, canvas, &s->p.g, &s->p.io));
	if (kind == VQ_GRAPH_TRAIN)
		trainer_measure(t, &s->p.g);
	double began = vq_seconds();
	vq_status st = t->b->plan_make(t->b, t->store, &s->p.g, &s->p.plan);
	t->spent.plans += vq_seconds() - began;
	if (st < 0) {
		vq_graph_free(&s->p.g);
		*s = (sized_plan){0};
		return st;
	}
	s->kind = kind;
	s->sheet = *sheet;
	s->used = ++t->clock;
	*view = s->p;
	return VQ_OK;
}

vq_status trainer_draw(vq_trainer *t, vq_sampler *s, int augment, vq_batch *b)
{
	if (!t->info.packable)
		return vq_alike_draw(s, &t->o.calls, &t->alike, augment, b);
	b->sheet = t->sheet;
	return vq_batch_draw(s, &t->o.calls, &t->sheet, augment, b);
}

vq_status trainer_order(vq_trainer *t, vq_sampler *s)
{
	if (!t->info.packable)
		return vq_alike_epoch(s, &t->o.calls, &t->alike);
	vq_sampler_epoch(s);
	return VQ_OK;
}

vq_rect trainer_positions(const vq_trainer *t, const vq_batch *b, int level, int item)
{
	int s = t->info.level[level].stride;
	vq_rect v = b->place[item].valid;
	if (!s)
		return (vq_rect){ item, 0, 0, 1, 1 };
	return (vq_rect){ v.n, v.y / s, v.x / s, (v.y + v.h + s - 1) / s - v.y / s, (v.x + v.w + s - 1) / s - v.x / s };
}

size_t trainer_position(const vq_trainer *t, const vq_batch *b, int level, vq_rect r, int y, int x)
{
	int s = t->info.level[level].stride;
	if (!s)
		return (size_t)r.n;
	return ((size_t)r.n * (size_t)(b->sheet.h / s) + (size_t)(r.y + y)) * (size_t)(b->sheet.w / s) + (size_t)(r.x + x);
}
