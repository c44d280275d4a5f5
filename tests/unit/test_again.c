/* checkpoint_activations: the same training, bit for bit, in less memory. */
#include "lib/model/again.h"
#include "lib/model/model.h"
#include "lib/rng.h"
#include "tests/unit/engine.h"
#include "tests/unit/test.h"

enum { CH = 2, SIDE = 64, N = 2 };

typedef struct { size_t n, arena, plain; int again; float *v; double loss[3]; } outcome;

static void configure(vq_config *c, const char *const *set)
{
	vq_config_defaults(c);
	for (; *set; set++)
		CHECK_OK(vq_config_set(c, *set));
	CHECK_OK(vq_config_check(c));
}

/* Every buffer of the store after three steps, the second of two batches. */
static outcome train(const vq_config *c, vq_dtype compute)
{
	static const vq_place places[N] = { { { 0, 0, 0, 64, 64 }, { 0, 0, 0, 64, 60 } }, { { 1, 0, 0, 32, 64 }, { 1, 3, 2, 20, 41 } } };
	outcome o = {0};
	vq_params params = {0};
	vq_graph g = {0};
	vq_model_io io;
	vq_backend *b;
	vq_store *s;
	vq_plan *plan;
	CHECK_OK(vq_backend_open(&b, engine_device(), 1));
	CHECK_OK(vq_model_params(c, CH, &params));
	CHECK_OK(b->store_make(b, &params, true, &s));
	float *state = calloc(params.sizes[0], sizeof *state), *param = calloc(params.sizes[1], sizeof *param);
	vq_model_init(&params, c, 3, state, param);
	CHECK_OK(b->store_write(s, VQ_BUF_STATE, 0, params.sizes[0], state));
	CHECK_OK(b->store_write(s, VQ_BUF_PARAM, 0, params.sizes[1], param));
	free(state);
	free(param);
	CHECK_OK(vq_model_graph(c, CH, &params, VQ_GRAPH_TRAIN, (vq_canvas){ N, SIDE, SIDE, N, true, compute }, &g, &io));
	CHECK_OK(b->plan_make(b, s, &g, &plan));
	for (int i = 0; i < 4; i++) {
		vq_rng r = vq_rng_make(9, (uint64_t)i);
		float *in = b->plan_host(plan, io.input);
		memset(in, 0, sizeof *in * N * SIDE * SIDE * CH);
		for (int k = 0; k < N; k++)
			for (int y = 0; y < places[k].extent.h; y++)
				for (int x = 0; x < places[k].extent.w * CH; x++)
					in[(k * SIDE + y) * SIDE * CH + x] = (float)vq_rng_normal(&r);
		float *weight = io.weight >= 0 ? b->plan_host(plan, io.weight) : NULL;
		for (int k = 0; weight && k < N * SIDE * SIDE; k++)
			weight[k] = (float)(1 + k % 3);
		vq_step step = { .items = N, .places = places, .seed = 5, .step = (uint64_t)(i > 1 ? i - 1 : i), .lr = .01f, .scale = { .01f, .05f } };
		CHECK_OK(b->plan_run(plan, &step, VQ_FORWARD | VQ_BACKWARD | (i == 1 ? 0u : VQ_UPDATE)));
		CHECK(isfinite(step.scalar[VQ_S_RECON]));
		o.loss[i > 1 ? i - 1 : i] = step.scalar[VQ_S_RECON];
	}
	for (int k = 0; k < VQ_BUFS; k++)
		o.n += params.sizes[k != VQ_BUF_STATE];
	o.v = malloc(sizeof *o.v * o.n);
	size_t at = 0;
	for (int k = 0; k < VQ_BUFS; k++) {
		CHECK_OK(b->store_read(s, (vq_buf_kind)k, 0, params.sizes[k != VQ_BUF_STATE], o.v + at));
		at += params.sizes[k != VQ_BUF_STATE];
	}
	o.arena = g.arena_bytes;
	o.plain = g.plain_bytes;
	for (int i = 0; i < g.nn; i++)
		o.again += g.node[i].again;
	b->plan_free(plan);
	b->store_free(s);
	b->close(b);
	vq_graph_free(&g);
	vq_params_free(&params);
	return o;
}

static void same_in_less(const char *const *set, vq_dtype compute, double at_most)
{
	vq_config c;
	configure(&c, set);
	outcome a = train(&c, compute);
	c.checkpoint_activations = true;
	outcome b = train(&c, compute);
	CHECK(!a.again && !a.plain && b.again > 5);
	CHECK(b.plain == a.arena);
	if (!((double)b.arena <= at_most * (double)a.arena))
		TEST_END(1, "%s: %zu bytes instead of %zu", set[0], b.arena, a.arena);
	CHECK(a.n == b.n && !memcmp(a.loss, b.loss, sizeof a.loss));
	CHECK(!memcmp(a.v, b.v, sizeof *a.v * a.n));
	free(a.v);
	free(b.v);
}

#define CODES "model=codes", "channels_per_level=[8,16]", "embedding_dim=8", "num_embeddings=16", "head_channels=8"
#define OURS "channels_per_level=[8,12,16]", "levels=3", "block_norm=batch", "pack=false", "embedding_dim=16", "num_embeddings=16", "hidden=[24,12]"

TEST(codes)
{
	same_in_less((const char *[]){ CODES, "activation=relu", NULL }, VQ_F32, .75);
	same_in_less((const char *[]){ CODES, "activation=leaky_relu", "blocks=3", NULL }, VQ_F32, .75);
	same_in_less((const char *[]){ CODES, "activation=silu", NULL }, VQ_F32, .6);
	same_in_less((const char *[]){ CODES, "activation=gelu", "loss=l1", "blocks=0", NULL }, VQ_F32, .9);
	same_in_less((const char *[]){ CODES, "codebook_update=gradient", "content_weighting=true", NULL }, VQ_F32, .75);
	if (engine_has_bf16())
		same_in_less((const char *[]){ CODES, "activation=relu", NULL }, VQ_BF16, .9);
}

TEST(improved)
{
	same_in_less((const char *[]){ "model=improved", OURS, "blocks=1", "latent=global", "skip=features", "attention=true", "dropout=0.3", NULL }, VQ_F32, .75);
	same_in_less((const char *[]){ "model=improved", OURS, "blocks=1", "latent=grid", "activation=silu", NULL }, VQ_F32, .7);
	same_in_less((const char *[]){ "model=improved", OURS, "blocks=1", "latent=grid", "skip=quantized", "codebook_depth=2", NULL }, VQ_F32, .8);
	if (engine_has_bf16())
		same_in_less((const char *[]){ "model=improved", OURS, "blocks=1", "latent=global", "attention=true", "activation=leaky_relu", NULL }, VQ_BF16, .8);
}

TEST(original)
{
	same_in_less((const char *[]){ "model=original", OURS, "blocks=0", "latent=global", "stem_stride=3", "dropout=0.2", NULL }, VQ_F32, .9);
}

/* Nothing that runs once is repeated, and what is repeated is read. */
TEST(what_is_made_again)
{
	vq_config c;
	vq_params params = {0};
	vq_graph g = {0};
	vq_model_io io;
	configure(&c, (const char *[]){ "model=improved", OURS, "blocks=1", "latent=grid", "checkpoint_activations=true", NULL });
	CHECK_OK(vq_model_params(&c, CH, &params));
	CHECK_OK(vq_model_graph(&c, CH, &params, VQ_GRAPH_TRAIN, (vq_canvas){ N, SIDE, SIDE, N, true, VQ_F32 }, &g, &io));
	for (int i = 0; i < g.nn; i++) {
		const vq_node *n = &g.node[i];
		if (!n->again)
			continue;
		CHECK(n->phase == VQ_BACKWARD && n->op != VQ_OP_QUANTIZE && n->op != VQ_OP_LOSS && n->op != VQ_OP_EMA_SUM && n->scalar < 0);
		bool read = false;
		for (int k = i + 1; k < g.nn; k++)
			for (int j = 0; j < VQ_NODE_IN; j++)
				read |= g.node[k].in[j] >= 0 && (g.node[k].in[j] == n->out[0] || g.node[k].in[j] == n->out[1]);
		CHECK(read);
	}
	vq_graph_free(&g);
	vq_params_free(&params);
}

TEST_MAIN(RUN(codes) RUN(improved) RUN(original) RUN(what_is_made_again))
