#include "formats/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_MAX = 100000000 };

struct vq_st {
	int fd, n;
	char *path;
	cJSON *header;
	const cJSON *meta;
	uint64_t start;          /* file offset of the data */
	vq_st_info *info;        /* by begin */
	const vq_st_info **name; /* by name */
};

/* How the file's type comes into ours; conv: 0 as it is, otherwise widened in place after reading. */
static const struct {
	const char *name;
	int size;
	vq_dtype to;
	enum { AS_IS, WIDEN_I16, WIDEN_U32, WIDEN_U64, F8_E4M3, F8_E5M2 } conv;
} types[] = {
	{ "F32", 4, VQ_F32, AS_IS }, { "F16", 2, VQ_F16, AS_IS }, { "BF16", 2, VQ_BF16, AS_IS }, { "F64", 8, VQ_F64, AS_IS },
	{ "I64", 8, VQ_I64, AS_IS }, { "I32", 4, VQ_I32, AS_IS }, { "U16", 2, VQ_U16, AS_IS }, { "U8", 1, VQ_U8, AS_IS },
	{ "I8", 1, VQ_I8, AS_IS }, { "BOOL", 1, VQ_U8, AS_IS }, { "I16", 2, VQ_I32, WIDEN_I16 }, { "U32", 4, VQ_I64, WIDEN_U32 },
	{ "U64", 8, VQ_I64, WIDEN_U64 }, { "F8_E4M3", 1, VQ_F32, F8_E4M3 }, { "F8_E5M2", 1, VQ_F32, F8_E5M2 },
};

static int type_index(const char *name)
{
	for (size_t i = 0; i < VQ_COUNT(types); i++)
		if (!strcmp(types[i].name, name))
			return (int)i;
	return -1;
}


/* A whole number from 0 that a double holds exactly. */
static bool whole(const cJSON *item, uint64_t *v)
{
	if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= 0x1p53) || item->valuedouble != floor(item->valuedouble))
		return false;
	*v = (uint64_t)item->valuedouble;
	return true;
}

static vq_status read_at(const vq_st *st, void *p, size_t n, uint64_t at)
{
	while (n) {
		ssize_t got = pread(st->fd, p, VQ_MIN(n, (size_t)1 << 30), (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return vq_fail(VQ_EIO, "%s", strerror(errno));
		if (!got)
			return vq_fail(VQ_ETRUNC, "the file ends at byte %llu", (unsigned long long)at);
		p = (char *)p + got;
		n -= (size_t)got;
		at += (uint64_t)got;
	}
	return VQ_OK;
}

static vq_status parse_info(const cJSON *item, vq_st_info *e)
{
	const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype"), *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
	const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
	e->name = item->string;
	if (!cJSON_IsString(dtype) || !cJSON_IsArray(shape) || cJSON_GetArraySize(offsets) != 2)
		return vq_fail(VQ_EFORMAT, "lacks dtype, shape or data_offsets");
	int type = type_index(dtype->valuestring);
	if (type < 0)
		return vq_fail(VQ_EUNSUP, "element type \"%.16s\" is not known", dtype->valuestring);
	strcpy(e->dtype, types[type].name);
	size_t count = 1, bytes;
	for (const cJSON *d = shape->child; d; d = d->next) {
		uint64_t extent;
		if (e->ndim == VQ_ST_DIMS_MAX)
			return vq_fail(VQ_EUNSUP, "more than %d dimensions", VQ_ST_DIMS_MAX);
		if (!whole(d, &extent))
			return vq_fail(VQ_EFORMAT, "a shape that is no list of whole numbers");
		e->shape[e->ndim++] = (int64_t)extent;
		VQ_TRY(vq_mul(count, extent, &count));
	}
	e->count = count;
	VQ_TRY(vq_mul(count, (size_t)types[type].size, &bytes));
	if (!whole(offsets->child, &e->begin) || !whole(offsets->child->next, &e->end) || e->end < e->begin)
		return vq_fail(VQ_EFORMAT, "data_offsets are no byte range");
	if (e->end - e->begin != bytes)
		return vq_fail(VQ_EFORMAT, "data_offsets span %llu bytes, its shape and type need %zu", (unsigned long long)(e->end - e->begin), bytes);
	return VQ_OK;
}

static int by_begin(const void *a, const void *b)
{
	const vq_st_info *x = a, *y = b;
	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return x->end < y->end ? -1 : x->end > y->end ? 1 : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const vq_st_info *const *)a)->name, (*(const vq_st_info *const *)b)->name);
}

/* The tensors in the order of their data, without holes, overlaps or anything after them. */
static vq_status check_layout(const vq_st *st, uint64_t data_bytes)
{
	uint64_t at = 0;
	for (int i = 0; i < st->n; i++) {
		const vq_st_info *e = &st->info[i];
		if (e->begin != at)
			return vq_fail(VQ_EFORMAT, "%s: tensor %s: its data %s the tensor before it", st->path, e->name,
			               e->begin < at ? "overlaps" : "leaves a hole after");
		at = e->end;
		if (at > data_bytes)
			return vq_fail(VQ_ETRUNC, "%s: tensor %s: its data ends at byte %llu, the file's at %llu", st->path, e->name,
			               (unsigned long long)(st->start + at), (unsigned long long)(st->start + data_bytes));
	}
	if (at != data_bytes)
		return vq_fail(VQ_EFORMAT, "%s: %llu bytes after the last tensor", st->path, (unsigned long long)(data_bytes - at));
	return VQ_OK;
}

static vq_status parse_meta(vq_st *st, const cJSON *meta)
{
	if (!cJSON_IsObject(meta))
		return vq_fail(VQ_EFORMAT, "%s: __metadata__ is no object", st->path);
	for (const cJSON *m = meta->child; m; m = m->next)
		if (!cJSON_IsString(m))
			return vq_fail(VQ_EFORMAT, "%s: __metadata__.%.60s is no text", st->path, m->string);
	st->meta = meta;
	return VQ_OK;
}

static vq_status parse_header(vq_st *st, uint64_t data_bytes)
{
	int n = cJSON_GetArraySize(st->header);
	st->info = vq_calloc((size_t)n + 1, sizeof *st->info);
	st->name = vq_calloc((size_t)n + 1, sizeof *st->name);
	if (!st->info || !st->name)
		return VQ_ENOMEM;
	for (const cJSON *item = st->header->child; item; item = item->next) {
		if (!strcmp(item->string, "__metadata__") && !st->meta) {
			VQ_TRY(parse_meta(st, item));
			continue;
		}
		vq_status s = parse_info(item, &st->info[st->n++]);
		if (s < 0)
			return vq_context(s, "%s: tensor %.200s", st->path, item->string);
	}
	qsort(st->info, (size_t)st->n, sizeof *st->info, by_begin);
	for (int i = 0; i < st->n; i++)
		st->name[i] = &st->info[i];
	qsort(st->name, (size_t)st->n, sizeof *st->name, by_name);
	for (int i = 1; i < st->n; i++)
		if (!strcmp(st->name[i]->name, st->name[i - 1]->name))
			return vq_fail(VQ_EFORMAT, "%s: tensor %s: in the header twice", st->path, st->name[i]->name);
	return check_layout(st, data_bytes);
}

static vq_status open_file(vq_st *st)
{
	struct stat sb;
	uint64_t length = 0;
	if ((st->fd = open(st->path, O_RDONLY | O_CLOEXEC)) < 0 || fstat(st->fd, &sb))
		return vq_fail(VQ_EIO, "%s: %s", st->path, strerror(errno));
	if (!S_ISREG(sb.st_mode))
		return vq_fail(VQ_EIO, "%s: not a regular file", st->path);
	uint64_t size = (uint64_t)sb.st_size;
	if (size < 8)
		return vq_fail(VQ_ETRUNC, "%s: %llu bytes are no safetensors file", st->path, (unsigned long long)size);
	vq_status s = read_at(st, &length, 8, 0);
	if (s < 0)
		return vq_context(s, "%s", st->path);
	if (length < 2 || length > HEADER_MAX)
		return vq_fail(VQ_EFORMAT, "%s: not a safetensors file (a header of %llu bytes)", st->path, (unsigned long long)length);
	if (length > size - 8)
		return vq_fail(VQ_ETRUNC, "%s: its header has %llu bytes, the file only %llu", st->path, (unsigned long long)length,
		               (unsigned long long)size);
	char *text = vq_malloc(length);
	if (!text)
		return VQ_ENOMEM;
	const char *end = NULL;
	if ((s = read_at(st, text, length, 8)) < 0) {
		vq_context(s, "%s", st->path);
	} else {
		st->header = *text == '{' ? cJSON_ParseWithLengthOpts(text, length, &end, false) : NULL;
		while (st->header && end < text + length && *end == ' ')
			end++;
		if (!st->header || end != text + length)
			s = vq_fail(VQ_EFORMAT, "%s: its header is no JSON object", st->path);
	}
	free(text);
	st->start = 8 + length;
	return s < 0 ? s : parse_header(st, size - st->start);
}

vq_status vq_st_open(vq_st **out, const char *path)
{
	*out = NULL;
	vq_st *st = vq_calloc(1, sizeof *st);
	if (!st)
		return VQ_ENOMEM;
	st->fd = -1;
	vq_status s = (st->path = vq_strdup(path)) ? open_file(st) : VQ_ENOMEM;
	if (s < 0)
		vq_st_close(st);
	else
		*out = st;
	return s;
}

void vq_st_close(vq_st *st)
{
	if (!st)
		return;
	if (st->fd >= 0)
		close(st->fd);
	cJSON_Delete(st->header);
	free(st->info);
	free(st->name);
	free(st->path);
	free(st);
}

int vq_st_count(const vq_st *st) { return st->n; }
const vq_st_info *vq_st_at(const vq_st *st, int i) { return i >= 0 && i < st->n ? &st->info[i] : NULL; }

const vq_st_info *vq_st_find(const vq_st *st, const char *name)
{
	vq_st_info want = { .name = name };
	const vq_st_info *p = &want, **at = bsearch(&p, st->name, (size_t)st->n, sizeof *st->name, by_name);
	return at ? *at : NULL;
}

const cJSON *vq_st_metadata(const vq_st *st) { return st->meta; }

const char *vq_st_meta(const vq_st *st, const char *key)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(st->meta, key));
}

static float from_f8(uint8_t b, int exponent_bits)
{
	int mantissa_bits = 7 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1, mask = (1 << mantissa_bits) - 1;
	int e = b >> mantissa_bits & ((1 << exponent_bits) - 1), m = b & mask;
	double v;
	if (exponent_bits == 4 ? (b & 0x7f) == 0x7f : e == 31)
		v = exponent_bits == 5 && !m ? INFINITY : NAN; /* E4M3 has no infinity */
	else
		v = e ? ldexp(1 + m / (double)(1 << mantissa_bits), e - bias) : ldexp(m, 1 - bias - mantissa_bits);
	return (float)(b & 0x80 ? -v : v);
}

/* The bytes of a type that tensors lack, widened in place: they lie at the tail of t, so that writing never overtakes reading. */
static vq_status widen(vq_tensor *t, size_t n, int type)
{
	size_t small = (size_t)types[type].size, big = vq_dtype_size(t->dtype);
	char *base = (char *)t->data, *from = base + n * (big - small); /* where read_at put them */
	for (size_t i = 0; i < n; i++) {
		uint64_t u = 0;
		memcpy(&u, from + i * small, small);
		int32_t i32 = (int16_t)u;
		float f = types[type].conv == F8_E4M3 ? from_f8((uint8_t)u, 4) : types[type].conv == F8_E5M2 ? from_f8((uint8_t)u, 5) : 0;
		if (types[type].conv == WIDEN_U64 && u > INT64_MAX)
			return vq_fail(VQ_EUNSUP, "element %zu is beyond the range of i64", i);
		memcpy(base + i * big, t->dtype == VQ_I32 ? (void *)&i32 : t->dtype == VQ_F32 ? (void *)&f : (void *)&u, big);
	}
	return VQ_OK;
}

static vq_status read_tensor(vq_st *st, const vq_st_info *e, vq_tensor *t)
{
	int type = type_index(e->dtype);
	if (e->ndim > VQ_MAX_DIMS)
		return vq_fail(VQ_EUNSUP, "%d dimensions; at most %d can be read", e->ndim, VQ_MAX_DIMS);
	VQ_TRY(vq_tensor_make(t, types[type].to, e->ndim, e->shape));
	size_t bytes = (size_t)(e->end - e->begin), room = (size_t)e->count * vq_dtype_size(types[type].to);
	vq_status s = read_at(st, (char *)t->data + (room - bytes), bytes, st->start + e->begin);
	if (s == VQ_OK && types[type].conv != AS_IS)
		s = widen(t, (size_t)e->count, type);
	if (s < 0)
		vq_tensor_free(t);
	return s;
}

vq_status vq_st_tensor(vq_st *st, const char *name, vq_tensor *t)
{
	memset(t, 0, sizeof *t);
	const vq_st_info *e = vq_st_find(st, name);
	if (!e)
		return vq_fail(VQ_EINVAL, "%s: has no tensor %s", st->path, name);
	vq_status s = read_tensor(st, e, t);
	return s < 0 ? vq_context(s, "%s: tensor %s", st->path, name) : s;
}

static vq_status shape_text(vq_buf *b, int ndim, const int64_t *shape)
{
	VQ_TRY(vq_buf_str(b, "["));
	for (int i = 0; i < ndim; i++)
		VQ_TRY(vq_buf_fmt(b, "%s%lld", i ? "," : "", (long long)shape[i]));
	return vq_buf_str(b, "]");
}

vq_status vq_st_f32(vq_st *st, const char *name, int ndim, const int64_t *shape, vq_tensor *t)
{
	vq_tensor raw;
	memset(t, 0, sizeof *t);
	const vq_st_info *e = vq_st_find(st, name);
	if (e && (e->ndim != ndim || (ndim && memcmp(e->shape, shape, (size_t)ndim * sizeof *shape)))) {
		vq_buf is = { 0 }, want = { 0 };
		if (shape_text(&is, e->ndim, e->shape) == VQ_OK && shape_text(&want, ndim, shape) == VQ_OK)
			vq_fail(VQ_EINVAL, "%s: tensor %s: its shape is %s, not %s", st->path, name, is.data, want.data);
		vq_buf_free(&is);
		vq_buf_free(&want);
		return VQ_EINVAL;
	}
	VQ_TRY(vq_st_tensor(st, name, &raw));
	if (raw.dtype == VQ_F32) {
		*t = raw;
		return VQ_OK;
	}
	vq_status s = vq_tensor_to_f32(t, &raw);
	vq_tensor_free(&raw);
	return s;
}
