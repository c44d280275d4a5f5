#include "lib/image/synth_draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MARGIN = 5 }; /* round the object: about three sigma of the widest point spread */

/* Smooth random texture: values on a coarse lattice, turned by a random angle so that no grid shows, interpolated. */
typedef struct { int w; float y0, c, s, *v; } lattice;

static bool lattice_make(vq_arena *m, vq_rng *g, lattice *l, int64_t w, int64_t h, double spacing)
{
	double a = vq_rng_uniform(g) * 1.5707963267948966, c = cos(a) / spacing, s = sin(a) / spacing; /* a quarter turn: c, s >= 0 */
	l->c = (float)c;
	l->s = (float)s;
	l->y0 = (float)(s * (double)w);
	l->w = (int)(c * (double)w + s * (double)h) + 3;
	int n = l->w * ((int)(s * (double)w + c * (double)h) + 3);
	l->v = vq_arena_get(m, (size_t)n * sizeof(float));
	for (int i = 0; l->v && i < n; i++)
		l->v[i] = (float)((double)vq_rng_u32(g) * 0x1p-31 - 1);
	return l->v;
}

static inline float lattice_at(const lattice *l, int64_t ix, int64_t iy)
{
	float x = (float)ix * l->c + (float)iy * l->s, y = l->y0 - (float)ix * l->s + (float)iy * l->c;
	int i = (int)x, j = (int)y;
	x -= (float)i;
	y -= (float)j;
	x = x * x * (3 - 2 * x);
	y = y * y * (3 - 2 * y);
	const float *p = l->v + (int64_t)j * l->w + i, *q = p + l->w;
	float a = p[0] + (p[1] - p[0]) * x, b = q[0] + (q[1] - q[0]) * x;
	return a + (b - a) * y;
}

typedef struct {
	const vq_synth_scene *s;
	vq_arena *m;
	int64_t h, w;
	float cx, cy;   /* the scene's origin on the canvas */
	float *nucleus; /* coverage of the nuclei, 0 to 1 */
	float *cell;    /* coverage of the cell */
	float *depth;   /* radius over the cell's radius */
} stage;

static float coverage(float inside) { return inside <= -.5f ? 0 : inside >= .5f ? 1 : inside + .5f; }

/* p becomes p + add*G, or p*(1 - hole*G), with a Gaussian spot G of height 1. */
static void spot(const stage *st, float *p, float x, float y, float sigma, float add, float hole)
{
	float k = .5f / (sigma * sigma), reach = 3 * sigma;
	int64_t x0 = (int64_t)VQ_MAX(x - reach, 0), x1 = VQ_MIN((int64_t)(x + reach) + 1, st->w - 1);
	int64_t y0 = (int64_t)VQ_MAX(y - reach, 0), y1 = VQ_MIN((int64_t)(y + reach) + 1, st->h - 1);
	for (int64_t j = y0; j <= y1; j++)
		for (int64_t i = x0; i <= x1; i++) {
			float dx = (float)i - x, dy = (float)j - y, v = expf(-k * (dx * dx + dy * dy));
			float *q = p + j * st->w + i;
			*q = *q * (1 - hole * v) + add * v;
		}
}

/* A drop of light between four pixels. */
static void drop(const stage *st, float *p, float x, float y, float v)
{
	int64_t i = (int64_t)floorf(x), j = (int64_t)floorf(y);
	if (i < 0 || j < 0 || i + 1 >= st->w || j + 1 >= st->h)
		return;
	float fx = x - (float)i, fy = y - (float)j;
	p += j * st->w + i;
	p[0] += v * (1 - fx) * (1 - fy);
	p[1] += v * fx * (1 - fy);
	p[st->w] += v * (1 - fx) * fy;
	p[st->w + 1] += v * fx * fy;
}

/* A place inside the nucleus at up to t of its radius. */
static void place_in(vq_rng *g, const stage *st, const vq_synth_outline *o, double t, float *x, float *y)
{
	double turn = vq_rng_uniform(g) * VQ_SYNTH_ANGLES, a = turn * 6.283185307179586 / VQ_SYNTH_ANGLES;
	double r = o->r[(int)turn] * t * sqrt(vq_rng_uniform(g));
	*x = st->cx + o->x + (float)(r * cos(a));
	*y = st->cy + o->y + (float)(r * sin(a));
}

static bool draw_coverage(stage *st)
{
	size_t n = (size_t)(st->h * st->w);
	st->nucleus = vq_arena_get(st->m, n * sizeof(float));
	st->cell = st->depth = NULL;
	if (st->s->whole) {
		st->cell = vq_arena_get(st->m, n * sizeof(float));
		st->depth = vq_arena_get(st->m, n * sizeof(float));
	}
	if (!st->nucleus || (st->s->whole && (!st->cell || !st->depth)))
		return false;
	for (int64_t j = 0, i = 0; j < st->h; j++)
		for (int64_t k = 0; st->s->whole && k < st->w; k++, i++) {
			float inside;
			st->depth[i] = vq_synth_at(&st->s->cell, (float)k - st->cx, (float)j - st->cy, &inside);
			st->cell[i] = coverage(inside);
		}
	return true;
}

/* DNA: a rounded body with chromatin texture, dark nucleoli, bright foci; condensed and even in mitosis. Also fills st->nucleus. */
static bool draw_dna(stage *st, vq_rng *g, float *p)
{
	const vq_synth_truth *t = &st->s->truth;
	double r = t->nucleus_radius;
	lattice coarse, fine;
	if (!lattice_make(st->m, g, &coarse, st->w, st->h, VQ_MAX(r / 2, 3)) ||
	    !lattice_make(st->m, g, &fine, st->w, st->h, VQ_MAX(r / 6, 1.7)))
		return false;
	float tex = (float)t->texture, rim = (float)VQ_MAX(.1, 1.2 / r);
	for (int n = 0; n < st->s->nuclei; n++)
		for (int64_t j = 0, i = 0; j < st->h; j++)
			for (int64_t k = 0; k < st->w; k++, i++) {
				float inside, d = vq_synth_at(&st->s->nucleus[n], (float)k - st->cx, (float)j - st->cy, &inside);
				float cover = coverage(inside);
				if (cover == 0)
					continue;
				d = VQ_MIN(d, 1);
				float body = .5f + .5f * sqrtf(1 - d * d), edge = (d - 1 + rim) / rim;
				float grain = .35f * lattice_at(&coarse, k, j) + .5f * lattice_at(&fine, k, j) + (edge > 0 ? .25f * edge : 0);
				st->nucleus[i] = VQ_MAX(st->nucleus[i], cover);
				p[i] = VQ_MAX(p[i], cover * body * VQ_MAX(1 + tex * grain, .15f));
			}
	float x, y;
	for (int n = 0; n < t->nucleoli; n++) {
		place_in(g, st, &st->s->nucleus[0], .65, &x, &y);
		spot(st, p, x, y, (float)(r * (.08 + .09 * vq_rng_uniform(g))), 0, .65f);
	}
	for (int n = 0; n < t->foci; n++) {
		place_in(g, st, &st->s->nucleus[0], .85, &x, &y);
		spot(st, p, x, y, (float)VQ_MAX(r * (.04 + .05 * vq_rng_uniform(g)), .6), (float)(.4 + .7 * vq_rng_uniform(g)), 0);
	}
	return true;
}

/* Endoplasmic reticulum: a net that is dense round the nucleus and thins out towards the edge. */
static bool draw_er(stage *st, vq_rng *g, float *p)
{
	const vq_synth_truth *t = &st->s->truth;
	lattice net, fine, wide;
	if (!lattice_make(st->m, g, &net, st->w, st->h, VQ_MAX(t->radius / 7, 3)) ||
	    !lattice_make(st->m, g, &fine, st->w, st->h, VQ_MAX(t->radius / 16, 2)) ||
	    !lattice_make(st->m, g, &wide, st->w, st->h, VQ_MAX(t->radius / 1.5, 4)))
		return false;
	float nx = st->s->nucleus[0].x, ny = st->s->nucleus[0].y, fall = (float)(-1.6 / t->radius);
	bool mitotic = t->kind == VQ_SYNTH_MITOTIC;
	for (int64_t j = 0, i = 0; j < st->h; j++)
		for (int64_t k = 0; k < st->w; k++, i++) {
			if (st->cell[i] == 0)
				continue;
			float dx = (float)k - st->cx - nx, dy = (float)j - st->cy - ny, d = st->depth[i];
			float near = mitotic ? .75f : .12f + .88f * expf(fall * VQ_MAX(sqrtf(dx * dx + dy * dy) - (float)t->nucleus_radius, 0));
			float ridge = 1 - fabsf(lattice_at(&net, k, j)) - .7f * fabsf(lattice_at(&fine, k, j));
			float v = near * (.45f + .8f * ridge) * (1 + .4f * lattice_at(&wide, k, j)) * (1 - .55f * d * d * d);
			p[i] = st->cell[i] * VQ_MAX(v, .03f) * (1 - (mitotic ? .6f : .8f) * st->nucleus[i]);
		}
	return true;
}

static bool draw_puncta(stage *st, vq_rng *g, float *p)
{
	const vq_synth_truth *t = &st->s->truth;
	int64_t n = st->h * st->w;
	for (int64_t i = 0; i < n; i++)
		p[i] = .05f * st->cell[i] * (1 - .4f * st->nucleus[i]);
	for (int made = 0, tries = 0; made < t->puncta && tries < 20 * t->puncta; tries++) {
		float x, y;
		place_in(g, st, &st->s->cell, .95, &x, &y);
		int64_t i = (int64_t)(y + .5f) * st->w + (int64_t)(x + .5f);
		if (i < 0 || i >= n || st->cell[i] < 1 || st->nucleus[i] > .5f)
			continue;
		double sigma = VQ_MAX(t->radius * (.012 + .02 * vq_rng_uniform(g)), .55);
		spot(st, p, x, y, (float)sigma, (float)(.25 + .75 * pow(vq_rng_uniform(g), 2)), 0);
		made++;
	}
	return true;
}

/* Tubules: curves that wander outwards from beside the nucleus, or from two spindle poles to the plate in mitosis. */
static bool draw_tubules(stage *st, vq_rng *g, float *p)
{
	const vq_synth_truth *t = &st->s->truth;
	const vq_synth_outline *o = &st->s->nucleus[0];
	bool mitotic = t->kind == VQ_SYNTH_MITOTIC;
	double r = t->radius, step = .6, c0 = cos(t->angle), s0 = sin(t->angle);
	for (int64_t i = 0; i < st->h * st->w; i++)
		p[i] = .06f * st->cell[i];
	for (int n = 0; n < t->tubules; n++) {
		double a = vq_rng_uniform(g) * 6.283185307179586, x = o->x, y = o->y, length = r * (.5 + vq_rng_uniform(g)), wander = .09;
		if (mitotic) {
			double pole = n & 1 ? 1 : -1;
			x = pole * .62 * r * c0;
			y = pole * .62 * r * s0;
			a = t->angle + (pole > 0 ? 3.141592653589793 : 0) + .55 * vq_rng_normal(g);
			length = r * (.35 + .35 * vq_rng_uniform(g));
			wander = .03;
		} else {
			if (t->kind == VQ_SYNTH_ELONGATED)
				a = t->angle + (n & 1 ? 3.141592653589793 : 0) + .25 * vq_rng_normal(g), length *= 1.3, wander = .05;
			double start = t->nucleus_radius * (.6 + .5 * vq_rng_uniform(g)), b = a + .5 * vq_rng_normal(g);
			x += start * cos(b);
			y += start * sin(b);
		}
		float bright = (float)(.45 + .5 * vq_rng_uniform(g));
		for (double d = 0; d < length; d += step) {
			float px = st->cx + (float)x, py = st->cy + (float)y;
			int64_t i = (int64_t)(py + .5f) * st->w + (int64_t)(px + .5f);
			if (px < 0 || py < 0 || px + 1 >= (float)st->w || py + 1 >= (float)st->h || st->cell[i] < .5f)
				break;
			drop(st, p, px, py, bright);
			a += wander * vq_rng_normal(g);
			x += step * cos(a);
			y += step * sin(a);
		}
	}
	return true;
}

/* Separable Gaussian; outside is dark. row holds max(h, w) + 2 * MARGIN values. */
static void blur(float *p, int64_t h, int64_t w, double sigma, float *row)
{
	enum { MOST = MARGIN };
	float k[MOST + 1], sum = 0;
	int reach = (int)VQ_MIN(ceil(3 * sigma), MOST);
	for (int i = 0; i <= reach; i++)
		sum += (i ? 2 : 1) * (k[i] = (float)exp(-.5 * i * i / (sigma * sigma)));
	for (int i = 0; i <= reach; i++)
		k[i] /= sum;
	for (int pass = 0; pass < 2; pass++) {
		int64_t lines = pass ? w : h, n = pass ? h : w, step = pass ? w : 1, next = pass ? 1 : w;
		memset(row, 0, (size_t)(n + 2 * MOST) * sizeof(float));
		for (int64_t l = 0; l < lines; l++) {
			float *line = p + l * next;
			for (int64_t i = 0; i < n; i++)
				row[i + MOST] = line[i * step];
			for (int64_t i = 0; i < n; i++) {
				float v = k[0] * row[i + MOST];
				for (int d = 1; d <= reach; d++)
					v += k[d] * (row[i + MOST - d] + row[i + MOST + d]);
				line[i * step] = v;
			}
		}
	}
}

static vq_status object_mask(const stage *st, vq_synth_canvas *c)
{
	const float *cover = st->s->whole ? st->cell : st->nucleus;
	c->top = c->left = INT64_MAX;
	c->bottom = c->right = 0;
	for (int64_t j = 0, i = 0; j < st->h; j++)
		for (int64_t k = 0; k < st->w; k++, i++)
			if ((c->mask[i] = cover[i] >= .5f)) {
				c->top = VQ_MIN(c->top, j);
				c->bottom = j + 1;
				c->left = VQ_MIN(c->left, k);
				c->right = VQ_MAX(c->right, k + 1);
			}
	return c->bottom > 0 ? VQ_OK : vq_fail(VQ_EINVAL, "a simulated cell of %d pixels has no pixel of its own", st->s->truth.size);
}

/* light holds the four structures; channels beyond mix them with weights that depend on the seed alone. */
static void mix_channels(const vq_synth_options *o, float *light, int64_t n)
{
	for (int c = 4; c < o->channels; c++) {
		vq_rng g = vq_synth_stream(o->seed, VQ_SYNTH_OF_SET, (uint64_t)c, VQ_SYNTH_PLAN);
		float *p = light + c * n;
		for (int k = 0; k < 4; k++) {
			float weight = (float)(vq_rng_uniform(&g) * .9);
			for (int64_t i = 0; i < n; i++)
				p[i] += weight * light[k * n + i];
		}
	}
}

vq_status vq_synth_draw(const vq_synth_options *o, int of, uint64_t index, const vq_synth_scene *s, vq_synth_canvas *out)
{
	typedef bool draw_fn(stage *, vq_rng *, float *);
	static draw_fn *const structure[] = { draw_dna, draw_er, draw_puncta, draw_tubules };
	*out = (vq_synth_canvas){ .w = (int64_t)(s->box[2] - s->box[0]) + 2 * MARGIN + 2, .h = (int64_t)(s->box[3] - s->box[1]) + 2 * MARGIN + 2 };
	int64_t n = out->h * out->w;
	stage st = { s, &out->memory, out->h, out->w, MARGIN - s->box[0], MARGIN - s->box[1], NULL, NULL, NULL };
	vq_status status = VQ_ENOMEM;
	out->light = vq_arena_get(&out->memory, (size_t)(n * o->channels) * sizeof(float));
	out->mask = vq_arena_get(&out->memory, (size_t)n);
	float *row = vq_arena_get(&out->memory, (size_t)(VQ_MAX(out->h, out->w) + 2 * MARGIN) * sizeof(float));
	if (!out->light || !out->mask || !row || !draw_coverage(&st))
		goto fail;
	for (int c = 0; c < VQ_MIN(o->channels, 4); c++) {
		vq_rng g = vq_synth_stream(o->seed, of, index, VQ_SYNTH_DNA + c);
		if (!structure[c](&st, &g, out->light + c * n))
			goto fail;
	}
	mix_channels(o, out->light, n);
	for (int c = 0; c < o->channels; c++) {
		float *p = out->light + c * n, full = (float)s->truth.light[c];
		for (int64_t i = 0; i < n; i++)
			p[i] *= full;
		blur(p, out->h, out->w, s->truth.psf, row);
	}
	VQ_TRY_GOTO(status, object_mask(&st, out), fail);
	return VQ_OK;
fail:
	vq_synth_canvas_free(out);
	return status;
}

void vq_synth_canvas_free(vq_synth_canvas *c)
{
	vq_arena_free(&c->memory);
	*c = (vq_synth_canvas){0};
}
