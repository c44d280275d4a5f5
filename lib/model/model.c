#include "lib/model/model.h"

#include <stdio.h>
#include <string.h>

#include "lib/model/family.h"
#include "lib/rng.h"

static vq_status describe(const vq_config *c, vq_model_info *info)
{
	switch (c->model) {
	case VQ_MODEL_CODES: return vq_codes_describe(c, info);
	case VQ_MODEL_IMPROVED: return vq_improved_describe(c, info);
	default: return vq_original_describe(c, info);
	}
}

/* What the configuration wants of extents beyond what the model needs. */
static vq_status describe_padding(const vq_config *c, vq_model_info *info)
{
	enum { MOST = 512 };
	int a = info->multiple, b = VQ_MAX(c->pad_multiple, 1);
	while (b) {
		int rest = a % b;
		a = b;
		b = rest;
	}
	int both = info->multiple / a * VQ_MAX(c->pad_multiple, 1);
	if (both > VQ_MAX(MOST, info->multiple))
		return vq_fail(VQ_EINVAL, "pad_multiple %d and the model's own multiple of %d come together at %d: at most %d is possible", c->pad_multiple, info->multiple,
			both, MOST);
	info->pad_mode = c->pad_mode;
	info->power_of_two |= c->pad_multiple == 0;
	info->multiple = both;
	info->gap = VQ_ALIGN(info->gap, both);
	if (info->power_of_two || info->min || c->pad_min > both)
		info->min = VQ_MAX(VQ_MAX(info->min, c->pad_min), both);
	return VQ_OK;
}

vq_status vq_model_describe(const vq_config *c, int channels, vq_model_info *info)
{
	*info = (vq_model_info){ .channels = channels };
	if (channels < 1 || channels > 16)
		return vq_fail(VQ_EINVAL, "a model of %d channels (1 to 16 are possible)", channels);
	VQ_TRY(describe(c, info));
	return describe_padding(c, info);
}

static vq_act act_of(int activation)
{
	static const vq_act of[] = { [VQ_ACT_RELU] = VQ_FN_RELU, [VQ_ACT_LEAKY_RELU] = VQ_FN_LEAKY, [VQ_ACT_SILU] = VQ_FN_SILU, [VQ_ACT_GELU] = VQ_FN_GELU };
	return of[activation];
}

static vq_optimizer optimizer_of(const vq_config *c)
{
	return (vq_optimizer){ .kind = c->optimizer == VQ_OPT_SGD ? VQ_SGD : c->optimizer == VQ_OPT_ADAM ? VQ_ADAM : VQ_ADAMW, .beta1 = (float)c->beta1,
		.beta2 = (float)c->beta2, .eps = (float)c->optimizer_epsilon, .weight_decay = (float)c->weight_decay, .momentum = (float)c->momentum,
		.clip = (float)c->gradient_clip_norm };
}

static vq_status build(const vq_config *c, int channels, vq_params *params, bool declare, vq_graph_kind kind, vq_canvas canvas, vq_graph *g, vq_model_io *io)
{
	vq_model_info info;
	VQ_TRY(vq_model_describe(c, channels, &info));
	if (info.stride == 0 && canvas.items != canvas.n)
		return vq_fail(VQ_EINVAL, "%d items on %d canvases: with one code a cell each has a canvas of its own", canvas.items, canvas.n);
	vq_builder b = { .g = g, .params = params, .declare = declare, .training = kind == VQ_GRAPH_TRAIN };
	vq_family f = { .b = &b, .c = c, .info = &info, .kind = kind, .io = io, .act = act_of(c->activation) };
	*io = (vq_model_io){ .input = -1, .weight = -1, .output = -1 };
	for (int i = 0; i < VQ_CODE_LEVELS_MAX; i++)
		io->codes[i] = io->z[i] = -1;
	for (int i = 0; i < VQ_LEVELS_MAX; i++)
		io->skip[i] = -1;
	g->params = params;
	g->items_max = canvas.items;
	g->packed = canvas.packed;
	g->compute = canvas.compute;
	g->optimizer = optimizer_of(c);
	vq_grid_new(&b, (vq_grid){ .parent = -1, .h = canvas.h, .w = canvas.w });
	(c->model == VQ_MODEL_CODES ? vq_codes_build : c->model == VQ_MODEL_IMPROVED ? vq_improved_build : vq_original_build)(&f, canvas);
	return kind == VQ_GRAPH_TRAIN ? vq_build_training(&b, c->checkpoint_activations, VQ_S_NORM) : vq_build_finish(&b);
}

vq_status vq_model_graph(const vq_config *c, int channels, const vq_params *params, vq_graph_kind kind, vq_canvas canvas, vq_graph *g, vq_model_io *io)
{
	vq_status s = build(c, channels, (vq_params *)params, false, kind, canvas, g, io);
	if (s < 0)
		vq_graph_free(g);
	return s;
}

vq_status vq_model_params(const vq_config *c, int channels, vq_params *p)
{
	vq_graph g = {0};
	vq_model_io io;
	vq_model_info info;
	VQ_TRY(vq_model_describe(c, channels, &info));
	int side = VQ_MAX(info.multiple, 32);
	vq_status s = build(c, channels, p, true, VQ_GRAPH_EVAL, (vq_canvas){ 1, side, side, 1, false, VQ_F32 }, &g, &io);
	vq_graph_free(&g);
	if (s < 0)
		vq_params_free(p);
	return s;
}

static float start_value(const vq_param *q, vq_rng *r)
{
	switch (q->init) {
	case VQ_INIT_ONE:     return 1;
	case VQ_INIT_VALUE:   return q->init_a;
	case VQ_INIT_UNIFORM: return (float)((2 * vq_rng_uniform(r) - 1) * (double)q->init_a);
	case VQ_INIT_NORMAL:  return (float)(vq_rng_normal(r) * (double)q->init_a);
	default:              return 0;
	}
}

void vq_model_init(const vq_params *params, const vq_config *c, uint64_t seed, float *state, float *param)
{
	memset(state, 0, sizeof *state * params->sizes[0]);
	memset(param, 0, sizeof *param * params->sizes[1]);
	for (int i = 0; i < params->n; i++) {
		const vq_param *q = &params->p[i];
		vq_rng r = vq_rng_make(seed, 0x1000 + (uint64_t)i);
		float *x = (q->trainable ? param : state) + q->offset;
		for (size_t j = 0; j < q->count; j++)
			x[j] = start_value(q, &r);
	}
	/* a running sum starts as its count times the row */
	for (int i = 0; i < params->n; i++) {
		char name[64];
		size_t n = strlen(params->p[i].name);
		if (n < 8 || strcmp(params->p[i].name + n - 8, ".ema_sum"))
			continue;
		snprintf(name, sizeof name, "%.*s.codebook", (int)VQ_MIN(n - 8, (size_t)54), params->p[i].name);
		int book = vq_params_find(params, name);
		for (size_t j = 0; book >= 0 && j < params->p[i].count; j++)
			state[params->p[i].offset + j] = VQ_START_COUNT * state[params->p[book].offset + j];
	}
}
