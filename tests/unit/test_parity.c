/* Models and training beside PyTorch's: the reference files that tests/oracle/parity.py makes (what is in them stands there). Small ones are
 * in tests/golden; VQ_PARITY=FILE:FILE... compares those instead.
 *
 * An output is as far off as its largest difference over its largest value; a gradient, and a tensor after 20 steps of SGD, by norms. */
#include "formats/config.h"
#include "formats/safetensors.h"
#include "lib/model/graph.h"
#include "tests/unit/test.h"
#include "tools/modelfile.h"

enum { STEPS = 20 };

typedef struct {
	const char *path;
	vq_st *st;
	vq_model m;
	vq_backend *b;
	vq_store *store;
	float *input;           /* nhwc */
	int n, h, w;
	vq_place place[64];
} parity;

typedef struct { vq_graph g; vq_model_io io; vq_plan *plan; vq_step step; } run;

static void open_input(parity *p)
{
	vq_tensor t;
	CHECK_OK(vq_st_tensor(p->st, "parity.input", &t));
	CHECK(t.dtype == VQ_U8 && t.ndim == 4 && t.shape[0] <= 64);
	p->n = (int)t.shape[0];
	p->h = (int)t.shape[2];
	p->w = (int)t.shape[3];
	p->m.channels = (int)t.shape[1];
	size_t c = (size_t)t.shape[1], plane = (size_t)(t.shape[2] * t.shape[3]);
	p->input = vq_malloc(sizeof *p->input * (size_t)p->n * c * plane);
	for (size_t i = 0; i < (size_t)p->n; i++) {
		p->place[i].extent = p->place[i].valid = (vq_rect){ (int32_t)i, 0, 0, p->h, p->w };
		for (size_t k = 0; k < c; k++)
			for (size_t j = 0; j < plane; j++)
				p->input[(i * plane + j) * c + k] = (((const uint8_t *)t.data)[(i * c + k) * plane + j] - 128.f) / 64;
	}
	vq_tensor_free(&t);
}

static void open_parity(parity *p, const char *path)
{
	*p = (parity){ .path = path };
	CHECK_OK(vq_st_open(&p->st, path));
	vq_config_defaults(&p->m.config);
	CHECK_OK(vq_config_parse(&p->m.config, vq_st_meta(p->st, "config"), path));
	CHECK_OK(vq_config_check(&p->m.config));
	open_input(p);
	CHECK_OK(vq_model_setup(&p->m));
	CHECK_OK(vq_model_init_from(&p->m, path));
	CHECK_OK(vq_backend_open(&p->b, "cpu", 2));
	CHECK_OK(p->b->store_make(p->b, &p->m.params, true, &p->store));
	CHECK_OK(p->b->store_write(p->store, VQ_BUF_STATE, 0, p->m.params.sizes[0], p->m.state));
	CHECK_OK(p->b->store_write(p->store, VQ_BUF_PARAM, 0, p->m.params.sizes[1], p->m.param));
}

static void close_parity(parity *p)
{
	p->b->store_free(p->store);
	p->b->close(p->b);
	vq_model_free(&p->m);
	vq_st_close(p->st);
	free(p->input);
}

static void open_run(parity *p, run *r, vq_graph_kind kind)
{
	*r = (run){ .step = { .items = p->n, .places = p->place, .lr = (float)p->m.config.learning_rate } };
	CHECK_OK(vq_model_graph(&p->m.config, p->m.channels, &p->m.params, kind, (vq_canvas){ p->n, p->h, p->w, p->n, true, VQ_F32 }, &r->g, &r->io));
	CHECK_OK(p->b->plan_make(p->b, p->store, &r->g, &r->plan));
	int positions = p->n, stride = p->m.info.stride;
	if (stride)
		positions *= (p->h / stride) * (p->w / stride);
	r->step.scale[VQ_SCALE_RECON] = (float)(p->m.config.reconstruction_loss_weight / ((double)p->n * p->h * p->w * p->m.channels));
	r->step.scale[VQ_SCALE_COMMIT] = (float)(1 / ((double)positions * p->m.info.level[0].dim));
}

static void run_phases(parity *p, run *r, unsigned phases)
{
	if (phases & VQ_FORWARD)
		CHECK_OK(p->b->plan_write(r->plan, r->io.input, p->input));
	CHECK_OK(p->b->plan_run(r->plan, &r->step, phases));
}

static void close_run(parity *p, run *r)
{
	p->b->plan_free(r->plan);
	vq_graph_free(&r->g);
}

/* --- comparing ------------------------------------------------------------------------------------------------------ */

/* "parity.KIND" or "parity.KIND.NAME" of n values, as f32. */
static vq_tensor want(parity *p, const char *kind, const char *name, size_t n)
{
	char key[128];
	vq_tensor t;
	snprintf(key, sizeof key, "parity.%s%s%s", kind, name ? "." : "", name ? name : "");
	if (vq_st_tensor(p->st, key, &t) < 0)
		TEST_END(1, "%s: %s", p->path, vq_message());
	size_t have = 0;
	CHECK_OK(vq_tensor_count(&t, &have));
	if (have != n)
		TEST_END(1, "%s: %s has %zu values, not %zu", p->path, key, have, n);
	return t;
}

static double norm(size_t n, const float *a, const float *b)
{
	double s = 0;
	for (size_t i = 0; i < n; i++) {
		double d = (double)a[i] - (b ? (double)b[i] : 0);
		s += d * d;
	}
	return sqrt(s);
}

/* An NHWC value (or one row a position) beside PyTorch's NCHW. */
static void same_value(parity *p, run *r, int value, const char *kind, bool rows, double limit)
{
	const vq_value *v = &r->g.v[value];
	size_t c = (size_t)v->c, plane = (size_t)(v->h * v->w), n = (size_t)v->n * plane * c;
	float *got = vq_malloc(sizeof *got * n);
	vq_tensor t = want(p, kind, NULL, n);
	const float *w = t.data;
	double apart = 0, top = 0;
	CHECK_OK(p->b->plan_read(r->plan, value, got));
	for (size_t i = 0; i < n; i++) {
		size_t at = rows ? i : (i / (plane * c) * c + i % c) * plane + i / c % plane;
		apart = fmax(apart, fabs((double)got[i] - (double)w[at]));
		top = fmax(top, fabs((double)w[at]));
	}
	printf("# %s: %s off by %.2g\n", p->path, kind, apart / top);
	if (!(apart <= limit * top))
		TEST_END(1, "%s: %s is off by %.3g of its largest value", p->path, kind, apart / top);
	vq_tensor_free(&t);
	free(got);
}

static void same_codes(parity *p, run *r)
{
	const vq_value *v = &r->g.v[r->io.codes[0]];
	size_t n = (size_t)(v->n * v->h * v->w);
	int32_t *got = vq_malloc(sizeof *got * n);
	vq_tensor t = want(p, "codes", NULL, n);
	CHECK_OK(p->b->plan_read(r->plan, r->io.codes[0], got));
	CHECK(t.dtype == VQ_I32 && !memcmp(got, t.data, n * sizeof *got));
	vq_tensor_free(&t);
	free(got);
}

/* Sums over all but the codebook's own distance are the loss that PyTorch minimises. */
static void same_losses(parity *p, run *r)
{
	const vq_config *c = &p->m.config;
	vq_tensor t = want(p, "losses", NULL, 2);
	const float *w = t.data;
	double recon = r->step.scalar[VQ_S_RECON] * (double)r->step.scale[VQ_SCALE_RECON];
	double commit = r->step.scalar[VQ_S_COMMIT] * (double)r->step.scale[VQ_SCALE_COMMIT] * (c->commitment_cost + (c->codebook_update == VQ_UPDATE_GRADIENT));
	CHECK_NEAR(recon / c->reconstruction_loss_weight, (double)w[1], 1e-5 * (double)w[1]);
	CHECK_NEAR(recon + commit, (double)w[0], 1e-5 * (double)w[0]);
	vq_tensor_free(&t);
}

/* A tensor whose gradient is nothing but rounding (a bias that the next norm takes away) is held to the whole gradient's size. */
static void same_gradients(parity *p)
{
	const vq_params *ps = &p->m.params;
	float *g = vq_malloc(sizeof *g * ps->sizes[1]);
	double worst = 0, all;
	const char *where = "";
	CHECK_OK(p->b->store_read(p->store, VQ_BUF_GRAD, 0, ps->sizes[1], g));
	all = norm(ps->sizes[1], g, NULL);
	for (int i = 0; i < ps->n; i++) {
		const vq_param *q = &ps->p[i];
		if (!q->trainable)
			continue;
		vq_tensor t = want(p, "grad", q->name, q->count);
		double size = norm(q->count, t.data, NULL), off = norm(q->count, g + q->offset, t.data) / fmax(size, 1e-5 * all);
		if (!(off <= worst)) {
			worst = off;
			where = q->name;
		}
		if (getenv("VQ_PARITY_ALL"))
			printf("# %-28s %.3g off by %.3g\n", q->name, size, off);
		vq_tensor_free(&t);
	}
	printf("# %s: gradient of %s off by %.2g\n", p->path, where, worst);
	if (!(worst <= 1e-4))
		TEST_END(1, "%s: the gradient of %s is off by %.3g of its norm", p->path, where, worst);
	free(g);
}

/* Each tensor is held to its own norm. Most of the small models' went so far in the 20 steps that one which had stood still would be off by
 * ten times what it may. Wide models take but small steps (with larger ones what is rounded otherwise soon leads elsewhere): there, most went
 * further than rounding, and none that did is off by more than a tenth of its way. */
static void same_after(parity *p)
{
	static const double limit = 1e-4, rounding = 1e-5;
	const vq_params *ps = &p->m.params;
	const bool small = strstr(p->path, "golden/") || strstr(p->path, "tiny-");
	int moved = 0, count = 0;
	float *got[2] = { vq_malloc(sizeof(float) * ps->sizes[0]), vq_malloc(sizeof(float) * ps->sizes[1]) };
	double worst = 0;
	const char *where = "";
	for (int k = 0; k < 2; k++)
		CHECK_OK(p->b->store_read(p->store, k ? VQ_BUF_PARAM : VQ_BUF_STATE, 0, ps->sizes[k], got[k]));
	for (int i = 0; i < ps->n; i++) {
		const vq_param *q = &ps->p[i];
		if (strstr(q->name, ".step_"))
			continue;
		vq_tensor t = want(p, "after", q->name, q->count);
		double size = norm(q->count, t.data, NULL), off = norm(q->count, got[q->trainable] + q->offset, t.data) / size;
		double far = norm(q->count, (q->trainable ? p->m.param : p->m.state) + q->offset, t.data) / size;
		moved += far >= (small ? 10 * limit : rounding);
		count++;
		if (far >= rounding && !(off <= .1 * far))
			TEST_END(1, "%s: %s after %d steps is off by %.3g, and went %.3g", p->path, q->name, STEPS, off, far);
		if (!(off <= worst)) {
			worst = off;
			where = q->name;
		}
		if (getenv("VQ_PARITY_ALL"))
			printf("# %-28s after off by %.3g, moved by %.3g\n", q->name, off, far);
		vq_tensor_free(&t);
	}
	printf("# %s: %s after %d steps off by %.2g; %d of %d tensors moved\n", p->path, where, STEPS, worst, moved, count);
	if (2 * moved <= count)
		TEST_END(1, "%s: %d steps moved but %d of %d tensors", p->path, STEPS, moved, count);
	if (!(worst <= limit))
		TEST_END(1, "%s: %s after %d steps is off by %.3g of its norm", p->path, where, STEPS, worst);
	free(got[0]);
	free(got[1]);
}

static void compare(const char *path)
{
	parity p;
	run rest, train;
	open_parity(&p, path);
	open_run(&p, &rest, VQ_GRAPH_EVAL);
	run_phases(&p, &rest, VQ_FORWARD);
	same_value(&p, &rest, rest.io.output, "rest", false, 1e-5);
	close_run(&p, &rest);
	open_run(&p, &train, VQ_GRAPH_TRAIN);
	for (int i = 0; i < STEPS; i++) {
		train.step.step = (uint64_t)i;
		run_phases(&p, &train, VQ_FORWARD | VQ_BACKWARD);
		if (i == 0) {
			same_value(&p, &train, train.io.z[0], "z", true, 1e-5);
			same_codes(&p, &train);
			same_value(&p, &train, train.io.output, "output", false, 1e-5);
			same_losses(&p, &train);
			same_gradients(&p);
		}
		run_phases(&p, &train, VQ_UPDATE);
	}
	same_after(&p);
	close_run(&p, &train);
	close_parity(&p);
}

/* The gradients of all items at once, and of each item on a plan of its own, one after another, with the norms' statistics frozen: the
 * scales are the whole step's, as the trainer gives them; items differ in how many pixels are valid. */
static float *gradients(parity *p, bool parts)
{
	size_t n = p->m.params.sizes[1], pixels = (size_t)(p->h * p->w * p->m.channels);
	float *g = vq_calloc(n, sizeof *g);
	run r;
	parity part = *p;
	part.n = parts ? 1 : p->n;
	CHECK_OK(p->b->store_write(p->store, VQ_BUF_GRAD, 0, n, g));
	r = (run){ .step = { .items = part.n } };
	CHECK_OK(vq_model_graph(&p->m.config, p->m.channels, &p->m.params, VQ_GRAPH_TRAIN, (vq_canvas){ part.n, p->h, p->w, part.n, true, VQ_F32 }, &r.g, &r.io));
	for (int i = 0; i < r.g.nn; i++)
		r.g.node[i].training &= r.g.node[i].op != VQ_OP_NORM && r.g.node[i].op != VQ_OP_NORM_BWD;
	CHECK_OK(p->b->plan_make(p->b, p->store, &r.g, &r.plan));
	r.step.scale[VQ_SCALE_RECON] = 1e-4f;
	r.step.scale[VQ_SCALE_COMMIT] = 1e-3f;
	for (int i = 0; i < (parts ? p->n : 1); i++) {
		for (int k = 0; k < part.n; k++) {
			int number = i + k;
			part.place[k].extent = (vq_rect){ k, 0, 0, p->h, p->w };
			part.place[k].valid = (vq_rect){ k, number, 2 * number, p->h - 2 * number, p->w - 3 * number };
		}
		r.step.places = part.place;
		CHECK_OK(p->b->plan_write(r.plan, r.io.input, p->input + (size_t)i * pixels));
		CHECK_OK(p->b->plan_run(r.plan, &r.step, VQ_FORWARD | VQ_BACKWARD));
	}
	CHECK_OK(p->b->store_read(p->store, VQ_BUF_GRAD, 0, n, g));
	close_run(p, &r);
	return g;
}

static void accumulate(const char *path)
{
	parity p;
	open_parity(&p, path);
	float *whole = gradients(&p, false), *parts = gradients(&p, true);
	double all = norm(p.m.params.sizes[1], whole, NULL);
	CHECK(all > 0);
	for (int i = 0; i < p.m.params.n; i++) {
		const vq_param *q = &p.m.params.p[i];
		if (!q->trainable)
			continue;
		double size = norm(q->count, whole + q->offset, NULL), off = norm(q->count, parts + q->offset, whole + q->offset) / fmax(size, 1e-4 * all);
		if (!(off <= 1e-5))
			TEST_END(1, "%s: the gradient of %s in parts is off by %.3g", path, q->name, off);
	}
	free(whole);
	free(parts);
	close_parity(&p);
}

static const char *file;
static void one(void) { compare(file); }
static void in_parts(void) { accumulate(file); }

int main(void)
{
	static const char *const golden[] = { "improved-global", "improved-grid", "original", "codes" };
	const char *given = getenv("VQ_PARITY");
	char path[256], title[64];
	if (given) {
		char *list = vq_strdup(given);
		for (char *p = strtok(list, ":"); p; p = strtok(NULL, ":")) {
			file = p;
			test_run(strrchr(p, '/') ? strrchr(p, '/') + 1 : p, one);
		}
		free(list);
	}
	for (size_t i = 0; !given && i < VQ_COUNT(golden); i++) {
		snprintf(path, sizeof path, "tests/golden/parity-%s.safetensors", golden[i]);
		file = path;
		test_run(golden[i], one);
		snprintf(title, sizeof title, "%s in parts", golden[i]);
		test_run(title, in_parts);
	}
	printf("1..%d\n", test_number);
	return test_failed != 0;
}
