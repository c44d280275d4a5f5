/* The reconstruction loss with its gradient, and the optimiser over the flat buffer. */
#include "lib/cuda/device.h"

template <int V>
__global__ void __launch_bounds__(BLOCK) loss(walk w, const vq_cuda_step *step, const uint8_t *mark, int power, int scale, const float *y, const float *target,
                                              const float *weight, float *dy, double *part)
{
	spot at(w);
	float k = scale_of(step, scale);
	double sum = 0;
	if (at.on)
		for (size_t r = at.first; r < w.rows; r += at.step) {
			size_t o = r * (size_t)w.c + (size_t)at.col * V;
			pack<float, V> a = get<float, V>(y + o), b = get<float, V>(target + o), g;
			bool use = mark[r] == VQ_CUDA_VALID;
			float wt = weight && use ? weight[r] : 1.f, s = 0;
			for (int j = 0; j < V; j++) {
				float d = a.v[j] - b.v[j];
				s += power == 2 ? wt * d * d : wt * fabsf(d);
				g.v[j] = use ? k * wt * (power == 2 ? 2 * d : d > 0 ? 1.f : d < 0 ? -1.f : 0.f) : 0.f;
			}
			if (use)
				sum += (double)s;
			if (dy)
				put<float, V>(dy + o, g);
		}
	sum = block_sum(sum);
	if (threadIdx.x == 0)
		part[(size_t)blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

static size_t rows_of(vq_cuda_grid g) { return (size_t)g.n * (size_t)g.h * (size_t)g.w; }

size_t vq_cuda_loss_scratch(vq_cuda_grid g, int c) { return sizeof(double) * PARTS_MAX * ((size_t)c / BLOCK + 1); }

int vq_cuda_loss(vq_cuda_stream s, const vq_cuda_step *step, vq_cuda_grid g, int c, int power, int scale, const float *y, const float *target,
                 const float *weight, float *dy, double *scalar, void *scratch)
{
	double *part = (double *)scratch;
	walk w = walk_of(rows_of(g), c, c % 4 ? 1 : 4, PARTS_MAX);
	VQ_DO(launch(c % 4 ? loss<1> : loss<4>, w.grid(), dim3(BLOCK), s, w, step, (const uint8_t *)g.mark, power, scale, y, target, weight, dy, part));
	return launch(sum_parts<double>, dim3(1), dim3(BLOCK), s, (int)(w.x * w.y), (const double *)part, scalar);
}

template <int V> __global__ void __launch_bounds__(BLOCK) squares(size_t packs, const float *g, double *part)
{
	double sum = 0;
	for (size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x; i < packs; i += (size_t)gridDim.x * BLOCK) {
		pack<float, V> a = get<float, V>(g + i * V);
		float s = 0;
		for (int j = 0; j < V; j++)
			s += a.v[j] * a.v[j];
		sum += (double)s;
	}
	sum = block_sum(sum);
	if (threadIdx.x == 0)
		part[blockIdx.x] = sum;
}

/* part[0] becomes the norm; *norm too */
__global__ void __launch_bounds__(BLOCK) find_norm(int n, double *part, double *norm)
{
	double s = 0;
	for (int i = (int)threadIdx.x; i < n; i += BLOCK)
		s += part[i];
	s = block_sum(s);
	if (threadIdx.x == 0) {
		part[0] = (double)(float)sqrt(s);
		if (norm)
			*norm = part[0];
	}
}

template <int V>
__global__ void __launch_bounds__(BLOCK) update(const vq_cuda_step *step, vq_optimizer o, size_t packs, float *g, float *m, float *v, float *w, const double *norm)
{
	float lr = step->lr, all = (float)*norm, factor = o.clip > 0 && all > o.clip ? o.clip / (all + 1e-6f) : 1.f;
	float rate = lr / step->c1, root = 1 / sqrtf(step->c2), keep = o.kind == VQ_ADAMW ? 1 - lr * o.weight_decay : 1.f;
	float l2 = o.kind == VQ_ADAMW ? 0.f : o.weight_decay;
	bool sgd = o.kind == VQ_SGD, first = step->first != 0;
	for (size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x; i < packs; i += (size_t)gridDim.x * BLOCK) {
		pack<float, V> gs = get<float, V>(g + i * V), ms = get<float, V>(m + i * V), ws = get<float, V>(w + i * V), vs, none = {};
		if (!sgd)
			vs = get<float, V>(v + i * V);
		for (int j = 0; j < V; j++) {
			float x = ws.v[j], d = gs.v[j] * factor + l2 * x;
			if (sgd) {
				ms.v[j] = first ? d : o.momentum * ms.v[j] + d;
				ws.v[j] = x - lr * (o.momentum > 0 ? ms.v[j] : d);
			} else {
				ms.v[j] = o.beta1 * ms.v[j] + (1 - o.beta1) * d;
				vs.v[j] = o.beta2 * vs.v[j] + (1 - o.beta2) * d * d;
				ws.v[j] = x * keep - rate * ms.v[j] / (sqrtf(vs.v[j]) * root + o.eps);
			}
		}
		put<float, V>(w + i * V, ws);
		put<float, V>(m + i * V, ms);
		if (!sgd)
			put<float, V>(v + i * V, vs);
		put<float, V>(g + i * V, none);
	}
}

size_t vq_cuda_optimize_scratch(size_t n) { return sizeof(double) * PARTS_MAX; }

int vq_cuda_optimize(vq_cuda_stream s, const vq_cuda_step *step, vq_optimizer o, size_t n, float *g, float *m, float *v, float *w, double *norm, void *scratch)
{
	double *part = (double *)scratch;
	size_t packs = n % 4 ? n : n / 4;
	unsigned blocks = blocks_for(packs, BLOCK * UNROLL, PARTS_MAX);
	VQ_DO(launch(n % 4 ? squares<1> : squares<4>, dim3(blocks), dim3(BLOCK), s, packs, (const float *)g, part));
	VQ_DO(launch(find_norm, dim3(1), dim3(BLOCK), s, (int)blocks, part, norm));
	return launch(n % 4 ? update<1> : update<4>, dim3(blocks_for(packs, BLOCK, BLOCKS_MAX)), dim3(BLOCK), s, step, o, packs, g, m, v, w, (const double *)part);
}

template <int V> __global__ void __launch_bounds__(BLOCK) average(float part, size_t packs, const float *w, float *mean)
{
	for (size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x; i < packs; i += (size_t)gridDim.x * BLOCK) {
		pack<float, V> a = get<float, V>(w + i * V), m = get<float, V>(mean + i * V);
		for (int j = 0; j < V; j++)
			m.v[j] += part * (a.v[j] - m.v[j]);
		put<float, V>(mean + i * V, m);
	}
}

int vq_cuda_average(vq_cuda_stream s, float decay, size_t n, const float *w, float *mean)
{
	size_t packs = n % 4 ? n : n / 4;
	return launch(n % 4 ? average<1> : average<4>, dim3(blocks_for(packs, BLOCK, BLOCKS_MAX)), dim3(BLOCK), s, 1 - decay, packs, w, mean);
}
