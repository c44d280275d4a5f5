/* Included by wino_kernels.c for its type: T, N, TABLE, and what it defines beside them. */

/* c [rows, width] (+)= a b over `steps`: a(r, s) at a[r * across + s * along], b [steps, apart]; width is wide * LANES. */
INLINE void N(product)(int rows, int wide, size_t steps, const float *a, size_t across, size_t along, const float *b, size_t apart, float *c, size_t ldc, bool add)
{
	lanes s[12][4];
	for (int i = 0; i < rows; i++)
		for (int j = 0; j < wide; j++)
			s[i][j] = add ? (lanes)load(c + (size_t)i * ldc + (size_t)j * LANES) : (lanes){0};
	for (size_t k = 0; k < steps; k++, a += along, b += apart) {
		lanes e[4];
		for (int j = 0; j < wide; j++)
			e[j] = load(b + j * LANES);
		for (int i = 0; i < rows; i++)
			for (int j = 0; j < wide; j++)
				s[i][j] = N(times)(s[i][j], a + (size_t)i * across, e[j]);
	}
	for (int i = 0; i < rows; i++)
		for (int j = 0; j < wide; j++)
			store(c + (size_t)i * ldc + (size_t)j * LANES, s[i][j]);
}

enum { ROWS = 2 /* products take rows in multiples of it */ };

/* Blocks of rows, the largest first: all the sums that the registers hold. */
INLINE void N(blocks)(int most, size_t rows, int wide, size_t steps, const float *a, size_t across, size_t along, const float *b, size_t apart, float *c, size_t ldc, bool add)
{
	size_t r = 0;
	for (; r + (size_t)most <= rows; r += (size_t)most)
		N(product)(most, wide, steps, a + r * across, across, along, b, apart, c + r * ldc, ldc, add);
	for (; r + 4 <= rows; r += 4)
		N(product)(4, wide, steps, a + r * across, across, along, b, apart, c + r * ldc, ldc, add);
	for (; r < rows; r += 2)
		N(product)(2, wide, steps, a + r * across, across, along, b, apart, c + r * ldc, ldc, add);
}

static __attribute__((noinline)) void N(products)(size_t rows, int wide, size_t steps, const float *a, size_t across, size_t along, const float *b, size_t apart,
                                                   float *c, size_t ldc, bool add)
{
	if (wide == 4)
		N(blocks)(6, rows, 4, steps, a, across, along, b, apart, c, ldc, add);
	else if (wide == 2)
		N(blocks)(LANES == 16 ? 8 : 6, rows, 2, steps, a, across, along, b, apart, c, ldc, add);
	else
		N(blocks)(LANES == 16 ? 12 : 8, rows, 1, steps, a, across, along, b, apart, c, ldc, add);
}

/* --- forward, and the gradient by data ------------------------------------------------------------------------------ */

static size_t N(filter_bytes)(int k, int n) { return 16 * (size_t)k * (size_t)n * sizeof(T); }
static size_t N(filter_steps)(int k, int n) { return (size_t)(k / N(PAIR)) * (size_t)(n / panel_of(n)); }

/* u [panel][16][step][channel of the panel], in words */
static void N(filter)(const float *w, int k, int n, bool turned, size_t from, size_t to, void *u)
{
	int width = panel_of(n);
	size_t steps = (size_t)k / N(PAIR);
	for (size_t at = from; at < to; at++) {
		size_t step = at % steps, panel = at / steps;
		float *out = (float *)u + (panel * 16 * steps + step) * (size_t)width;
		for (int c = 0; c < width; c += LANES) {
			lanes r[N(PAIR)][16];
			for (int e = 0; e < N(PAIR); e++) {
				float g[9][LANES] __attribute__((aligned(64)));
				lanes gv[9];
				int kk = N(channel)((int)step * N(PAIR) + e), n0 = (int)panel * width + c;
				for (int l = 0; l < LANES; l++) {
					const float *f = w + (turned ? (size_t)kk * (size_t)n + (size_t)(n0 + l) : (size_t)(n0 + l) * (size_t)k + (size_t)kk) * 9;
					for (int i = 0; i < 9; i++)
						g[i][l] = f[turned ? 8 - i : i];
				}
				for (int i = 0; i < 9; i++)
					gv[i] = load(g[i]);
				filter_transform(gv, r[e]);
			}
			for (int i = 0; i < 16; i++) {
				lanes pair[N(PAIR)];
				for (int e = 0; e < N(PAIR); e++)
					pair[e] = r[e][i];
				N(pack_pair)(out + (size_t)i * steps * (size_t)width + c, pair);
			}
		}
	}
}

/* Words from one of the 16 matrices to the next; the odd line keeps them out of each other's cache sets. */
INLINE size_t N(apart)(size_t rows, size_t words) { return rows * words + PAD; }

static size_t N(forward_scratch)(int k, int n)
{
	return 16 * sizeof(float) * (N(apart)(BLOCK, (size_t)k / N(PAIR)) + N(apart)(BLOCK, WIDE * LANES));
}

static __attribute__((noinline)) void N(tiles_in)(const wino_conv *c, size_t from, size_t n, size_t rows, float *v)
{
	size_t words = (size_t)c->k / N(PAIR), apart = N(apart)(BLOCK, words);
	tile t = tile_at(from, 2, c->h, c->w);
	for (size_t r = 0; r < n; r++, tile_next(&t, c->h, c->w)) {
		const char *at[16];
		pixels(c->x, (size_t)c->k * sizeof(T), &t, c->h, c->w, t.y - 1, t.x - 1, 4, c->zeros, at);
		for (int k = 0; k < c->k; k += N(GROUP))
			for (int part = 0; part < N(PAIR); part++) {
				lanes d[16], o[16];
				for (int i = 0; i < 16; i++)
					d[i] = N(get)((const T *)at[i] + k, part);
				input_transform(d, o);
				for (int i = 0; i < 16; i++)
					N(pack)(v + (size_t)i * apart + r * words + (size_t)k / N(PAIR), part, o[i]);
			}
	}
	for (int i = 0; i < 16 && rows > n; i++)
		memset(v + (size_t)i * apart + n * words, 0, (rows - n) * words * sizeof *v);
}

/* Puts s (+ what is there), activated. */
INLINE void N(finish)(const wino_conv *c, T *p, lanes s)
{
	if (c->sum)
		s += N(whole)(p);
	if (c->relu)
		s = relu_of(s);
	N(put)(p, s);
}

static __attribute__((noinline)) void N(tiles_out)(const wino_conv *c, size_t from, size_t n, int n0, int width, const float *m)
{
	size_t apart = N(apart)(BLOCK, (size_t)width), row = (size_t)c->w * (size_t)c->n;
	tile t = tile_at(from, 2, c->h, c->w);
	for (size_t r = 0; r < n; r++, tile_next(&t, c->h, c->w)) {
		T *out = (T *)c->y + (((size_t)t.image * (size_t)c->h + (size_t)t.y) * (size_t)c->w + (size_t)t.x) * (size_t)c->n + n0;
		bool down = t.y + 1 < c->h, right = t.x + 1 < c->w;
		for (int j = 0; j < width; j += LANES) {
			lanes v[16], y[4], b = c->bias ? (lanes)load(c->bias + n0 + j) : (lanes){0};
			for (int i = 0; i < 16; i++)
				v[i] = load(m + (size_t)i * apart + r * (size_t)width + j);
			output_transform(v, y);
			for (int i = 0; i < 4; i++) {
				if ((i >= 2 && !down) || (i % 2 && !right))
					continue;
				N(finish)(c, out + (size_t)(i / 2) * row + (size_t)(i % 2) * (size_t)c->n + j, y[i] + b);
			}
		}
	}
}

static void N(forward)(const wino_conv *c, size_t from, size_t to, void *scratch)
{
	int width = panel_of(c->n), wide = width / LANES;
	size_t words = (size_t)c->k / N(PAIR), va = N(apart)(BLOCK, words), ma = N(apart)(BLOCK, (size_t)width);
	float *v = scratch, *m = v + 16 * va;
	for (size_t t = from; t < to; t += BLOCK) {
		size_t n = VQ_MIN((size_t)BLOCK, to - t), rows = VQ_ALIGN(n, (size_t)ROWS);
		N(tiles_in)(c, t, n, rows, v);
		for (int n0 = 0; n0 < c->n; n0 += width) {
			for (size_t i = 0; i < 16; i++)
				N(products)(rows, wide, words, v + i * va, words, 1, (const float *)c->u + ((size_t)(n0 / width) * 16 + i) * words * (size_t)width,
					(size_t)width, m + i * ma, (size_t)width, false);
			N(tiles_out)(c, t, n, n0, width, m);
		}
	}
}

/* --- the gradient by weights ----------------------------------------------------------------------------------------- */

static size_t N(weight_scratch)(int k, int n)
{
	return sizeof(float) * (16 * (N(apart)(GRAD_BLOCK / N(PAIR), (size_t)k) + N(apart)(GRAD_BLOCK / N(PAIR), (size_t)n)) + (size_t)n);
}

/* v [16][step][k] words, of the tiles from on; n is a multiple of PAIR, those at `end` and beyond are zeros */
static __attribute__((noinline)) void N(tiles_x)(const wino_grad *g, size_t from, size_t n, size_t end, float *v)
{
	size_t apart = N(apart)(GRAD_BLOCK / N(PAIR), (size_t)g->k);
	tile t = tile_at(from, 2, g->h, g->w);
	for (size_t r = 0; r < n; r += N(PAIR)) {
		const char *at[N(PAIR)][16];
		for (size_t e = 0; e < N(PAIR); e++, tile_next(&t, g->h, g->w))
			if (from + r + e < end)
				pixels(g->x, (size_t)g->k * sizeof(T), &t, g->h, g->w, t.y - 1, t.x - 1, 4, g->zeros, at[e]);
			else
				for (int i = 0; i < 16; i++)
					at[e][i] = g->zeros;
		for (int k = 0; k < g->k; k += N(GROUP))
			for (int part = 0; part < N(PAIR); part++) {
				lanes o[N(PAIR)][16];
				for (int e = 0; e < N(PAIR); e++) {
					lanes d[16];
					for (int i = 0; i < 16; i++)
						d[i] = N(get)((const T *)at[e][i] + k, part);
					input_transform(d, o[e]);
				}
				for (int i = 0; i < 16; i++) {
					lanes pair[N(PAIR)];
					for (int e = 0; e < N(PAIR); e++)
						pair[e] = o[e][i];
					N(pack_pair)(v + (size_t)i * apart + r / N(PAIR) * (size_t)g->k + (size_t)(k + part * LANES), pair);
				}
			}
	}
}

/* w [16][step][n] words likewise, in the order of `channel`; sums [n] += the sums of dy in the same order */
static __attribute__((noinline)) void N(tiles_dy)(const wino_grad *g, size_t from, size_t n, size_t end, float *w, float *sums)
{
	size_t apart = N(apart)(GRAD_BLOCK / N(PAIR), (size_t)g->n);
	tile t = tile_at(from, 2, g->h, g->w);
	for (size_t r = 0; r < n; r += N(PAIR)) {
		const char *at[N(PAIR)][4];
		for (size_t e = 0; e < N(PAIR); e++, tile_next(&t, g->h, g->w))
			if (from + r + e < end)
				pixels(g->dy, (size_t)g->n * sizeof(T), &t, g->h, g->w, t.y, t.x, 2, g->zeros, at[e]);
			else
				for (int i = 0; i < 4; i++)
					at[e][i] = g->zeros;
		for (int k = 0; k < g->n; k += N(GROUP))
			for (int part = 0; part < N(PAIR); part++) {
				lanes o[N(PAIR)][16], s = load(sums + k + part * LANES);
				for (int e = 0; e < N(PAIR); e++) {
					lanes y[4];
					for (int i = 0; i < 4; i++)
						y[i] = N(get)((const T *)at[e][i] + k, part);
					output_spread(y, o[e]);
					s += o[e][5];
				}
				store(sums + k + part * LANES, s);
				for (int i = 0; i < 16; i++) {
					lanes pair[N(PAIR)];
					for (int e = 0; e < N(PAIR); e++)
						pair[e] = o[e][i];
					N(pack_pair)(w + (size_t)i * apart + r / N(PAIR) * (size_t)g->n + (size_t)(k + part * LANES), pair);
				}
			}
	}
}

static void N(weight)(const wino_grad *g, size_t from, size_t to, float *du, double *db, void *scratch)
{
	int width = panel_of(g->n), wide = width / LANES;
	size_t k = (size_t)g->k, n = (size_t)g->n, va = N(apart)(GRAD_BLOCK / N(PAIR), k), wa = N(apart)(GRAD_BLOCK / N(PAIR), n);
	float *v = scratch, *w = v + 16 * va, *sums = w + 16 * wa;
	if (from >= to)
		memset(du, 0, 16 * k * n * sizeof *du);
	for (size_t i = 0; i < n; i++)
		db[i] = 0;
	for (size_t t = from; t < to; t += GRAD_BLOCK) {
		size_t m = VQ_ALIGN(VQ_MIN((size_t)GRAD_BLOCK, to - t), (size_t)N(PAIR));
		memset(sums, 0, n * sizeof *sums);
		N(tiles_x)(g, t, m, to, v);
		N(tiles_dy)(g, t, m, to, w, sums);
		for (size_t i = 0; i < n; i++)
			db[N(channel)((int)i)] += (double)sums[i];
		for (size_t i = 0; i < 16; i++)
			for (size_t n0 = 0; n0 < n; n0 += (size_t)width)
				N(products)(k, wide, m / N(PAIR), v + i * va, 1, k, w + i * wa + n0, n, du + i * k * n + n0, n, t > from);
	}
}

static void N(fold)(const float *du, int parts, size_t apart, int k, int n, int from, int to, float *dw)
{
	for (int q = 0; q < k; q++)
		for (int c = from; c < to; c += LANES) {
			lanes u[16], g[9];
			for (int i = 0; i < 16; i++) {
				const float *p = du + ((size_t)i * (size_t)k + (size_t)q) * (size_t)n + c;
				u[i] = load(p);
				for (int part = 1; part < parts; part++)
					u[i] += load(p + (size_t)part * apart);
			}
			filter_gather(u, g);
			for (int l = 0; l < LANES; l++) {
				float *out = dw + ((size_t)N(channel)(c + l) * (size_t)k + (size_t)N(channel)(q)) * 9;
				for (int i = 0; i < 9; i++)
					out[i] += g[i][l];
			}
		}
}

extern const wino_kernels TABLE;
const wino_kernels TABLE = { ISA_NAME, 2, N(filter_bytes), N(filter_steps), N(filter), N(forward_scratch), N(forward), N(weight_scratch), N(weight), N(fold) };
