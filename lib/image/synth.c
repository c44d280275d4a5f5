#include "lib/image/synth.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/synth_draw.h"

const char *vq_synth_channel(int c, char buf[16])
{
	static const char *const name[] = { "DNA", "ER", "Puncta", "Tubules" };
	if (c >= 0 && c < 4)
		return name[c];
	snprintf(buf, 16, "Mix%d", c + 1);
	return buf;
}

/* Four normal deviates from one block of random bits. */
static void four_normals(vq_rng *g, float z[4])
{
	uint32_t c[4] = { (uint32_t)g->block, (uint32_t)(g->block >> 32), (uint32_t)g->stream, (uint32_t)(g->stream >> 32) };
	uint32_t k[2] = { (uint32_t)g->seed, (uint32_t)(g->seed >> 32) }, u[4];
	vq_philox(c, k, u);
	g->block++;
	for (int i = 0; i < 4; i += 2) {
		float r = sqrtf(-2 * logf(((float)(u[i] >> 8) + .5f) * 0x1p-24f)), s, q;
		sincosf((float)(u[i + 1] >> 8) * (float)(6.283185307179586 * 0x1p-24), &s, &q);
		z[i] = r * q;
		z[i + 1] = r * s;
	}
}

/* A Poisson count from one uniform, by walking up the distribution; for small means. */
static float poisson_walk(float mean, float u)
{
	float p = expf(-mean), sum = p, k = 0;
	while (u > sum && k < 200) {
		k++;
		p *= mean / k;
		sum += p;
	}
	return k;
}

void vq_synth_expose(const vq_synth_truth *t, int channel, vq_rng g, const float *light, int64_t h, int64_t w, double y0, double x0,
                     uint16_t *out)
{
	float back = (float)t->background[channel], gain = (float)t->gain, z[4] = {0};
	float gx = (float)(t->gradient * cos(t->gradient_angle) / 1024), gy = (float)(t->gradient * sin(t->gradient_angle) / 1024);
	vq_rng counts = g;
	counts.stream |= (uint64_t)1 << 59;
	for (int64_t y = 0, i = 0; y < h; y++)
		for (int64_t x = 0; x < w; x++, i++) {
			if (i % 4 == 0)
				four_normals(&g, z);
			float slope = 1 + gx * (float)(x0 + (double)x) + gy * (float)(y0 + (double)y);
			float mean = light[i] + back * VQ_MAX(slope, .2f), noise = (float)t->read_noise, v;
			if (mean < 30) {
				v = gain * poisson_walk(mean, (float)(vq_rng_u32(&counts) >> 8) * 0x1p-24f);
			} else {
				v = gain * mean;
				noise = sqrtf(noise * noise + gain * gain * mean);
			}
			v += (float)t->offset + noise * z[i % 4] + .5f;
			out[i] = v <= 0 ? 0 : v >= 65535 ? 65535 : (uint16_t)v;
		}
}

/* Adds a canvas whose top left is at (y, x) of planes [C,H,W]. */
static void add_light(float *planes, int channels, int64_t h, int64_t w, const vq_synth_canvas *c, int64_t y, int64_t x)
{
	int64_t j0 = VQ_MAX(0, -y), j1 = VQ_MIN(c->h, h - y), k0 = VQ_MAX(0, -x), k1 = VQ_MIN(c->w, w - x);
	for (int ch = 0; ch < channels; ch++)
		for (int64_t j = j0; j < j1; j++) {
			float *to = planes + (ch * h + y + j) * w + x;
			const float *from = c->light + (ch * c->h + j) * c->w;
			for (int64_t k = k0; k < k1; k++)
				to[k] += from[k];
		}
}

/* Do the masks share a pixel when b's canvas stands at (y, x) of a's? */
static bool masks_meet(const vq_synth_canvas *a, const vq_synth_canvas *b, int64_t y, int64_t x)
{
	int64_t j0 = VQ_MAX(b->top, a->top - y), j1 = VQ_MIN(b->bottom, a->bottom - y);
	int64_t k0 = VQ_MAX(b->left, a->left - x), k1 = VQ_MIN(b->right, a->right - x);
	for (int64_t j = j0; j < j1; j++)
		for (int64_t k = k0; k < k1; k++)
			if (b->mask[j * b->w + k] && a->mask[(j + y) * a->w + k + x])
				return true;
	return false;
}

/* A crop: the canvas with its mask in the middle, at least min_size and at most size a side. */
typedef struct { int64_t h, w, y, x; /* where the canvas stands in it */ } window;

static window crop_window(const vq_synth_options *o, const vq_synth_truth *t, const vq_synth_canvas *c)
{
	int border = VQ_MIN(10, t->size / 5);
	int64_t mh = c->bottom - c->top, mw = c->right - c->left;
	window v = { VQ_MIN(VQ_MAX(mh + 2 * border, o->min_size), t->size), VQ_MIN(VQ_MAX(mw + 2 * border, o->min_size), t->size), 0, 0 };
	if (mh >= mw)
		v.h = t->size;
	else
		v.w = t->size;
	v.y = (v.h - mh) / 2 - c->top;
	v.x = (v.w - mw) / 2 - c->left;
	return v;
}

/* Lets another cell reach into the crop, where its shape just misses this one's. */
static vq_status add_neighbour(const vq_synth_options *o, uint64_t i, const vq_synth_scene *me, const vq_synth_canvas *mine,
                               const window *v, float *planes, uint8_t *mask)
{
	vq_rng g = vq_synth_stream(o->seed, VQ_SYNTH_OF_CELL, i, VQ_SYNTH_PLACE);
	if (vq_rng_uniform(&g) > .3)
		return VQ_OK;
	vq_synth_scene s;
	vq_synth_canvas c;
	vq_synth_plan(o, VQ_SYNTH_OF_NEIGHBOUR, i, &s);
	s.truth.psf = me->truth.psf;
	VQ_TRY(vq_synth_draw(o, VQ_SYNTH_OF_NEIGHBOUR, i, &s, &c));
	double a = vq_rng_uniform(&g) * 6.283185307179586, d = (me->truth.radius + s.truth.radius) * .5;
	int64_t y, x;
	do {
		y = mine->h / 2 - c.h / 2 + (int64_t)lround(d * sin(a));
		x = mine->w / 2 - c.w / 2 + (int64_t)lround(d * cos(a));
		d += 1;
	} while (masks_meet(mine, &c, y, x));
	y += v->y;
	x += v->x;
	add_light(planes, o->channels, v->h, v->w, &c, y, x);
	for (int64_t j = VQ_MAX(0, -y); j < c.h && y + j < v->h; j++)
		for (int64_t k = VQ_MAX(0, -x); k < c.w && x + k < v->w; k++)
			if (c.mask[j * c.w + k])
				mask[(y + j) * v->w + x + k] = 2;
	vq_synth_canvas_free(&c);
	return VQ_OK;
}

vq_status vq_synth_cell(const vq_synth_options *o, uint64_t i, vq_synth_truth *truth, vq_tensor *image, vq_tensor *mask)
{
	vq_synth_scene s;
	vq_synth_canvas c = {0};
	float *planes = NULL;
	*image = *mask = (vq_tensor){0};
	vq_synth_plan(o, VQ_SYNTH_OF_CELL, i, &s);
	vq_synth_optics(vq_synth_stream(o->seed, VQ_SYNTH_OF_CELL, i, VQ_SYNTH_OPTICS), o->channels, &s.truth);
	vq_status status = vq_synth_draw(o, VQ_SYNTH_OF_CELL, i, &s, &c);
	if (status < 0)
		return status;
	window v = crop_window(o, &s.truth, &c);
	VQ_TRY_GOTO(status, vq_tensor_make(image, VQ_U16, 3, (int64_t[]){ o->channels, v.h, v.w }), done);
	VQ_TRY_GOTO(status, vq_tensor_make(mask, VQ_U8, 2, (int64_t[]){ v.h, v.w }), done);
	planes = vq_calloc((size_t)(o->channels * v.h * v.w), sizeof(float));
	status = planes ? VQ_OK : VQ_ENOMEM;
	if (status < 0)
		goto done;
	add_light(planes, o->channels, v.h, v.w, &c, v.y, v.x);
	uint8_t *m = mask->data;
	for (int64_t j = c.top; j < c.bottom; j++)
		for (int64_t k = c.left; k < c.right; k++)
			if (c.mask[j * c.w + k] && j + v.y >= 0 && j + v.y < v.h && k + v.x >= 0 && k + v.x < v.w)
				m[(j + v.y) * v.w + k + v.x] = 1;
	VQ_TRY_GOTO(status, add_neighbour(o, i, &s, &c, &v, planes, m), done);
	for (int ch = 0; ch < o->channels; ch++)
		vq_synth_expose(&s.truth, ch, vq_synth_stream(o->seed, VQ_SYNTH_OF_CELL, i * VQ_SYNTH_CHANNELS + (uint64_t)ch, VQ_SYNTH_NOISE),
		                planes + ch * v.h * v.w, v.h, v.w, -.5 * (double)v.h, -.5 * (double)v.w, (uint16_t *)image->data + ch * v.h * v.w);
	*truth = s.truth;
done:
	free(planes);
	vq_synth_canvas_free(&c);
	if (status < 0) {
		vq_tensor_free(image);
		vq_tensor_free(mask);
	}
	return status;
}

int vq_synth_field_capacity(const vq_synth_options *o, int64_t size)
{
	/* sizes are log-normal (spread: see vq_synth_plan) and an object fills about 0.7 of its box; 28 % of the field is cells */
	double middle = sqrt((double)o->min_size * o->max_size), spread = .18 * log((double)o->max_size / o->min_size);
	double side = middle - 2 * VQ_MIN(10, middle / 5), area = .7 * side * side * exp(2 * spread * spread);
	double n = .28 * (double)size * (double)size / area;
	return n < 1 ? 1 : n > 60000 ? 60000 : (int)n;
}

/* Is the canvas at (y, x) clear of every cell so far, and partly inside the field? */
static bool is_free(const uint16_t *labels, int64_t size, const vq_synth_canvas *c, int64_t y, int64_t x)
{
	bool seen = false;
	for (int64_t j = VQ_MAX(c->top, -y); j < VQ_MIN(c->bottom, size - y); j++)
		for (int64_t k = VQ_MAX(c->left, -x); k < VQ_MIN(c->right, size - x); k++)
			if (c->mask[j * c->w + k]) {
				if (labels[(y + j) * size + x + k])
					return false;
				seen = true;
			}
	return seen;
}

/* Finds room: beside the last cell, so that some touch, or anywhere. */
static bool find_room(vq_rng *g, const uint16_t *labels, int64_t size, const vq_synth_canvas *c, const vq_synth_placed *last, int64_t at[2])
{
	int64_t mh = c->bottom - c->top, mw = c->right - c->left;
	if (last && vq_rng_uniform(g) < .35) {
		double a = vq_rng_uniform(g) * 6.283185307179586, far = (double)(mh + mw);
		for (double d = .4 * last->truth.radius; d < far; d += 1) {
			at[0] = (last->box[0] + last->box[2] - c->h) / 2 + (int64_t)lround(d * sin(a));
			at[1] = (last->box[1] + last->box[3] - c->w) / 2 + (int64_t)lround(d * cos(a));
			if (is_free(labels, size, c, at[0], at[1]))
				return true;
		}
	}
	for (int tries = 0; tries < 200; tries++) {
		at[0] = (int64_t)(vq_rng_uniform(g) * (double)size) - mh / 2 - c->top;
		at[1] = (int64_t)(vq_rng_uniform(g) * (double)size) - mw / 2 - c->left;
		if (is_free(labels, size, c, at[0], at[1]))
			return true;
	}
	return false;
}

static void stamp(vq_synth_field *f, int64_t size, const vq_synth_canvas *c, const int64_t at[2], const vq_synth_truth *t)
{
	vq_synth_placed *p = &f->cell[f->n++];
	*p = (vq_synth_placed){ .label = f->n, .box = { size, size, 0, 0 }, .truth = *t };
	uint16_t *labels = f->labels.data;
	for (int64_t j = VQ_MAX(c->top, -at[0]); j < VQ_MIN(c->bottom, size - at[0]); j++)
		for (int64_t k = VQ_MAX(c->left, -at[1]); k < VQ_MIN(c->right, size - at[1]); k++)
			if (c->mask[j * c->w + k]) {
				int64_t y = at[0] + j, x = at[1] + k;
				labels[y * size + x] = (uint16_t)p->label;
				p->box[0] = VQ_MIN(p->box[0], y);
				p->box[1] = VQ_MIN(p->box[1], x);
				p->box[2] = VQ_MAX(p->box[2], y + 1);
				p->box[3] = VQ_MAX(p->box[3], x + 1);
			}
}

static vq_status populate(const vq_synth_options *o, const vq_synth_truth *optics, uint64_t field, int64_t size, uint64_t first, int n,
                          float *planes, vq_synth_field *f)
{
	vq_rng g = vq_synth_stream(o->seed, VQ_SYNTH_OF_FIELD, field, VQ_SYNTH_PLACE);
	for (int i = 0; i < n; i++) {
		vq_synth_scene s;
		vq_synth_canvas c;
		int64_t at[2];
		vq_synth_plan(o, VQ_SYNTH_OF_CELL, first + (uint64_t)i, &s);
		vq_synth_truth *t = &s.truth;
		t->psf = optics->psf;
		t->gain = optics->gain;
		t->offset = optics->offset;
		t->read_noise = optics->read_noise;
		t->gradient = optics->gradient;
		t->gradient_angle = optics->gradient_angle;
		memcpy(t->background, optics->background, sizeof t->background);
		VQ_TRY(vq_synth_draw(o, VQ_SYNTH_OF_CELL, first + (uint64_t)i, &s, &c));
		if (find_room(&g, f->labels.data, size, &c, f->n ? &f->cell[f->n - 1] : NULL, at)) {
			add_light(planes, o->channels, size, size, &c, at[0], at[1]);
			stamp(f, size, &c, at, t);
		}
		vq_synth_canvas_free(&c);
	}
	return VQ_OK;
}

vq_status vq_synth_make_field(const vq_synth_options *o, uint64_t field, int64_t size, uint64_t first, int n, vq_synth_field *out)
{
	float *planes = NULL;
	vq_status status;
	vq_synth_truth optics = {0};
	*out = (vq_synth_field){0};
	if (size < o->max_size || size > 1 << 14 || n < 1 || n > 60000)
		return vq_fail(VQ_EINVAL, "a field of %lld pixels with %d cells of up to %d pixels: fields have at least the largest cell's and at most "
		               "16384 pixels a side, and 1 to 60000 cells", (long long)size, n, o->max_size);
	VQ_TRY_GOTO(status, vq_tensor_make(&out->image, VQ_U16, 3, (int64_t[]){ o->channels, size, size }), fail);
	VQ_TRY_GOTO(status, vq_tensor_make(&out->labels, VQ_U16, 2, (int64_t[]){ size, size }), fail);
	out->cell = vq_calloc((size_t)n, sizeof *out->cell);
	planes = vq_calloc((size_t)o->channels * (size_t)(size * size), sizeof(float));
	status = VQ_ENOMEM;
	if (!out->cell || !planes)
		goto fail;
	vq_synth_optics(vq_synth_stream(o->seed, VQ_SYNTH_OF_FIELD, field, VQ_SYNTH_OPTICS), o->channels, &optics);
	VQ_TRY_GOTO(status, populate(o, &optics, field, size, first, n, planes, out), fail);
	for (int c = 0; c < o->channels; c++)
		vq_synth_expose(&optics, c, vq_synth_stream(o->seed, VQ_SYNTH_OF_FIELD, field * VQ_SYNTH_CHANNELS + (uint64_t)c, VQ_SYNTH_NOISE),
		                planes + c * size * size, size, size, -.5 * (double)size, -.5 * (double)size,
		                (uint16_t *)out->image.data + c * size * size);
	free(planes);
	return VQ_OK;
fail:
	free(planes);
	vq_synth_field_free(out);
	return status;
}

void vq_synth_field_free(vq_synth_field *f)
{
	vq_tensor_free(&f->image);
	vq_tensor_free(&f->labels);
	free(f->cell);
	*f = (vq_synth_field){0};
}
