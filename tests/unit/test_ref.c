/* The references against finite differences, and against values worked out by hand. */
#include "lib/rng.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

static vq_rng rng;

static double *noise(size_t n)
{
	double *p = ref_new(n);
	for (size_t i = 0; i < n; i++)
		p[i] = vq_rng_normal(&rng);
	return p;
}

/* A loss sum(r * y) of what forward() writes to y; the arrays x, w, b are what it reads. */
static double *x, *w, *b, *y, *r;
static size_t ny;
static void (*forward)(void);

static double loss(void *unused)
{
	double sum = 0;
	forward();
	for (size_t i = 0; i < ny; i++)
		sum += r[i] * y[i];
	return sum;
}

/* Largest error of gradient g by p[n], relative to the gradient's largest element. */
static double gradient_error(double *p, const double *g, size_t n)
{
	double error = 0, top = 1e-3;
	for (size_t i = 0; i < n; i++) {
		error = fmax(error, fabs(g[i] - ref_slope(loss, NULL, &p[i], 1e-5)));
		top = fmax(top, fabs(g[i]));
	}
	return error / top;
}

static void start(size_t nx, size_t nw, size_t nb, size_t n_out)
{
	rng = vq_rng_make(1, nx * 1000 + nw * 10 + nb);
	x = noise(nx);
	w = noise(nw);
	b = noise(nb);
	r = noise(n_out);
	y = ref_new(n_out);
	ny = n_out;
}

static void finish(void)
{
	free(x);
	free(w);
	free(b);
	free(r);
	free(y);
}

static ref_dims xd, yd;
static int co, k, s, p;

static void conv(void) { ref_conv_fwd(xd, x, w, b, co, k, s, p, y); }
static void deconv(void) { ref_deconv_fwd(xd, x, w, b, co, k, s, p, y); }

static void convolution_gradients(bool transposed, ref_dims d, int out, int kernel, int stride, int pad)
{
	xd = d;
	co = out;
	k = kernel;
	s = stride;
	p = pad;
	yd = transposed ? ref_deconv_dims(xd, co, k, s, p) : ref_conv_dims(xd, co, k, s, p);
	size_t nw = (size_t)(co * d.c * k * k);
	start(ref_count(xd), nw, (size_t)co, ref_count(yd));
	forward = transposed ? deconv : conv;
	double *dx = ref_new(ref_count(xd)), *dw = ref_new(nw), *db = ref_new((size_t)co);
	(transposed ? ref_deconv_bwd : ref_conv_bwd)(xd, x, w, co, k, s, p, r, dx, dw, db);
	double ex = gradient_error(x, dx, ref_count(xd)), ew = gradient_error(w, dw, nw), eb = gradient_error(b, db, (size_t)co);
	free(dx);
	free(dw);
	free(db);
	finish();
	CHECK_NEAR(ex, 0, 1e-7);
	CHECK_NEAR(ew, 0, 1e-7);
	CHECK_NEAR(eb, 0, 1e-7);
}

TEST(convolution)
{
	convolution_gradients(false, (ref_dims){ 2, 5, 4, 3 }, 2, 3, 1, 1);
	convolution_gradients(false, (ref_dims){ 1, 9, 8, 2 }, 3, 7, 2, 3);
	convolution_gradients(false, (ref_dims){ 1, 10, 9, 1 }, 2, 7, 3, 1);
	convolution_gradients(false, (ref_dims){ 2, 3, 1, 2 }, 2, 1, 1, 0);
	double in[] = { 1, 2, 3, 4 }, weights[] = { 1, 10, 100, 1000 }, out[4];
	ref_dims d = { 1, 2, 2, 1 };
	CHECK(ref_conv_dims(d, 1, 2, 2, 1).h == 2 && ref_conv_dims((ref_dims){ 1, 14, 14, 4 }, 8, 7, 3, 1).h == 4);
	ref_conv_fwd(d, in, weights, (double[]){ 7 }, 1, 2, 2, 1, out);
	CHECK(out[0] == 1007 && out[1] == 207 && out[2] == 37 && out[3] == 11); /* a corner of the image in a corner of the kernel */
}

TEST(transposed_convolution)
{
	convolution_gradients(true, (ref_dims){ 2, 3, 2, 3 }, 2, 4, 2, 1);
	convolution_gradients(true, (ref_dims){ 1, 1, 4, 2 }, 1, 3, 1, 1);
	CHECK(ref_deconv_dims((ref_dims){ 1, 4, 5, 8 }, 2, 4, 2, 1).h == 8 && ref_deconv_dims((ref_dims){ 1, 4, 5, 8 }, 2, 4, 2, 1).w == 10);
	/* It is the backward pass of a convolution whose weights have the same bytes. */
	xd = (ref_dims){ 1, 3, 3, 2 };
	yd = ref_deconv_dims(xd, 3, 4, 2, 1);
	start(ref_count(xd), 2 * 3 * 16, 3, ref_count(yd));
	double *dx = ref_new(ref_count(yd)), apart = 0;
	ref_deconv_fwd(xd, x, w, NULL, 3, 4, 2, 1, y);
	ref_conv_bwd(yd, y, w, 2, 4, 2, 1, x, dx, NULL, NULL);
	for (size_t i = 0; i < ref_count(yd); i++)
		apart = fmax(apart, fabs(y[i] - dx[i]));
	free(dx);
	finish();
	CHECK_NEAR(apart, 0, 1e-12);
}

static const ref_rect rects[] = { { 1, 0, 3, 4 }, { 0, 2, 1, 2 }, { 0, 0, 0, 0 } };
static double mean[8], rstd[8], running_mean[8], running_var[8];

static void bn_train(void) { ref_bn_train_fwd(xd, rects, x, w, b, 1e-5, 0.1, NULL, NULL, y, mean, rstd); }
static void bn_eval(void) { ref_bn_eval_fwd(xd, rects, x, w, b, 1e-5, running_mean, running_var, y); }

TEST(batch_norm)
{
	double dx[3 * 4 * 5 * 2], dw[2], db[2];
	xd = (ref_dims){ 3, 4, 5, 2 };
	size_t n = ref_count(xd);
	start(n, 2, 2, n);
	forward = bn_train;
	bn_train();
	ref_bn_train_bwd(xd, rects, x, w, mean, rstd, r, dx, dw, db);
	double ex = gradient_error(x, dx, n), ew = gradient_error(w, dw, 2), eb = gradient_error(b, db, 2);
	for (int c = 0; c < 2; c++) {
		running_mean[c] = 0.3 + c;
		running_var[c] = 2 - c;
	}
	forward = bn_eval;
	ref_bn_eval_bwd(xd, rects, x, w, 1e-5, running_mean, running_var, r, dx, dw, db);
	double fx = gradient_error(x, dx, n), fw = gradient_error(w, dw, 2), fb = gradient_error(b, db, 2);
	finish();
	CHECK_NEAR(ex, 0, 1e-6);
	CHECK_NEAR(ew, 0, 1e-6);
	CHECK_NEAR(eb, 0, 1e-6);
	CHECK_NEAR(fx, 0, 1e-6);
	CHECK_NEAR(fw, 0, 1e-6);
	CHECK_NEAR(fb, 0, 1e-6);
}

TEST(batch_norm_sees_valid_positions_alone)
{
	/* Two items of 1 x 3, of which the first two and the last one are valid: 1, 3, 8. */
	double in[] = { 1, 3, 99, -99, 77, 8 }, out[6], m = 10, v = 20, mu, rs;
	ref_rect rect[] = { { 0, 0, 1, 2 }, { 0, 2, 1, 1 } };
	ref_bn_train_fwd((ref_dims){ 2, 1, 3, 1 }, rect, in, (double[]){ 2 }, (double[]){ 1 }, 0, 0.1, &m, &v, out, &mu, &rs);
	CHECK_NEAR(mu, 4, 1e-12);
	CHECK_NEAR(rs, 1 / sqrt(26.0 / 3), 1e-12);
	CHECK_NEAR(m, 9.4, 1e-12);
	CHECK_NEAR(v, 18 + 0.1 * 13, 1e-12); /* unbiased: 26 / 2 */
	CHECK_NEAR(out[5], 4 * rs * 2 + 1, 1e-12);
	CHECK(out[2] == 0 && out[3] == 0 && out[4] == 0);
}

TEST(activations)
{
	static const double at[] = { -3, -0.5, 0.2, 1, 4 };
	for (int a = VQ_ACT_RELU; a <= VQ_ACT_GELU; a++)
		for (size_t i = 0; i < VQ_COUNT(at); i++) {
			double h = 1e-6, slope = (ref_act((vq_activation)a, at[i] + h) - ref_act((vq_activation)a, at[i] - h)) / (2 * h);
			CHECK_NEAR(ref_act_slope((vq_activation)a, at[i]), slope, 1e-8);
		}
	CHECK(ref_act(VQ_ACT_RELU, -2) == 0 && ref_act_slope(VQ_ACT_RELU, 0) == 0);
	CHECK_NEAR(ref_act(VQ_ACT_LEAKY_RELU, -2), -0.02, 1e-15);
	CHECK_NEAR(ref_act(VQ_ACT_SILU, 1), 0.7310585786300049, 1e-15);
	CHECK_NEAR(ref_act(VQ_ACT_GELU, 1), 0.8413447460685429, 1e-15);
	double in[] = { -1, 2 }, dy[] = { 5, 6 }, out[2], dx[2];
	ref_act_fwd(VQ_ACT_RELU, 2, in, out);
	ref_act_bwd(VQ_ACT_RELU, 2, in, dy, dx);
	CHECK(out[0] == 0 && out[1] == 2 && dx[0] == 0 && dx[1] == 6);
}

static void linear(void) { ref_linear_fwd(3, 4, 2, x, w, b, y); }

TEST(linear_layer)
{
	double dx[12], dw[8], db[2];
	start(12, 8, 2, 6);
	forward = linear;
	ref_linear_bwd(3, 4, 2, x, w, r, dx, dw, db);
	double ex = gradient_error(x, dx, 12), ew = gradient_error(w, dw, 8), eb = gradient_error(b, db, 2);
	finish();
	CHECK_NEAR(ex, 0, 1e-7);
	CHECK_NEAR(ew, 0, 1e-7);
	CHECK_NEAR(eb, 0, 1e-7);
	double out[2];
	ref_linear_fwd(1, 2, 2, (double[]){ 1, 2 }, (double[]){ 3, 4, 5, 6 }, (double[]){ 10, 20 }, out);
	CHECK(out[0] == 21 && out[1] == 37);
}

static void pool(void) { ref_pool_fwd(xd, rects, x, 2, y); }

TEST(adaptive_pooling)
{
	double dx[3 * 4 * 5 * 2];
	xd = (ref_dims){ 3, 4, 5, 2 };
	start(ref_count(xd), 1, 1, 3 * 2 * 2 * 2);
	forward = pool;
	ref_pool_bwd(xd, rects, 2, r, dx);
	double ex = gradient_error(x, dx, ref_count(xd));
	pool();
	bool empty_is_zero = y[ny - 1] == 0;
	finish();
	CHECK_NEAR(ex, 0, 1e-7);
	CHECK(empty_is_zero);
	double in[] = { 1, 2, 4 }, out[16];
	ref_pool_fwd((ref_dims){ 1, 1, 3, 1 }, NULL, in, 2, out); /* bins overlap: (1,2) (2,4), and the single row twice */
	CHECK(out[0] == 1.5 && out[1] == 3 && out[2] == 1.5 && out[3] == 3);
	ref_pool_fwd((ref_dims){ 1, 1, 3, 1 }, NULL, in, 4, out);
	CHECK(out[0] == 1 && out[1] == 1.5 && out[2] == 3 && out[3] == 4);
}

static const ref_rect bigger[] = { { 0, 1, 5, 3 }, { 2, 0, 3, 4 }, { 0, 0, 0, 0 } };
static void resized(void) { ref_resize_fwd(xd, rects, x, yd, bigger, y); }

TEST(bilinear_resize)
{
	double dx[3 * 4 * 5 * 2];
	xd = (ref_dims){ 3, 4, 5, 2 };
	yd = (ref_dims){ 3, 6, 4, 2 };
	start(ref_count(xd), 1, 1, ref_count(yd));
	forward = resized;
	ref_resize_bwd(xd, rects, yd, bigger, r, dx);
	double ex = gradient_error(x, dx, ref_count(xd));
	finish();
	CHECK_NEAR(ex, 0, 1e-7);
	double out[4];
	ref_resize_fwd((ref_dims){ 1, 1, 2, 1 }, NULL, (double[]){ 1, 2 }, (ref_dims){ 1, 1, 4, 1 }, NULL, out);
	CHECK(out[0] == 1 && out[1] == 1.25 && out[2] == 1.75 && out[3] == 2);
	ref_resize_fwd((ref_dims){ 1, 1, 4, 1 }, NULL, (double[]){ 1, 2, 3, 5 }, (ref_dims){ 1, 1, 2, 1 }, NULL, out);
	CHECK(out[0] == 1.5 && out[1] == 4);
}

static double *q, *key;
static void attention(void) { ref_attention_fwd(xd, rects, q, key, x, 3, y); }

TEST(attention_layer)
{
	xd = (ref_dims){ 3, 4, 5, 2 };
	size_t nq = ref_count(xd), nv = nq / 2 * 3;
	start(nv, 1, 1, nv);
	q = noise(nq);
	key = noise(nq);
	double *dq = ref_new(nq), *dk = ref_new(nq), *dv = ref_new(nv);
	forward = attention;
	ref_attention_bwd(xd, rects, q, key, x, 3, r, dq, dk, dv);
	double eq = gradient_error(q, dq, nq), ek = gradient_error(key, dk, nq), ev = gradient_error(x, dv, nv);
	free(q);
	free(key);
	free(dq);
	free(dk);
	free(dv);
	finish();
	CHECK_NEAR(eq, 0, 1e-6);
	CHECK_NEAR(ek, 0, 1e-6);
	CHECK_NEAR(ev, 0, 1e-6);
	/* Two positions, q.k of 0 and log 3: weights 1/4 and 3/4. */
	double qs[] = { 1, 1 }, ks[] = { 0, log(3) }, vs[] = { 4, 8 }, out[2];
	ref_attention_fwd((ref_dims){ 1, 1, 2, 1 }, NULL, qs, ks, vs, 1, out);
	CHECK_NEAR(out[0], 7, 1e-12);
	CHECK_NEAR(out[1], 7, 1e-12);
}

static void added(void) { ref_add_fwd(6, x, b[0], w, y); }
static void squared(void) { y[0] = ref_mse(xd, rects, x, w, NULL); }
static void absolute(void) { y[0] = ref_l1(xd, rects, x, w, NULL); }

TEST(sums_and_errors)
{
	double da[6], db[6], dscale, dx[3 * 4 * 5 * 2];
	start(6, 6, 1, 6);
	forward = added;
	ref_add_bwd(6, b[0], w, r, da, db, &dscale);
	double ea = gradient_error(x, da, 6), eb = gradient_error(w, db, 6), es = gradient_error(b, &dscale, 1);
	finish();
	CHECK_NEAR(ea, 0, 1e-7);
	CHECK_NEAR(eb, 0, 1e-7);
	CHECK_NEAR(es, 0, 1e-7);
	xd = (ref_dims){ 3, 4, 5, 2 };
	start(ref_count(xd), ref_count(xd), 1, 1);
	r[0] = 1;
	forward = squared;
	ref_mse(xd, rects, x, w, dx);
	double e2 = gradient_error(x, dx, ref_count(xd));
	forward = absolute;
	ref_l1(xd, rects, x, w, dx);
	double e1 = gradient_error(x, dx, ref_count(xd));
	finish();
	CHECK_NEAR(e2, 0, 1e-6);
	CHECK_NEAR(e1, 0, 1e-6);
	ref_rect none = { 0, 0, 0, 0 };
	CHECK(ref_mse((ref_dims){ 1, 1, 1, 1 }, &none, (double[]){ 1 }, (double[]){ 2 }, NULL) == 0);
}

static int chosen[5];
static void committed(void) { y[0] = ref_commitment(5, 2, x, w, chosen, 0.25, NULL); }
static void fitted(void) { y[0] = ref_codebook_loss(5, 2, 3, x, w, chosen, NULL); }

TEST(codebook)
{
	static const unsigned char valid[] = { 1, 1, 0, 1, 1 };
	double dz[10], dcodes[6];
	int index[2];
	start(10, 6, 1, 1);
	r[0] = 1;
	ref_nearest(5, 2, 3, x, w, valid, chosen);
	forward = committed;
	ref_commitment(5, 2, x, w, chosen, 0.25, dz);
	double ez = gradient_error(x, dz, 10);
	forward = fitted;
	ref_codebook_loss(5, 2, 3, x, w, chosen, dcodes);
	double ec = gradient_error(w, dcodes, 6);
	finish();
	CHECK(chosen[2] == -1 && chosen[0] >= 0);
	CHECK_NEAR(ez, 0, 1e-7);
	CHECK_NEAR(ec, 0, 1e-7);
	ref_nearest(2, 1, 3, (double[]){ 1, 5 }, (double[]){ 2, 0, 5 }, NULL, index);
	CHECK(index[0] == 0 && index[1] == 2); /* 1 is as far from 2 as from 0 */
}

TEST(moving_average)
{
	double count[] = { 1, 1 }, sum[] = { 4, 10 }, codes[] = { 4, 10 }, z[] = { 5, 7, 99 };
	ref_ema(3, 1, 2, z, (int[]){ 0, 0, -1 }, 0.5, 0, count, sum, codes);
	CHECK_NEAR(count[0], 1.5, 1e-15);
	CHECK_NEAR(count[1], 0.5, 1e-15);
	CHECK_NEAR(codes[0], 8 / 1.5, 1e-15);
	CHECK_NEAR(codes[1], 10, 1e-15); /* a code that nothing chose stays */
	double before = count[0] + count[1];
	ref_ema(3, 1, 2, z, (int[]){ 0, 0, -1 }, 0.5, 1, count, sum, codes);
	double total = before / 2 + 1; /* counts 1.75 and 0.25; the smoothed ones have the same sum */
	CHECK_NEAR(sum[0] / codes[0] + sum[1] / codes[1], total, 1e-12);
	CHECK_NEAR(sum[1] / codes[1], 1.25 / 4 * 2, 1e-12);
}

TEST(optimisers)
{
	double one = 1, g = 0.5, m = 0, v = 0, buffer = 0;
	ref_adamw(1, &one, &g, &m, &v, 1, 0.1, 0.9, 0.99, 1e-8, 0.01);
	CHECK_NEAR(one, 1 - 0.1 * 0.01 - 0.1, 1e-8); /* the first step of Adam has length lr */
	double p1 = one;
	g = -0.25;
	ref_adamw(1, &one, &g, &m, &v, 2, 0.1, 0.9, 0.99, 1e-8, 0.01);
	double mean2 = (0.9 * 0.05 - 0.025) / (1 - 0.81), square2 = (0.99 * 0.0025 + 0.000625) / (1 - 0.9801);
	CHECK_NEAR(one, p1 - 0.001 * p1 - 0.1 * mean2 / sqrt(square2), 1e-8);
	m = v = 0;
	one = 1;
	g = 0.5;
	ref_adam(1, &one, &g, &m, &v, 1, 0.1, 0.9, 0.999, 1e-8, 10); /* decay is part of the gradient, so the step's length stays */
	CHECK_NEAR(one, 0.9, 1e-8);
	CHECK_NEAR(m, 1.05, 1e-12);
	one = 1;
	ref_sgd(1, &one, &g, &buffer, 0.1, 0.9, 0.1);
	CHECK_NEAR(one, 1 - 0.1 * 0.6, 1e-12);
	ref_sgd(1, &one, &g, &buffer, 0.1, 0.9, 0);
	CHECK_NEAR(one, 0.94 - 0.1 * (0.54 + 0.5), 1e-12);
}

TEST(masking)
{
	double v[3 * 4 * 5 * 2];
	ref_dims d = { 3, 4, 5, 2 };
	for (size_t i = 0; i < VQ_COUNT(v); i++)
		v[i] = 1;
	ref_mask(d, rects, v);
	double sum = 0;
	for (size_t i = 0; i < VQ_COUNT(v); i++)
		sum += v[i];
	CHECK(sum == 2 * (12 + 2));
	CHECK(v[ref_at(d, 0, 1, 0, 0)] == 1 && v[ref_at(d, 0, 0, 0, 0)] == 0 && v[ref_at(d, 1, 0, 3, 1)] == 1);
}

TEST_MAIN(
	RUN(convolution)
	RUN(transposed_convolution)
	RUN(batch_norm)
	RUN(batch_norm_sees_valid_positions_alone)
	RUN(activations)
	RUN(linear_layer)
	RUN(adaptive_pooling)
	RUN(bilinear_resize)
	RUN(attention_layer)
	RUN(sums_and_errors)
	RUN(codebook)
	RUN(moving_average)
	RUN(optimisers)
	RUN(masking)
)
