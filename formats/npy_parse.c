/* .npy in: a dictionary in Python's notation, then the values. */
#include <stdlib.h>
#include <string.h>

#include "formats/npy.h"
#include "formats/outfile.h"

typedef struct {
	char kind;                 /* b i u f */
	int size;                  /* bytes an element in the file */
	bool swap, fortran;
	int ndim;
	int64_t shape[VQ_MAX_DIMS];
} array;

static const char *skip(const char *p) { return p + strspn(p, " \t\n"); }

/* What follows the key `name`, in either kind of quotes; NULL when it is not there. */
static const char *value_of(const char *text, const char *name)
{
	size_t n = strlen(name);
	for (const char *p = text; (p = strstr(p, name)); p += n)
		if (p > text && (p[-1] == '\'' || p[-1] == '"') && p[n] == p[-1]) {
			p = skip(p + n + 1);
			return *p == ':' ? skip(p + 1) : NULL;
		}
	return NULL;
}

static vq_status parse_type(const char *what, const char *p, array *a)
{
	size_t n = *p == '\'' || *p == '"' ? strcspn(p + 1, "'\"") : 0;
	if (n == 3 && strchr("<>|=", p[1]) && strchr("biuf", p[2]) && p[3] >= '1' && p[3] <= '8') {
		a->swap = p[1] == '>';
		a->kind = p[2];
		a->size = p[3] - '0';
		bool power = a->size == 1 || a->size == 2 || a->size == 4 || a->size == 8;
		if (power && !(a->kind == 'b' && a->size != 1) && !(a->kind == 'f' && a->size == 1))
			return VQ_OK;
	}
	if (n && strchr(p + 1, 'O') && strchr(p + 1, 'O') < p + 1 + n)
		return vq_fail(VQ_EUNSUP, "%s: an array of Python objects (pickled), not of numbers", what);
	return vq_fail(VQ_EUNSUP, "%s: elements of type %.*s, where plain numbers are wanted", what, n ? (int)VQ_MIN(n, 20) + 2 : 1, p);
}

static vq_status parse_shape(const char *what, const char *p, array *a)
{
	if (*p++ != '(')
		return vq_fail(VQ_EFORMAT, "%s: a .npy header whose shape is no tuple", what);
	for (p = skip(p); *p && *p != ')'; p = skip(p)) {
		char *e;
		long long v = strtoll(p, &e, 10);
		if (e == p || v < 0)
			return vq_fail(VQ_EFORMAT, "%s: a .npy header with a bad shape", what);
		if (a->ndim == VQ_MAX_DIMS)
			return vq_fail(VQ_EUNSUP, "%s: more than %d axes", what, VQ_MAX_DIMS);
		a->shape[a->ndim++] = v;
		p = skip(*e == 'L' ? e + 1 : e); /* Python 2 wrote long integers so */
		if (*p == ',')
			p++;
	}
	return *p == ')' ? VQ_OK : vq_fail(VQ_EFORMAT, "%s: a .npy header with a bad shape", what);
}

static vq_status parse_header(const char *what, const unsigned char *p, size_t n, array *a, size_t *data)
{
	if (n < 12 || memcmp(p, "\x93NUMPY", 6))
		return vq_fail(VQ_EFORMAT, "%s: not a .npy file", what);
	if (p[6] < 1 || p[6] > 3)
		return vq_fail(VQ_EUNSUP, "%s: .npy version %d (1 to 3 are known)", what, p[6]);
	size_t from = p[6] == 1 ? 10 : 12, len = (size_t)p[8] | (size_t)p[9] << 8;
	if (p[6] > 1)
		len |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
	if (len > n - from)
		return vq_fail(VQ_ETRUNC, "%s: ends inside its header", what);
	*data = from + len;
	char *text = vq_strndup((const char *)p + from, len);
	if (!text)
		return VQ_ENOMEM;
	const char *type = value_of(text, "descr"), *order = value_of(text, "fortran_order"), *shape = value_of(text, "shape");
	vq_status s = VQ_OK;
	if (!type || !order || !shape)
		s = vq_fail(VQ_EFORMAT, "%s: a .npy header without descr, fortran_order or shape", what);
	if (s == VQ_OK)
		s = parse_type(what, type, a);
	if (s == VQ_OK)
		s = parse_shape(what, shape, a);
	a->fortran = order && !strncmp(order, "True", 4);
	free(text);
	return s;
}

static vq_dtype type_of(const array *a)
{
	switch (a->kind) {
	case 'f': return a->size == 2 ? VQ_F16 : a->size == 4 ? VQ_F32 : VQ_F64;
	case 'i': return a->size == 1 ? VQ_I8 : a->size == 8 ? VQ_I64 : VQ_I32;
	default: return a->size == 1 ? VQ_U8 : a->size == 2 ? VQ_U16 : VQ_I64;
	}
}

/* Element from the file to element `at` of the tensor. */
static bool convert(const array *a, const unsigned char *from, const vq_tensor *t, size_t at)
{
	unsigned char b[8] = {0};
	for (int i = 0; i < a->size; i++)
		b[i] = from[a->swap ? a->size - 1 - i : i];
	if (a->kind == 'i' && a->size == 2 && b[1] & 0x80) /* i16 in an i32 */
		b[2] = b[3] = 0xff;
	if (a->kind == 'u' && a->size == 8 && b[7] & 0x80)
		return false;
	size_t size = vq_dtype_size(t->dtype);
	memcpy((char *)t->data + at * size, b, size);
	return true;
}

/* C-order position of the i-th element of Fortran order. */
static size_t transposed(const array *a, size_t i)
{
	size_t at = 0, step = 1;
	int64_t index[VQ_MAX_DIMS];
	for (int k = 0; k < a->ndim; k++) {
		index[k] = (int64_t)(i % (size_t)a->shape[k]);
		i /= (size_t)a->shape[k];
	}
	for (int k = a->ndim - 1; k >= 0; k--) {
		at += (size_t)index[k] * step;
		step *= (size_t)a->shape[k];
	}
	return at;
}

vq_status vq_npy_parse(const void *data, size_t n, const char *what, vq_tensor *out)
{
	array a = {0};
	size_t begin = 0, count, bytes;
	*out = (vq_tensor){0};
	VQ_TRY(parse_header(what, data, n, &a, &begin));
	vq_tensor shape = { .dtype = type_of(&a), .ndim = a.ndim };
	memcpy(shape.shape, a.shape, sizeof a.shape);
	if (vq_tensor_count(&shape, &count) < 0 || vq_mul(count, (size_t)a.size, &bytes) < 0 || bytes > n - begin)
		return vq_fail(VQ_ETRUNC, "%s: ends before the values that its header announces", what);
	VQ_TRY(vq_tensor_make(out, shape.dtype, a.ndim, a.shape));
	const unsigned char *from = (const unsigned char *)data + begin;
	bool order = a.fortran && a.ndim > 1;
	if (!order && !a.swap && (size_t)a.size == vq_dtype_size(out->dtype) && !(a.kind == 'u' && a.size == 8)) {
		memcpy(out->data, from, bytes);
		return VQ_OK;
	}
	for (size_t i = 0; i < count; i++)
		if (!convert(&a, from + i * (size_t)a.size, out, order ? transposed(&a, i) : i)) {
			vq_tensor_free(out);
			return vq_fail(VQ_EUNSUP, "%s: an unsigned 64-bit value beyond 2^63", what);
		}
	return VQ_OK;
}

vq_status vq_npy_read(const char *path, size_t limit, vq_tensor *out)
{
	vq_buf file = {0};
	*out = (vq_tensor){0};
	vq_status s = vq_file_read(path, limit ? limit : (size_t)4 << 30, &file);
	if (s == VQ_OK)
		s = vq_npy_parse(file.data, file.len, path, out);
	vq_buf_free(&file);
	return s;
}

vq_status vq_npy_plane(const char *path, vq_tensor *out)
{
	vq_tensor t;
	*out = (vq_tensor){0};
	VQ_TRY(vq_npy_read(path, (size_t)1 << 30, &t));
	vq_status s = VQ_OK;
	if (t.ndim != 2 || t.shape[0] < 1 || t.shape[1] < 1)
		s = vq_fail(VQ_EUNSUP, "%s: an array of %d ax%s, where one plane (height, width) is wanted", path, t.ndim, t.ndim == 1 ? "is" : "es");
	else
		s = vq_tensor_to_f32(out, &t);
	vq_tensor_free(&t);
	return s;
}
