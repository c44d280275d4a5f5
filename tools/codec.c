#include "tools/codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/model/graph.h"

enum { PLANS = 64 /* a worker; to make one more takes little where the convolutions are our own */ };

typedef struct { int h, w; uint64_t used; vq_graph g; vq_model_io io; vq_plan *plan; } slot;
typedef struct { vq_backend *b; vq_store *s; slot slot[PLANS]; uint64_t clock; } worker;

struct codec {
	const vq_model *m;
	codec_use use;
	int n;
	worker *w;
};

static void drop(worker *w, slot *s)
{
	if (s->plan)
		w->b->plan_free(s->plan);
	vq_graph_free(&s->g);
	*s = (slot){0};
}

void codec_close(codec *c)
{
	if (!c)
		return;
	for (int i = 0; c->w && i < c->n; i++) {
		worker *w = &c->w[i];
		for (int j = 0; j < PLANS; j++)
			drop(w, &w->slot[j]);
		if (w->s)
			w->b->store_free(w->s);
		if (w->b)
			w->b->close(w->b);
	}
	free(c->w);
	free(c);
}

vq_status codec_open(codec **out, const vq_model *m, const char *device, int threads, codec_use use)
{
	vq_status s = VQ_OK;
	*out = NULL;
	codec *c = vq_calloc(1, sizeof *c);
	if (!c)
		return VQ_ENOMEM;
	*c = (codec){ .m = m, .use = use, .n = threads, .w = vq_calloc((size_t)threads, sizeof *c->w) };
	if (!c->w)
		s = VQ_ENOMEM;
	for (int i = 0; i < threads && s == VQ_OK; i++) {
		worker *w = &c->w[i];
		if ((s = vq_backend_open(&w->b, device, 1)) == VQ_OK && (s = w->b->store_make(w->b, &m->params, false, &w->s)) == VQ_OK &&
		    (s = w->b->store_write(w->s, VQ_BUF_STATE, 0, m->params.sizes[0], m->state)) == VQ_OK)
			s = w->b->store_write(w->s, VQ_BUF_PARAM, 0, m->params.sizes[1], m->param);
		if (s == VQ_OK && use == CODEC_ENCODE_BF16 && !w->b->bf16)
			s = vq_fail(VQ_EUNSUP, "bf16 needs a device that computes in it, and this one (%s) does not", w->b->isa);
	}
	if (s < 0) {
		codec_close(c);
		return s;
	}
	*out = c;
	return VQ_OK;
}

int codec_threads(const codec *c) { return c->n; }
const char *codec_device(const codec *c) { return c->w[0].b->name; }
const char *codec_isa(const codec *c) { return c->w[0].b->isa; }
const char *codec_instead(const codec *c) { return c->w[0].b->instead; }

/* The plan for a cell of this extent, made or found; the one unused for longest makes room. */
static vq_status plan_for(codec *c, worker *w, int h, int wd, slot **out)
{
	slot *s = &w->slot[0];
	int multiple = c->m->info.multiple;
	if (h % multiple || wd % multiple)
		return vq_fail(VQ_EINVAL, "an extent of %d x %d, where the model's are multiples of %d", h, wd, multiple);
	for (int i = 0; i < PLANS; i++) {
		if (w->slot[i].plan && w->slot[i].h == h && w->slot[i].w == wd) {
			w->slot[i].used = ++w->clock;
			*out = &w->slot[i];
			return VQ_OK;
		}
		if (w->slot[i].used < s->used)
			s = &w->slot[i];
	}
	drop(w, s);
	vq_canvas canvas = { 1, h, wd, 1, false, c->use == CODEC_ENCODE_BF16 ? VQ_BF16 : VQ_F32 };
	vq_status st = vq_model_graph(&c->m->config, c->m->channels, &c->m->params, c->use == CODEC_DECODE ? VQ_GRAPH_DECODE : VQ_GRAPH_ENCODE, canvas, &s->g, &s->io);
	if (st == VQ_OK)
		st = w->b->plan_make(w->b, w->s, &s->g, &s->plan);
	if (st < 0) {
		drop(w, s);
		return st;
	}
	s->h = h;
	s->w = wd;
	s->used = ++w->clock;
	*out = s;
	return VQ_OK;
}

/* What a plan reads and writes is [h,w,C]. */
static void to_plan(float *of_plan, const float *map, int channels, int h, int w)
{
	size_t n = (size_t)h * (size_t)w;
	for (size_t k = 0; k < (size_t)channels; k++)
		for (size_t i = 0; i < n; i++)
			of_plan[i * (size_t)channels + k] = map[k * n + i];
}

static void from_plan(const float *of_plan, float *map, int channels, int h, int w)
{
	size_t n = (size_t)h * (size_t)w;
	for (size_t k = 0; k < (size_t)channels; k++)
		for (size_t i = 0; i < n; i++)
			map[k * n + i] = of_plan[i * (size_t)channels + k];
}

static vq_status get_skips(const codec *c, const worker *w, const slot *s, cell_codes *o)
{
	for (int i = 0; i < c->m->info.skips; i++) {
		int by = c->m->info.skip[i].stride, ch = c->m->info.skip[i].channels, h = o->extent_h / by, wd = o->extent_w / by;
		if (!(o->skip[i] = vq_malloc(sizeof *o->skip[i] * (size_t)ch * (size_t)h * (size_t)wd)))
			return VQ_ENOMEM;
		from_plan(w->b->plan_host(s->plan, s->io.skip[i]), o->skip[i], ch, h, wd);
	}
	return VQ_OK;
}

static void put_skips(const codec *c, const worker *w, const slot *s, const cell_codes *in)
{
	for (int i = 0; i < c->m->info.skips; i++) {
		int by = c->m->info.skip[i].stride;
		to_plan(w->b->plan_host(s->plan, s->io.skip[i]), in->skip[i], c->m->info.skip[i].channels, in->extent_h / by, in->extent_w / by);
	}
}

void cell_codes_free(cell_codes *c)
{
	for (int l = 0; l < VQ_CODE_LEVELS_MAX; l++)
		free(c->codes[l]);
	for (int l = 0; l < VQ_LEVELS_MAX; l++)
		free(c->skip[l]);
	free(c->mean);
	free(c->std);
	for (int l = 0; l < VQ_CODE_LEVELS_MAX; l++)
		free(c->histogram[l]);
	*c = (cell_codes){0};
}

bool codec_own(const vq_cell *c, int stride, int y, int x)
{
	if (!stride)
		return true;
	for (int i = y * stride; i < (y + 1) * stride; i++)
		for (int j = x * stride; j < (x + 1) * stride; j++)
			if (c->mask ? c->mask[(size_t)i * (size_t)c->w + (size_t)j] == 1 :
			    i >= c->top && i < c->top + c->th && j >= c->left && j < c->left + c->tw)
				return true;
	return false;
}

/* How often each code of a level occurs over the cell's own positions. */
static vq_status count_codes(const vq_code_level *level, const vq_cell *cell, const int32_t *codes, int32_t **histogram)
{
	int h = codec_positions(cell->h, level->stride), w = codec_positions(cell->w, level->stride);
	if (!(*histogram = vq_calloc((size_t)level->size, sizeof **histogram)))
		return VQ_ENOMEM;
	for (int y = 0; y < h; y++)
		for (int x = 0; x < w; x++)
			if (codec_own(cell, level->stride, y, x))
				(*histogram)[codes[y * w + x]]++;
	return VQ_OK;
}

/* Mean and deviation of the latent, and how often each code occurs, over the cell's own positions. */
static vq_status describe(const codec *c, const slot *s, const worker *w, const vq_cell *cell, cell_codes *o)
{
	for (int l = 0; l < c->m->info.levels; l++)
		VQ_TRY(count_codes(&c->m->info.level[l], cell, o->codes[l], &o->histogram[l]));
	int d = c->m->info.level[0].dim, stride = c->m->info.stride;
	const float *z = w->b->plan_host(s->plan, s->io.z[0]);
	double *sum = vq_calloc(2 * (size_t)d, sizeof *sum), n = 0;
	o->mean = vq_calloc((size_t)d, sizeof *o->mean);
	o->std = vq_calloc((size_t)d, sizeof *o->std);
	if (!sum || !o->mean || !o->std) {
		free(sum);
		return VQ_ENOMEM;
	}
	for (int y = 0; y < codec_positions(cell->h, stride); y++)
		for (int x = 0; x < codec_positions(cell->w, stride); x++) {
			if (!codec_own(cell, stride, y, x))
				continue;
			const float *v = z + ((size_t)y * (size_t)codec_positions(s->w, stride) + (size_t)x) * (size_t)d;
			for (int k = 0; k < d; k++) {
				sum[k] += (double)v[k];
				sum[d + k] += (double)v[k] * (double)v[k];
			}
			n++;
		}
	for (int k = 0; k < d && n > 0; k++) {
		double mean = sum[k] / n;
		o->mean[k] = (float)mean;
		o->std[k] = (float)sqrt(fmax(sum[d + k] / n - mean * mean, 0));
	}
	free(sum);
	return VQ_OK;
}

static size_t code_bytes(const cell_codes *k, int stride)
{
	return sizeof(int32_t) * (size_t)codec_positions(k->extent_h, stride) * (size_t)codec_positions(k->extent_w, stride);
}

vq_status codec_encode(codec *c, int worker_at, const vq_cell *cell, bool features, cell_codes *o)
{
	worker *w = &c->w[worker_at];
	slot *s;
	*o = (cell_codes){ .extent_h = cell->h, .extent_w = cell->w, .valid = { 0, cell->top, cell->left, cell->th, cell->tw } };
	VQ_TRY(plan_for(c, w, cell->h, cell->w, &s));
	to_plan(w->b->plan_host(s->plan, s->io.input), cell->pixels, c->m->channels, cell->h, cell->w);
	vq_place at = { { 0, 0, 0, cell->h, cell->w }, { 0, cell->top, cell->left, cell->th, cell->tw } };
	vq_step step = { .items = 1, .places = &at };
	VQ_TRY(w->b->plan_run(s->plan, &step, VQ_FORWARD));
	for (int l = 0; l < c->m->info.levels; l++) {
		size_t bytes = code_bytes(o, c->m->info.level[l].stride);
		if (!(o->codes[l] = vq_malloc(bytes)))
			return VQ_ENOMEM;
		memcpy(o->codes[l], w->b->plan_host(s->plan, s->io.codes[l]), bytes);
	}
	VQ_TRY(get_skips(c, w, s, o));
	return features ? describe(c, s, w, cell, o) : VQ_OK;
}

vq_status codec_decode(codec *c, int worker_at, const cell_codes *in, float **pixels)
{
	worker *w = &c->w[worker_at];
	slot *s;
	int channels = c->m->channels, h = in->extent_h, wd = in->extent_w;
	*pixels = NULL;
	VQ_TRY(plan_for(c, w, h, wd, &s));
	for (int l = 0; l < c->m->info.levels; l++)
		memcpy(w->b->plan_host(s->plan, s->io.codes[l]), in->codes[l], code_bytes(in, c->m->info.level[l].stride));
	put_skips(c, w, s, in);
	vq_place at = { { 0, 0, 0, h, wd }, in->valid };
	vq_step step = { .items = 1, .places = &at };
	VQ_TRY(w->b->plan_run(s->plan, &step, VQ_FORWARD));
	if (!(*pixels = vq_malloc(sizeof **pixels * (size_t)channels * (size_t)h * (size_t)wd)))
		return VQ_ENOMEM;
	from_plan(w->b->plan_host(s->plan, s->io.output), *pixels, channels, h, wd);
	return VQ_OK;
}
