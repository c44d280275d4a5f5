/* vq-decode: code records -> sample records of true size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cells.h"
#include "tools/calm.h"
#include "tools/cli.h"
#include "tools/codec.h"
#include "tools/coderec.h"
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

/* The true pixels of the extent. */
static vq_status true_size(const decoder *d, vqt_record *in, const cell_codes *k, const vq_geom *at, const float *pixels, vqt_record *out)
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
	cJSON *meta = in->meta;
	in->meta = out->meta;
	out->meta = meta;
	cJSON_DeleteItemFromObjectCaseSensitive(out->meta, "extent");
	cJSON_DeleteItemFromObjectCaseSensitive(out->meta, "pad");
	cJSON_DeleteItemFromObjectCaseSensitive(out->meta, "pad_mode");
	return VQ_OK;
}

static vq_status decode(decoder *d, int worker, vqt_record *in, vqt_record *out)
{
	cell_codes k = {0};
	vq_geom g;
	float *pixels = NULL;
	vq_status s = vq_coderec_get(&d->model, in, &k, &g);
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
	vq_keep_memory();
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
