/* The layouts of weights that the CPU's plans share: as many for ten sizes of canvas as for one, never stale, and gone with the last plan. */
#include "lib/cpu/cpu.h"
#include "lib/model/model.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

enum { CH = 2, N = 2, STEPS = 6 };

typedef struct {
	vq_config c;
	vq_dtype compute;
	vq_params params;
	vq_backend *b;
	vq_store *s;
} world;

typedef struct { int side; vq_graph g; vq_model_io io; vq_plan *plan; } sized;

static void open_world(world *w, const char *const *set, vq_dtype compute)
{
	*w = (world){ .compute = compute };
	vq_config_defaults(&w->c);
	for (; *set; set++)
		CHECK_OK(vq_config_set(&w->c, *set));
	CHECK_OK(vq_config_check(&w->c));
	CHECK_OK(vq_backend_open(&w->b, "cpu", 2));
	CHECK_OK(vq_model_params(&w->c, CH, &w->params));
	CHECK_OK(w->b->store_make(w->b, &w->params, true, &w->s));
	float *state = calloc(w->params.sizes[0], sizeof *state), *param = calloc(w->params.sizes[1], sizeof *param);
	vq_model_init(&w->params, &w->c, 3, state, param);
	CHECK_OK(w->b->store_write(w->s, VQ_BUF_STATE, 0, w->params.sizes[0], state));
	CHECK_OK(w->b->store_write(w->s, VQ_BUF_PARAM, 0, w->params.sizes[1], param));
	free(state);
	free(param);
}

static void close_world(world *w)
{
	CHECK(!w->s->layouts);
	w->b->store_free(w->s);
	w->b->close(w->b);
	vq_params_free(&w->params);
}

static void make(world *w, sized *p, int side, vq_graph_kind kind)
{
	*p = (sized){ .side = side };
	CHECK_OK(vq_model_graph(&w->c, CH, &w->params, kind, (vq_canvas){ N, side, side, N, true, w->compute }, &p->g, &p->io));
	CHECK_OK(w->b->plan_make(w->b, w->s, &p->g, &p->plan));
}

static void drop(world *w, sized *p)
{
	w->b->plan_free(p->plan);
	vq_graph_free(&p->g);
}

static void run(world *w, sized *p, int number)
{
	vq_rng r = vq_rng_make(9, (uint64_t)number);
	float *in = w->b->plan_host(p->plan, p->io.input);
	vq_place places[N];
	for (int i = 0; i < N * p->side * p->side * CH; i++)
		in[i] = (float)vq_rng_normal(&r);
	for (int i = 0; i < N; i++)
		places[i].extent = places[i].valid = (vq_rect){ i, 0, 0, p->side, p->side };
	vq_step step = { .items = N, .places = places, .seed = 5, .step = (uint64_t)number, .lr = .01f, .scale = { .01f, .05f } };
	CHECK_OK(w->b->plan_run(p->plan, &step, VQ_FORWARD | VQ_BACKWARD | VQ_UPDATE));
}

static int layouts(const world *w)
{
	int n = 0;
	for (const cpu_layout *l = w->s->layouts; l; l = l->next)
		n++;
	return n;
}

static float *weights(world *w)
{
	float *v = malloc(sizeof *v * w->params.sizes[1]);
	CHECK_OK(w->b->store_read(w->s, VQ_BUF_PARAM, 0, w->params.sizes[1], v));
	return v;
}

/* Sizes by turns, with plans that stay and with a fresh plan each time. */
static void same_training(const char *const *set, vq_dtype compute)
{
	static const int side[] = { 32, 48, 64 };
	world a, b;
	sized keep[3], each;
	open_world(&a, set, compute);
	open_world(&b, set, compute);
	for (int i = 0; i < 3; i++)
		make(&a, &keep[i], side[i], VQ_GRAPH_TRAIN);
	for (int i = 0; i < STEPS; i++) {
		run(&a, &keep[i % 3], i);
		make(&b, &each, side[i % 3], VQ_GRAPH_TRAIN);
		run(&b, &each, i);
		drop(&b, &each);
		CHECK(!b.s->layouts);
	}
	float *x = weights(&a), *y = weights(&b);
	CHECK(!memcmp(x, y, sizeof *x * a.params.sizes[1]));
	free(x);
	free(y);
	for (int i = 0; i < 3; i++)
		drop(&a, &keep[i]);
	close_world(&a);
	close_world(&b);
}

#define IMPROVED "model=improved", "pack=false", "block_norm=batch", "blocks=1", "levels=3", "channels_per_level=16,32,64", "num_embeddings=16", "attention=true", "hidden=24,16", \
	"pool_size=2", "dropout=0.1", "skip=features", "latent=global", NULL
#define CODES "model=codes", "num_embeddings=16", NULL

TEST(plans_that_stay_train_as_fresh_ones)
{
	same_training((const char *[]){ IMPROVED }, VQ_F32);
	same_training((const char *[]){ CODES }, VQ_F32);
	vq_backend *b;
	CHECK_OK(vq_backend_open(&b, "cpu", 1));
	if (b->bf16) {
		same_training((const char *[]){ IMPROVED }, VQ_BF16);
		same_training((const char *[]){ CODES }, VQ_BF16);
	}
	b->close(b);
}

/* Which kernel a convolution gets may depend on the canvas, so that a second size may bring a few layouts of its own; a second plan of one size
 * brings none, and after several sizes further ones hardly do. */
TEST(many_plans_few_layouts)
{
	world w;
	sized p[8];
	open_world(&w, (const char *[]){ IMPROVED }, VQ_F32);
	make(&w, &p[0], 64, VQ_GRAPH_TRAIN);
	int one = layouts(&w);
	CHECK(one > 20);
	make(&w, &p[1], 64, VQ_GRAPH_TRAIN);
	CHECK(layouts(&w) == one);
	for (int i = 2; i < 8; i++)
		make(&w, &p[i], 16 * (i + 2), VQ_GRAPH_TRAIN);
	if (!(layouts(&w) < 3 * one))
		TEST_END(1, "%d layouts of 8 plans, %d of one", layouts(&w), one);
	for (int i = 0; i < 8; i++)
		drop(&w, &p[i]);
	close_world(&w);
}

/* Column sums and rows as wide as the layer: not as many as it has weights. */
TEST(linear_layers_ask_for_little_scratch)
{
	world w;
	sized p;
	open_world(&w, (const char *[]){ "model=improved", "pack=false", "block_norm=batch", "blocks=1", "levels=2", "channels_per_level=8,8", "hidden=512", "num_embeddings=16", "latent=global", "attention=false", NULL }, VQ_F32);
	make(&w, &p, 32, VQ_GRAPH_TRAIN);
	if (!(w.s->scratch_bytes < (size_t)4 << 20))
		TEST_END(1, "%zu bytes of scratch", w.s->scratch_bytes);
	drop(&w, &p);
	close_world(&w);
}

TEST_MAIN(RUN(plans_that_stay_train_as_fresh_ones) RUN(many_plans_few_layouts) RUN(linear_layers_ask_for_little_scratch))
