#include "lib/model/perceptual.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/model/perceptual_net.h"

void vq_perceptual_free(vq_perceptual *p)
{
	vq_params_free(&p->table);
	free(p->values);
	*p = (vq_perceptual){0};
}

/* --- weights ------------------------------------------------------------------------------------------------------- */

typedef struct {
	vq_perceptual *p;
	const vq_weights *w;
	vq_net_layer layer[VQ_NET_LAYERS_MAX];
	int layers, used;       /* those of the network, and up to the last tap */
	int width[VQ_NET_LAYERS_MAX]; /* channels after a layer */
} loader;

static const char *named(char buf[64], int layer, const char *part)
{
	snprintf(buf, 64, "features.%d.%s", layer, part);
	return buf;
}

static void shape_text(char *buf, size_t size, int ndim, const int64_t *shape)
{
	size_t n = 0;
	buf[0] = 0;
	if (ndim > 4)
		snprintf(buf, size, "%d dimensions", ndim);
	for (int i = 0; i < ndim && ndim <= 4 && n < size; i++)
		n += (size_t)snprintf(buf + n, size - n, i ? " x %lld" : "%lld", (long long)shape[i]);
}

static vq_status missing(const vq_weights *w, const char *tensor) { return vq_fail(VQ_EINVAL, "%s: it has no tensor %s", w->name, tensor); }

/* A convolution [any, in, k, k] with its bias; *out: how many channels it makes. */
static vq_status check_conv(const vq_weights *w, const char *prefix, int in, int k, int *out)
{
	char weight[80], bias[80], has[80];
	int64_t s[4] = {0};
	int ndim;
	snprintf(weight, sizeof weight, "%.60s.weight", prefix);
	snprintf(bias, sizeof bias, "%.60s.bias", prefix);
	if (!w->shape(w->ctx, weight, &ndim, s))
		return missing(w, weight);
	shape_text(has, sizeof has, ndim, s);
	if (ndim != 4 || s[0] < 1 || s[0] > 65536 || s[1] != in || s[2] != k || s[3] != k)
		return vq_fail(VQ_EINVAL, "%s: tensor %s is %s, not N x %d x %d x %d", w->name, weight, has, in, k, k);
	*out = (int)s[0];
	if (!w->shape(w->ctx, bias, &ndim, s))
		return missing(w, bias);
	shape_text(has, sizeof has, ndim, s);
	if (ndim != 1 || s[0] != *out)
		return vq_fail(VQ_EINVAL, "%s: tensor %s is %s, not %d", w->name, bias, has, *out);
	return VQ_OK;
}

static vq_status declare_conv(vq_perceptual *p, const char *prefix, int out, int in, int k)
{
	char name[80];
	int i;
	snprintf(name, sizeof name, "%.60s.weight", prefix);
	if ((i = vq_params_add(&p->table, name, false, VQ_INIT_ZERO, 0, 4, (int64_t[]){ out, in, k, k })) < 0)
		return i;
	snprintf(name, sizeof name, "%.60s.bias", prefix);
	i = vq_params_add(&p->table, name, false, VQ_INIT_ZERO, 0, 1, (int64_t[]){ out });
	return i < 0 ? i : VQ_OK;
}

/* Both convolutions of a Fire module's second half are declared as one of 3x3: their outputs stand side by side. */
static vq_status declare_layer(loader *l, int i, int in)
{
	char name[64];
	int out, beside;
	if (l->layer[i].kind == VQ_NET_CONV) {
		snprintf(name, sizeof name, "features.%d", i);
		VQ_TRY(check_conv(l->w, name, in, l->layer[i].k, &out));
		VQ_TRY(declare_conv(l->p, name, out, in, l->layer[i].k));
	} else {
		int squeezed;
		VQ_TRY(check_conv(l->w, named(name, i, "squeeze"), in, 1, &squeezed));
		VQ_TRY(declare_conv(l->p, name, squeezed, in, 1));
		VQ_TRY(check_conv(l->w, named(name, i, "expand1x1"), squeezed, 1, &beside));
		VQ_TRY(check_conv(l->w, named(name, i, "expand3x3"), squeezed, 3, &out));
		out += beside;
		VQ_TRY(declare_conv(l->p, named(name, i, "expand"), out, squeezed, 3));
	}
	l->width[i] = out;
	return VQ_OK;
}

static bool has_layer(const loader *l, int i)
{
	char name[64];
	int64_t s[4];
	int ndim;
	return l->w->shape(l->w->ctx, named(name, i, l->layer[i].kind == VQ_NET_FIRE ? "squeeze.weight" : "weight"), &ndim, s);
}

static bool has_weights(const loader *l, int i) { return l->layer[i].kind == VQ_NET_CONV || l->layer[i].kind == VQ_NET_FIRE; }

/* Weights may end early, but not before the last tap: layer i is needed and not there. */
static vq_status check_end(const loader *l, int i)
{
	char name[64];
	int last = -1, t = 0;
	for (int k = 0; k < l->layers; k++)
		if (has_weights(l, k) && has_layer(l, k))
			last = k;
	if (last < 0 || last > i)
		return VQ_OK; /* something else is wrong */
	while (l->p->tap[t] < i)
		t++;
	return vq_fail(VQ_EINVAL, "%s: perceptual_taps has %s, which is beyond the file's last layer, features.%d", l->w->name,
		vq_net_name(l->p->net, l->p->tap[t], name), last);
}

static vq_status declare(loader *l)
{
	vq_perceptual *p = l->p;
	int width = 3, ndim, i;
	int64_t s[4];
	for (int k = 0; k < 2; k++)
		if ((i = vq_params_add(&p->table, k ? "input.add" : "input.mul", false, VQ_INIT_ZERO, 0, 1, (int64_t[]){ 3 })) < 0)
			return i;
	p->own_colours = l->w->shape(l->w->ctx, "conv0.weight", &ndim, s);
	if (p->own_colours) {
		VQ_TRY(check_conv(l->w, "conv0", 3, 1, &width));
		VQ_TRY(declare_conv(p, "conv0", width, 3, 1));
	}
	for (i = 0; i < l->used; i++) {
		if (has_weights(l, i) && !has_layer(l, i))
			VQ_TRY(check_end(l, i));
		if (has_weights(l, i))
			VQ_TRY(declare_layer(l, i, width));
		else
			l->width[i] = width;
		width = l->width[i];
	}
	return VQ_OK;
}

static float *at(vq_perceptual *p, const char *name)
{
	return p->values + p->table.p[vq_params_find(&p->table, name)].offset;
}

/* Kernels of 1x1 in the middle of 3x3 ones, then those of 3x3. */
static vq_status read_expand(const loader *l, int i)
{
	char name[64];
	int64_t one[4] = {0}, three[4] = {0};
	int ndim;
	l->w->shape(l->w->ctx, named(name, i, "expand1x1.weight"), &ndim, one);
	l->w->shape(l->w->ctx, named(name, i, "expand3x3.weight"), &ndim, three);
	size_t n = (size_t)(one[0] * one[1]);
	float *small = vq_malloc(n * sizeof *small), *weight = at(l->p, named(name, i, "expand.weight")), *bias = at(l->p, named(name, i, "expand.bias"));
	vq_status s = small ? l->w->read(l->w->ctx, named(name, i, "expand1x1.weight"), 4, one, small) : VQ_ENOMEM;
	for (size_t k = 0; k < n && s == VQ_OK; k++)
		weight[9 * k + 4] = small[k];
	if (s == VQ_OK)
		s = l->w->read(l->w->ctx, named(name, i, "expand3x3.weight"), 4, three, weight + 9 * n);
	if (s == VQ_OK)
		s = l->w->read(l->w->ctx, named(name, i, "expand1x1.bias"), 1, one, bias);
	if (s == VQ_OK)
		s = l->w->read(l->w->ctx, named(name, i, "expand3x3.bias"), 1, three, bias + one[0]);
	free(small);
	return s;
}

/* ImageNet's mean and deviation of [0, 1] colours, for those of [-1, 1]: (x - shift) / scale, as LPIPS has it. */
static void colours(vq_perceptual *p)
{
	static const double shift[3] = { -.030, -.088, -.188 }, scale[3] = { .458, .448, .450 };
	for (int c = 0; c < 3; c++) {
		at(p, "input.mul")[c] = (float)(p->own_colours ? .5 : 1 / scale[c]);
		at(p, "input.add")[c] = (float)(p->own_colours ? .5 : -shift[c] / scale[c]);
	}
}

static vq_status read_weights(loader *l, const vq_weights *heads)
{
	vq_perceptual *p = l->p;
	char name[64];
	if (!(p->values = vq_calloc(p->table.sizes[0], sizeof *p->values)))
		return VQ_ENOMEM;
	colours(p);
	for (int i = 0; i < p->table.n; i++) {
		const vq_param *q = &p->table.p[i];
		bool head = !strncmp(q->name, "lin", 3);
		if (strncmp(q->name, "input.", 6) && !strstr(q->name, ".expand."))
			VQ_TRY((head ? heads : l->w)->read((head ? heads : l->w)->ctx, q->name, q->ndim, q->shape, p->values + q->offset));
	}
	for (int i = 0; i < l->used; i++)
		if (l->layer[i].kind == VQ_NET_FIRE && vq_params_find(&p->table, named(name, i, "expand.weight")) >= 0)
			VQ_TRY(read_expand(l, i));
	return VQ_OK;
}

static vq_status declare_heads(loader *l, const vq_weights *heads)
{
	vq_perceptual *p = l->p;
	int usual[VQ_CONFIG_LIST_MAX], n = vq_net_taps(p->net, usual);
	for (int t = 0; t < p->taps; t++) {
		char name[64], has[80], buf[64];
		int k = 0, ndim;
		int64_t s[4] = {0};
		p->head[t] = -1;
		if (!heads)
			continue;
		while (k < n && usual[k] != p->tap[t])
			k++;
		if (k == n)
			return vq_fail(VQ_EINVAL, "%s: LPIPS has no head for %s, which perceptual_taps has", heads->name, vq_net_name(p->net, p->tap[t], buf));
		snprintf(name, sizeof name, "lin%d.model.1.weight", k);
		if (!heads->shape(heads->ctx, name, &ndim, s))
			return missing(heads, name);
		shape_text(has, sizeof has, ndim, s);
		int width = l->width[p->tap[t]];
		if (ndim != 4 || s[0] != 1 || s[1] != width || s[2] != 1 || s[3] != 1)
			return vq_fail(VQ_EINVAL, "%s: tensor %s is %s, not 1 x %d x 1 x 1", heads->name, name, has, width);
		if ((p->head[t] = vq_params_add(&p->table, name, false, VQ_INIT_ZERO, 0, 4, s)) < 0)
			return p->head[t];
	}
	return VQ_OK;
}

static int taps_of(const vq_config *c, int tap[VQ_CONFIG_LIST_MAX])
{
	if (!c->perceptual_taps.n)
		return vq_net_taps((vq_perceptual_net)c->perceptual_net, tap);
	memcpy(tap, c->perceptual_taps.v, sizeof c->perceptual_taps.v);
	return c->perceptual_taps.n;
}

const char *vq_perceptual_last(const vq_config *c, char buf[64])
{
	int tap[VQ_CONFIG_LIST_MAX], n = taps_of(c, tap);
	return vq_net_name((vq_perceptual_net)c->perceptual_net, tap[n - 1], buf);
}

static vq_status find_taps(loader *l, const vq_config *c)
{
	vq_perceptual *p = l->p;
	char net[32];
	p->taps = taps_of(c, p->tap);
	for (int i = 0; i < p->taps; i++) {
		if (p->tap[i] >= l->layers)
			return vq_fail(VQ_EINVAL, "perceptual_taps has %d, but %s has layers 0 to %d", p->tap[i], vq_config_name("perceptual_net", c->perceptual_net, net), l->layers - 1);
		if (i && p->tap[i] <= p->tap[i - 1])
			return vq_fail(VQ_EINVAL, "perceptual_taps must rise: %d comes after %d", p->tap[i], p->tap[i - 1]);
	}
	l->used = p->tap[p->taps - 1] + 1;
	return VQ_OK;
}

vq_status vq_perceptual_make(vq_perceptual *p, const vq_config *c, const vq_weights *weights, const vq_weights *heads)
{
	loader l = { .p = p, .w = weights };
	p->net = (vq_perceptual_net)c->perceptual_net;
	p->scales = c->perceptual_scales;
	l.layers = vq_net_layers(p->net, l.layer);
	vq_status s = find_taps(&l, c);
	if (s == VQ_OK)
		s = declare(&l);
	if (s == VQ_OK)
		s = declare_heads(&l, heads);
	if (s == VQ_OK)
		s = read_weights(&l, heads);
	p->least = s == VQ_OK ? vq_net_least(l.layer, l.used) : 0;
	if (s < 0)
		vq_perceptual_free(p);
	return s;
}

/* --- the graph ----------------------------------------------------------------------------------------------------- */

typedef struct { const vq_perceptual *p; vq_builder *b; vq_net_layer layer[VQ_NET_LAYERS_MAX]; } network;

static int frozen(network *w, int param)
{
	vq_graph *g = w->b->g;
	for (int v = 0; v < g->nv; v++)
		if (g->v[v].where == VQ_AT_FROZEN && g->v[v].param == param)
			return v;
	int v = vq_value_new(w->b, VQ_AT_FROZEN, VQ_F32, 1, 1, 1, (int)w->p->table.p[param].count, -1);
	if (v >= 0)
		g->v[v].param = param;
	return v;
}

static int frozen_named(network *w, const char *prefix, const char *part)
{
	char name[80];
	snprintf(name, sizeof name, "%.60s.%s", prefix, part);
	return frozen(w, vq_params_find(&w->p->table, name));
}

static int grid_like(vq_builder *b, vq_grid want)
{
	for (int i = 0; i < b->g->ng; i++) {
		const vq_grid *g = &b->g->grid[i];
		if (g->parent == want.parent && g->k == want.k && g->s == want.s && g->p == want.p && g->transposed == want.transposed && g->up == want.up &&
		    g->least == want.least)
			return i;
	}
	return vq_grid_new(b, want);
}

static int conv(network *w, int x, const char *name, vq_net_layer l, bool relu)
{
	vq_builder *b = w->b;
	int weight = frozen_named(w, name, "weight"), bias = frozen_named(w, name, "bias");
	if (b->status < 0)
		return -1;
	vq_value v = b->g->v[x];
	int h = (v.h + 2 * l.p - l.k) / l.s + 1, wide = (v.w + 2 * l.p - l.k) / l.s + 1;
	int grid = l.s == 1 && h == v.h && wide == v.w ? v.grid : grid_like(b, (vq_grid){ v.grid, l.k, l.s, l.p, false, h, wide });
	int y = vq_value_new(b, VQ_AT_ARENA, v.dtype, v.n, h, wide, b->status < 0 ? 1 : b->g->v[bias].c, grid);
	vq_node *n = vq_node_new(b, VQ_OP_CONV, VQ_FORWARD);
	if (!n)
		return -1;
	n->in[0] = x;
	n->in[1] = weight;
	n->in[2] = bias;
	n->out[0] = y;
	n->k = l.k;
	n->s = l.s;
	n->p = l.p;
	n->act = relu ? VQ_FN_RELU : VQ_FN_NONE;
	if (b->g->packed && (n = vq_node_new(b, VQ_OP_CLEAR, VQ_FORWARD)))
		n->in[0] = n->out[0] = y;
	return y;
}

static int maxpool(network *w, int x, vq_net_layer l)
{
	vq_builder *b = w->b;
	if (b->status < 0)
		return -1;
	vq_value v = b->g->v[x];
	int more = l.up ? l.s - 1 : 0, h = (v.h - l.k + more) / l.s + 1, wide = (v.w - l.k + more) / l.s + 1;
	int grid = grid_like(b, (vq_grid){ .parent = v.grid, .k = l.k, .s = l.s, .h = h, .w = wide, .up = l.up });
	int y = vq_value_new(b, VQ_AT_ARENA, v.dtype, v.n, h, wide, v.c, grid);
	vq_node *n = vq_node_new(b, VQ_OP_MAXPOOL, VQ_FORWARD);
	if (!n)
		return -1;
	n->in[0] = x;
	n->out[0] = y;
	n->k = l.k;
	n->s = l.s;
	return y;
}

static int in_colours(network *w, int x, int first, int step)
{
	vq_builder *b = w->b;
	int mul = frozen_named(w, "input", "mul"), add = frozen_named(w, "input", "add");
	if (b->status < 0)
		return -1;
	vq_value v = b->g->v[x];
	int y = vq_value_new(b, VQ_AT_ARENA, b->g->compute, v.n, v.h, v.w, 3, v.grid);
	vq_node *n = vq_node_new(b, VQ_OP_COLOURS, VQ_FORWARD);
	if (!n)
		return -1;
	n->in[0] = x;
	n->in[1] = mul;
	n->in[2] = add;
	n->out[0] = y;
	n->k = first;
	n->s = step;
	return w->p->own_colours ? conv(w, y, "conv0", (vq_net_layer){ VQ_NET_CONV, 1, 1, 0 }, false) : y;
}

static bool is_tap(const vq_perceptual *p, int layer)
{
	for (int t = 0; t < p->taps; t++)
		if (p->tap[t] == layer)
			return true;
	return false;
}

static void features(network *w, int x, int *tap)
{
	const vq_perceptual *p = w->p;
	bool done = false; /* the ReLU, with the convolution before it */
	for (int i = 0, t = 0; t < p->taps && w->b->status == VQ_OK; i++) {
		const vq_net_layer *l = &w->layer[i];
		char name[64];
		snprintf(name, sizeof name, "features.%d", i);
		if (l->kind == VQ_NET_CONV) {
			done = !is_tap(p, i);
			x = conv(w, x, name, *l, done);
		} else if (l->kind == VQ_NET_POOL) {
			x = maxpool(w, x, *l);
		} else if (l->kind == VQ_NET_FIRE) {
			x = conv(w, x, named(name, i, "squeeze"), (vq_net_layer){ VQ_NET_CONV, 1, 1, 0 }, true);
			x = conv(w, x, named(name, i, "expand"), *l, true);
		} else if (!done) {
			x = vq_layer_act(w->b, x, VQ_FN_RELU);
		}
		if (p->tap[t] == i)
			tap[t++] = x;
	}
}

static void compare(network *w, int y, int target, int first, int step, float factor, int scalar, int scale)
{
	vq_builder *b = w->b;
	int f[VQ_CONFIG_LIST_MAX], t[VQ_CONFIG_LIST_MAX];
	features(w, in_colours(w, target, first, step), t);
	features(w, in_colours(w, y, first, step), f);
	for (int i = 0; i < w->p->taps && b->status == VQ_OK; i++) {
		vq_value v = b->g->v[f[i]];
		int head = w->p->head[i] < 0 ? -1 : frozen(w, w->p->head[i]);
		int df = b->training ? vq_value_new(b, VQ_AT_ARENA, v.dtype, v.n, v.h, v.w, v.c, v.grid) : -1;
		vq_node *n = vq_node_new(b, VQ_OP_FEATURES, VQ_FORWARD);
		if (!n)
			return;
		n->in[0] = f[i];
		n->in[1] = t[i];
		n->in[2] = head;
		n->out[0] = df;
		n->k = head >= 0;
		n->a = factor;
		n->scalar = scalar;
		n->scale = scale;
	}
}

/* x on another grid, of the same image: half its size, or stretched to at least what the network takes. */
static int halved(vq_builder *b, int x)
{
	if (b->status < 0)
		return -1;
	vq_value v = b->g->v[x];
	int grid = grid_like(b, (vq_grid){ v.grid, 2, 2, 0, false, VQ_MAX(v.h / 2, 1), VQ_MAX(v.w / 2, 1) });
	return b->status < 0 ? -1 : vq_layer_resize(b, x, grid);
}

static int stretched(vq_builder *b, int x, int least)
{
	if (b->status < 0)
		return -1;
	vq_value v = b->g->v[x];
	int grid = grid_like(b, (vq_grid){ .parent = v.grid, .h = VQ_MAX(v.h, least), .w = VQ_MAX(v.w, least), .least = least });
	return b->status < 0 ? -1 : vq_layer_resize(b, x, grid);
}

void vq_perceptual_build(const vq_perceptual *p, vq_builder *b, int y, int target, int side, int scalar, int scale)
{
	network w = { .p = p, .b = b };
	if (b->status < 0)
		return;
	int c = b->g->v[y].c, looks = c == 1 || c == 3 || c == 4 ? 1 : c, step = c == 3 || c == 4;
	vq_net_layers(p->net, w.layer);
	b->g->frozen = &p->table;
	for (int s = 0; s < p->scales; s++, side /= 2) {
		if (s) {
			y = halved(b, y);
			target = halved(b, target);
		}
		bool small = side < p->least;
		int to = small ? stretched(b, y, p->least) : y, of = small ? stretched(b, target, p->least) : target;
		for (int i = 0; i < looks; i++)
			compare(&w, to, of, i, step, 1 / (float)(p->scales * looks), scalar, scale);
	}
}
