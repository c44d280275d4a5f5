/* panel: cells beside their reconstructions, as one RGB picture for people to look at.
 *
 * Every item is a block: its title, then original | reconstruction | difference, a row a channel (or one row of composites).
 * Originals and reconstructions are shown on the fixed range [-1, 1], black to white, so that blocks can be compared; the
 * difference is signed (reconstruction minus original), blue below, red above, white for none. Below all blocks stand the
 * scales, with numbers. All blocks share one whole-number zoom (each pixel becomes a square); nothing is smoothed. */
#ifndef VQ_PANEL_H
#define VQ_PANEL_H

#include "lib/tensor.h"

typedef struct {
	int64_t channels, h, w;  /* true size, without padding; 1 to 16 channels; 1 to 4096 a side */
	const float *image;      /* [C,H,W] in [-1, 1] (beyond is shown as the end of the range; not finite as 0); NULL: an empty place */
	const float *recon;      /* the same shape; NULL: the originals alone */
	const uint8_t *mask;     /* [H,W]; the outline of label 1 is drawn on the original; NULL: none */
	const char *title;       /* UTF-8, cut to the block's width (beyond ASCII: '?'); NULL: none */
	const char *note;        /* a second line; NULL: "31.2 dB", PSNR (range 2, mean over channels), where there is a recon */
} vq_panel_item;

typedef struct {
	const char *title;       /* above everything; NULL: none */
	const char *const *channels; /* a name each, beside the rows; NULL: none */
	bool composite;          /* one row, a colour a channel, instead of a row a channel */
	int zoom;                /* 1 to 32; 0: so that the largest item is about 160 px */
	int columns;             /* blocks side by side; 0: for a picture about as wide as 4:3 */
	bool difference;         /* the difference alone of each item (all have a recon), about 256 px unless zoom says otherwise */
	const char *const *heads; /* above each column of blocks, instead of "original" and so on; entries may be NULL; NULL: the usual */
	double error;            /* end of the difference scale; 0: 99 % of the differences fit, rounded up to 1, 2 or 5 */
} vq_panel_options;

/* *rgb becomes u8 [H,W,3], owned by the caller. All items must have the same channels. options may be NULL.
 * VQ_EINVAL: no item, a shape out of range; VQ_ELIMIT: a picture larger than 256 MiB. */
vq_status vq_panel_draw(vq_tensor *rgb, const vq_panel_item *items, int n, const vq_panel_options *options);

/* The colour of pixel i of n, of an image [C,n] in [-1, 1] as above: grey for one channel, else all channels in the colours of a composite. */
void vq_panel_colour(const float *image, int64_t channels, int64_t n, int64_t i, uint8_t out[3]);

/* 10 log10(range^2 / mse) over n values; infinity when they are equal, NaN when n is 0. */
double vq_panel_psnr(const float *a, const float *b, size_t n, double range);

/* Text in the built-in 5x7 font (6 x 8 px a character), each dot scale x scale. rgb: u8 [H,W,3]; what falls outside is cut. */
void vq_text_draw(vq_tensor *rgb, int64_t x, int64_t y, int scale, const uint8_t colour[3], const char *text);
int64_t vq_text_width(const char *text, int scale);

#endif
