/* plot_curves: training curves from history.jsonl files, as a gnuplot script. */
#ifndef VQ_PLOT_CURVES_H
#define VQ_PLOT_CURVES_H

#include "formats/gnuplot.h"

/* What the horizontal axis counts; a number in every line. */
typedef enum { VQ_CURVES_EPOCH, VQ_CURVES_STEP, VQ_CURVES_SECONDS, VQ_CURVES_PIXELS } vq_curves_axis;

/* A panel for every figure in the files (train and val of a name share one), several runs over each other. path: history.jsonl
 * or the folder of a run that holds one. Keys that some lines or runs lack leave gaps. VQ_EFORMAT: a line that is no JSON, or a last one
 * that was cut off, with its number. The script ends with a newline and sets no output. */
vq_status vq_curves_script(const char *const *path, int n, vq_curves_axis x, vq_plot_format format, vq_buf *script);

#endif
