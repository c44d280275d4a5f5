#include "lib/image/crop.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

/* A label image from digits, '.' for 0. */
static void draw(int32_t *labels, const char *text)
{
	for (; *text; text++)
		if (*text != ' ')
			*labels++ = *text == '.' ? 0 : *text - '0';
}

static const char scene[] =
	"1....... "
	"1.22...3 "
	"..22.... "
	"......2. "
	"..44.... "
	"..4.4... ";

TEST(objects_of_a_scene)
{
	int32_t labels[48];
	vq_object *o;
	size_t n;
	draw(labels, scene);
	CHECK_OK(vq_objects_find(labels, 6, 8, &o, &n));
	CHECK(n == 4);
	CHECK(o[0].label == 1 && o[0].area == 2 && o[0].box.y0 == 0 && o[0].box.y1 == 2 && o[0].box.x0 == 0 && o[0].box.x1 == 1);
	CHECK(o[1].label == 2 && o[1].area == 5 && o[1].box.y0 == 1 && o[1].box.y1 == 4 && o[1].box.x0 == 2 && o[1].box.x1 == 7);
	CHECK(o[2].label == 3 && o[2].area == 1);
	CHECK(o[3].label == 4 && o[3].area == 4 && o[3].box.y0 == 4 && o[3].box.y1 == 6 && o[3].box.x0 == 2 && o[3].box.x1 == 5);
	free(o);
}

TEST(no_objects_and_negative_labels)
{
	int32_t labels[12] = { 0 };
	vq_object *o;
	size_t n = 9;
	CHECK_OK(vq_objects_find(labels, 3, 4, &o, &n));
	CHECK(!o && n == 0);
	labels[6] = -7;
	CHECK_FAILS(vq_objects_find(labels, 3, 4, &o, &n), VQ_EINVAL);
	CHECK_HAS(vq_message(), "label -7 at pixel 2,1");
}

/* Against a count of each label over the whole image; sparse labels up to 2^31-1, noise and blocks. */
TEST(objects_against_brute_force)
{
	enum { H = 61, W = 83, LABELS = 300 };
	static int32_t labels[H * W], name[LABELS];
	vq_rng r = vq_rng_make(1, 2);
	for (int i = 0; i < LABELS; i++)
		name[i] = (int32_t)(i ? vq_rng_below(&r, 0x7fffffff) + 1 : 0x7fffffff);
	for (int i = 0; i < H * W; i++)
		labels[i] = i / W % 5 == 0 ? name[(uint64_t)i / 40 % LABELS] : vq_rng_below(&r, 3) ? 0 : name[(i / 9) % 7 ? vq_rng_below(&r, LABELS) : (uint64_t)i / 40 % LABELS];
	vq_object *o;
	size_t n, found = 0;
	CHECK_OK(vq_objects_find(labels, H, W, &o, &n));
	for (size_t k = 0; k < n; k++) {
		CHECK(!k || o[k].label > o[k - 1].label);
		int64_t area = 0, y0 = H, x0 = W, y1 = 0, x1 = 0;
		for (int64_t y = 0; y < H; y++)
			for (int64_t x = 0; x < W; x++)
				if (labels[y * W + x] == o[k].label) {
					area++;
					y0 = VQ_MIN(y0, y), x0 = VQ_MIN(x0, x), y1 = VQ_MAX(y1, y + 1), x1 = VQ_MAX(x1, x + 1);
				}
		CHECK(area && o[k].area == area && o[k].box.y0 == y0 && o[k].box.x0 == x0 && o[k].box.y1 == y1 && o[k].box.x1 == x1);
		found += (size_t)area;
	}
	for (int i = 0; i < H * W; i++)
		found -= labels[i] != 0;
	CHECK(found == 0);
	free(o);
}

static vq_object object(int64_t y0, int64_t x0, int64_t y1, int64_t x1)
{
	return (vq_object){ 5, (y1 - y0) * (x1 - x0), { y0, x0, y1, x1 } };
}

static bool is(const vq_box *b, int64_t y0, int64_t x0, int64_t y1, int64_t x1) { return b->y0 == y0 && b->x0 == x0 && b->y1 == y1 && b->x1 == x1; }

TEST(plans)
{
	vq_crop_rule rule = { .border = 10, .min_area = 20, .max_size = 50 };
	vq_box b;
	vq_object o = object(5, 30, 15, 40);
	CHECK(vq_crop_plan(&o, 100, 100, &rule, &b) == VQ_CROP_TAKE && is(&b, 0, 20, 25, 50));
	CHECK(vq_crop_plan(&o, 15, 100, &rule, &b) == VQ_CROP_EDGE);
	CHECK(vq_crop_plan(&o, 100, 40, &rule, &b) == VQ_CROP_EDGE);
	o = object(0, 30, 15, 40);
	CHECK(vq_crop_plan(&o, 100, 100, &rule, &b) == VQ_CROP_EDGE);
	rule.keep_edge = true;
	CHECK(vq_crop_plan(&o, 100, 100, &rule, &b) == VQ_CROP_TAKE && is(&b, 0, 20, 25, 50));
	o = object(1, 1, 5, 5);
	CHECK(vq_crop_plan(&o, 100, 100, &rule, &b) == VQ_CROP_SMALL);
	o = object(1, 1, 6, 5);
	CHECK(vq_crop_plan(&o, 100, 100, &rule, &b) == VQ_CROP_TAKE);
	o = object(1, 1, 6, 52);
	CHECK(vq_crop_plan(&o, 100, 100, &rule, &b) == VQ_CROP_LARGE);
	rule.max_size = 0;
	CHECK(vq_crop_plan(&o, 100, 100, &rule, &b) == VQ_CROP_TAKE);
}

TEST(tiles)
{
	vq_crop_rule rule = { .border = 10, .min_area = 1, .tile = 40 };
	vq_box b;
	vq_object o = object(45, 81, 50, 119);
	CHECK(vq_crop_plan(&o, 200, 200, &rule, &b) == VQ_CROP_TAKE && is(&b, 40, 80, 60, 120));
	o = object(45, 81, 50, 121);
	CHECK(vq_crop_plan(&o, 200, 200, &rule, &b) == VQ_CROP_ACROSS);
	o = object(39, 81, 41, 90);
	CHECK(vq_crop_plan(&o, 200, 200, &rule, &b) == VQ_CROP_ACROSS);
	o = object(85, 85, 88, 88); /* a last tile that is cut short */
	CHECK(vq_crop_plan(&o, 90, 90, &rule, &b) == VQ_CROP_TAKE && is(&b, 80, 80, 90, 90));
}

TEST(boxes_around_points)
{
	vq_box b;
	CHECK(vq_crop_around(10, 20, 5, 100, 100, false, &b) == VQ_CROP_TAKE && is(&b, 8, 18, 13, 23));
	CHECK(vq_crop_around(10.5, 20.4, 4, 100, 100, false, &b) == VQ_CROP_TAKE && is(&b, 9, 18, 13, 22));
	CHECK(vq_crop_around(1, 20, 5, 100, 100, false, &b) == VQ_CROP_EDGE);
	CHECK(vq_crop_around(1, 98, 5, 100, 100, true, &b) == VQ_CROP_TAKE && is(&b, 0, 96, 4, 100));
	CHECK(vq_crop_around(-50, 20, 5, 100, 100, true, &b) == VQ_CROP_EDGE);
	CHECK(vq_crop_around(NAN, 20, 5, 100, 100, true, &b) == VQ_CROP_EDGE);
	CHECK(vq_crop_around(1e300, 20, 5, 100, 100, true, &b) == VQ_CROP_EDGE);
}

TEST(cuts)
{
	int32_t labels[48];
	int64_t shape[3] = { 2, 6, 8 };
	vq_tensor field, image, mask;
	draw(labels, scene);
	CHECK_OK(vq_tensor_make(&field, VQ_U16, 3, shape));
	for (int i = 0; i < 96; i++)
		((uint16_t *)field.data)[i] = (uint16_t)(i * 601);
	CHECK_OK(vq_crop_cut(&field, labels, &(vq_box){ 1, 2, 5, 8 }, 2, &image, &mask));
	CHECK(image.dtype == VQ_U16 && image.ndim == 3 && image.shape[0] == 2 && image.shape[1] == 4 && image.shape[2] == 6);
	CHECK(mask.dtype == VQ_U8 && mask.ndim == 2 && mask.shape[0] == 4 && mask.shape[1] == 6);
	for (int c = 0; c < 2; c++)
		for (int y = 0; y < 4; y++)
			for (int x = 0; x < 6; x++)
				CHECK(((uint16_t *)image.data)[(c * 4 + y) * 6 + x] == (uint16_t)((c * 48 + (y + 1) * 8 + x + 2) * 601));
	static const uint8_t want[] = { 1, 1, 0, 0, 0, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 0, 0, 0, 0 };
	CHECK(!memcmp(mask.data, want, sizeof want));
	vq_tensor_free(&image);
	vq_tensor_free(&mask);
	CHECK_OK(vq_crop_cut(&field, NULL, &(vq_box){ 0, 0, 6, 8 }, 1, &image, &mask));
	CHECK(((uint8_t *)mask.data)[0] == 1 && ((uint8_t *)mask.data)[47] == 1);
	vq_tensor_free(&image);
	vq_tensor_free(&mask);
	CHECK_FAILS(vq_crop_cut(&field, NULL, &(vq_box){ 0, 0, 7, 8 }, 1, &image, &mask), VQ_EINVAL);
	CHECK_FAILS(vq_crop_cut(&field, NULL, &(vq_box){ 2, 2, 2, 4 }, 1, &image, &mask), VQ_EINVAL);
	CHECK(!image.data && !mask.data);
	vq_tensor_free(&field);
}

/* Boxes of every width, at every place of a row: the pixels of a mask are made several at a time. */
TEST(masks)
{
	enum { W = 90, H = 2 };
	int32_t labels[W * H];
	vq_tensor field, image, mask;
	vq_rng r = vq_rng_make(8, 1);
	CHECK_OK(vq_tensor_make(&field, VQ_U8, 3, (int64_t[]){ 1, H, W }));
	for (int i = 0; i < W * H; i++)
		labels[i] = (int32_t)(vq_rng_below(&r, 3) * (vq_rng_below(&r, 2) ? 70000 : 1));
	for (int64_t w = 1; w <= 70; w++) {
		vq_box b = { 0, w % 17, H, w % 17 + w };
		CHECK_OK(vq_crop_cut(&field, labels, &b, 70000, &image, &mask));
		for (int64_t y = 0; y < H; y++)
			for (int64_t x = 0; x < w; x++) {
				int32_t at = labels[y * W + b.x0 + x];
				CHECK(((uint8_t *)mask.data)[y * w + x] == (at == 70000 ? 1 : at ? 2 : 0));
			}
		vq_tensor_free(&image);
		vq_tensor_free(&mask);
	}
	vq_tensor_free(&field);
}

TEST(light)
{
	enum { N = 100001 };
	uint16_t *p = malloc(N * sizeof *p);
	float *f = malloc(N * sizeof *f);
	uint8_t *b = malloc(N), *m = malloc(N);
	double in = 0, out = 0, low = 0;
	int64_t ones = 0, zeros = 0;
	vq_rng r = vq_rng_make(3, 4);
	CHECK(p && f && b && m);
	for (int i = 0; i < N; i++) {
		p[i] = (uint16_t)(i < 70000 ? 65535 : vq_rng_below(&r, 65536)); /* would overflow one 32-bit sum */
		f[i] = p[i] * 0.5f - 1000;
		b[i] = (uint8_t)p[i];
		m[i] = (uint8_t)(i < 70000 ? 1 : vq_rng_below(&r, 3));
		in += m[i] == 1 ? p[i] : 0;
		out += m[i] == 0 ? p[i] : 0;
		low += m[i] == 1 ? b[i] : 0;
		ones += m[i] == 1;
		zeros += m[i] == 0;
	}
	vq_cell_light l;
	CHECK(vq_cell_measure(p, VQ_U16, m, N, &l) == ones);
	CHECK(l.integrated == in && l.mean == in / (double)ones && l.background == out / (double)zeros);
	vq_cell_measure(b, VQ_U8, m, N, &l);
	CHECK(l.integrated == low);
	vq_cell_measure(f, VQ_F32, m, N, &l);
	CHECK_NEAR(l.integrated, in * 0.5 - 1000.0 * (double)ones, 1e-3);
	CHECK_NEAR(l.background, out / (double)zeros * 0.5 - 1000, 1e-6);
	memset(m, 2, N);
	CHECK(vq_cell_measure(p, VQ_U16, m, N, &l) == 0);
	CHECK(isnan(l.mean) && isnan(l.background) && l.integrated == 0);
	free(p), free(f), free(b), free(m);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* numpy's definition, on a sorted copy. */
static void check_stats(const double *v, size_t n, const vq_plane_stats *s)
{
	double *sorted = malloc(n * sizeof *sorted), mean = 0, var = 0;
	CHECK(sorted);
	memcpy(sorted, v, n * sizeof *v);
	qsort(sorted, n, sizeof *sorted, by_value);
	for (size_t i = 0; i < n; i++)
		mean += v[i] / (double)n;
	for (size_t i = 0; i < n; i++)
		var += (v[i] - mean) * (v[i] - mean) / (double)n;
	CHECK_NEAR(s->mean, mean, 1e-9 * (1 + fabs(mean)));
	CHECK_NEAR(s->std, sqrt(var), 1e-9 * (1 + sqrt(var)));
	for (int k = 0; k < VQ_FIELD_PERCENTILES; k++) {
		double at = vq_field_percentiles[k] / 100 * (double)(n - 1), t = at - floor(at);
		size_t i = (size_t)at, j = VQ_MIN(i + 1, n - 1);
		double want = sorted[i] + (sorted[j] - sorted[i]) * t;
		CHECK_NEAR(s->p[k], want, 1e-12 * (1 + fabs(want)));
	}
	free(sorted);
}

TEST(statistics)
{
	static const size_t sizes[] = { 1, 2, 3, 4, 5, 7, 11, 100, 1001, 40000 };
	static double v[40000];
	static uint8_t b[40000];
	static uint16_t w[40000];
	static float f[40000];
	vq_rng r = vq_rng_make(5, 6);
	vq_plane_stats s;
	for (size_t k = 0; k < VQ_COUNT(sizes); k++) {
		size_t n = sizes[k];
		for (size_t i = 0; i < n; i++)
			v[i] = b[i] = (uint8_t)vq_rng_below(&r, 256);
		CHECK_OK(vq_plane_measure(b, VQ_U8, n, &s));
		check_stats(v, n, &s);
		for (size_t i = 0; i < n; i++)
			v[i] = w[i] = (uint16_t)(vq_rng_below(&r, 50) ? 300 + vq_rng_below(&r, 20) : vq_rng_below(&r, 65536));
		CHECK_OK(vq_plane_measure(w, VQ_U16, n, &s));
		check_stats(v, n, &s);
		for (size_t i = 0; i < n; i++)
			v[i] = (double)(f[i] = (float)(vq_rng_normal(&r) * (i % 3 ? 1e-3 : 1e3)));
		CHECK_OK(vq_plane_measure(f, VQ_F32, n, &s));
		check_stats(v, n, &s);
	}
	for (size_t i = 0; i < 1000; i++)
		v[i] = (double)(f[i] = -2.5f);
	CHECK_OK(vq_plane_measure(f, VQ_F32, 1000, &s));
	check_stats(v, 1000, &s);
	CHECK_FAILS(vq_plane_measure(f, VQ_F32, 0, &s), VQ_EINVAL);
}

TEST(not_finite)
{
	static float f[10000];
	CHECK(vq_plane_finite(f, 10000) == 10000);
	f[9999] = INFINITY;
	CHECK(vq_plane_finite(f, 10000) == 9999 && vq_plane_finite(f, 9999) == 9999);
	f[4096] = NAN;
	CHECK(vq_plane_finite(f, 10000) == 4096);
}

TEST(conversion)
{
	uint8_t b[3] = { 0, 7, 255 };
	uint16_t w[3];
	int32_t i32[3] = { -5, 0, 70000 };
	double d[3] = { 0.5, -1e10, 1e300 };
	float f[3];
	CHECK_OK(vq_plane_convert(w, VQ_U16, b, VQ_U8, 3));
	CHECK(w[0] == 0 && w[1] == 7 && w[2] == 255);
	CHECK_OK(vq_plane_convert(f, VQ_F32, i32, VQ_I32, 3));
	CHECK(f[0] == -5 && f[2] == 70000);
	CHECK_OK(vq_plane_convert(f, VQ_F32, d, VQ_F64, 3));
	CHECK(f[0] == 0.5f && f[1] == -1e10f && isinf(f[2]));
	CHECK_FAILS(vq_plane_convert(w, VQ_U16, i32, VQ_I32, 3), VQ_EINVAL);
	CHECK_FAILS(vq_plane_convert(b, VQ_U8, w, VQ_U16, 3), VQ_EINVAL);
}

TEST(division_and_maximum)
{
	float p[3] = { 2, 4, 9 }, by[3] = { 2, 1, 3 }, q[3] = { 0, 8, NAN };
	CHECK_OK(vq_plane_divide(p, by, 3));
	CHECK(p[0] == 1 && p[1] == 4 && p[2] == 3);
	by[1] = 0, by[2] = NAN;
	CHECK_FAILS(vq_plane_divide(p, by, 3), VQ_EINVAL);
	CHECK_HAS(vq_message(), "2 of its 3 values");
	p[0] = 1, p[1] = 2, p[2] = 3;
	vq_plane_max(p, q, VQ_F32, 3);
	CHECK(p[0] == 1 && p[1] == 8 && isnan(p[2]));
	uint16_t a[2] = { 5, 60000 }, b[2] = { 6, 59999 };
	vq_plane_max(a, b, VQ_U16, 2);
	CHECK(a[0] == 6 && a[1] == 60000);
}

TEST_MAIN(RUN(objects_of_a_scene) RUN(no_objects_and_negative_labels) RUN(objects_against_brute_force) RUN(plans) RUN(tiles) RUN(boxes_around_points)
	RUN(cuts) RUN(masks) RUN(light) RUN(statistics) RUN(not_finite) RUN(conversion) RUN(division_and_maximum))
