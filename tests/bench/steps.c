/* steps: how long one training step takes.   steps [--profile | --ops] MODEL SIZE BATCH f32|bf16 THREADS STEPS
 *
 * MODEL is codes (configs/peer.json), improved or improved-grid (configs/improved.json, global or a grid without skips), of 4 channels,
 * on BATCH whole canvases of SIZE x SIZE random numbers in [-1, 1]: forward, 2 MSE + commitment, backward, clipping to 0.5, AdamW. One
 * JSON line: the median and the least of STEPS steps after a warm-up, in ms, the least of processor time, which other work on the
 * machine disturbs less, and how often the host waited for the device within them or asked for memory (vq_backend.waits). Where the backend
 * takes one step ahead, as a GPU does, a step is from one start to the next, with the copy of its input. With --profile, the least time of each
 * node; with --ops, a line for each kind of operation first: its name, how many there are, the sum of their least times in ms, what they
 * compute (10^9 operations) and what they read and write (10^9 bytes, each value once). VQ_BENCH_DEVICE in the environment is the device,
 * else cpu. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/model/graph.h"
#include "lib/model/model.h"
#include "lib/model/work.h"
#include "lib/rng.h"
#include "lib/train/config.h"
#include "tests/bench/models.h"

enum { CHANNELS = 4, WARM = 4 };

static vq_status configure(vq_config *c, const char *model)
{
	bool codes = !strcmp(model, "codes"), grid = !strcmp(model, "improved-grid");
	vq_config_defaults(c);
	for (const char *const *set = codes ? bench_peer : bench_improved; *set; set++)
		VQ_TRY(vq_config_set(c, *set));
	VQ_TRY(vq_config_set(c, "content_weighting=false"));
	VQ_TRY(vq_config_set(c, "use_perceptual_loss=false"));
	VQ_TRY(vq_config_set(c, "gradient_clip_norm=0.5"));
	VQ_TRY(vq_config_set(c, "learning_rate=0.0001"));
	if (grid) {
		VQ_TRY(vq_config_set(c, "latent=grid"));
		VQ_TRY(vq_config_set(c, "skip=none"));
	} else if (!codes && strcmp(model, "improved")) {
		return vq_fail(VQ_EINVAL, "no model %s", model);
	}
	return VQ_OK;
}

typedef struct {
	vq_config c;
	vq_backend *b;
	vq_params params;
	vq_graph g;
	vq_model_io io;
	vq_store *store;
	vq_plan *plan;
	vq_place *place;
	vq_step step[2];        /* in turn */
	uint64_t waits;         /* vq_backend.waits of the steps that count */
	float *x;
} bench;

static vq_status prepare(bench *b, const char *model, int size, int batch, vq_dtype t, int threads)
{
	vq_model_info info;
	VQ_TRY(configure(&b->c, model));
	VQ_TRY(vq_model_describe(&b->c, CHANNELS, &info));
	VQ_TRY(vq_backend_open(&b->b, getenv("VQ_BENCH_DEVICE") ? getenv("VQ_BENCH_DEVICE") : "cpu", threads));
	if (t == VQ_BF16 && !b->b->bf16)
		return vq_fail(VQ_EUNSUP, "this machine has no bf16 instructions");
	VQ_TRY(vq_model_params(&b->c, CHANNELS, &b->params));
	VQ_TRY(vq_model_graph(&b->c, CHANNELS, &b->params, VQ_GRAPH_TRAIN, (vq_canvas){ batch, size, size, batch, false, t }, &b->g, &b->io));
	VQ_TRY(b->b->store_make(b->b, &b->params, true, &b->store));
	VQ_TRY(b->b->plan_make(b->b, b->store, &b->g, &b->plan));
	float *state = vq_malloc(sizeof *state * b->params.sizes[0]), *param = vq_malloc(sizeof *param * b->params.sizes[1]);
	vq_rng r = vq_rng_make(1, 1);
	if (!(b->place = vq_malloc(sizeof *b->place * (size_t)batch)) || !(b->x = vq_malloc(b->g.v[b->io.input].bytes)) || !state || !param)
		return VQ_ENOMEM;
	vq_model_init(&b->params, &b->c, 1, state, param);
	VQ_TRY(b->b->store_write(b->store, VQ_BUF_STATE, 0, b->params.sizes[0], state));
	VQ_TRY(b->b->store_write(b->store, VQ_BUF_PARAM, 0, b->params.sizes[1], param));
	for (size_t i = 0; i < b->g.v[b->io.input].bytes / sizeof *b->x; i++)
		b->x[i] = (float)(2 * vq_rng_uniform(&r) - 1);
	for (int i = 0; i < batch; i++)
		b->place[i].extent = b->place[i].valid = (vq_rect){ i, 0, 0, size, size };
	const vq_value *z = &b->g.v[b->io.z[0]];
	double positions = (double)z->n * z->h * z->w * z->c;
	b->step[0] = (vq_step){ .items = batch, .places = b->place, .seed = 1, .lr = (float)b->c.learning_rate };
	b->step[0].scale[VQ_SCALE_RECON] = (float)(2 / ((double)batch * size * size * CHANNELS));
	b->step[0].scale[VQ_SCALE_COMMIT] = (float)(1 / positions);
	b->step[1] = b->step[0];
	free(state);
	free(param);
	return VQ_OK;
}

static int up(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static void by_operation(const bench *b, const double *least)
{
	for (int op = 0; op < VQ_OPS; op++) {
		double t = 0, f = 0, m = 0;
		int count = 0;
		for (int i = 0; i < b->g.nn; i++)
			if (b->g.node[i].op == (vq_op)op) {
				t += least[i];
				vq_work w = vq_node_work(&b->g, &b->g.node[i], b->params.sizes[1]);
				f += w.flops;
				m += w.bytes;
				count++;
			}
		if (count)
			printf("op %s %d %.4f %.4f %.4f\n", vq_op_name((vq_op)op), count, 1e3 * t, f / 1e9, m / 1e9);
	}
}

static void profile(const bench *b, const double *least)
{
	for (int i = 0; i < b->g.nn; i++) {
		const vq_node *n = &b->g.node[i];
		const vq_value *x = n->in[0] >= 0 ? &b->g.v[n->in[0]] : NULL, *y = n->out[0] >= 0 ? &b->g.v[n->out[0]] : NULL;
		double t = least[i], f = vq_node_work(&b->g, n, 0).flops;
		printf("%8.3f ms  %-16s", 1e3 * t, vq_op_name(n->op));
		if (x)
			printf(" %dx%dx%dx%d", x->n, x->h, x->w, x->c);
		if (y && y->where != VQ_AT_GRAD)
			printf(" -> %dx%dx%d", y->h, y->w, y->c);
		if (f > 0)
			printf(" k%d s%d %.0f GFLOP/s", n->k, n->s, f / t / 1e9);
		printf(" %s\n", b->b->plan_impl(b->plan, i));
	}
}

/* A step; where one may be started ahead, it is the one before that is finished, as the trainer does. */
static vq_status one(bench *b, int i)
{
	unsigned phases = VQ_FORWARD | VQ_BACKWARD | VQ_UPDATE;
	vq_step *now = &b->step[i % 2], *before = &b->step[(i + 1) % 2];
	now->step = (uint64_t)i;
	if (!b->b->ahead)
		return b->b->plan_run(b->plan, now, phases);
	VQ_TRY(b->b->plan_start(b->plan, now, phases));
	return i ? b->b->plan_finish(b->plan, before) : VQ_OK;
}

static uint64_t waits(const bench *b) { return b->b->waits ? b->b->waits(b->b) : 0; }

static vq_status run(bench *b, int steps, void (*show)(const bench *, const double *), double *median, double *least, double *cpu)
{
	double *t = vq_malloc(sizeof *t * (size_t)steps), *before = vq_calloc((size_t)b->g.nn, sizeof *before), *node = vq_calloc((size_t)b->g.nn, sizeof *node);
	vq_status s = t && before && node ? VQ_OK : VQ_ENOMEM;
	for (int i = -WARM; i < steps && s == VQ_OK; i++) {
		const double *now = b->b->plan_seconds(b->plan); /* NULL where nodes are not timed */
		if (now)
			memcpy(before, now, sizeof *before * (size_t)b->g.nn);
		clock_t busy = clock();
		double start = vq_seconds();
		if ((s = b->b->plan_write(b->plan, b->io.input, b->x)) < 0) /* a step may take its memory for something else */
			break;
		if (!b->b->ahead) {
			busy = clock();
			start = vq_seconds();
		}
		b->waits = i ? b->waits : waits(b);
		s = one(b, i + WARM);
		for (int j = 0; j < b->g.nn && i >= 0 && now; j++) {
			double d = b->b->plan_seconds(b->plan)[j] - before[j];
			node[j] = i ? fmin(node[j], d) : d;
		}
		if (i >= 0) {
			t[i] = vq_seconds() - start;
			*cpu = fmin(*cpu, (double)(clock() - busy) / CLOCKS_PER_SEC);
		}
	}
	b->waits = waits(b) - b->waits;
	if (s == VQ_OK && b->b->ahead)
		s = b->b->plan_finish(b->plan, &b->step[(steps + WARM - 1) % 2]);
	if (s == VQ_OK && !isfinite(b->step[(steps + WARM - 1) % 2].scalar[VQ_S_RECON]))
		s = vq_fail(VQ_EINVAL, "the loss is not finite");
	if (s == VQ_OK) {
		qsort(t, (size_t)steps, sizeof *t, up);
		*median = t[steps / 2];
		*least = t[0];
		if (show && b->b->plan_seconds(b->plan))
			show(b, node);
	}
	free(t);
	free(before);
	free(node);
	return s;
}

int main(int argc, char **argv)
{
	bench b = {0};
	double median = 0, least = 0, cpu = INFINITY;
	bool nodes = argc > 1 && !strcmp(argv[1], "--profile"), ops = argc > 1 && !strcmp(argv[1], "--ops");
	char **a = argv + (nodes || ops);
	if (argc - (nodes || ops) != 7 || (strcmp(a[4], "f32") && strcmp(a[4], "bf16")) || atoi(a[2]) < 1 || atoi(a[3]) < 1 || atoi(a[5]) < 1 || atoi(a[6]) < 1) {
		fprintf(stderr, "usage: steps [--profile | --ops] codes|improved|improved-grid SIZE BATCH f32|bf16 THREADS STEPS\n");
		return 2;
	}
	vq_status s = prepare(&b, a[1], atoi(a[2]), atoi(a[3]), strcmp(a[4], "f32") ? VQ_BF16 : VQ_F32, atoi(a[5]));
	if (s == VQ_OK)
		s = run(&b, atoi(a[6]), nodes ? profile : ops ? by_operation : NULL, &median, &least, &cpu);
	if (s == VQ_OK)
		printf("{\"engine\":\"vq %s\",\"model\":\"%s\",\"size\":%s,\"batch\":%s,\"dtype\":\"%s\",\"train_ms\":%.2f,\"least_ms\":%.2f,\"cpu_ms\":%.2f,\"loss\":%.9g,\"waits\":%llu}\n", b.b->isa, a[1], a[2],
			a[3], a[4], 1e3 * median, 1e3 * least, 1e3 * cpu, b.step[(atoi(a[6]) + WARM - 1) % 2].scalar[VQ_S_RECON], (unsigned long long)b.waits);
	else
		fprintf(stderr, "steps: %s\n", vq_message());
	if (b.plan)
		b.b->plan_free(b.plan);
	if (b.store)
		b.b->store_free(b.store);
	if (b.b)
		b.b->close(b.b);
	vq_graph_free(&b.g);
	vq_params_free(&b.params);
	free(b.place);
	free(b.x);
	return s < 0;
}
