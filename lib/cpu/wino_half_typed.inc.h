/* Included by wino_kernels.c for its type, after wino_typed.inc.h: kernels of 4x4, stride 2, padding 1, between a fine image and a coarse
 * one of half its sides.
 *
 * Of a kernel's taps along an axis, two meet the even fine positions and two the odd ones, so that each of the four phases is a
 * convolution by 2x2; F(2x2, 2x2) makes 2x2 outputs of a phase with 9 multiplications instead of 16. Tiles are 2x2 coarse positions.
 * Channels are multiples of 16, in their own order. */

enum { HALF_BLOCK = 24 };

static size_t N(half_filter_bytes)(int k, int n) { return 36 * (size_t)k * (size_t)n * sizeof(T); }

/* Taps 0 to 3 to what meets the five values of up_transform, the third of them twice. */
INLINE void up_taps(const lanes w[4], lanes u[6])
{
	u[0] = w[3];
	u[1] = w[3] + w[1];
	u[2] = w[1];
	u[3] = w[2];
	u[4] = w[2] + w[0];
	u[5] = w[0];
}

/* The same taps for the way down: for each role the even phase, then the odd one. */
INLINE void down_taps(const lanes w[4], lanes u[6])
{
	u[0] = w[1];
	u[1] = w[0];
	u[2] = w[1] + w[3];
	u[3] = w[0] + w[2];
	u[4] = w[3];
	u[5] = w[2];
}

/* up: u [panel][36][step][channel of the panel]; down: u [panel][role 9][phase 4][step][channel of the panel]; in words */
static void N(half_filter)(const float *w, int k, int n, bool turned, size_t from, size_t to, void *u)
{
	int width = panel_of(n);
	size_t steps = (size_t)k / N(PAIR);
	for (size_t at = from; at < to; at++) {
		size_t step = at % steps, panel = at / steps;
		float *out = (float *)u + (panel * 36 * steps + step) * (size_t)width;
		for (int c = 0; c < width; c += LANES) {
			lanes r[N(PAIR)][36];
			for (int e = 0; e < N(PAIR); e++) {
				float g[16][LANES] __attribute__((aligned(64)));
				lanes t[24], column[4], six[6];
				int kk = (int)step * N(PAIR) + e, n0 = (int)panel * width + c;
				for (int l = 0; l < LANES; l++) {
					const float *f = w + (turned ? (size_t)kk * (size_t)n + (size_t)(n0 + l) : (size_t)(n0 + l) * (size_t)k + (size_t)kk) * 16;
					for (int i = 0; i < 16; i++)
						g[i][l] = f[i];
				}
				for (int j = 0; j < 4; j++) {
					for (int i = 0; i < 4; i++)
						column[i] = load(g[4 * i + j]);
					if (turned)
						up_taps(column, six);
					else
						down_taps(column, six);
					for (int i = 0; i < 6; i++)
						t[4 * i + j] = six[i];
				}
				for (int i = 0; i < 6; i++)
					if (turned)
						up_taps(t + 4 * i, r[e] + 6 * i);
					else
						down_taps(t + 4 * i, r[e] + 6 * i);
			}
			for (int i = 0; i < 6; i++)
				for (int j = 0; j < 6; j++) {
					lanes pair[N(PAIR)];
					size_t place = turned ? (size_t)(6 * i + j) : (size_t)((i / 2 * 3 + j / 2) * 4 + i % 2 * 2 + j % 2);
					for (int e = 0; e < N(PAIR); e++)
						pair[e] = r[e][6 * i + j];
					N(pack_pair)(out + place * steps * (size_t)width + c, pair);
				}
		}
	}
}

static size_t N(half_forward_scratch)(int k, int n) /* up needs the most */
{
	return sizeof(float) * (36 * N(apart)(HALF_BLOCK, (size_t)k / N(PAIR)) + 36 * N(apart)(HALF_BLOCK, WIDE * LANES));
}

/* --- up: coarse to fine --------------------------------------------------------------------------------------------- */

INLINE void five(const lanes d[4], lanes v[5])
{
	v[0] = d[0] - d[1];
	v[1] = d[1];
	v[2] = d[1] - d[2];
	v[3] = d[2];
	v[4] = d[2] - d[3];
}

static __attribute__((noinline)) void N(up_in)(const wino_conv *c, size_t from, size_t n, float *v)
{
	size_t words = (size_t)c->k / N(PAIR), apart = N(apart)(HALF_BLOCK, words);
	tile t = tile_at(from, 2, c->h, c->w);
	for (size_t r = 0; r < n; r++, tile_next(&t, c->h, c->w)) {
		const char *at[16];
		pixels(c->x, (size_t)c->k * sizeof(T), &t, c->h, c->w, t.y - 1, t.x - 1, 4, c->zeros, at);
		for (int k = 0; k < c->k; k += LANES) {
			lanes rows[4][5], column[4], o[5];
			for (int i = 0; i < 4; i++) {
				for (int j = 0; j < 4; j++)
					column[j] = N(whole)((const T *)at[4 * i + j] + k);
				five(column, rows[i]);
			}
			for (int j = 0; j < 5; j++) {
				for (int i = 0; i < 4; i++)
					column[i] = rows[i][j];
				five(column, o);
				for (int i = 0; i < 5; i++)
					N(put)((T *)(v + (size_t)(5 * i + j) * apart + r * words) + k, o[i]);
			}
		}
	}
}

static __attribute__((noinline)) void N(up_out)(const wino_conv *c, size_t from, size_t n, int n0, int width, const float *m)
{
	size_t apart = N(apart)(HALF_BLOCK, (size_t)width), row = 2 * (size_t)c->w * (size_t)c->n;
	tile t = tile_at(from, 2, c->h, c->w);
	for (size_t r = 0; r < n; r++, tile_next(&t, c->h, c->w)) {
		T *out = (T *)c->y + (((size_t)t.image * (size_t)c->h + (size_t)t.y) * 2 * (size_t)c->w + (size_t)t.x) * 2 * (size_t)c->n + n0;
		int down = t.y + 1 < c->h ? 4 : 2, right = t.x + 1 < c->w ? 4 : 2;
		for (int j = 0; j < width; j += LANES) {
			lanes rows[4][6], b = c->bias ? (lanes)load(c->bias + n0 + j) : (lanes){0};
			for (int q = 0; q < 6; q++) {
				lanes v[6];
				for (int i = 0; i < 6; i++)
					v[i] = load(m + (size_t)(6 * i + q) * apart + r * (size_t)width + j);
				rows[0][q] = v[0] + v[1];
				rows[1][q] = v[3] + v[4];
				rows[2][q] = v[1] - v[2];
				rows[3][q] = v[4] - v[5];
			}
			for (int i = 0; i < down; i++) {
				T *p = out + (size_t)i * row + j;
				const lanes *q = rows[i];
				N(finish)(c, p, q[0] + q[1] + b);
				N(finish)(c, p + c->n, q[3] + q[4] + b);
				if (right < 4)
					continue;
				N(finish)(c, p + 2 * c->n, q[1] - q[2] + b);
				N(finish)(c, p + 3 * c->n, q[4] - q[5] + b);
			}
		}
	}
}

static void N(up)(const wino_conv *c, size_t from, size_t to, void *scratch)
{
	static const size_t five_of[6] = { 0, 1, 2, 2, 3, 4 };
	int width = panel_of(c->n), wide = width / LANES;
	size_t words = (size_t)c->k / N(PAIR), va = N(apart)(HALF_BLOCK, words), ma = N(apart)(HALF_BLOCK, (size_t)width);
	float *v = scratch, *m = v + 25 * va;
	for (size_t t = from; t < to; t += HALF_BLOCK) {
		size_t n = VQ_MIN((size_t)HALF_BLOCK, to - t), rows = VQ_ALIGN(n, (size_t)ROWS);
		N(up_in)(c, t, n, v);
		for (size_t i = 0; i < 25 && rows > n; i++)
			memset(v + i * va + n * words, 0, (rows - n) * words * sizeof *v);
		for (int n0 = 0; n0 < c->n; n0 += width) {
			const float *u = (const float *)c->u + (size_t)(n0 / width) * 36 * words * (size_t)width;
			for (size_t i = 0; i < 36; i++)
				N(products)(rows, wide, words, v + (5 * five_of[i / 6] + five_of[i % 6]) * va, words, 1, u + i * words * (size_t)width, (size_t)width,
					m + i * ma, (size_t)width, false);
			N(up_out)(c, t, n, n0, width, m);
		}
	}
}

/* --- down: fine to coarse ------------------------------------------------------------------------------------------- */

/* For each role the even phase, then the odd one. */
INLINE void six(const lanes p[6], lanes v[6])
{
	v[0] = p[1] - p[3];
	v[1] = p[0] - p[2];
	v[2] = p[3];
	v[3] = p[2];
	v[4] = p[3] - p[5];
	v[5] = p[2] - p[4];
}

/* 6x6 fine pixels to v [role 3x3][phase 2x2] */
INLINE void N(six_by_six)(const char *const at[36], int k, lanes v[36])
{
	lanes rows[6][6], column[6], o[6];
	for (int i = 0; i < 6; i++) {
		for (int j = 0; j < 6; j++)
			column[j] = N(whole)((const T *)at[6 * i + j] + k);
		six(column, rows[i]);
	}
	for (int j = 0; j < 6; j++) {
		for (int i = 0; i < 6; i++)
			column[i] = rows[i][j];
		six(column, o);
		for (int i = 0; i < 6; i++)
			v[(i / 2 * 3 + j / 2) * 4 + i % 2 * 2 + j % 2] = o[i];
	}
}

static __attribute__((noinline)) void N(down_in)(const wino_conv *c, size_t from, size_t n, float *v)
{
	size_t words = 4 * (size_t)c->k / N(PAIR), apart = N(apart)(HALF_BLOCK, words);
	tile t = tile_at(from, 2, c->h, c->w);
	for (size_t r = 0; r < n; r++, tile_next(&t, c->h, c->w)) {
		const char *at[36];
		pixels(c->x, (size_t)c->k * sizeof(T), &t, 2 * c->h, 2 * c->w, 2 * t.y - 1, 2 * t.x - 1, 6, c->zeros, at);
		for (int k = 0; k < c->k; k += LANES) {
			lanes o[36];
			N(six_by_six)(at, k, o);
			for (int i = 0; i < 36; i++)
				N(put)((T *)(v + (size_t)(i / 4) * apart + r * words) + (i % 4) * c->k + k, o[i]);
		}
	}
}

static __attribute__((noinline)) void N(down_out)(const wino_conv *c, size_t from, size_t n, int n0, int width, const float *m)
{
	size_t apart = N(apart)(HALF_BLOCK, (size_t)width), row = (size_t)c->w * (size_t)c->n;
	tile t = tile_at(from, 2, c->h, c->w);
	for (size_t r = 0; r < n; r++, tile_next(&t, c->h, c->w)) {
		T *out = (T *)c->y + (((size_t)t.image * (size_t)c->h + (size_t)t.y) * (size_t)c->w + (size_t)t.x) * (size_t)c->n + n0;
		bool down = t.y + 1 < c->h, right = t.x + 1 < c->w;
		for (int j = 0; j < width; j += LANES) {
			lanes a[3], d[3], b = c->bias ? (lanes)load(c->bias + n0 + j) : (lanes){0};
			for (int q = 0; q < 3; q++) {
				const float *p = m + (size_t)q * apart + r * (size_t)width + j;
				lanes middle = load(p + 3 * apart);
				a[q] = load(p) + middle;
				d[q] = middle - load(p + 6 * apart);
			}
			N(finish)(c, out + j, a[0] + a[1] + b);
			if (right)
				N(finish)(c, out + c->n + j, a[1] - a[2] + b);
			if (down)
				N(finish)(c, out + row + j, d[0] + d[1] + b);
			if (down && right)
				N(finish)(c, out + row + c->n + j, d[1] - d[2] + b);
		}
	}
}

static void N(down)(const wino_conv *c, size_t from, size_t to, void *scratch)
{
	int width = panel_of(c->n), wide = width / LANES;
	size_t words = 4 * (size_t)c->k / N(PAIR), va = N(apart)(HALF_BLOCK, words), ma = N(apart)(HALF_BLOCK, (size_t)width);
	float *v = scratch, *m = v + 9 * va;
	for (size_t t = from; t < to; t += HALF_BLOCK) {
		size_t n = VQ_MIN((size_t)HALF_BLOCK, to - t), rows = VQ_ALIGN(n, (size_t)ROWS);
		N(down_in)(c, t, n, v);
		for (size_t i = 0; i < 9 && rows > n; i++)
			memset(v + i * va + n * words, 0, (rows - n) * words * sizeof *v);
		for (int n0 = 0; n0 < c->n; n0 += width) {
			const float *u = (const float *)c->u + (size_t)(n0 / width) * 9 * words * (size_t)width;
			for (size_t i = 0; i < 9; i++)
				N(products)(rows, wide, words, v + i * va, words, 1, u + i * words * (size_t)width, (size_t)width, m + i * ma, (size_t)width, false);
			N(down_out)(c, t, n, n0, width, m);
		}
	}
}

static void N(half_forward)(const wino_conv *c, size_t from, size_t to, void *scratch)
{
	if (c->up)
		N(up)(c, from, to, scratch);
	else
		N(down)(c, from, to, scratch);
}

/* --- the gradient by weights: x is coarse, dy fine --------------------------------------------------------------------- */

static size_t N(half_weight_scratch)(int k, int n)
{
	return sizeof(float) * 9 * (N(apart)(GRAD_BLOCK / N(PAIR), (size_t)k) + N(apart)(GRAD_BLOCK / N(PAIR), 4 * (size_t)n));
}

/* One step of PAIR tiles: coarse to xs [9][step][k], fine to ys [9][step][phase 4][n], in words; those at `end` and beyond are zeros */
static __attribute__((noinline)) void N(half_step)(const wino_grad *g, const tile *t, size_t valid, float *xs, size_t xa, float *ys, size_t ya)
{
	const char *coarse[N(PAIR)][4], *fine[N(PAIR)][36];
	for (size_t e = 0; e < N(PAIR); e++) {
		for (int i = 0; i < 36; i++)
			fine[e][i] = coarse[e][i % 4] = g->zeros;
		if (e >= valid)
			continue;
		pixels(g->x, (size_t)g->k * sizeof(T), &t[e], g->h, g->w, t[e].y, t[e].x, 2, g->zeros, coarse[e]);
		pixels(g->dy, (size_t)g->n * sizeof(T), &t[e], 2 * g->h, 2 * g->w, 2 * t[e].y - 1, 2 * t[e].x - 1, 6, g->zeros, fine[e]);
	}
	for (int k = 0; k < g->k; k += LANES) {
		lanes o[9][N(PAIR)];
		for (int e = 0; e < N(PAIR); e++) {
			lanes x[4], rows[3][2];
			for (int i = 0; i < 4; i++)
				x[i] = N(whole)((const T *)coarse[e][i] + k);
			for (int j = 0; j < 2; j++) {
				rows[0][j] = x[j];
				rows[1][j] = x[j] + x[2 + j];
				rows[2][j] = x[2 + j];
			}
			for (int i = 0; i < 3; i++) {
				o[3 * i][e] = rows[i][0];
				o[3 * i + 1][e] = rows[i][0] + rows[i][1];
				o[3 * i + 2][e] = rows[i][1];
			}
		}
		for (int i = 0; i < 9; i++)
			N(pack_pair)(xs + (size_t)i * xa + k, o[i]);
	}
	for (int c = 0; c < g->n; c += LANES) {
		lanes o[N(PAIR)][36];
		for (int e = 0; e < N(PAIR); e++)
			N(six_by_six)(fine[e], c, o[e]);
		for (int i = 0; i < 36; i++) {
			lanes pair[N(PAIR)];
			for (int e = 0; e < N(PAIR); e++)
				pair[e] = o[e][i];
			N(pack_pair)(ys + (size_t)(i / 4) * ya + (size_t)(i % 4) * (size_t)g->n + (size_t)c, pair);
		}
	}
}

/* du [9][k][phase 4][n]; db is not made */
static void N(half_weight)(const wino_grad *g, size_t from, size_t to, float *du, double *db, void *scratch)
{
	int width = panel_of(4 * g->n), wide = width / LANES;
	size_t k = (size_t)g->k, n = 4 * (size_t)g->n, va = N(apart)(GRAD_BLOCK / N(PAIR), k), wa = N(apart)(GRAD_BLOCK / N(PAIR), n);
	float *v = scratch, *w = v + 9 * va;
	tile at = tile_at(from, 2, g->h, g->w);
	if (from >= to)
		memset(du, 0, 9 * k * n * sizeof *du);
	for (size_t t = from; t < to; t += GRAD_BLOCK) {
		size_t m = VQ_ALIGN(VQ_MIN((size_t)GRAD_BLOCK, to - t), (size_t)N(PAIR)) / N(PAIR);
		for (size_t r = 0; r < m; r++) {
			tile pair[N(PAIR)];
			for (int e = 0; e < N(PAIR); e++, tile_next(&at, g->h, g->w))
				pair[e] = at;
			N(half_step)(g, pair, to - t - r * N(PAIR), v + r * k, va, w + r * n, wa);
		}
		for (size_t i = 0; i < 9; i++)
			for (size_t n0 = 0; n0 < n; n0 += (size_t)width)
				N(products)(k, wide, m, v + i * va, 1, k, w + i * wa + n0, n, du + i * k * n + n0, n, t > from);
	}
}

/* dw [k,n,4,4], channels n [from, to) */
static void N(half_fold)(const float *du, int parts, size_t apart, int k, int n, int from, int to, float *dw)
{
	for (int q = 0; q < k; q++)
		for (int c = from; c < to; c += LANES)
			for (int phase = 0; phase < 4; phase++) {
				lanes u[9], rows[2][3];
				for (int i = 0; i < 9; i++) {
					const float *p = du + (((size_t)i * (size_t)k + (size_t)q) * 4 + (size_t)phase) * (size_t)n + c;
					u[i] = load(p);
					for (int part = 1; part < parts; part++)
						u[i] += load(p + (size_t)part * apart);
				}
				for (int j = 0; j < 3; j++) {
					rows[0][j] = u[j] + u[3 + j];
					rows[1][j] = u[3 + j] - u[6 + j];
				}
				int y = phase / 2 ? 0 : 1, x = phase % 2 ? 0 : 1;
				for (int i = 0; i < 2; i++) {
					lanes a = rows[i][0] + rows[i][1], b = rows[i][1] - rows[i][2];
					for (int l = 0; l < LANES; l++) {
						float *out = dw + ((size_t)q * (size_t)n + (size_t)(c + l)) * 16 + 4 * (y + 2 * i) + x;
						out[0] += a[l];
						out[2] += b[l];
					}
				}
			}
}

extern const wino_kernels HALF_TABLE;
const wino_kernels HALF_TABLE = { ISA_NAME, 2, N(half_filter_bytes), N(filter_steps), N(half_filter), N(half_forward_scratch), N(half_forward), N(half_weight_scratch),
	N(half_weight), N(half_fold) };
