/* The model: its parameter table, and that its four graphs agree with one another. */
#include "formats/config.h"
#include "lib/model/model.h"
#include "lib/model/graph.h"
#include "lib/rng.h"
#include "tests/unit/engine.h"
#include "tests/unit/test.h"

/* The state_dict of a plain PyTorch nn.Sequential of the same layers, in its order; c stands for the image's channels. */
enum { C = -1 };
static const struct { const char *name; int64_t shape[4]; int ndim; } peer[] = {
	{ "enc.0.weight", { 32, C, 7, 7 }, 4 }, { "enc.0.bias", { 32 }, 1 },
	{ "enc.2.conv1.weight", { 32, 32, 3, 3 }, 4 }, { "enc.2.conv1.bias", { 32 }, 1 },
	{ "enc.2.conv2.weight", { 32, 32, 3, 3 }, 4 }, { "enc.2.conv2.bias", { 32 }, 1 },
	{ "enc.3.conv1.weight", { 32, 32, 3, 3 }, 4 }, { "enc.3.conv1.bias", { 32 }, 1 },
	{ "enc.3.conv2.weight", { 32, 32, 3, 3 }, 4 }, { "enc.3.conv2.bias", { 32 }, 1 },
	{ "enc.4.weight", { 64, 32, 3, 3 }, 4 }, { "enc.4.bias", { 64 }, 1 },
	{ "enc.6.conv1.weight", { 64, 64, 3, 3 }, 4 }, { "enc.6.conv1.bias", { 64 }, 1 },
	{ "enc.6.conv2.weight", { 64, 64, 3, 3 }, 4 }, { "enc.6.conv2.bias", { 64 }, 1 },
	{ "enc.7.conv1.weight", { 64, 64, 3, 3 }, 4 }, { "enc.7.conv1.bias", { 64 }, 1 },
	{ "enc.7.conv2.weight", { 64, 64, 3, 3 }, 4 }, { "enc.7.conv2.bias", { 64 }, 1 },
	{ "enc.8.weight", { 64, 64, 1, 1 }, 4 }, { "enc.8.bias", { 64 }, 1 },
	{ "dec.0.weight", { 64, 64, 1, 1 }, 4 }, { "dec.0.bias", { 64 }, 1 },
	{ "dec.1.weight", { 64, 32, 4, 4 }, 4 }, { "dec.1.bias", { 32 }, 1 },
	{ "dec.3.conv1.weight", { 32, 32, 3, 3 }, 4 }, { "dec.3.conv1.bias", { 32 }, 1 },
	{ "dec.3.conv2.weight", { 32, 32, 3, 3 }, 4 }, { "dec.3.conv2.bias", { 32 }, 1 },
	{ "dec.4.conv1.weight", { 32, 32, 3, 3 }, 4 }, { "dec.4.conv1.bias", { 32 }, 1 },
	{ "dec.4.conv2.weight", { 32, 32, 3, 3 }, 4 }, { "dec.4.conv2.bias", { 32 }, 1 },
	{ "dec.5.weight", { 32, 16, 4, 4 }, 4 }, { "dec.5.bias", { 16 }, 1 },
	{ "dec.7.weight", { C, 16, 3, 3 }, 4 }, { "dec.7.bias", { C }, 1 },
};

static vq_config config(const char *path)
{
	vq_config c;
	vq_config_defaults(&c);
	if (vq_config_read(&c, path) < 0 || vq_config_check(&c) < 0)
		TEST_END(1, "%s", vq_message());
	return c;
}

TEST(parameters_are_named_as_pytorch_names_them)
{
	vq_config c = config("configs/peer.json");
	for (int channels = 1; channels <= 4; channels++) {
		vq_params p = {0};
		CHECK_OK(vq_model_params(&c, channels, &p));
		size_t at = 0;
		for (int i = 0; i < p.n; i++) {
			size_t count = 1;
			CHECK(p.p[i].offset % 16 == 0 && p.p[i].offset + p.p[i].count <= p.sizes[p.p[i].trainable]);
			for (int d = 0; d < p.p[i].ndim; d++)
				count *= (size_t)p.p[i].shape[d];
			CHECK(count == p.p[i].count);
			if (!p.p[i].trainable)
				continue;
			CHECK(at < VQ_COUNT(peer));
			CHECK_STR(p.p[i].name, peer[at].name);
			CHECK(p.p[i].ndim == peer[at].ndim);
			for (int d = 0; d < p.p[i].ndim; d++)
				CHECK(p.p[i].shape[d] == (peer[at].shape[d] == C ? channels : peer[at].shape[d]));
			at++;
		}
		CHECK(at == VQ_COUNT(peer));
		int book = vq_params_find(&p, "quantizer.codebook"), count = vq_params_find(&p, "quantizer.ema_count"), sum = vq_params_find(&p, "quantizer.ema_sum");
		CHECK(book >= 0 && count >= 0 && sum >= 0);
		CHECK(p.p[book].shape[0] == 512 && p.p[book].shape[1] == 64 && p.p[count].shape[0] == 512 && p.p[sum].shape[1] == 64);
		vq_params_free(&p);
	}
}

TEST(fresh_weights_depend_on_the_seed_alone)
{
	vq_config c = config("configs/cells.json");
	vq_params p = {0};
	CHECK_OK(vq_model_params(&c, 3, &p));
	float *a = malloc(sizeof *a * (p.sizes[0] + p.sizes[1])), *b = malloc(sizeof *b * (p.sizes[0] + p.sizes[1]));
	vq_model_init(&p, &c, 5, a, a + p.sizes[0]);
	vq_model_init(&p, &c, 5, b, b + p.sizes[0]);
	CHECK(!memcmp(a, b, sizeof *a * (p.sizes[0] + p.sizes[1])));
	vq_model_init(&p, &c, 6, b, b + p.sizes[0]);
	CHECK(memcmp(a, b, sizeof *a * (p.sizes[0] + p.sizes[1])));
	/* PyTorch's default for convolutions: within 1/sqrt(fan in), evenly */
	const vq_param *q = &p.p[vq_params_find(&p, "enc.2.conv1.weight")];
	double top = 0, sum = 0, square = 0, bound = 1 / sqrt(32 * 9);
	for (size_t i = 0; i < q->count; i++) {
		double x = (double)a[p.sizes[0] + q->offset + i];
		top = fmax(top, fabs(x));
		sum += x;
		square += x * x;
	}
	CHECK(top <= bound && top > .99 * bound);
	CHECK_NEAR(sum / (double)q->count, 0, .05 * bound);
	CHECK_NEAR(square / (double)q->count, bound * bound / 3, .05 * bound * bound);
	free(a);
	free(b);
	vq_params_free(&p);
}

/* --- graphs ------------------------------------------------------------------------------------------------------- */

typedef struct { vq_graph g; vq_model_io io; vq_plan *plan; vq_step step; } graph;
typedef struct { vq_config c; vq_params params; vq_backend *be; vq_store *store; int channels; } model;

/* "KEY=VALUE KEY=VALUE ..." */
static void set_all(vq_config *c, const char *set)
{
	char text[512];
	snprintf(text, sizeof text, "%s", set ? set : "");
	for (char *at = strtok(text, " "); at; at = strtok(NULL, " "))
		CHECK_OK(vq_config_set(c, at));
	CHECK_OK(vq_config_check(c));
}

static void open_model(model *m, int channels, const char *set, int threads)
{
	*m = (model){ .c = config("configs/cells.json"), .channels = channels };
	set_all(&m->c, set);
	CHECK_OK(vq_backend_open(&m->be, engine_device(), threads));
	CHECK_OK(vq_model_params(&m->c, channels, &m->params));
	CHECK_OK(m->be->store_make(m->be, &m->params, true, &m->store));
	float *state = malloc(sizeof *state * m->params.sizes[0]), *param = malloc(sizeof *param * m->params.sizes[1]);
	vq_model_init(&m->params, &m->c, 1, state, param);
	for (size_t i = 0; i < m->params.sizes[0]; i++)
		state[i] *= .1f; /* codes near what a fresh encoder makes, so that many are used */
	CHECK_OK(m->be->store_write(m->store, VQ_BUF_STATE, 0, m->params.sizes[0], state));
	CHECK_OK(m->be->store_write(m->store, VQ_BUF_PARAM, 0, m->params.sizes[1], param));
	free(state);
	free(param);
}

static void close_model(model *m)
{
	m->be->store_free(m->store);
	m->be->close(m->be);
	vq_params_free(&m->params);
}

static void open_graph(model *m, graph *g, vq_graph_kind kind, vq_canvas canvas, int items, const vq_place *places)
{
	*g = (graph){ .step = { .items = items, .places = places, .scale = { .01f, .01f } } };
	CHECK_OK(vq_model_graph(&m->c, m->channels, &m->params, kind, canvas, &g->g, &g->io));
	CHECK_OK(m->be->plan_make(m->be, m->store, &g->g, &g->plan));
}

static void close_graph(model *m, graph *g)
{
	m->be->plan_free(g->plan);
	vq_graph_free(&g->g);
}

static void *read_value(model *m, graph *g, int value)
{
	void *p = malloc(g->g.v[value].bytes);
	if (m->be->plan_read(g->plan, value, p) < 0)
		TEST_END(1, "%s", vq_message());
	return p;
}

enum { H = 40, W = 48, N = 2, ITEMS = 4 };
static const vq_place items[ITEMS] = {
	{ { 0, 0, 0, 16, 20 }, { 0, 1, 2, 13, 17 } }, { { 0, 0, 24, 32, 20 }, { 0, 0, 24, 32, 20 } }, { { 1, 4, 8, 4, 4 }, { 1, 5, 9, 1, 1 } },
	{ { 1, 12, 0, 28, 48 }, { 1, 14, 0, 25, 47 } }, /* as near to one another as they may be: 4 px */
};

/* One item's pixels: any function of the item and the place in its extent. */
static float pixel(int item, int y, int x, int c) { return sinf((float)(item + 1) * .7f + (float)y * .31f + (float)(x * (c + 1)) * .23f); }

static float *canvases(int channels)
{
	float *p = calloc((size_t)(N * H * W * channels), sizeof *p);
	for (int i = 0; i < ITEMS; i++) {
		vq_rect r = items[i].extent;
		for (int y = 0; y < r.h; y++)
			for (int x = 0; x < r.w; x++)
				for (int c = 0; c < channels; c++)
					p[((r.n * H + r.y + y) * W + r.x + x) * channels + c] = pixel(i, y, x, c);
	}
	return p;
}

TEST(training_and_evaluation_see_the_same)
{
	model m;
	graph t, e;
	open_model(&m, 3, NULL, 2);
	vq_canvas canvas = { N, H, W, ITEMS, true, VQ_F32 };
	float *in = canvases(3);
	open_graph(&m, &t, VQ_GRAPH_TRAIN, canvas, ITEMS, items);
	open_graph(&m, &e, VQ_GRAPH_EVAL, canvas, ITEMS, items);
	CHECK_OK(m.be->plan_write(t.plan, t.io.input, in));
	CHECK_OK(m.be->plan_run(t.plan, &t.step, VQ_FORWARD));
	float *yt = read_value(&m, &t, t.io.output);
	int32_t *ct = read_value(&m, &t, t.io.codes[0]);
	CHECK_OK(m.be->plan_write(e.plan, e.io.input, in));
	CHECK_OK(m.be->plan_run(e.plan, &e.step, VQ_FORWARD));
	float *ye = read_value(&m, &e, e.io.output);
	int32_t *ce = read_value(&m, &e, e.io.codes[0]);
	CHECK(!memcmp(ct, ce, t.g.v[t.io.codes[0]].bytes));
	CHECK(!memcmp(yt, ye, t.g.v[t.io.output].bytes));
	CHECK(t.step.scalar[VQ_S_RECON] > 0 && t.step.scalar[VQ_S_RECON] == e.step.scalar[VQ_S_RECON]);
	CHECK(t.step.scalar[VQ_S_COMMIT] > 0 && t.step.scalar[VQ_S_COMMIT] == e.step.scalar[VQ_S_COMMIT]);
	free(in); free(yt); free(ye); free(ct); free(ce);
	close_graph(&m, &t);
	close_graph(&m, &e);
	close_model(&m);
}

static double apart(size_t n, const float *a, const float *b)
{
	double e = 0;
	for (size_t i = 0; i < n; i++)
		e = fmax(e, fabs((double)a[i] - (double)b[i]));
	return e;
}

TEST(encoding_and_decoding_are_evaluation_in_two_parts)
{
	static const char *const sets[] = { NULL, "activation=silu", "codebook_depth=2", "codebook_depth=3", "skip=quantized", "skip=quantized codebook_depth=2",
		"skip=quantized codebook_depth=3 skip_embedding_dim=8 skip_num_embeddings=32" };
	for (size_t s = 0; s < VQ_COUNT(sets); s++) {
		model m;
		graph whole, enc, dec;
		open_model(&m, 1, sets[s], 2);
		vq_canvas canvas = { N, H, W, ITEMS, true, VQ_F32 };
		float *in = canvases(1);
		open_graph(&m, &whole, VQ_GRAPH_EVAL, canvas, ITEMS, items);
		open_graph(&m, &enc, VQ_GRAPH_ENCODE, canvas, ITEMS, items);
		open_graph(&m, &dec, VQ_GRAPH_DECODE, canvas, ITEMS, items);
		CHECK_OK(m.be->plan_write(whole.plan, whole.io.input, in));
		CHECK_OK(m.be->plan_run(whole.plan, &whole.step, VQ_FORWARD));
		float *y = read_value(&m, &whole, whole.io.output);
		int32_t *c[VQ_CODE_LEVELS_MAX], *codes[VQ_CODE_LEVELS_MAX];
		vq_model_info info;
		CHECK_OK(vq_model_describe(&m.c, 1, &info));
		CHECK(info.levels == m.c.codebook_depth + (m.c.skip == VQ_SKIP_QUANTIZED));
		for (int l = 0; l < info.levels; l++)
			c[l] = read_value(&m, &whole, whole.io.codes[l]);
		CHECK_OK(m.be->plan_write(enc.plan, enc.io.input, in));
		CHECK_OK(m.be->plan_run(enc.plan, &enc.step, VQ_FORWARD));
		for (int l = 0; l < info.levels; l++) {
			const vq_value *v = &enc.g.v[enc.io.codes[l]];
			codes[l] = read_value(&m, &enc, enc.io.codes[l]);
			CHECK(v->h * info.level[l].stride == H && v->w * info.level[l].stride == W && !memcmp(c[l], codes[l], v->bytes));
			CHECK(dec.g.v[dec.io.codes[l]].bytes == v->bytes);
		}
		for (int l = 0; l < info.levels; l++)
			CHECK_OK(m.be->plan_write(dec.plan, dec.io.codes[l], codes[l]));
		CHECK_OK(m.be->plan_run(dec.plan, &dec.step, VQ_FORWARD));
		float *again = read_value(&m, &dec, dec.io.output);
		CHECK(apart((size_t)(N * H * W), y, again) < 1e-6);
		for (int l = 0; l < info.levels; l++) { /* and each codebook counts */
			codes[l][0] = (codes[l][0] + 1) % info.level[l].size;
			for (int k = 0; k < info.levels; k++)
				CHECK_OK(m.be->plan_write(dec.plan, dec.io.codes[k], codes[k]));
			CHECK_OK(m.be->plan_run(dec.plan, &dec.step, VQ_FORWARD));
			float *other = read_value(&m, &dec, dec.io.output);
			CHECK(apart((size_t)(N * H * W), again, other) > 0);
			memcpy(again, other, sizeof *again * N * H * W);
			free(other);
		}
		for (int l = 0; l < info.levels; l++) {
			free(c[l]);
			free(codes[l]);
		}
		free(in); free(y); free(again);
		close_graph(&m, &whole);
		close_graph(&m, &enc);
		close_graph(&m, &dec);
		close_model(&m);
	}
}

/* |z - row|^2 of two rows of a codebook, apart by no more than what another order of the sums before may change. */
static bool tied(model *m, const vq_code_level *level, const float *z, int a, int b)
{
	char name[64];
	snprintf(name, sizeof name, "%s.codebook", level->prefix);
	const vq_param *q = &m->params.p[vq_params_find(&m->params, name)];
	float *row = malloc(sizeof *row * q->count);
	double d[2] = {0}, size = 0;
	CHECK_OK(m->be->store_read(m->store, q->trainable ? VQ_BUF_PARAM : VQ_BUF_STATE, q->offset, q->count, row));
	for (int j = 0; j < level->dim; j++) {
		double e[2] = { (double)row[a * level->dim + j], (double)row[b * level->dim + j] };
		for (int k = 0; k < 2; k++)
			d[k] += pow((double)z[j] - e[k], 2);
		size += pow((double)z[j], 2) + e[0] * e[0] + e[1] * e[1];
	}
	free(row);
	return fabs(d[0] - d[1]) <= 3e-5 * size;
}

/* Codes of one cell alone are those of its part of a canvas, whose width is w. On the CPU always; a device may add in another order for another
 * shape, and then codes may differ where two rows are as near, and with them what the levels behind (inner) make of the same position. Decoded
 * are the canvas's, which own is afterwards. */
static bool same_codes(model *m, graph *g, const vq_model_info *info, int level, int32_t *own, const int32_t *canvas, int w, bool *differs)
{
	bool same = true;
	const vq_value *v = &g->g.v[g->io.codes[level]];
	const vq_code_level *l = &info->level[level];
	float *z = read_value(m, g, g->io.z[level]);
	if (level == 0 || level >= m->c.codebook_depth)
		memset(differs, 0, (size_t)(v->h * v->w));
	for (int y = 0; y < v->h; y++)
		for (int x = 0; x < v->w; x++) {
			int at = y * v->w + x, other = canvas[y * w + x];
			if (own[at] != other && !differs[at] && (!strcmp(m->be->name, "cpu") || !tied(m, l, z + at * l->dim, own[at], other)))
				TEST_END(1, "%s at %d, %d: %d alone, %d on a canvas", l->name, y, x, own[at], other);
			differs[at] |= own[at] != other;
			same = same && !differs[at];
			own[at] = other;
		}
	free(z);
	return same;
}

/* Each cell alone on a canvas of its own size. */
static void alone(model *m, const vq_model_info *info, int item, int32_t *const *codes, const float *output)
{
	graph g;
	vq_rect r = items[item].extent, v = items[item].valid;
	vq_place at = { { 0, 0, 0, r.h, r.w }, { 0, v.y - r.y, v.x - r.x, v.h, v.w } };
	bool differs[H * W], same = true;
	open_graph(m, &g, VQ_GRAPH_TRAIN, (vq_canvas){ 1, r.h, r.w, 1, false, VQ_F32 }, 1, &at); /* it keeps z */
	float *in = malloc(sizeof *in * (size_t)(r.h * r.w * m->channels)), *p = in;
	for (int y = 0; y < r.h; y++)
		for (int x = 0; x < r.w; x++)
			for (int c = 0; c < m->channels; c++)
				*p++ = pixel(item, y, x, c);
	CHECK_OK(m->be->plan_write(g.plan, g.io.input, in));
	CHECK_OK(m->be->plan_run(g.plan, &g.step, VQ_FORWARD));
	float *y1 = read_value(m, &g, g.io.output);
	for (int l = 0; l < info->levels; l++) {
		int by = info->level[l].stride;
		int32_t *c1 = read_value(m, &g, g.io.codes[l]);
		CHECK(g.g.v[g.io.codes[l]].h == r.h / by && g.g.v[g.io.codes[l]].w == r.w / by);
		same &= same_codes(m, &g, info, l, c1, codes[l] + (r.n * H / by + r.y / by) * (W / by) + r.x / by, W / by, differs);
		free(c1);
	}
	for (int y = 0; y < r.h && same; y++)
		CHECK(apart((size_t)(r.w * m->channels), output + ((r.n * H + r.y + y) * W + r.x) * m->channels, y1 + y * r.w * m->channels) < 1e-5);
	free(in); free(y1);
	close_graph(m, &g);
}

TEST(packed_cells_are_as_if_alone)
{
	static const struct { int channels; const char *set; } cases[] = { { 1, NULL }, { 4, "activation=silu" }, { 3, "activation=leaky_relu" },
		{ 1, "codebook_depth=3" }, { 2, "skip=quantized codebook_depth=2" } };
	for (size_t k = 0; k < VQ_COUNT(cases); k++) {
		model m;
		graph g;
		vq_model_info info;
		open_model(&m, cases[k].channels, cases[k].set, 2);
		CHECK_OK(vq_model_describe(&m.c, m.channels, &info));
		CHECK(info.packable && info.multiple == 4 && info.stride == 4 && info.gap == 4 && info.level[0].stride == 4);
		float *in = canvases(m.channels);
		open_graph(&m, &g, VQ_GRAPH_EVAL, (vq_canvas){ N, H, W, ITEMS, true, VQ_F32 }, ITEMS, items);
		CHECK_OK(m.be->plan_write(g.plan, g.io.input, in));
		CHECK_OK(m.be->plan_run(g.plan, &g.step, VQ_FORWARD));
		int32_t *codes[VQ_CODE_LEVELS_MAX];
		float *y = read_value(&m, &g, g.io.output);
		for (int l = 0; l < info.levels; l++) {
			int used = 0, by = info.level[l].stride;
			codes[l] = read_value(&m, &g, g.io.codes[l]);
			for (int i = 1; i < N * H * W / by / by; i++)
				used += codes[l][i] >= 0 && codes[l][i] != codes[l][i - 1];
			CHECK(used > 20);
		}
		for (int i = 0; i < ITEMS; i++)
			alone(&m, &info, i, codes, y);
		for (int l = 0; l < info.levels; l++)
			free(codes[l]);
		free(in); free(y);
		close_graph(&m, &g);
		close_model(&m);
	}
}

/* What a training step of these items leaves: gradients, and what the codebooks have gathered. */
static float *gathered(model *m, vq_canvas canvas, int count, const vq_place *places, const float *in, size_t *n)
{
	graph g;
	open_graph(m, &g, VQ_GRAPH_TRAIN, canvas, count, places);
	for (int i = 0; i < VQ_SCALES; i++)
		g.step.scale[i] = 1e-3f;
	size_t params = m->params.sizes[1], state = m->params.sizes[0];
	float *zero = calloc(*n = params + state, sizeof *zero);
	CHECK_OK(m->be->store_write(m->store, VQ_BUF_GRAD, 0, params, zero));
	for (int i = 0; i < m->params.n; i++)
		if (strstr(m->params.p[i].name, ".step_"))
			CHECK_OK(m->be->store_write(m->store, VQ_BUF_STATE, m->params.p[i].offset, m->params.p[i].count, zero));
	CHECK_OK(m->be->plan_write(g.plan, g.io.input, in));
	CHECK_OK(m->be->plan_run(g.plan, &g.step, VQ_FORWARD | VQ_BACKWARD));
	CHECK_OK(m->be->store_read(m->store, VQ_BUF_GRAD, 0, params, zero));
	CHECK_OK(m->be->store_read(m->store, VQ_BUF_STATE, 0, state, zero + params));
	close_graph(m, &g);
	return zero;
}

TEST(packed_training_is_the_sum_of_each_alone)
{
	static const char *const sets[] = { NULL, "codebook_depth=2 skip=quantized" };
	for (size_t k = 0; k < VQ_COUNT(sets); k++) {
		model m;
		size_t n;
		open_model(&m, 1, sets[k], 2);
		float *in = canvases(1), *all = gathered(&m, (vq_canvas){ N, H, W, ITEMS, true, VQ_F32 }, ITEMS, items, in, &n);
		double *sum = calloc(n, sizeof *sum);
		for (int i = 0; i < ITEMS; i++) {
			vq_rect r = items[i].extent, v = items[i].valid;
			vq_place at = { { 0, 0, 0, r.h, r.w }, { 0, v.y - r.y, v.x - r.x, v.h, v.w } };
			for (int y = 0; y < r.h; y++)
				for (int x = 0; x < r.w; x++)
					in[y * r.w + x] = pixel(i, y, x, 0);
			float *one = gathered(&m, (vq_canvas){ 1, r.h, r.w, 1, false, VQ_F32 }, 1, &at, in, &n);
			for (size_t j = 0; j < n; j++)
				sum[j] += (double)one[j];
			free(one);
		}
		for (int i = 0; i < m.params.n; i++) {
			const vq_param *p = &m.params.p[i];
			size_t from = p->offset + (p->trainable ? 0 : m.params.sizes[1]);
			double top = 0, error = 0;
			if (!p->trainable && !strstr(p->name, ".step_"))
				continue;
			for (size_t j = from; j < from + p->count; j++) {
				top = fmax(top, fabs(sum[j]));
				error = fmax(error, fabs(sum[j] - (double)all[j]));
			}
			if (!(error <= 1e-4 * top) || !(top > 0))
				TEST_END(1, "%s is off by %.3g of %.3g", p->name, error, top);
		}
		free(in); free(all); free(sum);
		close_model(&m);
	}
}

/* Cells that do not fit are refused, not computed. */
TEST(places_outside_the_canvas)
{
	model m;
	graph g;
	vq_place far = { { 0, 0, 32, 8, 20 }, { 0, 0, 32, 8, 20 } };
	open_model(&m, 1, NULL, 1);
	open_graph(&m, &g, VQ_GRAPH_ENCODE, (vq_canvas){ 1, H, W, 2, true, VQ_F32 }, 1, &far);
	CHECK_FAILS(m.be->plan_run(g.plan, &g.step, VQ_FORWARD), VQ_EINVAL);
	CHECK_HAS(vq_message(), "does not fit its canvas");
	g.step.items = 3;
	CHECK_FAILS(m.be->plan_run(g.plan, &g.step, VQ_FORWARD), VQ_EINVAL);
	close_graph(&m, &g);
	close_model(&m);
}

TEST(padding_that_is_asked_for)
{
	static const struct { const char *set[4]; int multiple, min, gap; bool power; } t[] = {
		{ { "pad_multiple=1" }, 4, 0, 4, false }, { { "pad_multiple=6" }, 12, 0, 12, false }, { { "pad_multiple=16" }, 16, 0, 16, false },
		{ { "pad_multiple=0" }, 4, 4, 4, true }, { { "pad_min=3" }, 4, 0, 4, false }, { { "pad_min=40" }, 4, 40, 4, false },
	};
	vq_config c;
	vq_model_info info;
	for (size_t i = 0; i < VQ_COUNT(t); i++) {
		vq_config_defaults(&c);
		CHECK_OK(vq_config_set(&c, t[i].set[0]));
		CHECK_OK(vq_model_describe(&c, 1, &info));
		CHECK(info.multiple == t[i].multiple && info.min == t[i].min && info.gap == t[i].gap && info.power_of_two == t[i].power);
		CHECK(info.stride == 4 && info.pad_mode == VQ_CONFIG_PAD_REFLECT);
	}
	CHECK_OK(vq_config_set(&c, "pad_multiple=511"));
	CHECK_FAILS(vq_model_describe(&c, 1, &info), VQ_EINVAL);
	CHECK_STR(vq_message(), "pad_multiple 511 and the model's own multiple of 4 come together at 2044: at most 512 is possible");
}

TEST(what_no_model_can_be)
{
	vq_config c = config("configs/cells.json");
	vq_params p = {0};
	CHECK_FAILS(vq_model_params(&c, 0, &p), VQ_EINVAL);
	CHECK_FAILS(vq_model_params(&c, 17, &p), VQ_EINVAL);
	CHECK_HAS(vq_message(), "17 channels");
	static const struct { const char *set, *says; } cases[] = {
		{ "codebook_depth=8 skip=quantized", "codebook_depth 8 and 1 quantized skips are 9 codebooks: at most 8 are possible" },
		{ "levels=1 channels_per_level=8 skip=quantized", "skip: quantized needs levels beyond the coarsest: levels must be 2 or more" },
		{ "skip=features", "skip must be \"none\" or \"quantized\"" },
	};
	for (size_t i = 0; i < VQ_COUNT(cases); i++) {
		vq_model_info info;
		c = config("configs/cells.json");
		set_all(&c, cases[i].set);
		CHECK_FAILS(vq_model_describe(&c, 1, &info), VQ_EUNSUP);
		CHECK_HAS(vq_message(), cases[i].says);
	}
}

/* --- one cell a canvas -------------------------------------------------------------------------------------------- */

#define SMALL "pack=false", "channels_per_level=8,8,12,16", "num_embeddings=64", "batch_size=4"
static const struct { const char *file; const char *set[14]; } forms[] = {
	{ "configs/improved.json", { SMALL, "latent=grid", "skip=none", "embedding_dim=16" } },
	{ "configs/improved.json", { SMALL, "latent=grid", "skip=features", "embedding_dim=16", "codebook_depth=3" } },
	{ "configs/improved.json", { SMALL, "latent=grid", "skip=quantized", "embedding_dim=16", "codebook_depth=2", "skip_embedding_dim=5", "skip_num_embeddings=40" } },
	{ "configs/improved.json", { SMALL, "latent=global", "skip=none", "embedding_dim=6", "hidden=20,12", "codebook_depth=2" } },
	{ "configs/improved.json", { SMALL, "latent=global", "skip=features", "embedding_dim=6", "hidden=20,12", "activation=gelu" } },
	{ "configs/improved.json", { SMALL, "latent=global", "skip=quantized", "embedding_dim=6", "hidden=20,12", "codebook_depth=3" } },
	{ "configs/original.json", { "embedding_dim=6", "num_embeddings=64", "hidden=20,12" } },
};
enum { SIDE_H = 64, SIDE_W = 96, CELLS = 3 };
static const vq_place cells[CELLS] = {
	{ { 0, 0, 0, 32, 32 }, { 0, 3, 1, 26, 29 } }, { { 1, 0, 0, 64, 96 }, { 1, 7, 0, 50, 96 } }, { { 2, 0, 0, 32, 64 }, { 2, 0, 0, 32, 64 } },
};

/* Weights at which attention counts, and statistics as training would leave them. */
static void open_form(model *m, size_t form)
{
	*m = (model){ .c = config(forms[form].file), .channels = 2 };
	for (int i = 0; forms[form].set[i]; i++)
		CHECK_OK(vq_config_set(&m->c, forms[form].set[i]));
	CHECK_OK(vq_config_check(&m->c));
	CHECK_OK(vq_backend_open(&m->be, engine_device(), 2));
	CHECK_OK(vq_model_params(&m->c, 2, &m->params));
	CHECK_OK(m->be->store_make(m->be, &m->params, false, &m->store));
	float *state = malloc(sizeof *state * m->params.sizes[0]), *param = malloc(sizeof *param * m->params.sizes[1]);
	vq_model_init(&m->params, &m->c, 1, state, param);
	for (int i = 0; i < m->params.n; i++) {
		const vq_param *p = &m->params.p[i];
		float *x = (p->trainable ? param : state) + p->offset;
		for (size_t j = 0; j < p->count; j++)
			x[j] = strstr(p->name, ".gamma") ? .5f : strstr(p->name, "running_var") ? .05f : strstr(p->name, ".codebook") ? x[j] * 12 : x[j];
	}
	CHECK_OK(m->be->store_write(m->store, VQ_BUF_STATE, 0, m->params.sizes[0], state));
	CHECK_OK(m->be->store_write(m->store, VQ_BUF_PARAM, 0, m->params.sizes[1], param));
	free(state);
	free(param);
}

/* One cell's pixels into a canvas of its own. */
static void draw(float *canvas, int w, int item, vq_rect r)
{
	for (int y = 0; y < r.h; y++)
		for (int x = 0; x < r.w; x++)
			for (int c = 0; c < 2; c++)
				canvas[(y * w + x) * 2 + c] = pixel(item, y, x, c);
}

/* What the extent of item i of a value on several canvases is beside the same cell's alone, on a canvas of its own size: the largest difference. */
/* The largest difference, beside the largest value where that is above 1. */
static double beside(const vq_value *v, const float *all, int i, const vq_value *one, const float *alone)
{
	double e = 0, top = 1;
	for (int y = 0; y < one->h; y++)
		for (int x = 0; x < one->w * one->c; x++) {
			double a = (double)alone[(size_t)y * (size_t)(one->w * one->c) + (size_t)x];
			e = fmax(e, fabs((double)all[((size_t)i * (size_t)v->h + (size_t)y) * (size_t)(v->w * v->c) + (size_t)x] - a));
			top = fmax(top, fabs(a));
		}
	return e / top;
}

/* Encodes item i alone, and decodes that; both must be what the evaluation of all gave. */
static void encode_and_decode(model *m, int i, graph *all, const float *y, int32_t *const *codes)
{
	graph enc, dec;
	vq_rect r = cells[i].extent;
	vq_place at = cells[i];
	at.extent.n = at.valid.n = 0;
	vq_canvas canvas = { 1, r.h, r.w, 1, true, VQ_F32 };
	open_graph(m, &enc, VQ_GRAPH_ENCODE, canvas, 1, &at);
	open_graph(m, &dec, VQ_GRAPH_DECODE, canvas, 1, &at);
	float *in = calloc((size_t)(r.h * r.w * 2), sizeof *in);
	draw(in, r.w, i, r);
	CHECK_OK(m->be->plan_write(enc.plan, enc.io.input, in));
	CHECK_OK(m->be->plan_run(enc.plan, &enc.step, VQ_FORWARD));
	vq_model_info info;
	float *skip[VQ_LEVELS_MAX] = {0};
	int32_t *c[VQ_CODE_LEVELS_MAX];
	bool differs[SIDE_H * SIDE_W];
	CHECK_OK(vq_model_describe(&m->c, 2, &info));
	CHECK(info.levels == m->c.codebook_depth + (m->c.skip == VQ_SKIP_QUANTIZED ? 3 : 0));
	for (int l = 0; l < info.levels; l++) {
		const vq_value *all_codes = &all->g.v[all->io.codes[l]], *own = &enc.g.v[enc.io.codes[l]];
		c[l] = read_value(m, &enc, enc.io.codes[l]);
		CHECK(!info.level[l].stride ? own->h == 1 && own->w == 1 : own->h * info.level[l].stride == r.h && own->w * info.level[l].stride == r.w);
		same_codes(m, &enc, &info, l, c[l], codes[l] + i * all_codes->h * all_codes->w, all_codes->w, differs);
	}
	CHECK(info.skips == (m->c.skip == VQ_SKIP_FEATURES ? 3 : 0));
	for (int s = 0; s < info.skips; s++) {
		const vq_value *v = &enc.g.v[enc.io.skip[s]];
		CHECK(v->dtype == VQ_F32 && v->c == info.skip[s].channels && v->h * info.skip[s].stride == r.h && v->w * info.skip[s].stride == r.w);
		skip[s] = read_value(m, &enc, enc.io.skip[s]); /* before the other plan takes the arena */
	}
	for (int l = 0; l < info.levels; l++) {
		CHECK_OK(m->be->plan_write(dec.plan, dec.io.codes[l], c[l]));
		free(c[l]);
	}
	for (int s = 0; s < info.skips; s++) {
		CHECK_OK(m->be->plan_write(dec.plan, dec.io.skip[s], skip[s]));
		free(skip[s]);
	}
	CHECK_OK(m->be->plan_run(dec.plan, &dec.step, VQ_FORWARD));
	float *again = read_value(m, &dec, dec.io.output);
	CHECK_NEAR(beside(&all->g.v[all->io.output], y, i, &dec.g.v[dec.io.output], again), 0, 2e-5);
	free(in);
	free(again);
	close_graph(m, &enc);
	close_graph(m, &dec);
}

TEST(cells_of_a_canvas_each_are_as_if_alone)
{
	for (size_t f = 0; f < VQ_COUNT(forms); f++) {
		model m;
		graph g;
		open_form(&m, f);
		open_graph(&m, &g, VQ_GRAPH_EVAL, (vq_canvas){ 4, SIDE_H, SIDE_W, 4, true, VQ_F32 }, CELLS, cells); /* the fourth canvas is empty */
		float *in = calloc((size_t)(4 * SIDE_H * SIDE_W * 2), sizeof *in);
		for (int i = 0; i < CELLS; i++)
			draw(in + i * SIDE_H * SIDE_W * 2, SIDE_W, i, cells[i].extent);
		CHECK_OK(m.be->plan_write(g.plan, g.io.input, in));
		if (g.io.weight >= 0) {
			for (int i = 0; i < 4 * SIDE_H * SIDE_W; i++)
				in[i] = 1;
			CHECK_OK(m.be->plan_write(g.plan, g.io.weight, in));
		}
		CHECK_OK(m.be->plan_run(g.plan, &g.step, VQ_FORWARD));
		float *y = read_value(&m, &g, g.io.output);
		int32_t *codes[VQ_CODE_LEVELS_MAX] = {0};
		for (int l = 0; l < VQ_CODE_LEVELS_MAX && g.io.codes[l] >= 0; l++) {
			const vq_value *v = &g.g.v[g.io.codes[l]];
			int used = 0;
			codes[l] = read_value(&m, &g, g.io.codes[l]);
			for (int i = 1; i < v->h * v->w; i++)
				used += codes[l][v->h * v->w + i] != codes[l][v->h * v->w + i - 1];
			CHECK(v->h == 1 || used > 3); /* a grid whose codes differ */
		}
		for (int i = 0; i < CELLS; i++)
			encode_and_decode(&m, i, &g, y, codes);
		for (int l = 0; l < VQ_CODE_LEVELS_MAX; l++)
			free(codes[l]);
		free(in);
		free(y);
		close_graph(&m, &g);
		close_model(&m);
	}
}

/* Names and shapes of a few, by which weights are exchanged; no convolution before a norm has a bias. */
TEST(names_of_improved)
{
	static const struct { const char *name; int ndim; int64_t shape[4]; } some[] = {
		{ "down.0.conv.weight", 4, { 32, 4, 7, 7 } }, { "down.3.bn.running_var", 1, { 256 } }, { "res.2.conv2.weight", 4, { 128, 128, 3, 3 } },
		{ "res.0.bn1.bias", 1, { 32 } }, { "attention.query.weight", 4, { 32, 256, 1, 1 } }, { "attention2.gamma", 1, { 1 } },
		{ "to_code.0.weight", 2, { 1024, 4096 } }, { "to_code.6.bias", 1, { 256 } }, { "from_code.6.weight", 2, { 4096, 1024 } },
		{ "up.3.deconv.weight", 4, { 32, 16, 4, 4 } }, { "skips.0.weight", 4, { 128, 128, 1, 1 } }, { "skips.2.bias", 1, { 32 } },
		{ "ures.1.bn2.weight", 1, { 64 } }, { "out.weight", 4, { 4, 16, 3, 3 } }, { "quantizer.codebook", 2, { 512, 256 } },
	};
	vq_config c = config("configs/improved.json");
	vq_params p = {0};
	size_t trained = 0;
	CHECK_OK(vq_model_params(&c, 4, &p));
	for (size_t i = 0; i < VQ_COUNT(some); i++) {
		int at = vq_params_find(&p, some[i].name);
		if (at < 0)
			TEST_END(1, "no parameter %s", some[i].name);
		CHECK(p.p[at].ndim == some[i].ndim);
		for (int d = 0; d < some[i].ndim; d++)
			CHECK(p.p[at].shape[d] == some[i].shape[d]);
	}
	for (int i = 0; i < p.n; i++)
		trained += p.p[i].trainable ? p.p[i].count : 0;
	CHECK(trained > 11700000 && trained < 11780000); /* 11.76 M with the biases that have no effect */
	CHECK(vq_params_find(&p, "down.0.conv.bias") < 0 && vq_params_find(&p, "up.0.deconv.bias") < 0);
	vq_params_free(&p);
	c = config("configs/original.json");
	CHECK_OK(vq_model_params(&c, 4, &p));
	int at = vq_params_find(&p, "to_code.5.weight"), book = vq_params_find(&p, "quantizer.codebook");
	CHECK(at >= 0 && p.p[at].shape[0] == 512 && vq_params_find(&p, "from_code.5.weight") >= 0 && vq_params_find(&p, "down.4.bn.weight") >= 0);
	CHECK(book >= 0 && p.p[book].trainable && p.p[book].shape[0] == 1024 && p.p[book].init == VQ_INIT_UNIFORM);
	vq_params_free(&p);
}

TEST(what_improved_and_original_cannot_be)
{
	static const struct { const char *file, *set, *says; } cases[] = {
		{ "configs/original.json", "codebook_depth=2", "codebook_depth must be 1" }, { "configs/improved.json", "block_norm=none", "block_norm must be" },
		{ "configs/improved.json", "blocks=2", "blocks must be 1" }, { "configs/improved.json", "stem_stride=3", "stem_stride must be 2" },
		{ "configs/original.json", "blocks=1", "blocks 0" }, { "configs/original.json", "stem_stride=2", "stem_stride 3" },
	};
	for (size_t i = 0; i < VQ_COUNT(cases); i++) {
		vq_config c = config(cases[i].file);
		vq_model_info info;
		CHECK_OK(vq_config_set(&c, cases[i].set));
		CHECK_FAILS(vq_model_describe(&c, 1, &info), VQ_EUNSUP);
		CHECK_HAS(vq_message(), cases[i].says);
	}
}

TEST_MAIN(RUN(parameters_are_named_as_pytorch_names_them) RUN(fresh_weights_depend_on_the_seed_alone) RUN(training_and_evaluation_see_the_same)
	RUN(encoding_and_decoding_are_evaluation_in_two_parts) RUN(packed_cells_are_as_if_alone)
	RUN(packed_training_is_the_sum_of_each_alone) RUN(places_outside_the_canvas) RUN(padding_that_is_asked_for) RUN(what_no_model_can_be)
	RUN(cells_of_a_canvas_each_are_as_if_alone) RUN(names_of_improved) RUN(what_improved_and_original_cannot_be))
