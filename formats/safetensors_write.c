#include "formats/safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/outfile.h"

static const char *const names[VQ_DTYPES] = {
	[VQ_U8] = "U8", [VQ_I8] = "I8", [VQ_U16] = "U16", [VQ_I32] = "I32", [VQ_I64] = "I64",
	[VQ_F16] = "F16", [VQ_BF16] = "BF16", [VQ_F32] = "F32", [VQ_F64] = "F64",
};

static vq_status add_text(vq_buf *b, const char *text)
{
	cJSON *item = cJSON_CreateString(text);
	char *quoted = item ? cJSON_PrintUnformatted(item) : NULL;
	vq_status s = quoted ? vq_buf_str(b, quoted) : vq_fail(VQ_ENOMEM, "out of memory");
	cJSON_free(quoted);
	cJSON_Delete(item);
	return s;
}

static vq_status add_meta(vq_buf *b, const cJSON *meta)
{
	VQ_TRY(vq_buf_str(b, "\"__metadata__\":{"));
	for (const cJSON *m = meta->child; m; m = m->next) {
		if (!cJSON_IsString(m) || !m->string)
			return vq_fail(VQ_EINVAL, "__metadata__ takes text only");
		VQ_TRY(vq_buf_str(b, m == meta->child ? "" : ","));
		VQ_TRY(add_text(b, m->string));
		VQ_TRY(vq_buf_str(b, ":"));
		VQ_TRY(add_text(b, m->valuestring));
	}
	return vq_buf_str(b, "}");
}

static vq_status add_tensor(vq_buf *b, const vq_st_item *item, size_t *at)
{
	const vq_tensor *t = item->t;
	size_t bytes, end;
	VQ_TRY(vq_tensor_bytes(t, &bytes));
	VQ_TRY(vq_add(*at, bytes, &end));
	VQ_TRY(add_text(b, item->name));
	VQ_TRY(vq_buf_fmt(b, ":{\"dtype\":\"%s\",\"shape\":[", names[t->dtype]));
	for (int i = 0; i < t->ndim; i++)
		VQ_TRY(vq_buf_fmt(b, "%s%lld", i ? "," : "", (long long)t->shape[i]));
	VQ_TRY(vq_buf_fmt(b, "],\"data_offsets\":[%zu,%zu]}", *at, end));
	*at = end;
	return VQ_OK;
}

/* The order of the data: element size, largest first, then as given. */
static int *order(const vq_st_item *items, int n)
{
	int *at = vq_malloc(((size_t)n + 1) * sizeof *at), k = 0;
	for (size_t size = 8; at && size; size /= 2)
		for (int i = 0; i < n; i++)
			if (vq_dtype_size(items[i].t->dtype) == size)
				at[k++] = i;
	return at;
}

static vq_status header(vq_buf *b, const vq_st_item *items, const int *at, int n, const cJSON *meta)
{
	size_t offset = 0;
	VQ_TRY(vq_buf_str(b, "{"));
	if (meta)
		VQ_TRY(add_meta(b, meta));
	for (int i = 0; i < n; i++) {
		for (int j = 0; j < i; j++)
			if (!strcmp(items[i].name, items[j].name))
				return vq_fail(VQ_EINVAL, "tensor %s: given twice", items[i].name);
		if (!strcmp(items[i].name, "__metadata__"))
			return vq_fail(VQ_EINVAL, "tensor __metadata__: this name is taken");
		VQ_TRY(vq_buf_str(b, i || meta ? "," : ""));
		vq_status s = add_tensor(b, &items[at[i]], &offset);
		if (s < 0)
			return vq_context(s, "tensor %s", items[at[i]].name);
	}
	VQ_TRY(vq_buf_str(b, "}"));
	while (b->len % 8)
		VQ_TRY(vq_buf_str(b, " "));
	return VQ_OK;
}

vq_status vq_st_write(const char *path, const vq_st_item *items, int n, const cJSON *meta)
{
	vq_status s;
	vq_out *o = NULL;
	vq_buf b = { 0 };
	int *at = order(items, n);
	if (!at)
		return VQ_ENOMEM;
	if ((s = header(&b, items, at, n, meta)) < 0) {
		vq_context(s, "%s", path ? path : "standard output");
		goto done;
	}
	VQ_TRY_GOTO(s, vq_out_open(&o, path, VQ_OUT_BINARY), done);
	uint64_t length = b.len;
	fwrite(&length, 8, 1, vq_out_file(o));
	fwrite(b.data, 1, b.len, vq_out_file(o));
	for (int i = 0; i < n && s == VQ_OK; i++) {
		size_t bytes;
		if ((s = vq_tensor_bytes(items[at[i]].t, &bytes)) == VQ_OK && fwrite(items[at[i]].t->data, 1, bytes, vq_out_file(o)) < bytes)
			s = vq_fail(VQ_EIO, "%s: %s", vq_out_name(o), strerror(errno));
	}
	if (s < 0)
		vq_out_abort(o);
	else
		s = vq_out_commit(o); /* reports the writes that failed */
done:
	vq_buf_free(&b);
	free(at);
	return s;
}
