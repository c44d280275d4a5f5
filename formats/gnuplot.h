/* gnuplot: pictures drawn by the gnuplot program, run as a process.
 *
 * A picture is a script; formats are PNG (pngcairo, or libgd's png where that is not built in), SVG and PDF. The program is looked
 * for in PATH under the name in VQ_GNUPLOT, or "gnuplot". */
#ifndef VQ_GNUPLOT_H
#define VQ_GNUPLOT_H

#include "lib/base.h"

typedef enum { VQ_PLOT_PNG, VQ_PLOT_SVG, VQ_PLOT_PDF } vq_plot_format;

/* From the file's name. VQ_EINVAL: another ending, with the three that there are. */
vq_status vq_plot_format_of(const char *path, vq_plot_format *out);

/* Appends the lines that choose the terminal for a picture of width x height pixels (PDF: 100 pixels an inch). */
vq_status vq_plot_terminal(vq_buf *script, vq_plot_format format, int width, int height);
/* Appends text as a gnuplot string, safe whatever it holds; control characters become blanks. */
vq_status vq_plot_quote(vq_buf *script, const char *text);

/* Runs a complete script whose output goes to standard output (no `set output`), and puts that to path when gnuplot ended
 * well. The script may hold binary data after `plot '-' binary`. VQ_EUNSUP: gnuplot is not there; VQ_EIO: it failed, with its first error. */
vq_status vq_plot_run(const char *path, const vq_buf *script);

#endif
