/* The CUDA kernels on the host, launcher by launcher against plain loops in f64: what looks at single elements and at rows of channels,
 * and the layouts of weights. And that the emulation shows a missing barrier. */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/cudatest.h"
#include "tests/unit/ref.h"
#include "tests/unit/test.h"

static const size_t counts[] = { 0, 1, 7, 8, 1031, 9216 };
static const vq_dtype types[] = { VQ_BF16, VQ_F32 };
static const vq_act acts[] = { VQ_FN_NONE, VQ_FN_RELU, VQ_FN_LEAKY, VQ_FN_SILU, VQ_FN_GELU };

static const vq_activation ref_of[] = { [VQ_FN_RELU] = VQ_ACT_RELU, [VQ_FN_LEAKY] = VQ_ACT_LEAKY_RELU, [VQ_FN_SILU] = VQ_ACT_SILU, [VQ_FN_GELU] = VQ_ACT_GELU };
static double act(vq_act a, double x) { return a == VQ_FN_NONE ? x : ref_act(ref_of[a], x); }
static double slope(vq_act a, double x) { return a == VQ_FN_NONE ? 1 : ref_act_slope(ref_of[a], x); }

/* --- the emulation itself -------------------------------------------------------------------------------------------- */

enum { THREADS = 64, BLOCKS = 3 };

typedef struct { bool first, second; int in[BLOCKS][THREADS], out[BLOCKS][THREADS]; } reversal;

static int shared_row[THREADS];

/* Each thread takes what the opposite one put there, twice. */
static void reverse_twice(void *context)
{
	reversal *r = context;
	int t = (int)threadIdx.x, b = (int)blockIdx.x, v = r->in[b][t];
	vq_emulate_shared(shared_row, sizeof shared_row);
	for (int i = 0; i < 2; i++) {
		shared_row[t] = v;
		if (r->first)
			vq_emulate_barrier(__LINE__);
		v = shared_row[THREADS - 1 - t] + 1;
		if (r->second)
			vq_emulate_barrier(__LINE__);
	}
	r->out[b][t] = v;
}

/* How many of four orders give what is right. */
static int orders_right(bool first, bool second)
{
	int right = 0;
	for (unsigned order = 0; order < 4; order++) {
		reversal r = { .first = first, .second = second };
		bool good = true;
		for (int i = 0; i < BLOCKS * THREADS; i++)
			r.in[i / THREADS][i % THREADS] = 3 * i;
		vq_emulate_order(order);
		vq_emulate_launch(reverse_twice, &r, (vq_emulated_index){ BLOCKS, 1, 1 }, (vq_emulated_index){ THREADS, 1, 1 });
		for (int i = 0; i < BLOCKS * THREADS; i++)
			good &= r.out[i / THREADS][i % THREADS] == 3 * i + 2;
		right += good;
	}
	return right;
}

TEST(a_missing_barrier_shows)
{
	CHECK(orders_right(true, true) == 4);
	CHECK(orders_right(false, true) < 4);
	CHECK(orders_right(true, false) < 4);
	CHECK(orders_right(false, false) < 4);
}

static void some_wait(void *context)
{
	if (threadIdx.x < *(unsigned *)context)
		vq_emulate_barrier(__LINE__);
	else
		vq_emulate_barrier(__LINE__);
}

static void some_leave(void *context)
{
	if (threadIdx.x >= *(unsigned *)context)
		vq_emulate_warp(__LINE__);
}

/* A launch in a process of its own; whether it came to an end. */
static bool ends(void (*kernel)(void *), unsigned threads)
{
	fflush(NULL);
	pid_t child = fork();
	if (!child) {
		fclose(stderr);
		vq_emulate_launch(kernel, &threads, (vq_emulated_index){ 1, 1, 1 }, (vq_emulated_index){ THREADS, 1, 1 });
		_exit(0);
	}
	int status = 0;
	CHECK(child > 0 && waitpid(child, &status, 0) == child);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(barriers_that_not_all_threads_reach_end_the_program)
{
	CHECK(ends(some_wait, THREADS));
	CHECK(!ends(some_wait, 40));
	CHECK(ends(some_leave, 32)); /* a warp leaves whole */
	CHECK(!ends(some_leave, 40));
}

/* --- elements ---------------------------------------------------------------------------------------------------------- */

static void one_act(vq_dtype t, vq_act a, size_t n, bool accumulate)
{
	double *x = cudatest_noise(t, n), *dy = cudatest_noise(t, n), *was = cudatest_noise(t, n), *y = cudatest_doubles(n), *dx = cudatest_doubles(n);
	for (size_t i = 0; i < n; i++) {
		y[i] = act(a, x[i]);
		dx[i] = slope(a, x[i]) * dy[i] + (accumulate ? was[i] : 0);
	}
	void *mx = cudatest_memory(t, n, x), *my = cudatest_memory(t, n, NULL), *mdx = cudatest_memory(t, n, accumulate ? was : NULL), *mdy = cudatest_memory(t, n, dy);
	EACH_ORDER(vq_cuda_act(NULL, t, a, n, mx, my));
	CUDATEST_NEAR(t, n, my, y, cudatest_limit(t));
	bool by_x = a == VQ_FN_SILU || a == VQ_FN_GELU;
	EACH_ORDER(vq_cuda_act_bwd(NULL, t, a, accumulate, n, by_x ? mx : NULL, by_x || a == VQ_FN_NONE ? NULL : my, mdy, mdx));
	CUDATEST_NEAR(t, n, mdx, dx, cudatest_limit(t));
	if (!accumulate) { /* in place */
		EACH_ORDER(vq_cuda_act_bwd(NULL, t, a, false, n, by_x ? mx : NULL, by_x ? NULL : my, mdy, mdy));
		CUDATEST_NEAR(t, n, mdy, dx, cudatest_limit(t));
		EACH_ORDER(vq_cuda_act(NULL, t, a, n, mx, mx));
		CUDATEST_NEAR(t, n, mx, y, cudatest_limit(t));
	}
	cudatest_end();
}

TEST(activations_and_their_gradients)
{
	for (size_t i = 0; i < VQ_COUNT(types); i++)
		for (size_t a = 0; a < VQ_COUNT(acts); a++)
			for (size_t k = 0; k < VQ_COUNT(counts); k++)
				for (int accumulate = 0; accumulate < 2; accumulate++)
					one_act(types[i], acts[a], counts[k], accumulate);
}

TEST(sums_casts_and_averages)
{
	for (size_t k = 0; k < VQ_COUNT(counts); k++)
		for (size_t i = 0; i < VQ_COUNT(types); i++) {
			vq_dtype t = types[i], other = types[!i];
			size_t n = counts[k];
			double *a = cudatest_noise(t, n), *b = cudatest_noise(t, n), *want = cudatest_doubles(n);
			void *ma = cudatest_memory(t, n, a), *mb = cudatest_memory(t, n, b), *y = cudatest_memory(t, n, NULL), *z = cudatest_memory(other, n, NULL);
			float gamma = -.7f;
			EACH_ORDER(vq_cuda_cast(NULL, t, other, n, ma, z));
			CUDATEST_NEAR(other, n, z, a, cudatest_limit(other));
			EACH_ORDER(vq_cuda_cast(NULL, t, t, n, ma, y));
			CUDATEST_NEAR(t, n, y, a, 0);
			for (size_t j = 0; j < n; j++)
				want[j] = a[j] + (double)gamma * b[j];
			EACH_ORDER(vq_cuda_gate(NULL, t, n, ma, mb, &gamma, y));
			CUDATEST_NEAR(t, n, y, want, cudatest_limit(t));
			for (size_t j = 0; j < n; j++)
				want[j] = t == VQ_F32 ? a[j] - b[j] : a[j] + b[j];
			EACH_ORDER(t == VQ_F32 ? vq_cuda_residual(NULL, n, ma, mb, ma) : vq_cuda_add(NULL, t, n, ma, mb, ma));
			CUDATEST_NEAR(t, n, ma, want, cudatest_limit(t));
			if (t == VQ_F32) { /* b is the mean */
				for (size_t j = 0; j < n; j++)
					want[j] = b[j] + (1 - .9) * (a[j] - b[j] - b[j]);
				EACH_ORDER(vq_cuda_average(NULL, .9f, n, ma, mb));
				CUDATEST_NEAR(t, n, mb, want, cudatest_limit(t));
			}
			cudatest_end();
		}
}

TEST(the_gate_s_gradient)
{
	for (size_t k = 0; k < VQ_COUNT(counts); k++)
		for (size_t i = 0; i < 2 * VQ_COUNT(types); i++) {
			vq_dtype t = types[i / 2];
			size_t n = counts[k];
			double *o = cudatest_noise(t, n), *dy = cudatest_noise(t, n), *d_o = cudatest_doubles(n), sum = 3, all = 1;
			float gamma = .3f, three = 3;
			for (size_t j = 0; j < n; j++) {
				d_o[j] = (double)gamma * dy[j];
				sum += o[j] * dy[j];
				all += fabs(o[j] * dy[j]);
			}
			void *mo = cudatest_memory(t, n, o), *mdy = cudatest_memory(t, n, dy), *out = cudatest_memory(t, n, NULL), *scratch = cudatest_scratch(vq_cuda_gate_bwd_scratch(n));
			float *dgamma = cudatest_memory(VQ_F32, 1, (double[]){ (double)three });
			EACH_ORDER(vq_cuda_gate_bwd(NULL, t, n, mo, mdy, &gamma, i % 2 ? NULL : out, dgamma, scratch));
			CHECK_NEAR((double)*dgamma, sum, 1e-6 * all);
			if (!(i % 2))
				CUDATEST_NEAR(t, n, out, d_o, cudatest_limit(t));
			cudatest_end();
		}
}

TEST(what_is_not_finite_is_found)
{
	static const double bad[] = { NAN, INFINITY, -INFINITY };
	for (size_t i = 0; i < VQ_COUNT(types); i++)
		for (size_t k = 0; k < VQ_COUNT(counts); k++)
			for (int at = -1; at < 3; at++) {
				size_t n = counts[k];
				double *x = cudatest_noise(types[i], n);
				if (at >= 0 && n)
					x[at == 0 ? 0 : at == 1 ? n - 1 : n / 2] = bad[at];
				void *mx = cudatest_memory(types[i], n, x);
				int32_t *flag = cudatest_memory(VQ_I32, 1, (double[]){ 0 });
				EACH_ORDER(vq_cuda_not_finite(NULL, types[i], n, mx, flag));
				CHECK(*flag == (at >= 0 && n > 0));
				cudatest_end();
			}
}

/* --- rows -------------------------------------------------------------------------------------------------------------- */

static const int widths[] = { 1, 3, 8, 40, 301 };

TEST(marks)
{
	for (int kind = 0; kind < CUDATEST_GRIDS; kind++) {
		vq_cuda_step step = cudatest_step((cudatest_kind)kind);
		vq_cuda_grid g = cudatest_grid((cudatest_kind)kind);
		int64_t extent = 0, valid = 0;
		for (size_t r = 0; r < cudatest_rows(g); r++) {
			int want = !g.places && (int)r < step.items ? VQ_CUDA_VALID : VQ_CUDA_GAP, n = (int)r / (g.h * g.w), y = (int)r / g.w % g.h, x = (int)r % g.w;
			for (int i = 0; g.places && i < step.items; i++)
				for (int k = 0; k < 2; k++) {
					vq_rect e = k ? g.places[i].valid : g.places[i].extent;
					if (e.n == n && y >= e.y && y < e.y + e.h && x >= e.x && x < e.x + e.w)
						want = k ? VQ_CUDA_VALID : VQ_CUDA_EXTENT;
				}
			CHECK(g.mark[r] == want);
			extent += want != VQ_CUDA_GAP;
			valid += want == VQ_CUDA_VALID;
		}
		CHECK(g.count[0] == extent && g.count[1] == valid);
		EACH_ORDER(vq_cuda_mark(NULL, &step, g));
		CHECK(g.count[0] == extent && g.count[1] == valid);
		cudatest_end();
	}
}

static void one_clear(vq_dtype t, cudatest_kind kind, int c)
{
	vq_cuda_grid g = cudatest_grid(kind);
	size_t n = cudatest_rows(g) * (size_t)c;
	double *x = cudatest_noise(t, n);
	void *m = cudatest_memory(t, n, x);
	for (size_t i = 0; i < n; i++)
		x[i] = g.mark[i / (size_t)c] ? x[i] : 0;
	EACH_ORDER(vq_cuda_clear(NULL, t, g, c, m));
	CUDATEST_NEAR(t, n, m, x, 0);
	cudatest_end();
}

/* what: bits for bias, sum, mark, in place (in the sum, when there is one) */
static void one_bias_act(vq_dtype t, cudatest_kind kind, int c, vq_act a, int what)
{
	vq_cuda_grid g = cudatest_grid(kind);
	size_t rows = cudatest_rows(g), n = rows * (size_t)c;
	double *x = cudatest_noise(t, n), *bias = cudatest_noise(VQ_F32, (size_t)c), *sum = cudatest_noise(t, n), *y = cudatest_doubles(n);
	for (size_t i = 0; i < n; i++)
		y[i] = what & 4 && !g.mark[i / (size_t)c] ? 0 : act(a, x[i] + (what & 1 ? bias[i % (size_t)c] : 0) + (what & 2 ? sum[i] : 0));
	void *mx = cudatest_memory(t, n, x), *mb = cudatest_memory(VQ_F32, (size_t)c, bias), *ms = cudatest_memory(t, n, sum), *my = cudatest_memory(t, n, NULL);
	void *out = what & 8 ? what & 2 ? ms : mx : my;
	EACH_ORDER(vq_cuda_bias_act(NULL, t, a, rows, c, mx, what & 1 ? mb : NULL, what & 2 ? ms : NULL, what & 4 ? g.mark : NULL, out));
	CUDATEST_NEAR(t, n, out, y, cudatest_limit(t));
	cudatest_end();
}

static void one_bias_grad(vq_dtype t, cudatest_kind kind, int c, bool marked)
{
	vq_cuda_grid g = cudatest_grid(kind);
	size_t rows = cudatest_rows(g), n = rows * (size_t)c;
	double *dy = cudatest_noise(t, n), *db = cudatest_noise(VQ_F32, (size_t)c);
	void *mdy = cudatest_memory(t, n, dy), *mdb = cudatest_memory(VQ_F32, (size_t)c, db), *scratch = cudatest_scratch(vq_cuda_bias_grad_scratch(rows, c));
	for (size_t i = 0; i < n; i++)
		db[i % (size_t)c] += marked && !g.mark[i / (size_t)c] ? 0 : dy[i];
	EACH_ORDER(vq_cuda_bias_grad(NULL, t, rows, c, mdy, marked ? g.mark : NULL, mdb, scratch));
	CUDATEST_NEAR(VQ_F32, (size_t)c, mdb, db, 1e-5);
	cudatest_end();
}

TEST(clearing_and_biases)
{
	for (size_t i = 0; i < VQ_COUNT(types); i++)
		for (size_t k = 0; k < VQ_COUNT(widths); k++)
			for (int kind = 0; kind < CUDATEST_GRIDS; kind++) {
				if (kind == CUDATEST_LARGE && widths[k] > 40)
					continue;
				int n = (int)i + 2 * (int)k + 3 * kind;
				one_clear(types[i], (cudatest_kind)kind, widths[k]);
				one_bias_act(types[i], (cudatest_kind)kind, widths[k], acts[n % 5], n % 16);
				one_bias_act(types[i], (cudatest_kind)kind, widths[k], acts[(n + 2) % 5], (5 * n + 7) % 16);
				one_bias_grad(types[i], (cudatest_kind)kind, widths[k], false);
				one_bias_grad(types[i], (cudatest_kind)kind, widths[k], true);
			}
}

/* --- weights ------------------------------------------------------------------------------------------------------------ */

enum { WEIGHTS = 4 };
static const struct { int a, b, k, a_pad, b_pad; } shapes[WEIGHTS] = { { 5, 3, 3, 8, 8 }, { 16, 1, 1, 16, 1 }, { 1, 7, 4, 1, 8 }, { 40, 24, 3, 40, 24 } };

TEST(weights_are_packed_and_unpacked)
{
	for (size_t i = 0; i < VQ_COUNT(types); i++) {
		double *plain[WEIGHTS], *packed[WEIGHTS], *added[WEIGHTS];
		vq_cuda_weight made[WEIGHTS];
		size_t most = 0;
		for (int w = 0; w < WEIGHTS; w++) {
			int a = shapes[w].a, b = shapes[w].b, k = shapes[w].k, ap = shapes[w].a_pad, bp = shapes[w].b_pad;
			size_t n = (size_t)(a * b * k * k), np = (size_t)(ap * bp * k * k);
			plain[w] = cudatest_noise(types[i], n);
			packed[w] = cudatest_doubles(np);
			added[w] = cudatest_doubles(n);
			most = VQ_MAX(most, np);
			made[w] = (vq_cuda_weight){ cudatest_memory(VQ_F32, n, plain[w]), cudatest_memory(types[i], np, NULL), types[i], a, b, k, ap, bp };
			for (int x = 0; x < a; x++)
				for (int y = 0; y < b; y++)
					for (int q = 0; q < k * k; q++) {
						packed[w][(x * k * k + q) * bp + y] = plain[w][(x * b + y) * k * k + q];
						added[w][(x * b + y) * k * k + q] = 2 * plain[w][(x * b + y) * k * k + q];
					}
		}
		EACH_ORDER(vq_cuda_pack(NULL, made, WEIGHTS, most));
		for (int w = 0; w < WEIGHTS; w++)
			CUDATEST_NEAR(types[i], (size_t)(made[w].a_pad * made[w].b_pad * made[w].k * made[w].k), made[w].packed, packed[w], 0);
		EACH_ORDER(vq_cuda_unpack_add(NULL, made, WEIGHTS, most));
		for (int w = 0; w < WEIGHTS; w++)
			CUDATEST_NEAR(VQ_F32, (size_t)(made[w].a * made[w].b * made[w].k * made[w].k), made[w].plain, added[w], 0);
		CHECK(!vq_cuda_pack(NULL, made, 0, 0));
		cudatest_end();
	}
}

TEST_MAIN(RUN(a_missing_barrier_shows) RUN(barriers_that_not_all_threads_reach_end_the_program) RUN(activations_and_their_gradients) RUN(sums_casts_and_averages)
	RUN(the_gate_s_gradient) RUN(what_is_not_finite_is_found) RUN(marks) RUN(clearing_and_biases) RUN(weights_are_packed_and_unpacked))
