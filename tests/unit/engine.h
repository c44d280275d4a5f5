/* engine: one or a few layers of the engine, made ready for a test that compares them with tests/unit/ref.h.
 *
 *   engine e;
 *   engine_open(&e, (engine_spec){ .n = 1, .h = 5, .w = 7 });
 *   int x = engine_input(&e, VQ_F32, 1, 5, 7, 3, 0);
 *   int y = vq_layer_conv(&e.b, x, "c", 8, ...);
 *   CHECK_OK(engine_build(&e, y));
 *   engine_fill(&e, x, xs); engine_fill_seed(&e, r); CHECK_OK(engine_run(&e, VQ_FORWARD | VQ_BACKWARD));
 *   engine_get(&e, y, ys); engine_get(&e, engine_gradient(&e, x), dx);
 *   engine_close(&e);
 *
 * Numbers go in and out as doubles whatever the value's type. What cannot fail in a sound test ends the program when it does. */
#ifndef VQ_TEST_ENGINE_H
#define VQ_TEST_ENGINE_H

#include "lib/model/graph.h"
#include "lib/rng.h"

enum { ENGINE_ITEMS = 40, ENGINE_INPUTS = 8 };

typedef struct {
	int threads;            /* 0: 2 */
	vq_dtype compute;       /* 0 is u8 and means f32 */
	bool packed, inference; /* inference: no backward pass, NORM and DROPOUT at rest */
	bool fixed;             /* a store that nobody trains; with inference */
	int n, h, w;            /* canvases: grid 0 */
	int items;              /* 0: one a canvas, all of it valid */
	const vq_optimizer *update; /* adds the update, with the gradient's norm in scalar 31 */
} engine_spec;

typedef struct {
	engine_spec spec;
	vq_backend *be;
	vq_params params;
	vq_graph g;
	vq_builder b;
	vq_store *store;
	vq_plan *plan;
	vq_step step;
	vq_place place[ENGINE_ITEMS]; /* a test with items of its own fills these */
	int input[ENGINE_INPUTS], inputs, seed;
	int *gradient;
	const float *frozen;    /* set with g.frozen, before engine_build: weights of a frozen network */
} engine;

/* The device that tests of the engine run on: VQ_TEST_DEVICE in the environment, else "cpu". */
const char *engine_device(void);
bool engine_has_bf16(void);  /* it has instructions for bf16: "auto" may compute in f32 all the same */
void engine_open(engine *e, engine_spec s);
void engine_close(engine *e);
/* A value that the test writes before a run. Float ones have a gradient when something after them is differentiable. */
int engine_input(engine *e, vq_dtype t, int n, int h, int w, int c, int grid);
/* Backward pass from y (-1: from the losses in the graph), plan, and random parameters. y and the gradients of inputs can be read. */
vq_status engine_build(engine *e, int y);
vq_status engine_run(engine *e, unsigned phases);
void engine_keep(engine *e, int value); /* before engine_build: value can be read after a run */

size_t engine_count(const engine *e, int value);
void engine_fill(engine *e, int value, const double *x);
void engine_fill_seed(engine *e, const double *dy);  /* the gradient by y */
void engine_get(engine *e, int value, double *x);
int engine_gradient(const engine *e, int value);     /* the value that holds it, or -1 */
size_t engine_param_count(const engine *e, const char *name);
void engine_put_param(engine *e, const char *name, const double *x);
void engine_get_param(engine *e, const char *name, double *x);
void engine_get_grad(engine *e, const char *name, double *x);
const vq_node *engine_node(const engine *e, vq_op op); /* the first of its kind; NULL when there is none */
const char *engine_impl(const engine *e, vq_op op);    /* what that node runs */

void engine_place(engine *e, int i, vq_rect extent, vq_rect valid);

/* n normal numbers, rounded to what type t holds; and the rounding alone. */
double *engine_noise(vq_rng *r, vq_dtype t, size_t n);
void engine_round(vq_dtype t, size_t n, double *x);
/* Largest |got - want| over the largest |want|; when all of want is 0, the largest |got|. Infinite when got has a NaN. */
double engine_error(size_t n, const double *got, const double *want);

#endif
