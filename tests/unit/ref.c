#include "tests/unit/ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t ref_count(ref_dims d) { return (size_t)d.n * (size_t)d.h * (size_t)d.w * (size_t)d.c; }

size_t ref_at(ref_dims d, int n, int y, int x, int c)
{
	return (((size_t)n * (size_t)d.h + (size_t)y) * (size_t)d.w + (size_t)x) * (size_t)d.c + (size_t)c;
}

static ref_rect rect_of(ref_dims d, const ref_rect *rects, int n)
{
	return rects ? rects[n] : (ref_rect){ 0, 0, d.h, d.w };
}

bool ref_inside(const ref_rect *rects, int n, int y, int x)
{
	if (!rects)
		return true;
	const ref_rect *r = &rects[n];
	return y >= r->top && y < r->top + r->h && x >= r->left && x < r->left + r->w;
}

void ref_mask(ref_dims d, const ref_rect *rects, double *x)
{
	for (int n = 0; n < d.n; n++)
		for (int i = 0; i < d.h; i++)
			for (int j = 0; j < d.w; j++)
				if (!ref_inside(rects, n, i, j))
					memset(&x[ref_at(d, n, i, j, 0)], 0, (size_t)d.c * sizeof *x);
}

double *ref_new(size_t n)
{
	double *p = calloc(n ? n : 1, sizeof *p);
	if (!p)
		abort();
	return p;
}

static void zero(double *p, size_t n)
{
	if (p)
		memset(p, 0, n * sizeof *p);
}

/* Element [a][b][i][j] of weights [.][nb][k][k]. */
static size_t weight(int a, int b, int i, int j, int nb, int k)
{
	return (((size_t)a * (size_t)nb + (size_t)b) * (size_t)k + (size_t)i) * (size_t)k + (size_t)j;
}

ref_dims ref_conv_dims(ref_dims x, int co, int k, int s, int p)
{
	return (ref_dims){ x.n, (x.h + 2 * p - k) / s + 1, (x.w + 2 * p - k) / s + 1, co };
}

void ref_conv_fwd(ref_dims xd, const double *x, const double *w, const double *b, int co, int k, int s, int p, double *y)
{
	ref_dims yd = ref_conv_dims(xd, co, k, s, p);
	for (int n = 0; n < yd.n; n++)
		for (int oy = 0; oy < yd.h; oy++)
			for (int ox = 0; ox < yd.w; ox++)
				for (int o = 0; o < co; o++) {
					double sum = b ? b[o] : 0;
					for (int i = 0; i < k; i++)
						for (int j = 0; j < k; j++) {
							int iy = oy * s - p + i, ix = ox * s - p + j;
							if (iy < 0 || iy >= xd.h || ix < 0 || ix >= xd.w)
								continue;
							for (int c = 0; c < xd.c; c++)
								sum += x[ref_at(xd, n, iy, ix, c)] * w[weight(o, c, i, j, xd.c, k)];
						}
					y[ref_at(yd, n, oy, ox, o)] = sum;
				}
}

void ref_conv_bwd(ref_dims xd, const double *x, const double *w, int co, int k, int s, int p, const double *dy,
                    double *dx, double *dw, double *db)
{
	ref_dims yd = ref_conv_dims(xd, co, k, s, p);
	zero(dx, ref_count(xd));
	zero(dw, (size_t)co * (size_t)xd.c * (size_t)k * (size_t)k);
	zero(db, (size_t)co);
	for (int n = 0; n < yd.n; n++)
		for (int oy = 0; oy < yd.h; oy++)
			for (int ox = 0; ox < yd.w; ox++)
				for (int o = 0; o < co; o++) {
					double g = dy[ref_at(yd, n, oy, ox, o)];
					if (db)
						db[o] += g;
					for (int i = 0; i < k; i++)
						for (int j = 0; j < k; j++) {
							int iy = oy * s - p + i, ix = ox * s - p + j;
							if (iy < 0 || iy >= xd.h || ix < 0 || ix >= xd.w)
								continue;
							for (int c = 0; c < xd.c; c++) {
								if (dx)
									dx[ref_at(xd, n, iy, ix, c)] += g * w[weight(o, c, i, j, xd.c, k)];
								if (dw)
									dw[weight(o, c, i, j, xd.c, k)] += g * x[ref_at(xd, n, iy, ix, c)];
							}
						}
				}
}

ref_dims ref_deconv_dims(ref_dims x, int co, int k, int s, int p)
{
	return (ref_dims){ x.n, (x.h - 1) * s - 2 * p + k, (x.w - 1) * s - 2 * p + k, co };
}

void ref_deconv_fwd(ref_dims xd, const double *x, const double *w, const double *b, int co, int k, int s, int p, double *y)
{
	ref_dims yd = ref_deconv_dims(xd, co, k, s, p);
	for (size_t i = 0; i < ref_count(yd); i++)
		y[i] = b ? b[i % (size_t)co] : 0;
	for (int n = 0; n < xd.n; n++)
		for (int iy = 0; iy < xd.h; iy++)
			for (int ix = 0; ix < xd.w; ix++)
				for (int i = 0; i < k; i++)
					for (int j = 0; j < k; j++) {
						int oy = iy * s - p + i, ox = ix * s - p + j;
						if (oy < 0 || oy >= yd.h || ox < 0 || ox >= yd.w)
							continue;
						for (int c = 0; c < xd.c; c++)
							for (int o = 0; o < co; o++)
								y[ref_at(yd, n, oy, ox, o)] += x[ref_at(xd, n, iy, ix, c)] * w[weight(c, o, i, j, co, k)];
					}
}

void ref_deconv_bwd(ref_dims xd, const double *x, const double *w, int co, int k, int s, int p, const double *dy,
                    double *dx, double *dw, double *db)
{
	ref_dims yd = ref_deconv_dims(xd, co, k, s, p);
	zero(dx, ref_count(xd));
	zero(dw, (size_t)co * (size_t)xd.c * (size_t)k * (size_t)k);
	zero(db, (size_t)co);
	for (size_t i = 0; db && i < ref_count(yd); i++)
		db[i % (size_t)co] += dy[i];
	for (int n = 0; n < xd.n; n++)
		for (int iy = 0; iy < xd.h; iy++)
			for (int ix = 0; ix < xd.w; ix++)
				for (int i = 0; i < k; i++)
					for (int j = 0; j < k; j++) {
						int oy = iy * s - p + i, ox = ix * s - p + j;
						if (oy < 0 || oy >= yd.h || ox < 0 || ox >= yd.w)
							continue;
						for (int c = 0; c < xd.c; c++)
							for (int o = 0; o < co; o++) {
								double g = dy[ref_at(yd, n, oy, ox, o)];
								if (dx)
									dx[ref_at(xd, n, iy, ix, c)] += g * w[weight(c, o, i, j, co, k)];
								if (dw)
									dw[weight(c, o, i, j, co, k)] += g * x[ref_at(xd, n, iy, ix, c)];
							}
					}
}

static double valid_positions(ref_dims d, const ref_rect *rects)
{
	double count = 0;
	for (int n = 0; n < d.n; n++)
		count += (double)rect_of(d, rects, n).h * rect_of(d, rects, n).w;
	return count;
}

/* Visits every valid position: n, y, x are the position, at is its first channel. */
#define EACH_VALID(d, rects) \
	for (int n = 0; n < (d).n; n++) \
		for (int y_ = 0; y_ < (d).h; y_++) \
			for (int x_ = 0; x_ < (d).w; x_++) \
				for (size_t at = ref_at(d, n, y_, x_, 0), once_ = 1; once_ && ref_inside(rects, n, y_, x_); once_ = 0)

void ref_bn_train_fwd(ref_dims d, const ref_rect *rects, const double *x, const double *gamma, const double *beta, double eps,
                      double momentum, double *running_mean, double *running_var, double *y, double *mean, double *rstd)
{
	double count = valid_positions(d, rects);
	zero(y, ref_count(d));
	for (int c = 0; c < d.c; c++) {
		double sum = 0, square = 0;
		EACH_VALID(d, rects)
			sum += x[at + (size_t)c];
		mean[c] = count > 0 ? sum / count : 0;
		EACH_VALID(d, rects)
			square += (x[at + (size_t)c] - mean[c]) * (x[at + (size_t)c] - mean[c]);
		rstd[c] = 1 / sqrt((count > 0 ? square / count : 0) + eps);
		EACH_VALID(d, rects)
			y[at + (size_t)c] = (x[at + (size_t)c] - mean[c]) * rstd[c] * gamma[c] + beta[c];
		if (count > 0 && running_mean)
			running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean[c];
		if (count > 0 && running_var)
			running_var[c] = (1 - momentum) * running_var[c] + momentum * (count > 1 ? square / (count - 1) : 0);
	}
}

void ref_bn_train_bwd(ref_dims d, const ref_rect *rects, const double *x, const double *gamma, const double *mean, const double *rstd,
                      const double *dy, double *dx, double *dgamma, double *dbeta)
{
	double count = valid_positions(d, rects);
	zero(dx, ref_count(d));
	for (int c = 0; c < d.c; c++) {
		double sum_g = 0, sum_gx = 0;
		EACH_VALID(d, rects) {
			double normal = (x[at + (size_t)c] - mean[c]) * rstd[c];
			sum_g += dy[at + (size_t)c];
			sum_gx += dy[at + (size_t)c] * normal;
		}
		EACH_VALID(d, rects) {
			double normal = (x[at + (size_t)c] - mean[c]) * rstd[c];
			dx[at + (size_t)c] = gamma[c] * rstd[c] * (dy[at + (size_t)c] - sum_g / count - normal * sum_gx / count);
		}
		dgamma[c] = sum_gx;
		dbeta[c] = sum_g;
	}
}

void ref_bn_eval_fwd(ref_dims d, const ref_rect *rects, const double *x, const double *gamma, const double *beta, double eps,
                     const double *running_mean, const double *running_var, double *y)
{
	zero(y, ref_count(d));
	EACH_VALID(d, rects)
		for (int c = 0; c < d.c; c++)
			y[at + (size_t)c] = (x[at + (size_t)c] - running_mean[c]) / sqrt(running_var[c] + eps) * gamma[c] + beta[c];
}

void ref_bn_eval_bwd(ref_dims d, const ref_rect *rects, const double *x, const double *gamma, double eps, const double *running_mean,
                     const double *running_var, const double *dy, double *dx, double *dgamma, double *dbeta)
{
	zero(dx, ref_count(d));
	zero(dgamma, (size_t)d.c);
	zero(dbeta, (size_t)d.c);
	EACH_VALID(d, rects)
		for (int c = 0; c < d.c; c++) {
			double rstd = 1 / sqrt(running_var[c] + eps), g = dy[at + (size_t)c];
			dx[at + (size_t)c] = g * gamma[c] * rstd;
			dgamma[c] += g * (x[at + (size_t)c] - running_mean[c]) * rstd;
			dbeta[c] += g;
		}
}

double ref_act(vq_activation a, double x)
{
	switch (a) {
	case VQ_ACT_RELU: return x > 0 ? x : 0;
	case VQ_ACT_LEAKY_RELU: return x > 0 ? x : 0.01 * x;
	case VQ_ACT_SILU: return x / (1 + exp(-x));
	case VQ_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
	}
	return NAN;
}

double ref_act_slope(vq_activation a, double x)
{
	double s = 1 / (1 + exp(-x));
	switch (a) {
	case VQ_ACT_RELU: return x > 0 ? 1 : 0;
	case VQ_ACT_LEAKY_RELU: return x > 0 ? 1 : 0.01;
	case VQ_ACT_SILU: return s + x * s * (1 - s);
	case VQ_ACT_GELU: return 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-x * x / 2) / sqrt(2 * 3.14159265358979323846);
	}
	return NAN;
}

void ref_act_fwd(vq_activation a, size_t n, const double *x, double *y)
{
	for (size_t i = 0; i < n; i++)
		y[i] = ref_act(a, x[i]);
}

void ref_act_bwd(vq_activation a, size_t n, const double *x, const double *dy, double *dx)
{
	for (size_t i = 0; i < n; i++)
		dx[i] = dy[i] * ref_act_slope(a, x[i]);
}

void ref_linear_fwd(int n, int in, int out, const double *x, const double *w, const double *b, double *y)
{
	for (int i = 0; i < n; i++)
		for (int o = 0; o < out; o++) {
			double sum = b ? b[o] : 0;
			for (int c = 0; c < in; c++)
				sum += x[i * in + c] * w[o * in + c];
			y[i * out + o] = sum;
		}
}

void ref_linear_bwd(int n, int in, int out, const double *x, const double *w, const double *dy,
                    double *dx, double *dw, double *db)
{
	zero(dx, (size_t)n * (size_t)in);
	zero(dw, (size_t)out * (size_t)in);
	zero(db, (size_t)out);
	for (int i = 0; i < n; i++)
		for (int o = 0; o < out; o++) {
			double g = dy[i * out + o];
			for (int c = 0; c < in; c++) {
				dx[i * in + c] += g * w[o * in + c];
				dw[o * in + c] += g * x[i * in + c];
			}
			if (db)
				db[o] += g;
		}
}

/* Bin i of size over an extent: [from, to). */
static void bin(int i, int extent, int size, int *from, int *to)
{
	*from = i * extent / size;
	*to = ((i + 1) * extent + size - 1) / size;
}

void ref_pool_fwd(ref_dims xd, const ref_rect *rects, const double *x, int size, double *y)
{
	ref_dims yd = { xd.n, size, size, xd.c };
	for (int n = 0; n < xd.n; n++)
		for (int i = 0; i < size; i++)
			for (int j = 0; j < size; j++)
				for (int c = 0; c < xd.c; c++) {
					ref_rect r = rect_of(xd, rects, n);
					int y0, y1, x0, x1;
					double sum = 0;
					bin(i, r.h, size, &y0, &y1);
					bin(j, r.w, size, &x0, &x1);
					for (int a = y0; a < y1; a++)
						for (int b = x0; b < x1; b++)
							sum += x[ref_at(xd, n, r.top + a, r.left + b, c)];
					y[ref_at(yd, n, i, j, c)] = y1 > y0 && x1 > x0 ? sum / ((y1 - y0) * (x1 - x0)) : 0;
				}
}

void ref_pool_bwd(ref_dims xd, const ref_rect *rects, int size, const double *dy, double *dx)
{
	ref_dims yd = { xd.n, size, size, xd.c };
	zero(dx, ref_count(xd));
	for (int n = 0; n < xd.n; n++)
		for (int i = 0; i < size; i++)
			for (int j = 0; j < size; j++)
				for (int c = 0; c < xd.c; c++) {
					ref_rect r = rect_of(xd, rects, n);
					int y0, y1, x0, x1;
					bin(i, r.h, size, &y0, &y1);
					bin(j, r.w, size, &x0, &x1);
					for (int a = y0; a < y1; a++)
						for (int b = x0; b < x1; b++)
							dx[ref_at(xd, n, r.top + a, r.left + b, c)] += dy[ref_at(yd, n, i, j, c)] / ((y1 - y0) * (x1 - x0));
				}
}

/* Output position i of to between input positions *a and *b of from: weight *t for *b. */
static void between(int i, int from, int to, int *a, int *b, double *t)
{
	double source = (i + 0.5) * from / to - 0.5;
	if (source < 0)
		source = 0;
	*a = (int)source;
	*b = *a + 1 < from ? *a + 1 : *a;
	*t = source - *a;
}

typedef void resize_term(size_t yi, size_t xi, double weight, const double *from, double *to);

static void gather(size_t yi, size_t xi, double w, const double *x, double *y) { y[yi] += w * x[xi]; }
static void scatter(size_t yi, size_t xi, double w, const double *dy, double *dx) { dx[xi] += w * dy[yi]; }

static void resize(ref_dims xd, const ref_rect *xrects, ref_dims yd, const ref_rect *yrects, resize_term *term, const double *from, double *to)
{
	for (int n = 0; n < yd.n; n++) {
		ref_rect xr = rect_of(xd, xrects, n), yr = rect_of(yd, yrects, n);
		if (!xr.h || !xr.w)
			continue;
		for (int i = 0; i < yr.h; i++)
			for (int j = 0; j < yr.w; j++)
				for (int c = 0; c < xd.c; c++) {
					int y[2], x[2];
					double ty, tx;
					between(i, xr.h, yr.h, &y[0], &y[1], &ty);
					between(j, xr.w, yr.w, &x[0], &x[1], &tx);
					for (int a = 0; a < 2; a++)
						for (int b = 0; b < 2; b++)
							term(ref_at(yd, n, yr.top + i, yr.left + j, c), ref_at(xd, n, xr.top + y[a], xr.left + x[b], c),
							     (a ? ty : 1 - ty) * (b ? tx : 1 - tx), from, to);
				}
	}
}

void ref_resize_fwd(ref_dims xd, const ref_rect *xrects, const double *x, ref_dims yd, const ref_rect *yrects, double *y)
{
	zero(y, ref_count(yd));
	resize(xd, xrects, yd, yrects, gather, x, y);
}

void ref_resize_bwd(ref_dims xd, const ref_rect *xrects, ref_dims yd, const ref_rect *yrects, const double *dy, double *dx)
{
	zero(dx, ref_count(xd));
	resize(xd, xrects, yd, yrects, scatter, dy, dx);
}

/* softmax_j(q_i . k_j) over the rect's positions into a[j]; position j of the rect is (j / w, j % w). */
static void attend(ref_dims qd, int n, ref_rect r, int i, const double *q, const double *k, double *a)
{
	const double *qi = &q[ref_at(qd, n, r.top + i / r.w, r.left + i % r.w, 0)];
	double top = -INFINITY, sum = 0;
	for (int j = 0; j < r.h * r.w; j++) {
		const double *kj = &k[ref_at(qd, n, r.top + j / r.w, r.left + j % r.w, 0)];
		a[j] = 0;
		for (int c = 0; c < qd.c; c++)
			a[j] += qi[c] * kj[c];
		top = fmax(top, a[j]);
	}
	for (int j = 0; j < r.h * r.w; j++)
		sum += a[j] = exp(a[j] - top);
	for (int j = 0; j < r.h * r.w; j++)
		a[j] /= sum;
}

void ref_attention_fwd(ref_dims qd, const ref_rect *rects, const double *q, const double *k, const double *v, int cv, double *y)
{
	ref_dims vd = { qd.n, qd.h, qd.w, cv };
	double *a = ref_new((size_t)qd.h * (size_t)qd.w);
	zero(y, ref_count(vd));
	for (int n = 0; n < qd.n; n++) {
		ref_rect r = rect_of(qd, rects, n);
		for (int i = 0; i < r.h * r.w; i++) {
			double *yi = &y[ref_at(vd, n, r.top + i / r.w, r.left + i % r.w, 0)];
			attend(qd, n, r, i, q, k, a);
			for (int j = 0; j < r.h * r.w; j++)
				for (int c = 0; c < cv; c++)
					yi[c] += a[j] * v[ref_at(vd, n, r.top + j / r.w, r.left + j % r.w, c)];
		}
	}
	free(a);
}

void ref_attention_bwd(ref_dims qd, const ref_rect *rects, const double *q, const double *k, const double *v, int cv, const double *dy,
                       double *dq, double *dk, double *dv)
{
	ref_dims vd = { qd.n, qd.h, qd.w, cv };
	double *a = ref_new((size_t)qd.h * (size_t)qd.w), *da = ref_new((size_t)qd.h * (size_t)qd.w);
	zero(dq, ref_count(qd));
	zero(dk, ref_count(qd));
	zero(dv, ref_count(vd));
	for (int n = 0; n < qd.n; n++) {
		ref_rect r = rect_of(qd, rects, n);
		for (int i = 0; i < r.h * r.w; i++) {
			size_t qi = ref_at(qd, n, r.top + i / r.w, r.left + i % r.w, 0), vi = ref_at(vd, n, r.top + i / r.w, r.left + i % r.w, 0);
			double mean = 0;
			attend(qd, n, r, i, q, k, a);
			for (int j = 0; j < r.h * r.w; j++) {
				size_t vj = ref_at(vd, n, r.top + j / r.w, r.left + j % r.w, 0);
				da[j] = 0;
				for (int c = 0; c < cv; c++) {
					da[j] += dy[vi + (size_t)c] * v[vj + (size_t)c];
					dv[vj + (size_t)c] += a[j] * dy[vi + (size_t)c];
				}
				mean += a[j] * da[j];
			}
			for (int j = 0; j < r.h * r.w; j++) {
				size_t kj = ref_at(qd, n, r.top + j / r.w, r.left + j % r.w, 0);
				double ds = a[j] * (da[j] - mean);
				for (int c = 0; c < qd.c; c++) {
					dq[qi + (size_t)c] += ds * k[kj + (size_t)c];
					dk[kj + (size_t)c] += ds * q[qi + (size_t)c];
				}
			}
		}
	}
	free(a);
	free(da);
}

void ref_add_fwd(size_t n, const double *a, double scale, const double *b, double *y)
{
	for (size_t i = 0; i < n; i++)
		y[i] = a[i] + scale * b[i];
}

void ref_add_bwd(size_t n, double scale, const double *b, const double *dy, double *da, double *db, double *dscale)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++) {
		da[i] = dy[i];
		db[i] = scale * dy[i];
		sum += b[i] * dy[i];
	}
	if (dscale)
		*dscale = sum;
}

static double mean_error(ref_dims d, const ref_rect *rects, const double *x, const double *t, bool squared, double *dx)
{
	double sum = 0, count = valid_positions(d, rects) * d.c;
	zero(dx, ref_count(d));
	EACH_VALID(d, rects)
		for (int c = 0; c < d.c; c++) {
			double e = x[at + (size_t)c] - t[at + (size_t)c];
			sum += squared ? e * e : fabs(e);
			if (dx)
				dx[at + (size_t)c] = (squared ? 2 * e : (e > 0) - (e < 0)) / count;
		}
	return count > 0 ? sum / count : 0;
}

double ref_mse(ref_dims d, const ref_rect *rects, const double *x, const double *t, double *dx)
{
	return mean_error(d, rects, x, t, true, dx);
}

double ref_l1(ref_dims d, const ref_rect *rects, const double *x, const double *t, double *dx)
{
	return mean_error(d, rects, x, t, false, dx);
}

double ref_slope(double (*f)(void *), void *context, double *x, double h)
{
	double was = *x;
	*x = was + h;
	double up = f(context);
	*x = was - h;
	double down = f(context);
	*x = was;
	return (up - down) / (2 * h);
}
