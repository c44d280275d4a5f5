/* vq-train: samples -> a trained model, with its history, in a directory. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/config.h"
#include "lib/train/collapse.h"
#include "tools/calm.h"
#include "tools/checkpoint.h"
#include "tools/cli.h"
#include "tools/progress.h"
#include "tools/train_run.h"

static const char *config_path, *run_path, *val_path, *split_by, *split_path, *init_path;
static vq_strings sets;
static int64_t epochs, steps, seed, memory = (int64_t)4 << 30;
static double max_time, val_fraction, save_every;
static bool epochs_given, steps_given, time_given, fraction_given, seed_given, every_given, force, resume, profile;

static const vq_option options[] = {
	{ .name = "config", .letter = 'c', .type = VQ_OPT_FILE, .value = &config_path, .arg = "FILE", .help = "Model and training, as vq-config(5) tells. Default: the values of configs/cells.json." },
	{ .name = "output", .letter = 'o', .type = VQ_OPT_FILE, .value = &run_path, .arg = "RUN", .help = "The directory that the run is kept in; made when it is not there. Default: the configuration's save_directory." },
	{ .name = "set", .type = VQ_OPT_LIST, .value = &sets, .arg = "KEY=VALUE", .help = "Change one key of the configuration; may be given several times." },
	{ .name = "init", .type = VQ_OPT_FILE, .value = &init_path, .arg = "MODEL", .help = "Start from the weights of a safetensors file instead of fresh ones: a model of vq-train, or a PyTorch state_dict with the same names and shapes." },
	{ .name = "seed", .type = VQ_OPT_INT, .value = &seed, .arg = "N", .help = "Seed of everything random. Default: the configuration's, which is 0.", .lo = 0, .hi = 9007199254740991, .given = &seed_given },
	{ .name = "force", .type = VQ_OPT_FLAG, .value = &force, .help = "Start anew in a directory that holds a model already." },
	{ .name = "resume", .type = VQ_OPT_FLAG, .value = &resume, .help = "Go on from RUN/last.ckpt as if the run had not stopped. The same stream must be given again; the configuration is the checkpoint's, and what is given of it must agree. --init is then without effect." },
	{ .name = "save-every", .type = VQ_OPT_TIME, .value = &save_every, .arg = "TIME", .help = "Write last.ckpt inside an epoch too, when this time has passed since the last one; 0 is at each epoch's end only. Default: the configuration's save_every, which is 0.", .lo = 0, .hi = 31536000, .given = &every_given },
	{ .type = VQ_OPT_GROUP, .help = "How long" },
	{ .name = "epochs", .type = VQ_OPT_INT, .value = &epochs, .arg = "N", .help = "Stop after N epochs.", .lo = 1, .hi = 1e9, .given = &epochs_given },
	{ .name = "steps", .type = VQ_OPT_INT, .value = &steps, .arg = "N", .help = "Stop after N optimiser steps.", .lo = 1, .hi = 1e15, .given = &steps_given },
	{ .name = "max-time", .type = VQ_OPT_TIME, .value = &max_time, .arg = "TIME", .help = "Stop after this time (90, 120s, 5m, 1.5h), reading and saving included, but with one step at least; the schedule is fitted to it. Of these three, those not given have no limit.", .lo = 1, .hi = 1e9, .given = &time_given },
	{ .type = VQ_OPT_GROUP, .help = "Which cells choose the model" },
	{ .name = "val", .type = VQ_OPT_FILE, .value = &val_path, .arg = "FILE", .help = "Validate on the cells of this stream; the main stream is then not divided." },
	{ .name = "val-fraction", .type = VQ_OPT_REAL, .value = &val_fraction, .arg = "F", .help = "Hold out about this fraction of the cells, by whole groups, where no Metadata_Split column decides. Default: the configuration's 0.1.", .lo = 0, .hi = 0.9, .given = &fraction_given },
	{ .name = "split-by", .type = VQ_OPT_STRING, .value = &split_by, .arg = "COLUMNS", .help = "What makes a group: metadata columns with commas between, or \"cell\". Default: Metadata_Group, else plate and well, else field." },
	{ .name = "split", .type = VQ_OPT_FILE, .value = &split_path, .arg = "FILE", .help = "Follow this split.csv (id, group, split)." },
	{ .type = VQ_OPT_GROUP, .help = "Resources" },
	{ .name = "memory", .type = VQ_OPT_SIZE, .value = &memory, .arg = "SIZE", .help = "Hold at most this much of the cells in memory; the rest is read again from the stream when its turn comes. Default 4G.", .lo = 0, .hi = 1e15 },
	{ .name = "profile", .type = VQ_OPT_FLAG, .value = &profile, .help = "At the end, say on stderr where the time went, and how near this machine's peak each operation was; vq(7) explains it." },
	{ 0 },
};

static const vq_tool tool = {
	.name = "vq-train", .brief = "train a VQ-VAE on cells", .usage = "[-c CONFIG] [-o RUN] [options] [STREAM]", .options = options,
	.flags = VQ_CLI_THREADS | VQ_CLI_DEVICE, .min_operands = 0, .max_operands = 1,
};

static volatile sig_atomic_t interrupted;
static struct sigaction at_once; /* what an interrupt does before and after the run: unfinished files go, and so does the process */

/* The first one lets the step end and the model be saved. */
static void on_interrupt(int sig)
{
	if (!interrupted) {
		interrupted = 1;
		return;
	}
	sigaction(sig, &at_once, NULL);
	raise(sig);
}

static void catch_interrupt(void)
{
	struct sigaction a = { .sa_handler = on_interrupt, .sa_flags = SA_RESTART };
	sigaction(SIGINT, NULL, &at_once);
	if (at_once.sa_handler != SIG_IGN)
		sigaction(SIGINT, &a, NULL);
}

/* From the defaults, or from the configuration given. */
static void configure(vq_config *c, const vq_config *base)
{
	if (split_by && strlen(split_by) >= sizeof c->split_by)
		vq_misuse("--split-by takes at most %zu bytes", sizeof c->split_by - 1);
	vq_config_defaults(c);
	if (base)
		*c = *base;
	if (config_path && vq_config_read(c, config_path) < 0)
		vq_die(NULL);
	for (int i = 0; i < sets.n; i++)
		if (vq_config_set(c, sets.v[i]) < 0)
			vq_die("--set %s: %s", sets.v[i], vq_message());
	if (epochs_given || steps_given || time_given) {
		c->epochs = epochs;
		c->max_steps = steps;
		c->max_seconds = max_time;
	}
	if (fraction_given)
		c->val_fraction = val_fraction;
	if (every_given)
		c->save_every = save_every;
	if (val_path)
		c->val_fraction = 0;
	if (split_by)
		strcpy(c->split_by, split_by);
	if (seed_given)
		c->seed = seed;
	if (vq_config_check(c) < 0)
		vq_die("%s%s%s", config_path ? config_path : "", config_path ? ": " : "", vq_message());
}

/* How raw records are normalised: as the configuration says. */
static vq_norm raw_norm(const vq_config *c)
{
	static const vq_norm_method of[] = { [VQ_CONFIG_NORM_ROBUST] = VQ_NORM_ROBUST, [VQ_CONFIG_NORM_ZSCORE] = VQ_NORM_ZSCORE,
		[VQ_CONFIG_NORM_MINMAX] = VQ_NORM_MINMAX, [VQ_CONFIG_NORM_NONE] = VQ_NORM_NONE };
	vq_norm n = { .method = of[c->normalize_method], .scope = "record", .percentiles = { 5, 95 }, .clip = c->normalize_clip };
	if (c->normalize_percentiles.n == 2) {
		n.percentiles[0] = c->normalize_percentiles.v[0];
		n.percentiles[1] = c->normalize_percentiles.v[1];
	}
	return n;
}

typedef struct {
	train_run *run;
	vq_backend *b;
	double saved;           /* when last.ckpt was last written */
	vq_collapse collapse[VQ_CODE_LEVELS_MAX];
	bool halted;
} train_job;

static vq_status cell_size(void *ctx, uint32_t i, vq_cell *cell) { return train_cells_size(&((train_job *)ctx)->run->cells, i, cell); }
static vq_status cell_get(void *ctx, uint32_t i, vq_cell *cell) { return train_cells_get(&((train_job *)ctx)->run->cells, i, cell); }

/* A run that is interrupted inside an epoch ends that epoch early; its checkpoint is of before. */
static vq_status save(void *ctx, vq_trainer *t, bool inside)
{
	train_job *j = ctx;
	double now = vq_seconds();
	if (j->halted || (inside && !interrupted && (j->run->model.config.save_every <= 0 || now - j->saved < j->run->model.config.save_every)))
		return VQ_OK;
	j->halted = inside && interrupted;
	VQ_TRY(checkpoint_write(j->run, t, j->b));
	j->saved = vq_seconds();
	return VQ_OK;
}

static void warn_of_collapse(train_job *j, const vq_epoch *e)
{
	const vq_model_info *info = &j->run->model.info;
	for (int i = 0; i < info->levels; i++) {
		const vq_code_level *l = &info->level[i];
		char *text = vq_collapse_epoch(&j->collapse[i], &j->run->model.config, e->train.level[i].usage, l->size, e->train.level[i].positions, e->done);
		if (text)
			vq_warn("epoch %lld: %s%s%s", (long long)e->epoch, info->levels > 1 ? l->name : "", info->levels > 1 ? ": " : "", text);
		free(text);
	}
}

static vq_status epoch(void *ctx, vq_trainer *t, const vq_epoch *e)
{
	vq_progress_end();
	warn_of_collapse(ctx, e);
	VQ_TRY(train_run_epoch(((train_job *)ctx)->run, t, e));
	vq_info("epoch %lld, step %lld, %.1f s: train %.5f, val %.5f, PSNR %.2f dB, usage %.3f%s", (long long)e->epoch, (long long)e->step, e->seconds,
		e->train.loss, e->val.loss, e->val.psnr, e->train.usage, e->best ? ", best so far" : "");
	return VQ_OK;
}

static bool step(void *ctx, const vq_progress *p)
{
	double left = p->fraction > 0 ? p->seconds * (1 - p->fraction) / p->fraction : 0;
	vq_progress_show("epoch %lld step %lld %.0f img/s loss %.4f (%.4f+%.4f) usage %.2f ETA %d:%02d", (long long)p->epoch + 1,
		(long long)p->step, p->cells_per_second, p->loss, p->recon, p->commit, p->usage, (int)left / 60, (int)left % 60);
	return interrupted;
}

/* The stream to read, as `data_directory` says when none is named; memory in *made, if any, is the caller's. */
static vq_status find_stream(const vq_config *c, const char *operand, char **made, const char **stream)
{
	struct stat st;
	*made = NULL;
	*stream = operand ? operand : *c->data_directory ? c->data_directory : NULL;
	if (operand || !*stream || stat(*stream, &st) || !S_ISDIR(st.st_mode))
		return VQ_OK;
	*stream = *made = vq_format("%s/cells.vqt", c->data_directory);
	return *made ? VQ_OK : VQ_ENOMEM;
}

static vq_status read_cells(train_run *r, const char *stream)
{
	vq_config *c = &r->model.config;
	vq_norm raw = raw_norm(c);
	vq_model_info info;
	VQ_TRY(vq_trainer_check(c));
	VQ_TRY(vq_model_describe(c, 1, &info));
	r->cells.rule = vq_extent_of(&info);
	r->cells.need_masks = c->content_weighting;
	r->cells.limit = (uint64_t)memory;
	VQ_TRY(train_cells_read(&r->cells, stream, r->dir, &raw, c->split_by, NULL));
	if (!val_path)
		return VQ_OK;
	return train_cells_read(&r->cells, val_path, r->dir, &raw, c->split_by, "val");
}

/* What the model's file says beside the weights. */
static vq_status describe_model(train_run *r)
{
	vq_model *m = &r->model;
	cJSON *header = vqt_header_make("samples", NULL);
	vq_status s = header ? VQ_OK : VQ_ENOMEM;
	if (s == VQ_OK && (s = vq_json_set(header, "chain", cJSON_Duplicate(r->cells.chain, true))) == VQ_OK)
		s = vqt_header_chain(header, "vq-train", vq_cli_args());
	m->chain = cJSON_DetachItemFromObjectCaseSensitive(header, "chain");
	cJSON_Delete(header);
	m->channels = r->cells.channels;
	m->names = cJSON_Duplicate(r->cells.names, true);
	m->norm = r->cells.norm;
	strcpy(m->pad_mode, vq_pad_name((vq_pad_mode)m->config.pad_mode));
	if (s == VQ_OK && (!m->names || !m->chain))
		s = vq_fail(VQ_ENOMEM, "out of memory");
	return s;
}

static void warn_of_shared_fields(const train_run *r, const vq_part_report *report, const char *stream)
{
	const char *name = stream ? stream : "standard input";
	if (report->by_cell)
		vq_warn("%s: all cells are of one group: validation cells are drawn from it, so that both sides share a field", name);
	else if (!strcmp(r->model.config.split_by, "cell") && r->n_val && !val_path && !split_path && !report->declared)
		vq_warn("%s: split by cell: cells of one field may be on both sides", name);
}

/* From here on the run is described: read cells, divide them, and start from weights where they are given. */
static vq_status prepare(train_run *r, const checkpoint *from, const char *stream, const char *dir)
{
	vq_part_report report = {0};
	VQ_TRY(train_run_open(r, dir, force, resume));
	VQ_TRY(read_cells(r, stream));
	VQ_TRY(describe_model(r));
	VQ_TRY(vq_model_setup(&r->model));
	if (init_path && !resume)
		VQ_TRY(vq_model_init_from(&r->model, init_path));
	VQ_TRY(train_run_split(r, split_path, &report));
	warn_of_shared_fields(r, &report, stream);
	VQ_TRY(resume ? checkpoint_check_cells(from, r) : train_run_clear(r));
	return train_run_describe(r);
}

/* Fresh weights, given ones, or all that a checkpoint holds. */
static vq_status start(train_run *r, vq_trainer *t, vq_backend *b, const checkpoint *from)
{
	if (!resume)
		return init_path ? vq_trainer_load(t, r->model.state, r->model.param) : VQ_OK;
	char *other = checkpoint_machine(from, r, b);
	if (other)
		vq_warn("%s", other);
	free(other);
	VQ_TRY(checkpoint_restore(from, r, t));
	vq_info("%s: goes on after step %lld", from->path, (long long)r->from.step);
	return train_run_cut(r);
}

/* The checkpoint's configuration, unless -c gives one; in either case what the options say must be what it was. */
static vq_status resume_config(checkpoint *from, const char *dir, vq_config *c)
{
	VQ_TRY(checkpoint_open(from, dir));
	if (!config_path)
		configure(c, &from->config);
	return checkpoint_check_config(from, c);
}

static void summary(const train_run *r)
{
	const vq_epoch *e = &r->best;
	if (vq_cli.verbosity < 0 || !r->saved)
		return;
	fprintf(stderr, "vq-train: %s/model.safetensors: step %lld of %lld; %u cells to train, %u to choose, %u kept", r->dir, (long long)e->step,
		(long long)r->last.step, r->n_train, r->n_val, r->n_test);
	if (e->val.cells)
		fprintf(stderr, "; validation PSNR %.2f dB, SSIM %.3f", e->val.psnr, e->val.ssim);
	fprintf(stderr, "; codebook usage %.3f", e->train.usage);
	if (isfinite(e->train.front))
		fprintf(stderr, " (%.3f by foreground alone)", e->train.front);
	fprintf(stderr, "; %.2f Mpx/s\n", (double)r->last.pixels / 1e6 / r->last.seconds);
}

/* Adds to the message the records of the batch that was not finite: as many as a line holds, and all with -v. */
static vq_status name_failed(const train_run *r, const vq_trainer *t, vq_status s)
{
	const uint32_t *cell;
	int n = vq_trainer_failed(t, &cell), i = 0;
	vq_buf line = {0};
	vq_status more = VQ_OK;
	for (; i < n && line.len < 700 && more == VQ_OK; i++)
		more = vq_buf_fmt(&line, "%s%s", i ? ", " : "", r->cells.v[cell[i]].id);
	if (i < n && more == VQ_OK)
		more = vq_buf_fmt(&line, " and %d more", n - i);
	for (int k = 0; k < n; k++)
		vq_info("of that batch: %s", r->cells.v[cell[k]].id);
	char *was = n ? vq_strdup(vq_message()) : NULL;
	if (was && line.data && more == VQ_OK)
		s = vq_fail(s, "%s; the batch's records: %s", was, line.data);
	free(was);
	vq_buf_free(&line);
	return s;
}

static void tell_memory(const vq_trainer *t)
{
	size_t plain, bytes = vq_trainer_memory(t, &plain);
	char *than = plain ? vq_format("; without checkpoint_activations %.1f MiB (%.0f %% saved)", (double)plain / 1048576, 100 - 100. * (double)bytes / (double)plain) : NULL;
	vq_info("activations and gradients: %.1f MiB%s", (double)bytes / 1048576, than ? than : "");
	free(than);
}

static vq_status train(train_run *r, vq_backend *b, const checkpoint *from, double started)
{
	train_job job = { .run = r, .b = b, .saved = vq_seconds() };
	vq_trainer *t;
	const vq_norm *n = &r->model.norm;
	vq_trainer_options o = { .config = &r->model.config, .channels = r->model.channels, .backend = b, .train = r->train, .val = r->val,
		.n_train = r->n_train, .n_val = r->n_val, .perceptual = r->model.config.use_perceptual_loss ? &r->network : NULL, .clip = n->clip && (n->method == VQ_NORM_ROBUST || n->method == VQ_NORM_MINMAX),
		.profile = profile, .started = started,
		.calls = { &job, cell_size, cell_get, epoch, step, save } };
	VQ_TRY(vq_trainer_make(&t, &o));
	vq_status s = start(r, t, b, from);
	vq_info("%u cells to train, %u to choose the model, %u kept; %.2f s until the first step", r->n_train, r->n_val, r->n_test, vq_seconds() - started);
	catch_interrupt();
	if (s == VQ_OK)
		s = name_failed(r, t, vq_trainer_run(t));
	sigaction(SIGINT, &at_once, NULL);
	vq_progress_end();
	if (s == VQ_OK)
		tell_memory(t);
	char *where = profile && s == VQ_OK ? vq_trainer_profile(t) : NULL;
	if (where)
		fprintf(stderr, "%s", where);
	free(where);
	vq_trainer_free(t);
	return s;
}

int main(int argc, char **argv)
{
	vq_calm(argv);
	double started = vq_seconds();
	static const char *const device[] = { "auto", "cpu", "cuda" };
	vq_strings operands;
	train_run r = {0};
	checkpoint from = {0};
	vq_backend *b;
	char *dir, *made = NULL;
	const char *stream = NULL;
	vq_cli_parse(&tool, argc, argv, &operands);
	if (resume && force)
		vq_misuse("--resume and --force exclude each other");
	configure(&r.model.config, NULL);
	if (vq_backend_open(&b, device[vq_cli.device], vq_cli.threads) < 0 ||
	    !(dir = vq_strdup(run_path ? run_path : *r.model.config.save_directory ? r.model.config.save_directory : "run")))
		vq_die(NULL);
	if (*b->instead)
		vq_info("computing on the CPU: %s", b->instead);
	for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; )
		dir[--n] = 0;
	vq_status s = resume ? resume_config(&from, dir, &r.model.config) : VQ_OK;
	if (s == VQ_OK)
		s = vq_perceptual_load(&r.network, &r.model.config);
	if (s == VQ_OK && resume)
		s = checkpoint_check_network(&from, &r.network);
	if (s == VQ_OK)
		s = find_stream(&r.model.config, operands.n ? operands.v[0] : NULL, &made, &stream);
	if (s == VQ_OK)
		s = prepare(&r, &from, stream, dir);
	if (s == VQ_OK)
		s = train(&r, b, &from, started);
	if (s < 0)
		vq_error("%s%s", vq_message(), r.saved ? "; the best model so far is kept" : "");
	else
		summary(&r);
	if (*b->slow)
		vq_info("%s", b->slow);
	b->close(b);
	train_run_free(&r);
	checkpoint_close(&from);
	free(dir);
	free(made);
	return vq_cli_end(s < 0 ? 1 : interrupted ? 130 : 0);
}
