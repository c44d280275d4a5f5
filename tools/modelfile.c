#include "tools/modelfile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/config.h"
#include "formats/safetensors.h"
#include "formats/xxh64.h"
#include "lib/model/graph.h"
#include "tools/cli.h"

enum { MODEL_VERSION = 1 };

vq_status vq_model_setup(vq_model *m)
{
	VQ_TRY(vq_model_describe(&m->config, m->channels, &m->info));
	VQ_TRY(vq_model_params(&m->config, m->channels, &m->params));
	m->state = vq_calloc(m->params.sizes[0], sizeof *m->state);
	m->param = vq_calloc(m->params.sizes[1], sizeof *m->param);
	return m->state && m->param ? VQ_OK : VQ_ENOMEM;
}

void vq_model_free(vq_model *m)
{
	cJSON_Delete(m->names);
	cJSON_Delete(m->chain);
	vq_params_free(&m->params);
	free(m->state);
	free(m->param);
	*m = (vq_model){0};
}

static float *weights(const vq_model *m, const vq_param *p) { return (p->trainable ? m->param : m->state) + p->offset; }

/* What a step has gathered so far is no part of a model. */
static bool kept(const vq_param *p) { return !strstr(p->name, ".step_"); }

static vq_status add_json(cJSON *meta, const char *key, const cJSON *value)
{
	char *text = cJSON_PrintUnformatted(value);
	cJSON *item = text ? cJSON_CreateString(text) : NULL;
	cJSON_free(text);
	return item ? vq_json_set(meta, key, item) : vq_fail(VQ_ENOMEM, "out of memory");
}

static vq_status add_text(cJSON *meta, const char *key, const char *text)
{
	cJSON *item = cJSON_CreateString(text);
	return item ? vq_json_set(meta, key, item) : vq_fail(VQ_ENOMEM, "out of memory");
}

static vq_status metadata(const vq_model *m, cJSON *meta)
{
	vq_buf config = {0};
	char text[32];
	cJSON *norm = cJSON_CreateObject();
	vq_status s = norm ? VQ_OK : VQ_ENOMEM;
	if (s == VQ_OK)
		s = vq_norm_set(norm, &m->norm);
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(norm, "normalize");
	if (s == VQ_OK && (s = vq_config_json(&m->config, &config)) == VQ_OK && (s = add_text(meta, "format", "vq-model")) == VQ_OK &&
	    (s = add_text(meta, "version", "1")) == VQ_OK && (s = add_text(meta, "config", config.data)) == VQ_OK &&
	    (s = add_json(meta, "channels", m->names)) == VQ_OK && (s = add_text(meta, "pad_mode", m->pad_mode)) == VQ_OK &&
	    (!n || (s = add_json(meta, "normalize", n)) == VQ_OK) && (s = add_json(meta, "chain", m->chain)) == VQ_OK) {
		snprintf(text, sizeof text, "%lld", (long long)m->step);
		s = add_text(meta, "step", text);
	}
	cJSON_Delete(norm);
	vq_buf_free(&config);
	return s;
}

vq_status vq_model_save(const vq_model *m, const char *path)
{
	vq_st_item *item = vq_calloc((size_t)m->params.n, sizeof *item);
	vq_tensor *t = vq_calloc((size_t)m->params.n, sizeof *t);
	cJSON *meta = cJSON_CreateObject();
	vq_status s = item && t && meta ? metadata(m, meta) : VQ_ENOMEM;
	int n = 0;
	for (int i = 0; s == VQ_OK && i < m->params.n; i++) {
		const vq_param *p = &m->params.p[i];
		if (!kept(p))
			continue;
		t[n] = (vq_tensor){ .dtype = VQ_F32, .ndim = p->ndim, .data = weights(m, p) };
		memcpy(t[n].shape, p->shape, sizeof *p->shape * (size_t)p->ndim);
		item[n] = (vq_st_item){ p->name, &t[n] };
		n++;
	}
	if (s == VQ_OK)
		s = vq_st_write(path, item, n, meta);
	cJSON_Delete(meta);
	free(item);
	free(t);
	return s;
}

static vq_status read_tensor(vq_st *st, const char *name, const vq_param *p, float *to)
{
	vq_tensor t;
	VQ_TRY(vq_st_f32(st, name, p->ndim, p->shape, &t));
	memcpy(to, t.data, p->count * sizeof *to);
	vq_tensor_free(&t);
	return VQ_OK;
}

static vq_status read_weights(vq_model *m, vq_st *st)
{
	for (int i = 0; i < m->params.n; i++) {
		const vq_param *p = &m->params.p[i];
		if (kept(p))
			VQ_TRY(read_tensor(st, p->name, p, weights(m, p)));
	}
	return VQ_OK;
}

/* A damaged file: every code could be 0, and nothing would say so. */
static vq_status check_finite(vq_model *m, const char *path)
{
	for (int i = 0; i < m->params.n; i++) {
		const vq_param *p = &m->params.p[i];
		for (size_t k = 0; kept(p) && k < p->count; k++)
			if (!isfinite(weights(m, p)[k]))
				return vq_fail(VQ_EFORMAT, "%s: tensor %s: value %zu is not finite", path, p->name, k);
	}
	return VQ_OK;
}

static cJSON *meta_json(vq_st *st, const char *key, const char *path)
{
	const char *text = vq_st_meta(st, key);
	if (!text) {
		vq_fail(VQ_EFORMAT, "%s: its metadata lacks \"%s\"", path, key);
		return NULL;
	}
	return vq_json_parse(text, path);
}

static vq_status read_meta(vq_model *m, vq_st *st, const char *path)
{
	const char *format = vq_st_meta(st, "format"), *version = vq_st_meta(st, "version"), *config = vq_st_meta(st, "config");
	if (!format || strcmp(format, "vq-model") || !version || !config)
		return vq_fail(VQ_EFORMAT, "%s: not a vq model (a safetensors file without vq's metadata)", path);
	if (atoi(version) > MODEL_VERSION)
		return vq_fail(VQ_EUNSUP, "%s: a model of version %s; this vq reads up to %d", path, version, MODEL_VERSION);
	vq_config_defaults(&m->config);
	VQ_TRY(vq_config_parse(&m->config, config, path));
	vq_status ok = vq_config_check(&m->config);
	if (ok < 0)
		return vq_context(ok, "%s", path);
	if (!(m->names = meta_json(st, "channels", path)) || !(m->chain = meta_json(st, "chain", path)))
		return VQ_EFORMAT;
	m->channels = cJSON_GetArraySize(m->names);
	if (vq_st_meta(st, "normalize")) {
		cJSON *n = meta_json(st, "normalize", path), *meta = cJSON_CreateObject();
		vq_status s = n && meta ? vq_json_set(meta, "normalize", n) : VQ_EFORMAT;
		if (s == VQ_OK)
			s = vq_norm_get(meta, &m->norm);
		cJSON_Delete(meta);
		if (s < 0)
			return vq_context(s, "%s", path);
	}
	const char *pad = vq_st_meta(st, "pad_mode"), *step = vq_st_meta(st, "step");
	snprintf(m->pad_mode, sizeof m->pad_mode, "%s", pad ? pad : "reflect");
	m->step = step ? atoll(step) : 0;
	return VQ_OK;
}

vq_status vq_model_load(vq_model *m, const char *path)
{
	vq_st *st;
	*m = (vq_model){0};
	VQ_TRY(vq_st_open(&st, path));
	vq_status s = read_meta(m, st, path);
	if (s == VQ_OK && (s = vq_model_setup(m)) < 0)
		vq_context(s, "%s", path);
	if (s == VQ_OK)
		s = read_weights(m, st);
	if (s == VQ_OK)
		s = check_finite(m, path);
	vq_st_close(st);
	if (s < 0)
		vq_model_free(m);
	return s;
}

/* What PyTorch users call a codebook's tensors. */
static const struct { const char *ours, *theirs; } foreign[] = {
	{ ".codebook", ".w" }, { ".ema_count", ".n" }, { ".ema_sum", ".m" }, { ".ema_count", ".count" }, { ".ema_sum", ".sums" },
	{ "quantizer.codebook", "codebook.weight" }, { ".codebook", ".weight" },
};

/* The tensor of the file that is the parameter, or NULL. */
static const char *find_name(vq_st *st, const char *name)
{
	char buf[64];
	const vq_st_info *t = vq_st_find(st, name);
	for (size_t i = 0, n = strlen(name); !t && i < VQ_COUNT(foreign); i++) {
		size_t k = strlen(foreign[i].ours);
		if (n < k || strcmp(name + n - k, foreign[i].ours))
			continue;
		snprintf(buf, sizeof buf, "%.*s%s", (int)(n - k), name, foreign[i].theirs);
		t = vq_st_find(st, buf);
	}
	return t ? t->name : NULL;
}

/* A convolution before a norm has no bias here: in the file's it shifts what the norm takes away again, so that only the running mean
 * knows of it. NORM.bn2.running_mean -> NORM.conv2.bias or NORM.deconv2.bias, when the file has one. */
static const char *bias_of(vq_st *st, const char *mean)
{
	static const char *const kind[] = { "conv", "deconv" };
	char buf[96];
	const char *end = strstr(mean, ".running_mean"), *at = end;
	while (at && at > mean && at[-1] != '.')
		at--;
	if (!at || strncmp(at, "bn", 2))
		return NULL;
	for (size_t i = 0; i < VQ_COUNT(kind); i++) {
		snprintf(buf, sizeof buf, "%.*s%s%.*s.bias", (int)(at - mean), mean, kind[i], (int)(end - at - 2), at + 2);
		const vq_st_info *t = vq_st_find(st, buf);
		if (t)
			return t->name;
	}
	return NULL;
}

static vq_status fold_bias(vq_st *st, const char *bias, const vq_param *mean, float *to)
{
	vq_tensor t;
	VQ_TRY(vq_st_f32(st, bias, mean->ndim, mean->shape, &t));
	for (size_t i = 0; i < mean->count; i++)
		to[i] -= ((const float *)t.data)[i];
	vq_tensor_free(&t);
	return VQ_OK;
}

static vq_status init_one(vq_model *m, vq_st *st, const vq_param *p, const char *path, bool *used)
{
	const char *name = find_name(st, p->name), *bias = bias_of(st, p->name);
	float *to = weights(m, p);
	if (name) {
		VQ_TRY(read_tensor(st, name, p, to));
		used[vq_st_find(st, name) - vq_st_at(st, 0)] = true;
	} else if (strstr(p->name, ".ema_count")) {
		for (size_t j = 0; j < p->count; j++)
			to[j] = 1;
	} else if (strstr(p->name, ".ema_sum")) {
		const vq_param *book = p - 2; /* declared as codebook, count, sum */
		memcpy(to, weights(m, book), p->count * sizeof(float));
	} else {
		return vq_fail(VQ_EINVAL, "%s: it has no tensor %s", path, p->name);
	}
	if (!bias)
		return VQ_OK;
	used[vq_st_find(st, bias) - vq_st_at(st, 0)] = true;
	return fold_bias(st, bias, p, to);
}

/* Says which tensors the model has no place for; PyTorch's count of batches is none. */
static void tell_unused(vq_st *st, const char *path, const bool *used)
{
	int n = 0;
	const char *first = NULL;
	for (int i = 0; i < vq_st_count(st); i++) {
		const char *name = vq_st_at(st, i)->name;
		if (used[i] || strstr(name, "num_batches_tracked"))
			continue;
		first = first ? first : name;
		n++;
	}
	if (n)
		vq_warn("%s: the model has no place for %s%s", path, first, n > 1 ? " and others" : "");
}

vq_status vq_model_init_from(vq_model *m, const char *path)
{
	vq_st *st;
	VQ_TRY(vq_st_open(&st, path));
	bool *used = vq_calloc((size_t)vq_st_count(st) + 1, sizeof *used);
	vq_status s = used ? VQ_OK : VQ_ENOMEM;
	for (int i = 0; s == VQ_OK && i < m->params.n; i++)
		if (kept(&m->params.p[i]))
			s = init_one(m, st, &m->params.p[i], path, used);
	if (s == VQ_OK)
		tell_unused(st, path, used);
	free(used);
	vq_st_close(st);
	return s;
}

static const vq_param *codebook_of(const vq_model *m, int level)
{
	char tensor[64];
	snprintf(tensor, sizeof tensor, "%s.codebook", m->info.level[level].prefix);
	int i = vq_params_find(&m->params, tensor);
	return i < 0 ? NULL : &m->params.p[i];
}

const float *vq_model_vectors(const vq_model *m, int level)
{
	const vq_param *p = codebook_of(m, level);
	return p ? (p->trainable ? m->param : m->state) + p->offset : NULL;
}

bool vq_model_codebook(const vq_model *m, int level, char hash[17])
{
	const float *v = vq_model_vectors(m, level);
	if (v)
		snprintf(hash, 17, "%016llx", (unsigned long long)vq_xxh64_of(v, sizeof *v * codebook_of(m, level)->count, 0));
	return v;
}

cJSON *vq_model_header(const vq_model *m, const char *device, const char *isa, const char *dtype)
{
	cJSON *o = cJSON_CreateObject(), *levels = cJSON_CreateArray();
	if (!o || !levels) {
		cJSON_Delete(o);
		cJSON_Delete(levels);
		vq_fail(VQ_ENOMEM, "out of memory");
		return NULL;
	}
	cJSON_AddItemToObject(o, "levels", levels);
	for (int i = 0; i < m->info.levels; i++) {
		const vq_code_level *l = &m->info.level[i];
		char tensor[64], hash[17];
		cJSON *e = cJSON_CreateObject();
		snprintf(tensor, sizeof tensor, "%s.codebook", l->prefix);
		cJSON_AddStringToObject(e, "name", l->name);
		cJSON_AddNumberToObject(e, "size", l->size);
		cJSON_AddNumberToObject(e, "dim", l->dim);
		cJSON_AddNumberToObject(e, "stride", l->stride);
		cJSON_AddStringToObject(e, "tensor", tensor);
		if (vq_model_codebook(m, i, hash))
			cJSON_AddStringToObject(e, "hash", hash);
		cJSON_AddItemToArray(levels, e);
	}
	cJSON_AddNumberToObject(o, "multiple", m->info.multiple);
	cJSON_AddNumberToObject(o, "stride", m->info.stride);
	cJSON_AddNumberToObject(o, "step", (double)m->step);
	cJSON_AddStringToObject(o, "device", device);
	cJSON_AddStringToObject(o, "dtype", dtype);
	cJSON_AddStringToObject(o, "isa", isa);
	return o;
}
