/* ref: what each operation of the engine means, in plain loops and f64, forward and backward. The engine's tests compare against these.
 *
 * Layouts: activations [n][h][w][c]; convolution weights [out][in][k][k], transposed convolution [in][out][k][k], linear [out][in]
 * (all as PyTorch). A rect per item says which positions are valid; rects NULL means all of them. "bwd" takes the gradient of a scalar
 * by the output (dy) and sets (not adds to) the gradients by the inputs; any of those may be NULL where it says so.
 * Positions outside a rect are 0 in every output and every gradient, and are not read. */
#ifndef VQ_TEST_REF_H
#define VQ_TEST_REF_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/train/config.h"

typedef struct { int n, h, w, c; } ref_dims;
typedef struct { int top, left, h, w; } ref_rect;

size_t ref_count(ref_dims d);                                   /* n*h*w*c */
size_t ref_at(ref_dims d, int n, int y, int x, int c);          /* index of an element */
bool ref_inside(const ref_rect *rects, int n, int y, int x);    /* true when rects is NULL */
void ref_mask(ref_dims d, const ref_rect *rects, double *x);    /* zeros outside the rects */
double *ref_new(size_t n);                                      /* n zeros, at least one; ends the program when memory is out */

/* Convolution: kernel k, stride s, zero padding p. b may be NULL. y: [n][oh][ow][co], oh = (h + 2p - k) / s + 1. */
ref_dims ref_conv_dims(ref_dims x, int co, int k, int s, int p);
void ref_conv_fwd(ref_dims xd, const double *x, const double *w, const double *b, int co, int k, int s, int p, double *y);
void ref_conv_bwd(ref_dims xd, const double *x, const double *w, int co, int k, int s, int p, const double *dy,
                  double *dx /* or NULL */, double *dw /* or NULL */, double *db /* or NULL */);

/* Transposed convolution: oh = (h - 1) s - 2p + k. */
ref_dims ref_deconv_dims(ref_dims x, int co, int k, int s, int p);
void ref_deconv_fwd(ref_dims xd, const double *x, const double *w, const double *b, int co, int k, int s, int p, double *y);
void ref_deconv_bwd(ref_dims xd, const double *x, const double *w, int co, int k, int s, int p, const double *dy,
                    double *dx /* or NULL */, double *dw /* or NULL */, double *db /* or NULL */);

/* Batch normalisation with statistics over the valid positions of all items. Training: mean and rstd [c] are what was used (biased
 * variance, 1/sqrt(var + eps)); the running ones move by momentum (PyTorch's: new = (1 - momentum) old + momentum now, variance
 * unbiased, or 0 for a single position) unless NULL. No valid position at all: y = 0 and nothing moves. */
void ref_bn_train_fwd(ref_dims d, const ref_rect *rects, const double *x, const double *gamma, const double *beta, double eps,
                      double momentum, double *running_mean, double *running_var, double *y, double *mean, double *rstd);
void ref_bn_train_bwd(ref_dims d, const ref_rect *rects, const double *x, const double *gamma, const double *mean, const double *rstd,
                      const double *dy, double *dx, double *dgamma, double *dbeta);
void ref_bn_eval_fwd(ref_dims d, const ref_rect *rects, const double *x, const double *gamma, const double *beta, double eps,
                     const double *running_mean, const double *running_var, double *y);
void ref_bn_eval_bwd(ref_dims d, const ref_rect *rects, const double *x, const double *gamma, double eps, const double *running_mean,
                     const double *running_var, const double *dy, double *dx, double *dgamma, double *dbeta);

/* Activations (leaky_relu: slope 0.01; gelu: x Phi(x), with erf). The slope of relu and leaky_relu at 0 is that of the negative side. */
double ref_act(vq_activation a, double x);
double ref_act_slope(vq_activation a, double x);
void ref_act_fwd(vq_activation a, size_t n, const double *x, double *y);
void ref_act_bwd(vq_activation a, size_t n, const double *x, const double *dy, double *dx);

/* Linear: x [n][in], y [n][out]. b may be NULL. */
void ref_linear_fwd(int n, int in, int out, const double *x, const double *w, const double *b, double *y);
void ref_linear_bwd(int n, int in, int out, const double *x, const double *w, const double *dy,
                    double *dx, double *dw, double *db /* or NULL */);

/* Adaptive average pooling of each item's rect to size x size: bin i of h spans floor(i h / size) to ceil((i + 1) h / size).
 * y: [n][size][size][c]. An empty rect gives zeros. */
void ref_pool_fwd(ref_dims xd, const ref_rect *rects, const double *x, int size, double *y);
void ref_pool_bwd(ref_dims xd, const ref_rect *rects, int size, const double *dy, double *dx);

/* Bilinear resize of each item's rect in x to its rect in y, align_corners=false, edges clamped. Same n and c. */
void ref_resize_fwd(ref_dims xd, const ref_rect *xrects, const double *x, ref_dims yd, const ref_rect *yrects, double *y);
void ref_resize_bwd(ref_dims xd, const ref_rect *xrects, ref_dims yd, const ref_rect *yrects, const double *dy, double *dx);

/* Single-head attention over the positions of each rect: y_i = sum_j softmax_j(q_i . k_j) v_j, without scaling. qd.c is the width of q
 * and k; v, y: [n][h][w][cv]. */
void ref_attention_fwd(ref_dims qd, const ref_rect *rects, const double *q, const double *k, const double *v, int cv, double *y);
void ref_attention_bwd(ref_dims qd, const ref_rect *rects, const double *q, const double *k, const double *v, int cv, const double *dy,
                       double *dq, double *dk, double *dv);

/* y = a + scale b; backward: da = dy, db = scale dy, *dscale = b . dy. */
void ref_add_fwd(size_t n, const double *a, double scale, const double *b, double *y);
void ref_add_bwd(size_t n, double scale, const double *b, const double *dy, double *da, double *db, double *dscale /* or NULL */);

/* The nearest of the rows codes [k][d] to each row z [n][d] by squared distance; the lowest index wins a tie. valid [n] (or NULL):
 * index -1 where it is 0. */
void ref_nearest(int n, int d, int k, const double *z, const double *codes, const unsigned char *valid, int *index);
/* beta mean((z - codes[index])^2) over valid rows and d; sets dz. 0 when no row is valid. */
double ref_commitment(int n, int d, const double *z, const double *codes, const int *index, double beta, double *dz /* or NULL */);
/* mean((codes[index] - sg z)^2) likewise; sets dcodes [k][d]. */
double ref_codebook_loss(int n, int d, int k, const double *z, const double *codes, const int *index, double *dcodes /* or NULL */);
/* One moving-average update: count and sum decay towards this batch's, then codes = sum / smoothed count, where
 * smoothed = (count + eps) / (N + k eps) N with N the sum of the counts. */
void ref_ema(int n, int d, int k, const double *z, const int *index, double decay, double eps, double *count, double *sum, double *codes);

/* One optimiser step (PyTorch's). step counts from 1. Adam and SGD add weight_decay * p to the gradient; AdamW shrinks p instead. */
void ref_adamw(size_t n, double *p, const double *g, double *m, double *v, int step,
               double lr, double beta1, double beta2, double eps, double weight_decay);
void ref_adam(size_t n, double *p, const double *g, double *m, double *v, int step,
              double lr, double beta1, double beta2, double eps, double weight_decay);
void ref_sgd(size_t n, double *p, const double *g, double *buffer /* zeros at first */, double lr, double momentum, double weight_decay);

/* Means over valid elements of squared or absolute error between x and t; sets dx. */
double ref_mse(ref_dims d, const ref_rect *rects, const double *x, const double *t, double *dx /* or NULL */);
double ref_l1(ref_dims d, const ref_rect *rects, const double *x, const double *t, double *dx /* or NULL */);

/* Greatest value of each k x k window at stride s, as far as it lies in x; yd says how many there are. n is 1. */
void ref_maxpool(ref_dims xd, const double *x, int k, int s, ref_dims yd, double *y);
/* Distance of two sets of features [positions][c], mean over positions (0 of none). unit: sum over c of w (f/(|f|+e) - t/(|t|+e))^2 with
 * e = 1e-10 and w NULL for ones; else the mean over c of (f - t)^2. */
double ref_features(int positions, int c, const double *f, const double *t, const double *w, bool unit);

/* (f(*x + h) - f(*x - h)) / 2h, with *x restored. */
double ref_slope(double (*f)(void *), void *context, double *x, double h);

#endif
