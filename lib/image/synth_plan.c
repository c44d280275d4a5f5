#include <math.h>

#include "lib/image/synth_draw.h"

static const double tau = 6.283185307179586;

static double between(vq_rng *g, double lo, double hi) { return lo + (hi - lo) * vq_rng_uniform(g); }
static double log_between(vq_rng *g, double lo, double hi) { return lo * pow(hi / lo, vq_rng_uniform(g)); }
static double clamp(double v, double lo, double hi) { return v < lo ? lo : v > hi ? hi : v; }

vq_rng vq_synth_stream(uint64_t seed, int of, uint64_t index, int part)
{
	return vq_rng_make(seed, (uint64_t)of << 60 | (index << 4 & UINT64_MAX >> 4) | (uint64_t)part);
}

const char *vq_synth_class_name(vq_synth_class c)
{
	static const char *const name[] = { "interphase", "mitotic", "punctate", "elongated" };
	return (unsigned)c < VQ_SYNTH_CLASSES ? name[c] : "unknown";
}

vq_status vq_synth_check(const vq_synth_options *o)
{
	if (o->channels < 1 || o->channels > VQ_SYNTH_CHANNELS)
		return vq_fail(VQ_EINVAL, "%d channels: 1 to %d can be simulated", o->channels, VQ_SYNTH_CHANNELS);
	if (o->min_size < VQ_SYNTH_SIZE_LEAST || o->max_size > VQ_SYNTH_SIZE_MOST)
		return vq_fail(VQ_EINVAL, "sizes %d to %d: a crop can have %d to %d pixels a side", o->min_size, o->max_size,
		               VQ_SYNTH_SIZE_LEAST, VQ_SYNTH_SIZE_MOST);
	if (o->min_size > o->max_size)
		return vq_fail(VQ_EINVAL, "the least size %d is larger than the largest %d", o->min_size, o->max_size);
	return VQ_OK;
}

/* An ellipse whose radius wavers with angle: harmonics 2 to 6, weaker as they get finer. */
static void outline_make(vq_rng *g, vq_synth_outline *o, double x, double y, double radius, double elongation, double angle, double rough)
{
	enum { N = VQ_SYNTH_ANGLES, WAVES = 5 };
	float wave[N];
	double a[WAVES], b[WAVES], la = radius * sqrt(elongation), lb = radius / sqrt(elongation);
	for (int k = 0; k < N; k++)
		wave[k] = (float)cos(tau * k / N);
	for (int m = 0; m < WAVES; m++) {
		a[m] = rough * vq_rng_normal(g) / (m + 1);
		b[m] = rough * vq_rng_normal(g) / (m + 1);
	}
	double c0 = cos(angle), s0 = sin(angle);
	for (int k = 0; k < N; k++) {
		double ck = wave[k], sk = wave[(k + 3 * N / 4) % N], waver = 1;
		double c = ck * c0 + sk * s0, s = sk * c0 - ck * s0;
		for (int m = 0; m < WAVES; m++) {
			int j = (m + 2) * k % N;
			waver += a[m] * wave[j] + b[m] * wave[(j + 3 * N / 4) % N];
		}
		o->r[k] = (float)(la * lb / sqrt(lb * lb * c * c + la * la * s * s) * clamp(waver, .4, 1.6));
	}
	o->r[N] = o->r[0];
	o->x = (float)x;
	o->y = (float)y;
}

float vq_synth_at(const vq_synth_outline *o, float x, float y, float *inside)
{
	float dx = x - o->x, dy = y - o->y, d = sqrtf(dx * dx + dy * dy);
	float turn = atan2f(dy, dx) * (float)(VQ_SYNTH_ANGLES / 6.283185307179586);
	if (turn < 0)
		turn += VQ_SYNTH_ANGLES;
	int k = (int)turn;
	if (k >= VQ_SYNTH_ANGLES)
		k = VQ_SYNTH_ANGLES - 1;
	float r = o->r[k] + (o->r[k + 1] - o->r[k]) * (turn - (float)k);
	*inside = r - d;
	return d / r;
}

static void outline_box(const vq_synth_outline *o, float box[4])
{
	for (int k = 0; k < VQ_SYNTH_ANGLES; k++) {
		float x = o->x + o->r[k] * (float)cos(tau * k / VQ_SYNTH_ANGLES), y = o->y + o->r[k] * (float)sin(tau * k / VQ_SYNTH_ANGLES);
		box[0] = VQ_MIN(box[0], x);
		box[1] = VQ_MIN(box[1], y);
		box[2] = VQ_MAX(box[2], x);
		box[3] = VQ_MAX(box[3], y);
	}
}

static void outline_scale(vq_synth_outline *o, float by)
{
	o->x *= by;
	o->y *= by;
	for (int k = 0; k <= VQ_SYNTH_ANGLES; k++)
		o->r[k] *= by;
}

void vq_synth_optics(vq_rng g, int channels, vq_synth_truth *t)
{
	t->psf = between(&g, .8, 1.3);
	t->gain = between(&g, 3, 6);
	t->offset = between(&g, 90, 110);
	t->read_noise = between(&g, 4, 10);
	t->gradient = between(&g, .1, .8);
	t->gradient_angle = between(&g, 0, tau);
	for (int c = 0; c < channels; c++)
		t->background[c] = log_between(&g, 20, 90);
}

static void plan_class(vq_rng *g, vq_synth_truth *t)
{
	static const double share[] = { .46, .14, .2, .2 };
	double u = vq_rng_uniform(g), v = between(g, 0, 1);
	for (t->kind = VQ_SYNTH_INTERPHASE; t->kind < VQ_SYNTH_ELONGATED && u >= share[t->kind]; t->kind++)
		u -= share[t->kind];
	bool mitotic = t->kind == VQ_SYNTH_MITOTIC;
	t->sisters = mitotic && v < .45;
	t->dna = mitotic ? 2 : v < .55 ? between(g, 1, 1.06) : between(g, 1.06, 2);
	t->angle = between(g, 0, tau);
	t->texture = mitotic ? between(g, .1, .3) : between(g, .25, .8);
	t->nucleoli = mitotic ? 0 : 1 + (int)vq_rng_below(g, 4);
	t->foci = t->kind == VQ_SYNTH_PUNCTATE ? 6 + (int)vq_rng_below(g, 15) : 0;
	t->puncta = (int)(log_between(g, 8, 30) * (t->kind == VQ_SYNTH_PUNCTATE ? 4 : 1));
	t->tubules = (int)log_between(g, 10, 30) + (t->kind == VQ_SYNTH_ELONGATED || mitotic ? 10 : 0);
	t->elongation = t->kind == VQ_SYNTH_ELONGATED ? between(g, 1.7, 3) : between(g, 1, 1.35);
}

/* Shapes in units of the object's mean radius. */
static void plan_shapes(vq_rng *g, vq_synth_scene *s)
{
	vq_synth_truth *t = &s->truth;
	bool mitotic = t->kind == VQ_SYNTH_MITOTIC, longish = t->kind == VQ_SYNTH_ELONGATED;
	double r = s->whole ? (mitotic ? .42 : between(g, .42, .58)) : 1, off = s->whole && !mitotic ? .14 : 0;
	double x = off * vq_rng_normal(g), y = off * vq_rng_normal(g);
	x = clamp(x, -.2, .2);
	y = clamp(y, -.2, .2);
	t->nucleus_radius = r;
	s->nuclei = t->sisters ? 2 : 1;
	if (s->whole)
		outline_make(g, &s->cell, 0, 0, 1, mitotic ? 1.06 : t->elongation, t->angle, mitotic ? .015 : longish ? .06 : .085);
	if (!mitotic) {
		double e = s->whole ? 1 + .45 * (t->elongation - 1) : t->elongation;
		outline_make(g, &s->nucleus[0], x, y, r, e, t->angle + .15 * vq_rng_normal(g), .03);
		return;
	}
	t->elongation = s->whole ? 1.06 : between(g, 2, 3);
	double plate = s->whole ? between(g, 2, 3) : t->elongation, across = t->angle + tau / 4;
	double apart = t->sisters ? r * between(g, .7, 1.25) : 0;
	for (int i = 0; i < s->nuclei; i++) {
		double d = i ? -apart : apart, tilt = .12 * vq_rng_normal(g);
		outline_make(g, &s->nucleus[i], d * cos(t->angle), d * sin(t->angle), r * (t->sisters ? .7 : 1),
		             plate, across + tilt, .07);
	}
}

static void plan_light(vq_rng *g, int channels, vq_synth_truth *t)
{
	for (int c = 0; c < channels; c++)
		t->light[c] = log_between(g, 250, 1100);
	t->light[0] *= t->dna / 1.5 * (t->kind == VQ_SYNTH_MITOTIC ? 1.9 : 1);
}

void vq_synth_plan(const vq_synth_options *o, int of, uint64_t index, vq_synth_scene *s)
{
	vq_rng g = vq_synth_stream(o->seed, of, index, VQ_SYNTH_PLAN);
	*s = (vq_synth_scene){ .whole = o->channels > 1 };
	vq_synth_truth *t = &s->truth;
	double u = clamp(.5 + .18 * vq_rng_normal(&g), 0, 1);
	t->size = (int)lround(o->min_size * pow((double)o->max_size / o->min_size, u));
	plan_class(&g, t);
	plan_shapes(&g, s);
	plan_light(&g, o->channels, t);

	float box[4] = { 1e9f, 1e9f, -1e9f, -1e9f };
	for (int i = 0; i < s->nuclei; i++)
		outline_box(&s->nucleus[i], box);
	if (s->whole)
		outline_box(&s->cell, box);
	int border = VQ_MIN(10, t->size / 5);
	float by = (float)(t->size - 2 * border) / VQ_MAX(box[2] - box[0], box[3] - box[1]);
	outline_scale(&s->cell, by);
	outline_scale(&s->nucleus[0], by);
	outline_scale(&s->nucleus[1], by);
	for (int k = 0; k < 4; k++)
		s->box[k] = box[k] * by;
	t->radius = by;
	t->nucleus_radius *= by;
}
