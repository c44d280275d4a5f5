/* Frozen networks: their operations, their graphs, and real ones against what they are known to give. */
#include "tests/unit/engine.h"
#include "tests/unit/naive.h"
#include "tests/unit/ref.h"
#include "tests/unit/slopes.h"
#include "tests/unit/test.h"

#include <cjson/cJSON.h>
#include <unistd.h>

#include "formats/imagefile.h"
#include "formats/npy.h"
#include "lib/model/model.h"
#include "tools/perceptual.h"

#define WEIGHTS "../shared/weights/"

static void places(engine *e, int items, const vq_place *place)
{
	for (int i = 0; i < items; i++)
		engine_place(e, i, place[i].extent, place[i].valid);
}

/* --- pooling ------------------------------------------------------------------------------------------------------- */

typedef struct { int n, h, w, c, k, s; bool up; int items; vq_place place[3]; } pool_case;

static const pool_case pools[] = {
	{ 1, 4, 4, 3, 2, 2 },
	{ 2, 9, 7, 5, 2, 2 },
	{ 1, 11, 12, 70, 3, 2 },
	{ 1, 11, 12, 3, 3, 2, true },
	{ 2, 8, 3, 65, 3, 2, true },
	{ 2, 12, 14, 5, 3, 2, true, 2, { { { 0, 0, 0, 8, 14 }, { 0, 1, 1, 5, 9 } }, { { 1, 0, 0, 3, 6 }, { 1, 0, 1, 3, 5 } } } },
	{ 3, 12, 14, 5, 3, 2, false, 2, { { { 0, 0, 0, 8, 14 }, { 0, 1, 1, 5, 9 } }, { { 2, 0, 0, 5, 6 }, { 2, 0, 1, 3, 5 } } } },
	{ 2, 12, 14, 5, 2, 2, false, 2, { { { 0, 0, 0, 8, 14 }, { 0, 1, 1, 5, 9 } }, { { 1, 0, 0, 1, 1 }, { 1, 0, 0, 1, 1 } } } }, /* the second vanishes */
};

TEST(maximum_pooling)
{
	for (vq_dtype t = VQ_BF16; t <= VQ_F32; t++)
		for (size_t k = 0; k < VQ_COUNT(pools); k++) {
			const pool_case *c = &pools[k];
			engine e;
			engine_open(&e, (engine_spec){ .n = c->n, .h = c->h, .w = c->w, .items = c->items, .packed = c->items > 0, .compute = t });
			places(&e, c->items, c->place);
			int more = c->up ? c->s - 1 : 0, h = (c->h - c->k + more) / c->s + 1, w = (c->w - c->k + more) / c->s + 1;
			int x = engine_input(&e, t, c->n, c->h, c->w, c->c, 0);
			int y = vq_value_new(&e.b, VQ_AT_ARENA, t, c->n, h, w, c->c, vq_grid_new(&e.b, (vq_grid){ .k = c->k, .s = c->s, .h = h, .w = w, .up = c->up }));
			vq_node *n = vq_node_new(&e.b, VQ_OP_MAXPOOL, VQ_FORWARD);
			n->in[0] = x;
			n->out[0] = y;
			n->k = c->k;
			n->s = c->s;
			CHECK_OK(engine_build(&e, y));
			const char *wrong = slopes_check(&e, y, k, t == VQ_BF16 ? 2e-2 : 1e-5);
			if (wrong)
				TEST_END(1, "pool %zu, %s: %s", k, vq_dtype_name(t), wrong);
			engine_close(&e);
		}
}

/* Of equal values the first has the gradient, and a window's gradient goes to one position only. */
TEST(ties_go_to_the_first)
{
	engine e;
	double x[9] = { 1, 1, 0, 1, 1, 0, 0, 0, 0 }, dx[9], dy[4] = { 1, 10, 100, 1000 };
	static const double want[9] = { 1, 10, 0, 100, 1000, 0, 0, 0, 0 };
	engine_open(&e, (engine_spec){ .n = 1, .h = 3, .w = 3 });
	int in = engine_input(&e, VQ_F32, 1, 3, 3, 1, 0), y = vq_value_new(&e.b, VQ_AT_ARENA, VQ_F32, 1, 2, 2, 1, vq_grid_new(&e.b, (vq_grid){ .k = 2, .s = 1, .h = 2, .w = 2 }));
	vq_node *n = vq_node_new(&e.b, VQ_OP_MAXPOOL, VQ_FORWARD);
	n->in[0] = in;
	n->out[0] = y;
	n->k = 2;
	n->s = 1;
	CHECK_OK(engine_build(&e, y));
	engine_fill(&e, in, x);
	engine_fill_seed(&e, dy);
	CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
	engine_get(&e, engine_gradient(&e, in), dx);
	for (int i = 0; i < 9; i++)
		CHECK(dx[i] == want[i]);
	engine_close(&e);
}

/* --- distances ----------------------------------------------------------------------------------------------------- */

typedef struct { int n, h, w, c; bool unit, weights; int items; vq_place place[2]; } distance_case;

static const distance_case distances[] = {
	{ 1, 1, 1, 1, false },
	{ 2, 5, 7, 3, false },
	{ 2, 5, 7, 33, true },
	{ 1, 3, 4, 64, true, true },
	{ 2, 9, 10, 5, true, true, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 2, 3 } }, { { 1, 0, 0, 7, 9 }, { 1, 1, 0, 5, 8 } } } },
	{ 2, 9, 10, 5, false, false, 2, { { { 0, 0, 0, 4, 5 }, { 0, 1, 1, 0, 0 } }, { { 1, 0, 0, 4, 9 }, { 1, 0, 0, 4, 9 } } } },
};

static double naive_loss(void *ctx)
{
	naive *n = ctx;
	naive_run(n);
	return n->loss;
}

/* The engine's loss and its gradient by input x against the naive ones. scale: of the step, that the naive loss has in it. */
static void compare(engine *e, naive *n, int x, double scale, double limit, const char *what)
{
	size_t count = engine_count(e, x), every = count / 40 + 1;
	double want = naive_loss(n) / scale, got = e->step.scalar[5], *dx = ref_new(count), top = 0, error = 0;
	if (!(fabs(got - want) <= limit * fabs(want) + 1e-7))
		TEST_END(1, "%s: the distance is %.9g, not %.9g", what, got, want);
	engine_get(e, engine_gradient(e, x), dx);
	for (size_t i = 0; i < count; i += every) {
		double slope = ref_slope(naive_loss, n, &n->value[x][i], 1e-5);
		top = fmax(top, fabs(slope));
		error = fmax(error, fabs(slope - dx[i]));
	}
	free(dx);
	if (!(error <= 10 * limit * top + 1e-7))
		TEST_END(1, "%s: the gradient is off by %.3g of %.3g", what, error, top);
}

/* Random numbers within the items, 0 elsewhere, in the engine and the naive evaluation. */
static void fill_both(engine *e, naive *n, int value, uint64_t seed)
{
	const vq_value *v = &e->g.v[value];
	vq_rng r = vq_rng_make(seed, 3);
	double *x = engine_noise(&r, v->dtype, engine_count(e, value)), *at = x;
	for (int i = 0; i < v->n; i++)
		for (int k = 0; k < v->h * v->w; k++)
			for (int c = 0; c < v->c; c++, at++)
				*at = naive_kind(n, v, i, k / v->w, k % v->w) ? *at / 2 : 0;
	memcpy(n->value[value], x, engine_count(e, value) * sizeof *x);
	engine_fill(e, value, x);
	free(x);
}

static void one_distance(const distance_case *c, vq_dtype t)
{
	engine e;
	naive n;
	vq_params frozen = {0};
	float weight[64];
	char what[64];
	snprintf(what, sizeof what, "case %d, %s", (int)(c - distances), vq_dtype_name(t));
	vq_params_add(&frozen, "w", false, VQ_INIT_ZERO, 0, 1, (int64_t[]){ c->c });
	for (int i = 0; i < c->c && i < 64; i++)
		weight[i] = .1f + .03f * (float)i;
	engine_open(&e, (engine_spec){ .n = c->n, .h = c->h, .w = c->w, .items = c->items, .packed = c->items > 0, .compute = t });
	places(&e, c->items, c->place);
	int f = engine_input(&e, t, c->n, c->h, c->w, c->c, 0), g = engine_input(&e, t, c->n, c->h, c->w, c->c, 0), w = -1;
	if (c->weights) {
		e.g.frozen = &frozen;
		e.frozen = weight;
		w = vq_value_new(&e.b, VQ_AT_FROZEN, VQ_F32, 1, 1, 1, c->c, -1);
		e.g.v[w].param = 0;
	}
	int df = vq_value_new(&e.b, VQ_AT_ARENA, t, c->n, c->h, c->w, c->c, 0);
	vq_node *node = vq_node_new(&e.b, VQ_OP_FEATURES, VQ_FORWARD);
	node->in[0] = f;
	node->in[1] = g;
	node->in[2] = w;
	node->out[0] = df;
	node->k = c->unit;
	node->a = .5f;
	node->scalar = 5;
	node->scale = 2;
	CHECK_OK(engine_build(&e, -1));
	e.step.scale[2] = .25f;
	naive_open(&n, &e.g, &e.step);
	naive_frozen(&n, weight);
	fill_both(&e, &n, f, 1);
	fill_both(&e, &n, g, 2);
	CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
	compare(&e, &n, f, .25, t == VQ_BF16 ? 1e-3 : 2e-6, what);
	naive_close(&n);
	engine_close(&e);
	vq_params_free(&frozen);
}

TEST(distance_of_features)
{
	for (vq_dtype t = VQ_BF16; t <= VQ_F32; t++)
		for (size_t k = 0; k < VQ_COUNT(distances); k++)
			one_distance(&distances[k], t);
}

/* --- networks of made-up weights ----------------------------------------------------------------------------------- */

/* Every tensor there may be, of the shapes of a small network: 4 + layer channels. `wrong`: a tensor whose shape is not what it should be;
 * `infinite`: one whose second value is. */
typedef struct { vq_perceptual_net net; const char *wrong, *absent; int last; bool colours; const char *infinite; } maker;

static int width_of(int layer) { return layer < 0 ? 3 : 4 + layer % 3; }

static int width_before(const maker *m, int layer)
{
	static const int alex[] = { 0, 3, 6, 8, 10 }, vgg16[] = { 0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28 }, vgg19[] = { 0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28 };
	static const int fire[] = { 0, 3, 4, 6, 7, 9, 10, 11, 12 };
	const int *of = m->net == VQ_NET_ALEXNET ? alex : m->net == VQ_NET_VGG16 ? vgg16 : m->net == VQ_NET_VGG19 ? vgg19 : fire;
	int n = m->net == VQ_NET_ALEXNET ? 5 : m->net == VQ_NET_SQUEEZENET ? 9 : 13, before = -1;
	for (int i = 0; i < n; i++) {
		if (of[i] == layer)
			return before < 0 ? 3 : m->net == VQ_NET_SQUEEZENET && before > 0 ? 2 * width_of(before) : width_of(before);
		before = of[i];
	}
	return 0; /* no such layer */
}

static bool made_shape(void *ctx, const char *tensor, int *ndim, int64_t *s)
{
	const maker *m = ctx;
	int layer, end = 0;
	char part[40];
	if (m->absent && !strcmp(m->absent, tensor))
		return false;
	if (!strcmp(tensor, "conv0.weight") || !strcmp(tensor, "conv0.bias")) {
		*ndim = tensor[6] == 'w' ? 4 : 1;
		s[0] = s[1] = 3;
		s[2] = s[3] = 1;
		return m->colours;
	}
	if (sscanf(tensor, "lin%d.model.1.weight%n", &layer, &end) == 1 && end) {
		static const int tap[] = { 1, 4, 7, 9, 10, 11, 12 };
		int of = m->net == VQ_NET_SQUEEZENET ? tap[layer] : 0;
		*ndim = 4;
		s[0] = s[2] = s[3] = 1;
		s[1] = of == 1 ? width_of(0) : 2 * width_of(of);
		return m->net == VQ_NET_SQUEEZENET;
	}
	if (sscanf(tensor, "features.%d.%39s", &layer, part) != 2 || layer > m->last)
		return false;
	int in = width_before(m, layer), out = width_of(layer), k = m->net == VQ_NET_ALEXNET ? layer == 0 ? 11 : layer == 3 ? 5 : 3 : 3;
	bool fire = strchr(part, '.');
	if (!in || fire != (m->net == VQ_NET_SQUEEZENET && layer > 0))
		return false;
	if (fire) {
		k = strstr(part, "3x3") ? 3 : 1;
		in = strstr(part, "squeeze") ? in : 2;
		out = strstr(part, "squeeze") ? 2 : out;
	}
	*ndim = strstr(part, "bias") ? 1 : 4;
	s[0] = out;
	s[1] = in;
	s[2] = s[3] = k;
	if (m->wrong && !strcmp(m->wrong, tensor))
		s[*ndim == 1 ? 0 : 1]++;
	return true;
}

static vq_status made_read(void *ctx, const char *tensor, int ndim, const int64_t *shape, float *to)
{
	const maker *m = ctx;
	uint64_t h = 5381;
	size_t n = 1, in = 1;
	for (const char *c = tensor; *c; c++)
		h = h * 33 + (uint64_t)*c;
	for (int i = 0; i < ndim; i++) {
		n *= (size_t)shape[i];
		in *= i ? (size_t)shape[i] : 1;
	}
	vq_rng r = vq_rng_make(h, 1);
	for (size_t i = 0; i < n; i++) {
		float x = (float)vq_rng_normal(&r);
		to[i] = !strncmp(tensor, "lin", 3) ? fabsf(x) : ndim == 1 ? .1f * x + .1f : 1.5f * x / sqrtf((float)in);
	}
	if (m->infinite && !strcmp(m->infinite, tensor))
		to[1] = INFINITY;
	return VQ_OK;
}

static vq_status make(vq_perceptual *p, maker *m, const char *taps, int scales, bool heads)
{
	vq_config c;
	char text[64];
	vq_weights w = { m, "net.safetensors", made_shape, made_read }, h = { m, "heads.safetensors", made_shape, made_read };
	vq_config_defaults(&c);
	snprintf(text, sizeof text, "perceptual_taps=%s", taps);
	CHECK_OK(vq_config_set(&c, text));
	c.perceptual_net = m->net;
	c.perceptual_scales = scales;
	*p = (vq_perceptual){0};
	return vq_perceptual_make(p, &c, &w, heads ? &h : NULL);
}

typedef struct { vq_perceptual_net net; const char *taps; int c, side, scales; bool heads, colours; int n, h, w; vq_place place[2]; } net_case;

static const net_case nets[] = {
	{ VQ_NET_ALEXNET, "1,4,7", 3, 32, 1, false, false, 1, 32, 36 },
	{ VQ_NET_SQUEEZENET, "1,4,7,9", 1, 25, 1, true, false, 1, 27, 32 },
	{ VQ_NET_SQUEEZENET, "", 3, 8, 1, true, false, 1, 12, 40 },
	{ VQ_NET_VGG16, "3,8", 4, 8, 1, false, false, 2, 10, 12, { { { 0, 0, 0, 8, 12 }, { 0, 1, 2, 6, 9 } }, { { 1, 0, 0, 10, 9 }, { 1, 1, 1, 8, 7 } } } },
	{ VQ_NET_VGG16, "4,9,15", 2, 4, 2, false, false, 1, 12, 8 },
	{ VQ_NET_VGG19, "0,5,10", 1, 4, 3, false, false, 2, 16, 12, { { { 0, 0, 0, 4, 8 }, { 0, 1, 2, 2, 5 } }, { { 1, 0, 0, 16, 12 }, { 1, 1, 1, 14, 11 } } } },
	{ VQ_NET_VGG19, "0,2,3", 5, 4, 1, false, true, 1, 6, 8 },
};

static void one_net(const net_case *c, vq_dtype t)
{
	engine e;
	naive n;
	vq_perceptual p;
	maker m = { c->net, NULL, NULL, 36, c->colours };
	char what[64];
	snprintf(what, sizeof what, "network %d, %s", (int)(c - nets), vq_dtype_name(t));
	CHECK_OK(make(&p, &m, c->taps, c->scales, c->heads));
	int items = c->place[0].extent.h ? c->n : 0;
	engine_open(&e, (engine_spec){ .n = c->n, .h = c->h, .w = c->w, .items = items, .packed = true, .compute = t });
	places(&e, items, c->place);
	int y = engine_input(&e, VQ_F32, c->n, c->h, c->w, c->c, 0), target = engine_input(&e, VQ_F32, c->n, c->h, c->w, c->c, 0);
	/* as in a model: the target is the host's, y is not */
	e.g.v[target].where = VQ_AT_INPUT;
	vq_perceptual_build(&p, &e.b, y, target, c->side, 5, 2);
	e.frozen = p.values;
	CHECK_OK(engine_build(&e, -1));
	CHECK(engine_gradient(&e, target) < 0 && !engine_node(&e, VQ_OP_CONV_WEIGHT));
	char where[VQ_LAYER_MAX];
	vq_graph_layer(&e.g, (int)(engine_node(&e, VQ_OP_CONV_DATA) - e.g.node), where);
	CHECK_HAS(where, "the gradient of features.");
	CHECK_HAS(where, " of the perceptual network (conv_data)");
	e.step.scale[2] = .25f;
	naive_open(&n, &e.g, &e.step);
	naive_frozen(&n, p.values);
	fill_both(&e, &n, y, 1);
	fill_both(&e, &n, target, 2);
	CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
	compare(&e, &n, y, .25, t == VQ_BF16 ? 2e-2 : 1e-5, what);
	naive_close(&n);
	engine_close(&e);
	vq_perceptual_free(&p);
}

TEST(networks_and_their_gradients)
{
	for (size_t k = 0; k < VQ_COUNT(nets); k++)
		one_net(&nets[k], VQ_F32);
	if (engine_has_bf16())
		one_net(&nets[4], VQ_BF16); /* roughly */
}

/* A cell's distance does not depend on what canvas it is on, nor on the threads. */
static double distance_on(vq_perceptual *p, int threads, int canvases, int h, int w, const double *y, const double *target, int eh, int ew, double *dy)
{
	engine e;
	engine_open(&e, (engine_spec){ .n = canvases, .h = h, .w = w, .items = 1, .packed = true, .threads = threads });
	engine_place(&e, 0, (vq_rect){ 0, 0, 0, eh, ew }, (vq_rect){ 0, 1, 2, eh - 3, ew - 4 });
	int a = engine_input(&e, VQ_F32, canvases, h, w, 1, 0), b = engine_input(&e, VQ_F32, canvases, h, w, 1, 0);
	double *big = ref_new((size_t)(canvases * h * w)), got;
	vq_perceptual_build(p, &e.b, a, b, 8, 5, 2);
	e.frozen = p->values;
	CHECK_OK(engine_build(&e, -1));
	for (int k = 0; k < 2; k++) {
		for (int i = 0; i < eh; i++)
			memcpy(big + i * w, (k ? target : y) + i * ew, (size_t)ew * sizeof *big);
		engine_fill(&e, k ? b : a, big);
	}
	CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
	got = e.step.scalar[5];
	engine_get(&e, engine_gradient(&e, a), big);
	for (int i = 0; i < eh; i++)
		memcpy(dy + i * ew, big + i * w, (size_t)ew * sizeof *dy);
	free(big);
	engine_close(&e);
	return got;
}

TEST(a_cell_alone_or_in_company)
{
	vq_perceptual p;
	maker m = { VQ_NET_SQUEEZENET, NULL, NULL, 36, false };
	enum { H = 20, W = 28 };
	vq_rng r = vq_rng_make(8, 8);
	double *y = engine_noise(&r, VQ_F32, H * W), *t = engine_noise(&r, VQ_F32, H * W), one[H * W], other[H * W];
	CHECK_OK(make(&p, &m, "1,4,7", 2, true));
	double a = distance_on(&p, 1, 1, H, W, y, t, H, W, one), b = distance_on(&p, 2, 3, H + 8, W + 20, y, t, H, W, other);
	CHECK(a > 0);
	CHECK_NEAR(a, b, 1e-6 * a);
	CHECK(engine_error(H * W, one, other) < 1e-5);
	CHECK(distance_on(&p, 2, 1, H, W, y, y, H, W, one) == 0);
	CHECK(distance_on(&p, 2, 1, H, W, y, t, H, W, one) == a); /* threads alone change nothing */
	vq_perceptual_free(&p);
	free(y);
	free(t);
}

TEST(weights_that_do_not_fit)
{
	vq_perceptual p;
	maker m = { VQ_NET_VGG16, "features.2.weight", NULL, 36, false };
	CHECK_FAILS(make(&p, &m, "3", 1, false), VQ_EINVAL);
	CHECK_STR(vq_message(), "net.safetensors: tensor features.2.weight is 6 x 5 x 3 x 3, not N x 4 x 3 x 3");
	m.wrong = "features.5.bias";
	CHECK_OK(make(&p, &m, "3", 1, false)); /* beyond the last tap nothing is looked at */
	vq_perceptual_free(&p);
	CHECK_FAILS(make(&p, &m, "8", 1, false), VQ_EINVAL);
	CHECK_STR(vq_message(), "net.safetensors: tensor features.5.bias is 7, not 6");
	m.wrong = NULL;
	m.absent = "features.2.bias";
	CHECK_FAILS(make(&p, &m, "8", 1, false), VQ_EINVAL);
	CHECK_STR(vq_message(), "net.safetensors: it has no tensor features.2.bias");
	m.absent = NULL;
	m.last = 7;
	CHECK_OK(make(&p, &m, "3,9", 1, false)); /* a pooling has no weights */
	vq_perceptual_free(&p);
	CHECK_FAILS(make(&p, &m, "", 1, false), VQ_EINVAL);
	CHECK_STR(vq_message(), "net.safetensors: perceptual_taps has relu3_3 (features.15), which is beyond the file's last layer, features.7");
	CHECK_FAILS(make(&p, &m, "3,31", 1, false), VQ_EINVAL);
	CHECK_STR(vq_message(), "perceptual_taps has 31, but vgg16 has layers 0 to 30");
	CHECK_FAILS(make(&p, &m, "3,2", 1, false), VQ_EINVAL);
	CHECK_STR(vq_message(), "perceptual_taps must rise: 2 comes after 3");
	CHECK_FAILS(make(&p, &m, "2,3", 1, true), VQ_EINVAL);
	CHECK_STR(vq_message(), "heads.safetensors: LPIPS has no head for conv1_2 (features.2), which perceptual_taps has");
	CHECK_FAILS(make(&p, &m, "3", 1, true), VQ_EINVAL);
	CHECK_STR(vq_message(), "heads.safetensors: it has no tensor lin0.model.1.weight");
	m = (maker){ VQ_NET_SQUEEZENET, NULL, "features.0.weight", 36, false };
	CHECK_FAILS(make(&p, &m, "", 1, false), VQ_EINVAL);
	CHECK_STR(vq_message(), "net.safetensors: it has no tensor features.0.weight");
	m = (maker){ VQ_NET_SQUEEZENET, "features.4.expand3x3.weight", NULL, 36, false };
	CHECK_FAILS(make(&p, &m, "", 1, false), VQ_EINVAL);
	CHECK_STR(vq_message(), "net.safetensors: tensor features.4.expand3x3.weight is 5 x 3 x 3 x 3, not N x 2 x 3 x 3");
	m = (maker){ VQ_NET_SQUEEZENET, .last = 36, .infinite = "features.3.squeeze.bias" };
	CHECK_FAILS(make(&p, &m, "", 1, false), VQ_EINVAL);
	CHECK_STR(vq_message(), "net.safetensors: tensor features.3.squeeze.bias: value 1 is not finite");
	m.infinite = "lin0.model.1.weight";
	CHECK_FAILS(make(&p, &m, "", 1, true), VQ_EINVAL);
	CHECK_STR(vq_message(), "heads.safetensors: tensor lin0.model.1.weight: value 1 is not finite");
	m.last = -1;
	CHECK_FAILS(make(&p, &m, "1", 1, false), VQ_EINVAL);
	CHECK_STR(vq_message(), "net.safetensors: it has no tensor features.0.weight");
}

/* --- real weights -------------------------------------------------------------------------------------------------- */

static void load_net(vq_perceptual *p, const char *net, const char *file, const char *heads, const char *taps)
{
	vq_config c;
	char text[200];
	vq_config_defaults(&c);
	CHECK_OK(vq_config_set(&c, "use_perceptual_loss=true"));
	snprintf(text, sizeof text, "perceptual_net=%s", net);
	CHECK_OK(vq_config_set(&c, text));
	snprintf(text, sizeof text, "perceptual_file=" WEIGHTS "%s", file);
	CHECK_OK(vq_config_set(&c, text));
	snprintf(text, sizeof text, "perceptual_heads=%s%s", heads ? WEIGHTS "lpips/" : "", heads ? heads : "");
	CHECK_OK(vq_config_set(&c, text));
	snprintf(text, sizeof text, "perceptual_taps=%s", taps);
	CHECK_OK(vq_config_set(&c, text));
	if (access(c.perceptual_file, R_OK))
		SKIP("no %s", c.perceptual_file);
	*p = (vq_perceptual){0};
	CHECK_OK(vq_perceptual_load(p, &c));
}

enum { SIDE = 64, PIXELS = SIDE * SIDE * 3 };

/* A 64 x 64 RGB picture in [-1, 1], by position and then colour. */
static void picture(const char *name, double *x)
{
	char path[200];
	vq_image_file *f;
	vq_tensor t;
	snprintf(path, sizeof path, WEIGHTS "reference/%s.png", name);
	CHECK_OK(vq_image_open(&f, path, NULL));
	CHECK_OK(vq_image_read(f, 0, &t));
	CHECK(t.ndim == 3 && t.shape[0] * t.shape[1] * t.shape[2] == PIXELS);
	bool planes = t.shape[0] == 3;
	for (size_t i = 0; i < PIXELS; i++)
		x[i] = vq_tensor_get(&t, planes ? i % 3 * SIDE * SIDE + i / 3 : i) / 127.5 - 1;
	vq_tensor_free(&t);
	vq_image_close(f);
}

/* The distance of two pictures; taps[i], unless taps is NULL, is set to what layer i of the first gave, by position and then channel. */
static double distance(vq_perceptual *p, const double *y, const double *t, double **taps, vq_value *shape)
{
	engine e;
	engine_open(&e, (engine_spec){ .n = 1, .h = SIDE, .w = SIDE });
	int a = engine_input(&e, VQ_F32, 1, SIDE, SIDE, 3, 0), b = engine_input(&e, VQ_F32, 1, SIDE, SIDE, 3, 0), at = 0;
	vq_perceptual_build(p, &e.b, a, b, SIDE, 5, 2);
	e.frozen = p->values;
	for (int i = 0; i < e.g.nn; i++)
		if (e.g.node[i].op == VQ_OP_FEATURES)
			engine_keep(&e, e.g.node[i].in[0]);
	CHECK_OK(engine_build(&e, -1));
	engine_fill(&e, a, y);
	engine_fill(&e, b, t);
	CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
	for (int i = 0; i < e.g.nn && taps; i++)
		if (e.g.node[i].op == VQ_OP_FEATURES) {
			shape[at] = e.g.v[e.g.node[i].in[0]];
			taps[at] = ref_new(engine_count(&e, e.g.node[i].in[0]));
			engine_get(&e, e.g.node[i].in[0], taps[at++]);
		}
	double got = e.step.scalar[5];
	engine_close(&e);
	return got;
}

static double known(const char *net, const char *pair)
{
	char text[4096];
	FILE *f = fopen(WEIGHTS "reference/lpips_values.json", "rb");
	CHECK(f);
	text[fread(text, 1, sizeof text - 1, f)] = 0;
	fclose(f);
	cJSON *o = cJSON_Parse(text), *v = cJSON_GetObjectItem(cJSON_GetObjectItem(o, net), pair);
	CHECK(cJSON_IsNumber(v));
	double x = v->valuedouble;
	cJSON_Delete(o);
	return x;
}

/* Activations at a tap against its .npy of [1,C,H,W]. */
static void check_tap(const char *net, int i, const double *got, vq_value v)
{
	char path[200];
	vq_tensor t;
	snprintf(path, sizeof path, WEIGHTS "reference/%s_ex_ref_tap%d.npy", net, i);
	CHECK_OK(vq_npy_read(path, 1 << 24, &t));
	CHECK(t.ndim == 4 && t.shape[1] == v.c && t.shape[2] == v.h && t.shape[3] == v.w);
	size_t n = (size_t)(v.h * v.w), c = (size_t)v.c;
	double *want = ref_new(n * c);
	for (size_t k = 0; k < n * c; k++)
		want[k] = vq_tensor_get(&t, k % c * n + k / c);
	double error = engine_error(n * c, got, want);
	free(want);
	vq_tensor_free(&t);
	if (!(error <= 1e-4))
		TEST_END(1, "%s: tap %d is off by %.3g", net, i, error);
}

static void check_lpips(const char *net, const char *file, const char *heads, const char *name, const char *prefix)
{
	vq_perceptual p;
	double ref[PIXELS], p0[PIXELS], p1[PIXELS], *tap[VQ_CONFIG_LIST_MAX];
	vq_value shape[VQ_CONFIG_LIST_MAX];
	load_net(&p, net, file, heads, "");
	picture("ex_ref", ref);
	picture("ex_p0", p0);
	picture("ex_p1", p1);
	CHECK_NEAR(distance(&p, ref, p0, tap, shape), known(name, "ex_ref/ex_p0"), 1e-4);
	CHECK_NEAR(distance(&p, p1, ref, NULL, NULL), known(name, "ex_ref/ex_p1"), 1e-4);
	CHECK(distance(&p, ref, ref, NULL, NULL) == 0);
	for (int i = 0; i < p.taps; i++) {
		check_tap(prefix, i, tap[i], shape[i]);
		free(tap[i]);
	}
	vq_perceptual_free(&p);
}

TEST(alexnet_as_lpips_has_it) { check_lpips("alexnet", "alexnet_features.safetensors", "alex_v0.1.safetensors", "alex v0.1", "alex"); }
TEST(squeezenet_as_lpips_has_it) { check_lpips("squeezenet", "squeezenet1_1_features.safetensors", "squeeze_v0.1.safetensors", "squeeze v0.1", "squeeze"); }

/* VGG's first layers, with their heads and without; a VGG19 of other widths, with its own way into the network. The distances from ex_ref to
 * ex_p0 and ex_p1 are what PyTorch computes from the same files. */
TEST(vgg_from_files)
{
	vq_perceptual p;
	double ref[PIXELS], p0[PIXELS], p1[PIXELS];
	static const struct { const char *net, *file, *heads, *taps; double p0, p1; } of[] = {
		{ "vgg16", "vgg16_features_to_relu2_2.safetensors", "vgg_v0.1.safetensors", "3,8", 0.13104252, 0.15792707 },
		{ "vgg16", "vgg16_features_to_relu2_2.safetensors", NULL, "3,8", 14.6988635, 20.5403428 },
		{ "vgg19", "vgg19_distilled16x_features.safetensors", NULL, "0,5,10,19,28", 474.844652, 343.300957 },
	};
	for (size_t i = 0; i < VQ_COUNT(of); i++) {
		load_net(&p, of[i].net, of[i].file, of[i].heads, of[i].taps);
		CHECK(p.own_colours == (i == 2));
		picture("ex_ref", ref);
		picture("ex_p0", p0);
		picture("ex_p1", p1);
		CHECK_NEAR(distance(&p, ref, p0, NULL, NULL), of[i].p0, 1e-4 * of[i].p0);
		CHECK_NEAR(distance(&p, p1, ref, NULL, NULL), of[i].p1, 1e-4 * of[i].p1);
		vq_perceptual_free(&p);
	}
}

TEST_MAIN(RUN(maximum_pooling) RUN(ties_go_to_the_first) RUN(distance_of_features) RUN(networks_and_their_gradients) RUN(a_cell_alone_or_in_company)
          RUN(weights_that_do_not_fit) RUN(alexnet_as_lpips_has_it) RUN(squeezenet_as_lpips_has_it) RUN(vgg_from_files))
