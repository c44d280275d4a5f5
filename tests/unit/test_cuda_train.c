/* The CUDA kernels on the host against plain loops in f64: losses, the optimiser, norms, the quantiser's sums, attention's gradient. */
#include "tests/unit/cudatest.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

static const vq_dtype types[] = { VQ_BF16, VQ_F32 };

/* --- loss and update ------------------------------------------------------------------------------------------------------ */

/* what: bits for weight, gradient, gradient in place, a scale */
static void one_loss(cudatest_kind kind, int c, int power, int what)
{
	vq_cuda_step step = cudatest_step(kind);
	vq_cuda_grid g = cudatest_grid(kind);
	size_t rows = cudatest_rows(g), n = rows * (size_t)c;
	double *y = cudatest_noise(VQ_F32, n), *t = cudatest_noise(VQ_F32, n), *w = cudatest_noise(VQ_F32, rows), *dy = cudatest_doubles(n), sum = 2;
	if (n > 2)
		t[n / 2] = y[n / 2];
	float *my = cudatest_memory(VQ_F32, n, y), *mt = cudatest_memory(VQ_F32, n, t), *mw = cudatest_memory(VQ_F32, rows, w), *out = cudatest_memory(VQ_F32, n, NULL);
	double *scalar = cudatest_doubles(1), all = 1;
	*scalar = 2;
	for (size_t i = 0; i < n; i++) {
		double d = y[i] - t[i], k = what & 1 ? w[i / (size_t)c] : 1;
		if (g.mark[i / (size_t)c] != VQ_CUDA_VALID)
			continue;
		sum += k * (power == 2 ? d * d : fabs(d));
		all += fabs(k) * (power == 2 ? d * d : fabs(d));
		dy[i] = (what & 8 ? (double)step.scale[3] : 1) * k * (power == 2 ? 2 * d : (d > 0) - (d < 0));
	}
	out = !(what & 2) ? NULL : what & 4 ? my : out;
	void *scratch = cudatest_scratch(vq_cuda_loss_scratch(g, c));
	EACH_ORDER(vq_cuda_loss(NULL, &step, g, c, power, what & 8 ? 3 : -1, my, mt, what & 1 ? mw : NULL, out, scalar, scratch));
	CHECK_NEAR(*scalar, sum, 1e-6 * all);
	if (out)
		CUDATEST_NEAR(VQ_F32, n, out, dy, 1e-6);
	cudatest_end();
}

TEST(losses)
{
	static const int widths[] = { 1, 4, 5, 301, 1032 };
	for (size_t k = 0; k < VQ_COUNT(widths); k++)
		for (int kind = 0; kind < CUDATEST_GRIDS; kind++)
			for (int what = 0; what < 16 && (widths[k] < 8 || kind == (int)k % 2 * CUDATEST_ONE); what += kind == CUDATEST_LARGE ? 7 : 3)
				one_loss((cudatest_kind)kind, widths[k], 1 + (what + (int)k) % 2, what);
}

static void reference(vq_optimizer o, size_t n, const vq_cuda_step *s, double *g, double *m, double *v, double *w)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += g[i] * g[i];
	for (size_t i = 0; i < n && o.clip > 0 && sqrt(sum) > (double)o.clip; i++)
		g[i] *= (double)o.clip / (sqrt(sum) + 1e-6);
	for (size_t i = 0; i < n && s->first; i++)
		m[i] = 0;
	if (o.kind == VQ_SGD)
		ref_sgd(n, w, g, m, (double)s->lr, (double)o.momentum, (double)o.weight_decay);
	else
		(o.kind == VQ_ADAM ? ref_adam : ref_adamw)(n, w, g, m, v, (int)s->step + 1, (double)s->lr, (double)o.beta1, (double)o.beta2, (double)o.eps, (double)o.weight_decay);
}

/* bad: the last gradient is that, and nothing may change but the norm. */
static void one_update(vq_optim_kind kind, size_t n, float clip, bool first, double bad)
{
	vq_optimizer o = { kind, .9f, .99f, 1e-6f, .05f, first ? 0 : .8f, clip };
	vq_cuda_step s = cudatest_step(CUDATEST_ONE);
	double *g = cudatest_noise(VQ_F32, n), *m = cudatest_noise(VQ_F32, n), *v = cudatest_noise(VQ_F32, n), *w = cudatest_noise(VQ_F32, n), *none = cudatest_doubles(n), sum = 0;
	s.first = kind == VQ_SGD && first;
	s.c1 = (float)(1 - pow((double)o.beta1, (double)s.step + 1));
	s.c2 = (float)(1 - pow((double)o.beta2, (double)s.step + 1));
	if (bad != 0)
		g[n - 1] = bad;
	for (size_t i = 0; i < n; i++) {
		v[i] = (double)(float)(v[i] * v[i]);
		sum += g[i] * g[i];
	}
	float *mg = cudatest_memory(VQ_F32, n, g), *mm = cudatest_memory(VQ_F32, n, m), *mv = kind == VQ_SGD ? NULL : cudatest_memory(VQ_F32, n, v), *mw = cudatest_memory(VQ_F32, n, w);
	double *norm = cudatest_doubles(1);
	void *scratch = cudatest_scratch(vq_cuda_optimize_scratch(n));
	EACH_ORDER(vq_cuda_optimize(NULL, &s, o, n, mg, mm, mv, mw, n % 3 ? norm : NULL, scratch));
	if (n % 3)
		CHECK(bad != 0 ? !isfinite(*norm) : fabs(*norm - sqrt(sum)) <= 1e-6 * sqrt(sum));
	if (bad == 0)
		reference(o, n, &s, g, m, v, w);
	for (size_t i = 0; i < n && bad != 0; i++)
		CHECK((double)mg[i] == g[i] || (isnan(g[i]) && isnan(mg[i])));
	CUDATEST_NEAR(VQ_F32, n, mm, m, bad != 0 ? 0 : 2e-6);
	CUDATEST_NEAR(VQ_F32, n, mw, w, bad != 0 ? 0 : 2e-6);
	if (mv)
		CUDATEST_NEAR(VQ_F32, n, mv, v, bad != 0 ? 0 : 2e-6);
	if (bad == 0)
		CUDATEST_NEAR(VQ_F32, n, mg, none, 0);
	cudatest_end();
}

TEST(updates)
{
	static const size_t counts[] = { 1, 4, 1031, 5200 };
	for (vq_optim_kind kind = VQ_SGD; kind <= VQ_ADAMW; kind++)
		for (size_t k = 0; k < VQ_COUNT(counts); k++)
			for (int first = 0; first < 2; first++) {
				one_update(kind, counts[k], 0, first, 0);
				one_update(kind, counts[k], .1f, first, 0);
				one_update(kind, counts[k], 1e6f, first, 0);
				one_update(kind, counts[k], first ? .1f : 0, false, NAN);
				one_update(kind, counts[k], first ? .1f : 0, false, first ? INFINITY : -INFINITY);
			}
}

/* --- norms ----------------------------------------------------------------------------------------------------------------- */

static void one_norm(vq_dtype t, cudatest_kind kind, int c, bool training, bool in_place)
{
	vq_cuda_grid g = cudatest_grid(kind);
	vq_cuda_norm_spec s = { t, VQ_FN_RELU, training, true, .1f, 1e-5f, g, c };
	size_t rows = cudatest_rows(g), n = rows * (size_t)c, width = (size_t)c;
	double *x = cudatest_noise(t, n), *res = cudatest_noise(t, n), *gamma = cudatest_noise(VQ_F32, width), *beta = cudatest_noise(VQ_F32, width), *y = cudatest_doubles(n);
	double *mean = cudatest_noise(VQ_F32, width), *var = cudatest_noise(VQ_F32, width), *save = cudatest_doubles(2 * width), seen = (double)g.count[1];
	for (int i = 0; i < c; i++)
		var[i] = .5 + var[i] * var[i];
	float *mmean = cudatest_memory(VQ_F32, width, mean), *mvar = cudatest_memory(VQ_F32, width, var), *msave = cudatest_memory(VQ_F32, 2 * width, NULL);
	for (int i = 0; i < c; i++) {
		double sum = 0, square = 0;
		for (size_t r = 0; r < rows; r++)
			sum += g.mark[r] == VQ_CUDA_VALID ? x[r * width + (size_t)i] : 0;
		for (size_t r = 0; r < rows; r++)
			square += g.mark[r] == VQ_CUDA_VALID ? pow(x[r * width + (size_t)i] - sum / seen, 2) : 0;
		bool live = training && seen > 0;
		save[i] = live ? sum / seen : mean[i];
		save[c + i] = 1 / sqrt((live ? square / seen : var[i]) + 1e-5);
		mean[i] += live ? .1 * (save[i] - mean[i]) : 0;
		var[i] += live ? .1 * (square / (seen > 1 ? seen - 1 : 1) - var[i]) : 0;
		for (size_t r = 0, at = (size_t)i; r < rows; r++, at += width)
			y[at] = g.mark[r] ? fmax(0, (x[at] - save[i]) * save[c + i] * gamma[i] + beta[i] + res[at]) : 0;
	}
	void *mx = cudatest_memory(t, n, x), *mres = cudatest_memory(t, n, res), *mg = cudatest_memory(VQ_F32, width, gamma), *mb = cudatest_memory(VQ_F32, width, beta);
	void *out = in_place ? mres : cudatest_memory(t, n, NULL), *scratch = cudatest_scratch(vq_cuda_norm_scratch(s));
	EACH_ORDER(vq_cuda_norm(NULL, s, mx, mg, mb, mmean, mvar, mres, out, msave, scratch));
	CUDATEST_NEAR(VQ_F32, width, mmean, mean, 1e-5);
	CUDATEST_NEAR(VQ_F32, width, mvar, var, 1e-5);
	double limit = seen == 1 ? 1e-2 : cudatest_limit(t); /* one position: x - mean is what rounding leaves, times 1/sqrt(eps) */
	if (seen != 1)
		CUDATEST_NEAR(VQ_F32, 2 * width, msave, save, 1e-5);
	CUDATEST_NEAR(t, n, out, y, limit);
	/* backward with nothing but sums wanted, then dx in place of dy */
	double *dy = cudatest_noise(t, n), *dgamma = cudatest_noise(VQ_F32, width), *dbeta = cudatest_noise(VQ_F32, width), *dx = cudatest_doubles(n);
	void *mdy = cudatest_memory(t, n, dy), *mdg = cudatest_memory(VQ_F32, width, dgamma), *mdb = cudatest_memory(VQ_F32, width, dbeta);
	s.act = VQ_FN_NONE;
	for (int i = 0; i < c; i++) {
		double sum = 0, product = 0, m = (double)msave[i], rstd = (double)msave[c + i];
		for (size_t r = 0, at = (size_t)i; r < rows; r++, at += width) {
			sum += g.mark[r] ? dy[at] : 0;
			product += g.mark[r] ? dy[at] * (x[at] - m) * rstd : 0;
		}
		dgamma[i] += product;
		dbeta[i] += sum;
		for (size_t r = 0, at = (size_t)i; r < rows; r++, at += width) {
			double taken = training && g.mark[r] == VQ_CUDA_VALID ? (sum + (x[at] - m) * rstd * product) / seen : 0;
			dx[at] = g.mark[r] ? gamma[i] * rstd * (dy[at] - taken) : 0;
		}
	}
	EACH_ORDER(vq_cuda_norm_bwd(NULL, s, mx, NULL, mdy, mg, mb, msave, NULL, NULL, mdg, mdb, NULL, scratch));
	CUDATEST_NEAR(VQ_F32, width, mdg, dgamma, 1e-5);
	CUDATEST_NEAR(VQ_F32, width, mdb, dbeta, 1e-5);
	EACH_ORDER(vq_cuda_norm_bwd(NULL, s, mx, NULL, mdy, mg, mb, msave, NULL, mdy, mdg, mdb, NULL, scratch));
	CUDATEST_NEAR(t, n, mdy, dx, seen == 1 ? 1e-2 : cudatest_limit(t));
	cudatest_end();
}

TEST(norms_that_clear)
{
	static const int widths[] = { 1, 8, 37, 300 };
	for (size_t i = 0; i < VQ_COUNT(types); i++)
		for (size_t k = 0; k < VQ_COUNT(widths); k++)
			for (int kind = 0; kind < CUDATEST_GRIDS; kind++)
				if (kind == CUDATEST_LARGE ? widths[k] == 8 : widths[k] < 300 || kind == CUDATEST_PACKED) {
					one_norm(types[i], (cudatest_kind)kind, widths[k], true, kind % 2);
					one_norm(types[i], (cudatest_kind)kind, widths[k], false, !(kind % 2));
				}
}

/* --- attention ------------------------------------------------------------------------------------------------------------- */

typedef struct { int d, c; const double *q, *k, *v, *dy; double *o, *dq, *dk, *dv; } naive;

/* One query at its row over the keys of its item. */
static void attend(naive *a, const vq_cuda_grid *g, size_t row, vq_rect r)
{
	double w[2000], gain[2000], top = -INFINITY, sum = 0, taken = 0;
	for (int j = 0; j < r.h * r.w; j++) {
		size_t key = ((size_t)r.n * (size_t)g->h + (size_t)(r.y + j / r.w)) * (size_t)g->w + (size_t)(r.x + j % r.w);
		w[j] = gain[j] = 0;
		for (int e = 0; e < a->d; e++)
			w[j] += a->q[row * (size_t)a->d + (size_t)e] * a->k[key * (size_t)a->d + (size_t)e];
		for (int e = 0; e < a->c; e++)
			gain[j] += a->dy[row * (size_t)a->c + (size_t)e] * a->v[key * (size_t)a->c + (size_t)e];
		top = fmax(top, w[j]);
	}
	for (int j = 0; j < r.h * r.w; j++)
		sum += w[j] = exp(w[j] - top);
	for (int j = 0; j < r.h * r.w; j++)
		taken += gain[j] * (w[j] /= sum);
	for (int j = 0; j < r.h * r.w; j++) {
		size_t key = ((size_t)r.n * (size_t)g->h + (size_t)(r.y + j / r.w)) * (size_t)g->w + (size_t)(r.x + j % r.w);
		for (int e = 0; e < a->c; e++) {
			a->o[row * (size_t)a->c + (size_t)e] += w[j] * a->v[key * (size_t)a->c + (size_t)e];
			a->dv[key * (size_t)a->c + (size_t)e] += w[j] * a->dy[row * (size_t)a->c + (size_t)e];
		}
		for (int e = 0; e < a->d; e++) {
			a->dq[row * (size_t)a->d + (size_t)e] += w[j] * (gain[j] - taken) * a->k[key * (size_t)a->d + (size_t)e];
			a->dk[key * (size_t)a->d + (size_t)e] += w[j] * (gain[j] - taken) * a->q[row * (size_t)a->d + (size_t)e];
		}
	}
}

static void one_attention(vq_dtype t, cudatest_kind kind, int d, int c)
{
	vq_cuda_step step = cudatest_step(kind);
	vq_cuda_grid g = cudatest_grid(kind);
	vq_cuda_attention_spec s = { t, g, d, c };
	size_t rows = cudatest_rows(g), nd = rows * (size_t)d, nc = rows * (size_t)c;
	double *q = cudatest_noise(t, nd), *k = cudatest_noise(t, nd), *v = cudatest_noise(t, nc), *dy = cudatest_noise(t, nc);
	naive a = { d, c, q, k, v, dy, cudatest_doubles(nc), cudatest_doubles(nd), cudatest_doubles(nd), cudatest_doubles(nc) };
	for (int i = 0; i < step.items; i++) {
		vq_rect e = g.places[i].extent;
		for (int j = 0; j < e.h * e.w; j++)
			attend(&a, &g, ((size_t)e.n * (size_t)g.h + (size_t)(e.y + j / e.w)) * (size_t)g.w + (size_t)(e.x + j % e.w), g.places[i].valid);
	}
	void *mq = cudatest_memory(t, nd, q), *mk = cudatest_memory(t, nd, k), *mv = cudatest_memory(t, nc, v), *mdy = cudatest_memory(t, nc, dy);
	void *o = cudatest_memory(t, nc, NULL), *dq = cudatest_memory(t, nd, NULL), *dk = cudatest_memory(t, nd, NULL), *dv = cudatest_memory(t, nc, NULL);
	void *scratch = cudatest_scratch(vq_cuda_attention_scratch(s));
	double limit = kind == CUDATEST_ONE ? 5e-2 : 3 * cudatest_limit(t); /* of one key: 0, and what rounding leaves of it */
	EACH_ORDER(vq_cuda_attention(NULL, &step, s, mq, mk, mv, o, scratch));
	CUDATEST_NEAR(t, nc, o, a.o, cudatest_limit(t));
	EACH_ORDER(vq_cuda_attention_bwd(NULL, &step, s, mq, mk, mv, o, mdy, dq, dk, dv, scratch));
	CUDATEST_NEAR(t, nd, dq, a.dq, limit);
	CUDATEST_NEAR(t, nd, dk, a.dk, limit);
	CUDATEST_NEAR(t, nc, dv, a.dv, 3 * cudatest_limit(t));
	cudatest_end();
}

TEST(attention_and_its_gradient)
{
	for (size_t i = 0; i < VQ_COUNT(types); i++) {
		for (int kind = 0; kind < CUDATEST_LARGE; kind++) {
			one_attention(types[i], (cudatest_kind)kind, 1, 1);
			one_attention(types[i], (cudatest_kind)kind, 5, 37);
			one_attention(types[i], (cudatest_kind)kind, 33, 130);
		}
	}
}

/* --- items of no size, steps of no items ------------------------------------------------------------------------------------ */

TEST(pools_and_resizes_of_nothing)
{
	for (size_t i = 0; i < VQ_COUNT(types); i++)
		for (int c = 3; c < 9; c += 5) {
			vq_dtype t = types[i];
			vq_cuda_step step = cudatest_step(CUDATEST_EMPTY);
			vq_cuda_grid a = cudatest_grid(CUDATEST_EMPTY), b = cudatest_grid(CUDATEST_EMPTY);
			size_t n = cudatest_rows(a) * (size_t)c, bins = (size_t)(a.items_max * 4 * c);
			double *none = cudatest_doubles(n);
			void *x = cudatest_memory(t, n, cudatest_noise(t, n)), *y = cudatest_memory(t, n, NULL), *p = cudatest_memory(t, bins, NULL), *dp = cudatest_memory(t, bins, NULL);
			EACH_ORDER(vq_cuda_pool(NULL, &step, t, a, 2, c, x, p));
			CUDATEST_NEAR(t, bins, p, none, 0);
			EACH_ORDER(vq_cuda_pool_bwd(NULL, &step, t, a, 2, c, dp, y));
			CUDATEST_NEAR(t, n, y, none, 0);
			memset(y, 0xff, n * (t == VQ_BF16 ? 2 : 4));
			EACH_ORDER(vq_cuda_resize(NULL, &step, t, a, b, c, x, y));
			CUDATEST_NEAR(t, n, y, none, 0);
			memset(y, 0xff, n * (t == VQ_BF16 ? 2 : 4));
			EACH_ORDER(vq_cuda_resize_bwd(NULL, &step, t, a, b, c, x, y));
			CUDATEST_NEAR(t, n, y, none, 0);
			cudatest_end();
		}
}

TEST_MAIN(RUN(losses) RUN(updates) RUN(norms_that_clear) RUN(attention_and_its_gradient) RUN(pools_and_resizes_of_nothing))
