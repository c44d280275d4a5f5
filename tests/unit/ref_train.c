/* The codebook and the optimisers of tests/unit/ref.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/ref.h"

static double distance(int d, const double *a, const double *b)
{
	double sum = 0;
	for (int i = 0; i < d; i++)
		sum += (a[i] - b[i]) * (a[i] - b[i]);
	return sum;
}

void ref_nearest(int n, int d, int k, const double *z, const double *codes, const unsigned char *valid, int *index)
{
	for (int i = 0; i < n; i++) {
		double best = INFINITY;
		index[i] = -1;
		for (int j = 0; j < k && (!valid || valid[i]); j++) {
			double now = distance(d, &z[i * d], &codes[j * d]);
			if (now < best) {
				best = now;
				index[i] = j;
			}
		}
	}
}

static int count_valid(int n, const int *index)
{
	int count = 0;
	for (int i = 0; i < n; i++)
		count += index[i] >= 0;
	return count;
}

double ref_commitment(int n, int d, const double *z, const double *codes, const int *index, double beta, double *dz)
{
	double sum = 0, count = (double)count_valid(n, index) * d;
	if (dz)
		memset(dz, 0, (size_t)n * (size_t)d * sizeof *dz);
	for (int i = 0; i < n; i++) {
		if (index[i] < 0)
			continue;
		sum += distance(d, &z[i * d], &codes[index[i] * d]);
		for (int c = 0; dz && c < d; c++)
			dz[i * d + c] = beta * 2 * (z[i * d + c] - codes[index[i] * d + c]) / count;
	}
	return count > 0 ? beta * sum / count : 0;
}

double ref_codebook_loss(int n, int d, int k, const double *z, const double *codes, const int *index, double *dcodes)
{
	double sum = 0, count = (double)count_valid(n, index) * d;
	if (dcodes)
		memset(dcodes, 0, (size_t)k * (size_t)d * sizeof *dcodes);
	for (int i = 0; i < n; i++) {
		if (index[i] < 0)
			continue;
		sum += distance(d, &z[i * d], &codes[index[i] * d]);
		for (int c = 0; dcodes && c < d; c++)
			dcodes[index[i] * d + c] += 2 * (codes[index[i] * d + c] - z[i * d + c]) / count;
	}
	return count > 0 ? sum / count : 0;
}

void ref_ema(int n, int d, int k, const double *z, const int *index, double decay, double eps, double *count, double *sum, double *codes)
{
	double total = 0;
	for (int j = 0; j < k; j++) {
		count[j] *= decay;
		for (int c = 0; c < d; c++)
			sum[j * d + c] *= decay;
	}
	for (int i = 0; i < n; i++) {
		if (index[i] < 0)
			continue;
		count[index[i]] += 1 - decay;
		for (int c = 0; c < d; c++)
			sum[index[i] * d + c] += (1 - decay) * z[i * d + c];
	}
	for (int j = 0; j < k; j++)
		total += count[j];
	for (int j = 0; j < k; j++) {
		double smoothed = (count[j] + eps) / (total + k * eps) * total;
		for (int c = 0; c < d; c++)
			codes[j * d + c] = sum[j * d + c] / smoothed;
	}
}

static void adam(size_t n, double *p, const double *g, double *m, double *v, int step, double lr, double beta1, double beta2, double eps,
                 double coupled, double decoupled)
{
	for (size_t i = 0; i < n; i++) {
		double gi = g[i] + coupled * p[i];
		p[i] -= lr * decoupled * p[i];
		m[i] = beta1 * m[i] + (1 - beta1) * gi;
		v[i] = beta2 * v[i] + (1 - beta2) * gi * gi;
		double mean = m[i] / (1 - pow(beta1, step)), square = v[i] / (1 - pow(beta2, step));
		p[i] -= lr * mean / (sqrt(square) + eps);
	}
}

void ref_adamw(size_t n, double *p, const double *g, double *m, double *v, int step,
               double lr, double beta1, double beta2, double eps, double weight_decay)
{
	adam(n, p, g, m, v, step, lr, beta1, beta2, eps, 0, weight_decay);
}

void ref_adam(size_t n, double *p, const double *g, double *m, double *v, int step,
              double lr, double beta1, double beta2, double eps, double weight_decay)
{
	adam(n, p, g, m, v, step, lr, beta1, beta2, eps, weight_decay, 0);
}

void ref_sgd(size_t n, double *p, const double *g, double *buffer, double lr, double momentum, double weight_decay)
{
	for (size_t i = 0; i < n; i++) {
		buffer[i] = momentum * buffer[i] + g[i] + weight_decay * p[i];
		p[i] -= lr * buffer[i];
	}
}
