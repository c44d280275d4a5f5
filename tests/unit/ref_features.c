#include <math.h>

#include "tests/unit/ref.h"

void ref_maxpool(ref_dims xd, const double *x, int k, int s, ref_dims yd, double *y)
{
	for (int oy = 0; oy < yd.h; oy++)
		for (int ox = 0; ox < yd.w; ox++)
			for (int c = 0; c < xd.c; c++) {
				double top = -INFINITY;
				for (int i = oy * s; i < oy * s + k && i < xd.h; i++)
					for (int j = ox * s; j < ox * s + k && j < xd.w; j++)
						top = fmax(top, x[ref_at(xd, 0, i, j, c)]);
				y[ref_at(yd, 0, oy, ox, c)] = top;
			}
}

static double length(int n, const double *x)
{
	double s = 0;
	for (int i = 0; i < n; i++)
		s += x[i] * x[i];
	return sqrt(s);
}

double ref_features(int positions, int c, const double *f, const double *t, const double *w, bool unit)
{
	double sum = 0;
	for (int i = 0; i < positions; i++, f += c, t += c) {
		double a = unit ? length(c, f) + 1e-10 : 1, b = unit ? length(c, t) + 1e-10 : 1;
		for (int j = 0; j < c; j++)
			sum += (unit ? w ? w[j] : 1 : 1 / (double)c) * pow(f[j] / a - t[j] / b, 2);
	}
	return positions ? sum / positions : 0;
}
