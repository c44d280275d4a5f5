/* Batch normalisation whose statistics see valid positions only, with the residual and the activation in the same pass. */
#include "lib/cuda/device.h"

/* Scratch: parts of blocks, then what the channels' finish leaves for the pass that follows. */
struct parts { float *a, *b; int *n; float *s0, *s1; };

static parts parts_of(void *scratch, int c)
{
	float *f = (float *)scratch;
	size_t m = (size_t)PARTS_MAX * (size_t)c;
	return parts{ f, f + m, (int *)(f + 2 * m), f + 2 * m + PARTS_MAX, f + 2 * m + PARTS_MAX + c };
}

size_t vq_cuda_norm_scratch(vq_cuda_norm_spec n) { return sizeof(float) * (PARTS_MAX * (2 * (size_t)n.c + 1) + 2 * (size_t)n.c); }

/* Mean and sum of squares about it, of what a thread saw and then of the block: Welford's step, Chan's merging. */
template <class T, int V> __global__ void __launch_bounds__(BLOCK) statistics(walk w, const T *x, const uint8_t *mark, parts p)
{
	VQ_SHARED(float, mean, [V][BLOCK]);
	VQ_SHARED(float, square, [V][BLOCK]);
	VQ_SHARED(int, seen, [BLOCK]);
	spot at(w);
	int t = (int)threadIdx.x, n = 0;
	float m[V] = {}, q[V] = {};
	if (at.on)
		for (size_t r0 = at.first; r0 < w.rows; r0 += at.step * UNROLL) {
			pack<T, V> a[UNROLL];
			bool use[UNROLL];
#pragma unroll
			for (int u = 0; u < UNROLL; u++) {
				size_t r = r0 + at.step * (size_t)u;
				use[u] = r < w.rows && mark[r] == VQ_CUDA_VALID;
				if (use[u])
					a[u] = get<T, V>(x + r * (size_t)w.c + (size_t)at.col * V);
			}
#pragma unroll
			for (int u = 0; u < UNROLL; u++) {
				if (!use[u])
					continue;
				float one = 1.f / (float)++n;
				for (int j = 0; j < V; j++) {
					float v = to_f32(a[u].v[j]), d = v - m[j];
					m[j] += d * one;
					q[j] += d * (v - m[j]);
				}
			}
		}
	for (int j = 0; j < V; j++) {
		mean[j][t] = m[j];
		square[j][t] = q[j];
	}
	seen[t] = n;
	__syncthreads();
	for (int live = w.per; live > 1;) {
		int half = (live + 1) / 2, o = t + half * w.lanes;
		bool mine = at.row + half < live;
		int na = mine ? seen[t] : 0, nb = mine ? seen[o] : 0;
		if (nb)
			for (int j = 0; j < V; j++) {
				float d = mean[j][o] - mean[j][t], share = (float)nb / (float)(na + nb);
				mean[j][t] += d * share;
				square[j][t] += square[j][o] + d * d * (float)na * share;
			}
		__syncthreads();
		if (mine)
			seen[t] = na + nb;
		__syncthreads();
		live = half;
	}
	if (at.on && at.row == 0) {
		for (int j = 0; j < V; j++) {
			size_t o = (size_t)blockIdx.x * (size_t)w.c + (size_t)(at.col * V + j);
			p.a[o] = mean[j][t];
			p.b[o] = square[j][t];
		}
		if (at.col == 0)
			p.n[blockIdx.x] = seen[t];
	}
}

/* Three sums over 8 groups of parts, in the threads of group 0. */
static __device__ void join_groups(double *a, double *b, double *c)
{
	VQ_SHARED(double, sh, [3][8][32]);
	int lane = (int)threadIdx.x % 32, group = (int)threadIdx.x / 32;
	sh[0][group][lane] = *a;
	sh[1][group][lane] = *b;
	sh[2][group][lane] = *c;
	__syncthreads();
	for (int i = 1; i < 8 && group == 0; i++) {
		*a += sh[0][i][lane];
		*b += sh[1][i][lane];
		*c += sh[2][i][lane];
	}
}

__global__ void __launch_bounds__(BLOCK) finish_statistics(int blocks, int c, bool training, float momentum, float eps, const int64_t *count, parts p,
                                                           float *running_mean, float *running_var, float *save)
{
	int lane = (int)threadIdx.x % 32, group = (int)threadIdx.x / 32, ch = (int)blockIdx.x * 32 + lane;
	double n = (double)count[1], s = 0, s2 = 0, q = 0;
	for (int b = group; training && b < blocks && ch < c; b += 8) {
		size_t o = (size_t)b * (size_t)c + (size_t)ch;
		double k = (double)p.n[b];
		if (k > 0) {
			double m = (double)p.a[o];
			s += k * m;
			s2 += k * m * m;
			q += (double)p.b[o];
		}
	}
	join_groups(&s, &s2, &q);
	if (group || ch >= c)
		return;
	if (!training || !(n > 0)) {
		save[ch] = running_mean[ch];
		save[c + ch] = (float)(1 / sqrt((double)running_var[ch] + (double)eps));
		return;
	}
	double mean = s / n, var = (q + (s2 - s * mean)) / n;
	var = var > 0 ? var : 0;
	save[ch] = (float)mean;
	save[c + ch] = (float)(1 / sqrt(var + (double)eps));
	running_mean[ch] += momentum * (save[ch] - running_mean[ch]);
	running_var[ch] += momentum * ((float)(n > 1 ? var * n / (n - 1) : var) - running_var[ch]);
}

template <class T, int V>
__global__ void __launch_bounds__(BLOCK) normalise(walk w, int act, const T *x, const float *gamma, const float *beta, const float *save, const T *res,
                                                   const uint8_t *mark, T *y)
{
	enum { MANY = 2 };
	spot at(w);
	if (!at.on)
		return;
	float scale[V], shift[V];
	for (int j = 0; j < V; j++) {
		int ch = at.col * V + j;
		scale[j] = gamma[ch] * save[w.c + ch];
		shift[j] = beta[ch] - save[ch] * scale[j];
	}
	for (size_t r0 = at.first; r0 < w.rows; r0 += at.step * MANY) {
		pack<T, V> a[MANY], q[MANY];
#pragma unroll
		for (int u = 0; u < MANY; u++) {
			size_t r = r0 + at.step * (size_t)u, o = r * (size_t)w.c + (size_t)at.col * V;
			if (r < w.rows) {
				a[u] = get<T, V>(x + o);
				if (res)
					q[u] = get<T, V>(res + o);
			}
		}
#pragma unroll
		for (int u = 0; u < MANY; u++) {
			size_t r = r0 + at.step * (size_t)u;
			if (r >= w.rows)
				break;
			float f[V];
			bool gap = mark && mark[r] == VQ_CUDA_GAP;
			for (int j = 0; j < V; j++)
				f[j] = to_f32(a[u].v[j]) * scale[j] + shift[j] + (res ? to_f32(q[u].v[j]) : 0.f);
			act_of<V>(act, f);
			for (int j = 0; j < V; j++)
				from_f32(&a[u].v[j], gap ? 0.f : f[j]);
			put<T, V>(y + r * (size_t)w.c + (size_t)at.col * V, a[u]);
		}
	}
}

static size_t rows_of(vq_cuda_grid g) { return (size_t)g.n * (size_t)g.h * (size_t)g.w; }

int vq_cuda_norm(vq_cuda_stream s, vq_cuda_norm_spec n, const void *x, const float *gamma, const float *beta, float *running_mean, float *running_var,
                 const void *res, void *y, float *save, void *scratch)
{
	parts p = parts_of(scratch, n.c);
	const uint8_t *mark = n.g.mark, *gaps = n.clear ? mark : NULL;
	int blocks = 0;
	if (n.training)
		BY_TYPE(n.t, n.c, walk w = walk_of(rows_of(n.g), n.c, V, PARTS_MAX); blocks = (int)w.x;
			VQ_DO(launch(statistics<T, V>, w.grid(), dim3(BLOCK), s, w, (const T *)x, mark, p)));
	VQ_DO(launch(finish_statistics, dim3((unsigned)(n.c + 31) / 32), dim3(BLOCK), s, blocks, n.c, n.training, n.momentum, n.eps, (const int64_t *)n.g.count, p,
		running_mean, running_var, save));
	BY_TYPE(n.t, n.c, walk w = walk_of(rows_of(n.g), n.c, V, BLOCKS_MAX);
		return launch(normalise<T, V>, w.grid(), dim3(BLOCK), s, w, (int)n.act, (const T *)x, gamma, beta, (const float *)save, (const T *)res, gaps, (T *)y));
}

/* --- backward ------------------------------------------------------------------------------------------------------------ */

struct grad_in {
	int act;
	const float *gamma, *beta, *save;
	const void *x, *res, *y, *dy;
};

/* What a thread knows of its channels. S: smooth activations, whose slope takes what went into them. */
template <class T, int V, bool S> struct channels {
	float mean[V], rstd[V], gamma[V], beta[V];
	__device__ __forceinline__ channels(const walk &w, const spot &at, const grad_in &i)
	{
		for (int j = 0; j < V; j++) {
			int ch = at.col * V + j;
			mean[j] = i.save[ch];
			rstd[j] = i.save[w.c + ch];
			gamma[j] = i.gamma[ch];
			beta[j] = S ? i.beta[ch] : 0.f;
		}
	}
	/* g = dy act', xhat, at offset o */
	__device__ __forceinline__ void slopes(const grad_in &i, const pack<T, V> &x, const pack<T, V> &dy, size_t o, float *g, float *xhat) const
	{
		float f[V];
		for (int j = 0; j < V; j++) {
			xhat[j] = (to_f32(x.v[j]) - mean[j]) * rstd[j];
			g[j] = to_f32(dy.v[j]);
			f[j] = xhat[j] * gamma[j] + beta[j];
		}
		if (S && i.res) {
			pack<T, V> r = get<T, V>((const T *)i.res + o);
			for (int j = 0; j < V; j++)
				f[j] += to_f32(r.v[j]);
		}
		if (!S && i.act != VQ_FN_NONE) {
			pack<T, V> y = get<T, V>((const T *)i.y + o);
			for (int j = 0; j < V; j++)
				f[j] = to_f32(y.v[j]);
		}
		slope_of<V>(i.act, f, g);
	}
};

template <class T, int V, bool S> __global__ void __launch_bounds__(BLOCK) gradient_sums(walk w, grad_in i, const uint8_t *mark, parts p)
{
	VQ_SHARED(float, sh, [2 * V * BLOCK]);
	enum { MANY = 2 };
	spot at(w);
	float s[2 * V] = {};
	if (at.on) {
		channels<T, V, S> ch(w, at, i);
		for (size_t r0 = at.first; r0 < w.rows; r0 += at.step * MANY) {
			pack<T, V> x[MANY], dy[MANY];
			bool use[MANY];
#pragma unroll
			for (int u = 0; u < MANY; u++) {
				size_t r = r0 + at.step * (size_t)u, o = r * (size_t)w.c + (size_t)at.col * V;
				use[u] = r < w.rows && mark[r] != VQ_CUDA_GAP;
				if (use[u]) {
					x[u] = get<T, V>((const T *)i.x + o);
					dy[u] = get<T, V>((const T *)i.dy + o);
				}
			}
#pragma unroll
			for (int u = 0; u < MANY; u++) {
				if (!use[u])
					continue;
				float g[V], xhat[V];
				ch.slopes(i, x[u], dy[u], (r0 + at.step * (size_t)u) * (size_t)w.c + (size_t)at.col * V, g, xhat);
				for (int j = 0; j < V; j++) {
					s[j] += g[j];
					s[V + j] += g[j] * xhat[j];
				}
			}
		}
	}
	sum_rows<2 * V>(w, at, sh, s);
	if (at.on && at.row == 0)
		for (int j = 0; j < V; j++) {
			size_t o = (size_t)blockIdx.x * (size_t)w.c + (size_t)(at.col * V + j);
			p.a[o] = s[j];
			p.b[o] = s[V + j];
		}
}

__global__ void __launch_bounds__(BLOCK) finish_gradient(int blocks, int c, bool training, const int64_t *count, parts p, float *dgamma, float *dbeta)
{
	int lane = (int)threadIdx.x % 32, group = (int)threadIdx.x / 32, ch = (int)blockIdx.x * 32 + lane;
	double n = (double)count[1], s = 0, q = 0, none = 0;
	for (int b = group; b < blocks && ch < c; b += 8) {
		size_t o = (size_t)b * (size_t)c + (size_t)ch;
		s += (double)p.a[o];
		q += (double)p.b[o];
	}
	join_groups(&s, &q, &none);
	if (group || ch >= c)
		return;
	dbeta[ch] += (float)s;
	dgamma[ch] += (float)q;
	p.s0[ch] = training && n > 0 ? (float)(s / n) : 0.f;
	p.s1[ch] = training && n > 0 ? (float)(q / n) : 0.f;
}

template <class T, int V, bool S> __global__ void __launch_bounds__(BLOCK) gradient(walk w, grad_in i, const uint8_t *mark, parts p, T *dx, T *dres)
{
	enum { MANY = 2 };
	spot at(w);
	if (!at.on)
		return;
	channels<T, V, S> ch(w, at, i);
	float s0[V], s1[V];
	for (int j = 0; j < V; j++) {
		s0[j] = p.s0[at.col * V + j];
		s1[j] = p.s1[at.col * V + j];
	}
	for (size_t r0 = at.first; r0 < w.rows; r0 += at.step * MANY) {
		pack<T, V> x[MANY], dy[MANY];
		uint8_t kind[MANY];
#pragma unroll
		for (int u = 0; u < MANY; u++) {
			size_t r = r0 + at.step * (size_t)u, o = r * (size_t)w.c + (size_t)at.col * V;
			kind[u] = VQ_CUDA_GAP;
			if (r < w.rows) {
				kind[u] = mark[r];
				x[u] = get<T, V>((const T *)i.x + o);
				dy[u] = get<T, V>((const T *)i.dy + o);
			}
		}
#pragma unroll
		for (int u = 0; u < MANY; u++) {
			size_t r = r0 + at.step * (size_t)u, o = r * (size_t)w.c + (size_t)at.col * V;
			if (r >= w.rows)
				break;
			float g[V], xhat[V];
			ch.slopes(i, x[u], dy[u], o, g, xhat);
			pack<T, V> a, b;
			for (int j = 0; j < V; j++) {
				float k = kind[u] == VQ_CUDA_GAP ? 0.f : g[j], seen = kind[u] == VQ_CUDA_VALID ? s0[j] + xhat[j] * s1[j] : 0.f;
				from_f32(&a.v[j], kind[u] == VQ_CUDA_GAP ? 0.f : ch.gamma[j] * ch.rstd[j] * (k - seen));
				from_f32(&b.v[j], k);
			}
			if (dx)
				put<T, V>(dx + o, a);
			if (dres)
				put<T, V>(dres + o, b);
		}
	}
}

template <class T, int V, bool S>
static int backward(vq_cuda_stream s, const vq_cuda_norm_spec &n, const grad_in &i, void *dx, float *dgamma, float *dbeta, void *dres, parts p)
{
	const uint8_t *mark = n.g.mark;
	walk w = walk_of(rows_of(n.g), n.c, V, PARTS_MAX), all = walk_of(rows_of(n.g), n.c, V, BLOCKS_MAX);
	VQ_DO(launch(gradient_sums<T, V, S>, w.grid(), dim3(BLOCK), s, w, i, mark, p));
	VQ_DO(launch(finish_gradient, dim3((unsigned)(n.c + 31) / 32), dim3(BLOCK), s, (int)w.x, n.c, n.training, (const int64_t *)n.g.count, p, dgamma, dbeta));
	if (!dx && !dres)
		return 0;
	return launch(gradient<T, V, S>, all.grid(), dim3(BLOCK), s, all, i, mark, p, (T *)dx, (T *)dres);
}

int vq_cuda_norm_bwd(vq_cuda_stream s, vq_cuda_norm_spec n, const void *x, const void *y, const void *dy, const float *gamma, const float *beta,
                     const float *save, const void *res, void *dx, float *dgamma, float *dbeta, void *dres, void *scratch)
{
	parts p = parts_of(scratch, n.c);
	grad_in i = { (int)n.act, gamma, beta, save, x, res, y, dy };
	if (from_x(n.act))
		BY_TYPE(n.t, n.c, return (backward<T, V, true>(s, n, i, dx, dgamma, dbeta, dres, p)));
	BY_TYPE(n.t, n.c, return (backward<T, V, false>(s, n, i, dx, dgamma, dbeta, dres, p)));
}
