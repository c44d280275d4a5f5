/* Where the time of a run went, against what the machine could do. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/model/graph.h"
#include "lib/model/work.h"
#include "lib/train/trainer_int.h"

void trainer_note_run(vq_trainer *t, const vq_graph *g, unsigned phases)
{
	train_spent *s = &t->spent;
	for (int i = 0; i < g->nn; i++) {
		const vq_node *n = &g->node[i];
		if (!(n->phase & phases))
			continue;
		vq_work w = vq_node_work(g, n, t->params.sizes[1]);
		*(w.type == VQ_BF16 ? &s->bf16[n->op] : &s->f32[n->op]) += w.flops;
		s->bytes[n->op] += w.bytes;
	}
}

static void add_plan(const vq_trainer *t, const train_plan *p, train_spent *s)
{
	const double *took = p->plan ? t->b->plan_seconds(p->plan) : NULL;
	if (!took)
		return;
	for (int i = 0; i < VQ_OPS; i++)
		s->nodes[i] = 0;
	for (int i = 0; i < p->g.nn; i++) {
		s->seconds[p->g.node[i].op] += took[i];
		s->nodes[p->g.node[i].op]++;
	}
}

void trainer_note_plan(vq_trainer *t, const train_plan *p) { add_plan(t, p, &t->spent); }

static vq_status parts(const vq_trainer *t, const train_spent *s, vq_buf *b)
{
	double whole = vq_seconds() - t->o.started;
	const struct { const char *name; double seconds; } part[] = {
		{ "reading, and preparing the model", t->run_began - t->o.started }, { "making plans", s->plans }, { "drawing and packing cells", s->cells },
		{ "computing", s->steps }, { "validating and saving", s->closing } };
	VQ_TRY(vq_buf_fmt(b, "%lld steps in %.3f s\n", (long long)t->step, whole));
	for (size_t i = 0; i < VQ_COUNT(part); i++)
		VQ_TRY(vq_buf_fmt(b, "  %-34s %10.3f s %5.1f %%\n", part[i].name, part[i].seconds, 100 * part[i].seconds / whole));
	return VQ_OK;
}

static vq_status line(const train_spent *s, int op, double total, const vq_peak *peak, vq_buf *b)
{
	double flops = s->f32[op] + s->bf16[op], took = s->seconds[op], memory = s->bytes[op] / peak->memory;
	double compute = s->f32[op] / peak->f32 + (peak->bf16 > 0 ? s->bf16[op] / peak->bf16 : 0);
	char rate[24] = "-";
	if (flops > 0 && took > 0)
		snprintf(rate, sizeof rate, "%.0f", flops / took / 1e9);
	return vq_buf_fmt(b, "%-16s %6d %10.3f %6.1f %9s %7.1f %8.0f %%\n", vq_op_name((vq_op)op), s->nodes[op], took, total > 0 ? 100 * took / total : 0, rate,
		took > 0 ? s->bytes[op] / took / 1e9 : 0, took > 0 ? 100 * VQ_MAX(compute, memory) / took : 0);
}

static vq_status operations(const vq_trainer *t, train_spent *s, vq_buf *b)
{
	double total = 0;
	for (int i = 0; i < VQ_OPS; i++)
		total += s->seconds[i];
	if (!(total > 0) || !t->b->peak)
		return VQ_OK;
	vq_peak peak = t->b->peak(t->b);
	VQ_TRY(vq_buf_fmt(b, "peaks of %d threads: %.0f GFLOP/s f32, %.0f bf16, memory %.1f GB/s\n", t->b->threads, peak.f32 / 1e9, peak.bf16 / 1e9, peak.memory / 1e9));
	VQ_TRY(vq_buf_fmt(b, "%-16s %6s %10s %6s %9s %7s %10s\n", "operation", "nodes", "seconds", "%", "GFLOP/s", "GB/s", "floor"));
	for (;;) {
		int top = -1;
		for (int i = 0; i < VQ_OPS; i++)
			if (s->nodes[i] && (top < 0 || s->seconds[i] > s->seconds[top]))
				top = i;
		if (top < 0)
			return VQ_OK;
		VQ_TRY(line(s, top, total, &peak, b));
		s->nodes[top] = 0;
	}
}

char *vq_trainer_profile(const vq_trainer *t)
{
	train_spent s = t->spent;
	vq_buf b = {0};
	if (t->info.packable)
		add_plan(t, &t->train, &s);
	for (int i = 0; i < SIZED_PLANS; i++)
		if (t->sized[i].kind == VQ_GRAPH_TRAIN)
			add_plan(t, &t->sized[i].p, &s);
	if (parts(t, &s, &b) < 0 || operations(t, &s, &b) < 0)
		vq_buf_free(&b);
	return b.data;
}
