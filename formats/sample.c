#include "formats/sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const norm_names[] = { "raw", "none", "robust", "zscore", "minmax" };

const char *vq_norm_name(vq_norm_method m)
{
	return (unsigned)m < VQ_COUNT(norm_names) ? norm_names[m] : "?";
}

int vq_norm_parse(const char *name)
{
	for (size_t i = 0; name && i < VQ_COUNT(norm_names); i++)
		if (!strcmp(name, norm_names[i]))
			return (int)i;
	return -1;
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static const cJSON *get(const cJSON *object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }

vq_status vq_json_set(cJSON *object, const char *key, cJSON *item)
{
	bool done = item && (get(object, key) ? cJSON_ReplaceItemInObjectCaseSensitive(object, key, item)
	                                      : cJSON_AddItemToObject(object, key, item));
	if (done)
		return VQ_OK;
	cJSON_Delete(item);
	return vq_fail(VQ_ENOMEM, "out of memory for the JSON key %s", key);
}

static bool append(cJSON *array, cJSON *item)
{
	if (item && cJSON_AddItemToArray(array, item))
		return true;
	cJSON_Delete(item);
	return false;
}

cJSON *vq_json_doubles(const double *v, int n)
{
	cJSON *array = cJSON_CreateArray();
	for (int i = 0; array && i < n; i++)
		if (!append(array, isfinite(v[i]) ? cJSON_CreateNumber(v[i]) : cJSON_CreateNull())) {
			cJSON_Delete(array);
			array = NULL;
		}
	if (!array)
		vq_fail(VQ_ENOMEM, "out of memory for a JSON list of %d numbers", n);
	return array;
}

static cJSON *json_bools(const bool *v, int n)
{
	cJSON *array = cJSON_CreateArray();
	for (int i = 0; array && i < n; i++)
		if (!append(array, cJSON_CreateBool(v[i]))) {
			cJSON_Delete(array);
			array = NULL;
		}
	return array;
}

cJSON *vq_json_parse(const char *text, const char *what)
{
	const char *end = NULL;
	cJSON *json = cJSON_ParseWithOpts(text, &end, 1);
	if (json)
		return json;
	int line = 1;
	for (const char *c = text; end && c < end && *c; c++)
		line += *c == '\n';
	if (!end || !*end) {
		vq_fail(VQ_EFORMAT, "%s: line %d: JSON that ends too early", what, line);
	} else {
		int n = (int)VQ_MIN(strcspn(end, "\n"), 24);
		vq_fail(VQ_EFORMAT, "%s: line %d: not JSON at \"%.*s\"", what, line, n, end);
	}
	return NULL;
}

/* Reads object[key], a list of numbers, into v; *n is its length. Absent: *n = 0. */
static vq_status get_doubles(const cJSON *object, const char *key, double *v, int most, int *n)
{
	const cJSON *list = get(object, key), *item;
	*n = 0;
	if (!list)
		return VQ_OK;
	if (!cJSON_IsArray(list))
		return vq_fail(VQ_EFORMAT, "metadata key %s is not a list", key);
	cJSON_ArrayForEach(item, list) {
		if (*n >= most)
			return vq_fail(VQ_EFORMAT, "metadata key %s has more than %d entries", key, most);
		if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble))
			return vq_fail(VQ_EFORMAT, "metadata key %s[%d] is not a number", key, *n);
		v[(*n)++] = item->valuedouble;
	}
	return VQ_OK;
}

static vq_status get_bools(const cJSON *object, const char *key, bool *v, int n)
{
	const cJSON *list = get(object, key), *item;
	int i = 0;
	if (!list)
		return VQ_OK;
	if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != n)
		return vq_fail(VQ_EFORMAT, "metadata key %s is not a list of %d", key, n);
	cJSON_ArrayForEach(item, list) {
		if (!cJSON_IsBool(item))
			return vq_fail(VQ_EFORMAT, "metadata key %s[%d] is not true or false", key, i);
		v[i++] = cJSON_IsTrue(item);
	}
	return VQ_OK;
}

/* Reads object[key], a list of exactly n whole numbers from lo to 2^31 - 1. *found tells whether it is there. */
static vq_status get_extents(const cJSON *object, const char *key, int64_t *v, int n, int64_t lo, bool *found)
{
	double d[4];
	int have;
	*found = get(object, key) != NULL;
	if (!*found)
		return VQ_OK;
	VQ_TRY(get_doubles(object, key, d, n, &have));
	if (have != n)
		return vq_fail(VQ_EFORMAT, "metadata key %s has %d entries, not %d", key, have, n);
	for (int i = 0; i < n; i++) {
		if (d[i] < (double)lo || d[i] > INT32_MAX || d[i] != floor(d[i]))
			return vq_fail(VQ_EFORMAT, "metadata key %s[%d] = %g is out of range", key, i, d[i]);
		v[i] = (int64_t)d[i];
	}
	return VQ_OK;
}

/* A text of a few bytes; absent leaves "". */
static vq_status get_word(const cJSON *object, const char *key, char *out, size_t size)
{
	const cJSON *item = get(object, key);
	out[0] = 0;
	if (!item)
		return VQ_OK;
	if (!cJSON_IsString(item) || strlen(item->valuestring) >= size)
		return vq_fail(VQ_EFORMAT, "metadata key %s is not one of the words it may be", key);
	memcpy(out, item->valuestring, strlen(item->valuestring) + 1);
	return VQ_OK;
}

static bool one_of(const char *word, const char *a, const char *b, const char *c)
{
	return !strcmp(word, a) || !strcmp(word, b) || !strcmp(word, c);
}

/* --- normalisation ------------------------------------------------------------------------------------------------ */

static vq_status get_norm_channels(const cJSON *o, vq_norm *n)
{
	bool z = n->method == VQ_NORM_ZSCORE;
	const char *a = z ? "mean" : "low", *b = z ? "std" : "high";
	int nb, nclipped;
	VQ_TRY(get_doubles(o, a, n->a, VQ_CHANNELS_MAX, &n->channels));
	VQ_TRY(get_doubles(o, b, n->b, VQ_CHANNELS_MAX, &nb));
	VQ_TRY(get_doubles(o, "clipped", n->clipped, VQ_CHANNELS_MAX, &nclipped));
	if (n->channels < 1 || nb != n->channels)
		return vq_fail(VQ_EFORMAT, "metadata keys %s and %s do not hold a value a channel each", a, b);
	if (nclipped && nclipped != n->channels)
		return vq_fail(VQ_EFORMAT, "metadata key clipped has %d entries for %d channels", nclipped, n->channels);
	for (int i = 0; i < n->channels; i++)
		if (z ? n->b[i] < 0 : n->b[i] < n->a[i])
			return vq_fail(VQ_EFORMAT, "metadata key %s[%d] = %g is out of range", b, i, n->b[i]);
	return get_bools(o, "constant", n->constant, n->channels);
}

static vq_status get_norm(const cJSON *o, vq_norm *n)
{
	const cJSON *clip = get(o, "clip");
	char method[16];
	int count;
	if (!cJSON_IsObject(o))
		return vq_fail(VQ_EFORMAT, "it is not an object");
	VQ_TRY(get_word(o, "method", method, sizeof method));
	int m = vq_norm_parse(method);
	if (m < VQ_NORM_NONE)
		return vq_fail(VQ_EFORMAT, "method \"%s\" is not robust, zscore, minmax or none", method);
	n->method = (vq_norm_method)m;
	VQ_TRY(get_word(o, "scope", n->scope, sizeof n->scope));
	if (!*n->scope)
		memcpy(n->scope, "record", sizeof "record");
	if (!one_of(n->scope, "record", "field", "stats"))
		return vq_fail(VQ_EFORMAT, "scope \"%s\" is not record, field or stats", n->scope);
	VQ_TRY(get_doubles(o, "percentiles", n->percentiles, 2, &count));
	if (count != 2 && (count || n->method == VQ_NORM_ROBUST))
		return vq_fail(VQ_EFORMAT, "percentiles are not two numbers");
	if (count && !(n->percentiles[0] >= 0 && n->percentiles[0] < n->percentiles[1] && n->percentiles[1] <= 100))
		return vq_fail(VQ_EFORMAT, "percentiles %g, %g do not rise within 0 to 100", n->percentiles[0], n->percentiles[1]);
	if (clip && !cJSON_IsBool(clip))
		return vq_fail(VQ_EFORMAT, "clip is not true or false");
	n->clip = cJSON_IsTrue(clip);
	return n->method == VQ_NORM_NONE ? VQ_OK : get_norm_channels(o, n);
}

vq_status vq_norm_get(const cJSON *meta, vq_norm *n)
{
	const cJSON *o = get(meta, "normalize");
	*n = (vq_norm){0};
	if (!o)
		return VQ_OK;
	vq_status s = get_norm(o, n);
	return s < 0 ? vq_context(s, "metadata key normalize") : VQ_OK;
}

/* A member more of an object that has none of that name; the name, a constant, is not copied. */
static vq_status add(cJSON *object, const char *key, cJSON *item)
{
	if (item && cJSON_AddItemToObjectCS(object, key, item))
		return VQ_OK;
	cJSON_Delete(item);
	return vq_fail(VQ_ENOMEM, "out of memory for the JSON key %s", key);
}

static vq_status set_norm(cJSON *o, const vq_norm *n)
{
	bool z = n->method == VQ_NORM_ZSCORE;
	VQ_TRY(add(o, "method", cJSON_CreateString(vq_norm_name(n->method))));
	if (n->method == VQ_NORM_NONE)
		return VQ_OK;
	VQ_TRY(add(o, "scope", cJSON_CreateString(*n->scope ? n->scope : "record")));
	if (n->method == VQ_NORM_ROBUST)
		VQ_TRY(add(o, "percentiles", vq_json_doubles(n->percentiles, 2)));
	VQ_TRY(add(o, "clip", cJSON_CreateBool(n->clip)));
	VQ_TRY(add(o, z ? "mean" : "low", vq_json_doubles(n->a, n->channels)));
	VQ_TRY(add(o, z ? "std" : "high", vq_json_doubles(n->b, n->channels)));
	VQ_TRY(add(o, "clipped", vq_json_doubles(n->clipped, n->channels)));
	return add(o, "constant", json_bools(n->constant, n->channels));
}

vq_status vq_norm_set(cJSON *meta, const vq_norm *n)
{
	if (n->method == VQ_NORM_RAW) {
		cJSON_DeleteItemFromObjectCaseSensitive(meta, "normalize");
		return VQ_OK;
	}
	if (n->method != VQ_NORM_NONE && (n->channels < 1 || n->channels > VQ_CHANNELS_MAX))
		return vq_fail(VQ_EINVAL, "%d channels to normalise, not 1 to %d", n->channels, VQ_CHANNELS_MAX);
	cJSON *o = cJSON_CreateObject();
	if (!o)
		return vq_fail(VQ_ENOMEM, "out of memory for metadata");
	vq_status s = set_norm(o, n);
	if (s < 0) {
		cJSON_Delete(o);
		return s;
	}
	return vq_json_set(meta, "normalize", o);
}

char *vq_norm_describe(const vq_norm *n)
{
	const char *scope = !strcmp(n->scope, "field") ? "per field" : !strcmp(n->scope, "stats") ? "from --stats" : "per record";
	const char *clip = n->clip ? ", clipped" : ", not clipped";
	switch (n->method) {
	case VQ_NORM_RAW: return vq_strdup("raw grey levels");
	case VQ_NORM_NONE: return vq_strdup("grey levels as they are (--none)");
	case VQ_NORM_ROBUST: return vq_format("percentiles %g,%g %s%s", n->percentiles[0], n->percentiles[1], scope, clip);
	case VQ_NORM_ZSCORE: return vq_format("mean and deviation %s", scope);
	case VQ_NORM_MINMAX: return vq_format("minimum and maximum %s%s", scope, clip);
	}
	return vq_strdup("unknown");
}

/* --- geometry ----------------------------------------------------------------------------------------------------- */

vq_status vq_geom_get(const cJSON *meta, const vq_tensor *image, vq_geom *g)
{
	int64_t size[2] = { 0, 0 }, pad[4] = { 0, 0, 0, 0 }, whole[2];
	bool sized, padded, bounded = image && image->ndim >= 2;
	*g = (vq_geom){0};
	if (bounded) {
		whole[0] = image->shape[image->ndim - 2];
		whole[1] = image->shape[image->ndim - 1];
	} else {
		VQ_TRY(get_extents(meta, "extent", whole, 2, 1, &bounded));
	}
	VQ_TRY(get_extents(meta, "size", size, 2, 1, &sized));
	VQ_TRY(get_extents(meta, "pad", pad, 4, 0, &padded));
	VQ_TRY(get_word(meta, "pad_mode", g->mode, sizeof g->mode));
	if (*g->mode && !one_of(g->mode, "reflect", "zero", "edge"))
		return vq_fail(VQ_EFORMAT, "metadata key pad_mode \"%s\" is not reflect, zero or edge", g->mode);
	if (!sized && !bounded)
		return vq_fail(VQ_EFORMAT, "metadata key size is missing");
	if (!sized) {
		size[0] = whole[0] - pad[0] - pad[1];
		size[1] = whole[1] - pad[2] - pad[3];
	}
	if (size[0] < 1 || size[1] < 1 ||
	    (bounded && (size[0] + pad[0] + pad[1] != whole[0] || size[1] + pad[2] + pad[3] != whole[1])))
		return vq_fail(VQ_EFORMAT, "metadata keys size and pad give %lld x %lld, the image has %lld x %lld",
		               (long long)(size[0] + pad[0] + pad[1]), (long long)(size[1] + pad[2] + pad[3]), (long long)whole[0], (long long)whole[1]);
	g->h = size[0];
	g->w = size[1];
	g->top = pad[0];
	g->bottom = pad[1];
	g->left = pad[2];
	g->right = pad[3];
	return VQ_OK;
}

vq_status vq_geom_set(cJSON *meta, const vq_geom *g)
{
	VQ_TRY(vq_json_set(meta, "size", vq_json_doubles((double[]){ (double)g->h, (double)g->w }, 2)));
	if (!g->top && !g->bottom && !g->left && !g->right) {
		cJSON_DeleteItemFromObjectCaseSensitive(meta, "pad");
		cJSON_DeleteItemFromObjectCaseSensitive(meta, "pad_mode");
		return VQ_OK;
	}
	const double pad[4] = { (double)g->top, (double)g->bottom, (double)g->left, (double)g->right };
	VQ_TRY(vq_json_set(meta, "pad", vq_json_doubles(pad, 4)));
	return vq_json_set(meta, "pad_mode", cJSON_CreateString(g->mode));
}

/* --- records ------------------------------------------------------------------------------------------------------ */

vq_status vq_sample_check(const vqt_record *r, vq_tensor **image, vq_tensor **mask)
{
	vq_tensor *im = vqt_get(r, "image"), *ma = vqt_get(r, "mask");
	const char *id = r->id ? r->id : "?";
	*image = NULL;
	if (mask)
		*mask = NULL;
	if (!im)
		return vq_fail(VQ_EFORMAT, "record %s: it has no tensor named image", id);
	if (im->ndim != 3)
		return vq_fail(VQ_EFORMAT, "record %s: image has %d axes, not channels, rows and columns", id, im->ndim);
	if (im->shape[0] < 1 || im->shape[0] > VQ_CHANNELS_MAX)
		return vq_fail(VQ_EFORMAT, "record %s: image has %lld channels, not 1 to %d", id, (long long)im->shape[0], VQ_CHANNELS_MAX);
	if (im->shape[1] < 1 || im->shape[2] < 1)
		return vq_fail(VQ_EFORMAT, "record %s: image has no pixels", id);
	if (ma && ma->dtype != VQ_U8)
		return vq_fail(VQ_EFORMAT, "record %s: mask has type %s, not u8", id, vq_dtype_name(ma->dtype));
	if (ma && (ma->ndim != 2 || ma->shape[0] != im->shape[1] || ma->shape[1] != im->shape[2]))
		return vq_fail(VQ_EFORMAT, "record %s: mask is not as large as image", id);
	*image = im;
	if (mask)
		*mask = ma;
	return VQ_OK;
}

static const char *as_text(const cJSON *item, char buf[32])
{
	if (cJSON_IsString(item))
		return item->valuestring;
	if (cJSON_IsBool(item))
		return cJSON_IsTrue(item) ? "true" : "false";
	if (!cJSON_IsNumber(item))
		return NULL;
	snprintf(buf, 32, "%.15g", item->valuedouble);
	return buf;
}

const char *vq_sample_text(const cJSON *meta, const char *name, char buf[32])
{
	const cJSON *columns = get(meta, "metadata");
	const char *text = as_text(get(columns, name), buf);
	if (text || !strncmp(name, "Metadata_", 9))
		return text;
	return as_text(get(meta, name), buf);
}

int vq_sample_distance(const char *asked, const char *column)
{
	int whole = vq_distance(asked, column);
	return strncmp(column, "Metadata_", 9) ? whole : VQ_MIN(whole, vq_distance(asked, column + 9));
}

const char *vq_sample_nearest(const cJSON *meta, const char *name)
{
	const cJSON *item;
	const char *best = "field";
	cJSON_ArrayForEach(item, get(meta, "metadata"))
		if (vq_sample_distance(name, item->string) < vq_sample_distance(name, best))
			best = item->string;
	return best;
}
