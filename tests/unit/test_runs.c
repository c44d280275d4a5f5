/* Runs of the model's training graph: repeatable, the same packed or alone, whatever was in the arena before. */
#include "lib/model/graph.h"
#include "lib/model/model.h"
#include "tests/unit/engine.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

/* Two items of different size on one canvas and one on another, with valid parts; zero outside, as a batch is filled. */
static const vq_place three_places[] = {
	{ { 0, 0, 0, 8, 12 }, { 0, 1, 2, 6, 9 } }, { { 0, 0, 16, 12, 8 }, { 0, 0, 16, 12, 8 } }, { { 1, 4, 8, 4, 4 }, { 1, 5, 8, 2, 1 } },
};

typedef struct { vq_params params; vq_backend *be; vq_store *store; vq_config c; vq_dtype compute; } setup;
typedef struct { vq_graph g; vq_model_io io; vq_plan *plan; vq_step step; } training;

enum { CH = 3 };

static void open_setup(setup *s, int threads)
{
	*s = (setup){ .compute = VQ_F32 };
	vq_config_defaults(&s->c);
	CHECK_OK(vq_config_set(&s->c, "embedding_dim=16"));
	CHECK_OK(vq_config_set(&s->c, "num_embeddings=9"));
	CHECK_OK(vq_config_set(&s->c, "head_channels=3"));
	CHECK_OK(vq_backend_open(&s->be, engine_device(), threads));
	CHECK_OK(vq_model_params(&s->c, CH, &s->params));
	CHECK_OK(s->be->store_make(s->be, &s->params, true, &s->store));
	float *state = calloc(s->params.sizes[0], sizeof *state), *param = calloc(s->params.sizes[1], sizeof *param);
	vq_model_init(&s->params, &s->c, 3, state, param);
	CHECK_OK(s->be->store_write(s->store, VQ_BUF_STATE, 0, s->params.sizes[0], state));
	CHECK_OK(s->be->store_write(s->store, VQ_BUF_PARAM, 0, s->params.sizes[1], param));
	free(state);
	free(param);
}

static void close_setup(setup *s)
{
	s->be->store_free(s->store);
	s->be->close(s->be);
	vq_params_free(&s->params);
}

static void open_training(setup *s, training *t, int n, int h, int w, bool packed, int items, const vq_place *places)
{
	*t = (training){ .step = { .items = items, .places = places, .lr = .01f, .scale = { .01f, .05f } } };
	CHECK_OK(vq_model_graph(&s->c, CH, &s->params, VQ_GRAPH_TRAIN, (vq_canvas){ n, h, w, VQ_MAX(items, 1), packed, s->compute }, &t->g, &t->io));
	CHECK_OK(s->be->plan_make(s->be, s->store, &t->g, &t->plan));
}

static void close_training(setup *s, training *t)
{
	s->be->plan_free(t->plan);
	vq_graph_free(&t->g);
}

/* An item's pixels depend on its number (`first` and on) and the place inside it alone. */
static void fill_training(setup *s, training *t, int first)
{
	const vq_value *v = &t->g.v[t->io.input];
	float *in = calloc((size_t)(v->n * v->h * v->w * CH), sizeof *in);
	for (int i = 0; i < t->step.items; i++) {
		vq_rect r = t->step.places[i].extent;
		vq_rng noise = vq_rng_make(77, (uint64_t)(first + i));
		for (int y = 0; y < r.h; y++)
			for (int x = 0; x < r.w * CH; x++)
				in[((size_t)r.n * (size_t)v->h + (size_t)(r.y + y)) * (size_t)(v->w * CH) + (size_t)(r.x * CH + x)] = (float)vq_rng_normal(&noise);
	}
	CHECK_OK(s->be->plan_write(t->plan, t->io.input, in));
	free(in);
}

static double *gradients(setup *s)
{
	size_t n = s->params.sizes[1];
	float *f = malloc(n * sizeof *f);
	double *g = ref_new(n);
	CHECK_OK(s->be->store_read(s->store, VQ_BUF_GRAD, 0, n, f));
	for (size_t i = 0; i < n; i++)
		g[i] = (double)f[i];
	memset(f, 0, n * sizeof *f);
	CHECK_OK(s->be->store_write(s->store, VQ_BUF_GRAD, 0, n, f));
	free(f);
	return g;
}

enum { RH = 12, RW = 24 };

/* Three steps of training; the weights after them. */
static float *three_steps(int threads, double *losses)
{
	setup s;
	training t;
	open_setup(&s, threads);
	open_training(&s, &t, 2, RH, RW, true, 3, three_places);
	for (int i = 0; i < 3; i++) {
		fill_training(&s, &t, 3 * i);
		t.step.step = (uint64_t)i;
		CHECK_OK(s.be->plan_run(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD | VQ_UPDATE));
		losses[i] = t.step.scalar[VQ_S_RECON];
	}
	size_t n = s.params.sizes[0] + s.params.sizes[1];
	float *all = malloc(n * sizeof *all);
	CHECK_OK(s.be->store_read(s.store, VQ_BUF_STATE, 0, s.params.sizes[0], all));
	CHECK_OK(s.be->store_read(s.store, VQ_BUF_PARAM, 0, s.params.sizes[1], all + s.params.sizes[0]));
	losses[3] = (double)n;
	close_training(&s, &t);
	close_setup(&s);
	return all;
}

TEST(the_same_run_gives_the_same_bytes)
{
	double a[4], b[4];
	float *x = three_steps(2, a), *y = three_steps(2, b);
	CHECK(!memcmp(a, b, sizeof a));
	CHECK(!memcmp(x, y, (size_t)a[3] * sizeof *x));
	free(x);
	free(y);
}

TEST(threads_agree_to_rounding)
{
	double *g[2], loss[2];
	for (int threads = 1; threads <= 2; threads++) {
		setup s;
		training t;
		open_setup(&s, threads);
		open_training(&s, &t, 2, RH, RW, true, 3, three_places);
		fill_training(&s, &t, 0);
		CHECK_OK(s.be->plan_run(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD));
		loss[threads - 1] = t.step.scalar[VQ_S_RECON];
		g[threads - 1] = gradients(&s);
		if (threads == 2) {
			CHECK_NEAR(loss[0], loss[1], 1e-5 * loss[0]);
			CHECK(engine_error(s.params.sizes[1], g[0], g[1]) < 1e-5);
		}
		close_training(&s, &t);
		close_setup(&s);
	}
	free(g[0]);
	free(g[1]);
}

/* Packed together, each alone, and one after another into the same sums: the same gradient. */
TEST(gradients_of_packed_cells_are_those_of_each_alone)
{
	setup s;
	training t;
	open_setup(&s, 2);
	open_training(&s, &t, 2, RH, RW, true, 3, three_places);
	fill_training(&s, &t, 0);
	CHECK_OK(s.be->plan_run(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD));
	double *packed = gradients(&s), recon = 0;
	for (int i = 0; i < 3; i++) {
		training u;
		vq_rect e = three_places[i].extent, v = three_places[i].valid;
		vq_place at = { { 0, 0, 0, e.h, e.w }, { 0, v.y - e.y, v.x - e.x, v.h, v.w } };
		open_training(&s, &u, 1, e.h, e.w, false, 1, &at);
		fill_training(&s, &u, i);
		CHECK_OK(s.be->plan_run(u.plan, &u.step, VQ_FORWARD | VQ_BACKWARD));
		recon += u.step.scalar[VQ_S_RECON];
		close_training(&s, &u);
	}
	double *apart = gradients(&s);
	CHECK_NEAR(t.step.scalar[VQ_S_RECON], recon, 1e-5 * recon);
	CHECK(engine_error(s.params.sizes[1], apart, packed) < 2e-5);
	close_training(&s, &t);
	close_setup(&s);
	free(packed);
	free(apart);
}

static int count_nodes(const vq_graph *g, vq_op op)
{
	int n = 0;
	for (int i = 0; i < g->nn; i++)
		n += g->node[i].op == op;
	return n;
}

/* bf16 activations: nearly the same loss and direction; the image takes no gradient in either. */
TEST(bf16_trains_as_f32_does)
{
	setup s;
	double *g[2], loss[2], dot = 0, norm[2] = {0};
	open_setup(&s, 2);
	if (!s.be->bf16) {
		close_setup(&s);
		SKIP("no bf16 instructions");
	}
	for (int half = 0; half < 2; half++) {
		training t;
		s.compute = half ? VQ_BF16 : VQ_F32;
		open_training(&s, &t, 2, RH, RW, true, 3, three_places);
		CHECK(count_nodes(&t.g, VQ_OP_CONV_DATA) == count_nodes(&t.g, VQ_OP_CONV) - 1);
		fill_training(&s, &t, 0);
		CHECK_OK(s.be->plan_run(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD));
		loss[half] = t.step.scalar[VQ_S_RECON];
		g[half] = gradients(&s);
		close_training(&s, &t);
	}
	for (size_t i = 0; i < s.params.sizes[1]; i++) {
		dot += g[0][i] * g[1][i];
		norm[0] += g[0][i] * g[0][i];
		norm[1] += g[1][i] * g[1][i];
	}
	CHECK_NEAR(loss[1] / loss[0], 1, .01);
	CHECK(dot / sqrt(norm[0] * norm[1]) > .99);
	close_setup(&s);
	free(g[0]);
	free(g[1]);
}

/* Fewer items than there is room for, and none: what an earlier step left on the canvas does not count. */
TEST(left_over_places)
{
	setup s;
	training t, one;
	open_setup(&s, 2);
	open_training(&s, &t, 2, RH, RW, true, 3, three_places);
	fill_training(&s, &t, 0);
	CHECK_OK(s.be->plan_run(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD));
	free(gradients(&s));
	t.step.items = 1;
	fill_training(&s, &t, 0);
	CHECK_OK(s.be->plan_run(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD));
	double *got = gradients(&s);
	open_training(&s, &one, 1, RH, RW, true, 1, three_places);
	fill_training(&s, &one, 0);
	CHECK_OK(s.be->plan_run(one.plan, &one.step, VQ_FORWARD | VQ_BACKWARD));
	double *want = gradients(&s);
	CHECK(engine_error(s.params.sizes[1], got, want) < 1e-5);
	free(got);
	t.step.items = 0;
	t.step.places = NULL;
	fill_training(&s, &t, 0);
	CHECK_OK(s.be->plan_run(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD | VQ_UPDATE));
	CHECK(t.step.scalar[VQ_S_RECON] == 0 && t.step.scalar[VQ_S_COMMIT] == 0 && t.step.scalar[VQ_S_NORM] == 0);
	free(want);
	close_training(&s, &t);
	close_training(&s, &one);
	close_setup(&s);
}

/* Plans of one store share an arena: a larger one made later moves it under the smaller one's feet. */
TEST(plans_share_an_arena)
{
	setup s;
	training a, b;
	open_setup(&s, 2);
	open_training(&s, &a, 1, RH, RW, true, 1, three_places);
	fill_training(&s, &a, 0);
	CHECK_OK(s.be->plan_run(a.plan, &a.step, VQ_FORWARD | VQ_BACKWARD));
	double *before = gradients(&s);
	open_training(&s, &b, 4, 2 * RH, 2 * RW, true, 3, three_places);
	fill_training(&s, &b, 0);
	CHECK_OK(s.be->plan_run(b.plan, &b.step, VQ_FORWARD | VQ_BACKWARD));
	free(gradients(&s));
	fill_training(&s, &a, 0);
	CHECK_OK(s.be->plan_run(a.plan, &a.step, VQ_FORWARD | VQ_BACKWARD));
	double *after = gradients(&s);
	CHECK(!memcmp(before, after, s.params.sizes[1] * sizeof *before));
	CHECK(s.be->plan_first_bad(a.plan, &a.step, VQ_FORWARD | VQ_BACKWARD) == -1);
	free(before);
	free(after);
	close_training(&s, &a);
	close_training(&s, &b);
	close_setup(&s);
}

/* After a run that went wrong the backend names an operation; after a good one, none. */
TEST(the_first_bad_operation)
{
	setup s;
	training t;
	open_setup(&s, 2);
	open_training(&s, &t, 2, RH, RW, true, 3, three_places);
	fill_training(&s, &t, 0);
	CHECK_OK(s.be->plan_run(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD));
	CHECK(s.be->plan_first_bad(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD) == -1);
	fill_training(&s, &t, 0);
	((float *)s.be->plan_host(t.plan, t.io.input))[(1 * RW + 2) * CH] = NAN; /* a valid pixel: ReLU may make 0 of NaN, the loss does not */
	CHECK_OK(s.be->plan_run(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD));
	CHECK(isnan(t.step.scalar[VQ_S_RECON]));
	int node = s.be->plan_first_bad(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD);
	char where[VQ_LAYER_MAX];
	CHECK(node >= 0);
	vq_graph_layer(&t.g, node, where);
	CHECK_STR(where, "enc.0 (conv)");
	/* a weight in the decoder: neither what is before it nor what follows from it */
	fill_training(&s, &t, 0);
	int p = vq_params_find(&s.params, "dec.3.conv2.weight");
	CHECK(p >= 0);
	CHECK_OK(s.be->store_write(s.store, VQ_BUF_PARAM, s.params.p[p].offset + 3, 1, (float[]){ INFINITY }));
	node = s.be->plan_first_bad(t.plan, &t.step, VQ_FORWARD | VQ_BACKWARD);
	CHECK(node >= 0);
	vq_graph_layer(&t.g, node, where);
	CHECK_STR(where, "dec.3.conv2 (conv)");
	vq_graph_layer(&t.g, node - 2, where); /* the convolution before it, and its clearing */
	CHECK_STR(where, "dec.3.conv1 (conv)");
	vq_graph_layer(&t.g, node - 1, where);
	CHECK_STR(where, "what follows dec.3.conv1 (clear)");
	for (node = 0; t.g.node[node].op != VQ_OP_CONV_WEIGHT; node++)
		;
	vq_graph_layer(&t.g, node, where);
	CHECK_HAS(where, "the gradient of dec.");
	close_training(&s, &t);
	close_setup(&s);
}

TEST_MAIN(RUN(the_same_run_gives_the_same_bytes) RUN(threads_agree_to_rounding) RUN(gradients_of_packed_cells_are_those_of_each_alone)
	RUN(bf16_trains_as_f32_does) RUN(left_over_places) RUN(plans_share_an_arena) RUN(the_first_bad_operation))
