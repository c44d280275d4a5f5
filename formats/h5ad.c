#include "formats/h5ad.h"

#include <errno.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/outfile.h"

enum { MATRICES = 8, CHUNK_BYTES = 1 << 18, CHUNK_ROWS = 1 << 10, STRINGS_AT_ONCE = 1 << 12 };

typedef struct {
	hid_t set;
	int64_t width, chunk, held, rows; /* rows of a chunk; rows in buf; rows so far, those held included */
	float *buf;
} matrix;

/* Values one after the other, each with its NUL. */
typedef struct { char *name; vq_buf values; int64_t n; bool whole, any; } column;

struct vq_h5ad {
	vq_out *out;
	hid_t file;
	matrix m[MATRICES]; /* the first is X */
	int n;
	column *col;
	int cols;
	int64_t cells;
};

/* --- HDF5's words --------------------------------------------------------------------------------------------------- */

static herr_t deepest(unsigned n, const H5E_error2_t *e, void *to)
{
	*(const char **)to = e->desc;
	return 0;
}

static vq_status failed(const vq_h5ad *h, const char *what)
{
	int cause = errno;
	const char *words = NULL;
	H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, deepest, &words);
	if (cause)
		return vq_fail(VQ_EIO, "%s: %s: %s", vq_out_name(h->out), what, strerror(cause));
	return vq_fail(VQ_EIO, "%s: %s: HDF5: %s", vq_out_name(h->out), what, words ? words : "it failed");
}

static hid_t text_type(void)
{
	hid_t t = H5Tcopy(H5T_C_S1);
	if (t >= 0 && (H5Tset_size(t, H5T_VARIABLE) < 0 || H5Tset_cset(t, H5T_CSET_UTF8) < 0)) {
		H5Tclose(t);
		return -1;
	}
	return t;
}

/* The property list of a class, without times. */
static hid_t plain(hid_t class)
{
	hid_t p = H5Pcreate(class);
	if (p >= 0)
		H5Pset_obj_track_times(p, 0);
	return p;
}

/* --- attributes ----------------------------------------------------------------------------------------------------- */

static bool set_attribute(hid_t at, const char *name, hid_t space, const void *value)
{
	hid_t type = text_type(), a = H5Acreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
	bool ok = a >= 0 && H5Awrite(a, type, value) >= 0;
	H5Aclose(a);
	H5Tclose(type);
	return ok;
}

static bool set_word(hid_t at, const char *name, const char *value)
{
	hid_t space = H5Screate(H5S_SCALAR);
	bool ok = set_attribute(at, name, space, &value);
	H5Sclose(space);
	return ok;
}

static bool set_words(hid_t at, const char *name, const char *const *value, int64_t n)
{
	static const char *const none = "";
	hid_t space = H5Screate_simple(1, &(hsize_t){ (hsize_t)n }, NULL);
	bool ok = set_attribute(at, name, space, n ? (const void *)value : (const void *)&none);
	H5Sclose(space);
	return ok;
}

static bool set_encoding(hid_t at, const char *type, const char *version)
{
	return set_word(at, "encoding-type", type) && set_word(at, "encoding-version", version);
}

/* --- groups and small values ---------------------------------------------------------------------------------------- */

static vq_status make_group(vq_h5ad *h, const char *path, const char *type, const char *version)
{
	errno = 0;
	hid_t p = plain(H5P_GROUP_CREATE), g = H5Gcreate2(h->file, path, H5P_DEFAULT, p, H5P_DEFAULT);
	bool ok = g >= 0 && set_encoding(g, type, version);
	vq_status s = ok ? VQ_OK : failed(h, path);
	H5Gclose(g);
	H5Pclose(p);
	return s;
}

static vq_status make_parents(vq_h5ad *h, const char *path)
{
	for (const char *p = path; (p = strchr(p, '/')); p++) {
		char *part = vq_strndup(path, (size_t)(p - path));
		if (!part)
			return VQ_ENOMEM;
		htri_t there = H5Lexists(h->file, part, H5P_DEFAULT);
		vq_status s = there > 0 ? VQ_OK : make_group(h, part, "dict", "0.1.0");
		free(part);
		VQ_TRY(s);
	}
	return VQ_OK;
}

/* A data set of a fixed shape; rank 0 is one value. NULL data: only made. The caller closes it. */
static hid_t make_set(vq_h5ad *h, const char *path, hid_t type, int rank, const hsize_t *shape, const char *encoding, const void *data)
{
	errno = 0;
	hid_t p = plain(H5P_DATASET_CREATE), space = rank ? H5Screate_simple(rank, shape, NULL) : H5Screate(H5S_SCALAR);
	hid_t d = H5Dcreate2(h->file, path, type, space, H5P_DEFAULT, p, H5P_DEFAULT);
	if (d >= 0 && (!set_encoding(d, encoding, "0.2.0") || (data && H5Dwrite(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0))) {
		H5Dclose(d);
		d = -1;
	}
	H5Sclose(space);
	H5Pclose(p);
	return d;
}

static vq_status make_value(vq_h5ad *h, const char *path, hid_t type, int rank, const hsize_t *shape, const char *encoding, const void *data)
{
	VQ_TRY(make_parents(h, path));
	hid_t d = make_set(h, path, type, rank, shape, encoding, data);
	if (d < 0)
		return failed(h, path);
	H5Dclose(d);
	return VQ_OK;
}

vq_status vq_h5ad_text(vq_h5ad *h, const char *path, const char *text)
{
	hid_t type = text_type();
	vq_status s = make_value(h, path, type, 0, NULL, "string", &text);
	H5Tclose(type);
	return s;
}

vq_status vq_h5ad_texts(vq_h5ad *h, const char *path, const char *const *text, int64_t n)
{
	hid_t type = text_type();
	vq_status s = make_value(h, path, type, 1, &(hsize_t){ (hsize_t)n }, "string-array", n ? text : NULL);
	H5Tclose(type);
	return s;
}

vq_status vq_h5ad_array(vq_h5ad *h, const char *path, const vq_tensor *t)
{
	hsize_t shape[VQ_MAX_DIMS];
	if (t->dtype != VQ_F32 && t->dtype != VQ_F64)
		return vq_fail(VQ_EINVAL, "%s: %s values, not f32 or f64", path, vq_dtype_name(t->dtype));
	for (int i = 0; i < t->ndim; i++)
		shape[i] = (hsize_t)t->shape[i];
	return make_value(h, path, t->dtype == VQ_F32 ? H5T_IEEE_F32LE : H5T_IEEE_F64LE, t->ndim, shape, t->ndim ? "array" : "numeric-scalar", t->data);
}

/* --- matrices ------------------------------------------------------------------------------------------------------- */

static hid_t matrix_plan(const matrix *m, bool deflate)
{
	hid_t p = plain(H5P_DATASET_CREATE);
	H5Pset_chunk(p, 2, (hsize_t[]){ (hsize_t)m->chunk, (hsize_t)m->width });
	H5Pset_fill_time(p, H5D_FILL_TIME_ALLOC); /* what lies beyond the last row is 0, not chance */
	if (deflate && H5Zfilter_avail(H5Z_FILTER_DEFLATE) > 0) {
		H5Pset_shuffle(p);
		H5Pset_deflate(p, 4);
	}
	return p;
}

vq_status vq_h5ad_matrix(vq_h5ad *h, const char *path, int64_t width, bool deflate, int *at)
{
	matrix m = { .width = width };
	if (h->n == MATRICES || width < 1 || width > INT32_MAX / 4)
		return vq_fail(VQ_EINVAL, "%s: %s", path, h->n == MATRICES ? "too many matrices" : "the width is out of range");
	m.chunk = VQ_MAX(1, VQ_MIN(CHUNK_ROWS, CHUNK_BYTES / (4 * width)));
	if (!(m.buf = vq_malloc((size_t)m.chunk * (size_t)width * sizeof *m.buf)))
		return VQ_ENOMEM;
	vq_status s = make_parents(h, path);
	if (s == VQ_OK) {
		errno = 0;
		hid_t p = matrix_plan(&m, deflate), space = H5Screate_simple(2, (hsize_t[]){ 0, (hsize_t)width }, (hsize_t[]){ H5S_UNLIMITED, (hsize_t)width });
		m.set = H5Dcreate2(h->file, path, H5T_IEEE_F32LE, space, H5P_DEFAULT, p, H5P_DEFAULT);
		if (m.set < 0 || !set_encoding(m.set, "array", "0.2.0"))
			s = failed(h, path);
		H5Sclose(space);
		H5Pclose(p);
	}
	if (s < 0) {
		free(m.buf);
		return s;
	}
	*at = h->n;
	h->m[h->n++] = m;
	return VQ_OK;
}

/* Moves rows between buf and the file. */
static vq_status move(vq_h5ad *h, matrix *m, int64_t first, int64_t n, float *x, bool read)
{
	const hsize_t start[2] = { (hsize_t)first, 0 }, count[2] = { (hsize_t)n, (hsize_t)m->width };
	errno = 0;
	hid_t file = H5Dget_space(m->set), memory = H5Screate_simple(2, count, NULL);
	bool ok = H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
	          (read ? H5Dread(m->set, H5T_NATIVE_FLOAT, memory, file, H5P_DEFAULT, x) : H5Dwrite(m->set, H5T_NATIVE_FLOAT, memory, file, H5P_DEFAULT, x)) >= 0;
	vq_status s = ok ? VQ_OK : failed(h, read ? "cannot be read back" : "cannot be written");
	H5Sclose(memory);
	H5Sclose(file);
	return s;
}

static vq_status flush(vq_h5ad *h, matrix *m)
{
	if (!m->held)
		return VQ_OK;
	errno = 0;
	if (H5Dset_extent(m->set, (hsize_t[]){ (hsize_t)m->rows, (hsize_t)m->width }) < 0)
		return failed(h, "cannot grow");
	VQ_TRY(move(h, m, m->rows - m->held, m->held, m->buf, false));
	m->held = 0;
	return VQ_OK;
}

vq_status vq_h5ad_put(vq_h5ad *h, int at, const float *row)
{
	matrix *m = &h->m[at];
	memcpy(m->buf + m->held++ * m->width, row, (size_t)m->width * sizeof *row);
	m->rows++;
	return m->held == m->chunk ? flush(h, m) : VQ_OK;
}

vq_status vq_h5ad_read(vq_h5ad *h, int64_t first, int64_t n, float *x)
{
	VQ_TRY(flush(h, &h->m[0]));
	return move(h, &h->m[0], first, n, x, true);
}

int64_t vq_h5ad_count(const vq_h5ad *h) { return h->cells; }

/* --- data frames ---------------------------------------------------------------------------------------------------- */

static vq_status make_frame(vq_h5ad *h, const char *path, const char *const *columns, int64_t n)
{
	VQ_TRY(make_group(h, path, "dataframe", "0.2.0"));
	errno = 0;
	hid_t g = H5Gopen2(h->file, path, H5P_DEFAULT);
	bool ok = g >= 0 && set_word(g, "_index", "_index") && set_words(g, "column-order", columns, n);
	vq_status s = ok ? VQ_OK : failed(h, path);
	H5Gclose(g);
	return s;
}

vq_status vq_h5ad_features(vq_h5ad *h, const char *const *names, int64_t d)
{
	int at;
	VQ_TRY(vq_h5ad_matrix(h, "X", d, false, &at));
	VQ_TRY(make_frame(h, "var", NULL, 0));
	return vq_h5ad_texts(h, "var/_index", names, d);
}

static column *find_column(vq_h5ad *h, const char *name)
{
	for (int i = 0; i < h->cols; i++)
		if (!strcmp(h->col[i].name, name))
			return &h->col[i];
	return NULL;
}

vq_status vq_h5ad_column(vq_h5ad *h, const char *name, bool whole)
{
	if (find_column(h, name))
		return vq_fail(VQ_EINVAL, "the column %s is there already", name);
	if (!*name || strchr(name, '/') || !strcmp(name, "_index") || !strcmp(name, "."))
		return vq_fail(VQ_EINVAL, "\"%s\" cannot be the name of a column in HDF5", name);
	column *grown = vq_realloc(h->col, ((size_t)h->cols + 1) * sizeof *grown);
	if (!grown)
		return VQ_ENOMEM;
	h->col = grown;
	h->col[h->cols] = (column){ .name = vq_strdup(name), .whole = whole };
	if (!h->col[h->cols].name)
		return VQ_ENOMEM;
	h->cols++;
	return VQ_OK;
}

static vq_status fill_up(column *c, int64_t n)
{
	for (; c->n < n; c->n++) {
		VQ_TRY(vq_buf_add(&c->values, "", 1));
		c->whole = false;
	}
	return VQ_OK;
}

/* Plain decimal, within what 64 bits hold: the text comes back from the number. */
static bool is_whole(const char *s)
{
	size_t digits = strspn(s + (*s == '-'), "0123456789");
	return digits > 0 && digits < 19 && !s[(*s == '-') + digits] && (s[*s == '-'] != '0' || !strcmp(s, "0"));
}

vq_status vq_h5ad_obs(vq_h5ad *h, const char *name, const char *value)
{
	column *c = find_column(h, name);
	if (!c) {
		VQ_TRY(vq_h5ad_column(h, name, false));
		c = &h->col[h->cols - 1];
	}
	if (c->n > h->cells)
		return vq_fail(VQ_EINVAL, "the column %s has a second value", name);
	VQ_TRY(fill_up(c, h->cells));
	VQ_TRY(vq_buf_add(&c->values, value, strlen(value) + 1));
	c->any |= *value != 0;
	c->whole &= is_whole(value);
	c->n++;
	return VQ_OK;
}

vq_status vq_h5ad_cell(vq_h5ad *h, const float *x)
{
	VQ_TRY(vq_h5ad_put(h, 0, x));
	h->cells++;
	return VQ_OK;
}

/* n values from *at on, into the rows of a set from `first`; *at moves on. NULL: the numbers of the rows themselves. */
static bool write_values(hid_t set, hid_t type, bool whole, const char **at, int64_t first, int64_t n)
{
	static char digits[STRINGS_AT_ONCE][24];
	static const char *text[STRINGS_AT_ONCE];
	static int64_t number[STRINGS_AT_ONCE];
	for (int64_t i = 0; i < n; i++) {
		if (!at) {
			snprintf(digits[i], sizeof digits[i], "%lld", (long long)(first + i));
			text[i] = digits[i];
			continue;
		}
		text[i] = *at;
		number[i] = whole ? strtoll(*at, NULL, 10) : 0;
		*at += strlen(*at) + 1;
	}
	hid_t file = H5Dget_space(set), memory = H5Screate_simple(1, &(hsize_t){ (hsize_t)n }, NULL);
	bool ok = H5Sselect_hyperslab(file, H5S_SELECT_SET, &(hsize_t){ (hsize_t)first }, NULL, &(hsize_t){ (hsize_t)n }, NULL) >= 0 &&
	          H5Dwrite(set, type, memory, file, H5P_DEFAULT, whole ? (const void *)number : (const void *)text) >= 0;
	H5Sclose(memory);
	H5Sclose(file);
	return ok;
}

static vq_status write_column(vq_h5ad *h, const char *name, column *c)
{
	char *path = vq_format("obs/%s", name);
	const char *at = c ? c->values.data : NULL;
	bool whole = c && c->whole;
	if (!path)
		return VQ_ENOMEM;
	hid_t type = whole ? H5Tcopy(H5T_STD_I64LE) : text_type();
	hid_t set = make_set(h, path, type, 1, &(hsize_t){ (hsize_t)h->cells }, whole ? "array" : "string-array", NULL);
	bool ok = set >= 0;
	for (int64_t first = 0; ok && first < h->cells; first += STRINGS_AT_ONCE)
		ok = write_values(set, type, whole, c ? &at : NULL, first, VQ_MIN(h->cells - first, STRINGS_AT_ONCE));
	vq_status s = ok ? VQ_OK : failed(h, path);
	if (set >= 0)
		H5Dclose(set);
	H5Tclose(type);
	free(path);
	return s;
}

static vq_status write_obs(vq_h5ad *h)
{
	const char **order = vq_malloc(((size_t)h->cols + 1) * sizeof *order);
	int n = 0;
	if (!order)
		return VQ_ENOMEM;
	for (int i = 0; i < h->cols; i++)
		if (h->col[i].any)
			order[n++] = h->col[i].name;
	vq_status s = make_frame(h, "obs", order, n);
	if (s == VQ_OK)
		s = write_column(h, "_index", NULL);
	for (int i = 0; i < h->cols && s == VQ_OK; i++)
		if (h->col[i].any && (s = fill_up(&h->col[i], h->cells)) == VQ_OK)
			s = write_column(h, h->col[i].name, &h->col[i]);
	free(order);
	return s;
}

/* --- the file ------------------------------------------------------------------------------------------------------- */

/* Everything but the name: closes the file and forgets. A failure to close is a failure to write. */
static bool drop(vq_h5ad *h)
{
	bool ok = true;
	for (int i = 0; i < h->n; i++) {
		ok &= H5Dclose(h->m[i].set) >= 0;
		free(h->m[i].buf);
	}
	for (int i = 0; i < h->cols; i++) {
		free(h->col[i].name);
		vq_buf_free(&h->col[i].values);
	}
	free(h->col);
	h->n = h->cols = 0;
	h->col = NULL;
	if (h->file >= 0)
		ok &= H5Fclose(h->file) >= 0;
	h->file = -1;
	return ok;
}

void vq_h5ad_abort(vq_h5ad *h)
{
	if (!h)
		return;
	drop(h);
	vq_out_abort(h->out);
	free(h);
}

static hid_t create(const char *path)
{
	hid_t access = H5Pcreate(H5P_FILE_ACCESS), how = plain(H5P_FILE_CREATE);
	H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
	hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, how, access);
	H5Pclose(how);
	H5Pclose(access);
	return file;
}

static vq_status open_file(vq_h5ad *h)
{
	static const char *const groups[] = { "layers", "obsm", "obsp", "uns", "varm", "varp" };
	if (!vq_out_temp(h->out))
		return vq_fail(VQ_EINVAL, "%s: HDF5 needs a plain file", vq_out_name(h->out));
	H5dont_atexit(); /* after a full disk it would try again, at length, and say so */
	H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
	errno = 0;
	if ((h->file = create(vq_out_temp(h->out))) < 0)
		return failed(h, "cannot be made");
	hid_t root = H5Gopen2(h->file, "/", H5P_DEFAULT);
	bool ok = root >= 0 && set_encoding(root, "anndata", "0.1.0");
	H5Gclose(root);
	if (!ok)
		return failed(h, "cannot be written");
	for (size_t i = 0; i < VQ_COUNT(groups); i++)
		VQ_TRY(make_group(h, groups[i], "dict", "0.1.0"));
	return VQ_OK;
}

vq_status vq_h5ad_open(vq_h5ad **out, const char *path)
{
	*out = NULL;
	vq_h5ad *h = vq_calloc(1, sizeof *h);
	if (!h)
		return VQ_ENOMEM;
	h->file = -1;
	vq_status s = vq_out_open(&h->out, path, VQ_OUT_BINARY);
	if (s == VQ_OK && (s = open_file(h)) < 0)
		vq_h5ad_abort(h);
	else if (s < 0)
		free(h);
	else
		*out = h;
	return s;
}

static vq_status finish(vq_h5ad *h)
{
	for (int i = 0; i < h->n; i++) {
		if (h->m[i].rows != h->cells)
			return vq_fail(VQ_EINVAL, "%s: matrix %d has %lld rows for %lld cells", vq_out_name(h->out), i, (long long)h->m[i].rows, (long long)h->cells);
		VQ_TRY(flush(h, &h->m[i]));
	}
	VQ_TRY(write_obs(h));
	errno = 0;
	if (H5Fflush(h->file, H5F_SCOPE_GLOBAL) < 0)
		return failed(h, "cannot be written");
	return drop(h) ? VQ_OK : failed(h, "cannot be closed");
}

vq_status vq_h5ad_commit(vq_h5ad *h)
{
	vq_status s = finish(h);
	if (s < 0) {
		vq_h5ad_abort(h);
		return s;
	}
	s = vq_out_commit(h->out);
	free(h);
	return s;
}
