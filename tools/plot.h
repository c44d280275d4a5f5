/* plot: what the kinds of vq-plot share. A kind is a function that makes a gnuplot script (which sets no output and ends with a newline, or
 * with the pixels of a picture) or an RGB picture, u8 [H,W,3]; each has a file of its own, plot_KIND.c. */
#ifndef VQ_PLOT_H
#define VQ_PLOT_H

#include "formats/gnuplot.h"
#include "lib/tensor.h"

typedef struct {
	const char *stream;      /* "-" or NULL: standard input */
	const char *reference, *per_record, *model, *group_by; /* NULL: not given */
	int records, codes, zoom, columns; /* 0: chosen */
	bool composite;
	double error;            /* 0: chosen */
} vq_plot_job;

/* Use of each codebook of a code stream: counts, sorted. */
vq_status vq_plot_usage(const vq_plot_job *j, vq_plot_format format, vq_buf *script);
/* PSNR of job.per_record by cell size, channel and field; with job.reference the worst cells of job.stream below. */
vq_status vq_plot_errors(const vq_plot_job *j, vq_plot_format format, vq_buf *script);
/* The vectors of job.model's codebooks in a plane, as large as the code stream uses them. */
vq_status vq_plot_codebook(const vq_plot_job *j, vq_plot_format format, vq_buf *script);
/* The cells of a code stream with features in a plane, coloured by the column job.group_by; with job.reference thumbnails of some. */
vq_status vq_plot_map(const vq_plot_job *j, vq_plot_format format, vq_buf *script);
/* For each of the job.codes most used codes of the stream: what job.model decodes it to, and cells of job.reference that use it. */
vq_status vq_plot_atlas(const vq_plot_job *j, vq_tensor *rgb);

/* Appends what all plots begin with: grid, border, tics. */
vq_status vq_plot_style(vq_buf *b);
/* Appends a picture as a plot of its own: no axes, pixel for pixel where the plot has its size. */
vq_status vq_plot_pixels(vq_buf *b, const vq_tensor *rgb);
/* A colour a group, told apart with any colour vision; the first eight differ. */
const char *vq_plot_hue(int i);
/* Columns of a layout of n plots. */
int vq_plot_columns(int n);

#endif
