/* vq-decode: code records -> sample records of true size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/pad.h"
#include "tools/cells.h"
#include "tools/calm.h"
#include "tools/cli.h"
#include "tools/codec.h"
#include "tools/swap.h"
#include "tools/window.h"

static const char *model_path;
static bool no_clip;
static int codes_of; /* swap_kind */
static const char *within;

static const vq_option options[] = {
	{ .name = "model", .letter = 'm', .type = VQ_OPT_FILE, .value = &model_path, .arg = "MODEL", .help = "The model that made the codes. Required." },
	{ .name = "no-clip", .type = VQ_OPT_FLAG, .value = &no_clip, .help = "Leave values beyond the range that the model's input was clipped to." },
	{ .name = "codes", .type = VQ_OPT_CHOICE, .value = &codes_of, .arg = "WHOSE", .choices = "own|shuffled|mean",
	  .help = "Decode each cell from its own codes (own, the default), from those of another cell whose codes have the same shape (shuffled; a "
	          "cell without such another is left out), or from the code nearest to the mean everywhere (mean): what is lost then is what the codes carry." },
	{ .name = "within", .type = VQ_OPT_STRING, .value = &within, .arg = "COLUMN",
	  .help = "With --codes shuffled or mean: only among cells with the same value of this column, such as Metadata_Dataset." },
	{ 0 },
};

static const vq_tool tool = {
	.name = "vq-decode", .brief = "codes to reconstructed cells", .usage = "-m MODEL [options] [STREAM]", .options = options,
	.flags = VQ_CLI_THREADS | VQ_CLI_DEVICE | VQ_CLI_SEED | VQ_CLI_OUTPUT, .max_operands = 1,
};

typedef struct {
	vq_model model;
	codec *codec;
	vqt_reader *in;
	vqt_writer *out;
	bool clip;
	swap *swap;             /* NULL: each cell's own codes */
	uint64_t read;
} decoder;

static int next(void *ctx, vqt_record *rec)
{
	decoder *d = ctx;
	int got;
	while ((got = vqt_next(d->in, rec)) > 0 && d->swap) {
		int swapped = swap_apply(d->swap, d->read++, rec);
		if (swapped > 0)
			break;
		vqt_record_free(rec);
		if (swapped < 0)
			return vq_context(swapped, "%s", vqt_name(d->in));
	}
	return got;
}

/* A level's codes, as i32. */
static vq_status take_codes(const vq_code_level *level, const vq_tensor *t, int32_t **codes)
{
	size_t n = (size_t)t->shape[0] * (size_t)(level->stride ? t->shape[1] : 1);
	if (!(*codes = vq_malloc(n * sizeof **codes)))
		return VQ_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int32_t v = (*codes)[i] = t->dtype == VQ_U16 ? ((uint16_t *)t->data)[i] : ((int32_t *)t->data)[i];
		if (v < 0 || v >= level->size)
			return vq_fail(VQ_EINVAL, "code %d at position %zu of \"%s\", which has %d", (int)v, i, level->name, level->size);
	}
	return VQ_OK;
}

/* Codes of every level; h and w: positions of the first. The others' are checked once the extent is known. */
static vq_status read_codes(const decoder *d, const vqt_record *in, cell_codes *k, int64_t *h, int64_t *w)
{
	for (int l = 0; l < d->model.info.levels; l++) {
		const vq_code_level *level = &d->model.info.level[l];
		bool one = level->stride == 0;
		vq_tensor *t = vqt_get(in, level->name);
		if (!t || t->ndim != (one ? 1 : 2) || (t->dtype != VQ_U16 && t->dtype != VQ_I32))
			return vq_fail(VQ_EINVAL, "no %s \"%s\"", one ? "code of the whole cell" : "grid of codes", level->name);
		if (one && t->shape[0] != 1)
			return vq_fail(VQ_EINVAL, "%lld codes in \"%s\", not one", (long long)t->shape[0], level->name);
		int64_t rows = t->shape[0], columns = one ? 1 : t->shape[1];
		if (rows < 1 || columns < 1 || rows > 1 << 15 || columns > 1 << 15)
			return vq_fail(VQ_EINVAL, "a grid of %lld x %lld codes", (long long)rows, (long long)columns);
		if (!l) {
			*h = rows;
			*w = columns;
		}
		VQ_TRY(take_codes(level, t, &k->codes[l]));
	}
	return VQ_OK;
}

/* Every level covers the same extent. */
static vq_status check_grids(const decoder *d, const vqt_record *in, const cell_codes *k)
{
	for (int l = 0; l < d->model.info.levels; l++) {
		const vq_code_level *level = &d->model.info.level[l];
		const vq_tensor *t = vqt_get(in, level->name);
		int h = codec_positions(k->extent_h, level->stride), w = codec_positions(k->extent_w, level->stride);
		if (level->stride && (t->shape[0] != h || t->shape[1] != w))
			return vq_fail(VQ_EINVAL, "\"%s\" is a grid of %lld x %lld codes; a cell of %d x %d has %d x %d there", level->name, (long long)t->shape[0],
				(long long)t->shape[1], k->extent_h, k->extent_w, h, w);
	}
	return VQ_OK;
}

/* The extent and where the true pixels are in it: of a grid of codes, which it must fit; of one code a cell, what the model's rule makes of
 * the true size. */
static vq_status read_place(const decoder *d, const vqt_record *in, int64_t h, int64_t w, cell_codes *k, vq_geom *g)
{
	const vq_model_info *info = &d->model.info;
	vq_tensor whole = { .dtype = VQ_F32, .ndim = 3, .shape = { d->model.channels, h * info->stride, w * info->stride } };
	VQ_TRY(vq_geom_get(in->meta, info->stride ? &whole : NULL, g));
	if (!info->stride) {
		vq_pad_plan p;
		VQ_TRY(vq_pad_make_plan(&p, g->h, g->w, info->power_of_two ? 0 : info->multiple, info->min));
		if (p.top != g->top || p.left != g->left || p.H != g->h + g->top + g->bottom || p.W != g->w + g->left + g->right)
			return vq_fail(VQ_EINVAL, "a cell of %lld x %lld is not padded to %lld x %lld, as the model pads it", (long long)g->h, (long long)g->w, (long long)p.H, (long long)p.W);
		whole.shape[1] = p.H;
		whole.shape[2] = p.W;
	}
	k->extent_h = (int)whole.shape[1];
	k->extent_w = (int)whole.shape[2];
	k->valid = (vq_rect){ 0, (int32_t)g->top, (int32_t)g->left, (int32_t)g->h, (int32_t)g->w };
	return VQ_OK;
}

/* The feature maps beside the codes. */
static vq_status read_skips(const decoder *d, const vqt_record *in, cell_codes *k)
{
	const vq_model_info *info = &d->model.info;
	for (int i = 0; i < info->skips; i++) {
		int64_t c = info->skip[i].channels, h = k->extent_h / info->skip[i].stride, w = k->extent_w / info->skip[i].stride;
		char name[32];
		snprintf(name, sizeof name, "skip.%d", i);
		vq_tensor *t = vqt_get(in, name);
		if (!t || t->dtype != VQ_F32 || t->ndim != 3 || t->shape[0] != c || t->shape[1] != h || t->shape[2] != w)
			return vq_fail(VQ_EINVAL, "no feature map \"%s\" of %lld x %lld x %lld, which the decoder needs", name, (long long)c, (long long)h, (long long)w);
		size_t bytes = sizeof(float) * (size_t)(c * h * w);
		if (!(k->skip[i] = vq_malloc(bytes)))
			return VQ_ENOMEM;
		memcpy(k->skip[i], t->data, bytes);
	}
	return VQ_OK;
}

/* The true pixels of the extent. */
static vq_status true_size(const decoder *d, const vqt_record *in, const cell_codes *k, const vq_geom *at, const float *pixels, vqt_record *out)
{
	int64_t h = k->extent_h, w = k->extent_w, c = d->model.channels;
	vq_geom g = *at;
	vq_tensor image;
	VQ_TRY(vq_tensor_make(&image, VQ_F32, 3, (int64_t[]){ c, g.h, g.w }));
	float *to = image.data;
	for (int64_t i = 0; i < c; i++)
		for (int64_t y = 0; y < g.h; y++)
			for (int64_t x = 0; x < g.w; x++) {
				float v = pixels[(i * h + g.top + y) * w + g.left + x];
				*to++ = d->clip ? v < -1 ? -1 : v > 1 ? 1 : v : v;
			}
	vq_status s = vqt_record_make(out, in->id);
	if (s == VQ_OK)
		s = vqt_set(out, "image", &image);
	if (s < 0) {
		vq_tensor_free(&image);
		return s;
	}
	cJSON_Delete(out->meta);
	if (!(out->meta = cJSON_Duplicate(in->meta, true)))
		return vq_fail(VQ_ENOMEM, "out of memory");
	cJSON_DeleteItemFromObjectCaseSensitive(out->meta, "extent");
	cJSON_DeleteItemFromObjectCaseSensitive(out->meta, "pad");
	cJSON_DeleteItemFromObjectCaseSensitive(out->meta, "pad_mode");
	return VQ_OK;
}

static vq_status decode(decoder *d, int worker, const vqt_record *in, vqt_record *out)
{
	cell_codes k = {0};
	vq_geom g;
	int64_t h = 0, w = 0;
	float *pixels = NULL;
	vq_status s = read_codes(d, in, &k, &h, &w);
	if (s == VQ_OK && (s = read_place(d, in, h, w, &k, &g)) == VQ_OK)
		s = check_grids(d, in, &k);
	if (s == VQ_OK)
		s = read_skips(d, in, &k);
	if (s == VQ_OK && (s = codec_decode(d->codec, worker, &k, &pixels)) == VQ_OK)
		s = true_size(d, in, &k, &g, pixels, out);
	cell_codes_free(&k);
	free(pixels);
	return s;
}

static vq_status work(void *ctx, int worker, vqt_record *in, vqt_record *out)
{
	decoder *d = ctx;
	vq_status s = decode(d, worker, in, out);
	return s < 0 ? vq_context(s, "%s: record %s", vqt_name(d->in), in->id) : s;
}

static vq_status put(void *ctx, vqt_record *in, vqt_record *out) { return vqt_put(((decoder *)ctx)->out, out); }

/* Codes of another codebook are refused where the header tells them apart. */
static void check_model(const decoder *d)
{
	const cJSON *model = cJSON_GetObjectItemCaseSensitive(vqt_header(d->in), "model"), *levels = cJSON_GetObjectItemCaseSensitive(model, "levels");
	int n = cJSON_GetArraySize(levels);
	if (n && n != d->model.info.levels)
		vq_die("%s: codes of %d codebooks; %s has %d", vqt_name(d->in), n, model_path, d->model.info.levels);
	for (int l = 0; l < n; l++) {
		const cJSON *e = cJSON_GetArrayItem(levels, l), *size = cJSON_GetObjectItemCaseSensitive(e, "size"), *dim = cJSON_GetObjectItemCaseSensitive(e, "dim");
		const vq_code_level *have = &d->model.info.level[l];
		const char *hash = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(e, "hash"));
		char ours[17];
		if ((cJSON_IsNumber(size) && size->valueint != have->size) || (cJSON_IsNumber(dim) && dim->valueint != have->dim))
			vq_die("%s: codes of a codebook of %d x %d; %s has %d x %d", vqt_name(d->in), size ? size->valueint : 0, dim ? dim->valueint : 0, model_path, have->size, have->dim);
		if (hash && vq_model_codebook(&d->model, l, ours) && strcmp(hash, ours))
			vq_die("%s: codes of another model: %s has other codebook vectors", vqt_name(d->in), model_path);
	}
}

static void open_output(decoder *d)
{
	cJSON *header = cJSON_Duplicate(vqt_header(d->in), true);
	vqt_options o = { .threads = vq_cli.threads };
	if (!header || vqt_header_chain(header, "vq-decode", vq_cli_args()) < 0 || vq_json_set(header, "kind", cJSON_CreateString("samples")) < 0 ||
	    vq_json_set(header, "channels", cJSON_Duplicate(d->model.names, true)) < 0)
		vq_die(NULL);
	cJSON_DeleteItemFromObjectCaseSensitive(header, "model");
	if (vqt_create(&d->out, vq_cli.output, header, &o) < 0)
		vq_die(NULL);
	cJSON_Delete(header);
}

static void open_swap(decoder *d, const char *path)
{
	if (!codes_of)
		return;
	if (!path || !strcmp(path, "-"))
		vq_die("--codes needs a file: the codes are read twice");
	if (swap_open(&d->swap, path, &d->model, (swap_kind)codes_of, within, vq_cli.seed) < 0)
		vq_die(NULL);
	if (swap_left_out(d->swap))
		vq_warn("%s: %llu cell%s left out: no other%s%s has codes of the same shape", path, (unsigned long long)swap_left_out(d->swap),
			swap_left_out(d->swap) == 1 ? "" : "s", within ? " with the same " : "", within ? within : "");
}

int main(int argc, char **argv)
{
	vq_calm(argv);
	static const char *const device[] = { "auto", "cpu", "cuda" };
	vq_strings operands;
	decoder d = {0};
	vq_cli_parse(&tool, argc, argv, &operands);
	if (!model_path)
		vq_misuse("-m MODEL is required");
	if (within && !codes_of)
		vq_misuse("--within belongs to --codes shuffled or mean");
	if (vq_model_load(&d.model, model_path) < 0 || vqt_open(&d.in, operands.n ? operands.v[0] : NULL, "codes", NULL) < 0)
		vq_die(NULL);
	check_model(&d);
	open_swap(&d, operands.n ? operands.v[0] : NULL);
	d.clip = !no_clip && d.model.norm.clip && (d.model.norm.method == VQ_NORM_ROBUST || d.model.norm.method == VQ_NORM_MINMAX);
	if (codec_open(&d.codec, &d.model, device[vq_cli.device], vq_cli.threads, CODEC_DECODE) < 0)
		vq_die(NULL);
	if (*codec_instead(d.codec))
		vq_info("computing on the CPU: %s", codec_instead(d.codec));
	open_output(&d);
	vq_window_job job = { vq_cli.threads, next, work, put, &d };
	if (vq_window_run(&job) < 0) {
		vqt_abort(d.out);
		vq_die(NULL);
	}
	if (vqt_warning(d.in))
		vq_warn("%s", vqt_warning(d.in));
	vqt_close(d.in);
	if (vqt_finish(d.out) < 0)
		vq_die(NULL);
	codec_close(d.codec);
	swap_close(d.swap);
	vq_model_free(&d.model);
	return vq_cli_end(0);
}
