/* Convolutions by lib/cpu/wino.h within a plan: which ones, their filters kept transformed, and tiles shared out to threads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/cpu.h"
#include "lib/cpu/wino.h"

#if defined __x86_64__
extern const wino_kernels wino_f32_v3, wino_f32_v4, wino_bf16_v5, wino_half_f32_v3, wino_half_f32_v4, wino_half_bf16_v5, wino_quad_f32_v3, wino_quad_f32_v4;
#endif

static const wino_kernels *pick(vq_dtype t, int level, bool half)
{
#if defined __x86_64__
	level = vq_kernels_level(level);
	if (t == VQ_BF16)
		return level >= 5 ? half ? &wino_half_bf16_v5 : &wino_bf16_v5 : NULL;
	if (level >= 4)
		return half ? &wino_half_f32_v4 : &wino_f32_v4;
	if (level >= 3)
		return half ? &wino_half_f32_v3 : &wino_f32_v3;
#endif
	return NULL;
}

const wino_kernels *wino_pick(vq_dtype t, int level) { return pick(t, level, false); }
const wino_kernels *wino_pick_half(vq_dtype t, int level) { return pick(t, level, true); }

const wino_kernels *wino_pick_quad(int level)
{
#if defined __x86_64__
	level = vq_kernels_level(level);
	return level >= 4 ? &wino_quad_f32_v4 : level >= 3 ? &wino_quad_f32_v3 : NULL;
#else
	return NULL;
#endif
}

/* Below this many tiles the filters' own transformation, once an update, takes what the tiles save. In f32 the library is the faster one up to
 * 4x4 and 8x8 outputs of 16 images (improved-grid's steps of 32x32 and 64x64, measured on an Intel Xeon with AVX-512); a store that nobody trains
 * transforms its filters once for all. */
enum { TILES_LEAST = 64, HALF_TILES_LEAST = 16, F32_TILES_LEAST = 65, FIXED_TILES_LEAST = 8 };

static int tiles_least(const vq_store *s, vq_dtype t, bool half)
{
	if (!s->buf[VQ_BUF_GRAD])
		return FIXED_TILES_LEAST;
	return t == VQ_F32 ? F32_TILES_LEAST : half ? HALF_TILES_LEAST : TILES_LEAST;
}

static bool is_half(const cpu_conv *r, const vq_value *src, const vq_value *dst)
{
	return r->k == 4 && r->s == 2 && r->p == 1 && src->h == 2 * dst->h && src->w == 2 * dst->w;
}

/* Whether 36 multiplications for a tile of 4x4 are fewer than 16 for each of its 2x2, at the edges too; in a store that nobody trains, whose filters
 * are transformed once for all, and with one cell a canvas. */
static bool quads_pay(const vq_plan *p, const cpu_conv *r, const vq_value *src, const vq_value *dst)
{
	return p->b->conv == CPU_CONV_AUTO && r->kind == CPU_FORWARD && src->dtype == VQ_F32 && !p->s->buf[VQ_BUF_GRAD] && p->g.items_max == 1 && dst->n == 1 &&
		36 * wino_tiles(4, 1, dst->h, dst->w) < 16 * wino_tiles(2, 1, dst->h, dst->w);
}

/* By measurement on Zen 4; AMX multiplies bf16 16 times as fast as the transforms' instructions add, so that they do not pay there. */
static const wino_kernels *choose(const vq_plan *p, const cpu_conv *r, const vq_value *src, const vq_value *dst)
{
	const cpu_backend *b = p->b;
	bool half = is_half(r, src, dst), whole = r->k == 3 && r->s == 1 && r->p == 1;
	int channels = half ? WINO_HALF_CHANNELS : WINO_CHANNELS;
	if (b->conv == CPU_CONV_DIRECT || b->conv == CPU_CONV_STRIP || (!half && !whole) || src->dtype != dst->dtype || src->c % channels || dst->c % channels)
		return NULL;
	/* at full size between few channels the transforms of a half take what they save, but for the gradient by weights */
	if (b->conv == CPU_CONV_AUTO && half && r->kind != CPU_BY_WEIGHT && (src->c % 32 || wino_tiles(2, dst->n, dst->h, dst->w) < (size_t)TILES_LEAST))
		return NULL;
	if (b->conv == CPU_CONV_AUTO && (wino_tiles(2, dst->n, dst->h, dst->w) < (size_t)tiles_least(p->s, src->dtype, half) || (src->dtype == VQ_BF16 && b->amx)))
		return NULL;
	if (half)
		return wino_pick_half(src->dtype, b->level);
	return quads_pay(p, r, src, dst) ? wino_pick_quad(b->level) : wino_pick(src->dtype, b->level);
}

enum { PRODUCTS = 36 }; /* of a filter, at most: 16 or 36 */

static size_t grad_bytes(const wino_kernels *w, int k, int n) /* of one part: scratch, sums of products, sums of dy */
{
	return VQ_ALIGN(w->weight_scratch(k, n), (size_t)64) + sizeof(float) * PRODUCTS * (size_t)k * (size_t)n + VQ_ALIGN(sizeof(double) * (size_t)n, (size_t)64);
}

vq_status cpu_wino_prepare(vq_plan *p, const cpu_conv *r, cpu_node *c)
{
	const vq_value *src = cpu_v(p, r->src), *dst = cpu_v(p, r->dst);
	const wino_kernels *w = choose(p, r, src, dst);
	size_t threads = (size_t)p->b->b.threads, zeros = sizeof(float) * (size_t)VQ_MAX(src->c, dst->c);
	if (!w)
		return VQ_OK;
	bool turned = r->kind == CPU_BY_DATA || (r->kind == CPU_BY_WEIGHT && is_half(r, src, dst)); /* x is dst's side */
	int k = turned ? dst->c : src->c, n = turned ? src->c : dst->c;
	if (!(c->extra = vq_aligned(zeros)))
		return VQ_ENOMEM;
	memset(c->extra, 0, zeros);
	c->wino = w;
	snprintf(c->impl, sizeof c->impl, "winograd%s:%s", w->side == 4 ? "4" : "", w->name);
	if (r->kind == CPU_BY_WEIGHT)
		return cpu_scratch(p, threads * grad_bytes(w, k, n));
	const vq_value *v = cpu_v(p, r->w);
	VQ_TRY(cpu_layout_get(p->s, &(cpu_form){ .where = v->where, .param = v->param, .who = w, .turned = turned }, w->filter_bytes(k, n), &c->w.at));
	return cpu_scratch(p, threads * VQ_ALIGN(w->forward_scratch(k, n), (size_t)64));
}

/* What a team of threads shares. */
typedef struct {
	const wino_kernels *w;
	wino_conv a;
	wino_grad g;
	const float *filters;
	float *dw;
	void *u;
	bool turned;
	size_t tiles, one, products; /* one: bytes of a thread's scratch */
	int threads;
	char *scratch;
} sharing;

static void transform_share(void *arg, int i)
{
	const sharing *s = arg;
	size_t from, to;
	cpu_part(s->w->filter_steps(s->a.k, s->a.n), 1, i, s->threads, &from, &to);
	s->w->filter(s->filters, s->a.k, s->a.n, s->turned, from, to, s->u);
}

static void forward_share(void *arg, int i)
{
	const sharing *s = arg;
	size_t from, to;
	cpu_part(s->tiles, 8, i, s->threads, &from, &to);
	s->w->forward(&s->a, from, to, s->scratch + s->one * (size_t)i);
}

void cpu_wino_run(vq_plan *p, const cpu_conv *r, cpu_node *c)
{
	bool turned = r->kind == CPU_BY_DATA, stale = c->w.at->version != p->s->version;
	const vq_value *x = cpu_v(p, turned ? r->dst : r->src), *y = cpu_v(p, turned ? r->src : r->dst);
	sharing s = { .w = c->wino, .filters = cpu_at(p, r->w), .u = c->w.at->bytes, .turned = turned, .threads = p->b->b.threads, .scratch = p->scratch };
	s.a = (wino_conv){ .images = x->n, .h = cpu_v(p, r->dst)->h, .w = cpu_v(p, r->dst)->w, .k = x->c, .n = y->c, .x = cpu_at(p, turned ? r->dst : r->src),
		.y = cpu_at(p, turned ? r->src : r->dst), .u = s.u, .bias = cpu_at(p, r->bias), .zeros = c->extra, .sum = r->sum, .relu = r->relu, .up = turned };
	s.tiles = wino_tiles(s.w->side, s.a.images, s.a.h, s.a.w);
	s.one = VQ_ALIGN(s.w->forward_scratch(s.a.k, s.a.n), (size_t)64);
	cpu_team(s.threads, stale ? transform_share : NULL, forward_share, &s);
	c->w.at->version = p->s->version;
}

/* Each part: its products, its sums of dy, its scratch. */
static double *sums_of(const sharing *s, int i) { return (double *)(s->scratch + s->one * (size_t)i + sizeof(float) * s->products); }

static void weight_share(void *arg, int i)
{
	const sharing *s = arg;
	double *sums = sums_of(s, i);
	size_t from, to;
	cpu_part(s->tiles, 8, i, s->threads, &from, &to);
	s->w->weight(&s->g, from, to, (float *)(s->scratch + s->one * (size_t)i), sums, (char *)sums + VQ_ALIGN(sizeof *sums * (size_t)s->g.n, (size_t)64));
}

static void fold_share(void *arg, int i)
{
	const sharing *s = arg;
	size_t from, to;
	cpu_part((size_t)s->g.n, 16, i, s->threads, &from, &to);
	s->w->fold((float *)s->scratch, s->threads, s->one / sizeof(float), s->g.k, s->g.n, (int)from, (int)to, s->dw);
}

void cpu_wino_weight_run(vq_plan *p, const cpu_conv *r, cpu_node *c, float *db)
{
	bool half = is_half(r, cpu_v(p, r->src), cpu_v(p, r->dst));
	int xi = half ? r->dst : r->src, yi = half ? r->src : r->dst;
	const vq_value *x = cpu_v(p, xi), *y = cpu_v(p, yi);
	sharing s = { .w = c->wino, .dw = cpu_at(p, r->w), .threads = p->b->b.threads, .scratch = p->scratch, .tiles = wino_tiles(2, x->n, x->h, x->w),
		.one = grad_bytes(c->wino, x->c, y->c), .products = PRODUCTS * (size_t)x->c * (size_t)y->c,
		.g = { .images = x->n, .h = x->h, .w = x->w, .k = x->c, .n = y->c, .x = cpu_at(p, xi), .dy = cpu_at(p, yi), .zeros = c->extra } };
	cpu_team(s.threads, weight_share, fold_share, &s);
	for (int j = 0; j < y->c && db; j++) {
		double sum = 0;
		for (int i = 0; i < s.threads; i++)
			sum += sums_of(&s, i)[j];
		db[j] += (float)sum;
	}
}
