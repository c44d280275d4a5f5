#include "tools/train_run.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/config.h"
#include "formats/imagefile_write.h"
#include "formats/outfile.h"
#include "formats/split.h"
#include "lib/image/panel.h"

static char *in_run(const train_run *r, const char *name) { return vq_format("%s/%s", r->dir, name); }

/* *made, unless NULL: whether it is new. */
static vq_status make_dir(const char *path, bool *made)
{
	struct stat st;
	bool fresh = !mkdir(path, 0777);
	if (made)
		*made = fresh;
	if (fresh || (errno == EEXIST && !stat(path, &st) && S_ISDIR(st.st_mode)))
		return VQ_OK;
	return vq_fail(VQ_EIO, "%s: %s", path, strerror(errno == EEXIST ? ENOTDIR : errno));
}

/* mkdir -p */
static vq_status make_dirs(const char *path, bool *made)
{
	char *p = vq_strdup(path);
	if (!p)
		return VQ_ENOMEM;
	vq_status s = VQ_OK;
	for (char *q = p + 1; *p && *q && s == VQ_OK; q++)
		if (*q == '/') {
			*q = 0;
			s = make_dir(p, NULL);
			*q = '/';
		}
	if (s == VQ_OK)
		s = make_dir(p, made);
	free(p);
	return s;
}

/* Pictures beyond an epoch, and unfinished ones; others' files stay. */
static void remove_samples(const char *dir, long long beyond)
{
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));) {
		int end = 0, temp = 0;
		long long epoch;
		if (sscanf(e->d_name, "epoch-%lld.png%n.%*d.tmp%n", &epoch, &end, &temp) != 1 || !end || (temp ? e->d_name[temp] : e->d_name[end] || epoch <= beyond))
			continue;
		char *path = vq_format("%s/%s", dir, e->d_name);
		if (path)
			unlink(path);
		free(path);
	}
	if (d)
		closedir(d);
}

static const char *const files[] = { "model.safetensors", "last.ckpt", "history.jsonl", "config.json", "split.csv", "spool.vqt" };

/* What a process that was killed could not finish, as formats/outfile.h names it. */
static void remove_unfinished(const char *dir)
{
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));)
		for (size_t i = 0; i < VQ_COUNT(files); i++) {
			size_t n = strlen(files[i]);
			int end = 0;
			char *path;
			if (strncmp(e->d_name, files[i], n) || sscanf(e->d_name + n, ".%*d.tmp%n", &end) < 0 || !end || e->d_name[n + (size_t)end] ||
			    !(path = vq_format("%s/%s", dir, e->d_name)))
				continue;
			unlink(path);
			free(path);
		}
	if (d)
		closedir(d);
}

vq_status train_run_open(train_run *r, const char *dir, bool force, bool resume)
{
	static const char *const model[] = { "model.safetensors", "last.ckpt" };
	r->dir = dir;
	VQ_TRY(make_dirs(dir, &r->made));
	for (size_t i = 0; i < VQ_COUNT(model) && !force && !resume; i++) {
		char *path = in_run(r, model[i]);
		if (!path)
			return VQ_ENOMEM;
		bool there = !access(path, F_OK);
		free(path);
		if (there)
			return vq_fail(VQ_EINVAL, "%s: holds a model already (%s): --resume goes on from its checkpoint, --force starts anew", dir, model[i]);
	}
	return VQ_OK;
}

vq_status train_run_clear(const train_run *r)
{
	vq_status s = VQ_OK;
	for (size_t i = 0; i < VQ_COUNT(files) && s == VQ_OK; i++) {
		char *path = in_run(r, files[i]);
		if (!path)
			return VQ_ENOMEM;
		if (unlink(path) && errno != ENOENT)
			s = vq_fail(VQ_EIO, "%s: %s", path, strerror(errno));
		free(path);
	}
	char *samples = in_run(r, "samples");
	if (!samples)
		return VQ_ENOMEM;
	remove_samples(samples, -1);
	free(samples);
	remove_unfinished(r->dir);
	return s;
}

vq_status train_run_cut(train_run *r)
{
	char *model = in_run(r, "model.safetensors"), *history = in_run(r, "history.jsonl"), *samples = in_run(r, "samples");
	vq_status s = model && history && samples ? VQ_OK : VQ_ENOMEM;
	/* inside an epoch steps were made since the last line, and a run that was interrupted there closed it with a line of its own */
	if (s == VQ_OK)
		s = vq_history_cut(history, r->from.step - r->from.inside);
	if (s == VQ_OK && r->saved)
		s = vq_model_save(&r->model, model);
	else if (s == VQ_OK && unlink(model) && errno != ENOENT)
		s = vq_fail(VQ_EIO, "%s: %s", model, strerror(errno));
	if (s == VQ_OK) {
		remove_samples(samples, r->from.epoch);
		remove_unfinished(r->dir);
	}
	free(model);
	free(history);
	free(samples);
	return s;
}

static vq_status follow(train_run *r, const char *file, const vq_part_record *rec)
{
	vq_parts *p;
	VQ_TRY(vq_parts_read(&p, file));
	vq_status s = VQ_OK;
	for (uint32_t i = 0; i < r->cells.n && s == VQ_OK; i++) {
		int part = vq_parts_find(p, rec[i].id);
		if (part < 0)
			s = vq_fail(VQ_EINVAL, "%s: it does not list record %s", file, rec[i].id);
		else
			r->part[i] = (uint8_t)part;
	}
	vq_parts_free(p);
	return s;
}

static int by_id(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* A stream has each id once; the two streams together must, too, or the split could not be written down. */
static vq_status check_ids(const train_cells *c)
{
	if (c->files < 2)
		return VQ_OK;
	vq_status s = VQ_OK;
	const char **id = vq_malloc(sizeof *id * c->n);
	if (!id)
		return VQ_ENOMEM;
	for (uint32_t i = 0; i < c->n; i++)
		id[i] = c->v[i].id;
	qsort(id, c->n, sizeof *id, by_id);
	for (uint32_t i = 1; i < c->n && s == VQ_OK; i++)
		if (!strcmp(id[i], id[i - 1]))
			s = vq_fail(VQ_EINVAL, "record %s is in both streams: a cell cannot train and validate", id[i]);
	free(id);
	return s;
}

vq_status train_run_split(train_run *r, const char *file, vq_part_report *report)
{
	uint32_t n = r->cells.n;
	vq_part_record *rec = vq_calloc(n, sizeof *rec);
	r->part = vq_calloc(n, 1);
	r->train = vq_calloc(n, sizeof *r->train);
	r->val = vq_calloc(n, sizeof *r->val);
	vq_status s = rec && r->part && r->train && r->val ? VQ_OK : VQ_ENOMEM;
	if (s == VQ_OK)
		s = check_ids(&r->cells);
	for (uint32_t i = 0; s == VQ_OK && i < n; i++)
		rec[i] = (vq_part_record){ r->cells.v[i].id, r->cells.v[i].group, r->cells.v[i].declared };
	*report = (vq_part_report){0};
	if (s == VQ_OK)
		s = file ? follow(r, file, rec) : vq_part_assign(rec, n, r->model.config.val_fraction, (uint64_t)r->model.config.seed, r->part, report);
	for (uint32_t i = 0; s == VQ_OK && i < n; i++) {
		if (r->part[i] == VQ_PART_TRAIN)
			r->train[r->n_train++] = i;
		else if (r->part[i] == VQ_PART_VAL)
			r->val[r->n_val++] = i;
		else
			r->n_test++;
	}
	if (s == VQ_OK && !r->n_train)
		s = vq_fail(VQ_EINVAL, "the split leaves no cell to train on (%u val, %u test)", r->n_val, r->n_test);
	free(rec);
	return s;
}

static vq_status write_split(const train_run *r)
{
	uint32_t n = r->cells.n;
	vq_part_record *rec = vq_calloc(n, sizeof *rec);
	char *path = in_run(r, "split.csv");
	for (uint32_t i = 0; rec && i < n; i++)
		rec[i] = (vq_part_record){ r->cells.v[i].id, r->cells.v[i].group, r->cells.v[i].declared };
	vq_status s = rec && path ? vq_parts_write(path, rec, r->part, n) : VQ_ENOMEM;
	free(rec);
	free(path);
	return s;
}

static vq_status write_config(const train_run *r)
{
	vq_buf text = {0};
	char *path = in_run(r, "config.json");
	vq_status s = path ? vq_config_json(&r->model.config, &text) : VQ_ENOMEM;
	if (s == VQ_OK)
		s = vq_out_write(path, text.data, text.len);
	vq_buf_free(&text);
	free(path);
	return s;
}

vq_status train_run_describe(const train_run *r)
{
	VQ_TRY(write_split(r));
	return write_config(r);
}

/* Of each codebook, where there are several. */
static cJSON *levels(const vq_losses *l, const vq_model_info *info)
{
	cJSON *list = cJSON_CreateArray();
	for (int i = 0; i < info->levels; i++) {
		cJSON *o = cJSON_CreateObject();
		cJSON_AddStringToObject(o, "name", info->level[i].name);
		cJSON_AddNumberToObject(o, "commit", l->level[i].commit);
		cJSON_AddNumberToObject(o, "usage", l->level[i].usage);
		cJSON_AddNumberToObject(o, "perplexity", l->level[i].perplexity);
		cJSON_AddItemToArray(list, o);
	}
	return list;
}

static cJSON *losses(const vq_config *c, const vq_losses *l, const vq_model_info *info, bool val)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddNumberToObject(o, "loss", l->loss);
	cJSON_AddNumberToObject(o, "recon", l->recon);
	cJSON_AddNumberToObject(o, "commit", l->commit);
	if (c->codebook_update == VQ_UPDATE_GRADIENT)
		cJSON_AddNumberToObject(o, "codebook", l->codebook);
	if (c->use_perceptual_loss)
		cJSON_AddNumberToObject(o, "perceptual", l->perceptual);
	if (val) {
		cJSON_AddNumberToObject(o, "psnr", l->psnr);
		cJSON_AddNumberToObject(o, "ssim", l->ssim);
	}
	cJSON_AddNumberToObject(o, "usage", l->usage);
	cJSON_AddNumberToObject(o, "foreground_usage", l->front);
	cJSON_AddNumberToObject(o, "perplexity", l->perplexity);
	if (info->levels > 1)
		cJSON_AddItemToObject(o, "levels", levels(l, info));
	return o;
}

static vq_status add_history(train_run *r, const vq_epoch *e)
{
	if (!r->history) {
		char *path = in_run(r, "history.jsonl");
		vq_status s = path ? vq_history_open(&r->history, path) : VQ_ENOMEM;
		free(path);
		VQ_TRY(s);
	}
	cJSON *o = cJSON_CreateObject();
	cJSON_AddNumberToObject(o, "epoch", (double)e->epoch);
	cJSON_AddNumberToObject(o, "step", (double)e->step);
	cJSON_AddNumberToObject(o, "seconds", e->seconds);
	cJSON_AddNumberToObject(o, "pixels", (double)e->pixels);
	cJSON_AddItemToObject(o, "train", losses(&r->model.config, &e->train, &r->model.info, false));
	if (e->val.cells)
		cJSON_AddItemToObject(o, "val", losses(&r->model.config, &e->val, &r->model.info, true));
	cJSON_AddNumberToObject(o, "lr", e->lr);
	cJSON_AddNumberToObject(o, "grad_norm", e->grad_norm);
	cJSON_AddNumberToObject(o, "revived", (double)e->revived);
	vq_status s = vq_history_add(r->history, o);
	cJSON_Delete(o);
	return s;
}

/* A few cells of the validation split (or of training, when there is none) with their reconstructions. */
static vq_status draw_samples(train_run *r, vq_trainer *t, const vq_epoch *e)
{
	enum { SHOWN = 8 };
	const uint32_t *from = r->n_val ? r->val : r->train;
	uint32_t n = r->n_val ? r->n_val : r->n_train, shown = VQ_MIN(n, (uint32_t)SHOWN);
	size_t c = (size_t)r->model.channels;
	vq_panel_item item[SHOWN] = {0};
	float *image[SHOWN] = {0}, *recon[SHOWN] = {0};
	vq_tensor rgb = {0};
	char *dir = in_run(r, "samples"), *path = dir ? vq_format("%s/epoch-%04lld.png", dir, (long long)e->epoch) : NULL;
	vq_status s = path ? make_dir(dir, NULL) : VQ_ENOMEM;
	for (uint32_t i = 0; i < shown && s == VQ_OK; i++) {
		uint32_t k = from[(uint64_t)i * n / shown];
		vq_cell cell = {0};
		s = train_cells_get(&r->cells, k, &cell);
		size_t count = c * (size_t)cell.h * (size_t)cell.w;
		if (s < 0 || !(image[i] = vq_malloc(2 * count * sizeof(float))))
			s = s < 0 ? s : VQ_ENOMEM;
		else {
			recon[i] = image[i] + count;
			memcpy(image[i], cell.pixels, count * sizeof(float));
			item[i] = (vq_panel_item){ (int64_t)c, cell.h, cell.w, image[i], recon[i], NULL, r->cells.v[k].id, NULL };
			s = vq_trainer_reconstruct(t, k, recon[i]);
		}
	}
	if (s == VQ_OK && (s = vq_panel_draw(&rgb, item, (int)shown, NULL)) == VQ_OK)
		s = vq_png_write(path, &rgb);
	for (int i = 0; i < SHOWN; i++)
		free(image[i]);
	vq_tensor_free(&rgb);
	free(dir);
	free(path);
	return s;
}

vq_status train_run_epoch(train_run *r, vq_trainer *t, const vq_epoch *e)
{
	const vq_config *c = &r->model.config;
	r->last = *e;
	if (e->best) {
		char *path = in_run(r, "model.safetensors");
		vq_status s = path ? vq_trainer_read(t, r->model.state, r->model.param) : VQ_ENOMEM;
		r->model.step = e->step;
		if (s == VQ_OK)
			s = vq_model_save(&r->model, path);
		free(path);
		VQ_TRY(s);
		r->best = *e;
		r->saved = true;
	}
	VQ_TRY(add_history(r, e));
	if (c->save_samples_every > 0 && (e->last || e->epoch % c->save_samples_every == 0))
		VQ_TRY(draw_samples(r, t, e));
	return VQ_OK;
}

void train_run_free(train_run *r)
{
	if (r->made)
		rmdir(r->dir); /* a run that came to nothing */
	vq_history_close(r->history);
	train_cells_free(&r->cells);
	vq_perceptual_free(&r->network);
	vq_train_state_free(&r->state);
	vq_model_free(&r->model);
	free(r->part);
	free(r->train);
	free(r->val);
	*r = (train_run){0};
}
