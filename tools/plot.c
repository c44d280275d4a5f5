#include "tools/plot.h"

vq_status vq_plot_style(vq_buf *b)
{
	return vq_buf_str(b, "set grid lt 1 lc rgb '#e0e0e0'\nset border 3\nset tics nomirror\n");
}

vq_status vq_plot_pixels(vq_buf *b, const vq_tensor *rgb)
{
	int h = (int)rgb->shape[0], w = (int)rgb->shape[1];
	VQ_TRY(vq_buf_fmt(b, "unset border\nunset tics\nunset key\nunset title\nunset xlabel\nunset ylabel\nunset grid\nunset logscale\nset margins 0,0,0,0\n"
	                  "set xrange [0:%d]\nset yrange [%d:0]\n"
	                  "plot '-' binary array=(%d,%d) dx=1 dy=1 origin=(0.5,0.5) format='%%uchar%%uchar%%uchar' using 1:2:3 with rgbimage\n", w, h, w, h));
	return vq_buf_add(b, rgb->data, (size_t)h * (size_t)w * 3);
}

const char *vq_plot_hue(int i)
{
	static const char *const colour[] = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999900" };
	return colour[i % (int)VQ_COUNT(colour)];
}

int vq_plot_columns(int n) { return n < 3 ? n : n <= 4 ? 2 : n <= 9 ? 3 : n <= 16 ? 4 : 5; }
