/* AnnData files: read back with HDF5 alone. */
#include "tests/unit/test.h"

#include <hdf5.h>
#include <unistd.h>

#include "formats/h5ad.h"

static const char *const names[] = { "a", "b", "c" };

/* cells rows of X with values 3 i + j, and of obsm/M twice that. */
static vq_status fill(vq_h5ad *h, int cells)
{
	int m;
	char text[32];
	VQ_TRY(vq_h5ad_features(h, names, 3));
	VQ_TRY(vq_h5ad_matrix(h, "obsm/M", 2, true, &m));
	VQ_TRY(vq_h5ad_column(h, "none", true));
	VQ_TRY(vq_h5ad_column(h, "whole", true));
	VQ_TRY(vq_h5ad_column(h, "mixed", true));
	for (int i = 0; i < cells; i++) {
		snprintf(text, sizeof text, "%d", i - 1);
		VQ_TRY(vq_h5ad_obs(h, "whole", text));
		VQ_TRY(vq_h5ad_obs(h, "mixed", i ? text : "007"));
		if (i % 2)
			VQ_TRY(vq_h5ad_obs(h, "late", i == 1 ? "\xc3\xa9" : text));
		VQ_TRY(vq_h5ad_put(h, m, (float[]){ (float)(2 * i), 1 }));
		VQ_TRY(vq_h5ad_cell(h, (float[]){ (float)(3 * i), (float)(3 * i + 1), (float)(3 * i + 2) }));
	}
	VQ_TRY(vq_h5ad_text(h, "uns/deep/er", "words"));
	return vq_h5ad_array(h, "uns/v", &(vq_tensor){ .dtype = VQ_F64, .ndim = 1, .shape = { 2 }, .data = (double[]){ 0.5, -1 } });
}

static vq_status write_file(const char *path, int cells)
{
	vq_h5ad *h;
	VQ_TRY(vq_h5ad_open(&h, path));
	vq_status s = fill(h, cells);
	if (s == VQ_OK)
		return vq_h5ad_commit(h);
	vq_h5ad_abort(h);
	return s;
}

static hid_t text_type(void)
{
	hid_t t = H5Tcopy(H5T_C_S1);
	H5Tset_size(t, H5T_VARIABLE);
	H5Tset_cset(t, H5T_CSET_UTF8);
	return t;
}

/* Copies the i-th text of a set, or of an attribute of it. */
static void text_of(hid_t f, const char *path, const char *attribute, int i, char to[64])
{
	char *text[64] = {0};
	hid_t o = H5Oopen(f, path, H5P_DEFAULT), a = attribute ? H5Aopen(o, attribute, H5P_DEFAULT) : -1, type = text_type();
	hid_t space = attribute ? H5Aget_space(a) : H5Dget_space(o);
	herr_t r = H5Sget_simple_extent_npoints(space) > 64 ? -1 : attribute ? H5Aread(a, type, text) : H5Dread(o, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text);
	snprintf(to, 64, "%s", r >= 0 && text[i] ? text[i] : "(none)");
	if (r >= 0)
		H5Dvlen_reclaim(type, space, H5P_DEFAULT, text);
	H5Sclose(space);
	H5Tclose(type);
	if (attribute)
		H5Aclose(a);
	H5Oclose(o);
}

#define CHECK_TEXT(path, attribute, i, want) do { char t_[64]; text_of(f, path, attribute, i, t_); CHECK_STR(t_, want); } while (0)

static void shape_of(hid_t f, const char *path, hsize_t shape[2])
{
	hid_t d = H5Dopen2(f, path, H5P_DEFAULT), space = H5Dget_space(d);
	shape[0] = shape[1] = 0;
	H5Sget_simple_extent_dims(space, shape, NULL);
	H5Sclose(space);
	H5Dclose(d);
}

static void read_all(hid_t f, const char *path, hid_t type, void *to)
{
	hid_t d = H5Dopen2(f, path, H5P_DEFAULT);
	if (H5Dread(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, to) < 0)
		memset(to, 0, 1);
	H5Dclose(d);
}

static char path[64], other[96];

TEST(what_was_put_is_there)
{
	enum { N = 40 };
	hsize_t shape[2];
	float x[N * 3], m[N * 2];
	int64_t whole[N];
	double v[2];
	CHECK_OK(write_file(path, N));
	hid_t f = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
	CHECK(f >= 0);
	CHECK_TEXT("/", "encoding-type", 0, "anndata");
	CHECK_TEXT("/", "encoding-version", 0, "0.1.0");
	CHECK_TEXT("obs", "encoding-type", 0, "dataframe");
	CHECK_TEXT("obs", "_index", 0, "_index");
	CHECK_TEXT("obs", "column-order", 0, "whole");
	CHECK_TEXT("obs", "column-order", 1, "mixed");
	CHECK_TEXT("obs", "column-order", 2, "late");
	CHECK_TEXT("obs/_index", NULL, 39, "39");
	CHECK_TEXT("obs/mixed", NULL, 0, "007");
	CHECK_TEXT("obs/mixed", NULL, 1, "0");
	CHECK_TEXT("obs/late", NULL, 0, "");
	CHECK_TEXT("obs/late", NULL, 1, "\xc3\xa9");
	CHECK_TEXT("obs/late", "encoding-type", 0, "string-array");
	CHECK_TEXT("var/_index", NULL, 2, "c");
	CHECK_TEXT("uns/deep", "encoding-type", 0, "dict");
	CHECK_TEXT("uns/deep/er", NULL, 0, "words");
	CHECK(H5Lexists(f, "obs/none", H5P_DEFAULT) == 0);
	shape_of(f, "X", shape);
	CHECK(shape[0] == N && shape[1] == 3);
	shape_of(f, "obsm/M", shape);
	CHECK(shape[0] == N && shape[1] == 2);
	read_all(f, "X", H5T_NATIVE_FLOAT, x);
	read_all(f, "obsm/M", H5T_NATIVE_FLOAT, m);
	read_all(f, "obs/whole", H5T_NATIVE_INT64, whole);
	read_all(f, "uns/v", H5T_NATIVE_DOUBLE, v);
	for (int i = 0; i < N; i++)
		CHECK(x[3 * i + 2] == (float)(3 * i + 2) && m[2 * i] == (float)(2 * i) && whole[i] == i - 1);
	CHECK(v[0] == 0.5 && v[1] == -1);
	H5Fclose(f);
}

TEST(many_chunks_and_reading_back)
{
	enum { N = 9000 };
	vq_h5ad *h;
	static float x[N * 3], rows[700 * 3];
	CHECK_OK(vq_h5ad_open(&h, path));
	CHECK_OK(fill(h, N));
	CHECK(vq_h5ad_count(h) == N);
	CHECK_OK(vq_h5ad_read(h, 5000, 700, rows));
	CHECK(rows[0] == 15000 && rows[2099] == 17099);
	CHECK_OK(vq_h5ad_commit(h));
	hid_t f = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
	read_all(f, "X", H5T_NATIVE_FLOAT, x);
	for (int i = 0; i < 3 * N; i++)
		CHECK(x[i] == (float)i);
	H5Fclose(f);
}

TEST(same_bytes)
{
	vq_buf a = {0}, b = {0};
	CHECK_OK(write_file(path, 3000));
	CHECK_OK(write_file(other, 3000));
	for (int i = 0; i < 2; i++) {
		FILE *f = fopen(i ? other : path, "rb");
		vq_buf *to = i ? &b : &a;
		CHECK(f && !vq_buf_reserve(to, 1 << 20));
		to->len = fread(to->data, 1, 1 << 20, f);
		fclose(f);
	}
	CHECK(a.len == b.len && a.len > 36000 && !memcmp(a.data, b.data, a.len));
	vq_buf_free(&a);
	vq_buf_free(&b);
}

TEST(what_cannot_be)
{
	vq_h5ad *h;
	int m;
	unlink(path);
	CHECK_FAILS(vq_h5ad_open(&h, "/dev/null"), VQ_EINVAL);
	CHECK_STR(vq_message(), "/dev/null: HDF5 needs a plain file");
	CHECK_FAILS(vq_h5ad_open(&h, "/no/such/place.h5ad"), VQ_EIO);
	CHECK_OK(vq_h5ad_open(&h, path));
	CHECK_OK(vq_h5ad_features(h, names, 3));
	CHECK_FAILS(vq_h5ad_column(h, "a/b", false), VQ_EINVAL);
	CHECK_OK(vq_h5ad_obs(h, "k", "1"));
	CHECK_FAILS(vq_h5ad_obs(h, "k", "2"), VQ_EINVAL);
	CHECK_OK(vq_h5ad_matrix(h, "obsm/M", 2, false, &m));
	CHECK_OK(vq_h5ad_cell(h, (float[]){ 1, 2, 3 }));
	CHECK_FAILS(vq_h5ad_commit(h), VQ_EINVAL);
	CHECK(access(path, F_OK) != 0);
}

int main(void)
{
	snprintf(path, sizeof path, "/tmp/vq-h5ad-%ld", (long)getpid());
	snprintf(other, sizeof other, "%s-b", path);
	RUN(what_was_put_is_there)
	RUN(many_chunks_and_reading_back)
	RUN(same_bytes)
	RUN(what_cannot_be)
	unlink(path);
	unlink(other);
	printf("1..%d\n", test_number);
	return test_failed != 0;
}
