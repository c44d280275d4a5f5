/* Convolutions by lib/cpu/gather.h within a plan: which ones, where their rows are, their weights kept packed, and blocks shared out. */
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/cpu.h"
#include "lib/cpu/gather.h"

enum { CLASSES = 40 };

struct cpu_gather {
	int classes;
	gather_class c[CLASSES];
	const uint16_t *zeros;
};

/* By measurement on Zen 4: how many positions of the feature side there may be before the others, which bring the weights into their layouts
 * more slowly and compute faster, catch up. */
static int positions_most(const cpu_conv *r)
{
	if (r->s == 1)
		return r->k == 1 && r->kind == CPU_BY_WEIGHT ? 64 : 0;
	switch (r->kind) {
	case CPU_FORWARD: return 1024;
	case CPU_BY_DATA: return 256;
	default: return r->k == 3 ? 1024 : 64;
	}
}

bool cpu_gather_takes(const cpu_backend *b, const vq_value *src, const vq_value *dst, const cpu_conv *r)
{
	bool weight = r->kind == CPU_BY_WEIGHT;
	const vq_value *x = r->kind == CPU_BY_DATA ? dst : src;
	if (b->level < 5 || !cpu_conv_may(b, CPU_CONV_GATHER) || src->c % GATHER_CHANNELS || dst->c % GATHER_CHANNELS || r->k * r->k > GATHER_TAPS ||
	    x->dtype != VQ_BF16 || (weight && dst->dtype != VQ_BF16) || cpu_count(src) > INT32_MAX || cpu_count(dst) > INT32_MAX)
		return false;
	return b->conv == CPU_CONV_GATHER || (!b->amx && dst->n * dst->h * dst->w <= positions_most(r));
}

/* Where position (image, y, x) of a value is, in elements; -1 outside. */
static int32_t row_at(const vq_value *v, int image, int y, int x)
{
	return y >= 0 && y < v->h && x >= 0 && x < v->w ? ((image * v->h + y) * v->w + x) * v->c : -1;
}

/* What a position takes through a tap: by data a position of the feature side, else one of the image side; -1: nothing. */
static int32_t source(const cpu_conv *r, const vq_value *from, int image, int y, int x, int tap)
{
	int ky = tap / r->k, kx = tap % r->k;
	if (r->kind != CPU_BY_DATA)
		return row_at(from, image, y * r->s - r->p + ky, x * r->s - r->p + kx);
	y += r->p - ky;
	x += r->p - kx;
	return y < 0 || x < 0 || y % r->s || x % r->s ? -1 : row_at(from, image, y / r->s, x / r->s);
}

typedef struct { const cpu_conv *r; const vq_value *from, *to; uint32_t mask[CLASSES]; int at[CLASSES]; } sorting;

static int32_t source_of(const sorting *s, int row, int tap)
{
	return source(s->r, s->from, row / s->to->w / s->to->h, row / s->to->w % s->to->h, row % s->to->w, tap);
}

/* The class of a row, a new one if there is none and room for it; the last takes all that are left. */
static int class_of(struct cpu_gather *g, sorting *s, int row)
{
	uint32_t m = 0;
	for (int t = 0; t < s->r->k * s->r->k; t++)
		m |= (uint32_t)(s->r->kind == CPU_BY_WEIGHT || source_of(s, row, t) >= 0) << t;
	for (int i = 0; i < g->classes; i++)
		if (s->mask[i] == m)
			return i;
	int i = g->classes < CLASSES ? g->classes++ : CLASSES - 1;
	s->mask[i] |= m;
	return i;
}

/* Sorts the positions of `to` by which taps they have: at the edge of a small image, and between the strides, most have few. The gradient by
 * weights takes all positions together. Tables have room for every row with every tap. */
static void sort_rows(struct cpu_gather *g, const cpu_conv *r, const vq_value *from, const vq_value *to, int32_t *out, int32_t *in)
{
	sorting s = { .r = r, .from = from, .to = to };
	int rows = to->n * to->h * to->w;
	for (int i = 0; i < rows; i++)
		g->c[class_of(g, &s, i)].rows++;
	for (int i = 0; i < g->classes; i++) {
		gather_class *c = &g->c[i];
		for (int t = 0; t < r->k * r->k; t++)
			if (s.mask[i] >> t & 1)
				c->tap[c->taps++] = t;
		c->out = out;
		c->in = in;
		out += c->rows;
		in += c->rows * c->taps;
	}
	for (int i = 0; i < rows; i++) {
		int k = class_of(g, &s, i);
		gather_class *c = &g->c[k];
		for (int t = 0; t < c->taps; t++)
			c->in[s.at[k] * c->taps + t] = source_of(&s, i, c->tap[t]);
		c->out[s.at[k]++] = i;
	}
}

vq_status cpu_gather_prepare(vq_plan *p, const cpu_conv *r, cpu_node *c)
{
	const vq_value *src = cpu_v(p, r->src), *dst = cpu_v(p, r->dst);
	bool turned = r->kind == CPU_BY_DATA;
	int k = turned ? dst->c : src->c, n = turned ? src->c : dst->c, taps = r->k * r->k;
	size_t rows = cpu_count(turned ? src : dst) / (size_t)n, zeros = sizeof(uint16_t) * (size_t)VQ_MAX(k, n), head = VQ_ALIGN(sizeof *c->gather, (size_t)64);
	size_t tables = sizeof(int32_t) * rows * ((size_t)taps + 1);
	if (!(c->extra = vq_aligned(head + zeros + tables)))
		return VQ_ENOMEM;
	memset(c->extra, 0, head + zeros);
	c->gather = c->extra;
	c->gather->zeros = (uint16_t *)((char *)c->extra + head);
	int32_t *table = (int32_t *)((char *)c->extra + head + zeros);
	sort_rows(c->gather, r, turned ? dst : src, turned ? src : dst, table, table + rows);
	strcpy(c->impl, "gather:avx512_bf16");
	if (r->kind == CPU_BY_WEIGHT)
		return cpu_scratch(p, VQ_MAX(cpu_sums_bytes((size_t)VQ_MAX(k, n)), (size_t)p->b->b.threads * VQ_ALIGN(gather_grad_scratch(k, n, taps), (size_t)64)));
	static const char who[] = "gather";
	const vq_value *w = cpu_v(p, r->w);
	return cpu_layout_get(p->s, &(cpu_form){ .where = w->where, .param = w->param, .who = who, .turned = turned }, gather_bytes(k, n, taps), &c->w.at);
}

/* Blocks [from, to) of all panels and classes. */
static void run_blocks(const gather_conv *a, const struct cpu_gather *g, size_t blocks, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		int at = (int)(i % blocks), class = 0, each = gather_block(a->n);
		while (at >= (g->c[class].rows + each - 1) / each)
			at -= (g->c[class++].rows + each - 1) / each;
		gather_run(a, &g->c[class], (int)(i / blocks), at * each);
	}
}

/* What a team of threads shares. */
typedef struct {
	gather_conv a;
	gather_grad g;
	const struct cpu_gather *at;
	const float *w;
	void *u;
	char *scratch;
	size_t blocks, panels, apart;
	int threads;
	bool turned, stale, own /* each thread packs what it takes */, by_k /* else every thread gathers all of the image */;
} sharing;

static void pack_share(void *arg, int i)
{
	const sharing *s = arg;
	size_t from, to;
	cpu_part(gather_pack_steps(s->a.k, s->a.n), 1, i, s->threads, &from, &to);
	gather_pack(s->w, s->a.k, s->a.n, s->a.taps, s->turned, from, to, s->u);
}

static void run_share(void *arg, int i)
{
	const sharing *s = arg;
	size_t blocks = s->blocks, each = gather_pack_steps(s->a.k, s->a.n) / s->panels, from, to;
	cpu_part(s->panels * blocks, 1, i, s->threads, &from, &to);
	for (size_t at = from, n; at < to; at += n) {
		n = s->own ? blocks : to - from;
		if (s->stale && s->own)
			gather_pack(s->w, s->a.k, s->a.n, s->a.taps, s->turned, each * (at / blocks), each * (at / blocks + 1), s->u);
		run_blocks(&s->a, s->at, blocks, at, at + n);
	}
}

void cpu_gather_run(vq_plan *p, const cpu_conv *r, cpu_node *c)
{
	bool turned = r->kind == CPU_BY_DATA;
	const vq_value *x = cpu_v(p, turned ? r->dst : r->src), *y = cpu_v(p, turned ? r->src : r->dst);
	sharing s = { .at = c->gather, .w = cpu_at(p, r->w), .u = c->w.at->bytes, .panels = (size_t)(y->c / gather_width(y->c)), .threads = p->b->b.threads, .turned = turned,
		.stale = c->w.at->version != p->s->version };
	s.a = (gather_conv){ .k = x->c, .n = y->c, .taps = r->k * r->k, .x = cpu_at(p, turned ? r->dst : r->src), .u = s.u, .zeros = c->gather->zeros,
		.y = cpu_at(p, turned ? r->src : r->dst), .to = y->dtype, .bias = cpu_at(p, r->bias), .sum = r->sum, .relu = r->relu };
	s.own = s.panels % (size_t)s.threads == 0;
	size_t each = (size_t)gather_block(y->c);
	for (int i = 0; i < c->gather->classes; i++)
		s.blocks += ((size_t)c->gather->c[i].rows + each - 1) / each;
	cpu_team(s.threads, s.stale && !s.own ? pack_share : NULL, run_share, &s);
	c->w.at->version = p->s->version;
}

static void weight_share(void *arg, int i)
{
	const sharing *s = arg;
	size_t from, to;
	cpu_part((size_t)(s->by_k ? s->g.k : s->g.n), GATHER_CHANNELS, i, s->threads, &from, &to);
	if (to > from)
		gather_weight(&s->g, s->by_k ? (int)from : 0, s->by_k ? (int)to : s->g.k, s->by_k ? 0 : (int)from, s->by_k ? s->g.n : (int)to, s->scratch + s->apart * (size_t)i);
}

void cpu_gather_weight_run(vq_plan *p, const cpu_conv *r, cpu_node *c)
{
	const vq_value *src = cpu_v(p, r->src), *dst = cpu_v(p, r->dst);
	sharing s = { .threads = p->b->b.threads, .scratch = p->scratch };
	s.g = (gather_grad){ .positions = c->gather->c[0].rows, .k = src->c, .n = dst->c, .taps = r->k * r->k, .x = cpu_at(p, r->src), .dy = cpu_at(p, r->dst),
		.zeros = c->gather->zeros, .in = c->gather->c[0].in, .dw = cpu_at(p, r->w) };
	s.apart = VQ_ALIGN(gather_grad_scratch(s.g.k, s.g.n, s.g.taps), (size_t)64);
	s.by_k = s.g.k / GATHER_CHANNELS >= s.threads;
	cpu_team(s.threads, NULL, weight_share, &s);
}
