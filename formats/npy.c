#include "formats/npy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/npy_bytes.h"
#include "formats/outfile.h"

/* --- header out --- */

static const char *type_name(vq_dtype t)
{
	static const char *const name[VQ_DTYPES] = {
		[VQ_U8] = "|u1", [VQ_I8] = "|i1", [VQ_U16] = "<u2", [VQ_I32] = "<i4", [VQ_I64] = "<i8",
		[VQ_F16] = "<f2", [VQ_BF16] = "<f4", [VQ_F32] = "<f4", [VQ_F64] = "<f8",
	};
	return name[t];
}

vq_status vq_npy_header(vq_buf *out, vq_dtype dtype, int ndim, const int64_t *shape, size_t least)
{
	vq_buf b = {0};
	vq_status s = vq_buf_fmt(&b, "{'descr': '%s', 'fortran_order': False, 'shape': (", type_name(dtype));
	for (int i = 0; s == VQ_OK && i < ndim; i++)
		s = vq_buf_fmt(&b, "%s%lld%s", i ? " " : "", (long long)shape[i], i + 1 < ndim || ndim == 1 ? "," : "");
	if (s == VQ_OK)
		s = vq_buf_str(&b, "), }");
	size_t total = VQ_MAX(VQ_ALIGN(10 + b.len + 1, 64), least), pad = total - 10 - b.len - 1;
	unsigned char lead[10] = { 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)((total - 10) & 255), (unsigned char)((total - 10) >> 8) };
	if (s == VQ_OK)
		s = vq_buf_add(out, lead, sizeof lead);
	if (s == VQ_OK)
		s = vq_buf_add(out, b.data, b.len);
	if (s == VQ_OK)
		s = vq_buf_fmt(out, "%*s\n", (int)pad, "");
	vq_buf_free(&b);
	return s;
}

vq_status vq_npy_plain(const vq_tensor *t, vq_tensor *wide)
{
	*wide = (vq_tensor){0};
	return t->dtype == VQ_BF16 ? vq_tensor_to_f32(wide, t) : VQ_OK;
}

static vq_status put(FILE *f, const char *what, const void *data, size_t n)
{
	errno = 0;
	if (n && fwrite(data, 1, n, f) != n)
		return vq_fail(VQ_EIO, "%s: %s", what, strerror(errno ? errno : EIO));
	return VQ_OK;
}

static vq_status put_values(FILE *f, const char *what, const vq_tensor *t)
{
	vq_tensor wide;
	size_t bytes;
	VQ_TRY(vq_npy_plain(t, &wide));
	const vq_tensor *v = wide.data ? &wide : t;
	vq_status s = vq_tensor_bytes(v, &bytes);
	if (s == VQ_OK)
		s = put(f, what, v->data, bytes);
	vq_tensor_free(&wide);
	return s;
}

vq_status vq_npy_put(FILE *f, const char *what, const vq_tensor *t)
{
	vq_buf head = {0};
	vq_status s = vq_npy_header(&head, t->dtype, t->ndim, t->shape, 0);
	if (s == VQ_OK)
		s = put(f, what, head.data, head.len);
	vq_buf_free(&head);
	return s == VQ_OK ? put_values(f, what, t) : s;
}

vq_status vq_npy_write(const char *path, const vq_tensor *t)
{
	vq_out *o;
	VQ_TRY(vq_out_open(&o, path, VQ_OUT_BINARY));
	vq_status s = vq_npy_put(vq_out_file(o), vq_out_name(o), t);
	if (s < 0) {
		vq_out_abort(o);
		return s;
	}
	return vq_out_commit(o);
}

/* --- a growing array --- */

struct vq_npy_stack {
	vq_out *out;
	vq_dtype dtype;
	int ndim;                          /* of an item */
	int64_t shape[VQ_MAX_DIMS + 1];    /* shape[0]: items so far */
};

enum { STACK_HEADER = 256 };           /* room for the longest header, so that its length never changes */

static vq_status stack_header(vq_npy_stack *s)
{
	vq_buf head = {0};
	vq_status st = vq_npy_header(&head, s->dtype, s->ndim + 1, s->shape, STACK_HEADER);
	if (st == VQ_OK)
		st = put(vq_out_file(s->out), vq_out_name(s->out), head.data, head.len);
	vq_buf_free(&head);
	return st;
}

vq_status vq_npy_stack_open(vq_npy_stack **out, const char *path)
{
	vq_npy_stack *s = *out = vq_calloc(1, sizeof *s);
	if (!s)
		return VQ_ENOMEM;
	vq_status st = vq_out_open(&s->out, path, VQ_OUT_BINARY);
	if (st == VQ_OK && fseeko(vq_out_file(s->out), 0, SEEK_SET))
		st = vq_fail(VQ_EIO, "%s: is no file that can be rewound: its header needs the number of arrays", vq_out_name(s->out));
	if (st < 0) {
		vq_npy_stack_abort(s);
		*out = NULL;
	}
	return st;
}

static void shape_text(char out[160], vq_dtype dtype, int ndim, const int64_t *shape)
{
	int n = snprintf(out, 160, "%s [", vq_dtype_name(dtype));
	for (int i = 0; i < ndim; i++)
		n += snprintf(out + n, (size_t)(160 - n), "%s%lld", i ? "," : "", (long long)shape[i]);
	snprintf(out + n, (size_t)(160 - n), "]");
}

vq_status vq_npy_stack_put(vq_npy_stack *s, const vq_tensor *t)
{
	if (!s->shape[0]) {
		s->dtype = t->dtype;
		s->ndim = t->ndim;
		memcpy(s->shape + 1, t->shape, (size_t)t->ndim * sizeof *t->shape);
		VQ_TRY(stack_header(s));
	} else if (t->dtype != s->dtype || t->ndim != s->ndim || memcmp(t->shape, s->shape + 1, (size_t)t->ndim * sizeof *t->shape)) {
		char a[160], b[160];
		shape_text(a, t->dtype, t->ndim, t->shape);
		shape_text(b, s->dtype, s->ndim, s->shape + 1);
		return vq_fail(VQ_EINVAL, "is %s, the first one is %s", a, b);
	}
	VQ_TRY(put_values(vq_out_file(s->out), vq_out_name(s->out), t));
	s->shape[0]++;
	return VQ_OK;
}

vq_status vq_npy_stack_commit(vq_npy_stack *s)
{
	vq_status st = VQ_OK;
	if (!s->shape[0])
		st = vq_fail(VQ_EINVAL, "%s: no array to write", vq_out_name(s->out));
	else if (fseeko(vq_out_file(s->out), 0, SEEK_SET))
		st = vq_fail(VQ_EIO, "%s: %s", vq_out_name(s->out), strerror(errno));
	else
		st = stack_header(s);
	if (st < 0) {
		vq_npy_stack_abort(s);
		return st;
	}
	st = vq_out_commit(s->out);
	free(s);
	return st;
}

void vq_npy_stack_abort(vq_npy_stack *s)
{
	if (!s)
		return;
	vq_out_abort(s->out);
	free(s);
}
