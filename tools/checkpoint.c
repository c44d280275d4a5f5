#include "tools/checkpoint.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/config.h"
#include "lib/train/pack.h"

enum { CHECKPOINT_VERSION = 2, TENSORS = VQ_STATE_BUFS + 6 };

/* --- numbers as JSON ------------------------------------------------------------------------------------------------ */

/* 17 digits bring every double back as it was; what is not finite is null, and infinite again when read. */
static vq_status add_real(vq_buf *b, const char *name, double v)
{
	VQ_TRY(vq_buf_fmt(b, "%s\"%s\":", b->len > 1 ? "," : "", name));
	return isfinite(v) ? vq_buf_fmt(b, "%.17g", v) : vq_buf_str(b, "null");
}

static vq_status progress_json(const vq_train_scalars *s, vq_buf *b)
{
	VQ_TRY(vq_buf_str(b, "{"));
	for (const vq_scalar *f = vq_scalars; f->name; f++) {
		const char *at = (const char *)s + f->offset;
		switch (f->type) {
		case VQ_SCALAR_REAL: VQ_TRY(add_real(b, f->name, *(const double *)at)); break;
		case VQ_SCALAR_INT: VQ_TRY(add_real(b, f->name, (double)*(const int64_t *)at)); break;
		case VQ_SCALAR_INT32: VQ_TRY(add_real(b, f->name, *(const int32_t *)at)); break;
		default: VQ_TRY(add_real(b, f->name, *(const bool *)at)); break;
		}
	}
	return vq_buf_str(b, "}");
}

static vq_status get_number(const cJSON *o, const char *name, double *v)
{
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(o, name);
	if (!cJSON_IsNumber(n) && !cJSON_IsNull(n))
		return vq_fail(VQ_EFORMAT, "its metadata lacks the number \"%s\"", name);
	*v = cJSON_IsNull(n) ? INFINITY : n->valuedouble;
	return VQ_OK;
}

static vq_status progress_parse(const cJSON *o, vq_train_scalars *s)
{
	for (const vq_scalar *f = vq_scalars; f->name; f++) {
		char *at = (char *)s + f->offset;
		double v = 0, most = f->type == VQ_SCALAR_INT ? 9007199254740992. : f->type == VQ_SCALAR_INT32 ? 2147483647. : f->type == VQ_SCALAR_BOOL ? 1 : INFINITY;
		VQ_TRY(get_number(o, f->name, &v));
		if (f->type != VQ_SCALAR_REAL && (!(fabs(v) <= most) || v != floor(v)))
			return vq_fail(VQ_EFORMAT, "its \"%s\" is no number of the right kind", f->name);
		switch (f->type) {
		case VQ_SCALAR_REAL: *(double *)at = v; break;
		case VQ_SCALAR_INT: *(int64_t *)at = (int64_t)v; break;
		case VQ_SCALAR_INT32: *(int32_t *)at = (int32_t)v; break;
		default: *(bool *)at = v > 0; break;
		}
	}
	return VQ_OK;
}

static vq_status put_text(cJSON *meta, const char *key, const char *text)
{
	cJSON *item = text ? cJSON_CreateString(text) : NULL;
	return item ? vq_json_set(meta, key, item) : vq_fail(VQ_ENOMEM, "out of memory");
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

static vq_status parse_config(checkpoint *c)
{
	const char *format = vq_st_meta(c->st, "format"), *version = vq_st_meta(c->st, "version"), *config = vq_st_meta(c->st, "config");
	if (!format || strcmp(format, "vq-checkpoint") || !version)
		return vq_fail(VQ_EFORMAT, "%s: not a checkpoint of vq-train", c->path);
	if (atoi(version) != CHECKPOINT_VERSION)
		return vq_fail(VQ_EUNSUP, "%s: a checkpoint of version %s; this vq reads version %d", c->path, version, CHECKPOINT_VERSION);
	if (!config)
		return vq_fail(VQ_EFORMAT, "%s: its metadata lacks \"config\"", c->path);
	vq_config_defaults(&c->config);
	return vq_config_parse(&c->config, config, c->path);
}

/* Of all the rest of the metadata and of every tensor: a flipped bit changes it. */
static void hash_text(vq_xxh64 *h, const char *key, const char *text)
{
	vq_xxh64_add(h, key, strlen(key) + 1);
	if (text)
		vq_xxh64_add(h, text, strlen(text) + 1);
}

static const char *const hashed[] = { "config", "channels", "chain", "cells", "machine", "progress", "best" };

/* network: NULL without a perceptual loss, and then it leaves no trace. */
static void hash_start(vq_xxh64 *h, const char *network)
{
	vq_xxh64_init(h, 0);
	if (network)
		hash_text(h, "network", network);
}

static vq_status check_hash(const checkpoint *c)
{
	const char *was = vq_st_meta(c->st, "hash");
	char now[17];
	vq_xxh64 h;
	hash_start(&h, vq_st_meta(c->st, "network"));
	for (size_t i = 0; i < VQ_COUNT(hashed); i++)
		hash_text(&h, hashed[i], vq_st_meta(c->st, hashed[i]));
	for (int i = 0; i < vq_st_count(c->st); i++) {
		const vq_st_info *info = vq_st_at(c->st, i);
		vq_tensor t;
		VQ_TRY(vq_st_tensor(c->st, info->name, &t));
		hash_text(&h, info->name, info->dtype);
		vq_xxh64_add(&h, t.data, (size_t)info->count * vq_dtype_size(t.dtype));
		vq_tensor_free(&t);
	}
	snprintf(now, sizeof now, "%016llx", (unsigned long long)vq_xxh64_value(&h));
	return was && !strcmp(was, now) ? VQ_OK : vq_fail(VQ_EFORMAT, "%s: it was changed or damaged: its checksum is wrong", c->path);
}

/* In the order in which vq_st_write puts them. */
static vq_status put_hash(cJSON *meta, const vq_st_item *item, int n)
{
	char text[17];
	vq_xxh64 h;
	hash_start(&h, cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(meta, "network")));
	for (size_t i = 0; i < VQ_COUNT(hashed); i++)
		hash_text(&h, hashed[i], cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(meta, hashed[i])));
	for (size_t size = 8; size; size /= 2)
		for (int i = 0; i < n; i++) {
			const vq_tensor *t = item[i].t;
			if (vq_dtype_size(t->dtype) != size)
				continue;
			hash_text(&h, item[i].name, t->dtype == VQ_I64 ? "I64" : t->dtype == VQ_I32 ? "I32" : "F32");
			vq_xxh64_add(&h, t->data, (size_t)t->shape[0] * size); /* all are rows */
		}
	snprintf(text, sizeof text, "%016llx", (unsigned long long)vq_xxh64_value(&h));
	return put_text(meta, "hash", text);
}

vq_status checkpoint_open(checkpoint *c, const char *dir)
{
	*c = (checkpoint){0};
	if (!(c->path = vq_format("%s/last.ckpt", dir)))
		return VQ_ENOMEM;
	vq_status s = access(c->path, F_OK) && errno == ENOENT ? vq_fail(VQ_EINVAL, "%s: there is no checkpoint to resume from", c->path) : VQ_OK;
	if (s == VQ_OK && (s = vq_st_open(&c->st, c->path)) == VQ_OK)
		s = parse_config(c);
	if (s == VQ_OK)
		s = check_hash(c);
	if (s < 0)
		checkpoint_close(c);
	return s;
}

void checkpoint_close(checkpoint *c)
{
	free(c->path);
	vq_st_close(c->st);
	*c = (checkpoint){0};
}

vq_status checkpoint_check_config(const checkpoint *c, const vq_config *now)
{
	vq_status s = VQ_OK;
	vq_buf differ = {0};
	for (const vq_config_key *k = vq_config_keys; k->name && s == VQ_OK; k++) {
		if (k->type == VQ_KEY_GROUP)
			continue;
		char *was = vq_config_get(&c->config, k), *is = vq_config_get(now, k);
		if (!was || !is)
			s = VQ_ENOMEM;
		else if (strcmp(was, is))
			s = vq_buf_fmt(&differ, "%s %s is %s, not %s", differ.len ? "," : "", k->name, was, is);
		free(was);
		free(is);
	}
	if (s == VQ_OK && differ.len)
		s = vq_fail(VQ_EINVAL, "%s: of another configuration: its%s", c->path, differ.data);
	vq_buf_free(&differ);
	return s;
}

/* Of the weights that are in use, whatever else their files hold. */
static void network_hash(const vq_perceptual *p, char text[17])
{
	vq_xxh64 h;
	vq_xxh64_init(&h, 0);
	for (int i = 0; i < p->table.n; i++)
		hash_text(&h, "tensor", p->table.p[i].name);
	vq_xxh64_add(&h, p->values, sizeof *p->values * p->table.sizes[0]);
	snprintf(text, 17, "%016llx", (unsigned long long)vq_xxh64_value(&h));
}

vq_status checkpoint_check_network(const checkpoint *c, const vq_perceptual *p)
{
	const char *was = vq_st_meta(c->st, "network");
	char now[17];
	if (!p->values)
		return VQ_OK;
	network_hash(p, now);
	return was && !strcmp(was, now) ? VQ_OK : vq_fail(VQ_EINVAL, "%s: of a perceptual loss with other weights than those of %s", c->path,
		*c->config.perceptual_heads ? "perceptual_file and perceptual_heads" : "perceptual_file");
}

static vq_status cells_hash(const train_run *r, char text[17])
{
	vq_xxh64 h = r->cells.hash;
	cJSON *norm = cJSON_CreateObject();
	vq_status s = norm ? vq_norm_set(norm, &r->cells.norm) : vq_fail(VQ_ENOMEM, "out of memory");
	char *json = s == VQ_OK ? cJSON_PrintUnformatted(norm) : NULL;
	if (s == VQ_OK && !json)
		s = vq_fail(VQ_ENOMEM, "out of memory");
	if (json)
		vq_xxh64_add(&h, json, strlen(json));
	vq_xxh64_add(&h, r->part, r->cells.n);
	snprintf(text, 17, "%016llx", (unsigned long long)vq_xxh64_value(&h));
	cJSON_free(json);
	cJSON_Delete(norm);
	return s;
}

vq_status checkpoint_check_cells(const checkpoint *c, const train_run *r)
{
	char now[17];
	const char *was = vq_st_meta(c->st, "cells"), *channels = vq_st_meta(c->st, "channels");
	cJSON *names = channels ? vq_json_parse(channels, c->path) : NULL;
	int n = names ? cJSON_GetArraySize(names) : r->cells.channels;
	cJSON_Delete(names);
	if (n != r->cells.channels)
		return vq_fail(VQ_EINVAL, "%s: of a model for %d channels, and the cells have %d", c->path, n, r->cells.channels);
	VQ_TRY(cells_hash(r, now));
	if (!was || strcmp(was, now))
		return vq_fail(VQ_EINVAL, "%s: of other cells: not these %u, in this order, so divided and normalised", c->path, r->cells.n);
	return VQ_OK;
}

static char *machine_json(const train_run *r, const vq_backend *b)
{
	return vq_format("{\"threads\":%d,\"device\":\"%s\",\"isa\":\"%s\",\"compute\":\"%s\"}", b->threads, b->name, b->isa,
		vq_trainer_type(&r->model.config, b) == VQ_BF16 ? "bf16" : "f32");
}

char *checkpoint_machine(const checkpoint *c, const train_run *r, const vq_backend *b)
{
	const char *was = vq_st_meta(c->st, "machine");
	char *now = machine_json(r, b), *text = NULL;
	if (was && now && strcmp(was, now))
		text = vq_format("%s: begun with %s and resumed with %s: the result is not, to the last bit, what it would have been", c->path, was, now);
	free(now);
	return text;
}

static vq_status read_floats(const checkpoint *c, const char *name, size_t count, float *to)
{
	vq_tensor t;
	VQ_TRY(vq_st_f32(c->st, name, 1, (int64_t[]){ (int64_t)count }, &t));
	memcpy(to, t.data, count * sizeof *to);
	vq_tensor_free(&t);
	return VQ_OK;
}

/* Numbers of `dtype` in a row of at most `most`; *count: how many there are. */
static vq_status read_row(const checkpoint *c, const char *name, vq_dtype dtype, size_t most, void *to, size_t *count)
{
	vq_tensor t;
	const vq_st_info *info = vq_st_find(c->st, name);
	if (!info || info->ndim != 1 || info->count > most)
		return vq_fail(VQ_EFORMAT, "%s: tensor %s: %s", c->path, name, !info ? "it is not there" : "its shape is wrong");
	VQ_TRY(vq_st_tensor(c->st, name, &t));
	vq_status s = t.dtype == dtype ? VQ_OK : vq_fail(VQ_EFORMAT, "%s: tensor %s: its type is %s, not %s", c->path, name, info->dtype, vq_dtype_name(dtype));
	*count = (size_t)info->count;
	if (s == VQ_OK)
		memcpy(to, t.data, *count * vq_dtype_size(dtype));
	vq_tensor_free(&t);
	return s;
}

static vq_status read_state(const checkpoint *c, vq_train_state *st)
{
	size_t n;
	const char *text = vq_st_meta(c->st, "progress");
	cJSON *progress = text ? vq_json_parse(text, c->path) : NULL;
	if (!progress)
		return text ? VQ_EFORMAT : vq_fail(VQ_EFORMAT, "%s: its metadata lacks \"progress\"", c->path);
	vq_status s = progress_parse(progress, &st->s);
	cJSON_Delete(progress);
	if (s < 0)
		return vq_context(s, "%s", c->path);
	for (int i = 0; i < VQ_STATE_BUFS; i++)
		VQ_TRY(read_floats(c, vq_state_names[i], st->count[i], st->buf[i]));
	VQ_TRY(read_row(c, "order", VQ_I32, st->cells, st->order, &n));
	if (n != st->cells)
		return vq_fail(VQ_EFORMAT, "%s: tensor order: it has %zu cells, not %u", c->path, n, st->cells);
	VQ_TRY(read_row(c, "wait", VQ_I32, VQ_PACK_MAX, st->wait, &n));
	st->waiting = (uint32_t)n;
	VQ_TRY(read_row(c, "codes", VQ_I64, (size_t)st->n_codes, st->codes, &n));
	if (n == (size_t)st->n_codes)
		VQ_TRY(read_row(c, "front", VQ_I64, (size_t)st->n_codes, st->front, &n));
	return n == (size_t)st->n_codes ? VQ_OK : vq_fail(VQ_EFORMAT, "%s: tensors codes and front: %zu counts, not %d", c->path, n, st->n_codes);
}

/* The best model as it was then, and what the summary says of it. */
static vq_status read_best(const checkpoint *c, train_run *r)
{
	const char *text = vq_st_meta(c->st, "best");
	if (!text)
		return VQ_OK;
	double step = 0, cells = 0, psnr = 0, ssim = 0, usage = 0, front = 0;
	cJSON *o = vq_json_parse(text, c->path);
	vq_status s = o ? VQ_OK : VQ_EFORMAT;
	if (s == VQ_OK && ((s = get_number(o, "step", &step)) < 0 || (s = get_number(o, "cells", &cells)) < 0 || (s = get_number(o, "psnr", &psnr)) < 0 ||
	    (s = get_number(o, "ssim", &ssim)) < 0 || (s = get_number(o, "usage", &usage)) < 0 || (s = get_number(o, "front", &front)) < 0))
		vq_context(s, "%s", c->path);
	cJSON_Delete(o);
	VQ_TRY(s);
	if (!(step >= 0 && step <= 9007199254740992. && cells >= 0 && cells <= UINT32_MAX))
		return vq_fail(VQ_EFORMAT, "%s: the numbers of its best model are out of range", c->path);
	VQ_TRY(read_floats(c, "best.state", r->model.params.sizes[0], r->model.state));
	VQ_TRY(read_floats(c, "best.param", r->model.params.sizes[1], r->model.param));
	r->best = (vq_epoch){ .step = (int64_t)step, .val = { .cells = (uint64_t)cells, .psnr = psnr, .ssim = isfinite(ssim) ? ssim : NAN }, .train = { .usage = usage, .front = isfinite(front) ? front : NAN } };
	r->model.step = (int64_t)step;
	r->saved = true;
	return VQ_OK;
}

vq_status checkpoint_restore(const checkpoint *c, train_run *r, vq_trainer *t)
{
	vq_train_state st = {0};
	const char *chain = vq_st_meta(c->st, "chain");
	VQ_TRY(vq_train_state_make(&st, t));
	vq_status s = read_state(c, &st);
	if (s == VQ_OK && (s = vq_trainer_restore(t, &st)) < 0)
		vq_context(s, "%s", c->path);
	r->from = st.s;
	r->last = (vq_epoch){ .step = st.s.step, .epoch = st.s.epoch, .pixels = st.s.pixels, .seconds = st.s.seconds };
	vq_train_state_free(&st);
	VQ_TRY(s);
	cJSON *parsed = chain ? vq_json_parse(chain, c->path) : NULL;
	if (!parsed)
		return chain ? VQ_EFORMAT : vq_fail(VQ_EFORMAT, "%s: its metadata lacks \"chain\"", c->path);
	cJSON_Delete(r->model.chain);
	r->model.chain = parsed;
	return read_best(c, r);
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static vq_status put_json(cJSON *meta, const char *key, const cJSON *value)
{
	char *text = cJSON_PrintUnformatted(value);
	vq_status s = put_text(meta, key, text);
	cJSON_free(text);
	return s;
}

static vq_status put_best(cJSON *meta, const train_run *r)
{
	const vq_epoch *e = &r->best;
	vq_buf b = {0};
	vq_status s = vq_buf_str(&b, "{");
	if (s == VQ_OK && (s = add_real(&b, "step", (double)e->step)) == VQ_OK && (s = add_real(&b, "cells", (double)e->val.cells)) == VQ_OK &&
	    (s = add_real(&b, "psnr", e->val.psnr)) == VQ_OK && (s = add_real(&b, "ssim", e->val.ssim)) == VQ_OK &&
	    (s = add_real(&b, "usage", e->train.usage)) == VQ_OK && (s = add_real(&b, "front", e->train.front)) == VQ_OK && (s = vq_buf_str(&b, "}")) == VQ_OK)
		s = put_text(meta, "best", b.data);
	vq_buf_free(&b);
	return s;
}

static vq_status metadata(const train_run *r, const vq_backend *b, const vq_train_scalars *now, cJSON *meta)
{
	vq_buf config = {0}, progress = {0};
	char cells[17], network[17], *machine = machine_json(r, b);
	vq_status s = vq_config_json(&r->model.config, &config);
	if (s == VQ_OK && (s = progress_json(now, &progress)) == VQ_OK && (s = cells_hash(r, cells)) == VQ_OK &&
	    (s = put_text(meta, "format", "vq-checkpoint")) == VQ_OK && (s = put_text(meta, "version", "2")) == VQ_OK &&
	    (s = put_text(meta, "config", config.data)) == VQ_OK && (s = put_json(meta, "channels", r->model.names)) == VQ_OK &&
	    (s = put_json(meta, "chain", r->model.chain)) == VQ_OK && (s = put_text(meta, "cells", cells)) == VQ_OK &&
	    (s = put_text(meta, "machine", machine)) == VQ_OK && (s = put_text(meta, "progress", progress.data)) == VQ_OK && r->saved)
		s = put_best(meta, r);
	if (s == VQ_OK && r->network.values) {
		network_hash(&r->network, network);
		s = put_text(meta, "network", network);
	}
	vq_buf_free(&config);
	vq_buf_free(&progress);
	free(machine);
	return s;
}

static void add(vq_st_item *item, vq_tensor *t, int *n, const char *name, vq_dtype dtype, size_t count, const void *data)
{
	t[*n] = (vq_tensor){ .dtype = dtype, .ndim = 1, .shape = { (int64_t)count }, .data = (void *)data };
	item[*n] = (vq_st_item){ name, &t[*n] };
	++*n;
}

vq_status checkpoint_write(train_run *r, vq_trainer *t, const vq_backend *b)
{
	vq_train_state *st = &r->state;
	vq_st_item item[TENSORS];
	vq_tensor tensor[TENSORS];
	int n = 0;
	if (!st->order)
		VQ_TRY(vq_train_state_make(st, t));
	VQ_TRY(vq_trainer_save(t, st));
	for (int i = 0; i < VQ_STATE_BUFS; i++)
		add(item, tensor, &n, vq_state_names[i], VQ_F32, st->count[i], st->buf[i]);
	add(item, tensor, &n, "order", VQ_I32, st->cells, st->order);
	add(item, tensor, &n, "wait", VQ_I32, st->waiting, st->wait);
	add(item, tensor, &n, "codes", VQ_I64, (size_t)st->n_codes, st->codes);
	add(item, tensor, &n, "front", VQ_I64, (size_t)st->n_codes, st->front);
	if (r->saved) {
		add(item, tensor, &n, "best.state", VQ_F32, r->model.params.sizes[0], r->model.state);
		add(item, tensor, &n, "best.param", VQ_F32, r->model.params.sizes[1], r->model.param);
	}
	char *path = vq_format("%s/last.ckpt", r->dir);
	cJSON *meta = cJSON_CreateObject();
	vq_status s = path && meta ? metadata(r, b, &st->s, meta) : VQ_ENOMEM;
	if (s == VQ_OK)
		s = put_hash(meta, item, n);
	if (s == VQ_OK)
		s = vq_st_write(path, item, n, meta);
	cJSON_Delete(meta);
	free(path);
	return s;
}
