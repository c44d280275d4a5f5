/* synth_draw: the inside of synth.h: what a cell is (plan), and its light before the camera (draw). Not for callers of synth. */
#ifndef VQ_SYNTH_DRAW_H
#define VQ_SYNTH_DRAW_H

#include "lib/image/synth.h"
#include "lib/rng.h"

/* Random streams: every part of every cell has its own, so that more channels leave the others as they were. */
enum { VQ_SYNTH_OF_CELL, VQ_SYNTH_OF_NEIGHBOUR, VQ_SYNTH_OF_FIELD, VQ_SYNTH_OF_SET };
enum { VQ_SYNTH_PLAN, VQ_SYNTH_DNA, VQ_SYNTH_ER, VQ_SYNTH_PUNCTA, VQ_SYNTH_TUBULES, VQ_SYNTH_OPTICS, VQ_SYNTH_PLACE, VQ_SYNTH_NOISE };
vq_rng vq_synth_stream(uint64_t seed, int of, uint64_t index, int part);

/* A closed curve: radius by angle round a centre. */
enum { VQ_SYNTH_ANGLES = 96 };
typedef struct { float x, y, r[VQ_SYNTH_ANGLES + 1]; } vq_synth_outline;

typedef struct {
	vq_synth_truth truth;
	vq_synth_outline cell;        /* channels > 1 */
	vq_synth_outline nucleus[2];
	int nuclei;
	bool whole;                   /* the object is the cell, not the nucleus */
	float box[4];                 /* x0, y0, x1, y1 of the object; the origin is its centre of construction */
} vq_synth_scene;

/* Radius over the curve's radius there (1 on the curve); *inside: pixels inwards from the curve, negative outside. */
float vq_synth_at(const vq_synth_outline *o, float x, float y, float *inside);

/* Camera and background: the part of the truth that a field's cells share. */
void vq_synth_optics(vq_rng g, int channels, vq_synth_truth *t);
/* Class, sizes and shapes of a cell; the optics are left alone. */
void vq_synth_plan(const vq_synth_options *o, int of, uint64_t index, vq_synth_scene *s);

/* Light of one cell alone, blurred, in photons; the canvas holds the object and a margin. */
typedef struct {
	int64_t h, w;
	int64_t top, left, bottom, right; /* rows and columns of the mask, half-open */
	float *light;                 /* [C,H,W] */
	uint8_t *mask;                /* [H,W], 0 or 1, at least one pixel */
	vq_arena memory;
} vq_synth_canvas;
vq_status vq_synth_draw(const vq_synth_options *o, int of, uint64_t index, const vq_synth_scene *s, vq_synth_canvas *out);
void vq_synth_canvas_free(vq_synth_canvas *c);

/* Photons to grey levels: y0, x0 is the plane's place relative to the middle of the gradient. */
void vq_synth_expose(const vq_synth_truth *t, int channel, vq_rng g, const float *light, int64_t h, int64_t w, double y0, double x0,
                     uint16_t *out);

#endif
