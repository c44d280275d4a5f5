/* synth: simulated fluorescence cells whose truth is known.
 *
 * A cell is drawn as noiseless light in structures, blurred by the microscope, and exposed: background with a gradient, Poisson
 * noise of the photons, read noise, 16 bit. Channel 1 is DNA, 2 the endoplasmic reticulum (cytoplasm), 3 puncta, 4 tubules; further ones
 * mix these four. With one channel the object is the nucleus, with more the whole cell.
 *
 * Everything follows from (seed, index): each cell and each field draws from Philox streams of its own, so that cell i
 * does not depend on how many others are made, in which order, or by how many threads. */
#ifndef VQ_SYNTH_H
#define VQ_SYNTH_H

#include "lib/tensor.h"

enum { VQ_SYNTH_CHANNELS = 16, VQ_SYNTH_SIZE_LEAST = 12, VQ_SYNTH_SIZE_MOST = 1024 };

typedef enum {
	VQ_SYNTH_INTERPHASE,  /* round nucleus, even chromatin, nucleoli */
	VQ_SYNTH_MITOTIC,     /* condensed and bright: a metaphase plate or two sister chromatid sets; a round cell */
	VQ_SYNTH_PUNCTATE,    /* bright foci in the nucleus, many puncta */
	VQ_SYNTH_ELONGATED,   /* spindle-shaped, tubules along the long axis */
	VQ_SYNTH_CLASSES,
} vq_synth_class;
const char *vq_synth_class_name(vq_synth_class c); /* "interphase" "mitotic" "punctate" "elongated" */

typedef struct {
	uint64_t seed;
	int channels;             /* 1 to 16 */
	int min_size, max_size;   /* the longer side of a crop, border included, pixels */
} vq_synth_options;

/* What is true of a cell, before blur and noise. Lengths in pixels, angles in radians, light in photons. */
typedef struct {
	vq_synth_class kind;
	bool sisters;             /* mitotic: two sets of chromatids apart, not one plate */
	int size;                 /* longer side of the crop asked for */
	double radius;            /* mean radius of the object */
	double nucleus_radius;
	double elongation;        /* long axis over short axis */
	double angle;             /* of the long axis */
	double dna;               /* DNA content, 1 (G1) to 2 (G2, mitosis) */
	double texture;           /* contrast of the chromatin, 0 to 1 */
	int foci, nucleoli, puncta, tubules;
	double light[VQ_SYNTH_CHANNELS];      /* photons of the structure at full density */
	double background[VQ_SYNTH_CHANNELS]; /* photons a pixel in the middle */
	double gradient, gradient_angle;      /* relative change of the background across 1024 px */
	double psf;               /* sigma of the point spread function */
	double gain;              /* grey levels a photon */
	double offset, read_noise; /* grey levels */
} vq_synth_truth;

/* Checks channels and sizes; VQ_EINVAL names the wrong one. The functions below need checked options. */
vq_status vq_synth_check(const vq_synth_options *o);

/* Name of channel c: "DNA" "ER" "Puncta" "Tubules" "Mix5" ...; buf is used for the mixtures. */
const char *vq_synth_channel(int c, char buf[16]);

/* Cell i alone in a crop: image u16 [C,H,W], mask u8 [H,W] (1 this cell, 2 a neighbour that reaches in). Sides are between min_size and
 * max_size, the longer one is truth->size. Caller frees both. */
vq_status vq_synth_cell(const vq_synth_options *o, uint64_t i, vq_synth_truth *truth, vq_tensor *image, vq_tensor *mask);

typedef struct { int label; int64_t box[4]; /* y0,x0,y1,x1 in the field, cut at its edges */ vq_synth_truth truth; } vq_synth_placed;
typedef struct {
	vq_tensor image;          /* u16 [C,S,S] */
	vq_tensor labels;         /* u16 [S,S], 1 to n; no cell covers another, neighbours may touch */
	vq_synth_placed *cell;
	int n;                    /* at most the number asked for */
} vq_synth_field;

/* How many cells make a well-filled field of size x size pixels. At least 1. */
int vq_synth_field_capacity(const vq_synth_options *o, int64_t size);
/* Field f of size x size pixels with up to n cells (those first, first+1, ... of the seed), some cut by the edge. A cell for which no room is
 * found is left out. size at least max_size. */
vq_status vq_synth_make_field(const vq_synth_options *o, uint64_t f, int64_t size, uint64_t first, int n, vq_synth_field *out);
void vq_synth_field_free(vq_synth_field *f);

#endif
