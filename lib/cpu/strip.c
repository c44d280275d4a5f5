/* Convolutions by lib/cpu/strip.h within a plan: which ones, their weights kept packed, and rows shared out to threads. */
#include <stdio.h>

#include "lib/cpu/cpu.h"
#include "lib/cpu/strip.h"

#if defined __x86_64__
extern const strip_kernels strip_f32_v3, strip_f32_v4, strip_bf16_v5;
#endif

const strip_kernels *strip_pick(vq_dtype t, int level)
{
	const strip_kernels *k = NULL;
#if defined __x86_64__
	level = vq_kernels_level(level);
	if (t == VQ_BF16)
		k = level >= 5 ? &strip_bf16_v5 : NULL;
	else
		k = level >= 4 ? &strip_f32_v4 : level >= 3 ? &strip_f32_v3 : NULL;
#endif
	return k;
}

/* Where a store trains, one plan's primitives are made once and the library's are as fast; AMX multiplies bf16 faster than these. */
bool cpu_strip_takes(const vq_store *s, const vq_value *src, const vq_value *dst, const cpu_conv *r)
{
	const cpu_backend *b = s->b;
	if (r->kind != CPU_FORWARD || dst->c % STRIP_OUTS || (dst->dtype != src->dtype && dst->dtype != VQ_F32) || !cpu_conv_may(b, CPU_CONV_STRIP) ||
	    !strip_pick(src->dtype, b->level))
		return false;
	return b->conv == CPU_CONV_STRIP || (!s->buf[VQ_BUF_GRAD] && !(src->dtype == VQ_BF16 && b->amx));
}

static strip_conv arguments(vq_plan *p, const cpu_conv *r, const cpu_node *c)
{
	const vq_value *src = cpu_v(p, r->src), *dst = cpu_v(p, r->dst);
	return (strip_conv){ .h = src->h, .w = src->w, .c = src->c, .oh = dst->h, .ow = dst->w, .n = dst->c, .k = r->k, .s = r->s, .p = r->p, .to = dst->dtype,
		.u = c->w.at->bytes, .sum = r->sum, .relu = r->relu };
}

vq_status cpu_strip_prepare(vq_plan *p, const cpu_conv *r, cpu_node *c)
{
	const vq_value *src = cpu_v(p, r->src), *dst = cpu_v(p, r->dst), *w = cpu_v(p, r->w);
	const strip_kernels *k = strip_pick(src->dtype, p->b->level);
	snprintf(c->impl, sizeof c->impl, "strip:%s", k->name);
	c->strip = k;
	VQ_TRY(cpu_layout_get(p->s, &(cpu_form){ .where = w->where, .param = w->param, .who = k }, k->bytes(src->c, dst->c, r->k), &c->w.at));
	strip_conv a = arguments(p, r, c);
	return cpu_scratch(p, (size_t)p->b->b.threads * VQ_ALIGN(k->scratch(&a), (size_t)64));
}

typedef struct { const strip_kernels *k; strip_conv a; size_t rows, apart; int threads; char *scratch; } sharing;

static void run_share(void *arg, int i)
{
	const sharing *s = arg;
	size_t from, to;
	cpu_part(s->rows, 1, i, s->threads, &from, &to);
	s->k->run(&s->a, from, to, s->scratch + s->apart * (size_t)i);
}

void cpu_strip_run(vq_plan *p, const cpu_conv *r, cpu_node *c)
{
	sharing s = { .k = c->strip, .a = arguments(p, r, c), .threads = p->b->b.threads, .scratch = p->scratch };
	s.rows = (size_t)cpu_v(p, r->dst)->n * (size_t)s.a.oh;
	s.apart = VQ_ALIGN(s.k->scratch(&s.a), (size_t)64);
	s.a.x = cpu_at(p, r->src);
	s.a.y = cpu_at(p, r->dst);
	s.a.bias = cpu_at(p, r->bias);
	if (c->w.at->version != p->s->version)
		s.k->pack(cpu_at(p, r->w), s.a.c, s.a.n, s.a.k, c->w.at->bytes);
	c->w.at->version = p->s->version;
	cpu_team(s.threads, NULL, run_share, &s);
}
