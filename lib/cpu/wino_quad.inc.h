/* Included by wino_kernels.c, after the others: F(4x4, 3x3) in f32. Points 0, 1, -1, 2, -2 and infinity (Lavin and Gray, Fast algorithms for
 * convolutional neural networks, 2016). */

enum { QUAD_BLOCK = 24 };

static size_t quad_filter_bytes(int k, int n) { return 36 * (size_t)k * (size_t)n * sizeof(float); }

/* G g */
INLINE void quad_taps(const lanes g[3], lanes u[6])
{
	lanes even = (g[0] + g[2]) * (1 / 6.f), far = g[0] * (1 / 24.f) + g[2] * (1 / 6.f);
	u[0] = g[0] * .25f;
	u[1] = g[1] * (-1 / 6.f) - even;
	u[2] = g[1] * (1 / 6.f) - even;
	u[3] = far + g[1] * (1 / 12.f);
	u[4] = far - g[1] * (1 / 12.f);
	u[5] = g[2];
}

/* B' d */
INLINE void quad_in(const lanes d[6], lanes v[6])
{
	lanes a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = 2 * (d[3] - d[1]);
	v[0] = 4 * (d[0] - d[2]) - (d[2] - d[4]);
	v[1] = a + b;
	v[2] = a - b;
	v[3] = c + e;
	v[4] = c - e;
	v[5] = 4 * (d[1] - d[3]) - (d[3] - d[5]);
}

/* A' m */
INLINE void quad_out(const lanes m[6], lanes y[4])
{
	lanes a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
	y[0] = m[0] + a + c;
	y[1] = b + 2 * d;
	y[2] = a + 4 * c;
	y[3] = b + 8 * d + m[5];
}

/* u [panel][36][k][channel of the panel] */
static void quad_filter(const float *w, int k, int n, bool turned, size_t from, size_t to, void *u)
{
	int width = panel_of(n);
	size_t steps = (size_t)k;
	for (size_t at = from; at < to; at++) {
		size_t step = at % steps, panel = at / steps;
		float *out = (float *)u + (panel * 36 * steps + step) * (size_t)width;
		for (int c = 0; c < width; c += LANES) {
			float g[9][LANES] __attribute__((aligned(64)));
			lanes t[6][3], column[3], six_of[6];
			int n0 = (int)panel * width + c;
			for (int l = 0; l < LANES; l++) {
				const float *f = w + ((size_t)(n0 + l) * (size_t)k + step) * 9;
				for (int i = 0; i < 9; i++)
					g[i][l] = f[i];
			}
			for (int j = 0; j < 3; j++) {
				for (int i = 0; i < 3; i++)
					column[i] = load(g[3 * i + j]);
				quad_taps(column, six_of);
				for (int i = 0; i < 6; i++)
					t[i][j] = six_of[i];
			}
			for (int i = 0; i < 6; i++) {
				quad_taps(t[i], six_of);
				for (int j = 0; j < 6; j++)
					store(out + (size_t)(6 * i + j) * steps * (size_t)width + c, six_of[j]);
			}
		}
	}
}

static size_t quad_forward_scratch(int k, int n) { return 36 * sizeof(float) * (N(apart)(QUAD_BLOCK, (size_t)k) + N(apart)(QUAD_BLOCK, WIDE * LANES)); }

static __attribute__((noinline)) void quads_in(const wino_conv *c, size_t from, size_t n, size_t rows, float *v)
{
	size_t words = (size_t)c->k, apart = N(apart)(QUAD_BLOCK, words);
	tile t = tile_at(from, 4, c->h, c->w);
	for (size_t r = 0; r < n; r++, tile_next(&t, c->h, c->w)) {
		const char *at[36];
		pixels(c->x, words * sizeof(float), &t, c->h, c->w, t.y - 1, t.x - 1, 6, c->zeros, at);
		for (int k = 0; k < c->k; k += LANES) {
			lanes rows_of[6][6], column[6], o[6];
			for (int j = 0; j < 6; j++) {
				for (int i = 0; i < 6; i++)
					column[i] = load((const float *)at[6 * i + j] + k);
				quad_in(column, o);
				for (int i = 0; i < 6; i++)
					rows_of[i][j] = o[i];
			}
			for (int i = 0; i < 6; i++) {
				quad_in(rows_of[i], o);
				for (int j = 0; j < 6; j++)
					store(v + (size_t)(6 * i + j) * apart + r * words + k, o[j]);
			}
		}
	}
	for (int i = 0; i < 36 && rows > n; i++)
		memset(v + (size_t)i * apart + n * words, 0, (rows - n) * words * sizeof *v);
}

static __attribute__((noinline)) void quads_out(const wino_conv *c, size_t from, size_t n, int n0, int width, const float *m)
{
	size_t apart = N(apart)(QUAD_BLOCK, (size_t)width), row = (size_t)c->w * (size_t)c->n;
	tile t = tile_at(from, 4, c->h, c->w);
	for (size_t r = 0; r < n; r++, tile_next(&t, c->h, c->w)) {
		float *out = (float *)c->y + (((size_t)t.image * (size_t)c->h + (size_t)t.y) * (size_t)c->w + (size_t)t.x) * (size_t)c->n + n0;
		int down = VQ_MIN(4, c->h - t.y), right = VQ_MIN(4, c->w - t.x);
		for (int j = 0; j < width; j += LANES) {
			lanes rows_of[4][6], v[6], y[4], b = c->bias ? (lanes)load(c->bias + n0 + j) : (lanes){0};
			for (int q = 0; q < 6; q++) {
				for (int i = 0; i < 6; i++)
					v[i] = load(m + (size_t)(6 * i + q) * apart + r * (size_t)width + j);
				quad_out(v, y);
				for (int i = 0; i < 4; i++)
					rows_of[i][q] = y[i];
			}
			for (int i = 0; i < down; i++) {
				quad_out(rows_of[i], y);
				for (int q = 0; q < right; q++)
					N(finish)(c, out + (size_t)i * row + (size_t)q * (size_t)c->n + j, y[q] + b);
			}
		}
	}
}

static void quad_forward(const wino_conv *c, size_t from, size_t to, void *scratch)
{
	int width = panel_of(c->n), wide = width / LANES;
	size_t words = (size_t)c->k, va = N(apart)(QUAD_BLOCK, words), ma = N(apart)(QUAD_BLOCK, (size_t)width);
	float *v = scratch, *m = v + 36 * va;
	for (size_t t = from; t < to; t += QUAD_BLOCK) {
		size_t n = VQ_MIN((size_t)QUAD_BLOCK, to - t), rows = VQ_ALIGN(n, (size_t)ROWS);
		quads_in(c, t, n, rows, v);
		for (int n0 = 0; n0 < c->n; n0 += width) {
			for (size_t i = 0; i < 36; i++)
				N(products)(rows, wide, words, v + i * va, words, 1, (const float *)c->u + ((size_t)(n0 / width) * 36 + i) * words * (size_t)width,
					(size_t)width, m + i * ma, (size_t)width, false);
			quads_out(c, t, n, n0, width, m);
		}
	}
}

extern const wino_kernels QUAD_TABLE;
const wino_kernels QUAD_TABLE = { ISA_NAME, 4, quad_filter_bytes, N(filter_steps), quad_filter, quad_forward_scratch, quad_forward, NULL, NULL, NULL };
