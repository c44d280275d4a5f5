/* Records and stream headers in memory. */
#include <stdlib.h>
#include <string.h>

#include "formats/vqt_int.h"

vq_status vqt_record_make(vqt_record *r, const char *id)
{
	*r = (vqt_record){0};
	r->id = vq_strdup(id);
	r->meta = cJSON_CreateObject();
	if (r->id && r->meta)
		return VQ_OK;
	vqt_record_free(r);
	return vq_fail(VQ_ENOMEM, "out of memory for a record");
}

void vqt_record_free(vqt_record *r)
{
	for (int i = 0; i < r->n; i++)
		vq_tensor_free(&r->entry[i].t);
	free(r->entry);
	cJSON_Delete(r->meta);
	free(r->id);
	*r = (vqt_record){0};
}

vq_tensor *vqt_get(const vqt_record *r, const char *name)
{
	for (int i = 0; i < r->n; i++)
		if (!strcmp(r->entry[i].name, name))
			return &r->entry[i].t;
	return NULL;
}

vq_status vqt_set(vqt_record *r, const char *name, vq_tensor *t)
{
	vq_tensor *old = vqt_get(r, name);
	if (!old) {
		VQ_TRY(vqt_check_name(name));
		if (r->n >= VQT_TENSORS_MAX)
			return vq_fail(VQ_ELIMIT, "more than %d tensors in a record", VQT_TENSORS_MAX);
		vqt_entry *more = vq_realloc(r->entry, sizeof *more * (size_t)(r->n + 1));
		if (!more)
			return VQ_ENOMEM;
		r->entry = more;
		vqt_entry *e = &more[r->n++];
		*e = (vqt_entry){0};
		strcpy(e->name, name);
		old = &e->t;
	}
	if (old != t) {
		vq_tensor_free(old);
		*old = *t;
		*t = (vq_tensor){0};
	}
	return VQ_OK;
}

void vqt_remove(vqt_record *r, const char *name)
{
	vq_tensor *t = vqt_get(r, name);
	if (!t)
		return;
	vq_tensor_free(t);
	int i = 0;
	while (&r->entry[i].t != t)
		i++;
	memmove(&r->entry[i], &r->entry[i + 1], sizeof *r->entry * (size_t)(r->n - i - 1));
	r->n--;
}

vq_status vqt_record_copy(vqt_record *to, const vqt_record *from)
{
	vq_status s = vqt_record_make(to, from->id);
	if (s < 0)
		return s;
	cJSON *meta = cJSON_Duplicate(from->meta, 1);
	if (!meta) {
		s = vq_fail(VQ_ENOMEM, "out of memory for metadata");
		goto fail;
	}
	cJSON_Delete(to->meta);
	to->meta = meta;
	for (int i = 0; i < from->n; i++) {
		vq_tensor t;
		VQ_TRY_GOTO(s, vq_tensor_copy(&t, &from->entry[i].t), fail);
		if ((s = vqt_set(to, from->entry[i].name, &t)) < 0) {
			vq_tensor_free(&t);
			goto fail;
		}
	}
	return VQ_OK;
fail:
	vqt_record_free(to);
	return s;
}

cJSON *vqt_header_make(const char *kind, const cJSON *channels)
{
	cJSON *h = cJSON_CreateObject();
	bool ok = h && cJSON_AddStringToObject(h, "kind", kind);
	if (ok && channels) {
		cJSON *copy = cJSON_Duplicate(channels, 1);
		ok = copy && cJSON_AddItemToObject(h, "channels", copy);
		if (!ok)
			cJSON_Delete(copy);
	}
	ok = ok && cJSON_AddArrayToObject(h, "chain");
	if (ok)
		return h;
	cJSON_Delete(h);
	vq_fail(VQ_ENOMEM, "out of memory for a stream header");
	return NULL;
}

vq_status vqt_header_chain(cJSON *header, const char *tool, cJSON *args)
{
	cJSON *chain = cJSON_GetObjectItemCaseSensitive(header, "chain");
	cJSON *step = cJSON_CreateObject();
	if (!args)
		args = cJSON_CreateArray();
	bool ok = step && args && cJSON_AddStringToObject(step, "tool", tool) && cJSON_AddStringToObject(step, "version", VQ_VERSION);
	if (ok && cJSON_AddItemToObject(step, "args", args))
		args = NULL; /* step owns it */
	else
		ok = false;
	if (ok && !chain)
		chain = cJSON_AddArrayToObject(header, "chain");
	if (ok && cJSON_IsArray(chain) && cJSON_AddItemToArray(chain, step))
		return VQ_OK;
	cJSON_Delete(args);
	cJSON_Delete(step);
	return vq_fail(VQ_ENOMEM, "out of memory for the chain of commands");
}

const char *vqt_header_kind(const cJSON *header)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(header, "kind"));
}

static bool good_channels(const cJSON *channels)
{
	const cJSON *c;
	if (channels && !cJSON_IsArray(channels))
		return false;
	cJSON_ArrayForEach(c, channels)
		if (!cJSON_IsString(c))
			return false;
	return true;
}

static bool plain_word(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_");
	return n > 0 && n < 64 && !s[n];
}

vq_status vqt_check_header(const cJSON *header)
{
	const char *kind = cJSON_IsObject(header) ? vqt_header_kind(header) : NULL;
	const cJSON *chain = cJSON_GetObjectItemCaseSensitive(header, "chain"), *step;
	if (!kind || !plain_word(kind))
		return vq_fail(VQ_EFORMAT, "the stream header lacks a kind");
	if (!good_channels(cJSON_GetObjectItemCaseSensitive(header, "channels")))
		return vq_fail(VQ_EFORMAT, "the stream header's \"channels\" is not a list of names");
	if (chain && !cJSON_IsArray(chain))
		return vq_fail(VQ_EFORMAT, "the stream header's \"chain\" is not a list");
	cJSON_ArrayForEach(step, chain)
		if (!cJSON_IsObject(step))
			return vq_fail(VQ_EFORMAT, "the stream header's \"chain\" holds something that is no command");
	return VQ_OK;
}

vq_status vqt_check_kind(const char *kind, const char *kinds)
{
	char words[256] = "";
	size_t used = 0;
	for (const char *p = kinds; p; ) {
		size_t n = strcspn(p, "|");
		if (n == strlen(kind) && !memcmp(p, kind, n))
			return VQ_OK;
		const char *next = p[n] ? p + n + 1 : NULL;
		int put = snprintf(words + used, sizeof words - used, "%s%.*s", !used ? "" : next ? ", " : " or ", (int)n, p);
		used = VQ_MIN(used + (size_t)put, sizeof words - 1);
		p = next;
	}
	return kinds ? vq_fail(VQ_EINVAL, "a stream of %s, where %s are wanted", kind, words) : VQ_OK;
}

vq_status vqt_same_stream(const cJSON *first, const cJSON *other)
{
	if (strcmp(vqt_header_kind(first), vqt_header_kind(other)))
		return vq_fail(VQ_EFORMAT, "streams of different kinds were joined: first %s, then %s",
			vqt_header_kind(first), vqt_header_kind(other));
	const cJSON *a = cJSON_GetObjectItemCaseSensitive(first, "channels");
	const cJSON *b = cJSON_GetObjectItemCaseSensitive(other, "channels");
	if ((!a && !b) || (a && b && cJSON_Compare(a, b, 1)))
		return VQ_OK;
	char *ta = a ? cJSON_PrintUnformatted(a) : NULL, *tb = b ? cJSON_PrintUnformatted(b) : NULL;
	vq_status s = vq_fail(VQ_EFORMAT, "streams of different channels were joined: first %.300s, then %.300s", ta ? ta : "none", tb ? tb : "none");
	cJSON_free(ta);
	cJSON_free(tb);
	return s;
}
