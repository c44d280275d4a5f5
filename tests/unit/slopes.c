#include "tests/unit/slopes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/ref.h"

#ifdef __SANITIZE_ADDRESS__
enum { LOOKS = 12 };
#else
enum { LOOKS = 40 }; /* elements of a tensor that are differentiated */
#endif

typedef struct { engine *e; naive n; int y; double *r; char *wrong; double limit; } slopes;

/* 1 where a value has an item, else 0; for every element. */
static double *inside(const slopes *s, int value)
{
	const vq_value *v = &s->e->g.v[value];
	double *m = ref_new(engine_count(s->e, value)), *at = m;
	for (int i = 0; i < v->n; i++)
		for (int y = 0; y < v->h; y++)
			for (int x = 0; x < v->w; x++)
				for (int c = 0; c < v->c; c++)
					*at++ = naive_kind(&s->n, v, i, y, x) > 0;
	return m;
}

static double loss(void *ctx)
{
	slopes *s = ctx;
	double sum = 0;
	naive_run(&s->n);
	for (size_t i = 0; i < engine_count(s->e, s->y); i++)
		sum += s->r[i] * s->n.value[s->y][i];
	return sum;
}

static void compare_slopes(slopes *s, const char *what, size_t n, double *x, const double *gradient, const double *mask)
{
	size_t every = n / LOOKS + 1;
	double top = 0, error = 0;
	for (size_t i = 0; i < n; i++)
		top = fmax(top, mask && !mask[i] ? 0 : fabs(gradient[i]));
	for (size_t i = 0; i < n && !*s->wrong; i += every) {
		if (mask && !mask[i])
			continue;
		double slope = ref_slope(loss, s, &x[i], 1e-5);
		top = fmax(top, fabs(slope));
		error = isfinite(gradient[i]) ? fmax(error, fabs(slope - gradient[i])) : INFINITY;
	}
	if (error > s->limit * top + 3e-6 && !*s->wrong)
		snprintf(s->wrong, 200, "gradient by %s is off by %.3g of %.3g", what, error, top);
}

static void fill_inputs(slopes *s, uint64_t seed)
{
	engine *e = s->e;
	vq_rng r = vq_rng_make(31, seed);
	for (int i = 0; i < e->inputs; i++) {
		int x = e->input[i];
		double *noise = engine_noise(&r, e->g.v[x].dtype, engine_count(e, x)), *m = inside(s, x);
		for (size_t j = 0; j < engine_count(e, x); j++)
			s->n.value[x][j] = noise[j] * m[j];
		engine_fill(e, x, s->n.value[x]);
		free(noise);
		free(m);
	}
	double *m = inside(s, s->y);
	s->r = engine_noise(&r, e->g.v[s->y].dtype, engine_count(e, s->y));
	engine_fill_seed(e, s->r);
	for (size_t j = 0; j < engine_count(e, s->y); j++)
		s->r[j] *= m[j];
	free(m);
	for (int i = 0; i < e->params.n; i++)
		engine_get_param(e, e->params.p[i].name, naive_param(&s->n, e->params.p[i].name));
	naive_frozen(&s->n, e->frozen);
}

static void compare_output(slopes *s)
{
	size_t n = engine_count(s->e, s->y);
	double *got = ref_new(n);
	engine_get(s->e, s->y, got);
	double error = engine_error(n, got, s->n.value[s->y]);
	if (!(error <= s->limit))
		snprintf(s->wrong, 200, "the output is off by %.3g", error);
	free(got);
}

const char *slopes_check(engine *e, int y, uint64_t seed, double limit)
{
	static char wrong[200];
	slopes s = { .e = e, .y = y, .wrong = wrong, .limit = limit };
	*wrong = 0;
	naive_open(&s.n, &e->g, &e->step);
	fill_inputs(&s, seed);
	naive_run(&s.n);
	if (engine_run(e, VQ_FORWARD | VQ_BACKWARD) < 0)
		snprintf(wrong, sizeof wrong, "%.190s", vq_message());
	else
		compare_output(&s);
	for (int i = 0; i < e->inputs && !*wrong; i++) {
		int x = e->input[i], g = engine_gradient(e, x);
		double *m = inside(&s, x), *got = ref_new(engine_count(e, x));
		char name[32];
		snprintf(name, sizeof name, "input %d", i);
		if (g >= 0) {
			engine_get(e, g, got);
			compare_slopes(&s, name, engine_count(e, x), s.n.value[x], got, m);
		}
		free(m);
		free(got);
	}
	for (int i = 0; i < e->params.n && !*wrong; i++) {
		const vq_param *p = &e->params.p[i];
		double *got = ref_new(p->count);
		if (p->trainable) {
			engine_get_grad(e, p->name, got);
			compare_slopes(&s, p->name, p->count, naive_param(&s.n, p->name), got, NULL);
		}
		free(got);
	}
	naive_close(&s.n);
	free(s.r);
	return *wrong ? wrong : NULL;
}
